"""Predictions as a function of some columns, the others averaged over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from torch import Tensor

from ....representations.forms import ProductForm, SumForm
from ....threads import threads_for
from ..games.closed import AdditiveGame, ProductGame
from ..games.game import BUDGET, Game, OpaqueGame, SumGame, pieces
from ..games.setup import encoded_columns, game_rows, make_game
from ..model.model import Model, model_of
from ..model.players import resolve_players
from ..model.tables import as_table, mixed, stacked, taken
from ..sage.accuracy import label_shares
from ..sage.results import check_dtype, row_weights
from .grids import Axis, axes_of, replaced

__all__ = ["partial_dependence", "projections"]

KINDS = ("average", "individual", "both")


def partial_dependence(
    estimator: Any,
    X: ArrayLike,
    features: Any,
    *,
    sample_weight: ArrayLike | None = None,
    categorical_features: Any = None,
    response_method: str = "auto",
    percentiles: tuple[float, float] = (0.05, 0.95),
    grid_resolution: int = 100,
    kind: str = "average",
    custom_values: Mapping[Any, ArrayLike] | None = None,
    dtype: str = "auto",
    memory_budget: int = BUDGET,
) -> Bunch:
    r"""Mean prediction of all rows, with some features set to the points of a grid.

    At a point :math:`x_F` of the grid the partial dependence is
    :math:`\sum_i w_i f(x_F, x_{i,-F})`, as ``sklearn.inspection.partial_dependence`` with
    ``method="brute"`` gives it. For sums and sums of products of functions of single columns the
    cost is that of the grid and of the rows one after the other, not of all their pairs; a network
    computes its first layer once for each of them.

    Parameters
    ----------
    estimator : estimator or callable
        A fitted estimator, pipeline or search, or a function from rows to an array (n,) or (n, m).
    X : array-like or data frame of shape (n_samples, n_features)
        Rows to average over, from which the grid is made too.
    features : int, str, or sequence of these or of bools
        One feature or several, by position or name; the grid is their product.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the average; equal by default.
    categorical_features : sequence of int, str or bool, default=None
        Features of which the grid has all values that occur. Columns that are not numbers are
        such anyhow.
    response_method : {"auto", "predict", "predict_proba", "decision_function"}, default="auto"
        What is predicted. "auto" takes ``predict_proba`` of a classifier, else its
        ``decision_function``, and ``predict`` of anything else.
    percentiles : tuple of float, default=(0.05, 0.95)
        Shares of the values of a feature below the ends of its grid, in [0, 1].
    grid_resolution : int, default=100
        Points of the grid along each feature, evenly spaced. A feature with fewer different values
        has these as its grid.
    kind : {"average", "individual", "both"}, default="average"
        Whether to give the mean, the predictions of all rows (individual conditional
        expectations), or both.
    custom_values : dict from int or str to array-like, default=None
        Grids of features, in place of those from X.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision in which networks and other functions of sums are evaluated.
    memory_budget : int, default=2**28
        Bytes that the computation may take, besides the data and the result.

    Returns
    -------
    Bunch
        grid_values : list of ndarray
            Grid of each feature.
        average : ndarray of shape (n_outputs, len(grid_values[0]), ...)
            Means, unless ``kind="individual"``. Of two classes the second alone is an output.
        individual : ndarray of shape (n_outputs, n_samples, len(grid_values[0]), ...)
            Predictions for all rows, unless ``kind="average"``.
        feature_names : list of str
            The features.
        deciles : list of ndarray of shape (9,) or None
            Deciles of each feature in X, None where it is categorical.
        output_names : list of str or None
            Classes or targets; None for a single target.

    Raises
    ------
    ValueError
        If a parameter or an input does not fit.

    See Also
    --------
    projections : The same at the rows themselves.

    References
    ----------
    J. Friedman, *Greedy Function Approximation: A Gradient Boosting Machine*, section 8.2.
    A. Goldstein, A. Kapelner, J. Bleich, E. Pitkin, *Peeking Inside the Black Box*, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import PolynomialRegressor
    >>> from thetalearn.inspection.importance.dependence.partial import partial_dependence
    >>> X = np.random.RandomState(0).uniform(size=(50, 2))
    >>> model = PolynomialRegressor(degree=2).fit(X, X[:, 0] * X[:, 1])
    >>> result = partial_dependence(model, X, 0, custom_values={0: [0.0, 1.0]})
    >>> np.allclose(result.average, [[0.0, X[:, 1].mean()]])
    True
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} must be one of {', '.join(map(repr, KINDS))}")
    check_dtype(dtype)
    table = as_table(X)
    model = model_of(estimator, table, response_method=response_method)
    if model.classes is not None and model.response_method == "predict":
        raise ValueError(
            "response_method='predict' of a classifier gives labels, which have no averages: "
            "choose 'predict_proba' or 'decision_function', or see projections"
        )
    table = model.inputs.align(table)
    weight = row_weights(sample_weight, len(table), "sample_weight")
    names, columns = _joined(model, features)
    axes = axes_of(
        table,
        model.names,
        columns,
        categorical=categorical_features,
        percentiles=percentiles,
        resolution=grid_resolution,
        custom=custom_values,
    )
    points = _points(table, columns, axes)
    shape = [len(axis.values) for axis in axes]
    result = Bunch(
        grid_values=[axis.values for axis in axes],
        feature_names=names,
        deciles=[axis.deciles for axis in axes],
    )
    positive = slice(1, None) if _of_two(model) else slice(None)
    output_names = None if model.output_names is None else model.output_names[positive]
    with threads_for(0):
        crossing = _Crossing.of(model, columns, table, weight, dtype, memory_budget)
        grid = game_rows(crossing.game, model, points)
        if kind == "average":
            average = crossing.average(grid)
        else:
            every = crossing.individual(grid)[..., positive]
            average = _weighted_mean(every, weight)
            result["individual"] = every.transpose(2, 0, 1).reshape(-1, len(table), *shape)
        if kind != "individual":
            kept = average[:, positive] if kind == "average" else average
            result["average"] = kept.T.reshape(-1, *shape)
    result["output_names"] = output_names
    return result


