"""Scores that are means over rows, for many predictions at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from sklearn import metrics
from torch import Tensor

from ....rows import as_tensor

__all__ = ["Metric", "RowMetric", "row_metric"]

#: From targets and predictions (R, n, m) to losses (R, n, K).
Losses = Callable[[Tensor, Tensor], Tensor]


class Metric(ABC):
    """A score of the rows of one data set, computed from predictions that are known.

    Attributes
    ----------
    response_method : {"predict", "predict_proba", "decision_function"}
        The method of the estimator whose results are the predictions.
    """

    response_method: str

    @abstractmethod
    def scores(self, predictions: Any) -> np.ndarray:
        """Scores (R,) of predictions (R, n, m), greater being better."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Self:
        """The same score of other rows (indices, repetitions allowed) of the data set."""


@dataclass(frozen=True)
class RowMetric(Metric):
    r"""A score that is a function of weighted means over rows of a loss.

    .. math::
        s = \frac1K \sum_{k=1}^K (a + b_k \bar\ell_k), \qquad
        \bar\ell_k = \frac{\sum_i w_i \ell_k(y_i, f_i)}{\sum_i w_i}

    or with a root of the mean loss in its place. Rows on which a score is normalised, as by the
    variance of y in :math:`R^2`, are those of the data set itself.

    Parameters
    ----------
    name : str
        What it is: "squared_error", "absolute_error", "root_squared_error", "r2",
        "explained_variance", "poisson_deviance", "accuracy", "log_loss" or "brier".
    response_method : {"predict", "predict_proba", "decision_function"}
        Where predictions come from. Those of "predict" by a classifier are codes: positions in
        ``classes_``.
    y : Tensor of shape (n, m)
        Targets; of classifiers codes (n, 1), −1 for a label that is not among the classes.
    weight : Tensor of shape (n,) or None
        Weights of the rows, which add up to one; None for equal ones.
    losses : callable
        From y and predictions (R, n, m) in float64 to losses (R, n, K); probabilities come in the
        precision in which they were computed, as their rounding is part of the loss.
    intercept : float
        The number a.
    slope : float
        The numbers b_k, before they are divided by `scale`.
    scale : Tensor of shape (K,) or None
        What b_k is divided by: the variance of each target. None for 1.
    root : bool, default=False
        Whether the root of the mean loss is taken.
    centered : bool, default=False
        Whether losses are of deviations from the mean error, so that all rows enter each.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from thetalearn.inspection.importance.metrics.resolve import resolve_metrics
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 2.0, 4.0])
    >>> metrics, _ = resolve_metrics(LinearRegression().fit(X, y), "r2", y)
    >>> predictions = np.array([[0.0, 2.0, 4.0], [4.0, 2.0, 0.0]])[:, :, None]
    >>> [round(float(score), 6) for score in metrics["score"].scores(predictions)]
    [1.0, -3.0]
    """

    name: str
    response_method: str
    y: Tensor
    weight: Tensor | None
    losses: Losses
    intercept: float
    slope: float
    scale: Tensor | None = None
    root: bool = False
    centered: bool = False

    @property
    def is_linear(self) -> bool:
        """Whether the score is affine in the mean loss, given y and the weights.

        The mean score over all shuffles is then the score of the mean losses.
        """
        return not (self.root or self.centered)

    def scores(self, predictions: Any) -> np.ndarray:
        """Scores of several predictions of all rows.

        Parameters
        ----------
        predictions : ndarray or Tensor of shape (R, n, m)
            What `response_method` returns, R times: values, codes, decision values or
            probabilities.

        Returns
        -------
        ndarray of shape (R,)
            Scores in float64, greater being better; scikit-learn's to rounding.

        Raises
        ------
        ValueError
            If predictions do not have the shape (R, n, m).
        """
        return self.component_scores(predictions).mean(1)

    def component_scores(self, predictions: Any) -> np.ndarray:
        """Scores (R, K) of each target, whose mean is the score; of one for most."""
        return self._components(self._mean(self._losses(predictions))).cpu().numpy()

    def row_scores(self, predictions: Any) -> np.ndarray:
        """Contributions of rows, whose weighted mean is the score.

        Where the score is not linear in the mean loss, it is expanded to first order around it,
        so that a contribution minus the score is the influence of the row, the normaliser aside.

        Parameters
        ----------
        predictions : ndarray or Tensor of shape (R, n, m)
            As for `scores`.

        Returns
        -------
        ndarray of shape (R, n)
            Contributions in float64.
        """
        losses = self._losses(predictions)
        if not self.root:
            return self._components(losses).mean(-1).cpu().numpy()
        mean = self._mean(losses)[:, None]
        root = mean.sqrt()
        # At a mean of zero every loss is zero.
        step = torch.where(mean > 0, (losses - mean) / (2 * root), torch.zeros_like(losses))
        return (self.intercept + self.slope * (root + step)).mean(-1).cpu().numpy()

    def normaliser_influence(self, drops: np.ndarray) -> np.ndarray | None:
        r"""How the variance of y moves a drop of the score, row by row.

        For :math:`R^2` the drop of target k is :math:`\Delta_k / V_k`; a row has influence
        :math:`-(\Delta_k / V_k)(\omega_i (y_{ik} - \bar y_k)^2 / V_k - \omega_i)` through
        :math:`V_k`, with weights :math:`\omega_i` of mean one.

        Parameters
        ----------
        drops : ndarray of shape (K,)
            Drops of the scores of each target.

        Returns
        -------
        ndarray of shape (n,) or None
            Influences, of mean zero; None if the score has no normaliser.
        """
        if self.scale is None:
            return None
        deviations = (self.y - self._mean(self.y[None])) ** 2 / self.scale - 1
        influence = -(deviations * torch.as_tensor(drops, dtype=torch.float64)).mean(1)
        if self.weight is not None:
            influence = influence * self.weight * len(self.weight)
        return influence.numpy()

    def influence(self, predictions: Any) -> np.ndarray:
        """How rows move the score.

        Parameters
        ----------
        predictions : ndarray or Tensor of shape (n, m)
            As for `scores`, of a single repeat.

        Returns
        -------
        ndarray of shape (n,)
            Influences, of mean zero: the variance of the score is theirs divided by n.
        """
        single = predictions[None]
        influence = self.row_scores(single)[0] - self.scores(single)[0]
        if self.weight is not None:
            influence = influence * self.weight.numpy() * len(self.weight)
        moved = self.normaliser_influence(self.component_scores(single)[0] - self.intercept)
        return influence if moved is None else influence + moved

    def take(self, rows: np.ndarray) -> RowMetric:
        """The same score of other rows of the data set.

        Parameters
        ----------
        rows : ndarray of int of shape (n_rows,)
            Indices of rows, repetitions allowed.

        Returns
        -------
        RowMetric
            Normalised on these rows.
        """
        index = torch.as_tensor(rows)
        y = self.y[index]
        weight = None if self.weight is None else _normalised(self.weight[index])
        scale = None if self.scale is None else _variance(y, weight)
        return replace(self, y=y, weight=weight, scale=scale)

    def _losses(self, predictions: Any) -> Tensor:
        f = _tensor(predictions)
        n, m = self.y.shape
        columns = m if self.response_method == "predict" else f.shape[-1]
        if f.ndim != 3 or f.shape[1:] != (n, columns):
            outputs = m if self.response_method == "predict" else "outputs"
            raise ValueError(
                f"predictions have the shape {tuple(f.shape)}, but {self.name} of {n} rows "
                f"needs (repeats, {n}, {outputs})"
            )
        if self.response_method != "predict_proba":
            f = f.to(torch.float64)
        losses = self.losses(self.y.to(f.device), f)
        if self.centered:
            losses = (losses - self._mean(losses)[:, None]) ** 2
        return losses

    def _components(self, losses: Tensor) -> Tensor:
        """Scores of mean losses (..., K)."""
        if self.root:
            losses = losses.sqrt()
        if self.scale is not None:
            losses = losses / self.scale.to(losses.device)
        return self.intercept + self.slope * losses

    def _mean(self, values: Tensor) -> Tensor:
        """Weighted means (R, K) over rows of values (R, n, K)."""
        if self.weight is None:
            return values.mean(1)
        return torch.einsum("rnk,n->rk", values, self.weight.to(values.device))


