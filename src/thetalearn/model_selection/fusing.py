"""The block within which the next search or cross-validation of scikit-learn is fused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .backend import CatchingBackend, Outer
from .progress import SearchProgress
from .report import FusedReport
from .run import FusedRun
from .shards import distributes, run_shards
from .tasks import Task

__all__ = ["MEMORY_BUDGET", "fusing"]

#: Bytes that a search may take beyond its data.
MEMORY_BUDGET = 2**30


@contextmanager
def fusing(
    memory_budget: int = MEMORY_BUDGET, verbose: int = 0, refit: Any = None
) -> Iterator[FusedReport]:
    """Fuse the fits of the next search or cross-validation within the block.

    Parameters
    ----------
    memory_budget : int, default=2**30
        Bytes that may be taken beyond the data.
    verbose : int, default=0
        Above 0 a progress bar is shown.
    refit : str, default=None
        Of several metrics, the one whose best mean the bar shows.

    Yields
    ------
    FusedReport
        What was fitted together; complete at the end of the block.
    """
    session = _Session(memory_budget, bool(verbose), refit if isinstance(refit, str) else None)
    with CatchingBackend(session):
        yield session.report
    if not session.report.n_fits:
        session.report.one_by_one("another loop of scikit-learn's came before, and was watched", 0)


class _Session:
    """Makes the calls of a `Parallel`, one list of them after the other."""

    def __init__(self, memory_budget: int, shown: bool, metric: str | None) -> None:
        self.memory_budget, self.shown, self.metric = memory_budget, shown, metric
        self.report = FusedReport()

    def __call__(self, calls: list[Any], outer: Outer) -> list[Any]:
        """Results in the order of the calls."""
        tasks = [Task.of(number, call) for number, call in enumerate(calls)]
        known = [task for task in tasks if task is not None]
        self.report.n_fits += len(known)
        progress = SearchProgress(len(calls), shown=self.shown, metric=self.metric)

        def note(task: Task | None, result: Any) -> None:
            if self.shown:
                progress.update(*candidate_and_score(task, result, self.metric))
            if task is not None:
                calls[task.number] = None

        try:
            results = self._fused(known, outer, note)
            rest = [number for number in range(len(calls)) if number not in results]
            made = outer.run([calls[number] for number in rest], one_by_one=self.shown)
            for number, result in zip(rest, made, strict=True):
                results[number] = result
                note(tasks[number], result)
        finally:
            progress.close()
        return [results[number] for number in range(len(calls))]

    def _fused(self, tasks: list[Task], outer: Outer, note: Any) -> dict[int, Any]:
        if tasks and distributes(outer.backend):
            return run_shards(tasks, outer, self.memory_budget, self.report, note)
        return FusedRun(self.memory_budget, self.report, note)(tasks)


def candidate_and_score(
    task: Task | None, result: Any, metric: str | None
) -> tuple[int | None, int, float | None]:
    """Number of the candidate, of its splits, and the score, where these are known."""
    if task is None or not isinstance(result, dict):
        return None, 1, None
    candidate, _ = task.arguments.get("candidate_progress") or (0, 1)
    _, n_splits = task.arguments.get("split_progress") or (0, 1)
    scores = result.get("test_scores")
    if isinstance(scores, dict):
        scores = scores.get(metric)
    return candidate, n_splits, scores
