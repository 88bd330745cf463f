"""Pipelines in searches: preprocessing is fitted once for each fold, and shared."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tests.model_selection.agreement import ROUTING, assert_same_search, run_recorded
from tests.model_selection.toys import SEEN, Shift, ToyRidge
from thetalearn import FusedGridSearchCV, fused_cross_val_predict, fused_cross_validate

RNG = np.random.RandomState(0)
X = RNG.normal(size=(30, 3))
Y = X @ [1.0, -2.0, 0.5] + RNG.normal(size=30)
ALPHAS = [0.01, 0.1, 1.0, 10.0]


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def both(model: Any, grid: Any, X: Any = X, **params: Any) -> tuple[Any, Any, dict[str, int]]:
    """Ours and theirs after the same, and what ours did to the estimators."""
    options = {"cv": 3, "refit": False, "return_train_score": True} | params.pop("options", {})
    search = FusedGridSearchCV(model, grid, **options)
    ours, warned = run_recorded(lambda: search.fit(X, Y, **params))
    seen = dict(SEEN)
    plain = GridSearchCV(model, grid, **options)
    theirs, also_warned = run_recorded(lambda: plain.fit(X, Y, **params))
    assert warned == also_warned
    assert_same_search(ours, theirs, X, 1e-10)
    return ours, theirs, seen


def test_preprocessing_is_fitted_once_for_each_fold() -> None:
    ours, _, seen = both(make_pipeline(Shift(1.0), ToyRidge()), {"toyridge__alpha": ALPHAS})
    assert seen["Shift.fit"] == 3
    assert seen["fit_replicas"] == 1
    assert seen["sources"] == 3
    # Training rows when it is fitted, test rows and training rows when they are scored.
    assert seen["Shift.transform"] == 9
    assert "fit" not in seen
    assert ours.fused_report_.n_prefixes == 3
    assert ours.fused_report_.n_fused == 12


def test_each_preprocessing_is_fitted_once_for_each_fold() -> None:
    grid = {"shift__by": [0.0, 1.0], "toyridge__alpha": ALPHAS}
    ours, _, seen = both(make_pipeline(Shift(), ToyRidge()), grid)
    assert seen["Shift.fit"] == 6
    assert ours.fused_report_.n_prefixes == 6
    assert ours.fused_report_.n_fused == 24


def test_steps_may_be_exchanged() -> None:
    model = Pipeline([("scale", StandardScaler()), ("shift", Shift()), ("model", ToyRidge())])
    grid = [
        {"scale": [StandardScaler(), MinMaxScaler(), "passthrough", None], "model__alpha": ALPHAS},
        {"model": [ToyRidge(), ToyRidge(2.0), Ridge()]},
    ]
    ours, _, _ = both(model, grid)
    # The scaler of the model and the first of the grid do the same.
    assert ours.fused_report_.n_prefixes == 12
    assert ours.fused_report_.n_fused == 16 * 3 + 2 * 3
    assert ours.fused_report_.reasons == {"Ridge has no method fit_replicas": 3}


def test_a_preprocessing_that_fails_fails_for_its_candidates() -> None:
    grid = {"shift__by": [-1.0, 1.0], "toyridge__alpha": ALPHAS}
    for error_score in (np.nan, 0.5):
        ours, _, _ = both(
            make_pipeline(Shift(), ToyRidge()), grid, options={"error_score": error_score}
        )
        assert ours.fused_report_.n_fused == 12
        assert ours.fused_report_.reasons == {"the preprocessing fails (backwards)": 12}
    with pytest.raises(ArithmeticError, match="backwards"):
        FusedGridSearchCV(
            make_pipeline(Shift(), ToyRidge()), grid, error_score="raise", refit=False
        ).fit(X, Y)


def test_a_last_step_that_fails_fails_alone() -> None:
    grid = {"toyridge__fails": ["alone", None], "toyridge__alpha": ALPHAS}
    ours, _, _ = both(make_pipeline(Shift(), ToyRidge()), grid)
    assert ours.fused_report_.n_fused == 24
    assert np.isnan(ours.cv_results_["mean_test_score"]).sum() == 4


def test_each_pipeline_warns_as_it_would_alone() -> None:
    grid = {"shift__by": [1.0, 1e3], "toyridge__alpha": [1.0, 1e3]}
    model = make_pipeline(Shift(), ToyRidge())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FusedGridSearchCV(model, grid, cv=3, refit=False).fit(X, Y)
    assert [str(w.message) for w in caught].count("far away") == 6
    assert [str(w.message) for w in caught].count("alpha is large") == 6
    both(model, grid)


@pytest.mark.parametrize("seed", [0, None])
def test_a_generator_draws_the_same_for_each_candidate(seed: int | None) -> None:
    # Each clone has a copy of the generator.
    random = None if seed is None else np.random.RandomState(seed)
    model = make_pipeline(Shift(random_state=random), ToyRidge())
    _, _, seen = both(model, {"toyridge__alpha": ALPHAS})
    assert seen["Shift.fit"] == 3


def test_weights_reach_the_steps_that_they_are_meant_for() -> None:
    weight = RNG.uniform(0.5, 2.0, size=30)
    model, grid = make_pipeline(Shift(), ToyRidge()), {"toyridge__alpha": ALPHAS}
    weighted, _, seen = both(model, grid, toyridge__sample_weight=weight)
    assert seen["Shift.weights"] == 0
    plain, _, _ = both(model, grid)
    assert not np.allclose(
        weighted.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    SEEN.clear()
    _, _, seen = both(model, grid, shift__sample_weight=weight)
    assert seen["Shift.weights"] == 3
    SEEN.clear()
    _, _, seen = both(model, grid, shift__sample_weight=weight, toyridge__sample_weight=weight)
    assert seen["Shift.weights"] == 3


@ROUTING
@pytest.mark.parametrize("wanted", [True, False])
def test_metadata_for_preprocessing_are_left_to_scikit_learn(wanted: bool) -> None:
    weight = RNG.uniform(0.5, 2.0, size=30)
    with config_context(enable_metadata_routing=True):
        last = ToyRidge().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        model = make_pipeline(Shift().set_fit_request(sample_weight=wanted), last)
        ours, _, _ = both(model, {"toyridge__alpha": ALPHAS}, sample_weight=weight)
    assert ours.fused_report_.n_fused == (0 if wanted else 12)


def test_passthrough_and_a_single_step() -> None:
    ours, _, _ = both(make_pipeline("passthrough", ToyRidge()), {"toyridge__alpha": ALPHAS})
    assert ours.fused_report_.n_fused == 12
    ours, _, _ = both(make_pipeline(ToyRidge()), {"toyridge__alpha": ALPHAS})
    assert ours.fused_report_.n_fused == 12


def test_a_pipeline_without_a_last_estimator_is_left_alone() -> None:
    model = Pipeline([("shift", Shift()), ("model", ToyRidge())])
    ours, _, _ = both(model, {"model": [ToyRidge(), "passthrough"]}, options={"scoring": last_sum})
    assert ours.fused_report_.reasons["the pipeline ends without an estimator"] == 3


def last_sum(estimator: Any, X: Any, y: Any) -> float:
    return float(np.sum(estimator[0].transform(X)))


def test_nested_pipelines_are_left_to_scikit_learn() -> None:
    model = make_pipeline(StandardScaler(), make_pipeline(Shift(), ToyRidge()))
    ours, _, _ = both(model, {"pipeline__toyridge__alpha": ALPHAS})
    assert ours.fused_report_.n_fused == 0
    assert ours.fused_report_.reasons == {"Pipeline has no method fit_replicas": 12}


def test_a_pipeline_as_preprocessing() -> None:
    inner = make_pipeline(StandardScaler(), Shift())
    ours, _, seen = both(make_pipeline(inner, ToyRidge()), {"toyridge__alpha": ALPHAS})
    assert ours.fused_report_.n_fused == 12
    assert seen["Shift.fit"] == 3


@pytest.mark.parametrize(
    "step",
    [
        FeatureUnion([("a", StandardScaler()), ("b", Shift(1.0))]),
        ColumnTransformer([("a", StandardScaler(), [0, 2])], remainder="passthrough"),
        SelectKBest(f_regression, k=2),
    ],
    ids=["union", "columns", "selection"],
)
def test_preprocessing_of_any_kind(step: Any) -> None:
    ours, _, _ = both(make_pipeline(step, ToyRidge()), {"toyridge__alpha": ALPHAS})
    assert ours.fused_report_.n_fused == 12
    assert ours.fused_report_.n_prefixes == 3


def test_frames_between_steps() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abc"))
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), ToyRidge())
    ours, _, _ = both(model, {"toyridge__alpha": ALPHAS}, X=frame)
    assert ours.fused_report_.n_fused == 12
    (first, *_) = fused_cross_validate(model, frame, Y, return_estimator=True)["estimator"]
    assert list(first[-1].model_.feature_names_in_) == list("abc")


def test_memory_of_a_pipeline(tmp_path: Path) -> None:
    model = make_pipeline(Shift(), ToyRidge(), memory=str(tmp_path))
    ours, _, seen = both(model, {"toyridge__alpha": ALPHAS})
    assert ours.fused_report_.n_fused == 12
    assert seen["Shift.fit"] == 3
    both(model, {"toyridge__alpha": ALPHAS})


def test_a_pipeline_that_prints_every_step_is_left_to_scikit_learn() -> None:
    model = make_pipeline(Shift(), ToyRidge(), verbose=True)
    ours, _, _ = both(model, {"toyridge__alpha": ALPHAS})
    assert ours.fused_report_.n_fused == 0


@pytest.mark.parametrize("steps", [(Shift(1.0),), ()], ids=["two steps", "one step"])
def test_returned_pipelines_are_as_after_fit(steps: tuple[Any, ...]) -> None:
    model = make_pipeline(*steps, ToyRidge())
    ours, theirs = (
        function(model, X, Y, cv=3, return_estimator=True)["estimator"]
        for function in (fused_cross_validate, cross_validate)
    )
    for own, other in zip(ours, theirs, strict=True):
        assert repr(own) == repr(other)
        assert [name for name, _ in own.steps] == [name for name, _ in other.steps]
        assert vars(own).keys() == vars(other).keys()
        np.testing.assert_array_equal(own.predict(X), other.predict(X))
        own[-1].set_params(alpha=3.0)
        own.fit(X, Y)
        assert own[-1].n_seen_ == 30


def test_the_pipeline_of_the_user_is_not_touched() -> None:
    model = make_pipeline(Shift(1.0), ToyRidge())
    before = [vars(step).copy() for step in (model, *model)]
    FusedGridSearchCV(model, {"toyridge__alpha": ALPHAS}, cv=3).fit(X, Y)
    fused_cross_val_predict(model, X, Y)
    assert [vars(step) for step in (model, *model)] == before


def test_little_memory_takes_one_split_at_a_time() -> None:
    wide = np.tile(X, (1, 5000))
    model = make_pipeline(Shift(1.0), ToyRidge())
    search = FusedGridSearchCV(
        model, {"toyridge__alpha": [1.0, 2.0]}, cv=3, memory_budget=2**20, refit=False
    ).fit(wide, Y)
    assert search.fused_report_.n_fused == 6
    assert SEEN["fit_replicas"] == 3
    assert SEEN["Shift.fit"] == 3
