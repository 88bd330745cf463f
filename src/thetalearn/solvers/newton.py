"""Newton's method for smooth convex objectives, with a Hessian or with its products alone.

A factorised Hessian is kept as long as it serves, corrected by the curvature that later steps have
seen. Where there are too many parameters for a Hessian, conjugate gradients solve for each step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

__all__ = ["Minimum", "SmoothObjective", "newton", "newton_cg"]

#: A step with an old Hessian must shrink the Newton decrement by this factor, or it is renewed.
CHORD_FACTOR = 0.4

#: Thinned problems keep at least this many rows for each parameter, and this share of the rows.
THIN_ROWS = 25
THIN_STRIDE = 8

#: Curvature below this share of what a direction should have is rounding.
FLAT = 1e-12

#: A gradient that stays in directions taken for flat is at most this, or they were not flat.
MISSED = 1e-5

#: Products with the Hessian that one step may take.
MAX_PRODUCTS = 500

#: Iterates that are remembered, and numbers that they may take together.
TRAIL, TRAIL_NUMBERS = 64, 2**24

#: Why a solver ended when the user pressed Ctrl-C.
INTERRUPTED = "interrupted"

#: Reports an iteration; True asks to stop.
Report = Callable[[dict[str, float], Tensor], bool]


def ignore(record: dict[str, float], theta: Tensor) -> bool:
    """Take no note of an iteration, and let the solver go on."""
    return False


class SmoothObjective(Protocol):
    """What the solvers ask of an objective."""

    X: Tensor

    @property
    def n_params(self) -> int:
        """Length of theta."""

    def evaluate(self, theta: Tensor) -> tuple[float, Tensor]:
        """Value and gradient."""

    def evaluate_with_hessian(self, theta: Tensor) -> tuple[float, Tensor, Tensor]:
        """Value, gradient and Hessian."""

    def curvature(self, theta: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Product with the Hessian, and its diagonal."""

    def thinned(self, stride: int) -> Self:
        """The objective on a part of its rows."""


@dataclass(frozen=True)
class Minimum:
    """Where a solver ended.

    ``direction`` is the last step it would have taken and ``drift`` the sum of the later ones that
    it took (both to be subtracted), which tell where an objective without a minimum runs off to.
    """

    theta: Tensor
    n_iter: int
    converged: bool
    reason: str
    direction: Tensor
    drift: Tensor


def newton(
    objective: SmoothObjective,
    theta: Tensor,
    *,
    tol: float,
    max_iter: int,
    report: Report = ignore,
) -> Minimum:
    """Minimise a smooth convex objective.

    A large problem is solved on a thinned set of rows first, whose Hessian then serves for the
    whole: it differs by sampling error only, so each step with it costs a gradient and shrinks the
    error manyfold. Curvature seen on the way corrects it (BFGS), and where that does not suffice
    the Hessian of all rows is formed.

    Parameters
    ----------
    objective : SmoothObjective
        What to minimise.
    theta : Tensor of shape (p,)
        Where to start.
    tol : float
        Stops when the Newton decrement, the length of the step in the norm of the Hessian, is at
        most ``tol``. It does not depend on the units of the inputs.
    max_iter : int
        Steps at most, those on thinned rows not counted.
    report : callable
        Told of every step.
    """
    spare = len(objective.X) / (THIN_ROWS * objective.n_params)
    depth = int(np.log(max(spare, 1)) / np.log(THIN_STRIDE))
    metric: _Metric | None = None
    for level in range(depth, 0, -1):
        part = objective.thinned(THIN_STRIDE**level)
        # Nearer than the sampling error of the part there is nothing to gain.
        part_tol = 0.3 * (objective.n_params / len(part.X)) ** 0.5
        found = _descend_with_hessian(part, theta, metric, part_tol, 20, ignore)
        if found.reason == INTERRUPTED:
            return found
        theta = found.theta
        metric = _Metric(*_factorise(part.evaluate_with_hessian(theta)[2]))
    return _descend_with_hessian(objective, theta, metric, tol, max_iter, report)


