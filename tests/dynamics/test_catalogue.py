"""Textbook problems from a cold start: closed forms, published tables, errors off the nodes."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from thetalearn import BellmanApproximator, EulerApproximator, FunctionalEquation
from thetalearn.dynamics import models
from thetalearn.dynamics.iteration import endogenous_grid
from thetalearn.dynamics.transforms import Transform
from thetalearn.exceptions import ConvergenceWarning

#: Gate of the closed forms; what is measured is 1e-11 or less.
CLOSED = 1e-9

#: The usual target for the largest unit-free error.
FLOOR = 1e-4

LEVELS = {"state_transform": "identity", "action_transform": "identity"}

#: A box that the paths of the growth model stay in, four innovations out.
GROWTH_BOX = ((0.82, 1.22), (0.87, 1.15))


def states_in(model, n=500, seed=0):
    """States (n, d) drawn evenly from the box."""
    low, high = model.bounds.numpy().T
    return low + (high - low) * np.random.RandomState(seed).rand(n, len(low))


def solved(estimator):
    """The fitted estimator, which must have converged without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        estimator.fit()
    assert estimator.converged_
    return estimator


def assert_exact(estimator, quantities, tol):
    states = states_in(estimator.model_)
    for quantity in quantities:
        np.testing.assert_allclose(
            getattr(estimator, quantity)(states),
            estimator.exact(quantity, states),
            rtol=tol,
            atol=tol,
            err_msg=quantity,
        )


def long_run(estimator, n_paths=50, random_state=0):
    """10,000 states of the long run: many paths from the steady state without their beginnings."""
    states, _ = estimator.simulate(n_periods=400, n_paths=n_paths, random_state=random_state)
    return states[:, 201:].reshape(-1, states.shape[2])


def log_errors(estimator, states):
    """Decimal logarithms of the mean and the largest error."""
    errors = np.abs(estimator.euler_errors(states))
    return np.log10(errors.mean()), np.log10(errors.max())


def brock_mirman_of_compecon(**changes):
    """The calibration "demdp06", on which a known solver ends in a corner."""
    model = models.make_brock_mirman_output(
        alpha=0.5, beta=0.9, sigma=0.0, state_bounds=[(0.2, 1.0)]
    )
    return replace(model, **changes)


def linear_quadratic(n_states):
    return BellmanApproximator(
        models.make_linear_quadratic(n_states=n_states),
        basis="monomial",
        degree=2,
        integration="monomial1",
    )


EULER = {
    "B1 growth": lambda: EulerApproximator(models.make_brock_mirman(), degree=5),
    "B1b growth in output": lambda: EulerApproximator(models.make_brock_mirman_output(), degree=5),
    "B2 leisure": lambda: EulerApproximator(models.make_leisure_growth(), degree=5),
    "B5 cake": lambda: EulerApproximator(models.make_cake_eating(), degree=7),
    "B6 foresight": lambda: EulerApproximator(models.make_perfect_foresight(), degree=3),
    "B8 permanent income": lambda: EulerApproximator(models.make_permanent_income(), degree=3),
}

BELLMAN = {
    "B1 growth": lambda: BellmanApproximator(models.make_brock_mirman(), degree=[11, 5]),
    "B1b growth in output": lambda: BellmanApproximator(
        models.make_brock_mirman_output(), degree=11
    ),
    "B2 leisure": lambda: BellmanApproximator(models.make_leisure_growth(), degree=5),
    "B5 cake": lambda: BellmanApproximator(models.make_cake_eating(), degree=9),
    "B6 foresight": lambda: BellmanApproximator(models.make_perfect_foresight(), degree=3),
    "B9 d=1": lambda: linear_quadratic(1),
    "B9 d=2": lambda: linear_quadratic(2),
    "B9 d=4": lambda: linear_quadratic(4),
    "B9 d=10": lambda: linear_quadratic(10),
}


@pytest.mark.parametrize("make", EULER.values(), ids=EULER)
def test_euler_equations_find_closed_forms(make):
    assert_exact(solved(make()), ("policy", "value"), CLOSED)


