"""A fit that fails in a fused search is reported as scikit-learn reports it."""

import re
import warnings

import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, KFold, PredefinedSplit

from thetalearn import (
    BSplineRegressor,
    FusedGridSearchCV,
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
)

N = 30
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (N, 2))
Y = X.sum(1) + 0.1 * RNG.normal(size=N)
LABELS = (Y > 0).astype(int)
#: Of two folds, the second to be left out leaves rows of a single class.
HALVES = PredefinedSplit(LABELS)
FAR = X * np.where(np.arange(N) < 10, 1e200, 1.0)[:, None]
ALPHAS = {"alpha": [0.1, 1.0]}
NETWORK = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}


def weighted(estimator, bad):
    return estimator, ALPHAS, X, Y, KFold(3), {"sample_weight": np.where(np.arange(N) < 10, bad, 1)}


CASES = {
    "a parameter": (LinearRegressor(), {"alpha": [-1.0, 1.0]}, X, Y, KFold(3), {}),
    "a domain": (BSplineRegressor(3, domain=(-0.5, 0.5)), ALPHAS, X, Y, KFold(3), {}),
    "weights": weighted(LinearRegressor(), -1.0),
    "weights of a basis": weighted(BSplineRegressor(3), -1.0),
    "a penalty of a kernel": (KernelRidgeRegressor(), {"alpha": [-1.0, 1.0]}, X, Y, KFold(3), {}),
    "an overflow": (KernelRidgeRegressor("polynomial"), ALPHAS, FAR, Y, KFold(3), {}),
    "weights of a kernel": weighted(KernelRidgeRegressor(), -1.0),
    "a kernel parameter": (
        KernelRidgeRegressor(kernel_params={"a": 1}),
        ALPHAS,
        X,
        Y,
        KFold(3),
        {},
    ),
    "a single class": (LogisticClassifier(), ALPHAS, X, LABELS, HALVES, {}),
    "a class weight": (
        LogisticClassifier(),
        {"class_weight": [None, {2: 1.0}]},
        X,
        LABELS,
        KFold(3),
        {},
    ),
    "a single class of a network": (MLPClassifier(**NETWORK), ALPHAS, X, LABELS, HALVES, {}),
    "weights of a network": weighted(MLPRegressor(**NETWORK), -1.0),
    "divergence": (
        MLPRegressor(**NETWORK, solver="sgd", activation="identity", batch_size=5),
        {"learning_rate_init": [1e9, 1e-3]},
        X,
        Y,
        KFold(3),
        {},
    ),
}


def reports(search, X, y, params):
    """What a search says of fits that failed, or the error that all fits ended with."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            search.fit(X, y, **params)
        except ValueError as error:
            return [str(error)]
    return [str(w.message) for w in caught if w.category is FitFailedWarning]


def without_frames(report):
    """Errors with their counts; where they were raised is left out, and equal ones are counted."""
    parts = re.split(r"-{20,}\n", report)
    found = {}
    for part in parts[1:]:
        match = re.match(r"(\d+) fits? failed with the following error:\n(.*)", part, re.S)
        count, text = match.groups()
        kept = [line for line in text.splitlines() if line and not line.startswith(" ")]
        key = "\n".join(kept)
        found[key] = found.get(key, 0) + int(count)
    return parts[0], found


@pytest.mark.parametrize("case", CASES)
def test_failures_are_told_as_by_scikit_learn(case):
    estimator, grid, X, y, cv, params = CASES[case]
    ours, theirs = (
        reports(kind(estimator, grid, cv=cv, refit=False), X, y, params)
        for kind in (FusedGridSearchCV, GridSearchCV)
    )
    assert len(ours) == len(theirs) == 1
    assert "During handling" not in ours[0]
    assert without_frames(ours[0]) == without_frames(theirs[0])
    # As many texts: the same error of several fits has the same frames, and is told once.
    assert ours[0].count("failed with the following") == theirs[0].count(
        "failed with the following"
    )
