"""The bases as transformers, for pipelines with any estimator."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..base import DEVICE, ThetaTransformer
from ..representations.bases import Basis, LocalBasis
from ..rows import row_blocks
from .basis import Domain
from .families import (
    BSplineFamily,
    ChebyshevFamily,
    PolynomialFamily,
    RandomFamily,
    ReLUFamily,
)
from .least_squares import dense_design

__all__ = [
    "BSplineFeatures",
    "ChebyshevFeatures",
    "PolynomialFeatures",
    "RandomFeatures",
    "ReLUFeatures",
]

BIAS = {"include_bias": ["boolean"]}


class BasisFeatures(ThetaTransformer):
    """A transformer to the functions of a basis; subclasses give the basis."""

    @abstractmethod
    def _make_basis(self, X: Tensor, weight: Tensor | None) -> Basis:
        """The basis for inputs such as X (n, d)."""

    def _check_extrapolation(self, X: Tensor) -> None:
        """Refuse rows outside the domain, where that is the policy."""

    def _fit_rows(self, X: Tensor, weight: Tensor | None) -> None:
        self.basis_ = self._make_basis(X, weight)

    @property
    def _first(self) -> int:
        """The first function to return: function 0 is the constant, or makes one with the rest."""
        return 0 if self.include_bias else 1

    def _transform_rows(self, X: Tensor) -> Tensor | sp.csr_array:
        self._check_extrapolation(X)
        out = X.new_empty(len(X), self.basis_.n_terms - self._first)
        for block in row_blocks(len(X), 8 * self.basis_.n_terms):
            values = dense_design(self.basis_, X[block].to(torch.float64))
            out[block] = values[:, self._first :].to(out.dtype)
        return out

    def _output_names(self, input_names: list[str]) -> list[str]:
        return self.basis_.term_names(input_names)[self._first :]


class PolynomialFeatures(PolynomialFamily, BasisFeatures):
    """Monomials of the inputs.

    Parameters
    ----------
    degree : int, default=3
        Largest degree.
    product : {"complete", "tensor", "hyperbolic", "smolyak", "additive"}, default="complete"
        Which products of several inputs, as in `PolynomialRegressor`.
    include_bias : bool, default=False
        Whether to include the constant 1.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    basis_ : Basis
        The basis functions.

    Examples
    --------
    >>> from thetalearn import PolynomialFeatures
    >>> features = PolynomialFeatures(degree=2).fit([[1.0, 2.0]])
    >>> features.get_feature_names_out()
    array(['x1', 'x0', 'x1^2', 'x0 x1', 'x0^2'], dtype=object)
    >>> features.transform([[2.0, 3.0]])
    array([[3., 2., 9., 6., 4.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **PolynomialFamily._family_constraints,
        **BIAS,
        **DEVICE,
    }

    def __init__(
        self,
        degree: int = 3,
        *,
        product: str = "complete",
        include_bias: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.degree = degree
        self.product = product
        self.include_bias = include_bias
        self.device = device


class ChebyshevFeatures(ChebyshevFamily, BasisFeatures):
    """Chebyshev polynomials of the inputs.

    Parameters
    ----------
    degree : int, default=3
        Largest degree.
    product : {"complete", "tensor", "hyperbolic", "smolyak", "additive"}, default="complete"
        Which products of several inputs, as in `ChebyshevRegressor`.
    domain : (float, float) or sequence of such pairs, default=None
        Domain of all inputs or of each; None takes the range of the data.
    extrapolation : {"error", "clip", "linear"}, default="linear"
        What the functions are outside the domain.
    include_bias : bool, default=False
        Whether to include the constant 1.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    basis_ : Basis
        The basis functions.

    Examples
    --------
    >>> from thetalearn import ChebyshevFeatures
    >>> ChebyshevFeatures(degree=2).fit_transform([[0.0], [0.5], [2.0]])
    array([[-1. ,  1. ],
           [-0.5, -0.5],
           [ 1. ,  1. ]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ChebyshevFamily._family_constraints,
        **BIAS,
        **DEVICE,
    }

    def __init__(
        self,
        degree: int = 3,
        *,
        product: str = "complete",
        domain: Domain = None,
        extrapolation: str = "linear",
        include_bias: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.degree = degree
        self.product = product
        self.domain = domain
        self.extrapolation = extrapolation
        self.include_bias = include_bias
        self.device = device


class BSplineFeatures(BSplineFamily, BasisFeatures):
    """B-splines of the inputs.

    Parameters
    ----------
    knots : int or array-like, default=8
        Number of interior knots of each input, or the knots themselves, as in `BSplineRegressor`.
    degree : int, default=3
        Degree of the pieces.
    placement : {"uniform", "quantile"}, default="uniform"
        Where to put a given number of knots.
    kinks : array-like, default=None
        Points at which the slope may jump.
    product : {"additive", "tensor"}, default="additive"
        Univariate splines side by side, or all products.
    domain : (float, float) or sequence of such pairs, default=None
        Domain of all inputs or of each; None takes the range of the data.
    extrapolation : {"error", "clip", "linear"}, default="linear"
        What the functions are outside the domain.
    include_bias : bool, default=False
        Whether to include what makes the constant 1: a column of ones, or for a single input or a
        tensor product the first spline, as all of them sum to one.
    sparse_output : bool, default=False
        Whether to return a SciPy CSR array, which takes degree + 1 numbers a row for each input.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    basis_ : Basis
        The basis functions.

    Examples
    --------
    >>> from thetalearn import BSplineFeatures
    >>> hats = BSplineFeatures(knots=1, degree=1, include_bias=True)
    >>> hats.fit_transform([[0.0], [0.25], [1.0]])
    array([[1. , 0. , 0. ],
           [0.5, 0.5, 0. ],
           [0. , 0. , 1. ]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BSplineFamily._family_constraints,
        **BIAS,
        "sparse_output": ["boolean"],
        **DEVICE,
    }

    def __init__(
        self,
        knots: int | ArrayLike = 8,
        degree: int = 3,
        *,
        placement: str = "uniform",
        kinks: ArrayLike | None = None,
        product: str = "additive",
        domain: Domain = None,
        extrapolation: str = "linear",
        include_bias: bool = False,
        sparse_output: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.knots = knots
        self.degree = degree
        self.placement = placement
        self.kinks = kinks
        self.product = product
        self.domain = domain
        self.extrapolation = extrapolation
        self.include_bias = include_bias
        self.sparse_output = sparse_output
        self.device = device

    def _transform_rows(self, X: Tensor) -> Tensor | sp.csr_array:
        if not self.sparse_output:
            return super()._transform_rows(X)
        self._check_extrapolation(X)
        assert isinstance(self.basis_, LocalBasis)
        rows = self.basis_.local(X.to(torch.float64)).to_scipy()[:, self._first :]
        return rows.astype(np.float32) if X.dtype == torch.float32 else rows

    def transform(self, X: ArrayLike) -> np.ndarray | sp.csr_array:
        """Evaluate the basis functions.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray or csr_array of shape (n_samples, n_output_features)
            Values of the basis functions; for a tensor, a tensor, sparse with ``sparse_output``.
        """
        values: Any = super().transform(X)
        if not (sp.issparse(values) and isinstance(X, torch.Tensor)):
            return values
        entries = values.tocoo()
        places = torch.from_numpy(np.stack(entries.coords).astype(np.int64))
        numbers = torch.from_numpy(entries.data)
        return torch.sparse_coo_tensor(places, numbers, entries.shape, device=X.device)


class ReLUFeatures(ReLUFamily, BasisFeatures):
    """Shifted ReLUs of the inputs.

    Parameters
    ----------
    shifts : int or array-like, default=10
        Number of shifts of each input, or the shifts themselves, as in `ReLURegressor`.
    placement : {"uniform", "quantile"}, default="uniform"
        Where to put a given number of shifts.
    product : {"additive", "tensor"}, default="additive"
        Univariate functions side by side, or all products.
    domain : (float, float) or sequence of such pairs, default=None
        Interval over which shifts are placed; None takes the range of the data.
    include_bias : bool, default=False
        Whether to include the constant 1.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    basis_ : Basis
        The basis functions.

    Examples
    --------
    >>> from thetalearn import ReLUFeatures
    >>> ReLUFeatures(shifts=[0.0, 1.0]).fit_transform([[-1.0], [0.5], [2.0]])
    array([[0. , 0. ],
           [0.5, 0. ],
           [2. , 1. ]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ReLUFamily._family_constraints,
        **BIAS,
        **DEVICE,
    }

    def __init__(
        self,
        shifts: int | ArrayLike = 10,
        *,
        placement: str = "uniform",
        product: str = "additive",
        domain: Domain = None,
        include_bias: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.shifts = shifts
        self.placement = placement
        self.product = product
        self.domain = domain
        self.include_bias = include_bias
        self.device = device


class RandomFeatures(RandomFamily, BasisFeatures):
    """Random Fourier or ReLU features of the inputs.

    Parameters
    ----------
    n_components : int, default=100
        Number of random features.
    kind : {"fourier", "relu"}, default="fourier"
        The outer function, as in `RandomFeatureRegressor`.
    gamma : float or "scale", default="scale"
        Half the variance of the inner weights; "scale" is 1 / (n_features * variance of X).
    include_bias : bool, default=False
        Whether to include the constant 1.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.
    random_state : int, RandomState instance or None, default=None
        Seed of the inner weights.

    Attributes
    ----------
    basis_ : Basis
        The random features.

    Examples
    --------
    >>> from thetalearn import RandomFeatures
    >>> RandomFeatures(n_components=50, random_state=0).fit_transform([[0.0], [1.0]]).shape
    (2, 50)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RandomFamily._family_constraints,
        **BIAS,
        **DEVICE,
    }

    def __init__(
        self,
        n_components: int = 100,
        *,
        kind: str = "fourier",
        gamma: float | str = "scale",
        include_bias: bool = False,
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.kind = kind
        self.gamma = gamma
        self.include_bias = include_bias
        self.device = device
        self.random_state = random_state
