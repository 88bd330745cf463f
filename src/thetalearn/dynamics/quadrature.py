"""Integration rules: nodes and weights that stand for an expectation over shocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri, roots_hermitenorm, roots_legendre
from torch import Tensor

from ..representations.bases.nodes import sobol_nodes

__all__ = ["Quadrature", "normal_rule", "side_by_side", "uniform_rule"]

#: More nodes than this are refused: every node costs an evaluation at every state.
MAX_NODES = 1_000_000

#: Standard normal rules that are known for up to this many dimensions are taken by "auto".
AUTO_TENSOR, AUTO_DEGREE_FIVE, AUTO_DEGREE_THREE = 2, 20, 50

#: Nodes in each dimension of a tensor product of one, two and more dimensions.
TENSOR_NODES = (10, 7, 5)

#: Cells in each dimension of a midpoint rule of one, two and more dimensions.
MIDPOINT_CELLS = (100, 32, 10)

SOBOL_NODES = 1024

#: Half the spacing of the numbers that SciPy's Sobol sequence gives.
SOBOL_HALF_STEP = 2.0**-31

#: A standard rule: nodes (Q, r) and weights (Q,).
Rule = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Quadrature:
    r"""Nodes and weights: :math:`E[g(e) \mid s] \approx \sum_q w_q(s)\, g(e_q(s))`.

    Parameters
    ----------
    nodes : Tensor of shape (Q, k)
        The nodes, or what is added to the ``location`` of a state.
    weights : Tensor of shape (Q,)
        Weights that sum to one. Rules of degree five have negative ones in some dimensions.
    location : callable, default=None
        Gives the point (n, k) around which the nodes of each state (n, d) lie. None: the same nodes
        for all states.
    weigh : callable, default=None
        Gives the weights (n, Q) of each state (n, d) in place of ``weights``. None: the same
        weights for all states.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.shocks import AR1, Normal
    >>> states = torch.zeros(4, 2, dtype=torch.float64)
    >>> nodes, weights = Normal(0.0, 0.04).nodes().at(states)
    >>> nodes.shape, weights.shape
    (torch.Size([10, 1]), torch.Size([10]))
    >>> nodes, weights = AR1(0.9, 0.01, state=1).nodes().at(states)
    >>> nodes.shape, weights.shape
    (torch.Size([4, 10, 1]), torch.Size([10]))
    """

    nodes: Tensor
    weights: Tensor
    location: Callable[[Tensor], Tensor] | None = None
    weigh: Callable[[Tensor], Tensor] | None = None

    @property
    def n_nodes(self) -> int:
        """Number Q of nodes."""
        return len(self.nodes)

    @property
    def n_shocks(self) -> int:
        """Number k of shocks."""
        return self.nodes.shape[1]

    @property
    def conditional(self) -> bool:
        """Whether nodes or weights depend on the state."""
        return self.location is not None or self.weigh is not None

    def at(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and weights at some states, on their device and in their precision.

        Parameters
        ----------
        states : Tensor of shape (n, d)
            The states on which the expectation is conditional.

        Returns
        -------
        nodes : Tensor of shape (Q, k) or (n, Q, k)
            The latter where they differ between states; differentiable in the states.
        weights : Tensor of shape (Q,) or (n, Q)
            The latter where they differ between states.

        Raises
        ------
        ValueError
            If the states lack the column on which the shocks depend, or hold a value there that
            a Markov chain does not have.
        """
        nodes = like(self.nodes, states)
        if self.location is not None:
            nodes = nodes + self.location(states)[:, None]
        if self.weigh is not None:
            return nodes, self.weigh(states)
        return nodes, like(self.weights, states)


def like(tensor: Tensor, states: Tensor) -> Tensor:
    """The tensor on the device of the states, and in their precision if they are floating."""
    dtype = states.dtype if states.is_floating_point() else tensor.dtype
    return tensor.to(device=states.device, dtype=dtype)


