"""Distributions of the shocks of a dynamic model: rules that integrate over them, and draws."""

from .base import NoShocks, Shocks
from .gaussian import Gaussian, LogNormal, Normal
from .independent import Empirical, Uniform
from .processes import AR1, MarkovChain
from .product import Product

__all__ = [
    "AR1",
    "Empirical",
    "Gaussian",
    "LogNormal",
    "MarkovChain",
    "NoShocks",
    "Normal",
    "Product",
    "Shocks",
    "Uniform",
]
