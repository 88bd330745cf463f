"""Scorers of scikit-learn that are shown stored predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.utils import get_tags

from ....rows import as_array
from .row_metrics import Metric, decided

__all__ = ["StoredMetric", "one_label"]


class StoredMetric(Metric):
    """A scorer of scikit-learn that is shown stored predictions in place of an estimator's.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator whose predictions are stored; a stand-in takes its classes and tags.
    scorer : callable
        A scorer made by ``sklearn.metrics.make_scorer``.
    response_method : {"predict", "predict_proba", "decision_function"}
        Where predictions come from: the method that the scorer calls; or "decision_function"
        where it calls "predict" and the class follows from decision values.
    y : array-like of shape (n,) or (n, m)
        Targets or labels.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows, handed to the scorer.
    calls : str, default=None
        The method that the scorer calls; None for `response_method`.
    at_zero : {0, 1}, default=0
        Class that the estimator predicts where a decision value is zero.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import LogisticClassifier
    >>> from thetalearn.inspection.importance.metrics.resolve import resolve_metrics
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
    >>> metrics, _ = resolve_metrics(LogisticClassifier().fit(X, y), "roc_auc", y)
    >>> metrics["score"].response_method
    'decision_function'
    >>> metrics["score"].scores(np.array([[1.0, 3.0, 2.0, 4.0]])[:, :, None])
    array([1.])
    """

    def __init__(
        self,
        estimator: Any,
        scorer: Callable[..., Any],
        response_method: str,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        calls: str | None = None,
        at_zero: int = 0,
    ) -> None:
        self.estimator = estimator
        self.scorer = scorer
        self.response_method = response_method
        self.y = y
        self.sample_weight = sample_weight
        self.calls = response_method if calls is None else calls
        self.at_zero = at_zero
        self._coded = is_classifier(estimator) and one_label(estimator, y)

    def scores(self, predictions: Any) -> np.ndarray:
        """Scores of several predictions of all rows.

        Parameters
        ----------
        predictions : ndarray or Tensor of shape (R, n, m)
            What `response_method` returns, R times; classes as codes.

        Returns
        -------
        ndarray of shape (R,)
            Scores, greater being better.
        """
        stand_in = _StandIn(self.estimator, self.calls)
        weight = {} if self.sample_weight is None else {"sample_weight": self.sample_weight}
        scores = []
        for each in np.asarray(as_array(predictions)):
            stand_in.output = self._output(each)
            # No row of X is read: the stand-in has its predictions.
            scores.append(self.scorer(stand_in, np.empty((len(each), 0)), self.y, **weight))
        return np.asarray(scores, dtype=np.float64)

    def take(self, rows: np.ndarray) -> StoredMetric:
        """The same score of other rows of the data set.

        Parameters
        ----------
        rows : ndarray of int of shape (n_rows,)
            Indices of rows, repetitions allowed.

        Returns
        -------
        StoredMetric
            The score of these rows.
        """
        weight = self.sample_weight
        return StoredMetric(
            self.estimator,
            self.scorer,
            self.response_method,
            np.asarray(as_array(self.y))[rows],
            None if weight is None else np.asarray(weight)[rows],
            calls=self.calls,
            at_zero=self.at_zero,
        )

    def _output(self, values: np.ndarray) -> np.ndarray:
        """What the estimator's method would return, from numbers (n, m)."""
        if self.calls == "predict" and self._coded:
            if self.response_method == "decision_function":
                values = decided(torch.as_tensor(values), self.at_zero).numpy()
            return np.asarray(self.estimator.classes_)[values[:, 0].astype(np.int64)]
        flat = values.shape[1] == 1 and (self.calls != "predict" or np.ndim(self.y) < 2)
        return values[:, 0] if flat else values


class _StandIn:
    """Looks to a scorer like a fitted estimator, and returns what it is given."""

    def __init__(self, estimator: Any, method: str) -> None:
        self.output: Any = None
        self._tags = get_tags(estimator)
        if hasattr(estimator, "classes_"):
            self.classes_ = estimator.classes_

        def recall(X: Any) -> Any:
            return self.output

        recall.__name__ = method
        setattr(self, method, recall)

    def fit(self, *args: Any) -> _StandIn:
        """Do nothing; scikit-learn knows an estimator by its ``fit``."""
        return self

    def __sklearn_tags__(self) -> Any:
        return self._tags

    def __sklearn_is_fitted__(self) -> bool:
        return True


def one_label(estimator: Any, y: Any) -> bool:
    """Whether a classifier predicts one class a row, as y has it."""
    classes, shape = getattr(estimator, "classes_", None), np.shape(as_array(y))
    if classes is None or isinstance(classes, list):
        return False
    return np.ndim(classes) == 1 and (len(shape) == 1 or shape[1] == 1)
