r"""
Which inputs matter: a textbook example, a wage equation, and exact values
==========================================================================

Three studies of importance. The first repeats the worked example of a textbook, where a classifier
with two inputs is explained by shuffling one of them, and by Shapley values of its accuracy. The
second explains a wage equation that was fitted in a pipeline, with strings among its columns, and
shows what goes wrong when columns are taken apart or are correlated. The third compares Shapley
values in closed form with sampled ones.

The textbook is Spiliopoulos, Sowers and Sirignano, *Mathematical Foundations of Deep Learning
Models and Algorithms*, chapter 12. ``docs/importance.md`` says which measure answers which
question.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from thetalearn import (
    BSplineFeatures,
    ChebyshevRegressor,
    LinearRegressor,
    LogisticClassifier,
    PartialDependenceDisplay,
    PermutationImportanceDisplay,
    SageDisplay,
    ShapleyDisplay,
    ShapleyExplainer,
    accuracy_shapley_values,
    permutation_importance,
    projections,
    sage_values,
    shapley_values,
)

# %%
# Two inputs and a noisy half-plane
# ---------------------------------
#
# A hundred points :math:`(x, y)` are normal, and their label is 1 where
#
# .. math:: y > 0.3 x + 0.2 + 0.5 \eta, \qquad \eta \sim N(0, 1).
#
# A logistic regression finds about this line. By how much does its accuracy fall if x is shuffled?
# The book averages 100 shuffles. The mean over all :math:`N!` of them is known too: a shuffle gives
# each row the x of every row equally often, so the mean is one over pairs of rows. For labels and
# predictions that are 0 or 1 it is the accuracy of the projection on the other input,
#
# .. math:: m_{01}(y) = \frac1N \sum_i m^*(x_i, y),
#
# which the book calls :math:`\alpha(y)`, and from which it builds Shapley values: with
# :math:`\alpha(\varnothing)` for the mean prediction,
#
# .. math:: S_x = \tfrac12 [\alpha(x) - \alpha(\varnothing)] + \tfrac12 [\alpha(xy) - \alpha(y)].

SHUFFLES = 100


def half_plane(seed: int = 0, n: int = 100) -> tuple[pd.DataFrame, np.ndarray]:
    """The book's points and labels, drawn anew."""
    rng = np.random.default_rng(seed)
    points = pd.DataFrame(rng.normal(size=(n, 2)), columns=["x", "y"])
    noise = 0.5 * rng.normal(size=n)
    return points, np.asarray(points.y > 0.3 * points.x + 0.2 + noise).astype(int)


@dataclass(frozen=True)
class HalfPlane:
    """What chapter 12 tabulates; arrays hold x and y in this order.

    ``alpha`` holds the accuracies of no input, x, y and both.
    """

    line: tuple[float, float]
    one_shuffle: np.ndarray
    some_shuffles: np.ndarray
    some_errors: np.ndarray
    all_shuffles: np.ndarray
    alpha: np.ndarray
    shapley: np.ndarray
    mean_prediction: float
    projections: list[np.ndarray]


def explain_half_plane(seed: int = 0) -> HalfPlane:
    """Fit the classifier and compute both measures on the rows of the fit, as the book does."""
    X, label = half_plane(seed)
    model = LogisticClassifier().fit(X, label)
    (w_x, w_y), b = model.coef_[0], model.intercept_[0]
    drawn = permutation_importance(model, X, label, n_repeats=SHUFFLES, random_state=seed)
    exact = permutation_importance(model, X, label, n_repeats="all")
    shared = accuracy_shapley_values(model, X, label)
    shares = {"response_method": "predict"}
    return HalfPlane(
        line=(-w_x / w_y, -b / w_y),
        one_shuffle=drawn.scores_after[:, 0],
        some_shuffles=drawn.scores_after.mean(1),
        some_errors=drawn.mc_se,
        all_shuffles=exact.scores_after[:, 0],
        alpha=shared.coalition_values,
        shapley=shared.values,
        mean_prediction=projections(model, X, [], **shares)[0, 1],
        projections=[projections(model, X, [j], **shares)[:, 1] for j in range(2)],
    )


