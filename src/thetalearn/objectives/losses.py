r"""Losses of a network's outputs: values and gradients in place for backpropagation.

A loss is a function of the outputs Z before the link, such as logits, and of the targets y. Losses
of one row are summed over its outputs, and squared error carries the factor 1/2 of the book's
chapter 6, where torch takes the mean over outputs and no factor.
"""

# ruff: noqa: D102 (the methods of a loss are described where they are declared)

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..specs import wrong_spec

__all__ = [
    "CLASSIFICATION_LOSSES",
    "REGRESSION_LOSSES",
    "AbsoluteError",
    "BinaryFocal",
    "BinaryLogLoss",
    "CallableLoss",
    "FocalLoss",
    "GaussianNLL",
    "Huber",
    "LogLoss",
    "Loss",
    "Pinball",
    "Poisson",
    "PoissonMean",
    "SoftmaxFocal",
    "SoftmaxLogLoss",
    "SquaredError",
    "make_classification_loss",
    "make_regression_loss",
]

_LAST_TWO = (-2, -1)
# Where ln(1 + e^x) is x up to rounding in float64; torch's 20 loses half of the digits.
_LINEAR = 40.0


@cache
def _cached_number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype, device=device)


def _number(value: float, like: Tensor) -> Tensor:
    """A number as a tensor: products with it take a third of the time of those with a float."""
    return _cached_number(value, like.dtype, like.device)


def _squares(d: Tensor) -> Tensor:
    """Sum of the squares of each matrix of a stack."""
    flat = d.flatten(-2)
    return torch.linalg.vecdot(flat, flat)


def _softplus(z: Tensor) -> Tensor:
    return F.softplus(z, 1.0, _LINEAR)


def _softmax(Z: Tensor) -> Tensor:
    return torch.softmax(Z, -1)


def _identity(Z: Tensor) -> Tensor:
    return Z


_LINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": _identity,
    "exp": torch.exp,
    "logistic": torch.sigmoid,
    "softmax": _softmax,
}


def _check_number(
    owner: object, name: str, value: float, low: float, high: float, closed: bool = False
) -> None:
    """Refuse what is not a number between two others, the lower of which may be allowed."""
    number = isinstance(value, Real)
    if not (number and (low < value < high or (closed and value == low))):
        interval = f"{'[' if closed else '('}{low:g}, {high:g})"
        raise ValueError(
            f"{name}={value!r} of {type(owner).__name__} must be a number in {interval}"
        )


class Loss(ABC):
    r"""A loss :math:`\ell(Z_i, y_i)` of the outputs for row i, before the link, and its targets.

    ``Z`` has shape (\*R, b, q) and ``y`` has shape (\*R, b, m) and the same dtype. \*R is nothing
    for one network, or K for K replicas of it.

    Attributes
    ----------
    link : {"identity", "exp", "logistic", "softmax"}
        The function from the outputs to the prediction.
    """

    link: str = "identity"

    #: Whether targets must not be negative.
    counts: ClassVar[bool] = False

    def n_outputs(self, n_targets: int) -> int:
        """How many outputs q the network needs for m targets."""
        return n_targets

    def prediction(self, Z: Tensor) -> Tensor:
        """The prediction: the mean, or probabilities."""
        return _LINKS[self.link](Z)

    @abstractmethod
    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        r"""The loss of each row, (\*R, b), differentiable by autograd."""

    @abstractmethod
    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        r"""The loss of each row, (\*R, b); the gradient by Z is written to d, neither Z nor y."""

    def value_with_gradient_(
        self, Z: Tensor, y: Tensor, share: Tensor | None, d: Tensor, value: Tensor
    ) -> None:
        r"""Write the weighted mean of the rows to ``value``, (\*R,), and its gradient to d.

        ``share`` has shape (\*R, b) and sums to one over the rows; None stands for 1/b.
        """
        losses = self.rows_with_gradient_(Z, y, d)
        if share is None:
            d.mul_(_number(1 / Z.shape[-2], d))
            torch.mean(losses, -1, out=value)
        else:
            d.mul_(share.unsqueeze(-1))
            torch.sum(losses * share, -1, out=value)


