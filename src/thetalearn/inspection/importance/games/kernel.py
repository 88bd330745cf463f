"""Shapley values by weighted least squares on sampled coalitions, with standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.tables import taken
from .game import Game, pieces
from .sampling import FIRST, SHARED, Estimate, largest_error

__all__ = ["draw_coalitions", "regress_coalitions"]

#: Coalitions of a block for each player, complements included.
PER_PLAYER = 6


def regress_coalitions(
    game: Game,
    x: Any,
    *,
    precision: float,
    max_evals: int,
    rng: np.random.RandomState,
) -> Estimate:
    """Fit an additive game to the values of sampled coalitions and their complements.

    Every block of rows has coalitions of its own, so that errors of distant rows are independent.
    A value is the fit to all coalitions; its standard error comes from leaving one block of
    coalitions out at a time (the jackknife), as coalitions within a block depend on each other.

    Parameters
    ----------
    game : Game
        What coalitions are worth.
    x : rows of the game
        Rows to explain.
    precision : float
        Largest standard error of a value, relative to the range of the values of its output.
    max_evals : int
        Coalitions at which a row may be evaluated.
    rng : RandomState
        Source of the coalitions.

    Returns
    -------
    Estimate
        Values that sum to the prediction less the base value, for every row.

    References
    ----------
    S. Lundberg and S.-I. Lee, *A Unified Approach to Interpreting Model Predictions*, theorem 2.
    I. Covert and S.-I. Lee, *Improving KernelSHAP: Practical Shapley Value Estimation via Linear
    Regression*, section 4 (paired sampling).
    """
    n, p, m = len(x), game.n_players, game.n_outputs
    size = 2 * ((PER_PLAYER * p + 1) // 2)
    values = torch.zeros(n, p, m, dtype=torch.float64)
    errors = torch.zeros_like(values)
    count = np.zeros(n, dtype=int)
    predictions, base = game.predictions(x).cpu(), game.base_values.cpu()
    scale = float(predictions.abs().max() + base.abs().max())
    for part in pieces(n, SHARED):
        rows = taken(x, np.arange(part.start, part.stop))
        fit = _Regression(p, predictions[part] - base)
        due = FIRST
        while True:
            masks = draw_coalitions(p, size, rng)
            fit.add(masks, game.values(rows, masks).cpu() - base)
            last = (fit.n_blocks + 1) * size > max_evals
            if fit.n_blocks < FIRST or (fit.n_blocks < due and not last):
                continue
            values[part], errors[part] = fit.solve()
            bound = largest_error(values[part], precision, scale)
            precise = bool((errors[part] <= bound).all())
            if precise or last:
                break
            # The jackknife solves for every block, so it is not for every block that it runs.
            due = fit.n_blocks + 1 + fit.n_blocks // 8
        count[part] = fit.n_blocks
    converged = bool((errors <= largest_error(values, precision, scale)).all())
    n_evaluations = size * game.n_background * int(count.sum())
    return Estimate(values, errors, count, converged, n_evaluations)


def draw_coalitions(n_players: int, size: int, rng: np.random.RandomState) -> np.ndarray:
    """Coalitions (size, P) by the kernel's distribution of their sizes, each with its complement.

    The kernel gives a size s a weight in proportion to 1 / (s (P - s)), shared alike by the
    coalitions of that size; the empty and the full one are known.
    """
    sizes = np.arange(1, n_players)
    weight = 1 / (sizes * (n_players - sizes))
    drawn = rng.choice(sizes, size=size // 2, p=weight / weight.sum())
    place = np.argsort(np.argsort(rng.uniform(size=(size // 2, n_players)), axis=1), axis=1)
    masks = place < drawn[:, None]
    return np.concatenate([masks, ~masks])


class _Regression:
    """Least squares over coalitions with the sum of the values given, block by block."""

    def __init__(self, n_players: int, total: Tensor) -> None:
        self.n_players, self.total = n_players, total
        self.grams: list[Tensor] = []
        self.products: list[Tensor] = []

    @property
    def n_blocks(self) -> int:
        return len(self.grams)

    def add(self, masks: np.ndarray, gains: Tensor) -> None:
        """Take in gains (N, M, m) of coalitions over the base value."""
        inside = torch.from_numpy(masks).double()
        # The last value is the total less the others.
        design = inside[:, :-1] - inside[:, -1:]
        target = gains - inside[:, -1][None, :, None] * self.total[:, None]
        self.grams.append(design.T @ design)
        self.products.append(torch.einsum("sp,nsm->npm", design, target))

    def solve(self) -> tuple[Tensor, Tensor]:
        """Values (N, P, m) and their standard errors."""
        gram, product = sum(self.grams), sum(self.products)
        values = self._values(gram, product)
        left_out = [
            self._values(gram - g, product - c)
            for g, c in zip(self.grams, self.products, strict=True)
        ]
        k = len(left_out)
        spread = torch.stack([(each - values).square() for each in left_out]).sum(0)
        return values, (spread * (k - 1) / k).sqrt()

    def _values(self, gram: Any, product: Any) -> Tensor:
        others = torch.linalg.lstsq(gram, product.movedim(1, 0).flatten(1), driver="gelsd")[0]
        others = others.view(self.n_players - 1, *self.total.shape).movedim(0, 1)
        return torch.cat([others, (self.total - others.sum(1))[:, None]], dim=1)