def _descend_with_hessian(
    objective: SmoothObjective,
    theta: Tensor,
    metric: _Metric | None,
    tol: float,
    max_iter: int,
    report: Report,
) -> Minimum:
    def renew(theta: Tensor) -> tuple[float, Tensor, _Metric]:
        value, gradient, hessian = objective.evaluate_with_hessian(theta)
        return value, gradient, _Metric(*_factorise(hessian))

    return _descend(objective, theta, metric, renew, CHORD_FACTOR, tol, max_iter, report)


def newton_cg(
    objective: SmoothObjective,
    theta: Tensor,
    *,
    tol: float,
    max_iter: int,
    report: Report = ignore,
) -> Minimum:
    """Minimise a smooth convex objective with too many parameters for a Hessian.

    Each step solves the Newton equations by conjugate gradients, preconditioned by the diagonal of
    the Hessian, and the more exactly the nearer the minimum is.

    Parameters
    ----------
    objective : SmoothObjective
        What to minimise.
    theta : Tensor of shape (p,)
        Where to start.
    tol : float
        Stops when the Newton decrement is at most ``tol``.
    max_iter : int
        Steps at most.
    report : callable
        Told of every step.

    References
    ----------
    J. Nocedal and S. Wright, *Numerical Optimization*, section 7.1.
    """

    def renew(theta: Tensor) -> tuple[float, Tensor, _Metric]:
        value, gradient = objective.evaluate(theta)
        product, diagonal = objective.curvature(theta)
        return value, gradient, _Metric(lambda g: _conjugate_gradients(product, diagonal, g))

    return _descend(objective, theta, None, renew, 0.0, tol, max_iter, report)


