"""Forms of scikit-learn's linear models, which are sums over columns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....representations.forms import Linear, SumForm

__all__ = ["foreign_form"]


def foreign_form(estimator: Any, response_method: str) -> SumForm | None:
    """The form of a fitted linear model of scikit-learn.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of any kind.
    response_method : {"predict", "decision_function", "predict_proba"}
        Which of its methods is meant.

    Returns
    -------
    SumForm or None
        A function of rows (n, n_features); None for classes, and for estimators that are not
        linear or not known.

    Examples
    --------
    >>> import torch
    >>> from sklearn.linear_model import LinearRegression
    >>> from thetalearn.inspection.importance.model.foreign import foreign_form
    >>> form = foreign_form(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), "predict")
    >>> form(torch.tensor([[2.0]], dtype=torch.float64)).round()
    tensor([[5.]], dtype=torch.float64)
    """
    kind = type(estimator)
    head = HEADS.get((kind.__name__, response_method))
    if head is None or not kind.__module__.startswith("sklearn."):
        return None
    linear = _linear(estimator)
    link = head(estimator)
    if link is None:
        return linear
    n_outputs = link(torch.zeros(1, linear.n_outputs, dtype=torch.float64)).shape[1]
    return linear.followed_by(link, n_outputs)


def _linear(estimator: Any) -> SumForm:
    """The linear predictor."""
    coef = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
    intercept = np.asarray(estimator.intercept_, dtype=np.float64)
    constant = torch.from_numpy(np.broadcast_to(intercept, len(coef)).copy())
    return SumForm(Linear(torch.from_numpy(coef.T.copy())), constant, len(coef))


Link = Callable[[Tensor], Tensor]


def _identity(estimator: Any) -> Link | None:
    return None


def _exp(estimator: Any) -> Link:
    return torch.exp


def _probabilities(estimator: Any) -> Link:
    """Logistic for two classes, softmax for more, or one class against the rest."""
    if len(estimator.classes_) == 2:
        return _of_two_classes
    if getattr(estimator, "solver", None) == "liblinear":
        return _one_against_rest
    return partial(torch.softmax, dim=1)


def _of_two_classes(z: Tensor) -> Tensor:
    return torch.cat([torch.sigmoid(-z), torch.sigmoid(z)], dim=1)


def _one_against_rest(z: Tensor) -> Tensor:
    return torch.nn.functional.normalize(torch.sigmoid(z), p=1.0, dim=1)


#: Names of classes whose values are the linear predictor.
REGRESSORS = (
    "ARDRegression BayesianRidge ElasticNet ElasticNetCV HuberRegressor Lars LarsCV Lasso LassoCV "
    "LassoLars LassoLarsCV LassoLarsIC LinearRegression LinearSVR MultiTaskElasticNet "
    "MultiTaskElasticNetCV MultiTaskLasso MultiTaskLassoCV OrthogonalMatchingPursuit "
    "OrthogonalMatchingPursuitCV QuantileRegressor Ridge RidgeCV SGDRegressor TheilSenRegressor"
)
#: Names of classes whose decision values are.
CLASSIFIERS = (
    "LinearDiscriminantAnalysis LinearSVC LogisticRegression LogisticRegressionCV Perceptron "
    "RidgeClassifier RidgeClassifierCV SGDClassifier"
)

#: From a class and a method to what the linear predictor goes through.
HEADS: dict[tuple[str, str], Callable[[Any], Link | None]] = {
    **{(name, "predict"): _identity for name in REGRESSORS.split()},
    **{(name, "decision_function"): _identity for name in CLASSIFIERS.split()},
    ("PoissonRegressor", "predict"): _exp,
    ("GammaRegressor", "predict"): _exp,
    ("LinearDiscriminantAnalysis", "predict_proba"): _probabilities,
    ("LogisticRegression", "predict_proba"): _probabilities,
    ("LogisticRegressionCV", "predict_proba"): _probabilities,
}
