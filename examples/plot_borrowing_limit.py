"""
Kinks of a consumer who cannot borrow
=====================================

A consumer with resources m, a certain income y and no credit solves

.. math::
    V(m) = \\max_{0 \\le c \\le m} \\frac{c^{1-\\gamma}}{1-\\gamma} + \\beta V(R(m - c) + y),
    \\qquad \\beta R < 1.

Whoever has little consumes all of it. Whoever has a little more saves, and knows that the limit
will bind in the next period; then in two periods, and so on. Consumption is therefore a piecewise
linear function, whose kinks are known exactly, and the marginal propensity to consume (MPC) is a
flight of stairs. Splines that know the kinks hold it exactly. Polynomials cannot, and their MPC
rings at the first kink like the partial sums of a Fourier series at a jump, whatever the degree.

With uncertain income no kink is known beforehand. The second part finds them, and asks how many
consumers are at the limit in the long run.

The kinks with certain income are from Carroll, *Theoretical Foundations of Buffer Stock Saving*,
the uncertain income from Deaton, *Saving and Liquidity Constraints*, in the calibration of Maliar,
Maliar and Winant, *Deep Learning for Solving Dynamic Economic Models*.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from thetalearn import EulerApproximator
from thetalearn.dynamics.models import (
    borrowing_kinks,
    make_borrowing_limit,
    make_income_fluctuation,
)

#: An impatient consumer, whose kinks lie far enough apart to be seen.
BETA = 0.85
#: Ends of resources m.
LOW, HIGH = 0.5, 2.0
COUNTS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
#: Degrees at which ringing is measured, each with the four that follow.
RINGING_DEGREES = (24, 32, 48, 64, 96, 128)
SHOWN = 32

COLOURS = {
    "Chebyshev": "#1f6fb4",
    "B-spline": "#d95f02",
    "B-spline, knots at the kinks": "#b3225f",
}
PALE = "#7fb2dd"
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


def column(m: np.ndarray) -> np.ndarray:
    """Resources as the matrix of one column that estimators take."""
    return np.asarray(m)[:, None]


# %%
# Certain income
# --------------
#
# All solve the Euler equation with its complementarity: either consumption is m, or marginal
# utility is that of the next period times :math:`\beta R`. A spline of degree one with knots at the
# kinks in the interval has six coefficients.


def kinks() -> tuple[np.ndarray, np.ndarray]:
    """Resources at the kinks in the interval, and the MPC before the first and after each."""
    m, c = (values.numpy() for values in borrowing_kinks(20, beta=BETA))
    slopes = np.r_[1.0, np.diff(c) / np.diff(m)]
    inside = m < HIGH
    return m[inside], slopes[: inside.sum() + 1]


def exact_mpc(m: np.ndarray) -> np.ndarray:
    """The exact marginal propensity to consume."""
    at, slopes = kinks()
    return slopes[np.searchsorted(at, m)]


def solution(name: str, n_terms: int | None = None) -> EulerApproximator:
    """The policy with so many coefficients; where knots are at the kinks, as many as needed."""
    params = {
        "Chebyshev": lambda: {"basis": "chebyshev", "degree": n_terms - 1},
        "B-spline": lambda: {"basis": "bspline", "knots": n_terms - 4},
        "B-spline, knots at the kinks": lambda: {
            "basis": "bspline",
            "degree": 1,
            "knots": kinks()[0],
        },
    }[name]()
    model = make_borrowing_limit(beta=BETA, state_bounds=[(LOW, HIGH)])
    return EulerApproximator(model, **params, random_state=0).fit()


def largest_error(estimator: EulerApproximator) -> float:
    """Largest error of a policy on a fine grid."""
    m = column(np.linspace(LOW, HIGH, 8001))
    return float(np.abs(estimator.policy(m) - estimator.exact("policy", m)).max())


def errors_by_terms(counts: Sequence[int] = COUNTS) -> dict[str, np.ndarray]:
    """Number of coefficients and largest error, shape (n, 2), for each basis."""
    found = {
        name: np.array([(count, largest_error(solution(name, count))) for count in counts])
        for name in ("Chebyshev", "B-spline")
    }
    exact = solution("B-spline, knots at the kinks")
    found["B-spline, knots at the kinks"] = np.array([(exact.coef_.size, largest_error(exact))])
    return found


# %%
# Gibbs' phenomenon
# -----------------
#
# The largest error of a polynomial falls like one over its degree. The MPC fares worse. After the
# first kink it drops below the right step, and swings back. How far depends on where the kink lies
# between two nodes; on average over neighbouring degrees the excess is about a tenth of the jump,
# at every degree. It only moves closer to the kink. (Below the kink a policy is kept under its
# bound m, which hides half of the swings.)


def excess(estimator: EulerApproximator, n_points: int = 2000) -> float:
    """How far the MPC falls below its step after the first kink, as a share of the jump."""
    at, slopes = kinks()
    m = np.linspace(at[0] + 1e-5, (at[0] + at[1]) / 2, n_points)
    lowest = estimator.gradient(column(m)).min()
    return float(max(slopes[1] - lowest, 0) / (slopes[0] - slopes[1]))


def ringing(degrees: Sequence[int] = RINGING_DEGREES) -> np.ndarray:
    """Excess of the MPC for five degrees from each of the given ones on, shape (n, 5)."""
    return np.array(
        [
            [excess(solution("Chebyshev", each + 1)) for each in range(degree, degree + 5)]
            for degree in degrees
        ]
    )


# %%
# Uncertain income
# ----------------
#
# Log income is normal now. The limit binds below a threshold :math:`m^*` at which
#
# .. math:: u'(m^*) = \beta R\, E\, u'(c(y')),
#
# so that a rough policy tells it quite well. It is not the only kink: expectations are sums over
# the nodes of an integration rule, and wherever some node leads to a kink, the policy has a smaller
# one. ``kinks="auto"`` finds the threshold and what follows from it, and puts knots there.

SIGMA = 0.1


def uncertain(knots: int | None = None, kinks: object = None) -> EulerApproximator:
    """The policy with uncertain income, in cubic splines."""
    model = make_income_fluctuation(sigma=SIGMA, state_bounds=[(0.3, 3.0)])
    return EulerApproximator(model, basis="bspline", knots=knots, kinks=kinks, random_state=0).fit()


def threshold(estimator: EulerApproximator) -> float:
    """Resources below which all is consumed, from the policy by the first-order condition."""
    model = estimator.model_
    rule = model.distribution.nodes(estimator.integration, estimator.n_integration_nodes)
    gamma, R = model.params["gamma"], model.params["R"]
    marginal = estimator.policy(rule.nodes.numpy()) ** -gamma
    return float((model.beta * R * (rule.weights.numpy() @ marginal)) ** (-1 / gamma))


@dataclass(frozen=True)
class Uncertain:
    """A policy with uncertain income, the time it took, and its errors on a grid."""

    estimator: EulerApproximator
    seconds: float
    errors: np.ndarray


GRID = np.linspace(0.3, 3.0, 4001)


def policies(n_knots: int = 40) -> dict[str, Uncertain]:
    """Policies that know ever more about the kinks."""
    first = timed(n_knots, None)
    limit = threshold(first.estimator)
    return {
        f"{n_knots} even knots": first,
        f"{n_knots} and the threshold": timed(n_knots, [limit]),
        "all kinks found": timed(None, "auto"),
    }


def timed(knots: int | None, kinks: object) -> Uncertain:
    """Solve, and measure errors."""
    start = time.perf_counter()
    estimator = uncertain(knots, kinks)
    seconds = time.perf_counter() - start
    return Uncertain(estimator, seconds, np.abs(estimator.residuals(column(GRID))))


def constrained_share(estimator: EulerApproximator, n_states: int = 20_000) -> float:
    """Share of consumers who consume all they have, in the long run."""
    m = estimator.ergodic_sample(n_states, random_state=0)[:, 0]
    return float((m <= threshold(estimator)).mean())


# %%
# What came out
# -------------
#
# Six coefficients at the right places are exact to rounding. A hundred and twenty-eight at the
# wrong ones leave an error in the third decimal, whether they are coefficients of polynomials or of
# splines: what matters is where the knots are. With uncertain income the threshold alone is worth
# one digit; all kinks that it causes are worth several.
#
# Over a third of consumers are at the limit in the long run: with income this certain and so much
# impatience, savings are small, and a few bad years use them up.


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and columns, the first aligned to the left."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for first, *others in (header, *rows):
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  " + "   ".join([first.ljust(widths[0]), *cells]))


def print_certain(
    errors: dict[str, np.ndarray], shares: np.ndarray, degrees: Sequence[int]
) -> None:
    """Print the errors with certain income, and the ringing."""
    for name, points in errors.items():
        print_table(
            f"{name}: largest error of consumption",
            ("coefficients", *(f"{count:.0f}" for count in points[:, 0])),
            [("error", *(f"{error:.1e}" for error in points[:, 1]))],
        )
    print_table(
        "Chebyshev: excess of the MPC after the first kink, mean of five degrees",
        ("from degree", *map(str, degrees)),
        [("share of the jump", *(f"{100 * share:.1f} %" for share in shares.mean(axis=1)))],
    )


def print_uncertain(found: dict[str, Uncertain]) -> None:
    """Print the errors with uncertain income, and who is constrained."""
    print_table(
        "Uncertain income: log10 of the Euler error",
        ("knots", "coefficients", "mean", "max", "time"),
        [
            (
                name,
                str(each.estimator.coef_.size),
                f"{np.log10(each.errors.mean()):.1f}",
                f"{np.log10(each.errors.max()):.1f}",
                f"{each.seconds:.2f} s",
            )
            for name, each in found.items()
        ],
    )
    best = found["all kinks found"].estimator
    share = 100 * constrained_share(best)
    print(f"\nThreshold m* = {threshold(best):.4f}; at the limit in the long run: {share:.0f} %")


def draw_curves(ax) -> None:
    """Draw the errors of policies over resources."""
    m = np.linspace(LOW, HIGH, 6000)
    for place in kinks()[0]:
        ax.axvline(place, ymax=0.65, color="#999999", linewidth=0.8, linestyle=":")
    ax.lines[-1].set_label("kinks")
    for name, colour in COLOURS.items():
        own = solution(name, SHOWN)
        errors = own.policy(column(m)) - own.exact("policy", column(m))
        label = f"{name} ({own.coef_.size} coefficients)"
        ax.plot(m, 1000 * errors, color=colour, linewidth=1.2, label=label)
    ax.set(title="Error of consumption", xlabel="resources m (income is 1)")
    ax.set(ylabel="thousandths of income", ylim=(-3, 8))
    ax.legend(loc="upper right")


def draw_mpc(ax) -> None:
    """Draw the marginal propensity to consume."""
    m = np.linspace(0.8, 1.9, 6000)
    for degree, colour in ((SHOWN, PALE), (4 * SHOWN, COLOURS["Chebyshev"])):
        own = solution("Chebyshev", degree + 1)
        ax.plot(m, own.gradient(column(m)), color=colour, linewidth=1.1, label=f"degree {degree}")
    ax.plot(m, exact_mpc(m), "--", color="black", linewidth=1.1, label="exact")
    ax.set(title="Chebyshev: the MPC rings at the kinks", xlabel="resources m")
    ax.set(ylabel="marginal propensity to consume", ylim=(0, 1.25))
    ax.legend(loc="upper right")


def draw_terms(ax, errors: dict[str, np.ndarray]) -> None:
    """Draw errors by number of coefficients."""
    for name, points in errors.items():
        marker = "*" if len(points) == 1 else "o"
        size = 11 if len(points) == 1 else 4
        ax.loglog(*points.T, marker=marker, markersize=size, color=COLOURS[name], label=name)
    counts = np.array([8, 128])
    ax.loglog(
        counts, 0.3 / counts, ":", color="black", linewidth=1.2, label="one over their number"
    )
    ax.set_xticks((5, 8, 16, 32, 64, 128), map(str, (5, 8, 16, 32, 64, 128)))
    ax.minorticks_off()
    ax.set(title="Largest error of consumption", xlabel="number of coefficients", ylabel="error")
    ax.legend(loc="center right")


def draw_ringing(ax, shares: np.ndarray, degrees: Sequence[int]) -> None:
    """Draw the excess by degree."""
    for k, degree in enumerate(degrees):
        x = np.arange(degree, degree + 5)
        label = None if k else "each degree"
        ax.semilogx(x, 100 * shares[k], "o", markersize=3.5, color=PALE, label=label)
    middle = np.array(degrees) + 2
    blue = COLOURS["Chebyshev"]
    ax.semilogx(middle, 100 * shares.mean(axis=1), "D-", color=blue, label="mean of five")
    ax.set_xticks(middle, [f"{d}-{d + 4}" for d in degrees])
    ax.minorticks_off()
    ax.set(title="Excess of the MPC after the first kink", xlabel="degrees")
    ax.set(ylabel="share of the jump (%)", ylim=(-1, 32))
    ax.legend(loc="upper left", ncols=2)


def draw_certain(
    errors: dict[str, np.ndarray], shares: np.ndarray, degrees: Sequence[int]
) -> plt.Figure:
    """The figure with certain income."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    draw_curves(axes[0, 0])
    draw_mpc(axes[0, 1])
    draw_terms(axes[1, 0], errors)
    draw_ringing(axes[1, 1], shares, degrees)
    return figure


