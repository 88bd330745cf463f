"""Shapley values against shap: enumeration, closed forms, and sampling at equal error.

shap explains the same functions against the same whole background, with its progress bar off. Both
sides make their explainer within the reading. For sampling, the errors of both are measured against
a long run of ours at several budgets, and the time at equal error is read off the line through
shap's logarithms of error and time.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _harness import (
    THREADS,
    Options,
    Race,
    fresh,
    print_table,
    race,
    read_command_line,
    verdict,
)

OURS, SHAP = "thetalearn", "shap"

#: Times as fast as shap, at least.
EXACT_BAR, CLOSED_BAR, SAMPLED_BAR = 5.0, 1000.0, 10.0

N_BACKGROUND = 100
#: Rows that are explained: of exact values, of ours and shap's closed forms, and of sampled ones.
N_EXACT, N_CLOSED, N_PEER, N_SAMPLED = 20, 400, 1, 20

#: Coalitions at which each side samples, and those of the reference.
OUR_EVALS, SHAP_PERMUTATIONS, REFERENCE_EVALS = (350, 1000), (4, 16, 64), 40_000

#: Background rows and columns of the table of sizes.
SIZES = ((100, 6), (100, 10), (100, 12), (1000, 10), (100, 30), (1000, 30), (100, 100))


def shap_masker(background: np.ndarray) -> Any:
    import shap

    return shap.maskers.Independent(background, max_samples=len(background))


def network(n_columns: int) -> tuple[Any, np.ndarray]:
    """A network with interactions of three columns, and rows."""
    from thetalearn import MLPRegressor

    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, n_columns))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + X[:, 3] * X[:, 4] * X[:, 5]
    y += np.maximum(X[:, -1], X[:, -2]) * X[:, -3] + 0.3 * X.sum(1)
    model = MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=40, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It need not converge.
        return model.fit(X, y), X


def same_in_sklearn(model: Any, X: np.ndarray) -> Any:
    """A network of scikit-learn with the weights of ours."""
    from sklearn.neural_network import MLPRegressor

    sizes = model.hidden_layer_sizes
    twin = MLPRegressor(hidden_layer_sizes=sizes, max_iter=1).fit(X[:50], X[:50, 0])
    twin.coefs_ = [weights.copy() for weights in model.coefs_]
    twin.intercepts_ = [weights.copy() for weights in model.intercepts_]
    return twin


def polynomial() -> tuple[Any, np.ndarray]:
    """A polynomial of total degree three in twelve columns, and rows."""
    from thetalearn import ChebyshevRegressor

    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 12))
    y = X[:, 0] * X[:, 1] * X[:, 2] + X[:, 3] ** 3 - X[:, 4] * X[:, 5]
    return ChebyshevRegressor(degree=3, product="complete").fit(X, y), X


def ours(model: Any, background: np.ndarray, rows: np.ndarray, **given: Any) -> Any:
    from thetalearn import shapley_values

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Few evaluations are not precise.
        return shapley_values(model, rows, background=background, random_state=0, **given)


def shap_exact(model: Any, background: np.ndarray, rows: np.ndarray) -> Any:
    import shap

    return shap.explainers.Exact(model.predict, shap_masker(background))(rows, silent=True)


def shap_sampled(model: Any, background: np.ndarray, rows: np.ndarray, n: int, seed: int) -> Any:
    import shap

    explainer = shap.explainers.Permutation(model.predict, shap_masker(background), seed=seed)
    return explainer(rows, max_evals=n * (2 * rows.shape[1] + 1), silent=True)


def race_exact(dtype: str, chosen: Options, of_sklearn: bool = False) -> Race:
    """Enumeration by both, of a network; shap's perhaps of scikit-learn's with the same weights.

    shap evaluates in double precision, and so do we if ``dtype`` says so.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, X = network(10)
        peer = same_in_sklearn(model, X) if of_sklearn else model
    background, rows = X[:N_BACKGROUND], X[500 : 500 + N_EXACT]
    timed = race(
        {
            OURS: partial(ours, model, background, rows, dtype=dtype),
            SHAP: partial(shap_exact, peer, background, rows),
        },
        chosen,
    )
    found, expected = timed.results[OURS], timed.results[SHAP]
    assert found.method == "exact"
    miss = np.abs(found.values - expected.values).max() / np.abs(found.values).max()
    assert miss < (1e-9 if dtype == "float64" else 1e-6), miss
    return Race(timed.seconds, {"miss": miss}, timed.disturbance).per_unit(
        dict.fromkeys((OURS, SHAP), N_EXACT)
    )


