r"""Sums of products of the columns of a design, and the triangular factor made from them.

With :math:`E = \sqrt{W}[1, A - a, Y - y]` for fixed shifts a and y, :math:`E^\top E` over a set of
rows is a sum over its pieces, and holds all that least squares on the set needs. It squares the
condition number, so it serves only sets whose columns are far from dependent; `RidgeSystem` says by
how much rounding is magnified.

References
----------
G. Golub and C. Van Loan, *Matrix Computations*, sections 2.6 and 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
import torch
from scipy.linalg import lapack
from torch import Tensor

from ..least_squares import DenseFactor

__all__ = ["Moments", "RowBlock", "Shift", "sums_of_products"]

#: Functions but the constant (n, k), targets (n, m) and weights (n,) of a block of rows.
RowBlock = tuple[Tensor, Tensor, Tensor | None]


@dataclass(frozen=True)
class Shift:
    """What is taken from the columns before products are summed, so that little cancels later.

    Attributes
    ----------
    values : ndarray of shape (k + m,)
        Shifts of the functions but the constant, and of the targets.
    n_targets : int
        Number m of targets.
    has_constant : bool
        Whether there is a constant; without it there is nothing to shift by.
    """

    values: np.ndarray
    n_targets: int
    has_constant: bool

    @classmethod
    def means(cls, sample: RowBlock, has_constant: bool) -> Shift:
        """The means over some rows, or zeros without a constant."""
        functions, targets, _ = sample
        columns = torch.cat([functions, targets.to(functions)], dim=1)
        values = columns.mean(0).cpu().numpy() * has_constant
        return cls(values, targets.shape[1], has_constant)

    @property
    def size(self) -> int:
        """Number of columns of E."""
        return len(self.values) + self.has_constant


def sums_of_products(blocks: Iterable[RowBlock], shift: Shift) -> np.ndarray:
    """The matrix of products of the columns of E, summed over rows."""
    total = np.zeros((shift.size, shift.size))
    buffer: Tensor | None = None
    for block in blocks:
        functions = block[0]
        if buffer is None or len(buffer) < len(functions):
            buffer = functions.new_empty(len(functions), shift.size)
        with np.errstate(over="ignore", invalid="ignore"):
            total += _products(shifted_rows(block, shift, buffer[: len(functions)]))
    return total


def shifted_rows(block: RowBlock, shift: Shift, out: Tensor | None = None) -> Tensor:
    """The rows of E."""
    functions, targets, weight = block
    rows = functions.new_empty(len(functions), shift.size) if out is None else out
    first, last = int(shift.has_constant), shift.size - shift.n_targets
    moved = torch.from_numpy(shift.values).to(rows)
    rows[:, :first] = 1.0
    torch.sub(functions, moved[: last - first], out=rows[:, first:last])
    torch.sub(targets.to(rows), moved[last - first :], out=rows[:, last:])
    if weight is not None:
        rows *= weight.sqrt()[:, None]
    return rows


def _products(rows: Tensor) -> np.ndarray:
    if rows.device.type != "cpu":
        return (rows.T @ rows).cpu().numpy()
    # NumPy sees that both operands are one matrix, and computes half of the product.
    array = rows.numpy()
    products: np.ndarray = array.T @ array
    return products


@dataclass(frozen=True)
class Moments:
    """Weighted products of shifted columns over one set of rows.

    Attributes
    ----------
    products : ndarray of shape (K + m, K + m)
        Of all functions and the targets.
    magnitude : ndarray of shape (K + m,)
        Sums of the absolute values that were added to and taken from the diagonal: what rounding is
        relative to.
    shift : Shift
        What was taken from the columns.
    weight_sum : float
        Sum of the weights of the rows.
    n_rows : int
        Number of rows.
    """

    products: np.ndarray
    magnitude: np.ndarray
    shift: Shift
    weight_sum: float
    n_rows: int

    @property
    def n_terms(self) -> int:
        """Number K of functions, the constant included."""
        return self.shift.size - self.shift.n_targets

    @cached_property
    def means(self) -> np.ndarray:
        """Means of the shifted columns after the constant, design and targets."""
        means: np.ndarray = self.products[0, 1:] / self.products[0, 0]
        return means

    @cached_property
    def centred(self) -> np.ndarray:
        """Products of the columns after the constant, about their means."""
        if not self.shift.has_constant:
            return self.products
        row = self.products[0, 1:]
        return self.products[1:, 1:] - np.outer(self.means, row)

    @property
    def gram(self) -> np.ndarray:
        """Centred products of the functions but the constant."""
        k = self.n_terms - self.shift.has_constant
        return self.centred[:k, :k]

    @property
    def cross(self) -> np.ndarray:
        """Centred products of the functions but the constant with the targets."""
        k = self.n_terms - self.shift.has_constant
        return self.centred[:k, k:]

    @property
    def cancellation(self) -> float:
        """How much larger the sums were than the centred squares that are left of them."""
        before = self.magnitude[int(self.shift.has_constant) :]
        left = np.diag(self.centred)
        if np.any((left <= 0) & (before > 0)) or not np.isfinite(before).all():
            return np.inf
        return float(np.max(before[before > 0] / left[before > 0], initial=1.0))

    def complete(self, coef: np.ndarray) -> np.ndarray:
        """Coefficients of all functions (K, m) from those of all but the constant."""
        if not self.shift.has_constant:
            return coef
        k = self.n_terms - 1
        means = self.shift.values + self.means
        return np.vstack([means[k:] - means[:k] @ coef, coef])

    def factor(self) -> DenseFactor:
        """The triangular factor of the rows; they must determine all coefficients."""
        m = self.shift.n_targets
        factor = DenseFactor(self.n_terms, m)
        factor.n_rows, factor.weight_sum = self.n_rows, self.weight_sum
        triangle = np.zeros((self.n_terms + m, self.n_terms + m))
        first = int(self.shift.has_constant)
        if first:
            root = self.weight_sum**0.5
            triangle[0, 0] = root
            triangle[0, 1:] = root * (self.shift.values + self.means)
        triangle[first:, first:] = _root(self.centred, m)
        factor.triangle = torch.from_numpy(triangle)
        return factor


def _root(products: np.ndarray, n_targets: int) -> np.ndarray:
    """Upper triangular R with R'R the products; the targets may depend on the functions."""
    k = len(products) - n_targets
    scale = np.sqrt(np.diag(products)[:k])
    upper, _ = lapack.dpotrf(products[:k, :k] / np.outer(scale, scale), lower=0, clean=1)
    cross = scipy.linalg.solve_triangular(upper, products[:k, k:] / scale[:, None], trans="T")
    values, vectors = np.linalg.eigh(products[k:, k:] - cross.T @ cross)
    rest = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    root = np.zeros_like(products)
    root[:k, :k], root[:k, k:] = upper * scale, cross
    root[k:, k:] = np.linalg.qr(rest, mode="r")
    return root
