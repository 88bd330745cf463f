"""The laws that the three studies of dynamic models show."""

import numpy as np
import pytest

from examples import plot_borrowing_limit as borrowing
from examples import plot_brock_mirman as brock
from examples import plot_growth as growth

BASES = [name for name in brock.COLOURS if name != "mlp"]
KINKED = "B-spline, knots at the kinks"


@pytest.fixture(scope="module")
def states():
    return brock.grid(21, 5).reshape(-1, 2)


@pytest.mark.parametrize("kind", brock.ESTIMATORS)
@pytest.mark.parametrize("name", [name for name in BASES if name != "monomial"])
def test_every_basis_holds_the_solution_in_logarithms(kind, name, states):
    params = brock.representations()[name]
    estimator = brock.ESTIMATORS[kind](brock.models()["logarithms"], basis=name, **params)
    fit = brock.solved(estimator, states)
    # What policies lose: the Bellman equation's come from the slope of the value function.
    assert fit.policy < 1e-11
    assert fit.value < 1e-11
    assert estimator.converged_


def test_monomials_hold_the_solution_too():
    # At degree four they are not so collinear that their tolerance is out of reach.
    for kind in brock.ESTIMATORS.values():
        estimator = kind(brock.models()["logarithms"], basis="monomial", degree=4)
        fit = brock.solved(estimator, brock.grid(11, 5).reshape(-1, 2))
        assert max(fit.policy, fit.value) < 1e-10


def test_representations_have_as_many_coefficients(states):
    model = brock.models()["natural units"]
    for name in BASES:
        estimator = brock.EulerApproximator(model, basis=name, **brock.representations()[name])
        assert brock.solved(estimator, states).estimator.coef_.size in (65, 66), name
    (units,) = {brock.representations()["mlp"]["hidden_layer_sizes"]}
    assert 2 * units + units + units + 1 == 65


def test_a_network_learns_the_policy(states):
    model = brock.models()["logarithms"]
    params = brock.representations()["mlp"]
    estimator = brock.EulerApproximator(model, basis="mlp", random_state=0, **params)
    assert brock.solved(estimator, states).policy < 1e-3


def test_nothing_leaves_the_box():
    model = brock.models()["logarithms"]
    estimator = brock.EulerApproximator(model, degree=2, n_integration_nodes=5).fit()
    assert estimator.summary_["outside"] < 1e-12


def test_the_model_in_a_few_lines_solves_its_own_bellman_equation():
    model = brock.capital_model()
    s = model.middle_states()
    c = brock.capital_policy(s)
    ahead = brock.capital_value(brock.capital_transition(s, c, None))
    both = brock.capital_reward(s, c) + brock.BETA * ahead
    assert both.numpy() == pytest.approx(brock.capital_value(s).numpy(), rel=1e-13)


@pytest.mark.parametrize("kind", brock.ESTIMATORS)
def test_chebyshev_errors_fall_by_bernsteins_factor_a_degree(kind):
    found = brock.convergence(kind, degrees=(12, 28), knots=())["chebyshev"]
    rate = (found[0, 1] / found[1, 1]) ** (1 / 16)
    # An algebraic factor of the degree comes on top.
    assert rate == pytest.approx(brock.bernstein_rate(), rel=0.1)


def test_spline_errors_fall_by_their_order():
    # Order four for the policy of the Euler equation, one less where it is a slope. The singularity
    # near the lower end keeps them a little below.
    for kind, order in (("Euler", 4), ("Bellman", 3)):
        found = brock.convergence(kind, degrees=(), knots=(28, 60))["bspline"]
        observed = np.log2(found[0, 1] / found[1, 1])
        assert order - 1 < observed < order + 0.5, kind


def test_errors_fall_by_a_digit_a_degree_wherever_the_economy_goes():
    states = growth.ergodic_states(500)
    low, high = (growth.accuracy(degree, states) for degree in (growth.LOW, growth.HIGH))
    for few, many in ((low.box, high.box), (low.ergodic, high.ergodic)):
        digits = np.log10(few[1] / many[1]) / (growth.HIGH - growth.LOW)
        # Less at high degree, where polynomials are continued less far beyond the box.
        assert 0.6 < digits < 1.25


