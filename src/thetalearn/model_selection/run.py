"""The fits of a search, made together where they can be, and scored by scikit-learn itself."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ..fusion import Source
from .plan import Member, grouped, plan, varied
from .report import Bucket, FusedReport
from .stand_in import Blocks, Responses, RowsOf, fitted
from .tasks import Task, n_bytes_of, n_rows_of, rows_of

__all__ = ["FusedRun"]


@dataclass(eq=False)
class Prefix:
    """Preprocessing fitted to the training rows of one split, and these rows transformed."""

    pipeline: Pipeline | None
    source: Source
    seconds: float = 0.0
    warnings: list[warnings.WarningMessage] = field(default_factory=list)

    def encode(self, X: Any) -> Any:
        """Rows as the last step takes them."""
        return X if self.pipeline is None else self.pipeline.transform(X)


class FusedRun:
    """Makes tasks together.

    Parameters
    ----------
    memory_budget : int
        Bytes that may be taken beyond the data.
    report : FusedReport
        Is told what was done.
    note : callable
        ``note(task, result)`` is told of every result.
    at_least : int, default=2
        Fits that a bucket must have; a smaller one is left to scikit-learn.
    """

    def __init__(
        self,
        memory_budget: int,
        report: FusedReport,
        note: Callable[[Task, Any], None] = lambda task, result: None,
        at_least: int = 2,
    ) -> None:
        self.memory_budget, self.report, self.note = memory_budget, report, note
        self.at_least = at_least
        self.results: dict[int, Any] = {}
        self.failures: dict[int, Exception] = {}
        self._shown: dict[Any, Any] = {}
        self._buckets: dict[Hashable, Bucket] = {}

    def __call__(self, tasks: Sequence[Task]) -> dict[int, Any]:
        """Results by the numbers of the tasks; those that cannot be fused have none."""
        self.make(tasks)
        if self.failures:
            raise self.failures[min(self.failures)]
        return self.results

    def make(self, tasks: Sequence[Task]) -> None:
        """Fill in ``results`` and ``failures``."""
        members = plan(tasks, self.report, self.at_least)
        if not members:
            return
        for bucket, found in grouped(members, lambda member: member.bucket).items():
            name = type(found[0].parts.last).__name__
            self._buckets[bucket] = Bucket(name, 0, varied(found))
        blocks = Blocks(members[0].task.arguments["X"], self.memory_budget // 4)
        for group in grouped(members, lambda member: member.parts.key).values():
            self._fit_group(group, blocks)
        self.report.buckets.extend(bucket for bucket in self._buckets.values() if bucket.n_fits)
        self.report.n_fused += len(self.results)

    def _fit_group(self, group: list[Member], blocks: Blocks) -> None:
        """Fit the candidates that share their preprocessing."""
        by_split = grouped(group, lambda member: member.split)
        for splits in self._splits_at_once(group[0], list(by_split)):
            members = [member for split in splits for member in by_split[split]]
            prefixes = self._prefixes(members)
            able = [member for member in members if member.split in prefixes]
            for found in grouped(able, lambda member: member.bucket).values():
                self._fit_bucket(found, prefixes, blocks)

    def _splits_at_once(self, first: Member, splits: list[int]) -> Iterator[list[int]]:
        """Splits whose transformed rows fit the budget together."""
        size = len(splits)
        if first.parts.prefix is not None:
            # Transformed rows may be wider than those of X.
            size = max(1, self.memory_budget // (2 * n_bytes_of(first.task.arguments["X"]) + 1))
        for start in range(0, len(splits), size):
            yield splits[start : start + size]

    def _prefixes(self, members: list[Member]) -> dict[int, Prefix]:
        """The data of each split: X itself, or its training rows behind the preprocessing."""
        found: dict[int, Prefix] = {}
        arguments = members[0].task.arguments
        whole = Prefix(None, Source(arguments["X"], arguments["y"]))
        for split, own in grouped(members, lambda member: member.split).items():
            if own[0].parts.prefix is None:
                found[split] = whole
                continue
            try:
                prefix = found[split] = fit_prefix(own[0])
            except Exception as error:
                # Each of these pipelines fails by itself, with the same error.
                self.report.one_by_one(f"the preprocessing fails ({error})", len(own))
                continue
            self.report.n_prefixes += 1
            positions = np.arange(n_rows_of(prefix.source.X))
            for member in own:
                member.fit.rows = positions
                member.fit.warnings.extend(prefix.warnings)
        return found

    def _fit_bucket(
        self, members: list[Member], prefixes: dict[int, Prefix], blocks: Blocks
    ) -> None:
        """Fit a bucket, and score fits as soon as they are made."""
        if self.failures and min(self.failures) < min(m.task.number for m in members):
            return
        waiting = {id(member.fit): member for member in members}
        unfitted = {id(member.fit): vars(member.parts.last).copy() for member in members}
        sources = list({id(p.source): p.source for p in prefixes.values()}.values())
        for member in members:
            member.fit.source = sources.index(prefixes[member.split].source)
        kind, bucket = type(members[0].parts.last), self._buckets[members[0].bucket]
        made = kind.fit_replicas(
            [member.fit for member in members], sources, memory_budget=self.memory_budget // 2
        )
        while waiting:
            start = time.perf_counter()
            try:
                done = next(made)
            except StopIteration:
                break
            except Exception as error:
                reason = f"{kind.__name__} could not be fitted together ({error})"
                self.report.one_by_one(reason, len(waiting))
                break
            seconds = time.perf_counter() - start
            finished = [waiting.pop(id(fit)) for fit in done]
            bucket.n_fits += len(done)
            bucket.fit_time += seconds
            for split, own in grouped(finished, lambda member: member.split).items():
                self._score(own, prefixes[split], blocks, seconds / len(done))
            for member in finished:
                if not member.task.keeps_estimator():
                    restore(member.parts.last, unfitted[id(member.fit)])
        for number, member in waiting.items():
            restore(member.parts.last, unfitted[number])

    def _score(self, members: list[Member], prefix: Prefix, blocks: Blocks, seconds: float) -> None:
        """Let scikit-learn score fitted candidates of one split."""
        sound = [member for member in members if member.fit.error is None]
        responses = Responses([member.parts.last for member in sound], prefix.encode)
        places = {id(member): k for k, member in enumerate(sound)}
        for member in members:
            task = member.task
            if self.failures and min(self.failures) < task.number:
                continue
            shared = responses if task.responses_may_be_shared() and id(member) in places else None
            rows = RowsOf(
                blocks,
                task.arguments["train"],
                task.arguments["test"],
                task.looks_at_training_rows(),
            )
            state = member.parts.fitted_state(prefix.pipeline)
            before = vars(task.estimator).copy()
            place = places.get(id(member), 0)
            try:
                with fitted(
                    task.estimator, member.parts.last, state, member.fit, shared, self._shown, place
                ):
                    result = task.call(rows)
            except Exception as error:
                self.failures[task.number] = error
                continue
            finally:
                if not task.keeps_estimator():
                    restore(task.estimator, before)
            if isinstance(result, dict) and "fit_time" in result:
                result["fit_time"] += seconds + prefix.seconds
            self.results[task.number] = result
            self.note(task, result)


def fit_prefix(member: Member) -> Prefix:
    """Fit the preprocessing of a candidate to its training rows."""
    arguments, prefix = member.task.arguments, clone(member.parts.prefix)
    train = arguments["train"]
    X, y = rows_of(arguments["X"], train), rows_of(arguments["y"], train)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transformed = prefix.fit_transform(X, y, **member.prefix_params)
    return Prefix(prefix, Source(transformed, y), time.perf_counter() - start, caught)


def restore(estimator: Any, attributes: dict[str, Any]) -> None:
    """Put an estimator back as it was, so that what was fitted is freed."""
    vars(estimator).clear()
    vars(estimator).update(attributes)
