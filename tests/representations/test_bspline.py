"""B-splines against SciPy, repeated knots, compact support, and the compression of rows."""

import math

import numpy as np
import pytest
import scipy.interpolate
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.representations.bases import (
    AdditiveBSpline,
    BSpline,
    TensorBSpline,
    quantile_knots,
    uniform_knots,
)
from thetalearn.solvers.least_squares import BandedFactor, Penalty

few = settings(max_examples=max(settings().max_examples // 3, 1))


@st.composite
def splines(draw, max_degree=6, max_points=4, extrapolation="linear"):
    """Splines with knots of any multiplicity, from simple to a jump."""
    degree = draw(st.integers(0, max_degree))
    cells = draw(st.lists(st.floats(0.05, 1), min_size=1, max_size=max_points + 1))
    low = draw(st.floats(-3, 3))
    breaks = low + np.r_[0, np.cumsum(cells)]
    inner = breaks[1:-1]
    times = draw(st.lists(st.integers(1, degree + 1), min_size=len(inner), max_size=len(inner)))
    domain = (float(breaks[0]), float(breaks[-1]))
    return BSpline(np.repeat(inner, times), degree, domain, extrapolation)


def scipys(basis):
    """The same functions as one vector-valued spline of SciPy's."""
    return scipy.interpolate.BSpline(basis.knots, np.eye(basis.n_terms), basis.degree)


def places(basis, n=40, seed=0):
    """Random points of the domain, all knots, and the middle of each cell."""
    drawn = np.random.default_rng(seed).uniform(*basis.breaks[[0, -1]], n)
    return np.r_[drawn, basis.breaks, (basis.breaks[1:] + basis.breaks[:-1]) / 2]


def column(x):
    return torch.as_tensor(np.atleast_1d(x), dtype=torch.float64)[:, None]


def steepness(basis, order):
    """Size of the derivatives on the narrowest cell, by Markov's inequality."""
    width = np.diff(basis.breaks).min()
    return (2 * basis.degree**2 / width) ** order if order else 1.0


# ------------------------------------------------------------------ one input, against SciPy


@given(basis=splines())
def test_values_are_scipys(basis):
    x = places(basis)
    # Rounding of x within the narrowest cell, magnified by the slope there.
    atol = 1e-14 * (1 + steepness(basis, 1))
    np.testing.assert_allclose(basis(column(x)).to_dense(), scipys(basis)(x), rtol=0, atol=atol)


@given(basis=splines(), order=st.integers(1, 4))
def test_derivatives_are_scipys(basis, order):
    x = places(basis)
    ours = basis.derivative(column(x), order).to_dense().numpy()
    # Rounding of x within the narrowest cell, magnified by the next derivative.
    atol = 1e-13 * (1 + steepness(basis, order + 1))
    theirs = scipys(basis)(x, nu=order)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


@given(basis=splines())
def test_integral_is_scipys(basis):
    x = places(basis)
    primitive = scipys(basis).antiderivative()
    theirs = primitive(x) - primitive(basis.interval.low)
    # The integrands are at most one, on a domain of length at most five.
    np.testing.assert_allclose(basis.integral(column(x)), theirs, rtol=0, atol=1e-13)


@given(basis=splines())
def test_total_integral_of_each_function(basis):
    t, p = basis.knots, basis.degree
    total = basis.integral(column(basis.interval.high))[0]
    # de Boor, chapter X: a B-spline's integral is the mean length of its p + 1 cells.
    np.testing.assert_allclose(total, (t[p + 1 :] - t[: -p - 1]) / (p + 1), rtol=0, atol=1e-13)


# ------------------------------------------------------------------ laws of the functions


@given(basis=splines())
def test_partition_of_unity_and_nonnegativity(basis):
    values = basis(column(places(basis))).to_dense().numpy()
    # Sums of seven functions, each accurate to rounding.
    np.testing.assert_allclose(values.sum(1), 1.0, rtol=0, atol=1e-13)
    # The pieces are kept in Chebyshev form, so a zero is one to rounding only.
    assert values.min() >= -1e-13


@given(basis=splines())
def test_rows_are_sparse_and_local(basis):
    x = places(basis)
    rows = basis(column(x))
    p = basis.degree
    assert rows.is_sparse
    assert rows._nnz() == len(x) * (p + 1)
    t = basis.knots
    row, term = rows._indices().numpy()
    # Function i lives between the knots i and i + p + 1.
    assert (t[term] <= x[row]).all() and (x[row] <= t[term + p + 1]).all()


def test_a_million_functions_are_never_dense():
    # Dense, these three rows of one hundred thousand functions would still be cheap; but a design
    # of n rows must cost n * (p + 1) numbers, and the pieces K * (p + 1)^2.
    basis = BSpline(uniform_knots(100_000, (0.0, 1.0)))
    rows = basis.local(column([0.1, 0.5, 0.9]))
    assert rows.values.shape == rows.columns.shape == (3, 4)
    assert rows.to_scipy().nnz == 12


@pytest.mark.parametrize("degree", range(1, 7))
def test_multiplicity_takes_smoothness_away(degree):
    for times in range(1, degree + 2):
        basis = BSpline([0.5] * times, degree)
        smooth = degree - times  # derivatives that are continuous at the knot
        for order in range(degree + 1):
            left, right = (
                basis.derivative(column(x), order).to_dense() for x in (0.5 - 1e-9, 0.5 + 1e-9)
            )
            jump = float((left - right).abs().max())
            # A continuous derivative moves by its slope times 2e-9.
            limit = 2e-8 * steepness(basis, order + 1)
            if order <= smooth:
                assert jump <= limit
            elif order == smooth + 1:
                assert jump > 0.1


def test_the_value_at_a_jump_is_that_on_the_right():
    basis = BSpline([0.5] * 4, 3)
    at, right = (basis(column(x)).to_dense() for x in (0.5, 0.5 + 1e-12))
    # Slopes of the order of ten, over 1e-12.
    torch.testing.assert_close(at, right, rtol=0, atol=1e-10)


@given(
    basis=st.sampled_from(["clip", "linear"]).flatmap(lambda policy: splines(extrapolation=policy)),
    order=st.integers(0, 6),
)
def test_outside_the_domain(basis, order):
    for edge, step in ((basis.interval.low, -0.75), (basis.interval.high, 0.75)):
        at, out = column(edge), column(edge + step)
        value, slope = basis(at).to_dense(), basis.derivative(at).to_dense()
        if basis.interval.extrapolation == "clip":
            slope = torch.zeros_like(slope)
        expected = [value + step * slope, slope, torch.zeros_like(slope)][min(order, 2)]
        # Rounding of the step, against slopes of up to 2 p^2 / width.
        atol = 1e-13 * (1 + steepness(basis, 1))
        ours = basis.derivative(out, order).to_dense()
        torch.testing.assert_close(ours, expected, rtol=0, atol=atol)
        area = basis.integral(at) + step * value + step**2 / 2 * slope
        torch.testing.assert_close(basis.integral(out), area, rtol=0, atol=atol)


# ------------------------------------------------------------------ knots


@pytest.mark.parametrize(
    "knots, message",
    [
        ([0.2, 1.5], r"knots=\[1.5\] lie outside the open domain \(0, 1\).*wider domain"),
        ([0.0, 0.5], r"knots=\[0.0\] lie outside the open domain"),
        ([0.5, 0.2], "increasing order"),
        ([[0.5]], "increasing order"),
        ([np.nan], "finite numbers"),
        ([0.5] * 5, "0.5 is repeated 5 times: a spline of degree 3 admits at most 4"),
    ],
)
def test_bad_knots_are_refused(knots, message):
    with pytest.raises(ValueError, match=message):
        BSpline(knots)


def test_uniform_knots_cut_equal_cells():
    np.testing.assert_allclose(uniform_knots(3, (-1.0, 1.0)), [-0.5, 0.0, 0.5], atol=1e-15)
    assert uniform_knots(0, (0.0, 1.0)).size == 0


@given(n_knots=st.integers(0, 6), seed=st.integers(0, 1000))
def test_quantile_knots_balance_the_cells(n_knots, seed):
    rng = np.random.default_rng(seed)
    x = np.exp(rng.normal(size=200))
    domain = (float(x.min()), float(x.max()))
    knots = quantile_knots(n_knots, x, domain)
    assert len(knots) == n_knots and (np.diff(knots) > 0).all()
    cells = np.histogram(x, np.r_[domain[0], knots, domain[1]])[0]
    # A quantile is a data point, and it may stand on either side of the cut.
    assert np.abs(cells - 200 / (n_knots + 1)).max() <= 2
    weight = rng.integers(0, 4, 200).astype(float)
    weighted = quantile_knots(n_knots, x, domain, weight)
    repeated = quantile_knots(n_knots, np.repeat(x, weight.astype(int)), domain)
    np.testing.assert_array_equal(weighted, repeated)


def test_quantiles_that_coincide_are_taken_once():
    x = np.r_[np.zeros(90), np.linspace(0, 1, 10)]
    assert len(quantile_knots(5, x, (0.0, 1.0))) == 0
    x = np.r_[np.full(90, 0.5), np.linspace(0, 1, 10)]
    assert quantile_knots(5, x, (0.0, 1.0)).tolist() == [0.5]


# ------------------------------------------------------------------ several inputs

pairs = st.tuples(splines(3, 2), splines(3, 2))


def rows_in(factors, n=30, seed=0):
    rng = np.random.default_rng(seed)
    columns = [rng.uniform(f.interval.low, f.interval.high, n) for f in factors]
    return torch.from_numpy(np.stack(columns, 1))


orders = st.tuples(st.integers(0, 2), st.integers(0, 2))


@few
@given(factors=pairs, order=orders)
def test_tensor_product_is_the_product(factors, order):
    x = rows_in(factors)
    one, two = (f.derivative(x[:, [j]], order[j]).to_dense() for j, f in enumerate(factors))
    tensor = TensorBSpline(factors)
    expected = (one[:, :, None] * two[:, None, :]).flatten(1)
    ours = tensor.derivative(x, order)
    assert ours._nnz() == len(x) * (factors[0].degree + 1) * (factors[1].degree + 1)
    # The same products in the same order, but for the sign of zero.
    torch.testing.assert_close(ours.to_dense(), expected, rtol=1e-15, atol=0)


@few
@given(factors=pairs, order=orders)
def test_additive_basis_is_a_constant_and_the_rest_of_each(factors, order):
    x = rows_in(factors)
    constant = torch.full((len(x), 1), float(order == (0, 0)), dtype=torch.float64)
    blocks = [constant]
    for j, f in enumerate(factors):
        block = f.derivative(x[:, [j]], order[j]).to_dense()[:, 1:]
        alone = all(k == 0 for i, k in enumerate(order) if i != j)
        blocks.append(block * alone)
    ours = AdditiveBSpline(factors).derivative(x, order).to_dense()
    # Copies of the same numbers.
    torch.testing.assert_close(ours, torch.cat(blocks, 1), rtol=0, atol=0)


def greville(spline):
    """Coefficients of the function x: the means of the inner knots of each function."""
    p = spline.degree
    return np.array([spline.knots[i + 1 : i + p + 1].mean() for i in range(spline.n_terms)])


@few
@given(factors=pairs)
def test_differences_vanish_on_polynomials_below_their_order(factors):
    ones = [np.ones(f.n_terms) for f in factors]
    lines = [greville(f) if f.degree else one for f, one in zip(factors, ones, strict=True)]
    plane = 2 + 3 * np.multiply.outer(lines[0], ones[1]) - np.multiply.outer(ones[0], lines[1])
    for order, coef in ((1, np.multiply.outer(*ones)), (2, plane)):
        if min(f.degree for f in factors) + 1 < order:
            continue
        rows = TensorBSpline(factors).differences(order)
        # The rounding of each product, at the size of what cancels.
        size = abs(rows) @ np.abs(coef.ravel()) if rows.shape[0] else np.zeros(1)
        assert np.all(np.abs(rows @ coef.ravel()) <= 1e-10 * size.max(initial=1.0))
        additive = AdditiveBSpline(factors)
        rows = additive.differences(order)
        parts = ones if order == 1 else lines
        # The constant takes over the first function of each input.
        coef = np.concatenate([[5.0], *[c[1:] - c[0] for c in parts]])
        size = abs(rows) @ np.abs(coef)
        assert np.all(np.abs(rows @ coef) <= 1e-10 * size.max(initial=1.0))
        assert rows.shape[1] == additive.n_terms


@few
@given(degree=st.integers(1, 4), n_knots=st.integers(0, 8), order=st.integers(0, 3))
def test_differences_between_equal_cells_are_plain(degree, n_knots, order):
    spline = BSpline(uniform_knots(n_knots, (0.0, 1.0)), degree)
    if order > degree + 1 or order >= spline.n_terms - 2 * degree:
        return
    rows = TensorBSpline([spline]).differences(order).toarray()
    plain = np.diff(np.eye(spline.n_terms), order, axis=0)
    inner = slice(degree, len(plain) - degree)
    # Knots are rounded to 1e-16 of the domain, cells are a tenth of it.
    np.testing.assert_allclose(rows[inner], plain[inner], rtol=1e-12, atol=1e-12)


def expand(basis, packed):
    """Compressed rows as a dense design and its right-hand sides."""
    blocks, height = packed.rows.shape[0], packed.rows.shape[1]
    design = np.zeros((blocks, height, basis.n_terms))
    for i, start in enumerate(packed.starts):
        design[i][:, start + packed.offsets] = packed.rows[i]
    targets = packed.targets.reshape(blocks * height, -1)
    return design.reshape(blocks * height, -1), targets


def check_same_problem(basis, x, y, weight=None):
    design = basis(x).to_dense().numpy()
    root = np.ones((len(x), 1)) if weight is None else weight.sqrt().numpy()[:, None]
    a, b = root * design, root * y.numpy()
    packed = basis.compress(x, y, weight)
    assert (np.diff(packed.starts) > 0).all()
    assert packed.rows.shape[1] <= len(packed.offsets)  # a few rows a cell, however many came in
    r, t = expand(basis, packed)
    # Sums over the rows of a cell, regrouped: rounding relative to the largest entry.
    np.testing.assert_allclose(r.T @ r, a.T @ a, rtol=0, atol=1e-12 * np.abs(a.T @ a).max())
    np.testing.assert_allclose(r.T @ t, a.T @ b, rtol=0, atol=1e-12 * len(x) * np.abs(b).max())


@few
@given(
    factors=st.lists(splines(4, 3), min_size=1, max_size=2),
    n=st.integers(1, 200),
    n_targets=st.integers(1, 3),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_compression_keeps_the_normal_equations(factors, n, n_targets, weighted, seed):
    rng = np.random.default_rng(seed)
    x = rows_in(factors, n, seed)
    y = torch.from_numpy(rng.normal(size=(n, n_targets)))
    weight = torch.from_numpy(rng.uniform(0.1, 3.0, n)) if weighted else None
    check_same_problem(TensorBSpline(factors), x, y, weight)


def test_compression_of_many_rows_is_small():
    basis = TensorBSpline([BSpline(uniform_knots(9, (0.0, 1.0)))])
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.random((40_000, 1))), torch.from_numpy(rng.normal(size=(40_000, 1)))
    assert basis.compress(x, y).rows.shape == (10, 4, 4)
    check_same_problem(basis, x, y)


def solve(basis, x, y, weight=None):
    packed = basis.compress(x, y, weight)
    factor = BandedFactor(basis.n_terms, y.shape[1], int(basis.offsets[-1]) + 1)
    factor.update(packed.starts, packed.offsets, packed.rows, packed.targets, float(len(x)))
    return factor.solve(Penalty(), False)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_clustered_points_cost_no_accuracy(gap, degree):
    # Each cell holds just as many points as it has local functions, two of them ``gap`` apart: the
    # moments of a cell see the square of the gap, which at 1e-9 is below rounding.
    basis = TensorBSpline([BSpline([0.3, 0.6], degree)])
    spread = np.linspace(0.05, 0.9, degree)
    local = np.r_[spread, spread[0] + gap]
    widths = np.diff(basis.factors[0].breaks)
    x = np.concatenate(
        [b + w * local for b, w in zip(basis.factors[0].breaks, widths, strict=False)]
    )
    # A target on a smooth curve: close points have close values, as data do.
    y = np.sin(7 * x)
    design = basis(column(x)).to_dense().numpy()
    truth = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    solution = solve(basis, column(x), torch.from_numpy(y)[:, None])
    # lstsq and ours have the same residual to rounding, magnified by the gap at most once.
    np.testing.assert_allclose(design @ solution.coef[:, 0], truth, rtol=0, atol=1e-11)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_repeated_points_and_empty_cells_leave_the_least_norm(degree):
    basis = TensorBSpline([BSpline([0.25, 0.5, 0.75], degree)])
    x = np.r_[np.full(5, 0.1), np.full(3, 0.6), 0.61]
    y = np.random.default_rng(0).normal(size=(9, 2))
    design = basis(column(x)).to_dense().numpy()
    truth, _, rank, _ = np.linalg.lstsq(design, y, rcond=1e-12)
    solution = solve(basis, column(x), torch.from_numpy(y))
    assert solution.rank == rank < basis.n_terms
    # The points 0.6 and 0.61 are 0.04 of a cell apart: condition number about 1e3.
    np.testing.assert_allclose(solution.coef, truth, rtol=0, atol=1e-11)


def test_names():
    one, two = BSpline([], 1), BSpline([0.5], 0)
    assert one.term_names(["x"]) == ["B0(x)", "B1(x)"]
    assert TensorBSpline([one, two]).term_names(["x", "z"]) == [
        "B0(x) B0(z)",
        "B0(x) B1(z)",
        "B1(x) B0(z)",
        "B1(x) B1(z)",
    ]
    assert AdditiveBSpline([one, two]).term_names(["x", "z"]) == ["1", "B1(x)", "B1(z)"]


def test_hat_functions_interpolate_their_coefficients():
    # A spline of degree 1 takes the value of each coefficient at its knot.
    basis = BSpline([0.25, 0.5, 0.75], 1)
    knots = [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(basis(column(knots)).to_dense(), np.eye(5), rtol=0, atol=1e-15)
    assert math.isclose(float(basis.integral(column(1.0)).sum()), 1.0, rel_tol=1e-15)
