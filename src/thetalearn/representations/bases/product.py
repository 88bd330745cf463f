"""Functions of several inputs as products of functions of one, and the sets of products to keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import product

import numpy as np
import torch
from torch import Tensor

from .basis import Basis, Order, UnivariateBasis, multi_order
from .chebyshev import Chebyshev

__all__ = [
    "ProductBasis",
    "ProductJet",
    "additive_indices",
    "complete_indices",
    "hyperbolic_indices",
    "smolyak_indices",
    "tensor_indices",
]

#: More terms than this are refused: the triangular factor alone would need 3 GB.
MAX_TERMS = 20_000


class ProductBasis(Basis):
    r"""Products :math:`\prod_j \varphi_{j,k_j}(x_j)` over a set of multi-indices k.

    Index 0 stands for the constant 1, that is, for an input which does not take part.

    Parameters
    ----------
    factors : sequence of UnivariateBasis
        The functions of each input; function 0 is the constant 1.
    indices : ndarray of shape (K, d)
        The multi-indices, the zero index first. Setting any entry of one of them to zero must
        give another one, which all sets of this module fulfil.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.bases import Polynomial, ProductBasis, complete_indices
    >>> basis = ProductBasis([Polynomial(2), Polynomial(2)], complete_indices(2, 2))
    >>> basis.term_names(["a", "b"])
    ['1', 'b', 'a', 'b^2', 'a b', 'a^2']
    >>> basis(torch.tensor([[2.0, 3.0]], dtype=torch.float64))
    tensor([[1., 3., 2., 9., 6., 4.]], dtype=torch.float64)
    """

    def __init__(self, factors: Sequence[UnivariateBasis], indices: np.ndarray) -> None:
        self.factors = tuple(factors)
        self.indices = np.asarray(indices, dtype=np.int64)
        self.n_terms, self.n_inputs = self.indices.shape
        self._offsets = np.cumsum([0, *(f.n_terms for f in self.factors)])
        self._slots = self._plan()

    def _plan(self) -> tuple[Tensor, ...]:
        """Rows of the factors, counted through all inputs, whose product is each term.

        There are as many as the largest number of inputs in a term; fewer are filled with the 1
        that every factor starts with.
        """
        active = self.indices > 0
        n_slots = max(int(active.sum(1).max(initial=0)), 1)
        # Inputs that take part come first, in their order.
        inputs = np.argsort(~active, axis=1, kind="stable")[:, :n_slots]
        rows = self._offsets[inputs] + np.take_along_axis(self.indices, inputs, 1)
        return tuple(torch.from_numpy(np.ascontiguousarray(column)) for column in rows.T)

    @cached_property
    def _numbers(self) -> dict[tuple[int, ...], int]:
        """Place of each multi-index."""
        return {tuple(index): k for k, index in enumerate(self.indices.tolist())}

    @cached_property
    def _active(self) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
        """For each input the terms that it takes part in.

        Three indices for each of them: its place, that of the term without the input, and the
        input's own function.
        """
        return tuple(
            self._split(np.flatnonzero(self.indices[:, j]), j) for j in range(self.n_inputs)
        )

    @cached_property
    def _shared(self) -> tuple[tuple[tuple[Tensor, Tensor, Tensor], ...], ...]:
        """For each pair of inputs i < j the terms that both take part in, as ``_active[j]``.

        The term without input j is given by its place in ``_active[i]``.
        """
        rows = []
        for j in range(self.n_inputs):
            row = []
            for i in range(j):
                both = np.flatnonzero((self.indices[:, i] > 0) & (self.indices[:, j] > 0))
                terms, parents, functions = self._split(both, j)
                row.append((terms, torch.searchsorted(self._active[i][0], parents), functions))
            rows.append(tuple(row))
        return tuple(rows)

    def _split(self, terms: np.ndarray, j: int) -> tuple[Tensor, Tensor, Tensor]:
        """Terms, the terms that are left without input j, and the functions of input j in them."""
        others = self.indices[terms]
        functions = others[:, j].copy()
        others[:, j] = 0
        parents = [self._numbers[tuple(index)] for index in others.tolist()]
        return (
            torch.from_numpy(terms),
            torch.tensor(parents, dtype=torch.int64),
            torch.from_numpy(functions),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the basis: points of shape (n, d) to values of shape (n, K)."""
        return self._evaluate(x, (0,) * self.n_inputs)

    def derivative(self, x: Tensor, order: Order = 1) -> Tensor:
        """Partial derivative of every function, shape (n, K)."""
        return self._evaluate(x, multi_order(order, self.n_inputs))

    def _evaluate(self, x: Tensor, orders: tuple[int, ...]) -> Tensor:
        rows = torch.cat(
            [
                f._terms(x[:, j], k)
                for j, (f, k) in enumerate(zip(self.factors, orders, strict=True))
            ]
        )
        products = self._multiply(rows)
        differentiated = np.array(orders) > 0
        if differentiated.any():
            absent = (self.indices[:, differentiated] == 0).any(1)
            products[torch.from_numpy(absent).to(x.device)] = 0.0
        return products.T

    def _multiply(self, rows: Tensor) -> Tensor:
        """Products of rows of the factors, (K, n)."""
        products = rows.index_select(0, self._slots[0].to(rows.device))
        for slot in self._slots[1:]:
            products.mul_(rows.index_select(0, slot.to(rows.device)))
        return products

    def jet(self, x: Tensor) -> ProductJet:
        """Values, first and second partial derivatives at x of shape (n, d), each when asked for.

        What they share is computed once: far cheaper than a call of `derivative` for each.

        Examples
        --------
        >>> import torch
        >>> from thetalearn.representations.bases import Polynomial, ProductBasis, tensor_indices
        >>> basis = ProductBasis([Polynomial(1), Polynomial(1)], tensor_indices([2, 2]))
        >>> jet = basis.jet(torch.tensor([[2.0, 3.0]], dtype=torch.float64))
        >>> jet.values  # 1, b, a, a b
        tensor([[1., 3., 2., 6.]], dtype=torch.float64)
        >>> terms, rows = jet.first(0)
        >>> terms, rows.T  # a and a b, differentiated by a
        (tensor([2, 3]), tensor([[1., 3.]], dtype=torch.float64))
        """
        return ProductJet(self, x)

    def widened(
        self,
        low: np.ndarray,
        high: np.ndarray,
        points: Mapping[int, float] | None = None,
    ) -> tuple[ProductBasis, Tensor]:
        """The same products of Chebyshev polynomials on a larger domain.

        Returns the wider basis and the matrix C with ``wider(x) = self(x) @ C``. ``points`` holds
        the value of each input at which alone this must be so.
        """
        points = points or {}
        combine = torch.ones(self.n_terms, self.n_terms, dtype=torch.float64)
        wider: list[UnivariateBasis] = []
        for j, factor in enumerate(self.factors):
            if not isinstance(factor, Chebyshev):
                raise TypeError("only a product of Chebyshev polynomials has a domain to widen")
            widened, matrix = factor.widened(float(low[j]), float(high[j]), points.get(j))
            wider.append(widened)
            column = torch.from_numpy(self.indices[:, j])
            combine *= matrix[column[:, None], column[None, :]]
        return ProductBasis(wider, self.indices), combine

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """Names of the products, such as ``x0 x1^2``."""
        names = [f.term_names([name]) for f, name in zip(self.factors, input_names, strict=True)]
        return [
            " ".join(names[j][k] for j, k in enumerate(index) if k) or "1"
            for index in self.indices.tolist()
        ]


