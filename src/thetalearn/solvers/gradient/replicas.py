"""Many replicas: in buckets of equal shape, in chunks that fit the cache, on several threads."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice, pairwise
from math import prod
from threading import Event
from typing import TypeVar

import torch
from torch import Tensor

from ...rows import Rows
from ...threads import one_thread
from .batches import n_batches
from .step import Step
from .train import Validation, train
from .trainer import Replica, Settings, Trained

__all__ = ["chunk_size", "cut", "in_threads", "train_replicas"]

T = TypeVar("T")

#: Bytes that the parameters, the optimizer's memory and the buffers of a chunk may take together.
CHUNK_BYTES = 2**23

#: Seconds below which a job is a short one.
SHORT = 1.0

#: Replicas of a chunk, at most.
CHUNK = 40


def train_replicas(
    make_step: Callable[[list[int]], Step],
    X: Rows,
    y: Tensor,
    replicas: Sequence[Replica],
    settings: Settings,
    *,
    make_validation: Callable[[list[int]], Validation] | None = None,
    chunk: int | None = None,
    n_threads: int | None = None,
) -> list[Trained]:
    """Train replicas that share their shapes; each ends as if it had been trained alone.

    Replicas with different numbers of minibatches are trained apart. The others run together in
    chunks: a stack of small matrices keeps a processor busy where a single one does not, and a
    stack that leaves the cache is slower than two that stay in it.

    Parameters
    ----------
    make_step : callable
        From the numbers of some replicas, the step in which they begin.
    X, y : Rows of shape (n, d) and Tensor of shape (n, m)
        The data, of which each replica sees its rows.
    replicas : sequence of Replica
        What differs.
    settings : Settings
        What does not.
    make_validation : callable, default=None
        From the numbers of some replicas, what scores them.
    chunk : int, default=None
        Replicas that are trained at once; by default as many as fit the cache.
    n_threads : int, default=None
        Chunks that are trained at the same time; by default torch's number of threads.

    Returns
    -------
    list of Trained
        In the order of ``replicas``.
    """
    buckets: dict[int, list[int]] = defaultdict(list)
    for number, replica in enumerate(replicas):
        buckets[n_batches(len(replica.rows), settings.batch_size)].append(number)
    if n_threads is None:
        n_threads = torch.get_num_threads()
    sizes = {n: chunk or _fitting_cache(make_step(b[:1]), settings) for n, b in buckets.items()}
    chunks = [part for n, bucket in buckets.items() for part in cut(bucket, sizes[n], n_threads)]

    def job(numbers: list[int]) -> Callable[[Event], list[Trained]]:
        def run(cancelled: Event) -> list[Trained]:
            return train(
                make_step(numbers),
                X,
                y,
                [replicas[number] for number in numbers],
                settings,
                validation=None if make_validation is None else make_validation(numbers),
                cancelled=cancelled,
            )

        return run

    results: dict[int, Trained] = {}
    done = in_threads(map(job, chunks), min(n_threads, len(chunks)))
    for numbers, trained in zip(chunks, done, strict=True):
        results |= dict(zip(numbers, trained, strict=True))
    return [results[number] for number in range(len(replicas))]


def in_threads(jobs: Iterable[Callable[[Event], T]], n_threads: int) -> Iterator[T]:
    """Run jobs on threads of their own, with linear algebra on one thread in each.

    Jobs are taken from the iterable as threads become free, and one more is kept ready, so that no
    more than ``n_threads + 1`` of them, with their results, are alive at a time. Short jobs are run
    in rounds instead, since a caller who is at work in Python between two results would hold up
    the threads. If the caller is interrupted or gives up the iterator, no job is begun any more,
    and this waits for those that run.

    Parameters
    ----------
    jobs : iterable of callable
        Each is called with an event, which is set when nobody waits for its result any more.
    n_threads : int
        Jobs that run at the same time.

    Yields
    ------
    object
        The results, in the order of the jobs.

    Examples
    --------
    >>> list(in_threads([lambda cancelled, i=i: i**2 for i in range(4)], 2))
    [0, 1, 4, 9]
    """
    cancelled = Event()
    running: deque[Future[tuple[T, float]]] = deque()

    def run(job: Callable[[Event], T]) -> tuple[T, float]:
        start = time.perf_counter()
        with one_thread(), torch.inference_mode(False):
            return job(cancelled), time.perf_counter() - start

    pool = ThreadPoolExecutor(max_workers=max(1, n_threads))
    waiting, short = iter(jobs), True
    try:
        while True:
            if not (running and short):
                room = max(1, n_threads) + (not short) - len(running)
                ready = islice(waiting, max(0, room))
                running.extend(pool.submit(run, job) for job in ready)
            if not running:
                return
            result, seconds = running.popleft().result()
            short = seconds < SHORT
            if short:
                wait(running)
            yield result
    finally:
        cancelled.set()
        pool.shutdown(cancel_futures=True)


def chunk_size(shapes: Mapping[str, tuple[int, ...]], batch_size: int, itemsize: int) -> int:
    """Replicas whose memory fits the cache together.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of each parameter, of one replica.
    batch_size : int
        Rows of a minibatch.
    itemsize : int
        Bytes of a number.

    Returns
    -------
    int
        At least one.

    Examples
    --------
    >>> chunk_size({"coefs.0": (20, 64), "intercepts.0": (64,)}, 64, 4)
    40
    >>> chunk_size({"coefs.0": (1000, 1000), "intercepts.0": (1000,)}, 64, 4)
    1
    """
    widths = sum(shape[-1] for shape in shapes.values())
    # θ, its gradient and two moments; values and derivatives of every layer for a batch.
    numbers = 4 * sum(map(prod, shapes.values())) + 2 * batch_size * widths
    return max(1, min(CHUNK, CHUNK_BYTES // (numbers * itemsize)))


def _fitting_cache(step: Step, settings: Settings) -> int:
    """Replicas of a step whose memory fits the cache together."""
    parameters = step.parameters
    return chunk_size(parameters.shapes, settings.batch_size, parameters.theta.element_size())


def cut(bucket: list[T], size: int, n_threads: int) -> list[list[T]]:
    """Cut a bucket into parts of nearly equal sizes, as many as keep all threads busy."""
    n_parts = -(-len(bucket) // size)
    if n_parts > 1 or len(bucket) >= 2 * n_threads:
        n_parts = -(-n_parts // n_threads) * n_threads
    bounds = [round(i * len(bucket) / n_parts) for i in range(n_parts + 1)]
    return [bucket[a:b] for a, b in pairwise(bounds) if b > a]
