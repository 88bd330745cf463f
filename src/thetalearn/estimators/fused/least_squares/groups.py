"""Sets of rows of one source with the same basis, and the three ways to fit them together.

- Moments: products of columns, where they are safe from rounding.
- Deletion: the solution of all rows, updated for sets that lack few of them.
- Factors: triangular factors by QR, as a single fit makes them, of pieces that sets share.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ....fusion import ReplicaFit, Source
from ....monitor import FitMonitor
from ....representations.bases import Affine
from ....rows import row_blocks
from ....solvers.least_squares import DenseFactor, LeastSquaresFactor, Solution
from ....solvers.shared_least_squares import (
    DeletedRowsFactor,
    Deletions,
    Moments,
    RidgeSystem,
    RowBlock,
    Shift,
    few_are_deleted,
    plan_pieces,
    sums_of_products,
)
from ....threads import one_thread, threads_for
from ...least_squares import dense_design
from ..row_sets import RowSet, fit_alone, union_of

__all__ = ["BasisSet", "Group", "Table"]

#: What adding one matrix of products to another costs, in rows of the pass that makes one.
JOIN = 10.0

#: Rows from which the shift of the columns is taken.
SAMPLE = 1024

#: Rows that are deleted at a time at most, from all sets together.
DELETED = 4096


@dataclass(eq=False)
class BasisSet(RowSet):
    """A set of rows with ``state``, what the estimators of its fits have in common: the basis."""

    state: dict[str, Any] = field(default_factory=dict)

    def is_consistent(self) -> bool:
        """Whether a row that the set holds twice has one weight."""
        if self.weight is None:
            return True
        known, weight = np.zeros(self.rows.max() + 1), self.weight.numpy()
        known[self.rows] = weight
        return bool(np.all(known[self.rows] == weight))

    def ridge_weights(self) -> list[float] | None:
        """Weight of the squared norm in each fit; None if there are other penalties."""
        penalties = [self.adopted(fit)._penalty() for fit in self.fits]
        if any(p.alpha > 0 and (p.l1_ratio > 0 or p.rows is not None) for p in penalties):
            return None
        return [p.alpha * self.weight_sum for p in penalties]

    def adopted(self, fit: ReplicaFit) -> Any:
        """A copy of a fit's estimator with the state of the set."""
        estimator = copy(fit.estimator)
        vars(estimator).update(self.state)
        return estimator

    def finish(
        self, fit: ReplicaFit, factor: LeastSquaresFactor, coef: np.ndarray | None = None
    ) -> None:
        """Leave the estimator as ``fit`` would; without coefficients, find them by the factor."""
        estimator = fit.estimator
        with fit.recording(), estimator._all_or_nothing():
            vars(estimator).update(self.state)
            estimator._factor, estimator.n_samples_seen_ = factor, len(self.rows)
            if coef is None:
                estimator._solve(FitMonitor())
                return
            estimator.rank_ = estimator.basis_.n_terms
            estimator._set_coef(coef)
            estimator._note_iterations(Solution(coef, estimator.rank_), FitMonitor())


@dataclass(eq=False)
class Table:
    """The validated rows of a source."""

    source: Source
    X: Any
    y: torch.Tensor

    def inputs(self, rows: np.ndarray) -> Any:
        """Rows of X; a view where they are neighbours."""
        return self.X[_index(rows)]


