"""Points at which to sample a function: equispaced, Chebyshev, Smolyak and Sobol nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import qmc

from ...randomness import random_numbers
from .bspline import BSpline
from .product import _expand_levels, smolyak_levels

__all__ = [
    "chebyshev_nodes",
    "equispaced_nodes",
    "greville_nodes",
    "smolyak_nodes",
    "sobol_nodes",
    "tensor_nodes",
]

Domain = tuple[float, float]


def equispaced_nodes(n_nodes: int, domain: Domain = (-1.0, 1.0)) -> np.ndarray:
    """Evenly spaced nodes from end to end of the domain, shape (n_nodes,)."""
    return np.linspace(*domain, n_nodes)


def chebyshev_nodes(
    n_nodes: int, domain: Domain = (-1.0, 1.0), kind: Literal["first", "extrema"] = "first"
) -> np.ndarray:
    r"""Chebyshev nodes in increasing order, shape (n_nodes,).

    Parameters
    ----------
    n_nodes : int
        Number of nodes n, at least 1 (at least 2 for the extrema).
    domain : (float, float), default=(-1.0, 1.0)
        The interval.
    kind : {"first", "extrema"}, default="first"
        The zeros of :math:`T_n`, :math:`\cos(\pi (i + 1/2)/n)`, or the extrema of
        :math:`T_{n-1}`, :math:`\cos(\pi i/(n - 1))`, which include both ends.

    Returns
    -------
    ndarray of shape (n_nodes,)

    References
    ----------
    L. N. Trefethen, *Approximation Theory and Approximation Practice*, chapter 2.

    Examples
    --------
    >>> from thetalearn.representations.bases import chebyshev_nodes
    >>> chebyshev_nodes(3, (0, 2), kind="extrema")
    array([0., 1., 2.])
    """
    if kind not in ("first", "extrema"):
        raise ValueError(f'kind={kind!r} must be "first" or "extrema"')
    i = np.arange(n_nodes)
    # The sine form is exactly symmetric about the middle, where cos(pi/2) would leave 6e-17.
    steps = n_nodes if kind == "first" else n_nodes - 1
    numerators = 2 * i + 1 - n_nodes
    if steps < 1:
        raise ValueError(f'n_nodes={n_nodes} is too few for kind="{kind}"')
    unit = np.sin(np.pi * numerators / (2 * steps))
    return (domain[0] + domain[1]) / 2 + (domain[1] - domain[0]) / 2 * unit


def greville_nodes(spline: BSpline) -> np.ndarray:
    r"""Greville's nodes of a spline, one for each function, in increasing order.

    Function i of degree p lives on the knots :math:`t_i, \dots, t_{i+p+1}`, and its node is the
    mean of the inner ones, :math:`(t_{i+1} + \dots + t_{i+p})/p`: for hat functions the knots
    themselves, for any degree p >= 1 both ends of the domain among them. Interpolation at these
    nodes has a unique solution. A knot repeated p times, which allows a kink, is a node exactly
    once. At one repeated p + 1 times, which allows a jump, there is also the number just below it.

    Parameters
    ----------
    spline : BSpline
        The spline.

    Returns
    -------
    ndarray of shape (spline.n_terms,)

    References
    ----------
    C. de Boor, *A Practical Guide to Splines*, chapters IX and XIII.

    Examples
    --------
    >>> from thetalearn.representations.bases import BSpline, greville_nodes
    >>> greville_nodes(BSpline([1.0, 1.0], degree=2, domain=(0.0, 2.0)))
    array([0. , 0.5, 1. , 1.5, 2. ])
    """
    p, knots, n = spline.degree, spline.knots, spline.n_terms
    if p == 0:
        return (knots[:-1] + knots[1:]) / 2
    windows = np.lib.stride_tricks.sliding_window_view(knots[1:-1], p)[:n]
    # A mean of equal numbers may round to another one, on the wrong side of a kink.
    nodes = np.clip(windows.mean(1), windows[:, 0], windows[:, -1])
    twice = np.flatnonzero(nodes[:-1] == nodes[1:])
    nodes[twice] = np.nextafter(nodes[twice], -np.inf)
    return nodes


def tensor_nodes(*nodes: np.ndarray) -> np.ndarray:
    """All combinations of univariate nodes, shape (product of lengths, d)."""
    return np.stack([g.ravel() for g in np.meshgrid(*nodes, indexing="ij")], axis=1)


def smolyak_nodes(
    n_inputs: int, level: int | Sequence[int], domain: Sequence[Domain] | Domain = (-1.0, 1.0)
) -> np.ndarray:
    """Nodes of a Smolyak sparse grid, as many as `smolyak_indices` has terms.

    Parameters
    ----------
    n_inputs : int
        Number d of inputs.
    level : int or sequence of int
        Level of the rule, or one for each input. Level l of an input uses its 2^l + 1 Chebyshev
        extrema.
    domain : (float, float) or sequence of them, default=(-1.0, 1.0)
        The interval of all inputs, or of each.

    Returns
    -------
    ndarray of shape (n_nodes, d)

    References
    ----------
    K. Judd, L. Maliar, S. Maliar, R. Valero, *Smolyak Method for Solving Dynamic Economic Models*,
    section 2.

    Examples
    --------
    >>> from thetalearn.representations.bases import smolyak_nodes
    >>> smolyak_nodes(2, 1).shape
    (5, 2)
    """
    nodes = _expand_levels(smolyak_levels(n_inputs, level), _new_extrema, "smolyak")
    bounds = np.broadcast_to(np.asarray(domain, dtype=np.float64), (n_inputs, 2))
    low, high = bounds[:, 0], bounds[:, 1]
    return (low + high) / 2 + (high - low) / 2 * nodes


def sobol_nodes(
    n_nodes: int,
    domain: Sequence[Domain],
    random_state: int | np.random.RandomState | None = None,
) -> np.ndarray:
    """Scrambled Sobol points, which fill a box evenly, shape (n_nodes, d).

    A power of two keeps the balance of the sequence.
    """
    seed = random_numbers(random_state).randint(np.iinfo(np.int32).max)
    bounds = np.asarray(domain, dtype=np.float64)
    # Drawing the next power of two avoids SciPy's warning; the first points are a prefix of it.
    power = max(int(np.ceil(np.log2(max(n_nodes, 1)))), 0)
    unit = qmc.Sobol(len(bounds), rng=np.random.default_rng(seed)).random_base2(power)[:n_nodes]
    return bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * unit


def _new_extrema(level: int) -> np.ndarray:
    """The extrema that a level adds to those of the level below it."""
    if level == 0:
        return np.zeros(1)
    nodes = chebyshev_nodes(2**level + 1, kind="extrema")
    return nodes[[0, 2]] if level == 1 else nodes[1::2]
