"""Drop-in searches that fit all candidates and folds together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from .._sklearn_compat import (
    BaseSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    Interval,
)
from .fusing import MEMORY_BUDGET, fusing
from .report import FusedReport

__all__ = [
    "FusedGridSearchCV",
    "FusedHalvingGridSearchCV",
    "FusedHalvingRandomSearchCV",
    "FusedRandomizedSearchCV",
]

Grid = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Distributions = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Scoring = str | Callable[..., Any] | Sequence[str] | Mapping[str, Any] | None
Refit = bool | str | Callable[[dict[str, Any]], int]

BUDGET = {"memory_budget": [Interval(Integral, 2**20, None, closed="left")]}


class FusedSearch(BaseSearchCV):
    """What the fused searches add to those of scikit-learn."""

    memory_budget: int
    fused_report_: FusedReport

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, **params: Any) -> Self:
        """Run fit with all sets of parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training vectors.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Targets.
        **params : dict
            Passed to the ``fit`` of the estimator, to the scorer and to the splitter, as
            scikit-learn's searches do: ``sample_weight`` is cut to the rows of each fold, and
            ``groups`` goes to the splitter.

        Returns
        -------
        self : object
            The fitted search.
        """
        with fusing(self.memory_budget, self.verbose, self.refit) as report:
            super().fit(X, y, **params)
        self.fused_report_ = report
        return self


class FusedGridSearchCV(FusedSearch, GridSearchCV):
    """Exhaustive search over a grid, with all fits made together.

    scikit-learn's ``GridSearchCV`` with the same arguments, results and attributes. Networks of
    equal shape are trained as one stack; least-squares models share factorisations over folds and
    penalties; preprocessing is fitted once for each fold. What cannot be fused is fitted as
    scikit-learn does.

    Parameters
    ----------
    estimator : estimator object
        What to tune. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    param_grid : dict or list of dict
        Names of parameters and the values to try; a list of such grids is explored one by one.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by; several metrics make one column of ``cv_results_`` each. None is the
        estimator's ``score``.
    n_jobs : int or None, default=None
        Jobs for the fits that cannot be fused; those that can run on the threads of this process,
        or, inside ``joblib.parallel_config`` with a backend of a cluster, on its workers.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all rows; the metric by which it is best; or a function
        from ``cv_results_`` to its index.
    cv : int, splitter or iterable, default=None
        How to split; None is 5 folds, stratified for classifiers.
    verbose : int, default=0
        Above 0 a progress bar shows the fits made and the best mean score, and what scikit-learn
        prints is printed.
    pre_dispatch : int or str, default="2*n_jobs"
        Jobs handed out at first, of those that cannot be fused.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails.
    return_train_score : bool, default=False
        Whether to score the training rows too.
    memory_budget : int, default=2**30
        Bytes that the search may take beyond the data.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, \
refit_time_, multimetric_
        As in scikit-learn. The time of fits made together is shared equally between them.
    fused_report_ : FusedReport
        Which fits were made together, and why not the rest.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from thetalearn import FusedGridSearchCV, PolynomialRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), PolynomialRegressor(degree=2))
    >>> grid = {"polynomialregressor__alpha": np.logspace(-3, 2, 20)}
    >>> search = FusedGridSearchCV(model, grid).fit(X, y)
    >>> print(round(search.best_score_, 2))
    0.47
    >>> search.fused_report_.n_fused
    100
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **GridSearchCV._parameter_constraints,
        **BUDGET,
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Grid,
        *,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        refit: Refit = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.memory_budget = memory_budget


