"""What was fitted together, why the rest was not, and that nothing is lost where it fails."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV

from tests.model_selection.agreement import assert_same_search, run_recorded
from tests.model_selection.toys import SEEN, Doubling, OfTheSquareRoot, ToyRidge
from thetalearn import FusedGridSearchCV, LinearRegressor, fused_cross_validate
from thetalearn.model_selection.report import Bucket, FusedReport

RNG = np.random.RandomState(0)
X = RNG.normal(size=(30, 3))
Y = X @ [1.0, -2.0, 0.5] + RNG.normal(size=30)


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def agreeing(model: Any, grid: Any, **options: Any) -> FusedReport:
    """The report of a search that agrees with scikit-learn's."""
    found = []
    for search in (FusedGridSearchCV, GridSearchCV):
        one = search(model, grid, **({"cv": 3, "refit": False} | options))
        found.append(run_recorded(lambda one=one: one.fit(X, Y)))
    (ours, warned), (theirs, also_warned) = found
    assert warned == also_warned
    assert_same_search(ours, theirs, X, 1e-10)
    report = ours.fused_report_
    assert report.n_fits == report.n_fused + sum(report.reasons.values())
    assert report.n_fused == sum(bucket.n_fits for bucket in report.buckets)
    assert all(bucket.fit_time >= 0 for bucket in report.buckets)
    return report


def test_buckets_say_what_differed() -> None:
    report = agreeing(ToyRidge(), {"alpha": [0.1, 1.0], "shape": [1, 2]})
    assert [(b.estimator, b.n_fits, b.varied) for b in report.buckets] == [
        ("ToyRidge", 6, ("alpha",)),
        ("ToyRidge", 6, ("alpha",)),
    ]
    assert "12 of 12 fits made together" in repr(report)
    assert "differing in alpha" in repr(report)


def test_folds_alone_can_be_fused() -> None:
    report = agreeing(ToyRidge(), {})
    assert report.buckets[0].varied == ()
    assert "differing in rows alone" in repr(report)


def test_foreign_estimators_are_left_alone() -> None:
    report = agreeing(Ridge(), {"alpha": [0.1, 1.0]})
    assert report.reasons == {"Ridge has no method fit_replicas": 6}
    assert "6 one by one: Ridge has no method fit_replicas" in repr(report)


def test_an_estimator_may_refuse() -> None:
    report = agreeing(ToyRidge(), {"fails": ["refused", None], "alpha": [0.1, 1.0]})
    assert report.reasons == {"it does not want to": 6}
    assert report.n_fused == 6


def test_one_fit_of_a_shape_is_left_alone() -> None:
    one_split = [(np.arange(20), np.arange(20, 30))]
    report = agreeing(ToyRidge(), {"shape": [1, 2]}, cv=one_split)
    assert report.reasons == {"no other ToyRidge shares its preprocessing and fixed parameters": 2}


@pytest.mark.parametrize(("fails", "n_fused"), [("together", 0), ("halfway", 1)])
def test_what_cannot_be_made_together_is_made_one_by_one(fails: str, n_fused: int) -> None:
    report = agreeing(ToyRidge(fails=fails), {"alpha": [0.1, 1.0]})
    assert report.n_fused == n_fused
    reason = "ToyRidge could not be fitted together (no room for all)"
    assert report.reasons == {reason: 6 - n_fused}


def test_fits_that_are_not_given_back_are_made_one_by_one() -> None:
    report = agreeing(ToyRidge(fails="silent"), {"alpha": [0.1, 1.0]})
    assert report.n_fused == 3
    assert report.reasons == {
        "ToyRidge could not be fitted together (some fits were not given back)": 3
    }


def test_an_error_of_one_fit_is_its_own() -> None:
    report = agreeing(ToyRidge(), {"fails": ["alone", None], "alpha": [0.1, 1.0]})
    assert report.n_fused == 12


def test_the_first_error_is_raised() -> None:
    for search in (FusedGridSearchCV, GridSearchCV):
        with pytest.raises(ArithmeticError, match="told to fail"):
            search(ToyRidge(), {"fails": [None, "alone"]}, error_score="raise").fit(X, Y)


def test_a_replaced_fit_is_used() -> None:
    report = agreeing(OfTheSquareRoot(), {"alpha": [0.1, 1.0]})
    assert report.reasons == {"OfTheSquareRoot replaces fit, and inherits fit_replicas": 6}


def test_a_replaced_prediction_is_used() -> None:
    report = agreeing(Doubling(), {"alpha": [0.1, 1.0]})
    assert report.n_fused == 6
    assert "predict_replicas" not in SEEN


