"""How a fitted function is built from functions of single columns.

A sum or a sum of products of such functions can be averaged over some of its columns without
evaluating it at every combination of rows, which is what explanations need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .bases import (
    AdditiveBSpline,
    Affine,
    Basis,
    LocalBasis,
    ProductBasis,
    TensorBSpline,
    UnivariateBasis,
)
from .bases.random_features import RandomFeatureBasis

__all__ = [
    "ColumnSums",
    "Distances",
    "Form",
    "Functions",
    "Linear",
    "ProductForm",
    "SumForm",
    "basis_form",
]

Link = Callable[[Tensor], Tensor]
Column = Callable[[Tensor], Tensor]


class Form(ABC):
    """A function of d columns, with m outputs."""

    n_outputs: int

    @property
    @abstractmethod
    def n_columns(self) -> int:
        """Number of columns."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Precision in which it is evaluated."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it is evaluated."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate rows (n, d), shape (n, m)."""


class ColumnSums(ABC):
    """Vectors :math:`u_j(x_j)` of one column each, of width H, which are added."""

    width: int

    @property
    @abstractmethod
    def n_columns(self) -> int:
        """Number of columns."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Precision in which they are evaluated."""

    @abstractmethod
    def __call__(self, x: Tensor, columns: Sequence[int]) -> Tensor:
        """Sum over the given columns, for rows x (n, len(columns)) of them alone; shape (n, H)."""


@dataclass(frozen=True)
class SumForm(Form):
    r"""A function of a sum over columns, :math:`f(x) = h(z_0 + \sum_j u_j(x_j))`.

    Linear and additive models, also behind a link; networks, whose first layer is the sum; kernels
    of distances and of inner products.

    A form is pickled together with the explainers that hold it. For this its functions must be
    such as pickle knows: functions of modules, or objects with ``__call__``, not lambdas or
    functions defined inside others.

    Parameters
    ----------
    sums : ColumnSums
        The functions u.
    constant : Tensor of shape (H,)
        The constant z_0.
    n_outputs : int
        Number of outputs.
    head : callable, default=None
        The function h, from (n, H) to (n, n_outputs) row by row; None for the identity. It must
        not write into its argument, which may be used again.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.forms import Linear, SumForm
    >>> weights = torch.tensor([[2.0], [3.0]], dtype=torch.float64)
    >>> form = SumForm(Linear(weights), torch.zeros(1, dtype=torch.float64), 1, torch.exp)
    >>> form(torch.tensor([[1.0, -1.0]], dtype=torch.float64)).log()
    tensor([[-1.]], dtype=torch.float64)
    """

    sums: ColumnSums
    constant: Tensor
    n_outputs: int
    head: Link | None = None

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.sums.n_columns

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which it is evaluated."""
        return self.sums.dtype

    @property
    def device(self) -> torch.device:
        """Where it is evaluated."""
        return self.constant.device

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate rows (n, d), shape (n, m)."""
        z = self.sums(x.to(self.constant), range(self.n_columns)) + self.constant
        return z if self.head is None else self.head(z)

    def followed_by(self, link: Link, n_outputs: int | None = None) -> SumForm:
        """The same with its outputs put through a function."""
        head = link if self.head is None else _Chain(self.head, link)
        return replace(
            self, head=head, n_outputs=self.n_outputs if n_outputs is None else n_outputs
        )

    def times(self, matrix: Tensor) -> SumForm:
        """The same with its outputs multiplied by a matrix (n_outputs, k)."""
        sums, n_outputs = self.sums, matrix.shape[1]
        if self.head is None and isinstance(sums, Linear) and not sums.carried:
            return SumForm(Linear(sums.weights @ matrix), self.constant @ matrix, n_outputs)
        return self.followed_by(_Product(matrix), n_outputs)


