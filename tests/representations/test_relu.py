"""Shifted ReLUs: what they are and what they span."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thetalearn.representations.bases import BSpline, ShiftedReLU

shift_lists = st.lists(st.floats(0.01, 1), max_size=6).map(lambda gaps: np.cumsum(gaps) - 1.0)


def column(x):
    return torch.as_tensor(np.atleast_1d(x), dtype=torch.float64)[:, None]


@given(shifts=shift_lists)
def test_values_derivatives_and_integral(shifts):
    x = np.linspace(-2.013, 5.017, 61)
    ramp = np.maximum(x[:, None] - shifts, 0)
    one, zero = np.ones((61, 1)), np.zeros((61, 1))
    basis = ShiftedReLU(shifts)
    # The same operations in the same order.
    np.testing.assert_array_equal(basis(column(x)), np.hstack([one, ramp]))
    np.testing.assert_array_equal(basis.derivative(column(x)), np.hstack([zero, ramp > 0]))
    assert not basis.derivative(column(x), 2).any()
    np.testing.assert_array_equal(basis.integral(column(x)), np.hstack([x[:, None], ramp**2 / 2]))


@given(gaps=st.lists(st.floats(0.05, 1), min_size=2, max_size=6), seed=st.integers(0, 100))
def test_span_is_that_of_linear_splines(gaps, seed):
    breaks = np.r_[0.0, np.cumsum(gaps)]
    spline = BSpline(breaks[1:-1], 1, (breaks[0], breaks[-1]))
    x = np.linspace(breaks[0], breaks[-1], 50)
    coef = np.random.default_rng(seed).normal(size=spline.n_terms)
    y = spline(column(x)).to_dense().numpy() @ coef
    design = ShiftedReLU(breaks[:-1])(column(np.r_[breaks, x])).numpy()
    values = np.r_[coef, y]  # a linear spline takes its coefficients as values at the knots
    theta = np.linalg.lstsq(design, values, rcond=None)[0]
    # Slopes of up to 100 and a condition number of about 1e4.
    np.testing.assert_allclose(design @ theta, values, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shifts", [[1.0, 0.0], [1.0, 1.0], [[1.0]]])
def test_shifts_must_increase(shifts):
    with pytest.raises(ValueError, match=r"shifts=.* must be strictly increasing"):
        ShiftedReLU(shifts)


def test_names():
    assert ShiftedReLU([0.5, 2.0]).term_names(["x"]) == ["1", "relu(x-0.5)", "relu(x-2)"]
    assert ShiftedReLU([]).term_names(["x"]) == ["1"]
