r"""Through which input columns each encoded column moves.

Every input column j is given the number j + 1. For each binary digit, one probe exchanges, between
rows, the values of all columns whose number has that digit; an encoded column moves in just the
probes of its owner's digits, and so spells the owner's number. What was read off is then verified:
in every probe, and in rows that take each column from a row of its own, the transformed rows must
be the exchanged encoded columns. This also finds transformers that combine columns or look at other
rows. The idea of testing groups is Dorfman's (1943), "The detection of defective members of large
populations", Annals of Mathematical Statistics 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .notable import notable_rows
from .tables import mixed

__all__ = ["agree", "column_owners", "rounding_of"]

#: Rows with random values of each column on which the owners are verified.
VERIFIED_ROWS = 500
#: Encoded columns whose extreme rows take part in one round of probes.
COLUMNS_PER_ROUND = 400
#: Rows of a round besides the extreme ones.
ORDINARY_ROWS = 100


Transform = Callable[[Any], np.ndarray | None]


def column_owners(
    transform: Transform,
    table: Any,
    encoded: np.ndarray,
    random: np.random.RandomState,
) -> np.ndarray | None:
    """For each encoded column the one input column on which it depends.

    The number of calls is about the binary logarithm of the number of columns, for every 400
    encoded columns.

    Parameters
    ----------
    transform : callable
        From rows like ``table`` to arrays (n, K) of numbers; None where that is not possible.
    table : ndarray or data frame of shape (n, D)
        Rows to probe with.
    encoded : ndarray of shape (n, K)
        ``transform(table)``.
    random : numpy.random.RandomState
        Draws the rows of the verification.

    Returns
    -------
    ndarray of int of shape (K,) or None
        Positions of input columns; -1 for encoded columns that are constant. None if an encoded
        column depends on several columns or on other rows, as far as these rows show it.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.model.provenance import column_owners
    >>> X = np.random.RandomState(0).normal(size=(20, 2))
    >>> def squares(X):
    ...     return np.column_stack([X[:, 1], X**2])
    >>> column_owners(squares, X, squares(X), np.random.RandomState(0)).tolist()
    [1, 0, 1]
    >>> def product(X):
    ...     return X[:, :1] * X[:, 1:]
    >>> column_owners(product, X, product(X), np.random.RandomState(0)) is None
    True
    """
    rounding, notable = rounding_of(encoded), notable_rows(table)
    numbers = np.zeros(encoded.shape[1], dtype=np.int64)
    for rows in _rounds(encoded, notable, random):
        found = _probed(transform, table, encoded, rows, rounding)
        if found is None or ((numbers > 0) & (found > 0) & (numbers != found)).any():
            return None
        numbers = np.maximum(numbers, found)
    index = _verification_rows(encoded, notable, table.shape[1], random)
    return numbers - 1 if agree(transform, table, encoded, numbers - 1, index, rounding) else None


def agree(
    transform: Transform,
    table: Any,
    encoded: np.ndarray,
    owner: np.ndarray,
    index: np.ndarray,
    rounding: np.ndarray,
) -> bool:
    """Whether rows with exchanged columns have the exchanged encoded columns.

    Parameters
    ----------
    transform, table, encoded
        As in `column_owners`.
    owner : ndarray of int of shape (K,)
        The input column on which each encoded column depends; -1 for none.
    index : ndarray of int of shape (n, D)
        The row of ``table`` that each input column is taken from.
    rounding : ndarray of shape (K,)
        Differences that are no differences.

    Returns
    -------
    bool
        True if they are the same but for rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.model.provenance import agree, rounding_of
    >>> X, index = np.eye(2), np.array([[0, 1]])
    >>> agree(lambda X: X**2, X, X**2, np.arange(2), index, rounding_of(X))
    True
    """
    result = transform(mixed(table, index))
    return _same(result, _exchanged(encoded, index, owner + 1), rounding)


def _probed(
    transform: Transform,
    table: Any,
    encoded: np.ndarray,
    rows: np.ndarray,
    rounding: np.ndarray,
) -> np.ndarray | None:
    """For each encoded column the number of its owner, 0 if it does not vary in these rows."""
    n_columns = table.shape[1]
    found = np.zeros(encoded.shape[1], dtype=np.int64)
    probes = []
    for digit in range(n_columns.bit_length()):
        chosen = (np.arange(1, n_columns + 1) >> digit) & 1 == 1
        index = np.where(chosen, np.roll(rows, 1)[:, None], rows[:, None])
        result = transform(mixed(table, index))
        if result is None or result.shape != (len(rows), len(found)):
            return None
        found |= (~_close(result, encoded[rows], rounding).all(0)).astype(np.int64) << digit
        probes.append((result, index))
    if found.max(initial=0) > n_columns:
        return None
    agree = (_same(result, _exchanged(encoded, index, found), rounding) for result, index in probes)
    return found if all(agree) else None


def _rounds(
    encoded: np.ndarray, notable: np.ndarray, random: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Rows of each round: every encoded column that varies does so in one of them."""
    low, high = _extremes(encoded)
    ordinary = random.permutation(len(encoded))[:ORDINARY_ROWS]
    starts = range(0, max(len(low), 1), COLUMNS_PER_ROUND)
    for start, some in zip(starts, np.array_split(notable, len(starts)), strict=True):
        block = slice(start, start + COLUMNS_PER_ROUND)
        yield np.unique(np.concatenate([ordinary, some, low[block], high[block]]))


def _extremes(encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each encoded column a row of its least and of its greatest value; missing is less."""
    if encoded.size == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    filled = np.where(np.isnan(encoded), -np.inf, encoded)
    return filled.argmin(0), filled.argmax(0)


def _verification_rows(
    encoded: np.ndarray, notable: np.ndarray, n_columns: int, random: np.random.RandomState
) -> np.ndarray:
    """Rows to take each column from: of all rows, and of those that stand out."""
    anywhere = random.randint(len(encoded), size=(VERIFIED_ROWS // 2, n_columns))
    extreme = np.unique(np.concatenate([notable, *_extremes(encoded)]))
    if not extreme.size:
        return anywhere
    return np.concatenate([anywhere, random.choice(extreme, size=anywhere.shape)])


def _exchanged(encoded: np.ndarray, index: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Encoded rows whose columns come from the rows that their owners come from."""
    return np.take_along_axis(encoded, index[:, np.maximum(numbers - 1, 0)], axis=0)


def rounding_of(encoded: np.ndarray) -> np.ndarray:
    """What rounding may change in each encoded column.

    Parameters
    ----------
    encoded : ndarray of float of shape (n, K)
        Encoded rows.

    Returns
    -------
    ndarray of shape (K,)
        64 units of rounding of the largest value.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.model.provenance import rounding_of
    >>> rounding_of(np.array([[1.0, 0.0]])).tolist() == [2.0**-46, 0.0]
    True
    """
    size = np.abs(np.where(np.isfinite(encoded), encoded, 0.0)).max(0, initial=0.0)
    return 64 * np.finfo(encoded.dtype).eps * size


def _same(values: np.ndarray | None, expected: np.ndarray, rounding: np.ndarray) -> bool:
    """Whether all values agree but for rounding."""
    if values is None or values.shape != expected.shape:
        return False
    return bool(_close(values, expected, rounding).all())


def _close(values: np.ndarray, expected: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Which values agree but for rounding."""
    alike = (values == expected) | (np.isnan(values) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        return np.asarray(alike | (np.abs(values - expected) <= rounding))
