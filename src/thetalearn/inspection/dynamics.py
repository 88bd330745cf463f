"""What a solved dynamic model does: policies, values, errors, paths and impulse responses."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..dynamics.model import DynamicModel
from ..dynamics.shocks import LogNormal, MarkovChain, Shocks
from ..dynamics.transforms import Log
from ..rows import as_array
from .training import _last_step, _require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "ImpulseResponseDisplay",
    "PathDisplay",
    "PolicyDisplay",
    "ResidualDisplay",
    "StateRange",
    "StateSlice",
    "ValueDisplay",
]

#: Points of a curve, and of each side of a map.
N_POINTS, N_MAP_POINTS = 200, 50

#: Where in its range a second state is held, for a curve each.
LEVELS = (0.1, 0.5, 0.9)

#: Curves of a second state that is a finite chain, at most.
MANY_CURVES = 5

#: A state in logarithms whose bounds have this ratio, or a larger one, gets a logarithmic axis.
WIDE = 99.0

#: Paths up to which each is drawn.
FEW_PATHS = 10

#: Quantiles of the band around the median of many paths.
BAND = (0.1, 0.9)

#: Errors are shown down to this, which is rounding.
LEAST_ERROR = 1e-16

#: What varies by less than this share of its size is constant, and its noise not worth a scale.
FLAT = 1e-6

#: Inches that a panel of several takes, and a name in the legend.
PANEL, ENTRY = (3.3, 2.2), 1.35

AxesLike = Any
States = str | int | Sequence[str | int]


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
            f"{name} = {_short(self.base[j])}"
            for j, name in enumerate(self.names)
            if j not in shown
        ]
        if not held:
            return self.along.name
        return f"{self.along.name}  (at {', '.join(held) if len(held) < 3 else 'others fixed'})"


class PolicyDisplay:
    """Actions along a state, a panel for each action.

    :meth:`from_estimator` makes one; parameters are stored as attributes.

    Parameters
    ----------
    states : StateSlice
        Where the actions are.
    actions : ndarray of shape (L, n, m)
        The m actions at the n points of L lines.
    action_names : sequence of str
        Names of the actions.
    reference : ndarray of shape (L, n, m), default=None
        Actions to compare with, drawn dashed.
    reference_name : str, default="exact"
        What these are called in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the first action.
    axes_ : dict of str to matplotlib Axes
        Axes of all actions, by name.
    figure_ : matplotlib Figure
        Figure that holds them.
    lines_ : dict of str to list of matplotlib Line2D
        The curves of each action, one for each value of the second state.
    reference_lines_ : dict of str to list of matplotlib Line2D
        Those of the reference; empty without one.
    legend_ : matplotlib Legend or None
        The legend; None if there is but one curve.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> from thetalearn.estimators.euler import EulerApproximator
    >>> from thetalearn.inspection.dynamics import PolicyDisplay
    >>> model = EulerApproximator(make_brock_mirman(), degree=3, random_state=0).fit()
    >>> display = PolicyDisplay.from_estimator(model, states=["k", "z"], reference="exact")
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel(), len(display.lines_["c"])
    ('k', 'c', 3)
    """

    def __init__(
        self,
        *,
        states: StateSlice,
        actions: np.ndarray,
        action_names: Sequence[str],
        reference: np.ndarray | None = None,
        reference_name: str = "exact",
    ) -> None:
        self.states = states
        self.actions = actions
        self.action_names = action_names
        self.reference = reference
        self.reference_name = reference_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        states: States | None = None,
        levels: ArrayLike | None = None,
        at: ArrayLike | Mapping[str, float] | None = None,
        actions: States | None = None,
        reference: str | Callable[[np.ndarray], Any] | None = None,
        period: int | None = None,
        n_points: int = N_POINTS,
        ax: AxesLike = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the policy of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            With ``policy`` and ``model_``. Of a search the best estimator is taken.
        states : str, int or sequence of one or two of these, default=None
            Names or columns of the state on the axis, and of one that has another value for each
            curve. None: the first state that is no finite chain.
        levels : array-like of shape (L,), default=None
            Values of the second state. None: three in its range, or those of a finite chain.
        at : dict of str to float or array-like of shape (d,), default=None
            Values of the other states. None: the steady state, or without one the middle of the
            box.
        actions : str, int or sequence of these, default=None
            Names or columns of the actions to draw; None draws all.
        reference : callable or "exact", default=None
            Actions to compare with: a function of states (n, d) that gives actions (n, m), such as
            the ``policy`` of another estimator, or the model's exact solution.
        period : int, default=None
            Period whose policy is drawn, for a model with a horizon; None draws the first.
        n_points : int, default=200
            Number of points of a curve.
        ax : matplotlib Axes or sequence of m of these, default=None
            Where to draw, an Axes for each action. None: a new figure.
        line_kw : dict, default=None
            Further arguments of every curve of the estimator, for matplotlib's ``plot``.

        Returns
        -------
        PolicyDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it has no policy, the model has no such state or action, or ``reference="exact"``
            asks for a solution that is not known.
        """
        _require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = _dynamic(estimator, cls.__name__, "policy")
        model: DynamicModel = fitted.model_
        names = model.action_labels
        chosen = _columns("actions", actions, names)
        slice_ = _slice(fitted, states, levels, at, n_points)
        compared = _reference(reference, slice_, model, "policy")
        display = cls(
            states=slice_,
            actions=slice_.evaluate(_of_period(fitted, "policy", period))[:, :, chosen],
            action_names=[names[j] for j in chosen],
            reference=None if compared is None else compared[:, :, chosen],
            reference_name=_reference_name(reference),
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: AxesLike = None, *, line_kw: dict[str, Any] | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of m of these, default=None
            Where to draw, an Axes for each action. None: a new figure.
        line_kw : dict, default=None
            Further arguments of every curve of the estimator, for matplotlib's ``plot``.

        Returns
        -------
        PolicyDisplay
            The display itself.

        Raises
        ------
        TypeError, ValueError
            If ``ax`` does not hold one Axes for each action.
        """
        _require_matplotlib(f"{type(self).__name__}.plot")
        panels = _panels(ax, self.action_names)
        self.axes_, self.ax_, self.figure_ = panels.axes, panels.first, panels.figure
        self.lines_: dict[str, list[Any]] = {}
        self.reference_lines_: dict[str, list[Any]] = {}
        for j, (name, axes) in enumerate(self.axes_.items()):
            self.lines_[name] = _draw_curves(axes, self.states, self.actions[:, :, j], line_kw)
            shown = [self.actions[:, :, j]]
            if self.reference is not None:
                shown.append(self.reference[:, :, j])
                self.reference_lines_[name] = _draw_reference(
                    axes, self.states, shown[1], self.reference_name
                )
            axes.set_ylabel(name)
            _widen(axes, np.concatenate(shown))
        for axes in panels.bottom:
            axes.set_xlabel(self.states.label())
        self.legend_ = panels.draw_legend(
            _legend_lines(self.lines_, self.reference_lines_, self.action_names[0])
        )
        return self


class ValueDisplay:
    """Value along a state.

    :meth:`from_estimator` makes one; parameters are stored as attributes.

    Parameters
    ----------
    states : StateSlice
        Where the values are.
    values : ndarray of shape (L, n)
        The values at the n points of L lines.
    reference : ndarray of shape (L, n), default=None
        Values to compare with, drawn dashed.
    reference_name : str, default="exact"
        What these are called in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.
    figure_ : matplotlib Figure
        Figure that holds them.
    lines_ : list of matplotlib Line2D
        The curves, one for each value of the second state.
    reference_lines_ : list of matplotlib Line2D
        Those of the reference; empty without one.
    legend_ : matplotlib Legend or None
        The legend; None if there is but one curve.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> from thetalearn.estimators.bellman import BellmanApproximator
    >>> from thetalearn.inspection.dynamics import ValueDisplay
    >>> model = BellmanApproximator(make_brock_mirman(), degree=3, random_state=0).fit()
    >>> display = ValueDisplay.from_estimator(model, reference="exact")
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('k  (at z = 0)', 'value')
    """

    def __init__(
        self,
        *,
        states: StateSlice,
        values: np.ndarray,
        reference: np.ndarray | None = None,
        reference_name: str = "exact",
    ) -> None:
        self.states = states
        self.values = values
        self.reference = reference
        self.reference_name = reference_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        states: States | None = None,
        levels: ArrayLike | None = None,
        at: ArrayLike | Mapping[str, float] | None = None,
        reference: str | Callable[[np.ndarray], Any] | None = None,
        period: int | None = None,
        n_points: int = N_POINTS,
        ax: Axes | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the value function of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            With ``value`` and ``model_``. Of a search the best estimator is taken.
        states : str, int or sequence of one or two of these, default=None
            Names or columns of the state on the axis, and of one that has another value for each
            curve. None: the first state that is no finite chain.
        levels : array-like of shape (L,), default=None
            Values of the second state. None: three in its range, or those of a finite chain.
        at : dict of str to float or array-like of shape (d,), default=None
            Values of the other states. None: the steady state, or without one the middle of the
            box.
        reference : callable or "exact", default=None
            Values to compare with: a function of states (n, d) that gives values (n,), such as the
            ``value`` of another estimator, or the model's exact solution.
        period : int, default=None
            Period whose value is drawn, for a model with a horizon; None draws the first.
        n_points : int, default=200
            Number of points of a curve.
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure.
        line_kw : dict, default=None
            Further arguments of every curve of the estimator, for matplotlib's ``plot``.

        Returns
        -------
        ValueDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it has no value, the model has no such state, or ``reference="exact"`` asks for a
            solution that is not known.
        """
        _require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = _dynamic(estimator, cls.__name__, "value")
        slice_ = _slice(fitted, states, levels, at, n_points)
        compared = _reference(reference, slice_, fitted.model_, "value")
        display = cls(
            states=slice_,
            values=slice_.evaluate(_of_period(fitted, "value", period))[:, :, 0],
            reference=None if compared is None else compared[:, :, 0],
            reference_name=_reference_name(reference),
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: Axes | None = None, *, line_kw: dict[str, Any] | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure.
        line_kw : dict, default=None
            Further arguments of every curve of the estimator, for matplotlib's ``plot``.

        Returns
        -------
        ValueDisplay
            The display itself.

        Raises
        ------
        TypeError
            If ``ax`` is not a matplotlib Axes.
        """
        _require_matplotlib(f"{type(self).__name__}.plot")
        panels = _panels(ax, ["value"])
        self.ax_, self.figure_ = panels.first, panels.figure
        self.lines_ = _draw_curves(self.ax_, self.states, self.values, line_kw)
        self.reference_lines_: list[Any] = []
        if self.reference is not None:
            self.reference_lines_ = _draw_reference(
                self.ax_, self.states, self.reference, self.reference_name
            )
        self.ax_.set_ylabel("value")
        self.ax_.set_xlabel(self.states.label())
        _widen(self.ax_, self.values)
        self.legend_ = panels.draw_legend(
            _legend_lines({"": self.lines_}, {"": self.reference_lines_}, "")
        )
        return self


class ResidualDisplay:
    """Unit-free errors of the equation: a map over two states, or curves along one.

    The map shows the decimal logarithm of the error, with the nodes as dots. Curves have their
    nodes marked at the bottom of the axes, and a line at the error that is aimed at.
    :meth:`from_estimator` makes one; parameters are stored as attributes.

    Parameters
    ----------
    states : StateSlice
        Where the errors are.
    errors : ndarray of shape (L, n)
        Absolute errors at the n points of L lines.
    nodes : ndarray of shape (M, d)
        States at which the equation was solved.
    target : float, default=1e-4
        The error that is aimed at; drawn with curves.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the map or the curves.
    figure_ : matplotlib Figure
        Figure that holds them.
    mesh_ : matplotlib QuadMesh or None
        The map; None for curves.
    colorbar_ : matplotlib Colorbar or None
        Its colour bar.
    lines_ : list of matplotlib Line2D
        The curves; empty for a map.
    target_line_ : matplotlib Line2D or None
        The line at ``target``; None for a map.
    node_marks_ : matplotlib Line2D
        The nodes.
    legend_ : matplotlib Legend
        The legend.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_growth
    >>> from thetalearn.estimators.euler import EulerApproximator
    >>> from thetalearn.inspection.dynamics import ResidualDisplay
    >>> model = EulerApproximator(make_growth(), degree=3, random_state=0).fit()
    >>> display = ResidualDisplay.from_estimator(model)
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('k', 'A')
    >>> bool(display.errors.max() < 1e-4)
    True
    """

    def __init__(
        self, *, states: StateSlice, errors: np.ndarray, nodes: np.ndarray, target: float = 1e-4
    ) -> None:
        self.states = states
        self.errors = errors
        self.nodes = nodes
        self.target = target

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        states: States | None = None,
        at: ArrayLike | Mapping[str, float] | None = None,
        equation: int | None = None,
        n_points: int | None = None,
        target: float = 1e-4,
        ax: Axes | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the errors of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            With ``residuals`` and ``model_``. Of a search the best estimator is taken.
        states : str, int or sequence of one or two of these, default=None
            Names or columns: one for a curve, two for a map. A finite chain as one of two gives a
            curve for each of its values. None: the first two states, of those that are no finite
            chain if there are others.
        at : dict of str to float or array-like of shape (d,), default=None
            Values of the other states. None: the steady state, or without one the middle of the
            box.
        equation : int, default=None
            Which of several equations to show; None shows the largest of their errors.
        n_points : int, default=None
            Number of points of a curve, or of each side of a map; None takes 200, or 50.
        target : float, default=1e-4
            The error that is aimed at; drawn with curves.
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure.
        line_kw : dict, default=None
            Further arguments of every curve, for matplotlib's ``plot``.

        Returns
        -------
        ResidualDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it has no residuals, or the model has no such state or equation.
        """
        _require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = _dynamic(estimator, cls.__name__, "residuals")
        slice_ = _error_slice(fitted, states, at, n_points)
        errors = np.abs(slice_.evaluate(fitted.residuals))
        if equation is not None:
            (chosen,) = _columns("equation", equation, [str(j) for j in range(errors.shape[2])])
            errors = errors[:, :, [chosen]]
        display = cls(states=slice_, errors=errors.max(axis=2), nodes=fitted.nodes_, target=target)
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: Axes | None = None, *, line_kw: dict[str, Any] | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure.
        line_kw : dict, default=None
            Further arguments of every curve, for matplotlib's ``plot``.

        Returns
        -------
        ResidualDisplay
            The display itself.

        Raises
        ------
        TypeError
            If ``ax`` is not a matplotlib Axes.
        """
        _require_matplotlib(f"{type(self).__name__}.plot")
        panels = _panels(ax, ["error"])
        self.ax_, self.figure_ = panels.first, panels.figure
        self.lines_: list[Any] = []
        self.mesh_ = self.colorbar_ = self.target_line_ = None
        across = self.states.across
        if across is not None and not across.listed:
            self._draw_map(across)
        else:
            self._draw_lines(line_kw)
        self.ax_.set_xlabel(self.states.label())
        named = [line for line in self.lines_ if not line.get_label().startswith("_")]
        others = [line for line in (self.node_marks_, self.target_line_) if line is not None]
        self.legend_ = panels.draw_legend([*named, *others], at_least=1)
        return self

    def _draw_map(self, across: StateRange) -> None:
        logs = np.log10(np.maximum(self.errors, LEAST_ERROR))
        finite = logs[np.isfinite(logs)]
        # Where an error changes its sign it vanishes, which is not worth half of the colours.
        highest = finite.max(initial=np.log10(LEAST_ERROR) + 1)
        lowest = min(np.quantile(finite, 0.02), highest - 1) if finite.size else highest - 1
        self.mesh_ = self.ax_.pcolormesh(
            self.states.along.values,
            across.values,
            logs,
            shading="nearest",
            cmap="viridis",
            vmin=lowest,
            vmax=highest,
            rasterized=True,
        )
        self.colorbar_ = self.figure_.colorbar(self.mesh_, ax=self.ax_, extend="min")
        self.colorbar_.set_label("log10 |error|, unit-free")
        columns = [self.states.along.column, across.column]
        (self.node_marks_,) = self.ax_.plot(
            *np.unique(self.nodes[:, columns], axis=0).T,
            "o",
            markersize=3.5,
            markerfacecolor="white",
            markeredgecolor="black",
            markeredgewidth=0.5,
            clip_on=False,
            label="nodes",
        )
        _frame(self.ax_, self.states.along, "x")
        _frame(self.ax_, across, "y")
        self.ax_.set_ylabel(across.name)

    def _draw_lines(self, line_kw: dict[str, Any] | None) -> None:
        errors = np.maximum(self.errors, LEAST_ERROR)
        self.lines_ = _draw_curves(self.ax_, self.states, errors, line_kw)
        self.ax_.set_yscale("log")
        typical = np.nanmedian(np.where(np.isfinite(errors), errors, np.nan), axis=1).min()
        bottom, top = self.ax_.get_ylim()
        self.ax_.set_ylim(max(bottom, typical * 1e-3), max(top, 3 * self.target))
        self.target_line_ = self.ax_.axhline(
            self.target, color="0.4", linewidth=1, linestyle="--", label=f"target {self.target:.0e}"
        )
        (self.node_marks_,) = self.ax_.plot(
            (nodes := np.unique(self.nodes[:, self.states.along.column])),
            np.zeros(len(nodes)),
            "|",
            markersize=11,
            color="0.1",
            transform=self.ax_.get_xaxis_transform(),
            label="nodes",
        )
        self.ax_.set_ylabel("|error|, unit-free")


class PathDisplay:
    """Simulated paths, a panel for each state and action.

    Up to ten paths are drawn one by one; of more, their median, the band between their 10 % and
    90 % quantiles in each period, and one of them. Dotted lines are bounds of a state, where the
    paths come to them. :meth:`from_estimator` makes one; parameters are stored as attributes.

    Parameters
    ----------
    paths : dict of str to ndarray of shape (n_paths, n)
        Paths of each variable, from period 0 on.
    bounds : dict of str to (float, float), default=None
        Bounds of those that have some.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the first variable.
    axes_ : dict of str to matplotlib Axes
        Axes of all variables, by name.
    figure_ : matplotlib Figure
        Figure that holds them.
    lines_ : dict of str to list of matplotlib Line2D
        The paths of each variable; or their median, and one of them.
    bands_ : dict of str to matplotlib PolyCollection
        The bands; empty with few paths.
    bound_lines_ : list of matplotlib Line2D
        Bounds that paths come to.
    legend_ : matplotlib Legend or None
        The legend; None if there is nothing to tell apart.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> from thetalearn.estimators.euler import EulerApproximator
    >>> from thetalearn.inspection.dynamics import PathDisplay
    >>> model = EulerApproximator(make_brock_mirman(), degree=3, random_state=0).fit()
    >>> display = PathDisplay.from_estimator(model, n_periods=20, random_state=0)
    >>> list(display.axes_), list(display.bands_)
    (['k', 'z', 'c'], ['k', 'z', 'c'])
    """

    def __init__(
        self,
        *,
        paths: Mapping[str, np.ndarray],
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self.paths = paths
        self.bounds = bounds

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        n_periods: int = 100,
        n_paths: int = 100,
        start: ArrayLike | None = None,
        variables: States | None = None,
        random_state: Any = None,
        ax: AxesLike = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Simulate a fitted estimator, and draw the paths.

        Parameters
        ----------
        estimator : estimator
            With ``simulate`` and ``model_``. Of a search the best estimator is taken.
        n_periods : int, default=100
            Number of transitions.
        n_paths : int, default=100
            Number of paths.
        start : array-like of shape (d,) or (n_paths, d), default=None
            First states; None starts in the steady state, or in the middle of the box without one.
        variables : str, int or sequence of these, default=None
            Names of states and actions to draw, or their places, states first; None draws all.
        random_state : int, RandomState or None, default=None
            Draws the shocks; None uses the estimator's own ``random_state``.
        ax : matplotlib Axes or sequence of these, default=None
            Where to draw, an Axes for each variable. None: a new figure.
        line_kw : dict, default=None
            Further arguments of every line, for matplotlib's ``plot``.

        Returns
        -------
        PathDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it cannot be simulated, or the model has no such variable.
        """
        _require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = _dynamic(estimator, cls.__name__, "simulate")
        model: DynamicModel = fitted.model_
        names = _variables(model)
        chosen = _columns("variables", variables, names)
        states, actions = fitted.simulate(
            start, n_periods=n_periods, n_paths=n_paths, random_state=random_state
        )
        columns = [*np.moveaxis(states, 2, 0), *np.moveaxis(actions, 2, 0)]
        chains = model.chain_states()
        display = cls(
            paths={names[j]: columns[j] for j in chosen},
            bounds={
                names[j]: tuple(model.bounds[j].tolist())
                for j in chosen
                if j < model.n_states and j not in chains
            },
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: AxesLike = None, *, line_kw: dict[str, Any] | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of these, default=None
            Where to draw, an Axes for each variable. None: a new figure.
        line_kw : dict, default=None
            Further arguments of every line, for matplotlib's ``plot``.

        Returns
        -------
        PathDisplay
            The display itself.

        Raises
        ------
        TypeError, ValueError
            If ``ax`` does not hold one Axes for each variable.
        """
        _require_matplotlib(f"{type(self).__name__}.plot")
        panels = _panels(ax, list(self.paths))
        self.axes_, self.ax_, self.figure_ = panels.axes, panels.first, panels.figure
        self.lines_: dict[str, list[Any]] = {}
        self.bands_: dict[str, Any] = {}
        self.bound_lines_: list[Any] = []
        last = max(paths.shape[1] for paths in self.paths.values()) - 1
        for name, axes in self.axes_.items():
            self._draw(name, axes, line_kw)
            self._draw_bounds(name, axes)
            axes.set_ylabel(name)
            axes.set_xlim(0, max(last, 1))
            _widen(axes, self.paths[name])
        for axes in panels.bottom:
            axes.set_xlabel("period")
        first = next(iter(self.paths))
        band = [self.bands_[first]] if first in self.bands_ else []
        handles = [self.lines_[first][0], *band, *self.lines_[first][1:]] if band else []
        self.legend_ = panels.draw_legend([*handles, *self.bound_lines_[:1]], at_least=1)
        return self

    def _draw(self, name: str, ax: Any, line_kw: dict[str, Any] | None) -> None:
        paths = self.paths[name]
        periods = np.arange(paths.shape[1])
        if len(paths) <= FEW_PATHS:
            width = 1.5 if len(paths) == 1 else 1.0
            self.lines_[name] = [
                ax.plot(periods, path, **_options(line_kw, color=f"C{i}", linewidth=width))[0]
                for i, path in enumerate(paths)
            ]
            return
        low, high = np.quantile(paths, BAND, axis=0)
        label = f"{BAND[0]:.0%} to {BAND[1]:.0%} of {len(paths)} paths"
        self.bands_[name] = ax.fill_between(
            periods, low, high, color="C0", alpha=0.25, linewidth=0, label=label
        )
        middle = _options(line_kw, color="C0", linewidth=1.8, label="median")
        single = _options(line_kw, color="0.25", linewidth=0.7, label="one path")
        self.lines_[name] = [
            *ax.plot(periods, np.median(paths, axis=0), **middle),
            *ax.plot(periods, paths[0], **single),
        ]

    def _draw_bounds(self, name: str, ax: Any) -> None:
        low, high = np.nanmin(self.paths[name]), np.nanmax(self.paths[name])
        for bound in (self.bounds or {}).get(name, ()):
            if low <= bound <= high:
                self.bound_lines_.append(
                    ax.axhline(bound, color="0.3", linewidth=1, linestyle=":", label="bound")
                )


class ImpulseResponseDisplay:
    """What one shock changes, a panel for each state and action.

    The response is the difference between two paths: on one of them a single shock in period 0 is
    larger than expected, and all other shocks of both are as expected; those of a finite chain
    stay where they are. States and actions in logarithmic coordinates are in percent of the path
    without the shock. :meth:`from_estimator` makes one; parameters are stored as attributes.

    Parameters
    ----------
    responses : dict of str to ndarray of shape (n,)
        Response of each variable, from the period of the shock on.
    units : dict of str to str
        Unit of each, such as "%".

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the first variable.
    axes_ : dict of str to matplotlib Axes
        Axes of all variables, by name.
    figure_ : matplotlib Figure
        Figure that holds them.
    lines_ : dict of str to matplotlib Line2D
        The responses.

    Notes
    -----
    Where the model is not linear the response depends on its start and on the size of the shock,
    and differs from the mean response of paths with random shocks.

    References
    ----------
    J. Hamilton, *Time Series Analysis*, section 1.1 (dynamic multipliers).

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> from thetalearn.estimators.euler import EulerApproximator
    >>> from thetalearn.inspection.dynamics import ImpulseResponseDisplay
    >>> model = EulerApproximator(make_brock_mirman(), degree=3, random_state=0).fit()
    >>> display = ImpulseResponseDisplay.from_estimator(model, n_periods=2)
    >>> display.units["c"], np.round(display.responses["z"], 6)
    ('%', array([0.04  , 0.036 , 0.0324]))
    """

    def __init__(self, *, responses: Mapping[str, np.ndarray], units: Mapping[str, str]) -> None:
        self.responses = responses
        self.units = units

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        shock: int = 0,
        size: float = 1.0,
        n_periods: int = 40,
        start: ArrayLike | None = None,
        variables: States | None = None,
        ax: AxesLike = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Compute the responses of a fitted estimator, and draw them.

        Parameters
        ----------
        estimator : estimator
            With ``policy``, ``simulate`` and ``model_``. Of a search the best estimator is taken.
        shock : int, default=0
            Column of the shock. Others do not move with it, even if they are correlated.
        size : float, default=1.0
            By how many standard deviations it differs from its expectation; for log-normal shocks
            those of the logarithm. May be negative.
        n_periods : int, default=40
            Number of periods after that of the shock, as far as the model's horizon allows.
        start : array-like of shape (d,), default=None
            State of both paths in the period before the shock. None: the steady state, or the
            middle of the box without one.
        variables : str, int or sequence of these, default=None
            Names of states and actions to draw, or their places, states first; None draws all.
        ax : matplotlib Axes or sequence of these, default=None
            Where to draw, an Axes for each variable. None: a new figure.
        line_kw : dict, default=None
            Further arguments of every line, for matplotlib's ``plot``.

        Returns
        -------
        ImpulseResponseDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If the model has no such shock or variable, the shock is a finite chain or constant, or
            the model has but one period.
        """
        _require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = _dynamic(estimator, cls.__name__, "policy")
        model: DynamicModel = fitted.model_
        names = _variables(model)
        chosen = _columns("variables", variables, names)
        (column,) = _columns("shock", shock, [str(k) for k in range(model.distribution.n_shocks)])
        first = _base(fitted) if start is None else _checked_base(start, model)
        paths = _two_paths(fitted, first, column, size, n_periods)
        coordinates = [*model.state_coordinates.columns, *model.action_coordinates.columns]
        percent = {names[j]: isinstance(coordinates[j], Log) for j in chosen}
        responses = {}
        for j in chosen:
            without, shocked = paths[:, :, j].T
            ratio = percent[names[j]]
            responses[names[j]] = 100 * (shocked / without - 1) if ratio else shocked - without
        units = {name: "%" if ratio else "difference" for name, ratio in percent.items()}
        return cls(responses=responses, units=units).plot(ax, line_kw=line_kw)

    def plot(self, ax: AxesLike = None, *, line_kw: dict[str, Any] | None = None) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of these, default=None
            Where to draw, an Axes for each variable. None: a new figure.
        line_kw : dict, default=None
            Further arguments of every line, for matplotlib's ``plot``.

        Returns
        -------
        ImpulseResponseDisplay
            The display itself.

        Raises
        ------
        TypeError, ValueError
            If ``ax`` does not hold one Axes for each variable.
        """
        _require_matplotlib(f"{type(self).__name__}.plot")
        panels = _panels(ax, list(self.responses))
        self.axes_, self.ax_, self.figure_ = panels.axes, panels.first, panels.figure
        self.lines_: dict[str, Any] = {}
        for name, axes in self.axes_.items():
            response = self.responses[name]
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=1)
            options = _options(line_kw, color="C0", linewidth=1.8)
            (self.lines_[name],) = axes.plot(np.arange(len(response)), response, **options)
            axes.set_ylabel(f"{name} ({self.units[name]})")
            axes.set_xlim(0, max(len(response) - 1, 1))
            if np.abs(response).max() < FLAT:
                axes.set_ylim(-FLAT, FLAT)
        for axes in panels.bottom:
            axes.set_xlabel("periods after the shock")
        return self


@dataclass(frozen=True)
class _Panels:
    """Axes, those among them that have none below, and whether they have their figure alone."""

    axes: dict[str, Any]
    bottom: list[Any]
    own: bool

    @property
    def first(self) -> Any:
        return next(iter(self.axes.values()))

    @property
    def figure(self) -> Any:
        return self.first.figure

    def draw_legend(self, handles: Sequence[Any], at_least: int = 2) -> Any:
        """All names above the axes, where no curve can run through them."""
        if len(handles) < at_least:
            return None
        options = {"handles": handles, "frameon": False, "fontsize": "small", "handlelength": 1.6}
        if self.own:
            width = self.figure.bbox.width / self.figure.dpi
            options["ncols"] = _even_columns(len(handles), width)
            return self.figure.legend(loc="outside upper center", **options)
        width = self.first.get_window_extent().width / self.figure.dpi
        options["ncols"] = _even_columns(len(handles), width)
        return self.first.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), **options)


def _even_columns(count: int, width: float) -> int:
    """Columns of a legend so wide in inches, with rows of the same length."""
    n_rows = -(-count // max(1, int(width / ENTRY)))
    return -(-count // n_rows)


def _panels(ax: Any, names: Sequence[str]) -> _Panels:
    """The axes given, one for each name, or those of a new figure."""
    from matplotlib.axes import Axes
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = len(names)
    n_columns = count if count <= 3 else int(np.ceil(np.sqrt(count)))
    n_rows = -(-count // n_columns)
    if ax is None:
        import matplotlib.pyplot as plt

        size = (5.6, 4.0) if count == 1 else (PANEL[0] * n_columns, PANEL[1] * n_rows + 0.7)
        grid = plt.figure(figsize=size, layout="constrained").add_gridspec(n_rows, n_columns)
        return _filled(grid, names)
    given = [ax] if isinstance(ax, Axes) else ax
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str):
        raise TypeError(f"ax must be a matplotlib Axes or None, not {type(ax).__name__}")
    given = list(np.ravel(np.asarray(given, dtype=object)))
    for each in given:
        if not isinstance(each, Axes):
            raise TypeError(f"ax must hold matplotlib Axes, not {type(each).__name__}")
    if len(given) != count:
        raise ValueError(
            f"ax holds {len(given)} Axes for {count} panels: give one for each of "
            f"{', '.join(names)}, as subplots of a figure or of a subfigure"
        )
    figure = given[0].figure
    alone = set(figure.axes) == set(given)
    own = alone and isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    return _Panels(dict(zip(names, given, strict=True)), given, own)


def _filled(grid: Any, names: Sequence[str]) -> _Panels:
    """New axes in a grid, row by row, which share their x-axis."""
    axes: list[Any] = []
    for place in range(len(names)):
        cell = grid[divmod(place, grid.ncols)]
        axes.append(grid.figure.add_subplot(cell, sharex=axes[0] if axes else None))
    for upper in axes[: -grid.ncols]:
        upper.tick_params(labelbottom=False)
    grid.figure.align_ylabels(axes)
    return _Panels(dict(zip(names, axes, strict=True)), axes[-grid.ncols :], own=True)


def _draw_curves(
    ax: Any, states: StateSlice, values: np.ndarray, line_kw: dict[str, Any] | None
) -> list[Any]:
    """A curve for each value of the second state, in colours that tell their order."""
    marker = "o" if states.along.listed else None
    lines = []
    for name, color, curve in zip(states.line_names(), _ordered(len(values)), values, strict=True):
        options = {"color": color, "marker": marker, "label": name or "_estimate"}
        lines += ax.plot(states.along.values, curve, **_options(line_kw, **options))
    _frame(ax, states.along, "x")
    return lines


def _draw_reference(ax: Any, states: StateSlice, values: np.ndarray, name: str) -> list[Any]:
    """Dashed curves on top of the others."""
    style = {"color": "black", "linewidth": 1.0, "linestyle": (0, (4, 4)), "label": name}
    return [ax.plot(states.along.values, curve, **style)[0] for curve in values]


def _legend_lines(
    lines: Mapping[str, list[Any]], reference: Mapping[str, list[Any]], first: str
) -> list[Any]:
    """One line for each name: those of the first panel, and one of the reference."""
    compared = reference.get(first, [])[:1]
    if compared and len(lines[first]) == 1:
        lines[first][0].set_label("approximation")
    return [*lines[first], *compared]


def _frame(ax: Any, states: StateRange, side: str) -> None:
    """Bounds and scale of an axis."""
    low, high = states.bounds
    if states.log:
        getattr(ax, f"set_{side}scale")("log")
    if not states.listed:
        getattr(ax, f"set_{side}lim")(low, high)
    elif len(states.values) <= 2 * MANY_CURVES:
        getattr(ax, f"set_{side}ticks")(states.values)


def _ordered(count: int) -> list[Any]:
    """Colours: one of the style in use, or several from dark to light that print in grey."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if count == 1:
        return ["C0"]
    return [to_hex(color) for color in colormaps["viridis"](np.linspace(0, 0.85, count))]


def _options(line_kw: dict[str, Any] | None, **defaults: Any) -> dict[str, Any]:
    """Arguments of a line, of which the user's come first."""
    from matplotlib import cbook
    from matplotlib.lines import Line2D

    return {**defaults, **cbook.normalize_kwargs(line_kw or {}, Line2D)}


def _widen(ax: Any, values: np.ndarray) -> None:
    """Keep the noise of what is constant from filling its panel."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    low, high = finite.min(), finite.max()
    size = max(abs(low), abs(high))
    if high - low <= FLAT * size:
        middle = (low + high) / 2
        ax.set_ylim(middle - 0.05 * size, middle + 0.05 * size)


def _dynamic(estimator: Any, display: str, method: str) -> Any:
    """The fitted estimator inside a search, if it can be drawn."""
    fitted = _last_step(estimator)
    check_is_fitted(fitted)
    if not (hasattr(fitted, method) and isinstance(getattr(fitted, "model_", None), DynamicModel)):
        raise ValueError(
            f"{type(fitted).__name__} has no {method} of a dynamic model: {display} draws "
            f"{'BellmanApproximator' if method == 'value' else 'EulerApproximator'} and its like"
        )
    return fitted


def _of_period(estimator: Any, method: str, period: int | None) -> Callable[[np.ndarray], Any]:
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


def _variables(model: DynamicModel) -> list[str]:
    """Names of states and actions, no two alike."""
    states = model.state_labels
    return [*states, *(f"{a} (action)" if a in states else a for a in model.action_labels)]


def _columns(parameter: str, chosen: States | None, names: Sequence[str]) -> list[int]:
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


def _slice(
    estimator: Any, states: States | None, levels: ArrayLike | None, at: Any, n_points: int
) -> StateSlice:
    """Lines along one state, for a few values of a second one."""
    model: DynamicModel = estimator.model_
    columns = _chosen_states(model, states, 1)
    if levels is not None and len(columns) < 2:
        raise ValueError("levels are values of a second state: name two states")
    across = None
    if len(columns) == 2:
        across = _few_values(model, columns[1], levels)
    along = _range(model, columns[0], n_points)
    return StateSlice(along, across, _base(estimator, at), model.state_labels)


def _error_slice(
    estimator: Any, states: States | None, at: Any, n_points: int | None
) -> StateSlice:
    """A grid over two states, or lines along one."""
    model: DynamicModel = estimator.model_
    columns = _chosen_states(model, states, 2)
    # A chain has no states between its values, so that others make the better axis.
    columns.sort(key=lambda column: column in model.chain_states())
    base = _base(estimator, at)
    flat = len(columns) == 2 and columns[1] not in model.chain_states()
    points = n_points or (N_MAP_POINTS if flat else N_POINTS)
    along, across = _range(model, columns[0], points), None
    if len(columns) == 2:
        across = _range(model, columns[1], points) if flat else _few_values(model, columns[1], None)
    return StateSlice(along, across, base, model.state_labels)


def _chosen_states(model: DynamicModel, states: States | None, count: int) -> list[int]:
    """One or two columns of states."""
    if states is None:
        chains = model.chain_states()
        return sorted(range(model.n_states), key=lambda column: column in chains)[:count]
    columns = _columns("states", states, model.state_labels)
    if len(columns) > 2:
        raise ValueError(f"states={states!r} must name one or two states, not {len(columns)}")
    return columns


def _range(model: DynamicModel, column: int, n_points: int) -> StateRange:
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


def _few_values(model: DynamicModel, column: int, levels: ArrayLike | None) -> StateRange:
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


def _short(value: float) -> str:
    """A number for a label, in which rounding errors are zeros."""
    return f"{round(value, 9) + 0.0:.3g}"


def _base(estimator: Any, at: Any = None) -> np.ndarray:
    """The state (d,) through which a slice goes."""
    model: DynamicModel = estimator.model_
    if at is not None and not isinstance(at, Mapping):
        return _checked_base(at, model, "at")
    base = estimator.simulate(n_periods=0)[0][0, 0].copy()
    for name, value in (at or {}).items():
        (column,) = _columns("at", name, model.state_labels)
        base[column] = value
    return base


def _checked_base(given: ArrayLike, model: DynamicModel, parameter: str = "start") -> np.ndarray:
    base = np.asarray(given, dtype=np.float64)
    if base.shape != (model.n_states,):
        raise ValueError(
            f"{parameter} of shape {base.shape} must hold one value for each of the states "
            f"{', '.join(model.state_labels)}"
        )
    return base


def _reference(
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


def _reference_name(reference: Any) -> str:
    return "reference" if callable(reference) else "exact"


def _two_paths(
    estimator: Any, start: np.ndarray, shock: int, size: float, n_periods: int
) -> np.ndarray:
    """States and actions (n_periods + 1, 2, d + m) without a shock and with it."""
    model: DynamicModel = estimator.model_
    horizon = model.horizon
    if horizon == 1:
        raise ValueError("the model has one period, after which no shock has a response")
    # The first decision is before the shock.
    n_decisions = n_periods + 2 if horizon is None else min(n_periods + 2, horizon)
    rows: list[np.ndarray] = []
    states = torch.from_numpy(np.tile(start, (2, 1)))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        for t in range(n_decisions):
            policy = _of_period(estimator, "policy", None if horizon is None else t)
            actions = torch.from_numpy(np.asarray(policy(states.numpy())).reshape(2, -1))
            rows.append(torch.cat([states, actions], 1).numpy())
            e = model.quiet_shocks(states).clone()
            if t == 0:
                e[1, shock] = _shocked(model.distribution, float(e[1, shock]), shock, size)
            states = model.next_states(states, actions, e)
    return np.stack(rows[1:])


def _shocked(shocks: Shocks, expected: float, column: int, size: float) -> float:
    """A shock that is so many standard deviations above what is expected."""
    place = column
    for part in shocks.parts():
        if place < part.n_shocks:
            break
        place -= part.n_shocks
    if isinstance(part, MarkovChain):
        raise ValueError(
            f"shock={column} is a finite chain, which has no shocks of a given size: choose "
            "another, or draw paths that start from different values of the chain"
        )
    source = part.log if isinstance(part, LogNormal) else part
    rule = source.nodes()
    nodes = rule.nodes[:, place]
    deviation = float((rule.weights @ (nodes - rule.weights @ nodes) ** 2).sqrt())
    if deviation == 0:
        raise ValueError(f"shock={column} has no variance, so that no response can be drawn")
    if isinstance(part, LogNormal):
        return expected * float(np.exp(size * deviation))
    return expected + size * deviation
