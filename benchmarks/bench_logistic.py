"""Logistic and softmax regression against scikit-learn's lbfgs and newton-cholesky.

All minimise the mean cross-entropy plus alpha/2 |w|^2, with an intercept that is not penalised.
How near a solver came to the minimum is the largest entry of the gradient of that, computed here
in the same way for all. For each goal every solver runs at its loosest tolerance that reaches it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from _harness import THREADS, Race, fresh, print_table, race, rounds, verdict
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

        # The default of max_iter is one hundred, which lbfgs may need more than.
        return LogisticRegression(C=1 / (ALPHA * n_rows), solver=name, max_iter=10_000, **options)
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


@dataclass
class Entry:
    """What a goal led to: a race, and for each solver its tolerance and its gradient."""

    timed: Race
    tolerance: dict[str, float | None] = field(default_factory=dict)
    gradient: dict[str, float] = field(default_factory=dict)


def time_fits(data_name: str, n_rounds: int) -> dict[float | None, Entry]:
    X, y = DATA[data_name]()
    n_classes = len(np.unique(y))

    def fit(name: str, tol: float | None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What was reached is measured below.
            return make_model(name, tol, len(X), n_classes).fit(X, y)

    sizes = {
        (name, tol): gradient_size(fit(name, tol), X, y)
        for name, tolerances in TOLERANCES.items()
        for tol in (None, *tolerances)
    }
    entries = {}
    for goal in GOALS:
        chosen = {}
        for name, tolerances in TOLERANCES.items():
            reached = [t for t in tolerances if sizes[name, t] <= (goal or 0)]
            if goal is None or reached:
                chosen[name] = reached[0] if reached else None
        ways = {name: lambda name=name, t=tol: fit(name, t) for name, tol in chosen.items()}
        timed = race(ways, n_rounds)
        timed.results.clear()
        gradient = {name: sizes[name, tol] for name, tol in chosen.items()}
        entries[goal] = Entry(timed, chosen, gradient)
    return entries


def table_rows(data_name: str, n_rounds: int) -> list[list]:
    rows = []
    for threads in THREADS:
        for goal, entry in fresh(time_fits, data_name, n_rounds, threads=threads).items():
            peers = [p for p in PEERS if p in entry.timed.seconds]
            fastest = entry.timed.fastest(peers) if peers else ""
            for peer in PEERS:
                label = "each default" if goal is None else f"{goal:.0e}"
                if peer not in peers:
                    rows.append([data_name, threads, label, peer, *["-"] * 4, "not reached", ""])
                    continue
                ratio = entry.timed.ratio(peer, to=OURS)
                judged = peer == fastest and goal is not None
                rows.append(
                    [
                        data_name,
                        threads,
                        label,
                        peer,
                        entry.timed.milliseconds(OURS),
                        entry.timed.milliseconds(peer),
                        f"{entry.gradient[OURS]:.0e}",
                        f"{entry.gradient[peer]:.0e}",
                        ratio,
                        verdict(ratio.middle, FASTER) if judged else "",
                    ]
                )
    return rows


def main() -> None:
    n_rounds = rounds(11)
    header = [
        "data",
        "threads",
        "gradient goal",
        "peer",
        "ours, ms",
        "peer, ms",
        "our gradient",
        "peer's gradient",
        "times faster [min, max]",
        "bar",
    ]
    binary = [name for name in DATA if name != "digits"]
    print_table(
        f"LogisticClassifier.fit, {ROWS:,} x {COLUMNS} (medians of {n_rounds} rounds; the bar is "
        "for the faster peer at the same goal)",
        header,
        [row for name in binary for row in table_rows(name, n_rounds)],
    )
    print_table(
        f"SoftmaxClassifier.fit, digits, 1797 x 64, 10 classes (medians of {n_rounds} rounds)",
        header,
        table_rows("digits", n_rounds),
    )


if __name__ == "__main__":
    main()
