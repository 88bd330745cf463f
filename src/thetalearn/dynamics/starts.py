"""Where to start: the steady state, and the stable linear policy around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from .equations import EulerEquation
from .model import DynamicModel

__all__ = ["LinearPolicy", "linear_policy", "steady_state"]

#: Positions between the bounds at which a search for a steady state starts.
SHARES = (0.5, 0.25, 0.75, 0.1)

#: Newton steps from each.
MAX_STEPS = 20

#: Shares of a step that are tried.
HALVES = (1.0, 0.5, 0.25, 0.1, 0.02)

#: Relative residual of a steady state.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class LinearPolicy:
    """A linear function from inputs to unknowns, around a steady state.

    Parameters
    ----------
    state : Tensor of shape (d,)
        The steady state.
    x : Tensor of shape (d,)
        Its inputs.
    y : Tensor of shape (m,)
        The unknowns there.
    slope : Tensor of shape (m, d)
        Derivative of the unknowns in the inputs.
    n_stable : int
        Eigenvalues of the linear model inside the unit circle; as many as states if exactly one
        stable policy exists (Blanchard and Kahn).
    """

    state: Tensor
    x: Tensor
    y: Tensor
    slope: Tensor
    n_stable: int

    def __call__(self, x: Tensor) -> Tensor:
        """Unknowns (n, m) at inputs (n, d)."""
        return self.y + (x - self.x) @ self.slope.T


@dataclass(frozen=True)
class _Rest:
    """The conditions of a steady state in z = (inputs, unknowns)."""

    model: DynamicModel
    equation: EulerEquation

    def equations(self, s: Tensor, y: Tensor, s_next: Tensor, y_next: Tensor) -> Tensor:
        """Residuals (E,) when every shock is as expected."""
        e = self.model.distribution.expected(s[None].detach())
        mean = self.equation.integrand(s[None], y[None], s_next[None], y_next[None], e)
        return self.equation.combine(s[None], y[None], mean)[0]

    def next_state(self, s: Tensor, y: Tensor) -> Tensor:
        """The next state (d,) when every shock is as expected."""
        e = self.model.distribution.expected(s[None].detach())
        if self.model.distribution.state is not None:
            e = self.model.distribution.expected(s[None])
        return self.equation.next_states(s[None], y[None], e)[0]

    def residual(self, z: Tensor) -> Tensor:
        """What a steady state makes zero."""
        with torch.no_grad():
            return self._moved(z).detach()

    def _moved(self, z: Tensor) -> Tensor:
        x, y = self.split(z)
        s = self.equation.to_inputs.inverse(x[None])[0]
        moved = self.equation.coordinates(self.next_state(s, y)[None])[0] - x
        return torch.cat([moved, self.equations(s, y, s, y)])

    def linearize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The same with its Jacobian."""
        with torch.enable_grad():
            jacobian = torch.autograd.functional.jacobian(self._moved, z)
        return self.residual(z), jacobian.detach()

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and unknowns."""
        return z[: self.model.n_states], z[self.model.n_states :]


def steady_state(model: DynamicModel, equation: EulerEquation) -> tuple[Tensor, Tensor] | None:
    """State (d,) and unknowns (m,) that repeat themselves without shocks, in the box.

    None if Newton's method finds none from several starts, or a state is a finite chain, between
    whose values there is nothing to be differentiated.
    """
    if model.chain_states():
        return None
    rest = _Rest(model, equation)
    box = torch.from_numpy(equation.to_inputs.box)
    starts = []
    guess = model.steady_guess()
    if guess is not None:
        starts.append(guess)
    for share in SHARES:
        x = box[:, 0] + 0.5 * (box[:, 1] - box[:, 0])
        s = equation.to_inputs.inverse(x[None])
        starts.append((s[0], model.inside_actions(s, share)[0]))
    for s, a in starts:
        z = torch.cat([equation.coordinates(s[None])[0], equation.unknowns(s[None], a[None])[0]])
        if not z.isfinite().all():
            continue
        settled = _settle(rest, z)
        if settled is None:
            continue
        x, y = rest.split(settled)
        state = equation.to_inputs.inverse(x[None])
        if bool(equation.to_inputs.inside(state, slack=0.05).all()):
            return state[0], y
    return None


def _settle(rest: _Rest, z: Tensor) -> Tensor | None:
    """Newton's method that gives up as soon as it gets stuck: there are other starts."""
    size = float(rest.residual(z).abs().max())
    for _ in range(MAX_STEPS):
        if size <= TOLERANCE:
            return z
        residual, jacobian = rest.linearize(z)
        step, info = torch.linalg.solve_ex(jacobian, residual)
        if info != 0 or not step.isfinite().all():
            return None
        for scale in HALVES:
            trial = z - scale * step
            trial_size = float(rest.residual(trial).abs().max())
            if trial_size < size:
                break
        else:
            return None
        z, size = trial, trial_size
    return z if size <= TOLERANCE else None


