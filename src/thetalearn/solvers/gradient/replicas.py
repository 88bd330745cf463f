"""Many replicas: in buckets of equal shape, in chunks that fit the cache, on several threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor

from ...rows import Rows
from ...threads import one_thread
from .batches import n_batches
from .step import Step
from .train import Validation, train
from .trainer import Replica, Settings, Trained

__all__ = ["train_replicas"]

#: Bytes that the parameters, the optimizer's memory and the buffers of a chunk may take together.
CHUNK_BYTES = 2**23

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
    chunks = [
        part
        for bucket in buckets.values()
        for part in _cut(bucket, chunk or _chunk_size(make_step, bucket, settings), n_threads)
    ]

    def run(numbers: list[int]) -> list[Trained]:
        with one_thread(), torch.inference_mode(False):
            return train(
                make_step(numbers),
                X,
                y,
                [replicas[number] for number in numbers],
                settings,
                validation=None if make_validation is None else make_validation(numbers),
            )

    results: dict[int, Trained] = {}
    with ThreadPoolExecutor(max_workers=max(1, min(n_threads, len(chunks)))) as pool:
        for numbers, trained in zip(chunks, pool.map(run, chunks), strict=True):
            results |= dict(zip(numbers, trained, strict=True))
    return [results[number] for number in range(len(replicas))]


def _chunk_size(
    make_step: Callable[[list[int]], Step], bucket: list[int], settings: Settings
) -> int:
    """Replicas whose memory fits the cache together."""
    parameters = make_step(bucket[:1]).parameters
    widths = sum(shape[-1] for shape in parameters.shapes.values())
    # θ, its gradient and two moments; values and derivatives of every layer for a batch.
    numbers = 4 * len(parameters.theta) + 2 * settings.batch_size * widths
    return max(1, min(CHUNK, CHUNK_BYTES // (numbers * parameters.theta.element_size())))


def _cut(bucket: list[int], size: int, n_threads: int) -> list[list[int]]:
    """Cut a bucket into parts of nearly equal sizes, as many as keep all threads busy."""
    n_parts = -(-len(bucket) // size)
    if n_parts > 1 or len(bucket) >= 2 * n_threads:
        n_parts = -(-n_parts // n_threads) * n_threads
    bounds = [round(i * len(bucket) / n_parts) for i in range(n_parts + 1)]
    return [bucket[a:b] for a, b in pairwise(bounds) if b > a]
