"""Models with linear policies: the linear regulator, and the investment of many firms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import solve_discrete_are
from torch import Tensor

from ...randomness import random_numbers
from ..model import DynamicModel, Solution
from ..shocks import Normal, Shocks
from .utility import discount

__all__ = ["make_investment", "make_linear_quadratic"]

#: Modulus of all eigenvalues of the default transition.
PERSISTENCE = 0.95

#: Standard deviation of the default shock to each state.
NOISE = 0.1

Bounds = list[tuple[float, float]]


def make_linear_quadratic(
    *,
    n_states: int = 10,
    A: ArrayLike | None = None,
    B: ArrayLike | None = None,
    C: ArrayLike | None = None,
    Q: ArrayLike | None = None,
    R: ArrayLike | None = None,
    beta: float = 0.95,
    radius: float = 1.0,
    random_state: int | np.random.RandomState | None = 0,
) -> DynamicModel:
    r"""The linear-quadratic regulator, exactly solvable in any dimension.

    .. math::
        V(x) = \max_u\; -x'Qx - u'Ru + \beta E V(Ax + Bu + C\varepsilon),
        \qquad \varepsilon \sim N(0, I).

    The policy is linear and the value quadratic,

    .. math::
        u = -(R + \beta B'PB)^{-1}\beta B'PA\,x, \qquad
        V = -x'Px - \frac{\beta}{1-\beta}\,\mathrm{tr}(C'PC),

    where P solves the Riccati equation
    :math:`P = Q + \beta A'PA - \beta^2 A'PB(R+\beta B'PB)^{-1}B'PA`.

    Parameters
    ----------
    n_states : int, default=10
        Number d of states where no matrix tells it.
    A : array-like of shape (d, d), default=None
        Transition. None: 0.95 times a random rotation.
    B : array-like of shape (d, m), default=None
        Effect of the controls u. None: normal with variance 1/d, and m half of d, at least one.
    C : array-like of shape (d, k), default=None
        Effect of the shocks ε. None: 0.1 times the identity.
    Q : array-like of shape (d, d), default=None
        Loss of the states, symmetric positive semi-definite. None: the identity.
    R : array-like of shape (m, m), default=None
        Loss of the controls, symmetric positive definite. None: the identity.
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    radius : float, default=1.0
        The states are bounded by -radius and radius.
    random_state : int, RandomState or None, default=0
        Draws the matrices that are not given.

    Returns
    -------
    DynamicModel
        States x, actions u, which are free. The matrices are parameters of the model, as tensors in
        float64.

    Raises
    ------
    ValueError
        If the shapes of the matrices do not fit together, or the loss is not as required.

    Notes
    -----
    The next state may leave the bounds, so an approximation is exact only if it goes on beyond
    them as the quadratic that it is inside: ``basis="monomial"`` does.

    References
    ----------
    L. Ljungqvist and T. Sargent, *Recursive Macroeconomic Theory*, chapter on linear-quadratic
    dynamic programming. B. Anderson and J. Moore, *Optimal Control: Linear Quadratic Methods*,
    chapter 2.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_linear_quadratic
    >>> model = make_linear_quadratic(A=[[1.0]], B=[[1.0]], C=[[0.0]], beta=0.5)
    >>> model.exact("value")(torch.tensor([[1.0]], dtype=torch.float64))
    tensor([-1.4142], dtype=torch.float64)
    >>> model = make_linear_quadratic(n_states=30)
    >>> model.n_states, model.n_actions
    (30, 15)
    """
    given = {"A": A, "B": B, "C": C, "Q": Q, "R": R}
    matrices = _matrices(given, n_states, random_state)
    if not radius > 0:
        raise ValueError(f"radius={radius} must be positive: it bounds the states")
    d, m = matrices["B"].shape
    return DynamicModel(
        reward=_quadratic_loss,
        transition=_linear_transition,
        discount=discount,
        shocks=Normal(torch.zeros(matrices["C"].shape[1])),
        state_bounds=[(-radius, radius)] * d,
        action_names=[f"u{j}" for j in range(m)],
        steady_state=_origin,
        solution=Solution(_regulator_policy, _regulator_value),
        params={**matrices, "beta": beta},
        name="linear-quadratic regulator",
    )


def _matrices(
    given: Mapping[str, ArrayLike | None], n_states: int, random_state: object
) -> dict[str, Tensor]:
    """The five matrices, with random or simple ones for those not given."""
    arrays = {
        name: np.atleast_2d(np.asarray(matrix, dtype=np.float64))
        for name, matrix in given.items()
        if matrix is not None
    }
    # Every matrix but R has a row for each state.
    told = [len(arrays[name]) for name in ("A", "B", "C", "Q") if name in arrays]
    d = told[0] if told else n_states
    if d != int(d) or d < 1:
        raise ValueError(f"n_states={n_states!r} must be a whole number of at least 1")
    rng = random_numbers(random_state)
    # Drawn in any case, so that one matrix does not depend on whether another is given.
    rotation, effects = _rotation(d, rng), rng.standard_normal((d, max(d // 2, 1))) / math.sqrt(d)
    if "B" not in arrays and "R" in arrays:
        effects = rng.standard_normal((d, len(arrays["R"]))) / math.sqrt(d)
    arrays.setdefault("A", PERSISTENCE * rotation)
    arrays.setdefault("B", effects)
    arrays.setdefault("C", NOISE * np.eye(d))
    arrays.setdefault("Q", np.eye(d))
    m = arrays["B"].shape[1]
    arrays.setdefault("R", np.eye(m))
    _check_shapes(arrays, d, m)
    return {name: torch.from_numpy(arrays[name].copy()) for name in given}


def _check_shapes(arrays: Mapping[str, np.ndarray], d: int, m: int) -> None:
    shapes = {"A": (d, d), "B": (d, m), "C": (d, arrays["C"].shape[1]), "Q": (d, d), "R": (m, m)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{name} of shape {arrays[name].shape} must have shape {shape}: there are {d} "
                f"states and {m} controls"
            )
    for name, least in (("Q", 0.0), ("R", np.finfo(float).tiny)):
        loss = arrays[name]
        smallest = float(np.linalg.eigvalsh((loss + loss.T) / 2)[0])
        scale = 1e-12 * float(np.abs(loss).max())
        if not np.allclose(loss, loss.T, rtol=0, atol=scale) or smallest < least - scale:
            kind = "semi-definite" if name == "Q" else "definite"
            raise ValueError(
                f"{name} must be symmetric positive {kind}, but its smallest eigenvalue is "
                f"{smallest:.6g}: give a loss, not a reward"
            )


def _rotation(d: int, rng: np.random.RandomState) -> np.ndarray:
    """A random orthogonal matrix that does not depend on LAPACK's choice of signs."""
    orthogonal, triangular = np.linalg.qr(rng.standard_normal((d, d)))
    return np.asarray(orthogonal * np.sign(np.diag(triangular)))


