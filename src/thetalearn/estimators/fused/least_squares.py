"""Least-squares regressors fitted together: one pass over the rows serves all penalties and folds.

Fits to the same rows share a factorisation, and sets of rows with a basis in common share sums over
the rows that they have in common.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from copy import copy
from numbers import Integral
from typing import Any

import numpy as np
import torch

from ...fusion import NotFusable, ReplicaFit, Source
from ...representations.bases import LocalBasis
from ...rows import n_numbers, row_blocks
from ...threads import threads_for
from ..blockwise import is_dask
from ..families import PolynomialFamily
from ..least_squares import LeastSquaresRegressor
from ..linear import LinearRegressor
from .least_squares_groups import Group, RowSet, Table

__all__ = ["fit_replicas", "predict_replicas", "replica_parameters"]

#: Parameters in which fits made together may differ.
TOGETHER = frozenset({"alpha", "l1_ratio", "penalty_order", "tol", "max_iter", "extrapolation"})

#: Steps of a fit that are replaced here: an estimator with steps of its own is fitted alone.
STEPS = ("fit", "_training_rows", "_fit_rows", "_start", "_new_factor", "_absorb", "_solve")

#: Bases that depend on the number of columns only.
SAME_FOR_ALL_ROWS = (LinearRegressor._make_basis, PolynomialFamily._make_basis)

#: Bases with which a new one is compared.
COMPARED = 8


def replica_parameters(estimator: LeastSquaresRegressor) -> frozenset[str]:
    """Names of the parameters in which fits of this estimator made together may differ."""
    name = type(estimator).__name__
    if not isinstance(getattr(estimator, "random_state", 0), Integral):
        raise NotFusable(f"{name} draws other features for each fit: give random_state an int")
    if getattr(estimator, "_skl_callbacks", None):
        raise NotFusable(f"the callbacks of {name} follow each fit by itself")
    for step in STEPS:
        if getattr(type(estimator), step) is not getattr(LeastSquaresRegressor, step):
            raise NotFusable(f"{name} has a method {step} of its own")
    return TOGETHER & estimator.get_params(deep=False).keys()


def fit_replicas(
    fits: Sequence[ReplicaFit], sources: Sequence[Source], memory_budget: int
) -> Iterator[list[ReplicaFit]]:
    """Fit each in place, and yield lists of those that are done, a set of rows at a time."""
    for number, source in enumerate(sources):
        mine = [fit for fit in fits if fit.source == number]
        if mine and is_dask(source.X):
            raise NotFusable("the blocks of a Dask collection are read by each fit")
        if mine:
            yield from _fit_source(mine, source, memory_budget)


def predict_replicas(estimators: Sequence[Any], X: Any, method: str) -> list[Any] | None:
    """Predictions of each, where all have the same basis."""
    first = estimators[0]
    if (
        method != "predict"
        or is_dask(X)
        or not all(_evaluates_alike(first, other) for other in estimators)
    ):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            rows = first._input_rows(X, reset=False)
            first._check_extrapolation(rows)
        except Exception:
            return None  # each of them will say what is wrong
    coef = [torch.from_numpy(est._coefficients()).to(rows.device) for est in estimators]
    with threads_for(n_numbers(rows)):
        values = _products_with(first.basis_, rows, torch.cat(coef, dim=1))
    # Each estimator's predictions lie contiguously, and need not be copied.
    parts = values.split([c.shape[1] for c in coef])
    return [
        est._target_like(part.T.contiguous(), X, rows)
        for est, part in zip(estimators, parts, strict=True)
    ]


def _evaluates_alike(first: Any, other: Any) -> bool:
    return bool(
        (first.basis_ is other.basis_ or first.basis_ == other.basis_)
        and first.n_features_in_ == other.n_features_in_
        and first._input_names() == other._input_names()
        and first.device == other.device
        and getattr(first, "extrapolation", None) == getattr(other, "extrapolation", None)
    )


def _products_with(basis: Any, rows: Any, coef: torch.Tensor) -> torch.Tensor:
    """Values of the functions with these coefficients (K, r), shape (r, n)."""
    out = coef.new_empty(coef.shape[1], len(rows))
    local = isinstance(basis, LocalBasis)
    for block in row_blocks(len(rows), 8 * (64 if local else basis.n_terms)):
        part = rows[block].to(torch.float64)
        values = basis.local(part, 0) @ coef if local else basis(part) @ coef
        out[:, block] = values.T
    return out


def _fit_source(
    fits: list[ReplicaFit], source: Source, memory_budget: int
) -> Iterator[list[ReplicaFit]]:
    probe = copy(fits[0].estimator)
    before = set(vars(probe))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        X, y, _ = probe._training_rows(source.X, source.y, None, reset=True)
    state = {name: value for name, value in vars(probe).items() if name not in before}
    for fit in fits:
        fit.warnings.extend(caught)
    table = Table(source, X, y)
    sets, failed = _row_sets(fits, table)
    if failed:
        yield failed
    groups: list[Group] = []
    for row_set in sets:
        row_set.state = dict(state)
        if not _start(row_set, table, groups):
            yield row_set.fits
            continue
        for group in groups[:COMPARED]:
            if group.admits(row_set):
                break
        else:
            group = Group(table)
            groups.append(group)
        group.take(row_set)
    for group in groups:
        yield from group.fit(memory_budget)


def _row_sets(fits: Sequence[ReplicaFit], table: Table) -> tuple[list[RowSet], list[ReplicaFit]]:
    """Sets of rows with their fits, and the fits that failed."""
    sets: dict[tuple[Any, ...], list[tuple[np.ndarray, Any, RowSet]]] = {}
    order: list[RowSet] = []
    failed: list[ReplicaFit] = []
    for fit in fits:
        with fit.recording():
            fit.estimator._validate_params()
        if fit.error is None and len(fit.rows) == 0:
            table.fit_alone([fit])
        if fit.error is not None:
            failed.append(fit)
            continue
        rows, given = np.asarray(fit.rows), fit.sample_weight
        policy = getattr(fit.estimator, "extrapolation", None)
        key = (policy, len(rows), int(rows[0]), int(rows[-1]), int(rows.sum()))
        for known_rows, known_weight, row_set in sets.setdefault(key, []):
            same_rows = known_rows is rows or np.array_equal(known_rows, rows)
            if same_rows and _same_weight(known_weight, given):
                row_set.fits.append(fit)
                break
        else:
            made = _row_set(fit, rows, table)
            if made is None:
                failed.append(fit)
                continue
            made.fits.append(fit)
            sets[key].append((rows, given, made))
            order.append(made)
    return order, failed


def _same_weight(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or np.array_equal(np.asarray(one), np.asarray(other))


def _row_set(fit: ReplicaFit, rows: np.ndarray, table: Table) -> RowSet | None:
    """The rows of positive weight; None where the weights are refused."""
    if fit.sample_weight is None:
        return RowSet(rows, None)
    shape = torch.empty(len(rows), 0)
    with fit.recording():
        weight = fit.estimator._weight_tensor(fit.sample_weight, shape).numpy()
    if fit.error is not None:
        return None
    kept = weight > 0
    return RowSet(rows[kept], weight[kept])


def _start(row_set: RowSet, table: Table, groups: Sequence[Group]) -> bool:
    """Find the basis of a set of rows; where nothing can be shared, fit each."""
    first = row_set.fits[0]
    if not row_set.is_consistent():
        table.fit_alone(row_set.fits)
        return False
    if type(first.estimator)._make_basis in SAME_FOR_ALL_ROWS and groups:
        row_set.state = groups[0].sets[0].state
        return True
    estimator = row_set.adopted(first)
    X = table.X[:1]
    if type(estimator)._make_basis not in SAME_FOR_ALL_ROWS:
        X = table.inputs(row_set.rows)
    weight = row_set.weight
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            given = None if weight is None else torch.from_numpy(weight).to(X.device)
            estimator._start(X, given, streaming=False)
    except Exception:
        table.fit_alone(row_set.fits)
        return False
    for fit in row_set.fits:
        fit.warnings.extend(caught)
    del estimator._factor
    params = estimator.get_params(deep=False)
    row_set.state = {k: v for k, v in vars(estimator).items() if k not in params}
    return True
