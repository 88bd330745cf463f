"""Kernel ridge regressions that are fitted together: one kernel matrix, and what it shares.

Many penalties on the same rows share one tridiagonal form of the kernel matrix. Many sets of rows
that each lack a few rows of the same data share one inverse, from which block elimination takes
these few rows out again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import lapack
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ...fusion import NotFusable, ReplicaFit, Source, caught_warnings
from ...rows import n_numbers
from ...solvers.shifted import ShiftedMatrix, alternating, inverse_norms
from ...threads import threads_for
from ..kernel import KernelRidgeRegressor, called_on_arrays, kernel_sums, solve_definite
from .overrides import FIT_STEPS, INPUT_STEPS, check_steps, replaced_step
from .row_sets import (
    RowSet,
    check_alone,
    check_dense,
    fit_alone,
    fits_by_source,
    row_groups,
    rows_without_remark,
    union_of,
    validated_rows,
)

__all__ = ["fit_kernel_ridge", "kernel_ridge_parameters", "predict_kernel_ridge"]

#: Penalties from which on a tridiagonal form costs less than a Cholesky factor for each.
MANY_PENALTIES = 5

#: Sets from which on an inverse costs less than a Cholesky factor for each, and the share of all
#: rows that each may lack.
MANY_SETS, FEW_ROWS = 16, 0.1

#: Matrices with a condition number beyond this are left to ``fit``: what rounding makes of them
#: shows in the tenth digit of a score.
DOUBTFUL = 1e8

#: Square matrices that are held at once: of one set of rows, and of all to leave few out.
MATRICES, INVERSES = 4, 8

#: Columns of the length of the rows that a fit needs while it is made, beside its solution.
COLUMNS = 12


#: Steps of a fit and of predictions that only the package itself may replace.
STEPS = (*FIT_STEPS, "_make_kernel", "_gram", "_solve", "_solve_least_norm")
RESPONSE_STEPS = (*INPUT_STEPS, "predict", "_predict_rows")


@dataclass(eq=False)
class KernelSet(RowSet):
    """A set of rows with its kernel; ``key`` is None for a kernel that is not ours."""

    kernel: Any
    key: Any


def kernel_ridge_parameters(estimator: KernelRidgeRegressor) -> frozenset[str]:
    """Parameters in which fits made together may differ."""
    check_alone(estimator)
    check_steps(type(estimator), STEPS)
    if isinstance(estimator.kernel, str) and estimator.kernel == "precomputed":
        raise NotFusable('kernel="precomputed": the rows are those of a matrix that each fit has')
    return frozenset({"alpha"})


def fit_kernel_ridge(
    fits: Sequence[ReplicaFit], sources: Sequence[Source], memory_budget: int
) -> Iterator[list[ReplicaFit]]:
    """Fit each to its rows of its source."""
    for source, sound, failed in fits_by_source(fits, sources):
        if failed:
            yield failed
        if sound:
            yield from _SourceFits(source, sound, memory_budget).run()


class _SourceFits:
    """Fits to rows of one source."""

    def __init__(self, source: Source, fits: list[ReplicaFit], memory_budget: int) -> None:
        self.source, self.fits, self.memory_budget = source, fits, memory_budget
        largest = max(len(fit.rows) for fit in fits)
        if 8 * MATRICES * largest**2 > memory_budget:
            raise NotFusable(
                f"the kernel matrix of {largest} rows does not fit memory_budget={memory_budget}"
            )
        self.probe, (self.X, self.y, _), self.attributes = validated_rows(
            fits[0].estimator,
            lambda probe: probe._training_rows(source.X, source.y, None, reset=True),
        )
        check_dense(self.X)

    def run(self) -> Iterator[list[ReplicaFit]]:
        """Fit, kernel by kernel."""
        shared: dict[Any, list[KernelSet]] = {}
        for group in row_groups(self.fits):
            rows = self._kernel_set(group)
            if rows is None:
                yield fit_alone(group, self.source)
            elif rows.key is None:
                yield from self._fit_set(rows, None)
            else:
                shared.setdefault(rows.key, []).append(rows)
        for sets in shared.values():
            yield from self._fit_sets(sets)

    def _kernel_set(self, group: list[ReplicaFit]) -> KernelSet | None:
        """The rows of a group; None if only ``fit`` can say what is wrong with them."""
        named = isinstance(self.probe.kernel, str)
        try:
            rows = RowSet.of(self.probe, group)
            # Only a kernel that looks at the variance of the columns has to see them.
            X = self.X[torch.from_numpy(rows.rows)] if self.probe.gamma == "scale" else self.X
            kernel: Any = self.probe._make_kernel(X, rows.weight)
        except Exception:
            return None
        key = (kernel.func, tuple(sorted(kernel.keywords.items()))) if named else None
        return KernelSet(rows.rows, rows.weight, group, kernel, key)

    def _fit_sets(self, sets: list[KernelSet]) -> Iterator[list[ReplicaFit]]:
        """Fits with the same kernel, whose matrix is evaluated once if that pays."""
        union = union_of(sets, len(self.X))
        largest = max(len(s.rows) for s in sets)
        bytes_needed = 8 * (len(union) ** 2 + MATRICES * largest**2)
        shares = len(union) ** 2 < sum(len(s.rows) ** 2 for s in sets)
        gram = None
        if len(sets) > 1 and shares and bytes_needed <= self.memory_budget:
            X = self.X[torch.from_numpy(union)]
            with threads_for(n_numbers(X)):
                try:
                    gram = self.probe._gram(sets[0].kernel, X, X)
                except ValueError:  # a kernel that overflows only does so where it is evaluated
                    gram = None
        if gram is None:
            for rows in sets:
                yield from self._fit_set(rows, None)
            return
        matrix = _UnionMatrix(union, gram)
        done: set[int] = set()
        for ridge, lacking in self._lacking_few(sets, union):
            for part in self._eliminate(lacking, matrix, ridge):
                done.update(id(fit) for fit in part)
                yield part
        for rows in sets:
            rows.fits = [fit for fit in rows.fits if id(fit) not in done]
            if rows.fits:
                yield from self._fit_set(rows, matrix)

    def _fit_set(self, rows: KernelSet, matrix: _UnionMatrix | None) -> Iterator[list[ReplicaFit]]:
        """All penalties on one set of rows, as many at a time as the memory allows."""
        with threads_for(len(rows.rows) * self.X.shape[1]):
            system = self._system(rows, matrix)
        if system is None:
            yield fit_alone(rows.fits, self.source)
            return
        held = MATRICES * len(rows.rows) ** 2 + (0 if matrix is None else n_numbers(matrix.gram))
        size = self._at_once(len(rows.rows), held, copies=False)
        for start in range(0, len(rows.fits), size):
            part = rows.fits[start : start + size]
            with threads_for(len(rows.rows) * self.X.shape[1]):
                for fit, dual in zip(part, self._solutions(system, part), strict=True):
                    if dual is not None:
                        self._finish(fit, rows, system.unweighted(dual), system.X_fit)
            yield part

    def _at_once(self, n_rows: int, held: int, *, copies: bool) -> int:
        """Fits that the memory allows besides so many numbers, each with its own rows or not."""
        n_columns = COLUMNS + 4 * self.y.shape[1] + copies * self.X.shape[1]
        return max((self.memory_budget - 8 * held) // (8 * n_columns * n_rows), 1)

    def _system(self, rows: KernelSet, matrix: _UnionMatrix | None) -> _System | None:
        """What is to be solved on one set of rows; None if there is no kernel matrix."""
        index = torch.from_numpy(rows.rows)
        X, y = self.X[index], self.y[index]
        gram = self._own_gram(rows, X) if matrix is None else matrix.of(rows.rows)
        if gram is None:
            return None
        root = None if rows.weight is None else rows.weight.sqrt()[:, None]
        if root is not None:
            gram.mul_(root).mul_(root.T)
            y = root * y
        ridges = [_ridge(fit, rows) for fit in rows.fits]
        many = len(gram) > 2 and len(set(ridges)) >= MANY_PENALTIES
        if many and bool((gram.diagonal() >= 0).all()):
            form = ShiftedMatrix(gram.numpy())
        else:
            form = None
        return _System(rows, gram, y, root, X.numpy(), form, matrix is not None)

    def _own_gram(self, rows: KernelSet, X: Tensor) -> Tensor | None:
        """The kernel matrix of a set, with warnings in each of its fits; None if it fails."""
        gram: Tensor | None = None
        with caught_warnings() as caught, suppress(Exception):
            gram = self.probe._gram(rows.kernel, X, X)
        for fit in rows.fits:
            fit.warnings.extend(caught)
        return gram

    def _solutions(self, system: _System, fits: list[ReplicaFit]) -> Iterator[Tensor | None]:
        """Solutions for fits of a set, which take note of their rank and condition.

        A part of a shared matrix may differ from the set's own in the last digit: where that
        matters the fit is made alone, and its solution is None.
        """
        gram, y = system.gram, system.y
        ridges = np.array([_ridge(fit, system.rows) for fit in fits])
        conditions = np.full(len(ridges), np.inf)
        if system.form is not None:
            solutions, conditions = system.form.solve(y.numpy(), ridges)
        for k, (fit, ridge) in enumerate(zip(fits, ridges.tolist(), strict=True)):
            found: tuple[Tensor, float] | None = None
            if conditions[k] < DOUBTFUL:
                found = torch.from_numpy(solutions[k]), float(conditions[k])
            elif not system.shared:
                dual: Tensor | None = None
                with fit.recording():
                    dual = fit.estimator._solve(gram.clone(), y, ridge, self.X.dtype)
                yield dual
                continue
            elif system.form is None:
                matrix = gram.clone()
                matrix.diagonal().add_(ridge)
                found = solve_definite(matrix, y)
            if found is None or found[1] >= DOUBTFUL:
                fit_alone([fit], self.source)
                yield None
                continue
            fit.estimator.rank_, fit.estimator.condition_number_ = len(gram), found[1]
            yield found[0]

    def _finish(self, fit: ReplicaFit, rows: KernelSet, dual: Tensor, X_fit: np.ndarray) -> None:
        """The attributes of a fit."""
        estimator = fit.estimator
        vars(estimator).update(self.attributes)
        kernel = rows.kernel if rows.key is not None else estimator._make_kernel(self.X, None)
        estimator.kernel_, estimator.X_fit_ = kernel, X_fit
        dual = dual[:, 0] if estimator._one_target else dual
        estimator.dual_coef_ = dual.numpy().copy()

    def _lacking_few(
        self, sets: list[KernelSet], union: np.ndarray
    ) -> Iterator[tuple[float, list[tuple[KernelSet, ReplicaFit]]]]:
        """Fits with the same ridge on sets that each lack few of all rows, if there are many."""
        if 8 * INVERSES * len(union) ** 2 > self.memory_budget:
            return
        least = len(union) - max(1, int(FEW_ROWS * len(union)))
        whole = [s for s in sets if len(s.rows) >= least and len(np.unique(s.rows)) == len(s.rows)]
        scales = {_equal_weights(s) for s in whole}
        if len(whole) < MANY_SETS or len(scales) != 1 or None in scales:
            return
        by_ridge: dict[float, list[tuple[KernelSet, ReplicaFit]]] = {}
        for rows in whole:
            for fit in rows.fits:
                by_ridge.setdefault(_ridge(fit, rows), []).append((rows, fit))
        for ridge, pairs in by_ridge.items():
            if len({id(rows) for rows, _ in pairs}) >= MANY_SETS:
                yield ridge, pairs

    def _eliminate(
        self, pairs: list[tuple[KernelSet, ReplicaFit]], matrix: _UnionMatrix, ridge: float
    ) -> Iterator[list[ReplicaFit]]:
        """Fits with one ridge, by the inverse for all rows."""
        scale = _equal_weights(pairs[0][0])
        assert scale is not None
        y = self.y[torch.from_numpy(matrix.union)].numpy()
        with threads_for(n_numbers(matrix.gram)):
            inverse = _Inverse.of(matrix.gram.numpy(), ridge / scale, y)
        if inverse is None:
            return
        size = self._at_once(len(y), 4 * n_numbers(matrix.gram), copies=True)
        for start in range(0, len(pairs), size):
            part = pairs[start : start + size]
            places = [matrix.places(rows.rows) for rows, _ in part]
            lacks = [np.setdiff1d(np.arange(len(y)), own) for own in places]
            with threads_for(n_numbers(matrix.gram)):
                conditions = inverse.conditions(places, lacks)
            for (rows, fit), own, lack, condition in zip(
                part, places, lacks, conditions, strict=True
            ):
                dual = torch.from_numpy(inverse.without(lack, inverse.solution)[own])
                fit.estimator.rank_, fit.estimator.condition_number_ = len(own), float(condition)
                self._finish(fit, rows, dual, self.X.numpy()[rows.rows])
            yield [fit for _, fit in part]


@dataclass(frozen=True, eq=False)
class _System:
    """The kernel matrix and the targets of a set of rows, times the roots of the weights."""

    rows: KernelSet
    gram: Tensor
    y: Tensor
    root: Tensor | None
    X_fit: np.ndarray
    #: For many penalties.
    form: ShiftedMatrix | None
    #: Whether the matrix is a part of one that other sets use too.
    shared: bool

    def unweighted(self, dual: Tensor) -> Tensor:
        """Dual coefficients from a solution."""
        return dual if self.root is None else self.root * dual


@dataclass(frozen=True)
class _UnionMatrix:
    """The kernel matrix of all rows that occur."""

    union: np.ndarray
    gram: Tensor

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where rows stand in the matrix."""
        return np.searchsorted(self.union, rows)

    def of(self, rows: np.ndarray) -> Tensor:
        """The kernel matrix of some rows, a copy."""
        index = torch.from_numpy(self.places(rows))
        return self.gram.index_select(0, index).index_select(1, index)