class WithScale(ToyRidge):
    """Its own score asks for more than predictions for rows."""

    def predict(self, X: Any, scale: float = 1.0) -> np.ndarray:
        return scale * super().predict(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return r2_score(y, self.predict(X, scale=0.5), sample_weight=sample_weight)


def test_a_score_of_its_own_may_ask_for_anything() -> None:
    assert agreeing(WithScale(), {"alpha": [0.1, 1.0]}, return_train_score=True).n_fused == 6


def test_parameters_that_do_not_exist_are_an_error_of_the_search() -> None:
    texts = []
    for search in (FusedGridSearchCV, GridSearchCV):
        with pytest.raises(ValueError, match="Invalid parameter 'beta'") as caught:
            search(ToyRidge(), {"beta": [1, 2]}).fit(X, Y)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_predictions_are_made_together() -> None:
    agreeing(ToyRidge(), {"alpha": [0.1, 1.0, 2.0]}, return_train_score=True)
    # scikit-learn's own search asks 18 times, and ours once for each set of rows.
    assert SEEN["predict"] == 18
    assert SEEN["predict_replicas"] == 6


def test_a_scorer_of_the_user_sees_a_fitted_estimator_that_it_may_keep() -> None:
    kept: list[Any] = []

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        kept.append(estimator)
        again = pickle.loads(pickle.dumps(copy.deepcopy(estimator)))
        assert not hasattr(clone(estimator), "model_")
        np.testing.assert_array_equal(again.predict(X), estimator.predict(X))
        return r2_score(y, estimator.predict(X))

    report = agreeing(ToyRidge(), {"alpha": [0.1, 1.0]}, scoring=scorer)
    assert report.n_fused == 6
    # Ours is asked split by split.
    ours, theirs = (
        sorted(part, key=lambda one: (one.alpha, float(one.model_.intercept_)))
        for part in (kept[:6], kept[6:])
    )
    for own, other in zip(ours, theirs, strict=True):
        assert vars(own).keys() == vars(other).keys()
        np.testing.assert_array_equal(own.predict(X), other.predict(X))


def test_a_scorer_of_the_user_may_fit_again() -> None:
    def scorer(estimator: Any, X: Any, y: Any) -> float:
        return float(estimator.fit(X, y).n_seen_)

    agreeing(ToyRidge(), {"alpha": [0.1, 1.0]}, scoring=scorer)


def test_the_estimator_of_the_user_is_not_touched() -> None:
    model = ToyRidge(alpha=3.0)
    before = vars(model).copy()
    agreeing(model, {"alpha": [0.1, 1.0]})
    assert vars(model) == before


def test_reports_add_up() -> None:
    whole, part = FusedReport(), FusedReport(4, 3, [Bucket("A", 3, ("x",))], {"why": 1}, 2)
    whole.add(part)
    whole.add(part)
    assert (whole.n_fits, whole.n_fused, whole.n_prefixes) == (8, 6, 4)
    assert whole.reasons == {"why": 2}
    assert len(whole.buckets) == 2
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_splits_of_any_form() -> None:
    mask = np.arange(30) < 20
    for split in (
        [(mask, ~mask), (~mask, mask)],
        [(list(range(20)), list(range(20, 30)))] * 2,
        # Rows drawn with replacement; the same rows for training and testing.
        [(np.repeat(np.arange(10), 3), np.arange(10)), (np.arange(30), np.arange(30))],
        [(np.arange(29, -1, -1), np.arange(5)), (np.arange(-20, 0), np.arange(10))],
    ):
        report = agreeing(ToyRidge(), {"alpha": [0.1, 1.0]}, cv=split, return_train_score=True)
        assert report.n_fused == 4


@pytest.mark.parametrize("y", [Y, np.column_stack([Y, -Y]), Y.tolist()], ids=["one", "two", "list"])
def test_targets_of_any_form(y: Any) -> None:
    ours, theirs = (
        search(LinearRegressor(), {"alpha": [0.1, 1.0]}, cv=3).fit(X, y)
        for search in (FusedGridSearchCV, GridSearchCV)
    )
    assert_same_search(ours, theirs, X, 1e-10)
    assert ours.fused_report_.n_fused == 6


def test_times_are_positive_and_shared() -> None:
    result = fused_cross_validate(ToyRidge(), X, Y, cv=3)
    assert np.all(result["fit_time"] > 0)
    assert np.all(result["score_time"] >= 0)
