r"""Kernels: symmetric positive semi-definite functions k(x, y), as matrices over two sets of rows.

Each takes X (n, d) and Y (m, d), tensors or arrays, and gives a tensor (n, m) in float64. The
kernels of networks are built layer by layer from lengths and angles rather than from inner
products: an angle computed as the arc cosine of an inner product loses half of its digits where two
rows nearly coincide, which is the diagonal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import pi
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = [
    "KERNELS",
    "Kernel",
    "arc_cosine_kernel",
    "laplacian_kernel",
    "linear_kernel",
    "neural_tangent_kernel",
    "polynomial_kernel",
    "rbf_kernel",
]

#: Up to this many columns, differences of rows cost no more than a matrix product and are exact.
EXACT_COLUMNS = 16
#: Squared distances below this share of the squared lengths are recomputed from differences.
NEAR = 1e-4


def linear_kernel(X: ArrayLike | Tensor, Y: ArrayLike | Tensor) -> Tensor:
    r"""Inner products :math:`x \cdot y`.

    Parameters
    ----------
    X, Y : array-like or Tensor of shape (n, d) and (m, d)
        Rows.

    Returns
    -------
    Tensor of shape (n, m)
        Kernel matrix.

    Examples
    --------
    >>> from thetalearn.representations.kernels import linear_kernel
    >>> linear_kernel([[1.0, 2.0]], [[3.0, 4.0]])
    tensor([[11.]], dtype=torch.float64)
    """
    X, Y = _two_sets(X, Y)
    return X @ Y.T


def polynomial_kernel(
    X: ArrayLike | Tensor,
    Y: ArrayLike | Tensor,
    *,
    gamma: float = 1.0,
    coef0: float = 0.0,
    degree: int = 2,
) -> Tensor:
    r"""Powers of inner products, :math:`(\gamma\, x \cdot y + c)^p`.

    For γ = 1, c = 0, p = 2 and d = 2 this is :math:`\psi(x) \cdot \psi(y)` with
    :math:`\psi(a, b) = (a^2, \sqrt{2}\,ab, b^2)`.

    Parameters
    ----------
    X, Y : array-like or Tensor of shape (n, d) and (m, d)
        Rows.
    gamma : float, default=1.0
        Factor γ > 0.
    coef0 : float, default=0.0
        Constant c; positive semi-definite for c ≥ 0.
    degree : int, default=2
        Power p ≥ 1.

    Returns
    -------
    Tensor of shape (n, m)
        Kernel matrix.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, section 4.3.

    Examples
    --------
    >>> from thetalearn.representations.kernels import polynomial_kernel
    >>> polynomial_kernel([[1.0, 2.0]], [[3.0, 4.0]])
    tensor([[121.]], dtype=torch.float64)
    """
    X, Y = _two_sets(X, Y)
    return (gamma * (X @ Y.T) + coef0) ** degree


def rbf_kernel(X: ArrayLike | Tensor, Y: ArrayLike | Tensor, *, gamma: float = 1.0) -> Tensor:
    r"""Gaussian kernel :math:`\exp(-\gamma\|x - y\|_2^2)`.

    Parameters
    ----------
    X, Y : array-like or Tensor of shape (n, d) and (m, d)
        Rows.
    gamma : float, default=1.0
        Inverse squared width γ > 0.

    Returns
    -------
    Tensor of shape (n, m)
        Kernel matrix.

    Examples
    --------
    >>> from thetalearn.representations.kernels import rbf_kernel
    >>> rbf_kernel([[0.0], [1.0]], [[0.0]])
    tensor([[1.0000],
            [0.3679]], dtype=torch.float64)
    """
    return squared_distances(*_two_sets(X, Y)).mul_(-gamma).exp_()


def laplacian_kernel(X: ArrayLike | Tensor, Y: ArrayLike | Tensor, *, gamma: float = 1.0) -> Tensor:
    r"""Laplacian kernel :math:`\exp(-\gamma\|x - y\|_1)`.

    Parameters
    ----------
    X, Y : array-like or Tensor of shape (n, d) and (m, d)
        Rows.
    gamma : float, default=1.0
        Inverse width γ > 0.

    Returns
    -------
    Tensor of shape (n, m)
        Kernel matrix.

    Examples
    --------
    >>> from thetalearn.representations.kernels import laplacian_kernel
    >>> laplacian_kernel([[0.0, 0.0]], [[0.5, 0.5]])
    tensor([[0.3679]], dtype=torch.float64)
    """
    return torch.cdist(*_two_sets(X, Y), p=1.0).mul_(-gamma).exp_()


def arc_cosine_kernel(
    X: ArrayLike | Tensor,
    Y: ArrayLike | Tensor,
    *,
    order: int = 1,
    gamma: float = 1.0,
    coef0: float = 0.0,
    depth: int = 1,
) -> Tensor:
    r"""Arc-cosine kernel: random threshold (order 0), ReLU (1) or squared ReLU (2) features.

    .. math::

        k(x, y) = 2\,E\big[\Theta(w \cdot x)\Theta(w \cdot y)\,(w \cdot x)^p (w \cdot y)^p\big]
        = \frac{1}{\pi}\|x\|^p\|y\|^p J_p(\theta), \qquad w \sim N(0, I),

    where Θ is the unit step, θ the angle between x and y, and :math:`J_0 = \pi - \theta`,
    :math:`J_1 = \sin\theta + (\pi - \theta)\cos\theta`,
    :math:`J_2 = 3\sin\theta\cos\theta + (\pi - \theta)(1 + 2\cos^2\theta)`. Deeper kernels take the
    features of one as the inputs of the next.

    Parameters
    ----------
    X, Y : array-like or Tensor of shape (n, d) and (m, d)
        Rows.
    order : {0, 1, 2}, default=1
        Power p of the rectified projection.
    gamma, coef0 : float, default=1.0 and 0.0
        Factor γ > 0 of the inner product of the inputs, and constant c ≥ 0 added to the inner
        product that enters each layer: the variance of the inner weights and of the biases. The
        kernel of the source has γ = 1, c = 0.
    depth : int, default=1
        Number of layers, at least 1.

    Returns
    -------
    Tensor of shape (n, m)
        Kernel matrix.

    Notes
    -----
    A row of zeros is taken to be at a right angle to every other row, and equal to itself.

    References
    ----------
    Y. Cho and L. Saul, *Kernel Methods for Deep Learning*, section 2.

    Examples
    --------
    >>> from thetalearn.representations.kernels import arc_cosine_kernel
    >>> arc_cosine_kernel([[1.0, 0.0]], [[2.0, 0.0], [0.0, 2.0]], order=0)
    tensor([[1.0000, 0.5000]], dtype=torch.float64)
    """
    layer = Layer.of_inputs(*_two_sets(X, Y), gamma)
    for _ in range(depth):
        layer = layer.with_bias(coef0).rectified(order)
    return layer.inner_products()


def neural_tangent_kernel(
    X: ArrayLike | Tensor,
    Y: ArrayLike | Tensor,
    *,
    gamma: float = 1.0,
    coef0: float = 0.0,
    depth: int = 1,
) -> Tensor:
    r"""Neural tangent kernel of an infinitely wide, fully connected ReLU network.

    The network has L hidden layers of widths :math:`n_1, \dots, n_L` and one linear output,

    .. math::

        h^1 = \sqrt{\gamma}\,W^1 x + \sqrt{c}\,b^1, \qquad
        h^{l+1} = \sqrt{2 / n_l}\;W^{l+1}\max(h^l, 0) + \sqrt{c}\,b^{l+1}, \qquad
        f(x) = h^{L+1},

    where all entries of all W and b are standard normal at the start, and all are trained. The 2 is
    the scaling of He et al.: it keeps the size of the signal from layer to layer. With
    :math:`\Sigma^1(x, y) = \gamma\, x \cdot y + c` and the arc-cosine kernels :math:`\kappa_0` and
    :math:`\kappa_1` applied to the inner products :math:`\Sigma^l`,

    .. math::

        \Sigma^{l+1} = \kappa_1(\Sigma^l) + c, \qquad
        K^1 = \Sigma^1, \qquad K^{l+1} = K^l\,\kappa_0(\Sigma^l) + \Sigma^{l+1},

    and the kernel is :math:`K^{L+1} = \lim \sum_\theta \partial_\theta f(x)\,\partial_\theta f(y)`.

    Parameters
    ----------
    X, Y : array-like or Tensor of shape (n, d) and (m, d)
        Rows.
    gamma : float, default=1.0
        Variance γ > 0 of the weights of the first layer; 1/d is the scaling of the source.
    coef0 : float, default=0.0
        Variance c ≥ 0 of the biases of all layers; 0 is a network without biases.
    depth : int, default=1
        Number L ≥ 1 of hidden layers.

    Returns
    -------
    Tensor of shape (n, m)
        Kernel matrix.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, *Neural Tangent Kernel: Convergence and Generalization in
    Neural Networks*, section 4 (whose scaling has no factor 2). Y. Cho and L. Saul, *Kernel Methods
    for Deep Learning*, section 2.

    Examples
    --------
    On the diagonal and without biases every layer adds the squared length of the input.

    >>> from thetalearn.representations.kernels import neural_tangent_kernel
    >>> neural_tangent_kernel([[3.0, 4.0]], [[3.0, 4.0]], depth=2)
    tensor([[75.]], dtype=torch.float64)
    """
    layer = Layer.of_inputs(*_two_sets(X, Y), gamma).with_bias(coef0)
    tangent = layer.inner_products()
    for _ in range(depth):
        slope = 1 - layer.angle() / pi
        layer = layer.rectified(1).with_bias(coef0)
        tangent = layer.inner_products().addcmul_(tangent, slope)
    return tangent


class Kernel(NamedTuple):
    """A kernel by name, and the parameters that it uses."""

    function: Callable[..., Tensor]
    parameters: tuple[str, ...]


#: Kernels by name.
KERNELS: dict[str, Kernel] = {
    "linear": Kernel(linear_kernel, ()),
    "polynomial": Kernel(polynomial_kernel, ("gamma", "coef0", "degree")),
    "rbf": Kernel(rbf_kernel, ("gamma",)),
    "laplacian": Kernel(laplacian_kernel, ("gamma",)),
    "arccos0": Kernel(partial(arc_cosine_kernel, order=0), ("gamma", "coef0", "depth")),
    "arccos1": Kernel(partial(arc_cosine_kernel, order=1), ("gamma", "coef0", "depth")),
    "arccos2": Kernel(partial(arc_cosine_kernel, order=2), ("gamma", "coef0", "depth")),
    "ntk": Kernel(neural_tangent_kernel, ("gamma", "coef0", "depth")),
}


class Layer(NamedTuple):
    """Two sets of vectors as a layer sees them: lengths (n,) and (m,), and angles (n, m).

    An angle is held as 1 - cos and 1 + cos, each a sum of nonnegative terms: nothing cancels where
    vectors nearly coincide, or nearly oppose each other.
    """

    left: Tensor
    right: Tensor
    minus: Tensor
    plus: Tensor

    @classmethod
    def of_inputs(cls, X: Tensor, Y: Tensor, gamma: float) -> Layer:
        """Rows, with inner products multiplied by gamma."""
        left, right = (torch.linalg.vector_norm(rows, dim=1) for rows in (X, Y))
        u, v = (
            rows / torch.where(length > 0, length, 1.0)[:, None]
            for rows, length in ((X, left), (Y, right))
        )
        minus, plus = squared_distances(u, v), squared_distances(u, -v)
        return cls(gamma**0.5 * left, gamma**0.5 * right, minus.div_(2), plus.div_(2))

    def with_bias(self, variance: float) -> Layer:
        """A constant added to all inner products."""
        if variance == 0:
            return self
        a, b = self.left[:, None], self.right
        left, right = ((r.square() + variance).sqrt() for r in (self.left, self.right))
        old, new = a * b, left[:, None] * right
        minus = (a - b).square_().mul_(variance).div_(new + old + variance)
        minus.addcmul_(old, self.minus).div_(new)
        plus = (a.square() + b.square() + variance).mul_(variance).div_(new + old)
        plus.add_(variance).addcmul_(old, self.plus).div_(new)
        return Layer(left, right, minus, plus)

    def angle(self) -> Tensor:
        """Angles, between 0 and pi."""
        return torch.atan2(self.minus.sqrt(), self.plus.sqrt()).mul_(2)

    def rectified(self, order: int) -> Layer:
        """Random features max(w.x, 0)**order of both sets, in the limit of many."""
        t = self.angle()
        sine, cosine = (self.minus * self.plus).sqrt_(), (self.plus - self.minus).div_(2)
        if order == 0:
            left, right = torch.ones_like(self.left), torch.ones_like(self.right)
            minus = t / pi
        elif order == 1:
            left, right = self.left, self.right
            minus = self.minus - (sine - t * cosine) / pi
        elif order == 2:
            left, right = (3**0.5 * length.square() for length in (self.left, self.right))
            minus = (t - sine * cosine + (2 / 3) * (pi - t) * sine.square()) / pi
        else:
            raise ValueError(f"order={order!r} of an arc-cosine kernel must be 0, 1 or 2")
        # Rectified features are nonnegative, so their angle is at most a right one.
        minus.clamp_(0, 1)
        return Layer(left, right, minus, 2 - minus)

    def inner_products(self) -> Tensor:
        """Inner products (n, m)."""
        return (self.plus - self.minus).div_(2).mul_(self.left[:, None]).mul_(self.right)


def squared_distances(X: Tensor, Y: Tensor) -> Tensor:
    """Squared distances (n, m), accurate also between rows that nearly coincide."""
    if X.shape[1] <= EXACT_COLUMNS:
        return torch.cdist(X, Y, compute_mode="donot_use_mm_for_euclid_dist").square_()
    # The expansion |x|^2 + |y|^2 - 2 x.y cancels: less so around the centre, and where the
    # distance is small against the lengths it is not used.
    centre = Y.mean(0)
    X, Y = X - centre, Y - centre
    lengths = X.square().sum(1)[:, None] + Y.square().sum(1)
    out = torch.addmm(lengths, X, Y.T, alpha=-2)
    rows, columns = torch.nonzero(out < NEAR * lengths, as_tuple=True)
    size = max(2**20 // X.shape[1], 1)
    for i, j in zip(rows.split(size), columns.split(size), strict=True):
        out[i, j] = (X[i] - Y[j]).square().sum(1)
    return out


def _two_sets(X: ArrayLike | Tensor, Y: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """Both sets as float64 tensors on the device of X."""
    X = torch.as_tensor(X, dtype=torch.float64)
    Y = torch.as_tensor(Y, dtype=torch.float64, device=X.device)
    if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"a kernel takes X of shape (n, d) and Y of shape (m, d), not {tuple(X.shape)} and "
            f"{tuple(Y.shape)}"
        )
    return X, Y
