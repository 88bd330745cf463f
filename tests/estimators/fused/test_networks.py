"""Networks that are trained together: each ends as if it had been fitted alone."""

import gc
import pickle
import signal
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone

from thetalearn import MLPClassifier, MLPRegressor
from thetalearn.estimators.fused.networks.search import shared_seconds
from thetalearn.exceptions import ConvergenceWarning, DivergenceError
from thetalearn.fusion import NotFusable, ReplicaFit, Source
from thetalearn.solvers.gradient.optimizers import RMSprop
from thetalearn.solvers.gradient.schedules import Plateau
from thetalearn.solvers.gradient.trainer import Trained

N, BUDGET = 90, 2**26

#: Attributes that a clock or a generator decides on; they are compared in their own way.
APART = ("history_", "_rng", "random_state")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 4))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=N)
    return X, y


def regressor(**params):
    defaults = {"hidden_layer_sizes": (6, 5), "max_iter": 4, "batch_size": 16, "random_state": 0}
    return MLPRegressor(**{**defaults, "learning_rate_init": 0.01, **params})


def classifier(**params):
    defaults = {"hidden_layer_sizes": (6,), "max_iter": 4, "batch_size": 16, "random_state": 0}
    return MLPClassifier(**{**defaults, "learning_rate_init": 0.01, **params})


def folds(n=N, n_folds=3):
    """Training rows of folds, in an order of their own."""
    order = np.random.default_rng(1).permutation(n)
    return [np.delete(order, np.s_[k::n_folds]) for k in range(n_folds)]


def product(base, candidates, rows=None):
    """Every candidate on every fold."""
    rows = folds() if rows is None else rows
    return [
        ReplicaFit(clone(clone(base).set_params(**candidate)), 0, own)
        for candidate in candidates
        for own in rows
    ]


def rows_of(values, rows):
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]


def fit_alone(fit, sources):
    """What `fit` makes of a copy, its error, and its warnings."""
    estimator, source, error = clone(fit.estimator), sources[fit.source], None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            X, y = rows_of(source.X, fit.rows), rows_of(source.y, fit.rows)
            estimator.fit(X, y, fit.sample_weight)
        except Exception as raised:
            error = raised
    return estimator, error, caught


def fit_together(fits, sources, memory_budget=BUDGET):
    """Fit all, and see that each is given back once."""
    kind = type(fits[0].estimator)
    done = [f for p in kind.fit_replicas(fits, sources, memory_budget=memory_budget) for f in p]
    assert sorted(map(id, done)) == sorted(map(id, fits))


def assert_same(found, expected, rtol, name=""):
    """Equal up to rounding, through lists and dicts."""
    assert type(found) is type(expected), name
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        for key, value in expected.items():
            assert_same(found[key], value, rtol, f"{name}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), name
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, rtol, name)
    elif isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
        assert found.dtype == expected.dtype, name
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol, err_msg=name)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected, err_msg=name)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=10 * rtol, abs=rtol, nan_ok=True), name
    else:
        assert found == expected, name


def without_time(history):
    assert all(list(record)[-1] == "seconds" and record["seconds"] >= 0 for record in history)
    return [{key: v for key, v in record.items() if key != "seconds"} for record in history]


def assert_as_alone(fit, sources, rtol=1e-10):
    """The law."""
    alone, error, caught = fit_alone(fit, sources)
    assert (type(fit.error), str(fit.error)) == (type(error), str(error))
    assert [(w.category, str(w.message)) for w in fit.warnings] == [
        (w.category, str(w.message)) for w in caught
    ]
    found, expected = vars(fit.estimator), vars(alone)
    assert found.keys() == expected.keys()
    for name in expected.keys() - set(APART):
        assert_same(found[name], expected[name], rtol, name)
    if "history_" in expected:
        histories = without_time(found["history_"]), without_time(expected["history_"])
        assert_same(*histories, rtol, "history_")
    if "_rng" in expected:
        # What a later partial_fit draws.
        assert pickle.dumps(found["_rng"]) == pickle.dumps(expected["_rng"])


def check(fits, sources, rtol=1e-10, **options):
    """The law for all; the fitted estimators."""
    originals = [ReplicaFit(clone(f.estimator), f.source, f.rows, f.sample_weight) for f in fits]
    fit_together(fits, sources, **options)
    for fit, original in zip(fits, originals, strict=True):
        state = original.estimator.random_state
        if isinstance(state, np.random.RandomState):
            fit.estimator.set_params(random_state=state)  # its own has been used up
        assert_as_alone(fit, sources, rtol)
    return [fit.estimator for fit in fits]


