"""SAGE values against the package sage-importance.

Both explain the same fitted model against the same background rows. An additive model has a closed
form, without error, which is held against the time that sage needs by default. For a network both
sample until the same ratio of error to range; as one may end with more precision than it was asked
for, the claim is for equal standard errors. To save time, sage stops earlier here than by default:
the time to a standard error is in proportion to its inverse square. ``--full`` lets it go on to its
default, for some minutes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _harness import Options, Race, fresh, print_table, race, read_command_line, verdict

ROWS, BACKGROUND = 1_000, 512
COLUMNS = (6, 10)
#: Largest standard error over the range of the values at which sage stops, by default and here.
DEFAULT, EARLY, NETWORK = 0.025, 0.1, 0.05
#: Time of sage over ours, at least.
CLOSED, SAMPLED = 10_000.0, 1.0

Data = tuple[np.ndarray, np.ndarray]


def draw(n_columns: int, interaction: float) -> Data:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, n_columns)) @ (np.eye(n_columns) + 0.3 / n_columns)
    y = np.sin(X[:, 0]) + X[:, 1] ** 2 + X[:, 2:] @ np.linspace(0, 1, n_columns - 2)
    y += interaction * X[:, 0] * X[:, 2] * X[:, 3] + rng.standard_normal(ROWS)
    return X, y


def fitted(model: Any, data: Data) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*data)


def their_way(model: Any, data: Data, stop: float) -> Callable[[], Any]:
    import sage

    X, y = data

    def explain() -> Any:
        imputer = sage.MarginalImputer(model.predict, X[:BACKGROUND])
        estimator = sage.PermutationEstimator(imputer, "mse", random_state=0)
        return estimator(X, y, thresh=stop, bar=False)

    return explain


def our_way(model: Any, data: Data, **settings: Any) -> Callable[[], Any]:
    from thetalearn.inspection.importance.sage.values import sage_values

    X, y = data
    return lambda: sage_values(model, X, y, background=X[:BACKGROUND], random_state=0, **settings)


def closed_form(n_columns: int, chosen: Options) -> tuple[Race, float, float]:
    """Times, sage's ratio, and how many of its standard errors it is from ours at most."""
    from thetalearn import BSplineRegressor

    data = draw(n_columns, 0.0)
    model = fitted(BSplineRegressor(knots=5), data)
    stop = DEFAULT if "full" in chosen.extras else EARLY
    ways = {"sage": their_way(model, data, stop), "thetalearn": our_way(model, data)}
    timed = race(ways, chosen)
    theirs, ours = timed.results["sage"], timed.results["thetalearn"]
    timed.results.clear()
    apart = np.abs(theirs.values - ours.values) / theirs.std
    return timed, theirs.std.max() / np.ptp(theirs.values), apart.max()


def sampled(n_columns: int, chosen: Options) -> tuple[Race, float, float, float]:
    """Times, largest standard errors over the range of both, and their distance."""
    from thetalearn import MLPRegressor

    data = draw(n_columns, 1.0)
    model = fitted(MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=30, random_state=0), data)
    ways = {
        "sage": their_way(model, data, NETWORK),
        "thetalearn": our_way(model, data, method="sampling", precision=NETWORK),
    }
    timed = race(ways, chosen)
    theirs, ours = timed.results["sage"], timed.results["thetalearn"]
    timed.results.clear()
    spread = np.ptp(ours.values)
    apart = np.abs(theirs.values - ours.values) / np.hypot(theirs.std, ours.mc_se)
    return timed, theirs.std.max() / spread, ours.mc_se.max() / spread, apart.max()


def main() -> None:
    chosen = read_command_line(1, full="let sage go on to its default precision")
    full = "full" in chosen.extras
    rows, races = [], []
    for n_columns in COLUMNS[:1] if full else COLUMNS:
        timed, ratio, apart = fresh(closed_form, n_columns, chosen, threads=1)
        races.append(timed)
        faster = timed.ratio("sage", "thetalearn")
        by_default = faster.middle * (ratio / DEFAULT) ** 2
        rows.append(
            [
                n_columns,
                timed.milliseconds("sage"),
                timed.milliseconds("thetalearn"),
                faster,
                f"{ratio:.3f}",
                f"{apart:.1f}",
                f"{by_default:.0f}",
                verdict(by_default, CLOSED),
            ]
        )
    header = ["columns", "sage ms", "closed ms", "ratio", "its error", "apart"]
    header += [f"at {DEFAULT}", "claim"]
    stop = DEFAULT if full else EARLY
    print_table(f"additive splines, {ROWS} rows, sage to {stop}", header, rows, races)
    if full:
        return

    n_columns = COLUMNS[-1]
    timed, theirs, ours, apart = fresh(sampled, n_columns, chosen, threads=1)
    faster = timed.ratio("sage", "thetalearn")
    equal = faster.middle * (theirs / ours) ** 2
    row = [
        n_columns,
        timed.milliseconds("sage"),
        timed.milliseconds("thetalearn"),
        faster,
        f"{theirs:.4f}",
        f"{ours:.4f}",
        f"{equal:.0f}",
        f"{apart:.1f}",
        verdict(equal, SAMPLED),
    ]
    header = ["columns", "sage ms", "ours ms", "ratio", "its error", "our error", "at equal error"]
    header += ["apart", "claim"]
    print_table(f"network 64-64, {ROWS} rows, both to {NETWORK}", header, [row], [timed])


if __name__ == "__main__":
    main()
