"""Shifted rectified linear units: continuous piecewise linear functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .basis import UnivariateBasis

__all__ = ["ShiftedReLU"]


class ShiftedReLU(UnivariateBasis):
    r"""The constant 1 and :math:`\max(x - b_i, 0)` for shifts :math:`b_1 < \dots < b_m`.

    Their span is the continuous piecewise linear functions with kinks at the shifts that are
    constant to the left of :math:`b_1`: one hidden ReLU layer with its inner weights fixed.

    Parameters
    ----------
    shifts : array-like of shape (m,)
        The shifts, in increasing order.

    References
    ----------
    Feng, *Introduction to Machine Learning for Economists*, section on activations (ReLU basis).

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.bases import ShiftedReLU
    >>> ShiftedReLU([0.0, 1.0])(torch.tensor([[0.5], [3.0]], dtype=torch.float64))
    tensor([[1.0000, 0.5000, 0.0000],
            [1.0000, 3.0000, 2.0000]], dtype=torch.float64)
    """

    def __init__(self, shifts: Sequence[float] | np.ndarray) -> None:
        self.shifts = np.asarray(shifts, dtype=np.float64)
        if self.shifts.ndim != 1 or not np.all(np.diff(self.shifts) > 0):
            raise ValueError(f"shifts={shifts!r} must be strictly increasing numbers")
        self.n_terms = len(self.shifts) + 1

    def _terms(self, x: Tensor, order: int) -> Tensor:
        ramp = x[None, :] - torch.from_numpy(self.shifts).to(x)[:, None]
        if order == -1:
            constant, units = x, ramp.clamp(min=0).square() / 2
        elif order == 0:
            constant, units = torch.ones_like(x), ramp.clamp(min=0)
        elif order == 1:
            constant, units = torch.zeros_like(x), (ramp > 0).to(x.dtype)
        else:
            constant, units = torch.zeros_like(x), torch.zeros_like(ramp)
        return torch.cat([constant[None, :], units])

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``1, relu(x-b1), ...``."""
        return ["1", *(f"relu({input_names[0]}-{b:.6g})" for b in self.shifts)]
