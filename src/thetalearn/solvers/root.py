"""Systems of equations: Newton for square ones, Gauss-Newton for over-determined ones, L-BFGS.

A system has M equations in K unknowns θ. It hands over its residuals R(θ) and their dense Jacobian
J(θ); nothing here knows what the equations mean. A residual that is not finite says that θ is
infeasible: the solvers then try a shorter step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from .newton import INTERRUPTED, Report, ignore

__all__ = ["Descent", "Residuals", "Root", "gauss_newton", "minimize_lbfgs", "newton"]

#: Share of the decrease that a linear model promises which a step must bring (Armijo).
ARMIJO = 1e-4

#: A Newton direction is halved this often; a shorter one says that the Jacobian is near singular.
HALVINGS = 10

#: An old Jacobian serves as long as each step with it shrinks the residual by this factor.
CHORD_FACTOR = 0.1

#: Damping at first, in units of the scaled J'J, and what a perfect step leaves of it.
FIRST_DAMPING, SHRINK = 1e-3, 0.01

#: Damping that makes a singular J'J positive definite, and hardly changes any other.
UNDAMPED = float(np.finfo(np.float64).eps)

#: Damping where Newton's direction fails, the factor between trials, and their number.
LEAST_DAMPING, RAISE, TRIALS = 1e-6, 30.0, 15

#: Columns of the Jacobian shorter than this share of the longest are damped as if they had it.
COLUMN_FLOOR = 1e-6

#: Cosine between the residual and every column of the Jacobian at a least-squares solution.
ORTHOGONAL = 1e-8

#: Rounding of a residual, in units of eps Σ|J||θ|.
FLOOR = 16.0

#: L-BFGS without further descent is at the minimum if this share of the first gradient is left.
STALLED = 1e-6

MET = "tolerance met"
STOPPED = "stopped by a callback"
NO_DESCENT = "no further descent"
NOT_FINITE = "the residual is not finite at the start: start from a feasible theta"


class Residuals(Protocol):
    """What the solvers ask of a system of M equations in K unknowns.

    ``linearize`` is called at a θ that ``residual`` has just seen, as the same tensor, so that a
    system may keep what both need.
    """

    def residual(self, theta: Tensor) -> Tensor:
        """R(θ) of shape (M,); inf or NaN where θ is infeasible."""

    def linearize(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """R(θ) of shape (M,) and the Jacobian dR/dθ of shape (M, K)."""


@dataclass(frozen=True)
class Root:
    """Where a solver ended.

    Parameters
    ----------
    theta : Tensor of shape (K,)
        The last iterate.
    residual : Tensor of shape (M,)
        The residuals there.
    n_iter : int
        Steps taken.
    converged : bool
        Whether the tolerance was met, or as much of it as rounding allows.
    reason : str
        Why the solver ended.

    Examples
    --------
    >>> import torch
    >>> Root(torch.ones(1), torch.zeros(1), 3, True, "tolerance met").converged
    True
    """

    theta: Tensor
    residual: Tensor
    n_iter: int
    converged: bool
    reason: str


@dataclass(frozen=True)
class Descent:
    """Where a minimisation ended.

    Parameters
    ----------
    theta : Tensor of shape (K,)
        The last iterate, the lowest of all.
    value : float
        The function there.
    n_iter : int
        Steps taken.
    converged : bool
        Whether the gradient is within the tolerance, or as near to it as rounding allows.
    reason : str
        Why the solver ended.

    Examples
    --------
    >>> import torch
    >>> Descent(torch.ones(1), 0.5, 3, True, "tolerance met").value
    0.5
    """

    theta: Tensor
    value: float
    n_iter: int
    converged: bool
    reason: str


def newton(
    system: Residuals,
    theta: Tensor,
    *,
    tol: float,
    max_iter: int,
    report: Report = ignore,
    chord: bool = False,
) -> Root:
    """Solve R(θ) = 0 with as many equations as unknowns by damped Newton steps.

    A step solves J d = −R and is halved until ‖R‖ falls by Armijo's rule. Where J is singular or d
    does not lead down, the step solves (J'J + μD) d = −J'R instead, with μ raised until ‖R‖ falls
    (Levenberg-Marquardt, D = diag J'J). A semismooth system, such as one of Fischer-Burmeister
    functions, may return any element of the generalised Jacobian.

    Parameters
    ----------
    system : Residuals
        The equations, with M = K.
    theta : Tensor of shape (K,)
        Where to start; its residual must be finite. Its dtype and device are those of the work.
    tol : float
        Stops when max |R| ≤ ``tol``. Where rounding hides any further descent and max |R| is at
        most 16 eps max Σ|J||θ|, the search has converged too, and the reason says so.
    max_iter : int
        Steps at most.
    report : callable, default=(goes on)
        Told of every step: ``residual`` (max |R|), ``loss`` (half the mean of R²), ``step``
        (max |d|) and ``damping`` (μ, 0 for a Newton step). Returning True stops the search.
    chord : bool, default=False
        Whether to keep a factorised Jacobian as long as every step with it shrinks ‖R‖ tenfold:
        more steps, fewer Jacobians.

    Returns
    -------
    Root
        ``converged`` is False at a stationary point of ‖R‖ that is not a root.

    Raises
    ------
    ValueError
        If the system is not square.

    References
    ----------
    J. Nocedal and S. Wright, *Numerical Optimization*, section 11.2. L. Qi and J. Sun, *A nonsmooth
    version of Newton's method* (semismooth systems). C. T. Kelley, *Solving Nonlinear Equations
    with Newton's Method*, section 2.3 (chord steps).

    Examples
    --------
    >>> import torch
    >>> class Circle:
    ...     def residual(self, theta):
    ...         return torch.stack([theta @ theta - 1, theta[0] - theta[1]])
    ...     def linearize(self, theta):
    ...         rows = [2 * theta, torch.tensor([1.0, -1.0], dtype=theta.dtype)]
    ...         return self.residual(theta), torch.stack(rows)
    >>> start = torch.tensor([1.0, 0.5], dtype=torch.float64)
    >>> found = newton(Circle(), start, tol=1e-12, max_iter=20)
    >>> found.converged, found.theta.numpy().round(4)
    (True, array([0.7071, 0.7071]))
    """
    residual = system.residual(theta)
    if len(residual) != len(theta):
        raise ValueError(
            f"newton solves as many equations as unknowns, got {len(residual)} equations for "
            f"theta of length {len(theta)}; use gauss_newton"
        )
    if not _finite(residual):
        return Root(theta, residual, 0, False, NOT_FINITE)
    search = _NewtonSearch(system, chord)
    n_iter = 0
    try:
        while _size(residual) > tol:
            if n_iter == max_iter:
                return _ended(theta, residual, n_iter, tol, f"max_iter={max_iter} steps taken")
            moved = search.step(theta, residual)
            if isinstance(moved, str):
                at_floor = _size(residual) <= search.floor(theta)
                return Root(theta, residual, n_iter, at_floor, moved)
            record = _record(theta, moved, search.damping)
            (theta, residual), n_iter = moved, n_iter + 1
            if report(record, theta):
                return _ended(theta, residual, n_iter, tol, STOPPED)
    except KeyboardInterrupt:
        return _ended(theta, residual, n_iter, tol, INTERRUPTED)
    return Root(theta, residual, n_iter, True, MET)


class _NewtonSearch:
    """Steps of Newton's method, with the Jacobian that they share."""

    def __init__(self, system: Residuals, chord: bool) -> None:
        self.system, self.chord = system, chord
        self.damping = 0.0
        self._trial_damping = LEAST_DAMPING
        self._jacobian: Tensor | None = None
        self._factor: tuple[Tensor, Tensor] | None = None

    def step(self, theta: Tensor, residual: Tensor) -> tuple[Tensor, Tensor] | str:
        """The next iterate and its residual, or why there is none."""
        if self._jacobian is not None:
            moved = self._newton_step(theta, residual, halvings=0)
            if moved is not None:
                return self._keep(residual, moved)
        residual, self._jacobian = self.system.linearize(theta)
        if not _finite(self._jacobian):
            return "the Jacobian is not finite: start elsewhere, or bound theta away from here"
        self._factor = _factorise(self._jacobian)
        moved = self._newton_step(theta, residual, halvings=0)
        if moved is None:
            if _size(residual) <= self.floor(theta):
                return f"rounding hides further descent: max |residual| is {_size(residual):.1e}"
            moved = self._newton_step(theta, residual, halvings=HALVINGS)
        if moved is None:
            moved = self._damped_step(theta, residual)
        if moved is None:
            return (
                f"no step shrinks the residual, of which {_size(residual):.1e} is left: theta is "
                "not a root; start elsewhere"
            )
        return self._keep(residual, moved)

    def floor(self, theta: Tensor) -> float:
        """Size of a residual that may be rounding."""
        return 0.0 if self._jacobian is None else _rounding(self._jacobian, theta)

    def _keep(self, residual: Tensor, moved: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Drop the Jacobian unless it is to serve again."""
        contracts = bool(moved[1].norm() < CHORD_FACTOR * residual.norm())
        if not (self.chord and self.damping == 0 and contracts):
            self._jacobian = self._factor = None
        return moved

    def _newton_step(
        self, theta: Tensor, residual: Tensor, halvings: int
    ) -> tuple[Tensor, Tensor] | None:
        """The step that solves J d = −R, whole or halved until ‖R‖ falls enough."""
        if self._factor is None:
            return None
        direction = -torch.linalg.lu_solve(*self._factor, residual[:, None])[:, 0]
        if not _finite(direction):
            return None
        norm = float(residual.norm())
        # The whole step is tried alone first: where it fails, rounding may be all that is left.
        for halving in range(min(halvings, 1), halvings + 1):
            length = 0.5**halving
            candidate = theta + length * direction
            new = self.system.residual(candidate)
            if float(new.norm()) <= (1 - ARMIJO * length) * norm:
                self.damping = 0.0
                return candidate, new
        return None

    def _damped_step(self, theta: Tensor, residual: Tensor) -> tuple[Tensor, Tensor] | None:
        """The Levenberg-Marquardt step with the least damping that lets ‖R‖ fall enough."""
        assert self._jacobian is not None
        normal = _NormalEquations(residual, self._jacobian)
        if normal.cosine() <= _orthogonal(residual):
            return None
        damping = self._trial_damping
        for _ in range(TRIALS):
            step, promised = normal.step(damping)
            candidate = theta + step.to(theta)
            new = self.system.residual(candidate)
            fall = _half_squares(residual) - _half_squares(new)
            if fall >= ARMIJO * promised and fall > 0:
                self.damping = damping
                self._trial_damping = max(damping / RAISE, LEAST_DAMPING)
                return candidate, new
            damping *= RAISE
        return None


def gauss_newton(
    system: Residuals,
    theta: Tensor,
    *,
    tol: float,
    max_iter: int,
    report: Report = ignore,
) -> Root:
    """Minimise half the mean of R(θ)², with more equations than unknowns as a rule.

    A step solves (J'J + μD) d = −J'R, where D holds the squared lengths of the columns of J, the
    longest so far, which makes the steps independent of the units of θ. The damping μ falls with
    the accuracy of the linear model, to nearly nothing where it is exact, so that a system that
    can be solved is solved at the speed of Newton's method, and grows where the model fails.

    Parameters
    ----------
    system : Residuals
        The equations.
    theta : Tensor of shape (K,)
        Where to start; its residual must be finite. Its dtype and device are those of the
        residuals; the linear algebra is in float64.
    tol : float
        Stops when max |R| ≤ ``tol``; and, having converged too, when R is orthogonal to the columns
        of J (largest cosine at most 1e-8), or where rounding hides any further descent.
    max_iter : int
        Steps at most; a step that is tried in vain does not count.
    report : callable, default=(goes on)
        Told of every step: ``residual`` (max |R|), ``loss`` (half the mean of R²), ``step``
        (max |d|) and ``damping`` (μ). Returning True stops the search.

    Returns
    -------
    Root
        The residuals are those of the least-squares solution, which need not be small.

    References
    ----------
    J. Moré, *The Levenberg-Marquardt algorithm: implementation and theory* (scaling, orthogonality
    test). H. B. Nielsen, *Damping parameter in Marquardt's method* (damping by the gain ratio).

    Examples
    --------
    >>> import torch
    >>> class Decay:
    ...     t = torch.linspace(0, 3, 20, dtype=torch.float64)
    ...     y = 2 * torch.exp(-1.5 * t)
    ...     def residual(self, theta):
    ...         return theta[0] * torch.exp(-theta[1] * self.t) - self.y
    ...     def linearize(self, theta):
    ...         fall = torch.exp(-theta[1] * self.t)
    ...         jacobian = torch.stack([fall, -theta[0] * self.t * fall], 1)
    ...         return self.residual(theta), jacobian
    >>> start = torch.ones(2, dtype=torch.float64)
    >>> found = gauss_newton(Decay(), start, tol=1e-12, max_iter=50)
    >>> found.converged, found.theta.numpy().round(6)
    (True, array([2. , 1.5]))
    """
    residual = system.residual(theta)
    if not _finite(residual):
        return Root(theta, residual, 0, False, NOT_FINITE)
    damping = _Damping()
    scale: Tensor | None = None
    n_iter = 0
    try:
        while _size(residual) > tol:
            if n_iter == max_iter:
                return _ended(theta, residual, n_iter, tol, f"max_iter={max_iter} steps taken")
            residual, jacobian = system.linearize(theta)
            if not _finite(jacobian):
                return Root(theta, residual, n_iter, False, "the Jacobian is not finite")
            normal = _NormalEquations(residual, jacobian, scale)
            scale = normal.scale
            if normal.cosine() <= _orthogonal(residual):
                reason = "the residual is orthogonal to the Jacobian: a least-squares solution"
                return Root(theta, residual, n_iter, True, reason)
            moved = _damped_descent(system, theta, residual, normal, damping)
            if moved is None:
                hidden = normal.step(UNDAMPED)[1] <= normal.noise(_rounding(jacobian, theta))
                reason = f"{NO_DESCENT}: max |residual| is {_size(residual):.1e}"
                return Root(theta, residual, n_iter, hidden, reason)
            record = _record(theta, moved, damping.value)
            (theta, residual), n_iter = moved, n_iter + 1
            if report(record, theta):
                return _ended(theta, residual, n_iter, tol, STOPPED)
    except KeyboardInterrupt:
        return _ended(theta, residual, n_iter, tol, INTERRUPTED)
    return Root(theta, residual, n_iter, True, MET)


def _damped_descent(
    system: Residuals,
    theta: Tensor,
    residual: Tensor,
    normal: _NormalEquations,
    damping: _Damping,
) -> tuple[Tensor, Tensor] | None:
    """Raise the damping until the residuals fall; None where rounding hides it."""
    squares = _half_squares(residual)
    while True:
        step, promised = normal.step(damping.value)
        candidate = theta + step.to(theta)
        if not promised > 0 or torch.equal(candidate, theta):
            return None
        new = system.residual(candidate)
        gain = (squares - _half_squares(new)) / promised
        if gain > ARMIJO:
            damping.lower(gain)
            return candidate, new
        damping.raise_()


class _Damping:
    """The damping μ of Levenberg-Marquardt steps, led by the gain ratio."""

    def __init__(self) -> None:
        self.value = FIRST_DAMPING
        self._growth = 2.0

    def lower(self, gain: float) -> None:
        """After a step that brought ``gain`` times what the linear model promised."""
        factor = 1 - (2 * min(gain, 1.0) - 1) ** 3
        self.value = max(self.value * max(factor, SHRINK), UNDAMPED)
        self._growth = 2.0

    def raise_(self) -> None:
        """After a step that was refused: the faster, the more often it happens in a row."""
        self.value *= self._growth
        self._growth *= 2


class _NormalEquations:
    """J'J and J'R in float64, whose columns are scaled to length one for the damping."""

    def __init__(self, residual: Tensor, jacobian: Tensor, scale: Tensor | None = None) -> None:
        self._eps = torch.finfo(residual.dtype).eps
        self.residual, self.jacobian = residual.double(), jacobian.double()
        self.matrix = self.jacobian.T @ self.jacobian
        self.gradient = self.jacobian.T @ self.residual
        self.lengths = self.matrix.diagonal().sqrt()
        #: Longest columns so far.
        self.scale = self.lengths if scale is None else torch.maximum(scale, self.lengths)
        least = COLUMN_FLOOR * float(self.scale.max())
        self._units = self.scale.clamp(min=least or 1.0)
        self._scaled = self.matrix / torch.outer(self._units, self._units)

    def cosine(self) -> float:
        """Largest cosine between the residual and a column of the Jacobian."""
        sizes = (self.lengths * self.residual.norm()).clamp(min=torch.finfo(torch.float64).tiny)
        return float((self.gradient.abs() / sizes).max())

    def noise(self, rounding: float) -> float:
        """Rounding of ½‖R‖² at most, for residuals that are rounded by at most ``rounding``."""
        length = float(self.residual.norm())
        return (FLOOR * self._eps * length + len(self.residual) ** 0.5 * rounding) * length

    def step(self, damping: float) -> tuple[Tensor, float]:
        """The damped step, and how much ½‖R‖² falls by it if the equations are linear."""
        step = self._solve(damping) / self._units
        damped = float((self._units * step).square().sum())
        return step, 0.5 * (damping * damped - float(self.gradient @ step))

    def _solve(self, damping: float) -> Tensor:
        """The scaled step, by Cholesky, or by QR of the Jacobian where that is too inexact."""
        n_columns = len(self.gradient)
        matrix = self._scaled.clone()
        matrix.diagonal().add_(damping)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        safe = 10 * n_columns * torch.finfo(torch.float64).eps
        if int(failed) == 0 and float(factor.diagonal().min()) ** 2 > safe:
            right = (self.gradient / self._units)[:, None]
            return -torch.cholesky_solve(right, factor)[:, 0]
        ridge = damping**0.5 * torch.eye(n_columns, dtype=matrix.dtype, device=matrix.device)
        q, r = torch.linalg.qr(torch.cat([self.jacobian / self._units, ridge]))
        right = q[: len(self.residual)].T @ self.residual
        return -torch.linalg.solve_triangular(r, right[:, None], upper=True)[:, 0]


def minimize_lbfgs(
    value_and_gradient: Callable[[Tensor], tuple[float, Tensor]],
    theta: Tensor,
    *,
    tol: float,
    max_iter: int,
    report: Report = ignore,
    memory: int = 20,
) -> Descent:
    """Minimise a smooth function of many unknowns by SciPy's L-BFGS.

    It goes on until the gradient is small, however small the function: the mean square of
    residuals ends near their rounding. Where the function is not finite, the line search is told of
    a parabola that rises through the last iterate, so that it tries about a quarter of the step.

    Parameters
    ----------
    value_and_gradient : callable
        Value and gradient of shape (K,) at θ; the value may be inf or NaN where θ is infeasible.
    theta : Tensor of shape (K,)
        Where to start; the value must be finite there.
    tol : float
        Stops when the largest entry of the gradient is at most ``tol``. Where no further descent is
        found and a millionth of the first gradient is left, the search has converged too.
    max_iter : int
        Steps at most.
    report : callable, default=(goes on)
        Told of every step: ``loss`` (the value) and ``gradient_norm`` (largest entry of the
        gradient). Returning True stops the search.
    memory : int, default=20
        Pairs of steps and changes of the gradient that stand for the Hessian.

    Returns
    -------
    Descent
        The last iterate, which is the lowest.

    References
    ----------
    J. Nocedal and S. Wright, *Numerical Optimization*, section 7.2.

    Examples
    --------
    >>> import torch
    >>> def bowl(theta):
    ...     return float(theta @ theta) / 2, theta
    >>> minimize_lbfgs(bowl, torch.ones(3, dtype=torch.float64), tol=1e-10, max_iter=9).converged
    True
    """
    descent = _LBFGS(value_and_gradient, theta, report)
    first = descent.iterate
    if not first.finite:
        reason = "the value or the gradient is not finite at the start: start from a feasible theta"
        return Descent(theta, first.value, 0, False, reason)
    reason = MET
    try:
        if first.slope > tol:
            options = {"maxiter": max_iter, "maxfun": 20 * max_iter + 20, "maxcor": memory}
            found = scipy.optimize.minimize(
                descent.evaluate,
                first.point,
                method="L-BFGS-B",
                jac=True,
                callback=descent.callback,
                options={**options, "gtol": tol, "ftol": 0.0},
            )
            reason = f"max_iter={max_iter} steps taken" if found.status == 1 else NO_DESCENT
    except _Stopped as stop:
        reason = str(stop)
    except KeyboardInterrupt:
        reason = INTERRUPTED
    end = descent.iterate
    enough = max(tol, STALLED * first.slope) if reason == NO_DESCENT else tol
    reason = MET if end.slope <= tol else reason
    point = torch.from_numpy(end.point).to(theta)
    return Descent(point, end.value, descent.n_iter, end.slope <= enough, reason)


class _Stopped(Exception):
    """Leaves SciPy's loop, with the reason."""


@dataclass(frozen=True)
class _Point:
    """A point with the value and the gradient there."""

    point: np.ndarray
    value: float
    gradient: np.ndarray

    @property
    def slope(self) -> float:
        return float(np.abs(self.gradient).max(initial=0.0))

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.value) and np.isfinite(self.gradient).all())


class _LBFGS:
    """What SciPy asks for, and the last iterate."""

    def __init__(
        self,
        value_and_gradient: Callable[[Tensor], tuple[float, Tensor]],
        theta: Tensor,
        report: Report,
    ) -> None:
        self.function, self.theta, self.report = value_and_gradient, theta, report
        self.n_iter = 0
        self.iterate = self._last = self._at(theta.detach().cpu().numpy().astype(np.float64))

    def evaluate(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        self._last = self._at(point)
        if self._last.finite:
            return self._last.value, self._last.gradient
        return self._wall(point)

    def callback(self, intermediate_result: scipy.optimize.OptimizeResult) -> None:
        if not self._last.finite:
            raise _Stopped(NO_DESCENT)
        self.n_iter += 1
        self.iterate = self._last
        record = {"loss": self._last.value, "gradient_norm": self._last.slope}
        if self.report(record, torch.from_numpy(self._last.point).to(self.theta)):
            raise _Stopped(STOPPED)

    def _at(self, point: np.ndarray) -> _Point:
        value, gradient = self.function(torch.from_numpy(point.copy()).to(self.theta))
        return _Point(point.copy(), float(value), gradient.cpu().numpy().astype(np.float64))

    def _wall(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient of a parabola whose minimum is at a quarter of the step."""
        step = point - self.iterate.point
        fall = abs(float(self.iterate.gradient @ step))
        return self.iterate.value + fall, 3 * fall * step / max(float(step @ step), 1e-300)


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _size(residual: Tensor) -> float:
    """Largest residual."""
    return float(residual.abs().max()) if len(residual) else 0.0


def _half_squares(residual: Tensor) -> float:
    """½‖R‖², in float64."""
    wide = residual.double()
    return 0.5 * float(wide @ wide)


def _factorise(jacobian: Tensor) -> tuple[Tensor, Tensor] | None:
    """LU factors; None if the matrix is singular."""
    factor, pivots, failed = torch.linalg.lu_factor_ex(jacobian)
    return None if int(failed) else (factor, pivots)


def _rounding(jacobian: Tensor, theta: Tensor) -> float:
    """Size of a residual that may be rounding of the terms that it sums."""
    terms = jacobian.abs() @ theta.abs()
    return FLOOR * torch.finfo(theta.dtype).eps * float(terms.max())


def _orthogonal(residual: Tensor) -> float:
    """Cosine below which a residual counts as orthogonal, in its precision."""
    return max(ORTHOGONAL, 8 * torch.finfo(residual.dtype).eps)


def _record(theta: Tensor, moved: tuple[Tensor, Tensor], damping: float) -> dict[str, float]:
    return {
        "residual": _size(moved[1]),
        "loss": _half_squares(moved[1]) / len(moved[1]),
        "step": _size(moved[0] - theta),
        "damping": damping,
    }


def _ended(theta: Tensor, residual: Tensor, n_iter: int, tol: float, reason: str) -> Root:
    """Where a search ended early, which may be at a root all the same."""
    return Root(theta, residual, n_iter, _size(residual) <= tol, reason)