@dataclass(frozen=True)
class _Inverse:
    """The inverse of a kernel matrix A with its ridge, of which rows can be left out."""

    inverse: np.ndarray
    solution: np.ndarray
    sizes: np.ndarray
    sums: np.ndarray

    @classmethod
    def of(cls, gram: np.ndarray, ridge: float, targets: np.ndarray) -> _Inverse | None:
        """The inverse and the solution for all rows, if they are to be relied on."""
        matrix = np.array(gram, order="F")
        matrix.flat[:: len(matrix) + 1] += ridge
        sizes = np.abs(matrix)
        sums = sizes.sum(0)
        factor, failed = lapack.dpotrf(matrix, lower=1, overwrite_a=1)
        if failed or lapack.dpocon(factor, sums.max(), uplo="L")[0] * DOUBTFUL < 1:
            return None
        # Column by column, and not by dpotri: each then has a residual of rounding size.
        inverse, _ = lapack.dpotrs(factor, np.eye(len(gram), order="F"), lower=1, overwrite_b=1)
        solution, _ = lapack.dpotrs(factor, targets, lower=1)
        return cls(inverse, solution, sizes, sums)

    def without(self, lack: np.ndarray, solution: np.ndarray) -> np.ndarray:
        """The solution without some rows, zero there, from the solution with all."""
        if not len(lack):
            return solution
        columns = self.inverse[:, lack]
        out = solution - columns @ np.linalg.solve(columns[lack], solution[lack])
        out[lack] = 0.0
        return out

    def conditions(self, places: list[np.ndarray], lacks: list[np.ndarray]) -> np.ndarray:
        """Condition numbers of the matrices of some rows, in the 1-norm as LAPACK estimates it."""
        norms = np.empty(len(places))
        first = np.zeros((len(self.sums), len(places)))
        last = np.zeros_like(first)
        for k, (own, lack) in enumerate(zip(places, lacks, strict=True)):
            norms[k] = (self.sums - self.sizes[:, lack].sum(1))[own].max()
            first[own, k] = 1 / len(own)
            last[own, k] = alternating(len(own))

        def solve(columns: np.ndarray, which: np.ndarray) -> np.ndarray:
            solutions = self.inverse @ columns
            for i, k in enumerate(which):
                solutions[:, i] = self.without(lacks[k], solutions[:, i])
            return solutions

        return norms * inverse_norms(solve, first, last)


