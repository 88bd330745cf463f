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
    def of(cls, estimator: Any, X: Any, name: str = "X") -> Inputs:
        """Columns of a fitted estimator, and of X where the estimator knows no names."""
        table = as_table(X, name)
        known = getattr(estimator, "feature_names_in_", None)
        n_columns = getattr(estimator, "n_features_in_", None)
        if known is not None:
            names = [str(each) for each in known]
            if not is_frame(table):
                return cls(names, True, cls(names, True, table)._ordered(table, name))
            found = [str(each) for each in table.columns]
            if missing := [each for each in names if each not in found]:
                raise ValueError(_lacking(name, missing, names))
            # Results are read in the order of X. Whether another order than that of the fit, or
            # further columns, will do is for the estimator to say.
            return cls(found, True, table)
        if n_columns is not None and n_columns != table.shape[1]:
            raise ValueError(_wrong_number(name, table.shape[1], n_columns))
        if is_frame(table):
            return cls([str(each) for each in table.columns], True, table)
        return cls([f"x{j}" for j in range(table.shape[1])], False, table)

    def align(self, X: Any, name: str = "X") -> Any:
        """Rows with these columns, in this order and of this type."""
        return same_type(self._ordered(as_table(X, name), name), self.like)

    def _ordered(self, table: Any, name: str) -> Any:
        if not (self.named and is_frame(table)):
            if table.shape[1] != len(self.names):
                raise ValueError(_wrong_number(name, table.shape[1], len(self.names)))
            return table
        found = [str(each) for each in table.columns]
        if found == self.names:
            return table
        if missing := [each for each in self.names if each not in found]:
            raise ValueError(_lacking(name, missing, self.names))
        if extra := [each for each in found if each not in self.names]:
            raise ValueError(
                f"{name} has columns that the estimator was not fitted on, {extra}: drop them"
            )
        return selected(table, [found.index(each) for each in self.names])


def _lacking(name: str, missing: list[str], names: list[str]) -> str:
    return f"{name} lacks the columns {missing}: give all that the estimator was fitted on, {names}"


def _wrong_number(name: str, n: int, expected: int) -> str:
    return (
        f"{name} has {n} columns, but the estimator was fitted on {expected}: give "
        "the columns of the fit, in their order"
    )
