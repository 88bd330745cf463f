"""scikit-learn's functions of cross-validation, which make all fits together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import (
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)

from .fusing import fusing

__all__ = [
    "fused_cross_val_predict",
    "fused_cross_val_score",
    "fused_cross_validate",
    "fused_learning_curve",
    "fused_validation_curve",
]

Scoring = str | Callable[..., Any] | None
Scorings = Scoring | Sequence[str] | dict[str, Any]

TRAIN_SIZES = np.linspace(0.1, 1.0, 5)


def fused_cross_validate(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    scoring: Scorings = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: float | str = np.nan,
) -> dict[str, Any]:
    """Scores and times of the folds, with scikit-learn's ``cross_validate`` and all fits together.

    Parameters
    ----------
    estimator : estimator object
        What to fit. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    X : array-like of shape (n_samples, n_features)
        Data.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
        Targets.
    groups : array-like of shape (n_samples,), default=None
        Passed to the splitter.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by; None is the estimator's ``score``.
    cv : int, splitter or iterable, default=None
        How to split; None is 5 folds, stratified for classifiers.
    n_jobs : int or None, default=None
        Jobs for fits that cannot be made together.
    verbose : int, default=0
        Above 0 a progress bar is shown, and what scikit-learn prints is printed.
    params : dict, default=None
        Passed to ``fit``, such as ``sample_weight``.
    pre_dispatch : int or str, default="2*n_jobs"
        Jobs handed out at first, of those that cannot be made together.
    return_train_score : bool, default=False
        Whether to score the training rows too.
    return_estimator : bool, default=False
        Whether to return the fitted estimators.
    return_indices : bool, default=False
        Whether to return the rows of the folds.
    error_score : "raise" or float, default=nan
        Score where a fit fails.

    Returns
    -------
    dict
        Of scikit-learn's ``cross_validate``. The time of fits made together is shared equally
        between them.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from thetalearn import LinearRegressor, fused_cross_validate
    >>> X, y = load_diabetes(return_X_y=True)
    >>> metrics = ["r2", "neg_mean_absolute_error"]
    >>> result = fused_cross_validate(LinearRegressor(alpha=1e-5), X, y, scoring=metrics)
    >>> sorted(result)
    ['fit_time', 'score_time', 'test_neg_mean_absolute_error', 'test_r2']
    """
    with fusing(verbose=verbose):
        return cross_validate(
            estimator,
            X,
            y,
            groups=groups,
            scoring=scoring,
            cv=cv,
            n_jobs=n_jobs,
            verbose=verbose,
            params=params,
            pre_dispatch=pre_dispatch,
            return_train_score=return_train_score,
            return_estimator=return_estimator,
            return_indices=return_indices,
            error_score=error_score,
        )


def fused_cross_val_score(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    scoring: Scoring = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    error_score: float | str = np.nan,
) -> np.ndarray:
    """Scores of the folds, with scikit-learn's ``cross_val_score`` and all fits together.

    Parameters
    ----------
    estimator : estimator object
        What to fit. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    X : array-like of shape (n_samples, n_features)
        Data.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
        Targets.
    groups : array-like of shape (n_samples,), default=None
        Passed to the splitter.
    scoring : str or callable, default=None
        What to score by; None is the estimator's ``score``.
    cv : int, splitter or iterable, default=None
        How to split; None is 5 folds, stratified for classifiers.
    n_jobs : int or None, default=None
        Jobs for fits that cannot be made together.
    verbose : int, default=0
        Above 0 a progress bar is shown, and what scikit-learn prints is printed.
    params : dict, default=None
        Passed to ``fit``, such as ``sample_weight``.
    pre_dispatch : int or str, default="2*n_jobs"
        Jobs handed out at first, of those that cannot be made together.
    error_score : "raise" or float, default=nan
        Score where a fit fails.

    Returns
    -------
    ndarray of shape (n_splits,)
        Scores.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from thetalearn import LinearRegressor, fused_cross_val_score
    >>> X, y = load_diabetes(return_X_y=True)
    >>> fused_cross_val_score(LinearRegressor(alpha=1e-5), X, y).round(2)
    array([0.43, 0.52, 0.49, 0.43, 0.55])
    """
    with fusing(verbose=verbose):
        return cross_val_score(
            estimator,
            X,
            y,
            groups=groups,
            scoring=scoring,
            cv=cv,
            n_jobs=n_jobs,
            verbose=verbose,
            params=params,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
        )


def fused_cross_val_predict(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    method: str = "predict",
) -> np.ndarray:
    """Predictions of held-out rows, by ``cross_val_predict`` of scikit-learn, fits together.

    Parameters
    ----------
    estimator : estimator object
        What to fit. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    X : array-like of shape (n_samples, n_features)
        Data.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
        Targets.
    groups : array-like of shape (n_samples,), default=None
        Passed to the splitter.
    cv : int, splitter or iterable, default=None
        How to split; None is 5 folds, stratified for classifiers.
    n_jobs : int or None, default=None
        Jobs for fits that cannot be made together.
    verbose : int, default=0
        Above 0 a progress bar is shown, and what scikit-learn prints is printed.
    params : dict, default=None
        Passed to ``fit``, such as ``sample_weight``.
    pre_dispatch : int or str, default="2*n_jobs"
        Jobs handed out at first, of those that cannot be made together.
    method : {"predict", "predict_proba", "predict_log_proba", "decision_function"}, \