class FusedRandomizedSearchCV(FusedSearch, RandomizedSearchCV):
    """Search over parameters drawn at random, with all fits made together.

    scikit-learn's ``RandomizedSearchCV`` with the same arguments, results and attributes; see
    `FusedGridSearchCV` for what is shared between fits.

    Parameters
    ----------
    estimator : estimator object
        What to tune. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    param_distributions : dict or list of dict
        Names of parameters, and distributions (with a method ``rvs``) or lists of values.
    n_iter : int, default=10
        Number of candidates.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by; several metrics make one column of ``cv_results_`` each. None is the
        estimator's ``score``.
    n_jobs : int or None, default=None
        Jobs for the fits that cannot be fused; those that can run on the threads of this process,
        or, inside ``joblib.parallel_config`` with a backend of a cluster, on its workers.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all rows; the metric by which it is best; or a function
        from ``cv_results_`` to its index.
    cv : int, splitter or iterable, default=None
        How to split; None is 5 folds, stratified for classifiers.
    verbose : int, default=0
        Above 0 a progress bar shows the fits made and the best mean score, and what scikit-learn
        prints is printed.
    pre_dispatch : int or str, default="2*n_jobs"
        Jobs handed out at first, of those that cannot be fused.
    random_state : int, RandomState instance or None, default=None
        Draws the candidates.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails.
    return_train_score : bool, default=False
        Whether to score the training rows too.
    memory_budget : int, default=2**30
        Bytes that the search may take beyond the data.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, \
refit_time_, multimetric_
        As in scikit-learn. The time of fits made together is shared equally between them.
    fused_report_ : FusedReport
        Which fits were made together, and why not the rest.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from thetalearn import FusedRandomizedSearchCV, LogisticClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticClassifier())
    >>> drawn = {"logisticclassifier__alpha": loguniform(1e-4, 1)}
    >>> search = FusedRandomizedSearchCV(model, drawn, n_iter=8, random_state=0).fit(X, y)
    >>> print(round(search.best_score_, 2))
    0.98
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **RandomizedSearchCV._parameter_constraints,
        **BUDGET,
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Distributions,
        *,
        n_iter: int = 10,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        refit: Refit = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: int | np.random.RandomState | None = None,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.memory_budget = memory_budget


class FusedHalvingGridSearchCV(FusedSearch, HalvingGridSearchCV):
    """Successive halving over a grid, each iteration fused.

    scikit-learn's ``HalvingGridSearchCV`` with the same arguments, results and attributes: all
    candidates start with few resources, and the best go on with more. It needs no import of
    ``sklearn.experimental``. See `FusedGridSearchCV` for what is shared between fits.

    Parameters
    ----------
    estimator : estimator object
        What to tune. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    param_grid : dict or list of dict
        Names of parameters and the values to try; a list of such grids is explored one by one.
    factor : int or float, default=3
        One candidate in ``factor`` is kept at each iteration.
    resource : "n_samples" or str, default="n_samples"
        What grows by ``factor`` at each iteration: rows, or a parameter of the estimator such as
        ``max_iter``.
    max_resources : int, default="auto"
        Largest amount of it; "auto" is the number of rows.
    min_resources : "exhaust", "smallest" or int, default="exhaust"
        Amount at the first iteration.
    aggressive_elimination : bool, default=False
        Whether to repeat the first iteration until the last one can use all resources.
    cv : int, splitter or iterable, default=5
        How to split; None is 5 folds, stratified for classifiers.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by; several metrics make one column of ``cv_results_`` each. None is the
        estimator's ``score``.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all rows; the metric by which it is best; or a function
        from ``cv_results_`` to its index.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails.
    return_train_score : bool, default=True
        Whether to score the training rows too.
    random_state : int, RandomState instance or None, default=None
        Draws the rows of each iteration.
    n_jobs : int or None, default=None
        Jobs for the fits that cannot be fused; those that can run on the threads of this process,
        or, inside ``joblib.parallel_config`` with a backend of a cluster, on its workers.
    verbose : int, default=0
        Above 0 a progress bar shows the fits made and the best mean score, and what scikit-learn
        prints is printed.
    memory_budget : int, default=2**30
        Bytes that the search may take beyond the data.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, \
refit_time_, multimetric_
        As in scikit-learn. The time of fits made together is shared equally between them.
    n_resources_, n_candidates_, n_remaining_candidates_, max_resources_, min_resources_, \
