"""What the estimators of dynamic economic models share.

They take no data: the rows of X are states at which the equation is to hold, and what is learnt is
the unknown function of the model, a value function, a policy or a price.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._sklearn_compat import Interval, StrOptions, fit_context
from ..base import DEVICE, RANDOM_STATE, VERBOSE, ThetaEstimator
from ..dynamics.approximation import BASES, Representation, even_states
from ..dynamics.model import DynamicModel, Solution
from ..dynamics.run import Runner
from ..dynamics.setup import Setup
from ..dynamics.simulate import Policy, simulate, steady_state_of, transition_matrix
from ..dynamics.verify import Verdict
from ..exceptions import ConvergenceWarning, warn_user
from ..monitor import FitMonitor
from ..objectives.projection import Equation
from ..randomness import random_numbers
from ..representations.bases import Basis
from ..rows import output_like
from ..solvers.newton import Report
from ..solvers.root import Root
from ..threads import threads_for

__all__ = ["DynamicEstimator"]

_COUNT = Interval(Integral, 1, None, closed="left")

#: Parameters of all estimators of this family.
DYNAMIC: dict[str, list[Any]] = {
    "model": [DynamicModel, None],
    "basis": [StrOptions(set(BASES)), Basis, nn.Module],
    "degree": [Interval(Integral, 0, None, closed="left"), "array-like", None],
    "knots": [Interval(Integral, 0, None, closed="left"), "array-like", None],
    "kinks": [StrOptions({"auto"}), "array-like", None],
    "hidden_layer_sizes": ["array-like", _COUNT],
    "activation": [str, callable],
    "objective": [StrOptions({"auto", "collocation", "galerkin", "least_squares"})],
    "n_nodes": [_COUNT, "array-like", None],
    "sampling": [StrOptions({"nodes", "sobol", "ergodic"})],
    "integration": [str],
    "n_integration_nodes": [_COUNT, None],
    "max_iter": [_COUNT],
    "tol": [Interval(Real, 0, None, closed="neither")],
    "n_restarts": [Interval(Integral, 0, None, closed="left")],
    "warm_start": ["boolean"],
    **RANDOM_STATE,
    **DEVICE,
    **VERBOSE,
}

#: Those of estimators that can also be trained on minibatches.
SAMPLED: dict[str, list[Any]] = {
    "batch_size": [_COUNT],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
}

#: Weights up to which a network is solved by Gauss-Newton, whose matrix has their square.
MANY_WEIGHTS = 2000

#: States at which `summary_` measures errors.
N_SUMMARY = 1000

#: What is simulated before a sample of the ergodic set is taken, and between its states.
BURN_IN, N_PATHS = 200, 50


class UntilStopped:
    """Once a callback or Ctrl-C has asked to stop, ask every further solve to stop as well."""

    def __init__(self, monitor: FitMonitor) -> None:
        self._monitor, self.stopped = monitor, False

    def __call__(self, record: dict[str, float], theta: Tensor) -> bool:
        """Take note of an iteration."""
        if not self.stopped:
            try:
                self.stopped = self._monitor(record)
            except KeyboardInterrupt:
                self.stopped = True
        return self.stopped


class DynamicEstimator(ThetaEstimator):
    """Template: subclasses say what the unknown is, and solve for it."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = DYNAMIC
    model: DynamicModel | None
    theta_: Tensor
    converged_: bool
    _steady_of: Setup

    @abstractmethod
    def _n_outputs(self, model: DynamicModel) -> int:
        """Number of outputs of the unknown function."""

    @abstractmethod
    def _solve(self, setup: Setup, report: Report, theta: Tensor | None) -> tuple[Root, Verdict]:
        """Solve; sets what the subclass keeps, and gives how it ended."""

    @abstractmethod
    def _policy_at(self, states: Tensor) -> Tensor:
        """Actions (n, m) at states."""

    @abstractmethod
    def _errors_at(self, states: Tensor) -> Tensor:
        """Unit-free errors (n, E) at states."""

    @abstractmethod
    def _check_model(self, model: DynamicModel) -> None:
        """Refuse a model that lacks what this estimator needs."""

    def _default_model(self, bounds: np.ndarray) -> DynamicModel:
        """What ``model=None`` stands for, with states in the given bounds (d, 2)."""
        return regulator(bounds)

    def _path_policy(self) -> Policy:
        """The policy as simulations use it."""
        return self._policy_at

    def _policy_of_period(self, period: int) -> Policy:
        """The policy of a period of a finite horizon."""
        return self._policy_at

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> Self:
        """Solve the model.

        Parameters
        ----------
        X : array-like of shape (n_states, n_features), default=None
            States at which the residuals are taken, one column for each state of the model; None
            takes the nodes that suit the basis, or what ``sampling`` says.
        y : ignored
            Here for compatibility with pipelines and searches.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        DomainError
            If a row of X lies outside the model's ``state_bounds``.
        ModelError
            If some state allows no action.
        ValueError
            If there are fewer states than coefficients, or solver, objective and basis do not go
            together.
        """
        with self._all_or_nothing():
            started = time.perf_counter()
            states = None if X is None else distinct(self._state_rows(X, reset=True))
            warm = self._warm_theta()
            self.model_ = self._resolved_model(states)
            self._check_model(self.model_)
            if states is None:
                self._forget_columns(self.model_.n_states)
            with self._monitored(
                X, y, None, self._max_iterations(), self._past_history()
            ) as monitor:
                told = UntilStopped(monitor)
                self._fit_states(states, told, warm)
            # What was made of a start that was given up is no more than a start.
            self.converged_ = self.converged_ and not told.stopped
            self.history_ = monitor.history
            self._seconds = time.perf_counter() - started
            self._summary: dict[str, float] | None = None
        return self

    def _fit_states(self, states: Tensor | None, report: Report, theta: Tensor | None) -> None:
        rng = random_numbers(self.random_state)
        self._seed = int(rng.randint(np.iinfo(np.int32).max))
        setup = self._build(states, rng)
        if isinstance(self.kinks, str):
            self._check_kinks(setup)
        with threads_for(setup.function.n_parameters**2):
            start = self._usable(theta, setup)
            setup, root, verdict = self._solve_first(setup, states, rng, report, start)
            if self.sampling == "ergodic" and states is None:
                setup = self._build_ergodic(setup, rng)
                start = setup.fit(self._unknowns_at(setup.states))
                root, verdict = self._solve(setup, report, start)
        self._setup = setup
        self.nodes_ = setup.states.cpu().numpy()
        self.n_iter_ = max(root.n_iter, 1)
        self.converged_ = bool(root.converged and verdict.accepted)
        self._verdict = verdict
        self._report_trouble(root, verdict)

    def _solve_first(
        self,
        setup: Setup,
        states: Tensor | None,
        rng: np.random.RandomState,
        report: Report,
        theta: Tensor | None,
    ) -> tuple[Setup, Root, Verdict]:
        """Solve, before any ergodic sampling, and say for which nodes and knots."""
        return setup, *self._solve(setup, report, theta)

    def _check_kinks(self, setup: Setup) -> None:
        """Refuse ``kinks="auto"`` where it cannot be."""
        raise ValueError(
            f'kinks="auto" is for EulerApproximator; give {type(self).__name__} their places'
        )

    def _by_sampling(
        self,
        setup: Setup,
        equation: Any,
        report: Report,
        policy: Callable[[Tensor, Tensor], Tensor],
    ) -> Runner | None:
        """The solver of ``solver="adam"``, from a start to a root; None for other solvers."""
        if self._resolved_solver(setup) != "adam":
            return None
        from ..dynamics.sampled import is_affine, train_by_sampling

        def runner(theta: Tensor) -> Root:
            known = equation if isinstance(equation, Equation) else equation(setup.states, theta)
            drawn = self.integration == "auto" and is_affine(setup, known, theta)
            return train_by_sampling(
                setup,
                equation,
                theta,
                expectation="aio" if drawn else "quadrature",
                n_epochs=self.max_iter,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate_init,
                rng=random_numbers(self._seed),
                report=report,
                policy=policy,
            )

        return runner

    def _report_trouble(self, root: Root, verdict: Verdict) -> None:
        name = type(self).__name__
        if not root.converged:
            size = float(root.residual.abs().max())
            warn_user(
                f"{name} did not converge ({root.reason}; largest residual {size:.1e}, mean "
                f"error off the nodes {verdict.mean:.1e}): raise max_iter, choose another "
                "degree, basis or solver, or give the model a steady_state",
                ConvergenceWarning,
            )
        elif not verdict.accepted:
            warn_user(f"the solution of {name} is not one: {verdict.reason}", ConvergenceWarning)

    def _unknowns_at(self, states: Tensor) -> Tensor:
        """Outputs (n, m) of the fitted function at states."""
        return self._setup.at(states, self.theta_)

    def _build(
        self,
        states: Tensor | None,
        rng: np.random.RandomState,
        cloud: Tensor | None = None,
        kinks: np.ndarray | None = None,
        knots: np.ndarray | None = None,
    ) -> Setup:
        model = self.model_
        representation = self._representation(kinks, knots)
        objective = self._objective(representation)
        rule = model.distribution.nodes(
            self.integration, self.n_integration_nodes, random_state=self._seed
        )
        if states is None and self.sampling == "sobol":
            states = self._even(model, representation, rng)
        setup = Setup.build(
            model,
            representation,
            self._n_outputs(model),
            rule,
            states=states,
            cloud=cloud,
            galerkin=objective == "galerkin",
            rng=rng,
            device=self._resolved_device(),
        )
        self._check_choice(setup, objective)
        return setup

    def _build_for(self, n_outputs: int) -> Setup:
        """The same nodes for another function of the states."""
        setup = self._setup
        own = self._representation().build(
            setup.to_inputs.box,
            n_outputs,
            setup.to_inputs.chains,
            random_state=self._seed,
        )
        return replace(setup, approximation=own, tests=None)

    def _build_ergodic(self, setup: Setup, rng: np.random.RandomState) -> Setup:
        """The same over the states that the first solution leads to."""
        self._setup = setup
        count = max(4 * setup.n_terms, 10 * self.model_.n_states)
        if self.n_nodes is not None:
            count = int(np.prod(self.n_nodes))
        cloud = self._ergodic(count, rng)
        return self._build(cloud, rng, cloud)

    def _even(
        self, model: DynamicModel, representation: Representation, rng: np.random.RandomState
    ) -> Tensor:
        """States that fill the box evenly, for ``sampling="sobol"``."""
        probe = Setup.build(
            model,
            representation,
            self._n_outputs(model),
            model.distribution.nodes(self.integration, self.n_integration_nodes, self._seed),
            rng=rng,
        )
        count = 4 * probe.n_terms if self.n_nodes is None else int(np.prod(self.n_nodes))
        inputs = even_states(
            count, probe.to_inputs.box, probe.to_inputs.chains, int(rng.randint(2**31 - 1))
        )
        return probe.to_inputs.inverse(inputs)

    def _representation(
        self, kinks: np.ndarray | None = None, knots: np.ndarray | None = None
    ) -> Representation:
        own = None if isinstance(self.kinks, str) else self.kinks
        return Representation(
            self.basis,
            self.degree,
            self.knots if knots is None else knots,
            own if kinks is None else kinks,
            self.n_nodes,
            self.hidden_layer_sizes,
            self.activation,
        )

    def _objective(self, representation: Representation) -> str:
        if self.objective == "auto":
            return "least_squares" if representation.is_network else "collocation"
        if representation.is_network and self.objective == "galerkin":
            raise ValueError(
                'objective="galerkin" weighs residuals with the functions of a basis, which a '
                'network has not: choose objective="least_squares"'
            )
        return str(self.objective)

    def _check_choice(self, setup: Setup, objective: str) -> None:
        """The selection matrix: which solver goes with which conditions and functions."""
        if setup.n_conditions < setup.n_terms:
            raise ValueError(
                f"{setup.n_conditions} states are fewer than the {setup.n_terms} coefficients of "
                "each output: give more states or n_nodes, or choose a smaller degree, fewer "
                "knots or units"
            )
        solver = self._resolved_solver(setup)
        if solver in ("newton", "policy_iteration", "fixed_point") and not setup.function.linear:
            raise ValueError(
                f"solver={self.solver!r} needs a basis whose coefficients enter linearly, and a "
                'network has none: choose solver="gauss_newton", "lbfgs" or "adam"'
            )
        if solver == "newton" and not setup.square:
            raise ValueError(
                f'solver="newton" finds as many coefficients as there are conditions, but there '
                f"are {setup.n_conditions} conditions and {setup.n_terms} coefficients: choose "
                'solver="gauss_newton", or objective="galerkin", or n_nodes=None'
            )
        if solver in ("adam", "lbfgs") and objective == "galerkin":
            raise ValueError(
                f"solver={self.solver!r} minimises squared residuals: choose objective="
                '"least_squares", or solver="newton" for objective="galerkin"'
            )

    def _resolved_solver(self, setup: Setup) -> str:
        if self.solver != "auto":
            return str(self.solver)
        if setup.square:
            return "newton"
        small = setup.function.linear or setup.function.n_parameters <= MANY_WEIGHTS
        return "gauss_newton" if small else "lbfgs"

    def _resolved_model(self, states: Tensor | None) -> DynamicModel:
        if self.model is None:
            bounds = np.array([[-1.0, 1.0]] * 2)
            if states is not None:
                bounds = bounds_of(states)
            return self._default_model(bounds)
        if states is not None and states.shape[1] != self.model.n_states:
            raise ValueError(
                f"X has {states.shape[1]} features, but the model has {self.model.n_states} "
                f"states: {self.model.state_labels}"
            )
        return self.model

    def _warm_theta(self) -> Tensor | None:
        return getattr(self, "theta_", None) if self.warm_start else None

    def _usable(self, theta: Tensor | None, setup: Setup) -> Tensor | None:
        """Coefficients of the last fit, if the function still has as many."""
        if theta is None or len(theta) != setup.function.n_parameters:
            return None
        return theta

    def _forget_columns(self, d: int) -> None:
        self.n_features_in_ = d
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _state_rows(self, X: Any, *, reset: bool) -> Tensor:
        """Validated states (n, d) in float64; columns of a DataFrame are found by their names."""
        if hasattr(X, "columns"):
            X = self._by_name(X, reset)
        rows = self._input_rows(X, reset=reset)
        self._row_dtype = rows.dtype
        return rows.to(torch.float64)

    def _by_name(self, X: Any, reset: bool) -> Any:
        model = self.model if reset else self.model_
        if model is None or (reset and model.state_names is None):
            return X  # nothing tells which column is which state
        known = list(getattr(self, "feature_names_in_", ()))
        labels = model.state_labels
        if not reset and known and known != labels:
            return X
        if reset and not set(labels) & set(X.columns):
            return X  # other names: the columns are the states in their order
        missing = [name for name in labels if name not in list(X.columns)]
        if missing:
            raise ValueError(f"X lacks the state {missing[0]!r}: its columns must hold {labels}")
        return X[labels] if reset or known else X[labels].to_numpy()

    def _rows_inside(self, X: Any) -> Tensor:
        check_is_fitted(self, "model_")
        return self._state_rows(X, reset=False)

    def _like(self, values: Tensor, X: Any) -> Any:
        """Values (n, m) as X came: one column flat, in X's precision and kind."""
        flat = values[:, 0] if values.shape[1] == 1 else values
        return output_like(flat.to(self._row_dtype), X)

    def _matrix_like(self, values: Tensor, X: Any) -> Any:
        """Values of any shape, in X's precision and kind."""
        return output_like(values.to(self._row_dtype), X)

    def exact(self, which: str, X: ArrayLike) -> np.ndarray:
        """The model's exact solution at states.

        Parameters
        ----------
        which : {"policy", "value"}
            What to give.
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.

        Returns
        -------
        ndarray of shape (n_states,) or (n_states, n_actions)
            Actions or values.

        Raises
        ------
        ValueError
            If the model's solution is not known.
        """
        rows = self._rows_inside(X)
        function = self.model_.exact(which)
        if function is None:
            raise ValueError(f"the model has no exact {which}")
        values = function(rows)
        return self._like(values if values.ndim == 2 else values[:, None], X)

    def policy(self, X: ArrayLike) -> np.ndarray:
        """Actions at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States. Outside ``state_bounds`` the function is continued linearly.

        Returns
        -------
        ndarray of shape (n_states,) or (n_states, n_actions)
            Actions.
        """
        rows = self._rows_inside(X)
        return self._like(self._policy_at(rows), X)

    def simulate(
        self,
        start: ArrayLike | None = None,
        n_periods: int = 100,
        n_paths: int = 1,
        random_state: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Simulate paths under the policy.

        Parameters
        ----------
        start : array-like of shape (n_features,) or (n_paths, n_features), default=None
            First states; None starts in the steady state, or in the middle of the box without one.
        n_periods : int, default=100
            Number of transitions, at most the model's horizon if it has one.
        n_paths : int, default=1
            Number of paths.
        random_state : int, RandomState or None, default=None
            Draws the shocks; None uses the estimator's own ``random_state``.

        Returns
        -------
        states : ndarray of shape (n_paths, n_periods + 1, n_features)
            States.
        actions : ndarray of shape (n_paths, n_periods, n_actions)
            Actions.
        """
        check_is_fitted(self, "model_")
        rng = random_numbers(self._seed if random_state is None else random_state)
        first = self._first_states(start, n_paths)
        horizon = self.model_.horizon
        with threads_for(len(first)):
            paths = simulate(
                self.model_,
                self._path_policy() if horizon is None else self._policy_at,
                first,
                n_periods if horizon is None else min(n_periods, horizon),
                rng,
                periods=None if horizon is None else self._policy_of_period,
            )
        return (
            paths.states.transpose(0, 1).cpu().numpy(),
            paths.actions.transpose(0, 1).cpu().numpy(),
        )

    def ergodic_sample(self, n_states: int = 1000, random_state: Any = None) -> np.ndarray:
        """States that occur in the long run under the policy.

        Parameters
        ----------
        n_states : int, default=1000
            Number of states.
        random_state : int, RandomState or None, default=None
            Draws the shocks; None uses the estimator's own ``random_state``.

        Returns
        -------
        ndarray of shape (n_states, n_features)
            States.
        """
        check_is_fitted(self, "model_")
        rng = random_numbers(self._seed if random_state is None else random_state)
        return self._ergodic(n_states, rng).cpu().numpy()

    def _ergodic(self, n_states: int, rng: np.random.RandomState) -> Tensor:
        if self.model_.horizon is not None:
            raise ValueError(
                f"a model with horizon={self.model_.horizon} has no long run: use simulate, and "
                'sampling="nodes" or "sobol"'
            )
        first = self._first_states(None, N_PATHS)
        periods = -(-n_states // N_PATHS)
        paths = simulate(self.model_, self._path_policy(), first, BURN_IN + periods, rng)
        return paths.states[BURN_IN + 1 :].flatten(0, 1)[:n_states]

    def _first_states(self, start: ArrayLike | None, n_paths: int) -> Tensor:
        if start is None:
            s = self._steady
            state = self.model_.middle_states()[1] if s is None else s
            return state.expand(n_paths, -1).clone()
        given = torch.as_tensor(np.atleast_2d(np.asarray(start, dtype=np.float64)))
        if given.shape[1] != self.model_.n_states or len(given) not in (1, n_paths):
            raise ValueError(
                f"start of shape {tuple(given.shape)} must hold {self.model_.n_states} states, for "
                f"all of the {n_paths} paths or for each"
            )
        return given.expand(n_paths, -1).clone()

    @property
    def _steady(self) -> Tensor | None:
        """Where a path without shocks comes to rest."""
        if self.model_.horizon is not None:
            return None
        if "_steady_cache" not in self.__dict__ or self._steady_of is not self._setup:
            middle = self.model_.middle_states()[1]
            rest = steady_state_of(self.model_, self._path_policy(), middle)
            # A path may also come to rest at the end of the world, where nothing can be said.
            inside = rest is not None and bool(self._setup.to_inputs.inside(rest[None], 0.0))
            self._steady_cache = rest if inside else None
            self._steady_of = self._setup
        return self._steady_cache

    def residuals(self, X: ArrayLike) -> np.ndarray:
        """Unit-free residuals of the equation at states.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features)
            States.

        Returns
        -------
        ndarray of shape (n_states,) or (n_states, n_equations)
            Residuals with their sign.
        """
        rows = self._rows_inside(X)
        return self._like(self._errors_at(rows), X)

    def score(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> float:
        """Accuracy: minus the decimal logarithm of the mean absolute unit-free error.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_states, n_features), default=None
            States; None takes even ones in the box, off the nodes.
        y : ignored
            Here for compatibility with searches.

        Returns
        -------
        float
            3 is a mean error of a tenth of a percent. Larger is better, 16 is the most that is
            told, and a solution whose errors are not finite scores -16.
        """
        check_is_fitted(self, "model_")
        rows = self._summary_states() if X is None else self._rows_inside(X)
        errors = self._errors_at(rows).abs().amax(1)
        mean = float(torch.where(errors.isfinite(), errors, 1e16).mean())
        return float(np.clip(-np.log10(max(mean, 1e-16)), -16, 16))

    def _summary_states(self) -> Tensor:
        setup = self._setup
        inputs = even_states(N_SUMMARY, setup.to_inputs.box, setup.to_inputs.chains, self._seed + 2)
        return setup.to_inputs.inverse(inputs).to(setup.states)

    @property
    def summary_(self) -> dict[str, float]:
        """How good the solution is, as a dict.

        ``mean``, ``p90``, ``p99`` and ``max`` of the absolute unit-free errors at even states off
        the nodes; ``outside``, the share of next states outside the domain; ``spectral_radius`` of
        the closed loop at its steady state (NaN without one); ``path_error``, the largest error on
        paths without shocks; ``n_iter`` and ``seconds`` of the fit.
        """
        check_is_fitted(self, "model_")
        if self._summary is None:
            self._summary = self._summarise()
        return dict(self._summary)

    def _summarise(self) -> dict[str, float]:
        states = self._summary_states()
        errors = self._errors_at(states).abs().amax(1).cpu().numpy()
        rows = self._setup.rows_at(states)
        actions = rows.repeated(self._policy_at(states))
        after = self.model_.next_states(rows.repeated(rows.states), actions, rows.shocks())
        inside = self._setup.to_inputs.inside(after).double()
        radius = float("nan")
        if self._steady is not None:
            loop = transition_matrix(self.model_, self._path_policy(), self._steady)
            radius = float(torch.linalg.eigvals(loop).abs().max())
        return {
            "mean": float(errors.mean()),
            "p90": float(np.quantile(errors, 0.9)),
            "p99": float(np.quantile(errors, 0.99)),
            "max": float(errors.max()),
            "outside": 1 - float(rows.mean(inside[:, None]).mean()),
            "spectral_radius": radius,
            "path_error": self._verdict.path_error,
            "n_iter": self.n_iter_,
            "seconds": self._seconds,
        }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the estimator and, if ``deep``, those of its model.

        Parameters
        ----------
        deep : bool, default=True
            Whether to give the model's parameters as ``model__<name>``.

        Returns
        -------
        dict
            Values by name.
        """
        params = super().get_params(deep=deep)
        if deep and isinstance(self.model, DynamicModel):
            for name in self.model.parameter_names():
                own = self.model.params.get(name, self.model.discount)
                params[f"model__{name}"] = own
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the estimator, and of its model as ``model__<name>``.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self : object
            The estimator.
        """
        own = {k: v for k, v in params.items() if not k.startswith("model__")}
        nested = {k.removeprefix("model__"): v for k, v in params.items() if k not in own}
        super().set_params(**own)
        if nested:
            if self.model is None:
                raise ValueError(f"model=None has no parameter {next(iter(nested))!r}")
            self.model = self.model.with_params(**nested)
        return self

    def __sklearn_tags__(self) -> Any:
        """Tags: no target is needed."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags


