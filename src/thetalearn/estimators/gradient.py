"""What estimators trained by gradient methods share: parameters, splits, and solvers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._sklearn_compat import Interval, Options, StrOptions
from ..base import DEVICE, RANDOM_STATE, VERBOSE, ThetaEstimator
from ..exceptions import ConvergenceWarning, DivergenceError, warn_user
from ..monitor import FitMonitor
from ..randomness import random_numbers
from ..rows import Rows, SparseRows, row_blocks
from ..solvers.gradient.full_batch import (
    MAX_NEWTON_PARAMS,
    FullBatch,
    Stop,
    lbfgs,
    newton,
    random_search,
)
from ..solvers.gradient.optimizers import (
    SOLVERS,
    AdamW,
    GradientDescent,
    Optimizer,
    make_optimizer,
)
from ..solvers.gradient.parameters import Parameters
from ..solvers.gradient.schedules import Schedule, make_schedule
from ..solvers.gradient.step import Step
from ..solvers.gradient.train import train
from ..solvers.gradient.trainer import Replica, Settings, Trained

if TYPE_CHECKING:
    from ..solvers.gradient.net import Net, Task
from .following import HeldOut, MonitorWatch, OneEpoch

__all__ = ["GradientEstimator"]

FULL_BATCH = ("lbfgs", "newton", "random_search")
MINIBATCH = SOLVERS

DTYPES = {"float32": torch.float32, "float64": torch.float64}


#: What a fit from scratch removes first.
LOSS_ATTRIBUTES = (
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "n_iter_",
    "converged_",
)


def is_true(value: Any) -> bool:
    """Whether a parameter is the truth value rather than the number one."""
    return isinstance(value, bool | np.bool_) and bool(value)


def trains_on_minibatches(estimator: Any) -> bool:
    """Whether an estimator has partial_fit; the reason as an AttributeError if not."""
    if estimator.solver in FULL_BATCH:
        raise AttributeError(
            "partial_fit is only available for stochastic solvers: "
            f"solver={estimator.solver!r} is not one; choose one of {list(MINIBATCH)}"
        )
    return True


class GradientEstimator(ThetaEstimator):
    """A network trained by gradient methods; subclasses give the network and its loss."""

    _accepts_sparse = True

    _gradient_constraints: ClassVar[dict[str, list[Any]]] = {
        "solver": [StrOptions({*MINIBATCH, *FULL_BATCH}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "sampling": [StrOptions({"shuffle", "replacement"})],
        "accumulation_steps": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [str, Schedule, callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "clip_value": [Interval(Real, 0, None, closed="neither"), None],
        "average": ["boolean", Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, None],
        "dtype": [StrOptions({"auto", *DTYPES})],
        "amp": ["boolean"],
        **RANDOM_STATE,
        **VERBOSE,
        **DEVICE,
    }

    @abstractmethod
    def _build(self, X: Rows, n_targets: int) -> None:
        """Decide on the network and the loss, for the data of a first fit."""

    @abstractmethod
    def _draw(self, rng: np.random.RandomState) -> dict[str, np.ndarray]:
        """Random parameters and fresh running statistics."""

    @abstractmethod
    def _tensors(self, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        """The fitted parameters and running statistics."""

    @abstractmethod
    def _public(self, values: Mapping[str, Tensor]) -> dict[str, Any]:
        """Fitted attributes from parameters and running statistics."""

    @abstractmethod
    def _make_step(self, starts: Sequence[Mapping[str, Tensor]], n_targets: int) -> Step:
        """The training step of replicas that begin with given parameters."""

    @abstractmethod
    def _score_outputs(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        r"""Score of validation, higher being better, of outputs (\*R, n, q): shape (\*R)."""

    @abstractmethod
    def _stratify(self, y: Tensor) -> np.ndarray | None:
        """Labels by which to stratify the split of the validation rows."""

    @abstractmethod
    def _network_targets(self, y: Tensor) -> Tensor:
        """Targets of the network, row by row."""

    @abstractmethod
    def _network_weights(self, y: Tensor, weight: Tensor | None) -> Tensor | None:
        """Weights of the rows that training takes, once y has been found fit to train on."""

    @abstractmethod
    def _encode_held_out(self, y: Any) -> Tensor:
        """Targets of validation rows (n, m)."""

    @abstractmethod
    def _loss_rows(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Losses of the rows, differentiable."""

    def _report_scale(self, n_targets: int) -> float:
        """Factor of the loss in what is reported."""
        return 1.0

    def _rate_factors(self) -> dict[str, float]:
        """Factors of the learning rate of single parameters."""
        return {}

    def _drop_rates(self) -> tuple[float, ...]:
        """Probability to drop, for each mask of the network."""
        return ()

    def _precision(self, X: Rows) -> torch.dtype:
        if self.amp:
            return torch.float32
        if self.dtype != "auto":
            return DTYPES[self.dtype]
        return torch.float32 if X.dtype == torch.float32 else torch.float64

    def _fit_network(
        self,
        X: Rows,
        y: Tensor,
        weight: Tensor | None,
        monitor: FitMonitor,
        *,
        incremental: bool = False,
    ) -> None:
        """Train from scratch, or from what is fitted if asked to."""
        first = not self._goes_on(incremental)
        if first:
            self._begin(X, y.shape[1], incremental)
        else:
            self._check_combinations(incremental)
            if not incremental:
                self.__dict__.pop("_state", None)
            self._check_same_network(X, y)
        dtype = self._precision(X)
        if incremental and not first and self.dtype == "auto" and not self.amp:
            dtype = self._parameter_dtype()  # one batch of another precision does not change θ's
        X, y = X if isinstance(X, SparseRows) else X.to(dtype), y.to(dtype)
        rng = self._generator(fresh=not incremental or first)
        start = self._start(rng, dtype, X.device) if first else self._tensors(dtype, X.device)
        numbers = None if weight is None else weight.cpu().numpy()
        if self.solver in FULL_BATCH:
            self._fit_full_batch(X, y, weight, start, rng, monitor)
        else:
            self._fit_minibatch(X, y, numbers, start, rng, monitor, incremental)

    def _fit_rows(self, X: Rows, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        weight = self._network_weights(y, weight)
        self._fit_network(X, self._network_targets(y), weight, monitor)

    def _begin(self, X: Rows, n_targets: int, incremental: bool = False) -> None:
        """Decide on the network of a training from scratch; only the shape of X counts."""
        self._check_combinations(incremental)
        self._forget()
        self._build(X, n_targets)

    def _start(
        self, rng: np.random.RandomState, dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Parameters and running statistics that a training from scratch begins with."""
        drawn = self._draw(rng)
        return {name: torch.from_numpy(array).to(device, dtype) for name, array in drawn.items()}

    def _goes_on(self, incremental: bool) -> bool:
        """Whether a fit starts from what is fitted."""
        return hasattr(self, "n_iter_") and bool(self.warm_start or incremental)

    def _past_history(self) -> list[dict[str, float]] | None:
        return self.history_ if self._goes_on(False) else None

    def _forget(self) -> None:
        """Remove what earlier fits have left, so that nothing of it is taken for this one's."""
        for name in ("history_", "_net", "_state", "_rng", *LOSS_ATTRIBUTES):
            self.__dict__.pop(name, None)
        self.t_ = 0

    def _generator(self, *, fresh: bool) -> np.random.RandomState:
        """Randomness of this fit; successive calls of partial_fit continue one sequence."""
        if fresh or not hasattr(self, "_rng"):
            self._rng = random_numbers(self.random_state)
            if isinstance(self.random_state, np.random.RandomState):
                # The caller's generator moves on, and is not carried along in the estimator.
                rng = self._rng
                del self._rng
                return rng
        return self._rng

    def _check_combinations(self, incremental: bool) -> None:
        """Refuse parameters that contradict each other."""
        name = type(self).__name__
        if self.solver in FULL_BATCH:
            refused = {
                "l1_ratio": self.l1_ratio > 0 and self.alpha > 0,
                "weight_decay": self.weight_decay > 0,
                "clip_norm": self.clip_norm is not None,
                "clip_value": self.clip_value is not None,
                "average": bool(self.average),
                "accumulation_steps": self.accumulation_steps > 1,
                "callbacks": bool(self.callbacks),
                "amp": self.amp,
            }
            for parameter, used in refused.items():
                if used:
                    raise ValueError(
                        f"{parameter}={getattr(self, parameter)!r} has no meaning for "
                        f"solver={self.solver!r}, which uses all rows at every iteration: choose "
                        f"one of {list(MINIBATCH)}"
                    )
            if any(self._drop_rates_asked()) or getattr(self, "normalization", None) == "batch":
                raise ValueError(
                    f"solver={self.solver!r} needs an objective that is the same at every call, "
                    'which dropout and normalization="batch" do not give: choose one of '
                    f"{list(MINIBATCH)}"
                )
        if self.amp and self.dtype == "float64":
            raise ValueError(
                f"amp=True keeps the parameters in single precision, which dtype={self.dtype!r} "
                'contradicts: choose dtype="auto" or "float32"'
            )
        if self.average and getattr(self, "normalization", None) == "batch":
            raise ValueError(
                f'average={self.average!r} and normalization="batch" do not go together: the '
                "running statistics are not those of the mean of the iterates; choose "
                'normalization="layer"'
            )
        if isinstance(self.solver, AdamW) and self.weight_decay:
            raise ValueError(
                f"weight_decay={self.weight_decay!r} is not used beside an instance of AdamW: pass "
                'it to AdamW, or set solver="adamw"'
            )
        if incremental and self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True: set it to False, or call fit"
            )
        if incremental and self.callbacks:
            raise ValueError(f"{name}.partial_fit does not take callbacks: call fit")

    def _drop_rates_asked(self) -> tuple[float, ...]:
        return ()

    def _check_same_network(self, X: Rows, y: Tensor) -> None:
        """Refuse to continue with a network of another shape."""

    def _settings(self, n_rows: int, n_targets: int) -> Settings:
        """What `train` needs to know, from the parameters."""
        if self.batch_size != "auto" and self.batch_size > n_rows:
            warn_user(
                f"batch_size={self.batch_size} is larger than the number of training rows, "
                f"{n_rows}: every batch holds all of them",
                UserWarning,
            )
        average = None if not self.average else 0 if is_true(self.average) else self.average
        return Settings(
            optimizer=self._optimizer(),
            schedule=make_schedule(self.learning_rate, power_t=self.power_t),
            batch_size=self._rows_of_batch(n_rows),
            order=self.sampling if self.shuffle or self.sampling != "shuffle" else "given",
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            accumulation_steps=self.accumulation_steps,
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            average=average,
            rate_factors=self._rate_factors(),
            report_scale=self._report_scale(n_targets),
            early_stopping=self.early_stopping,
        )

    def _optimizer(self) -> Optimizer:
        """The optimizer, from the parameters."""
        return make_optimizer(
            self.solver,
            momentum=self.momentum,
            nesterovs_momentum=self.nesterovs_momentum,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay,
        )

    def _rows_of_batch(self, n_rows: int) -> int:
        """Rows of a minibatch, of so many training rows."""
        if self.batch_size != "auto":
            return min(int(self.batch_size), n_rows)
        on_all_rows = self.solver == "gd" or isinstance(self.solver, GradientDescent)
        return n_rows if on_all_rows else min(200, n_rows)

    def _replica(
        self, rows: np.ndarray, weights: np.ndarray | None, rng: np.random.RandomState
    ) -> Replica:
        """What may differ between replicas, from the parameters."""
        optimizer = self._optimizer()
        decoupled = self.solver == "adamw" or isinstance(self.solver, AdamW)
        return Replica(
            rows=rows,
            generator=rng,
            weights=weights,
            learning_rate=self.learning_rate_init,
            alpha=self.alpha,
            l1_ratio=self.l1_ratio,
            weight_decay=0.0 if decoupled else self.weight_decay,
            dropout=self._drop_rates(),
            max_epochs=self.max_iter,
            hyper={} if optimizer is self.solver else numbers_of(optimizer),
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
        )

    def _fit_minibatch(
        self,
        X: Rows,
        y: Tensor,
        weights: np.ndarray | None,
        start: Mapping[str, Tensor],
        rng: np.random.RandomState,
        monitor: FitMonitor,
        incremental: bool,
    ) -> None:
        rows, held_out = self._hold_out(X, y, weights, rng)
        self._check_batches(len(rows))
        own = None if weights is None else weights[rows]
        replica = self._replica(rows, own, rng)
        step = self._make_step([start], y.shape[1])
        watch = self._make_watch(monitor, step, X, y, rows, held_out)
        settings = self._settings(len(rows), y.shape[1])
        (trained,) = train(
            step,
            X,
            y,
            [replica],
            settings,
            validation=held_out,
            watch=OneEpoch(watch, replica) if incremental else watch,
            state=self._memory(settings) if incremental else None,
        )
        diverged = trained.reason == "diverged"
        self.__dict__.pop("_state", None)
        if incremental and not diverged:
            # The order of these rows is as long as they are, and says nothing about the next ones.
            memory = {name: part for name, part in trained.state.items() if name != "orders"}
            self._state = memory | {
                "optimizer": settings.optimizer,
                "schedule": settings.schedule,
            }
        monitor.close()
        if diverged and not self._predicts(X, trained.values):
            trained.values = dict(start)
        self._finish_minibatch(trained, monitor.history, len(rows), incremental)

    @abstractmethod
    def _predicts(self, X: Rows, values: Mapping[str, Tensor]) -> bool:
        """Whether the outputs for given parameters and statistics are finite numbers."""

    def _memory(self, settings: Settings) -> dict[str, Any] | None:
        """What the last partial_fit left for the next, as far as parameters still ask for it."""
        state = getattr(self, "_state", None)
        if state is None:
            return None
        names = settings.optimizer.start(torch.empty(0)).tensors.keys()
        if type(state["optimizer"]) is not type(settings.optimizer) or names != (
            state["tensors"].keys()
        ):
            return None
        if state["schedule"] != settings.schedule:
            return {**state, "pace": settings.schedule.start(1)}
        return dict(state)

    def _make_watch(
        self,
        monitor: FitMonitor,
        step: Step,
        X: Rows,
        y: Tensor,
        rows: np.ndarray,
        held_out: HeldOut | None,
    ) -> Any:
        """What follows the training: the monitor, and skorch's callbacks if there are any."""
        watch = MonitorWatch(self, monitor)
        before = self.__dict__.pop("_net", None)
        if not self.callbacks:
            return watch
        # Here, because it imports skorch, which takes longer than many a fit.
        from ..solvers.gradient.net import CallbackWatch, make_net

        self._net = make_net(
            self._module(),
            {**step.parameters.values, **step.buffers},
            self._task(),
            lr=self.learning_rate_init,
            callbacks=self.callbacks,
            verbose=int(self.verbose),
            records=monitor.history,
            before=before,
        )
        return CallbackWatch(self._net, step, X, y, rows, held_out, watch)

    @abstractmethod
    def _module(self) -> nn.Module:
        """The network as a torch module, whatever its weights."""

    def _task(self) -> Task:
        """What outputs and targets mean."""
        from ..solvers.gradient.net import Task

        n_targets = getattr(self, "_n_targets", 1)
        return Task(
            self._loss,
            self._report_scale(n_targets),
            getattr(self, "classes_", None),
            getattr(self, "_multilabel", False),
            getattr(self, "_one_target", False),
        )

    @property
    def net_(self) -> Net:
        """The fitted network as a net of skorch, whose memory is that of the fitted attributes.

        It holds the callbacks of the last fit and skorch's history; ``save_params`` and
        ``load_params`` read and write the weights of this estimator. It cannot be fitted itself.

        Returns
        -------
        skorch.NeuralNet
            The net, initialized.
        """
        check_is_fitted(self)
        from ..solvers.gradient.net import make_net

        values = self._tensors(self._parameter_dtype(), torch.device("cpu"))
        if not all(array.flags.writeable for array in arrays_in(vars(self))):
            # Memory-mapped by joblib: writing to it would end the process.
            values = {name: value.clone() for name, value in values.items()}
        if not hasattr(self, "_net"):
            self._net = make_net(
                self._module(),
                values,
                self._task(),
                lr=self.learning_rate_init,
                verbose=int(self.verbose),
                records=self.history_,
            )
        self._net.share(values)
        return self._net

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if not self.callbacks:
            state.pop("_net", None)
        return state

    def _check_batches(self, n_rows: int) -> None:
        """Refuse minibatches that the network cannot be trained on."""

    def _finish_minibatch(
        self,
        trained: Trained,
        history: list[dict[str, float]],
        n_rows: int,
        incremental: bool,
    ) -> None:
        """Take on what a training has found, and say how it ended."""
        for name, value in self._public(trained.values).items():
            setattr(self, name, value)
        self.history_ = history
        # An interruption may fall between the record of the training and that of the monitor.
        n_epochs = min(len(trained.records), len(self.history_))
        self.n_iter_ = n_epochs
        self.t_ += n_rows * n_epochs
        self.converged_ = trained.reason == "converged" and not incremental
        self.loss_curve_ = [record["loss"] for record in self.history_]
        self.loss_ = trained.records[-1]["loss"] if trained.records else np.inf
        scores = [r["validation_score"] for r in self.history_ if "validation_score" in r]
        self.validation_scores_ = scores or None
        self.best_validation_score_ = None
        if scores and self.early_stopping:
            # Of this fit alone, whose best epoch is kept.
            own = [r["validation_score"] for r in trained.records]
            self.best_validation_score_ = max(filter(np.isfinite, own), default=-np.inf)
        self.best_loss_ = None if self.early_stopping else min(self.loss_curve_, default=np.inf)
        if trained.reason == "diverged":
            self._raise_divergence(n_epochs)
        if trained.reason == "interrupted":
            warn_user(
                f"{type(self).__name__} was interrupted after {n_epochs} epochs: it keeps the "
                "parameters that were best so far",
                ConvergenceWarning,
            )
        elif trained.reason == "max_epochs" and not incremental:
            warn_user(
                f"{type(self).__name__} reached max_iter={self.max_iter} epochs and has not "
                "converged: raise max_iter, or learning_rate_init if the loss still falls slowly",
                ConvergenceWarning,
            )

    def _raise_divergence(self, epoch: int) -> None:
        where = f"epoch {epoch} (solver={self.solver!r}"
        scaling = "scale the columns of X (StandardScaler)"
        remedy = f"{scaling} and the targets"
        if self.solver in FULL_BATCH:
            where = f"iteration {epoch} (solver={self.solver!r}"
        else:
            where += f", learning_rate_init={self.learning_rate_init!r}"
            remedy = f"lower learning_rate_init, {scaling}, or set clip_norm"
        raise DivergenceError(
            f"the loss of {type(self).__name__} became NaN or infinite in {where}): {remedy}. The "
            "estimator keeps the last finite parameters"
        )

    def _fit_full_batch(
        self,
        X: Rows,
        y: Tensor,
        weight: Tensor | None,
        start: Mapping[str, Tensor],
        rng: np.random.RandomState,
        monitor: FitMonitor,
    ) -> None:
        dtype = y.dtype
        dense = X[:].to(dtype) if isinstance(X, SparseRows) else X
        step = self._make_step([start], y.shape[1])
        parameters = step.parameters
        if self.solver == "newton" and parameters.size > MAX_NEWTON_PARAMS:
            raise ValueError(
                f'solver="newton" keeps the Hessian of all parameters, and {parameters.size} '
                f'are more than {MAX_NEWTON_PARAMS}: choose solver="lbfgs", or smaller '
                "hidden_layer_sizes"
            )
        if weight is not None:
            weight = weight.to(dtype)
        held_out, scale = self._given_validation(y), self._report_scale(y.shape[1])

        def shown(loss: float, theta: Tensor) -> float:
            weights = theta[: parameters.n_penalised]
            penalty = 0.5 * objective.decay * float(torch.dot(weights, weights))
            return loss if scale == 1 else scale * (loss - penalty) + penalty

        def report(loss: float, theta: Tensor) -> bool:
            record = {"loss": shown(loss, theta)}
            if held_out is not None:
                parameters.theta.copy_(theta)
                record |= held_out(step)[0]
            return monitor(record, lambda: self._public(values_of(parameters, theta.to(dtype))))

        with torch.inference_mode():
            objective = FullBatch(step, dense, y, weight, self.alpha, self._loss_rows)
            if self.solver == "lbfgs":
                stop = lbfgs(
                    objective,
                    tol=self.tol,
                    max_iter=self.max_iter,
                    max_fun=self.max_fun,
                    report=report,
                )
            elif self.solver == "newton":
                stop = newton(objective, tol=self.tol, max_iter=self.max_iter, report=report)
            else:
                stop = random_search(
                    objective, self._drawer(parameters, rng), max_iter=self.max_iter, report=report
                )
        monitor.close()
        stop = replace(stop, loss=shown(stop.loss, stop.theta))
        self._finish_full_batch(stop, parameters, monitor)

    def _drawer(self, parameters: Parameters, rng: np.random.RandomState) -> Callable[[], Tensor]:
        """Draws flat parameters."""

        def draw() -> Tensor:
            flat = torch.empty_like(parameters.theta)
            views = parameters.views(flat)
            for name, array in self._draw(rng).items():
                if name in views:
                    views[name].copy_(torch.from_numpy(array))
            return flat

        return draw

    def _finish_full_batch(
        self,
        stop: Stop,
        parameters: Parameters,
        monitor: FitMonitor,
    ) -> None:
        self.__dict__.pop("_net", None)
        for name, value in self._public(values_of(parameters, stop.theta)).items():
            setattr(self, name, value)
        self.history_ = monitor.history
        self.n_iter_, self.loss_ = stop.n_iter, stop.loss
        self.converged_ = stop.reason == "converged"
        self.loss_curve_ = [record["loss"] for record in self.history_] or [stop.loss]
        self.best_loss_ = min(self.loss_curve_)
        scores = [r["validation_score"] for r in self.history_ if "validation_score" in r]
        self.validation_scores_, self.best_validation_score_ = scores or None, None
        if stop.reason == "diverged" or not np.isfinite(stop.loss):
            self._raise_divergence(stop.n_iter)
        if stop.reason == "interrupted":
            warn_user(
                f"{type(self).__name__} was interrupted after {stop.n_iter} iterations: it keeps "
                "the parameters that were best so far",
                ConvergenceWarning,
            )
        elif not self.converged_ and stop.reason != "stopped":
            detail = f" ({stop.message})" if stop.message else ""
            warn_user(
                f"{type(self).__name__} did not converge in {stop.n_iter} iterations of "
                f"solver={self.solver!r}{detail}: raise max_iter or max_fun, or scale the columns "
                "of X",
                ConvergenceWarning,
            )

    def _hold_out(
        self,
        X: Rows,
        y: Tensor,
        weights: np.ndarray | None,
        rng: np.random.RandomState,
    ) -> tuple[np.ndarray, HeldOut | None]:
        """Training rows, and what is held out for validation."""
        given = self._given_validation(y)
        if given is not None or not self.early_stopping:
            return np.arange(len(y)), given
        rows, held = self._split(y, rng)
        index = torch.from_numpy(held)
        weight = None if weights is None else torch.from_numpy(weights[held]).to(y.device)
        return rows, HeldOut(
            self, to_dense(X[index.to(y.device)], y), y[index.to(y.device)], weight
        )

    def _split(self, y: Tensor, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Training rows and validation rows, where rows are held out; else all, and none."""
        rows = np.arange(len(y))
        if self._n_held_out(len(rows)) == 0:
            return rows, rows[:0]
        train_rows, held = train_test_split(
            rows,
            random_state=rng,
            test_size=self.validation_fraction,
            stratify=self._stratify(y),
        )
        return train_rows, held

    def _n_held_out(self, n_rows: int) -> int:
        """How many of the rows are held out for validation."""
        if not self.early_stopping:
            return 0
        n_held = int(np.ceil(self.validation_fraction * n_rows))
        if n_held < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} of {n_rows} rows is too "
                f"small a validation set ({n_held} rows): raise validation_fraction, or pass X_val "
                "and y_val to fit"
            )
        if n_held == n_rows:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} of {n_rows} rows leaves none "
                "for training: lower validation_fraction, or pass X_val and y_val to fit"
            )
        return n_held

    def _given_validation(self, y: Tensor) -> HeldOut | None:
        """The rows that fit was given for validation."""
        given = getattr(self, "_held_out", None)
        if given is None:
            return None
        X_val, y_val, weight_val = given
        inputs = self._input_rows(X_val, reset=False)
        targets = self._encode_held_out(y_val).to(y)
        if len(inputs) != len(targets):
            raise ValueError(f"X_val has {len(inputs)} rows, but y_val has {len(targets)}")
        if self.early_stopping and len(inputs) < 2:
            raise ValueError(
                f"X_val has {len(inputs)} row, too small a validation set to stop by: pass at "
                "least 2, or set early_stopping=False"
            )
        weight = self._weight_tensor(weight_val, inputs)
        return HeldOut(self, to_dense(inputs, y), targets, weight)

    @contextmanager
    def _holding_out(self, X_val: Any, y_val: Any, weight_val: Any) -> Iterator[None]:
        """Keep rows for validation within reach of a fit."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together: pass both, or neither")
        if X_val is None and weight_val is not None:
            raise ValueError("sample_weight_val weighs the rows of X_val: pass X_val and y_val too")
        if X_val is not None:
            self._held_out = X_val, y_val, weight_val
        try:
            yield
        finally:
            self.__dict__.pop("_held_out", None)

    def _outputs(
        self, X: Rows, apply: Callable[[Tensor], Tensor], widest: int, dtype: torch.dtype
    ) -> Tensor:
        """Outputs for rows of any number, block by block."""
        blocks = [
            apply(X[block].to(dtype)) for block in row_blocks(len(X), 2 * widest * dtype.itemsize)
        ]
        return torch.cat(blocks)

    @abstractmethod
    def _parameter_dtype(self) -> torch.dtype:
        """Precision of the fitted parameters."""


def numbers_of(optimizer: Any) -> dict[str, float]:
    """The hyper-parameters of an optimizer that are numbers."""
    values = {field.name: getattr(optimizer, field.name) for field in fields(optimizer)}
    return {name: v for name, v in values.items() if not isinstance(v, bool | np.bool_)}


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Arrays in lists and dicts, however deep."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part)


def values_of(parameters: Parameters, theta: Tensor) -> dict[str, Tensor]:
    """Parameters by name from a flat tensor, without running statistics."""
    return {name: view.clone() for name, view in parameters.views(theta).items()}


def to_dense(rows: Rows, like: Tensor) -> Tensor:
    """Rows as a tensor."""
    return (rows[:] if isinstance(rows, SparseRows) else rows).to(like)
