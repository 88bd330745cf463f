"""Functions that networks compute, their starts, and their fits."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...exceptions import DivergenceError
from ...randomness import random_numbers
from ..networks.initialize import initialize
from ..networks.mlp import MLP
from .chain import ChainPoints, chain_of
from .function import (
    ParametricFunction,
    Points,
    check_count,
    check_points,
    check_targets,
    root_weight,
)
from .traced import TracedPoints

__all__ = ["NetworkFunction"]

#: Damping, relative to the mean of the diagonal that it is added to, at which no step helps.
MAX_DAMPING = 1e12

#: The smallest number to divide by.
TINY = float(np.finfo(np.float64).tiny)


class NetworkFunction(ParametricFunction):
    r"""The function :math:`f(x; \theta)` that a network computes, in float64.

    θ holds the parameters of the module in its own order, each flattened. Networks that are chains
    of affine maps and elementwise activations are differentiated by written-out formulas, others
    by autograd, provided that each row of the output depends on the same row of the input alone.

    Parameters
    ----------
    module : nn.Module
        The network, from (n, d) to (n, m). A copy is used, in evaluation mode.
    n_inputs : int
        Number d of inputs.
    n_outputs : int, default=1
        Number m of outputs.
    domain : array-like of shape (d, 2), default=None
        A box, which is mapped to [-1, 1] in each input before the network sees it; None to leave
        inputs as they are.

    Raises
    ------
    ValueError
        If the module has no parameters or gives another shape, or the domain is not a box.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.representations.parametric import NetworkFunction
    >>> f = NetworkFunction(torch.nn.Linear(1, 1), 1, domain=[(0.0, 4.0)])
    >>> theta = torch.tensor([3.0, 1.0], dtype=torch.float64)
    >>> points = f.at(torch.tensor([[4.0]], dtype=torch.float64))
    >>> points.value(theta), points.jacobian(theta)
    (tensor([[4.]], dtype=torch.float64), tensor([[[1.5000]]], dtype=torch.float64))
    """

    linear = False

    def __init__(
        self,
        module: nn.Module,
        n_inputs: int,
        n_outputs: int = 1,
        *,
        domain: Sequence[Sequence[float]] | np.ndarray | None = None,
    ) -> None:
        check_count("n_inputs", n_inputs)
        check_count("n_outputs", n_outputs)
        self.module = _evaluation_copy(module)
        self.n_inputs, self.n_outputs = n_inputs, n_outputs
        self._shapes = {name: p.shape for name, p in self.module.named_parameters()}
        self.n_parameters = sum(shape.numel() for shape in self._shapes.values())
        self.domain = None if domain is None else _box(domain, n_inputs)
        self._check_module()
        self.stages = chain_of(self.module)

    def _check_module(self) -> None:
        if self.n_parameters == 0:
            raise ValueError(f"module={type(self.module).__name__} must have parameters")
        shape = tuple(self.module(torch.zeros(2, self.n_inputs, dtype=torch.float64)).shape)
        if shape != (2, self.n_outputs):
            raise ValueError(
                f"module={type(self.module).__name__} turns 2 rows of {self.n_inputs} inputs into "
                f"shape {shape} instead of (2, {self.n_outputs}): change the module or n_outputs"
            )

    def at(self, x: Tensor) -> Points:
        """Bind to points of shape (n, d).

        Raises
        ------
        ValueError
            If x has another shape.
        """
        check_points(x, self.n_inputs)
        return (TracedPoints if self.stages is None else ChainPoints)(self, x)

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None = None,
        *,
        start: Tensor | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_starts: int = 3,
        max_iter: int = 200,
        tol: float = 1e-10,
    ) -> Tensor:
        """Least squares by the method of Levenberg and Marquardt; the best of a few starts.

        What it finds is a local minimum.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            Points.
        y : Tensor of shape (n, m)
            Values.
        weight : Tensor of shape (n,), default=None
            Nonnegative weights of the squared errors; None for 1.
        start : Tensor of shape (n_parameters,), default=None
            The only start; None for ``n_starts`` random ones.
        random_state : int, RandomState or None, default=None
            Seed of the starts.
        n_starts : int, default=3
            Number of starts.
        max_iter : int, default=200
            Most iterations from each.
        tol : float, default=1e-10
            Stop when the root mean squared error is this small relative to y, or an iteration
            lowers its square by a smaller share than this.

        Returns
        -------
        Tensor of shape (n_parameters,)

        Raises
        ------
        ValueError
            If shapes do not fit or a weight is negative.
        DivergenceError
            If the error is not finite at any start.

        References
        ----------
        J. Nocedal and S. Wright, *Numerical Optimization*, section 10.3.
        """
        check_points(x, self.n_inputs)
        check_targets(x, y, self.n_outputs)
        check_count("n_starts", n_starts)
        rng, root, points = random_numbers(random_state), root_weight(x, weight), self.at(x)
        starts = [start] if start is not None else [self.initial(rng, i) for i in range(n_starts)]
        found = [_levenberg_marquardt(points, y, root, s, max_iter, tol) for s in starts]
        error, theta = min(found, key=lambda pair: pair[0])
        if not np.isfinite(error):
            raise DivergenceError(
                "the error of the network is not finite at any start: check that x and y are "
                "finite, and give domain= so that inputs are of order one"
            )
        return theta

    def initial(self, rng: np.random.RandomState, restart: int = 0) -> Tensor:
        """Parameters to start from, shape (n_parameters,).

        An `MLP` gets random weights. Any other module starts from the weights it came with, and
        each restart draws new ones by the ``reset_parameters`` of its parts.

        Raises
        ------
        ValueError
            If a restart is asked of a module that cannot draw weights.
        """
        if isinstance(self.module, MLP):
            drawn = initialize(self.module.architecture, "auto", rng)
            return torch.cat([torch.from_numpy(drawn[name]).reshape(-1) for name in self._shapes])
        module = self.module if restart == 0 else _redrawn(self.module, rng)
        return torch.cat([p.detach().reshape(-1) for p in module.parameters()])

    def unit(self, x: Tensor) -> Tensor:
        """Points as the network sees them."""
        if self.domain is None:
            return x
        low, high = self.domain.to(x.device).T
        return (2 * x - (low + high)) / (high - low)

    def slopes(self, x: Tensor) -> Tensor:
        """Derivative of what the network sees by each input, shape (d,)."""
        if self.domain is None:
            return x.new_ones(self.n_inputs)
        low, high = self.domain.to(x.device).T
        return 2 / (high - low)

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Parameters by name."""
        parts = theta.split([shape.numel() for shape in self._shapes.values()])
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def split_parameters(self, rows: Tensor) -> dict[str, Tensor]:
        """Columns of (P, E, n_parameters) by the name of their parameter."""
        sizes = [shape.numel() for shape in self._shapes.values()]
        return dict(zip(self._shapes, rows.split(sizes, 2), strict=True))

    def apply(self, theta: Tensor, x: Tensor) -> Tensor:
        """Evaluate at points as the network sees them."""
        output: Tensor = torch.func.functional_call(self.module, self.named(theta), (x,))
        return output


