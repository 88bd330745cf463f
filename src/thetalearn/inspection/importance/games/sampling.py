"""Shapley values from sampled orders of the players, with standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.tables import taken
from .game import OrderGame, pieces

__all__ = ["Estimate", "draw_orders", "draw_rows", "sample_orders"]

#: Orders of a batch, at least and at most; each runs against one row of the background.
FEWEST, MOST = 32, 128
#: Batches before the standard errors are trusted.
FIRST = 6
#: Share of the size of predictions below which errors are but rounding.
ROUNDING = 1e-12
#: Rows that share their orders: errors of more rows would move together.
SHARED = 32


@dataclass(frozen=True)
class Estimate:
    """Estimated Shapley values.

    Parameters
    ----------
    values, standard_errors : Tensor of shape (N, P, m)
        Values and their standard errors.
    n_batches : ndarray of shape (N,)
        Independent estimates that were averaged for each row.
    converged : bool
        Whether all standard errors met the precision.
    n_evaluations : int
        Rows at which the model was evaluated, all together.
    """

    values: Tensor
    standard_errors: Tensor
    n_batches: np.ndarray
    converged: bool
    n_evaluations: int


def sample_orders(
    game: OrderGame,
    x: Any,
    *,
    precision: float,
    max_evals: int,
    rng: np.random.RandomState,
) -> Estimate:
    """Average what each player adds in random orders and their reversals, until precise.

    A batch runs every order against a background row of its own. As all rows of a background that
    is not large take their turn in every batch, what depends on them alone has no error, and the
    orders differ more than if each had to serve the whole background.

    Parameters
    ----------
    game : OrderGame
        What coalitions are worth.
    x : rows of the game
        Rows to explain.
    precision : float
        Largest standard error of a value, relative to the range of the values of its output.
    max_evals : int
        Coalitions, times the size of the background, at which a row may be evaluated.
    rng : RandomState
        Source of the orders.

    Returns
    -------
    Estimate
        Values that sum to the prediction less the base value, for every row.

    References
    ----------
    R. Mitchell, J. Cooper, E. Frank, G. Holmes, *Sampling Permutations for Shapley Value
    Estimation*, section 3 (antithetic orders). M. Mayer and M. Wüthrich, *Shapley Values: Paired-
    Sampling Approximations*, on its exactness for interactions of order two.
    """
    n, p, m = len(x), game.n_players, game.n_outputs
    size = batch_size(game)
    evaluations = 2 * (p - 1) * size / game.n_background
    most = max(int(max_evals / evaluations), FIRST) if evaluations else FIRST
    predictions, base = game.predictions(x).cpu(), game.base_values.cpu()
    target, scale = predictions - base, float(predictions.abs().max() + base.abs().max())
    count = np.zeros(n, dtype=int)
    mean = torch.zeros(n, p, m, dtype=torch.float64)
    spread = torch.zeros_like(mean)
    active = np.arange(n)
    while len(active):
        for part in pieces(len(active), SHARED):
            rows = active[part]
            picks = draw_rows(game, size, rng)
            orders = draw_orders(p, size, rng)
            batch = game.marginal_contributions(taken(x, rows), picks, orders).cpu()
            # What the sum lacks, as the batch saw a part of the background, all players bear.
            batch += ((target[rows] - batch.sum(1)) / p)[:, None]
            count[rows] += 1
            step = batch - mean[rows]
            mean[rows] += step / torch.from_numpy(count[rows])[:, None, None]
            spread[rows] += step * (batch - mean[rows])
        if count.min() < FIRST:
            continue
        tries = torch.from_numpy(count)[:, None, None]
        errors = (spread / (tries * (tries - 1))).clamp(min=0).sqrt()
        # The range shrinks as noise goes, so rows that were precise may have to come back.
        imprecise = (errors > largest_error(mean, precision, scale)).any(2).any(1).numpy()
        active = np.flatnonzero(imprecise & (count < most))
    n_evaluations = 2 * (p - 1) * size * int(count.sum())
    return Estimate(mean, errors, count, not imprecise.any(), n_evaluations)


def largest_error(values: Tensor, precision: float, scale: float) -> Tensor:
    """Standard error (m,) that is small enough; rounding of predictions of a scale always is."""
    spread = values.amax((0, 1)) - values.amin((0, 1))
    return (precision * spread).clamp(min=ROUNDING * scale)


def batch_size(game: OrderGame) -> int:
    """Orders of a batch: whole turns of the background, if it is not large."""
    if game.n_background >= MOST:
        return MOST
    return game.n_background * -(-FEWEST // game.n_background)


def draw_rows(game: OrderGame, size: int, rng: np.random.RandomState) -> np.ndarray:
    """Background rows, each as often as its weight says, up to the rounding of one draw."""
    levels = np.cumsum(game.weights.cpu().numpy())
    order = rng.permutation(game.n_background)
    steps = np.cumsum(np.diff(levels, prepend=0.0)[order])
    at = (np.arange(size) + rng.uniform()) / size
    picks = order[np.minimum(np.searchsorted(steps, at * steps[-1]), len(order) - 1)]
    return rng.permutation(picks)


def draw_orders(n_players: int, size: int, rng: np.random.RandomState) -> np.ndarray:
    """Random orders of the players (size, P)."""
    return np.argsort(rng.uniform(size=(size, n_players)), axis=1)
