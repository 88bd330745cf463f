"""What a dynamic economic problem is: a frozen description made of batched torch functions."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .shocks import MarkovChain, NoShocks, Shocks
from .transforms import Coordinates, Transform, make_transform

__all__ = ["DynamicModel", "EndogenousGrid", "ModelError", "Solution"]

#: States at which a new model's functions are tried.
TRIALS = 3

TransformSpec = str | Transform | Sequence[str | Transform]


class ModelError(ValueError):
    """A function of a model does not do what the model needs of it."""


@dataclass(frozen=True)
class Solution:
    """Exact solution of a model, where one is known.

    Both are functions of states (n, d) and of the model's parameters that they name.

    Parameters
    ----------
    policy : callable, default=None
        ``policy(s)`` gives actions (n, m).
    value : callable, default=None
        ``value(s)`` gives values (n,).
    """

    policy: Callable[..., Tensor] | None = None
    value: Callable[..., Tensor] | None = None


@dataclass(frozen=True)
class EndogenousGrid:
    """What the method of endogenous grid points needs of a model with one state and one action.

    The end of a period is a post-decision state p, such as savings, from which the action and the
    state that led there can be told without a search. All are functions of n rows, and may name
    parameters of the model.

    Parameters
    ----------
    transition : callable
        ``transition(p, e)`` gives the next states (n, d) from post-decision states (n, 1).
    state : callable
        ``state(p, a)`` gives the value (n,) of the endogenous state in which action a leads to p.
    bounds : (float, float)
        Interval of the post-decision states, of which the lower end may bind.
    marginal : callable, default=None
        ``marginal(s_next, a_next, e)`` gives what one more unit of p is worth after the shock, as
        seen from today (n,); derived from reward and transition if None.
    inverse : callable, default=None
        ``inverse(v)`` gives the action (n,) at which one unit of p costs v; the model's
        ``marginal_inverse`` if None.

    References
    ----------
    C. Carroll, *The Method of Endogenous Gridpoints for Solving Dynamic Stochastic Optimization
    Problems*, section 2.
    """

    transition: Callable[..., Tensor]
    state: Callable[..., Tensor]
    bounds: tuple[float, float]
    marginal: Callable[..., Tensor] | None = None
    inverse: Callable[..., Tensor] | None = None


@dataclass(frozen=True)
class DynamicModel:
    r"""A dynamic problem with states s, actions a and shocks e.

    .. math::
        V(s) = \max_{a \in [\underline a(s), \bar a(s)]} r(s, a) + \beta\, E\, V(g(s, a, e)).

    All functions are batched: states have shape (n, d), actions (n, m), shocks (n, k), and what
    they return has one row for each. After these arguments a function may name any of ``params``,
    which it is then given: ``def reward(s, a, gamma): ...``.

    Parameters
    ----------
    transition : callable
        ``transition(s, a, e)`` gives the next states (n, d), or a tuple of d columns (n,).
    state_bounds : array-like of shape (d, 2) or callable
        Lower and upper end of each state, between which the solution is approximated; or a
        function of parameters that gives them.
    reward : callable, default=None
        ``reward(s, a)`` gives rewards (n,). A model without one is solved by its Euler equation.
    discount : float or callable, default=None
        Discount factor β, positive; below 1 unless there is a ``horizon``. May be a function of
        parameters. None for models whose Euler equation holds it.
    action_bounds : array-like of shape (m, 2) or callable, default=None
        Lower and upper end of each action, which may be infinite; or a function ``(s)`` that gives
        both, each as a number, a column (n,), a tuple of m of these, or a tensor (n, m). None
        leaves the actions free, whose number then is that
        of ``action_names`` or of ``discrete_actions``.
    shocks : Shocks or callable, default=NoShocks()
        Distribution of e, or a function of parameters that gives it.
    euler : callable, default=None
        ``euler(s, a, s_next, a_next)`` gives m numbers (n, m), whose expectation over the shocks
        is zero at the solution; may also take the shocks as a fifth argument named ``e``. Its sign
        is that of the gain from more of the action, which matters where a bound binds. Derived
        from ``reward`` and ``transition`` by automatic differentiation if None.
    constraint : callable, default=None
        ``constraint(s, a)`` gives c numbers (n, c), which must not be negative.
    marginal_inverse : callable, default=None
        ``marginal_inverse(v, s)`` gives the actions (n, m) whose marginal rewards are v (n, m).
        With it the first-order condition needs no search, and Euler errors have units of actions.
    endogenous_grid : EndogenousGrid, default=None
        What the method of endogenous grid points needs.
    discrete_actions : array-like of shape (A,) or (A, m), default=None
        The actions, if there are finitely many.
    horizon : int, default=None
        Number of periods with a decision; None for infinitely many.
    terminal : callable, default=None
        ``terminal(s)`` gives the value (n,) after the last period; zero if None.
    state_names, action_names : sequence of str, default=None
        Names of the columns; x0, x1, ... and a0, a1, ... if None.
    state_transform, action_transform : str, Transform or sequence of these, default="identity"
        Coordinates in which states and actions are approximated: "identity", "log", "logit"
        (between the bounds), or a `Transform`; one for all columns, or one for each.
    value_transform : str, Transform or callable, default="identity"
        Coordinate in which values are approximated, such as an `Isoelastic` certainty equivalent;
        or a function of parameters that gives it.
    steady_state : callable, default=None
        ``steady_state()`` gives a guess (s, a) of the state and action that repeat themselves
        without shocks, two sequences of numbers.
    solution : Solution, default=None
        The exact solution, where one is known.
    params : mapping of str to float, default={}
        Numbers that the functions may name.
    name : str, default=""
        What the model is called.

    Raises
    ------
    ModelError
        If a function gives the wrong shape, mixes rows, or names an unknown parameter.
    ValueError
        If bounds cross, or the discount is not positive, or is 1 or more without a horizon.

    References
    ----------
    Sawada and Zhong, *Parameterization and Neural Network*, section on residuals. M. Miranda and
    P. Fackler, *Applied Computational Economics and Finance*, chapter 8.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics import DynamicModel
    >>> model = DynamicModel(
    ...     reward=lambda s, a, gamma: a[:, 0] ** (1 - gamma) / (1 - gamma),
    ...     transition=lambda s, a, e, R: R * (s - a),
    ...     discount=0.95,
    ...     state_bounds=[(0.1, 10.0)],
    ...     action_bounds=lambda s: (0.0, s),
    ...     params={"gamma": 2.0, "R": 1.02},
    ... )
    >>> model.n_states, model.n_actions
    (1, 1)
    >>> model.with_params(gamma=3.0).params["gamma"]
    3.0
    """

    transition: Callable[..., Any]
    state_bounds: ArrayLike | Callable[..., ArrayLike]
    reward: Callable[..., Tensor] | None = None
    discount: float | Callable[..., float] | None = None
    action_bounds: Any = None
    shocks: Shocks | Callable[..., Shocks] = field(default_factory=NoShocks)
    euler: Callable[..., Any] | None = None
    constraint: Callable[..., Tensor] | None = None
    marginal_inverse: Callable[..., Tensor] | None = None
    endogenous_grid: EndogenousGrid | None = None
    discrete_actions: ArrayLike | None = None
    horizon: int | None = None
    terminal: Callable[..., Tensor] | None = None
    state_names: Sequence[str] | None = None
    action_names: Sequence[str] | None = None
    state_transform: TransformSpec = "identity"
    action_transform: TransformSpec = "identity"
    value_transform: str | Transform | Callable[..., Transform] = "identity"
    steady_state: Callable[..., Any] | None = None
    solution: Solution | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", dict(self.params))
        self._check_bounds()
        self._check_discount()
        self._check_chains()
        self._try_functions()

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is cached follows from them, and may not be picklable."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def with_params(self, **changes: Any) -> DynamicModel:
        """The model with other values of some parameters.

        ``discount`` counts as a parameter unless it is a function of some.

        Raises
        ------
        ValueError
            If the model has no such parameter.
        """
        fields: dict[str, Any] = {}
        if "discount" in changes and "discount" not in self.params and not callable(self.discount):
            fields["discount"] = changes.pop("discount")
        unknown = sorted(set(changes) - set(self.params))
        if unknown:
            raise ValueError(
                f"model has no parameter {unknown[0]!r}: it has {self.parameter_names()}"
            )
        return dataclasses.replace(self, params={**self.params, **changes}, **fields)

    def parameter_names(self) -> list[str]:
        """What `with_params` may change."""
        extra = [] if callable(self.discount) or "discount" in self.params else ["discount"]
        return [*self.params, *extra]

    @cached_property
    def n_states(self) -> int:
        """Number d of states."""
        return len(self.bounds)

    @cached_property
    def n_actions(self) -> int:
        """Number m of actions."""
        if self.discrete_actions is not None:
            return int(self.actions_listed.shape[1])
        if self.action_bounds is not None and not callable(self.action_bounds):
            return len(np.atleast_2d(np.asarray(self.action_bounds, dtype=np.float64)))
        if self.action_names is not None:
            return len(self.action_names)
        if self.action_bounds is not None:
            ends = self.bound("action_bounds")(self.middle_states())
            return max(_width(end) for end in ends)
        return 1

    @cached_property
    def bounds(self) -> Tensor:
        """Ends of the states, shape (d, 2)."""
        given = self.state_bounds
        ends = self.bound("state_bounds", 0)() if callable(given) else given
        array = np.atleast_2d(np.asarray(ends, dtype=np.float64))
        if array.ndim != 2 or array.shape[1] != 2:
            raise ValueError(
                f"state_bounds of shape {array.shape} must have shape (n_states, 2): a lower and "
                "an upper end for each state"
            )
        return torch.from_numpy(array.copy())

    @cached_property
    def beta(self) -> float:
        """Discount factor; 1 for a model that has none of its own."""
        given = self.discount
        if given is None:
            return 1.0
        return float(self.bound("discount", 0)() if callable(given) else given)

    @cached_property
    def distribution(self) -> Shocks:
        """Distribution of the shocks."""
        given = self.shocks
        return given if isinstance(given, Shocks) else self.bound("shocks", 0)()

    @cached_property
    def actions_listed(self) -> Tensor:
        """The discrete actions, shape (A, m)."""
        array = np.asarray(self.discrete_actions, dtype=np.float64)
        return torch.from_numpy(array.reshape(len(array), -1).copy())

    @cached_property
    def state_coordinates(self) -> Coordinates:
        """Coordinates of the states."""
        return Coordinates.of("state_transform", self.state_transform, self.n_states)

    @cached_property
    def action_coordinates(self) -> Coordinates:
        """Coordinates of the actions."""
        return Coordinates.of("action_transform", self.action_transform, self.n_actions)

    @cached_property
    def value_coordinate(self) -> Transform:
        """Coordinate of the value."""
        given = self.value_transform
        if callable(given):
            given = self.bound("value_transform", 0)()
        return make_transform("value_transform", given)

    @cached_property
    def state_labels(self) -> list[str]:
        """Names of the states."""
        return _labels("state_names", self.state_names, "x", self.n_states)

    @cached_property
    def action_labels(self) -> list[str]:
        """Names of the actions."""
        return _labels("action_names", self.action_names, "a", self.n_actions)

    def rewards(self, s: Tensor, a: Tensor) -> Tensor:
        """Rewards (n,)."""
        return self.bound("reward")(s, a)

    def next_states(self, s: Tensor, a: Tensor, e: Tensor) -> Tensor:
        """Next states (n, d)."""
        return _joined(self.bound("transition")(s, a, e))

    def arbitrage(self, s: Tensor, a: Tensor, s_next: Tensor, a_next: Tensor, e: Tensor) -> Tensor:
        """What the user's Euler equation averages over the shocks, (n, m)."""
        if self._euler_takes_shocks:
            return _joined(self.bound("euler")(s, a, s_next, a_next, e))
        return _joined(self.bound("euler")(s, a, s_next, a_next))

    def constraints(self, s: Tensor, a: Tensor) -> Tensor:
        """What must not be negative, (n, c)."""
        return _joined(self.bound("constraint")(s, a))

    def action_limits(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper ends of the actions, each (n, m)."""
        shape = (len(s), self.n_actions)
        given = self.action_bounds
        if given is None:
            return s.new_full(shape, -torch.inf), s.new_full(shape, torch.inf)
        if not callable(given):
            ends = torch.as_tensor(np.atleast_2d(np.asarray(given, dtype=np.float64))).to(s)
            return ends[:, 0].expand(shape), ends[:, 1].expand(shape)
        lower, upper = (_as_columns(end, s, shape) for end in self.bound("action_bounds")(s))
        return lower, upper

    def terminal_values(self, s: Tensor) -> Tensor:
        """Value (n,) after the last period."""
        return s.new_zeros(len(s)) if self.terminal is None else self.bound("terminal")(s)

    def exact(self, which: str) -> Callable[[Tensor], Tensor] | None:
        """The exact "policy" or "value", with the parameters filled in."""
        function = getattr(self.solution, which, None)
        return None if function is None else self.with_named(f"solution.{which}", function, 1)

    def steady_guess(self) -> tuple[Tensor, Tensor] | None:
        """The guess of a steady state, (d,) and (m,)."""
        if self.steady_state is None:
            return None
        s, a = (np.asarray(part, dtype=np.float64) for part in self.bound("steady_state", 0)())
        return torch.as_tensor(np.atleast_1d(s)), torch.as_tensor(np.atleast_1d(a))

    def middle_states(self) -> Tensor:
        """A few states well inside the bounds, (3, d)."""
        low, high = self.bounds[:, 0], self.bounds[:, 1]
        rows = [low + share * (high - low) for share in np.linspace(0.3, 0.7, TRIALS)]
        states = torch.stack(rows)
        # A finite chain has no states between its values.
        for column, values in self.chain_states().items():
            states[:, column] = values[torch.arange(TRIALS) % len(values)]
        return states

    def chain_states(self) -> dict[int, Tensor]:
        """Columns that hold a finite chain, with the values that each can have."""
        held: dict[int, Tensor] = {}
        for shock in self.distribution.parts():
            if isinstance(shock, MarkovChain):
                columns: Any = shock.state if isinstance(shock.state, tuple) else (shock.state,)
                held |= {j: shock.values[:, i].unique() for i, j in enumerate(columns)}
        return held

    def quiet_shocks(self, s: Tensor) -> Tensor:
        """Shocks (n, k) of a path without surprises: as expected, and finite chains stay put."""
        columns = []
        for shock in self.distribution.parts():
            # The mean of a chain is none of its values, at which alone functions are defined.
            if isinstance(shock, MarkovChain):
                columns.append(s[:, shock.state].reshape(len(s), -1))
            else:
                columns.append(shock.expected(s))
        return torch.cat(columns, 1)

    def inside_actions(self, s: Tensor, share: float = 0.5) -> Tensor:
        """Actions a given share of the way between their bounds, (n, m)."""
        if self.discrete_actions is not None:
            return self.actions_listed[:1].to(s).expand(len(s), -1)
        lower, upper = self.action_limits(s)
        # Where a bound is infinite, a unit takes its place.
        low = torch.where(lower.isfinite(), lower, torch.where(upper.isfinite(), upper - 1, -0.5))
        high = torch.where(upper.isfinite(), upper, low + 1)
        return low + share * (high - low)

    @cached_property
    def _euler_takes_shocks(self) -> bool:
        names = list(inspect.signature(self.euler).parameters) if self.euler else []
        return len(names) > 4 and names[4] == "e" and "e" not in self.params

    @cached_property
    def _bound_functions(self) -> dict[str, Callable[..., Any]]:
        return {}

    def bound(self, name: str, n_arguments: int | None = None) -> Callable[..., Any]:
        """A function of the model with the parameters that it names filled in."""
        bound = self._bound_functions
        if name not in bound:
            count = _N_ARGUMENTS[name] if n_arguments is None else n_arguments
            if name == "euler" and self._euler_takes_shocks:
                count += 1
            bound[name] = self.with_named(name, getattr(self, name), count)
        return bound[name]

    def with_named(self, name: str, function: Any, n_arguments: int) -> Callable[..., Any]:
        """A function of so many arguments, with the parameters that it names filled in."""
        try:
            signature = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return function  # a builtin, which names no parameters
        if any(p.kind is p.VAR_KEYWORD for p in signature.values()):
            return partial(function, **self.params)
        named = [p for p in signature.values() if p.kind is not p.VAR_POSITIONAL][n_arguments:]
        unknown = [p.name for p in named if p.name not in self.params and p.default is p.empty]
        if unknown:
            raise ModelError(
                f"{name} names {unknown[0]!r}, which is none of the parameters "
                f"{list(self.params)}: add it to params, or give it a default"
            )
        given = {p.name: self.params[p.name] for p in named if p.name in self.params}
        return partial(function, **given) if given else function

    def _check_bounds(self) -> None:
        for j, (low, high) in enumerate(self.bounds.tolist()):
            if not (np.isfinite([low, high]).all() and low < high):
                raise ValueError(
                    f"state_bounds of state {j} are ({low:.6g}, {high:.6g}), which cross or are "
                    "not finite: give the lower end first"
                )
        lower, upper = self.action_limits(self.middle_states())
        crossed = torch.nonzero(lower > upper)
        if len(crossed):
            i, j = crossed[0].tolist()
            raise ValueError(
                f"action_bounds of action {j} are ({lower[i, j]:.6g}, {upper[i, j]:.6g}) at the "
                f"state {self.middle_states()[i].tolist()}, which cross: give the lower end first"
            )

    def _check_discount(self) -> None:
        if self.reward is None and self.euler is None:
            raise ValueError("a model needs a reward or an euler equation, and has neither")
        if self.reward is not None and self.discount is None:
            raise ValueError("a model with a reward needs a discount")
        if self.horizon is not None and (self.horizon != int(self.horizon) or self.horizon < 1):
            raise ValueError(f"horizon={self.horizon!r} must be a whole number of periods, or None")
        if self.discount is None:
            return
        if not (np.isfinite(self.beta) and self.beta > 0):
            raise ValueError(f"discount={self.beta!r} must be a positive number")
        if self.beta >= 1 and self.horizon is None and self.reward is not None:
            raise ValueError(
                f"discount={self.beta!r} of 1 or more leaves the sum of rewards without a limit: "
                "choose a discount below 1, or give a horizon"
            )

    def _check_chains(self) -> None:
        for shock in self.distribution.parts():
            if isinstance(shock, MarkovChain):
                count = math.prod(len(column.unique()) for column in shock.values.T)
                if len(shock.values) < count:
                    raise ModelError(
                        f"a MarkovChain of {shock.n_shocks} columns must hold all {count} "
                        f"combinations of their values, but has {len(shock.values)}: number the "
                        "values in one column, and look up there what each number stands for"
                    )

        for column, values in self.chain_states().items():
            low, high = self.bounds[column].tolist()
            outside = values[(values < low) | (values > high)]
            if len(outside):
                raise ModelError(
                    f"the MarkovChain of state {column} has the value {outside[0]:.6g}, outside "
                    f"its state_bounds ({low:.6g}, {high:.6g}): widen them"
                )

    def _try_functions(self) -> None:
        """Call every function once, so that a mistake shows where the model is made."""
        s = self.middle_states()
        a = self.inside_actions(s)
        e = self.quiet_shocks(s)
        n, d, m = TRIALS, self.n_states, self.n_actions
        if self.reward is not None:
            self._try("reward", self.rewards, {"s": s, "a": a}, (n,))
        after = self._try("transition", self.next_states, {"s": s, "a": a, "e": e}, (n, d))
        if self.euler is not None:
            given = {"s": s, "a": a, "s_next": after, "a_next": a, "e": e}
            self._try("euler", self.arbitrage, given, (n, m))
        if self.constraint is not None:
            self._try("constraint", self.constraints, {"s": s, "a": a}, (n, None))
        if self.terminal is not None:
            self._try("terminal", self.terminal_values, {"s": s}, (n,))
        if self.marginal_inverse is not None:
            inverse = self.bound("marginal_inverse")
            self._try("marginal_inverse", inverse, {"v": torch.ones_like(a), "s": s}, (n, m))
        for name, labels in (("state", self.state_labels), ("action", self.action_labels)):
            if len(set(labels)) < len(labels):
                raise ValueError(f"{name}_names={labels} must differ from each other")
        _ = self.state_coordinates, self.action_coordinates, self.value_coordinate

    def _try(
        self,
        name: str,
        function: Callable[..., Tensor],
        given: dict[str, Tensor],
        shape: tuple[int | None, ...],
    ) -> Tensor:
        call = f"{name}({', '.join(given)})"
        shapes = " and ".join(
            f"{key} of shape {tuple(value.shape)}" for key, value in given.items()
        )
        try:
            result = function(*given.values())
            # The first row sees none before it, and the last none after it.
            first, last = (
                function(*(value[row] for value in given.values()))
                for row in (slice(0, 1), slice(TRIALS - 1, TRIALS))
            )
        except Exception as error:
            raise ModelError(f"{call} failed with {shapes}: {error}") from error
        wanted = (
            "("
            + ", ".join("c" if size is None else str(size) for size in shape)
            + ("," if len(shape) == 1 else "")
            + ")"
        )
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        fits = (
            isinstance(result, Tensor)
            and len(result.shape) == len(shape)
            and all(
                want is None or size == want for size, want in zip(result.shape, shape, strict=True)
            )
        )
        if not fits:
            hint = ": drop its last axis, as by [:, 0]" if got == (*shape, 1) else ""
            raise ModelError(
                f"{call} must give a tensor of shape {wanted} from {shapes}, but gave {got}{hint}"
            )
        if result.dtype != torch.float64:
            raise ModelError(
                f"{call} must give numbers of dtype float64, as its arguments are, but gave "
                f"{result.dtype}: make its tensors with dtype=torch.float64"
            )
        same = all(
            alone.shape == row.shape
            and torch.allclose(alone, row, rtol=1e-9, atol=1e-12, equal_nan=True)
            for alone, row in ((first, result[:1]), (last, result[-1:]))
        )
        if not same:
            raise ModelError(
                f"{call} gives other numbers for a row alone than among others: it must treat "
                "each row by itself"
            )
        return result


_N_ARGUMENTS = {
    "reward": 2,
    "transition": 3,
    "euler": 4,
    "constraint": 2,
    "marginal_inverse": 2,
    "terminal": 1,
    "action_bounds": 1,
}


def _joined(result: Any) -> Any:
    """Columns given as a tuple, side by side."""
    if isinstance(result, tuple | list):
        # A number among the columns is as precise as they are.
        columns = torch.broadcast_tensors(
            *(
                column if isinstance(column, Tensor) else torch.tensor(column, dtype=torch.float64)
                for column in result
            )
        )
        return torch.stack(columns, -1)
    return result


def _width(end: Any) -> int:
    """How many actions one end of the bounds speaks of: a list has one entry for each."""
    if isinstance(end, tuple | list):
        return len(end)
    return int(end.shape[1]) if isinstance(end, Tensor) and end.ndim == 2 else 1


def _as_columns(end: Any, s: Tensor, shape: tuple[int, int]) -> Tensor:
    """One end of the actions as (n, m), from a number, m numbers, a column or all of it."""
    if isinstance(end, tuple | list):
        columns = [torch.as_tensor(each, dtype=s.dtype, device=s.device) for each in end]
        tensor = torch.stack(torch.broadcast_tensors(*columns), -1)
    else:
        tensor = torch.as_tensor(end, dtype=s.dtype, device=s.device)
        tensor = tensor[:, None] if tensor.ndim == 1 else tensor
    try:
        return tensor.expand(shape)
    except RuntimeError as error:
        raise ModelError(
            f"action_bounds(s) with s of shape {tuple(s.shape)} must give two ends of shape "
            f"{shape}, but gave {tuple(tensor.shape)}"
        ) from error


def _labels(parameter: str, names: Sequence[str] | None, letter: str, count: int) -> list[str]:
    labels = [f"{letter}{j}" for j in range(count)] if names is None else [str(n) for n in names]
    if len(labels) != count:
        raise ValueError(f"{parameter}={list(labels)} must hold {count} names")
    return labels
