"""The example of searches, and the guide to them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import examples.plot_search as study

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "model_selection.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", GUIDE, flags=re.DOTALL)


def test_searches_give_the_scores_of_scikit_learn():
    X, y = study.make_data(80)
    polynomial = study.search_penalties(X, y, n_penalties=4)
    network = study.search_networks(X, y, max_iter=3)
    for found, n_fits in ((polynomial, 60), (network, 150)):
        assert found.search.fused_report_.n_fused == n_fits
        assert found.difference < 1e-9, found.name


def test_leave_one_out_is_the_mean_over_fits_without_a_row():
    X, y = study.make_data(40)
    errors = []
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        model = study.PolynomialRegressor(degree=2, alpha=0.1).fit(X[rest], y[rest])
        errors.append(float(model.predict(X[[i]])[0] - y[i]))
    expected = np.sqrt(np.mean(np.square(errors)))
    # The constant stands twice here, once penalised as a column; its weight is then zero.
    assert study.leave_one_out_error(X, y, 0.1) == pytest.approx(expected, rel=1e-9)


def test_main_prints_and_draws(tmp_path, capsys):
    study.main(tmp_path, n_penalties=3, max_iter=2)
    printed = capsys.readouterr().out
    assert "fits together" in printed and "leave-one-out" in printed
    picture = tmp_path / "search.png"
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 150_000


def test_the_code_of_the_guide_runs_and_prints_what_follows_it():
    names: dict[str, object] = {"__name__": "guide"}
    assert len(BLOCKS) >= 3
    for code, expected in BLOCKS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "model_selection.md", "exec"), names)
        assert printed.getvalue() == expected
