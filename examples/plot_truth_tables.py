"""
Truth tables as networks
========================

A steep logistic function :math:`S_\\epsilon(z) = 1/(1 + e^{-z/\\epsilon})` is nearly a step, and
sums of steps are logic: :math:`S_\\epsilon(S_\\epsilon(x) + S_\\epsilon(y) - 3/2)` is one where
x > 0 *and* y > 0, and nearly zero elsewhere. The first half of this study writes the weights of
such networks down and hands them to ``from_weights``: all sixteen ways of labeling the four
quadrants of the plane, regions between lines, and piecewise linear functions as sums of ReLUs. The
second half trains networks of the same shape, asks whether they find the same functions, and shows
which tables a network of two layers never learns.

The networks are those of Spiliopoulos, Sowers, Sirignano, *Mathematical Foundations of Deep
Learning Models and Algorithms*, chapter 5. Where its printed forms do not give the printed table,
this file has the corrected ones: the third quadrant is :math:`S(1/2 - S(x) - S(y))` and its
complement :math:`S(S(x) + S(y) - 1/2)`; the weights that it gives for the complement of a quadrant
belong to the first one; and its second trained network has 1/eps = 6.263, the quadrant's 7.494.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from sklearn.metrics import log_loss

from thetalearn import MLPClassifier, MLPRegressor
from thetalearn.exceptions import ConvergenceWarning
from thetalearn.representations.networks.activations import Logistic

#: Length over which a step rises.
EPS = 0.02
#: Centres of the quadrants Q1 to Q4, counted as usual from x, y > 0 against the clock.
CENTRES = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


def quadrant(X: np.ndarray) -> np.ndarray:
    """Number of the quadrant of each point, 0 to 3."""
    right, up = X[:, 0] > 0, X[:, 1] > 0
    return np.select([right & up, ~right & up, ~right & ~up], [0, 1, 2], 3)


# %%
# Sixteen labelings
# -----------------
#
# The first layer knows on which side of each axis a point lies: it gives S(x) and S(y). A unit of
# the second layer, S(a S(x) + b S(y) + c), can then name a half-plane, a quadrant, or all but a
# quadrant. Negation is a change of sign, as 1 - S(z) = S(-z).

PIECES = {
    "nothing": (0, 0, -1 / 2),
    "everything": (0, 0, 1 / 2),
    "x > 0": (1, 0, -1 / 2),
    "x < 0": (-1, 0, 1 / 2),
    "y > 0": (0, 1, -1 / 2),
    "y < 0": (0, -1, 1 / 2),
    "Q1": (1, 1, -3 / 2),
    "Q2": (-1, 1, -1 / 2),
    "Q3": (-1, -1, 1 / 2),
    "Q4": (1, -1, -1 / 2),
    "not Q1": (-1, -1, 3 / 2),
    "not Q2": (1, -1, 1 / 2),
    "not Q3": (1, 1, -1 / 2),
    "not Q4": (-1, 1, 1 / 2),
}

#: Each piece is a labeling; two labelings need an *or* of two pieces.
LABELINGS = {name: (name, "nothing") for name in PIECES} | {
    "Q1 or Q3": ("Q1", "Q3"),
    "Q2 or Q4": ("Q2", "Q4"),
}

TRUTH = {
    "nothing": (0, 0, 0, 0),
    "everything": (1, 1, 1, 1),
    "x > 0": (1, 0, 0, 1),
    "x < 0": (0, 1, 1, 0),
    "y > 0": (1, 1, 0, 0),
    "y < 0": (0, 0, 1, 1),
    "Q1": (1, 0, 0, 0),
    "Q2": (0, 1, 0, 0),
    "Q3": (0, 0, 1, 0),
    "Q4": (0, 0, 0, 1),
    "not Q1": (0, 1, 1, 1),
    "not Q2": (1, 0, 1, 1),
    "not Q3": (1, 1, 0, 1),
    "not Q4": (1, 1, 1, 0),
    "Q1 or Q3": (1, 0, 1, 0),
    "Q2 or Q4": (0, 1, 0, 1),
}


def labels(name: str, X: np.ndarray) -> np.ndarray:
    """What a truth table says of points of the plane."""
    return np.array(TRUTH[name])[quadrant(X)]


def network(coefs: Sequence, intercepts: Sequence, eps: float = EPS) -> MLPRegressor:
    """A network of given weights with steps in all layers."""
    step = Logistic(scale=eps)
    return MLPRegressor.from_weights(coefs, intercepts, activation=step, out_activation=step)


def canonical(name: str, eps: float = EPS) -> MLPRegressor:
    """A labeling as a 2-2-2-1 network: sides of the axes, two pieces, their *or*."""
    pieces = np.array([PIECES[piece] for piece in LABELINGS[name]])
    return network(
        [np.eye(2), pieces[:, :2].T, [[1], [1]]],
        [[0, 0], pieces[:, 2], [-1 / 2]],
        eps,
    )


# %%
# Fourteen of the sixteen need no third layer. A quadrant is an *and* of two half-planes, and all
# but a quadrant an *or*; with S(-x) in the place of 1 - S(x) these are other weights for the same
# functions. The two that are left over are "both or neither" (XNOR) and "one of the two" (XOR).

#: Signs of x and y, and the threshold: 3/2 for *and*, 1/2 for *or*.
SHALLOW = {
    "Q1": (1, 1, 3 / 2),
    "Q2": (-1, 1, 3 / 2),
    "Q3": (-1, -1, 3 / 2),
    "Q4": (1, -1, 3 / 2),
    "not Q1": (-1, -1, 1 / 2),
    "not Q2": (1, -1, 1 / 2),
    "not Q3": (1, 1, 1 / 2),
    "not Q4": (-1, 1, 1 / 2),
}


def shallow(name: str, eps: float = EPS) -> MLPRegressor:
    """A quadrant, or all but a quadrant, as the 2-2-1 network S(S(±x) + S(±y) - t)."""
    *signs, threshold = SHALLOW[name]
    return network([np.diag(signs), [[1], [1]]], [[0, 0], [-threshold]], eps)


def formula(name: str) -> str:
    """The second layer of a labeling."""
    pieces = [piece for piece in LABELINGS[name] if piece != "nothing"] or ["nothing"]
    return " or ".join(term(*PIECES[piece]) for piece in pieces)


def term(a: float, b: float, c: float) -> str:
    """A unit of the second layer as a formula."""
    parts = [(a, "S(x)"), (b, "S(y)"), (c, f"{abs(round(2 * c))}/2")]
    signed = [f"{'-' if factor < 0 else '+'} {text}" for factor, text in parts if factor]
    joined = " ".join(signed).removeprefix("+ ")
    return f"S({'-' + joined[2:] if joined.startswith('- ') else joined})"


# %%
# Lines that are not axes, and functions that are not steps
# ---------------------------------------------------------
#
# Any lines will do: exercises 5.3 and 5.4 ask for the points with 0 < y < 2x + 3, and for those
# with y < 2x + 3 and x > 0. And with ReLUs in the place of steps, sums are piecewise linear
# functions: those of exercises 5.5 and 5.6 are maxima of three lines. They are exact.

REGIONS: dict[str, tuple[np.ndarray, list[float], Callable[[np.ndarray], np.ndarray]]] = {
    "0 < y < 2x + 3": (
        np.array([[0, 2], [1, -1]]),
        [0, 3],
        lambda X: (X[:, 1] > 0) & (X[:, 1] < 2 * X[:, 0] + 3),
    ),
    "y < 2x + 3, x > 0": (
        np.array([[1, 2], [0, -1]]),
        [0, 3],
        lambda X: (X[:, 0] > 0) & (X[:, 1] < 2 * X[:, 0] + 3),
    ),
}


def region(name: str, eps: float = EPS) -> MLPRegressor:
    """The points on the right side of two lines, as an *and* of their half-planes."""
    lines, offsets, _ = REGIONS[name]
    return network([lines, [[1], [1]]], [offsets, [-3 / 2]], eps)


#: Weights and biases of the ReLUs, their factors, and the function.
MAXIMA: dict[str, tuple[list, list, list, Callable[[np.ndarray], np.ndarray]]] = {
    "max(0, x, 2x - 1) = ReLU(x) + ReLU(x - 1)": (
        [[1, 1]],
        [0, -1],
        [1, 1],
        lambda X: np.max([0 * X[:, 0], X[:, 0], 2 * X[:, 0] - 1], axis=0),
    ),
    "max(-2x, 0, 3x - 3) = 2 ReLU(-x) + 3 ReLU(x - 1)": (
        [[-1, 1]],
        [0, -1],
        [2, 3],
        lambda X: np.max([-2 * X[:, 0], 0 * X[:, 0], 3 * X[:, 0] - 3], axis=0),
    ),
    "max(x, y) = ReLU(x - y) + ReLU(y) - ReLU(-y)": (
        [[1, 0, 0], [-1, 1, -1]],
        [0, 0, 0],
        [1, 1, -1],
        lambda X: np.max(X, axis=1),
    ),
}


def maximum(name: str) -> MLPRegressor:
    """A maximum of linear functions as a sum of ReLUs."""
    weights, biases, factors, _ = MAXIMA[name]
    return MLPRegressor.from_weights(
        [weights, np.transpose([factors])], [biases, [0]], activation="relu"
    )


def maximum_error(name: str) -> float:
    """Largest error of a maximum on a grid of dyadic fractions, on which sums do not round."""
    line = np.arange(-256, 257) / 64
    X = line[:, None]
    if len(MAXIMA[name][0]) == 2:
        X = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    return float(np.abs(maximum(name).predict(X) - MAXIMA[name][3](X)).max())


# %%
# What training finds
# -------------------
#
# The book trains two-layer networks of two hidden units on Gaussian points, for the half-plane
# x > 0 and for the first quadrant, and prints what came out. The weights depend on where the
# training starts, and the units may trade places or change sign; what must agree are the functions.
#
# To see that they are the functions of the first half, bring the weights into its form: turn each
# unit so that its main weight is positive, by S(-z) = 1 - S(z). The half-plane then reads
# :math:`S_{\epsilon'}(S_\epsilon(x) - t)` with :math:`1/\epsilon` the mean main weight,
# :math:`1/\epsilon'` the sum of the output's weights, and t near 1/2, the quadrant
# :math:`S_{\epsilon'}(S_\epsilon(x) + S_\epsilon(y) - t)` with their mean, and t near 3/2.

N_TRAIN, N_TEST = 2000, 1_000_000


@dataclass(frozen=True)
class Printed:
    """Trained weights as the book prints them, and what they amount to."""

    labeling: str
    W1: tuple
    B1: tuple
    W2: tuple
    B2: float

    def network(self) -> MLPClassifier:
        """The network; the book's matrices have a row for each unit, thetalearn's a column."""
        return MLPClassifier.from_weights(
            [np.transpose(self.W1), np.transpose([self.W2])],
            [self.B1, [self.B2]],
            activation="logistic",
        )


BOOK = {
    "half-plane, book, run 1": Printed(
        "x > 0", ((7.380, 0.174), (5.809, 0.165)), (-0.283, -0.311), (8.187, 5.993), -6.287
    ),
    "half-plane, book, run 2": Printed(
        "x > 0", ((-4.730, -0.146), (7.795, 0.169)), (0.099, -0.136), (-5.676, 9.608), -1.754
    ),
    "quadrant, book": Printed(
        "Q1", ((0.096, -7.474), (7.514, 0.063)), (-0.237, 0.054), (-9.638, 9.194), -4.422
    ),
}


def gaussian(n: int, seed: int) -> np.ndarray:
    """Standard normal points of the plane."""
    return np.random.default_rng(seed).standard_normal((n, 2))


def trained(name: str, seed: int) -> MLPClassifier:
    """A 2-2-1 network trained on a truth table."""
    X = gaussian(N_TRAIN, seed)
    net = MLPClassifier(
        hidden_layer_sizes=(2,),
        activation="logistic",
        alpha=0.0,
        batch_size=100,
        learning_rate_init=0.05,
        max_iter=60,
        # The classes are separable, so that the loss falls for ever.
        tol=0.0,
        n_iter_no_change=np.inf,
        random_state=seed,
    )
    return quietly_fitted(net, X, labels(name, X))


def quietly_fitted(net: MLPClassifier, X: np.ndarray, y: np.ndarray) -> MLPClassifier:
    """Fit without a warning that training stopped before an optimum, which is far away here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return net.fit(X, y)


