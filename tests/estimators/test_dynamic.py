"""The estimators of dynamic economic models, as their users meet them."""

import dataclasses
import io
import pickle
import random
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from torch import nn

from thetalearn import (
    BellmanApproximator,
    EulerApproximator,
    FunctionalEquation,
    PolicyEvaluator,
)
from thetalearn.dynamics import AR1, DynamicModel, MarkovChain, ModelError
from thetalearn.dynamics.models import (
    make_borrowing_limit,
    make_brock_mirman,
    make_brock_mirman_output,
    make_burnside,
    make_cake_eating,
    make_escapement,
    make_growth,
    make_leisure_growth,
    make_linear_quadratic,
    make_mccall,
)
from thetalearn.exceptions import ConvergenceWarning, DomainError
from thetalearn.representations.bases import Chebyshev, ProductBasis, complete_indices

OUTPUT = make_brock_mirman_output()
CAPITAL = make_brock_mirman()
#: In levels the logarithms of the closed form are no polynomials, and there is something to do.
LEVELS = dataclasses.replace(
    OUTPUT, state_transform="identity", action_transform="identity", steady_state=None
)
#: In the logarithms of states and actions the policy is linear and the value too: low degrees are
#: exact but for the search for the best action.
ESTIMATORS = {
    "bellman": BellmanApproximator(OUTPUT, degree=5, random_state=0),
    "evaluator": PolicyEvaluator(OUTPUT, degree=5, random_state=0),
    "euler": EulerApproximator(OUTPUT, degree=5, random_state=0),
}
PRICE = 0.9 * 0.5 / (1 - 0.9 * 0.5)


def _dividend(s, p, e):
    return e


def _price(s, p, s_next, p_next):
    return p - 0.9 * (s_next + p_next)


#: A claim to dividends that follow an autoregression, whose price is proportional to them.
CLAIM = DynamicModel(
    transition=_dividend,
    euler=_price,
    shocks=AR1(0.5, 0.1, state=0),
    state_bounds=[(-1.0, 1.0)],
    state_names=["dividend"],
    action_names=["price"],
)
ESTIMATORS["equation"] = FunctionalEquation(CLAIM, degree=3, random_state=0)

every = pytest.mark.parametrize("name", ESTIMATORS)
maximising = pytest.mark.parametrize("cls", [BellmanApproximator, EulerApproximator])


def states_of(model, n=40, seed=1, share=0.9):
    """Random states (n, d) in the inner part of the box."""
    bounds = model.bounds.numpy()
    middle, half = bounds.mean(1), share * np.ptp(bounds, axis=1) / 2
    return middle + half * np.random.default_rng(seed).uniform(-1, 1, (n, len(bounds)))


@pytest.fixture(scope="module")
def fitted():
    """All estimators, fitted at their own nodes; to be looked at only."""
    return {name: clone(estimator).fit() for name, estimator in ESTIMATORS.items()}


@pytest.fixture(scope="module")
def leisure():
    """Two states and two actions; the exact solution is within a product of degree 5."""
    model = make_leisure_growth()
    return {
        "bellman": BellmanApproximator(model, degree=5, random_state=0).fit(),
        "euler": EulerApproximator(model, degree=5, random_state=0).fit(),
    }


