"""Scikit-learn's scorers, evaluated on predictions that are known already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin, is_classifier, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, check_scoring, make_scorer, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import type_of_target

from ...._sklearn_compat import ScorerParts, is_score_method, named_scorers, scorer_parts
from ....base import ThetaClassifier, is_soft
from ....estimators.mlp import MLPClassifier
from ....estimators.perceptron import PerceptronClassifier
from ....rows import as_array
from .codes import codes_of
from .row_metrics import Metric, RowMetric, row_metric
from .stored_metrics import StoredMetric, one_label

__all__ = ["Metric", "RowMetric", "StoredMetric", "UserScorer", "encode", "resolve_metrics"]

#: The class at a decision value of zero, by the method that makes classes of decision values.
DECISIONS = {
    ThetaClassifier.predict: 0,
    MLPClassifier.predict: 0,
    PerceptronClassifier.predict: 1,
}


@dataclass(frozen=True)
class UserScorer:
    """A scorer that needs the estimator and X.

    Parameters
    ----------
    scorer : callable
        ``scorer(estimator, X, y)``, or with the keyword ``sample_weight``.
    takes_weight : bool, default=True
        Whether sample weights are handed on; of several scorers, those that know none get none.

    Examples
    --------
    >>> from thetalearn.inspection.importance.metrics.resolve import UserScorer
    >>> UserScorer(lambda model, X, y: -len(X))(None, [1, 2], [1, 2])
    -2
    """

    scorer: Callable[..., Any]
    takes_weight: bool = True

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Evaluate the scorer.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator.
        X : array-like or dataframe of shape (n, n_features)
            Rows.
        y : array-like
            Targets or labels.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        float or dict of str to float
            What the scorer returns.
        """
        if sample_weight is None or not self.takes_weight:
            return self.scorer(estimator, X, y)
        return self.scorer(estimator, X, y, sample_weight=sample_weight)


def resolve_metrics(
    estimator: Any, scoring: Any, y: Any, sample_weight: ArrayLike | None = None
) -> tuple[dict[str, Metric | UserScorer], bool]:
    """How each score of an estimator is computed.

    Parameters
    ----------
    estimator : estimator
        Fitted; also a pipeline or a search.
    scoring : str, callable, list, tuple, set, dict or None
        As in ``sklearn.metrics.check_scoring``; None for the estimator's ``score``.
    y : array-like of shape (n,) or (n, m)
        Targets or labels of the rows on which scores are computed.
    sample_weight : array-like of shape (n,), default=None
        Weights of these rows.

    Returns
    -------
    metrics : dict of str to RowMetric, StoredMetric or UserScorer
        By name; of a single score the name is "score". A `Metric` knows y and the weights and
        takes predictions, made numbers by `encode`; a `UserScorer` is called with the estimator,
        X, y and the weights.
    several : bool
        Whether `scoring` names several scores.

    Raises
    ------
    ValueError
        If `scoring` is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn.inspection.importance.metrics.resolve import resolve_metrics
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 2.0, 3.0])
    >>> metrics, several = resolve_metrics(LinearRegressor().fit(X, y), ["r2", "neg_max_error"], y)
    >>> [type(metric).__name__ for metric in metrics.values()], several
    (['RowMetric', 'StoredMetric'], True)
    """
    scorer = check_scoring(estimator, scoring=scoring)
    several = named_scorers(scorer)
    if several is None:
        return {"score": _resolve(estimator, scorer, y, sample_weight)}, False
    metrics = {}
    for name, each in several.items():
        weight = sample_weight if _takes_weight(each) else None
        metric = _resolve(estimator, each, y, weight)
        if isinstance(metric, UserScorer):
            metric = UserScorer(each, _takes_weight(each))
        metrics[name] = metric
    return metrics, True


def encode(estimator: Any, output: Any, response_method: str) -> np.ndarray:
    """What a method of an estimator returned, as numbers.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    output : array-like or Tensor of shape (n,) or (n, m)
        Values, decision values, probabilities, or classes.
    response_method : {"predict", "predict_proba", "decision_function"}
        The method that returned them.

    Returns
    -------
    ndarray of shape (n, m)
        Numbers; classes as their positions in ``classes_``.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from thetalearn.inspection.importance.metrics.resolve import encode
    >>> model = DummyClassifier().fit([[0], [1]], ["a", "b"])
    >>> encode(model, ["b", "a"], "predict").tolist()
    [[1], [0]]
    """
    values = np.asarray(as_array(output))
    column = values.ndim == 1 or values.shape[1] == 1
    if response_method == "predict" and column and _kind(estimator) == "classifier":
        values = codes_of(values, estimator.classes_)
    return values[:, None] if values.ndim == 1 else values


