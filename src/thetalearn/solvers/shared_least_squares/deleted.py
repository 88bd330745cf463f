r"""Least squares on all rows but a few, for many choices of the few.

With :math:`M = A^\top A + \lambda I` of all rows, the coefficients without the rows T are

.. math::

    c - M^{-1} A_T^\top (I - H_{TT})^{-1} (y_T - A_T c), \qquad H_{TT} = A_T M^{-1} A_T^\top.

For a single row H is its leverage.

References
----------
D. Belsley, E. Kuh, R. Welsch, *Regression Diagnostics*, section 2.1. G. Golub and C. Van Loan,
*Matrix Computations*, section 2.1.4 (Sherman-Morrison-Woodbury formula).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.linalg
from torch import Tensor

from ..least_squares import DenseFactor
from .moments import Moments, RowBlock, shifted_rows, sums_of_products
from .ridge import MAX_AMPLIFICATION, MAX_CANCELLATION, RidgeSystem

__all__ = ["DeletedRowsFactor", "Deletions", "few_are_deleted"]

#: Multiplications that a call of LAPACK costs before it does any.
CALL = 3e5


def few_are_deleted(
    n_deleted: Sequence[int], n_terms: int, n_weights: int, n_penalties: int
) -> bool:
    """Whether updating one solution for each λ costs less than solving for each set of rows.

    Parameters
    ----------
    n_deleted : sequence of int
        How many rows each set lacks.
    n_terms : int
        Number of coefficients.
    n_weights : int
        Number of distinct weights λ over all sets.
    n_penalties : int
        Number of penalties of each set.

    Examples
    --------
    >>> from thetalearn.solvers.shared_least_squares import few_are_deleted
    >>> few_are_deleted([1] * 100, 50, 5, 5), few_are_deleted([20] * 5, 50, 5, 5)
    (True, False)
    """
    deleted = np.asarray(n_deleted, dtype=float)
    if 2 * deleted.max() > n_terms:
        return False
    solve = n_terms**3 / 3 + CALL
    update = 2 * deleted * n_terms**2 + deleted**2 * n_terms + CALL / 30
    together = (n_weights + 1) * solve + (n_penalties + 1) * update.sum()
    return bool(together < 0.5 * len(deleted) * (min(n_penalties, 4) + 1) * solve)


class Deletions:
    """Solutions without few rows, from the moments of all rows and the weights λ.

    Parameters
    ----------
    moments : Moments
        Of all rows.
    weights : sequence of float
        The weights λ.
    """

    def __init__(self, moments: Moments, weights: Sequence[float]) -> None:
        self.moments = moments
        gram, cross = moments.gram, moments.cross
        system = RidgeSystem(gram, cross, moments.cancellation)
        self.amplification = system.amplification(0.0)
        self._solved: dict[float, tuple[Any, np.ndarray]] = {}
        if self.is_safe:
            for weight in {0.0, *weights}:
                factor = scipy.linalg.cho_factor(gram + weight * np.eye(len(gram)))
                self._solved[weight] = factor, scipy.linalg.cho_solve(factor, cross)

    @property
    def is_safe(self) -> bool:
        """Whether the moments of all rows are accurate enough to be solved from."""
        return self.amplification <= MAX_AMPLIFICATION

    def without(
        self, rows: RowBlock, n_each: int, weights: Sequence[float]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Which groups may be deleted (s,), and for each λ the coefficients then (s, K, m).

        ``rows`` holds the s groups one after the other, ``n_each`` rows a group.
        """
        columns, constant, targets = self._about_the_means(rows)
        constant = constant.reshape(-1, n_each, 1)
        of_constant = constant @ constant.mT / self.moments.weight_sum
        share, _ = self._kept_share(columns, of_constant, 0.0)
        smallest = np.maximum(np.linalg.eigvalsh(share)[:, 0], np.finfo(float).tiny)
        safe = (self.amplification / smallest <= MAX_AMPLIFICATION) & (
            1 / smallest <= MAX_CANCELLATION
        )
        out = []
        for weight in weights:
            share, spread = self._kept_share(columns, of_constant, weight)
            # Nobody uses what comes of these, but a singular one would end all.
            share[~safe] = np.eye(n_each)
            _, coef = self._solved[weight]
            residuals = (targets - columns @ coef).reshape(*constant.shape[:2], -1)
            pull = np.linalg.solve(share, residuals)
            moved = -(constant.mT @ pull) / self.moments.weight_sum
            out.append(self._complete(coef - spread @ pull, moved))
        return safe, out

    def _about_the_means(self, block: RowBlock) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows about the weighted means of all rows: functions, constant, targets."""
        shift = self.moments.shift
        rows = shifted_rows(block, shift).cpu().numpy()
        k = self.moments.n_terms
        if not shift.has_constant:
            return rows[:, :k], np.zeros(len(rows)), rows[:, k:]
        constant, rest = rows[:, 0], rows[:, 1:]
        rest = rest - constant[:, None] * self.moments.means
        return rest[:, : k - 1], constant, rest[:, k - 1 :]

    def _kept_share(
        self, columns: np.ndarray, of_constant: np.ndarray, weight: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """I - H of each group (s, t, t), and M^-1 A_T' (s, k, t)."""
        n_each = of_constant.shape[1]
        factor, _ = self._solved[weight]
        spread = scipy.linalg.cho_solve(factor, columns.T) if columns.size else columns.T
        n_groups, k = len(of_constant), columns.shape[1]
        spread = spread.reshape(k, n_groups, n_each).transpose(1, 0, 2)
        grouped = columns.reshape(n_groups, n_each, k)
        return np.eye(n_each) - grouped @ spread - of_constant, spread

    def _complete(self, coef: np.ndarray, constant: np.ndarray) -> np.ndarray:
        """Coefficients of all functions (s, K, m)."""
        if not self.moments.shift.has_constant:
            return coef
        k = coef.shape[1]
        means = self.moments.shift.values + self.moments.means
        return np.concatenate([constant + means[k:] - means[:k] @ coef[:, None], coef], axis=1)


