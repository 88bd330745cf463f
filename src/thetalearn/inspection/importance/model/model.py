"""What is explained of a fitted estimator, as a function of columns that can be exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ....exceptions import warn_user
from ....representations.forms import Form, SumForm
from ....rows import as_array, as_tensor
from .encoding import Encoding, encodings
from .inputs import Inputs
from .notable import notable_rows
from .parts import fitted_like
from .tables import mixed, stacked, taken

__all__ = ["Model", "mixed", "model_of", "stacked", "taken"]

METHODS = ("predict", "predict_proba", "decision_function")

#: Rows of X on which the parts of an estimator are held against its own predictions.
CHECKED_ROWS = 200

#: Rows of a new X whose columns are exchanged with those of known rows.
EXCHANGED_ROWS = 500
#: Masks that share out the columns of rows that stand out, at the least.
LEAST_MASKS = 48


@dataclass(frozen=True)
class Model:
    """A fitted estimator as a function of rows whose columns can be exchanged.

    `model_of` makes one. Encoded rows are those after the transformers of a pipeline, as far as
    each of their columns depends on one input column alone: exchanging the values of an input
    column between rows is then the same as exchanging the encoded columns that it owns, and the
    transformers need not run again. Otherwise encoded rows are those of X.

    Parameters
    ----------
    names : list of str
        Input columns.
    owners : list of ndarray of int
        For each input column, the encoded columns that it alone decides. Encoded columns that are
        constant belong to nobody and may be taken from any row.
    n_outputs : int
        Number of outputs m.
    output_names : list of str or None
        Classes, or targets y0, y1, ...; None for a single output.
    squeeze : bool
        Whether the estimator's own values have one dimension.
    form : Form or None
        How the values are built from functions of single encoded columns, if that is known.
    response_method : {"predict", "predict_proba", "decision_function"}
        Which of the estimator's methods is explained.
    numeric : bool
        Whether encoded rows are an array of float64 or float32, rather than of X's own type.
    n_encoded : int
        Number of encoded columns c.
    classes : ndarray or None
        Classes of a classifier; a list of them for a classifier of several targets.
    estimator : estimator or callable
        What is explained.
    inputs : Inputs
        The input columns.
    rows : ndarray or data frame
        Rows with which the model was made.
    encoding : Encoding
        What turns rows of X into encoded rows, and these into values.
    """

    names: list[str]
    owners: list[np.ndarray]
    n_outputs: int
    output_names: list[str] | None
    squeeze: bool
    form: Form | None
    response_method: str
    numeric: bool
    n_encoded: int
    classes: Any
    estimator: Any
    inputs: Inputs
    rows: Any
    encoding: Encoding

    def encode(self, X: Any) -> Any:
        """Rows whose columns may be exchanged between rows.

        Parameters
        ----------
        X : array-like, data frame, sparse matrix or torch.Tensor of shape (n, n_features)
            Rows, with the columns that the estimator was fitted on. Those of a data frame are
            found by name.

        Returns
        -------
        ndarray or data frame of shape (n, c)
            See `mixed`, `taken` and `stacked` for what can be done with them.

        Raises
        ------
        ValueError
            If columns are missing or too many, or if X varies in an encoded column that was
            constant when the model was made; see `covering`.
        """
        return self.encoding.encode(self.inputs.align(X))

    def covering(self, X: Any) -> Model:
        """A model that can encode these rows as well.

        Parameters
        ----------
        X : like that of `encode`
            Rows that may show more of the transformers than those with which the model was made:
            they vary where those are all alike, or have values missing where those have none.

        Returns
        -------
        Model
            The same, if it can; else one made anew, with owners of its own.
        """
        table = self.inputs.align(X)
        if self.encoding.n_steps == 0:
            return self
        exchange = _exchange(table, self.rows, np.random.RandomState(0))
        if self.encoding.covers(table) and self.encoding.exchanges(*exchange):
            return self
        # Functions have no steps.
        return _made(
            self.estimator, self.response_method, self.inputs, stacked(self.rows, table), exchange
        )

    def own(self, X: Any) -> np.ndarray:
        """Values of the estimator itself, from rows that nothing was done to.

        Parameters
        ----------
        X : like that of `encode`
            Rows.

        Returns
        -------
        ndarray of shape (n, m)
            Values, in the estimator's precision.
        """
        table = self.inputs.align(X)
        rows = fitted_like(self.estimator, table)
        method = self.encoding.method
        values = self.estimator(rows) if method is None else getattr(self.estimator, method)(rows)
        matrix = _columns_of(values, len(table))
        return matrix if matrix.dtype == np.float32 else self._no_labels(matrix)

    def respond(self, encoded: Any) -> Any:
        """What the estimator's own method gives, be it numbers or labels.

        Parameters
        ----------
        encoded : ndarray or data frame of shape (n, c)
            Encoded rows.

        Returns
        -------
        ndarray or list of ndarray
            Values of the method, in its own shape.
        """
        values = self.encoding.respond(encoded)
        return np.asarray(as_array(values)).reshape(len(encoded)) if self.squeeze else values

    def predict(self, encoded: Any) -> np.ndarray:
        """Values to be explained.

        Parameters
        ----------
        encoded : ndarray or data frame of shape (n, c)
            Encoded rows.

        Returns
        -------
        ndarray of shape (n, m)
            Values, float64.

        Raises
        ------
        ValueError
            If the estimator gives labels rather than numbers.
        """
        values = _columns_of(self.encoding.respond(encoded), len(encoded))
        return self._no_labels(values)

    def _no_labels(self, values: np.ndarray) -> np.ndarray:
        """Values as float64, unless they are labels; those of two numbers may be averaged."""
        found = self.classes if isinstance(self.classes, list) else [self.classes]
        labels = self.response_method == "predict" and self.classes is not None
        if not (labels and max(map(len, found)) > 2):
            try:
                return values.astype(np.float64)
            except (ValueError, TypeError):
                pass
        raise ValueError(_labels_given(self.estimator, values.flat[0]))


def model_of(
    estimator: Any,
    X: Any,
    *,
    background: Any = None,
    response_method: str = "auto",
    name: str = "X",
) -> Model:
    """See a fitted estimator as a function of exchangeable columns.

    Pipelines are taken apart where that is exact: the transformers are probed with rows whose
    columns are exchanged, never judged by their names. What the parts give is held against the
    estimator's own predictions, and where it differs, the estimator is taken as a whole.

    Parameters
    ----------
    estimator : estimator or callable
        A fitted estimator, pipeline, search, or a function from rows to an array (n,) or (n, m).
    X : array-like, data frame, sparse matrix or torch.Tensor of shape (n_samples, n_features)
        Rows such as will be explained; strings, categories and missing values are welcome if the
        estimator takes them. An encoding is trusted as far as it holds for these rows.
    background : like X, default=None
        Further such rows, with which columns will be exchanged.
    response_method : {"auto", "predict", "predict_proba", "decision_function"}, default="auto"
        What is explained. "auto" takes ``predict_proba`` of classifiers, else their
        ``decision_function``, and ``predict`` of everything else.
    name : str, default="X"
        What errors call X.

    Returns
    -------
    Model
        The function.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If it lacks the method, or if X lacks columns or has too many.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from thetalearn import LinearRegressor
    >>> from thetalearn.inspection.importance.model.model import mixed, model_of
    >>> X = np.random.RandomState(0).normal(size=(50, 2))
    >>> fitted = make_pipeline(StandardScaler(), LinearRegressor()).fit(X, X[:, 0] - X[:, 1])
    >>> model = model_of(fitted, X)
    >>> encoded = model.encode(X)
    >>> exchanged = mixed(encoded, np.array([[3, 4]]))  # x0 of row 3, x1 of row 4
    >>> np.allclose(model.predict(exchanged), X[3, 0] - X[4, 1])
    True
    """
    method = _method(estimator, response_method)
    inputs = Inputs.of(estimator, X, name)
    table = inputs.like
    if background is not None:
        table = stacked(table, inputs.align(background, "background"))
    return _made(estimator, method, inputs, table)


def _made(
    estimator: Any, method: str | None, inputs: Inputs, table: Any, exchange: Any = None
) -> Model:
    """A model whose encoding stands the test of these rows, and of one exchange if it is given."""
    spread = np.linspace(0, len(table) - 1, CHECKED_ROWS).astype(int)
    some = taken(table, np.union1d(spread, _few(notable_rows(table), CHECKED_ROWS)))
    rows = fitted_like(estimator, some)
    own = estimator(rows) if method is None else getattr(estimator, method)(rows)
    values = _columns_of(own, len(some))
    encoding = _first_that_agrees(encodings(estimator, table, method), some, values, exchange)
    encoded = encoding.encode(some)
    classes = getattr(estimator, "classes_", None)
    return Model(
        names=inputs.names,
        owners=encoding.owners,
        n_outputs=values.shape[1],
        output_names=_output_names(classes, values.shape[1]),
        squeeze=not isinstance(own, list) and np.ndim(own) == 1,
        form=_form(encoding, encoded, values),
        response_method=method or "predict",
        numeric=isinstance(encoded, np.ndarray) and encoded.dtype in (np.float64, np.float32),
        n_encoded=encoded.shape[1],
        classes=classes,
        estimator=estimator,
        inputs=inputs,
        rows=table,
        encoding=encoding,
    )


def _method(estimator: Any, response_method: str) -> str | None:
    """Name of the method; None for a function."""
    if response_method not in ("auto", *METHODS):
        raise ValueError(
            f"response_method={response_method!r} is not known: choose 'auto', "
            + ", ".join(repr(name) for name in METHODS)
        )
    if isinstance(estimator, type):
        raise ValueError(f"estimator={estimator.__name__} is a class: give a fitted instance of it")
    if isinstance(estimator, BaseEstimator):
        check_is_fitted(estimator)
    offered = [name for name in METHODS if hasattr(estimator, name)]
    if not offered and callable(estimator):
        if response_method in ("auto", "predict"):
            return None
        raise ValueError(
            f"response_method={response_method!r} needs an estimator, but estimator is a function: "
            "leave response_method at 'auto'"
        )
    name = type(estimator).__name__
    if not offered:
        raise ValueError(
            f"estimator={name} has no method that predicts: give a fitted regressor or classifier, "
            "a pipeline or search (refit=True) that ends in one, or a function"
        )
    if response_method == "auto":
        classifier = hasattr(estimator, "classes_")
        order = ("predict_proba", "decision_function", "predict") if classifier else METHODS
        return next(each for each in order if each in offered)
    if response_method not in offered:
        raise ValueError(
            f"response_method={response_method!r} is not a method of {name}: choose "
            + " or ".join(repr(each) for each in offered)
        )
    return response_method


def _few(rows: np.ndarray, n: int) -> np.ndarray:
    """At most n of the rows, evenly spread."""
    return rows if len(rows) <= n else rows[np.linspace(0, len(rows) - 1, n).astype(int)]


def _exchange(new: Any, known: Any, random: np.random.RandomState) -> tuple[Any, np.ndarray]:
    """Rows, and which of them each column is taken from: new or known ones, and the reverse."""
    spread = _few(np.arange(len(new)), EXCHANGED_ROWS // 4)
    notable = _few(notable_rows(new), EXCHANGED_ROWS // 4)
    # A few rows that stand out take part with several masks each.
    every = np.concatenate([spread, np.resize(notable, max(len(notable), LEAST_MASKS))])
    chosen, first = np.unique(every, return_inverse=True)
    partners = random.randint(len(known), size=len(chosen))
    second = len(chosen) + random.randint(len(chosen), size=len(first))
    mask = random.rand(len(first), new.shape[1]) < 0.5
    masks = np.concatenate([mask, ~mask])
    index = np.where(masks, np.tile(first, 2)[:, None], np.tile(second, 2)[:, None])
    return stacked(taken(new, chosen), taken(known, partners)), index


def _first_that_agrees(
    candidates: Iterator[Encoding], table: Any, values: np.ndarray, exchange: Any
) -> Encoding:
    """The first encoding that gives the estimator's own values; the last one always does."""
    for encoding in candidates:
        if encoding.exact:
            return encoding
        # An estimator may refuse rows whose type has changed.
        try:
            found = _columns_of(encoding.respond(encoding.encode(table)), len(table))
        except (ValueError, TypeError, AttributeError, LookupError, RuntimeError):
            continue
        if not _agree(found, values, 1e-5):
            continue
        if exchange is None or encoding.exchanges(*exchange):
            return encoding
    raise AssertionError("the estimator as a whole is always a candidate")


