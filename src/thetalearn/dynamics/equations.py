"""The functional equations of a dynamic model: value of a policy, Euler, and others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..objectives.projection import Equation
from .coordinates import StateMap
from .model import DynamicModel
from .structure import controlled_states
from .transforms import Logit

__all__ = ["EulerEquation", "EvaluationEquation", "fischer_burmeister", "marginal_values"]


@dataclass(frozen=True)
class EvaluationEquation(Equation):
    r"""The value of given actions, :math:`V(s) = r(s, a) + \beta E V(g(s, a, e))`.

    It is linear in V, and by the envelope theorem it is also what Newton's method makes of the
    Bellman equation when the actions are the best ones.

    Parameters
    ----------
    model : DynamicModel
        The problem.
    to_inputs : StateMap
        Inputs of the approximating function.
    actions : Tensor of shape (P, m)
        The action in each of the states at which residuals are taken.
    """

    model: DynamicModel
    to_inputs: StateMap
    actions: Tensor

    n_equations = 1
    controlled = False

    def coordinates(self, s: Tensor) -> Tensor:
        """Inputs of the value function."""
        return self.to_inputs(s)

    def next_states(self, s: Tensor, y: Tensor, e: Tensor) -> Tensor:
        """Next states under the given actions."""
        each = self.actions.repeat_interleave(len(s) // len(self.actions), 0)
        return self.model.next_states(s, each, e)

    def integrand(self, s: Tensor, y: Tensor, s_next: Tensor, y_next: Tensor, e: Tensor) -> Tensor:
        """Discounted value of the next state."""
        return self.model.beta * to_value(self.model, y_next)

    def combine(self, s: Tensor, y: Tensor, mean: Tensor) -> Tensor:
        """The value less what the actions give, in the coordinate of the value."""
        given = self.model.rewards(s, self.actions)[:, None] + mean
        return y - from_value(self.model, given)

    def select(self, rows: slice) -> EvaluationEquation:
        """The equation at some of the states."""
        return replace(self, actions=self.actions[rows])


@dataclass(frozen=True)
class EulerEquation(Equation):
    r"""First-order conditions of a model, or the Euler equation that it gives.

    Derived from reward r and transition g, the gain from more of action j is

    .. math:: \frac{\partial r}{\partial a_j} + \beta E\,\frac{\partial g}{\partial a_j}^\top
       V_s(s'), \qquad
       V_s = \frac{\partial r}{\partial s} - \frac{\partial g}{\partial s}^\top \mu,\quad
       \frac{\partial g}{\partial a}^\top \mu = \frac{\partial r}{\partial a},

    where the second equation eliminates the value function: a change of the state can be offset by
    one of the actions (Benveniste and Scheinkman). Multipliers of ``model.constraint`` are further
    unknowns. Where a bound or a constraint may bind, the equation becomes a complementarity
    condition in the form of Fischer and Burmeister.

    Parameters
    ----------
    model : DynamicModel
        The problem.
    to_inputs : StateMap
        Inputs of the approximating function.
    unit_free : bool
        Whether gains are divided by the marginal reward.

    References
    ----------
    Sawada and Zhong, *Parameterization and Neural Network*, section on residuals. L. Benveniste
    and J. Scheinkman, *On the Differentiability of the Value Function in Dynamic Models of
    Economics*. A. Fischer, *A Special Newton-Type Optimization Method*.
    """

    model: DynamicModel
    to_inputs: StateMap
    unit_free: bool = True
    n_constraints: int = 0

    @property
    def n_equations(self) -> int:
        """One for each action and each constraint."""
        return self.model.n_actions + self.n_constraints

    def coordinates(self, s: Tensor) -> Tensor:
        """Inputs of the policy functions."""
        return self.to_inputs(s)

    def actions(self, s: Tensor, y: Tensor) -> Tensor:
        """Actions (n, m) of the unknowns y (n, m + c)."""
        own = y[:, : self.model.n_actions]
        if self.model.action_coordinates.trivial:
            return own
        return self.model.action_coordinates.inverse(own, *self.model.action_limits(s))

    def unknowns(self, s: Tensor, a: Tensor) -> Tensor:
        """The unknowns of actions, with multipliers of zero."""
        y = self.model.action_coordinates.forward(a, *self.model.action_limits(s))
        return torch.cat([y, y.new_zeros(len(y), self.n_constraints)], 1)

    def next_states(self, s: Tensor, y: Tensor, e: Tensor) -> Tensor:
        """Next states (n, d)."""
        return self.model.next_states(s, self.actions(s, y), e)

    def integrand(self, s: Tensor, y: Tensor, s_next: Tensor, y_next: Tensor, e: Tensor) -> Tensor:
        """The part of the gain that depends on the shocks."""
        a, a_next = self.actions(s, y), self.actions(s_next, y_next)
        if self.model.euler is not None:
            return self.model.arbitrage(s, a, s_next, a_next, e)
        later = marginal_values(self.model, s_next, a_next, e, self._multipliers(y_next))
        with torch.enable_grad():
            a = a if a.requires_grad else a.detach().requires_grad_()
            after = self.model.next_states(s, a, e)
            (gain,) = torch.autograd.grad(after, a, later, create_graph=True)
        return self.model.beta * gain

    def combine(self, s: Tensor, y: Tensor, mean: Tensor) -> Tensor:
        """Gains from more of each action, or their complementarity with what limits them."""
        a = self.actions(s, y)
        lower, upper = self.model.action_limits(s)
        return torch.cat(self._limited(self.gains(s, y, mean), a, lower, upper, s, y), 1)

    def gains(self, s: Tensor, y: Tensor, mean: Tensor) -> Tensor:
        """Gains from more of each action (n, m), relative to marginal rewards if unit-free."""
        a = self.actions(s, y)
        if self.model.euler is not None:
            if not self.n_constraints:
                return mean
            _, pressure = lagrangian_slopes(self.model, s, a, self._multipliers(y), reward=False)
            return mean + pressure
        _, now = lagrangian_slopes(self.model, s, a, self._multipliers(y))
        if not self.unit_free:
            return now + mean
        if self.n_constraints:
            _, scale = lagrangian_slopes(self.model, s, a, None)
            return (now + mean) / scale.abs()
        return (now + mean) / now.abs()

    def _limited(
        self, gain: Tensor, a: Tensor, lower: Tensor, upper: Tensor, s: Tensor, y: Tensor
    ) -> list[Tensor]:
        # With gains that are never zero at a bound, the coordinates keep actions inside.
        if self.model.action_bounds is not None and self._may_bind:
            width = torch.where((upper - lower).isfinite(), upper - lower, 1.0)
            # An infinite distance would have a derivative that is not a number.
            below = (
                torch.where(lower.isfinite(), a - torch.where(lower.isfinite(), lower, 0.0), 1.0)
                / width
            )
            above = (
                torch.where(upper.isfinite(), torch.where(upper.isfinite(), upper, 0.0) - a, 1.0)
                / width
            )
            capped = -fischer_burmeister(above, gain)
            limited = torch.where(upper.isfinite(), capped, -gain)
            floored = fischer_burmeister(below, limited)
            gain = torch.where(lower.isfinite(), floored, limited)
        if not self.n_constraints:
            return [gain]
        slack = self.model.constraints(s, a)
        return [gain, fischer_burmeister(slack, y[:, self.model.n_actions :])]

    @property
    def _may_bind(self) -> bool:
        """Whether the coordinates of the actions let these reach their bounds."""
        return any(
            not isinstance(column, Logit) for column in self.model.action_coordinates.columns
        )

    def _multipliers(self, y: Tensor) -> Tensor | None:
        return y[:, self.model.n_actions :] if self.n_constraints else None


def fischer_burmeister(a: Tensor, b: Tensor) -> Tensor:
    r"""Zero exactly where a and b are nonnegative and one of them is zero.

    .. math:: \varphi(a, b) = a + b - \sqrt{a^2 + b^2}
    """
    # Written so that nothing cancels where both are positive and one is small.
    root = (a.square() + b.square() + 1e-300).sqrt()
    positive = a + b > 0
    denominator = torch.where(positive, a + b + root, torch.ones_like(root))
    return torch.where(positive, 2 * a * b / denominator, a + b - root)


def to_value(model: DynamicModel, y: Tensor) -> Tensor:
    """Values of their coordinates."""
    return model.value_coordinate.inverse(y, y, y)


def from_value(model: DynamicModel, v: Tensor) -> Tensor:
    """Coordinates of values."""
    return model.value_coordinate.forward(v, v, v)


def lagrangian_slopes(
    model: DynamicModel, s: Tensor, a: Tensor, multipliers: Tensor | None, *, reward: bool = True
) -> tuple[Tensor, Tensor]:
    """Derivatives of the reward and the constraints' worth in the states and in the actions."""
    with torch.enable_grad():
        s = s if s.requires_grad else s.detach().requires_grad_()
        a = a if a.requires_grad else a.detach().requires_grad_()
        total = model.rewards(s, a) if reward else 0 * a[:, 0]
        if multipliers is not None:
            total = total + (multipliers * model.constraints(s, a)).sum(1)
        slopes = torch.autograd.grad(total.sum(), (s, a), create_graph=True, allow_unused=True)
    by_state, by_action = slopes
    return (
        torch.zeros_like(s) if by_state is None else by_state,
        torch.zeros_like(a) if by_action is None else by_action,
    )


def marginal_values(
    model: DynamicModel, s: Tensor, a: Tensor, e: Tensor, multipliers: Tensor | None = None
) -> Tensor:
    """Derivatives (n, d) of the value in the endogenous states, zero for the others."""
    moved = controlled_states(model)
    with torch.enable_grad():
        # Views of their own, so that what follows counts these arguments and no others.
        s = s.view_as(s) if s.requires_grad else s.detach().requires_grad_()
        a = a.view_as(a) if a.requires_grad else a.detach().requires_grad_()
        by_state, by_action = lagrangian_slopes(model, s, a, multipliers)
        after = model.next_states(s, a, e)
        rows = [torch.autograd.grad(after[:, i].sum(), a, create_graph=True)[0] for i in moved]
        prices = _offsetting(torch.stack(rows, 1), by_action)
        (carried,) = torch.autograd.grad(
            after[:, moved], s, prices, create_graph=True, allow_unused=True
        )
    values = by_state if carried is None else by_state - carried
    kept = torch.zeros(model.n_states, dtype=values.dtype, device=values.device)
    kept[moved] = 1.0
    return values * kept


def _offsetting(effects: Tensor, slopes: Tensor) -> Tensor:
    """The mu with effects' mu = slopes, in the sense of least squares; (n, moved, m) and (n, m)."""
    _, moved, m = effects.shape
    if moved == 1:
        row = effects[:, 0]
        return (row * slopes).sum(1, keepdim=True) / row.square().sum(1, keepdim=True)
    if moved == m:
        return torch.linalg.solve(effects.mT, slopes)
    gram = effects @ effects.mT
    return torch.linalg.solve(gram, (effects @ slopes[:, :, None])[:, :, 0])
