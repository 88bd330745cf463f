"""Bases: torch functions from (n, d) to (n, K) with their derivatives, and nodes for them."""

from .basis import Basis, BoundedBasis, Interval, LocalBasis, LocalRows, UnivariateBasis
from .bspline import (
    AdditiveBSpline,
    BSpline,
    TensorBSpline,
    TensorJet,
    quantile_knots,
    uniform_knots,
)
from .chebyshev import Chebyshev
from .discrete import Discrete
from .nodes import (
    chebyshev_nodes,
    equispaced_nodes,
    greville_nodes,
    smolyak_nodes,
    sobol_nodes,
    tensor_nodes,
)
from .polynomial import Affine, Polynomial
from .product import (
    ProductBasis,
    ProductJet,
    additive_indices,
    complete_indices,
    hyperbolic_indices,
    smolyak_indices,
    tensor_indices,
)
from .random_features import RandomFourier, RandomReLU
from .relu import ShiftedReLU

__all__ = [
    "AdditiveBSpline",
    "Affine",
    "BSpline",
    "Basis",
    "BoundedBasis",
    "Chebyshev",
    "Discrete",
    "Interval",
    "LocalBasis",
    "LocalRows",
    "Polynomial",
    "ProductBasis",
    "ProductJet",
    "RandomFourier",
    "RandomReLU",
    "ShiftedReLU",
    "TensorBSpline",
    "TensorJet",
    "UnivariateBasis",
    "additive_indices",
    "chebyshev_nodes",
    "complete_indices",
    "equispaced_nodes",
    "greville_nodes",
    "hyperbolic_indices",
    "quantile_knots",
    "smolyak_indices",
    "smolyak_nodes",
    "sobol_nodes",
    "tensor_indices",
    "tensor_nodes",
    "uniform_knots",
]
