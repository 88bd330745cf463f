"""Paths of a model under a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .model import DynamicModel

__all__ = ["Paths", "deterministic_path", "simulate", "steady_state_of", "transition_matrix"]

#: From states (n, d) to actions (n, m).
Policy = Callable[[Tensor], Tensor]

#: Periods after which a path without shocks that still moves has no steady state.
PATIENCE = 5000

#: Periods between leaps to where a path seems to end, and vain ones to give up at.
LEAP, LEAPS = 50, 3


@dataclass(frozen=True)
class Paths:
    """Simulated paths.

    Attributes
    ----------
    states : Tensor of shape (n_periods + 1, n_paths, d)
        States, from the first period on.
    actions : Tensor of shape (n_periods, n_paths, m)
        Actions.
    """

    states: Tensor
    actions: Tensor


def simulate(
    model: DynamicModel,
    policy: Policy,
    start: Tensor,
    n_periods: int,
    rng: np.random.RandomState,
    *,
    periods: Callable[[int], Policy] | None = None,
) -> Paths:
    """Follow a policy from given states.

    Parameters
    ----------
    model : DynamicModel
        The problem.
    policy : callable
        From states (n, d) to actions (n, m).
    start : Tensor of shape (n_paths, d)
        First states.
    n_periods : int
        Number of transitions.
    rng : numpy.random.RandomState
        Draws the shocks.
    periods : callable, default=None
        Gives the policy of each period, where it depends on that.
    """
    states, actions = [start], []
    with torch.no_grad():
        for t in range(n_periods):
            s = states[-1]
            a = policy(s) if periods is None else periods(t)(s)
            actions.append(a)
            states.append(model.next_states(s, a, model.distribution.sample(s, rng)))
    empty = start.new_zeros(0, len(start), model.n_actions)
    return Paths(torch.stack(states), torch.stack(actions) if actions else empty)


def deterministic_path(
    model: DynamicModel, policy: Policy, start: Tensor, n_periods: int
) -> Tensor:
    """States (n_periods + 1, n_paths, d) when every shock is as expected and chains stay put."""
    states = [start]
    with torch.no_grad():
        for _ in range(n_periods):
            s = states[-1]
            states.append(model.next_states(s, policy(s), model.quiet_shocks(s)))
    return torch.stack(states)


def steady_state_of(
    model: DynamicModel, policy: Policy, start: Tensor, tol: float = 1e-10
) -> Tensor | None:
    """The state (d,) at which a path without shocks comes to rest; None if it does not.

    Nor is a path followed any further that stays outside the bounds, or creeps without end.
    """
    low, high = model.bounds.to(start).T
    s = start[None]
    lost = 0
    with torch.no_grad():
        for period in range(1, PATIENCE + 1):
            after = model.next_states(s, policy(s), model.quiet_shocks(s))
            if not after.isfinite().all():
                return None
            if (after - s).abs().max() <= tol * (1 + s.abs().max()):
                return after[0]
            s = after
            if period % LEAP:
                continue
            # Near its end a path creeps, so leap to where its linear continuation ends.
            rest = _linear_rest(model, policy, s)
            inside = bool(((rest >= low) & (rest <= high)).all())
            s, lost = (rest, 0) if inside else (s, lost + 1)
            if lost == LEAPS:
                return None
    return None


def _linear_rest(model: DynamicModel, policy: Policy, s: Tensor) -> Tensor:
    """Where the linear model around s (1, d) comes to rest; NaN if it does not."""
    matrix = transition_matrix(model, policy, s[0])
    if not matrix.isfinite().all() or torch.linalg.eigvals(matrix).abs().max() > 1 - 1e-6:
        return torch.full_like(s, torch.nan)
    change = model.next_states(s, policy(s), model.quiet_shocks(s)) - s
    return s + torch.linalg.solve(torch.eye(len(matrix)).to(s) - matrix, change[0])


def transition_matrix(model: DynamicModel, policy: Policy, state: Tensor) -> Tensor:
    """Derivative (d, d) of the next state in the state under a policy, by central differences."""
    scale = 1e-6 * (model.bounds[:, 1] - model.bounds[:, 0]).to(state)
    moved = torch.ones_like(scale)
    # A finite chain has no values beside its own, and what it is next does not follow from steps.
    moved[list(model.chain_states())] = 0.0
    steps = torch.diag(scale * moved)
    around = torch.cat([state + steps, state - steps])
    with torch.no_grad():
        after = model.next_states(around, policy(around), model.quiet_shocks(around))
    d = len(state)
    return ((after[:d] - after[d:]) / (2 * scale[:, None])).T
