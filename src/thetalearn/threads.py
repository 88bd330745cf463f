"""How many threads linear algebra uses, by the size of the work.

Handing a small matrix to a second thread costs more than the matrix, and on a busy machine, where
that thread has to wait for a processor, a hundred times more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import scipy.linalg  # noqa: F401 (loads the BLAS that is to be limited)
import torch
from threadpoolctl import ThreadpoolController

__all__ = ["one_thread", "threads_for"]

#: Numbers below which one thread does the work.
ONE_THREAD_SIZE = 2**18


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, NumPy and SciPy use one thread inside the block."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """Use one thread inside the block if the work is on few numbers."""
    if size >= ONE_THREAD_SIZE:
        yield
        return
    with one_thread():
        yield


class _Limit:
    """The limit of the process: the first to ask for it sets it, the last to leave lifts it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._threads = 1
        self._blas: Any = None

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                self._threads = torch.get_num_threads()
                self._blas = _blas().limit(limits=1)
            self._users += 1
            # OpenMP keeps a number for each thread of Python.
            torch.set_num_threads(1)

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            torch.set_num_threads(self._threads)
            if self._users == 0:
                self._blas.restore_original_limits()


_LIMIT = _Limit()


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of NumPy and SciPy; finding them takes a millisecond."""
    return ThreadpoolController().select(user_api="blas")
