"""How the scores of a search are drawn: lines, points, a table of colours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .candidates import Candidates, ParameterAxis

__all__ = ["LinePanel", "MapPanel", "Panel", "ScatterPanel", "map_size"]

#: Of Okabe and Ito, which the colour-blind tell apart.
DISTINCT = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
BEST = "#d55e00"

#: Lines up to which training scores are drawn, and a band is as dark as that of one.
FEW_LINES = 3

#: Inches of a cell with its text, with a second line of it, and of a letter.
CELL, TWO_LINES, LETTER = (0.42, 0.2), 0.36, 0.085

#: Inches of a letter in the legend, and of what stands before and behind a label there.
SMALL_LETTER, ENTRY = 0.066, 0.45

#: Inches that the note takes.
NOTE = 0.19

#: Inches of a figure around its cells, and those of the cells at least and at most.
MARGIN, SMALLEST, LARGEST = (2.3, 1.3), (2.6, 2.0), (9.0, 6.5)

#: Ticks of a table at most on a side, beyond which only some values are named.
MAX_TICKS = 16


@dataclass(frozen=True)
class Series:
    """Candidates that one line connects, from left to right."""

    name: str
    rows: np.ndarray


class Panel(ABC):
    """Axes, and what is drawn on them."""

    def __init__(
        self,
        ax: Any,
        candidates: Candidates,
        axes: list[ParameterAxis],
        label: str,
        further: list[str],
    ) -> None:
        self.ax, self.candidates, self.axes, self.label = ax, candidates, axes, label
        self.further = further
        self.series: list[Series] = []
        self.lines: dict[str, Any] = {}
        self.train_lines: dict[str, Any] = {}
        self.spreads: list[Any] = []
        self.texts: dict[tuple[int, int], Any] = {}
        self.points: Any = None
        self.image: Any = None
        self.colorbar: Any = None
        self.best: Any = None
        self._remarks: list[str] = []
        self._by_iteration = False

    @property
    def note(self) -> str:
        """What the figure leaves out."""
        return "; ".join(self._remarks)

    def remark(self, text: str) -> None:
        """Add something to the words above the figure."""
        self._remarks.append(text)

    def split_by_iteration(self, rows: np.ndarray, resource: str) -> None:
        """A line for each iteration of a halving search."""
        candidates = self.candidates
        assert candidates.iterations is not None and candidates.resources is not None
        self._by_iteration = True
        for iteration in np.unique(candidates.iterations[rows]):
            inside = rows[candidates.iterations[rows] == iteration]
            name = f"{resource}={candidates.resources[inside[0]]}"
            self.series.append(Series(name, self._best_in_cells(inside)))
        self._remark_best(rows)

    def split_by(self, combinations: dict[Any, np.ndarray], names: list[str]) -> None:
        """A line for each combination of further parameters."""
        for rows in combinations.values():
            name = self.candidates.describe(int(rows[0]), names)
            self.series.append(Series(name, self._best_in_cells(rows)))

    def keep_best(self, rows: np.ndarray, further: list[str]) -> None:
        """The best candidate over further parameters at each place."""
        self.series.append(Series("test", self._best_in_cells(rows)))
        self._remark_best(rows)

    def _remark_best(self, rows: np.ndarray) -> None:
        names = [self.candidates.short(name) for name in self.further]
        if names and self._hides(rows):
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
            self.remark(f"best over {shown}")

    def _hides(self, rows: np.ndarray) -> bool:
        """Whether some candidates are not drawn."""
        return sum(len(series.rows) for series in self.series) < len(rows)

    def _best_in_cells(self, rows: np.ndarray) -> np.ndarray:
        """The best of the rows at each place, in the order of places."""
        cells = np.stack([axis.cells[rows] for axis in self.axes], axis=1)
        places, inverse = np.unique(cells, axis=0, return_inverse=True)
        groups = [rows[inverse.ravel() == i] for i in range(len(places))]
        return np.array([self.candidates.best_of(group) for group in groups], dtype=np.int64)

    def draw(
        self, best: int, spread: str, line_kw: dict[str, Any], image_kw: dict[str, Any]
    ) -> None:
        """Draw all."""
        drawn = np.concatenate([series.rows for series in self.series])
        failed = int(np.isnan(self.candidates.test.mean[drawn]).sum())
        if failed:
            self.remark(f"{failed} of {len(drawn)} without a score")
        self.draw_scores(spread, line_kw, image_kw)
        score = self.candidates.test.mean[best]
        if np.isfinite(score) and all(axis.cells[best] >= 0 for axis in self.axes):
            self.best = self.mark(best, self._best_label(best))
        self.frame()

    def _best_label(self, best: int) -> str:
        """What the legend says of the best candidate."""
        test = self.candidates.test
        return f"best: {number(test.mean[best], test.mean)} ± {number(test.std[best], test.mean)}"

    @abstractmethod
    def draw_scores(self, spread: str, line_kw: dict[str, Any], image_kw: dict[str, Any]) -> None:
        """Draw the scores of all series."""

    @abstractmethod
    def mark(self, best: int, label: str) -> Any:
        """Mark the best candidate."""

    @abstractmethod
    def frame(self) -> None:
        """Name axes, and place the legend."""

    def place_axis(self, which: int) -> None:
        """Scale, ticks and name of an axis."""
        axis, side = self.axes[which], "xy"[which]
        getattr(self.ax, f"set_{side}label")(axis.label)
        if axis.scale == "log":
            getattr(self.ax, f"set_{side}scale")("log")
        elif axis.scale == "category":
            self.name_cells(which)

    def name_cells(self, which: int, offset: float = 0.0) -> None:
        """A tick at each value, or at some, tilted where they would touch."""
        axis, side = self.axes[which], "xy"[which]
        step = -(-len(axis.labels) // MAX_TICKS)
        labels = axis.labels[::step]
        places = offset + step * np.arange(len(labels))
        getattr(self.ax, f"set_{side}ticks")(places, labels)
        inches = self.ax.get_window_extent().width / self.ax.figure.dpi
        longest = max(map(_letters, labels))
        if side == "x" and LETTER * (longest + 1) * len(axis.labels) / step > inches:
            for text in self.ax.get_xticklabels():
                text.set(rotation=35, rotation_mode="anchor", ha="right", va="top")

    def finish(self, handles: list[Any]) -> None:
        """Legend and note above the axes, where nothing runs through them."""
        from matplotlib.transforms import ScaledTranslation

        if len(handles) > 1 or self.best is not None:
            width = self.ax.get_window_extent().width / self.ax.figure.dpi
            inches = NOTE if self.note else 0.0
            above_note = ScaledTranslation(0, inches, self.ax.figure.dpi_scale_trans)
            self.ax.legend(
                handles=handles,
                loc="lower left",
                bbox_to_anchor=(0, 1),
                bbox_transform=self.ax.transAxes + above_note,
                borderaxespad=0.2,
                ncols=_n_columns([handle.get_label() for handle in handles], width),
                frameon=False,
                fontsize="small",
                columnspacing=1.2,
                handlelength=1.8,
            )
        if self.note:
            self.ax.set_title(self.note, loc="left", fontsize="small", color="0.4", pad=4)


class LinePanel(Panel):
    """Mean scores against one parameter as lines, or as bars where it has no order."""

    def draw_scores(self, spread: str, line_kw: dict[str, Any], image_kw: dict[str, Any]) -> None:
        """Draw a line for each series."""
        self.place_axis(0)
        train = self.candidates.train if len(self.series) <= FEW_LINES else None
        for place, series in enumerate(self.series):
            color = self._color(place)
            x = self._x(series.rows, place)
            self._draw_spread(series.rows, x, color, spread)
            style = {"color": color, "marker": "o", "markersize": 4, "label": series.name}
            if self._by_name():
                style["linestyle"] = ""
            y = self.candidates.test.mean[series.rows]
            (self.lines[series.name],) = self.ax.plot(x, y, **{**style, **_normal(line_kw)})
            if train is not None:
                style |= {"marker": "s", "markersize": 3, "alpha": 0.8, "label": "train"}
                style |= {} if self._by_name() else {"linestyle": "--"}
                y = train.mean[series.rows]
                (self.train_lines[series.name],) = self.ax.plot(x, y, **style, zorder=1.9)
        self._draw_failed()

    def _by_name(self) -> bool:
        """Whether places along the axis have names and no order."""
        axis = self.axes[0]
        return axis.scale == "category" and not axis.numeric

    def _color(self, place: int) -> Any:
        """Colours apart for combinations, darker and darker for iterations."""
        if not self._by_iteration:
            return DISTINCT[place % len(DISTINCT)]
        from matplotlib import colormaps

        return colormaps["viridis_r"](0.15 + 0.85 * place / max(len(self.series) - 1, 1))

    def _x(self, rows: np.ndarray, place: int) -> np.ndarray:
        """Places along the axis; side by side where several bars would cover each other."""
        x = self.axes[0].places[rows]
        apart = 0.5 / len(self.series) if self._by_name() else 0.0
        return x + apart * (place - (len(self.series) - 1) / 2)

    def _draw_spread(self, rows: np.ndarray, x: np.ndarray, color: Any, spread: str) -> None:
        """A band, bars, or a point for each fold."""
        test = self.candidates.test
        mean, std = test.mean[rows], test.std[rows]
        if spread == "folds":
            folds = test.folds[rows]
            self.spreads.append(
                self.ax.scatter(
                    np.repeat(x, folds.shape[1]), folds.ravel(), 14, color, alpha=0.45, linewidths=0
                )
            )
        elif spread != "none" and self._by_name():
            self.spreads.append(
                self.ax.vlines(x, mean - std, mean + std, color=color, linewidth=1.4, zorder=1.8)
            )
        elif spread != "none":
            alpha = 0.2 if len(self.series) <= FEW_LINES else 0.1
            self.spreads.append(
                self.ax.fill_between(
                    x, mean - std, mean + std, color=color, alpha=alpha, linewidth=0
                )
            )

    def _draw_failed(self) -> None:
        """A cross at the lower edge for each candidate without a score."""
        rows = np.concatenate([series.rows for series in self.series])
        failed = rows[np.isnan(self.candidates.test.mean[rows])]
        if len(failed):
            self.ax.plot(
                self.axes[0].places[failed],
                np.full(len(failed), 0.02),
                transform=self.ax.get_xaxis_transform(),
                color="0.4",
                marker="x",
                markersize=5,
                linestyle="",
            )

    def mark(self, best: int, label: str) -> Any:
        """A star."""
        place = next((i for i, s in enumerate(self.series) if best in s.rows), 0)
        x = self._x(np.array([best]), place)
        return _star(self.ax, x, self.candidates.test.mean[[best]], label)

    def frame(self) -> None:
        """Names of lines."""
        self.ax.set_ylabel(self.label)
        self.ax.spines[["top", "right"]].set_visible(False)
        known = [line for line in self.lines.values() if np.isfinite(line.get_ydata()).any()]
        handles = known if len(self.lines) > 1 or self.train_lines else []
        handles += list(self.train_lines.values())[:1]
        self.finish(handles + ([self.best] if self.best is not None else []))


class ScatterPanel(Panel):
    """Candidates as points, over one parameter or, in colours, over two."""

    def draw_scores(self, spread: str, line_kw: dict[str, Any], image_kw: dict[str, Any]) -> None:
        """Draw a point for each candidate."""
        test, rows = self.candidates.test, np.concatenate([s.rows for s in self.series])
        for which in range(len(self.axes)):
            self.place_axis(which)
        x, mean = self.axes[0].places[rows], test.mean[rows]
        if len(self.axes) == 1:
            if spread in ("auto", "std"):
                low, high = mean - test.std[rows], mean + test.std[rows]
                bars = self.ax.vlines(x, low, high, color=DISTINCT[0], linewidth=0.8, alpha=0.35)
                self.spreads.append(bars)
            self.points = self.ax.scatter(x, mean, 22, DISTINCT[0], linewidths=0)
            return
        y = self.axes[1].places[rows]
        options = {"cmap": "viridis", "edgecolors": "white", "linewidths": 0.5, **image_kw}
        known = np.isfinite(mean)
        self.points = self.ax.scatter(x[known], y[known], 48, mean[known], **options)
        self.ax.scatter(x[~known], y[~known], 30, "0.5", marker="x", linewidths=1)
        self.colorbar = self.ax.figure.colorbar(self.points, ax=self.ax)

    def mark(self, best: int, label: str) -> Any:
        """A star, or a ring around the point whose colour is the score."""
        places = [axis.places[[best]] for axis in self.axes]
        if len(places) == 1:
            return _star(self.ax, places[0], self.candidates.test.mean[[best]], label)
        (ring,) = self.ax.plot(
            *places,
            marker="o",
            markersize=12,
            markerfacecolor="none",
            markeredgecolor=BEST,
            markeredgewidth=2,
            linestyle="",
            label=label,
        )
        return ring

    def frame(self) -> None:
        """Name of the score."""
        if self.colorbar is None:
            self.ax.set_ylabel(self.label)
        else:
            self.colorbar.set_label(self.label)
            self.colorbar.outline.set_visible(False)
        self.ax.spines[["top", "right"]].set_visible(False)
        self.finish([self.best] if self.best is not None else [])


class MapPanel(Panel):
    """Mean scores over two parameters as a table of colours."""

    def draw_scores(self, spread: str, line_kw: dict[str, Any], image_kw: dict[str, Any]) -> None:
        """Draw a cell for each pair of values."""
        rows = np.concatenate([series.rows for series in self.series])
        columns, lines = (axis.cells for axis in self.axes)
        shape = len(self.axes[1].labels), len(self.axes[0].labels)
        table = np.full(shape, np.nan)
        table[lines[rows], columns[rows]] = self.candidates.test.mean[rows]
        options = {"cmap": "viridis", "edgecolors": "white", "linewidth": 0.5, **image_kw}
        self.ax.set_facecolor("0.9")
        self.image = self.ax.pcolormesh(np.ma.masked_invalid(table), **options)
        self.ax.set(xticks=[], yticks=[])
        self.colorbar = self.ax.figure.colorbar(self.image, ax=self.ax)
        self.colorbar.set_label(self.label)
        self.colorbar.outline.set_visible(False)
        self.ax.spines[:].set_visible(False)
        self.ax.tick_params(length=0)
        self._write(rows, shape, spread in ("auto", "std"))

    def _write(self, rows: np.ndarray, shape: tuple[int, int], with_std: bool) -> None:
        """Scores in the cells, if there is room."""
        test = self.candidates.test
        self.ax.figure.draw_without_rendering()  # so that the axes leave room for the colour bar
        box = self.ax.get_window_extent()
        width, height = np.array([box.width / shape[1], box.height / shape[0]]) / (
            self.ax.figure.dpi
        )
        written = [number(mean, test.mean) for mean in test.mean[rows]]
        longest = max(map(len, written))
        if width < max(CELL[0], LETTER * longest) or height < CELL[1]:
            return
        if with_std and height >= TWO_LINES and width >= LETTER * (longest + 1):
            written = [
                f"{text}\n±{number(std, test.mean)}" if np.isfinite(mean) else text
                for text, mean, std in zip(written, test.mean[rows], test.std[rows], strict=True)
            ]
        for row, text in zip(rows, written, strict=True):
            cell = int(self.axes[0].cells[row]), int(self.axes[1].cells[row])
            self.texts[cell] = self.ax.text(
                cell[0] + 0.5,
                cell[1] + 0.5,
                text,
                ha="center",
                va="center",
                fontsize="small",
                color=self._ink(test.mean[row]),
            )

    def _ink(self, score: float) -> str:
        """Black on light cells, white on dark ones."""
        if not np.isfinite(score):
            return "0.4"
        red, green, blue, _ = self.image.cmap(self.image.norm(score))
        return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"

    def mark(self, best: int, label: str) -> Any:
        """A frame."""
        from matplotlib.patches import Rectangle

        corner = tuple(axis.cells[best] for axis in self.axes)
        frame = Rectangle(corner, 1, 1, fill=False, edgecolor=BEST, linewidth=2.5, label=label)
        frame.set(clip_on=False, zorder=4)
        return self.ax.add_patch(frame)

    def frame(self) -> None:
        """Names of cells."""
        for which, axis in enumerate(self.axes):
            getattr(self.ax, f"set_{'xy'[which]}label")(axis.label)
            self.name_cells(which, 0.5)
        self.finish([self.best] if self.best is not None else [])


def map_size(x: ParameterAxis, y: ParameterAxis) -> tuple[float, float]:
    """Inches of a figure with room for every cell."""
    cells = 0.62 * len(x.labels), 0.44 * len(y.labels)
    inner = np.clip(cells, SMALLEST, LARGEST)
    names = LETTER * max(map(_letters, y.labels))
    return float(inner[0] + MARGIN[0] + min(names, 1.5)), float(inner[1] + MARGIN[1])


def number(value: float, among: np.ndarray) -> str:
    """A score with as many decimals as its fellows need."""
    if not np.isfinite(value):
        return "–"
    largest = float(np.nanmax(np.abs(among), initial=1e-12))
    if not 1e-3 <= largest < 1e5:
        return f"{value:.2e}"
    return f"{value:.{int(np.clip(3 - np.floor(np.log10(max(largest, 1))), 0, 3))}f}"


def _star(ax: Any, x: Any, y: Any, label: str) -> Any:
    (star,) = ax.plot(
        x,
        y,
        marker="*",
        markersize=13,
        markerfacecolor="0.1",
        markeredgecolor="white",
        linestyle="",
        label=label,
        zorder=5,
    )
    return star


def _normal(line_kw: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a line by their full names."""
    from matplotlib import cbook
    from matplotlib.lines import Line2D

    return dict(cbook.normalize_kwargs(line_kw, Line2D))


def _n_columns(labels: list[str], width: float) -> int:
    """Columns of a legend that fit into so many inches, filled as matplotlib does."""
    sizes = np.array([ENTRY + SMALL_LETTER * _letters(label) for label in labels])
    for n_columns in range(len(labels), 1, -1):
        if sum(column.max() for column in np.array_split(sizes, n_columns)) <= width:
            return n_columns
    return 1


def _letters(text: str) -> int:
    """Letters that a label takes; mathematical ones are written with more than are seen."""
    return len(text) - 5 if text.startswith("$") else len(text)
