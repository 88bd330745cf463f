"""Preferences that several models share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["discount", "isoelastic", "marginal_inverse"]


def discount(beta: float) -> float:
    """The discount factor of models that hold it among their parameters."""
    return beta


def isoelastic(c: Tensor, gamma: float, *, centred: bool = False) -> Tensor:
    r"""Utility of constant relative risk aversion, :math:`c^{1-\gamma}/(1-\gamma)` or log c.

    Parameters
    ----------
    c : Tensor
        Consumption; the utility of what is negative is nan, that of nothing may be -inf.
    gamma : float
        Relative risk aversion; at 1, utility is log c.
    centred : bool, default=False
        Whether utility is :math:`(c^{1-\gamma}-1)/(1-\gamma)`, which is continuous in γ at 1.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models.utility import isoelastic
    >>> isoelastic(torch.tensor([1.0, 2.0]), 2.0)
    tensor([-1.0000, -0.5000])
    """
    if gamma == 1:
        return c.log()
    # By way of the logarithm, because a negative number has a square too.
    exponent = (1 - gamma) * c.log()
    return (torch.expm1(exponent) if centred else exponent.exp()) / (1 - gamma)


def marginal_inverse(v: Tensor, s: Tensor, gamma: float) -> Tensor:
    r"""Consumption whose marginal utility is v, :math:`v^{-1/\gamma}`."""
    return v ** (-1 / gamma)
