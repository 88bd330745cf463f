"""The fits of a search, made together where they can be, and scored by scikit-learn itself."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ..fusion import ReplicaFit, Source, caught_warnings
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

    @property
    def encode(self) -> Callable[[Any], Any] | None:
        """Makes rows what the last step takes; None if they are it."""
        return None if self.pipeline is None else self.pipeline.transform


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
        self._shown: dict[Any, Any] = {}
        self._buckets: dict[Hashable, Bucket] = {}

    def __call__(self, tasks: Sequence[Task]) -> dict[int, Any]:
        """Results by the numbers of the tasks; those that cannot be fused have none."""
        members = plan(tasks, self.report, self.at_least)
        if not members:
            return {}
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
        return self.results

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
            prefix.seconds /= len(own)
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
        waiting = {id(member.fit): member for member in members}
        unfitted = {id(member.fit): attributes_of(member.parts.last) for member in members}
        sources = list({id(p.source): p.source for p in prefixes.values()}.values())
        for member in members:
            member.fit.source = sources.index(prefixes[member.split].source)
        kind, bucket = type(members[0].parts.last), self._buckets[members[0].bucket]
        fits, budget = [member.fit for member in members], self.memory_budget // 2
        made: Any = None
        try:
            while waiting:
                start = time.perf_counter()
                try:
                    made = made or iter(kind.fit_replicas(fits, sources, memory_budget=budget))
                    done = known_fits(next(made, None), waiting)
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
                    attributes = unfitted.pop(id(member.fit))
                    if not member.task.keeps_estimator():
                        restore(member.parts.last, attributes)
                    member.task.forget()
        finally:
            if hasattr(made, "close"):
                made.close()
            for number, member in waiting.items():
                restore(member.parts.last, unfitted[number])

    def _score(self, members: list[Member], prefix: Prefix, data: Data, seconds: float) -> None:
        """Let scikit-learn score fitted candidates of one split."""
        sound = [member for member in members if member.fit.error is None]
        y = data[1].X
        responses = Responses(
            [member.parts.last for member in sound],
            prefix.encode,
            self.memory_budget // 16,
            y.shape[1] if np.ndim(y) == 2 and hasattr(y, "shape") else 1,
        )
        places = {id(member): k for k, member in enumerate(sound)}
        for member in members:
            task = member.task
            # A pipeline warns of its first steps first.
            member.fit.warnings[:0] = prefix.warnings
            anew = not task.responses_may_be_shared()
            shared = responses if id(member) in places and not anew else None
            X, y = (
                RowsOf(
                    part,
                    task.arguments["train"],
                    task.arguments["test"],
                    with_training_rows=task.looks_at_training_rows(),
                    anew=fresh,
                )
                for part, fresh in zip(data, (anew, True), strict=True)
            )
            before = vars(task.estimator).copy()
            place = places.get(id(member), 0)
            estimator, last, pipeline = task.estimator, member.parts.last, prefix.pipeline
            if anew:
                # A scorer of the user's may keep what it is shown, or change it.
                last, pipeline = copy.deepcopy((last, pipeline))
                estimator = twin(estimator) if pipeline is not None else last
            state = member.parts.fitted_state(pipeline, last)
            try:
                with fitted(estimator, last, state, member.fit, shared, self._shown, place):
                    result = task.call(X, y, estimator)
            finally:
                if not task.keeps_estimator():
                    restore(task.estimator, before)
            if isinstance(result, dict) and "fit_time" in result:
                result["fit_time"] += seconds + prefix.seconds
            self.results[task.number] = result
            self.note(task, result)


def known_fits(done: Any, waiting: dict[int, Any]) -> list[ReplicaFit]:
    """The fits that an estimator's class has given back, if they are some that it was given."""
    if done is None:
        raise ValueError("some fits were not given back")
    if not isinstance(done, list) or len({id(fit) for fit in done} & waiting.keys()) < len(done):
        raise ValueError("it gave back something else than a list of fits that it was given")
    return done


def fit_prefix(member: Member) -> Prefix:
    """Fit the preprocessing of a candidate to its training rows."""
    arguments, prefix = member.task.arguments, clone(member.parts.prefix)
    train = arguments["train"]
    X, y = rows_of(arguments["X"], train), rows_of(arguments["y"], train)
    start = time.perf_counter()
    with caught_warnings() as caught:
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