@dataclass(frozen=True)
class Form:
    """A trained network in the form of the explicit ones.

    ``inputs`` are the inputs that the units look at, ``steepness`` is 1/eps, ``gain`` 1/eps'.
    """

    inputs: tuple[int, ...]
    steepness: float
    gain: float
    threshold: float

    def network(self) -> MLPClassifier:
        """The form as a network."""
        first = np.zeros((2, len(self.inputs)))
        first[self.inputs, range(len(self.inputs))] = self.steepness
        return MLPClassifier.from_weights(
            [first, np.full((len(self.inputs), 1), self.gain)],
            [np.zeros(len(self.inputs)), [-self.gain * self.threshold]],
            activation="logistic",
        )


def book_form(net: MLPClassifier) -> Form:
    """Bring the weights of a 2-2-1 network into the form of the explicit ones."""
    first, last = net.coefs_[0], net.coefs_[1][:, 0]
    inputs = np.abs(first).argmax(axis=0)
    main = first[inputs, range(len(last))]
    turned = last * np.sign(main)
    constant = net.intercepts_[1][0] + last[main < 0].sum()
    together = tuple(sorted({int(i) for i in inputs}))
    gain = turned.sum() / len(together)
    return Form(together, float(np.abs(main).mean()), float(gain), float(-constant / gain))


