"""When two parameters are the same for a fit."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator

__all__ = ["fingerprint"]

#: Of these, equal ones are the same.
VALUES = (str, bytes, int, float, complex, np.generic, type, FunctionType, BuiltinFunctionType)

#: What scikit-learn notes on an estimator beside its parameters.
SETTINGS = {"_metadata_request", "_sklearn_output_config"}


def fingerprint(value: Any) -> Hashable:
    """A key that is equal for parameters which make no difference to a fit.

    Estimators are compared by their parameters, unless they are fitted; arrays, generators and
    other objects by what they hold. What cannot be read is the same as itself alone.

    Parameters
    ----------
    value : object
        A parameter; it must be kept alive as long as its key is used.

    Returns
    -------
    tuple
        A hashable key.

    Examples
    --------
    >>> from sklearn.base import clone
    >>> from sklearn.preprocessing import MinMaxScaler, StandardScaler
    >>> scaler = StandardScaler(with_mean=False)
    >>> fingerprint(scaler) == fingerprint(clone(scaler))
    True
    >>> fingerprint(scaler) == fingerprint(MinMaxScaler())
    False
    """
    if hasattr(value, "get_params") and not isinstance(value, type):
        return _of_estimator(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        content = np.ascontiguousarray(value)
        return "array", value.shape, value.dtype.str, hashlib.sha256(content.data).digest()
    if sp.issparse(value):
        table = value.tocoo()
        parts = [fingerprint(part) for part in (table.data, table.row, table.col)]
        return "sparse", type(value), value.shape, tuple(parts)
    if isinstance(value, np.random.RandomState):
        name, *state = value.get_state()
        return "random", name, tuple(fingerprint(part) for part in state)
    if isinstance(value, list | tuple):
        return type(value), tuple(fingerprint(part) for part in value)
    if isinstance(value, dict):
        items = [(fingerprint(k), fingerprint(v)) for k, v in value.items()]
        return "dict", tuple(items)
    if isinstance(value, partial):
        return "partial", fingerprint((value.func, value.args, value.keywords))
    if value is None or isinstance(value, VALUES):
        # A missing number is not equal to itself, and 1 equals True.
        return type(value), repr(value) if isinstance(value, float | np.floating) else value
    try:
        return "content", type(value), joblib.hash(value)
    except Exception:
        return "object", id(value)


def _of_estimator(value: Any) -> Hashable:
    params = value.get_params(deep=False)
    more = vars(value).keys() - params.keys() - SETTINGS if hasattr(value, "__dict__") else {"?"}
    cloned = getattr(type(value), "__sklearn_clone__", BaseEstimator.__sklearn_clone__)
    if more or not cloned.__module__.startswith("sklearn."):
        # Fitted, or with a state of its own that its parameters do not tell.
        return "object", id(value)
    own = tuple((name, fingerprint(params[name])) for name in sorted(params))
    settings = tuple(fingerprint(vars(value).get(name)) for name in sorted(SETTINGS))
    return type(value), own, settings
