"""Shifted systems: the solutions, and LAPACK's estimates of their condition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import lapack

from thetalearn.solvers.shifted import ShiftedMatrix, alternating, inverse_norms


def dpocon(matrix):
    factor, failed = lapack.dpotrf(matrix, lower=1)
    assert not failed
    return 1 / lapack.dpocon(factor, np.abs(matrix).sum(0).max(), uplo="L")[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30), st.integers(1, 3))
def test_solutions_and_conditions(seed, n, n_targets):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n, n))
    matrix, targets = factor @ factor.T, rng.normal(size=(n, n_targets))
    shifts = np.logspace(-2, 2, 6)
    solutions, conditions = ShiftedMatrix(matrix).solve(targets, shifts)
    for shift, solution, condition in zip(shifts, solutions, conditions, strict=True):
        shifted = matrix + shift * np.eye(n)
        # Backward stable: the residual is rounding of the product.
        size = np.abs(shifted).max() * np.abs(solution).max() + np.abs(targets).max()
        np.testing.assert_allclose(shifted @ solution, targets, rtol=0, atol=1e-13 * n * size)
        assert condition == pytest.approx(dpocon(shifted), rel=1e-8)


def test_a_shift_that_is_too_small():
    solutions, conditions = ShiftedMatrix(np.diag([1.0, -1.0, 2.0])).solve(
        np.ones((3, 1)), [0.5, 1.5]
    )
    assert np.isinf(conditions[0]) and np.isnan(solutions[0]).all()
    np.testing.assert_allclose(solutions[1, :, 0], [1 / 2.5, 2.0, 1 / 3.5])


def test_norms_of_parts_of_a_matrix():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(12, 12))
    matrix = factor @ factor.T + np.eye(12)
    parts = [np.arange(12), np.array([3, 1, 8]), np.array([5]), np.array([11, 0])]
    first, last = np.zeros((12, 4)), np.zeros((12, 4))
    for k, part in enumerate(parts):
        first[part, k], last[part, k] = 1 / len(part), alternating(len(part))

    def solve(columns, which):
        out = np.zeros_like(columns)
        for i, k in enumerate(which):
            part = parts[k]
            out[part, i] = np.linalg.solve(matrix[np.ix_(part, part)], columns[part, i])
        return out

    norms = inverse_norms(solve, first, last)
    for part, norm in zip(parts, norms, strict=True):
        own = matrix[np.ix_(part, part)]
        assert norm * np.abs(own).sum(0).max() == pytest.approx(dpocon(own), rel=1e-10)
        assert norm <= np.abs(np.linalg.inv(own)).sum(0).max() * (1 + 1e-12)
