"""Multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d
from torch import Tensor

from .._sklearn_compat import Interval, StrOptions, fit_context
from ..base import ProbabilityMixin, ThetaClassifier, ThetaRegressor, is_soft
from ..monitor import FitMonitor
from ..objectives.losses import Loss, make_classification_loss, make_regression_loss
from ..representations.networks.activations import Activation, Identity, make_activation
from ..representations.networks.initialize import INITIALIZERS, initialize
from ..representations.networks.mlp import MLPArchitecture
from ..representations.networks.tape import Tape
from ..rows import Rows, as_array, as_tensor, output_like
from ..solvers.gradient.explicit import start_step
from ..solvers.gradient.optimizers import Optimizer
from ..solvers.gradient.schedules import Schedule
from ..solvers.gradient.step import Step
from ..threads import threads_for
from .gradient import GradientEstimator, HeldOut

__all__ = ["MLPClassifier", "MLPRegressor"]

#: Learning rates follow the width by a law that holds for plain descent.
PLAIN_DESCENT = ("gd", "sgd", "heavy_ball", "nesterov")

ActivationSpec = str | Activation | Callable[[Tensor], Tensor]


class MultilayerPerceptron(GradientEstimator):
    """What the two estimators share: the network."""

    _network_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, Activation, callable, list, tuple],
        "normalization": [StrOptions({"batch", "layer"}), None],
        "residual": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "init": [StrOptions({"auto", *INITIALIZERS})],
        "width_scaling": [Interval(Real, 0.5, 1, closed="both"), list, tuple, None],
    }

    @classmethod
    def from_weights(
        cls,
        coefs: Sequence[ArrayLike],
        intercepts: Sequence[ArrayLike],
        *,
        classes: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Make a fitted network of given weights.

        It predicts at once, and with ``warm_start=True`` a later ``fit`` starts from these weights.

        Parameters
        ----------
        coefs : sequence of array-like of shape (n_inputs_of_layer, n_outputs_of_layer)
            Weights of each layer; layer i computes ``activation(h @ coefs[i] + intercepts[i])``.
        intercepts : sequence of array-like of shape (n_outputs_of_layer,)
            Biases of each layer.
        classes : array-like of shape (n_classes,), default=None
            Labels, for a classifier; 0, 1, ... by default.
        **params : dict
            Parameters of the estimator, besides ``hidden_layer_sizes``.

        Returns
        -------
        object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the shapes do not fit each other.

        Examples
        --------
        The quadrant x > 0, y > 0 as the logical AND of two half-planes, S(S(x) + S(y) - 3/2) with
        steep logistic functions S.

        >>> from thetalearn import MLPRegressor
        >>> from thetalearn.representations.networks.activations import Logistic
        >>> S = Logistic(scale=0.02)
        >>> net = MLPRegressor.from_weights(
        ...     [[[1.0, 0.0], [0.0, 1.0]], [[1.0], [1.0]]], [[0.0, 0.0], [-1.5]],
        ...     activation=S, out_activation=S)
        >>> net.predict([[1, 1], [1, -1], [-1, 1], [-1, -1]]).round(6)
        array([1., 0., 0., 0.])
        """
        matrices = [np.asarray(coef, dtype=np.float64) for coef in coefs]
        vectors = [np.asarray(intercept, dtype=np.float64) for intercept in intercepts]
        if len(matrices) != len(vectors) or not matrices:
            raise ValueError(
                f"from_weights got {len(matrices)} coefs and {len(vectors)} intercepts: give one "
                "of each for every layer"
            )
        for i, (matrix, vector) in enumerate(zip(matrices, vectors, strict=True)):
            fits = i == 0 or len(matrix) == matrices[i - 1].shape[1]
            if matrix.ndim != 2 or vector.shape != matrix.shape[1:] or not fits:
                before = "n_features" if i == 0 else matrices[i - 1].shape[-1]
                raise ValueError(
                    f"coefs[{i}] of shape {matrix.shape} and intercepts[{i}] of shape "
                    f"{vector.shape} do not fit: expected ({before}, k) and (k,)"
                )
        hidden = tuple(matrix.shape[1] for matrix in matrices[:-1])
        estimator = cls(hidden_layer_sizes=hidden, **params)
        estimator._validate_params()
        n_outputs = matrices[-1].shape[1]
        estimator._adopt(matrices[0].shape[0], n_outputs, classes)
        values = {f"coefs.{i}": torch.from_numpy(m) for i, m in enumerate(matrices)}
        values |= {f"intercepts.{i}": torch.from_numpy(v) for i, v in enumerate(vectors)}
        fresh = estimator._draw(np.random.RandomState(0))
        for name, array in fresh.items():
            if name.startswith("norms."):
                values[name] = torch.from_numpy(array)
        for name, value in estimator._public(values).items():
            setattr(estimator, name, value)
        estimator.n_iter_, estimator.t_ = 0, 0
        estimator.history_, estimator.loss_curve_ = [], []
        return estimator

    def _adopt(self, n_features: int, n_outputs: int, classes: ArrayLike | None) -> None:
        """Take on the shape of given weights."""
        raise NotImplementedError

    def _sizes(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        given = self.hidden_layer_sizes
        sizes = list(np.atleast_1d(np.asarray(given if np.size(given) else [], dtype=object)))
        if any(not isinstance(size, Integral | np.integer) or size <= 0 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes={given!r} must hold integers > 0: one width for each hidden "
                "layer, such as (64, 64)"
            )
        return tuple(int(size) for size in sizes)

    def _build(self, X: Rows, n_targets: int) -> None:
        self._build_network(X.shape[1], n_targets)

    def _build_network(self, n_inputs: int, n_targets: int) -> None:
        hidden = self._sizes()
        activations = self._activations(len(hidden))
        self._loss, output = self._make_loss(n_targets)
        n_outputs = self._loss.n_outputs(n_targets)
        self.architecture_ = MLPArchitecture(
            sizes=(n_inputs, *hidden, n_outputs),
            activations=activations,
            output_activation=output,
            normalization=self.normalization,
            residual=bool(self.residual),
            dropout=self._dropout_rates(len(hidden)),
            scales=self._scales(hidden),
        )
        self.n_layers_ = len(hidden) + 2
        self.n_outputs_ = n_targets
        self.out_activation_ = self._loss.link if isinstance(output, Identity) else name_of(output)

    def _make_loss(self, n_targets: int) -> tuple[Loss, Activation]:
        """The loss, and the activation of the outputs besides its link."""
        raise NotImplementedError

    def _activations(self, n_hidden: int) -> tuple[Activation, ...]:
        given = self.activation
        if isinstance(given, list | tuple):
            if len(given) != n_hidden:
                raise ValueError(
                    f"activation={given!r} has {len(given)} entries for {n_hidden} hidden layers: "
                    "give one for each, or a single one for all"
                )
            return tuple(make_activation(one) for one in given)
        return (make_activation(given),) * n_hidden

    def _dropout_rates(self, n_hidden: int) -> tuple[float, ...]:
        given = self.dropout
        rates = tuple(given) if isinstance(given, list | tuple) else (given,) * n_hidden
        if len(rates) != n_hidden or any(not 0 <= rate < 1 for rate in rates):
            raise ValueError(
                f"dropout={given!r} must be a probability in [0, 1), or one for each of the "
                f"{n_hidden} hidden layers"
            )
        rates = (float(self.input_dropout), *map(float, rates))
        return rates if any(rates) else ()

    def _drop_rates_asked(self) -> tuple[float, ...]:
        return self._dropout_rates(len(self._sizes()))

    def _drop_rates(self) -> tuple[float, ...]:
        return self.architecture_.drop_rates

    def _gammas(self, hidden: tuple[int, ...]) -> tuple[float, ...]:
        """Exponents of the width, one for each hidden layer; () without scaling."""
        given = self.width_scaling
        if given is None:
            return ()
        gammas = tuple(given) if isinstance(given, list | tuple) else (given,) * len(hidden)
        name = self.solver if isinstance(self.solver, str) else type(self.solver).__name__
        if len(gammas) != len(hidden) or not 1 <= len(hidden) <= 2:
            raise ValueError(
                f"width_scaling={given!r} is known for one or two hidden layers, with one exponent "
                f"for each, but hidden_layer_sizes={self.hidden_layer_sizes!r}"
            )
        if any(not 0.5 <= gamma <= 1 for gamma in gammas):
            raise ValueError(f"width_scaling={given!r} must lie in [1/2, 1]")
        if len(hidden) == 2 and hidden[0] != hidden[1] and min(gammas) < 1:
            raise ValueError(
                f"width_scaling={given!r} below 1 is known for two hidden layers of equal widths "
                f"only, but hidden_layer_sizes={self.hidden_layer_sizes!r}"
            )
        if name not in (*PLAIN_DESCENT, "GradientDescent", "Momentum"):
            raise ValueError(
                f"width_scaling={given!r} sets learning rates by a law for plain descent: choose "
                f"solver in {list(PLAIN_DESCENT)}, not {self.solver!r}"
            )
        return tuple(float(gamma) for gamma in gammas)

    def _scales(self, hidden: tuple[int, ...]) -> tuple[float, ...]:
        gammas = self._gammas(hidden)
        factors = [width**-gamma for width, gamma in zip(hidden, gammas, strict=False)]
        return (1.0, *factors) if gammas else ()

    def _rate_factors(self) -> dict[str, float]:
        hidden = self.architecture_.sizes[1:-1]
        gammas = self._gammas(hidden)
        if not gammas:
            return {}
        if len(gammas) == 1:
            (n,), (g,) = hidden, gammas
            rates = [n ** -(2 - 2 * g)] * 2
        elif min(gammas) == 1:
            rates = [1.0, float(hidden[1]), hidden[1] / hidden[0]]
        else:
            n, (g1, g2) = hidden[0], gammas
            rates = [
                float(n) ** -power for power in (4 - 2 * (g1 + g2), 3 - 2 * (g1 + g2), 2 - 2 * g2)
            ]
        factors = {f"coefs.{i}": rate for i, rate in enumerate(rates)}
        factors |= {f"intercepts.{i}": rate for i, rate in enumerate(rates)}
        # Outside the sum over units, the last bias moves at the speed of the network, 1 / N a step.
        factors[f"intercepts.{len(hidden)}"] = 1 / hidden[0]
        return factors

    def _draw(self, rng: np.random.RandomState) -> dict[str, np.ndarray]:
        scaled = self.width_scaling is not None
        init = "normal" if self.init == "auto" and scaled else self.init
        values = initialize(self.architecture_, init, rng)
        if scaled:
            last = f"intercepts.{self.architecture_.n_layers - 1}"
            values[last] = np.zeros_like(values[last])
        for name, shape in self.architecture_.buffer_shapes.items():
            values[name] = np.ones(shape) if name.endswith("variance") else np.zeros(shape)
        return values

    def _check_same_network(self, X: Rows, y: Tensor) -> None:
        before = self.architecture_
        loss, public = self._loss, (self.n_layers_, self.n_outputs_, self.out_activation_)
        self._build_network(X.shape[1], y.shape[1])
        shapes = self.architecture_.shapes
        if shapes != before.shapes:
            self.architecture_, self._loss = before, loss
            self.n_layers_, self.n_outputs_, self.out_activation_ = public
            raise ValueError(
                f"{type(self).__name__} cannot continue with layers of sizes {before.sizes} when "
                f"the parameters and data ask for {sizes_in(shapes)}: set warm_start=False, or keep them"
            )

    def _make_step(self, starts: Sequence[Mapping[str, Tensor]], n_targets: int) -> Step:
        first = next(iter(starts[0].values()))
        return start_step(
            self.architecture_,
            self._loss,
            Tape,
            starts,
            n_targets,
            dtype=first.dtype,
            device=first.device,
        )

    def _check_batches(self, n_rows: int) -> None:
        size = self._rows_of_batch_quietly(n_rows)
        if self.normalization != "batch":
            return
        alone = "a batch of one row" if size == 1 else "a last batch of one row"
        if size == 1 or (n_rows % size == 1 and self.sampling == "shuffle") or n_rows == 1:
            raise ValueError(
                f'normalization="batch" needs at least two rows in a batch, but batch_size={size} '
                f"makes {alone} of {n_rows} training rows: choose another batch_size, or "
                'normalization="layer"'
            )

    def _rows_of_batch_quietly(self, n_rows: int) -> int:
        if self.batch_size == "auto":
            return n_rows if self.solver == "gd" else min(200, n_rows)
        return min(self.batch_size, n_rows)

    def _public(self, values: Mapping[str, Tensor]) -> dict[str, Any]:
        arrays = {name: value.cpu().numpy().copy() for name, value in values.items()}
        layers = range(self.architecture_.n_layers)
        public: dict[str, Any] = {
            "coefs_": [arrays[f"coefs.{i}"] for i in layers],
            "intercepts_": [arrays[f"intercepts.{i}"] for i in layers],
        }
        if self.architecture_.normalization:
            prefixes = [f"norms.{i}." for i in layers[:-1]]
            public["norms_"] = [
                {n.removeprefix(p): array for n, array in arrays.items() if n.startswith(p)}
                for p in prefixes
            ]
        return public

    def _tensors(self, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        arrays = {f"coefs.{i}": coef for i, coef in enumerate(self.coefs_)}
        arrays |= {f"intercepts.{i}": intercept for i, intercept in enumerate(self.intercepts_)}
        for i, norm in enumerate(getattr(self, "norms_", [])):
            arrays |= {f"norms.{i}.{name}": array for name, array in norm.items()}
        return {name: as_tensor(array).to(device, dtype) for name, array in arrays.items()}

    def _parameter_dtype(self) -> torch.dtype:
        return torch.float32 if self.coefs_[0].dtype == np.float32 else torch.float64

    def _network_outputs(self, X: Rows) -> Tensor:
        """Outputs of the network, before the link."""
        tensors = self._tensors(self._parameter_dtype(), X.device)
        widest = max(self.architecture_.sizes)
        with torch.inference_mode():
            return self._outputs(X, lambda x: self.architecture_.apply(x, tensors), widest)

    def _loss_rows(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self._loss.rows(outputs, y)

    def _work(self, rows: Rows, *, fitting: bool) -> int:
        """Numbers that are worth a thread: multiplications of one product, by reuse."""
        hidden = self.hidden_layer_sizes
        sizes = [rows.shape[1], *(int(size) for size in np.atleast_1d(hidden).ravel() if size), 1]
        widest = max(a * b for a, b in zip(sizes, sizes[1:], strict=False))
        n_rows = self._rows_of_batch_quietly(len(rows)) if fitting else len(rows)
        if fitting and self.solver in ("lbfgs", "newton", "random_search"):
            n_rows = len(rows)
        return n_rows * widest // 64

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are weights."""
        return hasattr(self, "coefs_")


def sizes_in(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Widths of the layers whose parameters have these shapes."""
    weights = [shape for name, shape in shapes.items() if name.startswith("coefs.")]
    return (weights[0][0], *(shape[1] for shape in weights))


def name_of(activation: Activation) -> str:
    """Name of an activation, as scikit-learn writes it."""
    from ..representations.networks.activations import ACTIVATIONS

    names = {cls: name for name, cls in ACTIVATIONS.items()}
    return names.get(type(activation), type(activation).__name__)


class MLPRegressor(MultilayerPerceptron, ThetaRegressor):
    """Multilayer perceptron for regression."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "loss": [str, Loss, callable],
        **MultilayerPerceptron._network_constraints,
        "out_activation": [str, Activation, callable, None],
        **GradientEstimator._gradient_constraints,
    }

    def __init__(
        self,
        loss: str | Loss | Callable[..., Tensor] = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationSpec | Sequence[ActivationSpec] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule | Callable[..., float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        out_activation: ActivationSpec | None = None,
        normalization: str | None = None,
        residual: bool = False,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        init: str = "auto",
        width_scaling: float | Sequence[float] | None = None,
        l1_ratio: float = 0.0,
        weight_decay: float = 0.0,
        sampling: str = "shuffle",
        accumulation_steps: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: bool | int = False,
        callbacks: Sequence[Any] | None = None,
        dtype: str = "auto",
        amp: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.out_activation = out_activation
        self.normalization = normalization
        self.residual = residual
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.init = init
        self.width_scaling = width_scaling
        self.l1_ratio = l1_ratio
        self.weight_decay = weight_decay
        self.sampling = sampling
        self.accumulation_steps = accumulation_steps
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.average = average
        self.callbacks = callbacks
        self.dtype = dtype
        self.amp = amp
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_targets)
            Targets, finite.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows; where all rows are in one batch, an integer weight
            equals repeating the row.
        X_val, y_val : array-like, default=None
            Rows on which to validate after every epoch. With ``early_stopping=True`` they take the
            place of the split by ``validation_fraction``; without it they are reported only.
        sample_weight_val : array-like of shape (n_val_samples,), default=None
            Weights of these rows.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an input is empty, not finite, or of the wrong shape.
        DivergenceError
            If the loss became NaN or infinite; the estimator keeps the last finite parameters.
        """
        with self._holding_out(X_val, y_val, sample_weight_val):
            return super().fit(X, y, sample_weight)

    def _fit_rows(self, X: Tensor, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        self._fit_network(X, y, weight, monitor)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on the rows given, going on from what is fitted.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_targets)
            Targets, finite.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows.

        Returns
        -------
        self : object
            The estimator.
        """
        with self._all_or_nothing():
            first = not self.__sklearn_is_fitted__()
            rows = self._training_rows(X, y, sample_weight, reset=first)
            with (
                self._monitored(X, y, sample_weight, 1) as monitor,
                threads_for(self._work(rows[0], fitting=True)),
            ):
                self._fit_network(*rows, monitor, incremental=True)
        return self

    def _make_loss(self, n_targets: int) -> tuple[Loss, Activation]:
        output = Identity() if self.out_activation is None else make_activation(self.out_activation)
        loss = make_regression_loss(self.loss)
        if self.loss == "poisson" and not isinstance(output, Identity):
            loss = make_regression_loss("poisson_mean")
        return loss, output

    def _report_scale(self, n_targets: int) -> float:
        return 1 / n_targets

    def _predict_rows(self, X: Tensor) -> Tensor:
        return self._loss.prediction(self._network_outputs(X))

    def _score_outputs(self, outputs: Tensor, held_out: HeldOut) -> float:
        """R², as `score` gives it."""
        prediction, y = self._loss.prediction(outputs).double(), held_out.targets.double()
        weight = torch.ones_like(y[:, :1])
        if held_out.weight is not None:
            weight = held_out.weight.double()[:, None]
        mean = (weight * y).sum(0) / weight.sum()
        residual = (weight * (y - prediction).square()).sum(0)
        total = (weight * (y - mean).square()).sum(0)
        # As in r2_score: a constant target is predicted perfectly, or not at all.
        ratio = torch.where(total > 0, residual / total, (residual > 0).to(residual))
        return float((1 - ratio).mean())

    def _stratify(self, y: Tensor) -> np.ndarray | None:
        return None

    def _encode_held_out(self, y: Any) -> Tensor:
        targets = np.asarray(as_array(y), dtype=np.float64)
        targets = targets.reshape(len(targets), -1)
        if targets.shape[1] != self._n_targets:
            raise ValueError(f"y_val has {targets.shape[1]} target(s), but y has {self._n_targets}")
        return as_tensor(targets)

    def _adopt(self, n_features: int, n_outputs: int, classes: ArrayLike | None) -> None:
        if classes is not None:
            raise ValueError("classes are for MLPClassifier: a regressor has none")
        n_targets = n_outputs // make_regression_loss(self.loss).n_outputs(1)
        self.n_features_in_, self._n_targets = n_features, n_targets
        self._one_target = n_targets == 1
        self._build_network(n_features, n_targets)


class MLPClassifier(ProbabilityMixin, MultilayerPerceptron, ThetaClassifier):
    """Multilayer perceptron for classification."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MultilayerPerceptron._network_constraints,
        "loss": [object],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        **GradientEstimator._gradient_constraints,
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationSpec | Sequence[ActivationSpec] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule | Callable[..., float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: dict[Any, float] | str | None = None,
        normalization: str | None = None,
        residual: bool = False,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        init: str = "auto",
        width_scaling: float | Sequence[float] | None = None,
        l1_ratio: float = 0.0,
        weight_decay: float = 0.0,
        sampling: str = "shuffle",
        accumulation_steps: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        average: bool | int = False,
        callbacks: Sequence[Any] | None = None,
        dtype: str = "auto",
        amp: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.class_weight = class_weight
        self.normalization = normalization
        self.residual = residual
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.init = init
        self.width_scaling = width_scaling
        self.l1_ratio = l1_ratio
        self.weight_decay = weight_decay
        self.sampling = sampling
        self.accumulation_steps = accumulation_steps
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.average = average
        self.callbacks = callbacks
        self.dtype = dtype
        self.amp = amp
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_classes)
            Class labels; or an indicator matrix of several labels a row; or, as rows of
            probabilities that sum to one, soft labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows; where all rows are in one batch, an integer weight
            equals repeating the row.
        X_val, y_val : array-like, default=None
            Rows on which to validate after every epoch. With ``early_stopping=True`` they take the
            place of the split by ``validation_fraction``; without it they are reported only.
        sample_weight_val : array-like of shape (n_val_samples,), default=None
            Weights of these rows.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an input is empty, not finite, or of the wrong shape, or if there is one class only.
        DivergenceError
            If the loss became NaN or infinite; the estimator keeps the last finite parameters.
        """
        with self._holding_out(X_val, y_val, sample_weight_val):
            return super().fit(X, y, sample_weight)

    def _fit_rows(self, X: Tensor, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        weight = self._class_weighted(y, weight)
        self._fit_network(X, self._network_targets(y), weight, monitor)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on the rows given, going on from what is fitted.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_labels)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; needed by the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If the first call has no ``classes``, or y holds a label that is not one of them.
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError(
                "classes must be passed on the first call to partial_fit: all labels that will "
                "ever come"
            )
        with self._all_or_nothing():
            first = not self.__sklearn_is_fitted__()
            if first:
                self.classes_, self._multilabel = np.unique(as_array(classes)), is_multilabel(y)
            elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
                raise ValueError(
                    f"classes={classes!r} differ from those of the first call to partial_fit, "
                    f"{self.classes_.tolist()!r}"
                )
            rows = self._input_rows(X, reset=first)
            rows, labels, weight = self._weighted_rows(
                rows, self._encode_known(as_array(y)), sample_weight
            )
            with (
                self._monitored(X, y, sample_weight, 1) as monitor,
                threads_for(self._work(rows, fitting=True)),
            ):
                weight = self._class_weighted(labels, weight)
                targets = self._network_targets(labels)
                self._fit_network(rows, targets, weight, monitor, incremental=True)
        return self

    def _class_probabilities(self, y: Any, *, reset: bool) -> np.ndarray:
        self._multilabel = is_multilabel(y)
        if not self._multilabel:
            return super()._class_probabilities(y, reset=reset)
        self.classes_ = np.arange(np.shape(y)[1])
        return self._encode_known(y)

    def _encode_known(self, y: Any) -> np.ndarray:
        """Probabilities, or indicators, of classes that are known already."""
        n_classes = len(self.classes_)
        if self._multilabel or (is_soft(y) and np.ndim(y) == 2):
            matrix = np.asarray(y.toarray() if sp.issparse(y) else y, dtype=np.float64)
            if matrix.ndim != 2 or matrix.shape[1] != n_classes:
                raise ValueError(
                    f"y of shape {matrix.shape} does not fit the {n_classes} classes of "
                    f"{type(self).__name__}: it must have one column for each"
                )
            return matrix
        labels = column_or_1d(y, warn=True)
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y holds the labels {unknown.tolist()!r}, which are not among the classes "
                f"{self.classes_.tolist()!r}: pass all labels as classes in the first call to "
                "partial_fit"
            )
        probabilities = np.zeros((len(labels), n_classes))
        probabilities[np.arange(len(labels)), np.searchsorted(self.classes_, labels)] = 1.0
        return probabilities

    def _check_classes(self, labels: Tensor) -> None:
        if not self._multilabel:
            super()._check_classes(labels)

    def _network_targets(self, y: Tensor) -> Tensor:
        """Targets of the network: one column for two classes."""
        return y[:, 1:] if y.shape[1] == 2 and not self._multilabel else y

    def _make_loss(self, n_targets: int) -> tuple[Loss, Activation]:
        binary = self._multilabel or n_targets == 1
        return make_classification_loss(self.loss, binary=binary), Identity()

    def _decide_rows(self, X: Tensor) -> Tensor:
        outputs = self._network_outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 and not self._multilabel else outputs

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the class of each row, or its labels.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Class labels; for several labels a row, an indicator matrix.
        """
        if getattr(self, "_multilabel", False):
            return (np.asarray(as_array(self.decision_function(X))) > 0).astype(np.int64)
        return super().predict(X)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns are in the order of ``classes_``. Rows sum to one, but for several labels a
            row, where each column is the probability of its label.
        """
        check_is_fitted(self)
        if not self._multilabel:
            return super().predict_proba(X)
        rows = self._input_rows(X, reset=False)
        return output_like(torch.sigmoid(self._network_outputs(rows)).to(rows.dtype), X)

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of the probability of each class, exact for probabilities near zero.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns are in the order of ``classes_``.
        """
        check_is_fitted(self)
        if not self._multilabel:
            return super().predict_log_proba(X)
        rows = self._input_rows(X, reset=False)
        log_probability = torch.nn.functional.logsigmoid(self._network_outputs(rows))
        return output_like(log_probability.to(rows.dtype), X)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Mean accuracy; for several labels a row, the share of rows with all labels right.

        Parameters
        ----------
        X : array-like, sparse matrix or torch.Tensor of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            Accuracy between 0 and 1.
        """
        if getattr(self, "_multilabel", False):
            return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))
        return super().score(X, y, sample_weight)

    def _score_outputs(self, outputs: Tensor, held_out: HeldOut) -> float:
        """Accuracy, as `score` gives it."""
        targets = held_out.targets
        if self._multilabel:
            hits = ((outputs > 0) == (targets > 0.5)).all(1).double()
        elif targets.shape[1] == 1:
            chosen = (outputs > 0).to(targets)
            hits = (chosen * targets + (1 - chosen) * (1 - targets))[:, 0].double()
        else:
            hits = targets.gather(1, outputs.argmax(1, keepdim=True))[:, 0].double()
        if not bool(torch.isfinite(outputs).all()):
            return float("nan")
        if held_out.weight is None:
            return float(hits.mean())
        return float((hits * held_out.weight).sum() / held_out.weight.sum())

    def _stratify(self, y: Tensor) -> np.ndarray | None:
        if self._multilabel or not bool(((y == 0) | (y == 1)).all()):
            return None
        return (y[:, 0] if y.shape[1] == 1 else y.argmax(1)).cpu().numpy()

    def _encode_held_out(self, y: Any) -> Tensor:
        return self._network_targets(as_tensor(self._encode_known(as_array(y))))

    def _adopt(self, n_features: int, n_outputs: int, classes: ArrayLike | None) -> None:
        n_classes = 2 if n_outputs == 1 else n_outputs
        labels = np.arange(n_classes) if classes is None else np.unique(np.asarray(classes))
        if len(labels) != n_classes:
            raise ValueError(f"classes={classes!r} must hold {n_classes} different labels")
        self.n_features_in_, self.classes_, self._multilabel = n_features, labels, False
        self._build_network(n_features, n_outputs)

    def __sklearn_tags__(self) -> Any:
        """Tags; a row may have several labels."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def is_multilabel(y: Any) -> bool:
    """Whether y is an indicator matrix of several labels a row."""
    return bool(type_of_target(as_array(y)) == "multilabel-indicator")
