"""Models of growth: closed forms, worked numbers, steady states."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.coordinates import StateMap
from thetalearn.dynamics.equations import EulerEquation
from thetalearn.dynamics.models import (
    make_brock_mirman,
    make_brock_mirman_output,
    make_business_cycle,
    make_growth,
    make_leisure_growth,
    make_rbc_labour,
    make_stochastic_brock_mirman,
)
from thetalearn.dynamics.structure import check_derivable

EXACT = {
    "brock_mirman": make_brock_mirman,
    "output": make_brock_mirman_output,
    "leisure": make_leisure_growth,
}
ALL = {
    **EXACT,
    "growth": make_growth,
    "stochastic": make_stochastic_brock_mirman,
    "business_cycle": make_business_cycle,
    "rbc_labour": make_rbc_labour,
}

#: Rounding of a Bellman equation whose terms are a few digits larger than their sum.
ROUNDING = 1e-12


@pytest.mark.parametrize("name", EXACT)
def test_exact_solution_solves_the_problem(name, checks):
    model = EXACT[name]()
    assert checks.bellman(model) < ROUNDING
    assert checks.first_order(model) < ROUNDING
    assert checks.improvement(model) < ROUNDING


shares = st.floats(0.2, 0.7)
discounts = st.floats(0.5, 0.97)


@settings(max_examples=15, deadline=None)
@given(shares, discounts, st.floats(-0.5, 0.95), st.floats(0.0, 0.05))
def test_brock_mirman_in_any_calibration(alpha, beta, rho, sigma):
    # The value is linear in z, so that its expectation is the value at the expectation.
    from_scratch = make_brock_mirman(alpha=alpha, beta=beta, rho=rho, sigma=sigma)
    changed = make_brock_mirman().with_params(alpha=alpha, beta=beta, rho=rho, sigma=sigma)
    states = from_scratch.middle_states()
    assert torch.equal(from_scratch.bounds, changed.bounds)
    for which in ("policy", "value"):
        assert torch.equal(from_scratch.exact(which)(states), changed.exact(which)(states))
    a = from_scratch.exact("policy")(states)
    e = from_scratch.distribution.expected(states)
    after = from_scratch.exact("value")(from_scratch.next_states(states, a, e))
    value = from_scratch.exact("value")(states)
    given_value = from_scratch.rewards(states, a) + beta * after
    torch.testing.assert_close(given_value, value, rtol=1e-11, atol=1e-11)


@settings(max_examples=15, deadline=None)
@given(shares, discounts, st.floats(-0.2, 0.2), st.floats(0.0, 0.2))
def test_output_form_in_any_calibration(checks, alpha, beta, mu, sigma):
    model = make_brock_mirman_output(alpha=alpha, beta=beta, mu=mu, sigma=sigma)
    assert checks.bellman(model) < 1e-11
    assert checks.first_order(model) < 1e-11


@settings(max_examples=15, deadline=None)
@given(shares, discounts, st.floats(0.2, 0.8), st.floats(0.0, 0.95))
def test_leisure_in_any_calibration(checks, alpha, beta, weight, rho):
    model = make_leisure_growth(alpha=alpha, beta=beta, weight=weight, rho=rho)
    assert checks.bellman(model) < 1e-11
    assert checks.first_order(model) < 1e-11


def test_worked_numbers_of_growth_with_leisure():
    model = make_leisure_growth()
    one = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    value = model.exact("value")
    assert float(model.exact("policy")(one)[0, 1]) == pytest.approx(0.672294, abs=5e-7)
    assert float(value(one)) == pytest.approx(3.934367, abs=5e-7)
    steps = torch.tensor([[math.e, 0.0], [1.0, 0.1]], dtype=torch.float64)
    by_k, by_z = (value(steps) - value(one)).tolist()
    assert by_k == pytest.approx(0.167405, abs=5e-7)
    assert 10 * by_z == pytest.approx(3.395643, abs=5e-7)


def test_default_bounds_of_brock_mirman_hold_the_next_state(checks):
    model = make_brock_mirman()
    s = checks.random_states(model)
    after = model.next_states(s, model.exact("policy")(s), 0.9 * s[:, 1:])
    assert ((after >= model.bounds[:, 0]) & (after <= model.bounds[:, 1])).all()


def test_policy_is_linear_in_the_models_coordinates(checks):
    model = make_brock_mirman()
    s = checks.random_states(model)
    x = model.state_coordinates.forward(s, *model.bounds.T)
    a = model.exact("policy")(s)
    y = model.action_coordinates.forward(a, *model.action_limits(s))
    rows = torch.cat([torch.ones(len(s), 1), x], 1)
    fit = torch.linalg.lstsq(rows, y).solution
    torch.testing.assert_close(rows @ fit, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_steady_state_repeats_itself(name, checks):
    assert checks.drift(ALL[name]()) < 1e-12


@pytest.mark.parametrize("name", ALL)
def test_pickle_round_trip(name, checks):
    assert checks.same_after_pickling(ALL[name]())


@pytest.mark.parametrize("name", ALL)
def test_euler_equation_can_be_derived(name):
    check_derivable(ALL[name]())


@pytest.mark.parametrize("action", ["consumption", "capital"])
@pytest.mark.parametrize("shape", [(0.36, 0.96), (0.5, 0.8)])
def test_growth_has_the_closed_form_of_full_depreciation(action, shape, checks):
    alpha, beta = shape
    model = make_growth(alpha=alpha, beta=beta, delta=1.0, gamma=1.0, action=action)
    kept = 1 - alpha * beta if action == "consumption" else alpha * beta
    scale = 1 / (alpha * beta)

    def policy(s):
        return kept * scale * s[:, 1:] * s[:, :1] ** alpha

    assert checks.arbitrage(model, policy=policy) < 1e-12


def test_stochastic_brock_mirman_has_the_closed_form_of_full_depreciation(checks):
    model = make_stochastic_brock_mirman(delta=1.0)
    policy = make_brock_mirman(beta=0.99).exact("policy")
    assert checks.arbitrage(model, policy=policy) < 1e-12


def test_business_cycle_has_a_closed_form_with_full_depreciation(checks):
    model = make_business_cycle(delta=1.0, tau=1.0)
    alpha, beta, theta = (model.params[name] for name in ("alpha", "beta", "theta"))
    work = theta * (1 - alpha)
    labour = work / (work + (1 - theta) * (1 - alpha * beta))

    def policy(s):
        c = (1 - alpha * beta) * s[:, 1].exp() * s[:, 0] ** alpha * labour ** (1 - alpha)
        return torch.stack([c, torch.full_like(c, labour)], 1)

    assert checks.arbitrage(model, policy=policy) < 1e-12
    # It is the model with leisure x = 1 - l, whose exact solution has been checked by itself.
    leisure = make_leisure_growth(alpha=alpha, beta=beta, weight=theta, scale=1.0, rho=0.95)
    s = checks.random_states(model)
    c, x = leisure.exact("policy")(s).T
    torch.testing.assert_close(torch.stack([c, 1 - x], 1), policy(s), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["growth", "stochastic", "business_cycle", "rbc_labour"])
def test_gains_vanish_in_the_steady_state_and_have_the_sign_of_the_reward_alone(name):
    model = ALL[name]()
    s, a = (part[None] for part in model.steady_guess())
    e = model.distribution.expected(s)
    assert model.arbitrage(s, a, s, a, e).abs().max() < 1e-12
    # Less of an action today, with the same tomorrow, leaves more of it to be wanted.
    assert (model.arbitrage(s, 0.9 * a, s, a, e) > 0).all()


def test_growth_actions_have_opposite_gains(checks):
    by_c, by_k = make_growth(), make_growth(action="capital")
    s, s_next = checks.random_states(by_c), checks.random_states(by_c, seed=1)
    none = torch.zeros(len(s), 1, dtype=torch.float64)

    def capital(states, c):
        return by_c.next_states(states, c, none)[:, :1]

    c, c_next = 0.07 + 0 * none, 0.06 + 0 * none
    gain = by_c.arbitrage(s, c, s_next, c_next, none)
    other = by_k.arbitrage(s, capital(s, c), s_next, capital(s_next, c_next), none)
    torch.testing.assert_close(other, -gain, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        by_c.rewards(s, c), by_k.rewards(s, capital(s, c)), rtol=0, atol=1e-12
    )


def test_capital_of_growth_is_one_in_the_steady_state_whatever_the_calibration():
    model = make_growth().with_params(alpha=0.5, delta=0.1, beta=0.9)
    assert model.steady_guess()[0].tolist() == [1.0, 1.0]
    assert float(model.steady_guess()[1]) == pytest.approx((1 / 0.9 - 0.9) / 0.5 - 0.1)


def test_labour_is_what_it_is_calibrated_to():
    model = make_rbc_labour().with_params(labour=0.2, gamma=2.0)
    s, a = (part[None] for part in model.steady_guess())
    assert float(a[0, 1]) == 0.2
    assert model.arbitrage(s, a, s, a, torch.zeros(1, 1)).abs().max() < 1e-12


def test_hard_calibration_of_the_business_cycle_keeps_values_apart():
    model = make_business_cycle(tau=50.0, sigma=0.035)
    s, a = (part[None] for part in model.steady_guess())
    value = model.rewards(s, a) / (1 - model.beta)
    y = model.value_coordinate.forward(value, value, value)
    assert -1 < float(y) < 1 and float(value) < -1e3
    torch.testing.assert_close(model.value_coordinate.inverse(y, y, y), value, rtol=1e-10, atol=0)


@pytest.mark.parametrize("make", [make_brock_mirman, make_business_cycle, make_rbc_labour])
def test_unit_root_needs_bounds(make):
    with pytest.raises(ValueError, match=r"rho=1\.0.*state_bounds"):
        make(rho=1.0)
    assert make(rho=1.0, state_bounds=[(0.1, 1.0), (-0.1, 0.1)]).bounds[0, 0] == 0.1


def test_unknown_action_of_growth_is_named():
    with pytest.raises(ValueError, match="action='labour'"):
        make_growth(action="labour")


def derived_gains(model, s, a, s_next, a_next):
    """Gains that reward and transition alone give, from one node."""
    equation = EulerEquation(replace(model, euler=None), StateMap(model))
    e = model.distribution.expected(s)
    y, y_next = equation.unknowns(s, a), equation.unknowns(s_next, a_next)
    return equation.gains(s, y, equation.integrand(s, y, s_next, y_next, e)).detach()


@pytest.mark.parametrize(
    "model",
    [
        make_growth(),
        make_growth(gamma=1.0, delta=0.5),
        make_growth(action="capital"),
        make_stochastic_brock_mirman(gamma=3.0),
    ],
    ids=["growth", "log growth", "capital", "stochastic"],
)
def test_euler_equation_is_the_derived_one(model, checks):
    s, s_next = checks.random_states(model), checks.random_states(model, seed=1)
    # Shares of capital that all states can pay for, be it consumption or what is saved.
    share = 0.98 * model.steady_guess()[1] / model.steady_guess()[0][0]
    a, a_next = share * s[:, :1], share * s_next[:, :1]
    own = model.arbitrage(s, a, s_next, a_next, model.distribution.expected(s))
    torch.testing.assert_close(
        derived_gains(model, s, a, s_next, a_next), own, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("make", [make_business_cycle, make_rbc_labour])
def test_both_first_order_conditions_hold_in_the_steady_state(make):
    model = make()
    s, a = (part[None] for part in model.steady_guess())
    assert derived_gains(model, s, a, s, a).abs().max() < 1e-12
