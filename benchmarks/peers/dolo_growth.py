"""dolo on the growth model of its own examples: seconds and off-grid Euler errors, as JSON.

Run by an interpreter of its own (dolo needs NumPy 1 and QuantEcon 0.7), with one line of JSON on
standard output::

    python3 -m venv dolo && dolo/bin/pip install "dolo==0.4.9.20"
    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 dolo/bin/python dolo_growth.py --method time_iteration

dolo compiles a model's equations to run on all of numba's threads. On a processor that others use
too this can cost more than tenfold, so give it one thread, or a machine of its own.

States z, k; controls n (labour), i (investment)::

    y = exp(z) k^α n^(1-α)    c = y - i    r = α y / k    w = (1-α) y / n
    z' = ρ z + σ_z e          k' = (1-δ) k + i
    χ n^η c^σ = w                          (n >= 0)
    1 = β E[(c / c')^σ (1 - δ + r')]       (i >= 0)

    α .33  β .99  δ .025  σ 5  η 1  ρ .8  σ_z .016, χ such that n = .33 in the steady state
    z in ±2 σ_z / (1 - ρ²)^½,  k in [.5, 1.5] times its steady state

``--shock iid`` keeps z continuous and takes expectations at five Gauss-Hermite nodes of e: model
rbc_iid of dolo's examples. ``--shock chain`` replaces z by dolo's Markov chain of three states:
rbc_ar1. Errors are unit free: |(β E[c'^-σ (1 - δ + r')])^(-1/σ) / c - 1| of consumption in the
Euler equation, and |(w / (χ c^σ))^(1/η) / n - 1| of labour. Expectations in them are taken at the
nodes of the solver itself, and, for ``iid``, also at fifteen Gauss-Hermite nodes. The simulated
path leaves the box of z one time in twenty, and dolo extrapolates there.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from numba import get_num_threads

warnings.filterwarnings("ignore")

import dolo  # noqa: E402  (it warns while it is imported)

METHODS = ("time_iteration", "improved_time_iteration")

#: Uniform test states, and the length of the path, of which the first tenth is dropped.
TESTS, PERIODS = 10_000, 10_000

COMMON = """
symbols:
  exogenous: [{exogenous}]
  states: [{states}]
  controls: [n, i]
  parameters: [alpha, beta, delta, sigma, eta, chi, rho, sig_z]
definitions:
  y[t]: exp(z[t])*k[t]^alpha*n[t]^(1-alpha)
  c[t]: y[t] - i[t]
  r[t]: alpha*y[t]/k[t]
  w[t]: (1-alpha)*y[t]/n[t]
equations:
  arbitrage:
    - chi*n[t]^eta*c[t]^sigma - w[t]                   ⟂ 0.0 <= n[t] <= inf
    - 1 - beta*(c[t]/c[t+1])^sigma*(1-delta+r[t+1])    ⟂ 0.0 <= i[t] <= inf
  transition:
{transition}
    - k[t] = (1-delta)*k[t-1] + i[t-1]
calibration:
  alpha: 0.33
  beta: 0.99
  delta: 0.025
  sigma: 5
  eta: 1
  rho: 0.8
  sig_z: 0.016
  z: 0
  e: 0
  n: 0.33
  r: 1/beta - 1 + delta
  k: n*(r/alpha)^(1/(alpha-1))
  y: k^alpha*n^(1-alpha)
  i: delta*k
  c: y - i
  w: (1-alpha)*y/n
  chi: w/c^sigma/n^eta
"""

IID = """
exogenous: !Normal
  Sigma: [[sig_z^2]]
domain:
  z: [-2*sig_z/(1-rho^2)^0.5, 2*sig_z/(1-rho^2)^0.5]
  k: [k*0.5, k*1.5]
options:
  grid: !Cartesian
    n: [{z_points}, {k_points}]
"""

CHAIN = """
exogenous: !VAR1
  rho: 0.8
  Sigma: [[sig_z^2]]
domain:
  k: [k*0.5, k*1.5]
options:
  grid: !Cartesian
    n: [{k_points}]
