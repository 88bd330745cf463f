"""Laws that every basis obeys: derivatives, integrals, names, equality, pickling."""

import pickle

import numpy as np
import pytest
import torch

from thetalearn.exceptions import DomainError
from thetalearn.representations.bases import (
    AdditiveBSpline,
    Affine,
    BSpline,
    Chebyshev,
    Interval,
    Polynomial,
    ProductBasis,
    RandomFourier,
    RandomReLU,
    ShiftedReLU,
    TensorBSpline,
    complete_indices,
    smolyak_indices,
    tensor_indices,
)

# Functions without arguments, so that each call builds the basis anew.
BASES = {
    "affine": lambda: Affine(3),
    "affine without constant": lambda: Affine(2, constant=False),
    "polynomial": lambda: Polynomial(5),
    "chebyshev": lambda: Chebyshev(7, (-0.5, 2.0)),
    "chebyshev clip": lambda: Chebyshev(7, (-0.5, 2.0), "clip"),
    "chebyshev of degree 0": lambda: Chebyshev(0),
    "bspline": lambda: BSpline([0.2, 0.5, 0.9], 3, (-0.5, 1.5)),
    "bspline clip": lambda: BSpline([0.2, 0.5, 0.9], 3, (-0.5, 1.5), "clip"),
    "bspline with a kink": lambda: BSpline([0.2, 0.2, 0.9], 2, (-0.5, 1.5)),
    "relu": lambda: ShiftedReLU([-1.0, 0.25, 1.0]),
    "random fourier": lambda: RandomFourier.draw(2, 6, 0.7, np.random.RandomState(0)),
    "random relu": lambda: RandomReLU.draw(2, 6, 0.7, np.random.RandomState(0)),
    "complete": lambda: ProductBasis(
        [Chebyshev(3, (-1, 2)), Polynomial(3)], complete_indices(2, 3)
    ),
    "smolyak": lambda: ProductBasis([Chebyshev(4)] * 3, smolyak_indices(3, 2)),
    "tensor of relus": lambda: ProductBasis(
        [ShiftedReLU([0.0, 0.4]), ShiftedReLU([0.1])], tensor_indices([3, 2])
    ),
    "tensor of splines": lambda: TensorBSpline([BSpline([0.4], 2), BSpline([0.3, 0.6], 3)]),
    "sum of splines": lambda: AdditiveBSpline([BSpline([0.4], 2), BSpline([0.3, 0.6], 3)]),
}

every_basis = pytest.mark.parametrize("make", BASES.values(), ids=BASES.keys())


def points(basis, n=23, seed=0):
    """Points in and around [-1, 2], which is in and around the domains above."""
    drawn = np.random.default_rng(seed).uniform(-1.0, 2.0, (n, basis.n_inputs))
    return torch.from_numpy(drawn)


def dense(values):
    return values.to_dense() if values.is_sparse else values


def unit(n_inputs, j, times=1):
    return [times * (i == j) for i in range(n_inputs)]


def by_autograd(function, x):
    """Partial derivatives of each function of the rows of x, shape (d, n, K)."""
    x = x.clone().requires_grad_()
    values = dense(function(x))
    if not values.requires_grad:  # a constant
        return torch.zeros(x.shape[1], *values.shape, dtype=x.dtype)
    columns = [
        torch.autograd.grad(column.sum(), x, retain_graph=True, allow_unused=True)[0]
        for column in values.T
    ]
    zero = torch.zeros_like(x)
    return torch.stack([zero if c is None else c for c in columns], -1).movedim(1, 0)


@every_basis
def test_derivative_is_that_of_the_values(make):
    basis = make()
    x = points(basis)
    slopes = by_autograd(basis, x)
    for j in range(basis.n_inputs):
        ours = dense(basis.derivative(x, unit(basis.n_inputs, j)))
        # Rounding of two different recurrences, relative to the steepest function.
        atol = 1e-12 * (1 + float(slopes.abs().max()))
        torch.testing.assert_close(ours, slopes[j], rtol=0, atol=atol)


