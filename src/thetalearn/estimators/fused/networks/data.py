"""Data that fits of networks share: validated once, and labels read once for the rows of a fold."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import clone
from torch import Tensor

from ...._sklearn_compat import safe_indexing
from ....base import ThetaClassifier
from ....fusion import NotFusable, Source, caught_warnings
from ....rows import Rows, SparseRows, as_array, as_tensor
from ..row_sets import first_line

__all__ = ["Labels", "NetworkData", "joined"]


@dataclass
class Labels:
    """What some rows of a source say to an estimator.

    Attributes
    ----------
    values : Tensor of shape (n, m) or None
        Targets of the rows, or probabilities of their classes; None if there was an error.
    learned : dict
        Attributes that an estimator takes from them.
    key : hashable
        Equal where rows have the same classes.
    warnings : list of warnings.WarningMessage
        What there was to warn of.
    error : Exception or None
        Why the rows are not fit to train on.
    """

    values: Tensor | None
    learned: dict[str, Any]
    key: Hashable
    warnings: list[warnings.WarningMessage]
    error: Exception | None = None


class NetworkData:
    """A source that has been validated, once for all fits that use it."""

    def __init__(self, source: Source, estimator: Any) -> None:
        self._probe = clone(estimator)
        before = vars(self._probe).copy()
        with caught_warnings() as self.warnings:
            try:
                self.X, self._y = _validated(self._probe, source)
            except Exception as error:
                # Rows of some fits may be valid where others are not.
                reason = first_line(error)
                raise NotFusable(f"the data as a whole are not valid: {reason}") from error
        self.learned = _news(self._probe, before)
        self._labels: dict[bytes, Labels] = {}
        self._targets: dict[Hashable, Tensor] = {}
        self._inputs: dict[torch.dtype, Tensor] = {}

    def inputs(self, dtype: torch.dtype) -> Rows:
        """Rows in a precision; sparse ones change it as they become dense."""
        if isinstance(self.X, SparseRows):
            return self.X
        if dtype not in self._inputs:
            self._inputs[dtype] = self.X.to(dtype)
        return self._inputs[dtype]

    def labels(self, rows: np.ndarray) -> Labels:
        """What rows say, which folds of many fits share."""
        digest = hashlib.blake2b(rows.tobytes(), digest_size=16).digest()
        if digest not in self._labels:
            before = vars(self._probe).copy()
            self._labels[digest] = self._read(rows, before)
            vars(self._probe).clear()
            vars(self._probe).update(before)
        return self._labels[digest]

    def forget_labels(self) -> None:
        """Let go of what rows have said."""
        self._labels.clear()

    def _read(self, rows: np.ndarray, before: dict[str, Any]) -> Labels:
        """Let the probe read the targets of rows, and put them where training looks for them."""
        with caught_warnings() as caught:
            try:
                values = _labelled(self._probe, self._y, rows).to(self.X.device)
            except Exception as error:
                return Labels(None, {}, None, caught, error)
        learned = _news(self._probe, before)
        key, targets = pickle.dumps(learned), self._probe._network_targets(values)
        if key not in self._targets:
            self._targets[key] = targets.new_zeros(len(self.X), targets.shape[1])
        self._targets[key][torch.from_numpy(rows).to(targets.device)] = targets
        return Labels(values, learned, key, caught)

    def targets(self, key: Hashable) -> Tensor:
        """Targets (n, m) by number of row, where rows have given classes."""
        return self._targets[key]


def _validated(estimator: Any, source: Source) -> tuple[Rows, Any]:
    """Rows, and targets; labels are left as they are, as classes are those of each fit."""
    if isinstance(estimator, ThetaClassifier):
        rows, y = estimator._input_rows(source.X, reset=True), as_array(source.y)
        if len(rows) != (y.shape[0] if hasattr(y, "shape") else len(y)):
            raise ValueError("X and y have different numbers of rows")
        return rows, y
    rows, targets, _ = estimator._training_rows(source.X, source.y, None, reset=True)
    return rows, targets


def _labelled(estimator: Any, y: Any, rows: np.ndarray) -> Tensor:
    """Targets of rows, or probabilities of their classes."""
    if not isinstance(estimator, ThetaClassifier):
        return y[torch.from_numpy(rows).to(y.device)]
    own: Any = safe_indexing(y, rows)
    return as_tensor(estimator._class_probabilities(own, reset=True))


def _news(estimator: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that an estimator did not have, or had otherwise."""
    return {k: v for k, v in vars(estimator).items() if before.get(k, before) is not v}


def joined(parts: list[Any]) -> Rows:
    """Rows of several sources, one below the other."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], SparseRows):
        stacked = sp.vstack([part.matrix for part in parts], format="csr")
        return SparseRows(sp.csr_array(stacked), parts[0].device)
    return torch.cat(parts)
