"""Multilayer perceptrons: the module, names and shapes, starting weights, and what nets can say."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import nn

from thetalearn.representations.networks.activations import (
    GELU,
    Identity,
    Logistic,
    ReLU,
    Tanh,
)
from thetalearn.representations.networks.initialize import INITIALIZERS, initialize
from thetalearn.representations.networks.layers import Dropout, Residual
from thetalearn.representations.networks.mlp import MLP, MLPArchitecture

# Rounding of sums of a few numbers of order one.
TIGHT = {"rtol": 1e-13, "atol": 1e-13}


@pytest.fixture(autouse=True)
def same_numbers():
    """Modules draw from torch's generator: from the same place for every test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def with_weights(*layers, activations=(), output_activation=None):
    """A network with given weights (out, in), as in the book, and biases, layer by layer."""
    pairs = [tuple(np.atleast_1d(np.asarray(v, dtype=float)) for v in layer) for layer in layers]
    sizes = (pairs[0][0].shape[1], *(len(bias) for _, bias in pairs))
    architecture = MLPArchitecture(sizes, activations, output_activation or Identity())
    tensors = {}
    for i, (weight, bias) in enumerate(pairs):
        tensors[f"coefs.{i}"] = torch.from_numpy(weight.T.copy())
        tensors[f"intercepts.{i}"] = torch.from_numpy(bias)
    return lambda x: architecture.apply(torch.as_tensor(x, dtype=torch.float64), tensors)


# ------------------------------------------------------------------ the module


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("residual", [False, True])
def test_the_module_evaluates_as_modules_of_torch(normalization, residual):
    architecture = MLPArchitecture(
        (3, 5, 5, 2), (Tanh(), GELU()), normalization=normalization, residual=residual
    )
    net = MLP(architecture).double()
    kinds = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
    with torch.no_grad():
        for norm in net.norms:
            for tensor in (*norm.parameters(), *norm.buffers()):
                tensor.uniform_(0.5, 1.5)
    dense, norms = [], []
    for i in range(3):
        layer = nn.Linear(*net.coefs[i].shape).double()
        layer.load_state_dict({"weight": net.coefs[i].T, "bias": net.intercepts[i]})
        dense.append(layer)
        if i < 2 and normalization:
            norm = kinds[normalization](5).double()
            state = net.norms[i].state_dict()
            running = {"running_mean": "mean", "running_var": "variance"}
            theirs = {
                name: state[running.get(name, name)]
                for name in norm.state_dict()
                if name != "num_batches_tracked"
            }
            norm.load_state_dict(theirs, strict=False)
            norms.append(norm)

    def expected(x):
        for i, function in enumerate([nn.Tanh(), nn.GELU()]):
            z = dense[i](x)
            z = function(norms[i](z) if norms else z)
            x = x + z if residual and i == 1 else z
        return dense[2](x)

    x = torch.randn(7, 3, dtype=torch.float64)
    for training in (True, False):
        for module in (net, *norms):
            module.train(training)
        torch.testing.assert_close(net(x), expected(x), **TIGHT)
    if normalization == "batch":
        for ours, norm in zip(net.norms, norms, strict=True):
            torch.testing.assert_close(ours.mean, norm.running_mean, **TIGHT)
            torch.testing.assert_close(ours.variance, norm.running_var, **TIGHT)


def test_prediction_for_a_row_does_not_depend_on_the_others():
    architecture = MLPArchitecture(
        (3, 5, 5, 1), (ReLU(), Tanh()), normalization="batch", residual=True, dropout=(0.5,) * 3
    )
    net = MLP(architecture).double().eval()
    x = torch.randn(6, 3, dtype=torch.float64)
    together = net(x)
    for i in range(6):
        torch.testing.assert_close(net(x[i : i + 1]), together[i : i + 1], **TIGHT)


def test_dropout_acts_in_training_alone():
    net = MLP(MLPArchitecture((4, 50, 1), (ReLU(),), dropout=(0.3, 0.5)))
    x = torch.randn(5, 4)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_the_module_is_pickled_and_loaded_with_its_state():
    net = MLP(MLPArchitecture((3, 4, 2), (Tanh(),), normalization="batch"))
    net(torch.randn(8, 3))
    again = pickle.loads(pickle.dumps(net)).eval()
    x = torch.randn(2, 3)
    assert torch.equal(again(x), net.eval()(x))
    other = MLP(net.architecture).eval()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))


def test_a_module_can_be_trained_by_torch():
    net = MLP(MLPArchitecture((1, 8, 1), (Tanh(),)))
    x = torch.linspace(-1, 1, 32)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    first = None
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), x.abs())
        first = loss.item() if first is None else first
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 10


