"""Bad input fails early, and the message names the parameter or column, the value, the remedy."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

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
from thetalearn.exceptions import DomainError, RankWarning

REGRESSORS = [
    LinearRegressor(),
    PolynomialRegressor(),
    ChebyshevRegressor(),
    BSplineRegressor(2),
    ReLURegressor(2),
    RandomFeatureRegressor(5, random_state=0),
]
CLASSIFIERS = [LogisticClassifier(), SoftmaxClassifier()]
TRANSFORMERS = [
    PolynomialFeatures(),
    ChebyshevFeatures(),
    BSplineFeatures(2),
    ReLUFeatures(2),
    RandomFeatures(5, random_state=0),
]
EVERY = REGRESSORS + CLASSIFIERS + TRANSFORMERS


def name_of(model):
    return type(model).__name__


every = pytest.mark.parametrize("model", EVERY, ids=name_of)
every_supervised = pytest.mark.parametrize("model", REGRESSORS + CLASSIFIERS, ids=name_of)
every_regressor = pytest.mark.parametrize("model", REGRESSORS, ids=name_of)
every_classifier = pytest.mark.parametrize("model", CLASSIFIERS, ids=name_of)
as_array_or_tensor = pytest.mark.parametrize("kind", [np.asarray, torch.tensor])


def rows(n=40, d=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, d)), rng.integers(0, 2, n)


def says(error, *parts):
    """Expects an error whose message holds all the parts."""
    pattern = "".join(f"(?=.*{re.escape(part)})" for part in parts)
    return pytest.raises(error, match=f"(?s){pattern}")


def predict(model, x):
    return (model.predict if hasattr(model, "predict") else model.transform)(x)


# ------------------------------------------------------------------ values


@every
@pytest.mark.parametrize(
    "bad, word", [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")]
)
@as_array_or_tensor
def test_values_that_are_not_finite(model, bad, word, kind):
    x, y = rows()
    spoilt = x.copy()
    spoilt[3, 1] = bad
    with says(ValueError, "Input X contains", word):
        clone(model).fit(kind(spoilt), y)
    fitted = clone(model).fit(x, y)
    with says(ValueError, "Input X contains", word):
        predict(fitted, kind(spoilt))


@every_regressor
@pytest.mark.parametrize("bad, word", [(np.nan, "NaN"), (np.inf, "infinity")])
@as_array_or_tensor
def test_targets_that_are_not_finite(model, bad, word, kind):
    x, y = rows()
    y = y.astype(float)
    y[3] = bad
    with says(ValueError, "Input y contains", word):
        clone(model).fit(kind(x), kind(y))


@every_classifier
def test_labels_that_are_not_finite(model):
    x, y = rows()
    y = y.astype(float)
    y[3] = np.nan
    with says(ValueError, "Input", "contains NaN"):
        clone(model).fit(x, y)


@every
def test_strings(model):
    x, y = rows()
    with says(ValueError, "could not convert string to float", "'low'"):
        clone(model).fit(np.full(x.shape, "low"), y)
    frame = pd.DataFrame({"age": x[:, 0], "group": ["low"] * 40})
    with says(ValueError, "could not convert string to float", "'low'"):
        clone(model).fit(frame, y)


@every_regressor
def test_strings_as_targets(model):
    x, _ = rows()
    with says(ValueError, "could not convert string to float", "yes"):
        clone(model).fit(x, ["yes"] * 40)


@every
@as_array_or_tensor
def test_complex_numbers(model, kind):
    x, y = rows()
    with says(ValueError, "Complex data not supported"):
        clone(model).fit(kind(x + 1j), y)


# ------------------------------------------------------------------ shapes


@every
@as_array_or_tensor
@pytest.mark.parametrize("shape, what", [((0, 2), "0 sample(s)"), ((5, 0), "0 feature(s)")])
def test_empty(model, kind, shape, what):
    with says(ValueError, what, "minimum of"):
        clone(model).fit(kind(np.zeros(shape)), np.zeros(shape[0]))


@every
@as_array_or_tensor
def test_one_column_that_is_flat(model, kind):
    x, y = rows()
    with says(ValueError, "Expected 2D array, got 1D", "eshape"):
        clone(model).fit(kind(x[:, 0]), y)


@every
@as_array_or_tensor
def test_wrong_number_of_features(model, kind):
    x, y = rows()
    fitted = clone(model).fit(x, y)
    with says(ValueError, "X has 3 features", name_of(model), "expecting 2 features"):
        predict(fitted, kind(np.zeros((4, 3))))


@every_supervised
@as_array_or_tensor
def test_lengths_that_differ(model, kind):
    x, y = rows()
    with says(ValueError, "inconsistent numbers of samples", "40", "7"):
        clone(model).fit(kind(x), y[:7])


@every_supervised
def test_no_targets(model):
    x, _ = rows()
    with says(ValueError, name_of(model), "requires y"):
        clone(model).fit(x, None)


@every_regressor
def test_targets_of_three_dimensions(model):
    x, _ = rows()
    for kind in (np.asarray, torch.tensor):
        with says(ValueError, "dim"):
            clone(model).fit(kind(x), np.zeros((40, 2, 2)))


def test_another_number_of_targets_while_streaming():
    x, y = rows()
    model = LinearRegressor().partial_fit(x, y)
    with says(ValueError, "y has 2 target(s)", "fitted with 1"):
        model.partial_fit(x, np.c_[y, y])


@pytest.mark.parametrize("model", [ChebyshevRegressor(), BSplineRegressor(), ChebyshevFeatures()])
def test_sparse_rows_where_bases_are_dense(model):
    x, y = rows()
    with says(TypeError, "Sparse data was passed", "toarray"):
        model.fit(sp.csr_array(x), y)


# ------------------------------------------------------------------ too little data


@pytest.mark.parametrize(
    "model",
    [ChebyshevRegressor(), BSplineRegressor(), ReLURegressor(), ChebyshevFeatures()],
    ids=name_of,
)
def test_one_sample_has_no_domain(model):
    frame = pd.DataFrame({"age": [3.5]})
    with says(DomainError, "'age'", "3.5", "n_samples=1", "zero width", "domain="):
        model.fit(frame, [1.0])


@pytest.mark.parametrize(
    "model", [LinearRegressor(), PolynomialRegressor(2), BSplineRegressor(2, domain=(0, 9))]
)
def test_one_sample_leaves_coefficients_open(model):
    with pytest.warns(RankWarning, match="1 rows determine 1.*more rows, or alpha > 0"):
        model.fit([[3.5]], [2.0])
    np.testing.assert_allclose(model.predict([[3.5]]), 2.0, rtol=1e-12)  # rounding


@pytest.mark.parametrize(
    "model",
    [ChebyshevRegressor(), BSplineRegressor(), ReLURegressor(), BSplineFeatures()],
    ids=name_of,
)
def test_constant_column(model):
    x, y = rows()
    frame = pd.DataFrame({"age": x[:, 0], "country": np.full(40, 7.0)})
    with says(DomainError, "'country'", "constant (7)", "drop the column", "domain="):
        model.fit(frame, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)  # the column stays constant
        model.set_params(domain=[(-1, 1), (6, 8)]).fit(frame, y)  # the remedy


@every_classifier
@as_array_or_tensor
def test_one_class(model, kind):
    x, _ = rows()
    with says(ValueError, name_of(model), "at least 2 classes", "only one class", "1"):
        clone(model).fit(kind(x), np.ones(40, dtype=int))


@every_classifier
def test_one_class_of_positive_weight(model):
    x, y = rows()
    with says(ValueError, "at least 2 classes", "only one class"):
        clone(model).fit(x, y, sample_weight=y)


def test_more_coefficients_than_rows():
    x, y = rows(n=12, d=1)
    model = ChebyshevRegressor(30)
    with pytest.warns(RankWarning) as caught:
        model.fit(x, y)
    (warning,) = caught
    for part in ("ChebyshevRegressor", "31 coefficients", "12 rows determine 12", "least norm"):
        assert part in str(warning.message)
    for remedy in ("fewer terms", "more rows", "alpha > 0"):
        assert remedy in str(warning.message)
    assert model.rank_ == 12
    assert model.condition_number_ == np.inf
    design = model.basis_(torch.from_numpy(x)).numpy()
    # Least norm of all coefficients but the constant's, which interpolates.
    slopes = np.linalg.pinv(design[:, 1:] - design[:, 1:].mean(0)) @ (y - y.mean())
    np.testing.assert_allclose(model.coef_[1:], slopes, rtol=0, atol=1e-10)
    np.testing.assert_allclose(model.predict(x), y, rtol=0, atol=1e-10)


# ------------------------------------------------------------------ domains, knots, degrees


def test_x_outside_the_domain_when_fitting():
    x, y = rows()
    frame = pd.DataFrame(x, columns=["age", "income"])
    frame.loc[5, "income"] = 4.25
    for model in (ChebyshevRegressor(domain=(-1, 1)), BSplineRegressor(domain=(-1, 1))):
        with says(DomainError, "'income'", "4.25", "row 5", "[-1, 1]", "wider domain", "drop"):
            model.fit(frame, y)


def test_x_outside_the_domain_when_predicting():
    x, y = rows()
    for family in (ChebyshevRegressor, BSplineRegressor):
        model = family(domain=(-1, 1), extrapolation="error").fit(x, y)
        for method in (model.predict, model.gradient):
            with says(DomainError, "'x1'", "1.5", "row 2", "[-1, 1]", "domain=", '"clip"'):
                method([[0, 0], [1, 1], [0, 1.5]])


@pytest.mark.parametrize(
    "domain, parts",
    [
        ((0, 1, 2), ("(0, 1, 2)", "(low, high)", "2 columns")),
        ([(0, 1)] * 3, ("(low, high)", "2 columns")),
        ((5, -5), ("(5, -5)", "lower before the higher")),
        ((-1, np.nan), ("nan", "finite")),
        ((-1, np.inf), ("inf", "finite")),
        ((1, 1), ("(1, 1)", "lower before the higher")),
        ("ab", ("'ab'", "array-like")),
    ],
)
def test_domains_that_are_none(domain, parts):
    x, y = rows()
    for family in (ChebyshevRegressor, BSplineRegressor, ReLURegressor, ChebyshevFeatures):
        with says(ValueError, "domain", *parts):
            family(domain=domain).fit(x, y)


def test_knots_outside_the_domain():
    x, y = rows()
    frame = pd.DataFrame(x, columns=["age", "income"])
    with says(ValueError, "'income'", "knots=[1.5]", "(-1, 1)", "interior knots", "wider domain"):
        BSplineRegressor([[0.0], [0.0, 1.5]], domain=(-1, 1)).fit(frame, y)
    with says(ValueError, "'age'", "9.0", "(-1, 1)"):
        BSplineRegressor(kinks=[9.0], domain=(-1, 1)).fit(frame, y)


@pytest.mark.parametrize(
    "parameters, parts",
    [
        ({"knots": [0.1] * 6}, ("0.1", "repeated 6 times", "degree 3", "at most 4")),
        ({"knots": [np.nan]}, ("knots", "nan", "finite")),
        ({"knots": [[0.1], [0.2], [0.3]]}, ("knots", "3 columns", "X has 2")),
        ({"kinks": [[0.1], [0.2], [0.3]]}, ("kinks", "3 columns", "X has 2")),
        ({"knots": "many"}, ("'knots'", "'many'", "int", "array-like")),
        ({"knots": -1}, ("'knots'", "-1")),
    ],
)
def test_impossible_knots(parameters, parts):
    x, y = rows()
    for family in (BSplineRegressor, BSplineFeatures):
        with says(ValueError, *parts):
            family(**parameters).fit(x, y)


def test_impossible_shifts():
    x, y = rows()
    with says(ValueError, "shifts", "strictly increasing"):
        ReLURegressor([0.5, 0.1]).fit(x, y)
    with says(ValueError, "shifts", "3 columns", "X has 2"):
        ReLURegressor([[0.1], [0.2], [0.3]]).fit(x, y)


@pytest.mark.parametrize(
    "model, parts",
    [
        (ChebyshevRegressor(10**6), ("terms, more than the 20000", "lower the degree")),
        (ChebyshevRegressor(300, product="tensor"), ("tensor product has 90601 terms", "additive")),
        (PolynomialRegressor(10**6), ("terms, more than the 20000", "lower the degree")),
        (PolynomialFeatures(10**6), ("terms, more than the 20000", "lower the degree")),
        (BSplineRegressor(degree=10**6), ("'degree'", "[0, 50]", "1000000")),
        (BSplineFeatures(degree=10**6), ("'degree'", "[0, 50]", "1000000")),
        (BSplineRegressor(500, product="tensor"), ("terms", "fewer knots", 'product="additive"')),
        (ReLURegressor(500, product="tensor"), ("tensor product has 251001 terms", "additive")),
    ],
    ids=lambda value: name_of(value) if hasattr(value, "fit") else "",
)
def test_huge_degrees_and_products(model, parts):
    x, y = rows()
    with says(ValueError, *parts):
        model.fit(x, y)


@pytest.mark.parametrize("family", [ChebyshevRegressor, PolynomialFeatures])
def test_a_degree_too_low_for_a_sparse_grid(family):
    x, y = rows()
    with says(ValueError, "degree=1", "at least 2", "another product"):
        family(1, product="smolyak").fit(x, y)


def test_splines_may_have_many_knots_where_rows_or_a_penalty_determine_them():
    x, y = rows(d=1)
    with says(ValueError, "30004 coefficients", "20000", "alpha > 0", "fewer terms"):
        BSplineRegressor(30_000).fit(x, y)
    assert np.isfinite(BSplineRegressor(30_000, alpha=1e-6).fit(x, y).predict(x)).all()


def test_powers_too_large_for_a_float():
    x, y = rows(d=1)
    with says(ValueError, "PolynomialRegressor", "scale the columns", "lower the degree"):
        PolynomialRegressor(200).fit(1e6 * x, y)
    # The state before an update that overflows survives it.
    model = PolynomialRegressor(8).fit(x, y)
    before = model.predict(x)
    with says(ValueError, "scale the columns"):
        model.partial_fit(1e200 * x, y)
    np.testing.assert_array_equal(model.predict(x), before)
    assert model.n_samples_seen_ == 40
    # Chebyshev polynomials are at most one.
    assert np.isfinite(ChebyshevRegressor(30).fit(1e6 * x, y).predict(1e6 * x)).all()


@pytest.mark.parametrize("order", [1, [1], [2, -1], [0.5, 1]])
def test_orders_of_differentiation(order):
    x, y = rows()
    with says(ValueError, f"order={order!r}", "non-negative int", "2 inputs"):
        ChebyshevRegressor().fit(x, y).derivative(x, order)


# ------------------------------------------------------------------ weights


@every
def test_negative_weights(model):
    x, y = rows()
    with says(ValueError, "Negative values", "sample_weight"):
        clone(model).fit(x, y, sample_weight=np.linspace(-1, 1, 40))


@every
def test_weights_that_sum_to_zero(model):
    x, y = rows()
    with says(ValueError, "weight", "at least one"):
        clone(model).fit(x, y, sample_weight=np.zeros(40))


@every
@pytest.mark.parametrize("weight, part", [(np.full(40, np.nan), "NaN"), (np.ones(7), "(7,)")])
def test_weights_of_the_wrong_kind(model, weight, part):
    x, y = rows()
    with says(ValueError, "sample_weight", part):
        clone(model).fit(x, y, sample_weight=weight)


@every_classifier
@pytest.mark.parametrize(
    "class_weight, parts",
    [
        ({"maybe": 2.0}, ("class_weight", "maybe", "classes")),
        ({0: -1.0}, ("class_weight", "-1.0", "above 0")),
        ({0: 0.0, 1: 0.0}, ("class_weight", "0.0", "above 0")),
        ({1: np.inf}, ("class_weight", "inf", "finite")),
        ("even", ("'class_weight'", "'even'", "'balanced'")),
    ],
)
def test_class_weights(model, class_weight, parts):
    x, y = rows()
    with says(ValueError, *parts):
        clone(model).set_params(class_weight=class_weight).fit(x, y)


@every_classifier
def test_class_weights_of_soft_labels(model):
    x, _ = rows()
    shares = np.random.default_rng(0).random(40)
    with says(ValueError, "class_weight='balanced'", "soft labels", "sample_weight instead"):
        clone(model).set_params(class_weight="balanced").fit(x, shares)


# ------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    "model, parameter, value, allowed",
    [
        (ChebyshevRegressor(), "product", "all", "'smolyak'"),
        (ChebyshevRegressor(), "extrapolation", "wild", "'clip'"),
        (ChebyshevRegressor(), "degree", -1, "[0, inf)"),
        (ChebyshevRegressor(), "degree", 2.5, "an int"),
        (PolynomialRegressor(), "alpha", -1.0, "[0.0, inf)"),
        (PolynomialRegressor(), "alpha", np.nan, "[0.0, inf)"),
        (PolynomialRegressor(), "alpha", "strong", "a float"),
        (BSplineRegressor(), "placement", "random", "'quantile'"),
        (BSplineRegressor(), "product", "complete", "'tensor'"),
        (BSplineRegressor(), "penalty_order", -1, "[0, inf)"),
        (ReLURegressor(), "shifts", -2, "[0, inf)"),
        (RandomFeatureRegressor(), "kind", "sine", "'fourier'"),
        (RandomFeatureRegressor(), "gamma", 0.0, "(0.0, inf)"),
        (RandomFeatureRegressor(), "n_components", 0, "[1, inf)"),
        (RandomFeatureRegressor(), "random_state", "lucky", "RandomState"),
        (LinearRegressor(), "l1_ratio", 1.5, "[0.0, 1.0]"),
        (LinearRegressor(), "tol", 0.0, "(0.0, inf)"),
        (LinearRegressor(), "max_iter", 0, "[1, inf)"),
        (LinearRegressor(), "fit_intercept", "yes", "bool"),
        (LogisticClassifier(), "solver", "lbfgs", "'newton-cg'"),
        (SoftmaxClassifier(), "alpha", -0.1, "[0.0, inf)"),
        (SoftmaxClassifier(), "max_iter", 0, "[1, inf)"),
        (ChebyshevFeatures(), "include_bias", "no", "bool"),
        (BSplineFeatures(), "sparse_output", 2, "bool"),
    ],
)
def test_unknown_values_of_parameters(model, parameter, value, allowed):
    x, y = rows()
    model = clone(model).set_params(**{parameter: value})
    with says(ValueError, f"'{parameter}'", name_of(model), repr(value), allowed):
        model.fit(x, y)


@every
def test_devices_that_are_not_there(model):
    x, y = rows()
    for device in ("abacus", "cuda:77"):
        with says(ValueError, f"device={device!r}", '"auto"', '"cpu"', "available"):
            clone(model).set_params(device=device).fit(x, y)


# ------------------------------------------------------------------ labels


def test_many_classes_for_two():
    x, _ = rows()
    with says(ValueError, "Only binary classification", "3 classes", "SoftmaxClassifier"):
        LogisticClassifier().fit(x, np.arange(40) % 3)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    with says(ValueError, "Only binary classification", "3 classes", "SoftmaxClassifier"):
        LogisticClassifier().fit(x, shares)


@every_classifier
@pytest.mark.parametrize(
    "bad, parts",
    [
        ([0.5, 0.6], ("row 3", "1.1")),
        ([0.2, 0.2], ("row 3", "0.4")),
        ([1.5, -0.5], ("nonnegative",)),
    ],
)
def test_soft_labels_that_are_no_probabilities(model, bad, parts):
    x, _ = rows()
    shares = np.full((40, 2), 0.5)
    shares[3] = bad
    with says(ValueError, "probability of each class", "summing to one", *parts):
        clone(model).fit(x, shares)


@every_classifier
def test_numbers_that_are_no_labels(model):
    x, _ = rows()
    with says(ValueError, "Unknown label type: continuous"):
        clone(model).fit(x, 5 * x[:, 0])


# ------------------------------------------------------------------ order of calls


@every
def test_predicting_before_fitting(model):
    with says(NotFittedError, name_of(model), "not fitted yet", "'fit'"):
        predict(clone(model), [[0.0, 0.0]])


@every_regressor
def test_questions_before_fitting(model):
    x, y = rows()
    model = clone(model)
    for question in (
        lambda: model.gradient(x),
        lambda: model.condition_number_,
        lambda: model.term_names_,
        lambda: model.merge(model),
        lambda: clone(model).fit(x, y).merge(model),
    ):
        with says(NotFittedError, name_of(model), "not fitted yet"):
            question()
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
def test_probabilities_before_fitting(solver):
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        with says(NotFittedError, "not fitted yet"):
            getattr(SoftmaxClassifier(solver=solver), method)([[0.0]])


@pytest.mark.parametrize(
    "one, other",
    [
        (BSplineRegressor(2, 2), BSplineRegressor(3, 2)),
        (BSplineRegressor(3, domain=(-1, 1)), BSplineRegressor(3, domain=(-1.1, 1.1))),
        (ChebyshevRegressor(3), ChebyshevRegressor(4)),
        (ReLURegressor(3), ReLURegressor(4)),
        (
            RandomFeatureRegressor(3, gamma=1.0, random_state=0),
            RandomFeatureRegressor(3, gamma=1.0, random_state=1),
        ),
        (LinearRegressor(), LinearRegressor(fit_intercept=False)),
    ],
    ids=lambda model: name_of(model),
)
def test_merging_different_bases(one, other):
    x, y = rows(200)
    with says(ValueError, "cannot merge", name_of(one), "different bases", "parameter"):
        one.fit(x, y).merge(other.fit(x, y))


def test_merging_what_does_not_belong_together():
    x, y = rows()
    model = LinearRegressor().fit(x, y)
    with says(ValueError, "cannot merge", "PolynomialRegressor", "LinearRegressor"):
        model.merge(PolynomialRegressor().fit(x, y))
    with says(ValueError, "cannot merge", "2 and 1 features"):
        model.merge(LinearRegressor().fit(x[:, :1], y))
    with says(ValueError, "cannot merge", "1 and 2 targets"):
        model.merge(LinearRegressor().fit(x, np.c_[y, y]))
    frame = pd.DataFrame(x, columns=["a", "b"])
    with says(ValueError, "cannot merge", "'x0'", "'a'"):
        model.merge(LinearRegressor().fit(frame, y))
