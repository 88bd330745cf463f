"""Every discovered estimator against scikit-learn's checks and the contract."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from thetalearn import (
    BSplineFeatures,
    BSplineRegressor,
    ChebyshevRegressor,
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    PerceptronClassifier,
    PolynomialRegressor,
    RandomFeatureRegressor,
    ReLURegressor,
    SoftmaxClassifier,
    all_estimators,
)
from thetalearn.testing import parametrize_with_contract

DEFAULTS = [cls() for _, cls in all_estimators()]

#: One of each solver, basis, product, policy and penalty that is not a default.
VARIANTS = [
    LinearRegressor(alpha=0.1),
    LinearRegressor(alpha=0.01, l1_ratio=1.0),
    LinearRegressor(alpha=0.01, l1_ratio=0.5, fit_intercept=False),
    PolynomialRegressor(product="additive"),
    ChebyshevRegressor(product="hyperbolic"),
    ChebyshevRegressor(degree=4, product="smolyak"),
    ChebyshevRegressor(product="additive", alpha=0.01, extrapolation="clip"),
    BSplineRegressor(placement="quantile"),
    BSplineRegressor(degree=1, alpha=0.01, penalty_order=1),
    BSplineFeatures(sparse_output=True),
    ReLURegressor(placement="quantile"),
    RandomFeatureRegressor(kind="relu"),
    KernelRidgeRegressor(kernel="ntk"),
    LogisticClassifier(solver="newton"),
    LogisticClassifier(solver="newton-cg"),
    LogisticClassifier(alpha=0.0),
    LogisticClassifier(penalize_intercept=True, class_weight="balanced"),
    SoftmaxClassifier(solver="newton"),
    SoftmaxClassifier(solver="newton-cg"),
    SoftmaxClassifier(alpha=0.0),
    PerceptronClassifier(kernel="rbf"),
]


@parametrize_with_checks(DEFAULTS + VARIANTS)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@parametrize_with_contract(DEFAULTS + VARIANTS)
@pytest.mark.filterwarnings("ignore")
def test_contract(estimator, check):
    check(estimator)


class TwoColumns:
    """Uses the first two columns of X: of the 30 in some checks no tensor product can be formed."""

    def _as_rows(self, array):
        return super()._as_rows(array[:, :2])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class TensorPolynomial(TwoColumns, PolynomialRegressor):
    pass


class TensorChebyshev(TwoColumns, ChebyshevRegressor):
    pass


class TensorBSpline(TwoColumns, BSplineRegressor):
    pass


class TensorReLU(TwoColumns, ReLURegressor):
    pass


@parametrize_with_checks(
    [
        TensorPolynomial(product="tensor"),
        TensorChebyshev(product="tensor"),
        TensorBSpline(product="tensor", knots=2),
        TensorBSpline(product="tensor", knots=2, alpha=0.01),
        TensorReLU(product="tensor", shifts=3),
    ]
)
@pytest.mark.filterwarnings("ignore")
def test_tensor_products(estimator, check):
    check(estimator)


def test_features_are_transformers():
    assert {"chebyshev-features", "random-features"} <= dict(all_estimators("transformer")).keys()
