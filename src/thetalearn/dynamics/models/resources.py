"""Harvest of a renewable resource."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..model import DynamicModel, Solution
from ..shocks import Empirical, Shocks
from .utility import discount

__all__ = ["make_escapement"]

#: Discount beyond which nothing counts.
NEGLIGIBLE = 1e-18


def make_escapement(
    *,
    beta: float = 0.8,
    growth: float = 1.2,
    price: float = 1.0,
    cost: float = 0.2,
    spread: float = 0.1,
    width: float = 2.0,
) -> DynamicModel:
    r"""Harvest of a stock whose cost rises as the stock falls: constant escapement.

    Of the stock x the part S is left to grow:

    .. math::
        V(x) = \max_{0 \le S \le x}\; p(x-S) - c_0 \ln\frac{x}{S} + \beta E V(r S \varepsilon),
        \qquad E\varepsilon = 1.

    If the stock that grows from S* is never below S*, :math:`r\varepsilon \ge 1`, it is optimal to
    harvest down to

    .. math::
        S^* = \frac{c_0(1-\beta)}{p(1-\beta r)}

    and not at all below. There :math:`V(x) = p x - c_0\ln x + \text{const}` for
    :math:`x \ge S^*`, and :math:`V(x) = \beta E V(r x\varepsilon)` below.

    Parameters
    ----------
    beta : float, default=0.8
        Discount factor β, in (0, 1).
    growth : float, default=1.2
        Mean growth factor r, above 1 and below 1/β.
    price : float, default=1.0
        Price p.
    cost : float, default=0.2
        Cost :math:`c_0`: a unit costs :math:`c_0/x` to harvest from a stock x. With the defaults
        S* is 1.
    spread : float, default=0.1
        The shock ε is one less or one plus this, equally likely; in [0, 1).
    width : float, default=2.0
        The stock is bounded by this factor above and below S*.

    Returns
    -------
    DynamicModel
        State x, action S. The policy min(x, S*) has a kink; the value has a continuous slope.

    Raises
    ------
    ValueError
        If βr is not below 1, or rε may be.

    References
    ----------
    W. Reed, *Optimal Escapement Levels in Stochastic and Deterministic Harvesting Models*, sections
    2 and 3.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_escapement
    >>> stocks = torch.tensor([[0.7], [1.6]], dtype=torch.float64)
    >>> make_escapement().exact("policy")(stocks).T
    tensor([[0.7000, 1.0000]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_profit,
        transition=_next_stock,
        discount=discount,
        shocks=_growth_shocks,
        state_bounds=_stock_bounds,
        action_bounds=_up_to_stock,
        state_names=("x",),
        action_names=("S",),
        state_transform="log",
        solution=Solution(_escapement, _worth),
        params={
            "beta": beta,
            "growth": growth,
            "price": price,
            "cost": cost,
            "spread": spread,
            "width": width,
        },
        name="optimal escapement",
    )


def _growth_shocks(spread: float) -> Shocks:
    return Empirical([1 - spread, 1 + spread])


def _target(beta: float, growth: float, price: float, cost: float, spread: float) -> float:
    """The stock S* to leave."""
    if not beta * growth < 1:
        raise ValueError(
            f"growth={growth} must be below 1/beta={1 / beta:.6g}, or it pays to wait for ever"
        )
    if not 0 <= spread < 1 or growth * (1 - spread) < 1:
        raise ValueError(
            f"spread={spread} lets a stock grow by {growth * (1 - spread):.6g}, but at least 1 is "
            "needed for a closed form: lower it, or raise growth"
        )
    return cost * (1 - beta) / (price * (1 - beta * growth))


def _stock_bounds(
    beta: float,
    growth: float,
    price: float,
    cost: float,
    spread: float,
    width: float,
) -> list[tuple[float, float]]:
    target = _target(beta, growth, price, cost, spread)
    return [(target / width, target * width)]


def _up_to_stock(s: Tensor) -> tuple[float, Tensor]:
    return 0.0, s


def _profit(s: Tensor, a: Tensor, price: float, cost: float) -> Tensor:
    return price * (s - a)[:, 0] - cost * (s / a)[:, 0].log()


def _next_stock(s: Tensor, a: Tensor, e: Tensor, growth: float) -> Tensor:
    return growth * a * e


def _escapement(
    s: Tensor, beta: float, growth: float, price: float, cost: float, spread: float
) -> Tensor:
    return s.clamp(max=_target(beta, growth, price, cost, spread))


def _worth(
    s: Tensor, beta: float, growth: float, price: float, cost: float, spread: float
) -> Tensor:
    target = _target(beta, growth, price, cost, spread)
    harvest = _harvest_constant(target, beta, growth, price, cost, spread)
    value = price * s[:, 0] - cost * s[:, 0].log() + harvest
    low = s[:, 0] < target
    if not low.any():
        return value
    # A tree of the stocks that follow until the slowest has grown to the target.
    stock = s[low]
    periods = _periods(float(stock.min()), target, growth * (1 - spread), beta)
    worth = s.new_zeros(len(stock), periods + 2)
    for period in range(periods, -1, -1):
        rises = torch.arange(period + 1).to(s)
        x = stock * growth**period * (1 + spread) ** rises * (1 - spread) ** (period - rises)
        waiting = beta * (worth[:, 1:] + worth[:, :-1]) / 2
        worth = torch.where(x < target, waiting, price * x - cost * x.log() + harvest)
    return value.masked_scatter(low, worth[:, 0])


def _harvest_constant(
    target: float, beta: float, growth: float, price: float, cost: float, spread: float
) -> float:
    """What the value adds to p x - c ln x where there is a harvest."""
    left = price * target - cost * math.log(target)
    mean_log = (math.log1p(spread) + math.log1p(-spread)) / 2
    grown = price * growth * target - cost * (math.log(growth * target) + mean_log)
    return (beta * grown - left) / (1 - beta)


def _periods(lowest: float, target: float, slowest: float, beta: float) -> int:
    """Periods after which the lowest stock has grown to the target, or no longer counts."""
    limit = math.ceil(math.log(NEGLIGIBLE) / math.log(beta))
    if slowest <= 1 or lowest <= 0:
        return limit
    # One more, lest rounding leaves a stock just below the target.
    return min(math.ceil(math.log(target / lowest) / math.log(slowest)) + 1, limit)
