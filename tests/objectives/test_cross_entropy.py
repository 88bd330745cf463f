"""Cross-entropy: value, gradient, Hessian and its products against torch.func."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.objectives.cross_entropy import BinaryCrossEntropy, SoftmaxCrossEntropy

few = settings(max_examples=max(settings().max_examples // 2, 1))


@st.composite
def objectives(draw, max_classes=4):
    """Objectives of either kind with hard or soft labels, and a theta to look at them."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, d = draw(st.integers(1, 25)), draw(st.integers(1, 5))
    classes = draw(st.integers(2, max_classes))
    x = torch.from_numpy(rng.normal(size=(n, d)))
    if draw(st.booleans()):
        y = torch.from_numpy(rng.dirichlet(np.ones(classes), n))
    else:
        y = torch.eye(classes, dtype=torch.float64)[rng.integers(0, classes, n)]
    weight = torch.from_numpy(rng.uniform(0.1, 3, n)) if draw(st.booleans()) else None
    binary = classes == 2 and draw(st.booleans())
    kind = BinaryCrossEntropy if binary else SoftmaxCrossEntropy
    alpha = draw(st.sampled_from([0.0, 0.01, 2.0]))
    objective = kind(x, y, weight, alpha, draw(st.booleans()), draw(st.booleans()))
    return objective, torch.from_numpy(rng.normal(size=objective.n_params))


def by_definition(objective, theta):
    """The textbook's formula, from probabilities."""
    table = theta.view(objective.n_logits, objective.width)
    slopes = table[:, : objective.X.shape[1]]
    logits = objective.X @ slopes.T
    if objective.fit_intercept:
        logits = logits + table[:, -1]
    if objective.n_logits == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], 1)
    losses = -(objective.y * torch.log_softmax(logits, 1)).sum(1)
    weight = torch.ones(len(losses)).double() if objective.weight is None else objective.weight
    penalised = table if objective.penalize_intercept else slopes
    return weight @ losses / weight.sum() + objective.alpha / 2 * penalised.square().sum()


# Sums of at most 25 products of numbers of order ten.
CLOSE = {"rtol": 1e-11, "atol": 1e-12}


@given(case=objectives())
def test_value_and_gradient(case):
    objective, theta = case
    value, gradient = objective.evaluate(theta)
    function = lambda t: by_definition(objective, t)  # noqa: E731
    assert value == pytest.approx(float(function(theta)), rel=1e-12, abs=1e-14)
    torch.testing.assert_close(gradient, torch.func.grad(function)(theta), **CLOSE)


@few
@given(case=objectives())
def test_hessian_and_its_products(case):
    objective, theta = case
    value, gradient, hessian = objective.evaluate_with_hessian(theta)
    plain_value, plain_gradient = objective.evaluate(theta)
    assert value == pytest.approx(plain_value, rel=1e-14)
    torch.testing.assert_close(gradient, plain_gradient, **CLOSE)
    truth = torch.func.hessian(lambda t: by_definition(objective, t))(theta)
    product, diagonal = objective.curvature(theta)
    vector = torch.from_numpy(np.random.default_rng(1).normal(size=objective.n_params))
    torch.testing.assert_close(product(vector), truth @ vector, **CLOSE)
    positive = truth.diagonal() > 1e-11 * truth.diagonal().max()
    torch.testing.assert_close(diagonal[positive], truth.diagonal()[positive], **CLOSE)
    assert (diagonal > 0).all()
    # Along the directions that change no probability, softmax may add curvature of its own; on all
    # directions of rows that sum to zero the Hessian must be the true one.
    blocks = objective.n_logits
    if blocks == 1:
        torch.testing.assert_close(hessian, truth, **CLOSE)
    else:
        mean = torch.full((blocks, blocks), 1 / blocks, dtype=torch.float64)
        centre = torch.kron(torch.eye(blocks).double() - mean, torch.eye(objective.width).double())
        torch.testing.assert_close(centre @ hessian @ centre, centre @ truth @ centre, **CLOSE)
        # There is no gradient along the others where the rows of theta sum to zero.
        at = centre @ theta
        value, gradient, hessian = objective.evaluate_with_hessian(at)
        truth = torch.func.hessian(lambda t: by_definition(objective, t))(at)
        torch.testing.assert_close(hessian @ gradient, truth @ gradient, **CLOSE)


@few
@given(case=objectives())
def test_integer_weights_are_repeated_rows(case):
    objective, theta = case
    times = torch.from_numpy(np.random.default_rng(0).integers(1, 4, len(objective.X)))
    kind, rest = type(objective), (objective.alpha, objective.fit_intercept)
    x, y = objective.X, objective.y
    weighted = kind(x, y, times.double(), *rest)
    repeated = kind(x.repeat_interleave(times, 0), y.repeat_interleave(times, 0), None, *rest)
    assert weighted.evaluate(theta)[0] == pytest.approx(repeated.evaluate(theta)[0], rel=1e-13)
    for one, other in zip(
        weighted.evaluate_with_hessian(theta)[1:],
        repeated.evaluate_with_hessian(theta)[1:],
        strict=True,
    ):
        torch.testing.assert_close(one, other, **CLOSE)


