"""Euler equations that are derived, against those written by hand; and complementarity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from thetalearn.dynamics import AR1, DynamicModel, ModelError, Normal
from thetalearn.dynamics.approximation import Representation
from thetalearn.dynamics.coordinates import StateMap
from thetalearn.dynamics.equations import (
    EulerEquation,
    EvaluationEquation,
    fischer_burmeister,
    from_value,
    marginal_values,
    to_value,
)
from thetalearn.dynamics.models import (
    make_borrowing_limit,
    make_brock_mirman,
    make_cake_eating,
    make_growth,
    make_income_fluctuation,
    make_leisure_growth,
    make_linear_quadratic,
    make_stochastic_brock_mirman,
)
from thetalearn.dynamics.setup import Setup
from thetalearn.dynamics.structure import check_derivable, controlled_states
from thetalearn.objectives.projection import linearize, residuals

#: Two exact routes, whose terms are a few digits larger than their sum.
ROUNDING = {"rtol": 1e-9, "atol": 1e-11}

CUBIC = Representation("chebyshev", 3, None, None, None, (), "tanh")


def setup_for(model, n_outputs, representation=CUBIC):
    rule = model.distribution.nodes()
    return Setup.build(model, representation, n_outputs, rule, rng=np.random.RandomState(0))


def policy_near(model, equation, setup, share=0.4, size=0.02):
    """Coefficients of a policy that solves nothing, so that no residual is zero by chance."""
    unknowns = equation.unknowns(setup.states, model.inside_actions(setup.states, share))
    bumps = np.random.RandomState(0).normal(size=tuple(unknowns.shape))
    return setup.fit(unknowns + size * torch.from_numpy(bumps))


def errors(model, theta=None, share=0.4, size=0.02, **options):
    """Residuals at states off the nodes, of a fixed policy, and the policy's coefficients."""
    setup = setup_for(model, model.n_actions + options.get("n_constraints", 0))
    equation = EulerEquation(model, setup.to_inputs, **options)
    theta = policy_near(model, equation, setup, share, size) if theta is None else theta
    return residuals(equation, setup.function, theta, setup.rows_at(setup.checks)), theta


# ------------------------------------------------------------------- derived equals hand-written


@pytest.mark.parametrize(
    "make",
    [
        make_growth,
        lambda: make_growth(gamma=1.0, delta=0.1),
        make_stochastic_brock_mirman,
        lambda: make_stochastic_brock_mirman(gamma=3.0, delta=1.0),
    ],
    ids=["growth", "log_growth", "brock_mirman", "full_depreciation"],
)
def test_derived_euler_equation_of_growth(make):
    model = make()
    by_hand, theta = errors(model)
    derived, _ = errors(replace(model, euler=None), theta)
    assert by_hand.abs().min() > 1e-6
    torch.testing.assert_close(derived, by_hand, **ROUNDING)


def test_derived_euler_equation_of_capital_as_the_action():
    # The gain from more capital, not from more consumption, and not through a next state alone.
    model = make_growth(action="capital")
    by_hand, theta = errors(model, share=0.92, size=0.002)
    assert by_hand.abs().min() > 1e-6
    derived, _ = errors(replace(model, euler=None), theta)
    torch.testing.assert_close(derived, by_hand, **ROUNDING)


def one_minus_growth_of_marginal_utility(s, a, s_next, a_next, beta, R, gamma):
    return 1 - beta * R * (a_next / a) ** -gamma


@pytest.mark.parametrize("make", [make_borrowing_limit, make_income_fluctuation])
def test_derived_euler_equation_of_consumption_with_a_limit(make):
    model = make()
    by_hand, theta = errors(replace(model, euler=one_minus_growth_of_marginal_utility))
    derived, _ = errors(model, theta)
    torch.testing.assert_close(derived, by_hand, **ROUNDING)


def leisure_conditions(s, a, s_next, a_next, alpha, beta, weight, scale):
    """Gains from consumption and from leisure, over the marginal utility of each."""
    c, x, c_next, x_next = a[:, 0], a[:, 1], a_next[:, 0], a_next[:, 1]
    k_next, z_next = s_next[:, 0], s_next[:, 1]
    rent = alpha * scale * z_next.exp() * k_next ** (alpha - 1) * (1 - x_next) ** (1 - alpha)
    price = beta * rent / c_next * weight
    wage = (1 - alpha) * scale * s[:, 1].exp() * s[:, 0] ** alpha * (1 - x) ** -alpha
    consumption = 1 - price * c / weight
    leisure = 1 - price * wage * x / (1 - weight)
    return consumption, leisure


