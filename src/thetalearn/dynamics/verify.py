"""Whether a solution is one: its errors off the nodes, on its own paths, and its stability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .model import ModelError
from .setup import Setup
from .simulate import Policy, deterministic_path, simulate

__all__ = ["Verdict", "errors_alone", "verify"]

#: Periods of the paths on which a solution is tried.
N_PERIODS = 30

#: Paths, from states throughout the box.
N_PATHS = 16

#: A mean error, and an error on the paths, that no solution worth the name has.
WORST = 1e-3

#: How much worse than in the box a poor solution may be on the paths that it leads to.
RATIO = 10.0

#: Widths of the box from its middle that only explosive paths get to within `N_PERIODS`.
FAR = 100.0

#: Periods at which paths are visited.
VISITS = [1, 2, 5, N_PERIODS // 2, N_PERIODS]

NOT_FINITE = "its errors are not finite"
TOO_LARGE = (
    "its mean error off the nodes is {:.1e}: raise degree, choose another basis or kinks, or "
    "other coordinates of the model"
)


@dataclass(frozen=True)
class Verdict:
    """What a verification found.

    Attributes
    ----------
    mean, maximum : float
        Mean and largest unit-free error at states off the nodes.
    path_error : float
        Largest unit-free error on paths, without shocks and with them, from throughout the box.
    outside : float
        Share of next states outside the box.
    accepted : bool
        Whether nothing speaks against the solution.
    reason : str
        What does, if something does.
    coarse : bool
        Whether it is the accuracy alone, which another start would not improve.
    """

    mean: float
    maximum: float
    path_error: float
    outside: float
    accepted: bool
    reason: str
    coarse: bool = False


def verify(
    setup: Setup,
    policy: Policy,
    errors: Callable[[Tensor], Tensor],
    objection: Callable[[Tensor], str] = lambda states: "",
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
    objection : callable, default=(none)
        What else speaks against the solution, told by states (n, d).
    """
    mean, maximum = _mean_and_max(errors(setup.checks).abs())
    try:
        path_error, outside, distance = _along_paths(setup, policy, errors)
    except ModelError:
        path_error, outside, distance = torch.inf, 1.0, torch.inf
    if not mean < torch.inf:
        reason = NOT_FINITE
    elif mean > WORST:
        reason = TOO_LARGE.format(mean)
    elif path_error > max(WORST, RATIO * maximum):
        reason = (
            f"it leads to states outside state_bounds, where its error is {path_error:.1e}: "
            "widen state_bounds so that paths stay inside"
        )
    elif distance > FAR:
        # Where the model is linear an explosive root solves it without any error.
        reason = (
            f"its paths explode: after {N_PERIODS} periods they are {distance:.1e} widths of the "
            "box away; fit without warm_start, or put states that grow in logarithms"
        )
    else:
        reason = objection(setup.checks)
    coarse = reason == TOO_LARGE.format(mean)
    return Verdict(mean, maximum, path_error, outside, not reason, reason, coarse)


def _along_paths(
    setup: Setup,
    policy: Policy,
    errors: Callable[[Tensor], Tensor],
) -> tuple[float, float, float]:
    """Largest error on paths without shocks, share of first steps that leave the box, distance.

    The distance is that of the last states from the middle of the box, in widths of the box.
    """
    start = setup.checks[:N_PATHS]
    path = deterministic_path(setup.model, policy, start, N_PERIODS)
    shaken = simulate(setup.model, policy, start, N_PERIODS // 2, np.random.RandomState(0)).states
    visited = torch.cat([path[VISITS].flatten(0, 1), shaken[VISITS[:4]].flatten(0, 1)])
    inside = setup.to_inputs.inside(path[1]) & path[1].isfinite().all(1)
    outside = 1 - float(inside.double().mean())
    if not visited.isfinite().all():
        return torch.inf, outside, torch.inf
    box = torch.from_numpy(setup.to_inputs.box).to(path)
    away = (setup.to_inputs(path[-1]) - box.mean(1)) / (box[:, 1] - box[:, 0])
    return _mean_and_max(errors(visited).abs())[1], outside, float(away.abs().max())


def errors_alone(errors: Tensor) -> Verdict:
    """The verdict on errors (periods, n) where no paths are followed: that of the worst period."""
    means = torch.where(errors.isfinite(), errors.abs(), torch.inf).mean(1)
    mean, maximum = _mean_and_max(errors[means.argmax()].abs())
    reason = ""
    if not mean < torch.inf:
        reason = NOT_FINITE
    elif mean > WORST:
        reason = TOO_LARGE.format(mean)
    coarse = reason == TOO_LARGE.format(mean)
    return Verdict(mean, maximum, 0.0, 0.0, not reason, reason, coarse)


def _mean_and_max(errors: Tensor) -> tuple[float, float]:
    filled = torch.where(errors.isfinite(), errors, torch.inf)
    return float(filled.mean()), float(filled.max())
