"""Pictures of importances: they show the numbers given, in order, and nothing else."""

import sys
from itertools import combinations
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import shap
from sklearn.datasets import make_regression
from sklearn.inspection import partial_dependence as peer_dependence
from sklearn.inspection import permutation_importance as peer_importance
from sklearn.linear_model import LinearRegression

from thetalearn import accuracy_shapley_values
from thetalearn.inspection.importance.displays import (
    PartialDependenceDisplay,
    PermutationImportanceDisplay,
    SageDisplay,
    ShapleyDisplay,
)
from thetalearn.inspection.importance.displays.parts import chosen_output, short_names, swarm
from thetalearn.inspection.importance.explanation import make_explanation

rng = np.random.RandomState(0)
NAMES = ["age", "income", "a name that is far too long to stand beside its bar", "city"]
MEANS = np.array([0.5, 0.3, 0.8, -0.02])
REPEATS = MEANS[:, None] + np.array([-0.1, 0.0, 0.1])
CI = np.column_stack([MEANS - 0.2, MEANS + 0.3])
RESULT = {"importances": REPEATS, "ci": CI, "feature_names": NAMES}
SAGE = {"values": MEANS, "ci": CI, "feature_names": NAMES, "loss": "log_loss"}

N = 40
FRAME = pd.DataFrame(
    {
        "age": rng.randint(20, 70, N).astype(float),
        "city": rng.choice(["Rome", "Bern"], N),
        "income": rng.lognormal(size=N),
    }
)
FRAME.loc[3, "income"] = np.nan
VALUES = rng.normal(size=(N, 3, 3)) * np.array([1.0, 3.0, 2.0])[:, None]
PAIRS = rng.normal(size=(N, 3, 3, 3))

GRID = np.linspace(0, 5, 11)
ROWS = np.sin(GRID) + rng.normal(size=(2, 30, 1))
ONE = {
    "grid_values": [GRID],
    "average": ROWS.mean(axis=1),
    "individual": ROWS,
    "feature_names": ["age"],
    "output_names": ["no", "yes"],
}
CITY = {"grid_values": [np.array(["Bern", "Rome"], object)], "average": [[0.2, 0.7]]}
TWO = {"grid_values": [GRID, GRID[:4]], "average": (GRID[:, None] * GRID[:4])[None]}
MIXED = {"grid_values": [GRID, CITY["grid_values"][0]], "average": rng.normal(size=(1, 11, 2))}


def explanation(errors=None):
    return make_explanation(
        values=VALUES,
        base_values=0,
        X=FRAME,
        output_names=["no", "yes", "perhaps"],
        interactions=PAIRS,
        standard_errors=errors,
    )


DRAWN = {
    "permutation": lambda **k: PermutationImportanceDisplay.from_result(RESULT, **k),
    "boxes": lambda **k: PermutationImportanceDisplay.from_result(RESULT, kind="box", **k),
    "sage": lambda **k: SageDisplay.from_result(SAGE, **k),
    "swarm": lambda **k: explanation()[..., 0].plot(**k),
    "bar": lambda **k: explanation()[..., 0].plot("bar", **k),
    "dependence": lambda **k: explanation()[..., 0].plot("dependence", color="income", **k),
    "categories": lambda **k: explanation()[..., 0].plot(
        "dependence", feature="income", color="city", **k
    ),
    "interactions": lambda **k: explanation()[..., 0].plot("interactions", **k),
    "line": lambda **k: PartialDependenceDisplay.from_result(ONE, kind="both", **k),
    "contours": lambda **k: PartialDependenceDisplay.from_result(TWO, **k),
    "table": lambda **k: PartialDependenceDisplay.from_result(MIXED, **k),
}


@pytest.fixture(autouse=True)
def closed():
    plt.close("all")  # those of docstrings' examples in the same process
    yield
    plt.close("all")


def labels(ax, side="y"):
    return [label.get_text() for label in getattr(ax, f"get_{side}ticklabels")()]


def segments(lines):
    return np.array(lines.get_segments())


@pytest.mark.parametrize("name", DRAWN)
def test_one_figure_and_no_other(name):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    display = DRAWN[name]()
    assert plt.get_fignums() == [display.figure_.number] and display.ax_.figure is display.figure_
    display.figure_.canvas.draw()
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", DRAWN)
def test_axes_that_are_given_are_drawn_on(name):
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    plt.sca(left)
    display = DRAWN[name](ax=right)
    assert display.ax_ is right and display.figure_ is figure
    assert plt.get_fignums() == [figure.number] and plt.gca() is left
    assert not left.has_data() and right.has_data()