# %%
# A wage equation
# ---------------
#
# Hourly wages are multiplicative: their logarithm is linear in education, concave in experience
# (Mincer, 1974), and differs by region and sector. It also depends on ability, which nobody
# observes. There is a test score, which measures ability, and education, which ability makes
# longer. The month of birth does nothing.
#
# The model is a pipeline: splines of the numbers, indicators of the strings, a linear regression of
# the log wage. ``TransformedTargetRegressor`` takes the exponential, so that what is explained are
# dollars. Every column of the data is a player, whatever the pipeline makes of it.

REGIONS = {"capital": 0.30, "east": 0.0, "north": 0.15, "south": -0.12, "west": 0.08}
SECTORS = {"finance": 0.25, "manufacturing": 0.05, "public": 0.0, "retail": -0.20}
NUMBERS = ["education", "experience", "test score", "birth month"]
STRINGS = ["region", "sector"]


def wages(n: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Workers, and what they earn in dollars per hour."""
    rng = np.random.default_rng(seed)
    ability = rng.normal(size=n)
    education = np.clip(np.round(12.5 + 1.8 * ability + 1.6 * rng.normal(size=n)), 8, 20)
    experience = np.round(rng.uniform(0, 40, n), 1)
    region = rng.choice(list(REGIONS), n, p=[0.15, 0.2, 0.25, 0.25, 0.15])
    sector = rng.choice(list(SECTORS), n)
    log_wage = (
        1.2
        + 0.07 * education
        + experience_premium(experience)
        + 0.12 * ability
        + pd.Series(region).map(REGIONS).to_numpy()
        + pd.Series(sector).map(SECTORS).to_numpy()
        + 0.3 * rng.normal(size=n)
    )
    columns = {
        "education": education,
        "experience": experience,
        "test score": np.round(100 + 13.5 * ability + 6.5 * rng.normal(size=n)),
        "region": region,
        "sector": sector,
        "birth month": rng.integers(1, 13, n).astype(float),
    }
    return pd.DataFrame(columns), np.exp(log_wage)


def experience_premium(experience: np.ndarray) -> np.ndarray:
    """What experience adds to the log wage."""
    return 0.045 * experience - 0.0008 * experience**2


def wage_equation() -> TransformedTargetRegressor:
    """The pipeline."""
    encode = ColumnTransformer(
        [
            ("curves", BSplineFeatures(knots=3), NUMBERS),
            ("indicators", OneHotEncoder(drop="first"), STRINGS),
        ]
    )
    pipeline = Pipeline([("encode", encode), ("regress", LinearRegressor(alpha=1e-3))])
    return TransformedTargetRegressor(pipeline, func=np.log, inverse_func=np.exp)


@dataclass(frozen=True)
class WageStudy:
    """A fitted wage equation, and the workers that it has and has not seen."""

    model: TransformedTargetRegressor
    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_test: np.ndarray

    @property
    def log_model(self) -> Pipeline:
        """The pipeline, which predicts log wages."""
        return self.model.regressor_


def fit_wages(n_train: int = 1000, n_test: int = 500) -> WageStudy:
    """Fit the wage equation."""
    X, y = wages(n_train + n_test)
    model = wage_equation().fit(X[:n_train], y[:n_train])
    return WageStudy(model, X[:n_train], X[n_train:], y[n_train:])


# %%
# Two standard errors
# -------------------
#
# An estimate of permutation importance would come out differently with other shuffles, and with
# other rows. The first error falls with the number of repeats and is zero for
# ``n_repeats="all"``; the second is left, and is what an interval needs. The standard deviation
# over repeats that scikit-learn reports is about the first only.


def errors_by_repeats(study: WageStudy, repeats: Sequence[Any] = (5, 50, "all")) -> dict[str, Any]:
    """Permutation importance of the wage equation by the number of shuffles."""
    return {
        str(count): permutation_importance(
            study.model, study.X_test, study.y_test, n_repeats=count, random_state=0
        )
        for count in repeats
    }


# %%
# Columns taken apart
# -------------------
#
# A tool that sees the last step of the pipeline sees 31 columns. Adding up what it says about the
# six spline functions of experience says nothing about experience: shuffled one at a time they make
# rows that belong to no number of years. The same holds for the indicators of a region, where a
# shuffled one may leave a worker in two regions or in the one that was dropped. The column as a
# player has no such rows. By the sums, region would come first; as a player it comes fourth.
#
# Shapley values of the members do not add up to the value of the group either, unless the model is
# additive. On the log scale it is, and they do; in dollars they do not.


def encoded(study: WageStudy) -> tuple[np.ndarray, dict[str, list[int]]]:
    """Held-out rows as the regression sees them, and the columns that each input becomes."""
    encode = study.log_model[:-1]
    names = encode.get_feature_names_out()
    owned = {
        column: [j for j, name in enumerate(names) if column in name]
        for column in study.X_test.columns
    }
    rows = encode.transform(study.X_test)
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows), owned


def apart_and_together(study: WageStudy) -> dict[str, tuple[float, float]]:
    """Importance for the log wage of each column: the sum over its parts, and as one player."""
    rows, owned = encoded(study)
    options = {"n_repeats": "all", "se": None}
    target = np.log(study.y_test)
    parts = permutation_importance(study.log_model[-1], rows, target, **options)
    whole = permutation_importance(study.log_model, study.X_test, target, **options)
    return {
        column: (parts.importances_mean[owned[column]].sum(), whole.importances_mean[j])
        for j, column in enumerate(study.X_test.columns)
    }


def members_and_group(study: WageStudy, n_rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Shapley values in dollars of the region: the sum over its indicators, and as one player."""
    rows, owned = encoded(study)
    last = study.log_model[-1]

    def dollars(encoded_rows: np.ndarray) -> np.ndarray:
        return np.exp(last.predict(encoded_rows))

    others = {column: own for column, own in owned.items() if column != "region"}
    groups = {**others, "region": owned["region"]}
    members = shapley_values(dollars, rows[:n_rows], background=rows[-100:], groups=others)
    group = shapley_values(dollars, rows[:n_rows], background=rows[-100:], groups=groups)
    single = [j for j, name in enumerate(members.feature_names) if name not in others]
    return members.values[:, single].sum(1), group[:, "region"].values


# %%
# Correlated columns
# ------------------
#
# Education and the test score both follow ability. Shuffled among all workers, each is credited
# with what the other could replace, and the model is asked about school leavers with the scores of
# professors. Shuffled among workers who are alike in all other columns (in the leaves of a tree), a
# column is worth what it tells beyond the others. Neither number is the wrong one: the first is
# about the model, the second about the information. And neither is causal: the score has an
# importance although it never enters the wage equation.


def marginal_and_conditional(study: WageStudy, n_repeats: int = 100) -> dict[str, Any]:
    """Permutation importance of the columns among all rows, and among similar ones."""
    return {
        method: permutation_importance(
            study.model,
            study.X_test,
            study.y_test,
            n_repeats=n_repeats,
            method=method,
            random_state=0,
        )
        for method in ("marginal", "conditional")
    }


# %%
# Exact and sampled values
# ------------------------
#
# A polynomial of degree three in twelve inputs, with all interactions that degree allows, has 455
# terms. Its Shapley values against the whole background are sums over the terms, without
# enumeration or sampling. Sampling comes close at the rate of a square root: ten times the accuracy
# takes a hundred times the evaluations. The standard errors that it reports are about the errors
# that it makes, so one knows when to stop without a closed form to compare with.

BUDGETS = (440, 880, 1760, 3520)


def polynomial(n_inputs: int = 12) -> tuple[ChebyshevRegressor, np.ndarray]:
    """A Chebyshev polynomial with interactions, fitted to a function that has some."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(1500, 1))
    X = np.tanh(0.5 * common + 0.6 * rng.normal(size=(1500, n_inputs)))
    y = np.exp(X[:, 0] * X[:, 1]) * (1 + X[:, 2]) + X[:, 3:6].prod(1) + np.sin(2 * X[:, 6:]).sum(1)
    return ChebyshevRegressor(3, product="complete", alpha=1e-4).fit(X, y), X


@dataclass(frozen=True)
class Sampled:
    """Root mean squares over rows, players and seeds, in units of the spread of the values."""

    evaluations: float
    error: float
    reported: float


def exact_and_sampled(
    budgets: Sequence[int] = BUDGETS, n_seeds: int = 8, n_rows: int = 3
) -> tuple[dict[str, list[Sampled]], float, float]:
    """Errors of sampled Shapley values by the coalitions evaluated for each row.

    Returned are also the largest difference of the closed form to the enumeration of all
    coalitions, and the seconds that the closed form takes.
    """
    model, X = polynomial()
    rows, background = X[:n_rows], X[-20:]
    start = time.perf_counter()
    exact = shapley_values(model, rows, background=background)
    seconds = time.perf_counter() - start
    listed = shapley_values(model, rows, background=background, method="exact")
    scale = exact.values.std()
    curves: dict[str, list[Sampled]] = {}
    for method in ("permutation", "kernel"):
        curves[method] = []
        for budget in budgets:
            found = [
                ShapleyExplainer(
                    model,
                    background,
                    method=method,
                    precision=0,
                    max_evals=budget,
                    random_state=seed,
                )(rows)
                for seed in range(n_seeds)
            ]
            errors = [each.values - exact.values for each in found]
            reported = [each.error_std for each in found]
            sizes = [np.sqrt(np.mean(np.square(part))) / scale for part in (errors, reported)]
            curves[method].append(Sampled(budget, *map(float, sizes)))
    return curves, float(np.abs(listed.values - exact.values).max()), seconds


# %%
# What came out
# -------------
#
# In the textbook's example y matters far more than x, by either measure and in every one of forty
# draws. A hundred shuffles are within 1.5 percentage points of all of them; another hundred points
# move the accuracy by several.
#
# Of wages, education explains most. Half of its importance is what the test score could replace,
# while experience, sector and region keep nine tenths of theirs among similar workers. The interval
# of the month of birth covers zero. With fifty shuffles the error through the rows is already five
# times that through the shuffles, or more. Shapley values rank experience first and education
# second: they measure how far predictions move, and not what this is worth to the fit.
#
# Closed form and enumeration agree to rounding, and the errors of sampled values are as large as
# they are said to be.
#
# The tables and figures below are all that ``main`` does.


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a title and columns, the first aligned to the left."""
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    print(f"\n{title}")
    for first, *others in (header, *rows):
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  " + "   ".join([first.ljust(widths[0]), *cells]))


def print_half_plane(seed: int = 0) -> None:
    """Print the tables of chapter 12, for points drawn anew."""
    found = explain_half_plane(seed)
    X, _ = half_plane(seed)
    print(f"The classifier says 1 where y > {found.line[0]:.2f} x + {found.line[1]:.2f}")
    nothing, x_alone, y_alone, both = found.alpha
    rows = [
        (
            name,
            f"{found.one_shuffle[j]:.2f}",
            f"{found.some_shuffles[j]:.3f} ± {found.some_errors[j]:.3f}",
            f"{found.all_shuffles[j]:.4f}",
            f"{(y_alone, x_alone)[j]:.4f}",
            f"{both - found.all_shuffles[j]:.4f}",
            f"{found.shapley[j]:.4f}",
        )
        for j, name in enumerate(X.columns)
    ]
    header = ("", "one shuffle", f"{SHUFFLES} shuffles", "all N!", "alpha of the other")
    print_table(
        f"Accuracy after shuffling (before: {both:.2f}), and Shapley values of the accuracy",
        (*header, "importance", "Shapley value"),
        rows,
    )
    print_table(
        "Accuracy alpha of projections",
        ("inputs", "none", "x", "y", "x and y"),
        [("alpha", *(f"{value:.4f}" for value in (nothing, x_alone, y_alone, both)))],
    )
    quarters = np.linspace(0, 1, 5)
    for name, projection in zip(X.columns, found.projections, strict=True):
        order = np.argsort(X[name].to_numpy())[(quarters * (len(X) - 1)).astype(int)]
        print_table(
            f"Projection on {name} (mean prediction {found.mean_prediction:.2f})",
            (name, *(f"{value:.2f}" for value in X[name].iloc[order])),
            [("share of 1", *(f"{value:.2f}" for value in projection[order]))],
        )


def print_wages(study: WageStudy) -> None:
    """Print what explains wages, by several measures."""
    columns = list(study.X_test.columns)
    by_repeats = errors_by_repeats(study)
    rows = [
        (
            column,
            *(f"{found.importances_mean[j]:.3f}" for found in by_repeats.values()),
            *(f"{found.mc_se[j]:.3f}" for found in by_repeats.values()),
            f"{by_repeats['all'].sample_se[j]:.3f}",
            "{:.3f} to {:.3f}".format(*by_repeats["all"].ci[j]),
        )
        for j, column in enumerate(columns)
    ]
    names = [f"{name} shuffles" for name in by_repeats]
    print_table(
        f"Loss of R² (wages, {len(study.X_test)} rows, R² "
        f"{by_repeats['all'].baseline_score:.3f}); its errors through shuffles and through rows",
        ("column", *names, *(f"error {name}" for name in by_repeats), "rows", "95 %"),
        rows,
    )
    explanation = shapley_values(study.model, study.X_test, background=study.X_train)
    sage = sage_values(study.model, study.X_test, study.y_test)
    apart = apart_and_together(study)
    pair = marginal_and_conditional(study)
    rows = [
        (
            column,
            f"{np.abs(explanation[:, column].values).mean():.2f}",
            f"{sage.values[j]:.2f} ± {sage.values_se[j]:.2f}",
            f"{pair['marginal'].importances_mean[j]:.3f}",
            f"{pair['conditional'].importances_mean[j]:.3f}",
            f"{apart[column][1]:.3f}",
            f"{apart[column][0]:.3f}",
        )
        for j, column in enumerate(columns)
    ]
    print_table(
        "Mean absolute Shapley value ($); SAGE (squared $); loss of R² among all workers and\n"
        "among similar ones; loss of R² of the log wage as one player, and summed over the\n"
        "columns that it is encoded by",
        ("column", "Shapley", "SAGE", "marginal", "conditional", "player", "sum of parts"),
        rows,
    )
    members, group = members_and_group(study)
    print(
        "\nShapley values of the region in dollars, as one player and as the sum over indicators,\n"
        f"differ by up to {np.abs(members - group).max():.2f}; their mean size is "
        f"{np.abs(group).mean():.2f}"
    )


def print_sampling(curves: dict[str, list[Sampled]], gap: float, seconds: float) -> None:
    """Print how far sampled values are from exact ones."""
    rows = [
        (
            method,
            f"{found.evaluations:,.0f}",
            f"{found.error:.1e}",
            f"{found.reported:.1e}",
        )
        for method, curve in curves.items()
        for found in curve
    ]
    print_table(
        "Shapley values of a polynomial with 455 terms, in units of their spread. In closed form\n"
        f"they take {seconds:.2f} s and are {gap:.0e} from those of all coalitions",
        ("sampling", "coalitions a row", "error", "reported"),
        rows,
    )


# %%
# The figures
# -----------

BLUE, ORANGE, GREY = "#1f6fb4", "#d95f02", "#9a9a9a"
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def draw_permutation(study: WageStudy, ax: Any = None) -> plt.Figure:
    """Permutation importance, and what is left of it among similar workers."""
    found = marginal_and_conditional(study)
    display = PermutationImportanceDisplay.from_result(found["marginal"], metric="R²", ax=ax)
    inner = found["conditional"].importances_mean[display.order_]
    display.ax_.scatter(
        inner,
        range(len(inner)),
        marker="D",
        s=26,
        color=ORANGE,
        zorder=4,
        label="among similar rows",
    )
    display.ax_.legend(loc="lower right")
    display.ax_.set_title("Permutation importance")
    return display.figure_


def draw_shapley(study: WageStudy, ax: Any = None) -> plt.Figure:
    """Shapley values in dollars, in the columns of the data."""
    explanation = shapley_values(study.model, study.X_test[:200], background=study.X_train)
    display = ShapleyDisplay.from_explanation(explanation, ax=ax)
    display.ax_.set_xlabel("Shapley value (dollars per hour)")
    display.ax_.set_title("Shapley values of 200 predictions")
    return display.figure_


def draw_sage(study: WageStudy, ax: Any = None) -> plt.Figure:
    """SAGE values with intervals for other rows of the same kind."""
    found = sage_values(study.model, study.X_test, study.y_test)
    # All coalitions are evaluated, so that the only error left is that through the rows.
    display = SageDisplay.from_result(found, ax=ax)
    display.ax_.set_xlabel("reduction of the squared error (squared dollars)")
    display.ax_.set_title("SAGE values")
    return display.figure_


def draw_experience(study: WageStudy, ax: Any) -> None:
    """Partial dependence of wages on experience, with single workers."""
    PartialDependenceDisplay.from_estimator(
        study.model, study.X_test, "experience", kind="both", max_lines=24, ax=ax
    )
    ax.set(ylabel="wage (dollars per hour)", xlabel="experience (years)")
    ax.set_title("Partial dependence, and 24 workers")


def draw_dependence(study: WageStudy) -> plt.Figure:
    """Partial dependence on a number, on a string, and on two numbers."""
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.6), layout="constrained")
    draw_experience(study, axes[0])
    PartialDependenceDisplay.from_estimator(
        study.model, study.X_test, ["region", ("experience", "education")], ax=axes[1:]
    )
    axes[1].set(ylabel="", title="A column of strings")
    axes[2].set_title("Two columns")
    return figure


