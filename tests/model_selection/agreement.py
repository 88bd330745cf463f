"""When a search says the same as scikit-learn's: everything but the time that it took."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn

#: Pipelines of scikit-learn 1.7 ask for a request of their own to score with weights.
ROUTING = pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8),
    reason="scikit-learn 1.7 does not route weights to the score of a pipeline",
)

#: What ours have and scikit-learn's do not.
OURS_ALONE = {"fused_report_", "memory_budget"}


def run_recorded(action: Callable[[], Any]) -> tuple[Any, Counter[tuple[str, str]]]:
    """The result, and the warnings on the way: category and what matters of the text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = action()
    return result, Counter((w.category.__name__, essence(str(w.message))) for w in caught)


def essence(text: str) -> str:
    """A message without the frames of its tracebacks and without digits that rounding decides."""
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "Traceback"))]
    return re.sub(r"\d+\.\d+(e[+-]?\d+)?", "#", "\n".join(lines))


def assert_same_results(ours: dict[str, Any], theirs: dict[str, Any], rtol: float) -> None:
    """Two dicts of results are alike: keys in order, types, masks, values."""
    assert list(ours) == list(theirs)
    for key in theirs:
        a, b = ours[key], theirs[key]
        assert type(a) is type(b), key
        if not isinstance(b, np.ndarray):
            assert repr(a) == repr(b), key
            continue
        assert a.dtype == b.dtype, key
        assert a.shape == b.shape, key
        if isinstance(b, np.ma.MaskedArray):
            np.testing.assert_array_equal(np.ma.getmaskarray(a), np.ma.getmaskarray(b), key)
            assert repr(a.tolist()) == repr(b.tolist()), key
        elif key.endswith("_time"):
            assert np.all(a >= 0), key
        elif b.dtype.kind == "f":
            # Scores lie between 0 and 1, or are sums of squares of numbers like these.
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=key)
        else:
            np.testing.assert_array_equal(a, b, key)


def assert_same_search(ours: Any, theirs: Any, X: Any, rtol: float) -> None:
    """Two fitted searches are alike."""
    assert_same_results(ours.cv_results_, theirs.cv_results_, rtol)
    assert {name for name in vars(ours)} - OURS_ALONE == set(vars(theirs))
    for name in ("n_splits_", "multimetric_", "best_index_", "best_params_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            assert repr(getattr(ours, name)) == repr(getattr(theirs, name)), name
    for name in [name for name in vars(theirs) if name.startswith(("n_", "max_r", "min_r"))]:
        assert getattr(ours, name) == getattr(theirs, name), name
    if hasattr(theirs, "best_score_"):
        np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=rtol, atol=rtol)
    if hasattr(theirs, "best_estimator_"):
        # The best candidate is refitted by scikit-learn, on both sides.
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