@dataclass(frozen=True)
class Quality:
    """How well a network knows a truth table, and how near it is to its own book form."""

    accuracy: float
    cross_entropy: float
    form: Form
    form_agrees: float


def measured(net: MLPClassifier, labeling: str, X: np.ndarray) -> Quality:
    """Measure a 2-2-1 network on points of the plane."""
    y, p = labels(labeling, X), net.predict_proba(X)[:, 1]
    form = book_form(net)
    return Quality(
        float(np.mean((p > 0.5) == y)),
        log_loss(y, p),
        form,
        float(np.mean((p > 0.5) == form.network().predict(X))),
    )


# %%
# What two layers cannot learn
# ----------------------------
#
# A 2-2-1 network thresholds a sum of one function of S(x) and one of S(y). For XNOR this sum would
# have to exceed the threshold at two opposite quadrants and fall short of it at the other two,
# though both pairs have the same total: it gets three quadrants right, three quarters of the
# points. With other directions of its units it does not do better. A third layer, or two more
# units, suffice; whether training finds them depends on where it starts.

SHAPES = {"2-2-1": (2,), "2-2-2-1": (2, 2), "2-4-1": (4,), "2-8-1": (8,)}
#: A network has learned a table if it is right on this share of the points.
LEARNED = 0.95
N_SEEDS = 24


