"""The rows of each minibatch, for K replicas that see the data in orders of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Batch", "Batches", "n_batches"]


@dataclass
class Batch:
    """Rows of one minibatch.

    Attributes
    ----------
    rows : Tensor of shape (K * b,)
        Numbers of the rows, those of each replica together.
    size : int
        b.
    totals : tuple of float
        For each replica the sum of the weights; b if all rows count alike.
    share : Tensor of shape (K, b) or None
        Weights that sum to one; None if all count alike.
    """

    rows: Tensor
    size: int
    totals: tuple[float, ...]
    share: Tensor | None


def n_batches(n_rows: int, batch_size: int) -> int:
    """Number of minibatches of an epoch."""
    return -(-n_rows // batch_size)


class Batches:
    """Draws the minibatches of every epoch.

    Parameters
    ----------
    rows : sequence of ndarray
        For each replica the numbers of its training rows. The numbers of minibatches must agree;
        where the last ones differ in size, the shorter are padded with rows of weight zero.
    weights : sequence of ndarray or None
        For each replica the weights of these rows; None if all count alike.
    batch_size : int
        Rows of a minibatch.
    order : {"shuffle", "replacement", "given"}
        Every row once an epoch, in random order; rows drawn uniformly with replacement; or every
        row once, in the order given.
    generators : sequence of RandomState
        Source of randomness of each replica.

    Attributes
    ----------
    orders : list of ndarray
        For each replica the order of its rows in the last epoch.
    """

    def __init__(
        self,
        rows: Sequence[np.ndarray],
        weights: Sequence[np.ndarray] | None,
        batch_size: int,
        order: str,
        generators: Sequence[np.random.RandomState],
    ) -> None:
        self.batch_size = batch_size
        self.steps = n_batches(len(rows[0]), batch_size)
        if any(n_batches(len(part), batch_size) != self.steps for part in rows):
            raise ValueError("the replicas of a bucket must have the same number of minibatches")
        self._rows, self._weights, self._order = list(rows), weights, order
        self._generators = list(generators)
        self.orders = [np.arange(len(part)) for part in rows]
        self._retired: set[int] = set()
        self._padded = max(map(len, rows)) > min(map(len, rows))

    @property
    def weighted(self) -> bool:
        """Whether rows count by weights."""
        return self._weights is not None or self._padded

    def keep(self, replicas: Sequence[int]) -> None:
        """Go on with some of the replicas."""
        self._rows = [self._rows[k] for k in replicas]
        self._generators = [self._generators[k] for k in replicas]
        self._retired = {new for new, k in enumerate(replicas) if k in self._retired}
        self.orders = [self.orders[k] for k in replicas]
        if self._weights is not None:
            self._weights = [self._weights[k] for k in replicas]

    def retire(self, k: int) -> None:
        """Draw nothing more for a replica that is done, while others go on."""
        self._retired.add(k)

    def _draw(self, k: int) -> np.ndarray:
        if k in self._retired:
            return self.orders[k]
        n_rows, generator = len(self._rows[k]), self._generators[k]
        if self._order == "replacement":
            return generator.randint(n_rows, size=n_rows)
        if self._order == "shuffle":
            # The order of an epoch is a permutation of the order of the one before.
            permutation = np.arange(n_rows)
            generator.shuffle(permutation)
            self.orders[k] = self.orders[k][permutation]
        return self.orders[k]

    def epoch(self) -> Iterator[Batch]:
        """Draw and give the minibatches of one epoch."""
        orders = [self._draw(k) for k in range(len(self._rows))]
        length = max(map(len, orders))
        rows = np.zeros((len(orders), length), dtype=np.int64)
        weights = np.zeros((len(orders), length)) if self.weighted else None
        for k, order in enumerate(orders):
            rows[k, : len(order)] = self._rows[k][order]
            # What pads must be a row of the replica: zero times an infinite loss is not zero.
            rows[k, len(order) :] = rows[k, 0]
            if weights is not None:
                own = None if self._weights is None else self._weights[k]
                weights[k, : len(order)] = 1.0 if own is None else own[order]
        starts = range(0, length, self.batch_size)
        pieces = torch.from_numpy(rows).split(self.batch_size, dim=1)
        if weights is None:
            for piece in pieces:
                size = piece.shape[1]
                yield Batch(piece.reshape(-1), size, (float(size),) * len(orders), None)
            return
        for start, piece in zip(starts, pieces, strict=True):
            part = weights[:, start : start + self.batch_size]
            totals = part.sum(1, keepdims=True)
            share = torch.from_numpy(part / np.where(totals > 0, totals, 1.0))
            yield Batch(piece.reshape(-1), piece.shape[1], tuple(totals[:, 0].tolist()), share)
