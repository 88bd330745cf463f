import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import partial_dependence as theirs
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from thetalearn import (
    BSplineRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPRegressor,
    PolynomialRegressor,
    SoftmaxClassifier,
)
from thetalearn.inspection.importance.dependence.grids import axes_of
from thetalearn.inspection.importance.dependence.partial import partial_dependence, projections

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def data(n=40, d=4):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n, d)) @ (np.eye(d) + 0.5)
    return X, X[:, 0] * X[:, 1] + np.sin(X[:, 2]) + rng.normal(size=n)


def regressors():
    return {
        "sum": BSplineRegressor(knots=3),
        "products": PolynomialRegressor(degree=3),
        "network": MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0),
        "foreign": Ridge(),
        "targets": LinearRegressor(),
    }


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("features", [[1], [0, 2]])
@pytest.mark.parametrize("name", list(regressors()))
def test_regressors_agree_with_scikit_learn(name, features, weighted):
    X, y = data()
    model = regressors()[name].fit(X, np.stack([y, -y], 1) if name == "targets" else y)
    weight = np.random.RandomState(1).uniform(size=len(X)) if weighted else None
    options = {"grid_resolution": 7, "sample_weight": weight, "percentiles": (0.1, 0.8)}
    expected = theirs(model, X, features, kind="both", method="brute", **options)
    found = partial_dependence(model, X, features, kind="both", **options)
    averaged = partial_dependence(model, X, features, **options)
    # A network of single precision adds in another order.
    close = {"rtol": 1e-4, "atol": 1e-5} if name == "network" else CLOSE
    for ours, other in zip(found.grid_values, expected.grid_values, strict=True):
        np.testing.assert_array_equal(ours, other)
    np.testing.assert_allclose(found.individual, expected.individual, **close)
    np.testing.assert_allclose(found.average, expected.average, **close)
    np.testing.assert_allclose(averaged.average, expected.average, **close)
    assert "individual" not in averaged
    assert "average" not in partial_dependence(model, X, features, kind="individual", **options)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("response_method", ["auto", "decision_function"])
@pytest.mark.parametrize("ours", [True, False])
def test_classifiers_agree_with_scikit_learn(n_classes, response_method, ours):
    X, y = data()
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    own = LogisticClassifier(alpha=1.0) if n_classes == 2 else SoftmaxClassifier(alpha=1.0)
    model = (own if ours else LogisticRegression()).fit(X, labels)
    options = {"grid_resolution": 5, "response_method": response_method, "kind": "both"}
    expected = theirs(model, X, [3], method="brute", **options)
    found = partial_dependence(model, X, [3], **options)
    np.testing.assert_allclose(found.average, expected.average, **CLOSE)
    np.testing.assert_allclose(found.individual, expected.individual, **CLOSE)
    assert found.average.shape[0] == (1 if n_classes == 2 else 3)


def test_black_boxes_agree_with_scikit_learn():
    X, y = data()
    model = RandomForestClassifier(5, random_state=0).fit(X, y > 0)
    options = {"grid_resolution": 4, "kind": "both"}
    expected = theirs(model, X, [0, 3], method="brute", **options)
    found = partial_dependence(model, X, [0, 3], memory_budget=2**20, **options)
    np.testing.assert_allclose(found.average, expected.average, **CLOSE)
    np.testing.assert_allclose(found.individual, expected.individual, **CLOSE)
    assert found.output_names == ["True"]


def mixed_frame(n=50):
    pandas = pytest.importorskip("pandas")
    rng = np.random.RandomState(0)
    frame = pandas.DataFrame(
        {
            "age": rng.normal(size=n),
            "city": rng.choice(["a", "b", "c"], n).astype(object),
            "size": pandas.Categorical(rng.choice(["s", "m", "l"], n), ["s", "m", "l"]),
        }
    )
    return frame, frame["age"] * (1 + (frame["city"] == "b")) + (frame["size"] == "m")


