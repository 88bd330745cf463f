"""
Four bases and a network at a jump
==================================

Value and policy functions of economic models are smooth except at a few points, where a constraint
starts to bind or a technology changes. This study takes the function of a lecture,

.. math:: y(x) = \\alpha\\beta x^\\alpha, \\qquad \\text{doubled for } x > 1/2,

on an even grid of [0, 1], and asks how ordinary polynomials, Chebyshev polynomials, shifted ReLUs,
B-splines and a network cope with the jump; then how they do in three dimensions. It ends with two
older lessons about polynomials: monomials are nearly collinear, and equispaced nodes make
interpolation diverge (Runge).

With a capital share of :math:`\\alpha = 0.36` the function has a second difficulty: its derivative
is unbounded at zero. Errors "away from the jump" therefore leave out a neighbourhood of both
points, :math:`|x - 1/2| < 0.05` and :math:`x < 0.05`, and the knots of the spline that is told
about the jump lie closer together near zero.

The lecture is Sawada and Zhong, *Parameterization and Neural Network*, section on bases; the case
study is from Feng, *Introduction to Machine Learning for Economists*.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from thetalearn import (
    BSplineRegressor,
    ChebyshevRegressor,
    MLPRegressor,
    PolynomialRegressor,
    RandomFeatureRegressor,
    ReLURegressor,
    TrainingDisplay,
)
from thetalearn.exceptions import ConvergenceWarning, RankWarning
from thetalearn.representations.bases import chebyshev_nodes, equispaced_nodes
from thetalearn.solvers.gradient.schedules import Plateau

ALPHA, BETA = 0.36, 0.95
#: Height of the jump at one half.
JUMP = ALPHA * BETA * 0.5**ALPHA
#: An even number of grid points, so that none lies at one half: a spline's value at a knot belongs
#: to the piece on its right, the lecture's function to the piece on its left.
GRID = np.linspace(0, 1, 10_000)
#: Distance that a point "away from the jump" keeps from the jump and from zero.
DISTANCE = 0.05
#: Coefficients of each basis, where their number does not vary.
N_TERMS = 40
#: The network's names, and how it normalises.
NETS = {"network, batch norm": "batch", "network": None}
#: What batch normalisation learns.
LEARNED = ("weight", "bias")
#: Share of a jump by which the partial sums of a Fourier series overshoot it (Wilbraham, Gibbs),
#: (2/pi * Si(pi) - 1) / 2.
GIBBS = 0.0894898722360836

COLOURS = {
    "monomials": "#999999",
    "Chebyshev": "#1f6fb4",
    "ReLUs": "#1b8a5a",
    "B-spline": "#d95f02",
    "B-spline, knot repeated": "#b3225f",
}


def target(x: np.ndarray) -> np.ndarray:
    """The lecture's function."""
    smooth = ALPHA * BETA * x**ALPHA
    return np.where(x > 0.5, 2 * smooth, smooth)


def column(x: np.ndarray) -> np.ndarray:
    """Points as the matrix of one column that estimators take."""
    return x[:, None]


# %%
# The bases
# ---------
#
# All get the same number of coefficients. The last one knows where the jump is: a cubic spline with
# a knot repeated four times, degree plus one, need not be continuous there. (Three times would
# allow a kink; ``kinks=[0.5]`` is short for that.) Its other knots are spread evenly on the right,
# and on the left as squares of even numbers, closer together where the derivative is unbounded. The
# grid sets a limit to this: each interval between knots must hold data.


def jump_knots(n_terms: int, degree: int = 3) -> np.ndarray:
    """Interior knots for so many coefficients, the one at the jump repeated degree + 1 times."""
    simple = n_terms - 2 * (degree + 1)
    n_left = 2 * simple // 3
    left = 0.5 * (np.arange(1, n_left + 1) / (n_left + 1)) ** 2
    n_right = simple - n_left
    right = 0.5 + 0.5 * np.arange(1, n_right + 1) / (n_right + 1)
    return np.r_[left, np.repeat(0.5, degree + 1), right]


