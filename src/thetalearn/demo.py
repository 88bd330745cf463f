"""The demonstration: fit in a pipeline, search and explain, on real data.

``thetalearn demo`` runs it. Searches fit all candidates and folds together, over pipelines whose
last step is an estimator of thetalearn. The data come with scikit-learn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from thetalearn import (
    BSplineRegressor,
    ChebyshevRegressor,
    FusedGridSearchCV,
    LinearRegressor,
    PermutationImportanceDisplay,
    PolynomialRegressor,
    ShapleyDisplay,
    SoftmaxClassifier,
    permutation_importance,
    shapley_values,
)
from thetalearn.threads import one_thread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["run"]

SEED = 0

#: The columns of the diabetes data in words; scikit-learn calls the blood values s1 to s6.
DIABETES_COLUMNS = {
    "age": "age",
    "sex": "sex",
    "bmi": "body mass index",
    "bp": "blood pressure",
    "s1": "total cholesterol",
    "s2": "LDL",
    "s3": "HDL",
    "s4": "cholesterol / HDL",
    "s5": "log triglycerides",
    "s6": "blood sugar",
}

ALPHAS = np.logspace(-3, 1, 5)
#: What to search for diabetes: the last step of the pipeline and its parameters, by family.
DIABETES_GRID: dict[str, dict[str, list[Any]]] = {
    "linear": {"model": [LinearRegressor()]},
    "polynomial": {
        "model": [PolynomialRegressor()],
        "model__degree": [2, 3],
        "model__product": ["additive", "complete"],
    },
    "Chebyshev": {
        "model": [ChebyshevRegressor()],
        "model__degree": [2, 3],
        "model__product": ["additive", "complete"],
    },
    "B-spline": {"model": [BSplineRegressor()], "model__knots": [2, 4, 8]},
}
DIGITS_GRID = {"model__alpha": np.logspace(-5, 0, 6)}

BLUE, ORANGE, GREEN, PURPLE = "#1f6fb4", "#d95f02", "#1b8a5a", "#7a5195"
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}

Draw = Callable[["Figure"], None]
Plot = tuple[str, tuple[float, float], Draw]


def run(output: Path) -> None:
    """Fit, search and explain on the diabetes and digits data, and say what came out.

    Parameters
    ----------
    output : Path
        Folder for the plots, created if need be. Without matplotlib there are tables only.
    """
    start = time.perf_counter()
    # Each fit takes milliseconds: a second thread would cost more than it saves.
    with one_thread():
        plots = [*diabetes(), *digits()]
        print()
        draw_all(plots, output)
    print(f"\nDone in {time.perf_counter() - start:.0f} s.")


@dataclass(frozen=True)
class Study:
    """A finished search, and the rows that it has and has not seen."""

    search: FusedGridSearchCV
    X_train: Any
    X_test: Any
    y_train: Any
    y_test: Any


def diabetes() -> Iterator[Plot]:
    """Choose a basis and its parameters by cross-validation, and explain the winner."""
    study = search_diabetes()
    X, test_rows = study.X_train, len(study.X_test)
    print(
        "DIABETES: progression of the disease within a year, from ten measurements\n"
        f"{len(X)} patients to search and fit on, {test_rows} held out; "
        f"{len(study.search.cv_results_['params'])} candidates, 5-fold cross-validation\n"
    )
    best = best_of_each_family(study)
    print_families(study, best)
    yield "diabetes_search.png", (11.5, 3.6), partial(draw_diabetes_search, study=study)

    importance = permutation_importance(study.search, study.X_test, study.y_test, n_repeats="all")
    explanation = shapley_values(study.search, study.X_test, background=study.X_train)
    print_importance(importance, explanation)
    drawing = partial(draw_importance, importance=importance, explanation=explanation)
    yield "diabetes_importance.png", (11.5, 4.6), drawing


def search_diabetes() -> Study:
    """Search over bases, their size and their penalty at once."""
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    parts = train_test_split(
        X.rename(columns=DIABETES_COLUMNS), y, test_size=0.25, random_state=SEED
    )
    pipeline = Pipeline([("scale", StandardScaler()), ("model", LinearRegressor())])
    grid = [{**part, "model__alpha": ALPHAS} for part in DIABETES_GRID.values()]
    folds = KFold(5, shuffle=True, random_state=SEED)
    X_train, X_test, y_train, y_test = parts
    search = FusedGridSearchCV(pipeline, grid, cv=folds).fit(X_train, y_train)
    return Study(search, X_train, X_test, y_train, y_test)


def family_of(params: dict[str, Any]) -> str:
    """The name that `DIABETES_GRID` gives to a candidate."""
    kinds = {type(part["model"][0]): name for name, part in DIABETES_GRID.items()}
    return kinds[type(params["model"])]


def split_scores(search: FusedGridSearchCV) -> np.ndarray:
    """Scores of shape (candidates, folds)."""
    results = search.cv_results_
    return np.column_stack([results[f"split{k}_test_score"] for k in range(search.n_splits_)])


def best_of_each_family(study: Study) -> dict[str, int]:
    """The best candidate of each family by its number in the search."""
    scores = study.search.cv_results_["mean_test_score"]
    best: dict[str, int] = {}
    for k, params in enumerate(study.search.cv_results_["params"]):
        family = family_of(params)
        if family not in best or scores[k] > scores[best[family]]:
            best[family] = k
    return best


def print_families(study: Study, best: dict[str, int]) -> None:
    """Print the best of each family, and its gain over the linear model on the same rows."""
    scores, search = split_scores(study.search), study.search
    spread = np.var(study.y_test)
    errors = {family: held_out_errors(study, k) for family, k in best.items()}
    rows = []
    for family, k in best.items():
        gain = scores[k] - scores[best["linear"]]
        held_out_gain = (errors["linear"] - errors[family]) / spread
        rows.append(
            (
                family + (" *" if k == search.best_index_ else ""),
                describe(search.cv_results_["params"][k]),
                f"{scores[k].mean():.3f}",
                "" if family == "linear" else with_error(gain),
                f"{1 - errors[family].mean() / spread:.3f}",
                "" if family == "linear" else with_error(held_out_gain),
            )
        )
    header = ("basis", "chosen parameters", "CV R²", "over linear", "held-out R²", "over linear")
    print_table(header, rows)
    print("* chosen. Gains over the linear model are paired, ± one standard error.\n")


def held_out_errors(study: Study, candidate: int) -> np.ndarray:
    """Squared errors on the held-out rows of a candidate fitted to all others."""
    params = clone(study.search.cv_results_["params"][candidate], safe=False)
    model = clone(study.search.estimator).set_params(**params).fit(study.X_train, study.y_train)
    return np.square(np.asarray(study.y_test) - model.predict(study.X_test))


def describe(params: dict[str, Any]) -> str:
    """The parameters of the last step, the penalty last."""
    shown = []
    for name, value in params.items():
        if isinstance(value, str):
            shown.append(value)
        elif name != "model":
            shown.append(f"{name.removeprefix('model__')} {value:g}")
    return ", ".join(sorted(shown, key=lambda text: text.startswith("alpha")))


def with_error(gains: np.ndarray) -> str:
    """A mean gain and its standard error."""
    return f"{gains.mean():+.3f} ± {standard_error(gains):.3f}"


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of values along the last axis."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def print_importance(importance: Any, explanation: Any) -> None:
    """Print two measures of the importance of each column, the largest first."""
    effect = np.abs(explanation.values).mean(0)
    order = np.argsort(-importance.importances_mean)
    rows = [
        (
            importance.feature_names[j],
            f"{importance.importances_mean[j]:.3f}",
            "{:.3f} to {:.3f}".format(*importance.ci[j]),
            f"{effect[j]:.1f}",
        )
        for j in order
    ]
    print("Importance of the columns for the chosen pipeline, on the held-out patients")
    header = ("column", "loss of R² if permuted", "95 % interval", "mean |Shapley| (score points)")
    print_table(header, rows)
    print(
        "The loss is the mean over all permutations; its interval is about other held-out\n"
        f"patients and the same fit. Shapley values: {explanation.method}, against all patients\n"
        "of the fit."
    )


def digits() -> Iterator[Plot]:
    """Choose the penalty of a softmax regression by cross-validation, and explain it."""
    study = search_digits()
    search = study.search
    print(
        "\nDIGITS: ten handwritten digits from 8 x 8 pixels\n"
        f"{len(study.X_train)} pictures to search and fit on, {len(study.X_test)} held out; "
        f"{len(search.cv_results_['params'])} penalties, 5-fold cross-validation\n"
    )
    print_penalties(search)
    accuracy = search.score(study.X_test, study.y_test)
    errors = round((1 - accuracy) * len(study.X_test))
    print(f"* chosen. Held-out accuracy {accuracy:.3f} ({errors} errors).\n")
    yield "digits_search.png", (11.5, 4.4), partial(draw_digits_search, study=study)

    importance = permutation_importance(search, study.X_test, study.y_test, n_repeats="all")
    print_pixels(importance)
    drawing = partial(draw_digits_explained, study=study, importance=importance)
    yield "digits_explained.png", (11.5, 4.3), drawing


def search_digits() -> Study:
    """Search over the penalty of a softmax regression on the pixels."""
    X, y = load_digits(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.25, stratify=y, random_state=SEED
    )
    pipeline = Pipeline([("scale", StandardScaler()), ("model", SoftmaxClassifier())])
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    search = FusedGridSearchCV(pipeline, DIGITS_GRID, cv=folds, return_train_score=True)
    return Study(search.fit(X_train, y_train), X_train, X_test, y_train, y_test)


def print_penalties(search: FusedGridSearchCV) -> None:
    """Print the accuracy by penalty."""
    scores = split_scores(search)
    rows = [
        (
            f"{params['model__alpha']:g}" + (" *" if k == search.best_index_ else ""),
            f"{search.cv_results_['mean_train_score'][k]:.3f}",
            f"{scores[k].mean():.3f} ± {standard_error(scores[k]):.3f}",
        )
        for k, params in enumerate(search.cv_results_["params"])
    ]
    print_table(("alpha", "training accuracy", "CV accuracy"), rows)


def print_pixels(importance: Any) -> None:
    """Print the pixels that matter most."""
    order = np.argsort(-importance.importances_mean)[:5]
    rows = [
        (
            f"row {j // 8}, column {j % 8}",
            f"{importance.importances_mean[j]:.3f}",
            "{:.3f} to {:.3f}".format(*importance.ci[j]),
        )
        for j in order
    ]
    print("The five most important pixels for the held-out pictures")
    print_table(("pixel", "loss of accuracy if permuted", "95 % interval"), rows)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns: text to the left, numbers to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [any(cell[:1] in "+-0123456789" for cell in column[1:]) for column in columns]
    numeric[0] = False
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numeric, strict=True)
        ]
        print("  " + "   ".join(cells).rstrip())


def draw_all(plots: Sequence[Plot], output: Path) -> None:
    """Draw the plots into a folder and print where they are."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print("No plots: matplotlib is not installed. Get it by: pip install 'thetalearn[plot]'")
        return
    output.mkdir(parents=True, exist_ok=True)
    print("Plots")
    for name, size, draw in plots:
        # A figure of its own, drawn by Agg: neither a display nor pyplot's state is involved.
        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=size, layout="constrained")
            draw(figure)
            figure.savefig(output / name, format="png", dpi=130)
        print(f"  {output / name}")


