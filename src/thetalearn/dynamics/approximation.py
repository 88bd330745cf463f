"""Which function approximates the unknown, and where its residuals are taken.

The same bases and networks as in the regressions, put over the box of a model's states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..representations.bases import (
    Basis,
    BSpline,
    Chebyshev,
    Discrete,
    Polynomial,
    ProductBasis,
    TensorBSpline,
    chebyshev_nodes,
    complete_indices,
    greville_nodes,
    smolyak_indices,
    smolyak_nodes,
    sobol_nodes,
    tensor_indices,
    tensor_nodes,
    uniform_knots,
)
from ..representations.networks.activations import make_activation
from ..representations.networks.mlp import MLP, MLPArchitecture
from ..representations.parametric import LinearFunction, NetworkFunction, ParametricFunction

__all__ = ["Approximation", "Representation"]

#: Names that ``basis=`` knows.
BASES = ("auto", "chebyshev", "complete", "smolyak", "monomial", "bspline", "mlp")

#: Degrees by number of states where none is given: tensor products, then complete polynomials.
TENSOR_DEGREES = {1: 15, 2: 7, 3: 4}
COMPLETE_DEGREES = {1: 15, 2: 9, 3: 6, 4: 4, 5: 3, 6: 3}

#: Share of the width of the box by which polynomials go on as such outside it, at most: shocks lead
#: a little way out, where a tangent would cost several digits.
OVERSHOOT = 0.25

#: Largest value that they may take there, which decides the share at high degrees. Where paths
#: leave the box for good, only the continuation ties them down, and one that magnifies rounding
#: more than this makes a wrong policy a root.
AMPLIFICATION = 50.0

#: Points to a tensor grid at most for a basis that is not itself a tensor product.
CROWD = 6

#: Largest grid.
MAX_NODES = 2_000_000


@dataclass(frozen=True)
class Approximation:
    """A function of given form, and nodes that suit it.

    Parameters
    ----------
    function : ParametricFunction
        From inputs (n, d) to outputs (n, m).
    nodes : ndarray of shape (M, d)
        Inputs at which residuals are taken.
    weights : ndarray of shape (M,)
        Weights of the nodes as a quadrature, for Galerkin's conditions.
    """

    function: ParametricFunction
    nodes: np.ndarray
    weights: np.ndarray

    @property
    def n_terms(self) -> int:
        """Coefficients for each output."""
        return self.function.n_parameters // self.function.n_outputs

    @property
    def square(self) -> bool:
        """Whether there are as many nodes as coefficients of each output."""
        return self.function.linear and len(self.nodes) == self.n_terms


@dataclass(frozen=True)
class Representation:
    """The parameters of an estimator that say how the unknown is written.

    Parameters
    ----------
    basis : str, Basis or nn.Module
        See `BellmanApproximator`.
    degree, knots, kinks, n_nodes, hidden_layer_sizes, activation
        Likewise.
    """

    basis: str | Basis | nn.Module
    degree: int | Sequence[int] | None
    knots: Any
    kinks: Any
    n_nodes: int | Sequence[int] | None
    hidden_layer_sizes: Sequence[int]
    activation: Any

    @property
    def is_network(self) -> bool:
        """Whether the coefficients enter nonlinearly."""
        return (
            self.basis == "mlp"
            if isinstance(self.basis, str)
            else isinstance(self.basis, nn.Module)
        )

    def build(
        self,
        box: np.ndarray,
        n_outputs: int,
        chains: dict[int, np.ndarray],
        *,
        galerkin: bool = False,
        n_states: int | None = None,
        random_state: Any = None,
    ) -> Approximation:
        """The approximation over a box.

        Parameters
        ----------
        box : ndarray of shape (d, 2)
            Ends of the inputs.
        n_outputs : int
            Number m of outputs.
        chains : dict of int to ndarray
            Values of the inputs that take finitely many.
        galerkin : bool, default=False
            Whether the nodes should be those of a quadrature for products with the basis.
        n_states : int or None, default=None
            Number of states at which the residuals will be taken instead of the nodes.
        random_state : int, RandomState or None, default=None
            Scrambles the nodes of bases that have none of their own.
        """
        if isinstance(self.basis, nn.Module):
            function: ParametricFunction = NetworkFunction(
                self.basis, len(box), n_outputs, domain=box
            )
            return _scattered(function, box, chains, self.n_nodes, random_state)
        if isinstance(self.basis, Basis):
            if self.basis.n_inputs != len(box):
                raise ValueError(
                    f"basis={self.basis!r} has {self.basis.n_inputs} inputs, but the model has "
                    f"{len(box)} states"
                )
            function = LinearFunction(self.basis, n_outputs)
            return _scattered(function, box, chains, self.n_nodes, random_state)
        name = self._name(len(box))
        if name == "mlp":
            sizes = (len(box), *self._sizes(), n_outputs)
            activation = make_activation(self.activation)
            architecture = MLPArchitecture(sizes, (activation,) * (len(sizes) - 2))
            network = MLP(architecture).to(torch.float64)
            function = NetworkFunction(network, len(box), n_outputs, domain=box)
            return _scattered(function, box, chains, self.n_nodes, random_state)
        if name == "bspline":
            return self._splines(box, n_outputs, chains, galerkin)
        return self._polynomials(name, box, n_outputs, chains, galerkin, n_states, random_state)

    def _sizes(self) -> tuple[int, ...]:
        sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if not sizes or any(int(size) != size or size < 1 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} must hold positive widths"
            )
        return tuple(int(size) for size in sizes)

    def _name(self, d: int) -> str:
        if self.basis != "auto":
            return str(self.basis)
        return "chebyshev" if d in TENSOR_DEGREES else "complete"

    def _polynomials(
        self,
        name: str,
        box: np.ndarray,
        n_outputs: int,
        chains: dict[int, np.ndarray],
        galerkin: bool,
        n_states: int | None,
        random_state: Any,
    ) -> Approximation:
        d = len(box)
        degrees = self._degrees(name, d, chains, n_states)
        if name == "smolyak":
            degrees = [2**level if level else 0 for level in _levels(degrees)]
        factors: list[Any] = [
            Discrete(chains[j])
            if j in chains
            else Polynomial(degrees[j])
            if name == "monomial"
            else Chebyshev(
                degrees[j], (float(box[j, 0]), float(box[j, 1])), overshoot=_overshoot(degrees[j])
            )
            for j in range(d)
        ]
        sizes = [factor.n_terms for factor in factors]
        if name == "chebyshev":
            indices = tensor_indices(sizes)
        elif name == "smolyak":
            smooth = [j for j in range(d) if j not in chains]
            levels = _levels([degrees[j] for j in smooth])
            inner = smolyak_indices(len(smooth), levels) if smooth else _nothing(np.int64)
            terms = {j: np.arange(sizes[j]) for j in chains}
            indices = _on_chain_values(inner, smooth, terms)
        else:
            indices = _complete(sizes, degrees, chains)
        function = LinearFunction(ProductBasis(factors, indices), n_outputs)
        if name == "smolyak" and not galerkin and self.n_nodes is None:
            ends = [tuple(box[j]) for j in smooth]
            grid = smolyak_nodes(len(smooth), levels, ends) if smooth else _nothing(np.float64)
            nodes = _on_chain_values(grid, smooth, chains)
            return Approximation(function, nodes, np.full(len(nodes), 1 / len(nodes)))
        counts = self._counts(degrees, sizes, chains, galerkin)
        total = math.prod(counts)
        if name != "chebyshev" and total > max(CROWD * len(indices), 200):
            return _scattered(function, box, chains, self.n_nodes, random_state)
        if total > MAX_NODES:
            raise ValueError(
                f'degree={self.degree!r} needs {total} nodes for basis="{name}" in {d} states: '
                'lower it, or choose basis="complete", "smolyak" or "mlp"'
            )
        axes = [
            np.asarray(chains[j])
            if j in chains
            else chebyshev_nodes(counts[j], (float(box[j, 0]), float(box[j, 1])))
            for j in range(d)
        ]
        nodes = tensor_nodes(*axes)
        return Approximation(function, nodes, np.full(len(nodes), 1 / len(nodes)))

    def _degrees(
        self, name: str, d: int, chains: dict[int, np.ndarray], n_states: int | None
    ) -> list[int]:
        if self.degree is not None:
            return _one_each("degree", self.degree, d)
        if name == "smolyak":
            return [4] * d
        table = TENSOR_DEGREES if name == "chebyshev" else COMPLETE_DEGREES
        degree = table.get(d, 2)
        # Given states must determine the coefficients, twice over.
        while n_states is not None and degree > 0:
            count = math.comb(d + degree, degree) if name != "chebyshev" else (degree + 1) ** d
            if 2 * count <= n_states:
                break
            degree -= 1
        return [degree] * d

    def _counts(
        self,
        degrees: list[int],
        sizes: list[int],
        chains: dict[int, np.ndarray],
        galerkin: bool,
    ) -> list[int]:
        """Nodes in each input."""
        given = self.n_nodes
        if given is None:
            counts = [math.ceil(1.5 * size) if galerkin else size for size in sizes]
        else:
            counts = _one_each("n_nodes", given, len(sizes))
        return [len(chains[j]) if j in chains else n for j, n in enumerate(counts)]

    def _splines(
        self, box: np.ndarray, n_outputs: int, chains: dict[int, np.ndarray], galerkin: bool
    ) -> Approximation:
        d = len(box)
        degrees = _one_each("degree", 3 if self.degree is None else self.degree, d)
        counts = [None] * d if self.n_nodes is None else _one_each("n_nodes", self.n_nodes, d)
        splines = [
            BSpline(np.asarray(chains[j])[1:-1], 1, tuple(np.asarray(chains[j])[[0, -1]]))
            if j in chains
            else _spline(box[j], degrees[j], _own(self.knots, j, d), _own(self.kinks, j, d))
            for j in range(d)
        ]
        basis = TensorBSpline(splines)
        axes, weights = [], []
        for j, spline in enumerate(splines):
            if j in chains:
                axis = np.asarray(chains[j])
                weight = np.ones(len(axis))
            elif galerkin or self.n_nodes is not None:
                axis, weight = _cell_nodes(spline, counts[j])
            else:
                axis = greville_nodes(spline)
                weight = np.ones(len(axis))
            axes.append(axis)
            weights.append(weight / weight.sum())
        nodes = tensor_nodes(*axes)
        return Approximation(
            LinearFunction(basis, n_outputs), nodes, tensor_nodes(*weights).prod(1)
        )


def _one_each(parameter: str, given: Any, d: int) -> list[int]:
    """A whole number for each input, from one for all or one for each."""
    numbers = np.atleast_1d(np.asarray(given))
    if (
        numbers.ndim != 1
        or len(numbers) not in (1, d)
        or (numbers < 0).any()
        or (numbers != np.floor(numbers)).any()
    ):
        raise ValueError(
            f"{parameter}={given!r} must be a whole number, or one for each of the {d} states"
        )
    return [int(number) for number in np.broadcast_to(numbers, d)]


def _overshoot(degree: int) -> float:
    """How far beyond the box a polynomial of a degree, at most 1 in it, stays within bounds."""
    reach = math.cosh(math.acosh(AMPLIFICATION) / max(degree, 1))
    return min(OVERSHOOT, (reach - 1) / 2)


def _own(given: Any, j: int, d: int) -> Any:
    """What a parameter says of one input: a number or points for all, or a list of such."""
    if not isinstance(given, Sequence | np.ndarray) or (
        isinstance(given, np.ndarray) and given.ndim == 0
    ):
        return given
    items = list(given)
    nested = len(items) == d and any(np.ndim(item) > 0 or item is None for item in items)
    if nested or (d > 1 and len(items) == d):
        return items[j]
    return given


def _spline(ends: np.ndarray, degree: int, knots: Any, kinks: Any) -> BSpline:
    domain = (float(ends[0]), float(ends[1]))
    if knots is None:
        knots = 10
    interior = (
        np.asarray(uniform_knots(int(knots), domain))
        if np.ndim(knots) == 0
        else np.asarray(knots, dtype=np.float64)
    )
    at_kinks = np.atleast_1d(np.asarray([] if kinks is None else kinks, dtype=np.float64))
    at_kinks = at_kinks[(at_kinks > domain[0]) & (at_kinks < domain[1])]
    # A knot right beside a kink would leave a cell too small to hold a node of its own.
    gap = 0.1 * (domain[1] - domain[0]) / (len(interior) + 1)
    apart = [x for x in interior if not len(at_kinks) or np.abs(at_kinks - x).min() > gap]
    if np.ndim(knots) > 0:
        apart = [x for x in interior if not np.isclose(at_kinks, x, rtol=0, atol=1e-2 * gap).any()]
    return BSpline(np.sort(np.r_[apart, np.repeat(at_kinks, degree)]), degree, domain)


def _cell_nodes(spline: BSpline, n_nodes: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights in each cell of a spline."""
    count = spline.degree + 1
    if n_nodes is not None:
        count = max(math.ceil(n_nodes / spline.n_cells), 1)
    unit, weights = np.polynomial.legendre.leggauss(count)
    low, width = spline.breaks[:-1, None], np.diff(spline.breaks)[:, None]
    return (low + (unit + 1) / 2 * width).ravel(), (weights / 2 * width).ravel()