def models(n_terms: int) -> dict[str, object]:
    """Each basis with the same number of coefficients."""
    return {
        "monomials": PolynomialRegressor(n_terms - 1),
        "Chebyshev": ChebyshevRegressor(n_terms - 1),
        "ReLUs": ReLURegressor(n_terms - 1),
        "B-spline": BSplineRegressor(n_terms - 4),
        "B-spline, knot repeated": BSplineRegressor(jump_knots(n_terms)),
    }


def fitted(model):
    """A model fitted to the lecture's function on the grid."""
    with warnings.catch_warnings():
        # That many monomials are not told apart by the data: the table shows their rank instead.
        warnings.simplefilter("ignore", RankWarning)
        return model.fit(column(GRID), target(GRID))


@dataclass(frozen=True)
class Result:
    """How well a model fits, and what its basis is like."""

    mse: float
    away: float
    overshoot: float
    undershoot: float
    condition: float
    rank: int


def measured(model) -> Result:
    """Fit a model and measure it."""
    model = fitted(model)
    errors = np.abs(model.predict(column(GRID)) - target(GRID))
    away = (np.abs(GRID - 0.5) >= DISTANCE) & (GRID >= DISTANCE)
    return Result(
        float(np.mean(errors**2)),
        float(errors[away].max()),
        *overshoots(model),
        model.condition_number_,
        model.rank_,
    )


# %%
# Gibbs' phenomenon
# -----------------
#
# The best polynomial, or continuous spline, cannot follow the jump: next to it the fit swings
# beyond the function. Wilbraham and Gibbs found for Fourier series that this excess does not vanish
# with more terms; it only moves closer to the jump. Its limit is 8.95 percent of the jump.
# Least-squares fits by polynomials have the same limit, on either side.


def overshoots(model) -> tuple[float, float]:
    """How far a fit exceeds the function above the jump, and falls below it before the jump.

    Both are shares of the jump, taken within a quarter of it on a grid of their own.
    """
    steps = 0.25 * np.arange(1, 5001) / 5000
    above, below = 0.5 + steps, 0.5 - steps
    over = model.predict(column(above)) - target(above)
    under = target(below) - model.predict(column(below))
    return float(over.max() / JUMP), float(under.max() / JUMP)


def gibbs_by_degree(degrees: Sequence[int]) -> np.ndarray:
    """Overshoot and undershoot of Chebyshev polynomials by degree, shape (degrees, 2)."""
    return np.array([overshoots(fitted(ChebyshevRegressor(degree))) for degree in degrees])


def away_by_terms(counts: Sequence[int]) -> dict[str, list[float]]:
    """Maximal error away from the jump by number of coefficients, for each basis."""
    return {
        name: [measured(models(count)[name]).away for count in counts]
        for name in COLOURS
        if name != "monomials"
    }


# %%
# The network
# -----------
#
# The lecture trains a ReLU network of two hidden layers with batch normalisation: minibatches of
# 256 rows, AdamW with a weight decay of 1e-4, and a learning rate that is divided by ten whenever
# the loss has not fallen for 50 epochs. Training ends when the loss has not fallen by a tolerance
# for twice as long. (``verbose=1`` shows the loss while it falls.)
#
# A network can put its kinks where the data want them, and so make the jump steep. Batch
# normalisation works against this. It centres inputs on the mean of their batch, which differs from
# that of all rows by :math:`w = s/\sqrt b` or so, with the standard deviation s of x and b rows in
# a batch. Where the network sees the jump moves by as much from batch to batch. The best that it
# can do is to learn the mean of these views: the step blurred by a normal distribution of standard
# deviation w. If it knows no more than that, its mean squared error is :math:`J^2 w/\sqrt\pi` while
# it trains, for a jump J, and :math:`(\sqrt 2 - 1) J^2 w/\sqrt\pi` when it predicts, with the mean
# of all rows.

EPOCHS = 500
BATCH = 256


def net(
    n_units: int, normalization: str | None, epochs: int = EPOCHS, batch_size: int = BATCH
) -> MLPRegressor:
    """The lecture's network, or the same without batch normalisation."""
    return MLPRegressor(
        hidden_layer_sizes=(n_units, n_units),
        activation="relu",
        normalization=normalization,
        solver="adamw",
        weight_decay=1e-4,
        alpha=0.0,
        batch_size=batch_size,
        learning_rate=Plateau(patience=50),
        learning_rate_init=0.01,
        max_iter=epochs,
        tol=2e-7,
        n_iter_no_change=100,
        dtype="float32",
        random_state=0,
    )


