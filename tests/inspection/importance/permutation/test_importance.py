"""Permutation importance: scikit-learn's numbers, the means over all shuffles, standard errors."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance as reference
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer, mean_pinball_loss
from sklearn.neural_network import MLPRegressor as SklearnMLP
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from thetalearn import (
    BSplineRegressor,
    ChebyshevRegressor,
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
    PerceptronClassifier,
    RandomFeatureRegressor,
    SoftmaxClassifier,
)
from thetalearn.inspection.importance.permutation.importance import permutation_importance

#: Rounding of sums of some hundred numbers.
SAME = {"rtol": 1e-9, "atol": 1e-11}
#: The same in the single precision in which networks are evaluated.
SINGLE = {"rtol": 1e-5, "atol": 2e-6}

RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 3))
X[:, 1] = 0.6 * X[:, 0] + 0.8 * X[:, 1]
Y = X[:, 0] + np.sin(2 * X[:, 1]) * (X[:, 2] > 0) + 0.1 * RNG.normal(size=60)
BINARY = np.where(Y > 0.2, "yes", "no")
LABELS = np.array(["a", "b", "c"])[np.digitize(Y, [-0.4, 0.6])]
WEIGHT = RNG.uniform(0.2, 2, 60)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::thetalearn.exceptions.ConvergenceWarning"),
]

REGRESSORS = {
    "linear": (LinearRegressor(), SAME, "touched terms"),
    "additive spline": (BSplineRegressor(4, product="additive"), SAME, "touched terms"),
    "tensor spline": (BSplineRegressor(1), SAME, "touched terms"),
    "chebyshev": (ChebyshevRegressor(3), SAME, "touched terms"),
    "network": (
        MLPRegressor(hidden_layer_sizes=(32, 8), max_iter=5, random_state=0),
        SINGLE,
        "first layer",
    ),
    "residual": (
        MLPRegressor(
            hidden_layer_sizes=(3, 3), residual=True, max_iter=5, random_state=0, activation="gelu"
        ),
        SINGLE,
        "first layer",
    ),
    "kernel ridge": (KernelRidgeRegressor(kernel="rbf"), SAME, "first layer"),
    "random features": (RandomFeatureRegressor(20, random_state=0), SAME, "first layer"),
    "forest": (RandomForestRegressor(5, random_state=0), SAME, "stacked prediction"),
    "foreign network": (
        SklearnMLP(hidden_layer_sizes=(5,), max_iter=5, random_state=0),
        SAME,
        None,
    ),
    "ridge": (Ridge(), SAME, "touched terms"),
    "polynomial pipeline": (make_pipeline(PolynomialFeatures(2), Ridge()), SAME, None),
    "scaled": (make_pipeline(StandardScaler(), LinearRegressor()), SAME, "touched terms"),
    "transformed target": (
        TransformedTargetRegressor(Ridge(), func=np.sinh, inverse_func=np.arcsinh),
        SAME,
        None,
    ),
}

CLASSIFIERS = {
    "logistic": LogisticClassifier(),
    "softmax": SoftmaxClassifier(),
    "perceptron": PerceptronClassifier(random_state=0),
    "kernel perceptron": PerceptronClassifier(kernel="rbf", random_state=0),
    "network": MLPClassifier(hidden_layer_sizes=(6,), max_iter=5, random_state=0),
    "forest": RandomForestClassifier(5, random_state=0),
    "foreign logistic": LogisticRegression(),
}


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error", "neg_median_absolute_error"])
def test_regressors_give_the_numbers_of_scikit_learn(name, scoring):
    """Importances, their mean and standard deviation agree, and R² comes from the right route."""
    estimator, close, method = REGRESSORS[name]
    estimator.fit(X, Y)
    ours = permutation_importance(estimator, X, Y, scoring=scoring, n_repeats=3, random_state=4)
    theirs = reference(estimator, X, Y, scoring=scoring, n_repeats=3, random_state=4)
    for key in ("importances", "importances_mean", "importances_std"):
        np.testing.assert_allclose(ours[key], theirs[key], **close)
    assert method is None or ours.method == method


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("target", [BINARY, LABELS], ids=["two classes", "three classes"])
def test_classifiers_give_the_numbers_of_scikit_learn(name, target):
    """Of labels that are strings: accuracy, F1, and what takes probabilities where they exist."""
    if name == "logistic" and target is LABELS:
        name = "softmax"
    estimator = CLASSIFIERS[name].fit(X, target)
    scoring = ["accuracy", "f1_macro", "balanced_accuracy"]
    if hasattr(estimator, "predict_proba"):
        scoring += ["neg_log_loss", "roc_auc_ovr"]
    elif target is BINARY:
        scoring += ["roc_auc"]
    ours = permutation_importance(
        estimator, X, target, scoring=scoring, n_repeats=3, random_state=1, sample_weight=WEIGHT
    )
    theirs = reference(
        estimator, X, target, scoring=scoring, n_repeats=3, random_state=1, sample_weight=WEIGHT
    )
    assert list(ours) == list(theirs) == scoring
    for each in scoring:
        np.testing.assert_allclose(ours[each].importances, theirs[each].importances, **SINGLE)


def test_decision_values_of_zero():
    """The class there is the estimator's own: the perceptron's the second, others' the first."""
    rows = np.array([[1.0, 1.0], [2.0, 2.0], [1.0, 0.0], [0.0, 1.0], [3.0, 3.0], [0.0, 0.0]])
    labels = np.array([0, 1, 1, 0, 1, 0])
    for model in (PerceptronClassifier(random_state=0), LogisticClassifier()):
        model.fit(rows[2:4], labels[2:4])
        model.coef_[:], model.intercept_[:] = [[1.0, -1.0]], 0.0
        assert (model.decision_function(rows[[0, 1, 4, 5]]) == 0).all()
        ours = permutation_importance(model, rows, labels, n_repeats=20, random_state=0)
        theirs = reference(model, rows, labels, n_repeats=20, random_state=0)
        np.testing.assert_allclose(ours.importances, theirs.importances, **SAME)
        assert ours.method == "touched terms"


