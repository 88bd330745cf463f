"""Scores after shuffles by a scorer that needs the estimator and X: one call a shuffle."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.parallel import Parallel, delayed

from ..metrics.resolve import UserScorer
from ..model.tables import is_frame, mixed
from .errors import StandardErrors, bootstrap_errors
from .shuffled import ShuffledScores
from .study import Plan

__all__ = ["exchanged", "rows_of", "scores_of_calls"]

METHOD = "one call a shuffle"


def scores_of_calls(
    plan: Plan, estimator: Any, X: Any, y: Any, sample_weight: Any, scorer: UserScorer
) -> dict[str | None, ShuffledScores]:
    """Scores by name; the name is None if the scorer returns a number.

    Parameters
    ----------
    plan : Plan
        What is computed.
    estimator : estimator
        Handed to the scorer.
    X : array, data frame or sparse matrix of shape (n, d)
        Rows, which the scorer gets as they are but for the columns of a player.
    y : array-like or None
        Targets, handed to the scorer.
    sample_weight : array-like of shape (n,) or None
        Weights, handed to the scorer if they are not None.
    scorer : UserScorer
        What is called.

    Returns
    -------
    dict of str or None to ShuffledScores
        One entry for each score.
    """
    whole = X, y, sample_weight
    before = _named(scorer(estimator, *whole))
    rows = plan.shuffles.rows
    if rows is not None:
        X, y, sample_weight = rows_of(X, rows), rows_of(y, rows), rows_of(sample_weight, rows)
    after = _after(plan, estimator, X, y, sample_weight, scorer)
    n_repeats = next(iter(after.values())).shape[1]
    errors = {}
    for name, scores in after.items():
        one = scores.std(1, ddof=1) if n_repeats > 1 else np.full(len(scores), np.nan)
        nothing = np.full(len(scores), np.nan)
        errors[name] = StandardErrors(one / n_repeats**0.5, nothing, nothing)
    if plan.se == "bootstrap":
        drops = {name: before[name] - scores for name, scores in after.items()}
        errors = _bootstrapped(plan, estimator, (X, y, sample_weight), whole, scorer, drops)
    return {
        name: ShuffledScores(before[name], after[name], errors[name], METHOD) for name in before
    }


def rows_of(values: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, a data frame, a sparse matrix or a list; None of None."""
    if values is None:
        return None
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    if sp.issparse(values):
        return values.tocsr()[rows]
    if is_frame(values) or hasattr(values, "shape"):
        return values[rows]
    return np.asarray(values)[rows]


def exchanged(X: Any, own: np.ndarray, donors: np.ndarray) -> Any:
    """A copy of X whose columns ``own`` come from the rows ``donors`` (n,).

    Parameters
    ----------
    X : ndarray, data frame or sparse matrix of shape (n, d)
        Rows.
    own : ndarray of int
        Positions of columns.
    donors : ndarray of int of shape (n,)
        Rows.

    Returns
    -------
    ndarray, data frame or sparse matrix of shape (n, d)
        The same type, with the index of X.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.called import exchanged
    >>> exchanged(np.array([[1, 2], [3, 4]]), np.array([1]), np.array([1, 0]))
    array([[1, 4],
           [3, 2]])
    """
    if hasattr(X, "iloc"):
        frame = X.copy(deep=False)
        for j in own.tolist():
            frame.isetitem(j, X.iloc[:, j].array.take(donors))
        return frame
    if is_frame(X):
        index = np.repeat(np.arange(len(X))[:, None], X.shape[1], axis=1)
        index[:, own] = donors[:, None]
        return mixed(X, index)
    if sp.issparse(X):
        columns = X.tocsc()
        place = np.arange(X.shape[1])
        place[own] = X.shape[1] + np.arange(len(own))
        both = sp.hstack([columns, columns.tocsr()[donors].tocsc()[:, own]], format="csc")
        return both[:, place].asformat(X.format)
    copy = X.copy()
    copy[:, own] = X[donors[:, None], own]
    return copy


def _after(
    plan: Plan, estimator: Any, X: Any, y: Any, sample_weight: Any, scorer: UserScorer
) -> dict[str | None, np.ndarray]:
    """Scores (P, R) after shuffles, by name."""

    def scores_of(player: int) -> list[dict[str | None, float]]:
        own = plan.players.columns[player]
        return [
            _named(scorer(estimator, exchanged(X, own, donors), y, sample_weight))
            for donors in plan.donors(player).numpy()
        ]

    jobs = (delayed(scores_of)(player) for player in range(len(plan.players)))
    found = Parallel(n_jobs=plan.n_jobs, prefer="threads")(jobs)
    return {
        name: np.array([[scores[name] for scores in each] for each in found])
        for name in found[0][0]
    }


def _bootstrapped(
    plan: Plan,
    estimator: Any,
    data: tuple[Any, Any, Any],
    whole: tuple[Any, Any, Any],
    scorer: UserScorer,
    drops: dict[str | None, np.ndarray],
) -> dict[str | None, StandardErrors]:
    """Standard errors of all scores from the same resamples of the data and of the whole of it."""
    names, n = list(drops), len(plan.players)

    def importance_of(rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        some, targets, weight = (rows_of(values, rows) for values in data)
        after = _after(plan.resampled(rows, rng), estimator, some, targets, weight, scorer)
        every = plan.shuffles.with_others(rows, whole[0].shape[0], rng)
        before = _named(scorer(estimator, *(rows_of(values, every) for values in whole)))
        return np.concatenate([before[name] - after[name][:, 0] for name in names])

    found = bootstrap_errors(
        importance_of,
        plan.shuffles.n_rows,
        np.concatenate([drops[name] for name in names]),
        n_resamples=plan.n_bootstraps,
        random_state=plan.shuffles.seed,
    )
    parts = (found.mc_se, found.sample_se, np.broadcast_to(found.df, found.mc_se.shape))
    return {
        name: StandardErrors(*(part[k * n : (k + 1) * n] for part in parts))
        for k, name in enumerate(names)
    }


def _named(score: Any) -> dict[str | None, float]:
    """Scores by name; None is the name of a single one."""
    if isinstance(score, dict):
        return {str(name): _number(each, str(name)) for name, each in score.items()}
    return {None: _number(score, "scoring")}


def _number(score: Any, name: str) -> float:
    """A score, if it is one."""
    try:
        return float(score)
    except (TypeError, ValueError):
        called = "the scorer" if name == "scoring" else f"the scorer {name!r}"
        raise ValueError(
            f"scoring: {called} returned {score!r}, which is no number: let it return a float, or "
            "a dict of floats"
        ) from None