class TestFit:
    @every
    def test_takes_nodes_of_its_own_without_states(self, fitted, name):
        est = fitted[name]
        assert est.nodes_.shape == (len(est.coef_), 1)
        assert est.n_features_in_ == 1
        assert est.converged_ and est.n_iter_ >= 1
        assert not hasattr(est, "feature_names_in_")

    @every
    @pytest.mark.parametrize("kind", ["array", "list", "frame", "tensor"])
    def test_takes_states(self, fitted, name, kind):
        est = clone(ESTIMATORS[name])
        X = states_of(est.model, 30)
        given = {
            "array": X,
            "list": X.tolist(),
            "frame": pd.DataFrame(X, columns=["wealth"]),
            "tensor": torch.from_numpy(X),
        }[kind]
        assert est.fit(given) is est
        assert_allclose(est.nodes_, X)
        assert hasattr(est, "feature_names_in_") == (kind == "frame")
        # Random states leave more of the box to extrapolation than nodes do.
        assert_allclose(est.predict(given), fitted[name].predict(X), rtol=1e-6, atol=1e-8)

    @every
    def test_the_target_is_ignored(self, name):
        X = states_of(ESTIMATORS[name].model, 20)
        with_target = clone(ESTIMATORS[name]).fit(X, np.ones(20))
        without = clone(ESTIMATORS[name]).fit(X)
        assert_array_equal(with_target.predict(X), without.predict(X))

    @every
    def test_repeated_states_determine_no_more_coefficients(self, name):
        X = states_of(ESTIMATORS[name].model, 10)
        once = clone(ESTIMATORS[name]).set_params(degree=None).fit(X)
        thrice = clone(once).fit(np.tile(X, (3, 1)))
        assert once.coef_.shape == thrice.coef_.shape
        assert_allclose(once.predict(X), thrice.predict(X), rtol=1e-8, atol=1e-8)

    @pytest.mark.parametrize("n", [1, 2, 5, 9])
    @pytest.mark.parametrize(
        "cls", [BellmanApproximator, PolicyEvaluator, EulerApproximator, FunctionalEquation]
    )
    def test_without_a_model_few_rows_lower_the_degree(self, cls, n):
        X = np.random.default_rng(0).normal(50, 3, (n, 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            est = cls(max_iter=20, random_state=0).fit(X)
        assert est.model_.n_states == 2
        assert est.coef_.size <= n
        assert np.isfinite(est.predict(X)).all()

    @pytest.mark.parametrize("cls", [BellmanApproximator, PolicyEvaluator, EulerApproximator])
    def test_without_a_model_it_is_a_regulator_with_a_closed_form(self, cls):
        est = cls(random_state=0).fit()
        X = states_of(est.model_)
        assert est.model_.n_states == 2
        which = "policy" if cls is EulerApproximator else "value"
        assert_allclose(est.predict(X), est.exact(which, X), atol=1e-9)
        assert est.summary_["outside"] == 0
        assert est.score() > 9

    def test_without_a_model_the_functional_equation_sums_up_what_fades(self):
        est = FunctionalEquation().fit()
        X = states_of(est.model_)
        assert_allclose(est.predict(X), X.mean(1) / (1 - 0.95 * 0.9), rtol=1e-9, atol=1e-9)

    def test_states_of_no_width_get_a_box(self):
        with pytest.warns(ConvergenceWarning, match="raise degree"):
            est = FunctionalEquation().fit(np.full((3, 2), 7.0))
        assert (np.diff(est.model_.bounds.numpy()) > 0).all()

    @every
    def test_nothing_is_known_before(self, name):
        est = clone(ESTIMATORS[name])
        X = states_of(est.model, 3)
        for call in (est.predict, est.policy, est.residuals, est.gradient, est.score):
            with pytest.raises(NotFittedError):
                call(X)
        for call in (est.simulate, est.ergodic_sample, lambda: est.summary_, est.score):
            with pytest.raises(NotFittedError):
                call()

    @every
    def test_a_failed_fit_leaves_the_last_one(self, fitted, name):
        est = pickle.loads(pickle.dumps(fitted[name]))
        X = states_of(est.model, 3)
        before = est.predict(X)
        with pytest.raises(ValueError, match="features"):
            est.fit(np.ones((9, 3)))
        assert_array_equal(est.predict(X), before)


class TestOutputs:
    @every
    def test_shapes_for_one_action(self, fitted, name):
        est = fitted[name]
        X = states_of(est.model, 7)
        for method in (est.predict, est.policy, est.residuals):
            assert method(X).shape == (7,)
        assert est.gradient(X).shape == (7, 1)

    def test_shapes_for_several_actions(self, leisure):
        X = states_of(leisure["euler"].model, 7)
        euler, bellman = leisure["euler"], leisure["bellman"]
        for method in (euler.predict, euler.policy, euler.residuals, bellman.policy):
            assert method(X).shape == (7, 2)
        for method in (bellman.predict, bellman.value, bellman.residuals, euler.value):
            assert method(X).shape == (7,)
        for unit in ("residual", "consumption"):
            assert euler.euler_errors(X, unit=unit).shape == (7, 2)
        assert euler.gradient(X).shape == (7, 2, 2)
        assert bellman.gradient(X).shape == (7, 2)
        assert euler.coef_.shape[0] == 2 and bellman.coef_.ndim == 1

    def test_two_actions_are_those_of_the_closed_form(self, leisure):
        X = states_of(leisure["euler"].model)
        for est in leisure.values():
            assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-6)

    @every
    def test_precision_and_kind_follow_the_states(self, fitted, name):
        est = fitted[name]
        X = states_of(est.model, 5)
        methods = [est.predict, est.policy, est.residuals, est.gradient]
        methods += [est.value] if hasattr(est, "value") else []
        for method in methods:
            assert method(X).dtype == np.float64
            single = method(X.astype(np.float32))
            assert single.dtype == np.float32
            assert_allclose(single, method(X), rtol=1e-5, atol=1e-5)
            tensor = method(torch.from_numpy(X))
            assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64
            assert_array_equal(tensor.numpy(), method(X))
            assert method(torch.from_numpy(X).float()).dtype == torch.float32

    @every
    def test_exact_is_that_of_the_model(self, fitted, name):
        est = fitted[name]
        X = states_of(est.model, 5)
        if name == "equation":
            with pytest.raises(ValueError, match="the model has no exact policy"):
                est.exact("policy", X)
            return
        expected = est.model.exact("value")(torch.from_numpy(X)).numpy()
        assert_array_equal(est.exact("value", X), expected)
        assert est.exact("policy", X).shape == (5,)
        assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-8)

    def test_columns_of_a_frame_are_found_by_the_names_of_states(self):
        est = EulerApproximator(CAPITAL, degree=4).fit()
        X = states_of(CAPITAL, 6)
        frame = pd.DataFrame({"other": 1.0, "z": X[:, 1], "k": X[:, 0]})
        assert_array_equal(est.predict(frame), est.predict(X))
        with pytest.raises(ValueError, match=r"X lacks the state 'z'.*\['k', 'z'\]"):
            est.predict(frame[["k", "other"]])

    def test_columns_of_a_frame_given_to_fit_are_found_by_name(self):
        X = states_of(CAPITAL, 60)
        frame = pd.DataFrame(X, columns=["k", "z"])
        est = EulerApproximator(CAPITAL, degree=3).fit(frame)
        assert_allclose(est.predict(frame[["z", "k"]]), est.predict(X), rtol=1e-14)
        swapped = EulerApproximator(CAPITAL, degree=3).fit(frame[["z", "k"]])
        assert_allclose(swapped.predict(frame), est.predict(X), rtol=1e-9)
        with pytest.raises(ValueError, match="lacks the state 'z'"):
            EulerApproximator(CAPITAL, degree=3).fit(frame.rename(columns={"z": "w"}))

    @every
    def test_gradient_is_the_derivative_of_predict(self, fitted, name):
        est = fitted[name]
        X = states_of(est.model, 10)
        step = 1e-5
        slope = (est.predict(X + step) - est.predict(X - step)) / (2 * step)
        # Central differences of this step are off by its square, times third derivatives.
        assert_allclose(est.gradient(X)[:, 0], slope, rtol=1e-6, atol=1e-6)

    def test_gradient_of_several_actions_and_states(self, leisure):
        for est in leisure.values():
            X = states_of(est.model, 6, share=0.5)
            for j in range(2):
                step = 1e-5 * np.eye(2)[j]
                slope = (est.predict(X + step) - est.predict(X - step)) / 2e-5
                assert_allclose(est.gradient(X)[..., j], slope, rtol=1e-5, atol=1e-6)

    def test_the_gradient_of_the_value_is_the_marginal_utility_of_wealth(self):
        model = make_cake_eating()
        est = BellmanApproximator(model, degree=5).fit()
        X = states_of(model, 10)
        assert_allclose(est.gradient(X)[:, 0], est.policy(X) ** -3.0, rtol=1e-6)

    def test_the_value_of_an_euler_solution_is_that_of_bellman(self, fitted, leisure):
        for euler, bellman in (
            (fitted["euler"], fitted["bellman"]),
            (leisure["euler"], leisure["bellman"]),
        ):
            X = states_of(euler.model)
            assert_allclose(euler.value(X), bellman.value(X), rtol=1e-7)
            assert_allclose(euler.value(X), euler.exact("value", X), rtol=1e-7)

    def test_a_policy_without_a_reward_has_no_value(self):
        model = DynamicModel(
            transition=lambda s, a, e: 0.9 * s + 0.0 * a,
            euler=lambda s, a, s_next, a_next: a - s - 0.5 * a_next,
            state_bounds=[(-1.0, 1.0)],
        )
        est = EulerApproximator(model, degree=2).fit()
        with pytest.raises(ValueError, match="no reward, so its policy has no value"):
            est.value([[0.5]])
        with pytest.raises(ValueError, match='choose unit="residual"'):
            est.euler_errors([[0.5]], unit="consumption")

    def test_outside_the_box_the_function_goes_on_as_a_line(self):
        est = FunctionalEquation(CLAIM, degree=3).fit()
        X = np.array([[1.5], [2.0], [2.5]])
        assert_allclose(np.diff(est.predict(X), 2), 0, atol=1e-10)


