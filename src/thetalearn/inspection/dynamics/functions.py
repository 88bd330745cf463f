"""Displays of functions of the state: policies, values, errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .._drawing import require_matplotlib
from .panels import (
    Panels,
    draw_curves,
    draw_reference,
    frame_axis,
    legend_lines,
    make_panels,
    widen_view,
)
from .slices import (
    N_POINTS,
    StateRange,
    States,
    StateSlice,
    chosen_columns,
    dynamic_estimator,
    error_slice,
    of_period,
    reference_name,
    reference_values,
    value_slice,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PolicyDisplay", "ResidualDisplay", "ValueDisplay"]

AxesLike = Any


#: Errors are shown down to this, which is rounding.
LEAST_ERROR = 1e-16


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
        require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = dynamic_estimator(estimator, cls.__name__, "policy")
        names: Sequence[str] = fitted.model_.action_labels
        chosen = chosen_columns("actions", actions, names)
        slice_ = value_slice(fitted, states, levels, at, n_points)
        found, compared = _evaluated(fitted, "policy", slice_, period, reference)
        display = cls(
            states=slice_,
            actions=found[:, :, chosen],
            action_names=[names[j] for j in chosen],
            reference=None if compared is None else compared[:, :, chosen],
            reference_name=reference_name(reference),
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
        require_matplotlib(f"{type(self).__name__}.plot")
        panels = make_panels(ax, self.action_names)
        self.axes_, self.ax_, self.figure_ = panels.axes, panels.first, panels.figure
        self.lines_, self.reference_lines_, self.legend_ = _draw_functions(
            panels, self.states, self.actions, self.reference, self.reference_name, line_kw
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
        require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = dynamic_estimator(estimator, cls.__name__, "value")
        slice_ = value_slice(fitted, states, levels, at, n_points)
        found, compared = _evaluated(fitted, "value", slice_, period, reference)
        display = cls(
            states=slice_,
            values=found[:, :, 0],
            reference=None if compared is None else compared[:, :, 0],
            reference_name=reference_name(reference),
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
        require_matplotlib(f"{type(self).__name__}.plot")
        panels = make_panels(ax, ["value"])
        self.ax_, self.figure_ = panels.first, panels.figure
        compared = None if self.reference is None else self.reference[:, :, None]
        lines, reference_lines, self.legend_ = _draw_functions(
            panels, self.states, self.values[:, :, None], compared, self.reference_name, line_kw
        )
        self.lines_, self.reference_lines_ = lines["value"], reference_lines.get("value", [])
        return self


def _evaluated(
    fitted: Any,
    which: str,
    states: StateSlice,
    period: int | None,
    reference: str | Callable[[np.ndarray], Any] | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """The "policy" or "value" of an estimator and of the reference, (L, n, m) each."""
    compared = reference_values(reference, states, fitted.model_, which)
    return states.evaluate(of_period(fitted, which, period)), compared


def _draw_functions(
    panels: Panels,
    states: StateSlice,
    values: np.ndarray,
    reference: np.ndarray | None,
    reference_name: str,
    line_kw: dict[str, Any] | None,
) -> tuple[dict[str, list[Any]], dict[str, list[Any]], Any]:
    """Curves of the m functions (L, n, m), a panel each; lines, those of the reference, legend."""
    lines: dict[str, list[Any]] = {}
    compared: dict[str, list[Any]] = {}
    for j, (name, axes) in enumerate(panels.axes.items()):
        lines[name] = draw_curves(axes, states, values[:, :, j], line_kw)
        shown = [values[:, :, j]]
        if reference is not None:
            shown.append(reference[:, :, j])
            compared[name] = draw_reference(axes, states, shown[1], reference_name)
        axes.set_ylabel(name)
        widen_view(axes, np.concatenate(shown))
    for axes in panels.bottom:
        axes.set_xlabel(states.label())
    return lines, compared, panels.draw_legend(legend_lines(lines, compared, next(iter(lines))))


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
        require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = dynamic_estimator(estimator, cls.__name__, "residuals")
        slice_ = error_slice(fitted, states, at, n_points)
        errors = np.abs(slice_.evaluate(fitted.residuals))
        if equation is not None:
            (chosen,) = chosen_columns(
                "equation", equation, [str(j) for j in range(errors.shape[2])]
            )
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
        require_matplotlib(f"{type(self).__name__}.plot")
        panels = make_panels(ax, ["error"])
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
        frame_axis(self.ax_, self.states.along, "x")
        frame_axis(self.ax_, across, "y")
        self.ax_.set_ylabel(across.name)

    def _draw_lines(self, line_kw: dict[str, Any] | None) -> None:
        errors = np.maximum(self.errors, LEAST_ERROR)
        self.lines_ = draw_curves(self.ax_, self.states, errors, line_kw)
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
