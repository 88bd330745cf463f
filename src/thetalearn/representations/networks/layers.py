"""Layers of dense networks, for one network or a stack of K, with derivatives written out.

A layer names its parameters and knows two ways to compute. ``record`` writes the operations of a
training step on a tape, forward and backward. ``apply`` evaluates in prediction mode, and can be
differentiated by autograd. Tensors have shape (b, width), or (K, b, width) for a stack, whose
parameters then have a leading dimension K as well.

The formulas are those of K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of
Deep Learning Models and Algorithms*, sections 6.4, 8.2, 9.3 and 10.1. In batch normalisation the
mean and the standard deviation depend on the parameters, and so does each row on all others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .activations import Activation
from .tape import Tape

__all__ = [
    "Activate",
    "BatchNorm",
    "Dense",
    "Dropout",
    "Layer",
    "LayerNorm",
    "Residual",
]

Tensors = Mapping[str, Tensor]

#: Added to a variance before its root is taken, as in torch.
EPSILON = 1e-5

#: Share of the newest batch in running statistics, as in torch.
MOMENTUM = 0.1


class Layer(ABC):
    """A part of a network."""

    @abstractmethod
    def record(self, tape: Tape, x: Tensor) -> Tensor:
        """Write the training step on a tape; gives the buffer of the result."""

    @abstractmethod
    def apply(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate with given parameters and buffers, as for prediction."""

    def apply_(self, x: Tensor, tensors: Tensors) -> Tensor:
        """The same where x may be written over, if that is faster."""
        return self.apply(x, tensors)


