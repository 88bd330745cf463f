"""The triangular factor of many rows from sums of products, where that is as good as QR."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..least_squares import DenseFactor
from .moments import Moments, RowBlock, Shift, sums_of_products
from .ridge import RidgeSystem

__all__ = ["factor_from_products"]

#: Amplification of rounding up to which coefficients agree with those of QR to about 1e-12.
MAX_AMPLIFICATION = 1e4


def factor_from_products(blocks: Iterable[RowBlock], has_constant: bool) -> DenseFactor | None:
    """The triangular factor of rows that come in blocks, at half the price of QR or less.

    Parameters
    ----------
    blocks : iterable of (Tensor, Tensor, Tensor or None)
        Functions but the constant (n, k), targets (n, m) and weights (n,).
    has_constant : bool
        Whether there is a constant beside them.

    Returns
    -------
    DenseFactor or None
        None if products of the columns would magnify rounding, which the first block tells already
        as a rule.
    """
    remaining = iter(blocks)
    first = next(remaining)
    shift = Shift.means(first, has_constant)
    counted = _Counter([first])
    total = sums_of_products(counted, shift)
    if not _is_safe(counted.moments(total, shift), 10 * MAX_AMPLIFICATION):
        return None
    counted.blocks = remaining
    total += sums_of_products(counted, shift)
    moments = counted.moments(total, shift)
    return moments.factor() if _is_safe(moments, MAX_AMPLIFICATION) else None


def _is_safe(moments: Moments, limit: float) -> bool:
    with np.errstate(all="ignore"):
        system = RidgeSystem(moments.gram, moments.cross, moments.cancellation)
        return system.amplification(0.0) <= limit


class _Counter:
    """Counts rows and weights of the blocks that pass."""

    def __init__(self, blocks: Iterable[RowBlock]) -> None:
        self.blocks = blocks
        self.n_rows, self.weight_sum = 0, 0.0

    def __iter__(self) -> Iterator[RowBlock]:
        for block in self.blocks:
            weight = block[2]
            self.n_rows += len(block[0])
            self.weight_sum += len(block[0]) if weight is None else float(weight.sum())
            yield block

    def moments(self, products: np.ndarray, shift: Shift) -> Moments:
        """The moments of what has passed."""
        magnitude = np.diag(products).copy()
        return Moments(products, magnitude, shift, self.weight_sum, self.n_rows)
