"""How a fit went: losses, scores and learning rate by iteration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._drawing import check_option, checked_axes, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TrainingDisplay"]

Curve = tuple[np.ndarray, np.ndarray]

#: What to draw on the left, in order of preference; without any of it, all that is there.
PROGRESS = (("loss", "validation_loss"), ("mistakes", "errors"), ("dual_gap",))

SCORE_COLOR = "C2"

#: With fewer iterations than this, each gets a marker.
FEW = 30

#: Inches that a name takes in the legend.
ENTRY = 1.1

EMPTY = (np.empty(0), np.empty(0))


class TrainingDisplay:
    """Losses, scores and learning rate of a fit, by iteration.

    Losses are drawn on the left, a validation score on the right, and a learning rate that changed
    in a panel below. A vertical line marks the iteration with the best validation score; with
    ``early_stopping`` its parameters are kept. :meth:`from_estimator` makes one; parameters are
    stored as attributes.

    Parameters
    ----------
    history : sequence of dict
        One record an iteration, as in ``history_``: with the key ``"iteration"``, and some of
        ``"loss"``, ``"validation_loss"``, ``"validation_score"``, ``"learning_rate"``,
        ``"seconds"``, and measures of an estimator's own.
    step_name : str, default="iteration"
        What an iteration is called on the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the losses.
    axes_ : dict of str to matplotlib Axes
        All axes: ``"loss"``, also of what an estimator without a loss reports in its place;
        ``"score"``, if there are validation scores; ``"learning_rate"``, if it changed.
    figure_ : matplotlib Figure
        Figure that holds them.
    lines_ : dict of str to matplotlib Line2D
        The curves, under the names of what they show in ``history``.
    best_line_ : matplotlib Line2D or None
        Vertical line at the iteration with the best validation score, the first if several are
        equally good; None without validation scores.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores by the number of rows.

    Examples
    --------
    >>> from thetalearn import LogisticClassifier
    >>> from thetalearn.inspection.training import TrainingDisplay
    >>> model = LogisticClassifier().fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    >>> display = TrainingDisplay.from_estimator(model)
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('iteration', 'loss')
    >>> len(display.lines_["loss"].get_ydata()) == model.n_iter_
    True
    """

    def __init__(
        self, *, history: Sequence[Mapping[str, float]], step_name: str = "iteration"
    ) -> None:
        self.history = history
        self.step_name = step_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Axes | None = None,
        x: str = "iteration",
        loss_scale: str = "auto",
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            With ``history_``. Of a pipeline the last step is taken, of a search the best estimator.
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure. If the learning rate changed, the axes give
            their lower part to it.
        x : {"iteration", "seconds"}, default="iteration"
            What to draw against.
        loss_scale : {"auto", "linear", "log"}, default="auto"
            Scale of the loss; "auto" takes the logarithm if all losses are positive and span more
            than a decade.
        line_kw : dict, default=None
            Further arguments of every curve, for matplotlib's ``plot``.

        Returns
        -------
        TrainingDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it keeps no ``history_``, or if this holds nothing to draw.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        model = _last_step(estimator)
        if not hasattr(model, "history_"):
            check_is_fitted(model)
            raise ValueError(
                f"{type(model).__name__} keeps no history_: {cls.__name__} draws estimators that "
                "are fitted by iterations, such as LogisticClassifier, and pipelines and searches "
                "(refit=True) that end in one"
            )
        if len(model.history_) == 0:
            raise ValueError(
                f"history_ of {type(model).__name__} is empty: its fit took no iterations, so "
                "there is nothing to draw"
            )
        step_name = "epoch" if hasattr(model, "loss_curve_") else "iteration"
        display = cls(history=model.history_, step_name=step_name)
        return display.plot(ax, x=x, loss_scale=loss_scale, line_kw=line_kw)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        x: str = "iteration",
        loss_scale: str = "auto",
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure. If the learning rate changed, the axes give
            their lower part to it.
        x : {"iteration", "seconds"}, default="iteration"
            What to draw against.
        loss_scale : {"auto", "linear", "log"}, default="auto"
            Scale of the loss; "auto" takes the logarithm if all losses are positive and span more
            than a decade.
        line_kw : dict, default=None
            Further arguments of every curve, for matplotlib's ``plot``.

        Returns
        -------
        TrainingDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the history holds nothing to draw.
        TypeError
            If ``ax`` is not a matplotlib Axes.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        check_option("x", x, ("iteration", "seconds"))
        check_option("loss_scale", loss_scale, ("auto", "linear", "log"))
        curves = self._curves(x)
        left = _left(curves)
        if not left and "validation_score" not in curves:
            raise ValueError("history holds no losses, scores or other measures to draw")
        self.ax_ = ax = checked_axes(ax)
        self.figure_ = ax.figure
        self.axes_: dict[str, Any] = {"loss": ax} if left else {}
        self.lines_: dict[str, Any] = {}
        self.best_line_: Any = None
        style = _style(curves, line_kw)
        bottom = ax
        if len(set(curves.get("learning_rate", EMPTY)[1])) > 1:
            bottom = self.axes_["learning_rate"] = _panel_below(ax)
            self._draw_rate(curves["learning_rate"], style)
        if left:
            self._draw_left({name: curves[name] for name in left}, loss_scale, style)
        if "validation_score" in curves:
            self._draw_score(curves["validation_score"], x, style)
        _name_x(bottom, x, self.step_name)
        self._draw_legend()
        return self

    def _curves(self, x: str) -> dict[str, Curve]:
        """What the records hold, each from the records that hold it."""
        curves: dict[str, Curve] = {}
        for key in ("iteration", x):
            if not all(key in record for record in self.history):
                raise ValueError(f"each record of history needs the key {key!r}")
        for name in dict.fromkeys(name for record in self.history for name in record):
            if name not in ("iteration", "seconds"):
                records = [record for record in self.history if name in record]
                curves[name] = (
                    np.array([record[x] for record in records]),
                    np.array([record[name] for record in records], dtype=np.float64),
                )
        return curves

    def _draw_left(self, curves: dict[str, Curve], scale: str, style: dict[str, Any]) -> None:
        """Losses, or other measures of progress."""
        ax = self.ax_
        for (name, curve), color in zip(curves.items(), _colors(), strict=False):
            options = {"color": color, "label": _words(name), **style}
            (self.lines_[name],) = ax.plot(*curve, **options)
        values = np.concatenate([values for _, values in curves.values()])
        if scale == "log" or (scale == "auto" and _spans_a_decade(values)):
            ax.set_yscale("log", nonpositive="mask")
        losses = set(curves) <= set(PROGRESS[0])
        ax.set_ylabel("loss" if losses else ", ".join(map(_words, curves)))

    def _draw_score(self, curve: Curve, x: str, style: dict[str, Any]) -> None:
        """Validation score, and where it is best."""
        ax = self.axes_["score"] = self.ax_.twinx() if "loss" in self.axes_ else self.ax_
        options = {"color": SCORE_COLOR, "label": "validation score", **style}
        (self.lines_["validation_score"],) = ax.plot(*curve, **options)
        ax.set_ylabel("validation score")
        scored = [r for r in self.history if np.isfinite(r.get("validation_score", np.nan))]
        if scored:
            best = max(scored, key=lambda record: record["validation_score"])
            self.best_line_ = self.ax_.axvline(
                best[x],
                color="0.4",
                linewidth=0.8,
                linestyle="--",
                zorder=1,
                label=f"best {self.step_name}: {best['iteration']}",
            )

    def _draw_rate(self, curve: Curve, style: dict[str, Any]) -> None:
        """Learning rate, in steps as it is constant within an epoch."""
        ax = self.axes_["learning_rate"]
        options = {"color": "0.3", "drawstyle": "steps-mid", **style}
        (self.lines_["learning_rate"],) = ax.plot(*curve, **options)
        if _spans_a_decade(curve[1]):
            ax.set_yscale("log")
        ax.set_ylabel("learning\nrate", fontsize="small")
        self.figure_.align_ylabels([self.ax_, ax])

    def _draw_legend(self) -> None:
        """All names above the axes, where no curve can run through them."""
        handles = [line for name, line in self.lines_.items() if name != "learning_rate"]
        handles += [self.best_line_] if self.best_line_ is not None else []
        if len(handles) > 1:
            width = self.ax_.get_window_extent().width / self.figure_.dpi
            self.ax_.legend(
                handles=handles,
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
                ncols=len(handles) if width > ENTRY * len(handles) else 2,
                frameon=False,
                fontsize="small",
                columnspacing=1.2,
                handlelength=1.6,
            )


def _last_step(estimator: Any) -> Any:
    """The estimator itself, out of searches and pipelines."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        else:
            return estimator