@pytest.mark.parametrize("name", DRAWN)
def test_axes_must_be_axes(name):
    with pytest.raises(TypeError, match=r"ax must .*matplotlib Axes.*not str"):
        DRAWN[name](ax="axes")


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("width", [5, 9])
def test_labels_do_not_overlap(name, width):
    figure, ax = plt.subplots(figsize=(width, 4), layout="constrained")
    DRAWN[name](ax=ax)
    figure.canvas.draw()
    boxes = []
    for one in figure.axes:
        boxes += [axis.label.get_window_extent() for axis in (one.xaxis, one.yaxis)]
        for axis in (one.xaxis, one.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            boxes += [t.label1.get_window_extent() for t in shown if t.label1.get_visible()]
            boxes += [t.label2.get_window_extent() for t in shown if t.label2.get_visible()]
    boxes = [box for box in boxes if box.width and box.height]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2) if not tilted(name))
    assert all(figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)


def tilted(name):
    """Whether boxes around tilted labels overlap although the labels do not."""
    return name == "interactions"


@pytest.mark.parametrize("display", [DRAWN["permutation"], DRAWN["sage"]])
def test_bars_are_the_means_and_lines_their_intervals(display):
    display = display()
    assert list(display.order_) == [2, 0, 1, 3]
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, MEANS[display.order_])
    np.testing.assert_allclose(segments(display.intervals_)[..., 0], CI[display.order_])
    names = labels(display.ax_)
    assert names[1:] == ["age", "income", "city"]
    assert names[0] == "a name that is far …side its bar"
    assert set(display.zero_line_.get_xdata()) == {0}
    low, high = display.ax_.get_xlim()
    assert low < CI.min() and high > CI.max()
    assert display.ax_.get_ylim()[0] > display.ax_.get_ylim()[1]  # the first is on top


def test_repeats_are_points_and_boxes():
    display = PermutationImportanceDisplay.from_result(RESULT, show_repeats=True)
    drawn = display.points_.get_offsets()
    np.testing.assert_allclose(drawn[:, 0], REPEATS[display.order_].ravel())
    np.testing.assert_array_equal(np.round(drawn[:, 1]), np.repeat(np.arange(4), 3))
    display = PermutationImportanceDisplay.from_result(RESULT, kind="box")
    assert display.bars_ is display.intervals_ is display.points_ is None
    quartiles = np.percentile(REPEATS[display.order_], [25, 75], axis=1).T
    boxes = [(box.get_x(), box.get_x() + box.get_width()) for box in display.boxes_]
    np.testing.assert_allclose(boxes, quartiles)


@pytest.mark.parametrize("kind", ["permutation", "boxes", "sage", "bar", "swarm"])
def test_the_largest_are_drawn_and_the_rest_is_counted(kind):
    everything, some = DRAWN[kind](max_features=None), DRAWN[kind](max_features=2)
    np.testing.assert_array_equal(some.order_, everything.order_[:2])
    assert labels(some.ax_) == labels(everything.ax_)[:2]
    assert some.ax_.get_ylabel() == f"2 of {len(everything.order_)} features"
    assert everything.ax_.get_ylabel() == ""


def test_intervals_that_are_not_known_are_not_drawn():
    unknown = {**RESULT, "ci": np.full((4, 2), np.nan)}
    assert PermutationImportanceDisplay.from_result(unknown).intervals_ is None
    some = {**RESULT, "ci": np.where(MEANS[:, None] > 0.4, CI, np.nan)}
    display = PermutationImportanceDisplay.from_result(some)
    display.figure_.canvas.draw()
    assert np.isfinite(display.ax_.get_xlim()).all()


def test_values_that_are_not_numbers_come_last():
    assert list(SageDisplay(values=[np.nan, -1.0, 2.0]).plot().order_) == [2, 1, 0]


def test_several_scores_need_a_choice():
    other = {**RESULT, "importances": -REPEATS, "ci": None}
    both = {"r2": RESULT, "neg_mse": other}
    display = PermutationImportanceDisplay.from_result(both, metric="neg_mse")
    assert list(display.order_) == [3, 1, 0, 2] and display.intervals_ is None
    assert display.ax_.get_xlabel() == "decrease of neg_mse when permuted"
    for metric in (None, "r3"):
        with pytest.raises(ValueError, match=rf"metric={metric!r} must be one of 'r2', 'neg_mse'"):
            PermutationImportanceDisplay.from_result(both, metric=metric)
    assert PermutationImportanceDisplay.from_result({"r2": RESULT}).metric == "r2"


