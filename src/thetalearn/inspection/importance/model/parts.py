"""What a fitted estimator is made of: transformers, a last estimator, inverse target transforms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from .tables import as_objects, copied, dense, frame_of, is_frame

__all__ = ["Parts", "parts_of"]


@dataclass(frozen=True)
class Parts:
    """An estimator taken apart: ``inverses(last.method(steps(X)))``.

    Parameters
    ----------
    steps : list of transformers
        Applied to X, one after the other.
    last : estimator or callable
        What gives values.
    inverses : list of transformers
        Whose ``inverse_transform`` is applied to the values, one after the other.
    """

    steps: list[Any]
    last: Any
    inverses: list[Any]

    def transform(self, table: Any, n_steps: int) -> Any:
        """Rows after the first steps; without any of them, the rows themselves."""
        for step in self.steps[:n_steps]:
            table = step.transform(fitted_like(step, table))
        return table

    def respond(self, table: Any, n_steps: int, method: str | None) -> Any:
        """Values for rows that come out of the first steps."""
        for step in self.steps[n_steps:]:
            table = step.transform(fitted_like(step, table))
        table = fitted_like(self.last, table)
        if method is None:
            # A function may write into what it is given.
            return self.last(copied(table))
        values = getattr(self.last, method)(table)
        for transformer in self.inverses:
            values = np.asarray(values)
            matrix = values[:, None] if values.ndim == 1 else values
            values = transformer.inverse_transform(matrix)
        return values


#: Libraries whose containers do what their names say.
LIBRARIES = ("sklearn", "imblearn")


def parts_of(estimator: Any, method: str = "predict") -> Parts:
    """Take a fitted estimator apart, as far as scikit-learn's own containers go.

    Parameters
    ----------
    estimator : estimator or callable
        Pipelines, searches, `TransformedTargetRegressor` and `FrozenEstimator` are opened, in
        whatever order they are nested. Anything else is a last estimator, and so are subclasses
        with a method of their own.
    method : str, default="predict"
        The method that is meant.

    Returns
    -------
    Parts
        The parts, which are not copied.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn.inspection.importance.model.parts import parts_of
    >>> model = make_pipeline(StandardScaler(), LinearRegressor())
    >>> parts = parts_of(model.fit([[0.0], [1.0]], [1.0, 3.0]))
    >>> parts.steps, parts.last
    ([StandardScaler()], LinearRegressor())
    """
    if not _is_container(estimator, method):
        return Parts([], estimator, [])
    if isinstance(estimator, FrozenEstimator):
        return parts_of(estimator.estimator, method)
    if isinstance(estimator, TransformedTargetRegressor):
        inner = parts_of(estimator.regressor_, method)
        return replace(inner, inverses=[*inner.inverses, estimator.transformer_])
    if isinstance(estimator, Pipeline):
        inner = parts_of(estimator.steps[-1][1], method)
        before = [each for _, step in estimator.steps[:-1] for each in _transformers(step)]
        return replace(inner, steps=before + inner.steps)
    return parts_of(estimator.best_estimator_, method)


def _is_container(estimator: Any, method: str) -> bool:
    """Whether this is a container whose method is that of its library."""
    kinds = FrozenEstimator, TransformedTargetRegressor, Pipeline
    if not isinstance(estimator, kinds) and not hasattr(estimator, "best_estimator_"):
        return False
    if method in vars(estimator):
        return False
    mro = type(estimator).__mro__
    defining = next((kind for kind in mro if method in vars(kind)), mro[0])
    return defining.__module__.partition(".")[0] in LIBRARIES


def _transformers(step: Any) -> list[Any]:
    """The transformers of a step; samplers of rows take no part in a prediction."""
    opened = _is_container(step, "transform")
    if opened and isinstance(step, FrozenEstimator):
        return _transformers(step.estimator)
    if opened and isinstance(step, Pipeline):
        return [each for _, inner in step.steps for each in _transformers(inner)]
    return [step] if hasattr(step, "transform") else []


def fitted_like(estimator: Any, table: Any) -> Any:
    """Rows in the form in which the estimator saw them in its fit: with names or without."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        if isinstance(table, np.ndarray) and table.shape[1] == len(names):
            return frame_of(table, names)
        if sp.issparse(table):
            return frame_of(dense(table, "what a step of the pipeline gives"), names)
        return table
    named = is_frame(table) and all(isinstance(name, str) for name in table.columns)
    if named and getattr(estimator, "n_features_in_", None) is not None:
        return as_objects(table)
    return table
