"""Rows among which a column may be shuffled without leaving the joint distribution by much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from ..model.tables import is_frame

__all__ = ["columns_as_numbers", "strata_of"]

#: Largest number that a tree takes.
LARGEST = float(np.finfo(np.float32).max)


def strata_of(
    columns: Sequence[np.ndarray], own: np.ndarray, *, min_stratum: int = 30, random_state: int = 0
) -> np.ndarray:
    r"""Strata in which some columns depend little on the others.

    A regression tree predicts the columns ``own`` from all others; its leaves are the strata. As
    far as the tree sees, the others tell nothing more about these columns within a leaf, and a
    shuffle within leaves draws from their conditional distribution :math:`P(x_p \mid x_{-p})`.

    Parameters
    ----------
    columns : sequence of ndarray
        Columns as `columns_as_numbers` gives them.
    own : ndarray of int
        Columns that are shuffled together.
    min_stratum : int, default=30
        Smallest number of rows of a stratum.
    random_state : int, default=0
        Seed by which the tree chooses between splits that are equally good.

    Returns
    -------
    ndarray of int of shape (n,)
        Stratum of each row, from 0 on; one only, if there are no other columns, or fewer rows than
        two strata need.

    References
    ----------
    Molnar, König, Bischl, Casalicchio, *Model-agnostic Feature Importance and Effects with
    Dependent Features: A Conditional Subgroup Approach*, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.strata import strata_of
    >>> x = np.linspace(0, 1, 8)
    >>> strata_of([x[:, None], x[:, None] > 0.5], np.array([0]), min_stratum=4)
    array([0, 0, 0, 0, 1, 1, 1, 1])
    """
    n_rows = len(columns[0])
    chosen = set(own.tolist())
    others = [column for j, column in enumerate(columns) if j not in chosen]
    if not others or n_rows < 2 * min_stratum:
        return np.zeros(n_rows, dtype=np.int64)
    target = np.concatenate([_standardised(columns[j]) for j in own], axis=1)
    inputs = np.concatenate(others, axis=1).astype(np.float64)
    inputs = np.clip(inputs, -LARGEST, LARGEST)
    tree = DecisionTreeRegressor(min_samples_leaf=min_stratum, random_state=random_state)
    leaves = tree.fit(inputs, target).apply(inputs)
    return np.unique(leaves, return_inverse=True)[1].astype(np.int64)


def columns_as_numbers(table: Any) -> list[np.ndarray]:
    """Every column as numbers (n, c): one-hot where it holds anything but numbers.

    Parameters
    ----------
    table : ndarray or data frame of shape (n, d)
        Rows.

    Returns
    -------
    list of ndarray
        d arrays of floats, NaN for missing values.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.strata import columns_as_numbers
    >>> columns_as_numbers(np.array([[1.0, "b"], [2.0, "a"]], dtype=object))[1]
    array([[0., 1.],
           [1., 0.]])
    """
    columns = []
    for j in range(table.shape[1]):
        if not is_frame(table):
            column = table[:, j]
        elif hasattr(table, "iloc"):
            column = table.iloc[:, j].to_numpy()
        else:
            column = table[:, j].to_numpy()
        columns.append(_as_numbers(np.asarray(column)))
    return columns


def _as_numbers(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind in "Mm":
        missing = np.isnat(column)
        numbers = column.astype(np.int64).astype(np.float64)
        return np.where(missing, np.nan, numbers)[:, None]
    try:
        return column.astype(np.float64)[:, None]
    except (TypeError, ValueError):
        codes = np.unique(column.astype(str), return_inverse=True)[1]
        return np.eye(codes.max() + 1)[codes]


def _standardised(column: np.ndarray) -> np.ndarray:
    """A column (n, c) of variance one, with another for what is missing."""
    missing = ~np.isfinite(column)
    if missing.any():
        found = np.where(missing, np.nan, column)
        middle = np.nan_to_num(np.nanmean(np.where(missing.all(0), 0.0, found), axis=0))
        column = np.where(missing, middle, column)
        column = np.concatenate([column, missing.any(1, keepdims=True)], axis=1)
    deviations = column - column.mean(0)
    scale = np.sqrt(np.square(deviations).mean(0).sum())
    return deviations / scale if scale > 0 else deviations
