"""Explanations: all that shap does with its own, it does with ours."""

import copy
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import shap
from scipy.sparse import csr_array

from thetalearn.inspection.importance.explanation import ShapleyExplanation, make_explanation

N = 30
rng = np.random.RandomState(0)
COLOURS = rng.randint(0, 3, N)
FRAME = pd.DataFrame(
    {
        "age": rng.randint(20, 70, N),
        "city": rng.choice(["Rome", "Bern", "Oslo"], N),
        "income": rng.lognormal(size=N),
        **{name: (k == COLOURS).astype(int) for k, name in enumerate(["red", "green", "blue"])},
        "lat": rng.normal(size=N),
        "lon": rng.normal(size=N),
    }
)
PLAYERS = {"age": [0], "city": [1], "income": [2], "colour": [3, 4, 5], "place": [6, 7]}
P = len(PLAYERS)
VALUES = rng.normal(size=(N, P, 3))
ERRORS = rng.uniform(0.1, 0.2, size=(N, P, 3))
PAIRS = rng.normal(size=(N, P, P, 3))


def regression():
    return make_explanation(
        values=VALUES[..., 1],
        base_values=1.5,
        X=FRAME,
        players=PLAYERS,
        standard_errors=ERRORS[..., 1],
        interactions=PAIRS[..., 1],
        compute_time=0.25,
        method="permutation",
        response_method="predict",
        n_evaluations=1000,
    )


def classification():
    return make_explanation(
        values=VALUES,
        base_values=[0.2, 0.3, 0.5],
        X=FRAME,
        players=PLAYERS,
        output_names=["no", "yes", "perhaps"],
        standard_errors=ERRORS,
        interactions=PAIRS,
        method="permutation",
        response_method="predict_proba",
    )


def plain():
    X = np.random.RandomState(1).normal(size=(N, 4))
    return make_explanation(values=2 * X, base_values=0.0, X=X, method="closed")