def _quadratic(x: Tensor, matrix: Tensor) -> Tensor:
    return ((x @ matrix.to(x)) * x).sum(1)


def _quadratic_loss(s: Tensor, a: Tensor, Q: Tensor, R: Tensor) -> Tensor:
    return -_quadratic(s, Q) - _quadratic(a, R)


def _linear_transition(s: Tensor, a: Tensor, e: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    return s @ A.to(s).T + a @ B.to(s).T + e @ C.to(s).T


def _origin(B: Tensor) -> tuple[list[float], list[float]]:
    d, m = B.shape
    return [0.0] * d, [0.0] * m


@lru_cache(maxsize=8)
def _riccati(A: Tensor, B: Tensor, Q: Tensor, R: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The matrix P of the value, and K of the policy u = -Kx."""
    # Discounting is the undiscounted problem with both effects shrunk by the root of beta.
    a, b, loss = math.sqrt(beta) * A.numpy(), math.sqrt(beta) * B.numpy(), R.numpy()
    value = solve_discrete_are(a, b, Q.numpy(), loss)
    gains = np.linalg.solve(loss + b.T @ value @ b, b.T @ value @ a)
    return torch.from_numpy((value + value.T) / 2), torch.from_numpy(gains)


def _regulator_policy(s: Tensor, A: Tensor, B: Tensor, Q: Tensor, R: Tensor, beta: float) -> Tensor:
    _, gains = _riccati(A, B, Q, R, beta)
    return -s @ gains.to(s).T


def _regulator_value(
    s: Tensor, A: Tensor, B: Tensor, C: Tensor, Q: Tensor, R: Tensor, beta: float
) -> Tensor:
    value, _ = _riccati(A, B, Q, R, beta)
    noise = float(torch.trace(C.T @ value @ C))
    return -_quadratic(s, value) - beta / (1 - beta) * noise


def make_investment(
    *,
    n_firms: int = 128,
    beta: float = 0.95,
    gamma: float = 90.0,
    delta: float = 0.05,
    intercept: float = 1.0,
    slope: float = 1.0,
    nu: float = 1.0,
    sigma: float = 0.005,
    eta: float = 0.001,
    width: float = 0.3,
) -> DynamicModel:
    r"""Investment of N competitive firms under costs of adjustment.

    Firms with capital :math:`X_i` sell at the price
    :math:`p(X) = a_0 - a_1 \frac{1}{N}\sum_i X_i^\nu`, pay :math:`\gamma u^2/2` for investment, and

    .. math::
        X_i' = (1-\delta) X_i + u + \sigma w_i + \eta w, \qquad w_i, w \sim N(0, 1).

    As a firm takes the price for given, it invests what does not depend on its own capital,

    .. math::
        \gamma u(X) = \beta E\left[p(X') + \gamma(1-\delta) u(X')\right],

    a symmetric function of N states. With a linear price, ν = 1, it is
    :math:`u = H_0 + H_1 \bar X`, where :math:`H_1` is the stable root of
    :math:`\gamma H_1 = \beta(\gamma(1-\delta)H_1 - a_1)(1-\delta+H_1)`.

    Parameters
    ----------
    n_firms : int, default=128
        Number N of firms.
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    gamma : float, default=90.0
        Cost γ of adjustment, positive.
    delta : float, default=0.05
        Depreciation δ, in [0, 1].
    intercept, slope : float, default=1.0
        :math:`a_0` and :math:`a_1` of the inverse demand, positive.
    nu : float, default=1.0
        Exponent ν of the inverse demand; the exact policy is known for 1 alone.
    sigma, eta : float, default=0.005, 0.001
        Standard deviations of a firm's own and of the common shock.
    width : float, default=0.3
        Capital is bounded by this share of its steady state (at ν = 1) above and below that.

    Returns
    -------
    DynamicModel
        States X0, X1, ..., action u, no reward. The residual is in units of :math:`a_0`.

    References
    ----------
    R. Lucas and E. Prescott, *Investment Under Uncertainty*. M. Ebrahimi Kahou, J.
    Fernandez-Villaverde, J. Perla and A. Sood, *Exploiting Symmetry in High-Dimensional Dynamic
    Programming*, sections 2 and 4.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_investment
    >>> model = make_investment(n_firms=3)
    >>> states = torch.tensor([[0.6, 0.7, 0.8], [0.8, 0.6, 0.7]], dtype=torch.float64)
    >>> model.exact("policy")(states)
    tensor([[0.0334],
            [0.0334]], dtype=torch.float64)
    """
    if n_firms != int(n_firms) or n_firms < 1:
        raise ValueError(f"n_firms={n_firms!r} must be a whole number of at least 1")
    return DynamicModel(
        transition=_accumulate,
        euler=_investment_euler,
        shocks=partial(_firm_shocks, n_firms),
        state_bounds=partial(_capital_bounds, n_firms),
        state_names=[f"X{i}" for i in range(n_firms)],
        action_names=("u",),
        steady_state=partial(_investment_steady_state, n_firms),
        solution=Solution(policy=_investment_policy),
        params={
            "beta": beta,
            "gamma": gamma,
            "delta": delta,
            "intercept": intercept,
            "slope": slope,
            "nu": nu,
            "sigma": sigma,
            "eta": eta,
            "width": width,
        },
        name="investment of many firms",
    )


def _firm_shocks(n_firms: int, sigma: float, eta: float) -> Shocks:
    return Normal(cov=sigma**2 * np.eye(n_firms) + eta**2)


def _accumulate(s: Tensor, a: Tensor, e: Tensor, delta: float) -> Tensor:
    return (1 - delta) * s + a + e


def _price(s: Tensor, intercept: float, slope: float, nu: float) -> Tensor:
    return intercept - slope * (s if nu == 1 else s**nu).mean(1, keepdim=True)


def _investment_euler(
    s: Tensor,
    a: Tensor,
    s_next: Tensor,
    a_next: Tensor,
    beta: float,
    gamma: float,
    delta: float,
    intercept: float,
    slope: float,
    nu: float,
) -> Tensor:
    price = _price(s_next, intercept, slope, nu)
    return (beta * (price + gamma * (1 - delta) * a_next) - gamma * a) / intercept


def _investment_coefficients(
    beta: float, gamma: float, delta: float, intercept: float, slope: float
) -> tuple[float, float]:
    """The numbers H0 and H1 of the linear policy."""
    kept = gamma * (1 - delta)
    leading, middle, last = (
        beta * kept,
        beta * (kept * (1 - delta) - slope) - gamma,
        -beta * slope * (1 - delta),
    )
    # The other root, which is positive, makes capital explode.
    slope_of_policy = 2 * last / (-middle + math.sqrt(middle**2 - 4 * leading * last))
    level = beta * intercept / (gamma - beta * (kept * slope_of_policy - slope) - beta * kept)
    return level, slope_of_policy


def _investment_policy(
    s: Tensor,
    beta: float,
    gamma: float,
    delta: float,
    intercept: float,
    slope: float,
    nu: float,
) -> Tensor:
    if nu != 1:
        raise ValueError(f"nu={nu} has no exact policy: it is known for nu=1 alone")
    level, slope_of_policy = _investment_coefficients(beta, gamma, delta, intercept, slope)
    return level + slope_of_policy * s.mean(1, keepdim=True)


def _steady_capital(
    beta: float, gamma: float, delta: float, intercept: float, slope: float
) -> float:
    """Capital that repeats itself at a linear price."""
    return beta * intercept / (gamma * delta * (1 - beta * (1 - delta)) + beta * slope)


def _capital_bounds(
    n_firms: int,
    beta: float,
    gamma: float,
    delta: float,
    intercept: float,
    slope: float,
    width: float,
) -> Bounds:
    steady = _steady_capital(beta, gamma, delta, intercept, slope)
    return [((1 - width) * steady, (1 + width) * steady)] * n_firms


def _investment_steady_state(
    n_firms: int, beta: float, gamma: float, delta: float, intercept: float, slope: float
) -> tuple[list[float], list[float]]:
    steady = _steady_capital(beta, gamma, delta, intercept, slope)
    return [steady] * n_firms, [delta * steady]
