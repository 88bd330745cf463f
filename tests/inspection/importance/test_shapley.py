"""Shapley values of fitted models: against shap, brute force and each other."""

import subprocess
import sys
import warnings
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from thetalearn import (
    BSplineRegressor,
    ChebyshevRegressor,
    EulerApproximator,
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
    PerceptronClassifier,
    PolynomialRegressor,
    RandomFeatureRegressor,
    ReLURegressor,
    ShapleyExplainer,
    SoftmaxClassifier,
    shapley_values,
)
from thetalearn.dynamics.models import make_growth
from thetalearn.exceptions import ConvergenceWarning

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::thetalearn.exceptions.RankWarning",
)

RNG = np.random.RandomState(5)
X = RNG.normal(size=(80, 4)) @ (np.eye(4) + 0.3)
Y = X[:, 0] * X[:, 1] + np.sin(X[:, 2]) - X[:, 3]
LABELS = np.array(["low", "mid", "top"])[np.digitize(Y, [-0.5, 0.5])]
BACKGROUND, ROWS = X[:20], X[40:45]
SMALL = {"hidden_layer_sizes": (7, 5), "max_iter": 6, "random_state": 0}

#: What the estimator predicts, and how it is explained.
ESTIMATORS = {
    "linear": (LinearRegressor(), Y, "closed form"),
    "linear, several": (LinearRegressor(), np.column_stack([Y, -Y]), "closed form"),
    "polynomial": (PolynomialRegressor(degree=3), Y, "closed form"),
    "chebyshev": (ChebyshevRegressor(degree=2, product="tensor"), Y, "closed form"),
    "splines": (BSplineRegressor(knots=3, product="additive"), Y, "closed form"),
    "relu": (ReLURegressor(), Y, "closed form"),
    "random features": (RandomFeatureRegressor(20, random_state=0), Y, "exact"),
    "kernel": (KernelRidgeRegressor(kernel="rbf"), Y, "exact"),
    "network": (MLPRegressor(**SMALL), Y, "exact"),
    "network, several": (MLPRegressor(**SMALL), np.column_stack([Y, -Y]), "exact"),
    "network, classes": (MLPClassifier(**SMALL), LABELS, "exact"),
    "network, two classes": (MLPClassifier(**SMALL), Y > 0, "exact"),
    "logistic": (LogisticClassifier(), Y > 0, "exact"),
    "softmax": (SoftmaxClassifier(), LABELS, "exact"),
    "perceptron": (PerceptronClassifier(), Y > 0, "closed form"),
    "forest": (RandomForestRegressor(5, random_state=0), Y, "exact"),
    "forest, classes": (RandomForestClassifier(5, random_state=0), LABELS, "exact"),
    "ridge, classes": (RidgeClassifier(), LABELS, "closed form"),
    "scaled": (make_pipeline(StandardScaler(), MLPRegressor(**SMALL)), Y, "exact"),
    "rotated": (make_pipeline(PCA(), LinearRegressor()), Y, "exact"),
    "search": (GridSearchCV(MLPRegressor(**SMALL), {"alpha": [0.1, 1]}, cv=2), Y, "exact"),
    "logarithms": (
        TransformedTargetRegressor(LinearRegressor(), func=np.log, inverse_func=np.exp),
        np.exp(Y / 4),
        "exact",
    ),
}

FITTED = {}


def fitted(name):
    if name not in FITTED:
        model, y, _ = ESTIMATORS[name]
        FITTED[name] = model.fit(X, y)
    return FITTED[name]


def response(model):
    for method in ("predict_proba", "decision_function", "predict"):
        if hasattr(model, method) and (method == "predict" or hasattr(model, "classes_")):
            return getattr(model, method)


def shap_values(model, rows=ROWS, background=BACKGROUND):
    """Exact values of shap, for the whole background."""
    import shap

    masker = shap.maskers.Independent(background, max_samples=len(background))
    return shap.explainers.Exact(response(model), masker)(rows)


def mixed_table(n=60, seed=0):
    random = np.random.RandomState(seed)
    table = pd.DataFrame(
        {
            "income": random.normal(size=n),
            "region": random.choice(["north", "south", "west"], n),
            "age": random.randint(20, 60, size=n),
        }
    )
    place = table["region"].map({"north": 0.0, "south": 1.0, "west": 2.0})
    return table, (table["income"] * place + np.sqrt(table["age"])).to_numpy()


