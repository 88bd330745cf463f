"""Savings of many households under aggregate risk, and the law that they make capital follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from torch import Tensor

from ...exceptions import ConvergenceWarning, warn_user
from ...randomness import random_numbers
from ...solvers.fixed_point import fixed_point
from ..model import DynamicModel
from ..shocks import MarkovChain, Shocks
from ..transforms import Transform
from .utility import discount, isoelastic, marginal_inverse

__all__ = ["LawOfMotion", "fit_law_of_motion", "make_krusell_smith"]

#: Unit of own capital: below it the coordinate is nearly linear, above nearly logarithmic.
UNIT = 1.0

Law = Sequence[Sequence[float]]
Pairs = tuple[tuple[float, float], tuple[float, float]]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ShiftedLog(Transform):
    """Logarithm of a variable that may be zero, log(unit + x).

    Parameters
    ----------
    unit : float
        Size, positive, below which the coordinate is nearly linear.
    """

    unit: float

    def forward(self, x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Logarithm of unit + x."""
        return (self.unit + x).log()

    def inverse(self, y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Exponential of y, less the unit."""
        return y.exp() - self.unit


def make_krusell_smith(
    *,
    beta: float = 0.99,
    gamma: float = 1.0,
    alpha: float = 0.36,
    delta: float = 0.025,
    productivity: Sequence[float] = (0.99, 1.01),
    unemployment: Sequence[float] = (0.1, 0.04),
    spell: Sequence[float] = (2.5, 1.5),
    duration: float = 8.0,
    benefit: float = 0.15,
    hours: float = 1 / 0.9,
    law_of_motion: Law = ((0.1238, 0.9656), (0.1378, 0.9632)),
    state_bounds: ArrayLike = ((0.0, 200.0), (30.0, 50.0), (0.0, 3.0)),
) -> DynamicModel:
    r"""The household of the economy of Krusell and Smith, given a law of motion of capital.

    Households differ in capital k and employment, and cannot borrow. Mean capital K, which they
    expect to follow a law that is linear in logarithms, tells them prices:

    .. math::
        V(k, K, i) = \max_{0 \le c \le m}\; \frac{c^{1-\gamma}}{1-\gamma} +
        \beta E\,V(m - c, K', i'), \qquad m = (1 - \delta + r)k + y,

    .. math::
        \ln K' = a_z + b_z \ln K, \quad
        r = \alpha z \Big(\frac{K}{\ell L}\Big)^{\alpha-1}, \quad
        w = (1-\alpha) z \Big(\frac{K}{\ell L}\Big)^{\alpha}, \quad L = 1 - u_z.

    Income y is :math:`\mu w` without work, and :math:`(1-\tau)\ell w` with it, where the tax
    :math:`\tau = \mu u_z / (\ell L)` pays for benefits. The state i numbers bad times without and
    with work (0, 1) and good times without and with it (2, 3).

    Parameters
    ----------
    beta : float, default=0.99
        Discount factor β.
    gamma : float, default=1.0
        Relative risk aversion γ, positive.
    alpha : float, default=0.36
        Share α of capital, in (0, 1).
    delta : float, default=0.025
        Depreciation δ, in [0, 1].
    productivity : sequence of 2 float, default=(0.99, 1.01)
        Productivity z in bad and in good times.
    unemployment : sequence of 2 float, default=(0.1, 0.04)
        Shares u of households without work in bad and in good times, in (0, 1).
    spell : sequence of 2 float, default=(2.5, 1.5)
        Mean length of a time without work if times stay bad, or good, in periods, at least 1.
    duration : float, default=8.0
        Mean length of bad and of good times, in periods, above 1.
    benefit : float, default=0.15
        Benefit μ, as a share of the wage.
    hours : float, default=1/0.9
        Labour ℓ of those who work; with this default labour is 1 in bad times.
    law_of_motion : sequence of 2 pairs of float, default=((0.1238, 0.9656), (0.1378, 0.9632))
        Intercept a and slope b of the law in bad and in good times; see `fit_law_of_motion`.
    state_bounds : array-like of shape (3, 2), default=((0, 200), (30, 50), (0, 3))
        Ends of k, of K and of the number of the state. Steady capital without risk is about 38.

    Returns
    -------
    DynamicModel
        States k, K, i; action c, up to m.

    Raises
    ------
    ValueError
        If unemployment, spells and duration make no probabilities.

    Notes
    -----
    Someone without work stays so with probability :math:`1 - 1/s_z` in lasting times, 1.25 times
    that of bad times on the way into them, and 0.75 times that of good times on the way into those.
    The probability to lose work is what keeps unemployment at its rate.

    References
    ----------
    P. Krusell and A. Smith, *Income and Wealth Heterogeneity in the Macroeconomy*, section II.
    W. Den Haan, K. Judd and M. Juillard, *Computational Suite of Models with Heterogeneous Agents:
    Incomplete Markets and Aggregate Uncertainty*, section 2.

    Examples
    --------
    >>> from thetalearn.dynamics.models import make_krusell_smith
    >>> model = make_krusell_smith()
    >>> model.state_labels
    ['k', 'K', 'i']
    >>> model.distribution.transition[0]
    tensor([0.5250, 0.3500, 0.0312, 0.0938], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_utility,
        transition=_next,
        discount=discount,
        shocks=_times,
        state_bounds=state_bounds,
        action_bounds=_up_to_resources,
        marginal_inverse=marginal_inverse,
        state_names=("k", "K", "i"),
        action_names=("c",),
        state_transform=(ShiftedLog(UNIT), "log", "identity"),
        action_transform="log",
        params={
            "beta": beta,
            "gamma": gamma,
            "alpha": alpha,
            "delta": delta,
            "productivity": tuple(productivity),
            "unemployment": tuple(unemployment),
            "spell": tuple(spell),
            "duration": duration,
            "benefit": benefit,
            "hours": hours,
            "law_of_motion": tuple(tuple(pair) for pair in law_of_motion),
        },
        name="Krusell-Smith household",
    )


def _times(unemployment: Sequence[float], spell: Sequence[float], duration: float) -> Shocks:
    """Bad and good times together with employment, numbered from 0 to 3."""
    stay = [[1 - 1 / spell[0], 0.75 * (1 - 1 / spell[1])], [0.0, 1 - 1 / spell[1]]]
    stay[1][0] = 1.25 * stay[0][0]
    rows = np.zeros((4, 4))
    for now in range(2):
        for later in range(2):
            lasting = 1 - 1 / duration if now == later else 1 / duration
            idle, kept = unemployment[now], stay[now][later]
            lost = (unemployment[later] - idle * kept) / (1 - idle)
            block = np.array([[kept, 1 - kept], [lost, 1 - lost]])
            rows[2 * now : 2 * now + 2, 2 * later : 2 * later + 2] = lasting * block
    if not (rows >= 0).all():
        raise ValueError(
            f"unemployment={tuple(unemployment)}, spell={tuple(spell)} and duration={duration} "
            "make negative probabilities: bring the rates or the spells of the times closer"
        )
    return MarkovChain(rows, [0.0, 1.0, 2.0, 3.0], state=2)


def _at(i: Tensor, pair: Sequence[float]) -> Tensor:
    """The number of the pair that holds in each state: the first in bad times."""
    return torch.where(i > 1.5, i.new_tensor(pair[1]), i.new_tensor(pair[0]))


def _resources(
    s: Tensor,
    alpha: float,
    delta: float,
    productivity: Sequence[float],
    unemployment: Sequence[float],
    benefit: float,
    hours: float,
) -> Tensor:
    """Capital after its return, and income, (n,)."""
    k, mean, i = s.unbind(1)
    idle = _at(i, unemployment)
    labour = hours * (1 - idle)
    product = _at(i, productivity) * (mean / labour) ** (alpha - 1)
    wage = (1 - alpha) * product * mean / labour
    working = (i - 2 * (i > 1.5)) > 0.5
    income = torch.where(working, hours - benefit * idle / (1 - idle), benefit) * wage
    return (1 - delta + alpha * product) * k + income


def _up_to_resources(
    s: Tensor,
    alpha: float,
    delta: float,
    productivity: Sequence[float],
    unemployment: Sequence[float],
    benefit: float,
    hours: float,
) -> tuple[float, Tensor]:
    return 0.0, _resources(s, alpha, delta, productivity, unemployment, benefit, hours)


def _utility(s: Tensor, a: Tensor, gamma: float) -> Tensor:
    return isoelastic(a[:, 0], gamma)


def _next(
    s: Tensor,
    a: Tensor,
    e: Tensor,
    alpha: float,
    delta: float,
    productivity: Sequence[float],
    unemployment: Sequence[float],
    benefit: float,
    hours: float,
    law_of_motion: Law,
) -> tuple[Tensor, Tensor, Tensor]:
    resources = _resources(s, alpha, delta, productivity, unemployment, benefit, hours)
    (low, low_slope), (high, high_slope) = law_of_motion
    growth = _at(s[:, 2], (low, high)) + _at(s[:, 2], (low_slope, high_slope)) * s[:, 1].log()
    return resources - a[:, 0], growth.exp(), e[:, 0]


@dataclass(frozen=True)
class LawOfMotion:
    """A law of motion of capital that the savings it leads to confirm.

    Attributes
    ----------
    coef : tuple of 2 pairs of float
        Intercept and slope in bad and in good times.
    r2 : ndarray of shape (2,)
        Share of the variance of log K' that the law explains, in bad and in good times.
    forecast_error : float
        Largest relative error of capital over the simulation when the law alone follows the times
        from the first period on, which is a harder test than r2.
    model : DynamicModel
        The household with the law.
    approximator : estimator
        Its fitted solution.
    capital : ndarray of shape (n_periods + 1,)
        Mean capital in the last simulation.
    times : ndarray of shape (n_periods + 1,)
        0 in its bad and 1 in its good times.
    points : ndarray of shape (n_points,)
        Points of the histogram of own capital.
    histogram : ndarray of shape (2, n_points)
        Shares of households without and with work at each of these, in the last period.
    n_iter : int
        Laws that were tried.
    converged : bool
        Whether the law settled.
    """

    coef: Pairs
    r2: Array
    forecast_error: float
    model: DynamicModel
    approximator: Any
    capital: Array
    times: NDArray[np.int64]
    points: Array
    histogram: Array
    n_iter: int
    converged: bool


def fit_law_of_motion(
    model: DynamicModel,
    approximator: Any,
    *,
    n_periods: int = 1100,
    burn_in: int = 100,
    n_points: int = 300,
    tol: float = 1e-5,
    max_iter: int = 50,
    random_state: int | np.random.RandomState | None = None,
) -> LawOfMotion:
    r"""Find the law of motion of capital that households both expect and bring about.

    The household is solved given a law, a histogram of all households is simulated, the logarithm
    of its mean capital is regressed on that of the period before, separately for bad and for good
    times, and the regression is the next law, up to Anderson's acceleration, until it settles.

    Parameters
    ----------
    model : DynamicModel
        From `make_krusell_smith`, with a first guess of the law.
    approximator : EulerApproximator or BellmanApproximator
        How to solve the household; a copy of it is fitted to each law.
    n_periods : int, default=1100
        Periods of the simulation, whose shocks are the same for all laws.
    burn_in : int, default=100
        First periods that the regressions leave out.
    n_points : int, default=300
        Points of the histogram, closer to each other where capital is low.
    tol : float, default=1e-5
        Bound on the error of the law's prediction of log K' at the ends of K.
    max_iter : int, default=50
        Laws to try at most.
    random_state : int, RandomState or None, default=None
        Draws the good and bad times.

    Returns
    -------
    LawOfMotion
        The law, with its fit and the simulation.

    Raises
    ------
    ValueError
        If an option is out of its range, the model is not one of `make_krusell_smith`, or the
        simulation is so short that one of the times occurs less than three times.

    Warns
    -----
    ConvergenceWarning
        If the law does not settle within ``max_iter`` laws, or capital left the model's bounds.

    Notes
    -----
    A simulation with the first law, from everyone at the middle of the bounds of K, leads to the
    histogram from which all others start. Each household is solved from the solution of the one
    before. Savings between two points are shared out so as to keep their mean.

    References
    ----------
    P. Krusell and A. Smith, *Income and Wealth Heterogeneity in the Macroeconomy*, section II.
    E. Young, *Solving the Incomplete Markets Model with Aggregate Uncertainty Using the
    Krusell-Smith Algorithm and Non-Stochastic Simulations*. W. Den Haan, *Assessing the Accuracy of
    the Aggregate Law of Motion in Models with Heterogeneous Agents*.

    Examples
    --------
    >>> from thetalearn import EulerApproximator
    >>> from thetalearn.dynamics.models import fit_law_of_motion, make_krusell_smith
    >>> household = EulerApproximator(basis="bspline", degree=2, knots=[20, 1, 2], tol=1e-6)
    >>> law = fit_law_of_motion(
    ...     make_krusell_smith(),
    ...     household,
    ...     n_periods=80,
    ...     burn_in=20,
    ...     n_points=60,
    ...     tol=1e-3,
    ...     random_state=0,
    ... )
    >>> law.converged, bool(law.r2.min() > 0.99)
    (True, True)
    """
    _check_options(model, n_periods, burn_in, n_points, max_iter)
    economy = _Economy.at_start(
        model,
        clone(approximator).set_params(warm_start=True),
        _path_of_times(model, n_periods, random_numbers(random_state)),
        burn_in,
        n_points,
    )
    first = economy.heights(np.asarray(model.params["law_of_motion"], dtype=np.float64))
    economy.confirmed(first)
    economy.start = economy.histogram
    root = fixed_point(economy.confirmed, first, tol=tol, max_iter=max_iter)
    if not root.converged:
        warn_user(
            f"the law of motion does not settle within max_iter={max_iter} laws ({root.reason}): "
            "raise max_iter or tol, or solve the household more accurately",
            ConvergenceWarning,
        )
    economy.confirmed(root.theta)
    _warn_outside(model, economy.capital[burn_in:])
    law = economy.law(root.theta)
    return LawOfMotion(
        coef=law,
        r2=economy.r2,
        forecast_error=_forecast_error(law, economy.capital[burn_in:], economy.times[burn_in:]),
        model=economy.household.model,
        approximator=economy.household,
        capital=economy.capital,
        times=economy.times,
        points=economy.points,
        histogram=economy.histogram,
        n_iter=root.n_iter,
        converged=root.converged,
    )


@dataclass
class _Economy:
    """All households, from a histogram of which every simulation starts."""

    model: DynamicModel
    household: Any
    times: NDArray[np.int64]
    burn_in: int
    points: Array
    start: Array
    histogram: Array
    capital: Array
    r2: Array

    @classmethod
    def at_start(
        cls,
        model: DynamicModel,
        household: Any,
        times: NDArray[np.int64],
        burn_in: int,
        n_points: int,
    ) -> _Economy:
        points, start = _crowd(model, n_points, int(times[0]))
        return cls(model, household, times, burn_in, points, start, start, points, points)

    @property
    def ends(self) -> Array:
        """Regressors at the ends of K, whose predictions are less collinear than coefficients."""
        return np.column_stack([np.ones(2), np.log(self.model.bounds[1].numpy())])

    def heights(self, coef: Array) -> Tensor:
        """Predictions (4,) of log K' at the ends of K in both times."""
        return torch.from_numpy((coef @ self.ends.T).ravel())

    def law(self, heights: Tensor) -> Pairs:
        """The law that makes these predictions."""
        low, high = np.linalg.solve(self.ends, heights.numpy().reshape(2, 2).T).T.tolist()
        return (low[0], low[1]), (high[0], high[1])

    def confirmed(self, heights: Tensor) -> Tensor:
        """Predictions of the law that capital follows if households expect the given one."""
        model = self.model.with_params(law_of_motion=self.law(heights))
        self.household.set_params(model=model).fit()
        self.capital, self.histogram = _simulated(
            self.household, self.points, self.start, self.times
        )
        coef, self.r2 = _regressions(self.capital, self.times, self.burn_in)
        return self.heights(coef)


def _check_options(
    model: DynamicModel, n_periods: int, burn_in: int, n_points: int, max_iter: int
) -> None:
    if "law_of_motion" not in model.params:
        raise ValueError(
            f"model={model.name!r} has no parameter 'law_of_motion': take one of make_krusell_smith"
        )
    if not 0 <= burn_in < n_periods:
        raise ValueError(f"burn_in={burn_in!r} must be from 0 to below n_periods={n_periods!r}")
    if n_points < 2:
        raise ValueError(f"n_points={n_points!r} must be at least 2")
    if max_iter < 1:
        raise ValueError(f"max_iter={max_iter!r} must be at least 1")


def _blocks(model: DynamicModel) -> Array:
    """Probabilities (now, later, work now, work later) of times and work together."""
    chain = model.distribution
    assert isinstance(chain, MarkovChain)
    rows = chain.transition.numpy()
    return np.ascontiguousarray(rows.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3))


