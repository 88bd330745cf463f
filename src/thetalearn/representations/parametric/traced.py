"""Any network, differentiated by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .function import Points, check_weights

if TYPE_CHECKING:
    from .network import NetworkFunction

__all__ = ["TracedPoints", "row_gradient"]


class TracedPoints(Points):
    """A network at given points, of which nothing is known but that rows do not mix."""

    def __init__(self, function: NetworkFunction, x: Tensor) -> None:
        self.function, self.x = function, x
        self._unit, self._slopes = function.unit(x), function.slopes(x)

    def value(self, theta: Tensor) -> Tensor:
        """Values, shape (n, m), differentiable in θ by autograd."""
        return self.function.apply(theta, self._unit)

    def jacobian(self, theta: Tensor) -> Tensor:
        """First derivatives, shape (n, m, d)."""
        with torch.enable_grad():
            unit = self._unit.detach().requires_grad_()
            return self._first(theta.detach(), unit).detach() * self._slopes

    def hessian(self, theta: Tensor) -> Tensor:
        """Second derivatives, shape (n, m, d, d)."""
        n, d = self.x.shape
        with torch.enable_grad():
            unit = self._unit.detach().requires_grad_()
            first = self._first(theta.detach(), unit)
            rows = [row_gradient(column, unit) for column in first.flatten(1).unbind(1)]
        second = torch.stack(rows, 1).reshape(n, self.function.n_outputs, d, d)
        second = (second + second.transpose(2, 3)) / 2
        return second.detach() * self._slopes * self._slopes[:, None]

    def _first(self, theta: Tensor, unit: Tensor) -> Tensor:
        """Derivatives by what the network sees, (n, m, d), with their graph."""
        outputs = self.function.apply(theta, unit)
        return torch.stack([row_gradient(column, unit) for column in outputs.unbind(1)], 1)

    def pullback(self, theta: Tensor, u: Tensor) -> Tensor:
        """Weighted sums of derivatives by the parameters, shape (P, E, n_parameters)."""
        groups, size, _, _ = check_weights(u, self.x, self.function.n_outputs)

        def weighted(theta: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return (self.function.apply(theta, x) * u).sum()

        of_sums = torch.func.vmap(torch.func.grad(weighted), in_dims=(None, None, 1))
        of_groups = torch.func.vmap(of_sums, in_dims=(None, 0, 0))
        pulled: Tensor = of_groups(theta.detach(), self._unit.unflatten(0, (groups, size)), u)
        return pulled


def row_gradient(column: Tensor, x: Tensor) -> Tensor:
    """Derivative of each entry of a column by the same row of x; zero where there is no path."""
    if not column.requires_grad:
        return torch.zeros_like(x)
    (found,) = torch.autograd.grad(column.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found
