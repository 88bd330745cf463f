"""Whether a network may be evaluated in single precision."""

from __future__ import annotations

import torch
from torch import Tensor

from ....representations.forms import SumForm

__all__ = ["DTYPES", "head_precision"]

DTYPES = ("auto", "float32", "float64")

#: Largest error of single precision, in standard deviations of the values, that is accepted.
SINGLE = 2e-6

#: Number of sums from which on single precision is worth a trial.
LEAST_WIDTH = 32

#: Rows on which the error of single precision is found out.
CHECKED_ROWS = 1000


def head_precision(form: SumForm, rows: Tensor, dtype: str) -> torch.dtype:
    """Precision in which to evaluate the head of a sum.

    Parameters
    ----------
    form : SumForm
        The function.
    rows : Tensor of shape (n, d)
        Rows such as will be evaluated, perhaps with their columns exchanged.
    dtype : {"auto", "float32", "float64"}
        What is asked for. "auto" takes single precision for heads of 32 sums and more, if on these
        rows, and on rows mixed of them, it changes no value by more than 2e-6 of their standard
        deviation.

    Returns
    -------
    torch.dtype
        The form's own precision, or single precision.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.inspection.importance.games.precision import head_precision
    >>> from thetalearn.representations.forms import Linear, SumForm
    >>> form = SumForm(Linear(torch.eye(2).double()), torch.zeros(2).double(), 2, torch.tanh)
    >>> head_precision(form, torch.eye(2).double(), "auto"), head_precision(
    ...     form, torch.eye(2).double(), "float32")
    (torch.float64, torch.float32)
    """
    if form.head is None or form.dtype != torch.float64 or dtype == "float64":
        return form.dtype
    if dtype == "auto" and form.sums.width < LEAST_WIDTH:
        return torch.float64
    rows = rows[:: max(len(rows) // CHECKED_ROWS, 1)][:CHECKED_ROWS].to(form.constant)
    strangers = torch.stack([column.roll(j + 1) for j, column in enumerate(rows.T)], dim=1)
    rows = torch.cat([rows, strangers])
    with torch.no_grad():
        z = form.sums(rows, range(form.n_columns)) + form.constant
        exact = form.head(z.clone())
        try:
            single = form.head(z.float())
        except RuntimeError:  # tensors of two precisions in the head
            return torch.float64
    spread = exact.std(0, correction=0)
    near = bool(((single - exact).abs() <= SINGLE * spread).all())
    return torch.float32 if dtype == "float32" or near else torch.float64