def _ridge(fit: ReplicaFit, rows: RowSet) -> float:
    """What a fit adds to the diagonal."""
    return float(fit.estimator.alpha) * rows.weight_sum


def _equal_weights(rows: RowSet) -> float | None:
    """The weight that all rows have; None if they differ."""
    if rows.weight is None:
        return 1.0
    first = float(rows.weight[0])
    return first if bool((rows.weight == first).all()) else None


def predict_kernel_ridge(
    estimators: Sequence[KernelRidgeRegressor], X: Any, method: str
) -> list[Any] | None:
    """Predictions of each estimator for X; those of the same kernel and rows share its matrix."""
    if method != "predict" or len(estimators) < 2:
        return None
    if replaced_step(type(estimators[0]), RESPONSE_STEPS):
        return None
    groups: dict[Any, list[int]] = {}
    contents: dict[int, Any] = {}
    for number, estimator in enumerate(estimators):
        check_is_fitted(estimator)
        kernel = estimator.kernel_
        if not isinstance(kernel, partial) or kernel.func is called_on_arrays:
            return None
        names, centres = getattr(estimator, "feature_names_in_", None), estimator.X_fit_
        if id(centres) not in contents:
            contents[id(centres)] = (centres.shape, centres.dtype.str, hash(centres.tobytes()))
        key = (
            (kernel.func, tuple(sorted(kernel.keywords.items()))),
            contents[id(centres)],
            None if names is None else tuple(names),
            str(estimator.device),
        )
        groups.setdefault(key, []).append(number)
    out: list[Any] = [None] * len(estimators)
    for numbers in groups.values():
        members = [estimators[number] for number in numbers]
        rows = rows_without_remark(members[0], X)
        if not isinstance(rows, Tensor):
            return None
        for number, values in zip(numbers, _group_predictions(members, rows, X), strict=True):
            out[number] = values
    return out


