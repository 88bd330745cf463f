"""Optimizers: what the theory says of each, and equality with torch and scikit-learn."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Lasso
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from thetalearn.solvers.gradient import optimizers as module
from thetalearn.solvers.gradient.averaging import IterateAverage
from thetalearn.solvers.gradient.optimizers import (
    SOLVERS,
    Adadelta,
    Adagrad,
    Adam,
    AdaMax,
    AdamW,
    GradientDescent,
    Momentum,
    RMSprop,
    make_optimizer,
    soft_threshold_,
)
from thetalearn.solvers.gradient.schedules import Clock, InverseTime

TORCH = {
    GradientDescent(): lambda p: torch.optim.SGD(p, lr=0.01),
    Momentum(0.0): lambda p: torch.optim.SGD(p, lr=0.01),
    Momentum(0.0, nesterov=True): lambda p: torch.optim.SGD(p, lr=0.01),
    Momentum(0.8): lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8),
    Momentum(0.8, nesterov=True): lambda p: torch.optim.SGD(
        p, lr=0.01, momentum=0.8, nesterov=True
    ),
    Adagrad(): lambda p: torch.optim.Adagrad(p, lr=0.01),
    Adagrad(0.1): lambda p: torch.optim.Adagrad(p, lr=0.01, eps=0.1),
    Adadelta(): lambda p: torch.optim.Adadelta(p, lr=0.01),
    Adadelta(0.7, 1e-2): lambda p: torch.optim.Adadelta(p, lr=0.01, rho=0.7, eps=1e-2),
    RMSprop(): lambda p: torch.optim.RMSprop(p, lr=0.01),
    RMSprop(0.8, 1e-2): lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.8, eps=1e-2),
    RMSprop(momentum=0.7): lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.7),
    RMSprop(centered=True): lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True),
    RMSprop(0.9, 1e-3, 0.5, True): lambda p: torch.optim.RMSprop(
        p, lr=0.01, alpha=0.9, eps=1e-3, momentum=0.5, centered=True
    ),
    Adam(): lambda p: torch.optim.Adam(p, lr=0.01),
    Adam(0.7, 0.8, 1e-2): lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.7, 0.8), eps=1e-2),
    Adam(0.0, 0.0): lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.0, 0.0)),
    Adam(amsgrad=True): lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    AdamW(): lambda p: torch.optim.AdamW(p, lr=0.01),
    AdamW(0.8, 0.9, 1e-3, True, 0.5): lambda p: torch.optim.AdamW(
        p, lr=0.01, betas=(0.8, 0.9), eps=1e-3, amsgrad=True, weight_decay=0.5
    ),
    AdaMax(): lambda p: torch.optim.Adamax(p, lr=0.01),
    AdaMax(0.8, 0.9, 1e-3): lambda p: torch.optim.Adamax(p, lr=0.01, betas=(0.8, 0.9), eps=1e-3),
}

every = pytest.mark.parametrize("optimizer", list(TORCH), ids=repr)


@pytest.fixture(params=["fused", "plain"])
def path(request, monkeypatch):
    """Run a test with torch's fused functions, and without."""
    if request.param == "plain":
        monkeypatch.setattr(module, "_is_fused", lambda *args: False)
    return request.param


def gradients(steps, size, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, size, generator=generator, dtype=torch.float64).to(dtype)


def run(optimizer, start, grads, rate):
    """The iterates under given gradients."""
    theta = start.clone()
    update = optimizer.start(theta)
    out = []
    for gradient in grads:
        update(theta, gradient.clone(), rate)
        out.append(theta.clone())
    return torch.stack(out)


def minimise(optimizer, gradient, theta, rate, steps):
    update = optimizer.start(theta)
    for _ in range(steps):
        update(theta, gradient(theta), rate)
    return theta


def spread_hyper_parameters(optimizer, theta):
    """The same optimizer with hyper-parameters for each element, but for those not in use."""
    changes = {
        name: torch.full_like(theta, value)
        for name, value in vars(optimizer).items()
        if not isinstance(value, bool) and value != 0
    }
    return replace(optimizer, **changes)


# Equality with others


