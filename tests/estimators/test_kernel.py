"""Kernel ridge regression: equal to its formula, to scikit-learn, and to ridge regression."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_regression
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import pairwise
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.estimators.callable_kernel import CallableKernel
from thetalearn import KernelRidgeRegressor, LinearRegressor
from thetalearn.exceptions import RankWarning
from thetalearn.representations.kernels import KERNELS, neural_tangent_kernel


def tensor_kernel(X, Y):
    return neural_tangent_kernel(X, Y, depth=2)


def two_rows(x, y):
    return float(np.sum(x * y.sum()))


X, Y = make_regression(40, 3, n_targets=2, noise=10.0, random_state=0)
Y = Y / 100
NEW = np.random.default_rng(1).normal(size=(7, 3))
WEIGHT = np.random.default_rng(2).uniform(0.1, 3, size=40)


@parametrize_with_checks(
    [KernelRidgeRegressor(kernel) for kernel in (*KERNELS, "precomputed", CallableKernel())]
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("y", [Y, Y[:, 0]], ids=["targets", "target"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"kernel": "linear"},
        {"kernel": "rbf"},
        {"kernel": "rbf", "gamma": 0.2},
        {"kernel": "laplacian", "gamma": 0.2},
        {"kernel": "polynomial", "degree": 2, "coef0": 0.5},
    ],
)
def test_equal_to_scikit_learn(parameters, weight, y):
    total = 40 if weight is None else weight.sum()
    ours = KernelRidgeRegressor(alpha=0.01, **parameters).fit(X, y, sample_weight=weight)
    theirs = KernelRidge(alpha=0.01 * total, **parameters).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(ours.dual_coef_, theirs.dual_coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.predict(NEW), theirs.predict(NEW), rtol=1e-9)
    assert ours.dual_coef_.shape == y.shape
    np.testing.assert_array_equal(ours.X_fit_, X)


@given(constant=st.floats(1e-3, 10), seed=st.integers(0, 99))
def test_the_dual_formula_of_the_textbook(constant, seed):
    # The objective is 1/2 sum (y - m)^2 + C |w|^2, with a given intercept b.
    rng = np.random.default_rng(seed)
    features, y, b = rng.normal(size=(12, 4)), rng.normal(size=12), rng.normal()
    gram = features @ features.T
    alpha = np.linalg.solve(gram + 2 * constant * np.eye(12), y - b)
    model = KernelRidgeRegressor("linear", alpha=2 * constant / 12).fit(features, y - b)
    np.testing.assert_allclose(model.dual_coef_, alpha, rtol=1e-8, atol=1e-10)
    w = features.T @ alpha
    gradient = -features.T @ (y - features @ w - b) + 2 * constant * w
    np.testing.assert_allclose(gradient, 0, atol=1e-8)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_the_linear_kernel_is_ridge_regression(weight):
    dual = KernelRidgeRegressor("linear", alpha=0.1).fit(X, Y, sample_weight=weight)
    primal = LinearRegressor(alpha=0.1, fit_intercept=False).fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(dual.predict(NEW), primal.predict(NEW), rtol=1e-10)
    np.testing.assert_allclose(dual.dual_coef_.T @ dual.X_fit_, primal.coef_, rtol=1e-10)


@pytest.mark.parametrize("kernel", ["rbf", "ntk", "polynomial"])
@pytest.mark.parametrize("alpha", [0.0, 0.05])
@given(counts=st.lists(st.integers(0, 3), min_size=8, max_size=8).filter(any), data=st.data())
def test_integer_weights_are_repeated_rows(kernel, alpha, counts, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    rows = np.repeat(np.arange(8), counts)
    model = KernelRidgeRegressor(kernel, alpha=alpha, gamma="scale")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)
        weighted = model.fit(x, y, sample_weight=counts).predict(x)
        repeated = model.fit(x[rows], y[rows]).predict(x)
    # Without a penalty the condition number of 8 near rows reaches 1e8.
    tol = 1e-9 if alpha else 1e-5
    np.testing.assert_allclose(weighted, repeated, rtol=tol, atol=tol)


@pytest.mark.parametrize("kernel", KERNELS)
def test_precomputed_and_callable_are_the_named_kernel(kernel):
    named = KernelRidgeRegressor(kernel, alpha=0.01, gamma=0.3, coef0=0.5, depth=2).fit(X, Y)

    def matrix(left, right):
        return named.kernel_(torch.from_numpy(left), torch.from_numpy(right))

    given_matrix = KernelRidgeRegressor("precomputed", alpha=0.01).fit(matrix(X, X), Y)
    called = KernelRidgeRegressor(matrix, alpha=0.01).fit(X, Y)
    expected = named.predict(NEW)
    np.testing.assert_allclose(given_matrix.predict(matrix(NEW, X)), expected, rtol=1e-9)
    np.testing.assert_allclose(called.predict(NEW), expected, rtol=1e-9)


def test_precomputed_rows_of_weight_zero_lose_their_columns():
    weight = np.where(np.arange(40) % 3 == 0, 0.0, WEIGHT)
    kept = weight > 0
    rbf = KernelRidgeRegressor("rbf").fit(X[kept], Y[kept], sample_weight=weight[kept])
    gram = pairwise.rbf_kernel(X)
    for sample_weight in (weight, torch.from_numpy(weight), list(weight)):
        model = KernelRidgeRegressor("precomputed").fit(gram, Y, sample_weight=sample_weight)
        np.testing.assert_allclose(
            model.predict(pairwise.rbf_kernel(NEW, X)), rbf.predict(NEW), rtol=1e-9
        )
    np.testing.assert_array_equal(model.X_fit_, np.flatnonzero(kept))


def test_a_precomputed_kernel_is_split_by_rows_and_columns():
    gram = pairwise.rbf_kernel(X)
    split = cross_val_predict(KernelRidgeRegressor("precomputed"), gram, Y, cv=4)
    np.testing.assert_allclose(split, cross_val_predict(KernelRidgeRegressor("rbf"), X, Y, cv=4))


def test_callables():
    expected = KernelRidgeRegressor("rbf", gamma=0.5).fit(X, Y).predict(NEW)
    model = KernelRidgeRegressor(pairwise.rbf_kernel, kernel_params={"gamma": 0.5}).fit(X, Y)
    np.testing.assert_allclose(model.predict(NEW), expected, rtol=1e-10)
    unpickled = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(unpickled.predict(NEW), model.predict(NEW))
    tensors = KernelRidgeRegressor(tensor_kernel).fit(X, Y).predict(torch.from_numpy(NEW))
    deep = KernelRidgeRegressor("ntk", gamma=1.0, coef0=0.0, depth=2).fit(X, Y).predict(NEW)
    np.testing.assert_allclose(tensors.numpy(), deep, rtol=1e-10)
    with pytest.raises(ValueError, match=r"goes through sklearn.metrics.pairwise.pairwise_kernels"):
        KernelRidgeRegressor(two_rows).fit(X, Y)


def test_without_penalty_it_interpolates():
    x = np.linspace(0, 1, 12)[:, None]
    y = np.sin(5 * x[:, 0])
    model = KernelRidgeRegressor("laplacian", alpha=0.0).fit(x, y)
    np.testing.assert_allclose(model.predict(x), y, atol=1e-12)
    assert model.rank_ == 12


def test_rows_that_repeat_give_the_solution_of_least_norm():
    x, y = np.array([[0.0], [0.0], [1.0]]), np.array([1.0, 3.0, 5.0])
    with pytest.warns(RankWarning, match="the 3 rows determine 2 dual coefficients"):
        model = KernelRidgeRegressor("rbf", alpha=0.0).fit(x, y)
    np.testing.assert_allclose(model.predict(x), [2.0, 2.0, 5.0])
    np.testing.assert_allclose(model.dual_coef_, np.linalg.pinv(pairwise.rbf_kernel(x)) @ y)
    assert model.rank_ == 2
    assert model.condition_number_ == np.inf


def test_a_smooth_kernel_without_penalty_stays_finite():
    # The Gaussian kernel of 200 points has a condition number beyond 1e16.
    x = np.linspace(-1, 1, 200)[:, None]
    with pytest.warns(RankWarning):
        model = KernelRidgeRegressor("rbf", alpha=0.0).fit(x, np.exp(x[:, 0]))
    assert model.rank_ < 30
    # Eigenvalues below 1e-13 of the largest are left out, and the error is of their square root.
    np.testing.assert_allclose(model.predict(x), np.exp(x[:, 0]), atol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 1e-4, 1e-8])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_condition_number(alpha, weight):
    model = KernelRidgeRegressor("rbf", alpha=alpha).fit(X, Y, sample_weight=weight)
    w = np.ones(40) if weight is None else weight
    gram = pairwise.rbf_kernel(X)
    exact = np.linalg.cond(np.sqrt(np.outer(w, w)) * gram + alpha * w.sum() * np.eye(40), 1)
    # LAPACK's estimate is a lower bound, rarely below a third.
    assert exact / 3 <= model.condition_number_ <= exact * (1 + 1e-6)


def test_prediction_in_blocks():
    many = np.random.default_rng(0).normal(size=(10_000, 3))
    model = KernelRidgeRegressor("rbf").fit(X, Y)
    whole = pairwise.rbf_kernel(many, X) @ model.dual_coef_
    np.testing.assert_allclose(model.predict(many), whole, rtol=1e-9, atol=1e-12)


def test_what_was_fitted_stays():
    x = X.copy()
    model = KernelRidgeRegressor("rbf").fit(x, Y)
    before = model.predict(NEW)
    x[:] = 0
    model.set_params(kernel="linear", gamma=9.0)
    np.testing.assert_array_equal(model.predict(NEW), before)


def test_gamma():
    for gamma, value in ((None, 1 / 3), ("scale", 1 / (3 * X.var(0).mean())), (0.2, 0.2)):
        model = KernelRidgeRegressor("rbf", gamma=gamma).fit(X, Y)
        fixed = KernelRidgeRegressor("rbf", gamma=value).fit(X, Y)
        np.testing.assert_allclose(model.predict(NEW), fixed.predict(NEW), rtol=1e-10)


def test_in_a_pipeline_and_a_grid():
    grid = [
        {"kernelridgeregressor__kernel": ["rbf", "ntk", "arccos1"]},
        {"kernelridgeregressor__kernel": ["polynomial"], "kernelridgeregressor__degree": [1, 2]},
    ]
    pipeline = make_pipeline(StandardScaler(), KernelRidgeRegressor())
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, Y)
    # The data are linear, up to noise.
    assert search.best_params_["kernelridgeregressor__kernel"] == "polynomial"
    assert search.best_score_ > 0.9


def test_bad_kernels_are_named():
    gram = pairwise.rbf_kernel(X)
    with pytest.raises(ValueError, match=r"square kernel matrix .* X has shape \(40, 39\)"):
        KernelRidgeRegressor("precomputed").fit(gram[:, 1:], Y)
    weight = np.r_[np.zeros(1), np.ones(39)]
    with pytest.raises(ValueError, match=r"square kernel matrix .* X has shape \(40, 39\)"):
        KernelRidgeRegressor("precomputed").fit(gram[:, 1:], Y, sample_weight=weight)
    with pytest.raises(
        ValueError, match="X has 39 features, but KernelRidgeRegressor is expecting"
    ):
        KernelRidgeRegressor("precomputed").fit(gram, Y).predict(gram[:, 1:])
    skew = gram.copy()
    skew[3, 5] += 0.1
    with pytest.raises(ValueError, match=r"not symmetric: entry \(3, 5\)"):
        KernelRidgeRegressor("precomputed").fit(skew, Y)
    with pytest.raises(ValueError, match="gives NaN or infinity on the training rows"):
        KernelRidgeRegressor("polynomial", degree=400).fit(1e3 * X, Y)
    with pytest.raises(ValueError, match="kernel='rbf' does not use them"):
        KernelRidgeRegressor("rbf", kernel_params={"gamma": 1.0}).fit(X, Y)
    with pytest.raises(ValueError, match=r"'kernel' parameter .* must be a str among"):
        KernelRidgeRegressor("gaussian").fit(X, Y)
    with pytest.raises(ValueError, match="'gamma' parameter"):
        KernelRidgeRegressor(gamma=-1.0).fit(X, Y)


def test_a_distance_is_not_a_kernel():
    distances = pairwise.euclidean_distances(X)
    with pytest.warns(UserWarning, match="not positive semi-definite .*: its largest entry is off"):
        KernelRidgeRegressor("precomputed").fit(distances, Y)
    hidden = distances + distances.max() * np.eye(40)
    with pytest.warns(UserWarning, match="negative eigenvalues are left out"):
        KernelRidgeRegressor("precomputed").fit(hidden, Y)


def test_one_row():
    model = KernelRidgeRegressor("rbf", alpha=1.0).fit([[2.0]], [3.0])
    np.testing.assert_allclose(model.predict([[2.0]]), [1.5])
