"""Which of the fits of a search can be made together: by preprocessing, split and bucket."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from sklearn.pipeline import Pipeline

from ..fusion import NotFusable, ReplicaFit
from .fingerprint import fingerprint
from .pipelines import Parts, split_estimator
from .protocol import require_protocol
from .report import FusedReport
from .tasks import Task

__all__ = ["Member", "grouped", "plan"]

Item = TypeVar("Item")

#: Preprocessing, class, parameters that are alike, and whether rows have no weights.
Bucket = tuple[Hashable, type, Hashable, bool]


@dataclass(eq=False)
class Member:
    """One task that is fitted together with others.

    Attributes
    ----------
    task : Task
        What scikit-learn asks for.
    parts : Parts
        Its estimator, as preprocessing and last step.
    fit : ReplicaFit
        The fit of the last step.
    split : int
        The number of its split.
    bucket : hashable
        Equal for fits that can be made together.
    free : dict
        The parameters of the last step in which fits of the bucket may differ.
    prefix_params : dict
        Arguments of fit for the preprocessing.
    """

    task: Task
    parts: Parts
    fit: ReplicaFit
    split: int
    bucket: Bucket
    free: dict[str, Any]
    prefix_params: dict[str, Any]


def plan(tasks: Iterable[Task], report: FusedReport, at_least: int = 2) -> list[Member]:
    """The tasks that can be fused; the report is told why the rest cannot.

    A bucket of fewer than ``at_least`` fits is none.
    """
    splits: dict[tuple[int, int], tuple[int, np.ndarray, dict[str, Any]]] = {}
    members: list[Member] = []
    known: dict[Bucket, Bucket] = {}
    for task in tasks:
        key = id(task.arguments["train"]), id(task.arguments["test"])
        try:
            if key not in splits:
                splits[key] = len(splits), *_of_split(task)
            member = _member(task, *splits[key])
        except NotFusable as obstacle:
            report.one_by_one(str(obstacle))
            continue
        # Keys are long, and the same for many.
        member.bucket = known.setdefault(member.bucket, member.bucket)
        member.parts.key = member.bucket[0]
        members.append(member)
    kept: list[Member] = []
    for found in grouped(members, lambda member: member.bucket).values():
        if len(found) < at_least:
            name = type(found[0].parts.last).__name__
            report.one_by_one(f"no other {name} shares its preprocessing and fixed parameters")
        else:
            kept.extend(found)
    return kept


def _of_split(task: Task) -> tuple[np.ndarray, dict[str, Any]]:
    """Training rows and arguments of fit, which all candidates have in common."""
    try:
        return task.training_rows(), task.fit_params()
    except Exception as error:
        raise NotFusable(f"its split cannot be read ({error})") from None


def _member(task: Task, split: int, rows: np.ndarray, fit_params: dict[str, Any]) -> Member:
    if type(task.estimator) is not Pipeline:
        # Before its parameters are set: scikit-learn will set them, which an estimator may count.
        require_protocol(type(task.estimator))
    try:
        task.set_parameters()
    except Exception as error:
        # scikit-learn meets the error again, and deals with it.
        raise NotFusable(f"its parameters cannot be set ({error})") from None
    obstacle = task.obstacle()
    if obstacle is not None:
        raise NotFusable(obstacle)
    parts = split_estimator(task.estimator)
    last, kind = parts.last, type(parts.last)
    require_protocol(kind)
    if getattr(last, "_skl_callbacks", None):
        raise NotFusable("callbacks follow every single fit")
    prefix_params, own_params = parts.routed(fit_params)
    weight = own_params.pop("sample_weight", None)
    if own_params:
        raise NotFusable(f"fit is passed {', '.join(sorted(own_params))}")
    names = last.replica_parameters()
    params = last.get_params(deep=False)
    free = {name: params.pop(name) for name in sorted(names & params.keys())}
    fixed = fingerprint(params)
    fit = ReplicaFit(last, 0, rows, weight)
    bucket = parts.key, kind, fixed, weight is None
    return Member(task, parts, fit, split, bucket, free, prefix_params)


def varied(members: list[Member]) -> tuple[str, ...]:
    """Names of the parameters in which fits differ."""
    tables = [member.free for member in members]
    return tuple(
        name for name in tables[0] if len({fingerprint(table[name]) for table in tables}) > 1
    )


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> dict[Any, list[Item]]:
    """Items with equal keys together, in the order in which they come."""
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
