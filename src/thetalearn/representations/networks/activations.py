"""Activation functions: values, and derivatives in place for backpropagation."""

# ruff: noqa: D102 (the three methods of an activation are described where they are declared)

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...specs import wrong_spec

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "Arctan",
    "CallableActivation",
    "ClippedReLU",
    "Cos",
    "Erf",
    "Exp",
    "Gaussian",
    "HardTanh",
    "Heaviside",
    "Identity",
    "LeakyReLU",
    "Logistic",
    "ReLU",
    "SiLU",
    "Sin",
    "Softplus",
    "Softsign",
    "Tanh",
    "make_activation",
]

# Resolved once: a training step calls them on tensors so small that a look-up would show.
_aten = torch.ops.aten
_elu = _aten.elu.out
_elu_backward = _aten.elu_backward.grad_input
_gelu = _aten.gelu.out
_gelu_backward = _aten.gelu_backward.grad_input
_hardtanh_backward = _aten.hardtanh_backward.grad_input
_leaky_relu = _aten.leaky_relu.out
_leaky_relu_backward = _aten.leaky_relu_backward.grad_input
_sigmoid_backward = _aten.sigmoid_backward.grad_input
_silu = _aten.silu.out
_silu_backward = _aten.silu_backward.grad_input
_softplus = _aten.softplus.out
_softplus_backward = _aten.softplus_backward.grad_input
_tanh_backward = _aten.tanh_backward.grad_input
_threshold_backward = _aten.threshold_backward.grad_input
_arctan, _clamp, _clamp_min, _cos = torch.arctan, torch.clamp, torch.clamp_min, torch.cos
_div, _erf, _exp, _gt, _mul = torch.div, torch.erf, torch.exp, torch.gt, torch.mul
_relu_, _sigmoid, _sin, _tanh = torch.relu_, torch.sigmoid, torch.sin, torch.tanh

# Where ln(1 + e^x) is x up to rounding in float64; torch's 20 loses half of the digits.
_LINEAR = 40.0
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _check_positive(owner: object, name: str, value: float) -> None:
    """Refuse what is not a positive number."""
    if not (isinstance(value, Real) and 0 < value < math.inf):
        kind = type(owner).__name__
        raise ValueError(f"{name}={value!r} of {kind} must be a positive finite number")


def _check_nonnegative(owner: object, name: str, value: float) -> None:
    """Refuse what is neither zero nor a positive number."""
    if not (isinstance(value, Real) and 0 <= value < math.inf):
        kind = type(owner).__name__
        raise ValueError(f"{name}={value!r} of {kind} must be a non-negative finite number")


class Activation(ABC):
    r"""A function f of one number, applied to every entry of a tensor.

    Backpropagation takes the derivative of the loss by f(z) to that by z, which is a product with
    f'(z). For many functions it follows from the value, f' = g(f), and z need not be kept.

    Attributes
    ----------
    needs_input : bool
        Whether ``pull_`` takes z; otherwise it takes f(z).
    """

    needs_input: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, z: Tensor) -> Tensor:
        """The value f(z) in a new tensor, differentiable by autograd."""

    @abstractmethod
    def into(self, z: Tensor, out: Tensor) -> None:
        """Write f(z) to ``out``, which may be z itself unless ``needs_input``."""

    @abstractmethod
    def pull_(self, d: Tensor, saved: Tensor) -> None:
        """Multiply d by f'(z) in place; ``saved`` is z if ``needs_input``, else f(z)."""


@dataclass(frozen=True)
class Identity(Activation):
    """The function f(z) = z."""

    def __call__(self, z: Tensor) -> Tensor:
        return z

    def into(self, z: Tensor, out: Tensor) -> None:
        if out is not z:
            out.copy_(z)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        pass


