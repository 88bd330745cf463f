"""B-splines of any degree, with repeated knots, in one and several inputs.

On the interval between two neighbouring knots a spline is a polynomial. Each such *piece* is kept
in Chebyshev polynomials of the local coordinate, which makes evaluation, derivatives and the exact
compression of many rows into a few all short, and none of them builds a dense design matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ...threads import one_thread
from .basis import Extrapolation, Interval, LocalBasis, LocalRows, Order, multi_order
from .chebyshev import chebyshev_terms, ultraspherical_terms

__all__ = [
    "AdditiveBSpline",
    "BSpline",
    "TensorBSpline",
    "TensorJet",
    "quantile_knots",
    "uniform_knots",
]

#: Rows handled at a time: what one block needs stays in the processor's cache.
BLOCK_ROWS = 16_384

#: Values of a function below its rounding error are zero; a B-spline is never negative.
SNAP = 1e-15

#: Cells whose moment matrix is worse conditioned than this are compressed by QR of their rows:
#: the moments lose the square root of it, so what is kept is accurate to about 1e-12.
MOMENT_RCOND = 1e-4


class BSpline(LocalBasis):
    r"""B-splines :math:`B_{i,p}` of one input.

    The functions are nonnegative, sum to one, and at any x only p + 1 of them are nonzero. At a
    knot that is repeated m times the spline has p - m continuous derivatives: m = p allows a kink,
    m = p + 1 a jump (from the right, as the value at the knot belongs to the piece on its right).

    Parameters
    ----------
    knots : array-like of shape (m,)
        Interior knots in increasing order, repeated where less smoothness is wanted.
    degree : int, default=3
        Degree p of the pieces.
    domain : (float, float), default=(0.0, 1.0)
        The interval on which the splines live; its ends are knots of multiplicity p + 1.
    extrapolation : {"error", "clip", "linear"}, default="linear"
        What the functions are outside the domain.

    References
    ----------
    C. de Boor, *A Practical Guide to Splines*, chapters IX and X.
    Sawada and Zhong, *Parameterization and Neural Network*, section on bases.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.bases import BSpline
    >>> hat = BSpline([0.5], degree=1)
    >>> hat(torch.tensor([[0.25]], dtype=torch.float64)).to_dense()
    tensor([[0.5000, 0.5000, 0.0000]], dtype=torch.float64)
    """

    n_inputs = 1

    def __init__(
        self,
        knots: Sequence[float] | np.ndarray,
        degree: int = 3,
        domain: tuple[float, float] = (0.0, 1.0),
        extrapolation: Extrapolation = "linear",
    ) -> None:
        self.degree = degree
        self.interval = Interval(*domain, extrapolation)
        interior = np.asarray(knots, dtype=np.float64)
        low, high = self.interval.low, self.interval.high
        finite = bool(np.isfinite(interior).all())
        if interior.ndim != 1 or not finite or not np.all(np.diff(interior) >= 0):
            raise ValueError(f"knots={knots!r} must be finite numbers in increasing order")
        if interior.size and not (interior[0] > low and interior[-1] < high):
            outside = interior[(interior <= low) | (interior >= high)]
            raise ValueError(
                f"knots={outside.tolist()} lie outside the open domain ({low:.6g}, {high:.6g}): "
                "give interior knots only, or a wider domain"
            )
        points, counts = np.unique(interior, return_counts=True)
        if counts.size and counts.max() > degree + 1:
            raise ValueError(
                f"the knot {points[counts.argmax()]:.6g} is repeated {counts.max()} times: a "
                f"spline of degree {degree} admits at most {degree + 1} (a jump)"
            )
        self.knots = np.r_[[low] * (degree + 1), interior, [high] * (degree + 1)]
        self.n_terms = len(interior) + degree + 1
        self.breaks = np.r_[low, points, high]
        self.n_cells = len(self.breaks) - 1
        #: Index of the first function that is nonzero in each cell.
        self.first = np.r_[0, np.cumsum(counts)].astype(np.int64)

    @cached_property
    def pieces(self) -> np.ndarray:
        """Chebyshev coefficients of the functions in each cell, (cells, functions, degree + 1)."""
        size = self.degree + 1
        angles = np.pi * (np.arange(size) + 0.5) / size
        low, high = self.breaks[:-1, None], self.breaks[1:, None]
        x = (low + high) / 2 + (high - low) / 2 * np.cos(angles)
        values = self._cox_de_boor(x)
        transform = np.cos(np.arange(size) * angles[:, None]) * (2.0 / size)
        transform[:, 0] /= 2
        return values @ transform

    def _cox_de_boor(self, x: np.ndarray) -> np.ndarray:
        """Values at x (cells, points) of the functions of each cell, (cells, functions, points)."""
        span = self.first + self.degree
        values = np.zeros((self.n_cells, self.degree + 1, x.shape[1]))
        values[:, 0] = 1.0
        for r in range(1, self.degree + 1):
            saved = np.zeros_like(x)
            for j in range(r):
                right = self.knots[span + j + 1][:, None]
                left = self.knots[span + j + 1 - r][:, None]
                share = values[:, j] / (right - left)
                values[:, j] = saved + (right - x) * share
                saved = (x - left) * share
            values[:, r] = saved
        return values

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cell of each point of the domain, and its coordinate in [-1, 1] within the cell."""
        breaks = torch.from_numpy(self.breaks).to(x)
        widths = breaks[1:] - breaks[:-1]
        if len(x) > BLOCK_ROWS and self._uniform:
            cell = ((x - self.interval.low) * (self.n_cells / self.interval.width)).long()
            cell.clamp_(0, self.n_cells - 1)
            cell += (x >= breaks[1:][cell]).long()
            cell -= (x < breaks[:-1][cell.clamp_(max=self.n_cells - 1)]).long()
        else:
            cell = torch.searchsorted(breaks[1:-1], x.detach().contiguous(), right=True)
        u = 2 * (x - breaks[:-1][cell]) / widths[cell] - 1
        return cell, u

    @cached_property
    def _uniform(self) -> bool:
        """Whether the cells are equally wide, so that a division finds the cell of a point."""
        widths = np.diff(self.breaks)
        return bool(np.allclose(widths, widths.mean(), rtol=1e-9, atol=0))

    def piece_terms(self, x: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """Cell of each point, and the values of the cell's functions there, (n, degree + 1)."""
        located = self.locate(self.interval.clamp(x)[0])
        return located[0], self.located_terms(x, order, located)

    def located_terms(self, x: Tensor, order: int, located: tuple[Tensor, Tensor]) -> Tensor:
        """The same values, where `locate` has found the nearest points of the domain."""

        def inside_terms(inside: Tensor, order: int) -> Tensor:
            # As many points as x are all of x; fewer are the ends next to points outside.
            cell, u = located if len(inside) == len(x) else self.locate(inside)
            widths = torch.from_numpy(np.diff(self.breaks)).to(inside)
            terms = _local_terms(u, self.degree, order, 2.0 / widths[cell])
            pieces = torch.from_numpy(self.pieces).to(inside)[cell]
            values = (pieces @ terms.T[:, :, None])[:, :, 0].T
            return values.masked_fill(values < SNAP, 0.0) if order == 0 else values

        return self.interval.continued(x, order, inside_terms).T

    def local(self, x: Tensor, order: Order = 0) -> LocalRows:
        """The p + 1 functions that are nonzero at each point, and their derivative."""
        (k,) = multi_order(order, 1)
        cell, values = self.piece_terms(x[:, 0], k)
        first = torch.from_numpy(self.first).to(x.device)[cell]
        offsets = torch.arange(self.degree + 1, device=x.device)
        return LocalRows(first[:, None] + offsets, values, self.n_terms)

    def integral(self, x: Tensor) -> Tensor:
        """Integral of every function from the lower end of the domain to x, shape (n, K), dense.

        An integral does not return to zero, so it is not of compact support.
        """
        interior = self.knots[self.degree + 1 : -self.degree - 1]
        low, high = self.interval.low, self.interval.high
        raised = BSpline(interior, self.degree + 1, (low, high), "clip")
        spans = self.knots[self.degree + 1 :] - self.knots[: -self.degree - 1]
        scale = torch.from_numpy(spans / (self.degree + 1)).to(x)

        def inside_terms(inside: Tensor, order: int) -> Tensor:
            if order >= 0:
                return self.local(inside[:, None], order).to_dense().T
            tail = raised.local(inside[:, None]).to_dense().flip(1).cumsum(1).flip(1)
            return (tail[:, 1:] * scale).T

        return self.interval.continued(x[:, 0], -1, inside_terms).T

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``B0(x), B1(x), ...``."""
        return [f"B{k}({input_names[0]})" for k in range(self.n_terms)]


@dataclass(frozen=True)
class CompressedRows:
    """A few rows with the same least-squares problem as the many rows they were made from.

    Row r of block i has the entries ``rows[i, r]`` at columns ``starts[i] + offsets`` and the
    right-hand sides ``targets[i, r]``; starts increase.
    """

    starts: np.ndarray
    offsets: np.ndarray
    rows: np.ndarray
    targets: np.ndarray


class TensorBSpline(LocalBasis):
    """All products of B-splines of each input.

    Parameters
    ----------
    factors : sequence of BSpline
        The splines of each input.
    """

    def __init__(self, factors: Sequence[BSpline]) -> None:
        self.factors = tuple(factors)
        self.n_inputs = len(self.factors)
        sizes = [factor.n_terms for factor in self.factors]
        self.n_terms = int(np.prod(sizes))
        self.strides = np.array([int(np.prod(sizes[j + 1 :])) for j in range(self.n_inputs)])
        self.cell_shape = tuple(factor.n_cells for factor in self.factors)
        local = [np.arange(factor.degree + 1) for factor in self.factors]
        #: Columns of the functions of a cell, relative to its first.
        self.offsets = _outer_sum([s * r for s, r in zip(self.strides, local, strict=True)])

    def local(self, x: Tensor, order: Order = 0) -> LocalRows:
        """The functions that are nonzero at each point, and their partial derivative."""
        orders = (
            (0,) * self.n_inputs
            if isinstance(order, int) and order == 0
            else multi_order(order, self.n_inputs)
        )
        return self.jet(x).local(orders)

    def jet(self, x: Tensor) -> TensorJet:
        """Values and partial derivatives of any order at x of shape (n, d), when asked for.

        What they share is computed once: cheaper than a call of `local` for each.

        Examples
        --------
        >>> import torch
        >>> from thetalearn.representations.bases import BSpline, TensorBSpline
        >>> hat = BSpline([0.5], degree=1)
        >>> jet = TensorBSpline([hat, hat]).jet(torch.tensor([[0.25, 0.0]], dtype=torch.float64))
        >>> jet.local((0, 0)).values
        tensor([[0.5000, 0.0000, 0.5000, 0.0000]], dtype=torch.float64)
        >>> jet.local((1, 0)).values.round().abs()
        tensor([[2., 0., 2., 0.]], dtype=torch.float64)
        """
        return TensorJet(self, x)

    def compress(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> CompressedRows:
        """Replace the rows of a least-squares problem by at most a few for each cell.

        x has shape (n, d) and lies in the domain, y shape (n, m), weight shape (n,).
        In a cell every function is a polynomial, so its rows enter the problem only through the
        moments of their local coordinates: 2p + 1 sums for each input, against (p + 1)(p + 2)/2
        products of functions.
        """
        starts = _outer_sum([s * f.first for s, f in zip(self.strides, self.factors, strict=True)])
        with one_thread():  # blocks that fit the cache are too small to share
            moments, cross = self._moments(x, y, weight)
        occupied = torch.nonzero(moments[:, 0] > 0)[:, 0]
        gram = self._gram(moments[occupied])
        eigenvalues, vectors = torch.linalg.eigh(gram)
        poor = eigenvalues[:, 0] < MOMENT_RCOND * eigenvalues[:, -1]
        good = occupied[~poor]
        scale = eigenvalues[~poor].sqrt()[:, :, None]
        roots = vectors[~poor].mT
        rows = self._in_functions(scale * roots, good)
        targets = roots @ cross[good] / scale
        starts_good = starts[good.numpy()]
        if not poor.any():
            return CompressedRows(starts_good, self.offsets, rows.numpy(), targets.numpy())
        chosen = occupied[poor].numpy()
        more_rows, more_targets = self._compress_by_qr(x, y, weight, chosen)
        all_starts = np.r_[starts_good, starts[chosen]]
        order = np.argsort(all_starts, kind="stable")
        return CompressedRows(
            all_starts[order],
            self.offsets,
            np.concatenate([rows.numpy(), more_rows])[order],
            np.concatenate([targets.numpy(), more_targets])[order],
        )

    def _cells(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Number of the cell of each point, and its local coordinates."""
        located = [
            f.locate(f.interval.clamp(x[:, j].to(torch.float64))[0])
            for j, f in enumerate(self.factors)
        ]
        cell = located[0][0]
        for (c, _), size in zip(located[1:], self.cell_shape[1:], strict=True):
            cell = cell * size + c
        return cell, [u for _, u in located]

    def _moments(self, x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sums over each cell of products of local Chebyshev polynomials, alone and times y."""
        n_moments = int(np.prod([2 * f.degree + 1 for f in self.factors]))
        n_local, n_targets = len(self.offsets), y.shape[1]
        n_cells = int(np.prod(self.cell_shape))
        block = max(BLOCK_ROWS * 11 // (n_moments + n_local * n_targets), 256)
        sums = x.new_zeros(n_moments + n_local * n_targets, n_cells, dtype=torch.float64)
        low = np.ix_(*[range(f.degree + 1) for f in self.factors])
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            cell, coordinates = self._cells(x[part])
            products = torch.ones(1, len(cell), dtype=torch.float64, device=x.device)
            for u, factor in zip(coordinates, self.factors, strict=True):
                terms = chebyshev_terms(u, 2 * factor.degree)
                products = (products[:, None, :] * terms[None, :, :]).flatten(0, 1)
            if weight is not None:
                products *= weight[part]
            shape = [2 * f.degree + 1 for f in self.factors]
            local = products.reshape(*shape, -1)[low].reshape(n_local, 1, -1)
            with_target = (local * y[part].T.to(torch.float64)[None]).flatten(0, 1)
            sums.index_add_(1, cell, torch.cat([products, with_target]))
        sums = sums.cpu()
        cross = sums[n_moments:].T.reshape(n_cells, n_local, n_targets)
        return sums[:n_moments].T, cross

    def _gram(self, moments: Tensor) -> Tensor:
        """Gram matrices of the local Chebyshev polynomials: T_i T_j = (T_{i+j} + T_{|i-j|})/2."""
        cells = len(moments)
        sizes = [f.degree + 1 for f in self.factors]
        gram = moments.reshape(cells, *[2 * size - 1 for size in sizes])
        for size in sizes:
            i, j = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
            gram = (gram[:, i + j] + gram[:, np.abs(i - j)]) / 2
            gram = gram.movedim((1, 2), (-2, -1))
        d = len(sizes)
        pairs = [*range(1, 2 * d, 2), *range(2, 2 * d + 1, 2)]
        return gram.permute(0, *pairs).reshape(cells, len(self.offsets), len(self.offsets))

    def _in_functions(self, rows: Tensor, cells: Tensor) -> Tensor:
        """Rows in local Chebyshev polynomials, rewritten in the functions of their cells."""
        sizes = [f.degree + 1 for f in self.factors]
        numbers = np.unravel_index(cells.numpy(), self.cell_shape)
        out = rows.reshape(*rows.shape[:2], *sizes)
        for number, factor in zip(numbers, self.factors, strict=True):
            pieces = torch.from_numpy(factor.pieces[number])
            flat = out.movedim(2, -1).flatten(2, -2) if out.ndim > 3 else out[:, :, None, :]
            mapped = flat.flatten(1, 2) @ pieces.mT
            rest = out.shape[3:]
            out = mapped.reshape(*rows.shape[:2], *rest, factor.degree + 1)
        return out.reshape(rows.shape)

    def _compress_by_qr(
        self, x: Tensor, y: Tensor, weight: Tensor | None, cells: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Triangular factors of the rows of the given cells."""
        member = np.full(int(np.prod(self.cell_shape)), -1)
        member[cells] = np.arange(len(cells))
        number = member[
            np.concatenate([self._cells(part)[0].cpu().numpy() for part in x.split(BLOCK_ROWS)])
        ]
        chosen = np.flatnonzero(number >= 0)
        chosen = chosen[np.argsort(number[chosen], kind="stable")]
        bounds = np.searchsorted(number[chosen], np.arange(len(cells) + 1))
        size, n_targets = len(self.offsets), y.shape[1]
        rows = np.zeros((len(cells), size, size))
        targets = np.zeros((len(cells), size, n_targets))
        for i in range(len(cells)):
            index = torch.from_numpy(chosen[bounds[i] : bounds[i + 1]]).to(x.device)
            values = self.local(x[index].to(torch.float64)).values
            block = torch.cat([values, y[index].to(torch.float64)], dim=1)
            if weight is not None:
                block = block * weight[index].sqrt()[:, None]
            triangle = torch.linalg.qr(block, mode="r").R[:size].cpu().numpy()
            rows[i, : len(triangle)] = triangle[:, :size]
            targets[i, : len(triangle)] = triangle[:, size:]
        return rows, targets

    def differences(self, order: int) -> sp.csr_array:
        """Coefficients of a derivative along each input, one a row."""
        parts = []
        for j, factor in enumerate(self.factors):
            sizes = [f.n_terms for f in self.factors]
            step = _difference_matrix(factor, order)
            before, after = (
                sp.eye_array(math.prod(sizes[:j])),
                sp.eye_array(math.prod(sizes[j + 1 :])),
            )
            parts.append(sp.kron(sp.kron(before, step), after))
        rows = sp.csr_array(sp.vstack(parts))
        rows.eliminate_zeros()
        return rows

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``B0(x1) B0(x2), ...``."""
        names = [f.term_names([name]) for f, name in zip(self.factors, input_names, strict=True)]
        joined = [""]
        for column in names:
            joined = [f"{left} {right}".strip() for left in joined for right in column]
        return joined


class TensorJet:
    """Values and partial derivatives of products of B-splines at n points.

    Parameters
    ----------
    basis : TensorBSpline
        The products.
    x : Tensor of shape (n, d)
        The points.
    """

    def __init__(self, basis: TensorBSpline, x: Tensor) -> None:
        self.basis = basis
        self.x = x
        self._terms: dict[tuple[int, int], Tensor] = {}

    @cached_property
    def _located(self) -> list[tuple[Tensor, Tensor]]:
        """Cells of the points in each input, and their coordinates there."""
        factors = self.basis.factors
        return [f.locate(f.interval.clamp(self.x[:, j])[0]) for j, f in enumerate(factors)]

    @cached_property
    def columns(self) -> Tensor:
        """The functions that are nonzero at each point, shape (n, width)."""
        device = self.x.device
        first = torch.zeros(len(self.x), dtype=torch.int64, device=device)
        for factor, stride, (cell, _) in zip(
            self.basis.factors, self.basis.strides, self._located, strict=True
        ):
            first += int(stride) * torch.from_numpy(factor.first).to(device)[cell]
        return first[:, None] + torch.from_numpy(self.basis.offsets).to(device)

    def local(self, orders: Sequence[int]) -> LocalRows:
        """The functions that are nonzero at each point, and their partial derivative."""
        values = self._factor(0, orders[0])
        for j, k in enumerate(orders[1:], start=1):
            values = (values[:, :, None] * self._factor(j, k)[:, None, :]).flatten(1)
        return LocalRows(self.columns, values, self.basis.n_terms)

    def _factor(self, j: int, order: int) -> Tensor:
        """Derivatives of the functions of input j in the cells of the points."""
        if (j, order) not in self._terms:
            factor, x = self.basis.factors[j], self.x[:, j]
            self._terms[j, order] = factor.located_terms(x, order, self._located[j])
        return self._terms[j, order]


class AdditiveBSpline(LocalBasis):
    """The constant 1 and the B-splines of each input but its first, which the constant replaces.

    Parameters
    ----------
    factors : sequence of BSpline
        The splines of each input.
    """

    def __init__(self, factors: Sequence[BSpline]) -> None:
        self.factors = tuple(factors)
        self.n_inputs = len(self.factors)
        #: Column before the first function of each input, the place of the one left out.
        self.before = np.cumsum([0, *(f.n_terms - 1 for f in self.factors)])
        self.n_terms = int(self.before[-1]) + 1

    def local(self, x: Tensor, order: Order = 0) -> LocalRows:
        """The functions that are nonzero at each point, and their partial derivative."""
        orders = (
            (0,) * self.n_inputs
            if isinstance(order, int) and order == 0
            else multi_order(order, self.n_inputs)
        )
        columns = [torch.zeros(len(x), 1, dtype=torch.int64, device=x.device)]
        values = [x.new_full((len(x), 1), float(sum(orders) == 0))]
        others = [sum(orders) - k for k in orders]
        for j, factor in enumerate(self.factors):
            rows = factor.local(x[:, j : j + 1], orders[j])
            kept = (rows.columns > 0) & (others[j] == 0)
            columns.append((rows.columns + int(self.before[j])) * (rows.columns > 0))
            values.append(rows.values * kept)
        return LocalRows(torch.cat(columns, 1), torch.cat(values, 1), self.n_terms)

    def differences(self, order: int) -> sp.csr_array:
        """Coefficients of a derivative of each input's part, one a row."""
        # The function left out has the coefficient zero, so its column goes, and its rows stay.
        steps = [_difference_matrix(f, order)[:, 1:] for f in self.factors]
        return sp.csr_array(sp.block_diag([sp.csr_array((0, 1)), *steps]))

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``1, B1(x1), B2(x1), ...``."""
        names = ["1"]
        for factor, name in zip(self.factors, input_names, strict=True):
            names += factor.term_names([name])[1:]
        return names


def uniform_knots(n_knots: int, domain: tuple[float, float]) -> np.ndarray:
    """Interior knots that cut the domain into ``n_knots + 1`` equal cells."""
    return np.linspace(*domain, n_knots + 2)[1:-1]


def quantile_knots(
    n_knots: int,
    x: np.ndarray,
    domain: tuple[float, float],
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Interior knots at quantiles of the data, so that cells hold about equally many rows.

    Quantiles that fall together are taken once.
    """
    levels = np.linspace(0, 1, n_knots + 2)[1:-1]
    knots = np.unique(np.quantile(x, levels, weights=weight, method="inverted_cdf"))
    return knots[(knots > domain[0]) & (knots < domain[1])]


def _local_terms(u: Tensor, degree: int, order: int, slope: Tensor) -> Tensor:
    """Derivative of the Chebyshev polynomials of a cell, rows of shape (degree + 1, n)."""
    if order == 0:
        return chebyshev_terms(u, degree)
    if order > degree:
        return u.new_zeros(degree + 1, len(u))
    factor = 2.0 ** (order - 1) * float(np.prod(np.arange(1, order), dtype=float))
    degrees = torch.arange(order, degree + 1, dtype=u.dtype, device=u.device)[:, None]
    terms = factor * degrees * ultraspherical_terms(u, degree - order, order) * slope**order
    return torch.cat([terms.new_zeros(order, len(u)), terms])


def _difference_matrix(spline: BSpline, order: int) -> sp.csr_array:
    """Coefficients of the derivative of the given order, in units of the mean cell.

    Between equally spaced knots these are plain differences of neighbouring coefficients; dividing
    by the distance of the knots is what makes them vanish on polynomials below the order for any
    knots. Where a knot is repeated so often that the derivative jumps, there is no row.
    """
    if order > spline.degree + 1:
        raise ValueError(
            f"penalty_order={order} is too high for splines of degree {spline.degree}: choose at "
            f"most {spline.degree + 1}"
        )
    width = spline.interval.width
    return _differences(spline.knots.tobytes(), spline.degree, width, spline.n_cells, order)


@lru_cache(maxsize=64)
def _differences(
    knots_bytes: bytes, degree: int, width: float, n_cells: int, order: int
) -> sp.csr_array:
    """The matrix for given knots, which the fits of a search ask for again and again."""
    knots, n_terms = np.frombuffer(knots_bytes), len(knots_bytes) // 8 - degree - 1
    unit = width / n_cells
    rows, known = sp.csr_array(sp.eye_array(n_terms)), np.ones(n_terms, dtype=bool)
    for power in range(degree, degree - order, -1):
        reach = max(power, 1)
        # Below degree one there is a piece for each cell, and the distance is that of the centres.
        span = (
            knots[reach + 1 :] - knots[: -reach - 1]
            if power == 0
            else (knots[power + 1 : -1] - knots[1 : -power - 1])
        )
        span = span / (2 if power == 0 else power)
        known = known[1:] & known[:-1] & (span > 1e-12 * width)
        scale = np.divide(unit, span, out=np.zeros_like(span), where=known)
        rows = sp.diags_array(scale) @ (rows[1:] - rows[:-1])
        knots = knots[1:-1]
    return sp.csr_array(rows[np.flatnonzero(known)])


def _outer_sum(parts: Sequence[np.ndarray]) -> np.ndarray:
    """All sums of one entry from each part, the last part running fastest."""
    total = np.zeros(1, dtype=np.int64)
    for part in parts:
        total = (total[:, None] + part).ravel()
    return total
