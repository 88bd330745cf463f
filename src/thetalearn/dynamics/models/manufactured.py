"""Problems built backwards from a solution of one's choice, in any dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ...randomness import random_numbers
from ...representations.bases import complete_indices
from ..model import DynamicModel, Solution
from ..quadrature import Quadrature
from ..shocks import Normal, NoShocks, Shocks
from .utility import discount

__all__ = ["make_manufactured", "make_random_manufactured"]

#: Standard deviation of the shock to each state of a random problem.
NOISE = 0.05

#: What one unit of the state, or of the actions, adds to the next state of a random problem.
PERSISTENCE, EFFECT = 0.5, 0.3


def make_manufactured(
    *,
    value: Callable[[Tensor], Tensor],
    policy: Callable[[Tensor], Tensor],
    transition: Callable[[Tensor, Tensor, Tensor], Tensor],
    state_bounds: ArrayLike,
    shocks: Shocks | None = None,
    beta: float = 0.95,
    curvature: float | ArrayLike = 1.0,
    rule: str = "auto",
    n_nodes: int | None = None,
) -> DynamicModel:
    r"""A problem with a given value function, policy and transition.

    For any :math:`V^*`, :math:`\pi^*`, g and positive definite H, the reward

    .. math::
        r(s, a) = V^*(s) - \beta \sum_q w_q V^*(g(s, a, e_q)) -
        (a - \pi^*(s))' H (a - \pi^*(s))

    makes :math:`r + \beta E V^*(g)` equal to :math:`V^*(s)` less a quadratic, so that both are the
    solution, whatever their shapes: kinks, peaks, many dimensions.

    Parameters
    ----------
    value : callable
        ``value(s)`` gives the values V* (n,) of states (n, d).
    policy : callable
        ``policy(s)`` gives the actions π* (n, m).
    transition : callable
        ``transition(s, a, e)`` gives the next states (n, d).
    state_bounds : array-like of shape (d, 2)
        Ends of the states.
    shocks : Shocks, default=None
        Distribution of e. None: no shocks.
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    curvature : float or array-like of shape (m, m), default=1.0
        The matrix H, or what to multiply the identity with. Large enough a one makes the problem
        concave for continuation values that are still wrong.
    rule : str, default="auto"
        Integration rule of the reward. The solution is exact for a solver that takes the same rule
        and number of nodes, and for every solver where both rules integrate V*(g) exactly.
    n_nodes : int, default=None
        Number of nodes of that rule.

    Returns
    -------
    DynamicModel
        The model; it can be pickled if the three functions can.

    Raises
    ------
    ValueError
        If the curvature is not positive definite.
    ModelError
        If a function gives the wrong shape.

    References
    ----------
    V. Duarte, *Machine Learning for Continuous-Time Economics*, section on reverse engineering. P.
    Roache, *Code Verification by the Method of Manufactured Solutions*.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_manufactured
    >>> from thetalearn.dynamics.shocks import Normal
    >>> model = make_manufactured(
    ...     value=lambda s: s[:, 0].abs(),
    ...     policy=lambda s: s.sin(),
    ...     transition=lambda s, a, e: 0.5 * (s + a) + e,
    ...     shocks=Normal(scale=0.1),
    ...     state_bounds=[(-1.0, 1.0)],
    ... )
    >>> model.exact("value")(torch.tensor([[-0.3]], dtype=torch.float64))
    tensor([0.3000], dtype=torch.float64)
    """
    bounds = np.atleast_2d(np.asarray(state_bounds, dtype=np.float64))
    middle = torch.from_numpy(bounds.mean(1))[None]
    n_actions = policy(middle).shape[1]
    weight = _curvature(curvature, n_actions)
    distribution = NoShocks() if shocks is None else shocks
    nodes = distribution.nodes(rule, n_nodes)
    return DynamicModel(
        reward=_ManufacturedReward(value, policy, transition, nodes, weight),
        transition=transition,
        discount=discount,
        shocks=distribution,
        state_bounds=bounds,
        action_names=[f"a{j}" for j in range(n_actions)],
        solution=Solution(policy, value),
        params={"beta": beta},
        name="manufactured solution",
    )


def _curvature(given: float | ArrayLike, n_actions: int) -> Tensor:
    array = np.asarray(given, dtype=np.float64)
    matrix = array * np.eye(n_actions) if array.ndim == 0 else array
    if matrix.shape != (n_actions, n_actions):
        raise ValueError(
            f"curvature of shape {matrix.shape} must be a number or of shape "
            f"({n_actions}, {n_actions}): policy gives {n_actions} actions"
        )
    smallest = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])
    if not smallest > 0:
        raise ValueError(
            f"curvature={given!r} must be positive definite, but its smallest eigenvalue is "
            f"{smallest:.6g}: other actions would be as good as the policy"
        )
    return torch.from_numpy(matrix)


@dataclass(frozen=True, eq=False)
class _ManufacturedReward:
    """The reward that makes a value and a policy optimal."""

    value: Callable[[Tensor], Tensor]
    policy: Callable[[Tensor], Tensor]
    transition: Callable[[Tensor, Tensor, Tensor], Tensor]
    nodes: Quadrature
    curvature: Tensor

    def __call__(self, s: Tensor, a: Tensor, beta: float) -> Tensor:
        """Rewards (n,)."""
        off = a - self.policy(s)
        loss = ((off @ self.curvature.to(a)) * off).sum(1)
        return self.value(s) - beta * self._continuation(s, a) - loss

    def _continuation(self, s: Tensor, a: Tensor) -> Tensor:
        nodes, weights = self.nodes.at(s)
        n, count = len(s), self.nodes.n_nodes
        e = nodes.expand(n, count, -1).reshape(n * count, -1)
        each = s.repeat_interleave(count, 0), a.repeat_interleave(count, 0)
        later = self.value(self.transition(*each, e)).reshape(n, count)
        return (later * weights).sum(1)


def make_random_manufactured(
    *,
    n_states: int = 2,
    n_actions: int | None = None,
    degree: int = 3,
    policy_degree: int = 2,
    beta: float = 0.9,
    scale: float = 0.2,
    random_state: int | np.random.RandomState | None = 0,
) -> DynamicModel:
    r"""A problem whose value and policy are random polynomials of d states.

    The states are between -1 and 1, and :math:`s' = 0.5 s + 0.3 M a + 0.05\varepsilon` with random
    M of unit rows and independent normal shocks. Value and policy are sums over all monomials up to
    some degree with normal coefficients. As a complete polynomial basis of ``degree`` holds the
    value, solvers with any quadrature of degree exactness ``degree`` must find it to rounding.

    Parameters
    ----------
    n_states : int, default=2
        Number d of states.
    n_actions : int, default=None
        Number m of actions. None: as many as states.
    degree : int, default=3
        Degree of the value. The default rules of normal shocks are exact up to 5.
    policy_degree : int, default=2
        Degree of the policy.
    beta : float, default=0.9
        Discount factor β, in (0, 1).
    scale : float, default=0.2
        Size of value and policy: the root of the mean square of each at random states, about.
        Small enough a one keeps the problem concave for values that are still wrong.
    random_state : int, RandomState or None, default=0
        Draws the coefficients.

    Returns
    -------
    DynamicModel
        States x0, ..., actions a0, ..., which are free.

    References
    ----------
    As `make_manufactured`.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_random_manufactured
    >>> model = make_random_manufactured(n_states=3, random_state=1)
    >>> model.n_states, model.n_actions
    (3, 3)
    >>> model.exact("value")(torch.zeros(1, 3, dtype=torch.float64)).shape
    torch.Size([1])
    """
    m = n_states if n_actions is None else n_actions
    for name, count, least in (
        ("n_states", n_states, 1),
        ("n_actions", m, 1),
        ("degree", degree, 0),
        ("policy_degree", policy_degree, 0),
    ):
        if count != int(count) or count < least:
            raise ValueError(f"{name}={count!r} must be a whole number of at least {least}")
    rng = random_numbers(random_state)
    value = _random_polynomial(n_states, 1, degree, scale, rng)
    policy = _random_polynomial(n_states, m, policy_degree, scale, rng)
    effects = rng.standard_normal((n_states, m))
    effects *= EFFECT / np.linalg.norm(effects, axis=1, keepdims=True)
    return make_manufactured(
        value=_Scalar(value),
        policy=policy,
        transition=_LinearMotion(torch.from_numpy(effects)),
        shocks=Normal(np.zeros(n_states)),
        state_bounds=[(-1.0, 1.0)] * n_states,
        beta=beta,
    )


@dataclass(frozen=True, eq=False)
class _RandomPolynomial:
    """Sums of monomials: (n, d) to (n, m)."""

    exponents: Tensor
    coefficients: Tensor
    factors: Sequence[tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        factors = [
            tuple(j for j, power in enumerate(row) for _ in range(int(power)))
            for row in self.exponents.tolist()
        ]
        object.__setattr__(self, "factors", factors)

    def __call__(self, s: Tensor) -> Tensor:
        """Values (n, m)."""
        # Products, because powers of zero have no derivative.
        rows = [s[:, list(columns)].prod(1) for columns in self.factors]
        return torch.stack(rows, 1) @ self.coefficients.to(s)


@dataclass(frozen=True, eq=False)
class _Scalar:
    """The only column of a function."""

    function: _RandomPolynomial

    def __call__(self, s: Tensor) -> Tensor:
        """Values (n,)."""
        return self.function(s)[:, 0]


@dataclass(frozen=True, eq=False)
class _LinearMotion:
    """Next states of a random problem."""

    effects: Tensor

    def __call__(self, s: Tensor, a: Tensor, e: Tensor) -> Tensor:
        """Next states (n, d)."""
        return PERSISTENCE * s + a @ self.effects.to(s).T + NOISE * e


def _random_polynomial(
    n_inputs: int, n_outputs: int, degree: int, scale: float, rng: np.random.RandomState
) -> _RandomPolynomial:
    exponents = complete_indices(n_inputs, degree)
    coefficients = rng.standard_normal((len(exponents), n_outputs))
    # A monomial with k factors is about 3^(-k/2) on the cube.
    sizes = 3.0 ** (-exponents.sum(1))
    coefficients *= scale / math.sqrt(float(sizes.sum()))
    return _RandomPolynomial(torch.from_numpy(exponents.copy()), torch.from_numpy(coefficients))
