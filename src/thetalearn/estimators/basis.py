"""Regression on a basis: polynomials, Chebyshev polynomials, B-splines, ReLUs, random features."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike

from .._sklearn_compat import Interval
from ..base import DEVICE
from ..solvers.least_squares import Penalty
from .families import (
    BSplineFamily,
    ChebyshevFamily,
    PolynomialFamily,
    RandomFamily,
    ReLUFamily,
)
from .least_squares import ALPHA, LeastSquaresRegressor

__all__ = [
    "BSplineRegressor",
    "ChebyshevRegressor",
    "PolynomialRegressor",
    "RandomFeatureRegressor",
    "ReLURegressor",
]

Domain = Sequence[float] | Sequence[Sequence[float]] | None


class PolynomialRegressor(PolynomialFamily, LeastSquaresRegressor):
    r"""Least squares on ordinary polynomials, :math:`f(x) = \sum_k \theta_k \prod_j x_j^{k_j}`.

    The coefficients are those of the monomials of the raw inputs. Their design matrix is badly
    conditioned at high degree (see ``condition_number_``): prefer `ChebyshevRegressor` there,
    which spans the same functions.

    Parameters
    ----------
    degree : int, default=3
        Largest degree.
    product : {"complete", "tensor", "hyperbolic", "smolyak", "additive"}, default="complete"
        Which products of several inputs: total degree at most ``degree``; every degree at most
        ``degree``; :math:`\prod_j (k_j + 1) \le` ``degree + 1``; a Smolyak set of univariate degree
        at most ``degree`` (rounded down to a power of two); or no products.
    alpha : float, default=0.0
        Weight of the ridge penalty of all coefficients but the constant's, against half the mean
        squared error.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    coef_ : ndarray of shape (n_terms,) or (n_targets, n_terms)
        Coefficients, in the order of ``term_names_``.
    basis_ : Basis
        The basis functions.
    condition_number_ : float
        Condition number of the design matrix.
    rank_ : int
        Numerical rank; below full rank the coefficients are those of least norm.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, section 11.2. Sawada and Zhong, *Parameterization and Neural Network*, section on
    bases.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import PolynomialRegressor
    >>> x = np.linspace(-1, 1, 9)[:, None]
    >>> model = PolynomialRegressor(degree=2).fit(x, 1 + 2 * x[:, 0] ** 2)
    >>> model.coef_.round(6) + 0.0
    array([1., 0., 2.])
    >>> model.derivative([[1.0]]).round(6)
    array([4.])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **PolynomialFamily._family_constraints,
        **ALPHA,
        **DEVICE,
    }

    def __init__(
        self,
        degree: int = 3,
        *,
        product: str = "complete",
        alpha: float = 0.0,
        device: str | torch.device = "auto",
    ) -> None:
        self.degree = degree
        self.product = product
        self.alpha = alpha
        self.device = device


