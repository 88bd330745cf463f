"""What a monitor keeps and shows of the iterations that a solver reports."""

import re
import threading
import time

import numpy as np
import pytest
import torch

from thetalearn.monitor import PAUSE, FitMonitor

RECORD = {"loss": 0.123456, "validation_loss": 0.5, "validation_score": 0.987654}


class Hooks:
    """Callbacks that stop after some iterations."""

    def __init__(self, patience):
        self.seen, self.patience = [], patience

    def iteration_ended(self, attributes):
        self.seen.append(attributes())
        return len(self.seen) >= self.patience


def last_line(text):
    """What a terminal shows in the end."""
    assert text.endswith("\n")
    return text.rstrip("\n").split("\n")[-1].rstrip("\r").split("\r")[-1]


@pytest.mark.parametrize(
    "number", [float, np.float64, np.float32, lambda v: torch.tensor(v, dtype=torch.float64)]
)
def test_records_are_plain_numbers_between_iteration_and_seconds(number):
    monitor = FitMonitor()
    values = {"loss": 0.5, "mistakes": 3}
    for _ in range(3):
        monitor({"loss": number(0.5), "mistakes": np.int64(3)})
    for i, record in enumerate(monitor.history, 1):
        assert list(record) == ["iteration", "loss", "mistakes", "seconds"]
        assert record == {"iteration": i, **values, "seconds": record["seconds"]}
        assert [type(value) for value in record.values()] == [int, float, int, float]
    seconds = [record["seconds"] for record in monitor.history]
    assert seconds[0] >= 0 and seconds == sorted(seconds)


def test_the_solver_keeps_its_record():
    record = {"loss": np.float64(0.5)}
    FitMonitor()(record)
    assert list(record) == ["loss"] and type(record["loss"]) is np.float64


def test_a_history_goes_on():
    first = FitMonitor()
    for _ in range(3):
        first(RECORD)
    before = list(first.history)
    time.sleep(0.01)
    second = FitMonitor(history=first.history)
    second(RECORD)
    assert first.history == before  # a fit that fails leaves the old history
    assert second.history[:3] == before
    assert [record["iteration"] for record in second.history] == [1, 2, 3, 4]
    seconds = [record["seconds"] for record in second.history]
    assert seconds == sorted(seconds)
    # Time between the fits does not count.
    longer = FitMonitor(history=[{"iteration": 7, "loss": 1.0, "seconds": 1e6}])
    longer(RECORD)
    assert longer.history[-1]["iteration"] == 8
    assert 1e6 <= longer.history[-1]["seconds"] < 1e6 + 60


@pytest.mark.parametrize("history", [None, []])
def test_an_empty_history_is_none(history):
    monitor = FitMonitor(history=history)
    monitor(RECORD)
    assert [record["iteration"] for record in monitor.history] == [1]


def test_silence(capsys):
    monitor = FitMonitor(None, 5, "Model", 0)
    for _ in range(5):
        monitor(RECORD)
    monitor.close()
    assert capsys.readouterr() == ("", "")


def test_the_bar_is_one_line_on_standard_error(capsys):
    monitor = FitMonitor(None, 5, "Model", 1)
    for _ in range(5):
        monitor(RECORD)
    monitor.close()
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    line = last_line(err)
    assert line.startswith("Model: 100%") and "5/5" in line
    assert "loss=0.1235" in line and "val_score=0.9877" in line
    assert "validation_loss" not in line and "0.5" not in line


def test_elapsed_and_remaining_time(capsys):
    monitor = FitMonitor(None, 4, "Model", 1)
    time.sleep(2 * PAUSE)
    monitor(RECORD)
    assert re.search(r"1/4 \[\d\d:\d\d<\d\d:\d\d, loss=", capsys.readouterr().err)
    monitor.close()
    assert re.search(r"1/4 \[\d\d:\d\d, loss=", last_line(capsys.readouterr().err))


def test_an_early_end_leaves_the_last_record(capsys):
    monitor = FitMonitor(None, 100, "Model", 1)
    for k in range(3):
        monitor({"loss": 1.0 + k})
    monitor.close()
    monitor.close()
    line = last_line(capsys.readouterr().err)
    assert "3/100" in line and "loss=3]" in line


def test_a_fit_that_fails_at_once_leaves_a_line(capsys):
    FitMonitor(None, 100, "Model", 1).close()
    assert "0/100" in last_line(capsys.readouterr().err)


@pytest.mark.parametrize("hooks", [None, Hooks(3)])
def test_at_the_end_the_bar_makes_room_for_warnings(hooks, capsys):
    monitor = FitMonitor(hooks, 3 if hooks is None else 100, "Model", 1)
    for _ in range(3):
        monitor(RECORD)
    err = capsys.readouterr().err
    assert "3/" in last_line(err)
    monitor.close()
    assert capsys.readouterr().err == ""


def test_hooks_see_the_attributes_and_may_stop():
    hooks = Hooks(2)
    monitor = FitMonitor(hooks)
    assert monitor(RECORD, lambda: {"coef_": 1}) is False
    assert monitor(RECORD, lambda: {"coef_": 2}) is True
    assert hooks.seen == [{"coef_": 1}, {"coef_": 2}]


def test_the_learning_rate_is_shown_once_it_has_changed(capsys):
    monitor = FitMonitor(None, 10, "Model", 1)
    monitor({"loss": 1.0, "learning_rate": 0.1})
    time.sleep(1.1 * PAUSE)
    monitor({"loss": 1.0, "learning_rate": 0.1})
    assert "lr=" not in capsys.readouterr().err
    time.sleep(1.1 * PAUSE)
    monitor({"loss": 1.0, "learning_rate": 0.02})
    assert "lr=0.02" in capsys.readouterr().err
    monitor({"loss": 1.0, "learning_rate": 0.1})
    monitor.close()
    assert "lr=0.1" in last_line(capsys.readouterr().err)


def test_measures_of_a_model_without_a_loss(capsys):
    monitor = FitMonitor(None, 10, "Model", 1)
    monitor({"mistakes": 12345, "errors": 7})
    monitor.close()
    assert "mistakes=12345, errors=7]" in last_line(capsys.readouterr().err)


def test_a_continued_fit_counts_its_own_iterations_on_the_bar(capsys):
    old = [{"iteration": k, "loss": 1.0, "seconds": 0.0} for k in (1, 2, 3)]
    monitor = FitMonitor(None, 10, "Model", 1, history=old)
    monitor({"loss": 0.25})
    monitor.close()
    line = last_line(capsys.readouterr().err)
    assert "1/10" in line and "loss=0.25" in line


def test_quick_iterations_are_not_all_drawn(capsys):
    start = time.perf_counter()
    monitor = FitMonitor(None, 10_000, "Model", 1)
    for _ in range(10_000):
        monitor(RECORD)
    monitor.close()
    drawn = capsys.readouterr().err.count("Model")
    # One line at the start and one at the end, whatever happens between.
    assert drawn <= 2 + (time.perf_counter() - start) / PAUSE


def test_an_interruption_of_the_drawing_frees_the_lock(capsys):
    monitor = FitMonitor(None, 10, "Model", 1)
    bar = monitor._bar._tqdm
    plain = bar.display

    def interrupted(*args, **kwargs):
        bar.display = plain
        raise KeyboardInterrupt

    bar.display = interrupted
    time.sleep(1.1 * PAUSE)
    with pytest.raises(KeyboardInterrupt):
        monitor(RECORD)
    monitor.close()

    def another_bar():
        FitMonitor(None, 10, "Other", 1).close()

    thread = threading.Thread(target=another_bar, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert "1/10" in capsys.readouterr().err
