"""One training in motion: what differs between replicas, what does not, and an epoch of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...objectives.penalties import ElasticNet
from ...rows import Rows, SparseRows
from .averaging import IterateAverage
from .batches import Batch, Batches
from .masks import MaskSource
from .optimizers import Optimizer, soft_threshold_
from .schedules import Clock, Schedule
from .step import Program, Step

__all__ = ["Replica", "Settings", "Trained", "Trainer", "Watch"]


@dataclass
class Replica:
    """What may differ between the replicas of a bucket.

    Attributes
    ----------
    rows : ndarray of shape (n,)
        Numbers of the training rows.
    generator : RandomState
        Draws the minibatches and the seed of dropout.
    weights : ndarray of shape (n,) or None
        Weights of these rows, > 0.
    learning_rate : float
        η₀.
    alpha, l1_ratio : float
        Elastic net, divided by the total weight of a batch.
    weight_decay : float
        Decay of all parameters, added to the gradient as α θ.
    dropout : tuple of float
        Probability to drop, for each mask; as many in all replicas.
    max_epochs : int
        Epochs at most.
    hyper : dict of str to float
        Hyper-parameters of the optimizer that are this replica's own; the same ones in all.
    tol, n_iter_no_change : float or None
        Its own in the place of those of the settings.
    """

    rows: np.ndarray
    generator: np.random.RandomState
    weights: np.ndarray | None = None
    learning_rate: float = 1e-3
    alpha: float = 0.0
    l1_ratio: float = 0.0
    weight_decay: float = 0.0
    dropout: tuple[float, ...] = ()
    max_epochs: int = 200
    hyper: dict[str, float] = field(default_factory=dict)
    tol: float | None = None
    n_iter_no_change: float | None = None


@dataclass(frozen=True)
class Settings:
    """What all replicas of a bucket share.

    Attributes
    ----------
    optimizer : Optimizer
        How θ moves.
    schedule : Schedule
        How the learning rate changes.
    batch_size : int
        Rows of a minibatch.
    order : {"shuffle", "replacement", "given"}
        How minibatches are drawn.
    tol, n_iter_no_change : float
        Training stops when for more than ``n_iter_no_change`` epochs in a row the loss, or the
        validation score, has not improved by ``tol``.
    accumulation_steps : int
        Minibatches whose gradients make one update.
    clip_norm, clip_value : float or None
        Largest norm of a gradient, and largest size of its entries.
    average : int or None
        Iterates are averaged after so many updates; None: not at all.
    rate_factors : dict of str to float
        Factors of the learning rate of single parameters.
    report_scale : float
        Factor of the loss in what is reported, not in what is minimised.
    early_stopping : bool
        Whether the validation score decides when to stop and which epoch to keep.
    """

    optimizer: Optimizer
    schedule: Schedule
    batch_size: int
    order: str = "shuffle"
    tol: float = 1e-4
    n_iter_no_change: float = 10
    accumulation_steps: int = 1
    clip_norm: float | None = None
    clip_value: float | None = None
    average: int | None = None
    rate_factors: dict[str, float] = field(default_factory=dict)
    report_scale: float = 1.0
    early_stopping: bool = False


@dataclass
class Trained:
    """How the training of one replica ended.

    Attributes
    ----------
    values : dict of str to Tensor
        Parameters and running statistics: the best ones if there was a validation or an
        interruption, else the last.
    records : list of dict
        One for each epoch.
    reason : str
        "converged", "max_epochs", "diverged", "interrupted" or "stopped".
    state : dict
        What a later training needs to go on as if it had not been interrupted; empty for a replica
        among others.
    seconds : list of float
        Time of each record since the training began.
    """

    values: dict[str, Tensor]
    records: list[dict[str, float]]
    reason: str
    state: dict[str, Any]
    seconds: list[float] = field(default_factory=list)


class Watch(Protocol):
    """Follows the training of a single replica."""

    #: Whether it follows single steps too; if not, it is told of epochs alone.
    by_batch: bool

    def training_begins(self, trainer: Trainer) -> None:
        """Before all; parameters, buffers and the optimizer's memory may be changed in place."""

    def epoch_begins(self) -> None:
        """Before an epoch."""

    def batch_begins(self, batch: Batch) -> None:
        """Before a step."""

    def rate(self, rate: float) -> float:
        """The learning rate to use instead of the schedule's."""

    def gradient_ready(self, batch: Batch) -> None:
        """Before an update; the gradient may be changed in place."""

    def batch_ended(self, batch: Batch, program: Program) -> None:
        """After a step."""

    def epoch_ended(self, record: dict[str, float], step: Step) -> bool:
        """After an epoch; True stops."""

    def training_ended(self, trained: Trained) -> None:
        """After all, unless there was an error; may change what is kept, and why it stopped."""


