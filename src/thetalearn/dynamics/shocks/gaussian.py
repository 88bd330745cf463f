"""Normal and log-normal shocks, and all that are functions of standard normal variables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..quadrature import Quadrature, like, normal_rule, side_by_side
from .arguments import as_tensor, as_vector, of_one_length, short
from .base import Single

__all__ = ["Gaussian", "LogNormal", "Normal", "gaussian_rule"]

#: Eigenvalues of a correlation matrix below this, for each shock, are rounding.
RANK_TOL = 1e-12

#: Entries of a covariance may differ from those across its diagonal by this share of the largest.
SYMMETRY_TOL = 1e-10


class Gaussian(Single):
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
        return gaussian_rule([self], rule, n_nodes, random_state)

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
                    f"mean={short(log.mean)} contradicts unit_mean=True, which sets the mean of "
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


def gaussian_rule(
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


def _moments(
    mean: ArrayLike | Tensor, cov: ArrayLike | Tensor | None, scale: ArrayLike | Tensor | None
) -> tuple[Tensor, Tensor]:
    """Mean (k,) and covariance (k, k) from what a user may give."""
    location = as_vector("mean", mean)
    if scale is not None:
        if cov is not None:
            raise ValueError(f"scale={scale!r} and cov={cov!r} say the same; give one of them")
        deviations = as_vector("scale", scale)
        if (deviations < 0).any():
            raise ValueError(f"scale={scale!r} must not be negative: it is a standard deviation")
        location, deviations = of_one_length({"mean": location, "scale": deviations})
        return location, torch.diag(deviations**2)
    covariance = as_tensor("cov", 1.0 if cov is None else cov)
    if covariance.ndim < 2:
        location, variances = of_one_length({"mean": location, "cov": as_vector("cov", covariance)})
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
            f"cov={short(cov)} is not positive semi-definite: its smallest eigenvalue is "
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
