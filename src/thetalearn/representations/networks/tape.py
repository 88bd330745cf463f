"""A list of operations that are bound to their buffers and replayed at every training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = ["Tape"]


class Tape:
    """Forward and backward operations of a network on batches of one size.

    A layer writes its operations once, when the tape is recorded. A step then calls them one after
    another: no graph is built, nothing is allocated, and nothing is decided.

    Parameters
    ----------
    inputs : Tensor of shape (b, d) or (K, b, d)
        Buffer of the inputs.
    values, gradients : mapping of str to Tensor
        Parameters, and where their gradients go.
    buffers : mapping of str to Tensor
        Running statistics and the like.
    share : Tensor of shape (b,) or (K, b), or None
        Weights of the rows, which sum to one; None if all count alike.
    total : Tensor of shape () or (K,)
        Sum of the weights before they were normalised.
    """

    def __init__(
        self,
        inputs: Tensor,
        values: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        share: Tensor | None,
        total: Tensor,
    ) -> None:
        self.inputs = inputs
        self.values = values
        self.gradients = gradients
        self.buffers = buffers
        self.share = share
        self.total = total
        self.masks: list[Tensor] = []
        self._forward: list[Callable[[], Any]] = []
        self._backward: list[list[Callable[[], Any]]] = []
        self._gradient_of: dict[int, Tensor] = {}
        self._constant = {id(inputs)}

    def buffer(self, width: int) -> Tensor:
        """A new buffer like the inputs, with another number of columns."""
        return self.inputs.new_empty(*self.inputs.shape[:-1], width)

    def forward(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Add an operation to the way forward."""
        self._forward.append(partial(operation, *args, **kwargs))

    def backward(self, *operations: Callable[[], Any]) -> None:
        """Add the way back through a layer: bound operations, in the order of their execution."""
        self._backward.append(list(operations))

    def gradient(self, tensor: Tensor) -> Tensor:
        """Where the derivative of the loss by a buffer goes."""
        key = id(tensor)
        if key not in self._gradient_of:
            self._gradient_of[key] = torch.empty_like(tensor)
        return self._gradient_of[key]

    def share_gradient(self, tensor: Tensor, other: Tensor) -> Tensor:
        """Let the derivative by one buffer take the place of that by another."""
        self._gradient_of[id(tensor)] = self.gradient(other)
        return self._gradient_of[id(tensor)]

    def is_constant(self, tensor: Tensor) -> bool:
        """Whether a buffer does not depend on the parameters, so that no derivative is needed."""
        return id(tensor) in self._constant

    def mark_constant(self, tensor: Tensor) -> None:
        """Say that a buffer does not depend on the parameters."""
        self._constant.add(id(tensor))

    def operations(self) -> list[Callable[[], Any]]:
        """Everything, in the order of execution."""
        back = [operation for block in reversed(self._backward) for operation in block]
        return self._forward + back
