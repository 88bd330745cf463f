"""Golden section, for problems of one action without derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .candidates import DENSER, LINE_CANDIDATES, Guess, best_candidates
from .problems import SMALLEST, Found, Maximum, Objective, Problems, Rows, checked, pick

__all__ = ["maximize_golden"]

#: Golden section of an interval, (3 - sqrt(5)) / 2.
GOLDEN = 0.3819660112501051


def maximize_golden(
    objective: Objective,
    lower: Tensor,
    upper: Tensor,
    *,
    n_candidates: int = LINE_CANDIDATES,
    tol: float = 1e-8,
) -> Maximum:
    r"""Maximise objectives of one action by golden section, without derivatives.

    The best of the candidates, both ends among them, and its neighbours bracket a maximum, and the
    longer side of the bracket is cut by the golden section until the bracket is short. Kinks do no
    harm. The values limit the accuracy: a smooth maximum is flat, so it can be told from its
    neighbours to about :math:`\sqrt{\epsilon} \approx 10^{-8}` only; one at a kink or at a bound
    is found to ``tol``.

    Parameters
    ----------
    objective : Objective
        Values of n problems with one action; its derivatives are not used.
    lower, upper : Tensor of shape (n, 1)
        Bounds of the action, finite.
    n_candidates : int, default=16
        Candidates spread between the bounds, densest at the ends; at least 2. A problem whose
        candidates are all infeasible is searched again 16 times as densely.
    tol : float, default=1e-8
        Stops with a bracket of at most twice ``tol`` relative to the action (to 1e-4 of the width
        of the bounds for an action near 0).

    Returns
    -------
    Maximum

    Raises
    ------
    ValueError
        If there is more than one action, a bound is infinite or nan, a lower bound exceeds its
        upper bound, or there are fewer than two candidates.

    References
    ----------
    R. P. Brent, *Algorithms for Minimization without Derivatives*, chapter 5.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.solvers.maximize import maximize_golden
    >>> class Kink:
    ...     n_problems, n_actions = 2, 1
    ...     at = torch.tensor([[0.3], [7.0]], dtype=torch.float64)
    ...     def value(self, rows, a):
    ...         return -(a[..., 0] - self.at[rows]).abs()
    >>> zeros = torch.zeros(2, 1).double()
    >>> best = maximize_golden(Kink(), zeros, zeros + 1)
    >>> best.actions[:, 0], best.at_upper[:, 0]
    (tensor([0.3000, 1.0000], dtype=torch.float64), tensor([False,  True]))
    """
    lower, upper, _ = checked(objective, lower, upper, None)
    if objective.n_actions != 1:
        raise ValueError(
            f"golden section needs one action, not {objective.n_actions}; use maximize_newton"
        )
    if not bool((lower.isfinite() & upper.isfinite()).all()):
        raise ValueError("golden section needs finite bounds; pass finite ones")
    if n_candidates < 2:
        raise ValueError(f"n_candidates={n_candidates} must be at least 2")
    tol = max(tol, 8 * torch.finfo(lower.dtype).eps)

    found = Found.nothing(lower)
    if len(lower) == 0:
        return found.maximum(lower, upper)
    everything: Rows = slice(None)
    guess = best_candidates(objective, everything, lower, upper, None, n_candidates)
    found.take(everything, _section(objective, everything, lower, upper, guess, tol))
    missed = (~found.feasible).nonzero()[:, 0]
    if len(missed):
        lower_missed, upper_missed = lower[missed], upper[missed]
        count = DENSER * n_candidates
        guess = best_candidates(objective, missed, lower_missed, upper_missed, None, count)
        found.take(missed, _section(objective, missed, lower_missed, upper_missed, guess, tol))
    return found.maximum(lower, upper)


@dataclass
class _Bracket(Problems):
    """Problems of one action for golden section: all fields have shape (r,)."""

    x: Tensor
    value: Tensor
    below: Tensor
    above: Tensor
    #: Half the width at which the bracket is short, for an action near 0.
    shortest: Tensor


def _section(
    objective: Objective, rows: Rows, lower: Tensor, upper: Tensor, guess: Guess, tol: float
) -> Found:
    """Golden section of the longer side of each bracket."""
    found = Found.nothing(lower)
    at = torch.arange(len(lower), device=lower.device)
    below, above = guess.below.maximum(lower)[:, 0], guess.above.minimum(upper)[:, 0]
    shortest = tol * SMALLEST * (upper - lower)[:, 0]
    bracket = _Bracket(at, guess.x[:, 0], guess.value, below, above, shortest)
    usable = guess.value.isfinite()
    if not bool(usable.all()):
        bracket = bracket.keep(usable)
    while len(bracket.at):
        left, right = bracket.x - bracket.below, bracket.above - bracket.x
        short = (tol * bracket.x.abs()).maximum(bracket.shortest)
        done = left.maximum(right) <= short
        if bool(done.any()):
            found.settle(bracket.at[done], bracket.x[done, None], bracket.value[done], True)
            going = ~done
            bracket, left, right = bracket.keep(going), left[going], right[going]
            if len(bracket.at) == 0:
                break
        found.n_iter += 1
        trial = bracket.x + GOLDEN * torch.where(right >= left, right, -left)
        part = rows if len(bracket.at) == len(lower) else pick(rows, bracket.at)
        _section_move(bracket, trial, objective.value(part, trial[:, None, None])[:, 0])
    return found


def _section_move(bracket: _Bracket, trial: Tensor, value: Tensor) -> None:
    """Keep the better of two actions; the other one ends the bracket."""
    better = (value >= bracket.value) & (value < torch.inf)
    worse = torch.where(better, bracket.x, trial)
    bracket.x = torch.where(better, trial, bracket.x)
    bracket.value = torch.where(better, value, bracket.value)
    bracket.below = torch.where(worse < bracket.x, worse, bracket.below)
    bracket.above = torch.where(worse > bracket.x, worse, bracket.above)
