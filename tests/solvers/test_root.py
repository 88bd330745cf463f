"""Systems of equations: roots that are known, whatever the start, the kinks and the rounding."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jacfwd

from thetalearn.solvers.root import Root, gauss_newton, minimize_lbfgs, newton

few = settings(max_examples=25, deadline=None)
both = pytest.mark.parametrize("solver", [newton, gauss_newton])


class System:
    """Residuals by a function, their Jacobian by forward differentiation; counts the calls."""

    def __init__(self, function):
        self.function, self.n_residuals, self.n_jacobians = function, 0, 0

    def residual(self, theta):
        self.n_residuals += 1
        return self.function(theta)

    def linearize(self, theta):
        self.n_jacobians += 1
        return self.function(theta), jacfwd(self.function)(theta)


def vector(*entries, dtype=torch.float64):
    return torch.tensor(entries, dtype=dtype)


def rosenbrock(theta):
    return torch.stack([1 - theta[0], 10 * (theta[1] - theta[0] ** 2)])


def powell(theta):
    """Powell's badly scaled equations, with the root (1.098e-5, 9.106)."""
    falls = torch.exp(-theta).sum() - 1.0001
    return torch.stack([1e4 * theta[0] * theta[1] - 1, falls])


def exponential(theta):
    """Root e^x = y, xy = 1: x is the omega constant."""
    return torch.stack([torch.exp(theta[0]) - theta[1], theta[0] * theta[1] - 1])


OMEGA = 0.5671432904097838


def complementarity(theta):
    """Fischer-Burmeister functions of x >= 0, Mx + q >= 0, x'(Mx + q) = 0."""
    slack = MATRIX.to(theta) @ theta + OFFSET.to(theta)
    return theta + slack - torch.sqrt(theta**2 + slack**2)


MATRIX = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 4.0]], dtype=torch.float64)
# Of x = (1, 0, 0.5) the slack is (0, 2, 0).
OFFSET = vector(0.0, 2.0, 0.0) - MATRIX @ vector(1.0, 0.0, 0.5)


def test_the_error_is_squared_by_every_newton_step():
    errors, root = [], vector(OMEGA, 1 / OMEGA)
    found = newton(
        System(exponential),
        vector(0.4, 1.9),
        tol=1e-14,
        max_iter=20,
        report=lambda record, theta: errors.append(float((theta - root).norm())) or False,
    )
    assert found.converged and found.n_iter <= 6
    assert all(new <= 2 * old**2 + 1e-15 for old, new in pairwise(errors))


@few
@given(k=st.integers(1, 8), seed=st.integers(0, 1000))
def test_linear_equations_take_one_newton_step(k, seed):
    rng = np.random.default_rng(seed)
    matrix = torch.from_numpy(rng.normal(size=(k, k)) + 3 * k**0.5 * np.eye(k))
    answer = torch.from_numpy(rng.normal(size=k))
    # The matrix has a condition number of at most about 10: rounding stays below 1e-12.
    found = newton(
        System(lambda t: matrix @ (t - answer)), torch.zeros_like(answer), tol=1e-11, max_iter=5
    )
    assert found.converged and found.n_iter == 1
    torch.testing.assert_close(found.theta, answer, rtol=0, atol=1e-11)


@few
@given(seed=st.integers(0, 1000), units=st.floats(-6, 6))
def test_newton_does_not_depend_on_the_units_of_the_unknowns(seed, units):
    scale = torch.from_numpy(10.0 ** (units * np.array([1.0, -1.0])))
    start = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 3, 2))
    plain = newton(System(exponential), start, tol=1e-11, max_iter=50)
    scaled = newton(System(lambda t: exponential(t * scale)), start / scale, tol=1e-11, max_iter=50)
    assert plain.converged and scaled.converged
    # Both are within tol / |J^-1| of the one root.
    torch.testing.assert_close(scaled.theta * scale, plain.theta, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("function", "start", "root"),
    [
        (rosenbrock, (-1.2, 1.0), (1.0, 1.0)),
        (powell, (0.0, 1.0), (1.0981593296998e-05, 9.1061467398665)),
        (torch.atan, (20.0,), (0.0,)),
        (exponential, (3.0, -3.0), (OMEGA, 1 / OMEGA)),
    ],
    ids=["rosenbrock", "powell", "overshooting", "exponential"],
)
def test_known_roots_from_far(function, start, root):
    found = newton(System(function), vector(*start), tol=1e-12, max_iter=100)
    assert found.converged and found.reason == "tolerance met"
    assert float(found.residual.abs().max()) <= 1e-12
    # Powell's equations move by 1e-12 for a change of 1e-8 in the second root.
    torch.testing.assert_close(found.theta, vector(*root), rtol=1e-7, atol=1e-12)


