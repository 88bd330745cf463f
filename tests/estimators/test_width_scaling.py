"""Networks of growing width: what dividing by N^γ, with learning rates to match, does to them.

The laws are those of Spiliopoulos, Sowers, Sirignano, *Mathematical Foundations of Deep Learning
Models and Algorithms*, chapters 19 and 20. Time is t = k η / N after k steps at learning rate η.
Exponents in N are measured over a factor of 16 or so in N, where the corrections, of relative size
N^(γ - 1) or N^(-1/2), still tilt them: hence intervals.
"""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from thetalearn import MLPClassifier, MLPRegressor
from thetalearn.representations.networks.activations import Identity, ReLU, Tanh
from thetalearn.representations.networks.initialize import initialize
from thetalearn.representations.networks.mlp import MLPArchitecture
from thetalearn.solvers.gradient.replicas import train_replicas

pytestmark = pytest.mark.filterwarnings("ignore::thetalearn.exceptions.ConvergenceWarning")

# Six points on a circle, 60 degrees apart, so that the kernel is well conditioned, and a target
# that is not odd, so that the biases have work.
ANGLES = np.arange(6) * math.pi / 3 + 0.2
X = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
Y = np.sin(2 * ANGLES) + 0.5
BETWEEN = 0.8 * np.column_stack([np.cos(ANGLES + 0.5), np.sin(ANGLES + 0.5)])

#: E[c²] of the last weights below.
VARIANCE = 0.75


def exponent(widths, values):
    """The exponent of a power law of the width, by least squares on logarithms."""
    return np.polyfit(np.log(widths), np.log(values), 1)[0]


def draw(seed, *sizes, spread=(-1.5, 1.5)):
    """Weights N(0, 1), the later ones uniform: the book wants those of the outputs bounded."""
    rng = np.random.RandomState(seed)
    values = {}
    for i, shape in enumerate(pairwise(sizes)):
        values[f"coefs.{i}"] = rng.uniform(*spread, shape) if i else rng.standard_normal(shape)
        values[f"intercepts.{i}"] = np.zeros(shape[1]) if i else rng.standard_normal(shape[1])
    return {name: torch.from_numpy(value) for name, value in values.items()}


def draws(n_seeds, *sizes, **spread):
    return [draw(10_000 * sizes[1] + k, *sizes, **spread) for k in range(n_seeds)]


def scaled_net(gamma, hidden, *, steps=1, rate=1.0, solver="gd", activation="tanh", **params):
    """An estimator that makes ``steps`` epochs and nothing but descent."""
    return MLPRegressor(
        hidden_layer_sizes=hidden,
        activation=activation,
        width_scaling=gamma,
        solver=solver,
        learning_rate_init=rate,
        max_iter=steps,
        alpha=0.0,
        tol=0.0,
        n_iter_no_change=np.inf,
        **params,
    )