class ProductJet:
    """Values and derivatives of products at n points, computed when first asked for.

    A derivative in an input is zero but for the terms in which the input takes part, and these
    are the factor's derivative times a term without that input, which is known.

    Parameters
    ----------
    basis : ProductBasis
        The products.
    x : Tensor of shape (n, d)
        The points.
    """

    def __init__(self, basis: ProductBasis, x: Tensor) -> None:
        self.basis = basis
        self.x = x
        self._factors: dict[tuple[int, int], Tensor] = {}
        self._partials: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    @cached_property
    def values(self) -> Tensor:
        """Values of all terms, shape (n, K)."""
        factors = self.basis.factors
        return self.basis._multiply(
            torch.cat([f._terms(self.x[:, j], 0) for j, f in enumerate(factors)])
        ).T

    def first(self, j: int) -> tuple[Tensor, Tensor]:
        """Terms with a derivative in input j, and their derivatives, shape (terms, n)."""
        if (j,) not in self._partials:
            terms, parents, functions = self.basis._active[j]
            rows = self._product(self.values.T, parents, self._factor(j, 1), functions)
            self._partials[(j,)] = terms, rows
        return self._partials[(j,)]

    def second(self, i: int, j: int) -> tuple[Tensor, Tensor]:
        """Terms with a derivative in inputs i and j, and their derivatives, shape (terms, n)."""
        i, j = min(i, j), max(i, j)
        if (i, j) not in self._partials:
            if i == j:
                terms, parents, functions = self.basis._active[j]
                known, factor = self.values.T, self._factor(j, 2)
            else:
                terms, parents, functions = self.basis._shared[j][i]
                known, factor = self.first(i)[1], self._factor(j, 1)
            self._partials[i, j] = terms, self._product(known, parents, factor, functions)
        return self._partials[i, j]

    def _factor(self, j: int, order: int) -> Tensor:
        """Derivatives of all functions of input j."""
        if (j, order) not in self._factors:
            self._factors[j, order] = self.basis.factors[j]._terms(self.x[:, j], order)
        return self._factors[j, order]

    @staticmethod
    def _product(known: Tensor, rows: Tensor, factor: Tensor, functions: Tensor) -> Tensor:
        device = known.device
        product = known.index_select(0, rows.to(device))
        return product.mul_(factor.index_select(0, functions.to(device)))


