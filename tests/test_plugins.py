"""Plugin discovery: what is installed is found, and what is broken is reported."""

import ast
import os
import shutil
import subprocess
import sys
import venv
import warnings
from pathlib import Path

import pytest

import thetalearn
from thetalearn.plugins import (
    DuplicateEstimatorError,
    EstimatorRecord,
    PluginImportError,
    PluginWarning,
    UnknownEstimatorError,
    all_estimators,
    find_record,
    get_estimator,
    list_estimators,
)

ROOT = Path(__file__).resolve().parents[1]

ESTIMATOR = """
from sklearn.base import BaseEstimator, {mixin}

class Model({mixin}, BaseEstimator):
    def fit(self, X, y=None):
        return self
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts a distribution with estimators on the import path."""

    def install(distribution, entries, source="", *, metadata_suffix="1.0.dist-info", module=None):
        module = module or distribution.replace("-", "_").lower()
        root = tmp_path / f"{distribution}-{metadata_suffix}"
        info = root / f"{distribution.replace('-', '_')}-{metadata_suffix}"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        file = "PKG-INFO" if metadata_suffix.endswith("egg-info") else "METADATA"
        (info / file).write_text(metadata, encoding="utf-8")
        lines = "".join(f"{name} = {module}:{path}\n" for name, path in entries.items())
        (info / "entry_points.txt").write_text(f"[thetalearn.estimators]\n{lines}", "utf-8")
        (root / f"{module}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(str(root))
        # Distributions of different tests share module names.
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def names(records):
    return [record[0] for record in records]


def test_listing_reads_metadata_only(install):
    install("lazy-dist", {"lazy-model": "Model"}, "raise RuntimeError('imported')")
    record = next(record for record in list_estimators() if record.name == "lazy-model")
    assert record == EstimatorRecord("lazy-model", "lazy_dist:Model", "lazy-dist", "1.0")
    assert find_record("lazy-model") == record
    assert "lazy_dist" not in sys.modules


def test_listing_is_sorted_by_name(install):
    install("two-models", {"z-model": "Model", "a-model": "Model"})
    listed = names(list_estimators())
    assert listed == sorted(listed)
    assert {"a-model", "z-model"} <= set(listed)


def test_own_estimators_are_registered_as_a_plugin_is():
    own = {
        r.object_path.partition(":")[2] for r in list_estimators() if r.distribution == "thetalearn"
    }
    public = {name for name in thetalearn.__all__ if name[0].isupper()}
    assert own == {
        name for name in public if not name.endswith(("Display", "Explainer", "SearchCV"))
    }


def test_an_estimator_is_found_by_name(install):
    install("good-dist", {"good-model": "Model"}, ESTIMATOR.format(mixin="RegressorMixin"))
    estimator = get_estimator("good-model")
    assert estimator.__name__ == "Model"
    assert ("good-model", estimator) in all_estimators()


@pytest.mark.parametrize(
    ("mixin", "kind"),
    [
        ("ClassifierMixin", "classifier"),
        ("ClusterMixin", "cluster"),
        ("RegressorMixin", "regressor"),
        ("TransformerMixin", "transformer"),
    ],
)
def test_type_filter_keeps_the_type(install, mixin, kind):
    install("typed-dist", {"typed-model": "Model"}, ESTIMATOR.format(mixin=mixin))
    others = {"classifier", "cluster", "regressor", "transformer", "sampler"} - {kind}
    assert "typed-model" in names(all_estimators(kind))
    assert "typed-model" in names(all_estimators(["sampler", kind]))
    assert "typed-model" not in names(all_estimators(others))


def test_a_sampler_is_what_has_a_method_sample(install):
    source = ESTIMATOR.format(mixin="TransformerMixin") + "    def sample(self): ...\n"
    install("sampler-dist", {"sampler-model": "Model"}, source)
    assert "sampler-model" in names(all_estimators("sampler"))
    assert "sampler-model" in names(all_estimators("transformer"))


@pytest.mark.parametrize("bad", ["regresor", ["regressor", "tree"]])
def test_an_unknown_type_filter_names_the_allowed_ones(bad):
    with pytest.raises(ValueError, match=r"type_filter='(regresor|tree)'.*'classifier', 'cluster'"):
        all_estimators(bad)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("def broken(:", "SyntaxError"),
        ("", "AttributeError"),
        ("Model = 3", "not an estimator class: it is an object of type int"),
        ("class Model: ...", "not an estimator class: it has no get_params and no fit"),
    ],
)
def test_a_broken_plugin_is_reported_and_skipped(install, source, cause):
    install("broken-dist", {"broken-model": "Model"}, source)
    install("good-dist", {"good-model": "Model"}, ESTIMATOR.format(mixin="RegressorMixin"))
    with pytest.warns(PluginWarning, match=f"'broken-model'.*'broken-dist'.*{cause}") as caught:
        found = names(all_estimators())
    assert sum("broken-model" in str(warning.message) for warning in caught) == 1
    assert "good-model" in found
    assert "broken-model" not in found
    with warnings.catch_warnings():
        warnings.simplefilter("error", PluginWarning)
        assert get_estimator("good-model").__name__ == "Model"


