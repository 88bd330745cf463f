r"""Cross-entropy of many linear models on the same rows, all evaluated by the same products.

The models differ in their parameters, penalties and weights of the rows. Their logits are one
product of matrices, and so are their gradients. A Hessian is :math:`\sum_i c_i x_i x_i^\top`, so
the Hessians of all are one product too, of their curvatures c with the products of two columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from scipy.linalg import blas
from torch import Tensor

__all__ = [
    "LEAST_BLOCK",
    "ROOM",
    "StackedBinaryCrossEntropy",
    "StackedCrossEntropy",
    "StackedSoftmaxCrossEntropy",
    "numbers_of_block",
]

#: Logits and inputs of a block of rows: with what is made of them, they stay in the cache.
BLOCK_LOGITS, BLOCK_INPUTS = 2**15, 2**18

#: Products of columns of a block of rows.
BLOCK_PRODUCTS = 2**19

#: Products of columns that are kept from one Hessian to the next.
KEPT_PRODUCTS = 2**23

#: Rows of a block at least, and numbers that products and blocks take together.
LEAST_BLOCK, ROOM = 128, 2**25

#: Rows of a block for which products of columns are kept: few blocks, as all sums are large.
BLOCK_KEPT = 2_048

#: Fewer curvatures than this, or more columns, are not worth the products of columns.
MIN_CURVATURES, MAX_WIDTH = 16, 100


class StackedCrossEntropy(ABC):
    r"""Mean cross-entropy of K linear models, each with its own penalty and weights.

    Model k has parameters theta[k], one row (W_c, b_c) for each logit c, as in `CrossEntropy`.

    Parameters
    ----------
    rows : Tensor of shape (n, width)
        Inputs in float64, with a last column of ones where there is an intercept.
    y : Tensor of shape (n, n_classes)
        Probability of each class.
    weight : Tensor of shape (n,) or (K, n), or None
        Weights of the rows, of all models or of each. A row of weight zero is none of that model's.
    ridge : Tensor of shape (K, n_logits * width)
        Weights of the halved squares of the parameters.
    room : int, default=2**25
        Numbers to hold at a time in products of columns and in blocks of rows, as far as the least
        block needs fewer: `numbers_of_block` for `LEAST_BLOCK` rows.
    """

    n_logits: int

    def __init__(
        self,
        rows: Tensor,
        y: Tensor,
        weight: Tensor | None,
        ridge: Tensor,
        *,
        room: int = ROOM,
    ) -> None:
        self.rows, self.y, self.weight, self.ridge, self.room = rows, y, weight, ridge, room
        self._labels = y.T.contiguous()
        self._kept_products: Tensor | None = None
        self.width = rows.shape[1]
        if weight is None:
            self.weight_sum = ridge.new_full((len(ridge),), float(len(rows)))
        else:
            self.weight_sum = weight.sum(-1).expand(len(ridge))

    @property
    def n_models(self) -> int:
        """Number K of models."""
        return len(self.ridge)

    @property
    def n_params(self) -> int:
        """Parameters of one model."""
        return self.n_logits * self.width

    def thinned(self, stride: int) -> StackedCrossEntropy:
        """The same objective on every ``stride``-th row."""
        weight = None if self.weight is None else self.weight[..., ::stride]
        rows, y = self.rows[::stride], self.y[::stride]
        return type(self)(rows, y, weight, self.ridge, room=self.room)

    def evaluate(self, theta: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Values (k,) and gradients (k, p) of the models numbered ``which`` at theta (k, p)."""
        loss, gradient, _ = self._accumulate(theta, which, with_hessian=False)
        return loss, gradient

    def evaluate_with_hessian(self, theta: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (k,), gradients (k, p) and Hessians (k, p, p)."""
        value, gradient, hessian = self._accumulate(theta, which, with_hessian=True)
        assert hessian is not None
        return value, gradient, hessian

    def _accumulate(
        self, theta: Tensor, which: Tensor, with_hessian: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        k = len(theta)
        tables = theta.view(k * self.n_logits, self.width)
        loss, gradient = theta.new_zeros(k), torch.zeros_like(tables)
        sums = self._no_hessians(k) if with_hessian else None
        weights = self.weight
        if weights is not None and weights.ndim == 2 and len(which) < len(weights):
            weights = weights[which]
        size = max(min(BLOCK_LOGITS // len(tables), BLOCK_INPUTS // self.width), LEAST_BLOCK)
        if sums is not None:
            size = self._hessian_block(sums, k)
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            rows = self.rows[part]
            logits = (tables @ rows.T).view(k, self.n_logits, -1)
            losses, residual, probability = self._loss(logits, self._labels[:, part])
            weight = None if weights is None else weights[..., part]
            if weight is not None:
                losses = losses * weight
                residual = residual * weight.unsqueeze(-2)
            loss += losses.sum(1)
            gradient.addmm_(residual.reshape(len(tables), -1), rows)
            if sums is not None:
                curvature = self._curvature(probability)
                if weight is not None:
                    curvature *= weight.unsqueeze(-2)
                self._add_hessians(sums, curvature.view(len(sums), -1), part)
        return self._means(theta, which, loss, gradient, sums)

    def _no_hessians(self, k: int) -> Tensor:
        """Zeros for the sums that the Hessians of k models consist of."""
        n_curvatures = k * self.n_logits * (self.n_logits + 1) // 2
        few = n_curvatures < MIN_CURVATURES or self.width > MAX_WIDTH
        shape = (self.width, self.width) if few else (self._n_products,)
        return self.rows.new_zeros(n_curvatures, *shape)

    @property
    def _n_products(self) -> int:
        return self.width * (self.width + 1) // 2

    @property
    def _keeps_products(self) -> bool:
        return self._n_products * len(self.rows) <= min(KEPT_PRODUCTS, self.room // 4)

    def _hessian_block(self, sums: Tensor, k: int) -> int:
        """Rows of a block that Hessians of k models are made from."""
        size = min(BLOCK_KEPT, self.room // (2 * numbers_of_block(k, self.n_logits, 1)))
        if sums.ndim == 2 and not self._keeps_products:
            size = min(size, min(BLOCK_PRODUCTS, self.room // 4) // self._n_products)
        return max(size, LEAST_BLOCK)

    def _add_hessians(self, sums: Tensor, curvature: Tensor, part: slice) -> None:
        """Add the part of a block of rows."""
        if sums.ndim == 2:
            sums.addmm_(curvature, self._products(part).T)
            return
        rows = self.rows[part]
        for total, own in zip(sums, curvature, strict=True):
            # Those of a pair of logits have one sign. Half of a symmetric matrix is computed.
            sign = -1.0 if bool((own < 0).any()) else 1.0
            scaled = rows * own.abs().sqrt_()[:, None]
            blas.dsyrk(sign, scaled.numpy().T, beta=1.0, c=total.numpy().T, overwrite_c=1)

    def _means(
        self,
        theta: Tensor,
        which: Tensor,
        loss: Tensor,
        gradient: Tensor,
        sums: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Means over the rows from their sums, with the penalty."""
        total, ridge = self.weight_sum[which], self.ridge[which]
        value = loss / total + 0.5 * (ridge * theta.square()).sum(1)
        slope = gradient.view_as(theta) / total[:, None] + ridge * theta
        if sums is None:
            return value, slope, None
        flat = sums.view(len(theta), -1).div_(total[:, None])
        hessian = flat.index_select(1, self._places(sums.ndim == 2))
        hessian = hessian.view(len(theta), self.n_params, self.n_params)
        hessian.diagonal(dim1=1, dim2=2).add_(ridge)
        return value, slope, self._regular(hessian)

    def _products(self, part: slice) -> Tensor:
        """Products of two columns, shape (width * (width + 1) / 2, rows)."""
        if not self._keeps_products:
            return products_of_columns(self.rows[part].T)
        if self._kept_products is None:
            self._kept_products = products_of_columns(self.rows.T)
        return self._kept_products[:, part]

    def _places(self, by_products: bool) -> Tensor:
        """Where each entry of a Hessian stands among the sums."""
        low, high = ordered_pairs(self.width)
        inner = triangle(self.width) if by_products else high * self.width + low
        outer = triangle(self.n_logits) * (int(inner.max()) + 1)
        return (outer[:, None, :, None] + inner[None, :, None, :]).reshape(-1)

    def _regular(self, hessian: Tensor) -> Tensor:
        """Hessians with curvature along directions that change nothing."""
        return hessian

    @abstractmethod
    def _loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (k, n), their derivatives (k, n_logits, n) in the logits, and probabilities."""

    @abstractmethod
    def _curvature(self, probability: Tensor) -> Tensor:
        """Second derivatives in pairs of logits, shape (k, n_pairs, n)."""


class StackedBinaryCrossEntropy(StackedCrossEntropy):
    r"""Two classes and one logit z: :math:`\ell = \ln(1 + e^z) - y z`.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.objectives.stacked_cross_entropy import StackedBinaryCrossEntropy
    >>> rows = torch.tensor([[-1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    >>> y = torch.eye(2, dtype=torch.float64)
    >>> ridge = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    >>> both = StackedBinaryCrossEntropy(rows, y, None, ridge)
    >>> theta = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    >>> both.evaluate(theta, torch.arange(2))[0].round(decimals=3)
    tensor([0.3130, 1.3130], dtype=torch.float64)
    """

    n_logits = 1

    def _loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = labels[1]
        losses = F.softplus(logits, threshold=40.0).addcmul_(logits, y, value=-1)
        probability = torch.sigmoid(logits)
        return losses[:, 0], probability - y, probability

    def _curvature(self, probability: Tensor) -> Tensor:
        return probability * (1 - probability)


class StackedSoftmaxCrossEntropy(StackedCrossEntropy):
    r"""L classes and L logits: :math:`\ell = \ln\sum_c e^{z_c} - \sum_c y_c z_c`.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.objectives.stacked_cross_entropy import StackedSoftmaxCrossEntropy
    >>> rows, y = torch.ones(3, 1, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    >>> stack = StackedSoftmaxCrossEntropy(rows, y, None, torch.zeros(2, 3, dtype=torch.float64))
    >>> stack.evaluate(torch.zeros(2, 3, dtype=torch.float64), torch.arange(2))[0].exp()
    tensor([3.0000, 3.0000], dtype=torch.float64)
    """

    def __init__(
        self,
        rows: Tensor,
        y: Tensor,
        weight: Tensor | None,
        ridge: Tensor,
        *,
        room: int = ROOM,
    ) -> None:
        self.n_logits = y.shape[1]
        super().__init__(rows, y, weight, ridge, room=room)

    def _loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_probability = torch.log_softmax(logits, 1)
        probability = log_probability.exp()
        return -(labels * log_probability).sum(1), probability - labels, probability

    def _curvature(self, probability: Tensor) -> Tensor:
        first, second = torch.tril_indices(self.n_logits, self.n_logits)
        other = (first == second).to(probability)[:, None] - probability[:, second]
        return other.mul_(probability[:, first])

    def _regular(self, hessian: Tensor) -> Tensor:
        """Curvature of each parameter's own size along what all classes have in common."""
        shape = (len(hessian), self.n_logits, self.width)
        own = hessian.diagonal(dim1=1, dim2=2).reshape(shape).mean(1)
        blocks = hessian.view(*shape, self.n_logits, self.width)
        blocks += torch.diag_embed(own / self.n_logits)[:, None, :, None, :]
        return hessian


def numbers_of_block(n_models: int, n_logits: int, n_rows: int) -> int:
    """Numbers that a block of rows takes: logits and what is made of them, pairs of logits."""
    n_pairs = n_logits * (n_logits + 1) // 2
    return n_models * n_rows * (6 * n_logits + 2 * n_pairs)


def ordered_pairs(n: int) -> tuple[Tensor, Tensor]:
    """The lesser and the greater of each pair of numbers, (n, n) each."""
    numbers = torch.arange(n)
    return torch.minimum(numbers[:, None], numbers), torch.maximum(numbers[:, None], numbers)


def triangle(n: int) -> Tensor:
    """Numbers (n, n) of the pairs in a lower triangle, read row by row."""
    low, high = ordered_pairs(n)
    return high * (high + 1) // 2 + low


def products_of_columns(columns: Tensor) -> Tensor:
    """Products of two of the columns (width, n), in the order of `triangle`."""
    columns = columns.contiguous()
    width, n = columns.shape
    out = columns.new_empty(width * (width + 1) // 2, n)
    for high in range(width):
        start = high * (high + 1) // 2
        torch.mul(columns[high], columns[: high + 1], out=out[start : start + high + 1])
    return out