def draw_diabetes_search(figure: Figure, study: Study) -> None:
    """Draw validation curves: one panel a family, one line a size, over the penalty."""
    scores = split_scores(study.search)
    axes = figure.subplots(1, len(DIABETES_GRID), sharey=True)
    for ax, family in zip(axes, DIABETES_GRID, strict=True):
        lines = candidates_by_size(study.search, family)
        for (size, members), colour in zip(
            lines.items(), (BLUE, ORANGE, GREEN, PURPLE), strict=False
        ):
            ax.semilogx(ALPHAS, scores[members].mean(1), ".-", color=colour, label=size)
        ax.set(title=family, xlabel="penalty alpha")
        if len(lines) > 1:
            ax.legend(loc="upper center", fontsize=8, borderaxespad=0.2)
    mark_best(axes, study.search, scores)
    axes[0].set_ylabel("R², 5-fold cross-validation")
    axes[0].set_ylim(0.36, 0.68)


def candidates_by_size(search: FusedGridSearchCV, family: str) -> dict[str, list[int]]:
    """The candidates of a family, those that differ in the penalty alone together."""
    groups: dict[str, list[int]] = {}
    for k, params in enumerate(search.cv_results_["params"]):
        if family_of(params) == family:
            size = describe({n: v for n, v in params.items() if n != "model__alpha"})
            groups.setdefault(size, []).append(k)
    return groups