def test_default_score_weights_and_samples_are_those_of_scikit_learn():
    """``max_samples`` draws the same rows; weights count in the score only."""
    estimator = ChebyshevRegressor(2).fit(X, Y)
    for changed in (
        {},
        {"sample_weight": WEIGHT},
        {"max_samples": 0.5},
        {"max_samples": 17, "sample_weight": WEIGHT},
        {"scoring": {"a": "r2", "b": make_scorer(mean_pinball_loss, alpha=0.3)}},
        {"random_state": np.random.RandomState(8)},
    ):
        copy = dict(changed)
        if "random_state" in changed:
            copy["random_state"] = np.random.RandomState(8)
        ours = permutation_importance(estimator, X, Y, **{"random_state": 3, **changed})
        theirs = reference(estimator, X, Y, **{"random_state": 3, **copy})
        if "scoring" not in changed:
            ours, theirs = {"score": ours}, {"score": theirs}
        for name, expected in theirs.items():
            np.testing.assert_allclose(ours[name].importances, expected.importances, **SAME)


def test_several_targets():
    """A product form, a network and a forest of two targets, with R² and absolute errors."""
    targets = np.stack([Y, X[:, 0] * X[:, 2]], axis=1)
    for estimator, close in (
        (ChebyshevRegressor(2), SAME),
        (BSplineRegressor(3, product="additive"), SAME),
        (MLPRegressor(hidden_layer_sizes=(6,), max_iter=5, random_state=0), SINGLE),
        (RandomForestRegressor(4, random_state=0), SAME),
    ):
        estimator.fit(X, targets)
        for scoring in ("r2", "neg_mean_absolute_error"):
            ours = permutation_importance(estimator, X, targets, scoring=scoring, random_state=0)
            theirs = reference(estimator, X, targets, scoring=scoring, random_state=0)
            np.testing.assert_allclose(ours.importances, theirs.importances, **close)