@every
def test_agrees_with_torch(optimizer, path):
    # 37 is no multiple of a vector register, so that remainders are seen too.
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    parameter = torch.nn.Parameter(start.clone())
    reference = TORCH[optimizer]([parameter])
    found = run(optimizer, start, grads, 0.01)
    for gradient, theta in zip(grads, found, strict=True):
        parameter.grad = gradient.clone()
        reference.step()
        torch.testing.assert_close(theta, parameter.detach(), rtol=1e-12, atol=1e-12)


@every
def test_agrees_with_torch_in_single_precision(optimizer, path):
    start = gradients(1, 37, 1, torch.float32)[0]
    grads = gradients(50, 37, 0, torch.float32)
    parameter = torch.nn.Parameter(start.clone())
    reference = TORCH[optimizer]([parameter])
    found = run(optimizer, start, grads, 0.01)
    for gradient in grads:
        parameter.grad = gradient.clone()
        reference.step()
    # The difference of two close numbers under a root loses half of the digits.
    tol = 1e-3 if getattr(optimizer, "centered", False) else 2e-6
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[-1], parameter.detach(), rtol=tol, atol=tol)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_scikit_learns_while_the_rate_changes(nesterov, path):
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    coef = start.numpy().copy()
    reference = SGDOptimizer([coef], 0.1, momentum=0.7, nesterov=nesterov)
    theta = start.clone()
    update = Momentum(0.7, nesterov).start(theta)
    for k, gradient in enumerate(grads):
        reference.learning_rate = 0.1 * (k % 3)
        reference.update_params([coef], [gradient.numpy()])
        update(theta, gradient.clone(), 0.1 * (k % 3))
    np.testing.assert_allclose(theta.numpy(), coef, rtol=1e-12, atol=1e-13)


def test_adam_is_scikit_learns_but_for_epsilon(path):
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    coef = start.numpy().copy()
    reference = AdamOptimizer([coef], 0.01, epsilon=0.0)
    for gradient in grads:
        reference.update_params([coef], [gradient.numpy()])
    found = run(Adam(epsilon=0.0), start, grads, 0.01)[-1]
    np.testing.assert_allclose(found.numpy(), coef, rtol=1e-12, atol=1e-13)


def test_the_four_forms_of_the_heavy_ball_coincide(path):
    eta, rho, curvature = 0.1, 0.8, torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)

    def gradient(theta):
        return curvature * theta + theta**3

    ours, a, b = (torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64) for _ in range(3))
    c = last = a.clone()
    update = Momentum(rho).start(ours)
    u, v = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for _ in range(50):
        update(ours, gradient(ours), eta)
        u = rho * u - gradient(a)
        a = a + eta * u
        v = rho * v + (1 - rho) * gradient(b)
        b = b - eta / (1 - rho) * v
        c, last = c - eta * gradient(c) + rho * (c - last), c
        for other in (a, b, c):
            torch.testing.assert_close(ours, other, rtol=0, atol=1e-14)


def test_nesterov_takes_the_gradient_at_the_shifted_point(path):
    eta, rho, curvature = 0.1, 0.8, torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    theta, u = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    shifted = theta.clone()
    update = Momentum(rho, nesterov=True).start(shifted)
    for _ in range(50):
        u = rho * u - eta * curvature * (theta + rho * u)
        theta = theta + u
        update(shifted, curvature * shifted, eta)
        torch.testing.assert_close(shifted, theta + rho * u, rtol=0, atol=1e-14)


# Gradient descent on quadratics, sections 17.2 and 17.3 of the book


@st.composite
def quadratics(draw):
    """Eigenvalues of a Hessian, condition number up to 100, and where to start."""
    d = draw(st.integers(1, 7))
    eigenvalues = draw(st.lists(st.floats(0.1, 10), min_size=d, max_size=d))
    # In thousandths, because squares of tiny numbers are not numbers of full precision.
    start = draw(st.lists(st.integers(-10_000, 10_000), min_size=d, max_size=d))
    return torch.tensor(eigenvalues, dtype=torch.float64), torch.tensor(start).double() / 1000


def descend(eigenvalues, start, eta, steps=30):
    """Iterates of gradient descent, the first of them included, and their losses."""
    path = [start]
    theta = start.clone()
    update = GradientDescent().start(theta)
    for _ in range(steps):
        update(theta, eigenvalues * theta, eta)
        path.append(theta.clone())
    path = torch.stack(path)
    return path, (eigenvalues * path**2).sum(1) / 2


