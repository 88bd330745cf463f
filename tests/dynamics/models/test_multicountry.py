"""Growth of many countries: steady state, constraints, limits and symmetry."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import make_multicountry, multicountry_consumption
from thetalearn.dynamics.models.multicountry import _extended_log, _log_price

elasticities = st.lists(st.floats(0.1, 2.0), min_size=1, max_size=5)


def trial(model, seed=0, n=20):
    """Random states, and growth factors that leave something to consume."""
    rng = np.random.RandomState(seed)
    low, high = model.bounds[:, 0], model.bounds[:, 1]
    s = low + (high - low) * torch.from_numpy(rng.rand(n, len(low)))
    a = torch.from_numpy(np.exp(0.005 * rng.standard_normal((n, model.n_actions))))
    return s, a


@settings(max_examples=20, deadline=None)
@given(elasticities, st.floats(0.2, 0.5), st.floats(0.9, 0.995), st.floats(0.0, 0.1))
def test_steady_state_solves_the_euler_equations(checks, gamma, alpha, beta, delta):
    model = make_multicountry(
        n_countries=len(gamma), gamma=gamma, alpha=alpha, beta=beta, delta=delta
    )
    s, a = (part[None] for part in model.steady_guess())
    assert model.arbitrage(s, a, s, a, 0 * a).abs().max() < 1e-13
    assert checks.drift(model) == 0


def test_one_country_without_frictions_is_brock_mirman(checks):
    model = make_multicountry(n_countries=1, gamma=1.0, phi=0.0, delta=1.0, beta=0.9)
    level = 1 / (0.9 * 0.36)

    def policy(s):
        return 0.36 * 0.9 * level * s[:, 1:].exp() * s[:, :1] ** (0.36 - 1)

    assert checks.arbitrage(model, policy=policy) < 1e-12


@settings(max_examples=20, deadline=None)
@given(elasticities, st.floats(0.0, 2.0), st.floats(0.0, 0.1))
def test_consumption_uses_up_resources_at_one_price(gamma, phi, delta):
    model = make_multicountry(n_countries=len(gamma), gamma=gamma, phi=phi, delta=delta)
    s, a = trial(model)
    c = multicountry_consumption(model, s, a)
    n = len(gamma)
    k, z = s[:, :n], s[:, n:]
    level = (1 / 0.99 - 1 + delta) / 0.36
    kept = k * a - (1 - delta) * k + phi / 2 * k * (a - 1) ** 2
    left = (level * z.exp() * k**0.36 - kept).sum(1)
    torch.testing.assert_close(c.sum(1), left, rtol=1e-12, atol=1e-14)
    powers = torch.tensor(gamma, dtype=torch.float64)
    prices = (level - delta) ** (1 / powers) * c ** (-1 / powers)
    torch.testing.assert_close(prices, prices[:, :1].expand_as(prices), rtol=1e-10, atol=0)


def test_returns_are_the_derivative_of_resources():
    model = make_multicountry(n_countries=3, phi=0.7, delta=0.02)
    s, a = trial(model)
    k = s[:, :3].clone().requires_grad_()
    after = s[:, :3] * a
    steady = (1 / 0.99 - 1 + 0.02) / 0.36
    total = (
        steady * s[:, 3:].exp() * k**0.36 + 0.98 * k - after - 0.35 * k * (after / k - 1) ** 2
    ).sum()
    (returns,) = torch.autograd.grad(total, k)
    # With nothing else changing, the price cancels and the return alone remains.
    residual = model.arbitrage(s, a, s, a, s)
    torch.testing.assert_close(
        residual, 0.99 * returns / (1 + 0.7 * (a - 1)) - 1, rtol=1e-10, atol=1e-12
    )


def test_derivatives_pass_through_the_price():
    model = make_multicountry(n_countries=3)
    s, a = trial(model, n=2)
    s_next, a_next = trial(model, seed=1, n=2)
    given_tensors = tuple(x.clone().requires_grad_() for x in (s, a, s_next, a_next))

    def residual(*x):
        return model.arbitrage(*x, x[0])

    assert torch.autograd.gradcheck(residual, given_tensors, eps=1e-7, atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(elasticities, st.floats(-100.0, 3.0))
def test_price_solves_its_equation(gamma, log_consumption):
    target = torch.tensor([log_consumption], dtype=torch.float64)
    log_price = _log_price(target, gamma)
    mean = torch.logsumexp(-log_price * torch.tensor(gamma, dtype=torch.float64), 0) - np.log(
        len(gamma)
    )
    assert float(mean) == pytest.approx(log_consumption, rel=1e-9, abs=1e-9)


def test_logarithm_goes_on_smoothly_where_nothing_is_left():
    x = torch.tensor([0.05 - 1e-9, 0.05 + 1e-9, -3.0, 0.5], dtype=torch.float64, requires_grad=True)
    y = _extended_log(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(y[0], y[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(slope[0], slope[1], rtol=1e-6, atol=0)
    assert y.isfinite().all() and (slope > 0).all()
    assert float(y[3].detach()) == pytest.approx(np.log(0.5))


def test_countries_that_are_alike_may_change_places():
    model = make_multicountry(n_countries=3, variant=1)
    s, a = trial(model)
    order = [2, 0, 1]
    columns = [*order, *(3 + j for j in order)]
    residual = model.arbitrage(s, a, s.flip(0), a.flip(0), s)
    moved = model.arbitrage(
        s[:, columns], a[:, order], s.flip(0)[:, columns], a.flip(0)[:, order], s
    )
    torch.testing.assert_close(moved, residual[:, order], rtol=1e-10, atol=1e-13)


def test_shocks_share_a_common_part():
    cov = make_multicountry(n_countries=3, sigma=0.02).distribution.cov
    np.testing.assert_allclose(cov, 0.0004 * (np.eye(3) + 1), rtol=1e-12)


def test_pickle_and_parameters():
    model = pickle.loads(pickle.dumps(make_multicountry(n_countries=2)))
    changed = model.with_params(sigma=0.02, gamma=(1.0, 1.0))
    assert float(changed.bounds[2, 1]) == pytest.approx(2 * float(model.bounds[2, 1]))
    same = make_multicountry(n_countries=2, variant=1, sigma=0.02)
    s, a = trial(model)
    args = (s, a, s.flip(0), a.flip(0), s)
    assert torch.equal(changed.arbitrage(*args), same.arbitrage(*args))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": 9}, "variant=9 must be one of"),
        ({"gamma": [1.0, -1.0]}, "gamma=.* must be a positive number"),
        ({"n_countries": 0}, "n_countries=0"),
        ({"capital_bounds": (1.0, 0.5)}, "capital_bounds="),
    ],
    ids=["variant", "gamma", "count", "bounds"],
)
def test_wrong_worlds_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_multicountry(**changes)