class Trained:
    """Replicas of a network, one for each start, before and after a training."""

    def __init__(self, starts, gamma, *, rates=None, **params):
        weights = [starts[0][f"coefs.{i}"] for i in range(len(starts[0]) // 2)]
        hidden = tuple(weight.shape[1] for weight in weights[:-1])
        self.net = scaled_net(gamma, hidden, **params)
        self.net._build_network(X.shape[1], 1)
        settings = self.net._settings(len(X), 1)
        settings = replace(settings, rate_factors=settings.rate_factors | (rates or {}))
        every = np.arange(len(X))
        replicas = [
            self.net._replica(every, None, np.random.RandomState(k)) for k in range(len(starts))
        ]
        trained = train_replicas(
            lambda numbers: self.net._make_step([starts[k] for k in numbers], 1),
            torch.from_numpy(X),
            torch.from_numpy(Y)[:, None],
            replicas,
            settings,
        )
        self.records = [one.records for one in trained]
        self.before = stack(starts)
        self.after = stack([one.values for one in trained])

    def outputs(self, values, inputs=X):
        """Outputs (K, n)."""
        return self.net.architecture_.apply(torch.from_numpy(inputs), values)[..., 0].numpy()

    def movement(self, name):
        """Root mean square change of one parameter, over its entries and the replicas."""
        return float((self.after[name] - self.before[name]).square().mean().sqrt())


def stack(dicts):
    return {name: torch.stack([one[name] for one in dicts]) for name in dicts[0]}


def train_for(time, starts, gamma, *, dt=0.05, **params):
    """Train for a time in steps of dt, whatever the width: η = N dt."""
    width = starts[0]["coefs.0"].shape[1]
    return Trained(starts, gamma, steps=round(time / dt), rate=width * dt, **params)


def tanh_kernel(values, inputs=X):
    """Tangent kernel (K, n, n) of one hidden layer: the mean over units, without the last bias."""
    x = torch.from_numpy(inputs)
    h = torch.tanh(x @ values["coefs.0"] + values["intercepts.0"].unsqueeze(-2))
    slopes = (1 - h.square()) * values["coefs.1"].transpose(-1, -2)
    units = h @ h.transpose(-1, -2) + slopes @ slopes.transpose(-1, -2) * (1 + x @ x.T)
    return units / h.shape[-1]


def erf_moments(a, b):
    """E[σσ'] and the tangent kernel for σ = erf and w ~ N(0, 1), the last bias included."""
    a, b = (np.column_stack([np.ones(len(x)), x]) for x in (a, b))
    products = a @ b.T
    norms = np.outer(1 + 2 * (a * a).sum(1), 1 + 2 * (b * b).sum(1))
    values = 2 / math.pi * np.arcsin(2 * products / np.sqrt(norms))
    slopes = 4 / math.pi / np.sqrt(norms - 4 * products**2)
    # The last bias is a constant feature that moves at the speed of the outputs.
    return values, values + VARIANCE * slopes * products + 1


def linear_flow(start, time, inputs=X):
    """Outputs on X, then on ``inputs``, after gradient flow with the limiting kernel: (20.28).

    On X it is Y + exp(-At)(h_0 - Y) with A = K / M.
    """
    K = erf_moments(X, X)[1]
    lam, V = np.linalg.eigh(K / len(X))
    moved = ((Y - start[:, : len(X)]) @ V * (-np.expm1(-lam * time) / lam)) @ V.T
    every = inputs if inputs is X else np.concatenate([X, inputs])
    return start + moved @ erf_moments(X, every)[1] / len(X)


# Exact: the function, its rates, and what follows from them.

RATES = [
    # Hidden widths, γ, rates of W_1, W_2, ... and of b_1, b_2, ...
    ((4,), 0.5, (1 / 4, 1 / 4), (1 / 4, 1 / 4)),
    ((4,), 0.75, (1 / 2, 1 / 2), (1 / 2, 1 / 4)),
    ((4,), 1.0, (1, 1), (1, 1 / 4)),
    ((4, 4), 0.5, (1 / 16, 1 / 4, 1 / 4), (1 / 16, 1 / 4, 1 / 4)),
    ((4, 4), 0.75, (1 / 4, 1, 1 / 2), (1 / 4, 1 / 2, 1 / 4)),
    ((4, 4), (1.0, 0.5), (1 / 4, 1, 1 / 4), (1 / 4, 1 / 4, 1 / 4)),
    ((4, 4), (0.5, 1.0), (1 / 4, 1, 1), (1 / 4, 1, 1 / 4)),
    ((4, 4), 1.0, (1, 4, 1), (1, 1, 1 / 4)),
    ((4, 8), 1.0, (1, 8, 2), (1, 2, 1 / 4)),
    ((8, 4), [1, 1], (1, 4, 1 / 2), (1, 1 / 2, 1 / 8)),
]


def by_hand(inputs, coefs, intercepts, gammas):
    """The network, written out."""
    h = inputs
    for i, (weight, bias) in enumerate(zip(coefs, intercepts, strict=True)):
        scale = len(weight) ** -gammas[i - 1] if i else 1.0
        z = scale * (h @ weight) + bias
        h = torch.tanh(z)
    return z


def weights_for(hidden, n_outputs):
    rng = np.random.default_rng(0)
    sizes = (3, *hidden, n_outputs)
    coefs = [rng.standard_normal(shape) for shape in pairwise(sizes)]
    return coefs, [rng.standard_normal(size) for size in sizes[1:]]


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize(("hidden", "gamma", "rates", "bias_rates"), RATES)
def test_one_step_of_descent_has_the_scales_and_rates_of_the_law(
    hidden, gamma, rates, bias_rates, n_outputs
):
    # Weights: η / N^(2-2γ) for one hidden layer, (20.29) and Thm 20.20 for two. Biases: the book's
    # are weights of a constant input; a later one has the rate of the weights of its layer times
    # N^(1-2γ), N and γ being those of the layer before.
    rng = np.random.default_rng(1)
    inputs, targets = rng.standard_normal((7, 3)), rng.standard_normal((7, n_outputs))
    coefs, intercepts = weights_for(hidden, n_outputs)
    params = scaled_net(gamma, hidden, rate=0.3, warm_start=True).get_params()
    del params["hidden_layer_sizes"]
    net = MLPRegressor.from_weights(coefs, intercepts, **params)

    gammas = np.broadcast_to(np.float64(gamma), len(hidden))
    leaves = [torch.tensor(value, requires_grad=True) for value in (*coefs, *intercepts)]
    m = by_hand(torch.from_numpy(inputs), leaves[: len(coefs)], leaves[len(coefs) :], gammas)
    np.testing.assert_allclose(net.predict(inputs).reshape(m.shape), m.detach(), rtol=0, atol=1e-12)

    net.fit(inputs, targets if n_outputs > 1 else targets[:, 0])
    loss = (m - torch.from_numpy(targets)).square().sum(1).mean() / 2
    slopes = torch.autograd.grad(loss, leaves)
    moved = zip(
        net.coefs_ + net.intercepts_, coefs + intercepts, slopes, rates + bias_rates, strict=True
    )
    for after, before, slope, rate in moved:
        np.testing.assert_allclose(after, before - 0.3 * rate * slope.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 0.75, 1.0])
def test_sgd_makes_one_step_a_minibatch_with_the_mean_over_its_rows(gamma):
    # So that t = k / N counts minibatches, whatever their size.
    rng = np.random.default_rng(1)
    inputs, targets = rng.standard_normal((6, 3)), rng.standard_normal(6)
    coefs, intercepts = weights_for((5,), 1)
    params = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "batch_size": 2}
    params |= {"width_scaling": gamma, "activation": "tanh", "learning_rate_init": 0.3}
    params |= {"alpha": 0.0, "max_iter": 1, "warm_start": True}
    net = MLPRegressor.from_weights(coefs, intercepts, **params).fit(inputs, targets)

    values = [torch.tensor(value) for value in (*coefs, *intercepts)]
    rates = [5 ** (2 * gamma - 2)] * 3 + [1 / 5]
    for rows in ([0, 1], [2, 3], [4, 5]):
        leaves = [value.requires_grad_() for value in values]
        m = by_hand(torch.from_numpy(inputs[rows]), leaves[:2], leaves[2:], [gamma])
        loss = (m[:, 0] - torch.from_numpy(targets[rows])).square().mean() / 2
        slopes = torch.autograd.grad(loss, leaves)
        values = [
            (value - 0.3 * rate * slope).detach()
            for value, rate, slope in zip(leaves, rates, slopes, strict=True)
        ]
    for after, expected in zip(net.coefs_ + net.intercepts_, values, strict=True):
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 0.7, 0.9, 1.0])
def test_a_step_takes_time_one_over_n_for_every_exponent(gamma):
    # m moves by (η / N) K (Y - m) / M, up to η²: N^(-2γ) of the squared scale, N^(2γ-2) of the rate
    # and N units make 1 / N.
    width, rate = 20, 1e-6
    trained = Trained(draws(3, 2, width, 1), gamma, rate=rate)
    before, after = (trained.outputs(values) for values in (trained.before, trained.after))
    K = tanh_kernel(trained.before).numpy() + 1
    expected = (K @ (Y - before)[..., None])[..., 0] / (width * len(X))
    np.testing.assert_allclose((after - before) / rate, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.5, 0.75, 1.0])
