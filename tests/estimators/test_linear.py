"""LinearRegressor against NumPy and scikit-learn, and the numbers of the reference book."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge

from thetalearn import LinearRegressor
from thetalearn.exceptions import RankWarning

few = settings(max_examples=max(settings().max_examples // 3, 1))

seeds = st.integers(0, 10_000)


def data(seed, n=40, d=4, m=None):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + rng.normal(size=d)
    shape = (n,) if m is None else (n, m)
    coef = rng.normal(size=(d,) if m is None else (d, m))
    return x, 3 + x @ coef + rng.normal(size=shape)


def check_equal(ours, theirs, atol):
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=atol)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=atol)
    assert np.shape(ours.coef_) == np.shape(theirs.coef_)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)


# ------------------------------------------------------------------ peers


@few
@given(
    seed=seeds,
    m=st.sampled_from([None, 1, 3]),
    fit_intercept=st.booleans(),
    weighted=st.booleans(),
)
def test_ordinary_least_squares(seed, m, fit_intercept, weighted):
    x, y = data(seed, m=m)
    weight = np.random.default_rng(seed).uniform(0.1, 3, len(x)) if weighted else None
    ours = LinearRegressor(fit_intercept=fit_intercept).fit(x, y, sample_weight=weight)
    theirs = LinearRegression(fit_intercept=fit_intercept).fit(x, y, sample_weight=weight)
    if not fit_intercept:  # scikit-learn's is a plain zero also for several targets
        theirs.intercept_ = np.zeros(m) if m else 0.0
    # Rounding times condition numbers of at most a hundred, squared.
    check_equal(ours, theirs, 1e-11)
    assert ours.rank_ == x.shape[1] + fit_intercept
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=0, atol=1e-11)


def test_numpys_lstsq_on_real_data():
    x, y = load_diabetes(return_X_y=True)
    model = LinearRegressor().fit(x, y)
    design = np.c_[np.ones(len(x)), x]
    truth = np.linalg.lstsq(design, y, rcond=None)[0]
    # Coefficients of up to 800, and a condition number of 230.
    np.testing.assert_allclose(np.r_[model.intercept_, model.coef_], truth, rtol=0, atol=1e-8)
    assert model.condition_number_ == pytest.approx(np.linalg.cond(design), rel=1e-10)


@few
@given(
    seed=seeds,
    alpha=st.floats(1e-4, 1e3),
    fit_intercept=st.booleans(),
    weighted=st.booleans(),
    m=st.sampled_from([None, 2]),
)
def test_ridge_has_alpha_over_the_weight_of_the_rows(seed, alpha, fit_intercept, weighted, m):
    x, y = data(seed, m=m)
    weight = np.random.default_rng(seed).uniform(0.1, 3, len(x)) if weighted else np.ones(len(x))
    ours = LinearRegressor(alpha=alpha / weight.sum(), fit_intercept=fit_intercept)
    ours.fit(x, y, sample_weight=weight)
    theirs = Ridge(alpha=alpha, fit_intercept=fit_intercept, solver="svd")
    theirs.fit(x, y, sample_weight=weight)
    if not fit_intercept:
        theirs.intercept_ = np.zeros(m) if m else 0.0
    # Rounding times condition numbers of at most a hundred, squared.
    check_equal(ours, theirs, 1e-11)


@few
@given(
    seed=seeds,
    alpha=st.floats(1e-3, 1),
    l1_ratio=st.floats(0.1, 1),
    fit_intercept=st.booleans(),
    weighted=st.booleans(),
)
def test_elastic_net_and_lasso_have_the_same_alpha(seed, alpha, l1_ratio, fit_intercept, weighted):
    x, y = data(seed)
    weight = np.random.default_rng(seed).uniform(0.1, 3, len(x)) if weighted else None
    options = {"alpha": alpha, "fit_intercept": fit_intercept, "tol": 1e-12, "max_iter": 100_000}
    ours = LinearRegressor(l1_ratio=l1_ratio, **options).fit(x, y, sample_weight=weight)
    theirs = ElasticNet(l1_ratio=l1_ratio, **options).fit(x, y, sample_weight=weight)
    # The square root of a duality gap of 1e-12 |y|^2, both sides.
    check_equal(ours, theirs, 2e-5)
    assert ours.converged_ and ours.n_iter_ >= 1
    np.testing.assert_array_equal(
        ours.coef_ == 0, np.where(np.abs(theirs.coef_) < 1e-5, ours.coef_ == 0, theirs.coef_ == 0)
    )


def test_lasso_gives_exact_zeros():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 20))
    y = 3 * x[:, 4] - 2 * x[:, 11] + 0.1 * rng.normal(size=100)
    ours = LinearRegressor(alpha=0.2, l1_ratio=1.0).fit(x, y)
    assert np.flatnonzero(ours.coef_).tolist() == [4, 11]
    theirs = Lasso(alpha=0.2, tol=1e-10).fit(x, y)
    # The square root of the duality gap.
    check_equal(ours, theirs, 1e-4)
    # Above max |X'y| / n nothing is left.
    largest = np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / 100
    assert not LinearRegressor(alpha=largest * 1.0001, l1_ratio=1.0).fit(x, y).coef_.any()
    assert LinearRegressor(alpha=largest * 0.999, l1_ratio=1.0).fit(x, y).coef_.any()


def test_more_sweeps_than_allowed_are_reported():
    x, y = load_diabetes(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="max_iter=1 sweeps.*tol=1e-12.*raise max_iter"):
        model = LinearRegressor(alpha=0.01, l1_ratio=0.5, tol=1e-12, max_iter=1).fit(x, y)
    assert not model.converged_ and model.n_iter_ == 1 and len(model.history_) == 1


# ------------------------------------------------------------------ closed forms


def orthonormal(seed, n=30, d=4):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, d)))[0] * np.sqrt(n)


@few
@given(seed=seeds, alpha=st.floats(0.01, 2), l1_ratio=st.just(0.0) | st.floats(0.05, 1))
def test_orthogonal_design_shrinks_and_thresholds_each_coefficient(seed, alpha, l1_ratio):
    # Book, section 9.2: sign(p) max(|p| - C / H_ii, 0), with a mean Hessian of one.
    x = orthonormal(seed)
    y = x @ np.array([2.0, -1.0, 0.3, 0.0]) + np.random.default_rng(seed).normal(size=30) / 10
    free = x.T @ y / 30
    model = LinearRegressor(alpha=alpha, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-12)
    model.fit(x, y)
    soft = np.sign(free) * np.maximum(np.abs(free) - alpha * l1_ratio, 0)
    # The square root of the duality gap.
    expected = soft / (1 + alpha * (1 - l1_ratio))
    np.testing.assert_allclose(model.coef_, expected, rtol=0, atol=1e-5)


@few
@given(seed=seeds, c=st.floats(1e-3, 100))
def test_ridge_of_exercise_9_1(seed, c):
    # 1/2 |Y - X theta|^2 + C/2 |theta|^2: a sum, so C is alpha times the number of rows.
    x, y = data(seed)
    model = LinearRegressor(alpha=c / len(x), fit_intercept=False).fit(x, y)
    expected = np.linalg.solve(x.T @ x + c * np.eye(4), x.T @ y)
    # Rounding times condition numbers of at most 1e4.
    np.testing.assert_allclose(model.coef_, expected, rtol=0, atol=1e-11)


@few
@given(seed=seeds, c=st.floats(1e-3, 100))
def test_ridge_shrinks_by_the_hessian(seed, c):
    # Book, section 9.2: theta = (H + C I)^-1 H theta*, with the Hessian of the mean loss.
    x, y = data(seed)
    free = LinearRegressor(fit_intercept=False).fit(x, y)
    shrunk = LinearRegressor(alpha=c, fit_intercept=False).fit(x, y)
    hessian = x.T @ x / len(x)
    expected = np.linalg.solve(hessian + c * np.eye(4), hessian @ free.coef_)
    # As above.
    np.testing.assert_allclose(shrunk.coef_, expected, rtol=0, atol=1e-11)


def test_dropout_of_a_linear_model_is_a_ridge():
    # E |Y - (gamma * X) theta|^2 = |Y - p X theta|^2 + p (1 - p) theta' diag(X'X) theta, by
    # enumerating all masks; its minimiser is ridge on columns scaled to one mean square.
    rng = np.random.default_rng(0)
    n, d, p = 4, 2, 0.3
    x, y = rng.normal(size=(n, d)), rng.normal(size=n)
    masks = np.array(list(itertools.product([0, 1], repeat=n * d))).reshape(-1, n, d)
    chance = p ** masks.sum((1, 2)) * (1 - p) ** (n * d - masks.sum((1, 2)))
    stacked = (masks * x).reshape(-1, d)
    dropout = LinearRegressor(fit_intercept=False)
    dropout.fit(stacked, np.tile(y, len(masks)), sample_weight=np.repeat(chance, n))
    scale = np.sqrt((x**2).mean(0))
    ridge = LinearRegressor(alpha=(1 - p) / p, fit_intercept=False).fit(x / scale, y)
    # Weights that span four decades, in a small problem.
    np.testing.assert_allclose(dropout.coef_, ridge.coef_ / scale / p, rtol=0, atol=1e-12)
    closed = np.linalg.solve(x.T @ x + (1 - p) / p * np.diag(np.diag(x.T @ x)), x.T @ y) / p
    np.testing.assert_allclose(dropout.coef_, closed, rtol=0, atol=1e-12)


def test_ridge_tends_to_the_solution_of_least_norm():
    # Book, section 9.2.2: C -> 0 with more columns than rows.
    x, y = data(0, n=5, d=12)
    limit = LinearRegressor(alpha=1e-12).fit(x, y)
    with pytest.warns(RankWarning):
        ridgeless = LinearRegressor().fit(x, y)
    # First order in alpha.
    np.testing.assert_allclose(limit.coef_, ridgeless.coef_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ridgeless.predict(x), y, rtol=0, atol=1e-12)


# ------------------------------------------------------------------ the book's chapter 2


def test_table_2_1():
    x = np.array([5.8, 1.5, 2.7, 9.4, 6.5])
    y = np.array([19.0, 3.5, 10.4, 19.2, 6.6])
    model = LinearRegressor().fit(x[:, None], y)
    fitted = model.predict(x[:, None])
    # The reference gives six decimals.
    assert model.coef_[0] == pytest.approx(1.585848, abs=5e-7)
    assert model.intercept_ == pytest.approx(3.525305, abs=5e-7)
    assert np.mean((y - fitted) ** 2) == pytest.approx(20.962189, abs=5e-7)
    assert np.mean(np.abs(y - fitted) / y) == pytest.approx(0.480499, abs=5e-7)
    # Its error recursion has the eigenvalues of the mean Gram matrix, hence the critical rate.
    low, high = 0.223037, 35.534963
    assert model.condition_number_ == pytest.approx(np.sqrt(high / low), rel=3e-6)
    # Section 2.6: w = cov(x, y) / var(x), b = mean(y) - w mean(x).
    slope = (np.mean(x * y) - x.mean() * y.mean()) / (np.mean(x**2) - x.mean() ** 2)
    assert model.coef_[0] == pytest.approx(slope, rel=1e-13)
    assert model.intercept_ == pytest.approx(y.mean() - slope * x.mean(), rel=1e-13)


def test_exercise_2_5():
    model = LinearRegressor().fit([[0.0], [2.0], [1.0]], [1.0, 0.0, 3.0])
    # Exact fractions, to rounding.
    assert model.coef_[0] == pytest.approx(-1 / 2, rel=1e-14)
    assert model.intercept_ == pytest.approx(11 / 6, rel=1e-14)
    fitted = model.predict([[0.0], [2.0], [1.0]])
    assert np.mean((fitted - [1, 0, 3]) ** 2) == pytest.approx(25 / 18, rel=1e-14)
    # Critical rate 0.418861 = 1 / largest eigenvalue of [[5/3, 1], [1, 1]].
    values = np.array([1 / 0.418861, 8 / 3 - 1 / 0.418861])
    assert model.condition_number_ == pytest.approx(np.sqrt(values[0] / values[1]), rel=1e-5)


def test_batch_of_section_2_5():
    # One output row for each input row: (3 2) applied to three rows.
    x = np.array([[3.0, 4.0], [-1.0, 0.0], [4.0, 2.0]])
    y = np.array([[17.0], [-3.0], [16.0]])
    model = LinearRegressor(fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(model.coef_, [[3, 2]], rtol=0, atol=1e-14)
    assert model.predict(x).shape == (3, 1)


# ------------------------------------------------------------------ laws


@few
@given(seed=seeds, alpha=st.sampled_from([0.0, 0.3]), l1_ratio=st.sampled_from([0.0, 0.5]))
def test_integer_weights_are_repeated_rows(seed, alpha, l1_ratio):
    x, y = data(seed)
    times = np.random.default_rng(seed).integers(0, 4, len(x))
    model = LinearRegressor(alpha=alpha, l1_ratio=l1_ratio, tol=1e-13)
    weighted = model.fit(x, y, sample_weight=times).coef_
    repeated = model.fit(np.repeat(x, times, 0), np.repeat(y, times)).coef_
    # Rounding; for coordinate descent the square root of its tolerance.
    atol = 1e-5 if alpha and l1_ratio else 1e-11
    np.testing.assert_allclose(weighted, repeated, rtol=0, atol=atol)


@few
@given(
    seed=seeds,
    cuts=st.lists(st.integers(1, 39), max_size=4),
    alpha=st.sampled_from([0.0, 0.3]),
    l1_ratio=st.sampled_from([0.0, 0.5]),
    m=st.sampled_from([None, 2]),
)
def test_partial_fit_and_merge_are_one_fit(seed, cuts, alpha, l1_ratio, m):
    x, y = data(seed, m=m)
    whole = LinearRegressor(alpha=alpha, l1_ratio=l1_ratio, tol=1e-13)
    stream, merged = (LinearRegressor(**whole.get_params()) for _ in range(2))
    whole.fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)  # the first rows may be too few
        for part in np.split(np.arange(40), sorted(set(cuts))):
            stream.partial_fit(x[part], y[part])
            other = LinearRegressor(**whole.get_params()).fit(x[part], y[part])
            merged = other if part[0] == 0 else merged.merge(other)
    assert stream.n_samples_seen_ == merged.n_samples_seen_ == 40
    # Rounding; for coordinate descent the square root of its tolerance.
    atol = 1e-5 if alpha and l1_ratio else 1e-11
    check_equal(stream, whole, atol)
    check_equal(merged, whole, atol)


def test_merging_with_itself_counts_every_row_twice():
    x, y = data(0)
    model = LinearRegressor(alpha=0.1).fit(x, y)
    coef = model.coef_.copy()
    model.merge(model)
    assert model.n_samples_seen_ == 80
    # The penalty is weighed against the mean, so nothing else changes.
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-12)


@few
@given(seed=seeds, shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3))
def test_equivariance(seed, shift, scale):
    x, y = data(seed)
    plain = LinearRegressor().fit(x, y)
    moved = LinearRegressor().fit(x * scale + shift, y)
    both = LinearRegressor().fit(x, scale * y + shift)
    # Rounding of the shifted columns, relative to their spread.
    noise = 1e-11 * (1 + abs(shift) / scale) ** 2 * (1 + np.abs(plain.coef_).max())
    np.testing.assert_allclose(moved.coef_ * scale, plain.coef_, rtol=0, atol=noise)
    tolerance = 1e-11 * (scale + abs(shift))
    np.testing.assert_allclose(both.coef_, scale * plain.coef_, rtol=0, atol=tolerance)
    assert both.intercept_ == pytest.approx(scale * plain.intercept_ + shift, abs=10 * tolerance)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_targets_are_fitted_one_by_one(l1_ratio):
    x, y = data(0, m=3)
    model = LinearRegressor(alpha=0.2, l1_ratio=l1_ratio, tol=1e-13)
    together = model.fit(x, y).coef_
    alone = [model.fit(x, target).coef_ for target in y.T]
    # The same factor, but for the order of its sums.
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("m", [None, 2])
def test_derivatives_are_the_coefficients(m):
    x, y = data(0, m=m)
    model = LinearRegressor().fit(x, y)
    gradient = model.gradient(x[:3])
    np.testing.assert_array_equal(gradient, np.broadcast_to(model.coef_, gradient.shape))
    assert gradient.shape == ((3, 4) if m is None else (3, m, 4))
    assert not model.derivative(x, [1, 1, 0, 0]).any()
    # The same products, summed by another routine.
    np.testing.assert_allclose(model.derivative(x, [0] * 4), model.predict(x), rtol=1e-13)


def test_names_of_columns():
    x, y = data(0)
    frame = pd.DataFrame(x, columns=list("abcd"))
    assert LinearRegressor().fit(frame, y).term_names_ == ["1", "a", "b", "c", "d"]
    assert LinearRegressor(fit_intercept=False).fit(x, y).term_names_ == ["x0", "x1", "x2", "x3"]


# ------------------------------------------------------------------ kinds of input


@pytest.mark.parametrize("alpha, l1_ratio", [(0.0, 0.0), (0.1, 0.0), (0.1, 0.5)])
def test_sparse_rows_are_rows(alpha, l1_ratio):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6)) * (rng.random((50, 6)) < 0.4)
    y = rng.normal(size=50)
    weight = rng.integers(0, 3, 50).astype(float)
    model = LinearRegressor(alpha=alpha, l1_ratio=l1_ratio)
    dense = model.fit(x, y, sample_weight=weight).coef_.copy()
    for kind in (sp.csr_array, sp.csc_matrix, sp.coo_array):
        model.fit(kind(x), y, sample_weight=weight)
        np.testing.assert_array_equal(model.coef_, dense)  # the same numbers, block by block
        np.testing.assert_allclose(model.predict(kind(x)), model.predict(x), rtol=1e-14, atol=1e-15)


def test_precision_and_type_follow_the_input():
    x, y = data(0)
    double = LinearRegressor().fit(x, y)
    single = LinearRegressor().fit(x.astype(np.float32), y)
    assert double.predict(x).dtype == np.float64
    assert single.predict(x.astype(np.float32)).dtype == np.float32
    # float32 columns are known to 6e-8, everything after is float64.
    np.testing.assert_allclose(single.coef_, double.coef_, rtol=0, atol=1e-5)
    tensors = LinearRegressor().fit(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_array_equal(tensors.coef_, double.coef_)
    out = tensors.predict(torch.from_numpy(x))
    assert torch.is_tensor(out) and out.dtype == torch.float64
    assert tensors.predict(torch.from_numpy(x).float()).dtype == torch.float32
    integers = LinearRegressor().fit(torch.arange(12).reshape(6, 2) ** 2, [0, 1, 2, 4, 4, 5])
    assert integers.predict(np.arange(2)[None]).dtype == np.float64


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_layout_does_not_matter(order):
    x, y = data(0)
    truth = LinearRegressor().fit(x, y)
    odd = np.asarray(np.repeat(x, 2, 0), order=order)[::-2]  # every row once, backwards
    other = LinearRegressor().fit(odd, y[::-1])
    # The same rows in another order.
    np.testing.assert_allclose(other.coef_, truth.coef_, rtol=0, atol=1e-12)
    readonly = x.copy()
    readonly.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(LinearRegressor().fit(readonly, y).coef_, truth.coef_)
        LinearRegressor().fit(x.astype(">f8"), y)


def test_a_constant_column_gets_a_coefficient_of_zero():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    x[:, 1] = 0.1
    with pytest.warns(RankWarning, match="4 coefficients, of which the 60 rows determine 3"):
        model = LinearRegressor().fit(x, y)
    plain = LinearRegressor().fit(x[:, [0, 2]], y)
    # What is left of the constant column is rounding.
    assert abs(model.coef_[1]) < 1e-12
    np.testing.assert_allclose(model.coef_[[0, 2]], plain.coef_, rtol=0, atol=1e-12)
    assert LinearRegressor(fit_intercept=False).fit(x, y).rank_ == 3  # there it is the intercept