default="predict"
        What the estimator is asked for.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_outputs)
        What the estimator fitted without a row's fold says of the row.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from thetalearn import LinearRegressor, fused_cross_val_predict
    >>> X, y = load_diabetes(return_X_y=True)
    >>> fused_cross_val_predict(LinearRegressor(alpha=1e-5), X, y)[:3].round()
    array([206.,  64., 176.])
    """
    with fusing(verbose=verbose):
        return cross_val_predict(
            estimator,
            X,
            y,
            groups=groups,
            cv=cv,
            n_jobs=n_jobs,
            verbose=verbose,
            params=params,
            pre_dispatch=pre_dispatch,
            method=method,
        )


def fused_learning_curve(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    train_sizes: ArrayLike = TRAIN_SIZES,
    cv: Any = None,
    scoring: Scoring = None,
    exploit_incremental_learning: bool = False,
    n_jobs: int | None = None,
    pre_dispatch: int | str = "all",
    verbose: int = 0,
    shuffle: bool = False,
    random_state: int | np.random.RandomState | None = None,
    error_score: float | str = np.nan,
    return_times: bool = False,
    params: dict[str, Any] | None = None,
) -> tuple[np.ndarray, ...]:
    """Scores by the number of training rows, by ``learning_curve`` of scikit-learn, fits together.

    Parameters
    ----------
    estimator : estimator object
        What to fit. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    X : array-like of shape (n_samples, n_features)
        Data.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    groups : array-like of shape (n_samples,), default=None
        Passed to the splitter.
    train_sizes : array-like of shape (n_ticks,), default=np.linspace(0.1, 1.0, 5)
        Numbers of training rows, or shares of the largest number.
    cv : int, splitter or iterable, default=None
        How to split; None is 5 folds, stratified for classifiers.
    scoring : str or callable, default=None
        What to score by; None is the estimator's ``score``.
    exploit_incremental_learning : bool, default=False
        Whether to go on by ``partial_fit`` from one size to the next; nothing is fused then.
    n_jobs : int or None, default=None
        Jobs for fits that cannot be made together.
    pre_dispatch : int or str, default="all"
        Jobs handed out at first, of those that cannot be made together.
    verbose : int, default=0
        Above 0 a progress bar is shown, and what scikit-learn prints is printed.
    shuffle : bool, default=False
        Whether to shuffle the rows before the first ones are taken.
    random_state : int, RandomState instance or None, default=None
        Shuffles.
    error_score : "raise" or float, default=nan
        Score where a fit fails.
    return_times : bool, default=False
        Whether to return the times too.
    params : dict, default=None
        Passed to ``fit``, such as ``sample_weight``.

    Returns
    -------
    train_sizes_abs : ndarray of shape (n_ticks,)
        Numbers of training rows.
    train_scores, test_scores : ndarray of shape (n_ticks, n_splits)
        Scores of training rows and of held-out rows.
    fit_times, score_times : ndarray of shape (n_ticks, n_splits)
        Seconds, if ``return_times``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from thetalearn import LinearRegressor, fused_learning_curve
    >>> X, y = load_diabetes(return_X_y=True)
    >>> sizes, train, test = fused_learning_curve(LinearRegressor(alpha=1e-5), X, y)
    >>> sizes
    array([ 35, 114, 194, 273, 353])
    """
    with fusing(verbose=verbose):
        return learning_curve(
            estimator,
            X,
            y,
            groups=groups,
            train_sizes=train_sizes,
            cv=cv,
            scoring=scoring,
            exploit_incremental_learning=exploit_incremental_learning,
            n_jobs=n_jobs,
            pre_dispatch=pre_dispatch,
            verbose=verbose,
            shuffle=shuffle,
            random_state=random_state,
            error_score=error_score,
            return_times=return_times,
            params=params,
        )


def fused_validation_curve(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    param_name: str,
    param_range: Any,
    groups: ArrayLike | None = None,
    cv: Any = None,
    scoring: Scoring = None,
    n_jobs: int | None = None,
    pre_dispatch: int | str = "all",
    verbose: int = 0,
    error_score: float | str = np.nan,
    params: dict[str, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores by the values of a parameter, by ``validation_curve`` of scikit-learn, fits together.

    Parameters
    ----------
    estimator : estimator object
        What to fit. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    X : array-like of shape (n_samples, n_features)
        Data.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    param_name : str
        Name of the parameter.
    param_range : array-like of shape (n_values,)
        Its values.
    groups : array-like of shape (n_samples,), default=None
        Passed to the splitter.
    cv : int, splitter or iterable, default=None
        How to split; None is 5 folds, stratified for classifiers.
    scoring : str or callable, default=None
        What to score by; None is the estimator's ``score``.
    n_jobs : int or None, default=None
        Jobs for fits that cannot be made together.
    pre_dispatch : int or str, default="all"
        Jobs handed out at first, of those that cannot be made together.
    verbose : int, default=0
        Above 0 a progress bar is shown, and what scikit-learn prints is printed.
    error_score : "raise" or float, default=nan
        Score where a fit fails.
    params : dict, default=None
        Passed to ``fit``, such as ``sample_weight``.

    Returns
    -------
    train_scores, test_scores : ndarray of shape (n_values, n_splits)
        Scores of training rows and of held-out rows.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from thetalearn import LinearRegressor, fused_validation_curve
    >>> X, y = load_diabetes(return_X_y=True)
    >>> train, test = fused_validation_curve(
    ...     LinearRegressor(), X, y, param_name="alpha", param_range=[1e-5, 1e-3, 1e-1])
    >>> test.mean(axis=1).round(2)
    array([0.48, 0.46, 0.03])
    """
    with fusing(verbose=verbose):
        return validation_curve(
            estimator,
            X,
            y,
            param_name=param_name,
            param_range=param_range,
            groups=groups,
            cv=cv,
            scoring=scoring,
            n_jobs=n_jobs,
            pre_dispatch=pre_dispatch,
            verbose=verbose,
            error_score=error_score,
            params=params,
        )
