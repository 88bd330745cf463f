"""Logistic and softmax regression against scikit-learn's lbfgs and newton-cholesky.

All minimise the mean cross-entropy plus alpha/2 |w|^2, with an intercept that is not penalised.
How near a solver came to the minimum is the largest entry of the gradient of that, computed here
in the same way for all. For each goal every solver runs at its loosest tolerance that reaches it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from _harness import THREADS, Options, Race, fresh, print_table, race, read_command_line, verdict
from scipy.special import log_softmax

ROWS, COLUMNS = 100_000, 50
ALPHA = 1e-4
FASTER = 1.0
OURS, PEERS = "thetalearn", ("lbfgs", "newton-cholesky")
#: Largest entry of the gradient that is asked for; None: every solver's default tolerance.
GOALS = (None, 1e-4, 1e-8)
TOLERANCES = {
    OURS: (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8),
    **dict.fromkeys(PEERS, (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)),
}

Data = tuple[np.ndarray, np.ndarray]


def draw_labels(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    return (rng.uniform(size=len(logits)) < 1 / (1 + np.exp(-logits))).astype(int)


def gaussian() -> Data:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, COLUMNS))
    return X, draw_labels(rng, X @ rng.standard_normal(COLUMNS) / 3)


def correlated() -> Data:
    """Columns whose covariance has eigenvalues from 1 to 1e-6: condition number 1e3."""
    rng = np.random.default_rng(1)
    axes, _ = np.linalg.qr(rng.standard_normal((COLUMNS, COLUMNS)))
    sizes = np.logspace(0, -3, COLUMNS)
    Z = rng.standard_normal((ROWS, COLUMNS))
    return Z * sizes @ axes.T, draw_labels(rng, Z @ rng.standard_normal(COLUMNS) / 3)


def scaled() -> Data:
    """Columns in units that lie a factor 1e4 apart."""
    X, y = gaussian()
    return X * np.logspace(-2, 2, COLUMNS), y


def sparse_signal() -> Data:
    """Five columns decide, and strongly; most labels are near certain."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((ROWS, COLUMNS))
    return X, draw_labels(rng, X[:, :5] @ np.array([6.0, -5.0, 4.0, -3.0, 2.0]) - 2)


def digits() -> Data:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


DATA: dict[str, Callable[[], Data]] = {
    f.__name__.replace("_", " "): f for f in (gaussian, correlated, scaled, sparse_signal, digits)
}


def make_model(name: str, tol: float | None, n_rows: int, n_classes: int):
    options = {} if tol is None else {"tol": tol}
    if name != OURS:
        from sklearn.linear_model import LogisticRegression

        if tol is not None:  # Of the default max_iter, one hundred, lbfgs may need more.
            options["max_iter"] = 1_000
        return LogisticRegression(C=1 / (ALPHA * n_rows), solver=name, **options)
    from thetalearn import LogisticClassifier, SoftmaxClassifier

    model = LogisticClassifier if n_classes == 2 else SoftmaxClassifier
    return model(alpha=ALPHA, **options)


def gradient_size(model, X: np.ndarray, y: np.ndarray) -> float:
    """Largest entry of the gradient of the mean penalised loss."""
    logits = X @ model.coef_.T + model.intercept_
    labels = np.eye(len(model.classes_))[y]
    if logits.shape[1] == 1:
        logits, labels = np.column_stack([0 * logits, logits]), labels
    residual = np.exp(log_softmax(logits, axis=1)) - labels
    residual = residual[:, -len(model.coef_) :] / len(X)
    slopes = residual.T @ X + ALPHA * model.coef_
    return float(max(np.abs(slopes).max(), np.abs(residual.sum(0)).max()))


def quiet_fit(name: str, tol: float | None, X: np.ndarray, y: np.ndarray):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What was reached is measured.
        return make_model(name, tol, len(X), len(np.unique(y))).fit(X, y)


@dataclass(frozen=True)
class Plan:
    """For one goal, the tolerance of each solver that reaches it, and the gradient it ends at."""

    goal: float | None
    tolerance: dict[str, float | None]
    gradient: dict[str, float]


def plan_fits(data_name: str) -> list[Plan]:
    """Find for each goal and solver the loosest tolerance that reaches it."""
    X, y = DATA[data_name]()
    plans = [Plan(goal, {}, {}) for goal in GOALS]
    for name, tolerances in TOLERANCES.items():
        waiting = list(plans)
        for tol in (None, *tolerances):
            if not waiting:
                break
            model = quiet_fit(name, tol, X, y)
            size = gradient_size(model, X, y)
            for plan in [p for p in waiting if tol == p.goal or (tol and size <= (p.goal or 0))]:
                plan.tolerance[name], plan.gradient[name] = tol, size
                waiting.remove(plan)
            if tol and np.max(model.n_iter_) >= model.max_iter:
                break
    return plans


def time_fits(data_name: str, plan: Plan, chosen: Options) -> Race:
    X, y = DATA[data_name]()
    ways = {
        name: lambda name=name, tol=tol: quiet_fit(name, tol, X, y)
        for name, tol in plan.tolerance.items()
    }
    timed = race(ways, chosen)
    timed.results.clear()
    return timed


def compare(data_name: str, chosen: Options) -> tuple[list[list], list[Race]]:
    rows, races = [], []
    for plan in fresh(plan_fits, data_name, threads=1):
        label = "each default" if plan.goal is None else f"{plan.goal:.0e}"
        peers = [p for p in PEERS if p in plan.tolerance]
        for threads in THREADS:
            timed = fresh(time_fits, data_name, plan, chosen, threads=threads)
            races.append(timed)
            for peer in PEERS:
                start = [data_name, threads, label, peer]
                if peer not in peers:
                    rows.append([*start, *["-"] * 4, "not reached", ""])
                    continue
                ratio = timed.ratio(peer, to=OURS)
                judged = plan.goal is not None and peer == timed.fastest(peers)
                rows.append(
                    [
                        *start,
                        timed.milliseconds(OURS),
                        timed.milliseconds(peer),
                        f"{plan.gradient[OURS]:.0e}",
                        f"{plan.gradient[peer]:.0e}",
                        ratio,
                        verdict(ratio.middle, FASTER) if judged else "",
                    ]
                )
    return rows, races


def print_comparison(title: str, data_names: list[str], chosen: Options) -> None:
    rows, races = [], []
    for name in data_names:
        more_rows, more_races = compare(name, chosen)
        rows += more_rows
        races += more_races
    header = [
        "data",
        "threads",
        "gradient",
        "peer",
        "ours, ms",
        "peer, ms",
        "our gradient",
        "peer's gradient",
        "times faster [min, max]",
        "bar",
    ]
    print_table(title, header, rows, races)


def main() -> None:
    chosen = read_command_line(rounds=11)
    print_comparison(
        f"LogisticClassifier.fit, {ROWS:,} x {COLUMNS}; each solver at its loosest tolerance that "
        "brings the gradient\nbelow a goal, or at its default; the bar is for the faster peer",
        [name for name in DATA if name != "digits"],
        chosen,
    )
    print_comparison(
        "SoftmaxClassifier.fit on digits, 1,797 x 64, 10 classes; likewise", ["digits"], chosen
    )


if __name__ == "__main__":
    main()
