"""Solutions are accepted, and what only looks like one is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from thetalearn import BellmanApproximator, EulerApproximator
from thetalearn.dynamics import MarkovChain
from thetalearn.dynamics.approximation import Representation
from thetalearn.dynamics.bellman import bellman_errors, continuation, evaluate, path_policy
from thetalearn.dynamics.equations import EulerEquation, EvaluationEquation, from_value
from thetalearn.dynamics.euler import euler_errors, policy_of
from thetalearn.dynamics.greedy import GreedyActions
from thetalearn.dynamics.models import make_brock_mirman, make_brock_mirman_output
from thetalearn.dynamics.setup import Setup
from thetalearn.dynamics.verify import errors_alone, verify
from thetalearn.exceptions import DomainError
from thetalearn.objectives.projection import residuals

DEGREE = Representation("chebyshev", 14, None, None, None, (), "tanh")


def ramsey():
    """Miranda and Fackler's growth model without shocks, on their box, in levels."""
    model = make_brock_mirman_output(alpha=0.5, beta=0.9, sigma=0.0, state_bounds=[(0.2, 1.0)])
    return replace(
        model, state_transform="identity", action_transform="identity", value_transform="identity"
    )


def setup_of(model, n_outputs=1, representation=DEGREE):
    rule = model.distribution.nodes()
    return Setup.build(model, representation, n_outputs, rule, rng=np.random.RandomState(0))


def value_of(setup, policy):
    """Coefficients of the value of a policy, by collocation at the nodes alone."""
    root = evaluate(setup, policy(setup.states), tol=1e-10, max_iter=20)
    assert root.converged and root.residual.abs().max() < 1e-8
    return root.theta


def claimed_errors(setup, policy, theta):
    """Errors of the value of a policy, which know nothing of better ones."""

    def errors(states):
        equation = EvaluationEquation(setup.model, setup.to_inputs, policy(states))
        value = continuation(setup, theta)(states).abs()
        found = residuals(equation, setup.function, theta, setup.rows_at(states))[:, 0]
        return found / value

    return errors


def test_exact_solution_is_accepted():
    setup = setup_of(ramsey())
    policy = setup.model.exact("policy")
    theta = value_of(setup, policy)
    greedy = GreedyActions("newton")
    verdict = verify(setup, policy, lambda s: bellman_errors(setup, greedy, theta, s))
    # Degree 14 on [0.2, 1] holds the logarithm to 2e-6 relative.
    assert verdict.accepted and verdict.reason == ""
    assert verdict.maximum < 1e-5 and verdict.path_error < 1e-4 and verdict.outside == 0


def test_corner_that_leaves_the_box_is_rejected():
    # All conditions hold at the nodes, by way of values at states where nothing ties them down.
    setup = setup_of(ramsey())

    def gluttony(s):
        return 0.999 * s

    theta = value_of(setup, gluttony)
    errors = claimed_errors(setup, gluttony, theta)
    assert errors(setup.checks).abs().max() < 1e-3
    verdict = verify(setup, gluttony, errors)
    assert not verdict.accepted and verdict.outside == 1.0
    assert "leads to states outside state_bounds" in verdict.reason
    assert "widen state_bounds" in verdict.reason


def test_wrong_value_of_the_corner_is_no_root_of_the_bellman_equation():
    setup = setup_of(ramsey())
    theta = value_of(setup, lambda s: 0.999 * s)
    greedy = GreedyActions("newton")
    policy = path_policy(setup, greedy, theta)
    verdict = verify(setup, policy, lambda s: bellman_errors(setup, greedy, theta, s))
    assert not verdict.accepted


@pytest.mark.parametrize("solver", ["auto", "policy_iteration"])
def test_cold_start_finds_the_right_root(solver):
    model = ramsey()
    found = BellmanApproximator(model, degree=14, solver=solver).fit()
    s = torch.linspace(0.2, 1.0, 50, dtype=torch.float64)[:, None]
    assert found.converged_
    np.testing.assert_allclose(found.policy(s.numpy()), 0.55 * s[:, 0].numpy(), rtol=0, atol=1e-4)


def euler_problem(share):
    model = make_brock_mirman()
    setup = setup_of(model, 1, Representation("complete", 3, None, None, None, (), "tanh"))
    equation = EulerEquation(model, setup.to_inputs)
    actions = share * model.action_limits(setup.states)[1]
    theta = setup.fit(equation.unknowns(setup.states, actions))
    return verify(
        setup,
        policy_of(setup, equation, theta),
        lambda s: euler_errors(setup, equation, theta, s).abs().amax(1),
    )


def test_exact_policy_is_accepted_by_its_euler_equation():
    verdict = euler_problem(1 - 0.36 * 0.96)
    assert verdict.accepted and verdict.maximum < 1e-10 and verdict.path_error < 1e-10
    assert verdict.outside == 0


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_other_shares_are_rejected_by_their_errors(share):
    verdict = euler_problem(share)
    assert not verdict.accepted and verdict.mean > 1e-2
    assert "its mean error off the nodes is" in verdict.reason and "degree" in verdict.reason


def test_errors_that_are_not_finite_are_no_solution():
    setup = setup_of(ramsey())
    policy = setup.model.exact("policy")
    verdict = verify(setup, policy, lambda s: torch.full((len(s),), torch.nan))
    assert not verdict.accepted and verdict.reason == "its errors are not finite"
    assert verdict.mean == verdict.maximum == torch.inf


def test_paths_that_blow_up_are_no_solution():
    model = ramsey()
    exploding = replace(model, transition=lambda s, a, e: torch.exp(50 * s))
    setup = setup_of(exploding)
    verdict = verify(setup, model.exact("policy"), lambda s: torch.zeros(len(s)))
    assert not verdict.accepted and verdict.path_error == torch.inf and verdict.outside == 1


