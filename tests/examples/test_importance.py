"""The laws that the study of importance shows, and the code of the guide to it."""

import contextlib
import io
import re
from fractions import Fraction
from itertools import chain, permutations
from pathlib import Path

import numpy as np
import pytest

from examples import plot_importance as study
from thetalearn import (
    LogisticClassifier,
    accuracy_shapley_values,
    permutation_importance,
    projections,
    sage_values,
    shapley_values,
)

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "importance.md").read_text(encoding="utf-8")
#: Python blocks, each with the text block that follows it, if one does.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", GUIDE, flags=re.DOTALL)

N_DRAWS = 40


@pytest.fixture(scope="module")
def draws():
    """The worked example of chapter 12, drawn anew many times."""
    return [study.explain_half_plane(seed) for seed in range(N_DRAWS)]


@pytest.fixture(scope="module")
def wages():
    return study.fit_wages()


# The worked example of the book.


def test_y_matters_more_than_x_in_every_draw(draws):
    for draw in draws:
        s_x, s_y = draw.shapley
        assert s_y > s_x
        after_x, after_y = draw.all_shuffles
        assert after_y < after_x


def test_the_values_lie_around_those_of_the_book(draws):
    # Means over 300 redraws are 0.862, 0.812, 0.543 and 0.518; the mean over 40 has a standard
    # error of at most 0.07 / sqrt(40), a quarter of the width of the range of the redraws.
    nothing, x_alone, y_alone, both = np.mean([draw.alpha for draw in draws], axis=0)
    assert [both, y_alone, x_alone, nothing] == pytest.approx(
        [0.862, 0.812, 0.543, 0.518], abs=0.02
    )
    assert np.mean([draw.shapley for draw in draws], axis=0) == pytest.approx(
        [0.037, 0.307], abs=0.03
    )
    assert np.mean([draw.all_shuffles for draw in draws], axis=0) == pytest.approx(
        [0.812, 0.543], abs=0.02
    )
    slope, intercept = np.mean([draw.line for draw in draws], axis=0)
    assert (slope, intercept) == pytest.approx((0.3, 0.2), abs=0.1)


def test_the_mean_over_all_shuffles_is_the_accuracy_of_the_projection_on_the_others(draws):
    # This settles which row of the book's Table 12.5 belongs to which input.
    for draw in draws:
        _, x_alone, y_alone, _ = draw.alpha
        assert draw.all_shuffles == pytest.approx([y_alone, x_alone], abs=1e-12)


def test_the_shapley_values_share_what_both_inputs_add(draws):
    for draw in draws:
        nothing, x_alone, y_alone, both = draw.alpha
        assert draw.shapley.sum() == pytest.approx(both - nothing, abs=1e-12)
        half = ((x_alone - nothing) + (both - y_alone)) / 2
        assert draw.shapley[0] == pytest.approx(half, abs=1e-12)


def test_a_hundred_shuffles_are_near_all_of_them(draws):
    # Five standard errors for 80 comparisons; shuffles move the accuracy in steps of 0.01.
    for draw in draws:
        assert np.all(np.abs(draw.some_shuffles - draw.all_shuffles) < 5 * draw.some_errors + 1e-9)


def test_projections_fall_slowly_in_x_and_rise_sharply_in_y(draws):
    for seed, draw in enumerate(draws[:10]):
        X, _ = study.half_plane(seed)
        on_x, on_y = draw.projections
        order = np.argsort(X.x)
        assert np.all(np.diff(on_x[order]) <= 1e-12)
        assert np.all(np.diff(on_y[np.argsort(X.y)]) >= -1e-12)
        assert on_y.max() == pytest.approx(1) and on_y.min() == pytest.approx(0)
        assert np.ptp(on_x) < 0.95
        assert on_x.mean() == pytest.approx(draw.mean_prediction, abs=0.05)


def test_the_mean_over_all_shuffles_is_that_of_every_permutation():
    X, label = study.half_plane(3, n=6)
    model = LogisticClassifier(alpha=0.1).fit(X, label)
    exact = permutation_importance(model, X, label, n_repeats="all")
    for j, name in enumerate(X.columns):
        scores = [
            model.score(X.assign(**{name: X[name].to_numpy()[list(order)]}), label)
            for order in permutations(range(6))
        ]
        assert exact.scores_after[j, 0] == pytest.approx(np.mean(scores), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "alpha", "shapley"),
    [
        ([1, 0, 0], ("4/9", "2/3", "2/9", "2/3"), ("1/3", "-1/9")),
        ([1, 0, 1], ("5/9", "7/9", "5/9", "1"), ("1/3", "1/9")),
    ],
)
def test_the_exercises_of_chapter_12(labels, alpha, shapley):
    def above(X):
        return (X[:, 1] > X[:, 0] ** 2).astype(int)

    points = np.array([[0.5, 1.0], [-2.0, 3.0], [1.0, 5.0]])
    found = accuracy_shapley_values(above, points, labels)
    assert found.coalition_values == pytest.approx([float(Fraction(a)) for a in alpha], abs=1e-12)
    assert found.values == pytest.approx([float(Fraction(s)) for s in shapley], abs=1e-12)
    assert projections(above, points, [0]) == pytest.approx([1, 1 / 3, 2 / 3], abs=1e-12)
    assert projections(above, points, [1]) == pytest.approx([1 / 3, 2 / 3, 1], abs=1e-12)


# The wage equation.


