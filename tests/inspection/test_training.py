"""The curves of a fit: they show the records as they are, and nothing else."""

import sys
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thetalearn import LinearRegressor, LogisticClassifier, PerceptronClassifier
from thetalearn.inspection.training import TrainingDisplay

#: Classes that no line separates, so that the perceptron goes on to make mistakes.
rng = np.random.RandomState(0)
X = rng.normal(size=(60, 2))
Y = (X[:, 0] + rng.normal(size=60) > 0).astype(int)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def network_history(n=60, best=40):
    """A fit that overfits after its best epoch, on a learning rate that falls on plateaus."""
    epochs = np.arange(1, n + 1)
    loss = 2 * np.exp(-epochs / 10) + 0.01
    return [
        {
            "iteration": int(epoch),
            "loss": float(fall),
            "validation_loss": float(fall + 0.001 * epoch),
            "validation_score": 0.9 - 1e-4 * float(epoch - best) ** 2,
            "learning_rate": 0.1 if epoch < best else 0.01,
            "seconds": 0.05 * float(epoch),
        }
        for epoch, fall in zip(epochs, loss, strict=True)
    ]


def without(history, *names):
    return [{k: v for k, v in record.items() if k not in names} for record in history]


def column(history, name):
    return [record[name] for record in history]


@pytest.mark.parametrize("x", ["iteration", "seconds"])
@pytest.mark.parametrize("loss_scale", ["auto", "linear", "log"])
def test_the_lines_are_the_records(x, loss_scale):
    history = network_history()
    display = TrainingDisplay(history=history).plot(x=x, loss_scale=loss_scale)
    names = ["loss", "validation_loss", "validation_score", "learning_rate"]
    assert set(display.lines_) == set(names)
    for name in names:
        np.testing.assert_array_equal(display.lines_[name].get_xdata(), column(history, x))
        np.testing.assert_array_equal(display.lines_[name].get_ydata(), column(history, name))
    drawn_on = {name: line.axes for name, line in display.lines_.items()}
    assert drawn_on["loss"] is drawn_on["validation_loss"] is display.ax_ is display.axes_["loss"]
    assert drawn_on["validation_score"] is display.axes_["score"]
    assert drawn_on["learning_rate"] is display.axes_["learning_rate"]
    assert len({id(ax) for ax in drawn_on.values()}) == 3


@pytest.mark.parametrize(
    ("x", "name"), [("iteration", "iteration"), ("iteration", "epoch"), ("seconds", "seconds")]
)
def test_the_x_axis_is_named_once(x, name):
    display = TrainingDisplay(history=network_history(), step_name=name).plot(x=x)
    assert display.axes_["learning_rate"].get_xlabel() == name
    assert display.ax_.get_xlabel() == "" and not any(
        label.get_visible() for label in display.ax_.get_xticklabels()
    )


def test_records_that_lack_a_score_are_left_out_of_its_line():
    history = network_history(10)
    for record in history[1::2]:
        del record["validation_score"]
    line = TrainingDisplay(history=history).plot().lines_["validation_score"]
    np.testing.assert_array_equal(line.get_xdata(), [1, 3, 5, 7, 9])
    np.testing.assert_array_equal(line.get_ydata(), column(history[::2], "validation_score"))


@pytest.mark.parametrize("x", ["iteration", "seconds"])
def test_the_best_iteration_is_marked(x):
    history = network_history(best=40)
    display = TrainingDisplay(history=history, step_name="epoch").plot(x=x)
    assert set(display.best_line_.get_xdata()) == {history[39][x]}
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["loss", "validation loss", "validation score", "best epoch: 40"]


def test_of_equal_scores_the_first_is_best_and_none_that_is_not_a_number():
    # Early stopping keeps an iteration only if it is strictly better than those before.
    history = network_history(5)
    for record, score in zip(history, [np.nan, 0.5, 0.9, 0.9, np.nan], strict=True):
        record["validation_score"] = score
    assert set(TrainingDisplay(history=history).plot().best_line_.get_xdata()) == {3}
    for record in history:
        record["validation_score"] = np.nan
    assert TrainingDisplay(history=history).plot().best_line_ is None


def test_without_validation_nothing_is_marked():
    history = without(network_history(), "validation_score", "validation_loss", "learning_rate")
    display = TrainingDisplay(history=history).plot()
    assert display.best_line_ is None and set(display.axes_) == {"loss"}
    assert display.ax_.get_legend() is None and len(display.figure_.axes) == 1