def draw_uncertain(found: dict[str, Uncertain]) -> plt.Figure:
    """The figure with uncertain income."""
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.9), layout="constrained")
    best = found["all kinks found"].estimator
    limit = threshold(best)
    axes[0].axvspan(GRID[0], limit, color="#f3e3ea", label="at the limit")
    axes[0].plot(GRID, GRID, ":", color="#999999", linewidth=1.2, label="limit, c = m")
    colour = COLOURS["B-spline, knots at the kinks"]
    axes[0].plot(GRID, best.policy(column(GRID)), color=colour, label="policy")
    axes[0].set(title="Consumption with uncertain income", xlabel="resources m")
    axes[0].set(ylabel="consumption c", xlim=(0.3, 3.0), ylim=(0.2, 1.8))
    axes[0].legend(loc="lower right")
    draw_euler_errors(axes[1], found)
    m = best.ergodic_sample(20_000, random_state=0)[:, 0]
    bins = np.r_[np.linspace(m.min(), limit, 12), np.linspace(limit, m.max(), 20)[1:]]
    parts = [m[m <= limit], m[m > limit]]
    weights = [np.full(len(part), 100 / len(m)) for part in parts]
    share = 100 * len(parts[0]) / len(m)
    labels = [f"at the limit: {share:.0f} %", f"saving: {100 - share:.0f} %"]
    axes[2].hist(parts, bins, weights=weights, stacked=True, color=["#d9a3bb", PALE], label=labels)
    axes[2].set(title="Resources in the long run", xlabel="resources m")
    axes[2].set_ylabel("share of consumers (%)")
    axes[2].legend(loc="upper right")
    return figure


