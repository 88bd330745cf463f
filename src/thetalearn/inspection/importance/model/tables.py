"""Rows whose columns can be exchanged: arrays and data frames of pandas and polars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

__all__ = ["DENSE_LIMIT", "as_table", "mixed", "stacked", "taken"]

#: Numbers that a sparse matrix may have when it is made dense: half a gigabyte.
DENSE_LIMIT = 2**26

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


def as_table(X: Any) -> Any:
    """Rows as an ndarray or a data frame.

    Parameters
    ----------
    X : array-like, sparse matrix, torch.Tensor or data frame of shape (n_samples, n_features)
        Rows, with whatever columns. Data frames of pandas and polars stay what they are.

    Returns
    -------
    ndarray or data frame
        The same rows.

    Raises
    ------
    ValueError
        If X has not two dimensions, no row, or is sparse with more than `DENSE_LIMIT` numbers.

    Examples
    --------
    >>> from thetalearn.inspection.importance.model.tables import as_table
    >>> as_table([[1.0, "a"], [2.0, "b"]])
    array([[1.0, 'a'],
           [2.0, 'b']], dtype=object)
    """
    if is_frame(X):
        table = X
    elif isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        narrow = X.is_floating_point() and X.dtype != torch.float64
        table = (X.float() if narrow else X).numpy()
    elif sp.issparse(X):
        table = dense(X)
    else:
        table = np.asarray(X)
        if table.dtype.kind in "US" and not isinstance(X, np.ndarray):
            table = np.asarray(X, dtype=object)
    if table.ndim != 2 if isinstance(table, np.ndarray) else False:
        raise ValueError(
            f"X of shape {table.shape} must have two dimensions: reshape it to "
            "(n_samples, n_features)"
        )
    if len(table) == 0:
        raise ValueError("X has no row: give at least one row to explain")
    return table


def mixed(table: Any, index: np.ndarray) -> Any:
    """Rows that take every column from rows of their own.

    Parameters
    ----------
    table : ndarray or data frame of shape (N, c)
        Rows to take from.
    index : ndarray of int of shape (n, c)
        Column j of the result is column j of ``table`` at the rows ``index[:, j]``.

    Returns
    -------
    ndarray or data frame of shape (n, c)
        The same type as ``table``, with its dtypes, categories and names.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.model.tables import mixed
    >>> mixed(np.array([[1.0, 10.0], [2.0, 20.0]]), np.array([[0, 1], [1, 1]]))
    array([[ 1., 20.],
           [ 2., 20.]])
    """
    if isinstance(table, np.ndarray):
        return np.take_along_axis(table, index, axis=0)
    if _is_polars(table):
        return type(table)([column.gather(index[:, j]) for j, column in enumerate(table)])
    return _mixed_pandas(table, index)


def _mixed_pandas(table: Any, index: np.ndarray) -> Any:
    """`mixed` for pandas: columns of one NumPy type together, others one by one."""
    import pandas

    together: dict[Any, list[int]] = {}
    columns = {}
    for j, (_, column) in enumerate(table.items()):
        if isinstance(column.dtype, np.dtype):
            together.setdefault(column.dtype, []).append(j)
        else:
            columns[j] = column.array.take(index[:, j])
    parts = [_pandas_frame(columns, list(columns), len(index))]
    for own in together.values():
        block = np.take_along_axis(table.iloc[:, own].to_numpy(), index[:, own], axis=0)
        parts.append(pandas.DataFrame(block, columns=own, copy=False))
    frame = pandas.concat(parts, axis=1)[list(range(table.shape[1]))]
    frame.columns = table.columns
    return frame


def taken(table: Any, rows: np.ndarray) -> Any:
    """The given rows, in their order and as often as they are named.

    Parameters
    ----------
    table : ndarray, torch.Tensor or data frame of shape (N, c)
        Rows to take from.
    rows : ndarray of int of shape (n,)
        Their positions.

    Returns
    -------
    ndarray or data frame of shape (n, c)
        The same type as ``table``.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.model.tables import taken
    >>> taken(np.array([[1.0], [2.0]]), np.array([1, 1]))
    array([[2.],
           [2.]])
    """
    if isinstance(table, np.ndarray | torch.Tensor) or _is_polars(table):
        return table[rows]
    return table.iloc[rows].reset_index(drop=True)


def stacked(first: Any, second: Any) -> Any:
    """The rows of both, one after the other.

    Parameters
    ----------
    first, second : ndarray or data frame of shapes (n_1, c) and (n_2, c)
        Rows of the same type, with the same columns. Categories that differ are united.

    Returns
    -------
    ndarray or data frame of shape (n_1 + n_2, c)
        The same type.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.model.tables import stacked
    >>> stacked(np.zeros((1, 2)), np.ones((1, 2)))
    array([[0., 0.],
           [1., 1.]])
    """
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second])
    if _is_polars(first):
        import polars

        return polars.concat([first, second], how="vertical_relaxed")
    pairs = (
        (first.iloc[:, j].reset_index(drop=True), second.iloc[:, j]) for j in range(first.shape[1])
    )
    columns = {j: _joined(*pair) for j, pair in enumerate(pairs)}
    return _pandas_frame(columns, first.columns, len(first) + len(second))


def _joined(first: Any, second: Any) -> Any:
    """Two columns of pandas as one array."""
    import pandas

    if all(isinstance(part.dtype, pandas.CategoricalDtype) for part in (first, second)):
        return pandas.api.types.union_categoricals([first, second])
    return pandas.concat([first, second], ignore_index=True).array


def _pandas_frame(columns: dict[int, Any], names: Any, n_rows: int) -> Any:
    """A frame of columns, whose names may repeat."""
    import pandas

    frame = pandas.DataFrame(columns, index=range(n_rows), copy=False)
    frame.columns = names
    return frame


def is_frame(X: Any) -> bool:
    """Whether X is a data frame of pandas or polars."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or _is_polars(X))