def test_asking_for_a_broken_plugin_is_an_import_error_with_its_cause(install):
    install("broken-dist", {"broken-model": "Model"}, "1 / 0")
    with pytest.raises(PluginImportError, match=r"'broken-model'.*'broken-dist'") as caught:
        get_estimator("broken-model")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_abstract_class_is_not_an_estimator(install):
    source = """
from abc import ABC, abstractmethod
from sklearn.base import BaseEstimator

class Model(BaseEstimator, ABC):
    @abstractmethod
    def fit(self, X, y): ...
"""
    install("abstract-dist", {"abstract-model": "Model"}, source)
    with pytest.raises(PluginImportError, match="it is abstract"):
        get_estimator("abstract-model")


@pytest.mark.parametrize("name", ["Bad-Model", "bad_model", "bad--model", "1-model", "bad model"])
def test_a_name_that_is_not_kebab_is_reported_and_skipped(install, name):
    install("named-dist", {name: "Model"}, ESTIMATOR.format(mixin="RegressorMixin"))
    with pytest.warns(PluginWarning, match=f"'{name}'.*'named-dist'.*lower-case"):
        assert name not in names(list_estimators())
    with pytest.warns(PluginWarning, match=f"'{name}'.*'named-dist'.*lower-case"):
        assert name not in names(all_estimators())
    with pytest.raises(PluginImportError, match="invalid name"):
        get_estimator(name)


def test_a_name_taken_twice_is_an_error_that_names_both_distributions(install):
    install("first-dist", {"same-model": "Model"})
    install("second-dist", {"same-model": "Model", "other-model": "Model"}, "class Model: ...")
    message = r"'same-model'.*'first-dist' \(first_dist:Model\) and 'second-dist'.*uninstall"
    for discover in (list_estimators, all_estimators, lambda: get_estimator("same-model")):
        with pytest.raises(DuplicateEstimatorError, match=message):
            discover()
    assert find_record("other-model").distribution == "second-dist"


def test_a_plugin_cannot_take_the_name_of_our_estimator(install):
    install("greedy-dist", {"chebyshev-regressor": "Model"})
    with pytest.raises(DuplicateEstimatorError, match=r"'greedy-dist'.*'thetalearn'"):
        get_estimator("chebyshev-regressor")


@pytest.mark.parametrize("second", ["Twice-Dist", "Twice.Dist"])
def test_one_distribution_found_twice_is_not_a_duplicate(install, second):
    source = ESTIMATOR.format(mixin="RegressorMixin")
    install("twice-dist", {"twice-model": "Model"}, source, module="twice_dist")
    install(
        second,
        {"twice-model": "Model"},
        source,
        module="twice_dist",
        metadata_suffix="1.0.egg-info",
    )
    assert names(list_estimators()).count("twice-model") == 1
    assert names(all_estimators()).count("twice-model") == 1