class TestErrors:
    def test_consumption_errors_are_relative_mistakes_of_actions(self):
        model = make_growth()
        est = EulerApproximator(
            model, degree=2, integration="gauss_hermite", n_integration_nodes=5
        ).fit()
        X = states_of(model, 20)
        rule = model.distribution.nodes("gauss_hermite", 5)
        s = torch.from_numpy(X)
        e, weights = rule.at(s)
        c = torch.from_numpy(est.policy(X))[:, None]
        expected = torch.zeros(len(X), dtype=torch.float64)
        for q in range(len(weights)):
            after = model.next_states(s, c, e[q].expand(len(s), -1))
            later = torch.from_numpy(est.policy(after.numpy()))
            k, a = after[:, 0], after[:, 1]
            p = model.params
            # The returns of the model as its docstring has them.
            steady = (1 - p["beta"] * (1 - p["delta"])) / (p["alpha"] * p["beta"])
            gross = 1 - p["delta"] + p["alpha"] * steady * a * k ** (p["alpha"] - 1)
            expected += weights[q] * p["beta"] * gross * later ** -p["gamma"]
        implied = expected ** (-1 / model.params["gamma"])
        assert_allclose(
            est.euler_errors(X, unit="consumption"), (implied / c[:, 0] - 1).numpy(), atol=1e-10
        )
        gain = 1 - expected.numpy() * c[:, 0].numpy() ** model.params["gamma"]
        # Complementarity with the bounds bends residuals by a square of their own size.
        assert_allclose(np.abs(est.euler_errors(X)), np.abs(gain), rtol=1e-3)

    def test_both_units_vanish_at_an_exact_solution(self, fitted):
        X = states_of(OUTPUT)
        for unit in ("residual", "consumption"):
            assert np.abs(fitted["euler"].euler_errors(X, unit=unit)).max() < 1e-9
        assert_array_equal(fitted["euler"].euler_errors(X), fitted["euler"].residuals(X))

    def test_without_a_marginal_inverse_small_consumption_errors_are_the_same(self):
        model = make_growth()
        X = states_of(model, 20)
        kinds = [model, dataclasses.replace(model, marginal_inverse=None)]
        one, other = (
            EulerApproximator(m, degree=3).fit().euler_errors(X, unit="consumption") for m in kinds
        )
        # One Newton step is off by the square of the error.
        assert_allclose(one, other, atol=1e-6)

    def test_an_unknown_unit_is_refused(self, fitted):
        with pytest.raises(ValueError, match=r"unit='percent' must be \"residual\" or"):
            fitted["euler"].euler_errors([[0.5]], unit="percent")

    def test_bellman_residuals_are_relative_gaps(self):
        est = BellmanApproximator(OUTPUT, degree=2, objective="galerkin").fit()
        X = states_of(OUTPUT)
        s = torch.from_numpy(X)
        nodes, weights = OUTPUT.distribution.nodes("gauss_hermite", 30).at(s)
        c = torch.from_numpy(est.policy(X))[:, None]
        later = sum(
            weights[q]
            * torch.from_numpy(
                est.value(OUTPUT.next_states(s, c, nodes[q].expand(len(s), -1)).numpy())
            )
            for q in range(len(weights))
        )
        best = (OUTPUT.rewards(s, c) + OUTPUT.beta * later).numpy()
        gap = (est.value(X) - best) / np.abs(est.value(X))
        assert_allclose(est.residuals(X), gap, atol=1e-9)

    @every
    def test_the_score_counts_the_correct_digits(self, fitted, name):
        est = clone(fitted[name])
        if name == "equation":
            est.set_params(model=make_burnside(), degree=2)
        else:
            est.set_params(model=LEVELS, degree=6)
        est.fit()
        X = states_of(est.model)
        assert est.score(X) == pytest.approx(-np.log10(np.abs(est.residuals(X)).mean()))
        assert est.score(X, np.zeros(len(X))) == est.score(X)
        assert est.score() == pytest.approx(-np.log10(est.summary_["mean"]))

    def test_a_higher_degree_scores_higher(self):
        scores = [EulerApproximator(make_growth(), degree=k).fit().score() for k in (2, 4, 6)]
        assert scores[0] + 1 < scores[1] < scores[2] - 1

    @every
    def test_summary(self, fitted, name):
        summary = fitted[name].summary_
        assert set(summary) == {
            "mean",
            "p90",
            "p99",
            "max",
            "outside",
            "spectral_radius",
            "path_error",
            "n_iter",
            "seconds",
        }
        assert 0 <= summary["mean"] <= summary["max"] < 1e-8
        assert summary["p90"] <= summary["p99"] <= summary["max"]
        assert 0 <= summary["outside"] < 0.2
        assert 0 <= summary["spectral_radius"] < 1
        assert summary["n_iter"] == fitted[name].n_iter_
        assert summary["seconds"] > 0
        summary["mean"] = 1.0
        assert fitted[name].summary_["mean"] < 1e-8

    def test_the_spectral_radius_is_the_larger_of_persistence_and_capital_share(self):
        est = EulerApproximator(CAPITAL, degree=5).fit()
        # The transition matrix is taken by central differences.
        assert est.summary_["spectral_radius"] == pytest.approx(0.9, abs=1e-5)


class TestSimulation:
    @every
    def test_shapes(self, fitted, name):
        states, actions = fitted[name].simulate(n_periods=12, n_paths=3, random_state=0)
        assert states.shape == (3, 13, 1)
        assert actions.shape == (3, 12, 1)
        assert np.isfinite(states).all()
        assert fitted[name].ergodic_sample(70, random_state=0).shape == (70, 1)

    @every
    def test_paths_obey_the_policy(self, fitted, name):
        est = fitted[name]
        states, actions = est.simulate(n_periods=8, n_paths=2, random_state=0)
        assert_allclose(actions[0, :, 0], est.policy(states[0, :-1]), rtol=1e-7, atol=1e-9)

    def test_no_periods_and_given_starts(self, fitted):
        est = fitted["euler"]
        states, actions = est.simulate([0.5], n_periods=0)
        assert states.tolist() == [[[0.5]]] and actions.shape == (1, 0, 1)
        states, _ = est.simulate([[0.5], [0.6]], n_periods=1, n_paths=2)
        assert states[:, 0, 0].tolist() == [0.5, 0.6]
        states, _ = est.simulate([0.7], n_periods=1, n_paths=3)
        assert states[:, 0, 0].tolist() == [0.7] * 3

    @pytest.mark.parametrize("start", [[0.5, 0.6], [[0.5], [0.6]], [[0.5, 0.1]]])
    def test_a_start_of_wrong_shape_is_refused(self, fitted, start):
        with pytest.raises(ValueError, match=r"start of shape .* must hold 1 states, for all of"):
            fitted["euler"].simulate(start, n_paths=3)

    def test_the_seed_decides(self, fitted):
        est = fitted["euler"]
        one, two = (est.simulate(n_periods=5, random_state=3)[0] for _ in range(2))
        assert_array_equal(one, two)
        generator = est.simulate(n_periods=5, random_state=np.random.RandomState(3))[0]
        assert_array_equal(one, generator)
        assert (est.simulate(n_periods=5, random_state=4)[0] != one).any()
        assert_array_equal(est.simulate(n_periods=5)[0], est.simulate(n_periods=5)[0])

    def test_the_ergodic_sample_has_the_moments_of_the_closed_form(self, fitted):
        log = np.log(fitted["euler"].ergodic_sample(4000, random_state=0)[:, 0])
        alpha, beta, sigma = 0.4, 0.96, 0.1
        # ln y' = alpha ln(alpha beta) + alpha ln y + sigma e; five standard errors of the mean.
        assert log.mean() == pytest.approx(alpha * np.log(alpha * beta) / (1 - alpha), abs=0.02)
        assert log.std() == pytest.approx(sigma / np.sqrt(1 - alpha**2), rel=0.1)


