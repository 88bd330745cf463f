"""Chebyshev polynomials of the first kind on an interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .basis import BoundedBasis, Extrapolation, Interval

__all__ = ["Chebyshev"]


class Chebyshev(BoundedBasis):
    r"""Chebyshev polynomials :math:`T_0, \dots, T_p` on an interval.

    With the map :math:`u = (2x - a - b)/(b - a)` of the domain [a, b] to [-1, 1],

    .. math:: T_k(x) = \cos(k \arccos u), \qquad T_{k+1} = 2u\,T_k - T_{k-1}.

    Unlike monomials they stay well conditioned at any degree, and for an analytic function the
    error of interpolation at Chebyshev nodes falls geometrically with the degree.

    Parameters
    ----------
    degree : int
        Largest degree p; there are p + 1 functions.
    domain : (float, float), default=(-1.0, 1.0)
        The interval [a, b].
    extrapolation : {"error", "clip", "linear"}, default="linear"
        What the functions are outside the domain: an error, their value at the nearest end, or
        their tangent there.
    overshoot : float, default=0.0
        Share of the domain's width by which it may be left on either side before that happens:
        until there, the functions go on as the polynomials that they are.

    References
    ----------
    L. N. Trefethen, *Approximation Theory and Approximation Practice*, chapters 3 and 8.
    Sawada and Zhong, *Parameterization and Neural Network*, section on bases.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.bases import Chebyshev
    >>> Chebyshev(3)(torch.tensor([[0.5]], dtype=torch.float64))
    tensor([[ 1.0000,  0.5000, -0.5000, -1.0000]], dtype=torch.float64)
    """

    def __init__(
        self,
        degree: int,
        domain: tuple[float, float] = (-1.0, 1.0),
        extrapolation: Extrapolation = "linear",
        overshoot: float = 0.0,
    ) -> None:
        self.degree = degree
        self.overshoot = overshoot
        self.interval = Interval(*domain, extrapolation)
        margin = overshoot * self.interval.width
        self._reach = Interval(
            self.interval.low - margin, self.interval.high + margin, extrapolation
        )
        self.n_terms = degree + 1

    def _terms(self, x: Tensor, order: int) -> Tensor:
        return self._reach.continued(x, order, self._inside)

    def _inside(self, x: Tensor, order: int) -> Tensor:
        u = (2 * x - (self.interval.low + self.interval.high)) / self.interval.width
        u = u.clamp(-1.0 - 2 * self.overshoot, 1.0 + 2 * self.overshoot)
        scale = 2.0 / self.interval.width
        if order == 0:
            return chebyshev_terms(u, self.degree)
        if order == -1:
            primitives = torch.from_numpy(_primitive_matrix(self.degree)).to(x)
            return primitives @ chebyshev_terms(u, self.degree + 1) / scale
        # T_k^(m) = 2^(m-1) (m-1)! k C^(m)_{k-m}: differentiating in coefficient space is cheap and
        # leaves the recurrence itself as the only thing evaluated at the points.
        if order > self.degree:
            return x.new_zeros(self.n_terms, len(x))
        factor = 2.0 ** (order - 1) * float(np.prod(np.arange(1, order), dtype=float))
        degrees = torch.arange(order, self.n_terms, dtype=x.dtype, device=x.device)[:, None]
        terms = ultraspherical_terms(u, self.degree - order, order)
        return torch.cat([x.new_zeros(order, len(x)), scale**order * factor * degrees * terms])

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``T0(x), T1(x), ...``."""
        return [f"T{k}({input_names[0]})" for k in range(self.n_terms)]

    def widened(
        self, low: float, high: float, point: float | None = None
    ) -> tuple[Chebyshev, Tensor]:
        """The same functions on a larger domain, and how they combine those of this domain.

        Returns the wider basis and the matrix C with ``wider(x) = self(x) @ C`` for x in this
        domain, whatever lies in between: both span the polynomials of the same degree. With
        ``point``, C holds at this x alone, and the new domain need not contain the old one.
        """
        wider = Chebyshev(self.degree, (low, high), self.interval.extrapolation)
        if point is not None:
            combine = torch.zeros(self.n_terms, self.n_terms, dtype=torch.float64)
            combine[0] = wider._terms(combine.new_tensor([point]), 0)[:, 0]
            return wider, combine
        # u_wider = slope * u + shift, and |u_wider| <= 1 here, so the recurrence stays stable.
        slope = self.interval.width / wider.interval.width
        middle = self.interval.low + self.interval.high - (low + high)
        shift = middle / wider.interval.width
        combine = torch.zeros(self.n_terms, self.n_terms, dtype=torch.float64)
        combine[0, 0] = 1.0
        if self.degree:
            combine[0, 1], combine[1, 1] = shift, slope
        for k in range(2, self.n_terms):
            previous = combine[:, k - 1]
            product = torch.zeros(self.n_terms, dtype=torch.float64)
            product[1:] += previous[:-1] / 2
            product[:-1] += previous[1:] / 2
            product[1] += previous[0] / 2
            combine[:, k] = 2 * (slope * product + shift * previous) - combine[:, k - 2]
        return wider, combine


def chebyshev_terms(u: Tensor, degree: int) -> Tensor:
    """T_0(u), ..., T_degree(u) for u of shape (n,), as rows of shape (degree + 1, n)."""
    if u.requires_grad:
        values = [torch.ones_like(u), u]
        for _ in range(2, degree + 1):
            values.append(2 * u * values[-1] - values[-2])
        return torch.stack(values[: degree + 1])
    terms = u.new_empty(degree + 1, len(u))
    rows = terms.unbind(0)
    rows[0].fill_(1.0)
    if degree:
        rows[1].copy_(u)
    doubled = 2 * u
    for k in range(2, degree + 1):
        torch.mul(doubled, rows[k - 1], out=rows[k]).sub_(rows[k - 2])
    return terms


def ultraspherical_terms(u: Tensor, degree: int, weight: int) -> Tensor:
    """Gegenbauer polynomials C^(weight)_0, ..., C^(weight)_degree at u, as rows."""
    factors = [(2 * (k + weight - 1) / k, (k + 2 * weight - 2) / k) for k in range(2, degree + 1)]
    if u.requires_grad:
        values = [torch.ones_like(u), 2 * weight * u]
        for up, down in factors:
            values.append(up * u * values[-1] - down * values[-2])
        return torch.stack(values[: degree + 1])
    terms = u.new_empty(degree + 1, len(u))
    rows = terms.unbind(0)
    rows[0].fill_(1.0)
    if degree:
        torch.mul(u, 2 * weight, out=rows[1])
    for k, (up, down) in enumerate(factors, start=2):
        torch.mul(u, rows[k - 1], out=rows[k]).mul_(up).sub_(rows[k - 2], alpha=down)
    return terms


def _primitive_matrix(degree: int) -> np.ndarray:
    """Row k holds the Chebyshev coefficients of the integral of T_k from -1, to degree + 1."""
    primitives = np.zeros((degree + 1, degree + 2))
    for k in range(degree + 1):
        unit = np.zeros(k + 1)
        unit[k] = 1.0
        row = np.polynomial.chebyshev.chebint(unit, lbnd=-1)
        primitives[k, : len(row)] = row
    return primitives