def test_results_of_scikit_learn():
    X, y = make_regression(50, 4, random_state=0)
    model = LinearRegression().fit(X, y)
    result = peer_importance(model, X, y, n_repeats=3, random_state=0)
    display = PermutationImportanceDisplay.from_result(result)
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, sorted(result.importances_mean)[::-1])
    result = peer_dependence(model, X, [1], kind="both")
    display = PartialDependenceDisplay.from_result(result, kind="both")
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), result.average[0])


def test_bars_of_shapley_values():
    display = explanation().plot("bar", output="yes")
    absolute = np.abs(VALUES[..., 1])
    sizes, errors = absolute.mean(0), absolute.std(0, ddof=1) / np.sqrt(N)
    assert list(display.order_) == list(np.argsort(-sizes)) == [1, 2, 0]
    assert labels(display.ax_) == ["city", "income", "age"]
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_], sizes[display.order_])
    bounds = np.column_stack([sizes - 1.959964 * errors, sizes + 1.959964 * errors])
    drawn = segments(display.intervals_)[..., 0]
    np.testing.assert_allclose(drawn, bounds[display.order_], rtol=1e-6)
    assert display.ax_.get_xlabel() == "mean |Shapley value| for yes"
    assert explanation()[:1].plot("bar", output=0).intervals_ is None


def test_swarms_are_the_values_in_rows():
    display = explanation().plot(output=2)
    for row, (place, points) in enumerate(zip(display.order_, display.points_, strict=True)):
        x, y = points.get_offsets().T
        np.testing.assert_array_equal(x, VALUES[:, place, 2])
        assert np.abs(y - row).max() <= 0.4
    again = explanation().plot(output=2)
    for one, other in zip(display.points_, again.points_, strict=True):
        np.testing.assert_array_equal(one.get_offsets(), other.get_offsets())


def test_colours_of_a_swarm_follow_the_data():
    display = explanation().plot(output=0)
    display.figure_.canvas.draw()
    points = dict(zip(display.order_, display.points_, strict=True))
    age = points[0].get_array()
    order = np.argsort(FRAME["age"].to_numpy())
    assert (np.diff(age[order]) >= 0).all() and age.min() == 0 and age.max() == 1
    city = points[1].get_facecolors()
    assert len(city) == 1 and len(set(city[0, :3])) == 1  # grey, as strings have no order
    missing = points[2].get_facecolors()[3]
    np.testing.assert_allclose(missing, city[0], atol=0.01)
    assert labels(display.colorbar_.ax) == ["low", "high"]


def test_points_of_a_swarm_step_aside_by_density():
    values = np.array([0.0, 0.001, 0.0, 1.0, 0.5])
    assert swarm(values, 0.0, 1.0).tolist() == [0, 1, -1, 0, 0]
    steps = swarm(np.zeros(100), 0.0, 0.0)
    assert sorted(steps) == list(range(-49, 51))


def test_one_player_against_the_data():
    errors = np.full(VALUES.shape, 0.1)
    display = explanation(errors).plot("dependence", feature="age", output="no")
    np.testing.assert_array_equal(
        display.points_[0].get_offsets(), np.column_stack([FRAME["age"], VALUES[:, 0, 0]])
    )
    lengths = np.ptp(segments(display.intervals_)[..., 1], axis=1)
    np.testing.assert_allclose(lengths, 2 * 1.959964 * 0.1, rtol=1e-6)
    assert (display.ax_.get_xlabel(), display.output_) == ("age", "no")
    assert explanation(0.0).plot("dependence", feature=0, output=0).intervals_ is None
    largest = explanation().plot("dependence", output=0)
    assert list(largest.order_) == [1] and labels(largest.ax_, "x") == ["Bern", "Rome"]
    places = np.round(largest.points_[0].get_offsets()[:, 0])
    np.testing.assert_array_equal(places == 1, FRAME["city"] == "Rome")


def test_colours_of_another_player():
    display = explanation().plot("dependence", feature="age", color="income", output=0)
    np.testing.assert_array_equal(
        np.ma.filled(display.points_[0].get_array(), np.nan), FRAME["income"]
    )
    assert display.colorbar_.ax.get_ylabel() == "income"
    display = explanation().plot("dependence", feature="age", color="city", output=0)
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["Bern", "Rome"] and display.colorbar_ is None
    assert len(np.unique(display.points_[0].get_facecolors(), axis=0)) == 2


