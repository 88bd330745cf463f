"""The elastic net of K replicas: value and gradient by its formula, alone and together."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thetalearn.objectives.penalties import ElasticNet
from thetalearn.solvers.gradient.optimizers import soft_threshold_

SIZES = (6, 4)  # of two weights, of one replica

strengths = st.sampled_from([0.0, 1e-3, 0.3, 5.0])
ratios = st.sampled_from([0.0, 0.25, 1.0])
pairs = st.lists(st.tuples(strengths, ratios), min_size=1, max_size=4)


class Problem:
    """Penalised weights of K replicas with a random gradient, in flat buffers."""

    def __init__(self, pairs, seed=0, dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)
        self.n_replicas = len(pairs)
        self.weights, self.gradient = (
            torch.randn(self.n_replicas * sum(SIZES), generator=generator, dtype=torch.float64).to(
                dtype
            )
            for _ in range(2)
        )
        self.stacks, self.gradients = self.split(self.weights), self.split(self.gradient)
        self.penalty = ElasticNet(
            [alpha for alpha, _ in pairs],
            [ratio for _, ratio in pairs],
            self.stacks,
            self.gradients,
            self.weights,
            self.gradient,
        )

    def split(self, flat):
        parts = flat.split([self.n_replicas * size for size in SIZES])
        return [part.view(self.n_replicas, -1) for part in parts]

    def replica(self, k, flat=None):
        """The weights of one replica as one vector."""
        stacks = self.stacks if flat is None else self.split(flat)
        return torch.cat([stack[k] for stack in stacks])


def smooth(w, alpha, ratio):
    return alpha * (1 - ratio) * w.square().sum() / 2


def formula(w, alpha, ratio):
    return alpha * ratio * w.abs().sum() + smooth(w, alpha, ratio)


@given(pairs=pairs, seed=st.integers(0, 100))
def test_the_value_is_the_formula(pairs, seed):
    problem = Problem(pairs, seed)
    value = problem.penalty.value()
    expected = [formula(problem.replica(k), *pair) for k, pair in enumerate(pairs)]
    assert value.shape == (len(pairs),)
    # Sums of ten numbers, whatever their order.
    np.testing.assert_allclose(value.numpy(), torch.stack(expected).numpy(), rtol=1e-14)


@given(
    pairs=pairs,
    seed=st.integers(0, 100),
    totals=st.sampled_from([(8.0,) * 4, (8.0, 7.0, 0.25, 1e3)]),
)
def test_the_gradient_of_the_smooth_part_is_added(pairs, seed, totals):
    problem = Problem(pairs, seed)
    before = problem.gradient.clone()
    if problem.penalty.smooth:
        problem.penalty.add_gradient(totals[: len(pairs)])
    for k, pair in enumerate(pairs):
        w = problem.replica(k).clone().requires_grad_()
        (expected,) = torch.autograd.grad(smooth(w, *pair) / totals[k], w)
        added = problem.replica(k, problem.gradient) - problem.replica(k, before)
        # The gradient it is added to is of order one.
        torch.testing.assert_close(added, expected, rtol=1e-14, atol=1e-14)


@given(pairs=pairs, totals=st.sampled_from([(8.0,) * 4, (8.0, 7.0, 0.25, 1e3)]))
def test_thresholds_are_the_strength_of_the_l1_norm(pairs, totals):
    problem = Problem(pairs)
    if not problem.penalty.sharp:
        return
    thresholds = problem.penalty.thresholds(totals[: len(pairs)])
    flat = torch.as_tensor(thresholds, dtype=torch.float64).expand(len(problem.weights))
    for k, (alpha, ratio) in enumerate(pairs):
        # One product and one quotient.
        np.testing.assert_allclose(
            problem.replica(k, flat).numpy(), alpha * ratio / totals[k], rtol=1e-15
        )


@given(pairs=pairs)
def test_parts_that_are_not_there_are_known(pairs):
    penalty = Problem(pairs).penalty
    assert penalty.smooth == any(alpha * (1 - ratio) > 0 for alpha, ratio in pairs)
    assert penalty.sharp == any(alpha * ratio > 0 for alpha, ratio in pairs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("totals", [(5.0, 5.0, 5.0), (5.0, 4.0, 4.5)])
def test_a_replica_is_penalised_alone_as_in_a_stack(dtype, totals):
    pairs = [(0.1, 0.5), (0.0, 0.3), (2.0, 0.0)]
    together = Problem(pairs, dtype=dtype)
    before = together.gradient.clone()
    together.penalty.add_gradient(totals)
    values = together.penalty.value()
    # Rounding of sums of ten numbers of order one.
    rtol, atol = (1e-6, 1e-6) if dtype == torch.float32 else (1e-14, 1e-14)
    for k, pair in enumerate(pairs):
        alone = Problem([pair], dtype=dtype)
        alone.weights.copy_(together.replica(k))
        alone.gradient.copy_(together.replica(k, before))
        alone.penalty.add_gradient(totals[k : k + 1])
        found = together.replica(k, together.gradient)
        torch.testing.assert_close(found, alone.gradient, rtol=rtol, atol=atol)
        assert float(values[k]) == pytest.approx(float(alone.penalty.value()), rel=rtol)


def test_a_replica_without_penalty_keeps_its_gradient():
    problem = Problem([(0.0, 0.5), (1.0, 0.5)])
    before = problem.gradient.clone()
    for totals in [(3.0, 3.0), (3.0, 2.0)]:
        problem.penalty.add_gradient(totals)
        thresholds = problem.penalty.thresholds(totals)
        assert torch.equal(problem.replica(0, problem.gradient), problem.replica(0, before))
        assert not bool(problem.replica(0, thresholds).any())
    assert not torch.equal(problem.replica(1, problem.gradient), problem.replica(1, before))


def test_weights_that_are_not_finite_stay_in_their_replica():
    problem = Problem([(0.3, 0.5), (0.2, 0.1), (0.3, 0.5)])
    healthy = Problem([(0.3, 0.5), (0.2, 0.1), (0.3, 0.5)])
    problem.stacks[0][1, 2] = torch.nan
    for each in (problem, healthy):
        each.penalty.add_gradient((4.0, 3.0, 4.0))
    values, expected = problem.penalty.value(), healthy.penalty.value()
    assert not bool(torch.isfinite(values[1]))
    for k in (0, 2):
        assert values[k] == expected[k]
        assert torch.equal(
            problem.replica(k, problem.gradient), healthy.replica(k, healthy.gradient)
        )


def test_its_proximal_point_is_where_the_subgradient_vanishes():
    # The minimiser of |w - a|²/2 + α(ρ|w|₁ + (1-ρ)|w|²/2) is the shrunken soft threshold of a.
    alpha, ratio = 1.5, 0.5
    problem = Problem([(alpha, ratio)])
    a = problem.weights.clone()
    soft_threshold_(problem.weights, problem.penalty.thresholds((1.0,)))
    problem.weights.div_(1 + alpha * (1 - ratio))
    w = problem.weights
    problem.gradient.copy_(w - a)
    problem.penalty.add_gradient((1.0,))
    zero = w == 0
    assert 0 < int(zero.sum()) < len(w)
    # Where w is zero the rest of the gradient lies in the interval of the subgradient.
    assert bool((problem.gradient[zero].abs() <= alpha * ratio).all())
    rest = problem.gradient[~zero] + alpha * ratio * w[~zero].sign()
    torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-15)
