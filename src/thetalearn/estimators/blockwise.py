"""Least squares on rows that lie in many places: Dask arrays and DataFrames, block by block.

Each block of rows is reduced to its triangular factor where it lies. Factors are merged in a tree,
so that nothing but factors travels, and one small problem is solved at the end. What a basis takes
from the data is found before: ranges and variances by a first pass over the blocks.

References
----------
J. Demmel, L. Grigori, M. Hoemmen and J. Langou, "Communication-optimal parallel and sequential QR
and LU factorizations", SIAM Journal on Scientific Computing 34, 2012, section 4 (QR in a tree).
T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing
sample variances", COMPSTAT 1982, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from numbers import Integral, Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..rows import as_array
from ..threads import one_thread
from .families import BSplineFamily, DomainFamily, RandomFamily, ReLUFamily, per_column

__all__ = ["absorb_blocks", "is_dask", "predict_blocks"]

#: Factors that one task merges.
FAN_IN = 4

#: X, y and sample_weight of a block, not yet computed; the weight may be None or a number.
Block = tuple[Any, Any, Any]


def is_dask(values: Any) -> bool:
    """Whether something is a Dask array, DataFrame or Series, without importing Dask.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.estimators.blockwise import is_dask
    >>> is_dask(np.zeros(3))
    False
    """
    modules = {kind.__module__.partition(".")[0] for kind in type(values).__mro__}
    return "dask" in modules and hasattr(values, "to_delayed") and hasattr(values, "ndim")


def absorb_blocks(estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
    """Give a least-squares regressor the basis and the factor of all rows of a Dask collection.

    Parameters
    ----------
    estimator : LeastSquaresRegressor
        Changed in place once all blocks were seen; only the solution is left to do.
    X : dask Array or DataFrame of shape (n_samples, n_features)
        Inputs.
    y : dask Array, DataFrame or Series, or array-like, of shape (n_samples,) or \
            (n_samples, n_targets)
        Targets, in the order of the rows of X.
    sample_weight : dask Array or Series, array-like of shape (n_samples,), number or None
        Nonnegative weights of the rows.

    Raises
    ------
    ValueError
        If the blocks of X and y cannot be brought together, if the basis needs quantiles of all
        rows, or if a block holds what ``fit`` refuses; a note then says which block.
    """
    if y is None:
        estimator._training_rows(X, None, None, reset=True)
    parameters = estimator.get_params(deep=False)
    blocks = _split(X, y, sample_weight)
    model = copy(estimator)
    # Callbacks and what an earlier fit has left stay here.
    model.__dict__ = {k: v for k, v in vars(estimator).items() if k in parameters}
    model._streaming = False
    _learn_basis(model, blocks, X.shape[1])
    whole = _reduce(_absorb, _merge, model, blocks)
    if whole is None:
        _refuse_no_rows(estimator, blocks, X.shape[1])
    vars(estimator).pop("feature_names_in_", None)
    vars(estimator).update({k: v for k, v in vars(whole).items() if k not in parameters})


def predict_blocks(estimator: Any, X: Any) -> Any:
    """Predictions of a fitted regressor as a Dask array, not yet computed.

    Parameters
    ----------
    estimator : LeastSquaresRegressor
        Fitted. Later fits do not change the predictions asked for now.
    X : dask Array or DataFrame of shape (n_samples, n_features)
        Inputs.

    Returns
    -------
    dask Array of shape (n_samples,) or (n_samples, n_targets)
        In blocks of the rows of X; the lengths of those of a DataFrame are unknown.

    Raises
    ------
    ValueError
        If the columns are not those that the regressor was fitted to.
    """
    import dask.array as da
    from dask.delayed import delayed

    X = _whole_rows(X)
    _check_columns(estimator, X)
    model = copy(estimator)
    del model._factor
    kinds = [X.dtype] if hasattr(X, "chunks") else list(X.dtypes)
    single = all(kind == np.float32 for kind in kinds)
    dtype = np.dtype(np.float32 if single else np.float64)
    inner = () if estimator._one_target else (estimator._n_targets,)
    task = delayed(_predict, pure=False)
    blocks = np.ravel(X.to_delayed()).tolist()
    shared = delayed(model, traverse=False, pure=False)
    lengths: list[Any] = _lengths(X) or [np.nan] * len(blocks)
    parts = [
        da.from_delayed(
            task(shared, block, (0, *inner), dtype),
            shape=(length, *inner),
            dtype=dtype,
            meta=np.empty((0,) * (1 + len(inner)), dtype),
        )
        for block, length in zip(blocks, lengths, strict=True)
    ]
    return da.concatenate(parts, allow_unknown_chunksizes=True)


def _predict(model: Any, X: Any, empty: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Predictions for one block, which may have no rows."""
    return model.predict(X) if X.shape[0] else np.empty(empty, dtype)


