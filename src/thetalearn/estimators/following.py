"""What follows a training: rows held out for validation, the monitor, and the end of one epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..monitor import FitMonitor
from ..rows import Rows, SparseRows, row_blocks
from ..solvers.gradient.batches import Batch
from ..solvers.gradient.step import Program, Step
from ..solvers.gradient.trainer import Replica, Trained, Trainer

if TYPE_CHECKING:
    from .gradient import GradientEstimator

__all__ = ["HeldOut", "MonitorWatch", "OneEpoch", "StackedHeldOut"]


@dataclass
class HeldOut:
    """Rows on which training is validated after every epoch."""

    estimator: GradientEstimator
    inputs: Tensor
    targets: Tensor
    weight: Tensor | None
    outputs: Tensor | None = None
    losses: Tensor | None = None

    def __call__(self, step: Step) -> list[dict[str, float]]:
        """Score and loss of the network as it stands."""
        widest = max(max(shape) for shape in step.parameters.shapes.values())
        size = 2 * widest * self.inputs.element_size()
        outputs = torch.cat(
            [step.predict(self.inputs[block]) for block in row_blocks(len(self.inputs), size)]
        )
        rows = self.estimator._loss_rows(outputs, self.targets)
        self.outputs, self.losses = outputs, rows
        weight = self.weight
        loss = rows.mean() if weight is None else (rows * weight).sum() / weight.sum()
        loss = loss * self.estimator._report_scale(self.targets.shape[1])
        score = self.estimator._score_outputs(outputs, self.targets, weight)
        return [{"validation_loss": float(loss), "validation_score": float(score)}]

    def keep(self, replicas: Sequence[int]) -> HeldOut:
        """The same: there is one replica."""
        return self


class StackedHeldOut:
    """Rows of shared data on which each of K replicas is validated after every epoch.

    Parameters
    ----------
    estimator : GradientEstimator
        Any of those that are trained: what counts is its loss and its score.
    X, y : Rows of shape (n, d) and Tensor of shape (n, m)
        The data.
    rows : sequence of ndarray
        For each replica the numbers of its validation rows.
    weights : sequence of ndarray or None
        For each replica the weights of these rows; None if all count alike.
    """

    def __init__(
        self,
        estimator: GradientEstimator,
        X: Rows,
        y: Tensor,
        rows: Sequence[np.ndarray],
        weights: Sequence[np.ndarray] | None,
    ) -> None:
        self._estimator, self._X, self._y = estimator, X, y
        self._rows, self._weights = list(rows), weights
        length = max(map(len, rows))
        # What pads must be a row; nobody looks at its outputs.
        padded = [np.pad(own, (0, length - len(own)), mode="edge") for own in rows]
        self._index = torch.from_numpy(np.stack(padded)).to(y.device)
        sizes = np.array([len(own) for own in rows])
        self._groups = [self._group(np.flatnonzero(sizes == n)) for n in np.unique(sizes)]

    def _group(self, replicas: np.ndarray) -> tuple[list[int], Tensor, Tensor | None]:
        """Replicas with as many rows as one another: their numbers, targets and weights."""
        numbers = replicas.tolist()
        rows = torch.from_numpy(np.stack([self._rows[k] for k in numbers])).to(self._y.device)
        weight = None
        if self._weights is not None:
            weight = torch.from_numpy(np.stack([self._weights[k] for k in numbers]))
            weight = weight.to(self._y.device)
        return numbers, self._y[rows], weight

    def __call__(self, step: Step) -> list[dict[str, float]]:
        """Scores and losses of the networks as they stand."""
        outputs = self._outputs(step)
        records: list[dict[str, float]] = [{} for _ in self._rows]
        for replicas, targets, weight in self._groups:
            own = outputs if len(self._groups) == 1 else outputs[replicas, : targets.shape[1]]
            rows = self._estimator._loss_rows(own, targets)
            loss = rows.mean(-1) if weight is None else (rows * weight).sum(-1) / weight.sum(-1)
            loss = loss * self._estimator._report_scale(targets.shape[-1])
            score = self._estimator._score_outputs(own, targets, weight)
            for k, its_loss, its_score in zip(replicas, loss.tolist(), score.tolist(), strict=True):
                records[k] = {"validation_loss": its_loss, "validation_score": its_score}
        return records

    def _outputs(self, step: Step) -> Tensor:
        """Outputs (K, n, q), block by block."""
        widest = max(max(shape) for shape in step.parameters.shapes.values())
        n_replicas, length = self._index.shape
        parts = []
        for block in row_blocks(length, 2 * n_replicas * widest * self._y.element_size()):
            rows = self._index[:, block]
            inputs = self._inputs(rows.reshape(-1))
            if n_replicas > 1:
                parts.append(step.predict(inputs.unflatten(0, rows.shape)))
            else:
                parts.append(step.predict(inputs)[None])
        return torch.cat(parts, 1)

    def _inputs(self, rows: Tensor) -> Tensor:
        if isinstance(self._X, SparseRows):
            return self._X[rows][:].to(self._y)
        return self._X[rows]

    def keep(self, replicas: Sequence[int]) -> StackedHeldOut:
        """The validation of some of the replicas."""
        weights = None if self._weights is None else [self._weights[k] for k in replicas]
        rows = [self._rows[k] for k in replicas]
        return StackedHeldOut(self._estimator, self._X, self._y, rows, weights)


class MonitorWatch:
    """Passes epochs on to the monitor."""

    by_batch = False

    def __init__(self, estimator: GradientEstimator, monitor: FitMonitor) -> None:
        self._estimator, self._monitor = estimator, monitor

    def training_begins(self, trainer: Trainer) -> None:
        """Nothing to do."""

    def epoch_begins(self) -> None:
        """Nothing to do."""

    def batch_begins(self, batch: Batch) -> None:
        """Nothing to do."""

    def rate(self, rate: float) -> float:
        """The schedule's."""
        return rate

    def gradient_ready(self, batch: Batch) -> None:
        """Nothing to do."""

    def batch_ended(self, batch: Batch, program: Program) -> None:
        """Nothing to do."""

    def epoch_ended(self, record: dict[str, float], step: Step) -> bool:
        """Report; the answer of the monitor stops."""
        return self._monitor(
            record,
            lambda: self._estimator._public({**step.parameters.replica(0), **step.buffers}),
        )

    def training_ended(self, trained: Trained) -> None:
        """Nothing to do."""


class OneEpoch:
    """Ends a training after an epoch, whose place in a schedule is that of one of ``max_iter``."""

    def __init__(self, watch: Any, replica: Replica) -> None:
        self._watch, self._replica = watch, replica

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watch, name)

    def epoch_ended(self, record: dict[str, float], step: Step) -> bool:
        """Report; now that the schedule has been asked, this epoch was the last."""
        self._replica.max_epochs = 1
        return bool(self._watch.epoch_ended(record, step))
