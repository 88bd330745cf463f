"""Newton's method and Newton with conjugate gradients: the same optimum, however it is reached."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.objectives.cross_entropy import BinaryCrossEntropy, SoftmaxCrossEntropy
from thetalearn.solvers import newton as module
from thetalearn.solvers.newton import newton, newton_cg

few = settings(max_examples=max(settings().max_examples // 4, 1))

both = pytest.mark.parametrize("solver", [newton, newton_cg])


def problem(n, d, classes=2, alpha=1e-3, seed=0, kind=None, weighted=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    logits = x @ rng.normal(size=(d, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    y = torch.eye(classes, dtype=torch.float64)[labels]
    kind = kind or (BinaryCrossEntropy if classes == 2 else SoftmaxCrossEntropy)
    weight = torch.from_numpy(rng.uniform(0.1, 3, n)) if weighted else None
    return kind(torch.from_numpy(x), y, weight, alpha)


def start(objective):
    return torch.zeros(objective.n_params, dtype=torch.float64)


class Quadratic:
    """(theta - centre)' H (theta - centre) / 2, for which Newton takes one step."""

    def __init__(self, hessian, centre):
        self.hessian, self.centre = hessian, centre
        self.X = torch.zeros(1, len(centre))
        self.n_params = len(centre)

    def evaluate(self, theta):
        gradient = self.hessian @ (theta - self.centre)
        return float((theta - self.centre) @ gradient / 2), gradient

    def evaluate_with_hessian(self, theta):
        return *self.evaluate(theta), self.hessian

    def curvature(self, theta):
        return (lambda v: self.hessian @ v), self.hessian.diagonal()

    def thinned(self, stride):
        return self


@both
@given(d=st.integers(1, 8), seed=st.integers(0, 1000), spread=st.floats(0, 4))
def test_a_quadratic_takes_one_or_few_steps(solver, d, seed, spread):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    hessian = torch.from_numpy(basis @ np.diag(10.0 ** rng.uniform(-spread, 0, d)) @ basis.T)
    objective = Quadratic((hessian + hessian.T) / 2, torch.from_numpy(rng.normal(size=d)))
    found = solver(objective, start(objective), tol=1e-10, max_iter=100)
    assert found.converged
    assert found.n_iter == 1 or solver is newton_cg
    # The decrement 1e-10 over the square root of the smallest curvature, 1e-2.
    torch.testing.assert_close(found.theta, objective.centre, rtol=0, atol=1e-7)


@both
@few
@given(
    n=st.integers(10, 60),
    d=st.integers(1, 4),
    classes=st.integers(2, 4),
    alpha=st.sampled_from([1e-3, 0.1]),
    seed=st.integers(0, 1000),
)
def test_the_gradient_vanishes_and_the_solvers_agree(solver, n, d, classes, alpha, seed):
    objective = problem(n, d, classes, alpha, seed)
    found = solver(objective, start(objective), tol=1e-9, max_iter=200)
    assert found.converged and found.reason in ("tolerance met", "no further descent")
    value, gradient = objective.evaluate(found.theta)
    # A decrement of 1e-9 bounds the gradient by its product with the root of the curvature.
    assert float(gradient.abs().max()) < 1e-8
    other = newton(objective, start(objective), tol=1e-9, max_iter=200)
    # The value is flat to second order; what remains is rounding.
    assert value == pytest.approx(objective.evaluate(other.theta)[0], rel=1e-12)


@both
def test_where_it_starts_does_not_matter(solver):
    objective = problem(200, 3, weighted=True)
    rng = np.random.default_rng(0)
    ends = [
        solver(objective, torch.from_numpy(size * rng.normal(size=4)), tol=1e-10, max_iter=200)
        for size in (0, 1, 30)
    ]
    for end in ends[1:]:
        # Strictly convex: a decrement of 1e-10 over a curvature of at least 1e-3.
        torch.testing.assert_close(end.theta, ends[0].theta, rtol=0, atol=1e-7)


# ------------------------------------------------------------------ many rows


def count_hessians(objective, counted):
    plain = objective.evaluate_with_hessian
    objective.evaluate_with_hessian = lambda theta: (counted.append(1), plain(theta))[1]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_thinned_rows_lead_to_the_same_optimum(classes, weighted, monkeypatch):
    objective = problem(20_000, 4, classes, 1e-4, weighted=weighted)
    strides = []
    plain = type(objective).thinned
    monkeypatch.setattr(
        type(objective), "thinned", lambda self, k: (strides.append(k), plain(self, k))[1]
    )
    hessians = []
    count_hessians(objective, hessians)
    thinned = newton(objective, start(objective), tol=1e-10, max_iter=100)
    assert strides == [module.THIN_STRIDE**2, module.THIN_STRIDE][-len(strides) :] != []
    assert len(hessians) <= 1  # steps on all rows borrow the Hessian of a part
    monkeypatch.setattr(module, "THIN_ROWS", 10**9)  # never thin
    direct = newton(objective, start(objective), tol=1e-10, max_iter=100)
    assert thinned.converged and direct.converged
    # A decrement of 1e-10 over a curvature of at least 1e-4.
    torch.testing.assert_close(thinned.theta, direct.theta, rtol=0, atol=1e-7)


