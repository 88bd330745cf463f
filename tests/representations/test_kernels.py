"""Kernels: positive semi-definite, equal to their definitions, accurate where rows coincide."""

import inspect
import itertools
from functools import partial
from math import factorial, pi

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from sklearn.metrics import pairwise

from thetalearn.representations.bases import RandomReLU
from thetalearn.representations.kernels import (
    KERNELS,
    arc_cosine_kernel,
    laplacian_kernel,
    linear_kernel,
    neural_tangent_kernel,
    polynomial_kernel,
    rbf_kernel,
)

DEEP = {"gamma": 0.7, "coef0": 0.3, "depth": 3}
CASES = {
    "linear": linear_kernel,
    "quadratic": polynomial_kernel,
    "polynomial": partial(polynomial_kernel, gamma=0.5, coef0=1.0, degree=3),
    "rbf": partial(rbf_kernel, gamma=0.5),
    "laplacian": partial(laplacian_kernel, gamma=0.5),
    **{f"arccos{p}": partial(arc_cosine_kernel, order=p) for p in range(3)},
    **{f"arccos{p}-deep": partial(arc_cosine_kernel, order=p, **DEEP) for p in range(3)},
    "ntk": neural_tangent_kernel,
    "ntk-deep": partial(neural_tangent_kernel, **DEEP),
}

# Small integers make rows that repeat, that are zero, and that are parallel or opposed.
GRID = st.integers(1, 3).flatmap(
    lambda d: arrays(
        np.float64, st.tuples(st.integers(1, 7), st.just(d)), elements=st.integers(-2, 2)
    )
)
REALS = arrays(np.float64, st.tuples(st.integers(1, 7), st.just(3)), elements=st.floats(-3, 3))


@pytest.mark.parametrize("kernel", CASES.values(), ids=CASES)
@given(X=st.one_of(GRID, REALS))
def test_kernels_are_symmetric_and_positive_semi_definite(kernel, X):
    gram = kernel(X, X).numpy()
    scale = np.abs(gram).max() + 1e-300
    assert gram.dtype == np.float64
    np.testing.assert_allclose(gram, gram.T, rtol=0, atol=1e-14 * scale)
    # Rounding of n^2 entries moves an eigenvalue by at most n times the rounding of one.
    assert np.linalg.eigvalsh(gram)[0] >= -1e-14 * len(X) * scale


