"""Logistic and softmax regression: scikit-learn's optimum, soft labels, separation, the book."""

import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from thetalearn import LogisticClassifier, SoftmaxClassifier
from thetalearn.exceptions import ConvergenceWarning, SeparationWarning
from thetalearn.monitor import FitMonitor

few = settings(max_examples=max(settings().max_examples // 4, 1))

seeds = st.integers(0, 10_000)
solvers = pytest.mark.parametrize("solver", ["newton", "newton-cg"])
families = pytest.mark.parametrize("family", [LogisticClassifier, SoftmaxClassifier])

#: Newton decrement 1e-8 over a curvature of at least 1e-3: both sides stop this near.
CLOSE = {"rtol": 0, "atol": 1e-5}


def data(seed=0, n=80, d=3, classes=2):
    """Rows whose classes overlap."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + rng.normal(size=d)
    logits = 0.7 * (x - x.mean(0)) @ rng.normal(size=(d, classes))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    y[:classes] = range(classes)
    return x, y


def peer(alpha, n, **options):
    """scikit-learn's at the same optimum: C = 1 / (alpha n)."""
    c = np.inf if alpha == 0 else 1 / (alpha * n)
    return LogisticRegression(C=c, tol=1e-12, max_iter=10_000, **options)


def centred(table):
    """Of all softmax coefficients with the same probabilities, those that sum to zero."""
    return table - table.mean(0)


# ------------------------------------------------------------------ against scikit-learn


@few
@given(
    seed=seeds,
    alpha=st.sampled_from([1e-3, 0.05, 1.0]),
    fit_intercept=st.booleans(),
    weighted=st.booleans(),
    solver=st.sampled_from(["newton", "newton-cg"]),
)
def test_logistic_regression_of_scikit_learn(seed, alpha, fit_intercept, weighted, solver):
    x, y = data(seed)
    weight = np.random.default_rng(seed).uniform(0.1, 2, 80) if weighted else np.ones(80)
    ours = LogisticClassifier(alpha=alpha, fit_intercept=fit_intercept, solver=solver)
    ours.fit(x, y, sample_weight=weight)
    theirs = peer(alpha, weight.sum(), fit_intercept=fit_intercept, solver="newton-cholesky")
    theirs.fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, **CLOSE)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, **CLOSE)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), **CLOSE)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), **CLOSE)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    assert ours.coef_.shape == (1, 3) and ours.intercept_.shape == (1,)
    assert ours.converged_


@few
@given(
    seed=seeds,
    classes=st.integers(3, 4),
    alpha=st.sampled_from([1e-3, 0.05, 1.0]),
    weighted=st.booleans(),
    solver=st.sampled_from(["newton", "newton-cg"]),
)
def test_softmax_regression_of_scikit_learn(seed, classes, alpha, weighted, solver):
    x, y = data(seed, classes=classes)
    weight = np.random.default_rng(seed).uniform(0.1, 2, 80) if weighted else np.ones(80)
    ours = SoftmaxClassifier(alpha=alpha, solver=solver).fit(x, y, sample_weight=weight)
    theirs = peer(alpha, weight.sum()).fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), **CLOSE)
    # The penalty settles the coefficients, but not the intercepts, which are ours to centre.
    np.testing.assert_allclose(ours.coef_, theirs.coef_, **CLOSE)
    np.testing.assert_allclose(ours.intercept_, centred(theirs.intercept_), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


@solvers
def test_without_penalty(solver):
    x, y = data(n=300, classes=3)
    ours = SoftmaxClassifier(alpha=0, solver=solver).fit(x, y)
    theirs = peer(0, 300).fit(x, y)
    np.testing.assert_allclose(ours.coef_, centred(theirs.coef_), rtol=0, atol=1e-4)
    two = LogisticClassifier(alpha=0, solver=solver).fit(x, y > 0)
    np.testing.assert_allclose(two.coef_, peer(0, 300).fit(x, y > 0).coef_, rtol=0, atol=1e-4)


@families
@solvers
def test_a_penalised_intercept_is_the_coefficient_of_ones(family, solver):
    x, y = data()
    ours = family(alpha=0.1, penalize_intercept=True, solver=solver).fit(x, y)
    ones = family(alpha=0.1, fit_intercept=False, solver=solver).fit(np.c_[x, np.ones(80)], y)
    np.testing.assert_allclose(np.c_[ours.coef_, ours.intercept_], ones.coef_, **CLOSE)
    assert not ones.intercept_.any()
    if family is LogisticClassifier:
        theirs = peer(0.1, 80, fit_intercept=False).fit(np.c_[x, np.ones(80)], y)
        np.testing.assert_allclose(ones.coef_, theirs.coef_, **CLOSE)


@pytest.mark.parametrize("alpha", [1e-4, 1e-2])
def test_real_data(alpha):
    x, y = load_breast_cancer(return_X_y=True)
    x = scale(x)
    ours, theirs = LogisticClassifier(alpha=alpha).fit(x, y), peer(alpha, len(x)).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=0, atol=1e-5)
    x, y = load_digits(return_X_y=True)
    x, y = x[:500] / 16, y[:500]
    ours, theirs = SoftmaxClassifier(alpha=alpha).fit(x, y), peer(alpha, 500).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=0, atol=1e-4)
    # The pixels that are always blank get no coefficient.
    assert not ours.coef_[:, (x == 0).all(0)].any()