def _agree(
    found: np.ndarray, values: np.ndarray, tolerance: float, least_size: float = 0.0
) -> bool:
    """Whether two matrices are the same but for rounding."""
    if found.shape != values.shape:
        return False
    if values.dtype.kind not in "fiub" or found.dtype.kind not in "fiub":
        return bool((found == values).all())
    size = np.abs(values[np.isfinite(values)]).max(initial=least_size)
    return np.allclose(found, values, rtol=tolerance, atol=tolerance * size, equal_nan=True)


def _form(encoding: Encoding, encoded: Any, values: np.ndarray) -> Form | None:
    """The form of the values, if there is one and it gives them."""
    form = encoding.form()
    shape = encoded.shape[1], values.shape[1]
    if form is None or (form.n_columns, form.n_outputs) != shape:
        return None
    with torch.no_grad():
        found = form(as_tensor(encoded).to(form.device)).double().cpu().numpy()
    single = form.dtype == torch.float32 or encoded.dtype == np.float32
    # Where the parts of a value cancel, as they do at the mean, rounding is that of the parts.
    parts = form.constant if isinstance(form, SumForm) else getattr(form, "coef", torch.zeros(1))
    if _agree(found, values, 1e-3 if single else 1e-6, float(parts.abs().max())):
        return form
    last = encoding.parts.last
    if hasattr(last, "functional_form"):
        warn_user(
            f"functional_form of {type(last).__name__} gives other values than the estimator does "
            f"and is not used: correct it, or let it return None for {encoding.method!r}",
            UserWarning,
        )
    return None