def coefficients(theta: Tensor, n_outputs: int, linear: bool) -> np.ndarray:
    """Coefficients as shown: (K,) for one output, (m, K) for several, flat for a network."""
    values = theta.cpu().numpy().copy()
    if not linear:
        return values
    return values if n_outputs == 1 else values.reshape(-1, n_outputs).T.copy()


def distinct(states: Tensor) -> Tensor:
    """The states, each once: a repeated one determines no further coefficient."""
    found = torch.unique(states, dim=0)
    # The memory of an array need not lie where a tensor's does, on which the last bits depend.
    return found if len(found) < len(states) else states.clone()


def bounds_of(states: Tensor) -> np.ndarray:
    """A box (d, 2) of some width around states."""
    bounds = torch.stack(torch.aminmax(states, dim=0), 1).cpu().numpy()
    flat = bounds[:, 0] == bounds[:, 1]
    width = np.maximum(1.0, np.abs(bounds[flat, :1]))
    bounds[flat] += width * np.array([-1.0, 1.0])
    return bounds


def regulator(bounds: np.ndarray) -> DynamicModel:
    r"""The regulator that ``model=None`` stands for, which never leaves its box.

    In the coordinates x that put the box between -1 and 1, the loss is the mean of all
    :math:`x_j^2` plus :math:`u^2 / d`, and :math:`x_j' = 0.9 x_j`, to which u is added for the
    first.
    """
    middle, half = middle_and_half(bounds)
    return DynamicModel(
        reward=_loss,
        transition=_controlled,
        discount=_DISCOUNT,
        state_bounds=bounds,
        action_names=["u"],
        steady_state=_at_rest,
        solution=Solution(_regulator_policy, _regulator_value),
        params={"middle": middle, "half": half},
        name="linear-quadratic regulator",
    )


