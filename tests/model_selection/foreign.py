"""scikit-learn's own estimators in fused searches: a fit of many is a loop of fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing

from thetalearn.fusion import ReplicaFit, Source
from thetalearn.model_selection import protocol


def replica_parameters(self: Any) -> frozenset[str]:
    return frozenset(self.get_params(deep=False))


def fit_replicas(
    cls: Any, fits: Sequence[ReplicaFit], sources: Sequence[Source], *, memory_budget: int
) -> Iterator[list[ReplicaFit]]:
    # Two at a time, so that scoring and fitting alternate.
    for start in range(0, len(fits), 2):
        pair = list(fits[start : start + 2])
        for fit in pair:
            source = sources[fit.source]
            X, y = _safe_indexing(source.X, fit.rows), _safe_indexing(source.y, fit.rows)
            weight = {} if fit.sample_weight is None else {"sample_weight": fit.sample_weight}
            with fit.recording():
                fit.estimator.fit(X, y, **weight)
        yield pair


def predict_replicas(cls: Any, estimators: Sequence[Any], X: Any, method: str) -> list[Any]:
    return [getattr(estimator, method)(X) for estimator in estimators]


PROTOCOL = {
    "replica_parameters": replica_parameters,
    "fit_replicas": classmethod(fit_replicas),
    "predict_replicas": classmethod(predict_replicas),
}


@contextmanager
def fusable_estimators(base: type = BaseEstimator) -> Iterator[None]:
    """Let all estimators of scikit-learn take part, within the block."""
    with (
        patch.object(base, "replica_parameters", PROTOCOL["replica_parameters"], create=True),
        patch.object(base, "fit_replicas", PROTOCOL["fit_replicas"], create=True),
        patch.object(base, "predict_replicas", PROTOCOL["predict_replicas"], create=True),
        # The loops above call whatever methods a subclass has.
        patch.object(protocol, "replaced", lambda *arguments: False),
    ):
        yield
