r"""Symmetric systems :math:`(A + s I) x = b` for many shifts s, with the condition of each.

:math:`A = Q T Q^\top` with T tridiagonal costs a few Cholesky factors. After that a shift costs the
products with Q alone, which are shared too: those of all shifts are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import lapack

__all__ = ["alternating", "inverse_norms", "solve_shifted"]

#: Solves columns (n, k), each with the matrix of its number.
Solve = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Rounds of LAPACK's estimate.
MAX_ROUNDS = 5

#: Columns of a block of reflectors.
BLOCK = 64


def solve_shifted(
    matrix: np.ndarray, targets: np.ndarray, shifts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solve with a symmetric matrix plus each of many multiples of the identity.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Symmetric, with a nonnegative diagonal.
    targets : ndarray of shape (n, m)
        Right sides.
    shifts : ndarray of shape (k,)
        Nonnegative shifts.

    Returns
    -------
    solutions : ndarray of shape (k, n, m)
        Solutions; not a number where a shifted matrix is not positive definite.
    conditions : ndarray of shape (k,)
        Condition numbers in the 1-norm as LAPACK's ``dpocon`` estimates them; infinite there.

    References
    ----------
    G. Golub and C. Van Loan, *Matrix Computations*, section 8.3.1 (tridiagonal form).

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.solvers.shifted import solve_shifted
    >>> solutions, conditions = solve_shifted(np.diag([1.0, 3.0, 4.0]), np.ones((3, 1)), [0.0, 1.0])
    >>> solutions[1, :, 0]
    array([0.5 , 0.25, 0.2 ])
    >>> conditions
    array([4. , 2.5])
    """
    shifts = np.asarray(shifts, dtype=np.float64)
    form = _Tridiagonal(matrix, shifts)
    n, n_targets, k = len(matrix), targets.shape[1], len(shifts)
    rotated = form.turned(targets, back=False)
    inner = np.full((n, k, n_targets), np.nan)
    for number in form.definite:
        inner[:, number] = form.divided(number, rotated)
    solutions = form.turned(inner.reshape(n, -1), back=True).reshape(n, k, n_targets)
    conditions = np.full(k, np.inf)
    if len(form.definite):
        first = np.full((n, len(form.definite)), 1 / n)
        last = np.repeat(alternating(n)[:, None], len(form.definite), 1)
        norms = np.abs(matrix).sum(0).max() + shifts[form.definite]
        conditions[form.definite] = norms * inverse_norms(form.solve, first, last)
    return solutions.transpose(1, 0, 2), conditions


class _Tridiagonal:
    """The tridiagonal form of a matrix, factorised for every shift."""

    def __init__(self, matrix: np.ndarray, shifts: np.ndarray) -> None:
        n = len(matrix)
        reflectors, diagonal, beside, self._tau, _ = lapack.dsytrd(
            np.asfortranarray(matrix), lower=1, lwork=BLOCK * n
        )
        self._reflectors = np.asfortranarray(reflectors[1:, :-1])
        factors = [lapack.dpttrf(diagonal + shift, beside) for shift in shifts]
        self._factors = [factor[:2] for factor in factors]
        #: Numbers of the shifts that make the matrix positive definite.
        self.definite = [k for k, factor in enumerate(factors) if factor[2] == 0]

    def turned(self, columns: np.ndarray, back: bool) -> np.ndarray:
        """Columns in the coordinates of the tridiagonal matrix, or back from there."""
        out = np.array(columns, order="F")
        turned, _, _ = lapack.dormqr(
            "L",
            "N" if back else "T",
            self._reflectors,
            self._tau,
            np.asfortranarray(out[1:]),
            lwork=BLOCK * max(out.shape),
            overwrite_c=1,
        )
        out[1:] = turned
        return out

    def divided(self, number: int, columns: np.ndarray) -> np.ndarray:
        """Columns solved with the tridiagonal matrix of a shift."""
        solution, _ = lapack.dpttrs(*self._factors[number], columns)
        return solution

    def solve(self, columns: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Columns solved each with the matrix of its shift, counted among the definite ones."""
        inner = self.turned(columns, back=False)
        for i, number in enumerate(self.definite[k] for k in which):
            inner[:, i] = self.divided(number, inner[:, i])
        return self.turned(inner, back=True)


def inverse_norms(solve: Solve, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The 1-norms of the inverses of many symmetric matrices, as LAPACK estimates them.

    All matrices are estimated together, a few solutions for each.

    Parameters
    ----------
    solve : callable
        ``solve(columns, which)`` solves column i of (n, k') with matrix number ``which[i]``. A
        matrix may have fewer than n rows: the others are zero before and after.
    first : ndarray of shape (n, k)
        Where each estimate starts: one over the size of the matrix in its rows.
    last : ndarray of shape (n, k)
        `alternating` in the rows of each matrix.

    Returns
    -------
    ndarray of shape (k,)
        Lower bounds, rarely below a third of the norm.

    References
    ----------
    N. Higham, *FORTRAN Codes for Estimating the One-Norm of a Real or Complex Matrix*, algorithm
    4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.solvers.shifted import alternating, inverse_norms
    >>> diagonal = np.array([[1.0, 2.0], [0.5, 4.0]])
    >>> last = np.column_stack([alternating(2), alternating(2)])
    >>> inverse_norms(lambda b, which: b / diagonal[:, which], np.full((2, 2), 0.5), last)
    array([2. , 0.5])
    """
    member = first > 0
    everyone = np.arange(first.shape[1])
    sizes = member.sum(0)

    def signs_of(x: np.ndarray, which: np.ndarray) -> np.ndarray:
        return np.where(member[:, which], np.where(x > 0, 1.0, -1.0), 0.0)

    x = solve(first, everyone)
    estimate = np.abs(x).sum(0)
    signs = signs_of(x, everyone)
    x = solve(signs, everyone)
    peak = np.abs(x).argmax(0)
    active = everyone[sizes > 1]
    for _ in range(2, MAX_ROUNDS + 1):
        if not len(active):
            break
        unit = np.zeros((len(first), len(active)))
        unit[peak[active], np.arange(len(active))] = 1.0
        x = solve(unit, active)
        before, new_signs = estimate[active], signs_of(x, active)
        estimate[active] = np.abs(x).sum(0)
        goes_on = (new_signs != signs[:, active]).any(0) & (estimate[active] > before)
        active, new_signs = active[goes_on], new_signs[:, goes_on]
        if not len(active):
            break
        signs[:, active] = new_signs
        x = np.abs(solve(new_signs, active))
        old_peak, columns = peak[active], np.arange(len(active))
        peak[active] = x.argmax(0)
        active = active[x[old_peak, columns] != x[peak[active], columns]]
    several = everyone[sizes > 1]
    if len(several):
        other = 2 * np.abs(solve(last[:, several], several)).sum(0) / (3 * sizes[several])
        estimate[several] = np.maximum(estimate[several], other)
    return estimate


def alternating(n: int) -> np.ndarray:
    """Numbers of growing size and changing sign, on which the estimate is tried at the end."""
    sizes = 1 + np.arange(n) / max(n - 1, 1)
    return sizes * np.where(np.arange(n) % 2, -1.0, 1.0)
