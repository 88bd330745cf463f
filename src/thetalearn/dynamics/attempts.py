"""Solving from one start after the other until a solution stands its trial."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..solvers.root import Root
from .run import TARGET
from .verify import Verdict

__all__ = ["TriedSolution", "first_settled"]


@dataclass(frozen=True)
class TriedSolution:
    """An unknown function, how it was found, and how it stood its trial.

    Parameters
    ----------
    theta : Tensor
        Its coefficients.
    root : Root
        How the solver ended.
    verdict : Verdict
        How the verification ended.
    """

    theta: Tensor
    root: Root
    verdict: Verdict


def first_settled(attempts: Iterable[TriedSolution], *, linear: bool) -> TriedSolution | None:
    """The best solution up to the first that another start would not improve.

    Parameters
    ----------
    attempts : iterable of TriedSolution
        One for each start, solved for when it is asked for.
    linear : bool
        Whether the function is linear in its coefficients. Others never meet the tolerance of a
        solver, and are taken for solved at the usual target for errors.

    Returns
    -------
    TriedSolution or None
        None if there is no attempt.
    """
    best: TriedSolution | None = None
    found: list[Tensor] = []
    for solution in attempts:
        if not linear and solution.verdict.mean < TARGET:
            solution = replace(solution, root=replace(solution.root, converged=True))
        if best is None or _rank(solution) < _rank(best):
            best = solution
        # Another start would lead to the same place, or to another one no more accurate.
        settled = solution.verdict.accepted or solution.verdict.coarse
        again = any(torch.allclose(solution.theta, other, rtol=1e-5, atol=1e-8) for other in found)
        if solution.root.converged and (settled or again):
            break
        found.append(solution.theta)
    return best


def _rank(solution: TriedSolution) -> tuple[bool, bool, float]:
    """Smaller is better: what was accepted, then what converged, then the error off the nodes."""
    return not solution.verdict.accepted, not solution.root.converged, solution.verdict.mean
