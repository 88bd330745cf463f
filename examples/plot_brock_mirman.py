"""
Six representations of a growth model with a closed form
========================================================

Brock and Mirman's consumer has logarithmic utility, and capital that lasts for one period,

.. math::
    V(k, z) = \\max_c\\; \\ln c + \\beta E V(e^z k^\\alpha - c,\\; \\rho z + \\sigma\\varepsilon),

and consumes a constant share of output, :math:`c = (1 - \\alpha\\beta) e^z k^\\alpha`. So every
error of a numerical solution can be seen. Here the model is solved with all the representations
that have a name, monomials, Chebyshev polynomials, complete polynomials, a Smolyak set, B-splines
and a network, once for the value function (`BellmanApproximator`) and once for the policy
(`EulerApproximator`), in good coordinates and in natural units.

The model is from Brock and Mirman, *Optimal Economic Growth and Uncertainty: The Discounted Case*;
the comparison of representations follows Sawada and Zhong, *Parameterization and Neural Network*.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from thetalearn import BellmanApproximator, EulerApproximator
from thetalearn.dynamics import DynamicModel, Solution
from thetalearn.dynamics.models import make_brock_mirman
from thetalearn.exceptions import ConvergenceWarning
from thetalearn.inspection.dynamics import PolicyDisplay

#: Ends of capital k and log productivity z.
CAPITAL, PRODUCTIVITY = (0.05, 0.5), (-0.25, 0.25)

ESTIMATORS = {"Bellman": BellmanApproximator, "Euler": EulerApproximator}
COLOURS = {
    "monomial": "#999999",
    "chebyshev": "#1f6fb4",
    "complete": "#7fb2dd",
    "smolyak": "#1b8a5a",
    "bspline": "#d95f02",
    "mlp": "#b3225f",
}
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
# Good coordinates and natural units
# ----------------------------------
#
# In the logarithms of k and c both policy and value are linear, and these are the coordinates in
# which the ready-made model is approximated: the right coordinates save more coefficients than a
# better basis. To see what the bases are worth we also take k and c as they are. With the
# persistence and the bounds chosen here, no shock of the integration rule leads out of the box, so
# that nothing need be extrapolated.


def models() -> dict[str, DynamicModel]:
    """The model in logarithms and in natural units."""
    logs = make_brock_mirman(rho=0.5, state_bounds=(CAPITAL, PRODUCTIVITY))
    natural = replace(logs, state_transform="identity", action_transform="identity")
    return {"logarithms": logs, "natural units": natural}


def representations() -> dict[str, dict[str, object]]:
    """Parameters of each representation, with 65 or 66 coefficients."""
    return {
        "monomial": {"degree": 10, "max_iter": 20},
        "chebyshev": {"degree": [10, 5]},
        "complete": {"degree": 10},
        "smolyak": {"degree": 16},
        "bspline": {"knots": [7, 2]},
        "mlp": {"hidden_layer_sizes": 16, "n_restarts": 0, "tol": 1e-6, "max_iter": 100},
    }


@dataclass(frozen=True)
class Fit:
    """A solution, the seconds it took, and its largest errors on a grid."""

    estimator: BellmanApproximator | EulerApproximator
    seconds: float
    policy: float
    value: float


def grid(n_capital: int = 61, n_productivity: int = 11) -> np.ndarray:
    """States off the nodes, shape (n_capital, n_productivity, 2)."""
    axes = np.linspace(*CAPITAL, n_capital), np.linspace(*PRODUCTIVITY, n_productivity)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def policy_errors(estimator, states: np.ndarray) -> np.ndarray:
    """Relative errors of the policy at states (n, d)."""
    return np.abs(estimator.policy(states) / estimator.exact("policy", states) - 1)


def solved(estimator, states: np.ndarray) -> Fit:
    """Solve, and compare with the closed form at states (n, d)."""
    with warnings.catch_warnings():
        # The table marks what stays above its tolerance.
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        estimator.fit()
        seconds = time.perf_counter() - start
    value = np.abs(estimator.value(states) - estimator.exact("value", states)).max()
    return Fit(estimator, seconds, float(policy_errors(estimator, states).max()), float(value))


def comparison(names: Sequence[str] = tuple(COLOURS)) -> dict[tuple[str, str, str], Fit]:
    """Solutions by coordinates, estimator and representation."""
    states = grid().reshape(-1, 2)
    fits = {}
    for coordinates, model in models().items():
        for kind, estimator in ESTIMATORS.items():
            for name in names:
                own = estimator(model, basis=name, random_state=0, **representations()[name])
                fits[coordinates, kind, name] = solved(own, states)
    return fits


# %%
# How fast errors fall
# --------------------
#
# Without shocks the model has one state, and can be written in a few lines. Functions of capital
# such as :math:`k^\alpha` and :math:`\ln k` are analytic but for the point k = 0. Chebyshev
# polynomials on [a, b] then converge geometrically, by the factor
#
# .. math:: \varrho = m + \sqrt{m^2 - 1}, \qquad m = \frac{b + a}{b - a},
#
# a degree (Bernstein): the ellipse with foci a and b through zero has semi-axes of this sum.
# Errors of cubic splines fall, in the limit, with the fourth power of the number of intervals. The
# policy of a Bellman equation comes from the slope of the value function, and loses one order.

ALPHA, BETA = 0.36, 0.96


def capital_reward(s, a):
    """Logarithmic utility."""
    return a[:, 0].log()


def capital_transition(s, a, e):
    """What is not consumed is the capital of the next period."""
    return s**ALPHA - a


def up_to_output(s):
    """Bounds of consumption."""
    return 0.0, s**ALPHA


def capital_policy(s):
    """The exact policy."""
    return (1 - ALPHA * BETA) * s**ALPHA


def capital_value(s):
    """The exact value."""
    saved = ALPHA * BETA
    level = (math.log(1 - saved) + saved / (1 - saved) * math.log(saved)) / (1 - BETA)
    return level + ALPHA / (1 - saved) * s[:, 0].log()


def capital_model() -> DynamicModel:
    """The model without shocks, in natural units."""
    return DynamicModel(
        reward=capital_reward,
        transition=capital_transition,
        discount=BETA,
        state_bounds=[CAPITAL],
        action_bounds=up_to_output,
        state_names=["k"],
        action_names=["c"],
        solution=Solution(capital_policy, capital_value),
    )


def bernstein_rate() -> float:
    """Factor by which errors fall with each degree of a Chebyshev polynomial."""
    low, high = CAPITAL
    middle = (high + low) / (high - low)
    return middle + math.sqrt(middle**2 - 1)


DEGREES = (4, 8, 12, 16, 20, 24, 28, 32)
KNOTS = (1, 4, 8, 12, 28, 60, 124)


def convergence(
    kind: str, degrees: Sequence[int] = DEGREES, knots: Sequence[int] = KNOTS
) -> dict[str, np.ndarray]:
    """Number of coefficients and largest error of the policy, shape (n, 2), by basis."""
    cases = {
        "chebyshev": [{"basis": "chebyshev", "degree": degree} for degree in degrees],
        "bspline": [{"basis": "bspline", "knots": count} for count in knots],
    }
    states = np.linspace(*CAPITAL, 2001)[:, None]
    found = {}
    for name, params in cases.items():
        fits = [solved(ESTIMATORS[kind](capital_model(), **each), states) for each in params]
        found[name] = np.array([(fit.estimator.coef_.size, fit.policy) for fit in fits])
    return found


# %%
# What came out
# -------------
#
# In logarithms every basis is exact up to rounding: the solution is among the functions that it
# holds. A network has to learn even a straight line, but comes within a few parts in a hundred
# thousand, in seconds.
#
# In natural units Chebyshev and complete polynomials of degree ten in capital have the same errors:
# capital is what is hard here, and both hold the same powers of it. Monomials hold them too,
# but in raw units their matrix has a condition number above 1e10, and the Bellman equation's
# tolerance is out of reach. A Smolyak set of as many coefficients reaches degree sixteen in
# capital, and has a value better by two digits.
# Splines are behind, because the function is analytic. (`plot_borrowing_limit.py` has a model in
# which this is reversed.) Where nothing but capital limits them, policies of the Bellman equation,
# which come from the slope of what is approximated, have about ten times the errors of the Euler
# equation's.


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and columns, the first aligned to the left."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for first, *others in (header, *rows):
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  " + "   ".join([first.ljust(widths[0]), *cells]))


def mark(fit: Fit) -> str:
    """A star for a solution that did not meet its tolerance."""
    return " " if fit.estimator.converged_ else "*"


def print_comparison(fits: dict[tuple[str, str, str], Fit]) -> None:
    """Print the errors and seconds of all solutions."""
    for coordinates in models():
        rows = []
        for name in [name for c, kind, name in fits if (c, kind) == (coordinates, "Euler")]:
            pair = [fits[coordinates, kind, name] for kind in ESTIMATORS]
            cells = [f"{f.policy:.1e}  {f.value:.1e}  {f.seconds:5.2f} s{mark(f)}" for f in pair]
            rows.append((name, str(pair[0].estimator.coef_.size), *cells))
        print_table(
            f"In {coordinates}: largest relative error of the policy, largest error of the value, "
            "time\n(* stopped above the tolerance)",
            ("representation", "coefficients", *ESTIMATORS),
            rows,
        )


def print_convergence(errors: dict[str, dict[str, np.ndarray]]) -> None:
    """Print the errors by number of coefficients, and the factor or order that they show."""
    for kind, found in errors.items():
        for name, points in found.items():
            print_table(
                f"{kind}, {name}: largest relative error of the policy",
                ("coefficients", *(f"{count:.0f}" for count in points[:, 0])),
                [("error", *(f"{error:.1e}" for error in points[:, 1]))],
            )
    print(f"\nBernstein's factor a degree: {bernstein_rate():.3f}")


def draw_policy(ax, fit: Fit) -> None:
    """Draw a solution with the closed form."""
    display = PolicyDisplay.from_estimator(
        fit.estimator, states=["k", "z"], levels=[-0.25, 0.0, 0.25], reference="exact", ax=ax
    )
    display.legend_.remove()
    for line in display.reference_lines_["c"][1:]:
        line.set_label("_exact")
    display.ax_.legend(loc="lower right", ncols=2)
    display.ax_.set(title="Policy at three productivities z", xlabel="capital k")
    display.ax_.set_ylabel("consumption c")


def draw_errors(ax, fits: dict[tuple[str, str, str], Fit], kind: str) -> None:
    """Draw the errors of policies over capital, the largest over productivity."""
    states = grid(201, 5)
    for name, colour in COLOURS.items():
        if ("natural units", kind, name) not in fits:
            continue
        own = fits["natural units", kind, name].estimator
        errors = policy_errors(own, states.reshape(-1, 2)).reshape(states.shape[:2]).max(axis=1)
        dashes = (0, (3, 3)) if name == "complete" else "-"
        ax.semilogy(states[:, 0, 0], errors, color=colour, linestyle=dashes, label=name)
    ax.set(title=f"{kind}: error of the policy, natural units", xlabel="capital k")
    ax.set(ylabel="relative error", ylim=(2e-8, 3e-2))
    ax.legend(loc="lower center", ncols=3)


def draw_convergence(ax, errors: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw the errors by number of coefficients, and the laws that they obey."""
    for kind, found in errors.items():
        line, marker = ("-", "o") if kind == "Euler" else ("--", "s")
        for name, points in found.items():
            style = {"marker": marker, "linestyle": line, "markersize": 4}
            ax.loglog(*points.T, color=COLOURS[name], label=f"{name}, {kind}", **style)
    counts = np.linspace(13, 33, 50)
    law = 3e-4 * bernstein_rate() ** -(counts - 13)
    ax.loglog(counts, law, ":", color="black", linewidth=1.2, label="Bernstein's rate")
    counts = np.array([16, 128])
    ax.loglog(counts, 1e-5 * (counts / 16.0) ** -4, "-.", color="black", linewidth=1.2)
    ax.lines[-1].set_label("fourth power")
    ax.set_xticks((5, 10, 20, 40, 80, 128), map(str, (5, 10, 20, 40, 80, 128)))
    ax.minorticks_off()
    ax.set(title="One state, natural units", xlabel="number of coefficients")
    ax.set(ylabel="largest relative error of the policy", ylim=(1e-15, 1))
    ax.legend(loc="lower left")


