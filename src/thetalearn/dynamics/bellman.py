"""Solving the Bellman equation: policy evaluation, Newton, value and policy iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..representations.parametric import LinearFunction
from ..solvers.fixed_point import fixed_point
from ..solvers.newton import Report, ignore
from ..solvers.root import Root
from .attempts import TriedSolution, first_settled
from .equations import EvaluationEquation, from_value, to_value
from .greedy import ActionValue, Continuation, GreedyActions
from .model import DynamicModel, ModelError
from .run import run, run_network
from .setup import Setup
from .simulate import Policy
from .structure import controlled_states, transition_slopes
from .transforms import Identity
from .verify import errors_alone, verify

__all__ = ["BellmanSystem", "bellman_errors", "evaluate", "solve_bellman"]

#: Constant shares of the way between the bounds that are tried as first policies.
SHARES = (0.5, 0.25, 0.75, 0.1, 0.9, 0.03)

#: Newton steps towards actions that leave the states where they are.
STAYING_STEPS = 8

#: Residuals of this share of the largest value are rounding.
ROUNDING = 1e-12

#: Steps of value iteration that prepare a start for Newton's method.
PREPARATION = 30

NO_START = "no start gives finite values: narrow state_bounds"


class BellmanSystem:
    """The Bellman equation at the states of a setup, for solvers of systems.

    By the envelope theorem the best actions count as given where residuals are differentiated.
    """

    def __init__(self, setup: Setup, greedy: GreedyActions) -> None:
        self._setup, self._greedy = setup, greedy
        self._local = GreedyActions(greedy.method, greedy.tol, n_candidates=0)
        self._projection = setup.projection(self._equation)
        self._at: Tensor | None = None
        self.actions: Tensor | None = None

    def residual(self, theta: Tensor) -> Tensor:
        """The conditions, flat."""
        return self._projection.residual(theta)

    def linearize(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The conditions, flat, with their Jacobian."""
        return self._projection.linearize(theta)

    def search_anew(self) -> None:
        """Look for the best actions among all, not near the last ones, next time."""
        self._at = self.actions = None

    def choose(self, theta: Tensor) -> Tensor:
        """The best actions (P, m) for the value function with these coefficients."""
        if self._at is not theta or self.actions is None:
            near = self.actions is not None and self._greedy.method == "newton"
            method = self._local if near else self._greedy
            self.actions = method(self._setup.rows, continuation(self._setup, theta), self.actions)
            self._at = theta
        return self.actions

    def _equation(self, theta: Tensor) -> EvaluationEquation:
        return EvaluationEquation(self._setup.model, self._setup.to_inputs, self.choose(theta))


def continuation(setup: Setup, theta: Tensor | None) -> Continuation:
    """The value of the next state; that after the last period without coefficients."""
    function = None if theta is None else setup.function
    return Continuation(setup.model, setup.to_inputs, function, theta)


def evaluate(
    setup: Setup,
    actions: Tensor,
    *,
    tol: float,
    max_iter: int,
    report: Report = ignore,
    theta: Tensor | None = None,
    solver: str | None = None,
) -> Root:
    """Value function of given actions at the states: one linear solve if its coordinate is V."""
    equation = EvaluationEquation(setup.model, setup.to_inputs, actions)
    system = setup.projection(equation)
    if theta is None:
        rewards = setup.model.rewards(setup.states, actions)[:, None]
        theta = setup.fit(from_value(setup.model, rewards / (1 - setup.model.beta)))
    name = solver or ("newton" if setup.square else "gauss_newton")
    return run(system, name, theta, tol=tol, max_iter=max_iter, report=report)