def test_columns_of_a_data_frame_through_a_pipeline():
    """Strings and missing numbers, in the input's columns and by their names."""
    frame = pd.DataFrame(
        {"u": X[:, 0], "kind": np.where(X[:, 1] > 0, "good", "bad"), "v": X[:, 2]},
        index=np.arange(60)[::-1],
    )
    encoder = ColumnTransformer(
        [("number", StandardScaler(), ["u", "v"]), ("kind", OneHotEncoder(), ["kind"])]
    )
    for last in (Ridge(), RandomForestRegressor(4, random_state=0)):
        model = make_pipeline(encoder, last).fit(frame, Y)
        ours = permutation_importance(model, frame, Y, random_state=2)
        theirs = reference(model, frame, Y, random_state=2)
        assert ours.feature_names == ["u", "kind", "v"]
        np.testing.assert_allclose(ours.importances, theirs.importances, **SAME)
    custom = permutation_importance(
        model, frame, Y, random_state=2, scoring=lambda m, X, y: m.score(X, y)
    )
    assert custom.method == "one call a shuffle"
    np.testing.assert_allclose(custom.importances, theirs.importances, **SAME)


def test_scorers_of_the_user():
    """A function gets the estimator and shuffled rows; it may return several scores."""
    model = LinearRegressor().fit(X, Y)

    def scores(estimator, X, y):
        return {"r2": estimator.score(X, y), "rows": float(len(X))}

    ours = permutation_importance(model, X, Y, scoring=scores, random_state=0)
    theirs = reference(model, X, Y, scoring=scores, random_state=0)
    assert list(ours) == ["r2", "rows"]
    np.testing.assert_allclose(ours["r2"].importances, theirs["r2"].importances, **SAME)
    assert (ours["rows"].importances == 0).all()
    means = KMeans(3, n_init=1, random_state=0).fit(X)
    ours = permutation_importance(means, X, None, random_state=0)
    np.testing.assert_allclose(
        ours.importances, reference(means, X, None, random_state=0).importances, **SAME
    )


def test_sparse_rows():
    """A sparse matrix gives what the dense one gives, also to a scorer of the user."""
    model = LinearRegressor().fit(X, Y)
    kept = np.where(np.abs(X) > 0.5, X, 0.0)
    for scoring in (None, lambda m, X, y: m.score(X, y)):
        sparse, dense = (
            permutation_importance(model, rows, Y, scoring=scoring, random_state=0)
            for rows in (sp.csr_array(kept), kept)
        )
        np.testing.assert_allclose(sparse.importances, dense.importances, **SAME)


