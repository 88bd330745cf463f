"""Problems, their solution while it is filled in, and what all ways to it share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, Self

import torch
from torch import Tensor

__all__ = ["Found", "Maximum", "Objective", "Problems", "Rows"]

#: Problems of an objective: all of them, or those with these indices.
Rows = slice | Tensor

#: An action near zero is measured against this share of the width of its bounds.
SMALLEST = 1e-4

#: Steps shorter than this, relative to the action, change the value by little more than rounding.
TINY = 1e-5

#: Rounding of a value, in units of its last place.
VALUE_NOISE = 8

#: Without a bound, a step is at most this many times as long as the action (or 1) is large.
STRETCH = 8.0


class Objective(Protocol):
    """What is maximised: n problems with m actions each.

    ``rows`` says which r of the problems are meant, so that finished ones drop out: a slice, or a
    tensor of indices. A value that is -inf or nan marks an action as infeasible.
    """

    @property
    def n_problems(self) -> int:
        """Number of problems n."""

    @property
    def n_actions(self) -> int:
        """Actions m of each problem."""

    def value(self, rows: Rows, actions: Tensor) -> Tensor:
        """Values (r, c) of c candidates for each of r problems, actions (r, c, m)."""

    def derivatives(self, rows: Rows, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value (r,), gradient (r, m) and Hessian (r, m, m) at actions (r, m)."""


@dataclass(frozen=True)
class Maximum:
    """The maximum of each of n problems with m actions.

    Attributes
    ----------
    actions : Tensor of shape (n, m)
        Where it is; exactly at a bound that binds; nan where nothing feasible was found.
    value : Tensor of shape (n,)
        How high it is; -inf where nothing feasible was found.
    converged : Tensor of shape (n,), bool
        Whether the tolerance was met.
    feasible : Tensor of shape (n,), bool
        Whether any action with a finite value was found.
    at_lower, at_upper : Tensor of shape (n, m), bool
        Whether an action equals its bound.
    n_iter : int
        Iterations of the problem that took most.
    """

    actions: Tensor
    value: Tensor
    converged: Tensor
    feasible: Tensor
    at_lower: Tensor
    at_upper: Tensor
    n_iter: int


@dataclass
class Found:
    """The solution of some problems, while it is filled in."""

    actions: Tensor
    value: Tensor
    converged: Tensor
    n_iter: int = 0

    @classmethod
    def nothing(cls, like: Tensor) -> Self:
        """Nothing found yet, for actions of this shape."""
        n = len(like)
        value = like.new_full((n,), -torch.inf)
        converged = torch.zeros(n, dtype=torch.bool, device=like.device)
        return cls(torch.full_like(like, torch.nan), value, converged)

    @property
    def feasible(self) -> Tensor:
        """Which problems have an action of finite value."""
        return self.value > -torch.inf

    def take(self, rows: Rows, other: Self) -> None:
        """Take over the solution of these problems."""
        self.actions[rows] = other.actions
        self.value[rows] = other.value
        self.converged[rows] = other.converged
        self.n_iter = max(self.n_iter, other.n_iter)

    def settle(self, at: Tensor, actions: Tensor, value: Tensor, converged: Tensor | bool) -> None:
        """Enter the problems at these positions."""
        self.actions[at] = actions
        self.value[at] = value
        self.converged[at] = converged

    def maximum(self, lower: Tensor, upper: Tensor) -> Maximum:
        """The solution, with the bounds that bind."""
        at_lower, at_upper = self.actions == lower, self.actions == upper
        return Maximum(
            self.actions, self.value, self.converged, self.feasible, at_lower, at_upper, self.n_iter
        )


@dataclass
class Problems:
    """State of the unfinished problems: tensors with one problem a row."""

    #: Positions among all problems of the climb.
    at: Tensor

    def keep(self, mask: Tensor) -> Self:
        """The state of some of the problems."""
        left = mask.nonzero()[:, 0]
        return type(self)(*(getattr(self, field.name)[left] for field in fields(self)))


def checked(
    objective: Objective, lower: Tensor, upper: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Bounds and start, the start inside the bounds, or an error that names what is wrong."""
    shape = (objective.n_problems, objective.n_actions)
    if shape[1] < 1:
        raise ValueError(f"n_actions={shape[1]} must be at least 1; there is nothing to choose")
    for name, given in (("lower", lower), ("upper", upper), ("start", start)):
        if given is not None and tuple(given.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)}, but {shape[0]} problems with {shape[1]} "
                f"actions need {shape}"
            )
    wrong = ~(lower <= upper)
    if bool(wrong.any()):
        row, action = wrong.nonzero()[0].tolist()
        low, high = float(lower[row, action]), float(upper[row, action])
        raise ValueError(
            f"the bounds of action {action} cross in row {row}: lower={low!r} must be at most "
            f"upper={high!r}"
        )
    return lower, upper, None if start is None else start.clamp(lower, upper)


def masked(values: Tensor) -> Tensor:
    """Values with -inf for every infeasible action."""
    return values.where(values.isfinite(), -torch.inf)


def pick(rows: Rows, at: Tensor) -> Rows:
    """The problems at some positions of others."""
    return at if isinstance(rows, slice) else rows[at]


def scale_of(x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """What a step of an action is measured against."""
    width = upper - lower
    return x.abs().maximum(SMALLEST * width.where(width.isfinite(), 1.0))


def reach(x: Tensor) -> Tensor:
    """How far a step may lead without a bound."""
    return STRETCH * x.abs().clamp(min=1.0)
