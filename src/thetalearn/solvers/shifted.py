r"""Symmetric systems :math:`(A + s I) x = b` for many shifts s, with the condition of each.

:math:`A = Q T Q^\top` with T tridiagonal costs a few Cholesky factors. After that a shift costs the
products with Q alone, which are shared too: those of all shifts are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy.linalg import lapack

__all__ = ["ShiftedMatrix", "alternating", "inverse_norms"]

#: Solves columns (n, k), each with the matrix of its number.
Solve = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Rounds of LAPACK's estimate.
MAX_ROUNDS = 5

#: Columns of a block of reflectors.
BLOCK = 64


class ShiftedMatrix:
    """A symmetric matrix in tridiagonal form, to be solved with multiples of the identity added.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Symmetric, with a nonnegative diagonal.

    References
    ----------
    G. Golub and C. Van Loan, *Matrix Computations*, section 8.3.1 (tridiagonal form).

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.solvers.shifted import ShiftedMatrix
    >>> matrix = ShiftedMatrix(np.diag([1.0, 3.0, 4.0]))
    >>> solutions, conditions = matrix.solve(np.ones((3, 1)), [0.0, 1.0])
    >>> solutions[1, :, 0]
    array([0.5 , 0.25, 0.2 ])
    >>> conditions
    array([4. , 2.5])
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self.norm = np.abs(matrix).sum(0).max()
        reflectors, self._diagonal, self._beside, self._tau, _ = lapack.dsytrd(
            np.asfortranarray(matrix), lower=1, lwork=BLOCK * len(matrix)
        )
        self._reflectors = np.asfortranarray(reflectors[1:, :-1])

    def solve(
        self, targets: np.ndarray, shifts: Sequence[float] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve with each of many shifts.

        Parameters
        ----------
        targets : ndarray of shape (n, m)
            Right sides.
        shifts : array-like of shape (k,)
            Nonnegative shifts.

        Returns
        -------
        solutions : ndarray of shape (k, n, m)
            Solutions; not a number where a shifted matrix is not positive definite.
        conditions : ndarray of shape (k,)
            Condition numbers in the 1-norm as LAPACK's ``dpocon`` estimates them; infinite there.
        """
        shifts = np.asarray(shifts, dtype=np.float64)
        found = [lapack.dpttrf(self._diagonal + shift, self._beside) for shift in shifts]
        definite = [k for k, factor in enumerate(found) if factor[2] == 0]
        factors = [found[k][:2] for k in definite]
        n, k = len(targets), len(shifts)
        rotated = self._turned(targets, back=False)
        inner = np.full((n, k, targets.shape[1]), np.nan)
        for number, factor in zip(definite, factors, strict=True):
            inner[:, number] = lapack.dpttrs(*factor, rotated)[0]
        solutions = self._turned(inner.reshape(n, -1), back=True).reshape(n, k, -1)
        conditions = np.full(k, np.inf)
        if definite:
            first = np.full((n, len(definite)), 1 / n)
            last = np.repeat(alternating(n)[:, None], len(definite), 1)
            norms = inverse_norms(partial(self._solve_each, factors), first, last)
            conditions[definite] = (self.norm + shifts[definite]) * norms
        return solutions.transpose(1, 0, 2), conditions

    def _solve_each(
        self, factors: Sequence[tuple[np.ndarray, ...]], columns: np.ndarray, which: np.ndarray
    ) -> np.ndarray:
        """Columns solved each with the matrix of its number among factors."""
        inner = self._turned(columns, back=False)
        for i, number in enumerate(which):
            inner[:, i] = lapack.dpttrs(*factors[number], inner[:, i])[0]
        return self._turned(inner, back=True)

    def _turned(self, columns: np.ndarray, back: bool) -> np.ndarray:
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
