"""Models of consumption: closed forms, exact kinks, and the measure of the buffer stock."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import (
    borrowing_kinks,
    make_borrowing_limit,
    make_buffer_stock,
    make_cake_eating,
    make_income_fluctuation,
    make_perfect_foresight,
    make_permanent_income,
    make_persistent_income,
)
from thetalearn.dynamics.structure import check_derivable

EXACT = {
    "cake": make_cake_eating,
    "foresight": make_perfect_foresight,
    "permanent": make_permanent_income,
}
LIMITED = {
    "limit": make_borrowing_limit,
    "fluctuation": make_income_fluctuation,
    "persistent": make_persistent_income,
    "buffer": make_buffer_stock,
}
ALL = {**EXACT, **LIMITED}

ROUNDING = 1e-12


@pytest.mark.parametrize("name", EXACT)
def test_exact_solution_solves_the_problem(name, checks):
    model = EXACT[name]()
    assert checks.bellman(model) < ROUNDING
    assert checks.first_order(model) < ROUNDING
    assert checks.improvement(model) < ROUNDING


@settings(max_examples=20, deadline=None)
@given(st.floats(0.8, 0.97), st.floats(1.0, 1.05), st.floats(1.0, 6.0))
def test_cake_eating_in_any_calibration(checks, beta, R, gamma):
    model = make_cake_eating().with_params(beta=beta, R=R, gamma=gamma)
    if (beta * R ** (1 - gamma)) ** (1 / gamma) < 0.99:
        assert checks.bellman(model) < 1e-11
        assert checks.first_order(model) < 1e-11


def test_worked_number_of_cake_eating():
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(make_cake_eating().exact("policy")(one)) == pytest.approx(0.0361346, abs=5e-8)


def test_cake_without_growth_is_eaten_at_the_textbook_rate():
    one = torch.ones(1, 1, dtype=torch.float64)
    share = make_cake_eating(R=1.0, gamma=2.0, beta=0.9).exact("policy")(one)
    assert float(share) == pytest.approx(1 - 0.9**0.5, rel=1e-14)


@pytest.mark.parametrize("gamma", [1.0, 3.0])
@pytest.mark.parametrize("R", [1.0, 1.03])
def test_finite_horizon_solves_the_recursion(gamma, R, checks):
    s = checks.random_states(make_cake_eating())
    for horizon in (2, 5, 40):
        model = make_cake_eating(gamma=gamma, R=R, horizon=horizon)
        later = make_cake_eating(gamma=gamma, R=R, horizon=horizon - 1)
        c = model.exact("policy")(s)
        after = model.next_states(s, c, s[:, :0])
        given_value = model.rewards(s, c) + model.beta * later.exact("value")(after)
        value = model.exact("value")(s)
        torch.testing.assert_close(given_value, value, rtol=1e-12, atol=1e-12)
    last = make_cake_eating(gamma=gamma, horizon=1)
    assert torch.equal(last.exact("policy")(s), s)
    torch.testing.assert_close(last.exact("value")(s), last.rewards(s, s))


def test_log_cake_of_finite_horizon_is_eaten_at_the_catalogued_rate():
    one = torch.ones(1, 1, dtype=torch.float64)
    share = make_cake_eating(gamma=1.0, beta=0.9, horizon=6).exact("policy")(one)
    assert float(share) == pytest.approx((1 - 0.9) / (1 - 0.9**6), rel=1e-13)


def test_long_horizon_tends_to_the_infinite_one(checks):
    finite, infinite = make_cake_eating(horizon=2000), make_cake_eating()
    s = checks.random_states(infinite)
    for which in ("policy", "value"):
        torch.testing.assert_close(finite.exact(which)(s), infinite.exact(which)(s))


def test_cake_that_should_never_be_eaten_is_refused():
    model = make_cake_eating(beta=0.95, R=1.2, gamma=0.5)
    with pytest.raises(ValueError, match="leave no best consumption"):
        model.exact("policy")(torch.ones(1, 1))
    assert make_cake_eating(beta=1.0, horizon=4).exact("policy") is not None


@settings(max_examples=20, deadline=None)
@given(st.floats(0.85, 0.97), st.floats(1.01, 1.1), st.floats(1.0, 5.0), st.floats(0.9, 1.0))
def test_perfect_foresight_in_any_calibration(checks, beta, R, gamma, survival):
    model = make_perfect_foresight(beta=beta, R=R, gamma=gamma, survival=survival)
    if (beta * survival * R) ** (1 / gamma) / R < 0.99 and beta * survival * R ** (
        1 - gamma
    ) < 0.99:
        assert checks.bellman(model) < 1e-11
        assert checks.first_order(model) < 1e-10


def test_coordinates_make_perfect_foresight_linear(checks):
    model = make_perfect_foresight()
    s = checks.random_states(model)
    v = model.exact("value")(s)
    y = model.value_coordinate.forward(v, v, v)
    rows = torch.cat([torch.ones_like(s), s], 1)
    fit = torch.linalg.lstsq(rows, y[:, None]).solution
    torch.testing.assert_close((rows @ fit)[:, 0], y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_permanent_income_leaves_consumption_a_random_walk(sigma, checks):
    model = make_permanent_income(sigma=sigma, bliss=4.0, R=1.1)
    assert checks.bellman(model) < ROUNDING
    s = checks.random_states(model)
    c = model.exact("policy")(s)
    after = model.next_states(s, c, model.distribution.expected(s))
    torch.testing.assert_close(model.exact("policy")(after), c, rtol=0, atol=1e-13)


def test_worked_kinks():
    m, c = borrowing_kinks(4)
    np.testing.assert_allclose(m, [1.010927, 1.032581, 1.064771, 1.107312], atol=5e-7)
    np.testing.assert_allclose(c, [1.010927, 1.021972, 1.033139, 1.044428], atol=5e-7)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.85, 0.95), st.floats(1.0, 1.04), st.floats(1.0, 4.0), st.floats(0.5, 2.0))
def test_kinked_solution_in_any_calibration(checks, beta, R, gamma, income):
    bounds = [(0.3 * income, 2 * income)]
    model = make_borrowing_limit(beta=beta, R=R, gamma=gamma, income=income, state_bounds=bounds)
    assert checks.bellman(model) < 1e-11
    assert checks.improvement(model) < 1e-11


def test_policy_passes_through_the_kinks_and_binds_below_the_first():
    model = make_borrowing_limit()
    m, c = borrowing_kinks(8)
    torch.testing.assert_close(model.exact("policy")(m[:, None])[:, 0], c, rtol=1e-14, atol=0)
    below = torch.linspace(0.1, float(m[0]), 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(model.exact("policy")(below), below, rtol=1e-15, atol=0)
    middle = ((m[1:] + m[:-1]) / 2)[:, None]
    expected = (c[1:] + c[:-1]) / 2
    torch.testing.assert_close(model.exact("policy")(middle)[:, 0], expected, rtol=1e-14, atol=0)


def test_gain_is_zero_above_the_first_kink_and_positive_below(checks):
    model = make_borrowing_limit()
    first = float(borrowing_kinks(1)[0])
    s = checks.random_states(model)
    c = model.exact("policy")(s)
    later = model.exact("policy")(model.next_states(s, c, s[:, :0]))
    gain = 1 - model.beta * 1.03 * (c / later) ** 2
    assert (gain[s > first].abs() < 1e-12).all()
    assert (gain[s < first] > 0).all()


def test_impatience_is_needed_for_kinks():
    with pytest.raises(ValueError, match="must be below 1"):
        borrowing_kinks(3, beta=0.99, R=1.02)


def test_kinks_that_are_too_many_are_refused():
    model = make_borrowing_limit(beta=1 - 1e-12, R=1.0)
    with pytest.raises(ValueError, match="more than 100000 kinks"):
        model.exact("policy")(torch.full((1, 1), 50.0, dtype=torch.float64))


@pytest.mark.parametrize("name", LIMITED)
def test_steady_state_repeats_itself(name, checks):
    assert checks.drift(LIMITED[name]()) < 1e-12


@pytest.mark.parametrize("name", ALL)
def test_pickle_round_trip(name, checks):
    model = ALL[name]()
    assert checks.same_after_pickling(model)
    check_derivable(model)


@pytest.mark.parametrize("name", ["limit", "fluctuation", "buffer"])
def test_endogenous_grid_agrees_with_the_transition(name, checks):
    model = LIMITED[name]()
    grid, params = model.endogenous_grid, model.params
    named = {key: params[key] for key in ("R", "income", "growth") if key in params}
    named = {key: v for key, v in named.items() if key in grid.transition.__code__.co_varnames}
    s = checks.random_states(model)
    c = 0.7 * s
    e = model.distribution.sample(s, np.random.RandomState(0))
    p = s - c
    torch.testing.assert_close(grid.transition(p, e, **named), model.next_states(s, c, e))
    torch.testing.assert_close(grid.state(p[:, 0], c[:, 0]), s[:, 0])
    assert grid.bounds == (0.0, float(model.bounds[0, 1]))


@pytest.mark.parametrize("name", [*LIMITED, "cake", "foresight", "permanent"])
def test_marginal_inverse_inverts_marginal_reward(name, checks):
    model = ALL[name]()
    s = checks.random_states(model)
    c = (0.5 * s.abs()[:, :1] + 0.1).requires_grad_()
    (v,) = torch.autograd.grad(model.rewards(s, c).sum(), c)
    named = {key: model.params[key] for key in ("gamma", "bliss") if key in model.params}
    torch.testing.assert_close(model.marginal_inverse(v, s, **named), c.detach())


def expected_under_draws(model, f):
    """Mean of f(e) with the probabilities with which shocks occur."""
    shocks = model.distribution
    return float(shocks.frequencies @ f(shocks.observations))


def test_buffer_stock_shocks_have_mean_one():
    model = make_buffer_stock()
    torch.testing.assert_close(
        model.distribution.mean, torch.ones(2, dtype=torch.float64), rtol=1e-13, atol=0
    )


@pytest.mark.parametrize("growth", [1.0, 1.02])
def test_buffer_stock_weighs_expectations_by_growth(growth):
    model = make_buffer_stock(growth=growth)
    rule = model.distribution.nodes()
    beta, survival, R, gamma = (model.params[key] for key in ("beta", "survival", "R", "gamma"))

    def later(e):
        return 1 / (1 + e[:, 1]) + e[:, 0]

    tilted = model.beta * float(rule.weights @ later(rule.nodes))
    weighted = expected_under_draws(model, lambda e: (growth * e[:, 0]) ** (1 - gamma) * later(e))
    assert tilted == pytest.approx(beta * survival * weighted, rel=1e-13)

    def slope(e):
        return R / (growth * e[:, 0]) * (1 + e[:, 1]) ** -gamma

    derived = model.beta * float(rule.weights @ slope(rule.nodes))
    textbook = expected_under_draws(
        model, lambda e: (growth * e[:, 0]) ** -gamma * (1 + e[:, 1]) ** -gamma
    )
    assert derived == pytest.approx(beta * survival * R * textbook, rel=1e-13)


def test_buffer_stock_draws_shocks_as_they_occur():
    model = make_buffer_stock(gamma=5.0, beta=0.85)
    states = torch.ones(40_000, 1, dtype=torch.float64)
    draws = model.distribution.sample(states, np.random.RandomState(0))
    # Four standard errors of the mean; the weighed mean of ψ is 0.04 lower.
    assert float((draws.mean(0) - 1).abs().max()) < 4 * 0.25 / 200
    rule = model.distribution.nodes()
    assert float(rule.weights @ rule.nodes[:, 0]) < 0.97


def test_buffer_stock_without_finite_value_is_refused():
    with pytest.raises(ValueError, match=r"discount=1\.03"):
        make_buffer_stock(gamma=5.0)


def test_buffer_stock_without_permanent_shocks_is_an_income_fluctuation():
    model = make_buffer_stock(permanent=0.0, n_permanent=1, unemployment=0.0, survival=1.0)
    assert model.beta == pytest.approx(0.96, rel=1e-15)
    nodes = model.distribution.nodes().nodes
    assert len(nodes) == 7 and (nodes[:, 0] == 1).all()
    assert float(nodes[:, 1].mean()) == pytest.approx(1.0, rel=1e-14)


def test_lower_bounds_of_resources_hold_for_the_next_ones(checks):
    for make in (make_income_fluctuation, make_buffer_stock):
        model = make()
        s = checks.random_states(model)
        e = model.distribution.sample(s, np.random.RandomState(0))
        assert (model.next_states(s, s, e) >= model.bounds[:, 0]).all()


def test_unit_root_of_income_needs_bounds():
    with pytest.raises(ValueError, match=r"rho=1\.0"):
        make_persistent_income(rho=1.0)