def _group_predictions(members: list[Any], rows: Tensor, X: Any) -> list[Any]:
    """Predictions of estimators with the same kernel and rows."""
    first = members[0]
    duals = [m.dual_coef_.reshape(len(m.dual_coef_), -1) for m in members]
    with threads_for(first._work(rows, fitting=False)):
        values = kernel_sums(first.kernel_, rows, first.X_fit_, np.concatenate(duals, axis=1))
    ends = np.cumsum([dual.shape[1] for dual in duals])
    some = first.kernel_(
        rows[:64].to(torch.float64), torch.from_numpy(first.X_fit_).to(rows.device)
    )
    size = float(some.abs().max()) if some.numel() else 0.0
    parts = [values[:, end - dual.shape[1] : end] for dual, end in zip(duals, ends, strict=True)]
    return [
        m._target_like(part, X, rows)
        if is_clear_of_rounding(part, dual, size)
        else type(m).predict(m, X)
        for m, dual, part in zip(members, duals, parts, strict=True)
    ]


def is_clear_of_rounding(values: Tensor, dual: np.ndarray, size: float) -> bool:
    """Whether another order of adding does not show in sums of coefficients times kernel values.

    ``size`` is about the largest of these values.
    """
    if not len(values) or not len(dual):
        return True
    largest = float(values.abs().max())
    terms = size * float(np.abs(dual).sum(0).max())
    return bool(terms * np.finfo(np.float64).eps <= 1e-13 * largest)
