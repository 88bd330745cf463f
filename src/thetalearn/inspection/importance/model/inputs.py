"""The input columns of an estimator: their names, and any rows brought into their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .tables import as_table, is_frame, same_type, selected

__all__ = ["Inputs"]


@dataclass(frozen=True)
class Inputs:
    """The columns that an estimator was fitted on.

    Parameters
    ----------
    names : list of str
        Their names; x0, x1, ... where there are none.
    named : bool
        Whether a data frame must have columns of these names.
    like : ndarray or data frame
        Rows of the type that `align` gives.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn.inspection.importance.model.inputs import Inputs
    >>> model = LinearRegressor().fit(np.eye(3)[:, :2], [1.0, 2.0, 0.0])
    >>> Inputs.of(model, np.eye(2)).names
    ['x0', 'x1']
    """

    names: list[str]
    named: bool
    like: Any

    @classmethod
    def of(cls, estimator: Any, X: Any) -> Inputs:
        """Columns of a fitted estimator, and of X where the estimator knows no names."""
        table = as_table(X)
        known = getattr(estimator, "feature_names_in_", None)
        n_columns = getattr(estimator, "n_features_in_", None)
        if known is not None:
            names = [str(name) for name in known]
            inputs = cls(names, True, table)
            return cls(names, True, inputs._ordered(table))
        if n_columns is not None and n_columns != table.shape[1]:
            raise ValueError(_wrong_number(table.shape[1], n_columns, "the estimator"))
        if is_frame(table):
            return cls([str(name) for name in table.columns], True, table)
        return cls([f"x{j}" for j in range(table.shape[1])], False, table)

    def align(self, X: Any) -> Any:
        """Rows with these columns, in this order and of this type."""
        return same_type(self._ordered(as_table(X)), self.like)

    def _ordered(self, table: Any) -> Any:
        if not (self.named and is_frame(table)):
            if table.shape[1] != len(self.names):
                raise ValueError(_wrong_number(table.shape[1], len(self.names), "the estimator"))
            return table
        found = [str(name) for name in table.columns]
        if found == self.names:
            return table
        if missing := [name for name in self.names if name not in found]:
            raise ValueError(
                f"X lacks the columns {missing}: give all that the estimator was fitted on, "
                f"{self.names}"
            )
        if extra := [name for name in found if name not in self.names]:
            raise ValueError(
                f"X has columns that the estimator was not fitted on, {extra}: drop them"
            )
        return selected(table, [found.index(name) for name in self.names])


def _wrong_number(n: int, expected: int, owner: str) -> str:
    return (
        f"X has {n} columns, but {owner} was fitted on {expected}: give the columns of the fit, "
        "in their order"
    )
