"""Time of importing the package, against importing scikit-learn; each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

from _harness import Race, print_table, read_command_line, undisturbed

SECONDS = 0.2
STATEMENTS = {
    "thetalearn": "import thetalearn",
    "sklearn": "import sklearn",
    "first estimator": "from thetalearn import ChebyshevRegressor",
    "torch and sklearn.linear_model": "import torch, sklearn.linear_model",
}
PROGRAM = """\
import sys, time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start, "torch" in sys.modules)
"""


def import_once(statement: str) -> tuple[float, bool]:
    """Seconds, and whether torch was imported."""
    program = PROGRAM.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    seconds, with_torch = done.stdout.split()
    return float(seconds), with_torch == b"True"


def main() -> None:
    chosen = read_command_line(rounds=15)
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    with_torch = {name: import_once(s)[1] for name, s in STATEMENTS.items()}
    assert not with_torch["thetalearn"]
    disturbance = []
    for _ in range(chosen.rounds):
        for name, statement in STATEMENTS.items():
            (taken, _), share = undisturbed(lambda s=statement: import_once(s), chosen.patience)
            seconds[name].append(taken)
            disturbance.append(share)
    timed = Race(seconds, {}, disturbance)
    whole = float(timed.milliseconds("thetalearn")) / 1e3
    rows = []
    for ours, peer in (
        ("thetalearn", "sklearn"),
        ("first estimator", "torch and sklearn.linear_model"),
    ):
        met = "met" if whole < SECONDS else "MISSED"
        rows.append(
            [
                STATEMENTS[ours],
                STATEMENTS[peer],
                timed.milliseconds(ours),
                timed.milliseconds(peer),
                timed.ratio(ours, to=peer),
                "yes" if with_torch[ours] else "no",
                f"{met} (less than {1e3 * SECONDS:g} ms)" if ours == "thetalearn" else "",
            ]
        )
    print_table(
        "Imports in fresh interpreters",
        ["statement", "peer", "ours, ms", "peer, ms", "ratio [min, max]", "imports torch", "bar"],
        rows,
        [timed],
    )


if __name__ == "__main__":
    main()
