"""Displays of dynamic models: they show what the estimator says, where the model has states."""

import sys
import warnings
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from thetalearn.dynamics.model import DynamicModel
from thetalearn.dynamics.models.growth import make_brock_mirman, make_leisure_growth
from thetalearn.dynamics.shocks import AR1, LogNormal, MarkovChain, NoShocks, Product, Uniform
from thetalearn.dynamics.simulate import simulate
from thetalearn.estimators.euler import EulerApproximator
from thetalearn.inspection.dynamics import (
    ImpulseResponseDisplay,
    PathDisplay,
    PolicyDisplay,
    ResidualDisplay,
    ValueDisplay,
)

ALPHA, BETA, RHO, SIGMA = 0.36, 0.96, 0.9, 0.04

DISPLAYS = [PolicyDisplay, ValueDisplay, ResidualDisplay, PathDisplay, ImpulseResponseDisplay]


class Solved(BaseEstimator):
    """What an estimator shows of itself, given the functions that it would have learnt."""

    def __init__(self, model, policy, start, residuals=None, nodes=None):
        self.model = model
        self.policy = policy
        self.residuals = residuals
        self.start = start
        self.model_ = model
        self.nodes_ = np.array([start] if nodes is None else nodes)

    def fit(self, X=None, y=None):
        return self

    def value(self, X):
        return self.policy(X).sum(axis=-1)

    def simulate(self, start=None, n_periods=100, n_paths=1, random_state=None):
        first = torch.tensor(self.start if start is None else start, dtype=torch.float64)
        paths = simulate(
            self.model_,
            lambda s: torch.from_numpy(self.policy(s.numpy()).reshape(len(s), -1)),
            first.expand(n_paths, -1).clone(),
            n_periods,
            np.random.RandomState(random_state),
        )
        return tuple(x.transpose(0, 1).numpy() for x in (paths.states, paths.actions))


def exactly(model, **given):
    """The estimator that knows the exact solution."""
    policy = model.exact("policy")
    return Solved(
        model,
        lambda X: policy(torch.from_numpy(np.asarray(X))).numpy(),
        model.steady_guess()[0].tolist(),
        **given,
    )


def wave(X):
    """Two errors that differ in size and sign."""
    return np.stack([1e-3 * np.sin(9 * X[:, 0]), -1e-5 * np.cos(5 * X[:, 1])], 1)


NODES = np.array([[0.15, -0.2], [0.15, 0.2], [0.25, -0.2], [0.25, 0.2]])
GROWTH = exactly(make_brock_mirman(), residuals=wave, nodes=NODES)
LEISURE = exactly(make_leisure_growth(), residuals=wave)


def income_transition(s, a, e):
    return 1.02 * (s[:, 0] - a[:, 0]) + e[:, 0] * e[:, 1], e[:, 0]


def on_the_chain(X):
    assert set(np.unique(X[:, 1])) <= {0.5, 0.8, 1.5}
    return np.minimum(X[:, 0], 0.2 * X[:, 0] + 0.5 * X[:, 1])


#: Income is a finite chain, between whose values there are no states.
INCOME = Solved(
    DynamicModel(
        reward=lambda s, a: a[:, 0].log(),
        transition=income_transition,
        discount=0.9,
        state_bounds=[(0.1, 10.0), (0.5, 1.5)],
        action_bounds=lambda s: (0.01, s[:, 0]),
        shocks=Product(
            MarkovChain(np.full((3, 3), 1 / 3), [0.5, 0.8, 1.5], state=1),
            LogNormal(scale=0.2, unit_mean=True),
        ),
        state_names=("wealth", "income"),
        action_names=("consumption",),
    ),
    on_the_chain,
    [2.0, 0.8],
    residuals=lambda X: 1e-3 * np.sin(X[:, 0]) * X[:, 1],
    nodes=[[1.0, 0.5], [5.0, 0.5], [1.0, 1.5], [5.0, 1.5]],
)