SOLVERS = ("auto", "newton", "gauss_newton", "fixed_point", "policy_iteration", "lbfgs")
BASES = ("chebyshev", "complete", "smolyak", "monomial", "bspline")
OBJECTIVES = ("collocation", "galerkin", "least_squares")
WAYS = [
    *(
        (basis, objective, solver)
        for basis in BASES
        for objective in OBJECTIVES
        for solver in SOLVERS
    ),
    *(("mlp", "auto", solver) for solver in SOLVERS),
    ("mlp", "galerkin", "auto"),
    ("mlp", "collocation", "gauss_newton"),
    ("mlp", "least_squares", "auto"),
]
#: The slow ones once: what differs in them is the same code for both estimators.
SLOW = [
    way
    for way in WAYS
    if way[0] == "mlp" and way[1:] not in (("auto", "auto"), ("galerkin", "auto"))
]
SLOW = [way for way in SLOW if way[2] not in ("newton", "fixed_point", "policy_iteration")]
SLOW += [way for way in WAYS if way[0] in BASES[1:] and way[1] != "galerkin" and way[2] == "lbfgs"]
CASES = [
    *((EulerApproximator, *way) for way in WAYS),
    *((BellmanApproximator, *way) for way in WAYS if way not in SLOW),
]


class TestSelection:
    """Representation, objective and solver: what goes together agrees, what does not is refused."""

    SIZES = {"chebyshev": 4, "complete": 4, "smolyak": 4, "monomial": 4, "bspline": 3}

    def build(self, cls, basis, objective, solver):
        est = cls(
            OUTPUT,
            basis=basis,
            degree=self.SIZES.get(basis),
            knots=3,
            hidden_layer_sizes=4,
            objective=objective,
            solver=solver,
            random_state=0,
            n_nodes=16 if basis == "mlp" else None,
            n_integration_nodes=3,
            max_iter=40 if basis == "mlp" else 400,
            n_restarts=0,
        )
        return est

    @pytest.mark.parametrize(
        ("cls", "basis", "objective", "solver"),
        CASES,
        ids=["-".join([case[0].__name__, *case[1:]]) for case in CASES],
    )
    def test_agree_or_refuse(self, cls, basis, objective, solver):
        if cls is EulerApproximator and solver == "policy_iteration":
            with pytest.raises(ValueError, match="solver"):
                self.build(cls, basis, objective, solver).fit()
            return
        est = self.build(cls, basis, objective, solver)
        refused = self.refusal(basis, objective, solver)
        if refused:
            with pytest.raises(ValueError, match=refused):
                est.fit()
            return
        if basis == "mlp" or solver == "lbfgs":
            # Descent along gradients and networks reach what is asked of policies, not rounding.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                est.fit()
            tolerance = 2e-2
        else:
            est.fit()
            tolerance = 1e-6
        X = states_of(OUTPUT)
        assert_allclose(est.policy(X), est.exact("policy", X), rtol=tolerance)

    @staticmethod
    def refusal(basis, objective, solver):
        if basis == "mlp":
            if objective == "galerkin":
                return 'a network has not: choose objective="least_squares"'
            if solver in ("newton", "fixed_point", "policy_iteration"):
                return 'a network has none: choose solver="gauss_newton", "lbfgs" or "adam"'
        elif objective == "galerkin" and solver == "lbfgs":
            return 'choose objective="least_squares", or solver="newton"'
        return None

    @maximising
    def test_newton_wants_as_many_conditions_as_coefficients(self, cls):
        est = cls(OUTPUT, degree=4, solver="newton", n_nodes=9)
        with pytest.raises(ValueError, match=r"9 conditions and 5 coefficients: choose solver="):
            est.fit()
        est.set_params(objective="galerkin").fit()
        est.set_params(objective="auto", solver="gauss_newton").fit()
        assert len(est.nodes_) == 9

    @maximising
    @pytest.mark.parametrize("sampling", ["nodes", "sobol", "ergodic"])
    def test_sampling(self, cls, sampling):
        # The search of Bellman's equation takes its time in several states.
        model, n_terms = (CAPITAL, 10) if cls is EulerApproximator else (OUTPUT, 4)
        est = cls(model, basis="complete", degree=3, sampling=sampling, random_state=0).fit()
        X = est.ergodic_sample(50, random_state=1)
        assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-6)
        if sampling == "sobol":
            assert len(est.nodes_) == 4 * n_terms
            assert len(clone(est).set_params(n_nodes=25).fit().nodes_) == 25

    def test_an_ergodic_sample_spends_no_coefficients_where_nobody_comes(self):
        wide = [(0.05, 0.8), (-0.8, 0.8)]
        model = make_brock_mirman(state_bounds=wide)
        est = EulerApproximator(
            model, basis="complete", degree=2, sampling="ergodic", random_state=0
        ).fit()
        assert np.ptp(est.nodes_, axis=0)[0] < 0.5 * (0.8 - 0.05)

    @pytest.mark.parametrize("rule", ["auto", "gauss_hermite", "monomial1", "monomial2", "sobol"])
    def test_integration(self, rule):
        est = EulerApproximator(
            CAPITAL, degree=4, integration=rule, n_integration_nodes=None, random_state=0
        ).fit()
        X = states_of(CAPITAL)
        assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-6)

    def test_an_unknown_rule_names_the_known_ones(self):
        with pytest.raises(ValueError, match=r"'simpson'.*gauss_hermite"):
            EulerApproximator(OUTPUT, integration="simpson").fit()

    @maximising
    def test_smolyak_of_each_state_its_own_level(self, cls):
        even = cls(CAPITAL, basis="smolyak", degree=4).fit()
        uneven = cls(CAPITAL, basis="smolyak", degree=[4, 2]).fit()
        assert even.coef_.size == 13
        assert uneven.coef_.size < even.coef_.size
        X = states_of(CAPITAL)
        for est in (even, uneven):
            assert len(est.nodes_) == est.coef_.size
            assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-6)

    @maximising
    def test_a_basis_of_ones_own(self, cls):
        ends = np.log(OUTPUT.bounds.numpy())[0]
        basis = ProductBasis([Chebyshev(3, tuple(ends))], complete_indices(1, 3))
        est = cls(OUTPUT, basis=basis, random_state=0).fit()
        X = states_of(OUTPUT)
        assert est.coef_.shape == (4,)
        assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-6)
        with pytest.raises(ValueError, match=r"has 1 inputs, but the model has 2 states"):
            cls(CAPITAL, basis=basis).fit()

    def test_a_module_of_ones_own(self):
        torch_state = torch.get_rng_state()
        module = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        torch.set_rng_state(torch_state)
        before = [p.detach().clone() for p in module.parameters()]
        est = EulerApproximator(OUTPUT, basis=module, random_state=0).fit()
        X = states_of(OUTPUT)
        # The floor that the issue puts for policies.
        assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-3)
        assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))
        assert est.coef_.size == 13

    def test_maximizers_agree(self):
        X = states_of(OUTPUT)
        found = {
            name: BellmanApproximator(OUTPUT, degree=4, maximizer=name).fit()
            for name in ("newton", "golden", "envelope")
        }
        for est in found.values():
            assert_allclose(est.value(X), est.exact("value", X), rtol=1e-8)
            # Golden section knows a maximum to the square root of rounding.
            assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-6)

    @pytest.mark.parametrize(
        ("model", "maximizer", "message"),
        [
            (OUTPUT, "enumerate", "without discrete_actions: choose 'newton'"),
            (make_mccall(), "newton", "with discrete_actions: choose 'enumerate'"),
            (make_leisure_growth(), "golden", 'has 2 actions: choose "newton"'),
            (make_escapement(), "envelope", "marginal_inverse of the model, which is None"),
        ],
        ids=["enumerate", "newton", "golden", "envelope"],
    )
    def test_a_maximizer_that_does_not_fit_is_refused(self, model, maximizer, message):
        with pytest.raises(ValueError, match=message):
            BellmanApproximator(model, degree=3, maximizer=maximizer).fit()


