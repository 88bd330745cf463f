"""The laws that the study of truth tables shows."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from examples import plot_truth_tables as tables

#: A network is right up to the tail of a step at the distance 1/2; sums of such tails add a little.
TAIL = 1.01 * np.exp(-1 / (2 * tables.EPS))

names = st.sampled_from(sorted(tables.TRUTH))
plane = st.tuples(st.floats(-50, 50), st.floats(-50, 50))


def test_the_labelings_are_all_sixteen():
    assert set(tables.TRUTH.values()) == set(itertools.product((0, 1), repeat=4))
    assert set(tables.LABELINGS) == set(tables.TRUTH)


def test_the_centres_are_those_of_the_quadrants_in_order():
    assert tables.quadrant(tables.CENTRES).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", tables.TRUTH)
def test_canonical_networks_reproduce_their_truth_tables(name):
    net = tables.canonical(name)
    assert [coef.shape for coef in net.coefs_] == [(2, 2), (2, 2), (2, 1)]
    assert np.abs(net.predict(tables.CENTRES) - tables.TRUTH[name]).max() < TAIL


@given(names, plane)
def test_canonical_networks_are_right_everywhere_but_at_the_axes(name, point):
    # At ten eps from an axis S differs from 0 or 1 by 5e-5, so that sums are nearly whole.
    point = np.array([point])
    point += 10 * tables.EPS * np.where(point > 0, 1, -1)
    value = tables.canonical(name).predict(point)
    assert np.abs(value - tables.labels(name, point)).max() < 1.1 * np.exp(-1 / (2 * tables.EPS))


@given(st.sampled_from(sorted(tables.SHALLOW)), plane, st.floats(0.01, 1))
def test_both_forms_of_a_quadrant_are_one_function(name, point, eps):
    # As S(-x) = 1 - S(x). The slope of the last step magnifies the rounding of its argument.
    a, b, c = tables.PIECES[name]
    with_minus = tables.network([np.eye(2), [[a], [b]]], [[0, 0], [c]], eps)
    values = [net.predict([point])[0] for net in (tables.shallow(name, eps), with_minus)]
    assert values[0] == pytest.approx(values[1], abs=1e-15 / eps)


@given(st.integers(1, 4), plane, st.floats(0.01, 1))
def test_a_complement_is_one_minus_its_quadrant(k, point, eps):
    sum_ = sum(tables.shallow(name, eps).predict([point])[0] for name in (f"Q{k}", f"not Q{k}"))
    assert sum_ == pytest.approx(1, abs=1e-15 / eps)


@pytest.mark.parametrize("name", tables.TRUTH)
def test_printed_formulas_are_those_of_the_networks(name):
    def S(z):
        return expit(z / tables.EPS)

    X = np.random.default_rng(0).standard_normal((200, 2)) * 0.1
    symbols = {"S": S, "x": X[:, 0], "y": X[:, 1]}
    terms = [eval(part, symbols) for part in tables.formula(name).split(" or ")]
    expected = S(np.sum(terms, axis=0) + S(-1 / 2) * (len(terms) == 1) - 1 / 2)
    assert tables.canonical(name).predict(X) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", tables.REGIONS)
def test_regions_are_right_away_from_their_lines(name):
    lines, offsets, inside = tables.REGIONS[name]
    X = 2 * tables.gaussian(20_000, 0)
    away = np.all(np.abs(X @ lines + offsets) > 10 * tables.EPS, axis=1)
    assert np.mean(away) > 0.8
    error = np.abs(tables.region(name).predict(X[away]) - inside(X[away]))
    assert error.max() < 1.1 * np.exp(-1 / (2 * tables.EPS))


@pytest.mark.parametrize("name", tables.MAXIMA)
def test_maxima_are_exact(name):
    assert tables.maximum_error(name) == 0


@pytest.mark.parametrize(
    ("run", "accuracy", "cross_entropy", "form"),
    [
        ("half-plane, book, run 1", 0.9914, 0.0338, (6.595, 14.180, 0.443)),
        ("half-plane, book, run 2", 0.9918, 0.0310, (6.263, 15.284, 0.486)),
        ("quadrant, book", 0.9887, 0.0490, (7.494, 9.416, 1.493)),
    ],
)
def test_the_books_weights_are_as_good_as_known_and_have_its_form(
    run, accuracy, cross_entropy, form
):
    printed = tables.BOOK[run]
    X = tables.gaussian(200_000, 0)
    net = printed.network()
    found = tables.measured(net, printed.labeling, X)
    # Four standard errors of the mean over this sample; those of the known numbers are smaller.
    p = net.predict_proba(X)[np.arange(len(X)), tables.labels(printed.labeling, X)]
    bound = 4 / np.sqrt(len(X))
    assert found.accuracy == pytest.approx(accuracy, abs=bound * np.std(p > 0.5))
    assert found.cross_entropy == pytest.approx(cross_entropy, abs=bound * np.std(np.log(p)))
    own = found.form.steepness, found.form.gain, found.form.threshold
    assert own == pytest.approx(form, abs=1.01e-3)


@given(st.integers(0, 1000))
def test_turning_and_swapping_units_does_not_change_the_form(seed):
    # S(-z) = 1 - S(z): the symmetries of a network, under which only functions are comparable.
    rng = np.random.default_rng(seed)
    printed = tables.BOOK["quadrant, book"]
    first, last = np.array(printed.W1).T, np.array(printed.W2)
    offset, constant = np.array(printed.B1), printed.B2
    turned = rng.random(2) < 0.5
    sign = np.where(turned, -1, 1)
    order = rng.permutation(2)
    other = tables.MLPClassifier.from_weights(
        [(first * sign)[:, order], (last * sign)[order, None]],
        [(offset * sign)[order], [constant + last[turned].sum()]],
        activation="logistic",
    )
    net = printed.network()
    X = tables.gaussian(50, seed)
    assert other.predict_proba(X) == pytest.approx(net.predict_proba(X), abs=1e-12)
    forms = [tables.book_form(each) for each in (net, other)]
    assert forms[0].inputs == forms[1].inputs
    numbers = [(form.steepness, form.gain, form.threshold) for form in forms]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-12)


@pytest.mark.parametrize(("labeling", "threshold"), [("x > 0", 1 / 2), ("Q1", 3 / 2)])
def test_training_finds_the_function_from_any_start(labeling, threshold):
    X = tables.gaussian(50_000, 1000)
    nets = [tables.trained(labeling, seed) for seed in range(3)]
    for net in nets:
        found = tables.measured(net, labeling, X)
        # What the book's weights reach.
        assert found.accuracy > 0.99
        assert found.cross_entropy < 0.035
        assert found.form.inputs == ((0,) if labeling == "x > 0" else (0, 1))
        assert found.form.threshold == pytest.approx(threshold, abs=0.1)
        assert found.form_agrees > 0.98
    decisions = [net.predict(X) for net in nets]
    assert all(np.mean(decisions[0] == other) > 0.985 for other in decisions[1:])


@pytest.mark.parametrize("labeling", ["Q1 or Q3", "Q2 or Q4"])
def test_two_units_get_three_of_four_opposite_quadrants(labeling):
    # Three quadrants are 0.75, and a strip is as good; 20 000 points add an error of 0.003.
    assert tables.parity_accuracies(labeling, "2-2-1", range(4)).max() < 0.77
    assert tables.parity_accuracies(labeling, "2-8-1", range(2)).min() > tables.LEARNED


@pytest.mark.slow
@pytest.mark.parametrize("labeling", ["Q1 or Q3", "Q2 or Q4"])
def test_a_third_layer_learns_opposite_quadrants_from_some_starts(labeling):
    seeds = range(tables.N_SEEDS)
    shallow = tables.parity_accuracies(labeling, "2-2-1", seeds)
    assert shallow.max() < 0.77
    deep = tables.parity_accuracies(labeling, "2-2-2-1", seeds) >= tables.LEARNED
    wide = tables.parity_accuracies(labeling, "2-4-1", seeds) >= tables.LEARNED
    assert 0 < deep.sum() < wide.sum()


@pytest.mark.slow
def test_main_prints_the_tables_and_saves_the_figures(tmp_path, capsys):
    tables.main(tmp_path, n_seeds=2)
    printed = capsys.readouterr().out
    assert "sixteen labelings" in printed
    for name in ("truth_tables.png", "truth_tables_trained.png"):
        assert str(tmp_path / name) in printed
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