@pytest.fixture(scope="module")
def fitted():
    return EulerApproximator(make_leisure_growth(), degree=2, random_state=0).fit()


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def names_in(legend):
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(
    ("states", "column"), [(None, 0), ("k", 0), ("z", 1), (1, 1), (["z"], 1), (np.int64(1), 1)]
)
def test_a_policy_is_drawn_along_a_state_through_the_steady_state(states, column):
    display = PolicyDisplay.from_estimator(LEISURE, states=states, n_points=30)
    X = np.tile(LEISURE.start, (30, 1))
    X[:, column] = display.lines_["c"][0].get_xdata()
    bounds = LEISURE.model_.bounds[column].tolist()
    assert X[[0, -1], column].tolist() == bounds == list(display.ax_.get_xlim())
    assert list(display.axes_) == ["c", "x"] and display.legend_ is None
    for j, name in enumerate(display.axes_):
        (line,) = display.lines_[name]
        np.testing.assert_array_equal(line.get_ydata(), LEISURE.policy(X)[:, j])
        assert display.axes_[name].get_ylabel() == name
        held = "z = 0" if column == 0 else "k = 1.94"
        assert display.axes_[name].get_xlabel() == f"{'kz'[column]}  (at {held})"


def test_a_second_state_gives_a_curve_for_each_of_its_values():
    display = ValueDisplay.from_estimator(GROWTH, states=["z", "k"], levels=[0.1, 0.2, 0.3, 0.4])
    for level, line in zip([0.1, 0.2, 0.3, 0.4], display.lines_, strict=True):
        X = np.stack([np.full(200, level), line.get_xdata()], 1)
        np.testing.assert_array_equal(line.get_ydata(), GROWTH.value(X))
    assert names_in(display.legend_) == [f"k = {level}" for level in (0.1, 0.2, 0.3, 0.4)]
    assert len({line.get_color() for line in display.lines_}) == 4
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("z", "value")


def test_levels_lie_within_the_bounds_and_have_short_names():
    display = PolicyDisplay.from_estimator(GROWTH, states=[0, 1])
    low, high = GROWTH.model_.bounds[1].tolist()
    levels = display.states.across.values
    assert low < levels[0] < levels[1] == 0 < levels[2] < high
    assert names_in(display.legend_) == ["z = -0.294", "z = 0", "z = 0.294"]


@pytest.mark.parametrize("at", [{"z": 0.2}, [7.0, 0.2], np.array([7.0, 0.2])])
def test_other_states_are_where_they_are_told_to_be(at):
    display = ValueDisplay.from_estimator(GROWTH, at=at)
    X = np.stack([display.lines_[0].get_xdata(), np.full(200, 0.2)], 1)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), GROWTH.value(X))
    assert display.ax_.get_xlabel() == "k  (at z = 0.2)"


def test_the_exact_solution_is_dashed_and_named_once():
    display = PolicyDisplay.from_estimator(LEISURE, states=[0, 1], reference="exact")
    for name, lines in display.lines_.items():
        assert len(lines) == len(display.reference_lines_[name]) == 3
        for line, dashed in zip(lines, display.reference_lines_[name], strict=True):
            np.testing.assert_array_equal(line.get_ydata(), dashed.get_ydata())
            assert dashed.is_dashed() and not line.is_dashed()
    assert names_in(display.legend_) == ["z = -0.256", "z = 0", "z = 0.256", "exact"]
    alone = ValueDisplay.from_estimator(GROWTH, reference="exact")
    assert names_in(alone.legend_) == ["approximation", "exact"]
    exact = GROWTH.model_.exact("value")(torch.from_numpy(alone.states.states()[0]))
    np.testing.assert_array_equal(alone.reference_lines_[0].get_ydata(), exact.numpy())


def test_a_reference_can_be_any_function_of_states():
    display = PolicyDisplay.from_estimator(LEISURE, reference=lambda X: 2 * LEISURE.policy(X))
    for name, (line,) in display.lines_.items():
        (dashed,) = display.reference_lines_[name]
        np.testing.assert_array_equal(dashed.get_ydata(), 2 * line.get_ydata())
    assert names_in(display.legend_) == ["approximation", "reference"]


@pytest.mark.parametrize("actions", ["x", 1, ["x"], [1]])
def test_actions_can_be_chosen(actions):
    display = PolicyDisplay.from_estimator(LEISURE, actions=actions, reference="exact")
    assert list(display.axes_) == ["x"] and list(display.reference_lines_) == ["x"]
    share = LEISURE.policy(np.array([LEISURE.start]))[0, 1]
    np.testing.assert_allclose(display.lines_["x"][0].get_ydata(), share, rtol=1e-14)
    low, high = display.ax_.get_ylim()
    assert low < 0.96 * share and high > 1.04 * share  # rounding errors do not fill the panel


