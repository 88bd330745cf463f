"""Scores after shuffles, with their standard errors, from predictions that are exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ....rows import as_tensor
from ..metrics.resolve import Metric, RowMetric, encode
from ..model.model import Model, model_of, taken
from .errors import BaselineInfluence, StandardErrors, bootstrap_errors
from .form_swaps import form_swaps
from .study import Plan, Study, alone
from .swaps import StackedSwaps, Swaps

__all__ = ["ShuffledScores", "scores_of_predictions"]


@dataclass(frozen=True)
class ShuffledScores:
    """Scores of one metric.

    Parameters
    ----------
    baseline : float
        Score of the rows as they are.
    after : ndarray of shape (P, R)
        Scores after shuffles.
    errors : StandardErrors
        Of the mean of ``baseline - after`` over the shuffles, arrays of shape (P,).
    method : str
        How they were found.
    """

    baseline: float
    after: np.ndarray
    errors: StandardErrors
    method: str


def scores_of_predictions(
    plan: Plan, estimator: Any, X: Any, method: str, metrics: Mapping[str, Metric]
) -> dict[str, ShuffledScores]:
    """Scores of metrics that share their predictions.

    Parameters
    ----------
    plan : Plan
        What is computed.
    estimator : estimator
        Fitted.
    X : array-like of shape (n, d)
        Rows.
    method : {"predict", "predict_proba", "decision_function"}
        Where predictions come from.
    metrics : dict of str to Metric
        Metrics of the rows of X by name.

    Returns
    -------
    dict of str to ShuffledScores
        By name.
    """
    model = model_of(estimator, X, response_method=method)
    encoded = model.encode(X)

    def respond(rows: Any) -> np.ndarray:
        return encode(estimator, model.respond(rows), method)

    values = respond(encoded)
    baseline = {name: float(metric.scores(values[None])[0]) for name, metric in metrics.items()}
    every, measured = values, metrics
    baselines: dict[str, BaselineInfluence] = {}
    if (rows := plan.shuffles.rows) is not None:
        encoded, values = taken(encoded, rows), values[rows]
        if plan.se == "influence":
            baselines = {
                name: BaselineInfluence.of(metric.influence(every), rows)
                for name, metric in metrics.items()
                if isinstance(metric, RowMetric)
            }
        metrics = {name: metric.take(rows) for name, metric in metrics.items()}
    source = _Source(plan, model, encoded, values, respond)
    moved = {name: each.inside for name, each in baselines.items()}
    study = source.study(plan, np.arange(len(encoded)), metrics, moved)
    after, errors, methods = study.run()
    if plan.se == "bootstrap":
        errors = _bootstrapped(source, metrics, every, measured, baseline, after)
    errors = {
        name: baselines[name].added(each) if name in baselines else each
        for name, each in errors.items()
    }
    return {
        name: ShuffledScores(baseline[name], after[name], errors[name], methods[name])
        for name in metrics
    }


@dataclass(frozen=True)
class _Source:
    """Rows as the model sees them, and the values there."""

    plan: Plan
    model: Model
    encoded: Any
    values: np.ndarray
    respond: Any

    def study(
        self,
        plan: Plan,
        rows: np.ndarray,
        metrics: Mapping[str, Metric],
        moved: Mapping[str, np.ndarray] | None = None,
    ) -> Study:
        """What is computed, of some rows."""
        whole = len(rows) == len(self.encoded) and plan is self.plan
        encoded = self.encoded if whole else taken(self.encoded, rows)
        columns = plan.players.encoded(self.model.owners)
        swaps: Swaps
        if self.model.form is None:
            swaps = StackedSwaps(self.respond, encoded, columns, self.values.shape[1])
        else:
            x, dtype = as_tensor(np.asarray(encoded)), plan.dtype
            if dtype == "auto" and not all(map(_is_smooth, metrics.values())):
                dtype = "float64"
            with alone():
                swaps = form_swaps(self.model.form, x, columns, dtype=dtype, budget=plan.budget)
        return Study(plan, swaps, torch.from_numpy(self.values[rows]), metrics, moved or {})


def _bootstrapped(
    source: _Source,
    metrics: Mapping[str, Metric],
    every: np.ndarray,
    measured: Mapping[str, Metric],
    baseline: Mapping[str, float],
    after: Mapping[str, np.ndarray],
) -> dict[str, StandardErrors]:
    """Standard errors of metrics from the same resamples of rows, with values for every row."""
    plan, names = source.plan, list(metrics)

    def importance_of(rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        again = {name: metric.take(rows) for name, metric in metrics.items()}
        study = source.study(plan.resampled(rows, rng), rows, again)
        scores, _, _ = study.run()
        whole = plan.shuffles.with_others(rows, len(every), rng)
        before = {name: measured[name].take(whole).scores(every[whole][None]) for name in names}
        return np.concatenate([before[name] - scores[name][:, 0] for name in names])

    drops = np.concatenate([baseline[name] - after[name] for name in names])
    found = bootstrap_errors(
        importance_of,
        plan.shuffles.n_rows,
        drops,
        n_resamples=plan.n_bootstraps,
        random_state=plan.shuffles.seed,
    )
    mc_se = np.zeros(len(drops)) if plan.exact else found.mc_se
    df = np.broadcast_to(found.df, mc_se.shape)
    n = len(plan.players)
    return {
        name: StandardErrors(*(part[k * n : (k + 1) * n] for part in (mc_se, found.sample_se, df)))
        for k, name in enumerate(names)
    }


def _is_smooth(metric: Metric) -> bool:
    """Whether a small change of values changes a score little.

    Not so for ranks and classes, nor for logarithms: single precision ends short of 1 - 1e-8.
    """
    rough = ("accuracy", "log_loss", "poisson_deviance")
    return isinstance(metric, RowMetric) and metric.name not in rough
