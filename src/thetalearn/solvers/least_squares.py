r"""Weighted least squares from an updatable triangular factor.

All that least squares needs to know of the rows seen so far is the triangular factor of
:math:`\sqrt{W}[A\;Y]`. Updating it with new rows, or with another factor, is one QR factorisation;
penalties and the minimum-norm solution need the small factor only. The normal equations are not
formed here, so accuracy follows the condition number of A and not its square.

References
----------
G. Golub and C. Van Loan, *Matrix Computations*, sections 5.2, 5.5 and 6.5.
Å. Björck, *Numerical Methods for Least Squares Problems*, section 6.2 (band matrices).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg
import torch
from scipy.linalg import lapack
from torch import Tensor

from ..threads import one_thread

__all__ = ["BandedFactor", "DenseFactor", "LeastSquaresFactor", "Penalty", "Solution"]


@dataclass(frozen=True)
class Penalty:
    r"""The penalty :math:`\alpha(\rho\|\theta\|_1 + \tfrac{1-\rho}{2}\|D\theta\|^2)`.

    It is weighed against half the *mean* squared error, so alpha means the same for any number of
    rows. ``rows`` is D; None stands for the identity without the unpenalised constant.
    """

    alpha: float = 0.0
    l1_ratio: float = 0.0
    rows: sp.csr_array | None = None
    tol: float = 1e-8
    max_iter: int = 10_000


@dataclass(frozen=True)
class Solution:
    """Coefficients (K, m), the numerical rank, and how an iterative solver fared."""

    coef: np.ndarray
    rank: int
    n_iter: int = 0
    converged: bool = True
    history: list[dict[str, float]] = field(default_factory=list)


class LeastSquaresFactor(ABC):
    """Triangular factor of the rows seen so far."""

    n_terms: int
    weight_sum: float

    @abstractmethod
    def merge(self, other: LeastSquaresFactor) -> None:
        """Take in the rows that another factor has seen."""

    @abstractmethod
    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """R of shape (r, K), r <= K, and the right-hand sides (r, m)."""

    @abstractmethod
    def solve(self, penalty: Penalty, has_constant: bool) -> Solution:
        """Minimise the penalised sum of squares.

        ``has_constant`` says that column 0 is the constant 1, which is not penalised.
        """

    def condition_number(self) -> float:
        """Ratio of the largest to the smallest singular value; infinite below full rank."""
        triangle, _ = self.dense()
        if len(triangle) < self.n_terms:
            return np.inf
        values = scipy.linalg.svdvals(triangle)
        return float(values[0] / values[-1]) if values[-1] > 0 else np.inf


class DenseFactor(LeastSquaresFactor):
    """Factor of a dense design matrix that arrives in blocks of rows."""

    def __init__(self, n_terms: int, n_targets: int) -> None:
        self.n_terms = n_terms
        self.n_rows = 0
        self.weight_sum = 0.0
        self.triangle = torch.zeros(0, n_terms + n_targets, dtype=torch.float64)

    def update(self, design: Tensor, targets: Tensor, weight: Tensor | None) -> None:
        """Take in rows: design (n, K), targets (n, m), weight (n,)."""
        # Term-major storage: LAPACK then factors the transpose in place of a copy.
        rows = torch.cat([design.T, targets.to(design).T])
        if weight is not None:
            rows = rows * weight.sqrt()
        self._absorb(rows)
        self.n_rows += len(design)
        self.weight_sum += len(design) if weight is None else float(weight.sum())

    def _absorb(self, rows: Tensor) -> None:
        stacked = torch.cat([self.triangle.to(rows.device).T, rows], dim=1).T
        triangle = torch.linalg.qr(stacked, mode="r").R.cpu()
        if not torch.isfinite(triangle).all():
            raise OverflowError("the basis functions are too large for a float at these rows")
        self.triangle = triangle

    def merge(self, other: LeastSquaresFactor) -> None:
        """Take in the rows that another factor has seen."""
        assert isinstance(other, DenseFactor)
        self.merge_all([other])

    def merge_all(self, others: Sequence[DenseFactor]) -> None:
        """Take in the rows that several factors have seen, by one factorisation."""
        self._absorb(torch.cat([other.triangle for other in others]).T)
        self.n_rows += sum(other.n_rows for other in others)
        self.weight_sum += sum(other.weight_sum for other in others)

    def change_terms(self, combine: Tensor) -> None:
        """Replace the design A by A @ combine."""
        k = self.n_terms
        rows = torch.cat([self.triangle[:, :k] @ combine, self.triangle[:, k:]], dim=1)
        self.triangle = torch.linalg.qr(rows, mode="r").R

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """R of shape (r, K) and the right-hand sides (r, m)."""
        triangle = self.triangle[: self.n_terms].numpy()
        return triangle[:, : self.n_terms], triangle[:, self.n_terms :]

    def solve(self, penalty: Penalty, has_constant: bool) -> Solution:
        """Minimise the penalised sum of squares."""
        triangle, targets = self.dense()
        # The rounding of a long column grows with the square root of its length.
        rounding = max(_ROUNDING, 20 * _EPS * self.n_rows**0.5)
        return solve_triangle(triangle, targets, penalty, has_constant, self.weight_sum, rounding)


class BandedFactor(LeastSquaresFactor):
    """Factor of a design matrix whose rows have their nonzeros within ``width`` columns."""

    #: Columns eliminated at a time: enough to amortise a call to LAPACK.
    CHUNK = 16

    def __init__(self, n_terms: int, n_targets: int, width: int) -> None:
        self.n_terms = n_terms
        self.n_targets = n_targets
        self.width = min(width, n_terms)
        self.weight_sum = 0.0
        #: Row i of the factor, from column i on.
        self.band = np.zeros((n_terms, self.width))
        self.targets = np.zeros((n_terms, n_targets))

    def update(
        self,
        starts: np.ndarray,
        offsets: np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray,
        weight_sum: float,
    ) -> None:
        """Take in blocks of rows.

        Block i has entries ``rows[i]`` (r, len(offsets)) at columns ``starts[i] + offsets`` and
        right-hand sides ``targets[i]`` (r, m); starts increase.
        """
        self.weight_sum += weight_sum
        self.band, self.targets = self._eliminate(starts, offsets, rows, targets)

    def merge(self, other: LeastSquaresFactor) -> None:
        """Take in the rows that another factor has seen."""
        assert isinstance(other, BandedFactor)
        # The band of the last rows runs past the last column, with zeros; clip it to the matrix.
        self.update(
            np.arange(self.n_terms),
            np.arange(self.width),
            other.band[:, None, :],
            other.targets[:, None, :],
            other.weight_sum,
        )

    def _eliminate(
        self, starts: np.ndarray, offsets: np.ndarray, rows: np.ndarray, targets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Factor of the present rows and the given ones, from the first columns to the last."""
        band, out = np.zeros_like(self.band), np.zeros_like(self.targets)
        chunk = max(self.CHUNK, self.width // 2)
        span = chunk + self.width - 1
        carried = np.zeros((0, span + self.n_targets))
        own = np.arange(self.width)
        for first in range(0, self.n_terms, chunk):
            size = min(chunk, self.n_terms - first)
            lo, hi = np.searchsorted(starts, [first, first + chunk])
            kept = slice(first, first + size)
            shift = np.arange(size)[:, None] + own
            old = np.zeros((size, span + self.n_targets))
            np.put_along_axis(old, shift, self.band[kept], 1)
            old[:, span:] = self.targets[kept]
            new = np.zeros((hi - lo, rows.shape[1], span + self.n_targets))
            columns = (starts[lo:hi] - first)[:, None] + offsets
            # Zeros of a merged band may point past the last column of the span.
            columns = np.minimum(columns, span - 1)
            for c in range(len(offsets)):
                new[np.arange(hi - lo), :, columns[:, c]] += rows[lo:hi, :, c]
            new[:, :, span:] = targets[lo:hi]
            stacked = np.concatenate([carried, old, new.reshape(-1, span + self.n_targets)])
            triangle = _qr_r(stacked)[:span]
            done = min(size, len(triangle))
            band[first : first + done] = np.take_along_axis(triangle[:done], shift[:done], 1)
            out[first : first + done] = triangle[:done, span:]
            rest = triangle[chunk:]
            carried = np.zeros((len(rest), span + self.n_targets))
            carried[:, : span - chunk] = rest[:, chunk:span]
            carried[:, span:] = rest[:, span:]
        return band, out

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """R of shape (K, K) and the right-hand sides (K, m)."""
        if self.n_terms > MAX_DENSE:
            raise ValueError(
                f"a factor of {self.n_terms} coefficients, more than {MAX_DENSE}, is too large to "
                "be made dense, as a condition number or rows that do not determine all "
                "coefficients require: set alpha > 0, or use fewer terms"
            )
        return self._upper().toarray(), self.targets

    def _upper(self) -> sp.dia_array:
        k = self.n_terms
        diagonals = np.zeros((self.width, k))
        for j in range(self.width):
            diagonals[j, j:] = self.band[: k - j, j]
        return sp.dia_array((diagonals, np.arange(self.width)), shape=(k, k))

    def solve(self, penalty: Penalty, has_constant: bool) -> Solution:
        """Minimise the penalised sum of squares; a difference penalty keeps the band."""
        if penalty.alpha > 0 and penalty.rows is not None:
            return self._penalised(penalty).solve(Penalty(), has_constant)
        if penalty.alpha == 0 and self._is_well_determined():
            upper = self._upper().data[::-1]
            coef = scipy.linalg.solve_banded((0, self.width - 1), upper, self.targets)
            return Solution(coef, self.n_terms)
        triangle, targets = self.dense()
        # Without as many rows as coefficients much of the factor is empty.
        filled = triangle.any(1)
        triangle, targets = triangle[filled], targets[filled]
        return solve_triangle(triangle, targets, penalty, has_constant, self.weight_sum)

    def _is_well_determined(self) -> bool:
        """Whether the smallest singular value stands clear of rounding."""
        if not np.all(self.band[:, 0] != 0):
            return False
        upper = self._upper()
        banded, scale = upper.data[::-1], scipy.sparse.linalg.norm(upper, 1)
        inverse = scipy.sparse.linalg.LinearOperator(
            (self.n_terms, self.n_terms),
            matvec=lambda v: scipy.linalg.solve_banded((0, self.width - 1), banded, v.ravel()),
            rmatvec=lambda v: scipy.sparse.linalg.spsolve_triangular(upper.T.tocsr(), v.ravel()),
        )
        # t=1: with more columns the estimate draws from NumPy's global generator.
        return scipy.sparse.linalg.onenormest(inverse, t=1) * scale < 1 / _ROUNDING

    def _penalised(self, penalty: Penalty) -> BandedFactor:
        """This factor with the rows of the penalty taken in."""
        assert penalty.rows is not None
        starts, rows = _rows_from_first_nonzero(penalty.rows)
        out = BandedFactor(self.n_terms, self.n_targets, max(self.width, rows.shape[1]))
        out.band[:, : self.width] = self.band
        out.targets = self.targets
        scale = np.sqrt(penalty.alpha * self.weight_sum)
        zeros = np.zeros((len(starts), 1, self.n_targets))
        out.update(starts, np.arange(rows.shape[1]), scale * rows[:, None, :], zeros, 0.0)
        out.weight_sum = self.weight_sum
        return out


#: Sweeps of coordinate descent between two chances to interrupt it.
SWEEPS = 1_000

#: Coefficients up to which a banded factor is made dense, for its singular values.
MAX_DENSE = 20_000

_EPS = float(np.finfo(np.float64).eps)

#: Relative to its norm, what is left of a column is rounding below this. A triangular solve would
#: return noise, and the minimum-norm solution of the well-determined part is the honest answer.
_ROUNDING = 10 * _EPS


def solve_triangle(
    triangle: np.ndarray,
    targets: np.ndarray,
    penalty: Penalty,
    has_constant: bool,
    weight_sum: float,
    rounding: float = _ROUNDING,
) -> Solution:
    """Minimise ``|triangle @ coef - targets|^2`` plus a penalty.

    An unpenalised constant in column 0 has been eliminated by the first row, so the remaining
    rows are the problem in the centred columns.
    """
    first = 1 if has_constant and len(triangle) else 0
    inner, inner_targets = triangle[first:, first:], targets[first:]
    if penalty.alpha == 0:
        # What is left of a column that equals a multiple of the constant is rounding, which only
        # the column before the elimination can tell.
        norms = np.linalg.norm(triangle[:, first:], axis=0)
        solution = Solution(*_solve_unpenalised(inner, inner_targets, norms, rounding))
    elif penalty.l1_ratio == 0 and penalty.rows is None and len(inner) < inner.shape[1]:
        # With fewer rows than columns, ridge lies in the span of the rows.
        span, factor = scipy.linalg.qr(inner.T, mode="economic")
        small = solve_triangle(factor.T, inner_targets, penalty, False, weight_sum)
        solution = Solution(span @ small.coef, inner.shape[1])
    elif penalty.l1_ratio == 0:
        scale = np.sqrt(penalty.alpha * weight_sum)
        if penalty.rows is None:
            rows = np.eye(inner.shape[1])
        else:
            rows = penalty.rows.toarray()[:, first:]
        stacked = np.vstack([inner, scale * rows])
        zeros = np.zeros((len(rows), targets.shape[1]))
        augmented = _qr_r(np.hstack([stacked, np.vstack([inner_targets, zeros])]))
        k = inner.shape[1]
        norms = np.linalg.norm(augmented[:k, :k], axis=0)
        solution = Solution(
            *_solve_unpenalised(augmented[:k, :k], augmented[:k, k:], norms, _ROUNDING)
        )
    else:
        solution = _solve_elastic_net(inner, inner_targets, penalty, weight_sum)
    if not first:
        return solution
    constant = (targets[:1] - triangle[:1, 1:] @ solution.coef) / triangle[0, 0]
    coef = np.vstack([constant, solution.coef])
    return replace(solution, coef=coef, rank=solution.rank + 1)


def _solve_unpenalised(
    triangle: np.ndarray, targets: np.ndarray, norms: np.ndarray, rounding: float
) -> tuple[np.ndarray, int]:
    """Triangular solve, or the minimum-norm solution when the columns are dependent.

    ``norms`` are those of the columns, beside which what is left of them may be rounding.
    """
    n_rows, n_terms = triangle.shape
    if n_rows == 0 or n_terms == 0:
        return np.zeros((n_terms, targets.shape[1])), 0
    if n_rows == n_terms and np.all(norms > 0):
        # Scaling the columns does not change a triangular solve, but it does change what the
        # condition number says: units of measurement must not look like collinearity.
        scaled = np.asfortranarray(triangle / norms)
        rcond, _ = lapack.dtrcon(scaled)
        if rcond * np.abs(scaled).sum(0).max() > rounding:
            return scipy.linalg.solve_triangular(triangle, targets), n_terms
    left, values, right = scipy.linalg.svd(triangle, full_matrices=False)
    noise = max(rounding, _EPS * n_terms) * max(values[0], norms.max())
    rank = int((values > noise).sum())
    coef = right[:rank].T @ ((left[:, :rank].T @ targets) / values[:rank, None])
    return coef, rank


def _solve_elastic_net(
    triangle: np.ndarray, targets: np.ndarray, penalty: Penalty, weight_sum: float
) -> Solution:
    """Coordinate descent on the factor: K rows stand for all rows of the data.

    Interrupted, it gives the coefficients as they stand.
    """
    n_rows, n_terms = triangle.shape
    coef = np.zeros((n_terms, targets.shape[1]))
    if n_rows == 0:
        return Solution(coef, 0)
    design = np.asfortranarray(triangle)
    alpha = penalty.alpha * weight_sum / n_rows
    n_iter, converged, history = 0, True, []
    try:
        for k in range(targets.shape[1]):
            target, sweeps, gap, done = np.ascontiguousarray(targets[:, k]), 0, np.inf, False
            while not done and sweeps < penalty.max_iter:
                some = min(SWEEPS, penalty.max_iter - sweeps)
                coef[:, k], gap, taken = _sweep(design, target, coef[:, k], alpha, penalty, some)
                sweeps, done = sweeps + taken, taken < some
            n_iter, converged = max(n_iter, sweeps), converged and done
            history.append({"target": k, "sweeps": sweeps, "dual_gap": gap})
    except KeyboardInterrupt:
        converged = False
    return Solution(coef, n_terms, n_iter, converged, history)


def _sweep(
    design: np.ndarray,
    target: np.ndarray,
    start: np.ndarray,
    alpha: float,
    penalty: Penalty,
    max_iter: int,
) -> tuple[np.ndarray, float, int]:
    """Some sweeps of scikit-learn's coordinate descent: coefficients, duality gap, sweeps."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import enet_path

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, path, gaps, iterations = enet_path(
            design,
            target,
            l1_ratio=penalty.l1_ratio,
            alphas=[alpha],
            coef_init=start.copy(),
            max_iter=max_iter,
            tol=penalty.tol,
            return_n_iter=True,
            # Unused by cyclic descent, but without it the global generator is drawn from.
            random_state=0,
        )
    return path[:, 0], float(gaps[0]), int(iterations[0])


def _qr_r(matrix: np.ndarray) -> np.ndarray:
    """Triangular factor of a small matrix."""
    with one_thread():
        return torch.linalg.qr(torch.from_numpy(matrix), mode="r").R.numpy()


def _rows_from_first_nonzero(matrix: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Rows as (start, entries from there on), in the order of their starts."""
    matrix = matrix.sorted_indices()
    starts = matrix.indices[matrix.indptr[:-1]].astype(np.int64)
    owner = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    places = matrix.indices - starts[owner]
    rows = np.zeros((matrix.shape[0], int(places.max(initial=0)) + 1))
    rows[owner, places] = matrix.data
    order = np.argsort(starts, kind="stable")
    return starts[order], rows[order]
