"""Minibatch training of K replicas at once; an ordinary fit is K = 1."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...rows import Rows
from .parameters import Parameters
from .step import Step, kept_buffers, replica_buffers
from .trainer import Replica, Settings, Trained, Trainer, Watch

__all__ = ["Validation", "train"]


class Validation(Protocol):
    """Scores the replicas after every epoch; higher is better."""

    def __call__(self, step: Step) -> list[dict[str, float]]:
        """For each replica a record with "validation_score"."""

    def keep(self, replicas: Sequence[int]) -> Validation:
        """The validation of some of the replicas."""


@dataclass
class Snapshot:
    """Parameters and running statistics of the replicas at one moment."""

    parameters: Parameters
    theta: Tensor
    buffers: dict[str, Tensor]

    @classmethod
    def of(cls, step: Step) -> Snapshot:
        """What a step has now, and will change."""
        return cls(step.parameters, step.parameters.theta, step.buffers)

    def copy(self) -> Snapshot:
        """The same, to be kept."""
        buffers = {name: value.clone() for name, value in self.buffers.items()}
        return Snapshot(self.parameters, self.theta.clone(), buffers)

    def replica(self, k: int) -> dict[str, Tensor]:
        """The parameters and statistics of one replica, as views."""
        own = replica_buffers(self.buffers, self.parameters.n_replicas, k)
        return self.parameters.replica(k, self.theta) | own

    def take(self, other: Snapshot, which: list[bool]) -> None:
        """Copy some of the replicas of another snapshot."""
        if all(which):
            self.theta.copy_(other.theta)
            for name, value in other.buffers.items():
                self.buffers[name].copy_(value)
            return
        for k in np.flatnonzero(which).tolist():
            own = self.replica(k)
            for name, value in other.replica(k).items():
                own[name].copy_(value)

    def keep(self, replicas: Sequence[int], parameters: Parameters) -> Snapshot:
        """Some of the replicas, which have parameters of their own now."""
        theta = self.parameters.keep(self.theta, replicas)
        n_replicas = self.parameters.n_replicas
        return Snapshot(parameters, theta, kept_buffers(self.buffers, n_replicas, replicas))


@dataclass
class _Progress:
    """Where one replica stands."""

    number: int
    best: float = np.inf
    waited: int = 0
    records: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


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
    cancelled: Event | None = None,
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
    cancelled : threading.Event, default=None
        Ends the training at the next batch once another thread sets it.

    Returns
    -------
    list of Trained
        In the order of ``replicas``.

    Raises
    ------
    concurrent.futures.CancelledError
        If it was cancelled.
    """
    with torch.inference_mode():
        run = _Run(Trainer(step, X, y, replicas, settings, state), validation, watch)
        if cancelled is not None:
            run.trainer.cancelled = cancelled
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
        self._began = time.perf_counter()
        begin = Snapshot.of(trainer.step)
        self._last = begin.copy()
        #: Before the last: what is known to have a finite loss, as an epoch began with it.
        self._safe = begin.copy()
        self._best = begin.copy()

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
            self._best.take(Snapshot.of(trainer.step), improved)
            self._keep_sound(sound)
            going = [
                k for k, progress in enumerate(self.live) if progress.number not in self.results
            ]
            passed = time.perf_counter() - self._began
            for k in going:
                self.live[k].records.append(records[k])
                self.live[k].seconds.append(passed)
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
        tol = settings.tol if replica.tol is None else replica.tol
        patience = replica.n_iter_no_change
        patience = settings.n_iter_no_change if patience is None else patience
        quality = self._quality(record)
        # Written so that equality counts as scikit-learn counts it in either case.
        if self._by_score:
            waits = -quality < -progress.best + tol
        else:
            waits = quality > progress.best - tol
        progress.waited = progress.waited + 1 if waits else 0
        progress.best = min(progress.best, quality)
        kept = self._best if self._by_score else self._last
        if not sound:
            began_well = np.isfinite(trainer.batch_losses()[0, k])
            self._finish(k, "diverged", self._last if began_well else self._safe)
        elif asked_to_stop:
            self._finish(k, "stopped", kept)
        elif progress.waited > patience:
            if trainer.pace.stalled(k, record["learning_rate"]):
                progress.waited = 0
            else:
                self._finish(k, "converged", kept)
        if progress.number not in self.results and len(progress.records) >= replica.max_epochs:
            self._finish(k, "converged" if settings.schedule.ends else "max_epochs", kept)

    def _finish(self, k: int, reason: str, kept: Snapshot) -> None:
        """Note the result of a replica."""
        trainer, progress = self.trainer, self.live[k]
        alone = trainer.step.parameters.n_replicas == 1
        trainer.batches.retire(k)
        self.results[progress.number] = Trained(
            {name: value.clone() for name, value in kept.replica(k).items()},
            progress.records,
            reason,
            {**trainer.state(), "patience": (progress.best, progress.waited)} if alone else {},
            progress.seconds,
        )

    def _keep_sound(self, sound: list[bool]) -> None:
        """Let the last state of the replicas that are finite become the one before."""
        if all(sound):
            self._safe, self._last = self._last, self._safe
        else:
            self._safe.take(self._last, sound)
        self._last.take(Snapshot.of(self.trainer.step), sound)

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
        self.trainer.keep(left)
        parameters = self.trainer.step.parameters
        self._last, self._safe, self._best = (
            snapshot.keep(left, parameters) for snapshot in (self._last, self._safe, self._best)
        )
        self.live = [self.live[k] for k in left]
        if self.validation is not None:
            self.validation = self.validation.keep(left)
