"""Kernel ridge regression, and the choice of a kernel that it shares with the perceptron."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.linalg import lapack
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._sklearn_compat import Interval, StrOptions
from ..base import DEVICE, ThetaRegressor
from ..exceptions import RankWarning, warn_user
from ..fusion import ReplicaFit, Source
from ..monitor import FitMonitor
from ..representations.forms import Distances, Form, Linear, SumForm
from ..representations.kernels import (
    KERNELS,
    laplacian_kernel,
    linear_kernel,
    polynomial_kernel,
    rbf_kernel,
)
from ..rows import row_blocks
from .families import scale_gamma
from .least_squares import ALPHA

__all__ = ["KernelRidgeRegressor"]

MatrixKernel = Callable[[Tensor, Tensor], Tensor]

#: Beyond this condition number a triangular solve returns noise.
MAX_CONDITION = 1.0 / (10 * np.finfo(np.float64).eps)


class KernelFamily:
    """A kernel by name, given as a function, or computed beforehand."""

    _family_constraints: ClassVar[dict[str, list[Any]]] = {
        "kernel": [StrOptions({*KERNELS, "precomputed"}), callable],
        "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"}), None],
        "coef0": [Interval(Real, 0, None, closed="left")],
        "degree": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "kernel_params": [dict, None],
    }

    def _make_kernel(self: Any, X: Tensor, weight: Tensor | None) -> MatrixKernel:
        """The kernel with its parameters, which a later `set_params` leaves as they are."""
        if callable(self.kernel):
            return partial(called_on_arrays, self.kernel, self.kernel_params or {})
        if self.kernel_params is not None:
            raise ValueError(
                f"kernel_params={self.kernel_params!r} are for a callable kernel, and "
                f"kernel={self.kernel!r} does not use them: give gamma, coef0, degree or depth"
            )
        if self.kernel == "precomputed":
            return columns_of
        gamma = self.gamma
        if gamma is None:
            gamma = 1.0 / X.shape[1]
        elif gamma == "scale":
            gamma = scale_gamma(X, weight)
        values = {
            "gamma": float(gamma),
            "coef0": float(self.coef0),
            "degree": int(self.degree),
            "depth": int(self.depth),
        }
        function, names = KERNELS[self.kernel]
        return partial(function, **{name: values[name] for name in names})

    def _gram(self: Any, kernel: MatrixKernel, X: Tensor, Y: Tensor) -> Tensor:
        """The kernel matrix of the training rows, which must be one."""
        gram = X.new_empty(len(X), len(Y), dtype=torch.float64)
        for block in row_blocks(len(X), 8 * len(Y)):
            gram[block] = kernel(X[block].to(torch.float64), Y)
        if not torch.isfinite(gram).all():
            raise ValueError(
                f"kernel={self.kernel!r} gives NaN or infinity on the training rows: scale the "
                "columns, or check the kernel"
            )
        if callable(self.kernel) or self.kernel == "precomputed":
            # Half of the digits: a kernel may have been computed with less care than one would.
            tol = torch.finfo(X.dtype).eps ** 0.5
            check_symmetric(gram, tol)
            # k(x, y)^2 <= k(x, x) k(y, y): the largest entry stands on the diagonal.
            if float(gram.abs().max()) > (1 + tol) * float(gram.diagonal().max()):
                warn_indefinite(self.kernel, "its largest entry is off the diagonal")
        return gram

    def _weight_tensor(self: Any, sample_weight: Any, X: Any) -> Tensor | None:
        weight = super()._weight_tensor(sample_weight, X)  # type: ignore[misc]
        if self.kernel == "precomputed":
            if len(X) != X.shape[1]:
                raise ValueError(
                    'kernel="precomputed" takes the square kernel matrix of the training rows, '
                    f"but X has shape {tuple(X.shape)}"
                )
            # A row of weight zero is no row, and its column is no column.
            seen = X.new_ones(len(X)) if weight is None else weight
            self._columns = torch.nonzero(seen > 0)[:, 0].cpu()
        return weight

    def __sklearn_tags__(self: Any) -> Any:
        """Tags; a precomputed kernel is split by rows and columns."""
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags


class KernelRidgeRegressor(KernelFamily, ThetaRegressor):
    r"""Ridge regression in the space of a kernel, :math:`f(x) = \sum_i c_i\,k(x_i, x)`.

    Minimises

    .. math::

        \frac{1}{2\sum_i w_i} \sum_i w_i (y_i - f(x_i))^2 + \frac{\alpha}{2}\|f\|_k^2,

    whose solution is :math:`c = (K + n\alpha I)^{-1} y` for weights of one and
    :math:`c = W^{1/2}(W^{1/2} K W^{1/2} + \alpha\sum_i w_i\,I)^{-1} W^{1/2} y` in general. There is
    no intercept: centre y, or choose a kernel with a constant.

    The fit takes a kernel matrix of ``n_samples ** 2`` numbers and one Cholesky factorisation. If
    the matrix does not determine c (rows that repeat, or a smooth kernel, with ``alpha`` near
    zero), eigenvalues that are rounding noise are left out, and c is the solution of least norm.

    Parameters
    ----------
    kernel : {"linear", "polynomial", "rbf", "laplacian", "arccos0", "arccos1", "arccos2", "ntk", \
"precomputed"} or callable, default="rbf"
        The kernel k, where p is ``degree``, c is ``coef0`` and L is ``depth``:

        - "linear": :math:`x \cdot y`;
        - "polynomial": :math:`(\gamma\,x \cdot y + c)^p`;
        - "rbf": :math:`\exp(-\gamma\|x - y\|_2^2)`;
        - "laplacian": :math:`\exp(-\gamma\|x - y\|_1)`;
        - "arccos0", "arccos1", "arccos2": the arc-cosine kernel of that order with L layers, the
          limit of a random network whose last layer alone is trained; order 1 is ReLU;
        - "ntk": the neural tangent kernel of a ReLU network with L hidden layers, all trained;
        - "precomputed": X is the kernel matrix itself, (n_samples, n_samples) in ``fit`` and
          (n_rows, n_samples) in ``predict``;
        - a callable ``kernel(X, Y, **kernel_params)`` on whole sets of rows: it takes float64
          NumPy arrays (n, d) and (m, d) and returns the (n, m) kernel matrix, as an array or a
          tensor. The functions of ``sklearn.metrics.pairwise`` are of this form. It may be called
          on blocks of rows. A function of two single rows, as in scikit-learn's ``KernelRidge``,
          goes through ``sklearn.metrics.pairwise.pairwise_kernels``.
    alpha : float, default=1e-3
        Weight α ≥ 0 of the penalty, against half the *mean* squared error: scikit-learn's
        ``KernelRidge(alpha=a)`` has ``alpha=a / n_samples``.
    gamma : float, "scale" or None, default=None
        γ > 0 of "polynomial", "rbf", "laplacian", "arccos*" and "ntk"; None is 1 / n_features,
        "scale" is 1 / (n_features * variance of X). In the last two it is the variance of the
        weights of the first layer.
    coef0 : float, default=1.0
        Constant c ≥ 0 of "polynomial", "arccos*" and "ntk"; in the last two the variance of the
        biases of each layer.
    degree : int, default=3
        Power p ≥ 1 of "polynomial".
    depth : int, default=1
        Number L ≥ 1 of layers of "arccos*" and "ntk".
    kernel_params : dict, default=None
        Further arguments of a callable kernel.
    device : str or torch.device, default="auto"
        Where to compute: "auto" leaves the data where they are.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Coefficients c of the training rows; rows of weight zero are no rows.
    X_fit_ : ndarray of shape (n_samples, n_features)
        The training rows; for "precomputed", the columns of X that belong to them.
    kernel_ : callable
        The kernel with its parameters.
    condition_number_ : float
        Condition number of the matrix solved with, :math:`K + n\alpha I` for weights of one, in
        the 1-norm as LAPACK estimates it. Infinite below full rank.
    rank_ : int
        Numerical rank of that matrix.

    Raises
    ------
    ValueError
        If the kernel matrix is not finite, or that of a precomputed or callable kernel has the
        wrong shape or is not symmetric.

    Warns
    -----
    RankWarning
        If the matrix is singular to working precision.
    UserWarning
        If the kernel is seen not to be positive semi-definite.

    References
    ----------
    K. Spiliopoulos, R. Sowers, J. Sirignano, *Mathematical Foundations of Deep Learning Models and
    Algorithms*, section 4.4; its constant C, against half the *sum* of squares, is
    ``n_samples * alpha / 2``, and its formulas for the dual coefficients lack the label y.

    Examples
    --------
    >>> import numpy as np
    >>> from thetalearn import KernelRidgeRegressor
    >>> x = np.linspace(-3, 3, 50)[:, None]
    >>> model = KernelRidgeRegressor("ntk", alpha=1e-6).fit(x, np.sin(x[:, 0]))
    >>> bool(model.score(x, np.sin(x[:, 0])) > 0.999)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **KernelFamily._family_constraints,
        **ALPHA,
        **DEVICE,
    }

    def __init__(
        self,
        kernel: str | Callable[..., Any] = "rbf",
        *,
        alpha: float = 1e-3,
        gamma: float | str | None = None,
        coef0: float = 1.0,
        degree: int = 3,
        depth: int = 1,
        kernel_params: dict[str, Any] | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.gamma = gamma
        self.coef0 = coef0
        self.degree = degree
        self.depth = depth
        self.kernel_params = kernel_params
        self.device = device

    def _fit_rows(self, X: Tensor, y: Tensor, weight: Tensor | None, monitor: FitMonitor) -> None:
        kernel = self._make_kernel(X, weight)
        centres = self._columns if self.kernel == "precomputed" else X
        gram = self._gram(kernel, X, centres)
        ridge = float(self.alpha) * (len(X) if weight is None else float(weight.sum()))
        if weight is None:
            dual = self._solve(gram, y, ridge, X.dtype)
        else:
            root = weight.sqrt()[:, None]
            dual = root * self._solve(gram.mul_(root).mul_(root.T), root * y, ridge, X.dtype)
        self.kernel_ = kernel
        self.X_fit_ = centres.cpu().numpy().copy()
        self.dual_coef_ = (dual[:, 0] if self._one_target else dual).cpu().numpy().copy()

    def _solve(self, gram: Tensor, targets: Tensor, ridge: float, dtype: torch.dtype) -> Tensor:
        """Solve (gram + ridge I) z = targets, overwriting gram."""
        gram.diagonal().add_(ridge)
        found = solve_definite(gram, targets)
        if found is not None:
            dual, self.condition_number_ = found
            self.rank_ = len(gram)
            return dual
        return self._solve_least_norm(gram, targets, torch.finfo(dtype).eps ** 0.5)

    def _solve_least_norm(self, gram: Tensor, targets: Tensor, tol: float) -> Tensor:
        """Solve with the eigenvalues that stand clear of rounding."""
        n = len(gram)
        values, vectors = torch.linalg.eigh(gram)
        least, largest = float(values[0]), float(values.abs().max())
        noise = n * torch.finfo(torch.float64).eps * largest
        indefinite = least < -tol * largest
        if indefinite:
            warn_indefinite(self.kernel, "its negative eigenvalues are left out")
        else:
            # The most negative eigenvalue shows how large the noise is.
            noise = max(noise, -least)
        kept = values > noise
        self.rank_ = int(kept.sum())
        self.condition_number_ = largest / least if self.rank_ == n else np.inf
        if self.rank_ < n and not indefinite:
            warn_user(
                f"the {n} rows determine {self.rank_} dual coefficients only: the kernel matrix is "
                "singular to working precision, and the solution of least norm is returned. Raise "
                "alpha, or drop rows that repeat",
                RankWarning,
            )
        vectors = vectors[:, kept]
        return vectors @ ((vectors.T @ targets) / values[kept, None])

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
        from .fused.kernel import kernel_ridge_parameters

        return kernel_ridge_parameters(self)

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
        from .fused.kernel import fit_kernel_ridge

        return fit_kernel_ridge(fits, sources, memory_budget)

    @classmethod
    def predict_replicas(
        cls, estimators: Sequence[KernelRidgeRegressor], X: Any, method: str
    ) -> list[Any] | None:
        """What a method of each of these estimators returns for X.

        Parameters
        ----------
        estimators : sequence of KernelRidgeRegressor
            Fitted ones.
        X : array-like of shape (n_samples, n_features)
            Inputs.
        method : {"predict"}
            The method.

        Returns
        -------
        list of ndarray or None
            What each returns; None if it is not to be had at once.
        """
        from .fused.kernel import predict_kernel_ridge

        return predict_kernel_ridge(estimators, X, method)

    def functional_form(self, response_method: str = "predict") -> Form | None:
        """How the fitted function is built from functions of single columns.

        Parameters
        ----------
        response_method : {"predict"}, default="predict"
            Which of the estimator's methods is meant.

        Returns
        -------
        SumForm or None
            A function of rows (n, n_features), known for kernels of distances and of inner
            products.
        """
        check_is_fitted(self)
        if response_method != "predict":
            return None
        dual = self.dual_coef_[:, None] if self._one_target else self.dual_coef_
        return kernel_form(self.kernel_, self._on_device(self.X_fit_), self._on_device(dual))

    def _predict_rows(self, X: Tensor) -> Tensor:
        dual = self.dual_coef_[:, None] if self._one_target else self.dual_coef_
        return kernel_sums(self.kernel_, X, self.X_fit_, dual)


def solve_definite(gram: Tensor, targets: Tensor) -> tuple[Tensor, float] | None:
    """Solution by Cholesky, and the condition number; None if it would be noise."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    if not failed:
        norm = float(torch.linalg.matrix_norm(gram, 1))
        rcond, _ = lapack.dpocon(factor.cpu().numpy(), norm, uplo="L")
        if rcond * MAX_CONDITION > 1:
            return torch.cholesky_solve(targets, factor), float(1 / rcond)
    return None


def kernel_sums(kernel: MatrixKernel, X: Tensor, centres: np.ndarray, dual: np.ndarray) -> Tensor:
    """``kernel(X, centres) @ dual`` in blocks of rows."""
    coef, Y = (torch.from_numpy(array).to(X.device) for array in (dual, centres))
    out = coef.new_zeros(len(X), coef.shape[1])
    if len(Y) == 0:
        return out
    for block in row_blocks(len(X), 8 * max(len(Y), X.shape[1])):
        out[block] = kernel(X[block].to(torch.float64), Y) @ coef
    return out


def kernel_form(kernel: MatrixKernel, centres: Tensor, coef: Tensor) -> SumForm | None:
    """The form of ``kernel(X, centres) @ coef``, for the kernels where it is known."""
    if not isinstance(kernel, partial):
        return None
    points = centres.to(coef)
    n_outputs, options = coef.shape[1], kernel.keywords
    nothing = coef.new_zeros(len(points))
    if kernel.func is linear_kernel:
        return SumForm(Linear(points.T @ coef), coef.new_zeros(n_outputs), n_outputs)
    if kernel.func is polynomial_kernel:
        head = partial(_powers_times, coef=coef, **options)
        return SumForm(Linear(points.T), nothing, n_outputs, head)
    if kernel.func in (rbf_kernel, laplacian_kernel):
        head = partial(_bumps_times, coef=coef, **options)
        power = 2 if kernel.func is rbf_kernel else 1
        return SumForm(Distances(points, power), nothing, n_outputs, head)
    return None


def _powers_times(z: Tensor, gamma: float, coef0: float, degree: int, coef: Tensor) -> Tensor:
    """Polynomial kernels of inner products z (n, H), times coefficients."""
    return (gamma * z + coef0) ** degree @ coef


def _bumps_times(z: Tensor, gamma: float, coef: Tensor) -> Tensor:
    """Kernels of distances z (n, H), times coefficients."""
    return torch.exp(-gamma * z) @ coef


def columns_of(X: Tensor, Y: Tensor) -> Tensor:
    """The kernel "precomputed": X holds kernel values, and Y numbers of columns."""
    return X[:, Y]


def called_on_arrays(
    function: Callable[..., Any], params: dict[str, Any], X: Tensor, Y: Tensor
) -> Tensor:
    """A kernel of the user's, on float64 arrays."""
    left, right = (rows.to(torch.float64).cpu().numpy() for rows in (X, Y))
    values = function(left, right, **params)
    if not isinstance(values, Tensor):
        values = torch.as_tensor(np.asarray(values, dtype=np.float64))
    if values.shape != (len(X), len(Y)):
        raise ValueError(
            f"kernel={function!r} must give a matrix of shape ({len(X)}, {len(Y)}) for X of shape "
            f"{tuple(X.shape)} and Y of shape {tuple(Y.shape)}, not {tuple(values.shape)}; a "
            "function of two single rows goes through sklearn.metrics.pairwise.pairwise_kernels"
        )
    return values.detach().to(X.device, torch.float64)


def check_symmetric(gram: Tensor, tol: float) -> None:
    """Refuse a matrix that is no kernel's."""
    gap = (gram - gram.T).abs()
    if float(gap.max()) > tol * float(gram.abs().max()):
        i, j = divmod(int(gap.argmax()), len(gram))
        raise ValueError(
            f"the kernel matrix is not symmetric: entry ({i}, {j}) is {gram[i, j].item():.6g}, "
            f"entry ({j}, {i}) is {gram[j, i].item():.6g}"
        )


def warn_indefinite(kernel: Any, sign: str) -> None:
    """Warn of a kernel that is none."""
    warn_user(
        f"kernel={kernel!r} is not positive semi-definite on the training rows: {sign}. Use a "
        "positive semi-definite kernel: a similarity, not a distance",
        UserWarning,
    )
