"""What a solver reports to while it works: history, progress bar, callbacks, interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ._sklearn_compat import IterationHooks

__all__ = ["FitMonitor"]


class FitMonitor:
    """Receives one record an iteration.

    A solver calls ``monitor(record, attributes)`` after every iteration, where ``attributes()``
    gives the fitted attributes as they stand, and stops when the answer is True.

    Parameters
    ----------
    hooks : IterationHooks or None, default=None
        The way to scikit-learn's callbacks.
    max_iter : int or None, default=None
        Iterations at most, for the progress bar.
    label : str, default=""
        What the progress bar is called.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    history : list of dict
        The records, each with its iteration and the seconds since the start.
    """

    def __init__(
        self,
        hooks: IterationHooks | None = None,
        max_iter: int | None = None,
        label: str = "",
        verbose: int = 0,
    ) -> None:
        self.history: list[dict[str, float]] = []
        self._hooks = hooks
        self._start = time.perf_counter()
        self._bar: Any = None
        if verbose:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=max_iter, desc=label, unit="iter")

    def __call__(
        self, record: dict[str, float], attributes: Callable[[], dict[str, Any]] = dict
    ) -> bool:
        """Take note of one iteration; True asks the solver to stop."""
        elapsed = time.perf_counter() - self._start
        self.history.append({"iteration": len(self.history) + 1, **record, "seconds": elapsed})
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in record.items()})
        return self._hooks is not None and self._hooks.iteration_ended(attributes)

    def close(self) -> None:
        """Put the progress bar away."""
        if self._bar is not None:
            self._bar.close()
