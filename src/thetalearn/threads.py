"""How many threads torch uses, by the size of the work.

Handing a small matrix to a second thread costs more than the matrix, and on a busy machine, where
that thread has to wait for a processor, a hundred times more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_thread", "threads_for"]

#: Numbers below which one thread does the work.
ONE_THREAD_SIZE = 2**18


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """Let torch use one thread inside the block if the work is on few numbers."""
    if size >= ONE_THREAD_SIZE:
        yield
        return
    with one_thread():
        yield
