"""Real business cycles: growth in which households also choose how much to work."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike
from torch import Tensor

from ..model import DynamicModel
from ..shocks import AR1, Shocks
from ..transforms import Isoelastic, Transform
from .utility import discount, isoelastic

__all__ = ["make_business_cycle", "make_rbc_labour"]

Bounds = list[tuple[float, float]]
Point = tuple[tuple[float, float], tuple[float, float]]


def make_business_cycle(
    *,
    alpha: float = 0.4,
    beta: float = 0.9896,
    delta: float = 0.0196,
    theta: float = 0.357,
    tau: float = 2.0,
    rho: float = 0.95,
    sigma: float = 0.007,
    state_bounds: ArrayLike | None = None,
) -> DynamicModel:
    r"""The stochastic growth model with leisure by which solution methods have been compared.

    .. math::
        V(k, z) = \max_{c, l}\; \frac{\big(c^\theta (1-l)^{1-\theta}\big)^{1-\tau}}{1-\tau} +
        \beta E V(k', z'), \qquad k' = e^z k^\alpha l^{1-\alpha} + (1-\delta) k - c,

    with :math:`z' = \rho z + \sigma\varepsilon`. The two equations are, with wage w and marginal
    utility :math:`u_c`,

    .. math::
        1 = \beta E\Big[\frac{u_c'}{u_c} \Big(1 - \delta + \alpha \frac{y'}{k'}\Big)\Big], \qquad
        \frac{\theta}{1-\theta} \frac{(1-l) w}{c} = 1.

    There is a closed form for τ = δ = 1 only, in which labour is constant and consumption a
    constant share of output.

    Parameters
    ----------
    alpha : float, default=0.4
        Share α of capital, in (0, 1).
    beta : float, default=0.9896
        Discount factor β, in (0, 1).
    delta : float, default=0.0196
        Depreciation δ, in (0, 1].
    theta : float, default=0.357
        Weight θ of consumption in utility, in (0, 1).
    tau : float, default=2.0
        Risk aversion τ, positive. The hard calibration of the comparison is ``tau=50`` with
        ``sigma=0.035``.
    rho : float, default=0.95
        Persistence ρ of log productivity z, in (-1, 1).
    sigma : float, default=0.007
        Standard deviation σ of its innovations.
    state_bounds : array-like of shape (2, 2), default=None
        Ends of k and z. None: 30% around the steady state, and three standard deviations of z on
        each side of zero, where the comparison reports Euler errors. The hard calibration needs
        a wider interval of k.

    Returns
    -------
    DynamicModel
        States k and z; actions c and labour l.

    References
    ----------
    S. B. Aruoba, J. Fernandez-Villaverde and J. Rubio-Ramirez, *Comparing Solution Methods for
    Dynamic Equilibrium Economies*, section 2.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_business_cycle
    >>> states, actions = make_business_cycle().steady_guess()
    >>> states, actions
    (tensor([23.1408,  0.0000], dtype=torch.float64), tensor([1.2883, 0.3105], dtype=torch.float64))
    """
    return DynamicModel(
        reward=_composite_reward,
        transition=_transition,
        euler=_composite_euler,
        discount=discount,
        shocks=_log_productivity,
        state_bounds=_composite_bounds if state_bounds is None else state_bounds,
        action_bounds=_limits,
        state_names=("k", "z"),
        action_names=("c", "l"),
        state_transform=("log", "identity"),
        action_transform=("log", "logit"),
        value_transform=_composite_equivalent,
        steady_state=_composite_steady_state,
        params={
            "alpha": alpha,
            "beta": beta,
            "delta": delta,
            "theta": theta,
            "tau": tau,
            "rho": rho,
            "sigma": sigma,
        },
        name="business cycle with leisure",
    )


def make_rbc_labour(
    *,
    alpha: float = 0.33,
    beta: float = 0.99,
    delta: float = 0.025,
    gamma: float = 5.0,
    eta: float = 1.0,
    labour: float = 0.33,
    rho: float = 0.8,
    sigma: float = 0.016,
    state_bounds: ArrayLike | None = None,
) -> DynamicModel:
    r"""A real business cycle with separable preferences over consumption and labour.

    .. math::
        V(k, z) = \max_{c, l}\; \frac{c^{1-\gamma}}{1-\gamma} - \chi \frac{l^{1+\eta}}{1+\eta} +
        \beta E V(k', z'), \qquad k' = e^z k^\alpha l^{1-\alpha} + (1-\delta) k - c,

    with :math:`z' = \rho z + \sigma\varepsilon`. The two equations are, with wage w,

    .. math::
        1 = \beta E\Big[\Big(\frac{c}{c'}\Big)^\gamma \Big(1 - \delta + \alpha
        \frac{y'}{k'}\Big)\Big], \qquad \frac{w}{\chi l^\eta c^\gamma} = 1.

    Parameters
    ----------
    alpha : float, default=0.33
        Share α of capital, in (0, 1).
    beta : float, default=0.99
        Discount factor β, in (0, 1).
    delta : float, default=0.025
        Depreciation δ, in (0, 1].
    gamma : float, default=5.0
        Relative risk aversion γ, positive.
    eta : float, default=1.0
        Inverse η of the elasticity of labour, not negative.
    labour : float, default=0.33
        Labour in the steady state, in (0, 1), to which the weight χ is set.
    rho : float, default=0.8
        Persistence ρ of log productivity z, in (-1, 1).
    sigma : float, default=0.016
        Standard deviation σ of its innovations.
    state_bounds : array-like of shape (2, 2), default=None
        Ends of k and z. None: half to one and a half times the steady state, and two standard
        deviations of z on each side of zero.

    Returns
    -------
    DynamicModel
        States k and z; actions c and labour l, between 0 and 1.

    References
    ----------
    P. Winant, *dolo*, the example "rbc" among its models, whose calibration and domain these are.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_rbc_labour
    >>> make_rbc_labour().steady_guess()[1]
    tensor([0.7612, 0.3300], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_separable_reward,
        transition=_transition,
        euler=_separable_euler,
        discount=discount,
        shocks=_log_productivity,
        state_bounds=_separable_bounds if state_bounds is None else state_bounds,
        action_bounds=_limits,
        state_names=("k", "z"),
        action_names=("c", "l"),
        state_transform=("log", "identity"),
        action_transform=("log", "logit"),
        steady_state=_separable_steady_state,
        params={
            "alpha": alpha,
            "beta": beta,
            "delta": delta,
            "gamma": gamma,
            "eta": eta,
            "labour": labour,
            "rho": rho,
            "sigma": sigma,
        },
        name="real business cycle with labour",
    )


def _log_productivity(rho: float, sigma: float) -> Shocks:
    return AR1(rho, sigma, state=1)


def _output(s: Tensor, labour: Tensor | float, alpha: float) -> Tensor:
    return s[:, 1].exp() * s[:, 0] ** alpha * labour ** (1 - alpha)


def _transition(
    s: Tensor, a: Tensor, e: Tensor, alpha: float, delta: float
) -> tuple[Tensor, Tensor]:
    return (1 - delta) * s[:, 0] + _output(s, a[:, 1], alpha) - a[:, 0], e[:, 0]


def _limits(
    s: Tensor, alpha: float, delta: float
) -> tuple[tuple[float, float], tuple[Tensor, float]]:
    """Consumption up to what there is if nobody rests, labour up to all the time there is."""
    return (0.0, 0.0), ((1 - delta) * s[:, 0] + _output(s, 1.0, alpha), 1.0)


def _wage(s: Tensor, a: Tensor, alpha: float) -> Tensor:
    return (1 - alpha) * _output(s, a[:, 1], alpha) / a[:, 1]


def _return(s: Tensor, a: Tensor, alpha: float, delta: float) -> Tensor:
    return 1 - delta + alpha * _output(s, a[:, 1], alpha) / s[:, 0]


def _labour_share(alpha: float, beta: float, delta: float) -> float:
    """Labour for each unit of capital in the steady state."""
    return float(((1 / beta - 1 + delta) / alpha) ** (1 / (1 - alpha)))


def _half_width(rho: float, sigma: float, reach: float) -> float:
    if not -1 < rho < 1:
        raise ValueError(
            f"rho={rho} leaves productivity without a stationary distribution: choose it in "
            "(-1, 1), or give state_bounds"
        )
    return reach * sigma / math.sqrt(1 - rho**2)


def _log_composite(a: Tensor, theta: float) -> Tensor:
    return theta * a[:, 0].log() + (1 - theta) * (1 - a[:, 1]).log()


def _composite_reward(s: Tensor, a: Tensor, theta: float, tau: float) -> Tensor:
    return isoelastic(_log_composite(a, theta).exp(), tau)


def _composite_equivalent(tau: float) -> Transform:
    return Isoelastic(tau)


def _composite_euler(
    s: Tensor,
    a: Tensor,
    s_next: Tensor,
    a_next: Tensor,
    alpha: float,
    beta: float,
    delta: float,
    theta: float,
    tau: float,
) -> tuple[Tensor, Tensor]:
    change = _log_composite(a_next, theta) - _log_composite(a, theta)
    rate = a[:, 0] / a_next[:, 0] * ((1 - tau) * change).exp()
    by_labour = theta / (1 - theta) * (1 - a[:, 1]) / a[:, 0] * _wage(s, a, alpha)
    return 1 - beta * rate * _return(s_next, a_next, alpha, delta), by_labour - 1


def _composite_steady_state(alpha: float, beta: float, delta: float, theta: float) -> Point:
    share = _labour_share(alpha, beta, delta)
    worth = theta / (1 - theta) * (1 - alpha) * share**-alpha
    consumed = share ** (1 - alpha) - delta
    k = worth / (consumed + share * worth)
    return (k, 0.0), (consumed * k, share * k)


def _composite_bounds(
    alpha: float, beta: float, delta: float, theta: float, rho: float, sigma: float
) -> Bounds:
    (k, _), _ = _composite_steady_state(alpha, beta, delta, theta)
    z = _half_width(rho, sigma, 3)
    return [(0.7 * k, 1.3 * k), (-z, z)]


def _distaste(
    alpha: float, beta: float, delta: float, gamma: float, eta: float, labour: float
) -> float:
    """The weight of labour that makes it what it shall be in the steady state."""
    (k, _), (c, _) = _separable_steady_state(alpha, beta, delta, labour)
    wage = (1 - alpha) * (k / labour) ** alpha
    return float(wage / (c**gamma * labour**eta))


def _separable_reward(
    s: Tensor,
    a: Tensor,
    alpha: float,
    beta: float,
    delta: float,
    gamma: float,
    eta: float,
    labour: float,
) -> Tensor:
    weight = _distaste(alpha, beta, delta, gamma, eta, labour)
    return isoelastic(a[:, 0], gamma) - weight * a[:, 1] ** (1 + eta) / (1 + eta)


def _separable_euler(
    s: Tensor,
    a: Tensor,
    s_next: Tensor,
    a_next: Tensor,
    alpha: float,
    beta: float,
    delta: float,
    gamma: float,
    eta: float,
    labour: float,
) -> tuple[Tensor, Tensor]:
    weight = _distaste(alpha, beta, delta, gamma, eta, labour)
    rate = (gamma * (a[:, 0].log() - a_next[:, 0].log())).exp()
    cost = weight * a[:, 1] ** eta * (gamma * a[:, 0].log()).exp()
    return (
        1 - beta * rate * _return(s_next, a_next, alpha, delta),
        _wage(s, a, alpha) / cost - 1,
    )


def _separable_steady_state(alpha: float, beta: float, delta: float, labour: float) -> Point:
    share = _labour_share(alpha, beta, delta)
    k = labour / share
    return (k, 0.0), ((share ** (1 - alpha) - delta) * k, labour)


def _separable_bounds(
    alpha: float, beta: float, delta: float, labour: float, rho: float, sigma: float
) -> Bounds:
    (k, _), _ = _separable_steady_state(alpha, beta, delta, labour)
    z = _half_width(rho, sigma, 2)
    return [(0.5 * k, 1.5 * k), (-z, z)]