def _levels(degrees: Sequence[int]) -> list[int]:
    """Smolyak levels that hold the given degrees."""
    return [0 if degree == 0 else max(int(math.log2(degree)), 1) for degree in degrees]


def _complete(
    sizes: Sequence[int], degrees: Sequence[int], chains: dict[int, np.ndarray]
) -> np.ndarray:
    """Products of total degree at most the largest, in full with every value of a chain."""
    smooth = [j for j in range(len(sizes)) if j not in chains]
    if smooth:
        top = max(degrees[j] for j in smooth)
        inner = complete_indices(len(smooth), top)
        inner = inner[(inner <= np.array([degrees[j] for j in smooth])).all(1)]
    else:
        inner = _nothing(np.int64)
    return _on_chain_values(inner, smooth, {j: np.arange(sizes[j]) for j in chains})


def _nothing(dtype: Any) -> np.ndarray:
    """One row of no columns."""
    return np.zeros((1, 0), dtype=dtype)


def _on_chain_values(
    inner: np.ndarray, smooth: list[int], values: dict[int, np.ndarray]
) -> np.ndarray:
    """Each row of the smooth inputs with all combinations of the values of the others."""
    if not values:
        return inner
    outer = tensor_nodes(*values.values())
    rows = np.zeros((len(inner) * len(outer), len(smooth) + len(values)), dtype=inner.dtype)
    rows[:, smooth] = np.repeat(inner, len(outer), 0)
    rows[:, list(values)] = np.tile(outer, (len(inner), 1))
    return rows


