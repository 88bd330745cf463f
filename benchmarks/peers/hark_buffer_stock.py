"""HARK on an infinite-horizon buffer-stock problem: seconds and off-grid Euler errors, as JSON.

Run by an interpreter of its own, with one line of JSON on standard output::

    python3 -m venv hark && hark/bin/pip install "econ-ark==0.17.*"
    OMP_NUM_THREADS=1 hark/bin/python hark_buffer_stock.py --points 48 --cubic

The consumer maximises the expected sum of (β s)^t c^(1-γ) / (1-γ), β discount and s survival.
All is in units of permanent income: m is cash on hand, c(m) consumption, a = m - c >= 0 what is
saved, and m' = R a / p + y, with p the permanent and y the transitory shock. Off the constraint

    c(m)^-γ = β s R E[(p c(m'))^-γ],        error = |(β s R E[(p c(m'))^-γ])^(-1/γ) / c(m) - 1|.

HARK's own nodes and probabilities of (p, y) are printed, and the expectation in the error is taken
over them, so a peer that uses them solves the same problem. Source of the method: C. Carroll,
The Method of Endogenous Gridpoints, Economics Letters 91 (2006).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib.metadata import version
from statistics import median

import numpy as np
from HARK.ConsumptionSaving.ConsIndShockModel import IndShockConsumerType

#: HARK's defaults, except no growth and a survival probability of one.
PARAMETERS = {
    "cycles": 0,
    "CRRA": 2.0,
    "DiscFac": 0.96,
    "Rfree": [1.03],
    "PermGroFac": [1.0],
    "BoroCnstArt": 0.0,
    "vFuncBool": False,
    "PermShkStd": [0.1],
    "PermShkCount": 7,
    "TranShkStd": [0.1],
    "TranShkCount": 7,
    "UnempPrb": 0.05,
    "IncUnemp": 0.3,
    "aXtraMin": 0.001,
    "aXtraMax": 20.0,
    "aXtraNestFac": 3,
}

#: The cash on hand at which errors are measured.
LOWEST, HIGHEST, TESTS = 0.5, 15.0, 20_001

#: What counts as saving nothing.
BINDING = 1e-6


def make_consumer(chosen: argparse.Namespace) -> IndShockConsumerType:
    consumer = IndShockConsumerType(
        **PARAMETERS,
        LivPrb=[chosen.survival],
        aXtraCount=chosen.points,
        CubicBool=chosen.cubic,
    )
    consumer.tolerance = chosen.tolerance
    return consumer


def solve(chosen: argparse.Namespace) -> tuple[float, IndShockConsumerType]:
    """Seconds of the solution alone, and the solved consumer."""
    consumer = make_consumer(chosen)
    start = time.perf_counter()
    consumer.solve()
    return time.perf_counter() - start, consumer


def euler_errors(consumer: IndShockConsumerType) -> tuple[np.ndarray, np.ndarray]:
    """Unconstrained cash on hand, and the unit-free error of consumption there."""
    consumption = consumer.solution[0].cFunc
    income = consumer.IncShkDstn[0]
    permanent, transitory = income.atoms
    gamma, interest = consumer.CRRA, consumer.Rfree[0]
    discount = consumer.DiscFac * consumer.LivPrb[0]
    m = np.linspace(LOWEST, HIGHEST, TESTS)
    c = consumption(m)
    free = c < m - BINDING
    m, c = m[free], c[free]
    m_next = interest * (m - c)[:, None] / permanent + transitory
    marginal = (permanent * consumption(m_next)) ** -gamma @ income.pmv
    return m, np.abs((discount * interest * marginal) ** (-1 / gamma) / c - 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=48, help="grid points of assets")
    parser.add_argument("--cubic", action="store_true", help="cubic, not linear, interpolation")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="HARK's own default is 1e-6")
    parser.add_argument("--survival", type=float, default=1.0, help="HARK's own default is 0.98")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()

    cold, _ = solve(chosen)
    runs = [solve(chosen) for _ in range(chosen.rounds)]
    seconds, consumers = zip(*runs, strict=True)
    consumer = consumers[-1]
    m, errors = euler_errors(consumer)
    income = consumer.IncShkDstn[0]
    sample = np.linspace(LOWEST, HIGHEST, 59)
    report = {
        "peer": f"econ-ark {version('econ-ark')}, Python {platform.python_version()}",
        "chosen": vars(chosen),
        "parameters": PARAMETERS | {"LivPrb": [chosen.survival]},
        "cold_seconds": cold,
        "seconds": seconds,
        "median_seconds": median(seconds),
        "iterations": consumer.completed_cycles,
        "distance": float(consumer.solution_distance),
        "errors": {
            "mean_log10": float(np.log10(errors.mean())),
            "max_log10": float(np.log10(errors.max())),
            "max_at": float(m[errors.argmax()]),
            "unconstrained": [float(m[0]), float(m[-1])],
            "points": int(m.size),
        },
        "income": {
            "permanent": income.atoms[0].tolist(),
            "transitory": income.atoms[1].tolist(),
            "probabilities": income.pmv.tolist(),
        },
        "policy": {"m": sample.tolist(), "c": consumer.solution[0].cFunc(sample).tolist()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
