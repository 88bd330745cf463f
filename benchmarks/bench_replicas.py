"""120 small perceptrons: a search over 24 candidates and 5 folds, one after another and at once.

Each model has its own penalty, learning rate, rows and random numbers. scikit-learn and thetalearn
fit them one after another, and thetalearn's engine in stacks. Models must end with the same loss
whether they were trained alone or in a stack.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
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

ROWS, COLUMNS, HIDDEN = 2_000, 20, (64, 64)
BATCH, EPOCHS, FOLDS = 64, 5, 5
ALPHAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
RATES = (3e-4, 1e-3, 3e-3, 1e-2)

FASTER = 6.0
#: Largest relative difference of losses, of a model trained alone and in a stack.
SAME = 1e-5

SKLEARN, PROCESSES = "scikit-learn", "scikit-learn, a process for each thread"
ALONE, STACKED = "thetalearn, one after another", "thetalearn, at once"

#: Numbers of models in a stack that ``--chunks`` compares.
CHUNKS = (8, 16, 24, 32, 40, 120)

#: Models in the stacks whose steps are timed, on the processor and on a GPU.
FEW, MANY = 24, 120

Data = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Model:
    """One candidate on one fold."""

    alpha: float
    rate: float
    rows: np.ndarray
    seed: int


def make_data() -> Data:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, COLUMNS))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * rng.standard_normal(ROWS)
    return X.astype(np.float32), y.astype(np.float32)


def models() -> list[Model]:
    folds = np.array_split(np.random.default_rng(1).permutation(ROWS), FOLDS)
    rows = [np.sort(np.concatenate(folds[:k] + folds[k + 1 :])) for k in range(FOLDS)]
    searched = product(ALPHAS, RATES, rows)
    return [Model(alpha, rate, own, seed) for seed, (alpha, rate, own) in enumerate(searched)]


def make_estimator(estimator: type, model: Model) -> Any:
    return estimator(
        hidden_layer_sizes=HIDDEN,
        solver="adam",
        alpha=model.alpha,
        learning_rate_init=model.rate,
        batch_size=BATCH,
        max_iter=EPOCHS,
        tol=0.0,
        n_iter_no_change=10 * EPOCHS,
        random_state=model.seed,
    )


def fit_one(estimator: type, model: Model, data: Data) -> float:
    """The last loss of one model."""
    X, y = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It is not meant to converge.
        fitted = make_estimator(estimator, model).fit(X[model.rows], y[model.rows])
    return float(fitted.loss_)


def sklearn_losses(data: Data) -> list[float]:
    from sklearn.neural_network import MLPRegressor

    return [fit_one(MLPRegressor, model, data) for model in models()]


def sklearn_losses_in_processes(data: Data, n_jobs: int) -> list[float]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from sklearn.neural_network import MLPRegressor

    X, y = data
    fits = [
        delayed(MLPRegressor.fit)(make_estimator(MLPRegressor, model), X[model.rows], y[model.rows])
        for model in models()
    ]
    os.environ["PYTHONWARNINGS"] = "ignore"  # for the processes, which the first call starts
    fitted = Parallel(n_jobs, batch_size=len(fits) // (4 * n_jobs))(fits)
    get_reusable_executor().shutdown(wait=True)  # idle processes would outlive this one
    return [float(model.loss_) for model in fitted]


def our_losses(data: Data) -> list[float]:
    from thetalearn import MLPRegressor

    return [fit_one(MLPRegressor, model, data) for model in models()]


@dataclass(frozen=True)
class Engine:
    """Data and models in the form in which the engine takes them."""

    X: torch.Tensor
    y: torch.Tensor
    settings: Any
    replicas: list[Any]
    make_step: Callable[[Sequence[int]], Any]


def make_engine(data: Data, n_models: int | None = None, device: str = "cpu") -> Engine:
    """The first models, each with the random numbers that an estimator would draw."""
    from thetalearn.objectives.losses import SquaredError
    from thetalearn.representations.networks.activations import ReLU
    from thetalearn.representations.networks.initialize import initialize
    from thetalearn.representations.networks.mlp import MLPArchitecture
    from thetalearn.representations.networks.tape import Tape
    from thetalearn.solvers.gradient.explicit import start_step
    from thetalearn.solvers.gradient.optimizers import Adam
    from thetalearn.solvers.gradient.schedules import make_schedule
    from thetalearn.solvers.gradient.trainer import Replica, Settings

    network = MLPArchitecture((COLUMNS, *HIDDEN, 1), (ReLU(),) * len(HIDDEN))
    replicas, starts = [], []
    for model in models()[:n_models]:
        rng = np.random.RandomState(model.seed)
        start = initialize(network, "auto", rng)
        starts.append({name: torch.from_numpy(array) for name, array in start.items()})
        replicas.append(
            Replica(model.rows, rng, learning_rate=model.rate, alpha=model.alpha, max_epochs=EPOCHS)
        )

    def make_step(numbers: Sequence[int]) -> Any:
        own = [starts[number] for number in numbers]
        return start_step(network, SquaredError(), Tape, own, 1, dtype=torch.float32, device=device)

    return Engine(
        torch.from_numpy(data[0]).to(device),
        torch.from_numpy(data[1])[:, None].to(device),
        Settings(Adam(), make_schedule("constant"), BATCH, tol=0.0, n_iter_no_change=np.inf),
        replicas,
        make_step,
    )


def stacked_losses(data: Data, chunk: int | None = None) -> list[float]:
    from thetalearn.solvers.gradient.replicas import train_replicas

    engine = make_engine(data)
    trained = train_replicas(
        engine.make_step, engine.X, engine.y, engine.replicas, engine.settings, chunk=chunk
    )
    return [one.records[-1]["loss"] for one in trained]


def ways(data: Data) -> dict[str, Callable[[], list[float]]]:
    """All ways; several processes are of use for several threads alone."""
    threads = torch.get_num_threads()
    processes = {PROCESSES: partial(sklearn_losses_in_processes, data, threads)}
    return {
        SKLEARN: partial(sklearn_losses, data),
        **(processes if threads > 1 else {}),
        ALONE: partial(our_losses, data),
        STACKED: partial(stacked_losses, data),
    }


def time_searches(chosen: Options) -> Race:
    from joblib.externals.loky import get_reusable_executor

    timed = race(ways(make_data()), chosen)
    get_reusable_executor().shutdown()  # Idle processes would keep this one for minutes.
    return timed


def time_chunks(chosen: Options) -> Race:
    data = make_data()
    return race(
        {str(chunk): partial(stacked_losses, data, chunk) for chunk in (*CHUNKS, None)}, chosen
    )


def epochs_of(n_models: int, device: str, data: Data) -> Callable[[], None]:
    """Train one stack of so many models on and on, for some epochs at each call."""
    from thetalearn.solvers.gradient.trainer import Trainer

    engine = make_engine(data, n_models, device)
    with torch.inference_mode():
        step = engine.make_step(range(n_models))
        trainer = Trainer(step, engine.X, engine.y, engine.replicas, engine.settings)

    def work() -> None:
        with torch.inference_mode():
            for _ in range(EPOCHS):
                trainer.epoch()  # Its losses are read at the end, after all that runs on a GPU.

    return work


def time_steps(n_models: int, device: str, chosen: Options) -> Race:
    """Times of one step of one model, and of a stack of several."""
    data = make_data()
    works = {"one": epochs_of(1, device, data), "stack": epochs_of(n_models, device, data)}
    steps = EPOCHS * -(-(ROWS * (FOLDS - 1) // FOLDS) // BATCH)
    return race(works, chosen).per_unit(dict.fromkeys(works, steps))


def memory_of(way: str, chunk: int | None = None) -> float:
    """MiB of a search."""
    from sklearn.neural_network import MLPRegressor as Theirs

    from thetalearn import MLPRegressor as Ours

    data = make_data()
    work = partial(stacked_losses, data, chunk) if chunk else ways(data)[way]
    # What they import is no part of it.
    if way == STACKED:
        epochs_of(2, "cpu", data)()
    else:
        fit_one(Ours if way == ALONE else Theirs, models()[0], data)
    return peak_memory(work) / 2**20


def worst(losses: Sequence[float], others: Sequence[float]) -> float:
    """Largest relative difference."""
    a, b = np.asarray(losses), np.asarray(others)
    return float(np.abs(a / b - 1).max())


def print_searches(chosen: Options) -> None:
    rows, races = [], []
    for threads in THREADS:
        timed = fresh(time_searches, chosen, threads=threads)
        races.append(timed)
        alone = timed.results[ALONE]
        same = worst(timed.results[STACKED], alone)
        assert same < SAME, same
        for way in timed.seconds:
            ratio = timed.ratio(SKLEARN, to=way)
            # Other processes hold what theirs need.
            memory = "-" if way == PROCESSES else f"{fresh(memory_of, way, threads=threads):.1f}"
            rows.append(
                [
                    threads,
                    way,
                    timed.milliseconds(way),
                    "" if way == SKLEARN else ratio,
                    verdict(ratio.middle, FASTER) if way == STACKED else "",
                    memory,
                    f"{worst(timed.results[way], alone):.0e}",
                ]
            )
    print_table(
        f"{len(models())} perceptrons {COLUMNS}-{'-'.join(map(str, HIDDEN))}-1: "
        f"{len(ALPHAS) * len(RATES)} candidates on {FOLDS} folds of {ROWS:,} rows, {EPOCHS} epochs "
        f"in batches of {BATCH}, float32",
        [
            "threads",
            "way",
            "ms",
            "times faster [min, max]",
            "bar",
            "peak MiB",
            "losses differ from those alone by",
        ],
        rows,
        races,
    )


def print_steps(n_models: int, device: str, chosen: Options) -> None:
    timed = fresh(time_steps, n_models, device, chosen, threads=1)
    ratio = timed.ratio("stack", to="one")
    print_table(
        f"A step on {device}, one thread, of one model and of a stack of {n_models}",
        ["one, us", f"{n_models}, us", "ratio [min, max]", "us for each of the stack"],
        [
            [
                timed.microseconds("one"),
                timed.microseconds("stack"),
                ratio,
                f"{float(timed.microseconds('stack')) / n_models:.3g}",
            ]
        ],
        [timed],
    )


def print_chunks(chosen: Options) -> None:
    rows, races = [], []
    for threads in THREADS:
        timed = fresh(time_chunks, chosen, threads=threads)
        races.append(timed)
        for chunk in (*CHUNKS, None):
            memory = fresh(memory_of, STACKED, chunk, threads=threads)
            rows.append(
                [
                    threads,
                    chunk or "default",
                    timed.milliseconds(str(chunk)),
                    timed.ratio(str(chunk), to="None"),
                    f"{memory:.1f}",
                ]
            )
    print_table(
        f"{len(models())} perceptrons at once, by the number in a stack",
        ["threads", "stack", "ms", "times the default's [min, max]", "peak MiB"],
        rows,
        races,
    )


def main() -> None:
    chosen = read_command_line(rounds=5, chunks="compare numbers of models in a stack, too")
    print_searches(chosen)
    print_steps(FEW, "cpu", chosen)
    if torch.cuda.is_available():
        print_steps(MANY, "cuda", chosen)
    if "chunks" in chosen.extras:
        print_chunks(chosen)


if __name__ == "__main__":
    main()
