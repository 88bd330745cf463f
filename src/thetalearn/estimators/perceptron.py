"""The perceptron, in primal and in kernel form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._sklearn_compat import Interval, StrOptions, fit_context
from ..base import DEVICE, RANDOM_STATE, VERBOSE, ThetaClassifier, is_soft
from ..exceptions import ConvergenceWarning, warn_user
from ..monitor import FitMonitor
from ..randomness import random_numbers
from ..representations.forms import Form, Linear, SumForm
from ..solvers.perceptron import Binary, Dual, Primal, draw_order, train
from .kernel import KernelFamily, kernel_form, kernel_sums

__all__ = ["PerceptronClassifier"]

DUAL = ("kernel_", "support_", "support_vectors_", "dual_coef_")


class PerceptronClassifier(KernelFamily, ThetaClassifier):
    r"""The perceptron for two classes, or one perceptron for each class against the rest.

    With labels :math:`y \in \{-1, 1\}` and inputs :math:`\tilde x = (x, 1)`, which absorb the
    intercept, it predicts :math:`\operatorname{sign}(w \cdot \tilde x)`, where sign(0) = 1 stands
    for the second of two classes. Starting from w = 0, rows are visited one after another, and on
    each mistake

    .. math:: w \leftarrow w + y_i \tilde x_i.

    If the classes can be separated by a margin γ and all :math:`\|\tilde x_i\| \le R`, there are at
    most :math:`(R/\gamma)^2` mistakes. If they cannot, the rule never comes to rest: the fit stops
    at ``max_iter`` epochs and keeps the iterate that was best at the end of an epoch.

    With a kernel other than "linear", :math:`w = \sum_i \alpha_i y_i \psi(x_i)` is known by the
    numbers α of mistakes on each row, and the prediction is
    :math:`\operatorname{sign}\big(\sum_i \alpha_i y_i k(x_i, x)\big)`. The constant 1 is then part
    of the kernel or absent: "polynomial" with ``degree=1, gamma=1, coef0=1`` is the dual form of
    "linear". The fit holds the kernel matrix, ``n_samples ** 2`` numbers.

    Parameters
    ----------
    kernel : {"linear", "polynomial", "rbf", "laplacian", "arccos0", "arccos1", "arccos2", "ntk", \
"precomputed"} or callable, default="linear"
        The kernel, as in `KernelRidgeRegressor`; "linear" is the primal form.
    max_iter : int, default=1000
        Epochs at most, each of ``n_samples`` visits.
    sampling : {"replacement", "shuffle"}, default="replacement"
        Rows of an epoch: drawn uniformly with replacement, or each once in random order.
    gamma : float, "scale" or None, default=None
        Parameter of the kernel; None is 1 / n_features, "scale" is
        1 / (n_features * variance of X).
    coef0 : float, default=1.0
        Constant ≥ 0 of "polynomial", "arccos*" and "ntk".
    degree : int, default=3
        Power ≥ 1 of "polynomial".
    depth : int, default=1
        Number ≥ 1 of layers of "arccos*" and "ntk".
    kernel_params : dict, default=None
        Further arguments of a callable kernel.
    random_state : int, RandomState instance or None, default=None
        Seed of the order of the rows, which is the same for all classes and kernels.
    verbose : int, default=0
        Whether to show a progress bar.
    device : str or torch.device, default="auto"
        Where to compute the kernel and predictions; "auto" leaves the data where they are. The
        updates follow one another and always run on the CPU.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights, for "linear".
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Weight of the constant 1, for "linear".
    dual_coef_ : ndarray of shape (1, n_support) or (n_classes, n_support)
        Numbers of mistakes times labels, :math:`\alpha_i y_i`, of the rows in ``support_``; for
        other kernels.
    support_ : ndarray of shape (n_support,)
        Numbers of the training rows on which there were mistakes; for other kernels.
    support_vectors_ : ndarray of shape (n_support, n_features)
        These rows; for "precomputed", the same as ``support_``.
    kernel_ : callable
        The kernel with its parameters; for other kernels than "linear".
    n_iter_ : int
        Epochs.
    converged_ : bool
        Whether no mistake is left on the training rows, for any class.
    history_ : list of dict
        For each epoch, the "mistakes" made on the way and the "errors", the training rows that the
        best iterate so far gets wrong; both summed over the classes.

    Warns
    -----
    ConvergenceWarning
        If the fit stopped before a full check of the training rows showed no mistake.

    Notes
    -----
    The rows are best scaled, so that the constant 1 is of their size. A rule that visits rows one
    by one has no objective in which weights could enter: there is no ``sample_weight``.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, sections 4.2 and 4.3. A. Novikoff, *On Convergence Proofs on Perceptrons* (the
    bound). S. Gallant, *Perceptron-Based Learning Algorithms* (keeping the best iterate, the
    "pocket").

    Examples
    --------
    No line separates the corners of a square by their colour as on a chessboard; a conic does.

    >>> from thetalearn import PerceptronClassifier
    >>> X = [[-1, -1], [-1, 1], [1, -1], [1, 1]]
    >>> y = ["dark", "light", "light", "dark"]
    >>> model = PerceptronClassifier("polynomial", degree=2, random_state=0).fit(X, y)
    >>> model.predict(X)
    array(['dark', 'light', 'light', 'dark'], dtype='<U5')
    >>> model.converged_
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **KernelFamily._family_constraints,
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "sampling": [StrOptions({"replacement", "shuffle"})],
        **RANDOM_STATE,
        **VERBOSE,
        **DEVICE,
    }

    def __init__(
        self,
        kernel: str | Callable[..., Any] = "linear",
        *,
        max_iter: int = 1_000,
        sampling: str = "replacement",
        gamma: float | str | None = None,
        coef0: float = 1.0,
        degree: int = 3,
        depth: int = 1,
        kernel_params: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        self.kernel = kernel
        self.max_iter = max_iter
        self.sampling = sampling
        self.gamma = gamma
        self.coef0 = coef0
        self.degree = degree
        self.depth = depth
        self.kernel_params = kernel_params
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs, finite; the kernel matrix for ``kernel="precomputed"``.
        y : array-like or torch.Tensor of shape (n_samples,)
            Class labels.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an input is empty, not finite, or of the wrong shape, if there is one class only, or
            if the labels are probabilities.
        """
        return self._fit(X, y, None)

    def _encode(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        if is_soft(y):
            raise ValueError(
                "Unknown label type: PerceptronClassifier learns from mistakes and needs class "
                "labels, but y holds probabilities; use LogisticClassifier or SoftmaxClassifier"
            )
        return super()._encode(y)

    def _fit_rows(self, X: Tensor, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        for name in ("coef_", "intercept_", *DUAL):
            self.__dict__.pop(name, None)
        labels = np.ascontiguousarray(y.T.cpu().numpy() > 0)
        labels = labels if len(labels) > 2 else labels[1:]
        problems: list[Binary]
        if self.kernel == "linear":
            rows = with_ones(X).cpu().numpy()
            problems = [Primal(positive, rows) for positive in labels]
            public = linear_attributes
        else:
            kernel = self._make_kernel(X, None)
            centres = self._columns if self.kernel == "precomputed" else X
            gram = self._gram(kernel, X, centres).cpu().numpy()
            problems = [Dual(positive, gram) for positive in labels]
            public = partial(dual_attributes, kernel, centres.cpu().numpy())
        run = train(
            problems,
            partial(draw_order, random_numbers(self.random_state), len(X), self.sampling),
            self.max_iter,
            lambda record, best: monitor(record, lambda: public(np.stack(best))),
        )
        monitor.close()
        for name, value in public(np.stack(run.best)).items():
            setattr(self, name, value)
        self.n_iter_, self.converged_ = max(run.n_iter, 1), sum(run.errors) == 0
        self.history_ = monitor.history
        if not self.converged_:
            warn_user(
                f"{type(self).__name__} did not converge ({run.reason}): {max(run.errors)} of "
                f"{len(X)} rows are still on the wrong side, and the best iterate is kept. If the "
                f"classes can be separated with kernel={self.kernel!r}, raise max_iter or scale "
                "the columns; if not, choose another kernel",
                ConvergenceWarning,
            )

    def functional_form(self, response_method: str = "decision_function") -> Form | None:
        """How the decision values are built from functions of columns.

        Parameters
        ----------
        response_method : {"predict", "decision_function"}, default="decision_function"
            Which of the estimator's methods is meant.

        Returns
        -------
        SumForm or None
            A function of rows (n, n_features); None for classes, and for kernels of which nothing
            is known.
        """
        check_is_fitted(self)
        if response_method != "decision_function":
            return None
        if not hasattr(self, "coef_"):
            return kernel_form(
                self.kernel_,
                self._on_device(self.support_vectors_),
                self._on_device(self.dual_coef_.T),
            )
        coef, intercept = map(self._on_device, (self.coef_, self.intercept_))
        return SumForm(Linear(coef.T), intercept, len(coef))

    def _decide_rows(self, X: Tensor) -> Tensor:
        if hasattr(self, "coef_"):
            coef, intercept = (
                torch.from_numpy(part).to(X.device) for part in (self.coef_, self.intercept_)
            )
            scores = torch.addmm(intercept, X.to(torch.float64), coef.T)
        else:
            scores = kernel_sums(self.kernel_, X, self.support_vectors_, self.dual_coef_.T)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the class of each row; the second of two classes where the decision value is 0.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.
        """
        check_is_fitted(self)
        scores = self._decide_rows(self._input_rows(X, reset=False))
        codes = (scores >= 0).long() if scores.ndim == 1 else scores.argmax(1)
        return self.classes_[codes.cpu().numpy()]


def with_ones(X: Tensor) -> Tensor:
    """Rows with the constant 1 as their last column, in float64."""
    return torch.cat([X.to(torch.float64), X.new_ones(len(X), 1, dtype=torch.float64)], dim=1)


def linear_attributes(table: np.ndarray) -> dict[str, Any]:
    """Public attributes from weights (n_problems, d + 1)."""
    return {"coef_": table[:, :-1].copy(), "intercept_": table[:, -1].copy()}


def dual_attributes(kernel: Any, centres: np.ndarray, table: np.ndarray) -> dict[str, Any]:
    """Public attributes from signed counts (n_problems, n)."""
    support = np.flatnonzero(table.any(0))
    return dict(zip(DUAL, (kernel, support, centres[support], table[:, support]), strict=True))
