"""Sums that many least-squares problems share, against each problem by itself."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.solvers.least_squares import DenseFactor, Penalty
from thetalearn.solvers.shared_least_squares import (
    DeletedRowsFactor,
    Deletions,
    Moments,
    RidgeSystem,
    Shift,
    factor_from_products,
    few_are_deleted,
    plan_pieces,
    sums_of_products,
)
from thetalearn.solvers.shared_least_squares.ridge import MANY

few = settings(max_examples=max(settings().max_examples // 2, 1), deadline=None)

seeds = st.integers(0, 10_000)


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def problem(seed, n=60, k=5, m=2):
    rng = np.random.default_rng(seed)
    return tensor(rng.normal(size=(n, k)) + 3), tensor(rng.normal(size=(n, m)) - 2)


def moments_of(functions, targets, weight=None, has_constant=True):
    block = (functions, targets, weight)
    shift = Shift.means(block, has_constant)
    products = sums_of_products([block], shift)
    total = float(len(functions) if weight is None else weight.sum())
    return Moments(products, np.diag(products), shift, total, len(functions))


def factor_of(functions, targets, weight=None, has_constant=True):
    design = torch.cat([functions.new_ones(len(functions), int(has_constant)), functions], dim=1)
    factor = DenseFactor(design.shape[1], targets.shape[1])
    factor.update(design, targets, weight)
    return factor


# ------------------------------------------------------------------ plans


@few
@given(
    seed=seeds,
    n_rows=st.integers(1, 60),
    n_sets=st.integers(1, 12),
    join=st.floats(0, 20),
    subtract=st.booleans(),
    repeats=st.booleans(),
)
def test_pieces_add_up_to_the_sets(seed, n_rows, n_sets, join, subtract, repeats):
    rng = np.random.default_rng(seed)
    sets = [rng.permutation(n_rows)[: rng.integers(1, n_rows + 1)] for _ in range(n_sets)]
    if repeats:
        sets = [rng.choice(rows, n_rows) for rows in sets]
    plan = plan_pieces(sets, n_rows, join, subtract=subtract)
    counts = np.array([np.bincount(piece, minlength=n_rows) for piece in plan.pieces])
    expected = np.array([np.bincount(rows, minlength=n_rows) for rows in sets])
    np.testing.assert_array_equal(plan.combine @ counts, expected)
    assert subtract or plan.combine.min() >= 0
    assert plan.cost(join) <= sum(map(len, sets)) + join * n_sets


def folds(n_rows, k, order=None):
    order = np.arange(n_rows) if order is None else order
    return [np.setdiff1d(order, part) for part in np.array_split(order, k)]


def test_folds_take_one_pass_over_the_rows():
    plan = plan_pieces(folds(1000, 5), 1000, 10, subtract=True)
    assert sorted(np.concatenate(plan.pieces)) == list(range(1000))
    assert plan.combine.sum() == 20


def test_repeated_folds_take_one_pass_each():
    rng = np.random.default_rng(0)
    sets = [rows for _ in range(4) for rows in folds(5000, 5, rng.permutation(5000))]
    assert sum(map(len, plan_pieces(sets, 5000, 10, subtract=False).pieces)) == 4 * 5000


def test_nested_sets_take_one_pass_over_the_largest():
    sets = [np.arange(size) for size in (100, 500, 900)]
    plan = plan_pieces(sets, 1000, 10, subtract=False)
    assert sorted(np.concatenate(plan.pieces)) == list(range(900))


def test_random_sets_of_most_rows_are_all_without_the_others():
    rng = np.random.default_rng(0)
    sets = [rng.permutation(5000)[:4500] for _ in range(10)]
    plan = plan_pieces(sets, 5000, 10, subtract=True)
    assert sum(map(len, plan.pieces)) == 5000 + 10 * 500
    # Where nothing may be subtracted, some sets in a row still share what they have in common.
    assert sum(map(len, plan_pieces(sets, 5000, 10, subtract=False).pieces)) < 45_000 / 2


# ------------------------------------------------------------------ moments


@few
@given(seed=seeds, has_constant=st.booleans(), weighted=st.booleans())
def test_moments_give_the_triangular_factor(seed, has_constant, weighted):
    functions, targets = problem(seed)
    weight = tensor(np.random.default_rng(seed).uniform(0.1, 2, 60)) if weighted else None
    ours = moments_of(functions, targets, weight, has_constant).factor()
    theirs = factor_of(functions, targets, weight, has_constant)
    # Triangular factors are unique but for the signs of their rows.
    np.testing.assert_allclose(
        ours.triangle.T @ ours.triangle, theirs.triangle.T @ theirs.triangle, rtol=0, atol=1e-10
    )
    assert (ours.triangle.tril(-1) == 0).all()
    assert (ours.n_rows, ours.n_terms) == (theirs.n_rows, theirs.n_terms)
    assert ours.weight_sum == pytest.approx(theirs.weight_sum, rel=1e-14)


def test_a_target_without_residuals_has_a_factor():
    functions, _ = problem(0)
    targets = functions[:, :2] * 2 + 1
    factor = moments_of(functions, targets).factor()
    solution = factor.solve(Penalty(), True)
    expected = np.vstack([np.ones((1, 2)), 2 * np.eye(2), np.zeros((3, 2))])
    np.testing.assert_allclose(solution.coef, expected, atol=1e-12)


def test_cancellation_tells_what_subtraction_has_lost():
    functions, targets = problem(0)
    functions[:5] *= 1e4
    block = (functions, targets, None)
    shift = Shift.means(block, True)
    everything = sums_of_products([block], shift)
    first = sums_of_products([(functions[:5], targets[:5], None)], shift)
    left = Moments(everything - first, np.diag(everything) + np.diag(first), shift, 55.0, 55)
    whole = Moments(everything, np.diag(everything), shift, 60.0, 60)
    assert whole.cancellation < 2
    assert left.cancellation > 1e6
    functions[:, 0] = 0.1
    dependent = moments_of(functions, targets)
    assert not RidgeSystem(dependent.gram, dependent.cross, dependent.cancellation).is_safe(0.0)


# ------------------------------------------------------------------ ridge


@few
@given(seed=seeds, k=st.integers(1, 8), many=st.booleans(), spread=st.sampled_from([0, 4]))
def test_ridge_solves_its_system(seed, k, many, spread):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(50, k)) * np.logspace(0, -spread, k)
    gram, cross = A.T @ A, A.T @ rng.normal(size=(50, 2))
    weights = [0.0, 0.1, 1.0, 10.0][: None if many else MANY - 1]
    for weight, coef in zip(weights, RidgeSystem(gram, cross).solve(weights), strict=True):
        expected = np.linalg.solve(gram + weight * np.eye(k), cross)
        scale = np.sqrt(np.diag(gram))[:, None]
        np.testing.assert_allclose(scale * coef, scale * expected, rtol=0, atol=1e-9)


def test_ridge_refuses_what_rounding_would_spoil():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 3))
    A[:, 1] = A[:, 0] + 1e-6 * A[:, 1]
    gram, cross = A.T @ A, A.T @ rng.normal(size=(50, 1))
    system = RidgeSystem(gram, cross)
    assert not system.is_safe(0.0)
    assert [coef is None for coef in system.solve([0.0, 1e-9, 1.0])] == [True, True, False]
    assert RidgeSystem(gram, cross, cancellation=1e6).solve([1.0]) == [None]
    assert RidgeSystem(np.full((1, 1), np.inf), np.ones((1, 1))).solve([1.0]) == [None]
    # Units are no collinearity.
    units = np.diag([1.0, 1e-6, 1e6])
    assert RidgeSystem(units @ np.eye(3) @ units, units @ cross).is_safe(0.0)


# ------------------------------------------------------------------ deletion


@few
@given(
    seed=seeds,
    n_each=st.integers(1, 3),
    has_constant=st.booleans(),
    weighted=st.booleans(),
    penalty=st.sampled_from([0.0, 0.5, 50.0]),
)
def test_deletion_is_the_fit_without_the_rows(seed, n_each, has_constant, weighted, penalty):
    functions, targets = problem(seed)
    weight = tensor(np.random.default_rng(seed).uniform(0.1, 2, 60)) if weighted else None
    moments = moments_of(functions, targets, weight, has_constant)
    deletions = Deletions(moments, [penalty])
    groups = np.arange(4 * n_each).reshape(4, n_each)
    some = tensor(groups.ravel())
    rows = (functions[some], targets[some], None if weight is None else weight[some])
    safe, (coef,) = deletions.without(rows, n_each, [penalty])
    assert safe.all()
    for group, ours in zip(groups, coef, strict=True):
        left = torch.ones(60, dtype=torch.bool)
        left[group] = False
        own = None if weight is None else weight[left]
        factor = factor_of(functions[left], targets[left], own, has_constant)
        alpha = penalty / factor.weight_sum
        expected = factor.solve(Penalty(alpha), has_constant).coef
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
        deleted = DeletedRowsFactor(
            moments,
            (functions[group], targets[group], None if weight is None else weight[group]),
        )
        assert deleted.n_rows == 60 - n_each
        np.testing.assert_allclose(
            deleted.solve(Penalty(alpha), has_constant).coef, expected, rtol=0, atol=1e-10
        )


def test_a_row_that_alone_determines_a_coefficient_is_not_deleted():
    functions, targets = problem(0)
    functions[:, 4] = 0.0
    functions[0, 4] = 1.0
    deletions = Deletions(moments_of(functions, targets), [1.0])
    safe, _ = deletions.without((functions[:3], targets[:3], None), 1, [1.0])
    assert safe.tolist() == [False, True, True]


def test_a_copied_or_pickled_factor_is_an_ordinary_one():
    functions, targets = problem(0)
    factor = DeletedRowsFactor(moments_of(functions, targets), (functions[:2], targets[:2], None))
    for other in (pickle.loads(pickle.dumps(factor)), copy.copy(factor), copy.deepcopy(factor)):
        assert type(other) is DenseFactor
        assert vars(other).keys() == vars(DenseFactor(6, 2)).keys()
        assert torch.equal(other.triangle, factor.triangle)
        assert (other.n_rows, other.weight_sum) == (58, 58.0)
    factor.merge(other)
    assert factor.n_rows == 116


def test_deletion_is_for_few_rows_of_many_sets():
    assert few_are_deleted([1] * 1000, 100, 20, 20)
    assert not few_are_deleted([200] * 5, 100, 20, 20)
    # With a weight for each set there is nothing to share.
    assert not few_are_deleted([1] * 1000, 100, 20_000, 20)


@pytest.mark.parametrize("has_constant", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_products_make_the_factor_of_qr(has_constant, weighted):
    functions, targets = problem(0, n=400)
    weight = tensor(np.random.default_rng(1).uniform(0.5, 2, 400)) if weighted else None
    blocks = [
        (functions[part], targets[part], None if weight is None else weight[part])
        for part in (slice(0, 150), slice(150, 400))
    ]
    ours = factor_from_products(blocks, has_constant)
    expected = factor_of(functions, targets, weight, has_constant)
    assert (ours.n_rows, ours.weight_sum) == (400, pytest.approx(expected.weight_sum, rel=1e-14))
    for penalty in (Penalty(), Penalty(0.3)):
        np.testing.assert_allclose(
            ours.solve(penalty, has_constant).coef,
            expected.solve(penalty, has_constant).coef,
            rtol=1e-11,
        )


@pytest.mark.parametrize("late", [False, True])
def test_products_are_not_used_where_columns_nearly_depend_on_each_other(late):
    functions, targets = problem(0, n=400)
    # In the first block, or only in the sum of all.
    scale = torch.ones(400, dtype=torch.float64)
    scale[200 if late else 0 :] = 1e4
    functions[:, 4] = scale * functions[:, 3] + 1e-3 * functions[:, 4]
    functions[:, 3] *= scale
    blocks = [(functions[part], targets[part], None) for part in (slice(0, 200), slice(200, 400))]
    assert factor_from_products(blocks, True) is None


def test_numbers_too_large_to_multiply_are_left_to_qr():
    functions, targets = problem(0, n=400)
    functions[350, 2] = 1e200
    assert factor_from_products([(functions, targets, None)], True) is None
