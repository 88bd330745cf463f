r"""Minibatch training on functional equations, with fresh states in every epoch.

The loss is the mean over states of squared residuals, summed over the equations. A residual R is an
expectation over shocks. Where it is affine in what is averaged, two independent draws of the shocks
give an unbiased estimate of its square, and so does the gradient (the all-in-one operator):

.. math::
    E_{e_1, e_2}\big[r(s, e_1)\, r(s, e_2)\big] = \big(E_e\, r(s, e)\big)^2 = R(s)^2.

The cost of a step is then that of two shocks, however many there are. Otherwise the expectation is
a sum over the nodes of a quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..objectives.projection import Equation, StateRows
from ..solvers.gradient.batches import Batch
from ..solvers.gradient.optimizers import Adam
from ..solvers.gradient.schedules import Cosine
from ..solvers.gradient.step import Program, Step
from ..solvers.gradient.traced import trace_step
from ..solvers.gradient.train import train
from ..solvers.gradient.trainer import Replica, Settings, Trained, Trainer
from ..solvers.newton import INTERRUPTED, Report
from ..solvers.root import MET, STOPPED, Root
from .approximation import even_states
from .equations import EvaluationEquation
from .run import TARGET
from .setup import Setup

__all__ = ["is_affine", "train_by_sampling"]

#: An equation, or what gives it from states (n, d) and coefficients.
EquationAt = Equation | Callable[[Tensor, Tensor], Equation]

#: From states (n, d) and coefficients to actions (n, m).
PolicyAt = Callable[[Tensor, Tensor], Tensor]

#: Share of the epochs whose states are even in the box, before those of paths.
EVEN_EPOCHS = 0.2

#: Share of the paths that begin anew in every epoch, so that states off the paths count too.
RESTARTED = 0.1

#: Periods between the states of two epochs.
PERIODS = 5

#: States at which it is tried whether residuals are affine in what is averaged.
TRIALS = 32

#: Distance from an affine function, relative to what the shocks change, that is rounding.
ROUNDING = 1e-6

EXPECTATIONS = ("aio", "quadrature")


def train_by_sampling(
    setup: Setup,
    equation: EquationAt,
    theta: Tensor,
    *,
    expectation: str,
    n_epochs: int,
    rng: np.random.RandomState,
    report: Report,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    n_states: int = 1024,
    policy: PolicyAt | None = None,
    tol: float = TARGET,
) -> Root:
    r"""Minimise the mean of squared residuals over states that are drawn anew in every epoch.

    The states fill the box evenly at first. Then they are those of paths that follow the current
    policy, moved to the nearest point of the box where they leave it, a tenth of which begin anew
    in every epoch. The steps are Adam's, whose memory and whose rate, half a cosine from
    ``learning_rate`` to zero, go on from epoch to epoch.

    Parameters
    ----------
    setup : Setup
        Model, function and rule for the shocks.
    equation : Equation or callable
        The equation; or a function ``(states, theta)`` that gives the equation for the states
        (n, d) of an epoch, such as the Bellman equation with the actions that are best for the
        coefficients with which the epoch begins. By the envelope theorem such actions count as
        given where residuals are differentiated. The equations of two epochs may differ in nothing
        else.
    theta : Tensor of shape (n_parameters,)
        Where to start; its residuals must be finite.
    expectation : {"aio", "quadrature"}
        Whether two draws of the shocks stand for the expectation, which asks for residuals that are
        affine in it (see `is_affine`), or the nodes of the setup's rule.
    n_epochs : int
        Number of epochs, at least 1.
    rng : numpy.random.RandomState
        Draws states, shocks and minibatches.
    report : callable
        Told of every epoch: ``loss`` (mean over its minibatches, which may be negative by chance
        with "aio") and ``learning_rate``. Returning True stops the training.
    batch_size : int, default=64
        States of a minibatch, at least 1.
    learning_rate : float, default=1e-3
        Rate of Adam at the start, positive.
    n_states : int, default=1024
        States of an epoch, at least 1.
    policy : callable, default=None
        ``policy(states, theta)`` gives the actions (n, m) of the paths. None: all states are even
        in the box.
    tol : float, default=1e-4
        Root mean square of the residuals at the setup's states up to which the training counts as
        converged. The training does not end by it.

    Returns
    -------
    Root
        The last coefficients; if the loss ran off to infinity, the last finite ones. The residuals
        are those of the setup's states, with the nodes of its rule.

    Raises
    ------
    ValueError
        If ``expectation`` is unknown, or "aio" where residuals are not affine in the expectation,
        or a count or the rate is not positive.

    References
    ----------
    L. Maliar, S. Maliar and P. Winant, *Deep Learning for Solving Dynamic Economic Models*, section
    on the all-in-one expectation operator. M. Azinovic, L. Gaegauf and S. Scheidegger, *Deep
    Equilibrium Nets* (states from simulated paths).

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.dynamics.approximation import Representation
    >>> from thetalearn.dynamics.equations import EulerEquation
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> rng, model = np.random.RandomState(0), make_brock_mirman()
    >>> network = Representation("mlp", None, None, None, None, (4,), "tanh")
    >>> setup = Setup.build(model, network, 1, model.distribution.nodes(), rng=rng)
    >>> equation = EulerEquation(model, setup.to_inputs)
    >>> start = setup.fit(equation.unknowns(setup.states, model.inside_actions(setup.states)))
    >>> root = train_by_sampling(
    ...     setup, equation, start, expectation="quadrature", n_epochs=3, rng=rng,
    ...     report=lambda record, theta: False,
    ... )
    >>> root.n_iter, root.reason
    (3, 'n_epochs=3 trained')
    """
    _check(expectation, learning_rate, n_epochs=n_epochs, batch_size=batch_size, n_states=n_states)
    theta = theta.detach()
    sampled = _SampledEquation(setup, equation, expectation)
    states = _States(setup, policy, n_states, n_epochs, rng)
    if expectation == "aio" and not _affine(setup, sampled.at(states.even(TRIALS), theta), theta):
        raise ValueError(
            'expectation="aio" takes two draws of the shocks for an expectation, which needs '
            'residuals that are affine in it: choose expectation="quadrature", or coordinates of '
            'actions that bounds cannot limit, such as action_transform="logit"'
        )
    rows = sampled.rows(states.next(theta), theta, rng)
    step = trace_step(
        [_Residuals(theta, sampled)],
        _Products() if expectation == "aio" else _Squares(),
        1,
        example=rows,
        dtype=torch.float64,
        device=rows.device,
    )
    settings = Settings(
        Adam(), Cosine(), batch_size=min(batch_size, n_states), n_iter_no_change=np.inf
    )
    replica = Replica(np.arange(n_states), rng, learning_rate=learning_rate, max_epochs=n_epochs)
    watch = _Epochs(rows, lambda theta: sampled.rows(states.next(theta), theta, rng), report)
    (trained,) = train(step, rows, rows.new_zeros(n_states, 1), [replica], settings, watch=watch)
    return _root(setup, sampled, trained, tol)


def is_affine(setup: Setup, equation: Equation, theta: Tensor) -> bool:
    """Whether residuals are affine in what is averaged over the shocks, as "aio" needs them.

    It is tried at the first states of the setup, with two draws of the shocks and their mean.
    Complementarity conditions and transformed values are not affine.

    Parameters
    ----------
    setup : Setup
        Model, function and states.
    equation : Equation
        The equation at the states of the setup.
    theta : Tensor of shape (n_parameters,)
        Coefficients.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn.dynamics.approximation import Representation
    >>> from thetalearn.dynamics.equations import EvaluationEquation
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> rng, model = np.random.RandomState(0), make_brock_mirman()
    >>> cubic = Representation("complete", 3, None, None, None, (), "tanh")
    >>> setup = Setup.build(model, cubic, 1, model.distribution.nodes(), rng=rng)
    >>> value = EvaluationEquation(model, setup.to_inputs, model.inside_actions(setup.states))
    >>> is_affine(setup, value, setup.function.initial(rng))
    True
    """
    states = setup.states[:TRIALS]
    return _affine(setup, (states, equation.select(slice(0, len(states)))), theta)


def _affine(setup: Setup, at: tuple[Tensor, Equation], theta: Tensor) -> bool:
    states, equation = at
    rng = np.random.RandomState(0)
    nodes = torch.stack([setup.model.distribution.sample(states, rng) for _ in range(2)], 1)
    rows = StateRows(states, nodes, nodes.new_full((2,), 0.5))
    y, integrand = _integrand(equation, setup.function, theta, rows)
    first, second = integrand.unflatten(0, (len(states), 2)).detach().unbind(1)
    ends = [equation.combine(states, y, mean).detach() for mean in (first, second)]
    middle = equation.combine(states, y, (first + second) / 2).detach()
    finite = torch.stack([*ends, middle]).isfinite().all(0)
    gap = (middle - (ends[0] + ends[1]) / 2).abs()[finite]
    size = (ends[0] - ends[1]).abs()[finite].sum() + ROUNDING * middle.abs()[finite].sum()
    return bool(gap.sum() <= ROUNDING * size)


def _integrand(
    equation: Equation, function: Any, theta: Tensor, rows: StateRows
) -> tuple[Tensor, Tensor]:
    """Values at the states (P, m), and what is averaged (P Q, columns), with their graph."""
    s, e = rows.repeated(rows.states), rows.shocks()
    y = _values(function, equation.coordinates(rows.states), theta)
    each = rows.repeated(y)
    after = equation.next_states(s, each, e)
    y_next = _values(function, equation.coordinates(after), theta)
    return y, equation.integrand(s, each, after, y_next, e)


def _values(function: Any, x: Tensor, theta: Tensor) -> Tensor:
    """Values (n, m) that autograd can differentiate once in theta and in x."""
    if not function.linear:
        value: Tensor = function.at(x).value(theta)
        return value
    # Basis functions are not differentiated by autograd, but known to first order.
    there = function.at(x.detach())
    value = there.value(theta)
    if not x.requires_grad:
        return value
    slope = there.jacobian(theta.detach())
    return value + (slope * (x - x.detach())[:, None]).sum(-1)


class _SampledEquation:
    """Residuals of single states, from rows that hold all that belongs to a state."""

    def __init__(self, setup: Setup, equation: EquationAt, expectation: str) -> None:
        self.setup, self._given = setup, equation
        self.n_draws = 2 if expectation == "aio" else 0
        self._equation: Equation
        self._widths: list[int]

    def at(self, states: Tensor, theta: Tensor) -> tuple[Tensor, Equation]:
        """States with their equation."""
        given = self._given
        return states, given if isinstance(given, Equation) else given(states, theta)

    def rows(self, states: Tensor, theta: Tensor, rng: np.random.RandomState) -> Tensor:
        """A state, its draws of the shocks, and its action if it is given, side by side."""
        _, self._equation = self.at(states, theta)
        parts = [states]
        parts += [
            self.setup.model.distribution.sample(states, rng).to(states)
            for _ in range(self.n_draws)
        ]
        if isinstance(self._equation, EvaluationEquation):
            parts.append(self._equation.actions)
        self._widths = [part.shape[1] for part in parts]
        return torch.cat(parts, 1)

    def residuals(self, theta: Tensor, rows: Tensor) -> Tensor:
        """Residuals (n, E), or those of both draws (n, 2 E)."""
        states, *parts = rows.split(self._widths, 1)
        equation = self._equation
        if isinstance(equation, EvaluationEquation):
            equation = replace(equation, actions=parts.pop())
        if not parts:
            nodes = self.setup.rows_at(states)
            y, integrand = _integrand(equation, self.setup.function, theta, nodes)
            return equation.combine(states, y, nodes.mean(integrand))
        draws = StateRows(states, torch.stack(parts, 1), states.new_full((len(parts),), 0.5))
        y, integrand = _integrand(equation, self.setup.function, theta, draws)
        means = integrand.unflatten(0, (len(states), len(parts))).unbind(1)
        return torch.cat([equation.combine(states, y, mean) for mean in means], 1)

    def at_setup(self, theta: Tensor) -> Tensor:
        """Residuals at the setup's states, flat."""

        def equation(theta: Tensor) -> Equation:
            return self.at(self.setup.states, theta)[1]

        return self.setup.projection(equation).residual(theta)