def _path_of_times(
    model: DynamicModel, n_periods: int, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Bad and good times (n_periods + 1,), from bad ones on."""
    into_good = _blocks(model)[:, 1, 0].sum(1)
    draws = rng.random_sample(n_periods)
    times = np.zeros(n_periods + 1, dtype=np.int64)
    for t, draw in enumerate(draws):
        times[t + 1] = draw < into_good[times[t]]
    return times


def _crowd(model: DynamicModel, n_points: int, time: int) -> tuple[Array, Array]:
    """Points of own capital, and all households about the middle of the bounds of K."""
    (low, high), (least, most) = model.bounds[:2].tolist()
    points = np.geomspace(UNIT + low, UNIT + high, n_points) - UNIT
    points[[0, -1]] = low, high
    idle = model.params["unemployment"][time]
    shares = np.array([[idle], [1 - idle]])
    return points, _shared_out(points, np.full((2, 1), math.sqrt(least * most)), shares)


def _shared_out(points: Array, k: Array, shares: Array) -> Array:
    """Histograms (2, n_points) of capital k (2, n) with shares (2, n), with the same mean."""
    k = np.clip(k, points[0], points[-1])
    right = np.clip(np.searchsorted(points, k, side="right"), 1, len(points) - 1)
    weight = (k - points[right - 1]) / (points[right] - points[right - 1])
    size = len(points)
    return np.stack(
        [
            np.bincount(right[j] - 1, (1 - weight[j]) * shares[j], minlength=size)
            + np.bincount(right[j], weight[j] * shares[j], minlength=size)
            for j in range(2)
        ]
    )


def _simulated(
    household: Any, points: Array, histogram: Array, times: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Mean capital (n_periods + 1,), and the histogram of the last period."""
    model = household.model
    blocks = _blocks(model)
    low, high = model.bounds[1].tolist()
    states = np.zeros((2, len(points), 3))
    states[:, :, 0] = points
    capital = [float((histogram @ points).sum())]
    for now, later in pairwise(times):
        states[:, :, 1] = min(max(capital[-1], low), high)
        states[:, :, 2] = np.array([[2.0 * now], [2.0 * now + 1]])
        rows = states.reshape(-1, 3)
        _, most = model.action_limits(torch.from_numpy(rows))
        saved = most.numpy().reshape(2, -1) - household.policy(rows).reshape(2, -1)
        chances = blocks[now, later] / blocks[now, later].sum(1, keepdims=True)
        histogram = chances.T @ _shared_out(points, saved, histogram)
        capital.append(float((histogram @ points).sum()))
    return np.array(capital), histogram


def _regressions(capital: Array, times: NDArray[np.int64], burn_in: int) -> tuple[Array, Array]:
    """Coefficients (2, 2) of log capital on that of the period before, and their R², (2,)."""
    before, after = np.log(capital[burn_in:-1]), np.log(capital[burn_in + 1 :])
    coef, r2 = [], []
    for time in range(2):
        held = times[burn_in:-1] == time
        if held.sum() < 3:
            raise ValueError(
                f"times {'good' if time else 'bad'} occur less than three times: raise n_periods="
                f"{len(times) - 1}, or lower burn_in={burn_in}"
            )
        x = np.column_stack([np.ones(held.sum()), before[held]])
        found, *_ = np.linalg.lstsq(x, after[held], rcond=None)
        coef.append(found)
        r2.append(1 - (after[held] - x @ found).var() / after[held].var())
    return np.array(coef), np.array(r2)


def _forecast_error(law: Law, capital: Array, times: NDArray[np.int64]) -> float:
    """Largest relative distance of capital from the law that starts where capital does."""
    forecast = [math.log(capital[0])]
    for time in times[:-1]:
        forecast.append(law[time][0] + law[time][1] * forecast[-1])
    return float(np.abs(np.expm1(np.array(forecast) - np.log(capital))).max())


def _warn_outside(model: DynamicModel, capital: Array) -> None:
    low, high = model.bounds[1].tolist()
    if capital.min() < low or capital.max() > high:
        warn_user(
            f"mean capital went from {capital.min():.4g} to {capital.max():.4g}, beyond the "
            f"state_bounds ({low:.4g}, {high:.4g}) of K, where households act as at the nearest "
            "end: widen them",
            ConvergenceWarning,
        )