def test_interactions_are_both_halves():
    display = explanation().plot("interactions", output="no")
    pairs = PAIRS[..., 0]
    sizes = np.abs(pairs + pairs.swapaxes(1, 2)).mean(0)[np.ix_(display.order_, display.order_)]
    drawn = np.ma.filled(display.image_.get_array(), np.nan)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(drawn[off], sizes[off])
    assert np.isnan(drawn[~off]).all()
    assert labels(display.ax_) == labels(display.ax_, "x") == ["city", "income", "age"]


def test_outputs_are_chosen():
    with pytest.raises(ValueError, match="output must be given, as there are 3: one of 'no', 'y"):
        explanation().plot()
    for wrong in ("maybe", 3, 1.0):
        with pytest.raises(ValueError, match=f"output={wrong!r} must be a position below 3"):
            explanation().plot(output=wrong)
    assert explanation().plot(output=-1).output_ == "perhaps"
    assert explanation()[..., :2].plot().output_ == "yes"
    assert explanation()[..., :1].plot().output_ == explanation()[..., 0].plot().output_ == "no"
    with pytest.raises(ValueError, match=r"output='yes' must be .* one of 'no'"):
        explanation()[..., 0].plot(output="yes")


def test_explanations_of_shap_itself():
    values = rng.normal(size=(N, 3))
    bare = shap.Explanation(values, base_values=np.zeros(N), feature_names=list("abc"))
    display = ShapleyDisplay.from_explanation(bare)
    assert sorted(labels(display.ax_)) == ["a", "b", "c"] and display.colorbar_ is None
    own = shap.Explanation(values, base_values=np.zeros(N), data=values, feature_names=list("abc"))
    assert ShapleyDisplay.from_explanation(own).colorbar_ is not None
    assert ShapleyDisplay.from_explanation(own, kind="dependence").colorbar_ is None
    with pytest.raises(ValueError, match="explanation has no data"):
        ShapleyDisplay.from_explanation(bare, kind="dependence")
    with pytest.raises(ValueError, match="needs interaction_values of all players"):
        ShapleyDisplay.from_explanation(own, kind="interactions")
    with pytest.raises(ValueError, match=r"expected several rows: .*shap.plots.waterfall"):
        ShapleyDisplay.from_explanation(own[0])


@pytest.mark.parametrize("kind", ["average", "individual", "both"])
def test_lines_are_the_averages_and_the_rows(kind):
    display = PartialDependenceDisplay.from_result(ONE, kind=kind, max_lines=7)
    (line,), (rows,) = display.lines_, display.individual_lines_
    assert (line is None) == (kind == "individual") and (rows is None) == (kind == "average")
    if line is not None:
        np.testing.assert_array_equal(line.get_xdata(), GRID)
        np.testing.assert_array_equal(line.get_ydata(), ONE["average"][1])
    if rows is not None:
        drawn = segments(rows)
        assert len(drawn) == 7
        np.testing.assert_array_equal(drawn[[0, -1], :, 1], ROWS[1, [0, -1]])
        low, high = display.ax_.get_ylim()
        assert low <= drawn[..., 1].min() and drawn[..., 1].max() <= high
    words = "prediction" if kind == "individual" else "average prediction"
    assert display.ax_.get_ylabel() == f"{words} for yes" and display.ax_.get_xlabel() == "age"


def test_categories_are_bars():
    display = PartialDependenceDisplay.from_result(CITY)
    assert [bar.get_height() for bar in display.lines_[0]] == [0.2, 0.7]
    assert labels(display.ax_, "x") == ["Bern", "Rome"] and display.ax_.get_xlabel() == "x0"


def test_pairs_are_contours_or_a_table():
    display = PartialDependenceDisplay.from_result(TWO)
    levels = display.contours_[0].levels
    assert levels.min() <= 0 and levels.max() >= TWO["average"].max()
    table = PartialDependenceDisplay.from_result(MIXED).contours_[0].get_array()
    np.testing.assert_array_equal(np.reshape(table, (2, 11)), MIXED["average"][0].T)


