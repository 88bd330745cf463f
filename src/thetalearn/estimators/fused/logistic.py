"""Logistic and softmax regressions that are fitted together: Newton's method on a stack of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..._sklearn_compat import safe_indexing
from ...fusion import NotFusable, ReplicaFit, Source, caught_warnings
from ...monitor import FitMonitor
from ...objectives.stacked_cross_entropy import (
    LEAST_BLOCK,
    StackedBinaryCrossEntropy,
    StackedCrossEntropy,
    StackedSoftmaxCrossEntropy,
    numbers_of_block,
)
from ...rows import as_array, row_blocks
from ...solvers.newton import Minimum
from ...solvers.stacked_newton import stacked_newton, thinning_depth
from ...threads import one_thread
from ..logistic import NEWTON_PARAMS, CrossEntropyClassifier, LogisticClassifier
from .overrides import FIT_STEPS, INPUT_STEPS, check_steps, replaced_step
from .row_sets import (
    RowSet,
    check_alone,
    check_dense,
    fit_alone,
    fits_by_source,
    row_groups,
    rows_without_remark,
    union_of,
    validated_rows,
)

__all__ = ["fit_logistic", "logistic_parameters", "predict_logistic"]

#: Models in one stack at most.
MAX_STACK = 256

#: Rows that a stack of several sets may visit in vain, for each row that counts; and the number of
#: parameters from which on that is too much.
WASTE, SMALL_WASTE, MANY_PARAMS = 0.5, 0.05, 100

#: Matrices of all parameters that a model needs at once: Hessian, scaled Hessian, factor, sums.
HESSIANS = 5

#: Vectors of all parameters that a model needs: iterates, steps and changes of the gradient.
VECTORS = 128

#: Copies of the rows and of the labels that are made on the way to a stack.
COPIES = 3

#: Decision values that are held at once, in bytes.
DECISION_BYTES = 2**23

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")

#: Steps of a fit and of predictions that only the package itself may replace.
STEPS = (*FIT_STEPS, "_objective", "_objective_options", "_centre")
RESPONSE_STEPS = (*INPUT_STEPS, "_decide_rows")


@dataclass(eq=False)
class LabelledSet(RowSet):
    """A set of rows with what its labels say."""

    labels: Tensor = field(default_factory=lambda: torch.empty(0))
    classes: np.ndarray = field(default_factory=lambda: np.empty(0))
    centre: Tensor | None = None


@dataclass(eq=False)
class Model:
    """One of the models of a stack."""

    fit: ReplicaFit
    rows: LabelledSet
    weight: Tensor | None
    monitor: FitMonitor = field(default_factory=FitMonitor)


def logistic_parameters(estimator: CrossEntropyClassifier) -> frozenset[str]:
    """Parameters in which models of a stack may differ."""
    check_alone(estimator)
    check_steps(type(estimator), STEPS)
    if estimator.solver == "newton-cg":
        raise NotFusable('solver="newton-cg" has no Hessians that could be made together')
    if estimator.warm_start and hasattr(estimator, "coef_"):
        raise NotFusable("warm_start=True: the fit goes on from the last one")
    return frozenset({"alpha", "class_weight", "tol", "max_iter"})


def fit_logistic(
    fits: Sequence[ReplicaFit], sources: Sequence[Source], memory_budget: int
) -> Iterator[list[ReplicaFit]]:
    """Fit each to its rows of its source."""
    for source, sound, failed in fits_by_source(fits, sources):
        if failed:
            yield failed
        if sound:
            yield from _SourceFits(source, sound, memory_budget).run()


class _SourceFits:
    """Fits to rows of one source."""

    def __init__(self, source: Source, fits: list[ReplicaFit], memory_budget: int) -> None:
        self.source, self.fits = source, fits
        self.probe, self.X, self.attributes = validated_rows(
            fits[0].estimator, lambda probe: probe._input_rows(source.X, reset=True)
        )
        check_dense(self.X)
        self.encoder = _Encoder(self.probe, source.y)
        #: Numbers that fit the memory.
        self.n_numbers = memory_budget // 8

    def run(self) -> Iterator[list[ReplicaFit]]:
        """Fit in stacks of many."""
        models: list[Model] = []
        for group in row_groups(self.fits):
            with one_thread():
                own = self._models(group)
            models.extend(own)
            modelled = {id(model.fit) for model in own}
            alone = [fit for fit in group if id(fit) not in modelled]
            if alone:
                yield fit_alone(alone, self.source)
            while len(models) >= MAX_STACK:
                yield from self._fit(models[:MAX_STACK])
                models = models[MAX_STACK:]
            if 4 * _n_labels(models) > self.n_numbers:
                yield from self._fit(models)
                models = []
        if models:
            yield from self._fit(models)

    def _models(self, group: list[ReplicaFit]) -> list[Model]:
        """Models on one set of rows; those that cannot be made are left out."""
        with caught_warnings() as caught:
            try:
                rows = self._labelled(group)
            except Exception:
                return []
        if caught:
            return []
        models: list[Model] = []
        for fit in group:
            same = [m for m in models if m.fit.estimator.class_weight == fit.estimator.class_weight]
            if same:
                models.append(Model(fit, rows, same[0].weight))
                continue
            self.probe.class_weight, self.probe.classes_ = fit.estimator.class_weight, rows.classes
            try:
                weight = self.probe._class_weighted(rows.labels, rows.weight)
            except Exception:
                continue
            models.append(Model(fit, rows, weight))
        return models

    def _labelled(self, group: list[ReplicaFit]) -> LabelledSet:
        every = np.asarray(group[0].rows)
        chosen = RowSet.of(self.probe, group)
        classes, labels = self.encoder.encode(every)
        if len(chosen.rows) < len(every):
            labels = labels[np.asarray(group[0].sample_weight) > 0]
        self.probe.classes_ = classes
        table = torch.from_numpy(labels)
        self.probe._check_classes(table)
        centre = self.probe._centre(self.X[torch.from_numpy(chosen.rows)])
        return LabelledSet(chosen.rows, chosen.weight, group, table, classes, centre)

    def _fit(self, models: list[Model]) -> Iterator[list[ReplicaFit]]:
        """Fit models in as few stacks as pay."""
        for stack in self._stacks(models):
            n_params = self._n_params(stack[0].rows)
            if self.probe.solver == "auto" and n_params > NEWTON_PARAMS:
                raise NotFusable(f"{n_params} parameters are found without Hessians, one by one")
            free, each = self._free(models), self._numbers_of_each(stack)
            # What is left, at least as much again, is for products and blocks of rows.
            size = max(free // (2 * each), 1)
            for start in range(0, len(stack), size):
                part = stack[start : start + size]
                if len(part) == 1:
                    fit_alone([part[0].fit], self.source)
                else:
                    with one_thread():
                        self._fit_stack(part, room=free - len(part) * each)
                yield [model.fit for model in part]

    def _free(self, models: list[Model]) -> int:
        """Numbers that fit the memory beside the labels of all models and the rows of a stack."""
        columns = COPIES * (self._width + models[0].rows.labels.shape[1])
        return self.n_numbers - _n_labels(models) - columns * len(self.X)

    def _numbers_of_each(self, stack: list[Model]) -> int:
        """Numbers that each model of a stack takes."""
        n_params = self._n_params(stack[0].rows)
        numbers = HESSIANS * n_params**2 + VECTORS * n_params
        if len({id(model.weight) for model in stack}) > 1 or len(_sets(stack)) > 1:
            numbers += 2 * len(self.X)  # its weights, and those of the models still at work
        return numbers + numbers_of_block(1, n_params // self._width, LEAST_BLOCK)

    def _stacks(self, models: list[Model]) -> list[list[Model]]:
        """Models on the same rows, and on several sets of rows where these are nearly the same."""
        groups: dict[Any, list[Model]] = {}
        for model in models:
            classes = model.rows.classes
            alike = model.rows.centre is None and self._depth(model.rows) == 0
            key = (
                classes.dtype.str,
                classes.tobytes() if classes.dtype != object else tuple(classes),
            )
            groups.setdefault((*key, None if alike else id(model.rows)), []).append(model)
        stacks: list[list[Model]] = []
        for group in groups.values():
            own: dict[int, list[Model]] = {}
            for model in group:
                own.setdefault(id(model.rows), []).append(model)
            # Together they need weights of each model, so that fewer may fit the memory.
            at_once = self._free(models) // (2 * self._numbers_of_each(group))
            fits = at_once >= min(len(group), max(map(len, own.values())))
            together = self._nearly_same_rows(group) and fits
            stacks.extend([group] if together else own.values())
        return stacks

    def _depth(self, rows: LabelledSet) -> int:
        return thinning_depth(len(rows.rows), self._n_params(rows))

    def _n_params(self, rows: LabelledSet) -> int:
        n_logits = 1 if isinstance(self.probe, LogisticClassifier) else rows.labels.shape[1]
        return n_logits * self._width

    @property
    def _width(self) -> int:
        return int(self.X.shape[1]) + bool(self.probe.fit_intercept)

    def _nearly_same_rows(self, models: list[Model]) -> bool:
        """Whether visiting all rows for each of the models costs little more than its own rows."""
        n_union = len(union_of(_sets(models), len(self.X)))
        waste = WASTE if self._n_params(models[0].rows) < MANY_PARAMS else SMALL_WASTE
        return len(models) * n_union <= (1 + waste) * sum(len(m.rows.rows) for m in models)

    def _fit_stack(self, models: list[Model], room: int) -> None:
        objective, depth = self._objective(models, room)

        def report(k: int, record: dict[str, float]) -> None:
            models[k].monitor(record)

        start = objective.rows.new_zeros(len(models), objective.n_params)
        found = stacked_newton(
            objective,
            start,
            tol=np.array([float(m.fit.estimator.tol) for m in models]),
            max_iter=np.array([int(m.fit.estimator.max_iter) for m in models]),
            depth=depth,
            report=report,
        )
        for model, minimum in zip(models, found, strict=True):
            self._finish(model, minimum)

    def _objective(self, models: list[Model], room: int) -> tuple[StackedCrossEntropy, int]:
        """The objective of a stack, and how often it is thinned."""
        sets = _sets(models)
        if len(sets) == 1:
            rows, labels, depth = sets[0].rows, sets[0].labels, self._depth(sets[0])
            weights = [model.weight for model in models]
            shared = all(weight is weights[0] for weight in weights)
            weight = weights[0] if shared else torch.stack([_ones(sets[0], w) for w in weights])
        else:
            rows, depth = union_of(sets, len(self.X)), 0
            labels = sets[0].labels.new_zeros(len(rows), sets[0].labels.shape[1])
            weight = labels.new_zeros(len(models), len(rows))
            for k, model in enumerate(models):
                places = torch.from_numpy(np.searchsorted(rows, model.rows.rows))
                labels[places] = model.rows.labels
                weight[k].index_add_(0, places, _ones(model.rows, model.weight))
        X = self.X[torch.from_numpy(rows)].to(torch.float64)
        if sets[0].centre is not None:
            X = X - sets[0].centre
        if self.probe.fit_intercept:
            X = torch.cat([X, X.new_ones(len(X), 1)], dim=1)
        binary = isinstance(self.probe, LogisticClassifier)
        kind = StackedBinaryCrossEntropy if binary else StackedSoftmaxCrossEntropy
        penalised = X.new_ones(self._width)
        if self.probe.fit_intercept and not self.probe.penalize_intercept:
            penalised[-1] = 0.0
        alpha = torch.tensor([float(m.fit.estimator.alpha) for m in models], dtype=torch.float64)
        n_logits = 1 if binary else labels.shape[1]
        ridge = (alpha[:, None, None] * penalised).expand(-1, n_logits, -1).reshape(len(models), -1)
        return kind(X, labels, weight, ridge, room=room), depth

    def _finish(self, model: Model, found: Minimum) -> None:
        """The attributes and warnings of a fit."""
        estimator, rows = model.fit.estimator, model.rows
        vars(estimator).update(self.attributes, classes_=rows.classes.copy())
        chosen = torch.from_numpy(rows.rows) if estimator.alpha == 0 else slice(0, 1)
        labels = rows.labels if estimator.alpha == 0 else rows.labels[:1]
        objective = estimator._objective(self.X[chosen], labels, None)
        objective.centre = rows.centre
        vars(estimator).update(estimator._public(found.theta, objective))
        estimator.n_iter_, estimator.converged_ = found.n_iter, found.converged
        estimator.history_ = model.monitor.history
        with model.fit.recording():
            estimator._warn_about(objective, found)


class _Encoder:
    """Labels of sets of rows; those of whole classes are encoded once for all sets."""

    def __init__(self, probe: Any, y: Any) -> None:
        self.probe, self.y = probe, y
        array = np.asarray(as_array(y))
        self._plain = array.ndim == 1 and array.dtype.kind in "biuUS"
        if self._plain:
            self._classes, self._codes = np.unique(array, return_inverse=True)
        self._first_classes: np.ndarray | None = None

    def encode(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Classes, and probabilities of each for each row, as `fit` finds them."""
        if self._plain and self._first_classes is not None:
            codes = self._codes[rows]
            n_classes = len(self._classes)
            present = np.bincount(codes, minlength=n_classes) > 0
            # scikit-learn warns of labels that look like numbers, which these do not.
            if present.all() and 2 * n_classes <= len(rows):
                return self._first_classes, np.eye(n_classes)[codes]
        classes, labels = self.probe._encode(safe_indexing(self.y, rows))
        if self._plain and np.array_equal(classes, self._classes):
            self._first_classes = classes
        return classes, labels


