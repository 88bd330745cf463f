"""Rules integrate what they promise, draws have the right moments, errors name the cure."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.base import clone

from thetalearn.dynamics.quadrature import normal_rule, side_by_side, uniform_rule
from thetalearn.dynamics.shocks import (
    AR1,
    Empirical,
    LogNormal,
    MarkovChain,
    Normal,
    NoShocks,
    Product,
    Uniform,
)

few = settings(max_examples=25, deadline=None)

JOBS = [[0.9, 0.1], [0.5, 0.5]]

#: Krusell and Smith's chain of productivity and employment (Den Haan, Judd, Juillard 2010).
KRUSELL_SMITH = [
    [0.525, 0.35, 0.03125, 0.09375],
    [0.038889, 0.836111, 0.002083, 0.122917],
    [0.09375, 0.03125, 0.291667, 0.583333],
    [0.009115, 0.115885, 0.024306, 0.850694],
]

EVERY = [
    NoShocks(),
    Normal(0.1, 0.04),
    Normal([0.1, 0.2, 0.3], [1.0, 0.5, 0.25]),
    LogNormal(scale=[0.1, 0.2], unit_mean=True),
    Uniform([-1.0, 0.0], [1.0, 3.0]),
    MarkovChain(JOBS, [1.0, 0.0], state=1),
    AR1(0.9, 0.1, mean=0.3, state=0),
    Empirical([[1.0, 2.0], [3.0, 5.0], [0.0, 1.0]], [1, 2, 3]),
    Product(
        MarkovChain(JOBS, [1.0, 0.0], state=1), AR1(0.9, 0.1, state=0), Uniform(), Normal(scale=0.2)
    ),
]
every = pytest.mark.parametrize(
    "shocks", EVERY, ids=[f"{i}-{type(shocks).__name__}" for i, shocks in enumerate(EVERY)]
)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def some_states(n):
    """States (n, 2) that fit the distributions above: a free column and one of the chain."""
    return tensor([[0.1 * i - 0.2, float(i % 2)] for i in range(n)]).reshape(n, 2)


def expectation(shocks, function, states=None, **options):
    """E[function(e)] in each state, (n,)."""
    states = some_states(1) if states is None else states
    nodes, weights = shocks.nodes(**options).at(states)
    return (function(nodes) * weights).sum(-1).expand(len(states))


def normal_moment(power):
    """E[z^power] of a standard normal variable."""
    return 0.0 if power % 2 else float(math.prod(range(power - 1, 0, -2)))


def powers_up_to(degree, n_dims):
    every_power = itertools.product(range(degree + 1), repeat=n_dims)
    return [powers for powers in every_power if sum(powers) <= degree]


def moment_errors(rule, powers, moment):
    nodes, weights = rule
    return [
        abs(float(weights @ (nodes ** tensor(p)).prod(1)) - math.prod(moment(q) for q in p))
        for p in powers
    ]


# The laws of every distribution


@every
def test_the_rule_agrees_with_the_expected_value_and_weights_sum_to_one(shocks):
    states = some_states(4)
    nodes, weights = shocks.nodes(random_state=0).at(states)
    mean = (nodes * weights[..., None]).sum(-2).expand(4, shocks.n_shocks)
    assert torch.allclose(weights.sum(-1), tensor(1.0), rtol=0, atol=1e-14)
    # exp is not a polynomial, but ten or seven nodes integrate it to rounding.
    assert torch.allclose(mean, shocks.expected(states), rtol=0, atol=1e-12)


@every
@given(n=st.integers(0, 5))
@few
def test_shapes(shocks, n):
    states, k = some_states(n), shocks.n_shocks
    rule = shocks.nodes(random_state=0)
    nodes, weights = rule.at(states)
    q = rule.n_nodes
    assert nodes.shape in ((q, k), (n, q, k))
    assert weights.shape in ((q,), (n, q))
    assert rule.n_shocks == k
    assert rule.conditional == (shocks.state is not None)
    assert shocks.expected(states).shape == (n, k)
    assert shocks.sample(states, np.random.RandomState(0)).shape == (n, k)
    assert shocks.mean.shape == (k,)
    assert shocks.mean.dtype == rule.nodes.dtype == torch.float64


@every
def test_draws_have_the_mean_and_covariance_of_the_rule(shocks):
    n = 40_000
    for state in some_states(2):
        if shocks.n_shocks == 0:
            continue
        states = state.expand(n, 2)
        draws = shocks.sample(states, np.random.RandomState(3))
        nodes, weights = shocks.nodes(random_state=0).at(states[:1])
        nodes, weights = nodes.reshape(-1, shocks.n_shocks), weights.flatten()
        mean = weights @ nodes
        cov = (nodes - mean).T @ ((nodes - mean) * weights[:, None])
        # Five standard errors of a mean; those of a variance are about twice as wide.
        spread = cov.diagonal().sqrt()
        assert ((draws.mean(0) - mean).abs() <= 5 * spread / n**0.5).all()
        drawn = torch.cov(draws.T).reshape(cov.shape)
        assert ((drawn - cov).abs() <= 12 * spread[:, None] * spread / n**0.5).all()


@every
def test_draws_depend_on_the_generator_alone(shocks):
    states = some_states(6)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first, second = (shocks.sample(states, np.random.RandomState(5)) for _ in range(2))
    shocks.nodes()
    assert torch.equal(first, second)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


@every
def test_copies_are_equal_and_nothing_can_be_changed(shocks):
    copies = pickle.loads(pickle.dumps(shocks)), copy.deepcopy(shocks), clone(shocks, safe=False)
    states = some_states(3)
    for other in copies:
        assert other == shocks
        assert hash(other) == hash(shocks)
        assert repr(other) == repr(shocks)
        assert torch.equal(other.expected(states), shocks.expected(states))
    assert sum(shocks == other for other in EVERY) == 1
    with pytest.raises(AttributeError, match="cannot be changed"):
        shocks.n_shocks = 7
    with pytest.raises(AttributeError, match="cannot be changed"):
        del shocks.n_shocks


@every
def test_rules_can_be_pickled(shocks):
    rule = shocks.nodes(random_state=0)
    again = pickle.loads(pickle.dumps(rule))
    for one, two in zip(rule.at(some_states(3)), again.at(some_states(3)), strict=True):
        assert torch.equal(one, two)


@every
def test_float32_states_have_float32_nodes_and_integers_do_not_truncate(shocks):
    nodes, weights = shocks.nodes(random_state=0).at(some_states(2).float())
    draws = shocks.sample(some_states(2).float(), np.random.RandomState(0))
    assert nodes.dtype == weights.dtype == draws.dtype == torch.float32
    whole = torch.tensor([[1, 0], [0, 1]])
    expected = shocks.expected(whole)
    assert expected.dtype == torch.float64
    assert torch.equal(expected, shocks.expected(whole.double()))


@every
def test_an_unknown_rule_lists_what_there_is(shocks):
    for name in shocks.rules:
        shocks.nodes(name)
    with pytest.raises(ValueError, match=rf"'simpson'.*{type(shocks).__name__}.*'auto'"):
        shocks.nodes("simpson")
    for wrong in (0, 2.5, -1):
        with pytest.raises(ValueError, match="n_nodes"):
            shocks.nodes(n_nodes=wrong)


def test_parameters_are_copied():
    cov, values = np.eye(2), torch.ones(2, dtype=torch.float64)
    shocks = Normal(values, cov)
    cov[:], values[:] = 7.0, 7.0
    assert shocks == Normal([1.0, 1.0], np.eye(2))


# Exactness of the standard rules


@pytest.mark.parametrize("n_nodes", [1, 2, 5, 10, 40])
def test_gauss_hermite_is_exact_to_degree_2n_minus_1(n_nodes):
    nodes, weights = normal_rule("gauss_hermite", 1, n_nodes)
    for power in range(min(2 * n_nodes, 20)):
        error = abs(float(weights @ nodes[:, 0] ** power) - normal_moment(power))
        # Odd moments cancel terms as large as the even ones next to them.
        assert error <= 1e-12 * max(normal_moment(power + power % 2), 1)
    if n_nodes < 10:
        missed = float(weights @ nodes[:, 0] ** (2 * n_nodes)) - normal_moment(2 * n_nodes)
        # The error of the first power that is not exact is the square norm of He_n.
        assert missed == pytest.approx(-math.factorial(n_nodes), rel=1e-10)


@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_gauss_hermite_products_are_exact_in_every_variable(n_dims):
    powers = list(itertools.product(range(6), repeat=n_dims))
    errors = moment_errors(normal_rule("gauss_hermite", n_dims, 3), powers, normal_moment)
    assert max(errors) < 1e-11


@pytest.mark.parametrize("n_dims", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("rule, degree", [("monomial1", 3), ("monomial2", 5)])
def test_monomial_rules_are_exact_to_their_degree_and_not_beyond(rule, degree, n_dims):
    points = normal_rule(rule, n_dims)
    assert len(points[0]) == (2 * n_dims if degree == 3 else 2 * n_dims**2 + 1)
    assert max(moment_errors(points, powers_up_to(degree, n_dims), normal_moment)) < 1e-12
    # The next even moment of one variable, 3 or 15, is out of reach but for r = 3 at degree 3.
    beyond = float(points[1] @ points[0][:, 0] ** (degree + 1))
    assert beyond == pytest.approx(n_dims if degree == 3 else (n_dims + 2) * (7 - n_dims) / 2)


@pytest.mark.parametrize("n_dims, count", [(1, 64), (3, 1000), (60, 1024)])
def test_sobol_nodes_have_the_mean_and_covariance_exactly(n_dims, count):
    nodes, weights = normal_rule("sobol", n_dims, count, random_state=0)
    assert nodes.shape == (count, n_dims)
    assert torch.allclose(weights @ nodes, torch.zeros(n_dims).double(), rtol=0, atol=1e-14)
    covariance = nodes.T @ (nodes * weights[:, None])
    assert torch.allclose(covariance, torch.eye(n_dims).double(), rtol=0, atol=1e-13)


def test_sobol_nodes_converge_and_follow_the_seed():
    def error(count):
        nodes, weights = normal_rule("sobol", 5, count, random_state=1)
        exact = math.exp(5 * 0.3**2 / 2)
        return abs(float(weights @ (0.3 * nodes.sum(1)).exp()) - exact)

    # Sampling errors would be 0.02 with 1024 draws; Sobol points have almost the rate 1/n.
    assert error(1024) < 2e-3
    assert error(16_384) < 3e-4
    one, two, three = (normal_rule("sobol", 2, 64, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


@pytest.mark.parametrize(
    "n_dims, count", [(0, 1), (1, 10), (2, 49), (3, 19), (20, 801), (21, 42), (50, 100), (51, 1024)]
)
def test_the_automatic_rule_grows_slowly_with_the_dimension(n_dims, count):
    assert normal_rule("auto", n_dims, random_state=0)[0].shape == (count, n_dims)


@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_legendre_is_exact_in_every_variable(n_dims):
    powers = list(itertools.product(range(6), repeat=n_dims))
    rule = uniform_rule("legendre", n_dims, 3)
    assert max(moment_errors(rule, powers, lambda q: (1 - q % 2) / (q + 1))) < 1e-14


@given(n_nodes=st.integers(1, 60))
@few
def test_the_midpoint_rule_misses_the_variance_by_that_of_a_cell(n_nodes):
    nodes, weights = uniform_rule("midpoint", 1, n_nodes)
    assert float(weights @ nodes[:, 0] ** 2) == pytest.approx((1 - n_nodes**-2.0) / 3, abs=1e-14)


def test_midpoints_miss_a_kink_by_one_cell_at_most():
    shocks = Uniform(0.0, 1.0)
    kink = 0.37
    exact = (1 - kink) ** 2 / 2
    value = expectation(shocks, lambda e: (e[:, 0] - kink).relu(), rule="midpoint", n_nodes=200)
    # The cell with the kink alone errs, by at most an eighth of the square of its width.
    assert abs(float(value) - exact) <= 0.125 / 200**2 + 1e-15


def test_uniform_sobol_nodes_stay_inside():
    shocks = Uniform([0.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    rule = shocks.nodes(random_state=0)
    assert rule.n_nodes == 1024
    assert ((rule.nodes >= shocks.low) & (rule.nodes <= shocks.high)).all()
    assert torch.allclose(rule.weights @ rule.nodes, shocks.mean, rtol=1e-3)


# Normal and log-normal


def random_covariances(k, rank):
    entries = arrays(np.float64, (k, rank), elements=st.floats(-2, 2, width=16))
    return entries.map(lambda factor: factor @ factor.T)


@given(data=st.data(), k=st.integers(1, 4))
@few
def test_every_rule_reproduces_mean_and_covariance(data, k):
    cov = data.draw(random_covariances(k, data.draw(st.integers(1, k))))
    mean = np.arange(k) - 0.5
    shocks = Normal(mean, cov)
    size = max(np.abs(cov).max(), 1.0)
    assert np.allclose((shocks.root @ shocks.root.T).numpy(), cov, rtol=0, atol=1e-11 * size)
    for name in Normal.rules:
        rule = shocks.nodes(name, random_state=0)
        around = rule.nodes - shocks.mean
        assert np.allclose((rule.weights @ rule.nodes).numpy(), mean, rtol=0, atol=1e-12 * size)
        second = around.T @ (around * rule.weights[:, None])
        assert np.allclose(second.numpy(), cov, rtol=0, atol=1e-11 * size)


def test_a_singular_covariance_needs_no_nodes_where_nothing_moves():
    common = Normal(0.0, np.ones((3, 3)))
    assert common.root.shape == (3, 1)
    assert common.nodes().n_nodes == 10
    assert torch.allclose(common.nodes().nodes[:, 0], common.nodes().nodes[:, 2])
    still = Normal([1.0, 2.0], 0.0)
    assert torch.equal(still.nodes().nodes, tensor([[1.0, 2.0]]))
    assert torch.equal(still.sample(some_states(2), np.random.RandomState(0))[1], still.mean)
    partly = Normal(0.0, [0.04, 0.0])
    assert partly.nodes().n_nodes == 10
    assert not partly.nodes().nodes[:, 1].any()


def test_shocks_of_very_different_sizes_are_both_kept():
    shocks = Normal(scale=[1.0, 1e-9])
    assert torch.allclose(shocks.root, torch.diag(tensor([1.0, 1e-9])), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    "cov, smallest",
    [
        ([[1.0, 2.0], [2.0, 1.0]], "-1"),
        (-0.5, "-0.5"),
        ([0.1, -0.2], "-0.2"),
        ([[0.0, 0.1], [0.1, 1.0]], "-0.0099"),
    ],
)
def test_a_covariance_that_is_not_semidefinite_is_named_with_its_eigenvalue(cov, smallest):
    for kind in (Normal, LogNormal):
        with pytest.raises(ValueError, match=rf"cov=.*not positive semi-definite.*{smallest}"):
            kind(0.0, cov)


def test_a_covariance_that_is_not_symmetric_is_named_with_its_eigenvalue():
    with pytest.raises(ValueError, match=r"cov is not symmetric: entry \(0, 1\).*eigenvalue 0\.75"):
        Normal(0.0, [[1.0, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cov": 1.0, "scale": 1.0}, "give one of them"),
        ({"scale": -1.0}, "scale=-1.0 must not be negative"),
        ({"mean": [1.0, 2.0], "cov": [1.0, 2.0, 3.0]}, "mean has 2, cov has 3"),
        ({"mean": [1.0, 2.0, 3.0], "cov": np.eye(2)}, "cov of shape"),
        ({"cov": np.ones((2, 3))}, "cov of shape"),
        ({"cov": np.ones((2, 2, 2))}, "cov of shape"),
        ({"cov": np.zeros((0, 0))}, "cov of shape"),
        ({"mean": []}, "mean of shape"),
        ({"mean": np.zeros((2, 2))}, "mean of shape"),
        ({"cov": np.nan}, "cov=nan must be finite"),
        ({"mean": "a"}, "mean='a' must hold numbers"),
    ],
)
def test_wrong_moments(options, message):
    with pytest.raises(ValueError, match=message):
        Normal(**options)


def test_log_normal_moments_and_unit_mean():
    cov = tensor([[0.04, 0.01], [0.01, 0.09]])
    shocks = LogNormal([0.1, -0.2], cov)
    exact = (tensor([0.1, -0.2]) + cov.diagonal() / 2).exp()
    assert torch.allclose(shocks.mean, exact, rtol=1e-15)
    # E[e1 e2] = E e1 E e2 exp(cov).
    both = expectation(shocks, lambda e: e.prod(-1))
    assert float(both) == pytest.approx(float(exact.prod()) * math.exp(0.01), rel=1e-9)
    unit = LogNormal(cov=cov, unit_mean=True)
    assert torch.equal(unit.mean, torch.ones(2).double())
    assert unit == LogNormal(-cov.diagonal() / 2, cov)
    with pytest.raises(ValueError, match="contradicts unit_mean"):
        LogNormal(0.1, 0.04, unit_mean=True)


def test_too_many_nodes_are_refused_with_the_way_out():
    wide = Normal(np.zeros(9), 1.0)
    with pytest.raises(ValueError, match=r"n_nodes=10 in 9 dimensions.*1e\+09.*monomial2"):
        wide.nodes("gauss_hermite", 10)
    with pytest.raises(ValueError, match=r"product of rules"):
        Product(*(Uniform() for _ in range(8))).nodes(n_nodes=10)
    with pytest.raises(ValueError, match="monomial2"):
        wide.nodes(n_nodes=10)
    with pytest.raises(ValueError, match="too few for rule='sobol'"):
        wide.nodes("sobol", 16)


# Chains and processes


def test_a_chain_has_the_row_of_each_state():
    chain = MarkovChain(JOBS, [1.0, 0.0], state=1)
    states = tensor([[7.0, 0.0], [8.0, 1.0], [9.0, 1e-9]])
    nodes, weights = chain.nodes().at(states)
    assert torch.equal(nodes[:, 0], tensor([1.0, 0.0]))
    assert torch.equal(weights, tensor([JOBS[1], JOBS[0], JOBS[1]]))
    value = expectation(chain, lambda e: (3 * e[..., 0]).exp(), states[:2])
    exact = tensor([0.5 * math.exp(3) + 0.5, 0.9 * math.exp(3) + 0.1])
    assert torch.allclose(value, exact, rtol=1e-15)


def test_a_chain_of_several_values_at_once():
    values = [[0.99, 0.0], [0.99, 1.0], [1.01, 0.0], [1.01, 1.0]]
    chain = MarkovChain(KRUSELL_SMITH, values, state=(1, 2))
    states = torch.cat([torch.ones(4, 1).double(), tensor(values)], dim=1)
    assert torch.equal(chain.rows(states), torch.arange(4))
    expected = tensor(KRUSELL_SMITH) @ tensor(values)
    assert torch.allclose(chain.expected(states), expected, rtol=1e-12)
    assert torch.allclose(chain.stationary @ chain.transition, chain.stationary, atol=1e-15)
    # The recession and the boom last equally long.
    assert float(chain.mean[0]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("wrong", [0.4, math.nan, math.inf])
def test_a_state_that_is_no_value_of_the_chain_is_named(wrong):
    chain = MarkovChain(JOBS, [1.0, 0.0], state=1)
    with pytest.raises(ValueError, match=rf"state {wrong} in column 1 .*nearest.*AR1"):
        chain.expected(tensor([[0.0, 1.0], [0.0, wrong]]))
    with pytest.raises(ValueError, match=r"no column 1.*MarkovChain.*state=1"):
        chain.nodes().at(torch.zeros(2, 1))


@pytest.mark.parametrize(
    "transition, values, state, message",
    [
        ([[0.9, 0.2], [0.5, 0.5]], [1, 0], 0, "row 0 of transition sums to 1.1"),
        ([[1.1, -0.1], [0.5, 0.5]], [1, 0], 0, "negative probability -0.1"),
        ([[1.0, 0.0]], [1, 0], 0, r"transition of shape \(1, 2\)"),
        (JOBS, [1, 1], 0, "repeat"),
        (JOBS, [1, 0], -1, "state=-1"),
        (JOBS, [1, 0], (0, 1), "must name 1 column"),
        (JOBS, [1, 0], None, "state=None"),
        (JOBS, [1, 0], "z", "state='z'"),
        (JOBS, [[1, 0], [0, 1]], 0, "must name 2 columns"),
        (JOBS, np.zeros((2, 0)), 0, "values of shape"),
    ],
)
def test_wrong_chains(transition, values, state, message):
    with pytest.raises(ValueError, match=message):
        MarkovChain(transition, values, state)


@given(
    weights=arrays(np.float64, (5, 5), elements=st.floats(1e-6, 1.0)),
    leaving=st.floats(1e-13, 1e-3),
)
@few
def test_the_stationary_distribution_does_not_change(weights, leaving):
    transition = weights / weights.sum(1, keepdims=True)
    chain = MarkovChain(transition, np.arange(5.0), state=0)
    assert torch.allclose(chain.stationary @ chain.transition, chain.stationary, atol=1e-14)
    # Two states that are hardly ever left: the shares are in the ratio of the rates.
    rare = MarkovChain([[1 - leaving, leaving], [2 * leaving, 1 - 2 * leaving]], [0, 1], state=0)
    # The diagonal rounds to 1e-16 of one, but elimination never subtracts it.
    assert torch.allclose(rare.stationary, tensor([2 / 3, 1 / 3]), rtol=1e-12)


def test_transient_values_have_no_share_and_two_ends_are_refused():
    chain = MarkovChain([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.0, 0.6, 0.4]], [0, 1, 2], state=0)
    assert torch.allclose(chain.stationary, tensor([0.0, 3 / 7, 4 / 7]), rtol=1e-14)
    stuck = MarkovChain(np.eye(2), [0, 1], state=0)
    assert torch.equal(stuck.expected(tensor([[1.0]])), tensor([[1.0]]))
    with pytest.raises(ValueError, match="2 sets of values"):
        _ = stuck.mean


def test_a_value_of_probability_zero_is_never_drawn():
    chain = MarkovChain([[0.0, 1.0, 0.0]] * 3, [0.0, 1.0, 2.0], state=0)

    class Edges:
        def random_sample(self, shape):
            return np.resize([0.0, 1 - 2.0**-53], shape)

    draws = chain.sample(torch.zeros(4, 1).double(), Edges())
    assert (draws == 1.0).all()


def chain_moments(chain):
    """Mean, variance and first autocorrelation of a chain in the long run."""
    shares, values = chain.stationary, chain.values[:, 0]
    mean = shares @ values
    around = values - mean
    variance = shares @ around**2
    covariance = (shares * around) @ chain.transition @ around
    return float(mean), float(variance), float(covariance / variance)


@given(
    rho=st.floats(-0.99, 0.999),
    sigma=st.floats(1e-3, 10),
    mean=st.floats(-5, 5),
    n_states=st.integers(2, 25),
)
@few
def test_rouwenhorst_has_the_moments_exactly(rho, sigma, mean, n_states):
    process = AR1(rho, sigma, mean=mean, state=2)
    chain = process.discretize(n_states)
    long_run = sigma**2 / (1 - rho**2)
    got = chain_moments(chain)
    assert chain.state == 2
    assert got[0] == pytest.approx(mean, abs=1e-12 * (1 + 5 * long_run**0.5))
    # The mean is subtracted from values up to 5 before they are squared.
    rounding = 1e-12 + 1e-14 * mean**2 / long_run
    assert got[1] == pytest.approx(long_run, rel=1e-10 + 100 * rounding)
    assert got[2] == pytest.approx(rho, abs=1e-10 + 100 * rounding)
    # Conditional moments as well, in every state.
    states = chain.values.expand(-1, 3)
    assert torch.allclose(chain.expected(states), process.expected(states), rtol=1e-9, atol=1e-9)
    # Binomial shares.
    binomial = [math.comb(n_states - 1, i) / 2 ** (n_states - 1) for i in range(n_states)]
    assert torch.allclose(chain.stationary, tensor(binomial), rtol=1e-8, atol=0)


def test_tauchen_comes_close():
    mean, variance, correlation = chain_moments(
        AR1(0.8, 0.1, mean=0.5, state=0).discretize(41, "tauchen", width=4.0)
    )
    # The variance of cells of width h is too large by about h²/12, here 0.003 of it.
    assert mean == pytest.approx(0.5, abs=1e-12)
    assert variance == pytest.approx(0.01 / 0.36, rel=0.02)
    assert correlation == pytest.approx(0.8, abs=0.002)


@pytest.mark.parametrize("method", ["rouwenhorst", "tauchen"])
def test_one_state_is_the_mean(method):
    chain = AR1(0.8, 0.1, mean=0.5, state=0).discretize(1, method)
    assert chain == MarkovChain([[1.0]], [0.5], state=0)
    assert AR1(0.8, 0.0, mean=0.5, state=0).discretize(1, method) == chain


@pytest.mark.parametrize(
    "process, options, message",
    [
        ((1.0, 0.1), {"n_states": 3}, "rho=1.0"),
        ((0.9, 0.0), {"n_states": 3}, "sigma=0"),
        ((0.9, 0.1), {"n_states": 0}, "n_states=0"),
        ((0.9, 0.1), {"n_states": 3, "method": "hussey"}, "method='hussey'"),
        ((0.9, 0.1), {"n_states": 3, "method": "tauchen", "width": 0.0}, "width=0.0"),
    ],
)
def test_wrong_discretisations(process, options, message):
    with pytest.raises(ValueError, match=message):
        AR1(*process, state=0).discretize(**options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rho": math.nan, "sigma": 1.0, "state": 0}, "rho=nan"),
        ({"rho": 0.5, "sigma": -1.0, "state": 0}, "sigma=-1.0"),
        ({"rho": 0.5, "sigma": 1.0, "state": None}, "state=None"),
    ],
    ids=["rho", "sigma", "state"],
)
def test_wrong_processes(options, message):
    with pytest.raises(ValueError, match=message):
        AR1(**options)


@given(rho=st.floats(-1, 1), sigma=st.floats(0, 0.5), x=st.floats(-1, 1), mean=st.floats(-1, 1))
@few
def test_ar1_has_the_closed_form_of_an_exponential(rho, sigma, x, mean):
    process = AR1(rho, sigma, mean=mean, state=1)
    value = expectation(process, lambda e: e[..., 0].exp(), tensor([[9.0, x]]))
    exact = math.exp(mean + rho * (x - mean) + sigma**2 / 2)
    # Ten nodes leave sigma^20 10!/20! of the exponential, 1e-18 here.
    assert float(value) == pytest.approx(exact, rel=1e-13)


def test_the_nodes_of_an_ar1_follow_the_state_in_derivatives_too():
    process = AR1(0.9, 0.2, mean=0.5, state=1)
    states = some_states(3).requires_grad_()
    total = expectation(process, lambda e: e[..., 0].exp(), states).sum()
    (slope,) = torch.autograd.grad(total, states)
    exact = 0.9 * (process.expected(states)[:, 0] + 0.02).exp()
    assert torch.allclose(slope[:, 1], exact, rtol=1e-12)
    assert not slope[:, 0].any()


# Products and samples


def test_expectations_of_a_product_factor():
    parts = [Uniform(1.0, 2.0), LogNormal(scale=0.3), AR1(0.5, 0.2, state=0), Empirical([1.0, 4.0])]
    states = some_states(3)
    for order in itertools.permutations(range(4)):
        shocks = Product(*(parts[i] for i in order))
        value = expectation(shocks, lambda e: e.prod(-1), states)
        exact = math.prod(part.expected(states)[:, 0] for part in parts)
        assert torch.allclose(value, exact, rtol=1e-12)
        columns = [part.expected(states) for part in shocks.components]
        assert torch.equal(shocks.expected(states), torch.cat(columns, 1))


def test_two_conditional_parts():
    shocks = Product(MarkovChain(JOBS, [1.0, 0.0], state=1), AR1(0.5, 0.2, state=0))
    assert shocks.state == (1, 0)
    states = some_states(4)
    nodes, weights = shocks.nodes(n_nodes=5).at(states)
    assert nodes.shape == (4, 10, 2)
    assert weights.shape == (4, 10)
    value = (weights * nodes[..., 0] * nodes[..., 1].exp()).sum(1)
    chance = tensor(JOBS)[(1 - states[:, 1]).long(), 0]
    assert torch.allclose(value, chance * (0.5 * states[:, 0] + 0.02).exp(), rtol=1e-8)


def test_normal_parts_share_one_rule():
    many = Product(*(AR1(0.9, 0.1, state=i) for i in range(6)), Normal(0.0, np.eye(4)))
    states = torch.zeros(1, 6).double()
    assert many.nodes().n_nodes == 201
    assert many.nodes("monomial1").n_nodes == 20
    assert many.nodes("sobol", random_state=0).n_nodes == 1024
    nodes, weights = many.nodes().at(states)
    scaled = nodes[0] / tensor([0.1] * 6 + [1.0] * 4)
    powers = [p for p in powers_up_to(2, 10) if any(p)]
    assert max(moment_errors((scaled, weights), powers, normal_moment)) < 1e-12


def test_a_product_in_one_dimension_each_is_the_tensor_rule():
    shocks = Product(Normal(scale=0.1), Uniform(), Normal(scale=0.2))
    joint = shocks.nodes("gauss_hermite", 4)
    apart = [part.nodes("gauss_hermite", 4) for part in (shocks.parts()[0], shocks.parts()[2])]
    tensor_rule = side_by_side([*apart, shocks.parts()[1].nodes()], columns=[0, 2, 1])
    assert torch.allclose(joint.nodes, tensor_rule.nodes, rtol=1e-15)
    assert torch.allclose(joint.weights, tensor_rule.weights, rtol=1e-13)


def test_which_parts_take_the_rule_and_the_number():
    shocks = Product(Normal(), Uniform(), MarkovChain(JOBS, [1.0, 0.0], state=0))
    assert shocks.nodes(n_nodes=3).n_nodes == 3 * 3 * 2
    assert shocks.nodes("gauss_hermite", 3).n_nodes == 3 * 10 * 2
    assert shocks.nodes("midpoint", 30).n_nodes == 10 * 30 * 2
    assert shocks.nodes("sobol", 64).n_nodes == 64 * 10 * 2
    assert Product(Empirical([1.0, 2.0, 3.0])).nodes("sample", 2).n_nodes == 2
    with pytest.raises(ValueError, match="n_nodes=3 has no meaning"):
        Product(MarkovChain(JOBS, [1.0, 0.0], state=0), NoShocks()).nodes(n_nodes=3)


def test_products_are_flat_and_check_their_parts():
    a, b, c = Normal(), Uniform(), NoShocks()
    assert Product(Product(a, b), c) == Product(a, b, c)
    assert Product(a, b).parts() == (a, b)
    assert a.parts() == (a,)
    assert Product(a, c).nodes().nodes.shape == (10, 1)
    assert Product(a, b).state is None
    with pytest.raises(TypeError, match="not 3"):
        Product(a, 3)
    with pytest.raises(ValueError, match="at least one"):
        Product()


@given(
    sample=arrays(
        np.float64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.floats(-3, 3)
    ),
)
@few
def test_the_rule_of_a_sample_is_the_sample(sample):
    shocks = Empirical(sample)
    rule = shocks.nodes()
    assert np.array_equal(rule.nodes.numpy(), sample)
    assert np.allclose(shocks.mean.numpy(), sample.mean(0), rtol=0, atol=1e-14)
    repeated = Empirical(np.repeat(sample, 2, axis=0))
    counted = Empirical(sample, np.full(len(sample), 2))
    assert torch.allclose(repeated.mean, counted.mean, rtol=0, atol=1e-14)


def test_a_part_of_a_sample_follows_the_seed_and_leaves_out_weightless_rows():
    shocks = Empirical(np.arange(100.0), np.arange(100) % 2)
    one, two, other = (shocks.nodes(n_nodes=20, random_state=seed) for seed in (0, 0, 1))
    assert torch.equal(one.nodes, two.nodes)
    assert not torch.equal(one.nodes, other.nodes)
    assert len(torch.unique(one.nodes)) == 20
    assert (one.nodes % 2 == 1).all()
    assert float(one.weights.sum()) == pytest.approx(1.0, abs=1e-14)
    with pytest.raises(ValueError, match="more than the 100 rows"):
        shocks.nodes(n_nodes=101)


@pytest.mark.parametrize(
    "weights, message",
    [([1.0], "1 entries for 2 rows"), ([1.0, -1.0], "negative"), ([0.0, 0.0], "all zero")],
)
def test_wrong_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        Empirical([1.0, 2.0], weights)


def test_wrong_samples_and_bounds():
    with pytest.raises(ValueError, match="sample of shape"):
        Empirical(np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"low=.* must be below high="):
        Uniform([0.0, 1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="low has 2, high has 3"):
        Uniform([0.0, 1.0], [1.0, 1.0, 2.0])


def test_a_smooth_expectation_agrees_with_adaptive_integration():
    def payoff(e):
        return 1 / (2 + np.sin(e))

    exact, _ = quad(lambda e: payoff(e) * norm.pdf(e, 0.3, 0.2), -2, 3, epsabs=1e-14)
    value = expectation(Normal(0.3, scale=0.2), lambda e: 1 / (2 + e[:, 0].sin()), n_nodes=20)
    assert float(value) == pytest.approx(exact, abs=1e-12)


def test_a_long_parameter_is_shown_short():
    shown = repr(Empirical(np.arange(10_000.0)))
    assert len(shown) < 300
    assert "\n" not in shown
    assert repr(Normal(scale=0.5)) == "Normal(mean=0.0, cov=0.25)"
