"""Training of K replicas: each is the fit it would be alone, and that fit is the textbook's."""

import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet
from torch import nn

from thetalearn.objectives.losses import SoftmaxLogLoss, SquaredError
from thetalearn.representations.networks.activations import GELU, ReLU, Tanh
from thetalearn.representations.networks.initialize import initialize
from thetalearn.representations.networks.mlp import MLP, MLPArchitecture
from thetalearn.representations.networks.tape import Tape
from thetalearn.rows import SparseRows
from thetalearn.solvers.gradient.explicit import start_step
from thetalearn.solvers.gradient.optimizers import (
    Adadelta,
    Adagrad,
    Adam,
    AdaMax,
    AdamW,
    GradientDescent,
    Momentum,
    RMSprop,
)
from thetalearn.solvers.gradient.schedules import (
    Adaptive,
    CallableSchedule,
    Constant,
    Cosine,
    InverseScaling,
    InverseTime,
    OneCycle,
    Plateau,
)
from thetalearn.solvers.gradient.train import train
from thetalearn.solvers.gradient.trainer import Replica, Settings

few = settings(max_examples=max(settings().max_examples // 4, 1))

NET = MLPArchitecture((3, 5, 5, 1), (Tanh(), Tanh()))
LINEAR = MLPArchitecture((3, 1), ())
N_ROWS = 40

OPTIMIZERS = [
    GradientDescent(),
    Momentum(0.9, nesterov=True),
    Momentum(0.5),
    Adagrad(),
    Adadelta(epsilon=1e-3),
    RMSprop(),
    RMSprop(momentum=0.5, centered=True),
    Adam(),
    Adam(amsgrad=True),
    AdamW(weight_decay=0.1),
    AdaMax(),
]
optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def data(architecture, dtype=torch.float64, n_rows=N_ROWS):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, architecture.sizes[0]))
    y = rng.normal(size=(n_rows, architecture.sizes[-1])) + X[:, :1]
    return torch.from_numpy(X).to(dtype), torch.from_numpy(y).to(dtype)


def start_of(architecture, seed):
    """Parameters and running statistics to start from."""
    drawn = initialize(architecture, "auto", np.random.RandomState(seed))
    values = {name: torch.from_numpy(array) for name, array in drawn.items()}
    for name, shape in architecture.buffer_shapes.items():
        values[name] = torch.ones(shape) if name.endswith("variance") else torch.zeros(shape)
    return values


def plain(optimizer=None, schedule=None, batch_size=8, **options):
    """Settings that only stop after all epochs."""
    return Settings(
        optimizer or GradientDescent(),
        schedule or Constant(),
        batch_size,
        **{"n_iter_no_change": math.inf, **options},
    )


def step_of(architecture, starts, dtype=torch.float64, loss=None):
    loss = loss or SquaredError()
    return start_step(
        architecture, loss, Tape, starts, architecture.sizes[-1], dtype=dtype, device="cpu"
    )


def fit(architecture, replicas, options, *, seeds=None, dtype=torch.float64, xy=None, **more):
    """Train replicas; the start of each is drawn from a seed of its own."""
    seeds = range(len(replicas)) if seeds is None else seeds
    X, y = data(architecture, dtype) if xy is None else xy
    step = step_of(architecture, [start_of(architecture, seed) for seed in seeds], dtype)
    return train(step, X, y, replicas, options, **more)


def one(rows=N_ROWS, seed=0, **options):
    """A replica that sees all rows."""
    rows = np.arange(rows) if isinstance(rows, int) else rows
    return Replica(rows, np.random.RandomState(seed), **options)


class Watcher:
    """A watch that does nothing, whatever it is told; tests give it what it does."""

    def __init__(self, **actions):
        self.__dict__.update(actions)

    def rate(self, rate):
        return rate

    def __getattr__(self, name):
        return lambda *args: None


def stop_after(epochs):
    count = itertools.count(1)
    return Watcher(epoch_ended=lambda record, step: next(count) == epochs)


def copies(step):
    """All parameters and running statistics as they stand."""
    values = {**step.parameters.replica(0), **step.buffers}
    return {name: value.clone() for name, value in values.items()}


def assert_same_values(found, expected, rtol, atol):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(
            value, expected[name], rtol=rtol, atol=atol, msg=lambda m, name=name: f"{name}: {m}"
        )


def assert_same_fit(found, expected, rtol, atol=None):
    atol = rtol if atol is None else atol
    assert found.reason == expected.reason
    assert len(found.records) == len(expected.records)
    for ours, theirs in zip(found.records, expected.records, strict=True):
        assert ours["learning_rate"] == pytest.approx(theirs["learning_rate"], rel=1e-14)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=10 * rtol)
    assert_same_values(found.values, expected.values, rtol, atol)


def identical(found, expected):
    return (
        found.reason == expected.reason
        and found.records == expected.records
        and all(torch.equal(value, expected.values[name]) for name, value in found.values.items())
    )


# ------------------------------------------------------------------ a replica alone and in a stack


@dataclass
class Bucket:
    """Replicas that can be made anew, as a training uses their generators up."""

    architecture: MLPArchitecture = NET
    options: Settings = field(default_factory=plain)
    vary: dict = field(default_factory=dict)
    n_replicas: int = 4

    def replica(self, k):
        own = {name: values[k % len(values)] for name, values in self.vary.items()}
        size = own.pop("size", N_ROWS)
        rows = np.random.default_rng(k).permutation(N_ROWS)[:size]
        if "weights" in own:
            own["weights"] = np.random.default_rng(k).uniform(*own["weights"], size)
        defaults = {"learning_rate": 0.02, "max_epochs": 4}
        return Replica(rows, np.random.RandomState(100 + k), **{**defaults, **own})

    def train(self, numbers=None, dtype=torch.float64, **more):
        numbers = range(self.n_replicas) if numbers is None else numbers
        replicas = [self.replica(k) for k in numbers]
        return fit(self.architecture, replicas, self.options, seeds=numbers, dtype=dtype, **more)

    def check(self, dtype=torch.float64, rtol=None):
        """The law: alone as in the stack."""
        rtol = rtol or (1e-12 if dtype == torch.float64 else 1e-6)
        together = self.train(dtype=dtype)
        for k, found in enumerate(together):
            (alone,) = self.train([k], dtype=dtype)
            assert_same_fit(found, alone, rtol)
        return together


