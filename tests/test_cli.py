"""The command line: its output, its exit codes, and no traceback for a user's mistake."""

import sys
import types

import pytest

import thetalearn
from thetalearn.cli import _parameter_descriptions, main

MODEL = '''
from sklearn.base import BaseEstimator, RegressorMixin

class Model(RegressorMixin, BaseEstimator):
    """Predict nothing at all.

    Longer text that `info` does not print.

    Parameters
    ----------
    degree : int, default=3
        The degree of nothing, at least
        zero. More about it.

        A second paragraph.
    low, high : float, default=0.0
        The ends of the interval.
    mode : {"a", "b"}, default="a"
        The mode, ``"a"`` or :math:`b`.

    Attributes
    ----------
    nothing_ : int
        Nothing.
    """

    def __init__(self, *, degree=3, low=0.0, high=0.0, mode="a", plain=None):
        self.degree = degree
        self.low = low
        self.high = high
        self.mode = mode
        self.plain = plain

    def fit(self, X, y):
        return self
'''


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Register `MODEL` as ``cli-model``, and ``cli-broken`` that cannot be imported."""
    info = tmp_path / "cli_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: cli-dist\nVersion: 1.0\n", encoding="utf-8")
    entries = "cli-model = cli_model:Model\ncli-broken = cli_broken:Model\n"
    (info / "entry_points.txt").write_text(f"[thetalearn.estimators]\n{entries}", "utf-8")
    (tmp_path / "cli_model.py").write_text(MODEL, encoding="utf-8")
    (tmp_path / "cli_broken.py").write_text("1 / 0", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cli_model", raising=False)


@pytest.fixture
def check_contract(monkeypatch):
    """Replace the contract by one that returns the results put in the list."""
    results = []
    module = types.ModuleType("thetalearn.testing")
    module.check_contract = lambda estimator: [
        types.SimpleNamespace(suite=suite, name=name, status=status, error=error)
        for suite, name, status, error in results
    ]
    monkeypatch.setitem(sys.modules, "thetalearn.testing", module)
    return results


def test_list_aligns_name_class_and_distribution(model, capsys):
    assert main(["list"]) == 0
    out, err = capsys.readouterr()
    header, *lines = out.splitlines()
    assert header.split() == ["name", "class", "distribution"]
    line = next(line for line in lines if line.startswith("cli-model"))
    assert line.split() == ["cli-model", "cli_model:Model", "cli-dist", "1.0"]
    assert line.index("cli_model:Model") == header.index("class")
    assert line.index("cli-dist") == header.index("distribution")
    assert any(line.startswith("cli-broken") for line in lines)
    assert err == ""
    assert "cli_model" not in sys.modules


def test_list_of_a_type_reports_and_skips_a_broken_plugin(model, capsys):
    assert main(["list", "--type", "regressor"]) == 0
    out, err = capsys.readouterr()
    assert "cli-model" in out
    assert "cli-broken" not in out
    (line,) = (line for line in err.splitlines() if "cli-broken" in line)
    assert line.startswith("warning: The estimator 'cli-broken'")
    assert main(["list", "--type", "classifier"]) == 0
    assert "cli-model" not in capsys.readouterr().out


def test_info_shows_the_summary_and_the_parameters(model, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["info", "cli-model"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "cli-model: Predict nothing at all.",
        "",
        "class         cli_model.Model",
        "distribution  cli-dist 1.0",
        "",
        "parameter  default  description",
        "degree     3        The degree of nothing, at least zero.",
        "low        0.0      The ends of the interval.",
        "high       0.0      The ends of the interval.",
        "mode       'a'      The mode, \"a\" or b.",
        "plain      None",
    ]


def test_info_fits_the_terminal(model, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["info", "cli-model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 50
    (first,) = (number for number, line in enumerate(lines) if line.startswith("degree"))
    assert lines[first : first + 2] == [
        "degree     3        The degree of nothing, at",
        "                    least zero.",
    ]


@pytest.mark.parametrize("docstring", ["", "Fit.", "Fit.\n\nReturns\n-------\nx : int\n    Text."])
def test_a_docstring_without_parameters_describes_none(docstring):
    assert _parameter_descriptions(docstring) == {}


@pytest.mark.parametrize("command", ["info", "check"])
def test_an_unknown_name_is_a_friendly_error(model, capsys, command):
    assert main([command, "cli-modle"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: There is no estimator 'cli-modle'. Did you mean 'cli-model'")
    assert len(err.splitlines()) == 1


def test_info_of_a_broken_plugin_is_a_friendly_error(model, capsys):
    assert main(["info", "cli-broken"]) == 2
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_check_counts_and_succeeds(model, check_contract, capsys):
    check_contract += [
        ("scikit-learn", "check_a", "passed", None),
        ("thetalearn", "check_b", "passed", None),
        ("thetalearn", "check_c", "skipped", None),
    ]
    assert main(["check", "cli-model"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("cli-model: 2 passed, 0 failed, 1 skipped (")
    assert len(out.splitlines()) == 1


def test_check_lists_failures_and_fails(model, check_contract, capsys):
    check_contract += [
        ("scikit-learn", "check_a", "passed", None),
        ("thetalearn", "check_b", "failed", ValueError("first line\nsecond line")),
    ]
    assert main(["check", "cli-model"]) == 1
    line, *failure = capsys.readouterr().out.splitlines()
    assert line.startswith("cli-model: 1 passed, 1 failed, 0 skipped (")
    assert failure == [
        "  FAILED [thetalearn] check_b",
        "    ValueError: first line",
        "    second line",
    ]


@pytest.mark.parametrize("results", [[], [("thetalearn", "check_a", "skipped", None)]])
def test_check_that_runs_nothing_fails(model, check_contract, results):
    check_contract += results
    assert main(["check", "cli-model"]) == 1


def test_check_all_shows_a_broken_plugin_among_the_others(model, check_contract, capsys):
    check_contract += [("thetalearn", "check_a", "passed", None)]
    assert main(["check", "--all"]) == 1
    out = capsys.readouterr().out
    assert "cli-broken: FAILED\n  The estimator 'cli-broken'" in out
    assert "cli-model: 1 passed, 0 failed, 0 skipped" in out


@pytest.mark.parametrize(
    "arguments",
    [[], ["nothing"], ["check"], ["check", "cli-model", "--all"], ["list", "--type", "tree"]],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: thetalearn" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"thetalearn {thetalearn.__version__}\n"


@pytest.fixture
def demo(monkeypatch):
    """Replace the demonstration by one that records its folder or raises what it is given."""
    module = types.ModuleType("thetalearn.demo")
    module.outputs, module.error = [], None

    def run(output):
        module.outputs.append(output)
        if module.error is not None:
            raise module.error

    module.run = run
    monkeypatch.setitem(sys.modules, "thetalearn.demo", module)
    monkeypatch.setattr(thetalearn, "demo", module, raising=False)
    return module


def test_demo_passes_the_folder(demo, tmp_path):
    assert main(["demo", "--output", str(tmp_path)]) == 0
    assert demo.outputs == [tmp_path]


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "plots"), 2, "error: [Errno 13] Permission"),
    ],
)
def test_what_stops_the_demo_is_said_in_one_line(demo, capsys, error, exit_code, message):
    demo.error = error
    assert main(["demo"]) == exit_code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_bug_in_the_demo_is_not_hidden(demo):
    demo.error = ModuleNotFoundError("", name="thetalearn.nothing")
    with pytest.raises(ModuleNotFoundError):
        main(["demo"])
