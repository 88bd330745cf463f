"""The demonstration runs, with and without matplotlib, and touches nothing global."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from thetalearn import demo

PLOTS = {
    "diabetes_search.png",
    "diabetes_importance.png",
    "digits_search.png",
    "digits_explained.png",
}


@pytest.mark.slow
def test_the_demo_prints_tables_and_draws_plots(tmp_path, capsys):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    demo.run(tmp_path / "new")
    printed = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "new").iterdir()} == PLOTS
    for name in PLOTS:
        assert str(tmp_path / "new" / name) in printed
    assert "Chebyshev" in printed and "Held-out accuracy" in printed
    assert "95 % interval" in printed and "Shapley values: closed form" in printed
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_without_matplotlib_a_line_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    demo.draw_all([], tmp_path)
    assert "pip install 'thetalearn[plot]'" in capsys.readouterr().out


def test_tables_align_text_left_and_numbers_right(capsys):
    demo.print_table(("name", "value"), [("a", "1.0"), ("long name", "-10.5 ± 1")])
    assert capsys.readouterr().out.splitlines() == [
        "  name            value",
        "  a                 1.0",
        "  long name   -10.5 ± 1",
    ]


def test_importance_is_printed_by_size_with_its_interval(capsys):
    importance = SimpleNamespace(
        importances_mean=np.array([0.1, 0.2]),
        ci=np.array([[0.05, 0.15], [0.1, 0.3]]),
        feature_names=["age", "sex"],
    )
    values = np.array([[1.0, -2.0], [3.0, 4.0]])
    demo.print_importance(importance, SimpleNamespace(values=values, method="exact"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["sex", "0.200", "0.100", "to", "0.300", "3.0"],
        ["age", "0.100", "0.050", "to", "0.150", "2.0"],
    ]
    assert "exact" in lines[-2]
