"""Batched maximisation: maxima that are known, bounds that bind, and what cannot be maximised."""

import math
import time

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.solvers.maximize import maximize_enumerate, maximize_golden, maximize_newton


class Problems:
    """n problems from one function of per-problem data (n, k) and actions, with derivatives."""

    def __init__(self, function, data, n_actions=1):
        self.function, self.data = function, data
        self.n_problems, self.n_actions = len(data), n_actions
        self.n_rows, self.n_values = [], 0

    def value(self, rows, actions):
        self.n_values += actions.shape[0] * actions.shape[1]
        return self.function(self.data[rows][:, None], actions)

    def derivatives(self, rows, actions):
        self.n_rows.append(len(actions))
        a = actions.detach().requires_grad_()
        value = self.function(self.data[rows], a)
        (gradient,) = torch.autograd.grad(value.sum(), a, create_graph=True)
        hessian = torch.stack(
            [
                torch.autograd.grad(gradient[:, i].sum(), a, retain_graph=True)[0]
                if gradient.requires_grad
                else torch.zeros_like(a)
                for i in range(a.shape[1])
            ],
            dim=2,
        )
        return value.detach(), gradient.detach(), hessian.detach()


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def column(values):
    return tensor(values)[:, None]


def box(n, m=1, low=0.0, high=1.0):
    return torch.full((n, m), low).double(), torch.full((n, m), high).double()


def quadratics(rng, n, m, condition=10.0):
    """Concave quadratics with random axes: the data holds the centre and a root of -H."""
    roots = rng.normal(size=(n, m, m)) + np.eye(m)
    left, _, right = np.linalg.svd(roots)
    values = np.exp(rng.uniform(-0.5, 0.5, size=(n, m)) * math.log(condition))
    roots = left * values[:, None, :] @ right
    centres = rng.uniform(-0.5, 1.5, size=(n, m))
    data = tensor(np.concatenate([centres, roots.reshape(n, -1)], axis=1))

    def function(data, a):
        root = data[..., m:].unflatten(-1, (m, m))
        off = torch.einsum("...ij,...j->...i", root, a - data[..., :m])
        return -off.square().sum(-1) / 2

    return Problems(function, data, m)


def assert_kkt(problems, found, lower, upper, atol):
    _, gradient, _ = problems.derivatives(slice(None), found.actions)
    free = ~(found.at_lower | found.at_upper)
    assert bool((gradient[free].abs() <= atol).all())
    assert bool((gradient[found.at_lower & ~found.at_upper] <= atol).all())
    assert bool((gradient[found.at_upper & ~found.at_lower] >= -atol).all())
    assert bool(((found.actions >= lower) & (found.actions <= upper)).all())


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("n_candidates", [0, None])
def test_quadratics_agree_with_bounded_least_squares(m, n_candidates):
    rng = np.random.RandomState(m)
    problems = quadratics(rng, 40, m)
    lower, upper = box(40, m)
    start = tensor(rng.uniform(size=(40, m)))
    found = maximize_newton(problems, lower, upper, start, n_candidates=n_candidates)
    assert bool(found.converged.all()) and bool(found.feasible.all())
    for row, (data, actions) in enumerate(zip(problems.data.numpy(), found.actions, strict=True)):
        root, centre = data[m:].reshape(m, m), data[:m]
        exact = scipy.optimize.lsq_linear(root, root @ centre, (0, 1), method="bvls", tol=1e-15)
        # Both are exact up to rounding times the condition number, at most 100.
        np.testing.assert_allclose(actions, exact.x, rtol=0, atol=1e-12, err_msg=f"row {row}")
    assert bool((found.at_lower | found.at_upper).any())


@settings(deadline=None, max_examples=40)
@given(
    m=st.integers(1, 4),
    n=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    log_condition=st.floats(0, 4),
    log_unit=st.floats(-6, 6),
)
def test_quadratics_meet_the_first_order_conditions_in_any_units(
    m, n, seed, log_condition, log_unit
):
    rng = np.random.RandomState(seed)
    problems = quadratics(rng, n, m, 10**log_condition)
    lower = tensor(rng.uniform(-1, 0.5, size=(n, m)))
    upper = lower + tensor(rng.uniform(0, 1, size=(n, m)))
    unit = 10**log_unit

    def function(data, a):
        return problems.function(data, a / unit)

    scaled = Problems(function, problems.data, m)
    found = maximize_newton(scaled, lower * unit, upper * unit)
    assert bool(found.converged.all())
    # The gradient of the unscaled problem, against rounding of its largest terms.
    atol = 1e-11 * 10**log_condition / unit
    assert_kkt(scaled, found, lower * unit, upper * unit, atol)


