"""Shapley values as a ``shap.Explanation``, which all of shap's plots take.

The module imports shap, which takes seconds, so it is itself imported where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import shap
from scipy.sparse import issparse
from slicer import Obj

if TYPE_CHECKING:
    from .displays.shapley import ShapleyDisplay

__all__ = ["ShapleyExplanation", "make_explanation"]

#: Standard errors on either side of a value that make an interval of 95 %.
NORMAL_QUANTILE = 1.959963984540054

#: What describes the values themselves, and is lost once these are averaged or added.
OF_VALUES = ("error_std", "lower_bounds", "upper_bounds", "interaction_values")


class ShapleyExplanation(shap.Explanation):
    r"""Shapley values with their standard errors, for all of shap's plots.

    A value :math:`\phi_j(x)` is the part of :math:`f(x) - \mathrm E f` that player j takes, so
    ``base_values`` and the ``values`` of a row add up to the model's output. Everything that a
    ``shap.Explanation`` can do, this can too: ``explanation[0]``, ``explanation[:, "age"]`` and
    ``explanation[..., "yes"]`` select rows, players and outputs, also of what is added here.
    :func:`make_explanation` makes one.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_players) or (n_samples, n_players, n_outputs)
        Shapley values, in units of the output.
    interaction_values : ndarray of shape (n_samples, n_players, n_players[, n_outputs]), \
            default=None
        Values of pairs of players.
    method : str, default=None
        How the values were computed.
    response_method : str, default=None
        Which output of the model they explain, such as "predict_proba".
    n_evaluations : int, default=None
        Rows on which the model was evaluated.
    **fields
        All other fields of ``shap.Explanation``.

    Attributes
    ----------
    values, base_values, data, display_data, feature_names, output_names, compute_time
        As in ``shap.Explanation``.
    error_std : ndarray of the shape of values, or None
        Standard errors of the values.
    lower_bounds, upper_bounds : ndarray of the shape of values, or None
        Bounds of 95 % intervals around the values.
    interaction_values : ndarray or None
        Values of pairs, of the rows, players and outputs selected; ``explanation[:, "age"]`` holds
        those of "age" with all players.
    method, response_method, n_evaluations
        As given.

    See Also
    --------
    shap.Explanation : The class that this one extends.

    References
    ----------
    .. [1] S. M. Lundberg and S.-I. Lee, "A Unified Approach to Interpreting Model Predictions",
       Advances in Neural Information Processing Systems 30, 2017, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.inspection.importance.explanation import make_explanation
    >>> X = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> explanation = make_explanation(values=X - X.mean(0), base_values=5.0, X=X, method="exact")
    >>> explanation[:, "x1"].values
    array([-1.,  1.])
    >>> explanation[0].method
    'exact'
    """

    def __init__(
        self,
        values: Any,
        *,
        interaction_values: Any = None,
        method: str | None = None,
        response_method: str | None = None,
        n_evaluations: int | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(values, **fields)
        self.method = method
        self.response_method = response_method
        self.n_evaluations = n_evaluations
        if interaction_values is not None:
            # The partner's axis comes last, as what is selected is selected in the axes before it.
            stored = np.moveaxis(np.asarray(interaction_values), 2, -1)
            self._s.interaction_values = Obj(stored, list(range(stored.ndim - 1)))

    @property
    def interaction_values(self) -> Any:
        """Values of pairs, the partner's axis in front of that of the outputs."""
        stored = getattr(self._s, "interaction_values", None)
        if stored is None or not isinstance(self.output_names, list):
            return stored
        return np.moveaxis(stored, -1, -2)

    def plot(self, kind: str = "beeswarm", **options: Any) -> ShapleyDisplay:
        """Draw all rows.

        Parameters
        ----------
        kind : {"beeswarm", "bar", "dependence", "interactions"}, default="beeswarm"
            What to draw.
        **options
            Further arguments of :meth:`ShapleyDisplay.plot
            <thetalearn.inspection.importance.displays.ShapleyDisplay.plot>`.

        Returns
        -------
        ShapleyDisplay
            The display, drawn.
        """
        from .displays.shapley import ShapleyDisplay

        return ShapleyDisplay.from_explanation(self, kind=kind, **options)

    def percentile(self, q: float, axis: int | None = None) -> Self:
        """A percentile of the values, which has no standard errors."""
        return self._numpy_func("percentile", q=q, axis=axis)

    def _numpy_func(self, fname: str, **kwargs: Any) -> Self:
        return _without_errors(super()._numpy_func(fname, **kwargs))

    def _apply_binary_operator(self, *args: Any) -> Self:
        return _without_errors(super()._apply_binary_operator(*args))

    def __getitem__(self, item: Any) -> Self:
        items = item if isinstance(item, tuple) else (item,)
        for place, each in enumerate(items):
            if each is Ellipsis:
                # shap finds no names behind an ellipsis.
                absent = len(self.shape) - len(items) + 1
                items = (*items[:place], *[slice(None)] * absent, *items[place + 1 :])
                break
        return super().__getitem__(items)

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        copied._s = type(self._s).from_slicer(**self._s._objects, **self._s._aliases)
        copied.op_history = list(self.op_history)
        return copied