def test_two_actions_solve_both_equations_at_the_exact_policy():
    model = replace(make_leisure_growth(), action_transform="identity")
    setup = setup_for(model, 2)
    equation = EulerEquation(model, setup.to_inputs)
    s = setup.checks
    rows = setup.rows_at(s)
    policy = model.exact("policy")
    for euler in (None, leisure_conditions):
        own = replace(equation, model=replace(model, euler=euler))
        y, each = policy(s), rows.repeated(policy(s))
        after = own.next_states(rows.repeated(s), each, rows.shocks())
        mean = rows.mean(own.integrand(rows.repeated(s), each, after, policy(after), rows.shocks()))
        assert own.combine(s, y, mean).abs().max() < 1e-12


def test_two_actions_at_a_policy_that_equates_their_marginal_worth():
    # Where the two price capital alike, and only there, every way to eliminate the value agrees.
    model = replace(make_leisure_growth(), action_transform="identity")
    p = model.params
    setup = setup_for(model, 2)
    s = setup.checks

    def policy(s: Tensor) -> Tensor:
        x = torch.full_like(s[:, 0], 0.7)
        wage = (1 - p["alpha"]) * p["scale"] * s[:, 1].exp() * s[:, 0] ** p["alpha"]
        wage = wage * (1 - x) ** -p["alpha"]
        return torch.stack([wage * x * p["weight"] / (1 - p["weight"]), x], 1)

    found = []
    rows = setup.rows_at(s)
    for euler in (None, leisure_conditions):
        equation = EulerEquation(replace(model, euler=euler), setup.to_inputs)
        y, each = policy(s), rows.repeated(policy(s))
        after = equation.next_states(rows.repeated(s), each, rows.shocks())
        after = torch.stack([after[:, 0].clamp(min=0.1), after[:, 1]], 1)
        states, shocks = rows.repeated(s), rows.shocks()
        mean = rows.mean(equation.integrand(states, each, after, policy(after), shocks))
        found.append(equation.gains(s, y, mean))
    torch.testing.assert_close(found[0], found[1], **ROUNDING)


def test_plain_gains_are_marginal_rewards_times_unit_free_ones():
    model = make_stochastic_brock_mirman(gamma=2.0)
    # In logits no bound can bind, so that what is left are the gains.
    model = replace(model, euler=None, action_transform="logit")
    free, theta = errors(model)
    plain, _ = errors(model, theta, unit_free=False)
    setup = setup_for(model, 1)
    equation = EulerEquation(model, setup.to_inputs)
    c = equation.actions(setup.checks, setup.at(setup.checks, theta))
    torch.testing.assert_close(plain, free * c**-2.0, **ROUNDING)


def test_euler_equation_of_the_regulator_is_linear_and_zero_at_the_riccati_policy():
    model = make_linear_quadratic(n_states=4)
    # As many controls as states, so that any change of the state can be offset.
    model = make_linear_quadratic(A=model.params["A"], B=np.eye(4) + 0.2, C=np.zeros((4, 1)))
    setup = setup_for(model, 4, Representation("complete", 1, None, None, None, (), "tanh"))
    equation = EulerEquation(model, setup.to_inputs, unit_free=False)
    theta = setup.fit(model.exact("policy")(setup.states))
    assert residuals(equation, setup.function, theta, setup.rows).abs().max() < 1e-12


def test_marginal_values_are_those_of_the_exact_value():
    model = make_brock_mirman()
    s = model.middle_states()
    e = model.distribution.expected(s)
    at = s.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.exact("value")(at).sum(), at)
    found = marginal_values(model, s, model.exact("policy")(s), e)
    torch.testing.assert_close(found[:, 0], slope[:, 0])
    # Nobody moves productivity, so its price is of no use.
    assert (found[:, 1] == 0).all()


# ------------------------------------------------------------------------------------ constraints


def constrained_consumption():
    """The borrowing limit as a constraint, with a multiplier, in place of an upper bound."""
    return replace(
        make_borrowing_limit(),
        action_bounds=lambda s: (0.0, 10.0),
        action_transform="log",
        constraint=lambda s, a: s - a,
        endogenous_grid=None,
    )


