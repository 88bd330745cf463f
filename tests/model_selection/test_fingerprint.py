"""Parameters have equal keys if, and only if, they make no difference to a fit."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from contextlib import suppress
from inspect import isabstract
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from thetalearn.model_selection.fingerprint import fingerprint
from thetalearn.objectives import losses
from thetalearn.representations.networks import activations
from thetalearn.solvers.gradient import optimizers, schedules


def union() -> FeatureUnion:
    return FeatureUnion([("a", StandardScaler()), ("b", make_pipeline(StandardScaler()))])


def columns(names: list[str] | list[int]) -> ColumnTransformer:
    return ColumnTransformer([("a", StandardScaler(), names), ("b", "drop", [1])])


#: Each makes the same value whenever it is called, and none makes that of another.
VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "one": lambda: 1,
    "one as a float": lambda: 1.0,
    "true": lambda: True,
    "word": lambda: "one",
    "missing": lambda: float("nan"),
    "tuple": lambda: (1, 2),
    "list": lambda: [1, 2],
    "nested": lambda: [1, [2, {"a": np.ones(2)}]],
    "dict": lambda: {"a": 1, "b": [2]},
    "set": lambda: frozenset({1, 2}),
    "array": lambda: np.arange(3),
    "array of floats": lambda: np.arange(3.0),
    "column": lambda: np.arange(3.0)[:, None],
    "every other": lambda: np.arange(6.0)[::2],
    "sparse": lambda: sp.csr_array(np.eye(3)),
    "sparse by columns": lambda: sp.csc_array(np.eye(3)),
    "generator": lambda: np.random.RandomState(0),
    "other generator": lambda: np.random.RandomState(1),
    "function": lambda: np.log1p,
    "class": lambda: StandardScaler,
    "scaler": StandardScaler,
    "other scaler": lambda: StandardScaler(with_std=False),
    "frames": lambda: StandardScaler().set_output(transform="pandas"),
    "pipeline": lambda: make_pipeline(StandardScaler(), Ridge()),
    "other pipeline": lambda: make_pipeline(StandardScaler(), LinearRegression()),
    "passthrough": lambda: make_pipeline("passthrough", Ridge()),
    "union": union,
    "columns": lambda: columns(["x"]),
    "other columns": lambda: columns([0]),
    "function transformer": lambda: FunctionTransformer(np.log1p, kw_args={"where": True}),
    "other arguments": lambda: FunctionTransformer(np.log1p, kw_args={"where": False}),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_same_value_made_again_has_the_same_key(name: str) -> None:
    assert fingerprint(VALUES[name]()) == fingerprint(VALUES[name]())
    assert hash(fingerprint(VALUES[name]())) == hash(fingerprint(VALUES[name]()))
    assert fingerprint(VALUES[name]()) == fingerprint(clone(VALUES[name](), safe=False))


def test_different_values_have_different_keys() -> None:
    keys = {name: fingerprint(make()) for name, make in VALUES.items()}
    same = [(a, b) for a, b in combinations(keys, 2) if keys[a] == keys[b]]
    assert same == []


def test_a_generator_that_has_moved_is_another() -> None:
    random = np.random.RandomState(0)
    before = fingerprint(random)
    random.uniform()
    assert fingerprint(random) != before


def test_what_cannot_be_compared_is_the_same_as_itself_alone() -> None:
    class Opaque:
        __hash__ = None  # type: ignore[assignment]

    one, other = Opaque(), Opaque()
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)
    objects = np.array([one, "a"], dtype=object)
    assert fingerprint(objects) == fingerprint(objects)


def test_requests_for_metadata_are_part_of_an_estimator() -> None:
    from sklearn import config_context

    with config_context(enable_metadata_routing=True):
        asking = StandardScaler().set_fit_request(sample_weight=True)
    assert fingerprint(asking) != fingerprint(StandardScaler())


def ready_made() -> list[Any]:
    """Everything of ours that may stand in a parameter and needs no arguments."""
    made = []
    for module in (optimizers, schedules, losses, activations):
        for kind in vars(module).values():
            if (
                (
                    isinstance(kind, type)
                    and kind.__module__ == module.__name__
                    and ABC in kind.__mro__
                )
                and not kind.__name__.startswith("_")
                and not isabstract(kind)
            ):
                with suppress(TypeError):
                    made.append(kind())
    return made


@pytest.mark.parametrize("value", ready_made(), ids=lambda value: type(value).__name__)
def test_optimizers_schedules_losses_and_activations_are_compared_by_value(value: Any) -> None:
    assert fingerprint(value) == fingerprint(clone(value, safe=False))


numbers = st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none())
nested = st.recursive(numbers, lambda part: st.lists(part) | st.dictionaries(st.text(), part))


@settings(deadline=None, max_examples=50)
@given(value=nested)
def test_copies_have_equal_keys(value: Any) -> None:
    assert fingerprint(value) == fingerprint(clone(value, safe=False))


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.floats(width=32), min_size=1), place=st.integers(0, 100))
def test_one_number_makes_another_array(values: list[float], place: int) -> None:
    array = np.array(values)
    other = array.copy()
    k = place % len(array)
    other[k] = 0.5 if other[k] != 0.5 else 2.0
    assert fingerprint(array) == fingerprint(array.copy())
    assert fingerprint(array) != fingerprint(other)