# ------------------------------------------------------------------ names and shapes


@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple),
    normalization=st.sampled_from([None, "batch", "layer"]),
    residual=st.booleans(),
)
def test_names_and_shapes_are_those_of_the_module(sizes, normalization, residual):
    n_hidden = len(sizes) - 2
    architecture = MLPArchitecture(
        sizes, (ReLU(),) * n_hidden, normalization=normalization, residual=residual
    )
    net = MLP(architecture)
    assert {n: tuple(p.shape) for n, p in net.named_parameters()} == architecture.shapes
    assert {n: tuple(b.shape) for n, b in net.named_buffers()} == architecture.buffer_shapes
    drawn = initialize(architecture, "auto", np.random.RandomState(0))
    assert {name: array.shape for name, array in drawn.items()} == architecture.shapes
    assert set(architecture.penalised) == {n for n in architecture.shapes if n.startswith("coefs")}
    skips = sum(isinstance(layer, Residual) for layer in architecture.layers)
    equal = sum(a == b for a, b in itertools.pairwise(sizes[:-1]))
    assert skips == (equal if residual else 0)
    assert architecture.n_layers == len(sizes) - 1


def test_rates_of_dropout_that_are_zero_cost_nothing():
    architecture = MLPArchitecture((3, 4, 4, 1), (ReLU(),) * 2, dropout=(0.0, 0.5, 0.0))
    assert sum(isinstance(layer, Dropout) for layer in architecture.layers) == 1
    assert architecture.drop_rates == (0.5,)
    assert MLPArchitecture((3, 1), ()).drop_rates == ()