def test_scores_alone_have_the_axes_to_themselves():
    history = without(network_history(), "loss", "validation_loss", "learning_rate")
    display = TrainingDisplay(history=history).plot()
    assert display.axes_ == {"score": display.ax_} and display.figure_.axes == [display.ax_]


def test_a_constant_learning_rate_is_not_drawn():
    history = [{**record, "learning_rate": 0.1} for record in network_history()]
    display = TrainingDisplay(history=history).plot()
    assert "learning_rate" not in display.axes_ and "learning_rate" not in display.lines_


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([1.0, 0.5, 0.1], "linear"),  # a decade and no more
        ([1.0, 0.5, 0.09], "log"),
        ([1.0, 0.5, 0.0], "linear"),
        ([1.0, 0.01, -0.5], "linear"),
        ([np.inf, 1.0, 0.01], "log"),
        ([np.nan, 1.0, 0.5], "linear"),
    ],
)
def test_the_scale_of_the_loss(losses, scale):
    history = [{"iteration": i, "loss": loss} for i, loss in enumerate(losses, 1)]
    assert TrainingDisplay(history=history).plot().ax_.get_yscale() == scale
    for asked in ("linear", "log"):
        display = TrainingDisplay(history=history).plot(loss_scale=asked)
        assert display.ax_.get_yscale() == asked


def test_axes_that_are_given_are_drawn_on():
    figure, axes = plt.subplots(1, 2)
    display = TrainingDisplay(history=network_history()).plot(axes[1])
    assert display.ax_ is axes[1] and display.figure_ is figure
    left, right = axes[0].get_position(), display.axes_["learning_rate"].get_position()
    assert right.y0 == pytest.approx(left.y0) and right.x0 > left.x1
    assert display.ax_.get_position().y0 > right.y1


def test_axes_without_a_grid_give_up_their_lower_part():
    ax = plt.figure().add_axes((0.2, 0.3, 0.5, 0.4))
    panel = TrainingDisplay(history=network_history()).plot(ax).axes_["learning_rate"]
    assert panel.get_position().p0 == pytest.approx([0.2, 0.3])
    assert ax.get_position().p1 == pytest.approx([0.7, 0.7])
    assert panel.get_position().y1 < ax.get_position().y0


@pytest.mark.parametrize("size", [(6.4, 4.8), (4, 3.5), (11, 5)])
@pytest.mark.parametrize("loss_scale", ["linear", "log"])
def test_labels_do_not_overlap(size, loss_scale):
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    display = TrainingDisplay(history=network_history()).plot(ax, loss_scale=loss_scale)
    figure.canvas.draw()
    axes = display.axes_.values()
    boxes = [ax.get_legend().get_window_extent()]
    boxes += [one.yaxis.label.get_window_extent() for one in axes]
    boxes += [display.axes_["learning_rate"].xaxis.label.get_window_extent()]
    for one in axes:
        low, high = sorted(one.get_ylim())
        ticks = zip(one.get_yticks(), one.get_yticklabels(), strict=True)
        boxes += [t.get_window_extent() for y, t in ticks if low <= y <= high and t.get_text()]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(figure.bbox.x0 <= b.x0 and b.x1 <= figure.bbox.x1 for b in boxes)


def test_line_kw_goes_to_every_line_under_either_name():
    display = TrainingDisplay(history=network_history()).plot(line_kw={"lw": 3, "c": "k"})
    assert {line.get_linewidth() for line in display.lines_.values()} == {3}
    assert {line.get_color() for line in display.lines_.values()} == {"k"}


def test_a_classifier_fitted_by_newton():
    model = LogisticClassifier().fit(X, Y)
    display = TrainingDisplay.from_estimator(model)
    assert isinstance(display, TrainingDisplay)
    np.testing.assert_array_equal(
        display.lines_["loss"].get_ydata(), column(model.history_, "loss")
    )
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("iteration", "loss")
    assert set(display.lines_) == {"loss"}  # the gradient's norm is another quantity


def test_a_model_with_a_loss_curve_counts_epochs():
    model = LogisticClassifier().fit(X, Y)
    model.loss_curve_ = column(model.history_, "loss")
    assert TrainingDisplay.from_estimator(model).ax_.get_xlabel() == "epoch"