def blur(batch_size: int) -> tuple[float, float]:
    """Mean squared error of the jump blurred by batches of so many rows: in training, after it."""
    width = GRID.std() / np.sqrt(batch_size)
    training = JUMP**2 * width / np.sqrt(np.pi)
    return float(training), float((np.sqrt(2) - 1) * training)


@dataclass(frozen=True)
class Timed:
    """A fitted model and the seconds that its fit took."""

    model: object
    seconds: float

    @property
    def n_parameters(self) -> int:
        """Numbers that were fitted."""
        if not isinstance(self.model, MLPRegressor):
            return self.model.coef_.size
        norms = [norm[name] for norm in getattr(self.model, "norms_", []) for name in LEARNED]
        arrays = [*self.model.coefs_, *self.model.intercepts_, *norms]
        return sum(array.size for array in arrays)


def timed(model, X: np.ndarray, y: np.ndarray, **validation: np.ndarray) -> Timed:
    """Fit a model."""
    with warnings.catch_warnings():
        # The curves show how far training went.
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        model.fit(X, y, **validation)
        return Timed(model, time.perf_counter() - start)


def on_the_line(epochs: int = EPOCHS) -> dict[str, Timed]:
    """Bases and networks fitted to the lecture's grid."""
    fits = {
        name: timed(model, column(GRID), target(GRID))
        for name, model in models(N_TERMS).items()
        if name != "monomials"
    }
    # The validation rows are only watched: they lie between those of the grid.
    x = np.random.default_rng(0).uniform(size=2000)
    watched = {"X_val": column(x), "y_val": target(x)}
    for name, normalization in NETS.items():
        model = net(32, normalization, epochs)
        fits[name] = timed(model, column(GRID), target(GRID), **watched)
    many = fits["network"].n_parameters
    fits["B-spline, as many"] = timed(BSplineRegressor(many - 4), column(GRID), target(GRID))
    return fits


# %%
# Three dimensions
# ----------------
#
# The lecture has a version in three dimensions, of which we know only that it exists. We take
#
# .. math:: y(x) = \alpha\beta \prod_i x_i^\alpha, \qquad \text{doubled for } x_1 > 1/2,
#
# at as many random points of the unit cube as the grid has. The function is a product, of which
# neither basis nor network is told. All bases but the additive one have about a thousand
# coefficients, and there are two ways to spend them: on every product of a few functions of each
# input (tensor), or on functions of high degree in one input and low degree in the others
# (complete, and more so hyperbolic). The last basis is told about the jump once more. Where a
# network starts changes its errors by a factor of up to four.

#: Of 0.3, 1, 3, 10, 30 and 60 the scale with the least error, for both kinds of random features.
GAMMA = 60.0
#: At the edges of the cube some cells between knots hold no rows; a penalty decides there.
RIDGE = 1e-9


def target_3d(X: np.ndarray) -> np.ndarray:
    """The function in three dimensions."""
    smooth = ALPHA * BETA * np.prod(X**ALPHA, axis=1)
    return np.where(X[:, 0] > 0.5, 2 * smooth, smooth)


def cube(n: int, seed: int) -> np.ndarray:
    """Random points of the unit cube."""
    return np.random.default_rng(seed).uniform(size=(n, 3))


