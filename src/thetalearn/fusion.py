"""How an estimator says that many fits of it can be made at once: the protocol of fused searches.

A search fits one estimator many times, with different parameters and on different rows. An
estimator of any package takes part by three methods.

``replica_parameters(self)``
    The names of the parameters in which fits made together may differ, such as penalties, rates
    and seeds. All others (shapes, activations, losses) open a new *bucket*. Raises `NotFusable`
    with the reason if the parameters as they stand allow no common fit.

``fit_replicas(cls, fits, sources, *, memory_budget)``
    A class method: fits the estimators of a bucket, each in place, to its rows of its source, and
    yields lists of those that are done. Each must end as ``fit`` on those rows alone would leave
    it. What goes wrong in one fit is noted there (`ReplicaFit.recording`). If the method itself
    raises, whatever it has not yielded is fitted one by one, and the report of the search says why.

``predict_replicas(cls, estimators, X, method)``
    Optional, a class method: what ``method`` of each of these fitted estimators returns for X, as
    a list in their order, at a lower price than one after the other; None if it knows no such way.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

__all__ = ["FusableEstimator", "NotFusable", "ReplicaFit", "Source", "caught_warnings"]


_FILTERS = threading.RLock()

#: Seconds to wait for other threads that keep warnings.
PATIENCE = 0.5


@contextmanager
def caught_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Keep the warnings of the block, one thread at a time: filters are those of the process.

    A thread that waits for one which waits for it goes on after a moment.

    Yields
    ------
    list of warnings.WarningMessage
        What was warned of.
    """
    alone = _FILTERS.acquire(timeout=PATIENCE)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        if alone:
            _FILTERS.release()


class NotFusable(Exception):
    """An estimator, with its present parameters, cannot be fitted together with others."""


@dataclass(frozen=True, eq=False)
class Source:
    """Data that fits take their rows from.

    Attributes
    ----------
    X, y : array-like of shape (n_samples, n_features) and (n_samples,) or (n_samples, n_targets)
        As a user would pass them to ``fit``: arrays, frames, sparse matrices.
    """

    X: Any
    y: Any


@dataclass(eq=False)
class ReplicaFit:
    """One of the fits that are made together.

    Attributes
    ----------
    estimator : object
        A clone with its parameters set, to be fitted in place.
    source : int
        Which of the sources.
    rows : ndarray of int of shape (n,)
        Numbers of its training rows, in the order in which ``fit`` would see them; not to be
        changed, as other fits have the same.
    sample_weight : ndarray of shape (n,) or None
        Weights of these rows, as passed to ``fit`` and not validated.
    error : Exception or None
        Why this fit failed.
    warnings : list of warnings.WarningMessage
        What this fit warned of.
    """

    estimator: Any
    source: int
    rows: np.ndarray
    sample_weight: np.ndarray | None = None
    error: Exception | None = None
    warnings: list[warnings.WarningMessage] = field(default_factory=list)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what goes wrong in the block as this fit's error, and keep its warnings."""
        with caught_warnings() as caught:
            try:
                yield
            except Exception as error:
                self.error = error
        self.warnings.extend(caught)


class FusableEstimator(Protocol):
    """The methods by which an estimator takes part in fused searches."""

    def replica_parameters(self) -> frozenset[str]:
        """Names of the parameters in which fits made together may differ."""

    @classmethod
    def fit_replicas(
        cls, fits: Sequence[ReplicaFit], sources: Sequence[Source], *, memory_budget: int
    ) -> Iterator[list[ReplicaFit]]:
        """Fit each in place, and yield lists of those that are done."""
