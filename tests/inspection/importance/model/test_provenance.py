"""Through which input columns the columns of fitted transformers move."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)

from thetalearn import ChebyshevFeatures
from thetalearn.inspection.importance.model.provenance import column_owners
from thetalearn.inspection.importance.model.tables import mixed


def numbers(n=120, d=4, seed=0):
    return np.random.RandomState(seed).normal(size=(n, d))


def found(transform, X):
    return column_owners(transform, X, transform(X), np.random.RandomState(0))


def of(transformer, X):
    transformer.fit(X)

    def transform(rows):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # categories not seen in the fit
            result = transformer.transform(rows)
        return result.toarray() if hasattr(result, "toarray") else np.asarray(result)

    return found(transform, X)


TRANSPARENT = {
    "scaler": (StandardScaler(), [0, 1, 2, 3]),
    "max-abs": (MaxAbsScaler(), [0, 1, 2, 3]),
    "quantiles": (QuantileTransformer(n_quantiles=20), [0, 1, 2, 3]),
    "power": (PowerTransformer(), [0, 1, 2, 3]),
    "splines": (SplineTransformer(n_knots=3), np.repeat(range(4), 5).tolist()),
    "bins": (KBinsDiscretizer(n_bins=3, strategy="uniform"), np.repeat(range(4), 3).tolist()),
    "reordered": (
        ColumnTransformer([("b", StandardScaler(), [2, 0]), ("a", "passthrough", [3])]),
        [2, 0, 3],
    ),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_owner_of_each_output(name):
    transformer, expected = TRANSPARENT[name]
    assert of(transformer, numbers()).tolist() == expected


OPAQUE = {
    "pca": PCA(),
    "pca-of-some": ColumnTransformer([("p", PCA(1), [0, 1])], remainder="passthrough"),
    "products": PolynomialFeatures(interaction_only=True),
    "norm": Normalizer(),
    "products-of-chebyshev": ChebyshevFeatures(degree=2),
    "mean-of-the-batch": FunctionTransformer(lambda X: X - X.mean(0)),
    "neighbouring-row": FunctionTransformer(lambda X: X + 1e-6 * np.roll(X, 1, axis=0)),
    "small-share": FunctionTransformer(lambda X: X + 1e-9 * X[:, :1]),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_transformers_that_combine_columns_or_rows_are_found_out(name):
    assert of(OPAQUE[name], numbers()) is None


def test_neighbours_matter_only_where_values_are_missing():
    X = numbers()
    assert of(KNNImputer(), X).tolist() == [0, 1, 2, 3]
    X[::5, 1] = np.nan
    assert of(KNNImputer(), X) is None
    assert of(SimpleImputer(add_indicator=True), X).tolist() == [0, 1, 2, 3, 1]


def test_a_block_of_one_category_belongs_to_its_column():
    random = np.random.RandomState(1)
    X = pd.DataFrame(
        {"size": random.choice(list("sml"), 90), "cost": random.normal(size=90), "n": range(90)}
    )
    transformer = make_column_transformer(
        (StandardScaler(), ["n"]), (OneHotEncoder(), ["size"]), ("passthrough", ["cost"])
    )
    assert of(transformer, X).tolist() == [2, 0, 0, 0, 1]


def test_a_category_of_one_row_is_seen():
    X = np.zeros((5000, 3))
    X[4321, 1] = 1.0
    X[:, 2] = numbers(5000, 1)[:, 0]
    assert of(OneHotEncoder(categories=[[0], [0, 1]]), X[:, :2]).tolist() == [-1, 1, 1]
    assert of(StandardScaler(), X).tolist() == [-1, 1, 2]


def test_a_product_of_rare_events_is_found_out():
    X = np.zeros((3000, 5))
    X[:3, 1] = X[2:5, 3] = 1.0
    assert found(lambda X: np.column_stack([X, X[:, 1] * X[:, 3]]), X) is None


def test_more_outputs_than_one_round_of_probes_takes():
    X = np.random.RandomState(0).randint(300, size=(2000, 3))
    sizes = [len(np.unique(column)) for column in X.T]
    assert of(OneHotEncoder(), X).tolist() == np.repeat(range(3), sizes).tolist()


def test_ordinal_codes_of_strings_and_missing_values():
    X = np.array([["a", "x"], ["b", "y"], [np.nan, "x"], ["a", "z"]] * 10, dtype=object)
    assert of(OrdinalEncoder(), X).tolist() == [0, 1]


def test_calls_grow_with_the_logarithm_of_the_number_of_columns():
    X, calls = numbers(50, 100), []

    def transform(rows):
        calls.append(len(rows))
        return rows * 2.0

    assert found(transform, X).tolist() == list(range(100))
    assert len(calls) == 1 + 7 + 1  # all rows, the digits of 100, the verification


@given(st.integers(1, 9), st.integers(0, 12), st.integers(0, 10_000))
def test_owners_of_random_functions_of_single_columns(d, n_outputs, seed):
    random = np.random.RandomState(seed)
    X = random.normal(size=(30, d))
    owners = random.randint(-1, d, size=n_outputs)
    scales = 10.0 ** random.uniform(-6, 6, size=n_outputs)

    def transform(rows):
        return np.where(owners < 0, 1.0, np.sin(rows[:, owners])) * scales

    owner = found(transform, X)
    assert owner.tolist() == owners.tolist()
    index = random.randint(30, size=(20, d))
    expected = np.take_along_axis(transform(X), index[:, np.maximum(owner, 0)], axis=0)
    np.testing.assert_array_equal(transform(mixed(X, index)), expected)


@given(st.integers(2, 8), st.integers(0, 10_000))
def test_any_pair_of_columns_is_found_out(d, seed):
    random = np.random.RandomState(seed)
    X = random.normal(size=(30, d))
    i, j = random.choice(d, 2, replace=False)
    assert found(lambda rows: np.column_stack([rows, rows[:, i] * rows[:, j]]), X) is None


def test_single_precision_rounds_more():
    X = numbers().astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), QuantileTransformer(n_quantiles=20))
    assert of(pipeline, X).tolist() == [0, 1, 2, 3]