def test_a_wide_state_in_logarithms_has_a_logarithmic_axis():
    wide = PolicyDisplay.from_estimator(LEISURE)
    assert {axes.get_xscale() for axes in wide.axes_.values()} == {"log"}
    ratios = wide.states.along.values[1:] / wide.states.along.values[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)
    assert PolicyDisplay.from_estimator(GROWTH).ax_.get_xscale() == "linear"
    assert ResidualDisplay.from_estimator(LEISURE, states=["z", "k"]).ax_.get_yscale() == "log"


def test_a_finite_chain_is_drawn_at_its_values_only():
    display = PolicyDisplay.from_estimator(INCOME, states=["wealth", "income"])
    assert names_in(display.legend_) == ["income = 0.5", "income = 0.8", "income = 1.5"]
    display = PolicyDisplay.from_estimator(INCOME, states="income")
    line = display.lines_["consumption"][0]
    assert list(line.get_xdata()) == [0.5, 0.8, 1.5] == list(display.ax_.get_xticks())
    assert line.get_marker() == "o"
    assert PolicyDisplay.from_estimator(INCOME).ax_.get_xlabel() == "wealth  (at income = 0.8)"


def test_of_many_values_of_a_chain_a_few_are_drawn():
    values = np.linspace(0, 1, 11)
    model = DynamicModel(
        reward=lambda s, a: -(a[:, 0] ** 2),
        transition=lambda s, a, e: (e[:, 0], 0.5 * s[:, 1]),
        discount=0.9,
        state_bounds=[(0, 1), (0, 1)],
        shocks=MarkovChain(np.eye(11), values, state=0),
    )
    solved = Solved(model, lambda X: X.sum(1), [0.0, 0.5])
    assert PolicyDisplay.from_estimator(solved).states.along.name == "x1"
    across = PolicyDisplay.from_estimator(solved, states=["x1", "x0"]).states.across
    assert set(across.values) <= set(values) and across.values[[0, -1]].tolist() == [0, 1]
    assert len(across.values) == 5


def test_a_map_shows_the_largest_error_and_the_nodes():
    display = ResidualDisplay.from_estimator(GROWTH, n_points=12)
    k, z = display.states.along.values, display.states.across.values
    X = np.stack(np.meshgrid(k, z), -1).reshape(-1, 2)
    shown = np.log10(np.abs(wave(X)).max(1)).reshape(12, 12)
    np.testing.assert_allclose(display.mesh_.get_array(), shown, rtol=1e-12)
    np.testing.assert_array_equal(display.node_marks_.get_xydata(), NODES)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("k", "z")
    assert "log10" in display.colorbar_.ax.get_ylabel() and names_in(display.legend_) == ["nodes"]
    assert display.mesh_.get_cmap().name == "viridis"
    assert display.lines_ == [] and display.target_line_ is None


@pytest.mark.parametrize("equation", [0, 1])
def test_an_equation_can_be_chosen(equation):
    display = ResidualDisplay.from_estimator(GROWTH, states="k", equation=equation)
    X = display.states.states()[0]
    shown = np.maximum(np.abs(wave(X))[:, equation], 1e-16)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), shown)


@pytest.mark.parametrize("target", [1e-4, 1.0])
def test_a_curve_of_errors_has_its_nodes_and_its_target(target):
    display = ResidualDisplay.from_estimator(GROWTH, states="z", target=target)
    assert display.ax_.get_yscale() == "log" and display.mesh_ is display.colorbar_ is None
    assert list(display.node_marks_.get_xdata()) == [-0.2, 0.2]
    assert set(display.target_line_.get_ydata()) == {target} and display.ax_.get_ylim()[1] > target
    assert names_in(display.legend_) == ["nodes", f"target {target:.0e}"]


