"""Fused searches and cross-validations give what scikit-learn's give, for less."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import joblib
import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn import config_context, model_selection
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import thetalearn
from tests.model_selection.agreement import (
    ROUTING,
    assert_same_results,
    assert_same_search,
    run_recorded,
)
from thetalearn import (
    ChebyshevRegressor,
    FusedGridSearchCV,
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
    PolynomialRegressor,
    SoftmaxClassifier,
)

N_ROWS = 60

#: Closed forms agree to rounding; training in float32 amplifies it.
CLOSED, TRAINED = 1e-10, 1e-5

SEARCHES = {
    "grid": "GridSearchCV",
    "randomized": "RandomizedSearchCV",
    "halving": "HalvingGridSearchCV",
    "random-halving": "HalvingRandomSearchCV",
}

CROSS_VALIDATIONS = (
    "cross_validate",
    "cross_val_score",
    "cross_val_predict",
    "learning_curve",
    "validation_curve",
)


@cache
def data(kind: str) -> tuple[np.ndarray, np.ndarray]:
    if kind == "regression":
        X, y = make_regression(N_ROWS, 3, noise=5.0, random_state=0)
        return X, y / y.std()
    return make_classification(
        N_ROWS, 4, n_informative=3, n_redundant=0, n_classes=int(kind), random_state=0, flip_y=0.2
    )


@dataclass(frozen=True)
class Family:
    """An estimator, what to try of it, and how well fits agree."""

    estimator: Any
    kind: str
    grid: dict[str, list[Any]]
    bad: dict[str, list[Any]]
    rtol: float = CLOSED

    def scorings(self) -> list[str]:
        if self.kind == "regression":
            return ["r2", "neg_mean_absolute_error"]
        return ["accuracy", "neg_log_loss"]

    def in_pipeline(self) -> Family:
        name = type(self.estimator).__name__.lower()
        return Family(
            make_pipeline(StandardScaler(), self.estimator),
            self.kind,
            {f"{name}__{key}": value for key, value in self.grid.items()},
            {f"{name}__{key}": value for key, value in self.bad.items()},
            self.rtol,
        )


ALPHAS = [1e-4, 1e-2, 1.0]
NETWORK = {"hidden_layer_sizes": (8,), "max_iter": 3, "batch_size": 16, "random_state": 0}

FAMILIES = {
    "chebyshev": Family(
        ChebyshevRegressor(degree=2), "regression", {"alpha": ALPHAS}, {"alpha": [-1.0, 0.1]}
    ),
    "polynomial": Family(
        PolynomialRegressor(),
        "regression",
        {"alpha": ALPHAS, "degree": [1, 2]},
        {"alpha": [-1.0, 1]},
    ),
    "kernel": Family(
        KernelRidgeRegressor(),
        "regression",
        {"alpha": ALPHAS, "gamma": [0.1, 1.0]},
        {"alpha": [-1.0, 0.1]},
    ),
    # Newton's method stops at a gradient, so that its results differ by about its square.
    "logistic": Family(
        LogisticClassifier(tol=1e-11), "2", {"alpha": ALPHAS}, {"alpha": [-1.0, 0.1]}, 1e-9
    ),
    "softmax": Family(
        SoftmaxClassifier(tol=1e-11), "3", {"alpha": ALPHAS}, {"alpha": [-1.0, 0.1]}, 1e-9
    ),
    "mlp": Family(
        MLPRegressor(**NETWORK),
        "regression",
        {"learning_rate_init": [1e-3, 1e-2], "alpha": [0.0, 0.1]},
        {"learning_rate_init": [1e30, 1e-3]},
        TRAINED,
    ),
    "mlp-classifier": Family(
        MLPClassifier(**NETWORK),
        "3",
        {"learning_rate_init": [1e-3, 1e-2], "activation": ["relu", "tanh"]},
        {"alpha": [-1.0, 0.1]},
        TRAINED,
    ),
}
FAMILIES |= {f"scaled-{name}": family.in_pipeline() for name, family in FAMILIES.items()}


def highest_mean(results: dict[str, Any]) -> int:
    """A refit of the user's: the candidate that is best by the first metric."""
    name = next(key for key in results if key.startswith("mean_test_"))
    return int(np.nanargmax(results[name]))


def shuffled_by_a_generator() -> dict[str, Any]:
    """A splitter whose splits differ at every call, so that they must be drawn once."""
    return {"cv": KFold(3, shuffle=True, random_state=np.random.RandomState(3))}