class TestIterations:
    def test_a_warm_start_goes_on(self):
        est = EulerApproximator(make_growth(), degree=5, warm_start=True).fit()
        first, theta = est.n_iter_, est.coef_
        est.fit()
        assert est.n_iter_ <= 1 <= first
        assert_allclose(est.coef_, theta, atol=1e-9)
        # A function of another size starts anew.
        assert est.set_params(degree=4).fit().converged_

    def test_a_warm_start_helps_after_a_small_change(self):
        est = BellmanApproximator(make_growth(), degree=5, warm_start=True).fit()
        cold = clone(est).set_params(model__gamma=2.1).fit()
        warm = est.set_params(model__gamma=2.1).fit()
        assert warm.n_iter_ <= cold.n_iter_
        X = states_of(make_growth())
        assert_allclose(warm.policy(X), cold.policy(X), rtol=1e-7)

    def test_restarts_of_networks_keep_the_best(self):
        scores = []
        for n_restarts in (0, 3):
            est = EulerApproximator(
                make_growth(),
                basis="mlp",
                hidden_layer_sizes=3,
                n_restarts=n_restarts,
                max_iter=15,
                random_state=0,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                scores.append(est.fit().summary_["mean"])
        assert scores[1] <= scores[0] * (1 + 1e-9)

    @every
    def test_silent_by_default_and_a_bar_on_request(self, name, capfd):
        clone(ESTIMATORS[name]).fit()
        assert capfd.readouterr() == ("", "")
        clone(ESTIMATORS[name]).set_params(verbose=1).fit()
        out, err = capfd.readouterr()
        assert out == "" and type(ESTIMATORS[name]).__name__ in err

    @maximising
    def test_the_history_has_a_record_an_iteration(self, cls):
        est = cls(make_growth(), degree=4, solver="newton").fit()
        assert len(est.history_) >= est.n_iter_ >= 1
        assert [record["iteration"] for record in est.history_] == list(
            range(1, len(est.history_) + 1)
        )
        assert all(np.isfinite(record["residual"]) for record in est.history_)
        assert est.history_[-1]["residual"] < est.history_[0]["residual"]

    @maximising
    def test_too_few_iterations_are_told_of(self, cls):
        est = cls(make_growth(), degree=2, max_iter=1, solver="newton", tol=1e-13)
        with pytest.warns(ConvergenceWarning, match="did not converge.*raise max_iter"):
            est.fit()
        assert not est.converged_
        done = clone(est).set_params(max_iter=50, tol=1e-8).fit()
        assert est.score() <= done.score()

    def test_an_interrupted_iteration_keeps_the_fit(self):
        class Interrupt:
            def setup(self, estimator, context): ...
            def teardown(self, estimator, context): ...
            def on_fit_task_begin(self, estimator, context): ...
            def on_fit_task_end(self, estimator, context):
                if context.parent is not None:
                    raise KeyboardInterrupt

        est = BellmanApproximator(make_growth(), degree=4)
        if not hasattr(est, "set_callbacks"):
            pytest.skip("this scikit-learn has no callbacks")
        est.set_callbacks(Interrupt())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            est.fit()
        assert not est.converged_
        assert np.isfinite(est.predict(states_of(make_growth(), 3))).all()


class TestSearches:
    X = states_of(make_growth(), 60)

    def search(self, est, grid):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return GridSearchCV(est, grid, cv=KFold(3)).fit(self.X)

    def test_over_degree(self):
        found = self.search(EulerApproximator(make_growth()), {"degree": [1, 2, 4]})
        assert found.best_params_ == {"degree": 4}
        assert (np.diff(found.cv_results_["mean_test_score"]) > 0).all()

    def test_over_basis(self):
        est = EulerApproximator(make_growth(), degree=2, knots=1)
        found = self.search(est, {"basis": ["complete", "chebyshev", "bspline"]})
        assert np.isfinite(found.cv_results_["mean_test_score"]).all()
        assert found.best_params_["basis"] in ("chebyshev", "bspline")

    def test_over_hidden_layers(self):
        est = EulerApproximator(LEVELS, basis="mlp", n_restarts=0, max_iter=20, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = GridSearchCV(est, {"hidden_layer_sizes": [(1,), (4,)]}, cv=2)
            found.fit(states_of(LEVELS, 40))
        assert found.best_params_ == {"hidden_layer_sizes": (4,)}

    def test_over_parameters_of_the_model(self):
        est = EulerApproximator(OUTPUT, degree=2)
        X = states_of(OUTPUT, 30, share=0.5)
        found = GridSearchCV(est, {"model__alpha": [0.3, 0.4]}, cv=2, error_score="raise").fit(X)
        assert np.isfinite(found.cv_results_["mean_test_score"]).all()
        best = found.best_estimator_
        assert best.model.params["alpha"] == found.best_params_["model__alpha"]
        assert_allclose(best.policy(X), best.exact("policy", X), rtol=1e-8)

    @every
    def test_cross_validation(self, name):
        est = ESTIMATORS[name]
        scores = cross_val_score(est, states_of(est.model, 30), cv=3)
        assert scores.shape == (3,) and (scores > 5).all()

    @every
    def test_clones_are_unfitted_and_equal(self, fitted, name):
        copy = clone(fitted[name])
        assert not hasattr(copy, "model_")
        own = fitted[name].get_params(deep=False)
        assert copy.get_params(deep=False).keys() == own.keys()
        changed = {k for k, v in copy.get_params(deep=False).items() if repr(v) != repr(own[k])}
        assert not changed
        X = states_of(copy.model, 4)
        assert_array_equal(copy.fit().predict(X), fitted[name].predict(X))

    def test_parameters_of_the_model_are_parameters(self):
        est = BellmanApproximator(OUTPUT)
        assert est.get_params()["model__alpha"] == 0.4
        assert "model__alpha" not in est.get_params(deep=False)
        assert est.set_params(model__alpha=0.3, degree=2) is est
        assert est.model.params["alpha"] == 0.3 and est.degree == 2
        assert OUTPUT.params["alpha"] == 0.4

    def test_the_discount_is_a_parameter(self):
        model = make_linear_quadratic(n_states=1)
        name = "model__beta" if "beta" in model.params else "model__discount"
        est = BellmanApproximator(model)
        assert est.get_params()[name] == 0.95
        plain = DynamicModel(
            transition=lambda s, a, e: s - a,
            reward=lambda s, a: a[:, 0],
            discount=0.9,
            state_bounds=[(0.0, 1.0)],
            action_bounds=lambda s: (0.0, s),
        )
        est = BellmanApproximator(plain)
        assert est.get_params()["model__discount"] == 0.9
        assert est.set_params(model__discount=0.8).model.beta == 0.8

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"model__theta": 1.0}, r"model has no parameter 'theta': it has \['alpha', 'beta'"),
            ({"degre": 1}, "degre"),
        ],
        ids=["model", "estimator"],
    )
    def test_unknown_names_are_refused(self, params, message):
        with pytest.raises(ValueError, match=message):
            BellmanApproximator(OUTPUT).set_params(**params)

    def test_no_model_has_no_parameters(self):
        with pytest.raises(ValueError, match="model=None has no parameter 'beta'"):
            BellmanApproximator().set_params(model__beta=0.9)

    @every
    def test_pickles(self, fitted, name):
        est = fitted[name]
        X = states_of(est.model, 5)
        buffer = io.BytesIO()
        joblib.dump(est, buffer)
        buffer.seek(0)
        for copy in (pickle.loads(pickle.dumps(est)), joblib.load(buffer)):
            for method in ("predict", "policy", "residuals", "gradient"):
                assert_array_equal(getattr(copy, method)(X), getattr(est, method)(X))
            assert copy.summary_ == est.summary_
            assert_array_equal(
                copy.simulate(n_periods=3, random_state=0)[0],
                est.simulate(n_periods=3, random_state=0)[0],
            )


