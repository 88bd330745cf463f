"""Searches among transformers, scorers, splitters and estimators that do what they should not."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Lasso
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from tests.model_selection.agreement import ROUTING
from tests.model_selection.toys import ToyRidge
from thetalearn import (
    FusedGridSearchCV,
    KernelRidgeRegressor,
    LinearRegressor,
    MLPRegressor,
    PolynomialRegressor,
)

RNG = np.random.RandomState(0)
X = RNG.randn(60, 3) * [1.0, 5.0, 0.2] + [2.0, 0.0, -1.0]
Y = X @ [1.0, -0.3, 2.0] + 0.3 * X[:, 0] ** 2 + 0.5 * RNG.randn(60)
ALPHAS = [0.01, 0.1, 1.0]


def both(model: Any, grid: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    """Our search and scikit-learn's, whose scores must agree; data are copied for each."""
    found = [
        kind(model, grid, **({"cv": 3} | options)).fit(X.copy(), Y.copy())
        for kind in (FusedGridSearchCV, GridSearchCV)
    ]
    ours, theirs = (search.cv_results_["mean_test_score"] for search in found)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    return found[0], found[1]


def triple(Z: np.ndarray) -> np.ndarray:
    Z *= 3
    return Z


@pytest.mark.parametrize(
    "transformer",
    [StandardScaler(copy=False), MinMaxScaler(copy=False), FunctionTransformer(triple)],
    ids=["standard", "minmax", "function"],
)
def test_transformers_that_write_in_place(transformer: Any) -> None:
    model = make_pipeline(transformer, PolynomialRegressor())
    grid = {"polynomialregressor__alpha": ALPHAS, "polynomialregressor__degree": [1, 2]}
    assert both(model, grid)[0].fused_report_.n_fused == 18


def test_preprocessing_that_is_fitted_already_is_not_mixed_up() -> None:
    one, other = (FrozenEstimator(StandardScaler().fit(Z)) for Z in (X, 7 * X**3))
    model = make_pipeline(StandardScaler(), KernelRidgeRegressor())
    grid = {"standardscaler": [one, other], "kernelridgeregressor__alpha": ALPHAS}
    assert both(model, grid)[0].fused_report_.n_fused == 18


def test_functions_with_arguments_are_the_same_preprocessing() -> None:
    model = make_pipeline(FunctionTransformer(partial(np.multiply, 2.0)), LinearRegressor())
    report = both(model, {"linearregressor__alpha": ALPHAS})[0].fused_report_
    assert (report.n_fused, report.n_prefixes) == (9, 3)


def doubles_rows(estimator: Any, Z: np.ndarray, y: np.ndarray) -> float:
    Z *= 2
    return float(estimator.score(Z, y))


def writes_residuals(estimator: Any, Z: np.ndarray, y: np.ndarray) -> float:
    y -= estimator.predict(Z)
    return float(-(y**2).sum())


def moves_scaler(estimator: Any, Z: np.ndarray, y: np.ndarray) -> float:
    estimator[0].mean_ += 1
    return float(estimator.score(Z, y))


@pytest.mark.parametrize("scorer", [doubles_rows, writes_residuals, moves_scaler])
def test_scorers_that_change_what_they_are_shown(scorer: Any) -> None:
    model = make_pipeline(StandardScaler(), LinearRegressor())
    ours, _ = both(model, {"linearregressor__alpha": ALPHAS}, scoring=scorer)
    assert ours.fused_report_.n_fused == 9


@pytest.mark.parametrize("kind", [iter, list, tuple])
def test_rows_of_any_kind(kind: Any) -> None:
    # iter() stands for ranges as they are.
    made = [range(0, 40), range(40, 60), range(20, 60), range(0, 20)]
    parts = made if kind is iter else [kind(rows) for rows in made]
    splits = [(parts[0], parts[1]), (parts[2], parts[3])]
    assert both(LinearRegressor(), {"alpha": ALPHAS}, cv=splits)[0].fused_report_.n_fused == 6


def test_rows_that_scikit_learn_refuses_are_refused_by_it() -> None:
    messages = []
    for kind in (FusedGridSearchCV, GridSearchCV):
        with pytest.raises(Exception) as caught:
            kind(LinearRegressor(), {"alpha": ALPHAS}, cv=[([0.5, 1.5], [2, 3])]).fit(X, Y)
        messages.append((caught.type, str(caught.value)))
    assert messages[0] == messages[1]


