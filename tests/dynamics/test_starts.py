"""Steady states and stable linear policies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics import AR1, DynamicModel, MarkovChain
from thetalearn.dynamics.approximation import Representation
from thetalearn.dynamics.coordinates import StateMap
from thetalearn.dynamics.equations import EulerEquation
from thetalearn.dynamics.euler import _starts as starts
from thetalearn.dynamics.models import (
    make_borrowing_limit,
    make_brock_mirman,
    make_growth,
    make_investment,
    make_leisure_growth,
    make_linear_quadratic,
)
from thetalearn.dynamics.setup import Setup
from thetalearn.dynamics.starts import linear_policy, steady_state
from thetalearn.objectives.projection import residuals

few = settings(max_examples=12, deadline=None)


def equation_of(model, **options):
    return EulerEquation(model, StateMap(model), **options)


@pytest.mark.parametrize(
    "make",
    [make_brock_mirman, make_growth, make_leisure_growth],
    ids=["brock", "growth", "leisure"],
)
@pytest.mark.parametrize("guess", [True, False])
def test_steady_state_is_found_with_and_without_a_guess(make, guess):
    model = make()
    state, actions = model.steady_guess()
    model = model if guess else replace(model, steady_state=None)
    equation = equation_of(model)
    s, y = steady_state(model, equation)
    torch.testing.assert_close(s, state, rtol=1e-7, atol=1e-8)
    found = equation.actions(s[None], y[None])[0]
    torch.testing.assert_close(found, actions, rtol=1e-7, atol=1e-8)


@few
@given(st.floats(0.2, 0.6), st.floats(0.6, 0.97), st.floats(-0.3, 0.95), st.floats(0.005, 0.05))
def test_linear_policy_of_brock_mirman_is_the_exact_one(alpha, beta, rho, sigma):
    # In logarithms c = const + alpha k + z, everywhere and not near the steady state alone.
    model = make_brock_mirman(alpha=alpha, beta=beta, rho=rho, sigma=sigma)
    equation = equation_of(model)
    policy = linear_policy(model, equation)
    expected = torch.tensor([[alpha, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(policy.slope, expected, rtol=1e-7, atol=1e-7)
    assert policy.n_stable == 2
    s = model.middle_states()
    found = equation.actions(s, policy(equation.coordinates(s)))
    torch.testing.assert_close(found, model.exact("policy")(s), rtol=1e-7, atol=1e-8)


def test_linear_policy_of_two_actions():
    model = make_leisure_growth()
    equation = equation_of(model)
    policy = linear_policy(model, equation)
    # Log consumption moves with output, leisure with nothing.
    expected = torch.tensor([[model.params["alpha"], 1.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(policy.slope, expected, rtol=1e-7, atol=1e-7)
    s = model.middle_states()
    found = equation.actions(s, policy(equation.coordinates(s)))
    torch.testing.assert_close(found, model.exact("policy")(s), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_linear_policy_of_the_regulator_solves_riccati(seed):
    rng = np.random.RandomState(seed)
    matrices = {"A": rng.normal(size=(3, 3)) / 2, "B": np.eye(3) + 0.2 * rng.normal(size=(3, 3))}
    model = make_linear_quadratic(**matrices, C=np.eye(3) / 10, beta=0.9)
    policy = linear_policy(model, equation_of(model, unit_free=False))
    gains = model.exact("policy")(torch.eye(3, dtype=torch.float64)).T
    torch.testing.assert_close(policy.slope, gains, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(policy.state, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_stable_root_of_investment_is_picked(slope):
    # Of the two roots of the quadratic the other makes capital explode.
    model = make_investment(n_firms=3, slope=slope)
    policy = linear_policy(model, equation_of(model))
    s = model.middle_states()
    torch.testing.assert_close(policy(s), model.exact("policy")(s), rtol=1e-8, atol=1e-9)
    assert policy.n_stable == 3
    assert (policy.slope < 0).all()


def test_closed_loop_is_the_stable_one():
    model = make_growth()
    equation = equation_of(model)
    policy = linear_policy(model, equation)
    x = policy.x[None].requires_grad_()
    s = equation.to_inputs.inverse(x)
    e = model.distribution.expected(s)
    after = equation.coordinates(equation.next_states(s, policy(x), e))
    loop = torch.stack(
        [torch.autograd.grad(after[0, i], x, retain_graph=True)[0][0] for i in (0, 1)]
    )
    moduli = torch.linalg.eigvals(loop.detach()).abs()
    assert (moduli < 1).all() and float(moduli.max()) == pytest.approx(0.95, rel=0.05)
    assert policy.n_stable == 2


def test_linear_policy_passes_through_the_steady_state():
    model = make_growth()
    equation = equation_of(model)
    s, y = steady_state(model, equation)
    policy = linear_policy(model, equation)
    torch.testing.assert_close(policy(equation.coordinates(s[None]))[0], y)
    torch.testing.assert_close(policy.state, s)


def test_coordinates_do_not_change_the_linear_policy():
    # Of another transform the slope is another, and the same by the chain rule.
    log = make_growth()
    plain = replace(log, action_transform="identity", state_transform=("log", "identity"))
    c = float(log.steady_guess()[1])
    slopes = [linear_policy(m, equation_of(m)).slope for m in (log, plain)]
    # Capital is 1 in the steady state, where its logarithm has the slope 1.
    torch.testing.assert_close(slopes[1], c * slopes[0], rtol=1e-7, atol=1e-9)


def pricing(persistence=0.5, discount=0.9, shocks=None):
    """The price of a claim to dividends."""
    return DynamicModel(
        transition=lambda s, p, e: e,
        euler=lambda s, p, s_next, p_next: p - discount * (s_next + p_next),
        shocks=AR1(persistence, 0.1, state=0) if shocks is None else shocks,
        state_bounds=[(-1.0, 1.0)],
        action_names=["price"],
    )


@few
@given(st.floats(-0.9, 0.99), st.floats(0.1, 0.99))
def test_price_of_dividends(persistence, discount):
    model = pricing(persistence, discount)
    policy = linear_policy(model, equation_of(model))
    share = discount * persistence
    assert float(policy.slope) == pytest.approx(share / (1 - share), rel=1e-8, abs=1e-10)
    assert policy.n_stable == 1


def test_explosive_prices_have_too_few_stable_roots():
    # A discount above one has no fundamental price that is unique.
    policy = linear_policy(*(lambda m: (m, equation_of(m)))(pricing(0.5, 1.5)))
    assert policy.n_stable == 2


def test_steady_state_outside_the_box_is_none():
    inside = make_growth()
    outside = replace(inside, state_bounds=[(2.0, 3.0), (0.9, 1.1)], steady_state=None)
    assert steady_state(outside, equation_of(outside)) is None
    assert linear_policy(outside, equation_of(outside)) is None


def test_chains_have_no_steady_state_and_no_derivative():
    chain = MarkovChain([[0.9, 0.1], [0.1, 0.9]], [-1.0, 1.0], state=0)
    model = pricing(shocks=chain)
    assert steady_state(model, equation_of(model)) is None
    assert linear_policy(model, equation_of(model)) is None


def test_steady_state_at_a_limit():
    model = replace(make_borrowing_limit(), action_transform="identity")
    s, y = steady_state(model, equation_of(model))
    # Who is impatient ends with nothing but income.
    assert float(s) == pytest.approx(1.0, abs=1e-6) and float(y) == pytest.approx(1.0, abs=1e-6)


def test_networks_start_from_feasible_policies_where_there_is_no_linear_one():
    chain = MarkovChain([[0.9, 0.1], [0.2, 0.8]], [-0.1, 0.1], state=1)
    model = replace(
        make_brock_mirman(),
        shocks=chain,
        state_bounds=[(0.1, 0.35), (-0.1, 0.1)],
        steady_state=None,
    )
    network = Representation("mlp", None, None, None, 40, (4,), "tanh")
    rng = np.random.RandomState(0)
    setup = Setup.build(model, network, 1, chain.nodes(), rng=rng)
    equation = EulerEquation(model, setup.to_inputs)
    found = list(starts(setup, equation, None, rng, 2))
    assert len(found) == 3
    for theta in found:
        assert residuals(equation, setup.function, theta, setup.rows).isfinite().all()
