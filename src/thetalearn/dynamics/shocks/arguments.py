"""Arguments of distributions as tensors, and how errors show them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["as_matrix", "as_tensor", "as_vector", "of_one_length", "short"]


def as_tensor(name: str, value: ArrayLike | Tensor) -> Tensor:
    """A copy in float64 on the CPU, which the caller cannot change."""
    given = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    try:
        array = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r} must hold numbers") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name}={value!r} must be finite")
    return torch.from_numpy(array)


def as_vector(name: str, value: ArrayLike | Tensor) -> Tensor:
    """One number for each shock."""
    vector = as_tensor(name, value)
    if vector.ndim > 1 or vector.numel() == 0:
        raise ValueError(
            f"{name} of shape {tuple(vector.shape)} must be a number or of shape (k,), one entry "
            f"for each shock"
        )
    return vector.reshape(-1)


def as_matrix(name: str, value: ArrayLike | Tensor) -> Tensor:
    """Rows of values, a column for each shock."""
    matrix = as_tensor(name, value)
    if matrix.ndim not in (1, 2) or matrix.numel() == 0:
        raise ValueError(
            f"{name} of shape {tuple(matrix.shape)} must have shape (rows,) or (rows, k), neither "
            f"of them zero"
        )
    return matrix[:, None] if matrix.ndim == 1 else matrix


def of_one_length(vectors: dict[str, Tensor]) -> list[Tensor]:
    """Vectors of one length, to which those of one entry are repeated."""
    length = max(len(vector) for vector in vectors.values())
    if any(len(vector) not in (1, length) for vector in vectors.values()):
        shapes = ", ".join(f"{name} has {len(vector)}" for name, vector in vectors.items())
        raise ValueError(f"the numbers of entries differ: {shapes}; give one for each shock, or 1")
    return [vector.expand(length).clone() for vector in vectors.values()]


def short(value: object) -> str:
    """A value on one line, with the middle of a long tensor left out."""
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() == 1:
        return repr(float(value))
    shown = np.array2string(
        value.detach().cpu().numpy(),
        threshold=20,
        edgeitems=2,
        separator=", ",
        formatter={"float_kind": "{:.6g}".format},
    )
    return " ".join(shown.split())