@dataclass(frozen=True)
class SquaredError(Loss):
    r"""Half the squared error, :math:`\tfrac12\|Z - y\|^2`, with gradient Z - y.

    With several outputs it is a sum; torch's ``MSELoss`` is 2/m times it.

    References
    ----------
    Spiliopoulos, Sowers, Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, section 6.4.

    Examples
    --------
    >>> import torch
    >>> Z, y = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    >>> d = torch.empty_like(Z)
    >>> SquaredError().rows_with_gradient_(Z, y, d)
    tensor([2.5000, 8.0000])
    >>> d
    tensor([[ 1.,  2.],
            [ 0., -4.]])
    """

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        return (Z - y).square().sum(-1) / 2

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        torch.sub(Z, y, out=d)
        return d.square().sum(-1).mul_(0.5)

    def value_with_gradient_(
        self, Z: Tensor, y: Tensor, share: Tensor | None, d: Tensor, value: Tensor
    ) -> None:
        if share is None:
            mean, half = _number(1 / Z.shape[-2], d), _number(0.5 * Z.shape[-2], d)
            torch.sub(Z, y, out=d)
            d.mul_(mean)
            torch.mul(_squares(d), half, out=value)
        else:
            error = Z - y
            torch.mul(error, share.unsqueeze(-1), out=d)
            torch.sum(error.mul_(d), _LAST_TWO, out=value)
            value.mul_(0.5)


@dataclass(frozen=True)
class AbsoluteError(Loss):
    """Absolute error, the sum of |Z - y| over outputs: the minimiser is the median.

    The gradient is the sign of Z - y, and 0 where they are equal.
    """

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        return (Z - y).abs().sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        error = Z - y
        torch.sign(error, out=d)
        return error.abs_().sum(-1)