def test_the_model_finds_the_wage_equation(wages):
    # The noise alone, of standard deviation 0.3 and 0.12 * ability, leaves so much of log wages.
    explained = wages.log_model.score(wages.X_test, np.log(wages.y_test))
    assert 0.5 < explained < 0.75
    experience = np.linspace(2, 38, 50)
    row = wages.X_test.iloc[[0] * 50].assign(experience=experience)
    gap = wages.log_model.predict(row) - study.experience_premium(experience)
    # A thousand workers with noise of 0.3 tell a curve of six parameters to some 0.03.
    assert np.std(gap) < 0.04


def test_what_does_not_enter_wages_has_no_importance_but_the_proxy_does(wages):
    found = study.errors_by_repeats(wages, ("all",))["all"]
    names = found.feature_names
    low, high = found.ci.T
    month, score = names.index("birth month"), names.index("test score")
    assert low[month] < 0 < high[month]
    assert low[score] > 0
    assert np.argmax(found.importances_mean) == names.index("education")


def test_errors_through_shuffles_vanish_and_errors_through_rows_stay(wages):
    found = study.errors_by_repeats(wages)
    mc = np.array([each.mc_se for each in found.values()])
    # One over the root of the repeats, as far as five repeats tell their own spread.
    assert np.all(mc[1] < 0.8 * mc[0]) and np.all(mc[2] == 0)
    rows = np.array([each.sample_se for each in found.values()])
    assert rows[1] == pytest.approx(rows[2], rel=0.15)


def test_a_column_is_its_encoded_columns_exchanged_together(wages):
    rows, owned = study.encoded(wages)
    assert sorted(chain.from_iterable(owned.values())) == list(range(rows.shape[1]))
    target = np.log(wages.y_test)
    options = {"n_repeats": 3, "random_state": 0}
    outside = permutation_importance(wages.log_model, wages.X_test, target, **options)
    inside = permutation_importance(wages.log_model[-1], rows, target, groups=owned, **options)
    places = [inside.feature_names.index(name) for name in outside.feature_names]
    assert inside.importances[places] == pytest.approx(outside.importances, abs=1e-12)


def test_parts_add_up_to_another_ranking(wages):
    found = study.apart_and_together(wages)
    by_sum = max(found, key=lambda column: found[column][0])
    as_player = sorted(found, key=lambda column: -found[column][1])
    assert by_sum == "region"
    assert as_player.index("region") == 3


def test_shapley_values_of_parts_add_up_on_the_log_scale_only(wages):
    members, group = study.members_and_group(wages, n_rows=5)
    assert np.abs(members - group).max() > 0.01
    rows, owned = study.encoded(wages)
    last = wages.log_model[-1]
    whole = shapley_values(last, rows[:5], background=rows[-100:], groups=owned)
    parts = shapley_values(last, rows[:5], background=rows[-100:])
    assert whole.method == parts.method == "closed form"
    assert parts.values[:, owned["region"]].sum(1) == pytest.approx(
        whole[:, "region"].values, abs=1e-12
    )


def test_among_similar_workers_correlated_columns_are_worth_less(wages):
    found = study.marginal_and_conditional(wages, n_repeats=20)
    marginal, conditional = (each.importances_mean for each in found.values())
    names = found["marginal"].feature_names
    for column in ("education", "test score"):
        j = names.index(column)
        assert conditional[j] < 0.7 * marginal[j]
    j = names.index("experience")
    assert conditional[j] > 0.85 * marginal[j]


def test_all_measures_are_about_dollars_and_columns_of_the_data(wages):
    rows = wages.X_test[:20]
    found = shapley_values(wages.model, rows, background=wages.X_train[:100])
    total = found.values.sum(1) + found.base_values
    assert total == pytest.approx(wages.model.predict(rows), rel=1e-9)
    assert found.feature_names == list(wages.X_test.columns)
    sage = sage_values(wages.model, rows, wages.y_test[:20])
    mean = wages.model.predict(rows).mean()
    drop = np.mean((wages.y_test[:20] - mean) ** 2) - np.mean(
        (wages.y_test[:20] - wages.model.predict(rows)) ** 2
    )
    assert sage.values.sum() == pytest.approx(drop, rel=1e-9)


# Exact and sampled values.


def test_closed_form_and_enumeration_agree_and_sampling_knows_its_error():
    curves, gap, _ = study.exact_and_sampled(budgets=(440,), n_seeds=6, n_rows=2)
    assert gap < 1e-12
    for method, (found,) in curves.items():
        assert 0 < found.error < 0.02, method
        # 6 independent estimates of 24 values, which depend on each other.
        assert 0.5 < found.error / found.reported < 1.7, method


def test_main_prints_the_tables_and_saves_the_figures(tmp_path, capsys):
    study.main(tmp_path, budgets=(440,))
    printed = capsys.readouterr().out
    assert "all N!" in printed and "birth month" in printed and "455 terms" in printed
    pictures = {f"importance{end}" for end in ("", "_permutation", "_shapley", "_sage")}
    pictures.add("importance_dependence")
    assert {path.stem for path in tmp_path.iterdir()} == pictures
    for path in tmp_path.iterdir():
        assert str(path) in printed
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 150_000


# The guide.


def test_the_code_of_the_guide_runs_and_prints_what_follows_it():
    names: dict[str, object] = {"__name__": "guide"}
    assert len(BLOCKS) >= 4
    for code, expected in BLOCKS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "importance.md", "exec"), names)
        assert printed.getvalue() == expected


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+?)\)", GUIDE))))
def test_links_of_the_guide_lead_somewhere(target):
    assert target.startswith("https://") or (ROOT / "docs" / target).exists()
