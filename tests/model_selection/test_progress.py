"""The bar of a search: it counts fits, and shows the best mean score of complete candidates."""

import math
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.model_selection.progress import SearchProgress


def last_line(text):
    """What a terminal shows in the end."""
    assert text.endswith("\n")
    return text.rstrip("\n").split("\n")[-1].rstrip("\r").split("\r")[-1]


@pytest.fixture
def drawn_at_once(monkeypatch):
    """Every change is drawn."""
    monkeypatch.setattr("thetalearn.model_selection.progress.PAUSE", 0.0)


@given(
    scores=st.lists(
        st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(math.nan)), min_size=3, max_size=3),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_the_best_is_the_best_mean_whatever_the_order(scores, seed):
    progress = SearchProgress(3 * len(scores), shown=False)
    order = [(i, s) for i, folds in enumerate(scores) for s in folds]
    np.random.RandomState(seed).shuffle(order)
    for candidate, score in order:
        progress.update(int(candidate), 3, score)
    means = [math.fsum(folds) / 3 for folds in scores]
    known = [mean for mean in means if not math.isnan(mean)]
    if known:
        assert progress.best_score == pytest.approx(max(known), rel=1e-12, abs=1e-12)
    else:
        assert math.isnan(progress.best_score)


def test_candidates_with_folds_to_come_are_no_best():
    progress = SearchProgress(4, shown=False)
    progress.update(0, 2, 0.9)
    progress.update(1, 2, 0.8)
    assert math.isnan(progress.best_score)
    progress.update(1, 2, 0.6, {"alpha": 2})
    assert progress.best_score == pytest.approx(0.7) and progress.best_params == {"alpha": 2}
    progress.update(0, 2, -0.9)
    assert progress.best_score == pytest.approx(0.7)


def test_a_tie_keeps_the_first():
    progress = SearchProgress(2, shown=False)
    progress.note(0.5, {"a": 1})
    progress.note(0.5, {"a": 2})
    assert progress.best_params == {"a": 1}


def test_fits_without_candidate_or_score_count(capsys):
    with SearchProgress(3, shown=True) as progress:
        progress.update(None, 1, None)
        progress.update(0, 1, None)
        progress.update(None, 1, 0.5)
    assert math.isnan(progress.best_score)
    line = last_line(capsys.readouterr().err)
    assert "| 3/3 [" in line and "best" not in line


def test_nothing_is_drawn_unless_asked_for(capsys):
    with SearchProgress(2, shown=False) as progress:
        progress.advance()
        progress.note(0.5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("metric", "params", "words"),
    [
        (None, None, "best=0.913]"),
        ("roc_auc", None, "best roc_auc=0.913]"),
        (None, {"ridge__alpha": 0.1, "C": 2}, "best=0.913 (alpha=0.1, C=2)]"),
        (None, {"alpha": "x" * 50}, "best=0.913]"),
    ],
    ids=["plain", "metric", "parameters", "long"],
)
def test_the_last_line_tells_the_best(capsys, metric, params, words):
    with SearchProgress(2, shown=True, label="GridSearchCV", metric=metric) as progress:
        progress.advance()
        progress.note(0.5, {"alpha": 3})
        progress.advance()
        progress.note(0.91304, params)
    out, err = capsys.readouterr()
    line = last_line(err)
    assert out == "" and line.startswith("GridSearchCV: 100%|") and "| 2/2 [" in line
    assert line.endswith(words)


def test_the_bar_moves(capsys, drawn_at_once):
    with SearchProgress(4, shown=True) as progress:
        for score in (0.1, 0.3, 0.2):
            progress.advance()
            progress.note(score)
        progress.advance()
    err = capsys.readouterr().err
    assert all(f"| {n}/4 [" in err for n in (1, 2, 3, 4))
    best = re.findall(r"best=([\d.]+)", err)
    assert list(dict.fromkeys(best)) == ["0.1", "0.3"]
    assert "nan" not in err


def test_few_drawings_for_many_fits(capsys):
    with SearchProgress(10_000, shown=True) as progress:
        for i in range(10_000):
            progress.update(i, 1, 0.5)
    assert capsys.readouterr().err.count("\r") < 100


def test_an_end_by_an_error_leaves_the_line(capsys):
    progress = SearchProgress(5, shown=True)
    with pytest.raises(RuntimeError), progress:
        progress.advance(2)
        raise RuntimeError
    progress.close()
    progress.advance()  # a worker that ends late
    assert "| 2/5 [" in last_line(capsys.readouterr().err)


def test_threads_lose_nothing(capsys):
    progress = SearchProgress(800, shown=True)

    def work(fold):
        for candidate in range(100):
            progress.update(candidate, 8, candidate + fold)

    threads = [threading.Thread(target=work, args=(fold,)) for fold in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.close()
    assert progress.best_score == pytest.approx(99 + 3.5)
    assert "| 800/800 [" in last_line(capsys.readouterr().err)


def test_tqdm_is_imported_only_to_be_shown():
    code = (
        "import sys\n"
        "from thetalearn.model_selection.progress import SearchProgress\n"
        "before = 'tqdm' in sys.modules\n"
        "SearchProgress(1, shown=False).close()\n"
        "assert ('tqdm' in sys.modules) == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
