"""Kernel ridge regressions fitted together are those that are fitted alone."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import KFold, LeaveOneOut, RepeatedKFold

from tests.estimators.callable_kernel import CallableKernel
from thetalearn import KernelRidgeRegressor
from thetalearn.estimators.fused import kernel as fused
from thetalearn.exceptions import RankWarning
from thetalearn.fusion import NotFusable, ReplicaFit, Source
from thetalearn.representations.kernels import KERNELS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.sin(X[:, 0]) + 0.1 * RNG.normal(size=60)
WEIGHT = RNG.uniform(0, 2, size=60) * (np.arange(60) % 7 > 0)
ALPHAS = np.logspace(-4, 1, 8)
BUDGET = 2**28


def take(data, rows):
    return data.iloc[rows] if hasattr(data, "iloc") else data[rows]


def fits_of(models, sets, weight=None):
    return [
        ReplicaFit(clone(model), 0, rows, None if weight is None else weight[rows])
        for rows in sets
        for model in models
    ]


def fit_together(fits, X=X, y=Y, budget=BUDGET):
    done = [
        fit
        for part in type(fits[0].estimator).fit_replicas(fits, [Source(X, y)], memory_budget=budget)
        for fit in part
    ]
    assert sorted(map(id, done)) == sorted(map(id, fits))
    return fits


def said(fit):
    return [(w.category, str(w.message)) for w in fit.warnings]


def check_law(fits, X=X, y=Y, rtol=1e-8):
    """What each fit left is what ``fit`` leaves, in numbers to rounding times the condition."""
    for fit in fits:
        alone = ReplicaFit(clone(fit.estimator), 0, fit.rows, fit.sample_weight)
        with alone.recording():
            alone.estimator.fit(take(X, fit.rows), take(y, fit.rows), fit.sample_weight)
        assert type(fit.error) is type(alone.error) and str(fit.error) == str(alone.error)
        assert said(fit) == said(alone)
        here, there = vars(fit.estimator), vars(alone.estimator)
        assert set(here) == set(there)
        if fit.error is not None:
            continue
        scale = np.abs(there["dual_coef_"]).max()
        np.testing.assert_allclose(
            here["dual_coef_"], there["dual_coef_"], rtol=rtol, atol=rtol * scale
        )
        np.testing.assert_array_equal(here["X_fit_"], there["X_fit_"])
        assert here["X_fit_"].dtype == there["X_fit_"].dtype
        assert here["rank_"] == there["rank_"]
        np.testing.assert_allclose(here["condition_number_"], there["condition_number_"], rtol=1e-6)
        assert repr(here["kernel_"]) == repr(there["kernel_"]) or callable(fit.estimator.kernel)
        np.testing.assert_allclose(
            fit.estimator.predict(take(X, slice(None))),
            alone.estimator.predict(take(X, slice(None))),
            rtol=0,
            atol=1e-10 if X is not SINGLE else 1e-5,
        )


SINGLE = X.astype(np.float32)
FOLDS = [train for train, _ in KFold(4).split(X)]


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_many_penalties_on_folds(kernel, weight):
    models = [KernelRidgeRegressor(kernel, alpha=a) for a in ALPHAS]
    # Every penalty is compared on a fold, and every fold with two penalties.
    check_law(fit_together(fits_of(models, FOLDS, weight))[::3])


def test_few_penalties():
    models = [KernelRidgeRegressor(alpha=a) for a in ALPHAS[:2]]
    check_law(fit_together(fits_of(models, FOLDS)))


def test_each_set_has_its_own_scale():
    models = [KernelRidgeRegressor(alpha=a, gamma="scale") for a in ALPHAS]
    fits = fit_together(fits_of(models, FOLDS, WEIGHT))
    check_law(fits)
    assert len({fit.estimator.kernel_.keywords["gamma"] for fit in fits}) == len(FOLDS)


@pytest.mark.parametrize("weight", [None, np.full(60, 0.3), WEIGHT], ids=["plain", "equal", "any"])
def test_leave_one_out(weight):
    models = [KernelRidgeRegressor(alpha=a) for a in ALPHAS[::3]]
    sets = [train for train, _ in LeaveOneOut().split(X)]
    check_law(fit_together(fits_of(models, sets, weight))[::4])


def test_leaving_few_out_is_block_elimination(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a set was solved on its own")

    monkeypatch.setattr(fused._SourceFits, "_fit_set", refuse)
    sets = [train for train, _ in RepeatedKFold(n_splits=15, n_repeats=2).split(X)]
    check_law(fit_together(fits_of([KernelRidgeRegressor(alpha=0.1)], sets)))


def test_rows_that_repeat_overlap_and_nest():
    rng = np.random.default_rng(1)
    sets = [rng.integers(0, 60, size=n) for n in (1, 2, 40, 60)] + [np.arange(59, -1, -1)]
    check_law(fit_together(fits_of([KernelRidgeRegressor(alpha=a) for a in ALPHAS], sets)))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 20), st.integers(1, 7))
def test_any_sets_of_rows(seed, n_rows, n_sets, n_penalties):
    rng = np.random.default_rng(seed)
    sets = [rng.choice(60, size=n_rows) for _ in range(n_sets)]
    models = [KernelRidgeRegressor(alpha=a) for a in rng.uniform(0.01, 1, n_penalties)]
    check_law(fit_together(fits_of(models, sets)))


def test_several_targets_frames_and_single_precision():
    targets = np.column_stack([Y, X[:, 1]])
    frame = pd.DataFrame(X, columns=list("abcd"))
    models = [KernelRidgeRegressor(alpha=a) for a in ALPHAS]
    check_law(fit_together(fits_of(models, FOLDS), frame, targets), frame, targets)
    check_law(fit_together(fits_of(models, FOLDS), SINGLE), SINGLE)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_singular_matrices_are_reported_as_alone(kernel):
    models = [KernelRidgeRegressor(kernel, alpha=a) for a in (0.0, 1e-17, 1e-12, 1e-3, 1e-2, 1)]
    sets = [np.r_[rows, rows] for rows in FOLDS]
    fits = fit_together(fits_of(models, sets))
    check_law(fits, rtol=1e-6)
    assert any(category is RankWarning for fit in fits for category, _ in said(fit))


def test_a_callable_kernel_sees_one_set_of_rows_at_a_time():
    seen = []

    class Counting(CallableKernel):
        def __call__(self, X, Y):
            seen.append(len(X))
            return super().__call__(X, Y)

        def __deepcopy__(self, memo):
            return self

    fits = fit_together(fits_of([KernelRidgeRegressor(Counting(), alpha=a) for a in ALPHAS], FOLDS))
    assert seen == [len(rows) for rows in FOLDS]
    check_law(fits)


def test_an_indefinite_kernel_warns_in_every_fit():
    def distance(X, Y):
        return np.abs(X[:, :1] - Y[:, :1].T)

    models = [KernelRidgeRegressor(distance, alpha=a) for a in ALPHAS]
    fits = fit_together(fits_of(models, FOLDS))
    check_law(fits)
    assert all(said(fit) for fit in fits)


def test_an_error_stays_with_its_fit():
    models = [KernelRidgeRegressor(alpha=a) for a in (-1.0, 0.1, "x")]
    fits = fit_together(fits_of(models, [FOLDS[0]]))
    assert [fit.error is None for fit in fits] == [False, True, False]
    check_law(fits)
    check_law(fit_together(fits_of([KernelRidgeRegressor(kernel_params={"a": 1})], FOLDS)))
    fits = fits_of([KernelRidgeRegressor()], FOLDS)
    for fit, weight in zip(fits, [None, np.full(45, -1.0), np.zeros(45), np.ones(45)], strict=True):
        fit.sample_weight = weight
    check_law(fit_together(fits))


def test_a_kernel_that_overflows_on_some_rows():
    far = X.copy()
    far[0] = 1e200
    models = [KernelRidgeRegressor("polynomial", alpha=a) for a in (0.1, 1)]
    fits = fit_together(fits_of(models, [np.arange(30), np.arange(1, 30), np.arange(2, 31)]), far)
    assert [fit.error is None for fit in fits] == [False, False, True, True, True, True]


def test_what_is_not_fused():
    for model in (
        KernelRidgeRegressor("precomputed"),
        KernelRidgeRegressor(device="meta"),
    ):
        with pytest.raises(NotFusable):
            model.replica_parameters()
    assert KernelRidgeRegressor().replica_parameters() == {"alpha"}
    with pytest.raises(NotFusable, match="memory_budget"):
        fit_together(fits_of([KernelRidgeRegressor()], FOLDS), budget=1000)
    with pytest.raises(NotFusable, match="NaN"):
        fit_together(fits_of([KernelRidgeRegressor()], FOLDS), y=np.full(60, np.nan))


def test_predictions_together():
    models = [KernelRidgeRegressor(alpha=a) for a in ALPHAS]
    fits = fit_together(fits_of(models, FOLDS[:2]))
    estimators = [pickle.loads(pickle.dumps(fit.estimator)) for fit in fits]
    for new in (X[:7], X[:7].astype(np.float32)):
        together = KernelRidgeRegressor.predict_replicas(estimators, new, "predict")
        for values, estimator in zip(together, estimators, strict=True):
            alone = estimator.predict(new)
            assert values.shape == alone.shape and values.dtype == alone.dtype
            np.testing.assert_allclose(values, alone, atol=1e-10 if new.itemsize == 8 else 1e-5)
    assert KernelRidgeRegressor.predict_replicas(estimators, X, "score") is None


def test_fitted_attributes_serve_later_fits():
    fits = fit_together(fits_of([KernelRidgeRegressor(alpha=a) for a in ALPHAS], FOLDS))
    again = fits[0].estimator.fit(X, Y)
    np.testing.assert_array_equal(again.dual_coef_, clone(again).fit(X, Y).dual_coef_)
