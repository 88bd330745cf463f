"""Distributions of the shocks of a dynamic model: rules that integrate over them, and draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr
from torch import Tensor

from ..randomness import random_numbers
from .quadrature import Quadrature, like, normal_rule, side_by_side, uniform_rule

__all__ = [
    "AR1",
    "Empirical",
    "Gaussian",
    "LogNormal",
    "MarkovChain",
    "NoShocks",
    "Normal",
    "Product",
    "Shocks",
    "Uniform",
]

#: Eigenvalues of a correlation matrix below this, for each shock, are rounding.
RANK_TOL = 1e-12

#: Entries of a covariance may differ from those across its diagonal by this share of the largest.
SYMMETRY_TOL = 1e-10

#: Probabilities may miss a sum of one by this.
SUM_TOL = 1e-8

#: A state may miss a value of a Markov chain by this share of the largest value; float32 does.
MATCH_TOL = 1e-6

#: Column or columns of the state on which a distribution depends.
Columns = int | tuple[int, ...] | None


class Shocks(ABC):
    """Distribution of the shocks e of a model, given the state.

    Objects are immutable, are equal if their parameters are, and can be pickled.
    """

    #: Names of the integration rules that `nodes` knows.
    rules: tuple[str, ...]

    #: Number k of shocks.
    n_shocks: int

    #: Column of the state on which the distribution depends, a tuple of several; None: independent.
    state: Columns

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Mean (k,) in the long run."""

    @abstractmethod
    def expected(self, states: Tensor) -> Tensor:
        """Mean of the shocks in each state: (n, d) to (n, k)."""

    @abstractmethod
    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """Integration rule.

        Parameters
        ----------
        rule : str, default="auto"
            One of ``rules``.
        n_nodes : int, default=None
            Number of nodes, in each dimension for tensor products and in all for others. None: what
            suits the rule.
        random_state : int, RandomState or None, default=None
            Decides rules that are random.

        Returns
        -------
        Quadrature

        Raises
        ------
        ValueError
            If the distribution lacks the rule, or the rule cannot have that number of nodes.
        """

    @abstractmethod
    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One draw for each state: (n, d) to (n, k)."""

    @abstractmethod
    def parts(self) -> tuple[Shocks, ...]:
        """The distributions of which this one is a product, or itself."""

    @abstractmethod
    def _parameters(self) -> dict[str, Any]:
        """What the constructor takes, as it was understood."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed; make another for {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def _store(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Shocks):
            return NotImplemented
        mine, others = self._parameters(), other._parameters()
        return all(_same(mine[name], others[name]) for name in mine)

    def __hash__(self) -> int:
        return hash((type(self), *(_hashable(value) for value in self._parameters().values())))

    def __repr__(self) -> str:
        shown = (f"{name}={_short(value)}" for name, value in self._parameters().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check_rule(self, rule: str, n_nodes: int | None) -> None:
        if rule not in self.rules:
            raise ValueError(
                f"rule={rule!r} is not offered by {type(self).__name__}, which has "
                f"{', '.join(map(repr, self.rules))}"
            )
        if n_nodes is not None and not (isinstance(n_nodes, int | np.integer) and n_nodes >= 1):
            raise ValueError(f"n_nodes={n_nodes!r} must be an integer of at least 1, or None")

    def _check_no_choice(self, n_nodes: int | None) -> None:
        if n_nodes is not None:
            raise ValueError(
                f"n_nodes={n_nodes} has no meaning for {type(self).__name__}, whose rule is exact; "
                f"leave n_nodes=None"
            )


class _Single(Shocks):
    """A distribution that is no product."""

    def parts(self) -> tuple[Shocks, ...]:
        """The distribution itself."""
        return (self,)


class NoShocks(_Single):
    """No shocks at all: the distribution of a deterministic model, one node of weight one.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import NoShocks
    >>> NoShocks().nodes().nodes.shape
    torch.Size([1, 0])
    """

    rules = ("auto", "exact")

    def __init__(self) -> None:
        self._store(n_shocks=0, state=None)

    @property
    def mean(self) -> Tensor:
        """An empty tensor."""
        return torch.zeros(0, dtype=torch.float64)

    def expected(self, states: Tensor) -> Tensor:
        """Nothing for each state, (n, 0)."""
        return like(self.mean, states).expand(len(states), 0)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """One node of weight one; see `Shocks.nodes`."""
        self._check_rule(rule, n_nodes)
        self._check_no_choice(n_nodes)
        return Quadrature(self.mean[None], torch.ones(1, dtype=torch.float64))

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """Nothing for each state, (n, 0)."""
        return self.expected(states)

    def _parameters(self) -> dict[str, Any]:
        return {}


class Gaussian(_Single):
    """A distribution that is a function of independent standard normal variables.

    Its rules are those of `thetalearn.dynamics.quadrature.normal_rule`.
    """

    rules = ("auto", "gauss_hermite", "monomial1", "monomial2", "sobol")

    #: Number r of standard normal variables.
    n_normals: int

    @abstractmethod
    def from_normals(self, normals: Tensor) -> Tensor:
        """Shocks less their location, (Q, k), for standard normal variables (Q, r)."""

    @property
    @abstractmethod
    def location(self) -> Callable[[Tensor], Tensor] | None:
        """Function that maps states (n, d) to a location (n, k) to add; None: nothing to add."""

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """Integration rule; see `Shocks.nodes`."""
        return _gaussian_rule([self], rule, n_nodes, random_state)

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One draw for each state: (n, d) to (n, k)."""
        normals = torch.from_numpy(rng.standard_normal((len(states), self.n_normals)))
        draws = like(self.from_normals(normals), states)
        return draws if self.location is None else draws + self.location(states)


class Normal(Gaussian):
    r"""Normal shocks :math:`e \sim N(\mu, \Sigma)`.

    Parameters
    ----------
    mean : float or array-like of shape (k,), default=0.0
        Mean μ.
    cov : float, array-like of shape (k,) or (k, k), default=None
        A variance, the variances of independent shocks, or their covariance Σ, which may be
        singular. None: variance one, unless ``scale`` is given.
    scale : float or array-like of shape (k,), default=None
        Standard deviations of independent shocks, in place of ``cov``.

    Attributes
    ----------
    cov : Tensor of shape (k, k)
        Covariance.
    root : Tensor of shape (k, r)
        Its square root: Σ = root root'. Lower triangular (Cholesky), or from the eigenvectors with
        as many columns r as the rank of Σ if that is less than k.

    Raises
    ------
    ValueError
        If Σ is not symmetric and positive semi-definite, if a scale is negative, if both ``cov``
        and ``scale`` are given, or if the shapes do not fit.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import Normal
    >>> Normal(0.0, [[0.04, 0.01], [0.01, 0.09]]).nodes().n_nodes
    49
    >>> Normal(scale=0.5) == Normal(cov=0.25)
    True
    """

    cov: Tensor
    root: Tensor
    _mean: Tensor

    def __init__(
        self,
        mean: ArrayLike | Tensor = 0.0,
        cov: ArrayLike | Tensor | None = None,
        *,
        scale: ArrayLike | Tensor | None = None,
    ) -> None:
        location, covariance = _moments(mean, cov, scale)
        root = _square_root(covariance)
        self._store(n_shocks=len(location), n_normals=root.shape[1], state=None)
        self._store(_mean=location, cov=covariance, root=root)

    @property
    def mean(self) -> Tensor:
        """Mean (k,)."""
        return self._mean

    @property
    def location(self) -> None:
        """None: independent of the state."""
        return None

    def from_normals(self, normals: Tensor) -> Tensor:
        """Mean plus root times the standard normal variables: (Q, r) to (Q, k)."""
        return self.mean + normals @ self.root.T

    def expected(self, states: Tensor) -> Tensor:
        """The mean, whatever the state: (n, d) to (n, k)."""
        return like(self.mean, states).expand(len(states), -1)

    def _parameters(self) -> dict[str, Any]:
        return {"mean": self.mean, "cov": self.cov}


class LogNormal(Gaussian):
    r"""Shocks whose logarithms are normal: :math:`\ln e \sim N(\mu, \Sigma)`.

    Parameters
    ----------
    mean : float or array-like of shape (k,), default=0.0
        Mean μ of the logarithms.
    cov : float, array-like of shape (k,) or (k, k), default=None
        Variance, variances or covariance of the logarithms. None: variance one, unless ``scale``
        is given.
    scale : float or array-like of shape (k,), default=None
        Standard deviations of the logarithms of independent shocks, in place of ``cov``.
    unit_mean : bool, default=False
        If True, μ is minus half the variances, so that E e = 1; ``mean`` must then be zero.

    Attributes
    ----------
    log : Normal
        Distribution of the logarithms.
    mean : Tensor of shape (k,)
        Mean of the shocks themselves, :math:`\exp(\mu_i + \Sigma_{ii}/2)`.

    Raises
    ------
    ValueError
        As `Normal`, or if ``unit_mean`` comes with a ``mean``.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import LogNormal
    >>> rule = LogNormal(scale=0.1, unit_mean=True).nodes()
    >>> round(float(rule.weights @ rule.nodes[:, 0]), 12)
    1.0
    """

    log: Normal

    def __init__(
        self,
        mean: ArrayLike | Tensor = 0.0,
        cov: ArrayLike | Tensor | None = None,
        *,
        scale: ArrayLike | Tensor | None = None,
        unit_mean: bool = False,
    ) -> None:
        log = Normal(mean, cov, scale=scale)
        if unit_mean:
            if log.mean.any():
                raise ValueError(
                    f"mean={_short(log.mean)} contradicts unit_mean=True, which sets the mean of "
                    f"the logarithms; leave mean=0.0 or unit_mean=False"
                )
            log = Normal(-log.cov.diagonal() / 2, log.cov)
        self._store(n_shocks=log.n_shocks, n_normals=log.n_normals, state=None, log=log)

    @property
    def mean(self) -> Tensor:
        """Mean (k,) of the shocks themselves."""
        return (self.log.mean + self.log.cov.diagonal() / 2).exp()

    @property
    def location(self) -> None:
        """None: independent of the state."""
        return None

    def from_normals(self, normals: Tensor) -> Tensor:
        """Exponentials of the normal shocks: (Q, r) to (Q, k)."""
        return self.log.from_normals(normals).exp()

    def expected(self, states: Tensor) -> Tensor:
        """The mean, whatever the state: (n, d) to (n, k)."""
        return like(self.mean, states).expand(len(states), -1)

    def _parameters(self) -> dict[str, Any]:
        return {"mean": self.log.mean, "cov": self.log.cov}


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
        self._store(rho=float(rho), sigma=float(sigma), _mean=_vector("mean", mean))

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


class Uniform(_Single):
    """Independent shocks that are uniform between two bounds.

    Its rules are those of `thetalearn.dynamics.quadrature.uniform_rule`.

    Parameters
    ----------
    low : float or array-like of shape (k,), default=0.0
        Lower bounds.
    high : float or array-like of shape (k,), default=1.0
        Upper bounds, above the lower ones.

    Raises
    ------
    ValueError
        If the bounds cross or their shapes do not fit.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import Uniform
    >>> rule = Uniform(0.0, 2.0).nodes("midpoint", 4)
    >>> rule.nodes[:, 0]
    tensor([0.2500, 0.7500, 1.2500, 1.7500], dtype=torch.float64)
    """

    rules = ("auto", "legendre", "midpoint", "sobol")

    low: Tensor
    high: Tensor

    def __init__(self, low: ArrayLike | Tensor = 0.0, high: ArrayLike | Tensor = 1.0) -> None:
        lower, upper = _alike({"low": _vector("low", low), "high": _vector("high", high)})
        if (lower >= upper).any():
            raise ValueError(f"low={_short(lower)} must be below high={_short(upper)}")
        self._store(n_shocks=len(lower), state=None, low=lower, high=upper)

    @property
    def mean(self) -> Tensor:
        """Mean (k,)."""
        return (self.low + self.high) / 2

    def expected(self, states: Tensor) -> Tensor:
        """The mean, whatever the state: (n, d) to (n, k)."""
        return like(self.mean, states).expand(len(states), -1)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """Integration rule; see `Shocks.nodes`."""
        self._check_rule(rule, n_nodes)
        unit, weights = uniform_rule(rule, self.n_shocks, n_nodes, random_state)
        return Quadrature(self.mean + (self.high - self.low) / 2 * unit, weights)

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One draw for each state: (n, d) to (n, k)."""
        unit = torch.from_numpy(rng.random_sample((len(states), self.n_shocks)))
        return like(self.low + (self.high - self.low) * unit, states)

    def _parameters(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


class MarkovChain(_Single):
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
        levels = _matrix("values", values)
        n_shocks = levels.shape[1]
        columns = _columns(state, n_shocks)
        if len(torch.unique(levels, dim=0)) < len(levels):
            raise ValueError(
                f"values={_short(levels)} of the MarkovChain repeat, so that the state does not "
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
                f"state {_short(current[first])} in column {self.state} is none of the values of "
                f"the MarkovChain, of which {_short(values[rows[first]])} is nearest; give states "
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


class Empirical(_Single):
    """Independent draws of rows of a sample.

    Parameters
    ----------
    sample : array-like of shape (N,) or (N, k)
        The observations.
    weights : array-like of shape (N,), default=None
        Probabilities of the rows, up to a factor. None: equal ones.

    Attributes
    ----------
    observations : Tensor of shape (N, k)
        The sample.
    weights : Tensor of shape (N,)
        Probabilities, which sum to one.

    Raises
    ------
    ValueError
        If weights are negative or all zero, or the shapes do not fit.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import Empirical
    >>> Empirical([0.95, 1.05], weights=[1, 3]).mean
    tensor([1.0250], dtype=torch.float64)
    """

    rules = ("auto", "sample")

    observations: Tensor
    weights: Tensor

    def __init__(
        self, sample: ArrayLike | Tensor, weights: ArrayLike | Tensor | None = None
    ) -> None:
        rows = _matrix("sample", sample)
        if weights is None:
            shares = torch.full((len(rows),), 1.0 / len(rows), dtype=torch.float64)
        else:
            shares = _probabilities(weights, len(rows))
        self._store(n_shocks=rows.shape[1], state=None, observations=rows, weights=shares)

    @property
    def mean(self) -> Tensor:
        """Weighted mean (k,) of the sample."""
        return self.weights @ self.observations

    def expected(self, states: Tensor) -> Tensor:
        """The mean, whatever the state: (n, d) to (n, k)."""
        return like(self.mean, states).expand(len(states), -1)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """The sample, or ``n_nodes`` of its rows taken at random; see `Shocks.nodes`."""
        self._check_rule(rule, n_nodes)
        size = len(self.observations)
        if n_nodes is None or n_nodes == size:
            return Quadrature(self.observations, self.weights)
        if n_nodes > size:
            raise ValueError(f"n_nodes={n_nodes} is more than the {size} rows of the sample")
        possible = self.weights.nonzero()[:, 0]
        kept = random_numbers(random_state).permutation(len(possible))[:n_nodes]
        rows = possible[torch.from_numpy(kept)]
        return Quadrature(self.observations[rows], self.weights[rows] / self.weights[rows].sum())

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One row of the sample for each state: (n, d) to (n, k)."""
        rows = rng.choice(len(self.observations), len(states), p=self.weights.numpy())
        return like(self.observations[torch.from_numpy(rows)], states)

    def _parameters(self) -> dict[str, Any]:
        return {"sample": self.observations, "weights": self.weights}


class Product(Shocks):
    """Independent distributions side by side; given the state, where they depend on it.

    The rule is the tensor product of the rules of the components, except that normal, log-normal
    and AR1 ones are integrated together, so that monomial and Sobol rules serve all of them.
    A rule that is named goes to these if they have it, else to the others; what does not take it
    uses "auto". ``n_nodes`` goes to the components that take the rule and can choose.

    Parameters
    ----------
    *components : Shocks
        The distributions; their shocks are the columns of e in this order.

    Attributes
    ----------
    rules : tuple of str
        The rules that one of the components has.

    Raises
    ------
    TypeError
        If a component is not a `Shocks`.
    ValueError
        If there is none.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import AR1, MarkovChain, Product
    >>> job = MarkovChain([[0.9, 0.1], [0.5, 0.5]], [1.0, 0.0], state=2)
    >>> shocks = Product(AR1(0.95, 0.01, state=1), job)
    >>> shocks.state
    (1, 2)
    >>> shocks.nodes(n_nodes=7).nodes.shape
    torch.Size([14, 2])
    """

    components: tuple[Shocks, ...]

    def __init__(self, *components: Shocks) -> None:
        for component in components:
            if not isinstance(component, Shocks):
                raise TypeError(f"Product takes distributions of shocks, not {component!r}")
        if not components:
            raise ValueError("Product needs at least one distribution; take NoShocks for none")
        flat = tuple(part for component in components for part in component.parts())
        columns = tuple(column for part in flat for column in _as_tuple(part.state))
        self._store(
            components=flat,
            rules=tuple(dict.fromkeys(rule for part in flat for rule in part.rules)),
            n_shocks=sum(part.n_shocks for part in flat),
            state=columns if len(columns) > 1 else next(iter(columns), None),
        )

    @property
    def mean(self) -> Tensor:
        """Means of all components, (k,)."""
        return torch.cat([part.mean for part in self.components])

    def parts(self) -> tuple[Shocks, ...]:
        """The components, those of a component that is itself a product among them."""
        return self.components

    def expected(self, states: Tensor) -> Tensor:
        """Means of all components in each state: (n, d) to (n, k)."""
        return torch.cat([part.expected(states) for part in self.components], dim=1)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """Integration rule; see `Shocks.nodes`."""
        self._check_rule(rule, n_nodes)
        normal = [part for part in self.components if isinstance(part, Gaussian)]
        others = [part for part in self.components if not isinstance(part, Gaussian)]
        normal_take = bool(normal) and rule in Gaussian.rules
        if n_nodes is not None and rule == "auto" and not normal:
            self._check_choice(n_nodes)
        blocks = []
        if normal:
            chosen = (rule, n_nodes) if normal_take else ("auto", None)
            blocks.append(_gaussian_rule(normal, *chosen, random_state))
        for part in others:
            takes = rule == "auto" or (rule in part.rules and not normal_take)
            chooses = takes and (rule != "auto" or isinstance(part, Uniform))
            blocks.append(
                part.nodes(rule if takes else "auto", n_nodes if chooses else None, random_state)
            )
        return side_by_side(blocks, self._order())

    def _check_choice(self, n_nodes: int) -> None:
        """Raise if no component can have that number of nodes by rule="auto"."""
        if not any(isinstance(part, Uniform) for part in self.components):
            raise ValueError(
                f"n_nodes={n_nodes} has no meaning for the components of {self!r}; leave "
                f"n_nodes=None"
            )

    def _order(self) -> list[int]:
        """Where the columns of e are if those of the Gaussian components come first."""
        ends = np.cumsum([part.n_shocks for part in self.components])
        spans = list(zip(self.components, ends, strict=True))
        spans.sort(key=lambda span: not isinstance(span[0], Gaussian))
        placed = [column for part, end in spans for column in range(end - part.n_shocks, end)]
        return [int(place) for place in np.argsort(placed)]

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One draw of all components for each state: (n, d) to (n, k)."""
        return torch.cat([part.sample(states, rng) for part in self.components], dim=1)

    def _parameters(self) -> dict[str, Any]:
        return {"components": self.components}

    def __repr__(self) -> str:
        return f"Product({', '.join(map(repr, self.components))})"


def _gaussian_rule(
    parts: Sequence[Gaussian], rule: str, n_nodes: int | None, random_state: Any
) -> Quadrature:
    """One rule for all standard normal variables of some distributions."""
    parts[0]._check_rule(rule, n_nodes)
    counts = [part.n_normals for part in parts]
    normals, weights = normal_rule(rule, sum(counts), n_nodes, random_state)
    rules = [
        Quadrature(part.from_normals(own), weights, part.location)
        for part, own in zip(parts, normals.split(counts, dim=1), strict=True)
    ]
    return rules[0] if len(rules) == 1 else side_by_side(rules, paired=True)


def _tensor(name: str, value: ArrayLike | Tensor) -> Tensor:
    """A copy in float64 on the CPU, which the caller cannot change."""
    given = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    try:
        array = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r} must hold numbers") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name}={value!r} must be finite")
    return torch.from_numpy(array)


def _vector(name: str, value: ArrayLike | Tensor) -> Tensor:
    vector = _tensor(name, value)
    if vector.ndim > 1 or vector.numel() == 0:
        raise ValueError(
            f"{name} of shape {tuple(vector.shape)} must be a number or of shape (k,), one entry "
            f"for each shock"
        )
    return vector.reshape(-1)


def _matrix(name: str, value: ArrayLike | Tensor) -> Tensor:
    """Rows of values, a column for each shock."""
    matrix = _tensor(name, value)
    if matrix.ndim not in (1, 2) or matrix.numel() == 0:
        raise ValueError(
            f"{name} of shape {tuple(matrix.shape)} must have shape (rows,) or (rows, k), neither "
            f"of them zero"
        )
    return matrix[:, None] if matrix.ndim == 1 else matrix


def _alike(vectors: dict[str, Tensor]) -> list[Tensor]:
    """Vectors of one length, to which those of one entry are repeated."""
    length = max(len(vector) for vector in vectors.values())
    if any(len(vector) not in (1, length) for vector in vectors.values()):
        shapes = ", ".join(f"{name} has {len(vector)}" for name, vector in vectors.items())
        raise ValueError(f"the numbers of entries differ: {shapes}; give one for each shock, or 1")
    return [vector.expand(length).clone() for vector in vectors.values()]


def _moments(
    mean: ArrayLike | Tensor, cov: ArrayLike | Tensor | None, scale: ArrayLike | Tensor | None
) -> tuple[Tensor, Tensor]:
    """Mean (k,) and covariance (k, k) from what a user may give."""
    location = _vector("mean", mean)
    if scale is not None:
        if cov is not None:
            raise ValueError(f"scale={scale!r} and cov={cov!r} say the same; give one of them")
        deviations = _vector("scale", scale)
        if (deviations < 0).any():
            raise ValueError(f"scale={scale!r} must not be negative: it is a standard deviation")
        location, deviations = _alike({"mean": location, "scale": deviations})
        return location, torch.diag(deviations**2)
    covariance = _tensor("cov", 1.0 if cov is None else cov)
    if covariance.ndim < 2:
        location, variances = _alike({"mean": location, "cov": _vector("cov", covariance)})
        return location, torch.diag(variances)
    size = covariance.shape[-1]
    if covariance.shape != (size, size) or len(location) not in (1, size) or size == 0:
        raise ValueError(
            f"cov of shape {tuple(covariance.shape)} does not fit mean of shape "
            f"{tuple(location.shape)}; with k shocks they are (k, k) and (k,)"
        )
    return location.expand(size).clone(), covariance


def _square_root(cov: Tensor) -> Tensor:
    """A matrix (k, r) with root root' = cov, r its rank; raises where there is none."""
    skew = (cov - cov.T).abs()
    if skew.max() > SYMMETRY_TOL * cov.abs().max():
        i, j = divmod(int(skew.argmax()), len(cov))
        raise ValueError(
            f"cov is not symmetric: entry ({i}, {j}) is {float(cov[i, j])}, but entry ({j}, {i}) "
            f"is {float(cov[j, i])}, and its symmetric part has the smallest eigenvalue "
            f"{_smallest_eigenvalue(cov):.6g}; give a symmetric positive semi-definite matrix"
        )
    deviations = cov.diagonal().clamp(min=0).sqrt()
    # Correlations, because shocks of 1 and of 1e-9 are both wanted.
    unit = torch.where(deviations > 0, deviations, torch.ones_like(deviations))
    correlation = (cov + cov.T) / 2 / unit[:, None] / unit
    values, vectors = torch.linalg.eigh(correlation)
    tol = RANK_TOL * len(cov)
    if values[0] < -tol or (cov.diagonal() < 0).any():
        raise ValueError(
            f"cov={_short(cov)} is not positive semi-definite: its smallest eigenvalue is "
            f"{_smallest_eigenvalue(cov):.6g}; check its variances and correlations"
        )
    if values[0] > tol:
        return unit[:, None] * torch.linalg.cholesky(correlation)
    kept = values > tol
    root = unit[:, None] * vectors[:, kept] * values[kept].sqrt()
    root[deviations == 0] = 0.0
    return root


def _smallest_eigenvalue(cov: Tensor) -> float:
    return float(torch.linalg.eigvalsh((cov + cov.T) / 2)[0])


def _probabilities(weights: ArrayLike | Tensor, size: int) -> Tensor:
    shares = _vector("weights", weights)
    if len(shares) != size:
        raise ValueError(f"weights has {len(shares)} entries for {size} rows of the sample")
    if (shares < 0).any() or not shares.any():
        raise ValueError(f"weights={_short(shares)} must not be negative, nor all zero")
    return shares / shares.sum()


def _stochastic(transition: ArrayLike | Tensor, size: int) -> Tensor:
    """A matrix of transition probabilities whose rows sum to one."""
    matrix = _tensor("transition", transition)
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


def _as_tuple(state: Columns) -> tuple[int, ...]:
    if state is None:
        return ()
    return state if isinstance(state, tuple) else (state,)


def _same(mine: object, other: object) -> bool:
    if isinstance(mine, Tensor) and isinstance(other, Tensor):
        return torch.equal(mine, other)
    return bool(mine == other)


def _hashable(value: object) -> object:
    if isinstance(value, Tensor):
        return (tuple(value.shape), tuple(value.flatten().tolist()))
    return value


def _short(value: object) -> str:
    """A value on one line, with the middle of a long tensor left out."""
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() == 1:
        return repr(float(value))
    shown = np.array2string(
        value.detach().cpu().numpy(),
        threshold=20,
        edgeitems=2,
        separator=", ",
        formatter={"float_kind": "{:.6g}".format},
    )
    return " ".join(shown.split())