CANDIDATES = {
    "penalties": [{"alpha": a} for a in (0.0, 1e-3, 1.0)],
    "elastic net": [{"alpha": a, "l1_ratio": r} for a, r in ((0.1, 0.5), (0.5, 1.0), (0.0, 0.0))],
    "rates": [{"learning_rate_init": rate} for rate in (1e-3, 1e-2)],
    "decay": [{"weight_decay": d} for d in (0.0, 0.1)],
    "decoupled decay": [{"solver": "adamw", "weight_decay": d} for d in (0.0, 0.1)],
    "momenta": [{"solver": "sgd", "momentum": m} for m in (0.0, 0.5, 0.9)],
    "betas": [{"beta_1": b, "beta_2": c} for b, c in ((0.5, 0.9), (0.9, 0.99))],
    "epsilon": [{"solver": "rmsprop", "epsilon": e} for e in (1e-8, 1e-3)],
    "adamax": [{"solver": "adamax", "epsilon": e} for e in (1e-8, 1e-3)],
    "instance": [{"solver": RMSprop(momentum=0.5), "alpha": a} for a in (0.0, 1.0)],
    "epochs": [{"max_iter": n} for n in (1, 6, 3)],
    "seeds": [{"random_state": seed} for seed in (0, 1)],
    "generators": [{"random_state": np.random.RandomState(3)}] * 2,
    "dropout": [{"dropout": p, "input_dropout": q} for p, q in ((0.2, 0.1), (0.5, 0.1), (0, 0.2))],
    "dropout or none": [{"dropout": p} for p in (0.0, [0.2, 0.0], 0.5)],
    "tolerances": [{"max_iter": 25, "tol": t, "n_iter_no_change": 1} for t in (1.0, 1e-2, 0.0)],
    "patience": [{"max_iter": 15, "tol": 0.1, "n_iter_no_change": n} for n in (1, 3, np.inf)],
    "adaptive": [
        {
            "solver": "sgd",
            "learning_rate": "adaptive",
            "max_iter": 9,
            "tol": t,
            "n_iter_no_change": 1,
        }
        for t in (0.1, 0.05)
    ],
    "plateau": [{"learning_rate": Plateau(patience=0), "max_iter": n} for n in (5, 7)],
    "cosine": [{"learning_rate": "cosine", "max_iter": n} for n in (2, 5)],
    "early stopping": [
        {"early_stopping": True, "max_iter": 12, "tol": t, "n_iter_no_change": 1, "alpha": a}
        for t, a in ((0.5, 0.1), (0.0, 1.0))
    ],
    "fractions": [{"early_stopping": True, "validation_fraction": f} for f in (0.1, 0.12, 0.3)],
    "average": [{"average": True, "alpha": a} for a in (0.0, 1.0)],
    "accumulation": [{"accumulation_steps": 2, "alpha": a} for a in (0.0, 1.0)],
    "clipping": [{"clip_norm": 0.1, "alpha": a} for a in (0.0, 1.0)],
    "batch norm": [{"normalization": "batch", "alpha": a} for a in (0.0, 1.0)],
    "layer norm, skips": [
        {"normalization": "layer", "residual": True, "hidden_layer_sizes": (4, 4), "alpha": a}
        for a in (0.0, 1.0)
    ],
    "all rows": [{"solver": "gd", "learning_rate_init": r} for r in (0.01, 0.1)],
    "large batches": [{"batch_size": 500, "alpha": a} for a in (0.0, 1.0)],
    "replacement": [{"sampling": "replacement", "alpha": a} for a in (0.0, 1.0)],
    "width scaling": [{"solver": "sgd", "width_scaling": 0.7, "hidden_layer_sizes": (8,)}],
    "losses": [{"loss": "huber", "alpha": a} for a in (0.0, 1.0)],
    "variances": [{"loss": "gaussian", "alpha": a} for a in (0.0, 1.0)],
    "no hidden layer": [{"hidden_layer_sizes": (), "alpha": a} for a in (0.0, 1.0)],
}


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_regressor_ends_as_if_it_had_been_fitted_alone(data, name):
    check(product(regressor(), CANDIDATES[name]), [Source(*data)])


# Differences between rates, and between folds, are applied by other operations; float32 has 6e-8.
@pytest.mark.parametrize("candidates", ["rates", "penalties", "dropout", "early stopping"])
def test_single_precision_ends_alike_up_to_rounding(data, candidates):
    X, y = data
    fits = product(regressor(), CANDIDATES[candidates])
    check(fits, [Source(X.astype(np.float32), y.astype(np.float32))], rtol=1e-5)


