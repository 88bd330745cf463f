"""Pictures of searches: what is drawn is what ``cv_results_`` holds."""

import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from scipy.stats import loguniform
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    ParameterGrid,
    RandomizedSearchCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from thetalearn.inspection.search import SearchDisplay

rng = np.random.RandomState(0)
X = rng.normal(size=(60, 3))
Y = X[:, 0] + rng.normal(size=60)
LABELS = (Y > 0).astype(int)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def results(grid, score=None, n_splits=3, train=False, metric="score", **columns):
    """What a search over a grid keeps, with scores from a function of the parameters."""
    params = list(ParameterGrid(grid)) if isinstance(grid, dict) else list(grid)
    numbers = np.random.RandomState(1)
    mean = numbers.uniform(0.5, 0.9, len(params)) if score is None else [score(p) for p in params]
    folds = np.asarray(mean)[:, None] + 0.01 * numbers.normal(size=(len(params), n_splits))
    out = {"params": params, **columns}
    for part in ("test", "train") if train else ("test",):
        shifted = folds + 0.05 * (part == "train")
        out |= {f"split{k}_{part}_{metric}": shifted[:, k] for k in range(n_splits)}
        out |= {f"mean_{part}_{metric}": shifted.mean(1), f"std_{part}_{metric}": shifted.std(1)}
    return out


def draw(cv_results, params=None, **options):
    return SearchDisplay.from_cv_results(cv_results, params, **options)


def texts(labels):
    return [label.get_text() for label in labels]


def legend(display):
    return texts(display.ax_.get_legend().get_texts())


# One parameter


@pytest.mark.parametrize("train", [False, True])
def test_the_line_is_the_mean_and_the_band_one_standard_deviation(train):
    alphas = [0.01, 0.1, 1.0, 10.0]
    search = GridSearchCV(Ridge(), {"alpha": alphas}, cv=3, return_train_score=train).fit(X, Y)
    display = SearchDisplay.from_search(search)
    found = search.cv_results_
    line = display.lines_["test"]
    np.testing.assert_array_equal(line.get_xdata(), alphas)
    np.testing.assert_array_equal(line.get_ydata(), found["mean_test_score"])
    corners = display.spreads_[0].get_paths()[0].vertices[:, 1]
    for sign in (-1, 1):
        edge = found["mean_test_score"] + sign * found["std_test_score"]
        assert np.isin(np.round(edge, 12), np.round(corners, 12)).all()
    assert display.kind_ == "line" and display.params_ == ("alpha",)
    assert display.ax_.get_xlabel() == "alpha" and display.ax_.get_ylabel() == "R²"
    assert set(display.train_lines_) == ({"test"} if train else set())
    if train:
        drawn = display.train_lines_["test"].get_ydata()
        np.testing.assert_array_equal(drawn, found["mean_train_score"])


def test_the_star_is_the_best_candidate():
    search = GridSearchCV(Ridge(), {"alpha": [0.01, 1.0, 100.0]}, cv=3).fit(X, Y)
    display = SearchDisplay.from_search(search)
    np.testing.assert_array_equal(display.best_.get_xdata(), [search.best_params_["alpha"]])
    np.testing.assert_array_equal(display.best_.get_ydata(), [search.best_score_])
    assert legend(display)[-1].startswith(f"best: {search.best_score_:.3f} ± ")


