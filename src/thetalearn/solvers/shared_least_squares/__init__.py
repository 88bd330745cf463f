"""Least squares on many sets of rows and with many penalties, from work that they share."""

from .deleted import DeletedRowsFactor, Deletions, few_are_deleted
from .moments import Moments, RowBlock, Shift, sums_of_products
from .plan import Plan, plan_pieces
from .products import factor_from_products
from .ridge import RidgeSystem

__all__ = [
    "DeletedRowsFactor",
    "Deletions",
    "Moments",
    "Plan",
    "RidgeSystem",
    "RowBlock",
    "Shift",
    "factor_from_products",
    "few_are_deleted",
    "plan_pieces",
    "sums_of_products",
]
