r"""Standard errors of permutation importance.

The importance of a player is a mean over pairs of rows,

.. math:: \theta = \frac1n \sum_i \frac1n \sum_j h(i, j),

where :math:`h(i, j)` is the drop of row i's score when the player has the values of row j. Two
things make an estimate vary: the shuffles, which draw one donor j for each receiver i, and the rows
themselves. A row is a receiver in one pair and a donor in another, and counts as both: by
Hoeffding's projection its influence is

.. math:: \psi_k = (r_k - \theta) + (d_k - \theta), \qquad
    r_k = \frac1n \sum_j h(k, j), \quad d_k = \frac1n \sum_i h(i, k),

and the variance over samples of rows is that of :math:`\psi` divided by n. With weights of mean one
the means over receivers are weighted, :math:`d_k = \frac1n \sum_i \omega_i h(i, k)`, and the first
term becomes :math:`\omega_k (r_k - \theta)`; donors are drawn with equal chances. Rows are taken as
independent draws; the model is taken as given.

Sources: W. Hoeffding, "A class of statistics with asymptotically normal distribution", Annals of
Mathematical Statistics 19 (1948); A. W. van der Vaart, "Asymptotic Statistics", chapters 12 and 20;
F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics
Bulletin 2 (1946).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from ....randomness import random_numbers

__all__ = [
    "BaselineInfluence",
    "StandardErrors",
    "bootstrap_errors",
    "exact_errors",
    "sampled_errors",
]

#: What remains at least of a variance from which noise is subtracted.
FLOOR = 0.1


@dataclass(frozen=True)
class StandardErrors:
    """Standard errors of one importance, or of several as arrays.

    Parameters
    ----------
    mc_se : float or ndarray of shape (P,)
        Through the shuffles: what other shuffles of the same rows would change. NaN for a single
        shuffle, 0 for the mean over all.
    sample_se : float or ndarray of shape (P,)
        Through the rows: what other rows would change. Of a single shuffle it holds both.
    df : float or ndarray of shape (P,)
        Degrees of freedom of the two together.

    Examples
    --------
    >>> from thetalearn.inspection.importance.permutation.errors import StandardErrors
    >>> errors = StandardErrors(mc_se=3.0, sample_se=4.0, df=float("inf"))
    >>> float(errors.se)
    5.0
    >>> errors.interval(10.0, level=0.95).round(2)
    array([ 0.2, 19.8])
    """

    mc_se: Any
    sample_se: Any
    df: Any

    @property
    def se(self) -> Any:
        """Root of the sum of both variances."""
        # Of a single shuffle the second part holds the first.
        return np.hypot(np.nan_to_num(self.mc_se), self.sample_se)[()]

    def interval(self, importance: Any, level: float = 0.95) -> np.ndarray:
        r"""Confidence interval, :math:`\theta \pm t_\nu \cdot \mathrm{se}`.

        Parameters
        ----------
        importance : float or ndarray of shape (P,)
            Estimates.
        level : float, default=0.95
            Confidence, between 0 and 1.

        Returns
        -------
        ndarray of shape (2,) or (P, 2)
            Lower and upper ends, by the t distribution with `df` degrees of freedom.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level={level!r} must be between 0 and 1, for example 0.95")
        half = stats.t.ppf((1 + level) / 2, self.df) * self.se
        return np.stack([importance - half, importance + half], axis=-1)

    @staticmethod
    def stack(errors: Sequence[StandardErrors]) -> StandardErrors:
        """Those of several importances as one, with arrays."""
        return StandardErrors(
            mc_se=np.array([each.mc_se for each in errors], dtype=np.float64),
            sample_se=np.array([each.sample_se for each in errors], dtype=np.float64),
            df=np.array([each.df for each in errors], dtype=np.float64),
        )