def test_a_singular_jacobian_at_the_start_is_passed():
    def function(theta):
        return torch.stack([theta[0] ** 2 - theta[1] - 1, theta[0] - theta[1] ** 2 + 1])

    jacobian = jacfwd(function)(vector(1.0, 0.25))
    assert abs(float(torch.linalg.det(jacobian))) == 0
    dampings = []
    found = newton(
        System(function),
        vector(1.0, 0.25),
        tol=1e-12,
        max_iter=50,
        report=lambda record, theta: dampings.append(record["damping"]) or False,
    )
    assert found.converged
    assert dampings[0] > 0 and dampings[-1] == 0


def test_an_infeasible_trial_is_shortened():
    # The Newton step from 20 leads to 20 (1 - log 20) < 0, where the logarithm is NaN.
    system = System(torch.log)
    found = newton(system, vector(20.0), tol=1e-12, max_iter=50)
    assert found.converged and system.n_residuals > found.n_iter + 1
    torch.testing.assert_close(found.theta, vector(1.0), rtol=1e-11, atol=0)


@both
def test_a_start_that_is_not_finite_is_refused(solver):
    found = solver(System(torch.log), vector(-1.0), tol=1e-12, max_iter=50)
    assert not found.converged and found.n_iter == 0
    assert "not finite at the start" in found.reason


@both
def test_a_jacobian_that_is_not_finite_is_named(solver):
    found = solver(System(lambda t: torch.sqrt(t) + 1), vector(0.0), tol=1e-12, max_iter=50)
    assert not found.converged and "Jacobian is not finite" in found.reason


@few
@given(start=st.lists(st.floats(-20, 20), min_size=3, max_size=3))
def test_complementarity_from_anywhere(start):
    # Positive definite: one solution, and no other stationary point of the merit function.
    assert bool((torch.linalg.eigvalsh(MATRIX) > 0).all())
    found = newton(System(complementarity), vector(*start) + 1e-3, tol=1e-11, max_iter=100)
    assert found.converged
    torch.testing.assert_close(found.theta, vector(1.0, 0.0, 0.5), rtol=0, atol=1e-10)


def test_a_stationary_point_without_a_root_is_not_a_root():
    found = newton(System(lambda t: t**2 + 1), vector(3.0), tol=1e-12, max_iter=200)
    assert not found.converged
    assert "not a root" in found.reason and found.n_iter < 200


@both
def test_dependent_unknowns_are_solved_for_all_the_same(solver):
    def function(theta):
        return torch.stack([torch.exp(theta.sum()) - 2, theta.sum() - np.log(2.0)])

    found = solver(System(function), torch.zeros(2, dtype=torch.float64), tol=1e-12, max_iter=50)
    assert found.converged
    # The damped steps go along the one direction that the equations see, from the origin.
    torch.testing.assert_close(found.theta, torch.full_like(found.theta, np.log(2) / 2))


def test_chord_steps_save_jacobians():
    plain, chord = System(exponential), System(exponential)
    start = vector(0.6, 1.8)
    first = newton(plain, start, tol=1e-12, max_iter=50)
    second = newton(chord, start, tol=1e-12, max_iter=50, chord=True)
    assert first.converged and second.converged
    assert chord.n_jacobians < plain.n_jacobians and second.n_iter >= first.n_iter
    torch.testing.assert_close(first.theta, second.theta, rtol=1e-11, atol=0)


def test_the_linearisation_is_asked_for_where_the_residual_was():
    class Cached(System):
        def residual(self, theta):
            self.seen = theta
            return super().residual(theta)

        def linearize(self, theta):
            assert theta is self.seen
            return super().linearize(theta)

    assert gauss_newton(Cached(rosenbrock), vector(1.0, 0.9), tol=1e-12, max_iter=50).converged
    assert newton(Cached(exponential), vector(0.6, 1.8), tol=1e-12, max_iter=50).converged