@dataclass(frozen=True, eq=False)
class _Together:
    """What the states do to several rules side by side."""

    rules: tuple[Quadrature, ...]
    columns: tuple[int, ...]

    def location(self, states: Tensor) -> Tensor:
        """Locations of all rules, (n, k), zero where a rule has none."""
        located = [
            like(rule.nodes, states).new_zeros(len(states), rule.n_shocks)
            if rule.location is None
            else rule.location(states)
            for rule in self.rules
        ]
        return torch.cat(located, dim=1)[:, list(self.columns)]

    def weigh(self, states: Tensor) -> Tensor:
        """Products of the weights of all rules, (n, Q)."""
        weights = like(self.rules[0].weights, states).new_ones(len(states), 1)
        for rule in self.rules:
            own = like(rule.weights, states)[None] if rule.weigh is None else rule.weigh(states)
            weights = (weights[:, :, None] * own[:, None, :]).flatten(1)
        return weights


def side_by_side(
    rules: Sequence[Quadrature], columns: Iterable[int] | None = None, *, paired: bool = False
) -> Quadrature:
    """One rule for the shocks of several rules.

    Parameters
    ----------
    rules : sequence of Quadrature
        The rules, one or more.
    columns : iterable of int, default=None
        Order in which the shocks are wanted. None: as they come.
    paired : bool, default=False
        If False, the shocks are independent and every node of one rule meets every node of the
        others. If True, node q of one rule occurs with node q of the others, which must have the
        same weights.

    Returns
    -------
    Quadrature

    Raises
    ------
    ValueError
        If there would be more than a million nodes.

    Examples
    --------
    >>> from thetalearn.dynamics.quadrature import side_by_side
    >>> from thetalearn.dynamics.shocks import Normal, Uniform
    >>> side_by_side([Normal().nodes(n_nodes=3), Uniform().nodes(n_nodes=2)]).nodes.shape
    torch.Size([6, 2])
    """
    rules = tuple(rules)
    order = tuple(range(sum(rule.n_shocks for rule in rules)) if columns is None else columns)
    together = _Together(rules, order)
    if paired:
        nodes, weights = torch.cat([rule.nodes for rule in rules], dim=1), rules[0].weights
    else:
        counts = [rule.n_nodes for rule in rules]
        _check_count(math.prod(counts), f"the product of rules with {counts} nodes")
        nodes, weights = _tensor_product([(rule.nodes, rule.weights) for rule in rules])
    return Quadrature(
        nodes[:, list(order)],
        weights,
        together.location if any(rule.location is not None for rule in rules) else None,
        together.weigh if any(rule.weigh is not None for rule in rules) else None,
    )


