"""The networks against scikit-learn's: the same seed, the same weights, curves and predictions."""

import doctest
import inspect
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thetalearn import MLPClassifier, MLPRegressor

PAIRS = {
    "regressor": (MLPRegressor, neural_network.MLPRegressor),
    "classifier": (MLPClassifier, neural_network.MLPClassifier),
}

#: Both take the same sums in another order. A training multiplies the rounding, 2e-16, by how far
#: apart neighbouring trajectories come in a few hundred steps.
CLOSE = {"rtol": 1e-8, "atol": 1e-9}

#: scikit-learn adds epsilon to the root of the second moment before the correction for its start at
#: zero, and we after it, as torch does: they agree where epsilon is far below every root.
OPTIONS = {
    "hidden_layer_sizes": (7, 5),
    "max_iter": 20,
    "batch_size": 20,
    "learning_rate_init": 0.02,
    "epsilon": 1e-20,
    "random_state": 3,
}

solvers = pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
stochastic = pytest.mark.parametrize("solver", ["sgd", "adam"])

_rng = np.random.default_rng(0)
N = 83  # the last of five minibatches is a short one
X = _rng.normal(size=(N, 4))
WEIGHT = _rng.uniform(0.2, 2, N)
_noise = _rng.normal(size=N)
Y = np.sin(X[:, 0]) + X[:, 1] + 0.1 * _noise
TARGETS = {
    "one target": ("regressor", Y),
    "two targets": ("regressor", np.c_[Y, X[:, 2] ** 2]),
    "two classes": ("classifier", (X[:, 0] + X[:, 1] ** 2 + 0.3 * _noise > 0.7).astype(int)),
    "three classes": ("classifier", np.digitize(X[:, 0] + 0.4 * _noise, [-0.5, 0.5])),
    "three labels": ("classifier", (X[:, :3] + X[:, 1:] > 0.3).astype(int)),
}
COUNTS = _rng.poisson(np.exp(0.5 * X[:, 0]))
BINARY, CLASSES = TARGETS["two classes"][1], TARGETS["three classes"][1]

targets = pytest.mark.parametrize(("kind", "y"), TARGETS.values(), ids=TARGETS)
both_kinds = pytest.mark.parametrize(
    ("kind", "y"), [("regressor", Y), ("classifier", CLASSES)], ids=PAIRS
)


def pair(kind, **options):
    """Our estimator and theirs, of the same parameters."""
    ours, theirs = PAIRS[kind]
    return ours(**{**OPTIONS, **options}), theirs(**{**OPTIONS, **options})