def test_a_half_removed_distribution_does_not_break_the_others(tmp_path, monkeypatch):
    info = tmp_path / "removed_dist-1.0.dist-info"
    info.mkdir()
    entry = "[thetalearn.estimators]\nremoved-model = removed_dist:Model\n"
    (info / "entry_points.txt").write_text(entry, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_record("removed-model").distribution == "unknown"
    with pytest.warns(PluginWarning, match="'removed-model'"):
        assert "removed-model" not in names(all_estimators())


@pytest.mark.parametrize("typed", ["near-modle", "near_model", "NearModel"])
def test_an_unknown_name_comes_with_suggestions(install, typed):
    install("near-dist", {"near-model": "Model"})
    with pytest.raises(UnknownEstimatorError, match=f"'{typed}'. Did you mean .*'near-model'"):
        get_estimator(typed)
    with pytest.raises(LookupError, match="list_estimators"):
        get_estimator("0123456789")


def test_import_is_light():
    code = (
        "import sys, thetalearn, thetalearn.plugins, thetalearn.cli;"
        "thetalearn.list_estimators(); dir(thetalearn);"
        "assert not {'torch', 'sklearn', 'scipy', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_two_tables_of_public_names_agree():
    tree = ast.parse(Path(thetalearn.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == thetalearn._MODULE_OF
    assert set(typed) <= set(dir(thetalearn))


@pytest.mark.parametrize("name", thetalearn.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(thetalearn, name).__name__ == name


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'thetalearn' has no attribute 'nothing'"):
        thetalearn.nothing  # noqa: B018


@pytest.fixture(scope="module")
def python_with_plugin(tmp_path_factory):
    """Build the example plugin, install it into a fresh environment, return its interpreter."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(ROOT / "examples" / "plugin_package", folder / "source")
    venv.create(folder / "venv", symlinks=os.name != "nt")
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / "venv" / scripts / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = subprocess.check_output([python, "-c", query], text=True).strip()
    # The environment sees what is installed here, so that nothing is downloaded.
    paths = "\n".join(path for path in sys.path if Path(path).is_dir())
    Path(site_packages, "current.pth").write_text(paths, encoding="utf-8")

    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("thetalearn_fourier-*.whl")
    subprocess.run([*pip, "--python", python, "install", *offline, wheel], check=True)
    return python


def run(*command):
    """Run a command away from the sources and return its output; fail with it if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_plugin_is_found_and_searched(python_with_plugin):
    code = """
import numpy as np
from sklearn.model_selection import GridSearchCV
from thetalearn import all_estimators, get_estimator

FourierRegressor = get_estimator("fourier-regressor")
assert dict(all_estimators("regressor"))["fourier-regressor"] is FourierRegressor
assert "fourier-regressor" not in dict(all_estimators("classifier"))
X = np.random.default_rng(0).uniform(-1, 1, (300, 2))
y = np.cos(3 * np.pi * X[:, 0]) + np.sin(np.pi * X[:, 1])
search = GridSearchCV(FourierRegressor(frequency=np.pi), {"degree": [1, 2, 3]}).fit(X, y)
print(search.best_params_, search.best_score_ > 0.999999)
"""
    assert run(python_with_plugin, "-c", code) == "{'degree': 3} True\n"


def test_the_example_plugin_is_listed_and_keeps_the_contract(python_with_plugin):
    thetalearn = (python_with_plugin, "-m", "thetalearn.cli")
    assert "thetalearn_fourier:FourierRegressor" in run(*thetalearn, "list")
    assert run(*thetalearn, "info", "fourier-regressor").startswith("fourier-regressor: ")
    assert " 0 failed" in run(*thetalearn, "check", "fourier-regressor")