def make_explanation(
    *,
    values: Any,
    base_values: Any,
    X: Any,
    players: Mapping[str, Sequence[int]] | None = None,
    output_names: Sequence[Any] | None = None,
    standard_errors: Any = None,
    quantile: Any = NORMAL_QUANTILE,
    interactions: Any = None,
    compute_time: float | None = None,
    method: str | None = None,
    response_method: str | None = None,
    n_evaluations: int | None = None,
) -> ShapleyExplanation:
    """Put Shapley values and the rows that they explain into an explanation.

    The field ``data`` holds numbers, as the colours of shap's plots ask for: of a column of strings
    the position of the value among the sorted values or the categories, of a group of columns the
    position of the column that is 1, or else of the row among the sorted rows. ``display_data``
    holds the values themselves; it is None if all are numbers.

    Parameters
    ----------
    values : array-like of shape (n_samples, n_players) or (n_samples, n_players, n_outputs)
        Shapley values.
    base_values : float or array-like, broadcast to (n_samples,) or (n_samples, n_outputs)
        Mean output on the background rows.
    X : array-like, sparse matrix or DataFrame of shape (n_samples, n_features)
        The rows explained, in the user's columns.
    players : dict of str to sequence of int, default=None
        Columns of X that each player owns; by default every column is a player.
    output_names : sequence of length n_outputs, default=None
        Names of the outputs, such as the classes; only for values with an axis of outputs, where
        the default is their positions.
    standard_errors : array-like of the shape of values, default=None
        Standard errors of the values, zero where these are exact.
    quantile : float or array-like, broadcast to the shape of values, default=1.96
        Standard errors on either side of a value that make the interval.
    interactions : array-like of shape (n_samples, n_players, n_players[, n_outputs]), default=None
        Values of pairs.
    compute_time : float, default=None
        Seconds that the values took.
    method, response_method, n_evaluations
        Attributes of the explanation.

    Returns
    -------
    ShapleyExplanation
        The explanation.

    Raises
    ------
    ValueError
        If the shapes of the arguments do not fit together.

    Examples
    --------
    >>> import pandas as pd
    >>> from thetalearn.inspection.importance.explanation import make_explanation
    >>> X = pd.DataFrame({"age": [30, 40], "city": ["Rome", "Bern"]})
    >>> explanation = make_explanation(values=[[1, 2], [3, 4]], base_values=0.5, X=X)
    >>> explanation.feature_names
    ['age', 'city']
    >>> explanation[:, "city"].data, explanation[:, "city"].display_data
    (array([1., 0.]), array(['Rome', 'Bern'], dtype=object))
    """
    values = np.asarray(values, dtype=np.float64)
    columns, column_names = _columns(X)
    names = column_names if players is None else [str(name) for name in players]
    owned = [[place] for place in range(len(names))] if players is None else players.values()
    n_samples = len(columns[0]) if columns else 0
    if values.ndim not in (2, 3) or values.shape[:2] != (n_samples, len(names)):
        raise ValueError(
            f"values has shape {values.shape}, but X has {n_samples} rows of {len(names)} "
            "players: give values of shape (n_samples, n_players) or "
            "(n_samples, n_players, n_outputs)"
        )
    shown = [_player(columns, column_names, each) for each in owned]
    return ShapleyExplanation(
        values,
        base_values=_full(base_values, (n_samples, *values.shape[2:]), "base_values").copy(),
        data=np.column_stack([codes for codes, _ in shown]),
        display_data=_display_data(shown),
        feature_names=names,
        output_names=_output_names(output_names, values),
        **_intervals(values, standard_errors, quantile),
        interaction_values=_pairs(interactions, values),
        compute_time=compute_time,
        method=method,
        response_method=response_method,
        n_evaluations=n_evaluations,
    )


def _without_errors(explanation: Any) -> Any:
    """Forget what describes single values."""
    slicer = explanation._s
    absent = [name for name, each in slicer._objects.items() if each.o is None]
    for name in {*OF_VALUES, *absent}:
        setattr(slicer, name, Obj(None, None))
    return explanation


