"""How actions move the states of a model, read off at many places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .model import DynamicModel, ModelError

__all__ = [
    "Structure",
    "bounds_move_along",
    "check_derivable",
    "controlled_states",
    "offsetting_actions",
    "structure_of",
    "transition_slopes",
]

#: States, shares of the way between the bounds, and shocks at which a model is probed.
N_STATES, SHARES, N_SHOCKS = 24, (0.2, 0.5, 0.8), 7

#: Relative size below which a difference is rounding.
NEGLIGIBLE = 1e-7


@dataclass(frozen=True)
class Structure:
    """What probing a model has found.

    Attributes
    ----------
    controlled : tuple of int
        States whose next value depends on an action somewhere.
    obstacle : str
        Why the value function cannot be eliminated from the first-order conditions; "" if it can.
    """

    controlled: tuple[int, ...]
    obstacle: str


def structure_of(model: DynamicModel) -> Structure:
    """The structure of a model, which is kept with it."""
    kept = vars(model)
    if "_structure" not in kept:
        kept["_structure"] = _probe(model)
    return kept["_structure"]


def controlled_states(model: DynamicModel) -> list[int]:
    """The states whose next value depends on an action."""
    return list(structure_of(model).controlled)


def check_derivable(model: DynamicModel) -> None:
    """Refuse a model whose Euler equation cannot be derived from reward and transition.

    Raises
    ------
    ModelError
        If no action moves a state, or a change of some state cannot be offset by the actions in
        the same way whatever the shocks.
    """
    obstacle = structure_of(model).obstacle
    if obstacle:
        raise ModelError(
            f"{obstacle}, so the value function cannot be eliminated from the first-order "
            "conditions: give euler=, or use BellmanApproximator"
        )


def offsetting_actions(model: DynamicModel, s: Tensor, a: Tensor, e: Tensor) -> Tensor:
    """Changes (n, m, c) of actions that act on the next states as each controlled state does."""
    moved = controlled_states(model)
    by_action, by_state = transition_slopes(model, s, a, e)
    return torch.linalg.pinv(by_action[:, moved]) @ by_state[:, moved][:, :, moved]


def bounds_move_along(model: DynamicModel, s: Tensor, a: Tensor, binding: Tensor) -> bool:
    """Whether bounds that bind move with the states as the offsetting actions do.

    ``binding`` (2, n, m) tells where the lower and the upper bounds bind. A limit on spending
    moves with the money that there is, and its multiplier drops out of the derived Euler equation;
    that of another bound does not.
    """
    if not binding.any():
        return True
    moved = controlled_states(model)
    offsets = -offsetting_actions(model, s, a, model.quiet_shocks(s))
    at = s.detach().requires_grad_()
    for side in (0, 1):
        with torch.enable_grad():
            bounds = model.action_limits(at)[side]
            slopes = [
                torch.autograd.grad(bounds[:, j].sum(), at, retain_graph=True)[0][:, moved]
                if bounds.requires_grad
                else torch.zeros_like(at[:, moved])
                for j in range(model.n_actions)
            ]
        gap = (torch.stack(slopes, 1) - offsets).abs().amax(2)
        scale = 1 + offsets.abs().amax(2)
        if bool((binding[side] & (gap > 1e-6 * scale)).any()):
            return False
    return True


def transition_slopes(
    model: DynamicModel, s: Tensor, a: Tensor, e: Tensor
) -> tuple[Tensor, Tensor]:
    """Derivatives of the next states in actions (n, d, m) and in states (n, d, d)."""
    s, a = s.detach().requires_grad_(), a.detach().requires_grad_()
    with torch.enable_grad():
        after = model.next_states(s, a, e)
        totals = after.sum(0).unbind()
    by_action, by_state = [], []
    for total in totals:
        if not after.requires_grad:
            gradients: tuple[Tensor | None, ...] = (None, None)
        else:
            gradients = torch.autograd.grad(total, (a, s), retain_graph=True, allow_unused=True)
        by_action.append(torch.zeros_like(a) if gradients[0] is None else gradients[0])
        by_state.append(torch.zeros_like(s) if gradients[1] is None else gradients[1])
    return torch.stack(by_action, 1), torch.stack(by_state, 1)


def probes(model: DynamicModel) -> tuple[Tensor, Tensor, Tensor, int]:
    """States, actions and shocks throughout the box, and how many shocks follow each pair."""
    rng = np.random.RandomState(0)
    low, high = model.bounds[:, 0], model.bounds[:, 1]
    states = low + torch.from_numpy(rng.random_sample((N_STATES, len(low)))) * (high - low)
    for column, values in model.chain_states().items():
        states[:, column] = values[torch.arange(N_STATES) % len(values)]
    if model.discrete_actions is not None:
        listed = model.actions_listed
        actions = listed[torch.arange(3 * N_STATES) % len(listed)]
    else:
        actions = torch.cat([model.inside_actions(states, share) for share in SHARES])
    states = states.repeat(len(SHARES), 1)
    nodes, _ = model.distribution.nodes(random_state=0).at(states)
    chosen = torch.linspace(0, nodes.shape[-2] - 1, min(N_SHOCKS, nodes.shape[-2])).round().long()
    nodes = nodes.index_select(-2, chosen)
    count, n = len(chosen), len(states)
    return (
        states.repeat_interleave(count, 0),
        actions.repeat_interleave(count, 0),
        nodes.expand(n, count, nodes.shape[-1]).flatten(0, 1),
        count,
    )


def _probe(model: DynamicModel) -> Structure:
    s, a, e, count = probes(model)
    by_action, by_state = transition_slopes(model, s, a, e)
    finite = by_action.isfinite().flatten(1).all(1) & by_state.isfinite().flatten(1).all(1)
    # All shocks of a state and action, or none of them.
    finite = finite.reshape(-1, count).all(1).repeat_interleave(count)
    by_action, by_state = by_action[finite], by_state[finite]
    size = by_action.abs().amax() if by_action.numel() else torch.zeros(())
    moved = torch.nonzero((by_action.abs() > 1e-12 * size).any(2).any(0))[:, 0].tolist()
    return Structure(tuple(moved), _obstacle(by_action, by_state, moved, count))


def _obstacle(by_action: Tensor, by_state: Tensor, moved: list[int], count: int) -> str:
    if not moved:
        return "no action moves a state"
    others = [i for i in range(by_state.shape[1]) if i not in moved]
    if others and bool((by_state[:, others][:, :, moved].abs() > 0).any()):
        return "a state that no action moves depends on one that they do"
    effects, wanted = by_action[:, moved], by_state[:, moved][:, :, moved]
    offsets = torch.linalg.pinv(effects) @ wanted
    scale = wanted.abs().amax(2).amax(1).clamp(min=1e-300)
    if bool(((effects @ offsets - wanted).abs().amax(2).amax(1) > NEGLIGIBLE * scale).any()):
        return "a change of the states cannot be offset by the actions"
    by_shock = offsets.reshape(-1, count, *offsets.shape[1:])
    spread = (by_shock - by_shock[:, :1]).abs().amax()
    if bool(spread > NEGLIGIBLE * offsets.abs().amax().clamp(min=1e-300)):
        return "which actions offset a change of the states depends on the shocks"
    return ""
