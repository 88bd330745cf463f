"""Multilayer perceptrons: what they are made of, and the bare torch module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ..forms import Linear, SumForm
from .activations import Activation, Identity
from .layers import Activate, BatchNorm, Dense, Dropout, Layer, LayerNorm, Residual
from .tape import Tape

__all__ = ["MLP", "MLPArchitecture"]


IDENTITY = Identity()


@dataclass(frozen=True)
class MLPArchitecture:
    """The layers of a multilayer perceptron, and the names and shapes of its parameters.

    Each hidden layer is an affine map, a normalisation, an activation and dropout, in this order,
    with a skip around the four where ``residual`` and the widths allow it.

    Parameters
    ----------
    sizes : tuple of int
        Number of inputs, widths of the hidden layers, number of outputs.
    activations : tuple of Activation
        One for each hidden layer.
    output_activation : Activation, default=Identity()
        Function of the outputs, besides the link of the loss.
    normalization : {"batch", "layer", None}, default=None
        Normalisation before each activation.
    residual : bool, default=False
        Whether hidden layers as wide as their input add it to their output.
    dropout : tuple of float, default=()
        Probability that a number is dropped: of the inputs, then after each hidden layer; () for
        none.
    scales : tuple of float, default=()
        Factors of the products with the weights, for each layer; () for 1.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    output_activation: Activation = IDENTITY
    normalization: str | None = None
    residual: bool = False
    dropout: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()

    @property
    def n_layers(self) -> int:
        """Number of affine maps."""
        return len(self.sizes) - 1

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in the order of evaluation."""
        layers: list[Layer] = []
        if self.drop_rate(0) > 0:
            layers.append(Dropout())
        for i in range(self.n_layers - 1):
            block = self._hidden_block(i)
            skip = self.residual and self.sizes[i] == self.sizes[i + 1]
            layers.extend([Residual(tuple(block))] if skip else block)
        layers.append(self._dense(self.n_layers - 1))
        if not isinstance(self.output_activation, Identity):
            layers.append(Activate(self.output_activation))
        return tuple(layers)

    def _hidden_block(self, i: int) -> list[Layer]:
        block: list[Layer] = [self._dense(i)]
        names = f"norms.{i}.weight", f"norms.{i}.bias"
        if self.normalization == "batch":
            block.append(BatchNorm(*names, f"norms.{i}.mean", f"norms.{i}.variance"))
        elif self.normalization == "layer":
            block.append(LayerNorm(*names))
        if not isinstance(self.activations[i], Identity):
            block.append(Activate(self.activations[i]))
        if self.drop_rate(i + 1) > 0:
            block.append(Dropout())
        return block

    def _dense(self, i: int) -> Dense:
        scale = self.scales[i] if self.scales else 1.0
        centred = self.normalization == "batch" and i < self.n_layers - 1
        return Dense(f"coefs.{i}", f"intercepts.{i}", scale, centred)

    def drop_rate(self, i: int) -> float:
        """Probability to drop an input (i = 0), or a number after hidden layer i."""
        return self.dropout[i] if self.dropout else 0.0

    @property
    def drop_rates(self) -> tuple[float, ...]:
        """The probabilities that are not zero: one for each mask of the tape."""
        return tuple(rate for rate in self.dropout if rate > 0)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter; ``coefs.0`` is (n_inputs, width), as in scikit-learn."""
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(self.n_layers):
            shapes[f"coefs.{i}"] = self.sizes[i : i + 2]
            shapes[f"intercepts.{i}"] = self.sizes[i + 1 : i + 2]
        for i in range(self.n_layers - 1 if self.normalization else 0):
            for name in ("weight", "bias"):
                shapes[f"norms.{i}.{name}"] = self.sizes[i + 1 : i + 2]
        return shapes

    @property
    def penalised(self) -> tuple[str, ...]:
        """Parameters to which penalties apply: the weights, not the biases."""
        return tuple(f"coefs.{i}" for i in range(self.n_layers))

    @cached_property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the running statistics."""
        layers = range(self.n_layers - 1 if self.normalization == "batch" else 0)
        return {
            f"norms.{i}.{name}": self.sizes[i + 1 : i + 2]
            for i in layers
            for name in ("mean", "variance")
        }

    def record(self, tape: Tape) -> Tensor:
        """Write a training step on a tape; gives the buffer of the outputs."""
        x = tape.inputs
        for layer in self.layers:
            x = layer.record(tape, x)
        return x

    def apply(self, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Evaluate, as for prediction, with given parameters and running statistics."""
        for layer in self.layers:
            x = layer.apply(x, tensors)
        return x

    def form(self, tensors: Mapping[str, Tensor]) -> SumForm:
        """The network as a function of the sums of its first layer."""
        first, *rest = (layer for layer in self.layers if not isinstance(layer, Dropout))
        carried = isinstance(first, Residual)
        dense, *after = first.inner if isinstance(first, Residual) else (first,)
        after = [layer for layer in after if not isinstance(layer, Dropout)]
        assert isinstance(dense, Dense)
        constant = tensors[dense.bias]
        if carried:
            constant = torch.cat([constant, constant.new_zeros(self.sizes[0])])
        head = _Head(tuple(after), tuple(rest), self.sizes[1], carried, tensors)
        return SumForm(
            Linear(tensors[dense.weight] * dense.scale, carried),
            constant,
            self.sizes[-1],
            head if rest or after or carried else None,
        )


