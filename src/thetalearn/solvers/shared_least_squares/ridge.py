"""Ridge coefficients for many penalties from one matrix of products.

References
----------
G. Golub and C. Van Loan, *Matrix Computations*, sections 4.2 and 8.3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

__all__ = ["RidgeSystem"]

#: Condition number of the products, in units of the columns and times the cancellation, up to which
#: predictions agree with those of an orthogonal factorisation to about 1e-11 of their spread.
MAX_AMPLIFICATION = 1e6

#: Cancellation up to which they do: it meets every prediction, a condition number few of them.
MAX_CANCELLATION = 1e3

#: Penalties from which on a tridiagonal form costs less than a factorisation for each.
MANY = 4


class RidgeSystem:
    r"""The systems :math:`(G + \lambda I) c = g` for one G and g and many λ.

    Parameters
    ----------
    gram : ndarray of shape (k, k)
        Symmetric, positive semidefinite.
    cross : ndarray of shape (k, m)
        Right-hand sides g.
    cancellation : float, default=1.0
        How much larger the numbers were that G was summed from than what is left of them.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.solvers.shared_least_squares import RidgeSystem
    >>> system = RidgeSystem(np.diag([1.0, 3.0]), np.ones((2, 1)))
    >>> [coef.ravel().round(6).tolist() for coef in system.solve([0.0, 1.0])]
    [[1.0, 0.333333], [0.5, 0.25]]
    """

    def __init__(self, gram: np.ndarray, cross: np.ndarray, cancellation: float = 1.0) -> None:
        self.gram = gram
        self.cross = cross
        self.cancellation = cancellation

    @cached_property
    def _is_accurate(self) -> bool:
        """Whether the sums are finite, and what is left of them is clear of their rounding."""
        finite = np.isfinite(self.gram).all() and np.isfinite(self.cross).all()
        return bool(finite and self.cancellation <= MAX_CANCELLATION)

    def amplification(self, weight: float) -> float:
        """By how much the rounding of the products is magnified, in units of the columns."""
        if not self._is_accurate:
            return np.inf
        return self._factorise(weight)[2] if len(self.gram) else 1.0

    def is_safe(self, weight: float) -> bool:
        """Whether the products are accurate enough to be solved from."""
        return self.amplification(weight) <= MAX_AMPLIFICATION

    def solve(self, weights: Sequence[float]) -> list[np.ndarray | None]:
        """Coefficients (k, m) for each weight λ; None where rounding would be magnified."""
        if not self._is_accurate:
            return [None] * len(weights)
        if len(self.gram) == 0:
            return [self.cross.copy() for _ in weights]
        if len(weights) >= MANY and self._is_evenly_scaled(min(weights)):
            return list(self._solve_tridiagonal(weights))
        return [self._solve_one(weight) for weight in weights]

    def _factorise(self, weight: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Scale of the columns, Cholesky factor of the scaled matrix, amplification."""
        diagonal = np.diag(self.gram) + weight
        if not np.all(diagonal > 0):
            return diagonal, self.gram, np.inf
        scale = np.sqrt(diagonal)
        scaled = self.gram / np.outer(scale, scale)
        np.fill_diagonal(scaled, 1.0)
        norm = np.abs(scaled).sum(0).max()
        upper, info = lapack.dpotrf(scaled, lower=0, clean=0)
        if info:
            return scale, upper, np.inf
        inverse_condition, _ = lapack.dpocon(upper, norm)
        if not inverse_condition > 0:
            return scale, upper, np.inf
        return scale, upper, self.cancellation / float(inverse_condition)

    def _solve_one(self, weight: float) -> np.ndarray | None:
        scale, upper, amplification = self._factorise(weight)
        if not amplification <= MAX_AMPLIFICATION:
            return None
        coef, _ = lapack.dpotrs(upper, self.cross / scale[:, None], lower=0)
        return coef / scale[:, None]

    def _is_evenly_scaled(self, weight: float) -> bool:
        """Whether also without scaling the columns rounding is not magnified much.

        The tridiagonal form mixes columns: a small one drowns in the rounding of a large one.
        """
        scale, _, amplification = self._factorise(weight)
        if not np.isfinite(amplification):
            return False
        return amplification * (scale.max() / scale.min()) ** 2 <= MAX_AMPLIFICATION

    def _solve_tridiagonal(self, weights: Sequence[float]) -> list[np.ndarray]:
        """By G = Q T Q': what depends on the penalty is tridiagonal."""
        k = len(self.gram)
        work, _ = lapack.dsytrd_lwork(k, lower=1)
        reduced, diagonal, off, tau, _ = lapack.dsytrd(self.gram, lower=1, lwork=int(work))
        if k == 1:
            return [self.cross / (diagonal + weight) for weight in weights]
        rotated = self._rotate(reduced, tau, self.cross, "T")
        parts = [lapack.dptsv(diagonal + weight, off, rotated)[2] for weight in weights]
        coef = self._rotate(reduced, tau, np.hstack(parts), "N")
        return np.split(coef, len(weights), axis=1)

    def _rotate(
        self, reduced: np.ndarray, tau: np.ndarray, matrix: np.ndarray, trans: str
    ) -> np.ndarray:
        """Q or its transpose times a matrix; Q leaves the first row as it is."""
        reflectors = np.asfortranarray(reduced[1:, :-1])
        below = np.asfortranarray(matrix[1:])
        _, work, _ = lapack.dormqr("L", trans, reflectors, tau, below, -1)
        moved, _, _ = lapack.dormqr("L", trans, reflectors, tau, below, int(work[0]))
        return np.vstack([matrix[:1], moved])