def parity_net(labeling: str, shape: str, seed: int) -> MLPClassifier:
    """A network trained on the labeling with opposite quadrants."""
    X = gaussian(N_TRAIN, seed)
    net = MLPClassifier(
        hidden_layer_sizes=SHAPES[shape],
        activation="logistic",
        solver="lbfgs",
        alpha=0.0,
        max_iter=200,
        random_state=seed,
    )
    return quietly_fitted(net, X, labels(labeling, X))


def parity_accuracies(labeling: str, shape: str, seeds: Sequence[int]) -> np.ndarray:
    """Accuracies by seed on points that were not trained on."""
    X = gaussian(20_000, 10_000)
    y = labels(labeling, X)
    return np.array([parity_net(labeling, shape, seed).score(X, y) for seed in seeds])


# %%
# What came out
# -------------
#
# The tables and figures below are all that ``main`` does.


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and columns, the first aligned to the left."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for first, *others in (header, *rows):
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  " + "   ".join([first.ljust(widths[0]), *cells]))


def print_explicit() -> None:
    """Print what the networks of given weights do."""
    X = gaussian(100_000, 1)
    rows = []
    for name, truth in TRUTH.items():
        net = canonical(name)
        values = net.predict(CENTRES)
        share = np.mean((net.predict(X) > 0.5) == labels(name, X))
        table = " ".join(f"{value:.0f}" for value in values)
        error = np.abs(values - truth).max()
        rows.append((name, formula(name), table, f"{error:.1e}", f"{share:.4f}"))
    print_table(
        f"The sixteen labelings as 2-2-2-1 networks, eps = {EPS}: values at the centres of Q1 to\n"
        "Q4, their largest error, and the share of Gaussian points on the right side of 1/2",
        ("labeling", "second layer", "values", "error", "points"),
        rows,
    )
    shares = [
        (name, f"{np.mean((region(name).predict(2 * X) > 0.5) == REGIONS[name][2](2 * X)):.4f}")
        for name in REGIONS
    ]
    print_table("Regions as 2-2-1 networks", ("region", "points"), shares)
    errors = [(name, f"{maximum_error(name):.1f}") for name in MAXIMA]
    print_table("Maxima as sums of ReLUs, on dyadic grids", ("function", "error"), errors)


