r"""Rows against a background: what a coalition of players is worth to a prediction.

A row x is explained against background rows b. A coalition S of players keeps its columns of x, and
the rest are those of b: :math:`v(S) = \sum_b w_b f(x_S, b_{-S})`. This is the interventional
(marginal) value; the background keeps its own correlations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....representations.forms import SumForm
from ....threads import one_thread
from ..model.tables import mixed, stacked, taken
from .precision import head_precision

__all__ = ["ClosedGame", "Game", "OpaqueGame", "OrderGame", "SumGame", "normalized", "pieces"]

#: Bytes of a tile of hidden values, which should stay in the processor's cache.
TILE = 2**21

#: Rows that a black box predicts at once, at most: more of them leave the cache, fewer cost calls.
ROWS = 2**14

#: Bytes that one computation may take, besides data and results.
BUDGET = 2**28

# glibc maps the pages of a tile anew each time, until a larger block has been freed, which costs
# nothing if it is never touched.
torch.empty(4_000_000, dtype=torch.float64)


class Game(ABC):
    """The coalition values of any row against one background.

    Players are numbered 0, 1, ..., and rows are what the game was made of: a tensor, or for a black
    box an array or a data frame.
    """

    n_players: int
    n_outputs: int
    n_background: int

    @property
    @abstractmethod
    def base_values(self) -> Tensor:
        """Mean prediction of the background (m,): the value of no player."""

    @abstractmethod
    def predictions(self, x: Any) -> Tensor:
        """Predictions (N, m): the value of all players."""

    @abstractmethod
    def values(self, x: Any, masks: np.ndarray) -> Tensor:
        """Values (N, M, m) of coalitions, given as rows of a boolean matrix (M, P)."""


class ClosedGame(Game):
    """A game whose Shapley values are known in closed form."""

    @abstractmethod
    def shapley(self, x: Any) -> Tensor:
        """Shapley values of the players, shape (N, P, m)."""

    @abstractmethod
    def interactions(self, x: Any) -> Tensor:
        """Interactions of all pairs, shape (N, P, P, m), which sum to the Shapley values."""


class OrderGame(Game):
    """A game whose players can be made to join one after the other, against single rows."""

    #: Weights of the background rows (B,), which sum to one.
    weights: Tensor
    #: Predictions of the background rows (B, m).
    background_values: Tensor

    @property
    def base_values(self) -> Tensor:
        """Mean prediction of the background (m,): the value of no player."""
        return self.weights @ self.background_values

    @abstractmethod
    def marginal_contributions(self, x: Any, picks: np.ndarray, orders: np.ndarray) -> Tensor:
        """What players add when they join in given orders, and in the reversed orders; (N, P, m).

        Order k (P,) runs against the background row ``picks[k]`` alone; the result is the mean over
        all orders and their reversals.
        """


class SumGame(OrderGame):
    """A function of a sum over columns: coalitions differ by sums that are computed once.

    Parameters
    ----------
    form : SumForm
        The function.
    players : sequence of ndarray
        Columns of each player.
    background : Tensor of shape (B, d)
        Background rows.
    weights : Tensor of shape (B,), default=None
        Their weights; equal by default.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of the head, see `head_precision`.
    memory_budget : int, default=BUDGET
        Bytes that a computation may take.
    """

    def __init__(
        self,
        form: SumForm,
        players: Sequence[np.ndarray],
        background: Tensor,
        weights: Tensor | None = None,
        dtype: str = "auto",
        memory_budget: int = BUDGET,
    ) -> None:
        self.memory_budget = memory_budget
        self.form, self.players = form, [list(map(int, columns)) for columns in players]
        self.n_players, self.n_outputs = len(players), form.n_outputs
        self.n_background = len(background)
        self.background = background.to(form.constant)
        self.precision = head_precision(form, self.background, dtype)
        self.weights = normalized(weights, self.n_background).to(form.constant.device)
        self.background_values = self.predictions(self.background)
        self.n_threads = torch.get_num_threads() if self.background.device.type == "cpu" else 1
        self.head = torch.clone if form.head is None else form.head

    def predictions(self, x: Tensor) -> Tensor:
        """Predictions (N, m)."""
        with torch.no_grad():
            return torch.cat([self.form(part).double() for part in x.split(4096)])

    def _parts(self, x: Tensor) -> Tensor:
        """What each player adds to the sum, (P, N, H)."""
        return torch.stack([self.form.sums(x[:, own], own) for own in self.players])

    def values(self, x: Tensor, masks: np.ndarray) -> Tensor:
        """Values (N, M, m) of coalitions."""
        x = x.to(self.form.constant)
        with torch.no_grad():
            out = self._values(x, torch.from_numpy(masks).to(x.device, self.precision))
            # The ends are in full precision, so that Shapley values sum to what they should.
            out[:, torch.from_numpy(masks.all(1))] = self.predictions(x)[:, None]
            out[:, torch.from_numpy(~masks.any(1))] = self.base_values
            return out

    def _values(self, x: Tensor, masks: Tensor) -> Tensor:
        n_coalitions, width = len(masks), self.form.sums.width
        out = torch.zeros(
            len(x), n_coalitions, self.n_outputs, dtype=torch.float64, device=x.device
        )
        row_bytes = width * self.precision.itemsize
        numbers = TILE // row_bytes
        n_rows = min(self.n_background, max(numbers // 16, 64), self._rows_within(row_bytes))
        n_masks = max(numbers // n_rows, 1)
        weights = self.weights.to(self.precision)
        room = self._rows_within(row_bytes) * self.n_players
        share = max(room // (self.n_players + n_masks * self.n_threads), 1)
        for block in pieces(len(x), share):
            rows, at = x[block], out[block]
            own = self._parts(rows).flatten(1).to(self.precision)
            for start in range(0, self.n_background, n_rows):
                part = slice(start, start + n_rows)
                theirs = self._parts(self.background[part]).flatten(1).to(self.precision)
                add = partial(self._add_coalitions, at, masks, own, theirs, weights[part])
                in_threads(add, pieces(n_coalitions, n_masks), self.n_threads)
        return out

    def _add_coalitions(
        self, out: Tensor, masks: Tensor, own: Tensor, theirs: Tensor, weights: Tensor, which: slice
    ) -> None:
        """Add the part that some background rows have in the values of some coalitions."""
        some, width = masks[which], self.form.sums.width
        kept = (some @ own).view(len(some), len(out), width)
        rest = ((1 - some) @ theirs).view(len(some), -1, width)
        rest += self.form.constant.to(rest.dtype)
        buffer = torch.empty_like(rest)
        head = getattr(self.head, "apply_", self.head)
        for i in range(len(out)):
            torch.add(rest, kept[:, i, None], out=buffer)
            outputs = head(buffer.view(-1, width)).view(len(some), -1, self.n_outputs)
            out[i, which] += torch.einsum("sbm,b->sm", outputs.to(weights.dtype), weights)

    def _rows_within(self, row_bytes: int) -> int:
        """Rows of which what every player adds fits the budget, with room for a copy or two."""
        return max(self.memory_budget // (4 * self.n_players * row_bytes), 1)

    def marginal_contributions(self, x: Tensor, picks: np.ndarray, orders: np.ndarray) -> Tensor:
        """What players add when they join in given orders; (N, P, m)."""
        x = x.to(self.form.constant)
        row_bytes = self.form.sums.width * self.form.dtype.itemsize
        ways = np.stack([orders, orders[:, ::-1]])
        total = torch.zeros(
            len(x), self.n_players, self.n_outputs, dtype=torch.float64, device=x.device
        )
        with torch.no_grad():
            for part in pieces(len(picks), self._rows_within(row_bytes)):
                chosen = torch.from_numpy(picks[part]).to(x.device)
                theirs = self._parts(self.background[chosen]).to(self.precision)
                ends = self.background_values[chosen]
                some = torch.from_numpy(ways[:, part]).to(x.device)
                n_rows = min(
                    max(TILE // (row_bytes * len(chosen)), 1),
                    self._rows_within(row_bytes * self.n_threads),
                    -(-len(x) // self.n_threads),
                )
                add = partial(self._add_walks, total, x, theirs, ends, some)
                in_threads(add, pieces(len(x), n_rows), self.n_threads)
        return total / (2 * len(picks))

    def _add_walks(
        self, out: Tensor, x: Tensor, theirs: Tensor, ends: Tensor, ways: Tensor, which: slice
    ) -> None:
        """Add the contributions of the ways to those of some rows, which fit a tile."""
        out[which] += self._walk(x[which], theirs, ends, ways)

    def _walk(self, x: Tensor, theirs: Tensor, ends: Tensor, ways: Tensor) -> Tensor:
        """Contributions (N, P, m), added up over the ways."""
        own, n_picks = self._parts(x).to(theirs.dtype), theirs.shape[1]
        n, p, m = len(x), self.n_players, self.n_outputs
        # The ends are in full precision, so that the contributions sum to what they should.
        top = self.form(x).double().expand(n_picks, n, m)
        bottom = ends[:, None].expand(n_picks, n, m)
        start = (theirs.sum(0) + self.form.constant.to(theirs.dtype))[:, None]
        total = torch.zeros(p, n, m, dtype=torch.float64, device=x.device)
        order = torch.arange(n_picks, device=x.device)
        z = start.new_empty(n_picks, n, start.shape[2])
        gained = torch.empty_like(z)
        for way in ways:
            z.copy_(start.expand_as(z))
            before = bottom
            for k in range(p):
                joining = way[:, k]
                if k < p - 1:
                    z += torch.index_select(own, 0, joining, out=gained)
                    z -= theirs[joining, order][:, None]
                    after = self.head(z.view(n_picks * n, -1)).view(n_picks, n, m).double()
                else:
                    after = top
                total.index_add_(0, joining, after - before)
                before = after
        return total.transpose(0, 1)


class OpaqueGame(OrderGame):
    """Any function of rows, evaluated at rows whose columns come from two rows each.

    Parameters
    ----------
    predict : callable
        From rows, a container of the background's kind, to an array (n, m).
    players : sequence of ndarray
        Columns of each player.
    background : array or DataFrame of B rows
        Background rows.
    weights : Tensor of shape (B,), default=None
        Their weights; equal by default.
    memory_budget : int, default=BUDGET
        Bytes that a computation may take, besides those of ``predict``.
    """

    def __init__(
        self,
        predict: Callable[[Any], np.ndarray],
        players: Sequence[np.ndarray],
        background: Any,
        weights: Tensor | None = None,
        memory_budget: int = BUDGET,
    ) -> None:
        self.predict, self.background = predict, background
        self.memory_budget = memory_budget
        self.n_players, self.n_background = len(players), len(background)
        n_columns = background.shape[1]
        # A row is an index and a number in each column, and more in whatever predicts.
        self.chunk = int(np.clip(memory_budget // (64 * n_columns), 1, ROWS))
        self.owner = np.zeros(n_columns, dtype=int)
        for number, columns in enumerate(players):
            self.owner[columns] = number
        self.weights = normalized(weights, self.n_background)
        values = self.predictions(background)
        self.n_outputs = values.shape[1]
        self.background_values = values

    def predictions(self, x: Any) -> Tensor:
        """Predictions (N, m)."""
        return torch.from_numpy(np.array(self.predict(x), dtype=np.float64))

    def _mixtures(
        self, pool: Any, n: int, rows: np.ndarray, others: np.ndarray, masks: np.ndarray
    ) -> Tensor:
        """Predictions (K, m) at rows of the pool that keep the columns of coalitions."""
        index = np.where(masks[:, self.owner], rows[:, None], n + others[:, None])
        return self.predictions(mixed(pool, index))

    def values(self, x: Any, masks: np.ndarray) -> Tensor:
        """Values (N, M, m) of coalitions."""
        n, size = len(x), len(masks)
        pool = stacked(x, self.background)
        out = torch.zeros(n * size, self.n_outputs, dtype=torch.float64)
        # One number for each row, coalition and background row.
        for part in pieces(n * size * self.n_background, self.chunk):
            number = np.arange(part.start, part.stop)
            cell, other = np.divmod(number, self.n_background)
            row, coalition = np.divmod(cell, size)
            values = self._mixtures(pool, n, row, other, masks[coalition])
            values *= self.weights[torch.from_numpy(other)][:, None]
            out.index_add_(0, torch.from_numpy(cell), values)
        return out.view(n, size, self.n_outputs)

    def marginal_contributions(self, x: Any, picks: np.ndarray, orders: np.ndarray) -> Tensor:
        """What players add when they join in given orders; (N, P, m)."""
        n, p = len(x), self.n_players
        ways, rows = np.concatenate([orders, orders[:, ::-1]]), np.tile(picks, 2)
        total = torch.zeros(n, p, self.n_outputs, dtype=torch.float64)
        # Every step of a way is a mask, and for each row a few copies of the outputs.
        n_ways = int(np.clip(self.memory_budget // (4 * p * p), 1, len(ways)))
        n_rows = max(self.memory_budget // (32 * n_ways * (p + 1) * self.n_outputs), 1)
        for part in pieces(len(ways), n_ways):
            theirs = taken(self.background, rows[part])
            ends = self.background_values[torch.from_numpy(rows[part])]
            for block in pieces(n, n_rows):
                own = taken(x, np.arange(block.start, block.stop))
                total[block] += self._walk(own, theirs, ends, ways[part])
        return total / len(ways)

    def _walk(self, x: Any, theirs: Any, ends: Tensor, ways: np.ndarray) -> Tensor:
        """Contributions (N, P, m), added up over ways, each from a row of its own."""
        n, p, m = len(x), self.n_players, self.n_outputs
        place = np.argsort(ways, axis=1)
        # Step k of a way holds its first k + 1 players.
        steps = (place[:, None, :] <= np.arange(p - 1)[None, :, None]).reshape(-1, p)
        pool = stacked(x, theirs)
        inner = torch.empty(n * len(steps), m, dtype=torch.float64)
        for part in pieces(len(inner), self.chunk):
            row, step = np.divmod(np.arange(part.start, part.stop), max(len(steps), 1))
            inner[part] = self._mixtures(pool, n, row, step // (p - 1), steps[step])
        path = torch.cat(
            [
                ends[None, :, None].expand(n, -1, 1, -1),
                inner.view(n, len(ways), p - 1, m),
                self.predictions(x)[:, None, None].expand(n, len(ways), 1, -1),
            ],
            dim=2,
        )
        joined = torch.from_numpy(place)[None, :, :, None].expand(n, -1, -1, m)
        return path.diff(dim=2).gather(2, joined).sum(1)


def normalized(weights: Tensor | None, n_rows: int) -> Tensor:
    """Weights in float64 that sum to one."""
    if weights is None:
        return torch.full((n_rows,), 1 / n_rows, dtype=torch.float64)
    weights = weights.double()
    return weights / weights.sum()


def in_threads(work: Callable[[slice], None], parts: Iterable[slice], n_threads: int) -> None:
    """Do the parts of some work side by side, each on one thread, which suits a tile."""

    def run(part: slice) -> None:
        with one_thread(), torch.no_grad():
            work(part)

    if n_threads == 1:
        for part in parts:
            work(part)
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            for _ in pool.map(run, parts):
                pass


def pieces(n: int, size: int) -> Iterator[slice]:
    """Cut 0, ..., n - 1 into pieces."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
