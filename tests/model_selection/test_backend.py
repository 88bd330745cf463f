"""The backend that catches the calls of one Parallel, and of no other."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import joblib
import numpy as np
import pytest
from joblib.parallel import get_active_backend
from sklearn import config_context
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.parallel import Parallel

from tests.model_selection.agreement import ROUTING
from tests.model_selection.toys import ToyRidge
from thetalearn import FusedGridSearchCV
from thetalearn.model_selection.backend import CatchingBackend, Outer

RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(24, 2)), RNG.normal(size=24)


def square(x: float) -> float:
    return x * x


def fail(x: float) -> float:
    raise ZeroDivisionError("told to")


class Caught:
    """Makes calls itself, and keeps how many there were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, calls: list[Any], outer: Outer) -> list[Any]:
        self.sizes.append(len(calls))
        return [function(*args, **kwargs) for function, args, kwargs in calls]


def squares(n: int, **options: Any) -> list[float]:
    return Parallel(**options)(joblib.delayed(square)(i) for i in range(n))


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1])
@pytest.mark.parametrize("pre_dispatch", ["2*n_jobs", 1, "all"])
def test_all_calls_are_known_at_once(n_jobs: int | None, pre_dispatch: str | int) -> None:
    run = Caught()
    with CatchingBackend(run):
        assert squares(20, n_jobs=n_jobs, pre_dispatch=pre_dispatch) == [i * i for i in range(20)]
    assert run.sizes == [20]


def test_no_calls_are_no_work() -> None:
    run = Caught()
    with CatchingBackend(run):
        assert squares(0) == []
    assert run.sizes in ([], [0])


def test_only_the_next_parallel_is_caught() -> None:
    run = Caught()
    with CatchingBackend(run):
        squares(3)
        squares(5)
        assert not isinstance(get_active_backend()[0], CatchingBackend)
    assert run.sizes == [3]


def test_a_parallel_used_several_times_is_caught_each_time() -> None:
    run = Caught()
    with CatchingBackend(run), Parallel() as parallel:
        for n in (3, 4):
            assert parallel(joblib.delayed(square)(i) for i in range(n)) == [
                i * i for i in range(n)
            ]
    assert run.sizes == [3, 4]


def test_the_backend_of_before_comes_back() -> None:
    before = type(get_active_backend()[0])
    with joblib.parallel_backend("threading", n_jobs=2):
        inside = type(get_active_backend()[0])
        with CatchingBackend(Caught()):
            squares(2)
            assert type(get_active_backend()[0]) is inside
        assert type(get_active_backend()[0]) is inside
        assert get_active_backend()[1] == 2
    assert type(get_active_backend()[0]) is before
    with pytest.raises(RuntimeError), CatchingBackend(Caught()):
        raise RuntimeError("before any Parallel")
    assert type(get_active_backend()[0]) is before


def test_calls_that_are_left_go_where_they_would_have_gone() -> None:
    names: list[str] = []

    def run(calls: list[Any], outer: Outer) -> Any:
        names.append(type(outer.backend).__name__)
        assert outer.n_workers() == 2
        return outer.run(calls)

    with joblib.parallel_backend("threading", n_jobs=2), CatchingBackend(run):
        assert squares(4) == [0, 1, 4, 9]
    assert names == ["ThreadingBackend"]


def test_results_may_come_one_by_one() -> None:
    def run(calls: list[Any], outer: Outer) -> list[Any]:
        return list(outer.run(calls, one_by_one=True))

    with CatchingBackend(run):
        assert squares(4) == [0, 1, 4, 9]


def test_an_exception_reaches_the_caller() -> None:
    with (
        pytest.raises(ZeroDivisionError, match="told to"),
        CatchingBackend(lambda calls, outer: outer.run(calls)),
    ):
        Parallel(n_jobs=1)(joblib.delayed(fail)(i) for i in range(3))
    assert squares(3) == [0, 1, 4]


@pytest.mark.parametrize("search", [FusedGridSearchCV, GridSearchCV])
def test_no_jobs_have_no_meaning(search: Any) -> None:
    with pytest.raises(ValueError, match="n_jobs == 0"):
        search(ToyRidge(), {"alpha": [1.0, 2.0]}, n_jobs=0).fit(X, Y)


class Interrupted(ToyRidge):
    """Ctrl+C in the middle of a fit."""

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> ToyRidge:
        raise KeyboardInterrupt


def test_an_interrupt_ends_the_search() -> None:
    before = type(get_active_backend()[0])
    with pytest.raises(KeyboardInterrupt):
        FusedGridSearchCV(Interrupted(), {"alpha": [1.0, 2.0]}).fit(X, Y)
    assert type(get_active_backend()[0]) is before
    assert (
        FusedGridSearchCV(ToyRidge(), {"alpha": [1.0, 2.0]}).fit(X, Y).fused_report_.n_fused == 10
    )


class WithWorkers(ToyRidge):
    """Uses joblib itself, in fit and in prediction."""

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> ToyRidge:
        self.squares_ = squares(3, n_jobs=2, backend="threading")
        return super()._fit(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        assert squares(3) == [0, 1, 4]
        return super().predict(X)


def test_parallel_work_of_an_estimator_is_its_own() -> None:
    ours, theirs = (
        search(WithWorkers(), {"alpha": [0.1, 1.0]}, cv=3).fit(X, Y)
        for search in (FusedGridSearchCV, GridSearchCV)
    )
    assert ours.fused_report_.n_fused == 6
    np.testing.assert_array_equal(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )
    assert ours.best_estimator_.squares_ == [0, 1, 4]


@pytest.mark.parametrize("pre_dispatch", [1, "2*n_jobs", "all"])
def test_searches_that_are_not_fused_run_on_jobs(pre_dispatch: Any) -> None:
    options = {"cv": 3, "n_jobs": 2, "pre_dispatch": pre_dispatch}
    with joblib.parallel_backend("threading"):
        ours, theirs = (
            search(Ridge(), {"alpha": [0.1, 1.0]}, **options).fit(X, Y)
            for search in (FusedGridSearchCV, GridSearchCV)
        )
    np.testing.assert_array_equal(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )


@ROUTING
def test_settings_of_scikit_learn_reach_the_workers_of_a_cluster() -> None:
    weight = RNG.uniform(0.5, 2.0, size=24)
    with (
        config_context(enable_metadata_routing=True),
        joblib.parallel_backend("threading", n_jobs=2),
        # Its threads, like workers elsewhere, know nothing of settings made here.
        patch("thetalearn.model_selection.fusing.distributes", lambda backend: True),
    ):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = make_pipeline(scaler, ToyRidge().set_fit_request(sample_weight=True))
        model[-1].set_score_request(sample_weight=True)
        ours, theirs = (
            search(model, {"toyridge__alpha": [0.1, 1.0]}, cv=3).fit(X, Y, sample_weight=weight)
            for search in (FusedGridSearchCV, GridSearchCV)
        )
    assert ours.fused_report_.n_fused == 6
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-10
    )
