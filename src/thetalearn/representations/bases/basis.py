"""What a basis is: the abstract classes that every family of basis functions fills in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ...exceptions import DomainError

Extrapolation = Literal["error", "clip", "linear"]
Order = int | Sequence[int]

#: How far outside a domain, relative to its width, a value still counts as inside: rounding in a
#: user's own scaling should not raise.
DOMAIN_SLACK = 1e-10


class Basis(ABC):
    """K functions of d inputs.

    A basis is an immutable description that holds no data: calling it evaluates all K functions
    at n points.
    """

    n_inputs: int
    n_terms: int

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the basis: points of shape (n, d) to values of shape (n, K)."""

    @abstractmethod
    def derivative(self, x: Tensor, order: Order = 1) -> Tensor:
        """Partial derivative of every function, shape (n, K).

        ``order`` holds the order of differentiation in each input; an int serves one input.
        """

    @abstractmethod
    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """A name for each of the K functions."""

    def __eq__(self, other: object) -> bool:
        """Whether the other basis consists of the same functions."""
        if type(self) is not type(other):
            return False
        mine, theirs = vars(self), vars(other)
        # Cached values follow from the rest and may be there on one side only.
        return all(same_value(mine[name], theirs[name]) for name in mine.keys() & theirs.keys())

    __hash__ = None  # type: ignore[assignment]


class LocalBasis(Basis):
    """A basis of compact support: at any point only ``width`` of the K functions are nonzero."""

    @abstractmethod
    def local(self, x: Tensor, order: Order = 0) -> LocalRows:
        """The functions that are nonzero at each point, and their values."""

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the basis as a sparse tensor of shape (n, K)."""
        return self.local(x).to_sparse()

    def derivative(self, x: Tensor, order: Order = 1) -> Tensor:
        """Partial derivative of every function as a sparse tensor of shape (n, K)."""
        return self.local(x, order).to_sparse()


@dataclass(frozen=True)
class LocalRows:
    """Rows of a design matrix of which ``width`` entries each can be nonzero.

    ``columns`` and ``values`` have shape (n, width).
    """

    columns: Tensor
    values: Tensor
    n_terms: int

    def __matmul__(self, coef: Tensor) -> Tensor:
        """Product with coefficients of shape (K, m), shape (n, m)."""
        product = self.values[:, :1] * coef[self.columns[:, 0]]
        for j in range(1, self.columns.shape[1]):
            product.addcmul_(self.values[:, j : j + 1], coef[self.columns[:, j]])
        return product

    def to_sparse(self) -> Tensor:
        """The rows as a torch sparse COO tensor of shape (n, K)."""
        n, width = self.columns.shape
        rows = torch.arange(n, device=self.columns.device).repeat_interleave(width)
        indices = torch.stack([rows, self.columns.reshape(-1)])
        return torch.sparse_coo_tensor(
            indices, self.values.reshape(-1), (n, self.n_terms), check_invariants=False
        )

    def to_scipy(self) -> sp.csr_array:
        """The rows as a SciPy CSR array of shape (n, K)."""
        n, width = self.columns.shape
        indptr = np.arange(0, n * width + 1, width)
        indices = self.columns.reshape(-1).cpu().numpy()
        data = self.values.reshape(-1).cpu().numpy()
        return sp.csr_array((data, indices, indptr), shape=(n, self.n_terms))

    def to_dense(self) -> Tensor:
        """The rows as a dense tensor of shape (n, K); meant for blocks of rows."""
        dense = self.values.new_zeros(len(self.columns), self.n_terms)
        return dense.scatter_add_(1, self.columns, self.values)


class UnivariateBasis(Basis):
    """K functions of one input, with the derivative of any order and the antiderivative.

    Subclasses give ``_terms``; this class turns it into the public methods.
    """

    n_inputs = 1

    @abstractmethod
    def _terms(self, x: Tensor, order: int) -> Tensor:
        """Derivatives of the given order (-1: antiderivative) at x of shape (n,), shape (K, n).

        Term-major storage makes a three-term recurrence run along contiguous memory, and its
        transpose is the column-major matrix that LAPACK wants.
        """

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the basis: points of shape (n, 1) to values of shape (n, K)."""
        return self._terms(_single_column(x), 0).T

    def derivative(self, x: Tensor, order: Order = 1) -> Tensor:
        """Derivative of the given order of every function, shape (n, K)."""
        return self._terms(_single_column(x), single_order(order)).T

    def integral(self, x: Tensor) -> Tensor:
        """Integral of every function from the basis's reference point to x, shape (n, K)."""
        return self._terms(_single_column(x), -1).T