class Trainer:
    """The state of a training: a step, the optimizer's memory, the place in the schedule."""

    def __init__(
        self,
        step: Step,
        X: Rows,
        y: Tensor,
        replicas: Sequence[Replica],
        settings: Settings,
        state: dict[str, Any] | None = None,
    ) -> None:
        check_alike(replicas)
        self.step, self.X, self.y = step, X, y
        self.replicas, self.settings = list(replicas), settings
        weights = [
            np.ones(len(replica.rows)) if replica.weights is None else replica.weights
            for replica in replicas
        ]
        weighted = any(replica.weights is not None for replica in replicas)
        self.batches = Batches(
            [replica.rows for replica in replicas],
            weights if weighted else None,
            settings.batch_size,
            settings.order,
            [replica.generator for replica in replicas],
        )
        self.pace = settings.schedule.start(len(replicas))
        self.epochs, self.steps, self.samples = 0, 0, [0] * len(replicas)
        #: Set by another thread to end the training at the next batch.
        self.cancelled = Event()
        self._masks: MaskSource | None = None
        if any(replica.dropout for replica in replicas):
            seeds = [int(replica.generator.randint(2**31 - 1)) for replica in replicas]
            self._masks = MaskSource(seeds, [replica.dropout for replica in replicas])
        self._bind()
        if state is not None:
            self.restore(state)

    def _bind(self) -> None:
        """Make everything that depends on the number of replicas."""
        parameters = self.step.parameters
        self.updater = self._optimizer().start(parameters.theta)
        cut = parameters.n_penalised
        names = len(parameters.penalised)
        self.penalty = ElasticNet(
            [replica.alpha for replica in self.replicas],
            [replica.l1_ratio for replica in self.replicas],
            parameters.stacks(parameters.theta)[:names],
            parameters.stacks(parameters.gradient)[:names],
            parameters.theta[:cut],
            parameters.gradient[:cut],
        )
        self.updater.proximal = self.penalty.sharp
        decays = [replica.weight_decay for replica in self.replicas]
        self._decay: float | Tensor = decays[0] if len(set(decays)) == 1 else self._spread(decays)
        self._rate_scale: Tensor | None = None
        if any(factor != 1 for factor in self.settings.rate_factors.values()):
            scale = torch.ones_like(parameters.theta)
            views = parameters.views(scale)
            for name, factor in self.settings.rate_factors.items():
                views[name].fill_(factor)
            self._rate_scale = scale
        self._rates: tuple[Any, Any] = (None, None)
        self._pending: list[tuple[float, ...]] = []
        self._accumulated: Tensor | None = None
        if self.settings.accumulation_steps > 1:
            self._accumulated = torch.zeros_like(parameters.gradient)
        #: The last iterate, while the parameters show the mean of all.
        self.iterate: Tensor | None = None
        self.average: IterateAverage | None = None
        if self.settings.average is not None:
            self.average = IterateAverage(parameters.theta, self.settings.average)

    def _spread(self, numbers: Sequence[float]) -> Tensor:
        return self.step.parameters.spread(numbers)

    def _optimizer(self) -> Optimizer:
        """The optimizer, with hyper-parameters that differ spread over the parameters."""
        changes: dict[str, Any] = {}
        for name in self.replicas[0].hyper:
            numbers = [replica.hyper[name] for replica in self.replicas]
            changes[name] = numbers[0] if len(set(numbers)) == 1 else self._spread(numbers)
        optimizer: Any = self.settings.optimizer
        return replace(optimizer, **changes) if changes else optimizer

    def _clock(self, k: int) -> Clock:
        per_epoch = -(-self.batches.steps // self.settings.accumulation_steps)
        total = per_epoch * self.replicas[k].max_epochs
        return Clock(self.steps, self.epochs, self.samples[k], per_epoch, total)

    def rates(self) -> list[float]:
        """The learning rate of each replica for the next update."""
        clocks = [self._clock(k) for k in range(len(self.replicas))]
        factors = {clock: self.pace.factors(clock) for clock in set(clocks)}
        return [
            replica.learning_rate * own_factor(factors[clock], k)
            for k, (replica, clock) in enumerate(zip(self.replicas, clocks, strict=True))
        ]

    def _rate(self, rates: Sequence[float]) -> float | Tensor:
        """Rates as the updater takes them: a number, or a flat tensor."""
        if self._rates[0] != rates:
            alike = len(set(rates)) == 1
            rate: float | Tensor = rates[0] if alike else self._spread(rates)
            if self._rate_scale is not None:
                rate = self._rate_scale * rate
            self._rates = list(rates), rate
        return self._rates[1]

    def epoch(self, watch: Watch | None = None) -> tuple[list[float], list[float]]:
        """Train for one epoch; the mean loss and the last learning rate of each replica."""
        weighted, by_step = self.batches.weighted, self.settings.schedule.by_step
        losses: list[Tensor] = []
        penalties: list[Tensor] = []
        totals: list[tuple[float, ...]] = []
        full: Program | None = None
        rates = planned = self.rates()
        steps = watch if watch is not None and watch.by_batch else None
        penalised = self.penalty.smooth or self.penalty.sharp
        for i, batch in enumerate(self.batches.epoch()):
            if self.cancelled.is_set():
                raise CancelledError
            program = self.step.program(batch.size, weighted=weighted)
            if steps is not None:
                steps.batch_begins(batch)
            self._load(batch, program)
            if self._masks is not None:
                if full is None:
                    full = program
                    self._masks.start_epoch(self.epochs, full)
                self._masks.fill(program, full)
            program.run()
            losses.append(program.loss.clone())
            totals.append(batch.totals)
            mass = batch.totals if self._accumulated is None else self._gathered(batch, i)
            if penalised:
                # Batches whose gradients make one update have one penalty together.
                value = self.penalty.value()
                penalties.append(torch.zeros_like(value) if mass is None else value)
            if mass is not None:
                if self.penalty.smooth:
                    self.penalty.add_gradient(mass)
                if by_step:
                    planned = self.rates()
                rates = planned
                if steps is not None:
                    rates = [steps.rate(planned[0])]
                    steps.gradient_ready(batch)
                self._update(mass, rates)
            if steps is not None:
                steps.batch_ended(batch, program)
        self.epochs += 1
        self.samples = [
            seen + len(replica.rows)
            for seen, replica in zip(self.samples, self.replicas, strict=True)
        ]
        return self._mean_loss(losses, penalties, totals), rates

    def _mean_loss(
        self,
        losses: list[Tensor],
        penalties: list[Tensor],
        totals: list[tuple[float, ...]],
    ) -> list[float]:
        """Mean of the losses and penalties of the batches, by weight."""
        mass = np.asarray(totals)
        table = torch.stack(losses).double().cpu().numpy().reshape(mass.shape)
        sums = (table * mass).sum(0) * self.settings.report_scale
        added = np.zeros_like(mass)
        if penalties:
            # A batch's penalty is divided by its total weight, and enters the mean with it.
            added = torch.stack(penalties).double().cpu().numpy()
            sums = sums + added.sum(0)
        self._parts = table, added, mass
        return (sums / mass.sum(0)).tolist()

    def batch_losses(self) -> np.ndarray:
        """What the mean loss of the last epoch is the mean of, by weight, (n_batches, K)."""
        losses, penalties, mass = self._parts
        return losses * self.settings.report_scale + penalties / mass

    def _gathered(self, batch: Batch, i: int) -> tuple[float, ...] | None:
        """Add a batch's gradient to those before it; their weights if they make an update."""
        gradient, accumulated = self.step.parameters.gradient, self._accumulated
        assert accumulated is not None
        weights = batch.totals[0]
        if min(batch.totals) == max(batch.totals):
            accumulated.add_(gradient, alpha=weights)
        else:
            accumulated.addcmul_(gradient, self._spread(batch.totals))
        self._pending.append(batch.totals)
        if len(self._pending) < self.settings.accumulation_steps and i + 1 < self.batches.steps:
            return None
        mass = np.sum(self._pending, axis=0)
        if mass.min() == mass.max():
            torch.mul(accumulated, 1 / float(mass[0]), out=gradient)
        else:
            torch.div(accumulated, self._spread(mass.tolist()), out=gradient)
        accumulated.zero_()
        self._pending.clear()
        return tuple(mass.tolist())

    def _load(self, batch: Batch, program: Program) -> None:
        """Fill the buffers of a program with the rows of a batch."""
        rows = batch.rows
        if isinstance(self.X, SparseRows):
            dense = self.X.matrix[rows.numpy()].toarray()
            program.flat_inputs.copy_(torch.from_numpy(dense))
        if rows.device != program.inputs.device:
            rows = rows.to(program.inputs.device)
        if isinstance(self.X, Tensor):
            torch.index_select(self.X, 0, rows, out=program.flat_inputs)
        torch.index_select(self.y, 0, rows, out=program.flat_targets)
        if program.share is not None and batch.share is not None:
            program.share.copy_(batch.share.view(program.share.shape))
            program.total.copy_(torch.tensor(batch.totals).view(program.total.shape))

    def _update(self, totals: Sequence[float], rates: Sequence[float]) -> None:
        """Move θ along the gradient of rows of these total weights."""
        settings, parameters = self.settings, self.step.parameters
        if settings.clip_norm is not None:
            self._clip_norm(settings.clip_norm)
        if settings.clip_value is not None:
            parameters.gradient.clamp_(-settings.clip_value, settings.clip_value)
        if isinstance(self._decay, Tensor):
            parameters.gradient.addcmul_(parameters.theta, self._decay)
        elif self._decay:
            parameters.gradient.add_(parameters.theta, alpha=self._decay)
        rate = self._rate(rates)
        self.updater(parameters.theta, parameters.gradient, rate)
        if self.penalty.sharp:
            self._shrink(totals, rate)
        self.steps += 1
        if self.average is not None:
            self.average.update(parameters.theta, self.steps)

    def _shrink(self, totals: Sequence[float], rate: float | Tensor) -> None:
        """The proximal step of the l1 norm."""
        weights = self.step.parameters.theta[: self.step.parameters.n_penalised]
        length: Any = rate * self.updater.metric()
        if isinstance(length, Tensor) and length.ndim:
            length = length[: len(weights)]
        soft_threshold_(weights, length * self.penalty.thresholds(totals))

    def _clip_norm(self, largest: float) -> None:
        stacks = self.step.parameters.stacks(self.step.parameters.gradient)
        norms = torch.stack([stack.square().sum(1) for stack in stacks]).sum(0).sqrt()
        factors = (largest / norms.clamp_min(1e-30)).clamp_max(1.0)
        for stack in stacks:
            stack.mul_(factors[:, None])

    def keep(self, replicas: Sequence[int]) -> None:
        """Go on with some of the replicas."""
        before, parameters = self.updater, self.step.parameters
        average = self.average
        self.step = self.step.keep(list(replicas))
        self.replicas = [self.replicas[k] for k in replicas]
        self.samples = [self.samples[k] for k in replicas]
        self.batches.keep(replicas)
        self.pace.keep(replicas)
        if self._masks is not None:
            self._masks.keep(replicas)
        self._bind()
        for name, tensor in before.tensors.items():
            self.updater.tensors[name].copy_(parameters.keep(tensor, replicas))
        self.updater.steps, self.updater.reach = before.steps, before.reach
        if isinstance(before.reach, Tensor):
            self.updater.reach = parameters.keep(before.reach, replicas)
        if average is not None and self.average is not None:
            self.average.load(parameters.keep(average.value(), replicas), average.count)

    def state(self) -> dict[str, Any]:
        """What a later trainer needs to go on, as plain numbers and arrays."""
        return {
            "tensors": {name: t.cpu().numpy().copy() for name, t in self.updater.tensors.items()},
            "updates": self.updater.steps,
            "reach": as_numbers(self.updater.reach),
            "place": (self.epochs, self.steps, self.samples),
            "pace": copy.deepcopy(self.pace),
            "orders": self.batches.orders,
            "masks": None if self._masks is None else self._masks.seeds,
            "average": self._average_state(),
        }

    def _average_state(self) -> tuple[np.ndarray, int, np.ndarray] | None:
        """The mean of the iterates, their number, and the last of them."""
        if self.average is None:
            return None
        iterate = self.step.parameters.theta if self.iterate is None else self.iterate
        mean = self.average.value().cpu().numpy().copy()
        return mean, self.average.count, iterate.cpu().numpy().copy()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for name, array in state["tensors"].items():
            self.updater.tensors[name].copy_(torch.from_numpy(array))
        self.updater.steps = state["updates"]
        reach = state["reach"]
        self.updater.reach = (
            torch.from_numpy(reach).to(self.step.parameters.theta)
            if isinstance(reach, np.ndarray)
            else reach
        )
        self.epochs, self.steps, self.samples = state["place"]
        self.pace = copy.deepcopy(state["pace"])
        if "orders" in state:
            self.batches.orders = state["orders"]
        if self._masks is not None and state["masks"] is not None:
            self._masks.seeds = state["masks"]
        if self.average is not None and state["average"] is not None:
            mean, count, iterate = state["average"]
            self.average.load(torch.from_numpy(mean), count)
            self.step.parameters.theta.copy_(torch.from_numpy(iterate))


def as_numbers(value: float | Tensor) -> float | np.ndarray:
    """A number, or an array of what a tensor holds."""
    return value.cpu().numpy().copy() if isinstance(value, Tensor) else value


def check_alike(replicas: Sequence[Replica]) -> None:
    """Refuse replicas that differ in what they may not differ in."""
    first = replicas[0]
    for k, replica in enumerate(replicas):
        if len(replica.dropout) != len(first.dropout) or replica.hyper.keys() != first.hyper.keys():
            raise ValueError(
                f"replica {k} has {len(replica.dropout)} dropout rates and the hyper-parameters "
                f"{sorted(replica.hyper)}, replica 0 has {len(first.dropout)} and "
                f"{sorted(first.hyper)}: replicas of a bucket must have the same ones"
            )
        if replica.weights is not None and not (replica.weights > 0).all():
            raise ValueError(
                f"the weights of replica {k} must be above 0: leave out rows that do not count"
            )


def own_factor(factor: Any, k: int) -> float:
    """The factor of one replica, of one for all or one for each."""
    return float(factor[k]) if isinstance(factor, np.ndarray) else factor