def test_panels_share_their_range_and_deciles_leave_it():
    marks = np.arange(-100.0, 100, 30)
    deciles = [[marks], [None], [marks, marks], [marks, None]]
    results = [ONE, CITY, TWO, MIXED]
    bare = PartialDependenceDisplay.from_result(results)
    display = PartialDependenceDisplay.from_result(results, deciles=deciles)
    assert len(display.axes_) == 4 and display.ax_ is display.axes_[0]
    assert [len(rugs) for rugs in display.rugs_] == [1, 0, 2, 1]
    np.testing.assert_array_equal(segments(display.rugs_[0][0])[:, 0, 0], marks)
    for one, other in zip(display.axes_, bare.axes_, strict=True):
        assert one.get_xlim() == other.get_xlim() and one.get_ylim() == other.get_ylim()
    assert display.axes_[0].get_ylim() == display.axes_[1].get_ylim()
    axes = plt.subplots(2, 2)[1]
    assert PartialDependenceDisplay.from_result(results, ax=axes).axes_ == list(axes.ravel())
    with pytest.raises(ValueError, match="ax holds 4 Axes for 1 panels"):
        PartialDependenceDisplay.from_result(ONE, ax=axes)


def fake(monkeypatch, module, name, answer):
    """Put a function into a module, and remember what it is called with."""
    calls = []

    def function(*args, **options):
        calls.append((args, options))
        return answer(*args, **options) if callable(answer) else answer

    stand_in = ModuleType(module)
    setattr(stand_in, name, function)
    monkeypatch.setitem(sys.modules, f"thetalearn.inspection.importance.{module}", stand_in)
    return calls


def test_from_estimator_computes_and_draws(monkeypatch):
    calls = fake(monkeypatch, "permutation.importance", "permutation_importance", RESULT)
    display = PermutationImportanceDisplay.from_estimator(
        "model", "X", "y", scoring="r2", n_repeats=3, kind="box"
    )
    assert calls == [(("model", "X", "y"), {"scoring": "r2", "n_repeats": 3})]
    assert display.boxes_ is not None and display.metric == "r2"
    calls = fake(monkeypatch, "sage.values", "sage_values", SAGE)
    display = SageDisplay.from_estimator("model", "X", "y", loss="log_loss", max_features=1)
    assert calls == [(("model", "X", "y"), {"loss": "log_loss"})]
    assert len(display.bars_) == 1 and "log loss" in display.ax_.get_xlabel()
    calls = fake(monkeypatch, "shapley", "shapley_values", explanation())
    display = ShapleyDisplay.from_estimator("model", "X", background="B", output="no", kind="bar")
    assert calls == [(("model", "X"), {"background": "B"})] and display.output_ == "no"


def test_partial_dependence_from_estimator(monkeypatch):
    def answer(estimator, X, features, *, kind, **options):
        deciles = [np.arange(9.0)] * len(features)
        return {**(TWO if len(features) == 2 else ONE), "feature_names": None, "deciles": deciles}

    calls = fake(monkeypatch, "dependence.partial", "partial_dependence", answer)
    display = PartialDependenceDisplay.from_estimator(
        "model", FRAME, ["age", 2, ("age", "city")], kind="both", output=0
    )
    assert [args[2] for args, _ in calls] == [["age"], [2], ["age", "city"]]
    assert [options["kind"] for _, options in calls] == ["both", "both", "average"]
    assert [len(rugs) for rugs in display.rugs_] == [1, 1, 2]
    for rugs in display.rugs_:
        np.testing.assert_array_equal(segments(rugs[0])[:, 0, 0], np.arange(9.0))
    display = PartialDependenceDisplay.from_estimator("model", FRAME, ("age", "city"), grid=5)
    assert len(display.axes_) == 1 and calls[-1][1] == {"kind": "average", "grid": 5}


def test_numbers_without_deciles_are_categories():
    codes = {"grid_values": [np.array([0.0, 1.0])], "average": [[0.2, 0.7]], "deciles": [None]}
    display = PartialDependenceDisplay.from_result(codes)
    assert [bar.get_height() for bar in display.lines_[0]] == [0.2, 0.7]
    assert labels(display.ax_, "x") == ["0", "1"] and display.rugs_ == [[]]


def draw_permutation(**options):
    return PermutationImportanceDisplay.from_estimator(None, None, None, **options)


