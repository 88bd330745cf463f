"""What functions of importance return."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student
from sklearn.utils import Bunch

__all__ = ["ValuesBunch", "check_dtype", "check_sampling", "interval", "row_weights"]

DTYPES = ("auto", "float32", "float64")


class ValuesBunch(Bunch):
    """A `Bunch` that gives its entry "values" as an attribute, as it does all others.

    Examples
    --------
    >>> from thetalearn.inspection.importance.sage.results import ValuesBunch
    >>> ValuesBunch(values=[1, 2], total=3).values
    [1, 2]
    """

    @property
    def values(self) -> Any:
        """The entry of this name; a dict has a method there."""
        return self["values"]


def interval(
    values: np.ndarray,
    standard_errors: np.ndarray,
    confidence_level: float,
    degrees: np.ndarray | int,
) -> np.ndarray:
    """Student's intervals.

    Parameters
    ----------
    values, standard_errors : ndarray of shape (P,)
        Estimates and their standard errors.
    confidence_level : float
        Probability that an interval covers, between 0 and 1.
    degrees : int or ndarray of shape (P,)
        Degrees of freedom.

    Returns
    -------
    ndarray of shape (P, 2)
        Lower and upper bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.sage.results import interval
    >>> interval(np.array([1.0]), np.array([0.1]), 0.95, 1000).round(2)
    array([[0.8, 1.2]])
    """
    half = student.ppf((1 + confidence_level) / 2, degrees) * standard_errors
    return np.stack([values - half, values + half], axis=1)


def row_weights(given: ArrayLike | None, n_rows: int, name: str) -> np.ndarray | None:
    """Weights of rows, checked.

    Parameters
    ----------
    given : array-like of shape (n_rows,) or None
        Weights.
    n_rows : int
        Number of rows.
    name : str
        Name of the parameter.

    Returns
    -------
    ndarray of shape (n_rows,) or None
        The weights in float64.

    Raises
    ------
    ValueError
        If there is not one for each row, if one is negative or not finite, or if all are zero.

    Examples
    --------
    >>> from thetalearn.inspection.importance.sage.results import row_weights
    >>> row_weights([1, 2], 2, "sample_weight")
    array([1., 2.])
    """
    if given is None:
        return None
    weight = np.asarray(given, dtype=np.float64)
    if weight.shape != (n_rows,) or not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError(
            f"{name} of shape {weight.shape} must hold a finite number of at least 0 for each of "
            f"the {n_rows} rows"
        )
    if not weight.sum() > 0:
        raise ValueError(f"{name} sums to zero: at least one row needs a weight above 0")
    return weight


def check_dtype(dtype: str) -> None:
    """Refuse a precision that is not known.

    Examples
    --------
    >>> from thetalearn.inspection.importance.sage.results import check_dtype
    >>> check_dtype("double")
    Traceback (most recent call last):
        ...
    ValueError: dtype='double' must be one of 'auto', 'float32', 'float64'
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {', '.join(map(repr, DTYPES))}")


def check_sampling(
    precision: float, max_evals: int, confidence_level: float, memory_budget: int
) -> None:
    """Refuse numbers out of range.

    Examples
    --------
    >>> from thetalearn.inspection.importance.sage.results import check_sampling
    >>> check_sampling(0.01, 1000, 95, 2**28)
    Traceback (most recent call last):
        ...
    ValueError: confidence_level=95 must lie between 0 and 1
    """
    if not 0 <= precision < np.inf:
        raise ValueError(f"precision={precision!r} must be a finite number of at least 0")
    if max_evals < 1:
        raise ValueError(f"max_evals={max_evals!r} must be at least 1")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r} must lie between 0 and 1")
    if memory_budget < 2**20:
        raise ValueError(f"memory_budget={memory_budget!r} must be at least a mebibyte, 2**20")
