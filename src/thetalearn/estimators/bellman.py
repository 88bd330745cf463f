"""Value functions: of the best policy, and of a given one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .._sklearn_compat import StrOptions
from ..dynamics.bellman import (
    bellman_errors,
    continuation,
    evaluate,
    optimal_values,
    quick_policy,
    solve_backwards,
    solve_bellman,
)
from ..dynamics.equations import EulerEquation, EvaluationEquation
from ..dynamics.euler import marginal_rewards_keep_sign, policy_errors
from ..dynamics.greedy import GreedyActions
from ..dynamics.model import DynamicModel
from ..dynamics.setup import Setup
from ..dynamics.simulate import Policy
from ..dynamics.structure import check_derivable
from ..dynamics.verify import Verdict, verify
from ..objectives.projection import residuals
from ..randomness import random_numbers
from ..representations.bases import Basis
from ..solvers.newton import Report
from ..solvers.root import Root
from .dynamic import DYNAMIC, SAMPLED, DynamicEstimator, coefficients

__all__ = ["BellmanApproximator", "PolicyEvaluator"]


class ValueEstimator(DynamicEstimator):
    """Template of the estimators whose unknown is a value function."""

    def _n_outputs(self, model: DynamicModel) -> int:
        return 1

    def _check_model(self, model: DynamicModel) -> None:
        if model.reward is None:
            raise ValueError(
                f"{type(self).__name__} needs a model with a reward: use EulerApproximator or "
                "FunctionalEquation for one without"
            )

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Values at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States. Outside ``state_bounds`` the function is continued linearly.

        Returns
        -------
        ndarray of shape (n_states,)
            Values, of the first period if the model has a horizon.
        """
        return self.value(X)

    def value(self, X: ArrayLike, period: int = 0) -> np.ndarray:
        """Values at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States. Outside ``state_bounds`` the function is continued linearly.
        period : int, default=0
            Period, for a model with a horizon.

        Returns
        -------
        ndarray of shape (n_states,)
            Values.
        """
        rows = self._rows_inside(X)
        ahead = continuation(self._setup, self._theta_of(period))
        return self._like(ahead(rows)[:, None], X)

    def gradient(self, X: ArrayLike, period: int = 0) -> np.ndarray:
        """Derivatives of the value in the states: their shadow prices.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.
        period : int, default=0
            Period, for a model with a horizon.

        Returns
        -------
        ndarray of shape (n_states, n_features)
            Derivatives.
        """
        rows = self._rows_inside(X).detach().requires_grad_()
        with torch.enable_grad():
            values = continuation(self._setup, self._theta_of(period)).expanded(rows)
            (slope,) = torch.autograd.grad(values.sum(), rows)
        return self._matrix_like(slope, X)

    def bellman_errors(self, X: ArrayLike) -> np.ndarray:
        """Unit-free errors of the equation that the value solves, at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.

        Returns
        -------
        ndarray of shape (n_states,)
            :math:`(V - TV) / |V|`, with its sign; see `residuals`.
        """
        return self.residuals(X)

    def _theta_of(self, period: int) -> Tensor:
        if self.model_.horizon is None:
            if period:
                raise ValueError(f"period={period!r} must be 0 for a model without a horizon")
            return self.theta_
        if not 0 <= period < len(self.theta_):
            raise ValueError(f"period={period!r} must be between 0 and {len(self.theta_) - 1}")
        return self.theta_[period]


