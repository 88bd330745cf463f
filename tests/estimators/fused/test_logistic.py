"""Logistic and softmax regressions fitted together are those that are fitted alone."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import KFold, LeaveOneOut

from thetalearn import LogisticClassifier, SoftmaxClassifier
from thetalearn.exceptions import ConvergenceWarning, SeparationWarning
from thetalearn.fusion import NotFusable, ReplicaFit, Source

RNG = np.random.default_rng(0)
N = 90
X = RNG.normal(size=(N, 4))
Z = X @ RNG.normal(size=(4, 3)) + RNG.gumbel(size=(N, 3))
TWO = (Z[:, 0] > Z[:, 1]).astype(int)
THREE = np.array(["a", "b", "c"])[Z.argmax(1)]
WEIGHT = RNG.uniform(0, 2, size=N) * (np.arange(N) % 7 > 0)
FOLDS = [train for train, _ in KFold(4, shuffle=True, random_state=0).split(X)]
ALPHAS = np.logspace(-5, 1, 5)
BUDGET = 2**28
BOTH = pytest.mark.parametrize(
    ("kind", "y"),
    [(LogisticClassifier, TWO), (SoftmaxClassifier, THREE), (SoftmaxClassifier, TWO)],
    ids=["logistic", "softmax", "softmax of two"],
)
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def take(data, rows):
    return data.iloc[rows] if hasattr(data, "iloc") else data[rows]


def fits_of(models, sets, weight=None):
    return [
        ReplicaFit(clone(model), 0, rows, None if weight is None else weight[rows])
        for rows in sets
        for model in models
    ]


def fit_together(fits, X, y, budget=BUDGET):
    kind = type(fits[0].estimator)
    done = [f for p in kind.fit_replicas(fits, [Source(X, y)], memory_budget=budget) for f in p]
    assert sorted(map(id, done)) == sorted(map(id, fits))
    return fits


def said(fit):
    return [(w.category, str(w.message)) for w in fit.warnings]


def check_law(fits, X, y, coef_tol=1e-8, proba_tol=1e-10):
    """What each fit left is what ``fit`` leaves: the same steps, to rounding."""
    for fit in fits:
        alone = ReplicaFit(clone(fit.estimator), 0, fit.rows, fit.sample_weight)
        with alone.recording():
            alone.estimator.fit(take(X, fit.rows), take(y, fit.rows), fit.sample_weight)
        assert type(fit.error) is type(alone.error) and str(fit.error) == str(alone.error)
        assert said(fit) == said(alone)
        here, there = fit.estimator, alone.estimator
        assert set(vars(here)) == set(vars(there))
        if fit.error is not None:
            continue
        np.testing.assert_array_equal(here.classes_, there.classes_)
        assert here.classes_.dtype == there.classes_.dtype
        assert (here.n_iter_, here.converged_) == (there.n_iter_, there.converged_)
        scale = max(1.0, np.abs(there.coef_).max())
        for name in ("coef_", "intercept_"):
            assert getattr(here, name).shape == getattr(there, name).shape
            np.testing.assert_allclose(
                getattr(here, name), getattr(there, name), rtol=coef_tol, atol=coef_tol * scale
            )
        assert len(here.history_) == len(there.history_)
        for mine, other in zip(here.history_, there.history_, strict=True):
            assert list(mine) == list(other)
            assert mine["loss"] == pytest.approx(other["loss"], rel=1e-8, abs=1e-10)
            assert mine["decrement"] == pytest.approx(other["decrement"], rel=1e-4, abs=1e-8)
        np.testing.assert_allclose(
            here.predict_proba(X), there.predict_proba(X), rtol=0, atol=proba_tol
        )


def models_of(kind, **options):
    return [kind(alpha=a, **options) for a in ALPHAS]


@BOTH
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "options",
    [{}, {"fit_intercept": False}, {"penalize_intercept": True}, {"class_weight": "balanced"}],
    ids=["plain", "no intercept", "penalised", "balanced"],
)
def test_penalties_on_folds(kind, y, weight, options):
    fits = fit_together(fits_of(models_of(kind, **options), FOLDS, weight), X, y)
    check_law(fits[:: len(ALPHAS) + 1], X, y)  # on each fold another penalty


@BOTH
def test_models_may_differ_in_all_replica_parameters(kind, y):
    names = np.unique(y).tolist()
    models = [
        kind(alpha=0.1, class_weight={names[0]: 3.0}),
        kind(alpha=0.1, class_weight="balanced", tol=1e-3),
        kind(alpha=1e-3, max_iter=2),
        kind(alpha=1.0, tol=1e-12),
    ]
    assert {"alpha", "class_weight", "tol", "max_iter"} == models[0].replica_parameters()
    fits = fit_together(fits_of(models, FOLDS), X, y)
    check_law(fits, X, y)
    assert any(category is ConvergenceWarning for fit in fits for category, _ in said(fit))


@BOTH
def test_leave_one_out_and_rows_that_repeat(kind, y):
    sets = [train for train, _ in LeaveOneOut().split(X)][:40]
    check_law(fit_together(fits_of([kind(alpha=0.01)], sets), X, y)[::4], X, y)
    rng = np.random.default_rng(1)
    sets = [rng.integers(0, N, size=n) for n in (30, 90, 90, 200)]
    check_law(fit_together(fits_of(models_of(kind)[1:], sets), X, y), X, y)


@pytest.mark.parametrize("n_sets", [1, 3])
def test_thinned_problems(n_sets):
    rng = np.random.default_rng(2)
    many = rng.normal(size=(3_000, 3))
    y = (many[:, 0] + rng.normal(size=3_000) > 0).astype(int)
    sets = [train for train, _ in KFold(3).split(many)][:n_sets]
    fits = fit_together(fits_of(models_of(LogisticClassifier), sets), many, y)
    check_law(fits, many, y)
    three = np.digitize(many[:, 0] + rng.normal(size=3_000), [-1, 1])
    check_law(fit_together(fits_of(models_of(SoftmaxClassifier), sets), many, three), many, three)


def test_more_parameters_than_one_call_factorises():
    rng = np.random.default_rng(3)
    wide = rng.normal(size=(300, 25))
    y = np.digitize(wide[:, 0] + rng.normal(size=300), [-1, 0, 1])
    check_law(
        fit_together(fits_of(models_of(SoftmaxClassifier), [np.arange(250)]), wide, y), wide, y
    )


def test_a_fold_that_lacks_a_class():
    y = np.where(np.arange(N) < 20, "rare", THREE)
    sets = [np.arange(20, N), np.arange(N), np.arange(10, N), np.arange(20)]
    fits = fit_together(fits_of(models_of(SoftmaxClassifier), sets), X, y)
    check_law(fits, X, y)
    assert len(fits[0].estimator.classes_) == 3 and len(fits[5].estimator.classes_) == 4
    assert isinstance(fits[-1].error, ValueError)
    fits = fit_together(fits_of(models_of(LogisticClassifier), sets), X, y)
    check_law(fits, X, y)
    assert all(isinstance(fit.error, ValueError) for fit in fits)


def test_a_class_whose_rows_have_no_weight():
    weight = np.where(THREE == "a", 0.0, 1.0)
    fits = fit_together(fits_of(models_of(SoftmaxClassifier)[1:4], FOLDS[:2], weight), X, THREE)
    # Its intercept runs off, and rounding with it.
    check_law(fits, X, THREE, coef_tol=1e-4, proba_tol=1e-8)


@BOTH
def test_separable_classes_are_reported(kind, y):
    apart = X + 100 * np.unique(y, return_inverse=True)[1][:, None]
    models = [kind(alpha=0), kind(alpha=0, max_iter=7), kind(alpha=0.1)]
    fits = fit_together(fits_of(models, FOLDS[:2]), apart, y)
    # Along what has no end the iterates run off, and rounding with them.
    check_law(fits, apart, y, coef_tol=1e-4, proba_tol=1e-8)
    assert said(fits[0])[0][0] is SeparationWarning and not said(fits[2])


@BOTH
def test_one_step(kind, y):
    fits = fit_together(fits_of(models_of(kind, max_iter=1), FOLDS), X, y)
    check_law(fits, X, y)
    assert all(said(fit)[0][0] is ConvergenceWarning for fit in fits[:3])


@BOTH
def test_columns_far_from_zero_and_dependent_ones(kind, y):
    far = np.column_stack([X, X[:, 0] + 1e6, np.full(N, 3.0)])
    check_law(fit_together(fits_of(models_of(kind), FOLDS[:2]), far, y), far, y, 1e-6, 1e-8)
    twice = np.column_stack([X, X[:, 0]])
    models = [kind(alpha=0), kind(alpha=0, tol=1e-4)]
    check_law(fit_together(fits_of(models, FOLDS[:2]), twice, y), twice, y, 1e-6, 1e-8)


@BOTH
def test_an_error_stays_with_its_fit(kind, y):
    models = [kind(alpha=-1), kind(alpha=0.1), kind(class_weight={"none": 1.0}), kind(tol=0)]
    fits = fit_together(fits_of(models, FOLDS), X, y)
    assert [fit.error is None for fit in fits[:4]] == [False, True, False, False]
    check_law(fits, X, y)
    fits = fits_of(models_of(kind), [FOLDS[0]])
    fits[0].sample_weight = -np.ones(len(FOLDS[0]))
    check_law(fit_together(fits, X, y), X, y)


@BOTH
def test_frames_lists_and_single_precision(kind, y):
    frame = pd.DataFrame(X, columns=list("abcd"))
    series = pd.Series(y, index=np.arange(N) + 5)
    check_law(fit_together(fits_of(models_of(kind), FOLDS[:2]), frame, series), frame, series)
    single = X.astype(np.float32)
    fits = fit_together(fits_of(models_of(kind), FOLDS[:2]), single, y)
    check_law(fits, single, y, proba_tol=1e-6)
    column = y[:, None]
    fits = fit_together(fits_of(models_of(kind), FOLDS[:2]), X, column)
    check_law(fits, X, column)
    assert "column-vector" in said(fits[0])[0][1]


def test_soft_labels():
    shares = np.clip(RNG.beta(1, 1, size=N), 0, 1)
    check_law(fit_together(fits_of(models_of(LogisticClassifier), FOLDS), X, shares), X, shares)
    table = RNG.dirichlet(np.ones(3), size=N)
    check_law(fit_together(fits_of(models_of(SoftmaxClassifier), FOLDS), X, table), X, table)
    mixed = np.where(np.arange(N) < 80, TWO.astype(float), 0.5)
    sets = [np.arange(80), np.arange(5, N), np.arange(3, 79)]
    check_law(fit_together(fits_of(models_of(LogisticClassifier), sets), X, mixed), X, mixed)
    fits = fit_together(
        fits_of(models_of(LogisticClassifier, class_weight="balanced"), FOLDS), X, shares
    )
    check_law(fits, X, shares)
    assert all(fit.error is not None for fit in fits)


@BOTH
def test_small_budgets_make_small_stacks(kind, y):
    fits = fit_together(fits_of(models_of(kind), FOLDS), X, y, budget=40_000)
    check_law(fits[:: len(ALPHAS) + 1], X, y)


def test_what_is_not_fused():
    for model in (
        LogisticClassifier(solver="newton-cg"),
        LogisticClassifier(verbose=1),
        LogisticClassifier(device="meta"),
        LogisticClassifier(warm_start=True).fit(X, TWO),
    ):
        with pytest.raises(NotFusable):
            model.replica_parameters()
    with pytest.raises(NotFusable, match="sparse"):
        fit_together(fits_of(models_of(LogisticClassifier), FOLDS), sp.csr_array(X), TWO)
    with pytest.raises(NotFusable, match="1002 parameters"):
        fit_together(
            fits_of(models_of(SoftmaxClassifier), [np.arange(20)]), np.ones((20, 333)), THREE
        )
    with pytest.raises(NotFusable, match="NaN"):
        fit_together(fits_of(models_of(LogisticClassifier), FOLDS), np.full((N, 2), np.nan), TWO)


@BOTH
def test_decisions_together(kind, y):
    estimators = [fit.estimator for fit in fit_together(fits_of(models_of(kind), FOLDS), X, y)]
    frame = pd.DataFrame(X, columns=list("abcd"))
    for data in (X, X[:1], X.astype(np.float32), frame):
        if data is frame:
            estimators = [clone(e).fit(frame, y) for e in estimators[:4]]
        for method in METHODS:
            together = kind.predict_replicas(estimators, data, method)
            for values, estimator in zip(together, estimators, strict=True):
                alone = getattr(estimator, method)(data)
                assert values.shape == alone.shape and values.dtype == alone.dtype
                if method == "predict":
                    np.testing.assert_array_equal(values, alone)
                else:
                    tol = 1e-5 if values.dtype == np.float32 else 1e-12
                    np.testing.assert_allclose(values, alone, rtol=tol, atol=tol)
    assert "_decide_rows" not in vars(estimators[0])
    assert kind.predict_replicas(estimators, frame, "score") is None


def test_rows_that_are_better_seen_one_by_one():
    narrow = LogisticClassifier().fit(X[:, :2], TWO)
    for estimators, data in (
        ([narrow, clone(narrow).fit(X, TWO)], X),
        ([narrow, narrow], X),
        ([narrow, narrow], sp.csr_array(X[:, :2])),
        ([narrow, narrow], pd.DataFrame(X[:, :2], columns=["a", "b"])),
    ):
        assert LogisticClassifier.predict_replicas(estimators, data, "predict") is None


@BOTH
def test_a_fit_is_complete(kind, y):
    fits = fit_together(fits_of(models_of(kind, warm_start=True), FOLDS), X, y)
    copy = pickle.loads(pickle.dumps(fits[0].estimator))
    np.testing.assert_array_equal(copy.predict(X), fits[0].estimator.predict(X))
    assert copy.fit(X[FOLDS[0]], y[FOLDS[0]]).n_iter_ <= 2