def print_trained(book: dict[str, Printed], seeds: Sequence[int]) -> None:
    """Print what trained networks do, beside the book's."""
    X = gaussian(N_TEST, 2)
    nets = {name: (run.labeling, run.network()) for name, run in book.items()}
    for labeling, kind in (("x > 0", "half-plane"), ("Q1", "quadrant")):
        nets |= {f"{kind}, seed {s}": (labeling, trained(labeling, s)) for s in seeds}
    rows = []
    for name, (labeling, net) in sorted(nets.items(), key=lambda item: item[1][0] == "Q1"):
        q = measured(net, labeling, X)
        f = q.form
        numbers = (f.steepness, f.gain, f.threshold)
        rows.append(
            (
                name,
                f"{q.accuracy:.4f}",
                f"{q.cross_entropy:.4f}",
                *(f"{number:.3f}" for number in numbers),
                f"{q.form_agrees:.4f}",
            )
        )
    print_table(
        f"2-2-1 networks on {N_TEST:,} Gaussian points, and their weights in the book's form: one\n"
        "threshold should be 1/2, the other 3/2. Same: decisions that are those of the form alone",
        ("network", "accuracy", "BCE", "1/eps", "1/eps'", "threshold", "same"),
        rows,
    )


def print_parity(accuracies: dict[tuple[str, str], np.ndarray]) -> None:
    """Print how often networks learn opposite quadrants."""
    rows = [
        (
            name,
            shape,
            f"{np.sum(found >= LEARNED)} of {len(found)}",
            *(f"{np.quantile(found, q):.3f}" for q in (0, 0.5, 1)),
        )
        for (name, shape), found in accuracies.items()
    ]
    print_table(
        f"Opposite quadrants: learned if right on {100 * LEARNED:.0f} % of new points",
        ("labeling", "network", "learned", "worst", "median", "best"),
        rows,
    )


# %%
# The figures
# -----------

BLUE, ORANGE = "#1f6fb4", "#d95f02"
SURFACE = LinearSegmentedColormap.from_list("surface", [ORANGE, "#ffffff", BLUE])
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.axisbelow": True,
    "grid.color": "#e9e9e9",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}


def draw_surface(ax, value: Callable[[np.ndarray], np.ndarray], title: str, half: float) -> None:
    """Draw values between zero and one on a square around the origin, and the axes of x and y."""
    line = np.linspace(-half, half, 240)
    X = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    image = value(X).reshape(len(line), -1)
    extent = (-half, half, -half, half)
    ax.imshow(image, origin="lower", extent=extent, cmap=SURFACE, vmin=-0.25, vmax=1.25)
    ax.contour(line, line, image, levels=[0.5], colors="black", linewidths=0.9)
    ax.axhline(0, color="black", linewidth=0.4, alpha=0.5)
    ax.axvline(0, color="black", linewidth=0.4, alpha=0.5)
    ax.set(title=title, xticks=[], yticks=[])


