"""Defects and traps of other packages, each as a test that ours has not got it."""

import pickle
import random

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance as sklearn_importance
from sklearn.linear_model import LinearRegression

from thetalearn import (
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
    ShapleyExplainer,
    permutation_importance,
    sage_values,
    shapley_values,
)
from thetalearn.inspection.importance.games import game as games
from thetalearn.inspection.importance.games import sampling

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(8)
X = RNG.normal(size=(200, 4))
Y = X[:, 0] * X[:, 1] * X[:, 2] + X[:, 3]
LABELS = np.array(["low", "mid", "top"])[np.digitize(Y, [-0.5, 0.5])]
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0}


class Counted:
    """A function that notes how many rows it is given at every call."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, rows):
        self.calls.append(len(rows))
        return self.function(rows)


def triples(x):
    return x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3]


# shap


@pytest.mark.parametrize("method", ["auto", "permutation", "kernel"])
def test_no_value_of_twenty_columns_is_set_to_zero(method):
    # KernelExplainer keeps ten columns unless told l1_reg=0.
    rows = RNG.normal(size=(30, 20))
    coef = np.arange(1.0, 21.0)
    model = LinearRegressor().fit(rows, rows @ coef)
    found = shapley_values(model, rows[:3], background=rows, method=method)
    np.testing.assert_allclose(found.values, (rows[:3] - rows.mean(0)) * coef, atol=1e-9)


def test_reported_errors_are_those_of_the_mean(monkeypatch):
    # PermutationExplainer reports the spread over single passes, twenty times as much.
    monkeypatch.setattr(sampling, "SHARED", 1)
    rows = np.repeat(X[:1], 100, axis=0)
    found = shapley_values(
        triples, rows, background=X[:40], method="permutation", precision=0.0, max_evals=200,
        random_state=0,
    )  # fmt: skip
    exact = shapley_values(triples, rows[:1], background=X[:40], method="exact")
    miss = np.sqrt(np.square(found.values - exact.values).mean(0))[:3]
    reported = np.sqrt(np.square(found.error_std).mean(0))[:3]
    np.testing.assert_allclose(reported, miss, rtol=0.3)


def test_errors_fall_with_the_root_of_the_work():
    options = {"background": X[:40], "method": "permutation", "precision": 0.0, "random_state": 0}
    few, many = (
        shapley_values(triples, X[:20], max_evals=n, **options).error_std[:, :3].mean()
        for n in (100, 1600)
    )
    np.testing.assert_allclose(few / many, 4, rtol=0.25)


def test_no_row_gets_interactions_that_nobody_asked_for():
    # Explainer.__call__ computes main effects from the second row on.
    function = Counted(triples)
    found = shapley_values(function, X[:5], background=X[:10], method="exact")
    assert found.interaction_values is None and found.main_effects is None
    each = 2**4 * 10
    # Its form is probed, the rows and the background are predicted: all but the coalitions.
    assert sum(function.calls) <= 5 * each + 4 * (5 + 10)
    asked = shapley_values(triples, X[:5], background=X[:10], method="exact", interactions=True)
    assert asked.interaction_values.shape == (5, 4, 4)
    assert np.isfinite(asked.interaction_values).all()


def test_rows_are_predicted_in_batches_that_fit_the_budget():
    # Of sixteen columns, shap masks all 65,536 coalitions against the background at once.
    rows = RNG.normal(size=(101, 13))
    function = Counted(lambda x: x[:, 0] * x[:, 1])
    shapley_values(function, rows[:1], background=rows[1:], method="exact", memory_budget=2**23)
    assert sum(function.calls) >= 2**13 * 100
    assert max(function.calls) <= 2**23 // (64 * 13)
    assert max(function.calls) <= games.ROWS


@pytest.mark.parametrize("method", ["exact", "permutation", "kernel"])
def test_the_background_is_not_cut_to_a_hundred_rows(method):
    background = np.concatenate([X[:100], X[:60] + 5])
    found = shapley_values(triples, X[:3], background=background, method=method, random_state=0)
    np.testing.assert_allclose(found.base_values, triples(background).mean(), rtol=1e-12)
    exact = shapley_values(triples, X[:3], background=background, method="exact").values
    np.testing.assert_allclose(found.values, exact, atol=0.3 * np.ptp(exact))


def test_every_column_counts_whatever_the_order_of_the_rows():
    found = shapley_values(triples, X[:3], background=X, method="exact").values
    shuffled = RNG.permutation(len(X))
    again = shapley_values(triples, X[:3], background=X[shuffled], method="exact").values
    np.testing.assert_allclose(found, again, rtol=0, atol=1e-12)


def test_no_global_generator_is_seeded_or_used():
    model = MLPRegressor(**SMALL).fit(X, Y)
    np.random.seed(0)  # noqa: NPY002
    states = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    for seed in (None, 3):
        shapley_values(model, X[:4], method="permutation", precision=0.2, random_state=seed)
        shapley_values(model, X[:4], method="kernel", precision=0.2, random_state=seed)
        sage_values(model, X, Y, method="sampling", precision=0.2, random_state=seed)
        permutation_importance(model, X, Y, random_state=seed)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    assert random.getstate() == states[2]


def test_the_link_is_part_of_what_is_explained():
    # AdditiveExplainer never calls its link.
    model = LogisticClassifier().fit(X, Y > 0)
    found = shapley_values(model, X[:5], background=X)
    total = found.values.sum(1) + found.base_values
    np.testing.assert_allclose(total, model.predict_proba(X[:5]), rtol=0, atol=1e-12)
    logit = shapley_values(model, X[:5], background=X, response_method="decision_function")
    total = logit.values.sum(1) + logit.base_values
    np.testing.assert_allclose(total, model.decision_function(X[:5]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_networks_add_up_whatever_they_are_made_of(normalization, activation):
    # DeepExplainer knows a list of modules, and misses predictions of others.
    model = MLPRegressor(activation=activation, normalization=normalization, **SMALL).fit(X, Y)
    for method in ("exact", "permutation"):
        found = shapley_values(model, X[:4], background=X, method=method, random_state=0)
        total = found.values.sum(1) + found.base_values
        np.testing.assert_allclose(total, model.predict(X[:4]), rtol=0, atol=1e-9)


def test_networks_of_single_precision_add_up():
    model = MLPClassifier(**SMALL).fit(X.astype(np.float32), LABELS)
    found = shapley_values(model, X[:4].astype(np.float32), background=X.astype(np.float32))
    total = found.values.sum(1) + found.base_values
    np.testing.assert_allclose(total, model.predict_proba(X[:4]), rtol=0, atol=1e-5)


def test_an_estimator_need_not_be_callable():
    model = LinearRegressor().fit(X, Y)
    direct, wrapped = (shapley_values(each, X[:3]).values for each in (model, model.predict))
    np.testing.assert_allclose(direct, wrapped, rtol=0, atol=1e-9)


def test_several_outputs_are_the_last_axis_of_an_array():
    # shap gave a list of arrays until version 0.45.
    found = shapley_values(MLPClassifier(**SMALL).fit(X, LABELS), X[:5])
    assert isinstance(found.values, np.ndarray) and found.values.shape == (5, 4, 3)


# captum and shapiq


@pytest.mark.parametrize("method", ["exact", "permutation", "kernel"])
def test_the_model_is_called_for_many_rows_at_once(method):
    # MarginalImputer calls it once for every background row, KernelShap for every row.
    function = Counted(triples)
    shapley_values(
        function, X[:20], background=X[:100], method=method, precision=0.2, random_state=0
    )
    assert len(function.calls) <= 25
    assert max(function.calls) > 1000


def test_all_classes_and_rows_are_explained_at_once():
    model = RandomForestClassifier(5, random_state=0).fit(X, LABELS)
    function = Counted(model.predict_proba)
    found = shapley_values(model, X[:6], background=X[:10])
    shapley_values(function, X[:6], background=X[:10])
    assert found.values.shape == (6, 4, 3)
    assert list(found.output_names) == list(model.classes_)
    top = found[..., "top"]
    expected = model.predict_proba(X[:6])[:, 2]
    np.testing.assert_allclose(top.values.sum(1) + top.base_values, expected, atol=1e-12)
    # Three classes cost no more calls than one.
    assert sum(function.calls) <= 6 * 2**4 * 10 + 4 * 16


def test_ten_columns_are_enumerated():
    rows = RNG.normal(size=(12, 10))
    found = shapley_values(lambda x: x.prod(1), rows[:2], background=rows)
    assert found.method == "exact" and (found.error_std == 0).all()


# sage


def test_zero_one_is_a_loss():
    # sage documents it, and then refuses it.
    model = LogisticClassifier().fit(X, Y > 0)
    found = sage_values(model, X, Y > 0, loss="zero_one", background=X[:50])
    averaged = model.predict_proba(X[:50]).mean(0).argmax()
    accuracy = [np.mean((Y > 0) == guess) for guess in (bool(averaged), model.predict(X))]
    np.testing.assert_allclose(found.total, accuracy[1] - accuracy[0], atol=1e-9)


def test_a_pickled_explainer_draws_what_its_original_draws_and_no_more():
    # Copies of one generator, given to jobs, are the same orders counted twice. Here the stream
    # belongs to the call, and work is not divided among copies.
    explainer = ShapleyExplainer(
        MLPRegressor(**SMALL).fit(X, Y), X[:30], method="permutation", random_state=0
    )
    first = explainer(X[:4]).values
    copied = pickle.loads(pickle.dumps(explainer))
    np.testing.assert_array_equal(copied(X[:4]).values, first)


# scikit-learn


def test_importances_are_those_of_the_same_shuffles():
    model = LinearRegression().fit(X, Y)
    found = permutation_importance(model, X, Y, n_repeats=4, random_state=0)
    expected = sklearn_importance(model, X, Y, n_repeats=4, random_state=0)
    np.testing.assert_allclose(found.importances, expected.importances, rtol=0, atol=1e-12)


def test_all_columns_share_their_shuffles():
    # So that two columns which play the same part are equally important, repeat by repeat.
    twins = np.column_stack([X[:, 0], X[:, 0], X[:, 1]])
    found = permutation_importance(
        LinearRegressor(alpha=1.0).fit(twins, Y), twins, Y, n_repeats=4, random_state=0
    )
    np.testing.assert_allclose(found.importances[0], found.importances[1], atol=1e-12)


def test_intervals_of_importances_are_made_of_standard_errors():
    model = MLPRegressor(**SMALL).fit(X, Y)
    found = permutation_importance(model, X, Y, n_repeats=16, random_state=0)
    spread = found.importances.std(1, ddof=1)
    np.testing.assert_allclose(found.mc_se, spread / 4, rtol=0, atol=1e-12)
    width = found.ci[:, 1] - found.ci[:, 0]
    # At 1.96, and more for few degrees of freedom.
    assert (width >= 2 * 1.95 * found.importances_se).all()
    assert (width <= 2 * 3 * found.importances_se).all()


def test_names_of_columns_come_along():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = LinearRegressor().fit(frame, Y)
    assert shapley_values(model, frame[:3]).feature_names == list("abcd")
    assert list(sage_values(model, frame, Y).feature_names) == list("abcd")
    assert list(permutation_importance(model, frame, Y).feature_names) == list("abcd")
