"""The structure of models, and the wrong solutions that it keeps from being found."""

import numpy as np
import pytest
import torch

from thetalearn import BellmanApproximator, EulerApproximator
from thetalearn.dynamics import DynamicModel, ModelError, Normal
from thetalearn.dynamics.models import make_brock_mirman, make_growth, make_leisure_growth
from thetalearn.dynamics.structure import (
    bounds_move_along,
    check_derivable,
    controlled_states,
    offsetting_actions,
)
from thetalearn.exceptions import ConvergenceWarning


@pytest.mark.parametrize("make", [make_brock_mirman, make_growth, make_leisure_growth])
def test_capital_is_controlled_and_productivity_is_not(make):
    assert controlled_states(make()) == [0]
    check_derivable(make())


def test_a_shock_to_the_state_alone_cannot_be_offset():
    model = DynamicModel(
        reward=lambda s, a: -((s[:, 0] - 1) ** 2) - a[:, 0] ** 2,
        transition=lambda s, a, e: e[:, :1] * s + a,
        discount=0.95,
        shocks=Normal(0.6, 0.09),
        state_bounds=[(-2, 3)],
        action_names=["a"],
    )
    with pytest.raises(ModelError, match="depends on the shocks"):
        EulerApproximator(model).fit()


def test_an_action_that_matters_somewhere_alone_is_seen():
    model = DynamicModel(
        reward=lambda s, a: -s.square().sum(1) - a[:, 0] ** 2,
        transition=lambda s, a, e: (
            0.5 * s[:, 0] + a[:, 0],
            0.5 * s[:, 1] + a[:, 0] * torch.relu(s[:, 0] - 0.75),
        ),
        discount=0.9,
        state_bounds=[(-1, 1)] * 2,
        action_bounds=[(-1, 1)],
    )
    assert controlled_states(model) == [0, 1]
    with pytest.raises(ModelError, match="cannot be offset"):
        EulerApproximator(model).fit()


def test_offsets_of_a_growth_model_are_its_marginal_product():
    model = make_brock_mirman(alpha=0.3)
    s = model.middle_states()
    a = model.inside_actions(s)
    offsets = offsetting_actions(model, s, a, model.quiet_shocks(s))
    product = 0.3 * s[:, 1].exp() * s[:, 0] ** (0.3 - 1)
    np.testing.assert_allclose(offsets[:, 0, 0], -product, rtol=1e-12)


def consumer(upper):
    return DynamicModel(
        reward=lambda s, a: a[:, 0].log(),
        transition=lambda s, a, e: 1.02 * (s - a) + 1,
        discount=0.9,
        state_bounds=[(0.5, 4.0)],
        action_bounds=lambda s: (0.0, upper(s)),
    )


def test_a_limit_on_spending_moves_with_the_money():
    s = torch.tensor([[0.8], [2.0]], dtype=torch.float64)
    binding = torch.zeros(2, 2, 1, dtype=torch.bool)
    binding[1, 0] = True
    assert bounds_move_along(consumer(lambda s: s), s, s.clone(), binding)
    assert not bounds_move_along(consumer(lambda s: 0 * s + 0.8), s, s.clone(), binding)
    assert bounds_move_along(consumer(lambda s: 0 * s + 0.8), s, s.clone(), ~binding & False)


def test_a_bound_that_stays_put_is_not_solved_as_if_it_moved():
    # Spending is capped, so that wealth piles up: the multiplier of the cap is in no equation.
    model = consumer(lambda s: 0 * s + 0.9)
    with pytest.warns(ConvergenceWarning):
        capped = EulerApproximator(model, basis="bspline", degree=1, knots=30).fit()
    assert not capped.converged_


def test_a_constant_in_the_reward_hides_no_error():
    def growth(constant):
        return DynamicModel(
            reward=lambda s, a: (s[:, 0] ** 0.36 - a[:, 0]).log() + constant,
            transition=lambda s, a, e: a,
            discount=0.96,
            state_bounds=[(0.02, 0.4)],
            action_bounds=lambda s: (0.0, s**0.36),
        )

    for constant in (0.0, 1000.0):
        with pytest.warns(ConvergenceWarning, match="mean error"):
            coarse = BellmanApproximator(growth(constant), degree=2).fit()
        assert not coarse.converged_