n_iterations_, n_possible_iterations_, n_required_iterations_
        As in scikit-learn.
    fused_report_ : FusedReport
        Which fits were made together, and why not the rest.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from thetalearn import FusedHalvingGridSearchCV, LinearRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> grid = {"alpha": np.logspace(-6, 2, 9)}
    >>> search = FusedHalvingGridSearchCV(LinearRegressor(), grid, random_state=0).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([9, 3, 1], [49, 147, 441])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **HalvingGridSearchCV._parameter_constraints,
        **BUDGET,
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Grid,
        *,
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: int | str = "auto",
        min_resources: int | str = "exhaust",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Scoring = None,
        refit: Refit = True,
        error_score: float | str = np.nan,
        return_train_score: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.memory_budget = memory_budget


class FusedHalvingRandomSearchCV(FusedSearch, HalvingRandomSearchCV):
    """Successive halving over parameters drawn at random, each iteration fused.

    scikit-learn's ``HalvingRandomSearchCV`` with the same arguments, results and attributes; see
    `FusedHalvingGridSearchCV`.

    Parameters
    ----------
    estimator : estimator object
        What to tune. Fits are made together if it, or the last step of a pipeline, has the methods
        of `thetalearn.fusion`; anything else is fitted as scikit-learn would.
    param_distributions : dict or list of dict
        Names of parameters, and distributions (with a method ``rvs``) or lists of values.
    n_candidates : "exhaust" or int, default="exhaust"
        Candidates of the first iteration; "exhaust" draws as many as the resources allow.
    factor : int or float, default=3
        One candidate in ``factor`` is kept at each iteration.
    resource : "n_samples" or str, default="n_samples"
        What grows by ``factor`` at each iteration: rows, or a parameter of the estimator such as
        ``max_iter``.
    max_resources : int, default="auto"
        Largest amount of it; "auto" is the number of rows.
    min_resources : "exhaust", "smallest" or int, default="smallest"
        Amount at the first iteration.
    aggressive_elimination : bool, default=False
        Whether to repeat the first iteration until the last one can use all resources.
    cv : int, splitter or iterable, default=5
        How to split; None is 5 folds, stratified for classifiers.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by; several metrics make one column of ``cv_results_`` each. None is the
        estimator's ``score``.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate to all rows; the metric by which it is best; or a function
        from ``cv_results_`` to its index.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails.
    return_train_score : bool, default=True
        Whether to score the training rows too.
    random_state : int, RandomState instance or None, default=None
        Draws the candidates, and the rows of each iteration.
    n_jobs : int or None, default=None
        Jobs for the fits that cannot be fused; those that can run on the threads of this process,
        or, inside ``joblib.parallel_config`` with a backend of a cluster, on its workers.
    verbose : int, default=0
        Above 0 a progress bar shows the fits made and the best mean score, and what scikit-learn
        prints is printed.
    memory_budget : int, default=2**30
        Bytes that the search may take beyond the data.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, \
refit_time_, multimetric_
        As in scikit-learn. The time of fits made together is shared equally between them.
    n_resources_, n_candidates_, n_remaining_candidates_, max_resources_, min_resources_, \
n_iterations_, n_possible_iterations_, n_required_iterations_
        As in scikit-learn.
    fused_report_ : FusedReport
        Which fits were made together, and why not the rest.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_diabetes
    >>> from thetalearn import FusedHalvingRandomSearchCV, LinearRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> drawn = {"alpha": loguniform(1e-6, 1e2)}
    >>> search = FusedHalvingRandomSearchCV(
    ...     LinearRegressor(), drawn, n_candidates=9, min_resources=40, random_state=0)
    >>> search.fit(X, y).n_candidates_
    [9, 3, 1]
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **HalvingRandomSearchCV._parameter_constraints,
        **BUDGET,
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Distributions,
        *,
        n_candidates: int | str = "exhaust",
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: int | str = "auto",
        min_resources: int | str = "smallest",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Scoring = None,
        refit: Refit = True,
        error_score: float | str = np.nan,
        return_train_score: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_candidates=n_candidates,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.memory_budget = memory_budget
