"""What a function f(x; θ) is to a solver of functional equations: the abstract classes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

__all__ = ["ParametricFunction", "Points"]

# glibc returns freed memory to the system at once, and pages are then mapped again at every step,
# until a large block has been freed: one that is never touched costs nothing.
torch.empty(4_000_000, dtype=torch.float64)


class Points(ABC):
    """A function bound to n points, at which it is asked for many values of θ.

    Attributes
    ----------
    x : Tensor of shape (n, d)
        The points.
    """

    x: Tensor

    @abstractmethod
    def value(self, theta: Tensor) -> Tensor:
        """Values f(x; θ), shape (n, m)."""

    @abstractmethod
    def jacobian(self, theta: Tensor) -> Tensor:
        """Derivatives by the inputs, ∂f_a/∂x_j at [i, a, j], shape (n, m, d)."""

    @abstractmethod
    def hessian(self, theta: Tensor) -> Tensor:
        """Second derivatives by the inputs, symmetric, shape (n, m, d, d)."""

    @abstractmethod
    def pullback(self, theta: Tensor, u: Tensor) -> Tensor:
        r"""Derivatives by θ, weighted and summed over each group of points.

        Parameters
        ----------
        theta : Tensor of shape (n_parameters,)
            Where to differentiate.
        u : Tensor of shape (P, Q, E, m)
            Weights. The points are P groups of Q neighbours, n = PQ: point q of group p is row
            pQ + q of ``x``. E is the number of sums, as of the equations that hold in a group.

        Returns
        -------
        Tensor of shape (P, E, n_parameters)
            :math:`\sum_{q,a} u_{pqea}\, \partial f_a(x_{pQ+q}; \theta)/\partial\theta`.

        Raises
        ------
        ValueError
            If the shape of u does not fit the points and outputs.
        """


class ParametricFunction(ABC):
    """A function f(x; θ) from d inputs to m outputs, without its parameters.

    Attributes
    ----------
    n_inputs : int
        Number d of inputs.
    n_outputs : int
        Number m of outputs.
    n_parameters : int
        Length of θ.
    linear : bool
        Whether f is linear in θ.
    """

    n_inputs: int
    n_outputs: int
    n_parameters: int
    linear: bool

    @abstractmethod
    def at(self, x: Tensor) -> Points:
        """Bind to points of shape (n, d); what depends on them alone is computed once."""

    @abstractmethod
    def fit(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None = None,
        *,
        start: Tensor | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Tensor:
        """Parameters for which f(x; θ) comes closest to y in least squares.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            Points.
        y : Tensor of shape (n, m)
            Values.
        weight : Tensor of shape (n,), default=None
            Nonnegative weights of the squared errors; None for 1.
        start : Tensor of shape (n_parameters,), default=None
            Where to start, if f is not linear in θ; None for random parameters.
        random_state : int, RandomState or None, default=None
            Seed of the random parameters.

        Returns
        -------
        Tensor of shape (n_parameters,)
        """

    @abstractmethod
    def initial(self, rng: np.random.RandomState, restart: int = 0) -> Tensor:
        """Parameters to start from, shape (n_parameters,); restarts count from 1."""


def root_weight(x: Tensor, weight: Tensor | None) -> Tensor | None:
    """Square roots of weights, shape (n, 1)."""
    if weight is None:
        return None
    if weight.shape != (len(x),) or not bool((weight >= 0).all()):
        raise ValueError(
            f"weight of shape {tuple(weight.shape)} must hold a nonnegative number for each of "
            f"the {len(x)} points"
        )
    return weight.sqrt()[:, None]


def check_count(name: str, count: int) -> None:
    if not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"{name}={count!r} must be a positive int")


def check_points(x: Tensor, n_inputs: int) -> None:
    if x.ndim != 2 or x.shape[1] != n_inputs:
        raise ValueError(
            f"x of shape {tuple(x.shape)} must have shape (n, {n_inputs}) for a function of "
            f"{n_inputs} inputs"
        )


def check_targets(x: Tensor, y: Tensor, n_outputs: int) -> None:
    if y.shape != (len(x), n_outputs):
        raise ValueError(
            f"y of shape {tuple(y.shape)} must have shape ({len(x)}, {n_outputs}): a row for each "
            "point, a column for each output"
        )


def check_weights(u: Tensor, x: Tensor, n_outputs: int) -> tuple[int, int, int, int]:
    """Sizes P, Q, E and m of what a pullback is given."""
    if u.ndim != 4 or u.shape[0] * u.shape[1] != len(x) or u.shape[3] != n_outputs:
        raise ValueError(
            f"u of shape {tuple(u.shape)} must have shape (P, Q, E, {n_outputs}) with "
            f"P * Q = {len(x)} points"
        )
    return u.shape[0], u.shape[1], u.shape[2], u.shape[3]
