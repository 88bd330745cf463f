"""Skorch around the engine: its callbacks follow a training, and its net shows what was fitted.

The parameters of the net's module lie in the engine's memory, so that a callback sees every step,
and what it writes takes part in the training. Importing this module imports skorch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags
from skorch import NeuralNet
from skorch.callbacks import BatchScoring, Callback, EpochScoring, LRScheduler
from skorch.dataset import Dataset
from skorch.history import History
from skorch.utils import to_numpy, to_tensor
from torch import Tensor, nn
from torch.utils.data import Subset

from ...rows import Rows, SparseRows, as_tensor
from .batches import Batch
from .optimizers import Updater
from .parameters import Parameters
from .step import Program, Step
from .trainer import Trained, Trainer, Watch

__all__ = ["CallbackWatch", "Net", "Task", "make_net"]


@dataclass(frozen=True)
class Task:
    """What a network's outputs and the engine's targets mean to a user.

    Attributes
    ----------
    loss : object
        Has ``rows(outputs, targets)`` and ``prediction(outputs)``.
    scale : float
        Factor of the loss in what is reported.
    classes : ndarray or None
        Labels in order; None for regression.
    multilabel : bool
        Whether a row has any number of the labels.
    one_target : bool
        Whether targets of regression are vectors.
    """

    loss: Any
    scale: float = 1.0
    classes: np.ndarray | None = None
    multilabel: bool = False
    one_target: bool = False

    def labels(self, targets: Tensor) -> Any:
        """Targets (n, m) of the engine as y: a tensor, or an array of labels that torch has not."""
        if self.classes is None:
            return targets[:, 0] if self.one_target else targets
        hard = bool(((targets == 0) | (targets == 1)).all())
        if self.multilabel:
            return targets.long() if hard else targets
        one = targets.shape[1] == 1
        if not hard:
            return targets[:, 0] if one else targets
        codes = targets[:, 0].long() if one else targets.argmax(1)
        labels = self.classes[codes.cpu().numpy()]
        if labels.dtype.kind not in "biuf":
            return labels
        return torch.from_numpy(labels).to(targets.device)

    def targets(self, labels: Any, like: Tensor) -> Tensor:
        """The inverse of `labels`, in the precision and on the device of some outputs."""
        values = np.asarray(to_numpy(labels))
        hard = self.classes is not None and not self.multilabel and values.ndim == 1
        if self.classes is not None and hard and np.isin(values, self.classes).all():
            values = np.eye(len(self.classes))[np.searchsorted(self.classes, values)]
            if len(self.classes) == 2:
                values = values[:, 1:]
        return torch.from_numpy(values.reshape(len(values), -1)).to(like)

    def predict(self, outputs: Tensor) -> np.ndarray:
        """Predictions in the shape and with the labels of y."""
        if self.classes is None:
            prediction = self.loss.prediction(outputs).numpy()
            return prediction[:, 0] if self.one_target else prediction
        if self.multilabel:
            return (outputs > 0).long().numpy()
        one = outputs.shape[1] == 1
        codes = (outputs[:, 0] > 0).long() if one else outputs.argmax(1)
        return self.classes[codes.numpy()]

    def probabilities(self, outputs: Tensor) -> np.ndarray:
        """Probability of each label; the prediction for regression."""
        if self.classes is None:
            return self.loss.prediction(outputs).numpy()
        if self.multilabel:
            return torch.sigmoid(outputs).numpy()
        if outputs.shape[1] == 1:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], 1)
        return torch.softmax(outputs, 1).numpy()


class Criterion(nn.Module):
    """The mean loss of rows, as it is reported, of outputs and y."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, outputs: Tensor, y: Any) -> Tensor:
        """Mean over the rows."""
        rows = self.task.loss.rows(outputs, self.task.targets(y, outputs))
        return rows.mean() * self.task.scale


class RowData(Dataset):
    """A data set of skorch that `Blocks` takes apart without touching single rows."""