def test_multipliers_of_a_constraint():
    model, bounded = constrained_consumption(), make_borrowing_limit()
    p = model.params
    s = torch.linspace(0.6, 1.9, 9, dtype=torch.float64)[:, None]
    equation = EulerEquation(model, StateMap(model), n_constraints=1)
    exact = bounded.exact("policy")

    def multiplier(s: Tensor) -> Tensor:
        # What one more unit is worth today beyond what it is worth tomorrow.
        c = exact(s)
        later = p["beta"] * p["R"] * exact(p["R"] * (s - c) + p["income"]) ** -2.0
        return (c**-2.0 - later).clamp(min=0.0)

    def unknowns(s: Tensor) -> Tensor:
        return torch.cat([exact(s).log(), multiplier(s)], 1)

    y = unknowns(s)
    assert equation.n_equations == 2 and (multiplier(s) > 0.01).any()
    no_shock = torch.zeros(9, 0, dtype=torch.float64)
    after = equation.next_states(s, y, no_shock)
    mean = equation.integrand(s, y, after, unknowns(after), no_shock)
    assert equation.combine(s, y, mean).abs().max() < 1e-10
    # A multiplier that is off shows in both equations.
    wrong = y + torch.tensor([0.0, 0.1], dtype=torch.float64)
    off = equation.combine(s, wrong, equation.integrand(s, wrong, after, unknowns(after), no_shock))
    assert (off[:, 0].abs() > 0.01).all() and (off[:, 1].abs() > 1e-3).any()


def test_multipliers_of_the_users_own_euler_equation():
    # Pressure of the constraint adds to the gain that the user writes: -lambda for c <= m.
    model = replace(
        constrained_consumption(),
        euler=lambda s, a, s_next, a_next, beta, R, gamma: a**-gamma - beta * R * a_next**-gamma,
    )
    equation = EulerEquation(model, StateMap(model), n_constraints=1)
    s = torch.tensor([[0.8]], dtype=torch.float64)
    y = torch.tensor([[np.log(0.5), 0.7]], dtype=torch.float64)
    mean = torch.tensor([[0.2]], dtype=torch.float64)
    assert equation.gains(s, y, mean).item() == pytest.approx(0.2 - 0.7)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_jacobian_with_multipliers_equals_differences(share):
    model = constrained_consumption()
    setup = setup_for(model, 2)
    equation = EulerEquation(model, setup.to_inputs, n_constraints=1)
    actions = share * setup.states
    y = equation.unknowns(setup.states, actions)
    y[:, 1] = 0.1 + 0.05 * setup.states[:, 0]
    theta = setup.fit(y)
    check_derivative(equation, setup, theta)


def check_derivative(equation, setup, theta):
    _, jacobian = linearize(equation, setup.function, theta, setup.rows)
    direction = torch.from_numpy(np.random.RandomState(4).normal(size=len(theta)))
    step = 1e-6 * direction
    up = residuals(equation, setup.function, theta + step, setup.rows)
    down = residuals(equation, setup.function, theta - step, setup.rows)
    slope = (up - down) / 2e-6
    # Central differences: the square of the step, and rounding over the step.
    size = float(slope.abs().max())
    torch.testing.assert_close(jacobian @ direction, slope, rtol=1e-6, atol=1e-7 * (1 + size))


@pytest.mark.parametrize(
    "make",
    [
        make_growth,
        make_brock_mirman,
        make_leisure_growth,
        lambda: replace(make_borrowing_limit(), action_transform="identity"),
        lambda: replace(make_income_fluctuation(), action_transform="logit"),
    ],
    ids=["growth", "brock_mirman", "leisure", "limit", "logit"],
)
def test_jacobian_of_models_equals_differences(make):
    model = make()
    setup = setup_for(model, model.n_actions)
    equation = EulerEquation(model, setup.to_inputs)
    theta = policy_near(model, equation, setup)
    check_derivative(equation, setup, theta)


# ------------------------------------------------------------------------------- complementarity


numbers = st.floats(-1e3, 1e3)
few = settings(max_examples=60, deadline=None)


def scalar(x):
    return torch.tensor(x, dtype=torch.float64)


