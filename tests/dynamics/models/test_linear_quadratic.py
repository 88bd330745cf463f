"""The linear regulator and the investment of many firms, against their equations."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import make_investment, make_linear_quadratic

#: Rounding of sums of some hundred products.
ROUNDING = 1e-12


def auto_worth(model, s, a):
    """Reward and discounted exact value of what follows; the rule is exact for quadratics."""
    nodes, weights = model.distribution.nodes().at(s)
    later = torch.stack(
        [model.exact("value")(model.next_states(s, a, e.expand(len(s), -1))) for e in nodes], 1
    )
    return model.rewards(s, a) + model.beta * later @ weights


def test_regulator_solves_the_problem_in_two_states(checks):
    model = make_linear_quadratic(n_states=2)
    assert checks.bellman(model) < ROUNDING
    assert checks.improvement(model) < ROUNDING


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 8), st.floats(0.3, 0.99), st.integers(0, 100))
def test_regulator_solves_the_problem_in_any_calibration(checks, n_states, beta, seed):
    model = make_linear_quadratic(n_states=n_states, beta=beta, random_state=seed)
    s = checks.random_states(model, n=5)
    value, a = model.exact("value")(s), model.exact("policy")(s)
    # The value is 1 / (1 - beta) times as large as what it is a sum of.
    torch.testing.assert_close(auto_worth(model, s, a), value, rtol=1e-10, atol=1e-10)
    noise = torch.from_numpy(np.random.RandomState(seed).standard_normal(a.shape))
    for size in (1.0, 1e-2):
        assert (auto_worth(model, s, a + size * noise) <= value + 1e-10).all()


@pytest.mark.parametrize(("n_states", "trace"), [(10, 22.964254817808), (100, 239.749328)])
def test_trace_of_the_default_instance(n_states, trace):
    model = make_linear_quadratic(n_states=n_states)
    value = model.exact("value")
    ends = torch.eye(n_states, dtype=torch.float64)
    drop = value(torch.zeros(1, n_states, dtype=torch.float64)) - value(ends)
    assert float(drop.sum()) == pytest.approx(trace, rel=1e-8)


def test_trace_of_an_instance_solved_by_another_library():
    # QuantEcon's LQ gives 24.168258 for these matrices; reflections fix the signs of the rotation.
    rng = np.random.default_rng(0)
    given_matrix, rotation = rng.standard_normal((10, 10)), np.eye(10)
    for j in range(9):
        v = given_matrix[:, j].copy()
        v[:j] = 0
        v[j] += np.sign(v[j]) * np.linalg.norm(v)
        reflection = np.eye(10) - 2 * np.outer(v, v) / (v @ v)
        given_matrix, rotation = reflection @ given_matrix, rotation @ reflection
    model = make_linear_quadratic(
        A=0.95 * rotation, B=rng.standard_normal((10, 5)) / np.sqrt(10), C=0.1 * np.eye(10)
    )
    value = model.exact("value")
    drop = value(torch.zeros(1, 10, dtype=torch.float64)) - value(torch.eye(10).double())
    assert float(drop.sum()) == pytest.approx(24.168258, abs=5e-7)


def test_rest_is_steady_and_parameters_reach_the_solution(checks):
    model = make_linear_quadratic(n_states=3)
    assert checks.drift(model) == 0
    s = checks.random_states(model)
    dearer = model.with_params(R=100 * torch.eye(1, dtype=torch.float64))
    assert dearer.exact("policy")(s).norm() < model.exact("policy")(s).norm()
    copy = pickle.loads(pickle.dumps(model))
    assert torch.equal(copy.exact("value")(s), model.exact("value")(s))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": np.eye(2), "B": np.ones((3, 1))}, r"B of shape \(3, 1\).*\(2, 1\)"),
        ({"A": [[1.0]], "Q": [[-1.0]]}, "Q must be symmetric positive semi-definite"),
        ({"B": [[1.0]], "R": [[0.0]]}, "R must be symmetric positive definite"),
        ({"radius": 0.0}, "radius=0.0 must be positive"),
        ({"n_states": 0}, "n_states=0 must be"),
    ],
    ids=["shape", "gain", "free control", "no width", "no states"],
)
def test_wrong_regulators_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_linear_quadratic(**changes)


def investment_residual(model, s, policy):
    """Expected residual; the rule is exact, as all is linear."""
    nodes, weights = model.distribution.nodes("monomial1").at(s)
    a = policy(s)
    rows = []
    for e in nodes:
        after = model.next_states(s, a, e.expand(len(s), -1))
        rows.append(model.arbitrage(s, a, after, policy(after), e))
    return torch.einsum("qnm,q->nm", torch.stack(rows), weights)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 0.99), st.floats(1.0, 200.0), st.floats(0.01, 0.3), st.floats(0.2, 3.0))
def test_linear_investment_solves_the_euler_equation(checks, beta, gamma, delta, slope):
    model = make_investment(n_firms=4, beta=beta, gamma=gamma, delta=delta, slope=slope)
    residual = investment_residual(model, checks.random_states(model), model.exact("policy"))
    # Relative to the intercept, next to which gamma may be large.
    assert residual.abs().max() < 1e-14 * (1 + gamma)
    assert checks.drift(model) < ROUNDING


def test_investment_is_stable_and_symmetric(checks):
    model = make_investment()
    s = checks.random_states(model, n=5)
    policy = model.exact("policy")
    order = torch.from_numpy(np.random.RandomState(0).permutation(128))
    torch.testing.assert_close(policy(s[:, order]), policy(s), rtol=1e-13, atol=0)
    steady, a = model.steady_guess()
    torch.testing.assert_close(policy(steady[None])[0], a, rtol=1e-12, atol=0)
    risen = policy(1.1 * steady[None])[0] - a
    assert -1 < 0.95 + float(risen / (0.1 * steady[0])) < 1


def test_no_exact_investment_at_a_curved_price(checks):
    model = make_investment(n_firms=2, nu=1.5)
    with pytest.raises(ValueError, match=r"nu=1.5 has no exact policy"):
        model.exact("policy")(checks.random_states(model))
