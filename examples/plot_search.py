"""
All fits of a grid search at once
=================================

How wiggly may a curve be, and how wide a network? Cross-validation answers by fitting every
candidate on every fold. Most of that work is the same work again: the folds share most of their
rows, and candidates may differ by one number. The fused searches do it once.

Two studies: penalties of a polynomial regression, where all candidates of a fold come from one
factorisation; and networks by width, penalty and learning rate, which are trained as stacks. Both
compare the scores with those of scikit-learn's ``GridSearchCV``, which are the same.
``docs/model_selection.md`` says what is shared.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thetalearn import (
    FusedGridSearchCV,
    LinearRegressor,
    MLPRegressor,
    PolynomialFeatures,
    PolynomialRegressor,
    SearchDisplay,
    fused_cross_val_predict,
    fused_learning_curve,
)
from thetalearn.exceptions import ConvergenceWarning

# %%
# A surface with noise
# --------------------
#
# Two hundred measurements of :math:`\sin(2 x_1) + x_2 x_3`, with five more columns that mean
# nothing.


def make_data(n_rows: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows and noisy values."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.5, 1.5, (n_rows, 8))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.standard_normal(n_rows)


@dataclass(frozen=True)
class Comparison:
    """A fused search, seconds of both, and the largest difference of mean scores."""

    name: str
    search: FusedGridSearchCV
    seconds: float
    seconds_alone: float
    difference: float


def compare(name: str, model: Any, grid: dict[str, Any], X: Any, y: Any) -> Comparison:
    """Search twice: with all fits together, and one by one."""
    folds = KFold(5, shuffle=True, random_state=0)
    found, seconds = [], []
    with warnings.catch_warnings():
        # Networks are stopped after a few epochs on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for kind in (FusedGridSearchCV, GridSearchCV):
            start = time.perf_counter()
            found.append(kind(model, grid, cv=folds).fit(X, y))
            seconds.append(time.perf_counter() - start)
    ours, theirs = (search.cv_results_["mean_test_score"] for search in found)
    return Comparison(name, found[0], *seconds, float(np.abs(ours - theirs).max()))


# %%
# Penalties of a polynomial
# -------------------------
#
# All products of up to three of the eight columns are 165 terms for 160 rows of a fold: without a
# penalty the fit is worthless. Thirty penalties cost one factorisation a fold.


def search_penalties(X: np.ndarray, y: np.ndarray, n_penalties: int = 30) -> Comparison:
    """Degrees and penalties of a polynomial regression behind a scaler."""
    model = make_pipeline(StandardScaler(), PolynomialRegressor())
    grid = {
        "polynomialregressor__degree": [1, 2, 3],
        "polynomialregressor__alpha": np.logspace(-5, 2, n_penalties),
    }
    return compare("polynomial", model, grid, X, y)


# %%
# Leaving one row out is as cheap: the hat matrix gives the predictions of all the fits that lack
# one row each.


def leave_one_out_error(X: np.ndarray, y: np.ndarray, alpha: float) -> float:
    """Root mean squared error of a quadratic regression, each row predicted from all others."""
    model = make_pipeline(PolynomialFeatures(degree=2), LinearRegressor(alpha=alpha))
    features = model[0].fit_transform(X)
    predicted = fused_cross_val_predict(model[1], features, y, cv=KFold(len(X)))
    return float(np.sqrt(np.mean((predicted - y) ** 2)))


# %%
# Networks
# --------
#
# Networks of one width share a stack; each width opens a new one.


def search_networks(X: np.ndarray, y: np.ndarray, max_iter: int = 100) -> Comparison:
    """Width, penalty and learning rate of a network behind a scaler."""
    net = MLPRegressor(max_iter=max_iter, batch_size=32, tol=0.0, random_state=0)
    grid = {
        "mlpregressor__hidden_layer_sizes": [(16,), (64,)],
        "mlpregressor__alpha": np.logspace(-3, 1, 5),
        "mlpregressor__learning_rate_init": [0.001, 0.01, 0.1],
    }
    return compare("network", make_pipeline(StandardScaler(), net), grid, X, y)


# %%
# How many rows are enough?
# -------------------------


def draw(comparisons: Sequence[Comparison], X: np.ndarray, y: np.ndarray, path: Path) -> None:
    """The scores of both searches, and the learning curve of the best polynomial."""
    polynomial, network = (each.search for each in comparisons)
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
    SearchDisplay.from_search(polynomial, "alpha", others="lines", ax=axes[0])
    axes[0].set_title("Polynomials by penalty", pad=34)
    axes[0].set_ylim(-0.3, 1)
    SearchDisplay.from_search(network, ["alpha", "learning_rate_init"], ax=axes[1])
    axes[1].set_title("Networks", loc="right", pad=34)
    best = polynomial.best_estimator_
    sizes, train, test = fused_learning_curve(
        best, X, y, cv=KFold(5, shuffle=True, random_state=0), train_sizes=np.linspace(0.2, 1, 9)
    )
    for scores, label in ((train, "training rows"), (test, "held-out rows")):
        mean, spread = scores.mean(1), scores.std(1)
        (line,) = axes[2].plot(sizes, mean, "o-", markersize=4, label=label)
        axes[2].fill_between(
            sizes, mean - spread, mean + spread, color=line.get_color(), alpha=0.15, lw=0
        )
    axes[2].set(xlabel="rows", ylabel="R²", ylim=(0, 1.02))
    axes[2].set_title("Learning curve of the best polynomial", pad=34)
    axes[2].legend(frameon=False, loc="lower right")
    axes[2].spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main(folder: Path, n_penalties: int = 30, max_iter: int = 100) -> None:
    """Search, print what it cost, and draw."""
    folder.mkdir(parents=True, exist_ok=True)
    X, y = make_data()
    comparisons = [search_penalties(X, y, n_penalties), search_networks(X, y, max_iter)]
    for each in comparisons:
        report = each.search.fused_report_
        print(
            f"{each.name}: {report.n_fused} fits together in {each.seconds:.2f} s, one by one in "
            f"{each.seconds_alone:.2f} s; scores differ by {each.difference:.0e}; "
            f"best R² = {each.search.best_score_:.2f}"
        )
    print(f"leave-one-out error of a quadratic regression: {leave_one_out_error(X, y, 0.02):.3f}")
    path = folder / "search.png"
    draw(comparisons, X, y, path)
    print(f"figure: {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("folder", nargs="?", type=Path, default=Path())
    main(parser.parse_args().folder)