T = 6


@pytest.fixture(scope="module")
def cake():
    """A cake to be eaten in six periods."""
    return BellmanApproximator(make_cake_eating(horizon=T), degree=6, random_state=0).fit()


class TestHorizon:
    def test_values_and_actions_of_each_period(self, cake):
        X = states_of(cake.model, 10)
        for period in range(T):
            left = make_cake_eating(horizon=T - period)
            s = torch.from_numpy(X)
            c, v = (left.exact(which)(s).numpy() for which in ("policy", "value"))
            # The last period's action is a bound, where it is exact.
            assert_allclose(cake.policy(X, period=period), c[:, 0], rtol=1e-5)
            assert_allclose(cake.value(X, period=period), v, rtol=1e-6)
            slope = cake.gradient(X, period=period)[:, 0]
            assert_allclose(slope, c[:, 0] ** -3.0, rtol=1e-4)
        assert_array_equal(cake.predict(X), cake.value(X, period=0))
        assert_allclose(cake.predict(X), cake.exact("value", X), rtol=1e-6)

    def test_one_function_a_period(self, cake):
        assert cake.theta_.shape[0] == T == cake.n_iter_
        assert cake.converged_ and len(cake.history_) == T

    def test_simulations_stop_at_the_horizon(self, cake):
        states, actions = cake.simulate([5.0], n_periods=100)
        assert states.shape == (1, T + 1, 1) and actions.shape == (1, T, 1)
        # Nothing is left.
        assert abs(states[0, -1, 0]) < 1e-8
        assert cake.simulate([5.0], n_periods=2)[1].shape == (1, 2, 1)

    @pytest.mark.parametrize("period", [-1, 6])
    def test_a_period_out_of_range_is_refused(self, cake, period):
        for method in (cake.value, cake.policy, cake.gradient):
            with pytest.raises(ValueError, match=f"period={period} must be between 0 and 5"):
                method([[1.0]], period=period)

    def test_a_period_without_a_horizon_is_refused(self, fitted):
        for method in (fitted["bellman"].value, fitted["bellman"].policy):
            with pytest.raises(ValueError, match="period=2 must be 0 for a model without"):
                method([[0.5]], period=2)

    def test_scores_and_summaries(self, cake):
        assert cake.score() > 5
        assert cake.summary_["max"] < 1e-4
        assert np.isnan(cake.summary_["spectral_radius"])

    def test_there_is_no_long_run(self, cake):
        assert cake.simulate()[0].shape == (1, T + 1, 1)
        with pytest.raises(ValueError, match="horizon=6 has no long run: use simulate"):
            cake.ergodic_sample(10)

    @pytest.mark.parametrize("cls", [EulerApproximator, PolicyEvaluator])
    def test_the_others_refuse_a_horizon(self, cls):
        with pytest.raises(ValueError, match="use BellmanApproximator for a"):
            cls(make_cake_eating(horizon=3)).fit()


def _chain_model(**changes):
    """Income that follows a chain; log utility over what is not saved; full depreciation."""

    def reward(s, a):
        return a[:, 0].log()

    def transition(s, a, e):
        return torch.cat([e * (s[:, :1] - a) ** 0.4, e], 1)

    given = {
        "reward": reward,
        "transition": transition,
        "discount": 0.95,
        "shocks": MarkovChain([[0.8, 0.2], [0.2, 0.8]], [0.9, 1.1], state=1),
        "state_bounds": [(0.2, 1.0), (0.9, 1.1)],
        "action_bounds": lambda s: (0.0, s[:, 0]),
        "state_names": ["y", "z"],
        "state_transform": ["log", "identity"],
        "action_transform": "log",
    }
    return DynamicModel(**given | changes)