class ChebyshevRegressor(ChebyshevFamily, LeastSquaresRegressor):
    r"""Least squares on Chebyshev polynomials, :math:`f(x) = \sum_k \theta_k \prod_j T_{k_j}(u_j)`.

    Each input is mapped linearly from its domain to u in [-1, 1]. The basis is well conditioned up
    to hundreds of terms, and for an analytic function sampled at Chebyshev nodes the error falls
    geometrically with the degree. At a kink or jump the polynomials ring (Gibbs): use
    `BSplineRegressor` there.

    Parameters
    ----------
    degree : int, default=3
        Largest degree.
    product : {"complete", "tensor", "hyperbolic", "smolyak", "additive"}, default="complete"
        Which products of several inputs: total degree at most ``degree``; every degree at most
        ``degree``; :math:`\prod_j (k_j + 1) \le` ``degree + 1``; a Smolyak set of univariate degree
        at most ``degree`` (rounded down to a power of two); or no products.
    domain : (float, float) or sequence of such pairs, default=None
        Domain of all inputs or of each, in which the training rows must lie; None takes their
        range.
    extrapolation : {"error", "clip", "linear"}, default="linear"
        Prediction outside the domain: an error, the value at the nearest point of the domain, or
        the tangent there.
    alpha : float, default=0.0
        Weight of the ridge penalty of all coefficients but the constant's, against half the mean
        squared error.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    coef_ : ndarray of shape (n_terms,) or (n_targets, n_terms)
        Coefficients, in the order of ``term_names_``.
    basis_ : Basis
        The basis functions.
    condition_number_ : float
        Condition number of the design matrix.
    rank_ : int
        Numerical rank; below full rank the coefficients are those of least norm.

    References
    ----------
    L. N. Trefethen, *Approximation Theory and Approximation Practice*, chapters 3, 7 and 8.
    K. Judd, *Numerical Methods in Economics*, sections 6.4 and 6.12. Sawada and Zhong,
    *Parameterization and Neural Network*, section on bases.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import ChebyshevRegressor
    >>> from thetalearn.representations.bases import chebyshev_nodes
    >>> x = chebyshev_nodes(16)[:, None]
    >>> model = ChebyshevRegressor(degree=15, domain=(-1, 1)).fit(x, np.exp(x[:, 0]))
    >>> bool(abs(model.predict([[0.3]]) - np.exp(0.3)) < 1e-14)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ChebyshevFamily._family_constraints,
        **ALPHA,
        **DEVICE,
    }

    def __init__(
        self,
        degree: int = 3,
        *,
        product: str = "complete",
        domain: Domain = None,
        extrapolation: str = "linear",
        alpha: float = 0.0,
        device: str | torch.device = "auto",
    ) -> None:
        self.degree = degree
        self.product = product
        self.domain = domain
        self.extrapolation = extrapolation
        self.alpha = alpha
        self.device = device


class BSplineRegressor(BSplineFamily, LeastSquaresRegressor):
    r"""Least squares on B-splines, with an optional penalty of differences (P-spline).

    A spline of degree p is a polynomial between neighbouring knots and p - 1 times continuously
    differentiable at a simple knot. Repeating a knot takes smoothness away: p times allows a kink,
    p + 1 times a jump, at which the value is that of the right piece. Only p + 1 functions are
    nonzero at any point, and the fit uses that: its cost is linear in rows and in knots, and no
    (n_samples, n_terms) matrix is built.

    Parameters
    ----------
    knots : int or array-like, default=8
        Number of interior knots of each input, or the knots themselves, where repeated ones count;
        a list of sequences gives each column its own.
    degree : int, default=3
        Degree of the pieces, at most 50.
    placement : {"uniform", "quantile"}, default="uniform"
        Where to put a given number of knots: at equal distances, or at quantiles of the data.
    kinks : array-like, default=None
        Points at which the slope may jump: knots of multiplicity ``degree``; a list of sequences
        gives each column its own.
    product : {"additive", "tensor"}, default="additive"
        Sum of univariate splines, or all products, whose number grows exponentially with the
        number of inputs.
    domain : (float, float) or sequence of such pairs, default=None
        Domain of all inputs or of each, in which the training rows must lie; None takes their
        range.
    extrapolation : {"error", "clip", "linear"}, default="linear"
        Prediction outside the domain: an error, the value at the nearest point of the domain, or
        the tangent there.
    alpha : float, default=0.0
        Weight of the penalty, against half the mean squared error: half the sum of the squared
        divided differences of neighbouring coefficients, in units of the mean distance of knots.
    penalty_order : int, default=2
        Order of the differences: 1 shrinks towards a constant, 2 towards a straight line, 0 towards
        zero. There are none above ``degree + 1``, which stands for any higher order.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    coef_ : ndarray of shape (n_terms,) or (n_targets, n_terms)
        Coefficients, in the order of ``term_names_``.
    basis_ : Basis
        The basis functions.
    condition_number_ : float
        Condition number of the design matrix.
    rank_ : int
        Numerical rank; below full rank (knots without data) the coefficients are those of least
        norm.

    References
    ----------
    C. de Boor, *A Practical Guide to Splines*, chapters IX, X and XIV. P. Eilers and B. Marx,
    *Flexible Smoothing with B-splines and Penalties*, section 3. Sawada and Zhong,
    *Parameterization and Neural Network*, section on bases.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import BSplineRegressor
    >>> x = np.linspace(0, 1, 101)[:, None]
    >>> y = np.abs(x[:, 0] - 0.5)
    >>> smooth = BSplineRegressor(knots=3).fit(x, y)
    >>> kinked = BSplineRegressor(knots=3, kinks=[0.5]).fit(x, y)
    >>> bool(np.abs(smooth.predict(x) - y).max() > 0.01)
    True
    >>> bool(np.abs(kinked.predict(x) - y).max() < 1e-12)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BSplineFamily._family_constraints,
        **ALPHA,
        "penalty_order": [Interval(Integral, 0, None, closed="left")],
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
        alpha: float = 0.0,
        penalty_order: int = 2,
        device: str | torch.device = "auto",
    ) -> None:
        self.knots = knots
        self.degree = degree
        self.placement = placement
        self.kinks = kinks
        self.product = product
        self.domain = domain
        self.extrapolation = extrapolation
        self.alpha = alpha
        self.penalty_order = penalty_order
        self.device = device

    def _penalty(self) -> Penalty:
        if self.alpha == 0:
            return Penalty()
        order = min(self.penalty_order, self.degree + 1)
        return Penalty(float(self.alpha), rows=self.basis_.differences(order))