def test_precision_is_chosen_as_alone(data):
    fits = product(regressor(dtype="float32"), CANDIDATES["rates"])
    fitted = check(fits, [Source(*data)], rtol=1e-5)
    assert all(one.coefs_[0].dtype == np.float32 for one in fitted)


def labels_of(kind, data):
    X, y = data
    match kind:
        case "two":
            return np.where(y > 0, "b", "a")
        case "several":
            return np.digitize(y, [-0.5, 0.5]) * 10
        case "several labels a row":
            return np.column_stack([y > 0, X[:, 0] > 0, X[:, 1] > 1]).astype(int)
        case "soft":
            return 1 / (1 + np.exp(-y))
    raise AssertionError


KINDS = "two", "several", "several labels a row", "soft"
CLASSIFIED = "penalties", "dropout or none", "early stopping", "tolerances"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CLASSIFIED)
def test_a_classifier_ends_as_if_it_had_been_fitted_alone(data, kind, name):
    base = classifier(hidden_layer_sizes=(6, 5))
    check(product(base, CANDIDATES[name]), [Source(data[0], labels_of(kind, data))])


def test_class_weights_may_differ(data):
    weights = [{"class_weight": w} for w in (None, "balanced", {"a": 3.0}, {"x": 1.0})]
    fits = product(classifier(), weights)
    check(fits, [Source(data[0], labels_of("two", data))])
    assert [type(fit.error) for fit in fits[-3:]] == [ValueError] * 3


def test_fits_may_have_different_classes(data):
    """One fold lacks a class, and one has a single class."""
    y = labels_of("several", data)
    rows = [np.arange(N), np.flatnonzero(y > 0), np.flatnonzero(y == 0), np.flatnonzero(y < 20)]
    fits = product(classifier(), CANDIDATES["penalties"], rows)
    fitted = check(fits, [Source(data[0], y)])
    assert [len(fitted[k].classes_) for k in (0, 1, 3)] == [3, 2, 2]
    assert "at least 2 classes" in str(fits[2].error)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_rows_have_weights(data, early_stopping):
    rng = np.random.default_rng(2)
    base = regressor(early_stopping=early_stopping)
    fits = product(base, CANDIDATES["penalties"])
    for fit in fits:
        fit.sample_weight = rng.integers(0, 3, len(fit.rows)).astype(float)
    fits[0].sample_weight[0] = -1.0
    check(fits, [Source(*data)])
    assert "sample_weight" in str(fits[0].error)


def test_several_sources_are_trained_together(data):
    """As in pipelines: one for each fold and each preprocessing."""
    X, y = data
    sources = [Source(X[rows] * scale, y[rows]) for rows in folds() for scale in (1, 2)]
    sources.append(Source(X[:40, :2], y[:40]))
    fits = [
        ReplicaFit(regressor(alpha=alpha, early_stopping=True), number, np.arange(len(source.y)))
        for alpha in (0.0, 1.0)
        for number, source in enumerate(sources)
    ]
    check(fits, sources)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_rows_are_rows(data, early_stopping):
    X, y = data
    rows = folds()
    X = sp.csr_array(np.where(np.abs(X) > 0.5, X, 0))
    sources = [Source(X, y), Source(X[rows[0]], y[rows[0]])]
    fits = product(regressor(early_stopping=early_stopping), CANDIDATES["penalties"])
    fits += [ReplicaFit(clone(fits[0].estimator), 1, np.arange(len(rows[0])))]
    check(fits, sources)


def test_frames_give_their_names(data):
    X = pd.DataFrame(data[0], columns=list("abcd"))
    fits = product(regressor(), CANDIDATES["penalties"])
    for fitted in check(fits, [Source(X, pd.Series(data[1]))]):
        assert list(fitted.feature_names_in_) == list("abcd")


def test_several_targets(data):
    X, y = data
    fits = product(regressor(early_stopping=True), CANDIDATES["penalties"])
    check(fits, [Source(X, np.column_stack([y, -y, X[:, 0]]))])


def test_a_column_of_labels_is_warned_of_in_every_fit(data):
    fits = product(classifier(), CANDIDATES["penalties"])
    check(fits, [Source(data[0], labels_of("two", data)[:, None])])
    assert all("column-vector" in str(fit.warnings[0].message) for fit in fits)


def test_folds_of_different_sizes(data):
    rows = [np.arange(64), np.arange(10, 75), np.arange(30), np.arange(3, 36)]
    for params in ({}, {"early_stopping": True}):
        check(product(regressor(**params), CANDIDATES["rates"], rows), [Source(*data)])