@pytest.mark.parametrize("maximize", [maximize_newton, maximize_golden])
def test_logarithms_that_end_in_minus_infinity(maximize):
    wealth, weight = np.meshgrid(10.0 ** np.arange(-6, 7), [0.01, 0.3, 1.0, 30.0])
    data = tensor(np.stack([wealth.ravel(), weight.ravel()], axis=1))

    def function(data, a):
        return a[..., 0].log() + data[..., 1] * (data[..., 0] - a[..., 0]).log()

    problems = Problems(function, data)
    upper = data[:, :1]
    found = maximize(problems, torch.zeros_like(upper), upper)
    exact = data[:, :1] / (1 + data[:, 1:])
    assert bool(found.converged.all())
    # Newton reaches rounding; values alone cannot do better than sqrt(eps) over the curvature.
    rtol = 1e-12 if maximize is maximize_newton else 3e-7
    torch.testing.assert_close(found.actions, exact, rtol=rtol, atol=0)


def test_bounds_far_beyond_the_feasible_actions():
    # All but one candidate are infeasible, and Newton's step overshoots.
    wealth = tensor(np.geomspace(1e-3, 1e3, 50))[:, None]
    problems = Problems(lambda w, a: ((w - a).log() + 0.5 * (1 + a).log())[..., 0], wealth)
    lower, upper = torch.zeros_like(wealth), torch.full_like(wealth, 1e6)
    found = maximize_newton(problems, lower, upper)
    exact = ((wealth / 2 - 1) / 1.5).clamp(min=0)
    assert bool(found.converged.all())
    # 1e-4 of the width is what actions near 0 are measured against.
    torch.testing.assert_close(found.actions, exact, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.at_lower, exact == 0)


def test_two_goods_with_a_budget_inside_the_box():
    share = tensor([[0.2, 0.3], [0.01, 0.9], [0.45, 0.45]])

    def function(data, a):
        rest = 1 - a.sum(-1)
        return (data * a.log()).sum(-1) + (1 - data.sum(-1)) * rest.log()

    found = maximize_newton(Problems(function, share, 2), *box(3, 2))
    # Cobb-Douglas: what is spent on a good is its share.
    torch.testing.assert_close(found.actions, share, rtol=1e-12, atol=0)
    assert bool(found.converged.all())


@pytest.mark.parametrize("maximize", [maximize_newton, maximize_golden])
def test_the_highest_of_several_hills_is_found(maximize):
    rng = np.random.RandomState(0)
    # The tilt sets neighbouring hills 0.7 apart, more than the candidates can miss of one: 0.1.
    tilt = rng.choice([-1.0, 1.0], 60)
    data = tensor(np.stack([rng.uniform(0, 2 * np.pi, 60), tilt], axis=1))

    def function(data, a):
        return (9 * a[..., 0] + data[..., 0]).cos() + data[..., 1] * a[..., 0]

    problems = Problems(function, data)
    fine = torch.linspace(0, 1, 20_001).double()[:, None].expand(60, -1, 1)
    best = problems.value(slice(None), fine).amax(dim=1)
    start = column(rng.uniform(size=60))
    extra = (start,) if maximize is maximize_newton else ()
    found = maximize(problems, *box(60), *extra)
    # The fine grid misses a maximum by at most |v''| h**2 / 8 = 3e-8.
    assert bool((found.value >= best - 1e-12).all()) and bool((found.value <= best + 1e-7).all())


def test_hills_over_two_actions():
    centres = tensor([[0.2, 0.7, 0.8, 0.3], [0.9, 0.9, 0.1, 0.2]])

    def function(data, a):
        low = torch.exp(-20 * (a - data[..., :2]).square().sum(-1))
        return low + 2 * torch.exp(-20 * (a - data[..., 2:]).square().sum(-1))

    problems = Problems(function, centres, 2)
    found = maximize_newton(problems, *box(2, 2))
    # The lower hill shifts the higher by exp(-20 d**2) at most, d the distance.
    torch.testing.assert_close(found.actions, centres[:, 2:], rtol=0, atol=1e-4)
    assert_kkt(problems, found, *box(2, 2), atol=1e-12)


