"""What the first fit of a process takes longer than the second; each in fresh processes.

torch, scikit-learn and thetalearn are imported before, and that is timed for itself. What is left
to the first fit is what they import late, and what the engine prepares.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

from _harness import Race, print_table, read_command_line, undisturbed

PROGRAM = """\
import time
began = time.perf_counter()
{imports}
imported = time.perf_counter()
import warnings
import numpy as np
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.standard_normal((1000, 10)).astype(np.float32)
y = rng.standard_normal(1000).astype(np.float32)
{definitions}
seconds = []
for _ in range(3):
    start = time.perf_counter()
    fit()
    seconds.append(time.perf_counter() - start)
print(imported - began, *seconds)
"""

ESTIMATOR = """\
def fit():
    MLPRegressor(hidden_layer_sizes=(64, 64), batch_size=32, max_iter=1, random_state=0).fit(X, y)
"""

TRACED = """\
def fit():
    net = nn.Sequential(
        nn.Linear(10, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 64), nn.Tanh(),
        nn.Dropout(0.1), nn.Linear(64, 1),
    )
    rows, targets = torch.from_numpy(X), torch.from_numpy(y)[:, None]
    step = trace_step(
        [net], SquaredError(), 1, example=rows[:64], dtype=torch.float32, device="cpu"
    )
    replica = Replica(
        np.arange(len(X)), np.random.RandomState(0), dropout=step.drop_rates, max_epochs=1
    )
    settings = Settings(Adam(), make_schedule("constant"), 32)
    train(step, rows, targets, [replica], settings)
    assert step.fallback_reason is None, step.fallback_reason
"""


@dataclass(frozen=True)
class Subject:
    """What is fitted, and how many seconds its first fit may take over the second."""

    imports: str
    definitions: str
    bar: float
    needs: str = "thetalearn"


SUBJECTS = {
    "MLPRegressor": Subject(
        "import torch, sklearn.base\nfrom thetalearn import MLPRegressor", ESTIMATOR, 0.3
    ),
    "traced module": Subject(
        "import torch, sklearn.base\n"
        "from torch import nn\n"
        "from thetalearn.objectives.losses import SquaredError\n"
        "from thetalearn.solvers.gradient.optimizers import Adam\n"
        "from thetalearn.solvers.gradient.schedules import make_schedule\n"
        "from thetalearn.solvers.gradient.traced import trace_step\n"
        "from thetalearn.solvers.gradient.train import train\n"
        "from thetalearn.solvers.gradient.trainer import Replica, Settings",
        TRACED,
        2.0,
        "thetalearn.solvers.gradient.traced",
    ),
}


def run_once(subject: Subject) -> list[float]:
    """Seconds of the imports and of the fits."""
    program = PROGRAM.format(imports=subject.imports, definitions=subject.definitions)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [float(number) for number in done.stdout.split()]


def main() -> None:
    chosen = read_command_line(rounds=5)
    present = {name: each for name, each in SUBJECTS.items() if find_spec(each.needs)}
    for name in SUBJECTS.keys() - present.keys():
        print(f"{name}: skipped, as there is no {SUBJECTS[name].needs}")
    readings: dict[str, list[list[float]]] = {name: [] for name in present}
    disturbance = []
    for _ in range(chosen.rounds):
        for name, subject in present.items():
            reading, share = undisturbed(lambda s=subject: run_once(s), chosen.patience)
            readings[name].append(reading)
            disturbance.append(share)
    rows = []
    for name, subject in present.items():
        imports, first, second, third = (
            f"{1e3 * median(column):.4g}" for column in zip(*readings[name], strict=True)
        )
        over = median(reading[1] - reading[2] for reading in readings[name])
        met = "met" if over < subject.bar else "MISSED"
        rows.append(
            [
                name,
                imports,
                first,
                second,
                third,
                f"{1e3 * over:.4g}",
                f"{met} (less than {1e3 * subject.bar:g} ms)",
            ]
        )
    print_table(
        "The first fit of a process; imports are those of torch, scikit-learn and thetalearn",
        [
            "subject",
            "imports, ms",
            "first fit, ms",
            "second, ms",
            "third, ms",
            "first less second, ms",
            "bar",
        ],
        rows,
        [Race({name: [r[1] for r in rs] for name, rs in readings.items()}, {}, disturbance)],
    )


if __name__ == "__main__":
    main()
