"""Training on all rows at once: L-BFGS, Newton's method and random search, for one replica."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from .step import Program, Step

__all__ = ["FullBatch", "Stop", "lbfgs", "newton", "random_search"]

#: Newton's method keeps the Hessian, the square of this many numbers.
MAX_NEWTON_PARAMS = 2_000

#: Newton's method has stalled if what is left of the first gradient is more than this share.
STALLED = 1e-6

#: Backward passes that are made together.
HESSIAN_ROWS = 64

#: Reports an iteration with its loss and θ; True asks to stop.
Report = Callable[[float, Tensor], bool]


@dataclass(frozen=True)
class Stop:
    """Where a solver ended: "converged", "max_epochs", "diverged", "interrupted" or "stopped"."""

    theta: Tensor
    loss: float
    n_iter: int
    reason: str
    message: str = ""


class _Stopped(Exception):
    """Leaves SciPy's loop."""


class FullBatch:
    """The objective of one replica as a function of flat θ: mean loss plus α/(2Σw) ‖W‖².

    Parameters
    ----------
    step : Step
        The network, of one replica.
    X, y : Tensor of shape (n, d) and (n, m)
        The data.
    weight : Tensor of shape (n,) or None
        Weights of the rows.
    alpha : float
        Strength of the l2 penalty.
    loss_rows : callable
        Losses of the rows by outputs and targets, differentiable by autograd.
    """

    def __init__(
        self,
        step: Step,
        X: Tensor,
        y: Tensor,
        weight: Tensor | None,
        alpha: float,
        loss_rows: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        self.step, self.loss_rows = step, loss_rows
        self.program: Program = step.program(len(X), weighted=weight is not None)
        self.program.inputs.copy_(X)
        self.program.targets.copy_(y)
        total = float(len(X))
        if weight is not None and self.program.share is not None:
            total = float(weight.sum())
            self.program.share.copy_(weight / total)
            self.program.total.fill_(total)
        self.decay = alpha / total

    @property
    def theta(self) -> Tensor:
        """The parameters, to be read."""
        return self.step.parameters.theta

    def evaluate(self, theta: Tensor) -> tuple[float, Tensor]:
        """Value, and gradient in a buffer that the next call overwrites."""
        parameters = self.step.parameters
        parameters.theta.copy_(theta)
        self.program.run()
        value = float(self.program.loss)
        if self.decay:
            cut = parameters.n_penalised
            weights = parameters.theta[:cut]
            value += 0.5 * self.decay * float(torch.dot(weights, weights))
            parameters.gradient[:cut].add_(weights, alpha=self.decay)
        return value, parameters.gradient

    def hessian(self, theta: Tensor) -> Tensor:
        """All second derivatives, from a backward pass for each parameter."""
        parameters, program = self.step.parameters, self.program
        with torch.inference_mode(False), torch.enable_grad():
            flat = theta.clone().requires_grad_()
            inputs, targets = program.inputs.clone(), program.targets.clone()
            rows = self.loss_rows(self.step.predict(inputs, parameters.views(flat)), targets)
            share = None if program.share is None else program.share.clone()
            value = rows.mean() if share is None else (rows * share).sum()
            if self.decay:
                value = value + 0.5 * self.decay * flat[: parameters.n_penalised].square().sum()
            (gradient,) = torch.autograd.grad(value, flat, create_graph=True)
            directions = torch.eye(len(flat), dtype=flat.dtype, device=flat.device)
            blocks = [
                torch.autograd.grad(
                    gradient, flat, block, is_grads_batched=True, retain_graph=True
                )[0]
                for block in directions.split(HESSIAN_ROWS)
            ]
        return torch.cat(blocks)


def lbfgs(objective: FullBatch, *, tol: float, max_iter: int, max_fun: int, report: Report) -> Stop:
    """Minimise by SciPy's L-BFGS-B, as scikit-learn's networks do.

    Parameters
    ----------
    objective : FullBatch
        What to minimise, from where it stands.
    tol : float
        Stops when the largest entry of the gradient is at most ``tol``.
    max_iter, max_fun : int
        Iterations and evaluations at most.
    report : callable
        Told of every iteration.
    """
    start = objective.theta.clone()
    best: tuple[float, Tensor] = (np.inf, start.clone())
    count = 0

    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        theta = torch.from_numpy(point).to(start)
        value, gradient = objective.evaluate(theta)
        if value < best[0]:
            best = value, theta
        return value, gradient.cpu().numpy().astype(np.float64)

    def callback(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        nonlocal count
        count += 1
        if report(float(intermediate_result.fun), torch.from_numpy(intermediate_result.x)):
            raise _Stopped

    try:
        found = scipy.optimize.minimize(
            evaluate,
            start.cpu().numpy().astype(np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=callback,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
    except (_Stopped, KeyboardInterrupt) as stop:
        reason = "stopped" if isinstance(stop, _Stopped) else "interrupted"
        return Stop(best[1], best[0], max(count, 1), reason)
    theta = torch.from_numpy(found.x).to(start)
    if not np.isfinite(found.fun) or not bool(torch.isfinite(theta).all()):
        return Stop(best[1], best[0], max(count, 1), "diverged")
    reason = "converged" if found.status == 0 else "max_epochs"
    n_iter = min(max(int(found.nit), 1), max_iter)
    return Stop(theta, float(found.fun), n_iter, reason, str(found.message))


def newton(objective: FullBatch, *, tol: float, max_iter: int, report: Report) -> Stop:
    """Minimise by Newton's method, made safe where the objective is not convex.

    The step solves with the Hessian whose eigenvalues have lost their signs, so that it goes down
    along directions of negative curvature too, and is halved until the objective falls enough. On a
    convex quadratic the first step is exact.

    Parameters
    ----------
    objective : FullBatch
        What to minimise, from where it stands.
    tol : float
        Stops when the largest entry of the gradient is at most ``tol``.
    max_iter : int
        Steps at most.
    report : callable
        Told of every step.

    References
    ----------
    J. Nocedal and S. Wright, *Numerical Optimization*, section 3.4. Y. Dauphin et al., *Identifying
    and Attacking the Saddle Point Problem in High-Dimensional Non-convex Optimization* (absolute
    eigenvalues).
    """
    theta = objective.theta.clone()
    value, gradient = objective.evaluate(theta)
    gradient = gradient.clone()
    n_iter = 0
    if not (np.isfinite(value) and bool(torch.isfinite(gradient).all())):
        return Stop(theta, value, 1, "diverged")
    try:
        first = float(gradient.abs().max())
        while float(gradient.abs().max()) > tol:
            if n_iter == max_iter:
                return Stop(theta, value, max(n_iter, 1), "max_epochs")
            moved = _newton_step(objective, theta, value, gradient, tol)
            if moved is None:
                # What rounding hides is small beside the gradient from which the search came.
                stalled = float(gradient.abs().max()) > max(tol, STALLED * first)
                reason = "max_epochs" if stalled else "converged"
                return Stop(theta, value, max(n_iter, 1), reason, "no further descent")
            theta, value, gradient = moved
            n_iter += 1
            if not np.isfinite(value):
                return Stop(theta, value, n_iter, "diverged")
            if report(value, theta):
                return Stop(theta, value, n_iter, "stopped")
    except KeyboardInterrupt:
        return Stop(theta, value, max(n_iter, 1), "interrupted")
    return Stop(theta, value, max(n_iter, 1), "converged")


def _newton_step(
    objective: FullBatch, theta: Tensor, value: float, gradient: Tensor, tol: float
) -> tuple[Tensor, float, Tensor] | None:
    """One step; None if rounding hides any further descent."""
    hessian = objective.hessian(theta).double()
    curvatures, directions = torch.linalg.eigh((hessian + hessian.T) / 2)
    slopes, sizes = directions.T @ gradient.double(), curvatures.abs()
    largest = float(sizes.max()) or 1.0
    # Along a direction without curvature the function falls as far as it is followed, or does not
    # change, and then moving is rounding.
    flat = sizes <= 1e-12 * largest
    sizes[flat & (slopes.abs() > tol)] = largest
    sizes[flat & (slopes.abs() <= tol)] = torch.inf
    parts = slopes / sizes
    step = (directions @ parts).to(theta)
    slope = float(gradient @ step)
    length = 1.0
    for _ in range(40):
        candidate = theta - length * step
        new_value, new_gradient = objective.evaluate(candidate)
        if np.isfinite(new_value) and new_value <= value - 1e-4 * length * slope:
            if new_value >= value:
                return None
            return candidate, new_value, new_gradient.clone()
        length /= 2
    return None


def random_search(
    objective: FullBatch, draw: Callable[[], Tensor], *, max_iter: int, report: Report
) -> Stop:
    """Draw θ at random and keep the best: the baseline that every method should beat.

    Parameters
    ----------
    objective : FullBatch
        What to minimise; its present θ is the first that is tried.
    draw : callable
        A new flat θ.
    max_iter : int
        Number of draws.
    report : callable
        Told the best loss after every draw.
    """
    best = objective.theta.clone()
    value = objective.evaluate(best)[0]
    n_iter = 0
    try:
        for _ in range(max_iter):
            theta = draw()
            drawn = objective.evaluate(theta)[0]
            # A NaN is worse than any number, and compares with none.
            if drawn < value or np.isnan(value):
                best, value = theta, drawn
            n_iter += 1
            if report(value, best):
                return Stop(best, value, n_iter, "stopped")
    except KeyboardInterrupt:
        return Stop(best, value, max(n_iter, 1), "interrupted")
    return Stop(best, value, n_iter, "converged")
