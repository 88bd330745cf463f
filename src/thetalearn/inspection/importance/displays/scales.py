"""Colours and axes for what a column holds: numbers or categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .parts import DISTINCT, GREY, short_names, shortened

#: Per cent of the numbers beyond which colours do not change, on either side.
TAIL = 5

#: Inches that a letter takes below an axis, and names that may be tilted rather than upright.
LETTER, FEW_NAMES = 0.09, 6

#: Share of the colour map in use; the rest is too light on white.
LIGHTEST = 0.9


@dataclass(frozen=True)
class ColorScale:
    """Numbers, and the names of the categories that they stand for, if they do."""

    values: np.ndarray
    names: list[str] | None

    @classmethod
    def of(cls, codes: Any, texts: Any) -> Self:
        """Of a column of numbers, or of one with a text for each code."""
        if texts is None or is_number(texts):
            return cls(np.asarray(codes if texts is None else texts, dtype=np.float64), None)
        texts = np.array([str(text) for text in texts])
        if is_number(codes):
            codes = np.where(np.isnan(np.asarray(codes, dtype=np.float64)), np.inf, codes)
            firsts = {text: float(code) for text, code in zip(texts, codes, strict=True)}
            names = sorted(firsts, key=firsts.__getitem__)
        else:
            names = sorted(set(texts))
        places = {name: float(place) for place, name in enumerate(names)}
        return cls(np.array([places[text] for text in texts]), names)

    def colors(self, low: float | None = None, high: float | None = None) -> dict[str, Any]:
        """Arguments of matplotlib's ``scatter``."""
        from matplotlib import colormaps
        from matplotlib.colors import LinearSegmentedColormap

        if self.names is not None:
            if len(self.names) > len(DISTINCT):
                return {"color": GREY}
            return {"color": [DISTINCT[int(place)] for place in self.values]}
        if low is None or high is None:
            low, high = color_range(self.values)
        shades = colormaps["viridis"](np.linspace(0, LIGHTEST, 256))
        cmap = LinearSegmentedColormap.from_list("viridis_dark", shades).with_extremes(bad=GREY)
        values = np.ma.masked_invalid(self.values)
        return {"c": values, "cmap": cmap, "vmin": low, "vmax": high, "plotnonfinite": True}

    def draw_legend(self, ax: Any, points: Any, title: str) -> Any:
        """A colour bar, which is returned, or the names of the categories."""
        from matplotlib.lines import Line2D

        title = shortened(title)
        if self.names is None:
            bar = ax.figure.colorbar(points, ax=ax, aspect=40, pad=0.02, extend="neither")
            bar.set_label(title)
            bar.outline.set_visible(False)
            return bar
        if len(self.names) <= len(DISTINCT):
            handles = [
                Line2D([], [], marker="o", linestyle="", color=color, label=name)
                for color, name in zip(DISTINCT, short_names(self.names), strict=False)
            ]
        else:
            label = f"{len(self.names)} categories"
            handles = [Line2D([], [], marker="o", linestyle="", color=GREY, label=label)]
        ax.legend(
            handles=handles,
            title=title,
            loc="upper left",
            bbox_to_anchor=(1.01, 1),
            frameon=False,
            fontsize="small",
        )
        return None

    def name_axis(self, ax: Any) -> None:
        """Write the categories below the axis."""
        name_categories(ax, short_names(self.names or ()))


def name_categories(ax: Any, names: list[str], side: str = "x") -> None:
    """Ticks for categories, tilted or upright where they would touch."""
    getattr(ax, f"set_{side}ticks")(range(len(names)), names)
    inches = ax.get_window_extent().width / ax.figure.dpi
    if side == "x" and LETTER * sum(len(name) + 1 for name in names) > inches:
        few = len(names) <= FEW_NAMES
        for label in ax.get_xticklabels():
            label.set(rotation=30 if few else 90, rotation_mode="anchor", ha="right")
            label.set_va("center" if not few else "top")


def is_number(values: Any) -> bool:
    """Whether all values are numbers."""
    try:
        np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    kinds = np.asarray(values)
    return kinds.dtype.kind != "U" and not any(
        isinstance(each, str) for each in (kinds.flat if kinds.dtype.kind == "O" else ())
    )


def color_range(values: np.ndarray) -> tuple[float, float]:
    """Between which numbers colours change."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = np.percentile(finite, [TAIL, 100 - TAIL])
    if low == high:
        low, high = finite.min(), finite.max()
    return float(low), float(high)