class Blocks:
    """Batches of a `RowData`, or of a subset of one, in order."""

    def __init__(self, dataset: Any, batch_size: int, **_: Any) -> None:
        whole = not isinstance(dataset, Subset)
        self._data = dataset if whole else dataset.dataset
        self._rows = None if whole else np.asarray(dataset.indices)
        self._size = batch_size
        self._n_rows = len(dataset)

    def __len__(self) -> int:
        return -(-self._n_rows // self._size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for start in range(0, self._n_rows, self._size):
            index: Any = slice(start, start + self._size)
            if self._rows is not None:
                index = self._rows[index]
            y = self._data.y
            # As skorch does, for iterators must not give None.
            yield taken(self._data.X, index), torch.zeros(1) if y is None else taken(y, index)


def taken(values: Any, index: Any) -> Any:
    """Some rows of a tensor, an array or a sparse matrix; dense."""
    if isinstance(values, Tensor):
        return values[torch.from_numpy(index) if isinstance(index, np.ndarray) else index]
    part = values[index]
    return torch.from_numpy(part.toarray()) if sp.issparse(part) else part


class EngineOptimizer(torch.optim.Optimizer):
    """Shows the engine's optimizer to callbacks: its learning rate and, while it works, its memory.

    The learning rate may be changed, and a state loaded; the steps are the engine's.

    Parameters
    ----------
    params : iterable
        Parameters or groups of them.
    lr : float
        Learning rate to start from.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self._updater: Updater | None = None
        self._memory: list[dict[str, Tensor]] = []

    def attach(self, updater: Updater, parameters: Parameters, names: Sequence[str]) -> None:
        """Show the memory of an updater; the names are those of this optimizer's parameters."""
        views = {name: parameters.views(flat) for name, flat in updater.tensors.items()}
        self._updater = updater
        self._memory = [
            {name: view[own] for name, view in views.items() if own in view} for own in names
        ]

    def detach(self) -> None:
        """Let go of the engine."""
        self._updater, self._memory = None, []
        self.state.clear()

    def _shown(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _show(self) -> None:
        self.state.clear()
        if self._updater is not None:
            steps = torch.tensor(float(self._updater.steps))
            for parameter, memory in zip(self._shown(), self._memory, strict=True):
                self.state[parameter] = {"step": steps, **memory}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing: the engine has moved the parameters already."""

    def state_dict(self) -> dict[str, Any]:
        """State as torch's optimizers give it."""
        self._show()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a learning rate and, while the engine works, its memory."""
        super().load_state_dict(state_dict)
        loaded = [dict(self.state.get(parameter, {})) for parameter in self._shown()]
        if self._updater is not None and any(loaded):
            for memory, saved in zip(self._memory, loaded, strict=True):
                if {"step", *memory} != set(saved):
                    raise ValueError(
                        f"the saved state of the optimizer holds {sorted(saved)}, but "
                        f"{type(self._updater.optimizer).__name__} needs "
                        f"{sorted(['step', *memory])}: it was saved with another solver"
                    )
                # The engine's memory is made in inference mode, and may be written in it alone.
                with torch.inference_mode():
                    for name, view in memory.items():
                        view.copy_(saved[name])
                self._updater.steps = int(saved["step"])
        self._show()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "state": {}, "_updater": None, "_memory": []}


class Net(NeuralNet):
    """A net of skorch whose module is trained by the gradient engine, through an estimator.

    Parameters
    ----------
    module : Module
        The network.
    task : Task
        What its outputs mean.
    lr : float
        Learning rate to start from.
    batch_size : int, default=256
        Rows of a batch.
    callbacks : sequence or None, default=None
        Callbacks of skorch, their classes, or pairs of a name and either.
    verbose : int, default=0
        Whether callbacks may print.
    device : str, default="cpu"
        Where the module is.
    """

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        *,
        lr: float,
        batch_size: int = 256,
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
        device: str = "cpu",
    ) -> None:
        super().__init__(
            module,
            criterion=Criterion(task),
            optimizer=EngineOptimizer,
            lr=lr,
            batch_size=batch_size,
            train_split=None,
            callbacks=callbacks,
            verbose=verbose,
            device=device,
        )
        self.task, self.start_rate = task, lr

    @property
    def _default_callbacks(self) -> list[Any]:
        """None: what skorch's would record, the engine knows."""
        return []

    def initialize_callbacks(self) -> Net:
        """Set the callbacks to their initial state."""
        try:
            super().initialize_callbacks()
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"callbacks={self.callbacks!r}: {error}") from error
        return self

    @property
    def classes_(self) -> np.ndarray:
        """Labels."""
        if self.task.classes is None:
            raise AttributeError("a net for regression has no classes_")
        return self.task.classes

    def __sklearn_tags__(self) -> Any:
        """Tags: a classifier or a regressor, as scorers ask."""
        tags = super().__sklearn_tags__()
        if self.task.classes is None:
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        else:
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Rows as a data set."""
        if isinstance(X, torch.utils.data.Dataset):
            return X
        if not isinstance(X, Tensor):
            X = sp.csr_matrix(X) if sp.issparse(X) else as_tensor(np.asarray(X))
        return RowData(X, y)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Batches of a data set."""
        whole = dataset.dataset if isinstance(dataset, Subset) else dataset
        iterator: Any = Blocks if isinstance(whole, RowData) else torch.utils.data.DataLoader
        kwargs = {"batch_size": self.batch_size, **self.get_params_for("iterator_valid")}
        return iterator(dataset, **kwargs)

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Outputs of the module for a batch, in the precision of its parameters."""
        like = next(self.module_.parameters())
        return self.module_(to_tensor(x, device=like.device).to(like.dtype), **fit_params)

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Any:
        """Mean loss of outputs, without penalties."""
        return self.criterion_(y_pred, y_true)

    def _outputs(self, X: Any) -> Tensor:
        # Scorers replace forward_iter to give outputs that are known already.
        return torch.cat(list(self.forward_iter(X, training=False))).detach()

    def predict(self, X: Any) -> np.ndarray:
        """Predictions, as the estimator gives them.

        Parameters
        ----------
        X : array-like, sparse matrix, torch.Tensor or torch.utils.data.Dataset
            Inputs.

        Returns
        -------
        ndarray
            Targets or labels.
        """
        return self.task.predict(self._outputs(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label; for regression, predictions with one column for each target.

        Parameters
        ----------
        X : array-like, sparse matrix, torch.Tensor or torch.utils.data.Dataset
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns are in the order of ``classes_``.
        """
        return self.task.probabilities(self._outputs(X))

    def score(self, X: Any, y: Any) -> float:
        """Mean accuracy, or R² for regression.

        Parameters
        ----------
        X : array-like, sparse matrix, torch.Tensor or torch.utils.data.Dataset
            Inputs.
        y : array-like
            Targets or labels.

        Returns
        -------
        float
            At most 1.
        """
        metric = r2_score if self.task.classes is None else accuracy_score
        return float(metric(to_numpy(y), self.predict(X)))

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Refused: the estimator trains.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(
            "this net shows what its estimator has trained: call fit of the estimator"
        )

    partial_fit = fit

    def set_params(self, **params: Any) -> Any:
        """Set the learning rate, parameters of callbacks and the like.

        Parameters
        ----------
        **params : dict
            As skorch takes them.

        Returns
        -------
        Net
            The net.

        Raises
        ------
        ValueError
            For what is the estimator's to decide.
        """
        for name in params:
            head, _, tail = name.partition("__")
            rate = head == "optimizer" and tail.rpartition("__")[2] == "lr"
            if head in ("module", "criterion", "optimizer", "task") and not rate:
                raise ValueError(
                    f"a callback cannot set {name!r}: the estimator makes the network, its loss "
                    "and its solver, and a callback may set the learning rate (optimizer__lr). Set "
                    "the parameters of the estimator instead; its inputs need no InputShapeSetter"
                )
        return super().set_params(**params)

    def share(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the module's parameters and buffers on given memory, with what it holds."""
        for name, own in named_tensors(self.module_):
            if own.data_ptr() != tensors[name].data_ptr():
                own.data = tensors[name]
        self.device = str(next(iter(tensors.values())).device)

    def release(self) -> None:
        """Give the module memory of its own, small enough to be pickled."""
        for _, own in named_tensors(self.module_):
            own.data, own.grad = own.detach().clone(), None
        self.optimizer_.detach()


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a module."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def make_net(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    task: Task,
    *,
    lr: float,
    callbacks: Sequence[Any] | None = None,
    verbose: int = 0,
    records: Sequence[Mapping[str, float]] = (),
    before: Net | None = None,
) -> Net:
    """A net around given memory.

    Parameters
    ----------
    module : Module
        The network, whose own parameters are given up; they may be on the "meta" device.
    tensors : dict of str to Tensor
        Its parameters and buffers.
    task : Task
        What its outputs mean.
    lr : float
        Learning rate to start from.
    callbacks : sequence or None, default=None
        Callbacks of skorch, which are copied.
    verbose : int, default=0
        Whether callbacks may print.
    records : sequence of dict, default=()
        Epochs of the past.
    before : Net or None, default=None
        The net of an earlier training that this one continues.

    Returns
    -------
    Net
        Initialized.
    """
    check_callbacks(callbacks or ())
    for name, own in list(named_tensors(module)):
        path, _, leaf = name.rpartition(".")
        tensor = tensors[name]
        if isinstance(own, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=own.requires_grad)
        setattr(module.get_submodule(path), leaf, tensor)
    device = str(next(iter(tensors.values())).device)
    net = Net(
        module, task, lr=lr, callbacks=copied(callbacks or ()), verbose=verbose, device=device
    )
    net.initialize()
    group = net.optimizer_.param_groups[0]
    if before is not None:
        net.history.extend(copy.deepcopy(before.history.to_list()))
        if before.start_rate == lr:
            group["lr"] = before.optimizer_.param_groups[0]["lr"]
    else:
        remember(net.history, records)
    if net.history:
        # torch's schedulers want it when they do not start from the first epoch.
        group["initial_lr"] = lr
    return net


def remember(history: History, records: Sequence[Mapping[str, float]]) -> None:
    """Write epochs of the past into a history."""
    seconds, best = 0.0, dict(WORST)
    for record in records:
        now = record.get("seconds", seconds)
        history.new_epoch()
        record_epoch(history, record, {"dur": now - seconds}, best)
        seconds = now


#: What skorch calls the losses; anything else in a record keeps its name.
NAMES = {"loss": "train_loss", "validation_loss": "valid_loss"}

#: What is worse than any number, for losses and for the score.
WORST = {"train_loss": np.inf, "valid_loss": np.inf, "validation_score": -np.inf}


def record_epoch(
    history: History,
    record: Mapping[str, float],
    extra: Mapping[str, float],
    best: dict[str, float],
) -> None:
    """Write an epoch of the engine into the last row of a history, as skorch would."""
    history.record("epoch", len(history))
    for name, value in extra.items():
        history.record(name, value)
    for key, value in record.items():
        if key in ("iteration", "seconds"):
            continue
        name, number = NAMES.get(key, key), float(value)
        history.record(name, number)
        if name in best:
            better = number < best[name] if WORST[name] > 0 else number > best[name]
            history.record(f"{name}_best", better)
            best[name] = number if better else best[name]


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse what skorch would stumble over later."""
    for item in callbacks:
        named = isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str)
        callback = item[1] if named else item
        kind = callback if isinstance(callback, type) else type(callback)
        if not (issubclass(kind, Callback) or (named and callback is None)):
            raise TypeError(
                f"callbacks={callbacks!r} holds {item!r}: each must be a "
                "skorch.callbacks.Callback, a subclass of it, or a pair of a name and one of these "
                "(callbacks of scikit-learn go to set_callbacks)"
            )


def copied(callbacks: Sequence[Any]) -> list[Any]:
    """Callbacks to train with, so that the user's stay as they are.

    What they write to, such as files, loggers and what cannot be copied, stays the user's.
    """
    shared: dict[int, Any] = {}
    for item in callbacks:
        callback = item[1] if isinstance(item, tuple | list) else item
        if isinstance(callback, Callback):
            for value in vars(callback).values():
                if hasattr(value, "write") or hasattr(value, "close") or not can_copy(value):
                    shared[id(value)] = value
    # One call for all, as one callback may refer to another.
    return copy.deepcopy(list(callbacks), shared)


def can_copy(value: Any) -> bool:
    """Whether an object can be copied."""
    if isinstance(value, Callback | str | int | float | None):
        return True
    try:
        copy.deepcopy(value)
    except Exception:  # objects refuse in ways of their own; what refuses is shared
        return False
    return True


def overrides(callback: Callback, hook: str) -> bool:
    """Whether a callback does anything at a hook."""
    return hook in vars(callback) or getattr(type(callback), hook) is not getattr(Callback, hook)


def listens(callback: Callback, training: bool) -> bool:
    """Whether a callback needs to hear of each batch, of training or of validation."""
    if overrides(callback, "on_batch_begin"):
        return True
    hook = type(callback).on_batch_end
    if "on_batch_end" not in vars(callback):
        # Those of skorch leave at once in all other cases.
        if hook is LRScheduler.on_batch_end:
            return training and callback.step_every == "batch"
        if hook is EpochScoring.on_batch_end:
            return callback.on_train == training and bool(callback.use_caching)
        if hook is BatchScoring.on_batch_end:
            return bool(callback.on_train == training)
    return overrides(callback, "on_batch_end")


class CallbackWatch:
    """Calls the hooks of a net's callbacks at each stage of a training.

    Parameters
    ----------
    net : Net
        Its module lies in the memory of the step.
    step : Step
        The step, of one replica.
    X, y : Rows of shape (n, d) and Tensor of shape (n, m)
        The data.
    rows : ndarray
        Numbers of the training rows.
    held_out : object or None
        Rows for validation: ``inputs``, ``targets``, ``weight`` and, after each epoch, ``outputs``
        and ``losses``.
    inner : Watch
        Another follower.
    """

    by_batch = True

    def __init__(
        self,
        net: Net,
        step: Step,
        X: Rows,
        y: Tensor,
        rows: np.ndarray,
        held_out: Any,
        inner: Watch,
    ) -> None:
        self.net, self.step, self.held_out, self.inner = net, step, held_out, inner
        source = sp.csr_matrix(X.matrix) if isinstance(X, SparseRows) else X
        self._data = data = RowData(source, net.task.labels(y))
        self._n_rows = len(rows)
        self._sets: dict[str, Any] = {
            "dataset_train": data if len(rows) == len(data) else Subset(data, rows),  # type: ignore[arg-type]
            "dataset_valid": None,
        }
        if held_out is not None:
            valid = RowData(held_out.inputs, net.task.labels(held_out.targets))
            self._sets["dataset_valid"] = valid
        callbacks = [callback for _, callback in net.callbacks_]
        self._train_batches = any(listens(callback, True) for callback in callbacks)
        self._valid_batches = any(listens(callback, False) for callback in callbacks)
        self._gradients = any(overrides(callback, "on_grad_computed") for callback in callbacks)
        self._restores = any(getattr(callback, "load_best", False) for callback in callbacks)
        self._memory = {**step.parameters.values, **step.buffers}
        self._tensors = list(named_tensors(net.module_))
        self._best = dict(WORST)
        self._frozen: dict[str, Tensor] = {}
        self._last: dict[str, Tensor] | None = None
        self._asked_to_stop = False

    def training_begins(self, trainer: Trainer) -> None:
        """Call on_train_begin."""
        self.trainer, net = trainer, self.net
        net.batch_size = trainer.settings.batch_size
        names = [name for name, _ in net.get_all_learnable_params()]
        net.optimizer_.attach(trainer.updater, trainer.step.parameters, names)
        self._notify("on_train_begin", X=self._data.X, y=self._data.y)
        # torch's schedulers warn of an optimizer that has not stepped before them.
        net.optimizer_.step()
        for name in self._best:
            past = [row[name] for row in net.history.to_list() if name in row]
            if past:
                self._best[name] = min(past) if WORST[name] > 0 else max(past)
        self.inner.training_begins(trainer)

    def epoch_begins(self) -> None:
        """Call on_epoch_begin."""
        self._start = time.perf_counter()
        self.net._set_training(True)
        self._notify("on_epoch_begin", **self._sets)
        self._note_frozen()
        self.inner.epoch_begins()

    def batch_begins(self, batch: Batch) -> None:
        """Call on_batch_begin."""
        if not (self._train_batches or self._gradients):
            return
        with torch.inference_mode(False):
            rows = batch.rows.numpy()
            X = taken(self._data.X, rows).to(self.step.parameters.theta)
            self._batch = X, taken(self._data.y, rows)
        if self._train_batches:
            # For the loss of the batch, as the weights will have moved when it is recorded.
            self._penalty = float(self.trainer.penalty.value()[0]) / batch.totals[0]
            self._notify("on_batch_begin", batch=self._batch, training=True)
            self._note_frozen()

    def rate(self, rate: float) -> float:
        """The schedule's, changed by as much as callbacks have changed the optimizer's."""
        start = self.net.start_rate
        now = float(self.net.optimizer_.param_groups[0]["lr"])
        if now == start:
            return rate
        return now if rate == start else rate * (now / start)

    def gradient_ready(self, batch: Batch) -> None:
        """Call on_grad_computed with the engine's gradient; frozen parameters have none."""
        gradients = self.step.parameters.gradients
        for name in self._frozen:
            gradients[name].zero_()
        if not self._gradients:
            return
        named = list(self.net.get_all_learnable_params())
        trained = [(name, parameter) for name, parameter in named if name in gradients]
        for name, parameter in trained:
            parameter.grad = None if name in self._frozen else gradients[name]
        self._notify("on_grad_computed", named_parameters=named, batch=self._batch, training=True)
        for name, parameter in trained:
            own, found = gradients[name], parameter.grad
            if found is None:
                own.zero_()
            elif found.data_ptr() != own.data_ptr():
                own.copy_(found)

    def batch_ended(self, batch: Batch, program: Program) -> None:
        """Call on_batch_end."""
        for name, value in self._frozen.items():
            self._memory[name].copy_(value)
        if not self._train_batches:
            return
        with torch.inference_mode(False):
            loss = program.loss * self.net.task.scale + self._penalty
            outputs = program.outputs.clone()
        self._record_batch("train", float(loss), batch.size)
        self._notify("on_batch_end", batch=self._batch, training=True, loss=loss, y_pred=outputs)
        self._note_frozen()

    def epoch_ended(self, record: dict[str, float], step: Step) -> bool:
        """Write the history, call on_epoch_end, and stop if a callback asks for it."""
        self.net._set_training(False)
        try:
            counts = self._record_batches()
            extra = {**counts, "dur": time.perf_counter() - self._start}
            record_epoch(self.net.history, record, extra, self._best)
            self._notify("on_epoch_end", **self._sets)
        except KeyboardInterrupt:
            if not self._asked_to_stop:
                raise
        if self._restores and self.trainer.settings.early_stopping:
            self._last = {name: value.clone() for name, value in self._memory.items()}
        return self.inner.epoch_ended(record, step) or self._asked_to_stop

    def training_ended(self, trained: Trained) -> None:
        """Call on_train_end, and keep the parameters that it leaves."""
        for name, value in self._kept(trained).items():
            self._memory[name].copy_(value)
        if self._asked_to_stop and trained.reason in ("stopped", "interrupted"):
            trained.reason = "converged"
        self.net._set_training(False)
        self._notify("on_train_end", X=self._data.X, y=self._data.y)
        with torch.inference_mode(False):
            trained.values = {name: value.clone() for name, value in self._memory.items()}
            self.net.release()
        self.inner.training_ended(trained)

    def _kept(self, trained: Trained) -> dict[str, Tensor]:
        """The parameters that on_train_end finds."""
        interrupted = trained.reason == "interrupted" and not self._asked_to_stop
        if trained.reason == "diverged" or interrupted:
            return trained.values
        if self._last is not None:
            return self._last
        if self.trainer.settings.early_stopping or self.trainer.average is not None:
            return trained.values
        # The newest, which a callback may have changed, or stopped in the middle of an epoch.
        finite = bool(torch.isfinite(self.step.parameters.theta).all())
        return self._memory if finite else trained.values

    def _notify(self, hook: str, **values: Any) -> None:
        """Call a hook as skorch would: outside inference mode, and free to write to the module."""
        with torch.inference_mode(False):
            try:
                self.net.notify(hook, **values)
            except KeyboardInterrupt:
                self._asked_to_stop = True
                raise
            finally:
                self._join()

    def _join(self) -> None:
        """Bring back to the engine's memory what a callback has put elsewhere."""
        for name, tensor in self._tensors:
            own = self._memory[name]
            if tensor.data_ptr() != own.data_ptr():
                own.copy_(tensor.detach())
                tensor.data = own

    def _note_frozen(self) -> None:
        """Remember the values of parameters that are not to be trained now."""
        values = self.step.parameters.values
        names = [name for name, own in self._tensors if name in values and not own.requires_grad]
        if names and self.trainer.average is not None:
            raise ValueError(
                "callbacks cannot freeze parameters whose iterates are averaged: set average=False"
            )
        self._frozen = {name: values[name].clone() for name in names}

    def _record_batch(self, phase: str, loss: float, size: int) -> None:
        self.net.history.record_batch(f"{phase}_loss", loss)
        self.net.history.record_batch(f"{phase}_batch_size", size)

    def _record_batches(self) -> dict[str, float]:
        """Write the batches of an epoch into the history, as far as they are not; their numbers."""
        if not self._train_batches:
            size = self.net.batch_size
            for i, loss in enumerate(self.trainer.batch_losses()[:, 0].tolist()):
                self.net.history.new_batch()
                self._record_batch("train", loss, min(size, self._n_rows - i * size))
        counts: dict[str, float] = {"train_batch_count": self.trainer.batches.steps}
        if self.held_out is not None:
            counts["valid_batch_count"] = self._record_validation()
        return counts

    def _record_validation(self) -> int:
        """Go through the validation rows once more, as skorch does; the number of batches."""
        held_out, size, scale = self.held_out, self.net.batch_size, self.net.task.scale
        with torch.inference_mode(False):
            outputs, losses = held_out.outputs.clone(), held_out.losses.clone()
            weights = torch.ones_like(losses) if held_out.weight is None else held_out.weight
            parts = zip(losses.split(size), weights.split(size), strict=True)
            means = [scale * (a * b).sum() / b.sum().clamp_min(1e-300) for a, b in parts]
        batches = Blocks(self._sets["dataset_valid"], size)
        blocks = iter(batches) if self._valid_batches else [None] * len(batches)
        for batch, y_pred, loss in zip(blocks, outputs.split(size), means, strict=True):
            if self._valid_batches:
                self._notify("on_batch_begin", batch=batch, training=False)
            else:
                self.net.history.new_batch()
            self._record_batch("valid", float(loss), len(y_pred))
            if self._valid_batches:
                self._notify("on_batch_end", batch=batch, training=False, loss=loss, y_pred=y_pred)
        return len(batches)
