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


def as_table(X: Any, name: str = "X") -> Any:
    """Rows as an ndarray or a data frame.

    Parameters
    ----------
    X : array-like, sparse matrix, torch.Tensor or data frame of shape (n_samples, n_features)
        Rows, with whatever columns. Data frames of pandas and polars stay what they are.
    name : str, default="X"
        What errors call it.

    Returns
    -------
    ndarray or data frame
        The same rows.

    Raises
    ------
    ValueError
        If X has not two dimensions, no row, is sparse with more than `DENSE_LIMIT` numbers, or is
        a lazy frame of polars.

    Examples
    --------
    >>> from thetalearn.inspection.importance.model.tables import as_table
    >>> as_table([[1.0, "a"], [2.0, "b"]])
    array([[1.0, 'a'],
           [2.0, 'b']], dtype=object)
    """
    if is_frame(X):
        table = X
    elif _is_lazy(X):
        raise ValueError(f"{name} is a lazy frame of polars: give {name}.collect()")
    elif isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        narrow = X.is_floating_point() and X.dtype != torch.float64
        table = (X.float() if narrow else X).numpy()
    elif sp.issparse(X):
        table = dense(X, name)
    else:
        table = np.asarray(X)
        if table.dtype.kind in "US" and not isinstance(X, np.ndarray):
            table = np.asarray(X, dtype=object)
    if table.ndim != 2 if isinstance(table, np.ndarray) else False:
        raise ValueError(
            f"{name} of shape {table.shape} must have two dimensions: reshape it to "
            "(n_samples, n_features)"
        )
    if len(table) == 0:
        raise ValueError(f"{name} has no row: give at least one row")
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
    return _is_polars(X) or (hasattr(X, "iloc") and hasattr(X, "columns"))


def _is_polars(X: Any) -> bool:
    """Whether X is an eager frame of polars, told without importing it."""
    eager = hasattr(X, "gather_every") and not hasattr(X, "collect")
    return eager and type(X).__module__.partition(".")[0] == "polars"


def _is_lazy(X: Any) -> bool:
    """Whether X is a lazy frame of polars, told without importing it."""
    return type(X).__module__.partition(".")[0] == "polars" and hasattr(X, "collect")


def copied(table: Any) -> Any:
    """Rows that may be written into."""
    return table.clone() if _is_polars(table) else table.copy()


def column_values(table: Any, j: int) -> np.ndarray:
    """The values of a column, missing numbers as NaN."""
    if isinstance(table, np.ndarray):
        values = table[:, j]
        numbers = as_numbers(values)
        return values if numbers is None else numbers
    column = table[:, j] if _is_polars(table) else table.iloc[:, j]
    if _is_polars(table):
        return np.asarray(column.to_numpy())
    if _is_nullable(column.dtype):
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(column.to_numpy())


def _is_nullable(dtype: Any) -> bool:
    """Whether this is a type of pandas for numbers or bools that may be missing."""
    import pandas

    if isinstance(dtype, pandas.BooleanDtype):
        return True
    extension = pandas.api.types.is_extension_array_dtype(dtype)
    return extension and str(dtype).startswith(("Int", "UInt", "Float"))


def as_numbers(matrix: np.ndarray | None) -> np.ndarray | None:
    """An array of objects that are all numbers or bools as float64; any other as it is."""
    if matrix is None or matrix.dtype != object:
        return matrix
    kinds = set(map(type, matrix.ravel().tolist()))
    numbers = (int, float, np.integer, np.floating, np.bool_)
    return matrix.astype(np.float64) if all(issubclass(k, numbers) for k in kinds) else matrix


def frame_of(matrix: np.ndarray, names: Sequence[Any]) -> Any:
    """An array as a data frame of pandas, without a copy of numbers."""
    import pandas

    frame = pandas.DataFrame(matrix, columns=list(names), copy=False)
    return frame.infer_objects() if matrix.dtype == object else frame


def in_order_of(X: Any, other: Any) -> Any:
    """Other rows with their columns in the order of X, if both are frames of the same columns."""
    if not (is_frame(X) and is_frame(other)):
        return other
    names, found = list(X.columns), list(other.columns)
    if names == found or len(set(names)) < len(names) or set(names) != set(found):
        return other
    return selected(other, [found.index(name) for name in names])


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
        if any(not (d.is_numeric() or str(d) == "Boolean") or d.is_decimal() for d in dtypes):
            return None
        if any(column.null_count() for column in table):
            return None
        kinds = [np.asarray(column.head(1).to_numpy()).dtype for column in table]
    else:
        nullable = [_is_nullable(d) for d in dtypes]
        if uniform and any(nullable):
            return None
        pairs = list(zip(dtypes, nullable, strict=True))
        if any(not n and (not isinstance(d, np.dtype) or d.kind not in "fiub") for d, n in pairs):
            return None
        if any(nullable):
            columns = [column_values(table, j) for j in range(table.shape[1])]
            return np.column_stack(columns).astype(np.float64)
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
    in_array = isinstance(table, np.ndarray)
    columns = [table[:, j] if in_array else column_values(table, j) for j in range(table.shape[1])]
    pairs = zip(like.columns, columns, like.dtypes, strict=True)
    if _is_polars(like):
        return type(like)([_polars_column(*each) for each in pairs])
    cast = {j: _pandas_column(*each) for j, each in enumerate(pairs)}
    return _pandas_frame(cast, like.columns, len(table))


def _pandas_column(name: Any, values: np.ndarray, dtype: Any) -> Any:
    """Values in a type of pandas, or in a wider one if it cannot hold the numbers."""
    import pandas

    numeric = pandas.api.types.is_numeric_dtype(dtype)
    plain = pandas.Series(values)
    if isinstance(dtype, pandas.CategoricalDtype):
        other = (plain.notna() & ~plain.isin(dtype.categories)).to_numpy()
        if other.any():
            raise ValueError(_not_held(name, plain[other].iloc[0], dtype))
    try:
        if numeric and values.dtype.kind in "US":
            plain = pandas.Series(values.astype(np.float64))
        cast = plain.astype(dtype)
        kept = np.asarray((cast.astype(object) == plain.astype(object)).fillna(False), dtype=bool)
        lost = ~(kept | (cast.isna() & plain.isna()).to_numpy())
    except (ValueError, TypeError):
        cast, lost = plain, np.ones(len(plain), dtype=bool)
    if not lost.any():
        return cast.array
    numbers = as_numbers(plain.to_numpy())
    if numeric and numbers is not None and numbers.dtype.kind in "fiub":
        return pandas.Series(numbers).array
    raise ValueError(_not_held(name, plain[lost].iloc[0], dtype))


def _polars_column(name: str, values: np.ndarray, dtype: Any) -> Any:
    """Values in a type of polars, or in a wider one if it cannot hold the numbers."""
    import polars

    numbers = as_numbers(values)
    numeric = dtype.is_numeric() or dtype == polars.Boolean
    if numeric and numbers is not None and numbers.dtype.kind in "fiub":
        plain = polars.Series(name, numbers)
        cast = plain.cast(dtype, strict=False)
        return cast if cast.cast(plain.dtype).eq_missing(plain).all() else plain
    try:
        return polars.Series(name, values.tolist(), dtype=dtype)
    except (TypeError, ValueError, polars.exceptions.PolarsError):
        raise ValueError(_not_held(name, values[0], dtype)) from None


def _not_held(name: Any, value: Any, dtype: Any) -> str:
    return (
        f"column {name!r} has the value {value!r}, which its type in the other rows, {dtype}, "
        "does not hold: give all rows as frames of the same types, or widen that type"
    )
