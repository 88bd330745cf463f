"""Exchanges of columns in functions that are built from functions of single columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....representations.forms import Form, Linear, ProductForm, SumForm
from ....rows import row_blocks
from ..games.precision import head_precision
from .swaps import Exchange, Swaps, stratum_means

__all__ = ["AdditiveSwaps", "HeadSwaps", "ProductSwaps", "form_swaps"]

#: Bytes of the sums of a tile: with what a network makes of them they stay in the second cache.
TILE = 2**19

#: Writes the sums of a block of rows after the given repeats to a tile.
WriteTile = Callable[[Tensor, slice], Any]


def form_swaps(
    form: Form, x: Tensor, players: Sequence[np.ndarray], *, dtype: str = "auto", budget: int
) -> Swaps:
    """The way to exchange columns that suits a form.

    Parameters
    ----------
    form : SumForm or ProductForm
        The function.
    x : Tensor of shape (n, d)
        Rows.
    players : sequence of ndarray of int
        Columns of each player.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of what follows a sum over columns; see `permutation_importance`.
    budget : int
        Bytes that tables of the rows may take.

    Returns
    -------
    Swaps
        The exchanges.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from thetalearn.inspection.importance.permutation.form_swaps import form_swaps
    >>> from thetalearn.representations.forms import Linear, SumForm
    >>> weights = torch.tensor([[1.0], [10.0]], dtype=torch.float64)
    >>> form = SumForm(Linear(weights), torch.zeros(1, dtype=torch.float64), 1)
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    >>> swaps = form_swaps(form, x, [np.array([0]), np.array([1])], budget=2**20)
    >>> swaps.exchange(1)(torch.tensor([[1, 0]])).squeeze()
    tensor([41., 23.], dtype=torch.float64)
    """
    if isinstance(form, ProductForm):
        return ProductSwaps(form, x, players)
    assert isinstance(form, SumForm)
    if form.head is None:
        return AdditiveSwaps(form, x, players)
    return HeadSwaps(form, x, players, dtype=dtype, budget=budget)


class AdditiveSwaps(Swaps):
    """A sum over columns: what the player adds is subtracted, and what the donor has is added."""

    method = "touched terms"

    def __init__(self, form: SumForm, x: Tensor, players: Sequence[np.ndarray]) -> None:
        self.form, self.x = form, x.to(form.dtype)
        self.players = [list(map(int, columns)) for columns in players]
        self.n_rows, self.n_outputs = len(x), form.n_outputs
        self.values = form(self.x)

    def unchanged(self) -> Tensor:
        """Values (n, m) of the rows as they are."""
        return self.values

    def _part(self, player: int) -> Tensor:
        """What the player adds, (n, m)."""
        own = self.players[player]
        return self.form.sums(self.x[:, own], own)

    def exchanged(self, player: int) -> np.ndarray:
        """The player's columns (n, c)."""
        return self.x[:, self.players[player]].numpy()

    def exchange(self, player: int) -> Exchange:
        """From donors (r, n) to the values (r, n, m) after an exchange."""
        part = self._part(player)
        rest = self.values - part
        return lambda donors: part[donors].add_(rest)

    def squared_errors(
        self, player: int, strata: Tensor, residual: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean squared errors over all pairs of a stratum."""
        part = self._part(player).double()
        own = part - stratum_means(part, strata)
        error, weight = residual + own, weight[:, None]
        receivers = error.square() + stratum_means(own.square(), strata)
        givers = stratum_means(weight * error.square(), strata)
        givers = givers - 2 * own * stratum_means(weight * error, strata)
        return receivers, givers + own.square() * stratum_means(weight, strata)


class ProductSwaps(Swaps):
    r"""A sum of products: only terms with a column of the player change.

    With the K functions :math:`g_k` of the player's columns that occur in terms, and the sums
    :math:`r_k` of what multiplies each, :math:`f(x_{-p}, x'_p) = f(x) + \sum_k r_k(x)
    (g_k(x') - g_k(x))`.
    """

    method = "touched terms"

    def __init__(self, form: ProductForm, x: Tensor, players: Sequence[np.ndarray]) -> None:
        self.form, self.x, self.players = form, x.to(form.dtype), players
        self.n_rows, self.n_outputs = len(x), form.n_outputs
        self._row_bytes = 8 * max(len(form.indices), 1)
        self.values = torch.cat([form(self.x[rows]) for rows in self._blocks()])

    def _blocks(self) -> Iterator[slice]:
        return row_blocks(self.n_rows, self._row_bytes)

    def unchanged(self) -> Tensor:
        """Values (n, m) of the rows as they are."""
        return self.values

    def _factors(self, player: int) -> tuple[Tensor, Tensor]:
        """The functions g (n, K) of the player's columns, and their factors r (n, K, m)."""
        indices, own = self.form.indices, np.zeros(self.form.n_columns, dtype=bool)
        own[self.players[player]] = True
        touched = np.flatnonzero((indices[:, own] != 0).any(1))
        inside, kind = np.unique(indices[touched] * own, axis=0, return_inverse=True)
        outside = indices[touched] * ~own
        order = torch.from_numpy(np.argsort(kind.ravel(), kind="stable"))
        counts = np.bincount(kind.ravel(), minlength=len(inside)).tolist()
        coef = self.form.coef[torch.from_numpy(touched)][order].split(counts)
        functions = self.x.new_empty(self.n_rows, len(inside))
        factors = self.x.new_empty(self.n_rows, len(inside), self.n_outputs)
        for rows in self._blocks():
            functions[rows] = self.form.design(self.x[rows], inside)
            design = self.form.design(self.x[rows], outside[order.numpy()]).split(counts, dim=1)
            for k, (part, c) in enumerate(zip(design, coef, strict=True)):
                factors[rows, k] = part @ c
        return functions, factors

    def exchanged(self, player: int) -> np.ndarray:
        """The player's columns (n, c)."""
        return self.x[:, self.players[player]].numpy()

    def exchange(self, player: int) -> Exchange:
        """From donors (r, n) to the values (r, n, m) after an exchange."""
        functions, factors = self._factors(player)

        def after(donors: Tensor) -> Tensor:
            out = factors.new_empty(len(donors), *self.values.shape)
            row_bytes = 8 * len(donors) * (functions.shape[1] + 1)
            for rows in row_blocks(self.n_rows, row_bytes, at_least=1):
                others = functions[donors[:, rows].T] - functions[rows, None]
                change = torch.bmm(others, factors[rows])
                out[:, rows] = (self.values[rows, None] + change).transpose(0, 1)
            return out

        return after

    def squared_errors(
        self, player: int, strata: Tensor, residual: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean squared errors over all pairs of a stratum."""
        functions, factors = self._factors(player)
        own = functions - stratum_means(functions, strata)
        error = residual + torch.einsum("nk,nkm->nm", own, factors)
        receivers, givers = torch.empty_like(error), torch.empty_like(error)
        for rows in _members(strata):
            g, r, e = own[rows], factors[rows], error[rows]
            scale = weight[rows, None].sqrt() / len(rows) ** 0.5
            # Roots of second moments: a mean square comes out as a sum of squares.
            root = torch.linalg.qr(g, mode="r").R / len(rows) ** 0.5
            receivers[rows] = e.square() + torch.einsum("lk,nkm->nlm", root, r).square().sum(1)
            for m in range(self.n_outputs):
                both = torch.cat([e[:, m, None], -r[:, :, m]], dim=1)
                root = torch.linalg.qr(scale * both, mode="r").R
                change = root[:, :1] + root[:, 1:] @ g.T
                givers[rows, m] = change.square().sum(0)
        return receivers, givers


class HeadSwaps(Swaps):
    """A function of a sum over columns: the sum is updated, the function evaluated in tiles.

    For a linear first layer and a single column the update has rank one. Single precision is used
    by default where `head_precision` finds that it does no harm.
    """

    method = "first layer"

    def __init__(
        self,
        form: SumForm,
        x: Tensor,
        players: Sequence[np.ndarray],
        *,
        dtype: str = "auto",
        budget: int = 2**28,
    ) -> None:
        assert form.head is not None
        self.form, self.head, self.x = form, form.head, x.to(form.dtype)
        self.players = [list(map(int, columns)) for columns in players]
        self.n_rows, self.n_outputs, self._width = len(x), form.n_outputs, form.sums.width
        self.dtype = head_precision(form, self.x, dtype)
        self.approximate = self.dtype != form.dtype
        row_bytes = self._width * self.dtype.itemsize
        self._tile = max(TILE // row_bytes, 128)
        self._keeps = row_bytes * self.n_rows <= budget // 4
        self._sums: Tensor | None = None
        if self._keeps:
            blocks = row_blocks(self.n_rows, row_bytes)
            self._sums = torch.cat([self._block_sums(rows) for rows in blocks])

    def _block_sums(self, rows: slice) -> Tensor:
        z = self.form.sums(self.x[rows], range(self.form.n_columns)) + self.form.constant
        return z.to(self.dtype)

    def unchanged(self) -> Tensor:
        """Values (n, m) of the rows as they are."""
        return self._evaluate([], torch.arange(self.n_rows)[None])[0]

    def exchanged(self, player: int) -> np.ndarray:
        """The player's columns (n, c)."""
        return self.x[:, self.players[player]].numpy()

    def exchange(self, player: int) -> Exchange:
        """From donors (r, n) to the values (r, n, m) after an exchange."""
        return lambda donors: self._evaluate(self.players[player], donors)

    def _evaluate(self, own: list[int], donors: Tensor) -> Tensor:
        n_repeats, n_block = len(donors), min(self.n_rows, self._tile)
        n_together = max(self._tile // n_block, 1)
        out = torch.empty(n_repeats, self.n_rows, self.n_outputs, dtype=self.form.dtype)
        buffer = torch.empty(n_together * n_block * self._width, dtype=self.dtype)
        write = self._writer(own, donors)
        # Some heads know how to work in place; the tile is written anew each time.
        head = getattr(self.head, "apply_", self.head)
        for start in range(0, self.n_rows, n_block):
            rows = slice(start, min(start + n_block, self.n_rows))
            z = self._block_sums(rows) if self._sums is None else self._sums[rows]
            write_tile = write(z, rows)
            for first in range(0, n_repeats, n_together):
                repeats = slice(first, min(first + n_together, n_repeats))
                shape = repeats.stop - first, len(z), self._width
                tile = buffer[: math.prod(shape)].view(shape)
                write_tile(tile, repeats)
                out[repeats, rows] = head(tile.view(-1, self._width)).view(*shape[:2], -1)
        return out

    def _writer(self, own: list[int], donors: Tensor) -> Callable[[Tensor, slice], WriteTile]:
        """From the sums of a block of rows to what writes its tiles."""
        sums = self.form.sums
        if not own:
            return lambda z, rows: lambda tile, repeats: tile.copy_(z.expand_as(tile))
        if isinstance(sums, Linear) and not sums.carried and len(own) == 1:
            return self._rank_one(sums.weights[own[0]].to(self.dtype), own[0], donors)
        columns = self.x[:, own]
        kept = sums(columns, own).to(self.dtype) if self._keeps else None

        def part(index: Tensor) -> Tensor:
            return sums(columns[index], own).to(self.dtype) if kept is None else kept[index]

        def block(z: Tensor, rows: slice) -> WriteTile:
            rest = z - part(torch.arange(self.n_rows)[rows])

            def write(tile: Tensor, repeats: slice) -> None:
                theirs = part(donors[repeats, rows].reshape(-1))
                torch.add(theirs.view(tile.shape), rest, out=tile)

            return write

        return block

    def _rank_one(
        self, weights: Tensor, column: int, donors: Tensor
    ) -> Callable[[Tensor, slice], WriteTile]:
        """The same for a single column of a linear layer."""
        x = self.x[:, column].contiguous()
        change = x.take(donors).sub_(x).to(self.dtype)[..., None]
        return lambda z, rows: (
            lambda tile, repeats: torch.addcmul(z, change[repeats, rows], weights, out=tile)
        )


def _members(strata: Tensor) -> list[Tensor]:
    """The rows of each stratum."""
    order = torch.argsort(strata, stable=True)
    return list(order.split(torch.bincount(strata).tolist()))
