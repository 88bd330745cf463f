"""Training steps of any torch module: what autograd does once is recorded and replayed.

A loss and its gradient are a fixed sequence of operations, once the size of the batch is known.
While autograd finds it, every operation that reaches the kernels is written down with the memory
that it read and wrote. A step then calls the same kernels on the same memory: no graph is built,
views are not made again, and gradients fall where the optimizer looks for them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .explicit import kept_buffers, kept_parameters
from .parameters import Parameters
from .step import Program, Step

__all__ = ["TracedStep", "trace_step"]

#: Rows kept as an example of the inputs, at most.
EXAMPLES = 64


class TracedStep(Step):
    """Steps of any torch module, with one forward pass for all replicas where torch can stack it.

    Inside ``forward``, dropout by `torch.nn.functional` or by the modules of `torch.nn` multiplies
    by masks that the caller fills, and batch normalisation counts rows by their weights, so that a
    weight equals repeated rows. Anything else that draws random numbers is refused.

    Parameters
    ----------
    module : Module
        The network. It is called in training mode on rows (b, *input_shape), and returns (b, q). It
        belongs to the step, and its own parameters are not used.
    loss : object
        Has ``rows(outputs, targets)``, differentiable by autograd.
    parameters : Parameters
        Values and gradients.
    buffers : dict of str to Tensor
        The other tensors of the module: its buffers, and parameters that are not trained.
    example : Tensor of shape (n, *input_shape)
        A few rows on which the module is tried.
    n_targets : int
        Columns of y.
    n_outputs : int or None, default=None
        q; None: whatever the module returns.
    amp : bool, default=False
        Whether the forward pass and the loss run in bfloat16 where `torch.autocast` thinks fit.

    Attributes
    ----------
    drop_rates : tuple of float
        Probability to drop of each mask.
    fallback_reason : str or None
        Why steps are slower than they might be: why the last program was not recorded, or why it
        goes through the replicas one after another; None if neither.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Any,
        parameters: Parameters,
        buffers: dict[str, Tensor],
        example: Tensor,
        n_targets: int,
        *,
        n_outputs: int | None = None,
        amp: bool = False,
    ) -> None:
        self.module = module
        self.loss = loss
        self.parameters = parameters
        self.buffers = buffers
        self.example = example
        self.n_targets = n_targets
        self.n_outputs = n_outputs
        self.amp = amp
        self.fallback_reason: str | None = None
        self._stacks = True
        self._programs: dict[tuple[int, bool], Program] = {}
        # Two rows, as batch normalisation in a module of its own making may refuse a single one.
        with self._undisturbed():
            masks, _ = self._try(self._buffers(2, weighted=False))
        self.drop_rates = tuple(rate for _, rate in masks)

    def program(self, batch_size: int, *, weighted: bool) -> Program:
        """The step on batches of one size."""
        key = batch_size, weighted
        if key not in self._programs:
            with self._undisturbed():
                self._programs[key] = self._make(self._buffers(batch_size, weighted))
        return self._programs[key]

    def predict(self, inputs: Tensor) -> Tensor:
        """Outputs in evaluation mode, in full precision."""
        self.module.eval()
        shared = inputs.ndim == self.example.ndim
        tensors = {**self.parameters.values, **self.buffers}
        with torch.no_grad():
            if self.parameters.n_replicas == 1:
                return torch.func.functional_call(self.module, tensors, (inputs,))
            if self._stacks:
                call = partial(torch.func.functional_call, self.module)
                try:
                    return torch.func.vmap(call, in_dims=(0, None if shared else 0))(
                        tensors, inputs if shared else (inputs,)
                    )
                except Exception:
                    self._stacks = False
            return torch.stack(
                [
                    torch.func.functional_call(
                        self.module,
                        {name: tensor[k] for name, tensor in tensors.items()},
                        (inputs if shared else inputs[k],),
                    )
                    for k in range(self.parameters.n_replicas)
                ]
            )

    def keep(self, replicas: Sequence[int]) -> TracedStep:
        """The step for some of the replicas."""
        # Autograd keeps no tensor that was made in inference mode.
        with torch.inference_mode(False), torch.no_grad():
            kept = kept_parameters(self.parameters, replicas)
            buffers = kept_buffers(self.buffers, self.parameters.n_replicas, replicas)
        return TracedStep(
            self.module,
            self.loss,
            kept,
            buffers,
            self.example,
            self.n_targets,
            n_outputs=self.n_outputs,
            amp=self.amp,
        )
