"""Small multiples, one for each action or state, and the legend they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .slices import MANY_CURVES, StateRange, StateSlice

#: Inches that a panel of several takes, and a name in the legend.
PANEL, ENTRY = (3.3, 2.2), 1.35


#: What varies by less than this share of its size is constant, and its noise not worth a scale.
FLAT = 1e-6


@dataclass(frozen=True)
class Panels:
    """Axes, those among them that have none below, and whether they have their figure alone."""

    axes: dict[str, Any]
    bottom: list[Any]
    own: bool

    @property
    def first(self) -> Any:
        """Axes of the first panel."""
        return next(iter(self.axes.values()))

    @property
    def figure(self) -> Any:
        """The figure that holds them."""
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


def make_panels(ax: Any, names: Sequence[str]) -> Panels:
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
        return filled_panels(grid, names)
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
    return Panels(dict(zip(names, given, strict=True)), given, own)


def filled_panels(grid: Any, names: Sequence[str]) -> Panels:
    """New axes in a grid, row by row, which share their x-axis."""
    axes: list[Any] = []
    for place in range(len(names)):
        cell = grid[divmod(place, grid.ncols)]
        axes.append(grid.figure.add_subplot(cell, sharex=axes[0] if axes else None))
    for upper in axes[: -grid.ncols]:
        upper.tick_params(labelbottom=False)
    grid.figure.align_ylabels(axes)
    return Panels(dict(zip(names, axes, strict=True)), axes[-grid.ncols :], own=True)


def draw_curves(
    ax: Any, states: StateSlice, values: np.ndarray, line_kw: dict[str, Any] | None
) -> list[Any]:
    """A curve for each value of the second state, in colours that tell their order."""
    marker = "o" if states.along.listed else None
    lines = []
    for name, color, curve in zip(
        states.line_names(), ordered_colours(len(values)), values, strict=True
    ):
        options = {"color": color, "marker": marker, "label": name or "_estimate"}
        lines += ax.plot(states.along.values, curve, **line_options(line_kw, **options))
    frame_axis(ax, states.along, "x")
    return lines


def draw_reference(ax: Any, states: StateSlice, values: np.ndarray, name: str) -> list[Any]:
    """Dashed curves on top of the others."""
    style = {"color": "black", "linewidth": 1.0, "linestyle": (0, (4, 4)), "label": name}
    return [ax.plot(states.along.values, curve, **style)[0] for curve in values]


def legend_lines(
    lines: Mapping[str, list[Any]], reference: Mapping[str, list[Any]], first: str
) -> list[Any]:
    """One line for each name: those of the first panel, and one of the reference."""
    compared = reference.get(first, [])[:1]
    if compared and len(lines[first]) == 1:
        lines[first][0].set_label("approximation")
    return [*lines[first], *compared]


def frame_axis(ax: Any, states: StateRange, side: str) -> None:
    """Bounds and scale of an axis."""
    low, high = states.bounds
    if states.log:
        getattr(ax, f"set_{side}scale")("log")
    if not states.listed:
        getattr(ax, f"set_{side}lim")(low, high)
    elif len(states.values) <= 2 * MANY_CURVES:
        getattr(ax, f"set_{side}ticks")(states.values)


def ordered_colours(count: int) -> list[Any]:
    """Colours: one of the style in use, or several from dark to light that print in grey."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if count == 1:
        return ["C0"]
    return [to_hex(color) for color in colormaps["viridis"](np.linspace(0, 0.85, count))]


def line_options(line_kw: dict[str, Any] | None, **defaults: Any) -> dict[str, Any]:
    """Arguments of a line, of which the user's come first."""
    from matplotlib import cbook
    from matplotlib.lines import Line2D

    return {**defaults, **cbook.normalize_kwargs(line_kw or {}, Line2D)}


def widen_view(ax: Any, values: np.ndarray) -> None:
    """Keep the noise of what is constant from filling its panel."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    low, high = finite.min(), finite.max()
    size = max(abs(low), abs(high))
    if high - low <= FLAT * size:
        middle = (low + high) / 2
        ax.set_ylim(middle - 0.05 * size, middle + 0.05 * size)