def test_errors_that_vanish_leave_a_scale():
    nothing = exactly(make_brock_mirman(), residuals=lambda X: 0 * X)
    display = ResidualDisplay.from_estimator(nothing)
    assert display.mesh_.get_clim() == pytest.approx((-16, -15))
    assert ResidualDisplay.from_estimator(nothing, states=0).ax_.get_ylim()[0] > 0


@pytest.mark.parametrize("states", [None, ["wealth", "income"], ["income", "wealth"]])
def test_errors_of_a_chain_are_curves(states):
    display = ResidualDisplay.from_estimator(INCOME, states=states)
    assert display.ax_.get_xlabel() == "wealth" and len(display.lines_) == 3
    assert list(display.node_marks_.get_xdata()) == [1, 5]


def test_few_paths_are_drawn_one_by_one():
    display = PathDisplay.from_estimator(LEISURE, n_paths=4, n_periods=15, random_state=1)
    states, actions = LEISURE.simulate(n_paths=4, n_periods=15, random_state=1)
    columns = np.concatenate([states[:, :-1], actions], 2)
    assert list(display.axes_) == ["k", "z", "c", "x"] and display.bands_ == {}
    assert display.legend_ is None
    for j, lines in enumerate(display.lines_.values()):
        shown = np.stack([line.get_ydata()[:15] for line in lines])
        np.testing.assert_array_equal(shown, columns[:, :, j])
        assert lines[0].get_xdata()[0] == 0


def test_many_paths_are_a_median_and_a_band():
    display = PathDisplay.from_estimator(GROWTH, n_paths=11, n_periods=20, random_state=0)
    paths = GROWTH.simulate(n_paths=11, n_periods=20, random_state=0)[0][:, :, 1]
    middle, single = display.lines_["z"]
    np.testing.assert_array_equal(middle.get_ydata(), np.median(paths, axis=0))
    np.testing.assert_array_equal(single.get_ydata(), paths[0])
    corners = display.bands_["z"].get_paths()[0].vertices
    for share in (0.1, 0.9):
        edge = np.stack([np.arange(21), np.quantile(paths, share, axis=0)], 1)
        assert all(np.isclose(corners, point).all(1).any() for point in edge)
    assert names_in(display.legend_) == ["median", "10% to 90% of 11 paths", "one path"]


def test_bounds_are_drawn_where_paths_come_to_them():
    paths = {"k": np.array([[1.0, 2.0, 3.1]]), "c": np.array([[1.0, 2.0]])}
    display = PathDisplay(paths=paths, bounds={"k": (0.0, 3.0)}).plot()
    assert [set(line.get_ydata()) for line in display.bound_lines_] == [{3.0}]
    assert display.bound_lines_[0].axes is display.axes_["k"]
    assert names_in(display.legend_) == ["bound"]
    assert PathDisplay.from_estimator(INCOME, n_periods=5, start=[2, 0.5]).bounds == {
        "wealth": (0.1, 10.0)
    }


def test_variables_can_be_chosen_by_name_or_place():
    display = PathDisplay.from_estimator(LEISURE, variables=["c", 0], n_periods=3)
    assert list(display.axes_) == ["c", "k"]
    display = ImpulseResponseDisplay.from_estimator(LEISURE, variables="z", n_periods=3)
    assert list(display.axes_) == ["z"]


def test_an_action_may_have_the_name_of_a_state():
    model = DynamicModel(
        reward=lambda s, a: -(a[:, 0] ** 2),
        transition=lambda s, a, e: a,
        discount=0.9,
        state_bounds=[(0, 1)],
        state_names=["k"],
        action_names=["k"],
    )
    display = PathDisplay.from_estimator(Solved(model, lambda X: X / 2, [1.0]), n_periods=3)
    assert list(display.axes_) == ["k", "k (action)"]


@pytest.mark.parametrize("size", [1.0, -2.0, 0.0])
def test_impulse_responses_of_a_log_linear_model(size):
    # ln k' = constant + alpha ln k + z and ln c = constant + alpha ln k + z.
    display = ImpulseResponseDisplay.from_estimator(GROWTH, size=size, n_periods=12)
    z = size * SIGMA * RHO ** np.arange(13)
    k = np.zeros(13)
    for t in range(12):
        k[t + 1] = ALPHA * k[t] + z[t]
    exact = {"k": 100 * np.expm1(k), "z": z, "c": 100 * np.expm1(ALPHA * k + z)}
    assert display.units == {"k": "%", "z": "difference", "c": "%"}
    for name, response in exact.items():
        line = display.lines_[name]
        assert list(line.get_xdata()) == list(range(13))
        # Errors of rounding in states of size one, in percent.
        np.testing.assert_allclose(line.get_ydata(), response, rtol=0, atol=1e-12)
        assert display.axes_[name].get_ylabel() == f"{name} ({display.units[name]})"


