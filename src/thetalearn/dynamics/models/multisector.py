"""Growth with many sectors that use each other's output."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ...randomness import random_numbers
from ..model import DynamicModel, Solution
from ..shocks import LogNormal, Shocks
from .utility import discount

__all__ = ["make_multisector"]

#: Sum of each column of the default technology: the share of inputs in the value of output.
INPUT_SHARE = 0.6

Point = tuple[list[float], list[float]]


def make_multisector(
    *,
    n_sectors: int = 2,
    weights: ArrayLike | None = None,
    technology: ArrayLike | None = None,
    beta: float = 0.95,
    sigma: float = 0.05,
    width: float = 0.5,
    random_state: int | np.random.RandomState | None = 0,
) -> DynamicModel:
    r"""Growth with N sectors, which has a closed form in any dimension.

    Of each good i, :math:`X_{ij}` goes into sector j and the rest is consumed:

    .. math::
        V(Y) = \max_X\; \sum_i \theta_i \ln C_i + \beta E V(Y'), \qquad
        C_i = Y_i - \sum_j X_{ij}, \qquad
        Y_j' = \lambda_j' \prod_i X_{ij}^{A_{ij}}, \quad \ln\lambda_j' \sim N(0, \sigma^2).

    With :math:`\gamma = (I - \beta A)^{-1}\theta` the solution is

    .. math::
        C_i = \frac{\theta_i}{\gamma_i} Y_i, \qquad
        X_{ij} = \beta A_{ij} \frac{\gamma_j}{\gamma_i} Y_i, \qquad V = \gamma'\ln Y + K,

    :math:`(1-\beta)K = \sum_i \theta_i\ln\frac{\theta_i}{\gamma_i} + \beta\sum_{ij}\gamma_j A_{ij}
    \ln\big(\beta A_{ij}\gamma_j/\gamma_i\big)`.

    The N² actions divide each good in turn, which turns its simplex into a cube: the first is the
    share of good i that is not consumed, the second the share of that which goes to sector 0, the
    third the share of what then is left which goes to sector 1, and so on; the last sector takes
    the rest.

    Parameters
    ----------
    n_sectors : int, default=2
        Number N of sectors where no matrix tells it.
    weights : array-like of shape (N,), default=None
        Weights θ of the goods in utility, positive. None: random ones that sum to one.
    technology : array-like of shape (N, N), default=None
        Elasticities A of the outputs (columns) to the inputs (rows), positive, with column sums
        below one. None: random ones with column sums of 0.6.
    beta : float, default=0.95
        Discount factor β, in (0, 1).
    sigma : float, default=0.05
        Standard deviation σ of log productivity in each sector.
    width : float, default=0.5
        The logarithm of each output is bounded by this much above and below its steady state.
    random_state : int, RandomState or None, default=0
        Draws what is not given.

    Returns
    -------
    DynamicModel
        States Y0, ..., actions "share0_0", ... in logits, constant at the solution; in the
        logarithms of Y the value is linear.

    Raises
    ------
    ValueError
        If the weights or the technology are not as required.

    References
    ----------
    J. Long and C. Plosser, *Real Business Cycles*, section 3.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.dynamics.models import make_multisector
    >>> model = make_multisector(weights=[1.0], technology=[[0.36]])
    >>> model.exact("policy")(torch.tensor([[2.0]], dtype=torch.float64))
    tensor([[0.3420]], dtype=torch.float64)
    >>> make_multisector(n_sectors=10).n_actions
    100
    """
    theta, inputs = _primitives(n_sectors, weights, technology, random_state)
    n = len(theta)
    return DynamicModel(
        reward=_utility_of_goods,
        transition=_next_outputs,
        discount=discount,
        shocks=_productivities,
        state_bounds=_output_bounds,
        action_bounds=[(0.0, 1.0)] * n**2,
        state_names=[f"Y{i}" for i in range(n)],
        action_names=[f"share{i}_{j}" for i in range(n) for j in range(n)],
        state_transform="log",
        action_transform="logit",
        steady_state=_steady_state,
        solution=Solution(_policy, _value),
        params={
            "theta": theta,
            "technology": inputs,
            "beta": beta,
            "sigma": sigma,
            "width": width,
        },
        name="multi-sector growth",
    )


def _primitives(
    n_sectors: int, weights: ArrayLike | None, technology: ArrayLike | None, random_state: object
) -> tuple[Tensor, Tensor]:
    """Weights (N,) and technology (N, N)."""
    rng = random_numbers(random_state)
    given = [len(np.asarray(each)) for each in (weights, technology) if each is not None]
    n = given[0] if given else n_sectors
    if n != int(n) or n < 1:
        raise ValueError(f"n_sectors={n_sectors!r} must be a whole number of at least 1")
    theta, inputs = rng.uniform(0.5, 1.5, n), rng.uniform(0.5, 1.5, (n, n))
    theta /= theta.sum()
    inputs *= INPUT_SHARE / inputs.sum(0)
    if weights is not None:
        theta = np.array(weights, dtype=np.float64)
    if technology is not None:
        inputs = np.array(technology, dtype=np.float64)
    if theta.shape != (n,) or not (theta > 0).all():
        raise ValueError(f"weights={weights!r} must be {n} positive numbers, one for each good")
    if inputs.shape != (n, n) or not (inputs > 0).all() or inputs.sum(0).max() >= 1:
        raise ValueError(
            f"technology of shape {inputs.shape} must be ({n}, {n}) and positive with column sums "
            f"below 1, but its smallest entry is {inputs.min():.6g} and its largest column sum "
            f"{inputs.sum(0).max():.6g}"
        )
    return torch.from_numpy(theta), torch.from_numpy(inputs)


def _productivities(theta: Tensor, sigma: float) -> Shocks:
    return LogNormal(scale=np.full(len(theta), sigma))


def _divided(a: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Shares of each good that are consumed (rows, N), and that go to each sector (rows, N, N)."""
    cuts = a.reshape(-1, n, n)
    saved, first = cuts[:, :, :1], cuts[:, :, 1:]
    left = torch.cat([torch.ones_like(saved), (1 - first).cumprod(2)], 2)
    taken = torch.cat([first, torch.ones_like(saved)], 2)
    return 1 - saved[:, :, 0], saved * left * taken


def _cuts(uses: Tensor) -> Tensor:
    """The actions (N²,) that divide goods into given shares (N, N)."""
    left = uses.flip(1).cumsum(1).flip(1)
    return torch.cat([left[:, :1], uses[:, :-1] / left[:, :-1]], 1).reshape(-1)


def _utility_of_goods(s: Tensor, a: Tensor, theta: Tensor) -> Tensor:
    consumed, _ = _divided(a, s.shape[1])
    return (s * consumed).log() @ theta.to(s)


def _next_outputs(s: Tensor, a: Tensor, e: Tensor, technology: Tensor) -> Tensor:
    _, used = _divided(a, s.shape[1])
    inputs = (used * s[:, :, None]).log()
    return e * (inputs * technology.to(s)).sum(1).exp()


def _marginal_worth(theta: Tensor, technology: Tensor, beta: float) -> Tensor:
    """The derivatives γ (N,) of the value in log outputs."""
    return torch.linalg.solve(torch.eye(len(theta)).to(theta) - beta * technology, theta)


def _uses(theta: Tensor, technology: Tensor, beta: float) -> Tensor:
    """Best shares (N, N) of each good for each sector."""
    gamma = _marginal_worth(theta, technology, beta)
    return beta * technology * gamma / gamma[:, None]


def _policy(s: Tensor, theta: Tensor, technology: Tensor, beta: float) -> Tensor:
    return _cuts(_uses(theta, technology, beta)).to(s).expand(len(s), -1)


def _value(s: Tensor, theta: Tensor, technology: Tensor, beta: float) -> Tensor:
    gamma, uses = _marginal_worth(theta, technology, beta), _uses(theta, technology, beta)
    constant = (theta * (theta / gamma).log()).sum()
    constant = constant + beta * (gamma * technology * uses.log()).sum()
    return s.log() @ gamma.to(s) + float(constant) / (1 - beta)


def _steady_outputs(theta: Tensor, technology: Tensor, beta: float) -> Tensor:
    """Logarithms of the outputs that repeat themselves at productivities of one."""
    levels = (technology * _uses(theta, technology, beta).log()).sum(0)
    return torch.linalg.solve(torch.eye(len(theta)).to(theta) - technology.T, levels)


def _output_bounds(
    theta: Tensor, technology: Tensor, beta: float, width: float
) -> list[tuple[float, float]]:
    middle = _steady_outputs(theta, technology, beta)
    ends = torch.stack([middle - width, middle + width], 1).exp()
    return [(low, high) for low, high in ends.tolist()]


def _steady_state(theta: Tensor, technology: Tensor, beta: float) -> Point:
    outputs = _steady_outputs(theta, technology, beta).exp()
    return outputs.tolist(), _cuts(_uses(theta, technology, beta)).tolist()