def race_closed(chosen: Options) -> Race:
    """Our closed form and shap's enumeration, of a polynomial."""
    model, X = polynomial()
    background, rows = X[:N_BACKGROUND], X[500 : 500 + N_CLOSED]
    timed = race(
        {
            OURS: partial(ours, model, background, rows),
            SHAP: partial(shap_exact, model, background, rows[:N_PEER]),
        },
        chosen,
    )
    found, expected = timed.results[OURS], timed.results[SHAP]
    assert found.method == "closed form"
    miss = np.abs(found.values[:N_PEER] - expected.values).max() / np.abs(found.values).max()
    assert miss < 1e-9, miss
    return Race(timed.seconds, {"miss": miss}, timed.disturbance).per_unit(
        {OURS: N_CLOSED, SHAP: N_PEER}
    )


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def race_sampled(chosen: Options) -> Race:
    """Sampling by both: each of our readings, and shap's time at the same error."""
    model, X = network(30)
    background, rows = X[:N_BACKGROUND], X[500 : 500 + N_SAMPLED]
    sampled = {"method": "permutation", "precision": 0.0}
    reference = ours(model, background, rows, max_evals=REFERENCE_EVALS, **sampled).values

    def miss(found: Any) -> float:
        return float(np.abs(found.values - reference).mean())

    ways = {
        (OURS, n): partial(ours, model, background, rows, max_evals=n, **sampled) for n in OUR_EVALS
    }
    ways |= {
        (SHAP, n): partial(shap_sampled, model, background, rows, n, seed=n)
        for n in SHAP_PERMUTATIONS
    }
    timed = race(ways, chosen)
    errors = {way: miss(found) for way, found in timed.results.items()}
    seconds = {f"{OURS} {n}": timed.seconds[OURS, n] for n in OUR_EVALS}
    for n in OUR_EVALS:
        seconds[f"{SHAP} {n}"] = [
            time_at(
                errors[OURS, n],
                [errors[SHAP, k] for k in SHAP_PERMUTATIONS],
                [timed.seconds[SHAP, k][turn] for k in SHAP_PERMUTATIONS],
            )
            for turn in range(chosen.rounds)
        ]
    reach = float(np.ptp(reference))
    results = {n: errors[OURS, n] / reach for n in OUR_EVALS}
    results["shap"] = [errors[SHAP, k] / reach for k in SHAP_PERMUTATIONS]
    return Race(seconds, results, timed.disturbance)


def time_at(error: float, errors: list[float], seconds: list[float]) -> float:
    """Time at an error, on the line through the logarithms of both."""
    slope, start = np.polyfit(np.log(errors), np.log(seconds), 1)
    return float(np.exp(start + slope * np.log(error)))


def sizes() -> list[list[Any]]:
    """Our time of a row for backgrounds and columns, by every method that serves."""
    lines = []
    for n_background, n_columns in SIZES:
        model, X = network(n_columns)
        rows = X[-10:]
        for method in ("exact", "permutation", "kernel"):
            if method == "exact" and n_columns > 12:
                continue
            work = partial(ours, model, X[:n_background], rows, method=method)
            ours(model, X[:5], rows[:1], method="permutation")
            taken, found = seconds_of(work)
            error = float(found.error_std.max() / np.ptp(found.values))
            lines.append(
                [n_background, n_columns, method, f"{1e3 * taken / len(rows):.3g}", f"{error:.1e}"]
            )
    return lines


def main() -> None:
    chosen = read_command_line(rounds=5)
    rows, races = [], []

    def line(name: str, threads: int, timed: Race, way: str, peer: str, bar: float) -> None:
        ratio = timed.ratio(peer, to=way)
        races.append(timed)
        rows.append(
            [
                name,
                threads,
                timed.milliseconds(way),
                timed.milliseconds(peer),
                ratio,
                verdict(ratio.middle, bar),
            ]
        )

    for threads in THREADS:
        for dtype in ("auto", "float64"):
            for of_sklearn, whose in ((True, "scikit-learn's"), (False, "our")):
                timed = fresh(race_exact, dtype, chosen, of_sklearn, threads=threads)
                name = f"all coalitions, 10 columns, dtype={dtype}, shap of {whose} network, a row"
                line(name, threads, timed, OURS, SHAP, EXACT_BAR)
        timed = fresh(race_closed, chosen, threads=threads)
        name = "closed form, polynomial of 12 columns, of a row"
        line(name, threads, timed, OURS, SHAP, CLOSED_BAR)
        timed = fresh(race_sampled, chosen, threads=threads)
        for n in OUR_EVALS:
            name = f"network of 30 columns to {timed.results[n]:.1e} of the range, {N_SAMPLED} rows"
            line(name, threads, timed, f"{OURS} {n}", f"{SHAP} {n}", SAMPLED_BAR)
    header = ["task", "threads", "ours, ms", "shap, ms", "times faster [min, max]", "bar"]
    print_table(f"Shapley values against {N_BACKGROUND} background rows", header, rows, races)
    print(
        "Networks with two hidden layers of 64 units: ours to the default precision, one thread\n"
    )
    header = ["background", "columns", "method", "ms/row", "largest error / range"]
    table = fresh(sizes, threads=1)
    for cells in [header, *table]:
        print("  ".join(str(cell).rjust(12) for cell in cells))


if __name__ == "__main__":
    main()