class _Residuals(nn.Module):
    """Residuals as a network: its parameters are the coefficients, its inputs the rows."""

    def __init__(self, theta: Tensor, sampled: _SampledEquation) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta.clone())
        # A function is not copied with the module, which a setup would be.
        self._residuals = lambda theta, rows: sampled.residuals(theta, rows)

    def forward(self, rows: Tensor) -> Tensor:
        """Residuals of each row."""
        return self._residuals(self.theta, rows)


class _Squares:
    """Sums over the equations of squared residuals."""

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.square().sum(-1)


class _Products:
    """Sums over the equations of products of two independent estimates."""

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        first, second = outputs.chunk(2, -1)
        return (first * second).sum(-1)


class _States:
    """The states of one epoch after the other."""

    def __init__(
        self,
        setup: Setup,
        policy: PolicyAt | None,
        n_states: int,
        n_epochs: int,
        rng: np.random.RandomState,
    ) -> None:
        self._setup, self._policy, self._rng = setup, policy, rng
        self._n_states, self._n_even = n_states, int(np.ceil(EVEN_EPOCHS * n_epochs))
        self._chains = {j: values.numpy() for j, values in setup.model.chain_states().items()}
        self._box = torch.from_numpy(setup.to_inputs.box).to(setup.states)
        self._last = self.even(n_states)
        self._drawn = 0

    def next(self, theta: Tensor) -> Tensor:
        """States (n_states, d) for these coefficients."""
        self._drawn += 1
        if self._policy is None or self._drawn <= self._n_even:
            self._last = self.even(self._n_states)
            return self._last
        states = self._last
        for _ in range(PERIODS):
            states = self._inside(self._after(states, theta))
        begun = np.flatnonzero(self._rng.uniform(size=len(states)) < RESTARTED)
        self._last = self._renewed(states, begun)
        return self._last

    def even(self, count: int) -> Tensor:
        """States that fill the box evenly."""
        seed = int(self._rng.randint(np.iinfo(np.int32).max))
        inputs = even_states(count, self._setup.to_inputs.box, self._chains, seed)
        return self._setup.to_inputs.inverse(inputs.to(self._setup.states))

    def _after(self, states: Tensor, theta: Tensor) -> Tensor:
        assert self._policy is not None
        model = self._setup.model
        shocks = model.distribution.sample(states, self._rng).to(states)
        return model.next_states(states, self._policy(states, theta), shocks)

    def _inside(self, states: Tensor) -> Tensor:
        """States moved to the nearest point of the box; new ones where they are not numbers."""
        to_inputs = self._setup.to_inputs
        x = to_inputs(states).clamp(self._box[:, 0], self._box[:, 1])
        moved = torch.where(to_inputs.inside(states)[:, None], states, to_inputs.inverse(x))
        for j in self._chains:
            moved[:, j] = states[:, j]
        lost = ~moved.isfinite().all(1)
        return self._renewed(moved, np.flatnonzero(lost.cpu().numpy())) if lost.any() else moved

    def _renewed(self, states: Tensor, which: np.ndarray) -> Tensor:
        if len(which) == 0:
            return states
        states = states.clone()
        states[torch.from_numpy(which).to(states.device)] = self.even(len(which))
        return states


