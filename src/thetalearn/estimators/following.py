"""What follows a training: rows held out for validation, the monitor, and the end of one epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..monitor import FitMonitor
from ..rows import row_blocks
from ..solvers.gradient.batches import Batch
from ..solvers.gradient.step import Program, Step
from ..solvers.gradient.trainer import Replica, Trained, Trainer

if TYPE_CHECKING:
    from .gradient import GradientEstimator

__all__ = ["HeldOut", "MonitorWatch", "OneEpoch"]


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
        score = self.estimator._score_outputs(outputs, self)
        return [{"validation_loss": float(loss), "validation_score": score}]

    def keep(self, replicas: Sequence[int]) -> HeldOut:
        """The same: there is one replica."""
        return self


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