def test_in_a_log_linear_model_the_start_does_not_matter():
    here = ImpulseResponseDisplay.from_estimator(GROWTH, n_periods=5)
    there = ImpulseResponseDisplay.from_estimator(GROWTH, n_periods=5, start=[0.3, 0.2])
    for name, response in here.responses.items():
        np.testing.assert_allclose(response, there.responses[name], rtol=0, atol=1e-12)


def test_chains_stay_where_they_are_and_log_normal_shocks_move_in_logarithms():
    display = ImpulseResponseDisplay.from_estimator(INCOME, shock=1, size=-1.5, n_periods=3)
    assert set(display.responses["income"]) == {0.0}
    first = 0.8 * np.expm1(-1.5 * 0.2)
    slope = 1.02 * (1 - 0.2)
    wealth = first * slope ** np.arange(4)
    np.testing.assert_allclose(display.responses["wealth"], wealth, rtol=1e-12)


def test_the_size_is_in_standard_deviations_of_any_distribution():
    model = DynamicModel(
        reward=lambda s, a: -(a[:, 0] ** 2),
        transition=lambda s, a, e: e,
        discount=0.9,
        state_bounds=[(-1, 1), (-1, 1)],
        shocks=Product(AR1(0.5, 0.3, state=0), Uniform(0.0, 1.0)),
    )
    solved = Solved(model, lambda X: X[:, :1], [0.0, 0.5])
    for shock, deviation, decay in ((0, 0.3, 0.5), (1, 12**-0.5, 0.0)):
        display = ImpulseResponseDisplay.from_estimator(solved, shock=shock, size=2, n_periods=2)
        expected = 2 * deviation * decay ** np.arange(3)
        np.testing.assert_allclose(display.responses[f"x{shock}"], expected, atol=1e-14)
        assert not display.responses[f"x{1 - shock}"].any()


def test_what_does_not_respond_has_a_flat_line():
    display = ImpulseResponseDisplay.from_estimator(LEISURE, variables="x")
    assert np.abs(display.responses["x"]).max() < 1e-14  # leisure is constant
    assert display.ax_.get_ylim() == (-1e-6, 1e-6)


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_fitted_estimator_is_drawn(fitted, display):
    assert isinstance(display.from_estimator(fitted), display)


def test_the_policy_of_an_estimator_is_what_it_says(fitted):
    display = PolicyDisplay.from_estimator(fitted, reference="exact")
    X = display.states.states()[0]
    np.testing.assert_array_equal(display.actions[0], fitted.policy(X))
    # The policy is linear in the coordinates of the model, hence exact at any degree.
    np.testing.assert_allclose(display.actions, display.reference, rtol=1e-9)


def test_an_estimator_fitted_on_a_data_frame_does_not_warn():
    model = make_brock_mirman()
    rng = np.random.RandomState(0)
    low, high = model.bounds.numpy().T
    frame = pd.DataFrame(low + (high - low) * rng.rand(30, 2), columns=["k", "z"])
    estimator = EulerApproximator(
        model, degree=1, objective="least_squares", solver="gauss_newton", random_state=0
    ).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        PolicyDisplay.from_estimator(estimator)
        ResidualDisplay.from_estimator(estimator)
        ImpulseResponseDisplay.from_estimator(estimator)