def test_the_star_follows_a_rule_of_the_user():
    """The candidate that ``refit`` chose, even if another has the best score."""
    search = GridSearchCV(Ridge(), {"alpha": [0.01, 1.0, 100.0]}, cv=3, refit=lambda r: 2)
    display = SearchDisplay.from_search(search.fit(X, Y))
    np.testing.assert_array_equal(display.best_.get_xdata(), [100.0])


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.001, 0.01, 0.1, 1.0], "log"),
        (np.logspace(-3, 2, 7), "log"),
        ([1, 2, 4, 8, 16, 32], "log"),
        (list(range(1, 30)), "linear"),
        ([0.1, 0.2, 0.3], "linear"),
        ([-1.0, 0.0, 1.0], "linear"),
        ([3], "linear"),
        ([1, 100], "linear"),
        ([10, 50, 100], "linear"),
        ([1, 2, 5, 10, 20, 50], "log"),
    ],
    ids=[
        "decades",
        "logspace",
        "powers of two",
        "range",
        "steps",
        "signs",
        "one",
        "two",
        "halves",
        "currency",
    ],
)
def test_the_axis_is_logarithmic_where_values_are(values, scale):
    assert draw(results({"a": values})).ax_.get_xscale() == scale


def test_zero_beside_decades_is_spaced_evenly():
    display = draw(results({"a": [0.0, 0.001, 0.01, 0.1]}))
    np.testing.assert_array_equal(display.lines_["test"].get_xdata(), range(4))
    assert texts(display.ax_.get_xticklabels()) == ["0", "0.001", "0.01", "0.1"]


def test_random_draws_tell_their_scale():
    search = RandomizedSearchCV(Ridge(), {"alpha": loguniform(1e-4, 1e4)}, cv=2, random_state=0)
    display = SearchDisplay.from_search(search.fit(X, Y))
    assert display.kind_ == "line" and display.ax_.get_xscale() == "log"
    drawn = display.lines_["test"].get_xdata()
    np.testing.assert_array_equal(drawn, np.sort(search.cv_results_["param_alpha"].astype(float)))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["rbf", "poly"], ["rbf", "poly"]),
        ([(8,), (64, 64)], ["(8,)", "(64, 64)"]),
        ([None, "balanced"], ["None", "balanced"]),
        ([True, False], ["True", "False"]),
        (["scale", 1.0, 0.1], ["0.1", "1", "scale"]),
        ([StandardScaler(), MinMaxScaler()], ["StandardScaler()", "MinMaxScaler()"]),
        ([np.sin, np.cos], ["sin", "cos"]),
        ([[1, 2], [3]], ["[1, 2]", "[3]"]),
        (["x" * 40, "y"], ["x" * 23 + "…", "y"]),
    ],
    ids=["text", "tuples", "None", "bool", "mixed", "estimators", "functions", "lists", "long"],
)
def test_values_that_are_no_numbers_have_names_and_no_line(values, labels):
    display = draw(results({"a": values}))
    assert texts(display.ax_.get_xticklabels()) == labels
    assert display.lines_["test"].get_linestyle() == "None"
    assert len(display.spreads_[0].get_segments()) == len(values)


def test_single_folds_may_be_drawn():
    found = results({"a": [1.0, 2.0, 3.0]}, n_splits=4)
    points = draw(found, spread="folds").spreads_[0].get_offsets()
    expected = {
        (a, found[f"split{k}_test_score"][i])
        for i, a in enumerate([1.0, 2.0, 3.0])
        for k in range(4)
    }
    assert {tuple(point) for point in points} == expected
    assert draw(found, spread="none").spreads_ == []


def test_few_further_values_have_a_line_each():
    found = results({"a": [1, 2, 3], "b": ["u", "v"]})
    display = draw(found, "a")
    assert list(display.lines_) == ["b=u", "b=v"] and display.note_ == ""
    for place, name in enumerate("uv"):
        chosen = [p["b"] == name for p in found["params"]]
        np.testing.assert_array_equal(
            display.lines_[f"b={name}"].get_ydata(), found["mean_test_score"][chosen]
        )
        assert legend(display)[place] == f"b={name}"


@pytest.mark.parametrize("options", [{"others": "best"}, {"others": "auto"}])
def test_the_line_over_many_further_values_is_the_best(options):
    many = 3 if options["others"] == "best" else 7
    found = results({"a": [1, 2, 3], "b": list(range(many))})
    display = draw(found, "a", **options)
    scores = np.array(found["mean_test_score"]).reshape(3, many)
    np.testing.assert_array_equal(display.lines_["test"].get_ydata(), scores.max(1))
    assert display.note_ == "best over b" == display.ax_.get_title(loc="left")


