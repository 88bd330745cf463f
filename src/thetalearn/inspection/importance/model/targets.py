"""Forms of values that an inverse target transform is applied to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)
from torch import Tensor

from ....representations.forms import Form, Linear, ProductForm, Scaled, SumForm

__all__ = ["inverted"]


def inverted(form: Form, transformer: Any) -> Form | None:
    """The form of ``transformer.inverse_transform(form(x))``.

    Parameters
    ----------
    form : SumForm or ProductForm
        A function with m outputs.
    transformer : transformer
        A fitted transformer of targets. Those whose inverse is affine keep the kind of form.

    Returns
    -------
    SumForm or ProductForm or None
        None where a sum of products goes through a function that is not affine.

    Examples
    --------
    >>> import torch
    >>> from sklearn.preprocessing import StandardScaler
    >>> from thetalearn.inspection.importance.model.targets import inverted
    >>> from thetalearn.representations.forms import Linear, SumForm
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> form = SumForm(Linear(one[:, None]), 0 * one, 1)
    >>> scaler = StandardScaler().fit([[3.0], [7.0]])  # 5 + 2 x
    >>> inverted(form, scaler)(torch.tensor([[1.0]], dtype=torch.float64))
    tensor([[7.]], dtype=torch.float64)
    """
    affine = _affine_inverse(transformer, form.n_outputs)
    if affine is not None:
        parts = (torch.from_numpy(part).to(form.device, form.dtype) for part in affine)
        return _scaled(form, *parts)
    return form.followed_by(_Inverse(transformer)) if isinstance(form, SumForm) else None


@dataclass(frozen=True, eq=False)
class _Inverse:
    """The inverse of a transformer, for tensors."""

    transformer: Any

    def __call__(self, values: Tensor) -> Tensor:
        result = self.transformer.inverse_transform(values.cpu().numpy())
        return torch.as_tensor(np.asarray(result)).reshape(len(values), -1).to(values)


@dataclass(frozen=True, eq=False)
class _Affine:
    """Values times factors, plus shifts."""

    factors: Tensor
    shifts: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        return values * self.factors + self.shifts


def _affine_inverse(transformer: Any, n_outputs: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Factors (m,) and shifts (m,) of an inverse transform, if it is affine."""
    read = {
        StandardScaler: lambda t: (t.scale_, t.mean_),
        MinMaxScaler: lambda t: (1 / t.scale_, -t.min_ / t.scale_),
        MaxAbsScaler: lambda t: (t.scale_, None),
        RobustScaler: lambda t: (t.scale_, t.center_),
    }.get(type(transformer))
    if read is not None:
        factors, shifts = read(transformer)
        factors = np.ones(n_outputs) if factors is None else np.asarray(factors, dtype=np.float64)
        shifts = np.zeros(n_outputs) if shifts is None else np.asarray(shifts, dtype=np.float64)
        if not getattr(transformer, "with_mean", True):
            shifts = np.zeros(n_outputs)
        return factors, shifts
    if type(transformer) is FunctionTransformer and transformer.inverse_func is None:
        return np.ones(n_outputs), np.zeros(n_outputs)
    return None


def _scaled(form: Form, factors: Tensor, shifts: Tensor) -> Form | None:
    """Outputs times factors, plus shifts."""
    if isinstance(form, SumForm):
        if form.head is not None:
            return form.followed_by(_Affine(factors, shifts))
        sums = form.sums
        scaled = (
            Linear(sums.weights * factors) if isinstance(sums, Linear) else Scaled(sums, factors)
        )
        return replace(form, sums=scaled, constant=form.constant * factors + shifts)
    if isinstance(form, ProductForm):
        constant = np.zeros((1, form.n_columns), dtype=form.indices.dtype)
        return replace(
            form,
            indices=np.concatenate([form.indices, constant]),
            coef=torch.cat([form.coef * factors, shifts[None].to(form.coef)]),
        )
    return None