def _check_columns(estimator: Any, X: Any) -> None:
    """Refuse wrong columns at once, and not when the predictions are computed."""
    row: Any = np.zeros((1, X.shape[1]))
    if not hasattr(X, "chunks"):
        import pandas as pd

        row = pd.DataFrame(row, columns=list(X.columns))
    estimator._input_rows(row, reset=False)


# Bringing the blocks of X, y and sample_weight together


def _split(X: Any, y: Any, sample_weight: Any) -> list[Block]:
    """The blocks of rows, as tasks that nobody has computed."""
    X = _whole_rows(X)
    given = {"X": X, "y": _aligned("y", y, X)}
    if sample_weight is not None and not isinstance(sample_weight, Number):
        given["sample_weight"] = _aligned("sample_weight", sample_weight, X)
    arrays = {name: values for name, values in given.items() if hasattr(values, "chunks")}
    # Without its own optimisation an array shares the tasks that it has in common with others.
    parts = {
        name: np.ravel(values.to_delayed(optimize_graph=False)).tolist()
        for name, values in arrays.items()
    }
    parts |= _partitions({name: each for name, each in given.items() if name not in arrays})
    weights = parts.get("sample_weight", [sample_weight] * len(parts["X"]))
    return list(zip(parts["X"], parts["y"], weights, strict=True))


def _partitions(frames: dict[str, Any]) -> dict[str, list[Any]]:
    """Partitions of frames, planned as one, so that what they share is read once."""
    if not frames:
        return {}
    import dask.dataframe as dd

    together = dd.map_partitions(
        _together,
        *frames.values(),
        meta=next(iter(frames.values()))._meta,
        enforce_metadata=False,
        align_dataframes=False,
    ).to_delayed()
    return {name: [each[i] for each in together] for i, name in enumerate(frames)}


def _together(*parts: Any) -> tuple[Any, ...]:
    return parts


def _whole_rows(X: Any) -> Any:
    """X with no block that holds a part of the columns only."""
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D {type(X).__name__} of Dask instead: give a Dask "
            "array of shape (n_samples, n_features) or a DataFrame"
        )
    if not hasattr(X, "chunks"):
        return X
    if np.isnan(X.shape[1]):
        raise ValueError("X has an unknown number of columns: call X.compute_chunk_sizes() first")
    return X.rechunk({1: -1})


def _lengths(values: Any) -> list[int] | None:
    """Rows of each block, if they are known."""
    lengths = getattr(values, "chunks", ((np.nan,),))[0]
    return None if np.isnan(lengths).any() else [int(n) for n in lengths]


def _aligned(name: str, values: Any, X: Any) -> Any:
    """What belongs to the rows of X, in blocks of the same rows."""
    lengths = _lengths(X)
    if not is_dask(values):
        values = _in_memory(name, values, lengths)
    own = _lengths(values)
    if own is not None and lengths is not None:
        if sum(own) != sum(lengths):
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: "
                f"X has {sum(lengths)}, {name} has {sum(own)}"
            )
        return values.rechunk({0: tuple(lengths)} | {axis: -1 for axis in range(1, values.ndim)})
    if own is not None or hasattr(values, "chunks"):
        values = values.rechunk({axis: -1 for axis in range(1, values.ndim)})
    elif _ordered(X) and _ordered(values) and X.divisions != values.divisions:
        values = values.repartition(divisions=X.divisions, force=True)
    counts = X.npartitions, values.npartitions
    if counts[0] != counts[1]:
        raise ValueError(
            f"X has {counts[0]} blocks of rows and {name} has {counts[1]}, of lengths that are not "
            f"known, so they cannot be matched: take X and {name} from one DataFrame, or make "
            "lengths known by to_dask_array(lengths=True) or compute_chunk_sizes()"
        )
    return values


