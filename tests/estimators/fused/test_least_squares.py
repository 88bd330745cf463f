"""Least-squares regressors fitted together: each ends as it would alone."""

import pickle
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit, TimeSeriesSplit

from thetalearn import (
    BSplineRegressor,
    ChebyshevRegressor,
    LinearRegressor,
    PolynomialRegressor,
    RandomFeatureRegressor,
    ReLURegressor,
)
from thetalearn.estimators.fused.least_squares import groups
from thetalearn.estimators.least_squares import LeastSquaresRegressor
from thetalearn.exceptions import ConvergenceWarning, DomainError, RankWarning
from thetalearn.fusion import NotFusable, ReplicaFit, Source

few = settings(max_examples=max(settings().max_examples // 10, 1), deadline=None)

RIDGES = [{"alpha": alpha} for alpha in (0.0, 1e-6, 1e-3, 0.1, 10.0)]

FAMILY = {
    "linear": LinearRegressor(),
    "without a constant": LinearRegressor(fit_intercept=False),
    "polynomial": PolynomialRegressor(2),
    "chebyshev": ChebyshevRegressor(3),
    "chebyshev on a domain": ChebyshevRegressor(3, domain=(-1, 1)),
    "splines": BSplineRegressor(3),
    "splines on a domain": BSplineRegressor(3, domain=(-1, 1)),
    "products of splines": BSplineRegressor(2, 2, product="tensor", domain=(-1, 1)),
    "relu": ReLURegressor(4, domain=(-1, 1)),
    "random features": RandomFeatureRegressor(15, gamma=0.5, random_state=0),
    "scaled random features": RandomFeatureRegressor(15, kind="relu", random_state=0),
}

#: Predictions agree to this share of the spread of y: what moments may lose, by measurement.
ATOL = 1e-11


def data(seed=0, n=120, d=2, m=None):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, d))
    noise = rng.normal(size=n if m is None else (n, m))
    signal = np.sin(2 * X.sum(1)) + 3
    return X, (signal if m is None else signal[:, None]) + 0.1 * noise


