"""Models of optimal growth: how much of a stochastic output to consume, and how much to work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..model import DynamicModel, Solution
from ..shocks import AR1, LogNormal, Normal, Shocks
from .utility import discount, isoelastic, marginal_inverse

__all__ = [
    "make_brock_mirman",
    "make_brock_mirman_output",
    "make_growth",
    "make_leisure_growth",
    "make_stochastic_brock_mirman",
]

#: Standard deviations of a process that the default bounds of its states reach to on each side.
REACH = 4.0

#: Least half-width of the default bounds of log productivity, for processes without shocks.
NARROWEST = 0.05

Bounds = list[tuple[float, float]]
Point = tuple[Sequence[float], Sequence[float]]


def make_brock_mirman(
    *,
    alpha: float = 0.36,
    beta: float = 0.96,
    rho: float = 0.9,
    sigma: float = 0.04,
    state_bounds: ArrayLike | None = None,
) -> DynamicModel:
    r"""Growth with log utility and full depreciation, which has a closed form.

    .. math::
        V(k, z) = \max_c\; \ln c + \beta E V(e^z k^\alpha - c,\; \rho z + \sigma\varepsilon),
        \qquad \varepsilon \sim N(0, 1).

    The solution consumes a constant share of output,

    .. math::
        c = (1-\alpha\beta) e^z k^\alpha, \qquad V = V_0 + B \ln k + D z,

    with :math:`B = \alpha/(1-\alpha\beta)`, :math:`D = 1/((1-\alpha\beta)(1-\beta\rho))` and
    :math:`(1-\beta) V_0 = \ln(1-\alpha\beta) + \beta B \ln(\alpha\beta)`.

    Parameters
    ----------
    alpha : float, default=0.36
        Share α of capital, in (0, 1).
    beta : float, default=0.96
        Discount factor β, in (0, 1).
    rho : float, default=0.9
        Persistence ρ of log productivity z, in (-1, 1).
    sigma : float, default=0.04
        Standard deviation σ of its innovations.
    state_bounds : array-like of shape (2, 2), default=None
        Ends of k and z. None: four standard deviations of z on each side of zero, and the
        interval of k that the solution does not leave while z stays there.

    Returns
    -------
    DynamicModel
        States k and z; action c, between zero and output. In the logarithms of k and c the policy
        is linear, and so is the value.

    References
    ----------
    W. Brock and L. Mirman, *Optimal Economic Growth and Uncertainty: The Discounted Case*. N.
    Stokey and R. Lucas, *Recursive Methods in Economic Dynamics*, chapter 2.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> model = make_brock_mirman()
    >>> model.exact("policy")(torch.tensor([[0.2, 0.0]], dtype=torch.float64))
    tensor([[0.3666]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_log_reward,
        transition=_full_depreciation,
        discount=discount,
        shocks=_log_productivity,
        state_bounds=_brock_mirman_bounds if state_bounds is None else state_bounds,
        action_bounds=_up_to_output,
        marginal_inverse=_log_marginal_inverse,
        state_names=("k", "z"),
        action_names=("c",),
        state_transform=("log", "identity"),
        action_transform="log",
        steady_state=_brock_mirman_steady_state,
        solution=Solution(_brock_mirman_policy, _brock_mirman_value),
        params={"alpha": alpha, "beta": beta, "rho": rho, "sigma": sigma},
        name="Brock-Mirman growth",
    )


def _log_productivity(rho: float, sigma: float) -> Shocks:
    return AR1(rho, sigma, state=1)


def _log_reward(s: Tensor, a: Tensor) -> Tensor:
    return a[:, 0].log()


def _log_marginal_inverse(v: Tensor, s: Tensor) -> Tensor:
    return 1 / v


def _output(s: Tensor, alpha: float) -> Tensor:
    return s[:, 1].exp() * s[:, 0] ** alpha


def _up_to_output(s: Tensor, alpha: float) -> tuple[float, Tensor]:
    return 0.0, _output(s, alpha)[:, None]


def _full_depreciation(s: Tensor, a: Tensor, e: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    return _output(s, alpha) - a[:, 0], e[:, 0]


def _deviation(rho: float, sigma: float) -> float:
    """Standard deviation of a stationary process."""
    if not -1 < rho < 1:
        raise ValueError(
            f"rho={rho} leaves productivity without a stationary distribution: choose it in "
            "(-1, 1), or give state_bounds"
        )
    return sigma / math.sqrt(1 - rho**2)


def _half_width(rho: float, sigma: float) -> float:
    return max(REACH * _deviation(rho, sigma), NARROWEST)


def _brock_mirman_bounds(alpha: float, beta: float, rho: float, sigma: float) -> Bounds:
    z = _half_width(rho, sigma)
    return [_invariant_capital(alpha, math.log(alpha * beta), z), (-z, z)]


def _invariant_capital(alpha: float, level: float, z: float) -> tuple[float, float]:
    """The interval that ln k' = level + alpha ln k + z maps to itself."""
    return math.exp((level - z) / (1 - alpha)), math.exp((level + z) / (1 - alpha))


def _brock_mirman_steady_state(alpha: float, beta: float) -> Point:
    k = (alpha * beta) ** (1 / (1 - alpha))
    return (k, 0.0), (k**alpha - k,)


def _brock_mirman_policy(s: Tensor, alpha: float, beta: float) -> Tensor:
    return (1 - alpha * beta) * _output(s, alpha)[:, None]


def _brock_mirman_value(s: Tensor, alpha: float, beta: float, rho: float) -> Tensor:
    saved = alpha * beta
    constant = (math.log1p(-saved) + saved / (1 - saved) * math.log(saved)) / (1 - beta)
    slopes = alpha / (1 - saved), 1 / ((1 - saved) * (1 - beta * rho))
    return constant + slopes[0] * s[:, 0].log() + slopes[1] * s[:, 1]


def make_brock_mirman_output(
    *,
    alpha: float = 0.4,
    beta: float = 0.96,
    mu: float = 0.0,
    sigma: float = 0.1,
    state_bounds: ArrayLike | None = None,
) -> DynamicModel:
    r"""Growth with log utility and full depreciation, with output for the only state.

    .. math::
        V(y) = \max_c\; \ln c + \beta E V(\xi (y-c)^\alpha), \qquad \ln\xi \sim N(\mu, \sigma^2),

    is solved by

    .. math::
        c = (1-\alpha\beta) y, \qquad V = \frac{\ln y}{1-\alpha\beta} +
        \frac{\ln(1-\alpha\beta)}{1-\beta} + \frac{\mu + \alpha\ln(\alpha\beta)}{1-\alpha}
        \Big[\frac{1}{1-\beta} - \frac{1}{1-\alpha\beta}\Big].

    Parameters
    ----------
    alpha : float, default=0.4
        Elasticity α of output to what was saved, in (0, 1).
    beta : float, default=0.96
        Discount factor β, in (0, 1).
    mu : float, default=0.0
        Mean μ of the logarithm of productivity ξ.
    sigma : float, default=0.1
        Its standard deviation σ; zero makes the model deterministic.
    state_bounds : array-like of shape (1, 2), default=None
        Ends of y. None: the interval that the solution does not leave while ln ξ stays within four
        standard deviations of its mean.

    Returns
    -------
    DynamicModel
        State y; action c, between zero and y. In the logarithms of both, policy and value are
        linear.

    Notes
    -----
    A solver that starts from no guess may end in a corner, where nothing is saved and the residuals
    at the nodes are tiny; the deterministic instance below is one in which a known solver does.

    References
    ----------
    T. Sargent and J. Stachurski, *Quantitative Economics with Python*, lectures on optimal growth.
    M. Miranda and P. Fackler, *Applied Computational Economics and Finance*, section 8.2.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_brock_mirman_output
    >>> model = make_brock_mirman_output()
    >>> model.exact("policy")(torch.tensor([[1.0]], dtype=torch.float64))
    tensor([[0.6160]], dtype=torch.float64)

    The deterministic growth model of the toolbox that accompanies Miranda and Fackler, "demdp06":

    >>> model = make_brock_mirman_output(
    ...     alpha=0.5, beta=0.9, sigma=0.0, state_bounds=[(0.2, 1.0)]
    ... )
    >>> model.exact("policy")(torch.tensor([[1.0]], dtype=torch.float64))
    tensor([[0.5500]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_log_reward,
        transition=_output_transition,
        discount=discount,
        shocks=_productivity_factor,
        state_bounds=_output_bounds if state_bounds is None else state_bounds,
        action_bounds=_up_to_state,
        marginal_inverse=_log_marginal_inverse,
        state_names=("y",),
        action_names=("c",),
        state_transform="log",
        action_transform="log",
        steady_state=_output_steady_state,
        solution=Solution(_output_policy, _output_value),
        params={"alpha": alpha, "beta": beta, "mu": mu, "sigma": sigma},
        name="Brock-Mirman growth, output as state",
    )


def _productivity_factor(mu: float, sigma: float) -> Shocks:
    return LogNormal(mu, scale=sigma)


def _output_transition(s: Tensor, a: Tensor, e: Tensor, alpha: float) -> Tensor:
    return e * (s - a) ** alpha


def _up_to_state(s: Tensor) -> tuple[float, Tensor]:
    return 0.0, s


def _output_bounds(alpha: float, beta: float, mu: float, sigma: float) -> Bounds:
    return [_invariant_capital(alpha, mu + alpha * math.log(alpha * beta), _half_width(0, sigma))]


def _output_steady_state(alpha: float, beta: float, mu: float, sigma: float) -> Point:
    mean = mu + sigma**2 / 2
    y = math.exp((mean + alpha * math.log(alpha * beta)) / (1 - alpha))
    return (y,), ((1 - alpha * beta) * y,)


def _output_policy(s: Tensor, alpha: float, beta: float) -> Tensor:
    return (1 - alpha * beta) * s


def _output_value(s: Tensor, alpha: float, beta: float, mu: float) -> Tensor:
    saved = alpha * beta
    spread = 1 / (1 - beta) - 1 / (1 - saved)
    drift = (mu + alpha * math.log(saved)) / (1 - alpha) * spread
    return s[:, 0].log() / (1 - saved) + math.log1p(-saved) / (1 - beta) + drift


def make_leisure_growth(
    *,
    alpha: float = 0.34,
    beta: float = 0.95,
    weight: float = 1 / 3,
    scale: float = 10.0,
    rho: float = 0.9,
    sigma: float = 0.008,
    state_bounds: ArrayLike = ((0.1, 10.0), (-0.32, 0.32)),
) -> DynamicModel:
    r"""Growth with leisure, log utility and full depreciation: two actions and a closed form.

    .. math::
        V(k, z) = \max_{c, x}\; \lambda \ln c + (1-\lambda) \ln x + \beta E V(y - c, z'), \qquad
        y = A e^z k^\alpha (1-x)^{1-\alpha},

    with :math:`z' = \rho z + \sigma\varepsilon`. Leisure is constant at the solution,

    .. math::
        x = \frac{(1-\lambda)(1-\alpha\beta)}{\lambda(1-\alpha) + (1-\lambda)(1-\alpha\beta)},
        \qquad c = (1-\alpha\beta) y, \qquad V = B + C \ln k + D z.

    Parameters
    ----------
    alpha : float, default=0.34
        Share α of capital, in (0, 1).
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    weight : float, default=1/3
        Weight λ of consumption in utility, in (0, 1).
    scale : float, default=10.0
        Level A of output.
    rho : float, default=0.9
        Persistence ρ of log productivity z.
    sigma : float, default=0.008
        Standard deviation σ of its innovations.
    state_bounds : array-like of shape (2, 2), default=((0.1, 10), (-0.32, 0.32))
        Ends of k and z.

    Returns
    -------
    DynamicModel
        States k and z; actions c, up to the output of work without leisure, and leisure x.

    References
    ----------
    M. Santos, *Numerical Solution of Dynamic Economic Models*, Handbook of Macroeconomics 1A,
    chapter 5.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_leisure_growth
    >>> model = make_leisure_growth()
    >>> model.exact("policy")(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    tensor([[3.2420, 0.6723]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_leisure_reward,
        transition=_leisure_transition,
        discount=discount,
        shocks=_log_productivity,
        state_bounds=state_bounds,
        action_bounds=_leisure_limits,
        state_names=("k", "z"),
        action_names=("c", "x"),
        state_transform=("log", "identity"),
        action_transform=("log", "logit"),
        steady_state=_leisure_steady_state,
        solution=Solution(_leisure_policy, _leisure_value),
        params={
            "alpha": alpha,
            "beta": beta,
            "weight": weight,
            "scale": scale,
            "rho": rho,
            "sigma": sigma,
        },
        name="growth with leisure",
    )


def _leisure_reward(s: Tensor, a: Tensor, weight: float) -> Tensor:
    return weight * a[:, 0].log() + (1 - weight) * a[:, 1].log()


def _leisure_output(s: Tensor, x: Tensor | float, alpha: float, scale: float) -> Tensor:
    return scale * _output(s, alpha) * (1 - x) ** (1 - alpha)


def _leisure_transition(
    s: Tensor, a: Tensor, e: Tensor, alpha: float, scale: float
) -> tuple[Tensor, Tensor]:
    return _leisure_output(s, a[:, 1], alpha, scale) - a[:, 0], e[:, 0]


def _leisure_limits(
    s: Tensor, alpha: float, scale: float
) -> tuple[tuple[float, float], tuple[Tensor, float]]:
    return (0.0, 0.0), (scale * _output(s, alpha), 1.0)


def _constant_leisure(alpha: float, beta: float, weight: float) -> float:
    idle = (1 - weight) * (1 - alpha * beta)
    return idle / (weight * (1 - alpha) + idle)


def _leisure_steady_state(alpha: float, beta: float, weight: float, scale: float) -> Point:
    x = _constant_leisure(alpha, beta, weight)
    k = (alpha * beta * scale) ** (1 / (1 - alpha)) * (1 - x)
    return (k, 0.0), (k / (alpha * beta) - k, x)


def _leisure_policy(s: Tensor, alpha: float, beta: float, weight: float, scale: float) -> Tensor:
    x = _constant_leisure(alpha, beta, weight)
    c = (1 - alpha * beta) * _leisure_output(s, x, alpha, scale)
    return torch.stack([c, torch.full_like(c, x)], 1)


def _leisure_value(
    s: Tensor, alpha: float, beta: float, weight: float, scale: float, rho: float
) -> Tensor:
    saved, x = alpha * beta, _constant_leisure(alpha, beta, weight)
    output = math.log(scale) + (1 - alpha) * math.log(1 - x)
    by_k, by_z = weight * alpha / (1 - saved), weight / ((1 - saved) * (1 - rho * beta))
    flow = weight * (math.log1p(-saved) + output) + (1 - weight) * math.log(x)
    constant = (flow + beta * by_k * (math.log(saved) + output)) / (1 - beta)
    return constant + by_k * s[:, 0].log() + by_z * s[:, 1]


def make_growth(
    *,
    alpha: float = 0.36,
    beta: float = 0.99,
    delta: float = 0.02,
    gamma: float = 2.0,
    rho: float = 0.95,
    sigma: float = 0.01,
    action: str = "consumption",
    state_bounds: ArrayLike = ((0.9, 1.1), (0.9, 1.1)),
) -> DynamicModel:
    r"""The neoclassical growth model of a comparison of methods and languages.

    .. math::
        V(k, A) = \max_c\; \frac{c^{1-\gamma} - 1}{1-\gamma} + \beta E V(k', A'), \qquad
        k' = (1-\delta) k + a A k^\alpha - c,\quad \ln A' = \rho \ln A + \sigma\varepsilon,

    where :math:`a = (1/\beta - 1 + \delta)/\alpha` makes capital 1 in the steady state. There is a
    closed form for γ = δ = 1 only, that of `make_brock_mirman`.

    Parameters
    ----------
    alpha : float, default=0.36
        Share α of capital, in (0, 1).
    beta : float, default=0.99
        Discount factor β, in (0, 1).
    delta : float, default=0.02
        Depreciation δ, in [0, 1].
    gamma : float, default=2.0
        Relative risk aversion γ, positive.
    rho : float, default=0.95
        Persistence ρ of productivity.
    sigma : float, default=0.01
        Standard deviation σ of the innovations to its logarithm.
    action : {"consumption", "capital"}, default="consumption"
        Whether the action is c or k'. Polynomials in one are not polynomials in the other, and the
        logarithm of c, which is the coordinate of the first, cannot become infeasible.
    state_bounds : array-like of shape (2, 2), default=((0.9, 1.1), (0.9, 1.1))
        Ends of k and A, as in the comparison. A simulation leaves this box: capital goes from 0.88
        to 1.19 in 10,000 periods, so errors along a path are those of an extrapolation.

    Returns
    -------
    DynamicModel
        States k and A, productivity itself; one action.

    Raises
    ------
    ValueError
        If ``action`` is neither.

    References
    ----------
    C. Coleman, S. Lyon, L. Maliar and S. Maliar, *Matlab, Python, Julia: What to Choose in
    Economics?*, section on the neoclassical growth model.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_growth
    >>> model = make_growth()
    >>> model.steady_guess()[1]
    tensor([0.0636], dtype=torch.float64)
    """
    if action not in ("consumption", "capital"):
        raise ValueError(f"action={action!r} must be one of 'consumption', 'capital'")
    shared: dict[str, Any] = {
        "discount": discount,
        "shocks": _innovation,
        "state_bounds": state_bounds,
        "state_names": ("k", "A"),
        "params": {
            "alpha": alpha,
            "beta": beta,
            "delta": delta,
            "gamma": gamma,
            "rho": rho,
            "sigma": sigma,
        },
        "name": "neoclassical growth",
    }
    if action == "capital":
        return DynamicModel(
            reward=_capital_reward,
            transition=_capital_transition,
            euler=_capital_euler,
            action_bounds=_up_to_resources,
            action_names=("k_next",),
            steady_state=_capital_steady_state,
            **shared,
        )
    return DynamicModel(
        reward=_growth_reward,
        transition=_growth_transition,
        euler=_growth_euler,
        action_bounds=_up_to_resources,
        marginal_inverse=marginal_inverse,
        action_names=("c",),
        action_transform="log",
        steady_state=_growth_steady_state,
        **shared,
    )


def _innovation(sigma: float) -> Shocks:
    return Normal(scale=sigma)


def _unit_capital(alpha: float, beta: float, delta: float) -> float:
    """Level of output that makes capital 1 in the steady state."""
    return (1 / beta - 1 + delta) / alpha


def _resources(s: Tensor, alpha: float, beta: float, delta: float) -> Tensor:
    output = _unit_capital(alpha, beta, delta) * s[:, 1] * s[:, 0] ** alpha
    return (1 - delta) * s[:, 0] + output


def _up_to_resources(s: Tensor, alpha: float, beta: float, delta: float) -> tuple[float, Tensor]:
    return 0.0, _resources(s, alpha, beta, delta)[:, None]


def _next_productivity(s: Tensor, e: Tensor, rho: float) -> Tensor:
    return s[:, 1] ** rho * e[:, 0].exp()


def _growth_reward(s: Tensor, a: Tensor, gamma: float) -> Tensor:
    return isoelastic(a[:, 0], gamma, centred=True)


def _growth_transition(
    s: Tensor, a: Tensor, e: Tensor, alpha: float, beta: float, delta: float, rho: float
) -> tuple[Tensor, Tensor]:
    return _resources(s, alpha, beta, delta) - a[:, 0], _next_productivity(s, e, rho)


def _growth_euler(
    s: Tensor,
    a: Tensor,
    s_next: Tensor,
    a_next: Tensor,
    alpha: float,
    beta: float,
    delta: float,
    gamma: float,
) -> Tensor:
    return 1 - _pricing(s_next, a, a_next, alpha, beta, delta, gamma)


def _pricing(
    s_next: Tensor,
    c: Tensor,
    c_next: Tensor,
    alpha: float,
    beta: float,
    delta: float,
    gamma: float,
) -> Tensor:
    """Return on capital times the marginal rate of substitution, (n, 1)."""
    k, tfp = s_next[:, :1], s_next[:, 1:]
    rent = _unit_capital(alpha, beta, delta) * alpha * tfp * k ** (alpha - 1)
    return beta * (1 - delta + rent) * (gamma * (c.log() - c_next.log())).exp()


def _growth_steady_state(alpha: float, beta: float, delta: float) -> Point:
    return (1.0, 1.0), (_unit_capital(alpha, beta, delta) - delta,)


def _capital_reward(
    s: Tensor, a: Tensor, alpha: float, beta: float, delta: float, gamma: float
) -> Tensor:
    return isoelastic(_resources(s, alpha, beta, delta) - a[:, 0], gamma, centred=True)


def _capital_transition(s: Tensor, a: Tensor, e: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    return a[:, 0], _next_productivity(s, e, rho)


def _capital_euler(
    s: Tensor,
    a: Tensor,
    s_next: Tensor,
    a_next: Tensor,
    alpha: float,
    beta: float,
    delta: float,
    gamma: float,
) -> Tensor:
    c = _resources(s, alpha, beta, delta)[:, None] - a
    c_next = _resources(s_next, alpha, beta, delta)[:, None] - a_next
    return _pricing(s_next, c, c_next, alpha, beta, delta, gamma) - 1


def _capital_steady_state(alpha: float, beta: float, delta: float) -> Point:
    return (1.0, 1.0), (1.0,)


def make_stochastic_brock_mirman(
    *,
    alpha: float = 0.36,
    beta: float = 0.99,
    delta: float = 0.1,
    gamma: float = 1.0,
    rho: float = 0.9,
    sigma: float = 0.04,
    state_bounds: ArrayLike = ((0.9, 12.0), (-0.357, 0.262)),
) -> DynamicModel:
    r"""Growth with partial depreciation and investment that cannot be undone.

    .. math::
        V(k, z) = \max_{0 \le c \le y}\; \frac{c^{1-\gamma}}{1-\gamma} +
        \beta E V((1-\delta) k + y - c, z'), \qquad y = e^z k^\alpha,\;
        z' = \rho z + \sigma\varepsilon.

    There is a closed form for γ = δ = 1 only, that of `make_brock_mirman`.

    Parameters
    ----------
    alpha : float, default=0.36
        Share α of capital, in (0, 1).
    beta : float, default=0.99
        Discount factor β, in (0, 1).
    delta : float, default=0.1
        Depreciation δ, in (0, 1].
    gamma : float, default=1.0
        Relative risk aversion γ, positive; 1 for log utility.
    rho : float, default=0.9
        Persistence ρ of log productivity z.
    sigma : float, default=0.04
        Standard deviation σ of its innovations.
    state_bounds : array-like of shape (2, 2), default=((0.9, 12.0), (-0.357, 0.262))
        Ends of k and z, a box that holds simulated paths. Well outside it, as at ±0.45 of z,
        investment falls to zero and the policy has a kink.

    Returns
    -------
    DynamicModel
        States k and z; action c, between zero and output.

    References
    ----------
    M. Azinovic, L. Gaegauf and S. Scheidegger, *Deep Equilibrium Nets*, for the method that this
    calibration serves to illustrate.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_stochastic_brock_mirman
    >>> model = make_stochastic_brock_mirman()
    >>> model.steady_guess()[0]
    tensor([6.3668, 0.0000], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_isoelastic_reward,
        transition=_partial_depreciation,
        discount=discount,
        shocks=_log_productivity,
        euler=_brock_mirman_euler,
        state_bounds=state_bounds,
        action_bounds=_up_to_output,
        marginal_inverse=marginal_inverse,
        state_names=("k", "z"),
        action_names=("c",),
        state_transform=("log", "identity"),
        action_transform="log",
        steady_state=_golden_steady_state,
        params={
            "alpha": alpha,
            "beta": beta,
            "delta": delta,
            "gamma": gamma,
            "rho": rho,
            "sigma": sigma,
        },
        name="stochastic Brock-Mirman growth",
    )


def _isoelastic_reward(s: Tensor, a: Tensor, gamma: float) -> Tensor:
    return isoelastic(a[:, 0], gamma)


def _partial_depreciation(
    s: Tensor, a: Tensor, e: Tensor, alpha: float, delta: float
) -> tuple[Tensor, Tensor]:
    return (1 - delta) * s[:, 0] + _output(s, alpha) - a[:, 0], e[:, 0]


def _brock_mirman_euler(
    s: Tensor,
    a: Tensor,
    s_next: Tensor,
    a_next: Tensor,
    alpha: float,
    beta: float,
    delta: float,
    gamma: float,
) -> Tensor:
    rent = alpha * s_next[:, 1:].exp() * s_next[:, :1] ** (alpha - 1)
    return 1 - beta * (1 - delta + rent) * (gamma * (a.log() - a_next.log())).exp()


def _golden_steady_state(alpha: float, beta: float, delta: float) -> Point:
    k = (alpha / (1 / beta - 1 + delta)) ** (1 / (1 - alpha))
    return (k, 0.0), (k**alpha - delta * k,)