@pytest.mark.parametrize("features", [["city"], ["age"], ["size", "age"]])
@pytest.mark.parametrize("final", ["ours", "forest"])
def test_pipelines_in_their_own_columns(features, final):
    frame, y = mixed_frame()
    encode = make_column_transformer(
        (StandardScaler(), ["age"]), (OneHotEncoder(drop="first"), ["city", "size"])
    )
    last = LinearRegressor() if final == "ours" else RandomForestClassifier(5, random_state=0)
    model = make_pipeline(encode, last).fit(frame, y if final == "ours" else y > 0)
    options = {"categorical_features": ["city", "size"], "grid_resolution": 6, "kind": "both"}
    expected = theirs(model, frame, features, method="brute", **options)
    found = partial_dependence(model, frame, features, **options)
    for ours, other in zip(found.grid_values, expected.grid_values, strict=True):
        assert ours.tolist() == other.tolist()
    np.testing.assert_allclose(found.average, expected.average, **CLOSE)
    np.testing.assert_allclose(found.individual, expected.individual, **CLOSE)
    assert found.feature_names == features
    assert [each is None for each in found.deciles] == [name != "age" for name in features]


def test_columns_that_are_no_numbers_need_not_be_named():
    frame, y = mixed_frame()
    encode = make_column_transformer(
        (StandardScaler(), ["age"]), (OneHotEncoder(drop="first"), ["city", "size"])
    )
    model = make_pipeline(encode, LinearRegressor()).fit(frame, y)
    found = partial_dependence(model, frame, "city", grid_resolution=2)
    assert found.grid_values[0].tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="'xl', which is not among its categories"):
        partial_dependence(model, frame, "size", custom_values={"size": ["s", "xl"]})


def test_polars_frames_are_taken():
    polars = pytest.importorskip("polars")
    X, y = data()
    names = ["a", "b", "c", "d"]
    frame = polars.DataFrame(X, schema=names)
    model = PolynomialRegressor(degree=2).fit(X, y)
    found = partial_dependence(
        lambda rows: model.predict(rows.to_numpy()), frame, ["b", "d"], grid_resolution=4
    )
    expected = partial_dependence(model, X, [1, 3], grid_resolution=4)
    np.testing.assert_allclose(found.average, expected.average, **CLOSE)


def test_integers_are_not_rounded():
    X = np.random.RandomState(0).randint(0, 50, size=(200, 2))
    model = LinearRegressor().fit(X, X @ [1.0, 2.0])
    found = partial_dependence(model, X, [1], grid_resolution=4)
    slopes = np.diff(found.average[0]) / np.diff(found.grid_values[0])
    np.testing.assert_allclose(slopes, 2.0, rtol=1e-9)


def test_custom_values_and_bools():
    X, y = data()
    model = PolynomialRegressor(degree=2).fit(X, y)
    found = partial_dependence(
        model, X, [False, True, True, False], custom_values={1: [0.0, 1.0], "x2": [2.0]}
    )
    assert found.average.shape == (1, 2, 1)
    rows = X.copy()
    rows[:, 1], rows[:, 2] = 1.0, 2.0
    assert found.average[0, 1, 0] == pytest.approx(model.predict(rows).mean(), rel=1e-9)