@dataclass(frozen=True)
class ProductForm(Form):
    r"""A sum of products, :math:`f(x) = \sum_t c_t \prod_j \varphi_{j,k_{tj}}(x_j)`.

    Parameters
    ----------
    factors : sequence of callable
        For each column its functions :math:`\varphi_j`: from (n,) to (K_j, n), the first of them 1.
    indices : ndarray of shape (T, d)
        Which function of each column every term multiplies; 0 for a column that takes no part.
    coef : Tensor of shape (T, m)
        Coefficients c.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from thetalearn.representations.forms import ProductForm
    >>> def powers(x):
    ...     return torch.stack([torch.ones_like(x), x])
    >>> coef = torch.tensor([[2.0]], dtype=torch.float64)
    >>> form = ProductForm([powers, powers], np.array([[1, 1]]), coef)  # 2 x0 x1
    >>> form(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    tensor([[24.]], dtype=torch.float64)
    """

    factors: Sequence[Column]
    indices: np.ndarray
    coef: Tensor
    n_outputs: int = field(init=False)

    dtype = torch.float64

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_outputs", self.coef.shape[1])

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.factors)

    @property
    def device(self) -> torch.device:
        """Where it is evaluated."""
        return self.coef.device

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate rows (n, d), shape (n, m)."""
        return self.design(x, self.indices) @ self.coef

    def design(self, x: Tensor, indices: np.ndarray) -> Tensor:
        """Products of the functions that rows of ``indices`` (T, d) name, shape (n, T)."""
        x = x.to(self.coef)
        product = x.new_ones(len(indices), len(x))
        for j, factor in enumerate(self.factors):
            functions = indices[:, j]
            if (terms := np.flatnonzero(functions)).size:
                rows = factor(x[:, j])
                picked = rows[torch.from_numpy(functions[terms]).to(x.device)]
                if len(terms) == len(indices):
                    product *= picked
                else:
                    product[torch.from_numpy(terms).to(x.device)] *= picked
        return product.T


@dataclass(frozen=True)
class Linear(ColumnSums):
    """Columns times weights (d, H), as in the first layer of a network.

    With ``carried``, the columns themselves come after the H sums: a skip around the layer
    needs them.
    """

    weights: Tensor
    carried: bool = False
    width: int = field(init=False)

    def __post_init__(self) -> None:
        width = self.weights.shape[1] + self.carried * self.n_columns
        object.__setattr__(self, "width", width)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.weights.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.weights.dtype

    def __call__(self, x: Tensor, columns: Sequence[int]) -> Tensor:
        """Sum over the given columns."""
        every = len(columns) == self.n_columns and list(columns) == list(range(self.n_columns))
        sums = x @ (self.weights if every else self.weights[list(columns)])
        if not self.carried:
            return sums
        rest = x.new_zeros(len(x), self.n_columns)
        rest[:, list(columns)] = x
        return torch.cat([sums, rest], dim=1)


@dataclass(frozen=True)
class Functions(ColumnSums):
    """Univariate functions of each column: the additive models.

    Parameters
    ----------
    functions : sequence of callable
        For each column a function from (n,) to (n, H), in float64.
    width : int
        H.
    """

    functions: Sequence[Column]
    width: int

    dtype = torch.float64

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.functions)

    def __call__(self, x: Tensor, columns: Sequence[int]) -> Tensor:
        """Sum over the given columns."""
        total = x.new_zeros(len(x), self.width)
        for place, j in enumerate(columns):
            total += self.functions[j](x[:, place])
        return total


@dataclass(frozen=True)
class Distances(ColumnSums):
    """Powers of the distance to each of H points (H, d) along every column: 2 or 1."""

    points: Tensor
    power: int = 2
    width: int = field(init=False)

    dtype = torch.float64

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", len(self.points))

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.points.shape[1]

    def __call__(self, x: Tensor, columns: Sequence[int]) -> Tensor:
        """Sum over the given columns."""
        total = x.new_zeros(len(x), self.width)
        for place, j in enumerate(columns):
            gap = x[:, place, None] - self.points[:, j]
            total += gap.abs_() if self.power == 1 else gap.square_()
        return total


@dataclass(frozen=True)
class Scaled(ColumnSums):
    """Other sums times factors (H,)."""

    sums: ColumnSums
    factors: Tensor
    width: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", self.sums.width)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.sums.n_columns

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the sums."""
        return self.sums.dtype

    def __call__(self, x: Tensor, columns: Sequence[int]) -> Tensor:
        """Sum over the given columns."""
        return self.sums(x, columns) * self.factors.to(x.device)


