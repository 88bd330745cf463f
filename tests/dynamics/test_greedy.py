"""The best actions for a given value, against brute force, and where there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from thetalearn.dynamics import DynamicModel, MarkovChain, ModelError, Normal
from thetalearn.dynamics.approximation import Representation
from thetalearn.dynamics.bellman import continuation
from thetalearn.dynamics.equations import from_value
from thetalearn.dynamics.greedy import ActionValue, Continuation, GreedyActions
from thetalearn.dynamics.models import (
    make_brock_mirman,
    make_cake_eating,
    make_leisure_growth,
    make_linear_quadratic,
)
from thetalearn.dynamics.setup import Setup

DEGREE_TWO = Representation("complete", 2, None, None, None, (), "tanh")
SPLINES = Representation("bspline", 3, 8, None, None, (), "tanh")


def solved(model, representation=DEGREE_TWO):
    """A setup, and the exact value in the coordinates of the function."""
    rule = model.distribution.nodes()
    setup = Setup.build(model, representation, 1, rule, rng=np.random.RandomState(0))
    values = from_value(model, model.exact("value")(setup.states)[:, None])
    return setup, continuation(setup, setup.fit(values))


EXACT = {
    "brock_mirman": lambda: make_brock_mirman(),
    "cake": lambda: make_cake_eating(),
    "regulator": lambda: make_linear_quadratic(n_states=4),
    "leisure": lambda: make_leisure_growth(),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_value_gives_the_exact_policy(name):
    model = EXACT[name]()
    setup, ahead = solved(model)
    # The regulator leaves its box from the corners, and beyond it the value goes on linearly.
    states = 0.3 * setup.states if name == "regulator" else setup.states
    found = GreedyActions("newton")(setup.rows_at(states), ahead)
    # The gradient is zero to rounding, and the action as well as curvature allows.
    torch.testing.assert_close(found, model.exact("policy")(states), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["brock_mirman", "cake"])
def test_golden_section_agrees_to_the_root_of_rounding(name):
    model = EXACT[name]()
    setup, ahead = solved(model)
    found = GreedyActions("golden")(setup.rows, ahead)
    torch.testing.assert_close(found, model.exact("policy")(setup.states), rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["brock_mirman", "cake"])
def test_envelope_condition_gives_the_exact_policy_without_a_search(name):
    model = EXACT[name]()
    setup, ahead = solved(model)
    found = GreedyActions("envelope")(setup.rows, ahead)
    torch.testing.assert_close(found, model.exact("policy")(setup.states), rtol=1e-9, atol=1e-10)


def test_envelope_condition_needs_as_many_states_as_actions():
    model = replace(make_leisure_growth(), marginal_inverse=lambda v, s: 1 / v)
    setup, ahead = solved(model)
    with pytest.raises(ModelError, match=r'maximizer="envelope" needs .* 1 and 2: choose "newton"'):
        GreedyActions("envelope")(setup.rows, ahead)


def wavy(**changes):
    """A problem with several local maxima, and a shock."""
    given = {
        "reward": lambda s, a: torch.sin(9 * a[:, 0]) + s[:, 0] * a[:, 0] - a[:, 0] ** 2,
        "transition": lambda s, a, e: 0.5 * s + 0.3 * a + e,
        "discount": 0.8,
        "state_bounds": [(-1.0, 1.0)],
        "action_bounds": lambda s: (-1.0, 1.5 + s),
        "shocks": Normal(scale=0.1),
    }
    return DynamicModel(**{**given, **changes})


def with_values(model, values, representation=SPLINES):
    rule = model.distribution.nodes()
    setup = Setup.build(model, representation, 1, rule, rng=np.random.RandomState(0))
    return setup, continuation(setup, setup.fit(values(setup.states)[:, None]))


def hilly(s):
    return torch.cos(3 * s[:, 0]) - s[:, 0] ** 2


def brute_force(model, rows, ahead, n=4001):
    """The best of a fine grid, and the width of its cells, state by state."""
    lower, upper = model.action_limits(rows.states)
    shares = torch.linspace(0, 1, n, dtype=torch.float64)
    grid = lower + (upper - lower) * shares
    worth = ActionValue(rows, ahead).value(slice(None), grid[:, :, None])
    best = worth.argmax(1)
    return grid.gather(1, best[:, None]), worth.amax(1), (upper - lower) / (n - 1)


@pytest.mark.parametrize("method", ["newton", "golden"])
def test_best_of_several_maxima(method):
    model = wavy()
    setup, ahead = with_values(model, hilly)
    # Candidates close enough for some to lie in the basin of the best of four maxima.
    found = GreedyActions(method, n_candidates=60)(setup.rows, ahead)
    grid, top, cell = brute_force(model, setup.rows, ahead)
    worth = ActionValue(setup.rows, ahead).value(slice(None), found[:, None])[:, 0]
    assert ((found - grid).abs() <= cell).all()
    assert (worth >= top - 1e-12).all()


def test_bounds_that_bind_bind_exactly():
    model = wavy(reward=lambda s, a: 5 * a[:, 0] * s[:, 0].sign())
    setup, ahead = with_values(model, hilly)
    found = GreedyActions("newton")(setup.rows, ahead)
    lower, upper = model.action_limits(setup.states)
    assert torch.equal(found, torch.where(setup.states > 0, upper, lower))


def test_unbounded_actions():
    model = wavy(reward=lambda s, a: -((a[:, 0] - 40) ** 2), action_bounds=None, discount=1e-3)
    setup, ahead = with_values(model, lambda s: 0 * s[:, 0])
    found = GreedyActions("newton")(setup.rows, ahead)
    torch.testing.assert_close(found, torch.full_like(found, 40.0))


def test_start_near_the_best_needs_no_candidates():
    model = wavy()
    setup, ahead = with_values(model, hilly)
    best = GreedyActions("newton")(setup.rows, ahead)
    near = GreedyActions("newton", n_candidates=0)(setup.rows, ahead, best + 1e-3)
    torch.testing.assert_close(near, best, rtol=1e-9, atol=1e-9)


def test_derivatives_of_what_actions_are_worth():
    model = make_leisure_growth()
    setup, ahead = solved(model)
    worth = ActionValue(setup.rows, ahead)
    a = 0.95 * model.exact("policy")(setup.states)
    value, gradient, hessian = worth.derivatives(slice(None), a)
    torch.testing.assert_close(value, worth.value(slice(None), a[:, None])[:, 0])
    step = 1e-5
    for j in range(2):
        move = torch.zeros_like(a)
        move[:, j] = step
        up, down = (worth.derivatives(slice(None), a + sign * move) for sign in (1, -1))
        # The square of the step times third derivatives, and rounding over the step.
        close = {"rtol": 1e-6, "atol": 1e-6}
        torch.testing.assert_close(gradient[:, j], (up[0] - down[0]) / (2 * step), **close)
        torch.testing.assert_close(hessian[:, j], (up[1] - down[1]) / (2 * step), **close)


def test_rows_may_be_picked():
    model = wavy()
    setup, ahead = with_values(model, hilly)
    worth = ActionValue(setup.rows, ahead)
    actions = torch.linspace(-1, 0.5, 7, dtype=torch.float64).expand(len(setup.states), 7)
    whole = worth.value(slice(None), actions[:, :, None])
    rows = torch.tensor([3, 0, 5])
    torch.testing.assert_close(worth.value(rows, actions[rows][:, :, None]), whole[rows])
    assert worth.value(rows[:0], actions[:0, :, None]).shape == (0, 7)


# ------------------------------------------------------------------------------------ constraints


def test_constraint_that_binds_is_met_to_the_barrier():
    # Without it the regulator wants less than -0.1 in some states.
    base = make_linear_quadratic(A=[[0.95]], B=[[1.0]], C=[[0.05]])
    model = replace(base, constraint=lambda s, a: a + 0.1, action_bounds=[(-2.0, 2.0)])
    setup, ahead = solved(replace(model, solution=base.solution))
    found = GreedyActions("newton")(setup.rows, ahead)
    free = GreedyActions("newton")(setup.rows, continuation_of(base, setup, ahead))
    expected = free.clamp(min=-0.1)
    assert (found > -0.1).all() and (free < -0.1).any()
    # A barrier of 1e-12 keeps this far from a constraint of slope one that binds, or less.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def continuation_of(model, setup, ahead):
    return Continuation(model, setup.to_inputs, ahead.function, ahead.theta)


def test_constraint_between_two_actions():
    # The closest point to (1, 1) on the near side of x + y = 1.
    model = DynamicModel(
        reward=lambda s, a: -((a - 1) ** 2).sum(1),
        transition=lambda s, a, e: 0 * s,
        discount=0.5,
        state_bounds=[(0.0, 1.0)],
        action_bounds=[(-1.0, 2.0)] * 2,
        constraint=lambda s, a: 1 - a.sum(1, keepdim=True),
    )
    setup, ahead = with_values(model, lambda s: 0 * s[:, 0])
    found = GreedyActions("newton")(setup.rows, ahead)
    torch.testing.assert_close(found, torch.full_like(found, 0.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["newton", "golden"])
def test_constraint_that_no_action_meets_is_refused_with_the_state(method):
    model = wavy(constraint=lambda s, a: s - 10 + 0 * a)
    setup, ahead = with_values(model, hilly)
    with pytest.raises(ModelError, match=r"no action is allowed in the state \[.*\].*constraint"):
        GreedyActions(method)(setup.rows, ahead)


def test_state_without_an_action_is_named():
    # Between the states at which bounds are tried they do not cross.
    model = wavy(action_bounds=lambda s: (-0.95 + 0 * s, s))
    setup, ahead = with_values(model, hilly)
    with pytest.raises(ModelError, match=r"no action is allowed in the state \[-.*-0\.95, -"):
        GreedyActions("newton")(setup.rows, ahead)


def test_reward_that_is_nowhere_finite_is_refused_with_the_state():
    model = wavy(reward=lambda s, a: (s[:, 0] + 0.5).log() - a[:, 0] ** 2)
    setup, ahead = with_values(model, hilly)
    with pytest.raises(ModelError, match=r"state \[-.*reward is not finite.*narrow state_bounds"):
        GreedyActions("newton")(setup.rows, ahead)


# ------------------------------------------------------------------------------------ enumeration


def test_enumeration_is_brute_force():
    listed = torch.linspace(-1, 0.5, 13, dtype=torch.float64)
    model = wavy(discrete_actions=listed.numpy(), action_bounds=None)
    setup, ahead = with_values(model, hilly)
    found = GreedyActions("enumerate")(setup.rows, ahead)
    for i in range(len(setup.states)):
        row = setup.rows.select(slice(i, i + 1))
        worth = [
            float(ActionValue(row, ahead).value(slice(None), a.reshape(1, 1, 1))) for a in listed
        ]
        assert float(found[i]) == float(listed[int(np.argmax(worth))])


def test_enumeration_respects_the_constraint():
    model = wavy(
        discrete_actions=[-0.5, 0.0, 0.5],
        action_bounds=None,
        reward=lambda s, a: a[:, 0],
        constraint=lambda s, a: s - a,
        discount=1e-6,
    )
    setup, ahead = with_values(replace(model, state_bounds=[(-0.4, 1.0)]), lambda s: 0 * s[:, 0])
    found = GreedyActions("enumerate")(setup.rows, ahead)[:, 0]
    s = setup.states[:, 0]
    expected = torch.where(s >= 0.5, 0.5, torch.where(s >= 0, 0.0, -0.5)).double()
    assert torch.equal(found, expected)


def test_chains_enter_with_their_own_probabilities():
    chain = MarkovChain([[0.9, 0.1], [0.2, 0.8]], [0.5, 2.0], state=1)
    model = DynamicModel(
        reward=lambda s, a: -(a[:, 0] ** 2) / 2,
        transition=lambda s, a, e: torch.cat([a, e], 1),
        discount=0.5,
        state_bounds=[(-1.0, 4.0), (0.5, 2.0)],
        action_bounds=[(-1.0, 4.0)],
        shocks=chain,
    )
    # With V = x z the best action is beta E[z' | z].
    setup, ahead = with_values(model, lambda s: s[:, 0] * s[:, 1])
    found = GreedyActions("newton")(setup.rows, ahead)
    expected = 0.5 * chain.expected(setup.states)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


# ------------------------------------------------------------------------------------ what follows


def test_last_period_looks_at_the_terminal_value():
    model = wavy(
        reward=lambda s, a: -(a[:, 0] ** 2) / 2,
        transition=lambda s, a, e: s + a + 0 * e,
        action_bounds=[(-3.0, 3.0)],
        terminal=lambda s: 2 * s[:, 0],
        horizon=1,
    )
    setup, _ = with_values(model, hilly)
    found = GreedyActions("newton")(setup.rows, continuation(setup, None))
    torch.testing.assert_close(found, torch.full_like(found, 1.6))


@pytest.mark.parametrize("model", [make_brock_mirman(), make_cake_eating()], ids=["log", "power"])
def test_expansion_has_the_value_and_two_derivatives_of_the_function(model):
    setup, ahead = solved(model)
    s = setup.checks[:20].clone().requires_grad_()
    value = ahead.expanded(s)
    torch.testing.assert_close(value, ahead(s))
    (slope,) = torch.autograd.grad(value.sum(), s, create_graph=True)
    exact = model.exact("value")(s)
    (true,) = torch.autograd.grad(exact.sum(), s, create_graph=True)
    torch.testing.assert_close(slope, true, rtol=1e-8, atol=1e-8)
    for j in range(s.shape[1]):
        bend = torch.autograd.grad(slope[:, j].sum(), s, retain_graph=True)[0]
        if not true[:, j].requires_grad:
            continue
        curved = torch.autograd.grad(true[:, j].sum(), s, retain_graph=True, allow_unused=True)[0]
        curved = torch.zeros_like(s) if curved is None else curved
        torch.testing.assert_close(bend, curved, rtol=1e-7, atol=1e-7)
