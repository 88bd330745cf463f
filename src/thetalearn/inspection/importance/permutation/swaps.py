"""Values of a function at rows that take some of their columns from other rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.tables import is_frame, mixed, taken

__all__ = ["StackedSwaps", "Swaps", "stratum_means"]

#: Bytes of a stack of rows, above which a single prediction gains nothing any more.
STACK = 2**26

#: Tables in memory at once for each array of values: indices, values, losses.
TABLES = 8


#: From donors (r, n) to values (r, n, m).
Exchange = Callable[[Tensor], Tensor]


class Swaps(ABC):
    """Values of a function at n rows whose columns of one player come from other rows.

    Attributes
    ----------
    n_rows, n_outputs : int
        Numbers of rows n and of outputs m.
    method : str
        How values after an exchange are found.
    approximate : bool
        Whether it computes in less than the function's own precision.
    """

    n_rows: int
    n_outputs: int
    method: str
    approximate = False

    @abstractmethod
    def unchanged(self) -> Tensor:
        """Values (n, m) of the rows as they are, computed as those after an exchange are."""

    @abstractmethod
    def exchange(self, player: int) -> Exchange:
        """From donors (r, n) to the values (r, n, m) after an exchange.

        Row i takes the player's columns from row ``donors[., i]``.
        """

    def squared_errors(
        self, player: int, strata: Tensor, residual: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        r"""Mean squared errors over all pairs of a stratum, in closed form, or None.

        Parameters
        ----------
        player : int
            Who is exchanged.
        strata : Tensor of int of shape (n,)
            Stratum of each row, from 0 on.
        residual : Tensor of shape (n, m)
            Targets less values of the rows as they are.
        weight : Tensor of shape (n,)
            Weights of the receivers :math:`\omega`.

        Returns
        -------
        receivers : Tensor of shape (n, m)
            Mean over the donors of a row.
        givers : Tensor of shape (n, m)
            Mean over the receivers of a row, their errors times :math:`\omega`.
        """
        return None

    def exchanged(self, player: int) -> np.ndarray | None:
        """The player's columns (n, c), by which donors can be told to be alike, or None."""
        return None

    def sweep(
        self, players: Sequence[int], donors: Callable[[int], Tensor], budget: int
    ) -> Iterator[tuple[int, slice, Tensor]]:
        """Values after all exchanges of all players, by player and repeats, in bounded memory.

        ``donors`` gives a player's index matrix (R, n).
        """
        size = max(budget // (8 * TABLES * self.n_rows * self.n_outputs), 1)
        for player in players:
            index, exchange = donors(player), self.exchange(player)
            for start in range(0, len(index), size):
                repeats = slice(start, min(start + size, len(index)))
                yield player, repeats, exchange(index[repeats])


class StackedSwaps(Swaps):
    """Any function: rows of many exchanges, of one player or several, are predicted at once.

    Parameters
    ----------
    respond : callable
        From rows to values (n, m).
    table : ndarray or data frame of shape (n, c)
        Rows.
    players : sequence of ndarray of int
        Columns of each player.
    n_outputs : int
        Number of outputs.
    """

    method = "stacked prediction"

    def __init__(
        self,
        respond: Callable[[Any], np.ndarray],
        table: Any,
        players: Sequence[np.ndarray],
        n_outputs: int,
    ) -> None:
        self.respond, self.table, self.players = respond, table, players
        self.n_rows, self.n_outputs = len(table), n_outputs

    def unchanged(self) -> Tensor:
        """Values (n, m) of the rows as they are."""
        return torch.from_numpy(self.respond(self.table))

    def exchanged(self, player: int) -> np.ndarray | None:
        """The player's columns (n, c) if they are numbers."""
        if is_frame(self.table) or self.table.dtype.kind not in "fiub":
            return None
        return np.asarray(self.table[:, self.players[player]])

    def exchange(self, player: int) -> Exchange:
        """From donors (r, n) to the values (r, n, m) after an exchange."""
        return lambda donors: self._predict([(player, index) for index in donors.numpy()])

    def sweep(
        self, players: Sequence[int], donors: Callable[[int], Tensor], budget: int
    ) -> Iterator[tuple[int, slice, Tensor]]:
        """Values after all exchanges of all players, as many in one prediction as fit."""
        row_bytes = 8 * (3 * self.table.shape[1] + TABLES * self.n_outputs)
        size = max(min(budget, STACK) // (row_bytes * self.n_rows), 1)
        waiting: list[tuple[int, int, np.ndarray]] = []
        for player in players:
            for repeat, index in enumerate(donors(player)):
                waiting.append((player, repeat, index.numpy()))
                if len(waiting) == size:
                    yield from self._answer(waiting)
                    waiting = []
        yield from self._answer(waiting)

    def _answer(
        self, jobs: Sequence[tuple[int, int, np.ndarray]]
    ) -> Iterator[tuple[int, slice, Tensor]]:
        """Values of (player, repeat, donors), put together again by player."""
        if not jobs:
            return
        values = self._predict([(player, index) for player, _, index in jobs])
        start = 0
        for stop in range(1, len(jobs) + 1):
            if stop == len(jobs) or jobs[stop][0] != jobs[start][0]:
                repeats = slice(jobs[start][1], jobs[stop - 1][1] + 1)
                yield jobs[start][0], repeats, values[start:stop]
                start = stop

    def _predict(self, jobs: Sequence[tuple[int, np.ndarray]]) -> Tensor:
        rows = np.tile(np.arange(self.n_rows), len(jobs))
        if is_frame(self.table):
            index = np.repeat(rows[:, None], self.table.shape[1], axis=1)
            for k, (player, donors) in enumerate(jobs):
                index[self._part(k), self.players[player]] = donors[:, None]
            stack = mixed(self.table, index)
        else:
            stack = taken(self.table, rows)
            for k, (player, donors) in enumerate(jobs):
                own = self.players[player]
                stack[self._part(k), own] = self.table[donors[:, None], own]
        values = np.asarray(self.respond(stack))
        return torch.from_numpy(values).view(len(jobs), self.n_rows, -1)

    def _part(self, k: int) -> slice:
        return slice(k * self.n_rows, (k + 1) * self.n_rows)


def stratum_means(values: Tensor, strata: Tensor) -> Tensor:
    """Mean (n, ...) over the stratum of each row."""
    if not strata.any():
        return values.mean(0).expand_as(values)
    counts = torch.bincount(strata).to(values.dtype)
    totals = values.new_zeros(len(counts), *values.shape[1:]).index_add_(0, strata, values)
    return (totals / counts.view(-1, *[1] * (values.ndim - 1)))[strata]
