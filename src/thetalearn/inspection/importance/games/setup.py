"""The game of a fitted model against a background: in closed form if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....representations.forms import ProductForm, SumForm
from ....rows import as_tensor
from ..model.model import Model
from ..model.players import owned
from .closed import MAX_EXPANSIONS, AdditiveGame, ProductGame, n_expansions
from .game import BUDGET, Game, OpaqueGame, SumGame

__all__ = ["BUDGET", "game_rows", "make_game"]


def make_game(
    model: Model,
    players: Sequence[np.ndarray],
    background: Any,
    weights: np.ndarray | None = None,
    *,
    closed: bool = True,
    dtype: str = "auto",
    memory_budget: int = BUDGET,
) -> Game:
    """The game of rows against a background, by the fastest exact way to its values.

    Parameters
    ----------
    model : Model
        What is explained.
    players : sequence of ndarray of int
        Input columns of each player; every column belongs to one.
    background : array or data frame of B rows
        Background rows, in the user's columns.
    weights : ndarray of shape (B,), default=None
        Their weights, equal by default.
    closed : bool, default=True
        Whether a game with closed forms will do; if not, it is an `OrderGame`.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of networks.
    memory_budget : int, default=BUDGET
        Bytes that a computation may take.

    Returns
    -------
    Game
        An `AdditiveGame` or `ProductGame` where closed forms exist, a `SumGame` for networks and
        the like, else an `OpaqueGame`. `game_rows` makes rows for it.
    """
    encoded = model.encode(background)
    columns = encoded_columns(model, players, encoded.shape[1])
    given = None if weights is None else torch.from_numpy(np.asarray(weights, dtype=np.float64))
    form = model.form
    if isinstance(form, SumForm):
        rows = tensor_rows(model, encoded)
        if form.head is None and closed:
            return AdditiveGame(form, columns, rows, given)
        return SumGame(form, columns, rows, given, dtype, memory_budget)
    if closed and isinstance(form, ProductForm) and n_expansions(form, columns) <= MAX_EXPANSIONS:
        return ProductGame(form, columns, tensor_rows(model, encoded), given)
    return OpaqueGame(model.predict, columns, encoded, given, memory_budget)


def game_rows(game: Game, model: Model, X: Any) -> Any:
    """Rows of X as the game takes them: a tensor, or for a black box what the model takes."""
    encoded = model.encode(X)
    return encoded if isinstance(game, OpaqueGame) else tensor_rows(model, encoded)


def tensor_rows(model: Model, encoded: np.ndarray) -> Tensor:
    """Rows where the model's form computes."""
    assert model.form is not None
    return as_tensor(encoded).to(model.form.device)


def encoded_columns(
    model: Model, players: Sequence[np.ndarray], n_columns: int
) -> list[np.ndarray]:
    """Encoded columns of each player; those that nobody owns, being constant, go to the first."""
    columns = owned(players, model.owners)
    nobodys = np.setdiff1d(np.arange(n_columns), np.concatenate(columns))
    columns[0] = np.concatenate([columns[0], nobodys])
    return columns