def test_errors_are_best_where_they_are_least():
    found = results({"a": [1, 2, 3], "b": list(range(9))}, lambda p: -p["a"] - p["b"])
    display = draw(found, "a", negate_score=True, score_name="error")
    errors = -np.array(found["mean_test_score"]).reshape(3, 9)
    np.testing.assert_array_equal(display.lines_["test"].get_ydata(), errors.min(1))
    assert display.best_.get_ydata()[0] == errors.min()
    assert display.ax_.get_ylabel() == "error"


# Two parameters


def test_the_table_holds_the_mean_scores():
    found = results({"a": [1, 2, 3], "b": ["u", "v"]})
    display = draw(found)
    assert display.kind_ == "heatmap" and display.params_ == ("a", "b")
    table = np.array(found["mean_test_score"]).reshape(3, 2).T
    np.testing.assert_array_equal(display.image_.get_array(), table)
    assert texts(display.ax_.get_xticklabels()) == ["1", "2", "3"]
    assert texts(display.ax_.get_yticklabels()) == ["u", "v"]
    np.testing.assert_array_equal(display.ax_.get_xticks(), [0.5, 1.5, 2.5])
    row, column = np.unravel_index(table.argmax(), table.shape)
    assert display.best_.get_xy() == (column, row)
    assert display.colorbar_.ax.get_ylabel() == "score"


def test_cells_say_score_and_deviation():
    found = results({"a": [1, 2], "b": ["u", "v"]})
    display = draw(found)
    for i, each in enumerate(found["params"]):
        cell = each["a"] - 1, "uv".index(each["b"])
        mean, std = found["mean_test_score"][i], found["std_test_score"][i]
        assert display.texts_[cell].get_text() == f"{mean:.3f}\n±{std:.3f}"
    plain = draw(found, spread="none").texts_[0, 0].get_text()
    assert plain == f"{found['mean_test_score'][0]:.3f}"


def test_cells_without_room_say_nothing():
    ax = plt.figure(figsize=(2, 2)).add_subplot()
    assert draw(results({"a": list(range(9)), "b": list(range(9))}), ax=ax).texts_ == {}


def test_text_can_be_read_on_its_cell():
    display = draw(results({"a": [1, 2, 3], "b": [1, 2, 3]}))
    for (column, row), text in display.texts_.items():
        score = display.image_.get_array()[row, column]
        red, green, blue, _ = display.image_.cmap(display.image_.norm(score))
        ink = to_rgba(text.get_color())[0]
        assert abs(ink - (0.299 * red + 0.587 * green + 0.114 * blue)) >= 0.5


def test_a_table_takes_the_best_over_further_parameters():
    found = results({"a": [1, 2, 3], "b": [1, 2], "c": [1, 2]})
    display = draw(found, ["b", "c"])
    scores = np.array(found["mean_test_score"]).reshape(3, 2, 2)
    np.testing.assert_array_equal(display.image_.get_array(), scores.max(0).T)
    assert display.note_ == "best over a" and display.params_ == ("b", "c")


def test_pairs_that_were_not_tried_are_left_empty():
    found = results([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}])
    assert draw(found).image_.get_array().mask.tolist() == [[False, False], [False, True]]


def test_random_pairs_are_coloured_points():
    space = {"alpha": loguniform(1e-4, 1e4), "tol": loguniform(1e-6, 1e-2)}
    search = RandomizedSearchCV(Ridge(), space, n_iter=12, cv=2, random_state=0).fit(X, Y)
    display = SearchDisplay.from_search(search)
    assert display.kind_ == "scatter"
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "log"
    expected = [[p["alpha"], p["tol"]] for p in search.cv_results_["params"]]
    drawn = np.asarray(display.points_.get_offsets())
    np.testing.assert_array_equal(drawn[np.argsort(drawn[:, 0])], sorted(expected))
    best = search.best_params_
    assert display.best_.get_xydata().tolist() == [[best["alpha"], best["tol"]]]


