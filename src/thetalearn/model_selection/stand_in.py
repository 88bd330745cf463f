"""What scikit-learn's own function is shown in place of X and of an estimator yet to be fitted."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import get_config

from ..fusion import ReplicaFit
from .protocol import RESPONSE_METHODS, predicts_together
from .tasks import n_bytes_of, n_rows_of, rows_of

__all__ = ["Blocks", "Responses", "RowsOf", "fitted", "twin"]


class Blocks:
    """Rows of X that several candidates are scored on, each set of rows cut out once.

    Parameters
    ----------
    X : array-like
        The data.
    max_bytes : int
        Memory of the sets that are kept.
    """

    def __init__(self, X: Any, max_bytes: int) -> None:
        self.X = X
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[int, tuple[Any, Any, int]] = OrderedDict()

    def get(self, rows: np.ndarray) -> Any:
        """The rows; the same object for the same numbers, while there is room."""
        key = id(rows)
        if key in self._kept and self._kept[key][0] is rows:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        block = self.cut(rows)
        size = n_bytes_of(block)
        self._kept[key] = rows, block, size
        self._bytes += size
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, (_, _, freed) = self._kept.popitem(last=False)
            self._bytes -= freed
        return block

    def cut(self, rows: np.ndarray) -> Any:
        """The rows, anew."""
        return rows_of(self.X, np.asarray(rows))


class RowsOf:
    """Stands for X, or y, where rows are taken: no training rows are copied for a fit that is made.

    Parameters
    ----------
    blocks : Blocks
        The data.
    train, test : array-like of int
        The split. Any other index goes to X itself.
    with_training_rows : bool
        Whether the training rows will be looked at.
    anew : bool
        Whether rows are cut anew each time, for somebody who may change them.
    """

    def __init__(
        self, blocks: Blocks, train: Any, test: Any, *, with_training_rows: bool, anew: bool
    ) -> None:
        self._blocks, self._train, self._test = blocks, train, test
        self._with_training_rows = with_training_rows
        self._cut = blocks.cut if anew else blocks.get
        self.shape = blocks.X.shape if hasattr(blocks.X, "shape") else (len(blocks.X),)

    def __len__(self) -> int:
        return n_rows_of(self._blocks.X)

    def __getitem__(self, key: Any) -> Any:
        rows = key[0] if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis else key
        if _same(rows, self._test):
            return self._cut(self._test)
        if _same(rows, self._train):
            return self._cut(self._train) if self._with_training_rows else None
        return rows_of(self._blocks.X, rows)

    @property
    def iloc(self) -> RowsOf:
        """Rows by number; scikit-learn finds this, and looks no further for kinds of tables."""
        return self

    loc = iloc

    def take(self, rows: Any, axis: int = 0) -> Any:
        """Rows by number."""
        return self[rows]


def _same(a: Any, b: Any) -> bool:
    return a is b or (np.shape(a) == np.shape(b) and bool(np.array_equal(a, b)))


class Responses:
    """What fitted estimators answer for blocks of rows, computed for all of them at once.

    Parameters
    ----------
    estimators : sequence of object
        Fitted to the same rows, of one class: the last steps where there are pipelines.
    encode : callable or None
        What precedes them in their pipelines, applied to rows.
    max_bytes : int
        Memory of the answers to one question.
    n_outputs : int, default=1
        Number of targets.
    """

    #: Test rows and training rows take turns.
    MAX_BLOCKS = 2

    def __init__(
        self,
        estimators: Sequence[Any],
        encode: Callable[[Any], Any] | None,
        max_bytes: int,
        n_outputs: int = 1,
    ) -> None:
        # Twins, since the estimators themselves will look in here.
        self._estimators, self._encode = [twin(one) for one in estimators], encode
        self._blocks: list[_Block] = []
        self._max_bytes, self._n_outputs = max_bytes, n_outputs

    def encoded(self, X: Any) -> Any:
        """Rows as the estimators take them."""
        return self._block(X).encoded

    def of_rows(self, k: int, method: str, X: Any) -> Any:
        """What a pipeline with estimator k answers."""
        return self._answer(k, method, self._block(X))

    def of_encoded_rows(self, k: int, method: str, X: Any) -> Any:
        """What estimator k answers."""
        for block in self._blocks:
            if block.encoded is X:
                return self._answer(k, method, block)
        return self._alone(k, method, X)

    def _block(self, X: Any) -> _Block:
        for block in self._blocks:
            if block.rows is X:
                return block
        # A transformer may write in place.
        block = _Block(X, X if self._encode is None else self._encode(copied(X)), {})
        self._blocks = [*self._blocks[1 - self.MAX_BLOCKS :], block]
        return block

    def _answer(self, k: int, method: str, block: _Block) -> Any:
        first, answers = block.answers.get(method, (0, []))
        if not first <= k < first + len(answers):
            some = slice(k, k + self._at_once(block.encoded))
            answers = self._together(some, method, block.encoded)
            block.answers[method] = k, answers
            first = k
        answer = answers[k - first]
        return self._alone(k, method, block.encoded) if answer is None else answer

    def _at_once(self, X: Any) -> int:
        """Estimators whose answers fit the memory; they are asked in their order."""
        classes = getattr(self._estimators[0], "classes_", [0])
        outputs = self._n_outputs * len(classes)
        # Once more while they are made.
        return max(2, self._max_bytes // (16 * outputs * max(n_rows_of(X), 1)))

    def _alone(self, k: int, method: str, X: Any) -> Any:
        return getattr(self._estimators[k], method)(X)

    def _together(self, some: slice, method: str, X: Any) -> list[Any]:
        """Answers of some; None for one who has to answer alone."""
        asked = self._estimators[some]
        nothing = [None] * len(asked)
        if len(asked) < 2 or not predicts_together(type(asked[0])):
            return nothing
        try:
            return type(asked[0]).predict_replicas(asked, X, method) or nothing
        except Exception:
            # Whatever it was: the estimator's own method raises it where scikit-learn expects it.
            return nothing


def twin(estimator: Any) -> Any:
    """An estimator with the same attributes, which outlive those of the first."""
    other = object.__new__(type(estimator))
    vars(other).update(vars(estimator))
    return other


def copied(X: Any) -> Any:
    """Rows that may be written to."""
    return X.copy() if hasattr(X, "copy") else copy.deepcopy(X)


@dataclass
class _Block:
    """Rows of X, the same rows encoded, and by method the answers of some, from a first on."""

    rows: Any
    encoded: Any
    answers: dict[str, tuple[int, list[Any]]]


class _Answer:
    """A method of one estimator that looks into the answers of all."""

    def __init__(
        self, look: Callable[[int, str, Any], Any], k: int, estimator: Any, name: str
    ) -> None:
        self._look, self._k, self._estimator, self.__name__ = look, k, estimator, name

    def __call__(self, X: Any, *further: Any, **params: Any) -> Any:
        if further or params:
            return getattr(type(self._estimator), self.__name__)(
                self._estimator, X, *further, **params
            )
        return self._look(self._k, self.__name__, X)


@contextmanager
def fitted(
    estimator: Any,
    last: Any,
    state: dict[str, Any],
    fit: ReplicaFit,
    responses: Responses | None,
    registry: dict[Any, Any],
    k: int = 0,
) -> Iterator[None]:
    """Let an estimator's ``fit`` find what has been fitted, within the block.

    Parameters
    ----------
    estimator : object
        The clone that scikit-learn has made.
    last : object
        Its last step, if it is a pipeline, else the same.
    state : dict
        Attributes that fitting gives it.
    fit : ReplicaFit
        The fit, whose warnings are shown and whose error is raised.
    responses : Responses or None
        What the estimators of this block answer; None if the scorer must see the estimator alone.
    registry : dict
        Warnings that have been shown.
    k : int, default=0
        Its place in ``responses``.
    """

    def find(*data: Any, **params: Any) -> Any:
        # A scorer may fit it again, or pickle it.
        del vars(estimator)["fit"]
        for caught in fit.warnings:
            warnings.warn_explicit(
                caught.message, caught.category, caught.filename, caught.lineno, registry=registry
            )
        if fit.error is not None:
            raise fit.error
        vars(estimator).update(state)
        if responses is not None:
            answer(last, responses.of_encoded_rows if last is not estimator else responses.of_rows)
            if last is not estimator:
                answer(estimator, responses.of_rows)
                vars(estimator)["score"] = score
        return estimator

    def answer(target: Any, look: Callable[[int, str, Any], Any]) -> None:
        for name in RESPONSE_METHODS:
            if hasattr(target, name):
                vars(target)[name] = _Answer(look, k, target, name)

    def score(X: Any, y: Any = None, sample_weight: Any = None, **params: Any) -> Any:
        assert responses is not None
        if params or get_config()["enable_metadata_routing"]:
            return type(estimator).score(estimator, X, y, sample_weight, **params)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return last.score(responses.encoded(X), y, **weights)

    vars(estimator)["fit"] = find
    try:
        yield
    finally:
        for target in (estimator, last):
            for name in ("fit", "score", *RESPONSE_METHODS):
                vars(target).pop(name, None)