def test_no_seed_takes_new_shuffles_and_leaves_the_global_ones_alone():
    """Without a seed results differ, and NumPy's generator does not move."""
    model = LinearRegressor().fit(X, Y)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (permutation_importance(model, X, Y).importances for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_threads_change_nothing():
    """Players are distributed over threads."""
    model = ChebyshevRegressor(2).fit(X, Y)
    one, two = (permutation_importance(model, X, Y, random_state=0, n_jobs=n) for n in (1, 2))
    np.testing.assert_array_equal(one.importances, two.importances)


class Opaque(RegressorMixin, BaseEstimator):
    """A regressor that does not say how it is built."""

    def __init__(self, model=None):
        self.model = model

    def fit(self, X, y):
        """Nothing to fit."""
        return self

    def predict(self, X):
        """The model's values."""
        return self.model.predict(X)

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.parametrize("method", ["marginal", "conditional"])
@pytest.mark.parametrize("n_repeats", [3, "all"])
@pytest.mark.parametrize("se", ["influence", "bootstrap"])
def test_routes_agree(method, n_repeats, se):
    """A form and the stacked prediction give the same importances and standard errors."""
    asked = {
        "method": method, "n_repeats": n_repeats, "se": se, "random_state": 0, "min_stratum": 15,
        "groups": {"both": [0, 2]}, "sample_weight": WEIGHT, "n_bootstraps": 5,
    }  # fmt: skip
    networks = MLPRegressor(hidden_layer_sizes=(5,), max_iter=5, random_state=0)
    for model in (BSplineRegressor(2, product="additive"), ChebyshevRegressor(3), networks):
        model.fit(X, Y)
        for scoring in ("r2", "neg_mean_absolute_error"):
            form = permutation_importance(model, X, Y, scoring=scoring, dtype="float64", **asked)
            stacked = permutation_importance(Opaque(model), X, Y, scoring=scoring, **asked)
            assert stacked.method == "stacked prediction" != form.method
            for key in ("importances", "importances_se", "mc_se", "sample_se", "ci"):
                np.testing.assert_allclose(form[key], stacked[key], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_squared_error", "neg_mean_absolute_error"])
def test_all_shuffles_are_the_mean_over_all_permutations(scoring):
    """Of four rows there are 24 shuffles; a donor that occurs twice counts twice."""
    model = ChebyshevRegressor(3).fit(X, Y)
    weight = np.array([1.0, 2.0, 0.5, 1.0])
    for rows in (X[:4].copy(), X[[0, 1, 1, 3]].copy()):
        exact = permutation_importance(
            model, rows, Y[:4], scoring=scoring, n_repeats="all", sample_weight=weight
        )
        for player in range(3):
            scores = []
            for order in itertools.permutations(range(4)):
                shuffled = rows.copy()
                shuffled[:, player] = rows[list(order), player]
                residual = Y[:4] - model.predict(shuffled)
                error = np.abs(residual) if "absolute" in scoring else residual**2
                variance = np.average(
                    (Y[:4] - np.average(Y[:4], weights=weight)) ** 2, weights=weight
                )
                score = -np.average(error, weights=weight)
                scores.append(1 + score / variance if scoring == "r2" else score)
            np.testing.assert_allclose(exact.scores_after[player, 0], np.mean(scores), rtol=1e-10)
        assert (exact.mc_se == 0).all()
        assert exact.importances.shape == (3, 1)


def test_closed_form_of_an_additive_model():
    """The mean squared error grows by 2 (Var g + Cov(y − f, g)), for dependent columns too."""
    model = BSplineRegressor(3, product="additive").fit(X, Y)
    rows, y = X[::2], Y[::2] + 0.5 * X[::2, 0]
    exact = permutation_importance(
        model, rows, y, scoring="neg_mean_squared_error", n_repeats="all"
    )
    values = model.predict(rows)
    for player in range(3):
        others = rows.copy()
        others[:, player] = rows[0, player]
        part = values - model.predict(others)
        expected = 2 * np.cov(np.stack([part + y - values, part]), bias=True)[0, 1]
        np.testing.assert_allclose(exact.importances_mean[player], expected, rtol=1e-10)
    assert exact.method == "closed form"


def test_all_shuffles_agree_with_many():
    """The mean over all shuffles lies within four standard errors of that over 300."""
    for model in (
        ChebyshevRegressor(3),
        MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, random_state=0),
    ):
        model.fit(X, Y)
        exact = permutation_importance(model, X, Y, n_repeats="all")
        drawn = permutation_importance(model, X, Y, n_repeats=300, random_state=0)
        gap = np.abs(exact.importances_mean - drawn.importances_mean)
        assert (gap <= 4 * drawn.mc_se + 1e-12).all()
        # Both estimate the same variance through the rows.
        np.testing.assert_allclose(exact.sample_se, drawn.sample_se, rtol=0.1)


class Rule(BaseEstimator):
    """The book's rule 1{y > x²} as a classifier."""

    _estimator_type = "classifier"
    classes_ = np.array([0, 1])

    def fit(self, X, y):
        """Nothing to fit."""
        return self

    def predict(self, X):
        """The rule."""
        return (X[:, 1] > X[:, 0] ** 2).astype(int)

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        return tags


def soft_accuracy(model, X, y, kept):
    """Accuracy of the mean of the model over the values of the other columns in all rows."""
    projected = []
    for row in X:
        mixed = X.copy()
        mixed[:, kept] = row[kept]
        projected.append(model.predict(mixed).mean())
    return 1 - np.abs(np.array(projected) - y).mean()


@pytest.mark.parametrize(
    ("labels", "alphas"),
    [([1, 0, 0], (2 / 3, 2 / 9, 2 / 3)), ([1, 0, 1], (7 / 9, 5 / 9, 1.0))],
    ids=["12.1", "12.2"],
)
def test_exercises_of_the_book(labels, alphas):
    """Exercises 12.1 and 12.2: accuracies after all shuffles are those of the projections."""
    rows, y = np.array([[0.5, 1.0], [-2.0, 3.0], [1.0, 5.0]]), np.array(labels)
    found = permutation_importance(Rule(), rows, y, scoring="accuracy", n_repeats="all")
    alpha_x, alpha_y, alpha_both = alphas
    np.testing.assert_allclose(found.scores_after[:, 0], [alpha_y, alpha_x], rtol=1e-14)
    np.testing.assert_allclose(found.baseline_score, alpha_both, rtol=1e-14)
    for player, kept in ((0, [1]), (1, [0])):
        expected = soft_accuracy(Rule(), rows, y, kept)
        np.testing.assert_allclose(found.scores_after[player, 0], expected, rtol=1e-14)


def test_accuracy_after_all_shuffles_is_that_of_the_projection():
    """The identity for 0/1 predictions, with a fitted classifier on random rows."""
    labels = (BINARY == "yes").astype(int)
    model = LogisticClassifier().fit(X, labels)
    found = permutation_importance(model, X, labels, n_repeats="all")
    for player in range(3):
        kept = [j for j in range(3) if j != player]
        expected = soft_accuracy(model, X, labels, kept)
        np.testing.assert_allclose(found.scores_after[player, 0], expected, rtol=1e-12)


def test_worked_example_of_the_book():
    """Labels follow y more than x: shuffling y costs more accuracy, in every redraw (12.1)."""
    for seed in range(20):
        rng = np.random.RandomState(seed)
        rows = rng.normal(size=(100, 2))
        labels = (rows[:, 1] > 0.3 * rows[:, 0] + 0.2 + 0.5 * rng.normal(size=100)).astype(int)
        model = LogisticClassifier().fit(rows, labels)
        after = permutation_importance(model, rows, labels, n_repeats="all").scores_after[:, 0]
        assert after[1] < after[0] <= 1


def test_groups_are_shuffled_jointly():
    """A group takes all its columns from the same row; players may overlap."""
    model = ChebyshevRegressor(2).fit(X, Y)
    found = permutation_importance(
        model, X, Y, features=[["x0", 2], 1, "x2"], n_repeats=4, random_state=0
    )
    assert found.feature_names == ["x0, x2", "x1", "x2"]
    alone = permutation_importance(model, X, Y, n_repeats=4, random_state=0)
    np.testing.assert_allclose(found.importances[1:], alone.importances[1:], **SAME)
    everything = permutation_importance(model, X, Y, features=[[0, 1, 2]], n_repeats="all")
    residual = Y[:, None] - model.predict(X)
    expected = (residual**2).mean() / Y.var() - 1 + model.score(X, Y)
    np.testing.assert_allclose(everything.importances_mean, [expected], rtol=1e-10)


def test_conditional_importance_of_a_copy_is_small():
    """A column that another one tells has no importance beyond it, though the model uses both."""
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(2000, 3))
    rows[:, 1] = rows[:, 0]
    y = rows.sum(1)
    model = Ridge().fit(rows, y)
    marginal = permutation_importance(model, rows, y, n_repeats="all").importances_mean
    conditional = permutation_importance(
        model, rows, y, n_repeats="all", method="conditional"
    ).importances_mean
    assert (conditional[:2] < 0.05 * marginal[:2]).all()
    assert conditional[2] > 0.5 * marginal[2]