def _columns_of(values: Any, n_rows: int) -> np.ndarray:
    """Values of any shape as a matrix; several targets' probabilities side by side."""
    if isinstance(values, list) and values and np.ndim(values[0]) == 2:
        values = np.concatenate(values, axis=1)
    array = np.asarray(values.toarray() if issparse(values) else as_array(values))
    matrix = array[:, None] if array.ndim == 1 else array
    if matrix.ndim != 2 or len(matrix) != n_rows:
        raise ValueError(
            f"the estimator gives values of shape {array.shape} for {n_rows} rows: it must give "
            "(n_samples,) or (n_samples, n_outputs)"
        )
    return matrix


def _labels_given(estimator: Any, label: Any) -> str:
    """What to do about an estimator that gives labels."""
    label = label.item() if isinstance(label, np.generic) else label
    offered = [repr(each) for each in METHODS[1:] if hasattr(estimator, each)]
    remedy = (
        "choose " + " or ".join(offered)
        if offered
        else "it has no 'predict_proba' and no 'decision_function', so explain where one label is "
        f"predicted, with the function lambda X: estimator.predict(X) == {label!r}"
    )
    return (
        f"response_method='predict' of {type(estimator).__name__} gives labels such as {label!r}, "
        f"which have no averages: {remedy}"
    )


def _output_names(classes: Any, n_outputs: int) -> list[str] | None:
    """What the outputs are called."""
    if n_outputs == 1:
        return None
    if isinstance(classes, list):
        pairs = [f"y{k}={label}" for k, labels in enumerate(classes) for label in labels]
        if len(pairs) == n_outputs:
            return pairs
    elif classes is not None and len(classes) == n_outputs:
        return [str(label) for label in classes]
    return [f"y{k}" for k in range(n_outputs)]
