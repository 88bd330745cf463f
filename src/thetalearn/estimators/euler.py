"""Policy functions from Euler equations, and unknown functions from functional equations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .._sklearn_compat import StrOptions
from ..dynamics.bellman import bellman_errors, continuation, evaluate
from ..dynamics.equations import EulerEquation
from ..dynamics.euler import (
    consumption_errors,
    euler_errors,
    marginal_rewards_keep_sign,
    policy_of,
    solve_euler,
)
from ..dynamics.greedy import GreedyActions
from ..dynamics.kinks import find_kinks, spread_knots
from ..dynamics.model import DynamicModel
from ..dynamics.run import run
from ..dynamics.setup import Setup
from ..dynamics.structure import check_derivable
from ..dynamics.verify import Verdict
from ..randomness import random_numbers
from ..representations.bases import Basis
from ..solvers.newton import Report, ignore
from ..solvers.root import Root
from .dynamic import DYNAMIC, SAMPLED, DynamicEstimator, coefficients, middle_and_half

__all__ = ["EulerApproximator", "FunctionalEquation"]

#: Times that knots are moved to where the solution bends.
KINK_ROUNDS = 6

#: Steps of a solver before they are moved again.
KINK_STEPS = 8

#: Share of the box by which a kink may still move.
KINK_TOL = 1e-7


class ResidualEstimator(DynamicEstimator):
    """Template of the estimators whose unknowns solve an equation in expectation."""

    def _n_constraints(self, model: DynamicModel) -> int:
        if model.constraint is None:
            return 0
        s = model.middle_states()
        return int(model.constraints(s, model.inside_actions(s)).shape[1])

    def _n_outputs(self, model: DynamicModel) -> int:
        return model.n_actions + self._n_constraints(model)

    def _solve(self, setup: Setup, report: Report, theta: Tensor | None) -> tuple[Root, Verdict]:
        model = setup.model
        equation = EulerEquation(
            model, setup.to_inputs, marginal_rewards_keep_sign(model), self._n_constraints(model)
        )
        solution = solve_euler(
            setup,
            equation,
            self._resolved_solver(setup),
            tol=self.tol,
            max_iter=self.max_iter,
            report=report,
            rng=random_numbers(self._seed),
            n_restarts=self.n_restarts,
            theta=theta,
            runner=self._by_sampling(
                setup, equation, report, lambda s, th: policy_of(setup, equation, th)(s)
            ),
        )
        self._equation, self._setup, self.theta_ = equation, setup, solution.theta
        self.coef_ = coefficients(solution.theta, setup.function.n_outputs, setup.function.linear)
        return solution.root, solution.verdict

    def _policy_at(self, states: Tensor) -> Tensor:
        return policy_of(self._setup, self._equation, self.theta_)(states)

    def _errors_at(self, states: Tensor) -> Tensor:
        return euler_errors(self._setup, self._equation, self.theta_, states)

    def gradient(self, X: ArrayLike) -> np.ndarray:
        """Derivatives of what `predict` gives in the states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.

        Returns
        -------
        ndarray of shape (n_states, n_features) or (n_states, n_outputs, n_features)
            Derivatives.
        """
        rows = self._rows_inside(X).detach().requires_grad_()
        setup = self._setup
        with torch.enable_grad():
            x = setup.to_inputs(rows)
            points = setup.function.at(x.detach())
            moved = (points.jacobian(self.theta_) * (x - x.detach())[:, None, :]).sum(-1)
            actions = self._equation.actions(rows, points.value(self.theta_) + moved)
            slopes = [
                torch.autograd.grad(actions[:, j].sum(), rows, retain_graph=True)[0]
                for j in range(actions.shape[1])
            ]
        stacked = torch.stack(slopes, 1)
        return self._matrix_like(stacked[:, 0] if len(slopes) == 1 else stacked, X)


class EulerApproximator(ResidualEstimator):
    r"""Policy functions that solve the Euler equations of a model.

    For a consumer with return R the equation is

    .. math:: u'(c(s)) = \beta\, E[R\, u'(c(s'))],

    and in general it is the model's ``euler``, or what automatic differentiation of its reward and
    transition gives. Where a bound or constraint may bind, the equation is the complementarity of
    the gain from more of an action with its distance to the bound. Newton's method starts from the
    stable linear policy around the steady state where there is one, and from simple policies
    otherwise; a solution counts only after it has been tried off the nodes and along its own paths.

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
    kinks : "auto", array-like or list of these, default=None
        Points, in the coordinates of the states, at which the slope may jump: knots of
        multiplicity ``degree``. "auto", for splines of one state, finds where bounds begin to bind
        and the states that lead there, and spreads the other knots by curvature; ``kinks_`` then
        holds the places.
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
    solver : {"auto", "newton", "gauss_newton", "fixed_point", "lbfgs", "adam"}, default="auto"
        Newton's method for as many conditions as coefficients; Gauss-Newton (Levenberg-Marquardt)
        for more; fixed point, which is time iteration, or the method of endogenous grid points for
        a model with an ``endogenous_grid``, with Anderson acceleration; L-BFGS; or minibatches of
        sampled states with Adam, for large networks. "auto" is "newton" or "gauss_newton", and
        "lbfgs" for networks of more than 2000 weights.
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
        Largest unit-free residual at the nodes.
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
    BellmanApproximator : Value functions, also where there are no first-order conditions.
    FunctionalEquation : Other unknown functions.

    References
    ----------
    Sawada and Zhong, *Parameterization and Neural Network*, sections on residuals, objectives and
    solvers. K. Judd, *Projection Methods for Solving Aggregate Growth Models*. M. Miranda and
    P. Fackler, *Applied Computational Economics and Finance*, section 9.7.

    Examples
    --------
    A growth model without a closed form, and the errors of its Euler equation:

    >>> import numpy as np
    >>> from thetalearn import EulerApproximator
    >>> from thetalearn.dynamics.models import make_growth
    >>> growth = EulerApproximator(make_growth(), degree=6).fit()
    >>> growth.summary_["max"] < 1e-5
    True
    >>> errors = growth.euler_errors(growth.ergodic_sample(500, random_state=0), unit="consumption")
    >>> bool(np.abs(errors).mean() < 1e-6)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DYNAMIC,
        **SAMPLED,
        "solver": [StrOptions({"auto", "newton", "gauss_newton", "fixed_point", "lbfgs", "adam"})],
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

    def _check_model(self, model: DynamicModel) -> None:
        if model.horizon is not None:
            raise ValueError(
                f"horizon={model.horizon}: EulerApproximator solves for policies that last; use "
                "BellmanApproximator for a finite horizon"
            )
        if model.discrete_actions is not None:
            raise ValueError(
                "a choice from discrete_actions has no Euler equation: use BellmanApproximator"
            )
        if model.euler is None:
            check_derivable(model)

    def _solve(self, setup: Setup, report: Report, theta: Tensor | None) -> tuple[Root, Verdict]:
        self._value: tuple[Setup, Tensor] | None = None
        return super()._solve(setup, report, theta)

    def _solve_first(
        self,
        setup: Setup,
        states: Tensor | None,
        rng: np.random.RandomState,
        report: Report,
        theta: Tensor | None,
    ) -> tuple[Setup, Root, Verdict]:
        setup, root, verdict = super()._solve_first(setup, states, rng, report, theta)
        if not isinstance(self.kinks, str):
            return setup, root, verdict
        setup, start = self._follow_kinks(setup, states, rng)
        return setup, *self._solve(setup, report, start)

    def _follow_kinks(
        self, setup: Setup, states: Tensor | None, rng: np.random.RandomState
    ) -> tuple[Setup, Tensor]:
        """Put knots where the solution bends, and solve again until they stay."""
        kinks = np.zeros(0)
        theta = self.theta_
        width = float(np.ptp(setup.to_inputs.box))
        for rounds in range(KINK_ROUNDS):
            found = find_kinks(setup, self._equation, theta)
            settled = rounds > 0 and len(found) == len(kinks)
            if settled and np.allclose(found, kinks, rtol=0, atol=KINK_TOL * width):
                break
            kinks = found
            knots = spread_knots(self._n_knots(), setup, self._equation, theta)
            before, setup = setup, self._build(states, rng, kinks=kinks, knots=knots)
            start = setup.fit(before.at(setup.states, theta))
            conditions = setup.projection(self._equation)
            solver = self._resolved_solver(setup)
            theta = run(
                conditions, solver, start, tol=self.tol, max_iter=KINK_STEPS, report=ignore
            ).theta
        self.kinks_ = kinks
        return setup, theta

    def _check_kinks(self, setup: Setup) -> None:
        if self.basis != "bspline" or setup.model.n_states > 1:
            raise ValueError(
                'kinks="auto" needs basis="bspline" and a model of one state: give their places'
            )
        if self.knots is not None and np.ndim(self.knots) > 0:
            raise ValueError('kinks="auto" places the knots itself: give knots as a number')
        if self.solver not in ("auto", "newton", "gauss_newton"):
            raise ValueError(
                f'kinks="auto" goes with solver="newton" or "gauss_newton", not {self.solver!r}'
            )

    def _n_knots(self) -> int:
        return 10 if self.knots is None else int(self.knots)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Actions at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States. Outside ``state_bounds`` the policy is continued linearly.

        Returns
        -------
        ndarray of shape (n_states,) or (n_states, n_actions)
            Actions.
        """
        return self.policy(X)

    def value(self, X: ArrayLike) -> np.ndarray:
        """Value of the policy at states, by one further solve at the first call.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.

        Returns
        -------
        ndarray of shape (n_states,)
            Values.
        """
        rows = self._rows_inside(X)
        setup, theta = self._value_function()
        return self._like(continuation(setup, theta)(rows)[:, None], X)

    def bellman_errors(self, X: ArrayLike) -> np.ndarray:
        """Unit-free errors of the Bellman equation that the value of the policy makes, at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.

        Returns
        -------
        ndarray of shape (n_states,)
            Errors with their sign; see `BellmanApproximator.bellman_errors`.
        """
        rows = self._rows_inside(X)
        setup, theta = self._value_function()
        return self._like(bellman_errors(setup, GreedyActions("newton"), theta, rows)[:, None], X)

    def _value_function(self) -> tuple[Setup, Tensor]:
        """The value of the policy: nodes and coefficients, solved for once."""
        if self.model_.reward is None:
            raise ValueError("the model has no reward, so its policy has no value")
        if self._value is None:
            setup = self._build_for(1)
            root = evaluate(setup, self._policy_at(setup.states), tol=1e-12, max_iter=50)
            self._value = setup, root.theta
        return self._value

    def euler_errors(self, X: ArrayLike, unit: str = "residual") -> np.ndarray:
        r"""Errors of the Euler equations at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.
        unit : {"residual", "consumption"}, default="residual"
            Unit-free residuals, such as :math:`1 - \beta E[R u'(c')] / u'(c)`; or relative
            mistakes in the actions (consumption) that these amount to, of which 1e-3 is a tenth of
            a percent. The latter need a model with a reward.

        Returns
        -------
        ndarray of shape (n_states,) or (n_states, n_equations)
            Errors with their sign.

        References
        ----------
        K. Judd, *Projection Methods for Solving Aggregate Growth Models*, section 5.
        """
        if unit not in ("residual", "consumption"):
            raise ValueError(f'unit={unit!r} must be "residual" or "consumption"')
        rows = self._rows_inside(X)
        if unit == "residual":
            return self._like(self._errors_at(rows), X)
        if self.model_.reward is None:
            raise ValueError(
                'unit="consumption" needs a model with a reward: choose unit="residual"'
            )
        return self._like(consumption_errors(self._setup, self._equation, self.theta_, rows), X)


class FunctionalEquation(ResidualEstimator):
    r"""An unknown function that solves an equation of one's own.

    The model's ``euler(s, f, s_next, f_next)`` is the residual of a functional equation
    :math:`E[h(s, f(s), s', f(s'), e)] = 0`, of which ``transition`` gives the next states. Its
    "actions" are the values of the unknown function: a price, a law of motion, a value.

    Parameters
    ----------
    model : DynamicModel, default=None
        The problem; see `thetalearn.dynamics.models` for ready-made ones. None stands for
        the discounted sum of the means of states that fade to the middle of the box of X, with as
        many states as X has columns (two without X).
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
        is a poor choice for its derivatives.
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
    EulerApproximator : Policies of a model that maximises.

    References
    ----------
    Sawada and Zhong, *Parameterization and Neural Network*, sections on residuals and objectives.
    K. Judd, *Numerical Methods in Economics*, chapter 11.

    Examples
    --------
    The price of a claim to dividends d that follow an autoregression:

    >>> import numpy as np
    >>> from thetalearn import FunctionalEquation
    >>> from thetalearn.dynamics import AR1, DynamicModel
    >>> model = DynamicModel(
    ...     transition=lambda s, p, e: e,
    ...     euler=lambda s, p, s_next, p_next: p - 0.9 * (s_next + p_next),
    ...     shocks=AR1(0.5, 0.1, state=0),
    ...     state_bounds=[(-1.0, 1.0)],
    ...     action_names=["price"],
    ... )
    >>> price = FunctionalEquation(model, degree=3).fit()
    >>> bool(abs(price.predict([[0.4]])[0] - 0.9 * 0.5 / (1 - 0.9 * 0.5) * 0.4) < 1e-12)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DYNAMIC,
        "solver": [StrOptions({"auto", "newton", "gauss_newton", "lbfgs"})],
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
        self.integration = integration
        self.n_integration_nodes = n_integration_nodes
        self.max_iter = max_iter
        self.tol = tol
        self.n_restarts = n_restarts
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _default_model(self, bounds: np.ndarray) -> DynamicModel:
        return DynamicModel(
            transition=_fading,
            euler=_present_value,
            state_bounds=bounds,
            action_names=["value"],
            params=dict(zip(("middle", "half"), middle_and_half(bounds), strict=True)),
        )

    def _check_model(self, model: DynamicModel) -> None:
        if model.euler is None:
            raise ValueError(
                "FunctionalEquation needs a model with a residual, given as euler=; for one with a "
                "reward use BellmanApproximator or EulerApproximator"
            )

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Values of the unknown function at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States. Outside ``state_bounds`` the function is continued linearly.

        Returns
        -------
        ndarray of shape (n_states,) or (n_states, n_outputs)
            Values.
        """
        return self.policy(X)


def _fading(s: Tensor, f: Tensor, e: Tensor, middle: Tensor) -> Tensor:
    return middle.to(s) + 0.9 * (s - middle.to(s))


def _present_value(
    s: Tensor, f: Tensor, s_next: Tensor, f_next: Tensor, middle: Tensor, half: Tensor
) -> Tensor:
    x = (s - middle.to(s)) / half.to(s)
    return f - x.mean(1, keepdim=True) - 0.95 * f_next