@given(problem=quadratics(), share=st.floats(0.01, 1))
def test_descent_lemma(problem, share):
    eigenvalues, start = problem
    eta = share / float(eigenvalues.max())
    path, loss = descend(eigenvalues, start, eta)
    gains = eta / 2 * (eigenvalues * path).square().sum(1)
    assert (loss[1:] - loss[:-1] <= -gains[:-1] + 1e-13 * loss[0]).all()


@given(problem=quadratics(), share=st.floats(0.01, 1))
def test_convex_rate(problem, share):
    eigenvalues, start = problem
    eta = share / float(eigenvalues.max())
    path, loss = descend(eigenvalues, start, eta)
    distance = path.norm(dim=1)
    assert (distance[1:] <= distance[:-1] * (1 + 1e-14)).all()
    steps = torch.arange(1, len(loss))
    assert (loss[1:] <= distance[0] ** 2 / (2 * eta * steps) + 1e-14).all()


@given(problem=quadratics(), share=st.floats(0.01, 1))
def test_strongly_convex_rate(problem, share):
    eigenvalues, start = problem
    g, L = float(eigenvalues.min()), float(eigenvalues.max())
    eta = share * 2 / (L + g)
    squares = descend(eigenvalues, start, eta)[0].square().sum(1)
    factor = 1 - 2 * eta * g * L / (L + g)
    assert (squares[1:] <= factor * squares[:-1] + 1e-14 * squares[0]).all()


@given(problem=quadratics(), share=st.floats(0.01, 1.2))
def test_error_shrinks_by_the_largest_factor(problem, share):
    eigenvalues, start = problem
    g, L = float(eigenvalues.min()), float(eigenvalues.max())
    eta = share * 2 / L
    distance = descend(eigenvalues, start, eta)[0].norm(dim=1)
    factor = max(abs(1 - eta * g), abs(1 - eta * L))
    assert (distance[1:] <= factor * distance[:-1] + 1e-14 * distance.max()).all()
    # Along the eigenvector of the largest factor the bound is met, so above 2 / L it diverges.
    worst = (1 - eta * eigenvalues).abs().argmax()
    alone = torch.zeros_like(start)
    alone[worst] = 1.0
    reached = descend(eigenvalues, alone, eta)[0].norm(dim=1)
    exact = factor ** torch.arange(len(reached), dtype=torch.float64)
    # Rounding of each factor is relative to 1, not to a factor that is near zero.
    torch.testing.assert_close(reached, exact, rtol=1e-10, atol=1e-14)


def iterations(optimizer, eta, eigenvalues):
    """Updates until the error has fallen to 1e-8 of what it was."""
    theta = torch.ones_like(eigenvalues)
    goal, k, error = 1e-8 * theta.norm(), 0, np.inf
    update = optimizer.start(theta)
    while error > goal:
        update(theta, eigenvalues * theta, eta)
        k += 1
        shift = update.tensors.get("velocity", 0) if getattr(optimizer, "nesterov", False) else 0
        error = (theta - getattr(optimizer, "momentum", 0) * shift).norm()
    return k


@pytest.mark.parametrize(
    ("kappa", "counts"), [(10, (84, 32, 51)), (100, (841, 109, 185)), (1000, (8406, 364, 606))]
)
def test_acceleration_needs_the_root_of_the_condition_number(kappa, counts):
    root = kappa**0.5
    eigenvalues = torch.linspace(1, kappa, 50, dtype=torch.float64)
    heavy = Momentum(((root - 1) / (root + 1)) ** 2)
    nesterov = Momentum((root - 1) / (root + 1), nesterov=True)
    found = (
        iterations(GradientDescent(), 2 / (kappa + 1), eigenvalues),
        iterations(heavy, 4 / (root + 1) ** 2, eigenvalues),
        iterations(nesterov, 1 / kappa, eigenvalues),
    )
    assert found == counts


def test_heavy_ball_may_cycle_where_nesterov_converges():
    def slope(x):
        return torch.where(x < 1, 25 * x, torch.where(x < 2, x + 24, 25 * x - 24))

    start = torch.tensor([3.3], dtype=torch.float64)
    theta = start.clone()
    update = Momentum(4 / 9).start(theta)
    cycle = []
    for k in range(303):
        update(theta, slope(theta), 1 / 9)
        if k >= 300:
            cycle.append(theta.item())
    at = cycle.index(max(cycle))
    np.testing.assert_allclose(np.roll(cycle, -at), [2.116, 0.647, -1.802], atol=6e-4)
    theta = start.clone()
    minimise(Momentum(2 / 3, nesterov=True), slope, theta, 1 / 25, 300)
    assert abs(theta.item()) < 1e-12


