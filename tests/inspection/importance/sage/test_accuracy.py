from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.tree import DecisionTreeClassifier

from thetalearn import LogisticClassifier
from thetalearn.inspection.importance.dependence.partial import projections
from thetalearn.inspection.importance.sage import accuracy
from thetalearn.inspection.importance.sage.accuracy import accuracy_shapley_values

POINTS = np.array([[0.5, 1.0], [-2.0, 3.0], [1.0, 5.0]])


def above_parabola(X):
    return (X[:, 1] > X[:, 0] ** 2).astype(int)


def half_plane(seed, n=100):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 2))
    return X, (X[:, 1] > 0.3 * X[:, 0] + 0.2 + 0.5 * rng.normal(size=n)).astype(int)


def fractions(*numbers):
    return [float(Fraction(number)) for number in numbers]


@pytest.mark.parametrize(
    ("labels", "worth", "values"),
    [
        ([1, 0, 0], ["4/9", "2/3", "2/9", "2/3"], ["1/3", "-1/9"]),
        ([1, 0, 1], ["5/9", "7/9", "5/9", "1"], ["1/3", "1/9"]),
    ],
    ids=["two-below", "one-below"],
)
def test_three_points_and_a_parabola(labels, worth, values):
    # Exercises 12.1 and 12.2 of the book, by hand: coalitions none, x, y, both.
    found = accuracy_shapley_values(above_parabola, POINTS, labels)
    assert found.coalitions.tolist() == [[False, False], [True, False], [False, True], [True, True]]
    np.testing.assert_allclose(found.coalition_values, fractions(*worth), rtol=1e-12)
    np.testing.assert_allclose(found.values, fractions(*values), rtol=1e-12)
    assert found.base_value == pytest.approx(found.coalition_values[0], rel=1e-12)
    assert found.baseline_score == pytest.approx(found.coalition_values[-1], rel=1e-12)
    assert found.total == pytest.approx(found.values.sum(), rel=1e-12)


def test_coalitions_are_the_accuracy_of_projections():
    X, y = half_plane(0)
    model = LogisticClassifier().fit(X, y)
    found = accuracy_shapley_values(model, X, y)
    for coalition, worth in zip(found.coalitions, found.coalition_values, strict=True):
        share = projections(model, X, np.flatnonzero(coalition), response_method="predict")[:, 1]
        assert worth == pytest.approx(1 - np.abs(share - y).mean(), rel=1e-12)


@pytest.mark.parametrize("feature", [0, 1])
def test_mean_over_all_shuffles_is_the_accuracy_of_the_others(feature):
    X, y = half_plane(1, n=5)
    found = accuracy_shapley_values(above_parabola, X, y)
    scores = []
    for order in permutations(range(5)):
        shuffled = X.copy()
        shuffled[:, feature] = X[list(order), feature]
        scores.append((above_parabola(shuffled) == y).mean())
    others = ~(found.coalitions ^ (np.arange(2) != feature)).any(1)
    assert found.coalition_values[others][0] == pytest.approx(np.mean(scores), rel=1e-12)


def test_the_feature_that_decides_gets_more_in_every_draw():
    for seed in range(20):
        X, y = half_plane(seed)
        model = LogisticClassifier().fit(X, y)
        found = accuracy_shapley_values(model, X, y)
        assert found.values[1] > found.values[0]
        assert found.total == pytest.approx(found.values.sum(), rel=1e-10)
        assert found.baseline_score == pytest.approx(model.score(X, y), rel=1e-12)


def three_classes(n=60, d=4):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n, d))
    y = np.array(["low", "middle", "top"])[(X[:, 0] > 0).astype(int) + (X[:, 1] * X[:, 2] > 0)]
    return X, y, DecisionTreeClassifier(max_depth=6, random_state=0).fit(X[:, :d], y)