def projections(
    estimator: Any,
    X: ArrayLike,
    features: Any,
    *,
    background: ArrayLike | None = None,
    background_weight: ArrayLike | None = None,
    response_method: str = "auto",
    dtype: str = "auto",
    memory_budget: int = BUDGET,
) -> np.ndarray:
    r"""Mean predictions when all columns but some come from the data.

    The projection of f on the features F is :math:`f_F(x) = \sum_b w_b f(x_F, b_{-F})`: what a
    model predicts on average for a row of which only F is known. No feature gives the mean
    prediction, and all features give the prediction.

    Parameters
    ----------
    estimator : estimator or callable
        A fitted estimator, pipeline or search, or a function from rows to an array (n,) or (n, m).
    X : array-like or data frame of shape (n_samples, n_features)
        Rows.
    features : int, str, or sequence of these or of bools
        Features that are known, by position or name. The empty sequence stands for none.
    background : array-like or data frame of shape (n_background, n_features), default=None
        Rows to average over; X by default, each row itself included.
    background_weight : array-like of shape (n_background,), default=None
        Weights of these rows; equal by default.
    response_method : {"auto", "predict", "predict_proba", "decision_function"}, default="auto"
        What is predicted, as in `partial_dependence`. "predict" of a classifier gives the shares of
        the background for which each class is predicted.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision in which networks and other functions of sums are evaluated.
    memory_budget : int, default=2**28
        Bytes that the computation may take, besides the data and the result.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Projections.

    Raises
    ------
    ValueError
        If a parameter or an input does not fit.

    See Also
    --------
    partial_dependence : The same on a grid.
    accuracy_shapley_values : Accuracy of projections, and how features share it.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.dependence.partial import projections
    >>> def above(X):
    ...     return (X[:, 1] > X[:, 0] ** 2).astype(int)
    >>> X = np.array([[0.5, 1.0], [-2.0, 3.0], [1.0, 5.0]])
    >>> projections(above, X, [0]).round(3)
    array([1.   , 0.333, 0.667])
    """
    check_dtype(dtype)
    table = as_table(X)
    model = model_of(estimator, table, background=background, response_method=response_method)
    others = table if background is None else as_table(background)
    weight = row_weights(background_weight, len(others), "background_weight")
    known = not (np.ndim(features) == 1 and len(features) == 0)
    columns = _joined(model, features)[1] if known else np.empty(0, dtype=int)
    players = _two_players(model, columns)
    if model.classes is not None and model.response_method == "predict":
        encoded = model.encode(others)
        game: Game = OpaqueGame(
            label_shares(model, np.asarray(model.classes)),
            encoded_columns(model, players, encoded.shape[1]),
            encoded,
            None if weight is None else torch.from_numpy(weight),
            memory_budget=memory_budget,
        )
        squeeze = False
    else:
        game = make_game(model, players, others, weight, dtype=dtype, memory_budget=memory_budget)
        squeeze = model.squeeze
    with threads_for(0):
        values = game.values(game_rows(game, model, table), np.array([[True, False]]))[:, 0]
    matrix = values.cpu().numpy()
    return matrix[:, 0] if squeeze else matrix