def _scattered(
    function: ParametricFunction,
    box: np.ndarray,
    chains: dict[int, np.ndarray],
    n_nodes: int | Sequence[int] | None,
    random_state: Any,
) -> Approximation:
    """Nodes that fill the box evenly, for what has no grid of its own."""
    terms = function.n_parameters // function.n_outputs
    if n_nodes is not None and np.ndim(n_nodes) > 0:
        raise ValueError(
            f"n_nodes={n_nodes!r} must be one whole number: this representation has no grid"
        )
    count = max(4 * terms, 64) if n_nodes is None else int(np.prod(n_nodes))
    nodes = sobol_nodes(count, [tuple(ends) for ends in box], random_state)
    return Approximation(function, on_chains(nodes, chains), np.full(len(nodes), 1 / len(nodes)))


def on_chains(nodes: np.ndarray, chains: dict[int, np.ndarray]) -> np.ndarray:
    """Nodes with the inputs of finite chains moved to values of these, each as often."""
    nodes = nodes.copy()
    for j, values in chains.items():
        ranks = np.argsort(np.argsort(nodes[:, j]))
        nodes[:, j] = np.asarray(values)[ranks * len(values) // len(nodes)]
    return nodes


def even_states(
    count: int, box: np.ndarray, chains: dict[int, np.ndarray], random_state: Any
) -> Tensor:
    """Inputs that fill the box evenly, off the nodes of every basis."""
    nodes = sobol_nodes(count, [tuple(ends) for ends in box], random_state)
    return torch.from_numpy(on_chains(nodes, chains))