# ------------------------------------------------------------------ labels


@few
@given(seed=seeds, classes=st.integers(2, 3), solver=st.sampled_from(["newton", "newton-cg"]))
def test_soft_labels_are_weighted_hard_labels(seed, classes, solver):
    x, _ = data(seed)
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(classes), 80)
    weight = rng.uniform(0.1, 2, 80)
    family = LogisticClassifier if classes == 2 else SoftmaxClassifier
    model = family(alpha=0.01, solver=solver)
    soft = clone(model).fit(x, shares, sample_weight=weight)
    hard = clone(model).fit(
        np.tile(x, (classes, 1)),
        np.repeat(np.arange(classes), 80),
        sample_weight=(weight[:, None] * shares).T.ravel(),
    )
    np.testing.assert_allclose(soft.coef_, hard.coef_, **CLOSE)
    np.testing.assert_allclose(soft.intercept_, hard.intercept_, **CLOSE)
    assert soft.classes_.tolist() == list(range(classes))
    if classes == 2:
        flat = clone(model).fit(x, shares[:, 1], sample_weight=weight)
        np.testing.assert_array_equal(flat.coef_, soft.coef_)
        column = clone(model).fit(x, shares[:, 1:], sample_weight=weight)
        np.testing.assert_array_equal(column.coef_, soft.coef_)


def test_soft_labels_that_a_model_can_meet_are_met():
    # Fractional logit: shares generated by the model itself are fitted exactly.
    x, _ = data()
    truth = np.array([0.5, -1.0, 0.25])
    shares = 1 / (1 + np.exp(-(x @ truth + 0.3)))
    model = LogisticClassifier(alpha=0).fit(x, shares)
    np.testing.assert_allclose(model.coef_[0], truth, **CLOSE)
    assert model.intercept_[0] == pytest.approx(0.3, abs=1e-5)
    assert model.converged_
    # The score is then the mean probability of the class predicted.
    expected = np.maximum(shares, 1 - shares).mean()
    assert model.score(x, shares) == pytest.approx(expected, abs=1e-6)


@families
def test_one_hot_rows_are_hard_labels(family):
    x, y = data()
    hot = np.eye(2)[y]
    model = family(alpha=0.01)
    np.testing.assert_array_equal(clone(model).fit(x, hot).coef_, clone(model).fit(x, y).coef_)


@families
@pytest.mark.parametrize(
    "names",
    [["no", "yes"], [False, True], [-1, 1], [3.0, 7.0], pd.Series(["a", "b"]).astype("category")],
)
def test_labels_of_any_kind(family, names):
    x, y = data()
    labels = np.asarray(names)[y]
    model = family().fit(x, labels)
    reference = family().fit(x, y)
    assert model.classes_.tolist() == list(names)
    np.testing.assert_array_equal(model.coef_, reference.coef_)
    np.testing.assert_array_equal(model.predict(x), np.asarray(names)[reference.predict(x)])
    assert model.score(x, labels) == reference.score(x, y)