@every_basis
def test_higher_derivatives_are_those_of_the_derivatives(make):
    basis = make()
    x = points(basis)
    d = basis.n_inputs
    for i in range(d):
        slopes = by_autograd(lambda x, i=i: basis.derivative(x, unit(d, i)), x)
        for j in range(d):
            orders = [a + b for a, b in zip(unit(d, i), unit(d, j), strict=True)]
            ours = dense(basis.derivative(x, orders))
            # Rounding, relative to the largest second derivative.
            atol = 1e-12 * (1 + float(slopes.abs().max()))
            torch.testing.assert_close(ours, slopes[j], rtol=0, atol=atol)


@every_basis
def test_derivative_of_order_zero_is_the_value(make):
    basis = make()
    x = points(basis)
    zeros = [0] * basis.n_inputs
    torch.testing.assert_close(dense(basis.derivative(x, zeros)), dense(basis(x)), rtol=0, atol=0)


@pytest.mark.parametrize("make", [make for make in BASES.values() if hasattr(make(), "integral")])
def test_value_is_the_derivative_of_the_integral(make):
    basis = make()
    x = points(basis)
    values = dense(basis(x))
    # Rounding, relative to the largest value.
    atol = 1e-12 * float(values.abs().max())
    torch.testing.assert_close(by_autograd(basis.integral, x)[0], values, rtol=0, atol=atol)


@every_basis
def test_shapes_and_names(make):
    basis = make()
    x = points(basis)
    names = basis.term_names([f"col{j}" for j in range(basis.n_inputs)])
    assert basis(x).shape == (len(x), basis.n_terms)
    assert basis(x).dtype == torch.float64
    assert len(names) == basis.n_terms == len(set(names))
    assert all(isinstance(name, str) and name for name in names)
    assert basis(x[:0]).shape == (0, basis.n_terms)


@every_basis
def test_equality_and_pickling(make):
    basis, twin = make(), make()
    basis(points(basis))  # what is cached on use must not tell them apart
    copy = pickle.loads(pickle.dumps(basis))
    assert basis == twin == copy
    x = points(basis)
    assert torch.equal(dense(copy(x)), dense(basis(x)))
    assert basis != "a basis"
    with pytest.raises(TypeError, match="unhashable"):
        hash(basis)


def test_different_bases_differ():
    bases = [make() for make in BASES.values()]
    for i, one in enumerate(bases):
        for j, other in enumerate(bases):
            assert (one == other) == (i == j)
    assert Chebyshev(3) != Chebyshev(4)
    assert Chebyshev(3) != Chebyshev(3, (0, 1))
    assert Chebyshev(3) != Chebyshev(3, extrapolation="clip")
    assert BSpline([0.5]) != BSpline([0.5, 0.5])
    assert BSpline([0.5]) != BSpline([0.5], degree=2)
    assert ShiftedReLU([0.5]) != ShiftedReLU([0.6])


@pytest.mark.parametrize("make", [BASES["complete"], BASES["tensor of splines"]])
@pytest.mark.parametrize("order", [1, [1], [1, 0, 0], [-1, 0], [0.5, 0]])
def test_order_must_fit_the_inputs(make, order):
    with pytest.raises(ValueError, match="non-negative int for each of the 2 inputs"):
        make().derivative(torch.zeros(1, 2, dtype=torch.float64), order)


@pytest.mark.parametrize("order", [-1, [1, 1]])
def test_order_of_a_single_input(order):
    with pytest.raises(ValueError, match="one non-negative int for a basis of one input"):
        Chebyshev(3).derivative(torch.zeros(1, 1, dtype=torch.float64), order)


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_single_column_is_asked_for(shape):
    with pytest.raises(ValueError, match=r"must have shape \(n, 1\)"):
        Chebyshev(3)(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("low, high", [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_interval_must_have_a_width(low, high):
    with pytest.raises(DomainError, match="is not an interval"):
        Interval(low, high)
