"""Minibatches: which rows come when, with what weight, alone and among other replicas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import shuffle

from thetalearn.solvers.gradient.batches import Batches, n_batches

orders = pytest.mark.parametrize("order", ["shuffle", "replacement", "given"])


def generators(*seeds):
    return [np.random.RandomState(seed) for seed in seeds]


def make(rows, batch_size, order="shuffle", weights=None, seeds=None):
    seeds = range(len(rows)) if seeds is None else seeds
    return Batches(rows, weights, batch_size, order, generators(*seeds))


def rows_of(batches, k=0):
    """Rows, shares and totals of one replica, batch by batch, without what pads them."""
    for batch in batches:
        n_replicas = len(batch.totals)
        rows = batch.rows.view(n_replicas, batch.size)[k].numpy()
        if batch.share is None:
            share = np.full(batch.size, 1 / batch.size)
        else:
            share = batch.share[k].numpy()
        yield rows[share > 0], share[share > 0], batch.totals[k]


def epoch_of(batches, k=0):
    return np.concatenate([rows for rows, _, _ in rows_of(batches.epoch(), k)])


@st.composite
def subsets(draw):
    """Rows of up to three replicas, of sizes that differ by at most one, and a batch size."""
    n_rows = draw(st.integers(2, 30))
    batch_size = draw(st.integers(1, n_rows + 2))
    sizes = st.sampled_from([n_rows, n_rows - 1])
    n_replicas = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    rows = [rng.permutation(50)[: draw(sizes)] for _ in range(n_replicas)]
    counts = {n_batches(len(part), batch_size) for part in rows}
    return rows if len(counts) == 1 else rows[:1], batch_size


# ------------------------------------------------------------------ which rows


@given(case=subsets(), order=st.sampled_from(["shuffle", "given"]), epochs=st.integers(1, 3))
def test_every_row_comes_once_an_epoch(case, order, epochs):
    rows, batch_size = case
    batches = make(rows, batch_size, order)
    for _ in range(epochs):
        whole = list(batches.epoch())
        for k, part in enumerate(rows):
            seen = np.concatenate([r for r, _, _ in rows_of(whole, k)])
            assert sorted(seen) == sorted(part)


@given(n_rows=st.integers(1, 40), batch_size=st.integers(1, 45))
def test_batches_are_full_but_for_the_last(n_rows, batch_size):
    batches = make([np.arange(n_rows)], batch_size)
    sizes = [batch.size for batch in batches.epoch()]
    assert len(sizes) == batches.steps == n_batches(n_rows, batch_size)
    assert sum(sizes) == n_rows and 0 < sizes[-1] <= batch_size
    assert set(sizes[:-1]) <= {batch_size}


@given(n_rows=st.integers(1, 30), seed=st.integers(0, 2**31 - 1))
def test_orders_are_those_of_scikit_learns_networks(n_rows, seed):
    # MLPRegressor keeps the order of the last epoch, and shuffles it by its RandomState.
    batches = make([np.arange(n_rows)], 7, seeds=[seed])
    theirs, generator = np.arange(n_rows), np.random.RandomState(seed)
    for _ in range(3):
        theirs = shuffle(theirs, random_state=generator)
        np.testing.assert_array_equal(epoch_of(batches), theirs)


def test_the_given_order_is_kept():
    rows = np.array([5, 2, 9, 0, 7])
    batches = make([rows], 2, "given")
    for _ in range(2):
        np.testing.assert_array_equal(epoch_of(batches), rows)


def test_the_given_order_draws_no_random_numbers():
    (generator,) = generators(3)
    before = generator.get_state()[2]
    list(Batches([np.arange(9)], None, 4, "given", [generator]).epoch())
    assert generator.get_state()[2] == before


def test_with_replacement_every_row_is_as_likely_at_every_place():
    n_rows, epochs = 5, 4_000
    batches = make([np.arange(n_rows)], 2, "replacement")
    drawn = np.array([epoch_of(batches) for _ in range(epochs)])
    assert drawn.shape == (epochs, n_rows)
    counts = np.array([np.bincount(column, minlength=n_rows) for column in drawn.T])
    expected = epochs / n_rows
    # 20 degrees of freedom: chi-square exceeds 45.3 with probability 0.001.
    assert ((counts - expected) ** 2 / expected).sum() < 45.3
    # Rows repeat: all five differ with probability 5!/5^5 = 0.0384, standard error 0.003.
    distinct = np.mean([len(set(row)) == n_rows for row in drawn])
    assert distinct == pytest.approx(0.0384, abs=0.01)


def test_with_replacement_rows_are_those_of_the_replica():
    rows = np.array([3, 8, 21])
    seen = np.concatenate([epoch_of(b) for b in [make([rows], 2, "replacement")] * 20])
    assert set(seen) == set(rows)


# ------------------------------------------------------------------ weights


@given(case=subsets(), order=st.sampled_from(["shuffle", "replacement", "given"]))
def test_shares_sum_to_one_and_are_the_weights(case, order):
    rows, batch_size = case
    table = np.random.default_rng(0).uniform(0.1, 3, 50)
    batches = make(rows, batch_size, order, [table[part] for part in rows])
    for _ in range(2):
        whole = list(batches.epoch())
        for k in range(len(rows)):
            for drawn, share, total in rows_of(whole, k):
                # Sums of at most 30 numbers.
                assert share.sum() == pytest.approx(1, rel=1e-14)
                np.testing.assert_allclose(share * total, table[drawn], rtol=1e-14)


def test_without_weights_rows_count_alike():
    batches = make([np.arange(7), np.arange(7)], 3)
    assert not batches.weighted
    for batch in batches.epoch():
        assert batch.share is None and batch.totals == (float(batch.size),) * 2


def test_shorter_replicas_are_padded_by_rows_of_weight_zero():
    rows = [np.arange(10, 17), np.arange(20, 26), np.arange(30, 37)]
    batches = make(rows, 4)
    assert batches.weighted
    first, last = batches.epoch()
    assert first.totals == (4.0, 4.0, 4.0) and last.totals == (3.0, 2.0, 3.0)
    np.testing.assert_allclose(last.share[1], [1 / 2, 1 / 2, 0], rtol=1e-15)
    # A row of another replica might overflow, and zero times infinity is not zero.
    assert set(last.rows.view(3, -1)[1].tolist()) <= set(rows[1])


def test_a_batch_without_weight_has_no_share():
    weights = [np.array([0.0, 0.0, 2.0, 1.0])]
    nothing, rest = make([np.arange(4)], 2, "given", weights).epoch()
    assert nothing.totals == (0.0,) and nothing.share.tolist() == [[0.0, 0.0]]
    assert rest.totals == (3.0,)


# ------------------------------------------------------------------ replicas


@orders
@pytest.mark.parametrize("weighted", [False, True])
def test_a_replica_sees_the_same_batches_alone(order, weighted):
    rng = np.random.default_rng(1)
    rows = [rng.permutation(40)[:size] for size in (19, 20, 19, 20)]
    weights = [rng.uniform(0.5, 2, len(part)) for part in rows] if weighted else None
    stacked = make(rows, 6, order, weights)
    own = [
        make([rows[k]], 6, order, None if weights is None else [weights[k]], [k]) for k in range(4)
    ]
    for _ in range(3):
        whole = list(stacked.epoch())
        for k, alone in enumerate(own):
            pairs = zip(rows_of(whole, k), rows_of(alone.epoch()), strict=True)
            for (drawn, share, total), (its_rows, its_share, its_total) in pairs:
                np.testing.assert_array_equal(drawn, its_rows)
                np.testing.assert_allclose(share, its_share, rtol=1e-15)
                assert total == pytest.approx(its_total, rel=1e-15)


@orders
@pytest.mark.parametrize("left", [[1], [3, 0], [0, 1, 2, 3]])
def test_replicas_that_are_kept_go_on_as_before(order, left):
    rng = np.random.default_rng(2)
    rows = [rng.permutation(40)[:size] for size in (15, 14, 15, 13)]
    weights = [rng.uniform(0.5, 2, len(part)) for part in rows]
    batches, fewer = (make(rows, 4, order, weights) for _ in range(2))
    list(batches.epoch()), list(fewer.epoch())
    fewer.keep(left)
    for _ in range(2):
        whole, part = list(batches.epoch()), list(fewer.epoch())
        assert [len(batch.totals) for batch in part] == [len(left)] * len(whole)
        for new, old in enumerate(left):
            for theirs, ours in zip(rows_of(whole, old), rows_of(part, new), strict=True):
                for a, b in zip(theirs, ours, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_replicas_with_other_numbers_of_batches_are_refused():
    with pytest.raises(ValueError, match="must have the same number of minibatches"):
        make([np.arange(8), np.arange(9)], 4)


def test_row_numbers_are_torch_indices():
    (batch,) = make([np.array([4, 2], dtype=np.int32)], 5, "given").epoch()
    assert batch.rows.dtype == torch.int64 and batch.rows.tolist() == [4, 2]
