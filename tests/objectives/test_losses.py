"""Losses: values against trusted libraries, gradients against autograd, limits and laws."""

import math
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from thetalearn.objectives.losses import (
    CLASSIFICATION_LOSSES,
    REGRESSION_LOSSES,
    AbsoluteError,
    BinaryFocal,
    BinaryLogLoss,
    CallableLoss,
    FocalLoss,
    GaussianNLL,
    Huber,
    LogLoss,
    Pinball,
    Poisson,
    PoissonMean,
    SoftmaxFocal,
    SoftmaxLogLoss,
    SquaredError,
    make_classification_loss,
    make_regression_loss,
)
from thetalearn.representations.networks.activations import Logistic


def log_cosh(Z, y):
    """A loss of a user, for each row and output."""
    return (Z - y).cosh().log()


def own_cross_entropy(Z, y):
    """A loss of a user, for each row."""
    return F.cross_entropy(Z, y, reduction="none")


REAL = [
    SquaredError(),
    AbsoluteError(),
    Huber(),
    Huber(0.3),
    Pinball(),
    Pinball(0.9),
    GaussianNLL(),
    GaussianNLL(0.5),
    CallableLoss(log_cosh),
]
COUNT = [Poisson(), PoissonMean()]
YES_NO = [BinaryLogLoss(), BinaryLogLoss(0.2), BinaryFocal(), BinaryFocal(0.0), BinaryFocal(0.5)]
CLASS = [
    SoftmaxLogLoss(),
    SoftmaxLogLoss(0.2),
    SoftmaxFocal(),
    SoftmaxFocal(0.0),
    SoftmaxFocal(0.5),
    CallableLoss(own_cross_entropy, link="softmax"),
]
ALL = [*REAL, *COUNT, *YES_NO, *CLASS]


def name_of(loss):
    """What names a test: without the address of a function, which differs between processes."""
    return re.sub(r"<function (\w+) at \w+>", r"\1", repr(loss))


