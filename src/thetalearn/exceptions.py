"""Errors and warnings that thetalearn raises on its own account.

Every class derives from the one a scikit-learn user already filters on, so existing handlers keep
working.
"""

import sys
import warnings

from sklearn.exceptions import ConvergenceWarning as _SklearnConvergenceWarning

__all__ = [
    "ConvergenceWarning",
    "DivergenceError",
    "DomainError",
    "RankWarning",
    "SeparationWarning",
]


class ConvergenceWarning(_SklearnConvergenceWarning):
    """An iterative solver stopped before it met its tolerance."""


class SeparationWarning(ConvergenceWarning):
    """The classes can be separated, so the unpenalised likelihood has no maximum."""


class RankWarning(UserWarning):
    """The rows do not determine the coefficients; the minimum-norm solution was returned."""


class DivergenceError(ValueError):
    """Training ran off to infinity; the estimator keeps the last finite parameters."""


class DomainError(ValueError):
    """A value lies outside the domain on which a basis is defined."""


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller's own code that led here, so that it is shown once a line."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        ("thetalearn.", "sklearn.", "contextlib")
    ):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
