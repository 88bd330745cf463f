"""Dynamic economic problems: models, shocks, coordinates, and ready-made textbook models."""

from .model import DynamicModel, EndogenousGrid, ModelError, Solution
from .quadrature import Quadrature
from .shocks import (
    AR1,
    Empirical,
    LogNormal,
    MarkovChain,
    Normal,
    NoShocks,
    Product,
    Shocks,
    Uniform,
)
from .transforms import Identity, Isoelastic, Log, Logit, Transform

__all__ = [
    "AR1",
    "DynamicModel",
    "Empirical",
    "EndogenousGrid",
    "Identity",
    "Isoelastic",
    "Log",
    "LogNormal",
    "Logit",
    "MarkovChain",
    "ModelError",
    "NoShocks",
    "Normal",
    "Product",
    "Quadrature",
    "Shocks",
    "Solution",
    "Transform",
    "Uniform",
]