def draw(
    fits: dict[tuple[str, str, str], Fit], errors: dict[str, dict[str, np.ndarray]]
) -> plt.Figure:
    """The figure."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    draw_policy(axes[0, 0], fits["natural units", "Euler", "chebyshev"])
    draw_convergence(axes[0, 1], errors)
    for ax, kind in zip(axes[1], ESTIMATORS, strict=True):
        draw_errors(ax, fits, kind)
    return figure


def main(output: Path | None = None, names: Sequence[str] = tuple(COLOURS)) -> None:
    """Print the tables and draw the figure; with ``output``, save it into that folder.

    ``names`` are the representations to compare.
    """
    fits = comparison(names)
    print_comparison(fits)
    errors = {kind: convergence(kind) for kind in ESTIMATORS}
    print_convergence(errors)
    with plt.rc_context(STYLE):
        figure = draw(fits, errors)
        if output is None:
            plt.show()
            return
        output.mkdir(parents=True, exist_ok=True)
        figure.savefig(output / "brock_mirman.png", dpi=100)
        plt.close(figure)
        print(f"\nFigures\n  {output / 'brock_mirman.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Brock and Mirman's model in six representations.")
    parser.add_argument("--output", type=Path, metavar="DIR", help="save the figures there")
    main(parser.parse_args().output)
