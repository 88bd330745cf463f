"""Permutation importance: what a score loses when a column is shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch
from sklearn.utils.validation import check_consistent_length

from ....rows import as_array
from ..metrics.resolve import Metric, RowMetric, UserScorer, resolve_metrics
from ..model.inputs import Inputs
from ..model.players import resolve_players
from ..model.tables import as_table
from .called import rows_of, scores_of_calls
from .donors import Shuffles
from .functions import checked_estimator
from .shuffled import ShuffledScores, scores_of_predictions
from .strata import strata_of_players
from .study import Plan

__all__ = ["permutation_importance"]


def permutation_importance(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    scoring: Any = None,
    n_repeats: int | Literal["all"] = 5,
    n_jobs: int | None = None,
    random_state: Any = None,
    sample_weight: Any = None,
    max_samples: float = 1.0,
    features: Any = None,
    groups: Mapping[str, Any] | Sequence[Any] | None = None,
    method: str = "marginal",
    min_stratum: int = 30,
    se: str | None = "influence",
    confidence_level: float = 0.95,
    n_bootstraps: int = 200,
    dtype: str = "auto",
    memory_budget: int = 2**28,
) -> Any:
    r"""What the score of a fitted estimator loses when columns of X are shuffled.

    The importance of a player p, a column or a group of columns, is the mean over shuffles π of

    .. math:: s\bigl(y, f(x_1, \dots, x_n)\bigr)
        - s\bigl(y, f(x_{1,-p}, x_{\pi(1),p}, \dots, x_{n,-p}, x_{\pi(n),p})\bigr),

    where s is a score. The estimator is not fitted again. The first parameters are those of
    ``sklearn.inspection.permutation_importance``, and for the same integer ``random_state``
    ``importances`` are the same to rounding. They are found without predicting every shuffled
    table, as far as is known how the estimator is built from functions of single columns:

    - sums of functions of single columns (linear and additive models): the shuffled column's part
      is exchanged;
    - sums of products (Chebyshev, spline and polynomial bases of several columns): only terms that
      the column takes part in change;
    - functions of such a sum (networks, links, kernels): the sum is updated, which for a network is
      an update of rank one to what enters its first layer, and the rest is evaluated;
    - any other estimator: many shuffled tables are predicted at once. In a pipeline whose
      transformers keep columns apart, rows are transformed once.

    Predictions of a row must not depend on the other rows, as for all of scikit-learn's estimators.

    Parameters
    ----------
    estimator : estimator or callable
        Fitted estimator, pipeline or search, or a function from rows to values or labels, which
        needs a ``scoring``: one of values by its name, or a function of the estimator, X and y.
    X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
        Rows, best such that the fit has not seen. Columns of a pipeline's input are shuffled, not
        those that its steps make of them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
        Targets or labels.
    scoring : str, callable, list, tuple, dict or None, default=None
        As in ``sklearn.metrics.check_scoring``; None for the estimator's ``score``. Several scores
        share their predictions.
    n_repeats : int or "all", default=5
        Number of shuffles R, or all n! of them, the identity included: their mean is a mean over
        all pairs of rows. It is found in O(n) for squared errors of sums and products, otherwise by
        evaluating all pairs of a row and a different value of the player, up to n² of them.
    n_jobs : int or None, default=None
        Number of threads, over which players are distributed; -1 for all processors. Around a
        network of small matrices, threads of linear algebra are not used.
    random_state : int, RandomState instance or None, default=None
        Where shuffles come from. All players see the same shuffles. None takes new ones at every
        call, but not from NumPy's global generator.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the score. Rows give their values to others with equal chances.
    max_samples : int or float, default=1.0
        Number of rows, or their share, drawn once without replacement, that scores after shuffles
        are computed on. As in scikit-learn, the baseline is the score of all rows, so that by what
        the two sets of rows differ enters ``importances``; standard errors and intervals hold it.
    features : list, default=None
        Players, in their order in the result: names or positions of columns, names of groups, or
        lists of columns that are shuffled together. They may share columns. None for all columns
        and groups.
    groups : dict of str to list, or list of lists, default=None
        Columns, by names or positions, that are shuffled together. Other columns are players of
        their own.
    method : {"marginal", "conditional"}, default="marginal"
        Whether a column is shuffled among all rows, or among those of strata: leaves of a
        regression tree that predicts the column from all others. A marginal shuffle breaks the
        dependence on y and on the other columns, and looks at the estimator where there may be no
        data. A shuffle within strata draws, approximately, from the conditional distribution given
        the other columns: the importance is what the column tells beyond them, and of two columns
        that are copies of each other it falls towards zero as rows grow, and strata with them in
        number.
    min_stratum : int, default=30
        Smallest number of rows of a stratum, at least 2. Small strata keep more of the dependence,
        and leave less to be shuffled. With fewer than twice as many rows there is one stratum,
        which is the marginal shuffle.
    se : {"influence", "bootstrap"} or None, default="influence"
        How the standard error through the rows is estimated. "influence": from each row's part as a
        receiver and as a donor; for scores that are functions of means over rows (of regressors the
        squared, absolute, root squared and Poisson errors, R², explained variance; of classifiers
        accuracy, log loss, Brier score), NaN for others. "bootstrap": by resampling rows, for
        any score, at the cost of ``n_bootstraps`` repeats.
    confidence_level : float, default=0.95
        Level of ``ci``, between 0 and 1.
    n_bootstraps : int, default=200
        Number of resamples.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision in which networks and other functions of sums are evaluated that were fitted in
        double precision. "auto" takes single precision for functions of 32 sums (hidden units) or
        more, where a trial on the rows, and on rows mixed of them, shows that values change by less
        than 2e-6 of their standard deviation: importances change in the sixth digit at most, where
        their standard errors leave one or two. Scores that depend on ranks, on classes or on
        logarithms get double precision.
    memory_budget : int, default=2**28
        Bytes that tables of predictions may take. The shuffles themselves take 8 R n bytes.

    Returns
    -------
    Bunch or dict of str to Bunch
        For several scores a dict by their names. Of P players and R repeats (1 for "all"):

        importances : ndarray of shape (P, R)
            Baseline score less the score after each shuffle.
        importances_mean, importances_std : ndarray of shape (P,)
            Mean and standard deviation (``ddof=0``) over the shuffles, as in scikit-learn.
        importances_se : ndarray of shape (P,)
            Standard error of the mean: root of the sum of squares of the next two.
        mc_se : ndarray of shape (P,)
            What other shuffles of the same rows would change: the standard deviation
            (``ddof=1``) by the root of R. 0 for all shuffles, NaN for one.
        sample_se : ndarray of shape (P,)
            What other rows of the same kind would change; for a single shuffle with what another
            shuffle would. NaN where ``se`` does not give it, and so are ``importances_se`` and
            ``ci`` then.
        ci : ndarray of shape (P, 2)
            Confidence interval of the mean, by the t distribution. A fit to other data is not part
            of its uncertainty.
        scores_after : ndarray of shape (P, R)
            Scores after shuffles.
        baseline_score : float
            Score of the rows as they are.
        feature_names : list of str
            Names of the players.
        method : str
            How it was found: "closed form", "touched terms", "first layer", "stacked prediction" or
            "one call a shuffle".

    Raises
    ------
    ValueError
        If a parameter is out of range, a column is not known, or ``n_repeats="all"`` is asked of a
        score whose mean over shuffles is not a mean over pairs of rows.

    Notes
    -----
    The mean over all shuffles of an additive model with parts :math:`g_p` has, for the mean squared
    error, the closed form :math:`2(\mathrm{Var}(g_p) + \mathrm{Cov}(y - f, g_p))`. For predictions
    and labels that are 0 or 1, the accuracy after all shuffles of p is that of the projection of f
    on all other columns, the mean of f over the values of p in all rows.

    References
    ----------
    L. Breiman, *Random Forests*, section 10.
    A. Fisher, C. Rudin, F. Dominici, *All Models are Wrong, but Many are Useful*, section 3.
    C. Molnar, G. König, B. Bischl, G. Casalicchio, *Model-agnostic Feature Importance and Effects
    with Dependent Features: A Conditional Subgroup Approach*, section 4.
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, section 12.2, which tabulates ``scores_after``.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn.inspection.importance.permutation.importance import permutation_importance
    >>> X = np.random.RandomState(0).normal(size=(500, 3))
    >>> y = 3 * X[:, 0] + X[:, 1]
    >>> model = LinearRegressor().fit(X, y)
    >>> exact = permutation_importance(model, X, y, n_repeats="all")
    >>> exact.importances_mean.round(2)
    array([1.84, 0.23, 0.  ])
    >>> drawn = permutation_importance(model, X, y, features=[["x0", "x1"], "x2"])
    >>> drawn.feature_names, drawn.method
    (['x0, x1', 'x2'], 'touched terms')
    """
    _check(n_repeats, method, min_stratum, se, confidence_level, n_bootstraps, dtype, memory_budget)
    if not hasattr(X, "shape"):
        X = as_table(X)
    if not X.shape[0]:
        raise ValueError(f"X of shape {tuple(X.shape)} has no rows: give at least one")
    estimator = checked_estimator(estimator, X, y, scoring)
    check_consistent_length(X, y, sample_weight)
    exact = n_repeats == "all"
    shuffles = Shuffles.draw(
        random_state, X.shape[0], 1 if n_repeats == "all" else n_repeats, max_samples
    )
    inputs = Inputs.of(estimator, X)
    players = resolve_players(inputs.names, features, groups, overlapping=True)
    strata = None
    if method == "conditional":
        table = inputs.align(X)
        strata = strata_of_players(
            table if shuffles.rows is None else rows_of(table, shuffles.rows),
            players.columns,
            min_stratum=min_stratum,
            random_state=shuffles.seed,
            n_jobs=n_jobs,
        )
    plan = Plan(
        players, shuffles, strata, exact, se, n_bootstraps, n_jobs, dtype, int(memory_budget)
    )
    metrics, several = _metrics(estimator, scoring, y, sample_weight)
    if exact:
        _check_exact(metrics, scoring, y)
    found, several = _scores(plan, estimator, X, y, sample_weight, metrics, several)
    results = {
        name: _bunch(scores, players.names, confidence_level) for name, scores in found.items()
    }
    return results if several else next(iter(results.values()))


def _metrics(
    estimator: Any, scoring: Any, y: Any, sample_weight: Any
) -> tuple[dict[str, Metric | UserScorer], bool]:
    if y is None:
        return {"score": UserScorer(check_scoring(estimator, scoring=scoring))}, False
    return resolve_metrics(estimator, scoring, y, sample_weight)


def _scores(
    plan: Plan,
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    metrics: Mapping[str, Metric | UserScorer],
    several: bool,
) -> tuple[dict[str, ShuffledScores], bool]:
    """Scores of all metrics in their order, and whether they are several."""
    found: dict[str, ShuffledScores] = {}
    by_method: dict[str, dict[str, Metric]] = {}
    for name, metric in metrics.items():
        if isinstance(metric, Metric):
            by_method.setdefault(metric.response_method, {})[name] = metric
    for response_method, group in by_method.items():
        found |= scores_of_predictions(plan, estimator, X, response_method, group)
    for name, metric in metrics.items():
        if isinstance(metric, UserScorer):
            called = scores_of_calls(plan, estimator, _for_calls(X), y, sample_weight, metric)
            if not several and None not in called:
                return {str(key): scores for key, scores in called.items()}, True
            found[name] = called[None]
    return {name: found[name] for name in metrics}, several


def _for_calls(X: Any) -> Any:
    """X as a scorer of the user gets it: an array, a data frame or a sparse matrix."""
    return X if sp.issparse(X) else as_table(X)


def _bunch(scores: ShuffledScores, names: list[str], confidence_level: float) -> Bunch:
    """The result of one score."""
    importances = scores.baseline - scores.after
    mean = importances.mean(1)
    return Bunch(
        importances=importances,
        importances_mean=mean,
        importances_std=importances.std(1),
        importances_se=scores.errors.se,
        mc_se=scores.errors.mc_se,
        sample_se=scores.errors.sample_se,
        ci=scores.errors.interval(mean, confidence_level),
        scores_after=scores.after,
        baseline_score=scores.baseline,
        feature_names=list(names),
        method=scores.method,
    )


def _check_exact(metrics: Mapping[str, Metric | UserScorer], scoring: Any, y: Any) -> None:
    """Refuse scores whose mean over all shuffles is no mean over pairs."""
    for name, metric in metrics.items():
        if not (isinstance(metric, RowMetric) and metric.is_linear):
            called = repr(scoring) if name == "score" else repr(name)
            if y is not None and _is_constant(y):
                raise ValueError(
                    f'n_repeats="all" with scoring={called} needs a y that varies, but all its '
                    'values are the same: choose "neg_mean_squared_error", or a number of repeats'
                )
            raise ValueError(
                f'n_repeats="all" needs a score that is a mean over rows, which scoring={called} '
                'is not: choose "r2", "neg_mean_squared_error", "neg_mean_absolute_error", '
                '"accuracy", "neg_log_loss" or "neg_brier_score", or a number of repeats'
            )


def _is_constant(y: Any) -> bool:
    values = np.asarray(as_array(y))
    return bool((values == values[:1]).all())


def _check(
    n_repeats: Any,
    method: str,
    min_stratum: int,
    se: str | None,
    confidence_level: float,
    n_bootstraps: int,
    dtype: str,
    memory_budget: float,
) -> None:
    """Refuse parameters that are out of range."""
    count = isinstance(n_repeats, Integral) and not isinstance(n_repeats, bool)
    if not (n_repeats == "all" if isinstance(n_repeats, str) else count and n_repeats >= 1):
        raise ValueError(f'n_repeats={n_repeats!r} must be a positive integer, or "all"')
    for parameter, value, choices in (
        ("method", method, ("marginal", "conditional")),
        ("se", se, ("influence", "bootstrap", None)),
        ("dtype", dtype, ("auto", "float32", "float64")),
    ):
        if value not in choices:
            raise ValueError(f"{parameter}={value!r} must be one of {list(choices)}")
    for parameter, number, least in (
        ("min_stratum", min_stratum, 2),
        ("n_bootstraps", n_bootstraps, 2),
        ("memory_budget", memory_budget, 1),
    ):
        if not (isinstance(number, Real) and number >= least):
            raise ValueError(f"{parameter}={number!r} must be at least {least}")
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level={confidence_level!r} must be between 0 and 1, for example 0.95"
        )
