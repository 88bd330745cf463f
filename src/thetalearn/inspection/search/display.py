"""What a search found: scores against one or two of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from .._drawing import check_option, checked_axes, require_matplotlib
from .candidates import Candidates, ParameterAxis
from .panels import LinePanel, MapPanel, Panel, ScatterPanel, map_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SearchDisplay"]

KINDS = ("auto", "line", "scatter", "heatmap")
SPREADS = ("auto", "std", "folds", "none")
OTHERS = ("auto", "lines", "best")

#: Lines at most that are drawn for values of further parameters.
FEW = 6


class SearchDisplay:
    """Scores of a search against one or two of the parameters that it tried.

    Against one parameter a line shows the mean test score and a band one standard deviation over
    the folds around it; with few combinations of further parameters each has its line, otherwise
    the line is the best over them, which the figure says. Against two parameters a table of colours
    shows the mean test scores. Candidates that were drawn at random, so that hardly any value was
    tried twice, are points. The best candidate is marked. Of a halving search each iteration has
    its line, and in a table each candidate its score in its last iteration. :meth:`from_search`
    makes a display; parameters are stored as attributes.

    Parameters
    ----------
    cv_results : mapping
        As in ``cv_results_`` of a search.
    scoring : str, default=None
        Which of several metrics to draw: what follows ``"mean_test_"``. None takes the only one.
    best_index : int, default=None
        The candidate to mark; by default the one with the best mean test score, in a halving search
        of its last iteration.
    score_name : str, default=None
        Name of the score; by default that of the metric.
    negate_score : bool, default=False
        Whether to draw minus the score, such as the error of ``"neg_mean_squared_error"``.
    resource : str, default="resources"
        What a halving search increases, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the scores.
    figure_ : matplotlib Figure
        Figure that holds them.
    params_ : tuple of str
        Full names of the parameters on the axes.
    kind_ : {"line", "scatter", "heatmap"}
        What was drawn.
    lines_ : dict of str to matplotlib Line2D
        Mean test scores, under the values of further parameters or the resources of an iteration;
        ``"test"`` if there is one line only.
    train_lines_ : dict of str to matplotlib Line2D
        Mean training scores, under the same names.
    spreads_ : list of matplotlib PolyCollection or LineCollection
        Bands, bars or single folds around the lines.
    points_ : matplotlib PathCollection or None
        Candidates as points.
    image_ : matplotlib QuadMesh or None
        The table of colours.
    texts_ : dict of (int, int) to matplotlib Text
        What is written in the cells of the table, by column and row.
    colorbar_ : matplotlib Colorbar or None
        What the colours mean.
    best_ : matplotlib Artist or None
        The mark of the best candidate; None if all scores are NaN.
    note_ : str
        What the figure leaves out, in the words written above it.

    See Also
    --------
    sklearn.model_selection.ValidationCurveDisplay : Computes scores for one parameter.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn import SearchDisplay
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.1, 1.9, 3.0]
    >>> search = GridSearchCV(LinearRegressor(), {"alpha": [0.01, 0.1, 1.0]}, cv=2).fit(X, y)
    >>> display = SearchDisplay.from_search(search)
    >>> display.params_, display.ax_.get_xscale(), display.ax_.get_ylabel()
    (('alpha',), 'log', 'R²')
    """

    def __init__(
        self,
        *,
        cv_results: Mapping[str, Any],
        scoring: str | None = None,
        best_index: int | None = None,
        score_name: str | None = None,
        negate_score: bool = False,
        resource: str = "resources",
    ) -> None:
        self.cv_results = cv_results
        self.scoring = scoring
        self.best_index = best_index
        self.score_name = score_name
        self.negate_score = negate_score
        self.resource = resource

    @classmethod
    def from_search(
        cls,
        search: Any,
        params: str | Sequence[str] | None = None,
        *,
        scoring: str | None = None,
        ax: Axes | None = None,
        kind: str = "auto",
        others: str = "auto",
        spread: str = "auto",
        score_name: str | None = None,
        negate_score: bool = False,
        line_kw: dict[str, Any] | None = None,
        image_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw a fitted search, ours or scikit-learn's.

        Parameters
        ----------
        search : estimator
            Fitted, with ``cv_results_``: grid, randomized or halving.
        params : str or sequence of one or two str, default=None
            As in :meth:`plot`.
        scoring : str, default=None
            Which of several metrics to draw; by default the one that ``refit`` names.
        ax, kind, others, spread, line_kw, image_kw
            As in :meth:`plot`.
        score_name : str, default=None
            Name of the score; by default that of the metric.
        negate_score : bool, default=False
            Whether to draw minus the score, such as the error of ``"neg_mean_squared_error"``.

        Returns
        -------
        SearchDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the search has not been fitted.
        ValueError
            As in :meth:`plot`.
        """
        require_matplotlib(f"{cls.__name__}.from_search")
        if not hasattr(search, "cv_results_"):
            check_is_fitted(search)
            raise ValueError(
                f"{type(search).__name__} keeps no cv_results_: give a fitted search, such as "
                "GridSearchCV"
            )
        refit = getattr(search, "refit", None)
        metric = refit if scoring is None and isinstance(refit, str) else scoring
        metric = metric if getattr(search, "multimetric_", False) else None
        if scoring is not None and metric is None and scoring != getattr(search, "scoring", None):
            metric = scoring
        best = getattr(search, "best_index_", None)
        chosen_by = refit if isinstance(refit, str) else None
        display = cls(
            cv_results=search.cv_results_,
            scoring=metric,
            best_index=best if scoring in (None, chosen_by) or metric is None else None,
            score_name=score_name or _metric_name(search, metric, negate_score),
            negate_score=negate_score,
            resource=getattr(search, "resource", "resources"),
        )
        return display.plot(
            ax,
            params,
            kind=kind,
            others=others,
            spread=spread,
            line_kw=line_kw,
            image_kw=image_kw,
        )

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        params: str | Sequence[str] | None = None,
        *,
        scoring: str | None = None,
        best_index: int | None = None,
        score_name: str | None = None,
        negate_score: bool = False,
        resource: str = "resources",
        ax: Axes | None = None,
        kind: str = "auto",
        others: str = "auto",
        spread: str = "auto",
        line_kw: dict[str, Any] | None = None,
        image_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the results of a search, as a dict or a DataFrame.

        Parameters
        ----------
        cv_results : mapping
            As in ``cv_results_``.
        params : str or sequence of one or two str, default=None
            As in :meth:`plot`.
        scoring, best_index, score_name, negate_score, resource
            As for the class.
        ax, kind, others, spread, line_kw, image_kw
            As in :meth:`plot`.

        Returns
        -------
        SearchDisplay
            The display, drawn.
        """
        display = cls(
            cv_results=cv_results,
            scoring=scoring,
            best_index=best_index,
            score_name=score_name,
            negate_score=negate_score,
            resource=resource,
        )
        return display.plot(
            ax,
            params,
            kind=kind,
            others=others,
            spread=spread,
            line_kw=line_kw,
            image_kw=image_kw,
        )

    def plot(
        self,
        ax: Axes | None = None,
        params: str | Sequence[str] | None = None,
        *,
        kind: str = "auto",
        others: str = "auto",
        spread: str = "auto",
        line_kw: dict[str, Any] | None = None,
        image_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure.
        params : str or sequence of one or two str, default=None
            Which parameters to draw against, by their full names or what follows the last ``__``.
            By default those with more than one value; of more than two, those with most values.
        kind : {"auto", "line", "scatter", "heatmap"}, default="auto"
            A line or points for one parameter, a table of colours or coloured points for two.
            "auto" takes points where hardly any value was tried twice.
        others : {"auto", "lines", "best"}, default="auto"
            What becomes of further parameters that vary: a line for each of their combinations, or
            the best candidate over them. "auto" draws lines for up to six combinations.
        spread : {"auto", "std", "folds", "none"}, default="auto"
            How scores differ between folds: one standard deviation on either side, or a point for
            each fold. In a table "auto" and "std" write the standard deviation where there is room.
        line_kw : dict, default=None
            Further arguments of the lines, for matplotlib's ``plot``.
        image_kw : dict, default=None
            Further arguments of the table, for matplotlib's ``pcolormesh``.

        Returns
        -------
        SearchDisplay
            The display itself.

        Raises
        ------
        ValueError
            If an option is not one of those named, if a parameter was not searched, if there are
            several metrics and none is named, or if no parameter was searched at all.
        TypeError
            If ``ax`` is not a matplotlib Axes.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        check_option("kind", kind, KINDS)
        check_option("others", others, OTHERS)
        check_option("spread", spread, SPREADS)
        metric = _checked_metric(self.cv_results, self.scoring)
        candidates = Candidates(self.cv_results, metric, -1 if self.negate_score else 1)
        self.params_ = _chosen_params(candidates, params)
        axes = [ParameterAxis(candidates, name) for name in self.params_]
        self.kind_ = _checked_kind(kind, candidates, axes, self.params_)
        size = map_size(*axes) if self.kind_ == "heatmap" else None
        self.ax_ = checked_axes(ax, size)
        self.figure_ = self.ax_.figure
        panel = self._panel(candidates, axes, others)
        best = candidates.best() if self.best_index is None else int(self.best_index)
        panel.draw(best, spread, dict(line_kw or {}), dict(image_kw or {}))
        self.lines_, self.train_lines_ = panel.lines, panel.train_lines
        self.spreads_, self.points_ = panel.spreads, panel.points
        self.image_, self.texts_, self.colorbar_ = panel.image, panel.texts, panel.colorbar
        self.best_, self.note_ = panel.best, panel.note
        return self

    def _panel(self, candidates: Candidates, axes: list[ParameterAxis], others: str) -> Panel:
        """What draws the scores."""
        rows = _with_values(axes)
        further = [name for name in candidates.varying(rows) if name not in self.params_]
        label = self.score_name or _words(_checked_metric(self.cv_results, self.scoring))
        kinds: dict[str, type[Panel]] = {
            "line": LinePanel,
            "scatter": ScatterPanel,
            "heatmap": MapPanel,
        }
        panel = kinds[self.kind_](self.ax_, candidates, axes, label, further)
        if self.kind_ == "line" and candidates.iterations is not None:
            panel.split_by_iteration(rows, self.resource)
            return panel
        if candidates.iterations is not None:
            rows = _last_iterations(candidates, rows)
            panel.remark("each candidate in its last iteration")
        combinations = candidates.groups(rows, further)
        each = others == "lines" or (others == "auto" and 1 < len(combinations) <= FEW)
        if self.kind_ == "line" and further and each:
            panel.split_by(combinations, further)
        else:
            panel.keep_best(rows, further)
        return panel


def _metric_name(search: Any, metric: str | None, negate: bool) -> str | None:
    """What the score of a search is called; None leaves it to the metric."""
    scoring = metric or getattr(search, "scoring", None)
    if isinstance(scoring, str):
        return _words(scoring, negate)
    if scoring is not None:
        return None
    estimator = getattr(search, "estimator", None)
    name = "accuracy" if is_classifier(estimator) else "R²" if is_regressor(estimator) else None
    return name if name is None or not negate else f"negative {name}"


def _words(metric: str, negate: bool = False) -> str:
    """A metric in words, with its sign."""
    name = "R²" if metric == "r2" else metric.replace("_", " ")
    if name.startswith("neg "):
        return name[4:] if negate else f"negative {name[4:]}"
    return f"negative {name}" if negate else name


def _checked_metric(cv_results: Mapping[str, Any], scoring: str | None) -> str:
    """The name of a metric behind ``"mean_test_"``."""
    prefix = "mean_test_"
    metrics = [name[len(prefix) :] for name in cv_results if str(name).startswith(prefix)]
    if not metrics or "params" not in cv_results:
        raise ValueError("cv_results must hold 'params' and 'mean_test_score' at least")
    if scoring in metrics:
        return str(scoring)
    names = ", ".join(map(repr, metrics))
    if scoring is not None:
        raise ValueError(f"scoring={scoring!r} was not computed: choose from {names}")
    if len(metrics) > 1:
        raise ValueError(f"scoring must be given, as there are several metrics: one of {names}")
    return metrics[0]


def _chosen_params(candidates: Candidates, params: Any) -> tuple[str, ...]:
    """Full names of the one or two parameters to draw against."""
    if params is None:
        if not candidates.names:
            raise ValueError("the candidates have no parameters, so there is nothing to draw")
        varying = candidates.varying() or candidates.names[:1]
        return tuple(name for name in candidates.names if name in varying[:2])
    chosen = [params] if isinstance(params, str) else list(params)
    names = tuple(candidates.named(str(name)) for name in chosen)
    if len(names) not in (1, 2) or len(set(names)) < len(names):
        raise ValueError(f"params={params!r} must name one parameter, or two different ones")
    return names


def _checked_kind(
    kind: str, candidates: Candidates, axes: list[ParameterAxis], params: tuple[str, ...]
) -> str:
    """What to draw."""
    wrong = "heatmap" if len(axes) == 1 else "line"
    if kind == wrong:
        raise ValueError(f"kind={kind!r} does not go with {len(axes)} parameter(s)")
    if kind != "auto":
        return kind
    rows = _with_values(axes)
    n_candidates = len({repr(candidates.params[row]) for row in rows})
    if len(axes) == 2:
        tried = len(set(zip(axes[0].cells[rows], axes[1].cells[rows], strict=True)))
        grid = len(axes[0].labels) * len(axes[1].labels)
        return "heatmap" if 2 * tried > grid else "scatter"
    alone = set(candidates.varying(rows)) <= set(params)
    return "line" if alone or 2 * len(axes[0].labels) <= n_candidates else "scatter"


def _with_values(axes: list[ParameterAxis]) -> np.ndarray:
    """Candidates that have a value of every parameter drawn."""
    return np.flatnonzero(np.all([axis.cells >= 0 for axis in axes], axis=0))


def _last_iterations(candidates: Candidates, rows: np.ndarray) -> np.ndarray:
    """Of the rows of each candidate the last."""
    names = candidates.names
    return np.sort([group[-1] for group in candidates.groups(rows, names).values()])
