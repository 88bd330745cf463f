"""Pictures of which inputs matter, and how."""

from .dependence import PartialDependenceDisplay
from .permutation import PermutationImportanceDisplay
from .sage import SageDisplay
from .shapley import ShapleyDisplay

__all__ = [
    "PartialDependenceDisplay",
    "PermutationImportanceDisplay",
    "SageDisplay",
    "ShapleyDisplay",
]
