"""Which states a display varies, and where it holds the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ...dynamics.model import DynamicModel
from ...dynamics.transforms import Log
from ...rows import as_array
from ..training import _last_step

if TYPE_CHECKING:
    pass

__all__ = ["StateRange", "StateSlice"]

States = str | int | Sequence[str | int]


#: A state in logarithms whose bounds have this ratio, or a larger one, gets a logarithmic axis.
WIDE = 99.0


#: Curves of a second state that is a finite chain, at most.
MANY_CURVES = 5


#: Where in its range a second state is held, for a curve each.
LEVELS = (0.1, 0.5, 0.9)


#: Points of a curve, and of each side of a map.
N_POINTS, N_MAP_POINTS = 200, 50


@dataclass(frozen=True)
class StateRange:
    """The values that one state takes in a display.

    Parameters
    ----------
    name : str
        Name of the state.
    column : int
        Its column.
    values : ndarray of shape (n,)
        The values.
    bounds : (float, float)
        Its bounds in the model.
    listed : bool, default=False
        Whether it is a finite chain, which has no values in between.
    log : bool, default=False
        Whether its axis is logarithmic.
    """

    name: str
    column: int
    values: np.ndarray
    bounds: tuple[float, float]
    listed: bool = False
    log: bool = False


@dataclass(frozen=True)
class StateSlice:
    """States on a line through the box of a model, or on several parallel ones.

    Parameters
    ----------
    along : StateRange
        The state that varies along each line.
    across : StateRange or None
        The one that varies from line to line; None for one line.
    base : ndarray of shape (d,)
        The values of all other states.
    names : sequence of str
        Names of all states.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.dynamics import StateRange, StateSlice
    >>> along = StateRange("k", 0, np.array([1.0, 2.0, 3.0]), (1.0, 3.0))
    >>> StateSlice(along, None, np.array([2.0, 0.5]), ("k", "z")).states()
    array([[[1. , 0.5],
            [2. , 0.5],
            [3. , 0.5]]])
    """

    along: StateRange
    across: StateRange | None
    base: np.ndarray
    names: Sequence[str]

    def states(self) -> np.ndarray:
        """The states, (L, n, d): L lines of n points."""
        n_lines = 1 if self.across is None else len(self.across.values)
        states = np.tile(self.base, (n_lines, len(self.along.values), 1))
        states[:, :, self.along.column] = self.along.values
        if self.across is not None:
            states[:, :, self.across.column] = self.across.values[:, None]
        return states

    def evaluate(self, function: Callable[[np.ndarray], Any]) -> np.ndarray:
        """Outputs (L, n, m) of a function of states (N, d) that gives (N,) or (N, m)."""
        states = self.states()
        with warnings.catch_warnings():
            # An estimator may have been fitted on a data frame; these are its columns in order.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            outputs = as_array(function(states.reshape(-1, states.shape[2])))
        return np.asarray(outputs, dtype=np.float64).reshape(*states.shape[:2], -1)

    def line_names(self) -> list[str]:
        """Which value of the second state each line has."""
        if self.across is None:
            return [""]
        return [f"{self.across.name} = {value:.4g}" for value in self.across.values]

    def label(self) -> str:
        """The first state, and where the states that do not vary are."""
        shown = {self.along.column, -1 if self.across is None else self.across.column}
        held = [
            f"{name} = {short_number(self.base[j])}"
            for j, name in enumerate(self.names)
            if j not in shown
        ]
        if not held:
            return self.along.name
        return f"{self.along.name}  (at {', '.join(held) if len(held) < 3 else 'others fixed'})"


def value_slice(
    estimator: Any, states: States | None, levels: ArrayLike | None, at: Any, n_points: int
) -> StateSlice:
    """Lines along one state, for a few values of a second one."""
    model: DynamicModel = estimator.model_
    columns = _chosen_states(model, states, 1)
    if levels is not None and len(columns) < 2:
        raise ValueError("levels are values of a second state: name two states")
    across = None
    if len(columns) == 2:
        across = few_values(model, columns[1], levels)
    along = state_range(model, columns[0], n_points)
    return StateSlice(along, across, base_state(estimator, at), model.state_labels)


def error_slice(estimator: Any, states: States | None, at: Any, n_points: int | None) -> StateSlice:
    """A grid over two states, or lines along one."""
    model: DynamicModel = estimator.model_
    columns = _chosen_states(model, states, 2)
    # A chain has no states between its values, so that others make the better axis.
    columns.sort(key=lambda column: column in model.chain_states())
    base = base_state(estimator, at)
    flat = len(columns) == 2 and columns[1] not in model.chain_states()
    points = n_points or (N_MAP_POINTS if flat else N_POINTS)
    along, across = state_range(model, columns[0], points), None
    if len(columns) == 2:
        across = (
            state_range(model, columns[1], points) if flat else few_values(model, columns[1], None)
        )
    return StateSlice(along, across, base, model.state_labels)


def _chosen_states(model: DynamicModel, states: States | None, count: int) -> list[int]:
    """One or two columns of states."""
    if states is None:
        chains = model.chain_states()
        return sorted(range(model.n_states), key=lambda column: column in chains)[:count]
    columns = chosen_columns("states", states, model.state_labels)
    if len(columns) > 2:
        raise ValueError(f"states={states!r} must name one or two states, not {len(columns)}")
    return columns


def state_range(model: DynamicModel, column: int, n_points: int) -> StateRange:
    """Values of a state between its bounds."""
    name = model.state_labels[column]
    low, high = model.bounds[column].tolist()
    chain = model.chain_states().get(column)
    if chain is not None:
        return StateRange(name, column, chain.numpy(), (low, high), listed=True)
    if n_points < 2:
        raise ValueError(f"n_points={n_points} must be 2 or more")
    wide = isinstance(model.state_coordinates.columns[column], Log) and high > WIDE * low
    values = (np.geomspace if wide else np.linspace)(low, high, n_points)
    # The ends of a geometric sequence are rounded, and may lie outside the box.
    return StateRange(name, column, np.clip(values, low, high), (low, high), log=wide)


def few_values(model: DynamicModel, column: int, levels: ArrayLike | None) -> StateRange:
    """A few values of a state."""
    name = model.state_labels[column]
    low, high = model.bounds[column].tolist()
    chain = model.chain_states().get(column)
    if levels is not None:
        values = np.atleast_1d(np.asarray(levels, dtype=np.float64))
    elif chain is not None:
        places = np.linspace(0, len(chain) - 1, min(len(chain), MANY_CURVES)).round().astype(int)
        values = chain.numpy()[places]
    else:
        values = _rounded(low + np.array(LEVELS) * (high - low), high - low)
    return StateRange(name, column, values, (low, high), listed=chain is not None)


def _rounded(values: np.ndarray, width: float) -> np.ndarray:
    """Numbers with no more digits than tell them apart, and no negative zero."""
    return np.round(values, 2 - int(np.floor(np.log10(width)))) + 0.0


def short_number(value: float) -> str:
    """A number for a label, in which rounding errors are zeros."""
    return f"{round(value, 9) + 0.0:.3g}"


def base_state(estimator: Any, at: Any = None) -> np.ndarray:
    """The state (d,) through which a slice goes."""
    model: DynamicModel = estimator.model_
    if at is not None and not isinstance(at, Mapping):
        return checked_base(at, model, "at")
    base = estimator.simulate(n_periods=0)[0][0, 0].copy()
    for name, value in (at or {}).items():
        (column,) = chosen_columns("at", name, model.state_labels)
        base[column] = value
    return base


def checked_base(given: ArrayLike, model: DynamicModel, parameter: str = "start") -> np.ndarray:
    base = np.asarray(given, dtype=np.float64)
    if base.shape != (model.n_states,):
        raise ValueError(
            f"{parameter} of shape {base.shape} must hold one value for each of the states "
            f"{', '.join(model.state_labels)}"
        )
    return base


def reference_values(
    reference: str | Callable[[np.ndarray], Any] | None,
    states: StateSlice,
    model: DynamicModel,
    which: str,
) -> np.ndarray | None:
    """What to compare with, (L, n, m)."""
    if reference is None:
        return None
    if callable(reference):
        return states.evaluate(reference)
    if reference != "exact":
        raise ValueError(f'reference={reference!r} must be "exact", a function of states, or None')
    exact = model.exact(which)
    if exact is None:
        raise ValueError(
            f'reference="exact" needs the exact {which} of the model, which is not known: give a '
            "function of states instead"
        )
    return states.evaluate(lambda rows: exact(torch.from_numpy(rows)))


def reference_name(reference: Any) -> str:
    return "reference" if callable(reference) else "exact"


def chosen_columns(parameter: str, chosen: States | None, names: Sequence[str]) -> list[int]:
    """Places of what is chosen by name or place."""
    if chosen is None:
        return list(range(len(names)))
    several = [chosen] if isinstance(chosen, str | int | np.integer) else list(chosen)
    columns = []
    for each in several:
        place = names.index(each) if isinstance(each, str) and each in names else each
        if isinstance(place, str) or not 0 <= place < len(names):
            raise ValueError(
                f"{parameter}={chosen!r} holds {each!r}, which is none of the {len(names)} there "
                f"are: {', '.join(names) or 'none'}"
            )
        columns.append(int(place))
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"{parameter}={chosen!r} must name one or more, each of them once")
    return columns


def variable_names(model: DynamicModel) -> list[str]:
    """Names of states and actions, no two alike."""
    states = model.state_labels
    return [*states, *(f"{a} (action)" if a in states else a for a in model.action_labels)]


def dynamic_estimator(estimator: Any, display: str, method: str) -> Any:
    """The fitted estimator inside a search, if it can be drawn."""
    fitted = _last_step(estimator)
    check_is_fitted(fitted)
    if not (hasattr(fitted, method) and isinstance(getattr(fitted, "model_", None), DynamicModel)):
        raise ValueError(
            f"{type(fitted).__name__} has no {method} of a dynamic model: {display} draws "
            f"{'BellmanApproximator' if method == 'value' else 'EulerApproximator'} and its like"
        )
    return fitted


def of_period(estimator: Any, method: str, period: int | None) -> Callable[[np.ndarray], Any]:
    """The policy or value of a period; None: the first or only one."""
    function = getattr(estimator, method)
    if period is None:
        return function
    horizon = estimator.model_.horizon
    if horizon is None or not 0 <= period < horizon:
        raise ValueError(
            f"period={period} must be None, as the model has no horizon"
            if horizon is None
            else f"period={period} must be one of the {horizon} periods, from 0"
        )
    return partial(function, period=period)
