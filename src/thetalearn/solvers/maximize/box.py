"""Newton's method in a box with a line search, for problems of several actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .candidates import Guess
from .problems import (
    TINY,
    VALUE_NOISE,
    Found,
    Objective,
    Problems,
    Rows,
    masked,
    pick,
    reach,
    scale_of,
)

__all__ = ["climb_box"]

#: Share of the predicted increase that a step has to deliver (Armijo).
ARMIJO = 1e-4

#: Lengths that one round of a line search tries, and rounds.
HALVINGS, ROUNDS = 8, 4

#: Curvature below this share of the largest is raised to it.
FLAT = 1e-12

#: Solutions of the active-set method, for each action; it is exact long before.
PASSES = 4


@dataclass
class _Box(Problems):
    """Problems of m actions: x, the gradient and the bounds have shape (r, m)."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    hessian: Tensor
    lower: Tensor
    upper: Tensor
    #: Length of the step before, in units of the scale.
    last: Tensor

    @property
    def scale(self) -> Tensor:
        return scale_of(self.x, self.lower, self.upper)

    def push(self, x: Tensor, gradient: Tensor) -> Tensor:
        """How strongly the gradient at x pushes those actions that it may move."""
        force = gradient * self.scale
        return force.where(~_held(x, gradient, self.lower, self.upper), 0.0).abs().amax(dim=1)


def climb_box(
    objective: Objective,
    rows: Rows,
    lower: Tensor,
    upper: Tensor,
    guess: Guess,
    tol: float,
    max_iter: int,
) -> Found:
    """Newton's method in a box with a line search, for several actions."""
    found = Found.nothing(lower)
    value, gradient, hessian = objective.derivatives(rows, guess.x)
    at = torch.arange(len(value), device=value.device)
    last = torch.full_like(value, torch.inf)
    box = _Box(at, guess.x, value, gradient, hessian, lower, upper, last)
    usable = value.isfinite()
    if not bool(usable.all()):
        box = box.keep(usable)
    while len(box.at):
        target, gain, done = _box_step(box, tol)
        if bool(done.any()):
            found.settle(box.at[done], target[done], box.value[done], True)
            going = ~done
            box, target, gain = box.keep(going), target[going], gain[going]
            if len(box.at) == 0:
                break
        if found.n_iter == max_iter:
            found.settle(box.at, box.x, box.value, False)
            break
        found.n_iter += 1
        part = rows if len(box.at) == len(lower) else pick(rows, box.at)
        moved = _box_move(box, objective, part, target, gain)
        if not bool(moved.all()):
            stuck = ~moved
            # Only rounding hides the ascent that so short a step promises.
            at_rest = box.last[stuck] <= TINY
            found.settle(box.at[stuck], box.x[stuck], box.value[stuck], at_rest)
            box = box.keep(moved)
    return found


def _box_step(box: _Box, tol: float) -> tuple[Tensor, Tensor, Tensor]:
    """Where Newton's step leads, the increase it promises, and whether it is the last one."""
    x = box.x
    clear = box.gradient.isfinite().all(dim=1) & box.hessian.isfinite().flatten(1).all(dim=1)
    if not bool(clear.all()):
        _point_inwards(box, ~clear)
    held = _held(x, box.gradient, box.lower, box.upper)
    target = _newton_target(box, _definite(-box.hessian, held), held)
    gain = (box.gradient * (target - x)).sum(dim=1)
    length = ((target - x).abs() / box.scale).amax(dim=1)
    noise = torch.finfo(x.dtype).eps * box.value.abs()
    done = clear & ((length <= tol) | ((length > box.last / 2) & (gain <= noise)))
    box.last = length
    target = _within_reach(box, target)
    # A made-up gradient promises nothing.
    gain = (box.gradient * (target - x)).sum(dim=1).where(clear, 0.0)
    return target, gain, done