def test_each_period_of_a_horizon_has_its_own_policy():
    class Finite(Solved):
        def __init__(self, model):
            super().__init__(model, self.share, [4.0])

        def share(self, X, period=0):
            return X[:, 0] / (3 - period)

    model = DynamicModel(
        reward=lambda s, a: a[:, 0].log(),
        transition=lambda s, a, e: s - a + e,
        discount=1.0,
        horizon=3,
        state_bounds=[(1.0, 9.0)],
        shocks=Uniform(-0.5, 0.5),
    )
    for period, name in ((None, 0), (1, 1), (2, 2)):
        display = PolicyDisplay.from_estimator(Finite(model), period=period)
        line = display.lines_["a0"][0]
        np.testing.assert_array_equal(line.get_ydata(), line.get_xdata() / (3 - name))
    display = ImpulseResponseDisplay.from_estimator(Finite(model), size=12**0.5)
    np.testing.assert_allclose(display.responses["x0"], [1.0, 0.5])
    np.testing.assert_allclose(display.responses["a0"], [0.5, 0.5])
    with pytest.raises(ValueError, match="period=3 must be one of the 3 periods, from 0"):
        PolicyDisplay.from_estimator(Finite(model), period=3)
    with pytest.raises(ValueError, match="period=1 must be None, as the model has no horizon"):
        ValueDisplay.from_estimator(GROWTH, period=1)


def test_the_best_estimator_of_a_search_is_drawn():
    search = BaseEstimator()
    search.best_estimator_ = GROWTH
    assert isinstance(PolicyDisplay.from_estimator(search), PolicyDisplay)


def labels_of(figure):
    """Boxes of everything that is written in a figure."""
    boxes = [legend.get_window_extent() for legend in figure.legends]
    for ax in figure.axes:
        boxes += [ax.get_legend().get_window_extent()] if ax.get_legend() else []
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            ticks = [t for t in axis.get_major_ticks() if limits[0] <= t.get_loc() <= limits[1]]
            texts = [axis.label, *(tick.label1 for tick in ticks)]
            boxes += [t.get_window_extent() for t in texts if t.get_text() and t.get_visible()]
    return boxes


@pytest.mark.parametrize(
    "draw",
    [
        lambda: PolicyDisplay.from_estimator(LEISURE, states=[0, 1], reference="exact"),
        lambda: PolicyDisplay.from_estimator(INCOME, states=[0, 1]),
        lambda: ResidualDisplay.from_estimator(GROWTH),
        lambda: ResidualDisplay.from_estimator(INCOME),
        lambda: PathDisplay.from_estimator(LEISURE, n_periods=30),
        lambda: ImpulseResponseDisplay.from_estimator(LEISURE),
    ],
    ids=["policy", "chain", "map", "curves", "paths", "responses"],
)
def test_labels_do_not_overlap(draw):
    figure = draw().figure_
    figure.canvas.draw()
    boxes = labels_of(figure)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(figure.bbox.x0 <= b.x0 and b.x1 <= figure.bbox.x1 for b in boxes)


def test_axes_that_are_given_are_drawn_on():
    figure, axes = plt.subplots(1, 3)
    display = PolicyDisplay.from_estimator(LEISURE, ax=axes[:2])
    assert list(display.axes_.values()) == list(axes[:2]) and display.figure_ is figure
    assert ValueDisplay.from_estimator(GROWTH, ax=axes[2]).ax_ is axes[2]
    # Axes that are not alone in their figure keep the legend to themselves.
    display = PolicyDisplay.from_estimator(GROWTH, states=[0, 1], ax=axes[2])
    assert axes[2].get_legend() is display.legend_ and figure.legends == []


def test_line_kw_goes_to_every_line_under_either_name():
    display = PolicyDisplay.from_estimator(LEISURE, states=[0, 1], line_kw={"lw": 3})
    assert {line.get_linewidth() for lines in display.lines_.values() for line in lines} == {3}
    display = ImpulseResponseDisplay.from_estimator(GROWTH, line_kw={"c": "k"})
    assert {line.get_color() for line in display.lines_.values()} == {"k"}


