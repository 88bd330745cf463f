"""Steps whose fixed points are solutions: value iteration, time iteration, endogenous grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..objectives.projection import Function, StateRows, pointwise
from ..solvers.fixed_point import fixed_point
from ..solvers.newton import Report, ignore
from ..solvers.root import Root
from .equations import EulerEquation, marginal_values
from .model import DynamicModel
from .quadrature import Quadrature

__all__ = ["EndogenousPolicy", "endogenous_grid", "time_step"]

#: Newton steps for the actions of one period, and halvings of each.
INNER_STEPS, HALVINGS = 30, 8


def time_step(
    equation: EulerEquation,
    function: Function,
    theta: Tensor,
    rows: StateRows,
    *,
    tol: float = 1e-12,
    n_steps: int = INNER_STEPS,
) -> Tensor:
    """Unknowns (P, m) that solve the equation today if the function holds from tomorrow on.

    All states at once, by Newton's method on the m equations of each; a state that a full step
    makes worse takes a shorter one.

    References
    ----------
    W. J. Coleman, *Solving the Stochastic Growth Model by Policy-Function Iteration*.
    """
    with torch.no_grad():
        y = function.at(equation.coordinates(rows.states)).value(theta)
    residual, slope, *_ = pointwise(equation, function, y, theta, rows, follow_next=False)
    for _ in range(n_steps):
        size = _size(residual)
        if bool((size <= tol).all()):
            break
        step = _solved(slope, residual)
        scale = torch.ones_like(size)
        for _ in range(HALVINGS):
            trial = y - scale[:, None] * step
            new, new_slope, *_ = pointwise(
                equation, function, trial, theta, rows, follow_next=False
            )
            worse = ~(_size(new) <= size)
            if not worse.any():
                break
            scale = torch.where(worse, scale / 4, scale)
        better = (_size(new) < size)[:, None]
        if not better.any():
            break
        y = torch.where(better, trial, y)
        residual = torch.where(better, new, residual)
        slope = torch.where(better[:, :, None], new_slope, slope)
    return y


def _size(residual: Tensor) -> Tensor:
    size = residual.abs().amax(1)
    return torch.where(size.isfinite(), size, torch.inf)


def _solved(slope: Tensor, residual: Tensor) -> Tensor:
    """Newton steps of all states; by least squares where a derivative vanishes."""
    solution, info = torch.linalg.solve_ex(slope, residual)
    fine = (info == 0) & solution.isfinite().all(1)
    if fine.all():
        return solution
    backup = (torch.linalg.pinv(slope.nan_to_num()) @ residual.nan_to_num()[:, :, None])[:, :, 0]
    return torch.where(fine[:, None], solution, backup)


@dataclass(frozen=True)
class EndogenousPolicy:
    """A policy of one state by linear interpolation between endogenous grid points.

    Parameters
    ----------
    states : Tensor of shape (n,)
        Increasing states. Below the first, the post-decision state stays at its lower bound.
    actions : Tensor of shape (n,)
        Actions there.
    """

    states: Tensor
    actions: Tensor

    def __call__(self, s: Tensor) -> Tensor:
        """Actions (n, 1) at states (n, 1)."""
        x = s[:, 0].contiguous()
        i = torch.searchsorted(self.states, x).clamp(1, len(self.states) - 1)
        low, high = self.states[i - 1], self.states[i]
        share = (x - low) / (high - low)
        return (self.actions[i - 1] + share * (self.actions[i] - self.actions[i - 1]))[:, None]

    @property
    def kink(self) -> float:
        """The state at which the lower bound of the post-decision state begins to bind."""
        return float(self.states[1])


def endogenous_grid(
    model: DynamicModel,
    rule: Quadrature,
    *,
    n_points: int = 200,
    tol: float = 1e-8,
    max_iter: int = 2000,
    report: Report = ignore,
) -> tuple[EndogenousPolicy, Root]:
    """Policy of a model with one state by the method of endogenous grid points.

    Parameters
    ----------
    model : DynamicModel
        A model with ``endogenous_grid``.
    rule : Quadrature
        Nodes and weights of the shocks.
    n_points : int, default=200
        Grid points, denser towards the lower bound.
    tol : float, default=1e-8
        Bound on the distance to the fixed point, relative to the actions.
    max_iter : int, default=2000
        Iterations at most.
    report : callable
        Told of every iteration.

    Returns
    -------
    policy : EndogenousPolicy
        The policy.
    root : Root
        How the iteration ended.

    References
    ----------
    C. Carroll, *The Method of Endogenous Gridpoints for Solving Dynamic Stochastic Optimization
    Problems*, section 2.
    """
    grid = _Grid(model, rule, n_points)
    start = torch.full((n_points,), 0.0, dtype=torch.float64)
    logs = grid.step((start + grid.points.abs().clamp(min=1e-3)).log())
    root = fixed_point(grid.step, logs, tol=tol, max_iter=max_iter, report=report)
    return grid.policy(root.theta), root


class _Grid:
    """A grid of post-decision states; a policy is the logarithm of the actions that lead there."""

    def __init__(self, model: DynamicModel, rule: Quadrature, n_points: int) -> None:
        structure = model.endogenous_grid
        assert structure is not None
        self._model, self._structure = model, structure
        low, high = structure.bounds
        shares = torch.linspace(0, 1, n_points, dtype=torch.float64)
        self.points = low + (high - low) * shares.square()
        self._transition = model.with_named("transition", structure.transition, 2)
        self._state = model.with_named("state", structure.state, 2)
        nodes, self._weights = rule.at(self.points[:, None])
        self._nodes = nodes.expand(n_points, *nodes.shape[-2:]).flatten(0, 1)
        each = self.points.repeat_interleave(rule.n_nodes)[:, None]
        with torch.enable_grad():
            each.requires_grad_()
            self._after = self._transition(each, self._nodes)
            (self._slope,) = torch.autograd.grad(self._after.sum(), each)
        self._after = self._after.detach()

    def policy(self, logs: Tensor) -> EndogenousPolicy:
        """The policy whose actions lead to the grid points."""
        actions = logs.exp()
        nothing = actions.new_zeros(1)
        edge = self._state(self.points[:1], nothing)
        states = torch.cat([edge, self._state(self.points, actions)])
        return EndogenousPolicy(states, torch.cat([nothing, actions]))

    def step(self, logs: Tensor) -> Tensor:
        """One period further back."""
        later = self.policy(logs)(self._after)
        worth = self._marginal(later).reshape(len(self.points), -1)
        return self._inverse((worth * self._weights).sum(1)).log()

    def _marginal(self, later: Tensor) -> Tensor:
        if self._structure.marginal is not None:
            marginal = self._model.with_named("marginal", self._structure.marginal, 3)
            return marginal(self._after, later, self._nodes)
        values = marginal_values(self._model, self._after, later, self._nodes).detach()
        return self._model.beta * values[:, 0] * self._slope[:, 0]

    def _inverse(self, worth: Tensor) -> Tensor:
        if self._structure.inverse is not None:
            return self._model.with_named("inverse", self._structure.inverse, 1)(worth)
        inverse = self._model.with_named("marginal_inverse", self._model.marginal_inverse, 2)
        return inverse(worth[:, None], self.points[:, None])[:, 0]