def _held(x: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Which actions their bound keeps where the gradient would not."""
    return ((x <= lower) & (gradient <= 0)) | ((x >= upper) & (gradient >= 0))


def _point_inwards(box: _Box, unclear: Tensor) -> None:
    """Let a problem whose derivatives are not finite step towards the middle of its box."""
    middle = torch.lerp(box.lower, box.upper, 0.5)
    inwards = (middle - box.x).where(middle.isfinite(), 0.0)
    box.gradient = torch.where(unclear[:, None], inwards, box.gradient)
    identity = torch.eye(box.x.shape[1]).to(box.x)
    box.hessian = torch.where(unclear[:, None, None], -identity, box.hessian)


def _within_reach(box: _Box, target: Tensor) -> Tensor:
    """The target, nearer where a step along an unbounded action is very long."""
    unbounded = ~(box.lower.isfinite() & box.upper.isfinite())
    if not bool(unbounded.any()):
        return target
    excess = (target - box.x).abs() / reach(box.x)
    excess = excess.where(unbounded, 0.0).amax(dim=1, keepdim=True)
    return torch.where(excess > 1, box.x + (target - box.x) / excess, target)


def _definite(matrix: Tensor, held: Tensor) -> Tensor:
    """The matrices, those that are not positive definite made so on the actions that move."""
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    factor, info = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal(dim1=1, dim2=2).square()
    bad = (info > 0) | ~(pivots > FLAT * diagonal).all(dim=1)
    if not bool(bad.any()):
        return matrix
    # What is held must not change the curvature of the rest.
    part = _block(matrix[bad], ~held[bad])
    # The units of the actions must not decide which direction counts as flat.
    unit = part.diagonal(dim1=1, dim2=2).abs().sqrt()
    unit = unit.where(unit > 0, 1.0)
    unit = unit[:, :, None] * unit[:, None, :]
    values, vectors = torch.linalg.eigh(part / unit)
    values = values.abs()
    values = values.maximum(FLAT * values.amax(dim=1, keepdim=True).clamp(min=1.0))
    return matrix.index_put((bad,), (vectors * values[:, None, :]) @ vectors.mT * unit)


def _block(matrix: Tensor, free: Tensor) -> Tensor:
    """The matrices with the rows and columns of other actions replaced by those of the identity."""
    identity = torch.eye(matrix.shape[1]).to(matrix)
    return torch.where(free[:, :, None] & free[:, None, :], matrix, identity)


def _newton_target(box: _Box, matrix: Tensor, held: Tensor) -> Tensor:
    """The maximum of the quadratic model in the box, by a primal active-set method."""
    x, lower, upper = box.x, box.lower, box.upper
    target = x
    for _ in range(PASSES * x.shape[1]):
        force = box.gradient - (matrix @ (target - x)[:, :, None])[:, :, 0]
        direction, _ = torch.linalg.solve_ex(_block(matrix, ~held), force.where(~held, 0.0))
        end = torch.where(direction > 0, upper, lower)
        share = ((end - target) / direction).where(direction != 0, torch.inf)
        first = share.amin(dim=1, keepdim=True)
        blocked = (share <= first) & (first < 1)
        target = torch.where(blocked, end, target + first.clamp(max=1) * direction)
        target = target.clamp(lower, upper)
        held = held | blocked
        released = _released(box, matrix, target, held) & (first >= 1)
        if not bool((blocked | released).any()):
            break
        held = held & ~released
    return target


def _released(box: _Box, matrix: Tensor, target: Tensor, held: Tensor) -> Tensor:
    """Of the held actions that the model would move inwards, the one with most to gain."""
    step = (target - box.x)[:, :, None]
    force = box.gradient - (matrix @ step)[:, :, 0]
    rounding = box.gradient.abs() + (matrix.abs() @ step.abs())[:, :, 0]
    inwards = held & ~_held(target, force, box.lower, box.upper)
    inwards &= (force.abs() > FLAT * rounding) & (box.lower < box.upper)
    gain = (force.square() / matrix.diagonal(dim1=1, dim2=2)).where(inwards, 0.0)
    return inwards & (gain >= gain.amax(dim=1, keepdim=True))


def _box_move(box: _Box, objective: Objective, rows: Rows, target: Tensor, gain: Tensor) -> Tensor:
    """Move to the target, or less far; which problems could be moved."""
    value, gradient, hessian = objective.derivatives(rows, target)
    noise = VALUE_NOISE * torch.finfo(value.dtype).eps * box.value.abs()
    shrinks = box.push(target, gradient) <= box.push(box.x, box.gradient) / 2
    moved = (value >= box.value + ARMIJO * gain - noise) | ((box.last <= TINY) & shrinks)
    moved &= value.isfinite() & gradient.isfinite().all(dim=1)
    moved &= hessian.isfinite().flatten(1).all(dim=1)
    if not bool(moved.all()):
        back = (~moved).nonzero()[:, 0]
        part = pick(rows, back)
        nearer, ascended = _backtrack(
            objective, part, box.x[back], target[back], box.value[back], gain[back]
        )
        target = target.index_copy(0, back, nearer)
        again = objective.derivatives(part, nearer)
        value = value.index_copy(0, back, again[0])
        gradient = gradient.index_copy(0, back, again[1])
        hessian = hessian.index_copy(0, back, again[2])
        moved[back] = ascended & again[0].isfinite()
    box.x = torch.where(moved[:, None], target, box.x)
    box.value = torch.where(moved, value, box.value)
    box.gradient = torch.where(moved[:, None], gradient, box.gradient)
    box.hessian = torch.where(moved[:, None, None], hessian, box.hessian)
    return moved


def _backtrack(
    objective: Objective, rows: Rows, x: Tensor, target: Tensor, value: Tensor, gain: Tensor
) -> tuple[Tensor, Tensor]:
    """The best of a round of halvings of the step that climbs enough, and whether one does."""
    chosen, ascended = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    left = torch.arange(len(x), device=x.device)
    shares = 0.5 ** torch.arange(1, HALVINGS + 1).to(x)
    for _ in range(ROUNDS):
        start, step = x[left, None], (target - x)[left, None]
        trials = start + shares[:, None] * step
        values = masked(objective.value(pick(rows, left), trials))
        before = value[left, None]
        enough = (values > before) & (values >= before + ARMIJO * shares * gain[left, None])
        best = values.where(enough, -torch.inf).argmax(dim=1)
        succeeds = enough.any(dim=1)
        trial = trials[torch.arange(len(left), device=x.device), best]
        chosen[left] = torch.where(succeeds[:, None], trial, chosen[left])
        ascended[left] = succeeds
        left = left[~succeeds]
        if len(left) == 0:
            break
        shares = shares * 0.5**HALVINGS
    return chosen, ascended