def test_newton_leaves_a_saddle_and_a_minimum():
    saddle = Problems(lambda d, a: a[..., 0] * a[..., 1] * d[..., 0], tensor([[1.0]]), 2)
    found = maximize_newton(saddle, *box(1, 2, 0.0, 3.0), tensor([[0.5, 1.0]]), n_candidates=0)
    assert found.actions.tolist() == [[3.0, 3.0]] and bool(found.at_upper.all())
    bowl = Problems(lambda d, a: (a[..., 0] - d[..., 0]) ** 2, tensor([[0.4]]))
    found = maximize_newton(bowl, *box(1), tensor([[0.4]]), n_candidates=0)
    assert found.actions.tolist() == [[1.0]] and bool(found.converged.all())


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("n_candidates", [0, None])
def test_linear_objectives_end_in_a_corner(m, n_candidates):
    slopes = tensor(np.random.RandomState(m).normal(size=(30, m)))
    lower, upper = box(30, m, -0.3, 0.7)
    start = torch.zeros(30, m).double()
    problems = Problems(lambda d, a: (d * a).sum(-1), slopes, m)
    found = maximize_newton(problems, lower, upper, start, n_candidates=n_candidates)
    assert torch.equal(found.actions, torch.where(slopes > 0, upper, lower))
    assert bool(found.converged.all())
    assert torch.equal(found.at_upper, slopes > 0) and torch.equal(found.at_lower, slopes < 0)


@given(kink=st.floats(-0.5, 1.5), left=st.floats(0.01, 100), right=st.floats(0.01, 100))
@settings(deadline=None, max_examples=40)
def test_kinks(kink, left, right):
    def function(data, a):
        off = a[..., 0] - kink
        return torch.where(off < 0, left * off, -right * off) + data[..., 0]

    problems = Problems(function, torch.zeros(1, 1).double())
    exact = min(max(kink, 0.0), 1.0)
    found = maximize_golden(problems, *box(1), tol=1e-12)
    # Rounding of the value and 1e-12 of the bracket.
    assert abs(float(found.actions) - exact) <= 1e-11
    if exact in (0.0, 1.0):
        assert float(found.actions) == exact
    # The sign of the slope brackets the kink for Newton's method too.
    newton = maximize_newton(problems, *box(1))
    assert abs(float(newton.actions) - exact) <= 1e-9 and bool(newton.converged.all())


def test_a_jump_of_the_curvature_costs_no_accuracy():
    # A shifted ReLU squared: the second derivative jumps near the maximum.
    knots = column(np.linspace(0.1, 0.9, 33))
    problems = Problems(
        lambda k, a: (-a.square() + a - 40 * (a - k).clamp(min=0).square())[..., 0], knots
    )
    found = maximize_newton(problems, *box(33))
    exact = torch.where(knots >= 0.5, 0.5, (1 + 80 * knots) / 82)
    torch.testing.assert_close(found.actions, exact.double(), rtol=1e-12, atol=0)


def test_infinite_slopes_at_the_ends():
    # sqrt(a) + b sqrt(1 - a): finite values, infinite slopes at both ends.
    weight = column(np.geomspace(1e-2, 1e2, 21))
    for power in (0.5, 0.1):
        problems = Problems(
            lambda b, a, p=power: (a.clamp(min=0) ** p + b * (1 - a).clamp(min=0) ** p)[..., 0],
            weight,
        )
        exact = 1 / (1 + weight ** (1 / (1 - power)))
        for n_candidates in (2, None):
            found = maximize_newton(problems, *box(21), n_candidates=n_candidates)
            torch.testing.assert_close(found.actions, exact, rtol=0, atol=1e-13)
            assert bool(found.converged.all())


@pytest.mark.parametrize("m", [1, 2])
def test_degenerate_maxima_are_approached(m):
    centres = tensor(np.random.RandomState(m).uniform(size=(10, m)))
    problems = Problems(lambda d, a: -((a - d) ** 4).sum(-1), centres, m)
    found = maximize_newton(problems, *box(10, m))
    assert bool(found.converged.all())
    # Newton's step is a third of the distance here, and one step alone must not stop early.
    torch.testing.assert_close(found.actions, centres, rtol=0, atol=1e-8)


def test_a_constant_is_at_its_maximum_everywhere():
    for m in (1, 2):
        problems = Problems(lambda d, a: 0 * a.sum(-1) + d[..., 0], torch.ones(4, 1).double(), m)
        found = maximize_newton(problems, *box(4, m))
        assert bool(found.converged.all()) and found.value.tolist() == [1.0] * 4
    found = maximize_golden(Problems(lambda d, a: 0 * a[..., 0], torch.ones(4, 1)), *box(4))
    assert bool(found.converged.all())