DROPOUT = MLPArchitecture((3, 5, 5, 1), (Tanh(), Tanh()), dropout=(0.1, 0.3, 0.2))
BATCH_NORM = MLPArchitecture((3, 5, 5, 1), (ReLU(), GELU()), normalization="batch", residual=True)
LAYER_NORM = MLPArchitecture((3, 5, 5, 3), (ReLU(), GELU()), normalization="layer", residual=True)

BUCKETS = {
    "starts and orders": Bucket(),
    "replacement": Bucket(options=plain(order="replacement")),
    "given order": Bucket(options=plain(order="given")),
    "learning rates": Bucket(vary={"learning_rate": [0.01, 0.1, 0.03]}),
    "alpha": Bucket(vary={"alpha": [0.0, 0.5, 3.0]}),
    "elastic net": Bucket(vary={"alpha": [0.1, 0.5, 0.0], "l1_ratio": [0.0, 0.5, 1.0, 0.3]}),
    "lasso": Bucket(vary={"alpha": [0.5, 1.0], "l1_ratio": [1.0]}),
    "weight decay": Bucket(vary={"weight_decay": [0.0, 0.1, 1.0]}),
    "row subsets": Bucket(vary={"size": [37, 39, 38, 40]}),
    "padded penalties": Bucket(
        vary={"size": [39, 40], "alpha": [0.3, 1.0, 0.0], "l1_ratio": [0.5, 0.2]}
    ),
    "one batch": Bucket(options=plain(batch_size=40), vary={"size": [39, 40]}),
    "sample weights": Bucket(vary={"weights": [(0.1, 3.0)]}),
    "small weights of some": Bucket(vary={"weights": [(1e-3, 2e-3), (1.0, 1.0)], "size": [39, 40]}),
    "epochs": Bucket(vary={"max_epochs": [1, 5, 3, 6]}),
    "dropout": Bucket(DROPOUT, vary={"dropout": [(0.1, 0.3, 0.2), (0.5, 0.0, 0.9)]}),
    "dropout and subsets": Bucket(
        DROPOUT, plain(batch_size=40), {"dropout": [(0.1, 0.3, 0.2)], "size": [39, 40]}
    ),
    "batch norm": Bucket(BATCH_NORM, vary={"learning_rate": [0.01, 0.05]}),
    "batch norm, weights": Bucket(BATCH_NORM, vary={"weights": [(0.1, 3.0)], "size": [39, 40]}),
    "batch norm, Adam": Bucket(BATCH_NORM, plain(Adam()), {"size": [39, 40]}),
    "layer norm": Bucket(LAYER_NORM, vary={"learning_rate": [0.01, 0.05]}),
    "clip norm": Bucket(options=plain(clip_norm=0.1), vary={"learning_rate": [0.1, 0.2]}),
    "clip value": Bucket(options=plain(clip_value=0.02)),
    "accumulation": Bucket(options=plain(batch_size=4, accumulation_steps=3)),
    "accumulation, weights": Bucket(
        options=plain(batch_size=4, accumulation_steps=3),
        vary={"weights": [(0.1, 3.0)], "size": [39, 40]},
    ),
    "average": Bucket(options=plain(average=5), vary={"max_epochs": [2, 5, 3]}),
    "rate factors": Bucket(options=plain(rate_factors={"coefs.0": 3.0, "intercepts.2": 0.1})),
    "rate factors and rates": Bucket(
        options=plain(Adam(), rate_factors={"coefs.0": 3.0}), vary={"learning_rate": [0.003, 0.01]}
    ),
    "momenta": Bucket(
        options=plain(Momentum(0.9, nesterov=True)),
        vary={"hyper": [{"momentum": 0.5}, {"momentum": 0.9}]},
    ),
    "betas": Bucket(
        options=plain(Adam()),
        vary={
            "hyper": [{"beta_1": 0.5, "beta_2": 0.9}, {"beta_1": 0.9, "beta_2": 0.99}],
            "max_epochs": [2, 6, 4, 3],
        },
    ),
    "decoupled decay": Bucket(
        options=plain(AdamW()),
        vary={"hyper": [{"weight_decay": 0.0}, {"weight_decay": 0.5}], "max_epochs": [2, 6]},
    ),
    "cosine": Bucket(options=plain(schedule=Cosine(warmup=0.2)), vary={"max_epochs": [2, 5, 7]}),
    "one cycle": Bucket(options=plain(schedule=OneCycle()), vary={"max_epochs": [2, 5]}),
    "inverse time": Bucket(options=plain(schedule=InverseTime(10.0))),
    "invscaling": Bucket(options=plain(schedule=InverseScaling())),
    "plateau": Bucket(
        options=plain(schedule=Plateau(patience=0, threshold=0.05)),
        vary={"learning_rate": [0.3, 0.01, 0.5], "max_epochs": [8, 3, 6]},
    ),
    "adaptive": Bucket(
        options=plain(schedule=Adaptive(minimum=1e-3), tol=0.02, n_iter_no_change=1),
        vary={"learning_rate": [0.3, 0.01, 0.5], "max_epochs": [20]},
    ),
    "tolerance": Bucket(
        options=plain(tol=0.02, n_iter_no_change=1),
        vary={"learning_rate": [0.3, 0.01, 0.1], "max_epochs": [20]},
    ),
    "three outputs": Bucket(MLPArchitecture((3, 5, 3), (ReLU(),)), vary={"alpha": [0.0, 1.0]}),
    "no hidden layer": Bucket(LINEAR, vary={"alpha": [0.0, 1.0]}),
    "width one": Bucket(MLPArchitecture((3, 1, 1, 1), (Tanh(), Tanh()), normalization="batch")),
}

