"""How players share the accuracy of hard predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ....randomness import random_numbers
from ....rows import as_array
from ..games.exact import all_coalitions, shapley_matrix
from ..games.game import BUDGET, OpaqueGame, pieces
from ..games.sampling import batch_size, draw_orders, draw_rows
from ..games.setup import encoded_columns
from ..model.model import Model, model_of
from ..model.players import resolve_players
from ..model.tables import as_table, taken
from .losses import class_codes
from .results import ValuesBunch, check_sampling, interval, row_weights
from .sweeps import Sweeps, sweep_rows

__all__ = ["accuracy_shapley_values", "label_shares"]

METHODS = ("auto", "exact", "sampling")

#: Players whose coalitions can be listed at all.
LISTABLE = 20
#: Evaluations of the model up to which all coalitions are evaluated by default.
MAX_WORK = 2**25
#: Evaluations of a block of rows, below which calls cost more than what they compute.
BLOCK = 2**16


def accuracy_shapley_values(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None = None,
    sample_weight: ArrayLike | None = None,
    method: str = "auto",
    max_players_exact: int = 12,
    precision: float = 0.025,
    max_evals: int = 100_000_000,
    random_state: int | np.random.RandomState | None = None,
    confidence_level: float = 0.95,
    memory_budget: int = BUDGET,
) -> ValuesBunch:
    r"""Shapley values of the accuracy of a classifier.

    Let :math:`m^*` be the labels that the classifier predicts. Its projection on the players F is
    the share of the data for which it predicts class c once the columns of F are set to those of x,

    .. math:: m_F^c(x_F) = \frac1n \sum_{i'} 1\{m^*(x_F, x_{i', -F}) = c\},

    the row itself included, and F is worth the accuracy of these shares, which no threshold turns
    into labels: :math:`\alpha(F) = \frac1n \sum_i m_F^{y_i}(x_{i,F})`. With labels 0 and 1 this is
    :math:`1 - \frac1n \sum_i |m_F(x_{i,F}) - y_i|`. The Shapley values of :math:`\alpha` sum to
    :math:`\alpha(\text{all}) - \alpha(\varnothing)`. The accuracy after a shuffle of player p,
    averaged over all shuffles, is :math:`\alpha(\text{all but } p)`.

    Parameters
    ----------
    estimator : estimator or callable
        A fitted classifier, or a pipeline or search that ends in one, or a function from rows to
        labels (n,).
    X : array-like or data frame of shape (n_samples, n_features)
        Rows.
    y : array-like of shape (n_samples,)
        Their labels.
    groups : dict of str to sequence of columns, or sequence of such sequences, default=None
        Columns that are one player together. Columns in no group are players of their own.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, in both means.
    method : {"auto", "exact", "sampling"}, default="auto"
        "exact" takes all coalitions, which is :math:`2^P n^2` predictions. "sampling" takes
        random orders of the players and their reversals. "auto" enumerates up to
        ``max_players_exact`` players and 34 million predictions.
    max_players_exact : int, default=12
        Players up to which "auto" takes all coalitions.
    precision : float, default=0.025
        Largest standard error, relative to the range of the values, at which sampling ends.
    max_evals : int, default=100_000_000
        Predictions that sampling may take; at least 12 blocks are drawn.
    random_state : int, RandomState or None, default=None
        Source of the orders that are sampled.
    confidence_level : float, default=0.95
        Probability that an interval covers its value.
    memory_budget : int, default=2**28
        Bytes that the computation may take, besides the data.

    Returns
    -------
    ValuesBunch
        values : ndarray of shape (n_players,)
            Shapley values, in shares of the rows.
        mc_se : ndarray of shape (n_players,)
            Standard errors as to the orders that were sampled; 0 for all coalitions.
        mc_ci : ndarray of shape (n_players, 2)
            Intervals by ``mc_se``: for the values of these rows, whatever the orders.
        coalitions : ndarray of bool of shape (2**n_players, n_players) or None
            The coalitions, the empty one first; None if sampled.
        coalition_values : ndarray of shape (2**n_players,) or None
            What they are worth.
        base_value : float
            Accuracy of no player.
        baseline_score : float
            Accuracy of all players, which is that of the classifier.
        total : float
            Their difference, the sum of the values.
        feature_names : list of str
            The players.
        method : str
            "exact" or "sampling".
        n_permutations : int
            Orders that were drawn.

    Raises
    ------
    ValueError
        If a parameter or an input does not fit, or if predictions are no labels.

    Warns
    -----
    ConvergenceWarning
        If ``max_evals`` was reached before the precision.

    See Also
    --------
    sage_values : The same for losses of values and probabilities.
    projections : The shares of single rows.

    References
    ----------
    I. Covert, S. Lundberg, S.-I. Lee, *Understanding Global Feature Contributions with Additive
    Importance Measures*, section 3, of which this is the case of a linear loss.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.sage.accuracy import accuracy_shapley_values
    >>> def above(X):
    ...     return (X[:, 1] > X[:, 0] ** 2).astype(int)
    >>> X = np.array([[0.5, 1.0], [-2.0, 3.0], [1.0, 5.0]])
    >>> result = accuracy_shapley_values(above, X, [1, 0, 0])
    >>> result.values.round(6), round(result.baseline_score, 6)
    (array([ 0.333333, -0.111111]), 0.666667)
    """
    check_sampling(precision, max_evals, confidence_level, memory_budget)
    if method not in METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(map(repr, METHODS))}")
    table = as_table(X)
    labels = _checked_labels(y, len(table))
    classes = np.unique(labels)
    weight = row_weights(sample_weight, len(table), "sample_weight")
    model = model_of(estimator, table, response_method="predict")
    players = resolve_players(model.names, groups=groups)
    rows = model.encode(table)
    game = OpaqueGame(
        label_shares(model, classes),
        encoded_columns(model, players.columns, rows.shape[1]),
        rows,
        None if weight is None else torch.from_numpy(weight),
        memory_budget=memory_budget,
    )
    task = _Task(game, rows, class_codes(labels, classes), weight, memory_budget)
    p = game.n_players
    if method == "auto":
        few = p <= min(max_players_exact, LISTABLE)
        listed = p == 1 or (few and 2**p * len(table) ** 2 <= MAX_WORK)
        method = "exact" if listed else "sampling"
    if method == "exact" and p > LISTABLE:
        raise ValueError(
            f'method="exact" lists 2^{p} coalitions, more than 2^{LISTABLE}: choose '
            'method="sampling", or put columns into groups'
        )
    if not game.background_values.any():
        _refuse_strangers(model, rows, classes)
    base, full = (float(task.shares @ each) for each in task.ends())
    worth = None
    if method == "exact":
        worth = task.coalition_values()
        found = Sweeps.without_error(shapley_matrix(p) @ worth)
    else:
        found = task.sample(precision, max_evals, random_numbers(random_state))
    found.warn_unless_converged(precision, max_evals)
    return ValuesBunch(
        values=found.values,
        mc_se=found.standard_errors,
        mc_ci=interval(found.values, found.standard_errors, confidence_level, found.degrees),
        coalitions=None if worth is None else all_coalitions(p),
        coalition_values=worth,
        base_value=base,
        baseline_score=full,
        total=full - base,
        feature_names=players.names,
        method=method,
        n_permutations=found.n_blocks * (batch_size(game) if found.n_blocks else 0),
    )


def label_shares(model: Model, classes: np.ndarray) -> Any:
    """A function from encoded rows to which of the classes is predicted, as 0 and 1 (n, m).

    Parameters
    ----------
    model : Model
        What predicts labels.
    classes : ndarray of shape (m,)
        Labels to look for; another label gives a row of zeros.

    Returns
    -------
    callable
        The function; it raises a `ValueError` if predictions are no labels.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.sage.accuracy import label_shares
    >>> from thetalearn.inspection.importance.model.model import model_of
    >>> model = model_of(lambda X: X[:, 0] > 0, np.array([[1.0], [-1.0]]))
    >>> label_shares(model, np.array([0, 1]))(np.array([[1.0], [-1.0]]))
    array([[0., 1.],
           [1., 0.]])
    """

    def shares(encoded: Any) -> np.ndarray:
        labels = np.asarray(as_array(model.respond(encoded)))
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.ndim != 1:
            raise ValueError(
                f"estimator predicts an array of shape {labels.shape}: it must give one label a row"
            )
        if labels.dtype.kind == "f" and not np.equal(labels, np.rint(labels)).all():
            number = labels[labels != np.rint(labels)][0]
            raise ValueError(
                f"estimator predicts {number}, which is no label: give a classifier, or compare "
                "the prediction with a threshold (sage_values takes values and probabilities)"
            )
        return (labels[:, None] == classes).astype(np.float64)

    return shares


@dataclass(frozen=True)
class _Task:
    """The accuracy of rows against themselves."""

    game: OpaqueGame
    rows: Any
    codes: np.ndarray
    weight: np.ndarray | None
    memory_budget: int

    @property
    def shares(self) -> np.ndarray:
        """Weights of the rows (N,), which sum to one."""
        n = len(self.codes)
        return np.full(n, 1 / n) if self.weight is None else self.weight / self.weight.sum()

    def of_the_truth(self, values: Tensor, which: np.ndarray) -> np.ndarray:
        """From shares of all classes (n, k, m) for rows those of their own classes (n, k)."""
        return values.numpy()[np.arange(len(which)), :, self.codes[which]]

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares (N,) of the true classes of no player, and of all."""
        base = self.game.base_values.numpy()[self.codes]
        every = np.arange(len(self.codes))
        return base, self.of_the_truth(self.game.predictions(self.rows)[:, None], every)[:, 0]

    def coalition_values(self) -> np.ndarray:
        """Accuracy (2^P,) of all coalitions."""
        base, full = self.ends()
        masks = all_coalitions(self.game.n_players)[1:-1]
        inner = np.zeros(len(masks))
        size = max(self.memory_budget // (32 * (len(masks) + 1) * self.game.n_outputs), 1)
        for part in pieces(len(full) if len(masks) else 0, size):
            which = np.arange(len(full))[part]
            values = self.game.values(taken(self.rows, which), masks)
            inner += self.shares[part] @ self.of_the_truth(values, which)
        return np.concatenate([[self.shares @ base], inner, [self.shares @ full]])

    def sample(self, precision: float, max_evals: int, rng: np.random.RandomState) -> Sweeps:
        """Shapley values from random orders, each against a row of its own."""
        p, n = self.game.n_players, len(self.codes)
        base, full = self.ends()
        scale = self.shares * n
        n_orders = batch_size(self.game)
        per_row = 2 * max(p - 1, 1) * n_orders
        size = int(np.clip(BLOCK // per_row, 1, n))

        def contributions(which: np.ndarray) -> np.ndarray:
            picks = draw_rows(self.game, n_orders, rng)
            orders = draw_orders(p, n_orders, rng)
            gains = self.game.marginal_contributions(taken(self.rows, which), picks, orders)
            own = self.of_the_truth(gains, which)
            # What the sum lacks, as the block saw a part of the rows, all players bear.
            lacking = (full - base)[which] - own.sum(1)
            return (own + lacking[:, None] / p) * scale[which, None]

        return sweep_rows(
            contributions,
            (full - base) * scale,
            p,
            size,
            precision=precision,
            max_blocks=int(max_evals / (per_row * size)),
            rng=rng,
        )


def _refuse_strangers(model: Model, rows: Any, classes: np.ndarray) -> None:
    """Refuse labels none of which is ever predicted, if they are not classes of the estimator."""
    known = model.classes
    if known is None:
        known = np.unique(np.asarray(as_array(model.respond(rows))))
    known = np.asarray(known).tolist()
    if not set(classes.tolist()) & set(known):
        raise ValueError(
            f"y holds the labels {classes.tolist()[:9]}, none of which is among those of the "
            f"estimator, {known[:9]}: give y in the labels that the estimator predicts"
        )


def _checked_labels(y: ArrayLike, n_rows: int) -> np.ndarray:
    labels = np.asarray(as_array(y))
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.shape != (n_rows,):
        raise ValueError(
            f"y has the shape {labels.shape}: there must be one label for each of the {n_rows} rows"
        )
    return labels
