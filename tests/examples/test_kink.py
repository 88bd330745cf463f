"""The laws that the kink study shows."""

import numpy as np
import pytest
from scipy.special import sici

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


def test_main_prints_the_tables_and_saves_the_figures(tmp_path, capsys):
    kink.main(tmp_path)
    printed = capsys.readouterr().out
    assert "limit 8.95 %" in printed
    for name in ("kink.png", "polynomials.png"):
        assert str(tmp_path / name) in printed
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