def test_intervals_cover():
    """At a nominal 95 %, intervals of 100 samples cover the expectation in 88 of them or more."""
    weights, hits, n_seeds = np.array([1.0, 0.5, 0.0]), 0, 100
    model = LinearRegressor().fit(X, X @ weights)
    # In expectation 2 (Var g + Cov(y - f, g)) (1 - 1 / n), for columns of variance one.
    truth = 2 * weights**2 * (1 - 1 / 200)
    for seed in range(n_seeds):
        rng = np.random.RandomState(seed)
        rows = rng.normal(size=(200, 3))
        y = rows @ weights + rng.normal(size=200)
        ci = permutation_importance(
            model, rows, y, scoring="neg_mean_squared_error", random_state=seed
        ).ci
        hits += ((ci[:2, 0] <= truth[:2]) & (truth[:2] <= ci[:2, 1])).sum()
    # Four binomial standard deviations below the nominal level.
    assert hits / (2 * n_seeds) > 0.95 - 4 * (0.95 * 0.05 / (2 * n_seeds)) ** 0.5


def test_standard_errors_where_they_are_not_known():
    """Without a function of rows only the shuffles' part is known, and one shuffle gives none."""
    model = LinearRegressor().fit(X, Y)
    found = permutation_importance(model, X, Y, scoring="neg_max_error", random_state=0)
    assert np.isnan(found.sample_se).all() and np.isnan(found.ci).all()
    expected = found.importances.std(1, ddof=1) / 5**0.5
    np.testing.assert_allclose(found.mc_se, expected, rtol=1e-12)
    once = permutation_importance(model, X, Y, n_repeats=1, random_state=0)
    assert np.isnan(once.mc_se).all() and np.isfinite(once.importances_se).all()
    none = permutation_importance(model, X, Y, se=None, random_state=0)
    assert np.isnan(none.importances_se).all() and np.isfinite(none.mc_se).all()