@few
@given(numbers, numbers)
def test_fischer_burmeister_is_its_formula(a, b):
    found = float(fischer_burmeister(scalar(a), scalar(b)))
    assert found == pytest.approx(a + b - float(np.hypot(a, b)), abs=1e-12 * (1 + abs(a) + abs(b)))
    assert found == float(fischer_burmeister(scalar(b), scalar(a)))


@few
@given(st.floats(0, 1e3))
def test_fischer_burmeister_is_zero_on_the_axes(a):
    assert float(fischer_burmeister(scalar(a), scalar(0.0))) == pytest.approx(0, abs=1e-150)
    assert float(fischer_burmeister(scalar(0.0), scalar(a))) == pytest.approx(0, abs=1e-150)


@few
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_fischer_burmeister_has_the_sign_of_the_corner(a, b):
    inside = float(fischer_burmeister(scalar(a), scalar(b)))
    # Between the least of both, and its share 2 - sqrt 2.
    least = min(a, b)
    assert (2 - np.sqrt(2)) * least * (1 - 1e-12) <= inside <= least * (1 + 1e-12)
    for x, y in ((-a, b), (a, -b), (-a, -b)):
        assert float(fischer_burmeister(scalar(x), scalar(y))) < 0


@few
@given(st.integers(-12, 8), st.floats(0.1, 10))
def test_fischer_burmeister_keeps_its_digits(power, b):
    a = 10.0**power
    # The other form of the same number, in which nothing cancels.
    expected = 2 * a * b / (a + b + float(np.hypot(a, b)))
    assert float(fischer_burmeister(scalar(a), scalar(b))) == pytest.approx(expected, rel=1e-14)


@few
@given(numbers, numbers)
def test_derivatives_of_fischer_burmeister(a, b):
    point = torch.tensor([a, b], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(fischer_burmeister(point[0], point[1]), point)
    if 0 < np.hypot(a, b) < 1e-100:
        return  # where squares underflow
    # A generalized derivative everywhere: (1, 1) minus a vector of length one at most.
    assert float((1 - slope).norm()) <= 1 + 1e-9
    size = np.hypot(a, b)
    if size > 1e-3:
        torch.testing.assert_close(slope, 1 - point.detach() / size, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("gain", "best"), [(3.0, 1.0), (-3.0, -1.0), (0.0, 0.3)])
def test_bounds_turn_gains_into_complementarity(gain, best):
    # A gain that is linear in the action, zero at 0.3 or without a zero in the box [-1, 1].
    model = DynamicModel(
        transition=lambda s, a, e: s,
        euler=lambda s, a, s_next, a_next: gain + (0.3 - a if gain == 0 else 0 * a),
        state_bounds=[(0.0, 1.0)],
        action_bounds=[(-1.0, 1.0)],
    )
    equation = EulerEquation(model, StateMap(model))
    grid = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
    s = torch.full_like(grid, 0.5)
    mean = equation.integrand(s, grid, s, grid, torch.zeros(201, 0, dtype=torch.float64))
    size = equation.combine(s, grid, mean).abs()[:, 0]
    assert float(grid[size.argmin(), 0]) == pytest.approx(best)
    assert float(size.min()) < 1e-12 and int((size < 1e-12).sum()) == 1


@pytest.mark.parametrize("bounds", [(-1.0, np.inf), (-np.inf, 1.0), (-1.0, 1.0)])
def test_one_sided_bounds(bounds):
    # At the finite end the gain may point outwards; inside it must vanish.
    def at(a, gain):
        model = DynamicModel(
            transition=lambda s, a, e: s,
            euler=lambda s, a, s_next, a_next: a,
            state_bounds=[(0.0, 1.0)],
            action_bounds=[bounds],
        )
        equation = EulerEquation(model, StateMap(model))
        s = torch.tensor([[0.5]], dtype=torch.float64)
        row = torch.tensor([[a, gain]], dtype=torch.float64)
        return abs(float(equation.combine(s, row[:, :1], row[:, 1:])))

    assert at(0.3, 0.0) < 1e-15 and at(0.3, 0.2) > 0.01 and at(0.3, -0.2) > 0.01
    for end, outwards in ((bounds[0], -1.0), (bounds[1], 1.0)):
        if np.isfinite(end):
            assert at(end, outwards) < 1e-15 < 0.1 < at(end, -outwards)


def test_logits_need_no_complementarity():
    model = replace(make_cake_eating(), action_transform="logit")
    raw, theta = errors(model)
    setup = setup_for(model, 1)
    equation = EulerEquation(model, setup.to_inputs)
    s = setup.checks
    c = equation.actions(s, setup.at(s, theta))
    after = equation.next_states(s, setup.at(s, theta), torch.zeros(len(s), 0))
    c_next = equation.actions(after, setup.at(after, theta))
    by_hand = 1 - model.params["beta"] * model.params["R"] * (c_next / c) ** -3.0
    torch.testing.assert_close(raw, by_hand, **ROUNDING)


# ----------------------------------------------------------------------- what cannot be derived


def consuming(transition, d, m=1, **changes):
    given = {
        "reward": lambda s, a: a.log().sum(1),
        "transition": transition,
        "discount": 0.9,
        "state_bounds": [(0.5, 2.0)] * d,
        "action_bounds": [(0.1, 0.4)] * m,
    }
    return DynamicModel(**{**given, **changes})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: consuming(lambda s, a, e: (s[:, 0] - a[:, 0], s[:, 0]), 2),
            "a state that no action moves depends on one that they do",
        ),
        (
            lambda: consuming(lambda s, a, e: (s[:, 0] - a[:, 0], 2 * s[:, 1] + a[:, 0]), 2),
            "cannot be offset by the actions",
        ),
        (lambda: consuming(lambda s, a, e: 0.5 * s, 1), "no action moves a state"),
        (lambda: consuming(lambda s, a, e: torch.ones_like(s), 1), "no action moves a state"),
    ],
    ids=["lag", "one_action_two_states", "no_control", "constant"],
)
def test_what_cannot_be_derived_is_refused_with_the_remedy(model, message):
    with pytest.raises(ModelError, match=rf"{message}.*: give euler="):
        check_derivable(model())


