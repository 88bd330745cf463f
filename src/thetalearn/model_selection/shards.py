"""Fused fits on the workers of a cluster, through joblib's backend for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from sklearn import config_context, get_config

from ..exceptions import warn_user
from .backend import Call, Outer
from .plan import plan
from .report import FusedReport
from .run import FusedRun
from .tasks import Task

__all__ = ["distributes", "run_shards"]

#: Shards for each worker: when a worker is lost, so is at most this share of its work.
SHARDS_PER_WORKER = 2

#: Times that shards which a cluster has lost are handed out again.
ATTEMPTS = 3


@dataclass
class Done:
    """What a worker returns of a shard."""

    results: dict[int, Any]
    failure: Exception | None
    report: FusedReport


def distributes(backend: Any) -> bool:
    """Whether a backend of joblib leads to other machines: all do that are not joblib's own."""
    return type(backend).__module__ != "joblib._parallel_backends"


def run_shards(
    tasks: Sequence[Task],
    outer: Outer,
    memory_budget: int,
    report: FusedReport,
    note: Callable[[Task, Any], None],
) -> dict[int, Any]:
    """Fuse tasks in shards, a few for each worker.

    A shard carries its data along instead of a reference to data on some worker, so that it can be
    run again anywhere. Shards that are lost with their worker are handed out again, and made here
    in the end.

    Returns
    -------
    dict
        Results by the numbers of the tasks; those that cannot be fused have none.
    """
    members = plan(tasks, report)
    if not members:
        return {}
    # Fits of a bucket side by side, then those of a split: what is cut apart shares least.
    buckets = {member.bucket: None for member in members}
    places = {bucket: place for place, bucket in enumerate(buckets)}
    members.sort(key=lambda m: (places[m.bucket], m.split, m.task.number))
    n_shards = min(len(members), SHARDS_PER_WORKER * outer.n_workers())
    bounds = [round(i * len(members) / n_shards) for i in range(n_shards + 1)]
    shards = [[member.task for member in members[a:b]] for a, b in pairwise(bounds)]
    arguments = members[0].task.arguments
    data = arguments["X"], arguments["y"]
    by_number = {task.number: task for task in tasks}
    results: dict[int, Any] = {}
    for done in _handed_out(shards, data, outer, memory_budget):
        report.add(done.report)
        if done.failure is not None:
            raise done.failure
        results |= done.results
        for number, result in done.results.items():
            note(by_number[number], result)
    return results


def _handed_out(
    shards: list[list[Task]], data: tuple[Any, Any], outer: Outer, memory_budget: int
) -> Any:
    """What becomes of the shards, in the order in which they are done."""
    left = {
        i: ([without_data(task) for task in shard], memory_budget) for i, shard in enumerate(shards)
    }
    trouble: Exception | None = None
    for _ in range(ATTEMPTS):
        calls: list[Call] = [
            (run_shard, (i, shard, (data,), budget, get_config()), {})
            for i, (shard, budget) in left.items()
        ]
        try:
            for i, done in outer.run(calls, one_by_one=True):
                del left[i]
                yield done
        except Exception as error:
            trouble = error
        if not left:
            return
    warn_user(
        f"the cluster has lost {len(left)} of {len(shards)} shards {ATTEMPTS} times (last: "
        f"{trouble!r}): they are fitted in this process",
        UserWarning,
    )
    for i, (shard, budget) in left.items():
        yield run_shard(i, shard, (data,), budget, get_config())[1]


def without_data(task: Task) -> Task:
    """A task without X and y, which are the same for all."""
    return replace(task, arguments=task.arguments | {"X": None, "y": None})


def run_shard(
    number: int,
    shard: list[Task],
    data: tuple[tuple[Any, Any]],
    memory_budget: int,
    config: dict[str, Any],
) -> tuple[int, Done]:
    """Fuse the tasks of one shard; what runs on a worker.

    The data come in a tuple, which a cluster's backend does not take apart to move them elsewhere.
    """
    ((X, y),) = data
    tasks = [replace(task, arguments=task.arguments | {"X": X, "y": y}) for task in shard]
    run = FusedRun(memory_budget, FusedReport(), at_least=1)
    failure: Exception | None = None
    # scikit-learn's settings are those of a thread, and do not travel by themselves.
    with config_context(**config):
        try:
            run(tasks)
        except Exception as error:
            failure = error
    return number, Done(run.results, failure, run.report)