@ROUTING
def test_metadata_that_cannot_be_routed_fail_their_fits_alone() -> None:
    with config_context(enable_metadata_routing=True):
        bare = LinearRegressor().set_score_request(sample_weight=True)
        asked = LinearRegressor().set_score_request(sample_weight=True)
        asked.set_fit_request(sample_weight=True)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), asked)
        found = []
        for kind in (FusedGridSearchCV, GridSearchCV):
            search = kind(model, {"linearregressor": [asked, bare]}, refit=False, cv=3)
            with pytest.warns(UserWarning):
                found.append(search.fit(X, Y, sample_weight=np.ones(60)))
    ours, theirs = (search.cv_results_["mean_test_score"] for search in found)
    np.testing.assert_allclose(ours, theirs)
    assert np.isnan(ours).tolist() == [False, True]


class Careless(ToyRidge):
    """Gives back what it was not asked for."""

    answer = "twice"

    @classmethod
    def fit_replicas(cls, fits: Any, sources: Any, *, memory_budget: int) -> Any:
        made: Iterator[list[Any]] = super().fit_replicas(fits, sources, memory_budget=memory_budget)
        for done in made:
            yield {"twice": done * 2, "strangers": [object()], "one": done[0]}[cls.answer]


@pytest.mark.parametrize("answer", ["twice", "strangers", "one"])
def test_fits_that_were_not_asked_for_are_a_reason_to_fit_alone(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Careless, "answer", answer)
    report = both(Careless(), {"alpha": ALPHAS})[0].fused_report_
    assert report.n_fused == 0
    assert any("gave back something else" in reason for reason in report.reasons)


class Unkind(KFold):
    """Uses joblib before the search does."""

    def get_n_splits(self, *data: Any, **groups: Any) -> int:
        joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(3))
        return super().get_n_splits(*data, **groups)


def test_splitters_may_use_joblib() -> None:
    assert both(LinearRegressor(), {"alpha": ALPHAS}, cv=Unkind(3))[0].fused_report_.n_fused == 9


def test_an_error_that_is_to_be_raised_ends_the_search() -> None:
    scored: list[int] = []

    def fail(estimator: Any, Z: np.ndarray, y: np.ndarray) -> float:
        scored.append(1)
        raise RuntimeError("no score")

    search = FusedGridSearchCV(
        LinearRegressor(), {"alpha": ALPHAS}, scoring=fail, error_score="raise"
    )
    with pytest.raises(RuntimeError, match="no score"):
        search.fit(X, Y)
    assert len(scored) == 1


def test_times_of_fits_add_up_to_less_than_the_search_took() -> None:
    class Slow(StandardScaler):
        def fit(self, Z: np.ndarray, y: Any = None) -> Any:
            time.sleep(0.05)
            return super().fit(Z, y)

    model = make_pipeline(Slow(), LinearRegressor())
    grid = {"linearregressor__alpha": np.logspace(-3, 1, 10)}
    search = FusedGridSearchCV(model, grid, cv=3, refit=False).fit(X, Y)
    # Three scalers of 50 ms, not thirty.
    assert 0.15 <= 3 * search.cv_results_["mean_fit_time"].sum() < 0.75


def test_pre_dispatch_reaches_the_jobs_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    before = joblib.Parallel.__init__

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        seen.append(kwargs.get("pre_dispatch"))
        before(self, *args, **kwargs)

    monkeypatch.setattr(joblib.Parallel, "__init__", watched)
    FusedGridSearchCV(Lasso(), {"alpha": [0.1, 1.0]}, pre_dispatch=1).fit(X, Y)
    assert seen == [1, 1]


def test_searches_in_several_threads_leave_warnings_as_they_were() -> None:
    """Filters of warnings are those of the process, which threads change one after the other."""
    before = list(warnings.filters)
    models: list[Any] = [
        MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0),
        LinearRegressor(),
        KernelRidgeRegressor(),
    ]

    def search(model: Any) -> np.ndarray:
        found = FusedGridSearchCV(model, {"alpha": ALPHAS}, cv=3).fit(X, Y)
        return np.asarray(found.cv_results_["mean_test_score"])

    alone = [search(model) for model in models]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            for scores, expected in zip(pool.map(search, models), alone, strict=True):
                np.testing.assert_allclose(scores, expected, rtol=1e-9)
    assert warnings.filters == before
