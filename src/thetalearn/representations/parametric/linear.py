"""Functions that are linear in their parameters: combinations of basis functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import scipy.sparse.linalg
import torch
from torch import Tensor, nn

from ...exceptions import RankWarning, warn_user
from ..bases import Basis, BSpline, LocalBasis, LocalRows, ProductBasis, TensorBSpline
from .function import (
    ParametricFunction,
    Points,
    check_count,
    check_points,
    check_targets,
    check_weights,
    root_weight,
)

__all__ = ["DensePoints", "LinearFunction", "LocalPoints"]

#: Derivatives of all functions of a basis are kept up to this size in bytes; beyond it they are
#: computed for a block of points at a time, and contracted with the coefficients at once.
MAX_KEPT = 64 * 2**20

#: Design matrices of local bases with more entries than this are solved as sparse ones.
MAX_DENSE = 2**22


class LinearFunction(ParametricFunction):
    r"""Combinations of basis functions, :math:`f_a(x; \theta) = \sum_k \theta_{ka} B_k(x)`.

    The parameters are the coefficients of shape (K, m), flattened row by row.

    Parameters
    ----------
    basis : Basis
        The K functions. Of a `LocalBasis` only the functions that are nonzero at a point are
        evaluated there, and no dense design matrix is built.
    n_outputs : int, default=1
        Number m of outputs.

    References
    ----------
    K. Judd, *Numerical Methods in Economics*, chapter 11 (projection methods).

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.bases import Polynomial
    >>> from thetalearn.representations.parametric import LinearFunction
    >>> f = LinearFunction(Polynomial(2))
    >>> x = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    >>> theta = f.fit(x, x**2 + 1)
    >>> bool(torch.allclose(f.at(x).jacobian(theta)[:, 0], 2 * x))
    True
    """

    linear = True

    def __init__(self, basis: Basis, n_outputs: int = 1) -> None:
        check_count("n_outputs", n_outputs)
        self.basis = basis
        self.n_inputs, self.n_outputs = basis.n_inputs, n_outputs
        self.n_parameters = basis.n_terms * n_outputs

    def at(self, x: Tensor) -> Points:
        """Bind to points of shape (n, d); rows of the design matrix are computed once.

        Raises
        ------
        ValueError
            If x has another shape.
        """
        check_points(x, self.n_inputs)
        return (LocalPoints if isinstance(self.basis, LocalBasis) else DensePoints)(self, x)

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None = None,
        *,
        start: Tensor | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Tensor:
        """Least squares by QR, or interpolation where there are as many points as functions.

        ``start`` and ``random_state`` play no part. If the points do not determine the
        coefficients, those of least norm are returned with a `RankWarning`.

        Raises
        ------
        ValueError
            If shapes do not fit or a weight is negative.
        """
        check_points(x, self.n_inputs)
        check_targets(x, y, self.n_outputs)
        root = root_weight(x, weight)
        if isinstance(self.basis, LocalBasis):
            rows = self.basis.local(x)
            if len(x) * self.basis.n_terms > MAX_DENSE:
                return _sparse_least_squares(rows, y, root).reshape(-1)
            design = rows.to_dense()
        else:
            design = self.basis(x)
        return _least_squares(design, y, root).reshape(-1)

    def initial(self, rng: np.random.RandomState, restart: int = 0) -> Tensor:
        """Zeros: the solution of a linear problem does not depend on its start."""
        return torch.zeros(self.n_parameters, dtype=torch.float64)

    def _coef(self, theta: Tensor) -> Tensor:
        """The coefficients, shape (K, m)."""
        return theta.reshape(self.basis.n_terms, self.n_outputs)


class _Jet(Protocol):
    """Values and partial derivatives of K functions at n points, computed when asked for."""

    @property
    def values(self) -> Tensor:
        """Values, shape (n, K)."""

    def first(self, j: int) -> tuple[Tensor, Tensor]:
        """Functions whose derivative by input j may be nonzero, and that derivative."""

    def second(self, i: int, j: int) -> tuple[Tensor, Tensor]:
        """Likewise for the derivative by inputs i and j."""


class _BasisJet:
    """The jet of any basis."""

    def __init__(self, basis: Basis, x: Tensor) -> None:
        self.basis, self.x = basis, x
        self._terms = torch.arange(basis.n_terms, device=x.device)
        self._rows: dict[tuple[int, ...], Tensor] = {}

    @cached_property
    def values(self) -> Tensor:
        return self.basis(self.x)

    def first(self, j: int) -> tuple[Tensor, Tensor]:
        return self._terms, self._derivative(j)

    def second(self, i: int, j: int) -> tuple[Tensor, Tensor]:
        return self._terms, self._derivative(i, j)

    def _derivative(self, *inputs: int) -> Tensor:
        orders = tuple(inputs.count(j) for j in range(self.basis.n_inputs))
        if orders not in self._rows:
            self._rows[orders] = self.basis.derivative(self.x, orders).T
        return self._rows[orders]


class DensePoints(Points):
    """Combinations of functions that are nonzero everywhere, at given points."""

    def __init__(self, function: LinearFunction, x: Tensor) -> None:
        self.function, self.x = function, x

    @cached_property
    def _jet(self) -> _Jet:
        return self._jet_at(self.x)

    def _jet_at(self, x: Tensor) -> _Jet:
        basis = self.function.basis
        return basis.jet(x) if isinstance(basis, ProductBasis) else _BasisJet(basis, x)

    def value(self, theta: Tensor) -> Tensor:
        """Values, shape (n, m)."""
        return self.rows @ self.function._coef(theta)

    def jacobian(self, theta: Tensor) -> Tensor:
        """First derivatives, shape (n, m, d)."""
        d = self.function.n_inputs
        return self._contract(theta, d, lambda jet: map(jet.first, range(d)))

    def hessian(self, theta: Tensor) -> Tensor:
        """Second derivatives, shape (n, m, d, d)."""
        d = self.function.n_inputs
        low = [(i, j) for j in range(d) for i in range(j + 1)]
        unique = self._contract(theta, len(low), lambda jet: (jet.second(*pair) for pair in low))
        return unique[:, :, _symmetric_places(d)]

    @property
    def rows(self) -> Tensor:
        """The design matrix, shape (n, K)."""
        return self._jet.values

    def _contract(
        self,
        theta: Tensor,
        n_partials: int,
        partials: Callable[[_Jet], Iterator[tuple[Tensor, Tensor]]],
    ) -> Tensor:
        """Products of partial derivatives with the coefficients, shape (n, m, n_partials)."""
        coef = self.function._coef(theta)

        def of(jet: _Jet) -> Tensor:
            parts = [coef.index_select(0, terms).T @ rows for terms, rows in partials(jet)]
            return torch.stack(parts, 2).transpose(0, 1)

        per_point = 8 * len(coef) * n_partials
        if len(self.x) * per_point <= MAX_KEPT:
            return of(self._jet)
        blocks = self.x.split(max(MAX_KEPT // per_point, 1))
        return torch.cat([of(self._jet_at(block)) for block in blocks])

    def pullback(self, theta: Tensor, u: Tensor) -> Tensor:
        """Weighted sums of rows of the design matrix, shape (P, E, n_parameters)."""
        groups, size, n_sums, n_outputs = check_weights(u, self.x, self.function.n_outputs)
        if size == 1:
            return (self.rows[:, None, :, None] * u[:, 0, :, None, :]).flatten(2)
        rows = self.rows.T.unflatten(1, (groups, size)).transpose(0, 1)
        sums = rows @ u.flatten(2)
        if n_sums == 1:
            return sums.reshape(groups, 1, -1)
        return sums.unflatten(2, (n_sums, n_outputs)).transpose(1, 2).reshape(groups, n_sums, -1)


class LocalPoints(Points):
    """Combinations of functions of compact support, at given points."""

    def __init__(self, function: LinearFunction, x: Tensor) -> None:
        self.function, self.x = function, x
        basis = function.basis
        if isinstance(basis, BSpline):
            basis = TensorBSpline([basis])
        assert isinstance(basis, LocalBasis)
        self._local: Callable[[Sequence[int]], LocalRows] = (
            basis.jet(x).local if isinstance(basis, TensorBSpline) else partial(basis.local, x)
        )
        self._kept: dict[tuple[int, ...], LocalRows] = {}

    def value(self, theta: Tensor) -> Tensor:
        """Values, shape (n, m)."""
        return self._combine(theta)

    def jacobian(self, theta: Tensor) -> Tensor:
        """First derivatives, shape (n, m, d)."""
        return torch.stack([self._combine(theta, j) for j in range(self.function.n_inputs)], 2)

    def hessian(self, theta: Tensor) -> Tensor:
        """Second derivatives, shape (n, m, d, d)."""
        d = self.function.n_inputs
        unique = [self._combine(theta, i, j) for j in range(d) for i in range(j + 1)]
        return torch.stack(unique, 2)[:, :, _symmetric_places(d)]

    def pullback(self, theta: Tensor, u: Tensor) -> Tensor:
        """Weighted sums of rows of the design matrix, shape (P, E, n_parameters)."""
        groups, size, n_sums, n_outputs = check_weights(u, self.x, self.function.n_outputs)
        rows = self._rows()
        count = n_sums * n_outputs
        terms = rows.values.view(groups, size, 1, -1) * u.flatten(2)[..., None]
        terms = terms.transpose(1, 2).flatten(2)
        columns = rows.columns.view(groups, 1, -1).expand(-1, count, -1)
        sums = terms.new_zeros(groups, count, rows.n_terms).scatter_add_(2, columns, terms)
        by_output = sums.unflatten(1, (n_sums, n_outputs)).transpose(2, 3)
        return by_output.reshape(groups, n_sums, -1)

    @property
    def rows(self) -> Tensor:
        """The design matrix, dense, shape (n, K)."""
        return self._rows().to_dense()

    def _rows(self, *inputs: int) -> LocalRows:
        """Rows of the design matrix, differentiated by the given inputs."""
        orders = tuple(inputs.count(j) for j in range(self.function.n_inputs))
        if orders not in self._kept:
            self._kept[orders] = self._local(orders)
        return self._kept[orders]

    def _combine(self, theta: Tensor, *inputs: int) -> Tensor:
        rows = self._rows(*inputs)
        return nn.functional.embedding_bag(
            rows.columns, self.function._coef(theta), per_sample_weights=rows.values, mode="sum"
        )


def _symmetric_places(d: int) -> Tensor:
    """Place of entry (i, j) of a symmetric matrix among those with i <= j, ordered by j."""
    low, high = torch.minimum(*_grid(d)), torch.maximum(*_grid(d))
    return low + high * (high + 1) // 2


def _grid(d: int) -> tuple[Tensor, Tensor]:
    i = torch.arange(d)
    return i[:, None].expand(d, d), i[None, :].expand(d, d)


def _least_squares(design: Tensor, y: Tensor, root: Tensor | None) -> Tensor:
    """Coefficients (K, m) of dense rows; ``root`` holds the square roots of weights."""
    if root is not None:
        design, y = root * design, root * y
    n_terms = design.shape[1]
    if len(design) == n_terms:
        coef, failed = torch.linalg.solve_ex(design, y)
        if not failed and torch.isfinite(coef).all():
            return coef
    solution = torch.linalg.lstsq(design.cpu(), y.cpu(), driver="gelsd")
    rank = int(solution.rank)
    if rank < n_terms:
        warn_user(
            f"{len(design)} points determine only {rank} of {n_terms} coefficients; those of least "
            "norm were taken: give more points, or fewer functions",
            RankWarning,
        )
    return solution.solution.to(y)


def _sparse_least_squares(rows: LocalRows, y: Tensor, root: Tensor | None) -> Tensor:
    """Coefficients (K, m) of rows of which few entries are nonzero."""
    matrix, targets = rows.to_scipy(), y.cpu().numpy()
    if root is not None:
        scale = root.cpu().numpy()
        matrix, targets = matrix.multiply(scale).tocsr(), scale * targets
    if matrix.shape[0] == matrix.shape[1]:
        coef = scipy.sparse.linalg.splu(matrix.tocsc()).solve(targets)
    else:
        solve = scipy.sparse.linalg.lsmr
        columns = [solve(matrix, b, atol=1e-14, btol=1e-14, maxiter=10_000)[0] for b in targets.T]
        coef = np.stack(columns, 1)
    return torch.from_numpy(coef).to(y)
