"""Rows of data between the outside and torch: arrays, tensors, sparse matrices, blocks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Union

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["Rows", "SparseRows", "as_array", "as_tensor", "n_numbers", "output_like", "row_blocks"]


class SparseRows:
    """Rows of a SciPy CSR matrix that turn into dense tensors a block at a time.

    Slices of step one are dense blocks; any other index gives another `SparseRows`.
    """

    def __init__(self, matrix: sp.csr_array, device: torch.device | None = None) -> None:
        self.matrix = matrix
        self.device = torch.device("cpu") if device is None else device
        self.shape = matrix.shape
        self.dtype = torch.float32 if matrix.dtype == np.float32 else torch.float64

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice) and index.step in (None, 1):
            return torch.from_numpy(self.matrix[index].toarray()).to(self.device)
        if isinstance(index, Tensor):
            index = index.cpu().numpy()
        return SparseRows(self.matrix[index], self.device)

    def to(self, device: torch.device | None) -> SparseRows:
        """The same rows, whose blocks will be on a device."""
        return self if device is None else SparseRows(self.matrix, device)


#: What a model sees of X: blocks ``rows[start:stop]`` are dense tensors.
Rows = Union[Tensor, SparseRows]  # noqa: UP007 (documentation tools show the alias)


def as_array(values: Any) -> Any:
    """A tensor as a NumPy array, in a precision that NumPy knows; anything else as it is."""
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor on the memory of an array, which nobody will write to."""
    if array.dtype.byteorder not in "=|":
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def output_like(values: Tensor, X: Any) -> Any:
    """A tensor on X's device if X is a tensor, else an array."""
    if isinstance(X, torch.Tensor):
        return values.to(X.device)
    return values.cpu().numpy()


def n_numbers(rows: Rows) -> int:
    """Rows times columns: the size of the work that a pass over the rows is."""
    return int(rows.shape[0]) * int(rows.shape[1])


def row_blocks(n_rows: int, row_bytes: int, at_least: int = 256) -> Iterator[slice]:
    """Cut rows into blocks whose working set stays in the processor's cache."""
    size = max(int(np.clip(2**22 // max(row_bytes, 1), 256, 65_536)), at_least)
    for start in range(0, n_rows, size):
        yield slice(start, start + size)