@pytest.mark.parametrize("make", BELLMAN.values(), ids=BELLMAN)
def test_bellman_equations_find_closed_forms(make):
    assert_exact(solved(make()), ("policy", "value"), CLOSED)


@pytest.mark.parametrize("estimator", [EulerApproximator, BellmanApproximator])
def test_growth_in_levels_and_without_a_steady_state_to_start_from(estimator):
    """The policy is no longer linear in its coordinates, as it is in logarithms."""
    model = replace(models.make_brock_mirman(), **LEVELS, steady_state=None)
    # Shocks lead out of the box, where polynomials soon go on as tangents.
    assert_exact(solved(estimator(model, degree=[18, 7])), ("policy", "value"), 1e-6)


@pytest.mark.parametrize("estimator", [EulerApproximator, BellmanApproximator])
def test_no_wrong_root_where_paths_leave_the_box(estimator):
    """Continued far enough, polynomials of degree 15 solve the equation with wrong policies."""
    consumer = solved(estimator(models.make_perfect_foresight(), degree=15))
    assert_exact(consumer, ("policy", "value"), 1e-8)


@pytest.mark.parametrize("n_firms", [1, 4])
def test_investment_of_firms_is_linear(n_firms):
    model = models.make_investment(n_firms=n_firms)
    assert_exact(solved(EulerApproximator(model, basis="monomial", degree=1)), ("policy",), CLOSED)


@pytest.mark.parametrize(
    ("make", "degree"),
    [(models.make_lucas_tree, 9), (models.make_burnside, 15)],
    ids=["B12 tree", "B13 Burnside"],
)
def test_prices_of_assets(make, degree):
    assert_exact(solved(FunctionalEquation(make(), degree=degree)), ("policy",), CLOSED)


def test_burnside_price_at_the_mean():
    """The number is that of the reference solution, a sum of 800 terms."""
    price = solved(FunctionalEquation(models.make_burnside(), degree=15))
    mean = price.model_.params.get("mean", 0.0179)
    np.testing.assert_allclose(price.predict([[mean]])[0], 12.4812366, rtol=0, atol=1e-7)


def test_leisure_is_constant():
    growth = solved(EulerApproximator(models.make_leisure_growth(), degree=5))
    leisure = growth.policy(states_in(growth.model_))[:, 1]
    np.testing.assert_allclose(leisure, 0.672294, rtol=0, atol=1e-6)


def test_savings_of_generations():
    ages = solved(EulerApproximator(models.make_overlapping_generations(), degree=2))
    states = states_in(ages.model_, n=100)
    shares = ages.policy(states) / states[:, :-1]
    expected = np.broadcast_to([0.6600, 0.6394, 0.6052, 0.5434, 0.4118], shares.shape)
    np.testing.assert_allclose(shares, expected, rtol=0, atol=5e-5)
    assert_exact(ages, ("policy",), 1e-6)


def test_sectors():
    assert_exact(
        solved(EulerApproximator(models.make_multisector(), degree=2)), ("policy", "value"), 1e-6
    )


def kinks_inside(model):
    kinks = np.asarray(models.borrowing_kinks(60)[0])
    low, high = model.bounds[0].tolist()
    return kinks[(kinks > low) & (kinks < high)]


def test_borrowing_limit_with_knots_at_the_kinks():
    model = models.make_borrowing_limit()
    consumer = solved(
        EulerApproximator(model, basis="bspline", degree=1, knots=kinks_inside(model))
    )
    assert_exact(consumer, ("policy",), 1e-10)
    states = states_in(model)
    constrained = states[:, 0] < 1.0109
    np.testing.assert_allclose(
        consumer.policy(states)[constrained], states[constrained, 0], rtol=0, atol=1e-10
    )


def test_borrowing_limit_finds_its_kinks():
    model = models.make_borrowing_limit()
    consumer = solved(EulerApproximator(model, basis="bspline", knots=60, kinks="auto"))
    assert_exact(consumer, ("policy",), 1e-7)
    first = kinks_inside(model)[:3]
    nearest = np.abs(consumer.kinks_[:, None] - first).min(0)
    np.testing.assert_allclose(nearest, 0, atol=1e-6)


