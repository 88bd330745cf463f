"""The laws that the kink study shows."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr, sici

from examples import plot_kink as kink


@pytest.fixture(scope="module")
def results():
    """Each basis with 40 coefficients."""
    return {name: kink.measured(model) for name, model in kink.models(40).items()}


def test_every_basis_has_as_many_coefficients():
    for name, model in kink.models(20).items():
        assert len(kink.fitted(model).coef_) == 20, name


def test_the_grid_and_the_jump_are_those_of_the_lecture():
    steps = np.diff(kink.GRID)
    assert np.allclose(steps, steps[0], rtol=1e-9)
    assert not np.any(kink.GRID == 0.5)
    below, above = kink.target(np.array([0.5, np.nextafter(0.5, 1)]))
    assert below == pytest.approx(kink.ALPHA * kink.BETA * 0.5**kink.ALPHA)
    assert above == pytest.approx(2 * below)
    assert pytest.approx(below) == kink.JUMP


def test_a_repeated_knot_beats_every_other_basis_by_orders_of_magnitude(results):
    away = {name: result.away for name, result in results.items()}
    repeated = away.pop("B-spline, knot repeated")
    assert repeated < 1e-2 * away.pop("ReLUs")
    assert repeated < 1e-3 * min(away.values())
    mse = {name: result.mse for name, result in results.items()}
    assert mse.pop("B-spline, knot repeated") < 1e-4 * min(mse.values())


def test_a_repeated_knot_makes_the_error_fall_like_the_fourth_power():
    # Cubic splines converge with order 4 where the function is smooth; ahead of the asymptotic
    # range the observed order is a little off.
    errors = kink.away_by_terms((20, 40, 80))
    orders = -np.diff(np.log2(errors["B-spline, knot repeated"]))
    assert np.all(orders > 3.5)
    # Chebyshev polynomials see the jump from afar: order about 1.
    assert errors["Chebyshev"][-1] > errors["Chebyshev"][0] / 6


def test_only_the_repeated_knot_has_no_overshoot(results):
    for name, result in results.items():
        for share in (result.overshoot, result.undershoot):
            if name == "B-spline, knot repeated":
                assert share < 1e-3
            else:
                assert 0.08 < share < 0.10, name


def test_the_overshoot_of_polynomials_tends_to_the_constant_of_gibbs():
    sine_integral, _ = sici(np.pi)
    assert pytest.approx((2 * sine_integral / np.pi - 1) / 2, abs=1e-12) == kink.GIBBS
    shares = kink.gibbs_by_degree((16, 32, 64, 128))
    # The slope beside the jump and the finite grid move it by a term of the order of 1/degree.
    bound = 0.05 / np.array([16, 32, 64, 128])
    assert np.all(np.abs(shares - kink.GIBBS) < bound[:, None])


def test_monomials_and_chebyshev_polynomials_span_the_same_functions():
    # At degree 8 the monomials' condition number of 1e6 leaves ten digits.
    x = kink.column(kink.GRID)
    fits = [
        kink.fitted(family(8)).predict(x)
        for family in (kink.PolynomialRegressor, kink.ChebyshevRegressor)
    ]
    assert np.abs(fits[0] - fits[1]).max() < 1e-9


def test_condition_numbers_grow_exponentially_for_monomials_only():
    degrees = np.arange(4, 17, 2)
    monomials, on_grid, at_nodes = kink.condition_numbers(degrees).T
    # The Gram matrix of monomials on [0, 1] is Hilbert's, of condition (1 + sqrt 2)^(4p)/sqrt(p).
    rate = np.exp(np.polyfit(degrees, np.log(monomials), 1)[0])
    assert rate == pytest.approx((1 + np.sqrt(2)) ** 2, rel=0.03)
    assert np.polyfit(np.log(degrees), np.log(on_grid), 1)[0] < 0.5
    # Discrete orthogonality: the constant has twice the squared norm of all others.
    assert at_nodes == pytest.approx(np.sqrt(2), rel=1e-12)


def test_neighbouring_monomials_are_collinear():
    # For x uniform on [0, 1], cov(x^a, x^b) = 1/(a + b + 1) - 1/((a + 1)(b + 1)).
    def covariance(a, b):
        return 1 / (a + b + 1) - 1 / ((a + 1) * (b + 1))

    exact = covariance(10, 11) / np.sqrt(covariance(10, 10) * covariance(11, 11))
    found = kink.correlation(kink.GRID**10, kink.GRID**11)
    assert exact > 0.998
    assert found == pytest.approx(exact, abs=1e-4)  # the grid is finite
    # One is even and the other odd about the middle.
    even, odd = (kink.chebyshev_column(k, kink.GRID) for k in (10, 11))
    assert abs(kink.correlation(even, odd)) < 1e-10


def test_interpolation_of_runges_function_diverges_at_equispaced_nodes_only():
    degrees = np.arange(10, 31, 4)
    monomials, equispaced, chebyshev = kink.runge_errors(degrees).T
    growth, decay = (np.diff(np.log(e)) / 4 for e in (equispaced, chebyshev))
    assert np.all(growth > 0.25)
    # It is one polynomial, whatever the basis, as long as the basis is well enough conditioned.
    assert monomials[:3] == pytest.approx(equispaced[:3], rel=1e-6)
    # The poles at +-i/5 lie on the ellipse with semi-axes of sum (1 + sqrt 26)/5.
    assert np.mean(decay) == pytest.approx(-np.log((1 + np.sqrt(26)) / 5), rel=0.03)


def test_the_network_is_that_of_the_lecture():
    params = kink.net(32, "batch").get_params()
    assert params["hidden_layer_sizes"] == (32, 32)
    assert (params["activation"], params["normalization"]) == ("relu", "batch")
    assert (params["solver"], params["weight_decay"]) == ("adamw", 1e-4)
    assert (params["batch_size"], params["learning_rate"].patience) == (256, 50)


@pytest.mark.parametrize("batch_size", [64, 256])
def test_the_error_of_a_blurred_step_is_an_integral(batch_size):
    # While training, the step lies at a normal distance from its mean, and the best guess at t is
    # its probability; when predicting, this guess meets a step that stands still.
    width = kink.GRID.std() / np.sqrt(batch_size)
    variance = quad(lambda t: ndtr(t) * ndtr(-t), -10, 10)[0]
    distance = 2 * quad(lambda t: ndtr(-t) ** 2, 0, 10)[0]
    expected = kink.JUMP**2 * width * np.array([variance, distance])
    assert kink.blur(batch_size) == pytest.approx(expected, rel=1e-8)


def test_a_model_counts_all_that_is_fitted():
    x = kink.column(kink.GRID)
    short = {"epochs": 1, "batch_size": 5000}
    plain, normed = (kink.net(3, how, **short) for how in (None, "batch"))
    weights = (3 + 3) + (9 + 3) + (3 + 1)
    assert kink.timed(plain, x, kink.target(kink.GRID)).n_parameters == weights
    # A scale and a shift for each of six units.
    assert kink.timed(normed, x, kink.target(kink.GRID)).n_parameters == weights + 12
    basis = kink.ChebyshevRegressor(7)
    assert kink.timed(basis, x, kink.target(kink.GRID)).n_parameters == 8


def test_the_function_of_the_cube_is_that_of_the_line_where_the_other_inputs_are_one():
    X = np.column_stack([kink.GRID, np.ones((len(kink.GRID), 2))])
    assert kink.target_3d(X) == pytest.approx(kink.target(kink.GRID), rel=1e-14)


def test_bases_of_the_cube_have_about_a_thousand_coefficients():
    fits = kink.in_the_cube(without_networks(kink.models_3d()), n_rows=2000)
    counts = {name: fit.n_parameters for name, fit in fits.items()}
    assert counts.pop("B-spline, additive") == 100
    assert all(960 < count < 1010 for count in counts.values()), counts


def without_networks(fits):
    return {name: model for name, model in fits.items() if not name.startswith("network")}


def test_degree_in_one_input_is_worth_more_than_products_and_knowing_the_jump_than_both():
    chosen = {
        name: model
        for name, model in kink.models_3d().items()
        if name.startswith("Chebyshev") or name in ("B-spline, additive", "B-spline, knot repeated")
    }
    X = kink.cube(10_000, 1)
    fits = kink.in_the_cube(chosen, n_rows=4000)
    errors = {
        name: kink.squared_errors(fit.model, X, kink.target_3d(X)) for name, fit in fits.items()
    }
    everywhere = {name: error for name, (error, _, _) in errors.items()}
    assert everywhere["B-spline, knot repeated"] < 0.2 * everywhere["Chebyshev, hyperbolic"]
    assert everywhere["Chebyshev, hyperbolic"] < 0.2 * everywhere["Chebyshev, complete"]
    assert everywhere["Chebyshev, complete"] < 0.5 * everywhere["Chebyshev, tensor"]
    near = {name: error for name, (_, error, _) in errors.items()}
    assert near.pop("B-spline, knot repeated") < 0.05 * min(near.values())


def test_no_sum_of_functions_of_one_input_is_a_product():
    # The projection on sums m + sum_i g_i, with y = c prod_i f_i: what is left has the variance
    # prod E f_i^2 - prod (E f_i)^2 - sum_i Var f_i prod_(j != i) (E f_j)^2.
    a, c = kink.ALPHA, kink.ALPHA * kink.BETA
    mean = np.array([(1 + (1 - 0.5 ** (a + 1))) / (a + 1), 1 / (a + 1), 1 / (a + 1)])
    square = np.array([(1 + 3 * (1 - 0.5 ** (2 * a + 1))) / (2 * a + 1), *[1 / (2 * a + 1)] * 2])
    others = mean.prod() / mean
    left = square.prod() - mean.prod() ** 2 - ((square - mean**2) * others**2).sum()
    name = "B-spline, additive"
    fits = kink.in_the_cube({name: kink.models_3d()[name]})
    # Sampling moves it by some percent.
    assert kink.errors_in_the_cube(fits)[name][0] == pytest.approx(c**2 * left, rel=0.1)


@pytest.mark.slow
def test_batch_normalisation_blurs_the_jump_by_the_error_of_a_batchs_mean():
    x, y = kink.column(kink.GRID), kink.target(kink.GRID)
    for batch_size in (256, 1024):
        fit = kink.timed(kink.net(32, "batch", 400, batch_size), x, y)
        error, _, _ = kink.squared_errors(fit.model, x, y)
        training, predicting = kink.blur(batch_size)
        # The network is not the best blurred step; later layers see more of the batch's mean.
        assert 0.8 * predicting < error < 1.8 * predicting
        assert 0.7 * training < 2 * fit.model.loss_ < 1.8 * training


@pytest.mark.slow
def test_a_network_is_steep_where_bases_overshoot():
    fits = kink.on_the_line()
    x, y = kink.column(kink.GRID), kink.target(kink.GRID)
    errors = {name: kink.squared_errors(fit.model, x, y) for name, fit in fits.items()}
    mse = {name: error for name, (error, _, _) in errors.items()}
    others = ("Chebyshev", "ReLUs", "B-spline", "network, batch norm")
    assert all(mse["network"] < mse[name] for name in others)
    assert max(kink.overshoots(fits["network"].model)) < 0.5 * kink.GIBBS
    # What fixed kinks do better: away from the jump, and with as many coefficients everywhere.
    assert errors["ReLUs"][2] < 0.3 * errors["network"][2]
    assert mse["B-spline, as many"] < 0.5 * mse["network"]


@pytest.mark.slow
def test_in_the_cube_only_the_basis_that_knows_the_jump_beats_the_network():
    solid = kink.in_the_cube(kink.models_3d())
    errors = kink.errors_in_the_cube(solid)
    assert min(errors, key=errors.get) == "B-spline, knot repeated"
    bases = without_networks(errors)
    del bases["B-spline, knot repeated"]
    for which in range(3):
        best = min(error[which] for error in bases.values())
        assert errors["network 64, no norm"][which] < best
        assert errors["network 64, no norm"][which] < 0.5 * errors["network 64, batch norm"][which]


@pytest.mark.slow
def test_main_prints_the_tables_and_saves_the_figures(tmp_path, capsys):
    kink.main(tmp_path, epochs=3)
    printed = capsys.readouterr().out
    assert "limit 8.95 %" in printed
    assert "Three dimensions" in printed
    for name in ("kink.png", "kink_network.png", "polynomials.png"):
        assert str(tmp_path / name) in printed
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