def models_3d(epochs: int = EPOCHS) -> dict[str, object]:
    """Bases and networks for three inputs."""
    unit = {"domain": (0, 1)}
    graded = (np.arange(1, 7) / 7) ** 1.5
    at_jump = [0.18, *[0.5] * 4, 0.75]
    random = {"gamma": GAMMA, "random_state": 0}
    return {
        "Chebyshev, tensor": ChebyshevRegressor(9, product="tensor", **unit),
        "Chebyshev, complete": ChebyshevRegressor(16, product="complete", **unit),
        "Chebyshev, hyperbolic": ChebyshevRegressor(75, product="hyperbolic", **unit),
        "B-spline, additive": BSplineRegressor(30, product="additive", **unit),
        "B-spline, tensor": BSplineRegressor(6, product="tensor", **unit),
        "random Fourier": RandomFeatureRegressor(1000, kind="fourier", **random),
        "random ReLUs": RandomFeatureRegressor(1000, kind="relu", **random),
        "network 32, no norm": net(32, None, epochs),
        "network 64, no norm": net(64, None, epochs),
        "network 64, batch norm": net(64, "batch", epochs),
        "B-spline, knot repeated": BSplineRegressor(
            [at_jump, graded, graded], product="tensor", alpha=RIDGE, **unit
        ),
    }


def in_the_cube(fits: dict[str, object], n_rows: int = len(GRID)) -> dict[str, Timed]:
    """Models fitted to the same random points."""
    X = cube(n_rows, 0)
    y = target_3d(X)
    return {name: timed(model, X, y) for name, model in fits.items()}


def errors_in_the_cube(fits: dict[str, Timed]) -> dict[str, tuple[float, float, float]]:
    """Mean squared errors of models at other points."""
    X = cube(50_000, 1)
    y = target_3d(X)
    return {name: squared_errors(fit.model, X, y) for name, fit in fits.items()}


def squared_errors(model, X: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Mean squared errors: over all points, near the jump, and away from it and from zero."""
    errors = (model.predict(X) - y) ** 2
    near = np.abs(X[:, 0] - 0.5) < DISTANCE
    away = ~near & (X.min(axis=1) >= DISTANCE)
    return float(errors.mean()), float(errors[near].mean()), float(errors[away].mean())


# %%
# Monomials are nearly collinear
# ------------------------------
#
# On [0, 1] the columns :math:`x^{10}` and :math:`x^{11}` look alike, and the condition number of a
# design matrix of monomials grows like :math:`(1 + \sqrt 2)^{2p}` with the degree p: at degree 14
# ten of sixteen digits are lost. Chebyshev polynomials span the same functions. They are orthogonal
# at Chebyshev nodes, where their condition number is :math:`\sqrt 2` at any degree; on an even grid
# it grows more slowly than the square root of the degree.


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two columns over the grid."""
    return float(np.corrcoef(first, second)[0, 1])


def chebyshev_column(degree: int, x: np.ndarray) -> np.ndarray:
    """A Chebyshev polynomial on [0, 1]."""
    return np.cos(degree * np.arccos(2 * x - 1))


def condition_numbers(degrees: Sequence[int]) -> np.ndarray:
    """Condition numbers by degree, shape (degrees, 3).

    Columns: monomials on the grid; Chebyshev polynomials on the grid; and at Chebyshev nodes.
    """
    nodes = chebyshev_nodes(1000, (0, 1))
    rows = []
    for degree in degrees:
        at_nodes = ChebyshevRegressor(degree, domain=(0, 1)).fit(column(nodes), target(nodes))
        on_grid = [fitted(model(degree)) for model in (PolynomialRegressor, ChebyshevRegressor)]
        rows.append([model.condition_number_ for model in (*on_grid, at_nodes)])
    return np.array(rows)


# %%
# Runge's phenomenon
# ------------------
#
# Interpolation of :math:`1/(1 + 25x^2)` at equispaced nodes of [-1, 1] diverges near the ends as
# the degree grows, in whichever basis. At Chebyshev nodes the error falls by the factor
# :math:`(1 + \sqrt{26})/5 \approx 1.22` with each degree. (Beyond degree 30 or so monomials cannot
# be told apart in double precision, and the solution of least norm is no longer an interpolant.)


def runge(x: np.ndarray) -> np.ndarray:
    """Runge's function."""
    return 1 / (1 + 25 * x**2)


def interpolant(degree: int, nodes: str, family=ChebyshevRegressor):
    """The polynomial of a degree through Runge's function at as many nodes as coefficients."""
    place = {"equispaced": equispaced_nodes, "Chebyshev": chebyshev_nodes}[nodes]
    x = place(degree + 1)
    options = {"domain": (-1, 1)} if family is ChebyshevRegressor else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)
        return family(degree, **options).fit(column(x), runge(x))


