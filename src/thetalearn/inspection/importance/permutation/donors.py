"""Which row gives its columns to which: shuffles of all rows, of strata, and all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils.random import sample_without_replacement
from torch import Tensor

from ....randomness import random_numbers

__all__ = ["Pairs", "Shuffles", "all_pairs"]


@dataclass(frozen=True)
class Shuffles:
    """The rows that are shuffled, and their order in each repeat.

    Parameters
    ----------
    rows : ndarray of shape (n,) or None
        Rows of X that take part; None for all.
    composed : Tensor of shape (R, n)
        Permutations of these rows, one applied after the other.
    seed : int
        What they were drawn with.

    Examples
    --------
    >>> from thetalearn.inspection.importance.permutation.donors import Shuffles
    >>> Shuffles.draw(0, n_rows=4, n_repeats=2).composed
    tensor([[1, 3, 2, 0],
            [0, 1, 2, 3]])
    """

    rows: np.ndarray | None
    composed: Tensor
    seed: int

    @classmethod
    def draw(
        cls, random_state: Any, n_rows: int, n_repeats: int, max_samples: float = 1.0
    ) -> Shuffles:
        """Draw what scikit-learn's ``permutation_importance`` draws for every column.

        Parameters
        ----------
        random_state : int, RandomState instance or None
            Seed; None for another one at every call.
        n_rows : int
            Number of rows of X.
        n_repeats : int
            Number of shuffles R.
        max_samples : int or float, default=1.0
            Number of rows that take part, or their share.

        Returns
        -------
        Shuffles
            The shuffles, composed as scikit-learn does, where a shuffle is applied to the column
            that the last one left.

        Raises
        ------
        ValueError
            If ``max_samples`` is not in range.
        """
        n = _n_samples(max_samples, n_rows)
        # One more than the largest int32, as there: the seed is drawn from the same range.
        seed = int(random_numbers(random_state).randint(np.iinfo(np.int32).max + 1))
        rng = np.random.RandomState(seed)
        rows = sample_without_replacement(n_rows, n, random_state=rng) if n < n_rows else None
        order, last = np.arange(n), np.arange(n)
        composed = np.empty((n_repeats, n), dtype=np.int64)
        for repeat in range(n_repeats):
            rng.shuffle(order)
            composed[repeat] = last = last[order]
        return cls(rows, torch.from_numpy(composed), seed)

    @property
    def n_rows(self) -> int:
        """Number of rows that take part."""
        return self.composed.shape[1]

    def with_others(self, rows: np.ndarray, n_rows: int, rng: np.random.RandomState) -> np.ndarray:
        """Resampled rows of X, of which the baseline is: these, and as many others as there are.

        Parameters
        ----------
        rows : ndarray of int of shape (n,)
            Rows among those that take part, drawn with repetitions.
        n_rows : int
            Number of rows of X.
        rng : RandomState
            Where other rows are drawn from.

        Returns
        -------
        ndarray of int of shape (n_rows,)
            Rows of X.
        """
        if self.rows is None:
            return rows
        others = np.setdiff1d(np.arange(n_rows), self.rows)
        return np.concatenate([self.rows[rows], others[rng.randint(len(others), size=len(others))]])

    def within(self, strata: np.ndarray) -> Tensor:
        """Shuffles of the rows of each stratum among themselves.

        Parameters
        ----------
        strata : ndarray of int of shape (n,)
            The stratum of each row.

        Returns
        -------
        Tensor of shape (R, n)
            Row i takes the columns of row ``[r, i]`` in repeat r. With a single stratum this is
            ``composed``.
        """
        # A row's rank in a permutation is a number drawn for it without ties.
        rank = np.argsort(self.composed.numpy(), axis=1)
        places = np.argsort(strata, kind="stable")
        donors = np.empty_like(rank)
        for repeat, keys in enumerate(rank):
            donors[repeat, places] = np.lexsort((keys, strata))
        return torch.from_numpy(donors)


def _n_samples(max_samples: Any, n_rows: int) -> int:
    """Number of rows that take part."""
    if isinstance(max_samples, Integral) and not isinstance(max_samples, bool):
        n = int(max_samples)
        if not 1 <= n <= n_rows:
            raise ValueError(
                f"max_samples={max_samples} must be <= n_samples={n_rows}, and 1 at least"
            )
        return n
    if isinstance(max_samples, Real) and 0 < (share := float(max_samples)) <= 1:
        n = int(share * n_rows)
        if n == 0:
            raise ValueError(
                f"max_samples={max_samples} of {n_rows} rows is no row: give a larger share"
            )
        return n
    raise ValueError(
        f"max_samples={max_samples!r} must be a share in (0, 1] or a number of rows of X"
    )


@dataclass(frozen=True)
class Pairs:
    """Every row of a stratum as the donor of every row: in step k each has its k-th donor.

    Parameters
    ----------
    donors : Tensor of shape (K, n)
        Donor of each row in each step.
    weight : Tensor of shape (K, n)
        Share of the step in the mean over the donors of a row.
    likeness : Tensor of shape (n,)
        For each row a donor that is like it.
    """

    donors: Tensor
    weight: Tensor
    likeness: Tensor


def all_pairs(strata: np.ndarray, columns: np.ndarray | None = None) -> Pairs:
    """All pairs of receivers and donors, over which the mean of all shuffles is a mean.

    Parameters
    ----------
    strata : ndarray of int of shape (n,)
        The stratum of each row.
    columns : ndarray of shape (n, c), default=None
        What is exchanged. Rows that agree in it, all of one stratum, are one donor.

    Returns
    -------
    Pairs
        As many steps as the largest stratum has different donors.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.donors import all_pairs
    >>> pairs = all_pairs(np.array([0, 0, 1]))
    >>> pairs.donors
    tensor([[0, 0, 2],
            [1, 1, 2]])
    >>> pairs.weight
    tensor([[0.5000, 0.5000, 1.0000],
            [0.5000, 0.5000, 0.0000]], dtype=torch.float64)
    """
    names, strata = np.unique(strata, return_inverse=True)
    likeness = np.arange(len(strata))
    kinds: list[tuple[np.ndarray, np.ndarray]] = []
    for stratum in range(len(names)):
        members = np.flatnonzero(strata == stratum)
        donors, counts = members, np.ones(len(members), dtype=np.int64)
        if columns is not None:
            _, first, inverse, counts = np.unique(
                columns[members],
                axis=0,
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            donors = members[first]
            likeness[members] = donors[inverse.ravel()]
        kinds.append((donors, counts / len(members)))
    n_steps = max(len(donors) for donors, _ in kinds)
    steps = np.empty((n_steps, len(kinds)), dtype=np.int64)
    weight = np.zeros((n_steps, len(kinds)))
    for stratum, (donors, shares) in enumerate(kinds):
        steps[:, stratum] = np.resize(donors, n_steps)
        weight[: len(donors), stratum] = shares
    if len(kinds) > 1:
        steps, weight = steps[:, strata], weight[:, strata]
    # The same for all rows of a single stratum: no table of all pairs is needed.
    shape = n_steps, len(strata)
    return Pairs(
        torch.from_numpy(steps).expand(shape),
        torch.from_numpy(weight).expand(shape),
        torch.from_numpy(likeness),
    )
