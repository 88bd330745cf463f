"""Overlapping generations under aggregate risk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product

import torch
from scipy.optimize import brentq
from torch import Tensor

from ..model import DynamicModel, Solution
from ..shocks import Empirical, Shocks

__all__ = ["make_overlapping_generations"]


def make_overlapping_generations(
    *,
    n_ages: int = 6,
    alpha: float = 0.3,
    beta: float = 0.7,
    productivity: Sequence[float] = (0.95, 1.05),
    depreciation: Sequence[float] = (0.5, 0.9),
    width: float = 1.35,
) -> DynamicModel:
    r"""Savings of generations of A ages, which have a closed form.

    The young work, all others live on their savings, and utility is logarithmic. Production
    :math:`\zeta K^\alpha` with one unit of labour pays the wage
    :math:`w = (1-\alpha)\zeta K^\alpha` and the gross return
    :math:`R = 1 - d + \alpha\zeta K^{\alpha-1}`, where productivity ζ and depreciation d are drawn
    anew each period, all pairs with the same probability. Incomes are :math:`x_1 = w`,
    :math:`x_{h+1}' = R' a_h`, capital is :math:`K' = \sum_h a_h`, and savings obey

    Incomes are bounded by this factor above and below their steady state.

    Returns
    -------
    DynamicModel
        States x1, ..., xA, the incomes, from which everything else follows, as shocks are
        independent; actions a1, ..., the savings, between zero and income, in logits, in which the
        solution is constant. No reward: nobody maximises for all.

    Raises
    ------
    ValueError
        If there are fewer than two ages.

    References
    ----------
    G. Huffman, *A Dynamic Equilibrium Model of Asset Prices and Transaction Volume*. D. Krueger and
    F. Kubler, *Computing Equilibrium in OLG Models with Stochastic Production*, section 4.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_overlapping_generations
    >>> model = make_overlapping_generations()
    >>> model.exact("policy")(torch.ones(1, 6, dtype=torch.float64))
    tensor([[0.6600, 0.6394, 0.6052, 0.5434, 0.4118]], dtype=torch.float64)
    """
    if n_ages != int(n_ages) or n_ages < 2:
        raise ValueError(f"n_ages={n_ages!r} must be a whole number of at least 2")
    return DynamicModel(
        transition=_next_incomes,
        euler=_savings_euler,
        shocks=_technology,
        state_bounds=partial(_income_bounds, n_ages),
        action_bounds=_up_to_income,
        state_names=[f"x{h}" for h in range(1, n_ages + 1)],
        action_names=[f"a{h}" for h in range(1, n_ages)],
        state_transform="log",
        action_transform="logit",
        steady_state=partial(_steady_state, n_ages),
        solution=Solution(policy=_savings),
        params={
            "alpha": alpha,
            "beta": beta,
            "productivity": tuple(productivity),
            "depreciation": tuple(depreciation),
            "width": width,
        },
        name="overlapping generations",
    )


def _technology(productivity: Sequence[float], depreciation: Sequence[float]) -> Shocks:
    return Empirical(list(product(productivity, depreciation)))


def _up_to_income(s: Tensor) -> tuple[float, Tensor]:
    return 0.0, s[:, :-1]


def _next_incomes(s: Tensor, a: Tensor, e: Tensor, alpha: float) -> Tensor:
    capital = a.sum(1, keepdim=True)
    output = e[:, :1] * capital**alpha
    gross_return = 1 - e[:, 1:] + alpha * output / capital
    return torch.cat([(1 - alpha) * output, gross_return * a], 1)


def _savings_euler(s: Tensor, a: Tensor, s_next: Tensor, a_next: Tensor, beta: float) -> Tensor:
    kept = torch.cat([a_next[:, 1:], torch.zeros_like(a[:, :1])], 1)
    consumption, later = s[:, :-1] - a, s_next[:, 1:] - kept
    return beta * s_next[:, 1:] / a * consumption / later - 1


def _shares(n_ages: int, beta: float) -> list[float]:
    """Saved shares of income at all ages but the last."""
    # Sums of powers, because the closed form of their ratio is 0/0 at beta = 1.
    sums = [math.fsum(beta**i for i in range(left)) for left in range(1, n_ages + 1)]
    return [beta * sums[left - 1] / sums[left] for left in range(n_ages - 1, 0, -1)]


def _savings(s: Tensor, beta: float) -> Tensor:
    return s[:, :-1] * s.new_tensor(_shares(s.shape[1], beta))


def _steady_state(
    n_ages: int,
    alpha: float,
    beta: float,
    productivity: Sequence[float],
    depreciation: Sequence[float],
) -> tuple[list[float], list[float]]:
    """Incomes and savings that repeat themselves when shocks are at their means."""
    level = math.fsum(productivity) / len(productivity)
    lost = math.fsum(depreciation) / len(depreciation)
    shares = _shares(n_ages, beta)

    def incomes(log_capital: float) -> list[float]:
        output = level * math.exp(alpha * log_capital)
        gross_return = 1 - lost + alpha * output / math.exp(log_capital)
        rows = [(1 - alpha) * output]
        for share in shares:
            rows.append(gross_return * share * rows[-1])
        return rows

    def excess(log_capital: float) -> float:
        saved = math.fsum(x * share for x, share in zip(incomes(log_capital), shares, strict=False))
        return math.log(saved) - log_capital

    x = incomes(float(brentq(excess, -30.0, 30.0, xtol=1e-15, rtol=1e-15)))
    return x, [income * share for income, share in zip(x, shares, strict=False)]


def _income_bounds(
    n_ages: int,
    alpha: float,
    beta: float,
    productivity: Sequence[float],
    depreciation: Sequence[float],
    width: float,
) -> list[tuple[float, float]]:
    incomes, _ = _steady_state(n_ages, alpha, beta, productivity, depreciation)
    return [(x / width**h, x * width**h) for h, x in enumerate(incomes, start=1)]
