"""The best actions for a given value function, found for all states at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..objectives.projection import StateRows
from ..solvers.maximize import (
    Maximum,
    maximize_enumerate,
    maximize_golden,
    maximize_newton,
)
from .coordinates import StateMap
from .equations import lagrangian_slopes, to_value
from .model import DynamicModel, ModelError
from .structure import controlled_states, probes, transition_slopes

__all__ = ["Continuation", "GreedyActions"]

#: Steps of the barrier that keeps actions inside a constraint; the last decides the accuracy.
BARRIERS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)

#: Numbers that the candidates of one block of states may take.
BLOCK_NUMBERS = 2**22


@dataclass(frozen=True)
class Continuation:
    """The value of the next state: a function with its coefficients, or the terminal value.

    Parameters
    ----------
    model : DynamicModel
        The problem.
    to_inputs : StateMap
        Inputs of the value function.
    function : Function or None
        Form of the value function; None for the terminal value.
    theta : Tensor or None
        Its coefficients.
    """

    model: DynamicModel
    to_inputs: StateMap
    function: Any
    theta: Tensor | None

    def __call__(self, s: Tensor) -> Tensor:
        """Values (n,) of states."""
        if self.function is None:
            return self.model.terminal_values(s)
        return to_value(self.model, self.function.at(self.to_inputs(s)).value(self.theta))[:, 0]

    def expanded(self, s: Tensor) -> Tensor:
        """Values (n,) whose first and second derivatives autograd sees."""
        if self.function is None:
            return self.model.terminal_values(s)
        x = self.to_inputs(s)
        points = self.function.at(x.detach())
        moved = x - x.detach()
        slope = points.jacobian(self.theta)[:, 0].detach()
        bend = points.hessian(self.theta)[:, 0].detach()
        y = points.value(self.theta)[:, 0].detach() + (slope * moved).sum(1)
        y = y + 0.5 * (moved * (bend @ moved[:, :, None])[:, :, 0]).sum(1)
        return to_value(self.model, y[:, None])[:, 0]


@dataclass(frozen=True)
class ActionValue:
    """What an action is worth in each state: reward and discounted continuation.

    ``barrier`` weighs the logarithm of the model's constraints, which keeps actions inside them.
    """

    rows: StateRows
    continuation: Continuation
    barrier: float = 0.0

    @property
    def model(self) -> DynamicModel:
        """The problem."""
        return self.continuation.model

    @property
    def n_problems(self) -> int:
        """Number of states."""
        return len(self.rows)

    @property
    def n_actions(self) -> int:
        """Number of actions in each."""
        return self.model.n_actions

    def value(self, rows: Any, actions: Tensor) -> Tensor:
        """Worth (r, c) of candidates (r, c, m); minus infinity where they are not allowed."""
        part = self._select(rows)
        r, c, _ = actions.shape
        each = max(BLOCK_NUMBERS // (c * part.n_nodes * max(self._size, 1)), 1)
        with torch.no_grad():
            blocks = [
                self._value(part.select(slice(i, i + each)), actions[i : i + each])
                for i in range(0, r, each)
            ]
        return torch.cat(blocks) if blocks else actions.new_zeros(0, c)

    def _value(self, part: StateRows, actions: Tensor) -> Tensor:
        r, c, m = actions.shape
        spread = StateRows(
            part.states.repeat_interleave(c, 0),
            part.nodes.repeat_interleave(c, 0) if part.nodes.ndim == 3 else part.nodes,
            part.weights.repeat_interleave(c, 0) if part.weights.ndim == 2 else part.weights,
        )
        worth = self._worth(spread, actions.reshape(r * c, m), self.continuation).reshape(r, c)
        return torch.where(worth.isnan(), -torch.inf, worth)

    def derivatives(self, rows: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Worth (r,) of actions (r, m) with its gradient (r, m) and Hessian (r, m, m)."""
        part = self._select(rows)
        with torch.enable_grad():
            a = actions.detach().requires_grad_()
            worth = self._worth(part, a, self.continuation.expanded)
            (gradient,) = torch.autograd.grad(worth.sum(), a, create_graph=True)
            hessian = [
                torch.autograd.grad(gradient[:, j].sum(), a, retain_graph=True)[0]
                if gradient.requires_grad
                else torch.zeros_like(a)
                for j in range(self.n_actions)
            ]
        return worth.detach(), gradient.detach(), torch.stack(hessian, 1)

    def _worth(self, part: StateRows, actions: Tensor, continuation: Any) -> Tensor:
        s, a = part.repeated(part.states), part.repeated(actions)
        after = self.model.next_states(s, a, part.shocks())
        later = part.mean(continuation(after)[:, None])[:, 0]
        worth = self.model.rewards(part.states, actions) + self.model.beta * later
        if self.model.constraint is None:
            return worth
        slack = self.model.constraints(part.states, actions)
        if self.barrier == 0.0:
            return worth.masked_fill((slack < 0).any(1), -torch.inf)
        return worth + self.barrier * slack.log().sum(1)

    def _select(self, rows: Any) -> StateRows:
        nodes = self.rows.nodes[rows] if self.rows.nodes.ndim == 3 else self.rows.nodes
        weights = self.rows.weights[rows] if self.rows.weights.ndim == 2 else self.rows.weights
        return StateRows(self.rows.states[rows], nodes, weights)

    @property
    def _size(self) -> int:
        return getattr(self.continuation.function, "n_parameters", 1)


