"""The best action of a finite list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .problems import Rows, masked

__all__ = ["Choice", "maximize_enumerate"]


@dataclass(frozen=True)
class Choice:
    """The best action of a finite list for each of n problems.

    Attributes
    ----------
    index : Tensor of shape (n,), int64
        Its place in the list, the first of equals; -1 where no action is feasible.
    actions : Tensor of shape (n, m)
        The action; nan where none is feasible.
    value : Tensor of shape (n,)
        Its value; -inf where none is feasible.
    feasible : Tensor of shape (n,), bool
        Whether any action has a finite value.
    """

    index: Tensor
    actions: Tensor
    value: Tensor
    feasible: Tensor


def maximize_enumerate(
    value: Callable[[Rows, Tensor], Tensor],
    actions: Tensor,
    *,
    n_problems: int,
    max_evaluations: int = 2**18,
) -> Choice:
    """Choose the best action of a finite list for each of n problems.

    Parameters
    ----------
    value : callable
        ``value(rows, actions)`` of actions (r, c, m) is (r, c), as :meth:`Objective.value`.
        Infeasible actions are -inf or nan.
    actions : Tensor of shape (A, m)
        The list, the same for every problem.
    n_problems : int
        Number of problems n.
    max_evaluations : int, default=2**18
        Values that are asked for at a time, which bounds the memory.

    Returns
    -------
    Choice
        The first of equally good actions.

    Raises
    ------
    ValueError
        If the list is empty or not two-dimensional, or ``max_evaluations`` is below 1.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.solvers.maximize import maximize_enumerate
    >>> wealth = torch.tensor([[0.5], [2.5]], dtype=torch.float64)
    >>> def value(rows, actions):
    ...     return actions[..., 0].where(actions[..., 0] <= wealth[rows], -torch.inf)
    >>> choice = maximize_enumerate(value, torch.arange(4.0).double()[:, None], n_problems=2)
    >>> choice.index
    tensor([0, 2])
    """
    if actions.ndim != 2 or len(actions) == 0:
        raise ValueError(
            f"actions has shape {tuple(actions.shape)}; pass (A, m) with at least one action"
        )
    if max_evaluations < 1:
        raise ValueError(f"max_evaluations={max_evaluations} must be at least 1")
    n_columns = min(len(actions), max_evaluations)
    n_rows = max_evaluations // n_columns
    best = actions.new_full((n_problems,), -torch.inf)
    index = torch.full((n_problems,), -1, dtype=torch.int64, device=actions.device)
    for top in range(0, n_problems, n_rows):
        rows = slice(top, min(top + n_rows, n_problems))
        for left in range(0, len(actions), n_columns):
            part = actions[left : left + n_columns]
            values = masked(value(rows, part.expand(rows.stop - top, -1, -1)))
            place = values.argmax(dim=1, keepdim=True)
            highest = values.gather(1, place)[:, 0]
            better = highest > best[rows]
            index[rows] = torch.where(better, place[:, 0] + left, index[rows])
            best[rows] = torch.where(better, highest, best[rows])
    feasible = index >= 0
    chosen = actions[index.clamp(min=0)].where(feasible[:, None], torch.nan)
    return Choice(index, chosen, best, feasible)
