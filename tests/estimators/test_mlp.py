"""Networks: losses, solvers, layers, penalties, histories, warm starts, the book, bad input."""

import itertools
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import Lasso
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thetalearn import MLPClassifier, MLPRegressor
from thetalearn.exceptions import ConvergenceWarning, DivergenceError
from thetalearn.inspection.training import TrainingDisplay
from thetalearn.monitor import FitMonitor
from thetalearn.objectives.losses import (
    BinaryLogLoss,
    FocalLoss,
    GaussianNLL,
    Huber,
    LogLoss,
    Pinball,
    Poisson,
    PoissonMean,
    SquaredError,
)
from thetalearn.representations.networks.activations import LeakyReLU, Logistic, Softplus
from thetalearn.solvers.gradient.batches import Batches
from thetalearn.solvers.gradient.optimizers import Adam, Momentum, RMSprop
from thetalearn.solvers.gradient.schedules import Cosine, Plateau, StepDecay

_rng = np.random.default_rng(0)
N = 120
X = _rng.normal(size=(N, 3))
Y = X[:, 0] - 0.5 * X[:, 1] + np.abs(X[:, 2]) + 0.05 * _rng.normal(size=N)
BINARY = (Y > 0.5).astype(int)
CLASSES = np.digitize(Y, [0, 1])
LABELS = (X + Y[:, None] > 0.3).astype(int)
WEIGHT = _rng.uniform(0.2, 2, N)
KINDS = [(MLPRegressor, Y), (MLPClassifier, CLASSES)]
both = pytest.mark.parametrize(("family", "y"), KINDS, ids=["regressor", "classifier"])

#: All rows at once, no chance but the start: fits are equal up to the rounding of sums.
EXACT = {"solver": "gd", "learning_rate_init": 0.2, "max_iter": 30}

#: Sums of a hundred terms in another order, over thirty steps.
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def draws(seed=1):
    """Random numbers of one test, whatever ran before it."""
    return np.random.default_rng(seed)


def small(family=MLPRegressor, **options):
    """A small network."""
    options = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0, **options}
    return family(**options)


