"""Training on all rows at once: derivatives by autograd, and solvers that SciPy agrees with."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from thetalearn.objectives.losses import (
    BinaryLogLoss,
    GaussianNLL,
    Huber,
    Pinball,
    Poisson,
    SoftmaxLogLoss,
    SquaredError,
)
from thetalearn.representations.networks.activations import Exp, Identity, ReLU, Softplus, Tanh
from thetalearn.representations.networks.initialize import initialize
from thetalearn.representations.networks.mlp import MLPArchitecture
from thetalearn.representations.networks.tape import Tape
from thetalearn.solvers.gradient.explicit import start_step
from thetalearn.solvers.gradient.full_batch import FullBatch, lbfgs, newton, random_search

few = settings(max_examples=max(settings().max_examples // 5, 1))

LINEAR = MLPArchitecture((3, 1), ())
SMALL = MLPArchitecture((2, 4, 1), (Tanh(),))


def silent(loss, theta):
    return False


class Recorder:
    """Keeps what solvers report, and answers at the n-th report."""

    def __init__(self, stop_at=None, interrupt_at=None):
        self.losses, self.thetas = [], []
        self.stop_at, self.interrupt_at = stop_at, interrupt_at

    def __call__(self, loss, theta):
        self.losses.append(loss)
        self.thetas.append(theta.clone())
        if len(self.losses) == self.interrupt_at:
            raise KeyboardInterrupt
        return len(self.losses) == self.stop_at


class Problem:
    """A network, data, and its objective in two ways: ours, and by torch.func."""

    def __init__(
        self, architecture, n_rows=30, *, loss=None, weighted=False, alpha=0.0, seed=0,
        dtype=torch.float64, start=None,
    ):  # fmt: skip
        rng = np.random.default_rng(seed)
        loss = loss or SquaredError()
        self.n_targets = architecture.sizes[-1] // (2 if isinstance(loss, GaussianNLL) else 1)
        self.X = torch.from_numpy(rng.normal(size=(n_rows, architecture.sizes[0]))).to(dtype)
        self.y = torch.from_numpy(rng.normal(size=(n_rows, self.n_targets))).to(dtype)
        if isinstance(loss, SoftmaxLogLoss):
            self.y = torch.softmax(self.y, -1)
        elif isinstance(loss, BinaryLogLoss | Poisson):
            self.y = (self.y > 0).to(dtype)
        self.weight = torch.from_numpy(rng.uniform(0.2, 3, n_rows)).to(dtype) if weighted else None
        self.architecture, self.loss, self.alpha = architecture, loss, alpha
        values = start or initialize(architecture, "auto", np.random.RandomState(seed))
        values = {name: torch.as_tensor(value) for name, value in values.items()}
        self.step = start_step(
            architecture, loss, Tape, [values], self.n_targets, dtype=dtype, device="cpu"
        )
        self.parameters = self.step.parameters
        self.objective = FullBatch(self.step, self.X, self.y, self.weight, alpha, loss.rows)

    def functional(self, theta):
        """The objective as its formula, differentiable."""
        values = self.parameters.views(theta)
        rows = self.loss.rows(self.architecture.apply(self.X, values), self.y)
        weight = torch.ones_like(rows) if self.weight is None else self.weight
        squares = sum((values[name] ** 2).sum() for name in self.architecture.penalised)
        return ((rows * weight).sum() + self.alpha / 2 * squares) / weight.sum()

    def gradient(self, theta):
        return torch.func.grad(self.functional)(theta)

    def solve(self, solver, **options):
        with torch.inference_mode():
            found = solver(self.objective, **{"report": silent, **options})
        # Usable by autograd, which tensors of inference mode are not.
        return found, found.theta.clone()


cases = pytest.mark.parametrize(
    "architecture, loss",
    [
        (LINEAR, SquaredError()),
        (SMALL, SquaredError()),
        (MLPArchitecture((3, 4, 4, 2), (Tanh(), Softplus()), Softplus()), SquaredError()),
        (MLPArchitecture((3, 3, 3, 1), (Tanh(),) * 2, Identity(), "layer", True), BinaryLogLoss()),
        (MLPArchitecture((3, 4, 3), (ReLU(),), scales=(0.7, 1.3)), SoftmaxLogLoss()),
        (MLPArchitecture((2, 3, 2), (Tanh(),)), GaussianNLL()),
        (MLPArchitecture((2, 3, 1), (Tanh(),)), Poisson()),
        (MLPArchitecture((2, 3, 1), (Tanh(),)), Huber()),
        (LINEAR, Pinball(0.3)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, MLPArchitecture) else None,
)


# ------------------------------------------------------------------ the objective


@cases
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_value_and_derivatives_are_those_of_the_formula(architecture, loss, weighted, alpha):
    problem = Problem(architecture, 12, loss=loss, weighted=weighted, alpha=alpha)
    theta = problem.objective.theta.clone()
    with torch.inference_mode():
        value, gradient = problem.objective.evaluate(theta)
        gradient = gradient.clone()
        hessian = problem.objective.hessian(theta)
    # Rounding of sums of a few dozen numbers of order one.
    assert value == pytest.approx(float(problem.functional(theta)), rel=1e-13)
    tight = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(gradient, problem.gradient(theta), **tight)
    torch.testing.assert_close(hessian, torch.func.hessian(problem.functional)(theta), **tight)


def test_evaluating_elsewhere_does_not_change_the_answer():
    problem = Problem(SMALL)
    theta = problem.objective.theta.clone()
    first, gradient = problem.objective.evaluate(theta)
    gradient = gradient.clone()
    problem.objective.evaluate(theta + 1)
    again, its_gradient = problem.objective.evaluate(theta)
    assert first == again and torch.equal(gradient, its_gradient)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_integer_weights_are_repeated_rows(alpha):
    weighted = Problem(SMALL, 10, alpha=alpha)
    counts = torch.arange(10) % 3 + 1
    weight = counts.double()
    step = weighted.step
    objective = FullBatch(step, weighted.X, weighted.y, weight, alpha, weighted.loss.rows)
    rows = torch.arange(10).repeat_interleave(counts)
    repeated = FullBatch(step, weighted.X[rows], weighted.y[rows], None, alpha, weighted.loss.rows)
    theta = objective.theta.clone()
    value, gradient = objective.evaluate(theta)
    gradient = gradient.clone()
    its_value, its_gradient = repeated.evaluate(theta)
    assert value == pytest.approx(its_value, rel=1e-13)
    torch.testing.assert_close(gradient, its_gradient, rtol=1e-12, atol=1e-13)


# ------------------------------------------------------------------ Newton's method


@given(
    d=st.integers(1, 5),
    m=st.integers(1, 3),
    alpha=st.sampled_from([0.0, 3.0]),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
)
@few
def test_newton_solves_least_squares_in_one_step(d, m, alpha, weighted, seed):
    problem = Problem(MLPArchitecture((d, m), ()), 20, alpha=alpha, weighted=weighted, seed=seed)
    recorder = Recorder()
    # Rounding, 1e-16 times the condition number of a Hessian of 20 normal rows.
    found, theta = problem.solve(newton, tol=1e-11, max_iter=10, report=recorder)
    assert (found.n_iter, found.reason) == (1, "converged")
    assert len(recorder.losses) == 1 and recorder.losses[0] == found.loss
    values = problem.parameters.views(theta)
    ridge = Ridge(alpha=alpha, solver="svd").fit(problem.X, problem.y, problem.weight)
    expected = ridge.coef_.reshape(m, d).T
    np.testing.assert_allclose(values["coefs.0"].numpy(), expected, rtol=0, atol=1e-9)
    intercept = np.reshape(ridge.intercept_, m)
    np.testing.assert_allclose(values["intercepts.0"].numpy(), intercept, rtol=0, atol=1e-9)


def test_newton_finds_the_nearest_of_many_solutions():
    # Two rows for four parameters: directions without curvature are left alone.
    problem = Problem(LINEAR, 2)
    before = problem.objective.theta.clone()[: problem.parameters.size]
    found, theta = problem.solve(newton, tol=1e-11, max_iter=10)
    assert found.reason == "converged" and found.loss == pytest.approx(0, abs=1e-20)
    A = torch.cat([problem.X, torch.ones(2, 1)], 1)
    move = torch.linalg.lstsq(A, problem.y[:, 0] - A @ before, driver="gelsd").solution
    torch.testing.assert_close(theta[:4], before + move, rtol=0, atol=1e-10)


def test_newton_leaves_a_saddle():
    # f = w₂ w₁ x with target x: a saddle at zero, and minima along w₁ w₂ = 1.
    architecture = MLPArchitecture((1, 1, 1), (Identity(),))
    start = {"coefs.0": [[1e-3]], "coefs.1": [[1e-3]], "intercepts.0": [0.0], "intercepts.1": [0.0]}
    problem = Problem(architecture, start={n: np.array(v) for n, v in start.items()})
    problem.objective.program.targets.copy_(problem.X)
    curvatures = torch.linalg.eigvalsh(problem.objective.hessian(problem.objective.theta))
    assert float(curvatures[0]) < -0.5
    recorder = Recorder()
    found, theta = problem.solve(newton, tol=1e-9, max_iter=100, report=recorder)
    assert found.reason == "converged"
    # The loss is the square of an error that is below the gradient over a curvature of about one.
    assert found.loss < 1e-15
    assert recorder.losses == sorted(recorder.losses, reverse=True)
    values = problem.parameters.views(theta)
    assert float(values["coefs.0"] * values["coefs.1"]) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_newton_ends_where_the_gradient_vanishes_and_no_curvature_is_negative(seed):
    problem = Problem(SMALL, alpha=0.3, seed=seed)
    recorder = Recorder()
    found, theta = problem.solve(newton, tol=1e-9, max_iter=300, report=recorder)
    assert found.reason == "converged"
    assert float(problem.gradient(theta).abs().max()) <= 1e-9
    curvatures = torch.linalg.eigvalsh(torch.func.hessian(problem.functional)(theta))
    assert float(curvatures[0]) > -1e-8
    assert recorder.losses == sorted(recorder.losses, reverse=True)
    assert found.loss == pytest.approx(float(problem.functional(theta)), rel=1e-12)
    # Quadratic convergence: the last step more than squares the error, but for rounding.
    gradients = [float(problem.gradient(t).abs().max()) for t in recorder.thetas[-3:]]
    assert gradients[-1] < max(100 * gradients[-2] ** 2, 1e-11)


def test_newton_agrees_with_scikit_learns_logistic_regression():
    problem = Problem(MLPArchitecture((3, 3), ()), 60, loss=SoftmaxLogLoss(), alpha=0.5)
    labels = np.arange(60) % 3
    problem.objective.program.targets.copy_(torch.eye(3)[labels])
    _, theta = problem.solve(newton, tol=1e-10, max_iter=50)
    values = problem.parameters.views(theta)
    theirs = LogisticRegression(C=1 / 0.5, tol=1e-10, max_iter=1000).fit(problem.X, labels)
    # The gradient of its solver is 1e-10, over the least curvature α / n = 0.008.
    np.testing.assert_allclose(values["coefs.0"].numpy().T, theirs.coef_, atol=1e-6)


# ------------------------------------------------------------------ L-BFGS


@pytest.mark.parametrize("alpha, weighted", [(0.0, False), (0.5, True)])
def test_lbfgs_is_that_of_scipy(alpha, weighted):
    problem = Problem(SMALL, alpha=alpha, weighted=weighted)

    def theirs(point):
        theta = torch.from_numpy(point)
        return float(problem.functional(theta)), problem.gradient(theta).numpy()

    start = problem.objective.theta.numpy().copy()
    options = {"maxiter": 12, "maxfun": 1000, "gtol": 1e-6}
    expected = scipy.optimize.minimize(theirs, start, jac=True, method="L-BFGS-B", options=options)
    recorder = Recorder()
    found, theta = problem.solve(lbfgs, tol=1e-6, max_iter=12, max_fun=1000, report=recorder)
    # The same numbers, but for rounding that 12 iterations may multiply.
    np.testing.assert_allclose(theta.numpy(), expected.x, rtol=1e-6, atol=1e-8)
    assert found.loss == pytest.approx(expected.fun, rel=1e-10)
    assert found.n_iter == expected.nit == len(recorder.losses)
    assert found.reason == "max_epochs" and found.message == expected.message
    assert recorder.losses[-1] == pytest.approx(found.loss, rel=1e-12)


def test_lbfgs_and_newton_meet_at_the_minimum_of_a_convex_objective():
    both = [Problem(LINEAR, loss=Huber(0.5), alpha=1.0) for _ in range(2)]
    first, theta = both[0].solve(lbfgs, tol=1e-10, max_iter=500, max_fun=5000)
    second, again = both[1].solve(newton, tol=1e-10, max_iter=100)
    assert first.reason == second.reason == "converged"
    assert first.loss == pytest.approx(second.loss, rel=1e-8)
    # L-BFGS stops when the objective has settled to 2e-9 of itself: the root of that is left.
    torch.testing.assert_close(theta, again, rtol=0, atol=1e-3)


def test_lbfgs_keeps_to_the_number_of_evaluations():
    problem, calls = Problem(SMALL), []
    plain = problem.objective.evaluate
    problem.objective.evaluate = lambda theta: (calls.append(1), plain(theta))[1]
    found, _ = problem.solve(lbfgs, tol=1e-12, max_iter=1000, max_fun=10)
    assert found.reason == "max_epochs"
    # SciPy looks after an iteration, which may have taken 20 evaluations.
    assert 10 <= len(calls) <= 30


# ------------------------------------------------------------------ random search


def drawer(problem, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = []

    def draw():
        size = len(problem.objective.theta)
        drawn.append(torch.randn(size, generator=generator, dtype=torch.float64) / 2)
        return drawn[-1]

    return draw, drawn


@given(seed=st.integers(0, 1000), max_iter=st.integers(1, 20))
@few
def test_random_search_keeps_the_best_of_all_that_it_tries(seed, max_iter):
    problem = Problem(SMALL, alpha=0.1, seed=seed)
    start = problem.objective.theta.clone()
    draw, drawn = drawer(problem, seed)
    recorder = Recorder()
    found, theta = problem.solve(random_search, draw=draw, max_iter=max_iter, report=recorder)
    candidates = [start, *drawn]
    losses = [float(problem.functional(candidate)) for candidate in candidates]
    assert len(drawn) == max_iter == found.n_iter
    assert torch.equal(theta, candidates[int(np.argmin(losses))])
    assert found.loss == pytest.approx(min(losses), rel=1e-12)
    np.testing.assert_allclose(recorder.losses, np.minimum.accumulate(losses)[1:], rtol=1e-12)


def test_random_search_begins_with_where_it_stands():
    problem = Problem(SMALL)
    start = problem.objective.theta.clone()
    found, theta = problem.solve(random_search, draw=lambda: start + 100, max_iter=5)
    assert torch.equal(theta, start) and found.reason == "converged"


def test_random_search_forgets_a_start_that_is_not_a_number():
    problem = Problem(SMALL)
    problem.parameters.theta[0] = torch.nan
    draw, drawn = drawer(problem)
    found, theta = problem.solve(random_search, draw=draw, max_iter=1)
    assert torch.equal(theta, drawn[0]) and np.isfinite(found.loss)


# ------------------------------------------------------------------ stopping

LBFGS = {"solver": lbfgs, "tol": 1e-12, "max_iter": 50, "max_fun": 1000}
NEWTON = {"solver": newton, "tol": 1e-12, "max_iter": 50}
SEARCH = {"solver": random_search, "max_iter": 50}

every = pytest.mark.parametrize(
    "options", [LBFGS, NEWTON, SEARCH], ids=lambda o: o["solver"].__name__
)


def solve(problem, options, **more):
    options = {**options, **more}
    if options["solver"] is random_search:
        options["draw"] = drawer(problem)[0]
    return problem.solve(options.pop("solver"), **options)


@every
@pytest.mark.parametrize("how", ["stopped", "interrupted"])
def test_a_report_can_end_it_and_the_best_is_kept(options, how):
    problem = Problem(SMALL)
    recorder = Recorder(**{"stop_at" if how == "stopped" else "interrupt_at": 3})
    found, theta = solve(problem, options, report=recorder)
    assert (found.reason, found.n_iter) == (how, 3 if options is not SEARCH else found.n_iter)
    assert found.n_iter <= 3 and len(recorder.losses) == 3
    assert found.loss == pytest.approx(float(problem.functional(theta)), rel=1e-12)
    assert found.loss <= min(recorder.losses) * (1 + 1e-12)


@every
def test_an_interrupt_before_the_first_report_keeps_the_start(options):
    problem = Problem(SMALL)
    start, calls = problem.objective.theta.clone(), []
    plain = problem.objective.evaluate

    def evaluate(theta):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(theta)

    problem.objective.evaluate = evaluate
    found, theta = solve(problem, options)
    assert found.reason == "interrupted" and found.n_iter == 1
    assert torch.equal(theta, start)


@every
def test_what_is_reported_is_where_the_loss_was(options):
    problem, recorder = Problem(SMALL), Recorder()
    solve(problem, options, report=recorder)
    losses = [float(problem.functional(theta)) for theta in recorder.thetas]
    np.testing.assert_allclose(recorder.losses, losses, rtol=1e-12)
    assert recorder.losses == sorted(recorder.losses, reverse=True)


@pytest.mark.parametrize("options", [LBFGS, NEWTON], ids=lambda o: o["solver"].__name__)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_start_without_a_finite_loss_is_not_called_converged(options, bad):
    problem = Problem(LINEAR)
    problem.parameters.theta[0] = bad
    found, _ = solve(problem, options)
    assert found.reason == "diverged"


@pytest.mark.parametrize("z", [-8.0, -20.0, -40.0])
def test_newton_finds_its_way_where_there_is_hardly_any_curvature(z):
    # A Poisson mean of e^z: a Newton step has length e^-z, and overflows.
    start = {"coefs.0": np.zeros((3, 1)), "intercepts.0": np.array([z])}
    problem = Problem(LINEAR, loss=Poisson(), start=start, alpha=1.0)
    found, theta = problem.solve(newton, tol=1e-9, max_iter=200)
    assert found.reason == "converged" and np.isfinite(found.loss)
    assert float(problem.gradient(theta).abs().max()) < 1e-8


def test_newton_descends_where_there_is_no_curvature_at_all():
    problem = Problem(LINEAR, loss=Pinball(0.3))
    recorder = Recorder()
    start = float(problem.functional(problem.objective.theta))
    problem.solve(newton, tol=1e-9, max_iter=20, report=recorder)
    assert [start, *recorder.losses] == sorted([start, *recorder.losses], reverse=True)
    assert recorder.losses[-1] < 0.9 * start


def test_newton_says_when_its_steps_are_used_up():
    found, _ = Problem(SMALL).solve(newton, tol=1e-14, max_iter=2)
    assert (found.reason, found.n_iter) == ("max_epochs", 2)


@pytest.mark.parametrize("options", [LBFGS, NEWTON], ids=lambda o: o["solver"].__name__)
def test_single_precision_comes_close(options):
    problem = Problem(LINEAR, alpha=0.1, dtype=torch.float32)
    found, theta = solve(problem, {**options, "tol": 1e-5})
    assert theta.dtype == torch.float32 and np.isfinite(found.loss)
    exact, solution = Problem(LINEAR, alpha=0.1).solve(newton, tol=1e-10, max_iter=5)
    # A gradient of 1e-5, and rounding 1e-7, over a curvature of about one half; L-BFGS stops
    # when the objective has settled, to the root of single precision.
    assert found.loss == pytest.approx(exact.loss, rel=1e-5)
    torch.testing.assert_close(theta.double(), solution, rtol=0, atol=1e-3)


def test_exponential_outputs_are_no_obstacle():
    problem = Problem(MLPArchitecture((2, 3, 1), (Tanh(),), Exp()), alpha=0.1)
    found, theta = problem.solve(newton, tol=1e-8, max_iter=200)
    assert found.reason == "converged"
    assert float(problem.gradient(theta).abs().max()) <= 1e-8
