"""Which pieces of the rows to work through, so that many sets of rows share them.

Sums over a set of rows are sums over the pieces that it consists of. The training sets of K folds
consist of the K test folds, nested sets of their increments; random sets of most rows are all rows
without the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Plan", "plan_pieces"]


@dataclass(frozen=True)
class Plan:
    """Pieces of the rows, and the sets as combinations of them.

    Attributes
    ----------
    pieces : list of ndarray of int
        Row numbers of each piece.
    combine : ndarray of int of shape (n_sets, n_pieces)
        How often each piece counts in each set; -1 where it is taken away.
    """

    pieces: list[np.ndarray]
    combine: np.ndarray

    def cost(self, join: float) -> float:
        """Rows to be worked through, if joining a piece to a set costs as much as ``join`` rows."""
        return sum(map(len, self.pieces)) + join * np.count_nonzero(self.combine)


def plan_pieces(sets: Sequence[np.ndarray], n_rows: int, join: float, *, subtract: bool) -> Plan:
    """The cheapest plan for sets of row numbers.

    Parameters
    ----------
    sets : sequence of ndarray of int
        Row numbers of each set, in any order; a set that holds a row twice is a piece of its own.
    n_rows : int
        Number of rows that there are.
    join : float
        Cost of adding what is known of a piece to a set, in rows.
    subtract : bool
        Whether pieces may be taken away from the union of all sets.

    Returns
    -------
    Plan
        Of four kinds of plans the cheapest: every set is a piece; sets are cut where they overlap,
        all of them or runs of neighbours; each set is the union without the rows it lacks.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.solvers.shared_least_squares import plan_pieces
    >>> folds = [np.array([2, 3, 4, 5]), np.array([0, 1, 4, 5]), np.array([0, 1, 2, 3])]
    >>> plan = plan_pieces(folds, 6, 0.1, subtract=False)
    >>> plan.pieces
    [array([0, 1]), array([2, 3]), array([4, 5])]
    >>> plan.combine
    array([[0, 1, 1],
           [1, 0, 1],
           [1, 1, 0]])
    """
    own = Plan(list(sets), np.eye(len(sets), dtype=int))
    if len(sets) == 1:
        return own
    members = np.zeros((len(sets), n_rows), dtype=bool)
    for member, rows in zip(members, sets, strict=True):
        member[rows] = True
    if any(member.sum() < len(rows) for member, rows in zip(members, sets, strict=True)):
        return own
    plans = [own, _overlaps(members)]
    if subtract:
        plans.append(_complements(members))
    return min(plans, key=lambda plan: plan.cost(join))


def _overlaps(members: np.ndarray) -> Plan:
    """Runs of neighbouring sets, cut where they overlap, as long as that gives few pieces."""
    pieces: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    for start, labels in _runs(members):
        order = np.argsort(labels, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
            column = np.zeros(len(members), dtype=int)
            column[start.start : start.stop] = members[start, rows[0]]
            if column.any():
                pieces.append(rows)
                columns.append(column)
    return Plan(pieces, np.stack(columns, axis=1))


def _runs(members: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Runs of sets, with a number for each row that tells in which sets of the run it is."""
    start, labels = 0, np.zeros(members.shape[1], dtype=np.int64)
    for i, member in enumerate(members):
        finer = _renumbered(2 * labels + member)
        if finer.max() + 1 > 2 * (i - start + 1) + 2:
            yield slice(start, i), labels
            start, finer = i, _renumbered(member.astype(np.int64))
        labels = finer
    yield slice(start, len(members)), labels


def _renumbered(labels: np.ndarray) -> np.ndarray:
    """The same labels without gaps, in linear time: there are few of them."""
    present = np.bincount(labels) > 0
    numbers: np.ndarray = np.cumsum(present) - 1
    return numbers[labels]


def _complements(members: np.ndarray) -> Plan:
    """The union, and what each set lacks of it."""
    union = members.any(0)
    lacking = [np.flatnonzero(union & ~member) for member in members]
    kept = [i for i, rows in enumerate(lacking) if len(rows)]
    combine = np.zeros((len(members), 1 + len(kept)), dtype=int)
    combine[:, 0] = 1
    combine[kept, 1 + np.arange(len(kept))] = -1
    return Plan([np.flatnonzero(union), *(lacking[i] for i in kept)], combine)
