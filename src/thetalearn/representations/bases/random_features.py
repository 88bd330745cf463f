"""Random features: fixed random inner weights, so that only the outer layer is fitted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .basis import Basis, Order, multi_order

__all__ = ["RandomFourier", "RandomReLU"]


class RandomFeatureBasis(Basis):
    """The constant 1 and functions of random projections ``x @ weights + offsets``.

    Parameters
    ----------
    weights : ndarray of shape (d, m)
        Inner weights.
    offsets : ndarray of shape (m,)
        Inner offsets.
    """

    def __init__(self, weights: np.ndarray, offsets: np.ndarray) -> None:
        self.weights = np.asarray(weights, dtype=np.float64)
        self.offsets = np.asarray(offsets, dtype=np.float64)
        self.n_inputs = self.weights.shape[0]
        self.n_terms = self.weights.shape[1] + 1

    @abstractmethod
    def _activation(self, z: Tensor, order: int) -> Tensor:
        """Derivative of the given order of the outer function."""

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the basis: points of shape (n, d) to values of shape (n, m + 1)."""
        return self.derivative(x, (0,) * self.n_inputs)

    def derivative(self, x: Tensor, order: Order = 1) -> Tensor:
        """Partial derivative of every function, shape (n, m + 1)."""
        orders = multi_order(order, self.n_inputs)
        weights = torch.from_numpy(self.weights).to(x)
        z = x @ weights + torch.from_numpy(self.offsets).to(x)
        powers = torch.tensor(orders, dtype=x.dtype, device=x.device)[:, None]
        features = self._activation(z, sum(orders)) * (weights**powers).prod(0)
        constant = x.new_full((len(x), 1), float(sum(orders) == 0))
        return torch.cat([constant, features], dim=1)


class RandomFourier(RandomFeatureBasis):
    r"""Random Fourier features :math:`\sqrt{2/m}\,\cos(\omega_k \cdot x + b_k)`.

    With :math:`\omega_k \sim N(0, 2\gamma I)` and :math:`b_k` uniform on [0, 2π) their inner
    products approximate the Gaussian kernel :math:`\exp(-\gamma\|x - x'\|^2)`.

    References
    ----------
    A. Rahimi and B. Recht, *Random Features for Large-Scale Kernel Machines*, section 3.
    """

    @classmethod
    def draw(
        cls, n_inputs: int, n_components: int, gamma: float, rng: np.random.RandomState
    ) -> RandomFourier:
        """Draw the frequencies for a Gaussian kernel of the given gamma."""
        weights = np.sqrt(2 * gamma) * rng.standard_normal((n_inputs, n_components))
        return cls(weights, rng.uniform(0, 2 * np.pi, n_components))

    def _activation(self, z: Tensor, order: int) -> Tensor:
        return float(np.sqrt(2 / z.shape[1])) * torch.cos(z + order * np.pi / 2)

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``1, cos0, cos1, ...``."""
        return ["1", *(f"cos{k}" for k in range(self.n_terms - 1))]


class RandomReLU(RandomFeatureBasis):
    r"""Random ReLU features :math:`\sqrt{2/m}\,\max(\omega_k \cdot x + b_k, 0)`.

    The first layer of a network of width m with its weights left as drawn; :math:`(\omega_k, b_k)`
    is Gaussian with variance 2γ, and the inner products approximate the arc-cosine kernel of
    order 1.

    References
    ----------
    Y. Cho and L. Saul, *Kernel Methods for Deep Learning*, section 2.
    """

    @classmethod
    def draw(
        cls, n_inputs: int, n_components: int, gamma: float, rng: np.random.RandomState
    ) -> RandomReLU:
        """Draw inner weights and offsets with variance 2 gamma."""
        drawn = np.sqrt(2 * gamma) * rng.standard_normal((n_inputs + 1, n_components))
        return cls(drawn[:-1], drawn[-1])

    def _activation(self, z: Tensor, order: int) -> Tensor:
        scale = float(np.sqrt(2 / z.shape[1]))
        if order == 0:
            return scale * z.clamp(min=0)
        return scale * (z > 0).to(z.dtype) if order == 1 else torch.zeros_like(z)

    def term_names(self, input_names: Sequence[str]) -> list[str]:
        """``1, relu0, relu1, ...``."""
        return ["1", *(f"relu{k}" for k in range(self.n_terms - 1))]
