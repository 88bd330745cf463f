"""Regression on a basis: exact updates, derivatives, convergence, kinks, model selection."""

import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from thetalearn import (
    BSplineRegressor,
    ChebyshevRegressor,
    PolynomialRegressor,
    RandomFeatureRegressor,
    ReLURegressor,
)
from thetalearn.exceptions import DomainError, RankWarning
from thetalearn.representations.bases import chebyshev_nodes, equispaced_nodes, smolyak_nodes

few = settings(max_examples=max(settings().max_examples // 10, 1))

BOX = (-2.0, 2.0)

# Nothing is learnt from the data but, for polynomials, the domain.
GIVEN = {
    "polynomial": PolynomialRegressor(3),
    "polynomial ridge": PolynomialRegressor(3, alpha=0.1),
    "chebyshev": ChebyshevRegressor(4),
    "chebyshev hyperbolic": ChebyshevRegressor(6, product="hyperbolic", alpha=0.01),
    "chebyshev on a domain": ChebyshevRegressor(3, product="tensor", domain=BOX),
    "spline sum": BSplineRegressor(3, domain=BOX),
    "spline sum penalised": BSplineRegressor(8, domain=BOX, alpha=0.01),
    "spline product": BSplineRegressor(2, 2, domain=BOX, product="tensor"),
    "spline product penalised": BSplineRegressor(
        [-0.7, 0.4], 2, domain=BOX, product="tensor", kinks=[0.2], alpha=1e-3
    ),
    "relu": ReLURegressor(4, domain=BOX),
    "relu product": ReLURegressor([-1.0, 0.3], product="tensor", alpha=0.01),
    "random fourier": RandomFeatureRegressor(15, gamma=0.5, random_state=0),
    "random relu": RandomFeatureRegressor(15, kind="relu", gamma=0.5, random_state=0),
}
# As much as possible is learnt from the data.
LEARNT = {
    "chebyshev": ChebyshevRegressor(3),
    "splines at quantiles": BSplineRegressor(3, placement="quantile"),
    "relus at quantiles": ReLURegressor(4, placement="quantile"),
    "random features of the data's scale": RandomFeatureRegressor(10, random_state=0),
}

every = pytest.mark.parametrize("model", GIVEN.values(), ids=GIVEN.keys())
every_learnt = pytest.mark.parametrize("model", LEARNT.values(), ids=LEARNT.keys())

#: Rounding, times condition numbers of at most a few thousand, squared off the range.
CLOSE = {"rtol": 0, "atol": 1e-8}


def data(seed=0, n=120, d=2, m=None):
    rng = np.random.default_rng(seed)
    x = rng.uniform(*BOX, (n, d))
    y = np.sin(x[:, 0]) * np.cos(x[:, -1]) + 0.1 * rng.normal(size=n)
    return x, y if m is None else np.column_stack([y * k + x[:, 0] ** k for k in range(1, m + 1)])


@pytest.fixture
def quiet_rank():
    """Few rows at first leave coefficients open; that is not what these tests are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)
        yield


def check_same_fit(one, other):
    x = data(99)[0]
    np.testing.assert_allclose(one.coef_, other.coef_, **CLOSE)
    np.testing.assert_allclose(one.predict(x), other.predict(x), **CLOSE)
    assert one.basis_ == other.basis_
    assert one.rank_ == other.rank_ and one.n_samples_seen_ == other.n_samples_seen_


# ------------------------------------------------------------------ updates and merges


@every
@few
@given(
    cuts=st.lists(st.integers(1, 119), max_size=4),
    m=st.sampled_from([None, 2]),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_partial_fit_over_any_split_is_one_fit(model, cuts, m, weighted, seed):
    x, y = data(seed, m=m)
    weight = np.random.default_rng(seed).uniform(0.5, 2, 120) if weighted else None
    whole, stream = clone(model).fit(x, y, sample_weight=weight), clone(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)  # of the first few rows
        for part in np.split(np.arange(120), sorted(set(cuts))):
            own = None if weight is None else weight[part]
            stream.partial_fit(x[part], y[part], sample_weight=own)
    check_same_fit(stream, whole)


@every
@pytest.mark.usefixtures("quiet_rank")
def test_streaming_one_row_at_a_time_from_the_first(model):
    x, y = data()
    stream = clone(model)
    for i in range(120):
        stream.partial_fit(x[[i]], y[[i]])
        assert np.isfinite(stream.predict(x[: i + 1])).all()
    check_same_fit(stream, clone(model).fit(x, y))


@pytest.mark.parametrize("centre, scale", [(0.0, 1e-9), (1.7e9, 1.0), (-5.0, 1e3), (1e-3, 1e-12)])
@pytest.mark.usefixtures("quiet_rank")
def test_domains_grow_in_any_units(centre, scale):
    # The first row gives no width, and what is made up for it must leave no trace.
    u = np.random.default_rng(0).uniform(-1, 1, 40)
    x, y = centre + scale * u[:, None], np.sin(3 * u)
    stream = ChebyshevRegressor(8)
    for i in range(40):
        stream.partial_fit(x[[i]], y[[i]])
    whole = ChebyshevRegressor(8).fit(x, y)
    assert stream.basis_ == whole.basis_
    # Rounding of x, relative to the width of the domain, times slopes of up to 64.
    noise = 1e-12 + 100 * np.finfo(float).eps * abs(centre) / scale
    np.testing.assert_allclose(stream.predict(x), whole.predict(x), rtol=0, atol=noise)


@pytest.mark.usefixtures("quiet_rank")
def test_domains_grow_also_where_one_column_stays_constant_for_long():
    x, y = data(n=60)
    x[:30, 1] = 0.5
    stream = ChebyshevRegressor(3)
    for part in np.split(np.arange(60), 12):
        stream.partial_fit(x[part], y[part])
    check_same_fit(stream, ChebyshevRegressor(3).fit(x, y))


def test_partial_fit_continues_a_fit():
    x, y = data()
    model = ChebyshevRegressor(4).fit(x[:70], y[:70]).partial_fit(x[70:], y[70:])
    check_same_fit(model, ChebyshevRegressor(4).fit(x, y))
    model.fit(x[:50], y[:50])  # and a fit forgets
    check_same_fit(model, ChebyshevRegressor(4).fit(x[:50], y[:50]))


@every
@few
@given(cuts=st.tuples(st.integers(20, 50), st.integers(70, 100)), m=st.sampled_from([None, 2]))
def test_merging_is_one_fit_and_associative(model, cuts, m):
    x, y = data(m=m)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)
        parts = [
            clone(model).fit(x[part], y[part]) for part in np.split(np.arange(120), list(cuts))
        ]
        a, b, c = parts
        before = pickle.dumps(b)
        left = pickle.loads(pickle.dumps(a)).merge(b).merge(c)
        assert pickle.dumps(b) == before  # the other is left as it was
        right = pickle.loads(pickle.dumps(b)).merge(c)
        right = pickle.loads(pickle.dumps(a)).merge(right)
        swapped = pickle.loads(pickle.dumps(c)).merge(a).merge(b)
    whole = clone(model).fit(x, y)
    for merged in (left, right, swapped):
        check_same_fit(merged, whole)


@every
@pytest.mark.usefixtures("quiet_rank")
def test_a_refused_merge_or_update_changes_nothing(model):
    x, y = data()
    model = clone(model).fit(x, y)
    before = model.predict(x)
    other = RandomFeatureRegressor(7).fit(x, y)
    with pytest.raises(ValueError, match="cannot merge"):
        model.merge(other)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit([[np.nan, 0]], [0])
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(x[:, :1], y)
    np.testing.assert_array_equal(model.predict(x), before)
    assert model.n_samples_seen_ == 120


def test_a_refused_merge_leaves_the_domain():
    x, y = data()
    for other in (
        ChebyshevRegressor(5),
        ChebyshevRegressor(4, extrapolation="clip"),
        ChebyshevRegressor(4, product="tensor"),
        ChebyshevRegressor(4, domain=(-9, 9)),
    ):
        model = ChebyshevRegressor(4).fit(x[:60] / 2, y[:60])
        before, basis = model.predict(x), model.basis_
        with pytest.raises(ValueError, match=r"cannot merge.*different bases"):
            model.merge(other.fit(x, y))
        assert model.basis_ == basis
        np.testing.assert_array_equal(model.predict(x), before)


def test_rows_outside_the_domain_of_knots_are_refused_and_change_nothing():
    x, y = data()
    model = BSplineRegressor(3).fit(x[:60] / 2, y[:60])
    before = model.predict(x)
    with pytest.raises(DomainError, match="knots cannot move once rows were seen; give domain="):
        model.partial_fit(x, y)
    np.testing.assert_array_equal(model.predict(x), before)


# ------------------------------------------------------------------ weights


@every
@few
@given(seed=st.integers(0, 1000))
def test_integer_weights_are_repeated_rows(model, seed):
    x, y = data(seed)
    times = np.random.default_rng(seed).integers(1, 4, 120)
    weighted = clone(model).fit(x, y, sample_weight=times)
    repeated = clone(model).fit(np.repeat(x, times, 0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, **CLOSE)
    x = data(99)[0]
    np.testing.assert_allclose(weighted.predict(x), repeated.predict(x), **CLOSE)


@every_learnt
@few
@given(seed=st.integers(0, 1000))
def test_what_is_learnt_from_the_data_is_weighted_too(model, seed):
    x, y = data(seed)
    times = np.random.default_rng(seed).integers(0, 4, 120)
    weighted = clone(model).fit(x, y, sample_weight=times)
    repeated = clone(model).fit(np.repeat(x, times, 0), np.repeat(y, times))
    # Quantiles and ranges are data points; the scale is a sum in another order.
    new = data(99)[0]
    np.testing.assert_allclose(weighted.predict(new), repeated.predict(new), **CLOSE)


@every
def test_all_weights_may_be_scaled(model):
    x, y = data()
    weight = np.random.default_rng(0).uniform(0.5, 2, 120)
    one, other = (clone(model).fit(x, y, sample_weight=k * weight) for k in (1.0, 1e6))
    # The penalty is weighed against the mean.
    np.testing.assert_allclose(one.predict(x), other.predict(x), **CLOSE)


# ------------------------------------------------------------------ derivatives


@every
@pytest.mark.parametrize("m", [None, 2])
def test_gradient_against_differences(model, m):
    x, y = data(m=m)
    model = clone(model).fit(x, y)
    at = np.random.default_rng(1).uniform(-1.8, 1.8, (40, 2))
    gradient = model.gradient(at)
    assert gradient.shape == ((40, 2) if m is None else (40, m, 2))
    for j, step in enumerate(1e-6 * np.eye(2)):
        slope = (model.predict(at + step) - model.predict(at - step)) / 2e-6
        # Rounding over the step, 1e-10, and third derivatives times its square.
        np.testing.assert_allclose(gradient[..., j], slope, rtol=1e-7, atol=1e-7)
        orders = [int(i == j) for i in range(2)]
        np.testing.assert_array_equal(model.derivative(at, orders), gradient[..., j])


@every
def test_mixed_derivatives_against_differences(model):
    x, y = data()
    model = clone(model).fit(x, y)
    at = np.random.default_rng(1).uniform(-1.8, 1.8, (40, 2))
    step = np.array([0.0, 1e-6])
    for orders in ([1, 1], [2, 0], [1, 0]):
        before = [orders[0], orders[1]]
        further = [orders[0], orders[1] + 1]
        slope = model.derivative(at + step, before) - model.derivative(at - step, before)
        # As above, with derivatives of one order more.
        np.testing.assert_allclose(
            model.derivative(at, further), slope / 2e-6, rtol=1e-5, atol=1e-5
        )


def test_derivatives_of_a_known_function():
    x = chebyshev_nodes(30)[:, None]
    model = ChebyshevRegressor(29, domain=(-1, 1)).fit(x, np.sin(2 * x[:, 0]))
    at = np.linspace(-1, 1, 50)[:, None]
    for order, truth in enumerate([np.sin, np.cos, lambda z: -np.sin(z), lambda z: -np.cos(z)]):
        # Rounding 1e-15, magnified by k^2/(2j + 1) at most with each derivative.
        atol = 1e-14 * 29 ** (2 * order)
        expected = 2**order * truth(2 * at[:, 0])
        np.testing.assert_allclose(model.derivative(at, order), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("order", [1, [1], [1, 1, 1], [-1, 0]])
def test_orders_must_fit_the_columns(order):
    x, y = data()
    with pytest.raises(ValueError, match=r"order=.*non-negative int for each of the 2 inputs"):
        ChebyshevRegressor(3).fit(x, y).derivative(x, order)


# ------------------------------------------------------------------ spaces of functions


@pytest.mark.parametrize("product", ["complete", "tensor", "hyperbolic", "smolyak", "additive"])
@pytest.mark.parametrize("family", [PolynomialRegressor, ChebyshevRegressor])
def test_polynomials_of_the_space_are_reproduced(family, product):
    x, _ = data(d=3, n=200)
    a, b, c = x.T
    in_space = {
        "complete": 1 + a * b * c - 2 * a**2 * c + b**4,
        "tensor": 1 + a**4 * b**4 - c,
        "hyperbolic": 1 + a * b - 2 * c**4 + a,
        "smolyak": 1 + a**2 * b**2 - 2 * c**4 + a * c,
        "additive": 1 + a**4 - 2 * b**3 + c,
    }[product]
    model = family(4, product=product).fit(x, in_space)
    # Rounding times condition numbers of up to 1e5.
    np.testing.assert_allclose(model.predict(x), in_space, rtol=0, atol=1e-9)
    outside = (a**4 * b if product != "tensor" else a**5) if product != "additive" else a * b
    assert model.fit(x, outside).score(x, outside) < 0.999


def test_polynomials_and_chebyshev_span_the_same_functions():
    x, y = data()
    one, other = (
        family(6).fit(x, y).predict(x) for family in (PolynomialRegressor, ChebyshevRegressor)
    )
    # Monomials of degree six on [-2, 2] have a condition number of 1e4.
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


def test_coefficients_of_polynomials_are_those_of_the_raw_inputs():
    x, _ = data()
    a, b = x.T
    model = PolynomialRegressor(2).fit(x, 3 - a + 2 * b + 4 * a * b - 5 * b**2)
    named = dict(zip(model.term_names_, model.coef_.round(9), strict=True))
    assert named == {"1": 3, "x0": -1, "x1": 2, "x0 x1": 4, "x1^2": -5, "x0^2": 0}


@given(degree=st.integers(1, 5), n_knots=st.integers(0, 6), seed=st.integers(0, 100))
@settings(max_examples=max(settings().max_examples // 4, 1))
def test_splines_reproduce_polynomials_of_their_degree(degree, n_knots, seed):
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=degree + 1)
    x = rng.uniform(0, 1, (300, 1))
    y = np.polyval(coef, x[:, 0])
    model = BSplineRegressor(n_knots, degree, domain=(0, 1)).fit(x, y)
    # Rounding times the condition number of B-splines, at most 1e3 here.
    np.testing.assert_allclose(model.predict(x), y, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        model.derivative(x), np.polyval(np.polyder(coef), x[:, 0]), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("knots", [10, [-1.9, -1.5, 0.3, 0.35, 1.2]])
@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_strong_penalty_leaves_a_polynomial_below_its_order(knots, degree, order):
    if order > degree + 1:
        return  # there is no such derivative to penalise
    x, y = data(d=1)
    model = BSplineRegressor(knots, degree, domain=BOX, alpha=1e6, penalty_order=order).fit(x, y)
    expected = np.polyval(np.polyfit(x[:, 0], y, order - 1), x[:, 0]) if order else 0 * y
    # First order in one over alpha, times up to 1e2 for the narrowest cells.
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("degree", [0, 1, 3])
@pytest.mark.parametrize("penalty_order", [0, 1, 2, 3])
@pytest.mark.parametrize("product", ["additive", "tensor"])
def test_any_order_of_penalty_goes_with_any_degree(degree, penalty_order, product):
    x, y = data()
    options = {"domain": BOX, "product": product, "penalty_order": penalty_order}
    model = BSplineRegressor(3, degree, alpha=0.1, **options).fit(x, y)
    design = model.basis_(torch.from_numpy(x)).to_dense().numpy()
    order = min(penalty_order, degree + 1)  # the highest there is
    rows = np.sqrt(120 * 0.1) * model.basis_.differences(order).toarray()
    stacked = np.vstack([design, rows])
    truth = np.linalg.lstsq(stacked, np.r_[y, np.zeros(len(rows))], rcond=None)[0]
    # The definition: half the mean square and alpha/2 times the squared differences.
    np.testing.assert_allclose(model.coef_, truth, **CLOSE)


def test_with_many_random_features_kernel_ridge_is_near():
    x, y = data(n=60)
    gamma, alpha = 0.5, 0.01
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    gram = np.exp(-gamma * squares)
    centre = np.eye(60) - 1 / 60  # the constant is not penalised
    dual = np.linalg.solve(centre @ gram @ centre + 60 * alpha * np.eye(60), centre @ y)
    exact = y.mean() + centre @ gram @ centre @ dual
    model = RandomFeatureRegressor(8_000, gamma=gamma, alpha=alpha, random_state=0).fit(x, y)
    # Monte Carlo: a few times 1 / sqrt(8000) of values of order one.
    np.testing.assert_allclose(model.predict(x), exact, rtol=0, atol=0.05)
    few_features = RandomFeatureRegressor(50, gamma=gamma, alpha=alpha, random_state=0).fit(x, y)
    assert np.abs(few_features.predict(x) - exact).max() > np.abs(model.predict(x) - exact).max()


# ------------------------------------------------------------------ convergence

GRID = np.linspace(-1, 1, 1001)[:, None]


def interpolation_error(model, nodes, f):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankWarning)  # of monomials at high degree
        model.fit(nodes[:, None], f(nodes))
    return np.abs(model.predict(GRID) - f(GRID[:, 0])).max()


def test_exp_at_chebyshev_nodes_converges_to_rounding():
    errors = [
        interpolation_error(ChebyshevRegressor(p, domain=(-1, 1)), chebyshev_nodes(p + 1), np.exp)
        for p in range(1, 25)
    ]
    # The error of interpolation is that of the next Taylor term, (1/2)^p / (p + 1)!, about.
    factorials = np.cumprod(np.arange(2, 26, dtype=float))
    bound = np.exp(1) * 0.5 ** np.arange(1, 25) / factorials
    assert (np.array(errors) <= bound + 1e-14).all()
    assert max(errors[14:]) < 1e-14  # from degree 15 on


def runge(x):
    return 1 / (1 + 25 * x**2)


def test_runge():
    degrees = range(4, 41, 4)
    at_equispaced = [
        interpolation_error(PolynomialRegressor(p), equispaced_nodes(p + 1), runge) for p in degrees
    ]
    at_chebyshev = [
        interpolation_error(ChebyshevRegressor(p, domain=(-1, 1)), chebyshev_nodes(p + 1), runge)
        for p in degrees
    ]
    # Equispaced interpolation diverges; beyond degree 28 the monomials' rounding takes over.
    growing = at_equispaced[:7]
    assert all(after > 1.5 * before for before, after in itertools.pairwise(growing))
    assert growing[-1] > 1_000 and min(at_equispaced[7:]) > 10
    # Chebyshev: geometric with the ellipse through the poles at +- i/5.
    rho = (1 + np.sqrt(26)) / 5
    bound = 2 * rho ** -np.array(degrees, dtype=float)
    assert (np.array(at_chebyshev) < bound).all()
    assert (np.array(at_chebyshev) > bound / 10).all()
    # At Chebyshev nodes the monomials do as well, as long as they can be told apart.
    alike = interpolation_error(PolynomialRegressor(12), chebyshev_nodes(13), runge)
    assert alike == pytest.approx(at_chebyshev[2], rel=1e-6)


def test_condition_numbers_of_monomials_and_chebyshev():
    monomials = []
    for p in (2, 5, 10, 15, 20):
        x = chebyshev_nodes(p + 1)[:, None]
        y = np.exp(x[:, 0])
        # Columns are orthogonal with squared norms n and n/2.
        chebyshev = ChebyshevRegressor(p, domain=(-1, 1)).fit(x, y).condition_number_
        assert chebyshev == pytest.approx(np.sqrt(2), rel=1e-12)
        monomial = PolynomialRegressor(p).fit(x, y).condition_number_
        assert monomial == pytest.approx(np.linalg.cond(np.vander(x[:, 0])), rel=1e-4)
        monomials.append(monomial)
    # Gautschi: monomials on [-1, 1] lose a factor of 1 + sqrt(2) with each degree, about.
    rates = np.diff(np.log(monomials)) / np.diff([2, 5, 10, 15, 20])
    np.testing.assert_allclose(np.exp(rates), 1 + np.sqrt(2), rtol=0.1)
    # On [0, 1] it is the square of that, and the determinacy of the coefficients goes early.
    x = np.linspace(0, 1, 200)[:, None]
    assert PolynomialRegressor(10).fit(x, x[:, 0]).condition_number_ > 1e6
    assert ChebyshevRegressor(10).fit(x, x[:, 0]).condition_number_ < 20
    with pytest.warns(RankWarning):
        PolynomialRegressor(25).fit(x, x[:, 0])


@pytest.mark.parametrize("degree", [200, 400])
def test_hundreds_of_terms_are_stable(degree):
    x = chebyshev_nodes(2 * degree)[:, None]
    y = np.abs(x[:, 0]) ** 3
    model = ChebyshevRegressor(degree, domain=(-1, 1)).fit(x, y)
    # The even coefficients of |x|^3 fall as 24/(pi k^4), so their tail sums to 4/(pi p^3); what is
    # taken for lower degrees at the nodes is at most as much again.
    error = np.abs(model.predict(GRID) - np.abs(GRID[:, 0]) ** 3).max()
    assert error < 2 * 4 / np.pi / degree**3
    assert model.condition_number_ < 2


def test_smolyak_interpolation():
    nodes = smolyak_nodes(3, 4)
    model = ChebyshevRegressor(16, product="smolyak", domain=(-1, 1))

    def f(x):
        return np.exp(x[:, 0] / 2) * np.cos(x[:, 1]) + x[:, 2]

    model.fit(nodes, f(nodes))
    assert model.coef_.shape == (len(nodes),) and model.rank_ == len(nodes)
    # As many coefficients as nodes: interpolation, to rounding.
    np.testing.assert_allclose(model.predict(nodes), f(nodes), rtol=0, atol=1e-12)
    x = np.random.default_rng(0).uniform(-1, 1, (100, 3))
    assert np.abs(model.predict(x) - f(x)).max() < 1e-4


# ------------------------------------------------------------------ kinks and jumps


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_a_kink_is_exact_where_it_is_allowed(degree):
    x = np.linspace(0, 1, 401)[:, None]
    y = np.abs(x[:, 0] - 0.5)
    kinked = BSplineRegressor(3, degree, kinks=[0.5]).fit(x, y)
    # Rounding times a condition number of at most a hundred.
    np.testing.assert_allclose(kinked.predict(x), y, rtol=0, atol=1e-13)
    slopes = kinked.derivative([[0.499], [0.5], [0.501]])
    np.testing.assert_allclose(slopes, [-1, 1, 1], rtol=0, atol=1e-9)
    same = BSplineRegressor([0.25, *[0.5] * degree, 0.75], degree).fit(x, y)
    assert same.basis_ == kinked.basis_
    if degree > 1:
        smooth = BSplineRegressor(3, degree).fit(x, y)
        assert np.abs(smooth.predict(x) - y).max() > 0.005


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_a_jump_is_exact_where_it_is_allowed(degree):
    x = np.linspace(0, 1, 401)[:, None]
    y = np.sign(x[:, 0] - 0.4999) + x[:, 0] ** degree
    model = BSplineRegressor([0.25, *[0.5] * (degree + 1), 0.75], degree)
    if degree == 0:
        y = np.sign(x[:, 0] - 0.4999)
    model.fit(x, y)
    # Rounding times a condition number of at most a hundred; 0.5 belongs to the right.
    np.testing.assert_allclose(model.predict(x), y, rtol=0, atol=1e-13)


def test_a_polynomial_rings_at_a_jump():
    # Gibbs: the overshoot does not vanish with the degree.
    x = chebyshev_nodes(1_000)[:, None]
    y = np.sign(x[:, 0])
    for degree in (21, 61, 101):
        model = ChebyshevRegressor(degree, domain=(-1, 1)).fit(x, y)
        overshoot = model.predict(GRID).max() - 1
        # The Wilbraham-Gibbs constant: 2/pi Si(pi) - 1 = 0.1790 for a jump from -1 to 1.
        assert overshoot == pytest.approx(0.179, abs=0.01)


def test_relus_are_linear_between_their_shifts():
    x = np.linspace(0, 1, 101)[:, None]
    y = np.abs(x[:, 0] - 0.5) + np.maximum(x[:, 0] - 0.75, 0)
    model = ReLURegressor([0.0, 0.5, 0.75]).fit(x, y)
    # Slope -1 from 0, then 2 more at the kink, then 1 more; rounding.
    np.testing.assert_allclose(model.coef_, [0.5, -1, 2, 1], rtol=0, atol=1e-12)
    assert model.term_names_ == ["1", "relu(x0-0)", "relu(x0-0.5)", "relu(x0-0.75)"]
    spline = BSplineRegressor([0.5, 0.75], 1).fit(x, y)
    np.testing.assert_allclose(spline.predict(x), model.predict(x), rtol=0, atol=1e-12)


# ------------------------------------------------------------------ outside the domain


@pytest.mark.parametrize("family", [ChebyshevRegressor, BSplineRegressor])
def test_extrapolation(family):
    x, y = data()
    inside, out = np.array([[2.0, 0.5]]), np.array([[3.5, 0.5]])
    clipped = family(4, domain=BOX, extrapolation="clip").fit(x, y)
    np.testing.assert_array_equal(clipped.predict(out), clipped.predict(inside))
    assert clipped.derivative(out, [1, 0]) == 0
    linear = family(4, domain=BOX, extrapolation="linear").fit(x, y)
    # Rounding of the tangent.
    np.testing.assert_allclose(
        linear.predict(out),
        linear.predict(inside) + 1.5 * linear.derivative(inside, [1, 0]),
        rtol=1e-9,
    )
    strict = family(4, domain=BOX, extrapolation="error").fit(
        pd.DataFrame(x, columns=["age", "income"]), y
    )
    with pytest.raises(DomainError) as caught:
        strict.predict(pd.DataFrame(out, columns=["age", "income"]))
    for part in ("'age'", "3.5", "[-2, 2]", "row 0", "1 row(s)", "domain=", '"clip"', '"linear"'):
        assert part in str(caught.value)
    np.testing.assert_allclose(
        strict.predict(pd.DataFrame(inside, columns=["age", "income"])),
        clipped.predict(inside),
        rtol=1e-12,
    )


def test_domains_are_the_range_of_the_data_or_given_for_each_column():
    x, y = data()
    learnt = ChebyshevRegressor(3).fit(x, y).basis_.factors
    assert [(f.interval.low, f.interval.high) for f in learnt] == [(c.min(), c.max()) for c in x.T]
    given_ = ChebyshevRegressor(3, domain=[(-2, 2), (-3, 3.5)]).fit(x, y).basis_.factors
    assert [(f.interval.low, f.interval.high) for f in given_] == [(-2, 2), (-3, 3.5)]


def test_knots_kinks_and_shifts_may_differ_by_column():
    x, y = data()
    model = BSplineRegressor([[0.5], [-1.0, 1.0]], 2, kinks=[[], [0.0]], domain=BOX).fit(x, y)
    one, two = model.basis_.factors
    assert one.knots[3:-3].tolist() == [0.5]
    assert two.knots[3:-3].tolist() == [-1.0, 0.0, 0.0, 1.0]
    mixed = BSplineRegressor([1, [-1.0, 1.0]], 2, domain=BOX).fit(x, y)
    assert [len(f.breaks) - 2 for f in mixed.basis_.factors] == [1, 2]
    relu = ReLURegressor([[0.5], [-1.0, 1.0]]).fit(x, y)
    assert [f.shifts.tolist() for f in relu.basis_.factors] == [[0.5], [-1.0, 1.0]]


# ------------------------------------------------------------------ the book's chapter 11


def mae(model, x, y):
    return np.abs(model.predict(x) - y).mean()


def test_selection_of_the_degree():
    # Train by squared error, select by absolute error; the true degree is two. Of 400 data sets
    # the reference finds it by hold-out in 39% and by three folds in 77%.
    chosen = {"hold-out": [], "folds": []}
    errors = {"hold-out": [], "folds": []}
    coefficients = []
    warnings.simplefilter("ignore", RankWarning)  # degree 8 from 13 rows
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.normal(0, 10, (25, 1))
        y = 0.5 * x[:, 0] ** 2 - 6 * x[:, 0] + 20 + rng.normal(size=25)
        train, validation, both, test = slice(15), slice(15, 20), slice(20), slice(20, None)
        models = {p: PolynomialRegressor(p).fit(x[train], y[train]) for p in range(9)}
        folds = list(KFold(3, shuffle=True, random_state=seed).split(x[both]))
        scores = {
            "hold-out": {
                p: mae(model, x[validation], y[validation]) for p, model in models.items()
            },
            "folds": {
                p: np.mean(
                    [mae(PolynomialRegressor(p).fit(x[i], y[i]), x[o], y[o]) for i, o in folds]
                )
                for p in range(9)
            },
        }
        for rule, score in scores.items():
            best = min(score, key=score.get)
            chosen[rule].append(best)
            refit = PolynomialRegressor(best).fit(x[both], y[both])
            errors[rule].append(mae(refit, x[test], y[test]))
        coefficients.append(PolynomialRegressor(2).fit(x[both], y[both]).coef_)
    for rule, share in (("hold-out", 0.39), ("folds", 0.77)):
        counts = np.bincount(chosen[rule], minlength=9) / 40
        assert counts.argmax() == 2 and not counts[:2].any()
        # Three standard errors of a share of 40.
        assert counts[2] == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / 40))
    assert chosen["folds"].count(2) > chosen["hold-out"].count(2)
    assert np.median(errors["folds"]) < np.median(errors["hold-out"])
    # The reference's standard deviations of one fit; four standard errors of a mean of 40.
    deviations = np.array([0.309, 0.026, 0.0024])
    gap = np.abs(np.mean(coefficients, 0) - [20, -6, 0.5])
    assert (gap < 4 * deviations / np.sqrt(40)).all()


def test_grid_search_selects_by_another_metric_than_it_trains_by():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 10, (20, 1))
    y = 0.5 * x[:, 0] ** 2 - 6 * x[:, 0] + 20 + rng.normal(size=20)
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(
        PolynomialRegressor(), {"degree": range(7)}, scoring="neg_mean_absolute_error", cv=folds
    ).fit(x, y)
    by_hand = [
        np.mean(
            [mae(PolynomialRegressor(p).fit(x[i], y[i]), x[o], y[o]) for i, o in folds.split(x)]
        )
        for p in range(7)
    ]
    np.testing.assert_allclose(-search.cv_results_["mean_test_score"], by_hand, rtol=1e-12)
    assert search.best_params_["degree"] == np.argmin(by_hand)
    refit = PolynomialRegressor(**search.best_params_).fit(x, y)
    np.testing.assert_array_equal(search.best_estimator_.coef_, refit.coef_)


def test_monomials_far_from_one_keep_their_coefficients():
    # |x| about 30 at degree 8: columns of norms from 1 to 1e12.
    x = np.linspace(-30, 30, 61)[:, None]
    coef = np.array([20, -6, 0.5, 0.1, -0.01, 1e-3, 1e-4, -1e-5, 1e-6])
    model = PolynomialRegressor(8).fit(x, np.polyval(coef[::-1], x[:, 0]))
    assert model.rank_ == 9
    # Rounding 1e-16 of values of 1e6, by the condition number of the scaled columns.
    np.testing.assert_allclose(
        model.coef_ * 30.0 ** np.arange(9), coef * 30.0 ** np.arange(9), rtol=0, atol=1e-7
    )


# ------------------------------------------------------------------ life with scikit-learn


@every
def test_pipeline_grid_search_and_importance_on_a_frame(model):
    frame, y = load_diabetes(return_X_y=True, as_frame=True)
    frame, y = frame[["bmi", "s5"]].iloc[:150], y.iloc[:150]
    name = type(model).__name__.lower()
    pipeline = make_pipeline(MinMaxScaler((-2, 2), clip=True), clone(model))
    pipeline.set_output(transform="pandas")
    alphas = [1e-3, 0.1, 10.0]
    search = GridSearchCV(pipeline, {f"{name}__alpha": alphas}, cv=3).fit(frame, y)
    best = search.best_estimator_[-1]
    assert best.alpha in alphas
    assert list(best.feature_names_in_) == ["bmi", "s5"]
    assert "bmi" in " ".join(best.term_names_) or "random" in name
    importance = permutation_importance(search, frame, y, n_repeats=2, random_state=0)
    assert (importance.importances_mean > 0).all()
    assert search.score(frame, y) > 0.3


@every
def test_names_of_columns_are_checked(model):
    x, y = data()
    frame = pd.DataFrame(x, columns=["a", "b"])
    fitted = clone(model).fit(frame, y)
    assert len(fitted.term_names_) == len(fitted.coef_)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[["b", "a"]])
    with pytest.raises(ValueError, match="cannot merge: fitted with columns"):
        fitted.merge(clone(model).fit(frame.rename(columns={"a": "c"}), y))


@every
def test_targets_are_fitted_one_by_one(model):
    x, y = data(m=3)
    together = clone(model).fit(x, y)
    assert together.predict(x).shape == y.shape
    for k in range(3):
        alone = clone(model).fit(x, y[:, k])
        np.testing.assert_allclose(together.coef_[k], alone.coef_, **CLOSE)
    column = clone(model).fit(x, y[:, :1])
    assert column.predict(x).shape == (120, 1)
    assert column.coef_.shape == (1, column.basis_.n_terms)


@every
def test_precision_and_type_follow_the_input(model):
    x, y = data()
    double = clone(model).fit(x, y)
    assert double.predict(x).dtype == np.float64
    tensor = clone(model).fit(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_array_equal(tensor.coef_, double.coef_)
    for method in (tensor.predict, tensor.gradient):
        out = method(torch.from_numpy(x))
        assert torch.is_tensor(out) and out.dtype == torch.float64
        np.testing.assert_array_equal(out, getattr(double, method.__name__)(x))
    small = x.astype(np.float32) * np.float32(0.999)  # inside the domain also after rounding
    single = clone(model).fit(small, y.astype(np.float32))
    assert single.predict(small).dtype == single.gradient(small).dtype == np.float32
    assert single.predict(torch.from_numpy(small)).dtype == torch.float32
    # Rows are known to 6e-8; everything between is float64.
    reference = clone(model).fit(small.astype(np.float64), y.astype(np.float32))
    np.testing.assert_allclose(
        single.predict(small), reference.predict(small), rtol=1e-5, atol=1e-5
    )


@every
def test_refit_pickle_and_random_states(model):
    x, y = data()
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = clone(model).fit(x, y)
    again = clone(model).fit(-x, y).fit(x, y)
    np.testing.assert_array_equal(first.coef_, again.coef_)
    copy = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(copy.predict(x), first.predict(x))
    copy.partial_fit(x, y)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


def test_the_model_does_not_grow_with_the_rows():
    sizes = []
    for n in (200, 20_000):
        x, y = data(n=n)
        sizes.append(len(pickle.dumps(BSplineRegressor(5, domain=BOX).fit(x, y))))
    assert sizes[1] <= sizes[0] + 100


@every
def test_inputs_are_left_as_they_were(model):
    x, y = data()
    before = x.copy(), y.copy()
    weight = np.ones(120)
    clone(model).fit(x, y, sample_weight=weight).predict(x)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])
    assert (weight == 1).all()