def runge_errors(degrees: Sequence[int]) -> np.ndarray:
    """Maximal error of interpolation by degree, shape (degrees, 3).

    Columns: monomials at equispaced nodes; Chebyshev polynomials there; and at Chebyshev nodes.
    """
    x = np.linspace(-1, 1, 4001)
    cases = [
        ("equispaced", PolynomialRegressor),
        ("equispaced", ChebyshevRegressor),
        ("Chebyshev", ChebyshevRegressor),
    ]
    return np.array(
        [
            [
                np.abs(interpolant(degree, nodes, family).predict(column(x)) - runge(x)).max()
                for nodes, family in cases
            ]
            for degree in degrees
        ]
    )


# %%
# What came out
# -------------
#
# Who is told where the jump is wins by orders of magnitude, and quickly. Among the others it
# depends. On a line, a spline with as many coefficients as the network has parameters is seven
# times as accurate in a fiftieth of the time, and forty ReLUs with fixed kinks do better away from
# the jump. In the cube, where nobody can afford many functions of each input, the network is ahead
# of every basis near the jump, and with 64 units away from it too, at several times the seconds of
# the hyperbolic product, which comes next. Batch normalisation costs it a factor of about eight.
#
# The tables and figures below are all that ``main`` does.

COUNTS = (20, 40, 80)
GIBBS_DEGREES = (8, 16, 32, 64, 128)
CONDITION_DEGREES = (2, 4, 6, 8, 10, 12, 14, 16)
RUNGE_DEGREES = (6, 10, 14, 18, 22, 26, 30)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and columns, the first aligned to the left."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for first, *others in (header, *rows):
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  " + "   ".join([first.ljust(widths[0]), *cells]))


def print_fits() -> None:
    """Print how the bases fit the jump."""
    rows = []
    for name, model in models(N_TERMS).items():
        r = measured(model)
        shares = (f"{100 * r.undershoot:.2f} %", f"{100 * r.overshoot:.2f} %")
        condition = f"{r.condition:.1e}" if r.rank == N_TERMS else "infinite"
        rows.append((name, f"{r.mse:.1e}", f"{r.away:.1e}", *shares, condition, f"{r.rank}"))
    header = ("basis", "MSE", "error away", "before", "after", "condition", "rank")
    print_table(
        f"{N_TERMS} coefficients each. Away: |x - 1/2| and x at least {DISTANCE}.\n"
        "Before, after: excess at the jump as a share of it.",
        header,
        rows,
    )
    away = away_by_terms(COUNTS)
    print_table(
        "Maximal error away from the jump by number of coefficients",
        ("basis", *map(str, COUNTS)),
        [(name, *(f"{error:.1e}" for error in errors)) for name, errors in away.items()],
    )
    shares = gibbs_by_degree(GIBBS_DEGREES)
    print_table(
        f"Chebyshev polynomials: excess at the jump (limit {100 * GIBBS:.2f} %)",
        ("degree", *map(str, GIBBS_DEGREES)),
        [
            (side, *(f"{100 * share:.2f} %" for share in shares[:, k]))
            for k, side in ((1, "before"), (0, "after"))
        ],
    )


def print_networks(line: dict[str, Timed]) -> None:
    """Print how networks do beside the bases."""
    x = column(GRID)
    rows = []
    for name, fit in line.items():
        errors = [f"{error:.1e}" for error in squared_errors(fit.model, x, target(GRID))]
        over, under = overshoots(fit.model)
        shares = (f"{100 * under:.2f} %", f"{100 * over:.2f} %")
        rows.append((name, f"{fit.n_parameters:,}", *errors, *shares, f"{fit.seconds:.2f}"))
    header = ("model", "parameters", "MSE", "near", "away", "before", "after", "seconds")
    print_table(
        f"One dimension: mean squared errors, near the jump (|x - 1/2| < {DISTANCE}) and away.\n"
        f"Blurred by batches of {BATCH}, the jump has a mean squared error of {blur(BATCH)[1]:.1e}",
        header,
        rows,
    )


