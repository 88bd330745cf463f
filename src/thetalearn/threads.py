"""How many threads linear algebra uses, by the size of the work.

Handing a small matrix to a second thread costs more than the matrix, and on a busy machine, where
that thread has to wait for a processor, a hundred times more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401 (loads the BLAS that is to be limited)
import torch
from threadpoolctl import ThreadpoolController

__all__ = ["one_thread", "threads_for"]

#: Numbers below which one thread does the work.
ONE_THREAD_SIZE = 2**18


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, NumPy and SciPy use one thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _blas().limit(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of NumPy and SciPy; finding them takes a millisecond."""
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """Use one thread inside the block if the work is on few numbers."""
    if size >= ONE_THREAD_SIZE:
        yield
        return
    with one_thread():
        yield
