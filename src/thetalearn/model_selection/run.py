"""The fits of a search, made together where they can be, and scored by scikit-learn itself."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ..fusion import ReplicaFit, Source
from .plan import Member, grouped, plan, varied
from .report import Bucket, FusedReport
from .stand_in import Blocks, Responses, RowsOf, fitted, twin
from .tasks import Task, n_bytes_of, n_rows_of, rows_of

__all__ = ["FusedRun"]

#: X and y.
Data = tuple[Blocks, Blocks]


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
        arguments = members[0].task.arguments
        data = (
            Blocks(arguments["X"], self.memory_budget // 4),
            Blocks(arguments["y"], self.memory_budget // 16),
        )
        for group in grouped(members, lambda member: member.parts.key).values():
            self._fit_group(group, data)
        self.report.buckets.extend(bucket for bucket in self._buckets.values() if bucket.n_fits)
        self.report.n_fused += len(self.results)

    def _fit_group(self, group: list[Member], data: Data) -> None:
        """Fit the candidates that share their preprocessing, as many splits at once as fit."""
        prefixes: dict[int, Prefix] = {}
        size, whole = 0, None
        for split, own in grouped(group, lambda member: member.split).items():
            if own[0].parts.prefix is None:
                arguments = own[0].task.arguments
                whole = whole or Prefix(None, Source(arguments["X"], arguments["y"]))
                prefixes[split] = whole
                continue
            try:
                prefix = fit_prefix(own[0])
            except Exception as error:
                # Each of these pipelines fails by itself, with the same error.
                self.report.one_by_one(f"the preprocessing fails ({error})", len(own))
                continue
            self.report.n_prefixes += 1
            positions = np.arange(n_rows_of(prefix.source.X))
            for member in own:
                member.fit.rows = positions
            prefixes[split] = prefix
            # Networks put the rows of all splits side by side once more.
            size += 2 * n_bytes_of(prefix.source.X)
            if size > self.memory_budget // 2:
                self._fit_buckets(group, prefixes, data)
                prefixes, size = {}, 0
        self._fit_buckets(group, prefixes, data)

    def _fit_buckets(self, group: list[Member], prefixes: dict[int, Prefix], data: Data) -> None:
        """Fit the candidates of some splits, bucket by bucket."""
        able = [member for member in group if member.split in prefixes]
        for found in grouped(able, lambda member: member.bucket).values():
            self._fit_bucket(found, prefixes, data)

    def _fit_bucket(self, members: list[Member], prefixes: dict[int, Prefix], data: Data) -> None:
        """Fit a bucket, and score fits as soon as they are made."""
        if self.failures and min(self.failures) < min(m.task.number for m in members):
            return
        waiting = {id(member.fit): member for member in members}
        unfitted = {id(member.fit): attributes_of(member.parts.last) for member in members}
        sources = list({id(p.source): p.source for p in prefixes.values()}.values())
        for member in members:
            member.fit.source = sources.index(prefixes[member.split].source)
        kind, bucket = type(members[0].parts.last), self._buckets[members[0].bucket]
        fits, budget = [member.fit for member in members], self.memory_budget // 2
        made: Iterator[list[ReplicaFit]] | None = None
        while waiting:
            start = time.perf_counter()
            try:
                made = made or kind.fit_replicas(fits, sources, memory_budget=budget)
                done = next(made)
            except StopIteration:
                self.report.one_by_one(f"{kind.__name__} has not given them back", len(waiting))
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
                self._score(own, prefixes[split], data, seconds / len(done))
            for member in finished:
                if not member.task.keeps_estimator():
                    restore(member.parts.last, unfitted[id(member.fit)])
        for number, member in waiting.items():
            restore(member.parts.last, unfitted[number])

    def _score(self, members: list[Member], prefix: Prefix, data: Data, seconds: float) -> None:
        """Let scikit-learn score fitted candidates of one split."""
        sound = [member for member in members if member.fit.error is None]
        responses = Responses(
            [member.parts.last for member in sound], prefix.encode, self.memory_budget // 16
        )
        places = {id(member): k for k, member in enumerate(sound)}
        for member in members:
            task = member.task
            if self.failures and min(self.failures) < task.number:
                continue
            # A pipeline warns of its first steps first.
            member.fit.warnings[:0] = prefix.warnings
            shared = responses if task.responses_may_be_shared() and id(member) in places else None
            train, test = task.arguments["train"], task.arguments["test"]
            X, y = (RowsOf(part, train, test, task.looks_at_training_rows()) for part in data)
            before = vars(task.estimator).copy()
            place = places.get(id(member), 0)
            estimator, last = task.estimator, member.parts.last
            if not task.responses_may_be_shared():
                # A scorer of the user's may keep what it is shown.
                last = twin(last)
                estimator = twin(estimator) if member.parts.prefix is not None else last
            state = member.parts.fitted_state(prefix.pipeline, last)
            try:
                with fitted(estimator, last, state, member.fit, shared, self._shown, place):
                    result = task.call(X, y, estimator)
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


def attributes_of(estimator: Any) -> dict[str, Any]:
    """Attributes of an estimator, with generators as they are now."""
    return {
        name: copy.deepcopy(value) if isinstance(value, np.random.RandomState) else value
        for name, value in vars(estimator).items()
    }


def restore(estimator: Any, attributes: dict[str, Any]) -> None:
    """Put an estimator back as it was, so that what was fitted is freed."""
    vars(estimator).clear()
    vars(estimator).update(attributes)