def nested(n):
    order = np.random.RandomState(0).permutation(n)
    return [order[:size] for size in (n // 4, n // 3, n // 2, n)]


SETS = {
    "folds": lambda n: [rows for rows, _ in KFold(5).split(np.empty(n))],
    "shuffled": lambda n: [r for r, _ in KFold(4, shuffle=True, random_state=0).split(range(n))],
    "repeated": lambda n: [
        r for r, _ in RepeatedKFold(n_splits=3, n_repeats=3, random_state=0).split(range(n))
    ],
    "random": lambda n: [
        r for r, _ in ShuffleSplit(6, test_size=0.1, random_state=0).split(range(n))
    ],
    "series": lambda n: [rows for rows, _ in TimeSeriesSplit(4).split(range(n))],
    "nested": nested,
    "one left out": lambda n: [np.delete(np.arange(n), i) for i in range(0, n, 8)],
    "two left out": lambda n: [np.delete(np.arange(n), [i, i + 1]) for i in range(0, n, 16)],
    "drawn with repeats": lambda n: list(np.random.RandomState(0).randint(0, n, (4, n))),
    "all rows": lambda n: [np.arange(n)],
}


def take(values, rows):
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]


def fit_together(estimator, X, y, sets, candidates, weight=None, memory_budget=2**28):
    fits = [
        ReplicaFit(
            clone(estimator).set_params(**params), 0, rows, None if weight is None else weight[rows]
        )
        for rows in sets
        for params in candidates
    ]
    parts = list(type(estimator).fit_replicas(fits, [Source(X, y)], memory_budget=memory_budget))
    done = [id(fit) for part in parts for fit in part]
    assert sorted(done) == sorted(map(id, fits))
    return fits


def fitted_alone(fit, X, y):
    alone = ReplicaFit(clone(fit.estimator), 0, fit.rows, fit.sample_weight)
    with alone.recording():
        alone.estimator.fit(take(X, fit.rows), take(y, fit.rows), fit.sample_weight)
    return alone


def messages(fit):
    return [(w.category, str(w.message)) for w in fit.warnings]


def check_alike(fit, X, y, atol=ATOL):
    """A fit made together has what it would have alone."""
    alone = fitted_alone(fit, X, y)
    assert type(fit.error) is type(alone.error)
    assert str(fit.error) == str(alone.error)
    assert messages(fit) == messages(alone)
    ours, theirs = fit.estimator, alone.estimator
    assert vars(ours).keys() == vars(theirs).keys()
    if fit.error is not None:
        return
    for name in ("rank_", "n_samples_seen_", "n_features_in_", "n_iter_", "converged_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None), name
    assert ours.basis_ == theirs.basis_
    assert ours._started_with == theirs._started_with
    assert np.shape(ours.coef_) == np.shape(theirs.coef_)
    close(ours.predict(X), theirs.predict(X), atol * float(np.ptp(np.asarray(y))))


def close(ours, theirs, atol):
    assert type(ours) is type(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=atol)


def check_law(estimator, X, y, sets, candidates=RIDGES, weight=None, atol=ATOL, **keywords):
    fits = fit_together(estimator, X, y, sets, candidates, weight, **keywords)
    for fit in fits:
        check_alike(fit, X, y, atol)
    return fits


def check_in_turn(estimator, X, y, sets, candidates, weight=None, **keywords):
    """Fit all together, and compare one candidate on each set, the next one on the next set."""
    fits = fit_together(estimator, X, y, sets, candidates, weight, **keywords)
    for fit in fits[:: len(candidates) + 1]:
        check_alike(fit, X, y)


def ways(estimator, X, y, sets, candidates=RIDGES, **keywords):
    """How many sets are fitted by moments, by deletion and by factors."""
    counts = {"moments": 0, "deletion": 0, "factors": 0}
    finish = groups.BasisSet.finish

    def counted(row_set, fit, factor, coef=None):
        way = "factors"
        if isinstance(factor, groups.DeletedRowsFactor):
            way = "deletion"
        elif id(factor) in by_moments:
            way = "moments"
        counts[way] += 1
        finish(row_set, fit, factor, coef)

    by_moments = {}
    make = groups.Moments.factor

    def made(moments):
        factor = make(moments)
        by_moments[id(factor)] = factor
        return factor

    with (
        mock.patch.object(groups.BasisSet, "finish", counted),
        mock.patch.object(groups.Moments, "factor", made),
    ):
        fit_together(estimator, X, y, sets, candidates, **keywords)
    return {way for way, count in counts.items() if count}


# ------------------------------------------------------------------ the law


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("kind", sorted(SETS.keys() - {"shuffled", "all rows"}))
def test_each_fit_is_as_alone(name, kind):
    X, y = data(n=80)
    check_in_turn(FAMILY[name], X, y, SETS[kind](len(X)), RIDGES[::3])


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("kind", ["repeated", "one left out"])
def test_weights_some_of_them_zero(name, kind):
    X, y = data(1, n=80)
    weight = np.random.default_rng(0).integers(0, 4, len(X)) / 2
    check_in_turn(FAMILY[name], X, y, SETS[kind](len(X))[:6], RIDGES[::2], weight)


@few
@given(
    seed=st.integers(0, 10_000),
    name=st.sampled_from(sorted(FAMILY)),
    m=st.sampled_from([None, 1, 3]),
    share=st.floats(0.3, 0.95),
    n_sets=st.integers(1, 6),
    weighted=st.booleans(),
)
def test_any_sets_of_rows(seed, name, m, share, n_sets, weighted):
    X, y = data(seed, n=90, m=m)
    rng = np.random.default_rng(seed)
    sets = [rng.permutation(90)[: int(90 * share)] for _ in range(n_sets)]
    weight = rng.uniform(0.1, 3, 90) if weighted else None
    check_in_turn(FAMILY[name], X, y, sets, RIDGES[::2], weight)


def test_weights_of_a_row_may_differ_between_fits():
    X, y = data(n=60)
    rng = np.random.default_rng(0)
    fits = [
        ReplicaFit(LinearRegressor(alpha=alpha), 0, rows, weight)
        for rows in SETS["folds"](60)
        for weight in rng.uniform(1, 2, (2, len(rows)))
        for alpha in (0.0, 1.0)
    ]
    list(LinearRegressor.fit_replicas(fits, [Source(X, y)], memory_budget=2**28))
    for fit in fits:
        check_alike(fit, X, y)


def test_a_row_drawn_twice_may_have_two_weights():
    X, y = data(n=40)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 40, 60)
    fits = [ReplicaFit(LinearRegressor(), 0, rows, rng.uniform(1, 2, 60)) for _ in range(2)]
    list(LinearRegressor.fit_replicas(fits, [Source(X, y)], memory_budget=2**28))
    for fit in fits:
        check_alike(fit, X, y)


@pytest.mark.parametrize("name", ["linear", "polynomial", "splines on a domain"])
def test_little_memory_changes_nothing(name):
    X, y = data(n=60)
    for kind in ("folds", "one left out"):
        check_in_turn(FAMILY[name], X, y, SETS[kind](60), RIDGES[::2], memory_budget=1)


def test_sources_do_not_mix():
    tables = [data(seed, n=40 + 10 * seed) for seed in range(3)]
    fits = [
        ReplicaFit(PolynomialRegressor(2, alpha=alpha), i, np.arange(len(tables[i][0])))
        for alpha in (0.0, 0.1)
        for i in (2, 0, 1)
    ]
    sources = [Source(X, y) for X, y in tables]
    parts = list(PolynomialRegressor.fit_replicas(fits, sources, memory_budget=2**28))
    assert [len(part) for part in parts] == [2, 2, 2]
    for fit in fits:
        check_alike(fit, *tables[fit.source])


def test_no_fits_and_only_a_constant():
    X, y = data(n=30)
    assert fit_together(LinearRegressor(), X, y, [], RIDGES) == []
    check_law(PolynomialRegressor(0), X, y, SETS["folds"](30))
    check_law(PolynomialRegressor(0), X, y, SETS["one left out"](30))


# ------------------------------------------------------------------ kinds of data


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("kind", ["folds", "one left out"])
def test_several_targets(m, kind):
    X, y = data(n=80, m=m)
    for name in ("linear", "polynomial", "products of splines"):
        check_in_turn(FAMILY[name], X, y, SETS[kind](len(X)), RIDGES[::2])


def test_single_precision_frames_tensors_and_sparse_rows():
    X, y = data(d=3)
    sets = SETS["shuffled"](len(X))
    check_law(PolynomialRegressor(2), X.astype(np.float32), y.astype(np.float32), sets, atol=1e-6)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    fits = check_law(ChebyshevRegressor(2), frame, pd.Series(y), sets)
    assert list(fits[0].estimator.feature_names_in_) == ["a", "b", "c"]
    check_law(PolynomialRegressor(2), torch.from_numpy(X), torch.from_numpy(y), sets)
    check_law(LinearRegressor(), sp.csr_array(X * (X > 0)), y, sets)
    check_law(LinearRegressor(), sp.csr_array(X * (X > 0)), y, SETS["one left out"](len(X)))


# ------------------------------------------------------------------ which way


@pytest.mark.parametrize("kind", ["folds", "repeated", "random", "nested", "all rows"])
def test_products_of_columns_serve_well_conditioned_ridge(kind):
    X, y = data()
    assert ways(PolynomialRegressor(2), X, y, SETS[kind](len(X))) == {"moments"}


def test_few_rows_are_deleted_from_the_solution_of_all():
    X, y = data(n=200, d=4)
    assert ways(PolynomialRegressor(2), X, y, SETS["one left out"](200)) == {"deletion"}
    assert ways(PolynomialRegressor(2), X, y, SETS["two left out"](200)) == {"deletion"}


@pytest.mark.parametrize("kind", ["folds", "random", "one left out"])
def test_nearly_dependent_columns_are_left_to_orthogonal_factors(kind):
    X, y = data(d=4)
    X[:, 1] = X[:, 0] + 1e-5 * X[:, 1]
    sets = SETS[kind](len(X))
    assert ways(LinearRegressor(), X, y, sets) == {"factors"}
    check_law(LinearRegressor(), X, y, sets, atol=1e-10)


def test_a_row_that_alone_determines_a_coefficient_is_not_deleted_by_formula():
    X, y = data(n=80, d=4)
    X[:, 3] = 0
    X[7, 3] = 5
    sets = SETS["one left out"](80)[:1] + [np.delete(np.arange(80), i) for i in range(5, 20)]
    fits = check_law(LinearRegressor(), X, y, sets, RIDGES[:2])
    alone = [fit for fit in fits if 7 not in fit.rows and fit.estimator.alpha == 0]
    assert [fit.estimator.rank_ for fit in alone] == [4]
    assert ways(LinearRegressor(), X, y, sets, RIDGES[:2]) == {"deletion", "factors"}


def test_what_subtraction_would_lose_is_left_to_orthogonal_factors():
    X, y = data(n=200, d=3)
    X[:20] *= 1e6
    y[:20] += X[:20].sum(1)
    rng = np.random.default_rng(0)
    sets = [np.sort(rng.permutation(180)[:150] + 20) for _ in range(5)] + [np.arange(190)]
    check_law(LinearRegressor(), X, y, sets, atol=1e-10)
    # A column that is constant but for rounding in a fold says nothing there.
    X[40:, 1] = 1e4 + 1e-9 * X[40:, 1]
    check_law(LinearRegressor(), X, y, SETS["folds"](200), RIDGES[1:], atol=1e-9)


def test_units_of_measurement_do_not_matter():
    X, y = data(d=3)
    check_law(LinearRegressor(), X * [1e-8, 1.0, 1e8], y, SETS["folds"](len(X)))
    check_law(LinearRegressor(), X + np.array([1e5, 0.0, 1.0]), y, SETS["folds"](len(X)), atol=1e-9)


def test_dependent_columns_and_few_rows_warn_in_each_fit():
    X, y = data(d=3)
    X[:, 2] = X[:, 0] - X[:, 1]
    fits = check_law(LinearRegressor(), X, y, SETS["folds"](len(X)))
    plain = [fit for fit in fits if fit.estimator.alpha == 0]
    assert all(fit.warnings[0].category is RankWarning for fit in plain)
    X, y = data(n=12, d=3)
    check_law(PolynomialRegressor(3), X, y, SETS["folds"](12))
    check_law(PolynomialRegressor(3), X, y, SETS["one left out"](12))


@pytest.mark.parametrize("kind", ["folds", "random"])
def test_lasso_and_elastic_net(kind):
    X, y = data(d=5)
    candidates = [
        {"alpha": alpha, "l1_ratio": ratio} for alpha in (0.0, 0.01, 0.1) for ratio in (0.0, 0.5, 1)
    ]
    fits = check_law(LinearRegressor(), X, y, SETS[kind](len(X)), candidates)
    assert any((fit.estimator.coef_ == 0).any() for fit in fits)
    hard = [{"alpha": 1e-4, "l1_ratio": 1, "max_iter": 1}, {"alpha": 0.1, "l1_ratio": 1}]
    fits = check_law(LinearRegressor(tol=1e-14), X, y, SETS[kind](len(X)), hard)
    assert [w.category for w in fits[0].warnings] == [ConvergenceWarning]


@pytest.mark.parametrize("product", ["additive", "tensor"])
def test_difference_penalties_and_extrapolation(product):
    X, y = data()
    candidates = [
        {"alpha": alpha, "penalty_order": order, "extrapolation": policy}
        for alpha in (0.0, 0.1)
        for order in (1, 2)
        for policy in ("clip", "linear")
    ]
    spline = BSplineRegressor(2, product=product, domain=(-1, 1))
    fits = check_law(spline, X, y, SETS["folds"](len(X))[:3], candidates)
    for fit in fits[::5]:
        alone = fitted_alone(fit, X, y).estimator
        close(fit.estimator.predict(2 * X), alone.predict(2 * X), 1e-9)


# ------------------------------------------------------------------ errors


def test_an_invalid_candidate_fails_alone():
    X, y = data(n=40)
    fits = check_law(LinearRegressor(), X, y, SETS["folds"](40), [{"alpha": -1.0}, {"alpha": 1.0}])
    assert [fit.error is None for fit in fits] == [False, True] * 5


def test_weights_that_fit_would_refuse():
    X, y = data(n=40)
    for bad in (np.full(40, -1.0), np.zeros(40), np.full(40, np.nan)):
        fits = check_law(LinearRegressor(), X, y, SETS["folds"](40), RIDGES[:2], bad)
        assert all(isinstance(fit.error, ValueError) for fit in fits)


def test_a_fold_without_a_domain_or_rows_fails_alone():
    X, y = data(n=40)
    X[10:, 0] = 0.5
    sets = [np.arange(30), np.arange(10, 40), np.empty(0, dtype=int)]
    fits = check_law(ChebyshevRegressor(2), X, y, sets)
    assert [type(fit.error) for fit in fits[:: len(RIDGES)]] == [
        type(None),
        DomainError,
        ValueError,
    ]
    overflowing = data(n=40)[0] * 1e150
    check_law(PolynomialRegressor(3), overflowing, y, SETS["folds"](40))


def test_a_source_that_fit_would_refuse_is_left_to_single_fits():
    X, y = data(n=40)
    X[0, 0] = np.nan
    with pytest.raises(NotFusable, match="NaN"):
        fit_together(LinearRegressor(), X, y, SETS["folds"](40), RIDGES)


# ------------------------------------------------------------------ afterwards


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("kind", ["folds", "one left out"])
def test_updates_merging_and_pickles_go_on_as_after_a_fit(name, kind):
    X, y = data(n=160)
    sets = SETS[kind](160)[:6]
    fits = fit_together(FAMILY[name], X, y, sets, RIDGES[::2])
    others = fit_together(FAMILY[name], X, y, sets, RIDGES[::2])
    more = np.clip(X[:5], *np.sort(X[20:], axis=0)[[0, -1]])
    for fit, other in list(zip(fits, others, strict=True))[::5]:
        alone = fitted_alone(fit, X, y).estimator
        condition = alone.condition_number_
        assert fit.estimator.condition_number_ == pytest.approx(condition, rel=1e-8)
        back = pickle.loads(pickle.dumps(other.estimator))
        close(back.predict(X), other.estimator.predict(X), 0)
        with warnings.catch_warnings():
            # A scale is learnt from the first rows, and a random ReLU may be zero on all of them.
            warnings.simplefilter("ignore")
            for estimator in (fit.estimator, back, alone):
                estimator.partial_fit(more, y[:5])
            close(fit.estimator.predict(X), alone.predict(X), 1e-10)
            merged = clone(alone).fit(X[fit.rows], y[fit.rows]).partial_fit(more, y[:5])
            close(fit.estimator.merge(back).predict(X), alone.merge(merged).predict(X), 1e-10)


def test_an_update_of_one_leaves_the_others_as_they_are():
    X, y = data(n=60)
    fits = fit_together(ChebyshevRegressor(2), X, y, SETS["folds"](60), RIDGES)
    before = [fit.estimator.predict(X) for fit in fits]
    conditions = [fit.estimator.condition_number_ for fit in fits]
    fits[0].estimator.partial_fit(3 * X, y)
    fits[1].estimator.coef_ *= 2
    for fit, values, condition in list(zip(fits, before, conditions, strict=True))[2:]:
        close(fit.estimator.predict(X), values, 0)
        assert fit.estimator.condition_number_ == condition


# ------------------------------------------------------------------ what is shared


def test_the_design_of_folds_is_evaluated_once():
    X, y = data(n=3000)
    sets = SETS["folds"](3000)
    rows = []
    evaluate = groups.dense_design
    with mock.patch.object(
        groups, "dense_design", lambda basis, X: (rows.append(len(X)), evaluate(basis, X))[1]
    ):
        fit_together(PolynomialRegressor(2), X, y, sets, RIDGES)
    # All rows, and the sample that the shift is taken from.
    assert sum(rows) <= 3000 + groups.SAMPLE


@pytest.mark.parametrize("name", ["polynomial", "products of splines"])
def test_as_many_sets_at_a_time_as_fit_into_memory(name):
    X, y = data(n=1000)
    sets = SETS["folds"](1000)
    n_terms = clone(FAMILY[name]).fit(X, y).basis_.n_terms
    counts = {}
    for budget in (1, 2 * (32 * (n_terms + 1) ** 2 + 4000), 2**28):
        plan = mock.Mock(side_effect=groups.plan_pieces)
        with mock.patch.object(groups, "plan_pieces", plan):
            fit_together(FAMILY[name], X, y, sets, RIDGES, memory_budget=budget)
        counts[budget] = [len(call.args[0]) for call in plan.call_args_list]
    none, some, enough = counts.values()
    assert none == [1] * 5
    assert 2 <= max(some) < 5
    assert enough == [5]


def test_fits_are_yielded_by_rows():
    X, y = data(n=50)
    fits = [
        ReplicaFit(LinearRegressor(**params), 0, rows)
        for params in RIDGES
        for rows in SETS["folds"](50)
    ]
    parts = LinearRegressor.fit_replicas(fits, [Source(X, y)], memory_budget=2**28)
    first = next(parts)
    assert len(first) == len(RIDGES)
    assert len({id(fit.estimator._factor) for fit in first}) == 1
    assert not any(hasattr(fit.estimator, "coef_") for fit in fits if fit not in first)


def test_what_may_differ():
    assert LinearRegressor().replica_parameters() == {"alpha", "l1_ratio", "tol", "max_iter"}
    assert BSplineRegressor().replica_parameters() == {"alpha", "penalty_order", "extrapolation"}
    with pytest.raises(NotFusable, match="random_state"):
        RandomFeatureRegressor().replica_parameters()

    class Own(LinearRegressor):
        def _solve(self, monitor):
            super()._solve(monitor)

    with pytest.raises(NotFusable, match="replaces _solve"):
        Own().replica_parameters()


# ------------------------------------------------------------------ predictions


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("m", [None, 2])
def test_predictions_together_are_those_of_each(name, m):
    X, y = data(n=70, m=m)
    fits = fit_together(FAMILY[name], X, y, [np.arange(70)], RIDGES)
    estimators = [fit.estimator for fit in fits]
    for new in (X[:9], X.astype(np.float32), torch.from_numpy(X)):
        together = type(estimators[0]).predict_replicas(estimators, new)
        tolerance = 1e-5 if new.dtype == np.float32 else 1e-12
        for ours, estimator in zip(together, estimators, strict=True):
            close(ours, estimator.predict(new), tolerance)


def test_predictions_that_each_has_to_make_alone():
    X, y = data(n=70)
    fits = fit_together(
        ChebyshevRegressor(2, extrapolation="error"), X, y, [np.arange(70), np.arange(35)], RIDGES
    )
    estimators = [fit.estimator for fit in fits]
    predict = LeastSquaresRegressor.predict_replicas
    assert predict(estimators, X) is None
    same = estimators[: len(RIDGES)]
    assert predict(same, X) is not None
    assert predict(same, X, "score") is None
    assert predict(same, 5 * X) is None
    assert predict(same, X[:, :1]) is None