def test_random_candidates_over_one_of_several_parameters_are_points():
    numbers = np.random.RandomState(0)
    found = results([{"a": a, "b": b} for a, b in numbers.uniform(size=(20, 2))])
    display = draw(found, "a")
    assert display.kind_ == "scatter" and len(display.points_.get_offsets()) == 20
    assert display.note_ == ""
    assert draw(found, "a", kind="line", others="best").kind_ == "line"


# Which parameters, which metric


def test_parameters_go_by_their_last_names():
    pipe = make_pipeline(StandardScaler(), Ridge())
    grid = {"ridge__alpha": [0.1, 1.0], "ridge__fit_intercept": [True, False]}
    search = GridSearchCV(pipe, grid, cv=2).fit(X, Y)
    for name in ("alpha", "ridge__alpha"):
        display = SearchDisplay.from_search(search, name)
        assert display.params_ == ("ridge__alpha",) and display.ax_.get_xlabel() == "alpha"
    display = SearchDisplay.from_search(search, ["fit_intercept", "alpha"])
    assert display.params_ == ("ridge__fit_intercept", "ridge__alpha")


def test_names_that_two_steps_share_are_told_apart():
    found = results({"p__alpha": [1, 2], "q__alpha": [1, 2]})
    with pytest.raises(ValueError, match="params='alpha' fits 'p__alpha', 'q__alpha': choose"):
        draw(found, "alpha")
    assert draw(found).ax_.get_xlabel() == "p__alpha"


def test_parameters_that_vary_are_drawn_by_default():
    assert draw(results({"a": [1], "b": [1, 2]})).params_ == ("b",)
    assert draw(results({"a": [1, 2], "b": [1, 2, 3], "c": [1, 2, 3]})).params_ == ("b", "c")
    assert draw(results({"a": [1], "b": [2]})).params_ == ("a",)


def test_candidates_without_the_parameter_are_left_out():
    """As of a search over a list of grids."""
    found = results([{"kernel": "linear"}, {"gamma": 1.0}, {"gamma": 2.0}, {"gamma": 3.0}])
    display = draw(found, "gamma")
    line = next(iter(display.lines_.values()))
    np.testing.assert_array_equal(line.get_ydata(), found["mean_test_score"][1:])


def test_the_metric_is_that_of_refit_or_the_one_asked_for():
    search = GridSearchCV(
        LogisticRegression(),
        {"C": [0.1, 1.0, 10.0]},
        scoring=["accuracy", "roc_auc"],
        refit="roc_auc",
        cv=2,
    ).fit(X, LABELS)
    for scoring, metric in ((None, "roc_auc"), ("accuracy", "accuracy")):
        display = SearchDisplay.from_search(search, scoring=scoring)
        expected = search.cv_results_[f"mean_test_{metric}"]
        np.testing.assert_array_equal(display.lines_["test"].get_ydata(), expected)
        assert display.ax_.get_ylabel() == metric.replace("_", " ")
        assert display.best_.get_ydata()[0] == expected.max()
    with pytest.raises(ValueError, match="scoring='f1' was not computed: choose from 'accuracy'"):
        SearchDisplay.from_search(search, scoring="f1")
    search.refit = False
    with pytest.raises(ValueError, match="several metrics: one of 'accuracy', 'roc_auc'"):
        SearchDisplay.from_search(search)


@pytest.mark.parametrize(
    ("scoring", "negate", "name"),
    [
        (None, False, "R²"),
        (None, True, "negative R²"),
        ("r2", False, "R²"),
        ("neg_mean_squared_error", False, "negative mean squared error"),
        ("neg_mean_squared_error", True, "mean squared error"),
        (lambda e, X, y: 1.0, False, "score"),
    ],
    ids=["default", "negated", "r2", "neg", "error", "callable"],
)
def test_scores_are_named(scoring, negate, name):
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, scoring=scoring, cv=2).fit(X, Y)
    display = SearchDisplay.from_search(search, negate_score=negate)
    assert display.ax_.get_ylabel() == name


