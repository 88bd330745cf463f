"""The estimator contract: one template for fitting and predicting, for every estimator.

An estimator gives its parameters, their constraints, and what is particular to its model, as
functions of torch tensors. This file does the rest: validation, conversion from NumPy, pandas,
polars, SciPy sparse and torch, sample weights, devices, progress, callbacks, and the type of what
is returned.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d
from torch import Tensor

from ._sklearn_compat import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _check_feature_names_in,
    _check_n_features,
    _check_sample_weight,
    fit_context,
    fit_hooks,
    validate_data,
)
from .exceptions import DivergenceError
from .monitor import FitMonitor
from .representations.forms import Form, SumForm
from .rows import Rows, SparseRows, as_array, as_tensor, n_numbers, output_like
from .threads import threads_for

__all__ = [
    "Interval",
    "StrOptions",
    "ThetaClassifier",
    "ThetaEstimator",
    "ThetaRegressor",
    "ThetaTransformer",
]

#: Parameters that several families share, spelled and constrained alike everywhere.
DEVICE = {"device": [str, torch.device]}
VERBOSE = {"verbose": ["verbose"]}
RANDOM_STATE = {"random_state": ["random_state"]}
EXTRAPOLATION = {"extrapolation": [StrOptions({"error", "clip", "linear"})]}


class ThetaEstimator(CallbackSupportMixin, BaseEstimator):
    """A model f(x; theta) as a scikit-learn estimator.

    Not used directly: derive from `ThetaRegressor`, `ThetaClassifier` or `ThetaTransformer`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    _known_param_names: ClassVar[list[str]]
    #: Rows that a fit needs at least.
    _min_rows: ClassVar[int] = 1
    #: Whether X may be a SciPy sparse matrix; the rows then arrive as `SparseRows`.
    _accepts_sparse: ClassVar[bool] = False

    @classmethod
    def _get_param_names(cls) -> list[str]:
        """Names of the parameters, which scikit-learn reads from the signature at every call.

        Of forty parameters that takes a quarter of a millisecond, and a clone asks three times.
        """
        if "_known_param_names" not in vars(cls):
            cls._known_param_names = super()._get_param_names()
        return cls._known_param_names

    def _input_rows(self, X: Any, *, reset: bool, min_rows: int = 1) -> Any:
        """Validate X and give its rows (n, d), float32 or float64."""
        if isinstance(X, torch.Tensor):
            return self._checked_tensor(X, reset=reset, min_rows=min_rows)
        array = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            accept_sparse="csr" if self._accepts_sparse else False,
            ensure_min_samples=min_rows,
        )
        return self._as_rows(array)

    def _as_rows(self, array: Any) -> Rows:
        device = self._resolved_device()
        if sp.issparse(array):
            return SparseRows(sp.csr_array(array), device)
        return as_tensor(array).to(device)

    def _checked_tensor(self, X: Tensor, *, reset: bool, min_rows: int) -> Tensor:
        """What `validate_data` does for arrays, for a tensor on whatever device it is."""
        X = X.detach()
        name = type(self).__name__
        if X.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {X.ndim}D tensor of shape {tuple(X.shape)} instead: "
                "reshape it to (n_samples, n_features)"
            )
        if X.layout != torch.strided:
            raise ValueError(f"{name} takes dense tensors, not {X.layout}: pass X.to_dense()")
        if X.is_complex():
            raise ValueError("Complex data not supported")
        if X.shape[0] < min_rows or X.shape[1] < 1:
            raise ValueError(
                f"Found a tensor with {X.shape[0]} sample(s) and {X.shape[1]} feature(s) while "
                f"{name} needs a minimum of {min_rows} and 1"
            )
        if X.dtype != torch.float32:
            X = X.to(torch.float64)
        if not torch.isfinite(X).all():
            raise ValueError(f"Input X contains NaN or infinity, which {name} does not accept")
        if reset and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        _check_n_features(self, X, reset=reset)
        device = self._resolved_device()
        return X if device is None else X.to(device)

    def _resolved_device(self) -> torch.device | None:
        """The device asked for; None leaves the data where they are."""
        device = getattr(self, "device", "auto")
        if device == "auto":
            return None
        try:
            return torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f'device={device!r} cannot be used here: choose "auto", "cpu" or a device that '
                "torch reports as available"
            ) from error

    def _on_device(self, array: np.ndarray) -> Tensor:
        """Fitted numbers as a tensor where the estimator computes, the processor by default."""
        return as_tensor(array).to(self._resolved_device() or "cpu")

    def _weight_tensor(self, sample_weight: Any, X: Rows) -> Tensor | None:
        """Validate the weights of the rows."""
        if sample_weight is None:
            return None
        sample_weight = as_array(sample_weight)
        weight = _check_sample_weight(
            sample_weight, np.empty((len(X), 1)), dtype=np.float64, ensure_non_negative=True
        )
        if not weight.sum() > 0:
            raise ValueError("sample_weight sums to zero: at least one row needs a weight above 0")
        return as_tensor(weight).to(X.device)

    def _work(self, rows: Rows, *, fitting: bool) -> int:
        """Size of the work, by which the number of threads is chosen."""
        return n_numbers(rows)

    def functional_form(self, response_method: str = "predict") -> Form | None:
        """How the fitted function is built from functions of single columns, where that is known.

        Explanations use it: importances of a sum or a sum of products have closed forms, and a
        network need not compute its first layer anew for every combination of rows. Any estimator
        may have this method, also one of another package.

        Parameters
        ----------
        response_method : {"predict", "decision_function", "predict_proba"}, default="predict"
            Which of the estimator's methods is meant.

        Returns
        -------
        SumForm or ProductForm or None
            A function of rows (n, n_features) with as many columns of values as the method has,
            one for one-dimensional values; None if nothing is known.
        """
        check_is_fitted(self)
        return None

    def _input_names(self) -> list[str]:
        """Names of the input columns, x0, x1, ... where none were given."""
        names = getattr(self, "feature_names_in_", None)
        return [f"x{j}" for j in range(self.n_features_in_)] if names is None else list(names)

    def __sklearn_tags__(self) -> Any:
        """Tags, with sparse input where it is accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._accepts_sparse
        return tags

    @contextmanager
    def _monitored(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        max_iter: int | None = 0,
        history: list[dict[str, float]] | None = None,
    ) -> Iterator[FitMonitor]:
        """A monitor for the solver, which scikit-learn's callbacks listen to."""
        with fit_hooks(self, X, y, sample_weight, max_iter) as hooks:
            monitor = FitMonitor(
                hooks,
                max_iter,
                type(self).__name__,
                getattr(self, "verbose", 0),
                history,
            )
            try:
                yield monitor
            finally:
                monitor.close()

    def _past_history(self) -> list[dict[str, float]] | None:
        """The records that a fit goes on from; None if it starts anew."""
        return None

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Put the estimator back as it was if what follows fails."""
        before = vars(self).copy()
        try:
            yield
        except DivergenceError:
            raise  # the last finite parameters are kept
        except BaseException:
            # scikit-learn still has to close its callbacks.
            after = {k: v for k, v in vars(self).items() if k.startswith(("_callback", "_skl"))}
            self.__dict__.clear()
            self.__dict__.update(before | after)
            raise

    def _max_iterations(self) -> int:
        """Iterations that a fit takes at most; none for a closed form."""
        return int(getattr(self, "max_iter", 0) or 0)


class ThetaRegressor(RegressorMixin, ThetaEstimator):
    """Template of a regressor: subclasses give ``_fit_rows`` and ``_predict_rows``."""

    @abstractmethod
    def _fit_rows(self, X: Tensor, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        """Fit to X (n, d), y (n, m) in float64 and positive weights (n,)."""

    @abstractmethod
    def _predict_rows(self, X: Tensor) -> Tensor:
        """Predictions (n, m) in float64."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_targets)
            Targets, finite.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows; an integer weight equals repeating the row.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an input is empty, not finite, or of the wrong shape.
        """
        with self._all_or_nothing():
            rows = self._training_rows(X, y, sample_weight, reset=True)
            with (
                self._monitored(
                    X, y, sample_weight, self._max_iterations(), self._past_history()
                ) as monitor,
                threads_for(self._work(rows[0], fitting=True)),
            ):
                self._fit_rows(*rows, monitor)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions; for a tensor, a tensor on the same device.
        """
        check_is_fitted(self)
        rows = self._input_rows(X, reset=False)
        with threads_for(self._work(rows, fitting=False)):
            return self._target_like(self._predict_rows(rows), X, rows)

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, Tensor, Tensor | None]:
        """Validated rows of positive weight: a row of weight zero is no row."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        if isinstance(X, torch.Tensor) or isinstance(y, torch.Tensor):
            rows = self._input_rows(X, reset=reset, min_rows=self._min_rows)
            targets = _checked_targets(as_array(y))
            if len(targets) != len(rows):
                raise ValueError(
                    "Found input variables with inconsistent numbers of samples: "
                    f"X has {len(rows)}, y has {len(targets)}"
                )
        else:
            array, targets = validate_data(
                self,
                X,
                y,
                reset=reset,
                dtype=[np.float64, np.float32],
                multi_output=True,
                y_numeric=True,
                accept_sparse="csr" if self._accepts_sparse else False,
                ensure_min_samples=self._min_rows,
            )
            rows = self._as_rows(array)
        if sp.issparse(targets):
            raise ValueError("y is sparse: pass y.toarray()")
        one_target = targets.ndim == 1
        n_targets = 1 if one_target else targets.shape[1]
        if reset:
            self._one_target, self._n_targets = one_target, n_targets
        elif n_targets != self._n_targets:
            raise ValueError(
                f"y has {n_targets} target(s), but {type(self).__name__} was fitted with "
                f"{self._n_targets}"
            )
        matrix = as_tensor(targets.astype(np.float64, copy=False)).reshape(len(rows), n_targets)
        matrix = matrix.to(rows.device)
        weight = self._weight_tensor(sample_weight, rows)
        if weight is not None and not (weight > 0).all():
            kept = weight > 0
            rows, matrix, weight = rows[kept], matrix[kept], weight[kept]
            if len(rows) < self._min_rows:
                raise ValueError(
                    f"Found {len(rows)} sample(s) of positive sample_weight while a minimum of "
                    f"{self._min_rows} is required by {type(self).__name__}"
                )
        return rows, matrix, weight

    def _target_like(self, values: Tensor, X: Any, rows: Rows) -> Any:
        """Values (n, m) in the shape of y, and in the type, precision and place of X."""
        values = values.to(rows.dtype)
        return output_like(values[:, 0] if self._one_target else values, X)

    def _coef_like_y(self, coef: np.ndarray) -> np.ndarray:
        """Coefficients (K, m) as scikit-learn shows them: (K,) or (m, K)."""
        return coef[:, 0].copy() if self._one_target else coef.T.copy()

    def _coef_matrix(self, coef: np.ndarray) -> np.ndarray:
        """Inverse of `_coef_like_y`."""
        return coef.reshape(-1, 1) if self._one_target else coef.T

    def __sklearn_tags__(self) -> Any:
        """Tags, with several targets allowed."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class ThetaClassifier(ClassifierMixin, ThetaEstimator):
    """Template of a classifier: subclasses give ``_fit_rows`` and ``_decide_rows``."""

    @abstractmethod
    def _fit_rows(self, X: Tensor, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        """Fit to X (n, d), class probabilities y (n, n_classes) and positive weights (n,)."""

    @abstractmethod
    def _decide_rows(self, X: Tensor) -> Tensor:
        """Decision values (n,) of the second of two classes, or (n, n_classes), in float64."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_classes)
            Class labels; or, as numbers between 0 and 1, the probability of the second of two
            classes; or, as rows that sum to one, the probability of each class.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows; an integer weight equals repeating the row.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an input is empty, not finite, or of the wrong shape, or if there is one class only.
        """
        with self._all_or_nothing():
            return self._fit(X, y, sample_weight)

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        rows = self._training_rows(X, y, sample_weight, reset=True)
        self._check_classes(rows[1])
        with (
            self._monitored(
                X, y, sample_weight, self._max_iterations(), self._past_history()
            ) as monitor,
            threads_for(self._work(rows[0], fitting=True)),
        ):
            self._fit_rows(*rows, monitor)
        return self

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Any, Tensor, Tensor | None]:
        """Validated rows of positive weight: a row of weight zero is no row."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        rows = self._input_rows(X, reset=reset, min_rows=self._min_rows)
        probabilities = self._class_probabilities(as_array(y), reset=reset)
        return self._weighted_rows(rows, probabilities, sample_weight)

    def _weighted_rows(
        self, rows: Any, probabilities: np.ndarray, sample_weight: Any
    ) -> tuple[Any, Tensor, Tensor | None]:
        """Rows, labels and weights of positive weight."""
        if len(probabilities) != len(rows):
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"X has {len(rows)}, y has {len(probabilities)}"
            )
        weight = self._weight_tensor(sample_weight, rows)
        labels = as_tensor(probabilities).to(rows.device)
        if weight is not None and not (weight > 0).all():
            kept = weight > 0
            rows, labels, weight = rows[kept], labels[kept], weight[kept]
        return rows, labels, weight

    def _class_probabilities(self, y: Any, *, reset: bool) -> np.ndarray:
        """Probability of each class for each row; sets ``classes_``."""
        self.classes_, probabilities = self._encode(y)
        return probabilities

    def _check_classes(self, labels: Tensor) -> None:
        """Refuse rows that are all of one class."""
        present = labels.sum(0) > 0
        if len(self.classes_) < 2 or present.sum() < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes in the data, but the "
                f"data contains only one class: {self.classes_[present.cpu().numpy()]!r}"
            )

    def _encode(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Classes, and the probability of each for each row."""
        if is_soft(y):
            return _soft_labels(y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        codes = encoder.transform(y)
        probabilities = np.zeros((len(codes), len(encoder.classes_)))
        probabilities[np.arange(len(codes)), codes] = 1.0
        return encoder.classes_, probabilities

    def _class_weighted(self, y: Tensor, weight: Tensor | None) -> Tensor | None:
        """Weights of the rows times those of their classes."""
        class_weight = getattr(self, "class_weight", None)
        if class_weight is None:
            return weight
        if not bool(((y == 0) | (y == 1)).all()):
            raise ValueError(
                f"class_weight={class_weight!r} needs class labels; with soft labels give "
                "sample_weight instead"
            )
        if isinstance(class_weight, str):
            counts = (y if weight is None else y * weight[:, None]).sum(0)
            factors = counts.sum() / (len(self.classes_) * counts.clamp(min=1e-300))
        else:
            # A fold of cross-validation may lack a class; a dict that names none is a mistake.
            if not set(class_weight) & set(self.classes_.tolist()):
                raise ValueError(
                    f"class_weight={class_weight!r} names none of the classes "
                    f"{self.classes_.tolist()}"
                )
            values = [float(class_weight.get(c, 1.0)) for c in self.classes_.tolist()]
            factors = torch.tensor(values, dtype=torch.float64, device=y.device)
            if not all(np.isfinite(v) and v > 0 for v in values):
                raise ValueError(
                    f"class_weight={class_weight!r} must hold finite weights above 0: drop "
                    "the rows of a class that should not count"
                )
        each = y @ factors
        return each if weight is None else each * weight

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Decision values.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes, positive values speak for the second; otherwise one column a class.
        """
        check_is_fitted(self)
        rows = self._input_rows(X, reset=False)
        with threads_for(self._work(rows, fitting=False)):
            return output_like(self._decide_rows(rows).to(rows.dtype), X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the class of each row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.
        """
        check_is_fitted(self)
        rows = self._input_rows(X, reset=False)
        with threads_for(self._work(rows, fitting=False)):
            scores = self._decide_rows(rows)
        codes = (scores > 0).long() if scores.ndim == 1 else scores.argmax(1)
        return self.classes_[codes.cpu().numpy()]

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Mean accuracy; for soft labels, the mean probability of the predicted class.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Labels, hard or soft.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            Accuracy between 0 and 1.
        """
        if not is_soft(y):
            return super().score(X, y, sample_weight)
        _, probabilities = _soft_labels(y)
        if probabilities.shape[1] != len(self.classes_):
            raise ValueError(
                f"y holds the probabilities of {probabilities.shape[1]} classes, but "
                f"{type(self).__name__} was fitted to {len(self.classes_)}"
            )
        codes = np.searchsorted(self.classes_, self.predict(X))
        hits = probabilities[np.arange(len(codes)), codes]
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return float(np.average(hits, weights=weights))


class ProbabilityMixin:
    """`predict_proba` from the decision values, which are log-odds or logits."""

    def functional_form(self: Any, response_method: str = "predict_proba") -> Form | None:
        """How the decision values, or the probabilities, are built from functions of columns.

        Parameters
        ----------
        response_method : {"predict", "decision_function", "predict_proba"}, default="predict_proba"
            Which of the estimator's methods is meant.

        Returns
        -------
        SumForm or None
            A function of rows (n, n_features); None if nothing is known.
        """
        check_is_fitted(self)
        form = self._decision_form()
        if response_method == "decision_function" or form is None:
            return form
        if response_method != "predict_proba":
            return None
        n_classes = len(self.classes_)
        return form.followed_by(logits_to_probabilities, n_classes)

    def _decision_form(self) -> SumForm | None:
        """The form of the decision values."""
        return None

    def predict_proba(self: Any, X: ArrayLike) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows sum to one; columns are in the order of ``classes_``.
        """
        check_is_fitted(self)
        rows = self._input_rows(X, reset=False)
        return output_like(torch.softmax(self._logits(rows), 1).to(rows.dtype), X)

    def predict_log_proba(self: Any, X: ArrayLike) -> np.ndarray:
        """Logarithm of the probability of each class, without loss for probabilities near zero.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns are in the order of ``classes_``.
        """
        check_is_fitted(self)
        rows = self._input_rows(X, reset=False)
        log_probability = torch.log_softmax(self._logits(rows), 1).to(rows.dtype)
        # In single precision a probability may round to one; its logarithm should then be zero.
        rounds_to_one = log_probability.exp() == 1
        return output_like(log_probability.masked_fill(rounds_to_one, 0.0), X)

    def _logits(self: Any, rows: Rows) -> Tensor:
        with threads_for(self._work(rows, fitting=False)):
            scores = self._decide_rows(rows)
        if scores.ndim == 1:
            return torch.stack([torch.zeros_like(scores), scores], dim=1)
        return scores


class ThetaTransformer(TransformerMixin, ThetaEstimator):
    """Template of a transformer: subclasses give ``_fit_rows``, ``_transform_rows``, names."""

    @abstractmethod
    def _fit_rows(self, X: Tensor, weight: Tensor | None) -> None:
        """Learn what the transformation needs from X (n, d)."""

    @abstractmethod
    def _transform_rows(self, X: Tensor) -> Tensor | sp.csr_array:
        """Transformed rows (n, K)."""

    @abstractmethod
    def _output_names(self, input_names: list[str]) -> list[str]:
        """Names of the transformed columns."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn the transformation.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : ignored
            Here for compatibility with pipelines.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows; an integer weight equals repeating the row.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        with self._all_or_nothing():
            rows = self._input_rows(X, reset=True, min_rows=self._min_rows)
            weight = self._weight_tensor(sample_weight, rows)
            if weight is not None:
                rows, weight = rows[weight > 0], weight[weight > 0]
            with (
                self._monitored(X, y, sample_weight),
                threads_for(self._work(rows, fitting=True)),
            ):
                self._fit_rows(rows, weight)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Evaluate the basis functions.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_output_features)
            Values of the basis functions.
        """
        check_is_fitted(self)
        rows = self._input_rows(X, reset=False)
        with threads_for(self._work(rows, fitting=False)):
            values = self._transform_rows(rows)
        if isinstance(values, torch.Tensor):
            return output_like(values.to(rows.dtype), X)
        return values

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the basis functions.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the inputs; by default those seen in ``fit``, or x0, x1, ...

        Returns
        -------
        ndarray of str
            One name for each output column.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return np.asarray(self._output_names([str(name) for name in names]), dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Tags; single precision is kept."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def logits_to_probabilities(scores: Tensor) -> Tensor:
    """Probabilities (n, n_classes) from log-odds (n, 1) or logits (n, n_classes)."""
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    return torch.softmax(scores, 1)


def is_soft(y: Any) -> bool:
    """Whether labels are probabilities rather than classes."""
    array = np.asarray(as_array(y))
    if array.dtype.kind != "f" or array.size == 0 or not np.isfinite(array).all():
        return False
    if array.ndim == 2 and array.shape[1] >= 2:
        return True
    fractional = type_of_target(array).startswith("continuous")
    return bool(fractional and array.min() >= 0 and array.max() <= 1)


def _soft_labels(y: Any) -> tuple[np.ndarray, np.ndarray]:
    array = np.asarray(as_array(y), dtype=np.float64)
    if array.ndim == 1 or array.shape[1] == 1:
        array = np.column_stack([1 - array.ravel(), array.ravel()])
    sums = array.sum(1)
    if array.min() < 0 or np.abs(sums - 1).max() > 1e-6:
        raise ValueError(
            "y of shape (n_samples, n_classes) must hold the probability of each class, "
            f"nonnegative and summing to one; row {int(np.abs(sums - 1).argmax())} sums to "
            f"{sums[np.abs(sums - 1).argmax()]:.6g}"
        )
    return np.arange(array.shape[1]), array


def _checked_targets(y: Any) -> np.ndarray:
    array = check_array(y, ensure_2d=False, dtype=[np.float64, np.float32], input_name="y")
    if array.ndim not in (1, 2):
        raise ValueError(f"y of shape {array.shape} must have one or two dimensions")
    return array
