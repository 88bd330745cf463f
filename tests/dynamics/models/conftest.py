"""What it means that a model's exact solution is one."""

import pickle

import numpy as np
import pytest
import torch

from thetalearn.objectives.projection import StateRows

#: Quadrature nodes that make the error of integration negligible.
N_NODES = 20


def random_states(model, n=40, seed=0):
    """States (n, d), uniform between the bounds; those of a chain from its values."""
    low, high = model.bounds[:, 0], model.bounds[:, 1]
    rng = np.random.RandomState(seed)
    states = low + (high - low) * torch.from_numpy(rng.rand(n, len(low)))
    for column, values in model.chain_states().items():
        states[:, column] = values[torch.from_numpy(rng.randint(len(values), size=n))]
    return states


def rows_of(model, states):
    """The states with a fine rule for the shocks."""
    shocks = model.distribution
    fine = "gauss_hermite" in getattr(shocks, "rules", ())
    rule = shocks.nodes("gauss_hermite", N_NODES) if fine else shocks.nodes()
    return StateRows(states, *rule.at(states))


def worth(model, rows, actions):
    """Reward and discounted exact value of what follows, (n,)."""
    s, a = rows.repeated(rows.states), rows.repeated(actions)
    after = model.next_states(s, a, rows.shocks())
    later = rows.mean(model.exact("value")(after)[:, None])[:, 0]
    return model.rewards(rows.states, actions) + model.beta * later


class Checks:
    """Laws of exact solutions and steady states, each with the size of what violates it."""

    random_states = staticmethod(random_states)

    @staticmethod
    def bellman(model, states=None):
        """Largest residual of the Bellman equation, relative to the value."""
        states = random_states(model) if states is None else states
        value = model.exact("value")(states)
        given = worth(model, rows_of(model, states), model.exact("policy")(states))
        return float(((given - value).abs() / (1 + value.abs())).max())

    @staticmethod
    def first_order(model, states=None):
        """Largest gain from more of an action, relative to its marginal reward."""
        states = random_states(model) if states is None else states
        actions = model.exact("policy")(states).requires_grad_()
        (now,) = torch.autograd.grad(model.rewards(states, actions).sum(), actions)
        actions = actions.detach().requires_grad_()
        total = worth(model, rows_of(model, states), actions).sum()
        (gain,) = torch.autograd.grad(total, actions)
        return float((gain.abs() / now.abs()).max())

    @staticmethod
    def improvement(model, states=None, n_trials=20, seed=1):
        """Most that random actions between the bounds gain on the exact ones, relative."""
        states = random_states(model) if states is None else states
        rows, best = rows_of(model, states), model.exact("policy")(states)
        value = worth(model, rows, best)
        lower, upper = model.action_limits(states)
        rng = np.random.RandomState(seed)
        gains = []
        for trial in range(n_trials):
            size = 10.0 ** -(1 + trial % 4)
            step = size * torch.from_numpy(rng.randn(*best.shape)) * (1 + best.abs())
            actions = torch.minimum(torch.maximum(best + step, lower), upper)
            other = worth(model, rows, actions)
            gains.append(((other - value) / (1 + value.abs())).nan_to_num(-torch.inf))
        return float(torch.stack(gains).max())

    @staticmethod
    def arbitrage(model, states=None, policy=None):
        """Largest expectation of the model's own Euler equation under a policy."""
        states = random_states(model) if states is None else states
        policy = policy or model.exact("policy")
        rows = rows_of(model, states)
        s, a = rows.repeated(states), rows.repeated(policy(states))
        after = model.next_states(s, a, rows.shocks())
        mean = rows.mean(model.arbitrage(s, a, after, policy(after), rows.shocks()))
        return float(mean.abs().max())

    @staticmethod
    def drift(model):
        """How far the guess of a steady state moves without shocks, relative."""
        s, a = model.steady_guess()
        e = model.distribution.expected(s[None])
        return float(((model.next_states(s[None], a[None], e) - s).abs() / (1 + s.abs())).max())

    @staticmethod
    def same_after_pickling(model):
        """Whether a copy by way of bytes gives the same numbers."""
        copy = pickle.loads(pickle.dumps(model))
        s = random_states(model)
        a, e = model.inside_actions(s), model.distribution.expected(s)
        return (
            copy.params == model.params
            and torch.equal(copy.next_states(s, a, e), model.next_states(s, a, e))
            and torch.equal(copy.rewards(s, a), model.rewards(s, a))
            and copy.distribution == model.distribution
        )


@pytest.fixture(scope="session")
def checks():
    """The laws."""
    return Checks