BUCKETS_LEFT = {
    "invscaling and subsets": Bucket(
        options=plain(schedule=InverseScaling()), vary={"size": [39, 40]}
    ),
}

buckets = pytest.mark.parametrize("name", BUCKETS)


@buckets
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_replica_is_trained_as_if_it_were_alone(name, dtype):
    BUCKETS[name].check(dtype)


@pytest.mark.parametrize("name", BUCKETS_LEFT)
def test_a_replica_counts_its_own_rows(name):
    BUCKETS_LEFT[name].check()


@optimizers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_replica_is_trained_as_if_it_were_alone_by_every_optimizer(optimizer, dtype):
    for rates in ([0.01], [0.01, 0.02, 0.005]):
        Bucket(options=plain(optimizer), vary={"learning_rate": rates}).check(dtype)


@few
@given(
    optimizer=st.sampled_from(OPTIMIZERS),
    schedule=st.sampled_from(
        [Constant(), Cosine(), InverseTime(20.0), Plateau(patience=1), Adaptive()]
    ),
    normalization=st.sampled_from([None, "batch", "layer"]),
    residual=st.booleans(),
    n_outputs=st.sampled_from([1, 3]),
    dropout=st.sampled_from([(), (0.2, 0.0, 0.5)]),
    order=st.sampled_from(["shuffle", "replacement", "given"]),
    batch_size=st.sampled_from([5, 8, 40]),
    extra=st.sampled_from(
        [{}, {"clip_norm": 0.3}, {"clip_value": 0.1}, {"average": 3}, {"accumulation_steps": 2}]
    ),
    vary=st.fixed_dictionaries(
        {},
        optional={
            "learning_rate": st.just([0.01, 0.03, 0.02]),
            "alpha": st.just([0.0, 0.1, 1.0]),
            "l1_ratio": st.just([0.0, 0.5, 1.0]),
            "weight_decay": st.just([0.0, 0.1]),
            "size": st.just([39, 40, 38]),
            "max_epochs": st.sampled_from([[2, 5, 3], [1, 4, 4], [6, 2, 1]]),
            "weights": st.just([(0.2, 2.0)]),
        },
    ),
    n_replicas=st.integers(2, 5),
)
def test_a_replica_is_trained_as_if_it_were_alone_with_any_settings(
    optimizer, schedule, normalization, residual, n_outputs, dropout, order, batch_size, extra,
    vary, n_replicas,
):  # fmt: skip
    architecture = MLPArchitecture(
        (3, 4, 4, n_outputs),
        (Tanh(), GELU()),
        normalization=normalization,
        residual=residual,
        dropout=dropout,
    )
    rates = architecture.drop_rates
    if rates:
        vary = {**vary, "dropout": [rates, tuple(0.5 * rate for rate in rates)]}
    options = plain(
        optimizer, schedule, batch_size, order=order, tol=0.01, n_iter_no_change=2, **extra
    )
    # Quotients of small numbers lose two digits here and there.
    Bucket(architecture, options, vary, n_replicas).check(rtol=1e-10)


def test_replicas_that_are_done_are_dropped_on_the_way():
    # Eight replicas, of which seven end earlier: stacks of 8, 6, 4, 2 and 1.
    bucket = Bucket(
        MLPArchitecture(
            (3, 5, 5, 1), (Tanh(), GELU()), normalization="batch", dropout=(0.1, 0.3, 0.2)
        ),
        plain(Adam(), Plateau(patience=0), average=4),
        {
            "max_epochs": [1, 2, 2, 3, 4, 5, 6, 9],
            "size": [39, 40],
            "dropout": [(0.1, 0.3, 0.2), (0.5, 0.1, 0.0)],
            "learning_rate": [0.01, 0.1],
            "hyper": [{"beta_1": 0.8}, {"beta_1": 0.9}],
        },
        n_replicas=8,
    )
    found = bucket.check()
    assert [len(trained.records) for trained in found] == [1, 2, 2, 3, 4, 5, 6, 9]
    assert {trained.reason for trained in found} == {"max_epochs"}


def test_stacks_do_become_smaller():
    sizes = []

    class Spy:
        def __call__(self, step):
            sizes.append(step.parameters.n_replicas)
            return [{"validation_score": 0.0}] * sizes[-1]

        def keep(self, replicas):
            return self

    Bucket(vary={"max_epochs": [1, 3, 5, 5]}).train(validation=Spy())
    assert sizes[0] == 4 and sizes[-1] == 2 and sizes == sorted(sizes, reverse=True)


# ------------------------------------------------------------------ what is not a number


def diverging(kind, k, n_replicas=5, **more):
    """A bucket whose replica k diverges, and the same one where it does not."""
    rates = [0.01 * (1 + i) for i in range(n_replicas)]
    sick = list(rates)
    if kind == "rate":
        sick[k] = 1e200
    healthy = Bucket(vary={"learning_rate": rates, **more}, n_replicas=n_replicas)
    return healthy, replace(healthy, vary={**healthy.vary, "learning_rate": sick})


@pytest.mark.parametrize("architecture", [NET, BATCH_NORM, LAYER_NORM])
@pytest.mark.parametrize("k", [0, 2, 4])
@optimizers
def test_a_replica_that_diverges_changes_no_digit_of_the_others(optimizer, architecture, k):
    healthy, sick = diverging("rate", k)
    for bucket in (healthy, sick):
        bucket.architecture = architecture
        bucket.options = plain(optimizer, clip_norm=100.0)
    good, bad = healthy.train(), sick.train()
    for i, (found, expected) in enumerate(zip(bad, good, strict=True)):
        if i != k:
            assert identical(found, expected)
    assert bad[k].reason in ("diverged", "max_epochs")
    assert all(bool(torch.isfinite(value).all()) for value in bad[k].values.values())


