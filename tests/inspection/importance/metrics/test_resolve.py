"""Scores from stored predictions are those that scikit-learn's scorers give."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    check_scoring,
    d2_log_loss_score,
    f1_score,
    fbeta_score,
    log_loss,
    make_scorer,
    mean_squared_error,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from thetalearn import (
    ChebyshevRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    PerceptronClassifier,
    SoftmaxClassifier,
)
from thetalearn.inspection.importance.metrics.resolve import (
    RowMetric,
    StoredMetric,
    UserScorer,
    encode,
    resolve_metrics,
)

#: Sums over rows in another order differ by rounding.
CLOSE = {"rtol": 1e-12, "atol": 1e-13}

REGRESSION = [
    "neg_mean_squared_error",
    "neg_mean_absolute_error",
    "neg_root_mean_squared_error",
    "r2",
    "explained_variance",
]
BY_ROWS_OF_CLASSES = ["accuracy", "neg_log_loss", "neg_brier_score"]


def inputs(seed=0, n=40):
    return np.random.RandomState(seed).standard_normal((n, 3))


def values(m=1, seed=0):
    X, noise = inputs(seed), np.random.RandomState(seed + 1).standard_normal((40, m))
    y = 3 + X[:, :1] * np.arange(1, m + 1) + 0.5 * noise
    return X, y[:, 0] if m == 1 else y


def classes(names, seed=0):
    X, noise = inputs(seed), np.random.RandomState(seed + 1).standard_normal(40)
    codes = np.digitize(X[:, 0] + noise, np.linspace(-0.5, 0.5, len(names) - 1))
    return X, np.asarray(names)[codes]


def shuffled(X, n=3):
    order = np.random.RandomState(5)
    for _ in range(n):
        changed = X.copy()
        changed[:, 0] = order.permutation(changed[:, 0])
        yield changed


def weights(n=40):
    return np.random.RandomState(9).uniform(0, 2, n)


def both(model, scoring, X, y, sample_weight=None):
    """The metric, its scores of shuffled rows, and scikit-learn's."""
    found, several = resolve_metrics(model, scoring, y, sample_weight)
    assert not several
    metric = found["score"]
    rows = list(shuffled(X))
    method = getattr(model, metric.response_method)
    stack = np.stack([encode(model, method(each), metric.response_method) for each in rows])
    extra = {} if sample_weight is None else {"sample_weight": sample_weight}
    scorer = check_scoring(model, scoring=scoring)
    return metric, stack, np.array([scorer(model, each, y, **extra) for each in rows])


def test_scores_of_regressors_are_those_of_scikit_learn():
    for m in (1, 3):
        X, y = values(m)
        for weight in (None, weights()):
            for name in [*REGRESSION, None]:
                metric, stack, expected = both(LinearRegression().fit(X, y), name, X, y, weight)
                assert isinstance(metric, RowMetric)
                np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)
                np.testing.assert_allclose(
                    metric.scores(torch.from_numpy(stack)), expected, **CLOSE
                )
                np.testing.assert_allclose(
                    metric.component_scores(stack).mean(1), expected, **CLOSE
                )


def test_poisson_deviance():
    X, y = values()
    y = np.floor(np.abs(y))
    model = TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1).fit(X, y)
    for weight in (None, weights()):
        metric, stack, expected = both(model, "neg_mean_poisson_deviance", X, y, weight)
        assert isinstance(metric, RowMetric)
        np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)
    with pytest.raises(ValueError, match="needs positive predictions"):
        metric.scores(-stack)


@pytest.mark.parametrize("names", [[0, 1], [-1, 1], [1, 2], ["a", "b"], [0, 1, 2], ["a", "b", "c"]])
def test_scores_of_classifiers_are_those_of_scikit_learn(names):
    X, y = classes(names)
    ours = LogisticClassifier if len(names) == 2 else SoftmaxClassifier
    for model in (GaussianNB().fit(X, y), ours().fit(X, y)):
        for weight in (None, weights()):
            for name in [*BY_ROWS_OF_CLASSES, None]:
                if name == "neg_brier_score" and names == ["a", "b"]:
                    continue
                metric, stack, expected = both(model, name, X, y, weight)
                assert isinstance(metric, RowMetric)
                np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_log_loss_clips_probabilities_in_the_precision_of_the_predictions():
    X, y = classes([0, 1])
    model = GaussianNB().fit(X, y)
    metric = resolve_metrics(model, "neg_log_loss", y)[0]["score"]
    for dtype, rtol in ((np.float64, 1e-12), (np.float32, 1e-6)):
        wrong = np.eye(2, dtype=dtype)[1 - y]
        expected = -log_loss(y, wrong)
        np.testing.assert_allclose(metric.scores(wrong[None]), [expected], rtol=rtol)
        assert expected < -15