# ------------------------------------------------------------------ weights to start from


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("estimator", [MLPRegressor, MLPClassifier])
def test_auto_draws_the_numbers_of_scikit_learn(activation, estimator):
    ours = {"identity": Identity(), "logistic": Logistic(), "tanh": Tanh(), "relu": ReLU()}
    x = np.random.default_rng(0).normal(size=(20, 3))
    # A single step of no length leaves what was drawn.
    theirs = estimator(
        hidden_layer_sizes=(5, 4),
        activation=activation,
        solver="sgd",
        learning_rate_init=1e-300,
        max_iter=1,
        random_state=7,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(x, np.arange(20) % 3)
    sizes = (3, 5, 4, 1 if estimator is MLPRegressor else 3)
    architecture = MLPArchitecture(sizes, (ours[activation],) * 2)
    drawn = initialize(architecture, "auto", np.random.RandomState(7))
    for i in range(3):
        np.testing.assert_array_equal(drawn[f"coefs.{i}"], theirs.coefs_[i])
        np.testing.assert_array_equal(drawn[f"intercepts.{i}"], theirs.intercepts_[i])


@pytest.mark.parametrize(
    "init, variance, bound",
    [
        ("glorot_uniform", 2 / (200 + 100), (6 / 300) ** 0.5),
        ("glorot_normal", 2 / (200 + 100), np.inf),
        ("he_uniform", 2 / 200, (6 / 200) ** 0.5),
        ("he_normal", 2 / 200, np.inf),
        ("lecun_normal", 1 / 200, np.inf),
        ("normal", 1.0, np.inf),
        ("auto", 2 / (200 + 100), (6 / 300) ** 0.5),
    ],
)
def test_variances_are_those_that_the_name_promises(init, variance, bound):
    architecture = MLPArchitecture((200, 100, 1), (ReLU(),), normalization="layer")
    drawn = initialize(architecture, init, np.random.RandomState(0))
    weight = drawn["coefs.0"]
    # Of 20,000 numbers: four standard errors, √(2/n) of a variance and √(v/n) of a mean.
    assert weight.var() == pytest.approx(variance, rel=4 * (2 / 20_000) ** 0.5)
    assert abs(weight.mean()) < 4 * (variance / 20_000) ** 0.5
    assert abs(weight).max() <= bound
    assert drawn["intercepts.0"].any() == (init in ("normal", "auto"))
    assert (drawn["norms.0.weight"] == 1).all() and not drawn["norms.0.bias"].any()


def test_every_initializer_is_tested_and_depends_on_its_generator_alone():
    architecture = MLPArchitecture((3, 4, 1), (ReLU(),))
    for init in INITIALIZERS:
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        first, again, other = (
            initialize(architecture, init, np.random.RandomState(seed)) for seed in (0, 0, 1)
        )
        assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
        for name, array in first.items():
            np.testing.assert_array_equal(array, again[name])
        assert (first["coefs.0"] != other["coefs.0"]).all()


# ------------------------------------------------------------------ what nets can say


QUADRANTS = [(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0)]
STEP = Logistic(0.02)


@pytest.mark.parametrize(
    "weights, bias, inside",
    [
        ((1, 1), -1.5, [1, 0, 0, 0]),  # the first quadrant
        ((-1, 1), -0.5, [0, 1, 0, 0]),
        ((-1, -1), 0.5, [0, 0, 1, 0]),  # as corrected: -S(x) - S(y) + 1/2
        ((-1, -1), 1.5, [0, 1, 1, 1]),  # the complement of the first
        ((1, 1), -0.5, [1, 1, 0, 1]),  # the complement of the third, as corrected
        ((1, 0), -0.5, [1, 0, 0, 1]),  # a half-plane
    ],
)
def test_two_layers_are_truth_tables_of_quadrants(weights, bias, inside):
    # Chapter 5: S(aS(x) + bS(y) + c) with steep logistic functions.
    net = with_weights(
        (np.eye(2), (0, 0)), ([weights], bias), activations=(STEP,), output_activation=STEP
    )
    # Half a unit from the step, e^-25 is left of it.
    np.testing.assert_allclose(net(QUADRANTS)[:, 0].numpy(), inside, atol=1e-10)


def test_opposing_quadrants_take_three_layers():
    # XNOR is "both, or neither": the first quadrant, the third, and their union.
    net = with_weights(
        (np.eye(2), (0, 0)),
        ([(1, 1), (-1, -1)], (-1.5, 0.5)),
        ([(1, 1)], -0.5),
        activations=(STEP, STEP),
        output_activation=STEP,
    )
    np.testing.assert_allclose(net(QUADRANTS)[:, 0].numpy(), [1, 0, 1, 0], atol=1e-10)


@given(x=st.floats(-3, 3))
def test_rectifiers_are_piecewise_linear_functions(x):
    # Exercises 5.5 and 5.6.
    both = (ReLU(),)
    first = with_weights(([(1,), (1,)], (0, -1)), ([(1, 1)], 0), activations=both)
    second = with_weights(([(-1,), (1,)], (0, -1)), ([(2, 3)], 0), activations=both)
    assert float(first([[x]])) == pytest.approx(max(x, 0) + max(x - 1, 0), abs=1e-14)
    assert float(second([[x]])) == pytest.approx(2 * max(-x, 0) + 3 * max(x - 1, 0), abs=1e-14)


@given(a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_four_rectifiers_are_the_larger_of_two_numbers(a, b):
    # Exercise 16.4.
    net = with_weights(
        ([(1, 1), (-1, -1), (1, -1), (-1, 1)], (0, 0, 0, 0)),
        ([(0.5, -0.5, 0.5, 0.5)], 0),
        activations=(ReLU(),),
    )
    assert float(net([[a, b]])) == pytest.approx(max(a, b), abs=1e-14)


@pytest.mark.parametrize(
    "layers, inside, accuracy, loss",
    [
        (
            (
                ([(7.380, 0.174), (5.809, 0.165)], (-0.283, -0.311)),
                ([(8.187, 5.993)], -6.287),
            ),
            lambda x: x[:, 0] > 0,
            0.9914,
            0.0338,
        ),
        (
            (
                ([(-4.730, -0.146), (7.795, 0.169)], (0.099, -0.136)),
                ([(-5.676, 9.608)], -1.754),
            ),
            lambda x: x[:, 0] > 0,
            0.9918,
            0.0310,
        ),
        (
            (
                ([(0.096, -7.474), (7.514, 0.063)], (-0.237, 0.054)),
                ([(-9.638, 9.194)], -4.422),
            ),
            lambda x: (x > 0).all(1),
            0.9887,
            0.0490,
        ),
    ],
)
def test_the_books_trained_nets_classify_half_planes_and_quadrants(layers, inside, accuracy, loss):
    # Section 5.3, with the accuracy and cross-entropy of 10^6 normal points found elsewhere.
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(100_000, 2)))
    net = with_weights(*layers, activations=(Logistic(),), output_activation=Logistic())
    probability, truth = net(x)[:, 0], inside(x).double()
    found = float(((probability > 0.5) == (truth == 1)).double().mean())
    # Standard errors √(0.01 / 1e5) = 3e-4 of a share, and about 5e-4 of the loss.
    assert found == pytest.approx(accuracy, abs=1.5e-3)
    entropy = nn.functional.binary_cross_entropy(probability, truth)
    assert float(entropy) == pytest.approx(loss, abs=2e-3)
