"""Functions of a variable that takes finitely many values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...exceptions import DomainError
from .basis import DOMAIN_SLACK, UnivariateBasis

__all__ = ["Discrete"]


class Discrete(UnivariateBasis):
    r"""The constant 1 and indicators :math:`1\{x = v_k\}` of all values but the first.

    They span all functions on the values :math:`v_0, \dots, v_{K-1}`, so that a product with
    polynomials of other inputs is one polynomial for each value: what a Markov chain among the
    states of a dynamic model asks for. Derivatives are zero.

    Parameters
    ----------
    values : array-like of shape (K,)
        Distinct finite numbers.

    Raises
    ------
    ValueError
        If the values are not distinct and finite, or an antiderivative is asked for.
    DomainError
        When evaluated at a number that is not among the values.

    References
    ----------
    K. Judd, *Numerical Methods in Economics*, chapter 12 (discrete states).

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.bases import Discrete
    >>> Discrete([0.9, 1.0, 1.1])(torch.tensor([[0.9], [1.1]], dtype=torch.float64))
    tensor([[1., 0., 0.],
            [1., 0., 1.]], dtype=torch.float64)
    """

    def __init__(self, values: Sequence[float] | np.ndarray) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        if self.values.ndim != 1 or not self.values.size or not np.isfinite(self.values).all():
            raise ValueError(f"values={values!r} must be a list of finite numbers")
        self.n_terms = len(self.values)
        self._slack = DOMAIN_SLACK * float(np.abs(self.values).max())
        gaps = np.diff(np.sort(self.values))
        if gaps.size and gaps.min() <= 2 * self._slack:
            raise ValueError(f"values={self.values.tolist()} must be distinct numbers")

    def _terms(self, x: Tensor, order: int) -> Tensor:
        if order < 0:
            raise ValueError(f"order={order}: functions of a discrete input have no antiderivative")
        distance = (x[None, :] - torch.from_numpy(self.values).to(x)[:, None]).abs()
        equal = distance <= self._slack
        known = equal.any(0)
        if not known.all():
            stranger = x[~known][0].item()
            raise DomainError(
                f"x={stranger:.6g} is not among the values {self.values.tolist()} of a discrete "
                "input: give only these, or a continuous basis for this input"
            )
        if order > 0:
            return x.new_zeros(equal.shape)
        equal[0] = True
        return equal.to(x.dtype)

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``1, [x=v1], [x=v2], ...``."""
        return ["1", *(f"[{input_names[0]}={v:.6g}]" for v in self.values[1:])]