@few
@given(seed=seeds, alpha=st.sampled_from([1e-3, 0.1]))
def test_swapped_labels_swap_the_signs(seed, alpha):
    x, y = data(seed)
    one, other = (LogisticClassifier(alpha=alpha).fit(x, labels) for labels in (y, 1 - y))
    np.testing.assert_allclose(one.coef_, -other.coef_, **CLOSE)
    np.testing.assert_allclose(one.intercept_, -other.intercept_, **CLOSE)
    np.testing.assert_allclose(
        one.predict_proba(x), other.predict_proba(x)[:, ::-1], rtol=0, atol=1e-6
    )


@few
@given(seed=seeds)
def test_permuted_classes_permute_the_rows(seed):
    x, y = data(seed, classes=3)
    order = np.array([2, 0, 1])
    one, other = SoftmaxClassifier().fit(x, y), SoftmaxClassifier().fit(x, order[y])
    np.testing.assert_allclose(one.coef_, other.coef_[order], rtol=0, atol=1e-4)


# ------------------------------------------------------------------ softmax and logistic


@few
@given(seed=seeds, fit_intercept=st.booleans(), penalize=st.booleans())
def test_softmax_of_two_classes_is_logistic(seed, fit_intercept, penalize):
    # w = w2 - w1 and w1 = -w2: alpha |W|^2 / 2 = (alpha / 2) |w|^2 / 2.
    x, y = data(seed)
    options = {"fit_intercept": fit_intercept, "penalize_intercept": penalize}
    softmax = SoftmaxClassifier(alpha=0.02, **options).fit(x, y)
    logistic = LogisticClassifier(alpha=0.01, **options).fit(x, y)
    np.testing.assert_allclose(np.diff(softmax.coef_, axis=0), logistic.coef_, **CLOSE)
    np.testing.assert_allclose(np.diff(softmax.intercept_), logistic.intercept_, **CLOSE)
    np.testing.assert_allclose(softmax.predict_proba(x), logistic.predict_proba(x), **CLOSE)
    np.testing.assert_allclose(softmax.decision_function(x), logistic.decision_function(x), **CLOSE)


@solvers
@pytest.mark.parametrize("alpha", [0.0, 1e-3])
@pytest.mark.parametrize("penalize_intercept", [False, True])
def test_rows_of_softmax_sum_to_zero(solver, alpha, penalize_intercept):
    x, y = data(n=300, classes=4)
    model = SoftmaxClassifier(alpha=alpha, solver=solver, penalize_intercept=penalize_intercept)
    model.fit(x, y)
    # A sum of four numbers of order one.
    np.testing.assert_allclose(model.coef_.sum(0), 0, rtol=0, atol=1e-14)
    assert model.intercept_.sum() == pytest.approx(0, abs=1e-14)


@families
@solvers
def test_the_solvers_agree(family, solver):
    x, y = load_iris(return_X_y=True)
    if family is LogisticClassifier:
        y = y == 1
    options = {"alpha": 1e-3, "tol": 1e-10}
    one, auto = family(solver=solver, **options).fit(x, y), family(**options).fit(x, y)
    assert one.converged_
    assert one.history_[-1]["loss"] == pytest.approx(auto.history_[-1]["loss"], rel=1e-12)
    np.testing.assert_allclose(one.predict_proba(x), auto.predict_proba(x), rtol=0, atol=1e-7)


# ------------------------------------------------------------------ weights


@families
@few
@given(seed=seeds, class_weight=st.sampled_from([None, "balanced", {0: 0.5, 1: 3.0}]))
def test_integer_weights_are_repeated_rows(family, seed, class_weight):
    x, y = data(seed)
    times = np.random.default_rng(seed).integers(0, 4, 80)
    times[:2] = 1  # both classes stay
    model = family(alpha=0.01, class_weight=class_weight)
    weighted = clone(model).fit(x, y, sample_weight=times)
    repeated = clone(model).fit(np.repeat(x, times, 0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, **CLOSE)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, **CLOSE)