"""


def model_text(chosen: argparse.Namespace) -> str:
    if chosen.shock == "iid":
        law = "    - z[t] = rho*z[t-1] + e[t]"
        return COMMON.format(exogenous="e", states="z, k", transition=law) + IID.format(
            z_points=chosen.grid[0], k_points=chosen.grid[1]
        )
    text = COMMON.format(exogenous="z", states="k", transition="")
    return text + CHAIN.format(k_points=chosen.grid[-1])


def read_model(text: str) -> dolo.compiler.model.Model:
    """The model of a text, through a file, because dolo reads nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "growth.yaml")
        path.write_text(text, encoding="utf-8")
        return dolo.yaml_import(str(path))


class Economy:
    """The model's equations again, in NumPy, to measure errors without the solver's own code."""

    def __init__(self, model: dolo.compiler.model.Model) -> None:
        names = ("alpha", "beta", "delta", "sigma", "eta", "chi", "rho", "sig_z", "k")
        self.parameters = {name: float(model.calibration[name]) for name in names}
        self.__dict__.update(self.parameters)

    def measures(
        self, z: np.ndarray, k: np.ndarray, controls: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Consumption, the return and the wage."""
        n, i = controls[..., 0], controls[..., 1]
        y = np.exp(z) * k**self.alpha * n ** (1 - self.alpha)
        return y - i, self.alpha * y / k, (1 - self.alpha) * y / n

    def errors(self, z, k, controls, futures) -> tuple[np.ndarray, np.ndarray]:
        """Errors of consumption and labour; ``futures`` are triples (probability, z', policy)."""
        c, _, wage = self.measures(z, k, controls)
        k_next = (1 - self.delta) * k + controls[:, 1]
        marginal = 0.0
        for probability, z_next, policy in futures:
            c_next, r_next, _ = self.measures(z_next, k_next, policy(k_next))
            marginal = marginal + probability * c_next**-self.sigma * (1 - self.delta + r_next)
        euler = np.abs((self.beta * marginal) ** (-1 / self.sigma) / c - 1)
        labour = (wage / (self.chi * c**self.sigma)) ** (1 / self.eta)
        return euler, np.abs(labour / controls[:, 0] - 1)


def summary(errors: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    euler, labour = errors
    return {
        "euler_mean_log10": float(np.log10(euler.mean())),
        "euler_max_log10": float(np.log10(euler.max())),
        "labour_mean_log10": float(np.log10(labour.mean())),
        "labour_max_log10": float(np.log10(labour.max())),
    }


def hermite(n: int, scale: float) -> list[tuple[float, float]]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return list(zip(weights / weights.sum(), scale * nodes, strict=True))


def iid_errors(economy: Economy, rule, nodes) -> dict[str, dict[str, float]]:
    """Errors on the box, on its inner half, and on a simulated path."""

    def at(states: np.ndarray, rule_nodes) -> dict[str, float]:
        z, k = states.T
        futures = []
        for probability, shock in rule_nodes:
            z_next = economy.rho * z + shock

            def policy(k_next: np.ndarray, z_next: np.ndarray = z_next) -> np.ndarray:
                return rule(np.column_stack([z_next, k_next]))

            futures.append((probability, z_next, policy))
        return summary(economy.errors(z, k, rule(states), futures))

    rng = np.random.RandomState(0)
    reach = np.array([2 * economy.sig_z / np.sqrt(1 - economy.rho**2), 0.5 * economy.k])
    centre = np.array([0.0, economy.k])
    cube = rng.uniform(-1, 1, (TESTS, 2))
    path = np.empty((PERIODS, 2))
    path[0] = centre
    for t, shock in enumerate(economy.sig_z * rng.standard_normal(PERIODS - 1)):
        z, k = path[t]
        investment = rule(path[t : t + 1])[0, 1]
        path[t + 1] = economy.rho * z + shock, (1 - economy.delta) * k + investment
    path = path[PERIODS // 10 :]
    exact = hermite(15, economy.sig_z)
    return {
        "box": at(centre + reach * cube, nodes),
        "box_15_nodes": at(centre + reach * cube, exact),
        "inner_half": at(centre + reach * cube / 2, nodes),
        "inner_half_15_nodes": at(centre + reach * cube / 2, exact),
        "path_15_nodes": at(path, exact),
        "path_range": {"z": [*map(float, (path[:, 0].min(), path[:, 0].max()))]}
        | {"k": [*map(float, (path[:, 1].min(), path[:, 1].max()))]},
        "least_investment": float(rule(centre + reach * cube)[:, 1].min()),
    }


def iid_policy(economy: Economy, rule) -> dict[str, list[list[float]]]:
    """Labour and investment at a few states, to compare with another solver."""
    z, k = np.meshgrid([-0.02, 0.0, 0.02], economy.k * np.array([0.7, 0.85, 1.0, 1.15, 1.3]))
    states = np.column_stack([z.ravel(), k.ravel()])
    return {"states": states.tolist(), "controls": rule(states).tolist()}


def chain_errors(economy: Economy, rule, chain) -> dict[str, dict[str, float]]:
    """Errors at every state of the chain, uniformly in k, on the box and on its inner half."""

    def at(k: np.ndarray) -> dict[str, float]:
        parts = []
        for now in range(chain.n_nodes):
            futures = []
            for later in range(chain.n_inodes(now)):

                def policy(k_next: np.ndarray, later: int = later) -> np.ndarray:
                    return rule.eval_is(later, k_next[:, None])

                z_next = float(chain.inode(now, later)[0])
                futures.append((chain.iweight(now, later), z_next, policy))
            controls = rule.eval_is(now, k[:, None])
            parts.append(economy.errors(float(chain.node(now)[0]), k, controls, futures))
        euler, labour = (np.concatenate(part) for part in zip(*parts, strict=True))
        return summary((euler, labour))

    unit = np.random.RandomState(0).uniform(-1, 1, TESTS // 3)
    return {
        "box": at(economy.k * (1 + unit / 2)),
        "inner_half": at(economy.k * (1 + unit / 4)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", choices=METHODS, default=METHODS[1])
    parser.add_argument("--shock", choices=("iid", "chain"), default="iid")
    parser.add_argument("--grid", type=int, nargs="+", help="points of z, k; default 5 50, or 20")
    parser.add_argument("--tolerance", type=float, help="default dolo's own, 1e-6 and 1e-8")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    chosen.grid = chosen.grid or {"iid": [5, 50], "chain": [20]}[chosen.shock]
    if len(chosen.grid) != {"iid": 2, "chain": 1}[chosen.shock]:
        parser.error("--grid needs two numbers for --shock iid and one for --shock chain")

    settings = {} if chosen.tolerance is None else {"tol": chosen.tolerance}
    model = read_model(model_text(chosen))
    solver = getattr(dolo, chosen.method)

    def solve() -> tuple[float, object]:
        start = time.perf_counter()
        solution = solver(model, verbose=False, **settings)
        return time.perf_counter() - start, solution

    cold, solution = solve()
    seconds = [solve()[0] for _ in range(chosen.rounds)]
    process = model.discretize()[1]
    economy = Economy(model)
    if chosen.shock == "iid":
        nodes = [
            (float(process.iweight(0, j)), float(process.inode(0, j)[0]))
            for j in range(process.n_inodes(0))
        ]
        errors = iid_errors(economy, solution.dr, nodes)
        shocks = {"nodes": [e for _, e in nodes], "probabilities": [p for p, _ in nodes]}
        policy = iid_policy(economy, solution.dr)
    else:
        policy = None
        errors = chain_errors(economy, solution.dr, process)
        shocks = {"values": process.values.tolist(), "transitions": process.transitions.tolist()}
    report = {
        "peer": f"dolo {version('dolo')}, Python {platform.python_version()}",
        "chosen": vars(chosen),
        "numba_threads": get_num_threads(),
        "parameters": economy.parameters,
        "shocks": shocks,
        "cold_seconds": cold,
        "seconds": seconds,
        "median_seconds": median(seconds) if seconds else None,
        "iterations": getattr(solution, "iterations", None) or solution.N,
        "converged": bool(solution.x_converged),
        "errors": errors,
        "policy": policy,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
