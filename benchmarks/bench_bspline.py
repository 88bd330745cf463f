"""A cubic spline with 200 knots fitted to 1e6 unsorted points, against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
from _harness import THREADS, Options, Race, fresh, print_table, race, read_command_line, verdict
from scipy.interpolate import make_lsq_spline
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

KNOTS = 200
ROWS = 1_000_000
FASTER = 4.0
#: Largest difference in the fitted function at which two ways count as the same work.
SAME = 1e-8

#: Where the interior knots lie in (0, 1).
PLACES = {
    "uniform": np.linspace(0, 1, KNOTS + 2)[1:-1],
    "graded": (1 - np.cos(np.pi * np.linspace(0, 1, KNOTS + 2)[1:-1])) / 2,
}
#: scikit-learn's solvers that take sparse designs and are exact or can be made so.
RIDGE_SOLVERS = ("cholesky", "sparse_cg", "lsqr")
GRID = np.linspace(0, 1, 10_001)


def make_data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, ROWS)
    return x, np.sin(20 * x**2) + 0.1 * rng.standard_normal(ROWS)


def our_fit(x: np.ndarray, y: np.ndarray, knots: np.ndarray):
    from thetalearn import BSplineRegressor

    return BSplineRegressor(knots, domain=(0, 1)).fit(x[:, None], y).predict


def scipy_fit(x: np.ndarray, y: np.ndarray, knots: np.ndarray, method: str, presorted: bool):
    if not presorted:
        order = np.argsort(x)
        x, y = x[order], y[order]
    spline = make_lsq_spline(x, y, np.r_[[0.0] * 4, knots, [1.0] * 4], 3, method=method)
    return lambda X: spline(X[:, 0])


def sklearn_fit(x: np.ndarray, y: np.ndarray, knots: np.ndarray, solver: str):
    all_knots = np.r_[0.0, knots, 1.0][:, None]
    # The B-splines sum to one, so they hold the intercept.
    model = make_pipeline(
        SplineTransformer(knots=all_knots, degree=3, sparse_output=True),
        Ridge(alpha=1e-10, fit_intercept=False, solver=solver, tol=1e-10),
    )
    return model.fit(x[:, None], y).predict


def time_fits(place: str, chosen: Options) -> Race:
    x, y = make_data()
    order = np.argsort(x)
    sorted_x, sorted_y = x[order], y[order]
    knots = PLACES[place]
    ways = {"thetalearn": lambda: our_fit(x, y, knots)}
    for method in ("qr", "norm-eq"):
        ways[f"make_lsq_spline, {method}"] = lambda m=method: scipy_fit(x, y, knots, m, False)
        ways[f"make_lsq_spline, {method}, x sorted before"] = lambda m=method: scipy_fit(
            sorted_x, sorted_y, knots, m, True
        )
    for solver in RIDGE_SOLVERS:
        ways[f"SplineTransformer + Ridge, {solver}"] = lambda s=solver: sklearn_fit(x, y, knots, s)
    timed = race(ways, chosen)
    for name, predict in timed.results.items():
        timed.results[name] = np.asarray(predict(GRID[:, None]))
    return timed


def main() -> None:
    chosen = read_command_line(rounds=9)
    rows, races = [], []
    for place in PLACES:
        for threads in THREADS:
            timed = fresh(time_fits, place, chosen, threads=threads)
            races.append(timed)
            ours = timed.results["thetalearn"]
            apart = {name: np.abs(f - ours).max() for name, f in timed.results.items()}
            peers = [name for name in timed.results if name != "thetalearn"]
            # SciPy's routine wants x in order; whoever has it in order already is another case.
            rivals = [p for p in peers if apart[p] <= SAME and "before" not in p]
            fastest = timed.fastest(rivals)
            assert apart["make_lsq_spline, qr"] <= SAME
            for peer in peers:
                ratio = timed.ratio(peer, to="thetalearn")
                rows.append(
                    [
                        place,
                        threads,
                        peer,
                        timed.milliseconds("thetalearn"),
                        timed.milliseconds(peer),
                        ratio,
                        verdict(ratio.middle, FASTER) if peer == fastest else "",
                        f"{apart[peer]:.0e}",
                    ]
                )
    print_table(
        f"BSplineRegressor.fit, degree 3, {KNOTS} knots, {ROWS:,} unsorted points; "
        "the bar is for the fastest peer",
        [
            "knots",
            "threads",
            "peer",
            "ours, ms",
            "peer, ms",
            "times faster [min, max]",
            "bar",
            "max |df|",
        ],
        rows,
        races,
    )


if __name__ == "__main__":
    main()