@families
def test_class_weights_are_sample_weights(family):
    x, y = data()
    names = np.array(["low", "high"])[y]
    given_ = family(alpha=0.01, class_weight={"low": 2.0, "high": 0.5}).fit(x, names)
    by_row = family(alpha=0.01).fit(x, names, sample_weight=np.where(names == "low", 2.0, 0.5))
    np.testing.assert_allclose(given_.coef_, by_row.coef_, **CLOSE)
    partly = family(alpha=0.01, class_weight={"high": 0.5}).fit(x, names)  # the rest count one
    by_row = family(alpha=0.01).fit(x, names, sample_weight=np.where(names == "high", 0.5, 1.0))
    np.testing.assert_allclose(partly.coef_, by_row.coef_, **CLOSE)


@families
def test_balanced_classes_have_equal_weight(family):
    x, y = data(n=200)
    keep = (y == 1) | (np.arange(200) % 5 == 0)
    x, y = x[keep], y[keep]
    counts = np.bincount(y)
    by_row = len(y) / (2 * counts[y])
    balanced = family(alpha=0.01, class_weight="balanced").fit(x, y)
    np.testing.assert_allclose(
        balanced.coef_, family(alpha=0.01).fit(x, y, sample_weight=by_row).coef_, **CLOSE
    )
    # The gradient in the intercept vanishes: weighted probabilities match the balanced shares.
    probability = balanced.predict_proba(x)[:, 1]
    assert by_row @ probability / by_row.sum() == pytest.approx(0.5, abs=1e-6)


# ------------------------------------------------------------------ separation


def separable(x, y):
    """Whether some direction loses no row and gains some, by linear programming."""
    classes = int(y.max()) + 1
    ones = np.c_[x, np.ones(len(x))]
    rows = []
    for row, own in zip(ones, y, strict=True):
        for k in range(classes):
            if k != own:
                gain = np.zeros((classes, ones.shape[1]))
                gain[own], gain[k] = row, -row
                rows.append(gain.ravel())
    gains = np.array(rows)
    best = scipy.optimize.linprog(
        -gains.sum(0), A_ub=-gains, b_ub=np.zeros(len(gains)), bounds=(-1, 1)
    )
    return -best.fun > 1e-7


def fit_and_listen(model, x, y):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y)
    return [w.category for w in caught], [str(w.message) for w in caught]


@few
@given(
    seed=seeds,
    n=st.integers(5, 25),
    d=st.integers(1, 3),
    classes=st.integers(2, 3),
    whole_numbers=st.booleans(),
    solver=st.sampled_from(["newton", "newton-cg"]),
)
def test_a_warning_if_and_only_if_a_hyperplane_separates(
    seed, n, d, classes, whole_numbers, solver
):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (n, d)).astype(float) if whole_numbers else rng.normal(size=(n, d))
    y = (1.5 * x @ rng.normal(size=(d, classes)) + rng.gumbel(size=(n, classes))).argmax(1)
    y[:classes] = range(classes)
    kinds = [SoftmaxClassifier] + [LogisticClassifier] * (classes == 2)
    for family in kinds:
        model = family(alpha=0, solver=solver)
        warned, _ = fit_and_listen(model, x, y)
        assert (SeparationWarning in warned) == separable(x, y)
        assert model.converged_ != (SeparationWarning in warned)
        assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()


@families
@solvers
def test_separable_classes_are_reported_and_predicted(family, solver):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    y = (x[:, 0] > 0.1).astype(int)
    model = family(alpha=0, solver=solver)
    warned, messages = fit_and_listen(model, x, y)
    assert warned == [SeparationWarning]
    for part in (family.__name__, "hyperplane separates", "alpha=0", "Set alpha > 0", "column"):
        assert part in messages[0]
    assert not model.converged_
    assert model.score(x, y) == 1
    assert np.isfinite(model.predict_log_proba(x)).all()
    # A penalty, however small, gives a maximum and no warning.
    assert fit_and_listen(family(alpha=1e-6, solver=solver), x, y)[0] == []