def additive_indices(sizes: Sequence[int]) -> np.ndarray:
    """Functions of one input each: sums of univariate functions, without interactions.

    ``sizes`` holds the number of functions of each input, the constant included.
    """
    _check_count(1 + sum(size - 1 for size in sizes), "additive")
    rows = [np.zeros((1, len(sizes)), dtype=np.int64)]
    for j, size in enumerate(sizes):
        block = np.zeros((size - 1, len(sizes)), dtype=np.int64)
        block[:, j] = np.arange(1, size)
        rows.append(block)
    return np.concatenate(rows)


def tensor_indices(sizes: Sequence[int]) -> np.ndarray:
    """All products of one function of each input."""
    _check_count(math.prod(sizes), "tensor")
    return np.indices(tuple(sizes)).reshape(len(sizes), -1).T.astype(np.int64)


def complete_indices(n_inputs: int, degree: int) -> np.ndarray:
    """Multi-indices of total degree at most ``degree``: complete polynomials."""
    _check_count(math.comb(n_inputs + degree, degree), "complete")
    return _bounded_indices(n_inputs, degree, lambda spent, k: spent + k)


def hyperbolic_indices(n_inputs: int, degree: int) -> np.ndarray:
    """The hyperbolic cross: multi-indices with prod(k_j + 1) at most ``degree + 1``."""
    return _bounded_indices(
        n_inputs, degree, lambda spent, k: (spent + 1) * (k + 1) - 1, "hyperbolic"
    )


def smolyak_levels(n_inputs: int, level: int | Sequence[int]) -> np.ndarray:
    """Multi-levels of a Smolyak rule: nonnegative, of sum at most the largest level.

    A sequence gives each input a level of its own (an anisotropic rule).
    """
    limits = [level] * n_inputs if isinstance(level, int | np.integer) else list(level)
    if len(limits) != n_inputs:
        raise ValueError(
            f"level={level!r} must be an int or hold one for each of {n_inputs} inputs"
        )
    levels = _bounded_indices(n_inputs, max(limits), lambda spent, k: spent + k, "smolyak")
    return levels[(levels <= np.array(limits)).all(1)]


def smolyak_indices(n_inputs: int, level: int | Sequence[int]) -> np.ndarray:
    """Multi-indices of a Smolyak sparse grid, as many as the grid has nodes.

    Level 0 of an input holds degree 0, level 1 degrees 1 and 2, level l > 1 the degrees from
    2^(l-1) + 1 to 2^l.

    References
    ----------
    K. Judd, L. Maliar, S. Maliar, R. Valero, *Smolyak Method for Solving Dynamic Economic Models*,
    section 2.
    """
    return _expand_levels(
        smolyak_levels(n_inputs, level), lambda i: np.arange(*_new_degrees(i)), "smolyak"
    )


def _new_degrees(level: int) -> tuple[int, int]:
    """Range of the degrees that a level adds to those below it."""
    if level == 0:
        return 0, 1
    return (1, 3) if level == 1 else (2 ** (level - 1) + 1, 2**level + 1)


def _expand_levels(
    levels: np.ndarray, members: Callable[[int], np.ndarray], rule: str
) -> np.ndarray:
    """The union over multi-levels of the products of what each level holds."""
    count = sum(math.prod(len(members(i)) for i in row) for row in levels.tolist())
    _check_count(count, rule)
    held = [members(i) for i in range(levels.max(initial=0) + 1)]
    # Not by NumPy's grids, which end at 64 dimensions.
    blocks = [np.array(list(product(*(held[i] for i in row)))) for row in levels.tolist()]
    return np.concatenate(blocks)


def _bounded_indices(
    n_inputs: int, bound: int, spend: Callable[[int, int], int], rule: str = "complete"
) -> np.ndarray:
    """Multi-indices whose accumulated cost stays within a bound, ordered by cost."""
    partial: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for _ in range(n_inputs):
        extended = []
        for spent, index in partial:
            for k in range(bound + 1):
                cost = spend(spent, k)
                if cost > bound:
                    break
                extended.append((cost, (*index, k)))
        partial = extended
        _check_count(len(partial), rule)
    return np.array([index for _, index in sorted(partial)], dtype=np.int64)


def _check_count(count: int, rule: str) -> None:
    if count > MAX_TERMS:
        raise ValueError(
            f"the {rule} product has {count} terms, more than the {MAX_TERMS} that a fit can hold: "
            "lower the degree or level, use fewer columns, or choose a smaller product such as "
            '"additive", "hyperbolic" or "smolyak"'
        )
