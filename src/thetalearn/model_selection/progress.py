"""A progress bar over candidates and folds, with the best score so far."""

from __future__ import annotations

from typing import Any

__all__ = ["SearchProgress"]


class SearchProgress:
    """Shows how many fits are made, and the best mean of a candidate whose folds are all in.

    Parameters
    ----------
    total : int
        Fits.
    shown : bool
        Whether to show anything.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self._bar: Any = None
        self._scores: dict[int, list[float]] = {}
        self._best = -float("inf")
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total)

    def update(self, candidate: int | None, n_splits: int, score: float | None) -> None:
        """Note one fit: its candidate, the number of splits, and the score, where known."""
        if self._bar is None:
            return
        if candidate is not None and score is not None:
            own = self._scores.setdefault(candidate, [])
            own.append(score)
            if len(own) == n_splits and sum(own) / n_splits > self._best:
                self._best = sum(own) / n_splits
                self._bar.set_postfix(best=f"{self._best:.4g}")
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
