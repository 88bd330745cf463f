"""One pass of a torch module, forward by its own code and backward by autograd.

What the caller decides, the factors of dropout and the weights of the rows, is brought into a
module that knows nothing of it: while it runs, the functions of `torch.nn.functional` in which they
matter are replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Batch", "Gradients", "ModulePass", "RowOperations"]

#: Gradients, None for zero, and where they belong.
Gradients = list[tuple[Tensor | None, Tensor]]

#: For each mask its shape for one replica, and the probability to drop.
Masks = list[tuple[tuple[int, int], float]]


@dataclass
class Batch:
    """What a pass is computed from, beside parameters and buffers; see `Program`."""

    inputs: Tensor
    targets: Tensor
    share: Tensor | None
    total: Tensor
    masks: list[Tensor] = field(default_factory=list)

    @property
    def weights(self) -> tuple[Tensor, Tensor] | None:
        """Share and total, if rows have weights."""
        return None if self.share is None else (self.share, self.total)

    def replica(self, k: int) -> Batch:
        """The part of one replica of several."""
        share = None if self.share is None else self.share[k]
        masks = [mask[k] for mask in self.masks]
        return Batch(self.inputs[k], self.targets[k], share, self.total[k], masks)


class ModulePass:
    """Outputs, losses and gradients of a module in training mode.

    Parameters
    ----------
    module : Module
        Takes rows (b, *input_shape) and returns (b, q).
    loss : object
        Has ``rows(outputs, targets)``, differentiable by autograd.
    amp : bool
        Whether the outputs are computed in bfloat16 where `torch.autocast` does. The loss is
        computed from them in full precision.
    """

    def __init__(self, module: nn.Module, loss: Any, *, amp: bool) -> None:
        self.module = module
        self.loss = loss
        self.amp = amp

    def evaluate(
        self,
        values: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        batch: Batch,
        *,
        stacked: bool,
    ) -> tuple[Tensor, Tensor, Gradients]:
        """Outputs, losses and gradients, for one replica or a stack of them."""
        self.module.train()
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        weights = batch.weights
        apply: Callable[..., Tensor] = self._apply
        if stacked:
            apply = torch.func.vmap(apply, (0, 0, 0, 0, None if weights is None else 0))
        with self._autocast(batch):
            outputs = apply(leaves, buffers, batch.inputs, batch.masks, weights)
        outputs = outputs.to(batch.targets.dtype)
        rows = self.loss.rows(outputs, batch.targets)
        loss = rows.mean(-1) if batch.share is None else (rows * batch.share).sum(-1)
        if not loss.requires_grad:
            name = type(self.module).__name__
            raise ValueError(f"what {name} returns does not depend on its parameters")
        # As a sum, each loss has the derivative 1; torch imports SymPy for derivatives it is given.
        found = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
        pairs: Gradients = [*zip(found, gradients.values(), strict=True)]
        return outputs.detach(), loss.detach(), pairs

    def find_masks(
        self,
        values: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        batch: Batch,
        n_outputs: int | None,
    ) -> Masks:
        """The masks that a pass of one replica asks for, once what it returns has been checked."""
        self.module.train()
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        with self._autocast(batch), RowOperations(len(batch.inputs), None, batch.weights) as rows:
            outputs = self._call(leaves, buffers, batch.inputs)
        self._check_outputs(outputs, len(batch.inputs), n_outputs)
        # For its errors, and for a recorder: a loss of the user may branch, or be random.
        self.loss.rows(outputs.to(batch.targets.dtype), batch.targets)
        return rows.found

    def _check_outputs(self, outputs: Any, n_rows: int, n_outputs: int | None) -> None:
        name = type(self.module).__name__
        if not isinstance(outputs, Tensor):
            raise TypeError(f"{name} must return a tensor, and returned {type(outputs).__name__}")
        if outputs.ndim != 2 or len(outputs) != n_rows or not outputs.is_floating_point():
            raise ValueError(
                f"{name} must return floating-point numbers of shape (batch size, n_outputs); for "
                f"{n_rows} rows it returned {outputs.dtype} of shape {tuple(outputs.shape)}"
            )
        if n_outputs is not None and outputs.shape[1] != n_outputs:
            raise ValueError(
                f"{name} must return {n_outputs} outputs for each row, as the loss {self.loss!r} "
                f"asks for; it returned {outputs.shape[1]}"
            )

    def _autocast(self, batch: Batch) -> torch.autocast:
        # Casts are not kept for a second use, as they would outlive a pass of vmap.
        device = batch.targets.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.amp, cache_enabled=False)

    def _apply(
        self,
        values: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        inputs: Tensor,
        masks: list[Tensor],
        weights: tuple[Tensor, Tensor] | None,
    ) -> Any:
        """Outputs of one replica with given masks."""
        with RowOperations(len(inputs), masks, weights):
            return self._call(values, buffers, inputs)

    def _call(
        self, values: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Tensor
    ) -> Any:
        """Call the module, which may change buffers."""
        tensors = {**values, **buffers}
        outputs = torch.func.functional_call(self.module, tensors, (inputs,))
        for name, buffer in buffers.items():
            # The module may have put another tensor in the place of this one.
            if tensors[name] is not buffer:
                buffer.copy_(tensors[name].detach())
        return outputs


class RowOperations(TorchFunctionMode):
    """Lets a caller decide on what is random in a module, and on the weights of its rows.

    Parameters
    ----------
    batch_size : int
        Rows.
    masks : list of Tensor or None
        Factors of dropout, in the order in which the module asks for them; None: ones.
    weights : tuple of Tensor or None
        Weights of the rows, which sum to one, and their sum before.

    Attributes
    ----------
    found : list
        Shapes and rates of the masks that were asked for.
    """

    def __init__(
        self, batch_size: int, masks: list[Tensor] | None, weights: tuple[Tensor, Tensor] | None
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.masks = None if masks is None else iter(masks)
        self.weights = weights
        self.found: Masks = []
        self.replacements: dict[Any, Callable[..., Tensor]] = {
            F.dropout: self._dropout,
            F.dropout1d: partial(self._dropout, features=3),
            F.dropout2d: partial(self._dropout, features=3),
            F.dropout3d: partial(self._dropout, features=5),
            F.alpha_dropout: partial(self._dropout, alpha=True),
            F.feature_alpha_dropout: partial(self._dropout, alpha=True, features=3),
            F.batch_norm: self._batch_norm,
        }

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function, or what replaces it."""
        return self.replacements.get(function, function)(*args, **(kwargs or {}))

    def _dropout(
        self,
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
        *,
        features: int = 0,
        alpha: bool = False,
    ) -> Tensor:
        """Dropout; of whole channels where inputs with a batch have ``features`` dimensions."""
        if not training or p == 0:
            return input
        shape = input.shape
        if features:
            shape = shape[: 2 if input.ndim >= features else 1]
        rows = shape[0] if shape[0] == self.batch_size else shape.numel()
        self.found.append(((rows, shape.numel() // max(rows, 1)), p))
        if self.masks is None:
            return input
        mask = next(self.masks).view(*shape, *[1] * (input.ndim - len(shape)))
        if alpha:
            result = alpha_drop(input, mask, p)
        else:
            result = input * mask.to(input.dtype)
        return input.copy_(result) if inplace else result

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Batch normalisation, by weights if there are any; torch's refuses single numbers."""
        spatial = input.shape[2:].numel()
        weights = self.weights
        if weights is None and len(input) * spatial == 1:
            one = torch.ones(1, dtype=input.dtype, device=input.device)
            weights = one, one
        if not training or weights is None:
            return F.batch_norm(
                input, running_mean, running_var, weight, bias, training, momentum, eps
            )
        share, total = weights
        if len(input) != len(share):
            raise ValueError(
                "batch normalisation can count rows by their weights only where the first "
                f"dimension of its input is that of the rows: {len(share)}, not {len(input)}"
            )
        channel = 1, -1, *[1] * (input.ndim - 2)
        axes = [0, *range(2, input.ndim)]
        x, share = input.to(share.dtype), share.view(-1, *[1] * (input.ndim - 1)) / spatial
        mean = (x * share).sum(axes)
        centred = x - mean.view(channel)
        variance = (centred.square() * share).sum(axes)
        if running_mean is not None and running_var is not None:
            count = total * spatial
            unbiased = variance.detach() * (count / (count - 1).clamp_min(1.0))
            running_mean.mul_(1 - momentum).add_(mean.detach(), alpha=momentum)
            running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)
        result = centred * (variance + eps).rsqrt().view(channel)
        if weight is not None:
            result = result * weight.view(channel)
        return (result if bias is None else result + bias.view(channel)).to(input.dtype)


def alpha_drop(x: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Dropout that keeps mean and variance of what has passed a SELU (Klambauer et al., 2017)."""
    low = -1.7580993408473766  # -λα of the SELU, its limit on the left
    scale = ((1 - rate) * (1 + rate * low**2)) ** -0.5
    return torch.where(mask > 0, x, low) * scale - scale * low * rate
