"""Overlapping generations: constant savings rates, clearing markets, worked numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.dynamics.models import make_overlapping_generations
from thetalearn.dynamics.simulate import simulate
from thetalearn.randomness import random_numbers


def test_worked_savings_rates():
    a = make_overlapping_generations().exact("policy")(torch.ones(1, 6, dtype=torch.float64))
    assert a[0].tolist() == pytest.approx([0.6600, 0.6394, 0.6052, 0.5434, 0.4118], abs=5e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 10), st.floats(0.1, 0.6), st.floats(0.3, 1.05))
def test_savings_solve_the_euler_equations(checks, n_ages, alpha, beta):
    model = make_overlapping_generations(n_ages=n_ages, alpha=alpha, beta=beta)
    assert checks.arbitrage(model) < 1e-12
    assert checks.drift(model) < 1e-12


def test_output_is_paid_out(checks):
    model = make_overlapping_generations()
    s = checks.random_states(model)
    a = model.exact("policy")(s)
    capital = a.sum(1)
    for tfp, lost in model.distribution.observations.tolist():
        e = torch.tensor([[tfp, lost]], dtype=torch.float64).expand(len(s), -1)
        paid = model.next_states(s, a, e).sum(1)
        torch.testing.assert_close(paid, tfp * capital**0.3 + (1 - lost) * capital)


def test_bounds_hold_a_long_simulation():
    model = make_overlapping_generations()
    steady, _ = model.steady_guess()
    paths = simulate(model, model.exact("policy"), steady[None], 2000, random_numbers(0))
    inside = (paths.states >= model.bounds[:, 0]) & (paths.states <= model.bounds[:, 1])
    assert inside.all()


def test_parameters_reach_the_solution(checks):
    model = make_overlapping_generations().with_params(beta=0.9, productivity=(1.0,))
    assert checks.arbitrage(model) < 1e-12
    assert len(model.distribution.observations) == 2


def test_a_single_age_is_refused():
    with pytest.raises(ValueError, match="n_ages=1"):
        make_overlapping_generations(n_ages=1)