# Stochastic gradients


def test_sgd_never_leaves_the_confusion_zone():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.5, 2, 20), rng.uniform(-1, 3, 20)
    low, high = (y / x).min(), (y / x).max()
    theta = torch.linspace(low, high, 200, dtype=torch.float64)
    update = GradientDescent().start(theta)
    rows = torch.from_numpy(rng.integers(20, size=(2000, 200)))
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)
    eta = 1 / (2 * float((x**2).max()))
    for row in rows:
        update(theta, 2 * xs[row] * (xs[row] * theta - ys[row]), eta)
        assert theta.min() >= low - 1e-14
        assert theta.max() <= high + 1e-14
    minimise(
        GradientDescent(), lambda t: 2 * ((xs**2).mean() * t - (xs * ys).mean()), theta, eta, 500
    )
    np.testing.assert_allclose(theta.numpy(), (x * y).sum() / (x * x).sum(), rtol=1e-12)


def moments(optimizer, eigenvalues, noise, rate, start, steps):
    """Exact means and variances of the iterates on a quadratic with additive noise.

    The iterates are linear in the noise. Replica 0 follows the mean, replica j > 0 the response to
    a unit of noise in update j alone, and the squares of the responses add up.
    """
    d = len(eigenvalues)
    theta = torch.zeros(steps + 1, d, dtype=torch.float64)
    theta[0] = start
    flat = theta.view(-1)
    update = optimizer.start(flat)
    means, variances = [theta[0].clone()], [torch.zeros(d, dtype=torch.float64)]
    for k in range(steps):
        gradient = eigenvalues * theta
        gradient[k + 1] += 1
        update(flat, gradient.view(-1), rate(k))
        means.append(theta[0].clone())
        variances.append(noise**2 * theta[1:].square().sum(0))
    return torch.stack(means), torch.stack(variances)


@pytest.mark.parametrize("eta", [0.1, 0.5, 0.9])
def test_stationary_variance_under_injected_noise(eta):
    # Exercise 18.1 of the book.
    sigma, one = 1.3, torch.ones(1, dtype=torch.float64)
    variance = moments(GradientDescent(), one, sigma, lambda k: eta, one, 300)[1][-1]
    assert variance.item() == pytest.approx(eta * sigma**2 / (2 - eta), rel=1e-12)


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])
def test_stationary_variance_of_the_heavy_ball(mu):
    # The variance of the second-order autoregression with coefficients 1 + mu - eta h and -mu.
    eta, sigma, h = 0.1, 1.3, torch.tensor([0.5, 2.0], dtype=torch.float64)
    variance = moments(Momentum(mu), h, sigma, lambda k: eta, torch.ones(2), 1500)[1][-1]
    a, b = 1 + mu - eta * h, -mu
    exact = (1 - b) / (1 + b) * (eta * sigma) ** 2 / ((1 - b) ** 2 - a**2)
    torch.testing.assert_close(variance, exact, rtol=1e-10, atol=0)


def test_floor_of_a_constant_rate_is_proportional_to_it():
    # Lemma 18.6 of the book, indices corrected.
    h, sigma = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64), 1.0
    g, L, kappa_1 = 0.5, 2.0, 3 * sigma**2
    floors = []
    for eta in (0.4, 0.2, 0.1, 0.05):
        start = torch.ones(3, dtype=torch.float64)
        mean, variance = moments(GradientDescent(), h, sigma, lambda k, e=eta: e, start, 800)
        loss = (h * (mean**2 + variance)).sum(1) / 2
        bound = eta * L * kappa_1 / (2 * g)
        shrunk = (1 - eta * g) ** torch.arange(len(loss), dtype=torch.float64)
        assert (loss <= bound + shrunk * (loss[0] - bound) + 1e-12).all()
        assert loss[-1].item() == pytest.approx(
            float((eta * sigma**2 / (2 * (2 - eta * h))).sum()), rel=1e-6
        )
        floors.append(loss[-1].item())
    halvings = np.array(floors[:-1]) / floors[1:]
    assert (np.diff(abs(halvings - 2)) < 0).all()
    assert halvings[-1] == pytest.approx(2, abs=0.1)


