"""Models of consumption and saving: how much of one's resources to consume."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri
from torch import Tensor

from ..model import DynamicModel, EndogenousGrid, Solution
from ..shocks import AR1, Empirical, LogNormal, Normal, Shocks
from ..transforms import Isoelastic, Transform
from .utility import discount, isoelastic, marginal_inverse

__all__ = [
    "borrowing_kinks",
    "make_borrowing_limit",
    "make_buffer_stock",
    "make_cake_eating",
    "make_income_fluctuation",
    "make_perfect_foresight",
    "make_permanent_income",
    "make_persistent_income",
]

#: Kinks of an exact policy that are worked out at most.
MOST_KINKS = 100_000

Point = tuple[tuple[float, ...], tuple[float, ...]]


def _isoelastic_reward(s: Tensor, a: Tensor, gamma: float) -> Tensor:
    return isoelastic(a[:, 0], gamma)


def _up_to_state(s: Tensor) -> tuple[float, Tensor]:
    return 0.0, s[:, :1]


def _log_equivalent(gamma: float) -> Transform:
    return Isoelastic(gamma)


def _equivalent(gamma: float) -> Transform:
    """The certainty equivalent, which is linear in wealth; for log utility the value itself."""
    return Isoelastic(gamma, log=gamma == 1)


def make_cake_eating(
    *,
    beta: float = 0.95,
    R: float = 1.03,
    gamma: float = 3.0,
    horizon: int | None = None,
    state_bounds: ArrayLike = ((0.1, 10.0),),
) -> DynamicModel:
    r"""Consumption out of wealth alone, which has a closed form.

    .. math::
        V(W) = \max_{0 \le c \le W}\; \frac{c^{1-\gamma}}{1-\gamma} + \beta V(R (W - c))

    is solved by a constant share, with :math:`\varphi = (\beta R^{1-\gamma})^{1/\gamma}`,

    .. math::
        c = \kappa W, \qquad V = \kappa^{-\gamma} \frac{W^{1-\gamma}}{1-\gamma}, \qquad
        \kappa = 1 - \varphi \quad\text{or}\quad \kappa = \frac{1-\varphi}{1-\varphi^T}

    with T periods left. A cake that does not grow has R = 1; log utility has γ = 1.

    Parameters
    ----------
    beta : float, default=0.95
        Discount factor β; below 1 without a horizon.
    R : float, default=1.03
        Gross return, positive.
    gamma : float, default=3.0
        Relative risk aversion γ, positive.
    horizon : int, default=None
        Number of periods T, the exact solution being that of the first; None for infinitely many.
    state_bounds : array-like of shape (1, 2), default=((0.1, 10),)
        Ends of W, positive.

    Returns
    -------
    DynamicModel
        State W; action c. In logarithms of both, and of the certainty equivalent, the solution is
        linear.

    Raises
    ------
    ValueError
        From the exact solution, if φ is 1 or more without a horizon: no consumption is then best.

    References
    ----------
    T. Sargent and J. Stachurski, *Quantitative Economics with Python*, lectures on cake eating. C.
    Carroll, *Lecture Notes on Solution Methods for Representative Agent Consumption*, section on
    perfect foresight.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_cake_eating
    >>> wealth = torch.tensor([[1.0]], dtype=torch.float64)
    >>> make_cake_eating().exact("policy")(wealth)
    tensor([[0.0361]], dtype=torch.float64)
    >>> make_cake_eating(gamma=1.0, horizon=2).exact("policy")(wealth)
    tensor([[0.5128]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_isoelastic_reward,
        transition=_wealth_transition,
        discount=discount,
        state_bounds=state_bounds,
        action_bounds=_up_to_state,
        marginal_inverse=marginal_inverse,
        horizon=horizon,
        state_names=("W",),
        action_names=("c",),
        state_transform="log",
        action_transform="log",
        value_transform=_log_equivalent,
        solution=Solution(
            partial(_cake_policy, horizon=horizon), partial(_cake_value, horizon=horizon)
        ),
        params={"beta": beta, "R": R, "gamma": gamma},
        name="cake eating",
    )


def _wealth_transition(s: Tensor, a: Tensor, e: Tensor, R: float) -> Tensor:
    return R * (s - a)


def _share(beta: float, R: float, gamma: float, horizon: int | None = None) -> float:
    """Share of wealth that is consumed."""
    kept = float((beta * R ** (1 - gamma)) ** (1 / gamma))
    if horizon is not None:
        return 1 / sum(kept**t for t in range(horizon))
    if kept >= 1:
        raise ValueError(
            f"beta={beta:.6g}, R={R:.6g} and gamma={gamma:.6g} leave no best consumption, because "
            f"(beta R^(1-gamma))^(1/gamma)={kept:.6g} is not below 1: lower beta, or give a horizon"
        )
    return 1 - kept


def _cake_policy(
    s: Tensor, beta: float, R: float, gamma: float, horizon: int | None = None
) -> Tensor:
    return _share(beta, R, gamma, horizon) * s


def _cake_value(
    s: Tensor, beta: float, R: float, gamma: float, horizon: int | None = None
) -> Tensor:
    share = _share(beta, R, gamma, horizon)
    if gamma != 1:
        return isoelastic(s[:, 0], gamma) * share**-gamma
    # Consumption grows by beta R a period.
    if horizon is None:
        periods, ahead = 1 / (1 - beta), beta / (1 - beta) ** 2
    else:
        periods = sum(beta**t for t in range(horizon))
        ahead = sum(t * beta**t for t in range(horizon))
    return periods * (share * s[:, 0]).log() + ahead * math.log(beta * R)


def make_perfect_foresight(
    *,
    beta: float = 0.95,
    R: float = 1.03,
    gamma: float = 2.0,
    income: float = 1.0,
    survival: float = 1.0,
    state_bounds: ArrayLike = ((0.5, 10.0),),
) -> DynamicModel:
    r"""Consumption out of resources and a certain income, without a borrowing limit.

    .. math::
        V(m) = \max_c\; \frac{c^{1-\gamma}}{1-\gamma} + \beta p V(R (m - c) + y)

    is solved by a constant share of what there is with the present value of income,

    .. math::
        c = \kappa \Big(m + \frac{y}{R-1}\Big), \qquad
        \kappa = 1 - \frac{(\beta p R)^{1/\gamma}}{R}, \qquad
        V = \frac{\kappa^{-\gamma}}{1-\gamma} \Big(m + \frac{y}{R-1}\Big)^{1-\gamma}.

    Parameters
    ----------
    beta : float, default=0.95
        Discount factor β.
    R : float, default=1.03
        Gross return, above 1.
    gamma : float, default=2.0
        Relative risk aversion γ, positive.
    income : float, default=1.0
        Income y of each later period.
    survival : float, default=1.0
        Probability p of living on, which multiplies β.
    state_bounds : array-like of shape (1, 2), default=((0.5, 10),)
        Ends of resources m, above -y/(R-1).

    Returns
    -------
    DynamicModel
        State m; action c, up to resources and all that can be repaid. The policy is linear in m,
        and so is the certainty equivalent of the value.

    References
    ----------
    C. Carroll, *Lecture Notes on Solution Methods for Representative Agent Consumption*, section on
    perfect foresight.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_perfect_foresight
    >>> model = make_perfect_foresight()
    >>> model.exact("policy")(torch.tensor([[1.0]], dtype=torch.float64))
    tensor([[1.3603]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_isoelastic_reward,
        transition=_income_transition,
        discount=_surviving,
        state_bounds=state_bounds,
        action_bounds=_up_to_wealth,
        marginal_inverse=marginal_inverse,
        state_names=("m",),
        action_names=("c",),
        value_transform=_equivalent,
        solution=Solution(_foresight_policy, _foresight_value),
        params={"beta": beta, "R": R, "gamma": gamma, "income": income, "survival": survival},
        name="perfect foresight",
    )


def _surviving(beta: float, survival: float) -> float:
    return beta * survival


def _income_transition(s: Tensor, a: Tensor, e: Tensor, R: float, income: float) -> Tensor:
    return R * (s - a) + income


def _wealth(s: Tensor, R: float, income: float) -> Tensor:
    """Resources with the present value of income."""
    if R <= 1:
        raise ValueError(f"R={R!r} must be above 1, or income has no present value")
    return s + income / (R - 1)


def _up_to_wealth(s: Tensor, R: float, income: float) -> tuple[float, Tensor]:
    return 0.0, _wealth(s, R, income)


def _foresight_policy(
    s: Tensor, beta: float, R: float, gamma: float, income: float, survival: float
) -> Tensor:
    return _cake_policy(_wealth(s, R, income), beta * survival, R, gamma)


def _foresight_value(
    s: Tensor, beta: float, R: float, gamma: float, income: float, survival: float
) -> Tensor:
    return _cake_value(_wealth(s, R, income), beta * survival, R, gamma)


def make_borrowing_limit(
    *,
    beta: float = 0.95,
    R: float = 1.03,
    gamma: float = 2.0,
    income: float = 1.0,
    state_bounds: ArrayLike = ((0.5, 2.0),),
) -> DynamicModel:
    r"""Consumption out of resources and a certain income, without borrowing: a policy of kinks.

    .. math::
        V(m) = \max_{0 \le c \le m}\; \frac{c^{1-\gamma}}{1-\gamma} + \beta V(R (m - c) + y),
        \qquad \beta R < 1.

    The limit binds below the first kink, one period before it below the second, and so on, so that
    the policy is the piecewise linear function through the origin and the points of
    `borrowing_kinks`, exactly.

    Parameters
    ----------
    beta : float, default=0.95
        Discount factor β.
    R : float, default=1.03
        Gross return; βR must be below 1 for the exact solution.
    gamma : float, default=2.0
        Relative risk aversion γ, positive.
    income : float, default=1.0
        Income y of each later period, positive.
    state_bounds : array-like of shape (1, 2), default=((0.5, 2),)
        Ends of resources m, positive.

    Returns
    -------
    DynamicModel
        State m; action c, up to m. Splines with knots at the kinks hold the policy exactly;
        polynomials ring.

    References
    ----------
    C. Carroll, *Theoretical Foundations of Buffer Stock Saving*, appendix on perfect foresight with
    a liquidity constraint.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_borrowing_limit
    >>> model = make_borrowing_limit()
    >>> model.exact("policy")(torch.tensor([[0.9], [1.5]], dtype=torch.float64))
    tensor([[0.9000],
            [1.1064]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_isoelastic_reward,
        transition=_income_transition,
        discount=discount,
        state_bounds=state_bounds,
        action_bounds=_up_to_state,
        marginal_inverse=marginal_inverse,
        endogenous_grid=EndogenousGrid(
            transition=_saved_with_income, state=_before_saving, bounds=_savings(state_bounds)
        ),
        state_names=("m",),
        action_names=("c",),
        value_transform=_log_equivalent,
        steady_state=_hand_to_mouth,
        solution=Solution(_kinked_policy, _kinked_value),
        params={"beta": beta, "R": R, "gamma": gamma, "income": income},
        name="borrowing limit",
    )


def borrowing_kinks(
    n_kinks: int,
    *,
    beta: float = 0.95,
    R: float = 1.03,
    gamma: float = 2.0,
    income: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""The kinks of the policy of `make_borrowing_limit`.

    With :math:`P = (\beta R)^{1/\gamma} < 1`, they are :math:`m_0 = c_0 = y/P` and

    .. math:: c_{j+1} = c_j / P, \qquad m_{j+1} = c_{j+1} + (m_j - y) / R:

    whoever has :math:`m_{j+1}` today has :math:`m_j` tomorrow.

    Parameters
    ----------
    n_kinks : int
        How many.
    beta, R, gamma, income : float
        As for the model.

    Returns
    -------
    m, c : Tensor of shape (n_kinks,)
        Resources at the kinks, increasing, and consumption there.

    Raises
    ------
    ValueError
        If βR is not below 1, so that the limit does not bind in the end.

    Examples
    --------
    >>> from thetalearn.dynamics.models import borrowing_kinks
    >>> borrowing_kinks(3)
    (tensor([1.0109, 1.0326, 1.0648], dtype=torch.float64),
     tensor([1.0109, 1.0220, 1.0331], dtype=torch.float64))
    """
    patience = _patience(beta, R, gamma)
    m = [income / patience]
    c = [income / patience]
    while len(m) < n_kinks:
        c.append(c[-1] / patience)
        m.append(c[-1] + (m[-1] - income) / R)
    return torch.tensor(m[:n_kinks], dtype=torch.float64), torch.tensor(
        c[:n_kinks], dtype=torch.float64
    )


def _patience(beta: float, R: float, gamma: float) -> float:
    """Factor by which consumption shrinks from period to period."""
    if beta * R >= 1:
        raise ValueError(
            f"beta={beta:.6g} times R={R:.6g} is {beta * R:.6g}, which must be below 1 for a "
            "borrowing limit to bind: lower beta or R"
        )
    return float((beta * R) ** (1 / gamma))


def _kinks_up_to(
    top: float, beta: float, R: float, gamma: float, income: float
) -> tuple[Tensor, Tensor]:
    """The kinks up to the first that is not below a state."""
    n_kinks = 16
    while n_kinks <= MOST_KINKS:
        m, c = borrowing_kinks(n_kinks, beta=beta, R=R, gamma=gamma, income=income)
        if m[-1] >= top:
            return m, c
        n_kinks *= 2
    raise ValueError(
        f"the exact policy has more than {MOST_KINKS} kinks below the state {top:.6g}: lower beta "
        "or the state"
    )


def _kinked_policy(s: Tensor, beta: float, R: float, gamma: float, income: float) -> Tensor:
    m, c = _kinks_up_to(float(s.max()), beta, R, gamma, income)
    m = torch.cat([m.new_zeros(1), m]).to(s)
    c = torch.cat([c.new_zeros(1), c]).to(s)
    above = torch.searchsorted(m, s[:, 0].contiguous()).clamp(1, len(m) - 1)
    share = (s[:, 0] - m[above - 1]) / (m[above] - m[above - 1])
    return (c[above - 1] + share * (c[above] - c[above - 1]))[:, None]


def _kinked_value(s: Tensor, beta: float, R: float, gamma: float, income: float) -> Tensor:
    # Every path reaches income, and stays there, in as many periods as kinks lie below it.
    periods = len(_kinks_up_to(float(s.max()), beta, R, gamma, income)[0]) + 1
    total, weight = s.new_zeros(len(s)), 1.0
    for _ in range(periods):
        c = _kinked_policy(s, beta, R, gamma, income)
        total = total + weight * isoelastic(c[:, 0], gamma)
        s, weight = R * (s - c) + income, weight * beta
    return total + weight * isoelastic(s[:, 0], gamma) / (1 - beta)


def _saved_with_income(p: Tensor, e: Tensor, R: float, income: float) -> Tensor:
    return R * p + income


def _before_saving(p: Tensor, a: Tensor) -> Tensor:
    return p + a


def _savings(state_bounds: ArrayLike) -> tuple[float, float]:
    """Savings from nothing to the highest resources."""
    return 0.0, float(np.asarray(state_bounds, dtype=np.float64).reshape(-1, 2)[0, 1])


def _hand_to_mouth(income: float) -> Point:
    return (income,), (income,)


def make_permanent_income(
    *,
    R: float = 1.04,
    bliss: float = 10.0,
    income: float = 1.0,
    sigma: float = 0.1,
    state_bounds: ArrayLike = ((-5.0, 15.0),),
) -> DynamicModel:
    r"""Quadratic utility and an uncertain income: the permanent income hypothesis.

    .. math::
        V(m) = \max_c\; -\tfrac12 (c - b)^2 + \frac1R E V(R (m - c) + y'), \qquad
        y' \sim N(\bar y, \sigma^2),

    where savings earn just what waiting costs, is solved by consuming the interest on wealth, so
    that consumption is a random walk:

    .. math::
        c = \frac{R-1}{R} \Big(m + \frac{\bar y}{R-1}\Big), \qquad
        V = -\frac{R (c - b)^2}{2 (R-1)} - \frac{\sigma^2}{2 R}.

    Parameters
    ----------
    R : float, default=1.04
        Gross return, above 1; the discount factor is 1/R.
    bliss : float, default=10.0
        Consumption b of which no more is wanted.
    income : float, default=1.0
        Mean income.
    sigma : float, default=0.1
        Standard deviation σ of income.
    state_bounds : array-like of shape (1, 2), default=((-5, 15),)
        Ends of resources m.

    Returns
    -------
    DynamicModel
        State m; action c, which is free.

    Notes
    -----
    To consume b for ever on ever growing debt solves the first-order and the Bellman equation too,
    with a value of zero. Only that debt must not grow without bound rules it out: resources grow by
    the factor R there, and by 1 at the solution.

    References
    ----------
    R. Hall, *Stochastic Implications of the Life Cycle-Permanent Income Hypothesis*.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_permanent_income
    >>> model = make_permanent_income()
    >>> model.exact("policy")(torch.tensor([[1.0]], dtype=torch.float64))
    tensor([[1.]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_quadratic_reward,
        transition=_random_income_transition,
        discount=_interest_discount,
        shocks=_normal_income,
        state_bounds=state_bounds,
        marginal_inverse=_quadratic_marginal_inverse,
        state_names=("m",),
        action_names=("c",),
        steady_state=_hand_to_mouth,
        solution=Solution(_interest_policy, _interest_value),
        params={"R": R, "bliss": bliss, "income": income, "sigma": sigma},
        name="permanent income",
    )


def _quadratic_reward(s: Tensor, a: Tensor, bliss: float) -> Tensor:
    return -0.5 * (a[:, 0] - bliss) ** 2


def _quadratic_marginal_inverse(v: Tensor, s: Tensor, bliss: float) -> Tensor:
    return bliss - v


def _random_income_transition(s: Tensor, a: Tensor, e: Tensor, R: float) -> Tensor:
    return R * (s - a) + e


def _interest_discount(R: float) -> float:
    return 1 / R


def _normal_income(income: float, sigma: float) -> Shocks:
    return Normal(income, scale=sigma)


def _interest_policy(s: Tensor, R: float, income: float) -> Tensor:
    return (R - 1) / R * _wealth(s, R, income)


def _interest_value(s: Tensor, R: float, bliss: float, income: float, sigma: float) -> Tensor:
    c = _interest_policy(s, R, income)[:, 0]
    return -0.5 * (R / (R - 1) * (c - bliss) ** 2 + sigma**2 / R)


def make_income_fluctuation(
    *,
    beta: float = 0.9,
    R: float = 1.04,
    gamma: float = 2.0,
    mu: float = 0.0,
    sigma: float = 0.1,
    state_bounds: ArrayLike = ((0.1, 4.0),),
) -> DynamicModel:
    r"""Consumption out of an uncertain income without borrowing.

    .. math::
        V(m) = \max_{0 \le c \le m}\; \frac{c^{1-\gamma}}{1-\gamma} + \beta E V(R (m - c) + y'),
        \qquad \ln y' \sim N(\mu, \sigma^2).

    There is no closed form. The policy is c = m up to a kink and concave above it.

    Parameters
    ----------
    beta : float, default=0.9
        Discount factor β.
    R : float, default=1.04
        Gross return; βR must be below 1 for resources to stay bounded.
    gamma : float, default=2.0
        Relative risk aversion γ, positive; 1 for log utility.
    mu : float, default=0.0
        Mean μ of the logarithm of income.
    sigma : float, default=0.1
        Its standard deviation σ.
    state_bounds : array-like of shape (1, 2), default=((0.1, 4),)
        Ends of resources m, positive.

    Returns
    -------
    DynamicModel
        State m; action c, up to m.

    References
    ----------
    A. Deaton, *Saving and Liquidity Constraints*. L. Maliar, S. Maliar and P. Winant, *Deep
    Learning for Solving Dynamic Economic Models*, section 4, whose calibration the default is but
    for the persistence of income, for which see `make_persistent_income`.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_income_fluctuation
    >>> make_income_fluctuation().distribution.mean
    tensor([1.0050], dtype=torch.float64)

    Deaton's model in the calibration of F. Iskhakov's course in computational economics:

    >>> deaton = make_income_fluctuation(
    ...     beta=0.9, R=1.05, gamma=1.0, sigma=0.5, state_bounds=[(0.01, 10.0)]
    ... )
    >>> deaton.endogenous_grid.bounds
    (0.0, 10.0)
    """
    return DynamicModel(
        reward=_isoelastic_reward,
        transition=_random_income_transition,
        discount=discount,
        shocks=_lognormal_income,
        state_bounds=state_bounds,
        action_bounds=_up_to_state,
        marginal_inverse=marginal_inverse,
        endogenous_grid=EndogenousGrid(
            transition=_saved_with_draw, state=_before_saving, bounds=_savings(state_bounds)
        ),
        state_names=("m",),
        action_names=("c",),
        value_transform=_log_equivalent,
        steady_state=_mean_income,
        params={"beta": beta, "R": R, "gamma": gamma, "mu": mu, "sigma": sigma},
        name="income fluctuation",
    )


def _lognormal_income(mu: float, sigma: float) -> Shocks:
    return LogNormal(mu, scale=sigma)


def _saved_with_draw(p: Tensor, e: Tensor, R: float) -> Tensor:
    return R * p + e


def _mean_income(mu: float, sigma: float) -> Point:
    mean = math.exp(mu + sigma**2 / 2)
    return (mean,), (mean,)


def make_persistent_income(
    *,
    beta: float = 0.9,
    R: float = 1.04,
    gamma: float = 2.0,
    rho: float = 0.9,
    sigma: float = 0.1,
    state_bounds: ArrayLike | None = None,
) -> DynamicModel:
    r"""Consumption out of a persistent income without borrowing, with two states.

    .. math::
        V(w, y) = \max_{0 \le c \le w}\; \frac{c^{1-\gamma}}{1-\gamma} +
        \beta E V(R (w - c) + e^y,\; \rho y + \sigma\varepsilon).

    There is no closed form.

    Parameters
    ----------
    beta : float, default=0.9
        Discount factor β.
    R : float, default=1.04
        Gross return; βR must be below 1 for resources to stay bounded.
    gamma : float, default=2.0
        Relative risk aversion γ, positive.
    rho : float, default=0.9
        Persistence ρ of the logarithm y of income, in (-1, 1).
    sigma : float, default=0.1
        Standard deviation σ of its innovations.
    state_bounds : array-like of shape (2, 2), default=None
        Ends of w and y. None: 0.1 to 4, and three standard deviations of y on each side of zero.

    Returns
    -------
    DynamicModel
        States w, resources, and y; action c, up to w. Income of the next period is known in this
        one.

    References
    ----------
    L. Maliar, S. Maliar and P. Winant, *Deep Learning for Solving Dynamic Economic Models*,
    section 4.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_persistent_income
    >>> make_persistent_income().state_labels
    ['w', 'y']
    """
    return DynamicModel(
        reward=_isoelastic_reward,
        transition=_persistent_transition,
        discount=discount,
        shocks=_persistent_income,
        state_bounds=_persistent_bounds if state_bounds is None else state_bounds,
        action_bounds=_up_to_state,
        marginal_inverse=marginal_inverse,
        state_names=("w", "y"),
        action_names=("c",),
        value_transform=_log_equivalent,
        steady_state=_unit_income,
        params={"beta": beta, "R": R, "gamma": gamma, "rho": rho, "sigma": sigma},
        name="persistent income",
    )


def _persistent_transition(s: Tensor, a: Tensor, e: Tensor, R: float) -> tuple[Tensor, Tensor]:
    return R * (s[:, 0] - a[:, 0]) + s[:, 1].exp(), e[:, 0]


def _persistent_income(rho: float, sigma: float) -> Shocks:
    return AR1(rho, sigma, state=1)


def _persistent_bounds(rho: float, sigma: float) -> list[tuple[float, float]]:
    if not -1 < rho < 1:
        raise ValueError(
            f"rho={rho} leaves income without a stationary distribution: choose it in (-1, 1), or "
            "give state_bounds"
        )
    width = 3 * sigma / math.sqrt(1 - rho**2)
    return [(0.1, 4.0), (-width, width)]


def _unit_income() -> Point:
    return (1.0, 0.0), (1.0,)


def make_buffer_stock(
    *,
    beta: float = 0.96,
    R: float = 1.03,
    gamma: float = 2.0,
    growth: float = 1.0,
    survival: float = 0.98,
    permanent: float = 0.1,
    transitory: float = 0.1,
    unemployment: float = 0.05,
    benefit: float = 0.3,
    n_permanent: int = 7,
    n_transitory: int = 7,
    state_bounds: ArrayLike = ((0.1, 20.0),),
) -> DynamicModel:
    r"""Saving against permanent and transitory shocks to income, without borrowing.

    In units of permanent income, which grows by the factor :math:`G\psi'`,

    .. math::
        V(m) = \max_{0 \le c \le m}\; \frac{c^{1-\gamma}}{1-\gamma} +
        \beta p\, E\big[(G\psi')^{1-\gamma} V(m')\big], \qquad
        m' = \frac{R}{G\psi'} (m - c) + \theta'.

    The weight :math:`(G\psi')^{1-\gamma}` is taken into the probabilities, so that this is an
    ordinary Bellman equation with the discount factor
    :math:`\beta p\, E (G\psi')^{1-\gamma}`, whose Euler equation is
    :math:`u'(c) = \beta p R\, E[(G\psi')^{-\gamma} u'(c')]` as it must be.

    Parameters
    ----------
    beta : float, default=0.96
        Discount factor β.
    R : float, default=1.03
        Gross return.
    gamma : float, default=2.0
        Relative risk aversion γ, positive.
    growth : float, default=1.0
        Factor G by which permanent income grows on average.
    survival : float, default=0.98
        Probability p of living on.
    permanent, transitory : float, default=0.1
        Standard deviations of the logarithms of the shocks ψ and θ, both with mean one.
    unemployment : float, default=0.05
        Probability that θ is ``benefit`` instead.
    benefit : float, default=0.3
        Income of the unemployed, relative to permanent income.
    n_permanent, n_transitory : int, default=7
        Equally probable values, the means of as many equally probable intervals, by which the
        log-normal shocks are replaced.
    state_bounds : array-like of shape (1, 2), default=((0.1, 20),)
        Ends of m. Resources do not fall below the lowest θ.

    Returns
    -------
    DynamicModel
        State m, resources over permanent income; action c, up to m. Integration rules weigh the
        shocks as above; simulations draw them as they occur.

    Raises
    ------
    ValueError
        If the discount factor above is 1 or more, so that even to save nothing is worth minus
        infinity (the finite value of autarky condition).

    References
    ----------
    C. Carroll, *Buffer-Stock Saving and the Life Cycle/Permanent Income Hypothesis*; *Theoretical
    Foundations of Buffer Stock Saving*, sections 2 and 3. The default calibration is that of the
    example with idiosyncratic shocks in C. Carroll et al., *HARK*.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_buffer_stock
    >>> model = make_buffer_stock()
    >>> model.distribution.nodes().n_nodes
    56
    >>> round(model.beta, 6)
    0.949628
    """
    return DynamicModel(
        reward=_isoelastic_reward,
        transition=_normalised_transition,
        discount=_growth_discount,
        shocks=_growth_shocks,
        state_bounds=state_bounds,
        action_bounds=_up_to_state,
        marginal_inverse=marginal_inverse,
        endogenous_grid=EndogenousGrid(
            transition=_saved_normalised, state=_before_saving, bounds=_savings(state_bounds)
        ),
        state_names=("m",),
        action_names=("c",),
        value_transform=_log_equivalent,
        steady_state=_unit_resources,
        params={
            "beta": beta,
            "R": R,
            "gamma": gamma,
            "growth": growth,
            "survival": survival,
            "permanent": permanent,
            "transitory": transitory,
            "unemployment": unemployment,
            "benefit": benefit,
            "n_permanent": n_permanent,
            "n_transitory": n_transitory,
        },
        name="buffer stock",
    )


class Tilted(Empirical):
    """A sample whose rows occur with some probabilities and are weighed with others in a rule.

    A weight inside an expectation, as of growth in a problem that is stated in ratios, is a change
    of measure: the rule has the weights, what is drawn has the probabilities.

    Parameters
    ----------
    sample : array-like of shape (N, k)
        The observations.
    frequencies : array-like of shape (N,)
        Probabilities with which they are drawn, up to a factor.
    weights : array-like of shape (N,)
        Weights of the integration rule, up to a factor.

    Examples
    --------
    >>> from thetalearn.dynamics.models.consumption import Tilted
    >>> shocks = Tilted([[0.9], [1.1]], frequencies=[1, 1], weights=[3, 1])
    >>> shocks.mean, shocks.nodes().weights
    (tensor([1.], dtype=torch.float64), tensor([0.7500, 0.2500], dtype=torch.float64))
    """

    frequencies: Tensor

    def __init__(
        self, sample: ArrayLike | Tensor, frequencies: ArrayLike, weights: ArrayLike
    ) -> None:
        super().__init__(sample, weights)
        self._store(frequencies=Empirical(sample, frequencies).weights)

    @property
    def mean(self) -> Tensor:
        """Mean (k,) of what is drawn."""
        return self.frequencies @ self.observations

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One row of the sample for each state: (n, d) to (n, k)."""
        return Empirical(self.observations, self.frequencies).sample(states, rng)

    def _parameters(self) -> dict[str, Any]:
        return {**super()._parameters(), "frequencies": self.frequencies}


def _equiprobable(n: int, sigma: float) -> np.ndarray:
    """Means of n equally probable intervals of a log-normal variable with mean one."""
    if sigma == 0:
        return np.ones(n)
    ends = ndtri(np.linspace(0, 1, n + 1))
    return np.asarray(n * np.diff(ndtr(ends - sigma)))


def _growth_tilt(gamma: float, growth: float, permanent: float, n_permanent: int) -> np.ndarray:
    """What growth makes of utility, for each permanent shock."""
    return np.asarray((growth * _equiprobable(n_permanent, permanent)) ** (1 - gamma))


def _growth_discount(
    beta: float, survival: float, gamma: float, growth: float, permanent: float, n_permanent: int
) -> float:
    return float(beta * survival * _growth_tilt(gamma, growth, permanent, n_permanent).mean())


def _growth_shocks(
    gamma: float,
    growth: float,
    permanent: float,
    transitory: float,
    unemployment: float,
    benefit: float,
    n_permanent: int,
    n_transitory: int,
) -> Shocks:
    """Permanent and transitory shocks, (n_permanent * (n_transitory + 1), 2)."""
    psi, theta = _equiprobable(n_permanent, permanent), _equiprobable(n_transitory, transitory)
    chances = np.full(n_transitory, (1 - unemployment) / n_transitory)
    if unemployment > 0:
        # The employed earn so much more that mean income is one.
        theta = np.append(theta * (1 - unemployment * benefit) / (1 - unemployment), benefit)
        chances = np.append(chances, unemployment)
    rows = np.stack(np.meshgrid(psi, theta, indexing="ij"), -1).reshape(-1, 2)
    tilt = _growth_tilt(gamma, growth, permanent, n_permanent)
    drawn = np.outer(np.full(n_permanent, 1 / n_permanent), chances)
    return Tilted(rows, drawn.ravel(), (tilt[:, None] * drawn).ravel())


def _saved_normalised(p: Tensor, e: Tensor, R: float, growth: float) -> Tensor:
    return R / (growth * e[:, :1]) * p + e[:, 1:]


def _normalised_transition(s: Tensor, a: Tensor, e: Tensor, R: float, growth: float) -> Tensor:
    return _saved_normalised(s - a, e, R, growth)


def _unit_resources() -> Point:
    return (1.0,), (1.0,)
