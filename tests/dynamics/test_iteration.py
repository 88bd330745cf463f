"""One step of time iteration, and the method of endogenous grid points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch

from thetalearn.dynamics.approximation import Representation
from thetalearn.dynamics.equations import EulerEquation
from thetalearn.dynamics.euler import time_iteration
from thetalearn.dynamics.iteration import EndogenousPolicy, endogenous_grid, time_step
from thetalearn.dynamics.models import (
    borrowing_kinks,
    make_borrowing_limit,
    make_brock_mirman,
    make_growth,
    make_income_fluctuation,
    make_leisure_growth,
)
from thetalearn.dynamics.setup import Setup

CUBIC = Representation("chebyshev", 3, None, None, None, (), "tanh")


def problem(model, representation=CUBIC, share=0.5):
    """A setup, its equation, and a policy that takes a constant share."""
    rule = model.distribution.nodes()
    setup = Setup.build(model, representation, model.n_actions, rule, rng=np.random.RandomState(0))
    equation = EulerEquation(model, setup.to_inputs)
    actions = model.inside_actions(setup.states, share)
    return setup, equation, setup.fit(equation.unknowns(setup.states, actions))


def gap(setup, equation, theta, row, y):
    """The residual of one state for unknowns today, by the definition of an expectation."""
    s = row.states
    mean = 0.0
    nodes = row.nodes if row.nodes.ndim == 2 else row.nodes[0]
    for e, weight in zip(nodes, row.weights, strict=True):
        after = equation.next_states(s, y, e[None])
        y_next = setup.function.at(equation.coordinates(after)).value(theta)
        mean = mean + weight * equation.integrand(s, y, after, y_next, e[None])
    return equation.combine(s, y, mean).detach()


@pytest.mark.parametrize(
    "make",
    [
        make_growth,
        make_brock_mirman,
        lambda: replace(make_income_fluctuation(), action_transform="identity"),
    ],
    ids=["growth", "brock_mirman", "income"],
)
def test_time_step_equals_scalar_root_finding(make):
    model = make()
    setup, equation, theta = problem(model)
    found = time_step(equation, setup.function, theta, setup.rows)
    lower, upper = model.action_limits(setup.states)
    for i in range(0, len(setup.states), 4):
        row = setup.rows.select(slice(i, i + 1))

        def at(share, row=row, i=i):
            a = lower[i : i + 1] + share * (upper - lower)[i : i + 1]
            return float(gap(setup, equation, theta, row, equation.unknowns(row.states, a)))

        # Where all is consumed, the residual is zero at the bound and nowhere below.
        binds = at(1e-6) * at(1 - 1e-6) > 0
        share = 1.0 if binds else scipy.optimize.brentq(at, 1e-6, 1 - 1e-6, xtol=1e-15)
        expected = lower[i] + share * (upper - lower)[i]
        action = equation.actions(row.states, found[i : i + 1])[0]
        torch.testing.assert_close(action, expected, rtol=1e-9, atol=1e-10)


def test_time_step_solves_for_two_actions_at_once():
    model = make_leisure_growth()
    setup, equation, _ = problem(model)
    # Near the solution, where both actions price capital alike.
    exact = equation.unknowns(setup.states, model.exact("policy")(setup.states))
    theta = setup.fit(exact + 0.02)
    found = time_step(equation, setup.function, theta, setup.rows)
    for i in range(0, len(setup.states), 5):
        row = setup.rows.select(slice(i, i + 1))
        assert gap(setup, equation, theta, row, found[i : i + 1]).abs().max() < 1e-11


def test_solution_stays_where_it_is():
    model = make_brock_mirman()
    setup, equation, _ = problem(model)
    exact = equation.unknowns(setup.states, model.exact("policy")(setup.states))
    found = time_step(equation, setup.function, setup.fit(exact), setup.rows)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-11)


def test_one_step_of_brock_mirman_by_hand():
    # If a share 1 - k of output is consumed from tomorrow on, today's share solves
    # k_now / (1 - k_now) = alpha beta / (1 - k).
    model = make_brock_mirman()
    setup, equation, theta = problem(model, share=0.7)
    found = time_step(equation, setup.function, theta, setup.rows)
    shares = equation.actions(setup.states, found) / model.action_limits(setup.states)[1]
    ratio = 0.36 * 0.96 / 0.7
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / (1 + ratio)))


@pytest.mark.parametrize("memory", [0, 5])
def test_time_iteration_finds_brock_mirman(memory):
    model = make_brock_mirman()
    setup, equation, theta = problem(model)
    root = time_iteration(
        setup,
        equation,
        theta,
        tol=1e-9,
        max_iter=200,
        report=lambda record, theta: False,
        memory=memory,
    )
    exact = equation.unknowns(setup.checks, model.exact("policy")(setup.checks))
    assert root.converged
    torch.testing.assert_close(setup.at(setup.checks, root.theta), exact, rtol=0, atol=1e-8)


# ------------------------------------------------------------------------ endogenous grid points


def test_endogenous_grid_finds_the_policy_of_kinks():
    model = make_borrowing_limit()
    policy, root = endogenous_grid(model, model.distribution.nodes(), n_points=2000, tol=1e-12)
    assert root.converged
    s = torch.linspace(0.5, 1.9, 300, dtype=torch.float64)[:, None]
    # Linear interpolation errs beside the kinks alone, by a change of slope times half a cell.
    torch.testing.assert_close(policy(s), model.exact("policy")(s), rtol=0, atol=1e-4)
    kinks, _ = borrowing_kinks(3)
    assert policy.kink == pytest.approx(float(kinks[0]), abs=1e-10)


def test_error_of_the_endogenous_grid_falls_with_its_points():
    model = make_borrowing_limit()
    s = torch.linspace(0.5, 1.9, 200, dtype=torch.float64)[:, None]

    def error(n):
        policy, _ = endogenous_grid(model, model.distribution.nodes(), n_points=n, tol=1e-12)
        return float((policy(s) - model.exact("policy")(s)).abs().mean())

    assert error(1600) < error(200) / 20


def test_below_the_kink_everything_is_consumed():
    model = make_borrowing_limit()
    policy, _ = endogenous_grid(model, model.distribution.nodes(), n_points=50)
    s = torch.linspace(0.05, policy.kink, 20, dtype=torch.float64)[:, None]
    torch.testing.assert_close(policy(s), s)


def test_endogenous_grid_agrees_with_time_iteration():
    model = make_income_fluctuation()
    rule = model.distribution.nodes()
    policy, found = endogenous_grid(model, rule, n_points=1500, tol=1e-10)
    assert found.converged
    own = replace(model, action_transform="identity")
    splines = Representation("bspline", 3, 150, [policy.kink], None, (), "tanh")
    setup, equation, _ = problem(own, splines)
    start = setup.fit(equation.unknowns(setup.states, policy(setup.states)))
    root = time_iteration(
        setup,
        equation,
        start,
        tol=1e-8,
        max_iter=60,
        report=lambda record, theta: False,
    )
    s = setup.checks
    # A node of the shocks at the kink makes a smaller kink before, between knots of the spline.
    difference = (setup.at(s, root.theta) - policy(s)).abs()
    assert root.converged and difference.max() < 5e-4 and difference.mean() < 1e-5


def test_endogenous_grid_says_when_it_is_not_done():
    model = make_borrowing_limit()
    _, root = endogenous_grid(model, model.distribution.nodes(), max_iter=2, tol=1e-14)
    assert not root.converged and root.n_iter <= 2


def test_policy_is_continued_linearly():
    x = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    policy = EndogenousPolicy(x, torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))
    s = torch.tensor([[0.5], [1.0], [2.0], [5.0]], dtype=torch.float64)
    expected = torch.tensor([[0.5], [1.0], [1.5], [3.0]], dtype=torch.float64)
    torch.testing.assert_close(policy(s), expected)
    assert policy.kink == 1.0
