"""Least squares on Fourier series: a plugin of thetalearn."""

from numbers import Real

import torch
from torch import Tensor

from thetalearn.base import DEVICE
from thetalearn.estimators.families import DEGREE
from thetalearn.estimators.least_squares import ALPHA, LeastSquaresRegressor
from thetalearn.representations.bases import ProductBasis, UnivariateBasis, additive_indices


class Fourier(UnivariateBasis):
    """1, cos(kωx) and sin(kωx) for k = 1, ..., degree."""

    def __init__(self, degree: int, frequency: float) -> None:
        self.degree, self.frequency = degree, frequency
        self.n_terms = 2 * degree + 1

    def _terms(self, x: Tensor, order: int) -> Tensor:
        # A derivative multiplies by kω and adds π/2 to the angle; an integral (order -1) undoes it.
        kw = self.frequency * torch.arange(1, self.degree + 1, dtype=x.dtype, device=x.device)
        angle = kw[:, None] * x + order * torch.pi / 2
        scale = kw[:, None] ** order
        constant = x if order == -1 else torch.full_like(x, float(order == 0))
        return torch.cat([constant[None], scale * angle.cos(), scale * angle.sin()])

    def term_names(self, input_names: list[str]) -> list[str]:
        harmonics = range(1, self.degree + 1)
        return ["1", *(f"{f}({k}ω{input_names[0]})" for f in ("cos", "sin") for k in harmonics)]


class FourierRegressor(LeastSquaresRegressor):
    """Least squares on the sum of a Fourier series of each input, for periodic functions.

    Parameters
    ----------
    degree : int, default=3
        Number of harmonics.
    frequency : float, default=1.0
        Angular frequency ω of the first harmonic; the period is 2π/ω.
    alpha : float, default=0.0
        Weight of the ridge penalty of all coefficients but the constant's.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.
    """

    _parameter_constraints = {**DEGREE, "frequency": [Real], **ALPHA, **DEVICE}

    def __init__(self, degree=3, *, frequency=1.0, alpha=0.0, device="auto"):
        self.degree, self.frequency, self.alpha, self.device = degree, frequency, alpha, device

    def _make_basis(self, X: Tensor, weight: Tensor | None) -> ProductBasis:
        d = X.shape[1]
        basis = Fourier(self.degree, self.frequency)
        return ProductBasis([basis] * d, additive_indices([basis.n_terms] * d))
