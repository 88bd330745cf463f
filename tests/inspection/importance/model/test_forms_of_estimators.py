"""Forms of fitted estimators: that they are pickled, with the explainers that hold them."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn import linear_model
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

from thetalearn import (
    BSplineRegressor,
    ChebyshevRegressor,
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
    PerceptronClassifier,
    PolynomialRegressor,
    RandomFeatureRegressor,
    SoftmaxClassifier,
)
from thetalearn.inspection.importance.games.closed import AdditiveGame
from thetalearn.inspection.importance.model.model import model_of
from thetalearn.inspection.importance.shapley import ShapleyExplainer
from thetalearn.representations.forms import Form, SumForm

X = np.random.RandomState(0).standard_normal((80, 3))
VALUES = X[:, 0] + 0.3 * X[:, 1] * X[:, 2]
BOTH = np.column_stack([VALUES, X[:, 1]])
TWO = (VALUES > 0).astype(int)
THREE = np.digitize(VALUES, [-0.5, 0.5])
SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}


def with_target(regressor, **kwargs):
    return TransformedTargetRegressor(regressor, **kwargs)


FITTED = {
    "linear": (LinearRegressor(), VALUES),
    "polynomial": (PolynomialRegressor(degree=2), VALUES),
    "chebyshev sum": (ChebyshevRegressor(degree=2, product="additive"), VALUES),
    "splines": (BSplineRegressor(), VALUES),
    "random features": (RandomFeatureRegressor(random_state=0), VALUES),
    "network": (MLPRegressor(**SMALL), VALUES),
    "network of counts": (MLPRegressor(loss="poisson", **SMALL), np.exp(VALUES)),
    "network of two classes": (MLPClassifier(**SMALL), TWO),
    "network of three classes": (MLPClassifier(**SMALL), THREE),
    "network of labels": (MLPClassifier(**SMALL), np.column_stack([TWO, THREE > 0]).astype(int)),
    "kernel rbf": (KernelRidgeRegressor("rbf"), VALUES),
    "kernel laplacian": (KernelRidgeRegressor("laplacian"), BOTH),
    "kernel polynomial": (KernelRidgeRegressor("polynomial"), VALUES),
    "kernel linear": (KernelRidgeRegressor("linear"), VALUES),
    "kernel perceptron": (PerceptronClassifier(kernel="rbf"), THREE),
    "logistic": (LogisticClassifier(), TWO),
    "softmax two": (SoftmaxClassifier(), TWO),
    "softmax three": (SoftmaxClassifier(), THREE),
    "sklearn linear": (linear_model.LinearRegression(), BOTH),
    "sklearn poisson": (linear_model.PoissonRegressor(), np.exp(VALUES)),
    "sklearn logistic two": (linear_model.LogisticRegression(), TWO),
    "sklearn logistic three": (linear_model.LogisticRegression(), THREE),
    "sklearn liblinear": (linear_model.LogisticRegression(solver="liblinear"), TWO),
    "sklearn discriminant": (LinearDiscriminantAnalysis(), THREE),
    "target function": (
        with_target(LinearRegressor(), func=np.log, inverse_func=np.exp),
        np.exp(VALUES),
    ),
    "target transformer": (
        with_target(LinearRegressor(), transformer=PowerTransformer()),
        np.exp(VALUES),
    ),
    "scaled target": (with_target(KernelRidgeRegressor(), transformer=StandardScaler()), VALUES),
    "scaled sum": (
        with_target(ChebyshevRegressor(degree=2, product="additive"), transformer=StandardScaler()),
        VALUES,
    ),
    "pipeline": (make_pipeline(StandardScaler(), PolynomialRegressor(degree=2)), VALUES),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "y"), FITTED.values(), ids=FITTED)
def test_forms_and_explainers_are_pickled(estimator, y):
    estimator.fit(X, y)
    model = model_of(estimator, X)
    assert isinstance(model.form, Form)
    rows = torch.from_numpy(model.encode(X))
    assert torch.equal(pickle.loads(pickle.dumps(model.form))(rows), model.form(rows))
    explainer = ShapleyExplainer(estimator, X[:10])
    copy = pickle.loads(pickle.dumps(explainer))
    np.testing.assert_array_equal(copy(X[:3]).values, explainer(X[:3]).values)


def pair_of_outputs(*sizes):
    """A network of given weights with an output for each of two classes."""
    random = np.random.RandomState(1)
    coefs = [random.standard_normal(shape) for shape in pairwise(sizes)]
    return MLPClassifier.from_weights(
        coefs, [random.standard_normal(size) for size in sizes[1:]], activation="tanh"
    )


@pytest.mark.parametrize(
    ("estimator", "linear"),
    [
        (SoftmaxClassifier().fit(X, TWO), True),
        (LogisticClassifier().fit(X, TWO), True),
        (pair_of_outputs(3, 2), True),
        (pair_of_outputs(3, 4, 2), False),
    ],
    ids=["softmax", "logistic", "two outputs", "two outputs of a layer"],
)
def test_the_decision_value_of_two_classes(estimator, linear):
    form = model_of(estimator, X, response_method="decision_function").form
    assert isinstance(form, SumForm)
    assert form.n_outputs == 1
    assert (form.head is None) == linear
    expected = estimator.decision_function(X)[:, None]
    # Sums of three products of order one, in another order.
    np.testing.assert_allclose(form(torch.from_numpy(X)).numpy(), expected, rtol=1e-12, atol=1e-12)
    probability = model_of(estimator, X).form(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(probability, estimator.predict_proba(X), rtol=1e-12, atol=1e-15)


def test_single_columns_of_a_linear_form_in_any_order_and_with_groups():
    weights = torch.from_numpy(np.random.RandomState(2).standard_normal((3, 2)))
    form = LinearRegressor().fit(X, BOTH).functional_form().times(weights[:2])
    x, background = torch.from_numpy(X[:7]), torch.from_numpy(X)
    own = (x - background.mean(0))[..., None] * form.sums.weights
    for order in ([0, 1, 2], [2, 0, 1]):
        game = AdditiveGame(form, [np.array([j]) for j in order], background)
        torch.testing.assert_close(game.shapley(x), own[:, order], rtol=1e-12, atol=1e-12)
    game = AdditiveGame(form, [np.array([2, 0]), np.array([1]), np.array([], int)], background)
    grouped = torch.stack([own[:, 0] + own[:, 2], own[:, 1], 0 * own[:, 1]], 1)
    torch.testing.assert_close(game.shapley(x), grouped, rtol=1e-12, atol=1e-12)
