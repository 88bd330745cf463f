"""A Chebyshev fit of degree 50 to 1e6 points, in time and memory, against NumPy's chebfit."""

from __future__ import annotations

from statistics import median

import numpy as np
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
from numpy.polynomial.chebyshev import chebfit, chebval

DEGREE = 50
ROWS = 1_000_000
FASTER, LEANER = 1.5, 2.0

Data = tuple[np.ndarray, np.ndarray]


def make_data(n: int = ROWS) -> Data:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, n)
    return x, np.exp(x) * np.sin(8 * x) + 0.1 * rng.standard_normal(n)


def our_fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from thetalearn import ChebyshevRegressor

    return ChebyshevRegressor(DEGREE, domain=(-1, 1)).fit(x[:, None], y).coef_


def numpy_fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return chebfit(x, y, DEGREE)


WAYS = {"thetalearn": our_fit, "chebfit": numpy_fit}


def time_fits(chosen: Options) -> Race:
    data = make_data()
    return race({name: lambda fit=fit: fit(*data) for name, fit in WAYS.items()}, chosen)


def memory_of(name: str) -> int:
    WAYS[name](*make_data(1000))
    data = make_data()
    return peak_memory(lambda: WAYS[name](*data))


def main() -> None:
    chosen = read_command_line(rounds=11)
    rows, races = [], []
    for threads in THREADS:
        timed = fresh(time_fits, chosen, threads=threads)
        races.append(timed)
        ours, theirs = timed.results["thetalearn"], timed.results["chebfit"]
        grid = np.linspace(-1, 1, 10_001)
        difference = np.abs(chebval(grid, ours) - chebval(grid, theirs)).max()
        assert difference < 1e-10, difference
        faster = timed.ratio("chebfit", to="thetalearn")
        peaks = {
            name: [fresh(memory_of, name, threads=threads) / 2**20 for _ in range(3)]
            for name in WAYS
        }
        peak = {name: median(values) for name, values in peaks.items()}
        leaner = peak["chebfit"] / peak["thetalearn"]
        rows += [
            [
                threads,
                "time, ms",
                timed.milliseconds("thetalearn"),
                timed.milliseconds("chebfit"),
                faster,
                verdict(faster.middle, FASTER),
                f"{difference:.0e}",
            ],
            [
                threads,
                "peak memory, MiB",
                f"{peak['thetalearn']:.0f}",
                f"{peak['chebfit']:.0f}",
                f"{leaner:.1f}",
                verdict(leaner, LEANER),
                "",
            ],
        ]
    print_table(
        f"ChebyshevRegressor(degree={DEGREE}).fit on {ROWS:,} points",
        ["threads", "what", "thetalearn", "chebfit", "ratio [min, max]", "bar", "max |df|"],
        rows,
        races,
    )


if __name__ == "__main__":
    main()