@dataclass(frozen=True)
class GreedyActions:
    """Finds the actions that maximise reward and discounted continuation.

    Parameters
    ----------
    method : {"newton", "golden", "enumerate", "envelope"}
        How: Newton's method on the first-order conditions after a search for the best of several
        candidates; golden section; trying all actions of a finite list; or the envelope
        condition, which needs ``marginal_inverse`` and no search.
    tol : float, default=1e-12
        Size of a step, relative to the width of the bounds, at which a search ends.
    n_candidates : int, default=16
        Candidates for a start, for each action.
    """

    method: str
    tol: float = 1e-12
    n_candidates: int = 16

    def __call__(
        self, rows: StateRows, continuation: Continuation, start: Tensor | None = None
    ) -> Tensor:
        """The best actions (P, m).

        Raises
        ------
        ModelError
            If no action of some state is allowed.
        """
        model = continuation.model
        theta = continuation.theta
        if theta is not None and not theta.isfinite().all():
            raise ModelError(
                "the value function is no longer finite: the search for it has diverged; try "
                "another basis, a smaller degree or network, or other coordinates of the model"
            )
        if self.method == "enumerate":
            return self._enumerate(rows, continuation)
        if self.method == "envelope":
            return envelope_actions(continuation, rows.states)
        lower, upper = model.action_limits(rows.states)
        crossed = torch.nonzero(~(lower <= upper))
        if len(crossed):
            i, j = crossed[0].tolist()
            raise ModelError(
                f"no action is allowed in the state {rows.states[i].tolist()}: the bounds of "
                f"action {j} are ({lower[i, j]:.6g}, {upper[i, j]:.6g})"
            )
        if start is None and not (lower.isfinite() & upper.isfinite()).all():
            start = model.inside_actions(rows.states)
        if model.constraint is None:
            return self._search(ActionValue(rows, continuation), lower, upper, start).actions
        # The interior first, then closer and closer to where the constraint binds.
        for barrier in BARRIERS:
            best = self._search(ActionValue(rows, continuation, barrier), lower, upper, start)
            start = best.actions
        return best.actions

    def _search(
        self, worth: ActionValue, lower: Tensor, upper: Tensor, start: Tensor | None
    ) -> Maximum:
        if self.method == "golden":
            best = maximize_golden(
                worth, lower, upper, n_candidates=self.n_candidates, tol=self.tol
            )
        else:
            best = maximize_newton(
                worth, lower, upper, start, n_candidates=self.n_candidates, tol=self.tol
            )
        if not best.feasible.all():
            i = int(torch.nonzero(~best.feasible)[0])
            raise ModelError(
                f"no action is allowed in the state {worth.rows.states[i].tolist()}: the reward "
                "is not finite, or the constraint is not met, for any that was tried between the "
                "bounds; widen action_bounds, or narrow state_bounds"
            )
        return best

    def _enumerate(self, rows: StateRows, continuation: Continuation) -> Tensor:
        worth = ActionValue(rows, continuation)
        listed = continuation.model.actions_listed.to(rows.states)
        return maximize_enumerate(worth.value, listed, n_problems=len(rows)).actions


def envelope_actions(continuation: Continuation, s: Tensor) -> Tensor:
    r"""Actions (n, m) for which the envelope condition holds, without a search.

    From :math:`V_s = r_s - g_s^\top \mu` and :math:`g_a^\top \mu = r_a`, the marginal rewards are
    :math:`r_a = g_a^\top (g_s^\top)^{-1} (r_s - V_s)`, which ``marginal_inverse`` turns into
    actions. The effects of states and actions on the next state must not depend on the actions.

    References
    ----------
    L. Maliar and S. Maliar, *Envelope Condition Method versus Endogenous Grid Method for Solving
    Dynamic Programming Problems*.
    """
    model = continuation.model
    moved = controlled_states(model)
    if len(moved) != model.n_actions:
        raise ModelError(
            f'maximizer="envelope" needs as many controlled states as actions, but there are '
            f'{len(moved)} and {model.n_actions}: choose "newton"'
        )
    _check_envelope(model)
    with torch.enable_grad():
        at = s.detach().requires_grad_()
        (value_slope,) = torch.autograd.grad(continuation.expanded(at).sum(), at)
    a = model.inside_actions(s)
    by_action, by_state = transition_slopes(model, s, a, model.distribution.expected(s))
    reward_slope, _ = lagrangian_slopes(model, s, a, None)
    prices = torch.linalg.solve(
        by_state[:, moved][:, :, moved].mT, (reward_slope.detach() - value_slope)[:, moved]
    )
    due = (by_action[:, moved].mT @ prices[:, :, None])[:, :, 0]
    inverse = model.bound("marginal_inverse")
    lower, upper = model.action_limits(s)
    return torch.minimum(torch.maximum(inverse(due, s), lower), upper)


def _check_envelope(model: DynamicModel) -> None:
    """Refuse a model whose envelope condition depends on the actions or on the shocks."""
    kept = vars(model)
    if "_envelope" not in kept:
        s, a, e, count = probes(model)
        moved = controlled_states(model)
        by_action, by_state = transition_slopes(model, s, a, e)
        by_reward = lagrangian_slopes(model, s, a, None)[0].detach()
        offsets = torch.linalg.pinv(by_action[:, moved]) @ by_state[:, moved][:, :, moved]
        parts = [offsets, by_reward[:, moved]]
        # The same states follow each other, with all shocks, for each of three actions.
        alike = [part.reshape(3, -1, count, *part.shape[1:]) for part in parts]
        kept["_envelope"] = all(
            bool(torch.allclose(part, part[:1, :, :1].expand_as(part), rtol=1e-7, atol=1e-10))
            for part in alike
        )
    if not kept["_envelope"]:
        raise ModelError(
            'maximizer="envelope" needs marginal rewards of the states, and changes of actions '
            "that offset those of states, which depend neither on the actions nor on the shocks; "
            'those of this model do: choose "newton"'
        )
