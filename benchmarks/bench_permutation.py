"""Permutation importance against scikit-learn's function, of networks and of other estimators."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from _harness import Options, Race, fresh, print_table, race, read_command_line, verdict
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance as sklearn_importance
from sklearn.neural_network import MLPRegressor as SklearnMLP
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COLUMNS = 20
WIDTHS = (64, 64)
#: Rows, repeats, and how many times faster than scikit-learn's function on scikit-learn's network.
NETWORKS = ((200, 30, 7.0), (1_000, 30, 3.5), (20_000, 5, 2.5))
#: Largest difference from scikit-learn's function on the same estimator.
SAME = 1e-6
OTHERS = ("additive spline", "Chebyshev, degree 2", "scaled forest")
ROWS, REPEATS = 2_000, 10


def make_data(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, COLUMNS))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(n)


def our_importance(*args: Any, **parameters: Any) -> Any:
    from thetalearn import permutation_importance

    return permutation_importance(*args, **parameters)


def time_networks(n: int, repeats: int, chosen: Options) -> Race:
    from thetalearn import MLPRegressor

    warnings.simplefilter("ignore")
    X, y = make_data(NETWORKS[-1][0])
    theirs = SklearnMLP(hidden_layer_sizes=WIDTHS, max_iter=3, random_state=0).fit(X, y)
    ours = MLPRegressor(hidden_layer_sizes=WIDTHS, max_iter=3, random_state=0).fit(X, y)
    X, y = X[:n], y[:n]
    asked = {"n_repeats": repeats, "random_state": 0}
    timed = race(
        {
            "thetalearn": lambda: our_importance(ours, X, y, **asked),
            "without sample errors": lambda: our_importance(ours, X, y, se=None, **asked),
            "in double precision": lambda: our_importance(ours, X, y, dtype="float64", **asked),
            "scikit-learn": lambda: sklearn_importance(theirs, X, y, **asked),
        },
        chosen,
    )
    same_model = sklearn_importance(ours, X, y, **asked).importances
    timed.results["apart"] = np.abs(timed.results["thetalearn"].importances - same_model).max()
    return timed


def time_other(name: str, chosen: Options) -> Race:
    from thetalearn import BSplineRegressor, ChebyshevRegressor

    X, y = make_data(ROWS)
    model = {
        "additive spline": BSplineRegressor(8, product="additive"),
        "Chebyshev, degree 2": ChebyshevRegressor(2),
        "scaled forest": make_pipeline(
            StandardScaler(), RandomForestRegressor(20, max_depth=6, random_state=0)
        ),
    }[name].fit(X, y)
    ways = {
        "thetalearn": lambda: our_importance(model, X, y, n_repeats=REPEATS, random_state=0),
        "scikit-learn": lambda: sklearn_importance(model, X, y, n_repeats=REPEATS, random_state=0),
    }
    if name != "scaled forest":
        ways["all shuffles"] = lambda: our_importance(model, X, y, n_repeats="all")
    timed = race(ways, chosen)
    ours, theirs = (timed.results[way].importances for way in ("thetalearn", "scikit-learn"))
    timed.results["apart"] = np.abs(ours - theirs).max()
    return timed


def main() -> None:
    chosen = read_command_line(rounds=7)
    rows, races = [], []
    for n, repeats, bar in NETWORKS:
        timed = fresh(time_networks, n, repeats, chosen, threads=1)
        races.append(timed)
        assert timed.results["apart"] <= SAME
        for way in ("thetalearn", "without sample errors", "in double precision"):
            ratio = timed.ratio("scikit-learn", to=way)
            rows.append(
                [
                    n,
                    repeats,
                    way,
                    timed.milliseconds(way),
                    timed.milliseconds("scikit-learn"),
                    ratio,
                    verdict(ratio.middle, bar) if way == "thetalearn" else "",
                    f"{timed.results['apart']:.0e}" if way == "thetalearn" else "",
                ]
            )
    print_table(
        f"Permutation importance of a network {COLUMNS}-64-64-1, one thread; scikit-learn's "
        "function on scikit-learn's network",
        ["rows", "repeats", "way", "ours, ms", "theirs, ms", "times faster [min, max]", "bar",
         "max |d|, same network"],
        rows,
        races,
    )  # fmt: skip
    rows, races = [], []
    for name in OTHERS:
        timed = fresh(time_other, name, chosen, threads=1)
        races.append(timed)
        every = timed.milliseconds("all shuffles") if "all shuffles" in timed.seconds else ""
        rows.append(
            [
                name,
                timed.milliseconds("thetalearn"),
                timed.milliseconds("scikit-learn"),
                timed.ratio("scikit-learn", to="thetalearn"),
                every,
                f"{timed.results['apart']:.0e}",
            ]
        )
    print_table(
        f"The same estimators, {ROWS:,} rows, {REPEATS} repeats, one thread",
        ["estimator", "ours, ms", "theirs, ms", "times faster [min, max]", "all shuffles, ms",
         "max |d|"],
        rows,
        races,
    )  # fmt: skip


if __name__ == "__main__":
    main()
