"""Asset prices and portfolios, against their equations and worked numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import make_burnside, make_lucas_tree, make_portfolio


@settings(max_examples=15, deadline=None)
@given(
    st.floats(0.5, 0.97),
    st.floats(0.5, 3.0),
    st.floats(-0.5, 0.95) | st.just(1.0),
    st.floats(0.01, 0.1),
)
def test_lucas_ratio_solves_its_equation(checks, beta, gamma, rho, sigma):
    model = make_lucas_tree(beta=beta, gamma=gamma, rho=rho, sigma=sigma, width=3.0)
    s = checks.random_states(model)
    scale = 1 + float(model.exact("policy")(s).max())
    # Twenty nodes leave nothing of these smooth functions.
    assert checks.arbitrage(model, s) < 1e-12 * scale
    assert checks.drift(model) == 0


@pytest.mark.parametrize("make", [make_lucas_tree, make_burnside], ids=["lucas", "burnside"])
def test_bounds_hold_the_next_state(make, checks):
    model = make()
    s = checks.random_states(model)
    for shock in (-5.0, 5.0):
        after = model.next_states(s, s, torch.full_like(s, shock))
        assert ((after >= model.bounds[:, 0]) & (after <= model.bounds[:, 1])).all()


def test_lucas_ratio_with_log_utility_is_constant(checks):
    model = make_lucas_tree(beta=0.96, rho=0.5)
    ratio = model.exact("policy")(checks.random_states(model))
    torch.testing.assert_close(ratio, torch.full_like(ratio, 24.0), rtol=1e-13, atol=0)


def test_lucas_ratio_with_independent_growth():
    beta, gamma, sigma = 0.95, 2.0, 0.1
    model = make_lucas_tree(beta=beta, gamma=gamma, rho=1.0, sigma=sigma)
    growth = beta * np.exp((1 - gamma) ** 2 * sigma**2 / 2)
    ratio = model.exact("policy")(torch.tensor([[0.5], [2.0]], dtype=torch.float64))
    np.testing.assert_allclose(ratio, growth / (1 - growth), rtol=1e-13)


def test_ratio_without_limit_is_refused(checks):
    model = make_lucas_tree(gamma=8.0, rho=1.0)
    with pytest.raises(ValueError, match="lower beta or sigma"):
        model.exact("policy")(checks.random_states(model))


def test_burnside_worked_number():
    ratio = make_burnside().exact("policy")(torch.tensor([[0.0179]], dtype=torch.float64))
    assert float(ratio) == pytest.approx(12.4812366, abs=5e-8)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.5, 0.95), st.floats(-2.0, 0.9), st.floats(-0.9, 0.8), st.floats(0.001, 0.05))
def test_burnside_ratio_solves_its_equation(checks, beta, theta, rho, sigma):
    model = make_burnside(beta=beta, theta=theta, rho=rho, sigma=sigma)
    s = checks.random_states(model)
    scale = 1 + float(model.exact("policy")(s).max())
    assert checks.arbitrage(model, s) < 1e-12 * scale


def test_burnside_parameters_reach_the_solution(checks):
    model = make_burnside().with_params(beta=0.9)
    assert torch.equal(model.bounds, make_burnside(beta=0.9).bounds)
    assert checks.arbitrage(model) < 1e-12


@pytest.mark.parametrize("make", [make_lucas_tree, make_burnside], ids=["lucas", "burnside"])
def test_prices_are_linear_in_the_unknown(make, checks):
    # One linear solve must do.
    model = make()
    s = checks.random_states(model)
    after = s.flip(0)
    one, two = torch.rand(2, len(s), 2, generator=torch.Generator().manual_seed(0)).double()
    both = [model.arbitrage(s, x[:, :1], after, x[:, 1:], s) for x in (one, two, (one + two) / 2)]
    torch.testing.assert_close((both[0] + both[1]) / 2, both[2])


def test_portfolio_worked_numbers(checks):
    model = make_portfolio()
    consumed, risky = model.exact("policy")(torch.ones(1, 1, dtype=torch.float64))[0].tolist()
    assert risky == pytest.approx(0.308891, abs=5e-7)
    assert consumed == pytest.approx(0.031799, abs=5e-7)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1.0, 2.0, 4.0, 7.5]), st.floats(0.85, 0.95), st.floats(0.03, 0.055))
def test_portfolio_solves_the_problem(checks, gamma, beta, mean):
    model = make_portfolio(gamma=gamma, beta=beta, mean=mean, sigma=0.25)
    assert checks.bellman(model) < 1e-12
    assert checks.arbitrage(model) < 1e-12
    assert checks.improvement(model) < 1e-12


def test_portfolio_pickles_and_follows_its_parameters(checks):
    model = make_portfolio()
    assert checks.same_after_pickling(model)
    other = model.with_params(gamma=5.0, sigma=0.2)
    assert checks.bellman(other) < 1e-12


def test_corner_portfolio_is_refused(checks):
    with pytest.raises(ValueError, match="risky share 0"):
        make_portfolio(mean=-0.1).exact("policy")(torch.ones(1, 1, dtype=torch.float64))
