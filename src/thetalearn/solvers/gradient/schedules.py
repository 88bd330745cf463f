"""Learning-rate schedules: what multiplies the initial learning rate, and when."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import ClassVar, NamedTuple

import numpy as np

__all__ = [
    "LEARNING_RATES",
    "Adaptive",
    "CallableSchedule",
    "Clock",
    "Constant",
    "Cosine",
    "InverseScaling",
    "InverseTime",
    "OneCycle",
    "Pace",
    "Piecewise",
    "Plateau",
    "Schedule",
    "SquareRoot",
    "StepDecay",
    "TimedSchedule",
    "check_robbins_monro",
    "make_schedule",
]


class Clock(NamedTuple):
    """Where a training stands.

    Attributes
    ----------
    step : int
        Updates so far.
    epoch : int
        Whole epochs so far.
    samples : int
        Rows seen in them.
    steps_per_epoch : int
        Updates of an epoch.
    total_steps : int
        Updates of the whole training, if it is not stopped early.
    """

    step: int
    epoch: int
    samples: int
    steps_per_epoch: int
    total_steps: int


class Schedule(ABC):
    """How the learning rate changes.

    Attributes
    ----------
    by_step : bool
        Whether the rate must be asked for before every update, rather than before every epoch.
    ends : bool
        Whether the rate is planned to the last epoch, so that reaching it is the end of the
        training rather than a lack of epochs.
    """

    by_step: ClassVar[bool]
    ends: ClassVar[bool] = False

    @abstractmethod
    def start(self, n_replicas: int) -> Pace:
        """The schedule at work in a training of so many replicas."""


class Pace(ABC):
    """A schedule at work. It can be copied and pickled."""

    @abstractmethod
    def factors(self, clock: Clock) -> float | np.ndarray:
        """What multiplies the initial learning rate: a number, or one for each replica."""

    @abstractmethod
    def observe(self, losses: Sequence[float]) -> None:
        """After an epoch, look at what is minimised, one number for each replica."""

    @abstractmethod
    def stalled(self, replica: int, rate: float) -> bool:
        """Answer the stopping rule: True to go on, at a smaller rate than this one."""

    @abstractmethod
    def keep(self, replicas: Sequence[int]) -> None:
        """Go on with some of the replicas alone."""


class TimedSchedule(Schedule):
    """A schedule that depends on nothing but the clock."""

    @abstractmethod
    def at(self, clock: Clock) -> float:
        """What multiplies the initial learning rate."""

    def start(self, n_replicas: int) -> Pace:
        """The schedule at work."""
        return _TimedPace(self)


@dataclass(frozen=True)
class Constant(TimedSchedule):
    """η_k = η₀.

    Examples
    --------
    >>> Constant().at(Clock(7, 1, 30, 5, 100))
    1.0
    """

    by_step: ClassVar[bool] = False

    def at(self, clock: Clock) -> float:
        """Factor 1."""
        return 1.0


@dataclass(frozen=True)
class InverseScaling(TimedSchedule):
    """η = η₀ / (t + 1)^p, where t counts the rows of the epochs before (scikit-learn's invscaling).

    Parameters
    ----------
    power_t : float, default=0.5
        p ≥ 0.

    References
    ----------
    ``sklearn.neural_network.MLPClassifier``, ``learning_rate="invscaling"``.

    Examples
    --------
    >>> InverseScaling().at(Clock(step=8, epoch=2, samples=99, steps_per_epoch=4, total_steps=40))
    0.1
    """

    power_t: float = 0.5
    by_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("power_t", self.power_t, lambda p: p >= 0, "at least 0")

    def at(self, clock: Clock) -> float:
        """Factor (t + 1)^−p."""
        return float((clock.samples + 1) ** -self.power_t)


@dataclass(frozen=True)
class SquareRoot(TimedSchedule):
    """η_k = η₀ / √(k + 1) after k updates.

    The squares of these rates have no finite sum, so the Robbins-Monro conditions fail; averages of
    the iterates converge.

    Examples
    --------
    >>> SquareRoot().at(Clock(step=3, epoch=0, samples=0, steps_per_epoch=4, total_steps=40))
    0.5
    """

    by_step: ClassVar[bool] = True

    def at(self, clock: Clock) -> float:
        """Factor (k + 1)^−½."""
        return float((clock.step + 1) ** -0.5)


@dataclass(frozen=True)
class InverseTime(TimedSchedule):
    """η_k = η₀ C / (C + k) after k updates, which halves the rate after C of them.

    The book's C₀ / (C₁ + k) is ``offset`` C₁ and η₀ = C₀ / C₁, and its C₀ / (C₁ + C₂ k) is
    ``offset`` C₁ / C₂ and η₀ = C₀ / C₁. Rates are the best in order for a strongly convex loss if
    C₀ times the constant of strong convexity exceeds 1.

    Parameters
    ----------
    offset : float, default=1000.0
        C > 0, in updates.

    References
    ----------
    K. Spiliopoulos, R. Sowers and J. Sirignano, *Mathematical Foundations of Deep Learning Models
    and Algorithms*, (7.8) and lemma 18.7.

    Examples
    --------
    >>> clock = Clock(step=30, epoch=0, samples=0, steps_per_epoch=40, total_steps=400)
    >>> InverseTime(offset=10).at(clock)
    0.25
    """

    offset: float = 1000.0
    by_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check("offset", self.offset, lambda c: c > 0, "positive")

    def at(self, clock: Clock) -> float:
        """Factor C / (C + k)."""
        return self.offset / (self.offset + clock.step)


@dataclass(frozen=True)
class Piecewise(TimedSchedule):
    """Rates that jump: factor j for the updates b_j < k ≤ b_{j+1}, counted from 1.

    Parameters
    ----------
    boundaries : tuple of int
        0 < b_1 < … < b_n.
    factors : tuple of float
        n + 1 factors, the first of which (often 1) holds for the first b_1 updates.
    in_epochs : bool, default=False
        Whether the boundaries count epochs, not updates.

    References
    ----------
    K. Spiliopoulos, R. Sowers and J. Sirignano, *Mathematical Foundations of Deep Learning Models
    and Algorithms*, section 7.3.1, with factors 1, 0.1, 0.01 and 0.001.

    Examples
    --------
    >>> schedule = Piecewise((100, 200), (1.0, 0.1, 0.01))
    >>> [schedule.at(Clock(k, 0, 0, 50, 400)) for k in (0, 99, 100, 200)]
    [1.0, 1.0, 0.1, 0.01]
    """

    boundaries: tuple[int, ...]
    factors: tuple[float, ...]
    in_epochs: bool = False
    by_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        # Lists are welcome, but a frozen record of them could not be hashed.
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        object.__setattr__(self, "factors", tuple(self.factors))
        if any(low >= high for low, high in pairwise((0, *self.boundaries))):
            raise ValueError(f"boundaries={self.boundaries!r} must be positive and increase")
        if len(self.factors) != len(self.boundaries) + 1:
            raise ValueError(
                f"factors={self.factors!r} must be one more than the {len(self.boundaries)} "
                "boundaries"
            )
        for factor in self.factors:
            _check("factors", factor, lambda f: f >= 0, "numbers of at least 0")

    def at(self, clock: Clock) -> float:
        """The factor between the boundaries around now."""
        place = clock.epoch if self.in_epochs else clock.step
        return self.factors[bisect_right(self.boundaries, place)]


@dataclass(frozen=True)
class StepDecay(TimedSchedule):
    """η = η₀ f^⌊e / E⌋ in epoch e, counted from 0.

    Parameters
    ----------
    every : int, default=30
        E ≥ 1, in epochs.
    factor : float, default=0.1
        f in (0, 1].

    References
    ----------
    ``torch.optim.lr_scheduler.StepLR``.

    Examples
    --------
    >>> StepDecay(every=10, factor=0.5).at(Clock(100, 20, 0, 5, 500))
    0.25
    """

    every: int = 30
    factor: float = 0.1
    by_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_whole("every", self.every, 1)
        _check("factor", self.factor, lambda f: 0 < f <= 1, "in (0, 1]")

    def at(self, clock: Clock) -> float:
        """Factor f^⌊e / E⌋."""
        return float(self.factor ** (clock.epoch // self.every))


@dataclass(frozen=True)
class Cosine(TimedSchedule):
    """Half a cosine from η₀ down to a final rate, after a linear rise.

    Of T updates the first W have factors 1/(W + 1), …, W/(W + 1); the update after k others has
    f + (1 − f)(1 + cos π(k − W)/(T − W))/2, and f from k = T on.

    Parameters
    ----------
    warmup : float or int, default=0.0
        W: as a float in [0, 1) the share of all updates, as an integer a number of epochs.
    final : float, default=0.0
        f in [0, 1].

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017),
    without restarts. It is not in the book.

    Examples
    --------
    >>> schedule = Cosine(warmup=0.2)
    >>> [round(schedule.at(Clock(k, 0, 0, 5, 15)), 3) for k in (0, 2, 3, 9, 15)]
    [0.25, 0.75, 1.0, 0.5, 0.0]
    """

    warmup: float = 0.0
    final: float = 0.0
    by_step: ClassVar[bool] = True
    ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        epochs = isinstance(self.warmup, Integral)
        allowed = "a share in [0, 1), or an integer number of epochs"
        _check("warmup", self.warmup, lambda w: w >= 0 and (epochs or w < 1), allowed)
        _check("final", self.final, lambda f: 0 <= f <= 1, "in [0, 1]")

    def at(self, clock: Clock) -> float:
        """The factor of the rise, or of the cosine."""
        if isinstance(self.warmup, Integral):
            rise = int(self.warmup) * clock.steps_per_epoch
        else:
            rise = int(self.warmup * clock.total_steps)
        if clock.step < rise:
            return (clock.step + 1) / (rise + 1)
        return _anneal(1.0, self.final, clock.step - rise, clock.total_steps - rise)


@dataclass(frozen=True)
class OneCycle(TimedSchedule):
    """A cosine up to η₀, and one down to almost nothing.

    Of T updates the one after k others lies on the cosine from 1/d at 0 to 1 at wT − 1 if
    k ≤ wT − 1, and else on the one from there to 1/(d D) at T − 1.

    Parameters
    ----------
    warmup : float, default=0.3
        w in (0, 1), the share of the rise.
    initial_divisor : float, default=25.0
        d ≥ 1.
    final_divisor : float, default=1e4
        D ≥ 1.

    Notes
    -----
    η₀ is the largest rate. The rates are those of ``torch.optim.lr_scheduler.OneCycleLR``, whose
    momentum changes too, if it is not told otherwise.

    References
    ----------
    L. Smith and N. Topin, "Super-convergence: very fast training of neural networks using large
    learning rates" (2019). It is not in the book.

    Examples
    --------
    >>> schedule = OneCycle(warmup=0.5)
    >>> [round(schedule.at(Clock(k, 0, 0, 10, 10)), 6) for k in (0, 2, 4, 9)]
    [0.04, 0.52, 1.0, 4e-06]
    """

    warmup: float = 0.3
    initial_divisor: float = 25.0
    final_divisor: float = 1e4
    by_step: ClassVar[bool] = True
    ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check("warmup", self.warmup, lambda w: 0 < w < 1, "in (0, 1)")
        _check("initial_divisor", self.initial_divisor, lambda d: d >= 1, "at least 1")
        _check("final_divisor", self.final_divisor, lambda d: d >= 1, "at least 1")

    def at(self, clock: Clock) -> float:
        """The factor on the way up, or down."""
        first = 1 / self.initial_divisor
        top = self.warmup * clock.total_steps - 1
        if clock.step <= top:
            return _anneal(first, 1.0, clock.step, top)
        return _anneal(
            1.0, first / self.final_divisor, clock.step - top, clock.total_steps - 1 - top
        )


@dataclass(frozen=True)
class CallableSchedule(TimedSchedule):
    """A function of the clock, asked before every update.

    Parameters
    ----------
    function : callable
        Takes a :class:`Clock`, gives the factor.

    Examples
    --------
    >>> schedule = CallableSchedule(lambda clock: 0.5**clock.epoch)
    >>> schedule.at(Clock(step=8, epoch=2, samples=64, steps_per_epoch=4, total_steps=40))
    0.25
    """

    function: Callable[[Clock], float]
    by_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(f"function={self.function!r} must be callable")

    def at(self, clock: Clock) -> float:
        """What the function says."""
        return float(self.function(clock))


@dataclass(frozen=True)
class Adaptive(Schedule):
    """Divide the rate whenever the stopping rule would end the training (scikit-learn's adaptive).

    Parameters
    ----------
    divisor : float, default=5.0
        More than 1.
    minimum : float, default=1e-6
        A training whose rate is at most this is stopped.

    References
    ----------
    ``sklearn.neural_network.MLPClassifier``, ``learning_rate="adaptive"``.

    Examples
    --------
    >>> pace = Adaptive().start(1)
    >>> pace.stalled(0, rate=0.1), pace.factors(Clock(5, 1, 30, 5, 100))
    (True, 0.2)
    """

    divisor: float = 5.0
    minimum: float = 1e-6
    by_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("divisor", self.divisor, lambda d: d > 1, "more than 1")
        _check("minimum", self.minimum, lambda m: m >= 0, "at least 0")

    def start(self, n_replicas: int) -> Pace:
        """The schedule at work."""
        return _AdaptivePace(self, n_replicas)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiply the rate when the loss has not fallen for some epochs.

    An epoch is bad if its loss is not below (1 − threshold) times the lowest. After more than
    ``patience`` bad epochs in a row the rate is multiplied.

    Parameters
    ----------
    factor : float, default=0.1
        In (0, 1).
    patience : int, default=10
        Bad epochs that are borne.
    threshold : float, default=1e-4
        Least relative fall of the loss that counts, in [0, 1).
    cooldown : int, default=0
        Epochs after a change in which none is bad.
    minimum : float, default=0.0
        Least rate, as a share of the initial one, in [0, 1].

    References
    ----------
    ``torch.optim.lr_scheduler.ReduceLROnPlateau`` with ``mode="min"``, ``threshold_mode="rel"``,
    ``eps=0``, and as ``min_lr`` the minimum times the initial rate.

    Examples
    --------
    >>> pace = Plateau(patience=1).start(2)
    >>> for losses in [(3.0, 3.0), (3.0, 2.0), (3.0, 1.0)]:
    ...     pace.observe(losses)
    >>> pace.factors(Clock(15, 3, 90, 5, 100))
    array([0.1, 1. ])
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    minimum: float = 0.0
    by_step: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("factor", self.factor, lambda f: 0 < f < 1, "in (0, 1)")
        _check("threshold", self.threshold, lambda t: 0 <= t < 1, "in [0, 1)")
        _check("minimum", self.minimum, lambda m: 0 <= m <= 1, "in [0, 1]")
        _check_whole("patience", self.patience, 0)
        _check_whole("cooldown", self.cooldown, 0)

    def start(self, n_replicas: int) -> Pace:
        """The schedule at work."""
        return _PlateauPace(self, n_replicas)


class _TimedPace(Pace):
    def __init__(self, schedule: TimedSchedule) -> None:
        self.schedule = schedule

    def factors(self, clock: Clock) -> float:
        return self.schedule.at(clock)

    def observe(self, losses: Sequence[float]) -> None:
        pass

    def stalled(self, replica: int, rate: float) -> bool:
        return False

    def keep(self, replicas: Sequence[int]) -> None:
        pass


class _AdaptivePace(Pace):
    def __init__(self, schedule: Adaptive, n_replicas: int) -> None:
        self.schedule = schedule
        self._factors = np.ones(n_replicas)

    def factors(self, clock: Clock) -> float | np.ndarray:
        return _one_or_all(self._factors)

    def observe(self, losses: Sequence[float]) -> None:
        pass

    def stalled(self, replica: int, rate: float) -> bool:
        if rate <= self.schedule.minimum:
            return False
        self._factors[replica] /= self.schedule.divisor
        return True

    def keep(self, replicas: Sequence[int]) -> None:
        self._factors = self._factors[list(replicas)]


class _PlateauPace(Pace):
    def __init__(self, schedule: Plateau, n_replicas: int) -> None:
        self.schedule = schedule
        self._factors = np.ones(n_replicas)
        self._lowest = np.full(n_replicas, np.inf)
        self._bad = np.zeros(n_replicas, dtype=int)
        self._cooling = np.zeros(n_replicas, dtype=int)

    def factors(self, clock: Clock) -> float | np.ndarray:
        return _one_or_all(self._factors)

    def observe(self, losses: Sequence[float]) -> None:
        own, now = self.schedule, np.asarray(losses, dtype=float)
        falls = now < self._lowest * (1 - own.threshold)
        self._lowest = np.where(falls, now, self._lowest)
        cools = self._cooling > 0
        self._bad = np.where(falls | cools, 0, self._bad + 1)
        self._cooling = np.where(cools, self._cooling - 1, 0)
        late = self._bad > own.patience
        smaller = np.maximum(self._factors * own.factor, own.minimum)
        self._factors = np.where(late, smaller, self._factors)
        self._cooling = np.where(late, own.cooldown, self._cooling)
        self._bad = np.where(late, 0, self._bad)

    def stalled(self, replica: int, rate: float) -> bool:
        return False

    def keep(self, replicas: Sequence[int]) -> None:
        index = list(replicas)
        self._factors, self._lowest = self._factors[index], self._lowest[index]
        self._bad, self._cooling = self._bad[index], self._cooling[index]


def _one_or_all(factors: np.ndarray) -> float | np.ndarray:
    """A number if all replicas have the same factor: updates with one rate are faster."""
    return float(factors[0]) if (factors == factors[0]).all() else factors.copy()


def _anneal(start: float, end: float, place: float, length: float) -> float:
    """Half a cosine from start to end, and end from there on."""
    if place >= length:
        return end
    return end + (start - end) * (1 + math.cos(math.pi * place / length)) / 2


def _check(name: str, value: float, is_allowed: Callable[[float], bool], allowed: str) -> None:
    if not (isinstance(value, Real) and math.isfinite(value) and is_allowed(value)):
        raise ValueError(f"{name}={value!r} must be {allowed}")


def _check_whole(name: str, value: int, least: int) -> None:
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {least}")


def check_robbins_monro(schedule: Schedule) -> bool | None:
    """Whether the rates have an infinite sum, and their squares a finite one.

    Stochastic gradient descent with such rates converges under the usual conditions. Rates that end
    with a training are taken to stay where they are.

    Parameters
    ----------
    schedule : Schedule
        The schedule.

    Returns
    -------
    bool or None
        None if it depends on the losses or on an unknown function.

    References
    ----------
    K. Spiliopoulos, R. Sowers and J. Sirignano, *Mathematical Foundations of Deep Learning Models
    and Algorithms*, (7.8).

    Examples
    --------
    >>> check_robbins_monro(InverseTime()), check_robbins_monro(SquareRoot())
    (True, False)
    """
    match schedule:
        case InverseTime():
            return True
        case InverseScaling():
            return 0.5 < schedule.power_t <= 1
        case Constant() | SquareRoot() | Piecewise() | StepDecay() | Cosine() | OneCycle():
            return False
    return None


#: Names that :func:`make_schedule` knows.
_NAMED: dict[str, Callable[[float], Schedule]] = {
    "constant": lambda power_t: Constant(),
    "invscaling": InverseScaling,
    "adaptive": lambda power_t: Adaptive(),
    "sqrt": lambda power_t: SquareRoot(),
    "inverse_time": lambda power_t: InverseTime(),
    "step": lambda power_t: StepDecay(),
    "cosine": lambda power_t: Cosine(),
    "one_cycle": lambda power_t: OneCycle(),
    "plateau": lambda power_t: Plateau(),
}
LEARNING_RATES = tuple(_NAMED)


def make_schedule(
    spec: str | Schedule | Callable[[Clock], float], *, power_t: float = 0.5
) -> Schedule:
    """The schedule that an estimator's ``learning_rate`` names.

    Parameters
    ----------
    spec : str, Schedule or callable
        One of ``LEARNING_RATES``, a schedule, which is returned, or a function of a :class:`Clock`
        that gives the factor.
    power_t : float, default=0.5
        For "invscaling".

    Returns
    -------
    Schedule
        The schedule.

    Raises
    ------
    ValueError
        If the name is not known.

    Examples
    --------
    >>> make_schedule("invscaling", power_t=1.0)
    InverseScaling(power_t=1.0)
    """
    if isinstance(spec, Schedule):
        return spec
    if isinstance(spec, str) and spec in _NAMED:
        return _NAMED[spec](power_t)
    if callable(spec) and not isinstance(spec, type):
        return CallableSchedule(spec)
    names = ", ".join(f'"{name}"' for name in LEARNING_RATES)
    raise ValueError(f"learning_rate={spec!r} must be one of {names}, a Schedule or a callable")
