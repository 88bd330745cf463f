"""What a search has fitted together, and why not the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Bucket", "FusedReport"]


@dataclass
class Bucket:
    """Fits that were made together.

    Attributes
    ----------
    estimator : str
        Name of the class.
    n_fits : int
        Number of fits.
    varied : tuple of str
        Parameters in which they differ.
    fit_time : float
        Seconds that they took.
    """

    estimator: str
    n_fits: int
    varied: tuple[str, ...]
    fit_time: float = 0.0


@dataclass
class FusedReport:
    """What was fitted together, and why the rest was not.

    Attributes
    ----------
    n_fits : int
        Candidates times folds.
    n_fused : int
        Fits that were made together with others.
    buckets : list of Bucket
        How these were grouped.
    reasons : dict of str to int
        Why fits were made one by one, and how many.
    n_prefixes : int
        Preprocessings that were fitted for all candidates which share them.

    Examples
    --------
    >>> from sklearn.linear_model import Lasso
    >>> from thetalearn import FusedGridSearchCV, LinearRegressor
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 2.0, 3.0]
    >>> grid = {"alpha": [0.01, 0.1]}
    >>> FusedGridSearchCV(LinearRegressor(), grid, cv=2).fit(X, y).fused_report_.n_fused
    4
    >>> FusedGridSearchCV(Lasso(), grid, cv=2).fit(X, y).fused_report_
    FusedReport: 0 of 4 fits made together
      4 one by one: Lasso has no method fit_replicas
    """

    n_fits: int = 0
    n_fused: int = 0
    buckets: list[Bucket] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    n_prefixes: int = 0

    def one_by_one(self, reason: str, n_fits: int = 1) -> None:
        """Note fits that were made alone, and the first line of why."""
        reason = reason.partition("\n")[0]
        self.reasons[reason] = self.reasons.get(reason, 0) + n_fits

    def add(self, other: FusedReport) -> None:
        """Take in the report of a part of the work."""
        self.n_fits += other.n_fits
        self.n_fused += other.n_fused
        self.n_prefixes += other.n_prefixes
        self.buckets.extend(other.buckets)
        for reason, number in other.reasons.items():
            self.one_by_one(reason, number)

    def __repr__(self) -> str:
        lines = [f"FusedReport: {self.n_fused} of {self.n_fits} fits made together"]
        for bucket in self.buckets:
            differing = ", ".join(bucket.varied) or "rows alone"
            lines.append(
                f"  {bucket.n_fits} of {bucket.estimator} in {bucket.fit_time:.3g} s, "
                f"differing in {differing}"
            )
        if self.n_prefixes:
            lines.append(f"  {self.n_prefixes} preprocessings fitted")
        for reason, number in self.reasons.items():
            lines.append(f"  {number} one by one: {reason}")
        return "\n".join(lines)
