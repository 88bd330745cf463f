"""Functions of rows in the place of estimators, and what no estimator is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV

from thetalearn import permutation_importance

RNG = np.random.RandomState(0)
X = RNG.normal(size=(80, 3))
Y = X @ [1.0, 2.0, 0.0] + 0.1 * RNG.normal(size=80)
MODEL = LinearRegression().fit(X, Y)


def labelled(above, kind):
    return {"strings": np.where(above, "yes", "no"), "integers": above * 1, "bools": above}[kind]


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error", "neg_median_absolute_error"])
def test_a_function_has_the_importance_of_its_estimator(scoring):
    options = {"scoring": scoring, "random_state": 0}
    found = permutation_importance(MODEL.predict, X, Y, **options)
    expected = permutation_importance(MODEL, X, Y, **options)
    # Rounding of sums of some hundred numbers.
    np.testing.assert_allclose(found.importances, expected.importances, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["strings", "integers", "bools"])
def test_a_function_of_labels_has_an_accuracy(kind):
    def positive(rows):
        return labelled(MODEL.predict(rows) > 0, kind)

    y = labelled(Y > 0, kind)
    found = permutation_importance(positive, X, y, scoring="accuracy", n_repeats="all")
    assert found.baseline_score == (positive(X) == y).mean()
    assert found.importances_mean[1] > found.importances_mean[0] > 0.05


def test_a_scorer_of_the_user_gets_a_function_as_an_estimator():
    def score(model, rows, y):
        return -np.abs(model.predict(rows) - y).max()

    found = permutation_importance(MODEL.predict, X, Y, scoring=score, random_state=0)
    expected = permutation_importance(MODEL, X, Y, scoring=score, random_state=0)
    np.testing.assert_array_equal(found.importances, expected.importances)


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        (LinearRegression, {}, "LinearRegression is a class"),
        (GridSearchCV(Ridge(), {"alpha": [1]}, refit=False), {}, "has no method that predicts"),
        (MODEL.predict, {}, "estimator is a function, which has no score"),
        (MODEL, {"scoring": lambda model, X, y: None}, "the scorer returned None"),
        (MODEL, {"scoring": lambda model, X, y: {"a": "b"}}, "the scorer 'a' returned 'b'"),
        (MODEL, {"X": X[:0], "y": Y[:0]}, r"X of shape \(0, 3\) has no rows"),
        (MODEL, {"y": np.ones(80), "n_repeats": "all"}, "needs a y that varies"),
    ],
    ids=["class", "search", "function", "none", "named", "empty", "constant"],
)
def test_errors_name_what_is_wrong(estimator, options, message):
    if isinstance(estimator, GridSearchCV):
        estimator.fit(X, Y)
    data = {"X": X, "y": Y, **options}
    with pytest.raises(ValueError, match=message):
        permutation_importance(estimator, **data)
