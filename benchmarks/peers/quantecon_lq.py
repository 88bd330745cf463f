"""QuantEcon on linear-quadratic control and on a discretised growth model, as JSON.

Run by an interpreter of its own, with one line of JSON on standard output::

    python3 -m venv quantecon && quantecon/bin/pip install "quantecon==0.11.*"
    OMP_NUM_THREADS=1 quantecon/bin/python quantecon_lq.py lq --states 100
    OMP_NUM_THREADS=1 quantecon/bin/python quantecon_lq.py growth --states 500

``lq``: minimise E sum β^t (x'Qx + u'Ru), x' = A x + B u + C w, β = .95, Q and R identities,
C = .1 I, and half as many controls as states. With rng = RandomState(0), A = .95 H, H the
orthogonal factor of rng.standard_normal((d, d)) whose triangular factor has a positive diagonal,
and then B = rng.standard_normal((d, d / 2)) / d^½. Errors are the largest residual of the Riccati
equation

    P = Q + β A'PA - β² A'PB (R + β B'PB)^-1 B'PA

relative to P, and the distance to SciPy's solve_discrete_are at (β^½ A, β^½ B).

``growth``: u = ln c, k' = k^.4 - c, discount .96, no shocks, known to be c = (1 - .4 x .96) k^.4.
``DiscreteDP`` chooses k' on the grid of the states, equally spaced over [.5, 1.5] times the steady
state, by policy iteration over feasible pairs with a sparse transition matrix, which is much faster
than its dense table of n x n x n. The value error is the largest distance to the closed form,
the policy error that of k' relative to it. Seconds include making the DiscreteDP, but not its
tables.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
import quantecon as qe
from scipy.linalg import solve_discrete_are
from scipy.sparse import csr_matrix

BETA_LQ = 0.95
ALPHA, BETA = 0.4, 0.96


def lq_matrices(d: int) -> tuple[np.ndarray, np.ndarray]:
    """A and B of the linear-quadratic problem of d states."""
    rng = np.random.RandomState(0)
    orthogonal, triangular = np.linalg.qr(rng.standard_normal((d, d)))
    # The signs that LAPACK chooses differ between its versions.
    orthogonal *= np.sign(np.diag(triangular))
    return 0.95 * orthogonal, rng.standard_normal((d, d // 2)) / np.sqrt(d)


def timed(solve: Callable[[], Any], rounds: int) -> tuple[Any, dict[str, Any]]:
    """What solve returns, and the seconds of the first and of the later calls."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        result = solve()
        seconds.append(time.perf_counter() - start)
    warm = seconds[1:]
    return result, {"cold_seconds": seconds[0], "seconds": warm, "median_seconds": median(warm)}


def lq(d: int, rounds: int) -> dict[str, Any]:
    a, b = lq_matrices(d)
    q, r = np.eye(d), np.eye(d // 2)

    # QuantEcon calls the cost of the state R and that of the control Q.
    def peer() -> tuple[np.ndarray, np.ndarray, float]:
        return qe.LQ(r, q, a, b, C=0.1 * np.eye(d), beta=BETA_LQ).stationary_values()

    (p, f, constant), times = timed(peer, rounds)
    root = np.sqrt(BETA_LQ)
    exact, scipy_times = timed(lambda: solve_discrete_are(root * a, root * b, q, r), rounds)
    gain = np.linalg.solve(r + BETA_LQ * b.T @ p @ b, BETA_LQ * b.T @ p @ a)
    riccati = q + BETA_LQ * a.T @ p @ (a - b @ gain) - p
    return {
        **times,
        "scipy_median_seconds": scipy_times["median_seconds"],
        "trace": float(np.trace(p)),
        "constant": float(constant),
        "errors": {
            "riccati": float(np.abs(riccati).max() / np.abs(p).max()),
            "policy": float(np.abs(f - gain).max()),
            "to_scipy": float(np.abs(p - exact).max() / np.abs(exact).max()),
        },
    }


def growth(n: int, rounds: int) -> dict[str, Any]:
    steady = (ALPHA * BETA) ** (1 / (1 - ALPHA))
    k = np.linspace(0.5 * steady, 1.5 * steady, n)
    consumption = k[:, None] ** ALPHA - k
    now, later = np.nonzero(consumption > 0)
    rewards = np.log(consumption[now, later])
    shape = (now.size, n)
    transitions = csr_matrix((np.ones(now.size), (np.arange(now.size), later)), shape=shape)

    def peer() -> Any:
        problem = qe.markov.DiscreteDP(rewards, transitions, BETA, now, later)
        return problem.solve(method="policy_iteration")

    result, times = timed(peer, rounds)
    saved = ALPHA * BETA
    constant = np.log(1 - saved) + saved / (1 - saved) * np.log(saved)
    value = constant / (1 - BETA) + ALPHA / (1 - saved) * np.log(k)
    errors = np.abs(result.v - value)
    policy = np.abs(k[result.sigma] / (saved * k**ALPHA) - 1)
    return {
        **times,
        "iterations": int(result.num_iter),
        "range": [float(k[0]), float(k[-1])],
        "errors": {
            "value_max": float(errors.max()),
            "policy_mean_log10": float(np.log10(policy.mean())),
            "policy_max_log10": float(np.log10(policy.max())),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("problem", choices=("lq", "growth"))
    parser.add_argument("--states", type=int, help="default 10 for lq and 500 for growth")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    problems = {"lq": (lq, 10), "growth": (growth, 500)}
    solve, n_states = problems[chosen.problem]
    chosen.states = chosen.states or n_states
    report = {
        "peer": f"quantecon {version('quantecon')}, Python {platform.python_version()}",
        "chosen": vars(chosen),
        **solve(chosen.states, chosen.rounds),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
