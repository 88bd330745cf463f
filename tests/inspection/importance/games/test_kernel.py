"""Least squares on sampled coalitions: exactness, local accuracy, and what the errors are worth."""

import numpy as np
import pytest
import torch
from scipy.stats import t

from thetalearn.inspection.importance.games import kernel
from thetalearn.inspection.importance.games.exact import all_coalitions, enumerate_coalitions
from thetalearn.inspection.importance.games.game import OpaqueGame
from thetalearn.inspection.importance.games.kernel import draw_coalitions, regress_coalitions
from thetalearn.inspection.importance.games.sampling import FIRST

RNG = np.random.RandomState(4)
X = RNG.normal(size=(60, 5)) @ (np.eye(5) + 0.3)
ROWS, BACKGROUND = X[:4], X[-15:]


def additive(x):
    return np.sin(x[:, 0]) + x[:, 1] ** 2 - x[:, 2] + np.exp(x[:, 3] / 2)


def pairs(x):
    return additive(x) + x[:, 0] * x[:, 1] + np.maximum(x[:, 2], x[:, 4])


def triples(x):
    return pairs(x) + x[:, 0] * x[:, 1] * x[:, 2] + np.tanh(x.sum(1))


def game_of(function, columns=5):
    players = [np.array([j]) for j in range(columns)]
    return OpaqueGame(lambda rows: function(rows)[:, None], players, BACKGROUND[:, :columns])


def regressed(game, rows=ROWS, seed=0, precision=0.0, max_evals=1):
    rng = np.random.RandomState(seed)
    return regress_coalitions(game, rows, precision=precision, max_evals=max_evals, rng=rng)


def exact(game, rows=ROWS):
    return enumerate_coalitions(game, rows)[0]


@pytest.mark.parametrize("function", [additive, pairs])
def test_interactions_of_two_players_are_exact(function):
    # A coalition and its complement together cancel all interactions of even order.
    found, expected = regressed(game_of(function)), exact(game_of(function))
    # The condition number of the fit is about 10.
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-12)
    assert float(found.standard_errors.max()) < 1e-12
    assert found.converged


def test_values_approach_the_exact_ones_as_blocks_are_added():
    game = game_of(triples)
    expected = exact(game)
    misses = []
    for max_evals in (200, 3200, 51_200):
        found = regressed(game, max_evals=max_evals)
        assert not found.converged
        # Every row is evaluated at as many coalitions, a block of them at a time.
        evaluated = found.n_evaluations // (game.n_background * len(found.values))
        assert max_evals * (1 - 1 / found.n_batches[0]) < evaluated <= max_evals
        misses.append(float((found.values - expected).square().mean().sqrt()))
        # Twenty values move together in groups of five: at 4 standard errors one in a thousand.
        assert bool(((found.values - expected).abs() <= 4 * found.standard_errors).all())
    # Sixteen times the coalitions are a quarter of the error.
    assert misses[1] < misses[0] / 2 and misses[2] < misses[1] / 2


@pytest.mark.parametrize("n_columns", [2, 3, 5])
def test_values_and_base_value_sum_to_the_prediction(n_columns):
    def function(rows):
        return np.exp(rows.sum(1) / 3)

    game = game_of(function, n_columns)
    found = regressed(game, ROWS[:, :n_columns])
    total = found.values.sum(1) + game.base_values
    np.testing.assert_allclose(total[:, 0], function(ROWS[:, :n_columns]), rtol=0, atol=1e-12)


def test_intervals_cover_and_values_are_centred(monkeypatch):
    # Rows that share no coalitions are as many seeds.
    monkeypatch.setattr(kernel, "SHARED", 1)
    game, n = game_of(triples), 150
    rows = np.repeat(ROWS[:1], n, axis=0)
    found = regressed(game, rows, max_evals=400)
    miss = (found.values - exact(game, ROWS[:1]))[..., 0].numpy()
    errors = found.standard_errors[..., 0].numpy()
    # The fit is a ratio, whose bias is of the order of its variance: a small part of its error.
    assert (np.abs(miss.mean(0)) <= 0.3 * miss.std(0)).all()
    np.testing.assert_allclose(np.sqrt((errors**2).mean(0)), miss.std(0), rtol=0.35)
    coverage = (np.abs(miss) <= t.ppf(0.975, found.n_batches[0] - 1) * errors).mean()
    # 150 rows of 5 values each, a standard error of 1.8 % if the 5 moved together.
    assert 0.90 <= coverage <= 0.98


def test_regression_ends_at_the_precision():
    game = game_of(triples)
    loose = regressed(game, precision=0.05, max_evals=10**6)
    tight = regressed(game, precision=0.01, max_evals=10**6)
    assert loose.converged and tight.converged
    assert tight.n_batches[0] > loose.n_batches[0] >= FIRST
    for found, precision in ((loose, 0.05), (tight, 0.01)):
        reach = float(found.values.max() - found.values.min())
        assert float(found.standard_errors.max()) <= precision * reach


def test_an_output_that_is_constant_is_precise_at_once():
    game = game_of(lambda x: 0.1 + x[:, 0] - (x[:, 0] - 0.2))
    found = regressed(game, precision=0.025, max_evals=10**6)
    assert found.converged and found.n_batches[0] == FIRST


def test_blocks_of_rows_have_coalitions_of_their_own(monkeypatch):
    game = game_of(triples)
    twins = np.repeat(ROWS[:1], 4, axis=0)
    together = regressed(game, twins).values
    assert bool((together == together[:1]).all())
    monkeypatch.setattr(kernel, "SHARED", 2)
    values = regressed(game, twins).values
    assert bool((values[0] == values[1]).all()) and not bool((values[0] == values[2]).any())


def test_seeds_and_global_generators():
    game = game_of(triples)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first, again, other = (regressed(game, seed=seed).values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


def test_coalitions_come_with_their_complements():
    masks = draw_coalitions(5, 20, np.random.RandomState(0))
    np.testing.assert_array_equal(masks[:10], ~masks[10:])
    assert set(masks.sum(1)) <= {1, 2, 3, 4}


def test_coalitions_follow_the_kernel():
    p, n = 4, 20_000
    masks = draw_coalitions(p, n, np.random.RandomState(0))
    counts = np.bincount(masks @ (1 << np.arange(p)), minlength=2**p)
    size = all_coalitions(p).sum(1)
    inner = (size > 0) & (size < p)
    of_size = np.zeros(2**p)
    # 1 / (s (P - s)), over the number of coalitions of the size.
    of_size[inner] = 1 / (size * (p - size) * np.array([1, 4, 6, 4, 1])[size])[inner]
    expected = n * of_size / of_size.sum()
    assert (counts[~inner] == 0).all()
    # Pairs double the variance of a count.
    assert (np.abs(counts - expected) <= 4.5 * np.sqrt(2 * expected)).all()