def _left(curves: dict[str, Curve]) -> list[str]:
    """What to draw on the left."""
    for group in PROGRESS:
        if present := [name for name in group if name in curves]:
            return present
    return [name for name in curves if name not in ("learning_rate", "validation_score")]


def _panel_below(ax: Any) -> Any:
    """Cut a panel with the same x-axis off the lower part of axes."""
    spec = ax.get_subplotspec()
    if spec is not None:
        grid = spec.subgridspec(2, 1, height_ratios=(4, 1), hspace=0.04)
        ax.set_subplotspec(grid[0])
        panel = ax.figure.add_subplot(grid[1], sharex=ax)
    else:
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position((left, bottom + 0.24 * height, width, 0.76 * height))
        panel = ax.figure.add_axes((left, bottom, width, 0.2 * height), sharex=ax)
    ax.tick_params(labelbottom=False)
    return panel


def _name_x(ax: Any, x: str, step_name: str) -> None:
    """Name the x-axis, and let it count in whole iterations."""
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel(step_name if x == "iteration" else x)
    if x == "iteration":
        ax.xaxis.set_major_locator(
            MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
        )


def _style(curves: dict[str, Curve], line_kw: dict[str, Any] | None) -> dict[str, Any]:
    """What all curves share."""
    from matplotlib import cbook
    from matplotlib.lines import Line2D

    few = max(len(steps) for steps, _ in curves.values()) < FEW
    own = cbook.normalize_kwargs(line_kw or {}, Line2D)
    return {"marker": "o" if few else None, "markersize": 3.5, **own}


def _colors() -> Iterator[str]:
    """Colours of the style in use, without that of the score."""
    return (color for k in count() if (color := f"C{k}") != SCORE_COLOR)


def _spans_a_decade(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min())


def _words(name: str) -> str:
    return name.replace("_", " ")
