"""Options: the tree's Bellman equation, and its limit in continuous time."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import (
    make_american_put,
    make_bermudan_max_call,
    perpetual_put,
    put_threshold,
)


def both(model, s, later):
    """What waiting and exercising are worth if later(s) is the value of the next state."""
    nodes, weights = model.distribution.nodes().at(s)
    worths = []
    for action in (0.0, 1.0):
        a = torch.full_like(s[:, :1], action)
        values = [later(model.next_states(s, a, e.expand(len(s), -1))) for e in nodes]
        worths.append(model.rewards(s, a) + model.beta * torch.stack(values, 1) @ weights)
    return worths


calibrations = {
    "rate": st.floats(0.01, 0.1),
    "volatility": st.floats(0.1, 0.5),
    "periods_per_year": st.floats(10.0, 200.0),
    "strike": st.floats(1.0, 100.0),
}


@settings(max_examples=20, deadline=None)
@given(st.fixed_dictionaries(calibrations))
def test_perpetual_put_solves_its_bellman_equation(checks, calibration):
    model = make_american_put(**calibration)
    s = checks.random_states(model)
    value = model.exact("value")(s)
    waiting, exercising = both(model, s, model.exact("value"))
    scale = calibration["strike"]
    torch.testing.assert_close(
        torch.maximum(waiting, exercising), value, rtol=1e-11, atol=1e-12 * scale
    )
    exercise = model.exact("policy")(s)[:, 0] > 0
    chosen = torch.where(exercise, exercising, waiting)
    torch.testing.assert_close(chosen, value, rtol=1e-11, atol=1e-12 * scale)
    assert torch.equal(exercise, s[:, 0] <= put_threshold(**calibration))


def test_value_is_linear_between_its_kinks():
    model = make_american_put()
    rise = torch.tensor(0.2 / 50**0.5).exp()
    start = put_threshold() * float(rise) ** 7
    s = torch.linspace(start, start * float(rise), 5, dtype=torch.float64)[:, None]
    slopes = model.exact("value")(s).diff()
    torch.testing.assert_close(slopes, slopes[:1].expand(4), rtol=1e-5, atol=0)


def test_perpetual_put_tends_to_its_limit():
    assert float(perpetual_put(torch.tensor(40.0))) == pytest.approx(4.21875)
    errors = []
    for periods in (50.0, 5000.0):
        value = make_american_put(periods_per_year=periods).exact("value")
        errors.append(abs(float(value(torch.tensor([[40.0]]).double())) - 4.21875))
    # The value at the best threshold errs by the square of the step of log prices.
    assert errors[1] < 1e-4
    assert errors[1] < errors[0] / 50
    assert put_threshold(periods_per_year=1e8) == pytest.approx(30.0, rel=1e-4)


def test_put_with_maturity_by_backward_induction_of_the_model():
    model = make_american_put(maturity=0.1)
    assert model.horizon == 5

    def value(left):
        if left == 0:
            return model.terminal_values
        return lambda s: torch.maximum(*both(model, s, value(left - 1)))

    s = torch.tensor([[30.0], [36.0], [38.5], [39.9], [44.0]], dtype=torch.float64)
    torch.testing.assert_close(value(5)(s), model.exact("value")(s), rtol=1e-12, atol=1e-12)
    waiting, exercising = both(model, s, value(4))
    chosen = torch.where(model.exact("policy")(s)[:, 0] > 0, exercising, waiting)
    torch.testing.assert_close(chosen, value(5)(s), rtol=1e-12, atol=1e-12)


def test_put_of_longstaff_and_schwartz():
    # 4.478 by finite differences with the same 50 dates; the tree has as many steps as dates.
    value = make_american_put(maturity=1.0).exact("value")(torch.tensor([[36.0]]).double())
    assert float(value) == pytest.approx(4.478, abs=0.01)


def test_longer_puts_are_worth_more_up_to_the_perpetual_one(checks):
    s = torch.linspace(30.0, 60.0, 7, dtype=torch.float64)[:, None]
    puts = [make_american_put(maturity=years) for years in (0.5, 2.0, 60.0)]
    values = [put.exact("value")(s) for put in [*puts, make_american_put()]]
    for shorter, longer in pairwise(values):
        assert (longer >= shorter - 1e-12).all()
    torch.testing.assert_close(values[2], values[3], rtol=0.02, atol=0.02)


def test_european_call_bounds_the_bermudan_with_one_asset():
    # One period left, one share: the better of exercising now and a European call.
    model = make_bermudan_max_call(n_assets=1, n_dates=1, maturity=1.0)
    s = torch.tensor([[80.0], [100.0], [150.0]], dtype=torch.float64)
    nodes, weights = model.distribution.nodes("sobol", 2**14, random_state=0).at(s)
    a = torch.zeros_like(s)
    paid = [model.terminal_values(model.next_states(s, a, e.expand(3, -1))) for e in nodes]
    waiting = model.beta * torch.stack(paid, 1) @ weights
    normal = torch.distributions.Normal(0.0, 1.0)
    d1 = (s[:, 0] / 100).log() / 0.2 + (0.05 - 0.1) / 0.2 + 0.1
    black_scholes = s[:, 0] * torch.tensor(-0.1).exp() * normal.cdf(d1)
    black_scholes -= 100 * torch.tensor(-0.05).exp() * normal.cdf(d1 - 0.2)
    torch.testing.assert_close(waiting, black_scholes, rtol=2e-3, atol=1e-2)


def test_shares_may_change_places():
    model = make_bermudan_max_call(n_assets=3)
    s = torch.tensor([[90.0, 120.0, 100.0]], dtype=torch.float64)
    for a in (torch.zeros(1, 1).double(), torch.ones(1, 1).double()):
        assert torch.equal(model.rewards(s, a), model.rewards(s.flip(1), a))
    assert model.terminal_values(s).item() == 20.0


@pytest.mark.parametrize("make", [make_american_put, make_bermudan_max_call], ids=["put", "call"])
def test_pickle_round_trip(make, checks):
    assert checks.same_after_pickling(make())


def test_parameters_reach_the_solution(checks):
    model = make_american_put().with_params(volatility=0.4)
    other = make_american_put(volatility=0.4)
    s = checks.random_states(model)
    assert torch.equal(model.exact("value")(s), other.exact("value")(s))
    assert model.distribution == other.distribution


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.0}, "choose a positive rate"),
        ({"rate": 2.0, "periods_per_year": 1.0}, "more periods"),
        ({"maturity": 0.001}, "maturity=0.001"),
    ],
    ids=["rate", "periods", "maturity"],
)
def test_wrong_puts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_american_put(**changes)
