"""Who the players are: columns, groups of columns, and how they are named."""

from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thetalearn.inspection.importance.model.players import resolve_players

NAMES = ["age", "size", "cost", "year"]


def resolved(*args, **kwargs):
    players = resolve_players(NAMES, *args, **kwargs)
    return dict(zip(players.names, [each.tolist() for each in players.columns], strict=True))


def test_every_column_is_a_player():
    assert resolved() == {"age": [0], "size": [1], "cost": [2], "year": [3]}


@pytest.mark.parametrize(
    "features",
    [["cost", "age"], [2, 0], np.array([2, 0]), [-2, "age"], np.array(["cost", "age"])],
    ids=["names", "positions", "array", "mixed", "array-of-names"],
)
def test_columns_by_name_and_position_in_their_order(features):
    assert list(resolved(features).items()) == [("cost", [2]), ("age", [0])]


def test_one_column_and_bools():
    assert resolved("size") == resolved(1) == {"size": [1]}
    assert resolved([False, True, False, True]) == {"size": [1], "year": [3]}


def test_groups_stand_at_their_first_column_and_leave_the_rest_alone():
    groups = {"when": ["year", "age"], "how much": [2]}
    expected = [("when", [3, 0]), ("size", [1]), ("how much", [2])]
    assert list(resolved(groups=groups).items()) == expected
    assert list(resolved(groups=[["year", 0]])) == ["year, age", "size", "cost"]
    assert resolved(["size", "when"], groups) == {"size": [1], "when": [3, 0]}


def test_groups_in_features_are_named_by_their_columns():
    assert resolved([["age", 3], "cost"]) == {"age, year": [0, 3], "cost": [2]}
    assert list(resolved([[0, 1, 2, 3]])) == ["age, size, cost, ... (4 columns)"]


def test_players_that_share_a_column():
    features = ["age", ["age", "size"]]
    assert resolved(features, overlapping=True) == {"age": [0], "age, size": [0, 1]}
    with pytest.raises(ValueError, match="'age' belongs to two players, 'age' and 'age, size'"):
        resolved(features)
    groups = {"a": [0, 1], "b": [1, 2]}
    assert resolved(groups=groups, overlapping=True) == {"a": [0, 1], "b": [1, 2], "year": [3]}
    with pytest.raises(ValueError, match="'size' belongs to two players, 'a' and 'b'"):
        resolved(groups=groups)


def test_columns_of_one_name_are_told_apart_by_position():
    players = resolve_players(["a", "b", "a"], groups=[["b", 2]])
    assert players.names == ["a (0)", "b, a (2)"]
    assert resolve_players(["a", "b", "a"], [2]).names == ["a (2)"]
    with pytest.raises(ValueError, match=r"choose from \['a \(0\)', 'b', 'a \(2\)'\]"):
        resolve_players(["a", "b", "a"], ["a"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["aeg"],), r"features names the column 'aeg', which there is not: choose from \['age', "),
        (([4],), "features names the column 4, but there are 4: choose from 0 to 3"),
        (([-5],), "features names the column -5"),
        ((["age", "age"],), "belongs to two players|'age' twice"),
        (([["age", 0]],), "features names the column 'age' twice"),
        (([],), "features is empty"),
        (([[]],), "features is empty"),
        (([True, False],), "features has 2 bools for 4 columns"),
        (([1.5],), "features.* 1.5"),
        ((None, {"g": ["aeg"]}), r"groups\['g'\] names the column 'aeg'"),
        ((None, {"g": []}), r"groups\['g'\] is empty"),
        ((None, [["age"], []]), r"groups\[1\] is empty"),
        ((None, {"age": ["size", "cost"]}), "two players are called 'age'"),
        ((["gg"], {"g": ["age"]}), r"choose from \['g', 'size', 'cost', 'year'\]"),
    ],
)
def test_errors_say_what_there_is(arguments, message):
    with pytest.raises(ValueError, match=message):
        resolve_players(NAMES, *arguments)


def test_encoded_columns_are_those_of_all_columns_of_a_player():
    owners = [np.array([3]), np.array([0, 1]), np.array([], dtype=int), np.array([2])]
    players = resolve_players(NAMES, groups={"g": ["size", "year"]})
    assert [each.tolist() for each in players.encoded(owners)] == [[3], [0, 1, 2], []]
    assert len(players) == 3


@given(st.integers(1, 8), st.integers(0, 1000))
def test_groups_make_a_partition_of_the_columns(d, seed):
    random = np.random.RandomState(seed)
    labels = random.randint(4, size=d)
    groups = {f"g{k}": np.flatnonzero(labels == k) for k in range(3) if (labels == k).any()}
    players = resolve_players([f"x{j}" for j in range(d)], groups=groups)
    assert sorted(np.concatenate(players.columns)) == list(range(d))
    assert len(players) == len(groups) + (labels == 3).sum()


def test_many_columns_take_no_more_than_linear_time():
    names = [f"x{j}" for j in range(20_000)]
    groups = [[f"x{j}", j + 1] for j in range(0, 10_000, 2)]
    start = process_time()
    assert len(resolve_players(names)) == 20_000
    assert resolve_players(names, names[::-1]).names == names[::-1]
    assert len(resolve_players(names, groups=groups)) == 15_000
    # Some 0.2 s; comparing every name with every other takes above 5.
    assert process_time() - start < 3
