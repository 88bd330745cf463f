"""Linear regression, plain and penalised."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .._sklearn_compat import Interval
from ..base import DEVICE
from ..exceptions import ConvergenceWarning, warn_user
from ..monitor import FitMonitor
from ..representations.bases import Affine, Basis
from ..solvers.least_squares import Penalty, Solution
from .least_squares import ALPHA, LeastSquaresRegressor

__all__ = ["LinearRegressor"]


class LinearRegressor(LeastSquaresRegressor):
    r"""Linear regression with no penalty, ridge, lasso or elastic net.

    Minimises

    .. math::

        \frac{1}{2\sum_i w_i} \sum_i w_i (y_i - b - x_i^\top\theta)^2
        + \alpha\Big(\rho\|\theta\|_1 + \frac{1 - \rho}{2}\|\theta\|_2^2\Big)

    over the coefficients θ and the intercept b, which is not penalised. The rows are reduced to
    their triangular factor by QR; lasso and elastic net then run coordinate descent on the factor,
    at a cost that does not depend on the number of rows, and give exact zeros.

    Parameters
    ----------
    alpha : float, default=0.0
        Weight α ≥ 0 of the penalty, against the *mean* of the squared errors: scikit-learn's
        ``ElasticNet(alpha=a)`` has ``alpha=a``, its ``Ridge(alpha=a)`` has ``alpha=a / n_samples``.
    l1_ratio : float, default=0.0
        Share ρ of the l1 norm in the penalty, in [0, 1]: 0 is ridge, 1 is lasso.
    fit_intercept : bool, default=True
        Whether to fit the intercept b.
    tol : float, default=1e-8
        Tolerance of coordinate descent on the duality gap, relative to the squared norm of y.
    max_iter : int, default=10000
        Sweeps of coordinate descent at most.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients θ.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept b.
    rank_ : int
        Numerical rank, the intercept included; below full rank the coefficients are those of
        least norm.
    condition_number_ : float
        Condition number of the design matrix.
    n_iter_ : int
        Sweeps of coordinate descent; 1 for a direct solution.
    converged_ : bool
        Whether the tolerance was met.
    history_ : list of dict
        Sweeps and duality gap of coordinate descent for each target.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, sections 2.6 and 9.2. H. Zou and T. Hastie, *Regularization and Variable Selection
    via the Elastic Net*, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import LinearRegressor
    >>> X = np.array([[0.0], [2.0], [1.0]])
    >>> model = LinearRegressor().fit(X, [1.0, 0.0, 3.0])
    >>> model.coef_.round(6), round(float(model.intercept_), 6)
    (array([-0.5]), 1.833333)
    """

    _accepts_sparse = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ALPHA,
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        **DEVICE,
    }

    def __init__(
        self,
        *,
        alpha: float = 0.0,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        tol: float = 1e-8,
        max_iter: int = 10_000,
        device: str | torch.device = "auto",
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.device = device

    def _make_basis(self, X: Tensor, weight: Tensor | None) -> Basis:
        return Affine(X.shape[1], self.fit_intercept)

    def _has_constant(self) -> bool:
        return self.basis_.constant

    def _penalty(self) -> Penalty:
        return Penalty(
            float(self.alpha), float(self.l1_ratio), tol=self.tol, max_iter=self.max_iter
        )

    def _note_iterations(self, solution: Solution, monitor: FitMonitor) -> None:
        # A direct solve counts as one iteration, as scikit-learn's checks expect of max_iter.
        self.n_iter_, self.history_ = max(solution.n_iter, 1), monitor.history
        self.converged_ = solution.converged
        try:
            for record in solution.history:
                monitor(record)
        except KeyboardInterrupt:
            self.converged_ = False
        if not self.converged_:
            warn_user(
                f"coordinate descent stopped at max_iter={self.max_iter} sweeps without meeting "
                f"tol={self.tol}: raise max_iter or alpha, or scale the columns",
                ConvergenceWarning,
            )

    def _set_coef(self, coef: np.ndarray) -> None:
        constant = self.basis_.constant
        intercept = coef[0] if constant else np.zeros(coef.shape[1])
        self.intercept_ = float(intercept[0]) if self._one_target else intercept.copy()
        self.coef_ = self._coef_like_y(coef[int(constant) :])

    def _coefficients(self) -> np.ndarray:
        coef = self._coef_matrix(self.coef_)
        if not self.basis_.constant:
            return coef
        return np.vstack([np.atleast_1d(self.intercept_), coef])
