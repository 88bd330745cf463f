"""Sampled orders: what is exact, what is unbiased, and what the standard errors are worth."""

import random

import numpy as np
import pytest
import torch
from scipy.stats import t

from thetalearn.inspection.importance.games import sampling
from thetalearn.inspection.importance.games.exact import enumerate_coalitions
from thetalearn.inspection.importance.games.game import OpaqueGame
from thetalearn.inspection.importance.games.sampling import (
    batch_size,
    draw_orders,
    draw_rows,
    largest_error,
    sample_orders,
)

RNG = np.random.RandomState(3)
X = RNG.normal(size=(400, 6)) @ (np.eye(6) + 0.3)
ROWS = X[:4]

#: What is exact is a mean of some hundred differences of order ten.
ROUNDED = 1e-12


def pairs(x):
    """Interactions of two players at most, of any shape."""
    return np.sin(3 * x[:, 0] * x[:, 1]) + np.maximum(x[:, 2], x[:, 3]) + np.exp(x[:, 4]) * x[:, 5]


def triples(x):
    return x[:, 0] * x[:, 1] * x[:, 2] + np.tanh(x[:, 3:].sum(1)) * x[:, 0] + x[:, 5]


def game_of(function, background, weights=None):
    given = None if weights is None else torch.from_numpy(weights)
    players = [np.array([j]) for j in range(background.shape[1])]
    return OpaqueGame(lambda rows: function(rows)[:, None], players, background, given)


def sampled(game, rows=ROWS, seed=0, precision=0.0, max_evals=1):
    rng = np.random.RandomState(seed)
    return sample_orders(game, rows, precision=precision, max_evals=max_evals, rng=rng)


def exact(game, rows=ROWS):
    return enumerate_coalitions(game, rows)[0]


@pytest.mark.parametrize("n_background", [1, 7, 32, 100])
def test_interactions_of_two_players_are_exact_for_every_order(n_background):
    # Against one background row the game of such a function has order two, and then an order and
    # its reversal give the Shapley values; all background rows take their turn equally often.
    game = game_of(pairs, X[-n_background:])
    found = sampled(game)
    np.testing.assert_allclose(found.values, exact(game), rtol=0, atol=ROUNDED)
    assert float(found.standard_errors.max()) <= ROUNDED
    assert found.converged


@pytest.mark.parametrize("function", [pairs, triples])
def test_interactions_of_three_players_are_not(function):
    game = game_of(function, X[-50:])
    error = float((sampled(game).values - exact(game)).abs().max())
    assert (error > 1e-3) == (function is triples)


@pytest.mark.parametrize("function", [pairs, triples])
@pytest.mark.parametrize("n_background", [1, 40, 300])
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
def test_values_and_base_value_sum_to_the_prediction(function, n_background, weighted):
    weights = RNG.uniform(size=n_background) if weighted else None
    game = game_of(function, X[-n_background:], weights)
    total = sampled(game).values.sum(1) + game.base_values
    np.testing.assert_allclose(total[:, 0], function(ROWS), rtol=0, atol=ROUNDED)


@pytest.mark.parametrize(
    ("n_background", "weighted"), [(1, False), (30, False), (30, True), (300, False), (300, True)]
)
def test_unbiased_and_with_standard_errors_of_the_mean(n_background, weighted, monkeypatch):
    # Rows that share no orders are as many seeds.
    monkeypatch.setattr(sampling, "SHARED", 1)
    weights = np.linspace(0, 1, n_background) ** 2 if weighted else None
    game = game_of(triples, X[-n_background:], weights)
    n = 200
    rows = np.repeat(ROWS[:1], n, axis=0)
    found = sampled(game, rows)
    values, errors = found.values[..., 0].numpy(), found.standard_errors[..., 0].numpy()
    miss = values - exact(game, ROWS[:1])[..., 0].numpy()
    spread = miss.std(0, ddof=1)
    # Six means at 4 standard errors: one set in 2,600 fails.
    assert (np.abs(miss.mean(0)) <= 4 * spread / np.sqrt(n) + ROUNDED).all()
    # The root mean square of what is reported is the true spread, up to its own error: 5 % from
    # 200 seeds, 5 % from 5 degrees of freedom of each, so 4 of these are 28 %.
    reported = np.sqrt((errors**2).mean(0))
    np.testing.assert_allclose(reported, spread, rtol=0.3)


def coverage_of(game, n, precision, max_evals):
    rows = np.repeat(ROWS[:1], n, axis=0)
    found = sampled(game, rows, precision=precision, max_evals=max_evals)
    half = found.standard_errors[..., 0].numpy() * t.ppf(0.975, found.n_batches - 1)[:, None]
    inside = (found.values - exact(game, ROWS[:1]))[..., 0].abs().numpy() <= half
    return inside.mean(), found.n_batches


@pytest.mark.parametrize("n_background", [30, 300])
def test_intervals_cover(n_background, monkeypatch):
    monkeypatch.setattr(sampling, "SHARED", 1)
    game = game_of(triples, X[-n_background:])
    coverage, batches = coverage_of(game, 150, 0.0, 1)
    assert (batches == batches[0]).all()
    # 150 rows of 6 values each, a standard error of 1.8 % if the 6 moved together.
    assert 0.90 <= coverage <= 0.98


