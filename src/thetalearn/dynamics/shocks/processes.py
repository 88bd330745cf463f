"""Shocks whose present value is part of the state: autoregressions and Markov chains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr
from torch import Tensor

from ..quadrature import Quadrature, like
from .arguments import as_matrix, as_tensor, as_vector, short
from .base import Shocks, Single
from .gaussian import Gaussian

__all__ = ["AR1", "MarkovChain"]

#: Probabilities may miss a sum of one by this.
SUM_TOL = 1e-8

#: A state may miss a value of a Markov chain by this share of the largest value; float32 does.
MATCH_TOL = 1e-6


class AR1(Gaussian):
    r"""Next value of a process :math:`x' = \mu + \rho (x - \mu) + \sigma \varepsilon`.

    Here ε is standard normal, and the shock e is x' itself: the transition copies it into the
    column of the state that holds x.

    Parameters
    ----------
    rho : float
        Persistence ρ; the process is stationary if |ρ| < 1.
    sigma : float
        Standard deviation σ ≥ 0 of the innovation (not of x).
    mean : float, default=0.0
        Mean μ of the process.
    state : int
        Column of the state that holds x.

    Raises
    ------
    ValueError
        If a parameter is not finite or σ is negative.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.shocks import AR1
    >>> productivity = AR1(0.9, 0.02, state=1)
    >>> states = torch.tensor([[5.0, 0.1], [6.0, -0.1]], dtype=torch.float64)
    >>> productivity.expected(states).T
    tensor([[ 0.0900, -0.0900]], dtype=torch.float64)
    >>> productivity.discretize(3).values.T
    tensor([[-0.0649,  0.0000,  0.0649]], dtype=torch.float64)
    """

    rho: float
    sigma: float
    state: int
    _mean: Tensor

    def __init__(self, rho: float, sigma: float, *, mean: float = 0.0, state: int) -> None:
        for name, value in (("rho", rho), ("sigma", sigma), ("mean", mean)):
            if not np.isfinite(value):
                raise ValueError(f"{name}={value} must be finite")
        if sigma < 0:
            raise ValueError(f"sigma={sigma} must not be negative: it is a standard deviation")
        (column,) = _columns(state, 1)
        self._store(n_shocks=1, n_normals=1, state=column)
        self._store(rho=float(rho), sigma=float(sigma), _mean=as_vector("mean", mean))

    @property
    def mean(self) -> Tensor:
        """Mean (1,) of the process."""
        return self._mean

    @property
    def location(self) -> Callable[[Tensor], Tensor]:
        """The conditional mean."""
        return self.expected

    def from_normals(self, normals: Tensor) -> Tensor:
        """Innovations, (Q, 1)."""
        return self.sigma * normals

    def expected(self, states: Tensor) -> Tensor:
        """Conditional mean of the next value: (n, d) to (n, 1)."""
        current = _current(states, (self.state,), self)
        mean = like(self.mean, states)
        return mean + self.rho * (current - mean)

    def discretize(
        self,
        n_states: int,
        method: Literal["rouwenhorst", "tauchen"] = "rouwenhorst",
        width: float = 3.0,
    ) -> MarkovChain:
        """A Markov chain that stands for the process, in the same column of the state.

        Parameters
        ----------
        n_states : int
            Number of values, at least 1.
        method : {"rouwenhorst", "tauchen"}, default="rouwenhorst"
            "rouwenhorst" has the mean, the variance and the autocorrelation of the process exactly;
            "tauchen" takes the probability of the cell around each value.
        width : float, default=3.0
            Half the range of the values in standard deviations of the process, for "tauchen".

        Returns
        -------
        MarkovChain

        Raises
        ------
        ValueError
            If the process is not stationary, or has no variance and more than one value is asked.

        References
        ----------
        K. Kopecky, R. Suen, *Finite state Markov-chain approximations to highly persistent
        processes*, Review of Economic Dynamics 13 (2010), section 3.
        G. Tauchen, *Finite state Markov-chain approximations to univariate and vector
        autoregressions*, Economics Letters 20 (1986).

        Examples
        --------
        >>> from thetalearn.dynamics.shocks import AR1
        >>> AR1(0.5, 1.0, state=0).discretize(2).transition
        tensor([[0.7500, 0.2500],
                [0.2500, 0.7500]], dtype=torch.float64)
        """
        if method not in ("rouwenhorst", "tauchen"):
            raise ValueError(f'method={method!r} must be "rouwenhorst" or "tauchen"')
        if n_states < 1:
            raise ValueError(f"n_states={n_states} must be at least 1")
        if abs(self.rho) >= 1:
            raise ValueError(f"rho={self.rho} must lie between -1 and 1 to be discretised")
        if n_states > 1 and self.sigma == 0:
            raise ValueError(f"sigma=0 leaves one value, so n_states={n_states} must be 1")
        if not width > 0:
            raise ValueError(f"width={width} must be positive")
        spread = self.sigma / np.sqrt(1 - self.rho**2)
        half = spread * (np.sqrt(n_states - 1) if method == "rouwenhorst" else width)
        grid = np.linspace(-half, half, n_states) if n_states > 1 else np.zeros(1)
        if method == "rouwenhorst":
            transition = _rouwenhorst(n_states, self.rho)
        else:
            transition = _tauchen(grid, self.rho, self.sigma)
        return MarkovChain(transition, grid + float(self.mean), self.state)

    def _parameters(self) -> dict[str, Any]:
        return {"rho": self.rho, "sigma": self.sigma, "mean": self.mean, "state": self.state}


class MarkovChain(Single):
    """Next value of a finite Markov chain, whose present value is part of the state.

    Parameters
    ----------
    transition : array-like of shape (S, S)
        Probability of column j next if row i holds now; rows sum to one.
    values : array-like of shape (S,) or (S, k)
        The different values of the chain.
    state : int or sequence of k int
        Column of the state that holds the present value, one for each column of ``values``.

    Attributes
    ----------
    stationary : Tensor of shape (S,)
        Probabilities in the long run.

    Raises
    ------
    ValueError
        If probabilities are negative or their rows do not sum to one, if values repeat, or if the
        shapes do not fit.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.shocks import MarkovChain
    >>> chain = MarkovChain([[0.9, 0.1], [0.3, 0.7]], [1.0, 0.5], state=0)
    >>> chain.stationary
    tensor([0.7500, 0.2500], dtype=torch.float64)
    >>> nodes, weights = chain.nodes().at(torch.tensor([[0.5], [1.0]], dtype=torch.float64))
    >>> nodes.shape, weights
    (torch.Size([2, 1]), tensor([[0.3000, 0.7000],
            [0.9000, 0.1000]], dtype=torch.float64))
    """

    rules = ("auto", "exact")

    transition: Tensor
    values: Tensor

    def __init__(
        self,
        transition: ArrayLike | Tensor,
        values: ArrayLike | Tensor,
        state: int | Sequence[int],
    ) -> None:
        levels = as_matrix("values", values)
        n_shocks = levels.shape[1]
        columns = _columns(state, n_shocks)
        if len(torch.unique(levels, dim=0)) < len(levels):
            raise ValueError(
                f"values={short(levels)} of the MarkovChain repeat, so that the state does not "
                f"tell its row; give different values"
            )
        self._store(n_shocks=n_shocks, state=columns[0] if n_shocks == 1 else columns)
        self._store(transition=_stochastic(transition, len(levels)), values=levels)

    @cached_property
    def stationary(self) -> Tensor:
        """Probabilities (S,) in the long run.

        Raises
        ------
        ValueError
            If there is more than one such distribution: the chain cannot leave several sets.

        References
        ----------
        W. Grassmann, M. Taksar, D. Heyman, *Regenerative analysis and steady state distributions
        for Markov chains*, Operations Research 33 (1985).
        """
        return torch.from_numpy(_stationary(self.transition.numpy()))

    @property
    def mean(self) -> Tensor:
        """Mean (k,) of the stationary distribution."""
        return self.stationary @ self.values

    def rows(self, states: Tensor) -> Tensor:
        """Row of the transition that holds in each state: (n, d) to (n,), integers.

        Raises
        ------
        ValueError
            If a state has a value that the chain does not have.
        """
        columns = _columns(self.state, self.n_shocks)
        current = _current(states, columns, self).detach()
        values = like(self.values, states)
        largest = values.abs().amax(0)
        unit = torch.where(largest > 0, largest, torch.ones_like(largest))
        distance, rows = torch.cdist(current / unit, values / unit, p=float("inf")).min(dim=1)
        # A distance in the maximum norm passes over not-a-number.
        missed = (distance > MATCH_TOL) | current.isnan().any(1)
        if missed.any():
            first = int(missed.nonzero()[0])
            raise ValueError(
                f"state {short(current[first])} in column {self.state} is none of the values of "
                f"the MarkovChain, of which {short(values[rows[first]])} is nearest; give states "
                f"with its values there, or take an AR1 for a continuous process"
            )
        return rows

    def probabilities(self, states: Tensor) -> Tensor:
        """Probabilities of the next values in each state: (n, d) to (n, S)."""
        return like(self.transition, states)[self.rows(states)]

    def expected(self, states: Tensor) -> Tensor:
        """Conditional mean of the next value: (n, d) to (n, k)."""
        return self.probabilities(states) @ like(self.values, states)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """The values, with the probabilities of each state; see `Shocks.nodes`.

        The ``weights`` of the rule are the mean of the rows: those of a state come from ``at``.
        """
        self._check_rule(rule, n_nodes)
        self._check_no_choice(n_nodes)
        return Quadrature(self.values, self.transition.mean(0), weigh=self.probabilities)

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One draw of the next value for each state: (n, d) to (n, k)."""
        rows = self.rows(states).cpu()
        cumulated = self.transition.cumsum(1)
        cumulated = cumulated / cumulated[:, -1:]
        unit = torch.from_numpy(rng.random_sample((len(states), 1)))
        drawn = torch.searchsorted(cumulated[rows], unit, right=True)[:, 0]
        return like(self.values[drawn], states)

    def _parameters(self) -> dict[str, Any]:
        return {"transition": self.transition, "values": self.values, "state": self.state}


