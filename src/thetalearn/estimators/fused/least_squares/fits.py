"""Least-squares regressors fitted together: one pass over the rows serves all penalties and folds.

Fits to the same rows share a factorisation, and sets of rows with a basis in common share sums over
the rows that they have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import torch

from ....fusion import NotFusable, ReplicaFit, Source, caught_warnings
from ....representations.bases import LocalBasis
from ....rows import row_blocks
from ....threads import one_thread
from ...blockwise import is_dask
from ...families import PolynomialFamily
from ...least_squares import LeastSquaresRegressor
from ...linear import LinearRegressor
from ..overrides import FIT_STEPS, INPUT_STEPS, check_steps, replaced_step
from ..row_sets import (
    RowSet,
    fit_alone,
    row_groups,
    rows_without_remark,
    sound_fits,
    validated_rows,
)
from .groups import BasisSet, Group, Table

__all__ = ["fit_replicas", "predict_replicas", "replica_parameters"]

#: Parameters in which fits made together may differ.
TOGETHER = frozenset({"alpha", "l1_ratio", "penalty_order", "tol", "max_iter", "extrapolation"})

#: Steps of a fit that are replaced here: an estimator with steps of its own is fitted alone.
STEPS = ("fit", "_training_rows", "_fit_rows", "_start", "_new_factor", "_absorb", "_solve")

#: Steps besides these that only the package itself may replace, in a fit and in predictions.
OWN_STEPS = (*FIT_STEPS, "_absorb_products", "_fit_blocks")
RESPONSE_STEPS = (*INPUT_STEPS, "predict", "_predict_rows", "_combine", "_check_extrapolation")

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
            raise NotFusable(f"{name} replaces {step}, which fits made together do not call")
    check_steps(type(estimator), OWN_STEPS)
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
        or replaced_step(type(first), RESPONSE_STEPS)
        or not all(_evaluates_alike(first, other) for other in estimators)
    ):
        return None
    rows = rows_without_remark(first, X, first._check_extrapolation)
    if rows is None:
        return None
    coef = [torch.from_numpy(est._coefficients()).to(rows.device) for est in estimators]
    with one_thread():  # blocks that fit the cache are too small to share
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
    sound, failed = sound_fits(fits)
    if failed:
        yield failed
    if not sound:
        return
    _, (X, y, _), attributes = validated_rows(
        sound[0].estimator,
        lambda probe: probe._training_rows(source.X, source.y, None, reset=True),
    )
    table = Table(source, X, y)
    groups: list[Group] = []
    for fits_of_rows in row_groups(sound, lambda one: getattr(one, "extrapolation", None)):
        row_set = _basis_set(fits_of_rows, attributes, table, groups)
        if row_set is None:
            yield fit_alone(fits_of_rows, source)
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


def _basis_set(
    fits: list[ReplicaFit], attributes: dict[str, Any], table: Table, groups: Sequence[Group]
) -> BasisSet | None:
    """The rows of fits and their basis; None where nothing can be shared."""
    first = fits[0].estimator
    try:
        rows = RowSet.of(first, fits)
    except ValueError:
        return None
    row_set = BasisSet(rows.rows, rows.weight, fits, dict(attributes))
    if not row_set.is_consistent():
        return None
    same_for_all = type(first)._make_basis in SAME_FOR_ALL_ROWS
    if same_for_all and groups:
        row_set.state = groups[0].sets[0].state
        return row_set
    estimator = row_set.adopted(fits[0])
    X = table.X[:1] if same_for_all else table.inputs(row_set.rows)
    weight = None if row_set.weight is None else row_set.weight.to(X.device)
    with caught_warnings() as caught:
        try:
            estimator._start(X, weight, streaming=False)
        except Exception:
            return None
    for fit in fits:
        fit.warnings.extend(caught)
    del estimator._factor
    params = estimator.get_params(deep=False)
    row_set.state = {k: v for k, v in vars(estimator).items() if k not in params}
    return row_set
