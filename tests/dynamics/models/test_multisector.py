"""The many-sector closed form, in few and in many sectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import make_brock_mirman_output, make_multisector
from thetalearn.dynamics.models.multisector import _cuts, _divided


def worth(model, s, a):
    """Reward and discounted exact value of what follows; the value is linear in log shocks."""
    nodes, weights = model.distribution.nodes("monomial1").at(s)
    later = [model.exact("value")(model.next_states(s, a, e.expand(len(s), -1))) for e in nodes]
    return model.rewards(s, a) + model.beta * torch.stack(later, 1) @ weights


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 10), st.floats(0.3, 0.97), st.integers(0, 1000))
def test_closed_form_solves_the_problem(checks, n_sectors, beta, seed):
    model = make_multisector(n_sectors=n_sectors, beta=beta, random_state=seed)
    s = checks.random_states(model, n=5)
    a = model.exact("policy")(s)
    value = worth(model, s, a)
    torch.testing.assert_close(value, model.exact("value")(s), rtol=1e-11, atol=1e-11)
    noise = torch.from_numpy(np.random.RandomState(seed).standard_normal(a.shape))
    for size in (1e-1, 1e-3):
        others = torch.sigmoid(torch.logit(a) + size * noise)
        assert (worth(model, s, others) <= value + 1e-12 * value.abs()).all()


def test_first_order_condition(checks):
    model = make_multisector(n_sectors=3)
    s = checks.random_states(model, n=5)
    a = model.exact("policy")(s).clone().requires_grad_()
    (now,) = torch.autograd.grad(model.rewards(s, a).sum(), a)
    (gain,) = torch.autograd.grad(worth(model, s, a).sum(), a)
    # Only the first share of each good changes consumption.
    assert gain.abs().max() < 1e-12 * now.abs().max()


def test_fifty_sectors(checks):
    model = make_multisector(n_sectors=50)
    s = checks.random_states(model, n=2)
    value = model.exact("value")(s)
    torch.testing.assert_close(worth(model, s, model.exact("policy")(s)), value, rtol=1e-11, atol=0)


def test_one_sector_is_brock_mirman(checks):
    one = make_multisector(weights=[1.0], technology=[[0.4]], beta=0.96, sigma=0.1)
    known = make_brock_mirman_output(alpha=0.4, beta=0.96, sigma=0.1)
    s = checks.random_states(one)
    torch.testing.assert_close(one.exact("value")(s), known.exact("value")(s))
    torch.testing.assert_close(s * (1 - one.exact("policy")(s)), known.exact("policy")(s))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_actions_divide_goods_as_told(n, seed):
    uses = np.random.RandomState(seed).dirichlet(np.ones(n + 1), n)[:, :n]
    consumed, used = _divided(_cuts(torch.from_numpy(uses))[None], n)
    np.testing.assert_allclose(used[0], uses, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(consumed[0], 1 - uses.sum(1), rtol=1e-10, atol=1e-14)


def test_steady_state_and_parameters(checks):
    model = make_multisector(n_sectors=4)
    s, a = (part[None] for part in model.steady_guess())
    after = model.next_states(s, a, torch.ones_like(s))
    torch.testing.assert_close(after, s, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.exact("policy")(s), a)
    other = model.with_params(beta=0.9)
    states = checks.random_states(other, n=3)
    a = other.exact("policy")(states)
    torch.testing.assert_close(worth(other, states, a), other.exact("value")(states))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"technology": [[0.5, 0.5], [0.6, 0.1]]}, "column sum 1.1"),
        ({"technology": [[0.5, 0.0], [0.1, 0.1]]}, "smallest entry is 0"),
        ({"weights": [1.0, -1.0]}, "weights="),
        ({"n_sectors": 0}, "n_sectors=0"),
    ],
    ids=["sum", "zero", "weight", "count"],
)
def test_wrong_sectors_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_multisector(**changes)
