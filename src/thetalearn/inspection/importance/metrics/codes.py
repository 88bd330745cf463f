"""Labels as their positions among the classes."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["codes_of"]


def codes_of(labels: np.ndarray, classes: Any) -> np.ndarray:
    """Positions of labels among classes in any order.

    Parameters
    ----------
    labels : ndarray
        Labels.
    classes : array-like of shape (m,)
        Classes.

    Returns
    -------
    ndarray of int, like labels
        Positions; −1 for a label that is none of the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.metrics.codes import codes_of
    >>> codes_of(np.array(["a", "b", "c"]), ["b", "a"])
    array([ 1,  0, -1])
    """
    positions = {label: code for code, label in enumerate(np.asarray(classes).tolist())}
    found, inverse = np.unique(labels, return_inverse=True)
    codes = [positions.get(label, -1) for label in found.tolist()]
    return np.asarray(codes, dtype=np.int64)[inverse].reshape(labels.shape)