@dataclass(frozen=True)
class Logistic(Activation):
    r"""The logistic function :math:`S_\epsilon(z) = S(z/\epsilon)`, :math:`S(z) = 1/(1 + e^{-z})`.

    Its derivative is S'(z) = S(z)(1 - S(z)), at most 1/4. As the scale goes to zero it becomes a
    step from 0 to 1.

    Parameters
    ----------
    scale : float, default=1.0
        The length ε > 0.

    References
    ----------
    Spiliopoulos, Sowers, Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, sections 3.2 and 5.3.

    Examples
    --------
    >>> import torch
    >>> Logistic()(torch.tensor([0.0, 1e4]))
    tensor([0.5000, 1.0000])
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "scale", self.scale)

    def __call__(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z / self.scale)

    # Nearly every logistic function has scale 1, and a comparison is cheaper than a division.
    def into(self, z: Tensor, out: Tensor) -> None:
        if self.scale == 1.0:
            _sigmoid(z, out=out)
        else:
            _div(z, self.scale, out=out).sigmoid_()

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _sigmoid_backward(d, saved, grad_input=d)
        if self.scale != 1.0:
            d.div_(self.scale)


@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent, with tanh' = 1 - tanh², and S(z) = (1 + tanh(z/2))/2."""

    def __call__(self, z: Tensor) -> Tensor:
        return torch.tanh(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _tanh(z, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _tanh_backward(d, saved, grad_input=d)


@dataclass(frozen=True)
class ReLU(Activation):
    """The rectifier max(z, 0); its derivative at the kink is taken to be 0, as torch does.

    Examples
    --------
    >>> import torch
    >>> d, a = torch.ones(3), ReLU()(torch.tensor([-1.0, 0.0, 2.0]))
    >>> ReLU().pull_(d, a)
    >>> d
    tensor([0., 0., 1.])
    """

    def __call__(self, z: Tensor) -> Tensor:
        return torch.relu(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        if out is z:
            _relu_(z)
        else:
            _clamp_min(z, 0, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _threshold_backward(d, saved, 0, grad_input=d)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """The function z for z > 0 and cz otherwise.

    Parameters
    ----------
    negative_slope : float, default=0.01
        The slope c >= 0.
    """

    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        _check_nonnegative(self, "negative_slope", self.negative_slope)

    def __call__(self, z: Tensor) -> Tensor:
        return F.leaky_relu(z, self.negative_slope)

    def into(self, z: Tensor, out: Tensor) -> None:
        _leaky_relu(z, self.negative_slope, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _leaky_relu_backward(d, saved, self.negative_slope, True, grad_input=d)


@dataclass(frozen=True)
class ELU(Activation):
    r"""The exponential linear unit: z for z > 0 and :math:`\alpha(e^z - 1)` otherwise.

    Parameters
    ----------
    alpha : float, default=1.0
        Minus the limit at minus infinity, α >= 0.

    References
    ----------
    Clevert, Unterthiner, Hochreiter, *Fast and Accurate Deep Network Learning by Exponential
    Linear Units*, section 3.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_nonnegative(self, "alpha", self.alpha)

    def __call__(self, z: Tensor) -> Tensor:
        return F.elu(z, self.alpha)

    def into(self, z: Tensor, out: Tensor) -> None:
        _elu(z, self.alpha, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _elu_backward(d, self.alpha, 1, 1, True, saved, grad_input=d)


@dataclass(frozen=True)
class SELU(Activation):
    """A multiple of an ELU under which zero mean and unit variance are a fixed point.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, *Self-Normalizing Neural Networks*, section 2.
    """

    def __call__(self, z: Tensor) -> Tensor:
        return torch.selu(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _elu(z, _SELU_ALPHA, _SELU_SCALE, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _elu_backward(d, _SELU_ALPHA, _SELU_SCALE, 1, True, saved, grad_input=d)


@dataclass(frozen=True)
class GELU(Activation):
    r"""The function :math:`z\Phi(z)` with the normal distribution function, exact.

    References
    ----------
    Hendrycks, Gimpel, *Gaussian Error Linear Units*, section 2.
    """

    needs_input: ClassVar[bool] = True

    def __call__(self, z: Tensor) -> Tensor:
        return F.gelu(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _gelu(z, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _gelu_backward(d, saved, grad_input=d)


@dataclass(frozen=True)
class SiLU(Activation):
    """The function zS(z) with the logistic function S, also called swish."""

    needs_input: ClassVar[bool] = True

    def __call__(self, z: Tensor) -> Tensor:
        return F.silu(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _silu(z, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _silu_backward(d, saved, grad_input=d)


@dataclass(frozen=True)
class Softplus(Activation):
    r"""A smooth rectifier, :math:`\beta^{-1}\ln(1 + e^{\beta z})`, with derivative S(βz).

    As β grows it becomes max(z, 0). Where torch's own goes over to z for βz > 20, this one does so
    for βz > 40, where it is exact in float64.

    Parameters
    ----------
    beta : float, default=1.0
        The sharpness β > 0.

    References
    ----------
    Spiliopoulos, Sowers, Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, section 5.4.
    """

    needs_input: ClassVar[bool] = True

    beta: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "beta", self.beta)

    def __call__(self, z: Tensor) -> Tensor:
        return F.softplus(z, self.beta, _LINEAR)

    def into(self, z: Tensor, out: Tensor) -> None:
        _softplus(z, self.beta, _LINEAR, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _softplus_backward(d, saved, self.beta, _LINEAR, grad_input=d)


@dataclass(frozen=True)
class Softsign(Activation):
    """The function z/(1 + |z|), with derivative 1/(1 + |z|)²."""

    # From the value, (1 - |f|)² would lose the digits of a small derivative.
    needs_input: ClassVar[bool] = True

    def __call__(self, z: Tensor) -> Tensor:
        return z / (1 + z.abs())

    def into(self, z: Tensor, out: Tensor) -> None:
        _div(z, z.abs().add_(1), out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        width = saved.abs().add_(1)
        d.div_(width).div_(width)


@dataclass(frozen=True)
class Arctan(Activation):
    """The inverse tangent, which saturates at ±π/2, with derivative 1/(1 + z²)."""

    needs_input: ClassVar[bool] = True

    def __call__(self, z: Tensor) -> Tensor:
        return torch.arctan(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _arctan(z, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        d.div_(_mul(saved, saved).add_(1))


@dataclass(frozen=True)
class ClippedReLU(Activation):
    """The function min(max(z, 0), t), with derivative 0 at both kinks.

    Parameters
    ----------
    limit : float, default=6.0
        The largest value t > 0.

    References
    ----------
    Spiliopoulos, Sowers, Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, exercise 7.7.
    """

    limit: float = 6.0

    def __post_init__(self) -> None:
        _check_positive(self, "limit", self.limit)

    def __call__(self, z: Tensor) -> Tensor:
        return F.hardtanh(z, 0.0, self.limit)

    def into(self, z: Tensor, out: Tensor) -> None:
        _clamp(z, 0, self.limit, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _hardtanh_backward(d, saved, 0, self.limit, grad_input=d)


@dataclass(frozen=True)
class HardTanh(Activation):
    """The function min(max(z, -1), 1), with derivative 0 at both kinks."""

    def __call__(self, z: Tensor) -> Tensor:
        return F.hardtanh(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _clamp(z, -1, 1, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        _hardtanh_backward(d, saved, -1, 1, grad_input=d)


@dataclass(frozen=True)
class Exp(Activation):
    """The exponential function, for positive outputs.

    It exceeds the range of numbers above z = 709 in float64 and 88 in float32; ``Softplus`` never
    does.
    """

    def __call__(self, z: Tensor) -> Tensor:
        return torch.exp(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _exp(z, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        d.mul_(saved)


@dataclass(frozen=True)
class Sin(Activation):
    """The function sin(ωz).

    Parameters
    ----------
    frequency : float, default=1.0
        The angular frequency ω > 0.
    """

    needs_input: ClassVar[bool] = True

    frequency: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "frequency", self.frequency)

    def __call__(self, z: Tensor) -> Tensor:
        return torch.sin(self.frequency * z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _sin(_mul(z, self.frequency, out=out), out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        d.mul_(_mul(saved, self.frequency).cos_().mul_(self.frequency))


@dataclass(frozen=True)
class Cos(Activation):
    """The function cos(ωz).

    Parameters
    ----------
    frequency : float, default=1.0
        The angular frequency ω > 0.
    """

    needs_input: ClassVar[bool] = True

    frequency: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "frequency", self.frequency)

    def __call__(self, z: Tensor) -> Tensor:
        return torch.cos(self.frequency * z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _cos(_mul(z, self.frequency, out=out), out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        d.mul_(_mul(saved, self.frequency).sin_().mul_(-self.frequency))


@dataclass(frozen=True)
class Gaussian(Activation):
    """The bump exp(-z²), with derivative -2z exp(-z²)."""

    needs_input: ClassVar[bool] = True

    def __call__(self, z: Tensor) -> Tensor:
        return torch.exp(-z.square())

    def into(self, z: Tensor, out: Tensor) -> None:
        _mul(z, z, out=out).neg_().exp_()

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        d.mul_(_mul(saved, saved).neg_().exp_().mul_(saved).mul_(-2))


@dataclass(frozen=True)
class Erf(Activation):
    r"""The error function, with derivative :math:`\tfrac{2}{\sqrt\pi} e^{-z^2}`."""

    needs_input: ClassVar[bool] = True

    def __call__(self, z: Tensor) -> Tensor:
        return torch.erf(z)

    def into(self, z: Tensor, out: Tensor) -> None:
        _erf(z, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        d.mul_(_mul(saved, saved).neg_().exp_().mul_(2 / math.sqrt(math.pi)))


@dataclass(frozen=True)
class Heaviside(Activation):
    """The step: 1 for z > 0 and 0 otherwise, for networks that are truth tables.

    Its derivative is zero, so that nothing before it learns.
    """

    def __call__(self, z: Tensor) -> Tensor:
        # Of the ways to write it, one whose derivative autograd knows to be zero.
        return torch.relu(torch.sign(z))

    def into(self, z: Tensor, out: Tensor) -> None:
        _gt(z, 0, out=out)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        d.zero_()


@dataclass(frozen=True)
class CallableActivation(Activation):
    """Any torch function from a tensor to one of the same shape.

    Its derivative is found by autograd at every step, which is slower than that of the others. A
    function may mix the entries of a row, but not rows.

    Parameters
    ----------
    function : callable
        A function of torch, or a module without parameters. To train its parameters is not
        possible here.

    Examples
    --------
    >>> import torch
    >>> mish, d = CallableActivation(torch.nn.Mish()), torch.ones(1)
    >>> mish.pull_(d, torch.zeros(1))
    >>> d
    tensor([0.6000])
    """

    needs_input: ClassVar[bool] = True

    function: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        if not callable(self.function) or isinstance(self.function, type):
            raise ValueError(f"activation={self.function!r} must be a function of a tensor")
        if isinstance(self.function, torch.nn.Module) and any(
            True for _ in self.function.parameters()
        ):
            raise ValueError(
                f"activation={self.function!r} has parameters, which would not be trained: "
                "it must be a function of its input alone"
            )

    # A function may work in place, so it gets tensors of its own.
    def __call__(self, z: Tensor) -> Tensor:
        return self._checked(self.function(z.clone()), z)

    def into(self, z: Tensor, out: Tensor) -> None:
        value = self._checked(self.function(out.copy_(z)), z)
        if value is not out:
            out.copy_(value)

    def pull_(self, d: Tensor, saved: Tensor) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            z = saved.clone().requires_grad_()
            value = self._checked(self.function(z.clone()), z)
            pulled = None
            if value.requires_grad:
                after = d.to(value.dtype, copy=True)
                (pulled,) = torch.autograd.grad(value, z, after, allow_unused=True)
        if pulled is None:
            raise ValueError(
                f"activation={self.function!r} is not differentiable: autograd finds no path from "
                "its value to its input"
            )
        d.copy_(pulled)

    def _checked(self, value: Any, z: Tensor) -> Tensor:
        if not isinstance(value, Tensor):
            raise ValueError(
                f"activation={self.function!r} must return a tensor; it returned a "
                f"{type(value).__name__}"
            )
        if value.shape != z.shape:
            raise ValueError(
                f"activation={self.function!r} must keep the shape; it turned {tuple(z.shape)} "
                f"into {tuple(value.shape)}"
            )
        return value


#: Names that ``make_activation`` knows; the first four are scikit-learn's.
ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "logistic": Logistic,
    "tanh": Tanh,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "silu": SiLU,
    "softplus": Softplus,
    "softsign": Softsign,
    "arctan": Arctan,
    "clipped_relu": ClippedReLU,
    "exp": Exp,
    "sin": Sin,
    "cos": Cos,
    "gaussian": Gaussian,
    "erf": Erf,
    "hard_tanh": HardTanh,
    "heaviside": Heaviside,
}


def make_activation(spec: str | Activation | Callable[[Tensor], Tensor]) -> Activation:
    """The activation that a user's parameter names.

    Parameters
    ----------
    spec : str, Activation or callable
        A key of ``ACTIVATIONS``, for its default parameters; an activation, which is returned as
        it is; or a function from a tensor to one of the same shape.

    Returns
    -------
    Activation
        The activation.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> make_activation("softplus")
    Softplus(beta=1.0)
    """
    if isinstance(spec, Activation):
        return spec
    if isinstance(spec, str) and spec in ACTIVATIONS:
        return ACTIVATIONS[spec]()
    if callable(spec) and not isinstance(spec, type):
        return CallableActivation(spec)
    raise wrong_spec("activation", spec, "an Activation, a callable", ACTIVATIONS)
