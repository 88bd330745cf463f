"""Fixed points of contractions: successive approximation, accelerated by Anderson's method.

The search stops by the distance to the fixed point, not by the last step: near a modulus ρ the
distance is up to ρ/(1−ρ) steps, which is 99 steps for ρ = 0.99.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .newton import INTERRUPTED, Report, ignore
from .root import MET, STOPPED, Root

__all__ = ["fixed_point"]

#: An accelerated iterate is refused if its move is longer than this many times the shortest, or
#: what plain steps would have made of it; or than the shortest, after so many without a shorter.
GROWTH, TOLERATED = 2.0, 5

#: Ratios of which the largest estimates the modulus, and how many there must be.
WINDOW, LEAST_RATIOS = 20, 2

#: Plain steps in a row that confirm an estimated modulus.
CONFIRMING = 2

#: Iterations that may pass without a shorter step.
PATIENCE = 50

#: A step is rounding if it is at most this many eps max |θ|, or, where no shorter one is found,
#: that many: a step may sum hundreds of terms.
ROUNDING, NOISE = 4.0, 1000.0

#: A difference whose part off the newer ones is below this power of eps is left out.
DEPENDENT = 0.75


def fixed_point(
    step: Callable[[Tensor], Tensor],
    theta: Tensor,
    *,
    tol: float,
    max_iter: int,
    memory: int = 5,
    modulus: float | None = None,
    safeguard: bool = True,
    report: Report = ignore,
) -> Root:
    """Find θ = G(θ) by iterating the contraction G, with Anderson acceleration.

    With moves f = G(θ) − θ, an accelerated iterate is G(θ) − ΔG γ, where the columns of ΔG and Δf
    are the last differences of G(θ) and f, and γ minimises ‖f − Δf γ‖. On a linear G it does what
    GMRES does. The search stops when ρ/(1−ρ) max |f| ≤ ``tol``, which bounds the distance from
    G(θ) to the fixed point if ρ is a modulus of G in the largest absolute entry.

    Parameters
    ----------
    step : callable
        G, from shape (K,) to (K,); inf or NaN where θ is infeasible.
    theta : Tensor of shape (K,)
        Where to start.
    tol : float
        Bound on the largest error of an entry of θ. A step that is rounding (at most 4 eps max |θ|)
        ends the search too, as converged, and the reason says so.
    max_iter : int
        Evaluations of ``step`` at most.
    memory : int, default=5
        Differences that the acceleration looks back on; 0 for successive approximation.
    modulus : float or None, default=None
        The modulus ρ in [0, 1) of the contraction, such as the discount factor of a Bellman
        operator. None: the largest of the last 20 ratios ‖G(θ) − G(θ')‖ / ‖θ − θ'‖ of consecutive
        iterates, which without acceleration are the ratios of consecutive steps; in the largest
        entry or in the Euclidean norm, whichever gives the smaller bound. Two plain steps
        then confirm it. An estimate may be a little low, so that a known modulus is better.
    safeguard : bool, default=True
        Whether to refuse an accelerated iterate whose move is not finite, is more than twice the
        shortest so far or what plain steps would have made of it, or is not shorter after five in a
        row were not; then to forget the differences, and to go on with a plain step from the last
        good iterate. A contraction is then never much slower than without acceleration.
    report : callable, default=(goes on)
        Told of every iterate: ``step`` (max |f|), ``rate`` (ρ) and ``bound`` (on the error; inf
        while ρ is unknown or not below 1). Returning True stops the search.

    Returns
    -------
    Root
        If converged, ``theta`` is the last G(θ) and ``residual`` the move f that led to it. If not,
        ``theta`` is the iterate with the shortest move, and ``residual`` is that move. ``n_iter``
        counts evaluations of ``step``.

    Raises
    ------
    ValueError
        If ``modulus`` is not in [0, 1) or ``memory`` is negative.

    References
    ----------
    H. Walker and P. Ni, *Anderson acceleration for fixed-point iterations* (method, equivalence to
    GMRES). K. Judd, *Numerical Methods in Economics*, section 12.3 (stopping of value iteration).

    Examples
    --------
    >>> import torch
    >>> start = torch.zeros(2, dtype=torch.float64)
    >>> reward = torch.tensor([1.0, 2.0], dtype=torch.float64)
    >>> found = fixed_point(lambda v: reward + 0.9 * v, start, tol=1e-8, max_iter=50, modulus=0.9)
    >>> found.converged, found.theta.numpy().round(6)
    (True, array([10., 20.]))
    """
    _check(memory, modulus)
    trail, guard = _Trail(memory, modulus), _Guard(safeguard)
    best: _Iterate | None = None
    n_iter = n_plain = 0
    accelerated = False
    reason = f"max_iter={max_iter} evaluations made"
    try:
        while n_iter < max_iter:
            now = _Iterate.at(step, theta)
            n_iter += 1
            if accelerated and guard.refuses(now.size):
                theta, accelerated = trail.restart(), False
                continue
            if not np.isfinite(now.size):
                reason = "diverged: a step is not finite"
                break
            if best is None or now.size < best.size:
                best = now
            trail.append(now)
            rate, bound = trail.bound()
            guard.learn(now.size, rate)
            stopped = report({"step": now.size, "rate": rate, "bound": bound}, now.image)
            n_plain = 0 if accelerated else n_plain + 1
            # Plain steps show how fast that error dies which is left after the accelerated ones.
            confirmed = modulus is not None or n_plain >= CONFIRMING
            if bound <= tol and confirmed:
                return Root(now.image, now.move, n_iter, True, MET)
            if now.size <= ROUNDING * now.eps:
                return Root(now.image, now.move, n_iter, True, _at_rounding(now.size, bound))
            if stopped:
                reason = STOPPED
                break
            if guard.waited >= PATIENCE:
                if best.size <= NOISE * best.eps:
                    end = _at_rounding(best.size, bound)
                    return Root(best.image, best.move, n_iter, True, end)
                reason = f"diverged: no shorter step in {PATIENCE} iterations"
                break
            theta, accelerated = (now.image, False) if bound <= tol else trail.next()
    except KeyboardInterrupt:
        reason = INTERRUPTED
    if best is None:
        return Root(theta, torch.full_like(theta, torch.nan), n_iter, False, reason)
    return Root(best.theta, best.move, n_iter, False, reason)


def _check(memory: int, modulus: float | None) -> None:
    if modulus is not None and not 0 <= modulus < 1:
        raise ValueError(
            f"modulus must be in [0, 1), got {modulus}: only a contraction has a bound on the "
            "error; use None to estimate it"
        )
    if memory < 0:
        raise ValueError(f"memory must be at least 0, got {memory}; 0 switches acceleration off")


@dataclass(frozen=True)
class _Iterate:
    """θ, G(θ), the move between them and its largest entry."""

    theta: Tensor
    image: Tensor
    move: Tensor
    size: float

    @classmethod
    def at(cls, step: Callable[[Tensor], Tensor], theta: Tensor) -> _Iterate:
        image = step(theta)
        move = image - theta
        return cls(theta, image, move, _size(move))

    @property
    def eps(self) -> float:
        """Rounding of the largest entry."""
        return torch.finfo(self.image.dtype).eps * _size(self.image)


class _Guard:
    """Which accelerated iterates are refused: those that fall behind plain steps."""

    def __init__(self, active: bool) -> None:
        self.active = active
        #: Iterates since the shortest move.
        self.waited = 0
        self._shortest = self._due = np.inf

    def refuses(self, size: float) -> bool:
        if not self.active:
            return False
        growth = GROWTH if self.waited < TOLERATED else 1.0
        return not size <= min(growth * self._shortest, self._due)

    def learn(self, size: float, rate: float) -> None:
        """After an iterate that was taken: plain steps shrink the move by the rate."""
        self.waited = 0 if size < self._shortest else self.waited + 1
        self._shortest = min(self._shortest, size)
        self._due = min(self._due * min(rate, 1.0), GROWTH * self._shortest)


class _Trail:
    """The last iterates: where they lead, and how fast G contracts along them."""

    def __init__(self, memory: int, modulus: float | None) -> None:
        self.memory, self.modulus = memory, modulus
        self._iterates: deque[_Iterate] = deque(maxlen=memory + 1)
        self._last: _Iterate | None = None
        self._ratios: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def append(self, now: _Iterate) -> None:
        if self._last is not None:
            apart, image = now.theta - self._last.theta, now.image - self._last.image
            if _size(apart) > 0:
                ratio = _size(image) / _size(apart), float(image.norm() / apart.norm())
                self._ratios.append(ratio)
        self._last = now
        self._iterates.append(now)

    def bound(self) -> tuple[float, float]:
        """The modulus, or an estimate, and the bound on the error that it gives."""
        assert self._last is not None
        size, length = self._last.size, float(self._last.move.norm())
        if self.modulus is not None:
            return self.modulus, _distance(self.modulus, size)
        if len(self._ratios) < LEAST_RATIOS:
            return np.inf, np.inf
        largest, longest = np.max(self._ratios, axis=0)
        if self.memory == 0 and min(largest, longest) >= 1:
            # A map may contract in the long run, in another norm, though not at every step.
            logs = np.log(np.maximum(self._ratios, np.finfo(np.float64).tiny))
            largest = np.exp(logs[:, 0].mean())
        bounds = (_distance(largest, size), largest), (_distance(longest, length), longest)
        bound, rate = min(bounds)
        return float(rate), float(bound)

    def next(self) -> tuple[Tensor, bool]:
        """The next iterate, and whether it is accelerated."""
        assert self._last is not None
        image = self._last.image
        if len(self._iterates) < 2:
            return image, False
        # Newest first: what is dropped for dependence is the oldest.
        moves = torch.stack([i.move for i in self._iterates], 1).flip(1)
        images = torch.stack([i.image for i in self._iterates], 1).flip(1)
        moves, images = moves[:, :-1] - moves[:, 1:], images[:, :-1] - images[:, 1:]
        lengths = moves.norm(dim=0).clamp(min=torch.finfo(moves.dtype).tiny)
        q, r = torch.linalg.qr(moves / lengths)
        n_kept = _n_independent(r)
        if n_kept == 0:
            return image, False
        shares = (q[:, :n_kept].T @ self._last.move)[:, None]
        weights = torch.linalg.solve_triangular(r[:n_kept, :n_kept], shares, upper=True)[:, 0]
        return image - images[:, :n_kept] @ (weights / lengths[:n_kept]), True

    def restart(self) -> Tensor:
        """Forget all but the last iterate, whose plain step is next."""
        assert self._last is not None
        self._iterates.clear()
        self._iterates.append(self._last)
        return self._last.image


def _n_independent(r: Tensor) -> int:
    """Leading columns of length one that are independent, from their triangular factor."""
    small = r.diagonal().abs() <= torch.finfo(r.dtype).eps ** DEPENDENT
    dependent = small.nonzero()
    return int(dependent[0]) if len(dependent) else min(r.shape)


def _distance(rate: float, size: float) -> float:
    """Bound on the distance from G(θ) to the fixed point, by the length of the move."""
    return size * rate / (1 - rate) if rate < 1 else np.inf


def _size(values: Tensor) -> float:
    return float(values.abs().max()) if len(values) else 0.0


def _at_rounding(size: float, bound: float) -> str:
    return f"a step of {size:.1e} is rounding, with a bound of {bound:.1e} on the error"
