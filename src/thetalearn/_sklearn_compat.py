"""Every difference between scikit-learn versions, and every private name that we lean on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

from sklearn.base import _fit_context as fit_context
from sklearn.metrics._scorer import _MultimetricScorer, _PassthroughScorer, _Scorer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._search_successive_halving import (
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
)
from sklearn.model_selection._validation import _fit_and_predict as fit_and_predict
from sklearn.model_selection._validation import _fit_and_score as fit_and_score
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    Hidden,
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
)
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_method_params,
    _check_n_features,
    _check_sample_weight,
    validate_data,
)

try:  # scikit-learn 1.9 introduced callbacks
    from sklearn.callback import CallbackSupportMixin

    HAS_CALLBACKS = True
except ImportError:
    HAS_CALLBACKS = False

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks."""


__all__ = [
    "HAS_CALLBACKS",
    "BaseSearchCV",
    "CallbackSupportMixin",
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "Hidden",
    "Interval",
    "InvalidParameterError",
    "IterationHooks",
    "Options",
    "ScorerParts",
    "StrOptions",
    "_check_feature_names_in",
    "_check_method_params",
    "_check_n_features",
    "_check_sample_weight",
    "fit_and_predict",
    "fit_and_score",
    "fit_context",
    "fit_hooks",
    "is_score_method",
    "named_scorers",
    "safe_indexing",
    "scorer_parts",
    "validate_data",
]

Attributes = Callable[[], dict[str, Any]]


class IterationHooks:
    """Tells scikit-learn's callbacks, where there are any, about the iterations of one fit."""

    def __init__(self, estimator: Any, context: Any, data: dict[str, Any]) -> None:
        self._estimator = estimator
        self._context = context
        self._data = data

    def iteration_ended(self, attributes: Attributes) -> bool:
        """Report one iteration; True asks the solver to stop."""
        if self._context is None or not getattr(self._estimator, "_skl_callbacks", None):
            return False
        task = self._context.subcontext(task_name="iteration")
        task.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return task.call_on_fit_task_end(
            estimator=self._estimator, **self._data, reconstruction_attributes=attributes
        )


@contextmanager
def fit_hooks(estimator: Any, X: Any, y: Any, sample_weight: Any, max_iter: int | None) -> Any:
    """Open scikit-learn's callback context around a fit of at most ``max_iter`` iterations."""
    if not HAS_CALLBACKS:
        yield IterationHooks(estimator, None, {})
        return
    data = {
        "X": X,
        "y": y,
        "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
    }
    context = estimator._init_callback_context(max_subtasks=max_iter)
    context.call_on_fit_task_begin(estimator=estimator, **data)
    yield IterationHooks(estimator, context, data)
    context.call_on_fit_task_end(estimator=estimator, **data, reconstruction_attributes=dict)


class ScorerParts(NamedTuple):
    """What `make_scorer` was given: a score is ``sign * function(y, predictions, **kwargs)``."""

    function: Callable[..., Any]
    sign: int
    kwargs: dict[str, Any]
    response_methods: tuple[str, ...]


def scorer_parts(scorer: Any) -> ScorerParts | None:
    """Parts of a scorer made by `make_scorer`; None for any other."""
    if type(scorer) is not _Scorer:
        return None
    methods = scorer._response_method
    methods = (methods,) if isinstance(methods, str) else tuple(methods)
    return ScorerParts(scorer._score_func, scorer._sign, dict(scorer._kwargs), methods)


def is_score_method(scorer: Any) -> bool:
    """Whether a scorer calls the estimator's own ``score``."""
    return isinstance(scorer, _PassthroughScorer)


def named_scorers(scorer: Any) -> dict[str, Any] | None:
    """The scorers of one that computes several scores; None for any other."""
    return dict(scorer._scorers) if isinstance(scorer, _MultimetricScorer) else None
