"""Networks that are chains of affine maps and activations, differentiated by formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..networks.activations import Activation, CallableActivation, Logistic, ReLU, SiLU, Tanh
from ..networks.layers import Activate, Dense, Dropout
from ..networks.mlp import MLP
from .function import Points, check_weights
from .traced import row_gradient

if TYPE_CHECKING:
    from .network import NetworkFunction

__all__ = ["ChainPoints", "chain_of"]


@dataclass(frozen=True)
class _Affine:
    """The map scale · x W + b, or scale · x Wᵀ + b; ``weight`` and ``bias`` are names."""

    weight: str
    bias: str | None
    transposed: bool
    scale: float = 1.0

    @property
    def names(self) -> list[str]:
        """Names of the parameters."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def matrix(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The factor on the right of x, (inputs, outputs)."""
        weight = tensors[self.weight].T if self.transposed else tensors[self.weight]
        return weight if self.scale == 1 else self.scale * weight

    def __call__(self, x: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        if self.bias is None:
            return x @ self.matrix(tensors)
        return torch.addmm(tensors[self.bias], x, self.matrix(tensors))

    def pull(self, x: Tensor, delta: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Derivatives by the parameters; x (P, Q, inputs) and ``delta`` (P, Q, E, outputs)."""
        product = x.transpose(1, 2) @ delta.flatten(2)
        by_sum = product.unflatten(2, delta.shape[2:])
        if self.scale != 1:
            by_sum = self.scale * by_sum
        yield self.weight, by_sum.permute(0, 2, 3, 1) if self.transposed else by_sum.transpose(1, 2)
        if self.bias is not None:
            yield self.bias, delta.sum(1)


Elementwise = Callable[[Tensor], Tensor]

#: Modules that act on each number alone, with the activation of which they are a copy.
WRITTEN_OUT: dict[type[nn.Module], Activation] = {
    nn.ReLU: ReLU(),
    nn.SiLU: SiLU(),
    nn.Sigmoid: Logistic(),
    nn.Tanh: Tanh(),
}

#: Others that act on each number alone and hold no parameters.
ELEMENTWISE = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.SELU,
    nn.Softplus,
    nn.Softsign,
)


def chain_of(module: nn.Module) -> tuple[_Affine | Elementwise, ...] | None:
    """The affine maps and activations that a network consists of, or None if it has other parts."""
    stages = list(_mlp_stages(module) if isinstance(module, MLP) else _module_stages(module, ""))
    names = {name for name, _ in module.named_parameters()}
    # A parameter in two places has one name, and would need the sum of two derivatives.
    used = [n for stage in stages if isinstance(stage, _Affine) for n in stage.names]
    if any(stage is None for stage in stages) or sorted(used) != sorted(names):
        return None
    return tuple(stage for stage in stages if stage is not None)


def _mlp_stages(module: MLP) -> Iterator[_Affine | Elementwise | None]:
    for layer in module.architecture.layers:
        if isinstance(layer, Dense):
            yield _Affine(layer.weight, layer.bias, False, layer.scale)
        elif isinstance(layer, Activate) and not isinstance(layer.function, CallableActivation):
            yield layer.function
        elif not isinstance(layer, Dropout):
            yield None


def _module_stages(module: nn.Module, prefix: str) -> Iterator[_Affine | Elementwise | None]:
    # Exact types without hooks: anything else may compute something else.
    if module._forward_hooks or module._forward_pre_hooks:
        yield None
    elif type(module) is nn.Sequential:
        # Unlike named_children, this gives a part that occurs twice twice.
        for name, part in module._modules.items():
            if part is not None:
                yield from _module_stages(part, f"{prefix}{name}.")
    elif type(module) is nn.Linear:
        bias = None if module.bias is None else f"{prefix}bias"
        yield _Affine(f"{prefix}weight", bias, True)
    elif type(module) in WRITTEN_OUT:
        yield WRITTEN_OUT[type(module)]
    elif type(module) in ELEMENTWISE:
        yield module
    elif type(module) not in (nn.Identity, nn.Dropout):
        yield None


class ChainPoints(Points):
    r"""A chain of affine maps and activations at given points.

    With the inputs :math:`z_l` of activation l, :math:`J_l = \partial z_l/\partial x`, and the
    adjoints :math:`g_l = \partial f/\partial a_l` of its outputs :math:`a_l = \sigma_l(z_l)`,
    all curvature of the chain is in its activations:
    :math:`\partial^2 f/\partial x^2 = \sum_l J_l^\top \mathrm{diag}(g_l \sigma_l''(z_l)) J_l`.
    """

    def __init__(self, function: NetworkFunction, x: Tensor) -> None:
        self.function, self.x = function, x
        self._unit, self._slopes = function.unit(x), function.slopes(x)
        self._kept: tuple[Tensor, int, list[Tensor]] | None = None

    def value(self, theta: Tensor) -> Tensor:
        """Values, shape (n, m), differentiable in θ by autograd."""
        return self._forward(theta)[-1].clone()

    @torch.no_grad()
    def jacobian(self, theta: Tensor) -> Tensor:
        """First derivatives, shape (n, m, d)."""
        first = self._adjoints(theta, self._forward(theta))[0]
        return first.expand(len(self.x), -1, -1) * self._slopes

    @torch.no_grad()
    def hessian(self, theta: Tensor) -> Tensor:
        """Second derivatives, shape (n, m, d, d)."""
        states, tensors = self._forward(theta), self.function.named(theta)
        adjoints = self._adjoints(theta, states)
        n, d = self.x.shape
        total = self.x.new_zeros(n, self.function.n_outputs, d * d)
        tangents = torch.diag(self._slopes).expand(n, d, d)
        for i, stage in enumerate(self._stages):
            if isinstance(stage, _Affine):
                tangents = tangents @ stage.matrix(tensors)
                continue
            slope, curvature = _slope_and_curvature(stage, states[i])
            products = (tangents[:, :, None] * tangents[:, None]).flatten(1, 2)
            total += (adjoints[i + 1] * curvature[:, None]) @ products.transpose(1, 2)
            tangents = tangents * slope[:, None]
        return total.unflatten(2, (d, d))

    @torch.no_grad()
    def pullback(self, theta: Tensor, u: Tensor) -> Tensor:
        """Weighted sums of derivatives by the parameters, shape (P, E, n_parameters)."""
        groups, size, n_sums, _ = check_weights(u, self.x, self.function.n_outputs)
        states, tensors = self._forward(theta), self.function.named(theta)
        result = u.new_empty(groups, n_sums, self.function.n_parameters)
        places = self.function.split_parameters(result)
        delta = u
        for i in reversed(range(len(self._stages))):
            stage = self._stages[i]
            if isinstance(stage, _Affine):
                for name, gradient in stage.pull(states[i].unflatten(0, (groups, size)), delta):
                    places[name].copy_(gradient.flatten(2))
                if i:
                    delta = delta @ stage.matrix(tensors).T
            else:
                slope = _slope(stage, states[i], states[i + 1])
                delta = delta * slope.unflatten(0, (groups, size))[:, :, None]
        return result

    @property
    def _stages(self) -> tuple[_Affine | Elementwise, ...]:
        stages = self.function.stages
        assert stages is not None
        return stages

    def _forward(self, theta: Tensor) -> list[Tensor]:
        """What goes into each stage, and the outputs; kept for the θ asked about last."""
        # A kept graph could be walked backward once only, and inference tensors have no version.
        if theta.requires_grad or self.x.requires_grad or theta.is_inference():
            return self._states(theta)
        if self._kept is None or self._kept[0] is not theta or self._kept[1] != theta._version:
            self._kept = theta, theta._version, self._states(theta)
        return self._kept[2]

    def _states(self, theta: Tensor) -> list[Tensor]:
        tensors = self.function.named(theta)
        states = [self._unit]
        for stage in self._stages:
            x = states[-1]
            states.append(stage(x, tensors) if isinstance(stage, _Affine) else stage(x))
        return states

    def _adjoints(self, theta: Tensor, states: list[Tensor]) -> list[Tensor]:
        """Derivatives of the outputs by each of the states.

        Shapes are (n, m, width), or (1, m, width) where they are the same at all points.
        """
        tensors = self.function.named(theta)
        adjoint = torch.eye(self.function.n_outputs).to(self.x)[None]
        adjoints = [adjoint]
        for i in reversed(range(len(self._stages))):
            stage = self._stages[i]
            if isinstance(stage, _Affine):
                adjoint = adjoint @ stage.matrix(tensors).T
            else:
                adjoint = adjoint * _slope(stage, states[i], states[i + 1])[:, None]
            adjoints.append(adjoint)
        return adjoints[::-1]


def _slope(function: Elementwise, z: Tensor, value: Tensor) -> Tensor:
    """The derivative of an activation at each entry of z, where it has the given value."""
    if isinstance(function, Activation):
        slope = torch.ones_like(z)
        function.pull_(slope, z if function.needs_input else value)
        return slope
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return row_gradient(function(z), z).detach()


def _slope_and_curvature(function: Elementwise, z: Tensor) -> tuple[Tensor, Tensor]:
    """The first and second derivatives of an activation at each entry of z."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        slope = row_gradient(function(z), z)
        return slope.detach(), row_gradient(slope, z).detach()
