"""Standard errors against closed forms, enumeration, derivatives and simulation."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    explained_variance_score,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from thetalearn import LinearRegressor, permutation_importance
from thetalearn.inspection.importance.metrics.row_metrics import row_metric
from thetalearn.inspection.importance.permutation.errors import (
    StandardErrors,
    bootstrap_errors,
    exact_errors,
    sampled_errors,
)


def additive(seed, n, heavy=False):
    """The part of the player, the other part, and the noise, of one sample."""
    rng = np.random.RandomState(seed)
    a = rng.standard_t(5, n) if heavy else rng.standard_normal(n)
    return a, rng.standard_normal(n), rng.standard_normal(n), rng


def shuffles(rng, n, n_repeats):
    return np.stack([rng.permutation(n) for _ in range(n_repeats)])


def squared_drops(a, noise, donors):
    return (a - a[donors] + noise) ** 2 - noise**2


def table(a, noise):
    """All drops h(i, j) of squared error."""
    return (a[:, None] - a + noise[:, None]) ** 2 - noise[:, None] ** 2


def test_influence_of_an_additive_model_in_closed_form():
    a, _, noise, _ = additive(0, 50)
    pairs = table(a, noise)
    errors = exact_errors(pairs.mean(1), pairs.mean(0))
    da, dn = a - a.mean(), noise - noise.mean()
    psi = 2 * (da**2 - a.var()) + 2 * da * dn - 2 * np.mean(da * dn)
    # Exact up to sums in another order.
    assert errors.sample_se == pytest.approx(np.sqrt(psi @ psi / (50 * 49)), rel=1e-12)
    assert errors.mc_se == 0 and errors.se == errors.sample_se


def derivative(value, n, step=1e-6):
    """Influence of each row: derivative of a function of shares of rows, towards that row."""
    slopes = []
    for row in range(n):
        towards = np.zeros(n)
        towards[row] = 1
        ends = [value(np.full(n, 1 / n) * (1 - s) + s * towards) for s in (step, -step)]
        slopes.append((ends[0] - ends[1]) / (2 * step))
    return np.array(slopes)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_influence_is_the_derivative_in_the_share_of_a_row(weighted, normalised):
    n = 12
    a, b, noise, rng = additive(1, n)
    y, weight = a + b + noise, rng.uniform(0.2, 2, n) if weighted else np.ones(n)
    pairs = table(a, noise)

    def importance(share):
        loss = (share * weight) @ pairs @ share / (share @ weight)
        if not normalised:
            return loss
        mean = (share * weight) @ y / (share @ weight)
        return loss / ((share * weight) @ (y - mean) ** 2 / (share @ weight))

    psi = derivative(importance, n)
    variance, influence = 1.0, None
    if normalised:
        metric = row_metric(r2_score, "predict", y, weight if weighted else None)
        variance = np.average((y - np.average(y, weights=weight)) ** 2, weights=weight)
        influence = metric.normaliser_influence(np.array([importance(np.full(n, 1 / n))]))
    omega = weight / weight.mean()
    errors = exact_errors(
        pairs.mean(1) / variance,
        (omega[:, None] * pairs).mean(0) / variance,
        weight=weight if weighted else None,
        influence=influence,
    )
    # Central differences have an error of the order of step².
    assert errors.sample_se == pytest.approx(np.sqrt(psi @ psi / (n * (n - 1))), rel=1e-7)


def test_the_noise_of_shuffles_is_removed_without_bias():
    # Over all pairs of all shuffles of three rows, the mean is that of the exact expectation.
    n = 3
    pairs = np.random.RandomState(0).standard_normal((n, n))
    # A strong influence keeps all estimates above the floor.
    strong = np.array([40.0, -10.0, -30.0])
    exact = exact_errors(pairs.mean(1), pairs.mean(0), influence=strong)
    rows = np.arange(n)
    variances = []
    for both in product(permutations(range(n)), repeat=2):
        donors = np.array(both)
        errors = sampled_errors(pairs[rows, donors], donors, influence=strong)
        variances.append(errors.sample_se**2)
    assert np.mean(variances) == pytest.approx(exact.sample_se**2, rel=1e-12)


def test_error_through_shuffles_is_that_of_a_mean():
    a, _, noise, rng = additive(2, 30)
    donors = shuffles(rng, 30, 7)
    drops = squared_drops(a, noise, donors)
    errors = sampled_errors(drops, donors)
    assert errors.mc_se == pytest.approx(drops.mean(1).std(ddof=1) / np.sqrt(7), rel=1e-12)
    assert errors.se == pytest.approx(np.hypot(errors.mc_se, errors.sample_se), rel=1e-12)
    once = sampled_errors(drops[:1], donors[:1])
    assert np.isnan(once.mc_se) and once.se == once.sample_se > 0


def test_errors_have_the_scale_of_the_score():
    a, _, noise, rng = additive(3, 30)
    donors = shuffles(rng, 30, 4)
    drops = squared_drops(a, noise, donors)
    for scale in (1e-6, -1.0, 1e6):
        errors, scaled = sampled_errors(drops, donors), sampled_errors(scale * drops, donors)
        for name in ("mc_se", "sample_se"):
            expected = abs(scale) * getattr(errors, name)
            assert getattr(scaled, name) == pytest.approx(expected, rel=1e-12)
        assert scaled.df == pytest.approx(errors.df, rel=1e-9)


def test_only_ratios_of_weights_matter():
    a, _, noise, rng = additive(4, 30)
    donors, weight = shuffles(rng, 30, 4), rng.uniform(0, 2, 30)
    drops = squared_drops(a, noise, donors)
    one = sampled_errors(drops, donors, weight=weight)
    assert sampled_errors(drops, donors, weight=7 * weight).se == pytest.approx(one.se, rel=1e-12)
    equal = sampled_errors(drops, donors, weight=np.full(30, 3.0))
    assert equal.se == pytest.approx(sampled_errors(drops, donors).se, rel=1e-12)


def test_rows_that_come_twice_look_like_twice_the_rows():
    a, _, noise, _ = additive(5, 40)
    pairs = table(a, noise)
    once = exact_errors(pairs.mean(1), pairs.mean(0))
    twice = exact_errors(np.tile(pairs.mean(1), 2), np.tile(pairs.mean(0), 2))
    assert twice.sample_se**2 == pytest.approx(once.sample_se**2 * 39 / 79, rel=1e-12)


def test_a_player_without_effect_has_no_error():
    for n_repeats in (1, 3):
        donors = shuffles(np.random.RandomState(0), 20, n_repeats)
        errors = sampled_errors(np.zeros((n_repeats, 20)), donors)
        assert errors.se == 0
        np.testing.assert_array_equal(errors.interval(0.0), [0, 0])
    assert exact_errors(np.zeros(20), np.zeros(20)).se == 0


def test_degrees_of_freedom_follow_the_tails():
    rng = np.random.RandomState(0)
    light = exact_errors(rng.standard_normal(5000), np.zeros(5000))
    heavy = exact_errors(rng.standard_t(3, 5000), np.zeros(5000))
    # The kurtosis of 5000 normal numbers is 3 with a standard error of 0.07.
    assert light.df == pytest.approx(5000, rel=0.15)
    assert heavy.df < 2000


def test_intervals():
    errors = StandardErrors(np.array([3.0, 0.0]), np.array([4.0, 1.0]), np.array([10.0, np.inf]))
    for level in (0.5, 0.95):
        half = errors.se * [stats.t.ppf((1 + level) / 2, 10), stats.norm.ppf((1 + level) / 2)]
        interval = errors.interval(np.array([1.0, 2.0]), level)
        np.testing.assert_allclose(
            interval,
            np.array([1 - half[0], 1 + half[0], 2 - half[1], 2 + half[1]]).reshape(2, 2),
            rtol=1e-12,
        )
    for level in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match="level="):
            errors.interval(1.0, level)
    stacked = StandardErrors.stack([StandardErrors(1.0, 2.0, 3.0), StandardErrors(4.0, 5.0, 6.0)])
    assert stacked.sample_se.tolist() == [2.0, 5.0] and stacked.df.tolist() == [3.0, 6.0]


def covers(estimates, errors, truth):
    low, high = StandardErrors.stack(errors).interval(np.array(estimates)).T
    return np.mean((low <= truth) & (truth <= high))


#: 400 samples at 95 % have a standard error of 1.1 %; three of them, and 1.5 % for n = 300.
SAMPLES, LOWEST, HIGHEST = 400, 0.90, 0.985


@pytest.mark.parametrize("n_repeats", [1, 5, None])
def test_intervals_cover_the_importance_in_the_population(n_repeats):
    n, estimates, errors, naive = 300, [], [], []
    for seed in range(SAMPLES):
        a, _, noise, rng = additive(seed, n)
        if n_repeats is None:
            pairs = table(a, noise)
            estimates.append(pairs.mean())
            errors.append(exact_errors(pairs.mean(1), pairs.mean(0)))
            naive.append(exact_errors(pairs.mean(1), np.full(n, pairs.mean())))
        else:
            donors = shuffles(rng, n, n_repeats)
            drops = squared_drops(a, noise, donors)
            estimates.append(drops.mean())
            errors.append(sampled_errors(drops, donors))
    assert LOWEST <= covers(estimates, errors, 2.0) <= HIGHEST
    if naive:
        assert covers(estimates, naive, 2.0) < 0.88


@pytest.mark.parametrize("weighted", [False, True])
def test_a_heavy_tail_is_covered_less_often_but_not_much(weighted):
    estimates, errors = [], []
    for seed in range(SAMPLES):
        a, _, noise, rng = additive(seed, 300, heavy=True)
        donors = shuffles(rng, 300, 5)
        weight = rng.uniform(0, 2, 300) if weighted else None
        drops = squared_drops(a, noise, donors)
        estimates.append(np.average(drops.mean(0), weights=weight))
        errors.append(sampled_errors(drops, donors, weight=weight))
    # A t distribution with 5 degrees of freedom has variance 5/3.
    assert 0.87 <= covers(estimates, errors, 10 / 3) <= HIGHEST


@pytest.mark.parametrize(
    "function",
    [r2_score, explained_variance_score, root_mean_squared_error, accuracy_score],
    ids=lambda function: function.__name__,
)
def test_intervals_cover_for_other_scores(function):
    n, estimates, errors = 300, [], []
    classify = function is accuracy_score
    for seed in range(SAMPLES):
        a, b, noise, rng = additive(seed, n)
        y, donors = a + b + noise, shuffles(rng, n, 5)
        if classify:
            metric = row_metric(function, "decision_function", y > 0, n_classes=2)
        else:
            sign = -1 if function is root_mean_squared_error else 1
            metric = row_metric(function, "predict", y, sign=sign)
        before, after = (a + b)[None, :, None], (a[donors] + b)[:, :, None]
        drop = (metric.scores(before) - metric.scores(after)).mean()
        drops = metric.row_scores(before) - metric.row_scores(after)
        influence = metric.normaliser_influence(np.array([drop]))
        estimates.append(drop)
        errors.append(sampled_errors(drops, donors, influence=influence))
    # Normal variables: R² falls by 2/3, the root rises from 1 to √3; signs agree with chance
    # 1/2 + asin(ρ)/π, for correlations √(2/3) and 1/√6.
    truth = {
        r2_score: 2 / 3,
        explained_variance_score: 2 / 3,
        root_mean_squared_error: np.sqrt(3) - 1,
        accuracy_score: (np.arcsin(np.sqrt(2 / 3)) - np.arcsin(1 / np.sqrt(6))) / np.pi,
    }
    assert LOWEST <= covers(estimates, errors, truth[function]) <= HIGHEST


def test_bootstrap_agrees_with_influences():
    n = 500
    a, _, noise, rng = additive(6, n)
    donors = shuffles(rng, n, 20)
    drops = squared_drops(a, noise, donors)
    direct = sampled_errors(drops, donors)

    def importance_of(rows, rng):
        a_rows, noise_rows = a[rows], noise[rows]
        return (
            np.array([mean_squared_error(noise_rows, a_rows[rng.permutation(n)] - a_rows)])
            - (noise_rows**2).mean()
        )

    importances = drops.mean(1)[None]
    errors = bootstrap_errors(importance_of, n, importances, n_resamples=400, random_state=0)
    again = bootstrap_errors(importance_of, n, importances, n_resamples=400, random_state=0)
    np.testing.assert_array_equal(errors.sample_se, again.sample_se)
    assert errors.mc_se == pytest.approx([direct.mc_se], rel=1e-12)
    # 400 resamples have a relative error of 3.5 %, and as much again through the noise.
    assert errors.sample_se == pytest.approx([direct.sample_se], rel=0.15)
    assert errors.interval(importances.mean(1)).shape == (1, 2)
    once = bootstrap_errors(importance_of, n, importances[:, :1], n_resamples=400, random_state=0)
    assert np.isnan(once.mc_se[0]) and once.se[0] > errors.sample_se[0]


def test_bootstrap_needs_resamples():
    with pytest.raises(ValueError, match="n_resamples=1"):
        bootstrap_errors(lambda rows, rng: np.zeros(1), 5, np.zeros((1, 3)), n_resamples=1)


@pytest.mark.parametrize(
    ("scoring", "options"),
    [
        ("neg_mean_squared_error", {"n_repeats": 2}),
        ("r2", {"n_repeats": "all"}),
        ("neg_mean_squared_error", {"n_repeats": 1, "se": "bootstrap", "n_bootstraps": 60}),
    ],
    ids=["drawn", "all", "bootstrap"],
)
def test_intervals_of_a_noise_column_cover_zero_with_part_of_the_rows(scoring, options):
    rng = np.random.RandomState(0)
    draws, covered, spread, said = 100, 0, [], []
    model = LinearRegressor().fit(np.eye(3)[:, :2], [1.0, 0.0, 0.0])
    for seed in range(draws):
        X = rng.normal(size=(150, 2))
        y = X[:, 0] + rng.uniform(-1, 1, size=150)
        found = permutation_importance(
            model, X, y, scoring=scoring, max_samples=0.4, random_state=seed, **options
        )
        low, high = found.ci[1]
        covered += low <= 0 <= high
        spread.append(found.importances_mean[1])
        said.append(found.importances_se[1])
    # The standard deviation of the coverage of 95 % over 100 draws is 2.2 %.
    assert covered >= 88
    assert 0.8 < np.mean(said) / np.std(spread) < 1.25


def test_no_subset_no_difference_of_baselines():
    X = np.random.RandomState(0).normal(size=(60, 2))
    model = LinearRegressor().fit(X, X[:, 0])
    options = {"random_state": 0, "scoring": "r2"}
    whole = permutation_importance(model, X, X[:, 0], **options)
    again = permutation_importance(model, X, X[:, 0], max_samples=60, **options)
    np.testing.assert_array_equal(whole.importances_se, again.importances_se)