def test_deciles_are_those_of_the_data():
    X = np.linspace(0, 10, 1001)[:, None]
    found = partial_dependence(lambda rows: rows[:, 0], X, 0)
    np.testing.assert_allclose(found.deciles[0], np.arange(1, 10), atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mean"}, "kind='mean' must be one of"),
        ({"percentiles": (0.9, 0.1)}, r"percentiles=\(0.9, 0.1\)"),
        ({"grid_resolution": 1}, "grid_resolution=1"),
        ({"features": [9]}, "features names the column 9"),
        ({"features": []}, "features is empty"),
        ({"categorical_features": []}, "categorical_features is empty"),
        ({"categorical_features": ["x9"]}, "categorical_features names the column 'x9'"),
        ({"custom_values": {0: [[1.0]]}}, r"custom_values\[0\] has the shape \(1, 1\)"),
        ({"sample_weight": [1.0]}, "sample_weight of shape"),
        ({"percentiles": (0.5, 0.5 + 1e-12), "grid_resolution": 5}, "too close for a grid"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_errors_name_the_parameter(options, message):
    X, y = data()
    arguments = {"features": [0], **options}
    with pytest.raises(ValueError, match=message):
        partial_dependence(LinearRegressor().fit(X, y), X, **arguments)


def test_labels_have_no_average():
    X, y = data()
    model = LogisticClassifier().fit(X, y > 0)
    with pytest.raises(ValueError, match="see projections"):
        partial_dependence(model, X, [0], response_method="predict")


def test_columns_of_several_types_need_a_grid():
    column = np.array([["a"], [None], ["b"]], dtype=object)
    with pytest.raises(ValueError, match="name the points of its grid by custom_values"):
        axes_of(column, ["x"], np.array([0]))


def test_missing_numbers_do_not_enter_the_ends_of_the_grid():
    x = np.append(np.linspace(0, 1, 101), np.nan)[:, None]
    axis = axes_of(x, ["x"], np.array([0]), percentiles=(0, 1), resolution=3)[0]
    assert axis.values.tolist() == [0.0, 0.5, 1.0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", list(regressors()))
def test_projections_are_averages_over_the_rows(name):
    X, y = data()
    model = regressors()[name].fit(X, np.stack([y, -y], 1) if name == "targets" else y)
    found = projections(model, X, [0, 2])
    for i in (0, 7):
        rows = X.copy()
        rows[:, [0, 2]] = X[i, [0, 2]]
        expected = model.predict(rows).mean(0)
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)
    every, none = projections(model, X, [0, 1, 2, 3]), projections(model, X, [])
    np.testing.assert_allclose(every, model.predict(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(none[3], model.predict(X).mean(0), rtol=1e-5, atol=1e-6)
    assert found.shape == y.shape + ((2,) if name == "targets" else ())


def test_projections_of_a_parabola():
    # The table of exercise 12.1 of the book, by hand.
    X = np.array([[0.5, 1.0], [-2.0, 3.0], [1.0, 5.0]])

    def above(rows):
        return rows[:, 1] > rows[:, 0] ** 2

    np.testing.assert_allclose(projections(above, X, 0), [1, 1 / 3, 2 / 3], rtol=1e-12)
    np.testing.assert_allclose(projections(above, X, 1), [1 / 3, 2 / 3, 1], rtol=1e-12)
    np.testing.assert_allclose(projections(above, X, []), [2 / 3] * 3, rtol=1e-12)


def test_projections_of_labels_are_shares():
    X, y = data(20)
    labels = np.array(["no", "yes"])[(y > 0).astype(int)]
    model = LogisticClassifier(alpha=1.0).fit(X, labels)
    weight = np.random.RandomState(0).uniform(size=15)
    found = projections(
        model, X, [0], background=X[:15], background_weight=weight, response_method="predict"
    )
    rows = X[:15].copy()
    rows[:, 0] = X[4, 0]
    assert found.shape == (20, 2)
    assert found[4, 1] == pytest.approx(np.average(model.predict(rows) == "yes", weights=weight))
    np.testing.assert_allclose(found.sum(1), 1.0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_precision_of_networks_can_be_chosen():
    X = np.random.RandomState(0).normal(size=(60, 2))
    model = MLPRegressor(hidden_layer_sizes=(32,), max_iter=20, random_state=0).fit(X, X.sum(1))
    double, single = (
        partial_dependence(model, X, 0, dtype=dtype).average for dtype in ("float64", "float32")
    )
    # Rounding of single precision.
    np.testing.assert_allclose(single, double, atol=1e-5)
    assert (single != double).any()
    with pytest.raises(ValueError, match="dtype='half'"):
        projections(model, X, [0], dtype="half")
