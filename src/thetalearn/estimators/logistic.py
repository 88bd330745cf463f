"""Logistic and softmax regression."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.multiclass import type_of_target
from torch import Tensor

from .._sklearn_compat import Interval, StrOptions
from ..base import DEVICE, VERBOSE, ProbabilityMixin, ThetaClassifier, is_soft
from ..exceptions import ConvergenceWarning, SeparationWarning, warn_user
from ..fusion import ReplicaFit, Source
from ..monitor import FitMonitor
from ..objectives.cross_entropy import BinaryCrossEntropy, CrossEntropy, SoftmaxCrossEntropy
from ..representations.forms import Linear, SumForm
from ..rows import row_blocks
from ..solvers.newton import Minimum, newton, newton_cg
from ..threads import one_thread

__all__ = ["LogisticClassifier", "SoftmaxClassifier"]

#: A column this many standard deviations from zero is centred for the computation.
FAR = 10.0

#: Above this many parameters the Hessian costs more than the iterations it saves.
NEWTON_PARAMS = 1_000

ClassWeight = dict[Any, float] | str | None


class CrossEntropyClassifier(ProbabilityMixin, ThetaClassifier):
    """A linear model of logits fitted by cross-entropy; subclasses give the objective."""

    _accepts_sparse = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "penalize_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "solver": [StrOptions({"auto", "newton", "newton-cg"})],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        **VERBOSE,
        **DEVICE,
    }

    def __init__(
        self,
        *,
        alpha: float = 1e-4,
        fit_intercept: bool = True,
        penalize_intercept: bool = False,
        class_weight: ClassWeight = None,
        solver: str = "auto",
        tol: float = 1e-8,
        max_iter: int = 100,
        warm_start: bool = False,
        verbose: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.penalize_intercept = penalize_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device

    @abstractmethod
    def _objective(self, X: Tensor, y: Tensor, weight: Tensor | None) -> CrossEntropy:
        """What to minimise."""

    def _fit_rows(self, X: Tensor, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        objective = self._objective(X, y, self._class_weighted(y, weight))
        start = torch.zeros(objective.n_params, dtype=torch.float64, device=X.device)
        shape = (objective.n_logits, X.shape[1])
        if self.warm_start and getattr(self, "coef_", np.empty(0)).shape == shape:
            table = self._parameters().to(X.device)
            if objective.centre is not None:
                table[:, -1] += table[:, :-1] @ objective.centre
            start = table[:, : objective.width].reshape(-1)

        def report(record: dict[str, float], theta: Tensor) -> bool:
            return monitor(record, lambda: self._public(theta, objective))

        options: dict[str, Any] = {"tol": self.tol, "max_iter": self.max_iter, "report": report}
        by_newton = self.solver == "newton" or (
            self.solver == "auto" and objective.n_params <= NEWTON_PARAMS
        )
        with one_thread():  # blocks that fit the cache are too small to share
            found = (newton if by_newton else newton_cg)(objective, start, **options)
        monitor.close()
        for name, value in self._public(found.theta, objective).items():
            setattr(self, name, value)
        self.n_iter_, self.converged_, self.history_ = (
            found.n_iter,
            found.converged,
            monitor.history,
        )
        self._warn_about(objective, found)

    def _objective_options(self, X: Tensor) -> dict[str, Any]:
        return {
            "alpha": float(self.alpha),
            "fit_intercept": self.fit_intercept,
            "penalize_intercept": self.penalize_intercept,
            "centre": self._centre(X),
        }

    def _centre(self, X: Tensor) -> Tensor | None:
        """A point amid the rows, if a column lies so far from zero that it looks like a constant.

        A look at some of the rows is enough, as any point amid them serves.
        """
        if not self.fit_intercept or self.penalize_intercept:
            return None
        some = X[:: max(len(X) // 1_000, 1)][:2_000].to(torch.float64)
        middle, spread = some.mean(0), some.std(0, correction=0)
        far = (middle.abs() > FAR * spread) & (spread > 0)
        return torch.where(far, middle, 0.0) if bool(far.any()) else None

    def _public(self, theta: Tensor, objective: CrossEntropy) -> dict[str, np.ndarray]:
        """Fitted attributes from flat parameters."""
        table = theta.view(objective.n_logits, objective.width).cpu().numpy()
        if len(table) > 1:
            # Of the solutions with the same probabilities, the one whose rows sum to zero.
            table = table - table.mean(0)
        d = objective.X.shape[1]
        intercept = table[:, d].copy() if self.fit_intercept else np.zeros(len(table))
        if objective.centre is not None:
            intercept -= table[:, :d] @ objective.centre.cpu().numpy()
        return {"coef_": table[:, :d].copy(), "intercept_": intercept}

    def _parameters(self) -> Tensor:
        """Coefficients and intercepts side by side, one row for each logit."""
        return torch.from_numpy(np.column_stack([self.coef_, self.intercept_]))

    def _decision_form(self) -> SumForm:
        table = self._parameters().to(self._resolved_device() or "cpu")
        return SumForm(Linear(table[:, :-1].T), table[:, -1], len(table))

    def _decide_rows(self, X: Tensor) -> Tensor:
        table = self._parameters().to(X.device)
        logits = table.new_empty(len(X), len(table))
        for block in row_blocks(len(X), 8 * X.shape[1]):
            rows = X[block].to(torch.float64)
            logits[block] = torch.addmm(table[:, -1], rows, table[:, :-1].T)
        return logits[:, 0] if len(table) == 1 else logits

    def replica_parameters(self) -> frozenset[str]:
        """Parameters in which fits made together may differ.

        Returns
        -------
        frozenset of str
            Their names.

        Raises
        ------
        NotFusable
            If the parameters as they stand allow no common fit.
        """
        from .fused.logistic import logistic_parameters

        return logistic_parameters(self)

    @classmethod
    def fit_replicas(
        cls, fits: Sequence[ReplicaFit], sources: Sequence[Source], *, memory_budget: int
    ) -> Iterator[list[ReplicaFit]]:
        """Fit many at once, each as it would be alone.

        Parameters
        ----------
        fits : sequence of ReplicaFit
            What to fit, to which rows.
        sources : sequence of Source
            Where the rows come from.
        memory_budget : int
            Bytes to use at most.

        Yields
        ------
        list of ReplicaFit
            Those that are done.
        """
        from .fused.logistic import fit_logistic

        return fit_logistic(fits, sources, memory_budget)

    @classmethod
    def predict_replicas(
        cls, estimators: Sequence[CrossEntropyClassifier], X: Any, method: str
    ) -> list[Any] | None:
        """What a method of each of these estimators returns for X.

        Parameters
        ----------
        estimators : sequence of estimators
            Fitted ones of this class.
        X : array-like of shape (n_samples, n_features)
            Inputs.
        method : {"predict", "predict_proba", "predict_log_proba", "decision_function"}
            The method.

        Returns
        -------
        list of ndarray or None
            What each returns; None if it is not to be had at once.
        """
        from .fused.logistic import predict_logistic

        return predict_logistic(estimators, X, method)

    def _warn_about(self, objective: CrossEntropy, found: Minimum) -> None:
        name = type(self).__name__
        if self.alpha == 0 and separates(objective, found):
            self.converged_ = False
            warn_user(
                f"{name}: a hyperplane separates the classes, so the likelihood has no maximum at "
                "alpha=0 and the coefficients would grow without bound; they were left at the "
                "last iterate. Set alpha > 0, or drop the column that gives the class away",
                SeparationWarning,
            )
        elif not found.converged:
            warn_user(
                f"{name} did not converge ({found.reason}; {found.n_iter} iterations, "
                f"tol={self.tol}): raise max_iter, scale the columns, or raise alpha",
                ConvergenceWarning,
            )


class LogisticClassifier(CrossEntropyClassifier):
    r"""Logistic regression for two classes, also with soft labels.

    Minimises, over w and b, the weighted mean of

    .. math:: \ln(1 + e^{z_i}) - y_i z_i, \qquad z_i = w^\top x_i + b,

    plus :math:`\tfrac{\alpha}{2}\|w\|^2`. The label y may be any number in [0, 1], such as a share:
    this is then the fractional logit.

    Parameters
    ----------
    alpha : float, default=1e-4
        Weight of the l2 penalty, against the *mean* loss: scikit-learn's ``C`` is
        ``1 / (alpha * n_samples)``.
    fit_intercept : bool, default=True
        Whether to fit b.
    penalize_intercept : bool, default=False
        Whether b counts in the penalty.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; "balanced" gives all classes the same total weight.
    solver : {"auto", "newton", "newton-cg"}, default="auto"
        Newton's method with the Hessian, or with conjugate gradients for each step; "auto" takes
        the first up to 1000 parameters.
    tol : float, default=1e-8
        Tolerance on the Newton decrement: the length of the next step in the norm of the Hessian,
        which does not depend on the units of the inputs.
    max_iter : int, default=100
        Iterations at most.
    warm_start : bool, default=False
        Whether to start from the last fit.
    verbose : int, default=0
        Whether to show a progress bar.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Class labels; 0 and 1 for soft labels.
    coef_ : ndarray of shape (1, n_features)
        Coefficients w.
    intercept_ : ndarray of shape (1,)
        Intercept b.
    n_iter_ : int
        Iterations.
    converged_ : bool
        Whether the tolerance was met at a finite maximum of the likelihood.
    history_ : list of dict
        Loss and gradient by iteration.

    Warns
    -----
    SeparationWarning
        If ``alpha=0`` and a hyperplane separates the classes, so that there is no maximum.
    ConvergenceWarning
        If the tolerance was not met.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, chapter 3. A. Albert and J. Anderson, *On the Existence of Maximum Likelihood
    Estimates in Logistic Regression Models* (separation). L. Papke and J. Wooldridge, *Econometric
    Methods for Fractional Response Variables*.

    Examples
    --------
    >>> from thetalearn import LogisticClassifier
    >>> X = [[0.0], [1.0], [2.0], [3.0]]
    >>> model = LogisticClassifier().fit(X, ["no", "yes", "no", "yes"])
    >>> model.predict([[0.2], [2.8]])
    array(['no', 'yes'], dtype='<U3')
    >>> shares = LogisticClassifier().fit(X, [0.1, 0.3, 0.6, 0.8])
    >>> shares.predict_proba([[1.5]])[:, 1].round(2)
    array([0.43])
    """

    def _objective(self, X: Tensor, y: Tensor, weight: Tensor | None) -> CrossEntropy:
        return BinaryCrossEntropy(X, y, weight, **self._objective_options(X))

    def _encode(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        classes, probabilities = super()._encode(y)
        if len(classes) > 2:
            kind = "soft labels" if is_soft(y) else type_of_target(y)
            raise ValueError(
                "Only binary classification is supported. The type of the target is "
                f"{kind} with {len(classes)} classes: use SoftmaxClassifier"
            )
        return classes, probabilities

    def __sklearn_tags__(self) -> Any:
        """Tags; two classes only."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class SoftmaxClassifier(CrossEntropyClassifier):
    r"""Softmax (multinomial logistic) regression, also with soft labels.

    Minimises, over W and b, the weighted mean of the cross-entropy

    .. math:: \ln\sum_k e^{z_{ik}} - \sum_k y_{ik} z_{ik}, \qquad z_i = W x_i + b,

    plus :math:`\tfrac{\alpha}{2}\|W\|^2`. One vector added to all rows of W changes no probability;
    the solution returned is the one whose rows sum to zero.

    Parameters
    ----------
    alpha : float, default=1e-4
        Weight of the l2 penalty, against the *mean* loss: scikit-learn's ``C`` is
        ``1 / (alpha * n_samples)``.
    fit_intercept : bool, default=True
        Whether to fit b.
    penalize_intercept : bool, default=False
        Whether b counts in the penalty.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; "balanced" gives all classes the same total weight.
    solver : {"auto", "newton", "newton-cg"}, default="auto"
        Newton's method with the Hessian, or with conjugate gradients for each step; "auto" takes
        the first up to 1000 parameters.
    tol : float, default=1e-8
        Tolerance on the Newton decrement: the length of the next step in the norm of the Hessian,
        which does not depend on the units of the inputs.
    max_iter : int, default=100
        Iterations at most.
    warm_start : bool, default=False
        Whether to start from the last fit.
    verbose : int, default=0
        Whether to show a progress bar.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; 0, 1, ... for soft labels.
    coef_ : ndarray of shape (n_classes, n_features)
        Coefficients W.
    intercept_ : ndarray of shape (n_classes,)
        Intercepts b.
    n_iter_ : int
        Iterations.
    converged_ : bool
        Whether the tolerance was met at a finite maximum of the likelihood.
    history_ : list of dict
        Loss and gradient by iteration.

    Warns
    -----
    SeparationWarning
        If ``alpha=0`` and hyperplanes separate the classes, so that there is no maximum.
    ConvergenceWarning
        If the tolerance was not met.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, section 3.7.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from thetalearn import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> round(SoftmaxClassifier().fit(X, y).score(X, y), 2)
    0.98
    """

    def _objective(self, X: Tensor, y: Tensor, weight: Tensor | None) -> CrossEntropy:
        return SoftmaxCrossEntropy(X, y, weight, **self._objective_options(X))

    def _decision_form(self) -> SumForm:
        form = super()._decision_form()
        return form.times(form.constant.new_tensor([[-1], [1]])) if form.n_outputs == 2 else form

    def _decide_rows(self, X: Tensor) -> Tensor:
        logits = super()._decide_rows(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits


def separates(objective: CrossEntropy, found: Minimum) -> bool:
    """Whether theta, or a direction in which it still moved, certifies separable classes.

    A direction certifies if along it no row loses margin and some row gains.
    """
    hard = bool(((objective.y == 0) | (objective.y == 1)).all())
    if not hard:
        return False
    if bool((objective.margins(found.theta) > 0).all()):
        return True
    for direction in (found.direction, found.drift):
        gains = objective.margins(-direction)
        reach = float(gains.abs().max())
        if reach > 1e-3 and bool((gains >= -1e-6 * reach).all()):
            return True
    return False
