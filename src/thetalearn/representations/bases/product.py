"""Functions of several inputs as products of functions of one, and the sets of products to keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from .basis import Basis, Order, UnivariateBasis, multi_order
from .chebyshev import Chebyshev

__all__ = [
    "ProductBasis",
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
        self._levels = list(self._plan())

    def _plan(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For products of 1, 2, ... factors: the terms, the products of one less, the last factor.

        Each term is then one multiplication, however many inputs there are.
        """
        number = {tuple(index): k for k, index in enumerate(self.indices.tolist())}
        offsets = np.cumsum([0, *(f.n_terms for f in self.factors)])
        interactions = (self.indices > 0).sum(1)
        for count in range(1, int(interactions.max(initial=0)) + 1):
            terms = np.flatnonzero(interactions == count)
            chosen = self.indices[terms]
            last = self.n_inputs - 1 - (chosen[:, ::-1] > 0).argmax(1)
            each = np.arange(len(terms))
            factor_rows = offsets[last] + chosen[each, last]
            parents = chosen.copy()
            parents[each, last] = 0
            parent_terms = np.array([number[tuple(index)] for index in parents.tolist()])
            yield (
                torch.from_numpy(terms),
                torch.from_numpy(parent_terms),
                torch.from_numpy(factor_rows),
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
        products = rows.new_ones(self.n_terms, len(x))
        for terms, parents, factor_rows in self._levels:
            products[terms] = products[parents] * rows[factor_rows]
        differentiated = np.array(orders) > 0
        if differentiated.any():
            absent = (self.indices[:, differentiated] == 0).any(1)
            products[torch.from_numpy(absent).to(x.device)] = 0.0
        return products.T

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
