"""Where a policy of one state bends: where a bound begins to bind, and where that shows before."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .equations import EulerEquation
from .euler import policy_of
from .setup import Setup

__all__ = ["find_kinks", "spread_knots"]

#: Points among which a function's changes of sign are looked for, and steps to a root between two.
N_GRID, MAX_STEPS = 401, 15

#: Steps below this are rounding.
ROUNDING = 1e-13

#: Generations of preimages, kinks in all, and the least share of the box between two of them.
GENERATIONS, MAX_KINKS, LEAST_GAP = 12, 120, 1e-5

#: Probability of the shocks that carry a kink on, below which its bend does not show.
FAINT = 3e-4

#: Curvature that knots see everywhere, as a share of the largest.
EVENNESS = 1e-4


def find_kinks(setup: Setup, equation: EulerEquation, theta: Tensor) -> np.ndarray:
    """Inputs at which the policy bends, in increasing order.

    A bound that begins to bind bends the policy; so do, a period before, the states from which
    some shock leads there, and so on backwards, ever less.

    Parameters
    ----------
    setup : Setup
        A model of one state.
    equation : EulerEquation
        Its Euler equation.
    theta : Tensor
        Coefficients of a solution, which may be a poor one near its kinks.
    """
    low, high = (float(end) for end in setup.to_inputs.box[0])
    grid = torch.linspace(low, high, N_GRID, dtype=torch.float64)
    kinks: list[tuple[float, float]] = []
    for binding in _binding(setup, equation, theta):
        kinks += [(float(x), 1.0) for x in _roots(binding, grid)]
    found = _separated(kinks, [], high - low)
    youngest = found
    policy = policy_of(setup, equation, theta)
    for _ in range(GENERATIONS):
        if len(found) >= MAX_KINKS or not youngest:
            break
        youngest = _separated(_preimages(setup, policy, youngest, grid), found, high - low)
        found = sorted(found + youngest, key=lambda kink: -kink[1])[:MAX_KINKS]
    margin = LEAST_GAP * (high - low)
    inside = [x for x, _ in found if low + margin < x < high - margin]
    return np.sort(np.array(inside))


def _binding(
    setup: Setup, equation: EulerEquation, theta: Tensor
) -> list[Callable[[Tensor], Tensor]]:
    """The gains from more of each action at each of its bounds, as functions of inputs.

    They change sign where the bound begins to bind, and depend on the solution only through the
    next period, so that they do so at the right place even where the solution itself rings.
    """
    policy = policy_of(setup, equation, theta)

    def gain(x: Tensor, j: int, upper: bool) -> Tensor:
        s = setup.to_inputs.inverse(x[:, None])
        rows = setup.rows_at(s)
        actions = policy(s).clone()
        actions[:, j] = setup.model.action_limits(s)[int(upper)][:, j]
        with torch.no_grad():
            y = equation.unknowns(s, actions)
            each, before, e = rows.repeated(y), rows.repeated(s), rows.shocks()
            after = equation.next_states(before, each, e)
            mean = rows.mean(equation.integrand(before, each, after, setup.at(after, theta), e))
            return equation.gains(s, y, mean)[:, j].detach()

    return [
        partial(gain, j=j, upper=upper)
        for j in range(setup.model.n_actions)
        for upper in (False, True)
    ]


def _preimages(
    setup: Setup,
    policy: Callable[[Tensor], Tensor],
    kinks: list[tuple[float, float]],
    grid: Tensor,
) -> list[tuple[float, float]]:
    """Inputs from which a shock leads to a kink, with the probability that it carries on."""
    nodes, weights = setup.rule.at(setup.to_inputs.inverse(grid[:1, None]))
    nodes, weights = nodes.flatten(0, -2), weights.flatten()

    def ahead(x: Tensor, e: Tensor) -> Tensor:
        s = setup.to_inputs.inverse(x[:, None])
        return setup.to_inputs(setup.model.next_states(s, policy(s), e))[:, 0]

    n, q = len(grid), len(nodes)
    values = ahead(
        grid.repeat_interleave(q), nodes[None].expand(n, *nodes.shape).flatten(0, 1)
    ).reshape(n, q)
    targets = torch.tensor([x for x, _ in kinks], dtype=grid.dtype)
    carried = torch.tensor([each for _, each in kinks], dtype=grid.dtype)[:, None] * weights
    gaps = values[None] - targets[:, None, None]
    crossed = (gaps[:, :-1] * gaps[:, 1:] < 0) & (carried >= FAINT)[:, None]
    kink, cell, node = torch.nonzero(crossed, as_tuple=True)
    if not len(kink):
        return []
    roots = _bracketed(
        lambda x: ahead(x, nodes[node]) - targets[kink],
        grid[cell],
        grid[cell + 1],
        gaps[kink, cell, node],
    )
    return list(zip(roots.tolist(), carried[kink, node].tolist(), strict=True))


def _roots(function: Callable[[Tensor], Tensor], grid: Tensor) -> Tensor:
    """Where a function changes sign."""
    values = function(grid)
    gaps = torch.nonzero(values[:-1] * values[1:] < 0)[:, 0]
    if not len(gaps):
        return grid[:0]
    return _bracketed(function, grid[gaps], grid[gaps + 1], values[gaps])


def _bracketed(
    function: Callable[[Tensor], Tensor], left: Tensor, right: Tensor, at_left: Tensor
) -> Tensor:
    """Roots between points at which the function differs in sign, all at once (Illinois)."""
    at_right = function(right)
    for _ in range(MAX_STEPS):
        x = right - at_right * (right - left) / (at_right - at_left)
        value = function(x)
        if bool(((x - left).abs().minimum((x - right).abs()) <= ROUNDING).all()):
            break
        crossed = value * at_right <= 0
        left = torch.where(crossed, right, left)
        at_left = torch.where(crossed, at_right, at_left / 2)
        right, at_right = x, value
        if not bool((at_right != at_left).all()):
            break
    return x


def spread_knots(n_knots: int, setup: Setup, equation: EulerEquation, theta: Tensor) -> np.ndarray:
    """Interior knots, the closer the more the policy is curved.

    References
    ----------
    C. de Boor, *A Practical Guide to Splines*, chapter XII.
    """
    low, high = (float(end) for end in setup.to_inputs.box[0])
    grid = np.linspace(low, high, N_GRID)
    inputs = torch.from_numpy(grid)[:, None]
    y = setup.function.at(inputs).value(theta)[:, : setup.model.n_actions]
    bend = np.abs(np.diff(y.numpy(), 2, axis=0)).max(1)
    # A kink is a single large bend, which knots of its own take care of.
    bend = np.minimum(bend, np.quantile(bend, 0.98))
    density = np.cbrt(np.r_[bend[0], bend, bend[-1]] + EVENNESS * bend.max() + 1e-300)
    mass = np.r_[0.0, np.cumsum((density[1:] + density[:-1]) / 2)]
    shares = np.linspace(0, mass[-1], n_knots + 2)[1:-1]
    return np.interp(shares, mass, grid)


def _separated(
    kinks: list[tuple[float, float]], known: list[tuple[float, float]], width: float
) -> list[tuple[float, float]]:
    """Those that are not beside another one, the strongest first."""
    kept: list[tuple[float, float]] = []
    for x, strength in sorted(kinks, key=lambda kink: -kink[1]):
        if all(abs(x - other) > LEAST_GAP * width for other, _ in known + kept):
            kept.append((x, strength))
    return kept