@dataclass(frozen=True)
class BaselineInfluence:
    r"""What rows do to an importance whose baseline is of n rows, its shuffles of m of them.

    The importance is the drop among the m rows plus the difference of two baselines, of all rows
    and of these. With :math:`a_k` the influence of row k on the score, that difference moves by
    :math:`a_k (1/n - 1/m)` for a row that takes part, and by :math:`a_k / n` for another.

    Parameters
    ----------
    inside : ndarray of shape (m,)
        The first times m: what is added to the influences on the drop.
    variance : float
        Variance through the other rows, and what their scatter corrects of that through the m.
    df : float
        Its degrees of freedom.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.errors import BaselineInfluence
    >>> BaselineInfluence.of(np.array([1.0, -1.0, 2.0, -2.0]), np.array([0, 1])).inside
    array([-0.5,  0.5])
    """

    inside: np.ndarray
    variance: float
    df: float

    @classmethod
    def of(cls, influence: np.ndarray, rows: np.ndarray) -> BaselineInfluence:
        """From the influences (n,) on the score of all rows, and the rows (m,) that take part."""
        n, m = len(influence), len(rows)
        inside, outside = (m / n - 1) * influence[rows], np.delete(influence, rows)
        # All rows tell more of the scatter than the m do, which matters where the drop is none.
        excess = (m / n - 1) ** 2 * (influence @ influence) / n - inside @ inside / m
        variance = outside @ outside / n**2 + excess / m
        return cls(inside, float(variance), _effective_df(influence))

    def added(self, errors: StandardErrors) -> StandardErrors:
        """Errors of the drop, with influences ``inside`` in them, and those of other rows."""
        sample = np.square(errors.sample_se)
        first = np.nan_to_num(np.square(errors.mc_se)) + sample
        variance = first - sample + np.maximum(sample + self.variance, FLOOR * sample)
        with np.errstate(divide="ignore", invalid="ignore"):
            df = variance**2 / (first**2 / errors.df + self.variance**2 / max(self.df, 1.0))
        sample_se = np.sqrt(sample + variance - first)
        return StandardErrors(errors.mc_se, sample_se, np.where(np.isnan(df), np.inf, df))


def sampled_errors(
    drops: np.ndarray,
    donors: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    influence: np.ndarray | None = None,
) -> StandardErrors:
    r"""Standard errors of a mean over shuffles.

    A shuffle r gives each row one pair as a receiver and one as a donor, so that the sum
    :math:`c_{rk}` of both, less twice the mean, estimates :math:`\psi_k` without bias. The mean
    over R shuffles is noisy: its mean square exceeds that of :math:`\psi` by the variance of
    :math:`c_{rk}` over r, divided by R, which is subtracted. Of a single shuffle the drops
    :math:`h_k = h(k, \pi_k)` are correlated where they share a row, as donor of one and receiver of
    the other, and nowhere else; the mean over k of :math:`c_k^2 - (h_k - \theta)^2` is the variance
    through rows and shuffle together, and is reported as that through the rows. At least a tenth of
    the mean square of c is kept in either case.

    Parameters
    ----------
    drops : ndarray of shape (R, n)
        Score of each row in the baseline less that after each shuffle.
    donors : ndarray of int of shape (R, n)
        Permutations: the row whose values each row received.
    weight : ndarray of shape (n,), default=None
        Weights of the rows in the score; None for equal ones.
    influence : ndarray of shape (n,), default=None
        What else rows do to the importance, as through the variance by which :math:`R^2` is
        normalised (`RowMetric.normaliser_influence`).

    Returns
    -------
    StandardErrors
        Their degrees of freedom are Satterthwaite's, with n rows counted for as many as the
        kurtosis of their influences leaves of them.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.errors import sampled_errors
    >>> rng = np.random.RandomState(0)
    >>> x, noise = rng.standard_normal((2, 500))
    >>> donors = np.stack([rng.permutation(500) for _ in range(10)])
    >>> drops = (x - x[donors] + noise) ** 2 - noise**2
    >>> errors = sampled_errors(drops, donors)
    >>> round(errors.mc_se, 3), round(errors.sample_se, 3)
    (0.044, 0.159)
    """
    n_repeats, n_rows = drops.shape
    omega = 1.0 if weight is None else weight / weight.mean()
    importances = (omega * drops).mean(1)
    own = omega * (drops - importances[:, None])
    if influence is not None and n_repeats == 1:
        own = own + influence
    both = own + _to_donors(own, donors)
    # Receivers have mean zero in it, so that donors need not see it through their noise.
    if influence is not None and n_repeats > 1:
        both += influence
    mean = both.mean(0)
    square = mean @ mean
    if n_repeats == 1:
        noise, mc_variance = np.sum(own**2), np.nan
    else:
        noise = both.var(0, ddof=1).sum() / n_repeats
        mc_variance = importances.var(ddof=1) / n_repeats
    variance = max(square - noise, FLOOR * square) / (n_rows * (n_rows - 1))
    return _errors(variance, mc_variance, _effective_df(mean), n_repeats - 1)