def draw_explicit() -> plt.Figure:
    """The figure of given weights."""
    figure = plt.figure(figsize=(12.5, 6.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.05, 1))
    left.suptitle("All labelings of the four quadrants: blue 1, orange 0", fontsize=11)
    for ax, name in zip(left.subplots(4, 4).flat, TRUTH, strict=True):
        draw_surface(ax, canonical(name).predict, name, 2)
    right.suptitle("Other lines, and sums of ReLUs", fontsize=11)
    axes = right.subplots(2, 2)
    for ax, name in zip(axes[0], REGIONS, strict=True):
        draw_surface(ax, region(name).predict, f"${name}$", 4)
    x = np.linspace(-1.5, 2.5, 401)[:, None]
    for ax, name in zip(axes[1], MAXIMA, strict=False):
        function, net = name.split(" = ")
        ax.plot(x, maximum(name).predict(x), color=BLUE, linewidth=3, label=net)
        ax.plot(x, MAXIMA[name][3](x), "--", color="black", linewidth=1, label=function)
        ax.set(xlabel="x", ylim=(-0.5, 6.6))
        ax.grid(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(loc="upper center")
    return figure


def draw_trained(accuracies: dict[tuple[str, str], np.ndarray]) -> plt.Figure:
    """The figure of trained networks."""
    figure, axes = plt.subplots(2, 4, figsize=(12.5, 6.7), layout="constrained")
    figure.suptitle("Probabilities, from orange (0) to blue (1); 1/2 is black", fontsize=11)
    first = {
        "half-plane, book's weights": BOOK["half-plane, book, run 1"].network(),
        "half-plane, trained": trained("x > 0", 0),
        "quadrant, book's weights": BOOK["quadrant, book"].network(),
        "quadrant, trained": trained("Q1", 0),
    }
    for ax, (title, net) in zip(axes[0], first.items(), strict=True):
        draw_surface(ax, lambda X, net=net: net.predict_proba(X)[:, 1], title, 2.5)
    for ax, shape in zip(axes[1], ("2-2-1", "2-2-2-1", "2-4-1"), strict=False):
        found = accuracies["Q1 or Q3", shape]
        net = parity_net("Q1 or Q3", shape, int(found.argmax()))
        title = f"Q1 or Q3, best {shape}: {found.max():.3f}"
        draw_surface(ax, lambda X, net=net: net.predict_proba(X)[:, 1], title, 2.5)
    draw_accuracies(axes[1, 3], accuracies)
    return figure


def draw_accuracies(ax, accuracies: dict[tuple[str, str], np.ndarray]) -> None:
    """Draw the accuracy of each start, by shape."""
    shapes = list(SHAPES)
    for k, (name, colour) in enumerate((("Q1 or Q3", BLUE), ("Q2 or Q4", ORANGE))):
        for i, shape in enumerate(shapes):
            found = np.sort(accuracies[name, shape])
            x = i + (k - 0.5) * 0.4 + np.linspace(-0.14, 0.14, len(found))
            label = None if i else name
            ax.plot(x, found, "o", markersize=2.6, color=colour, label=label)
    ax.axhline(LEARNED, color="#999999", linewidth=1, linestyle="--")
    ax.text(-0.4, LEARNED + 0.005, "learned", color="#666666", va="bottom", fontsize=8.5)
    ax.set(title="Accuracy from each start", ylim=(0.42, 1.02))
    ax.set_xticks(range(len(shapes)), shapes)
    ax.grid(True, axis="y")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower right")


def main(output: Path | None = None, n_seeds: int = N_SEEDS) -> None:
    """Print the tables and draw the figures; with ``output``, save them into that folder."""
    print_explicit()
    print_trained(BOOK, range(2))
    accuracies = {
        (name, shape): parity_accuracies(name, shape, range(n_seeds))
        for name in ("Q1 or Q3", "Q2 or Q4")
        for shape in SHAPES
    }
    print_parity(accuracies)
    with plt.rc_context(STYLE):
        figures = {
            "truth_tables.png": draw_explicit(),
            "truth_tables_trained.png": draw_trained(accuracies),
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
    parser = argparse.ArgumentParser(description="Truth tables as networks.")
    parser.add_argument("--output", type=Path, metavar="DIR", help="save the figures there")
    main(parser.parse_args().output)