def test_decaying_rates_reach_the_minimum_like_one_over_k():
    # Lemma 18.7 of the book.
    h, sigma = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64), 1.0
    g, L, kappa_1 = 0.5, 2.0, 3 * sigma**2
    c0, c1, steps = 4.0, 8.0, 1500
    schedule = InverseTime(offset=c1)
    start = torch.ones(3, dtype=torch.float64)

    def rate(k):
        return c0 / c1 * schedule.at(Clock(k, 0, 0, 1, steps))

    mean, variance = moments(GradientDescent(), h, sigma, rate, start, steps)
    loss = (h * (mean**2 + variance)).sum(1) / 2
    k = torch.arange(len(loss), dtype=torch.float64)
    tau = max(c0**2 * L * kappa_1 / (2 * (g * c0 - 1)), c1 * loss[0].item())
    assert (loss <= tau / (c1 + k)).all()
    slope = np.polyfit(np.log(k[500:].numpy() + c1), np.log(loss[500:].numpy()), 1)[0]
    assert slope == pytest.approx(-1, abs=0.01)


def test_simulated_replicas_have_these_moments():
    # 20000 replicas, whose variance has a relative error of sqrt(2 / 20000) = 0.01.
    eta, theta = 0.5, torch.zeros(20_000, dtype=torch.float64)
    update = GradientDescent().start(theta)
    for noise in gradients(60, 20_000):
        update(theta, theta + noise, eta)
    assert theta.var().item() == pytest.approx(eta / (2 - eta), rel=0.05)


def test_rmsprop_ends_between_two_points(path):
    # On theta^2 / 2 without epsilon, against what the book sketches.
    theta = torch.tensor([1.0], dtype=torch.float64)
    update = RMSprop(0.9, epsilon=0.0).start(theta)
    ends = []
    for _ in range(3000):
        update(theta, theta.clone(), 0.01)
        ends.append(theta.item())
    assert abs(ends[-1]) == pytest.approx(0.005, rel=1e-12)
    assert ends[-2] == pytest.approx(-ends[-1], rel=1e-12)
    assert ends[-3] == pytest.approx(ends[-1], rel=1e-12)


# Proximal steps

PROXIMAL = {
    GradientDescent(): 0.3,
    Momentum(0.9): 0.05,
    Momentum(0.9, nesterov=True): 0.05,
    Adagrad(): 0.5,
    Adadelta(): 5.0,
    RMSprop(): 0.01,
    RMSprop(momentum=0.5): 0.005,
    Adam(): 0.01,
    Adam(amsgrad=True): 0.01,
    AdamW(weight_decay=0.0): 0.01,
    AdaMax(): 0.02,
}


