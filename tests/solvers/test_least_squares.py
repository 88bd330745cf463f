"""Least squares from an updatable factor, against NumPy and scikit-learn."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet

from thetalearn.solvers.least_squares import BandedFactor, DenseFactor, Penalty

few = settings(max_examples=max(settings().max_examples // 2, 1))

seeds = st.integers(0, 10_000)


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def dense_factor(design, targets, weight=None, cuts=()):
    """The factor of rows that arrive in pieces."""
    factor = DenseFactor(design.shape[1], targets.shape[1])
    for part in np.split(np.arange(len(design)), cuts):
        own = None if weight is None else tensor(weight[part])
        factor.update(tensor(design[part]), tensor(targets[part]), own)
    return factor


def banded_problem(rng, n_terms, width, n_rows):
    """Rows with ``width`` neighbouring entries, in the order of their first columns."""
    starts = np.sort(rng.integers(0, n_terms - width + 1, n_rows))
    rows = rng.normal(size=(n_rows, 1, width))
    design = np.zeros((n_rows, n_terms))
    for i, start in enumerate(starts):
        design[i, start : start + width] = rows[i, 0]
    return starts, rows, design


def banded_factor(starts, rows, targets, n_terms, cuts=()):
    width = rows.shape[2]
    factor = BandedFactor(n_terms, targets.shape[1], width)
    for part in np.split(np.arange(len(rows)), cuts):
        factor.update(
            starts[part], np.arange(width), rows[part], targets[part, None], float(len(part))
        )
    return factor


def cuts_of(n, fractions):
    return sorted(int(f * n) for f in fractions)


splits = st.lists(st.floats(0, 1), max_size=5)


# ------------------------------------------------------------------ against numpy.linalg.lstsq


@given(
    n=st.integers(1, 60),
    k=st.integers(1, 8),
    m=st.integers(1, 3),
    split=splits,
    weighted=st.booleans(),
    seed=seeds,
)
def test_dense_solution_is_lstsqs_for_any_split(n, k, m, split, weighted, seed):
    rng = np.random.default_rng(seed)
    design, targets = rng.normal(size=(n, k)), rng.normal(size=(n, m))
    weight = rng.uniform(0.1, 3, n) if weighted else None
    root = np.ones((n, 1)) if weight is None else np.sqrt(weight)[:, None]
    truth, _, rank, values = np.linalg.lstsq(root * design, root * targets, rcond=None)
    factor = dense_factor(design, targets, weight, cuts_of(n, split))
    solution = factor.solve(Penalty(), False)
    assert solution.rank == rank
    assert factor.weight_sum == pytest.approx(n if weight is None else weight.sum(), rel=1e-14)
    # Backward stable on both sides: rounding times the condition number, squared off the range.
    atol = 1e-14 * (values[0] / values[-1]) ** 2 + 1e-13
    np.testing.assert_allclose(solution.coef, truth, rtol=0, atol=atol * np.abs(truth).max())


@given(
    n=st.integers(2, 60), k=st.integers(1, 6), split=splits, offset=st.floats(-1e4, 1e4), seed=seeds
)
def test_a_constant_is_eliminated_and_not_counted_in_the_norm(n, k, split, offset, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, k)) + offset, rng.normal(size=(n, 1))
    factor = dense_factor(np.c_[np.ones(n), x], y, None, cuts_of(n, split))
    solution = factor.solve(Penalty(), True)
    centred = x - x.mean(0)
    noise = 1e-15 * (1 + abs(offset))
    truth, _, rank, values = np.linalg.lstsq(centred, y - y.mean(0), rcond=1e-10)
    assert solution.rank == rank + 1
    # Rounding of x next to its offset, times the condition number of the centred columns, squared.
    atol = 20 * noise * (values[0] / values[min(rank, len(values)) - 1]) ** 2 / values[rank - 1]
    np.testing.assert_allclose(solution.coef[1:], truth, rtol=0, atol=100 * atol + 1e-13)
    fitted = solution.coef[0] + x @ solution.coef[1:]
    best = y.mean(0) + centred @ truth
    np.testing.assert_allclose(fitted, best, rtol=0, atol=1e4 * noise * (1 + np.abs(truth).max()))


@given(
    k=st.integers(1, 30),
    width=st.integers(1, 6),
    n=st.integers(1, 120),
    m=st.integers(1, 2),
    split=splits,
    seed=seeds,
)
def test_banded_solution_is_lstsqs_for_any_split(k, width, n, m, split, seed):
    rng = np.random.default_rng(seed)
    width = min(width, k)
    starts, rows, design = banded_problem(rng, k, width, n)
    targets = rng.normal(size=(n, m))
    factor = banded_factor(starts, rows, targets, k, cuts_of(n, split))
    solution = factor.solve(Penalty(), False)
    triangle, right = factor.dense()
    # The factor keeps the normal equations: sums of n products.
    np.testing.assert_allclose(triangle.T @ triangle, design.T @ design, rtol=0, atol=1e-13 * n)
    np.testing.assert_allclose(triangle.T @ right, design.T @ targets, rtol=0, atol=1e-13 * n)
    truth, _, rank, values = np.linalg.lstsq(design, targets, rcond=1e-13)
    if values[rank - 1] > 1e-6 * values[0]:  # the rank is beyond doubt
        assert solution.rank == rank
        # Rounding times the condition number, squared off the range.
        atol = 1e-13 * (values[0] / values[rank - 1]) ** 2 * (1 + np.abs(truth).max())
        np.testing.assert_allclose(solution.coef, truth, rtol=0, atol=atol)


def test_no_rows_and_no_columns():
    solution = DenseFactor(3, 2).solve(Penalty(), False)
    assert solution.rank == 0 and solution.coef.shape == (3, 2) and not solution.coef.any()
    empty = dense_factor(np.ones((4, 1)), np.arange(4.0)[:, None])
    assert empty.solve(Penalty(), True).coef.tolist() == [[1.5]]


# ------------------------------------------------------------------ merging


@few
@given(
    sizes=st.tuples(*[st.integers(0, 20)] * 3),
    k=st.integers(1, 6),
    banded=st.booleans(),
    seed=seeds,
)
def test_merging_is_associative_and_commutative(sizes, k, banded, seed):
    rng = np.random.default_rng(seed)
    width = min(k, 3)
    parts = []
    for n in sizes:
        starts, rows, design = banded_problem(rng, k, width, n)
        targets = rng.normal(size=(n, 2))
        parts.append((starts, rows, design, targets))

    def factor(i):
        starts, rows, design, targets = parts[i]
        if banded:
            return banded_factor(starts, rows, targets, k)
        return dense_factor(design, targets)

    def merged(*order):
        total = factor(order[0])
        for i in order[1:]:
            total.merge(factor(i))
        return total

    left, right, swapped = merged(0, 1, 2), factor(1), merged(2, 1, 0)
    right.merge(factor(2))
    whole = factor(0)
    whole.merge(right)
    design = np.concatenate([p[2] for p in parts])
    targets = np.concatenate([p[3] for p in parts])
    for total in (left, whole, swapped):
        assert total.weight_sum == sum(sizes)
        triangle, right_side = total.dense()
        # Gram matrices do not depend on the order; sums of up to sixty products.
        np.testing.assert_allclose(triangle.T @ triangle, design.T @ design, rtol=0, atol=1e-12)
        np.testing.assert_allclose(triangle.T @ right_side, design.T @ targets, rtol=0, atol=1e-12)


def test_merging_leaves_the_other_alone():
    rng = np.random.default_rng(0)
    one, other = (dense_factor(rng.normal(size=(9, 3)), rng.normal(size=(9, 1))) for _ in range(2))
    before = other.triangle.clone()
    one.merge(other)
    assert torch.equal(other.triangle, before) and other.weight_sum == 9


def test_overflow_is_refused_and_leaves_the_factor_as_it_was():
    rng = np.random.default_rng(0)
    factor = dense_factor(rng.normal(size=(9, 3)), rng.normal(size=(9, 1)))
    before = factor.solve(Penalty(), False).coef
    with pytest.raises(OverflowError):
        factor.update(torch.full((2, 3), np.inf).double(), torch.zeros(2, 1).double(), None)
    assert factor.weight_sum == 9
    np.testing.assert_array_equal(factor.solve(Penalty(), False).coef, before)


@few
@given(k=st.integers(1, 6), seed=seeds)
def test_change_of_terms_is_that_of_the_design(k, seed):
    rng = np.random.default_rng(seed)
    design, targets = rng.normal(size=(30, k)), rng.normal(size=(30, 2))
    combine = np.triu(rng.normal(size=(k, k))) + 3 * np.eye(k)
    factor = dense_factor(design, targets)
    factor.change_terms(tensor(combine))
    truth = np.linalg.lstsq(design @ combine, targets, rcond=None)[0]
    # Rounding times condition numbers of at most a thousand.
    np.testing.assert_allclose(factor.solve(Penalty(), False).coef, truth, rtol=0, atol=1e-9)


# ------------------------------------------------------------------ dependent columns


@few
@given(
    n=st.integers(2, 40),
    rank=st.integers(1, 4),
    k=st.integers(5, 7),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
    seed=seeds,
)
def test_dependent_columns_get_the_least_norm(n, rank, k, scale, seed):
    rng = np.random.default_rng(seed)
    design = scale * rng.normal(size=(n, rank)) @ rng.normal(size=(rank, k))
    targets = rng.normal(size=(n, 2))
    truth, _, true_rank, values = np.linalg.lstsq(design, targets, rcond=1e-11)
    solution = dense_factor(design, targets).solve(Penalty(), False)
    assert solution.rank == true_rank == min(rank, n)
    # Rounding times the condition number of the determined part, squared.
    atol = 1e-12 * (values[0] / values[true_rank - 1]) ** 2 * np.abs(truth).max()
    np.testing.assert_allclose(solution.coef, truth, rtol=0, atol=atol)


@pytest.mark.parametrize("n", [2, 3, 50, 5_000, 100_000])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e-9, 3.3e6])
def test_a_constant_column_beside_the_constant_gets_zero(n, value):
    # What is left of it is rounding, which grows with the number of rows.
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=n), rng.normal(size=(n, 1))
    design = np.column_stack([np.ones(n), np.full(n, value), z])
    solution = dense_factor(design, y, None, range(30_000, n, 30_000)).solve(Penalty(), True)
    slope = np.polyfit(z, y, 1)[0]
    assert solution.rank == 2
    assert abs(solution.coef[1, 0]) * max(value, 1) < 1e-6
    np.testing.assert_allclose(solution.coef[2], slope, rtol=1e-8)


@pytest.mark.parametrize("n", [30, 3_000, 90_000])
def test_a_full_set_of_dummies_beside_the_constant(n):
    groups = np.arange(n) % 3
    design = np.column_stack([np.ones(n), *(groups == g for g in range(3))])
    y = np.random.default_rng(0).normal(size=(n, 1)) + groups[:, None]
    solution = dense_factor(design, y, None, range(30_000, n, 30_000)).solve(Penalty(), True)
    means = np.array([y[groups == g].mean() for g in range(3)])
    assert solution.rank == 3
    # Of all solutions the one whose slopes sum to zero. Rounding grows with the number of rows.
    np.testing.assert_allclose(solution.coef[0] + solution.coef[1:, 0], means, rtol=0, atol=1e-10)
    assert abs(solution.coef[1:].sum()) < 1e-10


def test_units_of_measurement_are_not_collinearity():
    rng = np.random.default_rng(0)
    design, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    units = np.array([1e-12, 1.0, 1e15])
    solution = dense_factor(design * units, y).solve(Penalty(), False)
    assert solution.rank == 3
    truth = np.linalg.lstsq(design, y, rcond=None)[0]
    # A triangular solve does not see the scale of the columns.
    np.testing.assert_allclose(solution.coef * units[:, None], truth, rtol=0, atol=1e-13)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_a_column_far_from_zero_is_not_a_constant(spread):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=200), rng.normal(size=(200, 1))
    solution = dense_factor(np.c_[np.ones(200), 1 + spread * z], y).solve(Penalty(), True)
    assert solution.rank == 2
    # x is known to eps, its deviations to eps / spread.
    slope = np.polyfit(spread * z, y[:, 0], 1)[0]
    np.testing.assert_allclose(solution.coef[1, 0], slope, rtol=1e-13 / spread)


# ------------------------------------------------------------------ penalties


@few
@given(
    k=st.integers(2, 12),
    order=st.integers(0, 3),
    alpha=st.floats(1e-6, 1e3),
    banded=st.booleans(),
    has_constant=st.booleans(),
    seed=seeds,
)
def test_difference_penalties_are_extra_rows(k, order, alpha, banded, has_constant, seed):
    rng = np.random.default_rng(seed)
    width = min(k, 4)
    starts, rows, design = banded_problem(rng, k, width, 60)
    targets = rng.normal(size=(60, 2))
    differences = np.diff(np.eye(k), min(order, width - 1, k - 1), axis=0)
    has_constant = has_constant and not banded
    if has_constant:
        design[:, 0] = 1
        differences[:, 0] = 0
    factor = banded_factor(starts, rows, targets, k) if banded else dense_factor(design, targets)
    penalty = Penalty(alpha, rows=sp.csr_array(differences[differences.any(1)]))
    solution = factor.solve(penalty, has_constant)
    # alpha / 2 |D theta|^2 against the mean of half the squares.
    stacked = np.vstack([design, np.sqrt(60 * alpha) * differences])
    right = np.vstack([targets, np.zeros((len(differences), 2))])
    truth, _, rank, values = np.linalg.lstsq(stacked, right, rcond=1e-12)
    if values[rank - 1] > 1e-5 * values[0]:  # the rank is beyond doubt
        assert solution.rank == rank
        if rank == k:
            atol = 1e-13 * (values[0] / values[-1]) ** 2 * (1 + np.abs(truth).max())
            # Rounding times the condition number, squared off the range.
            np.testing.assert_allclose(solution.coef, truth, rtol=0, atol=atol)


@few
@given(
    n=st.integers(1, 40),
    k=st.integers(1, 8),
    alpha=st.floats(1e-6, 1e3),
    weighted=st.booleans(),
    seed=seeds,
)
def test_ridge_solves_the_normal_equations(n, k, alpha, weighted, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, k)), rng.normal(size=(n, 2))
    weight = rng.uniform(0.1, 2, n) if weighted else np.ones(n)
    solution = dense_factor(x, y, weight).solve(Penalty(alpha), False)
    gram = x.T @ (weight[:, None] * x) + alpha * weight.sum() * np.eye(k)
    right = x.T @ (weight[:, None] * y)
    assert solution.rank == k
    # A backward stable solution: rounding of the norms of the rows and of the targets.
    atol = 1e-13 * (n + k) * np.sqrt(np.abs(gram).max()) * np.linalg.norm(y)
    np.testing.assert_allclose(gram @ solution.coef, right, rtol=0, atol=atol)


@few
@given(
    n=st.integers(3, 50),
    k=st.integers(1, 8),
    alpha=st.floats(1e-3, 2),
    l1_ratio=st.floats(0.05, 1),
    has_constant=st.booleans(),
    seed=seeds,
)
def test_elastic_net_is_scikit_learns(n, k, alpha, l1_ratio, has_constant, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k))
    y = x[:, :1] * 2 + rng.normal(size=(n, 2)) + 5 * has_constant
    design = np.c_[np.ones(n), x] if has_constant else x
    penalty = Penalty(alpha, l1_ratio, tol=1e-14, max_iter=100_000)
    solution = dense_factor(design, y, None, [n // 2]).solve(penalty, has_constant)
    first = int(has_constant)

    def objective(coef, t):
        residual = y[:, t] - design @ coef
        slopes = coef[first:]
        return (residual @ residual) / (2 * n) + alpha * (
            l1_ratio * np.abs(slopes).sum() + (1 - l1_ratio) / 2 * slopes @ slopes
        )

    for t in range(2):
        peer = ElasticNet(
            alpha=alpha, l1_ratio=l1_ratio, fit_intercept=has_constant, tol=1e-14, max_iter=100_000
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            peer.fit(x, y[:, t])
        theirs = np.r_[[peer.intercept_] * first, peer.coef_]
        # Both within their duality gap of the minimum, which may be flat when k > n.
        assert objective(solution.coef[:, t], t) <= objective(theirs, t) + 1e-10
        if n > k + 2 or l1_ratio < 0.9:
            # Strongly convex: the square root of the gap, over the smallest curvature.
            np.testing.assert_allclose(solution.coef[:, t], theirs, rtol=0, atol=1e-4)


def test_elastic_net_reports_its_sweeps():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 5)), rng.normal(size=(50, 2))
    factor = dense_factor(x, y)
    solution = factor.solve(Penalty(0.01, 1.0), False)
    assert solution.converged and len(solution.history) == 2
    assert {"target", "sweeps", "dual_gap"} <= solution.history[0].keys()
    assert solution.n_iter == max(record["sweeps"] for record in solution.history)
    assert not factor.solve(Penalty(0.01, 1.0, tol=1e-16, max_iter=1), False).converged


# ------------------------------------------------------------------ condition number, randomness


@few
@given(n=st.integers(1, 40), k=st.integers(1, 8), banded=st.booleans(), seed=seeds)
def test_condition_number_is_numpys(n, k, banded, seed):
    rng = np.random.default_rng(seed)
    starts, rows, design = banded_problem(rng, k, min(k, 3), n)
    y = rng.normal(size=(n, 1))
    factor = banded_factor(starts, rows, y, k) if banded else dense_factor(design, y)
    ours, theirs = factor.condition_number(), np.linalg.cond(design)
    if n < k:
        assert ours > 1e12
    elif theirs < 1e12:
        # The smallest singular value is known to rounding of the largest.
        assert ours == pytest.approx(theirs, rel=1e-14 * theirs + 1e-12)
    else:
        assert ours > 1e11


def test_global_random_states_are_untouched():
    rng = np.random.default_rng(0)
    starts, rows, design = banded_problem(rng, 40, 4, 200)
    y = rng.normal(size=(200, 1))
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    for factor in (banded_factor(starts, rows, y, 40), dense_factor(design, y)):
        for penalty in (Penalty(), Penalty(0.1), Penalty(0.1, 0.5)):
            factor.solve(penalty, False)
        factor.condition_number()
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
