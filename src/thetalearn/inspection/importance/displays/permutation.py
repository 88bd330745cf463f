"""Permutation importances as bars or boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..._drawing import check_option, checked_axes, require_matplotlib
from .bars import (
    bars_size,
    checked_bounds,
    draw_bars,
    draw_boxes,
    draw_points,
    frame_bars,
    largest_first,
)
from .parts import checked_count, checked_names, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PermutationImportanceDisplay"]


class PermutationImportanceDisplay:
    """Permutation importances, the largest on top, with their intervals.

    A bar is the mean over the repeats, its line the interval that the result comes with. The axis
    starts at zero, the importance of a feature that the model does not use. :meth:`from_estimator`
    and :meth:`from_result` make one; parameters are stored as attributes.

    Parameters
    ----------
    importances : array-like of shape (n_features, n_repeats)
        Decrease of the score in every repeat.
    ci : array-like of shape (n_features, 2), default=None
        Lower and upper bounds of the mean importances; None draws no intervals.
    feature_names : sequence of length n_features, default=None
        Names; by default ``"x0"``, ``"x1"`` and so on.
    metric : str, default=None
        Name of the score, for the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the bars.
    figure_ : matplotlib Figure
        Figure that holds them.
    order_ : ndarray of shape (n_drawn,)
        Positions of the features drawn, from top to bottom.
    bars_ : matplotlib BarContainer or None
        The bars.
    intervals_ : matplotlib LineCollection or None
        The intervals.
    boxes_ : matplotlib BarContainer or None
        The boxes.
    points_ : matplotlib PathCollection or None
        The repeats.
    zero_line_ : matplotlib Line2D
        Vertical line at zero.

    See Also
    --------
    SageDisplay : Importances that share the reduction of the loss among the features.

    Examples
    --------
    >>> from thetalearn.inspection.importance.displays import PermutationImportanceDisplay
    >>> display = PermutationImportanceDisplay(
    ...     importances=[[0.1, 0.3], [0.6, 0.8]], ci=[[0.0, 0.4], [0.5, 0.9]]
    ... ).plot()
    >>> [round(float(bar.get_width()), 3) for bar in display.bars_]
    [0.7, 0.2]
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['x1', 'x0']
    """

    def __init__(
        self,
        *,
        importances: Any,
        ci: Any = None,
        feature_names: Sequence[Any] | None = None,
        metric: str | None = None,
    ) -> None:
        self.importances = importances
        self.ci = ci
        self.feature_names = feature_names
        self.metric = metric

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        metric: str | None = None,
        ax: Axes | None = None,
        kind: str = "bar",
        max_features: int | None = 20,
        show_repeats: bool = False,
        bar_kw: dict[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Compute the importances of a fitted estimator and draw them.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows, held out rather than those of the fit.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        metric : str, default=None
            Which score to draw if ``scoring`` names several.
        ax, kind, max_features, show_repeats, bar_kw
            As in :meth:`plot`.
        **options
            Further arguments of ``permutation_importance``, such as ``scoring``, ``n_repeats`` and
            ``random_state``.

        Returns
        -------
        PermutationImportanceDisplay
            The display, drawn.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        _check_plot(kind, max_features)
        from ..permutation.importance import permutation_importance

        result = permutation_importance(estimator, X, y, **options)
        if metric is None and isinstance(options.get("scoring"), str):
            metric = options["scoring"] if "importances" in result else None
        return cls.from_result(
            result,
            metric=metric,
            ax=ax,
            kind=kind,
            max_features=max_features,
            show_repeats=show_repeats,
            bar_kw=bar_kw,
        )

    @classmethod
    def from_result(
        cls,
        result: Mapping[str, Any],
        *,
        metric: str | None = None,
        feature_names: Sequence[Any] | None = None,
        ax: Axes | None = None,
        kind: str = "bar",
        max_features: int | None = 20,
        show_repeats: bool = False,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw what ``permutation_importance`` returned, ours or scikit-learn's.

        Parameters
        ----------
        result : dict
            With ``"importances"``, and perhaps ``"ci"`` and ``"feature_names"``; or a dict of such,
            one for each score.
        metric : str, default=None
            Which of several scores to draw; the name of the only one, for the axis.
        feature_names : sequence of length n_features, default=None
            Names in place of those of the result.
        ax, kind, max_features, show_repeats, bar_kw
            As in :meth:`plot`.

        Returns
        -------
        PermutationImportanceDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the result holds several scores and ``metric`` is none of them.
        """
        require_matplotlib(f"{cls.__name__}.from_result")
        if "importances" not in result:
            if metric is None and len(result) == 1:
                metric = next(iter(result))
            if metric is None or metric not in result:
                raise ValueError(
                    f"metric={metric!r} must be one of {', '.join(map(repr, result))}, as the "
                    "result holds several scores"
                )
            result = result[metric]
        names = result.get("feature_names") if feature_names is None else feature_names
        display = cls(
            importances=result["importances"],
            ci=result.get("ci"),
            feature_names=names,
            metric=metric,
        )
        return display.plot(
            ax, kind=kind, max_features=max_features, show_repeats=show_repeats, bar_kw=bar_kw
        )

    def plot(
        self,
        ax: Axes | None = None,
        *,
        kind: str = "bar",
        max_features: int | None = 20,
        show_repeats: bool = False,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure as high as the bars need.
        kind : {"bar", "box"}, default="bar"
            Bars of the means with their intervals, or boxes of the repeats: from the first to the
            third quartile, with the median, and lines to the furthest repeats within one and a half
            of the box's length.
        max_features : int or None, default=20
            How many features to draw, those with the largest means; None draws all.
        show_repeats : bool, default=False
            Whether every repeat is drawn as a point.
        bar_kw : dict, default=None
            Further arguments of the bars, for matplotlib's ``barh``.

        Returns
        -------
        PermutationImportanceDisplay
            The display itself.

        Raises
        ------
        ValueError
            If an option is not one of those named, or the shapes do not fit together.
        TypeError
            If ``ax`` is not a matplotlib Axes.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        _check_plot(kind, max_features)
        repeats = np.asarray(self.importances, dtype=np.float64)
        if repeats.ndim != 2:
            raise ValueError(
                f"importances has shape {repeats.shape}, expected (n_features, n_repeats)"
            )
        names = checked_names(self.feature_names, len(repeats))
        bounds = checked_bounds(self.ci, len(repeats))
        means = repeats.mean(axis=1)
        self.order_ = largest_first(means, checked_count(max_features, len(means)))
        self.ax_ = ax = checked_axes(ax, bars_size(len(self.order_)))
        self.figure_ = ax.figure
        self.bars_ = self.intervals_ = self.boxes_ = self.points_ = None
        if kind == "bar":
            bounds = None if bounds is None else bounds[self.order_]
            self.bars_, self.intervals_ = draw_bars(ax, means[self.order_], bounds, bar_kw)
        else:
            self.boxes_ = draw_boxes(ax, repeats[self.order_], outliers=not show_repeats)
        if show_repeats:
            self.points_ = draw_points(ax, repeats[self.order_])
        self.zero_line_ = frame_bars(ax, [names[place] for place in self.order_], len(names))
        score = "score" if self.metric is None else self.metric
        ax.set_xlabel(f"decrease of {shortened(score)} when permuted")
        return self


def _check_plot(kind: str, max_features: int | None) -> None:
    """Refuse wrong options before anything is computed."""
    check_option("kind", kind, ("bar", "box"))
    checked_count(max_features, 1)
