"""Penalties on weights: elastic net, for K replicas with strengths of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ElasticNet"]


class ElasticNet:
    r"""The penalty :math:`\alpha (\rho \|w\|_1 + (1 - \rho) \|w\|^2 / 2)` of each of K replicas.

    Parameters
    ----------
    alphas : sequence of float
        Strength α ≥ 0 of each replica.
    l1_ratios : sequence of float
        Share ρ of the l1 norm, between 0 and 1, of each replica.
    stacks : sequence of Tensor of shape (K, size)
        The penalised weights, as views.
    gradients : sequence of Tensor of shape (K, size)
        Their gradients, as views.
    weights, gradient : Tensor
        The flat buffers of these.

    References
    ----------
    H. Zou and T. Hastie, *Regularization and Variable Selection via the Elastic Net*.
    """

    def __init__(
        self,
        alphas: Sequence[float],
        l1_ratios: Sequence[float],
        stacks: Sequence[Tensor],
        gradients: Sequence[Tensor],
        weights: Tensor,
        gradient: Tensor,
    ) -> None:
        pairs = list(zip(alphas, l1_ratios, strict=True))
        self._alone = len(pairs) == 1
        self._smooth = torch.tensor([a * (1 - r) for a, r in pairs], dtype=torch.float64)
        self._sharp = torch.tensor([a * r for a, r in pairs], dtype=torch.float64)
        self.smooth, self.sharp = bool(self._smooth.any()), bool(self._sharp.any())
        self._weights, self._gradient = weights, gradient
        self._stacks, self._gradients = stacks, gradients
        self._flat = self._spread(self._smooth) if self.smooth and not self._alone else None
        self._sharp_flat = self._spread(self._sharp) if self.sharp and not self._alone else None
        self._scalar = float(self._smooth[0])
        self._half = torch.tensor(0.5 * self._scalar, dtype=weights.dtype, device=weights.device)
        self._zero = torch.zeros(len(pairs), dtype=torch.float64, device=weights.device)

    def _spread(self, numbers: Tensor) -> Tensor:
        column = numbers.to(self._weights)[:, None]
        return torch.cat([column.expand_as(stack).reshape(-1) for stack in self._stacks])

    def add_gradient(self, totals: Sequence[float]) -> None:
        """Add the gradient of the smooth part, divided by the total weight of the batch."""
        if self._flat is None:
            self._gradient.add_(self._weights, alpha=self._scalar / totals[0])
        elif min(totals) == max(totals):
            self._gradient.addcmul_(self._flat, self._weights, value=1 / totals[0])
        else:
            shares = self._smooth / torch.tensor(totals, dtype=torch.float64).clamp_min(1e-300)
            column = shares.to(self._weights)[:, None]
            for stack, gradient in zip(self._stacks, self._gradients, strict=True):
                gradient.addcmul_(stack, column)

    def value(self) -> Tensor:
        """The penalty of each replica, shape (K,)."""
        value = self._zero
        if self.smooth:
            if self._alone:
                value = (torch.dot(self._weights, self._weights) * self._half)[None]
            else:
                squares = sum(torch.linalg.vecdot(stack, stack) for stack in self._stacks)
                value = squares * self._smooth.to(self._weights).mul(0.5)
        if self.sharp:
            sums = sum(stack.abs().sum(1) for stack in self._stacks)
            value = value + sums * self._sharp.to(self._weights)
        return value

    def thresholds(self, totals: Sequence[float]) -> Tensor | float:
        """What the l1 norm subtracts from each weight at a step of length one."""
        if self._sharp_flat is None:
            return float(self._sharp[0]) / totals[0]
        if min(totals) == max(totals):
            return self._sharp_flat / totals[0]
        return self._spread(self._sharp / torch.tensor(totals, dtype=torch.float64))