@solvers
@pytest.mark.parametrize("columns", [[0, 1], [2, 3], [0, 1, 2, 3]])
def test_one_class_that_stands_apart_is_seen(solver, columns):
    # Setosa can be told from the other two irises, which overlap: quasi-separation.
    x, y = load_iris(return_X_y=True)
    model = SoftmaxClassifier(alpha=0, solver=solver)
    warned, _ = fit_and_listen(model, x[:, columns], y)
    assert warned == [SeparationWarning] and not model.converged_
    overlapping = SoftmaxClassifier(alpha=0, solver=solver)
    assert fit_and_listen(overlapping, x[50:, columns], y[50:])[0] == []
    assert overlapping.converged_


@families
def test_soft_labels_are_never_separable(family):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    y = np.where(x[:, 0] > 0, 0.99, 0.01)
    model = family(alpha=0)
    assert fit_and_listen(model, x, y)[0] == [] and model.converged_


def test_perfect_data_of_section_3_6():
    # x ~ N(0, 1), y = 1{x > 0}: the slope grows with every iteration, to no limit.
    x = np.random.default_rng(0).normal(size=(100, 1))
    y = (x[:, 0] > 0).astype(int)
    slopes = []
    for max_iter in (1, 5, 10, 20):
        model = LogisticClassifier(alpha=0, max_iter=max_iter)
        fit_and_listen(model, x, y)
        slopes.append(model.coef_[0, 0])
    assert slopes == sorted(slopes) and slopes[-1] > 100 > 10 * slopes[0]
    # With a penalty it is finite, and does not depend on where one stops.
    finite = [LogisticClassifier(alpha=0.01, tol=tol).fit(x, y).coef_[0, 0] for tol in (1e-4, 1e-8)]
    assert finite[0] == pytest.approx(finite[1], rel=1e-3) and finite[1] < 20
    assert finite[1] == pytest.approx(peer(0.01, 100).fit(x, y).coef_[0, 0], rel=1e-6)


# ------------------------------------------------------------------ the book's chapter 3


def fitted(family, coef, intercept):
    """A model with given parameters."""
    model = family()
    model.coef_, model.intercept_ = np.array(coef, dtype=float), np.array(intercept, dtype=float)
    model.classes_ = np.arange(max(len(model.coef_), 2))
    model.n_features_in_ = model.coef_.shape[1]
    return model


def test_exercise_3_2():
    model = fitted(LogisticClassifier, [[0.5]], [1.0])
    log_probability = model.predict_log_proba([[-2.0], [1.0]])
    loss = -(log_probability[0, 0] + log_probability[1, 1]) / 2
    assert loss == pytest.approx(0.447280, abs=5e-7)  # six digits are given


def test_softmax_probabilities_of_section_3_7():
    model = fitted(SoftmaxClassifier, [[2, 1], [-1, 0], [1, -3]], [3, 0, -1])
    probability = model.predict_proba([[0.0, 0.0], [1.0, 1.0], [0.0, -2.0]])
    expected = [
        [0.93624, 0.046613, 0.017148],
        [0.998966, 0.000911, 0.000123],
        [0.017868, 0.006573, 0.975559],
    ]
    # Six digits are given, one of them with five.
    np.testing.assert_allclose(probability, expected, rtol=0, atol=3e-6)


def test_decision_regions_of_section_3_7():
    # For the printed W, class 1 holds where 3 x1 + x2 > -3 and x1 + 4 x2 > -4.
    model = fitted(SoftmaxClassifier, [[2, 1], [-1, 0], [1, -3]], [3, 0, -1])
    x = np.random.default_rng(0).normal(0, 5, (10_000, 2))
    inside = (3 * x[:, 0] + x[:, 1] > -3) & (x[:, 0] + 4 * x[:, 1] > -4)
    np.testing.assert_array_equal(model.predict(x) == 0, inside)


