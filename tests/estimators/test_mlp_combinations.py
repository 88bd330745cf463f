"""Parameters of networks together: what goes, what is refused, and what a path may not change."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import ElasticNet

from thetalearn import MLPRegressor
from thetalearn.solvers.gradient.optimizers import AdamW, GradientDescent

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
Y = X[:, 0] + np.sin(X[:, 1])


def fitted(**options):
    settings = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPRegressor(**settings).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": True, "normalization": "batch"}, "average=True and normalization"),
        ({"solver": AdamW(), "weight_decay": 0.1}, "weight_decay=0.1 is not used"),
        ({"loss": "gaussian", "out_activation": "softplus"}, "out_activation='softplus' would act"),
    ],
    ids=["average", "decay", "variance"],
)
def test_parameters_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        fitted(**options)


@pytest.mark.parametrize("value", [False, True])
def test_truth_values_of_numpy_are_truth_values(value):
    assert_array_equal(fitted(average=value).coefs_[0], fitted(average=np.bool_(value)).coefs_[0])


def test_gradient_descent_sees_all_rows_by_either_name():
    many = {"batch_size": "auto", "max_iter": 3}
    named, given = fitted(solver="gd", **many), fitted(solver=GradientDescent(), **many)
    assert_array_equal(named.coefs_[0], given.coefs_[0])


def test_momentum_may_be_one():
    assert np.isfinite(fitted(solver="sgd", momentum=1.0).loss_)


@pytest.mark.parametrize("solver", ["heavy_ball", "nesterov", "sgd"])
@pytest.mark.parametrize("learning_rate", ["constant", "cosine"])
def test_zeros_are_exact_and_the_rest_is_right_whatever_the_rate_does(solver, learning_rate):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 5))
    y = x @ [1.0, -2.0, 0.0, 0.0, 0.5] + 0.1 * rng.standard_normal(60)
    alpha, ratio = 0.3, 0.7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPRegressor(
            hidden_layer_sizes=(),
            solver=solver,
            # Divided by the 60 rows of the only batch.
            alpha=alpha * 60,
            l1_ratio=ratio,
            learning_rate=learning_rate,
            learning_rate_init=0.05,
            max_iter=2000,
            tol=0,
            n_iter_no_change=np.inf,
            random_state=0,
        ).fit(x, y)
    expected = ElasticNet(alpha=alpha, l1_ratio=ratio, tol=1e-14).fit(x, y).coef_
    coef = model.coefs_[0][:, 0]
    # 2000 steps contract the error by far more; what is left is scikit-learn's tolerance.
    assert_allclose(coef, expected, atol=1e-6)
    assert_array_equal(coef == 0, expected == 0)
