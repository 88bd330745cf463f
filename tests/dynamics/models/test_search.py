"""Job search: the reservation wage."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import make_mccall, reservation_wage


def waiting(model, wage):
    """Benefit and discounted exact value of the next offer, split at the kink."""
    low, high = model.bounds[0].tolist()
    cut = min(max(wage, low), high)
    unit, weights = np.polynomial.legendre.leggauss(8)
    mean = 0.0
    for start, end in ((low, cut), (cut, high)):
        offers = torch.from_numpy(start + (unit[:, None] + 1) / 2 * (end - start))
        mean += float(weights @ model.exact("value")(offers).numpy()) / 2 * (end - start)
    return model.params["benefit"] + model.beta * mean / (high - low)


def test_worked_number():
    assert reservation_wage(beta=0.95, benefit=0.1) == pytest.approx(0.7403706, abs=5e-8)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 0.99), st.floats(-1.0, 1.4), st.floats(0.0, 1.0), st.floats(0.5, 2.0))
def test_solution_solves_the_bellman_equation(checks, beta, benefit, low, width):
    benefit = min(benefit, low + 0.9 * width)
    calibration = {"beta": beta, "benefit": benefit, "low": low, "high": low + width}
    model = make_mccall(**calibration)
    s = checks.random_states(model)
    value, accept = model.exact("value")(s), model.exact("policy")(s)[:, 0]
    wait = waiting(model, reservation_wage(**calibration))
    keep = model.rewards(s, torch.ones_like(s)) + beta * value
    best = torch.where(accept > 0, keep, torch.full_like(keep, wait))
    torch.testing.assert_close(best, value, rtol=1e-11, atol=1e-11)
    # What was not chosen is no better.
    other = torch.where(accept > 0, torch.full_like(keep, wait), keep)
    assert (other <= value + 1e-11 * (1 + value.abs())).all()


def test_every_offer_is_accepted_where_waiting_is_worthless():
    low = reservation_wage(beta=0.1, benefit=-5.0, low=1.0, high=2.0)
    assert low < 1.0
    accept = make_mccall(beta=0.1, benefit=-5.0, low=1.0, high=2.0).exact("policy")
    assert accept(torch.tensor([[1.0]], dtype=torch.float64)).item() == 1.0


def test_who_accepts_keeps_the_offer():
    model = make_mccall()
    s = torch.tensor([[0.3], [0.3]], dtype=torch.float64)
    a = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    e = torch.full_like(s, 0.6)
    assert model.next_states(s, a, e)[:, 0].tolist() == [0.6, 0.3]
    assert model.rewards(s, a).tolist() == [0.1, 0.3]


def test_parameters_and_pickling(checks):
    model = make_mccall()
    assert checks.same_after_pickling(model)
    richer = model.with_params(benefit=0.5)
    assert richer.exact("value")(torch.zeros(1, 1).double()) > model.exact("value")(
        torch.zeros(1, 1).double()
    )


def test_benefit_above_all_wages_is_refused():
    with pytest.raises(ValueError, match=r"benefit=2\.0 must be below high=1\.0"):
        reservation_wage(benefit=2.0)