def exact_errors(
    receivers: np.ndarray,
    givers: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    influence: np.ndarray | None = None,
) -> StandardErrors:
    """Standard errors of the mean over all shuffles.

    Parameters
    ----------
    receivers : ndarray of shape (n,)
        For each row, the mean drop of its score over all donors, itself included.
    givers : ndarray of shape (n,)
        For each row, the weighted mean drop of the scores of all rows when it is their donor.
    weight : ndarray of shape (n,), default=None
        Weights of the rows in the score; None for equal ones.
    influence : ndarray of shape (n,), default=None
        What else rows do to the importance, as in `sampled_errors`.

    Returns
    -------
    StandardErrors
        Without an error through the shuffles.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.errors import exact_errors
    >>> drops = (np.arange(4.0)[:, None] - np.arange(4.0)) ** 2
    >>> errors = exact_errors(drops.mean(1), drops.mean(0))
    >>> errors.mc_se, round(errors.sample_se, 4)
    (0.0, 1.1547)
    """
    omega = 1.0 if weight is None else weight / weight.mean()
    importance = (omega * receivers).mean()
    psi = omega * (receivers - importance) + givers - importance
    if influence is not None:
        psi = psi + influence
    n = len(psi)
    return _errors(psi @ psi / (n * (n - 1)), 0.0, _effective_df(psi), 1)


def bootstrap_errors(
    importance_of: Callable[[np.ndarray, np.random.RandomState], np.ndarray],
    n_rows: int,
    importances: np.ndarray,
    *,
    n_resamples: int = 200,
    random_state: Any = None,
) -> StandardErrors:
    """Standard errors by resampling rows, for scores that are no means over rows.

    The variance over resamples, each with a shuffle of its own, holds that of one shuffle, which is
    known from the importances and is subtracted; at least a tenth is kept. Of a single shuffle it
    is not known, and the error through the rows holds both.

    Parameters
    ----------
    importance_of : callable
        From row indices (n_rows,), with repetitions, and a generator for one shuffle, to the
        importances (P,) of the resampled rows.
    n_rows : int
        Number of rows, at least 2.
    importances : ndarray of shape (P, R)
        Importances of the rows themselves, by shuffle.
    n_resamples : int, default=200
        Number of resamples, at least 2. The standard error has a relative error of about
        ``1 / sqrt(2 * n_resamples)``.
    random_state : int, RandomState instance or None, default=None
        Where resamples and their shuffles come from.

    Returns
    -------
    StandardErrors
        Arrays of shape (P,).

    Raises
    ------
    ValueError
        If `n_resamples` is below 2.

    Notes
    -----
    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.permutation.errors import bootstrap_errors
    >>> x = np.random.RandomState(0).standard_normal(400)
    >>> def importance_of(rows, rng):
    ...     return np.array([np.mean((x[rows] - x[rng.permutation(rows)]) ** 2)])
    >>> rng = np.random.RandomState(1)
    >>> importances = np.array([[importance_of(np.arange(400), rng)[0] for _ in range(30)]])
    >>> errors = bootstrap_errors(importance_of, 400, importances, random_state=0)
    >>> np.abs(errors.sample_se - np.sqrt(8 / 400)) < 0.02
    array([ True])
    """
    if n_resamples < 2:
        raise ValueError(f"n_resamples={n_resamples!r} must be at least 2, better 200")
    rng = random_numbers(random_state)
    resampled = np.stack(
        [importance_of(rng.randint(n_rows, size=n_rows), rng) for _ in range(n_resamples)]
    )
    variance, n_repeats = resampled.var(0, ddof=1), importances.shape[1]
    if n_repeats == 1:
        mc_variance = np.full(len(variance), np.nan)
    else:
        one_shuffle = importances.var(1, ddof=1)
        variance = np.maximum(variance - one_shuffle, FLOOR * variance)
        mc_variance = one_shuffle / n_repeats
    return _errors(variance, mc_variance, min(n_rows, n_resamples) - 1, n_repeats - 1)


def _to_donors(values: np.ndarray, donors: np.ndarray) -> np.ndarray:
    """Values (R, n) of receivers, put where their donors are."""
    given = np.empty_like(values)
    np.put_along_axis(given, donors, values, axis=1)
    return given


def _effective_df(influence: np.ndarray) -> float:
    """Degrees of freedom of a mean square of n numbers: n − 1 if they are normal."""
    squares = influence**2
    spread = squares.var()
    # Twice the squared mean over the variance of the mean, as for a χ².
    return float(2 * len(squares) * squares.mean() ** 2 / spread) - 1 if spread > 0 else np.inf


def _errors(variance: Any, mc_variance: Any, df: Any, mc_df: int) -> StandardErrors:
    """Standard errors of two variances with their degrees of freedom, by Satterthwaite's rule."""
    known = np.nan_to_num(mc_variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = (variance + known) ** 2 / (variance**2 / df + known**2 / max(mc_df, 1))
    joint = np.where(np.isnan(joint), np.inf, np.maximum(joint, 1.0))
    parts = (np.sqrt(mc_variance), np.sqrt(variance), joint)
    return StandardErrors(*(part.item() if np.ndim(part) == 0 else part for part in parts))
