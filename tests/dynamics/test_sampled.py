"""Minibatch training on functional equations: unbiased gradients, fresh states, how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from thetalearn.dynamics.approximation import Representation
from thetalearn.dynamics.bellman import continuation
from thetalearn.dynamics.equations import EulerEquation, EvaluationEquation
from thetalearn.dynamics.euler import policy_of
from thetalearn.dynamics.greedy import GreedyActions
from thetalearn.dynamics.model import DynamicModel
from thetalearn.dynamics.models import (
    make_brock_mirman,
    make_brock_mirman_output,
    make_stochastic_brock_mirman,
)
from thetalearn.dynamics.sampled import (
    PERIODS,
    _Products,
    _SampledEquation,
    _Squares,
    _States,
    is_affine,
    train_by_sampling,
)
from thetalearn.dynamics.setup import Setup
from thetalearn.dynamics.shocks import MarkovChain
from thetalearn.objectives.projection import Equation, linearize
from thetalearn.solvers.root import Root

MLP = Representation("mlp", None, None, None, None, (6,), "tanh")
CUBIC = Representation("complete", 3, None, None, None, (), "tanh")


def own_policy(problem: tuple[Setup, EulerEquation, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    setup, equation, _ = problem
    return lambda states, theta: policy_of(setup, equation, theta)(states)


def go_on(record: dict[str, float], theta: Tensor) -> bool:
    return False


def growth(coordinate: str = "logit", **params: float) -> DynamicModel:
    # With shares of output for coordinates no bound can bind, and residuals are affine.
    return replace(make_brock_mirman(**params), action_transform=coordinate)


def risky_growth() -> DynamicModel:
    # Residuals that depend on the shocks, as they do not where consumption is a share of output.
    model = make_stochastic_brock_mirman(gamma=4.0, sigma=0.15)
    return replace(model, action_transform="logit")


def roughly(setup: Setup, y: Tensor) -> Tensor:
    """A function near some values; a network is not fitted to the end, which would take long."""
    few = {} if setup.function.linear else {"n_starts": 1, "max_iter": 15}
    return setup.function.fit(setup.inputs, y, random_state=0, **few)


def euler_problem(
    model: DynamicModel, representation: Representation = MLP
) -> tuple[Setup, EulerEquation, Tensor]:
    rng = np.random.RandomState(0)
    setup = Setup.build(model, representation, 1, model.distribution.nodes(), rng=rng)
    equation = EulerEquation(model, setup.to_inputs)
    actions = model.inside_actions(setup.states, 0.5)
    start = roughly(setup, equation.unknowns(setup.states, actions))
    # Off the constant share, so that nothing vanishes by chance.
    return setup, equation, start + 0.05 * torch.from_numpy(rng.normal(size=start.shape))


def value_problem(representation: Representation = MLP) -> tuple[Setup, Tensor]:
    model = make_brock_mirman_output(beta=0.6, sigma=0.2)
    rng = np.random.RandomState(0)
    setup = Setup.build(model, representation, 1, model.distribution.nodes(), rng=rng)
    rewards = model.rewards(setup.states, model.inside_actions(setup.states))[:, None]
    return setup, roughly(setup, rewards)


def train_euler(
    problem: tuple[Setup, EulerEquation, Tensor], seed: int = 0, **options: object
) -> Root:
    setup, equation, start = problem
    given = {
        "expectation": "quadrature",
        "n_epochs": 3,
        "n_states": 128,
        "report": go_on,
    }
    rng = np.random.RandomState(seed)
    return train_by_sampling(setup, equation, start, **{**given, **options}, rng=rng)


def gradient(
    setup: Setup, equation: Equation, theta: Tensor, states: Tensor, expectation: str, seed: int = 0
) -> Tensor:
    """Gradient of the mean loss over states."""
    sampled = _SampledEquation(setup, equation, expectation)
    rows = sampled.rows(states, theta, np.random.RandomState(seed))
    theta = theta.clone().requires_grad_()
    loss = _Products() if expectation == "aio" else _Squares()
    outputs = sampled.residuals(theta, rows)
    (found,) = torch.autograd.grad(loss.rows(outputs, rows).mean(), theta)
    return found


# ------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("representation", [MLP, CUBIC], ids=["network", "linear"])
@pytest.mark.parametrize("coordinate", ["log", "logit"])
def test_gradient_is_that_of_the_projection(representation: Representation, coordinate: str):
    setup, equation, theta = euler_problem(growth(coordinate), representation)
    residual, jacobian = linearize(equation, setup.function, theta, setup.rows)
    expected = 2 * torch.einsum("pe,pek->k", residual, jacobian) / len(setup.states)
    found = gradient(setup, equation, theta, setup.states, "quadrature")
    # Both are exact derivatives, by different routes.
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_two_draws_give_the_gradient_of_the_quadrature_in_the_mean():
    setup, equation, theta = euler_problem(risky_growth())
    states = setup.checks[:4]
    expected = gradient(setup, equation, theta, states, "quadrature")
    many = states.repeat(1500, 1)
    blocks = torch.stack(
        [gradient(setup, equation, theta, many, "aio", seed) for seed in range(20)]
    )
    error = blocks.std(0) / len(blocks) ** 0.5
    # Five standard errors, of 20 blocks each, for some 25 numbers: few of a thousand seeds fail.
    assert ((blocks.mean(0) - expected).abs() <= 5 * error + 1e-12).all()
    assert error.norm() < 0.15 * expected.norm()


def test_squares_of_one_draw_are_biased_by_the_variance_and_products_are_not():
    setup, equation, theta = euler_problem(risky_growth())
    states = setup.checks[:4].repeat(10_000, 1)
    sampled = _SampledEquation(setup, equation, "aio")
    outputs = sampled.residuals(theta, sampled.rows(states, theta, np.random.RandomState(0)))
    exact = _SampledEquation(setup, equation, "quadrature")
    rows = exact.rows(setup.checks[:4], theta, np.random.RandomState(0))
    truth = float(exact.residuals(theta, rows).detach().square().mean())
    products, squares = outputs.prod(1).detach(), outputs[:, 0].square().detach()
    spread = float(products.std()) / len(states) ** 0.5
    assert abs(float(products.mean()) - truth) < 4 * spread
    assert float(squares.mean()) - truth > 20 * spread


def test_aio_equals_quadrature_without_shocks():
    setup, equation, theta = euler_problem(growth(sigma=0.0))
    found = gradient(setup, equation, theta, setup.states, "aio")
    expected = gradient(setup, equation, theta, setup.states, "quadrature")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_actions_travel_with_their_states():
    setup, theta = value_problem()
    shares = torch.linspace(0.2, 0.8, len(setup.states), dtype=torch.float64)
    equation = EvaluationEquation(setup.model, setup.to_inputs, shares[:, None] * setup.states)
    sampled = _SampledEquation(setup, equation, "quadrature")
    rows = sampled.rows(setup.states, theta, np.random.RandomState(0))
    order = torch.from_numpy(np.random.RandomState(1).permutation(len(rows)))
    residual, _ = linearize(equation, setup.function, theta, setup.rows)
    torch.testing.assert_close(sampled.residuals(theta, rows[order]), residual[order])


# ------------------------------------------------------------------------------ what is affine


@pytest.mark.parametrize("coordinate, affine", [("logit", True), ("log", False)])
def test_complementarity_is_not_affine(coordinate: str, affine: bool):
    assert is_affine(*euler_problem(growth(coordinate))) is affine


def test_transformed_values_are_not_affine():
    setup, theta = value_problem()
    actions = setup.model.inside_actions(setup.states)
    assert is_affine(setup, EvaluationEquation(setup.model, setup.to_inputs, actions), theta)
    positive = replace(
        setup.model,
        reward=lambda s, a: a[:, 0] ** 0.5,
        value_transform="log",
        marginal_inverse=None,
    )
    equation = EvaluationEquation(positive, setup.to_inputs, actions)
    assert not is_affine(replace(setup, model=positive), equation, theta)


# -------------------------------------------------------------------------------------- training


def test_training_comes_near_the_closed_form():
    model = growth("log")
    network = replace(MLP, hidden_layer_sizes=(8,))
    setup, equation, start = problem = euler_problem(model, network)
    root = train_euler(
        problem, policy=own_policy(problem), n_epochs=40, n_states=256, learning_rate=2e-2
    )
    before = setup.projection(equation).residual(start)
    assert root.residual.square().mean() < 1e-2 * before.square().mean()
    found = policy_of(setup, equation, root.theta)(setup.checks)
    gap = (found / model.exact("policy")(setup.checks) - 1).abs()
    # Adam's accuracy; Gauss-Newton would go on from here.
    assert float(gap.median()) < 5e-3


def test_two_draws_train_too():
    setup, equation, start = problem = euler_problem(risky_growth())
    root = train_euler(problem, expectation="aio", n_epochs=30, n_states=256, learning_rate=2e-2)
    before = setup.projection(equation).residual(start)
    assert root.residual.square().mean() < 0.1 * before.square().mean()


def test_linear_basis_trains():
    setup, equation, start = problem = euler_problem(growth(), CUBIC)
    root = train_euler(problem, n_epochs=10, n_states=256, learning_rate=1e-2)
    before = setup.projection(equation).residual(start)
    assert root.residual.square().mean() < 0.5 * before.square().mean()


@pytest.mark.parametrize("expectation", ["quadrature", "aio"])
def test_bellman_equation_with_actions_chosen_in_every_epoch(expectation: str):
    setup, start = value_problem()
    greedy, asked = GreedyActions("newton"), []

    def equation_at(states: Tensor, theta: Tensor) -> Equation:
        asked.append(states)
        rows = setup.rows_at(states)
        actions = greedy(rows, continuation(setup, theta))
        return EvaluationEquation(setup.model, setup.to_inputs, actions)

    root = train_by_sampling(
        setup,
        equation_at,
        start,
        expectation=expectation,
        n_epochs=25,
        n_states=128,
        batch_size=32,
        learning_rate=2e-2,
        rng=np.random.RandomState(0),
        report=go_on,
    )
    exact = setup.model.exact("value")(setup.checks)

    def distance(theta: Tensor) -> float:
        return float((setup.at(setup.checks, theta)[:, 0] - exact).abs().max())

    assert distance(root.theta) < 0.2 * distance(start)
    epochs = [states for states in asked if len(states) == 128]
    assert len(epochs) == 25
    assert len({float(states.sum()) for states in epochs}) == 25


def test_paths_are_followed_with_the_coefficients_of_the_epoch():
    problem = euler_problem(growth())
    asked: list[Tensor] = []

    def policy(states: Tensor, theta: Tensor) -> Tensor:
        asked.append(theta)
        return own_policy(problem)(states, theta)

    train_euler(problem, n_epochs=5, policy=policy)
    # The first of five epochs has even states.
    assert len(asked) == 4 * PERIODS
    assert len({float(theta.sum()) for theta in asked}) == 4


# ---------------------------------------------------------------------------------- randomness


@pytest.mark.parametrize("expectation", ["quadrature", "aio"])
def test_seed_decides_all(expectation: str):
    problem = euler_problem(growth())
    options = {"expectation": expectation, "policy": own_policy(problem)}
    one, same, other = (train_euler(problem, seed, **options).theta for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_global_generators_are_left_alone():
    problem = euler_problem(growth())
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train_euler(problem, policy=own_policy(problem), expectation="aio")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_start_is_left_as_it_was_and_the_result_is_open_to_autograd():
    setup, equation, start = euler_problem(growth())
    given = start.clone()
    root = train_euler((setup, equation, start))
    assert torch.equal(start, given)
    assert not root.theta.is_inference()


# ------------------------------------------------------------------------------- how it ends


def test_report_is_told_of_every_epoch_and_may_stop():
    told: list[tuple[dict[str, float], Tensor]] = []

    def report(record: dict[str, float], theta: Tensor) -> bool:
        told.append((record, theta))
        return len(told) == 2

    root = train_euler(euler_problem(growth()), report=report, n_epochs=9)
    assert (root.n_iter, root.reason, len(told)) == (2, "stopped by a callback", 2)
    assert {"loss", "learning_rate"} <= told[0][0].keys()
    assert torch.equal(root.theta, told[-1][1])
    assert not torch.equal(*(theta for _, theta in told))


def test_rate_falls_to_zero():
    rates: list[float] = []
    train_euler(
        euler_problem(growth()),
        report=lambda record, theta: bool(rates.append(record["learning_rate"])),
        n_epochs=6,
    )
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.02 * rates[0]


def test_divergence_leaves_finite_coefficients():
    root = train_euler(euler_problem(growth("log")), learning_rate=1e6, n_epochs=5)
    assert not root.converged
    assert "learning_rate" in root.reason
    assert root.theta.isfinite().all()


def test_tolerance_decides_on_convergence():
    problem = euler_problem(growth())
    roots = [train_euler(problem, tol=tol) for tol in (1e-12, 1e3)]
    assert [root.converged for root in roots] == [False, True]
    assert roots[0].reason == "n_epochs=3 trained"


def test_residuals_are_those_of_the_setup():
    setup, equation, start = euler_problem(growth())
    root = train_euler((setup, equation, start))
    expected = setup.projection(equation).residual(root.theta)
    assert torch.equal(root.residual, expected)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"expectation": "monte_carlo"}, "expectation='monte_carlo'"),
        ({"n_epochs": 0}, "n_epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"n_states": -1}, "n_states=-1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"expectation": "aio"}, 'expectation="quadrature"'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_cannot_be_trained_is_refused(options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        train_euler(euler_problem(growth("log")), **options)


# ------------------------------------------------------------------------------------- states


def states_of(model: DynamicModel, policy, n_epochs: int = 10) -> tuple[Setup, _States]:
    setup = Setup.build(model, CUBIC, 1, model.distribution.nodes(), rng=np.random.RandomState(0))
    return setup, _States(setup, policy, 200, n_epochs, np.random.RandomState(0))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, np.nan])
def test_states_stay_in_the_box_whatever_the_policy(share: float):
    model = growth()
    setup, states = states_of(model, lambda s, theta: model.inside_actions(s, share))
    theta = torch.zeros(1, dtype=torch.float64)
    drawn = [states.next(theta) for _ in range(10)]
    assert all(setup.to_inputs.inside(each).all() for each in drawn)
    assert all(not torch.equal(*pair) for pair in pairwise(drawn))


def test_states_go_where_the_policy_leads():
    # Who eats nearly all has little capital, and a tenth of the states is still even.
    model = growth()
    setup, states = states_of(model, lambda s, theta: model.inside_actions(s, 0.95))
    theta = torch.zeros(1, dtype=torch.float64)
    even, *_, last = (states.next(theta)[:, 0] for _ in range(10))
    low = setup.model.bounds[0, 0]
    middle = (setup.model.bounds[0].prod()).sqrt()
    assert float((even > middle).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert 0 < float((last > middle).double().mean()) < 0.15
    assert float(last.min()) == pytest.approx(float(low))


def test_values_of_a_chain_stay_what_they_are():
    chain = MarkovChain([[0.8, 0.2], [0.3, 0.7]], [0.9, 1.1], state=1)
    model = DynamicModel(
        reward=lambda s, a: a[:, 0].log(),
        transition=lambda s, a, e: (s[:, 1] * s[:, 0] ** 0.3 - a[:, 0], e[:, 0]),
        discount=0.9,
        state_bounds=[(0.05, 0.4), (0.9, 1.1)],
        action_bounds=lambda s: (0.0, s[:, 1] * s[:, 0] ** 0.3),
        shocks=chain,
        state_transform=("log", "identity"),
        action_transform="logit",
    )
    setup, states = states_of(model, lambda s, theta: model.inside_actions(s, 0.9))
    theta = torch.zeros(1, dtype=torch.float64)
    for _ in range(8):
        values = states.next(theta)[:, 1]
        assert ((values[:, None] - chain.values[:, 0]).abs().amin(1) < 1e-12).all()
    setup, equation, start = problem = euler_problem(model)
    root = train_euler(problem, policy=own_policy(problem), n_epochs=8, learning_rate=1e-2)
    before = setup.projection(equation).residual(start)
    assert root.residual.square().mean() < before.square().mean()
