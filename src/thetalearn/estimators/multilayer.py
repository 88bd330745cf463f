"""What multilayer perceptrons share, whatever they predict: the network and its weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .._sklearn_compat import Interval, StrOptions
from ..fusion import ReplicaFit, Source
from ..objectives.losses import Loss
from ..representations.forms import SumForm
from ..representations.networks.activations import (
    ACTIVATIONS,
    Activation,
    Identity,
    make_activation,
)
from ..representations.networks.initialize import INITIALIZERS, initialize
from ..representations.networks.mlp import MLP, MLPArchitecture
from ..representations.networks.tape import Tape
from ..rows import Rows, as_tensor
from ..solvers.gradient.explicit import start_step
from ..solvers.gradient.optimizers import GradientDescent, Momentum
from ..solvers.gradient.step import Step
from ..solvers.gradient.traced import MAX_EXAMPLES, trace_step
from .fused.networks.predictions import Evaluated, predict_together
from .fused.networks.search import NetworkSearch, differing
from .gradient import FULL_BATCH, GradientEstimator

__all__ = ["ActivationSpec", "MultilayerPerceptron"]

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
            Labels in ascending order, for a classifier; 0, 1, ... by default.
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
        if estimator.architecture_.sizes[-1] != n_outputs:
            raise ValueError(
                f"coefs[-1] of shape {matrices[-1].shape} does not fit loss={estimator.loss!r}, "
                f"which needs {estimator.architecture_.sizes[-1]} outputs"
            )
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

    @abstractmethod
    def _adopt(self, n_features: int, n_outputs: int, classes: ArrayLike | None) -> None:
        """Take on the shape of given weights."""

    def replica_parameters(self) -> frozenset[str]:
        """Names of the parameters in which networks that are trained together may differ.

        Returns
        -------
        frozenset of str
            Penalties, rates, decays, probabilities of dropout, seeds and rules of stopping.

        Raises
        ------
        NotFusable
            If networks with these parameters are trained one by one; with the reason.

        Examples
        --------
        >>> from thetalearn import MLPRegressor
        >>> "alpha" in MLPRegressor().replica_parameters()
        True
        """
        return differing(self)

    @classmethod
    def fit_replicas(
        cls, fits: Sequence[ReplicaFit], sources: Sequence[Source], *, memory_budget: int
    ) -> Iterator[list[ReplicaFit]]:
        """Train networks of the same shape together, each in place; see `thetalearn.fusion`.

        The seconds in `history_` are those of the common training, shared equally at every epoch
        by the networks that are still in training: they add up to the time that all took.

        Parameters
        ----------
        fits : sequence of ReplicaFit
            Networks that differ in nothing but `replica_parameters`, and their rows.
        sources : sequence of Source
            What they take their rows from.
        memory_budget : int
            Bytes that may be in use beside the sources, as far as one network needs less.

        Yields
        ------
        list of ReplicaFit
            Those that are done.
        """
        return NetworkSearch(fits, sources, memory_budget).done()

    @classmethod
    def predict_replicas(
        cls, estimators: Sequence[Any], X: Any, method: str
    ) -> list[np.ndarray] | None:
        """Predictions of several fitted networks for the same rows; see `thetalearn.fusion`.

        Parameters
        ----------
        estimators : sequence of object
            The networks.
        X : array-like of shape (n_samples, n_features)
            Inputs.
        method : str
            Name of the method of each that is meant, such as "predict".

        Returns
        -------
        list of ndarray or None
            What the methods return; None if they are not to be called together.
        """
        return predict_together(estimators, X, method)

    def _input_rows(self, X: Any, *, reset: bool, min_rows: int = 1) -> Any:
        if isinstance(X, Evaluated):
            return X
        return super()._input_rows(X, reset=reset, min_rows=min_rows)

    def _sizes(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        given = self.hidden_layer_sizes
        sizes = list(given) if isinstance(given, Iterable) else [given]
        if any(not isinstance(size, Integral) or size <= 0 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes={given!r} must hold integers > 0: one width for each hidden "
                "layer, such as (64, 64)"
            )
        return tuple(int(size) for size in sizes)

    def _build(self, X: Rows, n_targets: int) -> None:
        self.__dict__.pop("norms_", None)
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

    @abstractmethod
    def _make_loss(self, n_targets: int) -> tuple[Loss, Activation]:
        """The loss, and the activation of the outputs besides its link."""

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
        if len(rates) != n_hidden or any(
            not (isinstance(rate, Real) and 0 <= float(rate) < 1) for rate in rates
        ):
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
        if len(gammas) != len(hidden) or not 1 <= len(hidden) <= 2:
            raise ValueError(
                f"width_scaling={given!r} is known for one or two hidden layers, with one exponent "
                f"for each, but hidden_layer_sizes={self.hidden_layer_sizes!r}"
            )
        if any(not (isinstance(gamma, Real) and 0.5 <= float(gamma) <= 1) for gamma in gammas):
            raise ValueError(f"width_scaling={given!r} must lie in [1/2, 1]")
        if len(hidden) == 2 and hidden[0] != hidden[1] and min(gammas) < 1:
            raise ValueError(
                f"width_scaling={given!r} below 1 is known for two hidden layers of equal widths "
                f"only, but hidden_layer_sizes={self.hidden_layer_sizes!r}"
            )
        plain = isinstance(self.solver, GradientDescent | Momentum) or self.solver in PLAIN_DESCENT
        if not plain:
            raise ValueError(
                f"width_scaling={given!r} sets learning rates by a law for plain descent: choose "
                f"solver in {list(PLAIN_DESCENT)}, not {self.solver!r}"
            )
        if self.normalization is not None or self.residual:
            raise ValueError(
                f"width_scaling={given!r} sets learning rates by a law for plain layers: set "
                f"normalization=None and residual=False, not normalization={self.normalization!r} "
                f"and residual={self.residual!r}"
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
        # Every step moves the outputs by a multiple of 1 / N, N being the first width.
        if len(hidden) == 1:
            rates = [hidden[0] ** (2 * gammas[0] - 2)] * 2
        else:
            (n1, n2), (g1, g2) = hidden, gammas
            slow1, slow2 = n1 ** (2 * g1 - 2), n2 ** (2 * g2 - 2)
            rates = [slow1 * slow2, slow1 * slow2 * n2, slow2 * n2 / n1]
        # A later bias joins a sum over N units, and moves it as fast as their N weights do.
        paces = [1.0, *(n ** (1 - 2 * g) for n, g in zip(hidden, gammas, strict=True))]
        factors = {f"coefs.{i}": rate for i, rate in enumerate(rates)}
        for i, (rate, pace) in enumerate(zip(rates, paces, strict=True)):
            factors[f"intercepts.{i}"] = rate * pace
        return factors

    def _draw(self, rng: np.random.RandomState) -> dict[str, np.ndarray]:
        scaled = self.width_scaling is not None
        init = "normal" if self.init == "auto" and scaled else self.init
        values = initialize(self.architecture_, init, rng)
        if scaled:
            # The law knows the biases of the first layer alone, as weights of a constant input.
            for i in range(1, self.architecture_.n_layers):
                values[f"intercepts.{i}"] = np.zeros_like(values[f"intercepts.{i}"])
        for name, shape in self.architecture_.buffer_shapes.items():
            values[name] = np.ones(shape) if name.endswith("variance") else np.zeros(shape)
        return values

    def _check_same_network(self, X: Rows, y: Tensor) -> None:
        before = self.architecture_
        loss, public = self._loss, (self.n_layers_, self.n_outputs_, self.out_activation_)
        self._build_network(X.shape[1], y.shape[1])
        after = self.architecture_
        if (after.sizes, after.normalization) != (before.sizes, before.normalization):
            self.architecture_, self._loss = before, loss
            self.n_layers_, self.n_outputs_, self.out_activation_ = public
            asked, kept = (
                f"layers of sizes {network.sizes}"
                if after.sizes != before.sizes
                else f"normalization={network.normalization!r}"
                for network in (after, before)
            )
            raise ValueError(
                f"{type(self).__name__} cannot continue with {kept} when the parameters and data "
                f"ask for {asked}: keep them, or set warm_start=False and call fit"
            )

    def _make_step(self, starts: Sequence[Mapping[str, Tensor]], n_targets: int) -> Step:
        first = next(iter(starts[0].values()))
        if self.amp:
            return self._make_mixed_step(starts, n_targets, first.device)
        return start_step(
            self.architecture_,
            self._loss,
            Tape,
            starts,
            n_targets,
            dtype=first.dtype,
            device=first.device,
        )

    def _make_mixed_step(
        self, starts: Sequence[Mapping[str, Tensor]], n_targets: int, device: torch.device
    ) -> Step:
        """A step with products in bfloat16, where autocast decides on the precision of the rest."""
        modules = [self._module() for _ in starts]
        for module, start in zip(modules, starts, strict=True):
            module.load_state_dict(start, assign=True)
        # Any rows will do: no operation of the network depends on them.
        shape = MAX_EXAMPLES, self.architecture_.sizes[0]
        return trace_step(
            modules,
            self._loss,
            n_targets,
            example=torch.randn(shape, generator=torch.Generator().manual_seed(0)),
            penalised=self.architecture_.penalised,
            dtype=torch.float32,
            device=device,
            amp=True,
        )

    def _check_batches(self, n_rows: int) -> None:
        size = self._rows_of_batch(n_rows)
        if self.normalization != "batch":
            return
        alone = "a batch of one row" if size == 1 else "a last batch of one row"
        if size == 1 or n_rows % size == 1:
            raise ValueError(
                f'normalization="batch" needs at least two rows in a batch, but batch_size={size} '
                f"makes {alone} (n_samples={n_rows}): choose another batch_size, or "
                'normalization="layer"'
            )

    def _rows_of_batch(self, n_rows: int) -> int:
        size = super()._rows_of_batch(n_rows)
        if self.batch_size == "auto" and self.normalization == "batch":
            while size < n_rows and n_rows % size == 1:
                size += 1  # no batch of a single row is left over
        return size

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

    def _module(self) -> nn.Module:
        # Without memory of its own, nor random numbers from torch's global generator.
        with torch.device("meta"):
            return MLP(self.architecture_)

    def _parameter_dtype(self) -> torch.dtype:
        return torch.float32 if self.coefs_[0].dtype == np.float32 else torch.float64

    def _network_outputs(self, X: Rows) -> Tensor:
        """Outputs of the network, before the link."""
        if isinstance(X, Evaluated):
            return X.outputs
        return self._apply(X, self._tensors(self._parameter_dtype(), X.device))

    def _network_form(self) -> SumForm:
        """The outputs of the network, before the link."""
        return self.architecture_.form(
            self._tensors(self._parameter_dtype(), self._resolved_device() or torch.device("cpu"))
        )

    def _apply(self, X: Rows, tensors: Mapping[str, Tensor]) -> Tensor:
        network, dtype = self.architecture_, tensors["coefs.0"].dtype
        with torch.inference_mode():
            return self._outputs(X, lambda x: network.apply(x, tensors), max(network.sizes), dtype)

    def _predicts(self, X: Rows, values: Mapping[str, Tensor]) -> bool:
        return bool(torch.isfinite(self._apply(X, values)).all())

    def _loss_rows(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self._loss.rows(outputs, y)

    def _work(self, rows: Rows, *, fitting: bool) -> int:
        """Numbers that are worth a thread: multiplications of one product, by reuse."""
        sizes = (rows.shape[1], *self._sizes(), 1) if fitting else self.architecture_.sizes
        widest = max(a * b for a, b in pairwise(sizes))
        n_rows = self._rows_of_batch(len(rows)) if fitting else len(rows)
        if fitting and self.solver in FULL_BATCH:
            n_rows = len(rows)
        return n_rows * widest // 64

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are weights."""
        return hasattr(self, "coefs_")


def name_of(activation: Activation) -> str:
    """Name of an activation, as scikit-learn writes it."""
    names = {cls: name for name, cls in ACTIVATIONS.items()}
    return names.get(type(activation), type(activation).__name__)