@pytest.mark.parametrize("n_replicas", [2, 3, 4, 8])
def test_a_replica_that_starts_from_nan_changes_no_digit_of_the_others(n_replicas):
    X, y = data(NET)
    runs = []
    for bad in (False, True):
        bucket = Bucket(n_replicas=n_replicas)
        starts = [start_of(NET, k) for k in range(n_replicas)]
        if bad:
            starts[0]["coefs.1"][2, 2] = torch.nan
        replicas = [bucket.replica(k) for k in range(n_replicas)]
        runs.append(train(step_of(NET, starts), X, y, replicas, bucket.options))
    healthy, sick = runs
    assert sick[0].reason == "diverged" and len(sick[0].records) == 1
    for found, expected in zip(sick[1:], healthy[1:], strict=True):
        # A stack of one is computed by other routines, which round otherwise.
        if n_replicas == 2:
            assert_same_fit(found, expected, 1e-12)
        else:
            assert identical(found, expected)


def test_a_bad_row_harms_those_who_see_it_alone():
    X, y = data(NET)
    bucket = Bucket(vary={"size": [20, 19]}, n_replicas=6)
    replicas = [bucket.replica(k) for k in range(6)]
    seen = [set(replica.rows.tolist()) for replica in replicas]
    # A row that some see and some do not; those who are padded must not be padded by it.
    row = next(r for r in range(N_ROWS) if 0 < sum(r in rows for rows in seen) < 3)
    X = X.clone()
    X[row] = torch.inf
    found = fit(NET, replicas, plain(), seeds=range(6), xy=(X, y))
    for rows, trained in zip(seen, found, strict=True):
        assert (trained.reason == "diverged") == (row in rows)


def test_padding_does_not_borrow_rows_of_others():
    # Row 0 belongs to the first replica alone; the second is one row shorter, and is padded.
    X, y = data(NET)
    X = X.clone()
    X[0] = torch.inf
    replicas = [one(np.arange(0, 9)), one(np.arange(10, 18))]
    first, second = fit(NET, replicas, plain(batch_size=9), xy=(X, y))
    assert (first.reason, second.reason) == ("diverged", "max_epochs")


@pytest.mark.parametrize("n_replicas", [1, 4])
def test_the_last_finite_parameters_are_kept(n_replicas):
    # The rate explodes in the third epoch.
    schedule = CallableSchedule(lambda clock: 1e200 if clock.epoch == 2 else 1.0)
    bucket = Bucket(options=plain(schedule=schedule), n_replicas=n_replicas)
    until = Bucket(vary={"max_epochs": [2]}, n_replicas=n_replicas)
    for found, expected in zip(bucket.train(), until.train(), strict=True):
        assert found.reason == "diverged" and len(found.records) == 3
        assert not math.isfinite(found.records[-1]["loss"])
        assert all(torch.equal(v, expected.values[n]) for n, v in found.values.items())


# ------------------------------------------------------------------ equality with torch


def torch_fit(architecture, options, optimizer, epochs, batch_size, clip=None):
    """The loop that everyone writes, on rows in the given order."""
    X, y = data(architecture)
    module = MLP(architecture).double()
    module.load_state_dict(start_of(architecture, 0))
    optimizer = optimizer(module.parameters(), **options)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.arange(N_ROWS).split(batch_size):
            optimizer.zero_grad()
            loss = SquaredError().rows(module(X[rows]), y[rows]).mean()
            loss.backward()
            if clip is not None:
                clip(module.parameters())
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / N_ROWS)
    values = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return losses, {name: value.detach() for name, value in values.items()}


def check_against_torch(
    architecture, ours, theirs, rate, *, options=None, weight_decay=0.0, batch_size=12, **more
):
    (found,) = fit(
        architecture,
        [one(learning_rate=rate, max_epochs=3, weight_decay=weight_decay)],
        plain(ours, batch_size=batch_size, order="given", **(options or {})),
    )
    losses, values = torch_fit(architecture, {"lr": rate}, theirs, 3, batch_size, **more)
    # A dozen updates, each of which rounds; quotients by small numbers lose digits.
    np.testing.assert_allclose([r["loss"] for r in found.records], losses, rtol=1e-11)
    assert_same_values(found.values, values, 1e-10, 1e-11)


TORCH = [
    (GradientDescent(), lambda p, **o: torch.optim.SGD(p, **o)),
    (Momentum(0.8), lambda p, **o: torch.optim.SGD(p, momentum=0.8, **o)),
    (
        Momentum(0.8, nesterov=True),
        lambda p, **o: torch.optim.SGD(p, momentum=0.8, nesterov=True, **o),
    ),
    (Adagrad(), lambda p, **o: torch.optim.Adagrad(p, **o)),
    (RMSprop(), lambda p, **o: torch.optim.RMSprop(p, **o)),
    (Adam(), lambda p, **o: torch.optim.Adam(p, **o)),
    (AdamW(weight_decay=0.3), lambda p, **o: torch.optim.AdamW(p, weight_decay=0.3, **o)),
]
torch_optimizers = pytest.mark.parametrize(
    "ours, theirs", TORCH, ids=lambda o: "" if callable(o) else repr(o)
)


@torch_optimizers
@pytest.mark.parametrize(
    "architecture", [NET, LAYER_NORM, MLPArchitecture((3, 4, 4, 2), (GELU(),) * 2, residual=True)]
)
def test_a_fit_is_that_of_torch(ours, theirs, architecture):
    check_against_torch(architecture, ours, theirs, 0.02)


def test_a_fit_with_batch_normalisation_is_that_of_torch():
    # Without Adam and the like, which in torch make of the rounding errors of the intercepts
    # before a normalisation, whose derivatives are zero, steps of full length.
    for ours, theirs in TORCH[:3]:
        check_against_torch(BATCH_NORM, ours, theirs, 0.02)


@torch_optimizers
def test_weight_decay_is_that_of_torch(ours, theirs):
    if isinstance(ours, AdamW):
        pytest.skip("its decay is decoupled: see above")
    decayed = lambda p, **o: theirs(p, weight_decay=0.3, **o)  # noqa: E731
    check_against_torch(NET, ours, decayed, 0.02, weight_decay=0.3)