def same(one, other):
    assert type(one) is type(other) is ShapleyExplanation
    for name in ("values", "base_values", "data", "error_std", "interaction_values"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.feature_names == other.feature_names and one.output_names == other.output_names
    assert (one.method, one.response_method) == (other.method, other.response_method)
    assert (one.compute_time, one.n_evaluations) == (other.compute_time, other.n_evaluations)


def test_the_fields():
    one = regression()
    assert isinstance(one, shap.Explanation) and one.shape == (N, P)
    np.testing.assert_array_equal(one.base_values, np.full(N, 1.5))
    np.testing.assert_array_equal(one.error_std, ERRORS[..., 1])
    np.testing.assert_allclose(one.upper_bounds - one.lower_bounds, 2 * 1.959964 * one.error_std)
    np.testing.assert_allclose(one.upper_bounds + one.lower_bounds, 2 * one.values)
    assert one.feature_names == list(PLAYERS) and one.output_names is None
    assert (one.method, one.compute_time, one.n_evaluations) == ("permutation", 0.25, 1000)
    several = classification()
    np.testing.assert_array_equal(several.base_values, np.tile([0.2, 0.3, 0.5], (N, 1)))
    assert several.output_names == ["no", "yes", "perhaps"]
    exact = plain()
    assert exact.error_std is exact.upper_bounds is exact.interaction_values is None
    assert exact.feature_names == ["x0", "x1", "x2", "x3"]


@pytest.mark.parametrize("make", [regression, classification, plain])
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_copies_are_the_same(make, again):
    one = make()
    other = again(one)
    same(one, other)
    same(one[2:5], again(one[2:5]))
    same(one[:, 1], again(one[:, 1]))
    other.values = np.zeros(3)
    assert one.values.shape[0] == N


@pytest.mark.parametrize(
    ("item", "values", "pairs"),
    [
        (0, VALUES[0], PAIRS[0]),
        (slice(3, 9), VALUES[3:9], PAIRS[3:9]),
        ([1, 4], VALUES[[1, 4]], PAIRS[[1, 4]]),
        (np.arange(N) < 7, VALUES[:7], PAIRS[:7]),
        ((slice(None), 1), VALUES[:, 1], PAIRS[:, 1]),
        ((slice(None), "city"), VALUES[:, 1], PAIRS[:, 1]),
        ((slice(None), [0, 2]), VALUES[:, [0, 2]], PAIRS[:, [0, 2]]),
        ((..., 1), VALUES[..., 1], PAIRS[..., 1]),
        ((..., "yes"), VALUES[..., 1], PAIRS[..., 1]),
        ((..., [0, 2]), VALUES[..., [0, 2]], PAIRS[..., [0, 2]]),
        ((0, ..., "no"), VALUES[0, :, 0], PAIRS[0, ..., 0]),
        ((0, "city"), VALUES[0, 1], PAIRS[0, 1]),
        ((slice(None), "city", "no"), VALUES[:, 1, 0], PAIRS[:, 1, :, 0]),
        ((slice(None), slice(None), "no"), VALUES[..., 0], PAIRS[..., 0]),
        (..., VALUES, PAIRS),
    ],
    ids=str,
)
def test_what_is_selected(item, values, pairs):
    chosen = classification()[item]
    assert type(chosen) is ShapleyExplanation
    assert (chosen.method, chosen.response_method) == ("permutation", "predict_proba")
    np.testing.assert_array_equal(chosen.values, values)
    np.testing.assert_array_equal(chosen.interaction_values, pairs)
    assert np.shape(chosen.error_std) == values.shape


def test_selections_of_selections():
    one = classification()
    same(one[..., "yes"][2:6][:, "age"], one[2:6, "age", "yes"])
    same(one[4][:, 2], one[4, :, 2])
    assert one[..., 1].output_names == "yes" and one[:, 1].feature_names == "city"


def test_as_many_outputs_as_players():
    # shap tells the axis of players from that of the outputs by its length.
    values = np.arange(12.0).reshape(3, 2, 2)
    one = make_explanation(
        values=values,
        base_values=[0, 1],
        X=np.zeros((3, 2)),
        output_names=["a", "b"],
        interactions=np.zeros((3, 2, 2, 2)),
    )
    row = copy.copy(one[1])
    assert row[:, "b"].values.tolist() == [5, 7] and row["x0"].values.tolist() == [4, 5]


def test_numbers_that_are_computed_from_values_have_no_standard_errors():
    one = classification()
    for other in (one.abs, one.mean(0), one[..., 1].max(0), plain() * 2.0, one.percentile(50, 0)):
        assert type(other) is ShapleyExplanation
        assert other.error_std is other.upper_bounds is other.interaction_values is None
        copy.copy(other)[0]
    np.testing.assert_allclose(one.abs.mean(0).values, np.abs(VALUES).mean(0))
    assert regression().error_std is not None


def test_data_are_numbers_and_display_data_are_the_values():
    one = regression()
    assert one.data.dtype == np.float64
    np.testing.assert_array_equal(one[:, "age"].data, FRAME["age"])
    assert list(one[:, "age"].display_data) == list(FRAME["age"])
    assert list(one[:, "city"].display_data) == list(FRAME["city"])
    names = np.array(["Bern", "Oslo", "Rome"])
    assert list(names[one[:, "city"].data.astype(int)]) == list(FRAME["city"])
    np.testing.assert_array_equal(one[:, "colour"].data, COLOURS)
    assert list(one[:, "colour"].display_data) == [["red", "green", "blue"][k] for k in COLOURS]
    shown = one[0, "place"].display_data
    assert shown == f"lat={FRAME['lat'][0]:.4g}, lon={FRAME['lon'][0]:.4g}"
    np.testing.assert_array_equal(one[:, "place"].data.argsort(), FRAME["lat"].to_numpy().argsort())
    assert plain().display_data is None


@pytest.mark.parametrize(
    ("column", "codes", "shown"),
    [
        (pd.Series([2, 1, 2]), [2, 1, 2], None),
        (pd.Series([True, False, True]), [1, 0, 1], None),
        (pd.Series([1, None, 3], dtype="Int64"), [1, np.nan, 3], None),
        (pd.Series(["b", None, "a"]), [1, np.nan, 0], ["b", "a"]),
        (pd.Series(["2", "10", "2"]), [1, 0, 1], ["2", "10", "2"]),
        (
            pd.Series(pd.Categorical(["low", "high", "low"], ["low", "high"], ordered=True)),
            [0, 1, 0],
            ["low", "high", "low"],
        ),
        (pd.Series(pd.to_datetime(["2020-02-01", "2019-01-01", "2021-05-05"])), [1, 0, 2], 3),
    ],
    ids=["int", "bool", "nullable", "missing", "digits", "categories", "dates"],
)
def test_kinds_of_columns(column, codes, shown):
    frame = pd.DataFrame({"one": column, "other": [1.5, 2.5, 3.5]})
    one = make_explanation(values=np.zeros((3, 2)), base_values=0, X=frame)
    np.testing.assert_array_equal(one.data[:, 0], codes)
    if isinstance(shown, list):
        own = [text for text, code in zip(one.display_data[:, 0], codes, strict=True) if code >= 0]
        assert own == shown
    assert (one.display_data is None) == (shown is None)


def test_kinds_of_rows():
    X = np.arange(6.0).reshape(3, 2)
    frames = pd.DataFrame(X, columns=[5, 7]), pl.DataFrame(X, schema=["a", "b"])
    for rows in (X, X.tolist(), csr_array(X), *frames):
        one = make_explanation(values=X, base_values=0, X=rows)
        np.testing.assert_array_equal(one.data, X)
    assert one.feature_names == ["a", "b"]
    twice = pd.DataFrame(X, columns=["a", "a"])
    np.testing.assert_array_equal(make_explanation(values=X, base_values=0, X=twice).data, X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": np.zeros((3, 3))}, r"values has shape \(3, 3\), but X has 3 rows of 2 players"),
        ({"base_values": [1, 2]}, r"base_values has shape \(2,\), expected \(3,\)"),
        ({"standard_errors": np.zeros(4)}, r"standard_errors has shape \(4,\), expected \(3, 2\)"),
        ({"interactions": np.zeros((3, 2, 3))}, r"interactions has shape \(3, 2, 3\)"),
        ({"X": np.zeros(3)}, "X must have two dimensions, not 1"),
        ({"values": np.zeros((3, 2, 2)), "output_names": ["a"]}, "output_names has 1 names for 2"),
    ],
)
def test_shapes_are_checked(arguments, message):
    defaults = {"values": np.zeros((3, 2)), "base_values": 0, "X": np.zeros((3, 2))}
    with pytest.raises(ValueError, match=message):
        make_explanation(**{**defaults, **arguments})