def _full(given: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(given, dtype=np.float64), shape)
    except ValueError:
        raise ValueError(f"{name} has shape {np.shape(given)}, expected {shape}") from None


def _output_names(names: Sequence[Any] | None, values: np.ndarray) -> list[str] | str | None:
    """Names for the axis of outputs, if there is one."""
    if values.ndim == 2:
        return str(names[0]) if names is not None and len(names) == 1 else None
    n_outputs = values.shape[2]
    if names is None:
        names = [f"output {place}" for place in range(n_outputs)]
    if len(names) != n_outputs:
        raise ValueError(f"output_names has {len(names)} names for {n_outputs} outputs")
    return [str(name) for name in names]


def _intervals(values: np.ndarray, standard_errors: Any, quantile: Any) -> dict[str, np.ndarray]:
    """Standard errors, and the bounds that follow from them."""
    if standard_errors is None:
        return {}
    errors = _full(standard_errors, values.shape, "standard_errors").copy()
    width = _full(quantile, values.shape, "quantile") * errors
    return {"error_std": errors, "lower_bounds": values - width, "upper_bounds": values + width}


def _pairs(interactions: Any, values: np.ndarray) -> np.ndarray | None:
    if interactions is None:
        return None
    n_samples, n_players, *outputs = values.shape
    return _full(interactions, (n_samples, n_players, n_players, *outputs), "interactions")


def _columns(X: Any) -> tuple[list[Any], list[str]]:
    """Columns of the user's rows, and their names."""
    if hasattr(X, "columns"):
        names = [str(name) for name in X.columns]
        pick = X.iloc if hasattr(X, "iloc") else X
        return [pick[:, place] for place in range(len(names))], names
    rows = X.toarray() if issparse(X) else np.asarray(X)
    if rows.ndim != 2:
        raise ValueError(f"X must have two dimensions, not {rows.ndim}")
    return list(rows.T), [f"x{place}" for place in range(rows.shape[1])]


def _player(
    columns: list[Any], names: list[str], owned: Sequence[int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers for colours, and what to write; None if that is the numbers."""
    coded = [_coded(columns[place]) for place in owned]
    if len(owned) == 1:
        return coded[0]
    codes = np.column_stack([code for code, _ in coded])
    own_names = [names[place] for place in owned]
    if np.isin(codes, (0, 1)).all() and (codes.sum(axis=1) == 1).all():
        hot = codes.argmax(axis=1)
        return hot.astype(np.float64), np.array(own_names, dtype=object)[hot]
    shown = [code if text is None else text for code, text in coded]
    texts = [
        ", ".join(f"{name}={_written(value)}" for name, value in zip(own_names, row, strict=True))
        for row in zip(*shown, strict=True)
    ]
    _, ranks = np.unique(codes, axis=0, return_inverse=True)
    return ranks.ravel().astype(np.float64), np.array(texts, dtype=object)


def _coded(column: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """A column as numbers, and as it is where these differ."""
    entries = np.asarray(column)
    if entries.dtype.kind in "biuf":
        return entries.astype(np.float64), None
    missing = np.array([_is_missing(entry) for entry in entries], dtype=bool)
    if entries.dtype.kind == "O" and not any(isinstance(entry, str) for entry in entries):
        numbers = np.full(len(entries), np.nan)
        try:
            numbers[~missing] = entries[~missing].astype(np.float64)
            return numbers, None
        except (TypeError, ValueError):
            pass
    texts = np.array([str(entry) for entry in entries], dtype=object)
    ordered = getattr(getattr(column, "cat", None), "categories", None)
    order = sorted(set(texts[~missing])) if ordered is None else [str(each) for each in ordered]
    places = {text: float(place) for place, text in enumerate(order)}
    codes = np.array([places.get(text, np.nan) for text in texts])
    codes[missing] = np.nan
    return codes, texts


def _is_missing(entry: Any) -> bool:
    """Whether an entry is None or not equal to itself, as NaN and NaT are."""
    if entry is None:
        return True
    try:
        return bool(entry != entry)
    except TypeError:  # pandas.NA has no truth value
        return True


def _written(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _display_data(shown: list[tuple[np.ndarray, np.ndarray | None]]) -> np.ndarray | None:
    """What to write of every player; None if all are numbers."""
    if all(text is None for _, text in shown):
        return None
    table = np.empty((len(shown[0][0]), len(shown)), dtype=object)
    for place, (codes, text) in enumerate(shown):
        table[:, place] = codes if text is None else text
    return table
