"""Many small maximisation problems at once: one problem a row, a few bounded actions each.

A problem is solved in two stages: the best of a few candidates that are spread over the box, then
a climb from there, by Newton's method where there are derivatives and by golden section where
there are none. Finite lists of actions are enumerated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import pi
from typing import Protocol, Self

import torch
from torch import Tensor

__all__ = [
    "Choice",
    "Maximum",
    "Objective",
    "maximize_enumerate",
    "maximize_golden",
    "maximize_newton",
]

#: Problems of an objective: all of them, or those with these indices.
Rows = slice | Tensor

#: Candidates of a problem with one action, and for each action of a problem with several.
LINE_CANDIDATES, BOX_CANDIDATES = 16, 8

#: A problem without a feasible candidate is searched this many times as densely.
DENSER = 16

#: An action near zero is measured against this share of the width of its bounds.
SMALLEST = 1e-4

#: Steps shorter than this, relative to the action, change the value by little more than rounding.
TINY = 1e-5

#: Rounding of a value, in units of its last place.
VALUE_NOISE = 8

#: Share of the predicted increase that a step has to deliver (Armijo).
ARMIJO = 1e-4

#: Lengths that one round of a line search tries, and rounds.
HALVINGS, ROUNDS = 8, 4

#: Without a bound, a step is at most this many times as long as the action (or 1) is large.
STRETCH = 8.0

#: Curvature below this share of the largest is raised to it.
FLAT = 1e-12

#: Solutions of the active-set method, for each action; it is exact long before.
PASSES = 4

#: Golden section of an interval, (3 - sqrt(5)) / 2.
GOLDEN = 0.3819660112501051


class Objective(Protocol):
    """What is maximised: n problems with m actions each.

    ``rows`` says which r of the problems are meant, so that finished ones drop out: a slice, or a
    tensor of indices. A value that is -inf or nan marks an action as infeasible.
    """

    @property
    def n_problems(self) -> int:
        """Number of problems n."""

    @property
    def n_actions(self) -> int:
        """Actions m of each problem."""

    def value(self, rows: Rows, actions: Tensor) -> Tensor:
        """Values (r, c) of c candidates for each of r problems, actions (r, c, m)."""

    def derivatives(self, rows: Rows, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value (r,), gradient (r, m) and Hessian (r, m, m) at actions (r, m)."""


@dataclass(frozen=True)
class Maximum:
    """The maximum of each of n problems with m actions.

    Attributes
    ----------
    actions : Tensor of shape (n, m)
        Where it is; exactly at a bound that binds; nan where nothing feasible was found.
    value : Tensor of shape (n,)
        How high it is; -inf where nothing feasible was found.
    converged : Tensor of shape (n,), bool
        Whether the tolerance was met.
    feasible : Tensor of shape (n,), bool
        Whether any action with a finite value was found.
    at_lower, at_upper : Tensor of shape (n, m), bool
        Whether an action equals its bound.
    n_iter : int
        Iterations of the problem that took most.
    """

    actions: Tensor
    value: Tensor
    converged: Tensor
    feasible: Tensor
    at_lower: Tensor
    at_upper: Tensor
    n_iter: int


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
    lower, upper, start = _checked(objective, lower, upper, start)
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

    found = _Found.nothing(lower)
    if len(lower) == 0:
        return found.maximum(lower, upper)
    everything: Rows = slice(None)
    guess = _guess(objective, everything, lower, upper, start, n_candidates)
    found.take(everything, _climb(objective, everything, lower, upper, guess, tol, max_iter))
    missed = (~found.feasible).nonzero()[:, 0]
    if len(missed):
        count = DENSER * max(n_candidates, LINE_CANDIDATES)
        lower_missed, upper_missed = lower[missed], upper[missed]
        start = None if start is None else start[missed]
        guess = _guess(objective, missed, lower_missed, upper_missed, start, count)
        climbed = _climb(objective, missed, lower_missed, upper_missed, guess, tol, max_iter)
        found.take(missed, climbed)
    return found.maximum(lower, upper)


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
    lower, upper, _ = _checked(objective, lower, upper, None)
    if objective.n_actions != 1:
        raise ValueError(
            f"golden section needs one action, not {objective.n_actions}; use maximize_newton"
        )
    if not bool((lower.isfinite() & upper.isfinite()).all()):
        raise ValueError("golden section needs finite bounds; pass finite ones")
    if n_candidates < 2:
        raise ValueError(f"n_candidates={n_candidates} must be at least 2")
    tol = max(tol, 8 * torch.finfo(lower.dtype).eps)

    found = _Found.nothing(lower)
    if len(lower) == 0:
        return found.maximum(lower, upper)
    everything: Rows = slice(None)
    guess = _guess(objective, everything, lower, upper, None, n_candidates)
    found.take(everything, _section(objective, everything, lower, upper, guess, tol))
    missed = (~found.feasible).nonzero()[:, 0]
    if len(missed):
        lower_missed, upper_missed = lower[missed], upper[missed]
        count = DENSER * n_candidates
        guess = _guess(objective, missed, lower_missed, upper_missed, None, count)
        found.take(missed, _section(objective, missed, lower_missed, upper_missed, guess, tol))
    return found.maximum(lower, upper)


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
            values = _masked(value(rows, part.expand(rows.stop - top, -1, -1)))
            place = values.argmax(dim=1, keepdim=True)
            highest = values.gather(1, place)[:, 0]
            better = highest > best[rows]
            index[rows] = torch.where(better, place[:, 0] + left, index[rows])
            best[rows] = torch.where(better, highest, best[rows])
    feasible = index >= 0
    chosen = actions[index.clamp(min=0)].where(feasible[:, None], torch.nan)
    return Choice(index, chosen, best, feasible)


