"""1e6 rows in 100 batches by partial_fit, and merging two halves, against one fit of all rows.

The peer is the library's own fit: streaming and merging are exact, so what they cost is overhead.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from _harness import THREADS, Options, Race, fresh, print_table, race, read_command_line

ROWS, BATCHES = 1_000_000, 100
GRID = np.linspace(0, 1, 10_001)[:, None]
NAMES = ("ChebyshevRegressor(50)", "BSplineRegressor(200 knots)", "LinearRegressor, 20 columns")


def make_data(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets, and inputs at which fits are compared."""
    rng = np.random.default_rng(0)
    columns = 20 if name.startswith("Linear") else 1
    X = rng.uniform(0, 1, (ROWS, columns))
    y = np.sin(20 * X[:, 0] ** 2) + 0.1 * rng.standard_normal(ROWS)
    return X, y, GRID if columns == 1 else X[:10_000]


def make_model(name: str):
    from thetalearn import BSplineRegressor, ChebyshevRegressor, LinearRegressor

    if name.startswith("Chebyshev"):
        return ChebyshevRegressor(50, domain=(0, 1))
    if name.startswith("BSpline"):
        return BSplineRegressor(200, domain=(0, 1))
    return LinearRegressor()


def time_ways(name: str, chosen: Options) -> tuple[Race, float]:
    X, y, points = make_data(name)
    batches = list(zip(np.array_split(X, BATCHES), np.array_split(y, BATCHES), strict=True))
    half = ROWS // 2
    first = make_model(name).fit(X[:half], y[:half])
    second = make_model(name).fit(X[half:], y[half:])

    def stream():
        model = make_model(name)
        for part in batches:
            model.partial_fit(*part)
        return model

    ways = {
        "fit": lambda: make_model(name).fit(X, y),
        "partial_fit": stream,
        "merge": lambda: deepcopy(first).merge(second),
    }
    timed = race(ways, chosen)
    fits = {way: model.predict(points) for way, model in timed.results.items()}
    timed.results.clear()
    return timed, max(float(np.abs(f - fits["fit"]).max()) for f in fits.values())


def main() -> None:
    chosen = read_command_line(rounds=9)
    rows, races = [], []
    for name in NAMES:
        for threads in THREADS:
            timed, difference = fresh(time_ways, name, chosen, threads=threads)
            races.append(timed)
            assert difference < 1e-9, difference
            merging = timed.ratio("merge", to="fit")
            rows.append(
                [
                    name,
                    threads,
                    timed.milliseconds("fit"),
                    timed.ratio("partial_fit", to="fit"),
                    f"{merging.middle:.4f} [{merging.low:.4f}, {merging.high:.4f}]",
                    f"{difference:.0e}",
                ]
            )
    print_table(
        f"{ROWS:,} rows: {BATCHES} calls of partial_fit, and a merge of two halves, over one fit",
        [
            "model",
            "threads",
            "fit, ms",
            "partial_fit / fit [min, max]",
            "merge / fit [min, max]",
            "max |df|",
        ],
        rows,
        races,
    )


if __name__ == "__main__":
    main()