def test_many_classes_count_the_share_of_the_true_one():
    X, y, model = three_classes(25)
    found = accuracy_shapley_values(model, X, y, groups=[[1, 2]])
    assert found.feature_names == ["x0", "x1, x2", "x3"]
    mixed = np.repeat(X[None], 25, axis=0)
    mixed[:, :, [1, 2]] = X[:, None, [1, 2]]
    hits = model.predict(mixed.reshape(-1, 4)).reshape(25, 25) == y[:, None]
    known = (found.coalitions == [False, True, False]).all(1)
    assert found.coalition_values[known][0] == pytest.approx(hits.mean(), rel=1e-12)


def test_weights_are_repetitions():
    X, y, model = three_classes(20)
    weight = np.random.RandomState(1).randint(1, 4, size=20)
    every = np.repeat(np.arange(20), weight)
    found = accuracy_shapley_values(model, X, y, sample_weight=weight)
    again = accuracy_shapley_values(model, X[every], y[every])
    np.testing.assert_allclose(found.values, again.values, rtol=1e-9, atol=1e-12)


def test_samples_lie_within_their_intervals(monkeypatch):
    X, y, model = three_classes(40)
    exact = accuracy_shapley_values(model, X, y)
    monkeypatch.setattr(accuracy, "BLOCK", 10 * 2 * 3 * 40)
    covered = []
    for seed in range(30):
        found = accuracy_shapley_values(
            model, X, y, method="sampling", precision=0.02, random_state=seed
        )
        assert found.values.sum() == pytest.approx(found.total, rel=1e-9)
        # The last column is not used, and its interval is a point up to rounding.
        half = np.diff(found.mc_ci)[:, 0] / 2 + 1e-12
        covered.append(np.abs(found.values - exact.values) <= half)
    # 30 draws of four dependent values: an error of 0.04 at most.
    assert np.mean(covered) > 0.83
    assert exact.mc_se.max() == 0
    assert found.coalition_values is None


def test_a_column_that_is_not_used_gets_nothing():
    X, y = half_plane(2)
    X = np.column_stack([X, np.random.RandomState(0).normal(size=100)])
    assert accuracy_shapley_values(above_parabola, X, y).values[2] == pytest.approx(0, abs=1e-12)


def test_auto_samples_above_the_cap():
    X, y = half_plane(3, n=30)
    found = accuracy_shapley_values(above_parabola, X, y, max_players_exact=1, random_state=0)
    assert found.method == "sampling"
    # Of two players each has been first as often as last, against every row.
    exact = accuracy_shapley_values(above_parabola, X, y)
    np.testing.assert_allclose(found.values, exact.values, rtol=1e-9, atol=1e-12)
    assert accuracy_shapley_values(above_parabola, X[:, :2], y).method == "exact"


def test_missed_precision_is_reported():
    X, y, model = three_classes(40)
    with pytest.warns(ConvergenceWarning, match="max_evals=1 "):
        accuracy_shapley_values(
            model, X, y, method="sampling", precision=0.0, max_evals=1, random_state=0
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "closed form"}, "method='closed form' must be one of"),
        ({"precision": np.nan}, "precision=nan"),
        ({"sample_weight": np.zeros(3)}, "sample_weight sums to zero"),
        ({"y": [1, 0]}, r"y has the shape \(2,\)"),
        ({"estimator": lambda X: X[:, 0] / 3}, "which is no label"),
        ({"estimator": lambda X: X}, r"array of shape \(3, 2\)"),
    ],
    ids=["method", "precision", "weights", "labels", "numbers", "matrix"],
)
def test_errors_name_the_parameter(options, message):
    arguments = {"estimator": above_parabola, "X": POINTS, "y": [1, 0, 0], **options}
    with pytest.raises(ValueError, match=message):
        accuracy_shapley_values(**arguments)


def test_labels_that_are_never_predicted_are_refused():
    X = np.array([[0.5], [-2.0], [1.0]])
    with pytest.raises(ValueError, match=r"\['no', 'yes'\].*\[0, 1\]"):
        accuracy_shapley_values(lambda X: (X[:, 0] > 0) * 1, X, ["yes", "no", "yes"])