def test_rows_may_repeat(data):
    rows = [np.r_[np.arange(40), np.arange(40)], np.arange(80)]
    check(product(regressor(early_stopping=True), CANDIDATES["penalties"], rows), [Source(*data)])


def test_divergence_is_that_of_one_alone(data):
    candidates = [{"solver": "sgd", "learning_rate_init": rate} for rate in (1e-3, 1e9, 1e-2)]
    fits = product(regressor(activation="identity"), candidates)
    check(fits, [Source(*data)])
    assert [isinstance(fit.error, DivergenceError) for fit in fits] == [False] * 3 + [True] * 3 + [
        False
    ] * 3
    assert all(np.isfinite(fit.estimator.coefs_[0]).all() for fit in fits)


def test_a_wrong_parameter_is_the_error_of_its_fit_alone(data):
    candidates = [{"alpha": 0.1}, {"alpha": -1.0}, {"validation_fraction": 0.001}, {"tol": "x"}]
    fits = product(regressor(early_stopping=True), candidates)
    check(fits, [Source(*data)])
    assert [fit.error is None for fit in fits] == [True] * 3 + [False] * 9
    assert not hasattr(fits[-1].estimator, "n_features_in_")


def test_every_fit_warns_for_itself(data):
    candidates = [{"max_iter": 2}, {"max_iter": 30, "tol": 10.0, "n_iter_no_change": 1}]
    fits = product(regressor(), candidates)
    check(fits, [Source(*data)])
    kinds = [[warning.category for warning in fit.warnings] for fit in fits]
    assert kinds == [[ConvergenceWarning]] * 3 + [[]] * 3


def test_an_estimator_goes_on_as_after_an_ordinary_fit(data):
    X, y = data
    candidates = [{"max_iter": 30, "tol": t, "n_iter_no_change": 1} for t in (0.5, 0.05)]
    fits = product(regressor(), candidates)
    fit_together(fits, [Source(X, y)])
    for fit in fits:
        alone, _, _ = fit_alone(fit, [Source(X, y)])
        own = pickle.loads(pickle.dumps(fit.estimator))
        own.partial_fit(X, y)
        alone.partial_fit(X, y)
        np.testing.assert_allclose(own.predict(X), alone.predict(X), rtol=1e-10, atol=1e-10)


def test_seconds_of_networks_in_a_stack_add_up_to_those_of_the_stack(data):
    fits = product(regressor(tol=0.0), [{"max_iter": n} for n in (2, 9, 5)])
    start = time.perf_counter()
    fit_together(fits, [Source(*data)])
    passed = time.perf_counter() - start
    seconds = [[record["seconds"] for record in fit.estimator.history_] for fit in fits]
    assert all(np.all(np.diff(one) > 0) for one in seconds)
    assert sum(one[-1] for one in seconds) <= passed


def test_networks_in_training_share_the_time_of_an_epoch():
    short, long = (Trained({}, [], "", {}, seconds) for seconds in ([4.0, 6.0], [4.0, 6.0, 7.0]))
    assert shared_seconds([short, long, long]) == pytest.approx([4 / 3, 2.0, 2.5])


