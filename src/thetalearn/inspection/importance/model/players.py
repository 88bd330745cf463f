"""Players: the columns, or groups of columns, to which importance is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Players", "resolve_players"]

#: Columns of a group without a name of its own that are written out.
WRITTEN_OUT = 3


@dataclass(frozen=True)
class Players:
    """Columns, or groups of columns, with names.

    Parameters
    ----------
    names : list of str
        Names of the players.
    columns : list of ndarray of int
        For each player the positions of its input columns.

    Examples
    --------
    >>> from thetalearn.inspection.importance.model.players import resolve_players
    >>> players = resolve_players(["a", "b", "c"], groups={"ab": ["a", "b"]})
    >>> players.names, [each.tolist() for each in players.columns]
    (['ab', 'c'], [[0, 1], [2]])
    """

    names: list[str]
    columns: list[np.ndarray]

    def __len__(self) -> int:
        """Number of players."""
        return len(self.names)

    def encoded(self, owners: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encoded columns of each player.

        Parameters
        ----------
        owners : sequence of ndarray of int
            For each input column its encoded columns, as ``owners`` of a `Model`.

        Returns
        -------
        list of ndarray of int
            The encoded columns of all input columns of a player.
        """
        return owned(self.columns, owners)


def owned(columns: Sequence[np.ndarray], owners: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The encoded columns of all input columns of each player."""
    nothing = np.empty(0, dtype=np.int64)
    return [np.concatenate([nothing, *(owners[j] for j in own)]) for own in columns]


def resolve_players(
    names: Sequence[str],
    features: Any = None,
    groups: Any = None,
    *,
    overlapping: bool = False,
) -> Players:
    """Who the players are.

    Parameters
    ----------
    names : sequence of str
        Names of the input columns.
    features : sequence, default=None
        Which players, in which order: names of columns or of groups, positions of columns, or
        lists of these, each a group; or a bool for each column. None for all.
    groups : dict of str to list, or list of lists, default=None
        Columns, by names or positions, that are one player. Columns in no group are players of
        their own. A player stands where its first column does.
    overlapping : bool, default=False
        Whether a column may belong to several players.

    Returns
    -------
    Players
        Names and columns.

    Raises
    ------
    ValueError
        If a column is not known or named twice, a group is empty, or two players share a column
        or a name.

    Examples
    --------
    >>> from thetalearn.inspection.importance.model.players import resolve_players
    >>> resolve_players(["a", "b", "c"], [["a", 2], "b"]).names
    ['a, c', 'b']
    """
    labels = _labels([str(name) for name in names])
    grouped = _grouped(labels, groups)
    found = list(grouped.items()) if features is None else _picked(labels, features, grouped)
    _check(labels.names, found, overlapping)
    return Players([name for name, _ in found], [columns for _, columns in found])


@dataclass(frozen=True)
class _Labels:
    """Names of the columns, and where each is."""

    names: list[str]
    places: dict[str, int]


def _labels(names: list[str]) -> _Labels:
    """Names, those that repeat with their positions."""
    counts = Counter(names)
    names = [name if counts[name] == 1 else f"{name} ({j})" for j, name in enumerate(names)]
    return _Labels(names, {name: j for j, name in reversed(list(enumerate(names)))})


def _grouped(labels: _Labels, groups: Any) -> dict[str, np.ndarray]:
    """Groups and the columns outside them, by the position of their first column."""
    named = isinstance(groups, Mapping)
    pairs = []
    for key, columns in groups.items() if named else enumerate(groups or []):
        positions = _positions(labels, columns, f"groups[{key!r}]")
        pairs.append((str(key) if named else _group_name(labels.names, positions), positions))
    grouped = {int(j) for _, columns in pairs for j in columns}
    pairs += [(name, np.array([j])) for j, name in enumerate(labels.names) if j not in grouped]
    called = Counter(name for name, _ in pairs)
    if repeated := [name for name, count in called.items() if count > 1]:
        raise ValueError(
            f"groups: two players are called {repeated[0]!r}: give the group another name"
        )
    return dict(sorted(pairs, key=lambda pair: int(pair[1].min())))


def _picked(
    labels: _Labels, features: Any, grouped: Mapping[str, np.ndarray]
) -> list[tuple[str, np.ndarray]]:
    """The players that ``features`` asks for."""
    if _is_one(features):
        features = [features]
    features = list(features)
    if features and all(isinstance(each, bool | np.bool_) for each in features):
        n_columns = len(labels.names)
        if len(features) != n_columns:
            raise ValueError(
                f"features has {len(features)} bools for {n_columns} columns: give one for each"
            )
        features = [int(j) for j in np.flatnonzero(features)]
    if not features:
        raise ValueError("features is empty: name a column at least, or leave it at None for all")
    return [_player(labels, each, grouped) for each in features]


def _player(
    labels: _Labels, feature: Any, grouped: Mapping[str, np.ndarray]
) -> tuple[str, np.ndarray]:
    """Name and columns of one of ``features``."""
    if isinstance(feature, str):
        if feature in grouped:
            return feature, grouped[feature]
        return feature, _positions(labels, [feature], "features", grouped)
    columns = _positions(labels, feature, "features")
    if _is_one(feature):
        return labels.names[columns[0]], columns
    return _group_name(labels.names, columns), columns


def _positions(
    labels: _Labels, columns: Any, parameter: str, known: Iterable[str] | None = None
) -> np.ndarray:
    """Positions of columns that are given by name or position."""
    if _is_one(columns):
        columns = [columns]
    positions = [_position(labels, column, parameter, known) for column in columns]
    if not positions:
        raise ValueError(f"{parameter} is empty: name a column at least")
    if len(set(positions)) < len(positions):
        repeated = labels.names[Counter(positions).most_common(1)[0][0]]
        raise ValueError(f"{parameter} names the column {repeated!r} twice: name it once")
    return np.array(positions, dtype=np.int64)


def _is_one(columns: Any) -> bool:
    """Whether this is one column rather than several."""
    return isinstance(columns, str) or not isinstance(columns, Iterable)


def _position(labels: _Labels, column: Any, parameter: str, known: Iterable[str] | None) -> int:
    n_columns = len(labels.names)
    if isinstance(column, int | np.integer) and not isinstance(column, bool):
        if not -n_columns <= column < n_columns:
            raise ValueError(
                f"{parameter} names the column {column}, but there are {n_columns}: choose from 0 "
                f"to {n_columns - 1}"
            )
        return int(column) % n_columns
    if isinstance(column, bool | np.bool_) or str(column) not in labels.places:
        raise ValueError(
            f"{parameter} names the column {column!r}, which there is not: choose from "
            f"{labels.names if known is None else list(known)}"
        )
    return labels.places[str(column)]


def _group_name(names: list[str], columns: np.ndarray) -> str:
    """Name of a group that was given none."""
    written = ", ".join(names[j] for j in columns[:WRITTEN_OUT])
    return written if len(columns) <= WRITTEN_OUT else f"{written}, ... ({len(columns)} columns)"


def _check(names: list[str], players: list[tuple[str, np.ndarray]], overlapping: bool) -> None:
    """Refuse players that share a name or, unless they may, a column."""
    owner: dict[int, str] = {}
    seen: set[str] = set()
    for name, columns in players:
        for j in columns.tolist():
            if j in owner and not overlapping:
                raise ValueError(
                    f"the column {names[j]!r} belongs to two players, {owner[j]!r} and {name!r}: "
                    "give it to one of them"
                )
            owner[j] = name
        if name in seen:
            raise ValueError(f"features names {name!r} twice: name it once")
        seen.add(name)
