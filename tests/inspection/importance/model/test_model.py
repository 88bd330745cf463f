"""Fitted estimators as functions of columns that can be exchanged."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from sklearn import linear_model, svm
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from thetalearn import (
    ChebyshevRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
)
from thetalearn.inspection.importance.model.model import mixed, model_of, stacked, taken
from thetalearn.representations.forms import ProductForm, SumForm

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore::thetalearn.exceptions.RankWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def table(n=150, seed=0):
    """Strings, numbers with gaps, and integers."""
    random = np.random.RandomState(seed)
    X = pd.DataFrame(
        {
            "income": random.normal(size=n),
            "region": random.choice(["north", "south", "west"], n),
            "rooms": random.randint(1, 6, size=n),
        }
    )
    X.loc[::7, "income"] = np.nan
    return X


def target(X):
    return np.exp(0.5 * X["income"].fillna(0) + (X["region"] == "west") + 0.1 * X["rooms"])


def labels(X):
    return np.where(target(X) > target(X).median(), "dear", "cheap")


def preparation():
    """Five encoded columns: three of region, then income and rooms."""
    encoder = OneHotEncoder(sparse_output=False)
    gaps = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([("o", encoder, ["region"]), ("n", gaps, ["income", "rooms"])])


def network(kind):
    return kind(hidden_layer_sizes=(5,), max_iter=3, random_state=0)


def with_target(last, **kwargs):
    return TransformedTargetRegressor(last, **kwargs)


LOG = {"func": np.log, "inverse_func": np.exp}
OLS = linear_model.LinearRegression
LOGIT = linear_model.LogisticRegression

REGRESSORS = {
    "linear": lambda: make_pipeline(preparation(), LinearRegressor()),
    "chebyshev": lambda: make_pipeline(preparation(), ChebyshevRegressor(degree=2)),
    "network": lambda: make_pipeline(preparation(), network(MLPRegressor)),
    "tree": lambda: make_pipeline(preparation(), DecisionTreeRegressor(max_depth=4)),
    "log-target": lambda: make_pipeline(preparation(), with_target(OLS(), **LOG)),
    "log-target-outside": lambda: with_target(make_pipeline(preparation(), OLS()), **LOG),
    "quantile-target": lambda: with_target(
        make_pipeline(preparation(), LinearRegressor()),
        transformer=QuantileTransformer(n_quantiles=30),
    ),
    "scaled-target": lambda: with_target(
        make_pipeline(preparation(), ChebyshevRegressor(degree=2)), transformer=StandardScaler()
    ),
    "search": lambda: GridSearchCV(
        make_pipeline(preparation(), OLS()), {"linearregression__fit_intercept": [True]}, cv=2
    ),
    "search-inside": lambda: make_pipeline(
        preparation(), GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=2)
    ),
    "nested": lambda: GridSearchCV(
        with_target(
            make_pipeline(
                "passthrough",
                make_pipeline(preparation(), MaxAbsScaler()),
                with_target(OLS(), transformer=RobustScaler()),
            ),
            **LOG,
        ),
        {"regressor": [make_pipeline(preparation(), OLS())]},
        cv=2,
    ),
    "opaque-last-step": lambda: make_pipeline(preparation(), PCA(2), OLS()),
}
#: Kinds of form; None where there is none.
FORMS = {
    "linear": SumForm,
    "chebyshev": ProductForm,
    "network": SumForm,
    "log-target": SumForm,
    "log-target-outside": SumForm,
    "quantile-target": SumForm,
    "scaled-target": ProductForm,
    "search": SumForm,
    "search-inside": SumForm,
    "nested": SumForm,
}


def values_of_form(model, encoded):
    return model.form(torch.from_numpy(encoded)).double().numpy()


@pytest.mark.parametrize("name", REGRESSORS)
def test_pipelines_predict_as_they_do(name):
    X = table()
    estimator = REGRESSORS[name]().fit(X, target(X))
    model, more = model_of(estimator, X), table(seed=1)
    encoded = model.encode(more)
    np.testing.assert_allclose(model.predict(encoded)[:, 0], estimator.predict(more), rtol=1e-6)
    assert model.names == ["income", "region", "rooms"]
    assert (model.n_outputs, model.squeeze, model.output_names) == (1, True, None)
    assert [len(each) for each in model.owners] == [1, 3, 1] and model.n_encoded == 5
    assert model.numeric and encoded.shape == (len(more), model.n_encoded)
    assert type(model.form) is FORMS.get(name, type(None))
    if model.form is not None:
        single = model.form.dtype == torch.float32
        np.testing.assert_allclose(
            values_of_form(model, encoded), model.predict(encoded), rtol=1e-4 if single else 1e-8
        )


@pytest.mark.parametrize("name", REGRESSORS)
def test_exchanging_encoded_columns_is_exchanging_input_columns(name):
    X = table()
    estimator = REGRESSORS[name]().fit(X, target(X))
    model = model_of(estimator, X)
    index = np.random.RandomState(3).randint(len(X), size=(40, 3))
    wide = np.empty((40, model.n_encoded), dtype=int)
    for own, rows in zip(model.owners, index.T, strict=True):
        wide[:, own] = rows[:, None]
    np.testing.assert_allclose(
        model.predict(mixed(model.encode(X), wide))[:, 0],
        estimator.predict(mixed(X, index)),
        rtol=1e-5,  # the network is in single precision where its input is
    )


CLASSIFIERS = {
    "logistic": (lambda: make_pipeline(preparation(), LogisticClassifier()), "predict_proba"),
    "sklearn": (lambda: make_pipeline(preparation(), LOGIT()), "predict_proba"),
    "network": (
        lambda: make_pipeline(preparation(), network(MLPClassifier)),
        "predict_proba",
    ),
    "forest": (
        lambda: make_pipeline(preparation(), RandomForestClassifier(5, random_state=0)),
        "predict_proba",
    ),
    "machine": (lambda: make_pipeline(preparation(), svm.LinearSVC()), "decision_function"),
    "search": (
        lambda: GridSearchCV(make_pipeline(preparation(), svm.SVC()), {"svc__C": [1.0]}, cv=2),
        "decision_function",
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_with_string_labels(name):
    make, method = CLASSIFIERS[name]
    X = table()
    estimator = make().fit(X, labels(X))
    model = model_of(estimator, X)
    expected = getattr(estimator, method)(X).reshape(len(X), -1)
    assert model.response_method == method
    np.testing.assert_allclose(model.predict(model.encode(X)), expected, rtol=1e-5, atol=1e-6)
    proba = method == "predict_proba"
    assert model.output_names == (["cheap", "dear"] if proba else None)
    assert model.squeeze is not proba
    assert (model.form is None) == (name in ("forest", "search"))
    if model.form is not None:
        found = values_of_form(model, model.encode(X))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_labels_are_no_values_but_can_be_asked_for():
    X = table()
    estimator = make_pipeline(preparation(), LogisticClassifier()).fit(X, labels(X))
    model = model_of(estimator, X, response_method="predict")
    assert (model.respond(model.encode(X)) == estimator.predict(X)).all()
    assert model.classes.tolist() == ["cheap", "dear"]
    with pytest.raises(ValueError, match=r"gives labels such as .* choose 'predict_proba'"):
        model.predict(model.encode(X))


def test_several_targets():
    X = table()
    Y = np.column_stack([target(X), np.log(target(X))])
    scaled = with_target(OLS(), transformer=MinMaxScaler())
    for last in (OLS(), MultiOutputRegressor(OLS()), scaled, DecisionTreeRegressor()):
        estimator = make_pipeline(preparation(), last).fit(X, Y)
        model = model_of(estimator, X)
        encoded = model.encode(X)
        np.testing.assert_allclose(model.predict(encoded), estimator.predict(X), rtol=1e-9)
        assert (model.n_outputs, model.squeeze, model.output_names) == (2, False, ["y0", "y1"])
        if model.form is not None:
            np.testing.assert_allclose(
                values_of_form(model, encoded), estimator.predict(X), rtol=1e-9
            )
    one = make_pipeline(preparation(), OLS()).fit(X, Y[:, :1])
    assert not model_of(one, X).squeeze


def test_probabilities_of_several_targets_stand_side_by_side():
    X = table()
    Y = np.column_stack([labels(X), X["region"]])
    estimator = make_pipeline(preparation(), DecisionTreeClassifier(max_depth=3)).fit(X, Y)
    model = model_of(estimator, X)
    expected = np.hstack(estimator.predict_proba(X))
    np.testing.assert_array_equal(model.predict(model.encode(X)), expected)
    assert model.output_names[:3] == ["y0=cheap", "y0=dear", "y1=north"]


def numbers(n=80, d=3, seed=0):
    return np.random.RandomState(seed).normal(size=(n, d))


@pytest.mark.parametrize(
    "step",
    [PCA(), PolynomialFeatures(2), Normalizer(), KNNImputer()],
    ids=["pca", "polynomial", "normalizer", "neighbours"],
)
def test_steps_that_mix_columns_or_rows_leave_the_rows_as_they_are(step):
    X = numbers()
    if isinstance(step, KNNImputer):
        X[::6, 1] = np.nan
    estimator = make_pipeline(step, OLS()).fit(X, X[:, 0])
    model = model_of(estimator, X)
    assert model.encode(X) is X and model.form is None
    assert [each.tolist() for each in model.owners] == [[0], [1], [2]]
    np.testing.assert_array_equal(model.predict(X)[:, 0], estimator.predict(X))


def test_steps_before_an_opaque_one_are_still_taken_off():
    X = table()
    before = ColumnTransformer(
        [("o", OneHotEncoder(), ["region"]), ("n", "passthrough", ["income", "rooms"])],
        sparse_threshold=0,
    )
    estimator = make_pipeline(before, KNNImputer(), StandardScaler(), OLS()).fit(X, target(X))
    model = model_of(estimator, X)
    assert model.encoding.n_steps == 1 and np.isnan(model.encode(X)).any()
    np.testing.assert_allclose(model.predict(model.encode(X))[:, 0], estimator.predict(X))


def test_a_frame_stays_a_frame_where_nothing_can_be_taken_off():
    X = table()
    X["region"] = X["region"].astype("category")
    estimator = HistGradientBoostingRegressor(max_iter=5, categorical_features="from_dtype")
    estimator.fit(X, target(X))
    model = model_of(estimator, X)
    encoded = model.encode(X)
    assert isinstance(encoded, pd.DataFrame) and not model.numeric and model.form is None
    both = stacked(encoded, model.encode(X[:2]))
    rows = mixed(both, np.random.RandomState(0).randint(len(both), size=(30, 3)))
    assert (rows.dtypes == X.dtypes).all() and list(rows) == list(X)
    assert model.predict(rows).shape == (30, 1)


def test_frames_of_numbers_become_an_array():
    X = pd.DataFrame({"a": [1.0, 2.5, 0.0, 4.0], "b": [3, 1, 2, 5], "c": [True, False, True, True]})
    estimator = DecisionTreeRegressor(random_state=0).fit(X, [1.0, 2.0, 3.0, 4.0])
    model = model_of(estimator, X)
    assert model.encode(X).dtype == np.float64
    np.testing.assert_array_equal(model.predict(model.encode(X))[:, 0], estimator.predict(X))


def test_integers_are_kept_where_a_step_may_tell_them_from_floats():
    X = pd.DataFrame({"a": numbers()[:, 0], "b": np.arange(80)})
    kinds = FunctionTransformer(
        lambda X: X.assign(b=X["b"] * (X["b"].dtype.kind == "i") + X["a"]), validate=False
    )
    estimator = make_pipeline(kinds, OLS()).fit(X, X["b"])
    model = model_of(estimator, X)
    np.testing.assert_array_equal(model.predict(model.encode(X))[:, 0], estimator.predict(X))
    assert model.encode(X)["b"].dtype == X["b"].dtype


CONTAINERS = {
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=["a", "b", "c"]),
    "polars": lambda X: pl.DataFrame(X, schema=["a", "b", "c"]),
    "sparse": sp.csr_array,
    "tensor": torch.from_numpy,
    "integer names": pd.DataFrame,
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("fitted_on", ["array", "frame"])
def test_kinds_of_rows(kind, fitted_on):
    X = numbers()
    named = pd.DataFrame(X, columns=["p", "q", "r"] if kind in ("list", "sparse") else list("abc"))
    if kind == "integer names" and fitted_on == "frame":
        named = pd.DataFrame(X)
    estimator = make_pipeline(StandardScaler(), LinearRegressor())
    estimator.fit(X if fitted_on == "array" else named, X[:, 0] * 2)
    rows = CONTAINERS[kind](X)
    model = model_of(estimator, rows)
    found = model.predict(model.encode(rows))
    assert isinstance(found, np.ndarray) and found.dtype == np.float64
    np.testing.assert_allclose(found[:, 0], 2 * X[:, 0], atol=1e-10)
    np.testing.assert_allclose(model.encode(X), model.encode(rows))
    assert model.form is not None and len(model.names) == 3


def test_names_come_from_the_fit_then_from_the_frame_then_from_positions():
    X = numbers()
    frame = pd.DataFrame(X, columns=list("abc"))
    bare, named = LinearRegressor().fit(X, X[:, 0]), LinearRegressor().fit(frame, X[:, 0])
    assert model_of(named, X).names == ["a", "b", "c"]
    assert model_of(bare, frame).names == ["a", "b", "c"]
    assert model_of(bare, X).names == ["x0", "x1", "x2"]


def test_columns_of_a_frame_are_found_by_name():
    X = table()
    estimator = REGRESSORS["linear"]().fit(X, target(X))
    model = model_of(estimator, X[["rooms", "income", "region"]])
    np.testing.assert_array_equal(model.encode(X), model.encode(X[["region", "rooms", "income"]]))
    with pytest.raises(ValueError, match=r"X lacks the columns \['income'\]"):
        model.encode(X[["rooms", "region"]])
    with pytest.raises(ValueError, match=r"was not fitted on, \['extra'\]: drop them"):
        model.encode(X.assign(extra=1))
    # A pipeline that picks its columns by name leaves others alone.
    wider = model_of(estimator, X.assign(extra=1)[["extra", "rooms", "region", "income"]])
    assert wider.names == ["extra", "rooms", "region", "income"]
    assert wider.owners[0].size == 0
    with pytest.raises(ValueError, match="X has 2 columns, but the estimator was fitted on 3"):
        model_of(estimator, X.to_numpy()[:, :2])
    objects = X.to_numpy()
    np.testing.assert_array_equal(model_of(estimator, objects).encode(objects), model.encode(X))


def test_polars_frames_with_strings():
    X = pl.from_dict({"a": [1.0, 2.0, 3.0, 4.0], "s": ["u", "v", "u", "v"]})

    def lengths(rows):
        return rows["a"].to_numpy() * (rows["s"] == "u").to_numpy()

    model = model_of(lengths, X)
    encoded = stacked(model.encode(X), taken(X, np.array([0])))
    rows = mixed(encoded, np.array([[1, 0], [4, 1]]))
    assert isinstance(rows, pl.DataFrame) and rows.schema == X.schema
    assert model.predict(rows)[:, 0].tolist() == [2.0, 0.0]


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 3)])
def test_functions(shape):
    X = numbers()
    model = model_of(lambda rows: rows[:, : abs(shape[-1])].reshape(shape), X)
    assert model.n_outputs == abs(shape[-1])
    assert model.squeeze is (len(shape) == 1) and model.response_method == "predict"
    np.testing.assert_array_equal(model.predict(model.encode(X)), X[:, : abs(shape[-1])])
    assert model_of(lambda rows: torch.from_numpy(rows).sum(1), X).squeeze


SCALERS = [StandardScaler(), MinMaxScaler((1, 3)), MaxAbsScaler(), RobustScaler(), None]
SCALERS += [StandardScaler(with_mean=False), StandardScaler(with_std=False)]


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.parametrize("targets", [1, 2])
def test_affine_targets_keep_the_kind_of_form(scaler, targets):
    X = numbers()
    y = (2 + X[:, :targets] * 3 + X[:, 1:2] * X[:, 2:]).squeeze()
    kinds = {
        ChebyshevRegressor(degree=2): ProductForm,
        ChebyshevRegressor(degree=2, product="additive"): SumForm,
        LinearRegressor(): SumForm,
    }
    for last, kind in kinds.items():
        estimator = with_target(last, transformer=scaler).fit(X, y)
        form = model_of(estimator, X).form
        assert type(form) is kind and getattr(form, "head", None) is None
        expected = estimator.predict(X).reshape(len(X), targets)
        found = form(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


LINEAR = [
    linear_model.LinearRegression(),
    linear_model.LinearRegression(fit_intercept=False),
    linear_model.Ridge(),
    linear_model.RidgeCV(),
    linear_model.LassoCV(cv=3),
    linear_model.ElasticNet(0.1),
    linear_model.HuberRegressor(),
    linear_model.BayesianRidge(),
    linear_model.PoissonRegressor(),
    linear_model.GammaRegressor(),
    svm.LinearSVR(),
]


@pytest.mark.parametrize("estimator", LINEAR, ids=str)
def test_linear_models_of_scikit_learn(estimator):
    X = numbers()
    estimator.fit(X, np.exp(X @ [0.5, -0.2, 0.1]))
    form = model_of(estimator, X).form
    assert isinstance(form, SumForm)
    expected = estimator.predict(X)[:, None]
    np.testing.assert_allclose(form(torch.from_numpy(X)).numpy(), expected, rtol=1e-10)


DECISIONS = [
    linear_model.RidgeClassifier(),
    linear_model.Perceptron(),
    linear_model.SGDClassifier(random_state=0),
    svm.LinearSVC(),
]
PROBABILITIES = [LOGIT(), LinearDiscriminantAnalysis()]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "estimator", DECISIONS + PROBABILITIES, ids=lambda estimator: type(estimator).__name__
)
def test_linear_classifiers_of_scikit_learn(estimator, n_classes):
    X = numbers()
    estimator.fit(X, np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.3, 0.4][: n_classes - 1]))
    both = ["decision_function", "predict_proba"]
    for method in both if estimator in PROBABILITIES else both[:1]:
        form = model_of(estimator, X, response_method=method).form
        assert isinstance(form, SumForm)
        expected = getattr(estimator, method)(X).reshape(len(X), -1)
        found = form(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


class Wrong(RegressorMixin, BaseEstimator):
    """An estimator whose form is that of another one."""

    def fit(self, X, y):
        self.inner_ = LinearRegressor().fit(X, y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return self.inner_.predict(X) + 1

    def functional_form(self, response_method):
        return self.inner_.functional_form(response_method)


def test_a_form_that_gives_other_values_is_not_used():
    X = numbers()
    estimator = Wrong().fit(X, X[:, 0])
    with pytest.warns(UserWarning, match="functional_form of Wrong gives other values"):
        assert model_of(estimator, X).form is None


class Offset(Wrong, ClassifierMixin):
    """A pipeline in disguise: what it predicts is not what its parts predict."""

    def __init__(self, best_estimator_=None):
        self.best_estimator_ = best_estimator_


def test_parts_that_do_not_make_up_the_whole_are_left_together():
    X = numbers()
    inner = make_pipeline(StandardScaler(), OLS()).fit(X, X[:, 0])
    estimator = Offset(inner).fit(X, X[:, 0])
    with pytest.warns(UserWarning, match="functional_form of Offset gives other values"):
        model = model_of(estimator, X)
    np.testing.assert_array_equal(model.predict(model.encode(X))[:, 0], estimator.predict(X))
    assert model.encoding.exact


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_steps_that_give_frames(library):
    X = table()
    before = preparation().set_output(transform=library)
    estimator = make_pipeline(before, OLS()).fit(X, target(X))
    model = model_of(estimator, X)
    assert isinstance(model.encode(X), np.ndarray) and type(model.form) is SumForm
    np.testing.assert_allclose(model.predict(model.encode(X))[:, 0], estimator.predict(X))


def test_frozen_estimators_are_opened():
    X = numbers()
    inner = make_pipeline(FrozenEstimator(StandardScaler().fit(X)), OLS()).fit(X, X[:, 0])
    model = model_of(FrozenEstimator(inner), X)
    assert model.encoding.n_steps == 1 and model.form is not None


def test_single_precision_is_kept():
    X = numbers().astype(np.float32)
    estimator = make_pipeline(StandardScaler(), network(MLPRegressor))
    model = model_of(estimator.fit(X, X[:, 0]), X)
    assert model.encode(X).dtype == np.float32 and model.numeric and model.form is not None


def test_constant_columns_belong_to_nobody_and_must_stay_constant():
    X = numbers()
    X[:, 1] = 7.0
    estimator = make_pipeline(StandardScaler(), OLS()).fit(X, X[:, 0])
    model = model_of(estimator, X)
    assert [each.tolist() for each in model.owners] == [[0], [], [2]] and model.n_encoded == 3
    other = numbers(seed=1)
    with pytest.raises(ValueError, match="make the model with these rows too"):
        model.encode(other)
    for wider in (
        model_of(estimator, X[:1], background=other),
        model.covering(other),
        model_of(estimator, X[:1]).covering(other),
    ):
        assert [each.tolist() for each in wider.owners] == [[0], [1], [2]]
        np.testing.assert_allclose(
            wider.predict(wider.encode(other))[:, 0], estimator.predict(other)
        )
    assert model.covering(X) is model and wider.covering(X) is wider


def test_wide_sparse_encodings_are_left_alone(monkeypatch):
    X = np.arange(60).reshape(-1, 1)
    estimator = make_pipeline(OneHotEncoder(), linear_model.Ridge()).fit(X, X[:, 0])
    assert model_of(estimator, X).encoding.n_steps == 1
    monkeypatch.setattr("thetalearn.inspection.importance.model.encoding.DENSE_LIMIT", 1000)
    model = model_of(estimator, X)
    assert model.encoding.n_steps == 0 and model.encode(X) is X
    monkeypatch.setattr("thetalearn.inspection.importance.model.tables.DENSE_LIMIT", 10)
    with pytest.raises(ValueError, match=r"X is sparse, of shape \(60, 1\)"):
        model_of(estimator, sp.csr_array(X))


def test_errors():
    X = numbers()
    fitted = LinearRegressor().fit(X, X[:, 0])
    with pytest.raises(NotFittedError):
        model_of(LinearRegressor(), X)
    with pytest.raises(NotFittedError):
        model_of(make_pipeline(StandardScaler(), LinearRegressor()), X)
    with pytest.raises(ValueError, match="response_method='values' is not known: choose 'auto'"):
        model_of(fitted, X, response_method="values")
    with pytest.raises(ValueError, match="'predict_proba' is not a method of LinearRegressor"):
        model_of(fitted, X, response_method="predict_proba")
    with pytest.raises(ValueError, match="needs an estimator, but estimator is a function"):
        model_of(fitted.predict, X, response_method="predict_proba")
    with pytest.raises(ValueError, match="is a class: give a fitted instance"):
        model_of(LinearRegressor, X)
    with pytest.raises(ValueError, match="estimator=StandardScaler has no method that predicts"):
        model_of(StandardScaler().fit(X), X)
    with pytest.raises(ValueError, match=r"X of shape \(3,\) must have two dimensions"):
        model_of(fitted, X[0])
    with pytest.raises(ValueError, match="X has no row"):
        model_of(fitted, X[:0])
    with pytest.raises(ValueError, match=r"gives values of shape \(1,\) for 80 rows"):
        model_of(lambda rows: rows[0, :1], X)


def test_stacking_unites_categories():
    first = pd.DataFrame({"c": pd.Categorical(["a", "b"]), "n": [1, 2]})
    second = pd.DataFrame({"c": pd.Categorical(["c"]), "n": [3]})
    both = stacked(first, second)
    assert both["c"].tolist() == ["a", "b", "c"] and both["n"].tolist() == [1, 2, 3]
    assert isinstance(both["c"].dtype, pd.CategoricalDtype) and both["n"].dtype == first["n"].dtype
    repeated = taken(both, np.array([2, 2, 0]))
    assert repeated["c"].tolist() == ["c", "c", "a"] and list(repeated.index) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["array", "pandas", "polars"])
def test_mixing_takes_every_column_from_its_own_rows(kind):
    X = table(40).assign(when=pd.date_range("2024", periods=40), more=1.0, c="k")
    X = X.astype({"c": "category"})
    make = {"array": pd.DataFrame.to_numpy, "pandas": lambda X: X, "polars": _as_polars}[kind]
    rows, index = make(X), np.random.RandomState(0).randint(40, size=(25, X.shape[1]))
    found = mixed(rows, index)
    assert type(found) is type(rows) and found.shape == index.shape
    for j, name in enumerate(X):
        own = found[:, j] if kind == "array" else found[name]
        whole = rows[:, j] if kind == "array" else rows[name]
        assert own.dtype == whole.dtype
        expected = np.asarray(whole)[index[:, j]]
        assert pd.Series(np.asarray(own)).equals(pd.Series(expected))


def _as_polars(X):
    return pl.DataFrame({name: X[name].to_numpy() for name in X})
