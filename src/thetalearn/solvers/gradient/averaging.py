"""Averages of iterates."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["IterateAverage"]


class IterateAverage:
    """The mean of the iterates after the first few (Polyak-Ruppert averaging).

    With a rate that falls more slowly than 1/k the mean has the best asymptotic variance that any
    method has, whatever the curvature. The book does not treat it.

    Parameters
    ----------
    theta : Tensor of shape (p,)
        Parameters, for their shape.
    start : int, default=0
        Updates whose iterates are left out.

    Attributes
    ----------
    count : int
        Iterates averaged so far.

    References
    ----------
    B. Polyak and A. Juditsky, "Acceleration of stochastic approximation by averaging", *SIAM
    Journal on Control and Optimization* 30 (1992).

    Examples
    --------
    >>> average = IterateAverage(torch.zeros(1), start=1)
    >>> for steps, theta in enumerate([9.0, 1.0, 3.0], start=1):
    ...     average.update(torch.tensor([theta]), steps)
    >>> average.value()
    tensor([2.])
    """

    def __init__(self, theta: Tensor, start: int = 0) -> None:
        if start < 0:
            raise ValueError(f"start={start!r} must be at least 0")
        self.start, self.count = start, 0
        self._mean = torch.zeros_like(theta)

    def update(self, theta: Tensor, steps: int) -> None:
        """Take in an iterate.

        Parameters
        ----------
        theta : Tensor of shape (p,)
            The iterate.
        steps : int
            Updates that led to it.
        """
        if steps > self.start:
            self.count += 1
            self._mean.lerp_(theta, 1 / self.count)

    def value(self) -> Tensor:
        """The mean; zeros before the first iterate. It changes with the next update."""
        return self._mean

    def load(self, value: Tensor, count: int) -> None:
        """Go on from the mean of ``count`` iterates."""
        self._mean.copy_(value)
        self.count = count
