"""Paths under a policy: shapes, seeds, moments in the long run, rest and stability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from thetalearn.dynamics import AR1, DynamicModel, MarkovChain, Normal, Product
from thetalearn.dynamics.models import make_brock_mirman, make_linear_quadratic
from thetalearn.dynamics.simulate import (
    deterministic_path,
    simulate,
    steady_state_of,
    transition_matrix,
)


def process(shocks, d=1, transition=lambda s, a, e: e):
    """A model whose action does nothing."""
    return DynamicModel(
        transition=transition,
        euler=lambda s, a, s_next, a_next: a,
        state_bounds=[(-2.0, 2.0)] * d,
        shocks=shocks,
    )


def idle(s):
    return torch.zeros(len(s), 1, dtype=s.dtype)


def rng(seed=0):
    return np.random.RandomState(seed)


@pytest.mark.parametrize("n_periods", [0, 1, 7])
@pytest.mark.parametrize("n_paths", [1, 4])
def test_shapes(n_periods, n_paths):
    model = make_linear_quadratic(n_states=4)
    start = torch.zeros(n_paths, 4, dtype=torch.float64)
    paths = simulate(model, model.exact("policy"), start, n_periods, rng())
    assert paths.states.shape == (n_periods + 1, n_paths, 4)
    assert paths.actions.shape == (n_periods, n_paths, 2)
    assert torch.equal(paths.states[0], start)


def test_actions_are_those_of_the_policy_and_lead_to_the_next_states():
    model = make_brock_mirman(sigma=0.0)
    policy = model.exact("policy")
    paths = simulate(model, policy, model.middle_states(), 5, rng())
    for t in range(5):
        s, a = paths.states[t], paths.actions[t]
        torch.testing.assert_close(a, policy(s))
        torch.testing.assert_close(
            paths.states[t + 1][:, 0], s[:, 1].exp() * s[:, 0] ** 0.36 - a[:, 0]
        )


def test_seed_decides_the_path():
    model = process(AR1(0.5, 0.1, state=0))
    start = torch.zeros(3, 1, dtype=torch.float64)
    one, same, other = (simulate(model, idle, start, 20, rng(seed)).states for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one[1:], other[1:])


def test_paths_have_shocks_of_their_own():
    model = process(Normal())
    states = simulate(model, idle, torch.zeros(2, 1, dtype=torch.float64), 50, rng()).states
    assert not torch.equal(states[1:, 0], states[1:, 1])


def test_autoregression_has_its_moments_in_the_long_run():
    rho, sigma, mean = 0.8, 0.3, 0.5
    model = process(AR1(rho, sigma, mean=mean, state=0))
    n_paths, n_periods, burn = 400, 300, 60
    start = torch.full((n_paths, 1), mean, dtype=torch.float64)
    x = simulate(model, idle, start, n_periods, rng()).states[burn:, :, 0].numpy()
    deviation = sigma / math.sqrt(1 - rho**2)
    # Means of paths are independent; five standard errors are missed once in a million.
    error = x.mean(0).std() / math.sqrt(n_paths)
    assert abs(x.mean() - mean) < 5 * error
    # The variance of a variance of n normal numbers is 2 / n; neighbours count for less than one.
    effective = n_paths * (n_periods - burn) * (1 - rho**2) / (1 + rho**2)
    assert abs(x.var() / deviation**2 - 1) < 5 * math.sqrt(2 / effective)
    lagged = np.corrcoef(x[1:].ravel(), x[:-1].ravel())[0, 1]
    assert lagged == pytest.approx(rho, abs=5 * math.sqrt((1 - rho**2) / x.size) + 1e-3)


def test_chain_visits_its_values_as_often_as_it_should():
    chain = MarkovChain([[0.9, 0.1], [0.3, 0.7]], [1.0, -1.0], state=0)
    model = process(chain)
    start = torch.ones(200, 1, dtype=torch.float64)
    x = simulate(model, idle, start, 250, rng()).states[50:, :, 0]
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    share = (x == 1).double().mean(0)
    assert abs(float(share.mean()) - 0.75) < 5 * float(share.std()) / math.sqrt(200)


def test_policies_of_each_period():
    model = process(Normal(scale=0.0), transition=lambda s, a, e: s + a)
    paths = simulate(
        model,
        idle,
        torch.zeros(2, 1, dtype=torch.float64),
        4,
        rng(),
        periods=lambda t: lambda s: torch.full_like(s, float(t)),
    )
    assert paths.actions[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert paths.states[:, 0, 0].tolist() == [0, 0, 1, 3, 6]


def test_path_without_shocks_of_the_linear_regulator():
    model = make_linear_quadratic(n_states=3)
    policy = model.exact("policy")
    start = model.middle_states()
    path = deterministic_path(model, policy, start, 6)
    A, B = model.params["A"], model.params["B"]
    gains = -policy(torch.eye(3, dtype=torch.float64)).T
    power = torch.linalg.matrix_power(A - B @ gains, 6)
    torch.testing.assert_close(path[6], start @ power.T)
    assert path.shape == (7, 3, 3)


def test_path_without_shocks_decays_like_the_autoregression():
    model = process(AR1(0.7, 0.5, mean=1.0, state=0))
    path = deterministic_path(model, idle, torch.tensor([[2.0]], dtype=torch.float64), 10)
    expected = 1 + 0.7 ** torch.arange(11, dtype=torch.float64)
    torch.testing.assert_close(path[:, 0, 0], expected)


def mixed():
    """Capital with a share saved, a chain of productivity."""
    chain = MarkovChain([[0.9, 0.1], [0.3, 0.7]], [1.2, 0.8], state=1)

    def transition(s, a, e):
        return torch.stack([e[:, 0] * a[:, 0] ** 0.5, e[:, 0]], 1)

    return DynamicModel(
        transition=transition,
        euler=lambda s, a, s_next, a_next: a,
        state_bounds=[(0.1, 2.0), (0.8, 1.2)],
        action_bounds=lambda s: (0.0, s[:, 0]),
        shocks=chain,
    )


def test_chains_stay_put_on_a_path_without_shocks():
    model = mixed()
    path = deterministic_path(model, lambda s: 0.3 * s[:, :1], model.middle_states(), 8)
    assert torch.equal(path[:, :, 1], path[:1, :, 1].expand(9, -1))
    rest = steady_state_of(model, lambda s: 0.3 * s[:, :1], model.middle_states()[0])
    # k = z sqrt(0.3 k).
    z = float(rest[1])
    assert float(rest[0]) == pytest.approx(0.3 * z**2, rel=1e-8)


def test_derivative_of_the_next_state_with_a_chain():
    model = mixed()
    state = torch.tensor([0.3, 1.2], dtype=torch.float64)
    found = transition_matrix(model, lambda s: 0.3 * s[:, :1], state)
    slope = 1.2 * 0.5 * 0.3 / math.sqrt(0.3 * 0.3)
    expected = torch.tensor([[slope, 0.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_steady_state_of_growth():
    model = make_brock_mirman()
    rest = steady_state_of(model, model.exact("policy"), model.middle_states()[0])
    torch.testing.assert_close(rest, model.steady_guess()[0], rtol=1e-8, atol=1e-8)


def test_paths_without_rest_have_no_steady_state():
    away = process(Normal(), transition=lambda s, a, e: 2 * s + 1)
    around = process(Normal(), transition=lambda s, a, e: -s)
    start = torch.tensor([1.0], dtype=torch.float64)
    assert steady_state_of(away, idle, start) is None
    assert steady_state_of(around, idle, start) is None


def test_derivative_of_the_next_state_of_growth():
    model = make_brock_mirman()
    state = model.steady_guess()[0]
    found = transition_matrix(model, model.exact("policy"), state)
    # k' = alpha beta e^z k^alpha, and z' = rho z.
    k = float(state[0])
    expected = torch.tensor([[0.36, k], [0.0, 0.9]], dtype=torch.float64)
    # Central differences of steps of 1e-6 err by rounding over the step.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_derivative_of_the_next_state_of_the_regulator():
    model = make_linear_quadratic(n_states=4)
    policy = model.exact("policy")
    loop = model.params["A"] + model.params["B"] @ policy(torch.eye(4, dtype=torch.float64)).T
    found = transition_matrix(model, policy, torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(found, loop, rtol=0, atol=1e-9)


def test_conditional_and_unconditional_shocks_together():
    shocks = Product(AR1(0.5, 0.0, state=0), Normal(mean=0.3, scale=0.0))
    model = process(shocks, 2)
    path = deterministic_path(model, idle, torch.tensor([[1.0, 0.0]], dtype=torch.float64), 2)
    expected = torch.tensor([[1.0, 0.0], [0.5, 0.3], [0.25, 0.3]], dtype=torch.float64)
    torch.testing.assert_close(path[:, 0], expected)