def seeds_itself() -> dict[str, Any]:
    return {"cv": ShuffleSplit(2, random_state=np.random.RandomState(5), test_size=0.3)}


#: Arguments of a search, made anew for each; the metrics are the family's.
VARIANTS: dict[str, Callable[[Family], dict[str, Any]]] = {
    "plain": lambda family: {},
    "two metrics, refit by name": lambda family: {
        "scoring": family.scorings(),
        "refit": family.scorings()[1],
        "return_train_score": True,
    },
    "two metrics, no refit": lambda family: {"scoring": family.scorings(), "refit": False},
    "refit callable": lambda family: {"refit": highest_mean, "return_train_score": True},
    "fresh splits": lambda family: shuffled_by_a_generator() | {"return_train_score": True},
    "fresh shuffles": lambda family: seeds_itself() | {"scoring": family.scorings()[1]},
    "two jobs": lambda family: {"n_jobs": 2, "cv": 3},
    "no train scores, own scorer": lambda family: {
        "scoring": make_scorer(mean_absolute_error, greater_is_better=False)
        if family.kind == "regression"
        else "accuracy",
        "return_train_score": False,
    },
}


def pair(name: str) -> tuple[Any, Any]:
    """Ours and theirs."""
    return getattr(thetalearn, f"Fused{name}"), getattr(model_selection, name)


