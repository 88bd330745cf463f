"""Coordinates: inverse of each other, increasing, with the derivatives of calculus."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.coordinates import StateMap
from thetalearn.dynamics.model import DynamicModel
from thetalearn.dynamics.transforms import (
    Coordinates,
    Identity,
    Isoelastic,
    Log,
    Logit,
    make_transform,
)

few = settings(max_examples=30, deadline=None)

LOWER, UPPER = torch.tensor(-1.5, dtype=torch.float64), torch.tensor(2.5, dtype=torch.float64)

#: Transforms with numbers that they take.
CASES = {
    "identity": (Identity(), [-1.0, 0.0, 2.0]),
    "log": (Log(), [1e-6, 0.3, 50.0]),
    "logit": (Logit(), [-1.4999, 0.0, 2.4999]),
    "log utility": (Isoelastic(1.0), [-20.0, 0.0, 3.0]),
    "log utility, plain": (Isoelastic(1.0, log=False), [-20.0, 0.0, 3.0]),
    "averse": (Isoelastic(3.0), [-40.0, -0.5, -1e-3]),
    "averse, plain": (Isoelastic(3.0, log=False), [-40.0, -0.5, -1e-3]),
    "bold": (Isoelastic(0.5), [1e-3, 2.0, 40.0]),
    "bold, plain": (Isoelastic(0.5, log=False), [1e-3, 2.0, 40.0]),
}

every = pytest.mark.parametrize("name", CASES)


def case(name):
    transform, numbers = CASES[name]
    return transform, torch.tensor(numbers, dtype=torch.float64)


@every
def test_inverse_of_each_other(name):
    transform, x = case(name)
    y = transform.forward(x, LOWER, UPPER)
    torch.testing.assert_close(transform.inverse(y, LOWER, UPPER), x, rtol=1e-11, atol=1e-12)
    # Near a bound of a logit the coordinate magnifies the rounding of x.
    again = transform.forward(transform.inverse(y, LOWER, UPPER), LOWER, UPPER)
    torch.testing.assert_close(again, y, rtol=1e-11, atol=1e-11)


@every
def test_increasing(name):
    transform, x = case(name)
    fine = torch.cat([torch.linspace(float(a), float(b), 30) for a, b in pairwise(x)])
    y = transform.forward(fine.double().unique(), LOWER, UPPER)
    assert (y.diff() > 0).all()


@every
def test_derivatives_are_reciprocal(name):
    transform, x = case(name)
    x.requires_grad_()
    y = transform.forward(x, LOWER, UPPER)
    (forward,) = torch.autograd.grad(y.sum(), x)
    y = y.detach().requires_grad_()
    (backward,) = torch.autograd.grad(transform.inverse(y, LOWER, UPPER).sum(), y)
    torch.testing.assert_close(forward * backward, torch.ones_like(x), rtol=1e-9, atol=0)


@few
@given(st.floats(-30, 30))
def test_logit_never_crosses_its_bounds(y):
    x = Logit().inverse(torch.tensor(y, dtype=torch.float64), LOWER, UPPER)
    assert LOWER < x < UPPER
    # The derivative of the logistic function: width times p (1 - p).
    p = 1 / (1 + math.exp(-y))
    assert float(x) == pytest.approx(-1.5 + 4 * p, abs=1e-14)


@few
@given(st.floats(0.05, 20), st.floats(0.2, 8))
def test_isoelastic_is_the_certainty_equivalent(y, gamma):
    value = torch.tensor(
        math.log(y) if gamma == 1 else y ** (1 - gamma) / (1 - gamma), dtype=torch.float64
    )
    # Near log utility the value loses digits to its large constant.
    tolerance = 1e-12 * (1 + 1 / abs(1 - gamma)) if gamma != 1 else 1e-12
    found = Isoelastic(gamma).forward(value, value, value)
    assert float(found) == pytest.approx(math.log(y), abs=tolerance)
    plain = Isoelastic(gamma, log=False).forward(value, value, value)
    assert float(plain) == pytest.approx(y, rel=tolerance)


def test_columns_have_their_own_transforms():
    coordinates = Coordinates.of("state_transform", ("log", Identity(), "logit"), 3)
    x = torch.tensor([[0.5, -2.0, 0.5], [2.0, 3.0, 0.9]], dtype=torch.float64)
    lower, upper = torch.zeros_like(x), torch.ones_like(x)
    y = coordinates.forward(x, lower, upper)
    torch.testing.assert_close(y[:, 0], x[:, 0].log())
    torch.testing.assert_close(y[:, 1], x[:, 1])
    torch.testing.assert_close(y[:, 2], torch.logit(x[:, 2]))
    torch.testing.assert_close(coordinates.inverse(y, lower, upper), x)
    assert not coordinates.trivial
    assert Coordinates.of("state_transform", "identity", 3).trivial


def test_one_transform_stands_for_all_columns():
    assert Coordinates.of("t", "log", 2) == Coordinates.of("t", [Log(), "log"], 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cube", "state_transform='cube'"),
        (3, "state_transform=3"),
        (("log",), r"state_transform=\('log',\) must be one transform or one for each of 2"),
        (("log", "log", "log"), "one for each of 2 columns"),
        (("log", "square"), "'square'"),
    ],
)
def test_what_is_no_transform_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        Coordinates.of("state_transform", spec, 2)


def test_names_and_objects_are_the_same():
    assert make_transform("t", "logit") == make_transform("t", Logit())


def box_model(**changes):
    given = {
        "transition": lambda s, a, e: s,
        "euler": lambda s, a, s_next, a_next: a,
        "state_bounds": [(0.5, 8.0), (-1.0, 3.0)],
        "state_transform": ("log", "identity"),
    }
    return DynamicModel(**{**given, **changes})


def test_state_map_takes_the_box_to_the_box():
    model = box_model()
    to_inputs = StateMap(model)
    corners = torch.cartesian_prod(*model.bounds)
    x = to_inputs(corners)
    box = torch.from_numpy(to_inputs.box)
    torch.testing.assert_close(x.amin(0), box[:, 0])
    torch.testing.assert_close(x.amax(0), box[:, 1])
    torch.testing.assert_close(box[0].exp(), model.bounds[0])
    torch.testing.assert_close(to_inputs.inverse(x), corners)
    assert to_inputs.inside(corners).all()
    outside = torch.tensor([[0.49, 0.0], [8.1, 0.0], [1.0, -1.1], [1.0, 3.1]], dtype=torch.float64)
    assert not to_inputs.inside(outside).any()


def test_cloud_gives_uncorrelated_inputs_of_unit_variance():
    model = box_model()
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(500, generator=generator, dtype=torch.float64)
    second = torch.randn(500, generator=generator, dtype=torch.float64)
    cloud = torch.stack([(0.7 + 0.2 * first).exp(), 0.9 * first + 0.1 * second], 1)
    to_inputs = StateMap(model, cloud)
    x = to_inputs(cloud)
    torch.testing.assert_close(x.T @ x / 500, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(x.mean(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(to_inputs.inverse(x), cloud, rtol=1e-10, atol=1e-10)
    # The box holds the whole cloud, and is a ball's width at least.
    assert to_inputs.inside(cloud).all()
    assert (to_inputs.box[:, 1] >= 3).all() and (to_inputs.box[:, 0] <= -3).all()


def test_flat_cloud_still_has_a_box():
    line = torch.linspace(1.0, 2.0, 20, dtype=torch.float64)
    cloud = torch.stack([line, torch.ones_like(line)], 1)
    to_inputs = StateMap(box_model(state_transform="identity"), cloud)
    assert (to_inputs.box[:, 1] > to_inputs.box[:, 0]).all()
    x = to_inputs(cloud)
    assert x.isfinite().all()
    torch.testing.assert_close(to_inputs.inverse(x), cloud)


def test_state_map_is_differentiable():
    to_inputs = StateMap(box_model())
    s = torch.tensor([[2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(to_inputs(s).sum(), s)
    torch.testing.assert_close(slope, torch.tensor([[0.5, 1.0]], dtype=torch.float64))
