"""Ordinary polynomials: the monomials 1, x, x^2, ..."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .basis import Basis, Order, UnivariateBasis, multi_order

__all__ = ["Affine", "Polynomial"]


class Affine(Basis):
    """The constant 1 and the inputs themselves: what a linear model is linear in.

    Parameters
    ----------
    n_inputs : int
        Number d of inputs.
    constant : bool, default=True
        Whether the constant is among the functions.
    """

    def __init__(self, n_inputs: int, constant: bool = True) -> None:
        self.n_inputs = n_inputs
        self.constant = constant
        self.n_terms = n_inputs + constant

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the basis: points of shape (n, d) to values of shape (n, K)."""
        return self.derivative(x, (0,) * self.n_inputs)

    def derivative(self, x: Tensor, order: Order = 1) -> Tensor:
        """Partial derivative of every function, shape (n, K)."""
        orders = multi_order(order, self.n_inputs)
        if sum(orders) == 0:
            inputs = x
        else:
            slopes = [float(sum(orders) == 1 and k == 1) for k in orders]
            inputs = torch.tensor(slopes, dtype=x.dtype, device=x.device).expand(x.shape)
        if not self.constant:
            return inputs
        return torch.cat([x.new_full((len(x), 1), float(sum(orders) == 0)), inputs], dim=1)

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``1, x1, x2, ...``."""
        return [*(["1"] if self.constant else []), *input_names]


class Polynomial(UnivariateBasis):
    r"""Monomials :math:`1, x, \dots, x^p`.

    On [0, 1] the columns :math:`x^{10}` and :math:`x^{11}` are nearly equal, so the condition
    number of a design matrix grows exponentially with the degree: beyond degree ten or so,
    prefer `Chebyshev`, which spans the same functions.

    Parameters
    ----------
    degree : int
        Largest degree p; there are p + 1 functions.

    References
    ----------
    Sawada and Zhong, *Parameterization and Neural Network*, section on bases.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.bases import Polynomial
    >>> Polynomial(3)(torch.tensor([[2.0]], dtype=torch.float64))
    tensor([[1., 2., 4., 8.]], dtype=torch.float64)
    """

    def __init__(self, degree: int) -> None:
        self.degree = degree
        self.n_terms = degree + 1

    def _terms(self, x: Tensor, order: int) -> Tensor:
        powers = torch.arange(self.n_terms, dtype=x.dtype, device=x.device)
        if order == -1:
            return x[None, :] ** (powers + 1)[:, None] / (powers + 1)[:, None]
        factor = torch.ones_like(powers)
        for k in range(order):
            factor = factor * (powers - k)
        return factor[:, None] * x[None, :] ** (powers - order).clamp(min=0)[:, None]

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``1, x, x^2, ...``."""
        name = input_names[0]
        return ["1", name, *(f"{name}^{k}" for k in range(2, self.n_terms))][: self.n_terms]
