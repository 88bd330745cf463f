"""The bases as transformers: equal to their basis, and at home in pipelines."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_moons
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from thetalearn import (
    BSplineFeatures,
    BSplineRegressor,
    ChebyshevFeatures,
    ChebyshevRegressor,
    LinearRegressor,
    LogisticClassifier,
    PolynomialFeatures,
    PolynomialRegressor,
    RandomFeatureRegressor,
    RandomFeatures,
    ReLUFeatures,
    ReLURegressor,
    SoftmaxClassifier,
)
from thetalearn.exceptions import DomainError

# Each transformer with the regressor on the same basis.
PAIRS = {
    "polynomial": (PolynomialFeatures(3), PolynomialRegressor(3)),
    "chebyshev": (
        ChebyshevFeatures(4, product="hyperbolic", extrapolation="clip"),
        ChebyshevRegressor(4, product="hyperbolic", extrapolation="clip"),
    ),
    "spline sum": (
        BSplineFeatures(3, 2, placement="quantile"),
        BSplineRegressor(3, 2, placement="quantile"),
    ),
    "spline product": (
        BSplineFeatures(1, 2, kinks=[0.1], product="tensor", domain=(-2, 2)),
        BSplineRegressor(1, 2, kinks=[0.1], product="tensor", domain=(-2, 2)),
    ),
    "relu": (ReLUFeatures(4), ReLURegressor(4)),
    "random": (
        RandomFeatures(20, random_state=0),
        RandomFeatureRegressor(20, random_state=0),
    ),
}
every = pytest.mark.parametrize("features, regressor", PAIRS.values(), ids=PAIRS.keys())


def data(seed=0, n=100):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.9, 1.9, (n, 2))
    return x, np.sin(2 * x[:, 0]) + x[:, 1] ** 2 + 0.1 * rng.normal(size=n)


def dense(values):
    return values.to_dense().numpy() if values.is_sparse else values.numpy()


@every
@pytest.mark.parametrize("include_bias", [False, True])
def test_columns_are_the_functions_of_the_basis(features, regressor, include_bias):
    x, y = data()
    features = clone(features).set_params(include_bias=include_bias).fit(x)
    assert features.basis_ == clone(regressor).fit(x, y).basis_
    new = 1.2 * data(1)[0]  # also outside the domain
    expected = dense(features.basis_(torch.from_numpy(new)))[:, 0 if include_bias else 1 :]
    columns = features.transform(new)
    np.testing.assert_array_equal(columns, expected)
    names = features.get_feature_names_out()
    assert len(names) == columns.shape[1] and names.dtype == object
    np.testing.assert_array_equal(features.fit_transform(x), features.fit(x).transform(x))


@every
def test_linear_regression_on_the_features_is_the_regressor(features, regressor):
    x, y = data()
    regressor = clone(regressor).set_params(alpha=0.0).fit(x, y)
    pipeline = make_pipeline(clone(features), LinearRegression()).fit(x, y)
    new = data(1)[0]
    # The same span; rounding times condition numbers of at most a few thousand, squared.
    np.testing.assert_allclose(pipeline.predict(new), regressor.predict(new), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["polynomial", "chebyshev", "relu", "random"])
def test_ridge_on_the_features_is_the_penalised_regressor(name):
    features, regressor = PAIRS[name]
    x, y = data()
    regressor = clone(regressor).set_params(alpha=0.02).fit(x, y)
    pipeline = make_pipeline(clone(features), Ridge(alpha=0.02 * len(x))).fit(x, y)
    new = data(1)[0]
    # Well conditioned by the penalty.
    np.testing.assert_allclose(pipeline.predict(new), regressor.predict(new), rtol=0, atol=1e-10)
    ours = make_pipeline(clone(features), LinearRegressor(alpha=0.02)).fit(x, y)
    np.testing.assert_allclose(ours.predict(new), regressor.predict(new), rtol=0, atol=1e-10)


@every
@pytest.mark.parametrize("classifier", [LogisticClassifier, SoftmaxClassifier])
def test_classifiers_bend_their_boundaries(features, regressor, classifier):
    x, y = make_moons(200, noise=0.1, random_state=0)
    x = x - x.mean(0)
    straight = classifier(alpha=1e-3).fit(x, y).score(x, y)
    pipeline = make_pipeline(clone(features), classifier(alpha=1e-3)).fit(x, y)
    assert straight < 0.9 < 0.92 < pipeline.score(x, y)
    probability = pipeline.predict_proba(x)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-14)  # one division
    assert pipeline[:-1].get_feature_names_out().shape == (pipeline[-1].coef_.shape[1],)


def test_grid_search_over_bases():
    x, y = data()
    pipeline = make_pipeline(ChebyshevFeatures(), Ridge(alpha=1e-3))
    grid = [
        {"chebyshevfeatures__degree": [1, 2, 6]},
        {"chebyshevfeatures": [BSplineFeatures(5), ReLUFeatures(5)]},
    ]
    search = GridSearchCV(pipeline, grid, cv=3).fit(x, y)
    assert search.best_score_ > 0.9
    assert search.cv_results_["mean_test_score"][0] < 0.5  # a plane does not do


# ------------------------------------------------------------------ names and frames


@every
def test_frames_in_and_out(features, regressor):
    x, _ = data()
    frame = pd.DataFrame(x, columns=["age", "income"], index=np.arange(100) + 7)
    plain = clone(features).fit(frame)
    values = plain.transform(frame)
    out = clone(features).set_output(transform="pandas").fit_transform(frame)
    assert isinstance(out, pd.DataFrame)
    assert list(out.columns) == list(plain.get_feature_names_out())
    assert out.index.equals(frame.index)
    np.testing.assert_array_equal(out.to_numpy(), values)
    with pytest.raises(ValueError, match="feature names"):
        plain.transform(frame[["income", "age"]])


def test_names_say_what_a_column_is():
    x = pd.DataFrame(data()[0], columns=["a", "b"])
    assert PolynomialFeatures(2).fit(x).get_feature_names_out().tolist() == [
        "b",
        "a",
        "b^2",
        "a b",
        "a^2",
    ]
    chebyshev = ChebyshevFeatures(1, product="tensor", include_bias=True).fit(x)
    assert chebyshev.get_feature_names_out().tolist() == ["1", "T1(b)", "T1(a)", "T1(a) T1(b)"]
    splines = BSplineFeatures(1, 1).fit(x)
    assert splines.get_feature_names_out().tolist() == ["B1(a)", "B2(a)", "B1(b)", "B2(b)"]
    relus = ReLUFeatures([[0.5], []]).fit(x)
    assert relus.get_feature_names_out().tolist() == ["relu(a-0.5)"]
    random = RandomFeatures(2, random_state=0).fit(x.to_numpy())
    assert random.get_feature_names_out(["p", "q"]).tolist() == ["cos0", "cos1"]
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        splines.get_feature_names_out(["p", "q"])


# ------------------------------------------------------------------ sparse output, types


@pytest.mark.parametrize("product", ["additive", "tensor"])
@pytest.mark.parametrize("include_bias", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse_output_holds_the_same_numbers(product, include_bias, dtype):
    x, y = data()
    x = x.astype(dtype)
    features = BSplineFeatures(20, 2, product=product, include_bias=include_bias).fit(x)
    full = features.transform(x)
    sparse = features.set_params(sparse_output=True).transform(x)
    assert isinstance(sparse, sp.csr_array) and sparse.dtype == full.dtype == dtype
    np.testing.assert_array_equal(sparse.toarray(), full)
    # At most degree + 1 numbers for each input, or their products; one more for the constant.
    assert sparse.nnz <= 100 * (1 + 2 * 3 if product == "additive" else 9)
    assert sparse.nnz < full.size / 5
    pipeline = make_pipeline(features, Ridge(alpha=1e-3)).fit(x, y)
    dense_pipeline = make_pipeline(clone(features).set_params(sparse_output=False), Ridge(1e-3))
    # scikit-learn solves the sparse problem by conjugate gradients, to a tolerance of 1e-4.
    np.testing.assert_allclose(
        pipeline.predict(x), dense_pipeline.fit(x, y).predict(x), rtol=0, atol=1e-2
    )


def test_sparse_columns_feed_our_own_models():
    x, y = data()
    features = BSplineFeatures(5, sparse_output=True)
    ours = make_pipeline(features, LinearRegressor(alpha=1e-3)).fit(x, y)
    full = make_pipeline(BSplineFeatures(5), LinearRegressor(alpha=1e-3)).fit(x, y)
    np.testing.assert_allclose(ours.predict(x), full.predict(x), rtol=0, atol=1e-12)
    labels = (y > y.mean()).astype(int)
    sparse = make_pipeline(features, LogisticClassifier()).fit(x, labels)
    full = make_pipeline(BSplineFeatures(5), LogisticClassifier()).fit(x, labels)
    # The same objective, block by block, to the solver's tolerance.
    np.testing.assert_allclose(sparse.predict_proba(x), full.predict_proba(x), rtol=0, atol=1e-6)


@every
def test_precision_and_type_follow_the_input(features, regressor):
    x, _ = data()
    features = clone(features).fit(x)
    double = features.transform(x)
    assert double.dtype == np.float64
    tensor = features.transform(torch.from_numpy(x))
    assert torch.is_tensor(tensor) and tensor.dtype == torch.float64
    np.testing.assert_array_equal(tensor, double)
    single = features.transform(x.astype(np.float32))
    assert single.dtype == np.float32
    # float32 in is known to 6e-8, against slopes and values of at most a hundred.
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-4)


# ------------------------------------------------------------------ weights, domain, randomness


@pytest.mark.parametrize(
    "features",
    [
        BSplineFeatures(4, placement="quantile"),
        ReLUFeatures(4, placement="quantile"),
        RandomFeatures(5, random_state=0),
        ChebyshevFeatures(3),
    ],
)
def test_integer_weights_are_repeated_rows(features):
    x, _ = data()
    times = np.random.default_rng(0).integers(0, 4, 100)
    weighted = clone(features).fit(x, sample_weight=times)
    repeated = clone(features).fit(np.repeat(x, times, 0))
    new = data(1)[0]
    # Quantiles and ranges are data points; the scale is a sum in another order.
    np.testing.assert_allclose(weighted.transform(new), repeated.transform(new), rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", [ChebyshevFeatures, BSplineFeatures])
def test_the_policy_error_names_the_column(family):
    x = pd.DataFrame(data()[0], columns=["age", "income"])
    features = family(extrapolation="error", domain=(-2, 2)).fit(x)
    features.transform(x)
    with pytest.raises(DomainError, match=r"'income' holds 5 .*outside the domain"):
        features.transform(pd.DataFrame([[0.0, 5.0]], columns=["age", "income"]))


def test_random_features_approximate_their_kernel():
    x, _ = data(n=30)
    values = RandomFeatures(20_000, gamma=0.7, random_state=0).fit_transform(x)
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    # Six standard errors of a mean of 20000 products bounded by two.
    np.testing.assert_allclose(values @ values.T, np.exp(-0.7 * squares), rtol=0, atol=0.05)
    scale = RandomFeatures(5, random_state=0).fit(x)
    same = RandomFeatures(5, gamma=1 / (2 * x.var(0).mean()), random_state=0).fit(x)
    np.testing.assert_allclose(scale.transform(x), same.transform(x), rtol=0, atol=1e-12)


def test_real_data_through_a_pipeline_of_frames():
    frame, y = load_diabetes(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(BSplineFeatures(2, extrapolation="clip"), Ridge(1e-2))
    pipeline.set_output(transform="pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = pipeline.fit(frame, y).score(frame, y)
    assert score > LinearRegression().fit(frame, y).score(frame, y)
