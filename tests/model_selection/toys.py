"""Estimators that write down what is done with them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from thetalearn import LinearRegressor
from thetalearn.fusion import NotFusable, ReplicaFit, Source

#: How often each thing happened; tests clear it.
SEEN: Counter[str] = Counter()


class ToyRidge(RegressorMixin, BaseEstimator):
    """A linear model whose many fits are a loop, and which fails where it is told to.

    ``fails`` is None, "alone" (this fit fails), "together" (no fit is made together), "halfway"
    (nor after the first), "refused" (it says so beforehand) or "silent" (half of the fits are never
    given back).
    """

    def __init__(self, alpha: float = 1.0, fails: str | None = None, shape: int = 0) -> None:
        self.alpha, self.fails, self.shape = alpha, fails, shape

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ToyRidge:
        SEEN["fit"] += 1
        return self._fit(X, y, sample_weight)

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> ToyRidge:
        if self.alpha > 100:
            warnings.warn("alpha is large", UserWarning, stacklevel=2)
        if self.fails == "alone":
            raise ArithmeticError("told to fail")
        self.model_ = LinearRegressor(alpha=self.alpha).fit(X, y, sample_weight)
        self.n_seen_ = len(y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        SEEN["predict"] += 1
        check_is_fitted(self)
        return self.model_.predict(X)

    def replica_parameters(self) -> frozenset[str]:
        if self.fails == "refused":
            raise NotFusable("it does not want to")
        return frozenset({"alpha", "fails"})

    @classmethod
    def fit_replicas(
        cls, fits: Sequence[ReplicaFit], sources: Sequence[Source], *, memory_budget: int
    ) -> Iterator[list[ReplicaFit]]:
        SEEN["fit_replicas"] += 1
        SEEN["sources"] += len(sources)
        for k, fit in enumerate(fits):
            fails = fit.estimator.fails
            if fails == "together" or (fails == "halfway" and k == 1):
                raise MemoryError("no room for all")
            if fails == "silent" and k == len(fits) // 2:
                return
            source = sources[fit.source]
            fit.warnings.clear()
            with fit.recording():
                X, y = (_safe_indexing(part, fit.rows) for part in (source.X, source.y))
                fit.estimator._fit(X, y, fit.sample_weight)
            if fails is not None:
                yield [fit]
        yield [fit for fit in fits if fit.estimator.fails is None]

    @classmethod
    def predict_replicas(cls, estimators: Sequence[Any], X: Any, method: str) -> list[Any]:
        SEEN["predict_replicas"] += 1
        return [estimator.model_.predict(X) for estimator in estimators]


class Doubling(ToyRidge):
    """Replaces prediction, of which the inherited ``predict_replicas`` does not know."""

    __module__ = "elsewhere.models"

    def predict(self, X: Any) -> np.ndarray:
        return 2 * super().predict(X)


class OfTheSquareRoot(ToyRidge):
    """Replaces fit, of which the inherited ``fit_replicas`` does not know."""

    __module__ = "elsewhere.models"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ToyRidge:
        return super().fit(X, np.sqrt(np.abs(y)), sample_weight)


class Shift(TransformerMixin, BaseEstimator):
    """Adds a number, and counts its fits; negative numbers are an error, large ones a warning."""

    def __init__(self, by: float = 0.0, random_state: Any = None) -> None:
        self.by, self.random_state = by, random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Shift:
        SEEN["Shift.fit"] += 1
        SEEN["Shift.weights"] += sample_weight is not None
        if self.by < 0:
            raise ArithmeticError("backwards")
        if self.by > 100:
            warnings.warn("far away", UserWarning, stacklevel=2)
        random = np.random.RandomState(0) if self.random_state is None else self.random_state
        self.by_ = self.by + (random.uniform() if self.random_state is not None else 0.0)
        return self

    def transform(self, X: Any) -> np.ndarray:
        SEEN["Shift.transform"] += 1
        return np.asarray(X) + self.by_
