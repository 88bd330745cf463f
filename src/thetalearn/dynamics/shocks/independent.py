"""Shocks that do not depend on the state and are not normal: uniform ones, and samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ...randomness import random_numbers
from ..quadrature import Quadrature, like, uniform_rule
from .arguments import as_matrix, as_vector, of_one_length, short
from .base import Single

__all__ = ["Empirical", "Uniform"]


class Uniform(Single):
    """Independent shocks that are uniform between two bounds.

    Its rules are those of `thetalearn.dynamics.quadrature.uniform_rule`.

    Parameters
    ----------
    low : float or array-like of shape (k,), default=0.0
        Lower bounds.
    high : float or array-like of shape (k,), default=1.0
        Upper bounds, above the lower ones.

    Raises
    ------
    ValueError
        If the bounds cross or their shapes do not fit.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import Uniform
    >>> rule = Uniform(0.0, 2.0).nodes("midpoint", 4)
    >>> rule.nodes[:, 0]
    tensor([0.2500, 0.7500, 1.2500, 1.7500], dtype=torch.float64)
    """

    rules = ("auto", "legendre", "midpoint", "sobol")

    low: Tensor
    high: Tensor

    def __init__(self, low: ArrayLike | Tensor = 0.0, high: ArrayLike | Tensor = 1.0) -> None:
        lower, upper = of_one_length(
            {"low": as_vector("low", low), "high": as_vector("high", high)}
        )
        if (lower >= upper).any():
            raise ValueError(f"low={short(lower)} must be below high={short(upper)}")
        self._store(n_shocks=len(lower), state=None, low=lower, high=upper)

    @property
    def mean(self) -> Tensor:
        """Mean (k,)."""
        return (self.low + self.high) / 2

    def expected(self, states: Tensor) -> Tensor:
        """The mean, whatever the state: (n, d) to (n, k)."""
        return like(self.mean, states).expand(len(states), -1)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """Integration rule; see `Shocks.nodes`."""
        self._check_rule(rule, n_nodes)
        unit, weights = uniform_rule(rule, self.n_shocks, n_nodes, random_state)
        return Quadrature(self.mean + (self.high - self.low) / 2 * unit, weights)

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One draw for each state: (n, d) to (n, k)."""
        unit = torch.from_numpy(rng.random_sample((len(states), self.n_shocks)))
        return like(self.low + (self.high - self.low) * unit, states)

    def _parameters(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


class Empirical(Single):
    """Independent draws of rows of a sample.

    Parameters
    ----------
    sample : array-like of shape (N,) or (N, k)
        The observations.
    weights : array-like of shape (N,), default=None
        Probabilities of the rows, up to a factor. None: equal ones.

    Attributes
    ----------
    observations : Tensor of shape (N, k)
        The sample.
    weights : Tensor of shape (N,)
        Probabilities, which sum to one.

    Raises
    ------
    ValueError
        If weights are negative or all zero, or the shapes do not fit.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import Empirical
    >>> Empirical([0.95, 1.05], weights=[1, 3]).mean
    tensor([1.0250], dtype=torch.float64)
    """

    rules = ("auto", "sample")

    observations: Tensor
    weights: Tensor

    def __init__(
        self, sample: ArrayLike | Tensor, weights: ArrayLike | Tensor | None = None
    ) -> None:
        rows = as_matrix("sample", sample)
        if weights is None:
            shares = torch.full((len(rows),), 1.0 / len(rows), dtype=torch.float64)
        else:
            shares = _probabilities(weights, len(rows))
        self._store(n_shocks=rows.shape[1], state=None, observations=rows, weights=shares)

    @property
    def mean(self) -> Tensor:
        """Weighted mean (k,) of the sample."""
        return self.weights @ self.observations

    def expected(self, states: Tensor) -> Tensor:
        """The mean, whatever the state: (n, d) to (n, k)."""
        return like(self.mean, states).expand(len(states), -1)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """The sample, or ``n_nodes`` of its rows taken at random; see `Shocks.nodes`."""
        self._check_rule(rule, n_nodes)
        size = len(self.observations)
        if n_nodes is None or n_nodes == size:
            return Quadrature(self.observations, self.weights)
        if n_nodes > size:
            raise ValueError(f"n_nodes={n_nodes} is more than the {size} rows of the sample")
        possible = self.weights.nonzero()[:, 0]
        kept = random_numbers(random_state).permutation(len(possible))[:n_nodes]
        rows = possible[torch.from_numpy(kept)]
        return Quadrature(self.observations[rows], self.weights[rows] / self.weights[rows].sum())

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One row of the sample for each state: (n, d) to (n, k)."""
        rows = rng.choice(len(self.observations), len(states), p=self.weights.numpy())
        return like(self.observations[torch.from_numpy(rows)], states)

    def _parameters(self) -> dict[str, Any]:
        return {"sample": self.observations, "weights": self.weights}


def _probabilities(weights: ArrayLike | Tensor, size: int) -> Tensor:
    shares = as_vector("weights", weights)
    if len(shares) != size:
        raise ValueError(f"weights has {len(shares)} entries for {size} rows of the sample")
    if (shares < 0).any() or not shares.any():
        raise ValueError(f"weights={short(shares)} must not be negative, nor all zero")
    return shares / shares.sum()