def fit(model, *args, **kwargs):
    """Fit, whether it converges or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*args, **kwargs)


def assert_equal(one, other, **close):
    for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, **(close or {"rtol": 0, "atol": 0}))


def constant(loss, y, **options):
    """What a model without any input predicts at the minimum of a loss."""
    blank = np.zeros((len(y), 1))
    options = {"solver": "lbfgs", "tol": 1e-10, "max_iter": 500, "alpha": 0, **options}
    return fit(MLPRegressor(loss, (), random_state=0, **options), blank, y), blank


def descend(loss, y):
    """The same by descent with falling rates, for losses with kinks."""
    options = {"solver": "adam", "learning_rate": "cosine", "learning_rate_init": 0.05}
    return constant(loss, y, **options, max_iter=800, batch_size=len(y), n_iter_no_change=np.inf)


RATES = {
    "gd": 0.1,
    "sgd": 0.02,
    "heavy_ball": 0.02,
    "nesterov": 0.02,
    "adagrad": 0.1,
    "adadelta": 1.0,
    "rmsprop": 0.01,
    "adam": 0.02,
    "adamw": 0.02,
    "adamax": 0.02,
}


@pytest.mark.parametrize("solver", [*RATES, "lbfgs", "newton"])
def test_every_solver_learns(solver):
    model = small(solver=solver, hidden_layer_sizes=(16,), max_iter=100, batch_size=20)
    model.set_params(learning_rate_init=RATES.get(solver, 0.001), n_iter_no_change=np.inf)
    if solver == "newton":
        model.set_params(activation="tanh", hidden_layer_sizes=(4,), max_iter=30)
    fit(model, X, Y)
    assert model.loss_curve_[-1] < 0.2 * model.loss_curve_[0]
    assert model.score(X, Y) > 0.9


@pytest.mark.parametrize("solver", [Momentum(0.8), Adam(amsgrad=True), RMSprop(centered=True)])
def test_solvers_with_parameters(solver):
    options = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.02, "batch_size": 20}
    model = fit(small(solver=solver, max_iter=60, **options), X, Y)
    assert model.score(X, Y) > 0.9
    assert clone(model).solver == solver


def test_random_search_keeps_the_best():
    model = small(solver="random_search", max_iter=200).fit(X, Y)
    losses = model.loss_curve_
    assert model.n_iter_ == len(losses) == 200 and model.converged_
    assert all(after <= before for before, after in itertools.pairwise(losses))
    assert losses[-1] < losses[0] and model.loss_ == losses[-1]


@both
def test_newton_finishes_what_lbfgs_began(family, y):
    # One has derivatives written by hand and the other those of autograd.
    model = small(family, solver="lbfgs", activation="tanh", max_iter=2000, alpha=1.0)
    loss = model.fit(X, y).loss_
    model.set_params(solver="newton", tol=1e-9, warm_start=True).fit(X, y)
    assert model.converged_ and model.n_iter_ < 20
    assert loss * (1 - 1e-3) < model.loss_ <= loss
    again = model.loss_
    assert model.fit(X, y).loss_ == pytest.approx(again, rel=1e-14) and model.n_iter_ == 1


def test_absolute_error_gives_the_median():
    y = np.r_[0.0, 1, 2, 3, 50]
    model, blank = descend("absolute_error", y)
    np.testing.assert_allclose(model.predict(blank), 2, atol=1e-2)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_pinball_covers_its_share(quantile):
    y = np.sort(draws().exponential(size=99))
    model, blank = descend(Pinball(quantile), y)
    expected = np.quantile(y, quantile)
    around = y[np.searchsorted(y, expected) - 2], y[np.searchsorted(y, expected) + 2]
    assert around[0] < model.predict(blank)[0] < around[1]


def test_huber_bears_an_outlier():
    y = np.r_[np.linspace(-0.9, 0.9, 21), 1e6]
    robust, blank = constant(Huber(1.0), y)
    # 21 residuals that sum to -21 m against one that is clipped to 1.
    np.testing.assert_allclose(robust.predict(blank), 1 / 21, rtol=1e-6)
    plain, _ = constant("squared_error", y)
    np.testing.assert_allclose(plain.predict(blank), y.mean(), rtol=1e-6)


def test_poisson_is_positive_and_calibrated():
    counts = draws().poisson(np.exp(X[:, 0]))
    options = {"solver": "newton", "activation": "tanh", "hidden_layer_sizes": (3,)}
    model = fit(small(loss="poisson", alpha=0.1, tol=1e-8, max_iter=100, **options), X, counts)
    assert (model.predict(X) > 0).all() and model.out_activation_ == "exp"
    # The derivative by the last intercept is the mean of prediction less count.
    assert model.predict(X).mean() == pytest.approx(counts.mean(), abs=1e-8)
    score = np.corrcoef(model.predict(X), np.exp(X[:, 0]))[0, 1]
    assert score > 0.7


@pytest.mark.parametrize("out_activation", ["softplus", "exp", Softplus(beta=2)])
@pytest.mark.parametrize("loss", ["poisson", Poisson(), PoissonMean()])
def test_counts_with_another_function_of_the_outputs(loss, out_activation):
    counts = np.r_[0.0, 1, 2, 5]
    model, blank = constant(loss, counts, out_activation=out_activation)
    np.testing.assert_allclose(model.predict(blank), 2, rtol=1e-5)


def test_gaussian_learns_mean_and_deviation():
    y = draws().normal(3, 2, 200)
    model, blank = constant("gaussian", y)
    mean, std = model.predict(blank, return_std=True)
    np.testing.assert_allclose(mean, y.mean(), rtol=1e-5)
    np.testing.assert_allclose(std, y.std(), rtol=1e-5)  # maximum likelihood divides by n
    np.testing.assert_array_equal(mean, model.predict(blank))


def test_gaussian_learns_where_the_noise_is():
    rng = draws()
    x = rng.uniform(0, 1, (600, 1))
    y = x[:, 0] + (0.1 + 0.9 * x[:, 0]) * rng.normal(size=600)
    model = fit(small(loss="gaussian", activation="tanh", solver="lbfgs", max_iter=60), x, y)
    at = np.array([[0.1], [0.5], [0.9]])
    mean, std = model.predict(at, return_std=True)
    # A standard deviation is known to 1/sqrt(2 n) from n rows: here about 200 a place.
    np.testing.assert_allclose(std, 0.1 + 0.9 * at[:, 0], rtol=0.25)
    np.testing.assert_allclose(mean, at[:, 0], atol=0.3)


def test_deviations_of_several_targets_and_of_tensors():
    y = np.c_[Y, 2 * Y]
    model = fit(small(loss=GaussianNLL(min_variance=0.01)), X, y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (N, 2) and model.n_outputs_ == 2
    assert (std >= 0.1).all()
    assert model.coefs_[-1].shape == (6, 4)
    tensors = model.predict(torch.from_numpy(X), return_std=True)
    assert all(torch.is_tensor(values) for values in tensors)
    np.testing.assert_array_equal(tensors[1], std)
    single = model.predict(X.astype(np.float32), return_std=True)
    assert all(values.dtype == np.float32 for values in single)
    steps = fit(make_pipeline(StandardScaler(), small(loss="gaussian")), X, Y)
    assert steps.predict(X, return_std=True)[1].shape == (N,)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_label_smoothing_moves_probabilities_to_the_middle(n_classes):
    y = np.arange(20) % n_classes
    y[:8] = 0
    blank = np.zeros((20, 1))
    loss = LogLoss(label_smoothing=0.3)
    model = small(MLPClassifier, hidden_layer_sizes=(), loss=loss, solver="newton", tol=1e-9)
    model.set_params(alpha=0, max_iter=50)
    probability = model.fit(blank, y).predict_proba(blank)[0]
    shares = np.bincount(y) / 20
    np.testing.assert_allclose(probability, 0.7 * shares + 0.3 / n_classes, rtol=1e-5)


@pytest.mark.parametrize("y", [BINARY, CLASSES, LABELS], ids=["two", "three", "labels"])
def test_focal_loss(y):
    plain, focal, other = (
        fit(small(MLPClassifier, loss=loss, **EXACT), X, y)
        for loss in ("log_loss", FocalLoss(gamma=0), "focal")
    )
    assert_equal(plain, focal, **CLOSE)
    assert other.loss_ < plain.loss_  # (1 - p)^2 is at most one


@pytest.mark.parametrize(
    ("function", "loss"),
    [
        (lambda Z, y: (Z - y).square().sum(1) / 2, "squared_error"),
        (lambda Z, y: (Z - y).square() / 2, SquaredError()),
        (torch.nn.HuberLoss(reduction="none"), "huber"),
    ],
    ids=["rows", "entries", "module"],
)
def test_a_loss_of_ones_own(function, loss):
    y = np.c_[Y, Y**2]
    own = fit(small(loss=function, **EXACT), X, y)
    assert_equal(own, fit(small(loss=loss, **EXACT), X, y), **CLOSE)
    assert own.loss_curve_ == pytest.approx(fit(small(loss=loss, **EXACT), X, y).loss_curve_)


def test_a_classification_loss_of_ones_own():
    def hinge(logits, y):
        return torch.relu(1 - (2 * y - 1) * logits)

    options = {"hidden_layer_sizes": (16,), "max_iter": 100, "learning_rate_init": 0.02}
    model = fit(small(MLPClassifier, loss=hinge, **options), X, BINARY)
    assert model.score(X, BINARY) > 0.9
    with torch.inference_mode():
        bce = torch.nn.functional.binary_cross_entropy_with_logits
    own = small(MLPClassifier, loss=lambda z, y: bce(z, y, reduction="none"), **EXACT)
    assert_equal(fit(own, X, BINARY), fit(small(MLPClassifier, **EXACT), X, BINARY), **CLOSE)


@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_what_is_reported(solver):
    y = np.c_[Y, X[:, 0] ** 2, X[:, 1]]
    model = fit(small(solver=solver, alpha=2.0, learning_rate_init=1e-9), X, y)
    penalty = 2.0 / (2 * N) * sum((coef**2).sum() for coef in model.coefs_)
    expected = ((model.predict(X) - y) ** 2).mean() / 2 + penalty
    # At a rate of 1e-9 the loss before the last step is that after it.
    assert model.loss_ == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_integer_weights_are_repeated_rows(solver):
    times = draws().integers(0, 4, N)
    options = {**EXACT, "solver": solver, "activation": "tanh", "max_iter": 15}
    for family, y in KINDS:
        weighted = fit(small(family, **options), X, y, sample_weight=times)
        repeated = fit(small(family, **options), np.repeat(X, times, 0), np.repeat(y, times))
        assert_equal(weighted, repeated, rtol=1e-7, atol=1e-9)
        assert weighted.loss_curve_ == pytest.approx(repeated.loss_curve_, rel=1e-9)


@pytest.mark.parametrize("y", [BINARY, CLASSES], ids=["two", "three"])
def test_class_weights_are_sample_weights(y):
    names = np.array(["low", "mid", "top"])[y]
    given = {"low": 2.0, "top": 0.5}
    weight = np.array([given.get(name, 1.0) for name in names])
    by_class = fit(small(MLPClassifier, class_weight=given), X, names)
    assert_equal(by_class, fit(small(MLPClassifier), X, names, weight))
    balanced = fit(small(MLPClassifier, class_weight="balanced"), X, names, WEIGHT)
    totals = np.bincount(y, WEIGHT)
    factor = WEIGHT.sum() / (len(totals) * totals)
    by_row = fit(small(MLPClassifier), X, names, WEIGHT * factor[y])
    assert_equal(balanced, by_row, rtol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_soft_labels_are_weighted_hard_labels(n_classes):
    shares = draws().dirichlet(np.ones(n_classes), N)
    soft = fit(small(MLPClassifier, **EXACT, alpha=0), X, shares)
    hard = fit(
        small(MLPClassifier, **EXACT, alpha=0),
        np.tile(X, (n_classes, 1)),
        np.repeat(np.arange(n_classes), N),
        sample_weight=shares.T.ravel(),
    )
    assert_equal(soft, hard, rtol=1e-8, atol=1e-10)
    assert soft.classes_.tolist() == list(range(n_classes))
    if n_classes == 2:
        assert_equal(soft, fit(small(MLPClassifier, **EXACT, alpha=0), X, shares[:, 1]))
    scores = shares[np.arange(N), soft.predict(X)]
    assert soft.score(X, shares) == pytest.approx(scores.mean())


def test_labels_and_targets_are_separate_without_hidden_layers():
    options = {"hidden_layer_sizes": (), "solver": "newton", "tol": 1e-9, "max_iter": 50}
    options |= {"alpha": 0.5}
    together = fit(small(MLPClassifier, **options), X, LABELS)
    for j in range(3):
        alone = fit(small(MLPClassifier, **options), X, LABELS[:, j])
        np.testing.assert_allclose(together.coefs_[0][:, [j]], alone.coefs_[0], atol=1e-6)
    y = np.c_[Y, X[:, 0] ** 2]
    together = fit(small(**options), X, y)
    for j in range(2):
        alone = fit(small(**options), X, y[:, j])
        np.testing.assert_allclose(together.coefs_[0][:, [j]], alone.coefs_[0], atol=1e-6)
        np.testing.assert_allclose(together.predict(X)[:, j], alone.predict(X), atol=1e-6)


def test_several_labels_a_row():
    model = fit(small(MLPClassifier, max_iter=100, learning_rate_init=0.02), X, LABELS)
    probability = model.predict_proba(X)
    assert probability.shape == (N, 3) and model.out_activation_ == "logistic"
    np.testing.assert_array_equal(model.predict(X), probability > 0.5)
    assert model.predict(X).dtype.kind == "i"
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(probability), rtol=1e-12)
    np.testing.assert_allclose(expit(model.decision_function(X)), probability, rtol=1e-12)
    assert model.score(X, LABELS) == (model.predict(X) == LABELS).all(1).mean() > 0.7
    framed = fit(small(MLPClassifier), X, pd.DataFrame(LABELS, columns=list("abc")))
    np.testing.assert_array_equal(framed.coefs_[0], fit(small(MLPClassifier), X, LABELS).coefs_[0])


def test_probabilities_of_labels_rank_as_their_logarithms():
    # Beyond a logit of 36.7 a probability rounds to one, and its logarithm would not.
    net = fit(small(MLPClassifier, hidden_layer_sizes=()), X, LABELS)
    net.coefs_, net.intercepts_ = [np.eye(3)], [np.zeros(3)]
    logits = np.array([[50.0, 60.0, 40.0], [-800.0, -900.0, 0.0], [36.6, 36.5, 36.7]])
    shown, logarithm = net.predict_proba(logits), net.predict_log_proba(logits)
    np.testing.assert_array_equal(shown.argmax(1), logarithm.argmax(1))
    np.testing.assert_array_equal(logarithm[1], [-800, -900, np.log(0.5)])
    assert shown.max() < 1


def hidden(model, x):
    """Values of the last hidden layer, from the fitted attributes alone."""
    for i, activation in enumerate(model.architecture_.activations):
        inputs, x = x, x @ model.coefs_[i] + model.intercepts_[i]
        if model.normalization == "layer":
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        elif model.normalization == "batch":
            norm = model.norms_[i]
            x = (x - norm["mean"]) / np.sqrt(norm["variance"] + 1e-5)
        if model.normalization:
            x = x * model.norms_[i]["weight"] + model.norms_[i]["bias"]
        x = activation(torch.from_numpy(x)).numpy()
        if model.residual and inputs.shape == x.shape:
            x = x + inputs
    return x


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("residual", [False, True])
def test_predictions_follow_from_the_fitted_attributes(normalization, residual):
    layers = {"activation": ["tanh", LeakyReLU(0.1), torch.sin], "dropout": (0.1, 0.0, 0.3)}
    model = small(
        hidden_layer_sizes=(4, 4, 5),
        normalization=normalization,
        residual=residual,
        out_activation="softplus",
        **layers,
    )
    fit(model, X, Y)
    outputs = hidden(model, X) @ model.coefs_[-1] + model.intercepts_[-1]
    np.testing.assert_allclose(model.predict(X), np.log1p(np.exp(outputs[:, 0])), rtol=1e-10)
    assert hasattr(model, "norms_") == (normalization is not None)
    # Neither other rows nor chance take part.
    np.testing.assert_allclose(model.predict(X[:1]), model.predict(X)[:1], rtol=1e-12)


def test_the_functions_of_the_outputs():
    options = {"hidden_layer_sizes": (16,), "max_iter": 100, "learning_rate_init": 0.02}
    positive = fit(small(out_activation="relu", **options), X, 1 + abs(Y))
    assert (positive.predict(X) >= 0).all() and positive.out_activation_ == "relu"
    assert positive.score(X, 1 + abs(Y)) > 0.5
    bounded = fit(small(out_activation="tanh"), X, np.sign(Y))
    assert (abs(bounded.predict(X)) < 1).all()
    assert fit(small(), X, Y).out_activation_ == "identity"
    assert fit(small(MLPClassifier), X, BINARY).out_activation_ == "logistic"
    assert fit(small(MLPClassifier), X, CLASSES).out_activation_ == "softmax"


#: At this rate no number moves, but for those that are zero.
STILL = {"solver": "gd", "learning_rate_init": 1e-300, "max_iter": 1}


def at_start(**options):
    """The weights before training."""
    return fit(small(**STILL, **options), X, Y)


def test_batch_statistics_follow_torch():
    model = at_start(normalization="batch", activation="identity")
    inputs = X @ model.coefs_[0] + model.intercepts_[0]
    norm = model.norms_[0]
    # A tenth of the new, of which the variance is unbiased, and the rest of (0, 1).
    np.testing.assert_allclose(norm["mean"], 0.1 * inputs.mean(0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(norm["variance"], 0.9 + 0.1 * inputs.var(0, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(norm["weight"], 1)
    np.testing.assert_allclose(norm["bias"], 0, atol=1e-290)


@pytest.mark.parametrize("options", [{"normalization": "batch"}, {"normalization": "layer"},
                                     {"residual": True}, {"dropout": 0.1}, {"input_dropout": 0.05}],
                         ids=str)  # fmt: skip
@both
def test_layers_learn(family, y, options):
    model = small(
        family, hidden_layer_sizes=(16, 16), max_iter=60, learning_rate_init=0.01, batch_size=20
    )
    assert fit(model.set_params(**options), X, y).score(X, y) > 0.8


def test_dropout():
    plain, none = fit(small(), X, Y), fit(small(dropout=0.0, input_dropout=0.0), X, Y)
    assert_equal(plain, none)
    one, same = (fit(small(dropout=0.5), X, Y) for _ in range(2))
    assert_equal(one, same)
    assert not np.allclose(one.coefs_[0], plain.coefs_[0])
    assert fit(small(dropout=0.5, random_state=1), X, Y).loss_ != one.loss_
    np.testing.assert_array_equal(one.predict(X), one.predict(X))
    assert_equal(one, fit(small(dropout=(0.5,)), X, Y))


def test_dropout_of_inputs_is_a_ridge():
    # Section 9.3 of the book, with the rate p of dropping: the expected loss is the squared error
    # plus p / (1 - p) theta' diag(X'X) theta.
    p = 0.3
    y = X @ [1.0, -2.0, 0.5] + 0.3
    model = MLPRegressor(
        hidden_layer_sizes=(),
        input_dropout=p,
        alpha=0,
        solver="gd",
        learning_rate_init=0.1,
        max_iter=6000,
        n_iter_no_change=np.inf,
        average=500,
        random_state=0,
    )
    fit(model, X, y)
    ones = np.c_[X, np.ones(N)]
    ridge = p / (1 - p) * np.diag(np.r_[(X**2).sum(0), 0])
    expected = np.linalg.solve(ones.T @ ones + ridge, ones.T @ y)
    found = np.r_[model.coefs_[0][:, 0], model.intercepts_[0]]
    # The noise of a gradient is about 0.2 here, and that of its mean 0.2 / sqrt(5500).
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(np.linalg.lstsq(ones, y)[0] - expected).max() > 0.1


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("glorot_uniform", 2 / 500),
        ("glorot_normal", 2 / 500),
        ("he_uniform", 2 / 300),
        ("he_normal", 2 / 300),
        ("lecun_normal", 1 / 300),
        ("normal", 1.0),
        ("auto", 2 / 500),
    ],
)
def test_variances_of_the_initial_weights(init, variance):
    wide = draws().normal(size=(4, 300))
    model = MLPRegressor(hidden_layer_sizes=(200,), init=init, random_state=0, **STILL)
    fit(model, wide, wide[:, 0])
    # 60 000 numbers: their variance is known to 0.6 %, or less for a uniform distribution.
    assert model.coefs_[0].var() == pytest.approx(variance, rel=0.03)
    assert abs(model.coefs_[0].mean()) < 4 * (variance / 60_000) ** 0.5
    assert (abs(model.intercepts_[0]) > 1e-290).any() == (init in ("auto", "normal"))


def test_the_logistic_function_starts_closer_to_zero():
    bound = np.sqrt(2 / (3 + 6))
    assert abs(at_start(activation="logistic").coefs_[0]).max() <= bound
    assert abs(at_start(activation="relu").coefs_[0]).max() > bound


@both
def test_from_weights(family, y):
    model = fit(small(family, activation="tanh"), X, y)
    copy = family.from_weights(model.coefs_, model.intercepts_, activation="tanh", warm_start=True)
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    assert copy.hidden_layer_sizes == (6,) and copy.n_iter_ == 0 and copy.history_ == []
    assert copy.n_layers_ == 3 and copy.out_activation_ == model.out_activation_
    if family is MLPClassifier:
        np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(copy.decision_function(X), model.decision_function(X))
    # A descent that moves nothing ends where it began.
    copy.set_params(solver="gd", learning_rate_init=1e-300, max_iter=1)
    assert_equal(fit(copy, X, y), model)
    copy.partial_fit(X, y)
    assert copy.n_iter_ == 1 and len(copy.history_) == 2
    # Without warm_start it forgets them.
    fresh = family.from_weights(model.coefs_, model.intercepts_, activation="tanh", random_state=0)
    assert_equal(fit(fresh.set_params(max_iter=5), X, y), model)


def test_from_weights_of_a_classifier():
    coefs, intercepts = [np.array([[1.0], [0.0]])], [np.array([-1.0])]
    two = MLPClassifier.from_weights(coefs, intercepts, classes=["no", "yes"])
    assert two.predict([[0.0, 5.0], [2.0, 5.0]]).tolist() == ["no", "yes"]
    np.testing.assert_allclose(two.predict_proba([[0.0, 0.0]])[0, 1], expit(-1), rtol=1e-15)
    assert MLPClassifier.from_weights(coefs, intercepts).classes_.tolist() == [0, 1]
    three = MLPClassifier.from_weights([np.eye(3)], [np.zeros(3)], classes=[3, 5, 9])
    assert three.predict(np.eye(3)).tolist() == [3, 5, 9]
    # An output for each of two classes is a softmax of two, equal to a logistic function.
    pair = MLPClassifier.from_weights([np.array([[0.0, 1.0], [1.0, 0.0]])], [np.zeros(2)])
    at = np.array([[3.0, 1.0]])
    np.testing.assert_allclose(pair.decision_function(at), [2.0], rtol=1e-15)
    np.testing.assert_allclose(pair.predict_proba(at)[:, 1], expit(2.0), rtol=1e-15)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_from_weights_with_a_normalisation(normalization):
    model = MLPRegressor.from_weights(
        [np.eye(2), np.ones((2, 1))],
        [np.zeros(2), np.zeros(1)],
        normalization=normalization,
        activation="identity",
    )
    at = np.array([[1.0, 3.0]])
    # Fresh running statistics are (0, 1); over the two units the mean is 2 and the deviation 1.
    expected = 4 if normalization == "batch" else 0
    np.testing.assert_allclose(model.predict(at), expected, rtol=1e-4, atol=1e-12)


def test_l1_meets_lasso():
    alpha = 20.0
    y = 0.3 * X[:, 0] + 0.05 * X[:, 1]
    options = {**EXACT, "max_iter": 3000, "n_iter_no_change": np.inf, "hidden_layer_sizes": ()}
    model = fit(small(alpha=alpha, l1_ratio=1.0, **options), X, y)
    lasso = Lasso(alpha=alpha / N, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0][:, 0], lasso.coef_, atol=1e-8)
    np.testing.assert_array_equal(model.coefs_[0][:, 0] == 0, lasso.coef_ == 0)
    assert (lasso.coef_ == 0).sum() == 2
    assert model.intercepts_[0] == pytest.approx(lasso.intercept_, abs=1e-8)
    penalty = alpha / N * abs(model.coefs_[0]).sum()
    expected = ((model.predict(X) - y) ** 2).mean() / 2 + penalty
    assert model.loss_ == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("solver", [name for name in RATES if name != "adadelta"])
def test_l1_makes_exact_zeros(solver):
    noise = np.c_[X, draws().normal(size=(N, 5))]
    model = small(solver=solver, alpha=5.0, l1_ratio=1.0, max_iter=60, batch_size=40)
    model.set_params(learning_rate_init=RATES[solver])
    fit(model, noise, Y)
    assert 0.1 < (model.coefs_[0] == 0).mean() < 1
    assert model.score(noise, Y) > 0.5


def test_weight_decay_is_a_ridge_of_all_parameters():
    decay = 0.3
    # The loss that stops a training does not count the decay, and may rise towards the minimum.
    options = {**EXACT, "max_iter": 500, "n_iter_no_change": np.inf, "hidden_layer_sizes": ()}
    model = fit(small(alpha=0, weight_decay=decay, **options), X, Y)
    ones = np.c_[X, np.ones(N)]
    expected = np.linalg.solve(ones.T @ ones / N + decay * np.eye(4), ones.T @ Y / N)
    found = np.r_[model.coefs_[0][:, 0], model.intercepts_[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Decoupled, it shrinks by the rate and not by the size of the gradient.
    plain, decoupled = (fit(small(solver=s, weight_decay=0.5), X, Y) for s in ("adam", "adamw"))
    assert not np.allclose(plain.coefs_[0], decoupled.coefs_[0])
    assert_equal(fit(small(solver="adamw"), X, Y), fit(small(solver="adam"), X, Y), **CLOSE)


def first_step(**options):
    """How far the first step of gradient descent moves, as one vector."""
    options = {"solver": "gd", "max_iter": 1, "learning_rate_init": 0.5, **options}
    after, before = fit(small(**options), X, 100 * Y), at_start()
    parts = zip(after.coefs_ + after.intercepts_, before.coefs_ + before.intercepts_, strict=True)
    return np.concatenate([(a - b).ravel() for a, b in parts])


def test_clipping():
    free = first_step()
    short = first_step(clip_norm=2.0)
    assert np.linalg.norm(short) == pytest.approx(0.5 * 2.0, rel=1e-12)
    np.testing.assert_allclose(
        short / np.linalg.norm(short), free / np.linalg.norm(free), rtol=1e-9
    )
    np.testing.assert_allclose(first_step(clip_norm=1e9), free, rtol=1e-12)
    cut = first_step(clip_value=0.25)
    np.testing.assert_allclose(cut, np.clip(free, -0.125, 0.125), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("start", [0, 2])
def test_the_average_of_iterates(start):
    iterates = [
        fit(small(solver="sgd", batch_size=N, max_iter=k, learning_rate_init=0.1), X, Y)
        for k in range(1, 6)
    ]
    options = {"solver": "sgd", "batch_size": N, "max_iter": 5, "learning_rate_init": 0.1}
    averaged = fit(small(average=start or True, **options), X, Y)
    for i in range(2):
        expected = np.mean([model.coefs_[i] for model in iterates[start:]], axis=0)
        np.testing.assert_allclose(averaged.coefs_[i], expected, rtol=1e-10)


@both
def test_accumulated_gradients_are_those_of_large_batches(family, y):
    options = {"shuffle": False, "max_iter": 6, "alpha": 2.0, "l1_ratio": 0.5}
    # 120 rows are four batches of 30: two pairs, or three and one that is left over.
    for weight in (None, WEIGHT):
        large = fit(small(family, batch_size=60, **options), X, y, weight)
        parts = fit(small(family, batch_size=30, accumulation_steps=2, **options), X, y, weight)
        assert_equal(large, parts, rtol=1e-8, atol=1e-10)
        large = fit(small(family, batch_size=90, **options), X, y, weight)
        parts = fit(small(family, batch_size=30, accumulation_steps=3, **options), X, y, weight)
        assert_equal(large, parts, rtol=1e-8, atol=1e-10)


def test_sampling():
    options = {"hidden_layer_sizes": (16,), "batch_size": 10, "learning_rate_init": 0.01}
    options |= {"max_iter": 60, "n_iter_no_change": np.inf}
    swept, drawn = (
        fit(small(sampling=kind, **options), X, Y) for kind in ("shuffle", "replacement")
    )
    assert swept.t_ == drawn.t_ == 60 * N
    assert swept.loss_ != drawn.loss_
    assert swept.score(X, Y) > 0.9 and drawn.score(X, Y) > 0.9
    again = clone(drawn).set_params(shuffle=False)
    assert_equal(fit(again, X, Y), drawn)  # the order plays no part in draws


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", lambda e, k: 1.0),
        ("sqrt", lambda e, k: (4 * e + 4) ** -0.5),
        ("inverse_time", lambda e, k: 1000 / (1000 + 4 * e + 3)),
        (StepDecay(every=2, factor=0.5), lambda e, k: 0.5 ** (e // 2)),
        (Cosine(), lambda e, k: (1 + np.cos(np.pi * (4 * e + 3) / (4 * k))) / 2),
        (lambda clock: 1 / (1 + clock.epoch), lambda e, k: 1 / (1 + e)),
    ],
    ids=["constant", "sqrt", "inverse_time", "step", "cosine", "callable"],
)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_schedules(schedule, factors, solver):
    # Four updates an epoch, of which the last is shown.
    model = small(solver=solver, learning_rate=schedule, batch_size=30, learning_rate_init=0.01)
    rates = [record["learning_rate"] for record in fit(model, X, Y).history_]
    np.testing.assert_allclose(rates, [0.01 * factors(e, 5) for e in range(5)], rtol=1e-12)


def test_a_schedule_with_an_end_is_followed_to_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small(learning_rate="cosine", n_iter_no_change=np.inf).fit(X, Y)
    assert model.converged_ and model.n_iter_ == 5


def test_a_plateau_lowers_the_rate():
    # Nothing falls by half in an epoch: after two epochs the rate is halved, and again.
    schedule = Plateau(patience=1, factor=0.5, threshold=0.5)
    model = fit(small(learning_rate=schedule, max_iter=8), X, Y)
    rates = [record["learning_rate"] for record in model.history_]
    np.testing.assert_allclose(rates, 0.001 * 0.5 ** np.array([0, 0, 0, 1, 1, 2, 2, 3]))


@both
def test_partial_fits_are_the_epochs_of_a_fit(family, y):
    first = {"classes": np.unique(y)} if family is MLPClassifier else {}
    for options in (
        {"solver": "adam"},
        {"solver": "sgd", "learning_rate": "sqrt"},
        {"learning_rate": "cosine"},
        {"learning_rate": "one_cycle"},
        {"normalization": "batch", "accumulation_steps": 2},
        {"dropout": 0.3, "average": 7},
        {"learning_rate": "adaptive", "tol": 1e9, "n_iter_no_change": 1},
    ):
        options = {"shuffle": False, "batch_size": 20, "max_iter": 4, **options}
        whole = fit(small(family, **options), X, y)
        parts = small(family, **options)
        for _ in range(4):
            parts.partial_fit(X, y, **first)
            first = {}
        assert_equal(whole, parts)
        assert whole.loss_curve_ == parts.loss_curve_ and whole.t_ == parts.t_
        assert parts.n_iter_ == 1
        first = {"classes": np.unique(y)} if family is MLPClassifier else {}


def test_partial_fit_takes_changed_parameters():
    model = small(batch_size=20).partial_fit(X, Y)
    model.set_params(solver="sgd", learning_rate_init=0.03).partial_fit(X, Y)
    model.set_params(learning_rate=lambda clock: 0.5).partial_fit(X, Y)
    rates = [record["learning_rate"] for record in model.history_]
    np.testing.assert_allclose(rates, [0.001, 0.03, 0.015], rtol=1e-12)
    model.set_params(solver=RMSprop()).partial_fit(X, Y).set_params(solver="adagrad")
    assert model.partial_fit(X, Y).t_ == 5 * N
    # A batch in single precision leaves the parameters in double.
    model.partial_fit(X.astype(np.float32), Y)
    assert model.coefs_[0].dtype == np.float64
    assert model.predict(X.astype(np.float32)).dtype == np.float32


def test_a_fit_forgets_the_memory_of_partial_fits():
    model = small(warm_start=True).partial_fit(X, Y).partial_fit(X, Y)
    fit(model, X, Y)
    copy = MLPRegressor.from_weights(model.coefs_, model.intercepts_, random_state=0)
    model.partial_fit(X[:40], Y[:40])
    assert_equal(model, copy.partial_fit(X[:40], Y[:40]))


@both
def test_validation_rows_that_are_reported_only(family, y):
    rest = slice(80, None)
    plain, told = small(family, max_iter=8), small(family, max_iter=8)
    fit(plain, X[:80], y[:80])
    fit(told, X[:80], y[:80], X_val=X[rest], y_val=y[rest], sample_weight_val=WEIGHT[rest])
    assert_equal(plain, told)
    assert plain.validation_scores_ is None and told.best_validation_score_ is None
    assert len(told.validation_scores_) == 8 and told.best_loss_ == plain.best_loss_
    score = told.score(X[rest], y[rest], WEIGHT[rest])
    assert told.validation_scores_[-1] == pytest.approx(score, abs=1e-12)
    if family is MLPRegressor:
        losses = (told.predict(X[rest]) - y[rest]) ** 2 / 2
    else:
        losses = -told.predict_log_proba(X[rest])[np.arange(40), y[rest]]
    expected = np.average(losses, weights=WEIGHT[rest])
    assert told.history_[-1]["validation_loss"] == pytest.approx(expected, rel=1e-9)
    fit(told, X[:80], y[:80])
    assert told.validation_scores_ is None and "validation_score" not in told.history_[0]


@pytest.mark.parametrize("solver", ["lbfgs", "newton", "random_search"])
def test_validation_rows_of_solvers_on_all_rows(solver):
    options = {"solver": solver, "activation": "tanh", "hidden_layer_sizes": (3,)}
    plain = fit(small(**options), X[:80], Y[:80])
    told = fit(small(**options), X[:80], Y[:80], X_val=X[80:], y_val=Y[80:])
    assert_equal(plain, told)
    assert len(told.validation_scores_) == told.n_iter_
    assert told.validation_scores_[-1] == pytest.approx(told.score(X[80:], Y[80:]), rel=1e-9)


@both
def test_early_stopping_on_given_rows(family, y):
    model = small(family, early_stopping=True, max_iter=200, learning_rate_init=0.05)
    fit(model.set_params(n_iter_no_change=5), X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    assert model.t_ == 80 * model.n_iter_ and model.n_iter_ < 200
    assert model.best_validation_score_ == max(model.validation_scores_)
    # The parameters are those of the best epoch, not the last.
    score = model.score(X[80:], y[80:])
    assert score == pytest.approx(model.best_validation_score_, abs=1e-12)
    assert model.best_loss_ is None and model.converged_


def test_the_best_score_belongs_to_the_parameters_that_are_kept():
    model = small(early_stopping=True, warm_start=True, max_iter=20, learning_rate_init=0.05)
    held = {"X_val": X[80:], "y_val": Y[80:]}
    fit(model, X[:80], Y[:80], **held)
    first = model.best_validation_score_
    # Noise that no training outweighs: every epoch of the second fit is worse than the first fit.
    worse = draws().permutation(Y[:80])
    fit(model.set_params(max_iter=3, solver="sgd"), X[:80], 10 * worse, **held)
    assert len(model.validation_scores_) == len(model.history_)
    assert model.best_validation_score_ < first
    assert model.score(X[80:], Y[80:]) == pytest.approx(model.best_validation_score_, abs=1e-12)


def test_classes_that_validation_rows_lack():
    few = CLASSES < 2
    model = fit(small(MLPClassifier), X, CLASSES, X_val=X[few], y_val=CLASSES[few])
    assert model.validation_scores_[-1] == pytest.approx(model.score(X[few], CLASSES[few]))
    soft = np.eye(3)[CLASSES] * 0.8 + 0.2 / 3
    model = fit(small(MLPClassifier), X, CLASSES, X_val=X, y_val=soft)
    assert model.validation_scores_[-1] == pytest.approx(model.score(X, soft))


@both
def test_history(family, y):
    model = small(family, warm_start=True, early_stopping=True)
    fit(model, X, y)
    frame = pd.DataFrame(model.history_)
    columns = ["iteration", "loss", "validation_loss", "validation_score", "learning_rate"]
    assert frame.columns.tolist() == [*columns, "seconds"]
    assert frame["loss"].tolist() == model.loss_curve_
    assert frame["validation_score"].tolist() == model.validation_scores_
    for _ in range(2):
        fit(model, X, y)
    model.set_params(early_stopping=False).partial_fit(X, y)
    frame = pd.DataFrame(model.history_)
    assert frame["iteration"].tolist() == list(range(1, 17))
    assert frame["seconds"].is_monotonic_increasing and (frame["seconds"] >= 0).all()
    assert (frame["learning_rate"] == 0.001).all()
    assert model.t_ == 5 * 3 * 108 + N
    assert frame.dtypes.map(lambda dtype: dtype.kind).tolist() == ["i", *"fffff"]


@pytest.mark.parametrize("solver", ["lbfgs", "newton", "random_search"])
def test_history_of_solvers_on_all_rows(solver):
    model = fit(small(solver=solver, hidden_layer_sizes=(2,), warm_start=True), X, Y)
    n_iter = model.n_iter_
    fit(model, X, Y)
    frame = pd.DataFrame(model.history_)
    assert frame.columns.tolist() == ["iteration", "loss", "seconds"]
    assert frame["iteration"].tolist() == list(range(1, n_iter + model.n_iter_ + 1))
    assert (frame["loss"].diff().dropna() <= 1e-12).all()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@both
def test_a_progress_bar_when_asked(family, y, solver, capsys):
    fit(small(family, solver=solver), X, y)
    assert capsys.readouterr() == ("", "")
    fit(small(family, solver=solver, verbose=1, early_stopping=True), X, y)
    out, err = capsys.readouterr()
    assert out == "" and family.__name__ in err and "loss=" in err
    assert ("val_score=" in err) == (solver == "adam")


@pytest.mark.parametrize("solver", ["adam", "lbfgs", "newton", "random_search"])
def test_an_interrupt_keeps_the_best(solver, monkeypatch):
    plain = FitMonitor.__call__

    def impatient(self, record, attributes):
        if len(self.history) == 3:
            raise KeyboardInterrupt
        return plain(self, record, attributes)

    monkeypatch.setattr(FitMonitor, "__call__", impatient)
    options = {"solver": solver, "hidden_layer_sizes": (2,), "activation": "tanh"}
    options |= {"learning_rate_init": 0.02, "max_iter": 50}
    with pytest.warns(ConvergenceWarning, match="MLPRegressor was interrupted"):
        model = small(**options).fit(X, Y)
    assert not model.converged_ and len(model.history_) == 3
    monkeypatch.undo()
    # The fourth epoch was over when the interruption came; a search has then drawn a fourth time.
    longer = fit(small(**{**options, "max_iter": 4}), X, Y)
    kept = 0.5 * np.mean((model.predict(X) - Y) ** 2)
    candidates = [0.5 * np.mean((longer.predict(X) - Y) ** 2)]
    shorter = fit(small(**{**options, "max_iter": 3}), X, Y)
    candidates.append(0.5 * np.mean((shorter.predict(X) - Y) ** 2))
    assert any(kept == pytest.approx(candidate, rel=1e-6) for candidate in candidates)


@pytest.mark.parametrize("after", [0, 3])
def test_an_interrupt_amid_an_epoch(after, monkeypatch):
    epochs = []
    plain = Batches.epoch

    def impatient(self):
        epochs.append(1)
        for batch in plain(self):
            yield batch
            if len(epochs) > after:
                raise KeyboardInterrupt

    monkeypatch.setattr(Batches, "epoch", impatient)
    options = {"learning_rate_init": 0.01, "batch_size": 30, "max_iter": 50}
    with pytest.warns(ConvergenceWarning, match=f"interrupted after {after} epochs"):
        model = small(**options).fit(X, Y)
    assert model.n_iter_ == len(model.history_) == after and model.t_ == after * N
    monkeypatch.undo()
    # What the epoch had done so far is not kept: its loss is not known.
    if after:
        assert_equal(model, fit(small(**{**options, "max_iter": after}), X, Y))
    else:
        np.testing.assert_array_equal(model.coefs_[0], at_start().coefs_[0])


@both
def test_a_refit_forgets(family, y):
    model = small(family, normalization="batch", early_stopping=True, max_iter=3)
    fit(model, X[:, ::-1], y[::-1], X_val=X, y_val=y)
    with_partial = model.set_params(early_stopping=False).partial_fit(X, y)
    refitted = fit(with_partial.set_params(normalization=None), X, y)
    fresh = fit(small(family, max_iter=3), X, y)
    assert_equal(refitted, fresh)
    assert set(vars(refitted)) == set(vars(fresh))
    skipped = {"history_", "_rng", "_loss", "architecture_"}
    for name in set(vars(fresh)) - skipped:
        own, expected = getattr(refitted, name), getattr(fresh, name)
        if name in ("coefs_", "intercepts_", "classes_"):
            continue
        assert own == expected, name
    framed = fit(small(family), pd.DataFrame(X, columns=list("abc")), y)
    assert not hasattr(fit(framed, X, y), "feature_names_in_")


@both
def test_a_failed_fit_leaves_the_fit_before(family, y):
    model = fit(small(family), X, y)
    before = model.predict(X), dict(vars(model))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X * np.nan, y)
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        model.set_params(hidden_layer_sizes=(3, 0)).fit(X[:, :2], y)
    with pytest.raises(ValueError, match="validation_fraction"):
        model.set_params(hidden_layer_sizes=(4,), early_stopping=True).fit(X[:5], y[:5])
    model.set_params(hidden_layer_sizes=(6,), early_stopping=False)
    np.testing.assert_array_equal(model.predict(X), before[0])
    assert vars(model).keys() == before[1].keys() and model.n_features_in_ == 3


@both
def test_pickles_clones_and_copies(family, y, tmp_path):
    model = small(family, activation=["tanh"], dropout=(0.2,), normalization="batch")
    first = {"classes": np.unique(y)} if family is MLPClassifier else {}
    model.partial_fit(X, y, **first)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    np.testing.assert_array_equal(mapped.predict(X), model.predict(X))
    # The memory of the optimizer and the place in the random numbers travel with it.
    model.partial_fit(X, y)
    assert_equal(copy.partial_fit(X, y), model)
    assert_equal(mapped.partial_fit(X, y), model)
    assert_equal(fit(clone(model), X, y), fit(clone(copy), X, y))
    assert not hasattr(clone(model), "coefs_")


def test_frames_and_pipelines():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    scaled = StandardScaler().set_output(transform="pandas")
    model = fit(make_pipeline(scaled, small()), frame, pd.Series(Y))
    assert model[-1].feature_names_in_.tolist() == ["a", "b", "c"]
    plain = fit(make_pipeline(StandardScaler(), small()), X, Y)
    np.testing.assert_allclose(model.predict(frame), plain.predict(X), rtol=1e-10)
    net = fit(small(), frame, Y, X_val=frame, y_val=Y)
    with pytest.raises(ValueError, match="feature names"):
        net.predict(frame[["b", "a", "c"]])
    with pytest.raises(ValueError, match="feature names"):
        fit(small(), frame, Y, X_val=frame[["b", "a", "c"]], y_val=Y)


def test_tensors():
    model = fit(small(), torch.from_numpy(X), torch.from_numpy(Y))
    assert_equal(model, fit(small(), X, Y))
    assert torch.is_tensor(model.predict(torch.from_numpy(X)))
    halves = fit(small(dtype="float32"), X, Y)
    assert halves.coefs_[0].dtype == np.float32 and halves.predict(X).dtype == np.float64
    doubles = fit(small(dtype="float64"), X.astype(np.float32), Y)
    assert doubles.coefs_[0].dtype == np.float64
    assert doubles.predict(X.astype(np.float32)).dtype == np.float32


def test_a_grid_search_does_not_depend_on_the_number_of_jobs():
    grid = {"hidden_layer_sizes": [(3,), (6,)], "dropout": [0.0, 0.2]}
    one, two = (
        fit(GridSearchCV(small(MLPClassifier), grid, cv=2, n_jobs=n), X, CLASSES) for n in (1, 2)
    )
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    assert_equal(one.best_estimator_, two.best_estimator_)


def test_numbers_of_numpy_are_numbers():
    # As RandomizedSearchCV draws them.
    model = MLPRegressor(
        hidden_layer_sizes=np.int64(6),
        max_iter=np.int64(5),
        batch_size=np.int64(40),
        alpha=np.float32(1e-4),
        learning_rate_init=np.float64(0.001),
        accumulation_steps=np.int64(2),
        n_iter_no_change=np.int64(10),
        dropout=np.float64(0.1),
        random_state=0,
    )
    plain = small(batch_size=40, accumulation_steps=2, dropout=0.1, alpha=float(np.float32(1e-4)))
    assert_equal(fit(model, X, Y), fit(plain, X, Y))


@both
def test_training_display(family, y):
    pytest.importorskip("matplotlib").use("Agg")
    model = fit(small(family, early_stopping=True, learning_rate="cosine"), X, y)
    display = TrainingDisplay.from_estimator(model)
    assert set(display.lines_) == {"loss", "validation_loss", "validation_score", "learning_rate"}
    assert len(display.lines_["loss"].get_ydata()) == model.n_iter_
    display.figure_.clear()


@both
def test_global_random_states_are_untouched(family, y):
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    options = {"dropout": 0.3, "early_stopping": True, "sampling": "replacement"}
    models = [fit(small(family, random_state=seed, **options), X, y) for seed in (None, None, 0, 0)]
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    assert models[0].loss_ != models[1].loss_ and models[2].loss_ == models[3].loss_


@both
def test_too_few_epochs_are_reported(family, y):
    with pytest.warns(ConvergenceWarning, match=r"reached max_iter=2 epochs.*raise max_iter"):
        model = small(family, max_iter=2).fit(X, y)
    assert not model.converged_ and model.n_iter_ == 2
    with pytest.warns(ConvergenceWarning, match=r"solver='lbfgs'.*raise max_iter"):
        small(family, max_iter=2, solver="lbfgs").fit(X, y)


def test_truth_tables_of_chapter_5():
    # All functions of two half-planes that a layer of two units and one of one unit can form.
    S = Logistic(scale=0.02)
    at = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])

    def table(a, b, c):
        net = MLPRegressor.from_weights(
            [np.eye(2), [[a], [b]]], [[0.0, 0.0], [c]], activation=S, out_activation=S
        )
        return net.predict(at).round(6).tolist()

    assert table(1, 1, -1.5) == [1, 0, 0, 0]
    assert table(1, 1, -0.5) == [1, 1, 1, 0]
    assert table(-1, -1, 1.5) == [0, 1, 1, 1]
    assert table(-1, -1, 0.5) == [0, 0, 0, 1]  # the corrected third quadrant
    assert table(1, -1, -0.5) == [0, 1, 0, 0]
    assert table(-1, 1, -0.5) == [0, 0, 1, 0]
    assert table(1, 0, -0.5) == [1, 1, 0, 0]
    assert table(0, -1, 0.5) == [0, 1, 0, 1]
    assert table(0, 0, 0.5) == [1, 1, 1, 1]


def test_opposing_quadrants_need_a_third_layer():
    S = Logistic(scale=0.02)
    net = MLPRegressor.from_weights(
        [np.eye(2), [[1.0, -1.0], [1.0, -1.0]], [[1.0], [1.0]]],
        [[0.0, 0.0], [-1.5, 0.5], [-0.5]],
        activation=S,
        out_activation=S,
    )
    at = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    assert net.predict(at).round(6).tolist() == [1, 0, 0, 1]


def test_exercises_5_3_to_5_6():
    S = Logistic(scale=1e-4)
    at = draws().normal(0, 3, (2000, 2))
    x, y = at.T
    strip = MLPRegressor.from_weights(
        [[[0.0, 2.0], [1.0, -1.0]], [[1.0], [1.0]]], [[0.0, 3.0], [-1.5]],
        activation=S, out_activation=S,
    )  # fmt: skip
    # But for the rows within some multiple of 1e-4 of a border.
    assert np.mean(strip.predict(at).round() == ((y > 0) & (y < 2 * x + 3))) > 0.998
    wedge = MLPRegressor.from_weights(
        [[[1.0, 2.0], [0.0, -1.0]], [[1.0], [1.0]]], [[0.0, 3.0], [-1.5]],
        activation=S, out_activation=S,
    )  # fmt: skip
    assert np.mean(wedge.predict(at).round() == ((x > 0) & (y < 2 * x + 3))) > 0.998
    line = np.linspace(-3, 3, 61)[:, None]
    kinks = MLPRegressor.from_weights([[[1.0, 1.0]], [[1.0], [1.0]]], [[0.0, -1.0], [0.0]])
    np.testing.assert_array_equal(
        kinks.predict(line), np.maximum(line[:, 0], 0) + np.maximum(line[:, 0] - 1, 0)
    )
    valley = MLPRegressor.from_weights([[[-1.0, 1.0]], [[2.0], [3.0]]], [[0.0, -1.0], [0.0]])
    np.testing.assert_array_equal(
        valley.predict(line), 2 * np.maximum(-line[:, 0], 0) + 3 * np.maximum(line[:, 0] - 1, 0)
    )


def half_plane(x):
    return x[:, 0] > 0


def quadrant(x):
    return (x > 0).all(1)


#: Rows of W1, B1, W2, B2 as printed in section 5.3, and our accuracy and mean cross-entropy of them
#: on a million points.
PRINTED = [
    ([[7.380, 0.174], [5.809, 0.165]], [-0.283, -0.311], [8.187, 5.993], -6.287,
     half_plane, 0.9914, 0.0338),
    ([[-4.730, -0.146], [7.795, 0.169]], [0.099, -0.136], [-5.676, 9.608], -1.754,
     half_plane, 0.9918, 0.0310),
    ([[0.096, -7.474], [7.514, 0.063]], [-0.237, 0.054], [-9.638, 9.194], -4.422,
     quadrant, 0.9887, 0.0490),
]  # fmt: skip


@pytest.mark.parametrize(("w1", "b1", "w2", "b2", "region", "accuracy", "loss"), PRINTED)
def test_trained_weights_of_section_5_3(w1, b1, w2, b2, region, accuracy, loss):
    net = MLPClassifier.from_weights(
        [np.transpose(w1), np.reshape(w2, (2, 1))], [b1, [b2]], activation="logistic"
    )
    n = 200_000
    x = draws().normal(size=(n, 2))
    y = region(x).astype(int)
    # Four standard errors of a share near 1 %, and of losses with a deviation of about 0.15, beside
    # the rounding of the figures.
    assert net.score(x, y) == pytest.approx(accuracy, abs=4 * (0.01 / n) ** 0.5 + 5e-5)
    losses = -net.predict_log_proba(x)[np.arange(n), y]
    assert losses.mean() == pytest.approx(loss, abs=4 * losses.std() / n**0.5 + 5e-5)


@pytest.mark.parametrize("region", [half_plane, quadrant])
def test_a_trained_network_does_as_well(region):
    x = draws().normal(size=(1200, 2))
    y = region(x).astype(int)
    net = MLPClassifier((2,), "logistic", solver="lbfgs", alpha=1e-3, max_iter=500, random_state=1)
    fit(net, x[:1000], y[:1000])
    assert net.score(x[1000:], y[1000:]) > 0.97
    # Of the second layer, steps of 1/2 for a half-plane seen by one unit; of 3/2 for two of them.
    assert net.loss_ < 0.05


def test_the_network_of_equation_5_2_has_30_parameters():
    # Without the printed values: the shapes, a function for each layer, and one of the outputs.
    model = small(hidden_layer_sizes=(3, 4), activation=("tanh", "tanh"), out_activation="relu")
    fit(model, X[:, :2], abs(Y))
    assert sum(part.size for part in model.coefs_ + model.intercepts_) == 30
    assert [coef.shape for coef in model.coefs_] == [(2, 3), (3, 4), (4, 1)]


def one_step(coefs, x, y, rate, **options):
    """Gradients of half the squared error at given weights, from one step of descent."""
    coefs = [np.array(coef, dtype=float) for coef in coefs]
    zeros = [np.zeros(coef.shape[1]) for coef in coefs]
    options = {"solver": "gd", "learning_rate_init": rate, "alpha": 0, **options}
    net = MLPRegressor.from_weights(coefs, zeros, max_iter=1, warm_start=True, **options)
    prediction = net.predict(x)
    fit(net, x, y)
    steps = [(a - b) / rate for a, b in zip(coefs, net.coefs_, strict=True)]
    return prediction, steps, net


def test_vanishing_gradients_of_example_8_2():
    coefs = [[[0.5]]] * 11
    prediction, gradients, _ = one_step(coefs, [[1.0]], [0.0], 1.0, activation="logistic")
    assert prediction[0] == pytest.approx(0.2854397, abs=5e-8)
    # The book's loss has no factor 1/2, and four figures are printed.
    found = [2 * float(abs(g[0, 0])) for g in gradients[:-1]][::-1]
    printed = [3.992e-2, 4.890e-3, 5.989e-4, 7.336e-5, 8.986e-6, 1.101e-6, 1.350e-7]
    printed += [1.669e-8, 2.196e-9, 4.145e-10]
    np.testing.assert_allclose(found, printed, rtol=5e-4)
    bounds = 0.2854397 * 2.0 ** -np.arange(10)
    assert (np.array(found) <= bounds).all()


def test_the_tiny_network_of_the_lecture():
    # Two units with logistic functions, as printed to two digits (three for the new weights).
    prediction, gradients, net = one_step(
        [[[0.5]], [[2.0]]], [[1.0]], [0.0], 0.1, activation="logistic", out_activation="logistic"
    )
    assert prediction[0] == pytest.approx(0.78, abs=5e-3)
    assert float(prediction[0] ** 2 / 2) == pytest.approx(0.30, abs=5e-3)
    assert gradients[1][0, 0] == pytest.approx(0.08, abs=5e-3)
    assert gradients[0][0, 0] == pytest.approx(0.06, abs=5e-3)
    assert net.coefs_[1][0, 0] == pytest.approx(1.992, abs=5e-4)
    assert net.coefs_[0][0, 0] == pytest.approx(0.494, abs=5e-4)


def test_digits_in_place_of_mnist():
    # Section 7.5.2: 100 units with tanh, descent at a rate of 0.1 on batches of 100.
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, random_state=0)
    model = MLPClassifier(
        (100,), "tanh", solver="sgd", momentum=0, learning_rate_init=0.1, batch_size=100,
        max_iter=100, alpha=0, random_state=0, dtype="float32",
    )  # fmt: skip
    # A standard error of 0.8 % for 450 images.
    assert fit(model, x, y).score(x_test, y_test) > 0.955


def raises(message):
    return pytest.raises(ValueError, match=message)


def test_divergence_is_reported_and_survived():
    model = small(solver="sgd", learning_rate_init=1e5, max_iter=50)
    with pytest.raises(DivergenceError, match=r"epoch (\d+).*learning_rate_init=100000\.0") as e:
        model.fit(X, Y)
    for remedy in ("MLPRegressor", "lower learning_rate_init", "StandardScaler", "clip_norm"):
        assert remedy in str(e.value)
    assert f"epoch {model.n_iter_} " in str(e.value)
    assert len(model.history_) == model.n_iter_ and not model.converged_
    assert np.isfinite(model.predict(X)).all()
    assert all(np.isfinite(part).all() for part in model.coefs_ + model.intercepts_)
    # What the message asks for helps.
    assert np.isfinite(fit(model.set_params(clip_norm=1.0, learning_rate_init=0.1), X, Y).loss_)
    logits = small(MLPClassifier, solver="sgd", learning_rate_init=1e300, max_iter=50)
    with pytest.raises(DivergenceError, match="MLPClassifier"):
        logits.fit(X, CLASSES)
    assert np.isfinite(logits.predict_proba(X)).all()


@pytest.mark.parametrize("solver", ["lbfgs", "newton", "random_search"])
def test_divergence_of_solvers_on_all_rows(solver):
    model = small(solver=solver, activation="identity")
    with pytest.raises(DivergenceError, match=rf"iteration \d+ \(solver='{solver}'\): scale the"):
        model.fit(X * 1e200, Y * 1e200)
    assert all(np.isfinite(part).all() for part in model.coefs_ + model.intercepts_)


@both
def test_validation_splits_that_are_too_small(family, y):
    model = small(family, early_stopping=True)
    with raises(r"validation_fraction=0\.1 of 5 rows .*too small .*\(1 rows\): raise validation_f"):
        model.fit(X[:5], y[:5])
    with raises(r"validation_fraction=0\.0 of 120 rows .*\(0 rows\).*X_val and y_val"):
        clone(model).set_params(validation_fraction=0.0).fit(X, y)
    with raises(r"validation_fraction=0\.999 of 120 rows leaves none for training: lower"):
        clone(model).set_params(validation_fraction=0.999).fit(X, y)


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        ({"batch_size": 1}, N, r"batch_size=1 makes a batch of one row"),
        ({"batch_size": 17}, N, r"batch_size=17 makes a last batch of one row"),
        ({"batch_size": 17, "sampling": "replacement"}, N, r"a last batch of one row"),
        ({"batch_size": 17, "shuffle": False}, N, r"a last batch of one row"),
        ({}, 1, r"batch_size=1 makes a batch of one row"),
    ],
)
def test_batch_statistics_of_one_row(options, rows, message):
    x, y = np.resize(X, (rows, 3)), np.resize(Y, rows)
    model = small(normalization="batch", **options)
    with raises(rf'normalization="batch" needs at least two rows.*{message}.*choose another'):
        model.fit(x, y)
    assert np.isfinite(fit(model.set_params(normalization="layer"), x, y).loss_)


def test_automatic_batches_leave_no_row_alone():
    # 200 and one would be the batches of 201 rows.
    x, y = np.resize(X, (201, 3)), np.resize(Y, 201)
    assert np.isfinite(fit(small(normalization="batch"), x, y).loss_)


def test_batch_statistics_of_one_row_in_partial_fit():
    model = small(normalization="batch").partial_fit(X, Y)
    before = model.predict(X)
    with raises(r"makes a batch of one row"):
        model.partial_fit(X[:1], Y[:1])
    np.testing.assert_array_equal(model.predict(X), before)


REFUSED = [
    ({"solver": "foo"}, r"'solver' parameter of MLPRegressor must be a str among .*'adam'.*'foo'"),
    ({"solver": 3}, r"'solver' parameter .*Got 3"),
    ({"activation": "foo"}, r"activation='foo' must be .*'tanh'"),
    ({"activation": Softplus}, r"activation=.*Softplus.*this is a class: give an instance"),
    ({"activation": 3}, r"'activation' parameter .*Got 3"),
    ({"activation": ("relu", "tanh")}, r"has 2 entries for 1 hidden layers: give one for each"),
    ({"out_activation": "foo"}, r"activation='foo' must be"),
    ({"loss": "foo"}, r"loss='foo' must be .*'squared_error'"),
    ({"loss": Huber}, r"Huber.*this is a class: give an instance"),
    ({"loss": 3}, r"'loss' parameter .*Got 3"),
    ({"learning_rate": "foo"}, r"learning_rate='foo' must be one of \"constant\""),
    ({"learning_rate": 0.1}, r"'learning_rate' parameter .*Got 0\.1"),
    ({"init": "foo"}, r"'init' parameter .*'he_normal'.*Got 'foo'"),
    ({"normalization": "foo"}, r"'normalization' parameter .*Got 'foo'"),
    ({"sampling": "foo"}, r"'sampling' parameter .*Got 'foo'"),
    ({"dtype": "float16"}, r"'dtype' parameter .*Got 'float16'"),
    ({"hidden_layer_sizes": 0}, r"'hidden_layer_sizes' parameter .*Got 0"),
    ({"hidden_layer_sizes": -3}, r"'hidden_layer_sizes' parameter .*Got -3"),
    ({"hidden_layer_sizes": 2.5}, r"'hidden_layer_sizes' parameter .*Got 2\.5"),
    ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes=\(3, 0\) must hold integers > 0.*such"),
    ({"hidden_layer_sizes": (3, -2)}, r"hidden_layer_sizes=\(3, -2\) must hold integers > 0"),
    ({"hidden_layer_sizes": (3, 2.5)}, r"hidden_layer_sizes=\(3, 2\.5\) must hold integers > 0"),
    ({"hidden_layer_sizes": ((3,), 4)}, r"hidden_layer_sizes=\(\(3,\), 4\) must hold integers > 0"),
    ({"hidden_layer_sizes": ("3",)}, r"hidden_layer_sizes=\('3',\) must hold integers > 0"),
    ({"dropout": 1.0}, r"'dropout' parameter .*Got 1\.0"),
    ({"dropout": -0.1}, r"'dropout' parameter .*Got -0\.1"),
    ({"dropout": (1.2,)}, r"dropout=\(1\.2,\) must be a probability in \[0, 1\)"),
    ({"dropout": ("a",)}, r"dropout=\('a',\) must be a probability in \[0, 1\)"),
    ({"dropout": (0.1, 0.2)}, r"dropout=\(0\.1, 0\.2\) .*one for each of the 1 hidden layers"),
    ({"input_dropout": 1.0}, r"'input_dropout' parameter .*Got 1\.0"),
    ({"alpha": -1.0}, r"'alpha' parameter .*Got -1\.0"),
    ({"l1_ratio": 1.5}, r"'l1_ratio' parameter .*Got 1\.5"),
    ({"weight_decay": -1}, r"'weight_decay' parameter .*Got -1"),
    ({"learning_rate_init": 0.0}, r"'learning_rate_init' parameter .*Got 0\.0"),
    ({"learning_rate_init": np.nan}, r"'learning_rate_init' parameter .*Got nan"),
    ({"batch_size": 0}, r"'batch_size' parameter .*Got 0"),
    ({"max_iter": 0}, r"'max_iter' parameter .*Got 0"),
    ({"momentum": 1.5}, r"'momentum' parameter .*Got 1\.5"),
    ({"validation_fraction": 1.0}, r"'validation_fraction' parameter .*Got 1\.0"),
    ({"beta_1": 1.0}, r"'beta_1' parameter .*Got 1\.0"),
    ({"epsilon": 0.0}, r"'epsilon' parameter .*Got 0\.0"),
    ({"clip_norm": 0}, r"'clip_norm' parameter .*Got 0"),
    ({"clip_value": -1}, r"'clip_value' parameter .*Got -1"),
    ({"accumulation_steps": 0}, r"'accumulation_steps' parameter .*Got 0"),
    ({"average": -1}, r"'average' parameter .*Got -1"),
    ({"callbacks": "foo"}, r"'callbacks' parameter .*Got 'foo'"),
    ({"width_scaling": 0.5}, r"width_scaling=0\.5 .*choose solver in .*'gd'.*not 'adam'"),
    ({"width_scaling": 0.4, "solver": "gd"}, r"'width_scaling' parameter .*Got 0\.4"),
    ({"width_scaling": ("a",), "solver": "gd"}, r"width_scaling=\('a',\) must lie in \[1/2, 1\]"),
    ({"width_scaling": 1.0, "solver": "gd", "hidden_layer_sizes": (4, 4, 4)},
     r"width_scaling=1\.0 is known for one or two hidden layers"),
    ({"solver": "lbfgs", "l1_ratio": 0.5}, r"l1_ratio=0\.5 has no meaning for solver='lbfgs'.*one"),
    ({"solver": "lbfgs", "dropout": 0.5}, r"solver='lbfgs' needs an objective .*dropout.*one of"),
    ({"solver": "lbfgs", "normalization": "batch"}, r"solver='lbfgs' .*normalization=.batch.*one"),
    ({"solver": "newton", "weight_decay": 0.1}, r"weight_decay=0\.1 has no meaning for solver='"),
    ({"solver": "lbfgs", "clip_norm": 1.0}, r"clip_norm=1\.0 has no meaning"),
    ({"solver": "random_search", "average": True}, r"average=True has no meaning"),
    ({"solver": "lbfgs", "accumulation_steps": 2}, r"accumulation_steps=2 has no meaning"),
    ({"solver": "newton", "hidden_layer_sizes": (500,)},
     r'solver="newton" .*2501 are more than 2000: choose solver="lbfgs"'),
    ({"device": "cuda:99"}, r"device='cuda:99' cannot be used here: choose \"auto\", \"cpu\""),
    ({"device": "foo"}, r"device='foo' cannot be used here"),
    ({"loss": lambda Z, y: (Z - y).square().mean()}, r"must return one number for each of the"),
    ({"loss": lambda Z, y: torch.zeros(len(Z))}, r"is not differentiable"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_parameters_out_of_range(options, message):
    with raises(message):
        small(**options).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "squared_error"}, r"loss='squared_error' must be .*'log_loss'"),
        ({"loss": SquaredError()}, r"loss=SquaredError\(\) must be"),
        ({"loss": 3}, r"loss=3 must be"),
        ({"class_weight": {5: 1.0}}, r"class_weight=\{5: 1\.0\} names none of the classes \[0"),
        ({"class_weight": {0: -1.0}}, r"class_weight=\{0: -1\.0\} must hold finite weights abov"),
        ({"class_weight": "foo"}, r"'class_weight' parameter .*Got 'foo'"),
    ],
    ids=str,
)  # fmt: skip
def test_parameters_of_the_classifier_out_of_range(options, message):
    with raises(message):
        small(MLPClassifier, **options).fit(X, CLASSES)
    with raises(r"loss=BinaryLogLoss.* must be .*a Loss whose link is 'softmax'"):
        small(MLPClassifier, loss=BinaryLogLoss()).fit(X, CLASSES)


@both
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_data_that_cannot_be_fitted(family, y):
    model = small(family)
    with raises("Input X contains NaN"):
        model.fit(np.where(X > 2, np.nan, X), y)
    with raises("contains NaN"):
        model.fit(X, np.where(np.arange(N) == 3, np.nan, y))
    with raises("Input X contains infinity"):
        model.fit(np.where(X > 2, np.inf, X), y)
    with raises("Complex data not supported"):
        model.fit(X + 1j, y)
    with raises("Complex data not supported"):
        model.fit(X, y + 1j)
    with raises("Complex data not supported"):
        model.fit(torch.from_numpy(X + 1j), y)
    with raises("Expected 2D array, got 1D"):
        model.fit(X[:, 0], y)
    with raises(r"minimum of 1 is required by MLP"):
        model.fit(X[:0], y[:0])
    with raises("inconsistent numbers of samples"):
        model.fit(X, y[:3])
    with raises("requires y to be passed, but the target y is None"):
        model.fit(X, None)
    assert not hasattr(model, "coefs_") and not hasattr(model, "classes_")


def test_targets_of_other_kinds():
    with raises("could not convert string to float: 'a'"):
        small().fit(X, np.array(["a"] * N, dtype=object))
    with raises("dim 3"):
        small().fit(X, Y.reshape(-1, 1, 1))
    for loss in ("poisson", Poisson()):
        with raises(r"loss=.* needs targets y >= 0, but the least is -"):
            small(loss=loss).fit(X, Y)
        with raises(r"loss=.* needs targets y >= 0"):
            small(loss=loss).partial_fit(X, Y)
        with raises(r"loss=.* needs y_val >= 0, but the least is -"):
            small(loss=loss).fit(X, abs(Y), X_val=X, y_val=Y)
    with raises("only one class"):
        small(MLPClassifier).fit(X, np.zeros(N))
    with raises("Unknown label type: continuous"):
        small(MLPClassifier).fit(X, 7 * Y)
    with raises(r"summing to one; row 0 sums to 1\.2"):
        small(MLPClassifier).fit(X, np.tile([0.3, 0.9], (N, 1)))
    with raises(r"class_weight='balanced' needs class labels.*sample_weight"):
        small(MLPClassifier, class_weight="balanced").fit(X, np.tile([0.3, 0.7], (N, 1)))


@both
def test_weights_that_cannot_be_used(family, y):
    for weight, message in [
        (-WEIGHT, "Negative values in data passed to `sample_weight`"),
        (np.zeros(N), r"at least one (row|non-zero)"),
        (WEIGHT * np.nan, "sample_weight contains NaN"),
        (WEIGHT[:3], r"sample_weight\.shape == \(3,\), expected \(120,\)"),
    ]:
        with raises(message):
            small(family).fit(X, y, weight)
        with raises(message):
            small(family).fit(X, y, X_val=X, y_val=y, sample_weight_val=weight)


@both
def test_validation_rows_that_cannot_be_used(family, y):
    model = small(family)
    with raises("X_val and y_val go together: pass both, or neither"):
        model.fit(X, y, X_val=X)
    with raises("X_val and y_val go together"):
        model.fit(X, y, y_val=y)
    with raises("sample_weight_val weighs the rows of X_val: pass X_val and y_val too"):
        model.fit(X, y, sample_weight_val=WEIGHT)
    with raises("X_val has 120 rows, but y_val has 5"):
        model.fit(X, y, X_val=X, y_val=y[:5])
    with raises("2 features, but MLP.* is expecting 3"):
        model.fit(X, y, X_val=X[:, :2], y_val=y)
    with raises("contains NaN"):
        model.fit(X, y, X_val=X * np.nan, y_val=y)
    with raises("nan|NaN"):
        model.fit(X, y, X_val=X, y_val=np.full(N, np.nan))
    assert "_held_out" not in vars(model)


def test_targets_of_validation_rows_that_cannot_be_used():
    with raises(r"y_val has 2 target\(s\), but y has 1"):
        small().fit(X, Y, X_val=X, y_val=np.c_[Y, Y])
    with raises(r"y_val holds the labels \[2\], which are not among the classes \[0, 1\] of y"):
        small(MLPClassifier).fit(X, BINARY, X_val=X, y_val=CLASSES)
    with raises(r"summing to one"):
        small(MLPClassifier).fit(X, BINARY, X_val=X, y_val=np.tile([0.3, 0.9], (N, 1)))
    with raises(r"y_val of shape \(120, 2\) does not fit the 3 classes"):
        small(MLPClassifier).fit(X, LABELS, X_val=X, y_val=LABELS[:, :2])


def test_class_weights_that_have_no_meaning():
    for class_weight in ("balanced", {0: 2.0}):
        with raises(r"class_weight=.* weighs rows by their class.*several labels.*sample_weight"):
            small(MLPClassifier, class_weight=class_weight).fit(X, LABELS)
    with raises(r'class_weight="balanced" needs the frequencies of all classes.*give a dict'):
        small(MLPClassifier, class_weight="balanced").partial_fit(X, BINARY, classes=[0, 1])
    model = small(MLPClassifier, class_weight={1: 2.0}).partial_fit(X, BINARY, classes=[0, 1])
    by_row = small(MLPClassifier).partial_fit(X, BINARY, 1.0 + BINARY, classes=[0, 1])
    assert_equal(model, by_row)


def test_partial_fit_with_labels_that_are_not_known():
    model = small(MLPClassifier)
    with raises("classes must be passed on the first call to partial_fit"):
        model.partial_fit(X, CLASSES)
    with raises(r"y holds the labels \[2\], which are not among the classes \[0, 1\]: pass all"):
        model.partial_fit(X, CLASSES, classes=[0, 1])
    model.partial_fit(X, BINARY, classes=[0, 1])
    before = model.predict(X)
    with raises(r"y holds the labels \[2\]"):
        model.partial_fit(X, CLASSES)
    with raises(r"classes=\[0, 1, 2\] differ from those of the first call .*\[0, 1\]"):
        model.partial_fit(X, BINARY, classes=[0, 1, 2])
    with raises("summing to one"):
        model.partial_fit(X, np.tile([0.3, 0.9], (N, 1)))
    np.testing.assert_array_equal(model.predict(X), before)
    # A batch may lack a class, and labels may be soft.
    model.partial_fit(X[BINARY == 0], BINARY[BINARY == 0])
    model.partial_fit(X, np.tile([0.3, 0.7], (N, 1)))
    labels = small(MLPClassifier).partial_fit(X, LABELS, classes=[0, 1, 2])
    with raises("y must hold 0 and 1 alone"):
        labels.partial_fit(X, 7 * LABELS)


@both
def test_partial_fit_that_has_no_meaning(family, y):
    first = {"classes": np.unique(y)} if family is MLPClassifier else {}
    with raises("partial_fit does not support early_stopping=True: set it to False, or call fit"):
        small(family, early_stopping=True).partial_fit(X, y, **first)
    for solver in ("lbfgs", "newton", "random_search"):
        with pytest.raises(AttributeError) as error:
            small(family, solver=solver).partial_fit(X, y, **first)
        reason = str(error.value.__cause__)
        assert f"solver={solver!r}" in reason and "choose one of" in reason
    with raises("2 features, but MLP.* is expecting 3"):
        small(family).partial_fit(X, y, **first).partial_fit(X[:, :2], y)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_survives_a_batch_that_diverges(solver):
    model = small(solver=solver).partial_fit(X, Y)
    before = model.predict(X)
    with pytest.raises(DivergenceError):
        model.partial_fit(1e200 * X, Y)
    np.testing.assert_array_equal(model.predict(X), before)
    # The memory of the optimizer, which is infinite or NaN, is forgotten.
    fresh = MLPRegressor.from_weights(
        model.coefs_, model.intercepts_, solver=solver, random_state=0, shuffle=False
    )
    model.set_params(shuffle=False).partial_fit(X, Y)
    assert_equal(model, fresh.partial_fit(X, Y))


@both
def test_networks_that_cannot_be_continued(family, y):
    model = fit(small(family, warm_start=True), X, y)
    before = model.predict(X)
    layers = r"cannot continue with layers of sizes \(3, 6, \d\).*{}.*set warm_start=False"
    for change in ({"hidden_layer_sizes": (5,)}, {"hidden_layer_sizes": (6, 6)}):
        with raises(layers.format(r"\(3, (5|6, 6), \d\)")):
            clone_of(model, **change).fit(X, y)
        with raises(layers.format(r"\(3, (5|6, 6), \d\)")):
            clone_of(model, **change).partial_fit(X, y)
    with raises(layers.format(r"\(2, 6, \d\)")):
        model.fit(X[:, :2], y)
    for one, other in itertools.permutations([None, "batch", "layer"], 2):
        net = fit(small(family, warm_start=True, normalization=one), X, y)
        with raises(rf"cannot continue with normalization={one!r} .*normalization={other!r}"):
            net.set_params(normalization=other).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)
    assert model.n_features_in_ == 3 and model.n_layers_ == 3


def clone_of(model, **changes):
    """A fitted copy with other parameters."""
    return pickle.loads(pickle.dumps(model)).set_params(**changes)


def test_targets_that_cannot_be_continued():
    model = fit(small(warm_start=True), X, Y)
    with raises(r"cannot continue with layers of sizes \(3, 6, 1\) .*\(3, 6, 2\)"):
        model.fit(X, np.c_[Y, Y])
    net = fit(small(MLPClassifier, warm_start=True), X, CLASSES)
    for y in (BINARY, np.array(["a", "b", "c"])[CLASSES], CLASSES + 1):
        with raises(r"warm_start=True goes on with the classes \[0, 1, 2\], but y holds .*keep"):
            net.fit(X, y)
    with raises("goes on with one label a row, but y holds several labels a row"):
        net.fit(X, LABELS)
    with raises(r"y of shape \(120, 2\) does not fit the 3 classes"):
        net.fit(X, np.tile([0.3, 0.7], (N, 1)))
    # Soft labels name no classes: they are those of the fit before.
    names = fit(small(MLPClassifier, warm_start=True), X, np.array(["a", "b", "c"])[CLASSES])
    fit(names, X, np.tile([0.2, 0.3, 0.5], (N, 1)))
    assert names.classes_.tolist() == ["a", "b", "c"]


def test_weights_that_do_not_fit_each_other():
    two, three = np.ones((2, 3)), np.ones((3, 1))
    for coefs, intercepts, message in [
        ([two], [], "from_weights got 1 coefs and 0 intercepts: give one of each"),
        ([], [], "from_weights got 0 coefs and 0 intercepts"),
        ([two, two], [np.zeros(3)] * 2, r"coefs\[1\] of shape \(2, 3\) .*expected \(3, k\)"),
        ([two, three], [np.zeros(2), [0.0]], r"coefs\[0\] .*intercepts\[0\] of shape \(2,\)"),
        ([np.ones(3), three], [np.zeros(3), [0.0]], r"coefs\[0\] of shape \(3,\)"),
    ]:
        with raises(message):
            MLPRegressor.from_weights(coefs, intercepts)
    with raises("classes are for MLPClassifier"):
        MLPRegressor.from_weights([three], [[0.0]], classes=[0, 1])
    with raises(r"classes=\[0, 1, 2\] must hold 2 different labels"):
        MLPClassifier.from_weights([three], [[0.0]], classes=[0, 1, 2])
    # Sorted silently, the columns would belong to other labels.
    with raises(r"classes=\['b', 'a'\] .*in ascending order: sort them, and the columns"):
        MLPClassifier.from_weights([three], [[0.0]], classes=["b", "a"])
    with raises(r"coefs\[-1\] of shape \(2, 3\) does not fit loss='gaussian'"):
        MLPRegressor.from_weights([two], [np.zeros(3)], loss="gaussian")
    with raises(r"'alpha' parameter"):
        MLPRegressor.from_weights([three], [[0.0]], alpha=-1.0)
    with raises(r"activation='foo'"):
        MLPRegressor.from_weights([two, three], [np.zeros(3), [0.0]], activation="foo")


@pytest.mark.parametrize("loss", ["squared_error", Huber(2.0)])
def test_deviations_that_no_loss_has_learnt(loss):
    with raises(r'return_std=True needs a loss .*which loss=.* does not: fit with loss="gaussian"'):
        fit(small(loss=loss), X, Y).predict(X, return_std=True)
