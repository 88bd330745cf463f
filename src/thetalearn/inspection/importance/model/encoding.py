"""Ways to see an estimator as a function of encoded rows, the cheapest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import issparse

from ....representations.forms import Form
from .foreign import foreign_form
from .notable import notable_rows
from .parts import Parts, parts_of
from .provenance import agree, column_owners, rounding_of
from .tables import DENSE_LIMIT, as_matrix, as_numbers, dense, is_frame, taken
from .targets import inverted

__all__ = ["Encoding", "encodings"]


@dataclass(frozen=True)
class Encoding:
    """Rows after the first steps of an estimator, and what the rest makes of them.

    Parameters
    ----------
    parts : Parts
        The estimator taken apart.
    n_steps : int
        Number of transformers that encode.
    method : str or None
        Method of the last part; None if it is a function.
    owners : list of ndarray of int
        For each input column, the encoded columns that it alone decides.
    numeric : bool
        Whether encoded rows are an array of float64 or float32; else they are the rows themselves.
    exact : bool
        Whether this is the estimator as it is, on rows as they are.
    constants : dict of int to float
        Encoded columns that no input column moved, and their values.
    """

    parts: Parts
    n_steps: int
    method: str | None
    owners: list[np.ndarray]
    numeric: bool
    exact: bool
    constants: dict[int, float] = field(default_factory=dict)

    def encode(self, table: Any) -> Any:
        """Encoded rows."""
        if not self.numeric:
            return table
        matrix = self._matrix(table)
        if not self._keeps_constants(matrix):
            raise ValueError(
                "X varies where the rows that the model was made with are all alike, so that it is "
                "not known what its transformed columns depend on: make the model with these rows "
                "too"
            )
        return matrix

    def covers(self, table: Any) -> bool:
        """Whether these rows show no more of the transformers than the first rows did."""
        return not self.constants or self._keeps_constants(self._matrix(table))

    def exchanges(self, table: Any, index: np.ndarray) -> bool:
        """Whether exchanging columns of these rows is exchanging the encoded columns they own."""
        if self.n_steps == 0 or not self.numeric:
            return True
        encoded = self._matrix(table)
        if not self._keeps_constants(encoded):
            return False
        owner = np.full(encoded.shape[1], -1)
        for j, own in enumerate(self.owners):
            owner[own] = j
        return agree(self._matrix, table, encoded, owner, index, rounding_of(encoded))

    def _matrix(self, table: Any) -> np.ndarray:
        """Rows after the first steps, as an array."""
        rows = self.parts.transform(table, self.n_steps)
        matrix = _floats(dense(rows, "the transformed X") if issparse(rows) else rows)
        if matrix is None:
            raise ValueError(
                "X has columns that are no numbers where those of the first X were numbers: give "
                "rows with the same types"
            )
        return matrix

    def _keeps_constants(self, matrix: np.ndarray) -> bool:
        """Whether the columns that no input column moved are what they were."""
        expected = np.array(list(self.constants.values()))
        found = matrix[:, list(self.constants)]
        rounding = rounding_of(np.asarray(expected, dtype=matrix.dtype)[None])
        with np.errstate(invalid="ignore"):
            close = np.abs(found - expected) <= rounding
        alike = (found == expected) | (np.isnan(found) & np.isnan(expected))
        return bool((alike | close).all())

    def respond(self, encoded: Any) -> Any:
        """Values of the method for encoded rows."""
        return self.parts.respond(encoded, self.n_steps, self.method)

    def form(self) -> Form | None:
        """How the values are built from functions of single encoded columns, if that is known."""
        if not self.numeric or self.method is None or self.n_steps < len(self.parts.steps):
            return None
        last = self.parts.last
        own = getattr(last, "functional_form", None) if _describes(last, self.method) else None
        form = foreign_form(last, self.method) if own is None else own(self.method)
        for transformer in self.parts.inverses:
            form = None if form is None else inverted(form, transformer)
        return form


def encodings(estimator: Any, table: Any, method: str | None) -> Iterator[Encoding]:
    """Encodings to choose from: after as many steps as possible, as numbers, and as it is.

    Parameters
    ----------
    estimator : estimator or callable
        Fitted.
    table : ndarray or data frame of shape (n, D)
        Its input.
    method : str or None
        Method to explain; None for a function.

    Yields
    ------
    Encoding
        The last one is the estimator as it is, on rows as they are.
    """
    every = [np.array([j]) for j in range(table.shape[1])]
    if method is not None:
        parts = parts_of(estimator, method)
        for n_steps in range(len(parts.steps), 0, -1):
            if (found := _through(parts, n_steps, method, table)) is not None:
                yield found
        # Transformers may tell integers from floats; a predictor makes one matrix of them.
        plain = as_matrix(table, uniform=bool(parts.steps))
        if plain is not None and (_is_float(plain) or not parts.steps):
            same = parts.last is estimator and isinstance(table, np.ndarray) and _is_float(table)
            yield Encoding(parts, 0, method, every, numeric=True, exact=same)
    yield Encoding(Parts([], estimator, []), 0, method, every, numeric=False, exact=True)


def _through(parts: Parts, n_steps: int, method: str, table: Any) -> Encoding | None:
    """The encoding by the first steps, if every encoded column has one owner."""

    def transform(rows: Any) -> np.ndarray | None:
        values = parts.transform(rows, n_steps)
        if issparse(values):
            if len(table) * values.shape[1] > DENSE_LIMIT:
                return None
            values = dense(values)
        return _floats(values)

    first = transform(taken(table, np.arange(1)))
    if first is None or len(first) != 1:
        return None
    n_probed = min(len(table), max(DENSE_LIMIT // max(first.shape[1], 1), 1))
    some = table
    if n_probed < len(table):
        spread = np.linspace(0, len(table) - 1, n_probed).astype(int)
        some = taken(table, np.union1d(spread, notable_rows(table)))
    encoded = transform(some)
    if encoded is None or encoded.shape != (len(some), first.shape[1]):
        return None
    owner = column_owners(transform, some, encoded, np.random.RandomState(0))
    if owner is None:
        return None
    owners = [np.flatnonzero(owner == j) for j in range(table.shape[1])]
    constants = {int(k): float(encoded[0, k]) for k in np.flatnonzero(owner < 0)}
    return Encoding(parts, n_steps, method, owners, True, False, constants)


def _floats(table: Any) -> np.ndarray | None:
    """Rows as an array of float64 or float32; None if there are other columns than numbers."""
    matrix = as_numbers(as_matrix(table, uniform=False) if is_frame(table) else np.asarray(table))
    if matrix is None or matrix.ndim != 2 or matrix.dtype.kind not in "fiub":
        return None
    return matrix if _is_float(matrix) else matrix.astype(np.float64)


def _describes(estimator: Any, method: str) -> bool:
    """Whether ``functional_form`` is at least as derived as the method that it describes."""
    kinds = type(estimator).__mro__
    form = next((i for i, kind in enumerate(kinds) if "functional_form" in vars(kind)), 0)
    return not any(method in vars(kind) for kind in kinds[:form])


def _is_float(matrix: np.ndarray) -> bool:
    return matrix.dtype in (np.float64, np.float32)