def _sets(models: list[Model]) -> list[LabelledSet]:
    """The sets of rows of models."""
    return list({id(model.rows): model.rows for model in models}.values())


def _n_labels(models: list[Model]) -> int:
    """Numbers in the labels that models hold, and their weights."""
    weights = {id(m.weight): m.weight for m in models if m.weight is not None}
    return sum(rows.labels.numel() for rows in _sets(models)) + sum(map(len, weights.values()))


def _ones(rows: RowSet, weight: Tensor | None) -> Tensor:
    """Weights of the rows, of one where there are none."""
    return torch.ones(len(rows.rows), dtype=torch.float64) if weight is None else weight


def predict_logistic(
    estimators: Sequence[CrossEntropyClassifier], X: Any, method: str
) -> list[Any] | None:
    """What a method of each estimator returns for X; all decision values are one product."""
    if method not in METHODS or len(estimators) < 2:
        return None
    if replaced_step(type(estimators[0]), (method, *RESPONSE_STEPS)):
        return None
    for estimator in estimators:
        check_is_fitted(estimator)
    first = estimators[0]
    if not all(_take_same_rows(first, estimator) for estimator in estimators):
        return None
    rows = rows_without_remark(first, X)
    if not isinstance(rows, Tensor):
        return None
    n_logits = len(first.coef_)
    size = max(DECISION_BYTES // (8 * max(len(rows), 1) * n_logits), 1)
    out: list[Any] = []
    for start in range(0, len(estimators), size):
        part = estimators[start : start + size]
        logits = _stacked_logits(part, rows)
        for k, estimator in enumerate(part):
            own = logits[:, k * n_logits : (k + 1) * n_logits]
            out.append(_answer(estimator, rows, own, X, method))
    return out


def _take_same_rows(first: Any, other: Any) -> bool:
    """Whether two estimators see the same rows in X."""
    names: list[Any] = [getattr(e, "feature_names_in_", None) for e in (first, other)]
    return bool(
        type(first) is type(other)
        and first.coef_.shape == other.coef_.shape
        and first.device == other.device
        and (names[0] is None) == (names[1] is None)
        and (names[0] is names[1] or np.array_equal(names[0], names[1]))
    )


def _stacked_logits(estimators: Sequence[Any], rows: Tensor) -> Tensor:
    """Logits of all estimators side by side."""
    tables = torch.cat([estimator._parameters() for estimator in estimators]).to(rows.device)
    logits = tables.new_empty(len(rows), len(tables))
    for block in row_blocks(len(rows), 8 * (rows.shape[1] + len(tables))):
        part = rows[block].to(torch.float64)
        logits[block] = torch.addmm(tables[:, -1], part, tables[:, :-1].T)
    return logits


def _answer(estimator: Any, rows: Tensor, logits: Tensor, X: Any, method: str) -> Any:
    """What a method makes of decision values that are known already."""
    if logits.shape[1] == 1:
        scores = logits[:, 0]
    elif logits.shape[1] == 2:
        scores = logits[:, 1] - logits[:, 0]
    else:
        scores = logits
    knowing = copy.copy(estimator)
    knowing._input_rows = lambda X, reset: rows
    knowing._decide_rows = lambda X: scores
    return getattr(knowing, method)(X)