@pytest.mark.parametrize("called", [False, True], ids=["stored predictions", "scorer"])
def test_bootstrap_serves_any_score(called):
    """It gives standard errors of the size of the influence function's."""
    rows = np.random.RandomState(0).normal(size=(400, 3))
    y = rows[:, 0] + rows[:, 1] ** 2
    model = LinearRegressor().fit(rows, y)
    scoring = [lambda m, X, y: {"r2": m.score(X, y)}, ["r2", "neg_median_absolute_error"]]
    found = permutation_importance(
        model, rows, y, scoring=scoring[not called], se="bootstrap", n_bootstraps=60, random_state=0
    )
    influence = permutation_importance(model, rows, y, random_state=0)
    ratio = found["r2"].importances_se[0] / influence.importances_se[0]
    # The bootstrap's own relative error is 1 / √120.
    assert 1 - 4 / 120**0.5 < ratio < 1 + 4 / 120**0.5
    np.testing.assert_allclose(found["r2"].mc_se, influence.mc_se, rtol=1e-10)
    for each in found.values():
        assert np.isfinite(each.importances_se).all() and (each.sample_se >= 0).all()


def test_single_precision_only_where_it_suffices():
    """Networks are evaluated in single precision unless their values cancel, or ranks count."""
    model = MLPRegressor(hidden_layer_sizes=(40,), max_iter=20, random_state=0, activation="tanh")
    model.fit(X, Y)

    def importances(dtype, scoring="r2"):
        return permutation_importance(
            model, X, Y, scoring=scoring, random_state=0, dtype=dtype
        ).importances

    theirs = reference(model, X, Y, random_state=0).importances
    double, single = importances("float64"), importances("float32")
    np.testing.assert_allclose(double, theirs, **SAME)
    np.testing.assert_allclose(single, theirs, **SINGLE)
    assert not np.array_equal(single, double)
    np.testing.assert_array_equal(importances("auto"), single)
    ranks = "neg_median_absolute_error"
    np.testing.assert_array_equal(importances("auto", ranks), importances("float64", ranks))
    # Pairs of units that cancel, with weights of 10⁷, leave nothing of single precision.
    model.coefs_[0][:, 20:] = model.coefs_[0][:, :20]
    model.intercepts_[0][20:] = model.intercepts_[0][:20]
    model.coefs_[1][:20] += 1e7
    model.coefs_[1][20:] -= 1e7
    np.testing.assert_array_equal(importances("auto"), importances("float64"))


