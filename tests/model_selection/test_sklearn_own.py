"""scikit-learn's tests of its searches and cross-validations, passed by ours in their place.

Each of its test modules is run twice: as it is, so that its estimators are fitted one by one, and
with all estimators of scikit-learn taking part in fused fits (``fused`` in the names of the tests).
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sklearn.svm import LinearSVC

import thetalearn
from tests.model_selection.foreign import fusable_estimators

try:
    import cloudpickle
except ImportError:
    from joblib.externals import cloudpickle

SUBSTITUTES = {
    "GridSearchCV": "FusedGridSearchCV",
    "RandomizedSearchCV": "FusedRandomizedSearchCV",
    "HalvingGridSearchCV": "FusedHalvingGridSearchCV",
    "HalvingRandomSearchCV": "FusedHalvingRandomSearchCV",
    "cross_validate": "fused_cross_validate",
    "cross_val_score": "fused_cross_val_score",
    "cross_val_predict": "fused_cross_val_predict",
    "learning_curve": "fused_learning_curve",
    "validation_curve": "fused_validation_curve",
}

MODULES = ("test_search", "test_successive_halving", "test_validation")

#: Tests that say nothing about ours, and why.
NOT_APPLICABLE = {
    "test_fit_param_deprecation": "passes fit_params, which scikit-learn 1.8 has removed",
    "test_custom_run_search": "asks for equal attributes, and fused_report_ is one more; "
    "test_parity.py has a search with its own candidates",
}

_IDENTITY = "its estimator knows its training rows by being the very object that fit was given"

#: Further ones where all estimators take part.
NOT_FUSABLE = {
    "test_learning_curve": _IDENTITY,
    "test_learning_curve_with_boolean_indices": _IDENTITY,
    "test_validation_curve": _IDENTITY,
}

#: What takes longest, and is left to `make test-slow`.
SLOW = {"test_gridsearchcv_cross_val_predict_with_method"}


@pytest.fixture
def global_random_seed() -> int:
    """A fixture of scikit-learn's."""
    return 42


@pytest.fixture(autouse=True)
def _estimators(request: pytest.FixtureRequest) -> Any:
    if request.node.originalname.startswith("test_fused_"):
        with fusable_estimators():
            yield
    else:
        yield


def test_fused_all_estimators_take_part() -> None:
    search = thetalearn.FusedGridSearchCV(LinearSVC(), {"C": [0.1, 1]}, cv=2)
    search.fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    assert search.fused_report_.n_fused == search.fused_report_.n_fits == 4


def with_substitutes(name: str, mode: str) -> ModuleType | None:
    """A test module of scikit-learn that imports ours instead; None where there are no tests."""
    try:
        spec = importlib.util.find_spec(f"sklearn.model_selection.tests.{name}")
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    imports = [
        k for k, node in enumerate(tree.body) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exchange = [f"{theirs} = thetalearn.{ours}" for theirs, ours in SUBSTITUTES.items()]
    lines = ["import thetalearn", *exchange]
    tree.body[imports[-1] + 1 : imports[-1] + 1] = ast.parse("\n".join(lines)).body
    module = ModuleType(f"{mode}_{name}")
    module.__file__ = spec.origin
    sys.modules[module.__name__] = module
    # Workers of joblib cannot import it.
    cloudpickle.register_pickle_by_value(module)
    exec(compile(tree, spec.origin, "exec"), vars(module))
    if hasattr(module, "check_recorded_metadata"):
        module.check_recorded_metadata = known_callers(module.check_recorded_metadata)
    return module


def mentions(path: str) -> dict[str, set[str]]:
    """Names that each function and class of a file mentions, by itself or by others of the file."""
    found = {
        node.name: {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        for node in ast.parse(Path(path).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    for _ in found:
        grown = {
            name: names.union(*(found.get(other, set()) for other in names))
            for name, names in found.items()
        }
        if grown == found:
            break
        found = grown
    return found


def known_callers(check: Any) -> Any:
    """A check of recorded metadata for which ours are called as scikit-learn's functions are."""

    def of_theirs(**expected: Any) -> None:
        check(**expected | {"parent": expected["parent"].removeprefix("fused_")})

    return of_theirs


def collect(name: str, mode: str) -> None:
    """Put the tests of a module among those of this one."""
    module = with_substitutes(name, mode)
    label = name.removeprefix("test_")
    if module is None:
        reason = "scikit-learn is installed without its tests"
        globals()[f"test_{mode}_{label}"] = pytest.mark.skip(reason=reason)(lambda: None)
        return
    concerned = set(SUBSTITUTES) | {"BaseSearchCV"}
    mentioned = mentions(str(module.__file__))
    for test, function in list(vars(module).items()):
        if not test.startswith("test_") or getattr(function, "__module__", "") != module.__name__:
            continue
        if not concerned & mentioned[test]:
            continue
        reason = NOT_APPLICABLE.get(test) or (mode == "fused" and NOT_FUSABLE.get(test))
        if reason:
            function = pytest.mark.skip(reason=reason)(function)
        if test in SLOW:
            function = pytest.mark.slow(function)
        globals()[f"test_{mode}_{label}{test.removeprefix('test')}"] = function


for _name in MODULES:
    for _mode in ("alone", "fused"):
        collect(_name, _mode)