def _stochastic(transition: ArrayLike | Tensor, size: int) -> Tensor:
    """A matrix of transition probabilities whose rows sum to one."""
    matrix = as_tensor("transition", transition)
    if matrix.shape != (size, size):
        raise ValueError(
            f"transition of shape {tuple(matrix.shape)} must be ({size}, {size}): values has "
            f"{size} rows"
        )
    if (matrix < 0).any():
        raise ValueError(f"transition holds the negative probability {float(matrix.min())}")
    sums = matrix.sum(1)
    worst = int((sums - 1).abs().argmax())
    if abs(float(sums[worst]) - 1) > SUM_TOL:
        raise ValueError(
            f"row {worst} of transition sums to {float(sums[worst])}, not to 1; if that is "
            f"rounding, divide each row by its sum"
        )
    return matrix / sums[:, None]


def _stationary(transition: np.ndarray) -> np.ndarray:
    """Stationary distribution by elimination without subtraction, which keeps small entries."""
    _, labels = connected_components(transition > 0, directed=True, connection="strong")
    leaves = {labels[i] for i, j in np.argwhere(transition > 0) if labels[i] != labels[j]}
    closed = [label for label in np.unique(labels) if label not in leaves]
    if len(closed) > 1:
        raise ValueError(
            f"transition has {len(closed)} sets of values that the chain cannot leave, so that its "
            f"stationary distribution depends on where it starts; split the chain"
        )
    members = np.flatnonzero(labels == closed[0])
    rest = transition[np.ix_(members, members)].copy()
    for last in range(len(members) - 1, 0, -1):
        rest[:last, last] /= rest[last, :last].sum()
        rest[:last, :last] += np.outer(rest[:last, last], rest[last, :last])
    shares = np.ones(len(members))
    for k in range(1, len(members)):
        shares[k] = shares[:k] @ rest[:k, k]
    result = np.zeros(len(transition))
    result[members] = shares / shares.sum()
    return result