@both
def test_rounding_ends_the_search_as_converged(solver):
    def function(theta):
        return torch.stack([torch.exp(theta[0]) - theta[1], 1e3 * theta[0] * theta[1] - 1e3])

    found = solver(System(function), vector(0.6, 1.8), tol=0.0, max_iter=50)
    assert found.converged and found.n_iter < 50
    # A few eps times terms of a thousand.
    assert float(found.residual.abs().max()) < 1e-11
    torch.testing.assert_close(found.theta, vector(OMEGA, 1 / OMEGA), rtol=1e-14, atol=0)


@both
def test_single_precision_ends_at_its_own_rounding(solver):
    start = vector(0.6, 1.8, dtype=torch.float32)
    found = solver(System(exponential), start, tol=1e-12, max_iter=50)
    assert found.converged and found.theta.dtype == found.residual.dtype == torch.float32
    torch.testing.assert_close(
        found.theta.double(), vector(OMEGA, 1 / OMEGA), rtol=4 * 2**-23, atol=0
    )


def test_newton_refuses_more_equations_than_unknowns():
    with pytest.raises(ValueError, match=r"3 equations for theta of length 1; use gauss_newton"):
        newton(System(lambda t: t.expand(3)), vector(1.0), tol=1e-12, max_iter=9)


@both
def test_a_root_at_the_start_needs_no_jacobian(solver):
    system = System(rosenbrock)
    found = solver(system, vector(1.0, 1.0), tol=1e-12, max_iter=9)
    assert isinstance(found, Root) and found.converged
    assert found.n_iter == system.n_jacobians == 0


@both
def test_too_few_steps_are_said_and_the_last_theta_is_kept(solver):
    found = solver(System(rosenbrock), vector(-1.2, 1.0), tol=1e-12, max_iter=2)
    assert not found.converged and found.n_iter == 2
    assert found.reason == "max_iter=2 steps taken"
    torch.testing.assert_close(found.residual, rosenbrock(found.theta))


@both
def test_the_report_follows_the_residuals_and_may_stop_the_search(solver):
    records, thetas = [], []

    def report(record, theta):
        records.append(record)
        thetas.append(theta)
        return len(records) == 3

    found = solver(System(rosenbrock), vector(-1.2, 1.0), tol=1e-12, max_iter=50, report=report)
    assert found.reason == "stopped by a callback" and found.n_iter == 3
    assert found.theta is thetas[-1]
    for record, theta in zip(records, thetas, strict=True):
        residual = rosenbrock(theta)
        assert record["residual"] == float(residual.abs().max())
        assert record["loss"] == pytest.approx(float(residual.square().mean()) / 2, rel=1e-14)
    losses = [record["loss"] for record in records]
    assert losses == sorted(losses, reverse=True)


@both
def test_an_interruption_keeps_the_last_theta(solver):
    seen = []

    def report(record, theta):
        seen.append(theta)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return False

    found = solver(System(rosenbrock), vector(-1.2, 1.0), tol=1e-12, max_iter=50, report=report)
    assert found.reason == "interrupted" and not found.converged
    assert found.theta is seen[-1] and found.n_iter == 2


class Valley:
    """Chained Rosenbrock residuals of k unknowns, with noise that leaves a residual."""

    def __init__(self, k, noise):
        self.shift = noise * np.random.default_rng(k).normal(size=2 * k - 2)

    def __call__(self, theta):
        parts = torch.cat([1 - theta[:-1], 10 * (theta[1:] - theta[:-1] ** 2)])
        return parts + torch.from_numpy(self.shift)


@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_least_squares_as_in_scipy(k, noise):
    function = Valley(k, noise)
    start = torch.full((k,), 0.5, dtype=torch.float64)
    found = gauss_newton(System(function), start, tol=1e-12, max_iter=200)
    peer = scipy.optimize.least_squares(
        lambda t: function(torch.from_numpy(t)).numpy(),
        start.numpy(),
        jac=lambda t: jacfwd(function)(torch.from_numpy(t)).numpy(),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-13,
    )
    assert found.converged
    # A gradient of 1e-8 of the residual leaves an error of that order in theta.
    torch.testing.assert_close(found.theta, torch.from_numpy(peer.x), rtol=0, atol=1e-6)
    assert float(found.residual @ found.residual) <= 2 * peer.cost * (1 + 1e-12) + 1e-20


