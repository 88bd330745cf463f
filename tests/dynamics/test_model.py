"""What a model is, and every way to get it wrong, with what the message says."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch

from thetalearn.dynamics import (
    AR1,
    DynamicModel,
    Isoelastic,
    MarkovChain,
    ModelError,
    Normal,
    NoShocks,
    Product,
    Solution,
)


def log_reward(s, a):
    return a[:, 0].log()


def saving(s, a, e, R):
    return R * (s - a)


def up_to_wealth(s):
    return 0.0, s


def cake(**changes):
    """A model that is in order, with changes."""
    given = {
        "reward": log_reward,
        "transition": saving,
        "discount": 0.9,
        "state_bounds": [(0.1, 2.0)],
        "action_bounds": up_to_wealth,
        "params": {"R": 1.02},
    }
    return DynamicModel(**{**given, **changes})


def states(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# ---------------------------------------------------------------------------- mis-shaped functions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"reward": lambda s, a: a.log()},
            r"reward\(s, a\) must give a tensor of shape \(3,\) from s of shape \(3, 1\) and a of "
            r"shape \(3, 1\), but gave \(3, 1\): drop its last axis, as by \[:, 0\]",
        ),
        ({"reward": lambda s, a: a.log().sum()}, r"reward.* of shape \(3,\) .*gave \(\)"),
        ({"reward": lambda s, a: 1.0}, "reward.* but gave float"),
        (
            {"transition": lambda s, a, e: (s - a)[:, 0]},
            r"transition\(s, a, e\) must give a tensor of shape \(3, 1\) from s of shape \(3, 1\) "
            r"and a of shape \(3, 1\) and e of shape \(3, 0\), but gave \(3,\)",
        ),
        ({"transition": lambda s, a, e: torch.cat([s, a], 1)}, r"\(3, 1\) from .*gave \(3, 2\)"),
        ({"transition": lambda s, a, e: (s[:, 0], a[:, 0])}, r"transition.*gave \(3, 2\)"),
        (
            {"euler": lambda s, a, s_next, a_next: a[:, 0]},
            r"euler\(s, a, s_next, a_next, e\) .*shape \(3, 1\).*but gave \(3,\)",
        ),
        (
            {"constraint": lambda s, a: s[:, 0]},
            r"constraint\(s, a\) must give a tensor of shape \(3, c\).*but gave \(3,\)",
        ),
        ({"terminal": lambda s: s}, r"terminal\(s\) .*shape \(3,\).*gave \(3, 1\): drop its last"),
        (
            {"marginal_inverse": lambda v, s: 1 / v[:, 0]},
            r"marginal_inverse\(v, s\).*shape \(3, 1\).*gave \(3,\)",
        ),
        (
            {"action_bounds": lambda s: (0.0, torch.ones(2, 2))},
            r"action_bounds\(s\) with s of shape \(3, 1\) must give two ends of shape \(3, 2\), "
            r"but gave \(2, 2\)",
        ),
    ],
)
def test_wrong_shapes_are_told_with_names_and_shapes(changes, message):
    with pytest.raises(ModelError, match=message):
        cake(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": lambda s, a: s[:, 5]}, r"reward\(s, a\) failed with s of shape \(3, 1\)"),
        ({"reward": lambda s: s[:, 0]}, r"reward\(s, a\) failed with .*argument"),
        ({"transition": lambda s, a, e: s @ torch.ones(4, 1)}, r"transition\(s, a, e\) failed"),
        (
            {"reward": lambda s, a: (a > 0).long()[:, 0]},
            r"dtype float64.*but gave .*int64",
        ),
        ({"constraint": lambda s, a: a > 0}, r"constraint.*dtype float64.*bool"),
    ],
)
def test_functions_that_fail_are_named(changes, message):
    with pytest.raises(ModelError, match=message):
        cake(**changes)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("reward", lambda s, a: a[:, 0] - a[:, 0].mean()),
        ("reward", lambda s, a: a[:, 0].flip(0)),
        ("transition", lambda s, a, e: s - s.cumsum(0)),
        ("transition", lambda s, a, e: s - s[:1]),
        ("constraint", lambda s, a: (a - a.max()).abs()),
        ("terminal", lambda s: s[:, 0] / s.norm()),
        ("terminal", lambda s: s[-1:, 0] + 0 * s[:, 0]),
        ("euler", lambda s, a, s_next, a_next: a_next - a.mean()),
    ],
)
def test_functions_that_mix_rows_are_refused(name, function):
    with pytest.raises(ModelError, match=rf"{name}.*must treat each row by itself"):
        cake(**{name: function})


# ------------------------------------------------------------------------------------------ bounds


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (1.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_state_bounds_that_cross_or_are_not_finite(bounds):
    with pytest.raises(ValueError, match=r"state_bounds of state 1 are .*cross or are not finite"):
        DynamicModel(
            transition=lambda s, a, e: s,
            euler=lambda s, a, s_next, a_next: a,
            state_bounds=[(0.0, 1.0), bounds],
        )


@pytest.mark.parametrize("bounds", [[1.0, 2.0, 3.0], [[[0.0, 1.0]]], [[0.0], [1.0]]])
def test_state_bounds_of_the_wrong_shape(bounds):
    with pytest.raises(ValueError, match=r"state_bounds of shape .* must have shape \(n_states, 2"):
        cake(state_bounds=bounds)


def test_one_state_needs_no_nesting():
    assert cake(state_bounds=(0.1, 2.0)).n_states == 1


@pytest.mark.parametrize(
    "bounds", [[(1.0, 0.5)], lambda s: (s, 0.0), lambda s: (s - 1.0, s - 1.5), lambda s: (1.0, 0.5)]
)
def test_action_bounds_that_cross_are_named_with_a_state(bounds):
    with pytest.raises(
        ValueError, match=r"action_bounds of action 0 are .* at the state \[.*cross"
    ):
        cake(action_bounds=bounds)


LIMITS = {
    "array": [(0.0, 1.0), (-1.0, 3.0)],
    "numbers": lambda s: ((0.0, -1.0), (1.0, 3.0)),
    "columns": lambda s: ((0 * s[:, 0], -1.0), (1 + 0 * s[:, 0], 3.0)),
    "tensors": lambda s: (
        torch.stack([0 * s[:, 0], 0 * s[:, 0] - 1], 1),
        torch.stack([0 * s[:, 0] + 1, 0 * s[:, 0] + 3], 1),
    ),
    "lists": lambda s: ([0.0, -1.0], [1.0, 3.0]),
}


@pytest.mark.parametrize("form", LIMITS)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_action_bounds_in_every_form(form, n):
    model = cake(
        reward=lambda s, a: a.sum(1),
        transition=lambda s, a, e: s,
        action_bounds=LIMITS[form],
    )
    assert model.n_actions == 2
    lower, upper = model.action_limits(torch.ones(n, 1, dtype=torch.float64))
    assert torch.equal(lower, states([0.0, -1.0]).expand(n, 2))
    assert torch.equal(upper, states([1.0, 3.0]).expand(n, 2))


@pytest.mark.parametrize("column", [lambda s: s[:, 0], lambda s: s])
@pytest.mark.parametrize("n", [1, 4])
def test_one_action_takes_a_column_of_either_shape(column, n):
    model = cake(action_bounds=lambda s: (0.0, column(s)))
    s = torch.linspace(0.5, 1.5, n, dtype=torch.float64)[:, None]
    lower, upper = model.action_limits(s)
    assert torch.equal(lower, torch.zeros_like(s)) and torch.equal(upper, s)


def test_one_number_bounds_all_actions():
    model = cake(
        reward=lambda s, a: a.sum(1),
        transition=lambda s, a, e: s,
        action_bounds=lambda s: (0.0, 1.0),
        action_names=("c", "l"),
    )
    assert [end.tolist() for end in model.action_limits(states([1.0]))] == [[[0, 0]], [[1, 1]]]


def test_column_of_the_wrong_length_is_no_list_of_actions():
    model = cake(
        reward=lambda s, a: a.sum(1),
        transition=lambda s, a, e: s,
        action_bounds=lambda s: (torch.zeros(3), torch.ones(3)),
        action_names=("u", "v", "w"),
    )
    with pytest.raises(ModelError, match=r"two ends of shape \(2, 3\), but gave \(3, 1\)"):
        model.action_limits(states([1.0], [1.0]))


def test_free_actions_are_as_many_as_their_names():
    given = {"transition": lambda s, a, e: s + a[:, :1], "euler": lambda s, a, s_next, a_next: a}
    model = DynamicModel(**given, state_bounds=[(0, 1)], action_names=("u", "v", "w"))
    lower, upper = model.action_limits(states([0.5], [0.6]))
    assert model.n_actions == 3 and lower.shape == upper.shape == (2, 3)
    assert (lower == -torch.inf).all() and (upper == torch.inf).all()
    assert DynamicModel(**given, state_bounds=[(0, 1)]).n_actions == 1


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 4.0), (-math.inf, 2.0), (1.0, math.inf), (-math.inf, math.inf)]
)
def test_inside_actions_lie_inside(low, high):
    model = cake(reward=lambda s, a: a[:, 0], action_bounds=[(low, high)])
    for share in (0.1, 0.5, 0.9):
        a = model.inside_actions(model.middle_states(), share)
        assert a.isfinite().all() and (a > low).all() and (a < high).all()


# ---------------------------------------------------------------------------------------- discount


@pytest.mark.parametrize("discount", [1.0, 1.5])
def test_discount_of_one_or_more_needs_a_horizon(discount):
    with pytest.raises(ValueError, match=rf"discount={discount} of 1 or more.*give a horizon"):
        cake(discount=discount)
    assert cake(discount=discount, horizon=5).beta == discount


@pytest.mark.parametrize("discount", [0.0, -0.5, math.nan, math.inf])
def test_discount_must_be_positive(discount):
    with pytest.raises(ValueError, match=r"discount=.* must be a positive number"):
        cake(discount=discount, horizon=3)


def test_discount_is_needed_with_a_reward_alone():
    with pytest.raises(ValueError, match="a model with a reward needs a discount"):
        cake(discount=None)
    priced = DynamicModel(
        transition=lambda s, a, e: s,
        euler=lambda s, a, s_next, a_next: a - 1.1 * a_next,
        state_bounds=[(0.0, 1.0)],
    )
    assert priced.beta == 1.0


def test_model_needs_a_reward_or_an_euler_equation():
    with pytest.raises(ValueError, match="needs a reward or an euler equation, and has neither"):
        DynamicModel(transition=lambda s, a, e: s, state_bounds=[(0.0, 1.0)])


@pytest.mark.parametrize("horizon", [0, -1, 2.5])
def test_horizon_must_be_a_whole_number(horizon):
    with pytest.raises(ValueError, match=f"horizon={horizon!r} must be a whole number of periods"):
        cake(horizon=horizon)


# ------------------------------------------------------------------------------------------ shocks


def test_covariance_that_is_not_semidefinite_is_refused():
    with pytest.raises(ValueError, match="eigenvalue"):
        cake(shocks=Normal(cov=[[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="eigenvalue"):
        cake(shocks=lambda rho: Normal(cov=[[1.0, rho], [rho, 1.0]]), params={"R": 1.0, "rho": 1.5})


@pytest.mark.parametrize("shocks", [AR1(0.5, 0.1, state=3), MarkovChain([[1.0]], [1.0], state=3)])
def test_shock_of_a_state_that_is_not_there(shocks):
    with pytest.raises((ValueError, IndexError), match="3"):
        cake(shocks=shocks)


def chain_model(chain, d=2, **changes):
    def transition(s, a, e):
        return torch.cat([s[:, :1] - a, e], 1)

    given = {
        "reward": log_reward,
        "transition": transition,
        "discount": 0.9,
        "state_bounds": [(0.1, 2.0)] + [(-2.0, 2.0)] * (d - 1),
        "action_bounds": lambda s: (0.0, s[:, :1]),
        "shocks": chain,
    }
    return DynamicModel(**{**given, **changes})


def test_middle_states_hold_values_of_a_chain():
    chain = MarkovChain([[0.9, 0.1], [0.5, 0.5]], [1.0, -1.0], state=1)
    model = chain_model(chain)
    assert list(model.chain_states()) == [1]
    assert set(model.middle_states()[:, 1].tolist()) == {1.0, -1.0}
    assert chain.rows(model.middle_states()) is not None


def test_quiet_shocks_are_expected_and_chains_stay_put():
    chain = MarkovChain([[0.9, 0.1], [0.5, 0.5]], [1.0, -1.0], state=2)
    model = chain_model(Product(AR1(0.5, 0.1, mean=0.4, state=1), chain), d=3)
    s = states([1.0, 0.8, 1.0], [1.0, 0.0, -1.0])
    expected = states([0.2 + 0.4, 1.0], [0.2, -1.0])
    torch.testing.assert_close(model.quiet_shocks(s), expected)
    assert cake().quiet_shocks(states([1.0], [2.0])).shape == (2, 0)


def test_chain_of_two_columns_must_hold_all_combinations():
    transition = [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(ModelError, match=r"MarkovChain of 2 columns must hold all 4 combinations"):
        chain_model(MarkovChain(transition, [[0.0, 1.0], [1.0, 0.0]], state=(1, 2)), d=3)
    full = [[x, y] for x in (0.0, 1.0) for y in (0.0, 1.0)]
    model = chain_model(MarkovChain(np.full((4, 4), 0.25), full, state=(1, 2)), d=3)
    assert list(model.chain_states()) == [1, 2]


# -------------------------------------------------------------------------------------- parameters


def test_functions_are_given_the_parameters_that_they_name():
    model = cake(
        reward=lambda s, a, gamma: gamma * a[:, 0],
        action_bounds=lambda s, floor: (floor, s),
        terminal=lambda s, gamma, R: gamma * R * s[:, 0],
        constraint=lambda s, a, floor: a - floor,
        discount=lambda rate: 1 / (1 + rate),
        state_bounds=lambda top: [(0.5, top)],
        shocks=lambda sigma: Normal(scale=sigma),
        value_transform=lambda gamma: Isoelastic(gamma),
        marginal_inverse=lambda v, s, gamma: v / gamma,
        steady_state=lambda R: ([R], [R / 2]),
        solution=Solution(lambda s, R: R * s, lambda s, gamma: gamma * s[:, 0]),
        params={"gamma": 3.0, "floor": 0.1, "R": 2.0, "rate": 0.25, "top": 4.0, "sigma": 0.5},
    )
    s, a = states([1.0]), states([0.5])
    assert model.rewards(s, a).item() == 1.5
    assert model.action_limits(s)[0].item() == 0.1
    assert model.terminal_values(s).item() == 6.0
    assert model.constraints(s, a).item() == pytest.approx(0.4)
    assert model.next_states(s, a, None).item() == 1.0
    assert model.beta == 0.8
    assert model.bounds.tolist() == [[0.5, 4.0]]
    assert model.distribution == Normal(scale=0.5)
    assert model.value_coordinate == Isoelastic(3.0)
    assert [part.tolist() for part in model.steady_guess()] == [[2.0], [1.0]]
    assert model.exact("policy")(s).item() == 2.0
    assert model.exact("value")(s).item() == 3.0
    changed = model.with_params(gamma=1.0, top=3.0, rate=1.0)
    assert changed.value_coordinate == Isoelastic(1.0)
    assert changed.bounds[0, 1] == 3.0 and changed.beta == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": lambda s, a, gama: a[:, 0]}, r"reward names 'gama', which is none of.*\['R'\]"),
        ({"transition": lambda s, a, e, r: s - a}, "transition names 'r'.*add it to params"),
        ({"action_bounds": lambda s, floor: (floor, s)}, "action_bounds names 'floor'"),
        ({"discount": lambda beta: beta}, "discount names 'beta'"),
        ({"state_bounds": lambda top: [(0.0, top)]}, "state_bounds names 'top'"),
        ({"shocks": lambda sigma: Normal(scale=sigma)}, "shocks names 'sigma'"),
        ({"terminal": lambda s, w: s[:, 0]}, "terminal names 'w'"),
        ({"constraint": lambda s, a, w: a}, "constraint names 'w'"),
        ({"value_transform": lambda gamma: Isoelastic(gamma)}, "value_transform names 'gamma'"),
    ],
)
def test_unknown_parameters_are_named(changes, message):
    with pytest.raises(ModelError, match=message):
        cake(**changes)


def test_defaults_stand_in_for_parameters():
    model = cake(reward=lambda s, a, weight=2.0, R=9.0: weight * R * a[:, 0])
    assert model.rewards(states([1.0]), states([1.0])).item() == pytest.approx(2 * 1.02)
    with_all = cake(reward=lambda s, a, **params: params["R"] * a[:, 0])
    assert with_all.rewards(states([1.0]), states([1.0])).item() == pytest.approx(1.02)


@pytest.mark.parametrize(
    ("euler", "expected"),
    [
        (lambda s, a, s_next, a_next: a, 1.0),
        (lambda s, a, s_next, a_next, e: a + e, 4.0),
        (lambda s, a, s_next, a_next, e, R: R * e, 6.0),
        (lambda s, a, s_next, a_next, R: R * a, 2.0),
    ],
)
def test_euler_equation_may_take_the_shocks(euler, expected):
    model = cake(euler=euler, shocks=Normal(), params={"R": 2.0})
    one = states([1.0])
    assert model.arbitrage(one, one, one, one, states([3.0])).item() == expected


def test_with_params_leaves_the_model_alone():
    model = cake()
    changed = model.with_params(R=1.05, discount=0.8)
    assert (model.params, model.beta) == ({"R": 1.02}, 0.9)
    assert (changed.params, changed.beta) == ({"R": 1.05}, 0.8)
    assert changed.next_states(states([2.0]), states([1.0]), None).item() == 1.05
    assert model.parameter_names() == ["R", "discount"]


def test_with_params_checks_again_and_names_what_is_unknown():
    with pytest.raises(ValueError, match=r"no parameter 'r': it has \['R', 'discount'\]"):
        cake().with_params(r=1.0)
    with pytest.raises(ValueError, match="of 1 or more"):
        cake().with_params(discount=1.0)
    own = cake(discount=lambda beta: beta, params={"R": 1.0, "beta": 0.9})
    assert own.parameter_names() == ["R", "beta"]
    with pytest.raises(ValueError, match="no parameter 'discount'"):
        own.with_params(discount=0.8)
    with pytest.raises(ValueError, match=r"discount=1\.2"):
        own.with_params(beta=1.2)


def test_parameters_of_the_caller_are_copied():
    params = {"R": 1.02}
    model = cake(params=params)
    params["R"] = 5.0
    assert model.params["R"] == 1.02


# ----------------------------------------------------------------------------- a value like others


def test_model_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        cake().discount = 0.5


@pytest.mark.parametrize("used", [False, True])
def test_copies_give_the_same_numbers(used):
    model = cake(shocks=Normal(scale=0.1))
    s, a = model.middle_states(), model.inside_actions(model.middle_states())
    if used:
        _ = model.distribution, model.state_labels, model.value_coordinate
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(twin.next_states(s, a, None), model.next_states(s, a, None))
        assert torch.equal(twin.rewards(s, a), model.rewards(s, a))
        assert twin.distribution == model.distribution and twin.params == model.params


def test_model_in_use_is_no_larger():
    model = cake()
    size = len(pickle.dumps(model))
    _ = model.bounds, model.state_coordinates, model.distribution
    assert len(pickle.dumps(model)) == size


# ------------------------------------------------------------------------- columns, names, actions


def test_columns_may_come_as_a_tuple():
    def columns(s, a, e):
        return s[:, 0] - a[:, 0], 0.5 * s[:, 1] + e[:, 0], 1.0

    model = DynamicModel(
        transition=columns,
        euler=lambda s, a, s_next, a_next: (a[:, 0], a_next[:, 1]),
        constraint=lambda s, a: (s[:, 0] - a[:, 0], a[:, 1]),
        state_bounds=[(0.0, 1.0)] * 3,
        action_names=("c", "l"),
        shocks=Normal(),
    )
    s, a, e = states([0.6, 0.4, 0.0]), states([0.1, 0.2]), states([0.3])
    torch.testing.assert_close(model.next_states(s, a, e), states([0.5, 0.5, 1.0]))
    torch.testing.assert_close(model.constraints(s, a), states([0.5, 0.2]))
    torch.testing.assert_close(model.arbitrage(s, a, s, a, e), states([0.1, 0.2]))


def test_names_of_columns():
    assert cake().state_labels == ["x0"] and cake().action_labels == ["a0"]
    named = cake(state_names=("wealth",), action_names=("c",))
    assert named.state_labels == ["wealth"] and named.action_labels == ["c"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state_names": ("a", "b")}, r"state_names=\['a', 'b'\] must hold 1 names"),
        ({"state_names": ()}, "state_names=.* must hold 1 names"),
        (
            {"action_bounds": [(0, 1), (0, 1)], "action_names": ("c", "c"), "transition": None},
            "action_names=.* must differ",
        ),
        (
            {"action_bounds": [(0, 1)], "action_names": ("c", "d")},
            r"action_names=\['c', 'd'\] must hold 1 names",
        ),
        ({"state_transform": ("log", "log")}, "state_transform=.*one for each of 1 columns"),
        ({"action_transform": "cube"}, "action_transform='cube'"),
        ({"value_transform": "cube"}, "value_transform='cube'"),
    ],
)
def test_names_and_transforms_must_fit(changes, message):
    if changes.get("transition", saving) is None:
        changes = {**changes, "transition": lambda s, a, e: s - a[:, :1]}
    with pytest.raises(ValueError, match=message):
        cake(**changes)


@pytest.mark.parametrize(
    ("given", "shape"), [([0, 1, 2], (3, 1)), ([[0, 1], [2, 3]], (2, 2)), (np.arange(4.0), (4, 1))]
)
def test_discrete_actions(given, shape):
    model = cake(
        reward=lambda s, a: a.sum(1),
        transition=lambda s, a, e: s,
        discrete_actions=given,
        action_bounds=None,
    )
    assert model.actions_listed.shape == shape and model.n_actions == shape[1]
    assert model.actions_listed.dtype == torch.float64
    listed = model.actions_listed.tolist()
    assert all(row in listed for row in model.inside_actions(model.middle_states()).tolist())


def test_nothing_after_the_last_period_is_worth_nothing():
    assert cake(horizon=2).terminal_values(states([1.0], [2.0])).tolist() == [0.0, 0.0]
    assert cake().exact("policy") is None and cake().steady_guess() is None
    assert cake().distribution == NoShocks()


def test_functions_follow_the_precision_of_the_states():
    model = cake(action_bounds=lambda s: (0.0, 1.0))
    s = torch.ones(2, 1, dtype=torch.float32)
    assert all(end.dtype == torch.float32 for end in model.action_limits(s))
    assert model.rewards(s, s).dtype == torch.float32
