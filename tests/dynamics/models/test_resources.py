"""Constant escapement."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import make_escapement


def test_closed_form_solves_the_problem(checks):
    model = make_escapement()
    assert checks.bellman(model) < 1e-12
    assert checks.improvement(model) < 1e-12


@settings(max_examples=15, deadline=None)
@given(st.floats(0.5, 0.9), st.floats(0.2, 0.8), st.floats(0.5, 2.0), st.floats(0.0, 0.99))
def test_closed_form_in_any_calibration(checks, beta, share, price, noise):
    growth = 1 + share * (1 / beta - 1)
    spread = noise * (1 - 1 / growth)
    model = make_escapement(beta=beta, growth=growth, price=price, spread=spread)
    s = checks.random_states(model, n=10)
    assert checks.bellman(model, s) < 1e-11
    assert checks.improvement(model, s, n_trials=4) < 1e-11


def test_target_by_its_formula_and_first_order_condition():
    model = make_escapement(beta=0.75, growth=1.25, price=2.0, spread=0.15, cost=0.3)
    s = torch.tensor([[100.0]], dtype=torch.float64)
    target = model.exact("policy")(s)
    assert float(target) == pytest.approx(0.3 * 0.25 / (2.0 * (1 - 0.75 * 1.25)))
    marginal = 2.0 - 0.3 / float(target)
    assert marginal == pytest.approx(0.75 * 1.25 * 2.0 - 0.75 * 0.3 / float(target))


def test_slope_of_the_value_has_no_jump():
    model = make_escapement()
    around = torch.tensor([[1 - 1e-7], [1.0], [1 + 1e-7]], dtype=torch.float64)
    value = model.exact("value")(around).tolist()
    left, right = (value[1] - value[0]) * 1e7, (value[2] - value[1]) * 1e7
    assert left == pytest.approx(right, rel=1e-5)


def test_without_shocks_a_low_stock_waits():
    model = make_escapement(spread=0.0, width=4.0)
    low, target = (torch.tensor([[x]], dtype=torch.float64) for x in (1 / 1.2**3, 1.0))
    value = model.exact("value")
    assert float(value(low)) == pytest.approx(0.8**3 * float(value(target)), rel=1e-12)
    assert math.isclose(
        float(value(target)), float(value(target * 1.2) - 0.2 + 0.2 * math.log(1.2))
    )


def test_parameters_and_pickling(checks):
    model = make_escapement()
    assert checks.same_after_pickling(model)
    assert checks.bellman(model.with_params(cost=0.4)) < 1e-12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"growth": 1.3}, "growth=1.3 must be below"),
        ({"spread": 0.5}, "spread=0.5 lets a stock grow by 0.6"),
    ],
    ids=["growth", "spread"],
)
def test_without_a_closed_form_it_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_escapement(**changes)
