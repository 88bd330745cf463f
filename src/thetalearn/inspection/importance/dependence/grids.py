"""Grids of values for the columns of a table, and tables with columns replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats.mstats import mquantiles

from ..model.players import resolve_players

__all__ = ["Axis", "axes_of", "column_values", "replaced"]


@dataclass(frozen=True)
class Axis:
    """The grid of one column.

    Parameters
    ----------
    values : ndarray of shape (n_points,)
        Its points.
    deciles : ndarray of shape (9,) or None
        Deciles of the column; None if it is categorical.
    """

    values: np.ndarray
    deciles: np.ndarray | None


def axes_of(
    table: Any,
    names: Sequence[str],
    columns: np.ndarray,
    *,
    categorical: Any = None,
    percentiles: tuple[float, float] = (0.05, 0.95),
    resolution: int = 100,
    custom: Mapping[Any, ArrayLike] | None = None,
) -> list[Axis]:
    """Grids of columns, by scikit-learn's rules.

    Parameters
    ----------
    table : ndarray or data frame of shape (n, D)
        Rows.
    names : sequence of str
        Names of the columns.
    columns : ndarray of int
        Columns to make grids of.
    categorical : sequence of int, str or bool, default=None
        Columns whose grid has all their values. Those that are not numbers have such a grid anyhow.
    percentiles : tuple of float, default=(0.05, 0.95)
        Shares of the values below the ends of other grids.
    resolution : int, default=100
        Number of points, unless a column has fewer different values.
    custom : dict from int or str to array-like, default=None
        Grids that are given.

    Returns
    -------
    list of Axis
        One for each column.

    Raises
    ------
    ValueError
        If a parameter is out of range, if the grid of a column has no width, or if a column has
        values that cannot be sorted.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.dependence.grids import axes_of
    >>> x = np.linspace(0, 1, 101)[:, None]
    >>> axes_of(x, ["x"], np.array([0]), percentiles=(0, 1), resolution=3)[0].values
    array([0. , 0.5, 1. ])
    """
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 1:
        raise ValueError(f"percentiles={percentiles!r} must be two rising numbers in [0, 1]")
    if resolution < 2:
        raise ValueError(f"grid_resolution={resolution!r} must be at least 2")
    given = _given(names, columns, custom)
    chosen = _categorical(names, categorical)
    axes = []
    for j in columns.tolist():
        values = column_values(table, j)
        numbers = _numbers(values)
        deciles = None
        if numbers is not None and j not in chosen:
            deciles = np.asarray(mquantiles(numbers, prob=np.arange(0.1, 1.0, 0.1)))
        if j in given:
            axes.append(Axis(given[j], deciles))
            continue
        points = _different(values, names[j])
        if numbers is not None and j not in chosen and len(points) >= resolution:
            low, high = mquantiles(numbers, prob=percentiles)
            if np.allclose(low, high):
                raise ValueError(
                    f"percentiles={percentiles!r} of the column {names[j]!r} are {low} and {high}, "
                    "too close for a grid: choose wider ones, or custom_values"
                )
            points = np.linspace(low, high, num=resolution)
        axes.append(Axis(points, deciles))
    return axes


def column_values(table: Any, j: int) -> np.ndarray:
    """A column of a table as an array."""
    if hasattr(table, "iloc"):
        return np.asarray(table.iloc[:, j])
    return np.asarray(table[:, j])


def replaced(table: Any, columns: Mapping[int, np.ndarray]) -> Any:
    """A table with columns replaced, in types that hold the new values.

    Parameters
    ----------
    table : ndarray or data frame of shape (n, D)
        Rows.
    columns : dict from int to ndarray of shape (n,)
        New columns.

    Returns
    -------
    ndarray or data frame of shape (n, D)
        A copy.

    Raises
    ------
    ValueError
        If a column of categories does not know a value.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.dependence.grids import replaced
    >>> replaced(np.array([[1, 2], [3, 4]]), {1: np.array([0.5, 1.5])})
    array([[1. , 0.5],
           [3. , 1.5]])
    """
    if isinstance(table, np.ndarray):
        common = np.result_type(table, *(values.dtype for values in columns.values()))
        # Floats of single precision stay what they are: the estimator was fitted on such.
        keep = table.dtype.kind in "fO" and common.kind in "fiubO"
        rows = table.copy() if keep else table.astype(common)
        for j, values in columns.items():
            rows[:, j] = values
        return rows
    if hasattr(table, "iloc"):
        rows = table.copy()
        for j, values in columns.items():
            rows.isetitem(j, _like_pandas(values, table.iloc[:, j], table.columns[j]))
        return rows
    import polars

    new = []
    for j, values in columns.items():
        old = table.to_series(j)
        dtype = None if old.dtype.is_numeric() else old.dtype
        new.append(polars.Series(old.name, values.tolist(), dtype=dtype))
    return table.with_columns(new)


def _like_pandas(values: np.ndarray, old: Any, name: Any) -> Any:
    """Values in the type of a column of pandas, if that is not one of numbers."""
    import pandas

    if isinstance(old.dtype, np.dtype) and old.dtype.kind in "fiub":
        return values
    if isinstance(old.dtype, pandas.CategoricalDtype):
        known = set(old.dtype.categories)
        unknown = [value for value in values if not pandas.isna(value) and value not in known]
        if unknown:
            raise ValueError(
                f"custom_values of the column {name!r} hold {unknown[0]!r}, which is not among its "
                f"categories {list(old.dtype.categories)}"
            )
    return pandas.Series(values).astype(old.dtype).array


def _given(
    names: Sequence[str], columns: np.ndarray, custom: Mapping[Any, ArrayLike] | None
) -> dict[int, np.ndarray]:
    """Grids that are given, by position."""
    given = {}
    for feature, values in (custom or {}).items():
        j = _position(names, feature, "custom_values")
        if j not in columns:
            continue
        listed = values if isinstance(values, np.ndarray) else list(cast("Sequence[Any]", values))
        dtype = object if any(isinstance(value, str) for value in listed) else None
        axis = np.asarray(listed, dtype=dtype)
        if axis.ndim != 1 or not len(axis):
            raise ValueError(
                f"custom_values[{feature!r}] has the shape {axis.shape}: give a list of values"
            )
        given[j] = axis
    return given


def _categorical(names: Sequence[str], given: Any) -> set[int]:
    """Positions of the columns that are categorical by request."""
    if given is None:
        return set()
    listed = list(given)
    if not listed:
        raise ValueError("categorical_features is empty: leave it at None for no such features")
    if all(isinstance(each, bool | np.bool_) for each in listed):
        if len(listed) != len(names):
            raise ValueError(
                f"categorical_features has {len(listed)} bools for {len(names)} columns: give one "
                "for each"
            )
        return set(np.flatnonzero(listed).tolist())
    return {_position(names, each, "categorical_features") for each in listed}


def _position(names: Sequence[str], feature: Any, parameter: str) -> int:
    """Position of a column."""
    try:
        return int(resolve_players(names, [feature]).columns[0][0])
    except ValueError as error:
        raise ValueError(str(error).replace("features", parameter, 1)) from None


def _numbers(values: np.ndarray) -> np.ndarray | None:
    """The numbers of a column that are not missing; None if it has something else."""
    if values.dtype.kind not in "fiub":
        return None
    numbers = values.astype(np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return numbers if len(numbers) else None


def _different(values: np.ndarray, name: str) -> np.ndarray:
    """The different values of a column, sorted."""
    try:
        return np.unique(values)
    except TypeError:
        raise ValueError(
            f"the column {name!r} holds values of several types, such as strings and missing ones, "
            "which have no order: name the points of its grid by custom_values"
        ) from None
