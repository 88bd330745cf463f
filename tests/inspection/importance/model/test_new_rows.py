"""Rows that show more of an estimator than most rows do."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from thetalearn import LinearRegressor, PolynomialRegressor
from thetalearn.exceptions import RankWarning
from thetalearn.inspection.importance.model.model import mixed, model_of, stacked
from thetalearn.inspection.importance.model.notable import notable_rows
from thetalearn.inspection.importance.model.tables import as_matrix


def numbers(n=200, d=3, seed=0):
    return np.random.RandomState(seed).normal(size=(n, d))


def imputed(imputer=None):
    """A linear regression whose neighbours fill gaps."""
    X = numbers()
    X[:, 1] = 0.9 * X[:, 0] + 0.3 * X[:, 1]
    gaps = np.where(np.random.RandomState(1).rand(*X.shape) < 0.15, np.nan, X)
    return make_pipeline(imputer or KNNImputer(), LinearRegression()).fit(gaps, X[:, 0] * 2), X


def exchanges_as_its_estimator_does(model, estimator, X):
    index = np.random.RandomState(3).randint(len(X), size=(400, X.shape[1]))
    found = model.predict(mixed(model.encode(X), index))[:, 0]
    np.testing.assert_allclose(found, estimator.predict(mixed(X, index)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_one_gap_among_two_thousand_rows_is_seen(seed):
    estimator, _ = imputed()
    X = numbers(2000, seed=seed + 10)
    X[np.random.RandomState(seed).randint(2000), 0] = np.nan
    model = model_of(estimator, X)
    assert model.encoding.n_steps == 0
    exchanges_as_its_estimator_does(model, estimator, X)


def test_a_gap_in_the_background_alone_is_seen():
    estimator, X = imputed()
    gap = np.array([[np.nan, 1.0, 2.0]])
    assert model_of(estimator, X).encoding.n_steps == 1
    assert model_of(estimator, X, background=gap).encoding.n_steps == 0


def test_gaps_in_new_rows_make_the_model_anew():
    estimator, X = imputed()
    model, new = model_of(estimator, X[:30]), X[30:33].copy()
    new[0, 0] = np.nan
    assert model.covering(X[30:33]) is model
    covering = model.covering(new)
    assert covering is not model
    exchanges_as_its_estimator_does(covering, estimator, stacked(X[:30], new))


@pytest.mark.parametrize("seed", range(5))
def test_one_gap_among_many_new_rows_is_seen(seed):
    estimator, X = imputed()
    new = numbers(1000, seed=seed + 10)
    new[np.random.RandomState(seed).randint(1000), seed % 3] = np.nan
    assert model_of(estimator, X).covering(new).encoding.n_steps == 0


def test_gaps_that_each_column_fills_alone_change_nothing():
    estimator, X = imputed(SimpleImputer())
    model, new = model_of(estimator, X[:30]), X[30:33].copy()
    new[0, 0] = np.nan
    assert model.covering(new) is model


def test_new_rows_may_bring_a_product_to_light():
    flag = FunctionTransformer(lambda X: np.column_stack([X, X[:, 0] * np.maximum(X[:, 1] - 6, 0)]))
    X = numbers()
    estimator = make_pipeline(flag, LinearRegression()).fit(np.vstack([X, X + 8.0]), np.arange(400))
    model = model_of(estimator, X)
    covering = model.covering(X[:3] + np.array([0.0, 8.0, 0.0]))
    assert covering.encoding.n_steps == 0


@pytest.mark.parametrize(
    ("level", "step"), [(1.7e9, 3600.0), (2020.0, 0.02), (0.0, 5e-9), (1e-6, 5e-9)]
)
def test_a_constant_column_that_moves_a_little_has_moved(level, step):
    X = numbers()
    fitted = X.copy()
    fitted[:, 2] = level + step * np.arange(len(X))
    estimator = make_pipeline(StandardScaler(), LinearRegression()).fit(fitted, fitted[:, 2])
    X[:, 2] = level
    model, new = model_of(estimator, X), X[:2] + np.array([0.0, 0.0, step])
    assert model.owners[2].size == 0
    with pytest.raises(ValueError, match="varies where"):
        model.encode(new)
    assert model.covering(X[:2]) is model
    assert model.covering(new).owners[2].tolist() == [2]


def test_notable_rows():
    X = pd.DataFrame({"a": [2.0, 1.0, 3.0, 2.0, np.nan], "b": list("xxyxx"), "c": [0] * 5})
    assert notable_rows(X).tolist() == [0, 1, 2, 4]
    assert notable_rows(pl.DataFrame({"b": ["x", None, "x", "y"]})).tolist() == [0, 1, 3]
    many = pd.DataFrame({"a": [str(i) for i in range(500)], "b": [[i] for i in range(500)]})
    assert len(notable_rows(many)) == 50


def mixed_types():
    random = np.random.RandomState(0)
    return pd.DataFrame(
        {
            "rooms": random.randint(1, 6, size=50),
            "new": random.rand(50) < 0.5,
            "city": pd.Categorical(random.choice(["Bern", "Oslo"], 50)),
        }
    )


def one_hot(X):
    columns = ColumnTransformer([("o", OneHotEncoder(), ["city"])], remainder="passthrough")
    return make_pipeline(columns, LinearRegression()).fit(X, np.arange(50) + 3.0 * X["rooms"])


def test_rows_are_not_rounded_to_the_integers_of_a_frame():
    X = mixed_types()
    estimator = one_hot(X)
    model = model_of(estimator, X)
    row = pd.DataFrame({"rooms": [2.6], "new": [0.5], "city": ["Oslo"]})
    found = model.inputs.align(row.to_numpy())
    assert found.iloc[0].tolist() == [2.6, 0.5, "Oslo"]
    whole = model.inputs.align(np.array([[2.0, 1.0, "Oslo"]], dtype=object))
    assert whole.dtypes.tolist() == X.dtypes.tolist()
    values = model.covering(row.to_numpy()).predict(model.encode(row.to_numpy()))
    np.testing.assert_allclose(values[:, 0], estimator.predict(row))


def test_rows_are_not_rounded_to_the_integers_of_a_polars_frame():
    X = pl.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 1.0]})
    model = model_of(lambda X: X["a"].to_numpy() + X["b"].to_numpy(), X)
    assert model.inputs.align(np.array([[2.6, 1.0]])).rows() == [(2.6, 1.0)]
    assert model.inputs.align(np.array([[2.0, 1.0]])).schema == X.schema


def test_categories_that_a_frame_has_not_are_named():
    X = mixed_types()
    model = model_of(one_hot(X), X)
    with pytest.raises(ValueError, match=r"column 'city' has the value 'Rome'.*category"):
        model.inputs.align(np.array([[2, True, "Rome"]], dtype=object))


class Floored(LinearRegressor):
    def predict(self, X):
        return np.maximum(super().predict(X), -2.0)


class FlooredPipeline(Pipeline):
    def predict(self, X):
        return np.maximum(super().predict(X), -2.0)


class FlooredSearch(GridSearchCV):
    def predict(self, X):
        return np.maximum(super().predict(X), -2.0)


class FlooredTarget(TransformedTargetRegressor):
    def predict(self, X):
        return np.maximum(super().predict(X), -2.0)


WHOLES = {
    "estimator": Floored(),
    "pipeline": FlooredPipeline([("s", StandardScaler()), ("l", LinearRegressor())]),
    "search": FlooredSearch(LinearRegressor(), {}, cv=2),
    "target": FlooredTarget(LinearRegressor()),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", WHOLES)
def test_a_subclass_that_predicts_otherwise_is_a_whole(name):
    X = numbers()
    estimator = WHOLES[name].fit(X, X[:, 0])
    tame = X[X[:, 0] > 0]  # the floor is not seen in these rows
    model = model_of(estimator, tame)
    assert model.form is None
    assert model.encoding.n_steps == 0
    low = np.full((1, 3), -50.0)
    assert model.predict(model.encode(low)).item() == -2.0


class Renamed(PolynomialRegressor):
    """Inherits both the method and its form."""


def test_a_subclass_that_only_inherits_keeps_its_form():
    X = numbers()
    assert model_of(Renamed().fit(X, X[:, 0]), X).form is not None


TABLES = {
    "objects": np.array([[1, 0.5, True], [2, 1.5, False]], dtype=object),
    "nullable": pd.DataFrame(
        {
            "a": pd.array([1, 2], dtype="Int64"),
            "b": pd.array([0.5, 1.5], dtype="Float64"),
            "c": pd.array([True, False], dtype="boolean"),
        }
    ),
    "polars": pl.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False]}),
}


@pytest.mark.parametrize("name", TABLES)
def test_numbers_and_bools_of_any_type_make_a_matrix(name):
    X = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False]})
    with pytest.warns(RankWarning):
        estimator = LinearRegressor().fit(X.astype(float), [1.0, 2.0])
    model = model_of(estimator, TABLES[name])
    assert model.numeric
    assert model.form is not None
    np.testing.assert_array_equal(model.encode(TABLES[name]), [[1.0, 0.5, 1.0], [2.0, 1.5, 0.0]])


def test_missing_integers_are_nan():
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64")})
    np.testing.assert_array_equal(as_matrix(frame, uniform=False), [[1.0], [np.nan]])


def test_a_bool_that_passes_through_keeps_the_form():
    X = mixed_types()
    model = model_of(one_hot(X), X)
    assert model.form is not None
    assert [each.tolist() for each in model.owners] == [[2], [3], [0, 1]]


def test_messages_say_what_they_are_about():
    X = pd.DataFrame(numbers(), columns=list("abc"))
    estimator = LinearRegressor().fit(X, X["a"])
    with pytest.raises(ValueError, match="background lacks the columns"):
        model_of(estimator, X, background=X[["a", "b"]])
    with pytest.raises(ValueError, match="background has 2 columns"):
        model_of(estimator, X[["a", "b"]].to_numpy(), name="background")
    with pytest.raises(ValueError, match=r"X is a lazy frame of polars: give X\.collect\(\)"):
        model_of(estimator, pl.DataFrame(X.to_dict("list")).lazy())


@pytest.mark.parametrize("labels", [["u", "v", "w"], [0, 1, 2]])
def test_labels_have_no_averages(labels):
    X = numbers()
    y = np.array(labels)[np.digitize(X[:, 0], [-0.5, 0.5])]
    tree = DecisionTreeClassifier(max_depth=3).fit(X, y)
    model = model_of(tree, X, response_method="predict")
    with pytest.raises(ValueError, match=r"DecisionTree.*gives labels.*choose 'predict_proba'"):
        model.predict(model.encode(X))
    assert set(model.respond(model.encode(X))) == set(labels)
    voting = VotingClassifier([("t", tree), ("l", LogisticRegression())]).fit(X, y)
    model = model_of(voting, X)
    with pytest.raises(ValueError, match=r"VotingClassifier .*explain where one label"):
        model.predict(model.encode(X))


def test_labels_of_two_numbers_may_be_averaged():
    X = numbers()
    tree = DecisionTreeClassifier(max_depth=3).fit(X, (X[:, 0] > 0).astype(int))
    model = model_of(tree, X, response_method="predict")
    assert set(model.predict(model.encode(X)).ravel()) == {0.0, 1.0}


@pytest.mark.parametrize("kind", ["array", "pandas"])
def test_a_function_that_writes_into_its_rows_changes_nothing(kind):
    X = numbers() if kind == "array" else pd.DataFrame(numbers(), columns=list("abc"))

    def function(rows):
        rows[:] = 0.0
        return np.zeros(len(rows))

    model = model_of(function, X)
    model.predict(model.encode(X))
    np.testing.assert_array_equal(np.asarray(X), numbers())
