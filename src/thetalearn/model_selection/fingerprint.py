"""When two parameters are the same for a fit."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["fingerprint"]


def fingerprint(value: Any) -> Hashable:
    """A key that is equal for parameters which make no difference to a fit.

    Estimators are compared by their parameters, arrays and generators by what they hold. Anything
    else that cannot be hashed is the same as itself alone.

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
        params = value.get_params(deep=False)
        config = getattr(value, "_sklearn_output_config", None)
        requests = getattr(value, "_metadata_request", None)
        own = tuple((name, fingerprint(params[name])) for name in sorted(params))
        return type(value), own, fingerprint(config), repr(requests)
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
    try:
        hash(value)
    except TypeError:
        return "object", id(value)
    # A missing number is not equal to itself, and 1 equals True.
    return type(value), repr(value) if isinstance(value, float) else value