def lasso():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 12)) @ np.diag(np.linspace(0.5, 1.5, 12))
    y = X[:, :4] @ [2.0, -1.0, 0.5, 0.1] + rng.normal(size=80)
    reference = Lasso(alpha=0.2, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(X, y).coef_
    return torch.from_numpy(X), torch.from_numpy(y), torch.from_numpy(reference)


@pytest.mark.parametrize("optimizer", list(PROXIMAL), ids=repr)
def test_proximal_steps_end_at_the_lasso(optimizer, path):
    X, y, reference = lasso()
    assert 0 < (reference == 0).sum() < 12
    theta = torch.zeros(12, dtype=torch.float64)
    update, rate = optimizer.start(theta), PROXIMAL[optimizer]
    for _ in range(6000):
        update(theta, X.T @ (X @ theta - y) / len(y), rate)
        soft_threshold_(theta, rate * update.metric() * 0.2)
    assert ((theta == 0) == (reference == 0)).all()
    torch.testing.assert_close(theta, reference, rtol=0, atol=1e-7)


# The variance of a constant gradient is rounding.
@pytest.mark.parametrize(
    "optimizer", [o for o in TORCH if not getattr(o, "centered", False)], ids=repr
)
def test_metric_is_what_multiplies_a_constant_gradient(optimizer, path):
    optimizer = replace(optimizer, weight_decay=0.0) if type(optimizer) is AdamW else optimizer
    gradient = torch.tensor([3.0, -0.01, 0.5], dtype=torch.float64)
    theta = torch.zeros(3, dtype=torch.float64)
    update = optimizer.start(theta)
    # Means forget where they began: 0.999^15000 is 3e-7.
    for _ in range(15_000):
        before = theta.clone()
        update(theta, gradient.clone(), 1e-4)
    torch.testing.assert_close(
        before - theta, 1e-4 * update.metric() * gradient, rtol=1e-6, atol=1e-12
    )


@given(
    theta=st.lists(st.floats(-5, 5), min_size=1, max_size=20),
    threshold=st.floats(0, 3),
)
def test_soft_threshold_is_the_proximal_map(theta, threshold):
    theta = torch.tensor(theta, dtype=torch.float64)
    exact = theta.sign() * (theta.abs() - threshold).clamp(min=0)
    many = soft_threshold_(theta.clone(), torch.full_like(theta, threshold))
    one = soft_threshold_(theta.clone(), threshold)
    assert torch.equal(one, many)
    assert torch.equal(one, exact)
    assert (one[theta.abs() <= threshold] == 0).all()


def test_soft_threshold_keeps_nan_and_takes_infinite_thresholds():
    theta = torch.tensor([np.nan, 1.0, 2.0])
    soft_threshold_(theta, torch.tensor([1.0, np.inf, 0.5]))
    assert theta[0].isnan()
    assert theta[1:].tolist() == [0.0, 1.5]


# Many replicas in one tensor


@every
def test_a_rate_for_each_element_equals_separate_runs(optimizer, path):
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    rate = torch.logspace(-4, 0, 37, dtype=torch.float64)
    together = run(optimizer, start, grads, rate)[-1]
    for j in range(0, 37, 6):
        alone = run(optimizer, start[j : j + 1], grads[:, j : j + 1], rate[j].item())[-1]
        torch.testing.assert_close(together[j : j + 1], alone, rtol=1e-11, atol=1e-11)


@every
@pytest.mark.parametrize("many_rates", [False, True])
def test_hyper_parameters_for_each_element_equal_separate_runs(optimizer, many_rates):
    start, grads = gradients(1, 8, 1)[0], gradients(50, 8)
    rate = torch.linspace(0.001, 0.1, 8, dtype=torch.float64)
    rates = rate if many_rates else 0.01
    names = [name for name, value in vars(optimizer).items() if not isinstance(value, bool)]
    changes = {name: torch.linspace(0.2, 0.8, 8, dtype=torch.float64) for name in names}
    together = run(replace(optimizer, **changes), start, grads, rates)[-1]
    for j in range(8):
        own = replace(optimizer, **{name: values[j].item() for name, values in changes.items()})
        own_rate = rate[j].item() if many_rates else 0.01
        alone = run(own, start[j : j + 1], grads[:, j : j + 1], own_rate)[-1]
        torch.testing.assert_close(together[j : j + 1], alone, rtol=1e-12, atol=1e-12)


@every
def test_a_number_equals_a_tensor_that_repeats_it(optimizer, path):
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    reference = run(optimizer, start, grads, 0.01)
    many = spread_hyper_parameters(optimizer, start)
    for other, rate in [(optimizer, torch.full_like(start, 0.01)), (many, 0.01)]:
        found = run(other, start, grads, rate)
        torch.testing.assert_close(found, reference, rtol=1e-12, atol=1e-12)


def test_weight_decay_of_zero_leaves_elements_to_adam(path):
    start, grads = gradients(1, 8, 1)[0], gradients(50, 8)
    decay = torch.tensor([0.0, 0.5] * 4, dtype=torch.float64)
    found = run(AdamW(weight_decay=decay), start, grads, 0.01)[-1]
    for part, optimizer in [(slice(0, 8, 2), Adam()), (slice(1, 8, 2), AdamW(weight_decay=0.5))]:
        torch.testing.assert_close(
            found[part], run(optimizer, start, grads, 0.01)[-1][part], rtol=1e-12, atol=1e-13
        )


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("many_rates", [False, True])
def test_a_nan_stays_where_it_is(optimizer, bad, many_rates, path):
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    rate = torch.full_like(start, 0.01) if many_rates else 0.01
    clean = run(optimizer, start, grads, rate)
    grads[10, 5::7] = bad
    spoilt = run(optimizer, start, grads, rate)
    well = torch.ones(37, dtype=torch.bool)
    well[5::7] = False
    assert torch.equal(clean[:, well], spoilt[:, well])
    if np.isnan(bad):
        assert spoilt[-1, ~well].isnan().all()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bits_do_not_depend_on_the_place_among_whole_registers(optimizer, dtype):
    # In lengths that are multiples of 16 no element falls to the loop over the remainder, which
    # rounds differently; a replica then gives the same bits alone and among others.
    start, grads = gradients(1, 64, 1, dtype)[0], gradients(50, 64, 0, dtype)
    together = run(optimizer, start, grads, 0.01)[-1]
    part = slice(21, 37)
    assert torch.equal(together[part], run(optimizer, start[part], grads[:, part], 0.01)[-1])


@every
def test_a_restored_updater_goes_on_to_the_same_numbers(optimizer, path):
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    reference = run(optimizer, start, grads, 0.01)
    theta = start.clone()
    update = optimizer.start(theta)
    for gradient in grads[:20]:
        update(theta, gradient.clone(), 0.01)
    tensors, steps = pickle.loads(pickle.dumps((update.tensors, update.steps)))
    assert steps == 20
    restored, copied = optimizer.start(theta), copy.deepcopy(update)
    for name, tensor in restored.tensors.items():
        tensor.copy_(tensors[name])
    restored.steps = steps
    for other in (restored, copied):
        end = theta.clone()
        for gradient in grads[20:]:
            other(end, gradient.clone(), 0.01)
        assert torch.equal(end, reference[-1])


@every
def test_torch_need_not_have_its_private_functions(optimizer, monkeypatch):
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    reference = run(optimizer, start, grads, 0.01)
    for name in ("_fused_sgd_", "_fused_adagrad_", "_fused_adamw_"):
        monkeypatch.delattr(torch, name)
    torch.testing.assert_close(
        run(optimizer, start, grads, 0.01), reference, rtol=1e-12, atol=1e-12
    )


@every
def test_both_paths_keep_the_same_state(optimizer):
    # A fit may change over when the last hyper-parameter that differs is gone.
    start, grads = gradients(1, 37, 1)[0], gradients(50, 37)
    theta = start.clone()
    fused = optimizer.start(theta)
    many = spread_hyper_parameters(optimizer, theta).start(theta)
    assert list(fused.tensors) == list(many.tensors)
    for gradient in grads[:20]:
        fused(theta, gradient.clone(), 0.01)
    for name, tensor in many.tensors.items():
        tensor.copy_(fused.tensors[name])
    many.steps = fused.steps
    for gradient in grads[20:]:
        many(theta, gradient.clone(), 0.01)
    reference = run(optimizer, start, grads, 0.01)[-1]
    torch.testing.assert_close(theta, reference, rtol=1e-12, atol=1e-12)


# Averages


@pytest.mark.parametrize("start", [0, 1, 20])
def test_average_is_the_mean_of_the_iterates(start):
    iterates = gradients(50, 7)
    average = IterateAverage(iterates[0], start)
    for steps, theta in enumerate(iterates, start=1):
        average.update(theta, steps)
        assert average.count == max(steps - start, 0)
        if steps > start:
            mean = iterates[start:steps].numpy().mean(0)
            np.testing.assert_allclose(average.value().numpy(), mean, rtol=0, atol=1e-14)


def test_average_of_constants_is_exact_and_a_nan_stays_where_it_is():
    theta = torch.tensor([0.1, np.nan, -3.3])
    average = IterateAverage(theta)
    for steps in range(1, 1000):
        average.update(theta, steps)
    assert torch.equal(average.value()[::2], theta[::2])
    assert average.value()[1].isnan()


def test_average_is_loaded():
    iterates = gradients(50, 7)
    whole, later = IterateAverage(iterates[0], 5), IterateAverage(iterates[0], 5)
    for steps, theta in enumerate(iterates, start=1):
        if steps == 30:
            later.load(whole.value().clone(), whole.count)
        whole.update(theta, steps)
        if steps >= 30:
            later.update(theta, steps)
    assert torch.equal(whole.value(), later.value())


def test_averages_at_slowly_falling_rates_forget_the_rates():
    # The mean of n iterates has variance 1 / (n h^2), up to higher orders.
    h, n = torch.tensor([0.5, 2.0], dtype=torch.float64), 6000
    theta = torch.zeros(n, 2, dtype=torch.float64)
    flat = theta.view(-1)
    update, average = GradientDescent().start(flat), IterateAverage(flat)
    for k in range(n):
        gradient = h * theta
        gradient[k] += 1
        update(flat, gradient.view(-1), (k + 1) ** -0.6)
        average.update(flat, k + 1)
    variance = average.value().view(n, 2).square().sum(0)
    torch.testing.assert_close(variance, 1 / (n * h**2), rtol=0.05, atol=0)


# Specifications


def test_names():
    assert {name: make_optimizer(name) for name in SOLVERS} == {
        "gd": GradientDescent(),
        "sgd": Momentum(0.9, nesterov=True),
        "heavy_ball": Momentum(0.9),
        "nesterov": Momentum(0.9, nesterov=True),
        "adagrad": Adagrad(),
        "adadelta": Adadelta(),
        "rmsprop": RMSprop(),
        "adam": Adam(),
        "adamw": AdamW(),
        "adamax": AdaMax(),
    }


def test_parameters_reach_the_optimizers_that_have_them():
    values = dict(
        momentum=0.5,
        nesterovs_momentum=False,
        beta_1=0.6,
        beta_2=0.7,
        epsilon=0.1,
        weight_decay=0.2,
    )
    expected = {
        "gd": GradientDescent(),
        "sgd": Momentum(0.5),
        "heavy_ball": Momentum(0.5),
        "nesterov": Momentum(0.5, nesterov=True),
        "rmsprop": RMSprop(epsilon=0.1),
        "adam": Adam(0.6, 0.7, 0.1),
        "adamw": AdamW(0.6, 0.7, 0.1, weight_decay=0.2),
        "adamax": AdaMax(0.6, 0.7, 0.1),
    }
    assert {name: make_optimizer(name, **values) for name in expected} == expected
    assert make_optimizer("sgd", momentum=0.0) == GradientDescent()
    own = Adam(0.5)
    assert make_optimizer(own, **values) is own


@pytest.mark.parametrize("spec", ["Adam", "lbfgs", None, 3, Adam])
def test_unknown_names(spec):
    with pytest.raises(ValueError, match=r'solver=.* must be one of "gd", .*, or an Optimizer'):
        make_optimizer(spec)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Momentum(1.1), r"momentum=1.1 must be in \[0, 1\]"),
        (lambda: Momentum(-0.1), r"momentum=-0.1 must be in \[0, 1\]"),
        (lambda: Momentum(np.nan), r"momentum=nan must be in \[0, 1\]"),
        (lambda: Momentum("0.9"), r"momentum='0.9' must be in \[0, 1\]"),
        (lambda: Momentum(torch.tensor([0.5, 1.1])), r"momentum=tensor.* must be in \[0, 1\]"),
        (lambda: Adagrad(-1.0), "epsilon=-1.0 must be finite and at least 0"),
        (lambda: Adadelta(rho=1.0), r"rho=1.0 must be in \[0, 1\)"),
        (lambda: RMSprop(decay=1.0), r"decay=1.0 must be in \[0, 1\)"),
        (lambda: RMSprop(momentum=2.0), r"momentum=2.0 must be in \[0, 1\)"),
        (lambda: Adam(beta_1=1.0), r"beta_1=1.0 must be in \[0, 1\)"),
        (lambda: Adam(beta_2=1.0), r"beta_2=1.0 must be in \[0, 1\)"),
        (lambda: Adam(epsilon=np.inf), "epsilon=inf must be finite and at least 0"),
        (lambda: AdamW(weight_decay=-1.0), "weight_decay=-1.0 must be finite and at least 0"),
        (lambda: AdaMax(beta_1=1.0), r"beta_1=1.0 must be in \[0, 1\)"),
        (lambda: IterateAverage(torch.zeros(1), -1), "start=-1 must be at least 0"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@every
def test_optimizers_are_values(optimizer):
    class Estimator(BaseEstimator):
        def __init__(self, solver=None):
            self.solver = solver

    for twin in (
        pickle.loads(pickle.dumps(optimizer)),
        copy.deepcopy(optimizer),
        clone(Estimator(optimizer)).solver,
    ):
        assert twin == optimizer
        assert hash(twin) == hash(optimizer)
