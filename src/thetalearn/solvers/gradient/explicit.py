"""Training steps by explicit backpropagation: operations recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .parameters import Parameters
from .step import Program, Step, kept_buffers, replica_buffers

__all__ = ["ExplicitStep", "Recordable"]

#: What a network writes its operations on.
MakeTape = Callable[..., Any]


class Recordable(Protocol):
    """A network that knows its derivatives."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of inputs first, number of outputs last."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter."""

    @property
    def penalised(self) -> tuple[str, ...]:
        """Parameters to which penalties apply."""

    @property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the running statistics."""

    def record(self, tape: Any) -> Tensor:
        """Write a training step on a tape; gives the buffer of the outputs."""

    def apply(self, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Evaluate, as for prediction."""


class ExplicitStep(Step):
    """Steps of a network that writes its derivatives on a tape itself.

    Parameters
    ----------
    network : Recordable
        The network.
    loss : object
        Has ``value_with_gradient_(outputs, targets, share, gradient, value)``.
    tape : callable
        Makes an empty tape.
    parameters : Parameters
        Values and gradients.
    buffers : dict of str to Tensor
        Running statistics.
    n_targets : int
        Columns of y.
    """

    def __init__(
        self,
        network: Recordable,
        loss: Any,
        tape: MakeTape,
        parameters: Parameters,
        buffers: dict[str, Tensor],
        n_targets: int,
    ) -> None:
        self.network = network
        self.loss = loss
        self.tape = tape
        self.parameters = parameters
        self.buffers = buffers
        self.n_targets = n_targets
        self._programs: dict[tuple[int, bool], Program] = {}

    def program(self, batch_size: int, *, weighted: bool) -> Program:
        """The step on batches of one size."""
        key = batch_size, weighted
        if key not in self._programs:
            self._programs[key] = self._record(batch_size, weighted)
        return self._programs[key]

    def _record(self, batch_size: int, weighted: bool) -> Program:
        theta, sizes = self.parameters.theta, self.network.sizes
        lead = () if self.parameters.n_replicas == 1 else (self.parameters.n_replicas,)
        share = theta.new_empty(*lead, batch_size) if weighted else None
        total = theta.new_full(lead, float(batch_size))
        inputs = theta.new_empty(*lead, batch_size, sizes[0])
        targets = theta.new_empty(*lead, batch_size, self.n_targets)
        tape = self.tape(
            inputs, self.parameters.values, self.parameters.gradients, self.buffers, share, total
        )
        outputs = self.network.record(tape)
        value = theta.new_empty(lead)
        tape.forward(
            self.loss.value_with_gradient_, outputs, targets, share, tape.gradient(outputs), value
        )
        operations = tape.operations()

        def run() -> None:
            for operation in operations:
                operation()

        return Program(inputs, targets, share, total, outputs, value, run, tape.masks)

    def predict(self, inputs: Tensor, values: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs in evaluation mode."""
        values = self.parameters.values if values is None else values
        return self.network.apply(inputs, {**values, **self.buffers})

    def keep(self, replicas: Sequence[int]) -> ExplicitStep:
        """The step for some of the replicas."""
        return ExplicitStep(
            self.network,
            self.loss,
            self.tape,
            self.parameters.select(replicas),
            kept_buffers(self.buffers, self.parameters.n_replicas, replicas),
            self.n_targets,
        )


def start_step(
    network: Recordable,
    loss: Any,
    tape: MakeTape,
    starts: Sequence[Mapping[str, Tensor]],
    n_targets: int,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
) -> ExplicitStep:
    """An explicit step whose replicas begin with given parameters and buffers."""
    parameters = Parameters(
        network.shapes, len(starts), penalised=network.penalised, dtype=dtype, device=device
    )
    lead = () if len(starts) == 1 else (len(starts),)
    buffers = {
        name: torch.empty(*lead, *shape, dtype=dtype, device=device)
        for name, shape in network.buffer_shapes.items()
    }
    step = ExplicitStep(network, loss, tape, parameters, buffers, n_targets)
    for k, start in enumerate(starts):
        parameters.set_replica(k, start)
        for name, view in replica_buffers(step.buffers, len(starts), k).items():
            view.copy_(start[name])
    return step