def test_classes_follow_from_decision_values():
    X, y = classes(["a", "b"])
    models = [
        LogisticClassifier(),
        MLPClassifier((3,), max_iter=3, random_state=0),
        make_pipeline(StandardScaler(), LogisticClassifier()),
        GridSearchCV(LogisticClassifier(), {"fit_intercept": [True]}, cv=2),
        FrozenEstimator(LogisticClassifier().fit(X, y)),
    ]
    scorer = make_scorer(f1_score, pos_label="a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [model.fit(X, y) for model in models]
    for model in models:
        for scoring in ("accuracy", None, scorer, "balanced_accuracy"):
            metric, stack, expected = both(model, scoring, X, y)
            assert metric.response_method == "decision_function"
            np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_a_decision_value_of_zero_is_decided_as_the_classifier_does():
    X, y = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0, 1, 1, 1])
    logistic = LogisticClassifier().fit(X, y)
    perceptron = PerceptronClassifier(max_iter=100).fit(X, y)
    zeros = np.zeros((1, 4, 1))
    assert resolve_metrics(logistic, "accuracy", y)[0]["score"].scores(zeros) == 0.25
    assert resolve_metrics(perceptron, "accuracy", y)[0]["score"].scores(zeros) == 0.75
    stored = resolve_metrics(perceptron, "balanced_accuracy", y)[0]["score"]
    assert stored.scores(zeros) == 0.5


def test_a_classifier_with_its_own_predict_is_asked_for_its_classes():
    class Contrary(LogisticClassifier):
        def predict(self, X):
            return self.classes_[::-1][np.searchsorted(self.classes_, super().predict(X))]

    X, y = classes(["a", "b"])
    metric, stack, expected = both(Contrary().fit(X, y), "accuracy", X, y)
    assert metric.response_method == "predict"
    np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


@pytest.mark.parametrize(
    "scoring",
    [
        "roc_auc",
        "average_precision",
        "f1",
        "balanced_accuracy",
        "matthews_corrcoef",
        make_scorer(d2_log_loss_score, response_method="predict_proba"),
        make_scorer(fbeta_score, beta=2, pos_label=0),
        make_scorer(accuracy_score, normalize=False),
        make_scorer(
            log_loss, greater_is_better=False, response_method="predict_proba", labels=[0, 1]
        ),
    ],
    ids=lambda scoring: scoring if isinstance(scoring, str) else scoring._score_func.__name__,
)
def test_other_scorers_are_shown_stored_predictions(scoring):
    X, y = classes([0, 1])
    models = (LogisticClassifier(), LogisticRegression(), RandomForestClassifier(3, random_state=0))
    for model in models:
        model.fit(X, y)
        for weight in (None, weights()):
            metric, stack, expected = both(model, scoring, X, y, weight)
            assert isinstance(metric, StoredMetric)
            np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_positive_labels_other_than_the_last_class():
    X, y = classes(["a", "b"])
    for method in ("decision_function", "predict_proba"):
        scorer = make_scorer(
            lambda truth, score, pos_label="a": float(score[truth == pos_label].mean()),
            response_method=method,
            pos_label="a",
        )
        metric, stack, expected = both(LogisticRegression().fit(X, y), scorer, X, y)
        np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_several_classes_by_stored_predictions():
    X, y = classes(["a", "b", "c"])
    for model in (SoftmaxClassifier().fit(X, y), LogisticRegression().fit(X, y)):
        for name in ("roc_auc_ovr", "roc_auc_ovo_weighted", "f1_macro"):
            metric, stack, expected = both(model, name, X, y)
            np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_regression_scores_without_rows():
    X, y = values()
    model = RandomForestRegressor(3, random_state=0).fit(X, y)
    scorer = make_scorer(
        lambda a, b: float(np.quantile(np.abs(a - b), 0.9)), greater_is_better=False
    )
    for scoring in (
        "neg_max_error",
        "neg_median_absolute_error",
        "d2_absolute_error_score",
        scorer,
    ):
        metric, stack, expected = both(model, scoring, X, y)
        assert isinstance(metric, StoredMetric)
        np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_the_fallback_among_response_methods_is_the_one_of_the_estimator():
    X, y = classes([0, 1])
    assert resolve_metrics(LinearSVC().fit(X, y), "roc_auc", y)[0]["score"].response_method == (
        "decision_function"
    )
    assert resolve_metrics(GaussianNB().fit(X, y), "roc_auc", y)[0]["score"].response_method == (
        "predict_proba"
    )
    # Without probabilities the error is scikit-learn's.
    metric = resolve_metrics(SVC().fit(X, y), "neg_log_loss", y)[0]["score"]
    with pytest.raises(AttributeError, match="predict_proba"):
        metric(SVC().fit(X, y), X, y)