def test_memory_keeps_to_the_budget():
    """Hundreds of shuffles of many columns are predicted in parts that fit the budget."""
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(2000, 30))
    y = rows[:, 0]
    model = Ridge().fit(rows, y)
    budget = 2**23
    tracemalloc.start()
    try:
        permutation_importance(
            Opaque(model), rows, y, n_repeats=100, random_state=0, memory_budget=budget, se=None
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All shuffled tables at once would take 1.4 GB; shuffles and rows themselves take 4 MB.
    assert peak < 3 * budget


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_repeats": 0}, "n_repeats=0 must be a positive integer"),
        ({"n_repeats": "many"}, "n_repeats='many' must be"),
        ({"n_repeats": "all", "scoring": "neg_max_error"}, "scoring='neg_max_error' is not"),
        ({"n_repeats": "all", "scoring": "neg_root_mean_squared_error"}, "is not: choose"),
        ({"max_samples": 100}, "max_samples=100 must be <= n_samples=60"),
        ({"max_samples": 0.001}, "is no row"),
        ({"max_samples": "half"}, "max_samples='half' must be"),
        ({"method": "joint"}, "method='joint' must be one of"),
        ({"se": "jackknife"}, "se='jackknife' must be one of"),
        ({"dtype": "float16"}, "dtype='float16' must be one of"),
        ({"confidence_level": 95}, "confidence_level=95 must be between 0 and 1"),
        ({"memory_budget": 0}, "memory_budget=0 must be at least 1"),
        ({"min_stratum": 0}, "min_stratum=0 must be at least 2"),
        ({"n_bootstraps": 1}, "n_bootstraps=1 must be at least 2"),
        ({"features": ["z"]}, "features names the column 'z'"),
    ],
)
def test_errors_say_what_to_do(changed, said):
    """Messages name the parameter and its value."""
    model = LinearRegressor().fit(X, Y)
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        permutation_importance(model, X, Y, **changed)


def test_estimators_must_be_fitted():
    """scikit-learn's error comes before any work."""
    with pytest.raises(NotFittedError):
        permutation_importance(LinearRegressor(), X, Y)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "d2_log_loss_score", "neg_brier_score"])
def test_confident_networks_have_the_log_loss_of_double_precision(scoring):
    rows = 3 * np.random.RandomState(0).normal(size=(300, 4))
    y = (rows[:, 0] + rows[:, 1] > 0).astype(int)
    model = MLPClassifier(hidden_layer_sizes=(32, 32), random_state=0).fit(rows, y)
    assert np.abs(model.decision_function(rows)).max() > 16
    options = {"scoring": scoring, "random_state": 0}
    found = permutation_importance(model, rows, y, **options)
    expected = reference(model, rows, y, **options)
    # The Brier score has single precision, and 1e-6 of the largest importance is none of it.
    scale = np.abs(expected.importances).max()
    np.testing.assert_allclose(found.importances, expected.importances, atol=1e-5 * scale)


def test_conditional_importance_says_that_it_is_marginal():
    model = LinearRegressor().fit(X, Y)
    options = {"random_state": 0, "n_repeats": 3}
    with pytest.warns(UserWarning, match="the result is that of method='marginal'"):
        found = permutation_importance(model, X, Y, method="conditional", min_stratum=31, **options)
    expected = permutation_importance(model, X, Y, **options)
    np.testing.assert_array_equal(found.importances, expected.importances)


def test_strata_do_not_depend_on_threads():
    model = LinearRegressor().fit(X, Y)
    options = {"random_state": 0, "method": "conditional", "min_stratum": 10}
    one = permutation_importance(model, X, Y, **options)
    two = permutation_importance(model, X, Y, n_jobs=2, **options)
    np.testing.assert_array_equal(one.importances, two.importances)


def test_rows_of_the_result_are_the_columns_of_x_in_their_order():
    random = np.random.RandomState(0)
    X = pd.DataFrame(random.normal(size=(60, 3)), columns=list("abc"))
    y = X["a"] + 2 * X["b"]
    pick = ColumnTransformer([("scale", StandardScaler(), ["a", "b", "c"])])
    model = make_pipeline(pick, Ridge()).fit(X, y)
    turned = X.assign(extra=1.0)[["c", "extra", "b", "a"]]
    found = permutation_importance(model, turned, y, random_state=0)
    theirs = reference(model, turned, y, random_state=0)
    assert found.feature_names == ["c", "extra", "b", "a"]
    np.testing.assert_allclose(found.importances, theirs.importances, atol=1e-12)