def test_loss_falls_at_the_rate_at_which_units_move(gamma):
    # dΛ/dt = -N^(1-2γ) Σ |θ_n'|² - b'²; for γ = 1 it is the book's mean of |θ_n'|².
    width, rate = 30, 1e-5
    trained = Trained(draws(1, 2, width, 1), gamma, rate=rate)
    dt = rate / width
    losses = [
        float(np.mean((trained.outputs(values) - Y) ** 2) / 2)
        for values in (trained.before, trained.after)
    ]
    speeds = {name: trained.after[name] - trained.before[name] for name in trained.before}
    squares = {name: float((speed / dt).square().sum()) for name, speed in speeds.items()}
    last = squares.pop("intercepts.1")
    expected = -(width ** (1 - 2 * gamma)) * sum(squares.values()) - last
    # Of the next order in dt, and of the rounding of the losses.
    assert (losses[1] - losses[0]) / dt == pytest.approx(expected, rel=1e-4)


def test_loss_never_rises_while_the_step_is_stable():
    # Stable if dt λ_max(K) / M < 2; λ_max(K) / M is about 1.5 here.
    for gamma in (0.5, 0.75, 1.0):
        for records in train_for(4.0, draws(4, 2, 64, 1), gamma, dt=0.2).records:
            assert (np.diff([record["loss"] for record in records]) < 0).all()


