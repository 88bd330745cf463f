"""Predictions of several fitted networks for the same rows."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Any

import torch
from torch import Tensor

from ....rows import Rows, row_blocks
from ....solvers.gradient.replicas import cut, in_threads
from ....threads import one_thread
from ..overrides import INPUT_STEPS, replaced_step

__all__ = ["Evaluated", "predict_together"]

#: Bytes of the values of networks that are evaluated at once.
CACHE = 2**21

#: Steps of predictions that only the package itself may replace.
STEPS = (*INPUT_STEPS, "_network_outputs", "_apply", "_outputs")

#: Multiplications that are worth more than one thread.
SEVERAL_THREADS = 2**28

#: Rows that networks are evaluated on at once, at least.
FEW_ROWS = 256


@dataclass(frozen=True)
class Evaluated:
    """Rows for which the outputs of a network are known; its methods take them for rows.

    Attributes
    ----------
    outputs : Tensor of shape (n, q)
        Outputs before the link.
    shape : tuple of int
        Shape of the rows.
    dtype : torch.dtype
        Their precision.
    device : torch.device
        Where they are.
    """

    outputs: Tensor
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def __len__(self) -> int:
        return self.shape[0]


def predict_together(estimators: Sequence[Any], X: Any, method: str) -> list[Any] | None:
    """What a method of several fitted networks returns; None if they see X in different ways."""
    if isinstance(X, Tensor) or replaced_step(type(estimators[0]), (method, *STEPS)):
        return None
    if not all(hasattr(one, method) and one.__sklearn_is_fitted__() for one in estimators):
        return None
    if len({pickle.dumps(_columns(one)) for one in estimators}) > 1:
        return None
    rows = estimators[0]._input_rows(X, reset=False)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for number, one in enumerate(estimators):
        # Dropout says nothing to prediction.
        groups[replace(one.architecture_, dropout=()), one._parameter_dtype()].append(number)
    size = sum(sum(coef.size for coef in one.coefs_) for one in estimators) * len(rows)
    n_threads = torch.get_num_threads() if size >= SEVERAL_THREADS else 1
    parts = [
        part
        for group in groups.values()
        for part in cut(group, _at_once(estimators[group[0]]), n_threads)
    ]
    jobs = (partial(_outputs, [estimators[number] for number in part], rows) for part in parts)
    results: dict[int, Any] = {}
    for part, stack in zip(parts, _made(jobs, min(n_threads, len(parts))), strict=True):
        for number, outputs in zip(part, stack.unbind(), strict=True):
            known = Evaluated(outputs, rows.shape, rows.dtype, rows.device)
            results[number] = getattr(estimators[number], method)(known)
    return [results[number] for number in range(len(estimators))]


def _made(jobs: Iterable[Callable[[Event], Tensor]], n_threads: int) -> Iterator[Tensor]:
    """Results of jobs, which few of them give sooner without a thread of their own."""
    if n_threads > 1:
        yield from in_threads(jobs, n_threads)
        return
    with one_thread():
        for job in jobs:
            yield job(Event())


def _columns(estimator: Any) -> tuple[int, list[str] | None, str]:
    """What an estimator asks of the columns of X."""
    names = getattr(estimator, "feature_names_in_", None)
    return estimator.n_features_in_, None if names is None else list(names), str(estimator.device)


def _at_once(estimator: Any) -> int:
    """Networks whose values for a few rows fit the cache together."""
    widest, dtype = max(estimator.architecture_.sizes), estimator._parameter_dtype()
    return max(1, CACHE // (2 * FEW_ROWS * widest * dtype.itemsize))


def _outputs(estimators: list[Any], rows: Rows, cancelled: Event) -> Tensor:
    """Outputs (K, n, q) of networks of one architecture."""
    network, dtype = estimators[0].architecture_, estimators[0]._parameter_dtype()
    tensors = [one._tensors(dtype, rows.device) for one in estimators]
    stacked = {name: torch.stack([own[name] for own in tensors]) for name in tensors[0]}
    row_bytes = 2 * len(estimators) * max(network.sizes) * dtype.itemsize
    with torch.inference_mode():
        blocks = row_blocks(len(rows), row_bytes, FEW_ROWS)
        return torch.cat([network.apply(rows[block].to(dtype), stacked) for block in blocks], 1)
