"""Minibatch training of K replicas at once; an ordinary fit is K = 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...rows import Rows
from .explicit import replica_buffers
from .step import Step
from .trainer import Replica, Settings, Trained, Trainer, Watch

__all__ = ["Validation", "train"]


class Validation(Protocol):
    """Scores the replicas after every epoch; higher is better."""

    def __call__(self, step: Step) -> list[dict[str, float]]:
        """For each replica a record with "validation_score"."""

    def keep(self, replicas: Sequence[int]) -> Validation:
        """The validation of some of the replicas."""


@dataclass
class _Progress:
    """Where one replica stands."""

    number: int
    best: float = np.inf
    waited: int = 0
    records: list[dict[str, float]] = field(default_factory=list)


def train(
    step: Step,
    X: Rows,
    y: Tensor,
    replicas: Sequence[Replica],
    settings: Settings,
    *,
    validation: Validation | None = None,
    watch: Watch | None = None,
    state: dict[str, Any] | None = None,
) -> list[Trained]:
    """Train replicas until each has converged, diverged or used up its epochs.

    Parameters
    ----------
    step : Step
        The network, whose parameters hold where each replica starts. It may be replaced on the way
        by one for the replicas that are left.
    X, y : Rows of shape (n, d) and Tensor of shape (n, m)
        The data, of which each replica sees its rows.
    replicas : sequence of Replica
        What differs.
    settings : Settings
        What does not.
    validation : Validation, default=None
        Scores by which to stop, and to choose the best epoch; without it the training loss counts,
        and the last epoch is kept.
    watch : Watch, default=None
        Follows the training of a single replica.
    state : dict, default=None
        From an earlier training, to go on with.

    Returns
    -------
    list of Trained
        In the order of ``replicas``.
    """
    with torch.inference_mode():
        run = _Run(Trainer(step, X, y, replicas, settings, state), validation, watch)
        if state is not None:
            run.live[0].best, run.live[0].waited = state["patience"]
        return run.until_done()


class _Run:
    """The epochs of a training, and what becomes of each replica."""

    def __init__(
        self, trainer: Trainer, validation: Validation | None, watch: Watch | None
    ) -> None:
        self.trainer, self.validation, self.watch = trainer, validation, watch
        self.results: dict[int, Trained] = {}
        self.live = [_Progress(k) for k in range(len(trainer.replicas))]
        self._by_score = trainer.settings.early_stopping and validation is not None
        if watch is not None:
            watch.training_begins(trainer)
        self._last = self._snapshot()
        #: Before the last: what is known to have a finite loss, as an epoch began with it.
        self._safe = self._snapshot()
        self._best = self._snapshot()

    def until_done(self) -> list[Trained]:
        """Train epoch by epoch."""
        n = len(self.live)
        try:
            while len(self.results) < n:
                self._epoch()
                self._compact()
        except KeyboardInterrupt:
            for k, progress in enumerate(self.live):
                if progress.number not in self.results:
                    self._finish(k, "interrupted", self._best)
        if self.watch is not None:
            self.watch.training_ended(self.results[0])
        return [self.results[k] for k in range(n)]

    def _snapshot(self) -> tuple[Tensor, dict[str, Tensor]]:
        step = self.trainer.step
        return step.parameters.theta.clone(), {k: v.clone() for k, v in step.buffers.items()}

    def _epoch(self) -> None:
        trainer = self.trainer
        if self.watch is not None:
            self.watch.epoch_begins()
        losses, rates = trainer.epoch(self.watch)
        with self._averaged():
            finite = trainer.step.parameters.finite(trainer.step.parameters.theta)
            scores: list[dict[str, float]] = [{} for _ in losses]
            if self.validation is not None:
                scores = self.validation(trainer.step)
            trainer.pace.observe(self._monitored(losses, scores))
            records = [
                {"loss": loss, **score, "learning_rate": rate}
                for loss, score, rate in zip(losses, scores, rates, strict=True)
            ]
            sound = [ok and np.isfinite(loss) for ok, loss in zip(finite, losses, strict=True)]
            improved = [self._improves(k, records[k]) and sound[k] for k in range(len(records))]
            self._remember(self._best, improved)
            self._keep_sound(sound)
            going = [
                k for k, progress in enumerate(self.live) if progress.number not in self.results
            ]
            for k in going:
                self.live[k].records.append(records[k])
            asked_to_stop = self.watch is not None and self.watch.epoch_ended(
                records[0], trainer.step
            )
            for k in going:
                self._judge(k, records[k], sound[k], asked_to_stop)

    def _monitored(self, losses: list[float], scores: list[dict[str, float]]) -> list[float]:
        """What schedules watch, lower being better."""
        if not self._by_score:
            return losses
        return [-score["validation_score"] for score in scores]

    def _quality(self, record: dict[str, float]) -> float:
        """What stopping watches, lower being better."""
        return -record["validation_score"] if self._by_score else record["loss"]

    def _improves(self, k: int, record: dict[str, float]) -> bool:
        return bool(self._quality(record) < self.live[k].best)

    def _judge(self, k: int, record: dict[str, float], sound: bool, asked_to_stop: bool) -> None:
        """Decide whether a replica goes on."""
        progress, trainer = self.live[k], self.trainer
        settings, replica = trainer.settings, trainer.replicas[k]
        quality = self._quality(record)
        # Written so that equality counts as scikit-learn counts it in either case.
        if self._by_score:
            waits = -quality < -progress.best + settings.tol
        else:
            waits = quality > progress.best - settings.tol
        progress.waited = progress.waited + 1 if waits else 0
        progress.best = min(progress.best, quality)
        kept = self._best if self._by_score else self._last
        if not sound:
            began_well = np.isfinite(trainer.batch_losses()[0, k])
            self._finish(k, "diverged", self._last if began_well else self._safe)
        elif asked_to_stop:
            self._finish(k, "stopped", kept)
        elif progress.waited > settings.n_iter_no_change:
            if trainer.pace.stalled(k, record["learning_rate"]):
                progress.waited = 0
            else:
                self._finish(k, "converged", kept)
        if progress.number not in self.results and len(progress.records) >= replica.max_epochs:
            self._finish(k, "converged" if settings.schedule.ends else "max_epochs", kept)

    def _finish(self, k: int, reason: str, kept: tuple[Tensor, dict[str, Tensor]]) -> None:
        """Note the result of a replica."""
        trainer, progress = self.trainer, self.live[k]
        theta, buffers = kept
        values = trainer.step.parameters.replica(k, theta)
        alone = trainer.step.parameters.n_replicas == 1
        values |= {name: value if alone else value[k] for name, value in buffers.items()}
        self.results[progress.number] = Trained(
            {name: value.clone() for name, value in values.items()},
            progress.records,
            reason,
            {**trainer.state(), "patience": (progress.best, progress.waited)} if alone else {},
        )

    def _remember(self, kept: tuple[Tensor, dict[str, Tensor]], which: list[bool]) -> None:
        """Copy the state of some of the replicas."""
        step = self.trainer.step
        theta, buffers = kept
        if all(which):
            theta.copy_(step.parameters.theta)
            for name, value in step.buffers.items():
                buffers[name].copy_(value)
            return
        for k in np.flatnonzero(which).tolist():
            for name, value in step.parameters.replica(k).items():
                step.parameters.replica(k, theta)[name].copy_(value)
            for name, value in replica_buffers(step, k).items():
                (buffers[name] if step.parameters.n_replicas == 1 else buffers[name][k]).copy_(
                    value
                )

    def _keep_sound(self, sound: list[bool]) -> None:
        """Let the last state of the replicas that are finite become the one before."""
        if all(sound):
            self._safe, self._last = self._last, self._safe
        else:
            parameters = self.trainer.step.parameters
            (last, last_buffers), (safe, safe_buffers) = self._last, self._safe
            for k in np.flatnonzero(sound).tolist():
                for name, value in parameters.replica(k, last).items():
                    parameters.replica(k, safe)[name].copy_(value)
                for name, buffer in last_buffers.items():
                    alone = parameters.n_replicas == 1
                    (safe_buffers[name] if alone else safe_buffers[name][k]).copy_(
                        buffer if alone else buffer[k]
                    )
        self._remember(self._last, sound)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Show the averaged iterates to whoever looks, while in the block."""
        average, theta = self.trainer.average, self.trainer.step.parameters.theta
        if average is None or average.count == 0:
            yield
            return
        own = self.trainer.iterate = theta.clone()
        theta.copy_(average.value())
        try:
            yield
        finally:
            theta.copy_(own)
            self.trainer.iterate = None

    def _compact(self) -> None:
        """Drop the replicas that are done, when there are enough of them."""
        left = [k for k, progress in enumerate(self.live) if progress.number not in self.results]
        if not left or len(left) > 0.75 * len(self.live):
            return
        parameters = self.trainer.step.parameters
        alone = len(left) == 1

        def kept(snapshot: tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
            theta, buffers = snapshot
            cut = {name: value[left] for name, value in buffers.items()}
            return parameters.keep(theta, left), {
                name: value[0] if alone else value for name, value in cut.items()
            }

        self._last, self._safe, self._best = map(kept, (self._last, self._safe, self._best))
        self.trainer.keep(left)
        self.live = [self.live[k] for k in left]
        if self.validation is not None:
            self.validation = self.validation.keep(left)