def test_intervals_cover_when_the_errors_decide_when_to_stop(monkeypatch):
    monkeypatch.setattr(sampling, "SHARED", 1)
    game = game_of(triples, X[-30:])
    coverage, batches = coverage_of(game, 150, 0.05, 10**6)
    assert batches.min() < batches.max()
    assert 0.90 <= coverage <= 0.98


def test_sampling_ends_at_the_precision():
    game = game_of(triples, X[-30:])
    for precision in (0.05, 0.01):
        found = sampled(game, precision=precision, max_evals=10**6)
        assert found.converged
        reached = largest_error(found.values, precision, 0.0)
        # Ranges move a little after a row has ended.
        assert bool((found.standard_errors <= 1.2 * reached).all())


def test_precise_rows_end_early():
    background, rows = X[-30:], X[:40]
    easy = rows.copy()
    easy[:, 1:] = background[0, 1:]
    game = game_of(lambda x: triples(x) * (x[:, 0] != 7.0), background)
    mixture = np.concatenate([rows, np.where(np.arange(6) == 0, 7.0, easy)])
    found = sampled(game, mixture, precision=0.02, max_evals=10**6)
    assert found.converged
    assert found.n_batches.max() > found.n_batches.min() >= sampling.FIRST


def test_max_evals_bounds_the_work():
    rows_seen = []

    def counted(x):
        rows_seen.append(len(x))
        return triples(x)

    for n_background in (20, 300):
        game = game_of(counted, X[-n_background:])
        rows_seen.clear()
        found = sampled(game, max_evals=400)
        assert not found.converged
        # Of the 400 coalitions all but the empty and the full one need the whole background.
        ends = len(ROWS) * (1 + found.n_batches[0])
        assert sum(rows_seen) - ends <= 400 * n_background * len(ROWS)
        assert sum(rows_seen) > 0.9 * 400 * n_background * len(ROWS)


def test_a_large_background_costs_no_more_than_what_is_drawn_of_it():
    rows_seen = []

    def counted(x):
        rows_seen.append(len(x))
        return triples(x)

    many = np.tile(X, (50, 1))
    game = game_of(counted, many)
    rows_seen.clear()
    found = sampled(game, ROWS[:1], precision=0.1, max_evals=10_000)
    assert found.converged
    assert found.n_evaluations <= sum(rows_seen) < found.n_evaluations + 100
    np.testing.assert_allclose(found.values, exact(game, ROWS[:1]), atol=0.5)


def test_an_output_that_is_constant_is_precise_at_once():
    game = game_of(lambda x: 0.1 + x[:, 0] - (x[:, 0] - 0.2), X[-30:])
    found = sampled(game, precision=0.025, max_evals=10**6)
    assert found.converged and (found.n_batches == sampling.FIRST).all()
    # What varies from row to row, by rounding, has no range to be measured by.
    assert 0 < float(found.values.abs().max()) < 1e-15


def test_players_that_do_nothing_get_nothing():
    game = game_of(lambda x: x[:, 0] * x[:, 1] * x[:, 2], X[-30:])
    found = sampled(game)
    np.testing.assert_allclose(found.values[:, 3:], 0, atol=ROUNDED)
    np.testing.assert_allclose(found.standard_errors[:, 3:], 0, atol=ROUNDED)


def test_seeds_and_global_generators():
    game = game_of(triples, X[-30:])
    states = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    first, again, other = sampled(game, seed=1), sampled(game, seed=1), sampled(game, seed=2)
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.standard_errors, again.standard_errors)
    assert not np.array_equal(first.values, other.values)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    assert random.getstate() == states[2]


@pytest.mark.parametrize("n_background", [1, 7, 31, 32, 33, 127, 128, 129, 1000])
def test_batches_are_whole_turns_of_a_background_that_is_not_large(n_background):
    game = game_of(triples, np.tile(X, (3, 1))[:n_background])
    size = batch_size(game)
    assert sampling.FEWEST <= size <= sampling.MOST
    picks = draw_rows(game, size, np.random.RandomState(0))
    counts = np.bincount(picks, minlength=n_background)
    if n_background <= sampling.MOST:
        assert (counts == size // n_background).all()
    else:
        assert counts.max() == 1 and counts.sum() == sampling.MOST


def test_rows_are_drawn_by_weight():
    weights = np.array([0.0, 1.0, 2.0, 5.0, 0.4])
    game = game_of(triples, X[:5], weights)
    rng, size, n = np.random.RandomState(0), 40, 2000
    counts = np.array([np.bincount(draw_rows(game, size, rng), minlength=5) for _ in range(n)])
    expected = size * weights / weights.sum()
    assert (counts >= np.floor(expected)).all() and (counts <= np.ceil(expected)).all()
    assert (counts[:, 0] == 0).all()
    # A count is one of two neighbouring numbers: its standard deviation is at most a half.
    np.testing.assert_allclose(counts.mean(0), expected, atol=4 * 0.5 / np.sqrt(n))


def test_orders_are_uniform():
    orders = draw_orders(3, 6000, np.random.RandomState(0))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    # Six orders, a thousand times each, with a standard deviation of 29.
    assert len(counts) == 6 and np.abs(counts - 1000).max() < 4 * 29