def test_chebyshev_polynomials_ring_at_a_kink_and_say_so():
    model = models.make_borrowing_limit()
    ringing = EulerApproximator(model, degree=30).fit()
    states = states_in(model)
    assert np.abs(ringing.policy(states) - ringing.exact("policy", states)).max() > 1e-4
    assert ringing.summary_["max"] > 1e-4
    assert ringing.score() < 4


def test_job_search_with_a_knot_at_the_reservation_wage():
    wage = models.reservation_wage()
    assert wage == pytest.approx(0.7403706, abs=1e-7)
    search = solved(
        BellmanApproximator(
            models.make_mccall(),
            basis="bspline",
            degree=1,
            knots=[wage],
            integration="midpoint",
            n_integration_nodes=2000,
        )
    )
    assert_exact(search, ("value",), 1e-6)
    offers = np.array([[wage - 1e-6], [wage + 1e-6]])
    np.testing.assert_array_equal(search.policy(offers), [0.0, 1.0])


def test_escapement_is_constant():
    harvest = solved(BellmanApproximator(models.make_escapement(), basis="bspline", knots=100))
    assert_exact(harvest, ("policy", "value"), 1e-6)


@settings(max_examples=5)
@given(n_states=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_random_problems_with_manufactured_solutions(n_states, seed):
    model = models.make_random_manufactured(n_states=n_states, random_state=seed)
    assert_exact(
        solved(BellmanApproximator(model, basis="complete", degree=3)), ("policy", "value"), 1e-8
    )


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (models.make_growth(state_bounds=GROWTH_BOX), {"degree": 7}),
        (
            replace(models.make_growth(state_bounds=GROWTH_BOX), state_transform="log"),
            {"degree": 6, "basis": "monomial"},
        ),
    ],
    ids=["8x8 Chebyshev", "28 monomials in logs"],
)
def test_growth_model(model, settings):
    growth = solved(EulerApproximator(model, **settings))
    for states in (long_run(growth), states_in(model, 2000)):
        mean, largest = log_errors(growth, states)
        assert mean < -9
        assert largest < -7


@dataclass(frozen=True)
class AroundOne(Transform):
    """A linear function, which changes the condition of a polynomial basis but not its span."""

    width: float = 0.1

    def forward(self, x, lower, upper):
        """Distance from one."""
        return (x - 1) / self.width

    def inverse(self, y, lower, upper):
        """The state at this distance."""
        return 1 + self.width * y


class EnvelopeRule:
    """The policy that the envelope condition of a value function implies, as the table's do.

    With R = 1 - δ + αaAk^(α-1) it is c = (V_k / R)^(-1/γ).
    """

    def __init__(self, value, params):
        self.value, self.p = value, params
        self.level = (1 / params["beta"] - 1 + params["delta"]) / params["alpha"]

    def gross_return(self, s):
        alpha, delta = self.p["alpha"], self.p["delta"]
        return 1 - delta + alpha * self.level * s[:, 1] * s[:, 0] ** (alpha - 1)

    def consumption(self, s):
        return (self.value.gradient(s)[:, 0] / self.gross_return(s)) ** (-1 / self.p["gamma"])

    def capital(self, s):
        output = self.level * s[:, 1] * s[:, 0] ** self.p["alpha"]
        return (1 - self.p["delta"]) * s[:, 0] + output - self.consumption(s)

    def next_states(self, s, shock):
        return np.c_[self.capital(s), s[:, 1] ** self.p["rho"] * np.exp(self.p["sigma"] * shock)]

    def long_run(self, n_paths=50, seed=0):
        rng = np.random.RandomState(seed)
        s, kept = np.ones((n_paths, 2)), []
        for period in range(400):
            s = self.next_states(s, rng.standard_normal(n_paths))
            if period >= 200:
                kept.append(s)
        return np.concatenate(kept)

    def errors(self, s):
        shocks, weights = np.polynomial.hermite_e.hermegauss(10)
        expected = 0.0
        for shock, weight in zip(shocks, weights / weights.sum(), strict=True):
            after = self.next_states(s, shock)
            marginal = self.consumption(after) ** -self.p["gamma"]
            expected = expected + weight * marginal * self.gross_return(after)
        return np.abs(1 - self.p["beta"] * expected * self.consumption(s) ** self.p["gamma"])