def print_cube(solid: dict[str, Timed], errors: dict[str, tuple]) -> None:
    """Print how bases and networks do in three dimensions."""
    rows = [
        (
            name,
            f"{fit.n_parameters:,}",
            *(f"{error:.1e}" for error in errors[name]),
            f"{fit.seconds:.2f}",
        )
        for name, fit in solid.items()
    ]
    print_table(
        f"Three dimensions, {len(GRID):,} rows: mean squared errors at other points",
        ("model", "parameters", "MSE", "near", "away", "seconds"),
        rows,
    )


def print_polynomials() -> None:
    """Print what is wrong with monomials and with equispaced nodes."""
    pairs = [
        ("x^10 and x^11", GRID**10, GRID**11),
        ("T10 and T11", chebyshev_column(10, GRID), chebyshev_column(11, GRID)),
        ("T10 and T12", chebyshev_column(10, GRID), chebyshev_column(12, GRID)),
    ]
    print_table(
        "Correlation on the grid",
        ("columns", "correlation"),
        [(name, f"{correlation(a, b):.5f}") for name, a, b in pairs],
    )
    conditions = condition_numbers(CONDITION_DEGREES)
    names = ("monomials, grid", "Chebyshev, grid", "Chebyshev, Chebyshev nodes")
    print_table(
        "Condition number by degree",
        ("degree", *map(str, CONDITION_DEGREES)),
        [(name, *(f"{value:.3g}" for value in conditions[:, k])) for k, name in enumerate(names)],
    )
    errors = runge_errors(RUNGE_DEGREES)
    names = ("monomials, equispaced nodes", "Chebyshev, equispaced nodes", names[2])
    print_table(
        "Maximal error of interpolation of 1/(1 + 25x^2) by degree",
        ("degree", *map(str, RUNGE_DEGREES)),
        [(name, *(f"{error:.1e}" for error in errors[:, k])) for k, name in enumerate(names)],
    )


# %%
# The figures
# -----------

