"""Losses of single rows, of predictions that are averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ....rows import as_array, as_tensor
from ..metrics.codes import codes_of
from ..model.model import Model
from ..model.tables import taken

__all__ = ["LOSSES", "Loss", "class_codes", "resolve_loss"]

#: From predictions (n, m) and targets to losses (n,).
Function = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """The loss of rows.

    Parameters
    ----------
    name : str
        What it is called.
    function : callable
        From predictions (n, m) and targets (n, m), or codes of classes (n,), to losses (n,).
    """

    name: str
    function: Function

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Losses (n,) in float64, checked."""
        losses = self.function(predictions, targets)
        if not isinstance(losses, Tensor) or losses.shape != (len(targets),):
            shape = tuple(losses.shape) if hasattr(losses, "shape") else type(losses).__name__
            raise ValueError(
                f"loss={self.name} gives {shape} for {len(targets)} rows: it must return a tensor "
                f"of shape ({len(targets)},)"
            )
        return losses.detach().double()


def _squared(f: Tensor, y: Tensor) -> Tensor:
    return ((f - y) ** 2).mean(1)


def _absolute(f: Tensor, y: Tensor) -> Tensor:
    return (f - y).abs().mean(1)


def _log_loss(eps: float) -> Function:
    def losses(p: Tensor, y: Tensor) -> Tensor:
        truth = _both(p).gather(1, y[:, None])[:, 0]
        return -truth.clamp(eps, 1 - eps).log()

    return losses


def _both(p: Tensor) -> Tensor:
    """Probabilities of all classes, of which a single column is the second of two."""
    return torch.cat([1 - p, p], dim=1) if p.shape[1] == 1 else p


def _wrong_class(p: Tensor, y: Tensor) -> Tensor:
    return (_both(p).argmax(1) != y).double()


def _wrong_side(f: Tensor, y: Tensor) -> Tensor:
    codes = f[:, 0] > 0 if f.shape[1] == 1 else f.argmax(1)
    return (codes.long() != y).double()


LOSSES = ("squared_error", "absolute_error", "log_loss", "zero_one")


def resolve_loss(
    loss: str | Function, model: Model, y: ArrayLike, n_rows: int
) -> tuple[Loss, Tensor]:
    """A loss, and the targets that it takes.

    Parameters
    ----------
    loss : {"auto", "squared_error", "absolute_error", "log_loss", "zero_one"} or callable
        Which loss.
    model : Model
        What predicts.
    y : array-like of shape (n,) or (n, m)
        Targets or classes.
    n_rows : int
        n.

    Returns
    -------
    loss : Loss
        The loss.
    targets : Tensor of shape (n, m) or (n,)
        Targets in float64, or codes of classes.

    Raises
    ------
    ValueError
        If the loss is not known or does not fit the predictions, or y not the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn.inspection.importance.sage.losses import resolve_loss
    >>> from thetalearn.inspection.importance.model.model import model_of
    >>> X = np.array([[0.0], [1.0]])
    >>> model = model_of(LinearRegressor().fit(X, [0.0, 1.0]), X)
    >>> loss, targets = resolve_loss("auto", model, [0.0, 3.0], 2)
    >>> loss.name, loss(targets - 2, targets)
    ('squared_error', tensor([4., 4.], dtype=torch.float64))
    """
    array = np.asarray(as_array(y))
    if array.ndim not in (1, 2) or len(array) != n_rows:
        raise ValueError(f"y has the shape {array.shape}, but X has {n_rows} rows")
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    classifier = model.classes is not None
    if classifier and model.response_method == "predict":
        raise ValueError(
            "response_method='predict' of a classifier gives labels, which have no averages: "
            "choose 'predict_proba' or 'decision_function', or see accuracy_shapley_values"
        )
    if classifier and isinstance(model.classes, list):
        raise ValueError("y of several targets with classes is not supported: explain one of them")
    name = _chosen(loss, model) if isinstance(loss, str) else "callable"
    of_classes = classifier if name == "callable" else name in ("log_loss", "zero_one")
    targets = _codes(array, model) if of_classes else _values(array, model)
    if callable(loss):
        return Loss(getattr(loss, "__name__", "callable"), loss), targets
    proba = model.response_method != "decision_function"
    functions = {
        "squared_error": _squared,
        "absolute_error": _absolute,
        "log_loss": _log_loss(float(np.finfo(_dtype(model)).eps) if name == "log_loss" else 0.0),
        "zero_one": _wrong_class if proba else _wrong_side,
    }
    return Loss(name, functions[name]), targets


def class_codes(y: np.ndarray, classes: ArrayLike) -> np.ndarray:
    """Positions of labels among the classes, all of which must be known."""
    classes = np.asarray(classes)
    codes = codes_of(y, classes)
    unknown = codes < 0
    if np.any(unknown):
        raise ValueError(
            f"y holds the label {y[unknown].tolist()[0]!r}, which is not among the classes "
            f"{classes.tolist()} of the estimator: leave out these rows"
        )
    return codes


def _chosen(loss: str, model: Model) -> str:
    """Name of the loss, if it fits what is predicted."""
    method, classifier = model.response_method, model.classes is not None
    if loss != "auto" and loss not in LOSSES:
        raise ValueError(
            f"loss={loss!r} is not known: choose 'auto', {', '.join(map(repr, LOSSES))}, or give a "
            "function of predictions and targets"
        )
    if classifier and method == "decision_function" and loss in ("auto", "log_loss"):
        raise ValueError(
            f"loss={loss!r} needs probabilities, but decision values are explained: choose "
            "loss='zero_one', a function, or a classifier with predict_proba"
        )
    if classifier and loss in ("squared_error", "absolute_error"):
        raise ValueError(
            f"loss={loss!r} is for values, but the estimator is a classifier: choose 'log_loss' or "
            "'zero_one'"
        )
    if loss == "auto":
        return "log_loss" if classifier else "squared_error"
    return loss


def _codes(y: np.ndarray, model: Model) -> Tensor:
    """Codes of classes (n,)."""
    if y.ndim != 1:
        raise ValueError(f"y has the shape {y.shape}: classes must be of shape (n_samples,)")
    n_classes = max(model.n_outputs, 2)
    classes = np.arange(n_classes) if model.classes is None else model.classes
    return torch.from_numpy(class_codes(y, classes)).long()


def _values(y: np.ndarray, model: Model) -> Tensor:
    """Targets (n, m)."""
    try:
        numbers = np.ascontiguousarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"y holds {y.ravel().tolist()[0]!r}, which is no number, but the estimator predicts "
            "values: give numbers, or a loss of classes"
        ) from None
    if not np.isfinite(numbers).all():
        raise ValueError("y holds values that are missing or infinite: leave out these rows")
    targets = as_tensor(numbers)
    targets = targets[:, None] if targets.ndim == 1 else targets
    if targets.shape[1] != model.n_outputs:
        raise ValueError(
            f"y has {targets.shape[1]} targets, but the estimator predicts {model.n_outputs}"
        )
    return targets


def _dtype(model: Model) -> Any:
    """Precision in which the estimator gives probabilities."""
    row = model.encode(taken(model.inputs.like, np.array([0])))
    dtype = np.asarray(model.respond(row)).dtype
    return dtype if dtype.kind == "f" else np.float64
