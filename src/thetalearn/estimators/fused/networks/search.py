"""Neural networks that are trained together.

Networks of one shape are trained in stacks by `thetalearn.solvers.gradient.replicas`. This file
makes stacks of estimators and estimators of what was trained, by the same methods by which an
estimator is fitted alone, in the same order of random numbers.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from threading import Event
from typing import Any

import numpy as np
import torch
from sklearn import get_config
from torch import Tensor

from ....base import ThetaClassifier
from ....exceptions import DivergenceError
from ....fusion import NotFusable, ReplicaFit, Source
from ....monitor import FitMonitor
from ....representations.networks.activations import Activation, CallableActivation
from ....rows import Rows, SparseRows
from ....solvers.gradient.batches import n_batches
from ....solvers.gradient.masks import BLOCK
from ....solvers.gradient.replicas import chunk_size, cut, in_threads
from ....solvers.gradient.train import train
from ....solvers.gradient.trainer import Replica, Settings, Trained
from ...following import StackedHeldOut
from ...gradient import FULL_BATCH
from ..overrides import FIT_STEPS, check_steps
from .data import Labels, NetworkData, joined

__all__ = ["NetworkSearch", "differing"]

#: Parameters that are numbers of a replica, rather than of its stack.
OWN = frozenset(
    {
        "alpha",
        "beta_1",
        "beta_2",
        "class_weight",
        "dropout",
        "epsilon",
        "input_dropout",
        "l1_ratio",
        "learning_rate_init",
        "max_iter",
        "momentum",
        "n_iter_no_change",
        "random_state",
        "tol",
        "validation_fraction",
        "weight_decay",
    }
)


#: Steps of a fit that only the package itself may replace: those that are not called, and those
#: that are called once for many fits.
STEPS = (
    *FIT_STEPS,
    "_validate_params",
    "_fit_network",
    "_fit_minibatch",
    "_goes_on",
    "_hold_out",
    "_given_validation",
    "_make_watch",
    "_make_step",
    "_network_targets",
    "_network_outputs",
    "_apply",
    "_score_outputs",
    "_loss_rows",
    "_settings",
    "_optimizer",
    "_rate_factors",
    "_report_scale",
)

#: Fits that are planned at a time, at least and at most, and bytes of a plan beside its rows.
LEAST_ROUND, MAX_ROUND, PLAN_BYTES = 64, 1024, 2**14


def differing(estimator: Any) -> frozenset[str]:
    """Parameters in which networks that are trained together may differ."""
    check_steps(type(estimator), STEPS)
    _check_stackable(estimator)
    return OWN & estimator.get_params(deep=False).keys()


def _check_stackable(estimator: Any) -> None:
    """Refuse a network that is trained alone."""
    reason = _why_alone(estimator)
    if reason is not None:
        raise NotFusable(reason)


def _why_alone(estimator: Any) -> str | None:
    """Why a network is not trained in a stack; None if it is."""
    if isinstance(estimator.solver, str) and estimator.solver in FULL_BATCH:
        return f"solver={estimator.solver!r} trains one network at a time, on all rows"
    if estimator.callbacks:
        return "callbacks follow the training of a single network"
    if getattr(estimator, "_skl_callbacks", None):
        return "callbacks of scikit-learn follow the training of a single network"
    if estimator.verbose:
        return f"verbose={estimator.verbose!r} shows a progress bar for each fit"
    if estimator.amp:
        return "amp=True traces each network"
    if estimator.warm_start and estimator.__sklearn_is_fitted__():
        return "warm_start=True goes on from an earlier fit"
    given = estimator.activation
    functions = [*(given if isinstance(given, list | tuple) else [given])]
    functions.append(getattr(estimator, "out_activation", None))
    if any(isinstance(f, CallableActivation) or _is_plain_function(f) for f in functions):
        return "an activation that is a function may mix the units of a layer, or of a stack"
    return None


def _is_plain_function(activation: Any) -> bool:
    return callable(activation) and not isinstance(activation, Activation)


@dataclass(eq=False)
class _Task:
    """A fit whose parameters and rows have been checked.

    Attributes
    ----------
    fit : ReplicaFit
        The fit.
    before : dict
        Attributes of the estimator as it came, which an error brings back.
    rows : ndarray of shape (n,)
        Numbers in the source of its rows of positive weight.
    weights : ndarray of shape (n,) or None
        Their weights.
    n_train : int
        Rows that are left to train on.
    settings : Settings
        What it shares with others.
    labels : Labels
        What its rows say.
    dtype : torch.dtype
        Precision.
    """

    fit: ReplicaFit
    before: dict[str, Any]
    rows: np.ndarray
    weights: np.ndarray | None
    n_train: int
    settings: Settings
    labels: Labels
    dtype: torch.dtype

    def key(self, data: NetworkData) -> Hashable:
        """Equal for tasks that can be trained in one stack."""
        estimator, settings = self.fit.estimator, self.settings
        return (
            estimator.architecture_.sizes,
            tuple(rate > 0 for rate in estimator.architecture_.dropout),
            n_batches(self.n_train, settings.batch_size),
            settings.batch_size,
            type(settings.optimizer),
            self.labels.key,
            self.weights is None,
            self.dtype,
            isinstance(data.X, SparseRows),
        )

    def place(self) -> tuple[Any, ...]:
        """Tasks with one rate, as long a training and the same rows are faster in a stack."""
        estimator = self.fit.estimator
        numbers = "momentum", "beta_1", "beta_2", "epsilon", "learning_rate_init"
        own = tuple(float(getattr(estimator, name)) for name in numbers)
        return self.fit.source, self.n_train, estimator.max_iter, own

    def n_bytes(self) -> int:
        """Bytes that it takes in a stack."""
        shapes = self.fit.estimator.architecture_.shapes
        size, widths = sum(map(prod, shapes.values())), sum(s[-1] for s in shapes.values())
        # θ, its gradient, two moments, the start, the result, and three snapshots.
        numbers = 9 * size + 4 * self.settings.batch_size * widths
        if any(self.fit.estimator.architecture_.dropout):
            numbers += BLOCK
        return numbers * self.dtype.itemsize + 8 * len(self.rows) * (
            6 if self.weights is None else 9
        )


@contextmanager
def _attempt(fit: ReplicaFit, before: dict[str, Any]) -> Iterator[None]:
    """Note what goes wrong, and leave the estimator as a fit that fails would."""
    with fit.recording():
        try:
            yield
        except DivergenceError:
            raise  # the last finite parameters are kept
        except Exception:
            fit.estimator.__dict__.clear()
            fit.estimator.__dict__.update(before)
            raise


@dataclass(eq=False)
class _Chunk:
    """Tasks that are trained as one stack."""

    X: Rows
    y: Tensor
    settings: Settings
    fits: list[ReplicaFit]
    tasks: list[_Task] = field(default_factory=list)
    #: Numbers of their rows in X.
    rows: list[np.ndarray] = field(default_factory=list)
    starts: list[dict[str, Tensor]] = field(default_factory=list)
    replicas: list[Replica] = field(default_factory=list)
    held: list[np.ndarray] = field(default_factory=list)
    held_weights: list[np.ndarray] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)

    def add(self, task: _Task, offset: int) -> None:
        """Draw what a fit draws: weights to start from, and rows to hold out."""
        estimator, rows = task.fit.estimator, task.rows + offset
        with _attempt(task.fit, task.before):
            rng = estimator._generator(fresh=True)
            start = estimator._start(rng, task.dtype, self.y.device)
            y = self.y[torch.from_numpy(rows).to(self.y.device)]
            train_rows, held = estimator._split(y, rng)
            weights = None if task.weights is None else task.weights[train_rows]
            self.replicas.append(estimator._replica(rows[train_rows], weights, rng))
            self.tasks.append(task)
            self.rows.append(rows)
            self.starts.append(start)
            self.held.append(rows[held])
            if task.weights is not None:
                self.held_weights.append(task.weights[held])

    def train(self, cancelled: Event) -> _Chunk:
        """Train the stack."""
        if self.tasks:
            estimator = self.tasks[0].fit.estimator
            self.trained = train(
                estimator._make_step(self.starts, self.y.shape[1]),
                self.X,
                self.y,
                self.replicas,
                self.settings,
                validation=self._validation(),
                cancelled=cancelled,
            )
        return self

    def _validation(self) -> StackedHeldOut | None:
        if len(self.held[0]) == 0:
            return None
        estimator, weights = self.tasks[0].fit.estimator, self.held_weights or None
        return StackedHeldOut(estimator, self.X, self.y, self.held, weights)

    def finish(self) -> list[ReplicaFit]:
        """Make fitted estimators of what was trained."""
        seconds = shared_seconds(self.trained)
        parts = zip(self.tasks, self.rows, self.starts, self.trained, strict=True)
        for task, rows, start, trained in parts:
            estimator = task.fit.estimator
            with _attempt(task.fit, task.before):
                if trained.reason == "diverged" and not estimator._predicts(
                    self.X[torch.from_numpy(rows).to(self.y.device)], trained.values
                ):
                    trained.values = start
                history = _history(trained, seconds)
                estimator._finish_minibatch(trained, history, task.n_train, False)
        done, self.fits = self.fits, []
        # Whoever handed this over may still hold it.
        for part in (self.tasks, self.rows, self.starts, self.replicas, self.held, self.trained):
            part.clear()
        return done


def shared_seconds(trained: Sequence[Trained]) -> list[float]:
    """Time that a replica has taken after each epoch, if those in training share it equally."""
    ends = max((one.seconds for one in trained), key=len, default=[])
    n_training = [sum(len(one.seconds) > epoch for one in trained) for epoch in range(len(ends))]
    return list(np.cumsum(np.diff(ends, prepend=0.0) / n_training))


def _history(trained: Trained, seconds: Sequence[float]) -> list[dict[str, float]]:
    """The records of a training, as a monitor would have kept them."""
    monitor = FitMonitor()
    for record in trained.records:
        monitor(record)
    for record, passed in zip(monitor.history, seconds, strict=False):
        record["seconds"] = float(passed)
    return monitor.history


class NetworkSearch:
    """Fits of networks of one kind, which are trained in stacks on several threads.

    Parameters
    ----------
    fits : sequence of ReplicaFit
        The fits, whose estimators differ in nothing but `differing`.
    sources : sequence of Source
        What they take their rows from.
    memory_budget : int
        Bytes that stacks may take.
    """

    def __init__(
        self, fits: Sequence[ReplicaFit], sources: Sequence[Source], memory_budget: int
    ) -> None:
        for fit in fits:
            _check_stackable(fit.estimator)
        generators = [fit.estimator.random_state for fit in fits]
        shared = [id(one) for one in generators if isinstance(one, np.random.RandomState)]
        if len(set(shared)) < len(shared):
            raise NotFusable("fits that share one RandomState draw from it in turn")
        if any(len(fit.rows) == 0 for fit in fits):
            raise NotFusable("a fit has no rows")
        self._fits = sorted(fits, key=lambda fit: (fit.source, len(fit.rows)))
        self._budget = memory_budget
        first = fits[0].estimator
        used = sorted({fit.source for fit in fits})
        self._data = {number: NetworkData(sources[number], first) for number in used}
        self._names = sorted(differing(first))
        #: Names, types and values of parameters that were found valid.
        self._valid: set[tuple[str, type, str]] = set()

    def done(self) -> Iterator[list[ReplicaFit]]:
        """Fit all, a round of them at a time, and give those that are done."""
        longest = max(len(fit.rows) for fit in self._fits)
        at_once = self._budget // (4 * (PLAN_BYTES + 16 * longest))
        size = min(max(at_once, LEAST_ROUND), MAX_ROUND)
        while self._fits:
            fits, self._fits = self._fits[:size], self._fits[size:]
            parts = self._parts(fits)
            failed = [fit for fit in fits if fit.error is not None]
            del fits
            if failed:
                yield failed
            n_threads = min(self._n_threads(), len(parts))
            for chunk in in_threads(self._jobs(parts), n_threads):
                yield chunk.finish()
            for data in self._data.values():
                data.forget_labels()

    def _n_threads(self) -> int:
        devices = {data.X.device.type for data in self._data.values()}
        return torch.get_num_threads() if devices == {"cpu"} else 1

    def _parts(self, fits: Sequence[ReplicaFit]) -> deque[list[_Task]]:
        """What is trained in a stack each, of fits whose parameters and rows are valid."""
        buckets: dict[Hashable, list[_Task]] = defaultdict(list)
        for fit in fits:
            task = self._plan(fit)
            if task is not None:
                buckets[task.key(self._data[fit.source])].append(task)
        n_threads = self._n_threads()
        return deque(
            part
            for bucket in buckets.values()
            for part in cut(
                sorted(bucket, key=_Task.place), self._chunk_size(bucket, n_threads), n_threads
            )
        )

    def _jobs(self, parts: deque[list[_Task]]) -> Iterator[Callable[[Event], _Chunk]]:
        """The training of each part, which is let go of."""
        while parts:
            yield self._job(parts.popleft())

    def _plan(self, fit: ReplicaFit) -> _Task | None:
        """Check parameters and rows, and decide on the network."""
        estimator, data, before = fit.estimator, self._data[fit.source], vars(fit.estimator).copy()
        with _attempt(fit, before):
            self._validate(estimator)
            fit.warnings.extend(data.warnings)
            vars(estimator).update(data.learned)
            rows = np.ascontiguousarray(fit.rows, dtype=np.int64)
            labels = data.labels(rows)
            fit.warnings.extend(labels.warnings)
            if labels.values is None:
                assert labels.error is not None
                raise labels.error.with_traceback(None)  # without the frames of fits before
            vars(estimator).update(labels.learned)
            y = labels.values
            weight = estimator._weight_tensor(fit.sample_weight, y)
            if weight is not None and not (weight > 0).all():
                kept = weight > 0
                rows, y, weight = rows[kept.cpu().numpy()], y[kept], weight[kept]
            if isinstance(estimator, ThetaClassifier):
                estimator._check_classes(y)
            weight = estimator._network_weights(y, weight)
            n_targets = data.targets(labels.key).shape[1]
            estimator._begin(data.X, n_targets)
            n_train = len(rows) - estimator._n_held_out(len(rows))
            estimator._check_batches(n_train)
            return _Task(
                fit,
                before,
                rows,
                None if weight is None else weight.cpu().numpy(),
                n_train,
                estimator._settings(n_train, n_targets),
                labels,
                estimator._precision(data.X),
            )
        return None

    def _validate(self, estimator: Any) -> None:
        """Check the parameters of an estimator, unless others had the same."""
        if get_config()["skip_parameter_validation"]:
            return
        values = {name: getattr(estimator, name) for name in self._names}
        seed = values["random_state"]
        if isinstance(seed, int | np.integer) and 0 <= seed < 2**32:
            values["random_state"] = 0  # as valid as any other
        new = {(name, type(value), repr(value)) for name, value in values.items()} - self._valid
        if new:
            estimator._validate_params()
            self._valid |= new

    def _chunk_size(self, bucket: list[_Task], n_threads: int) -> int:
        """Tasks of a stack: as many as fit the cache, or the memory of another device."""
        first = bucket[0]
        fitting = self._budget // ((n_threads + 1) * max(task.n_bytes() for task in bucket))
        if self._data[first.fit.source].X.device.type == "cpu":
            shapes = first.fit.estimator.architecture_.shapes
            fitting = min(
                fitting, chunk_size(shapes, first.settings.batch_size, first.dtype.itemsize)
            )
        return max(1, fitting)

    def _job(self, tasks: list[_Task]) -> Callable[[Event], _Chunk]:
        """Make a stack of tasks, which is to be trained."""
        sources = sorted({task.fit.source for task in tasks})
        data = [self._data[source] for source in sources]
        first = tasks[0]
        X = joined([one.inputs(first.dtype) for one in data])
        y = torch.cat([one.targets(first.labels.key) for one in data]).to(first.dtype)
        ends = np.cumsum([0, *(len(one.X) for one in data)])
        offsets = dict(zip(sources, ends[:-1].tolist(), strict=True))
        chunk = _Chunk(X, y, first.settings, [task.fit for task in tasks])
        for task in tasks:
            chunk.add(task, offsets[task.fit.source])
        return chunk.train
