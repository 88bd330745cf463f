"""Bars, boxes and points beside the names of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .parts import DISTINCT, short_names

#: Inches that a bar takes, those above and below the bars, and the width of the figure.
BAR, AROUND, WIDTH = 0.3, 1.0, 6.4

BAR_COLOR, POINT_COLOR = DISTINCT[:2]


def checked_bounds(ci: Any, count: int) -> np.ndarray | None:
    """Lower and upper bounds, if any are known."""
    if ci is None or np.isnan(np.asarray(ci, dtype=np.float64)).all():
        return None
    bounds = np.asarray(ci, dtype=np.float64)
    if bounds.shape != (count, 2):
        raise ValueError(f"ci has shape {bounds.shape}, expected ({count}, 2)")
    return bounds


def bars_size(count: int) -> tuple[float, float]:
    """Inches of a figure with so many bars."""
    return WIDTH, AROUND + BAR * max(count, 2)


def largest_first(sizes: np.ndarray, count: int) -> np.ndarray:
    """Positions of the largest, those that are not a number last, equal ones in their order."""
    return np.argsort(-np.where(np.isnan(sizes), -np.inf, sizes), kind="stable")[:count]


def frame_bars(ax: Any, names: Sequence[str], total: int) -> Any:
    """Names beside the bars, the first on top, and a line at zero, which is returned."""
    ax.set_yticks(range(len(names)), short_names(names))
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params("y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    if len(names) < total:
        ax.set_ylabel(f"{len(names)} of {total} features", color="0.4")
    return ax.axvline(0, color="0.4", linewidth=0.8, zorder=0.5)


def draw_bars(
    ax: Any, sizes: np.ndarray, bounds: np.ndarray | None, bar_kw: dict[str, Any] | None
) -> tuple[Any, Any]:
    """Horizontal bars, and lines between lower and upper bounds of shape (count, 2)."""
    from matplotlib import cbook
    from matplotlib.patches import Patch

    places = np.arange(len(sizes))
    own = cbook.normalize_kwargs(bar_kw or {}, Patch)
    bars = ax.barh(places, sizes, **{"height": 0.7, "color": BAR_COLOR, "alpha": 0.75, **own})
    if bounds is None:
        return bars, None
    lines = ax.hlines(places, *bounds.T, color="0.15", linewidth=1.6, zorder=3)
    return bars, lines


def draw_boxes(ax: Any, repeats: np.ndarray, *, outliers: bool) -> Any:
    """Boxes, which are returned, medians and whiskers, for each row of repeats."""
    from matplotlib.cbook import boxplot_stats

    places = np.arange(len(repeats))
    stats = boxplot_stats(list(repeats))
    low, first, median, third, high = (
        np.array([each[name] for each in stats]) for name in ("whislo", "q1", "med", "q3", "whishi")
    )
    boxes = ax.barh(
        places, third - first, left=first, height=0.6, color=BAR_COLOR, alpha=0.35, zorder=2
    )
    ax.hlines([*places, *places], [*low, *third], [*first, *high], color=BAR_COLOR, linewidth=1.2)
    ax.vlines(median, places - 0.3, places + 0.3, color="0.15", linewidth=1.6, zorder=3)
    outside = [(value, place) for place, each in enumerate(stats) for value in each["fliers"]]
    if outliers:
        ax.plot(*np.reshape(outside, (-1, 2)).T, "o", color=BAR_COLOR, markersize=3)
    return boxes


def draw_points(ax: Any, repeats: np.ndarray) -> Any:
    """The repeats, one below the other within the bar."""
    n_features, n_repeats = repeats.shape
    step = np.linspace(-0.22, 0.22, n_repeats) if n_repeats > 1 else np.zeros(1)
    places = np.arange(n_features)[:, None] + step
    return ax.scatter(
        repeats.ravel(),
        places.ravel(),
        s=12,
        color=POINT_COLOR,
        edgecolor="0.15",
        linewidth=0.4,
        zorder=2.5,
    )