def basis_form(basis: Basis, coef: Tensor) -> Form | None:
    """The form of ``basis(x) @ coef``, or None where it is not known.

    Parameters
    ----------
    basis : Basis
        The K functions.
    coef : Tensor of shape (K, m)
        Their coefficients, float64.

    Returns
    -------
    SumForm or ProductForm or None
        A sum, if no term takes more than one column.
    """
    m = coef.shape[1]
    nothing = coef.new_zeros(m)
    if isinstance(basis, Affine):
        constant, weights = (coef[0], coef[1:]) if basis.constant else (nothing, coef)
        return SumForm(Linear(weights), constant, m)
    if isinstance(basis, RandomFeatureBasis):
        weights = torch.from_numpy(basis.weights).to(coef)
        offsets = torch.from_numpy(basis.offsets).to(coef)
        return SumForm(Linear(weights), offsets, m, _Features(basis, coef))
    if isinstance(basis, ProductBasis):
        if (np.count_nonzero(basis.indices, axis=1) <= 1).all():
            return _additive(basis, coef)
        return ProductForm([_Terms(factor) for factor in basis.factors], basis.indices, coef)
    if isinstance(basis, AdditiveBSpline):
        return _additive_spline(basis, coef)
    if isinstance(basis, TensorBSpline):
        sizes = [factor.n_terms for factor in basis.factors]
        indices = 1 + np.indices(sizes).reshape(len(sizes), -1).T
        return ProductForm([_AfterOne(factor) for factor in basis.factors], indices, coef)
    return None


def _additive(basis: ProductBasis, coef: Tensor) -> SumForm:
    """A product basis in which every term has one column at most."""
    constant = coef[torch.from_numpy((basis.indices == 0).all(1))].sum(0)
    functions: list[Column] = []
    for j, factor in enumerate(basis.factors):
        terms = np.flatnonzero(basis.indices[:, j])
        picked = torch.from_numpy(basis.indices[terms, j])
        functions.append(_Combination(factor, picked, coef[torch.from_numpy(terms)]))
    return SumForm(Functions(functions, coef.shape[1]), constant, coef.shape[1])


def _additive_spline(basis: AdditiveBSpline, coef: Tensor) -> SumForm:
    functions: list[Column] = []
    start = 1  # after the constant, each spline without its first function
    for factor in basis.factors:
        stop = start + factor.n_terms - 1
        own = torch.cat([coef.new_zeros(1, coef.shape[1]), coef[start:stop]])
        functions.append(_Spline(factor, own))
        start = stop
    return SumForm(Functions(functions, coef.shape[1]), coef[0], coef.shape[1])


@dataclass(frozen=True, eq=False)
class _Chain:
    """One function after another."""

    first: Link
    second: Link

    def __call__(self, z: Tensor) -> Tensor:
        return self.second(self.first(z))


@dataclass(frozen=True, eq=False)
class _Product:
    """Times a matrix."""

    matrix: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return z @ self.matrix.to(z)


@dataclass(frozen=True, eq=False)
class _Features:
    """Random features of their arguments, times coefficients."""

    basis: RandomFeatureBasis
    coef: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return self.coef[0] + self.basis._activation(z, 0) @ self.coef[1:]


@dataclass(frozen=True, eq=False)
class _Terms:
    """All functions of a univariate basis."""

    factor: UnivariateBasis

    def __call__(self, x: Tensor) -> Tensor:
        return self.factor._terms(x, 0)


@dataclass(frozen=True, eq=False)
class _Combination:
    """Some functions of a univariate basis, times coefficients."""

    factor: UnivariateBasis
    functions: Tensor
    coef: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        picked = self.factor._terms(x, 0)[self.functions.to(x.device)]
        return picked.T @ self.coef.to(x.device)


@dataclass(frozen=True, eq=False)
class _Spline:
    """The functions of a spline, times coefficients."""

    factor: LocalBasis
    coef: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.factor.local(x[:, None]) @ self.coef.to(x.device)


@dataclass(frozen=True, eq=False)
class _AfterOne:
    """The functions of a spline after the constant 1."""

    factor: LocalBasis

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([x.new_ones(1, len(x)), self.factor.local(x[:, None]).to_dense().T])