@few
@given(case=objectives(2))
def test_soft_labels_are_weighted_hard_labels(case):
    objective, theta = case
    n = len(objective.X)
    weight = torch.ones(n).double() if objective.weight is None else objective.weight
    hard = torch.eye(2, dtype=torch.float64)
    twice = type(objective)(
        torch.cat([objective.X, objective.X]),
        torch.cat([hard[:1].expand(n, 2), hard[1:].expand(n, 2)]),
        torch.cat([weight * objective.y[:, 0], weight * objective.y[:, 1]]),
        objective.alpha,
        objective.fit_intercept,
        objective.penalize_intercept,
    )
    assert objective.evaluate(theta)[0] == pytest.approx(twice.evaluate(theta)[0], rel=1e-12)
    torch.testing.assert_close(objective.evaluate(theta)[1], twice.evaluate(theta)[1], **CLOSE)


def test_blocks_of_rows_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(2_000, 3)))
    y = torch.eye(3, dtype=torch.float64)[rng.integers(0, 3, 2_000)]
    weight = torch.from_numpy(rng.uniform(0, 2, 2_000))
    theta = torch.from_numpy(rng.normal(size=12))
    objective = SoftmaxCrossEntropy(x, y, weight, 0.1)
    whole = objective.evaluate_with_hessian(theta)
    product = objective.curvature(theta)[0](theta)
    monkeypatch.setattr("thetalearn.objectives.cross_entropy.BLOCK_BYTES", 1)  # 256 rows a block
    parts = objective.evaluate_with_hessian(theta)
    # Two thousand terms, summed in another order.
    assert parts[0] == pytest.approx(whole[0], rel=1e-13)
    for one, other in zip(parts[1:], whole[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(
        objective.curvature(theta)[0](theta), product, rtol=1e-11, atol=1e-13
    )


def test_thinning_takes_every_row_of_the_stride():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(10, 2)))
    y = torch.eye(2, dtype=torch.float64)[rng.integers(0, 2, 10)]
    weight = torch.arange(1.0, 11.0).double()
    thin = BinaryCrossEntropy(x, y, weight, 0.5, False, True).thinned(4)
    assert torch.equal(thin.X, x[::4]) and torch.equal(thin.y, y[::4])
    assert thin.weight_sum == 1 + 5 + 9
    assert (thin.alpha, thin.fit_intercept, thin.penalize_intercept) == (0.5, False, True)


@pytest.mark.parametrize("kind, classes", [(BinaryCrossEntropy, 2), (SoftmaxCrossEntropy, 3)])
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_logits_are_finite_and_exact(kind, classes, size):
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    y = torch.eye(classes, dtype=torch.float64)[[classes - 1, classes - 1]]
    objective = kind(x, y, None, 0.0, fit_intercept=False)
    theta = torch.zeros(objective.n_params, dtype=torch.float64)
    theta[-1] = size  # the last class's logit is x * size
    value, gradient, hessian = objective.evaluate_with_hessian(theta)
    # The first row is right beyond doubt and costs nothing; the second costs its whole margin,
    # and ln(K - 1) when the other classes share the rest.
    expected = (0 + size + np.log(classes - 1)) / 2
    assert value == pytest.approx(expected, rel=1e-12)
    # One row pulls with its whole weight: (p - y) x / 2 = 1/2 for the last logit.
    assert gradient[-1] == pytest.approx(0.5, rel=1e-12)
    product, diagonal = objective.curvature(theta)
    for each in (gradient, hessian, product(theta), diagonal):
        assert torch.isfinite(each).all()


def test_example_of_the_book():
    # Exercise 3.2: points (-2, 0) and (1, 1), w = 1/2, b = 1.
    x = torch.tensor([[-2.0], [1.0]], dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)
    value, _ = BinaryCrossEntropy(x, y, None, 0.0).evaluate(torch.tensor([0.5, 1.0]).double())
    assert value == pytest.approx(0.447280, abs=5e-7)  # six digits are given


def test_margins_are_differences_of_logits():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(8, 2)))
    labels = rng.integers(0, 3, 8)
    y = torch.eye(3, dtype=torch.float64)[labels]
    objective = SoftmaxCrossEntropy(x, y, None, 0.0)
    theta = torch.from_numpy(rng.normal(size=9))
    logits = objective.logits(theta, x).numpy()
    expected = [
        [logits[i, own] - logits[i, k] for k in range(3) if k != own]
        for i, own in enumerate(labels)
    ]
    # One subtraction each.
    np.testing.assert_allclose(objective.margins(theta), expected, rtol=0, atol=1e-14)
    two = torch.eye(2, dtype=torch.float64)[rng.integers(0, 2, 8)]
    binary = BinaryCrossEntropy(x, two, None, 0.0)
    theta = theta[:3]
    signs = 2 * two[:, 1] - 1
    assert torch.equal(binary.margins(theta)[:, 0], signs * binary.logits(theta, x)[:, 0])