def _resolve(estimator: Any, scorer: Any, y: Any, sample_weight: Any) -> Metric | UserScorer:
    """How one score is computed."""
    user = UserScorer(scorer)
    if is_score_method(scorer):
        scorer = _score_of(estimator, y, sample_weight)
    parts = scorer_parts(scorer)
    if parts is None:
        return user
    method = next((name for name in parts.response_methods if hasattr(estimator, name)), None)
    kind = _kind(estimator)
    if method is None or kind is None:
        return user
    single = kind == "classifier" and one_label(estimator, y)
    at_zero = _at_zero(estimator) if single and method == "predict" else None
    source = method if at_zero is None else "decision_function"
    metric = _row_metric(estimator, parts, source, y, sample_weight, kind, at_zero or 0)
    if metric is not None:
        return metric
    # Probabilities of several labels a row come in several forms.
    if kind == "classifier" and not single and method != "predict":
        return user
    return StoredMetric(
        estimator, scorer, source, y, sample_weight, calls=method, at_zero=at_zero or 0
    )


def _row_metric(
    estimator: Any,
    parts: ScorerParts,
    source: str,
    y: Any,
    sample_weight: Any,
    kind: str,
    at_zero: int,
) -> RowMetric | None:
    """The score as a function of rows, if it is one."""
    if parts.kwargs:
        return None
    targets = np.asarray(as_array(y))
    n_classes = 0
    if kind == "classifier":
        if not one_label(estimator, y) or type_of_target(targets) not in ("binary", "multiclass"):
            return None
        if not _ranks(parts, estimator, targets):
            return None
        n_classes = len(estimator.classes_)
        targets = codes_of(targets.reshape(-1), estimator.classes_)
    elif source != "predict" or targets.dtype.kind not in "fiub" or targets.ndim > 2:
        return None
    return row_metric(
        parts.function,
        source,
        targets,
        None if sample_weight is None else np.asarray(as_array(sample_weight)),
        n_classes=n_classes,
        at_zero=at_zero,
        sign=parts.sign,
    )


def _ranks(parts: ScorerParts, estimator: Any, labels: np.ndarray) -> bool:
    """Whether a metric puts these labels into the order of the estimator's classes."""
    if parts.function is accuracy_score:
        return True
    classes = np.asarray(estimator.classes_)
    if not np.array_equal(classes, np.unique(classes)):
        return False
    # The positive one of two labels must be given if they are not numbers.
    known = len(classes) > 2 or labels.dtype.kind in "iufb"
    return known or "pos_label" not in signature(parts.function).parameters


def _score_of(estimator: Any, y: Any, sample_weight: Any) -> Any:
    """The scorer that the estimator's ``score`` amounts to, or None."""
    if isinstance(estimator, Pipeline):
        return _score_of(estimator.steps[-1][1], y, sample_weight)
    score = getattr(estimator, "score", None)
    function = getattr(score, "__func__", None)
    if function is RegressorMixin.score:
        return make_scorer(r2_score)
    own = function in (ThetaClassifier.score, MLPClassifier.score) and not is_soft(y)
    if own or function is ClassifierMixin.score:
        return make_scorer(accuracy_score)
    if function is GridSearchCV.score and sample_weight is None:
        scorer = estimator.scorer_
        if isinstance(scorer, dict):
            scorer = scorer.get(estimator.refit) if estimator.multimetric_ else None
        best = estimator.best_estimator_
        return _score_of(best, y, None) if is_score_method(scorer) else scorer
    return None


def _kind(estimator: Any) -> str | None:
    """What scikit-learn takes an estimator for; None if it has no tags."""
    try:
        if is_classifier(estimator):
            return "classifier"
        return "regressor" if is_regressor(estimator) else "other"
    except (AttributeError, TypeError):
        return None


def _at_zero(estimator: Any) -> int | None:
    """The class at a decision value of zero, where classes follow from decision values."""
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif getattr(type(estimator), "score", None) is GridSearchCV.score:
            estimator = estimator.best_estimator_
        else:
            break
    model = type(estimator)
    own = getattr(model, "decision_function", None) is ThetaClassifier.decision_function
    return DECISIONS.get(model.predict) if own else None


def _takes_weight(scorer: Any) -> bool:
    """Whether one of several scorers is given the weights."""
    known = getattr(scorer, "_accept_sample_weight", None)
    return known() if known is not None else "sample_weight" in signature(scorer).parameters
