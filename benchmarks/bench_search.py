"""Whole grid searches: ours against scikit-learn's ``GridSearchCV`` with two processes.

Ridge regressions of 20 penalties on 5 folds, and multilayer perceptrons of 24 candidates on 5
folds, each alone and behind a scaler in a pipeline, the fit of the best candidate included.
scikit-learn searches over its own estimators, over ours, and over a skorch net. All searches over
the same estimator must give the same scores.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import joblib
import numpy as np
import torch
from _harness import (
    THREADS,
    Options,
    Race,
    fresh,
    peak_memory,
    print_table,
    race,
    read_command_line,
    verdict,
)
from _torch_net import Net
from joblib.externals.loky import get_reusable_executor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor as SklearnMLP
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from thetalearn import FusedGridSearchCV, LinearRegressor, MLPRegressor, PolynomialRegressor

ROWS, COLUMNS, TERMS_COLUMNS = 20_000, 300, 23
PENALTIES = np.logspace(-4, 1, 20)
FOLDS, PROCESSES = 5, 2

NET_ROWS, NET_COLUMNS, HIDDEN, BATCH, EPOCHS = 2_000, 20, (64, 64), 64, 5
ALPHAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
RATES = (3e-4, 1e-3, 3e-3, 1e-2)

RIDGE_BAR, SKLEARN_BAR, SKORCH_BAR = 25.0, 5.0, 60.0

#: Largest difference of scores between ways of searching over the same estimator.
SAME_RIDGE, SAME_NET = 1e-10, 1e-5

OURS = "fused"
SAME_ESTIMATOR = "GridSearchCV over ours"
RIDGE, SKLEARN, SKORCH = "GridSearchCV, Ridge", "GridSearchCV, MLPRegressor", "GridSearchCV, skorch"

CANDIDATES, BUDGET = 1_000, 2**28

Ways = dict[str, Callable[[], Any]]


def ridge_data(columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, columns))
    return X, X @ rng.standard_normal(columns) + rng.standard_normal(ROWS)


def net_data(rows: int = NET_ROWS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, NET_COLUMNS))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.standard_normal(rows)
    return X.astype(np.float32), y.astype(np.float32)


def named(model: Any, grid: dict[str, Any]) -> dict[str, Any]:
    """A grid for the last step of a pipeline, or for an estimator itself."""
    if not hasattr(model, "steps"):
        return grid
    return {f"{model.steps[-1][0]}__{name}": values for name, values in grid.items()}


def searched(kind: type, model: Any, grid: dict[str, Any], X: Any, y: Any, **options: Any) -> Any:
    # A process for each core, and a thread in each, whatever the limit of this process is.
    with (
        warnings.catch_warnings(),
        joblib.parallel_config(backend="loky", inner_max_num_threads=1, n_jobs=1),
    ):
        warnings.simplefilter("ignore")
        return kind(model, named(model, grid), cv=FOLDS, **options).fit(X, y)


def ridge_ways(what: str) -> Ways:
    """Ridge regression on 300 columns, behind a scaler, or on all products of 23 columns."""
    n_train = ROWS * (FOLDS - 1) // FOLDS
    X, y = ridge_data(TERMS_COLUMNS if what == "basis" else COLUMNS)
    ours: Any = PolynomialRegressor(degree=2) if what == "basis" else LinearRegressor()
    theirs: Any = Ridge()
    if what == "basis":
        theirs = make_pipeline(PolynomialFeatures(2, include_bias=False), Ridge())
    elif what == "scaled":
        ours, theirs = (make_pipeline(StandardScaler(), model) for model in (ours, theirs))
    own, sums = {"alpha": PENALTIES}, {"alpha": PENALTIES * n_train}
    return {
        OURS: partial(searched, FusedGridSearchCV, ours, own, X, y),
        RIDGE: partial(searched, GridSearchCV, theirs, sums, X, y, n_jobs=PROCESSES),
        SAME_ESTIMATOR: partial(searched, GridSearchCV, ours, own, X, y, n_jobs=PROCESSES),
    }


def net_ways(what: str) -> Ways:
    """Networks, alone or behind a scaler."""
    from skorch import NeuralNetRegressor

    X, y = net_data()
    common = {
        "hidden_layer_sizes": HIDDEN,
        "batch_size": BATCH,
        "max_iter": EPOCHS,
        "tol": 0.0,
        "n_iter_no_change": EPOCHS,
        "random_state": 0,
    }
    skorch = NeuralNetRegressor(
        Net,
        module__sizes=(NET_COLUMNS, *HIDDEN, 1),
        optimizer=torch.optim.Adam,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    models: list[Any] = [MLPRegressor(**common), SklearnMLP(**common), skorch]
    if what == "scaled":
        models = [make_pipeline(StandardScaler(), model) for model in models]
    ours, theirs, torch_net = models
    grid = {"alpha": ALPHAS, "learning_rate_init": RATES}
    decays = {"optimizer__weight_decay": ALPHAS, "lr": RATES}
    return {
        OURS: partial(searched, FusedGridSearchCV, ours, grid, X, y),
        SKLEARN: partial(searched, GridSearchCV, theirs, grid, X, y, n_jobs=PROCESSES),
        SAME_ESTIMATOR: partial(searched, GridSearchCV, ours, grid, X, y, n_jobs=PROCESSES),
        SKORCH: partial(searched, GridSearchCV, torch_net, decays, X, y[:, None], n_jobs=PROCESSES),
    }


def measure(make: Callable[[str], Ways], what: str, same: float, chosen: Options) -> Race:
    """Race the ways, and make sure that those over the same estimator agree."""
    try:
        found = race(make(what), chosen)
    finally:
        # Its processes would be waited for by the end of this one.
        get_reusable_executor().shutdown()
    ours, theirs = (
        found.results[way].cv_results_["mean_test_score"] for way in (OURS, SAME_ESTIMATOR)
    )
    report = found.results[OURS].fused_report_
    assert report.n_fused == report.n_fits, report
    assert np.abs(ours - theirs).max() < same, np.abs(ours - theirs).max()
    slim = {way: None for way in found.results}
    return Race(found.seconds, slim, found.disturbance)


def memory(kind: str) -> int:
    """Peak of a search of many candidates."""
    if kind == "networks":
        X, y = net_data()
        model: Any = MLPRegressor((64, 64), batch_size=200, max_iter=1, random_state=0)
    else:
        X, y = ridge_data(COLUMNS)
        model = LinearRegressor()
    grid = {"alpha": np.logspace(-6, 1, CANDIDATES)}
    few = {"alpha": [1.0, 2.0]}
    searched(FusedGridSearchCV, model, few, X[:500], y[:500], memory_budget=BUDGET)
    return peak_memory(
        partial(searched, FusedGridSearchCV, model, grid, X, y, memory_budget=BUDGET, refit=False)
    )


def main() -> None:
    chosen = read_command_line(3)
    header = ("threads", "peer", "ours, ms", "peer, ms", "times as fast", "bar")
    cases = [
        (ridge_ways, what, SAME_RIDGE, name)
        for what, name in (
            ("columns", "ridge, 300 columns"),
            ("basis", "ridge, 300 products of 23 columns"),
            ("scaled", "ridge, 300 columns, in a pipeline with a scaler"),
        )
    ] + [
        (net_ways, what, SAME_NET, name)
        for what, name in (
            ("alone", "MLP 20-64-64-1"),
            ("scaled", "MLP 20-64-64-1 in a pipeline with a scaler"),
        )
    ]
    bars = {RIDGE: RIDGE_BAR, SKLEARN: SKLEARN_BAR, SKORCH: SKORCH_BAR}
    for make, what, same, name in cases:
        rows, races = [], []
        for threads in THREADS:
            found = fresh(measure, make, what, same, chosen, threads=threads)
            races.append(found)
            for peer in found.seconds:
                if peer == OURS:
                    continue
                ratio = found.ratio(peer, to=OURS)
                bar = verdict(ratio.middle, bars[peer]) if peer in bars else ""
                times = found.milliseconds(OURS), found.milliseconds(peer)
                rows.append((threads, peer, *times, ratio, bar))
        title = f"Search over {name}, against GridSearchCV(n_jobs={PROCESSES})"
        print_table(title, header, rows, races)
    print(f"Peak memory of {CANDIDATES} candidates x {FOLDS} folds beyond the data")
    for kind in ("ridge", "networks"):
        peak = fresh(memory, kind, threads=1)
        met = "met" if peak <= BUDGET else "MISSED"
        print(f"{kind}: {peak / 2**20:.0f} MiB of a budget of {BUDGET / 2**20:.0f} ({met})")


if __name__ == "__main__":
    main()