@few
@given(k=st.integers(1, 8), extra=st.integers(0, 20), seed=st.integers(0, 1000))
def test_linear_least_squares_is_the_projection(k, extra, seed):
    rng = np.random.default_rng(seed)
    matrix, right = rng.normal(size=(k + extra, k)), rng.normal(size=k + extra)
    matrix[:k] += 5 * np.eye(k)
    system = System(lambda t: torch.from_numpy(matrix) @ t - torch.from_numpy(right))
    found = gauss_newton(system, torch.zeros(k, dtype=torch.float64), tol=1e-12, max_iter=10)
    assert found.converged and found.n_iter <= 6
    answer = torch.from_numpy(np.linalg.lstsq(matrix, right, rcond=None)[0])
    torch.testing.assert_close(found.theta, answer, rtol=0, atol=1e-7)


def test_an_over_determined_system_with_a_root_is_solved_at_newtons_speed():
    rng = np.random.default_rng(0)
    matrix, answer = torch.from_numpy(rng.normal(size=(60, 20))), torch.ones(20).double()
    goal = torch.exp(matrix @ answer / 10)
    system = System(lambda t: torch.exp(matrix @ t / 10) - goal)
    found = gauss_newton(system, torch.zeros_like(answer), tol=1e-11, max_iter=50)
    assert found.converged and found.n_iter <= 6
    torch.testing.assert_close(found.theta, answer, rtol=0, atol=1e-10)


