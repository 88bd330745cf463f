"""Prices of assets as functional equations, and the choice between assets."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from torch import Tensor

from ..model import DynamicModel, Solution
from ..quadrature import normal_rule
from ..shocks import LogNormal, Normal, Shocks
from ..transforms import Isoelastic
from .utility import discount, isoelastic

__all__ = ["make_burnside", "make_lucas_tree", "make_portfolio"]

#: Least discounted growth of a term that counts, and most terms of a series.
NEGLIGIBLE, MAX_TERMS = 1e-18, 100_000

#: Persistence beyond which bounds no longer widen.
PERSISTENT = 0.9

#: Nodes at which returns are integrated for the exact solution.
FINE = 64

Bounds = list[tuple[float, float]]
Point = tuple[tuple[float, ...], tuple[float, ...]]


def make_lucas_tree(
    *,
    beta: float = 0.95,
    gamma: float = 1.0,
    rho: float = 0.9,
    sigma: float = 0.05,
    width: float = 5.0,
) -> DynamicModel:
    r"""The price of a tree whose dividends are all there is to consume.

    With dividends :math:`\ln y' = \rho \ln y + \sigma\varepsilon` and relative risk aversion γ the
    price p satisfies :math:`p\,y^{-\gamma} = \beta E[y'^{-\gamma}(p' + y')]`. In terms of the
    price-dividend ratio :math:`v = p/y`, the unknown, that is a linear equation,

    .. math::
        v(y) = \beta E\Big[\Big(\frac{y'}{y}\Big)^{1-\gamma} (1 + v(y'))\Big],

    with the solution

    .. math::
        v(y) = \sum_{i=1}^\infty \beta^i \exp\Big[(1-\gamma)(\rho^i - 1)\ln y +
        \tfrac12 (1-\gamma)^2\sigma^2\,(1+\rho^2+\dots+\rho^{2(i-1)})\Big].

    It is the constant :math:`\beta/(1-\beta)` with log utility, whatever the dividends, and
    :math:`q/(1-q)`, :math:`q=\beta E(y'/y)^{1-\gamma}`, where they grow independently, ρ = 1.

    Parameters
    ----------
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    gamma : float, default=1.0
        Relative risk aversion γ, positive.
    rho : float, default=0.9
        Persistence ρ of log dividends, in (-1, 1].
    sigma : float, default=0.05
        Standard deviation σ of their innovations.
    width : float, default=5.0
        The bounds are those that log dividends do not leave while innovations stay within this
        many standard deviations of zero; for ρ above 0.9, as for 0.9.

    Returns
    -------
    DynamicModel
        State y; the "action" is the ratio v, which moves nothing. No reward.

    References
    ----------
    R. Lucas, *Asset Prices in an Exchange Economy*, sections 2-6.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_lucas_tree
    >>> model = make_lucas_tree(gamma=2.0)
    >>> ratio = model.exact("policy")(torch.tensor([[0.9], [1.0], [1.1]], dtype=torch.float64))
    >>> ratio.T
    tensor([[17.7716, 19.1033, 20.4093]], dtype=torch.float64)
    """
    return DynamicModel(
        transition=_next_dividend,
        euler=_tree_residual,
        shocks=Normal(),
        state_bounds=_dividend_bounds,
        state_names=("y",),
        action_names=("v",),
        state_transform="log",
        steady_state=_tree_steady_state,
        solution=Solution(policy=_tree_ratio),
        params={"beta": beta, "gamma": gamma, "rho": rho, "sigma": sigma, "width": width},
        name="Lucas tree",
    )


def _next_dividend(s: Tensor, a: Tensor, e: Tensor, rho: float, sigma: float) -> Tensor:
    return (rho * s.log() + sigma * e).exp()


def _tree_residual(
    s: Tensor, a: Tensor, s_next: Tensor, a_next: Tensor, beta: float, gamma: float
) -> Tensor:
    growth = 1.0 if gamma == 1 else (s_next / s) ** (1 - gamma)
    return a - beta * growth * (1 + a_next)


def _reach(rho: float, sigma: float, width: float) -> float:
    """Distance from its mean that a process does not exceed."""
    return width * sigma / (1 - min(abs(rho), PERSISTENT))


def _dividend_bounds(rho: float, sigma: float, width: float) -> Bounds:
    reach = _reach(rho, sigma, width)
    return [(math.exp(-reach), math.exp(reach))]


def _tree_steady_state(beta: float) -> Point:
    return (1.0,), (beta / (1 - beta),)


def _terms(rate: float, remedy: str) -> Tensor:
    """The numbers 1, 2, ... of a series whose terms shrink at a rate in the long run."""
    if not 0 < rate < 1:
        raise ValueError(
            f"the sum of discounted dividends has no limit, as its terms grow by {rate:.6g}: "
            f"{remedy}"
        )
    count = min(math.ceil(math.log(NEGLIGIBLE * (1 - rate)) / math.log(rate)) + 1, MAX_TERMS)
    return torch.arange(1, count + 1, dtype=torch.float64)


def _tree_ratio(s: Tensor, beta: float, gamma: float, rho: float, sigma: float) -> Tensor:
    curvature = (1 - gamma) * sigma
    growth = math.exp(curvature**2 / 2) if abs(rho) == 1 else 1.0
    i = _terms(beta * growth, "lower beta or sigma, or bring gamma closer to 1").to(s)
    variance = i if abs(rho) == 1 else (1 - rho ** (2 * i)) / (1 - rho**2)
    signed = torch.where(i % 2 == 0, 1.0, math.copysign(1.0, rho)) * abs(rho) ** i
    exponents = (1 - gamma) * (signed - 1) * s.log() + curvature**2 / 2 * variance
    return (i * math.log(beta) + exponents).exp().sum(1, keepdim=True)


def make_burnside(
    *,
    beta: float = 0.95,
    theta: float = -1.5,
    rho: float = -0.139,
    mean: float = 0.0179,
    sigma: float = 0.0348,
    width: float = 5.0,
) -> DynamicModel:
    r"""The price of a tree whose dividends grow at a persistent rate.

    Growth of dividends follows :math:`x' = (1-\rho)\bar x + \rho x + \sigma\varepsilon`, and the
    price-dividend ratio v solves the linear equation

    .. math::
        v(x) = E\left[\beta e^{\theta x'} (1 + v(x'))\right].

    Its solution is :math:`v = \sum_{i\ge 1} \beta^i \exp(a_i + b_i (x - \bar x))`,

    .. math::
        a_i = \theta\bar x i + \frac{\theta^2\sigma^2}{2(1-\rho)^2}\Big[i -
        \frac{2\rho(1-\rho^i)}{1-\rho} + \frac{\rho^2(1-\rho^{2i})}{1-\rho^2}\Big], \qquad
        b_i = \frac{\theta\rho(1-\rho^i)}{1-\rho}.

    Parameters
    ----------
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    theta : float, default=-1.5
        One less the relative risk aversion, θ = 1 - γ.
    rho : float, default=-0.139
        Persistence ρ of growth, in (-1, 1).
    mean : float, default=0.0179
        Mean :math:`\bar x` of growth.
    sigma : float, default=0.0348
        Standard deviation σ of its innovations.
    width : float, default=5.0
        The bounds are those that growth does not leave while innovations stay within this many
        standard deviations of zero; for |ρ| above 0.9, as for 0.9.

    Returns
    -------
    DynamicModel
        State x; the "action" is the ratio v, which moves nothing. No reward.

    References
    ----------
    C. Burnside, *Solving Asset Pricing Models with Gaussian Shocks*, section 2.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_burnside
    >>> model = make_burnside()
    >>> model.exact("policy")(torch.tensor([[0.0179]], dtype=torch.float64))
    tensor([[12.4812]], dtype=torch.float64)
    """
    return DynamicModel(
        transition=_next_growth,
        euler=_burnside_residual,
        shocks=Normal(),
        state_bounds=_growth_bounds,
        state_names=("x",),
        action_names=("v",),
        steady_state=_burnside_steady_state,
        solution=Solution(policy=_burnside_ratio),
        params={
            "beta": beta,
            "theta": theta,
            "rho": rho,
            "mean": mean,
            "sigma": sigma,
            "width": width,
        },
        name="Burnside asset pricing",
    )


def _next_growth(s: Tensor, a: Tensor, e: Tensor, rho: float, mean: float, sigma: float) -> Tensor:
    return (1 - rho) * mean + rho * s + sigma * e


def _burnside_residual(
    s: Tensor, a: Tensor, s_next: Tensor, a_next: Tensor, beta: float, theta: float
) -> Tensor:
    return a - beta * (theta * s_next).exp() * (1 + a_next)


def _growth_bounds(rho: float, mean: float, sigma: float, width: float) -> Bounds:
    reach = _reach(rho, sigma, width)
    return [(mean - reach, mean + reach)]


def _burnside_steady_state(beta: float, theta: float, mean: float) -> Point:
    growth = beta * math.exp(theta * mean)
    return (mean,), (growth / (1 - growth),)


def _burnside_ratio(
    s: Tensor, beta: float, theta: float, rho: float, mean: float, sigma: float
) -> Tensor:
    spread = (theta * sigma / (1 - rho)) ** 2 / 2
    rate = beta * math.exp(theta * mean + spread)
    i = _terms(rate, "lower beta or sigma, or bring theta closer to 0").to(s)
    powers = torch.where(i % 2 == 0, 1.0, math.copysign(1.0, rho)) * abs(rho) ** i
    settled = 2 * rho * (1 - powers) / (1 - rho)
    squares = rho**2 * (1 - powers**2) / (1 - rho**2)
    level = theta * mean * i + spread * (i - settled + squares)
    slope = theta * rho * (1 - powers) / (1 - rho)
    return (i * math.log(beta) + level + slope * (s - mean)).exp().sum(1, keepdim=True)


def make_portfolio(
    *,
    beta: float = 0.95,
    gamma: float = 4.0,
    riskfree: float = 1.02,
    mean: float = 0.06 - 0.18**2 / 2,
    sigma: float = 0.18,
    state_bounds: ArrayLike = ((0.1, 10.0),),
) -> DynamicModel:
    r"""Consumption and the share of a risky asset, without other income.

    Of wealth W the fraction c is consumed, and the share ω of the rest earns the risky return R:

    .. math::
        V(W) = \max_{c,\,\omega}\; \frac{(cW)^{1-\gamma}}{1-\gamma} + \beta E V((1-c) W R_p),
        \quad R_p = R_f + \omega(R - R_f), \quad \ln R \sim N(\mu, \sigma^2).

    Both shares are constant. The portfolio maximises :math:`E[R_p^{1-\gamma}]/(1-\gamma)`, and

    .. math::
        c = 1 - \left(\beta E R_p^{1-\gamma}\right)^{1/\gamma}, \qquad
        V = c^{-\gamma} \frac{W^{1-\gamma}}{1-\gamma}.

    Parameters
    ----------
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    gamma : float, default=4.0
        Relative risk aversion γ, positive; 1 is log utility.
    riskfree : float, default=1.02
        Gross return :math:`R_f`, positive.
    mean : float, default=0.0438
        Mean μ of the log risky return.
    sigma : float, default=0.18
        Its standard deviation σ.
    state_bounds : array-like of shape (1, 2), default=((0.1, 10.0),)
        Ends of W; the solution has one form for all wealth.

    Returns
    -------
    DynamicModel
        State W; actions "consumed" and "risky", both between 0 and 1, in logits.

    Raises
    ------
    ValueError
        From the exact solution, if the best portfolio is a corner, or utility has no bound.

    References
    ----------
    P. Samuelson, *Lifetime Portfolio Selection by Dynamic Stochastic Programming*. R. Merton,
    *Lifetime Portfolio Selection under Uncertainty: The Continuous-Time Case*.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_portfolio
    >>> make_portfolio().exact("policy")(torch.tensor([[1.0]], dtype=torch.float64))
    tensor([[0.0318, 0.3089]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_consumed_utility,
        transition=_next_wealth,
        discount=discount,
        shocks=_risky_return,
        euler=_portfolio_euler,
        state_bounds=state_bounds,
        action_bounds=[(0.0, 1.0), (0.0, 1.0)],
        state_names=("W",),
        action_names=("consumed", "risky"),
        state_transform="log",
        action_transform="logit",
        value_transform=Isoelastic(gamma),
        solution=Solution(_portfolio_policy, _portfolio_value),
        params={
            "beta": beta,
            "gamma": gamma,
            "riskfree": riskfree,
            "mean": mean,
            "sigma": sigma,
        },
        name="portfolio choice",
    )


def _risky_return(mean: float, sigma: float) -> Shocks:
    return LogNormal(mean, scale=sigma)


def _consumed_utility(s: Tensor, a: Tensor, gamma: float) -> Tensor:
    return isoelastic(a[:, 0] * s[:, 0], gamma)


def _portfolio_return(a: Tensor, e: Tensor, riskfree: float) -> Tensor:
    return riskfree + a[:, 1] * (e[:, 0] - riskfree)


def _next_wealth(s: Tensor, a: Tensor, e: Tensor, riskfree: float) -> Tensor:
    return ((1 - a[:, 0]) * s[:, 0] * _portfolio_return(a, e, riskfree))[:, None]


def _portfolio_euler(
    s: Tensor,
    a: Tensor,
    s_next: Tensor,
    a_next: Tensor,
    e: Tensor,
    beta: float,
    gamma: float,
    riskfree: float,
) -> tuple[Tensor, Tensor]:
    growth = a_next[:, 0] * s_next[:, 0] / (a[:, 0] * s[:, 0])
    price = beta * growth ** (-gamma)
    return 1 - price * _portfolio_return(a, e, riskfree), price * (e[:, 0] - riskfree)


def _best_portfolio(
    beta: float, gamma: float, riskfree: float, mean: float, sigma: float
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Shares consumed and risky, and the returns of the portfolio with their probabilities."""
    nodes, weights = normal_rule("gauss_hermite", 1, FINE)
    excess = np.exp(mean + sigma * nodes[:, 0].numpy()) - riskfree
    chances = weights.numpy()

    def gain(risky: float) -> float:
        return float(chances @ ((riskfree + risky * excess) ** (-gamma) * excess))

    if gain(0.0) <= 0 or gain(1.0) >= 0:
        corner = 0 if gain(0.0) <= 0 else 1
        raise ValueError(
            f"riskfree={riskfree} with mean={mean} makes the risky share {corner} the best of "
            "those from 0 to 1, a corner without an exact solution here: change the mean"
        )
    risky = float(brentq(gain, 0.0, 1.0, xtol=1e-15, rtol=1e-15))
    returns = riskfree + risky * excess
    saved = float(beta * chances @ returns ** (1 - gamma)) ** (1 / gamma)
    if saved >= 1:
        raise ValueError(
            f"beta={beta} with these returns lets nothing be consumed, as the sum of utilities "
            "has no limit: lower beta"
        )
    return 1 - saved, risky, returns, chances


def _portfolio_policy(
    s: Tensor, beta: float, gamma: float, riskfree: float, mean: float, sigma: float
) -> Tensor:
    consumed, risky, _, _ = _best_portfolio(beta, gamma, riskfree, mean, sigma)
    return s.new_tensor([consumed, risky]).expand(len(s), 2)


def _portfolio_value(
    s: Tensor, beta: float, gamma: float, riskfree: float, mean: float, sigma: float
) -> Tensor:
    consumed, _, returns, chances = _best_portfolio(beta, gamma, riskfree, mean, sigma)
    if gamma != 1:
        return consumed ** (-gamma) * isoelastic(s[:, 0], gamma)
    growth = math.log(1 - consumed) + float(chances @ np.log(returns))
    return (s[:, 0].log() + math.log(consumed) + beta / (1 - beta) * growth) / (1 - beta)