@dataclass(frozen=True)
class Dense(Layer):
    """Affine map: y = scale · x W + b.

    With δ = ∂λ/∂y: ∂λ/∂W = scale · xᵀδ, ∂λ/∂b = Σ δ over the rows, ∂λ/∂x = scale · δ Wᵀ. If batch
    normalisation follows, Σ δ is zero, and ``centred`` says so: what rounding leaves of the sum
    would make optimizers that divide by the size of the gradient walk at random.
    """

    weight: str
    bias: str
    scale: float = 1.0
    centred: bool = False

    def record(self, tape: Tape, x: Tensor) -> Tensor:
        """Write one product forward and, with the sum of δ, two or three operations backward."""
        if self._single(tape.values):
            return self._record_single(tape, x)
        weight, bias = tape.values[self.weight], tape.values[self.bias]
        y = tape.buffer(weight.shape[-1])
        multiply_add(tape, bias.unsqueeze(-2), x, weight, self.scale, y)
        d = tape.gradient(y)
        d_weight, d_bias = tape.gradients[self.weight], tape.gradients[self.bias]
        back: list[Callable[[], Tensor]] = [
            product(x.transpose(-1, -2), d, self.scale, d_weight),
            d_bias.zero_ if self.centred else partial(torch.sum, d, -2, out=d_bias),
        ]
        if not tape.is_constant(x):
            back.append(product(d, weight.transpose(-1, -2), self.scale, tape.gradient(x)))
        tape.backward(*back)
        return y

    def _single(self, tensors: Tensors) -> bool:
        """Whether there is one output and nothing to scale."""
        return tensors[self.weight].shape[-1] == 1 and self.scale == 1

    def _record_single(self, tape: Tape, x: Tensor) -> Tensor:
        """The same for one output, without products with a single column.

        In a stack these take several times as long as sums of products, and sum in another order
        than for a single matrix, so that a network would not give the same digits alone.
        """
        row, bias = tape.values[self.weight].transpose(-1, -2), tape.values[self.bias]
        y = tape.buffer(1)
        tape.forward(torch.linalg.vecdot, x, row, out=y.squeeze(-1))
        tape.forward(y.add_, bias.unsqueeze(-2))
        d = tape.gradient(y)
        d_row = tape.gradients[self.weight].transpose(-1, -2)
        d_bias = tape.gradients[self.bias]
        back: list[Callable[[], Tensor]] = [
            product(d.transpose(-1, -2), x, 1.0, d_row),
            d_bias.zero_ if self.centred else partial(torch.sum, d, -2, out=d_bias),
        ]
        if not tape.is_constant(x):
            back.append(partial(torch.mul, d, row, out=tape.gradient(x)))
        tape.backward(*back)
        return y

    def apply(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate."""
        weight, bias = tensors[self.weight], tensors[self.bias]
        if self._single(tensors):
            products = torch.linalg.vecdot(x, weight.transpose(-1, -2))
            return products.unsqueeze(-1) + bias.unsqueeze(-2)
        if weight.ndim == 2:
            return torch.addmm(bias, x, weight, alpha=self.scale)
        if x.ndim == 2:
            x = x.expand(len(weight), *x.shape)
        return torch.baddbmm(bias.unsqueeze(-2), x, weight, alpha=self.scale)

    def apply_(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate; one output in half the time, summed in another order than by `apply`."""
        weight, bias = tensors[self.weight], tensors[self.bias]
        if self._single(tensors) and weight.ndim == x.ndim == 2:
            return torch.mm(x, weight).add_(bias)
        return self.apply(x, tensors)


def multiply_add(
    tape: Tape, start: Tensor, x: Tensor, weight: Tensor, scale: float, out: Tensor
) -> None:
    """Record out = start + scale · x @ weight, for matrices or stacks of them."""
    operation = torch.addmm if x.ndim == 2 else torch.baddbmm
    tape.forward(operation, start, x, weight, alpha=scale, out=out)


def product(left: Tensor, right: Tensor, scale: float, out: Tensor) -> partial[Tensor]:
    """The operation out = scale · left @ right, for matrices or stacks of them."""
    if scale == 1:
        return partial(torch.mm if left.ndim == 2 else torch.bmm, left, right, out=out)
    operation = torch.addmm if left.ndim == 2 else torch.baddbmm
    return partial(operation, out, left, right, beta=0, alpha=scale, out=out)


@dataclass(frozen=True)
class Activate(Layer):
    """A function of each number: a = f(z), ∂λ/∂z = f'(z) ∂λ/∂a."""

    function: Activation

    def record(self, tape: Tape, x: Tensor) -> Tensor:
        """Write f, in place where its derivative follows from its value."""
        y = tape.buffer(x.shape[-1]) if self.function.needs_input else x
        tape.forward(self.function.into, x, y)
        d = tape.gradient(x) if y is x else tape.share_gradient(y, x)
        tape.backward(partial(self.function.pull_, d, x))
        return y

    def apply(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate."""
        return self.function(x)

    def apply_(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate, in place unless autograd or the function needs x."""
        if x.requires_grad or self.function.needs_input:
            return self.function(x)
        self.function.into(x, x)
        return x


class Dropout(Layer):
    """Inverted dropout: y = x γ / (1 - rate), γ = 0 with probability ``rate``, and y = x later.

    The book's ``p`` is the probability to stay, 1 - rate, and its first form leaves out the factor
    in training and multiplies by p in prediction: the same function for weights that are 1 / p
    times as large. The factors γ / (1 - rate) are drawn by the caller of the tape.
    """

    def record(self, tape: Tape, x: Tensor) -> Tensor:
        """Write the products with the mask."""
        mask, y = tape.buffer(x.shape[-1]), tape.buffer(x.shape[-1])
        tape.masks.append(mask)
        tape.forward(torch.mul, x, mask, out=y)
        if tape.is_constant(x):
            tape.mark_constant(y)
        else:
            tape.backward(partial(tape.share_gradient(y, x).mul_, mask))
        return y

    def apply(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate: nothing is dropped in prediction."""
        return x


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation: y = w (x - μ) / √(σ² + ε) + b, with mean and variance of the batch.

    Rows count in μ and σ² by their sample weights, so that a weight equals repeated rows. As in
    torch, the variance that normalises is the biased one, while the running variance, with which
    prediction normalises, takes in the unbiased one and starts from 1; the book keeps a running σ,
    biased, that starts from the first batch.

    For x̂ = (x - μ) / √(σ² + ε), δ̂ = w ∂λ/∂y and weights s that sum to one,
    ∂λ/∂x_i = (δ̂_i - s_i Σ_j δ̂_j - s_i x̂_i Σ_j δ̂_j x̂_j) / √(σ² + ε).
    """

    weight: str
    bias: str
    mean: str
    variance: str

    def record(self, tape: Tape, x: Tensor) -> Tensor:
        """Write the normalisation, the running statistics and the way back."""
        width = x.shape[-1]
        weight, bias = (tape.values[name].unsqueeze(-2) for name in (self.weight, self.bias))
        share = weights_of(tape, x)
        y, normal, squares = tape.buffer(width), tape.buffer(width), tape.buffer(width)
        mean, variance, inverse = (torch.empty_like(weight) for _ in range(3))
        tape.forward(torch.matmul, share, x, out=mean)
        tape.forward(torch.sub, x, mean, out=normal)
        tape.forward(torch.mul, normal, normal, out=squares)
        tape.forward(torch.matmul, share, squares, out=variance)
        tape.forward(torch.add, variance, EPSILON, out=inverse)
        tape.forward(inverse.rsqrt_)
        tape.forward(normal.mul_, inverse)
        tape.forward(torch.addcmul, bias, normal, weight, out=y)
        tape.forward(self._remember, tape, mean, variance)
        d, dx, share_column = tape.gradient(y), tape.gradient(x), share.transpose(-1, -2)
        d_weight, d_bias = tape.gradients[self.weight], tape.gradients[self.bias]
        row, rows = torch.empty_like(weight), tape.buffer(width)
        tape.backward(
            partial(torch.sum, d, -2, out=d_bias),
            partial(torch.mul, d, normal, out=rows),
            partial(torch.sum, rows, -2, out=d_weight),
            # Σ δ̂ = w Σ δ and Σ δ̂ x̂ = w Σ δ x̂: the gradients by b and w serve again.
            partial(torch.mul, normal, d_weight.unsqueeze(-2), out=rows),
            partial(rows.add_, d_bias.unsqueeze(-2)),
            partial(rows.mul_, share_column),
            partial(torch.sub, d, rows, out=dx),
            partial(torch.mul, weight, inverse, out=row),
            partial(dx.mul_, row),
        )
        return y

    def _remember(self, tape: Tape, mean: Tensor, variance: Tensor) -> None:
        """Take a batch into the running statistics."""
        # For less than two rows, as by fractional weights, the factor n / (n - 1) has no meaning.
        unbiased = (tape.total / (tape.total - 1).clamp_min(1.0)).clamp_min(1.0)[..., None]
        tape.buffers[self.mean].lerp_(mean.squeeze(-2), MOMENTUM)
        tape.buffers[self.variance].lerp_(variance.squeeze(-2) * unbiased, MOMENTUM)

    def apply(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate with the running statistics."""
        mean, variance = tensors[self.mean], tensors[self.variance]
        factor = tensors[self.weight] * (variance + EPSILON).rsqrt()
        offset = tensors[self.bias] - mean * factor
        return torch.addcmul(offset.unsqueeze(-2), x, factor.unsqueeze(-2))


def weights_of(tape: Tape, x: Tensor) -> Tensor:
    """Weights of the rows as a row vector (1, b), or (K, 1, b)."""
    if tape.share is None:
        rows = x.shape[-2]
        return x.new_full((*x.shape[:-2], 1, rows), 1 / rows)
    return tape.share.unsqueeze(-2)


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Layer normalisation: y = w (x - μ) / √(σ² + ε) + b, with mean and variance of each row.

    For x̂ = (x - μ) / √(σ² + ε) and δ̂ = w ∂λ/∂y, with means over the columns,
    ∂λ/∂x = (δ̂ - mean δ̂ - x̂ mean(δ̂ x̂)) / √(σ² + ε).
    """

    weight: str
    bias: str

    def record(self, tape: Tape, x: Tensor) -> Tensor:
        """Write the normalisation and the way back."""
        width = x.shape[-1]
        weight, bias = (tape.values[name].unsqueeze(-2) for name in (self.weight, self.bias))
        y, normal, rows = tape.buffer(width), tape.buffer(width), tape.buffer(width)
        mean, inverse, slope = tape.buffer(1), tape.buffer(1), tape.buffer(1)
        tape.forward(torch.mean, x, -1, keepdim=True, out=mean)
        tape.forward(torch.sub, x, mean, out=normal)
        tape.forward(torch.mul, normal, normal, out=rows)
        tape.forward(torch.mean, rows, -1, keepdim=True, out=inverse)
        tape.forward(inverse.add_, EPSILON)
        tape.forward(inverse.rsqrt_)
        tape.forward(normal.mul_, inverse)
        tape.forward(torch.addcmul, bias, normal, weight, out=y)
        d, dx = tape.gradient(y), tape.gradient(x)
        d_weight, d_bias = tape.gradients[self.weight], tape.gradients[self.bias]
        tape.backward(
            partial(torch.sum, d, -2, out=d_bias),
            partial(torch.mul, d, normal, out=rows),
            partial(torch.sum, rows, -2, out=d_weight),
            partial(torch.mul, d, weight, out=dx),
            partial(torch.mul, dx, normal, out=rows),
            partial(torch.mean, rows, -1, keepdim=True, out=slope),
            partial(torch.mean, dx, -1, keepdim=True, out=mean),
            partial(dx.sub_, mean),
            partial(torch.mul, normal, slope, out=rows),
            partial(dx.sub_, rows),
            partial(dx.mul_, inverse),
        )
        return y

    def apply(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate."""
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        normal = (x - mean) * (variance + EPSILON).rsqrt()
        weight, bias = (tensors[name].unsqueeze(-2) for name in (self.weight, self.bias))
        return torch.addcmul(bias, normal, weight)


@dataclass(frozen=True)
class Residual(Layer):
    """A skip around other layers: y = x + f(x), ∂λ/∂x = ∂λ/∂y + f'(x)ᵀ ∂λ/∂y."""

    inner: Sequence[Layer]

    def record(self, tape: Tape, x: Tensor) -> Tensor:
        """Write the inner layers between the two sums."""
        y, through = tape.buffer(x.shape[-1]), not tape.is_constant(x)
        if through:
            # Recorded first, this is the last operation of the way back through the block.
            tape.backward(partial(tape.gradient(x).add_, tape.gradient(y)))
        inside = x
        for layer in self.inner:
            inside = layer.record(tape, inside)
        tape.forward(torch.add, x, inside, out=y)
        tape.backward(partial(tape.gradient(inside).copy_, tape.gradient(y)))
        return y

    def apply(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Evaluate."""
        inside = x
        for layer in self.inner:
            inside = layer.apply(inside, tensors)
        return x + inside
