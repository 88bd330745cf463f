"""
Where a solution of the growth model is accurate
================================================

The neoclassical growth model has no closed form, so that the accuracy of a solution must be read
off the equation itself. A consumer with risk aversion :math:`\\gamma` chooses consumption c,

.. math::
    k' = (1 - \\delta) k + a A k^\\alpha - c, \\qquad \\ln A' = \\rho \\ln A + \\sigma\\varepsilon,

and the unit-free error of the Euler equation at a state off the nodes is

.. math:: 1 - \\beta E\\Big[\\Big(\\frac{c'}{c}\\Big)^{-\\gamma}
          (1 - \\delta + \\alpha a A' k'^{\\alpha - 1})\\Big].

This study solves the model by Chebyshev collocation, draws where the errors are before and after
raising the degree, asks what the box of states has to do with them, lets a cross-validation over
states choose the degree, and follows the economy along its paths.

The calibration, and the narrower of two boxes, are from Coleman, Lyon, Maliar and Maliar, *Matlab,
Python, Julia: What to Choose in Economics?*; errors are those of Judd, *Projection Methods for
Solving Aggregate Growth Models*.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from sklearn.model_selection import GridSearchCV, KFold

from thetalearn import EulerApproximator
from thetalearn.dynamics.models import make_growth
from thetalearn.inspection.dynamics import PathDisplay, ResidualDisplay

Box = tuple[tuple[float, float], tuple[float, float]]

#: Ends of capital k and productivity A that the economy hardly ever passes. Both rest at 1.
WIDE: Box = ((0.8, 1.25), (0.88, 1.14))
#: Those of the comparison, which it leaves.
NARROW: Box = ((0.9, 1.1), (0.9, 1.1))
BOXES = {"wide": WIDE, "narrow": NARROW}
LOW, HIGH = 3, 8
DEGREES = tuple(range(1, 9))
GAMMAS = (1.0, 2.0, 10.0)
BLUE, ORANGE = "#1f6fb4", "#d95f02"
GAMMA_COLOURS = ("#7fb2dd", "#1f6fb4", "#b3225f")
BOX_COLOURS = {"wide": BLUE, "narrow": "#b3225f"}
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9e9e9",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}


# %%
# Before and after raising the degree
# -----------------------------------
#
# All products of Chebyshev polynomials in k and A up to a degree, with as many nodes as
# coefficients, and Newton's method. ``residuals`` gives the errors at any states. Two sets of
# states matter: the box, on which the equation is solved, and what occurs in the long run. The
# smaller the box, the less a polynomial has to bend, and the worse it is outside.


def solution(degree: int, box: Box = WIDE) -> EulerApproximator:
    """The model solved with polynomials of a degree in each state."""
    model = make_growth(state_bounds=box)
    return EulerApproximator(model, basis="chebyshev", degree=degree, random_state=0).fit()


def ergodic_states(n_states: int = 5000) -> np.ndarray:
    """States that occur in the long run."""
    return solution(5).ergodic_sample(n_states, random_state=0)


@dataclass(frozen=True)
class Accuracy:
    """Mean and largest errors of a solution, and what it took."""

    degree: int
    n_coefficients: int
    seconds: float
    box: tuple[float, float]
    ergodic: tuple[float, float]


def accuracy(degree: int, states: np.ndarray, box: Box = WIDE) -> Accuracy:
    """Solve, and measure errors on the box and at states of the long run."""
    start = time.perf_counter()
    estimator = solution(degree, box)
    seconds = time.perf_counter() - start
    errors = np.abs(estimator.residuals(states))
    summary = estimator.summary_
    return Accuracy(
        degree,
        estimator.coef_.size,
        seconds,
        (summary["mean"], summary["max"]),
        (float(errors.mean()), float(errors.max())),
    )


def share_outside(states: np.ndarray, box: Box) -> float:
    """Share of states that lie outside a box."""
    low, high = np.transpose(box)
    return float(((states < low) | (states > high)).any(axis=1).mean())


# %%
# Choosing the degree by cross-validation
# ---------------------------------------
#
# The rows of X are states, and an estimator's ``score`` is minus the decimal logarithm of its mean
# error at states that it has not seen. So scikit-learn's search applies as it is: folds split the
# states, and each candidate is fitted to the residuals at the others by least squares. Parameters
# of the model are reached as ``model__<name>``. No calibration is better than another for being
# easy to solve; but the search shows which of them is hard.


def even_states(n_states: int, seed: int = 0) -> np.ndarray:
    """Random states in the box."""
    low, high = np.transpose(WIDE)
    return low + (high - low) * np.random.RandomState(seed).uniform(size=(n_states, 2))


def search(grid: dict[str, Sequence[float]], n_states: int = 200) -> GridSearchCV:
    """A search over parameters by five folds of states."""
    estimator = EulerApproximator(make_growth(state_bounds=WIDE), random_state=0)
    folds = KFold(5, shuffle=True, random_state=0)
    return GridSearchCV(estimator, grid, cv=folds, refit=True).fit(even_states(n_states))


def scores(found: GridSearchCV, **chosen: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Degrees, mean scores and their standard deviations, for the given other parameters."""
    results = found.cv_results_
    rows = [
        i
        for i, params in enumerate(results["params"])
        if all(params[name] == value for name, value in chosen.items())
    ]
    degrees = np.array([results["params"][i]["degree"] for i in rows])
    return degrees, results["mean_test_score"][rows], results["std_test_score"][rows]


