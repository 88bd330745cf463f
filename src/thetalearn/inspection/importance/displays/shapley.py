"""Shapley values of many rows: swarms, bars, one feature, pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..._drawing import check_option, checked_axes, require_matplotlib
from .bars import bars_size, draw_bars, frame_bars, largest_first
from .parts import (
    DISTINCT,
    GREY,
    checked_count,
    checked_names,
    chosen,
    chosen_output,
    short_names,
    shortened,
    swarm,
)
from .scales import ColorScale, color_range, is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ShapleyDisplay"]

KINDS = ("beeswarm", "bar", "dependence", "interactions")

#: Standard errors on either side of a mean that make an interval of 95 %.
NORMAL_QUANTILE = 1.959963984540054

#: Rows beyond which points are stored as pixels.
MANY_ROWS = 2000

#: Half the height of a row of the swarm, and the most that a point steps aside.
HALF_ROW, STEP = 0.4, 0.09

#: Rows of a swarm below which the scale has no room for a long name.
FEW_ROWS = 5

#: Players up to which the map of pairs shows numbers.
FEW_PLAYERS = 8


class ShapleyDisplay:
    """Shapley values of many rows.

    :meth:`from_estimator` and :meth:`from_explanation` make one; parameters are stored as
    attributes.

    Parameters
    ----------
    explanation : shap.Explanation
        Values of shape (n_samples, n_players) or (n_samples, n_players, n_outputs).

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that holds them.
    order_ : ndarray of shape (n_drawn,)
        Positions of the players drawn, from top to bottom.
    points_ : list of matplotlib PathCollection
        Points of each player drawn, for "beeswarm"; of the feature, for "dependence".
    bars_ : matplotlib BarContainer or None
        Mean absolute values, for "bar".
    intervals_ : matplotlib LineCollection or None
        Intervals of 95 %, of the means for "bar", of the values for "dependence".
    image_ : matplotlib AxesImage or None
        Mean absolute interactions, for "interactions".
    colorbar_ : matplotlib Colorbar or None
        Scale of the colours.
    output_ : str or None
        Name of the output drawn.

    See Also
    --------
    shap.plots.waterfall : The values of a single row.

    References
    ----------
    .. [1] S. M. Lundberg et al., "From local explanations to global understanding with explainable
       AI for trees", Nature Machine Intelligence 2, 2020, section "Local explanation methods for
       trees: summary plots".

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.explanation import make_explanation
    >>> from thetalearn.inspection.importance.displays import ShapleyDisplay
    >>> X = np.array([[0.0, 1.0], [1.0, 5.0], [2.0, 3.0]])
    >>> explanation = make_explanation(values=2 * (X - X.mean(0)), base_values=8.0, X=X)
    >>> display = ShapleyDisplay.from_explanation(explanation, kind="bar")
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['x1', 'x0']
    >>> [round(float(bar.get_width()), 3) for bar in display.bars_]
    [2.667, 1.333]
    """

    def __init__(self, *, explanation: Any) -> None:
        self.explanation = explanation

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        ax: Axes | None = None,
        kind: str = "beeswarm",
        output: str | int | None = None,
        feature: str | int | None = None,
        color: str | int | None = None,
        max_features: int | None = 20,
        **options: Any,
    ) -> Self:
        """Compute the Shapley values of a fitted estimator and draw them.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows to explain.
        ax, kind, output, feature, color, max_features
            As in :meth:`plot`.
        **options
            Further arguments of ``shapley_values``.

        Returns
        -------
        ShapleyDisplay
            The display, drawn.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        check_option("kind", kind, KINDS)
        checked_count(max_features, 1)
        from ..shapley import shapley_values

        explanation = shapley_values(estimator, X, **options)
        return cls(explanation=explanation).plot(
            ax, kind=kind, output=output, feature=feature, color=color, max_features=max_features
        )

    @classmethod
    def from_explanation(
        cls,
        explanation: Any,
        *,
        ax: Axes | None = None,
        kind: str = "beeswarm",
        output: str | int | None = None,
        feature: str | int | None = None,
        color: str | int | None = None,
        max_features: int | None = 20,
    ) -> Self:
        """Draw Shapley values.

        Parameters
        ----------
        explanation : shap.Explanation
            What ``shapley_values`` or an explainer of shap returned.
        ax, kind, output, feature, color, max_features
            As in :meth:`plot`.

        Returns
        -------
        ShapleyDisplay
            The display, drawn.
        """
        return cls(explanation=explanation).plot(
            ax, kind=kind, output=output, feature=feature, color=color, max_features=max_features
        )

    def plot(
        self,
        ax: Axes | None = None,
        *,
        kind: str = "beeswarm",
        output: str | int | None = None,
        feature: str | int | None = None,
        color: str | int | None = None,
        max_features: int | None = 20,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure.
        kind : {"beeswarm", "bar", "dependence", "interactions"}, default="beeswarm"
            A point for each row and player, coloured by the player's value, grey where this is no
            number; bars of the mean absolute values, with intervals of 95 % for the mean over rows
            like these; the values of one player against its value in the data; mean absolute
            interactions of pairs, the sum of the two halves in ``interaction_values``.
        output : str or int, default=None
            Name of the output, or class, or else position. By default the only one, or the second
            class of two.
        feature : str or int, default=None
            Player drawn by "dependence"; by default the one with the largest mean absolute value.
        color : str or int, default=None
            Player that colours the points of "dependence".
        max_features : int or None, default=20
            How many players to draw, those with the largest mean absolute values; None draws all.

        Returns
        -------
        ShapleyDisplay
            The display itself.

        Raises
        ------
        ValueError
            If an option is not one of those named, if ``output`` is not given for more than two
            outputs, or if the explanation lacks what is to be drawn.
        TypeError
            If ``ax`` is not a matplotlib Axes.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        check_option("kind", kind, KINDS)
        count = checked_count(max_features, 2**31)
        explanation, self.output_ = _one_output(self.explanation, output)
        values = np.asarray(explanation.values, dtype=np.float64)
        names = checked_names(explanation.feature_names, values.shape[1])
        sizes = np.abs(values).mean(axis=0)
        self.order_ = largest_first(sizes, count)
        self.points_: list[Any] = []
        self.bars_ = self.intervals_ = self.image_ = None
        self.colorbar_: Any = None
        if kind == "dependence":
            place = self.order_[0] if feature is None else chosen("feature", feature, names)
            hue = None if color is None else chosen("color", color, names)
            self._draw_dependence(ax, explanation, names, int(place), hue)
        elif kind == "interactions":
            self._draw_interactions(ax, explanation, names)
        else:
            self.ax_ = checked_axes(ax, bars_size(len(self.order_)))
            if kind == "bar":
                self._draw_bars(values, sizes)
            else:
                self._draw_swarms(explanation, values)
            frame_bars(self.ax_, [names[place] for place in self.order_], len(names))
        self.figure_ = self.ax_.figure
        return self

    def _label(self, text: str) -> str:
        return text if self.output_ is None else f"{text} for {shortened(self.output_)}"

    def _draw_bars(self, values: np.ndarray, sizes: np.ndarray) -> None:
        """Mean absolute values, and intervals from their variance over the rows."""
        bounds = None
        if len(values) > 1:
            width = NORMAL_QUANTILE * np.abs(values).std(axis=0, ddof=1) / np.sqrt(len(values))
            bounds = np.column_stack([sizes - width, sizes + width])[self.order_]
        self.bars_, self.intervals_ = draw_bars(self.ax_, sizes[self.order_], bounds, None)
        self.ax_.set_xlabel(self._label("mean |Shapley value|"))

    def _draw_swarms(self, explanation: Any, values: np.ndarray) -> None:
        """A row of points for each player, which step aside where they are dense."""
        drawn = values[:, self.order_]
        low, high = np.nanmin(drawn), np.nanmax(drawn)
        colored = None
        for row, place in enumerate(self.order_):
            scale = _scale(explanation, int(place))
            steps = swarm(drawn[:, row], low, high)
            points = self.ax_.scatter(
                drawn[:, row],
                row + min(STEP, HALF_ROW / max(1, np.abs(steps).max())) * steps,
                s=12 if len(values) <= MANY_ROWS else 5,
                linewidth=0,
                rasterized=len(values) > MANY_ROWS,
                **_relative_colors(scale),
            )
            self.points_.append(points)
            colored = points if scale is not None and scale.names is None else colored
            self.ax_.axhline(row, color="0.9", linewidth=0.6, zorder=0.4)
        self.ax_.set_xlabel(self._label("Shapley value"))
        if colored is not None:
            self.colorbar_ = self.ax_.figure.colorbar(
                colored, ax=self.ax_, ticks=[0, 1], aspect=40, pad=0.02
            )
            self.colorbar_.ax.set_yticklabels(["low", "high"])
            few = len(self.order_) < FEW_ROWS
            self.colorbar_.set_label("value" if few else "value of the feature", labelpad=-12)
            self.colorbar_.outline.set_visible(False)
            self.colorbar_.ax.tick_params(length=0)

    def _draw_dependence(
        self, ax: Any, explanation: Any, names: list[str], place: int, hue: int | None
    ) -> None:
        """Values of one player against the data."""
        along = _scale(explanation, place)
        if along is None:
            raise ValueError("kind='dependence' needs the rows: the explanation has no data")
        self.ax_ = ax = checked_axes(ax, (6.4, 4.2))
        values = np.asarray(explanation.values, dtype=np.float64)[:, place]
        x = along.values
        if along.names is not None:
            steps = swarm(values, np.nanmin(values), np.nanmax(values))
            x = x + min(0.05, 0.35 / max(1, np.abs(steps).max())) * steps
            along.name_axis(ax)
        scale = None if hue is None else _scale(explanation, hue)
        colors = {"color": DISTINCT[0]} if scale is None else scale.colors()
        errors = getattr(explanation, "error_std", None)
        if errors is not None and np.any(np.asarray(errors)[:, place] > 0):
            width = NORMAL_QUANTILE * np.asarray(errors)[:, place]
            self.intervals_ = ax.vlines(
                x, values - width, values + width, color="0.75", linewidth=0.8, zorder=1
            )
        many = len(values) > MANY_ROWS
        points = ax.scatter(x, values, s=8 if many else 16, linewidth=0, rasterized=many, **colors)
        self.points_ = [points]
        if scale is not None and hue is not None:
            self.colorbar_ = scale.draw_legend(ax, points, names[hue])
        self.order_ = np.array([place])
        ax.axhline(0, color="0.4", linewidth=0.8, zorder=0.5)
        ax.set_xlabel(shortened(names[place]))
        ax.set_ylabel(self._label("Shapley value"))
        ax.spines[["top", "right"]].set_visible(False)

    def _draw_interactions(self, ax: Any, explanation: Any, names: list[str]) -> None:
        """Mean absolute interactions of pairs; the diagonal is empty."""
        pairs = getattr(explanation, "interaction_values", None)
        expected = (len(explanation.values), len(names), len(names))
        if pairs is None or np.shape(pairs) != expected:
            raise ValueError(
                "kind='interactions' needs interaction_values of all players: ask shapley_values "
                "for interactions, and select no players"
            )
        # A pair's interaction is stored in two halves, one for each of its players.
        sizes = np.abs(pairs + np.swapaxes(pairs, 1, 2)).mean(axis=0)
        sizes = sizes[np.ix_(self.order_, self.order_)]
        np.fill_diagonal(sizes, np.nan)
        count = len(sizes)
        side = max(3.6, 0.42 * count + 2.2)
        self.ax_ = ax = checked_axes(ax, (side + 0.8, side))
        self.image_ = ax.imshow(sizes, cmap="viridis_r", vmin=0)
        short = short_names([names[place] for place in self.order_])
        ax.set_xticks(range(count), short, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(count), short)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if count <= FEW_PLAYERS:
            _write_numbers(ax, self.image_, sizes)
        self.colorbar_ = ax.figure.colorbar(self.image_, ax=ax, shrink=0.8)
        self.colorbar_.set_label(self._label("mean |interaction|"))
        self.colorbar_.outline.set_visible(False)


def _one_output(explanation: Any, output: Any) -> tuple[Any, str | None]:
    """The explanation of the output asked for, and its name."""
    n_axes = np.ndim(explanation.values)
    if n_axes not in (2, 3):
        raise ValueError(
            f"explanation has values of shape {np.shape(explanation.values)}, expected several "
            "rows: for one row use shap.plots.waterfall, or select it by explanation[k : k + 1]"
        )
    own = explanation.output_names
    if n_axes == 2:
        name = own if isinstance(own, str) else None
        if output is not None:
            chosen_output(output, ["the only output" if name is None else name])
        return explanation, name
    names = checked_names(own, explanation.values.shape[2])
    place = chosen_output(output, names)
    return explanation[:, :, place], names[place]


def _scale(explanation: Any, place: int) -> ColorScale | None:
    """What the rows hold of a player, if the explanation has them."""
    if explanation.data is None:
        return None
    shown = getattr(explanation, "display_data", None)
    codes = np.asarray(explanation.data)[:, place]
    texts = None if shown is None else np.asarray(shown)[:, place]
    if texts is None and not is_number(codes):
        texts = codes
    return ColorScale.of(codes, texts)


def _relative_colors(scale: ColorScale | None) -> dict[str, Any]:
    """Colours from the low to the high values of a player."""
    if scale is None:
        return {"color": DISTINCT[0]}
    if scale.names is not None:
        return {"color": GREY}
    low, high = color_range(scale.values)
    relative = np.clip((scale.values - low) / ((high - low) or 1.0), 0, 1)
    return ColorScale(relative, None).colors(0.0, 1.0)


def _write_numbers(ax: Any, image: Any, sizes: np.ndarray) -> None:
    for (row, column), size in np.ndenumerate(sizes):
        if np.isfinite(size):
            dark = sum(image.cmap(image.norm(size))[:3]) < 1.5
            color = "white" if dark else "0.1"
            ax.text(
                column, row, f"{size:.2g}", color=color, ha="center", va="center", fontsize="small"
            )