def linear_policy(model: DynamicModel, equation: EulerEquation) -> LinearPolicy | None:
    r"""The stable linear policy around the steady state.

    With :math:`F(x, y, x', y') = 0` and :math:`x' = G(x, y)`, the d smallest generalized
    eigenvalues of the linear model, by the QZ decomposition, belong to the policy that does not
    explode, which is the one that maximises.

    References
    ----------
    P. Klein, *Using the Generalized Schur Form to Solve a Multivariate Linear Rational Expectations
    Model*. O. Blanchard and C. Kahn, *The Solution of Linear Difference Models under Rational
    Expectations*.
    """
    rest = steady_state(model, equation)
    if rest is None:
        return None
    state, y = rest
    conditions = _Rest(model, equation)
    x = equation.coordinates(state[None])[0]

    def residual(x: Tensor, y: Tensor, x_next: Tensor, y_next: Tensor) -> Tensor:
        s = equation.to_inputs.inverse(x[None])[0]
        s_next = equation.to_inputs.inverse(x_next[None])[0]
        return conditions.equations(s, y, s_next, y_next)

    def moved(x: Tensor, y: Tensor) -> Tensor:
        s = equation.to_inputs.inverse(x[None])[0]
        return equation.coordinates(conditions.next_state(s, y)[None])[0]

    with torch.enable_grad():
        f_x, f_y, f_x_next, f_y_next = torch.autograd.functional.jacobian(residual, (x, y, x, y))
        g_x, g_y = torch.autograd.functional.jacobian(moved, (x, y))
    d, m = len(x), len(y)
    ahead = np.block([[np.eye(d), np.zeros((d, m))], [f_x_next.numpy(), f_y_next.numpy()]])
    now = np.block([[g_x.numpy(), g_y.numpy()], [-f_x.numpy(), -f_y.numpy()]])
    if not (np.isfinite(ahead).all() and np.isfinite(now).all()):
        return None
    moduli = _moduli(*scipy.linalg.eigvals(now, ahead, homogeneous_eigvals=True))
    limit = np.sort(moduli)[d - 1] * (1 + 1e-9)
    *_, basis = scipy.linalg.ordqz(
        now, ahead, sort=lambda alpha, beta: _moduli(alpha, beta) <= limit, output="complex"
    )
    top, bottom = basis[:d, :d], basis[d:, :d]
    if np.linalg.cond(top) > 1e12:
        return None
    slope = np.real(bottom @ np.linalg.inv(top))
    n_stable = int((moduli < 1 + 1e-9).sum())
    return LinearPolicy(state, x, y, torch.from_numpy(np.ascontiguousarray(slope)), n_stable)


def _moduli(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Absolute values of generalized eigenvalues, infinite ones included."""
    size = np.maximum(np.abs(beta), 1e-300)
    return np.where(np.abs(beta) > 1e-14 * np.abs(alpha), np.abs(alpha) / size, np.inf)