def test_a_small_budget_makes_small_stacks(data):
    check(product(regressor(), CANDIDATES["rates"]), [Source(*data)], memory_budget=1)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"solver": "lbfgs"}, "lbfgs"),
        ({"solver": "newton"}, "newton"),
        ({"callbacks": [object()]}, "callbacks"),
        ({"verbose": 1}, "progress bar"),
        ({"amp": True}, "amp"),
        ({"activation": np.tanh}, "function"),
        ({"out_activation": np.tanh}, "function"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_what_is_trained_alone_says_why(params, reason):
    with pytest.raises(NotFusable, match=reason):
        regressor(**params).replica_parameters()


def test_a_warm_start_goes_on_alone(data):
    estimator = regressor(warm_start=True)
    assert "alpha" in estimator.replica_parameters()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(*data)
    with pytest.raises(NotFusable, match="warm_start"):
        estimator.replica_parameters()


@pytest.mark.parametrize("estimator", [regressor(), classifier()], ids=["regressor", "classifier"])
def test_what_may_differ_are_parameters(estimator):
    names = estimator.replica_parameters()
    assert names <= estimator.get_params().keys()
    assert ("class_weight" in names) == isinstance(estimator, MLPClassifier)


def test_data_that_are_not_valid_as_a_whole_are_left_to_single_fits(data):
    X, y = data[0].copy(), data[1]
    X[0, 0] = np.nan
    with pytest.raises(NotFusable, match="NaN"):
        fit_together(product(regressor(), [{}]), [Source(X, y)])


def test_an_interrupt_stops_the_threads(data):
    """Given up after its first stack, a search ends long before it would have been done."""
    fits = product(regressor(max_iter=100_000, tol=0.0, n_iter_no_change=np.inf), [{}])
    fits += product(regressor(max_iter=1, tol=0.0), [{}])
    before = threading.active_count()
    start = time.perf_counter()
    parts = MLPRegressor.fit_replicas(fits, [Source(*data)], memory_budget=1)
    next(parts)
    parts.close()
    del parts
    gc.collect()
    assert threading.active_count() == before
    assert time.perf_counter() - start < 5  # 100,000 epochs take minutes


def test_control_c_is_passed_on(data, request):
    # A shell tells programs in the background to ignore interrupts.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    fits = product(regressor(max_iter=100_000, tol=0.0, n_iter_no_change=np.inf), [{}])
    before, main = threading.active_count(), threading.main_thread().ident
    stopped = threading.Event()

    def interrupt():
        # Once more after a while: an interrupt that falls into a destructor is lost.
        for seconds in (0.3, 5.0, 5.0):
            if stopped.wait(seconds):
                return
            signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    start = time.perf_counter()
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        fit_together(fits, [Source(*data)])
    stopped.set()
    interrupter.join()
    assert threading.active_count() == before
    assert time.perf_counter() - start < 15  # 100,000 epochs take minutes


def test_a_generator_in_common_is_used_by_one_fit_after_the_other(data):
    fits = product(regressor(), CANDIDATES["penalties"])
    generator = np.random.RandomState(0)
    for fit in fits:
        fit.estimator.random_state = generator
    with pytest.raises(NotFusable, match="RandomState"):
        fit_together(fits, [Source(*data)])


@pytest.mark.parametrize("candidates", ["early stopping", "dropout or none"])
def test_stacks_on_two_threads(data, candidates):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        check(product(regressor(), CANDIDATES[candidates]), [Source(*data)])
    finally:
        torch.set_num_threads(before)


# ------------------------------------------------------------------------- predictions together


def fitted(base, candidates, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [clone(base).set_params(**candidate).fit(X, y) for candidate in candidates]


def assert_predict_alike(estimators, X, method, rtol):
    together = type(estimators[0]).predict_replicas(estimators, X, method)
    assert len(together) == len(estimators)
    for one, found in zip(estimators, together, strict=True):
        expected = getattr(one, method)(X)
        assert type(found) is type(expected)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)
        else:
            np.testing.assert_array_equal(found, expected)


ARCHITECTURES = [
    {"hidden_layer_sizes": h, "random_state": k} for k in (0, 1) for h in ((6,), (7, 7))
]


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@pytest.mark.parametrize(
    "params",
    [{}, {"normalization": "batch"}, {"residual": True, "dropout": 0.2}, {"loss": "gaussian"}],
    ids=["plain", "batch norm", "skips", "variances"],
)
def test_regressors_predict_together_as_alone(data, params, dtype, rtol):
    X, y = data[0].astype(dtype), data[1].astype(dtype)
    for targets in (y, np.column_stack([y, -y])):
        estimators = fitted(regressor(**params), ARCHITECTURES, X, targets)
        assert_predict_alike(estimators, X, "predict", rtol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
def test_classifiers_predict_together_as_alone(data, kind, method):
    X, y = data[0], labels_of(kind, data)
    assert_predict_alike(fitted(classifier(), ARCHITECTURES, X, y), X, method, 1e-12)


def test_frames_and_sparse_rows_are_predicted(data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcd"))
    assert_predict_alike(fitted(regressor(), ARCHITECTURES, frame, y), frame, "predict", 1e-12)
    sparse = sp.csr_array(X)
    assert_predict_alike(fitted(regressor(), ARCHITECTURES, sparse, y), sparse, "predict", 1e-12)


def test_many_rows_are_predicted_block_by_block(data):
    estimators = fitted(regressor(), ARCHITECTURES, *data)
    X = np.random.default_rng(3).normal(size=(30_000, 4))
    assert_predict_alike(estimators, X, "predict", 1e-12)


def test_networks_of_different_columns_do_not_predict_together(data):
    X, y = data
    some = fitted(regressor(), [{}], X, y) + fitted(regressor(), [{}], X[:, :2], y)
    assert MLPRegressor.predict_replicas(some, X, "predict") is None
    assert MLPRegressor.predict_replicas(some[:1], X, "predict_proba") is None