@dataclass(frozen=True)
class _Head:
    """What a network does with the sums of its first layer, in the precision of these sums.

    The sums have ``width`` columns; the inputs come after them where they are ``carried`` to the
    end of the first block.
    """

    after: tuple[Layer, ...]
    rest: tuple[Layer, ...]
    width: int
    carried: bool
    tensors: Mapping[str, Tensor]

    def __call__(self, z: Tensor) -> Tensor:
        return self._apply(z, owned=False)

    def apply_(self, z: Tensor) -> Tensor:
        """The same where z may be written over."""
        return self._apply(z, owned=True)

    def _apply(self, z: Tensor, owned: bool) -> Tensor:
        tensors = self._tensors(z.dtype, z.device)
        h = _evaluate(self.after, z[:, : self.width], tensors, owned)
        if self.carried:
            h = h + z[:, self.width :]
        return _evaluate(self.rest, h, tensors, owned or self.carried or bool(self.after))

    @cached_property
    def _casts(self) -> dict[tuple[torch.dtype, torch.device], Mapping[str, Tensor]]:
        return {}

    def _tensors(self, dtype: torch.dtype, device: torch.device) -> Mapping[str, Tensor]:
        """The parameters in a precision on a device."""
        if (dtype, device) not in self._casts:
            cast = {name: tensor.to(device, dtype) for name, tensor in self.tensors.items()}
            self._casts[dtype, device] = cast
        return self._casts[dtype, device]


def _evaluate(
    layers: tuple[Layer, ...], x: Tensor, tensors: Mapping[str, Tensor], owned: bool
) -> Tensor:
    """Evaluate in prediction mode; x itself is written over only if it is ``owned``."""
    for layer in layers:
        x = layer.apply_(x, tensors) if owned else layer.apply(x, tensors)
        owned = True
    return x


class MLP(nn.Module):
    """A multilayer perceptron as a torch module, which can be used without an estimator.

    Parameters
    ----------
    architecture : MLPArchitecture
        What it is made of.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.networks.activations import ReLU
    >>> from thetalearn.representations.networks.mlp import MLP, MLPArchitecture
    >>> net = MLP(MLPArchitecture(sizes=(3, 8, 1), activations=(ReLU(),)))
    >>> net(torch.zeros(5, 3)).shape
    torch.Size([5, 1])
    """

    def __init__(self, architecture: MLPArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.coefs = nn.ParameterList()
        self.intercepts = nn.ParameterList()
        self.norms = nn.ModuleList()
        sizes = architecture.sizes
        for i in range(architecture.n_layers):
            bound = (6 / (sizes[i] + sizes[i + 1])) ** 0.5
            self.coefs.append(torch.empty(sizes[i], sizes[i + 1]).uniform_(-bound, bound))
            self.intercepts.append(torch.zeros(sizes[i + 1]))
        for i in range(architecture.n_layers - 1 if architecture.normalization else 0):
            self.norms.append(_Norm(sizes[i + 1], architecture.normalization == "batch"))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate rows (n, d): outputs (n, q), before the link of the loss."""
        if not self.training:
            return self.architecture.apply(x, self.tensors())
        return self._train_layers(self.architecture.layers, x, iter(self.architecture.drop_rates))

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and running statistics by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def _train_layers(self, layers: tuple[Layer, ...], x: Tensor, rates: Iterator[float]) -> Tensor:
        """Evaluate in training mode; ``rates`` are those of the dropout layers still to come."""
        tensors = self.tensors()
        for layer in layers:
            if isinstance(layer, Residual):
                x = x + self._train_layers(tuple(layer.inner), x, rates)
            elif isinstance(layer, Dropout):
                x = nn.functional.dropout(x, next(rates))
            elif isinstance(layer, BatchNorm):
                weight, bias, mean, variance = (
                    tensors[name] for name in (layer.weight, layer.bias, layer.mean, layer.variance)
                )
                x = nn.functional.batch_norm(x, mean, variance, weight, bias, training=True)
            elif isinstance(layer, Dense) and layer.centred:
                # Its derivative is zero, and stays so where rounding would leave something of it.
                bias = tensors[layer.bias]
                x = layer.apply(x, {**tensors, layer.bias: bias.detach() + 0 * bias})
            else:
                x = layer.apply(x, tensors)
        return x


class _Norm(nn.Module):
    """Weight, bias and running statistics of a normalisation."""

    def __init__(self, width: int, running: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        if running:
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("variance", torch.ones(width))