def _descend(
    objective: SmoothObjective,
    theta: Tensor,
    metric: _Metric | None,
    renew: Callable[[Tensor], tuple[float, Tensor, _Metric]],
    chord_factor: float,
    tol: float,
    max_iter: int,
    report: Report,
) -> Minimum:
    """Newton steps in a metric that is renewed when it shrinks the decrement by too little."""
    fresh = metric is None
    if metric is None:
        value, gradient, metric = renew(theta)
    else:
        value, gradient = objective.evaluate(theta)
    last_decrement = np.inf
    step = metric.solve(gradient)
    n_iter, reason = 0, ""
    trail = deque([theta], maxlen=max(2, min(TRAIL, TRAIL_NUMBERS // len(theta))))
    try:
        while True:
            decrement = max(float(gradient @ step), 0.0) ** 0.5
            if decrement <= tol:
                missed = metric.missed(gradient) > MISSED
                reason = "the columns are too nearly dependent" if missed else "tolerance met"
                end = max(n_iter, 1)
                return Minimum(theta, end, not missed, reason, step, _drift(trail, theta))
            if not fresh and decrement > chord_factor * last_decrement:
                value, gradient, metric = renew(theta)
                step, fresh = metric.solve(gradient), True
                continue
            if n_iter == max_iter:
                reason = f"max_iter={max_iter} steps taken"
                break
            moved = _line_search(objective, theta, value, gradient, step)
            if moved is None:
                # Rounding hides any further descent: what is left of the decrement is noise.
                converged = decrement <= max(tol, 1e-6)
                reason = "no further descent"
                return Minimum(theta, max(n_iter, 1), converged, reason, step, _drift(trail, theta))
            metric.learn(moved[0] - theta, moved[2] - gradient)
            theta, value, gradient = moved
            trail.append(theta)
            n_iter += 1
            record = {
                "loss": value,
                "gradient_norm": float(gradient.abs().max()),
                "decrement": decrement,
            }
            last_decrement, fresh = decrement, False
            if report(record, theta):
                reason = "stopped by a callback"
                break
            if chord_factor == 0:
                value, gradient, metric = renew(theta)
                fresh = True
            step = metric.solve(gradient)
    except KeyboardInterrupt:
        reason = INTERRUPTED
    return Minimum(theta, max(n_iter, 1), False, reason, step, _drift(trail, theta))


def _drift(trail: Sequence[Tensor], theta: Tensor) -> Tensor:
    """The way back over the second half of the iterates, when only what has no end still moved."""
    return trail[len(trail) // 2] - theta


def _line_search(
    objective: SmoothObjective, theta: Tensor, value: float, gradient: Tensor, step: Tensor
) -> tuple[Tensor, float, Tensor] | None:
    """Halve the step until the objective falls enough; None if it does not within rounding."""
    slope = float(gradient @ step)
    noise = 1e-14 * max(abs(value), 1.0)
    length = 1.0
    for _ in range(40):
        candidate = theta - length * step
        new_value, new_gradient = objective.evaluate(candidate)
        if new_value <= value - 1e-4 * length * slope + noise and np.isfinite(new_value):
            shrinks = bool(new_gradient.norm() < gradient.norm())
            if new_value < value - noise or shrinks:
                return candidate, new_value, new_gradient
            return None
        length /= 2
    return None


class _Metric:
    """The inverse of a Hessian, corrected by the curvature that later steps have seen (BFGS)."""

    def __init__(
        self,
        solve: Callable[[Tensor], Tensor],
        missed: Callable[[Tensor], float] = lambda gradient: 0.0,
    ) -> None:
        self._solve = solve
        #: Size of the part of a gradient that the inverse leaves alone, in units of the Hessian.
        self.missed = missed
        self._pairs: list[tuple[Tensor, Tensor, float]] = []

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Take in a step and the change of the gradient along it."""
        curvature = float(step @ change)
        if curvature > 1e-12 * float(step.norm() * change.norm()):
            self._pairs.append((step, change, curvature))

    def solve(self, gradient: Tensor) -> Tensor:
        """The BFGS inverse applied to a gradient (two-loop recursion)."""
        direction = gradient.clone()
        shares = []
        for step, change, curvature in reversed(self._pairs):
            share = float(step @ direction) / curvature
            direction -= share * change
            shares.append(share)
        direction = self._solve(direction)
        for (step, change, curvature), share in zip(self._pairs, reversed(shares), strict=True):
            direction += (share - float(change @ direction) / curvature) * step
        return direction


def _conjugate_gradients(
    product: Callable[[Tensor], Tensor], diagonal: Tensor, gradient: Tensor
) -> Tensor:
    """Solve with the Hessian, to a residual that falls with the gradient."""
    step = torch.zeros_like(gradient)
    residual = gradient.clone()
    scaled = residual / diagonal
    direction = scaled.clone()
    size = float(residual @ scaled)
    # Superlinear convergence: the relative residual shrinks with the size of the problem left.
    goal = size * min(0.1, size**0.5) ** 2
    for _ in range(MAX_PRODUCTS):
        if size <= goal or size == 0:
            break
        image = product(direction)
        curvature = float(direction @ image)
        if curvature <= FLAT * float(direction.square() @ diagonal):
            break
        length = size / curvature
        step += length * direction
        residual -= length * image
        scaled = residual / diagonal
        size, previous = float(residual @ scaled), size
        direction = scaled + (size / previous) * direction
    return step


def _factorise(
    hessian: Tensor,
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], float]]:
    """A solver for the Hessian, which leaves directions without curvature alone, and how much."""
    matrix = hessian.cpu().numpy()
    diagonal = matrix.diagonal()
    # Without curvature there is no unit, and no step either.
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = matrix / np.outer(scale, scale)

    def units(gradient: Tensor) -> np.ndarray:
        return gradient.cpu().numpy() / scale

    try:
        factor = scipy.linalg.cho_factor(scaled, lower=True)
        if factor[0].diagonal().min() < 1e-6:
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        values, vectors = scipy.linalg.eigh(scaled)
        kept = values > FLAT * max(values[-1], 0.0)
        root, rest = vectors[:, kept] / np.sqrt(values[kept]), vectors[:, ~kept]
        return (
            lambda g: torch.from_numpy(root @ (root.T @ units(g)) / scale).to(g),
            lambda g: float(np.linalg.norm(rest.T @ units(g))),
        )
    return lambda g: torch.from_numpy(scipy.linalg.cho_solve(factor, units(g)) / scale).to(g), (
        lambda g: 0.0
    )