@pytest.mark.parametrize(
    ("model", "controlled"),
    [
        (lambda: make_brock_mirman(), [0]),
        (lambda: make_leisure_growth(), [0]),
        (lambda: make_linear_quadratic(A=np.eye(2), B=np.eye(2)), [0, 1]),
        (lambda: consuming(lambda s, a, e: (e[:, 0], s[:, 1] - a[:, 0]), 2, shocks=Normal()), [1]),
        (
            lambda: consuming(
                lambda s, a, e: (s[:, 0] - a[:, 0], s[:, 1] - a[:, 1], e[:, 0]),
                3,
                2,
                shocks=AR1(0.5, 0.1, state=2),
            ),
            [0, 1],
        ),
    ],
    ids=["one", "two_actions", "square", "last", "two_states"],
)
def test_states_that_actions_move(model, controlled):
    model = model()
    assert controlled_states(model) == controlled
    check_derivable(model)


def test_two_states_that_one_action_can_offset_at_once():
    # Both move with the sum of the states alone, so that one price does for both.
    model = consuming(lambda s, a, e: ((s.sum(1) - a[:, 0]), 2 * (s.sum(1) - a[:, 0])), 2)
    check_derivable(model)


# --------------------------------------------------------------------------------------- values


def test_evaluation_equation_holds_for_the_exact_value():
    model = make_brock_mirman()
    setup = setup_for(model, 1, Representation("complete", 2, None, None, None, (), "tanh"))
    actions = model.exact("policy")(setup.states)
    equation = EvaluationEquation(model, setup.to_inputs, actions)
    theta = setup.fit(from_value(model, model.exact("value")(setup.states)[:, None]))
    assert residuals(equation, setup.function, theta, setup.rows).abs().max() < 1e-11
    # Linear in the value: the Jacobian is the same everywhere.
    _, here = linearize(equation, setup.function, theta, setup.rows)
    _, there = linearize(equation, setup.function, 2 * theta + 1, setup.rows)
    torch.testing.assert_close(here, there, rtol=1e-12, atol=1e-12)


def test_evaluation_equation_selects_its_actions():
    model = make_brock_mirman()
    setup = setup_for(model, 1)
    equation = EvaluationEquation(model, setup.to_inputs, setup.states[:, :1])
    assert torch.equal(equation.select(slice(2, 5)).actions, setup.states[2:5, :1])


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_values_and_their_coordinates(gamma):
    model = make_cake_eating(gamma=gamma)
    values = model.exact("value")(model.middle_states()) if gamma >= 1 else torch.ones(3)
    values = values.double()
    torch.testing.assert_close(to_value(model, from_value(model, values)), values)