def test_keyword_arguments_and_signs_of_scorers():
    X, y = values(2)
    model = LinearRegression().fit(X, y)
    upward, stack, expected = both(model, make_scorer(mean_squared_error), X, y)
    assert isinstance(upward, RowMetric)
    np.testing.assert_allclose(upward.scores(stack), expected, **CLOSE)
    outputs = make_scorer(mean_squared_error, greater_is_better=False, multioutput=[0.3, 0.7])
    metric, stack, expected = both(model, outputs, X, y)
    assert isinstance(metric, StoredMetric)
    np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_several_labels_a_row():
    X = inputs()
    y = (X[:, :2] + inputs(3)[:, :2] > 0).astype(int)
    forest = RandomForestClassifier(3, random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = MLPClassifier((3,), max_iter=2, random_state=0).fit(X, y)
    for model in (forest, network):
        for name in ("accuracy", "f1_macro", None):
            metric, stack, expected = both(model, name, X, y)
            assert isinstance(metric, StoredMetric)
            np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)
        assert isinstance(resolve_metrics(model, "roc_auc", y)[0]["score"], UserScorer)
    score = resolve_metrics(MultiOutputClassifier(GaussianNB()).fit(X, y), None, y)[0]["score"]
    assert isinstance(score, UserScorer)