@dataclass(frozen=True)
class _Crossing:
    """Predictions at rows whose features come from one set of rows, and the rest from another."""

    game: Game
    model: Model
    #: Encoded columns of the features, and the others.
    own: list[int]
    rest: list[int]
    others: Any
    memory_budget: int

    @classmethod
    def of(
        cls,
        model: Model,
        columns: np.ndarray,
        table: Any,
        weight: np.ndarray | None,
        dtype: str,
        memory_budget: int,
    ) -> _Crossing:
        """Against the rows of a table."""
        players = _two_players(model, columns)
        game = make_game(model, players, table, weight, dtype=dtype, memory_budget=memory_budget)
        others = game_rows(game, model, table)
        own, rest = (each.tolist() for each in encoded_columns(model, players, others.shape[1]))
        return cls(game, model, own, rest, others, memory_budget)

    def average(self, grid: Any) -> np.ndarray:
        """Means over the others (G, m)."""
        return self.game.values(grid, np.array([[True, False]]))[:, 0].cpu().numpy()

    def individual(self, grid: Any) -> np.ndarray:
        """Predictions (n, G, m) for all pairs."""
        n, n_points = len(self.others), len(grid)
        out = np.empty((n, n_points, self.game.n_outputs))
        size = max(self.memory_budget // (32 * n_points * self._width()), 1)
        with torch.no_grad():
            for part in pieces(n, size):
                out[part] = self._pairs(grid, taken(self.others, np.arange(n)[part]))
        return out

    def _width(self) -> int:
        """Numbers that a pair takes."""
        if isinstance(self.game, SumGame):
            return self.game.form.sums.width
        return max(
            self.others.shape[1] if isinstance(self.game, OpaqueGame) else 1, self.game.n_outputs
        )

    def _pairs(self, grid: Any, others: Any) -> np.ndarray:
        game = self.game
        if isinstance(game, AdditiveGame | SumGame):
            return self._of_sums(game.form, grid, others).double().cpu().numpy()
        if isinstance(game, ProductGame):
            return self._of_products(game.form, grid, others).cpu().numpy()
        n, n_points = len(others), len(grid)
        index = np.empty((n * n_points, others.shape[1]), dtype=int)
        index[:, self.own] = np.tile(np.arange(n_points), n)[:, None]
        index[:, self.rest] = n_points + np.repeat(np.arange(n), n_points)[:, None]
        values = self.model.predict(mixed(stacked(grid, others), index))
        return values.reshape(n, n_points, -1)

    def _of_sums(self, form: SumForm, grid: Tensor, others: Tensor) -> Tensor:
        grid, others = grid.to(form.dtype), others.to(form.dtype)
        theirs = form.sums(others[:, self.rest], self.rest) + form.constant
        z = theirs[:, None] + form.sums(grid[:, self.own], self.own)
        if form.head is None:
            return z
        return form.head(z.flatten(0, 1)).view(len(others), len(grid), -1)

    def _of_products(self, form: ProductForm, grid: Tensor, others: Tensor) -> Tensor:
        kept, given = form.indices.copy(), form.indices.copy()
        kept[:, self.rest] = 0
        given[:, self.own] = 0
        ours, theirs = form.design(grid, kept), form.design(others, given)
        return torch.stack([theirs @ (ours * c).T for c in form.coef.T.to(ours)], dim=2)


def _joined(model: Model, features: Any) -> tuple[list[str], np.ndarray]:
    """Names and positions of the features."""
    players = resolve_players(model.names, features)
    columns = np.concatenate(players.columns)
    return [model.names[j] for j in columns], columns


def _two_players(model: Model, columns: np.ndarray) -> list[np.ndarray]:
    """The features, and all others."""
    return [columns, np.setdiff1d(np.arange(len(model.names)), columns)]


def _points(table: Any, columns: np.ndarray, axes: Sequence[Axis]) -> Any:
    """Rows with the features at all points of the grid, and the rest of the first row."""
    places = np.indices([len(axis.values) for axis in axes]).reshape(len(axes), -1)
    rows = taken(table, np.zeros(places.shape[1], dtype=int))
    values = [axis.values[place] for axis, place in zip(axes, places, strict=True)]
    return replaced(rows, dict(zip(columns.tolist(), values, strict=True)))


def _of_two(model: Model) -> bool:
    """Whether the second of two probabilities says everything."""
    return (
        model.response_method == "predict_proba"
        and model.n_outputs == 2
        and not isinstance(model.classes, list)
    )


def _weighted_mean(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Means (G, m) of predictions (n, G, m) over rows."""
    mean: np.ndarray = np.average(values, axis=0, weights=weight)
    return mean