PALE = "#7db4e0"
NET_COLOURS = {"network, batch norm": "#e6a01a", "network": "#7b3fa0"}
SLICE_COLOURS = {
    "Chebyshev, hyperbolic": COLOURS["Chebyshev"],
    "network 64, batch norm": NET_COLOURS["network, batch norm"],
    "network 64, no norm": NET_COLOURS["network"],
    "B-spline, knot repeated": COLOURS["B-spline, knot repeated"],
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


def draw_fits(ax) -> None:
    """Draw the fits near the jump."""
    x = np.linspace(0.38, 0.62, 2400)
    before, after = x[x < 0.5], x[x > 0.5]
    for name, model in models(N_TERMS).items():
        if name == "monomials":
            continue
        pieces = (before, after) if name.endswith("repeated") else (x,)
        for k, piece in enumerate(pieces):
            y = fitted(model).predict(column(piece))
            ax.plot(piece, y, color=COLOURS[name], label=None if k else name)
    for k, piece in enumerate((before, after)):
        label = None if k else "function"
        ax.plot(piece, target(piece), "--", color="black", linewidth=0.9, label=label)
    ax.set(title=f"Fits with {N_TERMS} coefficients", xlabel="x", ylabel="y")
    ax.legend(loc="upper left")


def draw_gibbs(ax) -> None:
    """Draw the overshoot by degree."""
    shares = 100 * gibbs_by_degree(GIBBS_DEGREES)
    blue = COLOURS["Chebyshev"]
    ax.axhline(100 * GIBBS, color="#999999", linewidth=1, linestyle="--")
    ax.text(128, 8.8, "Wilbraham-Gibbs: 8.95 %", color="#666666", ha="right", va="top")
    ax.semilogx(GIBBS_DEGREES, shares[:, 1], "o-", markersize=4, color=PALE, label="before it")
    ax.semilogx(GIBBS_DEGREES, shares[:, 0], "o-", markersize=4, color=blue, label="after it")
    ax.set_xticks(GIBBS_DEGREES, map(str, GIBBS_DEGREES))
    ax.minorticks_off()
    ax.set(ylim=(0, 11), xlabel="degree", ylabel="excess (% of the jump)")
    ax.set_title("Chebyshev: the excess at the jump stays")
    ax.legend(loc="lower right")


def draw_away(ax) -> None:
    """Draw the error away from the jump by number of coefficients."""
    counts = (14, 20, 28, 40, 56, 80)
    for name, errors in away_by_terms(counts).items():
        ax.loglog(counts, errors, "o-", markersize=4, color=COLOURS[name], label=name)
    ax.set_xticks(counts, map(str, counts))
    ax.minorticks_off()
    ax.set(xlabel="number of coefficients", ylabel="maximal error")
    ax.set_title(f"Error at least {DISTANCE} away from the jump")
    ax.legend(loc="lower left")


def draw_columns(ax) -> None:
    """Draw two monomials and two Chebyshev polynomials."""
    x = np.linspace(0, 1, 400)
    ax.plot(x, chebyshev_column(10, x), color=PALE, linewidth=0.9, label="T10, T11")
    ax.plot(x, chebyshev_column(11, x), color=COLOURS["Chebyshev"], linewidth=0.9)
    ax.plot(x, x**10, color="black", label="$x^{10}$, $x^{11}$")
    ax.plot(x, x**11, color="black", linestyle="--")
    share = correlation(GRID**10, GRID**11)
    ax.set(
        title=f"Correlation of $x^{{10}}$ and $x^{{11}}$: {share:.4f}", xlabel="x", ylabel="value"
    )
    ax.set_ylim(-1.1, 1.75)
    ax.legend(loc="upper left", ncols=2)


def draw_conditions(ax) -> None:
    """Draw condition numbers by degree."""
    degrees = range(1, 17)
    lines = condition_numbers(degrees).T
    labels = ("monomials, even grid", "Chebyshev, even grid", "Chebyshev, Chebyshev nodes")
    colours = (COLOURS["monomials"], PALE, COLOURS["Chebyshev"])
    for values, label, colour in zip(lines, labels, colours, strict=True):
        ax.semilogy(degrees, values, ".-", color=colour, label=label)
    ax.set(title="Condition number of the basis", xlabel="degree", ylabel="condition number")
    ax.set_ylim(0.5, 1e17)
    ax.legend(loc="upper left")


def draw_runge(ax) -> None:
    """Draw Runge's function and two interpolants."""
    x, degree = np.linspace(-1, 1, 1000), 14
    ax.plot(x, runge(x), "--", color="black", linewidth=0.9, label="function")
    for nodes, colour in (("equispaced", COLOURS["B-spline"]), ("Chebyshev", COLOURS["Chebyshev"])):
        model = interpolant(degree, nodes)
        ax.plot(x, model.predict(column(x)), color=colour, label=f"{nodes} nodes")
    ax.set(title=f"Interpolation at {degree + 1} nodes", xlabel="x", ylabel="y", ylim=(-1.5, 2.2))
    ax.legend(loc="lower center")


def draw_runge_errors(ax) -> None:
    """Draw the errors of interpolation by degree."""
    degrees = range(2, 41, 2)
    lines = runge_errors(degrees).T
    labels = ("monomials, equispaced", "Chebyshev, equispaced", "Chebyshev, Chebyshev nodes")
    colours = (COLOURS["monomials"], COLOURS["B-spline"], COLOURS["Chebyshev"])
    for values, label, colour in zip(lines, labels, colours, strict=True):
        ax.semilogy(degrees, values, ".-", color=colour, label=label)
    ax.set(title="Interpolation of Runge's function", xlabel="degree", ylabel="maximal error")
    ax.legend(loc="upper left")


def draw_jump() -> plt.Figure:
    """The figure about the jump."""
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.7), layout="constrained")
    for ax, draw in zip(axes, (draw_fits, draw_gibbs, draw_away), strict=True):
        draw(ax)
    return figure