def _is_polars(X: Any) -> bool:
    """Whether X is an eager frame of polars, told without importing it."""
    return type(X).__module__.partition(".")[0] == "polars" and hasattr(X, "gather_every")


def frame_of(matrix: np.ndarray, names: Sequence[Any]) -> Any:
    """An array as a data frame of pandas, without a copy of numbers."""
    import pandas

    frame = pandas.DataFrame(matrix, columns=list(names), copy=False)
    return frame.infer_objects() if matrix.dtype == object else frame


def selected(frame: Any, positions: Sequence[int]) -> Any:
    """Columns of a frame in the order of their positions."""
    if list(positions) == list(range(frame.shape[1])):
        return frame
    if _is_polars(frame):
        return frame[:, list(positions)]
    return frame.iloc[:, list(positions)]


def as_matrix(table: Any, *, uniform: bool) -> np.ndarray | None:
    """A table of numbers as an array in their common type; None if there are other columns.

    With ``uniform``, also None where the columns differ in type, which an array would hide.
    """
    if isinstance(table, np.ndarray):
        return table
    dtypes = list(table.dtypes)
    if _is_polars(table):
        if any(not d.is_numeric() or d.is_decimal() for d in dtypes) or any(
            column.null_count() for column in table
        ):
            return None
        kinds = [column.head(0).to_numpy().dtype for column in table]
    else:
        if any(not isinstance(d, np.dtype) or d.kind not in "fiub" for d in dtypes):
            return None
        kinds = dtypes
    if uniform and len(set(kinds)) > 1:
        return None
    common = np.result_type(*kinds)
    matrix = table.to_numpy() if _is_polars(table) else table.to_numpy(dtype=common)
    return np.asarray(matrix, dtype=common)


def as_objects(table: Any) -> np.ndarray:
    """A table as the array that its own library makes of it."""
    return np.asarray(table) if isinstance(table, np.ndarray) else np.asarray(table.to_numpy())


def dense(X: Any, name: str = "X") -> np.ndarray:
    """A sparse matrix as an array."""
    if X.shape[0] * X.shape[1] > DENSE_LIMIT:
        raise ValueError(
            f"{name} is sparse, of shape {X.shape}, and would take {DENSE_LIMIT:,} numbers or more "
            "as an array: give fewer rows, or fewer columns"
        )
    return np.asarray(X.toarray())


def same_type(table: Any, like: Any) -> Any:
    """Rows in the type of other rows with the same columns."""
    if isinstance(like, np.ndarray):
        if isinstance(table, np.ndarray):
            return table
        matrix = as_matrix(table, uniform=False)
        return as_objects(table) if matrix is None else matrix
    if is_frame(table) and _is_polars(table) == _is_polars(like):
        return table
    columns = (
        [table[:, j] for j in range(table.shape[1])]
        if isinstance(table, np.ndarray)
        else [table[name].to_numpy() for name in table.columns]
    )
    if _is_polars(like):
        pairs = zip(like.columns, columns, strict=True)
        return type(like)({name: c.tolist() for name, c in pairs}, schema=like.schema)
    frame = _pandas_frame(dict(enumerate(columns)), like.columns, len(table))
    return frame.astype(dict(zip(like.columns, like.dtypes, strict=True)))