def test_a_narrow_box_is_accurate_inside_only():
    states = growth.ergodic_states(5000)
    wide, narrow = (growth.accuracy(6, states, box) for box in (growth.WIDE, growth.NARROW))
    assert growth.share_outside(states, growth.WIDE) < 1e-3
    assert 0.02 < growth.share_outside(states, growth.NARROW) < 0.2
    assert narrow.box[1] < 0.2 * wide.box[1]
    assert narrow.ergodic[1] > 30 * narrow.box[1]
    assert wide.ergodic[1] < 2 * wide.box[1]


def test_cross_validation_prefers_a_higher_degree_and_reaches_the_calibration():
    found = growth.search({"degree": (1, 4), "model__gamma": (1.0, 2.0)}, n_states=60)
    for gamma in (1.0, 2.0):
        degrees, means, _ = growth.scores(found, model__gamma=gamma)
        assert degrees.tolist() == [1, 4]
        assert means[1] > means[0] + 1.5
    assert found.best_estimator_.model_.params["gamma"] == found.best_params_["model__gamma"]


def test_the_exact_mpc_is_the_slope_of_the_exact_policy():
    estimator = borrowing.solution(KINKED)
    at, slopes = borrowing.kinks()
    middles = (np.r_[borrowing.LOW, at] + np.r_[at, borrowing.HIGH]) / 2
    step = 1e-4
    ends = [estimator.exact("policy", borrowing.column(middles + d)) for d in (-step, step)]
    assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(slopes, rel=1e-10)
    assert borrowing.exact_mpc(middles) == pytest.approx(slopes)


def test_knots_at_the_kinks_are_exact():
    estimator = borrowing.solution(KINKED)
    assert estimator.coef_.size == len(borrowing.kinks()[0]) + 2
    assert borrowing.largest_error(estimator) < 1e-12


def test_other_bases_converge_like_one_over_their_size():
    # Where nodes lie beside the kinks moves single errors by a factor of two or so.
    errors = borrowing.errors_by_terms((8, 64))
    for name in ("Chebyshev", "B-spline"):
        (_, few), (_, many) = errors[name]
        assert 2 < few / many < 32, name


def test_the_mpc_of_polynomials_rings_at_every_degree():
    shares = borrowing.ringing((32, 96)).mean(axis=1)
    assert np.all(shares > 0.05)
    assert np.all(shares < 0.15)
    # A spline that knows the kink does not.
    assert borrowing.excess(borrowing.solution(KINKED)) < 1e-10


def test_knowing_the_kinks_is_worth_digits():
    first, threshold, every = borrowing.policies(20).values()
    assert threshold.errors.mean() < 0.3 * first.errors.mean()
    assert every.errors.mean() < 0.1 * threshold.errors.mean()


def test_all_is_consumed_below_the_threshold_and_only_there():
    estimator = borrowing.uncertain(None, "auto")
    limit = borrowing.threshold(estimator)
    below = borrowing.column(np.linspace(0.4, 0.999 * limit, 50))
    above = borrowing.column(np.linspace(1.01 * limit, 2.9, 50))
    assert estimator.policy(below) == pytest.approx(below[:, 0], rel=1e-9)
    assert np.all(estimator.policy(above) < above[:, 0] - 1e-4)


def test_the_constrained_share_is_that_of_a_simulation():
    estimator = borrowing.uncertain(None, "auto")
    states, actions = estimator.simulate(n_periods=400, n_paths=40, random_state=1)
    m, c = states[:, 100:-1, 0], actions[:, 100:, 0]
    share = float((c >= m * (1 - 1e-9)).mean())
    # 12,000 nearly independent states: a standard deviation of half a percent.
    assert borrowing.constrained_share(estimator) == pytest.approx(share, abs=0.03)


@pytest.mark.slow
def test_mains_print_the_tables_and_save_the_figures(tmp_path, capsys):
    brock.main(tmp_path, names=("chebyshev", "bspline"))
    growth.main(tmp_path, degrees=(2, 4), gammas=(1.0, 2.0))
    borrowing.main(tmp_path, counts=(8, 16), degrees=(24,))
    printed = capsys.readouterr().out
    assert "Bernstein" in printed
    assert "Degree by cross-validation" in printed
    assert "at the limit in the long run" in printed
    names = ("brock_mirman", "growth", "growth_paths", "borrowing_limit", "income_fluctuation")
    for name in names:
        assert str(tmp_path / f"{name}.png") in printed
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
