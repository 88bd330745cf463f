"""Monomials and affine functions against NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Polynomial as Series

from thetalearn.representations.bases import Affine, Polynomial


def column(x):
    return torch.as_tensor(np.atleast_1d(x), dtype=torch.float64)[:, None]


x = np.r_[0.0, -1.0, 1.0, np.linspace(-2.5, 2.5, 14)]


@given(degree=st.integers(0, 25), order=st.integers(0, 6))
def test_values_and_derivatives_are_numpys(degree, order):
    ours = Polynomial(degree).derivative(column(x), order).numpy()
    theirs = np.stack([Series.basis(k).deriv(order)(x) for k in range(degree + 1)], 1)
    # One power and at most six factors each: a few roundings, relative.
    np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=0)


@given(degree=st.integers(0, 25))
def test_integral_is_from_zero(degree):
    ours = Polynomial(degree).integral(column(x)).numpy()
    theirs = np.stack([Series.basis(k).integ(lbnd=0)(x) for k in range(degree + 1)], 1)
    # One power and one division each.
    np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=0)


def test_names():
    assert Polynomial(0).term_names(["x"]) == ["1"]
    assert Polynomial(1).term_names(["x"]) == ["1", "x"]
    assert Polynomial(3).term_names(["x"]) == ["1", "x", "x^2", "x^3"]
    assert Affine(2).term_names(["a", "b"]) == ["1", "a", "b"]
    assert Affine(2, constant=False).term_names(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize("constant", [True, False])
def test_affine_is_the_inputs(constant):
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3)))
    first = [torch.ones(6, 1, dtype=torch.float64)] if constant else []
    assert torch.equal(Affine(3, constant)(points), torch.cat([*first, points], 1))
    # The slope in the second input is 1 for its own function and 0 for the rest.
    slope = Affine(3, constant).derivative(points, [0, 1, 0])
    own = [0.0, 1.0, 0.0]
    assert torch.equal(slope, torch.tensor([[0.0, *own] if constant else own] * 6).double())
    for order in ([1, 1, 0], [0, 2, 0]):
        assert not Affine(3, constant).derivative(points, order).any()