@pytest.mark.parametrize("largest", [1e-3, 0.1, 1e3])
def test_gradients_are_clipped_as_by_torch(largest):
    # torch divides by the norm plus 1e-6, which is 1e-5 of the smallest norm that is clipped.
    X, y = data(NET)
    module = MLP(NET).double()
    module.load_state_dict(start_of(NET, 0))
    SquaredError().rows(module(X), y).mean().backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), largest, error_if_nonfinite=True)
    rate = {"learning_rate": 1.0, "max_epochs": 1}
    (found,) = fit(NET, [one(**rate)], plain(batch_size=N_ROWS, clip_norm=largest))
    start = start_of(NET, 0)
    moves = {name: start[name] - value for name, value in found.values.items()}
    length = float(torch.cat([move.flatten() for move in moves.values()]).norm())
    assert length == pytest.approx(min(float(norm), largest), rel=1e-12)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(moves[name], parameter.grad, rtol=1e-4, atol=1e-12)


def test_entries_of_gradients_are_clipped_as_by_torch():
    clip = {"clip": lambda p: nn.utils.clip_grad_value_(p, 0.02)}
    for ours, theirs in TORCH[:2]:
        check_against_torch(NET, ours, theirs, 0.1, options={"clip_value": 0.02}, **clip)


def test_a_gradient_of_any_length_can_be_clipped():
    X, y = data(LINEAR)
    for scale in (1e-12, 1e12):
        (found,) = fit(
            LINEAR,
            [one(learning_rate=1.0, max_epochs=1)],
            plain(batch_size=N_ROWS, clip_norm=0.5),
            xy=(X, y * scale + X[:, :1] * scale),
        )
        assert all(bool(torch.isfinite(value).all()) for value in found.values.values())


# ------------------------------------------------------------------ accumulation and averages


@pytest.mark.parametrize("order", ["given", "shuffle", "replacement"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_rows", [24, 30])  # batches of 4: six, or eight of which one has two
def test_accumulated_gradients_are_those_of_the_union(order, weighted, n_rows):
    weights = np.random.default_rng(1).uniform(0.2, 3, n_rows) if weighted else None
    options = {"order": order, "clip_norm": 1.0}
    runs = [
        fit(
            NET,
            [one(n_rows, weights=weights, learning_rate=0.1, weight_decay=0.1, max_epochs=4)],
            plain(Momentum(), InverseTime(10.0), **options, **sizes),
        )[0]
        for sizes in ({"batch_size": 4, "accumulation_steps": 3}, {"batch_size": 12})
    ]
    # The order of sums, over a dozen updates.
    assert_same_values(runs[0].values, runs[1].values, 1e-12, 1e-12)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_accumulated_gradients_carry_the_penalty_of_the_union(l1_ratio):
    runs = [
        fit(
            NET,
            [one(30, alpha=0.5, l1_ratio=l1_ratio, learning_rate=0.1, max_epochs=4)],
            plain(order="given", **sizes),
        )[0]
        for sizes in ({"batch_size": 4, "accumulation_steps": 3}, {"batch_size": 12})
    ]
    assert_same_values(runs[0].values, runs[1].values, 1e-12, 1e-12)


@pytest.mark.parametrize("start", [0, 7, 10**6])
def test_the_average_is_the_mean_of_the_iterates(start):
    step = step_of(NET, [start_of(NET, 0)])
    iterates = []
    watch = Watcher(batch_ended=lambda batch, program: iterates.append(copies(step)))
    options = plain(Adam(), average=start)
    X, y = data(NET)
    (found,) = train(step, X, y, [one(learning_rate=0.05, max_epochs=4)], options, watch=watch)
    assert len(iterates) == 4 * 5
    # Before the first iterate that counts there is nothing but the last.
    counted = iterates[start:] or iterates[-1:]
    means = {
        name: torch.stack([values[name] for values in counted]).mean(0) for name in iterates[0]
    }
    # Means of twenty numbers.
    assert_same_values(found.values, means, 1e-13, 1e-14)


# ------------------------------------------------------------------ penalties


def test_squared_weights_are_penalised_by_alpha_over_the_total_weight():
    # One step of length one: the difference of two fits is the gradient of the penalty.
    weights = np.random.default_rng(2).uniform(0.5, 2, N_ROWS)
    without, with_penalty = (
        fit(
            NET,
            [one(weights=weights, alpha=alpha, learning_rate=1.0, max_epochs=1)],
            plain(batch_size=N_ROWS),
        )[0]
        for alpha in (0.0, 3.0)
    )
    start = start_of(NET, 0)
    for name, value in without.values.items():
        share = 3.0 / weights.sum() if name.startswith("coefs") else 0.0
        expected = value - share * start[name]
        torch.testing.assert_close(with_penalty.values[name], expected, rtol=1e-12, atol=1e-13)
    squares = sum(float(start[name].square().sum()) for name in NET.penalised)
    difference = with_penalty.records[0]["loss"] - without.records[0]["loss"]
    assert difference == pytest.approx(1.5 * squares / weights.sum(), rel=1e-10)


@pytest.mark.parametrize(
    "optimizer, rate",
    [(GradientDescent(), 0.3), (Momentum(0.5), 0.15), (Momentum(0.5, True), 0.15)],
    ids=repr,
)
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_a_linear_network_finds_the_elastic_net(optimizer, rate, l1_ratio):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N_ROWS, 6))
    y = X @ [2.0, 0, 0, -1.0, 0, 0] + 0.3 * rng.normal(size=N_ROWS) + 1.0
    alpha = 10.0
    (found,) = fit(
        MLPArchitecture((6, 1), ()),
        [one(alpha=alpha, l1_ratio=l1_ratio, learning_rate=rate, max_epochs=400)],
        plain(optimizer, batch_size=N_ROWS, order="given"),
        xy=(torch.from_numpy(X), torch.from_numpy(y)[:, None]),
    )
    theirs = ElasticNet(alpha=alpha / N_ROWS, l1_ratio=l1_ratio, tol=1e-14, max_iter=100_000)
    theirs.fit(X, y)
    coef = found.values["coefs.0"][:, 0].numpy()
    # Linear convergence by at least 0.9 a step; the duality gap of the other is 1e-14.
    np.testing.assert_allclose(coef, theirs.coef_, atol=1e-7)
    assert float(found.values["intercepts.0"]) == pytest.approx(theirs.intercept_, abs=1e-7)
    assert ((coef == 0) == (theirs.coef_ == 0)).all() and (coef == 0).any()
    best = 0.5 * np.mean((y - theirs.predict(X)) ** 2) + alpha / N_ROWS * (
        l1_ratio * abs(theirs.coef_).sum() + (1 - l1_ratio) / 2 * (theirs.coef_**2).sum()
    )
    assert found.records[-1]["loss"] == pytest.approx(best, rel=1e-10)


