r"""Mean cross-entropy of a linear model, with its gradient and Hessian.

Rows are visited in blocks that stay in the processor's cache, so one pass over the data gives the
loss, the gradient and, when asked for, the Hessian.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BinaryCrossEntropy", "CrossEntropy", "SoftmaxCrossEntropy"]

#: Bytes of the block of rows that one step works on, read twice from the cache.
BLOCK_BYTES = 3 * 2**19


class CrossEntropy(ABC):
    r"""Weighted mean of :math:`\ell(y_i, W x_i + b)` plus :math:`\tfrac{\alpha}{2}\|W\|^2`.

    Parameters are flat: theta holds one row (W_c, b_c) for each logit c.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Inputs.
    y : Tensor of shape (n, n_classes)
        Probability of each class.
    weight : Tensor of shape (n,) or None
        Positive weights.
    alpha : float
        Weight of the l2 penalty.
    fit_intercept : bool
        Whether there is a b; without it its entries stay zero.
    penalize_intercept : bool
        Whether b counts in the penalty.
    centre : Tensor of shape (d,) or None
        Subtracted from the rows: b is then the logit there. With an intercept that is not
        penalised this changes the parameters and not the model.
    """

    n_logits: int

    def __init__(
        self,
        X: Tensor,
        y: Tensor,
        weight: Tensor | None,
        alpha: float,
        fit_intercept: bool = True,
        penalize_intercept: bool = False,
        centre: Tensor | None = None,
    ) -> None:
        self.X, self.y, self.weight = X, y, weight
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.penalize_intercept = penalize_intercept
        self.centre = centre
        self.weight_sum = float(len(X) if weight is None else weight.sum())
        self.width = X.shape[1] + fit_intercept
        penalised = torch.ones(self.width, dtype=torch.float64, device=X.device)
        if fit_intercept and not penalize_intercept:
            penalised[-1] = 0.0
        self.ridge = (alpha * penalised).expand(self.n_logits, -1).reshape(-1)

    @property
    def n_params(self) -> int:
        """Length of theta."""
        return self.n_logits * self.width

    def thinned(self, stride: int) -> Self:
        """The same objective on every ``stride``-th row."""
        weight = None if self.weight is None else self.weight[::stride]
        return type(self)(
            self.X[::stride],
            self.y[::stride],
            weight,
            self.alpha,
            self.fit_intercept,
            self.penalize_intercept,
            self.centre,
        )

    def logits(self, theta: Tensor, rows: Tensor) -> Tensor:
        """Logits of rows (n, d), shape (n, n_logits)."""
        table = theta.view(self.n_logits, self.width)
        if not self.fit_intercept:
            return rows @ table.T
        return (rows @ table[:, :-1].T).add_(table[:, -1])

    def all_logits(self, theta: Tensor) -> Tensor:
        """Logits of all rows, shape (n, n_logits)."""
        return torch.cat([self.logits(theta, rows) for _, rows in self._blocks()])

    def evaluate(self, theta: Tensor) -> tuple[float, Tensor]:
        """Value and gradient."""
        value, gradient, _ = self._accumulate(theta, with_hessian=False)
        return value, gradient

    def evaluate_with_hessian(self, theta: Tensor) -> tuple[float, Tensor, Tensor]:
        """Value, gradient and Hessian in one pass."""
        value, gradient, hessian = self._accumulate(theta, with_hessian=True)
        assert hessian is not None
        return value, gradient, hessian

    def curvature(self, theta: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Product with the Hessian, and its diagonal."""
        probability = torch.cat(
            [self._probability(self.logits(theta, rows)) for _, rows in self._blocks()]
        )
        diagonal = theta.new_zeros(self.n_logits, self.width)
        squares = theta.new_full((self.width,), self.weight_sum)
        squares[: self.X.shape[1]] = 0.0
        for part, rows in self._blocks():
            own = self._own_curvature(probability[part]) * self._block_weight(part)
            square = rows.square()
            diagonal[:, : rows.shape[1]].addmm_(own.T, square)
            squares[: rows.shape[1]] += (square * self._block_weight(part)).sum(0)
            if self.fit_intercept:
                diagonal[:, -1] += own.sum(0)

        def product(vector: Tensor) -> Tensor:
            out = vector.new_zeros(self.n_logits, self.width)
            for part, rows in self._blocks():
                change = self._change(probability[part], self.logits(vector, rows))
                change *= self._block_weight(part)
                out[:, : rows.shape[1]].addmm_(change.T, rows)
                if self.fit_intercept:
                    out[:, -1] += change.sum(0)
            return out.view(-1) / self.weight_sum + self.ridge * vector

        # In units of the columns, what is below this share of the largest curvature is rounding.
        largest = (diagonal / squares.clamp(min=1e-300)).max()
        diagonal = diagonal.clamp(min=1e-12 * largest * squares + 1e-300)
        return product, diagonal.view(-1) / self.weight_sum + self.ridge

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        size = max(BLOCK_BYTES // (8 * self.width), 256)
        for start in range(0, len(self.X), size):
            part = slice(start, start + size)
            rows = self.X[part].to(torch.float64)
            yield part, rows if self.centre is None else rows - self.centre

    def _block_weight(self, part: slice) -> Tensor | float:
        return 1.0 if self.weight is None else self.weight[part, None]

    def _accumulate(self, theta: Tensor, with_hessian: bool) -> tuple[float, Tensor, Tensor | None]:
        loss = theta.new_zeros(())
        gradient = theta.new_zeros(self.n_logits, self.width)
        size = self.n_params
        hessian = theta.new_zeros(size, size) if with_hessian else None
        for part, rows in self._blocks():
            labels = self.y[part]
            weight = None if self.weight is None else self.weight[part]
            losses, residual, probability = self._loss(self.logits(theta, rows), labels)
            if weight is not None:
                losses, residual = losses * weight, residual * weight[:, None]
            loss += losses.sum()
            gradient[:, : rows.shape[1]].addmm_(residual.T, rows)
            if self.fit_intercept:
                gradient[:, -1] += residual.sum(0)
            if hessian is not None:
                self._add_hessian(hessian, rows, probability, weight)
        loss /= self.weight_sum
        gradient = gradient.view(-1) / self.weight_sum + self.ridge * theta
        value = float(loss) + 0.5 * float(self.ridge @ theta.square())
        if hessian is not None:
            hessian /= self.weight_sum
            hessian.diagonal().add_(self.ridge)
        return value, gradient, hessian

    def _add_block(self, target: Tensor, rows: Tensor, curvature: Tensor) -> None:
        """Add the sum of curvature_i (x_i, 1)(x_i, 1)' to a (width, width) block."""
        d = rows.shape[1]
        scaled = rows * curvature[:, None]
        target[:d, :d].addmm_(scaled.T, rows)
        if self.fit_intercept:
            sums = scaled.sum(0)
            target[:d, d] += sums
            target[d, :d] += sums
            target[d, d] += curvature.sum()

    @abstractmethod
    def _loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (n,), their derivatives in the logits (n, n_logits), and probabilities."""

    @abstractmethod
    def _probability(self, logits: Tensor) -> Tensor:
        """Probabilities, one column a logit."""

    def _own_curvature(self, probability: Tensor) -> Tensor:
        """Second derivative of the loss in each logit."""
        return probability * (1 - probability)

    @abstractmethod
    def _change(self, probability: Tensor, logits: Tensor) -> Tensor:
        """The loss's Hessian in the logits, times a change of the logits."""

    @abstractmethod
    def _add_hessian(
        self, hessian: Tensor, rows: Tensor, probability: Tensor, weight: Tensor | None
    ) -> None:
        """Add the rows' part of the unscaled Hessian."""

    @abstractmethod
    def margins(self, theta: Tensor) -> Tensor:
        """How far each row's class is ahead of each other class, shape (n, n_classes - 1)."""


class BinaryCrossEntropy(CrossEntropy):
    r"""Two classes and one logit z: :math:`\ell = \ln(1 + e^z) - y z`."""

    n_logits = 1

    def _loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = logits[:, 0]
        y = labels[:, 1]
        probability = torch.sigmoid(z)
        return F.softplus(z, threshold=40.0) - y * z, (probability - y)[:, None], probability

    def _probability(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)

    def _change(self, probability: Tensor, logits: Tensor) -> Tensor:
        return self._own_curvature(probability) * logits

    def _add_hessian(
        self, hessian: Tensor, rows: Tensor, probability: Tensor, weight: Tensor | None
    ) -> None:
        curvature = self._own_curvature(probability)
        self._add_block(hessian, rows, curvature if weight is None else curvature * weight)

    def margins(self, theta: Tensor) -> Tensor:
        """Signed logits, shape (n, 1)."""
        return self.all_logits(theta) * (2 * self.y[:, 1:] - 1)


class SoftmaxCrossEntropy(CrossEntropy):
    r"""K classes and K logits: :math:`\ell = \ln\sum_k e^{z_k} - \sum_k y_k z_k`."""

    def __init__(
        self,
        X: Tensor,
        y: Tensor,
        weight: Tensor | None,
        alpha: float,
        fit_intercept: bool = True,
        penalize_intercept: bool = False,
        centre: Tensor | None = None,
    ) -> None:
        self.n_logits = y.shape[1]
        super().__init__(X, y, weight, alpha, fit_intercept, penalize_intercept, centre)

    def _loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_probability = torch.log_softmax(logits, 1)
        probability = log_probability.exp()
        return -(labels * log_probability).sum(1), probability - labels, probability

    def _probability(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, 1)

    def _change(self, probability: Tensor, logits: Tensor) -> Tensor:
        return probability * (logits - (probability * logits).sum(1, keepdim=True))

    def _add_hessian(
        self, hessian: Tensor, rows: Tensor, probability: Tensor, weight: Tensor | None
    ) -> None:
        blocks = hessian.view(self.n_logits, self.width, self.n_logits, self.width)
        for k in range(self.n_logits):
            for m in range(k + 1):
                curvature = probability[:, k] * (float(k == m) - probability[:, m])
                if weight is not None:
                    curvature = curvature * weight
                self._add_block(blocks[k, :, m], rows, curvature)
                if k != m:
                    blocks[m, :, k] = blocks[k, :, m]

    def evaluate_with_hessian(self, theta: Tensor) -> tuple[float, Tensor, Tensor]:
        """Value, gradient and Hessian in one pass.

        Adding one vector to the parameters of all classes changes no probability. Curvature is
        added along these directions, in which the gradient is zero: of the size that each
        parameter has anyhow, as the units of the columns may differ.
        """
        value, gradient, hessian = super().evaluate_with_hessian(theta)
        own = hessian.diagonal().view(self.n_logits, self.width).mean(0)
        gauge = torch.diag_embed(own / self.n_logits)
        blocks = hessian.view(self.n_logits, self.width, self.n_logits, self.width)
        blocks += gauge[None, :, None, :]
        return value, gradient, hessian

    def margins(self, theta: Tensor) -> Tensor:
        """Logit of each row's class less those of the others, shape (n, K - 1)."""
        logits = self.all_logits(theta)
        own = self.y.argmax(1, keepdim=True)
        others = torch.ones_like(self.y, dtype=torch.bool).scatter_(1, own, False)
        return (logits.gather(1, own) - logits)[others].view(len(logits), -1)
