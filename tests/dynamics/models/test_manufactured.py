"""Problems built backwards solve what they were built from."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import make_manufactured, make_random_manufactured
from thetalearn.dynamics.shocks import MarkovChain, Normal


def peaked(s):
    return (s[:, 0] - 0.3).abs() + (3 * s[:, 1]).sin()


def bent(s):
    return torch.stack([s[:, 0].clamp(min=0.0), s.prod(1), s[:, 1].tanh()], 1)


def mixed(s, a, e):
    return 0.4 * s + 0.3 * a[:, :2] * a[:, 2:] + e


def kinked():
    return make_manufactured(
        value=peaked,
        policy=bent,
        transition=mixed,
        shocks=Normal(scale=[0.1, 0.2]),
        state_bounds=[(-1.0, 1.0), (0.0, 2.0)],
        curvature=[[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0]],
        rule="gauss_hermite",
        n_nodes=20,
    )


def test_kinked_solution_is_exact_at_the_same_nodes(checks):
    model = kinked()
    assert checks.bellman(model) < 1e-13
    assert checks.improvement(model) <= 1e-13


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 3), st.integers(0, 1000))
def test_random_polynomials_are_exact_under_any_rule(n_states, degree, policy_degree, seed):
    model = make_random_manufactured(
        n_states=n_states, degree=degree, policy_degree=policy_degree, random_state=seed
    )
    s = model.middle_states()
    a = model.exact("policy")(s)
    nodes, weights = model.distribution.nodes("gauss_hermite", 4).at(s)
    later = torch.stack(
        [model.exact("value")(model.next_states(s, a, e.expand(len(s), -1))) for e in nodes], 1
    )
    worth = model.rewards(s, a) + model.beta * later @ weights
    torch.testing.assert_close(worth, model.exact("value")(s), rtol=1e-11, atol=1e-12)


def test_markov_chain_in_the_state(checks):
    def value(s):
        return s[:, 0].square() * (1 + s[:, 1])

    def policy(s):
        return s[:, :1] / 2

    def transition(s, a, e):
        return torch.cat([0.5 * s[:, :1] + 0.4 * a, e], 1)

    model = make_manufactured(
        value=value,
        policy=policy,
        transition=transition,
        shocks=MarkovChain([[0.9, 0.1], [0.4, 0.6]], [0.0, 1.0], state=1),
        state_bounds=[(-1.0, 1.0), (0.0, 1.0)],
    )
    assert checks.bellman(model) < 1e-13


def test_seed_decides_and_scale_scales():
    s = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    one, same, other = (
        make_random_manufactured(n_states=3, random_state=seed).exact("value")(s)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    double = make_random_manufactured(n_states=3, scale=0.4).exact("value")(s)
    torch.testing.assert_close(double, 2 * one)


@pytest.mark.parametrize("make", [kinked, make_random_manufactured], ids=["kinked", "random"])
def test_pickle_round_trip(make):
    model = make()
    copy = pickle.loads(pickle.dumps(model))
    s = model.middle_states()
    a = model.inside_actions(s)
    assert torch.equal(copy.rewards(s, a), model.rewards(s, a))


def test_hundred_states():
    model = make_random_manufactured(n_states=100, degree=1, policy_degree=1)
    s = model.middle_states()
    assert model.rewards(s, model.exact("policy")(s)).shape == (3,)


@pytest.mark.parametrize(
    ("curvature", "message"),
    [(-1.0, "positive definite"), ([[1.0, 0.0], [0.0, 1.0]], r"of shape \(2, 2\)")],
    ids=["sign", "shape"],
)
def test_wrong_curvature_is_refused(curvature, message):
    with pytest.raises(ValueError, match=message):
        make_manufactured(
            value=peaked,
            policy=bent,
            transition=mixed,
            state_bounds=[(-1.0, 1.0)] * 2,
            shocks=Normal(scale=[0.1, 0.1]),
            curvature=curvature,
        )