def test_what_needs_the_estimator_is_left_to_it():
    class Own(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            return self

        def predict(self, X):
            return X[:, 0]

        def score(self, X, y):
            return 7.0

    X, y = values()
    metric = resolve_metrics(Own(), None, y)[0]["score"]
    assert isinstance(metric, UserScorer) and metric(Own(), X, y) == 7.0
    metric = resolve_metrics(Own(), lambda model, X, y: float(len(X)), y)[0]["score"]
    assert isinstance(metric, UserScorer) and metric(Own(), X, y) == 40.0
    soft = np.linspace(0.1, 0.9, 40)
    model = LogisticClassifier().fit(X, soft)
    metric = resolve_metrics(model, None, soft)[0]["score"]
    assert isinstance(metric, UserScorer)
    assert metric(model, X, soft, np.ones(40)) == model.score(X, soft)


def test_the_score_of_a_search_is_its_scorer():
    X, y = values()
    grid = {"degree": [1, 2]}
    for scoring, name in (
        ("neg_mean_absolute_error", "absolute_error"),
        (None, "r2"),
        (["r2", "neg_mean_squared_error"], "squared_error"),
    ):
        refit = "neg_mean_squared_error" if isinstance(scoring, list) else True
        search = GridSearchCV(ChebyshevRegressor(), grid, scoring=scoring, refit=refit, cv=2)
        for model in (search, make_pipeline(StandardScaler(), search)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(X, y)
                metric, stack, expected = both(model, None, X, y)
            assert isinstance(metric, RowMetric) and metric.name == name
            np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_several_scores():
    X, y = values()
    model = LinearRegressor().fit(X, y)
    for scoring in (["r2", "neg_max_error"], ("r2", "neg_max_error"), {"r2", "neg_max_error"}):
        found, several = resolve_metrics(model, scoring, y, weights())
        assert several and set(found) == {"r2", "neg_max_error"}
        assert found["neg_max_error"].sample_weight is None
    scoring = {"a": "r2", "b": lambda model, X, y: 1.0, "c": make_scorer(mean_squared_error)}
    found, several = resolve_metrics(model, scoring, y, weights())
    assert several and [type(each) for each in found.values()] == [RowMetric, UserScorer, RowMetric]
    assert found["b"](model, X, y, weights()) == 1.0


def test_rows_add_up_to_the_score():
    X, y = values(2)
    model = LinearRegression().fit(X, y)
    for weight in (None, weights()):
        for name in REGRESSION:
            metric, stack, expected = both(model, name, X, y, weight)
            rows = metric.row_scores(stack)
            assert rows.shape == (3, 40)
            np.testing.assert_allclose(np.average(rows, axis=1, weights=weight), expected, **CLOSE)
            linear = name not in ("neg_root_mean_squared_error", "explained_variance")
            assert metric.is_linear is linear


def test_rows_are_influences():
    # The derivative of a score in the weight of a row, by differences.
    X, y = values(2)
    model, step = LinearRegression().fit(X, y), 1e-6
    for name in REGRESSION:
        metric, stack, _ = both(model, name, X, y, np.ones(40))
        influence = metric.row_scores(stack) - metric.scores(stack)[:, None]
        # What remains of a perfect score is lost, and V moves that loss.
        lost = metric.intercept - metric.component_scores(stack)
        through_scale = [metric.normaliser_influence(-each) for each in lost]
        if through_scale[0] is not None:
            influence = influence + np.stack(through_scale)
        for row in (0, 7):
            changes = []
            for sign in (1, -1):
                weight = np.ones(40)
                weight[row] += sign * step
                changes.append(both(model, name, X, y, weight)[0].scores(stack))
            # The weight of one row is 1/40 of the mean; the difference has an error of step².
            slope = 40 * (changes[0] - changes[1]) / (2 * step)
            np.testing.assert_allclose(influence[:, row], slope, rtol=1e-6, atol=1e-7)


def test_scores_of_other_rows_are_those_of_a_data_set_of_them():
    rows = np.random.RandomState(0).randint(40, size=40)
    X, y = values()
    model = LinearRegression().fit(X, y)
    for weight in (None, weights()):
        for name in [*REGRESSION, "neg_median_absolute_error"]:
            metric, stack, _ = both(model, name, X, y, weight)
            part = None if weight is None else weight[rows]
            again = resolve_metrics(model, name, y[rows], part)[0]["score"]
            np.testing.assert_allclose(
                metric.take(rows).scores(stack[:, rows]), again.scores(stack[:, rows]), **CLOSE
            )


def test_targets_on_which_a_score_is_undefined_are_left_to_scikit_learn():
    X, y = values()
    model = LinearRegression().fit(X, y)
    constant = np.ones(40)
    metric, stack, expected = both(model, "r2", X, constant)
    assert isinstance(metric, StoredMetric)
    np.testing.assert_allclose(metric.scores(stack), expected)
    X, y = classes(["a", "b"])
    with pytest.raises(ValueError, match="pos_label"):
        both(GaussianNB().fit(X, y), "neg_brier_score", X, y)[0].scores(np.full((1, 40, 2), 0.5))


def test_labels_that_the_classifier_has_not_seen_count_as_missed():
    X, y = classes([0, 1])
    model = LogisticClassifier().fit(X, y)
    y = np.where(np.arange(40) < 10, 5, y)
    metric, stack, expected = both(model, "accuracy", X, y)
    assert isinstance(metric, RowMetric)
    np.testing.assert_allclose(metric.scores(stack), expected, **CLOSE)


def test_predictions_of_a_wrong_shape_are_refused():
    X, y = values()
    metric = resolve_metrics(LinearRegression().fit(X, y), "r2", y)[0]["score"]
    for shape in ((40, 1), (2, 39, 1), (2, 40, 2)):
        with pytest.raises(ValueError, match="predictions have the shape"):
            metric.scores(np.zeros(shape))


def test_metrics_travel_to_other_processes():
    X, y = classes(["a", "b"])
    model = LogisticClassifier().fit(X, y)
    for name in [*BY_ROWS_OF_CLASSES[:2], "roc_auc"]:
        metric, stack, expected = both(model, name, X, y)
        copy = pickle.loads(pickle.dumps(metric))
        np.testing.assert_allclose(copy.scores(stack), expected, **CLOSE)


def test_labels_and_weights_in_other_containers():
    pandas = pytest.importorskip("pandas")
    X, y = classes([0, 1])
    model = LogisticClassifier().fit(X, y)
    for name in ("accuracy", "neg_log_loss", "roc_auc", "f1"):
        metric, stack, expected = both(model, name, X, y, weights())
        for wrap in (pandas.Series, torch.from_numpy, list):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                again = resolve_metrics(model, name, wrap(y), wrap(weights()))[0]["score"]
            assert type(again) is type(metric)
            np.testing.assert_allclose(again.scores(stack), expected, **CLOSE)
