"""What may be given as an estimator: fitted ones, and functions of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import type_of_target

from ....rows import as_array
from ..model.model import model_of

__all__ = ["FunctionClassifier", "FunctionRegressor", "checked_estimator"]


class FunctionRegressor(RegressorMixin, BaseEstimator):
    """A function from rows to values, as a fitted regressor.

    Parameters
    ----------
    function : callable
        From rows (n, d) to values (n,) or (n, m).

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.functions import FunctionRegressor
    >>> FunctionRegressor(lambda X: X[:, 0]).predict(np.eye(2))
    array([1., 0.])
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def fit(self, X: Any, y: Any = None) -> FunctionRegressor:
        """Nothing is fitted."""
        return self

    def predict(self, X: Any) -> Any:
        """Values of the function."""
        return self.function(X)

    def __sklearn_is_fitted__(self) -> bool:
        return True


class FunctionClassifier(ClassifierMixin, BaseEstimator):
    """A function from rows to labels, as a fitted classifier.

    Parameters
    ----------
    function : callable
        From rows (n, d) to labels (n,).
    classes : array-like of shape (n_classes,)
        Labels that it may give.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.functions import FunctionClassifier
    >>> FunctionClassifier(lambda X: X[:, 0] > 0, [False, True]).predict(np.eye(2))
    array([ True, False])
    """

    def __init__(self, function: Callable[[Any], Any], classes: Any) -> None:
        self.function = function
        self.classes = classes

    @property
    def classes_(self) -> np.ndarray:
        """Labels that the function may give, sorted."""
        return np.unique(np.asarray(self.classes))

    def fit(self, X: Any, y: Any = None) -> FunctionClassifier:
        """Nothing is fitted."""
        return self

    def predict(self, X: Any) -> Any:
        """Labels that the function gives."""
        return self.function(X)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def checked_estimator(estimator: Any, X: Any, y: Any, scoring: Any) -> Any:
    """An estimator that scorers take, made of a function if it is one.

    Parameters
    ----------
    estimator : estimator or callable
        What is given.
    X : array-like of shape (n, d)
        Rows.
    y : array-like of shape (n,) or (n, m), or None
        Targets.
    scoring : str, callable, list, dict or None
        What is asked for.

    Returns
    -------
    estimator
        The same, if it is no function; else a `FunctionClassifier` where function and y give
        labels, or a `FunctionRegressor`.

    Raises
    ------
    ValueError
        If it is a class, is not fitted, predicts nothing though predictions are scored, or is a
        function without a scoring.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.functions import checked_estimator
    >>> checked_estimator(lambda X: X[:, 0], np.eye(2), [0.5, 1.5], "r2").predict(np.eye(2))
    array([1., 0.])
    """
    if isinstance(estimator, type) or _without_best(estimator):
        model_of(estimator, X)
    offered = any(hasattr(estimator, name) for name in ("fit", "predict", "score"))
    if offered or not callable(estimator):
        return estimator
    if scoring is None:
        raise ValueError(
            "estimator is a function, which has no score of its own: give scoring, for example "
            '"r2" or "accuracy"'
        )
    if y is None:
        return FunctionRegressor(estimator)
    targets = np.asarray(as_array(y))
    values = np.asarray(as_array(estimator(X)))
    labels = ("binary", "multiclass")
    if values.dtype.kind not in "f" and {type_of_target(targets), type_of_target(values)} <= set(
        labels
    ):
        return FunctionClassifier(estimator, [*targets.reshape(-1), *values.reshape(-1)])
    return FunctionRegressor(estimator)


def _without_best(estimator: Any) -> bool:
    """Whether it is a search that was not fitted again on all rows."""
    return hasattr(estimator, "refit") and not estimator.refit