@dataclass(frozen=True)
class Interval:
    """A closed interval that is the domain of a univariate basis, and what happens outside it."""

    low: float
    high: float
    extrapolation: Extrapolation = "linear"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise DomainError(
                f"domain=({self.low}, {self.high}) is not an interval: give two finite numbers, "
                "the lower first"
            )

    @property
    def width(self) -> float:
        """Length of the interval."""
        return self.high - self.low

    def clamp(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest points of the interval, and the indices of the points outside it.

        Raises
        ------
        DomainError
            If a point lies outside and the policy is "error".
        """
        inside = x.clamp(self.low, self.high)
        outside = torch.nonzero(inside != x)[:, 0]
        if self.extrapolation == "error" and len(outside):
            excess = (x[outside] - inside[outside]).abs()
            worst = outside[excess.argmax()]
            if excess.max() > DOMAIN_SLACK * self.width:
                raise DomainError(
                    f"x={x[worst].item():.6g} lies outside the domain "
                    f"[{self.low:.6g}, {self.high:.6g}]: give a wider domain, or choose "
                    'extrapolation="clip" or "linear"'
                )
            # What is left is rounding: such a point is the end, also for derivatives.
            return inside, outside[:0]
        return inside, outside

    def continued(
        self, x: Tensor, order: int, inside_terms: Callable[[Tensor, int], Tensor]
    ) -> Tensor:
        """Functions known on the interval, continued by the policy to all of x.

        ``inside_terms(x, order)`` gives the derivative of that order (-1: antiderivative) of
        every function at points of the interval, one function a row.
        """
        inside, outside = self.clamp(x)
        terms = inside_terms(inside, order)
        if len(outside) == 0:
            return terms
        edge = inside[outside]
        step = x[outside] - edge
        linear = self.extrapolation == "linear"
        if order == -1:
            change = inside_terms(edge, 0) * step
            if linear:
                change = change + inside_terms(edge, 1) * step.square() / 2
        elif order == 0:
            change = inside_terms(edge, 1) * step if linear else torch.zeros_like(step)
        elif order == 1 and linear:
            change = torch.zeros_like(step)
        else:
            change = -terms[:, outside]
        return terms.index_add(1, outside, change.expand(len(terms), len(outside)))


class BoundedBasis(UnivariateBasis):
    """A univariate basis on an interval, continued outside it by the interval's policy.

    Subclasses give ``_inside``, which is only asked about points of the interval.
    """

    interval: Interval

    @abstractmethod
    def _inside(self, x: Tensor, order: int) -> Tensor:
        """What `_terms` asks for, at points of the interval."""

    def _terms(self, x: Tensor, order: int) -> Tensor:
        return self.interval.continued(x, order, self._inside)


def single_order(order: Order) -> int:
    """The order of differentiation in the only input."""
    orders = [order] if isinstance(order, int | np.integer) else list(order)
    if len(orders) != 1 or orders[0] < 0:
        raise ValueError(f"order={order!r} must be one non-negative int for a basis of one input")
    return int(orders[0])


def multi_order(order: Order, n_inputs: int) -> tuple[int, ...]:
    """The orders of differentiation, one for each input."""
    orders: tuple[Any, ...] = tuple(order) if isinstance(order, Iterable) else (order,)
    if len(orders) != n_inputs or any(int(k) != k or k < 0 for k in orders):
        raise ValueError(
            f"order={order!r} must hold a non-negative int for each of the {n_inputs} inputs"
        )
    return tuple(int(k) for k in orders)


def _single_column(x: Tensor) -> Tensor:
    if x.ndim != 2 or x.shape[1] != 1:
        raise ValueError(
            f"x of shape {tuple(x.shape)} must have shape (n, 1) for a basis of one input"
        )
    return x[:, 0]


def same_value(a: object, b: object) -> bool:
    """Equality of anything that a basis or a parameter may hold."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    return bool(np.array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object)))