def cloned(values, layer):
    """The same network with every unit of a hidden layer twice, in the mean-field scaling."""
    into, bias, out = f"coefs.{layer}", f"intercepts.{layer}", f"coefs.{layer + 1}"
    return values | {
        into: values[into].repeat(1, 2),
        bias: values[bias].repeat(2),
        out: values[out].repeat(2, 1),
    }


@pytest.mark.parametrize(
    ("sizes", "layer", "speed"), [((2, 9, 1), 0, 2), ((2, 5, 7, 1), 0, 2), ((2, 5, 7, 1), 1, 1)]
)
def test_mean_field_does_not_see_that_units_are_cloned(sizes, layer, speed):
    # With γ = 1 a layer is a mean over its units, and every unit moves by its own state and the
    # mean. A step takes 1 / N_1 of time, so with twice that width the rate makes up for it. Exact.
    start = draw(0, *sizes)
    one = Trained([start], 1.0, steps=50, rate=0.5)
    two = Trained([cloned(start, layer)], 1.0, steps=50, rate=0.5 * speed)
    alone = {name: value[0] for name, value in one.after.items()}
    for name, value in cloned(alone, layer).items():
        assert (two.after[name][0] - value).abs().max() < 1e-12
    assert one.movement("coefs.0") > 0.01


def test_an_estimator_trains_as_the_replicas_of_these_tests():
    fitted = scaled_net(0.7, (8,), steps=30, random_state=5).fit(X, Y)
    start = scaled_net(0.7, (8,))
    start._build_network(2, 1)
    values = {
        name: torch.from_numpy(array)
        for name, array in start._draw(np.random.RandomState(5)).items()
    }
    trained = Trained([values], 0.7, steps=30)
    # A shuffled batch of all rows sums in another order.
    np.testing.assert_allclose(trained.outputs(trained.after)[0], fitted.predict(X), rtol=1e-12)