@pytest.mark.filterwarnings("ignore::thetalearn.exceptions.ConvergenceWarning")
def test_models_without_a_loss_show_their_own_measures():
    model = PerceptronClassifier(max_iter=5, random_state=0).fit(X, Y)
    display = TrainingDisplay.from_estimator(model)
    for name in ("mistakes", "errors"):
        np.testing.assert_array_equal(
            display.lines_[name].get_ydata(), column(model.history_, name)
        )
    assert display.ax_.get_ylabel() == "mistakes, errors"
    lasso = LinearRegressor(alpha=0.1, l1_ratio=1.0).fit(X, X @ np.ones((2, 3)))
    gaps = TrainingDisplay.from_estimator(lasso).lines_["dual_gap"].get_ydata()
    np.testing.assert_array_equal(gaps, column(lasso.history_, "dual_gap"))
    plugin = [{"iteration": i, "evidence_bound": -1.0 / i, "seconds": 0.1} for i in range(1, 4)]
    assert set(TrainingDisplay(history=plugin).plot().lines_) == {"evidence_bound"}


def test_pipelines_and_searches_are_looked_into():
    pipe = make_pipeline(StandardScaler(), LogisticClassifier()).fit(
        *load_breast_cancer(return_X_y=True)
    )
    assert TrainingDisplay.from_estimator(pipe).history is pipe[-1].history_
    search = GridSearchCV(pipe, {"logisticclassifier__alpha": [0.01, 0.1]}, cv=2).fit(X, Y)
    assert TrainingDisplay.from_estimator(search).history is search.best_estimator_[-1].history_
    inside = make_pipeline(StandardScaler(), GridSearchCV(LogisticClassifier(), {"alpha": [1.0]}))
    inside.fit(X, Y)
    expected = inside[-1].best_estimator_.history_
    assert TrainingDisplay.from_estimator(inside).history is expected


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticClassifier(),
        make_pipeline(StandardScaler(), LogisticClassifier()),
        GridSearchCV(LogisticClassifier(), {"alpha": [1.0]}),
    ],
)
def test_an_estimator_must_be_fitted(estimator):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        TrainingDisplay.from_estimator(estimator)


def test_an_estimator_must_keep_a_history():
    with pytest.raises(ValueError, match=r"LinearRegression keeps no history_.*LogisticClassifier"):
        TrainingDisplay.from_estimator(make_pipeline(LinearRegression()).fit(X, Y))
    search = GridSearchCV(LogisticClassifier(), {"alpha": [1.0]}, refit=False).fit(X, Y)
    with pytest.raises(ValueError, match=r"GridSearchCV keeps no history_.*refit=True"):
        TrainingDisplay.from_estimator(search)
    with pytest.raises(ValueError, match=r"history_ of LinearRegressor is empty.*no iterations"):
        TrainingDisplay.from_estimator(LinearRegressor().fit(X, Y))
    with pytest.raises(TypeError, match="class"):
        TrainingDisplay.from_estimator(LogisticClassifier)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": "epoch"}, "x='epoch' must be one of 'iteration', 'seconds'"),
        ({"loss_scale": "sqrt"}, "loss_scale='sqrt' must be one of 'auto', 'linear', 'log'"),
    ],
)
def test_options_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingDisplay(history=network_history()).plot(**arguments)
    with pytest.raises(ValueError, match=message):
        TrainingDisplay.from_estimator(LogisticClassifier().fit(X, Y), **arguments)
    assert not plt.get_fignums()


@pytest.mark.parametrize("ax", [[1], "axes", np.array([None])])
def test_axes_must_be_axes(ax):
    message = f"ax must be a matplotlib Axes or None, not {type(ax).__name__}"
    with pytest.raises(TypeError, match=message):
        TrainingDisplay(history=network_history()).plot(ax)


@pytest.mark.parametrize(
    ("history", "x", "message"),
    [
        ([], "iteration", "no losses, scores or other"),
        ([{"iteration": 1, "seconds": 0.1, "learning_rate": 0.1}], "iteration", "no losses"),
        ([{"loss": 1.0}], "iteration", "each record of history needs the key 'iteration'"),
        ([{"iteration": 1, "loss": 1.0}], "seconds", "needs the key 'seconds'"),
    ],
)
def test_histories_that_cannot_be_drawn(history, x, message):
    with pytest.raises(ValueError, match=message):
        TrainingDisplay(history=history).plot(x=x)
    assert not plt.get_fignums()


def test_matplotlib_is_asked_for(monkeypatch):
    model = LogisticClassifier().fit(X, Y)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"TrainingDisplay.from_estimator requires matplotlib"):
        TrainingDisplay.from_estimator(model)
    with pytest.raises(ImportError, match=r"plot requires matplotlib.*'thetalearn\[plot\]'"):
        TrainingDisplay(history=model.history_).plot()
