"""A class of the user's with a step of its own is not fitted, nor asked, together with others."""

import numpy as np
import pytest
from sklearn.base import clone

from thetalearn import (
    BSplineRegressor,
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
    SoftmaxClassifier,
)
from thetalearn.fusion import NotFusable, ReplicaFit, Source

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X[:, 0] + 0.1 * RNG.normal(size=40)
LABELS = (Y > 0).astype(int)
NETWORK = {"hidden_layer_sizes": (3,), "max_iter": 3, "random_state": 0}

FAMILIES = {
    "least squares": (LinearRegressor, {}, Y, "_absorb", "_predict_rows"),
    "products of columns": (LinearRegressor, {}, Y, "_absorb_products", "_combine"),
    "splines": (BSplineRegressor, {}, Y, "_training_rows", "predict"),
    "kernel": (KernelRidgeRegressor, {}, Y, "_solve", "_predict_rows"),
    "kernel matrix": (KernelRidgeRegressor, {}, Y, "_gram", "_input_rows"),
    "logistic": (LogisticClassifier, {}, LABELS, "_objective", "_decide_rows"),
    "softmax": (SoftmaxClassifier, {}, LABELS, "_class_weighted", "predict"),
    "network": (MLPRegressor, NETWORK, Y, "_fit_minibatch", "_network_outputs"),
    "classifier": (MLPClassifier, NETWORK, LABELS, "_fit_rows", "predict"),
}


def replacing(kind, step):
    """A subclass that does the same, by a step of its own."""

    def own(self, *args, **options):
        return getattr(super(made, self), step)(*args, **options)

    made = type("Q", (kind,), {step: own})
    return made


@pytest.mark.filterwarnings("ignore::thetalearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_ones_own_is_called(family):
    kind, options, y, step, response_step = FAMILIES[family]
    assert "alpha" in replacing(kind, "score")(**options).replica_parameters()
    with pytest.raises(NotFusable, match=f"^Q replaces {step}, which fits made together"):
        replacing(kind, step)(**options).replica_parameters()
    for made, together in ((kind, True), (replacing(kind, response_step), False)):
        models = [clone(made(**options)).set_params(alpha=a).fit(X, y) for a in (0.1, 1.0)]
        assert (made.predict_replicas(models, X, "predict") is not None) == together


def test_a_class_between_ours_and_the_users_may_replace_it():
    class Plain:
        def _solve(self, *args):
            return super()._solve(*args)

    class Mixed(Plain, KernelRidgeRegressor):
        pass

    with pytest.raises(NotFusable, match="Mixed replaces _solve"):
        Mixed().replica_parameters()


@pytest.mark.parametrize("kind", [LinearRegressor, KernelRidgeRegressor, MLPRegressor])
def test_a_reason_is_one_line(kind):
    bad = X.copy()
    bad[0, 0] = np.nan
    options = NETWORK if kind is MLPRegressor else {}
    fits = [ReplicaFit(kind(**options), 0, np.arange(30)) for _ in range(2)]
    with pytest.raises(NotFusable) as caught:
        list(kind.fit_replicas(fits, [Source(bad, Y)], memory_budget=2**24))
    assert "\n" not in str(caught.value)