def test_classifiers_scale_their_logits_in_the_same_way():
    labels = np.arange(6) % 2
    params = {"hidden_layer_sizes": (8,), "activation": "tanh", "solver": "gd", "random_state": 0}
    params |= {"alpha": 0.0, "max_iter": 1, "learning_rate_init": 0.5, "width_scaling": 0.75}
    before = MLPClassifier(**params | {"learning_rate_init": 1e-300}).fit(X, labels)
    after = MLPClassifier(**params).fit(X, labels)
    leaves = [torch.tensor(v, requires_grad=True) for v in before.coefs_ + before.intercepts_]
    logits = by_hand(torch.from_numpy(X), leaves[:2], leaves[2:], [0.75])[:, 0]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(labels).double()
    )
    slopes = torch.autograd.grad(loss, leaves)
    rates = [8**-0.5, 8**-0.5, 8**-0.5, 1 / 8]
    moved = zip(after.coefs_ + after.intercepts_, leaves, slopes, rates, strict=True)
    for value, leaf, slope, rate in moved:
        np.testing.assert_allclose(value, (leaf - 0.5 * rate * slope).detach(), rtol=0, atol=1e-12)


def test_kernel_separates_opposite_inputs_through_the_biases_alone():
    # Without biases a tanh network is odd in x, and so is its kernel: x and -x make it singular.
    values = stack(draws(1, 2, 2000, 1))
    both = np.concatenate([X[:1], -X[:1]])
    x = torch.from_numpy(both)
    h = torch.tanh(x @ values["coefs.0"])
    slopes = (1 - h.square()) * values["coefs.1"].transpose(-1, -2)
    odd = (h @ h.mT + slopes @ slopes.mT * (x @ x.T)) / 2000
    least_odd = torch.linalg.eigvalsh(odd)[0, 0]
    least = torch.linalg.eigvalsh(tanh_kernel(values, both))[0, 0]
    assert abs(least_odd) < 1e-14
    assert least > 0.1


# At the start.


@pytest.mark.parametrize("hidden", [(6,), (6, 6)])
def test_weights_start_standard_normal_and_later_biases_at_zero(hidden):
    net = scaled_net(0.5, hidden)
    net._build_network(3, 2)
    values = [net._draw(np.random.RandomState(k)) for k in range(200)]
    for name in values[0]:
        numbers = np.array([value[name] for value in values])
        if name.startswith("intercepts") and name != "intercepts.0":
            assert not numbers.any()
        else:
            # Mean and variance of n normal numbers deviate by 1 / √n and √(2 / n).
            assert abs(numbers.mean()) < 4 * numbers.size**-0.5
            assert abs(numbers.var() - 1) < 4 * (2 / numbers.size) ** 0.5


@pytest.mark.parametrize("gamma", [0.5, 0.7, 1.0])
def test_variance_at_the_start_is_n_to_the_one_minus_two_gamma(gamma):
    # Exact in expectation: N^(1-2γ) E[c²] E[σ(w·x)²], here with the default N(0, 1).
    n_seeds = 400
    expected = np.diag(erf_moments(X, X)[0])
    for width in (8, 128):
        net = scaled_net(gamma, (width,), activation="erf")
        net._build_network(2, 1)
        outputs = []
        for k in range(n_seeds):
            values = net._draw(np.random.RandomState(k))
            tensors = {name: torch.from_numpy(array) for name, array in values.items()}
            outputs.append(net.architecture_.apply(torch.from_numpy(X), tensors)[:, 0].numpy())
        ratio = np.var(outputs, axis=0) / width ** (1 - 2 * gamma) / expected
        # The variance of n outputs deviates by √(2 / n), a little more as they have heavier tails.
        assert np.abs(ratio - 1).max() < 5 * (2 / n_seeds) ** 0.5


