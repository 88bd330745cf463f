"""What fits of one source have in common: its validated rows, and the sets of rows they take."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from torch import Tensor

from ...fusion import NotFusable, ReplicaFit, Source

__all__ = [
    "RowSet",
    "check_alone",
    "check_dense",
    "fit_alone",
    "row_groups",
    "rows_without_remark",
    "sound_fits",
    "validated_rows",
]


@dataclass(eq=False)
class RowSet:
    """Rows that several fits are made on.

    Attributes
    ----------
    rows : ndarray of int of shape (n,)
        Numbers of the rows of positive weight.
    weight : Tensor of shape (n,) or None
        Their weights.
    fits : list of ReplicaFit
        The fits.
    """

    rows: np.ndarray
    weight: Tensor | None
    fits: list[ReplicaFit]

    @classmethod
    def of(cls, estimator: Any, X: Tensor, fits: list[ReplicaFit]) -> RowSet:
        """The set of fits with the same rows and weights; raises what ``fit`` would raise."""
        rows = np.asarray(fits[0].rows)
        if rows.dtype.kind != "i" or len(rows) < max(estimator._min_rows, 1) or rows.min() < 0:
            raise ValueError("too few rows, or rows that are not counted from the first")
        weight = estimator._weight_tensor(fits[0].sample_weight, X[:1].expand(len(rows), -1))
        if weight is not None and not bool((weight > 0).all()):
            rows, weight = rows[(weight > 0).numpy()], weight[weight > 0]
        if len(rows) < estimator._min_rows:
            raise ValueError("too few rows of positive weight")
        return cls(rows, weight, fits)


def check_alone(estimator: Any) -> None:
    """Raise `NotFusable` where each fit reports on its own, or computes somewhere else."""
    if getattr(estimator, "verbose", 0):
        raise NotFusable(f"verbose={estimator.verbose!r} shows the progress of each fit")
    if getattr(estimator, "_skl_callbacks", None):
        raise NotFusable("callbacks listen to each fit")
    device = estimator.device
    if device != "auto" and torch.device(device).type != "cpu":
        raise NotFusable(f"device={device!r}: fits are made together on the processor only")


def sound_fits(fits: Sequence[ReplicaFit]) -> tuple[list[ReplicaFit], list[ReplicaFit]]:
    """Fits with valid parameters, and the others, which have noted their error."""
    for fit in fits:
        with fit.recording():
            fit.estimator._validate_params()
    return [f for f in fits if f.error is None], [f for f in fits if f.error is not None]


def validated_rows(
    estimator: Any, validate: Callable[[Any], Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """An estimator that has seen a source, what ``validate`` gave, and the attributes it left.

    Raises `NotFusable` for what each fit should speak of itself.
    """
    probe = clone(estimator)
    before = set(vars(probe))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = validate(probe)
        except Exception as error:
            raise NotFusable(f"the rows are not validated together: {error}") from error
    return probe, found, {name: vars(probe)[name] for name in set(vars(probe)) - before}


def check_dense(rows: Any) -> None:
    """Raise `NotFusable` for rows that are sparse or elsewhere."""
    if not isinstance(rows, Tensor):
        raise NotFusable("sparse rows are fitted one by one")
    if rows.device.type != "cpu":
        raise NotFusable(f"rows on {rows.device}: fits are made together on the processor only")


def row_groups(fits: Sequence[ReplicaFit]) -> list[list[ReplicaFit]]:
    """Fits with the same rows and weights together."""
    groups: dict[Any, list[ReplicaFit]] = {}
    for fit in fits:
        weight = None if fit.sample_weight is None else np.asarray(fit.sample_weight).tobytes()
        groups.setdefault((np.asarray(fit.rows).tobytes(), weight), []).append(fit)
    return list(groups.values())


def fit_alone(fit: ReplicaFit, source: Source) -> None:
    """Fit one on its own, where only ``fit`` knows what to say."""
    X, y = (_safe_indexing(part, fit.rows) for part in (source.X, source.y))
    options = {} if fit.sample_weight is None else {"sample_weight": fit.sample_weight}
    with fit.recording():
        fit.estimator.fit(X, y, **options)


def rows_without_remark(estimator: Any, X: Any) -> Tensor | None:
    """Rows of X for predictions; None if each estimator has something to say of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            rows = estimator._input_rows(X, reset=False)
        except Exception:
            return None
    return rows if isinstance(rows, Tensor) else None
