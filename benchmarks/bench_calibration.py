"""How often intervals of 95 % cover, over many seeds.

Sampled Shapley and SAGE values are held against those of all coalitions, at every seed of the
sampling. Errors through the rows are held against the population: every seed is a new sample of
rows, which a fixed model has not seen. Importances of linear models are known there; those of the
network are taken from a sample a hundred times as large.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _harness import fresh

#: Coverage of the columns together, in which claims are met.
LOW, HIGH = 0.92, 0.97

N_ROWS, N_LARGE, N_COLUMNS = 2000, 200_000, 6
NORMAL = 1.959963984540054

#: Correlated columns, and what the target takes of them.
COVARIANCE = 0.7 * np.eye(N_COLUMNS) + 0.3
WEIGHTS = np.array([1.0, -0.5, 0.8, 0.3, 0.0, 0.2])

#: From a seed, intervals (2, k) and what they should cover (k,).
Trial = Callable[[int], tuple[np.ndarray, np.ndarray]]


def draw(n_rows: int, seed: int, *, bent: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows and a noisy target, linear in the columns or with interactions too."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, N_COLUMNS)) @ np.linalg.cholesky(COVARIANCE).T
    y = X @ WEIGHTS + 0.5 * rng.standard_normal(n_rows)
    return X, y + bent * (X[:, 0] * X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3]) * X[:, 4])


def linear() -> Any:
    """A linear model whose coefficients are not the best ones."""
    from thetalearn import LinearRegressor

    return LinearRegressor().fit(*draw(60, 10**6, bent=False))


def network() -> Any:
    from thetalearn import MLPRegressor

    model = MLPRegressor(hidden_layer_sizes=(16, 16), max_iter=60, random_state=0)
    return model.fit(*draw(1000, 10**6, bent=True))


def shapley(method: str, **given: Any) -> Trial:
    """Sampled Shapley values of eight rows."""
    from thetalearn import ShapleyExplainer

    model, (X, _) = network(), draw(108, 0, bent=True)
    rows, background = X[:8], X[8:]
    exact = ShapleyExplainer(model, background, method="exact")(rows).values
    explainer = ShapleyExplainer(model, background, method=method, **given)

    def trial(seed: int) -> tuple[np.ndarray, np.ndarray]:
        explainer.random_state = seed
        found = explainer(rows)
        return np.stack([found.lower_bounds.ravel(), found.upper_bounds.ravel()]), exact.ravel()

    return trial


def large_background() -> Trial:
    """Sampled Shapley values against a background of which a batch sees a part."""
    from thetalearn import ShapleyExplainer

    model, (X, _) = network(), draw(1008, 0, bent=True)
    exact = ShapleyExplainer(model, X[8:], method="exact")(X[:8]).values
    explainer = ShapleyExplainer(model, X[8:], method="permutation", precision=0.05)

    def trial(seed: int) -> tuple[np.ndarray, np.ndarray]:
        explainer.random_state = seed
        found = explainer(X[:8])
        return np.stack([found.lower_bounds.ravel(), found.upper_bounds.ravel()]), exact.ravel()

    return trial


def sage_orders() -> Trial:
    """Sampled SAGE values of a network."""
    from thetalearn import sage_values

    model, (X, y) = network(), draw(120, 0, bent=True)
    given = {"background": X[:30]}
    exact = sage_values(model, X, y, method="exact", **given)["values"]

    def trial(seed: int) -> tuple[np.ndarray, np.ndarray]:
        found = sage_values(
            model, X, y, method="sampling", random_state=seed, precision=0.05, **given
        )
        return found.mc_ci.T, exact

    return trial


def sage_rows() -> Trial:
    """SAGE values of a linear model, in closed form, of a sample of rows."""
    from thetalearn import sage_values

    model = linear()
    parts = model.coef_ * COVARIANCE
    # 2 E[(y - f0) g_j] - E[g_j sum_k g_k], where f0 is the mean of f and not of y.
    population = model.coef_ * (2 * COVARIANCE @ WEIGHTS - parts.sum(1))

    def trial(seed: int) -> tuple[np.ndarray, np.ndarray]:
        found = sage_values(model, *draw(N_ROWS, seed, bent=False))
        assert found.method == "closed form"
        return found.ci.T, population

    return trial


def importance_linear() -> Trial:
    """Permutation importances of a linear model, of a sample of rows."""
    from thetalearn import permutation_importance

    model = linear()
    rest = COVARIANCE @ (WEIGHTS - model.coef_)
    population = 2 * model.coef_ * (model.coef_ * np.diag(COVARIANCE) + rest)

    def trial(seed: int) -> tuple[np.ndarray, np.ndarray]:
        X, y = draw(N_ROWS, seed, bent=False)
        found = permutation_importance(
            model, X, y, scoring="neg_mean_squared_error", random_state=seed
        )
        return found.ci.T, population

    return trial


def importance_network(scoring: str) -> Trial:
    """Permutation importances of a network, of a sample of rows."""
    from thetalearn import permutation_importance

    model = network()
    X, y = draw(N_LARGE, 10**7, bent=True)
    large = permutation_importance(model, X, y, scoring=scoring, random_state=0, se=None)

    def trial(seed: int) -> tuple[np.ndarray, np.ndarray]:
        X, y = draw(N_ROWS, seed, bent=True)
        found = permutation_importance(model, X, y, scoring=scoring, random_state=seed)
        return found.ci.T, large.importances_mean

    return trial


TRIALS: dict[str, Callable[[], Trial]] = {
    "Shapley, orders, six batches": partial(shapley, "permutation", precision=0.0, max_evals=1),
    "Shapley, orders, to a precision": partial(shapley, "permutation"),
    "Shapley, orders, 1,000 background rows": large_background,
    "Shapley, kernel, to a precision": partial(shapley, "kernel"),
    "SAGE, orders": sage_orders,
    "SAGE, rows, closed form": sage_rows,
    "importance, linear, squared error": importance_linear,
    "importance, network, squared error": partial(importance_network, "neg_mean_squared_error"),
    "importance, network, R2": partial(importance_network, "r2"),
    "importance, network, absolute error": partial(importance_network, "neg_mean_absolute_error"),
}


def coverage(name: str, n_seeds: int) -> tuple[np.ndarray, float]:
    """Share of seeds at which each interval covers, and seconds."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial = TRIALS[name]()
        hits = []
        for seed in range(n_seeds):
            (low, high), target = trial(seed)
            # Exact zeros may miss by rounding.
            hits.append((low - 1e-12 <= target) & (target <= high + 1e-12))
    return np.mean(hits, axis=0), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1000)
    n_seeds = parser.parse_args().seeds
    print(f"coverage of intervals of 95 % over {n_seeds} seeds\n")
    print(f"{'interval':40}{'mean':>8}{'lowest':>8}{'highest':>9}{'seconds':>9}  bar")
    for name in TRIALS:
        shares, seconds = fresh(coverage, name, n_seeds, threads=1)
        met = "met" if LOW <= shares.mean() <= HIGH else "MISSED"
        print(
            f"{name:40}{shares.mean():8.3f}{shares.min():8.3f}{shares.max():9.3f}{seconds:9.1f}"
            f"  {met} (mean from {LOW} to {HIGH})",
            flush=True,
        )


if __name__ == "__main__":
    main()