def _index(rows: np.ndarray) -> Any:
    """A slice where rows follow one another, else a tensor."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and np.all(np.diff(rows) == 1):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return torch.from_numpy(np.asarray(rows, dtype=np.int64))


class Group:
    """Sets of rows of one source with the same basis, on which weights agree."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.sets: list[BasisSet] = []
        self.weight: np.ndarray | None = None

    @property
    def basis(self) -> Any:
        """The basis of all sets."""
        return self.sets[0].state["basis_"]

    def admits(self, row_set: BasisSet) -> bool:
        """Whether a set has the basis of the group, and weights that do not contradict it."""
        mine, its = self.basis, row_set.state["basis_"]
        if mine is not its and mine != its:
            return False
        if self.weight is None or row_set.weight is None:
            return self.weight is None and row_set.weight is None
        known = self.weight[row_set.rows]
        return bool(np.all(np.isnan(known) | (known == row_set.weight.numpy())))

    def take(self, row_set: BasisSet) -> None:
        """Add a set that is admitted."""
        self.sets.append(row_set)
        if row_set.weight is not None:
            if self.weight is None:
                self.weight = np.full(len(self.table.X), np.nan)
            self.weight[row_set.rows] = row_set.weight.numpy()

    def fit(self, memory_budget: int) -> Iterator[list[ReplicaFit]]:
        """Fit all sets, by the cheapest way that is safe."""
        estimator = self.estimator = self.sets[0].adopted(self.sets[0].fits[0])
        self.has_constant = estimator._has_constant()
        self.n_terms, self.n_targets = estimator.basis_.n_terms, self.table.y.shape[1]
        factor = estimator._new_factor()
        self.dense = isinstance(factor, DenseFactor)
        size = self.n_terms + self.n_targets
        matrix = 8 * size * (size if self.dense else factor.width)
        # The products, their factors and their sums; the sets as masks.
        n_parallel = max(memory_budget // (4 * matrix + 4 * len(self.table.X)), 1)
        rest: list[BasisSet] = []
        ridge: list[tuple[BasisSet, list[float]]] = []
        for row_set in self.sets:
            weights = row_set.ridge_weights() if self.dense else None
            if weights is None or len(row_set.rows) <= self.n_terms:
                rest.append(row_set)
            else:
                ridge.append((row_set, weights))
        union = union_of([row_set for row_set, _ in ridge], len(self.table.X))
        if self._lack_few(ridge, union, memory_budget):
            rest += yield from self._by_deletion(ridge, union, memory_budget)
        else:
            for start in range(0, len(ridge), n_parallel):
                rest += yield from self._by_moments(ridge[start : start + n_parallel])
        for start in range(0, len(rest), n_parallel):
            yield from self._by_factors(rest[start : start + n_parallel])

    def block(self, rows: np.ndarray) -> RowBlock:
        """Functions but the constant, targets and weights of some rows."""
        index = _index(rows)
        functions = self.table.inputs(rows)[:].to(torch.float64)
        if not isinstance(self.basis, Affine):
            functions = dense_design(self.basis, functions)[:, int(self.has_constant) :]
        weight = None
        if self.weight is not None:
            weight = torch.from_numpy(self.weight[rows]).to(functions.device)
        return functions, self.table.y[index], weight

    def blocks(self, rows: np.ndarray) -> Iterator[RowBlock]:
        """The same, a block that fits the cache at a time."""
        for part in row_blocks(len(rows), 8 * self.n_terms):
            yield self.block(rows[part])

    def _shift(self, rows: np.ndarray) -> Shift:
        """Means over rows from everywhere in the data."""
        some = np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(int))
        return Shift.means(self.block(rows[some]), self.has_constant)

    def _by_moments(
        self, part: Sequence[tuple[BasisSet, list[float]]]
    ) -> Generator[list[ReplicaFit], None, list[BasisSet]]:
        """Solve from products of columns; returns the sets for which these are not accurate."""
        sets = [row_set for row_set, _ in part]
        unsafe = []
        for (row_set, weights), moments in zip(part, self._moments(sets), strict=True):
            with threads_for(self.n_terms**2), np.errstate(all="ignore"):
                system = RidgeSystem(moments.gram, moments.cross, moments.cancellation)
                # The factor holds no penalty, so it is to be safe without one.
                coef = system.solve([0.0, *weights])[1:] if system.is_safe(0.0) else None
                factor = None if coef is None else moments.factor()
            if coef is None or factor is None:
                unsafe.append(row_set)
                continue
            for fit, c in zip(row_set.fits, coef, strict=True):
                assert c is not None  # a penalty makes it safer still
                row_set.finish(fit, factor, moments.complete(c))
            yield row_set.fits
        return unsafe

    def _moments(self, sets: Sequence[BasisSet]) -> Iterator[Moments]:
        """The moments of each set, from pieces that sets share."""
        plan = plan_pieces([s.rows for s in sets], len(self.table.X), JOIN, subtract=True)
        shift = self._shift(union_of(sets, len(self.table.X)))
        size = self.n_terms + self.n_targets
        products = np.zeros((len(sets), size, size))
        magnitude = np.zeros((len(sets), size))
        for rows, column in zip(plan.pieces, plan.combine.T, strict=True):
            with one_thread():  # blocks that fit the cache are too small to share
                summed = sums_of_products(self.blocks(rows), shift)
            with np.errstate(invalid="ignore"):
                for i in np.flatnonzero(column):
                    products[i] += summed if column[i] > 0 else -summed
                    magnitude[i] += np.diag(summed)
        for p, m, row_set in zip(products, magnitude, sets, strict=True):
            yield Moments(p, m, shift, row_set.weight_sum, len(row_set.rows))

    def _lack_few(
        self, part: Sequence[tuple[BasisSet, list[float]]], union: np.ndarray, memory_budget: int
    ) -> bool:
        """Whether all sets are the union without so few rows that deleting these is cheaper."""
        lacking = [len(union) - len(row_set.rows) for row_set, _ in part]
        if len(part) < 2 or min(lacking) < 1:
            return False
        n_weights = len({weight for _, weights in part for weight in weights})
        if 16 * (n_weights + 1) * self.n_terms**2 > memory_budget:
            return False
        n_penalties = max(len(weights) for _, weights in part)
        if not few_are_deleted(lacking, self.n_terms, n_weights, n_penalties):
            return False
        return all(np.bincount(row_set.rows).max() == 1 for row_set, _ in part)

    def _by_deletion(
        self, part: Sequence[tuple[BasisSet, list[float]]], union: np.ndarray, memory_budget: int
    ) -> Generator[list[ReplicaFit], None, list[BasisSet]]:
        """Solve by updating the solution of all rows; returns the sets that need another way."""
        weight = None if self.weight is None else torch.from_numpy(self.weight[union])
        everything = BasisSet(union, weight, [])
        (moments,) = self._moments([everything])
        with threads_for(self.n_terms**2), np.errstate(all="ignore"):
            deletions = Deletions(moments, [w for _, weights in part for w in weights])
        if not deletions.is_safe:
            return [row_set for row_set, _ in part]
        unsafe: list[BasisSet] = []
        n_penalties = max(len(weights) for _, weights in part)
        # The rows three times, what M^-1 makes of them, and the coefficients twice.
        row_bytes = 8 * self.n_terms * (2 * self.n_targets * n_penalties + 6)
        n_weights = len({weight for _, weights in part for weight in weights})
        left = memory_budget - 16 * (n_weights + 1) * self.n_terms**2
        for same in _alike(part, len(union), min(left // row_bytes, DELETED)):
            lacking = [_without(union, row_set.rows) for row_set, _ in same]
            rows = self.block(np.concatenate(lacking))
            with threads_for(rows[0].numel()):
                safe, coef = deletions.without(rows, len(lacking[0]), same[0][1])
            for i, (row_set, _) in enumerate(same):
                if not safe[i]:
                    unsafe.append(row_set)
                    continue
                factor = DeletedRowsFactor(moments, self.block(lacking[i]))
                for fit, c in zip(row_set.fits, coef, strict=True):
                    row_set.finish(fit, factor, c[i])
                yield row_set.fits
        return unsafe

    def _by_factors(self, sets: Sequence[BasisSet]) -> Iterator[list[ReplicaFit]]:
        """Solve from triangular factors."""
        join = float(self.n_terms)
        plan = plan_pieces([s.rows for s in sets], len(self.table.X), join, subtract=False)
        shared = np.count_nonzero(plan.combine) > len(sets)
        pieces = [self._factor(rows) for rows in plan.pieces] if shared else []
        for row_set, row in zip(sets, plan.combine, strict=True):
            if shared:
                factor = _merged([pieces[i] for i in np.flatnonzero(row)])
            else:
                factor = self._factor(row_set.rows)
            if factor is None:
                fit_alone(row_set.fits, self.table.source)
            else:
                self._solve_by(factor, row_set)
            yield row_set.fits

    def _factor(self, rows: np.ndarray) -> LeastSquaresFactor | None:
        """The factor of some rows, as a fit makes it; None if they make none."""
        estimator = copy(self.estimator)
        estimator._factor, estimator.n_samples_seen_ = estimator._new_factor(), 0
        weight = None
        if self.weight is not None:
            weight = torch.from_numpy(self.weight[rows]).to(self.table.y.device)
        try:
            with threads_for(len(rows) * self.n_terms):
                estimator._absorb(self.table.inputs(rows), self.table.y[_index(rows)], weight)
        except ValueError:
            return None
        return estimator._factor

    def _solve_by(self, factor: LeastSquaresFactor, row_set: BasisSet) -> None:
        """Solve for each fit; ridge where it is safe from one matrix of products."""
        weights = row_set.ridge_weights() if isinstance(factor, DenseFactor) else None
        coef: list[np.ndarray | None] = [None] * len(row_set.fits)
        if weights is not None and any(weights):
            coef = self._ridge(factor, weights)
        for fit, c in zip(row_set.fits, coef, strict=True):
            row_set.finish(fit, factor, c)

    def _ridge(
        self, factor: LeastSquaresFactor, weights: Sequence[float]
    ) -> list[np.ndarray | None]:
        """Ridge coefficients from a factor; None where they need more care, or no penalty."""
        triangle, targets = factor.dense()
        first = int(self.has_constant)
        inner, inner_targets = triangle[first:, first:], targets[first:]
        with threads_for(self.n_terms**2), np.errstate(all="ignore"):
            system = RidgeSystem(inner.T @ inner, inner.T @ inner_targets)
            penalised = iter(system.solve([weight for weight in weights if weight > 0]))
        coef = [next(penalised) if weight > 0 else None for weight in weights]
        if not first:
            return coef
        return [
            None
            if c is None
            else np.vstack([(targets[:1] - triangle[:1, 1:] @ c) / triangle[0, 0], c])
            for c in coef
        ]


def _alike(
    part: Sequence[tuple[BasisSet, list[float]]], n_rows: int, at_once: int
) -> Iterator[list[tuple[BasisSet, list[float]]]]:
    """Runs of sets that lack equally many rows, some at once, and have the same penalties."""
    start = 0
    while start < len(part):
        n_each = n_rows - len(part[start][0].rows)
        stop = start + 1
        while (
            stop < len(part)
            and (stop - start + 1) * n_each <= at_once
            and len(part[stop][0].rows) == len(part[start][0].rows)
            and part[stop][1] == part[start][1]
        ):
            stop += 1
        yield list(part[start:stop])
        start = stop


def _without(union: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of the union that a set lacks."""
    lacking = np.zeros(union[-1] + 1, dtype=bool)
    lacking[union] = True
    lacking[rows] = False
    return np.flatnonzero(lacking)


def _merged(pieces: Sequence[LeastSquaresFactor | None]) -> LeastSquaresFactor | None:
    """The factor of the rows of all pieces; None if one of them has none."""
    known = [piece for piece in pieces if piece is not None]
    if len(known) < len(pieces):
        return None
    if len(known) == 1:
        return known[0]
    first = copy(known[0])
    if isinstance(first, DenseFactor):
        first.merge_all([other for other in known[1:] if isinstance(other, DenseFactor)])
        return first
    for piece in known[1:]:
        first.merge(piece)
    return first