def draw_apart(study: WageStudy, ax: Any) -> None:
    """Columns as players, and the sums over the columns that they are encoded by."""
    found = apart_and_together(study)
    ranked = sorted(found.items(), key=lambda item: -item[1][1])
    place = np.arange(len(ranked))
    for k, (label, colour) in enumerate((("sum over its parts", GREY), ("column", BLUE))):
        widths = [values[k] for _, values in ranked]
        ax.barh(place + 0.19 - 0.38 * k, widths, height=0.36, color=colour, label=label)
    ax.set_yticks(place, [column for column, _ in ranked])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.set(title="A column is not the sum of its parts", xlabel="decrease of R² of log wages")
    ax.legend(loc="lower right", reverse=True)


def draw_sampling(curves: dict[str, list[Sampled]], ax: Any) -> None:
    """Error of sampled Shapley values, and what they say about it."""
    for (method, curve), colour in zip(curves.items(), (BLUE, ORANGE), strict=True):
        work = [found.evaluations for found in curve]
        ax.loglog(work, [found.error for found in curve], "o-", color=colour, label=method)
        ax.loglog(work, [found.reported for found in curve], "--", color=colour, linewidth=1)
    ax.plot([], [], "--", color=GREY, linewidth=1, label="standard error reported")
    ax.set_xticks(work, [f"{evaluations:,.0f}" for evaluations in work])
    ax.set_yticks((0.002, 0.005, 0.01, 0.02), ("0.2 %", "0.5 %", "1 %", "2 %"))
    ax.minorticks_off()
    ax.set(
        xlabel="coalitions for each row", ylabel="error, share of the spread", ylim=(0.0015, 0.015)
    )
    ax.set_title("Error of sampled Shapley values")
    ax.legend(loc="upper right")


