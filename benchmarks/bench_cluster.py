"""A search on a cluster of two workers on this machine: shards of fused fits, or candidates.

The same networks are searched through joblib's Dask backend by scikit-learn, which sends every fit
by itself, and by ours, which sends shards; and without a cluster by ours alone.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import joblib
import numpy as np
from _harness import Options, Race, fresh, print_table, race, read_command_line
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thetalearn import FusedGridSearchCV, MLPRegressor

ROWS, COLUMNS, EPOCHS, FOLDS = 2_000, 20, 10, 5
GRID = {
    "mlpregressor__alpha": np.logspace(-6, -1, 6),
    "mlpregressor__learning_rate_init": (3e-4, 1e-3, 3e-3, 1e-2),
}
SHARDS, CANDIDATES, HERE = "ours, cluster", "scikit-learn's, cluster", "ours, this process"
SAME = 1e-6


def search(kind: type, X: np.ndarray, y: np.ndarray, *, cluster: bool) -> Any:
    net = MLPRegressor(
        hidden_layer_sizes=(64, 64),
        batch_size=64,
        max_iter=EPOCHS,
        tol=0.0,
        n_iter_no_change=EPOCHS,
        random_state=0,
    )
    model = make_pipeline(StandardScaler(), net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not cluster:
            return kind(model, GRID, cv=FOLDS).fit(X, y)
        with joblib.parallel_config(backend="dask"):
            return kind(model, GRID, cv=FOLDS).fit(X, y)


def measure(chosen: Options) -> Race:
    from distributed import Client, LocalCluster

    rng = np.random.default_rng(0)
    # In double precision, in which a stack of another size rounds no differently that shows.
    X = rng.standard_normal((ROWS, COLUMNS))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster),
    ):
        found = race(
            {
                SHARDS: partial(search, FusedGridSearchCV, X, y, cluster=True),
                CANDIDATES: partial(search, GridSearchCV, X, y, cluster=True),
                HERE: partial(search, FusedGridSearchCV, X, y, cluster=False),
            },
            chosen,
        )
    scores = [result.cv_results_["mean_test_score"] for result in found.results.values()]
    assert max(np.abs(score - scores[0]).max() for score in scores) < SAME
    return Race(found.seconds, dict.fromkeys(found.results), found.disturbance)


def main() -> None:
    found = fresh(measure, read_command_line(3), threads=1)
    rows = [(way, found.milliseconds(way), found.ratio(way, to=SHARDS)) for way in found.seconds]
    title = f"24 candidates x {FOLDS} folds of MLP 20-64-64-1, {EPOCHS} epochs, two workers"
    print_table(title, ("way", "ms", "over ours on the cluster"), rows, [found])


if __name__ == "__main__":
    main()