class TestChainsAndLists:
    @maximising
    def test_a_markov_chain_has_a_function_for_each_value(self, cls):
        est = cls(_chain_model(), degree=4).fit()
        assert set(est.nodes_[:, 1]) == {0.9, 1.1}
        y = np.linspace(0.25, 0.9, 9)
        for z in (0.9, 1.1):
            X = np.column_stack([y, np.full(9, z)])
            # Log utility and full depreciation: a constant share whatever the chain does.
            assert_allclose(est.policy(X), (1 - 0.4 * 0.95) * y, rtol=1e-7)
        states, _ = est.simulate(n_periods=30, random_state=0)
        assert set(np.unique(states[0, :, 1])) == {0.9, 1.1}

    def test_an_ergodic_set_does_not_mix_a_chain(self):
        with pytest.raises(ValueError, match='choose "nodes" or "sobol"'):
            EulerApproximator(_chain_model(), degree=2, sampling="ergodic").fit()

    def test_a_choice_from_a_list(self):
        model = make_mccall()
        est = BellmanApproximator(
            model, basis="bspline", degree=1, knots=200, integration="midpoint"
        ).fit()
        X = states_of(model, 50)
        accepted = est.policy(X)
        assert set(accepted) == {0.0, 1.0}
        # A kink between two knots costs a cell of the linear spline.
        assert (accepted == est.exact("policy", X)).mean() > 0.95
        assert_allclose(est.value(X), est.exact("value", X), rtol=1e-3)

    def test_a_choice_from_a_list_has_no_euler_equation(self):
        with pytest.raises(ValueError, match="has no Euler equation: use BellmanApproximator"):
            EulerApproximator(make_mccall()).fit()

    def test_a_constraint_binds(self):
        """Half of what there is must be kept: the best unconstrained share is larger."""
        model = dataclasses.replace(
            make_brock_mirman_output(sigma=0.0, state_bounds=[(0.2, 1.0)]),
            constraint=lambda s, a: 0.5 * s - a,
            solution=None,
            steady_state=None,
        )
        X = states_of(model, 20)
        for cls in (BellmanApproximator, EulerApproximator):
            est = cls(model, degree=4).fit()
            assert_allclose(est.policy(X), 0.5 * X[:, 0], rtol=1e-5)

    def test_a_slack_constraint_changes_nothing(self, fitted):
        model = dataclasses.replace(OUTPUT, constraint=lambda s, a: 0.9 * s - a)
        X = states_of(model, 20)
        for cls in (BellmanApproximator, EulerApproximator):
            est = cls(model, degree=4).fit()
            assert_allclose(est.policy(X), est.exact("policy", X), rtol=1e-5)


class TestKinks:
    def test_found_by_itself(self):
        model = make_borrowing_limit()
        X = states_of(model)
        auto = EulerApproximator(model, basis="bspline", knots=20, kinks="auto").fit()
        assert len(auto.kinks_) >= 1
        assert_allclose(auto.policy(X), auto.exact("policy", X), rtol=1e-5)

    @pytest.mark.parametrize(
        ("est", "message"),
        [
            (EulerApproximator(OUTPUT, kinks="auto"), 'needs basis="bspline" and a model of one'),
            (
                EulerApproximator(CAPITAL, basis="bspline", knots=2, kinks="auto"),
                "a model of one state: give their places",
            ),
            (
                EulerApproximator(
                    make_borrowing_limit(), basis="bspline", knots=[0.7, 1.0], kinks="auto"
                ),
                "places the knots itself: give knots as a number",
            ),
            (BellmanApproximator(OUTPUT, kinks="auto"), "is for EulerApproximator; give Bellman"),
            (PolicyEvaluator(OUTPUT, kinks="auto"), "is for EulerApproximator; give PolicyEval"),
            (FunctionalEquation(CLAIM, kinks="auto"), "is for EulerApproximator; give Functional"),
        ],
        ids=["basis", "states", "knots", "bellman", "evaluator", "equation"],
    )
    def test_misuse_is_refused(self, est, message):
        with pytest.raises(ValueError, match=message):
            est.fit()


