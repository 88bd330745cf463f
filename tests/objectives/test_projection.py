"""Residuals of functional equations and their structured Jacobians, against naive ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from thetalearn.objectives import projection
from thetalearn.objectives.projection import (
    Equation,
    Projection,
    StateRows,
    linearize,
    residuals,
)
from thetalearn.representations.bases import (
    BSpline,
    Chebyshev,
    ProductBasis,
    TensorBSpline,
    tensor_indices,
)
from thetalearn.representations.parametric import LinearFunction, NetworkFunction

#: Two routes to the same exact derivative.
ROUNDING = {"rtol": 1e-10, "atol": 1e-11}


@dataclass(frozen=True)
class Waves(Equation):
    """A nonlinear equation that has every dependence there can be."""

    n_outputs: int = 1
    n_equations: int = 1
    scale: Tensor | None = None
    free: bool = False

    def coordinates(self, s: Tensor) -> Tensor:
        return torch.stack([0.5 * s[:, 0], torch.tanh(s[:, 1])], 1)

    def next_states(self, s: Tensor, y: Tensor, e: Tensor) -> Tensor:
        pull = 0.0 if self.free else 0.3 * y.sin().sum(1)
        return torch.stack([0.6 * s[:, 0] + pull + 0.1 * e[:, 0], 0.4 * s[:, 1] * e[:, -1]], 1)

    def integrand(self, s: Tensor, y: Tensor, s_next: Tensor, y_next: Tensor, e: Tensor) -> Tensor:
        first = y_next.exp().sum(1) * (1 + s_next[:, 0]) * y[:, 0].cos()
        return torch.stack([first, y_next[:, 0] * s[:, 1] + e[:, 0] ** 2, s_next[:, 1] ** 2], 1)

    def combine(self, s: Tensor, y: Tensor, mean: Tensor) -> Tensor:
        scale = 1.0 if self.scale is None else self.scale
        parts = [y[:, 0] ** 2 - mean[:, 0] + s[:, 0], y[:, -1] * mean[:, 1] - mean[:, 2]]
        return torch.stack([scale * part for part in parts[: self.n_equations]], 1)

    def select(self, rows: slice) -> Equation:
        scale = None if self.scale is None else self.scale[rows]
        return Waves(self.n_outputs, self.n_equations, scale, self.free)


def linear(n_outputs: int) -> LinearFunction:
    factors = [Chebyshev(3, (-1.0, 1.0)), Chebyshev(2, (-1.0, 1.0))]
    return LinearFunction(ProductBasis(factors, tensor_indices([4, 3])), n_outputs)


def splines(n_outputs: int) -> LinearFunction:
    axis = BSpline(np.array([-0.3, 0.4]), 3, (-1.0, 1.0))
    return LinearFunction(TensorBSpline([axis, axis]), n_outputs)


def chain(n_outputs: int) -> NetworkFunction:
    module = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, n_outputs)).double()
    return NetworkFunction(module, 2, n_outputs)


class Skip(nn.Module):
    """A network that is no chain."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(2, 4), nn.Linear(2, n_outputs)
        self.last = nn.Linear(4, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(x) + self.last(torch.sin(self.inner(x)))


def traced(n_outputs: int) -> NetworkFunction:
    return NetworkFunction(Skip(n_outputs).double(), 2, n_outputs)


FUNCTIONS = {"chebyshev": linear, "splines": splines, "chain": chain, "traced": traced}


def states(n: int = 7, conditional: str = "none", seed: int = 0) -> StateRows:
    rng = np.random.RandomState(seed)
    at = torch.from_numpy(rng.uniform(-0.9, 0.9, (n, 2)))
    nodes = torch.from_numpy(rng.normal(size=(n, 3, 2)))
    weights = torch.from_numpy(rng.dirichlet(np.ones(3), size=n))
    if conditional in ("none", "weights"):
        nodes = nodes[0]
    if conditional in ("none", "nodes"):
        weights = weights[0]
    return StateRows(at, nodes, weights)


def coefficients(function, seed: int = 1) -> Tensor:
    return 0.4 * torch.from_numpy(np.random.RandomState(seed).normal(size=function.n_parameters))


def evaluate(function, theta: Tensor, x: Tensor) -> Tensor:
    """Values that autograd sees in theta and in x, by a route of their own."""
    if isinstance(function, LinearFunction):
        design = function.basis(x)
        design = design if design.layout == torch.strided else design.to_dense()
        return design @ theta.reshape(-1, function.n_outputs)
    sizes = [p.numel() for p in function.module.parameters()]
    named = {
        name: part.reshape(p.shape)
        for (name, p), part in zip(
            function.module.named_parameters(), theta.split(sizes), strict=True
        )
    }
    return functional_call(function.module, named, (x,))


def naive(equation: Equation, function, theta: Tensor, rows: StateRows) -> Tensor:
    """Residuals (P, E) by loops over states and shocks."""
    found = []
    for i in range(len(rows)):
        s = rows.states[i : i + 1]
        nodes = rows.nodes if rows.nodes.ndim == 2 else rows.nodes[i]
        weights = rows.weights if rows.weights.ndim == 1 else rows.weights[i]
        y = evaluate(function, theta, equation.coordinates(s))
        mean = 0.0
        for e, weight in zip(nodes, weights, strict=True):
            after = equation.next_states(s, y, e[None])
            y_next = evaluate(function, theta, equation.coordinates(after))
            mean = mean + weight * equation.integrand(s, y, after, y_next, e[None])
        found.append(equation.select(slice(i, i + 1)).combine(s, y, mean))
    return torch.cat(found)


CONDITIONAL = ("none", "nodes", "weights", "both")


@pytest.mark.parametrize("conditional", CONDITIONAL)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_residuals_equal_loops(name, conditional):
    function, rows = FUNCTIONS[name](2), states(conditional=conditional)
    theta, equation = coefficients(function), Waves(2, 2)
    found = residuals(equation, function, theta, rows)
    torch.testing.assert_close(found, naive(equation, function, theta, rows), **ROUNDING)


@pytest.mark.parametrize(("n_outputs", "n_equations"), [(1, 1), (2, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("name", ["chebyshev", "chain", "traced"])
def test_jacobian_equals_automatic_differentiation(name, n_outputs, n_equations):
    function, rows = FUNCTIONS[name](n_outputs), states(conditional="both")
    theta, equation = coefficients(function), Waves(n_outputs, n_equations)
    value, jacobian = linearize(equation, function, theta, rows)
    expected = jacrev(lambda t: naive(equation, function, t, rows))(theta)
    torch.testing.assert_close(value, naive(equation, function, theta, rows), **ROUNDING)
    torch.testing.assert_close(jacobian, expected, **ROUNDING)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jacobian_is_the_limit_of_differences(name):
    # Also for splines, through whose cells autograd does not look.
    function, rows = FUNCTIONS[name](2), states()
    theta, equation = coefficients(function), Waves(2, 2)
    _, jacobian = linearize(equation, function, theta, rows)
    direction = coefficients(function, seed=5)
    # Central differences err by the square of the step, and by rounding over the step.
    step = 1e-5 * direction
    up = residuals(equation, function, theta + step, rows)
    down = residuals(equation, function, theta - step, rows)
    torch.testing.assert_close(jacobian @ direction, (up - down) / 2e-5, rtol=1e-7, atol=1e-8)


def test_next_states_that_do_not_depend_on_the_unknown():
    function, rows = linear(1), states()
    theta, equation = coefficients(function), Waves(1, 1, free=True)
    _, jacobian = linearize(equation, function, theta, rows)
    expected = jacrev(lambda t: naive(equation, function, t, rows))(theta)
    torch.testing.assert_close(jacobian, expected, **ROUNDING)


def test_known_future_has_no_derivative_in_the_coefficients():
    function, rows = linear(2), states()
    theta, equation = coefficients(function), Waves(2, 2)

    def with_fixed_future(t: Tensor) -> Tensor:
        y = evaluate(function, t, equation.coordinates(rows.states))
        s, each, e = rows.repeated(rows.states), rows.repeated(y), rows.shocks()
        after = equation.next_states(s, each, e)
        y_next = evaluate(function, theta, equation.coordinates(after))
        mean = rows.mean(equation.integrand(s, each, after, y_next, e))
        return equation.combine(rows.states, y, mean)

    value, jacobian = linearize(equation, function, theta, rows, follow_next=False)
    torch.testing.assert_close(value, with_fixed_future(theta), **ROUNDING)
    torch.testing.assert_close(jacobian, jacrev(with_fixed_future)(theta), **ROUNDING)


@pytest.mark.parametrize("conditional", CONDITIONAL)
@pytest.mark.parametrize("numbers", [1, 100])
def test_blocks_change_nothing(numbers, conditional, monkeypatch):
    function, rows = linear(2), states(11, conditional)
    scale = torch.linspace(0.5, 2.0, 11, dtype=torch.float64)
    theta, equation = coefficients(function), Waves(2, 2, scale)
    whole = residuals(equation, function, theta, rows)
    whole_value, whole_jacobian = linearize(equation, function, theta, rows)
    monkeypatch.setattr(projection, "BLOCK_NUMBERS", numbers)
    value, jacobian = linearize(equation, function, theta, rows)
    # Products of matrices of other sizes may be summed in another order.
    tight = {"rtol": 1e-13, "atol": 1e-13}
    torch.testing.assert_close(residuals(equation, function, theta, rows), whole, **tight)
    torch.testing.assert_close(value, whole_value, **tight)
    torch.testing.assert_close(jacobian, whole_jacobian, **tight)


def test_average_is_linear_and_keeps_constants():
    rows = states(conditional="both")
    values = torch.arange(42, dtype=torch.float64).reshape(21, 2)
    constant = torch.ones(21, 1, dtype=torch.float64)
    # The weights of a state sum to one.
    torch.testing.assert_close(rows.mean(constant), torch.ones(7, 1, dtype=torch.float64))
    torch.testing.assert_close(rows.mean(3 * values + 1), 3 * rows.mean(values) + 1)


def test_selected_states_keep_their_own_shocks():
    rows = states(conditional="both")
    part = rows.select(slice(2, 5))
    assert len(part) == 3
    assert torch.equal(part.shocks(), rows.shocks()[6:15])
    assert torch.equal(part.weights, rows.weights[2:5])
    assert torch.equal(part.repeated(part.states)[::3], rows.states[2:5])


def test_conditions_without_tests_are_the_residuals():
    function, rows = linear(2), states()
    theta, equation = coefficients(function), Waves(2, 2)
    system = Projection(equation, function, rows)
    value, jacobian = system.linearize(theta)
    assert torch.equal(value, system.residual(theta))
    assert torch.equal(value, residuals(equation, function, theta, rows).flatten())
    assert jacobian.shape == (14, function.n_parameters)


def test_galerkin_conditions_are_weighted_sums_and_so_are_their_derivatives():
    function, rows = linear(2), states(30)
    theta, equation = coefficients(function), Waves(2, 2)
    tests = torch.from_numpy(np.random.RandomState(3).normal(size=(30, 12)))
    system = Projection(equation, function, rows, tests)
    value, jacobian = system.linearize(theta)
    plain, slopes = linearize(equation, function, theta, rows)
    for k in range(12):
        for e in range(2):
            row = 2 * k + e
            torch.testing.assert_close(value[row], tests[:, k] @ plain[:, e])
            torch.testing.assert_close(jacobian[row], tests[:, k] @ slopes[:, e])
    torch.testing.assert_close(system.residual(theta), value)


def test_equation_may_depend_on_the_coefficients():
    # As a Bellman equation whose actions are chosen anew, and count as given in its derivatives.
    function, rows = linear(1), states()
    theta = coefficients(function)

    def anew(t: Tensor) -> Equation:
        return Waves(1, 1, t[0].exp() * torch.ones(len(rows), dtype=t.dtype))

    system = Projection(anew, function, rows)
    given = Projection(anew(theta), function, rows)
    assert torch.equal(system.residual(theta), given.residual(theta))
    assert torch.equal(system.linearize(theta)[1], given.linearize(theta)[1])


def test_inputs_are_left_as_they_were():
    function, rows = linear(1), states()
    theta = coefficients(function).requires_grad_()
    before = theta.detach().clone()
    value, jacobian = linearize(Waves(), function, theta, rows)
    assert not value.requires_grad and not jacobian.requires_grad
    assert torch.equal(theta.detach(), before) and theta.grad is None
    assert not rows.states.requires_grad


def test_works_where_gradients_are_switched_off():
    function, rows = linear(1), states()
    theta = coefficients(function)
    with torch.no_grad():
        found = linearize(Waves(), function, theta, rows)
    for mine, usual in zip(found, linearize(Waves(), function, theta, rows), strict=True):
        assert torch.equal(mine, usual)
