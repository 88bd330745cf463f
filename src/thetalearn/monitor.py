"""What a solver reports to while it works: history, progress bar, callbacks, interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ._sklearn_compat import IterationHooks

__all__ = ["FitMonitor"]

#: Seconds between two drawings of the progress bar, so that quick iterations stay quick.
PAUSE = 0.1

#: What a record holds as it is; anything else is a number of NumPy or torch.
PLAIN = frozenset({float, int, bool})

LINE = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
LAST_LINE = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
LINE_WITHOUT_TOTAL = "{desc}: {n_fmt} [{elapsed}{postfix}]"


class FitMonitor:
    """Receives one record an iteration.

    A solver calls ``monitor(record, attributes)`` after every iteration, where ``attributes()``
    gives the fitted attributes as they stand, and stops when the answer is True.

    Parameters
    ----------
    hooks : IterationHooks or None, default=None
        The way to scikit-learn's callbacks.
    max_iter : int or None, default=None
        Iterations of this fit at most, for the progress bar.
    label : str, default=""
        What the progress bar is called.
    verbose : int, default=0
        Whether to show a progress bar, on standard error or in the notebook.
    history : list of dict or None, default=None
        Records of an earlier fit that this one continues. The list is copied, so that a fit that
        fails leaves it as it was.

    Attributes
    ----------
    history : list of dict
        The records, as plain Python numbers, each with its iteration first and the seconds since
        the start last. Both go on from the records of the earlier fit, if there was one.

    Examples
    --------
    >>> from thetalearn.monitor import FitMonitor
    >>> monitor = FitMonitor()
    >>> monitor({"loss": 0.5})
    False
    >>> monitor.history
    [{'iteration': 1, 'loss': 0.5, 'seconds': ...}]
    >>> longer = FitMonitor(history=monitor.history)
    >>> longer({"loss": 0.25})
    False
    >>> [record["iteration"] for record in longer.history]
    [1, 2]
    """

    def __init__(
        self,
        hooks: IterationHooks | None = None,
        max_iter: int | None = None,
        label: str = "",
        verbose: int = 0,
        history: list[dict[str, float]] | None = None,
    ) -> None:
        self.history: list[dict[str, float]] = list(history or ())
        last = self.history[-1] if self.history else {}
        self._iteration = int(last.get("iteration", 0))
        self._hooks = hooks
        self._bar = _Bar(self.history, max_iter, label) if verbose else None
        self._start = time.perf_counter() - last.get("seconds", 0.0)

    def __call__(
        self, record: dict[str, float], attributes: Callable[[], dict[str, Any]] = dict
    ) -> bool:
        """Take note of one iteration; True asks the solver to stop."""
        now = time.perf_counter()
        if not PLAIN.issuperset(map(type, record.values())):
            record = {name: _plain(value) for name, value in record.items()}
        self._iteration += 1
        self.history.append({"iteration": self._iteration, **record, "seconds": now - self._start})
        stop = self._hooks is not None and self._hooks.iteration_ended(attributes)
        if self._bar is not None:
            if stop or self._bar.full():
                self.close()  # what the solver has to say about its end goes below the bar
            elif now >= self._bar.due:
                self._bar.draw()
        return stop

    def close(self) -> None:
        """Leave the last line of the progress bar; a second call does nothing."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Bar:
    """A progress bar that is drawn from the records that a fit adds to a history."""

    def __init__(self, history: list[dict[str, float]], max_iter: int | None, label: str) -> None:
        from tqdm.auto import tqdm

        self._history, self._before = history, len(history)
        self._rate_changes = False
        self._tqdm: Any = tqdm(
            total=max_iter or None,
            desc=label,
            dynamic_ncols=True,
            bar_format=LINE if max_iter else LINE_WITHOUT_TOTAL,
        )
        self.due = time.perf_counter() + PAUSE

    def full(self) -> bool:
        """Whether no iteration is left."""
        return len(self._history) - self._before == self._tqdm.total

    def draw(self) -> None:
        """Show the last record."""
        self._update()
        # An interruption while tqdm draws would leave its lock taken if tqdm took it itself.
        with self._tqdm.get_lock():
            self._tqdm.refresh(nolock=True)
        self._return_cursor()
        self.due = time.perf_counter() + PAUSE

    def close(self) -> None:
        """Leave a last line."""
        bar = self._tqdm
        self._update()
        if bar.total:
            bar.bar_format = LAST_LINE
        bar.close()
        # In a notebook tqdm paints a bar red that ends early, which is how a good fit may end.
        if bar.total and bar.n < bar.total and hasattr(bar, "disp"):
            bar.disp(bar_style="info", check_delay=False)

    def _update(self) -> None:
        self._tqdm.n = len(self._history) - self._before
        self._tqdm.set_postfix_str(", ".join(self._values()), refresh=False)

    def _return_cursor(self) -> None:
        """Put the cursor where the next drawing overwrites what a terminal shows of a Ctrl-C."""
        if hasattr(self._tqdm, "sp"):
            self._tqdm.fp.write("\r")

    def _values(self) -> list[str]:
        """What the bar says of the last record."""
        records = self._history[self._before :][-1:]
        if not records:
            return []
        record, first = records[0], self._history[self._before]
        self._rate_changes |= record.get("learning_rate") != first.get("learning_rate")
        names = {"loss": "loss", "validation_score": "val_score"}
        if "loss" not in record:
            hidden = {"iteration", "seconds", "learning_rate"}
            names = {name: name for name in record if name not in hidden}
        if self._rate_changes:
            names["learning_rate"] = "lr"
        return [f"{names[name]}={_short(record[name])}" for name in names if name in record]


def _plain(value: Any) -> Any:
    """A number of NumPy or torch as Python's own."""
    return value.item() if hasattr(value, "item") else value


def _short(value: float) -> str:
    """Four significant digits of a number, all digits of a whole one."""
    return str(value) if isinstance(value, int) else f"{value:.4g}"