def fit(model, *args, **kwargs):
    """Fit, whether it converges or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*args, **kwargs)


def fitted_names(model):
    return [name for name in vars(model) if name.endswith("_") and not name.startswith("_")]


def assert_same(ours, theirs, inputs=X, *, but=(), close=CLOSE):
    """Compare every fitted attribute of theirs, and all predictions."""
    for name in set(fitted_names(theirs)) - set(but):
        own, expected = getattr(ours, name), getattr(theirs, name)
        if name in ("coefs_", "intercepts_"):
            assert isinstance(own, list) and len(own) == len(expected)
            for one, other in zip(own, expected, strict=True):
                assert one.shape == other.shape and one.dtype == other.dtype
                np.testing.assert_allclose(one, other, **close, err_msg=name)
        elif expected is None or isinstance(expected, str | int):
            assert own == expected, name
        elif name in ("classes_", "feature_names_in_"):
            np.testing.assert_array_equal(own, expected)
        else:
            np.testing.assert_allclose(own, expected, **close, err_msg=name)
    for method in ("predict_proba", "predict_log_proba"):
        if hasattr(theirs, method):
            own, expected = getattr(ours, method)(inputs), getattr(theirs, method)(inputs)
            np.testing.assert_allclose(own, expected, **close, err_msg=method)
    own, expected = ours.predict(inputs), theirs.predict(inputs)
    if sp.issparse(expected):  # theirs answers labels in a sparse matrix with such a one
        expected = expected.toarray()
    assert own.shape == expected.shape
    if own.dtype.kind == "f":
        assert own.dtype == expected.dtype
        np.testing.assert_allclose(own, expected, **close)
    else:
        np.testing.assert_array_equal(own, expected)


def assert_same_fit(kind, y, inputs=X, *, weight=None, but=(), close=CLOSE, **options):
    ours, theirs = pair(kind, **options)
    fit(ours, inputs, y, sample_weight=weight)
    fit(theirs, inputs, y, sample_weight=weight)
    assert_same(ours, theirs, inputs, but=but, close=close)
    return ours, theirs


@targets
@stochastic
def test_stochastic_solvers(kind, y, solver):
    assert_same_fit(kind, y, solver=solver)


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "two targets"])
def test_lbfgs(name):
    # At a kink of "relu" one rounding can send a line search elsewhere.
    kind, y = TARGETS[name]
    assert_same_fit(kind, y, solver="lbfgs", activation="tanh", max_iter=12)
    assert_same_fit(kind, y, solver="lbfgs", max_iter=2)


def test_lbfgs_of_several_targets_minimises_what_it_reports():
    # Their line search is given the mean of the losses over targets, but the gradient of the sum.
    y = TARGETS["two targets"][1]
    ours, theirs = pair("regressor", solver="lbfgs", activation="tanh", max_iter=100, alpha=0.5)
    fit(ours, X, y)
    fit(theirs, X, y)

    def objective(model):
        squares = sum((coef**2).sum() for coef in model.coefs_)
        return ((model.predict(X) - y) ** 2).sum() / (2 * N) + 0.5 / (2 * N) * squares

    assert objective(ours) < objective(theirs)
    mean = ((ours.predict(X) - y) ** 2).mean() / 2
    penalty = objective(ours) - 2 * mean
    assert ours.loss_ == pytest.approx(mean + penalty, rel=1e-12)


@solvers
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@both_kinds
def test_activations(kind, y, activation, solver):
    few = solver == "lbfgs" and activation == "relu"
    assert_same_fit(kind, y, activation=activation, solver=solver, max_iter=2 if few else 10)


@pytest.mark.parametrize("momentum", [0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("nesterovs_momentum", [True, False])
def test_momentum(momentum, nesterovs_momentum):
    options = {"momentum": momentum, "nesterovs_momentum": nesterovs_momentum}
    assert_same_fit("regressor", Y, solver="sgd", **options)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
def test_learning_rates_until_the_stopping_rule_holds(learning_rate, early_stopping):
    ours, _ = assert_same_fit(
        "regressor",
        Y,
        solver="sgd",
        learning_rate=learning_rate,
        power_t=0.3,
        early_stopping=early_stopping,
        max_iter=300,
        tol=1e-2,
        n_iter_no_change=2,
    )
    assert ours.n_iter_ < 300 and ours.converged_
    rates = [record["learning_rate"] for record in ours.history_]
    assert rates[0] == 0.02
    if learning_rate == "adaptive":
        # Divided by five up to the stop, which comes once the rate is at most 1e-6.
        assert 1e-6 / 5 < rates[-1] <= 1e-6
        np.testing.assert_allclose(0.02 / rates[-1], 5.0 ** len(set(rates)) / 5, rtol=1e-12)


@targets
def test_the_stopping_rule(kind, y):
    ours, _ = assert_same_fit(kind, y, max_iter=300, tol=1e-2, n_iter_no_change=5)
    assert ours.n_iter_ < 300


def test_no_patience_runs_out():
    ours, _ = assert_same_fit("regressor", Y, n_iter_no_change=np.inf, tol=1e9)
    assert ours.n_iter_ == 20


@pytest.mark.parametrize("alpha", [0.0, 3.0])
@both_kinds
def test_alpha(kind, y, alpha):
    assert_same_fit(kind, y, alpha=alpha)
    assert_same_fit(kind, y, alpha=alpha, solver="lbfgs", activation="tanh", max_iter=12)


@targets
def test_sample_weight(kind, y):
    assert_same_fit(kind, y, weight=WEIGHT, batch_size=N)
    if np.ndim(y) == 1:
        options = {"solver": "lbfgs", "activation": "tanh", "max_iter": 12}
        assert_same_fit(kind, y, weight=WEIGHT, **options)


@both_kinds
def test_sample_weight_of_minibatches(kind, y):
    # The loss of an epoch is the mean over its rows by their weights; scikit-learn takes the mean
    # over batches by the number of their rows. Nothing else differs.
    curves = {"loss_", "loss_curve_", "best_loss_"}
    ours, theirs = assert_same_fit(kind, y, weight=WEIGHT, but=curves)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0.1)


@stochastic
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_losses_of_counts(loss, solver):
    assert_same_fit("regressor", COUNTS, loss=loss, solver=solver, learning_rate_init=0.005)
    assert_same_fit(
        "regressor", COUNTS, loss=loss, solver=solver, weight=WEIGHT, batch_size=N, max_iter=10
    )


def test_poisson():
    options = {"solver": "lbfgs", "activation": "tanh", "max_iter": 10}
    assert_same_fit("regressor", COUNTS, loss="poisson", **options)
    ours, _ = assert_same_fit("regressor", COUNTS, loss="poisson", early_stopping=True)
    assert ours.out_activation_ == "exp"
    # Deviances of several counts are reported as a sum, unlike squared errors.
    several = np.c_[COUNTS, COUNTS[::-1]]
    assert_same_fit("regressor", several, loss="poisson", learning_rate_init=0.005)


@pytest.mark.parametrize(
    ("kind", "y"),
    [TARGETS[name] for name in TARGETS if name != "three classes"],
    ids=[name for name in TARGETS if name != "three classes"],
)
def test_early_stopping(kind, y):
    options = {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 4}
    ours, _ = assert_same_fit(kind, y, **options, max_iter=40)
    assert ours.best_loss_ is None
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert_same_fit(kind, y, weight=WEIGHT, batch_size=66, **options)


def test_early_stopping_of_classes_too_rare_to_be_stratified():
    # We stratify several classes too, and they do not; but a fit must not fail for that.
    y = np.where(np.arange(N) == 40, 3, CLASSES)
    ours, _ = assert_same_fit("classifier", y, early_stopping=True)
    assert ours.classes_.tolist() == [0, 1, 2, 3]
    assert_same_fit("classifier", np.arange(N) % 12, early_stopping=True)  # 9 rows, 12 classes


@both_kinds
@stochastic
def test_rows_in_the_order_given(kind, y, solver):
    assert_same_fit(kind, y, shuffle=False, solver=solver)


@both_kinds
def test_batch_sizes(kind, y):
    assert_same_fit(kind, y, batch_size=1, max_iter=3)
    assert_same_fit(kind, y, batch_size="auto")
    for model in pair(kind, batch_size=1000, max_iter=3):
        with pytest.warns(UserWarning, match="batch"):
            fit(model, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert_same_fit(kind, y, batch_size=1000, max_iter=3)


@pytest.mark.parametrize(
    "sizes", [6, (), [3, 4], np.array([3, 4]), (2, 3, 4, 5), np.int64(4)], ids=repr
)
def test_hidden_layer_sizes(sizes):
    ours, _ = assert_same_fit("regressor", Y, hidden_layer_sizes=sizes, max_iter=5)
    assert ours.n_layers_ == len(np.atleast_1d(sizes)) + 2


@solvers
@both_kinds
def test_warm_start(kind, y, solver):
    ours, theirs = pair(
        kind,
        solver=solver,
        warm_start=True,
        max_iter=4,
        n_iter_no_change=np.inf,
        activation="tanh",
    )
    for _ in range(3):
        fit(ours, X, y)
        fit(theirs, X, y)
        assert_same(ours, theirs)
    # A fit has a patience of its own: scikit-learn's goes on with what the one before has used up,
    # so that a fit after convergence takes a single epoch there.


def test_warm_start_with_early_stopping():
    ours, theirs = pair("regressor", warm_start=True, early_stopping=True, max_iter=5)
    for _ in range(3):
        fit(ours, X, Y)
        fit(theirs, X, Y)
        assert_same(ours, theirs)


@targets
@stochastic
def test_the_first_partial_fit(kind, y, solver):
    ours, theirs = pair(kind, solver=solver)
    options = {"classes": np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)}
    options = options if kind == "classifier" else {}
    ours.partial_fit(X, y, **options)
    theirs.partial_fit(X, y, **options)
    assert_same(ours, theirs)


@stochastic
@both_kinds
def test_later_partial_fits(kind, y, solver):
    # In the order given: with shuffle=True, theirs draw the order of the first again in every call,
    # because they start from the seed, and ours go on in the sequence of random numbers.
    options = {"classes": [0, 1, 2]} if kind == "classifier" else {}
    rates = ["constant", "invscaling", "adaptive"] if solver == "sgd" else ["constant"]
    for rate in rates:
        patience = {"tol": 0.1, "n_iter_no_change": 1}
        ours, theirs = pair(kind, solver=solver, shuffle=False, learning_rate=rate, **patience)
        for rows in (slice(0, 40), slice(40, 83), *[slice(0, 83)] * 6):
            ours.partial_fit(X[rows], y[rows], **options)
            theirs.partial_fit(X[rows], y[rows], **options)
            assert_same(ours, theirs)
        assert (ours.history_[-1]["learning_rate"] < 0.02) == (rate != "constant")


@pytest.mark.parametrize("container", [sp.csr_array, sp.csc_array, sp.csr_matrix])
@targets
def test_sparse_input(kind, y, container):
    sparse = container(np.where(np.abs(X) > 0.5, X, 0))
    ours, _ = assert_same_fit(kind, y, sparse, max_iter=5)
    dense = fit(clone(ours), sparse.toarray(), y)
    for one, other in zip(ours.coefs_, dense.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_sparse_input_of_lbfgs():
    options = {"solver": "lbfgs", "activation": "tanh", "max_iter": 10}
    assert_same_fit("regressor", Y, sp.csr_array(X), **options)


@solvers
@both_kinds
def test_single_precision(kind, y, solver):
    # 6e-8 in place of 2e-16, and as many steps.
    close = {"rtol": 1e-3, "atol": 1e-4}
    single = X.astype(np.float32)
    ours, theirs = pair(kind, solver=solver, activation="tanh", max_iter=3)
    fit(ours, single, y)
    fit(theirs, single, y)
    # Their L-BFGS turns the weights to float64.
    if solver != "lbfgs":
        assert_same(ours, theirs, single, close=close)
    assert all(part.dtype == np.float32 for part in ours.coefs_ + ours.intercepts_)
    for one, other in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(one, other, **close)
    method = "predict" if kind == "regressor" else "predict_proba"
    assert getattr(ours, method)(single).dtype == np.float32
    assert getattr(ours, method)(X).dtype == np.float64


@pytest.mark.parametrize(
    "names", [["no", "yes"], [False, True], [-1, 1], [3.0, 7.0], ["b", "a", "c"]], ids=repr
)
def test_labels(names):
    y = BINARY if len(names) == 2 else CLASSES
    assert_same_fit("classifier", np.asarray(names)[y], max_iter=5)
    if isinstance(names[0], str):
        assert_same_fit("classifier", np.asarray(names, dtype=object)[y], max_iter=5)


def test_kinds_of_targets():
    frame = pd.DataFrame(X, columns=list("abcd"))
    ours, _ = assert_same_fit("regressor", pd.Series(Y), frame, max_iter=5)
    assert ours.feature_names_in_.tolist() == list("abcd")
    column = BINARY[:, None]
    for model in pair("classifier", max_iter=3):
        with pytest.warns(UserWarning, match="column-vector y"):
            fit(model, X, column)
        assert model.predict(X).shape == (N,)
    labels = TARGETS["three labels"][1]
    assert_same_fit("classifier", sp.csr_array(labels), max_iter=5)
    # A column of targets comes back as one, as from all our regressors; theirs is flat.
    ours, theirs = pair("regressor", max_iter=5)
    fit(ours, X, Y[:, None])
    with pytest.warns(UserWarning, match="column-vector y"):
        fit(theirs, X, Y[:, None])
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X)[:, None], **CLOSE)


@stochastic
def test_a_shared_generator_is_used_up_alike(solver):
    ours, theirs = pair("regressor", solver=solver, early_stopping=True, max_iter=3)
    ours.set_params(random_state=np.random.RandomState(5))
    theirs.set_params(random_state=np.random.RandomState(5))
    for _ in range(2):
        fit(ours, X, Y)
        fit(theirs, X, Y)
        assert_same(ours, theirs)
    assert ours.random_state.randint(10**6) == theirs.random_state.randint(10**6)


@both_kinds
def test_default_parameters(kind, y):
    ours, theirs = (cls(random_state=0, max_iter=50) for cls in PAIRS[kind])
    fit(ours, X, y)
    fit(theirs, X, y)
    # The two epsilons shift each of 50 steps of 1e-3 by a share of about 1e-8 / |g|.
    assert_same(ours, theirs, close={"rtol": 1e-2, "atol": 1e-3})


@pytest.mark.parametrize("kind", PAIRS)
def test_every_parameter_has_its_name_place_and_default(kind):
    ours, theirs = (inspect.signature(cls).parameters for cls in PAIRS[kind])
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default, name
        assert ours[name].kind == parameter.kind, name

    def positional(parameters):
        return [name for name, p in parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD]

    assert positional(ours) == positional(theirs)
    own, other = (cls() for cls in PAIRS[kind])
    own.set_params(**other.get_params())


@pytest.mark.parametrize("kind", PAIRS)
def test_every_method_has_its_parameters(kind):
    ours, theirs = PAIRS[kind]
    for name in ("fit", "partial_fit", "predict", "predict_proba", "predict_log_proba", "score"):
        if not hasattr(theirs, name):
            continue
        own = inspect.signature(getattr(ours, name)).parameters
        expected = inspect.signature(getattr(theirs, name)).parameters
        assert list(own)[: len(expected)] == list(expected), name
        for parameter in expected:
            assert own[parameter].default == expected[parameter].default, (name, parameter)
    public = {name for name in dir(theirs) if not name.startswith("_")}
    # Metadata routing gives a setter for the arguments of each method; ours has those of its own.
    assert {name for name in public - set(dir(ours)) if not name.startswith("set_")} == set()


@solvers
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", PAIRS)
def test_every_fitted_attribute_exists(kind, solver, early_stopping):
    ours, theirs = pair(kind, solver=solver, early_stopping=early_stopping, max_iter=2)
    frame = pd.DataFrame(X, columns=list("abcd"))
    fit(ours, frame, BINARY)
    fit(theirs, frame, BINARY)
    assert all(hasattr(ours, name) for name in fitted_names(theirs))


@solvers
def test_partial_fit_is_absent_where_theirs_is(solver):
    ours, theirs = pair("classifier", solver=solver)
    assert hasattr(ours, "partial_fit") == hasattr(theirs, "partial_fit")
    # scikit-learn forgets to ask for its regressor.
    assert hasattr(pair("regressor", solver=solver)[0], "partial_fit") == (solver != "lbfgs")


def values_of_examples(docstring):
    """What the expressions of a docstring's examples give, with our classes in place of theirs."""
    source = docstring.replace("sklearn.neural_network", "thetalearn")
    names = {}
    for code in (docstring, source):
        scope, values = {}, []
        for example in doctest.DocTestParser().get_examples(code):
            try:
                values.append(eval(example.source, scope))
            except SyntaxError:
                exec(example.source, scope)
        names[code] = values
    return names[docstring], names[source]


@pytest.mark.parametrize("kind", PAIRS)
def test_examples_of_their_documentation(kind):
    theirs, ours = values_of_examples(PAIRS[kind][1].__doc__)
    compared = 0
    for expected, own in zip(theirs, ours, strict=True):
        if isinstance(expected, np.ndarray | float):
            # Three digits are printed.
            np.testing.assert_allclose(own, expected, rtol=1e-3)
            compared += 1
    assert compared >= 2


def test_in_a_pipeline_and_a_grid_search():
    grid = {"hidden_layer_sizes": [(3,), (6,)], "alpha": [1e-4, 1.0], "activation": ["tanh"]}
    grid = {f"mlp__{name}": values for name, values in grid.items()}
    found = []
    for model in pair("classifier", max_iter=10):
        steps = make_pipeline(StandardScaler(), model)
        steps.steps[-1] = ("mlp", model)
        search = GridSearchCV(steps, grid, cv=3)
        found.append(fit(search, X, CLASSES))
    ours, theirs = found
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-12
    )