def _ordered(values: Any) -> bool:
    """Whether a frame is known to be in the order of its index."""
    return bool(getattr(values, "known_divisions", False))


def _in_memory(name: str, values: Any, lengths: list[int] | None) -> Any:
    """An array of this machine as a Dask array."""
    import dask.array as da

    if lengths is None:
        raise ValueError(
            f"{name} is in memory, and the lengths of the blocks of X are not known, so they "
            f"cannot be matched: give {name} as a column of the same DataFrame, or make lengths "
            "known by X.to_dask_array(lengths=True) or X.compute_chunk_sizes()"
        )
    array = np.asarray(as_array(values))
    return da.from_array(array, chunks=array.shape)


# One pass over the blocks, from which one object comes back


def _reduce(
    task: Callable[..., Any], join: Callable[[Sequence[Any]], Any], model: Any, blocks: list[Block]
) -> Any:
    """``join`` in a tree of what ``task`` makes of each block."""
    from dask.base import compute
    from dask.delayed import delayed

    shared = delayed(model, traverse=False, pure=False)
    each, merge = delayed(_noted, pure=False), delayed(join, pure=False)
    level = [
        each(task, shared, *block, place, len(blocks)) for place, block in enumerate(blocks, 1)
    ]
    while len(level) > 1:
        level = [merge(level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)]
    return compute(level[0])[0]


def _noted(
    task: Callable[..., Any], model: Any, X: Any, y: Any, weight: Any, place: int, count: int
) -> Any:
    """What a task makes of one block; a note says in which block an error arose."""
    try:
        # Dask computes several blocks at once: threads within them would only be in the way.
        with one_thread():
            return task(copy(model), X, y, weight)
    except Exception as error:
        error.add_note(f"This is block {place} of {count} of X; its rows are counted from 0.")
        raise


def _absorb(model: Any, X: Any, y: Any, weight: Any) -> Any | None:
    """The model with the factor of one block; None without rows of positive weight."""
    if X.shape[0] == 0 and len(y) == 0:
        return None
    if _weighs_nothing(weight):
        model._training_rows(X, y, None, reset=True)
        return None
    rows, targets, weight = model._training_rows(X, y, weight, reset=True)
    model._start_on(model.basis_ if hasattr(model, "basis_") else model._make_basis(rows, weight))
    model._absorb(rows, targets, weight)
    return model


def _merge(parts: Sequence[Any]) -> Any | None:
    """The model with the factor of several blocks."""
    some = [part for part in parts if part is not None]
    if not some:
        return None
    # What a task returned must stay as it is, for Dask may keep it.
    whole = copy(some[0])
    for part in some[1:]:
        whole._take_in(part)
    return whole


def _weighs_nothing(weight: Any) -> bool:
    """Whether all rows have weight zero, which a single block may."""
    return weight is not None and not np.asarray(weight).any()


def _refuse_no_rows(estimator: Any, blocks: list[Block], n_columns: int) -> None:
    """Raise what a fit to no rows raises."""
    from dask.base import compute
    from dask.delayed import delayed

    lengths = compute(*[delayed(len)(y) for _, y, _ in blocks])
    if sum(lengths):
        estimator._weight_tensor(np.zeros(1), np.zeros((1, 1)))
    estimator._training_rows(np.empty((0, n_columns)), np.empty(0), None, reset=True)


# What a basis takes from the data


@dataclass(frozen=True)
class _Spread:
    """Where the rows of some blocks lie: ranges, weighted means, sums of squares about these."""

    model: Any
    n_rows: int
    low: Tensor
    high: Tensor
    weight: float
    mean: Tensor
    squares: Tensor