class ReLURegressor(ReLUFamily, LeastSquaresRegressor):
    r"""Least squares on shifted ReLUs, :math:`f(x) = \theta_0 + \sum_k \theta_k \max(x - b_k, 0)`.

    A continuous piecewise linear function with kinks at the shifts: a network with one hidden ReLU
    layer whose inner weights are fixed, fitted in closed form. It is constant to the left of the
    first shift and continues linearly to the right.

    Parameters
    ----------
    shifts : int or array-like, default=10
        Number of shifts of each input, the first at the lower end of the domain, or the shifts
        themselves; a list of sequences gives each column its own.
    placement : {"uniform", "quantile"}, default="uniform"
        Where to put a given number of shifts: at equal distances, or at quantiles of the data.
    product : {"additive", "tensor"}, default="additive"
        Sum of univariate functions, or all products.
    domain : (float, float) or sequence of such pairs, default=None
        Interval over which shifts are placed; None takes the range of the data.
    alpha : float, default=0.0
        Weight of the ridge penalty of all coefficients but the constant's, against half the mean
        squared error.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    coef_ : ndarray of shape (n_terms,) or (n_targets, n_terms)
        Coefficients, in the order of ``term_names_``.
    basis_ : Basis
        The basis functions.
    condition_number_ : float
        Condition number of the design matrix.
    rank_ : int
        Numerical rank; below full rank the coefficients are those of least norm.

    References
    ----------
    Feng, *Introduction to Machine Learning for Economists*, section on activations (ReLU basis).

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import ReLURegressor
    >>> x = np.linspace(-np.pi, np.pi, 200)[:, None]
    >>> model = ReLURegressor(shifts=20).fit(x, np.sin(x[:, 0]))
    >>> bool(model.score(x, np.sin(x[:, 0])) > 0.999)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ReLUFamily._family_constraints,
        **ALPHA,
        **DEVICE,
    }

    def __init__(
        self,
        shifts: int | ArrayLike = 10,
        *,
        placement: str = "uniform",
        product: str = "additive",
        domain: Domain = None,
        alpha: float = 0.0,
        device: str | torch.device = "auto",
    ) -> None:
        self.shifts = shifts
        self.placement = placement
        self.product = product
        self.domain = domain
        self.alpha = alpha
        self.device = device


class RandomFeatureRegressor(RandomFamily, LeastSquaresRegressor):
    r"""Ridge regression on random Fourier or ReLU features.

    The inner weights are drawn and stay; only the outer layer is fitted, in closed form. With many
    components the fit tends to kernel ridge regression with the Gaussian kernel (Fourier) or the
    arc-cosine kernel (ReLU), at a cost linear in the number of rows.

    Parameters
    ----------
    n_components : int, default=100
        Number of random features.
    kind : {"fourier", "relu"}, default="fourier"
        :math:`\cos(\omega \cdot x + b)` or :math:`\max(\omega \cdot x + b, 0)`.
    gamma : float or "scale", default="scale"
        Width parameter γ of the Gaussian kernel :math:`\exp(-\gamma\|x - x'\|^2)`; the inner
        weights have variance 2γ. "scale" is 1 / (n_features * variance of X).
    alpha : float, default=1e-4
        Weight of the ridge penalty of all coefficients but the constant's, against half the mean
        squared error.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.
    random_state : int, RandomState instance or None, default=None
        Seed of the inner weights.

    Attributes
    ----------
    coef_ : ndarray of shape (n_terms,) or (n_targets, n_terms)
        Coefficients, the constant's first.
    basis_ : Basis
        The random features.
    condition_number_ : float
        Condition number of the design matrix.
    rank_ : int
        Numerical rank; below full rank the coefficients are those of least norm.

    References
    ----------
    A. Rahimi and B. Recht, *Random Features for Large-Scale Kernel Machines*, section 3. Y. Cho and
    L. Saul, *Kernel Methods for Deep Learning*, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import RandomFeatureRegressor
    >>> x = np.linspace(-3, 3, 200)[:, None]
    >>> model = RandomFeatureRegressor(random_state=0).fit(x, np.sin(x[:, 0]))
    >>> bool(model.score(x, np.sin(x[:, 0])) > 0.99)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **RandomFamily._family_constraints,
        **ALPHA,
        **DEVICE,
    }

    def __init__(
        self,
        n_components: int = 100,
        *,
        kind: str = "fourier",
        gamma: float | str = "scale",
        alpha: float = 1e-4,
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.kind = kind
        self.gamma = gamma
        self.alpha = alpha
        self.device = device
        self.random_state = random_state