@pytest.mark.parametrize(
    ("degree", "mean", "largest"),
    [(2, -3.83, -2.76), (3, -4.97, -3.32), (4, -6.06, -4.03), (5, -7.00, -4.70)],
)
def test_published_errors_of_the_growth_model(degree, mean, largest):
    """Coleman, Lyon, Maliar and Maliar: polynomial values on 10 x 10 states in [0.9, 1.1]².

    The shocks here are drawn afresh. Where paths leave the box the errors are those of an
    extrapolation, and the largest is at the most distant state, so it moves by some tenths.
    """
    grid = np.linspace(0.9, 1.1, 10)
    nodes = np.array([(k, tfp) for k in grid for tfp in grid])
    model = replace(models.make_growth(), state_transform=AroundOne())
    value = BellmanApproximator(
        model,
        basis="monomial",
        degree=degree,
        integration="gauss_hermite",
        n_integration_nodes=5,
    ).fit(nodes)
    rule = EnvelopeRule(value, model.params)
    errors = rule.errors(rule.long_run())
    assert np.log10(errors.mean()) == pytest.approx(mean, abs=0.15)
    assert np.log10(errors.max()) == pytest.approx(largest, abs=0.4)


def test_business_cycle():
    cycle = solved(EulerApproximator(models.make_business_cycle(), degree=5))
    for states in (states_in(cycle.model_, 2000), long_run(cycle)):
        assert log_errors(cycle, states)[0] < -7


@pytest.mark.slow
def test_two_countries():
    world = solved(
        EulerApproximator(
            models.make_multicountry(),
            basis="monomial",
            degree=4,
            sampling="ergodic",
            random_state=0,
        )
    )
    states, _ = world.simulate(n_periods=10_200, random_state=1)
    mean, largest = log_errors(world, states[0, 201:])
    assert mean < -8
    assert largest < -6


@pytest.mark.slow
def test_income_fluctuations_against_endogenous_grid_points():
    model = models.make_income_fluctuation()
    consumer = solved(
        EulerApproximator(model, basis="bspline", knots=200, kinks="auto", random_state=0)
    )
    states = torch.linspace(*model.bounds[0].tolist(), 8192, dtype=torch.float64)[:, None]
    rule = model.distribution.nodes()
    # The reference is linear between its points, of which 5,000 leave nearly all of the 1e-6.
    for n_points in (5000, 20_000):
        policy, end = endogenous_grid(model, rule, n_points=n_points, tol=1e-10)
        assert end.converged
        difference = consumer.policy(states.numpy()) - policy(states)[:, 0].numpy()
        assert np.abs(difference).max() < 1e-6


@pytest.mark.parametrize("changes", [{}, {**LEVELS, "steady_state": None}], ids=["logs", "levels"])
@pytest.mark.parametrize("estimator", [EulerApproximator, BellmanApproximator])
def test_no_corner_where_a_known_solver_ends_in_one(estimator, changes):
    growth = solved(estimator(brock_mirman_of_compecon(**changes), degree=24 if changes else 9))
    assert_exact(growth, ("policy", "value"), 1e-8)
    assert growth.summary_["spectral_radius"] == pytest.approx(0.5, abs=1e-6)


def test_an_explosive_root_is_left_even_from_a_start_at_it():
    """In a linear model the explosive policy solves the Euler equation without any error."""
    model = models.make_linear_quadratic(n_states=1)
    regulator = solved(EulerApproximator(model, basis="monomial", degree=1, warm_start=True))
    stable = regulator.coef_[-1]
    A, B, beta = (float(np.asarray(model.params[name]).squeeze()) for name in ("A", "B", "beta"))
    explosive = (1 / (beta * (A + B * stable)) - A) / B
    regulator.theta_ = torch.tensor([0.0, explosive], dtype=torch.float64)
    residual = regulator.residuals(states_in(model))
    assert np.abs(residual).max() < 1e-10
    solved(regulator)
    assert regulator.coef_[-1] == pytest.approx(stable, abs=1e-10)
    assert regulator.summary_["spectral_radius"] < 1


