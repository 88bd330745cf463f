"""What fits of one source have in common: its validated rows, and the sets of rows they take."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from ..._sklearn_compat import safe_indexing
from ...fusion import NotFusable, ReplicaFit, Source, caught_warnings
from ...rows import Rows

__all__ = [
    "RowSet",
    "check_alone",
    "check_dense",
    "first_line",
    "fit_alone",
    "fits_by_source",
    "row_groups",
    "rows_without_remark",
    "sound_fits",
    "union_of",
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
    def of(cls, estimator: Any, fits: list[ReplicaFit]) -> Self:
        """The set of fits with the same rows and weights; raises what ``fit`` would raise."""
        rows = np.asarray(fits[0].rows)
        if rows.dtype.kind != "i" or len(rows) < max(estimator._min_rows, 1) or rows.min() < 0:
            raise ValueError("too few rows, or rows that are not counted from the first")
        weight = estimator._weight_tensor(fits[0].sample_weight, torch.empty(len(rows), 0))
        if weight is not None and not bool((weight > 0).all()):
            rows, weight = rows[(weight > 0).numpy()], weight[weight > 0]
        if len(rows) < estimator._min_rows:
            raise ValueError("too few rows of positive weight")
        return cls(rows, weight, fits)

    @property
    def weight_sum(self) -> float:
        """Sum of the weights."""
        return float(len(self.rows) if self.weight is None else self.weight.sum())


def union_of(sets: Iterable[RowSet], n_rows: int) -> np.ndarray:
    """Rows of n that are in any set."""
    seen = np.zeros(n_rows, dtype=bool)
    for rows in sets:
        seen[rows.rows] = True
    return np.flatnonzero(seen)


def check_alone(estimator: Any) -> None:
    """Raise `NotFusable` where each fit reports on its own, or computes somewhere else."""
    if getattr(estimator, "verbose", 0):
        raise NotFusable(f"verbose={estimator.verbose!r} shows the progress of each fit")
    if getattr(estimator, "_skl_callbacks", None):
        raise NotFusable("callbacks listen to each fit")
    device = estimator.device
    if device != "auto" and torch.device(device).type != "cpu":
        raise NotFusable(f"device={device!r}: fits are made together on the processor only")


def first_line(error: Exception | str) -> str:
    """What an exception says, as far as a report has room for it."""
    return str(error).partition("\n")[0]


def fits_by_source(
    fits: Sequence[ReplicaFit], sources: Sequence[Source]
) -> Iterator[tuple[Source, list[ReplicaFit], list[ReplicaFit]]]:
    """Each source with its fits: those with valid parameters, and the others."""
    for number, source in enumerate(sources):
        yield source, *sound_fits([fit for fit in fits if fit.source == number])


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
    with caught_warnings() as caught:
        try:
            found = validate(probe)
        except Exception as error:
            reason = first_line(error)
            raise NotFusable(f"the rows are not validated together: {reason}") from error
    if caught:
        reason = first_line(caught[0].message)
        raise NotFusable(f"the rows are not validated together: {reason}")
    return probe, found, {name: vars(probe)[name] for name in set(vars(probe)) - before}


def check_dense(rows: Any) -> None:
    """Raise `NotFusable` for rows that are sparse or elsewhere."""
    if not isinstance(rows, Tensor):
        raise NotFusable("sparse rows are fitted one by one")
    if rows.device.type != "cpu":
        raise NotFusable(f"rows on {rows.device}: fits are made together on the processor only")


def row_groups(
    fits: Sequence[ReplicaFit], apart: Callable[[Any], Hashable] = lambda estimator: None
) -> list[list[ReplicaFit]]:
    """Fits with the same rows and weights together, unless ``apart`` tells their estimators apart.

    Rows are compared where a few numbers that they have agree, which costs less than a hash.
    """
    groups: list[list[ReplicaFit]] = []
    alike: dict[Hashable, list[list[ReplicaFit]]] = {}
    for fit in fits:
        rows = np.asarray(fit.rows)
        summary = (len(rows), *(part.sum() for part in (rows[:1], rows[-1:], rows)))
        known = alike.setdefault((apart(fit.estimator), *summary), [])
        for group in known:
            if _equal(group[0].rows, rows) and _equal(group[0].sample_weight, fit.sample_weight):
                group.append(fit)
                break
        else:
            known.append([fit])
            groups.append(known[-1])
    return groups


def _equal(one: Any, other: Any) -> bool:
    """Whether arrays are the same, or there is none."""
    if one is other or one is None or other is None:
        return one is other
    return np.array_equal(np.asarray(one), np.asarray(other))


def fit_alone(fits: Iterable[ReplicaFit], source: Source) -> list[ReplicaFit]:
    """Fit each on its own, where nothing can be shared or only ``fit`` knows what to say.

    Not to be called where an exception is being handled: it would become part of the fit's own.
    """
    done = list(fits)
    for fit in done:
        X, y = (safe_indexing(part, fit.rows) for part in (source.X, source.y))
        options = {} if fit.sample_weight is None else {"sample_weight": fit.sample_weight}
        fit.warnings.clear()
        with fit.recording():
            fit.estimator.fit(X, y, **options)
    return done


def rows_without_remark(
    estimator: Any, X: Any, check: Callable[[Rows], None] = lambda rows: None
) -> Rows | None:
    """Rows of X for predictions; None if each estimator has something to say of them."""
    with caught_warnings() as caught:
        try:
            rows: Rows = estimator._input_rows(X, reset=False)
            check(rows)
        except Exception:
            return None
    return None if caught else rows
