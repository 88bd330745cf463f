"""Rows in which a transformer may do what it does in few others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .tables import column_values

__all__ = ["notable_rows"]

#: Rows with a missing value that are taken for each column.
MISSING_ROWS = 3
#: Categories of a column of which a row is taken.
CATEGORIES = 50


def notable_rows(table: Any) -> np.ndarray:
    """Rows with missing values, with extremes of a column, and of each category.

    Parameters
    ----------
    table : ndarray or data frame of shape (n, D)
        Rows, with whatever columns.

    Returns
    -------
    ndarray of int
        Their positions, ascending: for each column up to 3 rows where it is missing, and those of
        its least and greatest number or, if it has no numbers, of its first 50 values.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.model.notable import notable_rows
    >>> notable_rows(np.array([[1.0], [2.0], [np.nan], [4.0], [3.0]])).tolist()
    [0, 2, 3]
    """
    found = [np.empty(0, dtype=np.int64), *_of_columns(table)]
    return np.unique(np.concatenate(found))


def _of_columns(table: Any) -> Iterator[np.ndarray]:
    for j in range(table.shape[1]):
        values = column_values(table, j)
        missing = values != values if values.dtype.kind == "f" else _is_missing(values)
        gaps, known = np.flatnonzero(missing), np.flatnonzero(~missing)
        yield gaps[np.linspace(0, len(gaps) - 1, MISSING_ROWS).astype(int)] if len(gaps) else gaps
        if values.dtype.kind in "fiub" and len(known):
            yield known[[values[known].argmin(), values[known].argmax()]]
        else:
            yield known[_first_of_each(values[known])]


def _is_missing(values: np.ndarray) -> np.ndarray:
    """Where an array of any type has no value."""
    import pandas

    return np.asarray(pandas.isna(values))


def _first_of_each(values: np.ndarray) -> np.ndarray:
    """Positions of the first of each value, of up to 50 values."""
    import pandas

    try:
        codes = pandas.factorize(values)[0]
    except TypeError:  # values that cannot be hashed, such as lists
        codes = pandas.factorize(np.array([repr(value) for value in values], dtype=object))[0]
    return np.unique(codes, return_index=True)[1][:CATEGORIES]
