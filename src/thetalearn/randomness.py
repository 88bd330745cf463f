"""Random numbers that depend on ``random_state`` alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["random_numbers"]


def random_numbers(random_state: Any) -> np.random.RandomState:
    """The generator of a ``random_state``; a fresh one for None, not NumPy's global one."""
    return check_random_state(np.random.RandomState() if random_state is None else random_state)
