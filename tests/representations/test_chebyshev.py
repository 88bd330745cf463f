"""Chebyshev polynomials against NumPy, their orthogonality, and what they are outside a domain."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev as Series

from thetalearn.exceptions import DomainError
from thetalearn.representations.bases import Chebyshev, chebyshev_nodes

intervals = st.tuples(st.floats(-1e3, 1e3), st.floats(0.01, 1e3)).map(lambda t: (t[0], t[0] + t[1]))


def column(x):
    return torch.as_tensor(np.atleast_1d(x), dtype=torch.float64)[:, None]


def inside(domain, n=40, seed=0):
    """Random points of an interval, its ends, and its middle."""
    drawn = np.random.default_rng(seed).uniform(*domain, n)
    return np.r_[domain, sum(domain) / 2, np.clip(drawn, *domain)]


def bound(degree, order, width):
    """Largest value of the derivative: T_k^(m)(1) = prod_j (k^2 - j^2)/(2j + 1), mapped."""
    j = np.arange(order)
    return float(np.prod((degree**2 - j**2) / (2 * j + 1))) * (2 / width) ** order


@given(degree=st.integers(0, 60), order=st.integers(0, 6), domain=intervals)
def test_values_and_derivatives_are_numpys(degree, order, domain):
    x = inside(domain)
    ours = Chebyshev(degree, domain).derivative(column(x), order).numpy()
    theirs = np.stack([Series.basis(k, domain).deriv(order)(x) for k in range(degree + 1)], 1)
    # Rounding of x, magnified by the next derivative: up to (k^2 + 1) times the largest value.
    width = domain[1] - domain[0]
    noise = 1e-15 * (1 + max(map(abs, domain)) / width) * (degree**2 + 1)
    atol = 20 * noise * max(bound(degree, order, width), 1e-300)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


@given(degree=st.integers(0, 60), domain=intervals)
def test_integral_is_numpys(degree, domain):
    x = inside(domain)
    ours = Chebyshev(degree, domain).integral(column(x)).numpy()
    theirs = np.stack(
        [Series.basis(k, domain).integ(lbnd=domain[0])(x) for k in range(degree + 1)], 1
    )
    # Rounding of x on the scale of the domain; the integrands are at most one.
    width = domain[1] - domain[0]
    atol = 1e-14 * (degree + 1) * (width + max(map(abs, domain)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


def test_three_hundred_terms_stay_between_minus_one_and_one():
    u = np.r_[-1, 1, np.random.default_rng(0).uniform(-1, 1, 2000)]
    values = Chebyshev(300)(column(u)).numpy()
    # The recurrence adds rounding at most linearly in k: 300 * eps = 7e-14.
    assert np.abs(values).max() <= 1 + 1e-13
    k = np.arange(301)
    # The cosine magnifies the rounding of arccos near the ends, by k / sqrt(1 - u^2).
    np.testing.assert_allclose(values, np.cos(k * np.arccos(u)[:, None]), atol=1e-11)
    np.testing.assert_allclose(values[0], (-1.0) ** k, atol=0)
    np.testing.assert_allclose(values[1], 1.0, atol=0)


@given(n=st.integers(1, 250))
def test_orthogonality_at_the_nodes(n):
    values = Chebyshev(n - 1)(column(chebyshev_nodes(n))).numpy()
    gram = values.T @ values
    # Sums of n products, each with rounding of at most k * eps.
    np.testing.assert_allclose(gram, np.diag(np.r_[n, np.full(n - 1, n / 2)]), atol=1e-14 * n**2)


@given(domain=intervals, degree=st.integers(0, 20))
def test_a_domain_is_a_change_of_variable(domain, degree):
    u = np.linspace(-1, 1, 17)
    x = (domain[0] + domain[1]) / 2 + (domain[1] - domain[0]) / 2 * u
    noise = 4e-16 * (1 + max(map(abs, domain)) / (domain[1] - domain[0]))
    # Rounding of x moves u, and the slope of T_k is at most k^2.
    np.testing.assert_allclose(
        Chebyshev(degree, domain, "clip")(column(x)),
        Chebyshev(degree)(column(u)),
        rtol=0,
        atol=4 * noise * (degree**2 + 1),
    )


def test_derivatives_beyond_the_degree_are_zero_at_any_order():
    basis = Chebyshev(250)
    with np.errstate(over="ignore"):
        values = basis.derivative(column([0.3]), 200)  # of T_200 it is 2^199 200!, beyond floats
    assert not values[0, :200].any() and values[0, 200] == np.inf
    assert not basis.derivative(column([0.3]), 251).any()


# ------------------------------------------------------------------ outside the domain


def test_error_names_the_value_the_domain_and_the_remedy():
    basis = Chebyshev(3, (0.0, 2.0), "error")
    with pytest.raises(DomainError) as caught:
        basis(column([1.0, 2.5, -7.25]))
    message = str(caught.value)
    assert "x=-7.25" in message  # the worst offender
    assert "[0, 2]" in message
    assert "wider domain" in message and '"clip"' in message and '"linear"' in message


@pytest.mark.parametrize("order", [0, 1, 2])
def test_error_also_for_derivatives_but_not_for_rounding(order):
    basis = Chebyshev(3, (0.0, 2.0), "error")
    with pytest.raises(DomainError):
        basis.derivative(column([2.1]), order)
    edge = basis.derivative(column([2.0]), order)
    torch.testing.assert_close(basis.derivative(column([2.0 + 1e-12]), order), edge)


@given(domain=intervals, beyond=st.floats(0.01, 10), degree=st.integers(0, 8), left=st.booleans())
def test_clip_keeps_the_value_at_the_end(domain, beyond, degree, left):
    width = domain[1] - domain[0]
    edge, step = (domain[0], -beyond * width) if left else (domain[1], beyond * width)
    basis = Chebyshev(degree, domain, "clip")
    at, out = column([edge]), column([edge + step])
    assert torch.equal(basis(out), basis(at))
    for order in (1, 2, 3):
        assert torch.equal(basis.derivative(out, order), torch.zeros(1, degree + 1))
    # The integral of a constant; rounding of the step.
    torch.testing.assert_close(
        basis.integral(out), basis.integral(at) + step * basis(at), rtol=1e-10, atol=1e-10 * width
    )


@given(domain=intervals, beyond=st.floats(0.01, 10), degree=st.integers(0, 8), left=st.booleans())
def test_linear_continues_along_the_tangent(domain, beyond, degree, left):
    width = domain[1] - domain[0]
    edge, step = (domain[0], -beyond * width) if left else (domain[1], beyond * width)
    basis = Chebyshev(degree, domain, "linear")
    at, out = column([edge]), column([edge + step])
    slope = basis.derivative(at)
    # Rounding of the step, relative to the width of a domain far from zero.
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(basis(out), basis(at) + step * slope, **close)
    assert torch.equal(basis.derivative(out), slope)
    for order in (2, 3):
        assert torch.equal(basis.derivative(out, order), torch.zeros(1, degree + 1))
    quadratic = basis.integral(at) + step * basis(at) + step**2 / 2 * slope
    torch.testing.assert_close(basis.integral(out), quadratic, rtol=1e-9, atol=1e-9 * width)


@pytest.mark.parametrize("extrapolation", ["clip", "linear"])
@pytest.mark.parametrize("edge, side", [(-0.5, -1), (2.0, 1)])
def test_continuity_at_the_edge(extrapolation, edge, side):
    basis = Chebyshev(6, (-0.5, 2.0), extrapolation)
    near, far = column([edge - side * 1e-9]), column([edge + side * 1e-9])
    # Slopes are at most 36 * 2/2.5 = 29, over a distance of 2e-9.
    torch.testing.assert_close(basis(near), basis(far), rtol=0, atol=1e-7)
    torch.testing.assert_close(basis.integral(near), basis.integral(far), rtol=0, atol=1e-7)
    if extrapolation == "linear":
        # Second derivatives are at most (2/2.5)^2 * 36 * 35 / 3 = 269.
        torch.testing.assert_close(basis.derivative(near), basis.derivative(far), rtol=0, atol=1e-6)


# ------------------------------------------------------------------ a wider domain


@given(
    degree=st.integers(0, 30),
    domain=intervals,
    left=st.floats(0, 5),
    right=st.floats(0, 5),
)
def test_widened_combines_the_same_functions(degree, domain, left, right):
    width = domain[1] - domain[0]
    basis = Chebyshev(degree, domain, "clip")
    wider, combine = basis.widened(domain[0] - left * width, domain[1] + right * width)
    x = column(inside(domain))
    assert wider.interval.extrapolation == "clip"
    # Rounding of x moves u, and the slope of T_k is at most k^2; the map itself adds k * eps.
    noise = 4e-16 * (1 + max(map(abs, domain)) / width) * (degree**2 + 1)
    torch.testing.assert_close(wider(x), basis(x) @ combine, rtol=0, atol=20 * noise)


@given(degree=st.integers(0, 30), domain=intervals, point=st.floats(0, 1), scale=st.floats(1e-9, 1))
def test_widened_at_one_point_may_go_anywhere(degree, domain, point, scale):
    low, high = domain
    x = low + point * (high - low)
    basis = Chebyshev(degree, domain)
    wider, combine = basis.widened(x, x + scale * max(abs(x), 1.0), point=x)
    at = column([x])
    # Both sides are the same evaluation; the sum runs over exact zeros.
    torch.testing.assert_close(wider(at), basis(at) @ combine, rtol=0, atol=1e-13)


def test_names():
    assert Chebyshev(2).term_names(["age"]) == ["T0(age)", "T1(age)", "T2(age)"]
