"""Partial dependence: lines, bars and contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..._drawing import check_option, require_matplotlib
from .parts import DISTINCT, checked_names, chosen_output, panel_axes, shortened
from .scales import is_number, name_categories

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PartialDependenceDisplay"]

KINDS = ("average", "individual", "both")

#: Half the length of a row's dash at a category.
DASH = 0.28

#: Length of the marks at the deciles, as a share of the axes.
RUG = 0.04


class PartialDependenceDisplay:
    r"""Average predictions with one or two features set to values of a grid.

    The partial dependence on the features S is :math:`\mathrm E_b f(x_S, b_{\bar S})`, the mean
    over the rows b with their features S replaced. One feature is drawn as a line, or as bars if it
    is no number; two as filled contours, or as a table of colours if one is no number. Panels with
    lines share the range of their vertical axes. :meth:`from_estimator` and :meth:`from_result`
    make one; parameters are stored as attributes.

    Parameters
    ----------
    results : dict or sequence of dict
        One for each panel, as ``partial_dependence`` returns them: ``"grid_values"``, one array for
        each feature; ``"average"`` of shape (n_outputs, \*grid) or ``"individual"`` of shape
        (n_outputs, n_samples, \*grid), or both; perhaps ``"feature_names"``, ``"output_names"`` and
        ``"deciles"``, those of each feature, None where it is a category.
    deciles : sequence of sequence of array-like, default=None
        For each panel the deciles of each of its features, in place of those of the results.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Figure that holds them.
    lines_ : list of matplotlib Line2D, BarContainer or None
        The averages, one for each panel; None where there are two features or none was drawn.
    individual_lines_ : list of matplotlib LineCollection or None
        Lines of single rows, one for each panel.
    contours_ : list of matplotlib ContourSet, QuadMesh or None
        Contours of two features, one for each panel.
    rugs_ : list of list of matplotlib LineCollection
        Marks at the deciles, for each panel.

    See Also
    --------
    sklearn.inspection.PartialDependenceDisplay : Of scikit-learn's estimators.

    References
    ----------
    .. [1] J. H. Friedman, "Greedy function approximation: a gradient boosting machine", Annals of
       Statistics 29, 2001, section 8.2.
    .. [2] A. Goldstein, A. Kapelner, J. Bleich and E. Pitkin, "Peeking Inside the Black Box",
       Journal of Computational and Graphical Statistics 24, 2015, section 3 (individual lines).

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.displays import PartialDependenceDisplay
    >>> result = {"grid_values": [np.array([0.0, 1.0])], "average": np.array([[2.0, 5.0]])}
    >>> display = PartialDependenceDisplay(results=result).plot()
    >>> display.lines_[0].get_ydata()
    array([2., 5.])
    """

    def __init__(
        self,
        *,
        results: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        deciles: Sequence[Any] | None = None,
    ) -> None:
        self.results = results
        self.deciles = deciles

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        features: Any,
        *,
        ax: Axes | Sequence[Axes] | None = None,
        kind: str = "average",
        output: str | int | None = None,
        max_lines: int = 100,
        line_kw: dict[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Compute the partial dependence of a fitted estimator and draw it.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows over which predictions are averaged.
        features : str, int, pair of these, or list of all of these
            Names or positions of the features, one or a pair (a tuple) for each panel.
        ax, kind, output, max_lines, line_kw
            As in :meth:`plot`; pairs of features are drawn by their average for every kind.
        **options
            Further arguments of ``partial_dependence``.

        Returns
        -------
        PartialDependenceDisplay
            The display, drawn.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        check_option("kind", kind, KINDS)
        if isinstance(features, list) and not features:
            raise ValueError("features is empty: name a feature at least")
        from ..dependence.partial import partial_dependence

        panels = features if isinstance(features, list) else [features]
        results = []
        for panel in panels:
            owned = list(panel) if isinstance(panel, tuple) else [panel]
            drawn = kind if len(owned) == 1 else "average"
            results.append(partial_dependence(estimator, X, owned, kind=drawn, **options))
        return cls(results=results).plot(
            ax, kind=kind, output=output, max_lines=max_lines, line_kw=line_kw
        )

    @classmethod
    def from_result(
        cls,
        result: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        deciles: Sequence[Any] | None = None,
        ax: Axes | Sequence[Axes] | None = None,
        kind: str = "average",
        output: str | int | None = None,
        max_lines: int = 100,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw what ``partial_dependence`` returned, ours or scikit-learn's.

        Parameters
        ----------
        result : dict or sequence of dict
            One for each panel.
        deciles : sequence of sequence of array-like, default=None
            For each panel the deciles of each of its features, in place of those of the result.
        ax, kind, output, max_lines, line_kw
            As in :meth:`plot`.

        Returns
        -------
        PartialDependenceDisplay
            The display, drawn.
        """
        return cls(results=result, deciles=deciles).plot(
            ax, kind=kind, output=output, max_lines=max_lines, line_kw=line_kw
        )

    def plot(
        self,
        ax: Axes | Sequence[Axes] | None = None,
        *,
        kind: str = "average",
        output: str | int | None = None,
        max_lines: int = 100,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of these, default=None
            Where to draw, one for each panel; by default in a new figure.
        kind : {"average", "individual", "both"}, default="average"
            Averages, lines of single rows, or both. Two features are drawn by their average.
        output : str or int, default=None
            Name of the output, or class, or else position. By default the only one, or the second
            class of two.
        max_lines : int, default=100
            How many rows have lines of their own, evenly spaced among all.
        line_kw : dict, default=None
            Further arguments of the lines of averages, for matplotlib's ``plot``.

        Returns
        -------
        PartialDependenceDisplay
            The display itself.

        Raises
        ------
        ValueError
            If an option is not one of those named, if a result lacks what is to be drawn or has
            more than two features, or if the number of axes is not that of the panels.
        TypeError
            If ``ax`` holds something else than matplotlib Axes.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        check_option("kind", kind, KINDS)
        results = [self.results] if isinstance(self.results, Mapping) else list(self.results)
        deciles = [each.get("deciles") for each in results]
        if self.deciles is not None:
            deciles = list(self.deciles)
        if not results:
            raise ValueError("results is empty, so there is nothing to draw: give a feature")
        if len(deciles) != len(results):
            raise ValueError(f"deciles are given for {len(deciles)} of {len(results)} panels")
        panels = [
            _Panel(result, marks, kind, output)
            for result, marks in zip(results, deciles, strict=True)
        ]
        self.axes_ = panel_axes(ax, len(panels))
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        self.lines_: list[Any] = []
        self.individual_lines_: list[Any] = []
        self.contours_: list[Any] = []
        for each, panel in zip(self.axes_, panels, strict=True):
            pair = len(panel.grids) == 2
            own = not pair and panel.individual is not None
            self.individual_lines_.append(panel.draw_rows(each, max_lines) if own else None)
            shown = not pair and panel.average is not None
            self.lines_.append(panel.draw_average(each, line_kw or {}) if shown else None)
            self.contours_.append(panel.draw_pair(each) if pair else None)
        _share_range([a for a, panel in zip(self.axes_, panels, strict=True) if panel.lined])
        self.rugs_ = [panel.draw_rugs(a) for a, panel in zip(self.axes_, panels, strict=True)]
        return self


class _Panel:
    """One result, and the output of it that is drawn."""

    def __init__(self, result: Mapping[str, Any], deciles: Any, kind: str, output: Any) -> None:
        self.grids = [np.asarray(grid) for grid in result["grid_values"]]
        if len(self.grids) not in (1, 2):
            raise ValueError(f"a panel shows one or two features, not {len(self.grids)}")
        self.names = checked_names(result.get("feature_names"), len(self.grids))
        wanted = {"average"} if kind == "average" or len(self.grids) == 2 else {"individual"}
        wanted |= {"average"} if kind == "both" else set()
        for missing in sorted(name for name in wanted if result.get(name) is None):
            raise ValueError(
                f"kind={kind!r} needs {missing!r}, which the result lacks: ask "
                f"partial_dependence for kind={kind!r}"
            )
        some = np.asarray(result[min(wanted)])
        own = result.get("output_names")
        outputs = (
            checked_names(own, len(some)) if own is not None else list(map(str, range(len(some))))
        )
        place = chosen_output(output, outputs)
        self.output = None if own is None else outputs[place]
        self.average = np.asarray(result["average"])[place] if "average" in wanted else None
        self.individual = (
            np.asarray(result["individual"])[place] if "individual" in wanted else None
        )
        # Numbers without deciles are codes of categories.
        self.deciles = [()] * len(self.grids) if deciles is None else list(deciles)
        self.categories = [
            None if is_number(grid) and marks is not None else list(map(_category, grid))
            for grid, marks in zip(self.grids, self.deciles, strict=True)
        ]

    @property
    def lined(self) -> bool:
        return len(self.grids) == 1

    @property
    def label(self) -> str:
        words = "prediction" if self.average is None else "average prediction"
        return words if self.output is None else f"{words} for {shortened(self.output)}"

    def places(self, axis: int) -> np.ndarray:
        """Numbers along an axis: those of the grid, or the positions of categories."""
        grid = self.grids[axis]
        if self.categories[axis] is not None:
            return np.arange(len(grid), dtype=np.float64)
        return grid.astype(np.float64)

    def draw_rows(self, ax: Any, max_lines: int) -> Any:
        """Thin lines, of rows evenly spaced among all; for categories a dash for each row."""
        from matplotlib.collections import LineCollection

        rows = self.individual
        assert rows is not None
        kept = np.unique(np.linspace(0, len(rows) - 1, min(max_lines, len(rows))).astype(int))
        x = self.places(0)
        if self.categories[0] is None:
            paths = [np.column_stack([x, row]) for row in rows[kept]]
        else:
            paths = [
                np.array([[at - DASH, value], [at + DASH, value]])
                for row in rows[kept]
                for at, value in zip(x, row, strict=True)
            ]
        lines = LineCollection(
            paths,
            colors=DISTINCT[0] if self.average is None else "0.45",
            linewidths=0.6,
            alpha=0.35,
            zorder=2.5,
        )
        ax.add_collection(lines)
        ax.autoscale_view()
        self._frame(ax)
        return lines

    def draw_average(self, ax: Any, line_kw: dict[str, Any]) -> Any:
        """A line, or bars for categories."""
        from matplotlib import cbook
        from matplotlib.lines import Line2D

        x, average = self.places(0), self.average
        self._frame(ax)
        if self.categories[0] is not None:
            return ax.bar(x, average, width=0.7, color=DISTINCT[0], alpha=0.75, zorder=2)
        own = cbook.normalize_kwargs(line_kw, Line2D)
        marker = "o" if len(x) < 4 else None
        options = {"color": DISTINCT[0], "linewidth": 2, "marker": marker, "zorder": 3, **own}
        return ax.plot(x, average, **options)[0]

    def draw_pair(self, ax: Any) -> Any:
        """Contours with their values, or a table of colours where there are categories."""
        x, y, average = self.places(0), self.places(1), self.average
        assert average is not None
        if all(names is None for names in self.categories):
            drawn = ax.contourf(x, y, average.T, levels=10, cmap="viridis")
            shades = ["white" if drawn.norm(level) < 0.5 else "0.1" for level in drawn.levels]
            lines = ax.contour(x, y, average.T, drawn.levels, colors=shades, linewidths=0.5)
            ax.clabel(lines, fontsize="x-small", inline=True)
        else:
            drawn = ax.pcolormesh(x, y, average.T, cmap="viridis", shading="nearest")
        for side, names in zip("xy", self.categories, strict=True):
            if names is not None:
                name_categories(ax, names, side)
        bar = ax.figure.colorbar(drawn, ax=ax)
        bar.set_label(self.label)
        ax.set_xlabel(shortened(self.names[0]))
        ax.set_ylabel(shortened(self.names[1]))
        return drawn

    def draw_rugs(self, ax: Any) -> list[Any]:
        """Short marks at the deciles, which leave the range of the axes as it is."""
        from matplotlib.patheffects import withStroke

        drawn = []
        for side, marks, names in zip("xy", self.deciles, self.categories, strict=False):
            if names is not None or not len(marks):
                continue
            limits = ax.get_xlim(), ax.get_ylim()
            draw = ax.vlines if side == "x" else ax.hlines
            transform = ax.get_xaxis_transform() if side == "x" else ax.get_yaxis_transform()
            lines = draw(marks, 0, RUG, transform=transform, color="0.1", linewidth=1.0, zorder=4)
            lines.set_path_effects([withStroke(linewidth=2.2, foreground="white")])
            drawn.append(lines)
            ax.set(xlim=limits[0], ylim=limits[1])
        return drawn

    def _frame(self, ax: Any) -> None:
        """Names of the axes."""
        if self.categories[0] is not None:
            name_categories(ax, self.categories[0])
        ax.set_xlabel(shortened(self.names[0]))
        ax.set_ylabel(self.label)
        ax.spines[["top", "right"]].set_visible(False)


def _category(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shortened(value)


def _share_range(axes: list[Any]) -> None:
    """One range for the predictions of all panels with lines, so that they compare."""
    if axes:
        limits = np.array([ax.get_ylim() for ax in axes])
        for ax in axes:
            ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())
