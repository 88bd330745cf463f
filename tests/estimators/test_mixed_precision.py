"""Networks trained with products in bfloat16: the same trainings, but for the rounding."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

from thetalearn import MLPClassifier, MLPRegressor
from thetalearn.representations.networks.activations import ACTIVATIONS
from thetalearn.testing import parametrize_with_contract

pytestmark = pytest.mark.filterwarnings("ignore::thetalearn.exceptions.ConvergenceWarning")

#: 8 bits: a number is rounded by half of this share of it, at most.
EPS = torch.finfo(torch.bfloat16).eps

_rng = np.random.default_rng(0)
X = _rng.normal(size=(120, 5))
Y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
LABELS = np.digitize(Y, [-0.5, 0.5])
WEIGHT = _rng.integers(0, 3, len(X))

OPTIONS = {
    "hidden_layer_sizes": (16, 16),
    "batch_size": 30,
    "learning_rate_init": 0.005,
    "max_iter": 20,
    "random_state": 0,
    "dtype": "float32",
}
KINDS = {"regressor": (MLPRegressor, Y), "classifier": (MLPClassifier, LABELS)}
both_kinds = pytest.mark.parametrize(("cls", "y"), KINDS.values(), ids=KINDS)

NETWORKS = {
    "plain": {},
    "batch": {"normalization": "batch"},
    "layer": {"normalization": "layer", "activation": "tanh"},
    "dropout": {"dropout": [0.1, 0.4], "input_dropout": 0.2},
    "residual": {"residual": True, "dropout": 0.2, "activation": "silu"},
    "penalised": {"alpha": 0.1, "l1_ratio": 0.5, "solver": "sgd", "average": True},
}
networks = pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)


def assert_nearly_equal(curve, other):
    # Numbers are rounded by EPS / 2 of their size: inputs, weights and results of three layers. The
    # errors of outputs are in proportion to the targets, hence those of a loss to what it was.
    np.testing.assert_allclose(curve, other, rtol=0, atol=2 * EPS * other[0])


def pair(cls, y, sample_weight=None, **options):
    """One fit with and one without mixed precision."""
    return [
        cls(**OPTIONS | options, amp=amp).fit(X, y, sample_weight=sample_weight)
        for amp in (True, False)
    ]


@both_kinds
@networks
@pytest.mark.parametrize("weighted", [False, True])
def test_reaches_nearly_the_same_loss(cls, y, options, weighted):
    mixed, single = pair(cls, y, WEIGHT if weighted else None, **options)
    assert_nearly_equal(mixed.loss_curve_, single.loss_curve_)
    assert mixed.loss_curve_ != single.loss_curve_
    for name in ("coefs_", "intercepts_"):
        for one, other in zip(getattr(mixed, name), getattr(single, name), strict=True):
            assert (one.shape, one.dtype) == (other.shape, np.float32)
    assert hasattr(mixed, "norms_") == hasattr(single, "norms_")


@networks
def test_starts_from_the_same_draws(options):
    # Steps too short to be seen in single precision.
    step = {"learning_rate_init": 1e-30, "max_iter": 1, "solver": "sgd"}
    mixed, single = pair(MLPRegressor, Y, **options | step)
    for one, other in zip(mixed.coefs_, single.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(mixed.intercepts_, single.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_knows_every_activation(activation):
    mixed, single = pair(MLPRegressor, Y, activation=activation, max_iter=5)
    assert_nearly_equal(mixed.loss_curve_, single.loss_curve_)


def test_an_integer_weight_repeats_a_row():
    # In batches of all rows, so that the trainings differ by rounding alone.
    options = OPTIONS | {"normalization": "batch", "batch_size": 2 * len(X), "amp": True}
    repeated = np.repeat(np.arange(len(X)), WEIGHT)
    with pytest.warns(UserWarning, match="batch_size"):
        one = MLPRegressor(**options).fit(X, Y, sample_weight=WEIGHT)
        other = MLPRegressor(**options).fit(X[repeated], Y[repeated])
    assert_nearly_equal(one.loss_curve_, other.loss_curve_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_parameters_are_in_single_precision(dtype, make):
    options = {**OPTIONS, "dtype": "auto", "max_iter": 2}
    data = make(X.astype(dtype))
    model = MLPRegressor(**options, amp=True, warm_start=True).fit(data, Y)
    assert {coef.dtype for coef in model.coefs_} == {np.dtype(np.float32)}
    assert model.predict(data).dtype == dtype
    # Whether a fit starts from scratch, from what another precision has left, or from a batch.
    model = MLPRegressor(**options, warm_start=True).fit(data, Y).set_params(amp=True)
    assert {coef.dtype for coef in model.fit(data, Y).coefs_} == {np.dtype(np.float32)}
    model = MLPRegressor(**options).partial_fit(data, Y).set_params(amp=True)
    assert {coef.dtype for coef in model.partial_fit(data, Y).coefs_} == {np.dtype(np.float32)}


@both_kinds
def test_validates_without_rounding(cls, y):
    model = cls(**OPTIONS, amp=True, early_stopping=True).fit(X, y)
    assert model.best_validation_score_ == max(model.validation_scores_)
    held_out = cls(**OPTIONS, amp=True).fit(X, y, X_val=X[:40], y_val=y[:40])
    # Sums of 40 rows in another order.
    assert held_out.history_[-1]["validation_score"] == pytest.approx(
        held_out.score(X[:40], y[:40]), rel=1e-5
    )


@both_kinds
def test_refuses_double_precision(cls, y):
    with pytest.raises(ValueError, match=r"amp=True keeps.*dtype='float64'.*dtype=\"auto\""):
        cls(**OPTIONS | {"dtype": "float64"}, amp=True).fit(X, y)


#: Checks with a tolerance of 1e-7, which is below the rounding of products and of parameters.
EXACT = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
    "check_methods_subset_invariance",
}

QUICK = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.02, "max_iter": 60, "amp": True}


@parametrize_with_checks([MLPRegressor(**QUICK), MLPClassifier(**QUICK)])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    if check.func.__name__ in EXACT:
        pytest.skip("holds in double precision")
    check(estimator)


@parametrize_with_contract([MLPRegressor(**QUICK), MLPClassifier(**QUICK)])
@pytest.mark.filterwarnings("ignore")
def test_contract(estimator, check):
    check(estimator)
