"""Growth of many countries that share risk: the comparison models of the literature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..model import DynamicModel
from ..shocks import Normal, Shocks

__all__ = ["make_multicountry", "multicountry_consumption"]

#: Intertemporal elasticities of the comparison's models: one for all, or evenly spread.
ELASTICITIES: dict[int, tuple[float, float]] = {1: (1.0, 1.0), 5: (0.25, 1.0)}

#: Standard deviations of log productivity that its bounds lie from zero.
REACH = 4.0

#: Share of steady consumption below which something finite continues its logarithm.
SCARCE = 0.05

#: Newton steps for the price of consumption: enough for rounding where γ differs by a factor of 20.
STEPS = 5

Bounds = list[tuple[float, float]]


def make_multicountry(
    *,
    n_countries: int = 2,
    variant: int = 5,
    gamma: float | Sequence[float] | None = None,
    alpha: float = 0.36,
    beta: float = 0.99,
    phi: float = 0.5,
    delta: float = 0.0,
    rho: float = 0.95,
    sigma: float = 0.01,
    capital_bounds: ArrayLike = (0.8, 1.25),
) -> DynamicModel:
    r"""Growth of N countries with complete markets and costs of adjustment.

    A planner maximises the sum of :math:`\tau_j u_j(c_j)` subject to the resource constraint

    .. math::
        \sum_j c_j = \sum_j \Big[A e^{z_j} k_j^\alpha + (1-\delta)k_j - k_j' -
        \frac{\phi}{2} k_j \Big(\frac{k_j'}{k_j} - 1\Big)^2\Big], \qquad
        z_j' = \rho z_j + \varepsilon_j, \quad \varepsilon \sim N(0, \sigma^2 (I + 11')).

    Risk sharing makes the price of consumption
    :math:`\lambda = \tau_j c_j^{-1/\gamma_j}` the same everywhere, and N Euler equations hold,

    .. math::
        1 = \beta E\,\frac{\lambda'\big[1 - \delta + \alpha A e^{z_j'} k_j'^{\alpha-1} +
        \frac{\phi}{2}(g_j' - 1)(g_j' + 1)\big]}{\lambda\,[1 + \phi(g_j - 1)]},
        \qquad g_j = k_j'/k_j.

    With :math:`A = (1/\beta - 1 + \delta)/\alpha` and
    :math:`\tau_j = (A-\delta)^{1/\gamma_j}`, the steady state has :math:`k_j = \lambda = 1`.

    Parameters
    ----------
    n_countries : int, default=2
        Number N of countries.
    variant : {1, 5}, default=5
        Model of the comparison: 1 has γ = 1 everywhere, 5 spreads γ evenly over [0.25, 1].
    gamma : float or sequence of N float, default=None
        Elasticities γ of intertemporal substitution, in place of those of the variant.
    alpha : float, default=0.36
        Share α of capital, in (0, 1).
    beta : float, default=0.99
        Discount factor β, in (0, 1).
    phi : float, default=0.5
        Cost φ of adjustment.
    delta : float, default=0.0
        Depreciation δ, in [0, 1).
    rho : float, default=0.95
        Persistence ρ of log productivity, in (-1, 1).
    sigma : float, default=0.01
        Standard deviation σ of the common and of each country's own innovation.
    capital_bounds : array-like of shape (2,), default=(0.8, 1.25)
        Ends of capital in every country, around its steady state of one.

    Returns
    -------
    DynamicModel
        States k0, ..., z0, ... (2N); actions g0, ... (N), the growth factors of capital, so that
        the constant guess of one is feasible in every state; no reward. Log productivity is bounded
        by four standard deviations. Consumption follows from states and actions by the resource
        constraint, which therefore holds exactly; see `multicountry_consumption`.

    Raises
    ------
    ValueError
        If the variant is unknown, or elasticities are not positive, or not one for each country.

    Notes
    -----
    The price solves :math:`\frac1N\sum_j\lambda^{-\gamma_j} = \bar c`, where
    :math:`\bar c` is aggregate consumption relative to its steady state, by Newton's method in
    logarithms. One more step at the solution is differentiable, which makes derivatives exact.
    Below :math:`\bar c = 0.05`, which solutions do not reach, :math:`\ln 0.05 - \ln(2-20\bar c)`
    takes the place of :math:`\ln\bar c`, so that infeasible actions on a solver's way have a high
    price instead of none.

    References
    ----------
    W. Den Haan, K. Judd and M. Juillard, *Computational Suite of Models with Heterogeneous Agents
    II: Multi-Country Real Business Cycle Models*. R. Kollmann, S. Maliar, B. Malin and P. Pichler,
    *Comparison of Solutions to the Multi-Country Real Business Cycle Model*, section 2.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_multicountry
    >>> model = make_multicountry(n_countries=3)
    >>> model.state_labels, model.action_labels
    (['k0', 'k1', 'k2', 'z0', 'z1', 'z2'], ['g0', 'g1', 'g2'])
    >>> model.params["gamma"]
    (0.25, 0.625, 1.0)
    """
    if n_countries != int(n_countries) or n_countries < 1:
        raise ValueError(f"n_countries={n_countries!r} must be a whole number of at least 1")
    capital = tuple(float(end) for end in np.asarray(capital_bounds, dtype=np.float64).reshape(-1))
    if len(capital) != 2 or not 0 < capital[0] < capital[1]:
        raise ValueError(
            f"capital_bounds={capital_bounds!r} must hold a positive lower and a larger upper end"
        )
    return DynamicModel(
        transition=_next_capital,
        euler=_euler,
        shocks=partial(_innovations, n_countries),
        state_bounds=partial(_bounds, n_countries, capital),
        state_names=[
            *(f"k{j}" for j in range(n_countries)),
            *(f"z{j}" for j in range(n_countries)),
        ],
        action_names=[f"g{j}" for j in range(n_countries)],
        state_transform=["log"] * n_countries + ["identity"] * n_countries,
        action_transform="log",
        steady_state=partial(_steady_state, n_countries),
        params={
            "gamma": _elasticities(n_countries, variant, gamma),
            "alpha": alpha,
            "beta": beta,
            "phi": phi,
            "delta": delta,
            "rho": rho,
            "sigma": sigma,
        },
        name=f"multi-country growth, model {variant}" if gamma is None else "multi-country growth",
    )


def _elasticities(
    n_countries: int, variant: int, gamma: float | Sequence[float] | None
) -> tuple[float, ...]:
    if gamma is None:
        if variant not in ELASTICITIES:
            raise ValueError(f"variant={variant!r} must be one of {sorted(ELASTICITIES)}")
        given = np.linspace(*ELASTICITIES[variant], n_countries)
    else:
        given = np.asarray(gamma, dtype=np.float64)
        given = np.full(n_countries, float(given)) if given.ndim == 0 else given
    if given.shape != (n_countries,) or not (given > 0).all():
        raise ValueError(
            f"gamma={gamma!r} must be a positive number, or one for each of {n_countries} countries"
        )
    return tuple(given.tolist())


def _innovations(n_countries: int, sigma: float) -> Shocks:
    return Normal(cov=sigma**2 * (np.eye(n_countries) + 1.0))


def _bounds(n_countries: int, capital: tuple[float, float], rho: float, sigma: float) -> Bounds:
    reach = REACH * sigma * math.sqrt(2 / (1 - rho**2))
    return [capital] * n_countries + [(-reach, reach)] * n_countries


def _steady_state(n_countries: int) -> tuple[list[float], list[float]]:
    return [1.0] * n_countries + [0.0] * n_countries, [1.0] * n_countries


def _next_capital(s: Tensor, a: Tensor, e: Tensor, rho: float) -> Tensor:
    n = a.shape[1]
    return torch.cat([s[:, :n] * a, rho * s[:, n:] + e], 1)


def _productivity(alpha: float, beta: float, delta: float) -> float:
    """The level of technology at which steady capital is one."""
    return (1 / beta - 1 + delta) / alpha


def _relative_consumption(
    s: Tensor, a: Tensor, alpha: float, beta: float, phi: float, delta: float
) -> Tensor:
    """Aggregate consumption relative to its steady state (n,)."""
    n = a.shape[1]
    k, z = s[:, :n], s[:, n:]
    level = _productivity(alpha, beta, delta)
    output = level * z.exp() * k**alpha
    left = output + k * (1 - delta - a - phi / 2 * (a - 1).square())
    return left.mean(1) / (level - delta)


def _extended_log(x: Tensor) -> Tensor:
    """The logarithm, which goes on falling where x is small or negative."""
    below = math.log(SCARCE) - torch.log1p((SCARCE - x).clamp(min=0) / SCARCE)
    return torch.where(x > SCARCE, x.clamp(min=SCARCE).log(), below)


def _log_price(log_consumption: Tensor, gamma: Sequence[float]) -> Tensor:
    """Log λ (n,) at which average consumption is as given."""
    elasticities = log_consumption.new_tensor(gamma)
    if len(set(gamma)) == 1:
        return -log_consumption / gamma[0]
    target = log_consumption.detach()
    x = target / elasticities.mean()
    for _ in range(STEPS):
        x = _price_step(x, target, elasticities)
    return -_price_step(x, log_consumption, elasticities)


def _price_step(x: Tensor, target: Tensor, elasticities: Tensor) -> Tensor:
    """One Newton step for x = -log λ: the mean of exp(γ x) is convex in logarithms too."""
    exponents = elasticities * x[:, None]
    mean = torch.logsumexp(exponents, 1) - math.log(len(elasticities))
    slope = (torch.softmax(exponents, 1) * elasticities).sum(1)
    return x + (target - mean) / slope


def _shadow_price(
    s: Tensor,
    a: Tensor,
    gamma: Sequence[float],
    alpha: float,
    beta: float,
    phi: float,
    delta: float,
) -> Tensor:
    """Log λ (n,) in given states under given actions."""
    consumption = _relative_consumption(s, a, alpha, beta, phi, delta)
    return _log_price(_extended_log(consumption), gamma)


def multicountry_consumption(model: DynamicModel, s: Tensor, a: Tensor) -> Tensor:
    """Consumption of each country.

    Parameters
    ----------
    model : DynamicModel
        From `make_multicountry`.
    s : Tensor of shape (n, 2N)
        States.
    a : Tensor of shape (n, N)
        Growth factors of capital.

    Returns
    -------
    Tensor of shape (n, N)
        Consumption, which adds up to what the resource constraint leaves.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_multicountry, multicountry_consumption
    >>> model = make_multicountry()
    >>> s, a = (part[None] for part in model.steady_guess())
    >>> multicountry_consumption(model, s, a)
    tensor([[0.0281, 0.0281]], dtype=torch.float64)
    """
    given = {name: model.params[name] for name in ("gamma", "alpha", "beta", "phi", "delta")}
    log_price = _shadow_price(s, a, **given)
    level = _productivity(given["alpha"], given["beta"], given["delta"]) - given["delta"]
    return level * (-log_price[:, None] * s.new_tensor(given["gamma"])).exp()


def _euler(
    s: Tensor,
    a: Tensor,
    s_next: Tensor,
    a_next: Tensor,
    gamma: Sequence[float],
    alpha: float,
    beta: float,
    phi: float,
    delta: float,
) -> Tensor:
    n = a.shape[1]
    primitives = gamma, alpha, beta, phi, delta
    change = _shadow_price(s_next, a_next, *primitives) - _shadow_price(s, a, *primitives)
    product = alpha * _productivity(alpha, beta, delta) * s_next[:, n:].exp()
    returns = 1 - delta + product * s_next[:, :n] ** (alpha - 1) + phi / 2 * (a_next.square() - 1)
    return beta * change.exp()[:, None] * returns / (1 + phi * (a - 1)) - 1
