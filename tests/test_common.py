"""Every discovered estimator against scikit-learn's checks and the contract."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from thetalearn import (
    BellmanApproximator,
    BSplineFeatures,
    BSplineRegressor,
    ChebyshevRegressor,
    EulerApproximator,
    FunctionalEquation,
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
    PerceptronClassifier,
    PolicyEvaluator,
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
    BellmanApproximator(basis="complete", degree=0, solver="gauss_newton"),
    PolicyEvaluator(solver="gauss_newton"),
    EulerApproximator(basis="monomial", degree=0),
    FunctionalEquation(basis="complete", degree=0),
]

#: Networks with every solver, loss, normalisation and schedule that is not a default. Few epochs,
#: of long steps, suffice for the small problems of the checks.
QUICK = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.02, "max_iter": 60}
RATES = {"gd": 0.1, "adagrad": 0.1, "adadelta": 3.0}
#: Some targets of the checks are in the hundreds, on which plain descent runs off unless cut.
PLAIN = ("gd", "sgd", "heavy_ball", "nesterov")
SOLVERS = (
    "gd",
    "sgd",
    "heavy_ball",
    "nesterov",
    "adagrad",
    "adadelta",
    "rmsprop",
    "adamw",
    "adamax",
    "lbfgs",
    "random_search",
)
NETWORK_VARIANTS = [
    *(
        cls(
            solver=solver,
            clip_norm=10.0 if solver in PLAIN else None,
            **QUICK | {"learning_rate_init": RATES.get(solver, 0.02)},
        )
        for solver in SOLVERS
        for cls in (MLPRegressor, MLPClassifier)
    ),
    MLPRegressor(hidden_layer_sizes=(4,), solver="newton", max_iter=20),
    MLPClassifier(hidden_layer_sizes=(4,), solver="newton", max_iter=20),
    *(MLPRegressor(loss, **QUICK) for loss in ("absolute_error", "huber", "pinball", "gaussian")),
    MLPRegressor("poisson", **QUICK | {"max_iter": 300}),
    MLPClassifier(loss="focal", **QUICK),
    *(
        cls(normalization=kind, **QUICK)
        for kind in ("batch", "layer")
        for cls in (MLPRegressor, MLPClassifier)
    ),
    MLPRegressor(**QUICK | {"hidden_layer_sizes": (16, 16)}, residual=True, activation="tanh"),
    MLPRegressor(**QUICK, l1_ratio=0.5, average=True, learning_rate="cosine"),
    MLPRegressor(**QUICK, out_activation="selu", weight_decay=1e-4, clip_norm=1.0),
]


@parametrize_with_checks(DEFAULTS + VARIANTS + NETWORK_VARIANTS)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@parametrize_with_contract(DEFAULTS + VARIANTS + NETWORK_VARIANTS)
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