@pytest.mark.parametrize("m", [1, 2])
def test_actions_without_bounds(m):
    centres = tensor(np.random.RandomState(m).normal(size=(8, m)) * 1e3)
    problems = Problems(lambda d, a: -(1 + (a - d) ** 2).log().sum(-1), centres, m)
    infinite = torch.full((8, m), math.inf).double()
    start = torch.zeros(8, m).double()
    found = maximize_newton(problems, -infinite, infinite, start)
    assert bool(found.converged.all())
    torch.testing.assert_close(found.actions, centres, rtol=1e-12, atol=0)
    half = maximize_newton(problems, start, infinite, start)
    torch.testing.assert_close(half.actions, centres.clamp(min=0), rtol=1e-12, atol=0)
    assert torch.equal(half.at_lower, centres < 0)


def test_an_objective_without_a_maximum_is_not_called_converged():
    for m in (1, 2):
        zeros = torch.zeros(2, m).double()
        problems = Problems(lambda d, a: torch.nn.functional.softplus(a).sum(-1), zeros, m)
        found = maximize_newton(problems, zeros - math.inf, zeros + math.inf, zeros)
        assert not bool(found.converged.any())


@pytest.mark.parametrize("maximize", [maximize_newton, maximize_golden])
def test_fixed_actions(maximize):
    fixed = column([0.0, 0.25, 1.0])
    problems = Problems(lambda d, a: -((a - 0.5) ** 2)[..., 0], fixed)
    found = maximize(problems, fixed, fixed)
    assert torch.equal(found.actions, fixed) and bool(found.converged.all())
    assert bool((found.at_lower & found.at_upper).all())
    torch.testing.assert_close(found.value, -((fixed[:, 0] - 0.5) ** 2), rtol=0, atol=0)


def test_one_of_two_actions_is_fixed():
    data = column([0.1, 0.9])
    problems = Problems(lambda d, a: -(a - d).square().sum(-1) - a.prod(-1), data, 2)
    lower, upper = tensor([[0.3, 0.0]] * 2), tensor([[0.3, 1.0]] * 2)
    found = maximize_newton(problems, lower, upper)
    torch.testing.assert_close(found.actions[:, 1:], (data - 0.15).clamp(min=0), rtol=0, atol=1e-14)
    assert torch.equal(found.actions[:, 0], lower[:, 0])


@pytest.mark.parametrize("maximize", [maximize_newton, maximize_golden])
@pytest.mark.parametrize("n", [0, 1, 5000])
def test_any_number_of_problems(maximize, n):
    centres = column(np.linspace(-0.5, 1.5, n))
    problems = Problems(lambda d, a: -(a - d).square()[..., 0], centres)
    found = maximize(problems, *box(n))
    assert found.actions.shape == (n, 1) and found.at_lower.shape == (n, 1)
    assert found.value.shape == found.converged.shape == found.feasible.shape == (n,)
    torch.testing.assert_close(found.actions, centres.clamp(0, 1), rtol=0, atol=1e-7)
    assert bool(found.converged.all())


@pytest.mark.parametrize("m", [1, 2])
def test_problems_do_not_see_each_other(m):
    problems = quadratics(np.random.RandomState(7), 20, m)
    together = maximize_newton(problems, *box(20, m))
    for row in range(20):
        alone = Problems(problems.function, problems.data[row : row + 1], m)
        found = maximize_newton(alone, *box(1, m))
        # Batched and single products round differently.
        torch.testing.assert_close(found.actions[0], together.actions[row], rtol=0, atol=1e-14)


def test_finished_problems_are_not_evaluated_again():
    # The first 90 are linear and end at once, the rest need several steps.
    power = column([1.0] * 90 + [0.3] * 10)
    problems = Problems(lambda p, a: (a**p - 0.6 * a)[..., 0], power)
    maximize_newton(problems, *box(100, 1, 0.01, 1.0))
    assert problems.n_rows[0] == 100 and max(problems.n_rows[2:]) <= 10


