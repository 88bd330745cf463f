"""Shapley values and interactions from tables of values: their definition and their axioms."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.inspection.importance.games import exact
from thetalearn.inspection.importance.games.exact import (
    all_coalitions,
    enumerate_coalitions,
    interaction_matrix,
    shapley_matrix,
    symmetric,
)
from thetalearn.inspection.importance.games.game import Game

#: Sums of at most 2^6 numbers of order one.
EXACT = {"rtol": 0, "atol": 1e-12}

players = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


class Table(Game):
    """A game for each row, given by its values (N, 2^P, m)."""

    def __init__(self, table):
        self.table = torch.from_numpy(table)
        self.n_players = table.shape[1].bit_length() - 1
        self.n_outputs, self.n_background = table.shape[2], 1
        self.calls = []

    @property
    def base_values(self):
        return self.table[0, 0]

    def predictions(self, x):
        return self.table[x, -1]

    def values(self, x, masks):
        self.calls.append(len(x))
        return self.table[x][:, masks @ (1 << np.arange(self.n_players))]


def some_table(p, seed, n=3, m=2):
    return np.random.RandomState(seed).normal(size=(n, 2**p, m))


def values_of(table):
    return enumerate_coalitions(Table(table), np.arange(len(table)))[0].numpy()


def interactions_of(table):
    game = Table(table)
    return enumerate_coalitions(game, np.arange(len(table)), interactions=True)[1].numpy()


def over_permutations(table, p):
    """What each player adds, averaged over all orders."""
    found = np.zeros((len(table), p, table.shape[2]))
    orders = list(permutations(range(p)))
    for order in orders:
        coalitions = np.cumsum([0, *(1 << player for player in order)])
        for player, (before, after) in zip(order, pairwise(coalitions), strict=True):
            found[:, player] += table[:, after] - table[:, before]
    return found / len(orders)


def over_permutations_of_pairs(table, p):
    """Half of what two players who join together add beyond their single parts."""
    found = np.zeros((len(table), p, p, table.shape[2]))
    for i in range(p):
        for j in range(p):
            if i == j:
                continue
            # The pair joins as one player, somewhere among the others.
            orders = list(permutations([(i, j), *(k for k in range(p) if k not in (i, j))]))
            for order in orders:
                before = sum(1 << k for k in order[: order.index((i, j))])
                found[:, i, j] += (
                    table[:, before | 1 << i | 1 << j]
                    - table[:, before | 1 << i]
                    - table[:, before | 1 << j]
                    + table[:, before]
                ) / (2 * len(orders))
    return found


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5])
def test_values_are_means_over_all_orders(p):
    table = some_table(p, p)
    np.testing.assert_allclose(values_of(table), over_permutations(table, p), **EXACT)


@pytest.mark.parametrize("p", [2, 3, 4, 5])
def test_interactions_are_means_over_all_orders_of_pairs(p):
    table = some_table(p, p)
    found, expected = interactions_of(table), over_permutations_of_pairs(table, p)
    apart = ~np.eye(p, dtype=bool)
    np.testing.assert_allclose(found[:, apart], expected[:, apart], **EXACT)


@given(p=players, seed=seeds)
@settings(max_examples=30)
def test_efficiency(p, seed):
    table = some_table(p, seed)
    np.testing.assert_allclose(values_of(table).sum(1), table[:, -1] - table[:, 0], **EXACT)


@given(p=players, seed=seeds)
@settings(max_examples=30)
def test_interactions_are_symmetric_and_sum_to_the_values(p, seed):
    table = some_table(p, seed)
    found = interactions_of(table)
    np.testing.assert_array_equal(found, found.swapaxes(1, 2))
    np.testing.assert_allclose(found.sum(2), values_of(table), **EXACT)


@given(p=players, seed=seeds, data=st.data())
@settings(max_examples=30)
def test_a_dummy_gets_what_it_adds(p, seed, data):
    dummy = data.draw(st.integers(0, p - 1))
    table = some_table(p, seed)
    numbers = np.arange(2**p)
    inside = numbers >> dummy & 1 == 1
    table[:, inside] = table[:, numbers[inside] ^ 1 << dummy] + 0.7
    np.testing.assert_allclose(values_of(table)[:, dummy], 0.7, **EXACT)
    expected = np.zeros((p, 1))
    expected[dummy] = 0.7
    found = interactions_of(table)[:, dummy]
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), **EXACT)


@given(p=players, seed=seeds)
@settings(max_examples=30)
def test_players_that_can_be_exchanged_get_the_same(p, seed):
    values = np.random.RandomState(seed).normal(size=(1, p + 1, 1))
    table = values[:, all_coalitions(p).sum(1)]
    found = values_of(table)
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1], found.shape), **EXACT)


@given(p=players, seed=seeds)
@settings(max_examples=30)
def test_permuted_players_get_permuted_values(p, seed):
    table = some_table(p, seed)
    order = np.random.RandomState(seed).permutation(p)
    # Player k of the new game is player order[k] of the old one.
    numbers = all_coalitions(p) @ (1 << order)
    np.testing.assert_allclose(values_of(table[:, numbers]), values_of(table)[:, order], **EXACT)


@given(p=players, seed=seeds, factor=st.floats(-3, 3))
@settings(max_examples=30)
def test_linearity(p, seed, factor):
    first, second = some_table(p, seed), some_table(p, seed ^ 1)
    expected = values_of(first) + factor * values_of(second)
    np.testing.assert_allclose(values_of(first + factor * second), expected, **EXACT)


@given(p=players, seed=seeds)
@settings(max_examples=20)
def test_the_dual_game_has_the_same_values(p, seed):
    # v*(S) = v(all) - v(all without S).
    table = some_table(p, seed)
    dual = table[:, -1:] - table[:, ::-1]
    np.testing.assert_allclose(values_of(dual), values_of(table), **EXACT)


def test_unanimity_games_share_alike():
    p, agreed = 5, 0b10110
    table = (np.arange(2**p) & agreed == agreed).astype(float)[None, :, None]
    expected = [0, 1 / 3, 1 / 3, 0, 1 / 3]
    np.testing.assert_allclose(values_of(table)[0, :, 0], expected, **EXACT)


def test_a_product_of_two_is_shared_as_a_pair():
    table = (np.arange(8) & 0b011 == 0b011).astype(float)[None, :, None]
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = 0.5
    np.testing.assert_allclose(interactions_of(table)[0, :, :, 0], expected, **EXACT)


def test_one_player_gets_all():
    table = some_table(1, 0)
    own = table[:, 1] - table[:, 0]
    np.testing.assert_allclose(values_of(table)[:, 0], own, **EXACT)
    np.testing.assert_allclose(interactions_of(table)[:, 0, 0], own, **EXACT)


def test_interactions_only_when_asked_for():
    game = Table(some_table(3, 0))
    assert enumerate_coalitions(game, np.arange(3))[1] is None


@pytest.mark.parametrize("n", [1, 5, 7])
def test_blocks_of_rows_change_nothing(n, monkeypatch):
    table = some_table(4, 0, n=n)
    whole = values_of(table)
    monkeypatch.setattr(exact, "TABLE", 8 * 2**4 * 2 * 2)  # two rows
    game = Table(table)
    found, pairs = enumerate_coalitions(game, np.arange(n), interactions=True)
    assert game.calls == [2] * (n // 2) + [1] * (n % 2)
    np.testing.assert_allclose(found, whole, **EXACT)
    np.testing.assert_allclose(pairs.sum(2), whole, **EXACT)


@pytest.mark.parametrize("p", [1, 2, 5, 12])
def test_matrices(p):
    matrix = shapley_matrix(p)
    assert matrix.shape == (p, 2**p)
    # A constant game has nothing to share; the rows add up to all less nothing.
    np.testing.assert_allclose(matrix.sum(1), 0, **EXACT)
    ends = np.zeros(2**p)
    ends[[0, -1]] = -1, 1
    np.testing.assert_allclose(matrix.sum(0), ends, **EXACT)
    pairs = interaction_matrix(p)
    assert pairs.shape == (p * (p - 1) // 2, 2**p)
    np.testing.assert_allclose(pairs.sum(1), 0, **EXACT)
    # Additive games have no interactions.
    np.testing.assert_allclose(pairs @ all_coalitions(p), 0, **EXACT)


def test_coalitions_are_all_different():
    masks = all_coalitions(7)
    assert masks.dtype == bool and len(np.unique(masks, axis=0)) == 2**7
    assert not masks[0].any() and masks[-1].all()


def test_symmetric_puts_the_rest_on_the_diagonal():
    own = torch.ones(1, 3, 1, dtype=torch.float64)
    pairs = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(1, 3, 1)
    expected = [[-2.0, 1.0, 2.0], [1.0, -3.0, 3.0], [2.0, 3.0, -4.0]]
    assert symmetric(own, pairs)[0, :, :, 0].tolist() == expected
