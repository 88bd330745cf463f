"""The parameters of K replicas of a model in one flat buffer."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

__all__ = ["Parameters"]

#: Fused updates round the last few numbers of a buffer in another way than the rest. With buffers
#: of multiples of this length none of them is a parameter, and a replica has the same digits alone.
PADDING = 16


class Parameters:
    """Values and gradients of the parameters of K replicas.

    All values lie in one flat tensor and all gradients in another, so that an update of all
    replicas is a few operations. In it, the K copies of a parameter follow one another, and the
    penalised parameters come first. ``values[name]`` and ``gradients[name]`` are views of shape
    (K, *shape), and of shape (*shape) if there is one replica: products of single matrices are
    faster than those of stacks of one.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of each parameter, of one replica.
    n_replicas : int
        K.
    penalised : collection of str, default=()
        Parameters to which penalties apply.
    dtype : torch.dtype, default=torch.float64
        Precision.
    device : torch.device, default="cpu"
        Where the buffers are.

    Attributes
    ----------
    theta, gradient : Tensor of shape (K * p + padding,)
        The flat buffers, with some zeros at their end.
    size : int
        K * p.
    values, gradients : dict of str to Tensor
        Views into them.
    n_penalised : int
        Length of the penalised part, the beginning of the buffers.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        n_replicas: int,
        *,
        penalised: Collection[str] = (),
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.n_replicas = n_replicas
        self.shapes = {
            **{name: shape for name, shape in shapes.items() if name in penalised},
            **{name: shape for name, shape in shapes.items() if name not in penalised},
        }
        self.penalised = tuple(name for name in self.shapes if name in penalised)
        sizes = [prod(shape) for shape in self.shapes.values()]
        self._offsets = np.cumsum([0, *sizes]) * n_replicas
        self.n_penalised = int(self._offsets[len(self.penalised)])
        self.size = int(self._offsets[-1])
        padded = -(-self.size // PADDING) * PADDING
        self.theta = torch.zeros(padded, dtype=dtype, device=device)
        self.gradient = torch.zeros_like(self.theta)
        self.values = self.views(self.theta)
        self.gradients = self.views(self.gradient)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """A flat buffer as one tensor (K, *shape), or (*shape), for each parameter."""
        lead = () if self.n_replicas == 1 else (self.n_replicas,)
        return {
            name: flat[start:stop].view((*lead, *shape))
            for (name, shape), start, stop in zip(
                self.shapes.items(), self._offsets[:-1], self._offsets[1:], strict=True
            )
        }

    def stacks(self, flat: Tensor) -> list[Tensor]:
        """A flat buffer as one tensor (K, size) for each parameter."""
        return [
            flat[start:stop].view(self.n_replicas, -1)
            for start, stop in itertools.pairwise(self._offsets)
        ]

    def replica(self, k: int, flat: Tensor | None = None) -> dict[str, Tensor]:
        """The parameters of one replica, or their part of another flat buffer, as views."""
        stacks = self.stacks(self.theta if flat is None else flat)
        return {
            name: stack[k].view(shape)
            for (name, shape), stack in zip(self.shapes.items(), stacks, strict=True)
        }

    def set_replica(self, k: int, values: Mapping[str, Tensor]) -> None:
        """Copy values into one replica."""
        for name, view in self.replica(k).items():
            view.copy_(values[name])

    def spread(self, numbers: Sequence[float] | Tensor) -> Tensor:
        """A number for each replica as a flat buffer that repeats it for all its parameters."""
        column = torch.as_tensor(numbers, dtype=self.theta.dtype, device=self.theta.device)
        flat = torch.zeros_like(self.theta)
        for stack in self.stacks(flat):
            stack.copy_(column[:, None].expand_as(stack))
        return flat

    def keep(self, flat: Tensor, replicas: Sequence[int]) -> Tensor:
        """A flat buffer without the other replicas."""
        parts = [stack[list(replicas)].reshape(-1) for stack in self.stacks(flat)]
        size = sum(map(len, parts))
        return torch.cat([*parts, flat.new_zeros(-size % PADDING)])

    def select(self, replicas: Sequence[int]) -> Parameters:
        """A copy of some of the replicas."""
        kept = Parameters(
            self.shapes,
            len(replicas),
            penalised=self.penalised,
            dtype=self.theta.dtype,
            device=self.theta.device,
        )
        kept.theta.copy_(self.keep(self.theta, replicas))
        return kept

    def finite(self, flat: Tensor) -> list[bool]:
        """Whether all numbers of a replica are finite, for each."""
        if bool(torch.isfinite(flat.sum())):
            return [True] * self.n_replicas
        good = torch.stack([torch.isfinite(stack).all(1) for stack in self.stacks(flat)])
        return good.all(0).tolist()