@pytest.mark.parametrize("display", DISPLAYS)
def test_an_estimator_must_be_fitted_and_dynamic(display):
    with pytest.raises(NotFittedError):
        display.from_estimator(EulerApproximator())
    other = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(ValueError, match=f"LinearRegression has no .*: {display.__name__} draws"):
        display.from_estimator(other)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"states": "q"}, "states='q' holds 'q', which is none of the 2 there are: k, z"),
        ({"states": 2}, "states=2 holds 2"),
        ({"states": -1}, "states=-1 holds -1"),
        ({"states": []}, r"states=\[\] must name one or more"),
        ({"states": ["k", 0]}, "each of them once"),
        ({"levels": [0.1]}, "levels are values of a second state: name two states"),
        ({"at": {"q": 1.0}}, "at='q' holds 'q'"),
        ({"at": [1.0]}, r"at of shape \(1,\) must hold one value for each of the states k, z"),
        ({"n_points": 1}, "n_points=1 must be 2 or more"),
        ({"actions": "z"}, "actions='z' holds 'z', which is none of the 1 there are: c"),
        ({"reference": "truth"}, "reference='truth' must be \"exact\", a function"),
    ],
)
def test_options_of_a_policy_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        PolicyDisplay.from_estimator(GROWTH, **arguments)
    assert not plt.get_fignums()


def test_more_than_two_states_are_too_many():
    model = DynamicModel(
        reward=lambda s, a: -(a[:, 0] ** 2),
        transition=lambda s, a, e: s,
        discount=0.9,
        state_bounds=[(0, 1)] * 4,
    )
    solved = Solved(model, lambda X: X[:, :1], [0.5] * 4, residuals=lambda X: X[:, :1])
    with pytest.raises(ValueError, match="must name one or two states, not 3"):
        PolicyDisplay.from_estimator(solved, states=[0, 1, 2])
    assert PolicyDisplay.from_estimator(solved).ax_.get_xlabel() == "x0  (at others fixed)"
    mapped = ResidualDisplay.from_estimator(solved, n_points=5)
    assert mapped.ax_.get_xlabel() == "x0  (at x2 = 0.5, x3 = 0.5)"


def test_what_is_not_known_is_not_drawn():
    with pytest.raises(ValueError, match="exact policy of the model, which is not known"):
        PolicyDisplay.from_estimator(INCOME, reference="exact")
    with pytest.raises(ValueError, match="equation=2 holds 2"):
        ResidualDisplay.from_estimator(GROWTH, equation=2)
    with pytest.raises(ValueError, match=r"variables='q' holds 'q'.*: k, z, c"):
        PathDisplay.from_estimator(GROWTH, variables="q")


def test_shocks_must_exist_and_vary():
    with pytest.raises(ValueError, match="shock=1 holds 1, which is none of the 1 there are: 0"):
        ImpulseResponseDisplay.from_estimator(GROWTH, shock=1)
    with pytest.raises(ValueError, match="shock=0 is a finite chain"):
        ImpulseResponseDisplay.from_estimator(INCOME, shock=0)
    with pytest.raises(ValueError, match="shock=0 has no variance"):
        ImpulseResponseDisplay.from_estimator(exactly(make_brock_mirman(sigma=0.0)))
    still = DynamicModel(
        reward=lambda s, a: -(a[:, 0] ** 2),
        transition=lambda s, a, e: s,
        discount=0.9,
        state_bounds=[(0, 1)],
        shocks=NoShocks(),
    )
    with pytest.raises(ValueError, match="shock=0 holds 0, which is none of the 0 there are: none"):
        ImpulseResponseDisplay.from_estimator(Solved(still, lambda X: X, [0.5]))
    with pytest.raises(ValueError, match=r"start of shape \(1, 2\)"):
        ImpulseResponseDisplay.from_estimator(GROWTH, start=[[0.2, 0.0]])


def test_axes_must_be_as_many_as_panels():
    axes = plt.subplots(1, 3)[1]
    with pytest.raises(ValueError, match="3 Axes for 2 panels: give one for each of c, x"):
        PolicyDisplay.from_estimator(LEISURE, ax=axes)
    with pytest.raises(ValueError, match="1 Axes for 2 panels"):
        PolicyDisplay.from_estimator(LEISURE, ax=axes[0])
    with pytest.raises(TypeError, match="ax must be a matplotlib Axes or None, not str"):
        ValueDisplay.from_estimator(GROWTH, ax="axes")
    with pytest.raises(TypeError, match="ax must hold matplotlib Axes, not int"):
        ValueDisplay.from_estimator(GROWTH, ax=[1])


@pytest.mark.parametrize("display", DISPLAYS)
def test_matplotlib_is_asked_for(monkeypatch, display):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=rf"{display.__name__}.from_estimator requires matplotl"):
        display.from_estimator(GROWTH)