def _learn_basis(model: Any, blocks: list[Block], n_columns: int) -> None:
    """Set the basis that all blocks share, unless each makes the same from its parameters."""
    kind = type(model)
    if issubclass(kind, DomainFamily):
        asked = [isinstance(points, Integral) for points in _points(model, n_columns)]
        if any(asked) and model.placement == "quantile":
            _refuse_quantiles(model)
        if model.domain is None and (any(asked) or not issubclass(kind, ReLUFamily)):
            _learn_domain(model, blocks, n_columns)
    elif issubclass(kind, RandomFamily):
        drawn = copy(model)
        if model.gamma == "scale":
            drawn.gamma = _scale_gamma(_spread(model, blocks, n_columns))
        model.basis_ = drawn._make_basis(torch.zeros(1, n_columns), None)


def _learn_domain(model: Any, blocks: list[Block], n_columns: int) -> None:
    """Make the basis from the range of all rows."""
    spread = _spread(model, blocks, n_columns)
    vars(model).update(vars(spread.model))
    ends = torch.stack([spread.low, spread.high])
    model._box_of(ends.T.numpy(), spread.n_rows)
    model.basis_ = model._make_basis(ends, None)


def _points(model: Any, n_columns: int) -> list[Any]:
    """Knots or shifts of each column, as they were given."""
    name = _points_name(model)
    return [] if name is None else per_column(name, getattr(model, name), n_columns)


def _points_name(model: Any) -> str | None:
    """What the points are called that a family places."""
    if issubclass(type(model), BSplineFamily):
        return "knots"
    return "shifts" if issubclass(type(model), ReLUFamily) else None


def _refuse_quantiles(model: Any) -> None:
    name = _points_name(model)
    raise ValueError(
        f"{name}={getattr(model, str(name))!r} with placement='quantile' needs quantiles of all "
        f"rows, which blocks of a Dask collection do not give exactly: give {name} themselves, or "
        "placement='uniform'"
    )


def _scale_gamma(spread: _Spread) -> float:
    """One over the number of inputs times their mean square distance from the centre."""
    n_columns = len(spread.mean)
    variance = float(spread.squares.sum()) / (spread.weight * n_columns)
    return 1.0 / (n_columns * variance) if variance > 0 else 1.0


def _spread(model: Any, blocks: list[Block], n_columns: int) -> _Spread:
    """Where all rows of positive weight lie."""
    spread = _reduce(_look, _join, model, blocks)
    if spread is None:
        _refuse_no_rows(model, blocks, n_columns)
    return spread


def _look(model: Any, X: Any, y: Any, weight: Any) -> _Spread | None:
    """Where the rows of one block lie; None without rows of positive weight."""
    if X.shape[0] == 0 and len(y) == 0:
        return None
    if _weighs_nothing(weight):
        model._training_rows(X, y, None, reset=True)
        return None
    rows, _, weight = model._training_rows(X, y, weight, reset=True)
    x = rows.to(torch.float64).cpu()
    w = x.new_ones(len(x)) if weight is None else weight.cpu()
    mean = (w @ x) / w.sum()
    low, high = x.aminmax(dim=0)
    squares = w @ (x - mean).square()
    return _Spread(model, len(x), low, high, float(w.sum()), mean, squares)


def _join(spreads: Sequence[_Spread | None]) -> _Spread | None:
    """Where the rows of several blocks lie."""
    some = [spread for spread in spreads if spread is not None]
    if not some:
        return None
    whole = some[0]
    for part in some[1:]:
        weight = whole.weight + part.weight
        apart = part.mean - whole.mean
        whole = _Spread(
            whole.model,
            whole.n_rows + part.n_rows,
            torch.minimum(whole.low, part.low),
            torch.maximum(whole.high, part.high),
            weight,
            whole.mean + apart * (part.weight / weight),
            whole.squares + part.squares + apart.square() * (whole.weight * part.weight / weight),
        )
    return whole
