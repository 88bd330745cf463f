"""Newton's method from the best candidate of each problem."""

from __future__ import annotations

import torch
from torch import Tensor

from .box import climb_box
from .candidates import BOX_CANDIDATES, DENSER, LINE_CANDIDATES, Guess, best_candidates
from .line import climb_line
from .problems import Found, Maximum, Objective, Rows, checked

__all__ = ["maximize_newton"]


def maximize_newton(
    objective: Objective,
    lower: Tensor,
    upper: Tensor,
    start: Tensor | None = None,
    *,
    n_candidates: int | None = None,
    tol: float = 1e-10,
    max_iter: int = 100,
) -> Maximum:
    r"""Maximise twice differentiable objectives over boxes, :math:`\max_{l \le a \le u} v_i(a)`.

    The best of the candidates starts Newton's method in the box: each step leads to the maximum
    in the box of the quadratic model, whose Hessian is made negative definite by the absolute
    values of its eigenvalues. A step has to raise the value, else it is halved. With a single
    action the sign of the derivative and the values seen keep the maximum bracketed, and a bracket
    that Newton's step leaves is halved; then jumps of the derivative do no harm either. With
    several actions a maximum at such a jump is not found, and ``converged`` says so.

    Parameters
    ----------
    objective : Objective
        Values and derivatives of n problems with m actions.
    lower, upper : Tensor of shape (n, m)
        Bounds of the actions. Equal bounds fix an action. Infinite ones need a ``start``; no
        candidates are spread along such an action.
    start : Tensor of shape (n, m), optional
        A first guess, one candidate more. It is moved into the bounds; nan is infeasible.
    n_candidates : int, optional
        Candidates spread over the box, densest at its ends; 16 by default for one action and
        8 m for several. With 0 the start is trusted. A problem whose candidates are all infeasible
        is searched again 16 times as densely.
    tol : float, default=1e-10
        Stops with a Newton step of at most ``tol`` relative to the action (to 1e-4 of the width of
        the bounds for actions near 0). That step is taken too, without evaluating the value again,
        so a smooth maximum is found to the rounding of its derivatives, and the single action at a
        jump of the derivative to ``tol``.
    max_iter : int, default=100
        Newton steps at most.

    Returns
    -------
    Maximum
        Local maxima at worst: the highest one that the candidates point to.

    Raises
    ------
    ValueError
        If a lower bound exceeds its upper bound, a bound is infinite without a start, a bound is
        nan or a shape is wrong.

    References
    ----------
    J. Nocedal and S. Wright, *Numerical Optimization*, sections 3.4 (modified Hessians), 16.5
    (active sets) and 18.1 (sequential quadratic programming).

    Examples
    --------
    Shares between today and tomorrow, log(a) + b log(1 - a), whose best is 1 / (1 + b):

    >>> import torch
    >>> from thetalearn.solvers.maximize import maximize_newton
    >>> class Shares:
    ...     n_problems, n_actions = 3, 1
    ...     b = torch.tensor([0.25, 1.0, 3.0], dtype=torch.float64)
    ...     def value(self, rows, a):
    ...         return a[..., 0].log() + self.b[rows, None] * (1 - a[..., 0]).log()
    ...     def derivatives(self, rows, a):
    ...         b, rest = self.b[rows, None], 1 - a
    ...         value = self.value(rows, a[:, None])[:, 0]
    ...         return value, 1 / a - b / rest, (-1 / a**2 - b / rest**2)[..., None]
    >>> zeros, ones = torch.zeros(3, 1).double(), torch.ones(3, 1).double()
    >>> maximize_newton(Shares(), zeros, ones).actions[:, 0]
    tensor([0.8000, 0.5000, 0.2500], dtype=torch.float64)
    """
    lower, upper, start = checked(objective, lower, upper, start)
    if n_candidates is None:
        m = objective.n_actions
        n_candidates = LINE_CANDIDATES if m == 1 else BOX_CANDIDATES * m
    if n_candidates < 0:
        raise ValueError(f"n_candidates={n_candidates} must be at least 0")
    if n_candidates == 0 and start is None:
        raise ValueError("n_candidates=0 leaves nowhere to start; pass start or more candidates")
    if start is None and not bool((lower.isfinite() & upper.isfinite()).all()):
        row = int((~(lower.isfinite() & upper.isfinite())).any(dim=1).nonzero()[0])
        raise ValueError(
            f"the bounds of row {row}, {lower[row].tolist()} to {upper[row].tolist()}, are "
            "infinite; pass a start, or finite bounds"
        )
    tol = max(tol, 8 * torch.finfo(lower.dtype).eps)

    found = Found.nothing(lower)
    if len(lower) == 0:
        return found.maximum(lower, upper)
    everything: Rows = slice(None)
    guess = best_candidates(objective, everything, lower, upper, start, n_candidates)
    found.take(everything, _climb(objective, everything, lower, upper, guess, tol, max_iter))
    missed = (~found.feasible).nonzero()[:, 0]
    if len(missed):
        count = DENSER * max(n_candidates, LINE_CANDIDATES)
        lower_missed, upper_missed = lower[missed], upper[missed]
        start = None if start is None else start[missed]
        guess = best_candidates(objective, missed, lower_missed, upper_missed, start, count)
        climbed = _climb(objective, missed, lower_missed, upper_missed, guess, tol, max_iter)
        found.take(missed, climbed)
    return found.maximum(lower, upper)


def _climb(
    objective: Objective,
    rows: Rows,
    lower: Tensor,
    upper: Tensor,
    guess: Guess,
    tol: float,
    max_iter: int,
) -> Found:
    climb = climb_line if lower.shape[1] == 1 else climb_box
    return climb(objective, rows, lower, upper, guess, tol, max_iter)
