"""Strata, and who gives to whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.inspection import permutation_importance as reference

from thetalearn import LinearRegressor
from thetalearn.inspection.importance.permutation.donors import Shuffles, all_pairs
from thetalearn.inspection.importance.permutation.strata import columns_as_numbers, strata_of

labels = st.lists(st.integers(0, 3), min_size=2, max_size=25).map(np.array)


@settings(deadline=None, max_examples=25)
@given(strata=labels, seed=st.integers(0, 99))
def test_shuffles_within_strata_stay_there(strata, seed):
    """Every repeat is a permutation, and every donor is of the receiver's stratum."""
    donors = Shuffles.draw(seed, len(strata), 3).within(strata).numpy()
    assert (np.sort(donors, axis=1) == np.arange(len(strata))).all()
    assert (strata[donors] == strata).all()


def test_shuffles_of_a_single_stratum_are_the_marginal_ones():
    """Conditional importance without strata is marginal importance."""
    shuffles = Shuffles.draw(3, 20, 4)
    assert (shuffles.within(np.zeros(20, dtype=int)) == shuffles.composed).all()


def test_shuffles_within_strata_are_uniform():
    """All six orders of three rows come about as often as the others."""
    strata = np.array([1, 0, 0, 0, 1])
    donors = Shuffles.draw(0, 5, 3000).within(strata).numpy()[:, 1:4]
    counts = np.unique(donors, axis=0, return_counts=True)[1]
    # Five standard deviations of a binomial count.
    assert len(counts) == 6 and (np.abs(counts - 500) < 5 * (3000 / 6 * 5 / 6) ** 0.5).all()


@pytest.mark.parametrize("max_samples", [1.0, 0.4, 7])
def test_shuffles_are_those_of_scikit_learn(max_samples):
    """Seen through a scorer that reads the shuffled column."""
    rows = np.stack([np.arange(12.0), np.zeros(12)], axis=1)
    seen = []

    def note(estimator, X, y):
        seen.append(X[:, 0].astype(int))
        return 0.0

    model = LinearRegressor().fit(np.random.RandomState(0).normal(size=(9, 2)), np.arange(9.0))
    reference(
        model, rows, rows[:, 0], scoring=note, n_repeats=3, random_state=5, max_samples=max_samples
    )
    shuffles = Shuffles.draw(5, 12, 3, max_samples)
    taken = np.arange(12) if shuffles.rows is None else shuffles.rows
    np.testing.assert_array_equal(taken[shuffles.composed.numpy()], seen[1:4])


@settings(deadline=None, max_examples=25)
@given(strata=labels, data=st.data())
def test_all_pairs_weigh_all_donors_of_a_stratum_equally(strata, data):
    """With columns that repeat, a donor stands for all that are like it."""
    n = len(strata)
    column = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    for columns in (None, column[:, None]):
        pairs = all_pairs(strata, columns)
        share = np.zeros((n, n))
        np.add.at(share, (np.arange(n), pairs.donors.numpy()), pairs.weight.numpy())
        same = strata[:, None] == strata
        expected = same / same.sum(1, keepdims=True)
        if columns is None:
            np.testing.assert_allclose(share, expected, rtol=1e-13)
        values = share @ np.eye(3)[column]
        np.testing.assert_allclose(values, expected @ np.eye(3)[column], rtol=1e-12)
        likeness = pairs.likeness.numpy()
        assert (strata[likeness] == strata).all()
        assert columns is None or (column[likeness] == column).all()


def test_columns_that_others_tell_get_narrow_strata():
    """Within a leaf, a column that another one determines varies little; an own one does."""
    rng = np.random.RandomState(0)
    x, own = rng.normal(size=(2, 1000))
    columns = columns_as_numbers(np.stack([x, x**3, own], axis=1))
    for player, least, most in ((0, 0.0, 0.05), (2, 0.5, 1.0)):
        strata = strata_of(columns, np.array([player]))
        assert np.bincount(strata).min() >= 30
        values = columns[player][:, 0]
        within = sum(values[strata == s].var() * (strata == s).mean() for s in np.unique(strata))
        assert least <= within / values.var() <= most


def test_one_stratum_where_nothing_can_be_told():
    """Without other columns, or with few rows, all rows are shuffled."""
    columns = columns_as_numbers(np.arange(80.0).reshape(40, 2))
    assert (strata_of(columns, np.array([0, 1])) == 0).all()
    assert (strata_of(columns, np.array([0])) == 0).all()
    assert len(np.unique(strata_of(columns, np.array([0]), min_stratum=10))) > 1


def test_columns_of_any_kind():
    """Strings and categories are one-hot, dates and booleans numbers, missing values NaN."""
    frame = pd.DataFrame(
        {
            "number": [1.0, np.nan, 3.0],
            "string": ["a", None, "a"],
            "category": pd.Categorical(["u", "v", "w"]),
            "flag": [True, False, True],
            "day": pd.to_datetime(["2020-01-01", None, "2020-01-02"]),
            "nullable": pd.array([1, None, 2], dtype="Int64"),
        }
    )
    columns = columns_as_numbers(frame)
    assert [column.shape[1] for column in columns] == [1, 2, 3, 1, 1, 1]
    assert np.isnan([columns[0][1, 0], columns[4][1, 0], columns[5][1, 0]]).all()
    for own in range(6):
        strata = strata_of(columns, np.array([own]), min_stratum=1)
        assert strata.shape == (3,)
    assert (
        strata_of([np.full((4, 1), np.nan), np.eye(4)], np.array([0]), min_stratum=1) == 0
    ).all()
