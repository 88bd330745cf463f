"""Coordinates in which states, actions and values are approximated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..specs import wrong_spec

__all__ = ["Identity", "Isoelastic", "Log", "Logit", "Transform", "make_transform"]


class Transform(ABC):
    """An increasing function of one variable, which may depend on its bounds.

    A policy that grows like a power of the state is a straight line in logarithms, and a share
    between two bounds has none in logits: the right coordinates save more coefficients than a
    better basis.
    """

    @abstractmethod
    def forward(self, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Coordinate of x."""

    @abstractmethod
    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The value whose coordinate is y."""


@dataclass(frozen=True)
class Identity(Transform):
    """The variable itself."""

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The same x."""
        return x

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The same y."""
        return y


@dataclass(frozen=True)
class Log(Transform):
    """Logarithm of a positive variable."""

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Logarithm of x."""
        return x.log()

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Exponential of y."""
        return y.exp()


@dataclass(frozen=True)
class Logit(Transform):
    """Log-odds of the position between the bounds, so that no bound is ever crossed."""

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """log((x - lower) / (upper - x))."""
        return (x - lower).log() - (upper - x).log()

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Lower + (upper - lower) / (1 + exp(-y))."""
        return lower + (upper - lower) * torch.sigmoid(y)


@dataclass(frozen=True)
class Isoelastic(Transform):
    r"""Certainty equivalent of a value under constant relative risk aversion.

    A value :math:`V = y^{1-\gamma}/(1-\gamma)` has the coordinate y, or log y when ``log`` is set,
    which is as tame as consumption where V itself runs off to infinity.

    Parameters
    ----------
    gamma : float
        Relative risk aversion, positive; at 1, :math:`V = \log y`.
    log : bool, default=True
        Whether the coordinate is log y.
    """

    gamma: float
    log: bool = True

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The (logarithm of the) certainty equivalent."""
        if self.gamma == 1:
            return x if self.log else x.exp()
        logarithm = ((1 - self.gamma) * x).log() / (1 - self.gamma)
        return logarithm if self.log else logarithm.exp()

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The value of a certainty equivalent."""
        if self.gamma == 1:
            return y if self.log else y.log()
        logarithm = y if self.log else y.log()
        return ((1 - self.gamma) * logarithm).exp() / (1 - self.gamma)


_NAMED: dict[str, Transform] = {"identity": Identity(), "log": Log(), "logit": Logit()}


def make_transform(parameter: str, spec: str | Transform) -> Transform:
    """The transform that a name or an object stands for.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(spec, Transform):
        return spec
    if isinstance(spec, str) and spec in _NAMED:
        return _NAMED[spec]
    raise wrong_spec(parameter, spec, "a Transform", _NAMED)


@dataclass(frozen=True)
class Coordinates:
    """One transform a column."""

    columns: tuple[Transform, ...]

    @classmethod
    def of(
        cls, parameter: str, spec: str | Transform | Sequence[str | Transform], n: int
    ) -> Coordinates:
        """One spec for all columns, or one for each."""
        specs: list[Any] = (
            list(spec) if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec] * n
        )
        if len(specs) != n:
            raise ValueError(
                f"{parameter}={spec!r} must be one transform or one for each of {n} columns"
            )
        return cls(tuple(make_transform(parameter, each) for each in specs))

    @property
    def trivial(self) -> bool:
        """Whether the coordinates are the variables themselves."""
        return all(isinstance(each, Identity) for each in self.columns)

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Coordinates (..., n) of x (..., n)."""
        if self.trivial:
            return x
        return torch.stack(
            [
                each.forward(x[..., j], lower[..., j], upper[..., j])
                for j, each in enumerate(self.columns)
            ],
            -1,
        )

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The variables (..., n) of coordinates y (..., n)."""
        if self.trivial:
            return y
        return torch.stack(
            [
                each.inverse(y[..., j], lower[..., j], upper[..., j])
                for j, each in enumerate(self.columns)
            ],
            -1,
        )