def table_pipeline(model):
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(sparse_output=False), ["region"]),
            (StandardScaler(), ["income", "age"]),
        ),
        model,
    )


# Agreement


@pytest.mark.parametrize(
    "name",
    [
        "network",
        "network, classes",
        "kernel",
        "polynomial",
        "softmax",
        "forest, classes",
        "rotated",
    ],
)
def test_agrees_with_shap(name):
    model = fitted(name)
    found, expected = shapley_values(model, ROWS, background=BACKGROUND), shap_values(model)
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.base_values, expected.base_values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_what_a_black_box_would_be(name):
    model, method = fitted(name), ESTIMATORS[name][2]
    found = shapley_values(model, ROWS, background=BACKGROUND)
    assert found.method == method
    box = shapley_values(response(model), ROWS, background=BACKGROUND, method="exact")
    scale = np.abs(box.values).max()
    np.testing.assert_allclose(found.values, box.values, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(found.base_values, box.base_values, rtol=0, atol=1e-9 * scale)
    predicted = response(model)(ROWS)
    assert found.values.shape == (5, 4, *predicted.shape[1:])
    total = found.values.sum(1) + found.base_values
    np.testing.assert_allclose(total, predicted, rtol=0, atol=1e-9 * max(scale, 1))


@pytest.mark.parametrize("name", ["network", "polynomial", "softmax", "forest"])
@pytest.mark.parametrize("method", ["permutation", "kernel"])
def test_sampled_values_are_as_near_as_their_errors_say(name, method):
    options = {"background": BACKGROUND, "random_state": 1}
    exact = shapley_values(fitted(name), ROWS, method="exact", **options)
    found = shapley_values(fitted(name), ROWS, method=method, precision=0.01, **options)
    assert found.method == method
    miss = np.abs(found.values - exact.values)
    # With five degrees of freedom 1 of 6,000 values misses by 10 errors; there are 200. Networks
    # walk in single precision.
    assert (miss <= 10 * found.error_std + 1e-6).all()
    reach = np.ptp(exact.values)
    assert miss.max() <= 0.06 * reach
    total = found.values.sum(1) + found.base_values
    np.testing.assert_allclose(total, response(fitted(name))(ROWS), rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", ["exact", "permutation", "kernel"])
def test_additive_models_are_exact_by_every_method(method):
    model = fitted("linear")
    found = shapley_values(model, ROWS, background=BACKGROUND, method=method)
    expected = (ROWS - BACKGROUND.mean(0)) * model.coef_
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.error_std, 0, atol=1e-12)


def test_policies_of_dynamic_models_are_black_boxes():
    policy = EulerApproximator(make_growth(), degree=3).fit()
    low, high = np.array([[0.9, 0.9], [1.1, 1.1]])
    states = low + (high - low) * np.random.RandomState(0).uniform(size=(12, 2))
    found = shapley_values(policy, states)
    total = found.values.sum(1) + found.base_values
    np.testing.assert_allclose(total, policy.predict(states), rtol=0, atol=1e-9)
    box = shapley_values(policy.predict, states)
    np.testing.assert_allclose(found.values, box.values, rtol=0, atol=1e-9)


# Pipelines


@pytest.mark.parametrize("model", [MLPRegressor(**SMALL), LinearRegressor()], ids=["net", "linear"])
def test_a_pipeline_is_explained_in_its_own_columns(model):
    table, y = mixed_table()
    pipeline = table_pipeline(model).fit(table, y)
    found = shapley_values(pipeline, table[40:46], background=table[:15])
    box = shapley_values(pipeline.predict, table[40:46], background=table[:15], method="exact")
    np.testing.assert_allclose(found.values, box.values, rtol=0, atol=1e-12)
    assert found.feature_names == ["income", "region", "age"]
    assert found.display_data[0, 1] == table["region"].iloc[40]


def test_transformers_of_a_pipeline_run_once_for_each_row():
    table, y = mixed_table()
    rows_seen = []

    class Counted(StandardScaler):
        def transform(self, X, copy=None):
            rows_seen.append(len(X))
            return super().transform(X)

    transformer = ColumnTransformer(
        [
            ("word", OneHotEncoder(sparse_output=False), ["region"]),
            ("n", Counted(), ["income", "age"]),
        ]
    )
    pipeline = make_pipeline(transformer, MLPRegressor(**SMALL)).fit(table, y)
    explainer = ShapleyExplainer(pipeline, table[:15])
    rows_seen.clear()
    explainer(table[:30])
    # Of the 2^3 coalitions, 15 background rows and 30 rows there are 3,600 combinations.
    assert sum(rows_seen) <= 300


def test_several_targets_through_a_pipeline():
    table, y = mixed_table()
    pipeline = table_pipeline(LinearRegressor()).fit(table, np.column_stack([y, -2 * y]))
    found = shapley_values(pipeline, table[:5], background=table)
    np.testing.assert_allclose(found.values[..., 1], -2 * found.values[..., 0], atol=1e-9)


# Groups


@pytest.mark.parametrize("name", ["network", "polynomial", "forest"])
def test_groups_are_players(name):
    model = fitted(name)
    groups = {"pair": [0, 2]}
    found = shapley_values(model, ROWS, background=BACKGROUND, groups=groups)
    assert found.feature_names == ["pair", "x1", "x3"]

    def regrouped(rows):
        """Rows whose first column is the number of a row of a pool, for the pair."""
        pool = np.concatenate([ROWS, BACKGROUND])
        full = np.empty((len(rows), 4))
        full[:, [0, 2]] = pool[rows[:, 0].astype(int)][:, [0, 2]]
        full[:, [1, 3]] = rows[:, 1:]
        return model.predict(full)

    numbers = np.column_stack([np.arange(25), np.concatenate([ROWS, BACKGROUND])[:, [1, 3]]])
    box = shapley_values(regrouped, numbers[:5], background=numbers[5:])
    np.testing.assert_allclose(found.values, box.values, rtol=0, atol=1e-9)


def test_a_group_of_an_additive_model_is_the_sum_of_its_members():
    options = {"background": BACKGROUND}
    single = shapley_values(fitted("relu"), ROWS, **options).values
    found = shapley_values(fitted("relu"), ROWS, groups=[[1, 3]], **options)
    assert found.feature_names == ["x0", "x1, x3", "x2"]
    np.testing.assert_allclose(found.values[:, 1], single[:, 1] + single[:, 3], atol=1e-12)


@pytest.mark.parametrize("method", ["auto", "exact", "permutation", "kernel"])
def test_one_player_takes_all(method):
    model = fitted("network")
    found = shapley_values(
        model, ROWS, background=BACKGROUND, groups={"all": range(4)}, method=method
    )
    expected = model.predict(ROWS) - model.predict(BACKGROUND).mean()
    np.testing.assert_allclose(found.values[:, 0], expected, rtol=0, atol=1e-12)


# Interactions


@pytest.mark.parametrize("name", ["polynomial", "linear", "network", "softmax", "forest"])
def test_interactions_sum_to_the_values(name):
    model = fitted(name)
    found = shapley_values(model, ROWS, background=BACKGROUND, interactions=True)
    pairs = found.interaction_values
    assert pairs.shape == (5, 4, *found.values.shape[1:])
    np.testing.assert_allclose(pairs.sum(2), found.values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(pairs, pairs.swapaxes(1, 2), rtol=0, atol=1e-9)
    exact = shapley_values(
        model, ROWS, background=BACKGROUND, interactions=True, method="exact"
    ).interaction_values
    np.testing.assert_allclose(pairs, exact, rtol=0, atol=1e-9)


def test_interactions_are_absent_unless_asked_for():
    assert shapley_values(fitted("network"), ROWS).interaction_values is None


def test_additive_models_have_no_interactions():
    pairs = shapley_values(fitted("relu"), ROWS, interactions=True).interaction_values
    np.testing.assert_allclose(pairs[:, ~np.eye(4, dtype=bool)], 0, atol=1e-12)


# Background


@pytest.mark.parametrize("name", ["linear", "polynomial", "network", "softmax", "forest"])
@pytest.mark.parametrize("method", ["auto", "kernel"])
def test_weights_of_the_background_are_repetitions(name, method):
    times = np.arange(20) % 4
    options = {"method": method, "random_state": 0}
    weighted = shapley_values(
        fitted(name), ROWS, background=BACKGROUND, background_weight=times / 7, **options
    )
    repeated = shapley_values(
        fitted(name), ROWS, background=np.repeat(BACKGROUND, times, axis=0), **options
    )
    np.testing.assert_allclose(weighted.values, repeated.values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(weighted.base_values, repeated.base_values, atol=1e-9)


def test_the_rows_themselves_are_the_background_by_default():
    found = shapley_values(fitted("network"), ROWS)
    expected = shapley_values(fitted("network"), ROWS, background=ROWS)
    np.testing.assert_array_equal(found.values, expected.values)


def test_no_background_row_is_left_out():
    many = np.concatenate([np.tile(BACKGROUND, (40, 1)), X[-1:] * 30])
    model = fitted("polynomial")
    found = shapley_values(model, ROWS, background=many)
    np.testing.assert_allclose(found.base_values, model.predict(many).mean(), rtol=1e-9)
    found = shapley_values(fitted("network"), ROWS, background=many)
    np.testing.assert_allclose(found.base_values, fitted("network").predict(many).mean(), rtol=1e-9)


# Methods


def test_auto_lists_few_players_and_samples_many():
    def function(rows):
        return rows.sum(1) + rows[:, 0] * rows[:, 1]

    for n_columns, method in ((12, "exact"), (13, "permutation")):
        rows = np.random.RandomState(0).normal(size=(3, n_columns))
        assert shapley_values(function, rows, random_state=0).method == method


def test_auto_samples_where_listing_is_too_much_work(monkeypatch):
    from thetalearn.inspection.importance import shapley

    explainer = ShapleyExplainer(fitted("network"), BACKGROUND, precision=0.1, random_state=0)
    assert explainer(ROWS).method == "exact"
    monkeypatch.setattr(shapley, "MAX_WORK", 2**4 * 20 * 3)
    assert explainer(ROWS[:3]).method == "exact"
    assert explainer(ROWS[:4]).method == "permutation"


def test_seeds_give_the_same_digits():
    options = {"background": BACKGROUND, "method": "permutation"}
    first, again, other = (
        shapley_values(fitted("network"), ROWS, random_state=seed, **options).values
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("method", ["permutation", "kernel"])
def test_global_generators_are_left_alone(method):
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    for seed in (None, 0):
        shapley_values(fitted("network"), ROWS, method=method, random_state=seed)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.mark.parametrize("method", ["permutation", "kernel"])
def test_a_warning_says_that_the_precision_was_not_met(method):
    options = {"background": BACKGROUND, "method": method, "random_state": 0}
    with pytest.warns(ConvergenceWarning, match=r"max_evals=1 .* precision=0\.0001"):
        found = shapley_values(fitted("forest"), ROWS, precision=1e-4, max_evals=1, **options)
    assert (found.error_std > 1e-4 * np.ptp(found.values)).any()


@pytest.mark.parametrize("method", ["permutation", "kernel"])
@pytest.mark.filterwarnings("error")
def test_no_precision_asks_for_all_evaluations_without_a_warning(method):
    options = {"background": BACKGROUND, "method": method, "random_state": 0, "precision": 0.0}
    few, many = (
        shapley_values(fitted("forest"), ROWS, max_evals=n, **options) for n in (100, 3000)
    )
    assert many.error_std.mean() < few.error_std.mean() / 2


# What comes back


def test_what_an_explanation_holds():
    found = shapley_values(fitted("network, classes"), ROWS, background=BACKGROUND)
    assert found.feature_names == ["x0", "x1", "x2", "x3"]
    assert list(found.output_names) == ["low", "mid", "top"]
    np.testing.assert_array_equal(found.data, ROWS)
    assert found.base_values.shape == (5, 3)
    assert found.response_method == "predict_proba"
    assert found.compute_time > 0
    # Exact values have no error.
    np.testing.assert_array_equal(found.error_std, 0)
    np.testing.assert_array_equal(found.lower_bounds, found.values)
    np.testing.assert_array_equal(found.upper_bounds, found.values)
    # Probabilities sum to one, so that their values sum to nothing.
    np.testing.assert_allclose(found.values.sum(-1), 0, atol=1e-12)


def test_intervals_are_student_s():
    from scipy.stats import t

    found = shapley_values(
        fitted("forest"), ROWS, background=BACKGROUND, method="permutation", precision=1.0
    )
    half = (found.upper_bounds - found.lower_bounds) / 2
    # Six batches end it.
    np.testing.assert_allclose(half, t.ppf(0.975, 5) * found.error_std, atol=1e-12)


def test_other_responses():
    model = fitted("network, two classes")
    decision = shapley_values(model, ROWS, background=BACKGROUND, response_method="predict_proba")
    assert decision.values.shape == (5, 4, 2)
    np.testing.assert_allclose(decision.values[..., 0], -decision.values[..., 1], atol=1e-12)
    logit = shapley_values(
        fitted("logistic"), ROWS, background=BACKGROUND, response_method="decision_function"
    )
    assert logit.method == "closed form" and logit.values.shape == (5, 4)


def test_one_explainer_serves_many_sets_of_rows():
    explainer = ShapleyExplainer(fitted("network"), BACKGROUND)
    apart = np.concatenate([explainer(ROWS[:2]).values, explainer(ROWS[2:]).values])
    np.testing.assert_allclose(apart, explainer(ROWS).values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_rows_of_other_types(kind):
    model = MLPRegressor(**SMALL).fit((3 * X).astype(kind), Y.astype(np.float32))
    rows, background = ((3 * part).astype(kind) for part in (ROWS, BACKGROUND))
    found = shapley_values(model, rows, background=background)
    total = found.values.sum(1) + found.base_values
    np.testing.assert_allclose(total, model.predict(rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["forest", "network"])
def test_shap_s_plots_take_it(name):
    import matplotlib.pyplot as plt
    import shap

    found = shapley_values(fitted(name), X[:10], background=BACKGROUND)
    shap.plots.bar(found, show=False)
    plt.close("all")


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "tree"}, "method='tree' must be one of 'auto', 'closed form', 'exact'"),
        ({"precision": -1.0}, "precision=-1.0 must be a finite number of at least 0"),
        ({"precision": np.nan}, "precision=nan must be a finite number"),
        ({"max_evals": 0}, "max_evals=0 must be at least 1"),
        ({"memory_budget": 10}, r"memory_budget=10 must be at least 2\*\*20 bytes"),
        ({"method": "closed form"}, 'method="closed form" needs a model that is a sum'),
        ({"interactions": True, "method": "permutation"}, "interactions=True is known in closed"),
        ({"response_method": "predict_proba"}, "response_method='predict_proba' is not a method"),
        ({"groups": {"a": ["age"]}}, "names the column 'age', which there is not"),
        ({"background_weight": np.ones(3)}, r"background_weight of shape \(3,\) must hold"),
        ({"background_weight": -np.ones(20)}, "a finite number of at least 0"),
        ({"background_weight": np.full(20, np.nan)}, "a finite number of at least 0"),
        ({"background_weight": np.zeros(20)}, "background_weight sums to zero"),
        ({"background": BACKGROUND[:, :3]}, "3 columns"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        shapley_values(fitted("network"), ROWS, **{"background": BACKGROUND, **options})


def test_too_many_players_to_list():
    rows = np.random.RandomState(0).normal(size=(2, 25))
    with pytest.raises(ValueError, match=r"lists 2\^25 coalitions, more than 2\^20"):
        shapley_values(lambda x: x.sum(1), rows, method="exact")
    with pytest.raises(ValueError, match="put columns into groups"):
        shapley_values(lambda x: x.sum(1), rows, interactions=True)


def test_rows_must_have_the_columns_of_the_fit():
    explainer = ShapleyExplainer(fitted("network"), BACKGROUND)
    with pytest.raises(ValueError, match="3 columns"):
        explainer(ROWS[:, :3])


def test_unfitted_and_strange_estimators():
    with pytest.raises(NotFittedError):
        shapley_values(LinearRegressor(), ROWS)
    with pytest.raises(ValueError, match="is a class"):
        shapley_values(LinearRegressor, ROWS)
    with pytest.raises(ValueError, match="has no method that predicts"):
        shapley_values(StandardScaler().fit(X), ROWS)
    with pytest.raises(ValueError, match="labels"):
        shapley_values(fitted("softmax"), ROWS, response_method="predict")


@pytest.mark.parametrize("method", ["exact", "permutation"])
def test_a_function_that_gives_something_else_every_time(method):
    random = np.random.RandomState(0)
    with pytest.raises(RuntimeError, match="the same for the same row every time"):
        shapley_values(lambda x: random.normal(size=len(x)), ROWS, method=method)


def test_predictions_that_are_not_finite():
    with pytest.raises(RuntimeError, match="finite numbers"):
        shapley_values(lambda x: np.where(x[:, 0] > 0, np.nan, 1.0), ROWS)


# Memory


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is that of Linux")
@pytest.mark.parametrize("kind", ["network", "black box"])
def test_memory_stays_within_the_budget(kind):
    script = dedent(
        f"""
        import resource
        import numpy as np
        import thetalearn
        from thetalearn import MLPRegressor, shapley_values

        random = np.random.RandomState(0)
        X = random.normal(size=(10_000, 100))
        y = X[:, 0] * X[:, 1] * X[:, 2]
        model = MLPRegressor(hidden_layer_sizes=32, max_iter=1, random_state=0)
        model.fit(X[:500], y[:500])
        if {kind == "black box"}:
            model = lambda rows: rows[:, 0] * rows[:, 1] * rows[:, 2]
        groups = [range(k, k + 20) for k in range(0, 100, 20)]
        options = dict(max_evals=1, precision=0.0, random_state=0)
        shapley_values(model, X[:1, :], background=X[:10], **options)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        options["memory_budget"] = 2**26
        shapley_values(model, X[:8], background=X, method="permutation", **options)
        for method in ("exact", "kernel"):
            shapley_values(model, X[:2], background=X, method=method, groups=groups, **options)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
        """
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    # Besides the budget: the background once more, as rows of the game, and its first layer.
    data = 10_000 * 100 * 8
    assert int(found.stdout) <= 2**26 + 2 * data


def test_explained_rows_are_held_against_the_estimators_own_predictions():
    class Clipped(PolynomialRegressor):
        """A form of its own, which holds near the background alone."""

        def predict(self, X):
            return np.maximum(super().predict(X), -20)

        def functional_form(self, response_method="predict"):
            return super().functional_form(response_method)

    model = Clipped(degree=2).fit(X, X[:, 0])
    shapley_values(model, ROWS, background=BACKGROUND)
    with pytest.raises(RuntimeError, match="what its functional_form says"):
        shapley_values(model, -100 * np.abs(ROWS), background=BACKGROUND)


def test_missing_values_are_refused_as_the_estimator_refuses_them():
    rows = ROWS.copy()
    rows[1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        shapley_values(fitted("network"), rows, background=BACKGROUND)


def test_background_rows_of_no_weight_are_no_rows():
    rows = np.concatenate([BACKGROUND, np.full((1, BACKGROUND.shape[1]), np.inf)])
    weight = np.append(np.ones(len(BACKGROUND)), 0.0)
    found = shapley_values(lambda x: x.prod(1), ROWS, background=rows, background_weight=weight)
    expected = shapley_values(lambda x: x.prod(1), ROWS, background=BACKGROUND)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-12)


def test_many_columns_have_a_closed_form_too():
    rows = np.random.RandomState(0).normal(size=(3, 1100))
    model = LinearRegressor(alpha=0.1).fit(rows, rows[:, 0])
    assert shapley_values(model, rows).method == "closed form"


def test_rows_that_were_precise_early_are_precise_at_the_end():
    # Of a product of thirteen columns the range is noise at first.
    random = np.random.RandomState(5)
    rows, background = random.normal(size=(10, 13)), random.normal(size=(50, 13))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        found = shapley_values(
            lambda x: x.prod(1), rows, background=background, random_state=0, max_evals=2000
        )
    precise = found.error_std.max() <= 0.025 * np.ptp(found.values)
    assert precise == (not caught)