class BellmanApproximator(ValueEstimator):
    r"""The value function that solves the Bellman equation.

    .. math::
        V(s) = \max_{a \in [\underline a(s), \bar a(s)]} r(s, a) + \beta\, E\, V(g(s, a, e))

    The value function is written on a basis or as a network,
    :math:`\hat V(s) = T(f(x(s); \theta))`, with the coordinates x of the states and T of the value
    that the model names. Its residual is put to zero at nodes; the actions that maximise are found
    for all states at once, and by the envelope theorem they count as given where the residual is
    differentiated. With a horizon, the value functions of all periods are fitted one after the
    other, from the last.

    Parameters
    ----------
    model : DynamicModel, default=None
        The problem; see `thetalearn.dynamics.models` for ready-made ones. None stands for
        a linear-quadratic regulator on the box of X, with as many states as X has columns (two
        without X).
    basis : str, Basis or torch.nn.Module, default="auto"
        How the unknown is written, in the coordinates of the model's states: "chebyshev" (all
        products of Chebyshev polynomials), "complete" (those of total degree at most ``degree``),
        "smolyak" (a sparse grid; each degree rounded down to a power of two), "monomial" (complete
        ordinary polynomials), "bspline" (all products of B-splines), "mlp" (a multilayer
        perceptron), "auto" ("chebyshev" up to three states, "complete" above); or a basis or a
        torch module of one's own.
    degree : int or sequence of int, default=None
        Largest degree, of all states or of each; for splines the degree of the pieces. None takes
        3 for splines and 4 for Smolyak sets, and otherwise what suits the number of states, or of
        rows in X.
    knots : int, array-like or list of these, default=None
        Interior knots of the splines, or their number, of all states or of each; None for 10.
    kinks : array-like or list of these, default=None
        Points, in the coordinates of the states, at which the slope may jump: knots of
        multiplicity ``degree``.
    hidden_layer_sizes : int or sequence of int, default=(16, 16)
        Units in each hidden layer of "mlp".
    activation : str or callable, default="tanh"
        Activation of "mlp": a name, or a function of tensors. It must have derivatives, so "relu"
        is a poor choice for value functions.
    objective : {"auto", "collocation", "galerkin", "least_squares"}, default="auto"
        What residuals must do: be zero at as many states as there are coefficients, or as nearly
        as they can be at more of them (collocation); be orthogonal to the basis functions
        (galerkin); have the least mean square (least_squares). "auto" is collocation for bases and
        least_squares for networks.
    n_nodes : int or sequence of int, default=None
        Nodes of each state, or states in all where there is no grid; None for as many as there are
        coefficients, and four times as many for what has no grid.
    sampling : {"nodes", "sobol", "ergodic"}, default="nodes"
        Where residuals are taken if ``fit`` is given no states: at the nodes of the basis; at Sobol
        points, four for each coefficient; or at the states of a simulation of a first solution,
        over whose principal components the basis is then put.
    solver : {"auto", "newton", "gauss_newton", "policy_iteration", "fixed_point", "lbfgs",
            "adam"}, default="auto"
        Newton's method for as many conditions as coefficients; Gauss-Newton (Levenberg-Marquardt)
        for more; policy iteration, which is Newton's method without a line search; fixed point,
        which is value iteration with Anderson acceleration; L-BFGS; or minibatches of sampled
        states with Adam, for large networks. "auto" is "newton" or "gauss_newton", and "lbfgs" for
        networks of more than 2000 weights.
    maximizer : {"auto", "newton", "golden", "envelope", "enumerate"}, default="auto"
        How the best actions are found, in all states at once: Newton's method on the first-order
        conditions, between the bounds, from the best of several candidates; golden section, for
        one action whose reward has kinks; the envelope condition, which needs no search but a
        ``marginal_inverse``; or trying all of ``discrete_actions``. "auto" is "enumerate" with
        these and "newton" without.
    batch_size : int, default=64
        States of a minibatch of "adam".
    learning_rate_init : float, default=1e-3
        Rate of "adam" at the start; it falls to zero along half a cosine.
    integration : str, default="auto"
        Rule for expectations: one of ``model.distribution.rules``, such as "gauss_hermite",
        "monomial1", "monomial2" or "sobol". With "auto", "adam" takes expectations by two
        independent draws (all in one) where residuals are affine in them.
    n_integration_nodes : int, default=None
        Nodes of that rule (for "gauss_hermite", of each shock); None for its own choice.
    max_iter : int, default=500
        Iterations at most, from each start.
    tol : float, default=1e-10
        Stops when the value at the nodes is within ``tol`` of the solution there, by the bound
        :math:`|V - TV| / (1 - beta)` of the contraction.
    n_restarts : int, default=2
        Further random starts of a network, of which the best is kept.
    warm_start : bool, default=False
        Whether to start from the coefficients of the last fit.
    random_state : int, RandomState or None, default=None
        Decides scattered states, simulations and the weights of networks.
    device : str or torch.device, default="auto"
        Where to compute.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    model_ : DynamicModel
        The model that was solved.
    coef_ : ndarray of shape (n_terms,) or (n_outputs, n_terms)
        Coefficients; for a network, all of its weights.
    nodes_ : ndarray of shape (n_nodes, n_features)
        States at which the residuals were taken.
    n_iter_ : int
        Iterations from the start that led to the solution.
    converged_ : bool
        Whether the solver met its tolerance and the solution passed its verification.
    history_ : list of dict
        One record an iteration.
    summary_ : dict
        Errors off the nodes, stability, domain and time; see there.

    See Also
    --------
    EulerApproximator : Policies from first-order conditions; more accurate where these exist.
    PolicyEvaluator : The value of a given policy.

    References
    ----------
    Sawada and Zhong, *Parameterization and Neural Network*, sections on residuals, objectives and
    solvers. M. Miranda and P. Fackler, *Applied Computational Economics and Finance*, chapter 9.
    K. Judd, *Numerical Methods in Economics*, chapter 12.

    Examples
    --------
    The growth model of Brock and Mirman, whose solution is known:

    >>> import numpy as np
    >>> from thetalearn import BellmanApproximator
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> model = make_brock_mirman()
    >>> growth = BellmanApproximator(model, degree=5).fit()
    >>> states = growth.nodes_[:3]
    >>> bool(np.allclose(growth.policy(states), growth.exact("policy", states), rtol=1e-9))
    True
    >>> growth.score() > 9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DYNAMIC,
        **SAMPLED,
        "solver": [
            StrOptions(
                {
                    "auto",
                    "newton",
                    "gauss_newton",
                    "policy_iteration",
                    "fixed_point",
                    "lbfgs",
                    "adam",
                }
            )
        ],
        "maximizer": [StrOptions({"auto", "newton", "golden", "envelope", "enumerate"})],
    }

    def __init__(
        self,
        model: DynamicModel | None = None,
        *,
        basis: str | Basis | nn.Module = "auto",
        degree: int | Sequence[int] | None = None,
        knots: Any = None,
        kinks: Any = None,
        hidden_layer_sizes: int | Sequence[int] = (16, 16),
        activation: str | Callable[[Tensor], Tensor] = "tanh",
        objective: str = "auto",
        n_nodes: int | Sequence[int] | None = None,
        sampling: str = "nodes",
        solver: str = "auto",
        maximizer: str = "auto",
        batch_size: int = 64,
        learning_rate_init: float = 1e-3,
        integration: str = "auto",
        n_integration_nodes: int | None = None,
        max_iter: int = 500,
        tol: float = 1e-10,
        n_restarts: int = 2,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.basis = basis
        self.degree = degree
        self.knots = knots
        self.kinks = kinks
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.objective = objective
        self.n_nodes = n_nodes
        self.sampling = sampling
        self.solver = solver
        self.maximizer = maximizer
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.integration = integration
        self.n_integration_nodes = n_integration_nodes
        self.max_iter = max_iter
        self.tol = tol
        self.n_restarts = n_restarts
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _resolved_solver(self, setup: Setup) -> str:
        # Without a line search the first steps, which all change the policy, cost a fifth.
        if self.solver == "auto" and setup.function.linear and setup.tests is None:
            return "policy_iteration"
        return super()._resolved_solver(setup)

    def _resolved_maximizer(self, model: DynamicModel) -> str:
        listed = model.discrete_actions is not None
        if self.maximizer == "auto":
            return "enumerate" if listed else "newton"
        if listed != (self.maximizer == "enumerate"):
            raise ValueError(
                f"maximizer={self.maximizer!r} does not go with a model "
                f"{'with' if listed else 'without'} discrete_actions: choose "
                f"{'enumerate' if listed else 'newton'!r}"
            )
        if self.maximizer == "golden" and model.n_actions > 1:
            raise ValueError(
                f'maximizer="golden" searches along a line, but the model has {model.n_actions} '
                'actions: choose "newton"'
            )
        if self.maximizer == "envelope" and model.marginal_inverse is None:
            raise ValueError(
                'maximizer="envelope" needs the marginal_inverse of the model, which is None: give '
                'one, or choose "newton"'
            )
        return str(self.maximizer)

    def _solve(self, setup: Setup, report: Report, theta: Tensor | None) -> tuple[Root, Verdict]:
        greedy = GreedyActions(self._resolved_maximizer(setup.model))

        def best_at(states: Tensor, theta: Tensor) -> Tensor:
            return optimal_values(setup, greedy, theta, states)[1]

        def equation_at(states: Tensor, theta: Tensor) -> EvaluationEquation:
            return EvaluationEquation(setup.model, setup.to_inputs, best_at(states, theta))

        if setup.model.horizon is not None:
            solution = solve_backwards(setup, greedy, setup.model.horizon, report)
        else:
            solution = solve_bellman(
                setup,
                greedy,
                self._resolved_solver(setup),
                tol=self.tol,
                max_iter=self.max_iter,
                report=report,
                starts=self._starts(setup, theta),
                runner=self._by_sampling(setup, equation_at, report, best_at),
            )
        # What follows is told by the best actions, however the solver found its way.
        judge = GreedyActions("newton") if greedy.method == "envelope" else greedy
        self._greedy, self._setup, self.theta_ = judge, setup, solution.theta
        self._quick: Policy | None = None
        self.coef_ = coefficients(solution.theta, 1, setup.function.linear)
        return solution.root, solution.verdict

    def _starts(self, setup: Setup, theta: Tensor | None) -> list[Callable[[], Tensor]]:
        starts: list[Callable[[], Tensor]] = [] if theta is None else [lambda: theta]
        if not setup.function.linear:
            rng = random_numbers(self._seed)
            starts += [partial(setup.function.initial, rng, k) for k in range(self.n_restarts)]
        return starts

    def policy(self, X: ArrayLike, period: int = 0) -> np.ndarray:
        """The best actions at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.
        period : int, default=0
            Period, for a model with a horizon.

        Returns
        -------
        ndarray of shape (n_states,) or (n_states, n_actions)
            Actions.
        """
        rows = self._rows_inside(X)
        return self._like(self._policy_at(rows, period), X)

    def euler_errors(self, X: ArrayLike) -> np.ndarray:
        """Unit-free errors of the Euler equations that the policy amounts to, at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.

        Returns
        -------
        ndarray of shape (n_states,) or (n_states, n_actions)
            Errors with their sign; see `EulerApproximator.euler_errors`.

        Raises
        ------
        ModelError
            If no Euler equation can be derived.
        """
        rows = self._rows_inside(X)
        model = self.model_
        if model.euler is None:
            check_derivable(model)
        equation = EulerEquation(model, self._setup.to_inputs, marginal_rewards_keep_sign(model))
        return self._like(policy_errors(self._setup, equation, self._policy_at, rows), X)

    def _policy_at(self, states: Tensor, period: int = 0) -> Tensor:
        return optimal_values(self._setup, self._greedy, self._ahead(period), states)[1]

    def _ahead(self, period: int) -> Tensor | None:
        """Coefficients of the value function from the period after this one on."""
        if self.model_.horizon is None:
            return self._theta_of(period)
        self._theta_of(period)
        return self.theta_[period + 1] if period + 1 < len(self.theta_) else None

    def _path_policy(self) -> Policy:
        if self._quick is None:
            self._quick = quick_policy(self._setup, self._greedy, self.theta_)
        return self._quick

    def _policy_of_period(self, period: int) -> Policy:
        return lambda states: self._policy_at(states, period)

    def _errors_at(self, states: Tensor) -> Tensor:
        ahead = self._ahead(0)
        errors = bellman_errors(
            self._setup,
            self._greedy,
            self._theta_of(0),
            states,
            later=ahead,
            last=ahead is None,
        )
        return errors[:, None]

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: not the function that simulations use, which follows from it."""
        state = super().__getstate__()
        return {**state, "_quick": None} if "_quick" in state else state


