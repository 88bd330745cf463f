"""What the displays share: names, choices, colours, panels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

#: Letters of a name at most, and those of them that are its end.
LONG, ENDING = 32, 12

#: Inches of a panel.
PANEL = (3.4, 2.9)

#: Of Okabe and Ito, which the colour-blind tell apart.
DISTINCT = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")

#: What has no place in a scale of colours.
GREY = "0.6"


def shortened(name: Any) -> str:
    """A name that leaves room for the picture, without its middle if it is long."""
    text = str(name)
    return text if len(text) <= LONG else f"{text[: LONG - ENDING - 1]}…{text[-ENDING:]}"


def short_names(names: Sequence[Any]) -> list[str]:
    """Names that leave room for the picture; those that would become the same stay as they are."""
    short = [shortened(name) for name in names]
    counts = Counter(short)
    return [
        each if counts[each] == 1 else str(name) for name, each in zip(names, short, strict=True)
    ]


def checked_names(names: Sequence[Any] | None, count: int) -> list[str]:
    """Names of features, or those that scikit-learn gives to columns without names."""
    if names is None:
        return [f"x{place}" for place in range(count)]
    if len(names) != count:
        given = "1 name" if len(names) == 1 else f"{len(names)} names"
        wanted = "1 feature" if count == 1 else f"{count} features"
        raise ValueError(f"feature_names has {given} for {wanted}: give one for each")
    return [str(name) for name in names]


def checked_count(max_features: Any, count: int) -> int:
    """How many of the features to draw."""
    if max_features is None:
        return count
    if not isinstance(max_features, Integral) or int(max_features) < 1:
        raise ValueError(f"max_features={max_features!r} must be a positive integer or None")
    return min(int(max_features), count)


def chosen(option: str, choice: Any, names: Sequence[str]) -> int:
    """Position of what is chosen by its name or its position."""
    if isinstance(choice, str):
        if choice in names:
            return list(names).index(choice)
    elif isinstance(choice, Integral) and -len(names) <= int(choice) < len(names):
        return int(choice) % len(names)
    raise ValueError(
        f"{option}={choice!r} must be a position below {len(names)} or one of "
        f"{', '.join(map(repr, names))}"
    )


def chosen_output(choice: Any, names: Sequence[str]) -> int:
    """Position of the output asked for: by default the only one, or the second class of two.

    A class that is a number is meant before the position of this number.
    """
    if choice is not None:
        return chosen("output", str(choice) if str(choice) in names else choice, names)
    if len(names) > 2:
        raise ValueError(
            f"output must be given, as there are {len(names)}: one of {', '.join(map(repr, names))}"
        )
    return len(names) - 1


def swarm(values: np.ndarray, low: float, high: float, n_bins: int = 120) -> np.ndarray:
    """Counts by which points step aside, alternately, from those before them in the same bin."""
    width = (high - low) / n_bins or 1.0
    bins = np.floor(np.nan_to_num((values - low) / width)).astype(np.int64)
    order = np.argsort(bins, kind="stable")
    _, first, counts = np.unique(bins[order], return_index=True, return_counts=True)
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values)) - np.repeat(first, counts)
    return (rank + 1) // 2 * np.where(rank % 2 == 1, 1, -1)


def panel_axes(ax: Any, count: int) -> list[Any]:
    """The axes given, one for each panel, or those of a new figure."""
    from matplotlib.axes import Axes

    if ax is None:
        import matplotlib.pyplot as plt

        n_columns = 2 if count == 4 else min(count, 3)
        n_rows = -(-count // n_columns)
        size = (5.4, 3.9) if count == 1 else (PANEL[0] * n_columns, PANEL[1] * n_rows)
        figure = plt.figure(figsize=size, layout="constrained")
        return [figure.add_subplot(n_rows, n_columns, place + 1) for place in range(count)]
    given = [ax] if isinstance(ax, Axes) else ax
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        raise TypeError(f"ax must be a matplotlib Axes or None, not {type(ax).__name__}")
    given = list(np.ravel(np.asarray(given, dtype=object)))
    for each in given:
        if not isinstance(each, Axes):
            raise TypeError(f"ax must hold matplotlib Axes, not {type(each).__name__}")
    if len(given) != count:
        raise ValueError(f"ax holds {len(given)} Axes for {count} panels: give one for each")
    return given