def candidates(search: str, grid: dict[str, list[Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first argument after the estimator, and further ones."""
    if search == "randomized":
        drawn = {
            key: loguniform(1e-4, 1) if key.endswith("alpha") else list(values)
            for key, values in grid.items()
        }
        return drawn, {"n_iter": 4, "random_state": 0}
    if search == "halving":
        return grid, {"random_state": 0, "min_resources": 30, "factor": 2}
    if search == "random-halving":
        return grid, {"random_state": 0, "min_resources": 30, "factor": 2, "n_candidates": 3}
    return grid, {}


def fitted_pair(
    search: str, family: Family, options: Callable[[], dict[str, Any]], **params: Any
) -> tuple[Any, Any]:
    """Both searches, fitted, after their warnings have been compared."""
    X, y = data(family.kind)
    found, warned = [], []
    for kind in pair(SEARCHES[search]):
        grid, own = candidates(search, family.grid)
        one = kind(clone(family.estimator), grid, **({"cv": 2} | own | options()))
        one, noted = run_recorded(lambda one=one: one.fit(X, y, **params))
        found.append(one)
        warned.append(noted)
    # Workers of joblib keep their warnings to themselves, and ours run here.
    if found[0].n_jobs is None:
        assert warned[0] == warned[1]
    return found[0], found[1]


#: What successive halving refuses.
NO_HALVING = {
    "two metrics, refit by name",
    "two metrics, no refit",
    "fresh splits",
    "fresh shuffles",
}


def all_pairs() -> list[tuple[str, str, str]]:
    """Combinations in which each search, family and variant meets most of the others."""
    chosen = []
    for i, family in enumerate(FAMILIES):
        for j, variant in enumerate(VARIANTS):
            allowed = list(SEARCHES)[: 2 if variant in NO_HALVING else 4]
            # Networks take longest.
            if "mlp" not in family or (i + j) % 2 == 0:
                chosen.append((allowed[(i + j + j // 4) % len(allowed)], family, variant))
    return chosen


@pytest.mark.parametrize(("search", "family", "variant"), all_pairs())
def test_a_search_agrees_with_that_of_scikit_learn(search: str, family: str, variant: str) -> None:
    case = FAMILIES[family]
    ours, theirs = fitted_pair(search, case, lambda: VARIANTS[variant](case))
    assert_same_search(ours, theirs, data(case.kind)[0], case.rtol)
    report = ours.fused_report_
    assert report.n_fits == len(theirs.cv_results_["params"]) * theirs.n_splits_
    # A candidate of the last iteration of halving may be alone with its shape.
    assert report.n_fused == report.n_fits or (
        "halving" in search and report.n_fused >= report.n_fits // 2
    )
    assert sum(report.reasons.values()) == report.n_fits - report.n_fused


@pytest.mark.parametrize("error_score", [np.nan, -7.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_candidate_that_fails_fails_alone(family: str, error_score: float) -> None:
    case = FAMILIES[family]
    bad = Family(case.estimator, case.kind, case.bad, {}, case.rtol)
    options = {"error_score": error_score, "return_train_score": True}
    ours, theirs = fitted_pair("grid", bad, lambda: options)
    assert_same_search(ours, theirs, data(case.kind)[0], case.rtol)
    assert ours.fused_report_.n_fused == 4


@pytest.mark.parametrize("family", [name for name in FAMILIES if name.endswith("chebyshev")])
def test_an_error_is_raised_as_scikit_learn_raises_it(family: str) -> None:
    case = FAMILIES[family]
    X, y = data(case.kind)
    raised = []
    for kind in pair("GridSearchCV"):
        with pytest.raises(ValueError) as caught:
            kind(case.estimator, case.bad, error_score="raise").fit(X, y)
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]


def test_all_fits_failing_is_an_error() -> None:
    X, y = data("regression")
    raised = []
    for kind in pair("GridSearchCV"):
        with pytest.raises(ValueError, match="All the 4 fits failed") as caught:
            kind(LinearRegressor(), {"alpha": [-1, -2]}, cv=2).fit(X, y)
        raised.append(str(caught.value).splitlines()[:3])
    assert raised[0] == raised[1]


def test_the_text_about_failed_fits_shows_where_they_failed() -> None:
    X, y = data("regression")
    with pytest.warns(FitFailedWarning, match="_validate_params") as caught:
        FusedGridSearchCV(LinearRegressor(), {"alpha": [-1, 1]}, cv=2).fit(X, y)
    assert "2 fits failed out of a total of 4" in str(caught[0].message)


@pytest.mark.parametrize(
    ("search", "family"),
    # Networks take longest, and searches share their way of fitting.
    [(s, f) for s in SEARCHES for f in FAMILIES if s == "grid" or "mlp" not in f],
)
def test_weights_reach_fits_as_they_should(search: str, family: str) -> None:
    case = FAMILIES[family]
    weight = np.random.RandomState(0).uniform(0.5, 2, N_ROWS)
    name = type(case.estimator).__name__
    last = case.estimator.steps[-1][0] if name == "Pipeline" else None
    param = "sample_weight" if last is None else f"{last}__sample_weight"
    ours, theirs = fitted_pair(search, case, dict, **{param: weight})
    assert_same_search(ours, theirs, data(case.kind)[0], case.rtol)
    assert ours.fused_report_.n_fused > 0


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("family", ["chebyshev", "scaled-logistic"])
def test_groups_reach_the_splitter(search: str, family: str) -> None:
    case = FAMILIES[family]
    groups = np.arange(N_ROWS) % 6
    ours, theirs = fitted_pair(search, case, lambda: {"cv": GroupKFold(3)}, groups=groups)
    assert_same_search(ours, theirs, data(case.kind)[0], case.rtol)
    assert ours.fused_report_.n_fused > 0


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize(
    "family", ["logistic", "softmax", "scaled-softmax", "scaled-mlp-classifier"]
)
def test_predictions_of_held_out_rows_agree(family: str, method: str) -> None:
    case = FAMILIES[family]
    X, y = data(case.kind)
    ours, theirs = (
        function(case.estimator, X, y, method=method, cv=3)
        for function in pair_of_functions("cross_val_predict")
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=max(case.rtol, 1e-8))
    assert ours.dtype == theirs.dtype


def test_decision_functions_of_held_out_rows_agree() -> None:
    case = FAMILIES["logistic"]
    X, y = data(case.kind)
    ours, theirs = (
        function(case.estimator, X, y, method="decision_function", cv=3)
        for function in pair_of_functions("cross_val_predict")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-7)


def pair_of_functions(name: str) -> tuple[Any, Any]:
    """Ours and theirs."""
    return getattr(thetalearn, f"fused_{name}"), getattr(model_selection, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_cross_validations_agree(family: str) -> None:
    case = FAMILIES[family]
    X, y = data(case.kind)
    options = {
        "scoring": case.scorings(),
        "return_train_score": True,
        "return_estimator": True,
        "return_indices": True,
    }
    ours, theirs = (
        function(case.estimator, X, y, **options, **shuffled_by_a_generator())
        for function in pair_of_functions("cross_validate")
    )
    assert list(ours) == list(theirs)
    for own, other in zip(ours.pop("estimator"), theirs.pop("estimator"), strict=True):
        assert type(own) is type(other)
        assert not set(vars(other)) ^ set(vars(own))
        assert "fit" not in vars(own)
        np.testing.assert_allclose(own.predict(X), other.predict(X), rtol=1e-5, atol=case.rtol)
        assert pickle.loads(pickle.dumps(own)).get_params().keys() == other.get_params().keys()
    for part in ("train", "test"):
        for a, b in zip(ours["indices"][part], theirs["indices"][part], strict=True):
            np.testing.assert_array_equal(a, b)
    del ours["indices"], theirs["indices"]
    assert_same_results(ours, theirs, case.rtol)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_folds_agree(family: str) -> None:
    case = FAMILIES[family]
    X, y = data(case.kind)
    ours, theirs = (
        function(case.estimator, X, y, scoring=case.scorings()[0], cv=3)
        for function in pair_of_functions("cross_val_score")
    )
    np.testing.assert_allclose(ours, theirs, rtol=case.rtol, atol=case.rtol)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("family", ["polynomial", "scaled-kernel", "logistic", "mlp"])
def test_learning_curves_agree(family: str, shuffle: bool) -> None:
    case = FAMILIES[family]
    X, y = data(case.kind)
    options = {
        # Training rows of one size are a part of those of the next.
        "train_sizes": [0.4, 0.7, 1.0],
        "shuffle": shuffle,
        "random_state": 0,
        "cv": 3,
        "return_times": True,
    }
    ours, theirs = (
        function(case.estimator, X, y, **options)
        for function in pair_of_functions("learning_curve")
    )
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=case.rtol, atol=case.rtol)
    assert [part.shape for part in ours] == [part.shape for part in theirs]


@pytest.mark.parametrize("family", FAMILIES)
def test_validation_curves_agree(family: str) -> None:
    case = FAMILIES[family]
    X, y = data(case.kind)
    name, values = next(iter(case.grid.items()))
    ours, theirs = (
        function(case.estimator, X, y, param_name=name, param_range=values, cv=3)
        for function in pair_of_functions("validation_curve")
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=case.rtol, atol=case.rtol)


def test_incremental_learning_curves_agree() -> None:
    X, y = data("regression")
    ours, theirs = (
        function(LinearRegressor(), X, y, exploit_incremental_learning=True, cv=3)
        for function in pair_of_functions("learning_curve")
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", CROSS_VALIDATIONS)
def test_signatures_of_functions_are_those_of_scikit_learn(name: str) -> None:
    ours, theirs = (inspect.signature(function) for function in pair_of_functions(name))
    # Deprecated in scikit-learn 1.6, and gone in 1.8.
    names = [name for name in theirs.parameters if name != "fit_params"]
    assert list(ours.parameters) == names
    for own, other in ((ours.parameters[name], theirs.parameters[name]) for name in names):
        assert own.kind is other.kind
        np.testing.assert_equal(own.default, other.default)


@pytest.mark.parametrize("name", SEARCHES.values())
def test_signatures_of_searches_add_one_argument(name: str) -> None:
    ours, theirs = (inspect.signature(kind).parameters for kind in pair(name))
    assert list(ours) == [*theirs, "memory_budget"]
    for argument, other in theirs.items():
        assert ours[argument].kind is other.kind
        np.testing.assert_equal(ours[argument].default, other.default)


def frames() -> dict[str, Callable[[np.ndarray], Any]]:
    def pandas(X: np.ndarray) -> Any:
        return pytest.importorskip("pandas").DataFrame(X, columns=list("abc"))

    def polars(X: np.ndarray) -> Any:
        return pytest.importorskip("polars").DataFrame(X, schema=list("abc"))

    return {"pandas": pandas, "polars": polars, "lists": np.ndarray.tolist}


@pytest.mark.parametrize("form", frames())
@pytest.mark.parametrize("family", ["polynomial", "scaled-chebyshev", "kernel", "scaled-mlp"])
def test_data_of_any_form(family: str, form: str) -> None:
    case = FAMILIES[family]
    X, y = data(case.kind)
    X = frames()[form](X)
    y = y.tolist() if form == "lists" else y
    ours, theirs = (
        kind(case.estimator, case.grid, cv=2, return_train_score=True).fit(X, y)
        for kind in pair("GridSearchCV")
    )
    assert_same_search(ours, theirs, X, case.rtol)
    assert ours.fused_report_.n_fused == ours.fused_report_.n_fits
    names = getattr(theirs, "feature_names_in_", None)
    np.testing.assert_array_equal(getattr(ours, "feature_names_in_", None), names)


@ROUTING
def test_metadata_are_routed() -> None:
    X, y = data("regression")
    weight = np.random.RandomState(0).uniform(0.5, 2, N_ROWS)
    with config_context(enable_metadata_routing=True):
        for piped in (False, True):
            model = LinearRegressor().set_fit_request(sample_weight=True)
            model.set_score_request(sample_weight=True)
            grid = {"alpha": ALPHAS}
            if piped:
                model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
                grid = {"linearregressor__alpha": ALPHAS}
            ours, theirs = (
                kind(model, grid, cv=GroupKFold(3)).fit(
                    X, y, sample_weight=weight, groups=np.arange(N_ROWS) % 4
                )
                for kind in pair("GridSearchCV")
            )
            assert_same_search(ours, theirs, X, CLOSED)
            assert ours.fused_report_.n_fused == 9


def test_verbose_prints_what_scikit_learn_prints(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = data("regression")
    printed = []
    for kind in pair("GridSearchCV"):
        kind(LinearRegressor(), {"alpha": ALPHAS}, cv=2, verbose=3).fit(X, y)
        lines = capsys.readouterr().out.splitlines()
        printed.append([line.rpartition("total time")[0] for line in lines if "END" in line])
    assert sorted(line.rstrip(".") for line in printed[0]) == sorted(
        line.rstrip(".") for line in printed[1]
    )
    assert len(printed[0]) == 6


@pytest.mark.parametrize("name", SEARCHES.values())
def test_searches_are_estimators(name: str) -> None:
    ours, theirs = pair(name)
    options = {"cv": 3, "n_jobs": 2}
    search = ours(LinearRegressor(), {"alpha": ALPHAS}, memory_budget=2**25, **options)
    other = theirs(LinearRegressor(), {"alpha": ALPHAS}, **options)
    assert set(search.get_params()) == set(other.get_params()) | {"memory_budget"}
    assert clone(search).get_params()["memory_budget"] == 2**25
    assert "memory_budget=33554432" in repr(search)
    assert repr(search).startswith(f"Fused{name}(")
    assert isinstance(search, theirs)
    with pytest.raises(ValueError, match="memory_budget"):
        search.set_params(memory_budget=10).fit(*data("regression"))


def test_a_fitted_search_can_be_pickled() -> None:
    X, y = data("regression")
    search = FusedGridSearchCV(LinearRegressor(), {"alpha": ALPHAS}).fit(X, y)
    copy = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copy.predict(X), search.predict(X))
    assert repr(copy.fused_report_) == repr(search.fused_report_)


def test_a_search_inside_a_cross_validation() -> None:
    X, y = data("regression")
    ours, theirs = (
        cross_val_score(kind(PolynomialRegressor(), {"alpha": ALPHAS}, cv=3), X, y, cv=2)
        for kind in pair("GridSearchCV")
    )
    np.testing.assert_allclose(ours, theirs, rtol=CLOSED)


def test_a_search_inside_a_fused_search() -> None:
    X, y = data("regression")
    fused, plain = pair("GridSearchCV")
    inner = {"alpha": ALPHAS}
    ours = fused(fused(PolynomialRegressor(), inner, cv=3), {"cv": [2, 3]}, cv=2).fit(X, y)
    theirs = plain(plain(PolynomialRegressor(), inner, cv=3), {"cv": [2, 3]}, cv=2).fit(X, y)
    assert_same_search(ours, theirs, X, CLOSED)
    # The outer fits are searches, and the one that is refitted has fused its own.
    assert ours.fused_report_.n_fused == 0
    report = ours.best_estimator_.fused_report_
    assert report.n_fused == report.n_fits > 0


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_backends_of_joblib(backend: str) -> None:
    X, y = data("regression")
    found = []
    for kind in pair("GridSearchCV"):
        with joblib.parallel_backend(backend, n_jobs=2):
            found.append(kind(LinearRegressor(), {"alpha": [-1, 0.1, 1]}, cv=2))
            with pytest.warns(FitFailedWarning):
                found[-1].fit(X, y)
    assert_same_search(*found, X, CLOSED)
    assert found[0].fused_report_.n_fused == 6


class OfItsOwn(FusedGridSearchCV):
    """Evaluates candidates that depend on the scores of the first."""

    def _run_search(self, evaluate_candidates: Any) -> None:
        results = evaluate_candidates([{"alpha": alpha} for alpha in ALPHAS])
        best = results["params"][int(np.argmax(results["mean_test_score"]))]["alpha"]
        evaluate_candidates([{"alpha": best * 2}, {"alpha": best / 2}])


class OfItsOwnOneByOne(model_selection.GridSearchCV):
    _run_search = OfItsOwn._run_search


def test_a_search_of_its_own_with_candidates_that_follow_scores() -> None:
    X, y = data("regression")
    ours = OfItsOwn(LinearRegressor(), {}, cv=3).fit(X, y)
    theirs = OfItsOwnOneByOne(LinearRegressor(), {}, cv=3).fit(X, y)
    assert_same_search(ours, theirs, X, CLOSED)
    assert ours.fused_report_.n_fused == 15