def _checked(
    objective: Objective, lower: Tensor, upper: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Bounds and start, the start inside the bounds, or an error that names what is wrong."""
    shape = (objective.n_problems, objective.n_actions)
    if shape[1] < 1:
        raise ValueError(f"n_actions={shape[1]} must be at least 1; there is nothing to choose")
    for name, given in (("lower", lower), ("upper", upper), ("start", start)):
        if given is not None and tuple(given.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)}, but {shape[0]} problems with {shape[1]} "
                f"actions need {shape}"
            )
    wrong = ~(lower <= upper)
    if bool(wrong.any()):
        row, action = wrong.nonzero()[0].tolist()
        low, high = float(lower[row, action]), float(upper[row, action])
        raise ValueError(
            f"the bounds of action {action} cross in row {row}: lower={low!r} must be at most "
            f"upper={high!r}"
        )
    return lower, upper, None if start is None else start.clamp(lower, upper)


def _masked(values: Tensor) -> Tensor:
    """Values with -inf for every infeasible action."""
    return values.where(values.isfinite(), -torch.inf)


def _pick(rows: Rows, at: Tensor) -> Rows:
    """The problems at some positions of others."""
    return at if isinstance(rows, slice) else rows[at]


def _scale(x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """What a step of an action is measured against."""
    width = upper - lower
    return x.abs().maximum(SMALLEST * width.where(width.isfinite(), 1.0))


@dataclass
class _Found:
    """The solution of some problems, while it is filled in."""

    actions: Tensor
    value: Tensor
    converged: Tensor
    n_iter: int = 0

    @classmethod
    def nothing(cls, like: Tensor) -> Self:
        """Nothing found yet, for actions of this shape."""
        n = len(like)
        value = like.new_full((n,), -torch.inf)
        converged = torch.zeros(n, dtype=torch.bool, device=like.device)
        return cls(torch.full_like(like, torch.nan), value, converged)

    @property
    def feasible(self) -> Tensor:
        return self.value > -torch.inf

    def take(self, rows: Rows, other: Self) -> None:
        """Take over the solution of these problems."""
        self.actions[rows] = other.actions
        self.value[rows] = other.value
        self.converged[rows] = other.converged
        self.n_iter = max(self.n_iter, other.n_iter)

    def settle(self, at: Tensor, actions: Tensor, value: Tensor, converged: Tensor | bool) -> None:
        """Enter the problems at these positions."""
        self.actions[at] = actions
        self.value[at] = value
        self.converged[at] = converged

    def maximum(self, lower: Tensor, upper: Tensor) -> Maximum:
        at_lower, at_upper = self.actions == lower, self.actions == upper
        return Maximum(
            self.actions, self.value, self.converged, self.feasible, at_lower, at_upper, self.n_iter
        )


@dataclass
class _Guess:
    """Where to climb from, and actions beside it that are worse (infinite where none is known)."""

    x: Tensor
    below: Tensor
    above: Tensor
    value: Tensor


def _guess(
    objective: Objective, rows: Rows, lower: Tensor, upper: Tensor, start: Tensor | None, count: int
) -> _Guess:
    """The best candidate of each problem, in shape (r, m)."""
    if count == 0:
        assert start is not None
        nowhere = torch.full_like(start, torch.inf)
        return _Guess(start, -nowhere, nowhere, nowhere[:, 0])
    candidates = _candidates(lower, upper, start, count)
    values = _masked(objective.value(rows, candidates))
    best = values.argmax(dim=1, keepdim=True)
    x = candidates.gather(1, best[..., None].expand(-1, -1, lower.shape[1]))
    value = values.gather(1, best)
    # What is worse by rounding only does not tell on which side the maximum is.
    noise = VALUE_NOISE * torch.finfo(values.dtype).eps * value.abs()
    worse = (values < value - noise)[..., None]
    below = candidates.where(worse & (candidates < x), -torch.inf).amax(dim=1)
    above = candidates.where(worse & (candidates > x), torch.inf).amin(dim=1)
    return _Guess(x[:, 0], below, above, value[:, 0])


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


def _climb(
    objective: Objective,
    rows: Rows,
    lower: Tensor,
    upper: Tensor,
    guess: _Guess,
    tol: float,
    max_iter: int,
) -> _Found:
    climb = _climb_line if lower.shape[1] == 1 else _climb_box
    return climb(objective, rows, lower, upper, guess, tol, max_iter)


@dataclass
class _Problems:
    """State of the unfinished problems: tensors with one problem a row."""

    #: Positions among all problems of the climb.
    at: Tensor

    def keep(self, mask: Tensor) -> Self:
        """The state of some of the problems."""
        left = mask.nonzero()[:, 0]
        return type(self)(*(getattr(self, field.name)[left] for field in fields(self)))


@dataclass
class _Line(_Problems):
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


def _climb_line(
    objective: Objective,
    rows: Rows,
    lower: Tensor,
    upper: Tensor,
    guess: _Guess,
    tol: float,
    max_iter: int,
) -> _Found:
    """Newton's method in a bracket, for one action."""
    found = _Found.nothing(lower)
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
        part = rows if len(line.at) == len(lower) else _pick(rows, line.at)
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
    small = tol * _scale(x, line.lower, line.upper)
    slow = newton > line.last / 2
    noise = torch.finfo(x.dtype).eps * line.value.abs()
    final = newton <= small
    done = final | (room == 0) | (seen & (room <= small)) | (slow & (newton * slope.abs() <= noise))

    halve = seen & ((newton >= room) | slow)
    length = newton.minimum(room.where(room.isfinite(), _reach(x)))
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
    tiny = line.last <= TINY * _scale(line.x, line.lower, line.upper)
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


@dataclass
class _Box(_Problems):
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
        return _scale(self.x, self.lower, self.upper)

    def push(self, x: Tensor, gradient: Tensor) -> Tensor:
        """How strongly the gradient at x pushes those actions that it may move."""
        force = gradient * self.scale
        return force.where(~_held(x, gradient, self.lower, self.upper), 0.0).abs().amax(dim=1)


def _climb_box(
    objective: Objective,
    rows: Rows,
    lower: Tensor,
    upper: Tensor,
    guess: _Guess,
    tol: float,
    max_iter: int,
) -> _Found:
    """Newton's method in a box with a line search, for several actions."""
    found = _Found.nothing(lower)
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
        part = rows if len(box.at) == len(lower) else _pick(rows, box.at)
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
    excess = (target - box.x).abs() / _reach(box.x)
    excess = excess.where(unbounded, 0.0).amax(dim=1, keepdim=True)
    return torch.where(excess > 1, box.x + (target - box.x) / excess, target)


def _reach(x: Tensor) -> Tensor:
    """How far a step may lead without a bound."""
    return STRETCH * x.abs().clamp(min=1.0)


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
        part = _pick(rows, back)
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
        values = _masked(objective.value(_pick(rows, left), trials))
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


@dataclass
class _Bracket(_Problems):
    """Problems of one action for golden section: all fields have shape (r,)."""

    x: Tensor
    value: Tensor
    below: Tensor
    above: Tensor
    #: Half the width at which the bracket is short, for an action near 0.
    shortest: Tensor


def _section(
    objective: Objective, rows: Rows, lower: Tensor, upper: Tensor, guess: _Guess, tol: float
) -> _Found:
    """Golden section of the longer side of each bracket."""
    found = _Found.nothing(lower)
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
        part = rows if len(bracket.at) == len(lower) else _pick(rows, bracket.at)
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