@pytest.mark.parametrize(
    ("draw", "options", "message"),
    [
        (DRAWN["permutation"], {"kind": "pie"}, "kind='pie' must be one of 'bar', 'box'"),
        (draw_permutation, {"kind": "pie"}, "kind='pie' must be one of 'bar', 'box'"),
        (draw_permutation, {"max_features": 0}, "max_features=0 must be a positive integer"),
        (DRAWN["sage"], {"max_features": 2.5}, "max_features=2.5 must be a positive integer"),
        (DRAWN["swarm"], {"kind": "pie"}, "kind='pie' must be one of 'beeswarm', 'bar', "),
        (DRAWN["swarm"], {"max_features": -1}, "max_features=-1 must be a positive integer"),
        (DRAWN["dependence"], {"feature": "sex"}, "feature='sex' must be .* one of 'age', "),
        (DRAWN["dependence"], {"feature": 3}, "feature=3 must be a position below 3"),
        (DRAWN["contours"], {"kind": "pie"}, "kind='pie' must be one of 'average', 'individual'"),
        (DRAWN["line"], {"output": "maybe"}, "output='maybe' must be .* one of 'no', 'yes'"),
        (DRAWN["line"], {"deciles": []}, "deciles are given for 0 of 1 panels"),
    ],
)
def test_options_are_checked_before_anything_is_drawn(draw, options, message):
    with pytest.raises(ValueError, match=message):
        draw(**options)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("display", "message"),
    [
        (
            PermutationImportanceDisplay(importances=MEANS),
            r"importances has shape \(4,\), expected \(n_features, n_repeats\)",
        ),
        (PermutationImportanceDisplay(importances=REPEATS, ci=CI[:2]), r"ci has shape \(2, 2\)"),
        (
            SageDisplay(values=MEANS, feature_names=["a"]),
            "feature_names has 1 name for 4 features",
        ),
        (SageDisplay(values=REPEATS), r"values has shape \(4, 3\), expected \(n_features,\)"),
        (
            PartialDependenceDisplay(results={"grid_values": [GRID], "individual": ROWS}),
            "kind='average' needs 'average', which the result lacks",
        ),
        (
            PartialDependenceDisplay(results={"grid_values": [GRID] * 3, "average": MEANS}),
            "a panel shows one or two features, not 3",
        ),
    ],
)
def test_what_cannot_be_drawn(display, message):
    with pytest.raises(ValueError, match=message):
        display.plot()
    assert not plt.get_fignums()


OTHER = {
    "PermutationImportanceDisplay": {"y": None},
    "SageDisplay": {"y": None},
    "ShapleyDisplay": {},
    "PartialDependenceDisplay": {"features": None},
}


@pytest.mark.parametrize(
    "display",
    [
        PermutationImportanceDisplay(importances=REPEATS),
        SageDisplay(values=MEANS),
        ShapleyDisplay(explanation=None),
        PartialDependenceDisplay(results=ONE),
    ],
    ids=lambda display: type(display).__name__,
)
def test_matplotlib_is_asked_for(monkeypatch, display):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    name = type(display).__name__
    with pytest.raises(ImportError, match=rf"{name}.plot requires matplotlib.*thetalearn\[plot\]"):
        display.plot()
    with pytest.raises(ImportError, match=rf"{name}.from_estimator requires matplotlib"):
        display.from_estimator(None, None, **OTHER[name])


def test_long_names_stay_distinct():
    stem = "share of households with a heating of kind "
    names = [f"{stem}{kind}" for kind in ("gas", "oil")]
    short = short_names(names)
    assert len(set(short)) == 2 and max(map(len, short)) <= 32
    middles = [f"{stem}{kind} in the year 2020" for kind in ("gas", "oil")]
    assert short_names(middles) == middles


@pytest.mark.parametrize(
    ("choice", "names", "place"),
    [(1, ["1", "2", "3"], 0), ("3", ["1", "2", "3"], 2), (0, ["a", "b"], 0), (-1, ["a", "b"], 1)],
)
def test_an_output_is_a_class_before_it_is_a_position(choice, names, place):
    assert chosen_output(choice, names) == place


def test_accuracy_has_an_axis_of_its_own():
    X = np.array([[0.5, 1.0], [-2.0, 3.0], [1.0, 5.0]])
    for method, drawn in (("exact", False), ("sampling", True)):
        result = accuracy_shapley_values(lambda X: X[:, 1] > X[:, 0] ** 2, X, [1, 0, 0])
        result |= {"method": method, "mc_ci": np.array([[0.1, 0.5], [-0.2, 0.0]])}
        display = SageDisplay.from_result(result)
        assert display.ax_.get_xlabel() == "gain in accuracy (Shapley value)"
        assert (display.intervals_ is not None) == drawn


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="results is empty"):
        PartialDependenceDisplay.from_result([])
    with pytest.raises(ValueError, match="features is empty"):
        PartialDependenceDisplay.from_estimator(LinearRegression(), np.eye(2), [])