def test_one_bad_state_shows_in_the_maximum_and_not_in_the_mean():
    setup = setup_of(ramsey())

    def errors(s):
        return torch.where(s[:, 0] == setup.checks[7, 0], 5e-3, 1e-8)

    verdict = verify(setup, setup.model.exact("policy"), errors)
    assert verdict.accepted and verdict.maximum == pytest.approx(5e-3)
    assert verdict.mean < 1e-4


def test_errors_alone():
    fine = errors_alone(torch.tensor([[-1e-4, 2e-4], [0.0, 0.0]]))
    assert fine.accepted and fine.maximum == pytest.approx(2e-4)
    assert fine.mean == pytest.approx(1.5e-4)
    coarse = errors_alone(torch.tensor([[0.0, 0.0], [0.1, 0.1]]))
    assert coarse.coarse and not coarse.accepted and "mean error" in coarse.reason
    broken = errors_alone(torch.tensor([[1.0, torch.nan]]))
    assert not broken.accepted and broken.reason == "its errors are not finite"


# ------------------------------------------------------------------------------------------- setup


def test_states_outside_the_domain_are_named():
    model = make_brock_mirman()
    states = model.middle_states().clone()
    states[1, 0] = 9.0
    with pytest.raises(
        DomainError, match=r"state 'k' is 9 in row 1, outside state_bounds \(.*1 row"
    ):
        Setup.build(
            model,
            DEGREE,
            1,
            model.distribution.nodes(),
            states=states,
            rng=np.random.RandomState(0),
        )


def test_setup_keeps_states_and_inputs_together():
    setup = setup_of(make_brock_mirman(), 1, Representation("smolyak", 2, *[None] * 3, (), "tanh"))
    torch.testing.assert_close(setup.to_inputs.inverse(setup.inputs), setup.states)
    torch.testing.assert_close(setup.inputs.numpy(), setup.approximation.nodes)
    assert setup.square and setup.n_conditions == setup.n_terms == len(setup.states)
    assert len(setup.checks) == 200 and setup.to_inputs.inside(setup.checks).all()


def test_checks_of_a_chain_are_its_values():
    chain = MarkovChain([[0.5, 0.5], [0.5, 0.5]], [-0.1, 0.1], state=1)
    model = replace(make_brock_mirman(), shocks=chain, state_bounds=[(0.1, 0.3), (-0.1, 0.1)])
    setup = setup_of(model, 1, Representation("complete", 2, *[None] * 3, (), "tanh"))
    assert set(setup.checks[:, 1].tolist()) == set(setup.states[:, 1].tolist()) == {-0.1, 0.1}
    assert setup.rows.weights.shape == (len(setup.states), 2)


def test_galerkin_tests_are_weights_times_the_basis():
    model = make_brock_mirman()
    representation = Representation("chebyshev", 2, *[None] * 3, (), "tanh")
    setup = Setup.build(
        model,
        representation,
        1,
        model.distribution.nodes(),
        galerkin=True,
        rng=np.random.RandomState(0),
    )
    assert setup.tests.shape == (len(setup.states), 9) and setup.n_conditions == 9
    # At Chebyshev nodes the functions are orthogonal, with squares of mean 1 or 1/2 each.
    gram = setup.tests.T @ (setup.tests * len(setup.states))
    expected = torch.tensor([1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.5, 0.25, 0.25]).double()
    torch.testing.assert_close(gram.diagonal().sort()[0], expected.sort()[0])
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-12)


def test_fit_and_evaluation_are_inverse_at_the_nodes():
    setup = setup_of(ramsey())
    y = torch.from_numpy(np.random.RandomState(0).normal(size=(len(setup.states), 1)))
    torch.testing.assert_close(setup.at(setup.states, setup.fit(y)), y)


def test_value_of_the_exact_policy_is_the_exact_value():
    model = make_brock_mirman()
    setup = setup_of(model, 1, Representation("complete", 2, *[None] * 3, (), "tanh"))
    theta = value_of(setup, model.exact("policy"))
    exact = from_value(model, model.exact("value")(setup.checks)[:, None])
    torch.testing.assert_close(setup.at(setup.checks, theta), exact, rtol=1e-10, atol=1e-9)


def two_regimes():
    """Log utility and full depreciation under a chain: a constant share is consumed as ever."""
    chain = MarkovChain([[0.9, 0.1], [0.2, 0.8]], [-0.1, 0.1], state=1)
    return replace(
        make_brock_mirman(),
        shocks=chain,
        state_bounds=[(0.1, 0.35), (-0.1, 0.1)],
        solution=None,
        steady_state=None,
    )


@pytest.mark.parametrize("basis", ["chebyshev", "complete", "smolyak", "bspline"])
@pytest.mark.parametrize("estimator", [BellmanApproximator, EulerApproximator])
def test_chains_are_solved_and_verified_on_their_own_paths(estimator, basis):
    degree = 4 if basis == "smolyak" else 3
    found = estimator(two_regimes(), basis=basis, degree=degree).fit()
    states = torch.cartesian_prod(*torch.tensor([[0.15, 0.3], [-0.1, 0.1]], dtype=torch.float64))
    output = states[:, 1].exp() * states[:, 0] ** 0.36
    share = found.policy(states.numpy()) / output.numpy()
    assert found.converged_
    # Exact in logarithms, for which a chain is no obstacle; splines of values hold ln k as well.
    np.testing.assert_allclose(share, 1 - 0.36 * 0.96, rtol=1e-7)
    assert found.summary_["spectral_radius"] == pytest.approx(0.36, abs=1e-6)
