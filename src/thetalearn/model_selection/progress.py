"""How far a search is: one bar over all fits, with the best score so far."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from ..monitor import LAST_LINE, LINE, PAUSE

__all__ = ["SearchProgress"]

#: Letters that the parameters of the best candidate may take behind the bar.
ROOM = 40


class SearchProgress:
    """A progress bar over the fits of a search, candidates times folds.

    A fit counts by :meth:`update`, with its score. A candidate all of whose folds are in may be the
    best, and the best mean score stands behind the bar. Scores are as scorers give them, greater is
    better. All methods may be called from several threads.

    Parameters
    ----------
    total : int
        Fits that are expected.
    shown : bool
        Whether to draw the bar, on standard error or in the notebook. Without it only the best
        score is kept.
    label : str, default=""
        What the bar is called.
    metric : str, default=None
        Name of the score behind the bar: of several metrics, the one that ``refit`` names.

    Attributes
    ----------
    best_score : float
        Best mean score of a candidate all of whose folds are in; NaN without any.
    best_params : dict or None
        Parameters of this candidate, if they were given.

    Examples
    --------
    >>> from thetalearn.model_selection.progress import SearchProgress
    >>> with SearchProgress(4, shown=False) as progress:
    ...     for candidate, score in [(0, 0.5), (1, 0.75), (0, 0.5), (1, 0.0)]:
    ...         progress.update(candidate, 2, score)
    >>> progress.best_score
    0.5
    """

    def __init__(
        self,
        total: int,
        *,
        shown: bool,
        label: str = "",
        metric: str | None = None,
    ) -> None:
        self.best_score = math.nan
        self.best_params: Mapping[str, Any] | None = None
        self._name = "best" if metric is None else f"best {metric}"
        self._scores: dict[int, list[float]] = {}
        self._lock = threading.RLock()
        self._bar: Any = _bar(total, label) if shown else None
        self._due = time.perf_counter() + PAUSE

    def advance(self, n_fits: int = 1) -> None:
        """Count fits that are done, whose scores are not known.

        Parameters
        ----------
        n_fits : int, default=1
            How many.
        """
        with self._lock:
            if self._bar is not None:
                self._bar.n += n_fits
            self._draw()

    def update(
        self,
        candidate: int | None,
        n_splits: int,
        score: float | None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        """Count one fit, and take in its score.

        Parameters
        ----------
        candidate : int or None
            Number of its candidate; candidates come in any order. None if there is none.
        n_splits : int
            Folds after whose scores the candidate is complete.
        score : float or None
            Its score, NaN if the fit failed; None if it is not known.
        params : dict, default=None
            Parameters of the candidate, shown if they are few.
        """
        with self._lock:
            if candidate is not None and score is not None:
                scores = self._scores.setdefault(candidate, [])
                scores.append(float(score))
                if len(scores) == n_splits:
                    self.note(math.fsum(scores) / n_splits, params)
                    scores.clear()
            self.advance()

    def note(self, score: float, params: Mapping[str, Any] | None = None) -> None:
        """Take in the mean score of a candidate.

        Parameters
        ----------
        score : float
            The score; NaN is never the best.
        params : dict, default=None
            Parameters of the candidate, shown if they are few.
        """
        with self._lock:
            if score > self.best_score or (math.isnan(self.best_score) and not math.isnan(score)):
                self.best_score, self.best_params = float(score), params
                self._draw()

    def close(self) -> None:
        """Leave the last line of the bar; a second call does nothing."""
        with self._lock:
            bar, self._bar = self._bar, None
            if bar is None:
                return
            bar.set_postfix_str(self._words(), refresh=False)
            bar.bar_format = LAST_LINE
            bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _draw(self) -> None:
        """Draw the bar, unless that was done a moment ago."""
        bar, now = self._bar, time.perf_counter()
        if bar is None or now < self._due:
            return
        bar.set_postfix_str(self._words(), refresh=False)
        # An interruption while tqdm draws would leave its lock taken if tqdm took it itself.
        with bar.get_lock():
            bar.refresh(nolock=True)
        self._due = time.perf_counter() + PAUSE

    def _words(self) -> str:
        """The best score, with the parameters that it belongs to if they are few."""
        if math.isnan(self.best_score):
            return ""
        params = ", ".join(
            f"{name.rpartition('__')[2]}={value}"
            for name, value in (self.best_params or {}).items()
        )
        shown = f" ({params})" if 0 < len(params) <= ROOM else ""
        return f"{self._name}={self.best_score:.4g}{shown}"


def _bar(total: int, label: str) -> Any:
    """A bar that is drawn only when it is told to."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=label, dynamic_ncols=True, bar_format=LINE)