@pytest.mark.parametrize("m", [1, 2])
def test_what_is_not_feasible_is_said(m):
    # Feasible above d, and nowhere at all for d > 1.
    data = column([0.5, 2.0, 0.2])
    problems = Problems(
        lambda d, a: (a - d).log().sum(-1) - a.sum(-1) + 0 * d[..., 0].reciprocal(), data, m
    )
    found = maximize_newton(problems, *box(3, m))
    assert found.feasible.tolist() == [True, False, True] == found.converged.tolist()
    assert bool(found.actions[1].isnan().all()) and float(found.value[1]) == -math.inf
    assert bool((found.actions[::2] == 1).all())
    if m == 1:
        assert maximize_golden(problems, *box(3)).feasible.tolist() == [True, False, True]


@pytest.mark.parametrize("n_candidates", [0, None])
def test_a_feasible_set_that_the_candidates_miss(n_candidates):
    middle = column([0.137, 0.61])
    problems = Problems(lambda d, a: (1e-4 - (a - d).square()).log()[..., 0], middle)
    start = None if n_candidates is None else torch.zeros(2, 1).double()
    found = maximize_newton(problems, *box(2), start, n_candidates=n_candidates)
    torch.testing.assert_close(found.actions, middle, rtol=1e-12, atol=0)


def test_a_ridge_across_two_actions_is_not_called_converged():
    def function(data, a):
        first, second = a[..., 0], a[..., 1]
        ridge = torch.minimum(3 * first - second, 3 * second - 2 * first)
        return ridge - 0.3 * (a - 0.5).square().sum(-1)

    found = maximize_newton(Problems(function, torch.zeros(2, 1).double(), 2), *box(2, 2))
    assert bool(found.feasible.all()) and not bool(found.converged.any())


@pytest.mark.parametrize("m", [1, 2])
def test_a_start_that_is_not_a_number_is_replaced(m):
    problems = Problems(lambda d, a: -(a - d).square().sum(-1), column([0.5, 0.6]), m)
    start = tensor([[math.nan] * m, [0.1] * m])
    found = maximize_newton(problems, *box(2, m), start, n_candidates=0)
    exact = problems.data.expand(-1, m)
    torch.testing.assert_close(found.actions, exact, rtol=1e-14, atol=0)


def test_a_start_outside_the_bounds_is_moved_inside():
    problems = Problems(lambda d, a: -(a - d).square()[..., 0], column([0.5]))
    found = maximize_newton(problems, *box(1), tensor([[7.0]]), n_candidates=0)
    torch.testing.assert_close(found.actions, column([0.5]), rtol=1e-14, atol=0)


def test_a_good_start_takes_few_steps():
    data = column(np.linspace(1.0, 2.0, 200))
    problems = Problems(lambda w, a: (a.log() + 0.9 * (w - a).log())[..., 0], data)
    exact = data / 1.9
    found = maximize_newton(
        problems, torch.zeros_like(data), data, exact * (1 + 1e-4), n_candidates=0
    )
    torch.testing.assert_close(found.actions, exact, rtol=1e-13, atol=0)
    # Quadratic convergence: 1e-4, 1e-8, and the last step of less than tol is not evaluated.
    assert found.n_iter <= 2 and problems.n_values == 0


def test_rounding_of_the_objective_does_not_keep_it_busy():
    # A large constant hides the ascent long before the tolerance is met.
    data = tensor(np.random.RandomState(3).uniform(0.2, 0.8, size=(50, 2)))
    for m in (1, 2):
        problems = Problems(
            lambda d, a, m=m: 1e6 - (a - d[..., :m]).square().sum(-1) * 1e-3, data, m
        )
        found = maximize_newton(problems, *box(50, m))
        assert bool(found.converged.all()) and found.n_iter <= 5
        torch.testing.assert_close(found.actions, data[:, :m], rtol=1e-12, atol=0)


def test_single_precision():
    data = column([0.2, 0.7]).float()
    problems = Problems(lambda d, a: (a.log() - a / d)[..., 0], data)
    lower, upper = torch.zeros(2, 1), torch.ones(2, 1)
    found = maximize_newton(problems, lower, upper)
    assert found.actions.dtype == torch.float32 and bool(found.converged.all())
    torch.testing.assert_close(found.actions, data, rtol=1e-6, atol=0)


def test_the_steps_run_out():
    problems = Problems(lambda d, a: (a.log() - a / d)[..., 0], column([0.2]))
    found = maximize_newton(problems, *box(1, 1, 1e-6, 1.0), max_iter=1, n_candidates=2)
    assert not bool(found.converged.any()) and bool(found.feasible.all()) and found.n_iter == 1


