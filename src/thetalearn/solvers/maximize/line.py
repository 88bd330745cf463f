"""Newton's method in a bracket, for problems of one action."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .candidates import Guess
from .problems import TINY, VALUE_NOISE, Found, Objective, Problems, Rows, pick, reach, scale_of

__all__ = ["climb_line"]


@dataclass
class _Line(Problems):
    """Problems of one action: all fields have shape (r,)."""

    x: Tensor
    value: Tensor
    slope: Tensor
    curvature: Tensor
    lower: Tensor
    upper: Tensor
    #: The bracket; infinite at an end that is not known to be worse than x.
    below: Tensor
    above: Tensor
    #: Length of the step before.
    last: Tensor


def climb_line(
    objective: Objective,
    rows: Rows,
    lower: Tensor,
    upper: Tensor,
    guess: Guess,
    tol: float,
    max_iter: int,
) -> Found:
    """Newton's method in a bracket, for one action."""
    found = Found.nothing(lower)
    value, gradient, hessian = objective.derivatives(rows, guess.x)
    x = guess.x[:, 0]
    last = torch.full_like(x, torch.inf)
    ends = lower[:, 0], upper[:, 0], guess.below[:, 0], guess.above[:, 0]
    line = _Line(
        torch.arange(len(x), device=x.device),
        x,
        value,
        gradient[:, 0],
        hessian[:, 0, 0],
        *ends,
        last,
    )
    usable = value.isfinite()
    if not bool(usable.all()):
        line = line.keep(usable)
    while len(line.at):
        trial, done = _line_step(line, tol)
        if bool(done.any()):
            finished = line.at[done]
            found.settle(finished, trial[done, None], line.value[done], True)
            going = ~done
            line, trial = line.keep(going), trial[going]
            if len(line.at) == 0:
                break
        if found.n_iter == max_iter:
            found.settle(line.at, line.x[:, None], line.value, False)
            break
        found.n_iter += 1
        # As long as no problem has finished there is nothing to select.
        part = rows if len(line.at) == len(lower) else pick(rows, line.at)
        value, gradient, hessian = objective.derivatives(part, trial[:, None])
        _line_move(line, trial, value, gradient[:, 0], hessian[:, 0, 0])
    return found


def _line_step(line: _Line, tol: float) -> tuple[Tensor, Tensor]:
    """Narrow the bracket by the slope; the action to try next, final where done."""
    x, slope, curvature = line.x, line.slope, line.curvature
    level = slope == 0
    up = slope > 0
    unclear = slope.isnan() | (level & (curvature > 0))
    if bool(unclear.any()):
        up = up.where(~unclear, line.upper - x >= x - line.lower)
    line.below = torch.where(up, x, line.below)
    line.above = torch.where(up, line.above, x)
    end = torch.where(up, line.above, line.below)
    seen = end.isfinite()
    end = end.clamp(line.lower, line.upper)
    room = (end - x).abs()

    newton = (slope / curvature).abs()
    newton = newton.where((curvature < 0) & ~newton.isnan(), torch.inf)
    newton = newton.where(~level | unclear, 0.0)
    small = tol * scale_of(x, line.lower, line.upper)
    slow = newton > line.last / 2
    noise = torch.finfo(x.dtype).eps * line.value.abs()
    final = newton <= small
    done = final | (room == 0) | (seen & (room <= small)) | (slow & (newton * slope.abs() <= noise))

    halve = seen & ((newton >= room) | slow)
    length = newton.minimum(room.where(room.isfinite(), reach(x)))
    length = torch.where(halve, room / 2, length)
    # A last step stays off an end that was found worse.
    length = length.where(~done, torch.where(final & ~(seen & (newton >= room)), length, 0.0))
    trial = torch.where(length >= room, end, torch.where(up, x + length, x - length))
    line.last = length
    return trial, done


def _line_move(line: _Line, trial: Tensor, value: Tensor, slope: Tensor, curvature: Tensor) -> None:
    """Move to the trial where it is no worse, else take it as an end of the bracket."""
    noise = VALUE_NOISE * torch.finfo(trial.dtype).eps * line.value.abs()
    # Values cannot judge so short a step, gradients can.
    tiny = line.last <= TINY * scale_of(line.x, line.lower, line.upper)
    shrinks = slope.abs() <= line.slope.abs() / 2
    better = (value >= line.value - noise) | (tiny & shrinks & value.isfinite())
    better &= ~slope.isnan() & (value < torch.inf)
    if not bool(better.all()):
        worse = ~better
        line.above = torch.where(worse & (trial > line.x), trial, line.above)
        line.below = torch.where(worse & (trial < line.x), trial, line.below)
    line.x = torch.where(better, trial, line.x)
    line.value = torch.where(better, value, line.value)
    line.slope = torch.where(better, slope, line.slope)
    line.curvature = torch.where(better, curvature, line.curvature)
