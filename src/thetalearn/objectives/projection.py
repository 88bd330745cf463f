r"""Functional equations in expectation, their residuals, and projections of these.

The unknown is a function f with m outputs. At a state s it enters by its value y = f(s) and by its
value y' = f(s') at the next states, so that an equation is

.. math:: R(s) = c\Big(s, y, \sum_q w_q\, h(s, y, s'_q, f(s'_q), e_q)\Big), \qquad
   s'_q = g(s, y, e_q).

One backward pass for each equation gives the total derivative of R in y and its derivative in every
y'. The rows of the Jacobian in the coefficients are these numbers times the gradients of f at s and
s', so the cost does not grow with the number of coefficients, as it does when a tangent is carried
for each of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Equation", "Projection", "StateRows", "linearize", "residuals"]

#: Numbers that the derivatives of one block of states may take, 64 MB.
BLOCK_NUMBERS = 2**23


class Points(Protocol):
    """A function of known form at given points."""

    def value(self, theta: Tensor) -> Tensor:
        """Values (n, m)."""

    def jacobian(self, theta: Tensor) -> Tensor:
        """Derivatives in the inputs (n, m, d)."""

    def pullback(self, theta: Tensor, u: Tensor) -> Tensor:
        """Gradients (P, E, N) in theta of the sums over q of u (P, Q, E, m) times the values."""


class Function(Protocol):
    """A function of known form with unknown coefficients."""

    n_parameters: int

    def at(self, x: Tensor) -> Points:
        """The function at points (n, d)."""


class Equation(ABC):
    """What a functional equation says about one state; all arguments have one row a state."""

    #: Whether the next state depends on the unknown.
    controlled: bool = True

    @property
    @abstractmethod
    def n_equations(self) -> int:
        """Number E of residuals at a state."""

    @abstractmethod
    def coordinates(self, s: Tensor) -> Tensor:
        """Inputs of the function at states."""

    @abstractmethod
    def next_states(self, s: Tensor, y: Tensor, e: Tensor) -> Tensor:
        """Next states (n, d)."""

    @abstractmethod
    def integrand(self, s: Tensor, y: Tensor, s_next: Tensor, y_next: Tensor, e: Tensor) -> Tensor:
        """What is averaged over the shocks, (n, any number)."""

    @abstractmethod
    def combine(self, s: Tensor, y: Tensor, mean: Tensor) -> Tensor:
        """Residuals (n, n_equations) from the averages."""

    def select(self, rows: slice) -> Equation:
        """The equation at some of the states; itself unless it holds something for each state."""
        return self


@dataclass(frozen=True)
class StateRows:
    """States with the shocks that may follow.

    Parameters
    ----------
    states : Tensor of shape (P, d)
        The states.
    nodes : Tensor of shape (Q, k) or (P, Q, k)
        Values of the shocks.
    weights : Tensor of shape (Q,) or (P, Q)
        Their probabilities.
    """

    states: Tensor
    nodes: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.states)

    @property
    def n_nodes(self) -> int:
        """Number Q of values of the shocks."""
        return self.nodes.shape[-2]

    def select(self, rows: slice) -> StateRows:
        """Some of the states."""
        nodes = self.nodes[rows] if self.nodes.ndim == 3 else self.nodes
        weights = self.weights[rows] if self.weights.ndim == 2 else self.weights
        return StateRows(self.states[rows], nodes, weights)

    def repeated(self, rows: Tensor) -> Tensor:
        """Each row Q times, (P Q, columns)."""
        n, q = len(self), self.n_nodes
        return rows[:, None].expand(n, q, rows.shape[1]).flatten(0, 1)

    def shocks(self) -> Tensor:
        """The shock of each state and node, (P Q, k)."""
        n, q = len(self), self.n_nodes
        return self.nodes.expand(n, q, self.nodes.shape[-1]).flatten(0, 1)

    def mean(self, values: Tensor) -> Tensor:
        """Average over the nodes of values (P Q, columns), (P, columns)."""
        by_node = values.reshape(len(self), self.n_nodes, -1)
        if self.weights.ndim == 1:
            return torch.einsum("pqe,q->pe", by_node, self.weights)
        return torch.einsum("pqe,pq->pe", by_node, self.weights)


def residuals(equation: Equation, function: Function, theta: Tensor, rows: StateRows) -> Tensor:
    """Residuals at states, (P, n_equations)."""
    blocks = [
        _residuals(equation.select(part), function, theta, rows.select(part))
        for part in _blocks(rows, function)
    ]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _residuals(equation: Equation, function: Function, theta: Tensor, rows: StateRows) -> Tensor:
    with torch.no_grad():
        s, e = rows.repeated(rows.states), rows.shocks()
        y = function.at(equation.coordinates(rows.states)).value(theta)
        y_each = rows.repeated(y)
        after = equation.next_states(s, y_each, e)
        y_next = function.at(equation.coordinates(after)).value(theta)
        mean = rows.mean(equation.integrand(s, y_each, after, y_next, e))
        return equation.combine(rows.states, y, mean)


def linearize(
    equation: Equation,
    function: Function,
    theta: Tensor,
    rows: StateRows,
    *,
    follow_next: bool = True,
) -> tuple[Tensor, Tensor]:
    """Residuals (P, E) and their Jacobian (P, E, N) in the coefficients.

    With ``follow_next=False`` the function at the next states counts as known, as it does in time
    iteration.
    """
    values, jacobians = [], []
    for part in _blocks(rows, function):
        value, jacobian = _linearize(
            equation.select(part), function, theta, rows.select(part), follow_next
        )
        values.append(value)
        jacobians.append(jacobian)
    if len(values) == 1:
        return values[0], jacobians[0]
    return torch.cat(values), torch.cat(jacobians)


def _linearize(
    equation: Equation, function: Function, theta: Tensor, rows: StateRows, follow_next: bool
) -> tuple[Tensor, Tensor]:
    here = function.at(equation.coordinates(rows.states))
    residual, now, there, later = pointwise(
        equation, function, here.value(theta), theta, rows, follow_next
    )
    jacobian = here.pullback(theta, now[:, None])
    if later is not None:
        jacobian = jacobian + there.pullback(theta, later)
    return residual, jacobian


def pointwise(
    equation: Equation,
    function: Function,
    y: Tensor,
    theta: Tensor,
    rows: StateRows,
    follow_next: bool,
) -> tuple[Tensor, Tensor, Points, Tensor | None]:
    """Residuals with their derivatives in the values of the function.

    Returns the residuals (P, E), their total derivatives in y (P, E, m), the function at the next
    states, and the derivatives in each next value (P, Q, E, m), or None if those are not wanted.
    """
    n, q = len(rows), rows.n_nodes
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        s, e = rows.repeated(rows.states), rows.shocks()
        y_each = rows.repeated(y)
        after = equation.next_states(s, y_each, e)
        x_after = equation.coordinates(after)
        there = function.at(x_after.detach())
        value = there.value(theta).detach()
        y_next = value.requires_grad_(follow_next)
        if after.requires_grad:
            # The function near the next states, to first order, which is all that a gradient sees.
            moved = x_after - x_after.detach()
            slope = there.jacobian(theta).detach()
            y_next = value + (slope * moved[:, None, :]).sum(-1)
        mean = rows.mean(equation.integrand(s, y_each, after, y_next, e))
        residual = equation.combine(rows.states, y, mean)
        wanted = [y, value] if follow_next else [y]
        now, later = [], []
        for i in range(residual.shape[1]):
            last = i == residual.shape[1] - 1
            gradients = torch.autograd.grad(
                residual[:, i].sum(), wanted, retain_graph=not last, allow_unused=True
            )
            zeros = (torch.zeros_like(each) for each in wanted)
            filled = [z if g is None else g for g, z in zip(gradients, zeros, strict=True)]
            now.append(filled[0])
            if follow_next:
                later.append(filled[1].reshape(n, q, -1))
    derivative = torch.stack(now, 1)
    return (
        residual.detach(),
        derivative,
        there,
        torch.stack(later, 2) if follow_next else None,
    )


def _blocks(rows: StateRows, function: Function) -> list[slice]:
    """Blocks of states whose derivatives fit the memory allowed to them."""
    each = rows.n_nodes * function.n_parameters
    size = max(BLOCK_NUMBERS // max(each, 1), 1)
    return [slice(start, start + size) for start in range(0, len(rows), size)]


class Projection:
    """The conditions on the coefficients: residuals at states, or their weighted averages.

    Without ``tests`` every residual at every state is a condition (collocation, and least squares
    where there are more of them than coefficients). With test functions (P, K) the conditions are
    that the residuals are orthogonal to each of them (Galerkin, if these are the basis functions
    times the weights of a quadrature).

    Parameters
    ----------
    equation : Equation or callable
        The equation, or what gives it for given coefficients, such as a Bellman equation whose
        actions are chosen anew.
    function : Function
        The form of the unknown.
    rows : StateRows
        States and shocks.
    tests : Tensor of shape (P, K), default=None
        Test functions at the states, times weights.

    References
    ----------
    Sawada and Zhong, *Parameterization and Neural Network*, section on objectives. K. Judd,
    *Numerical Methods in Economics*, chapter 11.
    """

    def __init__(
        self,
        equation: Equation | Callable[[Tensor], Equation],
        function: Function,
        rows: StateRows,
        tests: Tensor | None = None,
    ) -> None:
        self.equation, self.function, self.rows, self.tests = equation, function, rows, tests

    def residual(self, theta: Tensor) -> Tensor:
        """The conditions, flat."""
        values = residuals(self._equation_at(theta), self.function, theta, self.rows)
        return self._projected(values)

    def linearize(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The conditions, flat, and their Jacobian in the coefficients."""
        values, jacobian = linearize(self._equation_at(theta), self.function, theta, self.rows)
        if self.tests is not None:
            jacobian = torch.einsum("pk,pen->ken", self.tests, jacobian)
        return self._projected(values), jacobian.flatten(0, 1)

    def _equation_at(self, theta: Tensor) -> Equation:
        return self.equation if isinstance(self.equation, Equation) else self.equation(theta)

    def _projected(self, values: Tensor) -> Tensor:
        return (values if self.tests is None else self.tests.T @ values).flatten()