PLOTS = {
    "beeswarm": lambda e: shap.plots.beeswarm(e, show=False),
    "bar": lambda e: shap.plots.bar(e, show=False),
    "bar of a row": lambda e: shap.plots.bar(e[0], show=False),
    "waterfall": lambda e: shap.plots.waterfall(e[0], show=False),
    "scatter": lambda e: shap.plots.scatter(e[:, 0], show=False),
    "scatter in colour": lambda e: shap.plots.scatter(e[:, 1], color=e, show=False),
    "scatter of a group": lambda e: shap.plots.scatter(e[:, 3], color=e[:, 1], show=False),
    "heatmap": lambda e: shap.plots.heatmap(e, show=False),
    "violin": lambda e: shap.plots.violin(e, show=False),
    "force": lambda e: shap.plots.force(e[0], matplotlib=True, show=False),
    "cohorts": lambda e: shap.plots.bar(e.cohorts(["a"] * 10 + ["b"] * (N - 10)), show=False),
    "decision": lambda e: shap.plots.decision(
        float(e.base_values[0]), e.values, feature_names=e.feature_names, show=False
    ),
}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("kind", ["regressor", "class", "numbers"])
def test_every_plot_of_shap_takes_it(name, kind):
    one = {"regressor": regression, "class": lambda: classification()[..., 1], "numbers": plain}
    PLOTS[name](one[kind]())
    assert plt.get_fignums()
    plt.close("all")


def test_every_class_has_a_bar_in_a_stack():
    for name in classification().output_names:
        shap.plots.bar(classification()[..., name].abs.mean(0), show=False)
    plt.close("all")


def test_importing_the_package_does_not_import_shap():
    import subprocess
    import sys

    code = "import sys, thetalearn.inspection.importance; print('shap' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