MODELS = {
    "growth": lambda: EulerApproximator(models.make_growth(), degree=5),
    "growth, value": lambda: BellmanApproximator(models.make_growth(), degree=4),
    "work": lambda: EulerApproximator(models.make_rbc_labour(), degree=5),
    "business cycle": lambda: EulerApproximator(models.make_business_cycle(), degree=5),
    "risk": lambda: EulerApproximator(models.make_stochastic_brock_mirman(), degree=[11, 7]),
    "permanent income": lambda: EulerApproximator(models.make_permanent_income(), degree=3),
    "sectors": lambda: EulerApproximator(models.make_multisector(), degree=2),
    "generations": lambda: EulerApproximator(models.make_overlapping_generations(), degree=2),
    "portfolio": lambda: BellmanApproximator(models.make_portfolio(), degree=3),
    "borrowing": lambda: EulerApproximator(
        models.make_borrowing_limit(), basis="bspline", knots=20, kinks="auto"
    ),
    "income": lambda: EulerApproximator(
        models.make_income_fluctuation(), basis="bspline", knots=60, kinks="auto"
    ),
    "buffer stock": lambda: EulerApproximator(
        models.make_buffer_stock(), basis="bspline", knots=60, kinks="auto", random_state=0
    ),
    "countries": lambda: EulerApproximator(models.make_multicountry(), degree=4, basis="complete"),
    "harvest": lambda: BellmanApproximator(models.make_escapement(), basis="bspline", knots=60),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_largest_errors_are_below_the_usual_target(make):
    estimator = solved(make())
    assert estimator.summary_["max"] < FLOOR
    assert estimator.score() > 4


@pytest.mark.parametrize("estimator", [EulerApproximator, BellmanApproximator])
def test_pickles_and_clones_solve_alike(estimator):
    fitted = estimator(models.make_growth(), degree=4, random_state=0).fit()
    states = states_in(fitted.model_)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.policy(states), fitted.policy(states))
    np.testing.assert_array_equal(restored.value(states), fitted.value(states))
    again = clone(fitted).fit()
    np.testing.assert_array_equal(again.coef_, fitted.coef_)


def test_same_seed_same_paths_and_same_solution():
    def fit(seed):
        return EulerApproximator(
            models.make_growth(),
            basis="complete",
            degree=3,
            sampling="sobol",
            random_state=seed,
        ).fit()

    first, second, other = fit(1), fit(1), fit(2)
    np.testing.assert_array_equal(first.coef_, second.coef_)
    np.testing.assert_array_equal(first.ergodic_sample(100), second.ergodic_sample(100))
    assert not np.array_equal(first.nodes_, other.nodes_)


def test_search_over_degrees_takes_the_largest_that_states_determine():
    model = models.make_growth()
    search = GridSearchCV(
        EulerApproximator(model, basis="complete"), {"degree": [1, 3, 5]}, cv=2
    ).fit(states_in(model, 120))
    scores = search.cv_results_["mean_test_score"]
    assert search.best_params_ == {"degree": 5}
    assert (np.diff(scores) > 1).all()


def test_search_over_a_parameter_of_the_model():
    """The errors are smallest for the least curved of the models."""
    model = models.make_growth()
    search = GridSearchCV(
        EulerApproximator(model, basis="complete", degree=3),
        {"model__gamma": [1.5, 3.0, 6.0]},
        cv=2,
    ).fit(states_in(model, 60))
    scores = search.cv_results_["mean_test_score"]
    assert (scores > 3).all()
    assert len(np.unique(scores)) == 3
    assert search.best_estimator_.model_.params["gamma"] == search.best_params_["model__gamma"]