every = pytest.mark.parametrize("loss", ALL, ids=name_of)
few = settings(max_examples=max(settings().max_examples // 4, 1))
# Sums of some tens of numbers of order one to ten.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def example(loss, rng, lead, m):
    """Outputs and targets that the loss is meant for; some lie where it has a kink."""
    Z = rng.normal(scale=2, size=(*lead, loss.n_outputs(m)))
    if loss in COUNT:
        Z = np.abs(Z)
        y = rng.poisson(2.0, (*lead, m)).astype(float)
    elif loss in YES_NO:
        y = np.where(
            rng.random((*lead, m)) < 0.5, rng.random((*lead, m)), rng.random((*lead, m)) < 0.5
        )
    elif loss in CLASS:
        y = rng.dirichlet(np.ones(m), lead)
        y = np.where(rng.random((*lead, 1)) < 0.5, y, np.eye(m)[rng.integers(m, size=lead)])
    else:
        y = np.where(rng.random((*lead, m)) < 0.2, Z[..., :m], rng.normal(size=(*lead, m)))
    return torch.from_numpy(Z), torch.from_numpy(y)


@st.composite
def cases(draw):
    """A generator, the leading shape and the number of targets."""
    seed, b, m = draw(st.tuples(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 4)))
    return np.random.default_rng(seed), (*draw(st.sampled_from([(), (1,), (3,)])), b), m


@every
@few
@given(case=cases())
def test_gradient_is_that_of_autograd(loss, case):
    Z, y = example(loss, *case)
    before = Z.clone(), y.clone()
    leaf = Z.clone().requires_grad_()
    truth = loss.rows(leaf, y)
    (slope,) = torch.autograd.grad(truth.sum(), leaf)
    d = torch.full_like(Z, math.nan)
    rows = loss.rows_with_gradient_(Z, y, d)
    assert rows.shape == Z.shape[:-1]
    torch.testing.assert_close(rows, truth.detach(), **CLOSE)
    torch.testing.assert_close(d, slope, **CLOSE)
    assert torch.equal(Z, before[0]) and torch.equal(y, before[1])


@every
@few
@given(case=cases(), weighted=st.booleans())
def test_value_is_the_weighted_mean(loss, case, weighted):
    rng, lead, m = case
    Z, y = example(loss, rng, lead, m)
    share = torch.from_numpy(rng.dirichlet(np.ones(lead[-1]), lead[:-1])) if weighted else None
    gradient = torch.empty_like(Z)
    rows = loss.rows_with_gradient_(Z, y, gradient)
    weight = torch.full_like(rows, 1 / lead[-1]) if share is None else share
    d, value = torch.full_like(Z, math.nan), Z.new_full(lead[:-1], math.nan)
    # The engine works on tensors that autograd has never seen.
    with torch.inference_mode():
        Z_, y_, d_, value_ = Z.clone(), y.clone(), d.clone(), value.clone()
        share_ = None if share is None else share.clone()
        loss.value_with_gradient_(Z_, y_, share_, d_, value_)
    loss.value_with_gradient_(Z, y, share, d, value)
    torch.testing.assert_close(value, (weight * rows).sum(-1), **CLOSE)
    torch.testing.assert_close(d, weight[..., None] * gradient, **CLOSE)
    assert torch.equal(value_, value) and torch.equal(d_, d)


@every
@few
@given(seed=st.integers(0, 10_000), weighted=st.booleans())
def test_replicas_are_computed_as_if_alone(loss, seed, weighted):
    rng = np.random.default_rng(seed)
    Z, y = example(loss, rng, (3, 5), 2)
    share = torch.from_numpy(rng.dirichlet(np.ones(5), 3)) if weighted else None
    d, value = torch.empty_like(Z), Z.new_empty(3)
    loss.value_with_gradient_(Z, y, share, d, value)
    for k in range(3):
        d_k, value_k = torch.empty_like(Z[k]), Z.new_empty(())
        loss.value_with_gradient_(Z[k], y[k], None if share is None else share[k], d_k, value_k)
        # Sums may be taken in another order.
        torch.testing.assert_close(value[k], value_k, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(d[k], d_k, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("loss", [one for one in ALL if one != REAL[-1]], ids=name_of)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_stable_far_out(loss, dtype):
    # A mean of e^80 is about what float32 can hold.
    ends = [-1e4, 1e4] if loss not in COUNT else [-1e4, 80.0] if loss == Poisson() else [0.0, 1e4]
    pairs = torch.cartesian_prod(torch.tensor([*ends, 0.0]), torch.tensor(ends)).to(dtype)
    Z = pairs.requires_grad_()
    y = torch.tensor([[1.0, 0.0]], dtype=dtype).repeat(len(Z), 1)
    y = y[:, :1] if loss.n_outputs(1) == 2 else y
    d, value = torch.empty_like(Z), torch.empty((), dtype=dtype)
    (by_autograd,) = torch.autograd.grad(loss.rows(Z, y).sum(), Z)
    with torch.no_grad():
        assert loss.rows_with_gradient_(Z, y, d).isfinite().all()
        assert d.isfinite().all() and by_autograd.isfinite().all()
        loss.value_with_gradient_(Z, y, None, d, value)
        assert value.isfinite() and d.isfinite().all()


@every
def test_second_derivative_exists(loss):
    Z, y = example(loss, np.random.default_rng(0), (4,), 2)
    # Not on the kinks.
    Z = (Z + 0.01).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda Z: loss.rows(Z, y), (Z,))


@every
def test_precision_of_the_outputs_is_kept(loss):
    Z, y = example(loss, np.random.default_rng(0), (2, 6), 3)
    d, narrow = torch.empty_like(Z), torch.empty_like(Z, dtype=torch.float32)
    rows = loss.rows_with_gradient_(Z, y, d)
    single = loss.rows_with_gradient_(Z.float(), y.float(), narrow)
    assert single.dtype == torch.float32
    # Of the numbers around ten that some losses are differences of; 1/v is up to 1e6.
    scale = 1e6 if loss == GaussianNLL() else 10
    close = {"rtol": 1e-5, "atol": 1e-7 * scale}
    torch.testing.assert_close(single.double(), rows, **close)
    torch.testing.assert_close(narrow.double(), d, **close)


@given(case=cases())
def test_equals_the_losses_of_torch(case):
    rng, lead, m = case
    Z, y = (torch.from_numpy(rng.normal(scale=2, size=(*lead, m))) for _ in "Zy")
    half = F.mse_loss(Z, y, reduction="none").sum(-1) / 2
    torch.testing.assert_close(SquaredError().rows(Z, y), half, **CLOSE)
    absolute = F.l1_loss(Z, y, reduction="none").sum(-1)
    torch.testing.assert_close(AbsoluteError().rows(Z, y), absolute, **CLOSE)
    d = torch.empty_like(Z)
    huber = F.huber_loss(Z, y, reduction="none", delta=0.7).sum(-1)
    torch.testing.assert_close(Huber(0.7).rows_with_gradient_(Z, y, d), huber, **CLOSE)
    counts = torch.from_numpy(rng.poisson(3.0, Z.shape)).double()
    constant = torch.xlogy(counts, counts) - counts
    poisson = F.poisson_nll_loss(Z, counts, reduction="none") + constant
    torch.testing.assert_close(Poisson().rows(Z, counts), poisson.sum(-1), **CLOSE)
    poisson = F.poisson_nll_loss(Z.abs(), counts, log_input=False, eps=1e-3, reduction="none")
    poisson = (poisson + constant + 1e-3).sum(-1)
    torch.testing.assert_close(PoissonMean(1e-3).rows(Z.abs(), counts), poisson, **CLOSE)
    log_variance = torch.from_numpy(rng.normal(size=Z.shape))
    variance = log_variance.exp() + 0.1
    gaussian = F.gaussian_nll_loss(Z, y, variance, reduction="none").sum(-1)
    both = torch.cat([Z, log_variance], -1)
    torch.testing.assert_close(GaussianNLL(0.1).rows(both, y), gaussian, **CLOSE)
    torch.testing.assert_close(GaussianNLL(0.1).std(both), variance.sqrt(), **CLOSE)
    labels = torch.from_numpy(rng.random(Z.shape))
    binary = F.binary_cross_entropy_with_logits(Z, labels, reduction="none").sum(-1)
    torch.testing.assert_close(BinaryLogLoss().rows(Z, labels), binary, **CLOSE)


@given(case=cases(), smoothing=st.sampled_from([0.0, 0.1, 0.7]), soft=st.booleans())
def test_softmax_equals_that_of_torch(case, smoothing, soft):
    rng, lead, m = case
    Z = torch.from_numpy(rng.normal(scale=3, size=(*lead, m)))
    classes = torch.from_numpy(rng.integers(m, size=lead))
    y = F.one_hot(classes, m).double()
    target = classes.flatten()
    if soft:
        y = torch.from_numpy(rng.dirichlet(np.ones(m), lead))
        target = y.view(-1, m)
    torchs = F.cross_entropy(Z.view(-1, m), target, reduction="none", label_smoothing=smoothing)
    rows = SoftmaxLogLoss(smoothing).rows_with_gradient_(Z, y, torch.empty_like(Z))
    torch.testing.assert_close(rows.flatten(), torchs, **CLOSE)


@given(case=cases(), quantile=st.floats(0.01, 0.99))
def test_equals_the_metrics_of_scikit_learn(case, quantile):
    rng, lead, m = case
    Z, y = rng.normal(size=(lead[-1], m)), rng.normal(size=(lead[-1], m))
    rows = Pinball(quantile).rows(torch.from_numpy(Z), torch.from_numpy(y))
    pinball = m * sklearn.metrics.mean_pinball_loss(y, Z, alpha=quantile)
    assert float(rows.mean()) == pytest.approx(pinball, rel=1e-12)
    counts = rng.poisson(1.0, lead[-1]).astype(float)
    deviance = sklearn.metrics.mean_poisson_deviance(counts, np.exp(Z[:, 0]))
    rows = Poisson().rows(torch.from_numpy(Z[:, :1]), torch.from_numpy(counts[:, None]))
    assert float(rows.mean()) == pytest.approx(deviance / 2, rel=1e-12, abs=1e-14)


@given(seed=st.integers(0, 10_000), quantile=st.floats(0.05, 0.95))
def test_pinball_is_least_at_the_quantile(seed, quantile):
    y = np.random.default_rng(seed).normal(size=(101, 1))
    at = np.quantile(y, quantile, method="inverted_cdf")
    slopes = []
    for shift in (-1e-9, 1e-9):
        d = torch.empty(101, 1, dtype=torch.float64)
        Z = torch.full_like(d, at + shift)
        Pinball(quantile).rows_with_gradient_(Z, torch.from_numpy(y), d)
        slopes.append(float(d.sum()))
    assert slopes[0] <= 1e-12 and slopes[1] >= -1e-12


@given(case=cases())
def test_limits(case):
    rng, lead, m = case
    Z, y = (torch.from_numpy(rng.normal(size=(*lead, m))) for _ in "Zy")
    torch.testing.assert_close(Huber(1e3).rows(Z, y), SquaredError().rows(Z, y), **CLOSE)
    narrow = Huber(1e-9).rows(Z, y) / 1e-9
    torch.testing.assert_close(narrow, AbsoluteError().rows(Z, y), rtol=0, atol=m * 1e-9)
    torch.testing.assert_close(2 * Pinball().rows(Z, y), AbsoluteError().rows(Z, y), **CLOSE)
    # Variances all one: half the squared error.
    one = torch.cat([Z, torch.zeros_like(Z)], -1)
    torch.testing.assert_close(
        GaussianNLL(1e-15).rows(one, y), SquaredError().rows(Z, y), rtol=1e-12, atol=1e-13
    )
    labels = torch.sigmoid(y)
    log, focal = BinaryLogLoss().rows(Z, labels), BinaryFocal(0).rows(Z, labels)
    torch.testing.assert_close(focal, log, **CLOSE)
    assert (BinaryFocal(2).rows(Z, labels) <= log + 1e-15).all()
    labels = torch.softmax(y, -1)
    log, focal = SoftmaxLogLoss().rows(Z, labels), SoftmaxFocal(0).rows(Z, labels)
    torch.testing.assert_close(focal, log, **CLOSE)
    assert (SoftmaxFocal(2).rows(Z, labels) <= log + 1e-15).all()
    # A mean, and its logarithm.
    counts = torch.from_numpy(rng.poisson(1.0, Z.shape)).double()
    torch.testing.assert_close(
        PoissonMean(1e-14).rows(Z.exp(), counts), Poisson().rows(Z, counts), rtol=1e-11, atol=1e-11
    )


@given(
    seed=st.integers(0, 10_000),
    pair=st.sampled_from(
        [
            (BinaryLogLoss(), SoftmaxLogLoss()),
            (BinaryLogLoss(0.3), SoftmaxLogLoss(0.3)),
            (BinaryFocal(), SoftmaxFocal()),
            (BinaryFocal(0.7), SoftmaxFocal(0.7)),
        ]
    ),
)
def test_two_classes_are_yes_and_no(seed, pair):
    rng = np.random.default_rng(seed)
    z, y = (
        torch.from_numpy(
            rng.normal(scale=3, size=(6, 1)),
        )
        for _ in "zy"
    )
    y = torch.sigmoid(y)
    d, d_two = torch.empty_like(z), torch.empty(6, 2, dtype=torch.float64)
    one = pair[0].rows_with_gradient_(z, y, d)
    logits, table = torch.cat([0 * z, z], 1), torch.cat([1 - y, y], 1)
    torch.testing.assert_close(pair[1].rows_with_gradient_(logits, table, d_two), one, **CLOSE)
    torch.testing.assert_close(d_two[:, 1:], d, **CLOSE)
    torch.testing.assert_close(d_two.sum(1), torch.zeros(6).double(), rtol=0, atol=1e-14)


@given(case=cases(), shift=st.floats(-1e3, 1e3))
def test_log_sum_exp(case, shift):
    rng, lead, m = case
    Z = torch.from_numpy(rng.normal(scale=5, size=(*lead, m)))
    y = F.one_hot(torch.from_numpy(rng.integers(m, size=lead)), m).double()
    rows = SoftmaxLogLoss().rows_with_gradient_(Z, y, torch.empty_like(Z))
    smooth_maximum = rows + (Z * y).sum(-1)
    torch.testing.assert_close(smooth_maximum, torch.logsumexp(Z, -1), **CLOSE)
    # A smooth maximum: above the largest by at most ln q.
    excess = smooth_maximum - Z.amax(-1)
    assert (excess >= -1e-13).all() and (excess <= math.log(m) + 1e-13).all()
    # No probability depends on a shift; the shifted outputs are rounded to 1e-13.
    shifted = SoftmaxLogLoss().rows_with_gradient_(Z + shift, y, torch.empty_like(Z))
    torch.testing.assert_close(shifted, rows, rtol=0, atol=1e-12)


def test_wrong_and_sure_costs_the_margin():
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    Z = torch.tensor([[-1e4, 1e4], [-1e4, 1e4]])
    assert SoftmaxLogLoss().rows(Z, y).tolist() == [2e4, 0]
    assert BinaryLogLoss().rows(Z, y).tolist() == [2e4, 0]
    assert SoftmaxFocal().rows(Z, y).tolist() == [2e4, 0]
    assert BinaryFocal().rows(Z, y).tolist() == [2e4, 0]


def test_worked_numbers_of_focal_loss():
    # Lin et al., section 3.2: with γ = 2 the loss at p = 0.9 is a hundredth of the log loss.
    z, yes = torch.logit(torch.tensor([[0.9]], dtype=torch.float64)), torch.ones(1, 1).double()
    assert float(BinaryFocal().rows(z, yes)) == pytest.approx(-math.log(0.9) / 100, rel=1e-13)


def test_deviance_is_zero_at_its_minimum():
    y = torch.tensor([[0.5], [3.0], [200.0]], dtype=torch.float64)
    d = torch.empty_like(y)
    rows = Poisson().rows_with_gradient_(y.log(), y, d)
    # Differences of numbers up to 200 ln 200.
    torch.testing.assert_close(rows, torch.zeros(3).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(d, torch.zeros(3, 1).double(), rtol=0, atol=1e-12)
    rows = PoissonMean().rows_with_gradient_(y, y, d)
    # Its minimum is at y - 1e-8.
    torch.testing.assert_close(d, torch.zeros(3, 1).double(), rtol=0, atol=1e-7)
    torch.testing.assert_close(rows, torch.zeros(3).double(), rtol=0, atol=1e-12)
    none = torch.zeros(1, 1)
    assert float(PoissonMean().rows(none, none)) == pytest.approx(1e-8)


def test_best_variance_is_the_squared_error_and_has_a_floor():
    loss, y = GaussianNLL(1e-4), torch.tensor([[2.0]], dtype=torch.float64)
    d = torch.empty(1, 2, dtype=torch.float64)
    loss.rows_with_gradient_(torch.tensor([[1.5, math.log(0.25 - 1e-4)]]).double(), y, d)
    assert float(d[0, 1]) == pytest.approx(0, abs=1e-7)
    exact = torch.tensor([[2.0, -1e4]], dtype=torch.float64)
    assert float(loss.rows(exact, y)) == pytest.approx(math.log(1e-4) / 2, rel=1e-14)
    assert float(loss.std(exact)) == pytest.approx(1e-2, rel=1e-14)


def test_tiny_network_of_the_lecture():
    # x = 1, weights 0.5 and 2, two logistic units, L = ŷ²/2, learning rate 0.1; two digits.
    f, x, w1, w2 = Logistic(), 1.0, 0.5, 2.0
    h = f(torch.tensor([[w1 * x]]))
    output = f(w2 * h)
    d, value = torch.empty_like(output), torch.empty(())
    SquaredError().value_with_gradient_(output, torch.zeros(1, 1), None, d, value)
    f.pull_(d, output)
    by_w2 = float(d * h)
    d *= w2
    f.pull_(d, h)
    by_w1 = float(d * x)
    assert [round(float(t), 2) for t in (h, output, value)] == [0.62, 0.78, 0.30]
    assert (round(by_w2, 2), round(by_w1, 2)) == (0.08, 0.06)
    assert (round(w2 - 0.1 * by_w2, 3), round(w1 - 0.1 * by_w1, 3)) == (1.992, 0.494)


def test_worked_numbers_of_the_book():
    # Exercise 3.2: points (-2, 0) and (1, 1), slope 1/2, intercept 1.
    z, y = torch.tensor([[0.0], [1.5]]).double(), torch.tensor([[0.0], [1.0]]).double()
    d, value = torch.empty_like(z), torch.empty((), dtype=torch.float64)
    BinaryLogLoss().value_with_gradient_(z, y, None, d, value)
    assert float(value) == pytest.approx(0.447280, abs=5e-7)
    # Exercise 6.1: the derivative of cross-entropy by the logit is prediction less label.
    torch.testing.assert_close(2 * d, Logistic()(z) - y, rtol=1e-15, atol=0)
    # Section 3.7: softmax at the origin for the intercepts (3, 0, -1).
    probability = SoftmaxLogLoss().prediction(torch.tensor([[3.0, 0.0, -1.0]]))[0]
    assert probability.tolist() == pytest.approx([0.93624, 0.046613, 0.017148], abs=5e-6)


def test_links_and_numbers_of_outputs():
    Z = torch.tensor([[0.5, -1.0]])
    assert {loss.link for loss in [*REAL, PoissonMean()]} == {"identity"}
    assert {loss.link for loss in YES_NO} == {"logistic"}
    assert {loss.link for loss in CLASS} == {"softmax"}
    assert Poisson().link == "exp"
    assert torch.equal(SquaredError().prediction(Z), Z)
    assert torch.equal(Poisson().prediction(Z), Z.exp())
    assert torch.equal(BinaryFocal().prediction(Z), Z.sigmoid())
    assert torch.equal(CallableLoss(log_cosh, "softmax").prediction(Z), Z.softmax(-1))
    assert torch.equal(GaussianNLL().prediction(Z), Z[:, :1])
    assert torch.equal(GaussianNLL().prediction(Z[None]), Z[None, :, :1])
    assert GaussianNLL().n_outputs(3) == 6
    assert all(loss.n_outputs(3) == 3 for loss in ALL if not isinstance(loss, GaussianNLL))


@pytest.mark.parametrize("loss", [*ALL, LogLoss(0.1), FocalLoss(1.0)], ids=name_of)
def test_is_a_value(loss):
    for copy in (pickle.loads(pickle.dumps(loss)), clone(loss, safe=False), replace(loss)):
        assert copy == loss and hash(copy) == hash(loss)
    with pytest.raises(AttributeError):
        loss.anything = 1


def test_specifications():
    for name, kind in REGRESSION_LOSSES.items():
        assert make_regression_loss(name) == kind()
    own = Huber(2.0)
    assert make_regression_loss(own) is own
    assert make_regression_loss(log_cosh) == CallableLoss(log_cosh)
    assert list(CLASSIFICATION_LOSSES) == ["log_loss", "focal"]
    assert make_classification_loss("log_loss", binary=True) == BinaryLogLoss()
    assert make_classification_loss("log_loss", binary=False) == SoftmaxLogLoss()
    assert make_classification_loss(LogLoss(0.1), binary=True) == BinaryLogLoss(0.1)
    assert make_classification_loss(LogLoss(0.1), binary=False) == SoftmaxLogLoss(0.1)
    assert make_classification_loss("focal", binary=True) == BinaryFocal()
    assert make_classification_loss(FocalLoss(1.5), binary=False) == SoftmaxFocal(1.5)
    assert make_classification_loss(BinaryFocal(1.0), binary=True) == BinaryFocal(1.0)
    assert make_classification_loss(log_cosh, binary=True).link == "logistic"
    assert make_classification_loss(log_cosh, binary=False).link == "softmax"


@pytest.mark.parametrize(
    "spec", ["mse", "log_loss", None, 2, ["huber"], LogLoss(), Huber, torch.nn.MSELoss]
)
def test_unknown_regression_loss(spec):
    with pytest.raises(
        ValueError, match=r"loss=.* must be a Loss, a callable or one of 'squared_e"
    ):
        make_regression_loss(spec)


@pytest.mark.parametrize("spec", ["squared_error", None, 2, ["focal"], FocalLoss, SquaredError()])
@pytest.mark.parametrize("binary", [True, False])
def test_unknown_classification_loss(spec, binary):
    link = "'logistic'" if binary else "'softmax'"
    message = rf"loss=.* must be .* whose link is {link}, a callable or one of 'log_loss', 'focal'"
    with pytest.raises(ValueError, match=message):
        make_classification_loss(spec, binary=binary)


def test_loss_with_the_other_link():
    with pytest.raises(ValueError, match=r"loss=BinaryLogLoss\(.*a Loss whose link is 'softmax'"):
        make_classification_loss(BinaryLogLoss(), binary=False)


def test_class_instead_of_instance():
    with pytest.raises(ValueError, match="this is a class: give an instance"):
        make_regression_loss(torch.nn.MSELoss)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Huber(0), r"delta=0 of Huber must be a number in \(0, inf\)"),
        (lambda: Huber("1"), r"delta='1' of Huber must be a number in \(0, inf\)"),
        (lambda: Pinball(1.0), r"quantile=1.0 of Pinball must be a number in \(0, 1\)"),
        (lambda: Pinball(math.nan), r"quantile=nan of Pinball must be a number in \(0, 1\)"),
        (lambda: PoissonMean(0.0), r"eps=0.0 of PoissonMean must be a number in \(0, inf\)"),
        (lambda: GaussianNLL(-1), r"min_variance=-1 of GaussianNLL must be a number in \(0, inf"),
        (lambda: BinaryLogLoss(1), r"label_smoothing=1 of BinaryLogLoss must be .* in \[0, 1\)"),
        (lambda: SoftmaxLogLoss(-0.1), r"label_smoothing=-0.1 of SoftmaxLogLoss must be"),
        (lambda: LogLoss(2), r"label_smoothing=2 of LogLoss must be a number in \[0, 1\)"),
        (lambda: BinaryFocal(-1), r"gamma=-1 of BinaryFocal must be a number in \[0, inf\)"),
        (lambda: SoftmaxFocal(None), r"gamma=None of SoftmaxFocal must be a number in \[0, inf\)"),
        (lambda: FocalLoss(-2.0), r"gamma=-2.0 of FocalLoss must be a number in \[0, inf\)"),
        (lambda: CallableLoss(3), "loss=3 must be a function of outputs and targets"),
        (lambda: CallableLoss(log_cosh, "probit"), r"link='probit' of CallableLoss must be one of"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "function, found",
    [
        (torch.nn.MSELoss(), r"shape \(\)"),
        (lambda Z, y: Z[:, 0] - y, r"shape \(6, 6\)"),
        (lambda Z, y: (Z - y)[None], r"shape \(1, 6, 1\)"),
        (lambda Z, y: 0.0, "a float"),
    ],
)
def test_shape_of_a_loss_of_the_user(function, found):
    Z, y = torch.ones(2, 3, 1), torch.zeros(2, 3, 1)
    message = rf"(?s)loss=.*each of the 6 rows.*reduction=\"none\".*it returned {found}"
    with pytest.raises(ValueError, match=message):
        CallableLoss(function).rows_with_gradient_(Z, y, torch.empty_like(Z))


@pytest.mark.parametrize(
    "function",
    [
        lambda Z, y: (Z - y).detach().abs(),
        lambda Z, y: (y < Z).double(),
        lambda Z, y: y * torch.nn.Parameter(torch.ones(1)),
    ],
)
def test_loss_of_the_user_must_be_differentiable(function):
    Z, y = torch.ones(3, 1), torch.zeros(3, 1)
    with pytest.raises(ValueError, match=r"loss=.*is not differentiable"):
        CallableLoss(function).rows_with_gradient_(Z, y, torch.empty_like(Z))