class DeletedRowsFactor(DenseFactor):
    """The factor of all rows but a few, which is computed when it is first asked for.

    Copied or pickled it is an ordinary `DenseFactor`.

    Parameters
    ----------
    moments : Moments
        Of all rows.
    rows : tuple of Tensor
        Functions but the constant, targets and weights of the rows that are left out.
    """

    def __init__(self, moments: Moments, rows: RowBlock) -> None:
        functions, _, weight = rows
        self._parts: tuple[Moments, RowBlock] | None = (moments, rows)
        self.n_terms = moments.n_terms
        self.n_rows = moments.n_rows - len(functions)
        self.weight_sum = moments.weight_sum - float(
            len(functions) if weight is None else weight.sum()
        )

    @property
    def triangle(self) -> Tensor:
        """Triangular factor, shape (K + m, K + m)."""
        if self._parts is not None:
            moments, rows = self._parts
            left = replace(
                moments,
                products=moments.products - sums_of_products([rows], moments.shift),
                weight_sum=self.weight_sum,
                n_rows=self.n_rows,
            )
            self._triangle = left.factor().triangle
            self._parts = None
        return self._triangle

    @triangle.setter
    def triangle(self, value: Tensor) -> None:
        self._triangle, self._parts = value, None

    def __reduce__(self) -> tuple[Any, ...]:
        return _plain, (self.n_terms, self.n_rows, self.weight_sum, self.triangle)


def _plain(n_terms: int, n_rows: int, weight_sum: float, triangle: Tensor) -> DenseFactor:
    factor = DenseFactor(n_terms, triangle.shape[1] - n_terms)
    factor.n_rows, factor.weight_sum, factor.triangle = n_rows, weight_sum, triangle
    return factor