def second_moments(init, activation, depth=20, width=400, seeds=3):
    """Mean over seeds of the logarithms of the mean square before each activation (depth,)."""
    logs = []
    for seed in range(seeds):
        rng = np.random.RandomState(seed)
        net = MLPArchitecture((width,) * (depth + 1), (activation,) * (depth - 1))
        values = initialize(net, init, rng)
        z = 0.1 * rng.standard_normal((4, width))
        logs.append([])
        for i in range(depth):
            h = activation(torch.from_numpy(z)).numpy() if i else z
            assert not values[f"intercepts.{i}"].any()
            z = h @ values[f"coefs.{i}"]
            logs[-1].append(np.log(np.mean(z**2)))
    return np.mean(logs, axis=0)


@pytest.mark.parametrize(
    ("init", "activation", "factor"),
    [
        ("lecun_normal", Identity(), 1),
        ("glorot_uniform", Identity(), 1),
        ("he_normal", Identity(), 2),
        ("lecun_normal", ReLU(), 1 / 2),
        ("he_normal", ReLU(), 1),
        ("he_uniform", ReLU(), 1),
    ],
)
def test_initial_variance_grows_by_the_same_factor_in_every_layer(init, activation, factor):
    logs = second_moments(init, activation)
    # A layer of n units deviates by at most √(5 / n) = 0.11 (for ReLU): over 19 layers and 3 seeds
    # the mean of a layer by 0.11 / √57 = 0.015.
    assert (logs[-1] - logs[0]) / (len(logs) - 1) == pytest.approx(math.log(factor), abs=0.05)


def test_initial_variance_of_tanh_decays_as_its_gaussian_recursion_says():
    # For Var w = 1 / n and many units q ← E[tanh(√q z)²], z ~ N(0, 1): about q - 2q².
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    logs = second_moments("lecun_normal", Tanh())
    q = math.exp(logs[0])
    for _ in range(len(logs) - 1):
        q = float(weights @ np.tanh(math.sqrt(q) * nodes) ** 2 / weights.sum())
    # From 0.01 at the start; √(2 / 400) a layer and seed is 0.18 for all.
    assert 0.6 < q / math.exp(logs[0]) < 0.8
    assert logs[-1] == pytest.approx(math.log(q), abs=0.4)


# While training, as the width grows.


@pytest.mark.parametrize(
    "gamma", [0.5, 0.7, pytest.param(0.9, marks=pytest.mark.slow), 1.0], ids=str
)
def test_variance_over_starts_stays_n_to_the_one_minus_two_gamma_in_training(gamma):
    # (20.28), and the central limit theorem about the mean field at γ = 1. A variance of 100 starts
    # deviates by √(2 / 100) = 0.14 at most, and the exponent by 0.14 √2 / ln 16 = 0.07.
    widths = (32, 512)
    variances = []
    for width in widths:
        trained = train_for(2.0, draws(100, 2, width, 1), gamma)
        variances.append(trained.outputs(trained.after).var(0).mean())
    assert abs(exponent(widths, variances) - (1 - 2 * gamma)) < 0.2


def test_variance_after_training_is_that_of_the_gaussian_limit():
    # γ = 1/2: outputs start as a Gaussian process of covariance S = E[c²] E[σσ'], and the flow
    # makes it exp(-At) S exp(-At). The variance of 200 starts deviates by a tenth.
    time, width = 2.0, 256
    trained = train_for(time, draws(200, 2, width, 1), 0.5, activation="erf")
    values, kernel = erf_moments(X, X)
    lam, V = np.linalg.eigh(kernel / len(X))
    decay = V * np.exp(-lam * time) @ V.T
    expected = np.trace(decay @ (VARIANCE * values) @ decay) / len(X)
    assert trained.outputs(trained.after).var(0).mean() == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize("gamma", [0.5, 0.7, 1.0])
