"""What players are worth to the accuracy of a model: SAGE values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ....randomness import random_numbers
from ....threads import threads_for
from ..games.closed import AdditiveGame
from ..games.exact import all_coalitions, shapley_matrix
from ..games.game import BUDGET, Game, OpaqueGame, OrderGame, SumGame, pieces
from ..games.setup import game_rows, make_game
from ..model.model import model_of
from ..model.players import Players, resolve_players
from ..model.tables import as_table, taken
from .losses import Loss, resolve_loss
from .results import ValuesBunch, check_dtype, check_sampling, interval, row_weights
from .sweeps import Sweeps, sweep_rows

__all__ = ["sage_values"]

METHODS = ("auto", "closed form", "exact", "sampling")

#: Players whose coalitions are all evaluated by default, and at all.
MAX_PLAYERS, LISTABLE = 12, 20
#: Evaluations of the model up to which all coalitions are evaluated by default.
MAX_WORK = 2**24
#: Coalitions of a row for each player but one, when it is sampled as often as an error needs.
TWO_SWEEPS = 4
#: Evaluations of a block of rows, below which calls cost more than what they compute.
BLOCK = 2**15


def sage_values(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | Callable[[Tensor, Tensor], Tensor] = "auto",
    background: ArrayLike | None = None,
    groups: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None = None,
    response_method: str = "auto",
    sample_weight: ArrayLike | None = None,
    background_weight: ArrayLike | None = None,
    method: str = "auto",
    precision: float = 0.025,
    max_evals: int = 100_000_000,
    random_state: int | np.random.RandomState | None = None,
    confidence_level: float = 0.95,
    max_background: int = 512,
    dtype: str = "auto",
    memory_budget: int = BUDGET,
) -> ValuesBunch:
    r"""How much of the drop in loss that a model achieves is due to each player (SAGE).

    Knowing the players S only, the model predicts :math:`f_S(x) = \sum_b w_b f(x_S, b_{-S})`, the
    mean over the background with the other columns from there. The coalition is worth

    .. math:: w(S) = \frac1n \sum_i \ell(f_\varnothing, y_i) - \frac1n \sum_i \ell(f_S(x_i), y_i),

    and the SAGE values are the Shapley values of this game. They sum to the drop in loss from the
    mean prediction to the model. A negative value says that the model loses by using the player.

    Ways to compute, of which ``method="auto"`` takes the first that serves:

    - "closed form", for additive models and the squared error. With contributions
      :math:`g_p(x)` less their mean over the background, and :math:`f_\varnothing` the mean
      prediction,

      .. math:: \phi_p = \frac1n \sum_i \big[ 2 (y_i - f_\varnothing) g_p(x_i)
                - g_p(x_i) \sum_q g_q(x_i) \big];

    - "exact": all coalitions, up to 12 players and 17 million evaluations of the model;
    - "sampling": blocks of rows, each with a random order of the players and its reversal, until
      the standard errors are small enough. Rows are used equally often.

    Parameters
    ----------
    estimator : estimator or callable
        A fitted estimator, pipeline or search, or a function from rows to an array (n,) or (n, m).
    X : array-like or data frame of shape (n_samples, n_features)
        Rows, best those that the estimator was not fitted on.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets or classes. Of a function that gives probabilities, classes are 0, 1, ....
    loss : {"auto", "squared_error", "absolute_error", "log_loss", "zero_one"} or callable, \
            default="auto"
        Loss of a row; for several outputs the mean over them. "auto" takes "log_loss" for
        probabilities, clipped as scikit-learn's metric does it, and "squared_error" for values.
        "zero_one" is 1 if the class of the largest averaged probability, or the sign of the
        averaged decision value, is wrong. A callable takes tensors, predictions (n, m) and
        targets, (n, m) or codes of classes (n,), and returns (n,).
    background : array-like or data frame of shape (n_background, n_features), default=None
        Rows that players outside a coalition take their columns from; X by default.
    groups : dict of str to sequence of columns, or sequence of such sequences, default=None
        Columns that are one player together. Columns in no group are players of their own.
    response_method : {"auto", "predict", "predict_proba", "decision_function"}, default="auto"
        What is predicted. "auto" takes ``predict_proba`` of a classifier, else its
        ``decision_function``, and ``predict`` of anything else.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the mean loss, and in the background if that is X.
    background_weight : array-like of shape (n_background,), default=None
        Weights of the background rows; equal by default.
    method : {"auto", "closed form", "exact", "sampling"}, default="auto"
        How to compute.
    precision : float, default=0.025
        Largest standard error, relative to the range of the values, at which sampling ends.
    max_evals : int, default=100_000_000
        Rows at which sampling may evaluate the model; at least 12 blocks are drawn.
    random_state : int, RandomState or None, default=None
        Source of the background rows, blocks and orders that are sampled.
    confidence_level : float, default=0.95
        Probability that an interval covers its value.
    max_background : int, default=512
        Background rows that sampling uses for a block of rows, drawn afresh for each if there are
        more, so that ``mc_se`` holds what the draws do. A mean over so few rows is noisy itself,
        which raises the losses of coalitions, squared ones by ``1 / max_background`` of the
        variance of the predictions; ends, and so ``total``, are of all background rows. Closed
        forms and sums of products use all of them at no cost, and "exact" does so too.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision in which networks and other functions of sums are evaluated.
    memory_budget : int, default=2**28
        Bytes that the computation may take, besides the data.

    Returns
    -------
    ValuesBunch
        values : ndarray of shape (n_players,)
            SAGE values, in units of the loss.
        values_se : ndarray of shape (n_players,)
            Their standard errors, by ``mc_se`` and ``sample_se`` together; by ``mc_se`` alone where
            ``sample_se`` is nan.
        mc_se : ndarray of shape (n_players,)
            Standard errors as to the orders that were sampled; 0 unless sampled.
        sample_se : ndarray of shape (n_players,)
            Standard errors as to the rows, had other ones been drawn; of the closed form with X as
            its background, with X as both, else with the background fixed. nan if sampling saw
            no row twice.
        ci : ndarray of shape (n_players, 2)
            Intervals by ``values_se``.
        mc_ci : ndarray of shape (n_players, 2)
            Intervals by ``mc_se``: for the values of these rows, whatever the orders.
        total : float
            Drop in loss, the sum of the values.
        feature_names : list of str
            The players.
        method, loss : str
            How it was computed, and of which loss.
        n_permutations : int
            Orders that were drawn; each was run through forward and backward.
        n_background : int
            Background rows that the value of a coalition was averaged over.

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
    shapley_values : The same for single predictions.

    References
    ----------
    I. Covert, S. Lundberg, S.-I. Lee, *Understanding Global Feature Contributions with Additive
    Importance Measures*, sections 3 and 4.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn.inspection.importance.sage.values import sage_values
    >>> X = np.random.RandomState(0).normal(size=(100, 3))
    >>> y = X @ [1.0, 2.0, 0.0]
    >>> result = sage_values(LinearRegressor().fit(X, y), X, y)
    >>> result.method, bool(np.isclose(result.total, y.var()))
    ('closed form', True)
    >>> np.allclose(result.values, (y - y.mean()) @ (X * [1.0, 2.0, 0.0]) / 100)
    True
    """
    check_sampling(precision, max_evals, confidence_level, memory_budget)
    if method not in METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(map(repr, METHODS))}")
    if max_background < 1:
        raise ValueError(f"max_background={max_background!r} must be at least 1")
    check_dtype(dtype)
    rng = random_numbers(random_state)
    table = as_table(X)
    weight = row_weights(sample_weight, len(table), "sample_weight")
    own_background = background is None and background_weight is None
    others = table if background is None else as_table(background)
    shares = (
        weight
        if own_background
        else row_weights(background_weight, len(others), "background_weight")
    )
    model = model_of(estimator, table, background=background, response_method=response_method)
    players = resolve_players(model.names, groups=groups)
    measured, targets = resolve_loss(loss, model, y, len(table))
    with threads_for(0):
        game = make_game(
            model, players.columns, others, shares, dtype=dtype, memory_budget=memory_budget
        )
        way = _way(method, game, measured, len(table), max_background)
        task = _Task(game, game_rows(game, model, table), targets, measured, weight, memory_budget)
        if way == "closed form":
            found = task.closed_form(own_background)
        elif way == "exact":
            found = task.enumerate()
        else:
            n_background = min(game.n_background, max_background)
            found = task.sample(precision, max_evals, n_background, rng)
    found.warn_unless_converged(precision, max_evals)
    result = _bunch(found, task, players, way, measured, confidence_level)
    if way == "sampling" and isinstance(game, OrderGame):
        result["n_background"] = n_background
    return result


@dataclass(frozen=True)
class _Task:
    """The loss of rows against a background."""

    game: Game
    rows: Any
    targets: Tensor
    loss: Loss
    weight: np.ndarray | None
    memory_budget: int

    @property
    def shares(self) -> np.ndarray:
        """Weights of the rows (N,), which sum to one."""
        n = len(self.targets)
        return np.full(n, 1 / n) if self.weight is None else self.weight / self.weight.sum()

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Losses (N,) of the mean prediction and of the model."""
        n = len(self.targets)
        base = self.game.base_values.cpu().expand(n, -1)
        full = self.game.predictions(self.rows).cpu()
        return self.loss(base, self.targets).numpy(), self.loss(full, self.targets).numpy()

    def losses(self, which: np.ndarray, masks: np.ndarray, game: Game | None = None) -> np.ndarray:
        """Losses (n, M) of rows for coalitions, by this game or another."""
        values = (game or self.game).values(taken(self.rows, which), masks).cpu()
        targets = self.targets[torch.from_numpy(which)]
        repeated = targets.repeat_interleave(len(masks), dim=0)
        return self.loss(values.flatten(0, 1), repeated).view(len(which), len(masks)).numpy()

    def closed_form(self, own_background: bool) -> Sweeps:
        """SAGE values of an additive model under the squared error."""
        assert isinstance(self.game, AdditiveGame)
        gains = self.game.shapley(self.rows).cpu()
        rest = (self.targets - self.game.base_values.cpu())[:, None]
        each = (gains * (2 * rest - gains.sum(1, keepdim=True))).mean(2).numpy()
        found = self._averaged(each)
        if own_background:
            # Rows move the values also as background: through the mean prediction.
            mean_rest = torch.from_numpy(self.shares) @ rest[:, 0]
            each = each - 2 * (gains * mean_rest).mean(2).numpy()
        return _with_variance(found, each, self.shares)

    def enumerate(self) -> Sweeps:
        """SAGE values from all coalitions."""
        masks = all_coalitions(self.game.n_players)[1:-1]
        nobody, *combine, everybody = shapley_matrix(self.game.n_players).T
        base, full = self.ends()
        each = -np.outer(base, nobody) - np.outer(full, everybody)
        if len(masks):
            numbers = 4 * len(masks) * (self.game.n_outputs + 1)
            for part in pieces(len(each), max(self.memory_budget // (8 * numbers), 1)):
                which = np.arange(part.start, part.stop)
                each[part] -= self.losses(which, masks) @ np.stack(combine)
        return _with_variance(self._averaged(each), each, self.shares)

    def sample(
        self, precision: float, max_evals: int, n_background: int, rng: np.random.RandomState
    ) -> Sweeps:
        """SAGE values from random orders."""
        p, n = self.game.n_players, len(self.targets)
        base, full = self.ends()
        scale = self.shares * n
        per_row = 2 * (p - 1) * min(n_evaluated(self.game), n_background)
        size = int(np.clip(BLOCK // per_row, 1, n))

        def contributions(which: np.ndarray) -> np.ndarray:
            order = rng.permutation(p)
            first = np.argsort(order) <= np.arange(p - 1)[:, None]
            game = thinned(self.game, n_background, rng)
            losses = self.losses(which, np.concatenate([first, ~first]), game)
            start, end = base[which, None], full[which, None]
            joining = np.concatenate([start, losses[:, : p - 1], end], axis=1)
            leaving = np.concatenate([end, losses[:, p - 1 :], start], axis=1)
            gains = np.empty((len(which), p))
            gains[:, order] = (np.diff(leaving, axis=1) - np.diff(joining, axis=1)) / 2
            return gains * scale[which, None]

        return sweep_rows(
            contributions,
            (base - full) * scale,
            p,
            size,
            precision=precision,
            max_blocks=int(max_evals / (per_row * size)),
            rng=rng,
        )

    def _averaged(self, each: np.ndarray) -> Sweeps:
        """The weighted mean of contributions (N, P), without error."""
        return Sweeps.without_error(self.shares @ each)


def thinned(game: Game, n_background: int, rng: np.random.RandomState) -> Game:
    """A game against some of its background rows, drawn at random, if they count and are more."""
    if not isinstance(game, OpaqueGame | SumGame) or game.n_background <= n_background:
        return game
    drawn = np.sort(rng.permutation(game.n_background)[:n_background])
    weights = game.weights[torch.from_numpy(drawn).to(game.weights.device)]
    if not weights.sum() > 0:
        return thinned(game, n_background, rng)
    fewer = copy(game)
    fewer.background = taken(game.background, drawn)
    fewer.weights, fewer.n_background = weights / weights.sum(), n_background
    fewer.background_values = game.background_values[drawn]
    return fewer


def n_evaluated(game: Game) -> int:
    """Rows at which a game evaluates the model for the value of a coalition."""
    return game.n_background if isinstance(game, OrderGame) else 1


def _with_variance(found: Sweeps, each: np.ndarray, shares: np.ndarray) -> Sweeps:
    """The same with the variance that sampled rows give the weighted mean, times their number."""
    n = len(each)
    spread = each - shares @ each
    variance = shares**2 @ spread**2 * n * n / max(n - 1, 1)
    return replace(found, row_variance=variance)


def _way(method: str, game: Game, loss: Loss, n_rows: int, max_background: int) -> str:
    """How to compute."""
    p = game.n_players
    closed = isinstance(game, AdditiveGame) and loss.name == "squared_error"
    if method == "closed form" and not closed:
        raise ValueError(
            'method="closed form" needs an additive model and loss="squared_error": choose '
            'method="auto"'
        )
    if method == "exact" and p > LISTABLE:
        raise ValueError(
            f'method="exact" lists 2^{p} coalitions, more than 2^{LISTABLE}: choose '
            'method="sampling", or put columns into groups'
        )
    if p == 1:
        return "exact"
    if method != "auto":
        return method
    if closed:
        return "closed form"
    n_others = n_evaluated(game)
    few = 2**p * n_others <= TWO_SWEEPS * (p - 1) * min(n_others, max_background)
    listed = p <= MAX_PLAYERS and n_rows * 2.0**p * n_others <= MAX_WORK
    return "exact" if few or listed else "sampling"


def _bunch(
    found: Sweeps, task: _Task, players: Players, way: str, loss: Loss, confidence_level: float
) -> ValuesBunch:
    """The result."""
    n, orders = len(task.targets), found.standard_errors**2
    nothing = np.full(len(players), np.nan)
    rows = nothing if found.row_variance is None else found.row_variance / n
    both = orders + np.nan_to_num(rows)
    # Satterthwaite's degrees of freedom of a sum of two variances.
    parts = orders**2 / found.degrees + np.nan_to_num(rows) ** 2 / max(n - 1, 1)
    degrees = np.where(parts > 0, both**2 / np.where(parts > 0, parts, 1.0), 1.0)
    return ValuesBunch(
        values=found.values,
        values_se=np.sqrt(both),
        mc_se=found.standard_errors,
        sample_se=np.sqrt(rows),
        ci=interval(found.values, np.sqrt(both), confidence_level, degrees),
        mc_ci=interval(found.values, found.standard_errors, confidence_level, found.degrees),
        total=float(found.values.sum()),
        feature_names=players.names,
        method=way,
        loss=loss.name,
        n_permutations=found.n_blocks,
        n_background=task.game.n_background,
    )