def test_the_global_generator_is_left_alone():
    torch_state = torch.get_rng_state()
    maximize_newton(quadratics(np.random.RandomState(0), 3, 2), *box(3, 2))
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("max_evaluations", [1, 7, 10_000])
def test_enumeration_agrees_with_the_whole_table(max_evaluations):
    rng = np.random.RandomState(0)
    # Rounded values make ties, of which the first counts.
    table = tensor(rng.normal(size=(40, 11)).round(1))
    table[3] = -math.inf
    table[5, :10] = math.nan
    actions = tensor(rng.normal(size=(11, 2)))

    def value(rows, part):
        places = (part[:, :, None] == actions).all(-1).double().argmax(-1)
        assert places.numel() <= max_evaluations
        return table[rows].gather(1, places)

    choice = maximize_enumerate(value, actions, n_problems=40, max_evaluations=max_evaluations)
    clean = table.numpy().copy()
    clean[np.isnan(clean)] = -np.inf
    expected = clean.argmax(axis=1)
    expected[3] = -1
    np.testing.assert_array_equal(choice.index, expected)
    np.testing.assert_array_equal(choice.value, clean.max(axis=1))
    assert choice.feasible.tolist() == (expected >= 0).tolist()
    assert bool(choice.actions[3].isnan().all())
    assert torch.equal(choice.actions[choice.feasible], actions[choice.index[choice.feasible]])


def test_enumeration_of_no_problems():
    choice = maximize_enumerate(
        lambda rows, actions: actions[..., 0], torch.zeros(3, 1), n_problems=0
    )
    assert choice.index.shape == (0,) and choice.actions.shape == (0, 1)


def test_bad_input():
    problems = Problems(lambda d, a: -a.square()[..., 0], torch.zeros(2, 1).double())
    lower, upper = box(2)
    with pytest.raises(ValueError, match=r"action 0 cross in row 1: lower=2\.0.*upper=1\.0"):
        maximize_newton(problems, lower + column([0.0, 2.0]), upper)
    with pytest.raises(ValueError, match="row 0: lower=nan"):
        maximize_golden(problems, lower * math.nan, upper)
    with pytest.raises(ValueError, match="infinite; pass a start"):
        maximize_newton(problems, lower, upper * math.inf)
    with pytest.raises(ValueError, match=r"lower has shape \(2,\)"):
        maximize_newton(problems, lower[:, 0], upper)
    with pytest.raises(ValueError, match="n_candidates=0 leaves nowhere"):
        maximize_newton(problems, lower, upper, n_candidates=0)
    with pytest.raises(ValueError, match="n_candidates=-1"):
        maximize_newton(problems, lower, upper, n_candidates=-1)
    with pytest.raises(ValueError, match="finite bounds"):
        maximize_golden(problems, lower, upper * math.inf)
    with pytest.raises(ValueError, match="n_candidates=1"):
        maximize_golden(problems, lower, upper, n_candidates=1)
    with pytest.raises(ValueError, match="one action, not 2"):
        maximize_golden(quadratics(np.random.RandomState(0), 2, 2), *box(2, 2))
    with pytest.raises(ValueError, match=r"shape \(0, 1\)"):
        maximize_enumerate(problems.value, torch.zeros(0, 1), n_problems=2)
    with pytest.raises(ValueError, match="max_evaluations=0"):
        maximize_enumerate(problems.value, torch.zeros(1, 1), n_problems=2, max_evaluations=0)


def test_a_thousand_problems_take_milliseconds():
    class Timed(Problems):
        seconds = 0.0

        def value(self, rows, actions):
            start = time.perf_counter()
            result = self.function(self.data[rows][:, None], actions)
            self.seconds += time.perf_counter() - start
            return result

        def derivatives(self, rows, actions):
            start = time.perf_counter()
            result = super().derivatives(rows, actions)
            self.seconds += time.perf_counter() - start
            return result

    data = column(np.linspace(1.0, 2.0, 1000))
    problems = Timed(lambda w, a: (a.log() + 0.9 * (w - a).log())[..., 0], data)
    zeros = torch.zeros_like(data)
    overheads = []
    for _ in range(10):
        problems.seconds, start = 0.0, time.perf_counter()
        maximize_newton(problems, zeros, data)
        overheads.append(time.perf_counter() - start - problems.seconds)
    # About 2 ms on one idle core; other work on the machine may slow it down manyfold.
    assert min(overheads) < 0.02, overheads
