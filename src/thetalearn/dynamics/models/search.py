"""Search for a job."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..model import DynamicModel, Solution
from ..shocks import Shocks, Uniform
from .utility import discount

__all__ = ["make_mccall", "reservation_wage"]


def make_mccall(
    *,
    beta: float = 0.95,
    benefit: float = 0.1,
    low: float = 0.0,
    high: float = 1.0,
) -> DynamicModel:
    r"""Search for a job among offers of uniformly distributed wages.

    A worker keeps the offered wage w for good, or lives on a benefit and sees another offer:

    .. math::
        V(w) = \max\left\{\frac{w}{1-\beta},\; c + \beta E V(w')\right\}, \qquad
        w' \sim U[\underline w, \bar w].

    Offers from the reservation wage :math:`w^*` on are accepted, where

    .. math::
        w^* - c = \frac{\beta}{1-\beta}\, \frac{(\bar w - w^*)^2}{2(\bar w - \underline w)}, \qquad
        V(w) = \frac{\max\{w, w^*\}}{1-\beta}.

    Parameters
    ----------
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    benefit : float, default=0.1
        Income c without a job.
    low, high : float, default=0.0, 1.0
        Ends of the wages offered.

    Returns
    -------
    DynamicModel
        State w; discrete action "accept", 0 or 1. Who accepts has the wage and meets the same offer
        again, which is worth the same as keeping the job for good.

    Raises
    ------
    ValueError
        From the exact solution, if the benefit is not below ``high``.

    References
    ----------
    J. McCall, *Economics of Information and Job Search*. L. Ljungqvist and T. Sargent, *Recursive
    Macroeconomic Theory*, chapter on search and unemployment.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_mccall
    >>> model = make_mccall()
    >>> offers = torch.tensor([[0.7], [0.8]], dtype=torch.float64)
    >>> model.exact("policy")(offers).T
    tensor([[0., 1.]], dtype=torch.float64)
    """
    return DynamicModel(
        reward=_income,
        transition=_next_offer,
        discount=discount,
        shocks=_offers,
        state_bounds=_wage_bounds,
        discrete_actions=[0.0, 1.0],
        state_names=("w",),
        action_names=("accept",),
        solution=Solution(_accept, _worth_of_offer),
        params={"beta": beta, "benefit": benefit, "low": low, "high": high},
        name="McCall job search",
    )


def reservation_wage(
    *, beta: float = 0.95, benefit: float = 0.1, low: float = 0.0, high: float = 1.0
) -> float:
    r"""The wage at which `make_mccall`'s worker is indifferent.

    Parameters
    ----------
    beta, benefit, low, high : float
        As in `make_mccall`.

    Returns
    -------
    float
        :math:`w^*`; below ``low`` if every offer is accepted.

    Raises
    ------
    ValueError
        If the benefit is not below ``high``, so that no offer is ever accepted.

    Examples
    --------
    >>> from thetalearn.dynamics.models import reservation_wage
    >>> round(reservation_wage(), 7)
    0.7403706
    """
    if not benefit < high:
        raise ValueError(
            f"benefit={benefit} must be below high={high}, or no offer is ever accepted"
        )
    patience = beta / (1 - beta)
    if benefit + patience * ((low + high) / 2 - low) < low:
        return (benefit + patience * (low + high) / 2) / (1 + patience)
    slope = patience / (2 * (high - low))
    # The distance from the best offer; in this form nothing cancels.
    distance = 2 * (high - benefit) / (1 + math.sqrt(1 + 4 * slope * (high - benefit)))
    return high - distance


def _offers(low: float, high: float) -> Shocks:
    return Uniform(low, high)


def _wage_bounds(low: float, high: float) -> list[tuple[float, float]]:
    return [(low, high)]


def _income(s: Tensor, a: Tensor, benefit: float) -> Tensor:
    return torch.where(a[:, 0] > 0, s[:, 0], benefit)


def _next_offer(s: Tensor, a: Tensor, e: Tensor) -> Tensor:
    return torch.where(a > 0, s, e)


def _accept(s: Tensor, beta: float, benefit: float, low: float, high: float) -> Tensor:
    wage = reservation_wage(beta=beta, benefit=benefit, low=low, high=high)
    return (s >= wage).to(s)


def _worth_of_offer(s: Tensor, beta: float, benefit: float, low: float, high: float) -> Tensor:
    wage = reservation_wage(beta=beta, benefit=benefit, low=low, high=high)
    return s[:, 0].clamp(min=wage) / (1 - beta)