# %%
# What came out
# -------------
#
# Errors fall by a digit with each degree, evenly over the box: they change their sign on lines
# through the nodes, and are as large on one side of a line as on the other. The narrow box gains
# more digits a degree; but the economy leaves it, and its largest error in the long run is then
# orders of magnitude above that in the box. An accuracy is that of a set of states.
#
# Cross-validation finds the accuracy on the box. From degree seven on scattered states determine
# the coefficients a little less well than nodes do. Risk aversion hardly matters here.


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and columns, the first aligned to the left."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for first, *others in (header, *rows):
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  " + "   ".join([first.ljust(widths[0]), *cells]))


def logarithms(errors: tuple[float, float]) -> str:
    """Decimal logarithms of a mean and a maximum."""
    mean, largest = np.log10(errors)
    return f"{mean:5.1f} {largest:5.1f}"


def print_accuracy(rows: dict[str, Sequence[Accuracy]], states: np.ndarray) -> None:
    """Print errors by degree for each box."""
    for name, own in rows.items():
        share = 100 * share_outside(states, BOXES[name])
        print_table(
            f"The {name} box, outside which the economy spends {share:.0f} % of the time:\n"
            "errors of the Euler equation, log10 of mean and maximum",
            ("degree", "coefficients", "in the box", "in the long run", "time"),
            [
                (
                    str(row.degree),
                    str(row.n_coefficients),
                    logarithms(row.box),
                    logarithms(row.ergodic),
                    f"{row.seconds:.2f} s",
                )
                for row in own
            ],
        )


def print_scores(found: GridSearchCV) -> None:
    """Print scores by degree and risk aversion."""
    gammas = sorted({params["model__gamma"] for params in found.cv_results_["params"]})
    degrees = scores(found, model__gamma=gammas[0])[0]
    print_table(
        "Scores by cross-validation: digits of accuracy",
        ("risk aversion", *(f"degree {degree}" for degree in degrees)),
        [
            (f"{gamma:g}", *(f"{score:.2f}" for score in scores(found, model__gamma=gamma)[1]))
            for gamma in gammas
        ],
    )


def draw_map(ax, degree: int, states: np.ndarray) -> None:
    """Draw the errors over the box, and the states of the long run."""
    display = ResidualDisplay.from_estimator(solution(degree), n_points=120, ax=ax)
    display.mesh_.set_clim(-12, -5)
    display.colorbar_.set_label("log10 of the Euler error")
    display.legend_.remove()
    ax.grid(visible=False)
    ax.plot(*states[::16].T, ".", markersize=2, color=ORANGE, label="long run")
    ax.set(title=f"Degree {degree}", xlabel="capital k", ylabel="productivity A")


