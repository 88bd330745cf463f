"""Optimizers: how a gradient moves all parameters of all replicas, held in one flat tensor.

Every operation is elementwise, so that a NaN stays where it is, and each number may have a rate and
hyper-parameters of its own. An optimizer is a record of hyper-parameters; :meth:`Optimizer.start`
gives the updater that holds what is particular to one fit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = [
    "SOLVERS",
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "GradientDescent",
    "Momentum",
    "Optimizer",
    "RMSprop",
    "Updater",
    "make_optimizer",
    "soft_threshold_",
]

#: A number for all elements of theta, or a tensor like theta with one for each.
Number: TypeAlias = float | Tensor

#: Names that :func:`make_optimizer` knows.
SOLVERS = (
    "gd",
    "sgd",
    "heavy_ball",
    "nesterov",
    "adagrad",
    "adadelta",
    "rmsprop",
    "adam",
    "adamw",
    "adamax",
)


class Optimizer(ABC):
    """Hyper-parameters of a method; each is a float, or a tensor like theta."""

    @abstractmethod
    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``, at rest."""


class Updater(ABC):
    """What an optimizer remembers of one fit, and its step.

    Attributes
    ----------
    optimizer : Optimizer
        The hyper-parameters.
    tensors : dict of str to Tensor
        State, each tensor like theta. Copying others into them, and setting ``steps``, restores a
        fit to the same numbers.
    steps : int
        Updates so far.
    proximal : bool
        Whether `metric` will be asked for after every update.
    reach : float or Tensor
        How far a velocity carries, in units of the gradient: rates of the past, weighted as it
        weighs their gradients. Kept only if ``proximal``.
    """

    def __init__(self, optimizer: Optimizer, theta: Tensor, *names: str) -> None:
        self.optimizer = optimizer
        self.steps = 0
        self.proximal = False
        self.reach: Number = 0.0
        self.tensors = {name: torch.zeros_like(theta) for name in names}

    @abstractmethod
    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        """Update theta in place; the gradient is used up.

        Parameters
        ----------
        theta : Tensor of shape (p,)
            Parameters.
        gradient : Tensor of shape (p,)
            The gradient at theta; it may be overwritten.
        rate : float or Tensor of shape (p,)
            Learning rate.
        """

    @abstractmethod
    def metric(self) -> Number:
        """What multiplies rate × gradient in the last update, were the gradient to stay as it is.

        Following the update with :func:`soft_threshold_` at rate × l1 × metric therefore leaves the
        minimisers of the loss plus l1 ‖θ‖₁ where they are.
        """


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """Gradient descent, θ ← θ − η g.

    With gradients of minibatches it is stochastic gradient descent.

    References
    ----------
    K. Spiliopoulos, R. Sowers and J. Sirignano, *Mathematical Foundations of Deep Learning Models
    and Algorithms*, sections 17.2 and 18.2.

    Examples
    --------
    >>> theta = torch.tensor([1.0, 2.0])
    >>> GradientDescent().start(theta)(theta, torch.tensor([1.0, -1.0]), 0.5)
    >>> theta
    tensor([0.5000, 2.5000])
    """

    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``."""
        return _Descent(self, theta)


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Momentum: Polyak's heavy ball, or Nesterov's acceleration.

    The velocity becomes u ← μ u − η g, and θ ← θ + u (heavy ball) or θ ← θ + μ u − η g (Nesterov).

    Parameters
    ----------
    momentum : float or Tensor, default=0.9
        μ in [0, 1).
    nesterov : bool, default=False
        Whether the velocity looks ahead. θ is then the shifted point at which the book takes the
        gradient, θ + μ u in its letters.

    Notes
    -----
    The velocity includes the rate (the book's (17.6) and scikit-learn), so that a change of the
    rate acts on later gradients alone. In ``torch.optim.SGD`` it acts on the past ones too; the two
    are the same while the rate is.

    References
    ----------
    K. Spiliopoulos, R. Sowers and J. Sirignano, *Mathematical Foundations of Deep Learning Models
    and Algorithms*, sections 17.4.1 and 17.4.2.

    Examples
    --------
    >>> theta = torch.tensor([1.0])
    >>> update = Momentum(0.5).start(theta)
    >>> for _ in range(2):
    ...     update(theta, torch.tensor([1.0]), 0.1)
    >>> theta  # 1 - 0.1 - (0.1 + 0.5 * 0.1)
    tensor([0.7500])
    """

    momentum: Number = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check({"momentum": self.momentum}, "in [0, 1]", math.nextafter(1, 2))

    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``, at rest."""
        # torch refuses a velocity without momentum.
        fused = _is_fused("_fused_sgd_", theta, self.momentum) and bool(self.momentum > 0)
        return (_FusedMomentum if fused else _PlainMomentum)(self, theta, "velocity")


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad: rates that fall with the squares of all gradients so far.

    s ← s + g², θ ← θ − η g / (√s + ε), elementwise.

    Parameters
    ----------
    epsilon : float or Tensor, default=1e-10
        ε ≥ 0.

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12 (2011), with the diagonal matrix. K. Spiliopoulos, R. Sowers
    and J. Sirignano, *Mathematical Foundations of Deep Learning Models and Algorithms*, section
    18.5.

    Examples
    --------
    >>> theta = torch.zeros(2)
    >>> Adagrad().start(theta)(theta, torch.tensor([4.0, -0.1]), 0.5)
    >>> theta
    tensor([-0.5000,  0.5000])
    """

    epsilon: Number = 1e-10

    def __post_init__(self) -> None:
        _check_nonnegative(epsilon=self.epsilon)

    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``."""
        fused = theta.device.type == "cpu" and _is_fused("_fused_adagrad_", theta, self.epsilon)
        return (_FusedAdagrad if fused else _PlainAdagrad)(self, theta, "square")


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """Adadelta: steps in the units of θ.

    v ← ρ v + (1 − ρ) g², d = g √((a + ε) / (v + ε)), a ← ρ a + (1 − ρ) d², θ ← θ − η d,
    elementwise.

    Parameters
    ----------
    rho : float or Tensor, default=0.9
        ρ in [0, 1).
    epsilon : float or Tensor, default=1e-6
        ε ≥ 0, which sets the size of the first steps.

    References
    ----------
    M. Zeiler, "ADADELTA: an adaptive learning rate method" (2012), algorithm 1, where η is 1.

    Examples
    --------
    >>> theta = torch.zeros(2, dtype=torch.float64)
    >>> gradient = torch.tensor([4.0, -0.1], dtype=torch.float64)
    >>> Adadelta(epsilon=1e-4).start(theta)(theta, gradient, 1.0)
    >>> theta
    tensor([-0.0316,  0.0302], dtype=torch.float64)
    """

    rho: Number = 0.9
    epsilon: Number = 1e-6

    def __post_init__(self) -> None:
        _check_share(rho=self.rho)
        _check_nonnegative(epsilon=self.epsilon)

    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``."""
        return _Adadelta(self, theta, "square", "move")


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop: gradients over the root of their mean square.

    v ← δ v + (1 − δ) g², θ ← θ − η g / (√v + ε), elementwise. With ``centered``, v − a² takes the
    place of v under the root, where a ← δ a + (1 − δ) g. With ``momentum`` μ, θ ← θ − η u, where
    u ← μ u + g / (√v + ε).

    Parameters
    ----------
    decay : float or Tensor, default=0.99
        δ in [0, 1).
    epsilon : float or Tensor, default=1e-8
        ε ≥ 0.
    momentum : float or Tensor, default=0.0
        μ in [0, 1).
    centered : bool, default=False
        Whether to divide by a standard deviation.

    Notes
    -----
    Conventions are those of ``torch.optim.RMSprop``. The book writes √(v + ε), where ε acts like √ε
    here. At a constant rate the method does not converge: on θ²/2 with ε = 0 it ends between ±η/2.

    References
    ----------
    K. Spiliopoulos, R. Sowers and J. Sirignano, *Mathematical Foundations of Deep Learning Models
    and Algorithms*, section 18.5. T. Tieleman and G. Hinton, lecture 6.5 of *Neural Networks for
    Machine Learning* (2012).

    Examples
    --------
    >>> theta = torch.zeros(2)
    >>> RMSprop(decay=0.75).start(theta)(theta, torch.tensor([4.0, -0.1]), 0.1)
    >>> theta
    tensor([-0.2000,  0.2000])
    """

    decay: Number = 0.99
    epsilon: Number = 1e-8
    momentum: Number = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        _check_share(decay=self.decay, momentum=self.momentum)
        _check_nonnegative(epsilon=self.epsilon)

    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``."""
        if isinstance(self.momentum, Tensor) or self.momentum > 0 or self.centered:
            extra = ("velocity", "mean") if self.centered else ("velocity",)
            return _PlainRMSprop(self, theta, "square", *extra)
        fused = _is_fused("_fused_adamw_", theta, self.decay, self.epsilon)
        return (_FusedRMSprop if fused else _PlainRMSprop)(self, theta, "square")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: averaged gradients over the root of their averaged squares.

    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², and after k updates m̂ = m / (1 − β₁ᵏ),
    v̂ = v / (1 − β₂ᵏ), θ ← θ − η m̂ / (√v̂ + ε), elementwise.

    Parameters
    ----------
    beta_1, beta_2 : float or Tensor, default=0.9 and 0.999
        In [0, 1).
    epsilon : float or Tensor, default=1e-8
        ε ≥ 0.
    amsgrad : bool, default=False
        Whether the largest v so far takes the place of v (S. Reddi, S. Kale and S. Kumar, "On the
        convergence of Adam and beyond", 2018), which the book does not treat.

    Notes
    -----
    Conventions are those of ``torch.optim.Adam``. The book writes √(v̂ + ε), where ε acts like √ε
    here; in scikit-learn √v + ε stands below the line, with the corrections in front.

    References
    ----------
    D. Kingma and J. Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1.
    K. Spiliopoulos, R. Sowers and J. Sirignano, *Mathematical Foundations of Deep Learning Models
    and Algorithms*, section 18.5.

    Examples
    --------
    >>> theta = torch.zeros(2)
    >>> Adam().start(theta)(theta, torch.tensor([4.0, -0.1]), 0.01)
    >>> theta
    tensor([-0.0100,  0.0100])
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8
    amsgrad: bool = False

    def __post_init__(self) -> None:
        _check_share(beta_1=self.beta_1, beta_2=self.beta_2)
        _check_nonnegative(epsilon=self.epsilon)

    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``."""
        without_decay = AdamW(self.beta_1, self.beta_2, self.epsilon, self.amsgrad, 0.0)
        return without_decay.start(theta)


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay: θ ← (1 − η λ) θ before each step of Adam.

    Parameters
    ----------
    beta_1, beta_2 : float or Tensor, default=0.9 and 0.999
        In [0, 1).
    epsilon : float or Tensor, default=1e-8
        ε ≥ 0.
    amsgrad : bool, default=False
        See :class:`Adam`.
    weight_decay : float or Tensor, default=0.01
        λ ≥ 0. A tensor that is 0 at the intercepts leaves them alone.

    References
    ----------
    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization" (2019), algorithm 2, with
    the rate of ``torch.optim.AdamW`` for both its α and its η. It is not in the book.

    Examples
    --------
    >>> theta = torch.tensor([1.0, 1.0])
    >>> AdamW(weight_decay=1.0).start(theta)(theta, torch.tensor([4.0, -0.1]), 0.01)
    >>> theta
    tensor([0.9800, 1.0000])
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8
    amsgrad: bool = False
    weight_decay: Number = 0.01

    def __post_init__(self) -> None:
        _check_share(beta_1=self.beta_1, beta_2=self.beta_2)
        _check_nonnegative(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``."""
        fused = _is_fused("_fused_adamw_", theta, self.beta_1, self.beta_2, self.epsilon)
        extra = ("largest",) if self.amsgrad else ()
        return (_FusedAdam if fused else _PlainAdam)(self, theta, "mean", "square", *extra)


@dataclass(frozen=True)
class AdaMax(Optimizer):
    """AdaMax: Adam with a largest in place of a mean square.

    m ← β₁ m + (1 − β₁) g, u ← max(β₂ u, |g| + ε), and after k updates
    θ ← θ − η / (1 − β₁ᵏ) m / u, elementwise.

    Parameters
    ----------
    beta_1, beta_2 : float or Tensor, default=0.9 and 0.999
        In [0, 1).
    epsilon : float or Tensor, default=1e-8
        ε ≥ 0.

    Notes
    -----
    Conventions are those of ``torch.optim.Adamax``. The book writes the largest |g| of all
    elements, one number for the whole of θ, where the method's authors take each for itself.

    References
    ----------
    D. Kingma and J. Ba, "Adam: a method for stochastic optimization" (2015), algorithm 2.
    K. Spiliopoulos, R. Sowers and J. Sirignano, *Mathematical Foundations of Deep Learning Models
    and Algorithms*, section 18.5.

    Examples
    --------
    >>> theta = torch.zeros(2)
    >>> AdaMax().start(theta)(theta, torch.tensor([4.0, -0.1]), 0.01)
    >>> theta
    tensor([-0.0100,  0.0100])
    """

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8

    def __post_init__(self) -> None:
        _check_share(beta_1=self.beta_1, beta_2=self.beta_2)
        _check_nonnegative(epsilon=self.epsilon)

    def start(self, theta: Tensor) -> Updater:
        """An updater for parameters like ``theta``."""
        return _AdaMax(self, theta, "mean", "largest")


class _Descent(Updater):
    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        _descend(theta, gradient, rate)

    def metric(self) -> Number:
        return 1.0


class _Velocity(Updater):
    """A velocity that includes the rates at which its gradients came."""

    optimizer: Momentum

    def _carry(self, rate: Number) -> None:
        """Take note of a rate, if a proximal step will ask how far the velocity carries."""
        if self.proximal:
            self.reach, self._newest = self.optimizer.momentum * self.reach + rate, rate

    def metric(self) -> Number:
        if not self.proximal:
            return 1 / (1 - self.optimizer.momentum)
        length = self.reach
        if self.optimizer.nesterov:
            length = self.optimizer.momentum * length + self._newest
        return length / self._newest


class _PlainMomentum(_Velocity):
    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        self._carry(rate)
        momentum, velocity = self.optimizer.momentum, self.tensors["velocity"]
        gradient.mul_(-rate)
        velocity.mul_(momentum).add_(gradient)
        if self.optimizer.nesterov:
            theta.add_(gradient.add_(velocity * momentum))
        else:
            theta.add_(velocity)


class _FusedMomentum(_Velocity):
    def __init__(self, optimizer: Momentum, theta: Tensor, *names: str) -> None:
        super().__init__(optimizer, theta, *names)
        self._rate: float | None = None
        self._factor = _scalar(0.0, theta)

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        self._carry(rate)
        if isinstance(rate, Tensor):
            gradient.mul_(rate).neg_()
        else:
            if rate != self._rate:
                self._rate = rate
                self._factor.fill_(-rate)
            gradient.mul_(self._factor)
        torch._fused_sgd_(
            [theta],
            [gradient],
            [self.tensors["velocity"]],
            # The velocity includes the rate already.
            lr=-1.0,
            momentum=self.optimizer.momentum,  # type: ignore[arg-type]
            nesterov=self.optimizer.nesterov,
            weight_decay=0.0,
            dampening=0.0,
            maximize=False,
            is_first_step=False,
        )


class _PlainAdagrad(Updater):
    optimizer: Adagrad

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        square = self.tensors["square"].addcmul_(gradient, gradient)
        _descend(theta, gradient.div_(_root(square, self.optimizer.epsilon)), rate)

    def metric(self) -> Tensor:
        return _root(self.tensors["square"], self.optimizer.epsilon).reciprocal_()


class _FusedAdagrad(Updater):
    optimizer: Adagrad

    def __init__(self, optimizer: Adagrad, theta: Tensor, *names: str) -> None:
        super().__init__(optimizer, theta, *names)
        # It only serves a decay of the rate, which is not used.
        self._count = torch.ones((), dtype=torch.float32)

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        moved, length = _one_rate(theta, rate)
        torch._fused_adagrad_(
            [moved],
            [gradient],
            [self.tensors["square"]],
            [self._count],
            lr=length,
            lr_decay=0.0,
            weight_decay=0.0,
            eps=self.optimizer.epsilon,  # type: ignore[arg-type]
            maximize=False,
        )
        if isinstance(rate, Tensor):
            theta.addcmul_(moved, rate)

    def metric(self) -> Tensor:
        return _root(self.tensors["square"], self.optimizer.epsilon).reciprocal_()


class _Adadelta(Updater):
    optimizer: Adadelta

    def __init__(self, optimizer: Adadelta, theta: Tensor, *names: str) -> None:
        super().__init__(optimizer, theta, *names)
        self._epsilon = _scalar(optimizer.epsilon, theta)
        self._ratio = torch.ones_like(theta)

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        square, move, new = self.tensors["square"], self.tensors["move"], 1 - self.optimizer.rho
        square.lerp_(gradient.square(), new)
        self._ratio = torch.add(move, self._epsilon).div_(square + self._epsilon).sqrt_()
        gradient.mul_(self._ratio)
        move.lerp_(gradient.square(), new)
        _descend(theta, gradient, rate)

    def metric(self) -> Number:
        return self._ratio


class _PlainRMSprop(Updater):
    optimizer: RMSprop

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        own, tensors = self.optimizer, self.tensors
        tensors["square"].lerp_(gradient.square(), 1 - own.decay)
        if own.centered:
            tensors["mean"].lerp_(gradient, 1 - own.decay)
        gradient.div_(self._spread())
        if "velocity" in tensors:
            gradient = tensors["velocity"].mul_(own.momentum).add_(gradient)
        _descend(theta, gradient, rate)

    def _spread(self) -> Tensor:
        square = self.tensors["square"]
        if self.optimizer.centered:
            mean = self.tensors["mean"]
            # Rounding can make a variance negative.
            square = square.addcmul(mean, mean, value=-1).clamp_(min=0)
        return _root(square, self.optimizer.epsilon)

    def metric(self) -> Tensor:
        return self._spread().mul_(1 - self.optimizer.momentum).reciprocal_()


class _FusedRMSprop(Updater):
    optimizer: RMSprop

    def __init__(self, optimizer: RMSprop, theta: Tensor, *names: str) -> None:
        super().__init__(optimizer, theta, *names)
        self._count = _infinity(theta)

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        own: Any = self.optimizer
        moved, length = _one_rate(theta, rate)
        # Adam that neither averages gradients nor corrects for the start at zero.
        torch._fused_adamw_(
            [moved],
            [gradient],
            [gradient],
            [self.tensors["square"]],
            [],
            [self._count],
            lr=length,
            beta1=0.0,
            beta2=own.decay,
            weight_decay=0.0,
            eps=own.epsilon,
            amsgrad=False,
            maximize=False,
        )
        if isinstance(rate, Tensor):
            theta.addcmul_(moved, rate)

    def metric(self) -> Tensor:
        return _root(self.tensors["square"], self.optimizer.epsilon).reciprocal_()


class _PlainAdam(Updater):
    optimizer: AdamW

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        own, mean, square = self.optimizer, self.tensors["mean"], self.tensors["square"]
        _decay(theta, rate, own.weight_decay)
        mean.lerp_(gradient, 1 - own.beta_1)
        square.lerp_(gradient.square_(), 1 - own.beta_2)
        if own.amsgrad:
            torch.maximum(self.tensors["largest"], square, out=self.tensors["largest"])
        direction = torch.div(mean, _adam_root(own, self.tensors, self.steps), out=gradient)
        _descend(theta, direction, rate / (1 - own.beta_1**self.steps))

    def metric(self) -> Tensor:
        return _adam_root(self.optimizer, self.tensors, self.steps).reciprocal_()


class _FusedAdam(Updater):
    optimizer: AdamW

    def __init__(self, optimizer: AdamW, theta: Tensor, *names: str) -> None:
        super().__init__(optimizer, theta, *names)
        self._count = _infinity(theta)

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        own: Any = self.optimizer
        tensors = self.tensors
        # With c₁ = 1 − β₁ᵏ and c₂ = √(1 − β₂ᵏ), m̂ / (√v̂ + ε) is (c₂ / c₁) m / (√v + c₂ ε).
        root = (1 - own.beta_2**self.steps) ** 0.5
        scale = root / (1 - own.beta_1**self.steps)
        decay = own.weight_decay
        if isinstance(rate, Tensor) or isinstance(decay, Tensor):
            _decay(theta, rate, decay)
            decay = 0.0
        moved, length = _one_rate(theta, rate)
        torch._fused_adamw_(
            [moved],
            [gradient],
            [tensors["mean"]],
            [tensors["square"]],
            [tensors["largest"]] if own.amsgrad else [],
            [self._count],
            lr=length * scale,
            beta1=own.beta_1,
            beta2=own.beta_2,
            weight_decay=decay / scale,
            eps=root * own.epsilon,
            amsgrad=own.amsgrad,
            maximize=False,
        )
        if isinstance(rate, Tensor):
            theta.addcmul_(moved, rate)

    def metric(self) -> Tensor:
        return _adam_root(self.optimizer, self.tensors, self.steps).reciprocal_()


class _AdaMax(Updater):
    optimizer: AdaMax

    def __init__(self, optimizer: AdaMax, theta: Tensor, *names: str) -> None:
        super().__init__(optimizer, theta, *names)
        self._beta_2 = _scalar(optimizer.beta_2, theta)
        self._epsilon = _scalar(optimizer.epsilon, theta)

    def __call__(self, theta: Tensor, gradient: Tensor, rate: Number) -> None:
        self.steps += 1
        beta_1, mean, largest = self.optimizer.beta_1, self.tensors["mean"], self.tensors["largest"]
        mean.lerp_(gradient, 1 - beta_1)
        size = gradient.abs_().add_(self._epsilon)
        torch.maximum(largest.mul_(self._beta_2), size, out=largest)
        _descend(theta, torch.div(mean, largest, out=gradient), rate / (1 - beta_1**self.steps))

    def metric(self) -> Tensor:
        return self.tensors["largest"].reciprocal()


def _descend(theta: Tensor, direction: Tensor, rate: Number) -> None:
    """θ ← θ − rate × direction."""
    if isinstance(rate, Tensor):
        theta.addcmul_(direction, rate, value=-1)
    else:
        theta.sub_(direction, alpha=rate)


def _decay(theta: Tensor, rate: Number, weight_decay: Number) -> None:
    """θ ← (1 − rate × decay) θ."""
    if isinstance(weight_decay, Tensor):
        _descend(theta, theta * weight_decay, rate)
    elif weight_decay != 0:
        _descend(theta, theta, rate * weight_decay)


def _root(square: Tensor, epsilon: Number) -> Tensor:
    """√v + ε."""
    return square.sqrt().add_(epsilon)


def _adam_root(optimizer: AdamW, tensors: dict[str, Tensor], steps: int) -> Tensor:
    """√v̂ + ε."""
    square = tensors["largest" if optimizer.amsgrad else "square"]
    return _root(square / (1 - optimizer.beta_2**steps), optimizer.epsilon)


def _scalar(number: Number, theta: Tensor) -> Tensor:
    """A number as a tensor, which spares torch a conversion in every operation."""
    return torch.as_tensor(number, dtype=theta.dtype, device=theta.device)


def _infinity(theta: Tensor) -> Tensor:
    """A count of updates at which the fused Adam corrects nothing, so that we can."""
    return torch.full((), math.inf, dtype=torch.float32, device=theta.device)


def _one_rate(theta: Tensor, rate: Number) -> tuple[Tensor, float]:
    """What to move, and how far: for many rates a zero, which at rate 1 becomes the direction."""
    return (torch.zeros_like(theta), 1.0) if isinstance(rate, Tensor) else (theta, rate)


def _is_fused(name: str, theta: Tensor, *numbers: Number) -> bool:
    """Whether torch has a private function for one pass over theta, and can use it here."""
    alike = not any(isinstance(number, Tensor) for number in numbers)
    return alike and hasattr(torch, name) and theta.device.type in ("cpu", "cuda")


def _check_share(**values: Number) -> None:
    _check(values, "in [0, 1)", 1.0)


def _check_nonnegative(**values: Number) -> None:
    _check(values, "finite and at least 0", math.inf)


def _check(values: dict[str, Number], allowed: str, below: float) -> None:
    for name, value in values.items():
        if isinstance(value, Tensor):
            good = bool(((value >= 0) & (value < below)).all())
        else:
            good = isinstance(value, Real) and 0 <= value < below
        if not good:
            raise ValueError(f"{name}={value!r} must be {allowed}")


def soft_threshold_(theta: Tensor, threshold: Number) -> Tensor:
    """Move theta towards zero in place, and what lies within the threshold to zero exactly.

    This is the proximal map of the l1 norm, θ ← sign(θ) max(abs(θ) − t, 0).

    Parameters
    ----------
    theta : Tensor of shape (p,)
        Parameters.
    threshold : float or Tensor of shape (p,)
        t ≥ 0.

    Returns
    -------
    Tensor of shape (p,)
        ``theta``.

    References
    ----------
    N. Parikh and S. Boyd, "Proximal algorithms", *Foundations and Trends in Optimization* 1 (2014),
    section 6.5.2.

    Examples
    --------
    >>> soft_threshold_(torch.tensor([3.0, -0.5, -2.0]), 1.0)
    tensor([ 2.,  0., -1.])
    """
    bound: Any = threshold
    return theta.sub_(theta.clamp(-bound, bound))


def make_optimizer(
    spec: str | Optimizer,
    *,
    momentum: Number = 0.9,
    nesterovs_momentum: bool = True,
    beta_1: Number = 0.9,
    beta_2: Number = 0.999,
    epsilon: Number = 1e-8,
    weight_decay: Number = 0.01,
) -> Optimizer:
    """The optimizer that an estimator's ``solver`` names.

    Parameters
    ----------
    spec : str or Optimizer
        One of ``SOLVERS``, or an optimizer, which is returned.
    momentum : float or Tensor, default=0.9
        For "sgd", "heavy_ball" and "nesterov".
    nesterovs_momentum : bool, default=True
        For "sgd".
    beta_1, beta_2 : float or Tensor, default=0.9 and 0.999
        For "adam", "adamw" and "adamax".
    epsilon : float or Tensor, default=1e-8
        For these and "rmsprop"; "adagrad" and "adadelta" have their own.
    weight_decay : float or Tensor, default=0.01
        For "adamw".

    Returns
    -------
    Optimizer
        The optimizer.

    Raises
    ------
    ValueError
        If the name is not known, or a number is out of range.

    Examples
    --------
    >>> make_optimizer("sgd", momentum=0.5)
    Momentum(momentum=0.5, nesterov=True)
    """
    if isinstance(spec, Optimizer):
        return spec
    match spec:
        case "gd":
            return GradientDescent()
        case "sgd":
            return _with_momentum(momentum, nesterovs_momentum)
        case "heavy_ball":
            return _with_momentum(momentum, False)
        case "nesterov":
            return _with_momentum(momentum, True)
        case "adagrad":
            return Adagrad()
        case "adadelta":
            return Adadelta()
        case "rmsprop":
            return RMSprop(epsilon=epsilon)
        case "adam":
            return Adam(beta_1, beta_2, epsilon)
        case "adamw":
            return AdamW(beta_1, beta_2, epsilon, weight_decay=weight_decay)
        case "adamax":
            return AdaMax(beta_1, beta_2, epsilon)
    names = ", ".join(f'"{name}"' for name in SOLVERS)
    raise ValueError(f"solver={spec!r} must be one of {names}, or an Optimizer")


def _with_momentum(momentum: Number, nesterov: bool) -> Optimizer:
    if isinstance(momentum, Real) and momentum == 0:
        return GradientDescent()
    return Momentum(momentum, nesterov)
