"""What a search has tried and found: candidates, their parameters and their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

__all__ = ["Candidates", "ParameterAxis", "Scores"]

#: Letters of a value at most, on an axis and in a legend.
LONG = 24

#: Ratio of the largest to the smallest value from which an axis may be logarithmic.
DECADE = 10.0


@dataclass(frozen=True)
class Scores:
    """Scores of all candidates: means and standard deviations (n,), single folds (n, n_splits)."""

    mean: np.ndarray
    std: np.ndarray
    folds: np.ndarray


class Candidates:
    """The candidates of ``cv_results_``, in its order.

    Parameters
    ----------
    cv_results : mapping
        As in ``cv_results_``.
    metric : str
        Name behind ``"mean_test_"``.
    sign : int
        -1 turns scores into errors.

    Attributes
    ----------
    params : list of dict
        Parameters of each candidate.
    names : list of str
        All parameters.
    test, train : Scores or None
        Scores; None without training scores.
    iterations, resources : ndarray of shape (n,) or None
        Of a halving search, the iteration and what the fits of it were given.
    """

    def __init__(self, cv_results: Mapping[str, Any], metric: str, sign: int) -> None:
        self.params: list[dict[str, Any]] = list(cv_results["params"])
        self.names = list(dict.fromkeys(name for each in self.params for name in each))
        self.test = _scores(cv_results, "test", metric, sign)
        has_train = f"mean_train_{metric}" in cv_results
        self.train = _scores(cv_results, "train", metric, sign) if has_train else None
        self.sign = sign
        halved = "iter" in cv_results and "n_resources" in cv_results
        self.iterations = np.asarray(cv_results["iter"]) if halved else None
        self.resources = np.asarray(cv_results["n_resources"]) if halved else None

    def __len__(self) -> int:
        return len(self.params)

    def best_of(self, rows: np.ndarray) -> int:
        """The candidate with the best mean test score among rows; the first if all are NaN."""
        scores = self.sign * self.test.mean[rows]
        return int(rows[0] if np.isnan(scores).all() else rows[np.nanargmax(scores)])

    def best(self) -> int:
        """The best candidate of all, or of the last iteration."""
        rows = np.arange(len(self))
        if self.iterations is not None:
            rows = rows[self.iterations == self.iterations.max()]
        return self.best_of(rows)

    def keys(self, name: str) -> list[Any]:
        """What tells the values of a parameter apart; None for candidates without it."""
        return [_key(each[name]) if name in each else None for each in self.params]

    def varying(self, rows: np.ndarray | None = None) -> list[str]:
        """Parameters with more than one value among rows, those with most values first."""
        among = range(len(self)) if rows is None else rows
        counts = {}
        for name in self.names:
            keys = self.keys(name)
            counts[name] = len({keys[row] for row in among})
        return sorted((name for name in self.names if counts[name] > 1), key=lambda n: -counts[n])

    def named(self, name: str) -> str:
        """The full name of a parameter that is given in full or by its last part."""
        if name in self.names:
            return name
        fits = [full for full in self.names if full.endswith(f"__{name}")]
        if len(fits) == 1:
            return fits[0]
        problem = f"fits {', '.join(map(repr, fits))}" if fits else "was not searched"
        raise ValueError(
            f"params={name!r} {problem}: choose from {', '.join(map(repr, self.names))}"
        )

    def short(self, name: str) -> str:
        """The last part of a name, as long as no other parameter has it too."""
        last = name.rpartition("__")[2]
        alike = [full for full in self.names if full.rpartition("__")[2] == last]
        return last if len(alike) == 1 else name

    def groups(self, rows: np.ndarray, names: Sequence[str]) -> dict[tuple[Any, ...], np.ndarray]:
        """Rows that agree in some parameters."""
        keys = list(zip(*(self.keys(name) for name in names), strict=True))
        found: dict[tuple[Any, ...], list[int]] = {}
        for row in rows:
            found.setdefault(keys[row] if keys else (), []).append(int(row))
        return {key: np.array(each) for key, each in found.items()}

    def describe(self, row: int, names: Sequence[str]) -> str:
        """Some parameters of a candidate in words."""
        values = self.params[row]
        return ", ".join(f"{self.short(n)}={value_label(values[n])}" for n in names if n in values)


class ParameterAxis:
    """Where the values of a parameter lie on an axis.

    Parameters
    ----------
    candidates : Candidates
        All of them.
    name : str
        Full name of the parameter.

    Attributes
    ----------
    places : ndarray of shape (n,)
        Place of each candidate: its value, or the number of its category; NaN without one.
    scale : {"linear", "log", "category"}
        Kind of axis.
    numeric : bool
        Whether all values are numbers.
    cells : ndarray of shape (n,)
        Number of each candidate's value among all values; -1 without one.
    labels : list of str
        All values, in order.
    """

    def __init__(self, candidates: Candidates, name: str) -> None:
        self.label = candidates.short(name)
        keys = candidates.keys(name)
        values = {key: each[name] for key, each in zip(keys, candidates.params, strict=True) if key}
        order = sorted(values, key=_rank(list(values)))
        self.cells = np.array([order.index(key) if key else -1 for key in keys])
        self.labels = value_labels([values[key] for key in order])
        numeric = all(kind == "number" for kind, _ in values)
        self.numeric = numeric
        numbers = np.array([key[1] for key in order]) if numeric else np.empty(0)
        self.scale = _scale(numbers)
        along = np.arange(len(order), dtype=np.float64) if self.scale == "category" else numbers
        self.places = np.where(self.cells >= 0, along[self.cells], np.nan)


def value_labels(values: Sequence[Any]) -> list[str]:
    """Values in words, powers of ten alike."""
    tens = [_power_of_ten(value) for value in values]
    if len(tens) > 1 and None not in tens and (min(tens) < -2 or max(tens) > 3):
        return [f"$10^{{{power}}}$" for power in tens]
    return [value_label(value) for value in values]


def value_label(value: Any) -> str:
    """A value in words."""
    if _is_number(value):
        whole = float(value).is_integer() and abs(value) < 1e5
        return str(int(value)) if whole else f"{float(value):.3g}"
    text = getattr(value, "__name__", None) or " ".join(str(value).split())
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


def _power_of_ten(value: Any) -> Any:
    """The exponent of a power of ten, else None."""
    if not _is_number(value) or value <= 0:
        return None
    power = round(float(np.log10(float(value))))
    return power if np.isclose(float(value), 10.0**power, rtol=1e-9, atol=0) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_) and value == value


def _key(value: Any) -> tuple[str, Any]:
    return ("number", float(value)) if _is_number(value) else ("other", repr(value))


def _rank(keys: list[Any]) -> Callable[[Any], tuple[bool, float]]:
    """Order of values: numbers by size, then all else as it came."""
    places = {key: place for place, key in enumerate(keys)}
    return lambda key: (
        key[0] != "number",
        key[1] if key[0] == "number" else places[key],
    )


def _scale(numbers: np.ndarray) -> str:
    """How to space numbers: as they are, by their logarithms, or evenly."""
    if len(numbers) == 0 or not np.isfinite(numbers).all():
        return "category"
    positive = numbers[numbers > 0]
    if len(positive) < 3 or positive.max() < DECADE * positive.min():
        return "linear"
    if not _likely_logarithmic(positive):
        return "linear"
    return "log" if len(positive) == len(numbers) else "category"


def _likely_logarithmic(numbers: np.ndarray) -> bool:
    """Whether the numbers between the ends are likelier from a log-uniform density than a uniform.

    The densities on [a, b] are 1 / (x log(b / a)) and 1 / (b - a).
    """
    low, *inner, high = np.sort(numbers)
    mean = float(np.mean(np.log(inner)))
    return bool(mean + np.log(np.log(high / low)) < np.log(high - low))


def _scores(cv_results: Mapping[str, Any], part: str, metric: str, sign: int) -> Scores:
    """Scores on the test or the training rows."""
    mean = sign * np.asarray(cv_results[f"mean_{part}_{metric}"], dtype=np.float64)
    folds: list[np.ndarray] = []
    while (name := f"split{len(folds)}_{part}_{metric}") in cv_results:
        folds.append(sign * np.asarray(cv_results[name], dtype=np.float64))
    std = np.asarray(cv_results.get(f"std_{part}_{metric}", np.zeros(len(mean))), dtype=np.float64)
    return Scores(mean, std, np.array(folds).reshape(len(folds), len(mean)).T)
