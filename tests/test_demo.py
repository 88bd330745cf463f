"""The demonstration runs, with and without matplotlib, and touches nothing global."""

import sys

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


def test_stacked_dots_stay_in_their_row():
    values = np.repeat([0.0, 1.0], [50, 3])
    offsets = demo.stacked(values, 0.1)
    assert np.abs(offsets).max() <= 0.4
    assert len(set(offsets[values == 0.0])) == 50
