"""Scorers for searches over dynamic estimators: accuracy in decimal digits, larger is better."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["bellman_score", "euler_score", "max_bellman_score", "max_euler_score"]

#: Digits told at most, and told of errors that are not finite.
DIGITS = 16.0


def euler_score(estimator: Any, X: ArrayLike, y: object = None) -> float:
    r"""Minus the decimal logarithm of the mean mistake in consumption.

    Parameters
    ----------
    estimator : EulerApproximator
        A fitted estimator, of a model with a reward.
    X : array-like of shape (n_states, n_features)
        States.
    y : ignored
        Here for compatibility with searches.

    Returns
    -------
    float
        :math:`-\log_{10}` of the mean of ``|estimator.euler_errors(X, unit="consumption")|``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from thetalearn import EulerApproximator
    >>> from thetalearn.dynamics.models import make_growth
    >>> from thetalearn.dynamics.scorers import euler_score
    >>> growth = EulerApproximator(make_growth(), random_state=0)
    >>> states = np.random.RandomState(0).uniform(0.9, 1.1, size=(100, 2))
    >>> search = GridSearchCV(growth, {"degree": [2, 4]}, scoring=euler_score, cv=2)
    >>> search.fit(states).best_params_
    {'degree': 4}
    """
    return _digits(np.abs(estimator.euler_errors(X, unit="consumption")), np.mean)


def max_euler_score(estimator: Any, X: ArrayLike, y: object = None) -> float:
    """Minus the decimal logarithm of the largest mistake in consumption; see `euler_score`."""
    return _digits(np.abs(estimator.euler_errors(X, unit="consumption")), np.max)


def bellman_score(estimator: Any, X: ArrayLike, y: object = None) -> float:
    r"""Minus the decimal logarithm of the mean error of the Bellman equation.

    Parameters
    ----------
    estimator : BellmanApproximator
        A fitted estimator.
    X : array-like of shape (n_states, n_features)
        States.
    y : ignored
        Here for compatibility with searches.

    Returns
    -------
    float
        :math:`-\log_{10}` of the mean of ``|estimator.bellman_errors(X)|``.

    Examples
    --------
    >>> from thetalearn import BellmanApproximator
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> from thetalearn.dynamics.scorers import bellman_score
    >>> model = BellmanApproximator(make_brock_mirman(), degree=3, random_state=0).fit()
    >>> bellman_score(model, model.nodes_) > 9
    True
    """
    return _digits(np.abs(estimator.bellman_errors(X)), np.mean)


def max_bellman_score(estimator: Any, X: ArrayLike, y: object = None) -> float:
    """Minus the decimal logarithm of the largest error of the Bellman equation."""
    return _digits(np.abs(estimator.bellman_errors(X)), np.max)


def _digits(errors: np.ndarray, summary: Any) -> float:
    size = float(summary(np.where(np.isfinite(errors), errors, 10.0**DIGITS)))
    return float(np.clip(-np.log10(max(size, 10.0**-DIGITS)), -DIGITS, DIGITS))
