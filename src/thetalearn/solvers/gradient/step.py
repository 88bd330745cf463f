"""One training step: loss and gradient of K replicas on a batch, by either of two ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .parameters import Parameters

__all__ = ["Program", "Step", "kept_buffers", "replica_buffers"]


@dataclass
class Program:
    """A step on batches of one size, bound to its buffers.

    The caller fills ``inputs``, ``targets`` and, where there are weights, ``share`` and ``total``;
    draws ``masks``; and calls ``run``. All tensors have a leading dimension K if there are several
    replicas, and none for one.

    Attributes
    ----------
    inputs : Tensor of shape (K, b, *input_shape)
        Inputs of the batch.
    targets : Tensor of shape (K, b, m)
        Targets of the batch.
    share : Tensor of shape (K, b) or None
        Weights of the rows, which sum to one; None if all count alike.
    total : Tensor of shape (K,)
        Sum of the weights before they were normalised; b if there are none.
    masks : list of Tensor of shape (K, b, width)
        Factors of dropout: zero, or one over the probability to stay.
    outputs : Tensor of shape (K, b, q)
        What the network returned.
    loss : Tensor of shape (K,)
        Weighted mean of the losses of the rows.
    run : callable
        Computes ``outputs``, ``loss`` and ``parameters.gradient``.
    flat_inputs, flat_targets : Tensor of shape (K * b, ...)
        ``inputs`` and ``targets`` as one batch.
    """

    inputs: Tensor
    targets: Tensor
    share: Tensor | None
    total: Tensor
    outputs: Tensor
    loss: Tensor
    run: Callable[[], None]
    masks: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        stacked = self.loss.ndim
        self.flat_inputs = self.inputs.flatten(0, 1) if stacked else self.inputs
        self.flat_targets = self.targets.flatten(0, 1) if stacked else self.targets


class Step(ABC):
    """Loss and gradient of K replicas of a network."""

    #: Values and gradients that the programs share.
    parameters: Parameters
    #: What the network keeps beside its parameters, such as running statistics, (K, *shape).
    buffers: dict[str, Tensor]

    @abstractmethod
    def program(self, batch_size: int, *, weighted: bool) -> Program:
        """The step on batches of one size."""

    @abstractmethod
    def predict(self, inputs: Tensor, values: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs (K, n, q) in evaluation mode for inputs (K, n, d), or for all alike (n, d).

        With other parameters than its own, ``values``, they can be differentiated by autograd.
        """

    @abstractmethod
    def keep(self, replicas: list[int]) -> Step:
        """The step for some of the replicas, with copies of their state."""


def kept_buffers(
    buffers: Mapping[str, Tensor], n_replicas: int, replicas: Sequence[int]
) -> dict[str, Tensor]:
    """Buffers of some of the replicas."""
    if n_replicas == 1:
        return {name: value.clone() for name, value in buffers.items()}
    kept = {name: value[list(replicas)] for name, value in buffers.items()}
    return {name: value[0] if len(replicas) == 1 else value for name, value in kept.items()}


def replica_buffers(buffers: Mapping[str, Tensor], n_replicas: int, k: int) -> dict[str, Tensor]:
    """Buffers of one replica, as views."""
    return {name: value if n_replicas == 1 else value[k] for name, value in buffers.items()}