@pytest.mark.parametrize("optimizer", [RMSprop(0.9), Adam(), Adagrad()], ids=repr)
def test_a_strong_l1_penalty_leaves_exact_zeros(optimizer):
    (found,) = fit(
        NET,
        [one(alpha=1e3, l1_ratio=1.0, learning_rate=0.05, max_epochs=60)],
        plain(optimizer, batch_size=N_ROWS),
    )
    for name, value in found.values.items():
        assert bool((value == 0).all()) == name.startswith("coefs")


# ------------------------------------------------------------------ theory of gradient descent


def quadratic(curvatures, n_rows=32):
    """Inputs for which half the mean squared error of a linear model has these curvatures.

    The columns are orthogonal and have mean zero, so that the intercept has curvature 1.
    """
    rng = np.random.default_rng(4)
    columns = np.linalg.qr(np.c_[np.ones(n_rows), rng.normal(size=(n_rows, len(curvatures)))])[0]
    X = columns[:, 1:] * np.sqrt(n_rows * np.asarray(curvatures))
    theta = rng.normal(size=len(curvatures) + 1)
    y = X @ theta[:-1] + theta[-1]
    return torch.from_numpy(X), torch.from_numpy(y)[:, None], torch.from_numpy(theta)


@given(kappa=st.floats(1.5, 100), middle=st.floats(0, 1), scale=st.floats(0.01, 100))
@few
def test_gradient_descent_contracts_as_the_condition_number_says(kappa, middle, scale):
    # Section 17.2: with rate 2 / (L + g) the error shrinks by (κ - 1) / (κ + 1) a step.
    low, high = 1 / (1 + (kappa - 1) * middle), kappa / (1 + (kappa - 1) * middle)
    X, y, theta = quadratic([low, high])
    steps = 12
    step = step_of(MLPArchitecture((2, 1), ()), [start_of(MLPArchitecture((2, 1), ()), 0)])
    # Errors of the same size along both extremes, and none along the intercept.
    step.parameters.values["coefs.0"][:, 0] = theta[:2] + scale
    step.parameters.values["intercepts.0"].fill_(float(theta[2]))
    (found,) = train(
        step,
        X,
        y,
        [one(len(X), learning_rate=2 / (high + low), max_epochs=steps)],
        plain(batch_size=len(X), order="given"),
    )
    factor = (high - low) / (high + low)
    error = (found.values["coefs.0"][:, 0] - theta[:2]).abs()
    # Rounding of parameters of the size of the first error, or of order one.
    np.testing.assert_allclose(error, scale * factor**steps, rtol=1e-9, atol=1e-12 * (1 + scale))
    losses = np.array([record["loss"] for record in found.records])
    expected = losses[0] * factor ** (2.0 * np.arange(steps))
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-13 * (1 + scale) ** 2)


def test_gradient_descent_diverges_beyond_two_over_the_largest_curvature():
    X, y, _ = quadratic([0.1, 4.0])
    ends = []
    for rate in (0.49, 0.51):
        (found,) = fit(
            MLPArchitecture((2, 1), ()),
            [one(len(X), learning_rate=rate, max_epochs=300)],
            plain(batch_size=len(X)),
            xy=(X, y),
        )
        ends.append(found.records[-1]["loss"] / found.records[0]["loss"])
    assert ends[0] < 1e-3 and ends[1] > 1e3


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_minibatches_with_replacement_average_to_the_full_one(weighted):
    # Section 18.1: of 4 rows, 16 batches of two are as likely; each is a replica of one stack.
    X, y = data(NET, n_rows=4)
    batches = np.array(list(itertools.product(range(4), repeat=2)))
    step = step_of(NET, [start_of(NET, 0)] * len(batches))
    program = step.program(2, weighted=weighted)
    program.inputs.copy_(X[batches])
    program.targets.copy_(y[batches])
    if weighted:
        program.share.fill_(0.5)
    program.run()
    gradients = torch.cat([stack for stack in step.parameters.stacks(step.parameters.gradient)], 1)
    singles = gradients[[5 * i for i in range(4)]]  # batches (i, i)
    full = singles.mean(0)
    torch.testing.assert_close(gradients.mean(0), full, rtol=1e-12, atol=1e-14)
    # Their variance is that of single rows over the size of a batch.
    variance = (gradients - full).square().mean(0)
    torch.testing.assert_close(
        variance, (singles - full).square().mean(0) / 2, rtol=1e-12, atol=1e-14
    )


# ------------------------------------------------------------------ weights and inputs


@pytest.mark.parametrize("alpha, l1_ratio", [(0.0, 0.0), (2.0, 0.0), (2.0, 0.7)])
@pytest.mark.parametrize("architecture", [NET, BATCH_NORM])
def test_integer_weights_are_repeated_rows(architecture, alpha, l1_ratio):
    counts = np.arange(N_ROWS) % 3 + 1
    options = plain(Adam(), batch_size=200, order="given")
    penalty = {"alpha": alpha, "l1_ratio": l1_ratio, "learning_rate": 0.01, "max_epochs": 5}
    (weighted,) = fit(architecture, [one(weights=counts.astype(float), **penalty)], options)
    repeated = np.repeat(np.arange(N_ROWS), counts)
    (plain_one,) = fit(architecture, [one(repeated, **penalty)], options)
    assert_same_fit(weighted, plain_one, 1e-11)


