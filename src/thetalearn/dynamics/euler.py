"""Solving Euler equations: starts, Newton, Gauss-Newton, time iteration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..objectives.projection import residuals
from ..solvers.fixed_point import fixed_point
from ..solvers.newton import Report, ignore
from ..solvers.root import Root
from .attempts import TriedSolution, first_settled
from .equations import EulerEquation
from .iteration import endogenous_grid, time_step
from .model import DynamicModel, ModelError
from .run import Runner, run, run_network
from .setup import Setup
from .simulate import Policy
from .starts import linear_policy
from .structure import bounds_move_along
from .verify import verify

__all__ = ["euler_errors", "solve_euler"]

#: Constant shares of the way between the bounds that are tried as first policies.
SHARES = (0.5, 0.75, 0.25, 0.9, 0.1)

#: Steps of the method of endogenous grid points that prepare one.
GRID_STEPS = 20

#: Grid points of that method at least, where it is the solver itself.
GRID_POINTS = 500

#: Actions that are tried in each state to see whether a constraint can be met.
N_CANDIDATES = 300

#: Share of the width between the bounds at which one of them binds.
BINDING = 1e-7

WRONG_BOUND = (
    "a bound binds that does not move with the states as the actions do, so that its multiplier "
    "is missing from the derived Euler equation: give it as constraint=, give euler=, or use "
    "BellmanApproximator"
)

#: Steps of time iteration that prepare a start for Newton's method.
PREPARATION = 15


def solve_euler(
    setup: Setup,
    equation: EulerEquation,
    solver: str,
    *,
    tol: float,
    max_iter: int,
    report: Report,
    rng: np.random.RandomState,
    n_restarts: int = 0,
    theta: Tensor | None = None,
    runner: Runner | None = None,
) -> TriedSolution:
    """Solve from one start after the other until a solution is verified.

    Parameters
    ----------
    setup : Setup
        Model, function and states.
    equation : EulerEquation
        The conditions.
    solver : {"newton", "gauss_newton", "fixed_point"}
        How.
    tol : float
        Largest residual at the nodes.
    max_iter : int
        Iterations at most, from each start.
    report : callable
        Told of every iteration.
    rng : numpy.random.RandomState
        Draws the weights of networks.
    n_restarts : int, default=0
        Further random starts of a network.
    theta : Tensor, default=None
        A start to try first.
    runner : callable, default=None
        Another solver, from a start to a root.
    """
    check_feasible(setup)
    solve = runner or _solver(setup, equation, solver, tol, max_iter, report)
    starts = (
        start
        for start in _starts(setup, equation, theta, rng, n_restarts)
        if residuals(equation, setup.function, start, setup.rows).isfinite().all()
    )
    attempts = (_verified(setup, equation, solve(start)) for start in starts)
    best = first_settled(attempts, linear=setup.function.linear)
    if best is None:
        raise ValueError(
            "no start gives finite residuals at all states: give the model a steady_state, or "
            "action_bounds and state_bounds between which its functions are finite"
        )
    return best


def check_feasible(setup: Setup) -> None:
    """Refuse a constraint that no action satisfies in some state.

    Raises
    ------
    ModelError
        If the largest slack of any constraint is negative at a state, as far as a search over
        actions throughout their bounds can tell.
    """
    model, states = setup.model, setup.states
    if model.constraint is None:
        return
    rng = np.random.RandomState(0)
    slack = states.new_full((len(states),), -torch.inf)
    worst = model.inside_actions(states, 0.0), model.inside_actions(states, 1.0)
    for _ in range(N_CANDIDATES):
        share = torch.from_numpy(rng.random_sample((1, model.n_actions))).to(states)
        actions = worst[0] + share * (worst[1] - worst[0])
        slack = torch.maximum(slack, model.constraints(states, actions).amin(1))
        if bool((slack >= 0).all()):
            return
    i = int(slack.argmin())
    raise ModelError(
        f"no action satisfies the constraint in the state {states[i].tolist()}: of "
        f"{N_CANDIDATES} actions between the bounds the best misses it by {-slack[i]:.3g}; loosen "
        "the constraint, or narrow state_bounds"
    )


def _solver(
    setup: Setup,
    equation: EulerEquation,
    solver: str,
    tol: float,
    max_iter: int,
    report: Report,
) -> Runner:
    if solver == "fixed_point" and setup.model.endogenous_grid is not None:
        return lambda start: endogenous_root(
            setup, equation, tol=tol, max_iter=max_iter, report=report
        )
    if solver == "fixed_point":
        return lambda start: time_iteration(
            setup, equation, start, tol=tol, max_iter=max_iter, report=report
        )
    system = setup.projection(equation)
    solve = run if setup.function.linear else run_network
    return lambda start: solve(system, solver, start, tol=tol, max_iter=max_iter, report=report)


def time_iteration(
    setup: Setup,
    equation: EulerEquation,
    theta: Tensor,
    *,
    tol: float,
    max_iter: int,
    report: Report,
    memory: int = 5,
) -> Root:
    """Fit the function to the actions that are right if it holds from tomorrow on, repeatedly."""

    def step(theta: Tensor) -> Tensor:
        return setup.fit(time_step(equation, setup.function, theta, setup.rows))

    return fixed_point(step, theta, tol=tol, max_iter=max_iter, memory=memory, report=report)


def endogenous_root(
    setup: Setup, equation: EulerEquation, *, tol: float, max_iter: int, report: Report
) -> Root:
    """Fit the function to the policy that the method of endogenous grid points finds."""
    policy, end = endogenous_grid(
        setup.model,
        setup.rule,
        n_points=max(GRID_POINTS, 4 * setup.n_terms),
        tol=tol,
        max_iter=max_iter,
        report=report,
    )
    theta = setup.fit(equation.unknowns(setup.states, policy(setup.states)))
    left = residuals(equation, setup.function, theta, setup.rows).flatten()
    return Root(theta, left, end.n_iter, end.converged, end.reason)


def euler_errors(setup: Setup, equation: EulerEquation, theta: Tensor, states: Tensor) -> Tensor:
    """Unit-free residuals at states, (n, E)."""
    return residuals(equation, setup.function, theta, setup.rows_at(states))


def policy_errors(
    setup: Setup,
    equation: EulerEquation,
    policy: Policy,
    states: Tensor,
) -> Tensor:
    """Unit-free residuals (n, E) of any policy, such as one that maximises for a value function."""
    rows = setup.rows_at(states)
    with torch.no_grad():
        actions = policy(states)
        y = equation.unknowns(states, actions)
        s, e, each = rows.repeated(states), rows.shocks(), rows.repeated(actions)
        after = setup.model.next_states(s, each, e)
        later = equation.unknowns(after, policy(after))
        mean = rows.mean(equation.integrand(s, rows.repeated(y), after, later, e))
        return equation.combine(states, y, mean).detach()


def consumption_errors(
    setup: Setup, equation: EulerEquation, theta: Tensor, states: Tensor
) -> Tensor:
    """Relative mistakes in the actions that the residuals amount to, (n, m).

    The action whose marginal reward equals what the Euler equation says it should be, kept between
    the bounds, over the action taken, less one. Without ``marginal_inverse`` it is found by one
    Newton step on the marginal reward of each action.
    """
    model = setup.model
    rows = setup.rows_at(states)
    with torch.no_grad():
        y = setup.at(states, theta)
        s, e, each = rows.repeated(states), rows.shocks(), rows.repeated(y)
        after = equation.next_states(s, each, e)
        mean = rows.mean(equation.integrand(s, each, after, setup.at(after, theta), e))
        gain = equation.gains(states, y, mean).detach()
        actions = equation.actions(states, y)
    with torch.enable_grad():
        a = actions.detach().requires_grad_()
        (slope,) = torch.autograd.grad(model.rewards(states, a).sum(), a, create_graph=True)
        relative = equation.unit_free or model.euler is not None
        due = (slope - gain * slope.abs() if relative else slope - gain).detach()
        if model.marginal_inverse is not None:
            implied = model.bound("marginal_inverse")(due, states)
        else:
            bends = [
                torch.autograd.grad(slope[:, j].sum(), a, retain_graph=True)[0][:, j]
                for j in range(model.n_actions)
            ]
            implied = a + (due - slope) / torch.stack(bends, 1)
    lower, upper = model.action_limits(states)
    implied = torch.minimum(torch.maximum(implied.detach(), lower), upper)
    return implied / actions - 1


def policy_of(setup: Setup, equation: EulerEquation, theta: Tensor) -> Policy:
    """The policy (n, m) that coefficients stand for, kept between the bounds."""

    def policy(states: Tensor) -> Tensor:
        with torch.no_grad():
            actions = equation.actions(states, setup.at(states, theta))
            lower, upper = setup.model.action_limits(states)
            return torch.minimum(torch.maximum(actions, lower), upper)

    return policy


def _verified(setup: Setup, equation: EulerEquation, root: Root) -> TriedSolution:
    def errors(states: Tensor) -> Tensor:
        found = euler_errors(setup, equation, root.theta, states).abs()
        return found.amax(1)

    def objection(states: Tensor) -> str:
        if model.euler is not None or model.action_bounds is None:
            return ""
        actions = policy(states)
        lower, upper = model.action_limits(states)
        width = torch.where((upper - lower).isfinite(), upper - lower, 1.0)
        binding = torch.stack([actions - lower, upper - actions]) <= BINDING * width
        return "" if bounds_move_along(model, states, actions, binding) else WRONG_BOUND

    model, policy = setup.model, policy_of(setup, equation, root.theta)
    verdict = verify(setup, policy, errors, objection)
    return TriedSolution(root.theta, root, verdict)


def _starts(
    setup: Setup,
    equation: EulerEquation,
    theta: Tensor | None,
    rng: np.random.RandomState,
    n_restarts: int,
) -> Iterator[Tensor]:
    """Coefficients to start from, the most promising first."""
    if theta is not None:
        yield theta
    if not setup.function.linear:
        shapes = list(_shapes(setup, equation))[:1] or list(_constants(setup, equation))
        # A network reaches a shape from any weights; which ones decides how well it does after.
        for restart in range(n_restarts + 1):
            drawn = setup.function.initial(rng, restart)
            yield setup.fit(shapes[restart % len(shapes)], start=drawn)
        return
    for shape in _shapes(setup, equation):
        yield setup.fit(shape)
    prepared = []
    for shape in _constants(setup, equation):
        start = setup.fit(shape)
        prepared.append(start)
        yield start
    for start in prepared:
        yield _prepared(setup, equation, start)


def _shapes(setup: Setup, equation: EulerEquation) -> Iterator[Tensor]:
    """Unknowns (P, m) at the states by quicker methods."""
    if setup.model.endogenous_grid is not None:
        policy, _ = endogenous_grid(
            setup.model, setup.rule, tol=1e-5, n_points=100, max_iter=GRID_STEPS
        )
        yield equation.unknowns(setup.states, policy(setup.states))
    linear = linear_policy(setup.model, equation)
    if linear is not None:
        yield linear(setup.inputs)


def _constants(setup: Setup, equation: EulerEquation) -> Iterator[Tensor]:
    """Unknowns (P, m) of actions a constant share of the way between their bounds."""
    for share in SHARES:
        yield equation.unknowns(setup.states, setup.model.inside_actions(setup.states, share))


def _prepared(setup: Setup, equation: EulerEquation, start: Tensor) -> Tensor:
    """A few steps of time iteration."""
    found = time_iteration(
        setup,
        equation,
        start,
        tol=1e-3,
        max_iter=PREPARATION,
        report=ignore,
        memory=0,
    )
    return found.theta


def marginal_rewards_keep_sign(model: DynamicModel) -> bool:
    """Whether errors can be told in units of the marginal reward, which must never vanish."""
    if model.reward is None or model.euler is not None:
        return True
    low, high = model.bounds[:, 0], model.bounds[:, 1]
    shares = torch.tensor([0.02, 0.25, 0.5, 0.75, 0.98], dtype=torch.float64)
    states = low + shares[:, None] * (high - low)
    for column, values in model.chain_states().items():
        states[:, column] = values[0]
    signs = []
    for share in (0.2, 0.5, 0.8):
        a = model.inside_actions(states, share).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(model.rewards(states, a).sum(), a)
        signs.append(slope.sign())
    together = torch.stack(signs).flatten(0, 1)
    return bool(((together == together[0]) & (together != 0)).all())