def row_metric(
    function: Callable[..., Any],
    response_method: str,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    n_classes: int = 0,
    at_zero: int = 0,
    sign: int = 1,
) -> RowMetric | None:
    """A metric of scikit-learn, without keyword arguments, as a function of rows.

    Parameters
    ----------
    function : callable
        Function of ``sklearn.metrics``.
    response_method : {"predict", "predict_proba", "decision_function"}
        Where predictions come from.
    y : ndarray of shape (n,) or (n, m)
        Targets; of classifiers the codes of their classes.
    sample_weight : ndarray of shape (n,), default=None
        Weights of the rows.
    n_classes : int, default=0
        Number of classes; 0 for regressors.
    at_zero : {0, 1}, default=0
        Class that a classifier predicts where a decision value is zero.
    sign : {1, -1}, default=1
        What the function is multiplied by.

    Returns
    -------
    RowMetric or None
        None if the function, or its value for these targets, is none of those known.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.metrics import mean_absolute_error
    >>> from thetalearn.inspection.importance.metrics.row_metrics import row_metric
    >>> metric = row_metric(mean_absolute_error, "predict", np.array([1.0, 2.0]), sign=-1)
    >>> metric.row_scores(np.zeros((1, 2, 1)))
    array([[-1., -2.]])
    """
    targets = _tensor(y).to(torch.float64)
    targets = targets[:, None] if targets.ndim == 1 else targets
    weight = _weights(sample_weight)
    if len(targets) < 2 or not _sound(targets, weight):
        return None
    forms = CLASSIFIERS if n_classes else REGRESSORS
    form = forms.get(function)
    if form is None:
        return None
    metric = RowMetric(
        response_method=response_method,
        y=targets,
        weight=weight,
        **{"intercept": 0.0, "slope": 1.0, **form},
    )
    metric = replace(metric, intercept=sign * metric.intercept, slope=sign * metric.slope)
    if n_classes:
        return _of_classes(metric, n_classes, at_zero)
    return _of_values(metric)