def test_frames_serve_as_results():
    found = results({"a": [1, 2], "b": [1, 2]})
    one, other = draw(found), draw(pd.DataFrame(found))
    np.testing.assert_array_equal(one.image_.get_array(), other.image_.get_array())


# Halving


@pytest.fixture(scope="module")
def halving():
    grid = {"alpha": np.logspace(-3, 3, 8), "tol": [1e-4, 1e-3]}
    search = HalvingGridSearchCV(Ridge(), grid, cv=2, factor=2, min_resources=6, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return search.fit(X, Y)


def test_iterations_have_lines(halving):
    display = SearchDisplay.from_search(halving, "alpha")
    found = halving.cv_results_
    assert list(display.lines_) == [f"n_samples={n}" for n in halving.n_resources_]
    for i, line in enumerate(display.lines_.values()):
        inside = found["iter"] == i
        x = found["param_alpha"][inside].astype(float)
        best = [found["mean_test_score"][inside][x == a].max() for a in np.unique(x)]
        np.testing.assert_array_equal(line.get_xdata(), np.unique(x))
        np.testing.assert_array_equal(line.get_ydata(), best)
    assert display.best_.get_ydata()[0] == halving.best_score_
    assert display.note_ == "best over tol"


def test_tables_show_the_last_iteration_of_a_candidate(halving):
    display = SearchDisplay.from_search(halving)
    assert display.note_ == "each candidate in its last iteration"
    scores = {}
    for params, score in zip(
        halving.cv_results_["params"], halving.cv_results_["mean_test_score"], strict=True
    ):
        scores[params["alpha"], params["tol"]] = score
    expected = [[scores[a, tol] for a in np.logspace(-3, 3, 8)] for tol in (1e-4, 1e-3)]
    np.testing.assert_array_equal(display.image_.get_array(), expected)


def test_the_best_of_a_halving_search_is_that_of_its_last_iteration():
    found = results(
        [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}],
        lambda p: 1.0 / p["a"],
        iter=np.array([0, 0, 0, 1]),
        n_resources=np.array([10, 10, 10, 20]),
    )
    assert draw(found).best_.get_xdata() == [2]


# Candidates without a score


def test_a_candidate_without_a_score_is_a_gap_and_a_note():
    found = results({"a": [1, 2, 3, 4]})
    found["mean_test_score"][1] = np.nan
    display = draw(found)
    assert np.isnan(display.lines_["test"].get_ydata()).tolist() == [False, True, False, False]
    assert display.note_ == "1 of 4 without a score"
    crosses = [line for line in display.ax_.lines if line.get_marker() == "x"]
    np.testing.assert_array_equal(crosses[0].get_xdata(), [2])
    table = results({"a": [1, 2], "b": [1, 2]})
    table["mean_test_score"][0] = np.nan
    assert draw(table).texts_[0, 0].get_text() == "–"
    assert draw(table).image_.get_array().mask.sum() == 1