class PolicyEvaluator(ValueEstimator):
    r"""The value of a given policy.

    .. math:: V(s) = r(s, \pi(s)) + \beta\, E\, V(g(s, \pi(s), e))

    Written on a basis this is linear in the coefficients,
    :math:`(\Phi - \beta E \Phi')\, \theta = r`, and takes one linear solve.

    Parameters
    ----------
    model : DynamicModel, default=None
        The problem; see `thetalearn.dynamics.models` for ready-made ones. None stands for
        a linear-quadratic regulator on the box of X, with as many states as X has columns (two
        without X).
    decision_rule : callable, default=None
        ``decision_rule(s)`` gives actions (n, m) of states (n, d), both torch tensors; it may name
        parameters of the model. None takes the model's exact policy.
    basis : str, Basis or torch.nn.Module, default="auto"
        How the unknown is written, in the coordinates of the model's states: "chebyshev" (all
        products of Chebyshev polynomials), "complete" (those of total degree at most ``degree``),
        "smolyak" (a sparse grid; each degree rounded down to a power of two), "monomial" (complete
        ordinary polynomials), "bspline" (all products of B-splines), "mlp" (a multilayer
        perceptron), "auto" ("chebyshev" up to three states, "complete" above); or a basis or a
        torch module of one's own.
    degree : int or sequence of int, default=None
        Largest degree, of all states or of each; for splines the degree of the pieces. None takes
        3 for splines and 4 for Smolyak sets, and otherwise what suits the number of states, or of
        rows in X.
    knots : int, array-like or list of these, default=None
        Interior knots of the splines, or their number, of all states or of each; None for 10.
    kinks : array-like or list of these, default=None
        Points, in the coordinates of the states, at which the slope may jump: knots of
        multiplicity ``degree``.
    hidden_layer_sizes : int or sequence of int, default=(16, 16)
        Units in each hidden layer of "mlp".
    activation : str or callable, default="tanh"
        Activation of "mlp": a name, or a function of tensors. It must have derivatives, so "relu"
        is a poor choice for value functions.
    objective : {"auto", "collocation", "galerkin", "least_squares"}, default="auto"
        What residuals must do: be zero at as many states as there are coefficients, or as nearly
        as they can be at more of them (collocation); be orthogonal to the basis functions
        (galerkin); have the least mean square (least_squares). "auto" is collocation for bases and
        least_squares for networks.
    n_nodes : int or sequence of int, default=None
        Nodes of each state, or states in all where there is no grid; None for as many as there are
        coefficients, and four times as many for what has no grid.
    sampling : {"nodes", "sobol", "ergodic"}, default="nodes"
        Where residuals are taken if ``fit`` is given no states: at the nodes of the basis; at Sobol
        points, four for each coefficient; or at the states of a simulation of a first solution,
        over whose principal components the basis is then put.
    solver : {"auto", "newton", "gauss_newton", "lbfgs"}, default="auto"
        Newton's method, which takes one linear solve where the equation is linear in the unknown;
        Gauss-Newton for more conditions than coefficients, or networks; or L-BFGS.
    integration : str, default="auto"
        Rule for expectations: one of ``model.distribution.rules``, such as "gauss_hermite",
        "monomial1", "monomial2" or "sobol".
    n_integration_nodes : int, default=None
        Nodes of that rule (for "gauss_hermite", of each shock); None for its own choice.
    max_iter : int, default=500
        Iterations at most, from each start.
    tol : float, default=1e-10
        Largest residual at the nodes.
    n_restarts : int, default=2
        Further random starts of a network, of which the best is kept.
    warm_start : bool, default=False
        Whether to start from the coefficients of the last fit.
    random_state : int, RandomState or None, default=None
        Decides scattered states, simulations and the weights of networks.
    device : str or torch.device, default="auto"
        Where to compute.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    model_ : DynamicModel
        The model that was solved.
    coef_ : ndarray of shape (n_terms,) or (n_outputs, n_terms)
        Coefficients; for a network, all of its weights.
    nodes_ : ndarray of shape (n_nodes, n_features)
        States at which the residuals were taken.
    n_iter_ : int
        Iterations from the start that led to the solution.
    converged_ : bool
        Whether the solver met its tolerance and the solution passed its verification.
    history_ : list of dict
        One record an iteration.
    summary_ : dict
        Errors off the nodes, stability, domain and time; see there.

    See Also
    --------
    BellmanApproximator : The value of the best policy.

    References
    ----------
    Sawada and Zhong, *Parameterization and Neural Network*, section on residuals. K. Judd,
    *Numerical Methods in Economics*, section 12.6.

    Examples
    --------
    Saving too much in the growth model of Brock and Mirman:

    >>> from thetalearn import PolicyEvaluator
    >>> from thetalearn.dynamics.models import make_brock_mirman
    >>> model = make_brock_mirman()
    >>> best = PolicyEvaluator(model).fit()
    >>> half = lambda s: 0.5 * model.action_limits(s)[1]
    >>> frugal = PolicyEvaluator(model, decision_rule=half).fit()
    >>> states = best.nodes_
    >>> bool((frugal.value(states) < best.value(states)).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DYNAMIC,
        "decision_rule": [callable, None],
        "solver": [StrOptions({"auto", "newton", "gauss_newton", "lbfgs"})],
    }

    def __init__(
        self,
        model: DynamicModel | None = None,
        *,
        decision_rule: Callable[..., Tensor] | None = None,
        basis: str | Basis | nn.Module = "auto",
        degree: int | Sequence[int] | None = None,
        knots: Any = None,
        kinks: Any = None,
        hidden_layer_sizes: int | Sequence[int] = (16, 16),
        activation: str | Callable[[Tensor], Tensor] = "tanh",
        objective: str = "auto",
        n_nodes: int | Sequence[int] | None = None,
        sampling: str = "nodes",
        solver: str = "auto",
        integration: str = "auto",
        n_integration_nodes: int | None = None,
        max_iter: int = 500,
        tol: float = 1e-10,
        n_restarts: int = 2,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.decision_rule = decision_rule
        self.basis = basis
        self.degree = degree
        self.knots = knots
        self.kinks = kinks
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.objective = objective
        self.n_nodes = n_nodes
        self.sampling = sampling
        self.solver = solver
        self.integration = integration
        self.n_integration_nodes = n_integration_nodes
        self.max_iter = max_iter
        self.tol = tol
        self.n_restarts = n_restarts
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _policy_at(self, states: Tensor) -> Tensor:
        model = self.model_
        if self.decision_rule is None:
            rule = model.exact("policy")
            if rule is None:
                raise ValueError(
                    "decision_rule=None stands for the exact policy, which this model has not: "
                    "give one"
                )
        else:
            rule = model.with_named("decision_rule", self.decision_rule, 1)
        actions = rule(states)
        if not isinstance(actions, Tensor) or actions.shape != (len(states), model.n_actions):
            got = tuple(actions.shape) if isinstance(actions, Tensor) else type(actions).__name__
            raise ValueError(
                f"decision_rule(s) with s of shape {tuple(states.shape)} must give a tensor of "
                f"shape {(len(states), model.n_actions)}, but gave {got}"
            )
        return actions

    def _errors_at(self, states: Tensor) -> Tensor:
        equation = EvaluationEquation(self.model_, self._setup.to_inputs, self._policy_at(states))
        gap = residuals(equation, self._setup.function, self.theta_, self._setup.rows_at(states))
        rewards = self.model_.rewards(states, equation.actions).abs()[:, None]
        value = self._setup.at(states, self.theta_).abs()
        return gap / value.clamp(min=float(rewards.mean()))

    def _solve(self, setup: Setup, report: Report, theta: Tensor | None) -> tuple[Root, Verdict]:
        if setup.model.horizon is not None:
            raise ValueError(
                f"{type(self).__name__} evaluates policies for ever: use BellmanApproximator for "
                f"a model with horizon={setup.model.horizon}"
            )
        root = evaluate(
            setup,
            self._policy_at(setup.states),
            tol=self.tol * (1 - setup.model.beta),
            max_iter=self.max_iter,
            report=report,
            theta=theta,
            solver=self._resolved_solver(setup),
        )
        self._setup, self.theta_ = setup, root.theta
        self.coef_ = coefficients(root.theta, 1, setup.function.linear)
        return root, verify(setup, self._policy_at, lambda states: self._errors_at(states)[:, 0])