def normal_rule(
    rule: str, n_dims: int, n_nodes: int | None = None, random_state: Any = None
) -> Rule:
    r"""Nodes and weights for r independent standard normal variables.

    Parameters
    ----------
    rule : {"auto", "gauss_hermite", "monomial1", "monomial2", "sobol"}
        - "gauss_hermite": a tensor product, exact for degree 2 n_nodes - 1 in every variable.
        - "monomial1": 2r nodes :math:`\pm\sqrt{r}\, i_j`, exact to degree 3.
        - "monomial2": 2r² + 1 nodes, exact to degree 5; some weights are negative for r > 4.
        - "sobol": scrambled Sobol points through the inverse normal distribution function, with
          mean zero and covariance I exactly.
        - "auto": "gauss_hermite" for r ≤ 2, "monomial2" for r ≤ 20, "monomial1" for r ≤ 50, else
          "sobol".
    n_dims : int
        Number r of variables; with none there is one node, of weight one.
    n_nodes : int, default=None
        Nodes in each dimension for "gauss_hermite" (10 for r = 1, 7 for r = 2, else 5), in all for
        "sobol" (1024, or 4r if more); monomial rules have no choice.
    random_state : int, RandomState or None, default=None
        Scrambles the Sobol points.

    Returns
    -------
    nodes : Tensor of shape (Q, r)
    weights : Tensor of shape (Q,)

    Raises
    ------
    ValueError
        If the rule has no choice of ``n_nodes``, or if there would be too many or too few nodes.

    References
    ----------
    K. Judd, L. Maliar, S. Maliar, *Numerically stable and accurate stochastic simulation approaches
    for solving dynamic economic models*, Quantitative Economics 2 (2011), 173-210, supplement on
    monomial integration.
    A. Stroud, *Approximate Calculation of Multiple Integrals*, chapter 8.

    Examples
    --------
    >>> from thetalearn.dynamics.quadrature import normal_rule
    >>> nodes, weights = normal_rule("monomial1", 2)
    >>> weights
    tensor([0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
    >>> (weights @ nodes**2).round(decimals=12)
    tensor([1., 1.], dtype=torch.float64)
    """
    if n_dims == 0:
        return torch.zeros(1, 0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    chosen = _automatic(n_dims) if rule == "auto" else rule
    if chosen == "gauss_hermite":
        return _tensor_power(_gauss_hermite, n_dims, _in_each(n_nodes, n_dims), chosen)
    if chosen == "sobol":
        return _normal_sobol(n_dims, n_nodes, random_state)
    if n_nodes is not None:
        raise ValueError(
            f"n_nodes={n_nodes} has no meaning for rule={rule!r}, which in {n_dims} dimensions is "
            f"{chosen!r} with a number of nodes of its own; leave n_nodes=None or take "
            f"rule='gauss_hermite' or 'sobol'"
        )
    return _monomial_three(n_dims) if chosen == "monomial1" else _monomial_five(n_dims)


def uniform_rule(
    rule: str, n_dims: int, n_nodes: int | None = None, random_state: Any = None
) -> Rule:
    """Nodes and weights for r independent variables that are uniform on [-1, 1].

    Parameters
    ----------
    rule : {"auto", "legendre", "midpoint", "sobol"}
        - "legendre": a tensor product of Gauss-Legendre rules, exact for degree 2 n_nodes - 1 in
          every variable.
        - "midpoint": the middles of n_nodes equal cells in each dimension, for integrands with
          kinks.
        - "sobol": scrambled Sobol points.
        - "auto": "legendre" for r ≤ 3, else "sobol".
    n_dims : int
        Number r of variables, at least 1.
    n_nodes : int, default=None
        Nodes in each dimension ("legendre": 10, 7 or 5; "midpoint": 100, 32 or 10 for 1, 2 or more
        dimensions), or in all ("sobol": 1024).
    random_state : int, RandomState or None, default=None
        Scrambles the Sobol points.

    Returns
    -------
    nodes : Tensor of shape (Q, r)
    weights : Tensor of shape (Q,)

    Raises
    ------
    ValueError
        If there would be more than a million nodes.

    References
    ----------
    K. Judd, *Numerical Methods in Economics*, chapter 7.

    Examples
    --------
    >>> from thetalearn.dynamics.quadrature import uniform_rule
    >>> nodes, weights = uniform_rule("legendre", 1, 2)
    >>> nodes[:, 0], weights
    (tensor([-0.5774,  0.5774], ...), tensor([0.5000, 0.5000], ...))
    """
    chosen = ("legendre" if n_dims <= 3 else "sobol") if rule == "auto" else rule
    if chosen == "legendre":
        return _tensor_power(_gauss_legendre, n_dims, _in_each(n_nodes, n_dims), chosen)
    if chosen == "midpoint":
        cells = n_nodes or MIDPOINT_CELLS[min(n_dims, 3) - 1]
        return _tensor_power(_midpoints, n_dims, cells, chosen)
    count = n_nodes or SOBOL_NODES
    _check_count(count, f"n_nodes={count}")
    nodes = torch.from_numpy(sobol_nodes(count, [(-1.0, 1.0)] * n_dims, random_state))
    return nodes, _equal_weights(count)


def _automatic(n_dims: int) -> str:
    if n_dims <= AUTO_TENSOR:
        return "gauss_hermite"
    if n_dims <= AUTO_DEGREE_FIVE:
        return "monomial2"
    return "monomial1" if n_dims <= AUTO_DEGREE_THREE else "sobol"


def _in_each(n_nodes: int | None, n_dims: int) -> int:
    """Nodes in each dimension of a tensor product."""
    return TENSOR_NODES[min(n_dims, 3) - 1] if n_nodes is None else n_nodes


def _equal_weights(count: int) -> Tensor:
    return torch.full((count,), 1.0 / count, dtype=torch.float64)


def _gauss_hermite(count: int) -> Rule:
    return _normalised(*roots_hermitenorm(count))


def _gauss_legendre(count: int) -> Rule:
    return _normalised(*roots_legendre(count))


def _midpoints(count: int) -> Rule:
    return _normalised((2.0 * np.arange(count) + 1 - count) / count, np.ones(count))


def _normalised(nodes: np.ndarray, weights: np.ndarray) -> Rule:
    """A univariate rule whose weights sum to one."""
    return torch.from_numpy(nodes)[:, None], torch.from_numpy(weights / weights.sum())


def _tensor_power(univariate: Callable[[int], Rule], n_dims: int, count: int, name: str) -> Rule:
    _check_count(count**n_dims, f"rule={name!r} with n_nodes={count} in {n_dims} dimensions")
    return _tensor_product([univariate(count)] * n_dims)


def _tensor_product(rules: Sequence[Rule]) -> Rule:
    """All combinations of nodes, the last rule fastest, with the products of their weights."""
    nodes, weights = rules[0]
    for more_nodes, more_weights in rules[1:]:
        old, new = len(nodes), len(more_nodes)
        nodes = torch.cat([nodes.repeat_interleave(new, 0), more_nodes.repeat(old, 1)], dim=1)
        weights = (weights[:, None] * more_weights).flatten()
    return nodes, weights


def _check_count(count: int, what: str) -> None:
    if count > MAX_NODES:
        raise ValueError(
            f"{what} would have {count:.3g} nodes, more than {MAX_NODES:,}; take fewer nodes or a "
            f"rule whose number grows slowly with the dimension: one Normal for all normal shocks "
            f"with rule='monomial2' or 'monomial1', or rule='sobol'"
        )


def _monomial_three(n_dims: int) -> Rule:
    """Formula of degree 3 with 2r nodes."""
    axes = math.sqrt(n_dims) * torch.eye(n_dims, dtype=torch.float64)
    return torch.cat([axes, -axes]), _equal_weights(2 * n_dims)


def _monomial_five(n_dims: int) -> Rule:
    """Formula of degree 5 with 2r² + 1 nodes: the origin, the axes and the diagonals of planes."""
    eye = torch.eye(n_dims, dtype=torch.float64)
    axes = math.sqrt(n_dims + 2) * eye
    planes = torch.tensor(list(combinations(range(n_dims), 2)), dtype=torch.int64).reshape(-1, 2)
    first, second = math.sqrt((n_dims + 2) / 2) * eye[planes.T]
    diagonals = torch.cat([first + second, first - second, second - first, -first - second])
    nodes = torch.cat([torch.zeros_like(eye[:1]), axes, -axes, diagonals])
    weights = torch.full((len(nodes),), (n_dims + 2.0) ** -2, dtype=torch.float64)
    weights[0] = 2 / (n_dims + 2)
    weights[1 : 2 * n_dims + 1] = (4 - n_dims) / (2 * (n_dims + 2) ** 2)
    return nodes, weights


def _normal_sobol(n_dims: int, n_nodes: int | None, random_state: Any) -> Rule:
    """Sobol points in normal coordinates, moved and stretched to mean zero and covariance I."""
    count = max(SOBOL_NODES, 2 ** math.ceil(math.log2(4 * n_dims))) if n_nodes is None else n_nodes
    _check_count(count, f"n_nodes={count}")
    if count < 2 * n_dims:
        raise ValueError(
            f"n_nodes={count} is too few for rule='sobol' in {n_dims} dimensions, whose covariance "
            f"it is to match; take at least {2 * n_dims}, better a power of two"
        )
    # The sequence starts at zero, where the inverse distribution function is infinite.
    unit = sobol_nodes(count, [(0.0, 1.0)] * n_dims, random_state) + SOBOL_HALF_STEP
    nodes = torch.from_numpy(ndtri(unit))
    nodes = nodes - nodes.mean(0)
    factor = torch.linalg.cholesky(nodes.T @ nodes / count)
    nodes = torch.linalg.solve_triangular(factor, nodes.T, upper=False).T
    return nodes.contiguous(), _equal_weights(count)