def draw_boxes(ax, rows: dict[str, Sequence[Accuracy]]) -> None:
    """Draw the largest errors by degree, for each box."""
    for name, own in rows.items():
        degrees = [row.degree for row in own]
        for where, line, marker in (("box", "-", "o"), ("ergodic", "--", "s")):
            largest = [getattr(row, where)[1] for row in own]
            label = f"{name} box, {'in it' if where == 'box' else 'long run'}"
            style = {"linestyle": line, "marker": marker, "markersize": 4}
            ax.semilogy(degrees, largest, color=BOX_COLOURS[name], label=label, **style)
    ax.set(title="Largest errors, two boxes", xlabel="degree in each state")
    ax.set_ylabel("Euler error, unit-free")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="lower left")


def draw_scores(ax, by_degree: GridSearchCV, by_gamma: GridSearchCV) -> None:
    """Draw scores by degree, for several calibrations."""
    gammas = sorted({params["model__gamma"] for params in by_gamma.cv_results_["params"]})
    for gamma, colour in zip(gammas, GAMMA_COLOURS, strict=False):
        own = gamma == by_degree.estimator.model.params["gamma"]
        found = scores(by_degree) if own else scores(by_gamma, model__gamma=gamma)
        label = f"$\\gamma$ = {gamma:g}"
        ax.errorbar(*found, fmt="o-", markersize=4, capsize=3, color=colour, label=label)
    ax.set(title="Scores by risk aversion $\\gamma$", xlabel="degree in each state")
    ax.set_ylabel("score by cross-validation, digits")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="lower right")


def draw_accuracy(
    rows: dict[str, Sequence[Accuracy]],
    by_degree: GridSearchCV,
    by_gamma: GridSearchCV,
    states: np.ndarray,
) -> plt.Figure:
    """The figure about errors."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.4), layout="constrained")
    for ax, degree in zip(axes[0], (LOW, HIGH), strict=True):
        draw_map(ax, degree, states)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, markerscale=1.5)
    draw_boxes(axes[1, 0], rows)
    draw_scores(axes[1, 1], by_degree, by_gamma)
    return figure


def draw_paths() -> plt.Figure:
    """The figure about paths, from 85 percent of steady-state capital."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    display = PathDisplay.from_estimator(
        solution(HIGH), start=[0.85, 1.0], n_periods=200, n_paths=500, random_state=0, ax=list(axes)
    )
    display.legend_.remove()
    labels = {"k": "capital k", "A": "productivity A", "c": "consumption c"}
    for name, ax in display.axes_.items():
        ax.set(xlabel="quarter", ylabel=labels[name])
    display.ax_.legend(loc="lower right")
    if display.bound_lines_:
        bound = display.bound_lines_[0]
        bound.axes.legend([bound], ["end of the box"], loc="upper right")
    return figure


def main(
    output: Path | None = None,
    degrees: Sequence[int] = DEGREES,
    gammas: Sequence[float] = GAMMAS,
) -> None:
    """Print the tables and draw the figures; with ``output``, save them into that folder.

    ``degrees`` and ``gammas`` are those of the table and of the searches.
    """
    states = ergodic_states()
    rows = {
        name: [accuracy(degree, states, box) for degree in degrees] for name, box in BOXES.items()
    }
    print_accuracy(rows, states)
    by_degree = search({"degree": degrees})
    best = by_degree.best_params_["degree"]
    print(f"\nDegree by cross-validation: {best}, score {by_degree.best_score_:.2f}")
    by_gamma = search({"degree": degrees[1:6:2], "model__gamma": gammas})
    print_scores(by_gamma)
    with plt.rc_context(STYLE):
        figures = {
            "growth.png": draw_accuracy(rows, by_degree, by_gamma, states),
            "growth_paths.png": draw_paths(),
        }
        if output is None:
            plt.show()
            return
        output.mkdir(parents=True, exist_ok=True)
        print("\nFigures")
        for name, figure in figures.items():
            figure.savefig(output / name, dpi=100)
            plt.close(figure)
            print(f"  {output / name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Errors of a growth model over its states.")
    parser.add_argument("--output", type=Path, metavar="DIR", help="save the figures there")
    main(parser.parse_args().output)