@few
@given(units=st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_gauss_newton_does_not_depend_on_the_units_of_the_unknowns(units):
    scale = torch.from_numpy(10.0 ** np.array(units))
    valley, start = Valley(4, 0.1), torch.full((4,), 0.8, dtype=torch.float64)
    plain = gauss_newton(System(valley), start, tol=1e-12, max_iter=3)
    scaled = gauss_newton(System(lambda t: valley(t * scale)), start / scale, tol=1e-12, max_iter=3)
    # The same three steps, up to rounding; columns shorter than 1e-6 of the longest are floored.
    if np.ptp(units) < 4:
        torch.testing.assert_close(scaled.theta * scale, plain.theta, rtol=1e-8, atol=1e-10)


def test_monomials_are_fitted_to_rounding_in_spite_of_their_condition():
    x = torch.linspace(0, 1, 40, dtype=torch.float64)
    rows = x[:, None] ** torch.arange(16)
    assert float(torch.linalg.cond(rows)) > 1e10
    found = gauss_newton(
        System(lambda t: rows @ t - torch.exp(x)), torch.zeros(16).double(), tol=1e-12, max_iter=50
    )
    assert found.converged


class Network:
    """A tanh network of two layers fitted to a function of two inputs; 105 weights."""

    def __init__(self, n_rows=600, width=8):
        rng = np.random.default_rng(0)
        self.x = torch.from_numpy(rng.uniform(-1, 1, (n_rows, 2)))
        self.y = torch.sin(3 * self.x[:, 0]) * torch.exp(self.x[:, 1])
        self.shapes = [(2, width), (width,), (width, width), (width,), (width,), (1,)]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.start = torch.from_numpy(rng.normal(size=sum(self.sizes)) / 2)

    def layers(self, theta):
        parts = theta.split(self.sizes)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def residual(self, theta):
        a, b, c, d, e, f = self.layers(theta)
        return torch.tanh(torch.tanh(self.x @ a + b) @ c + d) @ e + f - self.y

    def linearize(self, theta):
        a, b, c, d, e, _ = self.layers(theta)
        one = torch.tanh(self.x @ a + b)
        two = torch.tanh(one @ c + d)
        to_two = e * (1 - two**2)
        to_one = (to_two @ c.T) * (1 - one**2)
        blocks = [
            torch.einsum("ni,nj->nij", self.x, to_one).flatten(1),
            to_one,
            torch.einsum("ni,nj->nij", one, to_two).flatten(1),
            to_two,
            two,
            torch.ones(len(self.x), 1, dtype=torch.float64),
        ]
        return self.residual(theta), torch.cat(blocks, 1)


def test_a_network_with_a_singular_jacobian_is_fitted_to_a_small_residual():
    network = Network()
    jacobian = network.linearize(network.start)[1]
    # Written out by hand: equal to automatic differentiation.
    torch.testing.assert_close(jacobian, jacfwd(network.residual)(network.start))
    losses = []
    found = gauss_newton(
        network,
        network.start,
        tol=1e-10,
        max_iter=200,
        report=lambda record, theta: losses.append(record["loss"]) or False,
    )
    assert losses == sorted(losses, reverse=True)
    # No linear function of 105 features of a random network comes near.
    assert losses[-1] < 1e-6 < 1e-5 * losses[0]
    assert found.n_iter == 200 and "max_iter" in found.reason


def test_exact_residuals_of_a_teacher_network_reach_rounding():
    network = Network(n_rows=300, width=2)
    teacher = network.start
    network.y = network.residual(teacher) + network.y
    nearby = teacher + 0.05 * torch.from_numpy(np.random.default_rng(1).normal(size=len(teacher)))
    found = gauss_newton(network, nearby, tol=1e-13, max_iter=100)
    assert found.converged


def rosenbrock_value(theta):
    theta = theta.clone().requires_grad_()
    value = (100 * (theta[1:] - theta[:-1] ** 2) ** 2 + (1 - theta[:-1]) ** 2).sum()
    (gradient,) = torch.autograd.grad(value, theta)
    return value.item(), gradient


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_lbfgs_finds_a_known_minimum(dtype):
    tol = 1e-9 if dtype == torch.float64 else 1e-3
    found = minimize_lbfgs(rosenbrock_value, -torch.ones(6, dtype=dtype), tol=tol, max_iter=500)
    assert found.converged and found.theta.dtype == dtype
    # The smallest eigenvalue of the Hessian at the minimum is about 0.4.
    torch.testing.assert_close(found.theta, torch.ones_like(found.theta), rtol=0, atol=10 * tol)


def test_lbfgs_goes_on_however_small_the_value_is():
    def tiny(theta):
        value, gradient = rosenbrock_value(theta)
        return 1e-12 * value, 1e-12 * gradient

    found = minimize_lbfgs(tiny, torch.zeros(2, dtype=torch.float64), tol=1e-20, max_iter=500)
    assert found.converged
    torch.testing.assert_close(found.theta, torch.ones_like(found.theta), rtol=0, atol=1e-6)


def test_lbfgs_keeps_off_where_the_value_is_not_finite():
    def barrier(theta):
        return float((theta - torch.log(theta)).sum()), 1 - 1 / theta

    found = minimize_lbfgs(barrier, vector(1e-3, 5.0, 300.0), tol=1e-9, max_iter=200)
    assert found.converged
    torch.testing.assert_close(found.theta, vector(1.0, 1.0, 1.0), rtol=0, atol=1e-8)
    lost = minimize_lbfgs(barrier, vector(-1.0, 5.0), tol=1e-9, max_iter=200)
    assert not lost.converged and "not finite at the start" in lost.reason


def test_lbfgs_says_why_it_ended():
    start = -torch.ones(6, dtype=torch.float64)
    short = minimize_lbfgs(rosenbrock_value, start, tol=1e-9, max_iter=3)
    assert (short.n_iter, short.converged, short.reason) == (3, False, "max_iter=3 steps taken")
    records = []

    def report(record, theta):
        records.append((record, theta))
        return len(records) == 4

    stopped = minimize_lbfgs(rosenbrock_value, start, tol=1e-9, max_iter=99, report=report)
    assert (stopped.n_iter, stopped.reason) == (4, "stopped by a callback")
    assert stopped.value == records[-1][0]["loss"] == rosenbrock_value(stopped.theta)[0]

    def interrupt(record, theta):
        raise KeyboardInterrupt

    broken = minimize_lbfgs(rosenbrock_value, start, tol=1e-9, max_iter=99, report=interrupt)
    assert (broken.n_iter, broken.converged, broken.reason) == (1, False, "interrupted")
    floor = minimize_lbfgs(rosenbrock_value, start, tol=0.0, max_iter=999)
    assert floor.converged and floor.reason in ("no further descent", "tolerance met")
