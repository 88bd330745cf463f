"""Shapley values and interactions from the values of all coalitions."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.tables import taken
from .game import Game, pieces

__all__ = ["all_coalitions", "enumerate_coalitions", "interaction_matrix", "shapley_matrix"]

#: Bytes of the table of values that is held at once.
TABLE = 2**26


def all_coalitions(n_players: int) -> np.ndarray:
    """Every coalition as a row of a boolean matrix (2^P, P), the empty one first.

    Examples
    --------
    >>> from thetalearn.inspection.importance.games.exact import all_coalitions
    >>> all_coalitions(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return (np.arange(2**n_players)[:, None] >> np.arange(n_players)) & 1 == 1


def shapley_matrix(n_players: int) -> np.ndarray:
    r"""The matrix (P, 2^P) that turns the values of `all_coalitions` into Shapley values.

    .. math:: \phi_p = \sum_{S \not\ni p} \frac{|S|!\,(P - |S| - 1)!}{P!}\,[v(S + p) - v(S)]

    References
    ----------
    L. Shapley, *A Value for n-Person Games*, equation 13.

    Examples
    --------
    >>> from thetalearn.inspection.importance.games.exact import shapley_matrix
    >>> shapley_matrix(2)
    array([[-0.5,  0.5, -0.5,  0.5],
           [-0.5, -0.5,  0.5,  0.5]])
    """
    inside = all_coalitions(n_players)
    size = inside.sum(1)
    weight = np.array(
        [
            factorial(s) * factorial(n_players - s - 1) / factorial(n_players)
            for s in range(n_players)
        ]
    )
    joined, apart = weight[size - 1], weight[np.minimum(size, n_players - 1)]
    return np.where(inside.T, joined, -apart)


def interaction_matrix(n_players: int) -> np.ndarray:
    r"""The matrix (P(P - 1)/2, 2^P) of the interactions of pairs, in the order of `triu_indices`.

    A pair's interaction, half of which each of its players gets, is

    .. math:: \Phi_{pr} = \sum_{S \not\ni p, r} \frac{|S|!\,(P - |S| - 2)!}{2\,(P - 1)!}\,
              [v(S + p + r) - v(S + p) - v(S + r) + v(S)].

    References
    ----------
    S. Lundberg et al., *From Local Explanations to Global Understanding with Explainable AI for
    Trees*, section on interaction values.
    """
    inside = all_coalitions(n_players)
    size = inside.sum(1)
    weight = np.array(
        [
            factorial(s) * factorial(n_players - s - 2) / (2 * factorial(n_players - 1))
            for s in range(n_players - 1)
        ]
    )
    first, second = np.triu_indices(n_players, 1)
    of_pair = inside[:, first].astype(int) + inside[:, second]
    rest = size[:, None] - of_pair
    return (np.where(of_pair == 1, -1.0, 1.0) * weight[rest]).T


def enumerate_coalitions(
    game: Game, x: Any, *, interactions: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Exact Shapley values (N, P, m), and interactions (N, P, P, m) if asked for.

    The interactions of a row and output are symmetric and sum to the Shapley values; the diagonal
    holds what is left for each player alone.
    """
    p = game.n_players
    masks = all_coalitions(p)
    combine = torch.from_numpy(shapley_matrix(p))
    pairs = torch.from_numpy(interaction_matrix(p)) if interactions and p > 1 else None
    values, matrices = [], []
    size = max(TABLE // (8 * len(masks) * game.n_outputs), 1)
    for part in pieces(len(x), size):
        table = game.values(taken(x, np.arange(part.start, part.stop)), masks)
        table = table.to(combine.device)
        own = torch.einsum("ps,nsm->npm", combine, table)
        values.append(own)
        if interactions:
            of_pairs = None if pairs is None else torch.einsum("qs,nsm->nqm", pairs, table)
            matrices.append(symmetric(own, of_pairs))
    return torch.cat(values), torch.cat(matrices) if interactions else None


def symmetric(own: Tensor, of_pairs: Tensor | None) -> Tensor:
    """Interactions of all pairs (N, P, P, m) from those of each pair once, and the values."""
    n, p, m = own.shape
    matrix = own.new_zeros(n, p, p, m)
    if of_pairs is not None:
        first, second = np.triu_indices(p, 1)
        matrix[:, first, second] = of_pairs
        matrix[:, second, first] = of_pairs
    diagonal = torch.arange(p)
    matrix[:, diagonal, diagonal] = own - matrix.sum(2)
    return matrix