class _Epochs:
    """Gives the trainer new rows before every epoch but the first, and reports after each."""

    by_batch = False

    def __init__(self, rows: Tensor, draw: Callable[[Tensor], Tensor], report: Report) -> None:
        self._rows, self._draw, self._report = rows, draw, report
        self._trainer: Trainer

    def training_begins(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def epoch_begins(self) -> None:
        if self._trainer.epochs == 0:
            return
        # What greedy actions are found with must be open to autograd.
        with torch.inference_mode(False), torch.no_grad():
            self._rows.copy_(self._draw(self._theta(self._trainer.step)))

    def epoch_ended(self, record: dict[str, float], step: Step) -> bool:
        with torch.inference_mode(False):
            return self._report(record, self._theta(step))

    def _theta(self, step: Step) -> Tensor:
        return step.parameters.values["theta"].detach().clone()

    def batch_begins(self, batch: Batch) -> None: ...

    def rate(self, rate: float) -> float:
        return rate

    def gradient_ready(self, batch: Batch) -> None: ...

    def batch_ended(self, batch: Batch, program: Program) -> None: ...

    def training_ended(self, trained: Trained) -> None: ...


def _root(setup: Setup, sampled: _SampledEquation, trained: Trained, tol: float) -> Root:
    """Where a training ended, as a solver of equations says it."""
    theta = trained.values["theta"].clone()
    residual = sampled.at_setup(theta)
    n_iter = len(trained.records)
    converged = bool(residual.square().mean().sqrt() <= tol)
    reasons = {
        "diverged": "the loss is not finite: choose a smaller learning_rate, or another start",
        "interrupted": INTERRUPTED,
        "stopped": STOPPED,
    }
    finished = MET if converged else f"n_epochs={n_iter} trained"
    return Root(theta, residual, n_iter, converged, reasons.get(trained.reason, finished))


def _check(expectation: str, learning_rate: float, **counts: int) -> None:
    if expectation not in EXPECTATIONS:
        raise ValueError(f"expectation={expectation!r} must be one of {EXPECTATIONS}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate={learning_rate!r} must be positive")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count!r} must be at least 1")