def _rouwenhorst(n_states: int, rho: float) -> np.ndarray:
    """Transition of the chain that counts heads among n - 1 coins, each turned independently."""
    stay = (1 + rho) / 2
    matrix = np.ones((1, 1))
    for size in range(2, n_states + 1):
        larger = np.zeros((size, size))
        larger[:-1, :-1] += stay * matrix
        larger[:-1, 1:] += (1 - stay) * matrix
        larger[1:, :-1] += (1 - stay) * matrix
        larger[1:, 1:] += stay * matrix
        larger[1:-1] /= 2
        matrix = larger
    return matrix


def _tauchen(grid: np.ndarray, rho: float, sigma: float) -> np.ndarray:
    """Probabilities of the cells around the values of a grid."""
    if len(grid) == 1:
        return np.ones((1, 1))
    edges = (grid[1:] + grid[:-1]) / 2
    below = ndtr((edges - rho * grid[:, None]) / sigma)
    ends = np.zeros((len(grid), 1)), np.ones((len(grid), 1))
    return np.diff(np.hstack([ends[0], below, ends[1]]), axis=1)


def _columns(state: object, count: int) -> tuple[int, ...]:
    """The columns of the state, one for each shock."""
    given = (state,) if isinstance(state, int | np.integer) else state
    if (
        not isinstance(given, Sequence | np.ndarray)
        or len(given) != count
        or not all(isinstance(column, int | np.integer) and column >= 0 for column in given)
    ):
        raise ValueError(
            f"state={state!r} must name {count} column{'s' * (count > 1)} of the state by integers "
            f"from 0, one for each column of the values"
        )
    return tuple(int(column) for column in given)


def _current(states: Tensor, columns: tuple[int, ...], shocks: Shocks) -> Tensor:
    """The columns of the states on which a distribution depends, (n, number of columns)."""
    if states.ndim != 2 or states.shape[1] <= max(columns):
        raise ValueError(
            f"states of shape {tuple(states.shape)} have no column {max(columns)}, on which "
            f"{type(shocks).__name__} depends by state={shocks.state}"
        )
    current = states[:, list(columns)]
    return current if current.is_floating_point() else current.double()