def _of_values(metric: RowMetric) -> RowMetric | None:
    """A score of a regressor, if the targets allow it."""
    if metric.name in ("r2", "explained_variance"):
        scale = _variance(metric.y, metric.weight)
        return replace(metric, scale=scale) if bool((scale > 0).all()) else None
    if metric.name == "poisson_deviance" and (metric.y.shape[1] > 1 or bool((metric.y < 0).any())):
        return None
    return metric


def _of_classes(metric: RowMetric, n_classes: int, at_zero: int) -> RowMetric | None:
    """A score of a classifier, if its predictions allow it."""
    if metric.name == "accuracy":
        if metric.response_method == "predict":
            return metric
        return replace(metric, losses=partial(_decided_hits, at_zero=at_zero))
    # Metrics of probabilities take the classes from y.
    seen = set(metric.y[:, 0].tolist())
    if metric.response_method != "predict_proba" or seen != set(range(n_classes)):
        return None
    return metric


def decided(scores: Tensor, at_zero: int = 0) -> Tensor:
    """Codes (..., 1) of the classes that decision values (..., m) speak for."""
    if scores.shape[-1] > 1:
        return scores.argmax(-1, keepdim=True)
    return (scores >= 0 if at_zero else scores > 0).long()


def _hits(y: Tensor, codes: Tensor) -> Tensor:
    return (codes == y).to(torch.float64)


def _decided_hits(y: Tensor, scores: Tensor, at_zero: int) -> Tensor:
    return _hits(y, decided(scores, at_zero))


def _log_losses(y: Tensor, p: Tensor) -> Tensor:
    eps = torch.finfo(p.dtype).eps
    return -_of_the_truth(y, p).clamp(eps, 1 - eps).to(torch.float64).log()


def _of_the_truth(y: Tensor, p: Tensor) -> Tensor:
    """Probabilities (R, n, 1) of the classes observed; of the second of two all follows."""
    if p.shape[-1] == 2:
        return torch.where(y > 0, p[..., 1:], 1 - p[..., 1:])
    return p.gather(-1, y.long().expand(len(p), -1, -1))


def _brier_losses(y: Tensor, p: Tensor) -> Tensor:
    p = p.to(torch.float64)
    if p.shape[-1] == 2:
        return (y - p[..., 1:]) ** 2
    truth = torch.nn.functional.one_hot(y[:, 0].long(), p.shape[-1])
    return ((truth - p) ** 2).sum(-1, keepdim=True)


def _poisson_losses(y: Tensor, f: Tensor) -> Tensor:
    if bool((f <= 0).any()):
        raise ValueError(
            "the Poisson deviance needs positive predictions, but the smallest is "
            f"{float(f.min())}: choose another scoring, or a model with a positive output"
        )
    return 2 * (torch.xlogy(y, y / f) - y + f)


def _error(y: Tensor, f: Tensor) -> Tensor:
    return y - f


def _absolute(y: Tensor, f: Tensor) -> Tensor:
    return (y - f).abs()


def _squared(y: Tensor, f: Tensor) -> Tensor:
    return (y - f) ** 2


REGRESSORS: dict[Any, dict[str, Any]] = {
    metrics.mean_squared_error: {"name": "squared_error", "losses": _squared},
    metrics.mean_absolute_error: {
        "name": "absolute_error",
        "losses": _absolute,
    },
    metrics.root_mean_squared_error: {
        "name": "root_squared_error",
        "losses": _squared,
        "root": True,
    },
    metrics.r2_score: {"name": "r2", "losses": _squared, "intercept": 1.0, "slope": -1.0},
    metrics.explained_variance_score: {
        "name": "explained_variance",
        "losses": _error,
        "intercept": 1.0,
        "slope": -1.0,
        "centered": True,
    },
    metrics.mean_poisson_deviance: {"name": "poisson_deviance", "losses": _poisson_losses},
}

CLASSIFIERS: dict[Any, dict[str, Any]] = {
    metrics.accuracy_score: {"name": "accuracy", "losses": _hits},
    metrics.log_loss: {"name": "log_loss", "losses": _log_losses},
    metrics.brier_score_loss: {"name": "brier", "losses": _brier_losses},
}


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else as_tensor(np.asarray(values))


def _weights(sample_weight: Any) -> Tensor | None:
    if sample_weight is None:
        return None
    return _normalised(_tensor(sample_weight).to(torch.float64))


def _normalised(weight: Tensor) -> Tensor:
    return weight / weight.sum()


def _sound(y: Tensor, weight: Tensor | None) -> bool:
    """Whether targets are finite, and weights too, one a row."""
    finite = bool(torch.isfinite(y).all())
    if weight is None:
        return finite
    return finite and weight.shape == (len(y),) and math.isfinite(float(weight.sum()))


def _variance(y: Tensor, weight: Tensor | None) -> Tensor:
    """Weighted variances (m,) of targets (n, m)."""
    if weight is None:
        return y.var(0, correction=0)
    mean = weight @ y
    return weight @ (y - mean) ** 2
