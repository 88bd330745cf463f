"""Means over rows of what players add in random orders, with standard errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ....exceptions import ConvergenceWarning, warn_user

__all__ = ["Sweeps", "sweep_rows"]

#: Blocks before a standard error is trusted.
FIRST = 12

#: What players add for given rows, in orders drawn afresh: (n_rows, P).
Contributions = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Sweeps:
    """Estimated means over rows.

    Parameters
    ----------
    values, standard_errors : ndarray of shape (P,)
        Means over all rows of what each player adds, averaged over orders, and the standard errors
        of the sampling.
    row_variance : ndarray of shape (P,) or None
        Variance between rows of what players add on average over orders; None if no row was seen
        twice.
    n_blocks : int
        Blocks of rows, each with an order of its own.
    degrees : ndarray of shape (P,)
        Degrees of freedom of the standard errors, fewer where a few blocks stand out.
    converged : bool
        Whether the precision was met.
    """

    values: np.ndarray
    standard_errors: np.ndarray
    row_variance: np.ndarray | None
    n_blocks: int
    degrees: np.ndarray
    converged: bool

    @classmethod
    def without_error(cls, values: np.ndarray) -> Sweeps:
        """Values that were not sampled."""
        return cls(values, np.zeros(len(values)), None, 0, np.ones(len(values)), True)

    def warn_unless_converged(self, precision: float, max_evals: int) -> None:
        """Say how precise the values are, if that is not what was asked for."""
        if self.converged:
            return
        spread = max(float(np.ptp(self.values)), float(np.finfo(float).tiny))
        warn_user(
            f"the largest standard error is {self.standard_errors.max() / spread:.3g} of the range "
            f"of the values after max_evals={max_evals} evaluations, above precision={precision}: "
            "raise max_evals, or be content with a larger precision",
            ConvergenceWarning,
        )


def sweep_rows(
    contributions: Contributions,
    totals: np.ndarray,
    n_players: int,
    size: int,
    *,
    precision: float,
    max_blocks: int,
    rng: np.random.RandomState,
) -> Sweeps:
    r"""Average what players add over rows, a block of rows and an order of players at a time.

    Blocks part all rows at random, again in each sweep, so that every row is used as often as any
    other. Until the first sweep is over, rows are a sample: as what all players add together is
    known for every row, the estimate is corrected by regression on it. From two sweeps on, the mean
    of each row is taken from its values, and what is left varies by the orders alone.

    Parameters
    ----------
    contributions : callable
        From row numbers (n,) to what players add (n, P), for orders drawn afresh.
    totals : ndarray of shape (N,)
        What all players add together for each row, which does not depend on the order.
    n_players : int
        P.
    size : int
        Rows of a block.
    precision : float
        Largest standard error, relative to the range of the values.
    max_blocks : int
        Blocks at which to end anyhow, but not before there are ``FIRST``. Sweeps after the first
        are completed.
    rng : RandomState
        Source of the blocks.

    Returns
    -------
    Sweeps
        Values that sum to the mean of the totals.

    References
    ----------
    W. G. Cochran, *Sampling Techniques*, section 7.3 (regression estimates).

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.sage.sweeps import sweep_rows
    >>> rows = np.arange(20.0)
    >>> def shares(which):
    ...     return np.stack([0.25 * rows[which], 0.75 * rows[which]], axis=1)
    >>> rng = np.random.RandomState(0)
    >>> sweep_rows(shares, rows, 2, 5, precision=0.01, max_blocks=100, rng=rng).values
    array([2.375, 7.125])
    """
    record = _Record(totals, n_players)
    per_sweep = -(-len(totals) // size)
    most, next_look = max(max_blocks, FIRST), 0.0
    while True:
        for rows in np.array_split(rng.permutation(len(totals)), per_sweep):
            record.add(rows, contributions(rows))
            if record.n_sweeps or record.n_blocks < FIRST:
                continue
            if record.n_blocks >= most or record.n_blocks % FIRST == 0:
                found = record.partial(precision)
                if found.converged or record.n_blocks >= most:
                    return found
        record.end_sweep()
        last = record.n_blocks + per_sweep > most
        if record.n_blocks < FIRST or (record.n_sweeps < next_look and not last):
            continue
        found = record.whole(precision) if record.n_sweeps > 1 else record.partial(precision)
        if found.converged or last:
            return found
        next_look = 1.1 * record.n_sweeps


class _Record:
    """What blocks of rows gave."""

    def __init__(self, totals: np.ndarray, n_players: int) -> None:
        self.totals = totals
        self.blocks: list[np.ndarray] = []
        self.means: list[np.ndarray] = []
        self.n_sweeps = 0
        shape = (len(totals), n_players)
        self._sweep, self._mean = np.zeros(shape), np.zeros(shape)
        self._squares, self._variances = np.zeros(n_players), np.zeros(n_players)

    @property
    def n_blocks(self) -> int:
        return len(self.means)

    def add(self, rows: np.ndarray, each: np.ndarray) -> None:
        """Take in what players add (n, P) for the rows of a block."""
        self.blocks.append(rows)
        self.means.append(each.mean(0))
        self._sweep[rows] = each

    def end_sweep(self) -> None:
        """Every row has been used once more."""
        self.n_sweeps += 1
        step = self._sweep - self._mean
        self._mean += step / self.n_sweeps
        self._squares += (step * (self._sweep - self._mean)).sum(0)
        self._variances += self._sweep.var(0)

    def partial(self, precision: float) -> Sweeps:
        """Estimate from blocks of different rows, by regression on their totals."""
        sizes = np.array([len(rows) for rows in self.blocks], dtype=float)
        means = np.array(self.means)
        value = sizes @ means / sizes.sum()
        known = np.array([self.totals[rows].mean() for rows in self.blocks])
        seen = sizes @ known / sizes.sum()
        gap = known - seen
        spread = sizes @ gap**2
        slope = np.full(len(value), 1 / len(value))
        if spread > 0:
            slope = (sizes * gap) @ (means - value) / spread
        rest = means - value - np.outer(gap, slope)
        value = value + slope * (self.totals.mean() - seen)
        variance = sizes**2 @ rest**2 / sizes.sum() ** 2 * self.n_blocks / (self.n_blocks - 2)
        return self._result(value, variance, None, _degrees(rest, self.n_blocks - 2), precision)

    def whole(self, precision: float) -> Sweeps:
        r"""Estimate from sweeps over all rows, the mean of each row taken from its values.

        With s sweeps the noise A of a block of R rows shows as :math:`(1 - 1/s)^2 A`, and that of
        the rows' own means adds :math:`(s - 1) / s^2` of the variance within rows over R. A is that
        variance over R at least.
        """
        s, n = self.n_sweeps, len(self.totals)
        within = self._squares / (n * (s - 1))
        sizes = np.array([len(rows) for rows in self.blocks], dtype=float)
        rest = np.array(
            [
                mean - self._mean[rows].mean(0)
                for mean, rows in zip(self.means, self.blocks, strict=True)
            ]
        )
        shown = sizes**2 @ rest**2 / sizes.sum() ** 2
        own = within / (n * s)
        variance = np.maximum((shown - own * (s - 1) / s**2) / (1 - 1 / s) ** 2, own)
        # Orders of different sweeps are independent, so rows vary together by what is their own.
        between = (s * self._mean.var(0) - self._variances / s).clip(min=0) / (s - 1)
        between *= n / max(n - 1, 1)
        degrees = _degrees(rest, self.n_blocks - 1)
        return self._result(self._mean.mean(0), variance, between, degrees, precision)

    def _result(
        self,
        values: np.ndarray,
        variance: np.ndarray,
        between: np.ndarray | None,
        degrees: np.ndarray,
        precision: float,
    ) -> Sweeps:
        errors = np.sqrt(variance)
        converged = bool(errors.max() <= precision * np.ptp(values))
        return Sweeps(values, errors, between, self.n_blocks, degrees, converged)


def _degrees(rest: np.ndarray, most: int) -> np.ndarray:
    """Degrees of freedom of sums of squares of residuals (K, P), by their kurtosis.

    A normal variable has ``most`` on average; if a few blocks make the sum, there are fewer.
    """
    squares = rest**2
    fourth = (squares**2).sum(0)
    ratio = squares.sum(0) ** 2 / np.where(fourth > 0, fourth, 1.0)
    return np.where(fourth > 0, np.clip(3 * (ratio - 1), 1, most), most)
