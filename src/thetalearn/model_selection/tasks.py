"""What scikit-learn asks of joblib: to fit one candidate on one split, and to score or predict."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.utils import get_tags

from .._sklearn_compat import (
    _check_method_params,
    fit_and_predict,
    fit_and_score,
    is_score_method,
    named_scorers,
    safe_indexing,
    scorer_parts,
)

__all__ = ["Task", "n_bytes_of", "n_rows_of", "rows_of"]


@dataclass(eq=False)
class Task:
    """One call of scikit-learn's, with its arguments by name.

    Attributes
    ----------
    number : int
        Its place among the calls.
    function : callable
        scikit-learn's function, which fits and then scores or predicts.
    arguments : dict
        Its arguments.
    """

    number: int
    function: Callable[..., Any]
    arguments: dict[str, Any]

    @classmethod
    def of(cls, number: int, call: Any) -> Task | None:
        """The task of a call; None if it is another function."""
        wrapper, args, kwargs = call
        function = getattr(wrapper, "__wrapped__", None)
        if function is not fit_and_score and function is not fit_and_predict:
            return None
        return cls(number, function, _by_name(function, args, kwargs))

    @property
    def estimator(self) -> Any:
        """The clone to be fitted."""
        return self.arguments["estimator"]

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the candidate."""
        return self.arguments.get("parameters") or {}

    def set_parameters(self) -> None:
        """Give the clone its parameters, as scikit-learn will."""
        if self.parameters:
            self.estimator.set_params(**clone(self.parameters, safe=False))

    def fit_params(self) -> dict[str, Any]:
        """Further arguments of fit, cut to the training rows."""
        params = self.arguments.get("fit_params") or {}
        return _check_method_params(
            self.arguments["X"], params=params, indices=self.arguments["train"]
        )

    def training_rows(self) -> np.ndarray:
        """Numbers of the training rows."""
        train = np.asarray(self.arguments["train"])
        if train.dtype.kind == "i" and train.ndim == 1 and train.min(initial=0) >= 0:
            return train
        return np.arange(n_rows_of(self.arguments["X"]))[train]

    def forget(self) -> None:
        """Let go of everything, as the result is known."""
        self.arguments = {}

    def obstacle(self) -> str | None:
        """Why the fit has to be left to scikit-learn; None if nothing stands against it."""
        arguments = self.arguments
        if arguments["y"] is None:
            return "there is no y"
        if get_tags(self.estimator).input_tags.pairwise:
            return "X is a matrix of pairs, which is cut by rows and columns"
        if get_config()["array_api_dispatch"]:
            return "array_api_dispatch=True asks for the arrays themselves"
        caller = arguments.get("caller")
        if getattr(caller, "_skl_callbacks", None) or getattr(
            self.estimator, "_skl_callbacks", None
        ):
            return "callbacks follow every single fit"
        return None

    def responses_may_be_shared(self) -> bool:
        """Whether predictions made for several candidates at once may be shown to the scorer.

        A scorer of the user's sees the estimator as it is.
        """
        if self.function is fit_and_predict:
            return True
        scorer = self.arguments["scorer"]
        parts = (named_scorers(scorer) or {"score": scorer}).values()
        return all(is_score_method(part) or scorer_parts(part) is not None for part in parts)

    def looks_at_training_rows(self) -> bool:
        """Whether predictions for the training rows are asked for."""
        return bool(self.arguments.get("return_train_score"))

    def keeps_estimator(self) -> bool:
        """Whether the fitted estimator is part of the result."""
        return bool(self.arguments.get("return_estimator"))

    def call(self, X: Any, y: Any, estimator: Any) -> Any:
        """Call scikit-learn's function, with what stands for X, y and for the clone."""
        changes: dict[str, Any] = {"X": X, "estimator": estimator}
        if self.function is fit_and_score:
            # The other function counts the classes of y itself.
            changes["y"] = y
        if self.parameters and self.arguments.get("verbose", 0) <= 1:
            # They are set already, and nothing is printed.
            changes["parameters"] = None
        return self.function(**(self.arguments | changes))


def n_rows_of(X: Any) -> int:
    """Number of rows of anything that has rows."""
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def n_bytes_of(X: Any) -> int:
    """Memory of the numbers of a table."""
    if hasattr(X, "memory_usage"):
        usage = X.memory_usage(deep=False)
        return int(usage.sum() if hasattr(usage, "sum") else usage)
    if hasattr(X, "indptr"):
        return int(X.data.nbytes + X.indptr.nbytes + X.indices.nbytes)
    return int(getattr(X, "nbytes", 0))


def rows_of(data: Any, rows: np.ndarray) -> Any:
    """Rows of anything that scikit-learn can index."""
    return safe_indexing(data, rows)


def _by_name(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    return dict(zip(_names(function), args, strict=False)) | kwargs


@cache
def _names(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)