def test_sparse_rows_are_rows():
    X, y = data(NET)
    X = X * (X > 0)
    bucket = Bucket(vary={"size": [39, 40], "max_epochs": [2, 4]})
    dense = bucket.train(xy=(X, y))
    sparse = bucket.train(xy=(SparseRows(sp.csr_array(X.numpy())), y))
    for found, expected in zip(sparse, dense, strict=True):
        assert identical(found, expected)


def test_the_reported_loss_is_the_mean_over_batches_at_the_time():
    step, weights = step_of(NET, [start_of(NET, 0)]), np.linspace(0.5, 2, N_ROWS)
    seen = []

    def note(batch, program):
        seen.append((batch.totals[0], float(program.loss)))

    X, y = data(NET)
    (found,) = train(
        step,
        X,
        y,
        [one(weights=weights, learning_rate=0.1, max_epochs=2)],
        plain(batch_size=7, report_scale=2.0),
        watch=Watcher(batch_ended=note),
    )
    for record, part in zip(found.records, (seen[:6], seen[6:]), strict=True):
        mass, losses = np.array(part).T
        assert mass.sum() == pytest.approx(weights.sum(), rel=1e-14)
        assert record["loss"] == pytest.approx(2 * (mass @ losses) / mass.sum(), rel=1e-13)


def test_the_first_loss_on_all_rows_is_the_objective_at_the_start():
    X, _ = data(NET)
    architecture = MLPArchitecture((3, 5, 3), (ReLU(),))
    y = torch.eye(3, dtype=torch.float64)[torch.arange(N_ROWS) % 3]
    start = start_of(architecture, 0)
    step = step_of(architecture, [start], loss=SoftmaxLogLoss())
    replica = one(alpha=0.7, l1_ratio=0.3, max_epochs=1)
    (found,) = train(step, X, y, [replica], plain(batch_size=N_ROWS))
    outputs = architecture.apply(X, start)
    weights = torch.cat([start[name].flatten() for name in architecture.penalised])
    penalty = 0.7 * (0.3 * weights.abs().sum() + 0.35 * weights.square().sum()) / N_ROWS
    expected = nn.functional.cross_entropy(outputs, y) + penalty
    assert found.records[0]["loss"] == pytest.approx(float(expected), rel=1e-13)


# ------------------------------------------------------------------ stopping


def test_training_stops_when_the_loss_no_longer_falls():
    # The rate is zero from the fourth epoch on: the loss of the fifth is that of the fourth.
    schedule = CallableSchedule(lambda clock: 1.0 if clock.epoch < 3 else 0.0)
    (found,) = fit(
        NET,
        [one(learning_rate=0.05)],
        plain(schedule=schedule, tol=1e-9, n_iter_no_change=2, batch_size=N_ROWS),
    )
    # Epochs 5, 6 and 7 do not improve: more than two.
    assert (found.reason, len(found.records)) == ("converged", 7)


def test_adaptive_rates_are_divided_before_it_stops():
    (found,) = fit(
        NET,
        [one(learning_rate=0.5, max_epochs=1000)],
        plain(schedule=Adaptive(divisor=5.0, minimum=0.1), tol=10.0, n_iter_no_change=1),
    )
    # No improvement is enough: two epochs too many for each of the rates 0.5, 0.1.
    rates = [record["learning_rate"] for record in found.records]
    np.testing.assert_allclose(rates, [0.5] * 3 + [0.1] * 2, rtol=1e-12)
    assert found.reason == "converged"


class Scores:
    """A validation with given scores for each epoch of each replica, which keeps what it saw."""

    def __init__(self, table, seen=None, epoch=None):
        self.table, self.seen = table, [[] for _ in table] if seen is None else seen
        self.epoch = itertools.count() if epoch is None else epoch

    def __call__(self, step):
        i = next(self.epoch)
        records = []
        for k, scores in enumerate(self.table):
            values = {n: v.clone() for n, v in step.parameters.replica(k).items()}
            self.seen[k].append(values)
            if scores[i] is KeyboardInterrupt:
                raise KeyboardInterrupt
            records.append({"validation_score": scores[i]})
        return records

    def keep(self, replicas):
        table, seen = ([part[k] for k in replicas] for part in (self.table, self.seen))
        return Scores(table, seen, self.epoch)