def draw_polynomials() -> plt.Figure:
    """The figure about monomials and nodes."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    parts = (draw_columns, draw_conditions, draw_runge, draw_runge_errors)
    for ax, draw in zip(axes.flat, parts, strict=True):
        draw(ax)
    return figure


def draw_line(ax, line: dict[str, Timed]) -> None:
    """Draw the networks near the jump."""
    x = np.linspace(0.38, 0.62, 2400)
    for name in ("Chebyshev", *NETS):
        y = line[name].model.predict(column(x))
        ax.plot(x, y, color=NET_COLOURS.get(name) or COLOURS[name], label=name)
    for k, piece in enumerate((x[x < 0.5], x[x > 0.5])):
        label = None if k else "function"
        ax.plot(piece, target(piece), "--", color="black", linewidth=0.9, label=label)
    ax.set(title="One dimension", xlabel="x", ylabel="y")
    ax.legend(loc="upper left")


def draw_training(ax, fit: Timed) -> None:
    """Draw the losses and the learning rate of the lecture's network."""
    kept = ("iteration", "loss", "validation_loss", "learning_rate")
    history = [{name: record[name] for name in kept} for record in fit.model.history_]
    display = TrainingDisplay(history=history, step_name="epoch").plot(ax, line_kw={"linewidth": 1})
    for name, error in zip(kept[1:3], blur(BATCH), strict=True):
        # The loss is half the squared error, as in scikit-learn.
        colour = display.lines_[name].get_color()
        label = f"{name.replace('_', ' ')} of a blurred step"
        display.ax_.axhline(error / 2, color=colour, linewidth=1.2, linestyle="--", label=label)
    display.ax_.legend(loc="upper right")
    display.ax_.set_title("Training with batch normalisation")


def draw_slice(ax, solid: dict[str, Timed]) -> None:
    """Draw fits in three dimensions along the first input."""
    x = np.linspace(0.3, 0.7, 2000)
    X = np.column_stack([x, np.full((len(x), 2), 0.7)])
    for name, colour in SLICE_COLOURS.items():
        ax.plot(x, solid[name].model.predict(X), color=colour, label=name)
    for k, piece in enumerate((X[x < 0.5], X[x > 0.5])):
        label = None if k else "function"
        ax.plot(piece[:, 0], target_3d(piece), "--", color="black", linewidth=0.9, label=label)
    ax.set(title="Three dimensions, at $x_2 = x_3 = 0.7$", xlabel="$x_1$", ylabel="y")
    ax.legend(loc="upper left")


def draw_errors(ax, solid: dict[str, Timed], errors: dict[str, tuple]) -> None:
    """Draw the errors in three dimensions, the best model above."""
    names = sorted(errors, key=lambda name: -errors[name][0])
    for which, label, marker in ((1, "near the jump", "o"), (2, "away from it", "s")):
        values = [errors[name][which] for name in names]
        colour = COLOURS["B-spline"] if which == 1 else COLOURS["Chebyshev"]
        ax.plot(values, range(len(names)), marker, markersize=6, color=colour, label=label)
    ax.set_yticks(range(len(names)), [f"{n}  ({solid[n].seconds:.2f} s)" for n in names])
    ax.set(xscale="log", xlabel="mean squared error", title="Three dimensions, by total error")
    ax.legend(loc="lower left")


def draw_networks(
    line: dict[str, Timed], solid: dict[str, Timed], errors: dict[str, tuple]
) -> plt.Figure:
    """The figure about networks."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    draw_line(axes[0, 0], line)
    draw_training(axes[0, 1], line["network, batch norm"])
    draw_slice(axes[1, 0], solid)
    draw_errors(axes[1, 1], solid, errors)
    return figure


def main(output: Path | None = None, epochs: int = EPOCHS) -> None:
    """Print the tables and draw the figures; with ``output``, save them into that folder.

    ``epochs`` limits the training of the networks.
    """
    print_fits()
    line, solid = on_the_line(epochs), in_the_cube(models_3d(epochs))
    errors = errors_in_the_cube(solid)
    print_networks(line)
    print_cube(solid, errors)
    print_polynomials()
    with plt.rc_context(STYLE):
        figures = {
            "kink.png": draw_jump(),
            "kink_network.png": draw_networks(line, solid, errors),
            "polynomials.png": draw_polynomials(),
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
    parser = argparse.ArgumentParser(description="Four bases and a network at a jump.")
    parser.add_argument("--output", type=Path, metavar="DIR", help="save the figures there")
    main(parser.parse_args().output)
