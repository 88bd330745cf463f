"""Options that may be exercised early."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..model import DynamicModel, Solution
from ..shocks import Empirical, Normal, Shocks

__all__ = ["make_american_put", "make_bermudan_max_call", "perpetual_put", "put_threshold"]


def make_american_put(
    *,
    strike: float = 40.0,
    rate: float = 0.06,
    volatility: float = 0.2,
    periods_per_year: float = 50.0,
    maturity: float | None = None,
) -> DynamicModel:
    r"""An American put on a binomial tree, perpetual or with a maturity.

    Each period of length h the price S of a share is multiplied by :math:`u = e^{\sigma\sqrt h}`
    with the risk-neutral probability :math:`q = (e^{rh} - 1/u)/(u - 1/u)` or else divided by it:

    .. math::
        V(S) = \max\left\{(K-S)^+,\; e^{-rh} E V(S')\right\}.

    Without a maturity, waiting for j net falls multiplies what is then paid by :math:`D^j`,
    :math:`D = (1-q)/(qu)`, so that

    .. math::
        V(S) = \max_{j\ge 0}\, (K - S u^{-j}) D^j,

    which is linear between the kinks :math:`S^* u^j`, and it is best to exercise up to

    .. math::
        S^* = K\,\frac{1-D}{1-D/u}.

    As periods get shorter both tend to the closed form of `perpetual_put`.

    Parameters
    ----------
    strike : float, default=40.0
        Strike K, positive.
    rate : float, default=0.06
        Interest r a year, positive.
    volatility : float, default=0.2
        Volatility σ a year, positive.
    periods_per_year : float, default=50.0
        Number 1/h of periods, and of chances to exercise, in a year.
    maturity : float, default=None
        Years until the option ends; None: never.

    Returns
    -------
    DynamicModel
        State S, between a quarter of the strike and ten times the strike; discrete action
        "exercise", 0 or 1. Who exercises is paid the interest on :math:`(K-S)^+` while the price
        rests, which is worth the same as being paid at once. With a maturity, the exact solution is
        that of the first period, from the tree.

    Raises
    ------
    ValueError
        If the periods are so long that interest exceeds the rise of the price.

    References
    ----------
    J. Cox, S. Ross and M. Rubinstein, *Option Pricing: A Simplified Approach*. R. Merton, *Theory
    of Rational Option Pricing*, section on the perpetual American put.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_american_put
    >>> price = torch.tensor([[36.0]], dtype=torch.float64)
    >>> make_american_put(maturity=1.0).exact("value")(price)
    tensor([4.4845], dtype=torch.float64)
    """
    horizon = None if maturity is None else round(maturity * periods_per_year)
    if horizon is not None and horizon < 1:
        raise ValueError(f"maturity={maturity} must last a period of 1/{periods_per_year} at least")
    if horizon is None:
        solution = Solution(_perpetual_policy, _perpetual_value)
    else:
        solution = Solution(partial(_tree_policy, horizon), partial(_tree_value, horizon))
    return DynamicModel(
        reward=_put_interest,
        transition=_next_price,
        discount=_discount,
        shocks=_up_or_down,
        state_bounds=_price_bounds,
        discrete_actions=[0.0, 1.0],
        horizon=horizon,
        terminal=None if horizon is None else _put_payoff,
        state_names=("S",),
        action_names=("exercise",),
        solution=solution,
        params={
            "strike": strike,
            "rate": rate,
            "volatility": volatility,
            "periods_per_year": periods_per_year,
        },
        name="American put" if horizon else "perpetual American put",
    )


def perpetual_put(
    price: Tensor, *, strike: float = 40.0, rate: float = 0.06, volatility: float = 0.2
) -> Tensor:
    r"""Value of a perpetual American put that may be exercised at any moment.

    .. math::
        V(S) = (K - S^*)\left(\frac{S}{S^*}\right)^{-2r/\sigma^2}, \qquad
        S^* = \frac{2rK}{2r + \sigma^2},

    for prices from S* on, and K - S below.

    Parameters
    ----------
    price : Tensor
        Prices S of the share.
    strike, rate, volatility : float
        As in `make_american_put`.

    Returns
    -------
    Tensor
        Values, of the shape of ``price``.

    References
    ----------
    R. Merton, *Theory of Rational Option Pricing*.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import perpetual_put
    >>> perpetual_put(torch.tensor([20.0, 40.0], dtype=torch.float64))
    tensor([20.0000,  4.2188], dtype=torch.float64)
    """
    power = 2 * rate / volatility**2
    threshold = strike * power / (1 + power)
    waiting = (strike - threshold) * (price / threshold) ** (-power)
    return torch.where(price < threshold, strike - price, waiting)


def put_threshold(
    *,
    strike: float = 40.0,
    rate: float = 0.06,
    volatility: float = 0.2,
    periods_per_year: float = 50.0,
) -> float:
    """The price up to which the perpetual put of `make_american_put` is exercised.

    Parameters
    ----------
    strike, rate, volatility, periods_per_year : float
        As in `make_american_put`.

    Returns
    -------
    float
        The threshold S*; the value has kinks there and at its multiples by powers of u.

    Examples
    --------
    >>> from thetalearn.dynamics.models import put_threshold
    >>> round(put_threshold(periods_per_year=1e6), 2)
    30.0
    """
    rise, _, fall = _tree(rate, volatility, periods_per_year)
    return strike * (1 - fall) / (1 - fall / rise)


def _tree(rate: float, volatility: float, periods_per_year: float) -> tuple[float, float, float]:
    """Factor u, its probability q, and the factor D by which each net fall to wait for counts."""
    rise = math.exp(volatility / math.sqrt(periods_per_year))
    interest = math.exp(rate / periods_per_year)
    if not 1 < interest < rise:
        raise ValueError(
            f"periods_per_year={periods_per_year} lets interest grow by {interest:.6g} and the "
            f"price by {rise:.6g} at most in a period: choose a positive rate and more periods"
        )
    chance = (interest - 1 / rise) / (rise - 1 / rise)
    return rise, chance, (1 - chance) / (chance * rise)


def _discount(rate: float, periods_per_year: float) -> float:
    return math.exp(-rate / periods_per_year)


def _up_or_down(rate: float, volatility: float, periods_per_year: float) -> Shocks:
    rise, chance, _ = _tree(rate, volatility, periods_per_year)
    return Empirical([math.log(rise), -math.log(rise)], [chance, 1 - chance])


def _price_bounds(strike: float) -> list[tuple[float, float]]:
    return [(strike / 4, strike * 10)]


def _put_payoff(s: Tensor, strike: float) -> Tensor:
    return (strike - s[:, 0]).clamp(min=0)


def _put_interest(
    s: Tensor, a: Tensor, strike: float, rate: float, periods_per_year: float
) -> Tensor:
    interest = -math.expm1(-rate / periods_per_year)
    return torch.where(a[:, 0] > 0, interest * _put_payoff(s, strike), 0.0)


def _next_price(s: Tensor, a: Tensor, e: Tensor) -> Tensor:
    return torch.where(a > 0, s, s * e.exp())


def _net_falls(
    s: Tensor, strike: float, rate: float, volatility: float, periods_per_year: float
) -> Tensor:
    """Best number of net falls to wait for, (n, 1)."""
    rise, _, _ = _tree(rate, volatility, periods_per_year)
    threshold = put_threshold(
        strike=strike, rate=rate, volatility=volatility, periods_per_year=periods_per_year
    )
    return ((s / threshold).log() / math.log(rise)).ceil().clamp(min=0)


def _perpetual_policy(
    s: Tensor, strike: float, rate: float, volatility: float, periods_per_year: float
) -> Tensor:
    return (_net_falls(s, strike, rate, volatility, periods_per_year) == 0).to(s)


def _perpetual_value(
    s: Tensor, strike: float, rate: float, volatility: float, periods_per_year: float
) -> Tensor:
    rise, _, fall = _tree(rate, volatility, periods_per_year)
    count = _net_falls(s, strike, rate, volatility, periods_per_year)
    return ((strike - s * rise**-count) * fall**count)[:, 0]


def _tree_values(
    horizon: int,
    s: Tensor,
    strike: float,
    rate: float,
    volatility: float,
    periods_per_year: float,
) -> tuple[Tensor, Tensor]:
    """What exercising and waiting are worth in the first period, each (n,)."""
    rise, chance, _ = _tree(rate, volatility, periods_per_year)
    discount = _discount(rate, periods_per_year)
    steps = torch.arange(-horizon, horizon + 1, 2).to(s)
    worth = (strike - s * rise**steps).clamp(min=0)
    waiting = worth[:, 0]
    for period in range(horizon - 1, -1, -1):
        worth = discount * (chance * worth[:, 1:] + (1 - chance) * worth[:, :-1])
        waiting = worth[:, 0]
        steps = torch.arange(-period, period + 1, 2).to(s)
        worth = torch.maximum(worth, (strike - s * rise**steps).clamp(min=0))
    return _put_payoff(s, strike), waiting


def _tree_value(
    horizon: int,
    s: Tensor,
    strike: float,
    rate: float,
    volatility: float,
    periods_per_year: float,
) -> Tensor:
    given = strike, rate, volatility, periods_per_year
    return torch.maximum(*_tree_values(horizon, s, *given))


def _tree_policy(
    horizon: int,
    s: Tensor,
    strike: float,
    rate: float,
    volatility: float,
    periods_per_year: float,
) -> Tensor:
    now, waiting = _tree_values(horizon, s, strike, rate, volatility, periods_per_year)
    # Where neither pays, it is better to keep a right than to give it up.
    return ((now >= waiting) & (now > 0)).to(s)[:, None]


def make_bermudan_max_call(
    *,
    n_assets: int = 5,
    strike: float = 100.0,
    rate: float = 0.05,
    dividend: float = 0.1,
    volatility: float = 0.2,
    maturity: float = 3.0,
    n_dates: int = 9,
) -> DynamicModel:
    r"""A Bermudan call on the dearest of several shares.

    Shares move independently between dates,

    .. math::
        S_i' = S_i \exp\big[(r - \delta - \sigma^2/2) h + \sigma\sqrt h\,\varepsilon_i\big],

    and at each date from the first, now, to the last, at maturity, the option may be exercised for
    :math:`(\max_i S_i - K)^+`. No closed form is known. Published values at equal prices of 90, 100
    and 110 are 16.64, 26.15 and 36.78 for five shares, and 26.28, 38.37 and 50.90 for ten.

    Parameters
    ----------
    n_assets : int, default=5
        Number of shares.
    strike : float, default=100.0
        Strike K, positive.
    rate, dividend, volatility : float, default=0.05, 0.1, 0.2
        Interest r, dividend yield δ and volatility σ, a year.
    maturity : float, default=3.0
        Years until the last date.
    n_dates : int, default=9
        Number of periods, each ended by a date.

    Returns
    -------
    DynamicModel
        States S0, ..., each between a fifth and four times the strike; discrete action "exercise",
        0 or 1. Who exercises is paid as in `make_american_put`.

    References
    ----------
    L. Andersen and M. Broadie, *Primal-Dual Simulation Algorithm for Pricing Multidimensional
    American Options*. S. Becker, P. Cheridito and A. Jentzen, *Deep Optimal Stopping*, section 4.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_bermudan_max_call
    >>> model = make_bermudan_max_call(n_assets=2)
    >>> model.state_labels, model.horizon
    (['S0', 'S1'], 9)
    """
    for name, count in (("n_assets", n_assets), ("n_dates", n_dates)):
        if count != int(count) or count < 1:
            raise ValueError(f"{name}={count!r} must be a whole number of at least 1")
    return DynamicModel(
        reward=_call_interest,
        transition=_next_prices,
        discount=_discount,
        shocks=Normal(np.zeros(n_assets)),
        state_bounds=partial(_prices_bounds, n_assets),
        discrete_actions=[0.0, 1.0],
        horizon=n_dates,
        terminal=_call_payoff,
        state_names=[f"S{i}" for i in range(n_assets)],
        action_names=("exercise",),
        state_transform="log",
        params={
            "strike": strike,
            "rate": rate,
            "dividend": dividend,
            "volatility": volatility,
            "periods_per_year": n_dates / maturity,
        },
        name="Bermudan max-call",
    )


def _prices_bounds(n_assets: int, strike: float) -> list[tuple[float, float]]:
    return [(strike / 5, strike * 4)] * n_assets


def _call_payoff(s: Tensor, strike: float) -> Tensor:
    return (s.amax(1) - strike).clamp(min=0)


def _call_interest(
    s: Tensor, a: Tensor, strike: float, rate: float, periods_per_year: float
) -> Tensor:
    interest = -math.expm1(-rate / periods_per_year)
    return torch.where(a[:, 0] > 0, interest * _call_payoff(s, strike), 0.0)


def _next_prices(
    s: Tensor,
    a: Tensor,
    e: Tensor,
    rate: float,
    dividend: float,
    volatility: float,
    periods_per_year: float,
) -> Tensor:
    drift = (rate - dividend - volatility**2 / 2) / periods_per_year
    moved = s * (drift + volatility / math.sqrt(periods_per_year) * e).exp()
    return torch.where(a > 0, s, moved)
