"""Fixed points: the distance to them is what the tolerance bounds, however they are found."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.solvers.fixed_point import fixed_point

few = settings(max_examples=30, deadline=None)
memories = pytest.mark.parametrize("memory", [0, 1, 5])


class Affine:
    """θ -> M θ + b, which counts its calls; M is ρ times a stochastic matrix."""

    def __init__(self, k, rate, seed, dtype=torch.float64):
        rng = np.random.default_rng(seed)
        self.matrix = torch.from_numpy(rate * rng.dirichlet(np.full(k, 0.3), size=k)).to(dtype)
        self.shift = torch.from_numpy(rng.normal(size=k)).to(dtype)
        self.start = torch.zeros(k, dtype=dtype)
        system = np.eye(k) - self.matrix.double().numpy()
        self.answer = torch.from_numpy(np.linalg.solve(system, self.shift.double().numpy()))
        self.n_calls = 0

    def __call__(self, theta):
        self.n_calls += 1
        return self.matrix @ theta + self.shift

    def error(self, theta):
        return float((theta - self.answer).abs().max())


@memories
@few
@given(
    k=st.integers(1, 12),
    rate=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    seed=st.integers(0, 10_000),
    exponent=st.integers(3, 9),
)
def test_the_error_is_within_tol_for_a_known_modulus(memory, k, rate, seed, exponent):
    step, tol = Affine(k, rate, seed), 10.0**-exponent
    found = fixed_point(step, step.start, tol=tol, max_iter=5000, memory=memory, modulus=rate)
    assert found.converged
    # The reference is solved to 1e-14 times the condition, at most 200, and the size, up to 300.
    assert step.error(found.theta) <= tol + 1e-10
    assert found.n_iter == step.n_calls


@few
@given(k=st.integers(2, 12), rate=st.sampled_from([0.5, 0.9, 0.99]), seed=st.integers(0, 10_000))
def test_the_error_is_near_tol_for_an_estimated_modulus(k, rate, seed):
    step = Affine(k, rate, seed)
    found = fixed_point(step, step.start, tol=1e-6, max_iter=5000, memory=0)
    assert found.converged
    # Steps shrink by ρ in the end, and faster than that as long as other errors die out.
    assert step.error(found.theta) <= 1.1e-6


@memories
def test_stopping_at_a_small_step_leaves_a_large_error(memory):
    step, tol = Affine(8, 0.99, seed=0), 1e-6
    steps = []

    def naive(record, theta):
        steps.append((record["step"], step.error(theta)))
        return record["step"] <= tol

    fixed_point(step, step.start, tol=0.0, max_iter=5000, memory=0, modulus=0.99, report=naive)
    assert steps[-1][0] <= tol and steps[-1][1] > 50 * tol
    found = fixed_point(step, step.start, tol=tol, max_iter=5000, memory=memory)
    assert found.converged and step.error(found.theta) <= tol


@few
@given(seed=st.integers(0, 10_000), k=st.integers(1, 10))
def test_every_reported_bound_holds(seed, k):
    step = Affine(k, 0.9, seed)

    def report(record, theta):
        assert step.error(theta) <= record["bound"] * (1 + 1e-12) + 1e-12
        assert record["rate"] == 0.9
        return False

    fixed_point(step, step.start, tol=1e-9, max_iter=500, modulus=0.9, report=report)


@few
@given(k=st.integers(1, 6), seed=st.integers(0, 10_000), spread=st.floats(0.1, 3.0))
def test_anderson_is_gmres_on_linear_equations(k, seed, spread):
    # Eigenvalues outside the unit disc too: no contraction, and plain iterates would run off.
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(k, k)))[0]
    values = 1 + np.where(rng.random(k) < 0.5, -1, 1) * rng.uniform(0.1, spread + 0.1, k)
    matrix = torch.from_numpy(basis * values @ basis.T)
    shift = torch.from_numpy(rng.normal(size=k))
    steps = []
    fixed_point(
        lambda t: matrix @ t + shift,
        torch.zeros_like(shift),
        tol=1e-300,
        max_iter=k + 2,
        memory=k,
        safeguard=False,
        report=lambda record, theta: steps.append(record["step"]) or False,
    )
    # k steps span the space and one more solves in it; what is seen last is that it did.
    # The Krylov vectors of a matrix of condition 31 are nearly dependent: hence 1e-8.
    assert min(steps) <= 1e-8 * steps[0]


def test_a_slow_contraction_is_accelerated_many_times():
    step = Affine(30, 0.99, seed=3)
    plain = fixed_point(step, step.start, tol=1e-8, max_iter=5000, memory=0)
    fast = fixed_point(step, step.start, tol=1e-8, max_iter=5000)
    assert plain.converged and fast.converged
    assert fast.n_iter * 20 < plain.n_iter
    torch.testing.assert_close(fast.theta, plain.theta, rtol=0, atol=2e-8)


class Bellman:
    """max over a of r(a) + β P(a) v, whose fixed point is that of the best stationary policy."""

    def __init__(self, k, n_actions, discount, seed):
        rng = np.random.default_rng(seed)
        self.rewards = torch.from_numpy(rng.normal(size=(n_actions, k)))
        moves = rng.dirichlet(np.full(k, 0.2), size=(n_actions, k))
        self.moves = torch.from_numpy(discount * moves)

    def values(self, value):
        return self.rewards + self.moves @ value

    def __call__(self, value):
        return self.values(value).amax(0)

    def answer(self, value):
        """Policy iteration, which is exact when the policy no longer changes."""
        rows = torch.arange(len(value))
        for _ in range(100):
            best = self.values(value).argmax(0)
            system = torch.eye(len(value), dtype=value.dtype) - self.moves[best, rows]
            value, old = torch.linalg.solve(system, self.rewards[best, rows]), value
            if torch.equal(value, old):
                break
        return value


@memories
@few
@given(seed=st.integers(0, 10_000), discount=st.sampled_from([0.8, 0.95]))
def test_value_iteration_with_kinks_agrees_with_policy_iteration(memory, seed, discount):
    bellman = Bellman(10, 4, discount, seed)
    start = torch.zeros(10, dtype=torch.float64)
    found = fixed_point(bellman, start, tol=1e-8, max_iter=5000, memory=memory, modulus=discount)
    assert found.converged
    torch.testing.assert_close(found.theta, bellman.answer(start), rtol=0, atol=1e-8 + 1e-11)


def test_an_accelerated_iterate_outside_the_domain_is_taken_back():
    # Far off the steps hardly shrink: the first extrapolation goes far below -1.
    def step(theta):
        return torch.where(theta > -1, theta - torch.tanh(theta) / 2, torch.nan)

    start = torch.full((1,), 4.0, dtype=torch.float64)
    free = fixed_point(step, start, tol=1e-8, max_iter=400, memory=1, safeguard=False)
    assert not free.converged and "not finite" in free.reason
    assert bool(torch.isfinite(free.theta).all())
    guarded = fixed_point(step, start, tol=1e-8, max_iter=400, memory=1)
    assert guarded.converged and guarded.n_iter < 50
    torch.testing.assert_close(guarded.theta, torch.zeros_like(start), rtol=0, atol=1e-8)


def test_iterates_that_run_off_end_with_the_best_theta():
    start = torch.ones(3, dtype=torch.float64)
    found = fixed_point(lambda t: 2 * t, start, tol=1e-8, max_iter=500, memory=0)
    assert not found.converged and "diverged" in found.reason and found.n_iter < 100
    torch.testing.assert_close(found.theta, start)
    overflow = fixed_point(lambda t: torch.exp(9 * t), start, tol=1e-8, max_iter=500, memory=0)
    assert not overflow.converged and "not finite" in overflow.reason
    assert bool(torch.isfinite(overflow.theta).all())
    lost = fixed_point(torch.log, -start, tol=1e-8, max_iter=500)
    assert not lost.converged and lost.n_iter == 1
    torch.testing.assert_close(lost.theta, -start)


def test_a_tolerance_below_rounding_ends_at_rounding():
    step = Affine(6, 0.9, seed=1)
    found = fixed_point(step, step.start, tol=1e-300, max_iter=2000, modulus=0.9)
    assert found.converged and "rounding" in found.reason and found.n_iter < 200
    # 10 ulps of entries up to 10, amplified tenfold.
    assert step.error(found.theta) < 1e-13


@memories
def test_single_precision_stays_single_and_meets_its_tolerance(memory):
    step = Affine(8, 0.9, seed=2, dtype=torch.float32)
    found = fixed_point(step, step.start, tol=1e-4, max_iter=500, memory=memory, modulus=0.9)
    assert found.converged and found.theta.dtype == torch.float32
    # Ten times the rounding of a step of numbers up to 10 comes on top.
    assert step.error(found.theta) <= 1e-4 + 1e-5
    hopeless = fixed_point(step, step.start, tol=1e-12, max_iter=500, memory=memory, modulus=0.9)
    assert hopeless.converged and "rounding" in hopeless.reason


def test_a_constant_map_takes_two_evaluations():
    found = fixed_point(torch.ones_like, torch.zeros(2).double(), tol=1e-12, max_iter=9)
    assert found.converged and found.n_iter == 2
    known = fixed_point(torch.ones_like, torch.zeros(2).double(), tol=0.0, max_iter=9, modulus=0)
    assert known.converged and known.n_iter == 1
    torch.testing.assert_close(known.theta, torch.ones(2).double())


def test_max_iter_counts_evaluations_and_keeps_the_best():
    step = Affine(5, 0.99, seed=4)
    found = fixed_point(step, step.start, tol=1e-10, max_iter=7, memory=0)
    assert not found.converged and found.n_iter == step.n_calls == 7
    assert found.reason == "max_iter=7 evaluations made"
    torch.testing.assert_close(found.residual, step(found.theta) - found.theta)


def test_the_search_may_be_stopped_and_interrupted():
    step, seen = Affine(5, 0.99, seed=4), []

    def stop(record, theta):
        seen.append(record)
        return len(seen) == 4

    found = fixed_point(step, step.start, tol=1e-10, max_iter=99, report=stop)
    assert (found.n_iter, found.converged, found.reason) == (4, False, "stopped by a callback")
    assert set(seen[0]) == {"step", "rate", "bound"} and seen[0]["bound"] == np.inf

    def interrupt(record, theta):
        raise KeyboardInterrupt

    broken = fixed_point(step, step.start, tol=1e-10, max_iter=99, report=interrupt)
    assert (broken.n_iter, broken.converged, broken.reason) == (1, False, "interrupted")
    torch.testing.assert_close(broken.theta, step.start)


@pytest.mark.parametrize("modulus", [1.0, -0.1, float("nan")])
def test_a_modulus_that_is_none_is_refused(modulus):
    with pytest.raises(ValueError, match=r"modulus must be in \[0, 1\), got"):
        fixed_point(torch.zeros_like, torch.zeros(1), tol=1e-6, max_iter=9, modulus=modulus)


def test_a_negative_memory_is_refused():
    with pytest.raises(ValueError, match="memory must be at least 0, got -1"):
        fixed_point(torch.zeros_like, torch.zeros(1), tol=1e-6, max_iter=9, memory=-1)
