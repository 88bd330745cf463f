"""The perceptron: the textbook's rule, step by step, in both forms."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_iris, make_blobs
from sklearn.metrics import pairwise
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.estimators.callable_kernel import CallableKernel
from thetalearn import PerceptronClassifier
from thetalearn.exceptions import ConvergenceWarning
from thetalearn.representations.kernels import KERNELS
from thetalearn.solvers.perceptron import Dual, Primal

#: With this kernel the dual form has the features (x, 1) of the primal one.
DUAL = {"kernel": "polynomial", "degree": 1, "gamma": 1.0, "coef0": 1.0}
CHESS = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])


# Whole numbers, on which both forms are exact.
@st.composite
def problems(draw, n_classes=2):
    n = draw(st.integers(2, 30))
    X = draw(arrays(np.float64, (n, 2), elements=st.integers(-4, 4)))
    y = draw(arrays(np.int64, n, elements=st.integers(0, n_classes - 1)))
    assume(len(np.unique(y)) == n_classes)
    return X, y, draw(st.integers(0, 1000))


def fit(X, y, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return PerceptronClassifier(**parameters).fit(X, y)


# Where the classes cannot be separated every fit takes all of its epochs.
@parametrize_with_checks(
    [
        PerceptronClassifier(kernel, max_iter=50)
        for kernel in (*KERNELS, "precomputed", CallableKernel())
    ]
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("sampling", ["replacement", "shuffle"])
@given(problem=problems())
def test_the_rule_step_by_step(sampling, problem):
    X, y, seed = problem
    rows, labels = np.column_stack([X, np.ones(len(X))]), 2 * y - 1
    rng = np.random.RandomState(seed)
    w, best, mistakes = np.zeros(3), np.zeros(3), []
    fewest = np.sum(np.where(rows @ w >= 0, 1, -1) != labels)
    while fewest and len(mistakes) < 6:
        mistakes.append(0)
        n = len(X)
        for m in rng.permutation(n) if sampling == "shuffle" else rng.randint(n, size=n):
            if labels[m] != (1 if w @ rows[m] >= 0 else -1):
                w = w + labels[m] * rows[m]
                mistakes[-1] += 1
        errors = np.sum(np.where(rows @ w >= 0, 1, -1) != labels)
        if errors < fewest:
            fewest, best = errors, w
    model = fit(X, y, sampling=sampling, max_iter=6, random_state=seed)
    np.testing.assert_array_equal(model.coef_[0], best[:2])
    np.testing.assert_array_equal(model.intercept_, best[2:])
    assert [record["mistakes"] for record in model.history_] == mistakes
    assert model.history_[-1]["errors"] == fewest
    assert model.n_iter_ == len(mistakes)
    assert model.converged_ == (fewest == 0)


@given(problem=problems())
def test_primal_is_dual(problem):
    X, y, seed = problem
    primal = fit(X, y, max_iter=20, random_state=seed)
    dual = fit(X, y, max_iter=20, random_state=seed, **DUAL)
    np.testing.assert_array_equal(dual.dual_coef_ @ dual.support_vectors_, primal.coef_)
    np.testing.assert_array_equal(dual.dual_coef_.sum(1), primal.intercept_)
    np.testing.assert_array_equal(dual.decision_function(X), primal.decision_function(X))
    assert [r["mistakes"] for r in dual.history_] == [r["mistakes"] for r in primal.history_]


def test_primal_is_dual_for_real_numbers_and_several_classes():
    X, y = load_iris(return_X_y=True)
    primal = fit(X, y, max_iter=30, random_state=0)
    dual = fit(X, y, max_iter=30, random_state=0, **DUAL)
    np.testing.assert_allclose(dual.dual_coef_ @ dual.support_vectors_, primal.coef_, rtol=1e-9)
    # Label times dual coefficient is a number of mistakes.
    signed = dual.dual_coef_ * np.where(y[dual.support_] == np.arange(3)[:, None], 1, -1)
    assert (signed >= 0).all()
    assert (signed == signed.round()).all()
    np.testing.assert_array_equal(dual.support_vectors_, X[dual.support_])


@given(
    rows=arrays(np.float64, (5, 3), elements=st.floats(-3, 3)),
    positive=arrays(bool, 5),
    visits=st.lists(st.integers(0, 4), max_size=20),
)
def test_an_update_adds_the_squared_length_to_the_margin(rows, positive, visits):
    primal, dual = Primal(positive, rows), Dual(positive, rows @ rows.T)
    for m in visits:
        sign = 1 if positive[m] else -1
        before = sign * (primal.weights @ rows[m]), sign * dual.scores[m]
        primal.learn(m)
        dual.learn(m)
        after = sign * (primal.weights @ rows[m]), sign * dual.scores[m]
        step = rows[m] @ rows[m]
        np.testing.assert_allclose(np.subtract(after, before), step, rtol=1e-9, atol=1e-9)


def test_the_sign_of_zero_is_plus_one():
    rows, positive = np.eye(3), np.array([True, False, True])
    for start in (Primal(positive, rows), Dual(positive, rows)):
        np.testing.assert_array_equal(start.wrong(slice(None)), ~positive)
    model = fit([[-1.0], [1.0]], ["a", "b"], random_state=0)
    model.coef_[:] = model.intercept_[:] = 0
    np.testing.assert_array_equal(model.predict([[3.0]]), ["b"])


@given(seed=st.integers(0, 1000), margin=st.floats(0.05, 0.5))
def test_mistakes_are_bounded_by_the_margin(seed, margin):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(60, 2))
    plane = rng.normal(size=3)
    plane /= np.linalg.norm(plane)
    distance = np.column_stack([X, np.ones(60)]) @ plane
    kept = np.abs(distance) >= margin
    X, y = X[kept], distance[kept] > 0
    assume(len(np.unique(y)) == 2)
    model = PerceptronClassifier(random_state=seed).fit(X, y)
    radius = np.sqrt(1 + (X**2).sum(1).max())
    assert model.converged_
    assert model.score(X, y) == 1
    assert sum(record["mistakes"] for record in model.history_) <= (radius / margin) ** 2


def test_a_chessboard_needs_the_quadratic_kernel():
    with pytest.warns(ConvergenceWarning, match=r"max_iter=50 epochs done\): [1-3] of 4 rows"):
        line = PerceptronClassifier(max_iter=50, random_state=0).fit(*CHESS)
    assert not line.converged_
    assert line.n_iter_ == 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conic = PerceptronClassifier(
            "polynomial", degree=2, gamma=1.0, coef0=0.0, random_state=0
        ).fit(*CHESS)
    assert conic.converged_
    np.testing.assert_array_equal(conic.predict(CHESS[0]), CHESS[1])


def test_the_best_iterate_is_kept():
    X, y = make_blobs(200, centers=2, cluster_std=4.0, random_state=0)
    errors = []
    for epochs in (1, 3, 10, 50):
        model = fit(X, y, max_iter=epochs, random_state=0)
        errors.append(np.sum(model.predict(X) != y))
        assert errors[-1] == model.history_[-1]["errors"]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 60


def test_several_classes_are_one_against_the_rest():
    X, y = make_blobs(120, centers=4, cluster_std=0.5, random_state=3)
    model = fit(X, y, random_state=0, max_iter=100)
    for k in range(4):
        alone = fit(X, y == k, random_state=0, max_iter=100)
        np.testing.assert_array_equal(model.coef_[k], alone.coef_[0])
    assert model.decision_function(X).shape == (120, 4)
    assert fit(X, y, kernel="rbf", gamma=1.0, random_state=0).score(X, y) == 1


def test_precomputed_is_the_named_kernel():
    X, y = load_iris(return_X_y=True)
    named = fit(X, y, kernel="rbf", gamma=1.0, max_iter=20, random_state=0)
    gram = pairwise.rbf_kernel(X, gamma=1.0)
    computed = fit(gram, y, kernel="precomputed", max_iter=20, random_state=0)
    np.testing.assert_array_equal(computed.support_, named.support_)
    np.testing.assert_array_equal(computed.dual_coef_, named.dual_coef_)
    np.testing.assert_allclose(
        computed.decision_function(gram), named.decision_function(X), rtol=1e-10, atol=1e-10
    )
    model = PerceptronClassifier("precomputed", max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert cross_val_score(model, gram, y).mean() > 0.9
    with pytest.raises(ValueError, match=r"square kernel matrix .* X has shape \(150, 149\)"):
        model.fit(gram[:, 1:], y)


def test_the_seed_alone_decides():
    X, y = make_blobs(100, centers=2, cluster_std=4.0, random_state=0)
    first = fit(X, y, max_iter=5, random_state=7)
    np.random.seed(3)  # noqa: NPY002
    second = fit(X, y, max_iter=5, random_state=7)
    other = fit(X, y, max_iter=5, random_state=8)
    np.testing.assert_array_equal(first.coef_, second.coef_)
    assert (first.coef_ != other.coef_).any()


def test_no_fitted_attribute_outlives_a_change_of_form():
    X, y = CHESS
    model = fit(X, y, max_iter=5)
    # Enough epochs for any order of the rows.
    model.set_params(kernel="rbf", max_iter=100, random_state=0).fit(X, y)
    assert not hasattr(model, "coef_")
    np.testing.assert_array_equal(model.predict(X), y)
    with pytest.warns(ConvergenceWarning):
        model.set_params(kernel="linear", max_iter=5).fit(X, y)
    assert not hasattr(model, "dual_coef_")
    assert model.predict(torch.from_numpy(X)).shape == (4,)


def test_what_cannot_be_learnt_from_is_refused():
    X, y = CHESS
    with pytest.raises(ValueError, match="learns from mistakes and needs class labels"):
        PerceptronClassifier().fit(X, [0.1, 0.9, 0.8, 0.3])
    with pytest.raises(ValueError, match="learns from mistakes and needs class labels"):
        PerceptronClassifier().fit(X, np.full((4, 2), 0.5))
    with pytest.raises(ValueError, match="contains only one class"):
        PerceptronClassifier().fit(X, np.zeros(4))
    with pytest.raises(ValueError, match="'sampling' parameter"):
        PerceptronClassifier(sampling="cyclic").fit(X, y)
    assert "sample_weight" not in inspect.signature(PerceptronClassifier.fit).parameters


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_interruption_keeps_the_best_so_far(kernel, monkeypatch):
    X, y = make_blobs(100, centers=2, cluster_std=6.0, random_state=0)
    expected = fit(X, y, kernel=kernel, max_iter=3, random_state=0)
    form = Primal if kernel == "linear" else Dual
    sweep, epochs = form.sweep, []

    def interrupted(self, order):
        epochs.append(order)
        if len(epochs) == 4:
            raise KeyboardInterrupt
        return sweep(self, order)

    monkeypatch.setattr(form, "sweep", interrupted)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = PerceptronClassifier(kernel, random_state=0).fit(X, y)
    assert model.n_iter_ == len(model.history_) == 3
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
