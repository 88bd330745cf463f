"""SAGE values as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..._drawing import checked_axes, require_matplotlib
from .bars import bars_size, checked_bounds, draw_bars, frame_bars, largest_first
from .parts import checked_count, checked_names, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SageDisplay"]


class SageDisplay:
    """SAGE values, the largest on top, with their intervals.

    A bar is the part of the reduction of the expected loss that a feature takes; the bars of all
    features add up to ``total``. :meth:`from_estimator` and :meth:`from_result` make one;
    parameters are stored as attributes.

    Parameters
    ----------
    values : array-like of shape (n_features,)
        SAGE values, in units of the loss.
    ci : array-like of shape (n_features, 2), default=None
        Lower and upper bounds; None draws no intervals.
    feature_names : sequence of length n_features, default=None
        Names; by default ``"x0"``, ``"x1"`` and so on.
    loss : str, default=None
        Name of the loss, for the axis; "accuracy" for values that share the accuracy.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the bars.
    figure_ : matplotlib Figure
        Figure that holds them.
    order_ : ndarray of shape (n_drawn,)
        Positions of the features drawn, from top to bottom.
    bars_ : matplotlib BarContainer
        The bars.
    intervals_ : matplotlib LineCollection or None
        The intervals.
    zero_line_ : matplotlib Line2D
        Vertical line at zero.

    See Also
    --------
    PermutationImportanceDisplay : What the score loses when one feature is permuted.

    References
    ----------
    .. [1] I. Covert, S. Lundberg and S.-I. Lee, "Understanding Global Feature Contributions With
       Additive Importance Measures", Advances in Neural Information Processing Systems 33, 2020,
       section 3.

    Examples
    --------
    >>> from thetalearn.inspection.importance.displays import SageDisplay
    >>> display = SageDisplay(values=[0.5, 2.0], feature_names=["age", "income"]).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['income', 'age']
    """

    def __init__(
        self,
        *,
        values: Any,
        ci: Any = None,
        feature_names: Sequence[Any] | None = None,
        loss: str | None = None,
    ) -> None:
        self.values = values
        self.ci = ci
        self.feature_names = feature_names
        self.loss = loss

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        ax: Axes | None = None,
        max_features: int | None = 20,
        bar_kw: dict[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Compute the SAGE values of a fitted estimator and draw them.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows, held out rather than those of the fit.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        ax, max_features, bar_kw
            As in :meth:`plot`.
        **options
            Further arguments of ``sage_values``.

        Returns
        -------
        SageDisplay
            The display, drawn.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        checked_count(max_features, 1)
        from ..sage.values import sage_values

        result = sage_values(estimator, X, y, **options)
        return cls.from_result(result, ax=ax, max_features=max_features, bar_kw=bar_kw)

    @classmethod
    def from_result(
        cls,
        result: Mapping[str, Any],
        *,
        feature_names: Sequence[Any] | None = None,
        ax: Axes | None = None,
        max_features: int | None = 20,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw what ``sage_values`` or ``accuracy_shapley_values`` returned.

        Parameters
        ----------
        result : dict
            With ``"values"``, and perhaps ``"ci"``, ``"feature_names"`` and ``"loss"``. Of the
            accuracy, intervals are ``"mc_ci"``, of sampled values.
        feature_names : sequence of length n_features, default=None
            Names in place of those of the result.
        ax, max_features, bar_kw
            As in :meth:`plot`.

        Returns
        -------
        SageDisplay
            The display, drawn.
        """
        names = result.get("feature_names") if feature_names is None else feature_names
        loss, ci = result.get("loss"), result.get("ci")
        if loss is None and "baseline_score" in result:
            loss = "accuracy"
            ci = None if result.get("method") == "exact" else result.get("mc_ci")
        display = cls(
            values=result["values"],
            ci=ci,
            feature_names=names,
            loss=loss if isinstance(loss, str) else None,
        )
        return display.plot(ax, max_features=max_features, bar_kw=bar_kw)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        max_features: int | None = 20,
        bar_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default in a new figure as high as the bars need.
        max_features : int or None, default=20
            How many features to draw, those with the largest values; None draws all.
        bar_kw : dict, default=None
            Further arguments of the bars, for matplotlib's ``barh``.

        Returns
        -------
        SageDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the shapes of the values, intervals and names do not fit together.
        TypeError
            If ``ax`` is not a matplotlib Axes.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        checked_count(max_features, 1)
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 1:
            raise ValueError(f"values has shape {values.shape}, expected (n_features,)")
        names = checked_names(self.feature_names, len(values))
        bounds = checked_bounds(self.ci, len(values))
        self.order_ = largest_first(values, checked_count(max_features, len(values)))
        self.ax_ = ax = checked_axes(ax, bars_size(len(self.order_)))
        self.figure_ = ax.figure
        bounds = None if bounds is None else bounds[self.order_]
        self.bars_, self.intervals_ = draw_bars(ax, values[self.order_], bounds, bar_kw)
        self.zero_line_ = frame_bars(ax, [names[place] for place in self.order_], len(names))
        if self.loss == "accuracy":
            ax.set_xlabel("gain in accuracy (Shapley value)")
            return self
        loss = "expected loss" if self.loss is None else shortened(self.loss.replace("_", " "))
        ax.set_xlabel(f"reduction of {loss} (SAGE value)")
        return self
