"""Where to start: the best of some candidates that are spread over the box."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from .problems import VALUE_NOISE, Objective, Rows, masked

__all__ = ["Guess", "best_candidates"]

#: Candidates of a problem with one action, and for each action of a problem with several.
LINE_CANDIDATES, BOX_CANDIDATES = 16, 8

#: A problem without a feasible candidate is searched this many times as densely.
DENSER = 16


@dataclass
class Guess:
    """Where to climb from, and actions beside it that are worse (infinite where none is known)."""

    x: Tensor
    below: Tensor
    above: Tensor
    value: Tensor


def best_candidates(
    objective: Objective, rows: Rows, lower: Tensor, upper: Tensor, start: Tensor | None, count: int
) -> Guess:
    """The best candidate of each problem, in shape (r, m)."""
    if count == 0:
        assert start is not None
        nowhere = torch.full_like(start, torch.inf)
        return Guess(start, -nowhere, nowhere, nowhere[:, 0])
    candidates = _candidates(lower, upper, start, count)
    values = masked(objective.value(rows, candidates))
    best = values.argmax(dim=1, keepdim=True)
    x = candidates.gather(1, best[..., None].expand(-1, -1, lower.shape[1]))
    value = values.gather(1, best)
    # What is worse by rounding only does not tell on which side the maximum is.
    noise = VALUE_NOISE * torch.finfo(values.dtype).eps * value.abs()
    worse = (values < value - noise)[..., None]
    below = candidates.where(worse & (candidates < x), -torch.inf).amax(dim=1)
    above = candidates.where(worse & (candidates > x), torch.inf).amin(dim=1)
    return Guess(x[:, 0], below, above, value[:, 0])


def _candidates(lower: Tensor, upper: Tensor, start: Tensor | None, count: int) -> Tensor:
    """Points (r, c, m) spread over the boxes, where they are bounded, and the start."""
    shares = _shares(count, lower.shape[1]).to(lower)
    # torch.lerp is exact at both ends, which lower + share * width is not.
    spread = torch.lerp(lower[:, None], upper[:, None], shares)
    if start is None:
        return spread
    bounded = (lower.isfinite() & upper.isfinite())[:, None]
    return torch.cat([start[:, None], spread.where(bounded, start[:, None])], dim=1)


def _shares(count: int, m: int) -> Tensor:
    """Points of the unit cube, densest at its faces: (count, m)."""
    if m > 1:
        # The first point of the sequence is a corner, often an infeasible one.
        even = torch.quasirandom.SobolEngine(m).draw(count + 1, dtype=torch.float64)[1:]
    elif count == 1:
        even = torch.full((1, 1), 0.5, dtype=torch.float64)
    else:
        even = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    return (pi / 2 * even).sin().square()
