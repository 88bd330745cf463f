"""Rows among which a column may be shuffled without leaving the joint distribution by much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.parallel import Parallel, delayed

from ....exceptions import warn_user
from ..model.tables import is_frame

__all__ = ["columns_as_numbers", "strata_of", "strata_of_players"]

#: Splits from the root to a stratum, so that a tree of many rows stays cheap.
MAX_DEPTH = 12

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
    tree = DecisionTreeRegressor(
        max_depth=MAX_DEPTH, min_samples_leaf=min_stratum, random_state=random_state
    )
    leaves = tree.fit(inputs, target).apply(inputs)
    return np.unique(leaves, return_inverse=True)[1].astype(np.int64)


def strata_of_players(
    table: Any,
    players: Sequence[np.ndarray],
    *,
    min_stratum: int = 30,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> list[np.ndarray]:
    """Strata of each player, with a warning if there are too few rows for two.

    Parameters
    ----------
    table : ndarray or data frame of shape (n, d)
        Rows.
    players : sequence of ndarray of int
        Columns that are shuffled together.
    min_stratum, random_state
        As in `strata_of`.
    n_jobs : int, default=None
        Number of threads, over which players are distributed.

    Returns
    -------
    list of ndarray of int of shape (n,)
        Strata of the rows, for each player.

    Warns
    -----
    UserWarning
        If there are fewer rows than two strata need.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.strata import strata_of_players
    >>> x = np.linspace(0, 1, 4)
    >>> table = np.column_stack([x, x > 0.5])
    >>> strata_of_players(table, [np.array([0])], min_stratum=2)
    [array([0, 0, 1, 1])]
    """
    if len(table) < 2 * min_stratum:
        warn_user(
            f"method='conditional' with min_stratum={min_stratum} needs {2 * min_stratum} rows for "
            f"two strata, but there are {len(table)}: the result is that of method='marginal'; "
            "give more rows, or a smaller min_stratum",
            UserWarning,
        )
    columns = columns_as_numbers(table)
    options = {"min_stratum": min_stratum, "random_state": random_state}
    jobs = (delayed(strata_of)(columns, own, **options) for own in players)
    return list(Parallel(n_jobs=n_jobs, prefer="threads")(jobs))


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
