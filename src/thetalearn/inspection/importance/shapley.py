"""Shapley values of predictions: in closed form, by enumeration, or sampled to a precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import t as student_t
from torch import Tensor

from ...exceptions import ConvergenceWarning, warn_user
from ...randomness import random_numbers
from ...threads import threads_for
from .games.closed import AdditiveGame, ProductGame
from .games.exact import enumerate_coalitions
from .games.game import BUDGET, Game
from .games.kernel import regress_coalitions
from .games.precision import DTYPES
from .games.sampling import Estimate, sample_orders
from .games.setup import game_rows, make_game
from .model.model import Model, model_of
from .model.players import resolve_players
from .model.tables import in_order_of, taken

if TYPE_CHECKING:
    from .explanation import ShapleyExplanation

__all__ = ["ShapleyExplainer", "shapley_values"]

METHODS = ("auto", "closed form", "exact", "permutation", "kernel")
#: Players up to which all coalitions are enumerated by default.
MAX_PLAYERS = 12
#: Evaluations that an enumeration takes by default at most; more are sampled.
MAX_WORK = 2**28
#: Players whose coalitions can be listed at all, and those whose pairs can be as well.
LISTABLE, PAIRS_LISTABLE = 20, 15

#: Standard errors on either side of a value that make an interval of 95 %.
NORMAL = 1.959963984540054

#: Share of the size of a prediction by which values and base value may miss it.
DOUBLE, SINGLE = 1e-9, 1e-4


def shapley_values(
    estimator: Any,
    X: ArrayLike,
    *,
    background: ArrayLike | None = None,
    background_weight: ArrayLike | None = None,
    response_method: str = "auto",
    groups: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None = None,
    method: str = "auto",
    interactions: bool = False,
    precision: float = 0.025,
    max_evals: int = 10_000,
    random_state: int | np.random.RandomState | None = None,
    dtype: str = "auto",
    memory_budget: int = BUDGET,
) -> ShapleyExplanation:
    """Shapley values of the predictions for rows.

    The same as ``ShapleyExplainer(estimator, background, ...)(X)``; see `ShapleyExplainer` for what
    the values mean and how they are computed.

    Parameters
    ----------
    estimator : estimator or callable
        A fitted estimator, pipeline or search, or a function from rows to an array (n,) or (n, m).
    X : array-like or data frame of shape (n_samples, n_features)
        Rows to explain.
    background : array-like or data frame of shape (n_background, n_features), default=None
        Rows that players outside a coalition take their columns from; X by default.
    background_weight : array-like of shape (n_background,), default=None
        Weights of the background rows, at least 0; equal by default.
    response_method : {"auto", "predict", "predict_proba", "decision_function"}, default="auto"
        What is explained. "auto" takes ``predict_proba`` of a classifier, else its
        ``decision_function``, and ``predict`` of anything else.
    groups : dict of str to sequence of columns, or sequence of such sequences, default=None
        Columns that are one player together. Columns in no group are players of their own.
    method : {"auto", "closed form", "exact", "permutation", "kernel"}, default="auto"
        How to compute.
    interactions : bool, default=False
        Whether to give the interactions of all pairs too, as ``interaction_values``.
    precision : float, default=0.025
        Largest standard error, relative to the range of all values of the output, at which
        sampling ends.
    max_evals : int, default=10000
        Coalitions at which sampling may evaluate a row, each against the whole background; six
        batches are always drawn, from which errors are known.
    random_state : int, RandomState or None, default=None
        Source of the orders or coalitions that are sampled.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision in which a network is evaluated between base value and prediction. "auto" is
        single precision where a trial on the background changes no value by more than 2e-6 of
        their standard deviation, else double precision; closed forms always have that.
    memory_budget : int, default=2**28
        Bytes that the computation may take, besides the data, the results, and the tables of an
        enumeration, which are 8 P 2^P bytes for P players.

    Returns
    -------
    ShapleyExplanation
        A ``shap.Explanation`` with values of shape (n_samples, n_players), or (n_samples,
        n_players, n_outputs) for several outputs.

    Raises
    ------
    ValueError
        If a parameter or an input does not fit.

    Warns
    -----
    ConvergenceWarning
        If ``max_evals`` was reached before the precision.

    See Also
    --------
    ShapleyExplainer : The same for many sets of rows.
    thetalearn.sage_values : What players are worth to the whole model.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import PolynomialRegressor, shapley_values
    >>> X = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> model = PolynomialRegressor(degree=2).fit(np.vstack([X, X + 1]), [0, 0, 0, 4, 1, 3, 3, 9])
    >>> explanation = shapley_values(model, [[2.0, 2.0]], background=X)
    >>> explanation.values.round(6), explanation.base_values.round(6)  # of x0 x1
    (array([[1.5, 1.5]]), array([1.]))
    """
    explainer = ShapleyExplainer(
        estimator,
        X if background is None else in_order_of(X, background),
        background_weight=background_weight,
        response_method=response_method,
        groups=groups,
        method=method,
        interactions=interactions,
        precision=precision,
        max_evals=max_evals,
        random_state=random_state,
        dtype=dtype,
        memory_budget=memory_budget,
    )
    return explainer(X)


class ShapleyExplainer:
    r"""Explain predictions by Shapley values, against a background.

    A coalition S of players is worth :math:`v(S) = \sum_b w_b f(x_S, b_{-S})` to the prediction at
    x: its columns are those of x, and all others those of the background rows b together, so the
    background keeps its own correlations, and x and b are combined even where such a row would be
    improbable (the interventional, or marginal, value). The Shapley value of a player,

    .. math:: \phi_p(x) = \sum_{S \not\ni p} \frac{|S|!\,(P - |S| - 1)!}{P!}\,
              [v(S \cup p) - v(S)],

    is what it adds on average over all orders in which the players may join. All values of a row
    and the base value :math:`\sum_b w_b f(b)` sum to its prediction, which is checked.

    Ways to compute, of which ``method="auto"`` takes the first that serves:

    - "closed form": exact for linear and additive models and for sums of products of any order
      (polynomials, Chebyshev polynomials, tensor splines), at a cost that does not depend on the
      size of the background;
    - "exact": all :math:`2^P` coalitions, against the whole background; by default up to 12
      players and 268 million evaluations;
    - "permutation": random orders of the players and their reversals, each against another
      background row, until the standard errors are small enough; exact for interactions of two
      players at most, if the background has up to 128 rows of equal weight. With more, a batch
      sees a part of the background, and what its values then lack all players bear alike, so that a
      player without influence has a value within its standard error of zero;
    - "kernel": weighted least squares on sampled coalitions and their complements (KernelSHAP),
      by request.

    Where an estimator has a `functional_form`, the first layer of a network, or the distances of a
    kernel, are computed once for each row rather than for each coalition. Of a pipeline, the
    transformers run once for each row if each of their columns depends on one input column; the
    columns that a transformer makes of one input, such as indicators of categories, are one player.

    Parameters
    ----------
    estimator : estimator or callable
        A fitted estimator, pipeline or search, or a function from rows to an array (n,) or (n, m).
    background : array-like or data frame of shape (n_background, n_features)
        Rows that players outside a coalition take their columns from. None are left out.
    background_weight : array-like of shape (n_background,), default=None
        Weights of the background rows, at least 0; equal by default.
    response_method : {"auto", "predict", "predict_proba", "decision_function"}, default="auto"
        What is explained. "auto" takes ``predict_proba`` of a classifier, else its
        ``decision_function``, and ``predict`` of anything else.
    groups : dict of str to sequence of columns, or sequence of such sequences, default=None
        Columns that are one player together. Columns in no group are players of their own. With
        interactions, the value of a group is not the sum of the values of its members.
    method : {"auto", "closed form", "exact", "permutation", "kernel"}, default="auto"
        How to compute.
    interactions : bool, default=False
        Whether to give the interactions of all pairs too, for "closed form" and "exact".
    precision : float, default=0.025
        Largest standard error, relative to the range of all values of the output, at which
        sampling ends. 0 goes on until ``max_evals``, or until errors are but rounding.
    max_evals : int, default=10000
        Coalitions at which sampling may evaluate a row, each against the whole background; six
        batches are always drawn, from which errors are known.
    random_state : int, RandomState or None, default=None
        Source of the orders or coalitions that are sampled.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision in which a network is evaluated between base value and prediction. "auto" is
        single precision where a trial on the background changes no value by more than 2e-6 of
        their standard deviation, else double precision; closed forms always have that.
    memory_budget : int, default=2**28
        Bytes that the computation may take, besides the data, the results, and the tables of an
        enumeration, which are 8 P 2^P bytes for P players.

    Attributes
    ----------
    base_values : ndarray of shape (n_outputs,)
        Mean prediction of the background.
    feature_names : list of str
        The players.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If a parameter or an input does not fit.

    References
    ----------
    S. Lundberg and S.-I. Lee, *A Unified Approach to Interpreting Model Predictions*, sections 2 to
    4. D. Janzing, L. Minorics, P. Blöbaum, *Feature Relevance Quantification in Explainable AI: A
    Causal Problem*, section 3, on the interventional value.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import LinearRegressor, ShapleyExplainer
    >>> X = np.random.RandomState(0).normal(size=(50, 3))
    >>> model = LinearRegressor().fit(X, X @ [1.0, 2.0, 0.0])
    >>> explainer = ShapleyExplainer(model, X)
    >>> explanation = explainer(X[:5])
    >>> np.allclose(explanation.values, (X[:5] - X.mean(0)) * [1.0, 2.0, 0.0])
    True
    >>> explanation.method
    'closed form'
    """

    def __init__(
        self,
        estimator: Any,
        background: ArrayLike,
        *,
        background_weight: ArrayLike | None = None,
        response_method: str = "auto",
        groups: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None = None,
        method: str = "auto",
        interactions: bool = False,
        precision: float = 0.025,
        max_evals: int = 10_000,
        random_state: int | np.random.RandomState | None = None,
        dtype: str = "auto",
        memory_budget: int = BUDGET,
    ) -> None:
        _check_options(method, precision, max_evals, dtype, memory_budget)
        self._method, self._interactions = method, interactions
        self._precision, self._max_evals, self._random_state = precision, max_evals, random_state
        self._dtype, self._memory_budget = dtype, memory_budget
        model = model_of(estimator, background, response_method=response_method, name="background")
        self._players = resolve_players(model.names, groups=groups)
        self.feature_names = self._players.names
        table = model.inputs.align(background)
        weight = _checked_weight(background_weight, len(table))
        if weight is not None and not weight.all():
            # A row of weight zero is no row, whatever is predicted for it.
            table, weight = taken(table, np.flatnonzero(weight)), weight[weight > 0]
        self._background, self._weight = table, weight
        self._prepared = self._prepare(model)

    def _prepare(self, model: Model) -> tuple[Model, Game]:
        """The model against the background."""
        return model, make_game(
            model,
            self._players.columns,
            self._background,
            self._weight,
            closed=self._method != "permutation",
            dtype=self._dtype,
            memory_budget=self._memory_budget,
        )

    @property
    def base_values(self) -> np.ndarray:
        """Mean prediction of the background, shape (n_outputs,)."""
        return self._prepared[1].base_values.cpu().numpy()

    def __call__(self, X: ArrayLike) -> ShapleyExplanation:
        """Explain rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows to explain.

        Returns
        -------
        ShapleyExplanation
            A ``shap.Explanation`` with values of shape (n_samples, n_players), or (n_samples,
            n_players, n_outputs) for several outputs. ``error_std`` holds the standard errors,
            ``lower_bounds`` and ``upper_bounds`` a 95 % interval, ``method`` how it was computed.

        Warns
        -----
        ConvergenceWarning
            If ``max_evals`` was reached before the precision.
        """
        from .explanation import make_explanation

        start = perf_counter()
        model, game = self._prepared
        wider = model.covering(X)
        if wider is not model:
            self._prepared = model, game = self._prepare(wider)
        rows = game_rows(game, model, X)
        method = self._resolve_method(game, len(rows))
        with threads_for(0):
            found = self._compute(game, rows, method)
        base = game.base_values.cpu().numpy()
        _check_sum(found.values.cpu().numpy(), base, model.own(X), game)
        keep = 0 if model.squeeze else slice(None)
        pairs = found.interactions
        return make_explanation(
            values=found.values[..., keep].cpu().numpy(),
            base_values=base[keep],
            X=model.inputs.align(X),
            players=dict(zip(self.feature_names, map(list, self._players.columns), strict=True)),
            output_names=model.output_names,
            standard_errors=found.errors[..., keep].cpu().numpy(),
            quantile=found.quantile[..., keep],
            interactions=None if pairs is None else pairs[..., keep].cpu().numpy(),
            compute_time=perf_counter() - start,
            method=method,
            response_method=model.response_method,
            n_evaluations=found.n_evaluations,
        )

    def _resolve_method(self, game: Game, n_rows: int) -> str:
        """How to compute."""
        asked = self._method
        closed = isinstance(game, AdditiveGame | ProductGame)
        if asked == "auto":
            few = game.n_players <= MAX_PLAYERS
            work = n_rows * 2**game.n_players * game.n_background if few else MAX_WORK + 1
            listed = few and (work <= MAX_WORK or self._interactions)
            asked = "closed form" if closed else "exact" if listed else "permutation"
        if asked == "closed form" and not closed:
            raise ValueError(
                'method="closed form" needs a model that is a sum, or a sum of products, of '
                "functions of single columns, with few enough terms; this one has no such form: "
                'choose method="auto"'
            )
        most = PAIRS_LISTABLE if self._interactions else LISTABLE
        if asked == "exact" and game.n_players > most:
            raise ValueError(
                f'method="exact" lists 2^{game.n_players} coalitions, more than 2^{most}: '
                'choose method="permutation", or put columns into groups'
            )
        if self._interactions and asked not in ("closed form", "exact"):
            raise ValueError(
                f"interactions=True is known in closed form and by enumeration, but method="
                f"{asked!r} serves {game.n_players} players here: put columns into groups, or set "
                'method="exact"'
            )
        return asked

    def _compute(self, game: Any, rows: Any, method: str) -> _Values:
        if method == "closed form":
            pairs = game.interactions(rows) if self._interactions else None
            values = game.shapley(rows)
            return _Values(values, torch.zeros_like(values), len(values), pairs)
        if method == "exact" or game.n_players == 1:
            values, pairs = enumerate_coalitions(game, rows, interactions=self._interactions)
            n_evaluations = len(values) * 2**game.n_players * game.n_background
            return _Values(values, torch.zeros_like(values), n_evaluations, pairs)
        sample = sample_orders if method == "permutation" else regress_coalitions
        estimate = sample(
            game,
            rows,
            precision=self._precision,
            max_evals=self._max_evals,
            rng=random_numbers(self._random_state),
        )
        if not estimate.converged and self._precision > 0:
            self._warn(estimate)
        # Few batches tell their own spread badly, and Student's quantiles know it.
        quantile = student_t.ppf(0.975, estimate.n_batches - 1)[:, None, None]
        return _Values(
            estimate.values, estimate.standard_errors, estimate.n_evaluations, quantile=quantile
        )

    def _warn(self, estimate: Estimate) -> None:
        largest = float(estimate.standard_errors.max())
        warn_user(
            f"Shapley values reached max_evals={self._max_evals} before precision="
            f"{self._precision}: the largest standard error is {largest:.3g}. Raise max_evals or "
            "precision, or put columns into groups",
            ConvergenceWarning,
        )


@dataclass(frozen=True)
class _Values:
    """Shapley values and standard errors (N, P, m), and interactions (N, P, P, m)."""

    values: Tensor
    errors: Tensor
    n_evaluations: int
    interactions: Tensor | None = None
    #: Standard errors on either side of a value that make an interval of 95 %, (N, 1, 1).
    quantile: np.ndarray = field(default_factory=lambda: np.full((1, 1, 1), NORMAL))


def _check_sum(values: np.ndarray, base: np.ndarray, own: np.ndarray, game: Game) -> None:
    """Local accuracy: values and base value give what the estimator itself predicts."""
    miss = np.abs(values.sum(1) + base - own)
    form = getattr(game, "form", None)
    double = own.dtype == np.float64 and form is not None and form.dtype == torch.float64
    size = np.abs(own).max() + np.abs(values).max() + np.abs(base).max()
    if not (miss <= (DOUBLE if double else SINGLE) * size).all():
        row = int(np.nanargmax(np.where(np.isfinite(miss), miss, np.inf).max(1)))
        raise RuntimeError(
            f"Shapley values and base value miss the prediction of row {row} by "
            f"{miss[row].max():.3g}: the estimator must predict finite numbers, the same for the "
            "same row every time, and what its functional_form says if it has one"
        )


def _checked_weight(given: ArrayLike | None, n: int) -> np.ndarray | None:
    if given is None:
        return None
    weight = np.asarray(given, dtype=np.float64)
    if weight.shape != (n,) or not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError(
            f"background_weight of shape {weight.shape} must hold a finite number of at least 0 "
            f"for each of the {n} background rows"
        )
    if not weight.sum() > 0:
        raise ValueError("background_weight sums to zero: at least one row needs a weight above 0")
    return weight


def _check_options(
    method: str, precision: float, max_evals: int, dtype: str, memory_budget: int
) -> None:
    for name, value in (("precision", precision), ("max_evals", max_evals)):
        if not isinstance(value, Real) or isinstance(value, bool):
            raise ValueError(f"{name}={value!r} must be a number")
    if method not in METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(map(repr, METHODS))}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {', '.join(map(repr, DTYPES))}")
    if not 0 <= precision < np.inf:
        raise ValueError(f"precision={precision!r} must be a finite number of at least 0")
    if max_evals < 1:
        raise ValueError(f"max_evals={max_evals!r} must be at least 1")
    if memory_budget < 2**20:
        raise ValueError(f"memory_budget={memory_budget!r} must be at least 2**20 bytes")