@dataclass(frozen=True)
class Huber(Loss):
    r"""Huber's loss: :math:`e^2/2` for :math:`|e| \le \delta`, else :math:`\delta(|e| - \delta/2)`.

    Here e = Z - y, as in torch's ``HuberLoss``; the gradient is e, clipped to [-δ, δ].

    Parameters
    ----------
    delta : float, default=1.0
        The error δ > 0 from which on the loss is linear, in units of the targets.

    References
    ----------
    Huber, *Robust Estimation of a Location Parameter*, Annals of Mathematical Statistics 35 (1964).
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        _check_number(self, "delta", self.delta, 0, math.inf)

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        return F.huber_loss(Z, y, reduction="none", delta=self.delta).sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        # With the clipped error c, both branches are c(e - c/2).
        error = Z - y
        torch.clamp(error, -self.delta, self.delta, out=d)
        return error.sub_(d, alpha=0.5).mul_(d).sum(-1)


@dataclass(frozen=True)
class Pinball(Loss):
    r"""The pinball loss :math:`\tau(y - Z)_+ + (1 - \tau)(Z - y)_+`, minimised by a quantile.

    At τ = 1/2 it is half the absolute error. Where Z = y the gradient is the mean of its two
    one-sided limits.

    Parameters
    ----------
    quantile : float, default=0.5
        The level τ in (0, 1).

    References
    ----------
    Koenker, Bassett, *Regression Quantiles*, Econometrica 46 (1978), section 3.
    """

    quantile: float = 0.5

    def __post_init__(self) -> None:
        _check_number(self, "quantile", self.quantile, 0, 1)

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        error = Z - y
        return (0.5 * error.abs() + (0.5 - self.quantile) * error).sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        error = Z - y
        torch.sign(error, out=d).mul_(0.5).add_(0.5 - self.quantile)
        # The loss is the error times its slope, as it is linear on either side of zero.
        return error.mul_(d).sum(-1)


@dataclass(frozen=True)
class Poisson(Loss):
    r"""Half the Poisson deviance with Z the log of the mean: counts y >= 0.

    .. math:: \ell = y\ln(y/\mu) - y + \mu, \qquad \mu = e^Z

    The gradient is μ - y. The loss is zero where μ = y, as scikit-learn's, and differs from torch's
    ``PoissonNLLLoss`` by terms of y alone. The mean exceeds the range of numbers above Z = 709 in
    float64 and 88 in float32; ``PoissonMean`` with a softplus output never does.
    """

    link = "exp"
    counts = True

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        return (torch.exp(Z) - y * Z + torch.xlogy(y, y) - y).sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        torch.exp(Z, out=d).sub_(y)
        return torch.xlogy(y, y).addcmul_(y, Z, value=-1).add_(d).sum(-1)


@dataclass(frozen=True)
class PoissonMean(Loss):
    r"""Half the Poisson deviance with Z the mean itself, which the network keeps non-negative.

    .. math:: \ell = y\ln(y/\mu) - y + \mu, \qquad \mu = Z + \epsilon

    Parameters
    ----------
    eps : float, default=1e-8
        The number ε > 0 that keeps the logarithm finite for a mean of zero, as in torch's
        ``PoissonNLLLoss``.
    """

    counts = True
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check_number(self, "eps", self.eps, 0, math.inf)

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        mean = Z + self.eps
        return (torch.xlogy(y, y) - torch.xlogy(y, mean) - y + mean).sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        mean = Z + self.eps
        torch.div(y, mean, out=d).neg_().add_(1)
        return torch.xlogy(y, y).sub_(torch.xlogy(y, mean)).sub_(y).add_(mean).sum(-1)


@dataclass(frozen=True)
class GaussianNLL(Loss):
    r"""Negative log-likelihood of normal targets with their own mean and variance in each row.

    Of the 2m outputs, the first m are means μ and the others are logarithms of variances z:

    .. math:: \ell = \tfrac12\sum\left[\ln v + (y - \mu)^2/v\right], \qquad v = v_0 + e^z

    The constant ln(2π)/2 is left out, as in torch's ``GaussianNLLLoss``; the floor is added to the
    variance, where torch takes the larger of the two, so that the gradient is continuous.

    Parameters
    ----------
    min_variance : float, default=1e-6
        The floor v_0 > 0, in squared units of the targets. Without it the likelihood is unbounded
        for a network that meets a target exactly.

    References
    ----------
    Nix, Weigend, *Estimating the Mean and Variance of the Target Probability Distribution*, 1994.

    Examples
    --------
    >>> import torch
    >>> Z = torch.tensor([[1.0, 0.0]])
    >>> GaussianNLL().prediction(Z), GaussianNLL().std(Z)
    (tensor([[1.]]), tensor([[1.0000]]))
    >>> GaussianNLL().rows(Z, torch.tensor([[3.0]]))
    tensor([2.0000])
    """

    min_variance: float = 1e-6

    def __post_init__(self) -> None:
        _check_number(self, "min_variance", self.min_variance, 0, math.inf)

    def n_outputs(self, n_targets: int) -> int:
        return 2 * n_targets

    def prediction(self, Z: Tensor) -> Tensor:
        return Z[..., : Z.shape[-1] // 2]

    def std(self, Z: Tensor) -> Tensor:
        r"""Standard deviations of the targets, (\*R, b, m)."""
        above, low = self._above(Z)
        return torch.exp((low + _softplus(above)) / 2)

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        above, low = self._above(Z)
        log_variance = low + _softplus(above)
        error = self.prediction(Z) - y
        return (log_variance + error.square() * torch.exp(-log_variance)).sum(-1) / 2

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        above, low = self._above(Z)
        log_variance = _softplus(above).add_(low)
        m = y.shape[-1]
        by_mean, by_log_variance = d[..., :m], d[..., m:]
        error = Z[..., :m] - y
        torch.mul(error, torch.exp(-log_variance), out=by_mean)
        square = error.mul_(by_mean)
        torch.mul(torch.sigmoid(above), 1 - square, out=by_log_variance).mul_(0.5)
        return square.add_(log_variance).sum(-1).mul_(0.5)

    def _above(self, Z: Tensor) -> tuple[Tensor, float]:
        """How far the logarithms of variances are above that of the floor, and this one."""
        low = math.log(self.min_variance)
        return Z[..., Z.shape[-1] // 2 :] - low, low


@dataclass(frozen=True)
class BinaryLogLoss(Loss):
    r"""Cross-entropy of yes or no, one logit z for each label: :math:`\ln(1 + e^z) - yz`.

    The gradient is S(z) - y with the logistic function S. Targets may be any probabilities. Losses
    of several labels are summed, where torch's ``BCEWithLogitsLoss`` takes their mean.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        The weight ε in [0, 1) of a fair coin: y becomes (1 - ε)y + ε/2. Torch has it for the
        softmax only, where ε is spread over all classes likewise.

    References
    ----------
    Spiliopoulos, Sowers, Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, section 3.2 and exercise 6.1.

    Examples
    --------
    >>> import torch
    >>> BinaryLogLoss().rows(torch.tensor([[0.0], [-1e4]]), torch.tensor([[1.0], [0.0]]))
    tensor([0.6931, 0.0000])
    """

    link = "logistic"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_number(self, "label_smoothing", self.label_smoothing, 0, 1, closed=True)

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        return (_softplus(Z) - self._smooth(y) * Z).sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        return self._losses(Z, y, d).sum(-1)

    def value_with_gradient_(
        self, Z: Tensor, y: Tensor, share: Tensor | None, d: Tensor, value: Tensor
    ) -> None:
        losses = self._losses(Z, y, d)
        if share is None:
            mean = _number(1 / Z.shape[-2], d)
            d.mul_(mean)
            torch.sum(losses, _LAST_TWO, out=value)
            value.mul_(mean)
        else:
            column = share.unsqueeze(-1)
            d.mul_(column)
            torch.sum(losses.mul_(column), _LAST_TWO, out=value)

    def _losses(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        """Losses of each label, and their derivatives in d."""
        if self.label_smoothing:
            y = self._smooth(y)
        torch.sigmoid(Z, out=d).sub_(y)
        return F.softplus(Z, 1.0, _LINEAR).addcmul_(y, Z, value=-1)

    def _smooth(self, y: Tensor) -> Tensor:
        return y * (1 - self.label_smoothing) + self.label_smoothing / 2


@dataclass(frozen=True)
class SoftmaxLogLoss(Loss):
    r"""Cross-entropy of one class among q: :math:`\ln\sum_k e^{z_k} - \sum_k y_k z_k`.

    The gradient is softmax(z) - y. Targets are one-hot or any probabilities that sum to one.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        The weight ε in [0, 1) of the uniform distribution: y becomes (1 - ε)y + ε/q, as in torch's
        ``CrossEntropyLoss``.

    References
    ----------
    Spiliopoulos, Sowers, Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, sections 3.7 and 7.4.

    Examples
    --------
    >>> import torch
    >>> SoftmaxLogLoss().rows(torch.tensor([[0.0, 1e4, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([10000.])
    """

    link = "softmax"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_number(self, "label_smoothing", self.label_smoothing, 0, 1, closed=True)

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        return -(self._smooth(y) * torch.log_softmax(Z, -1)).sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        return self._gains(Z, y, d).sum(-1).neg_()

    def value_with_gradient_(
        self, Z: Tensor, y: Tensor, share: Tensor | None, d: Tensor, value: Tensor
    ) -> None:
        gains = self._gains(Z, y, d)
        if share is None:
            mean = _number(1 / Z.shape[-2], d)
            d.mul_(mean)
            torch.sum(gains, _LAST_TWO, out=value)
            value.mul_(mean).neg_()
        else:
            column = share.unsqueeze(-1)
            d.mul_(column)
            torch.sum(gains.mul_(column), _LAST_TWO, out=value)
            value.neg_()

    def _gains(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        """Log-likelihood of each class times its target, and the derivative of the loss in d."""
        if self.label_smoothing:
            y = self._smooth(y)
        log_probability = _log_softmax(Z, d)
        d.sub_(y)
        return log_probability.mul_(y)

    def _smooth(self, y: Tensor) -> Tensor:
        return y * (1 - self.label_smoothing) + self.label_smoothing / y.shape[-1]


def _log_softmax(Z: Tensor, probability: Tensor) -> Tensor:
    """Logarithms of the softmax of Z, which itself is written to the second argument."""
    # For few classes and many rows, torch.log_softmax takes two to three times as long.
    shifted = Z - torch.amax(Z, -1, keepdim=True)
    torch.exp(shifted, out=probability)
    total = probability.sum(-1, keepdim=True)
    probability.div_(total)
    return shifted.sub_(total.log_())


@dataclass(frozen=True)
class BinaryFocal(Loss):
    r"""Focal loss of yes or no: cross-entropy with less weight on rows that are already right.

    .. math:: \ell = -y(1 - p)^\gamma\ln p - (1 - y)p^\gamma\ln(1 - p), \qquad p = S(z)

    Parameters
    ----------
    gamma : float, default=2.0
        The exponent γ >= 0; 0 gives the log loss.

    References
    ----------
    Lin, Goyal, Girshick, He, Dollár, *Focal Loss for Dense Object Detection*, section 3.2; their
    balance α is a class weight here.
    """

    link = "logistic"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        _check_number(self, "gamma", self.gamma, 0, math.inf, closed=True)

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        # The weights as exponentials of -γ ln(1 + e^z): a power would have an infinite derivative
        # where its base is rounded to zero.
        no, yes = _softplus(Z), _softplus(-Z)
        weighted = y * torch.exp(-self.gamma * no) * yes
        return (weighted + (1 - y) * torch.exp(-self.gamma * yes) * no).sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        no, yes = _softplus(Z), _softplus(-Z)
        p, q = torch.sigmoid(Z), torch.sigmoid(-Z)
        positive = torch.exp(-self.gamma * no).mul_(y)
        negative = torch.exp(-self.gamma * yes).mul_(1 - y)
        torch.mul(negative, self.gamma * q * no + p, out=d)
        d.addcmul_(positive, self.gamma * p * yes + q, value=-1)
        return positive.mul_(yes).addcmul_(negative, no).sum(-1)


@dataclass(frozen=True)
class SoftmaxFocal(Loss):
    r"""Focal loss of one class among q: :math:`-\sum_k y_k(1 - p_k)^\gamma\ln p_k`.

    Targets are one-hot or any probabilities.

    Parameters
    ----------
    gamma : float, default=2.0
        The exponent γ >= 0; 0 gives the log loss.

    References
    ----------
    Lin, Goyal, Girshick, He, Dollár, *Focal Loss for Dense Object Detection*, section 3.2.
    """

    link = "softmax"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        _check_number(self, "gamma", self.gamma, 0, math.inf, closed=True)

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        log_p = torch.log_softmax(Z, -1)
        return -(y * self._others(log_p).pow(self.gamma) * log_p).sum(-1)

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        log_p = _log_softmax(Z, d)
        others = self._others(log_p)
        weight = others.pow(self.gamma).mul_(y)
        # p_k times the derivative by p_k of each term; dp_k/dz_j is p_k(δ_kj - p_j).
        slope = weight * (self.gamma * d * (log_p / others) - 1)
        d.mul_(slope.sum(-1, keepdim=True)).neg_().add_(slope)
        return weight.mul_(log_p).sum(-1).neg_()

    @staticmethod
    def _others(log_p: Tensor) -> Tensor:
        """The probability 1 - p, kept from zero: its powers are divided by it."""
        return torch.clamp(-torch.expm1(log_p), min=torch.finfo(log_p.dtype).eps)


@dataclass(frozen=True)
class CallableLoss(Loss):
    r"""A loss that the user wrote in torch; its gradient is found by autograd at every step.

    Parameters
    ----------
    function : callable
        Called as ``function(Z, y)`` with outputs of shape (n, q) and targets of shape (n, m), where
        n counts the rows of all replicas. It returns the loss of each row, of shape (n,), or of
        each row and output, which is summed over outputs. For a classifier Z are logits, as a loss
        is more stable as a function of them than of probabilities.
    link : {"identity", "exp", "logistic", "softmax"}, default="identity"
        The function from outputs to predictions.

    Examples
    --------
    >>> import torch
    >>> loss = CallableLoss(lambda Z, y: (Z - y).cosh().log())
    >>> loss.rows(torch.tensor([[1.0], [0.0]]), torch.zeros(2, 1))
    tensor([0.4338, 0.0000])
    """

    function: Callable[[Tensor, Tensor], Tensor]
    link: str = "identity"

    def __post_init__(self) -> None:
        if not callable(self.function) or isinstance(self.function, type):
            raise ValueError(f"loss={self.function!r} must be a function of outputs and targets")
        if self.link not in _LINKS:
            names = ", ".join(repr(name) for name in _LINKS)
            raise ValueError(f"link={self.link!r} of CallableLoss must be one of {names}")

    def rows(self, Z: Tensor, y: Tensor) -> Tensor:
        n, q, m = Z.shape[:-1].numel(), Z.shape[-1], y.shape[-1]
        losses: Any = self.function(Z.reshape(n, q), y.reshape(n, m))
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else None
        if shape not in ((n,), (n, m), (n, q)):
            found = f"a {type(losses).__name__}" if shape is None else f"shape {shape}"
            raise ValueError(
                f"loss={self.function!r} must return one number for each of the {n} rows, shape "
                f'({n},), or for each row and output, shape {(n, m)} (in torch, reduction="none"); '
                f"it returned {found}"
            )
        return losses.reshape(n, -1).sum(-1).view(Z.shape[:-1])

    def rows_with_gradient_(self, Z: Tensor, y: Tensor, d: Tensor) -> Tensor:
        slope = None
        with torch.inference_mode(False), torch.enable_grad():
            leaf = Z.clone().requires_grad_()
            # A copy also of the targets, as autograd keeps no tensor made in inference mode.
            losses = self.rows(leaf, y.clone())
            if losses.requires_grad:
                (slope,) = torch.autograd.grad(losses.sum(), leaf, allow_unused=True)
        if slope is None:
            raise ValueError(
                f"loss={self.function!r} is not differentiable: autograd finds no path from its "
                "value to its first argument"
            )
        d.copy_(slope)
        return losses.detach()


@dataclass(frozen=True)
class LogLoss:
    """The log loss of a classifier, for two classes, several classes or several labels.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        The weight in [0, 1) of the uniform distribution over classes in the targets.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_number(self, "label_smoothing", self.label_smoothing, 0, 1, closed=True)

    def resolve(self, binary: bool) -> Loss:
        """The loss for one logit a label, or for one logit a class."""
        return (BinaryLogLoss if binary else SoftmaxLogLoss)(self.label_smoothing)


@dataclass(frozen=True)
class FocalLoss:
    """The focal loss of a classifier, for two classes, several classes or several labels.

    Parameters
    ----------
    gamma : float, default=2.0
        The exponent γ >= 0 of the weight (1 - p)^γ; 0 gives the log loss.
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        _check_number(self, "gamma", self.gamma, 0, math.inf, closed=True)

    def resolve(self, binary: bool) -> Loss:
        """The loss for one logit a label, or for one logit a class."""
        return (BinaryFocal if binary else SoftmaxFocal)(self.gamma)


#: Names that ``make_regression_loss`` knows.
REGRESSION_LOSSES: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
    "pinball": Pinball,
    "poisson": Poisson,
    "gaussian": GaussianNLL,
}
#: Names that ``make_classification_loss`` knows.
CLASSIFICATION_LOSSES: dict[str, type[LogLoss] | type[FocalLoss]] = {
    "log_loss": LogLoss,
    "focal": FocalLoss,
}


def make_regression_loss(spec: str | Loss | Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The loss that a regressor's parameter ``loss`` names.

    Parameters
    ----------
    spec : str, Loss or callable
        A key of ``REGRESSION_LOSSES``, for its default parameters; a loss, which is returned as it
        is; or a function of predictions and targets, see ``CallableLoss``.

    Returns
    -------
    Loss
        The loss.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> make_regression_loss("huber")
    Huber(delta=1.0)
    """
    if isinstance(spec, Loss):
        return spec
    if isinstance(spec, str) and spec in REGRESSION_LOSSES:
        return REGRESSION_LOSSES[spec]()
    if callable(spec) and not isinstance(spec, type):
        return CallableLoss(spec)
    raise wrong_spec("loss", spec, "a Loss, a callable", REGRESSION_LOSSES)


def make_classification_loss(
    spec: str | LogLoss | FocalLoss | Loss | Callable[[Tensor, Tensor], Tensor], *, binary: bool
) -> Loss:
    """The loss that a classifier's parameter ``loss`` names.

    Parameters
    ----------
    spec : str, LogLoss, FocalLoss, Loss or callable
        A key of ``CLASSIFICATION_LOSSES``, for its default parameters; a configuration; a loss with
        the link that is needed; or a function of logits (not of probabilities) and targets, see
        ``CallableLoss``.
    binary : bool
        Whether there is one logit for each label, with the logistic link; otherwise there is one
        for each class, with the softmax.

    Returns
    -------
    Loss
        The loss.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> make_classification_loss(LogLoss(label_smoothing=0.1), binary=False)
    SoftmaxLogLoss(label_smoothing=0.1)
    """
    link = "logistic" if binary else "softmax"
    if isinstance(spec, str) and spec in CLASSIFICATION_LOSSES:
        spec = CLASSIFICATION_LOSSES[spec]()
    if isinstance(spec, LogLoss | FocalLoss):
        return spec.resolve(binary)
    if isinstance(spec, Loss) and spec.link == link:
        return spec
    if callable(spec) and not isinstance(spec, type):
        return CallableLoss(spec, link)
    kinds = f"a LogLoss, a FocalLoss, a Loss whose link is {link!r}, a callable"
    raise wrong_spec("loss", spec, kinds, CLASSIFICATION_LOSSES)