def middle_and_half(bounds: np.ndarray) -> tuple[Tensor, Tensor]:
    """Middle (d,) of a box and half of its widths (d,)."""
    low, high = torch.from_numpy(bounds).to(torch.float64).unbind(1)
    return (low + high) / 2, (high - low) / 2


#: Discount and persistence of the regulator, what its value falls with the square of the first
#: state and of the others, and how strongly its control follows the first.
_DISCOUNT, _PERSISTENCE = 0.95, 0.9
_LEAN = 1 - _DISCOUNT - _DISCOUNT * _PERSISTENCE**2
_STEERED = (math.sqrt(_LEAN**2 + 4 * _DISCOUNT) - _LEAN) / (2 * _DISCOUNT)
_LEFT_ALONE = 1 / (1 - _DISCOUNT * _PERSISTENCE**2)
_FEEDBACK = _DISCOUNT * _STEERED * _PERSISTENCE / (1 + _DISCOUNT * _STEERED)


def _scaled(s: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    return (s - middle.to(s)) / half.to(s)


def _loss(s: Tensor, a: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    return -(_scaled(s, middle, half).square().sum(1) + a[:, 0].square()) / s.shape[1]


def _controlled(s: Tensor, a: Tensor, e: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    moved = _PERSISTENCE * _scaled(s, middle, half)
    moved = torch.cat([moved[:, :1] + a, moved[:, 1:]], 1)
    return middle.to(s) + half.to(s) * moved


def _at_rest(middle: Tensor) -> tuple[Tensor, Tensor]:
    return middle, middle.new_zeros(1)


def _regulator_policy(s: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    return -_FEEDBACK * _scaled(s, middle, half)[:, :1]


def _regulator_value(s: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    squares = _scaled(s, middle, half).square()
    first, others = squares[:, 0], squares[:, 1:].sum(1)
    return -(_STEERED * first + _LEFT_ALONE * others) / s.shape[1]