class TestEvaluator:
    def test_a_share_of_output_is_worth_what_the_sum_says(self):
        """With c = k y logs are affine in ln y, so the value is too."""
        share, p = 0.3, OUTPUT.params
        est = PolicyEvaluator(OUTPUT, decision_rule=lambda s: share * s, degree=3).fit()
        slope = 1 / (1 - p["alpha"] * p["beta"])
        constant = (
            np.log(share) + p["beta"] * slope * (p["mu"] + p["alpha"] * np.log(1 - share))
        ) / (1 - p["beta"])
        X = states_of(OUTPUT)
        assert_allclose(est.value(X), slope * np.log(X[:, 0]) + constant, rtol=1e-9)
        assert_allclose(est.policy(X), share * X[:, 0])

    def test_a_rule_may_name_parameters(self):
        est = PolicyEvaluator(
            OUTPUT, decision_rule=lambda s, alpha, beta: (1 - alpha * beta) * s, degree=3
        ).fit()
        X = states_of(OUTPUT)
        assert_allclose(est.value(X), est.exact("value", X), rtol=1e-9)

    @pytest.mark.parametrize("solver", ["newton", "gauss_newton", "lbfgs"])
    def test_solvers_agree(self, solver):
        est = PolicyEvaluator(OUTPUT, degree=2, solver=solver, tol=1e-9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            est.fit()
        X = states_of(OUTPUT)
        assert_allclose(est.value(X), est.exact("value", X), rtol=1e-4)

    @pytest.mark.parametrize(
        ("rule", "got"),
        [
            (lambda s: s[:, 0], r"\(6,\)"),
            (lambda s: torch.cat([s, s], 1), r"\(6, 2\)"),
            (lambda s: s[:2], r"\(2, 1\)"),
            (lambda s: 0.5, "float"),
        ],
        ids=["flat", "wide", "short", "number"],
    )
    def test_a_rule_of_wrong_shape_is_refused(self, rule, got):
        with pytest.raises(
            ValueError, match=rf"decision_rule\(s\) .* must give a tensor of shape \(6, 1\).*{got}"
        ):
            PolicyEvaluator(OUTPUT, decision_rule=rule, degree=5).fit()

    def test_no_rule_and_no_exact_policy(self):
        with pytest.raises(ValueError, match="stands for the exact policy, which this model has"):
            PolicyEvaluator(make_growth()).fit()


class TestEquation:
    def test_the_price_of_a_claim(self, fitted):
        X = states_of(CLAIM)
        assert_allclose(fitted["equation"].predict(X), PRICE * X[:, 0], atol=1e-10)
        assert_allclose(fitted["equation"].gradient(X), PRICE, atol=1e-10)

    def test_several_unknowns(self):
        model = DynamicModel(
            transition=lambda s, f, e: 0.5 * s,
            euler=lambda s, f, s_next, f_next: torch.stack(
                [f[:, 0] - s[:, 0] - 0.9 * f_next[:, 0], f[:, 1] - f[:, 0] - 0.8 * f_next[:, 1]], 1
            ),
            state_bounds=[(-1.0, 1.0)],
            action_names=["first", "second"],
        )
        est = FunctionalEquation(model, degree=2).fit()
        X = states_of(model)
        first = X / (1 - 0.45)
        assert_allclose(est.predict(X), np.hstack([first, first / (1 - 0.4)]), atol=1e-10)
        assert est.coef_.shape == (2, 3)

    def test_a_model_without_a_residual_is_refused(self):
        with pytest.raises(ValueError, match="given as euler=; for one with a reward use Bellman"):
            FunctionalEquation(OUTPUT).fit()


class TestBadInput:
    @every
    def test_fewer_states_than_coefficients(self, name):
        est = clone(ESTIMATORS[name]).set_params(degree=9)
        with pytest.raises(ValueError, match=r"4 states are fewer than the 10 coefficients.*give"):
            est.fit(states_of(est.model, 4))
        with pytest.raises(ValueError, match=r"fewer than the 10 coefficients.*smaller degree"):
            est.set_params(n_nodes=5).fit()

    @every
    def test_a_state_outside_the_domain(self, name):
        est = clone(ESTIMATORS[name])
        X = states_of(est.model, 20)
        X[7] = 30.0
        label = est.model.state_labels[0]
        with pytest.raises(DomainError, match=f"state '{label}' is 30 in row .*widen state_bounds"):
            est.fit(X)

    def test_a_constraint_that_no_action_satisfies(self):
        model = dataclasses.replace(OUTPUT, constraint=lambda s, a: -1.0 - a)
        with pytest.raises(ModelError, match="no action is allowed in the state"):
            BellmanApproximator(model, degree=3).fit()

    @pytest.mark.parametrize("cls", [BellmanApproximator, PolicyEvaluator])
    def test_values_need_a_reward(self, cls):
        with pytest.raises(ValueError, match=f"{cls.__name__} needs a model with a reward: use Eu"):
            cls(CLAIM).fit()

    @every
    def test_the_wrong_number_of_columns(self, fitted, name):
        est = fitted[name]
        with pytest.raises(ValueError, match=r"X has 2 features, but the model has 1 states"):
            clone(est).fit(np.full((20, 2), 0.5))
        with pytest.raises(ValueError, match="2 features"):
            est.predict(np.full((3, 2), 0.5))
        with pytest.raises(ValueError, match=r"1D array|1-D"):
            est.predict([0.5, 0.6])

    @every
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_states_that_are_not_finite(self, fitted, name, bad):
        X = states_of(ESTIMATORS[name].model, 20)
        X[3] = bad
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            clone(ESTIMATORS[name]).fit(X)
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            fitted[name].predict(X)
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            fitted[name].score(torch.from_numpy(X))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("model", "growth"),
            ("basis", "fourier"),
            ("degree", -1),
            ("objective", "mean"),
            ("sampling", "random"),
            ("solver", "magic"),
            ("max_iter", 0),
            ("tol", 0.0),
            ("n_restarts", -1),
            ("maximizer", "brute"),
        ],
        ids=lambda value: str(value),
    )
    def test_a_wrong_parameter_is_named(self, name, value):
        with pytest.raises(ValueError, match=f"The '{name}' parameter of BellmanApproximator"):
            BellmanApproximator(OUTPUT).set_params(**{name: value}).fit()

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"degree": [2, 3]}, "degree=.*one for each of the 1 states"),
            ({"n_nodes": [5, 5]}, "n_nodes=.*one for each of the 1 states"),
            ({"degree": 2.5}, "degree"),
            ({"basis": "mlp", "hidden_layer_sizes": []}, "hidden_layer_sizes"),
            ({"basis": "mlp", "hidden_layer_sizes": [0]}, "hidden_layer_sizes"),
            ({"basis": "mlp", "activation": "wave"}, "activation"),
            ({"basis": "mlp", "n_nodes": [5]}, "n_nodes=.*must be one whole number"),
        ],
        ids=["degree", "n_nodes", "fraction", "none", "zero", "activation", "grid"],
    )
    def test_a_wrong_size_is_named(self, params, message):
        with pytest.raises(ValueError, match=message):
            EulerApproximator(OUTPUT).set_params(**params).fit()

    def test_a_grid_too_large_says_what_to_do(self):
        model = make_linear_quadratic(n_states=8)
        with pytest.raises(ValueError, match=r'lower the degree.*"smolyak"'):
            BellmanApproximator(model, basis="chebyshev", degree=7).fit()


class TestRandomness:
    WITH = {"basis": "complete", "degree": 2, "sampling": "sobol"}

    def test_the_seed_alone_decides(self):
        X = states_of(make_growth(), 5)
        one, two, other, drawn = (
            EulerApproximator(make_growth(), random_state=seed, **self.WITH).fit()
            for seed in (0, 0, 1, np.random.RandomState(0))
        )
        assert_array_equal(one.predict(X), two.predict(X))
        assert_array_equal(one.predict(X), drawn.predict(X))
        assert (one.nodes_ != other.nodes_).any()
        assert one.score() == two.score() != other.score()

    def test_a_generator_goes_on(self):
        rng = np.random.RandomState(0)
        est = EulerApproximator(make_growth(), random_state=rng, **self.WITH)
        assert (est.fit().nodes_ != clone(est).set_params(random_state=rng).fit().nodes_).any()

    def test_networks_too(self):
        X = states_of(OUTPUT, 5)
        kwargs = {"basis": "mlp", "hidden_layer_sizes": 3, "max_iter": 5, "n_restarts": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            one, two, other = (
                EulerApproximator(OUTPUT, random_state=seed, **kwargs).fit() for seed in (0, 0, 1)
            )
        assert_array_equal(one.predict(X), two.predict(X))
        assert (one.coef_ != other.coef_).any()

    @every
    def test_global_generators_are_left_alone(self, name):
        def state():
            numpy_state = np.random.get_state()  # noqa: NPY002
            return (
                pickle.dumps(numpy_state),
                torch.get_rng_state().numpy().tobytes(),
                random.getstate(),
            )

        before = state()
        est = clone(ESTIMATORS[name]).set_params(random_state=None, sampling="sobol").fit()
        est.simulate(n_periods=3)
        est.ergodic_sample(5)
        _ = est.summary_
        assert state() == before