def test_parameters_move_as_n_to_the_gamma_minus_one(gamma):
    # A step moves a unit by N^(2γ-2) N^(-γ), and there are N of them in a unit of time. The last
    # bias is part of the outputs, and moves with them.
    widths = (32, 128, 512)
    moves = {f"{kind}.{i}": [] for kind in ("coefs", "intercepts") for i in (0, 1)}
    for width in widths:
        trained = train_for(2.0, draws(20, 2, width, 1), gamma)
        for name, values in moves.items():
            values.append(trained.movement(name))
    last = moves.pop("intercepts.1")
    for values in moves.values():
        assert abs(exponent(widths, values) - (gamma - 1)) < 0.1
    assert abs(exponent(widths, last)) < 0.1


@pytest.mark.parametrize("gamma", [0.5, 0.7, 1.0])
def test_kernel_stands_still_below_the_mean_field_and_moves_in_it(gamma):
    # Units move by N^(γ-1), to first order by an odd function of their c: the mean over them keeps
    # the second order, N^(2γ-2), and a random rest of the first, N^(γ-3/2).
    widths = (32, 128, 512)
    drifts = []
    for width in widths:
        trained = train_for(8.0, draws(20, 2, width, 1), gamma, dt=0.1)
        before, after = tanh_kernel(trained.before), tanh_kernel(trained.after)
        drifts.append(float(((after - before).norm(dim=(1, 2)) / before.norm(dim=(1, 2))).mean()))
    assert abs(exponent(widths, drifts) - (2 * gamma - 2)) < 0.2
    assert gamma < 1 or min(drifts) > 0.1


@pytest.mark.parametrize(
    "gamma",
    [0.5, pytest.param(0.6, marks=pytest.mark.slow), pytest.param(0.7, marks=pytest.mark.slow)],
    ids=str,
)
def test_wide_networks_follow_the_linear_flow_of_the_limiting_kernel(gamma):
    # With N steps a unit of time. From its own start, a network differs by the fluctuation of its
    # kernel, N^(-1/2), and its drift, N^(2γ-2); on other inputs it follows the kernel predictor.
    time, every = 2.0, np.concatenate([X, BETWEEN])
    widths = (32, 256) if gamma == 0.5 else (64, 512)
    errors, others = [], []
    for width in widths:
        starts = draws(40, 2, width, 1)
        trained = Trained(starts, gamma, steps=int(time * width), activation="erf")
        begin, end = (trained.outputs(v, every) for v in (trained.before, trained.after))
        error = end - linear_flow(begin, time, BETWEEN)
        errors.append(math.sqrt(np.mean(error[:, : len(X)] ** 2)))
        others.append(math.sqrt(np.mean(error[:, len(X) :] ** 2)))
        assert np.abs(end - begin).mean() > 0.3
    assert abs(exponent(widths, errors) + 1 / 2) < 0.2
    assert abs(exponent(widths, others) + 1 / 2) < 0.2
    assert max(errors[-1], others[-1]) < 0.03


@pytest.mark.slow
def test_stochastic_descent_follows_the_linear_flow_too():
    # One row a step, drawn with replacement: the noise of N steps averages to N^(-1/2).
    time, widths, errors = 2.0, (48, 192, 768), []
    for width in widths:
        trained = Trained(
            draws(40, 2, width, 1),
            0.5,
            steps=int(time * width) // len(X),
            activation="erf",
            solver="sgd",
            momentum=0.0,
            batch_size=1,
            sampling="replacement",
        )
        begin, end = (trained.outputs(v) for v in (trained.before, trained.after))
        errors.append(math.sqrt(np.mean((end - linear_flow(begin, time)) ** 2)))
    assert abs(exponent(widths, errors) + 1 / 2) < 0.2


