"""Whether a solution is one: its errors off the nodes, on its own paths, and its stability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .model import ModelError
from .setup import Setup
from .simulate import deterministic_path

__all__ = ["Verdict", "errors_alone", "verify"]

#: Periods of the paths on which a solution is tried.
N_PERIODS = 50

#: Paths, from states throughout the box.
N_PATHS = 16

#: An error on the paths that no solution worth the name has.
WORST = 1e-2

#: How much worse than in the box a solution may be on the paths that it leads to.
RATIO = 1e3

NOT_FINITE = "its errors are not finite"


@dataclass(frozen=True)
class Verdict:
    """What a verification found.

    Attributes
    ----------
    mean, maximum : float
        Mean and largest unit-free error at states off the nodes.
    path_error : float
        Largest unit-free error on paths without shocks that start in the middle of the box.
    outside : float
        Share of next states outside the box.
    accepted : bool
        Whether nothing speaks against the solution.
    reason : str
        What does, if something does.
    """

    mean: float
    maximum: float
    path_error: float
    outside: float
    accepted: bool
    reason: str


def verify(
    setup: Setup,
    policy: Callable[[Tensor], Tensor],
    errors: Callable[[Tensor], Tensor],
) -> Verdict:
    """Try a solution at states off the nodes, and along the paths that it leads to.

    A function can fulfil its equation at every node and yet be no solution, because it leads to
    states outside the box, where nothing ties it to the equation. The errors along its own paths,
    wherever they lead, tell.

    Parameters
    ----------
    setup : Setup
        Model and states.
    policy : callable
        From states (n, d) to actions (n, m).
    errors : callable
        From states (n, d) to unit-free errors (n,).
    """
    mean, maximum = _mean_and_max(errors(setup.checks).abs())
    try:
        path_error, outside = _along_paths(setup, policy, errors)
    except ModelError:
        path_error, outside = torch.inf, 1.0
    if not mean < torch.inf:
        reason = NOT_FINITE
    elif mean > WORST:
        reason = (
            f"its mean error off the nodes is {mean:.1e}: raise degree, choose another basis or "
            "kinks, or other coordinates of the model"
        )
    elif path_error > max(WORST, RATIO * maximum):
        reason = (
            f"it leads to states outside state_bounds, where its error is {path_error:.1e}: "
            "widen state_bounds so that paths stay inside"
        )
    else:
        reason = ""
    return Verdict(mean, maximum, path_error, outside, not reason, reason)


def _along_paths(
    setup: Setup,
    policy: Callable[[Tensor], Tensor],
    errors: Callable[[Tensor], Tensor],
) -> tuple[float, float]:
    """Largest error on paths without shocks, and the share of first steps that leave the box."""
    path = deterministic_path(setup.model, policy, setup.checks[:N_PATHS], N_PERIODS)
    visited = path[[1, 2, 5, N_PERIODS // 2, N_PERIODS]].flatten(0, 1)
    inside = setup.to_inputs.inside(path[1]) & path[1].isfinite().all(1)
    outside = 1 - float(inside.double().mean())
    if not visited.isfinite().all():
        return torch.inf, outside
    return _mean_and_max(errors(visited).abs())[1], outside


def errors_alone(errors: Tensor) -> Verdict:
    """The verdict where there are no paths to follow."""
    mean, maximum = _mean_and_max(errors.abs())
    accepted = mean < torch.inf
    return Verdict(mean, maximum, 0.0, 0.0, accepted, "" if accepted else NOT_FINITE)


def _mean_and_max(errors: Tensor) -> tuple[float, float]:
    filled = torch.where(errors.isfinite(), errors, torch.inf)
    return float(filled.mean()), float(filled.max())