@pytest.mark.parametrize("what", ["one class", "outliers", "order"])
def test_thinned_rows_may_mislead(what):
    # What the first of every eight rows show says nothing about the rest.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4_000, 2))
    labels = (rng.random(4_000) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    if what == "one class":
        labels[::8] = 1
    elif what == "outliers":
        x[::8] *= 1e3
    else:
        order = np.lexsort([labels])
        x, labels = x[order], labels[order]
    y = torch.eye(2, dtype=torch.float64)[labels]
    objective = BinaryCrossEntropy(torch.from_numpy(x), y, None, 0.0)
    found = newton(objective, start(objective), tol=1e-9, max_iter=100)
    assert found.converged
    # The decrement 1e-9, times the root of the curvature: up to 300 with the outliers.
    assert float(objective.evaluate(found.theta)[1].abs().max()) < 1e-6


# ------------------------------------------------------------------ stopping


@both
def test_max_iter_is_kept_and_said(solver):
    objective = problem(200, 3)
    found = solver(objective, start(objective), tol=1e-12, max_iter=2)
    assert (found.n_iter, found.converged) == (2, False)
    assert found.reason == "max_iter=2 steps taken"


@both
def test_the_report_is_told_of_every_step_and_can_stop(solver):
    objective = problem(200, 3)
    seen = []

    def report(record, theta):
        seen.append((record, theta.clone()))
        return len(seen) == 3

    found = solver(objective, start(objective), tol=1e-12, max_iter=50, report=report)
    assert (found.n_iter, found.converged, found.reason) == (3, False, "stopped by a callback")
    assert torch.equal(found.theta, seen[-1][1])
    losses = [record["loss"] for record, _ in seen]
    assert losses == sorted(losses, reverse=True)
    for record, theta in seen:
        value, gradient = objective.evaluate(theta)
        # The same evaluation of the same theta.
        assert record["loss"] == pytest.approx(value, rel=1e-14)
        assert record["gradient_norm"] == pytest.approx(float(gradient.abs().max()), rel=1e-10)


@both
def test_an_interrupt_keeps_the_iterate(solver):
    objective = problem(200, 3)
    seen = []

    def report(record, theta):
        seen.append(theta.clone())
        if len(seen) == 2:
            raise KeyboardInterrupt
        return False

    found = solver(objective, start(objective), tol=1e-12, max_iter=50, report=report)
    assert (found.converged, found.reason) == (False, "interrupted")
    assert torch.equal(found.theta, seen[-1])


def test_an_interrupt_among_thinned_rows_ends_the_whole():
    objective = problem(20_000, 3)

    class Interrupted(type(objective)):
        """The objective of a part of the rows, where the user loses patience."""

        calls = 0

        def evaluate(self, theta):
            Interrupted.calls += 1
            if Interrupted.calls == 2:
                raise KeyboardInterrupt
            return super().evaluate(theta)

    objective.__class__ = Interrupted
    found = newton(objective, start(objective), tol=1e-10, max_iter=50)
    assert found.reason == "interrupted" and not found.converged
    assert torch.isfinite(found.theta).all()
    assert Interrupted.calls == 2


# ------------------------------------------------------------------ hard cases


@both
def test_directions_without_curvature_are_left_alone(solver):
    # The third column repeats the first, and the fourth is zero: no penalty, no unique optimum.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = torch.eye(2, dtype=torch.float64)[(rng.random(300) < 0.5).astype(int)]
    wide = np.c_[x, x[:, 0], np.zeros(300)]
    flat = BinaryCrossEntropy(torch.from_numpy(wide), y, None, 0.0)
    plain = BinaryCrossEntropy(torch.from_numpy(x), y, None, 0.0)
    found = solver(flat, start(flat), tol=1e-10, max_iter=100)
    truth = solver(plain, start(plain), tol=1e-10, max_iter=100)
    assert found.converged
    # A decrement of 1e-10 over a curvature of about one fifth.
    assert float(found.theta[0] + found.theta[2]) == pytest.approx(float(truth.theta[0]), abs=1e-8)
    assert found.theta[3] == 0


@both
def test_without_a_minimum_the_direction_tells_where_it_would_go(solver):
    x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]], dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)[[0, 0, 1, 1]]
    objective = BinaryCrossEntropy(x, y, None, 0.0)
    found = solver(objective, start(objective), tol=1e-8, max_iter=100)
    assert torch.isfinite(found.theta).all()
    assert found.theta[0] > 10  # x = 0 separates, so the slope only grows
    for direction in (found.direction, found.drift):
        assert direction[0] < 0
        assert (objective.margins(-direction) >= -1e-12).all()  # no row loses, but for rounding


@both
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_inputs_do_not_matter(solver, scale):
    plain, scaled = problem(200, 3, alpha=0.0), problem(200, 3, alpha=0.0)
    scaled.X = scaled.X * scale
    ends = [solver(o, start(o), tol=1e-9, max_iter=100) for o in (plain, scaled)]
    assert ends[0].converged and ends[1].converged
    slopes = [ends[0].theta[:-1], ends[1].theta[:-1] * scale]
    # A decrement of 1e-9 over a curvature of at least 1e-2.
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=1e-7)
