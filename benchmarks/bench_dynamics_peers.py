"""Dynamic models against HARK, dolo and QuantEcon, each in an interpreter of its own.

The interpreters are named by environment variables (see ``peers/README.md``); a peer without one is
left out. All use one thread. Our readings are taken half before and half after those of the peer,
with a first fit of the process left out, as is the first solution of the peer; the cold times are
those first ones, which hold what is compiled or imported late. Errors of both are the peer driver's
own measure, at the same states.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _harness import (
    Options,
    Race,
    Ratio,
    fresh,
    print_table,
    read_command_line,
    undisturbed,
    verdict,
)
from torch import Tensor

PEERS = Path(__file__).parent / "peers"
#: HARK's time over ours, at least, at a smaller maximal error.
THAN_HARK = 2.0
#: dolo's time over ours, at least, and digits more.
THAN_DOLO, DIGITS = 50.0, 2.0
METHODS = ("time_iteration", "improved_time_iteration")
#: Largest difference of policies, in log10, at which both count as solutions of the same model.
SAME = -2.5


@dataclass
class Ours:
    """An estimator that was fitted repeatedly: seconds of the first fit and of later ones."""

    estimator: Any
    cold: float
    seconds: list[float]


def first_fit(make: Callable[[], Any], X: Any = None) -> Ours:
    estimator, taken = fit(make, X)
    return Ours(estimator, taken, [])


def fit(make: Callable[[], Any], X: Any = None) -> tuple[Any, float]:
    estimator = make()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X)
    return estimator, time.perf_counter() - start


def run_driver(variable: str, script: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What a peer's driver reports."""
    command = [os.environ[variable], str(PEERS / script), *arguments]
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def alternate(
    makes: dict[str, Callable[[], Any]], driver: Callable[[], dict[str, Any]], chosen: Options
) -> tuple[dict[str, Ours], dict[str, Any], Race]:
    """Our readings, the peer's, and ours again."""
    ours = {name: first_fit(make) for name, make in makes.items()}
    disturbance = []

    def read() -> None:
        for _ in range(-(-chosen.rounds // 2)):
            for name, make in makes.items():
                (_, taken), share = undisturbed(lambda make=make: fit(make), chosen.patience)
                ours[name].seconds.append(taken)
                disturbance.append(share)

    read()
    report, share = undisturbed(driver, 0.0)
    disturbance.append(share)
    read()
    seconds = {name: each.seconds for name, each in ours.items()}
    return ours, report, Race({**seconds, "peer": report["seconds"]}, {}, disturbance)


def times_faster(peer: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Ratio of the medians, and of the extremes, which are not paired."""
    return Ratio(median(peer) / median(ours), min(peer) / max(ours), max(peer) / min(ours))


def milliseconds(seconds: Sequence[float]) -> str:
    return f"{1e3 * median(seconds):.4g}"


def log10s(errors: np.ndarray) -> tuple[float, float]:
    """log10 of mean and maximum."""
    return float(np.log10(errors.mean())), float(np.log10(errors.max()))


def two_digits(numbers: Sequence[float]) -> list[str]:
    return [f"{number:.2f}" for number in numbers]


# HARK


def hark_errors(policy: Callable[[np.ndarray], np.ndarray], report: dict[str, Any]) -> np.ndarray:
    """The driver's consumption errors of a policy, with HARK's own shocks."""
    income = {name: np.array(values) for name, values in report["income"].items()}
    given = report["parameters"]
    gamma, interest = given["CRRA"], given["Rfree"][0]
    discount = given["DiscFac"] * given["LivPrb"][0]
    m = np.linspace(0.5, 15.0, 20_001)
    c = policy(m)
    free = c < m - 1e-6
    m, c = m[free], c[free]
    later = interest * (m - c)[:, None] / income["permanent"] + income["transitory"]
    c_later = policy(later.ravel()).reshape(later.shape)
    marginal = (income["permanent"] * c_later) ** -gamma @ income["probabilities"]
    return np.abs((discount * interest * marginal) ** (-1 / gamma) / c - 1)


def compare_hark(chosen: Options) -> tuple[list[list[Any]], list[Race]]:
    from thetalearn import EulerApproximator
    from thetalearn.dynamics.models import make_buffer_stock

    model = make_buffer_stock(survival=1.0)
    makes = {
        "splines, 40 knots and kinks": lambda: EulerApproximator(
            model, basis="bspline", knots=40, kinks="auto"
        ),
        "endogenous grid, 300 knots": lambda: EulerApproximator(
            model, basis="bspline", knots=300, solver="fixed_point"
        ),
    }
    rows, races = [], []
    for points, cubic in ((48, False), (48, True), (200, False), (200, True)):
        arguments = ["--points", str(points), *["--cubic"] * cubic, "--rounds", str(chosen.rounds)]
        ours, report, timed = alternate(
            makes,
            lambda a=arguments: run_driver("THETALEARN_PEER_HARK", "hark_buffer_stock.py", a),
            chosen,
        )
        races.append(timed)
        theirs = [report["errors"][f"{which}_log10"] for which in ("mean", "max")]
        for name, each in ours.items():
            errors = log10s(hark_errors(lambda m, e=each.estimator: e.policy(m[:, None]), report))
            check_same_hark(each.estimator, report)
            ratio = times_faster(report["seconds"], each.seconds)
            better = "smaller" if errors[1] < theirs[1] else "LARGER"
            rows.append(
                [
                    f"{points} nodes, {'cubic' if cubic else 'linear'}",
                    milliseconds(report["seconds"]),
                    *two_digits(theirs),
                    name,
                    milliseconds(each.seconds),
                    *two_digits(errors),
                    ratio,
                    f"{verdict(ratio.middle, THAN_HARK)}, error {better}",
                ]
            )
    return rows, races


def check_same_hark(estimator: Any, report: dict[str, Any]) -> None:
    """Whether both solve the same model: their consumption is nearly the same."""
    m, c = np.array(report["policy"]["m"]), np.array(report["policy"]["c"])
    apart = np.abs(estimator.policy(m[:, None]) / c - 1).max()
    assert np.log10(apart) < SAME, apart


# dolo


def dolo_errors(estimator: Any, report: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The driver's errors of consumption and labour, at its states and with its shocks."""
    p, shocks = report["parameters"], report["shocks"]
    reach = [2 * p["sig_z"] / np.sqrt(1 - p["rho"] ** 2), 0.5 * p["k"]]
    z, k = (
        np.array([0.0, p["k"]]) + reach * np.random.RandomState(0).uniform(-1, 1, (10_000, 2))
    ).T

    def at(z: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, ...]:
        c, n = estimator.policy(np.column_stack([k, z])).T
        y = np.exp(z) * k ** p["alpha"] * n ** (1 - p["alpha"])
        return c, n, y, p["alpha"] * y / k, (1 - p["alpha"]) * y / n

    c, n, y, _, wage = at(z, k)
    later = (1 - p["delta"]) * k + y - c
    marginal = 0.0
    for shock, probability in zip(shocks["nodes"], shocks["probabilities"], strict=True):
        c_later, _, _, interest, _ = at(p["rho"] * z + shock, later)
        marginal = marginal + probability * c_later ** -p["sigma"] * (1 - p["delta"] + interest)
    euler = np.abs((p["beta"] * marginal) ** (-1 / p["sigma"]) / c - 1)
    labour = (wage / (p["chi"] * c ** p["sigma"])) ** (1 / p["eta"])
    return euler, np.abs(labour / n - 1)


def compare_dolo(chosen: Options) -> tuple[list[list[Any]], list[Race]]:
    # One process for each, because a second first fit is not a cold one.
    parts = [fresh(race_dolo, method, chosen, threads=1) for method in METHODS]
    return [row for rows, _ in parts for row in rows], [timed for _, timed in parts]


def race_dolo(method: str, chosen: Options) -> tuple[list[list[Any]], Race]:
    from thetalearn import EulerApproximator
    from thetalearn.dynamics.models import make_rbc_labour

    # Its productivity is the same AR(1), of which dolo keeps the state and draws the innovation.
    model = make_rbc_labour()
    # The first of these alone has a cold fit.
    makes = {
        f"Chebyshev, degree {degree}": lambda degree=degree: EulerApproximator(
            model, degree=degree, n_integration_nodes=5
        )
        for degree in (7, [5, 4])
    }
    arguments = ["--method", method, "--rounds", str(chosen.rounds)]
    ours, report, timed = alternate(
        makes,
        lambda: run_driver("THETALEARN_PEER_DOLO", "dolo_growth.py", arguments),
        chosen,
    )
    box = report["errors"]["box"]
    kinds, measures = ("euler", "labour"), ("mean", "max")
    theirs = [box[f"{kind}_{which}_log10"] for kind in kinds for which in measures]
    rows = []
    for i, (name, each) in enumerate(ours.items()):
        check_same_dolo(each.estimator, report)
        errors = [x for kind in dolo_errors(each.estimator, report) for x in log10s(kind)]
        digits = round(min(b - a for a, b in zip(errors, theirs, strict=True)), 2)
        readings = {"cold": ([report["cold_seconds"]], [each.cold])} if i == 0 else {}
        readings["warm"] = report["seconds"], each.seconds
        for temper, (peer, mine) in readings.items():
            ratio = times_faster(peer, mine)
            rows.append(
                [
                    f"{method}, {temper}",
                    milliseconds(peer),
                    *two_digits(theirs),
                    name,
                    milliseconds(mine),
                    *two_digits(errors),
                    ratio,
                    verdict(ratio.middle, THAN_DOLO),
                    f"{digits:.2f}: {verdict(digits, DIGITS)}",
                ]
            )
    return rows, timed


def check_same_dolo(estimator: Any, report: dict[str, Any]) -> None:
    """Whether both solve the same model: their labour is nearly the same."""
    states = np.array(report["policy"]["states"])
    labour = np.array(report["policy"]["controls"])[:, 0]
    apart = np.abs(estimator.policy(states[:, ::-1])[:, 1] / labour - 1).max()
    assert np.log10(apart) < SAME, apart


# QuantEcon


ALPHA, BETA = 0.4, 0.96


def log_consumption(s: Tensor, a: Tensor) -> Tensor:
    return a[:, 0].log()


def what_is_left(s: Tensor, a: Tensor, e: Tensor, alpha: float) -> Tensor:
    return s**alpha - a


def all_output(s: Tensor, alpha: float) -> tuple[float, Tensor]:
    return 0.0, s**alpha


def growth_model(ends: Sequence[float]) -> Any:
    from thetalearn.dynamics import DynamicModel

    return DynamicModel(
        reward=log_consumption,
        transition=what_is_left,
        discount=BETA,
        state_bounds=[ends],
        action_bounds=all_output,
        params={"alpha": ALPHA},
    )


def growth_errors(estimator: Any, ends: Sequence[float]) -> list[str]:
    """Largest error of the value, and log10 of the mean and largest of the next state."""
    k = np.linspace(*ends, 2001)
    saved = ALPHA * BETA
    constant = np.log(1 - saved) + saved / (1 - saved) * np.log(saved)
    value = constant / (1 - BETA) + ALPHA / (1 - saved) * np.log(k)
    off = np.abs(estimator.value(k[:, None]) - value).max()
    policy = np.abs((k**ALPHA - estimator.policy(k[:, None])) / (saved * k**ALPHA) - 1)
    return [f"{off:.1e}", *two_digits(log10s(policy))]


def compare_growth(chosen: Options) -> tuple[list[list[Any]], list[Race]]:
    from thetalearn import BellmanApproximator

    steady = (ALPHA * BETA) ** (1 / (1 - ALPHA))
    ends = (0.5 * steady, 1.5 * steady)
    model = growth_model(ends)
    makes = {
        f"Chebyshev, degree {degree}": lambda degree=degree: BellmanApproximator(
            model, degree=degree
        )
        for degree in (10, 15)
    }
    ours, report, timed = alternate(
        makes,
        lambda: run_driver(
            "THETALEARN_PEER_QUANTECON",
            "quantecon_lq.py",
            ["growth", "--rounds", str(chosen.rounds)],
        ),
        chosen,
    )
    assert np.allclose(report["range"], ends)
    errors = report["errors"]
    theirs = [
        f"{errors['value_max']:.1e}",
        *two_digits([errors["policy_mean_log10"], errors["policy_max_log10"]]),
    ]
    rows = [
        [
            "DiscreteDP, 500 x 500",
            milliseconds(report["seconds"]),
            *theirs,
            name,
            milliseconds(each.seconds),
            *growth_errors(each.estimator, ends),
            times_faster(report["seconds"], each.seconds),
        ]
        for name, each in ours.items()
    ]
    return rows, [timed]


def portable_matrices(d: int) -> tuple[np.ndarray, np.ndarray]:
    """A and B of the driver's regulator."""
    rng = np.random.RandomState(0)
    orthogonal, triangular = np.linalg.qr(rng.standard_normal((d, d)))
    orthogonal *= np.sign(np.diag(triangular))
    return 0.95 * orthogonal, rng.standard_normal((d, d // 2)) / np.sqrt(d)


def compare_regulators(chosen: Options) -> tuple[list[list[Any]], list[Race]]:
    from thetalearn import BellmanApproximator
    from thetalearn.dynamics.models import make_linear_quadratic

    rows, races = [], []
    for d in (10, 100):
        a, b = portable_matrices(d)
        model = make_linear_quadratic(A=a, B=b, C=0.1 * np.eye(d), beta=0.95)
        makes = {
            "monomials of degree 2": lambda model=model: BellmanApproximator(
                model, basis="monomial", degree=2, integration="monomial1"
            )
        }
        # With 100 states there are 5,151 coefficients, which the driver's solver does not need.
        arguments = ["lq", "--states", str(d), "--rounds", str(chosen.rounds)]
        ours, report, timed = alternate(
            makes if d <= 10 else {},
            lambda arguments=arguments: run_driver(
                "THETALEARN_PEER_QUANTECON", "quantecon_lq.py", arguments
            ),
            chosen,
        )
        races.append(timed)
        origin = model.exact("value")(torch.zeros(1, d, dtype=torch.float64))
        assert np.isclose(-float(origin), report["constant"])
        row = [f"LQ, {d} states", milliseconds(report["seconds"])]
        row += [f"{report['errors'][what]:.1e}" for what in ("riccati", "policy")]
        if not ours:
            rows.append([*row, "-", "-", "-", "-", "-"])
        for name, each in ours.items():
            X = np.random.RandomState(0).uniform(-1, 1, (1000, d))
            errors = [
                np.abs(getattr(each.estimator, which)(X) - exact).max() / np.abs(exact).max()
                for which in ("value", "policy")
                for exact in [each.estimator.exact(which, X)]
            ]
            ratio = times_faster(report["seconds"], each.seconds)
            said = [f"{error:.1e}" for error in errors]
            times = f"{ratio.middle:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]"
            rows.append([*row, name, milliseconds(each.seconds), *said, times])
    return rows, races


def main() -> None:
    chosen = read_command_line(rounds=2)
    log10 = ["log10 mean", "log10 max"]
    four = ["Euler mean", "max", "labour mean", "max"]
    comparisons = [
        (
            "THETALEARN_PEER_HARK",
            compare_hark,
            "Buffer-stock saving of HARK, 56 shocks: log10 of the consumption error, m in [.5, 15]",
            ["HARK", "ms", *log10, "ours", "ms", *log10, "times faster [min, max]", "bar"],
        ),
        (
            "THETALEARN_PEER_DOLO",
            compare_dolo,
            "Growth with labour of dolo, grid 5 x 50: log10 of its errors in the box",
            ["dolo", "ms", *four, "ours", "ms", *four, "times faster [min, max]", "bar", "digits"],
        ),
        (
            "THETALEARN_PEER_QUANTECON",
            compare_growth,
            "Growth with a closed form: largest error of the value, log10 errors of capital",
            ["QuantEcon", "ms", "value", *log10, "ours", "ms", "value", *log10, "times faster"],
        ),
        (
            "THETALEARN_PEER_QUANTECON",
            compare_regulators,
            "Linear-quadratic control: a Riccati solver against a quadratic value function",
            [
                "QuantEcon",
                "ms",
                "Riccati",
                "policy",
                "ours",
                "ms",
                "value",
                "policy",
                "times faster",
            ],
        ),
    ]
    for variable, compare, title, header in comparisons:
        if not os.environ.get(variable):
            print(f"{compare.__name__}: left out, as {variable} is not set\n")
            continue
        rows, races = fresh(compare, chosen, threads=1)
        print_table(title, header, rows, races)


if __name__ == "__main__":
    main()