def test_the_voting_rule_and_the_transition_interval():
    model = fitted(LogisticClassifier, [[2.22]], [-15.49])
    centre, width = 15.49 / 2.22, 1 / 2.22
    # m = 1/2 at x_c = -b/w; 0.05 and 0.95 at ln 19 times the scale from it.
    at = np.array([[centre], [centre - np.log(19) * width], [centre + np.log(19) * width]])
    np.testing.assert_allclose(model.predict_proba(at)[:, 1], [0.5, 0.05, 0.95], rtol=1e-12)
    assert model.predict([[centre - 1e-6], [centre + 1e-6]]).tolist() == [0, 1]


@few
@given(seed=seeds)
def test_scored_data_have_scored_coefficients(seed):
    # Section 3.5: w_z = w sigma and b_z = b + w mu, for a fit without penalty.
    x, y = data(seed, n=150)
    raw = LogisticClassifier(alpha=0, tol=1e-10)
    warned, _ = fit_and_listen(raw, x, y)
    if warned:
        return  # separable data have no fit
    mu, sigma = x.mean(0), x.std(0, ddof=1)
    scored = LogisticClassifier(alpha=0, tol=1e-10).fit((x - mu) / sigma, y)
    np.testing.assert_allclose(scored.coef_, raw.coef_ * sigma, **CLOSE)
    np.testing.assert_allclose(scored.intercept_, raw.intercept_ + raw.coef_ @ mu, **CLOSE)


@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
def test_units_far_from_one_are_no_obstacle(solver):
    x, y = data(n=200)
    reference = LogisticClassifier(alpha=0, solver=solver).fit(x, y)
    units = np.array([1e-6, 1.0, 1e6])
    model = LogisticClassifier(alpha=0, solver=solver).fit(x * units, y)
    assert model.converged_
    np.testing.assert_allclose(model.coef_ * units, reference.coef_, **CLOSE)


# ------------------------------------------------------------------ how a fit goes


def test_a_column_of_zeros_beside_a_repeated_one_gets_no_weight():
    rng = np.random.RandomState(0)
    X = rng.randn(60, 2)
    repeated = np.column_stack([X, X[:, 0], np.zeros(60)])
    model = SoftmaxClassifier(alpha=0).fit(repeated, rng.randint(0, 3, 60))
    # The rows of three logits sum to zero, to rounding.
    np.testing.assert_allclose(model.coef_[:, 3], 0, atol=1e-12)
    np.testing.assert_allclose(model.coef_[:, 0], model.coef_[:, 2], atol=1e-8)


@families
@solvers
def test_history(family, solver):
    x, y = data()
    model = family(alpha=0.01, solver=solver).fit(x, y)
    history = model.history_
    assert len(history) == model.n_iter_
    assert [record["iteration"] for record in history] == list(range(1, len(history) + 1))
    losses = [record["loss"] for record in history]
    # Down, but for rounding at the end.
    assert all(after <= before + 1e-14 for before, after in itertools.pairwise(losses))
    assert history[-1]["gradient_norm"] < 1e-7
    assert {"decrement", "seconds"} <= history[0].keys()
    # The loss is the mean cross-entropy plus the penalty.
    log_probability = model.predict_log_proba(x)[np.arange(80), y]
    expected = -log_probability.mean() + 0.005 * (model.coef_**2).sum()
    assert losses[-1] == pytest.approx(expected, rel=1e-12)


@families
def test_too_few_iterations_are_reported(family):
    x, y = data()
    with pytest.warns(ConvergenceWarning, match=r"max_iter=1.*tol=1e-08.*raise max_iter"):
        model = family(max_iter=1).fit(x, y)
    assert not model.converged_ and model.n_iter_ == 1


@families
@solvers
def test_an_interrupt_keeps_what_was_fitted(family, solver, monkeypatch):
    x, y = data()
    steps = []
    plain = FitMonitor.__call__

    def impatient(self, record, attributes):
        plain(self, record, attributes)
        steps.append(attributes())
        if len(steps) == 2:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(FitMonitor, "__call__", impatient)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = family(solver=solver).fit(x, y)
    assert not model.converged_ and len(model.history_) == 2
    np.testing.assert_array_equal(model.coef_, steps[-1]["coef_"])
    assert model.predict(x).shape == (80,)


