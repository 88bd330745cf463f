"""Callbacks of skorch on the engine: each keeps its promise, and only who listens costs."""

import copy
import io
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import (
    accuracy_score,
    get_scorer,
    log_loss,
    make_scorer,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
)
from skorch.dataset import unpack_data
from skorch.exceptions import SkorchException
from skorch.utils import to_numpy
from torch.utils.data import DataLoader, TensorDataset

from thetalearn import MLPClassifier, MLPRegressor
from thetalearn._sklearn_compat import HAS_CALLBACKS
from thetalearn.exceptions import ConvergenceWarning, DivergenceError
from thetalearn.solvers.gradient.net import CallbackWatch, Net
from thetalearn.solvers.gradient.trainer import Trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore::thetalearn.exceptions.ConvergenceWarning",
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 3))
Y = X[:, 0] ** 2 + X[:, 1] + 0.1 * RNG.standard_normal(120)
X_VAL = RNG.standard_normal((50, 3))
Y_VAL = X_VAL[:, 0] ** 2 + X_VAL[:, 1] + 0.1 * RNG.standard_normal(50)
LABELS = np.array(["ant", "bee", "cat"])[np.digitize(Y, [0, 1])]
LABELS_VAL = np.array(["ant", "bee", "cat"])[np.digitize(Y_VAL, [0, 1])]

HOOKS = (
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_grad_computed",
    "on_batch_end",
    "on_epoch_end",
    "on_train_end",
)


def regressor(*callbacks, **params):
    """A small network, by plain descent, with nothing that is left to chance."""
    given = {
        "hidden_layer_sizes": (5,),
        "solver": "sgd",
        "momentum": 0.0,
        "learning_rate_init": 0.05,
        "batch_size": 40,
        "max_iter": 4,
        "tol": 0.0,
        "n_iter_no_change": np.inf,
        "random_state": 0,
        "callbacks": list(callbacks) or None,
    }
    return MLPRegressor(**given | params)


def classifier(*callbacks, **params):
    given = regressor(*callbacks).get_params()
    names = MLPClassifier().get_params()
    kept = {name: value for name, value in given.items() if name in names and name != "loss"}
    return MLPClassifier(**kept | params)


def validated(model, X_val=X_VAL, y_val=Y_VAL):
    return model.fit(X, Y, X_val=X_val, y_val=y_val)


def weights_of(model):
    arrays = [*model.coefs_, *model.intercepts_]
    for norm in getattr(model, "norms_", []):
        arrays += norm.values()
    return np.concatenate([array.ravel() for array in arrays])


def weights_in(net):
    return np.concatenate(
        [own.detach().numpy().ravel() for own in net.module_.state_dict().values()]
    )


def callback(model, name):
    return dict(model.net_.callbacks_)[name]


class Weights(Callback):
    """The weights after every epoch."""

    def initialize(self):
        self.epochs_ = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.epochs_.append(weights_in(net).copy())


class Events(Callback):
    """Names of the hooks in the order of their calls."""

    def initialize(self):
        self.names_, self.values_ = [], []
        return self

    def note(self, name, values):
        self.names_.append(name)
        self.values_.append(values)

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.note("on_train_begin", {"X": X, "y": y, **kwargs})

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.note("on_train_end", {"X": X, "y": y, **kwargs})

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.note("on_epoch_begin", {"train": dataset_train, "valid": dataset_valid, **kwargs})

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.note("on_epoch_end", {"train": dataset_train, "valid": dataset_valid, **kwargs})

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.note("on_batch_begin", {"batch": batch, "training": training, **kwargs})

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        self.note("on_batch_end", {"batch": batch, "training": training, **kwargs})

    def on_grad_computed(self, net, named_parameters, batch=None, training=None, **kwargs):
        gradients = {name: own.grad.clone() for name, own in named_parameters}
        self.note("on_grad_computed", {"batch": batch, "gradients": gradients})


# --- what is called, when, and with what


def test_hooks_are_called_as_skorch_calls_them():
    model = validated(regressor(Events(), max_iter=2))
    step = ["on_batch_begin", "on_grad_computed", "on_batch_end"]
    # 120 rows make three batches of 40; 50 rows make two for validation.
    epoch = ["on_epoch_begin", *step * 3, *["on_batch_begin", "on_batch_end"] * 2, "on_epoch_end"]
    expected = ["on_train_begin", *epoch * 2, "on_train_end"]
    assert callback(model, "Events").names_ == expected


def test_batches_hold_rows_of_the_data_and_what_the_network_made_of_them():
    model = validated(regressor(Events(), max_iter=1, shuffle=False))
    events = callback(model, "Events")
    ends = [v for n, v in zip(events.names_, events.values_, strict=True) if n == "on_batch_end"]
    assert [end["training"] for end in ends] == [True] * 3 + [False] * 2
    rows = np.concatenate([end["batch"][0] for end in ends])
    targets = np.concatenate([end["batch"][1] for end in ends])
    assert np.array_equal(rows, np.vstack([X, X_VAL]))
    assert np.array_equal(targets, np.concatenate([Y, Y_VAL]))
    for end in ends:
        error = end["y_pred"].numpy()[:, 0] - unpack_data(end["batch"])[1].numpy()
        penalty = 0.0 if not end["training"] else None
        if penalty is not None:
            assert np.isclose(float(end["loss"]), np.mean(error**2) / 2)
    # Validation sees the weights after the epoch.
    seen = np.concatenate([end["y_pred"].numpy()[:, 0] for end in ends[3:]])
    assert np.allclose(seen, model.predict(X_VAL))


def test_rows_of_early_stopping_become_the_validation_set():
    model = regressor(Events(), early_stopping=True, validation_fraction=0.25).fit(X, Y)
    sets = callback(model, "Events").values_[1]
    train, valid = sets["train"], sets["valid"]
    assert len(train) == 90
    assert len(valid) == 30
    both = np.vstack([*(np.asarray(train[i][0]) for i in range(90)), valid.X.numpy()])
    assert np.array_equal(np.unique(both, axis=0), np.unique(X, axis=0))


def test_nothing_to_validate_is_none():
    model = regressor(Events()).fit(X, Y)
    assert callback(model, "Events").values_[1]["valid"] is None
    assert "valid_loss" not in model.net_.history[-1]