def optimal_values(
    setup: Setup,
    greedy: GreedyActions,
    theta: Tensor | None,
    states: Tensor,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Value (n,) and action (n, m) of the best choice today, given the value from tomorrow on."""
    rows = setup.rows_at(states)
    ahead = continuation(setup, theta)
    actions = greedy(rows, ahead, start)
    worth = ActionValue(rows, ahead).value(slice(None), actions[:, None])[:, 0]
    return worth, actions


def bellman_errors(
    setup: Setup,
    greedy: GreedyActions,
    theta: Tensor,
    states: Tensor,
    *,
    later: Tensor | None = None,
    last: bool = False,
) -> Tensor:
    r"""Unit-free errors :math:`(\hat V - T \hat V) / |\hat V|` at states, (n,).

    Where V passes through zero, a reward of average size takes the place of V. With a horizon,
    ``later`` holds the coefficients of the next period, or ``last`` says that there is none.
    """
    value, best, actions = _both_sides(setup, greedy, theta, states, later, last)
    size = setup.model.rewards(states, actions).abs()
    floor = size[size.isfinite()].mean() if size.isfinite().any() else size.mean()
    return (value - best) / value.abs().clamp(min=float(floor))


def _both_sides(
    setup: Setup,
    greedy: GreedyActions,
    theta: Tensor,
    states: Tensor,
    later: Tensor | None = None,
    last: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The value (n,) at states, that of the best actions there, and these actions."""
    value = continuation(setup, theta)(states)
    ahead = None if last else (theta if later is None else later)
    best, actions = optimal_values(setup, greedy, ahead, states)
    return value, best, actions


def _spread_errors(
    setup: Setup,
    greedy: GreedyActions,
    theta: Tensor,
    states: Tensor,
    later: Tensor | None = None,
    last: bool = False,
) -> Tensor:
    """Errors (n,) in units of how much the value varies, which no constant in it can hide."""
    value, best, _ = _both_sides(setup, greedy, theta, states, later, last)
    spread = continuation(setup, theta)(setup.checks).std()
    size = spread.clamp(min=1e-12 * float(value.abs().max()) + 1e-300)
    return (value - best) / size


def solve_bellman(
    setup: Setup,
    greedy: GreedyActions,
    solver: str,
    *,
    tol: float,
    max_iter: int,
    report: Report,
    starts: Iterable[Callable[[], Tensor]] = (),
    runner: Callable[[Tensor], Root] | None = None,
) -> TriedSolution:
    """Solve the Bellman equation from one start after the other until a solution is verified.

    Parameters
    ----------
    setup : Setup
        Model, function and states.
    greedy : GreedyActions
        Finds the best actions.
    solver : {"newton", "gauss_newton", "policy_iteration", "fixed_point", "lbfgs"}
        How.
    tol : float
        Bound on the distance to the solution at the nodes, by the contraction.
    max_iter : int
        Iterations at most, from each start.
    report : callable
        Told of every iteration.
    starts : iterable of callable, default=()
        Ways to coefficients to start from, tried before those that are made here.
    runner : callable, default=None
        Another solver, from a start to a root.

    Raises
    ------
    ModelError
        If no start allows an action in every state.
    """
    failures: list[Exception] = []

    def attempts() -> Iterator[TriedSolution]:
        for start in [*starts, *_starts(setup, greedy)]:
            try:
                theta = start()
                if runner is None:
                    root = _run(setup, greedy, solver, theta, tol, max_iter, report)
                else:
                    root = runner(theta)
                solution = _verified(setup, greedy, root)
            except (ModelError, RuntimeError) as error:
                failures.append(error)
            else:
                yield solution

    best = first_settled(attempts(), linear=setup.function.linear)
    if best is None:
        raise failures[0] if failures else ModelError(NO_START)
    return best


def solve_backwards(
    setup: Setup, greedy: GreedyActions, horizon: int, report: Report
) -> TriedSolution:
    """Value functions of all periods of a finite horizon, from the last to the first.

    The coefficients have shape (horizon, n_parameters), the first period first.
    """
    found: list[Tensor] = []
    ahead: Tensor | None = None
    for _ in range(horizon):
        values, _ = optimal_values(setup, greedy, ahead, setup.states)
        now = setup.fit(from_value(setup.model, values[:, None]), start=ahead)
        found.insert(0, now)
        gap = continuation(setup, now)(setup.states) - values
        ahead = now
        if report({"residual": float(gap.abs().max())}, now):
            break
    done = len(found) == horizon
    root = Root(torch.stack(found), gap, len(found), done, "last period" if done else "stopped")
    errors = [
        _spread_errors(
            setup,
            greedy,
            now,
            setup.checks,
            later=found[period + 1] if period + 1 < len(found) else None,
            last=period + 1 == len(found),
        )
        for period, now in enumerate(found)
    ]
    return TriedSolution(root.theta, root, errors_alone(torch.stack(errors)))


def _run(
    setup: Setup,
    greedy: GreedyActions,
    solver: str,
    theta: Tensor,
    tol: float,
    max_iter: int,
    report: Report,
) -> Root:
    # |V - V*| <= |V - TV| / (1 - beta), so this residual puts V within tol of the solution.
    within = tol * (1 - setup.model.beta)
    if solver == "fixed_point":
        return value_iteration(setup, greedy, theta, tol, max_iter, report)
    if solver == "policy_iteration":
        return policy_iteration(setup, greedy, theta, within, max_iter, report)
    system = BellmanSystem(setup, greedy)
    solve = run if setup.function.linear else run_network
    root = solve(system, solver, theta, tol=within, max_iter=max_iter, report=report)
    # The last searches were local ones; a better action elsewhere would show now.
    system.search_anew()
    if greedy.method == "newton" and _larger(system.residual(root.theta), root.residual, within):
        root = solve(system, solver, root.theta, tol=within, max_iter=max_iter, report=report)
    # The rounding of values, which a small 1 - beta asks for more than.
    floor = ROUNDING * float(setup.at(setup.states, root.theta).abs().max())
    if not root.converged and setup.tests is None and bool(root.residual.abs().max() <= floor):
        return replace(root, converged=True, reason="rounding hides any descent")
    return root


def _larger(new: Tensor, old: Tensor, tol: float) -> bool:
    return bool(new.abs().max() > 10 * old.abs().max() + tol)


def value_iteration(
    setup: Setup,
    greedy: GreedyActions,
    theta: Tensor,
    tol: float,
    max_iter: int,
    report: Report,
    memory: int = 5,
) -> Root:
    """Fit the function to what the best actions are worth, again and again, with acceleration."""
    system = BellmanSystem(setup, greedy)

    def step(theta: Tensor) -> Tensor:
        actions = system.choose(theta)
        worth = ActionValue(setup.rows, continuation(setup, theta))
        values = worth.value(slice(None), actions[:, None])
        return setup.fit(from_value(setup.model, values))

    return fixed_point(
        step,
        theta,
        tol=tol,
        max_iter=max_iter,
        memory=memory,
        modulus=setup.model.beta,
        report=report,
    )


def policy_iteration(
    setup: Setup,
    greedy: GreedyActions,
    theta: Tensor,
    tol: float,
    max_iter: int,
    report: Report,
) -> Root:
    """Evaluate the best actions for the last value function, again and again.

    References
    ----------
    R. Howard, *Dynamic Programming and Markov Processes*. M. Puterman and S. Brumelle, *On the
    Convergence of Policy Iteration in Stationary Dynamic Programming* (equal to Newton's method).
    """
    system = BellmanSystem(setup, greedy)
    sure = greedy.method != "newton"
    for n_iter in range(max_iter + 1):
        actions = system.choose(theta)
        equation = EvaluationEquation(setup.model, setup.to_inputs, actions)
        residual = setup.projection(equation).residual(theta)
        moved = _step_of(setup, equation, theta)
        size = float(moved.abs().max())
        stop = report({"residual": size}, theta) if n_iter else False
        if size <= max(tol, ROUNDING * float(theta.abs().max())):
            if sure:
                return Root(theta, residual, n_iter, True, "tolerance met")
            # The last searches were local ones; a better action elsewhere would show now.
            system.search_anew()
            sure = True
            continue
        if n_iter == max_iter or stop:
            return Root(theta, residual, n_iter, False, f"max_iter={max_iter} steps taken")
        theta = theta - moved
    raise AssertionError("the loop returns")


def _step_of(setup: Setup, equation: EvaluationEquation, theta: Tensor) -> Tensor:
    """The change of coefficients, to be subtracted, that evaluates the actions of an equation."""
    if type(setup.model.value_coordinate) is not Identity:
        # In other coordinates the value of a policy takes several linear solves.
        actions = equation.actions
        return theta - evaluate(setup, actions, tol=1e-13, max_iter=20, theta=theta).theta
    residual, jacobian = setup.projection(equation).linearize(theta)
    if setup.square:
        return torch.linalg.solve(jacobian, residual)
    return torch.linalg.lstsq(jacobian, residual[:, None], driver="gelsd").solution[:, 0]


def _verified(setup: Setup, greedy: GreedyActions, root: Root) -> TriedSolution:
    # Not by a condition that the solver itself relied on.
    judge = GreedyActions("newton") if greedy.method == "envelope" else greedy

    def errors(states: Tensor) -> Tensor:
        return _spread_errors(setup, judge, root.theta, states)

    verdict = verify(setup, path_policy(setup, judge, root.theta), errors)
    return TriedSolution(root.theta, root, verdict)


def path_policy(setup: Setup, greedy: GreedyActions, theta: Tensor) -> Policy:
    """The policy (n, m) as it is at the nodes, and between them as the basis has it.

    Good enough to see where paths lead, for a hundredth of the cost of a search in every state.
    """
    if greedy.method == "enumerate" or not setup.function.linear:
        return quick_policy(setup, greedy, theta)
    _, actions = optimal_values(setup, greedy, theta, setup.states)
    shares = _Shares(setup, setup.states)
    function = LinearFunction(setup.function.basis, setup.model.n_actions)
    coef = function.fit(setup.inputs, shares.of(actions))

    def policy(states: Tensor) -> Tensor:
        there = _Shares(setup, states)
        return there.actions(function.at(setup.to_inputs(states)).value(coef))

    return policy


def quick_policy(setup: Setup, greedy: GreedyActions, theta: Tensor) -> Policy:
    """The best actions (n, m), searched for near those of the nearest node.

    What is chosen from a list is chosen anew in every state.
    """
    if greedy.method != "newton":
        return lambda states: optimal_values(setup, greedy, theta, states)[1]
    _, actions = optimal_values(setup, greedy, theta, setup.states)
    shares = _Shares(setup, setup.states).of(actions)
    scale = (setup.inputs.amax(0) - setup.inputs.amin(0)).clamp(min=1e-300)
    local = GreedyActions(greedy.method, greedy.tol, n_candidates=0)

    def policy(states: Tensor) -> Tensor:
        nearest = torch.cdist(setup.to_inputs(states) / scale, setup.inputs / scale).argmin(1)
        start = _Shares(setup, states).actions(shares[nearest])
        return optimal_values(setup, local, theta, states, start)[1]

    return policy


class _Shares:
    """Actions as shares of the way between their bounds, where both are finite."""

    def __init__(self, setup: Setup, states: Tensor) -> None:
        low, high = setup.model.action_limits(states)
        bounded = low.isfinite() & high.isfinite() & (high > low)
        self._low = torch.where(bounded, low, 0.0)
        self._width = torch.where(bounded, high - low, 1.0)
        self._limits = low, high

    def of(self, actions: Tensor) -> Tensor:
        """Shares of actions."""
        return (actions - self._low) / self._width

    def actions(self, shares: Tensor) -> Tensor:
        """Actions of shares, kept between the bounds."""
        low, high = self._limits
        return torch.minimum(torch.maximum(self._low + shares * self._width, low), high)


def _starts(setup: Setup, greedy: GreedyActions) -> list[Callable[[], Tensor]]:
    """Ways to a start: the value of a simple policy, and some value iteration from there."""
    ways: list[Callable[[], Tensor]] = [lambda: _simple(setup)]
    if setup.function.linear:
        ways.append(lambda: _prepared(setup, greedy))
    return ways


def _simple(setup: Setup) -> Tensor:
    """Value of the constant share of the way between the bounds that keeps most inside."""
    model = setup.model
    if model.discrete_actions is not None:
        candidates = [
            action.expand(len(setup.states), -1) for action in model.actions_listed.to(setup.states)
        ]
    else:
        candidates = [model.inside_actions(setup.states, share) for share in SHARES]
        candidates.insert(0, staying_actions(model, setup.states))
    expected = model.distribution.expected(setup.states)
    kept: list[tuple[float, Tensor]] = []
    for actions in candidates:
        rewards = model.rewards(setup.states, actions)
        if not rewards.isfinite().all():
            continue
        after = model.next_states(setup.states, actions, expected)
        kept.append((float(setup.to_inputs.inside(after).double().mean()), actions))
    if not kept:
        return setup.function.fit(setup.inputs, torch.zeros_like(setup.inputs[:, :1]))
    most = max(share for share, _ in kept)
    values = [
        evaluate(setup, actions, tol=1e-8, max_iter=20)
        for share, actions in kept
        if share >= most - 1e-9
    ]
    return max(
        values, key=lambda root: float(to_value(model, setup.at(setup.states, root.theta)).mean())
    ).theta


def _prepared(setup: Setup, greedy: GreedyActions) -> Tensor:
    """A few steps of value iteration from the value of doing the same for ever."""
    start = _simple(setup)
    found = value_iteration(setup, greedy, start, 1e-6, PREPARATION, ignore, memory=0)
    return found.theta


def staying_actions(model: DynamicModel, states: Tensor) -> Tensor:
    """Actions (n, m) that leave the states as nearly as they can where they are."""
    moved = controlled_states(model)
    a = model.inside_actions(states)
    lower, upper = model.action_limits(states)
    expected = model.distribution.expected(states)
    for _ in range(STAYING_STEPS):
        slopes, _ = transition_slopes(model, states, a, expected)
        gap = (model.next_states(states, a, expected) - states)[:, moved]
        step = (torch.linalg.pinv(slopes[:, moved]) @ gap[:, :, None])[:, :, 0]
        inside = torch.minimum(torch.maximum(a - step, lower), upper)
        # A bound itself may be where the reward is not finite.
        a = torch.where(inside.isfinite(), a + 0.99 * (inside - a), a)
    return a