def mark_best(axes: Sequence[Axes], search: FusedGridSearchCV, scores: np.ndarray) -> None:
    """Circle the chosen candidate, with a bar of one standard error."""
    best = search.best_index_
    ax = axes[list(DIABETES_GRID).index(family_of(search.best_params_))]
    ax.errorbar(
        search.best_params_["model__alpha"],
        scores[best].mean(),
        yerr=standard_error(scores[best]),
        fmt="o",
        color="black",
        markerfacecolor="none",
        markersize=9,
        capsize=3,
        linewidth=1,
    )
    ax.set_title(f"{family_of(search.best_params_)} (chosen)")


def draw_importance(figure: Figure, importance: Any, explanation: Any) -> None:
    """Draw permutation importance with its intervals, and Shapley values."""
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    PermutationImportanceDisplay.from_result(importance, metric="held-out R²", ax=left)
    left.set_title("Permutation importance, with 95 % intervals")
    ShapleyDisplay.from_explanation(explanation, ax=right)
    right.set_title("Shapley values of the held-out patients")
    right.set_xlabel("effect on the predicted progression (score points)")
    for ax in (left, right):
        ax.grid(axis="y", visible=False)


def draw_digits_search(figure: Figure, study: Study) -> None:
    """Draw the validation curve and the held-out confusion matrix."""
    left, right = figure.subplots(1, 2, width_ratios=[1.35, 1])
    search, scores = study.search, split_scores(study.search)
    alphas = DIGITS_GRID["model__alpha"]
    errors = scores.std(1, ddof=1) / np.sqrt(scores.shape[1])
    training = search.cv_results_["mean_train_score"]
    left.semilogx(alphas, training, ".--", color=ORANGE, label="training folds")
    left.errorbar(
        alphas, scores.mean(1), yerr=errors, fmt=".-", color=BLUE, capsize=3, label="validation"
    )
    left.axvline(search.best_params_["model__alpha"], color="#999999", linewidth=1, zorder=0)
    left.annotate(
        "chosen",
        (search.best_params_["model__alpha"], 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        color="#666666",
    )
    left.set(xlabel="penalty alpha", ylabel="accuracy", title="Validation curve (± standard error)")
    left.legend(loc="lower left")

    counts = confusion_matrix(study.y_test, search.predict(study.X_test))
    right.imshow(np.sqrt(counts), cmap="Blues")
    for i, j in zip(*np.nonzero(counts), strict=True):
        shade = "white" if i == j else "#333333"
        right.text(j, i, counts[i, j], ha="center", va="center", color=shade, fontsize=9)
    right.set(
        xlabel="predicted digit",
        ylabel="true digit",
        xticks=range(10),
        yticks=range(10),
        title=f"{len(study.X_test)} held-out pictures",
    )
    right.grid(visible=False)


def draw_digits_explained(figure: Figure, study: Study, importance: Any) -> None:
    """Draw the importance of the pixels, and what spoke for the least certain predictions."""
    panels: Any = figure.subfigures(1, 2, width_ratios=[1, 2.2])
    left, right = panels
    ax = left.subplots()
    image = ax.imshow(importance.importances_mean.reshape(8, 8), cmap="Blues", vmin=0)
    ax.set(xticks=range(8), yticks=range(8), xlabel="column", ylabel="row")
    ax.set_title("Permutation importance of the pixels")
    ax.grid(visible=False)
    bar = left.colorbar(image, ax=ax, orientation="horizontal", shrink=0.85, aspect=30)
    bar.set_label("loss of held-out accuracy")
    bar.outline.set_visible(False)
    draw_uncertain(right, study)


def draw_uncertain(figure: Any, study: Study, n_shown: int = 5) -> None:
    """Draw the least certain pictures above their Shapley values, the two best digits compared."""
    probability = study.search.predict_proba(study.X_test)
    ranked = np.argsort(-probability, axis=1)
    margins = np.take_along_axis(probability, ranked[:, :2], 1)
    chosen = np.argsort(margins[:, 0] - margins[:, 1])[:n_shown]
    values = shapley_values(
        study.search,
        study.X_test.iloc[chosen],
        background=study.X_train,
        response_method="decision_function",
    ).values
    differences = [
        value[:, ranked[i, 0]] - value[:, ranked[i, 1]]
        for value, i in zip(values, chosen, strict=True)
    ]
    scale = max(np.abs(difference).max() for difference in differences)
    axes = figure.subplots(2, n_shown)
    for (top, bottom), i, difference in zip(axes.T, chosen, differences, strict=True):
        first, second = ranked[i, :2]
        top.imshow(np.asarray(study.X_test.iloc[i]).reshape(8, 8), cmap="Greys")
        top.set_title(
            f"is {study.y_test.iloc[i]}\n"
            f"{first}: {probability[i, first]:.0%}   {second}: {probability[i, second]:.0%}",
            fontsize=10,
        )
        image = bottom.imshow(difference.reshape(8, 8), cmap="coolwarm_r", vmin=-scale, vmax=scale)
        bottom.set_xlabel(f"{first} against {second}")
    for ax in axes.ravel():
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    figure.suptitle("The least certain pictures, and which pixels spoke for the digit predicted")
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.6, aspect=40)
    bar.set_label("Shapley value: change of the log-odds (blue: for the first digit)")
    bar.outline.set_visible(False)
