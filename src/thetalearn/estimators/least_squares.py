"""What all least-squares regressors share: fit, exact updates, merging, derivatives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._sklearn_compat import Interval, fit_context
from ..base import ThetaRegressor
from ..exceptions import RankWarning, warn_user
from ..fusion import ReplicaFit, Source
from ..monitor import FitMonitor
from ..representations.bases import Affine, Basis, LocalBasis, TensorBSpline
from ..representations.bases.basis import Order, multi_order, same_value
from ..representations.forms import Form, basis_form
from ..rows import n_numbers, row_blocks
from ..solvers.least_squares import (
    BandedFactor,
    DenseFactor,
    Penalty,
    Solution,
)
from ..solvers.shared_least_squares import RowBlock, factor_from_products
from ..threads import one_thread, threads_for
from .blockwise import absorb_blocks, is_dask, predict_blocks

__all__ = ["LeastSquaresRegressor"]

#: Parameters that may change between updates: they concern the solution, not the factor.
FREE = {"alpha", "l1_ratio", "penalty_order", "tol", "max_iter", "extrapolation", "device"}

#: Columns, and rows for each of them, from which sums of products are worth a trial.
MANY_TERMS, ROWS_PER_TERM = 32, 8

ALPHA = {"alpha": [Interval(Real, 0, None, closed="left")]}


class LeastSquaresRegressor(ThetaRegressor):
    """A regressor that is linear in its coefficients: f(x) = sum_k coef_k phi_k(x).

    Subclasses give the basis; ``alpha`` is the weight of the penalty.
    """

    alpha: float
    basis_: Any
    _factor: Any

    @abstractmethod
    def _make_basis(self, X: Tensor, weight: Tensor | None) -> Basis:
        """The basis for inputs such as X (n, d)."""

    def _grow_basis(self, X: Tensor) -> None:
        """Make room in ``basis_`` for further rows, where that can be done exactly."""

    def _check_extrapolation(self, X: Tensor) -> None:
        """Refuse rows outside the domain, where that is the policy."""

    def _adopt_basis(self, other: Self) -> Self:
        """The other estimator with its rows expressed in a basis equal to this one's."""
        if self.basis_ != other.basis_:
            raise ValueError(
                f"cannot merge: the two {type(self).__name__} have different bases. What a basis "
                "learns from the data (domain, knots, scale, random features) must be given as a "
                "parameter, alike for both"
            )
        return other

    def _penalty(self) -> Penalty:
        """The penalty of the coefficients: ridge."""
        return Penalty(float(self.alpha))

    def _has_constant(self) -> bool:
        """Whether function 0 is the constant 1."""
        return not isinstance(self.basis_, TensorBSpline)

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model; a Dask array or DataFrame block by block, equal to a fit in memory.

        Of Dask collections each block is reduced to its triangular factor where it lies; only
        factors travel, and are merged in a tree. The blocks are read once, or twice if the basis
        takes the range or the variance of all rows from the data. Quantiles it cannot take: with
        ``placement="quantile"`` give the knots or shifts themselves.

        Parameters
        ----------
        X : array-like, torch.Tensor, dask Array or DataFrame of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like, torch.Tensor or Dask collection of shape (n_samples,) or \
                (n_samples, n_targets)
            Targets, finite; beside a Dask X in the order of its rows.
        sample_weight : array-like or Dask collection of shape (n_samples,), default=None
            Nonnegative weights of the rows; an integer weight equals repeating the row.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an input is empty, not finite, or of the wrong shape; if blocks of X and y whose
            lengths are not known do not match; if the basis needs quantiles of a Dask X.
        """
        if is_dask(X):
            return self._fit_blocks(X, y, sample_weight)
        return super().fit(X, y, sample_weight)

    @fit_context(prefer_skip_nested_validation=True)
    def _fit_blocks(self, X: Any, y: Any, sample_weight: Any) -> Self:
        with self._all_or_nothing():
            absorb_blocks(self, X, y, sample_weight)
            with self._monitored(X, y, sample_weight, self._max_iterations()) as monitor:
                self._solve(monitor)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : array-like, torch.Tensor, dask Array or DataFrame of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions; for a tensor, a tensor on the same device; for a Dask collection, a Dask
            array that is computed block by block when asked for.
        """
        if is_dask(X):
            check_is_fitted(self)
            return predict_blocks(self, X)
        return super().predict(X)

    def _fit_rows(self, X: Tensor, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        self._start(X, weight, streaming=False)
        if not self._absorb_products(X, y, weight):
            self._absorb(X, y, weight)
        self._solve(monitor)

    def _new_factor(self) -> BandedFactor | DenseFactor:
        if isinstance(self.basis_, TensorBSpline):
            width = int(self.basis_.offsets[-1]) + 1
            return BandedFactor(self.basis_.n_terms, self._n_targets, width)
        return DenseFactor(self.basis_.n_terms, self._n_targets)

    def _absorb_products(self, X: Tensor, y: Tensor, weight: Tensor | None) -> bool:
        """Make the factor from sums of products, if there are many rows and it is safe."""
        n_terms = self.basis_.n_terms
        if not isinstance(self._factor, DenseFactor) or not (
            n_terms >= MANY_TERMS and len(X) >= ROWS_PER_TERM * n_terms
        ):
            return False
        constant = self._has_constant()

        def blocks() -> Iterator[RowBlock]:
            for block in row_blocks(len(X), 8 * n_terms, 4 * n_terms):
                rows, own = X[block].to(torch.float64), None if weight is None else weight[block]
                if not isinstance(self.basis_, Affine):
                    rows = dense_design(self.basis_, rows)[:, int(constant) :]
                yield rows, y[block], own

        with one_thread():  # blocks that fit the cache are too small to share
            factor = factor_from_products(blocks(), constant)
        if factor is None:
            return False
        self._factor = factor
        self.n_samples_seen_ = len(X)
        return True

    def _absorb(self, X: Tensor, y: Tensor, weight: Tensor | None) -> None:
        """Update the factor with rows."""
        if isinstance(self._factor, BandedFactor):
            packed = self.basis_.compress(X, y, weight)
            total = float(len(X) if weight is None else weight.sum())
            self._factor.update(packed.starts, packed.offsets, packed.rows, packed.targets, total)
        else:
            # Each block factors the triangle anew, which a block no taller would not repay.
            for block in row_blocks(len(X), 8 * self.basis_.n_terms, 2 * self.basis_.n_terms):
                design = dense_design(self.basis_, X[block].to(torch.float64))
                try:
                    self._factor.update(design, y[block], None if weight is None else weight[block])
                except OverflowError as error:
                    raise ValueError(
                        f"{type(self).__name__}: {error}: scale the columns, or lower the degree"
                    ) from None
        self.n_samples_seen_ += len(X)

    def _solve(self, monitor: FitMonitor) -> None:
        """Set the coefficients from the factor."""
        with threads_for(self.basis_.n_terms**2):
            solution = self._factor.solve(self._penalty(), self._has_constant())
        self.rank_ = solution.rank
        if solution.rank < self.basis_.n_terms:
            warn_user(
                f"{type(self).__name__} has {self.basis_.n_terms} coefficients, of which the "
                f"{self.n_samples_seen_} rows determine {solution.rank}: returning the solution "
                "of least norm. Use fewer terms, more rows, or alpha > 0",
                RankWarning,
            )
        self._set_coef(solution.coef)
        self._note_iterations(solution, monitor)

    def _note_iterations(self, solution: Solution, monitor: FitMonitor) -> None:
        """Hook of estimators whose solver may iterate."""

    def _set_coef(self, coef: np.ndarray) -> None:
        """Set the public coefficients from the matrix (K, m)."""
        self.coef_ = self._coef_like_y(coef)

    def _coefficients(self) -> np.ndarray:
        """The matrix (K, m) from the public coefficients."""
        return self._coef_matrix(self.coef_)

    def _predict_rows(self, X: Tensor) -> Tensor:
        return self._combine(X, None)

    def _combine(self, X: Tensor, order: Order | None) -> Tensor:
        """The fitted function, or its derivative, at X; shape (n, m)."""
        self._check_extrapolation(X)
        coef = torch.from_numpy(self._coefficients()).to(X.device)
        out = coef.new_empty(len(X), coef.shape[1])
        local = isinstance(self.basis_, LocalBasis)
        row_bytes = 8 * (64 if local else self.basis_.n_terms)
        for block in row_blocks(len(X), row_bytes):
            part = X[block].to(torch.float64)
            if local:
                rows = self.basis_.local(part, 0 if order is None else order)
            elif order is None:
                rows = self.basis_(part)
            else:
                rows = self.basis_.derivative(part, order)
            out[block] = rows @ coef
        return out

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Update the fit with further rows, exactly.

        The result equals one ``fit`` on all rows seen. What a basis learns from the data other
        than the domain of polynomials (knots, shifts, the scale of random features) is learnt
        from the first call: give it as a parameter for equality.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite.
        y : array-like or torch.Tensor of shape (n_samples,) or (n_samples, n_targets)
            Targets, finite.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights of the rows.

        Returns
        -------
        self : object
            The updated estimator.
        """
        first = not hasattr(self, "_factor")
        with self._all_or_nothing():
            rows, targets, weight = self._training_rows(X, y, sample_weight, reset=first)
            with threads_for(n_numbers(rows)):
                self._update(rows, targets, weight, first)
        return self

    def _update(self, rows: Tensor, y: Tensor, weight: Tensor | None, first: bool) -> None:
        if first:
            self._start(rows, weight, streaming=True)
        else:
            self._check_structure()
            self._factor = copy(self._factor)
            self._grow_basis(rows)
        self._absorb(rows, y, weight)
        self._solve(FitMonitor())

    def _start(self, X: Tensor, weight: Tensor | None, *, streaming: bool) -> None:
        """Begin with no rows, on a basis that suits those to come first."""
        self._streaming = streaming
        self._start_on(self._make_basis(X, weight))

    def _start_on(self, basis: Basis) -> None:
        """Begin with no rows, on a basis."""
        self._started_with = self._structure()
        self.basis_ = basis
        self._factor = self._new_factor()
        self.n_samples_seen_ = 0

    def _structure(self) -> dict[str, Any]:
        """The parameters that decide what the factor holds."""
        return {k: v for k, v in self.get_params(deep=False).items() if k not in FREE}

    def _check_structure(self) -> None:
        for name, value in self._structure().items():
            if not same_value(value, self._started_with[name]):
                raise ValueError(
                    f"{name} changed from {self._started_with[name]!r} to {value!r} since the "
                    f"first rows were seen: partial_fit cannot follow, call fit"
                )

    def merge(self, other: Self) -> Self:
        """Take in the rows that another fitted estimator has seen, exactly.

        ``a.merge(b)`` equals fitting the rows of both; merging is associative. A distributed fit
        fits each part where it lies and merges the results.

        Parameters
        ----------
        other : estimator of the same class
            Fitted with the same parameters, features and number of targets; left unchanged.

        Returns
        -------
        self : object
            The updated estimator.

        Raises
        ------
        ValueError
            If the two differ in class, features, targets or basis.
        """
        check_is_fitted(self)
        if type(other) is not type(self):
            raise ValueError(f"cannot merge a {type(other).__name__} into a {type(self).__name__}")
        check_is_fitted(other)
        with self._all_or_nothing():
            self._take_in(other)
            self._solve(FitMonitor())
        return self

    def _take_in(self, other: Self) -> None:
        """Merge the factors, and leave the coefficients as they are."""
        for attribute, what in (("n_features_in_", "features"), ("_n_targets", "targets")):
            mine, theirs = getattr(self, attribute), getattr(other, attribute)
            if mine != theirs:
                raise ValueError(f"cannot merge: fitted with {mine} and {theirs} {what}")
        if self._input_names() != other._input_names():
            raise ValueError(
                f"cannot merge: fitted with columns {self._input_names()} and "
                f"{other._input_names()}"
            )
        self._factor = copy(self._factor)
        other = self._adopt_basis(other)
        self._factor.merge(other._factor)
        self.n_samples_seen_ += other.n_samples_seen_

    def derivative(self, X: ArrayLike, order: int | Sequence[int] = 1) -> np.ndarray:
        """Partial derivative of the fitted function.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.
        order : int or sequence of int of length n_features, default=1
            Order of differentiation in each input; an int serves a single input.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Derivatives.
        """
        check_is_fitted(self)
        rows = self._input_rows(X, reset=False)
        orders = multi_order(order, self.n_features_in_)
        with threads_for(n_numbers(rows)):
            return self._target_like(self._combine(rows, orders), X, rows)

    def gradient(self, X: ArrayLike) -> np.ndarray:
        """All first partial derivatives of the fitted function.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, n_targets, n_features)
            Gradients.
        """
        check_is_fitted(self)
        units = np.eye(self.n_features_in_, dtype=int).tolist()
        parts = [self.derivative(X, unit) for unit in units]
        return torch.stack(parts, -1) if torch.is_tensor(parts[0]) else np.stack(parts, -1)

    def functional_form(self, response_method: str = "predict") -> Form | None:
        """How the fitted function is built from functions of single columns.

        Parameters
        ----------
        response_method : {"predict"}, default="predict"
            Which of the estimator's methods is meant.

        Returns
        -------
        SumForm or ProductForm or None
            A function of rows (n, n_features); None for a basis of which nothing is known.
        """
        check_is_fitted(self)
        if response_method != "predict":
            return None
        return basis_form(self.basis_, self._on_device(self._coefficients()))

    def replica_parameters(self) -> frozenset[str]:
        """Names of the parameters in which fits made together may differ.

        Returns
        -------
        frozenset of str
            Penalties, what their solver needs, and what happens outside the domain.

        Raises
        ------
        NotFusable
            If every fit would draw other random features, or callbacks follow each fit.
        """
        from .fused.least_squares import fits as fused

        return fused.replica_parameters(self)

    @classmethod
    def fit_replicas(
        cls, fits: Sequence[ReplicaFit], sources: Sequence[Source], *, memory_budget: int
    ) -> Iterator[list[ReplicaFit]]:
        """Fit many estimators, from work that they share.

        Parameters
        ----------
        fits : sequence of ReplicaFit
            Estimators that differ in `replica_parameters` and rows alone, fitted in place.
        sources : sequence of Source
            Where their rows come from.
        memory_budget : int
            Bytes to hold at a time, beside the sources and what was yielded.

        Yields
        ------
        list of ReplicaFit
            Those of one set of rows.
        """
        from .fused.least_squares import fits as fused

        return fused.fit_replicas(fits, sources, memory_budget)

    @classmethod
    def predict_replicas(
        cls, estimators: Sequence[Any], X: ArrayLike, method: str = "predict"
    ) -> list[Any] | None:
        """Predictions of many fitted estimators for the same rows, from one design matrix.

        Parameters
        ----------
        estimators : sequence of estimators of this class
            Fitted.
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.
        method : str, default="predict"
            The method that is stood in for.

        Returns
        -------
        list or None
            What the method of each returns; None where that takes a call of each.
        """
        from .fused.least_squares import fits as fused

        return fused.predict_replicas(estimators, X, method)

    @property
    def condition_number_(self) -> float:
        """Condition number (2-norm) of the weighted design matrix, without any penalty.

        Below full rank it is infinite, or what rounding leaves of that: 1e16 and more.
        """
        check_is_fitted(self)
        return self._factor.condition_number()

    @property
    def term_names_(self) -> list[str]:
        """Name of each basis function, in the order of the coefficients."""
        check_is_fitted(self)
        return self.basis_.term_names(self._input_names())


def dense_design(basis: Basis, X: Tensor) -> Tensor:
    """The design matrix of a block of rows."""
    return basis.local(X).to_dense() if isinstance(basis, LocalBasis) else basis(X)