def draw_overview(study: WageStudy, curves: dict[str, list[Sampled]]) -> plt.Figure:
    """All measures at a glance."""
    figure, axes = plt.subplots(2, 3, figsize=(12.4, 6.8), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    draw_permutation(study, axes[0, 0])
    draw_shapley(study, axes[0, 1])
    draw_sage(study, axes[0, 2])
    draw_experience(study, axes[1, 0])
    draw_apart(study, axes[1, 1])
    draw_sampling(curves, axes[1, 2])
    return figure


def main(output: Path | None = None, budgets: Sequence[int] = BUDGETS) -> None:
    """Print the tables and draw the figures.

    Without a folder to save them in they are shown. ``budgets`` limits what is sampled.
    """
    print_half_plane()
    study = fit_wages()
    print_wages(study)
    curves, gap, seconds = exact_and_sampled(budgets)
    print_sampling(curves, gap, seconds)
    with plt.rc_context(STYLE):
        figures = {
            "importance.png": draw_overview(study, curves),
            "importance_permutation.png": draw_permutation(study),
            "importance_shapley.png": draw_shapley(study),
            "importance_sage.png": draw_sage(study),
            "importance_dependence.png": draw_dependence(study),
        }
        if output is None:
            plt.show()
            return
        output.mkdir(parents=True, exist_ok=True)
        print("\nFigures")
        for name, figure in figures.items():
            figure.savefig(output / name, dpi=90, pil_kwargs={"optimize": True})
            plt.close(figure)
            print(f"  {output / name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Which inputs matter.")
    parser.add_argument("--output", type=Path, metavar="DIR", help="save the figures there")
    main(parser.parse_args().output)
