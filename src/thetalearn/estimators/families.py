"""The families of bases: their parameters, and the basis that these make of the data.

Each family serves a regressor in `basis.py` and a transformer in `features.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .._sklearn_compat import Interval, StrOptions
from ..base import EXTRAPOLATION, RANDOM_STATE
from ..exceptions import DomainError, warn_user
from ..randomness import random_numbers
from ..representations.bases import (
    AdditiveBSpline,
    Basis,
    BSpline,
    Chebyshev,
    Polynomial,
    ProductBasis,
    RandomFourier,
    RandomReLU,
    ShiftedReLU,
    TensorBSpline,
    additive_indices,
    complete_indices,
    hyperbolic_indices,
    quantile_knots,
    smolyak_indices,
    tensor_indices,
    uniform_knots,
)
from ..representations.bases.basis import DOMAIN_SLACK

DEGREE = {"degree": [Interval(Integral, 0, None, closed="left")]}
DOMAIN = {"domain": ["array-like", None]}
PRODUCT = {"product": [StrOptions({"complete", "tensor", "hyperbolic", "smolyak", "additive"})]}
LOCAL_PRODUCT = {"product": [StrOptions({"tensor", "additive"})]}
PLACEMENT = {"placement": [StrOptions({"uniform", "quantile"})]}
POINTS = [Interval(Integral, 0, None, closed="left"), "array-like"]

#: Numbers that a banded factor may hold, 0.8 GB.
MAX_BAND = 1e8


def smolyak_level(degree: int) -> int:
    """The largest level whose univariate degree does not exceed the given one."""
    if degree == 1:
        raise ValueError(
            "degree=1 holds no Smolyak set but the constant: choose at least 2, or another product"
        )
    return int(np.log2(degree)) if degree else 0


#: A product of univariate functions for d inputs, by name.
GRADED_PRODUCTS: dict[str, Callable[[int, int], np.ndarray]] = {
    "complete": complete_indices,
    "tensor": lambda d, degree: tensor_indices([degree + 1] * d),
    "hyperbolic": hyperbolic_indices,
    "smolyak": lambda d, degree: smolyak_indices(d, smolyak_level(degree)),
    "additive": lambda d, degree: additive_indices([degree + 1] * d),
}


class PolynomialFamily:
    """Products of monomials."""

    _family_constraints: ClassVar[dict[str, list[Any]]] = {**DEGREE, **PRODUCT}

    def _make_basis(self: Any, X: Tensor, weight: Tensor | None) -> Basis:
        d = X.shape[1]
        indices = GRADED_PRODUCTS[self.product](d, self.degree)
        return ProductBasis([Polynomial(self.degree)] * d, indices)


class DomainFamily:
    """A family on a box, which is given or taken from the data."""

    _family_constraints: ClassVar[dict[str, list[Any]]] = {**DOMAIN}
    #: Whether rows arrive by ``partial_fit``: a range of zero width may then still grow.
    _streaming = False

    def _resolve_domain(self: Any, X: Tensor) -> np.ndarray:
        """Lower and upper ends, shape (d, 2)."""
        d = X.shape[1]
        low, high = (t.to(torch.float64).cpu().numpy() for t in X.aminmax(dim=0))
        if self.domain is None:
            self._seen = np.stack([low, high], axis=1)
            return self._box_of(self._seen, len(X))
        given = np.asarray(self.domain, dtype=np.float64)
        if given.shape not in ((2,), (d, 2)):
            raise ValueError(
                f"domain={self.domain!r} must hold (low, high), or one such pair for each of the "
                f"{d} columns"
            )
        if not (np.isfinite(given).all() and (given[..., 0] < given[..., 1]).all()):
            raise DomainError(
                f"domain={self.domain!r} must hold finite numbers, the lower before the higher"
            )
        box = np.broadcast_to(given, (d, 2))
        self._check_inside(X, box, "give a wider domain, or drop the rows")
        return box

    def _box_of(self: Any, seen: np.ndarray, n_samples: int) -> np.ndarray:
        """The range of the data, which must have a width; while streaming it may still get one."""
        box = seen.copy()
        for j in np.flatnonzero(box[:, 0] == box[:, 1]):
            if not self._streaming:
                raise DomainError(
                    f"column {self._input_names()[j]!r} is constant ({box[j, 0]:.6g}) over "
                    f"n_samples={n_samples}, so its domain has zero width: drop the column, or "
                    "give domain="
                )
            box[j] += np.array([-1e-6, 1e-6]) * max(abs(box[j, 0]), 1.0)
        return box

    def _check_inside(self: Any, X: Tensor, box: np.ndarray, remedy: str) -> None:
        ends = torch.tensor(box, device=X.device)
        slack = DOMAIN_SLACK * (ends[:, 1] - ends[:, 0])
        outside = (ends[:, 0] - slack > X) | (ends[:, 1] + slack < X)
        if outside.any():
            i, j = (int(k) for k in torch.nonzero(outside)[0])
            raise DomainError(
                f"column {self._input_names()[j]!r} holds {X[i, j].item():.6g} (row {i}), outside "
                f"the domain [{box[j, 0]:.6g}, {box[j, 1]:.6g}]; {int(outside.any(1).sum())} "
                f"row(s) lie outside: {remedy}"
            )


class BoundedFamily(DomainFamily):
    """A family of functions that are continued outside their domain by a policy."""

    _family_constraints: ClassVar[dict[str, list[Any]]] = {
        **DomainFamily._family_constraints,
        **EXTRAPOLATION,
    }

    def _check_extrapolation(self: Any, X: Tensor) -> None:
        """Apply the policy "error", naming the column."""
        if self.extrapolation == "error":
            box = np.array([[f.interval.low, f.interval.high] for f in self.basis_.factors])
            remedy = 'give a wider domain=, or choose extrapolation="clip" or "linear"'
            self._check_inside(X, box, remedy)


class ChebyshevFamily(BoundedFamily):
    """Products of Chebyshev polynomials."""

    _family_constraints: ClassVar[dict[str, list[Any]]] = {
        **DEGREE,
        **PRODUCT,
        **BoundedFamily._family_constraints,
    }

    def _make_basis(self: Any, X: Tensor, weight: Tensor | None) -> Basis:
        indices = GRADED_PRODUCTS[self.product](X.shape[1], self.degree)
        box = self._resolve_domain(X)
        factors = [Chebyshev(self.degree, tuple(ends), self.extrapolation) for ends in box]
        return ProductBasis(factors, indices)

    def _grow_basis(self: Any, X: Tensor) -> None:
        """Widen the domain to the new rows: it is the same space of polynomials."""
        if self.domain is not None:
            self._resolve_domain(X)
            return
        low, high = (t.to(torch.float64).cpu().numpy() for t in X.aminmax(dim=0))
        self._widen(np.stack([low, high], axis=1))

    def _widen(self: Any, range_: np.ndarray) -> None:
        seen = np.stack(
            [
                np.minimum(self._seen[:, 0], range_[:, 0]),
                np.maximum(self._seen[:, 1], range_[:, 1]),
            ],
            axis=1,
        )
        if np.array_equal(seen, self._seen):
            return
        # Where one value was seen, the domain made up around it says nothing about the new one.
        points = {j: self._seen[j, 0] for j in range(len(seen)) if np.ptp(self._seen[j]) == 0}
        self._seen = seen
        box = self._box_of(seen, self.n_samples_seen_)
        self.basis_, combine = self.basis_.widened(box[:, 0], box[:, 1], points)
        self._factor.change_terms(combine)

    def _adopt_basis(self: Any, other: Any) -> Any:
        if self.domain is None and other.domain is None:
            other = deepcopy(other)
            other._widen(self._seen)
            widened = deepcopy(self)
            widened._widen(other._seen)
            if widened.basis_ == other.basis_:
                self._widen(other._seen)
        return super()._adopt_basis(other)  # type: ignore[misc]


class BSplineFamily(BoundedFamily):
    """B-splines of each input, added or multiplied."""

    _family_constraints: ClassVar[dict[str, list[Any]]] = {
        # Far beyond use: the condition number of B-splines grows as 2^degree.
        "degree": [Interval(Integral, 0, 50, closed="both")],
        "knots": POINTS,
        "kinks": ["array-like", None],
        **PLACEMENT,
        **LOCAL_PRODUCT,
        **BoundedFamily._family_constraints,
    }

    def _make_basis(self: Any, X: Tensor, weight: Tensor | None) -> Basis:
        box = self._resolve_domain(X)
        columns = per_column("knots", self.knots, X.shape[1])
        kinks = per_column("kinks", self.kinks, X.shape[1])
        factors = []
        for j, ends in enumerate(box):
            knots = place_points(columns[j], X[:, j], tuple(ends), self.placement, weight)
            self._check_kinks(kinks[j], j, ends)
            knots = with_kinks(knots, kinks[j], self.degree, float(ends[1] - ends[0]))
            try:
                factors.append(BSpline(knots, self.degree, tuple(ends), self.extrapolation))
            except ValueError as error:
                raise type(error)(f"column {self._input_names()[j]!r}: {error}") from None
        if self.product == "tensor" or len(factors) == 1:
            check_band(factors)
            return TensorBSpline(factors)
        return AdditiveBSpline(factors)

    def _check_kinks(self: Any, kinks: Any, j: int, ends: np.ndarray) -> None:
        points = np.empty(0) if kinks is None else np.asarray(kinks, dtype=np.float64)
        outside = points[~((points > ends[0]) & (points < ends[1]))]
        if len(outside):
            raise ValueError(
                f"kinks={outside.tolist()} of column {self._input_names()[j]!r} lie outside the "
                f"open domain ({ends[0]:.6g}, {ends[1]:.6g}): leave them out, or give a wider "
                "domain="
            )

    def _grow_basis(self: Any, X: Tensor) -> None:
        """Check that the new rows lie in the domain, which the knots have fixed."""
        if self.placement == "quantile" and isinstance(self.knots, Integral):
            warn_of_first_rows(type(self).__name__)
        box = np.array([[f.interval.low, f.interval.high] for f in self.basis_.factors])
        self._check_inside(X, box, "knots cannot move once rows were seen; give domain= at first")


class ReLUFamily(DomainFamily):
    """Shifted ReLUs of each input, added or multiplied."""

    _family_constraints: ClassVar[dict[str, list[Any]]] = {
        "shifts": POINTS,
        **PLACEMENT,
        **LOCAL_PRODUCT,
        **DomainFamily._family_constraints,
    }

    def _make_basis(self: Any, X: Tensor, weight: Tensor | None) -> Basis:
        columns = per_column("shifts", self.shifts, X.shape[1])
        given = all(not isinstance(c, Integral) for c in columns)
        box = np.zeros((X.shape[1], 2)) if given else self._resolve_domain(X)
        self._box = box
        factors = []
        for j, ends in enumerate(box):
            if isinstance(columns[j], Integral):
                inner = place_points(
                    max(columns[j] - 1, 0), X[:, j], tuple(ends), self.placement, weight
                )
                factors.append(ShiftedReLU(np.r_[ends[0], inner] if columns[j] else []))
            else:
                factors.append(ShiftedReLU(columns[j]))
        indices = (additive_indices if self.product == "additive" else tensor_indices)(
            [f.n_terms for f in factors]
        )
        return ProductBasis(factors, indices)

    def _grow_basis(self: Any, X: Tensor) -> None:
        """Check that the new rows lie in the domain over which the shifts were placed."""
        if self.placement == "quantile" and isinstance(self.shifts, Integral):
            warn_of_first_rows(type(self).__name__)
        if isinstance(self.shifts, Integral):
            remedy = "shifts cannot move once rows were seen; give domain= at first"
            self._check_inside(X, self._box, remedy)


class RandomFamily:
    """Random Fourier or ReLU features."""

    _family_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "kind": [StrOptions({"fourier", "relu"})],
        "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"})],
        **RANDOM_STATE,
    }

    def _make_basis(self: Any, X: Tensor, weight: Tensor | None) -> Basis:
        family = RandomFourier if self.kind == "fourier" else RandomReLU
        gamma = scale_gamma(X, weight) if self.gamma == "scale" else float(self.gamma)
        rng = random_numbers(self.random_state)
        return family.draw(X.shape[1], self.n_components, gamma, rng)

    def _grow_basis(self: Any, X: Tensor) -> None:
        """Nothing grows; a scale taken from the data stays that of the first rows."""
        if self.gamma == "scale":
            warn_of_first_rows(type(self).__name__)


def warn_of_first_rows(name: str) -> None:
    """Say that an update cannot equal one fit."""
    warn_user(
        f"{name}.partial_fit: what the basis learns from the data was learnt from the first rows, "
        "so the result differs from one fit on all rows. Give it as a parameter instead",
        UserWarning,
    )


def check_band(factors: list[BSpline]) -> None:
    """Refuse a tensor product whose banded factor would not fit into memory."""
    n_terms, width = 1.0, 0.0
    for factor in factors:
        n_terms *= factor.n_terms
        width = width * factor.n_terms + factor.degree + 1
    if n_terms * width > MAX_BAND:
        remedy = "choose fewer knots" + (' or product="additive"' if len(factors) > 1 else "")
        raise ValueError(
            f"the splines of {len(factors)} column(s) have {n_terms:.4g} terms, whose banded "
            f"factor of width {width:.4g} would need {8e-9 * n_terms * width:.3g} GB: {remedy}"
        )


def scale_gamma(X: Tensor, weight: Tensor | None) -> float:
    """One over the number of inputs times their mean square distance from the centre."""
    x = X.to(torch.float64)
    w = x.new_ones(len(x)) if weight is None else weight
    centred = x - (w @ x) / w.sum()
    variance = float((w @ centred.square()).sum() / (w.sum() * x.shape[1]))
    return 1.0 / (x.shape[1] * variance) if variance > 0 else 1.0


def per_column(name: str, points: Any, n_columns: int) -> list[Any]:
    """One entry for each column: an int, points, or a list of either for each column."""
    if points is None or isinstance(points, Integral):
        return [points] * n_columns
    nested = any(np.ndim(p) > 0 for p in points)
    if not nested:
        return [np.asarray(points, dtype=np.float64)] * n_columns
    if len(points) != n_columns:
        raise ValueError(
            f"{name} holds points for {len(points)} columns, but X has {n_columns}: give one "
            "sequence for all columns, or one for each"
        )
    return [p if isinstance(p, Integral) else np.asarray(p, dtype=np.float64) for p in points]


def place_points(
    points: Any, x: Tensor, ends: tuple[float, float], placement: str, weight: Tensor | None
) -> np.ndarray:
    """Interior points: as given, or as many as asked for, at equal distance or at quantiles."""
    if not isinstance(points, Integral):
        return np.sort(points)
    if placement == "uniform":
        return uniform_knots(int(points), ends)
    return quantile_knots(
        int(points),
        x.to(torch.float64).cpu().numpy(),
        ends,
        None if weight is None else weight.cpu().numpy(),
    )


def with_kinks(knots: np.ndarray, kinks: Any, degree: int, width: float) -> np.ndarray:
    """Knots with each kink repeated ``degree`` times, so that the slope may jump there.

    Knots that rounding has set apart from a kink, or from each other, are taken as one: they would
    repeat it once more.
    """
    near = 1e-9 * width
    knots = np.array(knots, dtype=np.float64)
    for i in range(1, len(knots)):
        if 0 < knots[i] - knots[i - 1] < near:
            knots[i] = knots[i - 1]
    if kinks is None or len(kinks) == 0:
        return knots
    points = np.unique(kinks)
    apart = np.abs(knots[:, None] - points).min(1) >= near
    return np.sort(np.r_[knots[apart], np.repeat(points, max(degree, 1))])