@pytest.mark.parametrize("kernel", CASES.values(), ids=CASES)
def test_rectangles_are_parts_of_the_square(kernel):
    X = np.random.default_rng(0).normal(size=(9, 20))
    gram = kernel(X, X)
    torch.testing.assert_close(kernel(X[:4], X), gram[:4], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(kernel(X[:4], torch.from_numpy(X[4:])), gram[:4, 4:])
    assert kernel(X[:0], X).shape == (0, 9)
    assert kernel(X, X[:0]).shape == (9, 0)


@given(u=arrays(float, 2, elements=st.floats(-9, 9)), v=arrays(float, 2, elements=st.floats(-9, 9)))
def test_the_quadratic_kernel_has_three_features(u, v):
    def features(x):
        return np.array([x[0] ** 2, np.sqrt(2) * x[0] * x[1], x[1] ** 2])

    kernel = polynomial_kernel(u[None], v[None]).item()
    np.testing.assert_allclose(kernel, (u @ v) ** 2, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(features(u) @ features(v), kernel, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("d", [3, 40])
def test_equal_to_scikit_learn(d):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, d)), rng.normal(size=(15, d))
    pairs = [
        (linear_kernel(X, Y), pairwise.linear_kernel(X, Y)),
        (
            polynomial_kernel(X, Y, gamma=0.2, coef0=0.5, degree=3),
            pairwise.polynomial_kernel(X, Y, gamma=0.2, coef0=0.5, degree=3),
        ),
        (rbf_kernel(X, Y, gamma=0.2), pairwise.rbf_kernel(X, Y, gamma=0.2)),
        (laplacian_kernel(X, Y, gamma=0.2), pairwise.laplacian_kernel(X, Y, gamma=0.2)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-11)


@pytest.mark.parametrize("d", [3, 40])
def test_the_gaussian_kernel_keeps_its_digits_far_from_the_origin(d):
    # Whole numbers and dyadic steps: the shifted rows and their differences are exact.
    X = np.random.default_rng(0).integers(-8, 8, size=(30, d)).astype(float)
    X[1] = X[0] + 2.0**-20
    exact = np.exp(-0.01 * ((X[:, None] - X) ** 2).sum(2))
    got = rbf_kernel(X + 2.0**25, X + 2.0**25, gamma=0.01).numpy()
    # The centring of rows of size 2^25 rounds to 2^-28.
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-7 if d > 16 else 1e-14)
    np.testing.assert_array_equal(np.diag(got), 1.0)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("angle", [0.0, 0.3, pi / 2, 3.0, pi])
def test_arc_cosine_is_the_mean_over_random_rectified_features(order, angle):
    x, y = np.array([[2.0, 0.0]]), 3.0 * np.array([[np.cos(angle), np.sin(angle)]])

    def rectified(phi):
        return (2 * np.cos(phi)) ** order * (3 * np.cos(phi - angle)) ** order

    # In polar coordinates w = r (cos phi, sin phi), and both projections are positive on an arc.
    arc, _ = quad(rectified, angle - pi / 2, pi / 2, epsabs=1e-13)
    expected = 2 * 2**order * factorial(order) * arc / (2 * pi)
    got = arc_cosine_kernel(x, y, order=order).item()
    assert got == pytest.approx(expected, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_deep_arc_cosine_composes(order):
    X = np.random.default_rng(0).normal(size=(6, 4))
    cosine_of = {
        0: lambda t: pi - t,
        1: lambda t: np.sin(t) + (pi - t) * np.cos(t),
        2: lambda t: 3 * np.sin(t) * np.cos(t) + (pi - t) * (1 + 2 * np.cos(t) ** 2),
    }[order]
    expected = X @ X.T
    for _ in range(3):
        expected = expected + 0.3
        squares = np.diag(expected)
        lengths = np.sqrt(np.outer(squares, squares))
        angle = np.arccos(np.clip(expected / lengths, -1, 1))
        expected = lengths**order * cosine_of(angle) / pi
    got = arc_cosine_kernel(X, X, order=order, coef0=0.3, depth=3).numpy()
    # The arc cosine of the textbook formula loses half of the digits on the diagonal.
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(got[off], expected[off], rtol=1e-10)
    np.testing.assert_allclose(got, expected, rtol=1e-3 if order == 0 else 1e-7)


@given(X=GRID, order=st.integers(0, 2))
def test_a_bias_is_a_constant_column(X, order):
    wide = np.column_stack([np.sqrt(0.5) * X, np.full(len(X), np.sqrt(2))])
    got = arc_cosine_kernel(X, X, order=order, gamma=0.5, coef0=2.0)
    torch.testing.assert_close(got, arc_cosine_kernel(wide, wide, order=order), rtol=1e-7, atol=0)


@pytest.mark.parametrize("d", [2, 30])
@pytest.mark.parametrize("coef0", [0.0, 1e-3])
def test_angles_keep_their_digits_where_rows_coincide(d, coef0):
    x, step = np.zeros((1, d)), np.zeros((1, d))
    x[0, 0], step[0, 1] = 1.0, 1e-7
    # Other rows, so that the centre of the rows is not theirs.
    others = np.vstack([x, np.eye(d)])
    near = arc_cosine_kernel(x + step, others, order=0, coef0=coef0)[0, 0].item()
    angle = 1e-7 / np.sqrt(1 + coef0)
    assert 1 - near == pytest.approx(angle / pi, rel=1e-6)
    opposed = arc_cosine_kernel(-x - step, others, order=0)[0, 0].item()
    # Differences of a sum near pi: rounding of pi is what is left.
    assert opposed == pytest.approx(1e-7 / pi, abs=1e-15)


def test_zero_rows():
    X = np.array([[0.0, 0.0], [1.0, 2.0]])
    np.testing.assert_allclose(arc_cosine_kernel(X, X, order=0), [[1.0, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(arc_cosine_kernel(X, X, order=1), [[0.0, 0.0], [0.0, 5.0]])
    np.testing.assert_allclose(neural_tangent_kernel(X, X), [[0.0, 0.0], [0.0, 10.0]])


def test_random_relu_features_tend_to_the_arc_cosine_kernel():
    X = np.random.default_rng(0).normal(size=(5, 3))
    features = RandomReLU.draw(3, 40_000, gamma=0.5, rng=np.random.RandomState(0))
    phi = features(torch.from_numpy(X))[:, 1:]
    # The error of a mean of 40000 draws is about 1/200 of a standard deviation.
    limit = arc_cosine_kernel(X, X, order=1, coef0=1.0)
    torch.testing.assert_close(phi @ phi.T, limit, rtol=0.05, atol=0.05)


@given(X=REALS, gamma=st.floats(0.1, 2), coef0=st.sampled_from([0.0, 0.4]))
def test_neural_tangent_kernel_of_one_layer(X, gamma, coef0):
    first = gamma * linear_kernel(X, X) + coef0
    parameters = {"gamma": gamma, "coef0": coef0}
    expected = (
        first * arc_cosine_kernel(X, X, order=0, **parameters)
        + arc_cosine_kernel(X, X, order=1, **parameters)
        + coef0
    )
    got = neural_tangent_kernel(X, X, depth=1, **parameters)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@given(X=REALS, depth=st.integers(1, 6))
def test_every_layer_adds_the_squared_length(X, depth):
    diagonal = neural_tangent_kernel(X, X, depth=depth).diagonal()
    np.testing.assert_allclose(diagonal, (depth + 1) * (X**2).sum(1), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(("depth", "coef0"), [(1, 0.0), (2, 0.5)])
def test_neural_tangent_kernel_is_that_of_a_wide_network(depth, coef0):
    width, n_nets, d, gamma = 600, 4, 3, 1 / 3
    X = torch.randn(4, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sizes = [d, *[width] * depth, 1]

    def network(parameters, x):
        h = x
        for level, (weight, bias) in enumerate(parameters):
            scale = gamma if level == 0 else 2 / width
            h = h.clamp(min=0) if level else h
            h = scale**0.5 * weight @ h + coef0**0.5 * bias
        return h[0]

    empirical = torch.zeros(4, 4, dtype=torch.float64)
    for seed in range(n_nets):
        rng = torch.Generator().manual_seed(seed)
        draw = partial(torch.randn, generator=rng, dtype=torch.float64)
        parameters = [(draw(n_out, n_in), draw(n_out)) for n_in, n_out in itertools.pairwise(sizes)]
        slopes = torch.func.vmap(torch.func.grad(network), (None, 0))(parameters, X)
        rows = torch.cat([part.flatten(1) for layer in slopes for part in layer], dim=1)
        empirical += rows @ rows.T / n_nets
    limit = neural_tangent_kernel(X, X, gamma=gamma, coef0=coef0, depth=depth)
    # Each layer averages over 600 units in 4 networks: an error of about 1/49 of its size.
    scale = limit.diagonal().sqrt()
    error = (empirical - limit) / torch.outer(scale, scale)
    assert error.abs().max() < 0.1


@pytest.mark.parametrize("name", KERNELS)
def test_the_registry_names_the_parameters_of_each_kernel(name):
    function, names = KERNELS[name]
    signature = inspect.signature(function).parameters.values()
    options = {p.name for p in signature if p.kind is p.KEYWORD_ONLY} - {"order"}
    assert options == set(names)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"\(n, d\) and Y of shape \(m, d\), not \(2, 3\) and"):
        linear_kernel(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"order=3 of an arc-cosine kernel must be 0, 1 or 2"):
        arc_cosine_kernel(np.ones((2, 3)), np.ones((2, 3)), order=3)