@families
@solvers
def test_warm_start_continues(family, solver):
    x, y = data()
    cold = family(alpha=0.01, solver=solver, tol=1e-10).fit(x, y)
    warm = clone(cold).set_params(warm_start=True).fit(x, y)
    warm.fit(x, y)
    assert warm.n_iter_ <= 2 < cold.n_iter_
    np.testing.assert_allclose(warm.coef_, cold.coef_, **CLOSE)
    nearby = warm.set_params(alpha=0.011).fit(x, y)
    afresh = clone(cold).set_params(alpha=0.011).fit(x, y)
    assert nearby.n_iter_ <= afresh.n_iter_
    np.testing.assert_allclose(nearby.coef_, afresh.coef_, **CLOSE)
    warm.fit(x[:, :2], y)  # of another shape: from the start
    assert warm.coef_.shape[1] == 2


@families
def test_a_refit_forgets(family):
    x, y = data()
    once = family().fit(x, y)
    again = family().fit(-x, y).fit(x, y)
    np.testing.assert_array_equal(once.coef_, again.coef_)
    copy = pickle.loads(pickle.dumps(once))
    np.testing.assert_array_equal(copy.predict_proba(x), once.predict_proba(x))


@families
def test_a_progress_bar_when_asked(family, capsys):
    x, y = data()
    family().fit(x, y)
    assert capsys.readouterr() == ("", "")
    family(verbose=1).fit(x, y)
    assert family.__name__ in capsys.readouterr().err


# ------------------------------------------------------------------ probabilities, kinds of input


@families
def test_probabilities(family):
    x, y = data()
    model = family(alpha=1e-3).fit(x, y)
    probability = model.predict_proba(x)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-15)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(x)), probability, rtol=1e-13)
    odds = model.decision_function(x)
    assert odds.shape == (80,)
    # One exponential and one division.
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-odds)), rtol=1e-13)
    np.testing.assert_array_equal(model.predict(x), (odds > 0).astype(int))


def test_log_probabilities_of_far_points_are_exact():
    model = fitted(SoftmaxClassifier, [[1.0], [0.0], [-1.0]], [0, 0, 0])
    log_probability = model.predict_log_proba([[1e4], [-1e4]])
    np.testing.assert_allclose(log_probability, [[0, -1e4, -2e4], [-2e4, -1e4, 0]], rtol=1e-15)
    two = fitted(LogisticClassifier, [[1.0]], [0.0])
    np.testing.assert_allclose(two.predict_log_proba([[1e4]]), [[-1e4, 0]], rtol=1e-15)


@families
def test_kinds_of_input(family):
    x, y = data()
    reference = family().fit(x, y)
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    framed = family().fit(frame, pd.Series(y))
    assert framed.feature_names_in_.tolist() == ["a", "b", "c"]
    # A frame stores its columns one after the other, which changes the order of sums.
    np.testing.assert_allclose(framed.coef_, reference.coef_, rtol=1e-12)
    tensor = family().fit(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_array_equal(tensor.coef_, reference.coef_)
    probability = tensor.predict_proba(torch.from_numpy(x))
    assert torch.is_tensor(probability)
    np.testing.assert_array_equal(probability, reference.predict_proba(x))
    sparse = family().fit(sp.csr_array(x), y)
    np.testing.assert_allclose(sparse.coef_, reference.coef_, **CLOSE)
    np.testing.assert_allclose(sparse.predict_proba(sp.csr_array(x)), probability, rtol=1e-6)
    single = family().fit(x.astype(np.float32), y)
    assert single.predict_proba(x.astype(np.float32)).dtype == np.float32
    assert single.decision_function(x.astype(np.float32)).dtype == np.float32
    # Inputs are known to 6e-8.
    np.testing.assert_allclose(single.coef_, reference.coef_, rtol=0, atol=1e-4)


@families
def test_global_random_states_are_untouched(family):
    x, y = data(n=5_000)  # thinned on the way
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    family().fit(x, y)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


def test_in_a_pipeline_with_scaling():
    x, y = load_iris(return_X_y=True, as_frame=True)
    scores = cross_val_score(make_pipeline(StandardScaler(), SoftmaxClassifier()), x, y, cv=5)
    assert scores.mean() > 0.94