@pytest.mark.parametrize(
    "callbacks",
    [
        [Events()],
        [EpochScoring("r2", on_train=True, lower_is_better=False), EpochScoring("r2")],
        [LRScheduler("StepLR", step_size=100), PrintLog(), Checkpoint(f_params=None)],
    ],
)
@pytest.mark.parametrize(
    "params", [{}, {"normalization": "batch", "dropout": 0.2}, {"accumulation_steps": 2}]
)
def test_who_only_watches_changes_no_digit(callbacks, params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = validated(regressor(**params))
    watched = validated(regressor(*callbacks, **params))
    assert np.array_equal(weights_of(alone), weights_of(watched))
    times = ("seconds",)
    for one, other in zip(alone.history_, watched.history_, strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {
            k: v for k, v in other.items() if k not in times
        }


def test_global_generators_are_left_alone():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 (the global generator is the subject)
    before = torch.random.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    model = regressor(Events()).fit(X, Y)
    assert model.net_ is model.net_
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


# --- history


@pytest.mark.parametrize("listener", [EpochTimer, Events])
@pytest.mark.parametrize("weighted", [False, True])
def test_history_is_the_estimators(listener, weighted):
    weight = RNG.uniform(0.5, 2, len(X)) if weighted else None
    model = regressor(listener, alpha=0.1, max_iter=3)
    model.fit(X, Y, weight, X_val=X_VAL, y_val=Y_VAL)
    history = model.net_.history
    assert history[:, "train_loss"] == [record["loss"] for record in model.history_]
    assert history[:, "valid_loss"] == [record["validation_loss"] for record in model.history_]
    assert history[:, "epoch"] == [1, 2, 3]
    assert history[:, "train_batch_count"] == [3] * 3
    assert history[:, "valid_batch_count"] == [2] * 3
    assert all(0 < duration < 60 for duration in history[:, "dur"])
    for row in history:
        sizes = [batch["train_batch_size"] for batch in row["batches"][:3]]
        losses = [batch["train_loss"] for batch in row["batches"][:3]]
        assert sizes == [40] * 3
        if not weighted:
            # Rounding of a few sums of numbers near one.
            assert np.isclose(np.average(losses, weights=sizes), row["train_loss"], rtol=1e-12)
        sizes = [batch["valid_batch_size"] for batch in row["batches"][3:]]
        losses = [batch["valid_loss"] for batch in row["batches"][3:]]
        assert sizes == [40, 10]
        assert np.isclose(np.average(losses, weights=sizes), row["valid_loss"], rtol=1e-12)


def test_best_epochs_are_marked_as_skorch_marks_them():
    model = validated(regressor(EpochTimer, learning_rate_init=0.4, max_iter=12))
    for name in ("train_loss", "valid_loss"):
        values = np.array(model.net_.history[:, name])
        least = np.minimum.accumulate(np.concatenate([[np.inf], values]))[:-1]
        assert model.net_.history[:, f"{name}_best"] == (values < least).tolist()


def test_who_listens_or_not_sees_the_same_batches():
    bulk = validated(regressor(EpochTimer)).net_.history
    live = validated(regressor(Events)).net_.history
    for name in ("train_loss", "valid_loss"):
        first, second = (np.array(h[:, "batches", :, name]) for h in (bulk, live))
        assert np.allclose(first, second, rtol=1e-12)


# --- stopping and restoring


@pytest.mark.parametrize("monitor", ["valid_loss", "train_loss", "mae"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_early_stopping_restores_the_best_epoch(monitor, early_stopping):
    callbacks = (
        EpochScoring(make_scorer(mean_absolute_error), name="mae"),
        EarlyStopping(monitor=monitor, patience=3, load_best=True),
        Weights(),
    )
    # Large steps, for losses that go up and down.
    model = regressor(
        *callbacks, learning_rate_init=0.35, max_iter=60, early_stopping=early_stopping
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = validated(model)
    history = model.net_.history
    values = history[:, monitor]
    best = callback(model, "EarlyStopping").best_epoch_
    assert model.n_iter_ == len(values) == best + 3 < 60
    assert values[best - 1] == min(values)
    recorded = callback(model, "Weights").epochs_[best - 1]
    assert np.array_equal(recorded, weights_in(model.net_))
    assert model.converged_
    if monitor == "mae":
        found = mean_absolute_error(Y_VAL, model.predict(X_VAL))
        assert np.isclose(found, min(values))
    elif monitor == "valid_loss":
        found = np.mean((model.predict(X_VAL) - Y_VAL) ** 2) / 2
        assert np.isclose(found, min(values))


def test_the_last_epoch_may_be_the_best_and_is_kept_then():
    # The engine prefers the epoch of the best score, the callback that of the least training loss.
    callbacks = EarlyStopping("train_loss", load_best=True), Weights()
    model = validated(regressor(*callbacks, early_stopping=True, max_iter=30))
    assert callback(model, "EarlyStopping").best_epoch_ == 30
    assert np.array_equal(callback(model, "Weights").epochs_[-1], weights_in(model.net_))


def test_early_stopping_without_load_best_keeps_the_last_epoch():
    # The one that stops the training is the last to be asked.
    callbacks = Weights(), EarlyStopping("train_loss", patience=1)
    model = validated(regressor(*callbacks, learning_rate_init=0.35, max_iter=60))
    assert model.n_iter_ < 60
    assert np.array_equal(callback(model, "Weights").epochs_[-1], weights_in(model.net_))


class StopAt(Callback):
    def __init__(self, hook, call):
        self.hook, self.call = hook, call

    def initialize(self):
        self.calls_ = 0
        return self

    def count(self, hook, net):
        if hook == self.hook:
            self.calls_ += 1
            self.seen_ = weights_in(net).copy()
            if self.calls_ == self.call:
                raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        self.count("on_epoch_begin", net)

    def on_batch_begin(self, net, **kwargs):
        self.count("on_batch_begin", net)

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.count("on_grad_computed", net)

    def on_batch_end(self, net, **kwargs):
        self.count("on_batch_end", net)

    def on_epoch_end(self, net, **kwargs):
        self.count("on_epoch_end", net)


@pytest.mark.parametrize(
    ("hook", "epochs"),
    [
        ("on_epoch_begin", 4),
        ("on_batch_begin", 1),
        ("on_grad_computed", 1),
        ("on_batch_end", 1),
        ("on_epoch_end", 5),
    ],
)
def test_any_hook_may_stop_and_the_newest_weights_are_kept(hook, epochs):
    ended = Events()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = regressor(StopAt(hook, 5), ended, max_iter=9).fit(X, Y)
    assert model.n_iter_ == len(model.history_) == epochs
    assert callback(model, "Events").names_[-1] == "on_train_end"
    assert np.array_equal(callback(model, "StopAt").seen_, weights_in(model.net_))
    assert np.array_equal(
        weights_in(model.net_),
        np.concatenate([a.ravel() for a in (*model.coefs_, *model.intercepts_)]),
    )


def test_an_interruption_is_still_one(monkeypatch):
    updates = []
    update = Trainer._update

    def interrupted(*args):
        updates.append(args)
        if len(updates) == 5:
            raise KeyboardInterrupt
        update(*args)

    monkeypatch.setattr(Trainer, "_update", interrupted)
    model = regressor(Weights(), Events(), max_iter=9)
    with pytest.warns(ConvergenceWarning, match="was interrupted after 1 epochs"):
        model.fit(X, Y)
    assert not model.converged_
    assert callback(model, "Events").names_[-1] == "on_train_end"
    assert np.array_equal(callback(model, "Weights").epochs_[0], weights_in(model.net_))


def test_divergence_is_reported_after_the_callbacks_have_ended():
    files = []

    class Last(Callback):
        def on_train_end(self, net, **kwargs):
            files.append(np.isfinite(weights_in(net)).all())

    model = regressor(Last, learning_rate_init=1e6, max_iter=50)
    with pytest.raises(DivergenceError):
        model.fit(X, Y)
    assert files == [True]
    assert np.isfinite(model.predict(X)).all()


# --- checkpoints


def test_checkpoint_saves_the_best_and_loads_it(tmp_path):
    checkpoint = Checkpoint(dirname=str(tmp_path), load_best=True)
    model = validated(regressor(checkpoint, Weights(), learning_rate_init=0.35, max_iter=23))
    values = [record["validation_loss"] for record in model.history_]
    best = int(np.argmin(values))
    assert best + 1 < 23
    assert np.array_equal(callback(model, "Weights").epochs_[best], weights_in(model.net_))
    # What the checkpoint was loaded from includes its history.
    assert len(model.net_.history) == best + 1
    assert model.net_.history[-1, "event_cp"] is True
    state = torch.load(tmp_path / "params.pt", weights_only=True)
    assert all(np.array_equal(state[f"coefs.{i}"], model.coefs_[i]) for i in range(2))
    assert {path.name for path in tmp_path.iterdir()} == {
        "params.pt",
        "optimizer.pt",
        "criterion.pt",
        "history.json",
    }


def test_checkpoint_writes_to_the_users_file_and_formats_names(tmp_path):
    stream = io.BytesIO()
    callbacks = (
        (
            "each",
            Checkpoint(
                None,
                f_params=str(tmp_path / "{last_epoch[epoch]}.pt"),
                f_optimizer=None,
                f_history=None,
                f_criterion=None,
            ),
        ),
        (
            "stream",
            Checkpoint(
                None,
                f_params=stream,
                f_optimizer=None,
                f_history=None,
                f_criterion=None,
                event_name="event_stream",
            ),
        ),
    )
    regressor(*callbacks, max_iter=3).fit(X, Y)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.pt", "2.pt", "3.pt"]
    assert stream.tell() > 0


def test_a_net_may_be_pickled_on_the_way(tmp_path):
    save = Checkpoint(
        None,
        f_params=None,
        f_optimizer=None,
        f_criterion=None,
        f_history=None,
        f_pickle=str(tmp_path / "{last_epoch[epoch]}.pickle"),
    )
    model = regressor(save, LRScheduler("StepLR", step_size=1), solver="adam").fit(X, Y)
    last = pickle.loads((tmp_path / "4.pickle").read_bytes())
    assert np.array_equal(last.predict(X), model.predict(X))
    assert last.history[:, "train_loss"] == model.net_.history[:, "train_loss"]


def test_checkpoint_of_what_is_not_measured_is_an_error(tmp_path):
    with pytest.raises(SkorchException, match="validation data"):
        regressor(Checkpoint(dirname=str(tmp_path))).fit(X, Y)


def test_train_end_checkpoint_saves_what_is_kept(tmp_path):
    model = regressor(TrainEndCheckpoint(dirname=str(tmp_path)), early_stopping=True).fit(X, Y)
    other = regressor(random_state=1).fit(X, Y)
    other.net_.load_params(f_params=tmp_path / "train_end_params.pt")
    assert np.array_equal(other.predict(X), model.predict(X))


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop", "adadelta"])
@pytest.mark.parametrize("normalization", [None, "batch"])
def test_a_training_goes_on_from_a_checkpoint(tmp_path, end, solver, normalization):
    def model(max_iter, with_callbacks, seed):
        save = (
            TrainEndCheckpoint(dirname=str(tmp_path))
            if end
            else Checkpoint(None, dirname=str(tmp_path))
        )
        return regressor(
            *((save, LoadInitState(save)) if with_callbacks else ()),
            solver=solver,
            momentum=0.5,
            shuffle=False,
            normalization=normalization,
            learning_rate_init=0.01,
            random_state=seed,
            max_iter=max_iter,
        ).fit(X, Y)

    whole = model(7, False, 0)
    first = model(4, True, 0)
    # Another seed, as nothing but the checkpoint decides where the second part starts.
    second = model(3, True, 1)
    assert not np.array_equal(weights_of(first), weights_of(second))
    assert np.array_equal(weights_of(second), weights_of(whole))
    assert second.net_.history[:, "epoch"] == [1, 2, 3, 4, 5, 6, 7]


def test_a_checkpoint_of_another_solver_is_refused(tmp_path):
    save = TrainEndCheckpoint(dirname=str(tmp_path))
    regressor(save, solver="adam").fit(X, Y)
    with pytest.raises(ValueError, match="another solver"):
        regressor(save, LoadInitState(save), solver="adagrad").fit(X, Y)


# --- learning rates


def torch_rates(policy, steps, start, **kwargs):
    """Rates of torch's own scheduler on torch's own optimizer."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start)
    scheduler = policy(optimizer, **kwargs)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


POLICIES = [
    ("StepLR", {"step_size": 2, "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 5}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (1 + epoch)}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.2, "total_steps": 40, "cycle_momentum": False}),
]


@pytest.mark.parametrize(("policy", "kwargs"), POLICIES, ids=[name for name, _ in POLICIES])
@pytest.mark.parametrize("step_every", ["epoch", "batch"])
def test_learning_rates_are_torchs(policy, kwargs, step_every):
    cls = getattr(torch.optim.lr_scheduler, policy)
    # skorch knows some by name.
    given = cls if policy == "OneCycleLR" else policy
    scheduler = LRScheduler(given, step_every=step_every, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = regressor(scheduler, max_iter=8).fit(X, Y)
    rates = [record["learning_rate"] for record in model.history_]
    if step_every == "epoch":
        expected = torch_rates(cls, 8, 0.05, **kwargs)
        assert rates == expected
        assert model.net_.history[:, "event_lr"] == expected
    else:
        expected = torch_rates(cls, 24, 0.05, **kwargs)
        assert rates == expected[2::3]
        seen = model.net_.history[:, "batches", :, "event_lr"]
        assert [rate for epoch in seen for rate in epoch] == expected


def test_the_steps_have_the_scheduled_length():
    # Plain descent moves by rate times gradient.
    rates = []

    class Rate(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            self.gradient_ = np.concatenate([p.grad.numpy().ravel() for _, p in named_parameters])
            self.before_ = weights_in(net)

        def on_batch_end(self, net, **kwargs):
            moved = self.before_ - weights_in(net)
            rates.append(moved @ self.gradient_ / (self.gradient_ @ self.gradient_))

    scheduler = LRScheduler("ExponentialLR", gamma=0.5)
    regressor(scheduler, Rate, max_iter=3, batch_size=60).fit(X, Y)
    expected = [0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125]
    # Differences of weights near one, divided by gradients not far below one.
    assert np.allclose(rates, expected, rtol=1e-10)


@pytest.mark.parametrize("monitor", ["valid_loss", "train_loss", lambda net: 1.0])
def test_a_plateau_lowers_the_rate(monitor):
    scheduler = LRScheduler(
        torch.optim.lr_scheduler.ReduceLROnPlateau, monitor=monitor, factor=0.5, patience=1
    )
    model = validated(regressor(scheduler, learning_rate_init=0.3, max_iter=15))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    expected = []
    for row in model.net_.history:
        expected.append(optimizer.param_groups[0]["lr"])
        reference.step(1.0 if callable(monitor) else row[monitor])
    assert [record["learning_rate"] for record in model.history_] == expected
    assert expected[-1] < 0.3


def test_a_callback_multiplies_the_estimators_own_schedule():
    plain = regressor(learning_rate="invscaling", max_iter=6).fit(X, Y)
    scheduler = LRScheduler("ExponentialLR", gamma=0.5)
    model = regressor(scheduler, learning_rate="invscaling", max_iter=6).fit(X, Y)
    own, both = ([r["learning_rate"] for r in m.history_] for m in (plain, model))
    assert np.allclose(both, own * 0.5 ** np.arange(6.0), rtol=1e-14)


def test_set_params_sets_the_rate_and_nothing_of_the_estimators():
    class Halve(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.set_params(optimizer__lr=net.optimizer_.param_groups[0]["lr"] / 2)

    model = regressor(Halve, max_iter=3).fit(X, Y)
    assert [record["learning_rate"] for record in model.history_] == [0.05, 0.025, 0.0125]
    for name in ("optimizer__momentum", "module__sizes", "criterion"):
        with pytest.raises(ValueError, match=f"cannot set '{name}'"):
            model.net_.set_params(**{name: 0.5})
    with pytest.raises(ValueError, match="InputShapeSetter"):
        regressor(InputShapeSetter).fit(X, Y)


def test_what_the_engine_has_not_is_refused():
    # torch would cycle a momentum that nobody reads.
    cycle = LRScheduler("CyclicLR", base_lr=0.01, max_lr=0.1)
    with pytest.raises(ValueError, match="momentum"):
        regressor(cycle).fit(X, Y)


# --- scores


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error", None, make_scorer(r2_score)])
def test_epoch_scoring_is_the_scorer_applied_by_hand(scoring, use_caching):
    score = EpochScoring(scoring, use_caching=use_caching, lower_is_better=False, name="score")
    model = validated(regressor(score, max_iter=5))
    scorer = get_scorer("r2" if scoring is None else scoring)
    # After the last epoch the network is what the estimator holds.
    assert np.isclose(model.net_.history[-1, "score"], scorer(model, X_VAL, Y_VAL), rtol=1e-12)
    values = model.net_.history[:, "score"]
    most = np.maximum.accumulate([-np.inf, *values])[:-1]
    assert model.net_.history[:, "score_best"] == (values > most).tolist()


def test_epoch_scoring_on_training_rows():
    callbacks = (
        EpochScoring("r2", on_train=True, name="at_end", use_caching=False),
        EpochScoring("r2", on_train=True, name="on_the_way"),
        Events(),
    )
    model = regressor(*callbacks, early_stopping=True, max_iter=1, validation_fraction=0.25)
    model = model.fit(X, Y)
    events = callback(model, "Events")
    train = events.values_[1]["train"]
    rows, targets = train.dataset.X[train.indices], train.dataset.y[train.indices]
    expected = r2_score(targets, model.predict(rows))
    assert np.isclose(model.net_.history[-1, "at_end"], expected, rtol=1e-12)
    ends = [
        v
        for n, v in zip(events.names_, events.values_, strict=True)
        if n == "on_batch_end" and v["training"]
    ]
    seen = np.concatenate([end["y_pred"].numpy()[:, 0] for end in ends])
    targets = np.concatenate([end["batch"][1].numpy() for end in ends])
    assert np.isclose(model.net_.history[-1, "on_the_way"], r2_score(targets, seen), rtol=1e-12)


def test_caching_spares_the_inference(monkeypatch):
    calls = []
    infer = Net.infer
    monkeypatch.setattr(Net, "infer", lambda *args, **kw: calls.append(1) or infer(*args, **kw))
    validated(regressor(EpochScoring("r2"), EpochScoring("neg_mean_absolute_error")))
    assert calls == []
    validated(regressor(EpochScoring("r2", use_caching=False), max_iter=3))
    assert len(calls) == 3 * 2


def test_a_custom_scorer_sees_a_net_and_y():
    seen = []

    def scorer(net, data, y):
        seen.append(y)
        return float(np.abs(net.predict(data) - y).max())

    model = validated(regressor(EpochScoring(scorer, name="worst")))
    assert np.array_equal(seen[0], Y_VAL)
    expected = np.abs(model.predict(X_VAL) - Y_VAL).max()
    assert np.isclose(model.net_.history[-1, "worst"], expected, rtol=1e-12)


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_of_labels(n_classes, use_caching):
    labels, labels_val = LABELS, LABELS_VAL
    if n_classes == 2:
        labels, labels_val = (np.where(a == "ant", "ant", "bee") for a in (labels, labels_val))
    auc = "roc_auc" if n_classes == 2 else "roc_auc_ovr"
    callbacks = [
        EpochScoring(name, use_caching=use_caching, name=name)
        for name in ("accuracy", "neg_log_loss", "f1_macro", auc)
    ]
    model = classifier(*callbacks).fit(X, labels, X_val=X_VAL, y_val=labels_val)
    row = model.net_.history[-1]
    for name in ("accuracy", "neg_log_loss", "f1_macro", auc):
        assert np.isclose(row[name], get_scorer(name)(model, X_VAL, labels_val), rtol=1e-12), name
    assert row["accuracy"] == row["validation_score"]


@pytest.mark.parametrize("on_train", [False, True])
@pytest.mark.parametrize("use_caching", [True, False])
def test_batch_scoring_is_the_mean_over_batches(on_train, use_caching):
    score = BatchScoring(
        make_scorer(mean_absolute_error), on_train=on_train, name="mae", use_caching=use_caching
    )
    model = validated(regressor(score, Events(), max_iter=1))
    events = callback(model, "Events")
    errors, sizes = [], []
    for name, end in zip(events.names_, events.values_, strict=True):
        if name == "on_batch_end" and end["training"] == on_train:
            rows, targets = (part.numpy() for part in end["batch"])
            found = end["y_pred"].numpy()[:, 0]
            errors.append(mean_absolute_error(targets, found))
            sizes.append(len(rows))
    if use_caching or not on_train:
        expected = np.average(errors, weights=sizes)
        assert np.isclose(model.net_.history[-1, "mae"], expected, rtol=1e-12)
    else:
        # Without its cache the score is of the weights after each step.
        assert model.net_.history[-1, "mae"] > 0


def test_passthrough_scoring_is_the_mean_of_what_was_recorded():
    class Largest(Callback):
        def on_batch_end(self, net, y_pred, training, **kwargs):
            if training:
                net.history.record_batch("largest", float(y_pred.max()))

    callbacks = (
        Largest,
        PassthroughScoring("largest", on_train=True),
        ("again", PassthroughScoring("valid_loss")),
    )
    model = validated(regressor(*callbacks))
    for row in model.net_.history:
        values = [batch["largest"] for batch in row["batches"][:3]]
        assert np.isclose(row["largest"], np.mean(values), rtol=1e-12)
    values = model.net_.history[:, "valid_loss"]
    assert np.allclose(values, [r["validation_loss"] for r in model.history_], rtol=1e-12)


# --- gradients and parameters


@pytest.mark.parametrize("norm_type", [1, 2, float("inf")])
def test_gradients_are_clipped_before_the_update(norm_type):
    longest = []

    class Moves(Callback):
        def on_batch_begin(self, net, **kwargs):
            self.before_ = weights_in(net)

        def on_batch_end(self, net, **kwargs):
            move = (weights_in(net) - self.before_) / 0.05
            longest.append(np.linalg.norm(move, norm_type))

    clip = GradientNormClipping(0.01, gradient_clip_norm_type=norm_type)
    regressor(clip, Moves, alpha=0.0).fit(X, Y)
    # torch divides by the norm plus 1e-6, so that the bound is met to four digits.
    assert np.allclose(longest, 0.01, rtol=2e-4)


def test_clipping_is_the_estimators_own():
    # The estimator clips the gradient with the penalty, and so does the callback.
    own = regressor(clip_norm=0.1, alpha=0.1).fit(X, Y)
    model = regressor(GradientNormClipping(0.1), alpha=0.1).fit(X, Y)
    # torch divides by the norm plus 1e-6.
    assert np.allclose(weights_of(model), weights_of(own), atol=1e-5)
    plain = regressor(alpha=0.1).fit(X, Y)
    assert np.abs(weights_of(model) - weights_of(plain)).max() > 1e-2


def test_gradients_are_those_of_autograd():
    model = regressor(Events(), max_iter=1, alpha=0.0, shuffle=False).fit(X, Y)
    start = regressor(max_iter=1, alpha=0.0, learning_rate_init=1e-30, shuffle=False).fit(X, Y)
    module = start.net_.module_
    loss = (module(torch.from_numpy(X[:40]))[:, 0] - torch.from_numpy(Y[:40])).square().mean() / 2
    loss.backward()
    events = callback(model, "Events")
    first = events.values_[events.names_.index("on_grad_computed")]["gradients"]
    for name, own in module.named_parameters():
        assert torch.allclose(first[name], own.grad, rtol=1e-12, atol=1e-14), name


@pytest.mark.parametrize("how", ["in place", "another tensor", "none"])
def test_gradients_may_be_replaced(how):
    class Still(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            for _, own in named_parameters:
                if how == "in place":
                    own.grad.zero_()
                else:
                    own.grad = torch.zeros_like(own) if how == "another tensor" else None

    model = regressor(Still, alpha=0.0).fit(X, Y)
    start = regressor(max_iter=1, learning_rate_init=1e-30, alpha=0.0).fit(X, Y)
    assert np.allclose(weights_of(model), weights_of(start), atol=1e-25)


def test_on_grad_computed_is_called_once_an_update():
    model = regressor(Events(), accumulation_steps=2, max_iter=3).fit(X, Y)
    # Three batches make two updates, the second of the last batch alone.
    assert callback(model, "Events").names_.count("on_grad_computed") == 3 * 2


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop"])
def test_frozen_parameters_stay_until_they_are_unfrozen(solver):
    class Watch(Weights):
        pass

    callbacks = Freezer("*.0"), ("later", Unfreezer("intercepts.0", at=3)), Watch()
    params = {"alpha": 0.1, "weight_decay": 0.1, "solver": solver, "momentum": 0.9}
    model = regressor(*callbacks, max_iter=4, **params).fit(X, Y)
    start = regressor(max_iter=1, learning_rate_init=1e-30).fit(X, Y)
    assert np.array_equal(model.coefs_[0], start.coefs_[0])
    assert not np.array_equal(model.intercepts_[0], start.intercepts_[0])
    assert not np.array_equal(model.coefs_[1], start.coefs_[1])
    epochs = callback(model, "Watch").epochs_
    # The module's order: weights of both layers, then biases of the first.
    biases = slice(15 + 5, 15 + 5 + 5)
    assert np.array_equal(epochs[0][biases], epochs[1][biases])
    assert np.array_equal(epochs[1][biases], start.intercepts_[0])


def test_frozen_parameters_cannot_be_averaged():
    with pytest.raises(ValueError, match="average=False"):
        regressor(Freezer("coefs.0"), average=True).fit(X, Y)


@pytest.mark.parametrize("how", ["in place", "data"])
def test_parameters_may_be_set(how):
    def fill(parameter):
        if how == "in place":
            torch.nn.init.constant_(parameter, 0.25)
        else:
            # A common idiom, after which the parameter has other memory.
            parameter.data = torch.full_like(parameter, 0.25)

    callbacks = Initializer("coefs.*", fn=fill), ParamMapper("inter*", fn=fill), Freezer("*")
    model = regressor(*callbacks).fit(X, Y)
    assert np.array_equal(weights_of(model), np.full(26, 0.25))


def test_the_last_word_is_the_callbacks():
    class Round(Callback):
        def on_epoch_end(self, net, **kwargs):
            with torch.no_grad():
                for own in net.module_.parameters():
                    own.copy_((own * 8).round() / 8)

    model = regressor(Round).fit(X, Y)
    assert np.array_equal(weights_of(model) * 8, np.round(weights_of(model) * 8))


def test_hooks_run_where_autograd_works():
    slopes = []

    class Slope(Callback):
        def on_epoch_end(self, net, **kwargs):
            rows = torch.from_numpy(X_VAL).requires_grad_()
            net.module_(rows).sum().backward()
            slopes.append(rows.grad.abs().sum().item())
            net.module_.zero_grad()

    alone, model = regressor().fit(X, Y), regressor(Slope).fit(X, Y)
    assert min(slopes) > 0
    assert np.array_equal(weights_of(alone), weights_of(model))


# --- printing and logging


class Writer:
    """As far as TensorBoard goes."""

    def __init__(self):
        self.scalars, self.closed = [], False

    def add_scalar(self, tag, scalar_value, global_step):
        self.scalars.append((tag, scalar_value, global_step))

    def close(self):
        self.closed = True


def test_tensorboard_writes_to_the_users_writer():
    writer = Writer()
    model = validated(regressor(TensorBoard(writer), max_iter=2))
    assert writer.closed
    losses = [(v, s) for tag, v, s in writer.scalars if tag == "Loss/train_loss"]
    assert losses == [(record["loss"], i + 1) for i, record in enumerate(model.history_)]
    assert not callback(model, "TensorBoard").first_batch_


def test_a_real_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    regressor(TensorBoard(SummaryWriter(str(tmp_path)))).fit(X, Y)
    assert list(tmp_path.iterdir())


def test_progress_bar_counts_every_batch():
    class Counted(ProgressBar):
        def on_epoch_end(self, net, **kwargs):
            self.counts_ = self.pbar_.n, self.pbar_.total
            super().on_epoch_end(net, **kwargs)

    model = validated(regressor(Counted(detect_notebook=False)))
    assert callback(model, "Counted").counts_ == (5, 5)


def test_print_log_prints_if_the_estimator_may(capsys):
    callbacks = PrintLog(), EarlyStopping("train_loss", patience=1)
    params = {"learning_rate_init": 0.35, "max_iter": 60}
    regressor(*callbacks, **params).fit(X, Y)
    assert capsys.readouterr() == ("", "")
    model = regressor(*callbacks, verbose=1, **params).fit(X, Y)
    out = capsys.readouterr().out
    assert "train_loss" in out
    assert "Stopping since train_loss has not improved" in out
    lines = []
    regressor(PrintLog(sink=lines.append), max_iter=3).fit(X, Y)
    assert len(lines) == 2 + 3
    assert model.n_iter_ < 60


# --- cost


@pytest.fixture
def notified(monkeypatch):
    names = []
    notify = Net.notify

    def counted(net, name, **values):
        names.append(name)
        return notify(net, name, **values)

    monkeypatch.setattr(Net, "notify", counted)
    return names


QUIET = [
    EpochTimer(),
    LRScheduler("StepLR", step_size=2),
    EarlyStopping("train_loss"),
    Checkpoint(None, f_params=None, f_optimizer=None, f_criterion=None, f_history=None),
    EpochScoring("r2", use_caching=False),
    EpochScoring("r2", use_caching=False, on_train=True, name="r2_train"),
    PassthroughScoring("train_loss", on_train=True),
    PrintLog(),
]


def test_no_batch_is_reported_unless_someone_listens(notified):
    validated(regressor(*QUIET, max_iter=3))
    assert notified == ["on_train_begin", *["on_epoch_begin", "on_epoch_end"] * 3, "on_train_end"]


@pytest.mark.parametrize(
    ("listener", "train", "valid"),
    [
        (EpochScoring("r2"), 0, 2),
        (BatchScoring("r2"), 0, 2),
        (EpochScoring("r2", on_train=True), 3, 0),
        (BatchScoring("r2", on_train=True), 3, 0),
        (LRScheduler("StepLR", step_size=2, step_every="batch"), 3, 0),
        (ProgressBar(detect_notebook=False), 3, 2),
    ],
)
def test_only_the_phase_that_matters_is_reported(notified, listener, train, valid):
    validated(regressor(listener, max_iter=2))
    assert notified.count("on_batch_begin") == notified.count("on_batch_end") == 2 * (train + valid)
    assert "on_grad_computed" not in notified


def test_gradients_are_shown_only_to_who_asks(notified):
    regressor(GradientNormClipping(1.0), max_iter=2).fit(X, Y)
    assert notified.count("on_grad_computed") == 2 * 3
    assert "on_batch_begin" not in notified


def test_an_instance_may_bring_its_own_hook():
    calls = []
    one = EpochTimer()
    one.on_batch_end = lambda net, **kwargs: calls.append(kwargs["training"])
    regressor(one, max_iter=2).fit(X, Y)
    assert calls == [True] * 6


def test_without_callbacks_there_is_no_net(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("not without callbacks")

    monkeypatch.setattr(CallbackWatch, "__init__", forbidden)
    monkeypatch.setattr(Net, "__init__", forbidden)
    regressor().fit(X, Y)
    regressor(callbacks=[]).fit(X, Y)


def test_skorch_is_imported_when_it_is_needed():
    code = """
import sys
import numpy as np
from thetalearn import MLPRegressor
X = np.arange(20.0).reshape(10, 2)
model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=2).fit(X, X[:, 0])
model.predict(X)
assert "skorch" not in sys.modules
model.net_
assert "skorch" in sys.modules
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(command, check=False, capture_output=True, text=True).stderr == ""


# --- scikit-learn


def test_parameters_are_left_as_they_were():
    callbacks = [
        EarlyStopping("train_loss", load_best=True),
        ("rate", LRScheduler("StepLR", step_size=1)),
        EpochScoring("r2", on_train=True),
        Freezer("coefs.0"),
        Weights(),
        PrintLog,
    ]
    model = regressor(*callbacks)
    before = joblib.hash(callbacks)
    model.fit(X, Y)
    assert joblib.hash(callbacks) == before
    assert model.callbacks[0] is callbacks[0]
    names = ["EarlyStopping", "rate", "EpochScoring", "Freezer", "Weights", "PrintLog"]
    assert [name for name, _ in model.net_.callbacks_] == names
    assert callback(model, "EarlyStopping") is not callbacks[0]
    assert callback(model, "EarlyStopping").best_epoch_ == 4
    # A fit starts with fresh callbacks.
    model.fit(X, Y)
    assert len(callback(model, "Weights").epochs_) == 4


def test_callbacks_may_come_in_a_tuple_and_be_switched_off():
    model = regressor(callbacks=(EpochTimer, ("none", None), ("timer", EpochTimer))).fit(X, Y)
    assert [name for name, _ in model.net_.callbacks_] == ["EpochTimer", "timer"]
    model = regressor(callbacks=[Weights, Weights()]).fit(X, Y)
    assert [name for name, _ in model.net_.callbacks_] == ["Weights_1", "Weights_2"]


def test_what_cannot_be_copied_is_shared():
    class Stuck:
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle a lock")

    one = Weights()
    one.stuck = Stuck()
    model = regressor(one).fit(X, Y)
    assert callback(model, "Weights").stuck is one.stuck


def test_clone_and_copy():
    model = regressor(EarlyStopping("train_loss", patience=2), PrintLog).fit(X, Y)
    other = clone(model)
    assert other.callbacks[0].patience == 2
    with pytest.raises(NotFittedError):
        _ = other.net_
    assert not hasattr(other, "net_")
    twin = copy.deepcopy(model)
    assert np.array_equal(twin.net_.predict(X), model.predict(X))
    assert twin.net_ is not model.net_


def test_pickle_holds_the_net_but_no_data():
    rows = np.tile(X, (100, 1))
    callbacks = [Weights(), EpochScoring("r2", on_train=True), EpochScoring("r2"), EarlyStopping()]
    model = regressor(
        *callbacks, LRScheduler("StepLR", step_size=3), max_iter=2, early_stopping=True
    )
    model.fit(rows, np.tile(Y, 100))
    state = pickle.dumps(model)
    size = len(pickle.dumps(regressor(*callbacks, early_stopping=True).fit(X, Y)))
    # A hundred times the rows, and only the history of more batches to show for it.
    assert len(state) < size + 100 * len(model.net_.history) * len(rows) // 40
    assert len(state) < rows.nbytes / 3
    loaded = pickle.loads(state)
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert np.array_equal(loaded.net_.predict(X), model.predict(X))
    assert loaded.net_.history == model.net_.history
    assert len(callback(loaded, "Weights").epochs_) == 2
    # Parameters as views of one buffer would each be pickled with all of it.
    wide = regressor(EpochTimer, hidden_layer_sizes=(50,) * 8).fit(X, Y)
    weights = sum(array.nbytes for array in (*wide.coefs_, *wide.intercepts_))
    assert len(pickle.dumps(wide)) < 5 * weights


def test_a_plain_estimator_pickles_no_net():
    model = regressor().fit(X, Y)
    before = len(pickle.dumps(model))
    assert model.net_ is model.net_
    assert len(pickle.dumps(model)) == before


def test_grid_search_goes_over_lists_of_callbacks():
    grid = {"callbacks": [None, *([EarlyStopping("train_loss", patience=p)] for p in (1, 4))]}
    search = GridSearchCV(
        regressor(learning_rate_init=0.35, max_iter=40), grid, cv=2, error_score="raise"
    )
    search.fit(X, Y)
    for callbacks, expected in ((grid["callbacks"][0], 40), (grid["callbacks"][1], None)):
        model = clone(search.estimator).set_params(callbacks=callbacks).fit(X, Y)
        assert expected in (None, model.n_iter_)
    assert search.best_params_["callbacks"] in grid["callbacks"]


def test_callbacks_work_in_a_pipeline():
    pipe = make_pipeline(StandardScaler(), regressor(Weights()))
    pipe.fit(X, Y)
    assert len(callback(pipe[-1], "Weights").epochs_) == 4
    again = clone(pipe).set_params(mlpregressor__callbacks=[EpochTimer]).fit(X, Y)
    assert [name for name, _ in again[-1].net_.callbacks_] == ["EpochTimer"]


@pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn 1.9 introduced callbacks")
def test_callbacks_of_both_libraries_work_together():
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="r2")
    model = regressor(Weights(), max_iter=3).set_callbacks(monitor).fit(X, Y)
    assert len(callback(model, "Weights").epochs_) == 3
    assert model.n_iter_ == 3


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([42], "callbacks=.*42.*skorch.callbacks.Callback"),
        (["EarlyStopping"], "callbacks=.*'EarlyStopping'"),
        ([("name", "EarlyStopping")], "callbacks=.*'EarlyStopping'"),
        ([None], "callbacks=.*None"),
        ([object], "callbacks=.*object"),
        ([("twice", EpochTimer), ("twice", EpochTimer)], "callbacks=.*twice"),
        ([LoadInitState], "callbacks=.*checkpoint"),
        ([Freezer("coefs.0", at=0)], "callbacks=.*at=0"),
        ("EarlyStopping", "'callbacks' parameter"),
        (EarlyStopping(), "'callbacks' parameter"),
    ],
)
def test_what_is_no_callback_is_refused(callbacks, message):
    with pytest.raises((TypeError, ValueError), match=message):
        regressor(callbacks=callbacks).fit(X, Y)


def test_solvers_without_minibatches_take_no_callbacks():
    with pytest.raises(ValueError, match="callbacks="):
        regressor(EpochTimer(), solver="lbfgs").fit(X, Y)
    with pytest.raises(ValueError, match="callbacks"):
        regressor(EpochTimer()).partial_fit(X, Y)


def test_an_error_in_a_callback_leaves_the_estimator_as_it_was():
    class Fail(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("the disk is full")

    model = regressor(Weights()).fit(X, Y)
    before = model.net_, weights_of(model)
    with pytest.raises(RuntimeError, match="disk is full"):
        model.set_params(callbacks=[Fail]).fit(X, Y)
    assert model.net_ is before[0]
    assert np.array_equal(weights_of(model), before[1])


def test_warm_start_continues_the_history_and_the_rate():
    scheduler = LRScheduler("ExponentialLR", gamma=0.5)
    model = regressor(scheduler, warm_start=True, max_iter=3).fit(X, Y)
    model.fit(X, Y)
    assert model.net_.history[:, "epoch"] == [1, 2, 3, 4, 5, 6]
    rates = [record["learning_rate"] for record in model.history_]
    assert rates == torch_rates(torch.optim.lr_scheduler.ExponentialLR, 6, 0.05, gamma=0.5)
    assert model.net_.history[:, "train_loss"] == [record["loss"] for record in model.history_]


# --- the net of a fitted estimator


def nets():
    yield "one target", regressor(), X, Y
    yield "two targets", regressor(), X, np.column_stack([Y, X[:, 0]])
    yield "float32", regressor(), X.astype(np.float32), Y.astype(np.float32)
    yield "batch norm", regressor(normalization="batch", residual=True), X, Y
    yield "normal", regressor(loss="gaussian", learning_rate_init=1e-3), X, Y
    yield "full batch", regressor(solver="lbfgs", max_iter=10), X, Y
    yield "three labels", classifier(), X, LABELS
    yield "two labels", classifier(), X, LABELS == "ant"
    yield "many labels", classifier(), X, (X > 0).astype(int)
    yield "soft labels", classifier(), X, 1 / (1 + np.exp(-Y))


NETS = {name: case for name, *case in nets()}


@pytest.mark.parametrize(
    ("name", "listens"),
    [(name, listens) for name in NETS for listens in (False, True)[: 2 - (name == "full batch")]],
)
def test_the_net_predicts_what_the_estimator_does(name, listens):
    model, rows, y = NETS[name]
    model = clone(model).set_params(alpha=0.0)
    model.set_params(callbacks=[Events()] if listens else None).fit(rows, y)
    net = model.net_
    assert np.array_equal(net.predict(rows), model.predict(rows))
    assert net.predict(rows).dtype == model.predict(rows).dtype
    if hasattr(model, "classes_"):
        assert np.allclose(net.predict_proba(rows), model.predict_proba(rows), atol=1e-15)
        assert np.array_equal(net.classes_, model.classes_)
    else:
        assert not hasattr(net, "classes_")
    assert len(net.history) == len(model.history_)
    assert net.history[:, "train_loss"] == [record["loss"] for record in model.history_]
    if listens:
        # The criterion is the loss that the engine reports.
        events = callback(model, "Events")
        first = events.values_[events.names_.index("on_batch_end")]
        loss = net.criterion_(first["y_pred"], first["batch"][1])
        assert torch.isclose(loss, first["loss"].to(loss), rtol=10 * torch.finfo(loss.dtype).eps)


@pytest.mark.parametrize("kind", [list, torch.tensor, sp.csr_array, sp.csc_matrix])
def test_the_net_takes_rows_of_any_kind(kind):
    model = regressor().fit(X, Y)
    assert np.array_equal(model.net_.predict(kind(X)), model.predict(X))


def test_the_net_takes_frames_and_data_sets():
    pandas = pytest.importorskip("pandas")
    model = regressor().fit(X, Y)
    assert np.array_equal(model.net_.predict(pandas.DataFrame(X)), model.predict(X))
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    assert np.array_equal(model.net_.predict(data), model.predict(X))
    assert isinstance(model.net_.get_iterator(data), DataLoader)
    assert np.isclose(model.net_.score(X, Y), model.score(X, Y))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_rows_reach_callbacks_dense(early_stopping):
    rows = X * (np.abs(X) > 0.5)
    callbacks = (
        Events(),
        *(
            EpochScoring("r2", on_train=on_train, use_caching=cached, name=f"{on_train}{cached}")
            for on_train in (False, True)
            for cached in (False, True)
        ),
    )
    params = {"max_iter": 1, "shuffle": False, "early_stopping": early_stopping}
    dense = regressor(*callbacks, **params).fit(rows, Y)
    sparse = regressor(*callbacks, **params).fit(sp.csr_array(rows), Y)
    assert np.array_equal(weights_of(dense), weights_of(sparse))
    first, second = [callback(m, "Events").values_[2] for m in (dense, sparse)]
    assert torch.equal(first["batch"][0], second["batch"][0])
    assert torch.equal(first["batch"][1], second["batch"][1])
    for name in ("FalseFalse", "FalseTrue", "TrueFalse", "TrueTrue"):
        if name in dense.net_.history[-1]:
            one, other = (m.net_.history[-1, name] for m in (dense, sparse))
            assert np.isclose(one, other, rtol=1e-12), name


def test_parameters_are_saved_and_loaded(tmp_path):
    model, other = regressor().fit(X, Y), regressor(random_state=1).fit(X, Y)
    for suffix, safe in (("pt", False), ("safetensors", True)):
        path = str(tmp_path / f"params.{suffix}")
        model.net_.save_params(f_params=path, use_safetensors=safe)
        other = regressor(random_state=1).fit(X, Y)
        assert not np.array_equal(other.predict(X), model.predict(X))
        other.net_.load_params(f_params=path, use_safetensors=safe)
        assert np.array_equal(weights_of(other), weights_of(model))
        assert np.array_equal(other.predict(X), model.predict(X))
    path = str(tmp_path / "history.json")
    model.net_.save_params(f_history=path)
    other.net_.load_params(f_history=path)
    assert other.net_.history == model.net_.history


def test_the_net_follows_the_estimator():
    model = regressor().fit(X, Y)
    assert np.array_equal(model.net_.predict(X), model.predict(X))
    model.partial_fit(X, Y)
    assert np.array_equal(model.net_.predict(X), model.predict(X))
    assert len(model.net_.history) == 5
    model.coefs_ = [2 * array for array in model.coefs_]
    assert np.array_equal(model.net_.predict(X), model.predict(X))
    model.set_params(hidden_layer_sizes=(3,), solver="lbfgs").fit(X, Y)
    assert np.array_equal(model.net_.predict(X), model.predict(X))
    assert model.net_.module_.coefs[0].shape == (3, 3)
    model.set_params(warm_start=True).fit(X, Y)
    assert np.array_equal(model.net_.predict(X), model.predict(X))
    assert len(model.net_.history) == len(model.history_)


def test_the_net_of_given_weights():
    model = MLPRegressor.from_weights([[[1.0], [2.0]]], [[0.5]])
    assert np.array_equal(model.net_.predict([[1.0, 1.0]]), [3.5])
    assert len(model.net_.history) == 0


def test_memory_that_may_not_be_written_to_is_left_alone(tmp_path):
    model = regressor().fit(X, Y)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert not loaded.coefs_[0].flags.writeable
    stream = io.BytesIO()
    model.net_.save_params(f_params=stream)
    stream.seek(0)
    loaded.net_.load_params(f_params=stream)
    assert np.array_equal(loaded.net_.predict(X), model.predict(X))


def test_the_net_is_not_for_fitting():
    model = regressor().fit(X, Y)
    for name in ("fit", "partial_fit"):
        with pytest.raises(NotImplementedError, match="estimator"):
            getattr(model.net_, name)(X, Y)


def test_the_state_of_the_optimizer_is_shown():
    seen = []

    class State(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.optimizer_.state_dict())

    regressor(State, solver="adam", beta_1=0.5, max_iter=1, batch_size=120, alpha=0.0).fit(X, Y)
    events = regressor(Events(), max_iter=1, batch_size=120, alpha=0.0).fit(X, Y)
    gradients = callback(events, "Events").values_[3]["gradients"]
    state = seen[0]["state"]
    assert len(state) == len(gradients) == 4
    for own in state.values():
        assert int(own["step"]) == 1
    # After one step the first moment is (1 - beta_1) times the gradient.
    moments = {
        tuple(own[name].shape): own for own in state.values() for name in own if name != "step"
    }
    gradient = gradients["coefs.0"]
    names = [name for name in moments[(3, 5)] if name != "step"]
    assert any(torch.allclose(moments[(3, 5)][name], 0.5 * gradient) for name in names)


def test_accuracy_of_hard_and_soft_predictions_by_hand():
    labels = LABELS == "ant"
    model = classifier().fit(X, labels)
    proba = model.net_.predict_proba(X)
    assert np.isclose(model.net_.score(X, labels), accuracy_score(labels, model.predict(X)))
    assert np.isclose(log_loss(labels, proba), log_loss(labels, model.predict_proba(X)))
    assert np.isclose(
        roc_auc_score(labels, proba[:, 1]), roc_auc_score(labels, model.decision_function(X))
    )
    assert to_numpy(torch.from_numpy(proba)).shape == (len(X), 2)
