"""Whole fits of perceptrons against scikit-learn, a loop written by hand in torch, and skorch.

All ways do the same work in float32: as many epochs of Adam at a constant rate, on batches of the
same size, with the penalty on the weights that is the default of scikit-learn and thetalearn; only
skorch does without it. All start from the same weights, and all but skorch see the rows in the same
order. After one epoch their losses must agree. Later they drift apart, because Adam turns a last
digit of a small gradient into a whole step; the table says how far.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from _harness import (
    THREADS,
    Options,
    Race,
    fresh,
    peak_memory,
    print_table,
    race,
    read_command_line,
    verdict,
)
from torch import nn

RATE, ALPHA, SEED = 1e-3, 1e-4, 0
OURS, SKLEARN, TORCH, SKORCH = "thetalearn", "scikit-learn", "torch loop", "skorch"
#: Times as fast as skorch, and as the loop, at least; for scikit-learn each case has its own.
THAN_SKORCH, THAN_TORCH = 20.0, 1.0
#: Relative differences of losses that are still taken for the same, after one epoch and at the end.
CLOSE, NEAR = 1e-2, 0.3

#: Ways in which torch can update parameters.
UPDATES = {"fused": {"fused": True}, "foreach": {"foreach": True}, "for": {"foreach": False}}

Data = tuple[np.ndarray, np.ndarray]
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A network, data and batches; how many epochs make a reading, and the bar."""

    hidden: tuple[int, ...]
    n_rows: int
    n_columns: int
    batch: int
    epochs: int
    than_sklearn: float
    #: Epochs of skorch, which is slow; 0 leaves it out.
    few_epochs: int = 0

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return -(-self.n_rows // self.batch)

    def data(self) -> Data:
        """Rows, and a target that a network finds hard enough."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.n_rows, self.n_columns))
        y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.standard_normal(len(X))
        return X.astype(np.float32), y.astype(np.float32)

    def epochs_of(self, way: str) -> int:
        """Epochs in a reading."""
        return self.few_epochs if way == SKORCH else self.epochs


CASES = (
    Case((64, 64), 1_000, 10, 32, epochs=100, than_sklearn=2.5, few_epochs=15),
    Case((64, 64), 10_000, 20, 200, epochs=36, than_sklearn=2.0),
    Case((64, 64), 50_000, 50, 256, epochs=8, than_sklearn=1.2),
    Case((512, 512), 20_000, 100, 1024, epochs=1, than_sklearn=1.0),
)


@dataclass(frozen=True)
class Torch:
    """How torch is used at its best: the update, and the number of threads."""

    update: str = "fused"
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.update}, {self.threads} thread{'s' * (self.threads > 1)}"


def estimator_fit(estimator: type, case: Case, data: Data, epochs: int) -> Predict:
    """Fit scikit-learn's estimator, or ours."""
    model = estimator(
        case.hidden,
        solver="adam",
        learning_rate="constant",
        learning_rate_init=RATE,
        alpha=ALPHA,
        batch_size=case.batch,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=10 * epochs,
        random_state=SEED,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It is not meant to converge.
        model.fit(*data)
    assert model.n_iter_ == epochs
    return model.predict


def our_fit(case: Case, data: Data, epochs: int) -> Predict:
    from thetalearn import MLPRegressor

    return estimator_fit(partial(MLPRegressor, "squared_error"), case, data, epochs)


def sklearn_fit(case: Case, data: Data, epochs: int) -> Predict:
    from sklearn.neural_network import MLPRegressor

    return estimator_fit(partial(MLPRegressor, "squared_error"), case, data, epochs)


def make_net(case: Case, rng: np.random.RandomState) -> nn.Sequential:
    """The network, with the weights that scikit-learn draws."""
    sizes = (case.n_columns, *case.hidden, 1)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layer, bound = nn.Linear(n_in, n_out), (6 / (n_in + n_out)) ** 0.5
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, (n_in, n_out)).T))
            layer.bias.copy_(torch.from_numpy(rng.uniform(-bound, bound, n_out)))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def torch_fit(case: Case, data: Data, epochs: int, best: Torch) -> Predict:
    """The loop that one writes by hand, with its data resident and no number read in it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(best.threads)
    rng = np.random.RandomState(SEED)
    net = make_net(case, rng)
    weights = [layer.weight for layer in net[::2]]
    biases = [layer.bias for layer in net[::2]]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": biases}]
    optimizer = torch.optim.Adam(groups, lr=RATE, **UPDATES[best.update])
    decay, squared_error = optimizer.param_groups[0], nn.MSELoss()
    X, y = torch.from_numpy(data[0]), torch.from_numpy(data[1])[:, None]
    order = np.arange(len(X))
    for _ in range(epochs):
        shuffle = np.arange(len(X))
        rng.shuffle(shuffle)
        order = order[shuffle]
        for rows in torch.from_numpy(order).split(case.batch):
            optimizer.zero_grad()
            (0.5 * squared_error(net(X[rows]), y[rows])).backward()
            decay["weight_decay"] = ALPHA / len(rows)
            optimizer.step()
    torch.set_num_threads(threads)
    return partial(predict_with, net)


def predict_with(net: nn.Module, X: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(X))[:, 0].numpy()


def skorch_fit(
    case: Case, data: Data, epochs: int, best: Torch, callbacks: str | None = "disable"
) -> Predict:
    from skorch import NeuralNetRegressor

    threads = torch.get_num_threads()
    torch.set_num_threads(best.threads)
    model = NeuralNetRegressor(
        make_net(case, np.random.RandomState(SEED)),
        criterion=nn.MSELoss,
        optimizer=torch.optim.Adam,
        lr=RATE,
        max_epochs=epochs,
        batch_size=case.batch,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=callbacks,
        verbose=0,
        **{f"optimizer__{name}": value for name, value in UPDATES[best.update].items()},
    )
    model.fit(data[0], data[1][:, None])
    torch.set_num_threads(threads)
    return lambda X: model.predict(X)[:, 0]


def fastest(fits: Sequence[Callable[[], Any]]) -> int:
    """Number of the fastest of some functions, by the best of a few turns."""
    seconds = np.full(len(fits), np.inf)
    for turn in range(4):
        for i, fit in enumerate(fits):
            if turn > 1 and seconds[i] > 2 * seconds.min():
                continue  # It has no chance.
            start = time.perf_counter()
            fit()
            taken = time.perf_counter() - start
            # The first turn warms up.
            seconds[i] = taken if turn < 2 else min(seconds[i], taken)
    return int(seconds.argmin())


def best_ways(case: Case, data: Data) -> dict[str, tuple[str, Callable[[int], Predict]]]:
    """Each way at its best, from a number of epochs: its description and the fit."""
    forms = [Torch(u, n) for u in UPDATES for n in sorted({1, torch.get_num_threads()})]
    form = forms[fastest([partial(torch_fit, case, data, 1, form) for form in forms])]
    ways = {
        OURS: ("", lambda epochs: our_fit(case, data, epochs)),
        SKLEARN: (SKLEARN, lambda epochs: sklearn_fit(case, data, epochs)),
        TORCH: (f"{TORCH} ({form})", lambda epochs: torch_fit(case, data, epochs, form)),
    }
    if case.few_epochs:
        calls = ["disable", None]
        best = calls[
            fastest([partial(skorch_fit, case, data, 1, form, callbacks) for callbacks in calls])
        ]
        said = f"{SKORCH} ({form}{', no callbacks' if best else ''})"
        ways[SKORCH] = said, lambda epochs: skorch_fit(case, data, epochs, form, best)
    return ways


def half_square(predict: Predict, data: Data) -> float:
    return float(np.square(predict(data[0]) - data[1], dtype=np.float64).mean() / 2)


def time_fits(case: Case, chosen: Options) -> tuple[Race, dict[str, str]]:
    """Times of one step, with the final losses as results; and what each way is."""
    data = case.data()
    ways = best_ways(case, data)
    compared = (OURS, SKLEARN, TORCH)
    first = {way: half_square(ways[way][1](1), data) for way in compared}
    assert max(first.values()) / min(first.values()) < 1 + CLOSE, first
    timed = race({way: partial(fit, case.epochs_of(way)) for way, (_, fit) in ways.items()}, chosen)
    losses = {way: half_square(predict, data) for way, predict in timed.results.items()}
    last = [losses[way] for way in compared]
    assert max(last) / min(last) < 1 + NEAR, losses
    timed.results.update(losses)
    return (
        timed.per_unit({way: case.steps * case.epochs_of(way) for way in ways}),
        {way: said for way, (said, _) in ways.items()},
    )


def memory_of(way: str, case: Case) -> float:
    """MiB of one epoch."""
    fits = {
        OURS: our_fit,
        SKLEARN: sklearn_fit,
        TORCH: partial(torch_fit, best=Torch()),
        SKORCH: partial(skorch_fit, best=Torch()),
    }
    data = case.data()
    small = replace(case, hidden=(8,), n_rows=64, batch=32)
    fits[way](small, small.data(), 1)  # What it imports is no part of it.
    return peak_memory(lambda: fits[way](case, data, 1)) / 2**20


def compare(case: Case, chosen: Options) -> tuple[list[list[Any]], list[Race]]:
    rows, races = [], []
    label = ["-".join(map(str, case.hidden)), f"{case.n_rows:,} x {case.n_columns}", case.batch]
    bars = {SKLEARN: case.than_sklearn, TORCH: THAN_TORCH, SKORCH: THAN_SKORCH}
    ways = [OURS, SKLEARN, TORCH] + [SKORCH] * bool(case.few_epochs)
    memory = {way: fresh(memory_of, way, case, threads=THREADS[0]) for way in ways}
    for threads in THREADS:
        timed, said = fresh(time_fits, case, chosen, threads=threads)
        races.append(timed)
        for way in ways[1:]:
            ratio = timed.ratio(way, to=OURS)
            drift = abs(timed.results[way] / timed.results[OURS] - 1)
            rows.append(
                [
                    *label,
                    threads,
                    said[way],
                    timed.microseconds(OURS),
                    timed.microseconds(way),
                    ratio,
                    verdict(ratio.middle, bars[way]),
                    f"{memory[OURS]:.1f}",
                    f"{memory[way]:.1f}",
                    "-" if way == SKORCH else f"{drift:.0e}",
                ]
            )
    return rows, races


def main() -> None:
    chosen = read_command_line(rounds=5)
    rows, races = [], []
    for case in CASES:
        more_rows, more_races = compare(case, chosen)
        rows += more_rows
        races += more_races
    header = [
        "hidden",
        "data",
        "batch",
        "threads",
        "peer",
        "ours, us/step",
        "peer, us/step",
        "times faster [min, max]",
        "bar",
        "ours, MiB",
        "peer, MiB",
        "last losses differ by",
    ]
    print_table(
        "MLPRegressor.fit in float32, with Adam, for a fixed number of epochs\n"
        "peak memory of one epoch on one thread",
        header,
        rows,
        races,
    )


if __name__ == "__main__":
    main()