def test_early_stopping_keeps_the_epoch_of_the_best_score():
    tables = [
        [0.1, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4],
        [0.1, 0.2, 0.9, 0.3, 0.3, 0.3, 0.3],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
        [0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    ]
    scores = Scores(tables)
    seen = scores.seen
    options = plain(early_stopping=True, n_iter_no_change=2, tol=1e-4)
    found = Bucket(options=options, vary={"max_epochs": [7]}).train(validation=scores)
    for trained, table, values in zip(found, tables, seen, strict=True):
        best = int(np.argmax(table))
        epochs = min(best + 4, 7)  # three epochs that are not better
        assert len(trained.records) == epochs
        assert trained.reason == ("converged" if epochs < 7 else "max_epochs")
        assert [r["validation_score"] for r in trained.records] == table[:epochs]
        assert all(torch.equal(trained.values[name], value) for name, value in values[best].items())


def test_a_validation_without_early_stopping_only_watches():
    scores = Scores([[0.9, 0.1, 0.1, 0.1]])
    (found,) = fit(NET, [one(max_epochs=4)], plain(), validation=scores)
    (alone,) = fit(NET, [one(max_epochs=4)], plain())
    assert_same_values(found.values, alone.values, 0, 0)
    assert [r["validation_score"] for r in found.records] == [0.9, 0.1, 0.1, 0.1]


def test_the_average_is_what_is_validated():
    scores = Scores([[0.1, 0.9, 0.1]])
    options = plain(average=0, early_stopping=True)
    (found,) = fit(NET, [one(learning_rate=0.1, max_epochs=3)], options, validation=scores)
    (shorter,) = fit(NET, [one(learning_rate=0.1, max_epochs=2)], plain(average=0))
    assert_same_values(found.values, shorter.values, 0, 0)


def test_a_watch_can_stop_and_change_the_rate():
    watch = stop_after(3)
    (found,) = fit(NET, [one(learning_rate=0.1, max_epochs=9)], plain(), watch=watch)
    (expected,) = fit(NET, [one(learning_rate=0.1, max_epochs=3)], plain())
    assert (found.reason, len(found.records)) == ("stopped", 3)
    assert_same_values(found.values, expected.values, 0, 0)
    halved = Watcher(rate=lambda rate: rate / 2)
    (slow,) = fit(NET, [one(learning_rate=0.2, max_epochs=3)], plain(), watch=halved)
    assert_same_values(slow.values, expected.values, 0, 0)
    assert slow.records[-1]["learning_rate"] == 0.1


# ------------------------------------------------------------------ interruptions

#: Three epochs go down, and all later ones up: the third is the best.
UP_AND_DOWN = CallableSchedule(lambda clock: 1.0 if clock.epoch < 3 else -0.2)


def interrupted(where, epoch):
    """A fit that is interrupted after so many epochs, and θ and the loss after each."""
    step = step_of(NET, [start_of(NET, 0)])
    after, losses = [], []

    def ended(record, step):
        after.append(copies(step))
        losses.append(record["loss"])
        if where == "epoch" and len(after) == epoch:
            raise KeyboardInterrupt
        return False

    def batch(batch, program):
        if where == "batch" and len(after) == epoch:
            raise KeyboardInterrupt

    X, y = data(NET)
    options = plain(schedule=UP_AND_DOWN, batch_size=N_ROWS)
    watch = Watcher(epoch_ended=ended, batch_ended=batch)
    replicas = [one(learning_rate=0.3, max_epochs=50)]
    (found,) = train(step, X, y, replicas, options, watch=watch)
    return found, after, losses


@pytest.mark.parametrize("where", ["batch", "epoch"])
@pytest.mark.parametrize("epoch, best", [(1, 0), (2, 1), (4, 3), (8, 3)])
def test_an_interrupt_keeps_the_best_epoch(where, epoch, best):
    found, after, losses = interrupted(where, epoch)
    assert found.reason == "interrupted" and len(losses) == epoch
    # With one batch, the loss of an epoch is that of the θ it begins with: the fourth is best.
    assert int(np.argmin(losses)) == best
    assert_same_values(found.values, after[best], 0, 0)


def test_an_interrupt_in_the_first_epoch_keeps_the_start():
    found, _, _ = interrupted("batch", 0)
    assert found.reason == "interrupted" and found.records == []
    assert_same_values(found.values, start_of(NET, 0), 0, 0)


def test_an_interrupt_of_a_stack_keeps_what_was_done():
    interrupt = KeyboardInterrupt
    tables = [
        [0.1, 0.5, 0.4, interrupt],
        [0.5, 0.1, 0.4, interrupt],
        [0.1, 0.2, 0.9, interrupt],
        [0.5, 0.0, 0.0, interrupt],
    ]
    scores = Scores(tables)
    seen = scores.seen
    options = plain(early_stopping=True)
    bucket = Bucket(options=options, vary={"max_epochs": [9, 9, 9, 2]})
    found = bucket.train(validation=scores)
    reasons = [trained.reason for trained in found]
    assert reasons == ["interrupted"] * 3 + ["max_epochs"]
    for trained, values, best in zip(found, seen, (1, 0, 2, 0), strict=True):
        assert all(torch.equal(trained.values[n], v) for n, v in values[best].items())


# ------------------------------------------------------------------ going on


def halves(architecture, options, replica, epochs=3):
    """Training in one piece, and in two of which the second begins with the state of the first."""
    X, y = data(architecture)
    start = start_of(architecture, 0)
    (whole,) = train(
        step_of(architecture, [start]), X, y, [replica()], options, watch=stop_after(2 * epochs)
    )
    own = replica()
    (first,) = train(step_of(architecture, [start]), X, y, [own], options, watch=stop_after(epochs))
    (second,) = train(
        step_of(architecture, [first.values]),
        X,
        y,
        [own],
        options,
        watch=stop_after(epochs),
        state=first.state,
    )
    return whole, first, second


@optimizers
@pytest.mark.parametrize("order", ["given", "replacement"])
def test_a_training_goes_on_as_if_it_had_not_been_interrupted(optimizer, order):
    whole, first, second = halves(
        BATCH_NORM, plain(optimizer, order=order), lambda: one(learning_rate=0.02, alpha=0.1)
    )
    assert first.records + second.records == whole.records
    assert_same_values(second.values, whole.values, 0, 0)


@pytest.mark.parametrize(
    "schedule",
    [Cosine(), OneCycle(), InverseScaling(), InverseTime(9.0), Plateau(patience=0), Adaptive()],
    ids=repr,
)
def test_a_schedule_goes_on_as_if_it_had_not_been_interrupted(schedule):
    patience = 1 if isinstance(schedule, Adaptive) else math.inf
    options = plain(Momentum(), schedule, order="given", tol=0.01, n_iter_no_change=patience)
    whole, first, second = halves(NET, options, lambda: one(learning_rate=0.1, max_epochs=20))
    rates = [record["learning_rate"] for record in whole.records]
    assert [r["learning_rate"] for r in first.records + second.records] == rates
    assert_same_values(second.values, whole.values, 0, 0)


@pytest.mark.parametrize("what", ["shuffled order", "dropout", "average", "patience"])
def test_all_else_goes_on_as_if_it_had_not_been_interrupted(what):
    architecture = DROPOUT if what == "dropout" else NET
    options = plain(
        order="shuffle" if what == "shuffled order" else "given",
        average=0 if what == "average" else None,
        **({"tol": 10.0, "n_iter_no_change": 3} if what == "patience" else {}),
    )
    rates = architecture.drop_rates
    whole, first, second = halves(architecture, options, lambda: one(dropout=rates))
    assert first.records + second.records == whole.records
    assert_same_values(second.values, whole.values, 0, 0)