@pytest.mark.parametrize("grid", [{"a": [1, 2]}, {"a": [1, 2], "b": [1, 2]}], ids=["line", "table"])
def test_no_score_at_all_is_drawn_without_a_mark(grid):
    found = results(grid)
    found["mean_test_score"][:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        display = draw(found)
    assert display.best_ is None
    display.figure_.draw_without_rendering()


# The picture


def overlapping(boxes):
    boxes = [box for box in boxes if box.width and box.height]
    return [
        (i, j)
        for i, one in enumerate(boxes)
        for j, other in enumerate(boxes[:i])
        if one.shrunk(0.99, 0.9).overlaps(other.shrunk(0.99, 0.9))
    ]


@pytest.mark.parametrize(
    "grid",
    [
        {"a": np.logspace(-5, 5, 11)},
        {"a": [f"a long name {i}" for i in range(9)]},
        {"a": np.logspace(-5, 5, 11), "b": np.logspace(-5, 5, 11)},
        {"a": list(range(40)), "b": [f"a long name {i}" for i in range(40)]},
        {"a": [f"a long name {i}" for i in range(8)], "b": [1, 2]},
    ],
    ids=["numbers", "names", "table", "large table", "table of names"],
)
def test_labels_do_not_touch(grid):
    display = draw(results(grid))
    display.figure_.draw_without_rendering()
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        labels = [label for label in axis.get_ticklabels() if label.get_text()]
        if not labels or labels[0].get_rotation() == 0:
            assert overlapping([label.get_window_extent() for label in labels]) == []
    words = [text.get_window_extent() for text in display.texts_.values()]
    cells = display.ax_.get_window_extent()
    assert overlapping(words) == [] and all(cells.containsx(box.x0) for box in words)


def test_note_and_legend_stand_apart_from_the_axes():
    found = results({"a": [1, 2, 3], "b": list(range(9))})
    for size in ((3, 2), (6, 4), (8, 9)):
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        display = draw(found, "a", ax=ax)
        figure.draw_without_rendering()
        note = next(text for text in [*ax.texts, ax._left_title] if text.get_text())
        boxes = [note.get_window_extent(), ax.get_legend().get_window_extent()]
        assert overlapping([*boxes, ax.get_window_extent()]) == []
        assert display.ax_ is ax


def test_own_axes_and_styles_are_used():
    figure, ax = plt.subplots()
    display = draw(results({"a": [1, 2]}), ax=ax, line_kw={"c": "k", "lw": 3})
    line = display.lines_["test"]
    assert display.ax_ is ax and display.figure_ is figure
    assert (line.get_color(), line.get_linewidth()) == ("k", 3)
    table = draw(results({"a": [1, 2], "b": [1, 2]}), image_kw={"cmap": "magma", "vmin": 0.0})
    assert table.image_.get_cmap().name == "magma" and table.image_.norm.vmin == 0.0


def test_a_display_is_drawn_again():
    display = SearchDisplay(cv_results=results({"a": [1, 2], "b": [1, 2]}))
    assert not hasattr(display, "ax_")
    assert display.plot(params="a").kind_ == "line"
    assert display.plot().kind_ == "heatmap" and display.lines_ == {}


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "pie"}, "kind='pie' must be one of"),
        ({"others": "mean"}, "others='mean' must be one of"),
        ({"spread": "sem"}, "spread='sem' must be one of"),
        ({"params": "c"}, "params='c' was not searched: choose from 'a', 'b'"),
        ({"params": ["a", "a"]}, "must name one parameter, or two different ones"),
        ({"params": []}, "must name one parameter, or two different ones"),
        ({"params": "a", "kind": "heatmap"}, "kind='heatmap' does not go with 1 parameter"),
        ({"kind": "line"}, "kind='line' does not go with 2 parameter"),
        ({"scoring": "f1"}, "scoring='f1' was not computed"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        draw(results({"a": [1, 2], "b": [1, 2]}), **options)


def test_what_is_no_search_is_refused():
    with pytest.raises(NotFittedError):
        SearchDisplay.from_search(GridSearchCV(Ridge(), {"alpha": [1.0]}))
    with pytest.raises(ValueError, match="LinearRegression keeps no cv_results_"):
        SearchDisplay.from_search(LinearRegression().fit(X, Y))
    with pytest.raises(ValueError, match="must hold 'params' and 'mean_test_score'"):
        draw({"params": []})
    with pytest.raises(ValueError, match="no parameters"):
        draw(results([{}]))
    with pytest.raises(TypeError, match="ax must be a matplotlib Axes"):
        draw(results({"a": [1]}), ax=3)


def test_matplotlib_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"SearchDisplay.plot requires matplotlib: pip install"):
        SearchDisplay(cv_results=results({"a": [1]})).plot()