def _evaluation_copy(module: nn.Module) -> nn.Module:
    """A module that computes the same in float64, for evaluation, without overwriting its input."""
    own = copy.deepcopy(module).double().eval().requires_grad_(False)
    for part in own.modules():
        if getattr(part, "inplace", False) is True:
            setattr(part, "inplace", False)  # noqa: B010 (the type of a module has no such field)
    return own


def _box(domain: Sequence[Sequence[float]] | np.ndarray, n_inputs: int) -> Tensor:
    """The ends of each input, shape (d, 2)."""
    box = np.array(domain, dtype=np.float64)
    if box.shape != (n_inputs, 2) or not np.isfinite(box).all() or (box[:, 0] >= box[:, 1]).any():
        raise ValueError(
            f"domain={domain!r} must hold two finite numbers for each of {n_inputs} inputs, the "
            "lower first"
        )
    return torch.from_numpy(box)


def _redrawn(module: nn.Module, rng: np.random.RandomState) -> nn.Module:
    """A copy of a module with fresh random weights."""
    fresh = copy.deepcopy(module)
    seed = int(rng.randint(np.iinfo(np.int32).max))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in fresh.named_modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
            elif next(part.parameters(recurse=False), None) is not None:
                raise ValueError(
                    f"module part {name or type(part).__name__!r} has parameters but no "
                    "reset_parameters method, so it has no other start than the weights that it "
                    "came with: use one start, or add the method"
                )
    return fresh


def _levenberg_marquardt(
    points: Points, y: Tensor, root: Tensor | None, theta: Tensor, max_iter: int, tol: float
) -> tuple[float, Tensor]:
    """The sum of squared errors at a local minimum, and where it is.

    The damping follows the ratio of actual to predicted decrease: H. B. Nielsen, *Damping
    Parameter in Marquardt's Method*, section 2.
    """
    scale = 1.0 if root is None else root

    def errors(theta: Tensor) -> Tensor:
        return ((points.value(theta) - y) * scale).reshape(-1)

    n, m = y.shape
    units = (torch.eye(m).to(y) * (y.new_ones(n, 1, 1) if root is None else root[:, None]))[:, None]
    theta = theta.detach()
    residual = errors(theta)
    loss, damping, growth = float(residual @ residual), 1e-2, 2.0
    floor = tol**2 * float((y * scale).square().sum())
    rows: Tensor | None = None
    for _ in range(max_iter):
        if not np.isfinite(loss) or loss <= floor or damping > MAX_DAMPING:
            break
        if rows is None:
            rows = points.pullback(theta, units).flatten(0, 1)
            gradient, size = rows.T @ residual, float(rows.square().sum(0).mean())
        step = _damped_step(rows, residual, gradient, damping * size)
        after = errors(theta - step)
        lower = float(after @ after)
        if not lower < loss:
            damping, growth = damping * growth, 2 * growth
            continue
        predicted = max(float(step @ (damping * size * step + gradient)), TINY)
        gain, share = (loss - lower) / predicted, (loss - lower) / loss
        damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
        theta, residual, loss, rows = theta - step, after, lower, None
        if share <= tol:
            break
    return (loss if np.isfinite(loss) else np.inf), theta


def _damped_step(rows: Tensor, residual: Tensor, gradient: Tensor, damping: float) -> Tensor:
    """Minimiser s of ‖J s - r‖² + damping ‖s‖², from the smaller of the two Gram matrices."""
    wide = rows.shape[0] < rows.shape[1]
    gram = rows @ rows.T if wide else rows.T @ rows
    gram.diagonal().add_(damping)
    right = residual if wide else gradient
    # An indefinite factor, by rounding, gives a step that is refused, and the damping then grows.
    factor, _ = torch.linalg.cholesky_ex(gram)
    solved = torch.cholesky_solve(right[:, None], factor)[:, 0]
    return rows.T @ solved if wide else solved