def draw_euler_errors(ax, found: dict[str, Uncertain]) -> None:
    """Draw the errors of the Euler equation over resources."""
    for (name, each), colour in zip(found.items(), ("#7fb2dd", "#d95f02", "#b3225f"), strict=True):
        shown = np.maximum(each.errors, 1e-12)
        ax.semilogy(GRID, shown, color=colour, linewidth=0.8, label=name)
    ax.set(title="Error of the Euler equation", xlabel="resources m", ylabel="unit-free error")
    ax.set_ylim(1e-12, 3)
    ax.legend(loc="upper right")


def main(
    output: Path | None = None,
    counts: Sequence[int] = COUNTS,
    degrees: Sequence[int] = RINGING_DEGREES,
) -> None:
    """Print the tables and draw the figures; with ``output``, save them into that folder.

    ``counts`` are numbers of coefficients, ``degrees`` those at which ringing is measured.
    """
    errors, shares = errors_by_terms(counts), ringing(degrees)
    print_certain(errors, shares, degrees)
    found = policies()
    print_uncertain(found)
    with plt.rc_context(STYLE):
        figures = {
            "borrowing_limit.png": draw_certain(errors, shares, degrees),
            "income_fluctuation.png": draw_uncertain(found),
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
    parser = argparse.ArgumentParser(description="Kinks of a consumer who cannot borrow.")
    parser.add_argument("--output", type=Path, metavar="DIR", help="save the figures there")
    main(parser.parse_args().output)