@pytest.mark.slow
def test_stochastic_descent_fluctuates_about_the_mean_field_by_one_over_root_n():
    # Starts and rows both drawn anew: N times the variance stays.
    time, widths, variances = 2.0, (48, 768), []
    for width in widths:
        trained = Trained(
            draws(100, 2, width, 1),
            1.0,
            steps=int(time * width) // len(X),
            solver="sgd",
            momentum=0.0,
            batch_size=1,
            sampling="replacement",
        )
        variances.append(trained.outputs(trained.after).var(0).mean())
    assert abs(exponent(widths, variances) + 1) < 0.2


def test_momentum_runs_through_time_faster_by_one_over_one_minus_mu():
    # Velocities forget within 1 / (1 - μ) steps, a time of order 1 / N: so is the difference.
    differences, widths = [], (64, 256)
    for width in widths:
        starts = draws(20, 2, width, 1)
        plain = Trained(starts, 0.5, steps=width)
        ball = Trained(starts, 0.5, steps=width, rate=0.2, solver="heavy_ball", momentum=0.8)
        differences.append(np.abs(plain.outputs(plain.after) - ball.outputs(ball.after)).mean())
    assert abs(exponent(widths, differences) + 1) < 0.3
    assert differences[-1] < 0.02


def two_layers(width, **params):
    # Without a mean of the weights, sums over the first layer vanish at the start.
    starts = draws(6, 2, width, width, 1, spread=(-0.5, 1.5))
    return train_for(12.0, starts, 1.0, dt=0.1, **params)


def test_two_layer_rates_keep_every_layer_and_bias_moving():
    # Thm 20.20, and the rule for later biases. Where equal rates freeze a parameter, or move it N
    # times too far, the exponent is -1 or 1.
    widths = (32, 128)
    nets = [two_layers(width) for width in widths]
    for name in nets[0].before:
        moves = [net.movement(name) for net in nets]
        assert abs(exponent(widths, moves)) < 0.25
        assert min(moves) > 0.1


def test_equal_rates_freeze_the_middle_of_two_layers():
    # The gradient by W_2 is of order 1 / N², and there are N steps in a unit of time.
    widths, alike = (32, 128), {f"coefs.{i}": 1.0 for i in range(3)}
    law, nets = two_layers(128), [two_layers(width, rates=alike) for width in widths]
    moves = [net.movement("coefs.1") for net in nets]
    assert abs(exponent(widths, moves) + 1) < 0.2
    assert law.movement("coefs.1") > 20 * moves[-1]
    losses = [np.mean((net.outputs(net.after) - Y) ** 2) for net in (law, nets[-1])]
    assert losses[0] < 0.9 * losses[1]


# Bad input.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_layer_sizes": (4, 4, 4), "width_scaling": 1.0}, "one or two hidden layers"),
        ({"hidden_layer_sizes": (), "width_scaling": 1.0}, "one or two hidden layers"),
        ({"hidden_layer_sizes": (4,), "width_scaling": (1.0, 1.0)}, "one exponent for each"),
        ({"hidden_layer_sizes": (4, 4), "width_scaling": (1.0, 0.4)}, r"must lie in \[1/2, 1\]"),
        ({"hidden_layer_sizes": (4, 4), "width_scaling": (1.0, "a")}, r"must lie in \[1/2, 1\]"),
        ({"hidden_layer_sizes": (4, 8), "width_scaling": 0.7}, "two hidden layers of equal widths"),
        ({"width_scaling": 0.4}, "width_scaling"),
        ({"width_scaling": 1.0, "solver": "adam"}, "a law for plain descent: choose solver in"),
        ({"width_scaling": 1.0, "solver": "lbfgs"}, "a law for plain descent: choose solver in"),
        ({"width_scaling": 1.0, "normalization": "layer"}, "set normalization=None"),
        ({"width_scaling": 1.0, "residual": True}, "residual=False"),
    ],
)
def test_what_the_law_does_not_cover_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        MLPRegressor(**{"solver": "gd"} | params).fit(X, Y)
