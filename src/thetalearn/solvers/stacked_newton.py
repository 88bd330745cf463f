"""Newton's method for many smooth convex objectives at once, each by the rules of `newton`.

Every objective takes the steps that it would take alone: it has its own Hessian, kept as long as it
serves, its own line search and its own end. What they share is the evaluation, which an objective
of many models does by products of matrices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, Self

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from .newton import (
    CHORD_FACTOR,
    MISSED,
    THIN_ROWS,
    THIN_STRIDE,
    TRAIL,
    TRAIL_NUMBERS,
    Minimum,
    _drift,
    _factorise,
)

__all__ = ["StackedObjective", "stacked_newton", "thinning_depth"]

#: Reports an iteration of one of the models.
StackedReport = Callable[[int, dict[str, float]], None]

#: Entries of the Hessians that are made at once.
HESSIAN_ENTRIES = 2**21

#: Up to this many parameters, factors and solves of a stack cost less in one call.
SMALL = 64

#: A pivot of a Hessian of unit diagonal below which `newton` takes it for singular.
NEAR_SINGULAR = 1e-6


class StackedObjective(Protocol):
    """What the solver asks of K objectives with the same number of parameters."""

    rows: Tensor

    @property
    def n_models(self) -> int:
        """Number K of objectives."""

    @property
    def n_params(self) -> int:
        """Parameters of each."""

    def evaluate(self, theta: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Values (k,) and gradients (k, p) of those numbered ``which``."""

    def evaluate_with_hessian(self, theta: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (k,), gradients (k, p) and Hessians (k, p, p)."""

    def thinned(self, stride: int) -> Self:
        """The objectives on a part of their rows."""


def ignore(model: int, record: dict[str, float]) -> None:
    """Take no note of an iteration."""


def stacked_newton(
    objective: StackedObjective,
    theta: Tensor,
    *,
    tol: np.ndarray,
    max_iter: np.ndarray,
    depth: int = 0,
    report: StackedReport = ignore,
) -> list[Minimum]:
    """Minimise K smooth convex objectives that have the same rows.

    Each takes the steps of `thetalearn.solvers.newton.newton`, to rounding.

    Parameters
    ----------
    objective : StackedObjective
        What to minimise.
    theta : Tensor of shape (K, p)
        Where to start.
    tol : ndarray of shape (K,)
        Newton decrements at which each stops.
    max_iter : ndarray of int of shape (K,)
        Steps of each at most, those on thinned rows not counted.
    depth : int, default=0
        How many times the rows are thinned before all are taken, as `thinning_depth` says.
    report : callable
        Told the number of the objective and the record of every step.

    Returns
    -------
    list of Minimum
        Where each ended.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from thetalearn.objectives.stacked_cross_entropy import StackedBinaryCrossEntropy
    >>> from thetalearn.solvers.stacked_newton import stacked_newton
    >>> rows = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    >>> y = torch.eye(2, dtype=torch.float64)
    >>> ridge = torch.tensor([[0.1], [1.0]], dtype=torch.float64)
    >>> both = StackedBinaryCrossEntropy(rows, y, None, ridge)
    >>> start = torch.zeros(2, 1, dtype=torch.float64)
    >>> found = stacked_newton(both, start, tol=np.full(2, 1e-8), max_iter=np.full(2, 50))
    >>> [round(minimum.theta.item(), 3) for minimum in found]
    [1.634, 0.401]
    """
    metric: _StackedMetric | None = None
    everyone = torch.arange(objective.n_models)
    for level in range(depth, 0, -1):
        part = objective.thinned(THIN_STRIDE**level)
        # Nearer than the sampling error of the part there is nothing to gain.
        part_tol = np.full(len(tol), 0.3 * (objective.n_params / len(part.rows)) ** 0.5)
        found = _Descent(part, theta, metric, part_tol, np.full(len(tol), 20), ignore).run()
        theta = torch.stack([minimum.theta for minimum in found])
        metric = _StackedMetric(objective.n_models, objective.n_params)
        for index in everyone.split(hessians_at_once(objective.n_params)):
            metric.renew(index, part.evaluate_with_hessian(theta[index], index)[2])
    return _Descent(objective, theta, metric, tol, max_iter, report).run()


def thinning_depth(n_rows: int, n_params: int) -> int:
    """How many times `newton` thins a problem before it solves the whole."""
    return int(np.log(max(n_rows / (THIN_ROWS * n_params), 1)) / np.log(THIN_STRIDE))


def hessians_at_once(n_params: int) -> int:
    """For how many models Hessians are made at once."""
    return max(HESSIAN_ENTRIES // n_params**2, 1)


class _Descent:
    """Newton steps of K objectives in step, each in a metric that is renewed when it must be."""

    def __init__(
        self,
        objective: StackedObjective,
        theta: Tensor,
        metric: _StackedMetric | None,
        tol: np.ndarray,
        max_iter: np.ndarray,
        report: StackedReport,
    ) -> None:
        n_models, n_params = theta.shape
        self.objective, self.tol, self.max_iter, self.report = objective, tol, max_iter, report
        self.theta = theta.clone()
        self.value, self.gradient = theta.new_zeros(n_models), torch.zeros_like(theta)
        self.step = torch.zeros_like(theta)
        self.decrement = np.full(n_models, np.inf)
        self.last_decrement = np.full(n_models, np.inf)
        self.fresh = np.full(n_models, metric is None)
        self.n_iter = np.zeros(n_models, dtype=int)
        self.metric = _StackedMetric(n_models, n_params) if metric is None else metric
        length = max(2, min(TRAIL, TRAIL_NUMBERS // n_params))
        self.trails = [deque([start], maxlen=length) for start in theta]
        self.found: list[Minimum | None] = [None] * n_models

    def run(self) -> list[Minimum]:
        """Go on until every objective has ended."""
        live = np.arange(len(self.theta))
        if self.fresh.all():
            self._renew(live)
        else:
            self.value, self.gradient = self.objective.evaluate(self.theta, torch.from_numpy(live))
            self._aim(live)
        while len(live):
            slow = self.decrement > CHORD_FACTOR * self.last_decrement
            stale = live[(~self.fresh & slow & (self.decrement > self.tol))[live]]
            if len(stale):
                self._renew(stale)
            live = self._stop(live)
            if len(live):
                live = self._advance(live)
        return [minimum for minimum in self.found if minimum is not None]

    def _renew(self, which: np.ndarray) -> None:
        """New Hessians, where they are now."""
        for index in torch.from_numpy(which).split(hessians_at_once(self.objective.n_params)):
            found = self.objective.evaluate_with_hessian(self.theta[index], index)
            self.value[index], self.gradient[index], hessian = found
            self.metric.renew(index, hessian)
        self.fresh[which] = True
        self._aim(which)

    def _aim(self, which: np.ndarray) -> None:
        """The next steps, and their lengths in the norm of the Hessian."""
        index = torch.from_numpy(which)
        gradient = self.gradient[index]
        step = self.metric.solve(index, gradient)
        self.step[index] = step
        self.decrement[which] = (gradient * step).sum(1).clamp(min=0.0).sqrt().numpy()

    def _stop(self, live: np.ndarray) -> np.ndarray:
        """End those that have met their tolerance or have taken all their steps."""
        met = (self.decrement <= self.tol)[live]
        for k in live[met]:
            missed = self.metric.missed(int(k), self.gradient[k]) > MISSED
            reason = "the columns are too nearly dependent" if missed else "tolerance met"
            self._end(k, not missed, reason)
        live = live[~met]
        spent = (self.n_iter == self.max_iter)[live]
        for k in live[spent]:
            self._end(k, False, f"max_iter={self.max_iter[k]} steps taken")
        return live[~spent]

    def _end(self, k: int, converged: bool, reason: str) -> None:
        theta = self.theta[k].clone()
        drift, n_iter = _drift(self.trails[k], theta), max(int(self.n_iter[k]), 1)
        self.found[k] = Minimum(theta, n_iter, converged, reason, self.step[k].clone(), drift)

    def _advance(self, live: np.ndarray) -> np.ndarray:
        """One step of each, which ends those that find no further descent."""
        index = torch.from_numpy(live)
        moved, theta, value, gradient = self._line_search(index)
        for k in live[~moved]:
            # Rounding hides any further descent: what is left of the decrement is noise.
            converged = bool(self.decrement[k] <= max(self.tol[k], 1e-6))
            self._end(k, converged, "no further descent")
        if not moved.all():
            chosen = torch.from_numpy(moved)
            live, index = live[moved], index[chosen]
            theta, value, gradient = theta[chosen], value[chosen], gradient[chosen]
        if not len(live):
            return live
        self.metric.learn(index, theta - self.theta[index], gradient - self.gradient[index])
        self.theta[index], self.value[index], self.gradient[index] = theta, value, gradient
        self.n_iter[live] += 1
        sizes = gradient.abs().amax(1).tolist()
        for k, here, loss, size in zip(live, theta, value.tolist(), sizes, strict=True):
            self.trails[k].append(here)
            record = {"loss": loss, "gradient_norm": size, "decrement": float(self.decrement[k])}
            self.report(int(k), record)
        self.last_decrement[live] = self.decrement[live]
        self.fresh[live] = False
        self._aim(live)
        return live

    def _line_search(self, index: Tensor) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
        """Halve each step until its objective falls enough; and which ones do, beyond rounding."""
        start, step = self.theta[index], self.step[index]
        old_value, old_gradient = self.value[index], self.gradient[index]
        slope = (old_gradient * step).sum(1)
        noise = 1e-14 * old_value.abs().clamp(min=1.0)
        theta, value, gradient = start.clone(), old_value.clone(), old_gradient.clone()
        moved = np.zeros(len(index), dtype=bool)
        pending, length = torch.arange(len(index)), 1.0
        for _ in range(40):
            tried = start[pending] - length * step[pending]
            new_value, new_gradient = self.objective.evaluate(tried, index[pending])
            before, rounding = old_value[pending], noise[pending]
            enough = new_value <= before - 1e-4 * length * slope[pending] + rounding
            enough &= new_value.isfinite()
            shrinks = new_gradient.norm(dim=1) < old_gradient[pending].norm(dim=1)
            good = enough & ((new_value < before - rounding) | shrinks)
            theta[pending[good]] = tried[good]
            value[pending[good]], gradient[pending[good]] = new_value[good], new_gradient[good]
            moved[pending[good].numpy()] = True
            pending = pending[~enough]
            if not len(pending):
                break
            length /= 2
        return moved, theta, value, gradient


class _StackedMetric:
    """The inverses of K Hessians, each corrected by the curvature that its later steps have seen.

    Objectives take their steps together, so that what each has seen stands in the same order.
    """

    def __init__(self, n_models: int, n_params: int) -> None:
        self._scale = torch.zeros(n_models, n_params, dtype=torch.float64)
        few = n_params if n_params <= SMALL else 0
        # Stored by columns, as LAPACK takes them without a copy.
        self._small = torch.zeros(n_models, few, few, dtype=torch.float64).mT
        self._large: dict[int, np.ndarray] = {}
        #: Solvers for Hessians that are not positive definite.
        self._singular: dict[int, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], float]]] = {}
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def renew(self, which: Tensor, hessian: Tensor) -> None:
        """Take new Hessians (k, p, p), and forget what was seen."""
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        scale = torch.where(diagonal > 0, diagonal, 1.0).sqrt()
        self._scale[which] = scale
        scaled = (hessian / scale[:, :, None]).div_(scale[:, None, :])
        models = which.tolist()
        singular = self._factorise_all(which, scaled)
        for k, own, bad in zip(models, hessian, singular, strict=True):
            self._singular.pop(k, None)
            if bad:
                self._singular[k] = _factorise(own)
        for _, _, inverse_curvature in self._pairs:
            inverse_curvature[which] = 0.0
        self._pairs = [pair for pair in self._pairs if bool(pair[2].any())]

    def _factorise_all(self, which: Tensor, scaled: Tensor) -> list[bool]:
        """Keep the factors of matrices, which are overwritten, and say which are near singular."""
        if len(self._small[0]):
            factor, failed = torch.linalg.cholesky_ex(scaled.mT)
            self._small[which] = factor
            least = factor.diagonal(dim1=1, dim2=2).amin(1)
            return ((failed > 0) | ~(least >= NEAR_SINGULAR)).tolist()
        singular = []
        for k, matrix in zip(which.tolist(), scaled.numpy(), strict=True):
            self._large[k], failed = lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
            singular.append(bool(failed) or not self._large[k].diagonal().min() >= NEAR_SINGULAR)
        return singular

    def missed(self, k: int, gradient: Tensor) -> float:
        """Size of the part of a gradient that the inverse leaves alone."""
        return self._singular[k][1](gradient) if k in self._singular else 0.0

    def learn(self, which: Tensor, step: Tensor, change: Tensor) -> None:
        """Take in steps (k, p) and the changes of the gradients along them."""
        curvature = (step * change).sum(1)
        seen = curvature > 1e-12 * step.norm(dim=1) * change.norm(dim=1)
        steps, changes = torch.zeros_like(self._scale), torch.zeros_like(self._scale)
        inverse_curvature = self._scale.new_zeros(len(self._scale))
        steps[which], changes[which] = step, change
        inverse_curvature[which] = torch.where(seen, 1 / curvature, 0.0)
        self._pairs.append((steps, changes, inverse_curvature))

    def solve(self, which: Tensor, gradient: Tensor) -> Tensor:
        """The BFGS inverses applied to gradients (k, p) (two-loop recursion)."""
        direction = gradient.clone()
        pairs = [tuple(part[which] for part in pair) for pair in self._pairs]
        shares = []
        for step, change, inverse in reversed(pairs):
            share = (step * direction).sum(1) * inverse
            direction.addcmul_(share[:, None], change, value=-1)
            shares.append(share)
        direction = self._solve_hessians(which, direction)
        for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
            rest = share - (change * direction).sum(1) * inverse
            direction.addcmul_(rest[:, None], step)
        return direction

    def _solve_hessians(self, which: Tensor, gradient: Tensor) -> Tensor:
        scale = self._scale[which]
        units, models = gradient / scale, which.tolist()
        if len(self._small[0]):
            out = torch.cholesky_solve(units[:, :, None], self._small[which])[:, :, 0]
        else:
            parts = zip(units.numpy(), models, strict=True)
            solved = [lapack.dpotrs(self._large[k], unit, lower=1)[0] for unit, k in parts]
            out = torch.from_numpy(np.stack(solved))
        direction = out / scale
        for i, k in enumerate(models):
            if k in self._singular:
                direction[i] = self._singular[k][0](gradient[i])
        return direction
