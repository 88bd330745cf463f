"""Everything that a solve works with: model, function, states, shocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..exceptions import DomainError
from ..objectives.projection import Projection, StateRows
from ..representations.parametric import LinearFunction, ParametricFunction
from .approximation import Approximation, Representation, even_states
from .coordinates import StateMap
from .model import DynamicModel
from .quadrature import Quadrature

__all__ = ["Setup"]

#: States off the nodes at which a solution is verified.
N_CHECKS = 200


@dataclass(frozen=True)
class Setup:
    """A model with the function that approximates its unknown, and the states to do it at.

    Parameters
    ----------
    model : DynamicModel
        The problem.
    to_inputs : StateMap
        Inputs of the function.
    approximation : Approximation
        The function.
    rule : Quadrature
        Nodes and weights of the shocks.
    states : Tensor of shape (P, d)
        Where residuals are taken.
    tests : Tensor of shape (P, K) or None
        Galerkin's test functions at these states.
    checks : Tensor of shape (n, d)
        Other states, for verification.
    """

    model: DynamicModel
    to_inputs: StateMap
    approximation: Approximation
    rule: Quadrature
    states: Tensor
    tests: Tensor | None
    checks: Tensor

    @classmethod
    def build(
        cls,
        model: DynamicModel,
        representation: Representation,
        n_outputs: int,
        rule: Quadrature,
        *,
        states: Tensor | None = None,
        cloud: Tensor | None = None,
        galerkin: bool = False,
        rng: np.random.RandomState,
        device: torch.device | None = None,
    ) -> Setup:
        """Put the parts together.

        Parameters
        ----------
        model, representation, n_outputs, rule
            The problem, the form of the unknown and its number of outputs, the rule for shocks.
        states : Tensor of shape (n, d), default=None
            Where to take residuals instead of at nodes of the function's own.
        cloud : Tensor of shape (n, d), default=None
            A simulation, over whose principal components the function is to be put.
        galerkin : bool, default=False
            Whether conditions are weighted averages of residuals.
        rng : numpy.random.RandomState
            For nodes that are scattered, and for the states of the verification.
        device : torch.device or None, default=None
            Where to compute; None for the CPU.

        Raises
        ------
        DomainError
            If a given state lies outside the model's bounds.
        """
        to_inputs = StateMap(model, cloud)
        if cloud is not None and to_inputs.chains:
            raise ValueError(
                'sampling="ergodic" mixes the states, which a finite chain does not bear: choose '
                '"nodes" or "sobol"'
            )
        chains = to_inputs.chains
        seed = int(rng.randint(np.iinfo(np.int32).max))
        approximation = representation.build(
            to_inputs.box,
            n_outputs,
            chains,
            galerkin=galerkin,
            n_states=None if states is None else len(states),
            random_state=seed,
        )
        if states is not None and cloud is None:
            check_inside(model, states)
        elif states is None:
            states = to_inputs.inverse(torch.from_numpy(approximation.nodes))
        checks = to_inputs.inverse(even_states(N_CHECKS, to_inputs.box, chains, seed + 1))
        if device is not None:
            states, checks = states.to(device), checks.to(device)
        tests = None
        if galerkin:
            rows = basis_rows(approximation.function, to_inputs(states))
            tests = torch.from_numpy(approximation.weights).to(states)[:, None] * rows
        return cls(model, to_inputs, approximation, rule, states, tests, checks)

    @property
    def function(self) -> Any:
        """The function."""
        return self.approximation.function

    @cached_property
    def inputs(self) -> Tensor:
        """Inputs (P, d) of the states."""
        return self.to_inputs(self.states)

    @cached_property
    def rows(self) -> StateRows:
        """States with the shocks that may follow."""
        return self.rows_at(self.states)

    @property
    def n_conditions(self) -> int:
        """Conditions for each output of the function."""
        return len(self.states) if self.tests is None else self.tests.shape[1]

    @property
    def n_terms(self) -> int:
        """Coefficients for each output of the function."""
        return self.approximation.n_terms

    @property
    def square(self) -> bool:
        """Whether there are as many conditions as coefficients."""
        return self.function.linear and self.n_conditions == self.n_terms

    def rows_at(self, states: Tensor) -> StateRows:
        """Any states with the shocks that may follow."""
        nodes, weights = self.rule.at(states)
        return StateRows(states, nodes, weights)

    def projection(self, equation: Any) -> Projection:
        """The conditions that an equation puts on the coefficients."""
        return Projection(equation, self.function, self.rows, self.tests)

    def fit(self, y: Tensor, *, start: Tensor | None = None, random_state: Any = 0) -> Tensor:
        """Coefficients of the function closest to unknowns (P, m) at the states."""
        return self.function.fit(self.inputs, y, start=start, random_state=random_state)

    def at(self, states: Tensor, theta: Tensor) -> Tensor:
        """Unknowns (n, m) at states."""
        return self.function.at(self.to_inputs(states)).value(theta)


def basis_rows(function: ParametricFunction, x: Tensor) -> Tensor:
    """Values (n, K) of the basis of a function that is linear in its coefficients."""
    assert isinstance(function, LinearFunction)
    values = function.basis(x)
    return values.to_dense() if values.layout != torch.strided else values


def check_inside(model: DynamicModel, states: Tensor) -> None:
    """Refuse states outside the bounds.

    Raises
    ------
    DomainError
        Naming the state, its value and the bounds.
    """
    bounds = model.bounds.to(states)
    slack = 1e-9 * (bounds[:, 1] - bounds[:, 0])
    outside = (states < bounds[:, 0] - slack) | (states > bounds[:, 1] + slack)
    if outside.any():
        i, j = torch.nonzero(outside)[0].tolist()
        low, high = bounds[j].tolist()
        raise DomainError(
            f"state {model.state_labels[j]!r} is {states[i, j].item():.6g} in row {i}, outside "
            f"state_bounds ({low:.6g}, {high:.6g}); {int(outside.any(1).sum())} row(s) lie "
            "outside: widen state_bounds, or drop the rows"
        )
