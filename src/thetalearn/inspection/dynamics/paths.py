"""Displays of paths: simulations and impulse responses."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from ...dynamics.model import DynamicModel
from ...dynamics.shocks import LogNormal, MarkovChain, Shocks
from ...dynamics.transforms import Log
from .._drawing import require_matplotlib
from .functions import AxesLike
from .panels import FLAT, line_options, make_panels, widen_view
from .slices import (
    States,
    base_state,
    checked_base,
    chosen_columns,
    dynamic_estimator,
    of_period,
    variable_names,
)

if TYPE_CHECKING:
    pass

__all__ = ["ImpulseResponseDisplay", "PathDisplay"]

#: Quantiles of the band around the median of many paths.
BAND = (0.1, 0.9)


#: Paths up to which each is drawn.
FEW_PATHS = 10


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
        require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = dynamic_estimator(estimator, cls.__name__, "simulate")
        model: DynamicModel = fitted.model_
        names = variable_names(model)
        chosen = chosen_columns("variables", variables, names)
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
        require_matplotlib(f"{type(self).__name__}.plot")
        panels = make_panels(ax, list(self.paths))
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
            widen_view(axes, self.paths[name])
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
                ax.plot(periods, path, **line_options(line_kw, color=f"C{i}", linewidth=width))[0]
                for i, path in enumerate(paths)
            ]
            return
        low, high = np.quantile(paths, BAND, axis=0)
        label = f"{BAND[0]:.0%} to {BAND[1]:.0%} of {len(paths)} paths"
        self.bands_[name] = ax.fill_between(
            periods, low, high, color="C0", alpha=0.25, linewidth=0, label=label
        )
        middle = line_options(line_kw, color="C0", linewidth=1.8, label="median")
        single = line_options(line_kw, color="0.25", linewidth=0.7, label="one path")
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
        require_matplotlib(f"{cls.__name__}.from_estimator")
        fitted = dynamic_estimator(estimator, cls.__name__, "policy")
        model: DynamicModel = fitted.model_
        names = variable_names(model)
        chosen = chosen_columns("variables", variables, names)
        (column,) = chosen_columns(
            "shock", shock, [str(k) for k in range(model.distribution.n_shocks)]
        )
        first = base_state(fitted) if start is None else checked_base(start, model)
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
        require_matplotlib(f"{type(self).__name__}.plot")
        panels = make_panels(ax, list(self.responses))
        self.axes_, self.ax_, self.figure_ = panels.axes, panels.first, panels.figure
        self.lines_: dict[str, Any] = {}
        for name, axes in self.axes_.items():
            response = self.responses[name]
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=1)
            options = line_options(line_kw, color="C0", linewidth=1.8)
            (self.lines_[name],) = axes.plot(np.arange(len(response)), response, **options)
            axes.set_ylabel(f"{name} ({self.units[name]})")
            axes.set_xlim(0, max(len(response) - 1, 1))
            if np.abs(response).max() < FLAT:
                axes.set_ylim(-FLAT, FLAT)
        for axes in panels.bottom:
            axes.set_xlabel("periods after the shock")
        return self


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
            policy = of_period(estimator, "policy", None if horizon is None else t)
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
