"""Dynamic models with known answers, growth to nine digits, and what the structured Jacobian saves.

Seconds are those of ``fit`` from a cold start, after one fit that warms the process up. Errors are
taken at states drawn evenly from the box, off the nodes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import torch
from _harness import THREADS, Options, Race, fresh, print_table, race, read_command_line, verdict
from torch import Tensor

#: Seconds of the closed forms, of the growth model and of the network, at most.
CLOSED, GROWTH, NETWORK = 0.1, 0.05, 5.0
#: log10 of mean and maximal Euler error of the growth model, at most.
MEAN, MAX = -9.0, -7.0
#: Median error of the network, and what a peer has published for the same model.
NETWORK_ERROR, PUBLISHED = 1e-5, 1.45e-3
#: Largest errors at which a closed form counts as found.
FOUND = 1e-9
#: Times as fast as a full Jacobian, at least, at the largest size.
FASTER = 30.0
#: Degrees in both states; there are (degree + 1)² coefficients.
DEGREES = (5, 7, 9)
#: States at which errors are taken, and periods of a simulation.
TESTS, PERIODS = 2_000, 10_000
#: Where a growth path of 10,000 periods goes, and where its next states do, of capital and of
#: productivity.
PATH_BOX = ((0.82, 1.2), (0.86, 1.16))
WIDE_BOX = ((0.6, 1.6), (0.7, 1.45))

QUANTITIES = ("policy", "value")

Box = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Problem:
    """A model with a closed form, and how it is solved."""

    name: str
    settings: str
    make: Callable[[], Any]
    #: What must be exact: a linear spline holds the policy of B7, but not its value.
    exact: tuple[str, ...] = QUANTITIES


def problems() -> list[Problem]:
    from thetalearn import BellmanApproximator, EulerApproximator, FunctionalEquation
    from thetalearn.dynamics import models

    kinks = models.borrowing_kinks(40)[0].numpy()
    limit = models.make_borrowing_limit()
    kinks = kinks[kinks < float(limit.bounds[0, 1])]

    def both(name: str, model: Any, euler: Any, bellman: Any) -> list[Problem]:
        return [
            Problem(name, f"Euler, degree {euler}", lambda: EulerApproximator(model, degree=euler)),
            Problem(
                name,
                f"Bellman, degree {bellman}",
                lambda: BellmanApproximator(model, degree=bellman),
            ),
        ]

    def regulator(d: int) -> Problem:
        model = models.make_linear_quadratic(n_states=d)
        return Problem(
            f"B9 linear-quadratic, {d} states",
            "Bellman, monomials of degree 2",
            lambda: BellmanApproximator(model, basis="monomial", degree=2, integration="monomial1"),
        )

    tree, burnside = models.make_lucas_tree(), models.make_burnside()
    return [
        *both("B1 Brock-Mirman", models.make_brock_mirman(), [5, 3], [5, 3]),
        *both("B1b Brock-Mirman, state output", models.make_brock_mirman_output(), 5, 5),
        *both("B5 cake eating with a return", models.make_cake_eating(), 5, 5),
        *both("B6 perfect foresight", models.make_perfect_foresight(), 5, 5),
        Problem(
            "B7 borrowing limit",
            "Euler, linear splines, knots at the kinks",
            lambda: EulerApproximator(limit, basis="bspline", degree=1, knots=kinks),
            exact=("policy",),
        ),
        *(regulator(d) for d in (2, 3, 5, 10)),
        Problem(
            "B12 Lucas tree", "functional, degree 9", lambda: FunctionalEquation(tree, degree=9)
        ),
        Problem(
            "B13 Burnside", "functional, degree 15", lambda: FunctionalEquation(burnside, degree=15)
        ),
    ]


def quiet_fit(make: Callable[[], Any], X: Any = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make().fit(X)


def even_states(box: np.ndarray, count: int = TESTS) -> np.ndarray:
    return np.random.RandomState(0).uniform(box[:, 0], box[:, 1], (count, len(box)))


def distance(estimator: Any, which: str) -> str:
    """Largest error of a policy or value, relative to the largest exact one."""
    if estimator.model_.exact(which) is None or not hasattr(estimator, which):
        return "-"
    X = even_states(estimator.model_.bounds.numpy())
    exact = estimator.exact(which, X)
    return f"{np.abs(getattr(estimator, which)(X) - exact).max() / np.abs(exact).max():.1e}"


def time_closed_forms(chosen: Options) -> tuple[Race, dict[str, tuple[Any, ...]]]:
    cases = {f"{p.name}|{p.settings}": p for p in problems()}
    timed = race({key: lambda p=p: quiet_fit(p.make) for key, p in cases.items()}, chosen)
    found = {
        key: (
            e.n_iter_,
            e.converged_,
            *(distance(e, which) if which in cases[key].exact else "-" for which in QUANTITIES),
        )
        for key, e in timed.results.items()
    }
    timed.results.clear()
    return timed, found


def least(timed: Race, way: str) -> str:
    """Milliseconds of the fastest round, which other programs disturbed least."""
    return f"{1e3 * min(timed.seconds[way]):.4g}"


def compare_closed_forms(chosen: Options) -> None:
    rows, races = [], []
    for threads in THREADS:
        timed, found = fresh(time_closed_forms, chosen, threads=threads)
        races.append(timed)
        for key, (n_iter, converged, policy, value) in found.items():
            seconds = median(timed.seconds[key])
            worst = max(float(error) for error in (policy, value) if error != "-")
            met = seconds < CLOSED and worst < FOUND and converged
            said = "met" if met else "MISSED"
            rows.append(
                [
                    *key.split("|"),
                    threads,
                    timed.milliseconds(key),
                    least(timed, key),
                    n_iter,
                    policy,
                    value,
                    said,
                ]
            )
    print_table(
        f"Closed forms: fits under {1e3 * CLOSED:g} ms with errors under {FOUND:g}",
        [
            "problem",
            "estimator",
            "threads",
            "ms",
            "least, ms",
            "iterations",
            "policy error",
            "value error",
            "bar",
        ],
        rows,
        races,
    )


def polynomial(degree: int, box: Box) -> tuple[Any, np.ndarray]:
    """Chebyshev products that go on beyond the box as the polynomials that they are, and nodes."""
    from thetalearn.representations.bases import (
        Chebyshev,
        ProductBasis,
        chebyshev_nodes,
        tensor_indices,
        tensor_nodes,
    )

    basis = ProductBasis(
        [Chebyshev(degree, ends) for ends in WIDE_BOX], tensor_indices([degree + 1] * 2)
    )
    return basis, tensor_nodes(*(chebyshev_nodes(degree + 1, ends) for ends in box))


def growth_ways() -> dict[str, tuple[Callable[[], Any], np.ndarray | None]]:
    """Estimators of the growth model, and the states at which residuals are taken."""
    from thetalearn import EulerApproximator
    from thetalearn.dynamics.models import make_growth

    own = ((0.9, 1.1), (0.9, 1.1))
    ways: dict[str, tuple[Callable[[], Any], np.ndarray | None]] = {}
    for degree, box, name in (
        (5, own, "polynomial, published box"),
        (7, own, "polynomial, published box"),
        (7, PATH_BOX, "polynomial, box of the path"),
    ):
        basis, nodes = polynomial(degree, box)
        model = make_growth(state_bounds=box)
        ways[f"{name}, degree {degree}"] = (
            lambda m=model, b=basis: EulerApproximator(m, basis=b),
            nodes,
        )
    for box, name in ((own, "published box"), (PATH_BOX, "box of the path")):
        model = make_growth(state_bounds=box)
        ways[f"continued linearly, {name}, degree 7"] = (
            lambda m=model: EulerApproximator(m, degree=7),
            None,
        )
    return ways


def logs(errors: np.ndarray) -> tuple[str, str]:
    """log10 of mean and maximum."""
    sizes = np.abs(errors)
    return f"{np.log10(sizes.mean()):.2f}", f"{np.log10(sizes.max()):.2f}"


def time_growth(chosen: Options) -> tuple[Race, dict[str, tuple[str, ...]]]:
    ways = growth_ways()
    timed = race(
        {name: lambda make=make, X=X: quiet_fit(make, X) for name, (make, X) in ways.items()},
        chosen,
    )
    found = {}
    for name, e in timed.results.items():
        box = e.euler_errors(even_states(e.model_.bounds.numpy()))
        path = e.euler_errors(e.ergodic_sample(PERIODS, random_state=0))
        found[name] = (*logs(box), *logs(path))
    timed.results.clear()
    return timed, found


def compare_growth(chosen: Options) -> None:
    rows, races = [], []
    for threads in THREADS:
        timed, found = fresh(time_growth, chosen, threads=threads)
        races.append(timed)
        for name, errors in found.items():
            means, maxima = map(float, errors[::2]), map(float, errors[1::2])
            accurate = max(means) < MEAN and max(maxima) < MAX
            fast = median(timed.seconds[name]) < GROWTH
            rows.append(
                [
                    name,
                    threads,
                    timed.milliseconds(name),
                    least(timed, name),
                    *errors,
                    f"errors {'met' if accurate else 'MISSED'}, time {'met' if fast else 'MISSED'}",
                ]
            )
    print_table(
        f"B18 growth: fits under {1e3 * GROWTH:g} ms; log10 of mean and maximal Euler error under "
        f"{MEAN:g} and {MAX:g}\nin the box and on a path of {PERIODS:,} periods",
        [
            "rule",
            "threads",
            "ms",
            "least, ms",
            "mean, box",
            "max, box",
            "mean, path",
            "max, path",
            "bar",
        ],
        rows,
        races,
    )


def time_network(units: int, chosen: Options) -> tuple[Race, dict[int, tuple[Any, ...]]]:
    """A tanh network of two layers, from three seeds."""
    from thetalearn import EulerApproximator
    from thetalearn.dynamics.models import make_stochastic_brock_mirman

    model = make_stochastic_brock_mirman()

    def make(seed: int) -> Any:
        return EulerApproximator(
            model, basis="mlp", hidden_layer_sizes=(units, units), random_state=seed
        )

    timed = race(
        {str(seed): lambda s=seed: quiet_fit(lambda: make(s)) for seed in range(3)}, chosen
    )
    X = even_states(model.bounds.numpy(), 10_000)
    found = {}
    for seed, e in timed.results.items():
        errors = np.abs(e.euler_errors(X, unit="consumption"))
        found[seed] = e.coef_.size, e.n_iter_, *np.quantile(errors, [0.5, 0.99, 1.0])
    timed.results.clear()
    return timed, found


def compare_network(chosen: Options) -> None:
    rows, races = [], []
    # From one seed to the other the time varies more than from round to round.
    few = Options(max(chosen.rounds // 2, 1), chosen.patience)
    for units, threads in product((8, 12), THREADS):
        if units > 8 and threads > 1:
            continue
        timed, found = fresh(time_network, units, few, threads=threads)
        races.append(timed)
        for seed, (weights, n_iter, *errors) in found.items():
            met = errors[0] < NETWORK_ERROR and median(timed.seconds[seed]) < NETWORK
            rows.append(
                [
                    f"{units}-{units}, {weights} weights",
                    threads,
                    seed,
                    f"{median(timed.seconds[seed]):.2f}",
                    n_iter,
                    *(f"{error:.1e}" for error in errors),
                    "met" if met else "MISSED",
                ]
            )
    print_table(
        f"Networks on the stochastic Brock-Mirman model: median error under {NETWORK_ERROR:g} in "
        f"less than {NETWORK:g} s\n(DEQN-JAX publishes a median of {PUBLISHED:g} after 20,001 "
        "episodes of Adam)",
        [
            "network",
            "threads",
            "seed",
            "s",
            "iterations",
            "median error",
            "99th percentile",
            "largest",
            "bar",
        ],
        rows,
        races,
    )


class FullJacobian:
    """The same conditions, with a tangent carried through them for each coefficient."""

    def __init__(self, system: Any, degree: int) -> None:
        self.system = system
        ends = torch.tensor(WIDE_BOX, dtype=torch.float64)
        self.low, self.width = ends[:, 0], ends[:, 1] - ends[:, 0]
        self.degree = degree
        self.jacobian = torch.func.jacfwd(self.plain)

    def residual(self, theta: Tensor) -> Tensor:
        return self.system.residual(theta)

    def linearize(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return self.residual(theta), self.jacobian(theta)

    def terms(self, x: Tensor) -> Tensor:
        """Products of Chebyshev polynomials (n, K); no state leaves the wide box."""
        unit = 2 * (x - self.low) / self.width - 1
        terms = [torch.ones_like(unit), unit]
        while len(terms) <= self.degree:
            terms.append(2 * unit * terms[-1] - terms[-2])
        each = torch.stack(terms, -1)
        return (each[:, 0, :, None] * each[:, 1, None, :]).flatten(1)

    def plain(self, theta: Tensor) -> Tensor:
        """The residuals again, in operations through which any derivative passes."""
        equation, rows = self.system.equation, self.system.rows
        s, e = rows.repeated(rows.states), rows.shocks()
        y = (self.terms(rows.states) @ theta)[:, None]
        y_each = rows.repeated(y)
        after = equation.next_states(s, y_each, e)
        y_next = (self.terms(after) @ theta)[:, None]
        mean = rows.mean(equation.integrand(s, y_each, after, y_next, e))
        return equation.combine(rows.states, y, mean).flatten()


def time_jacobians(degree: int, chosen: Options) -> tuple[Race, Race, dict[str, float]]:
    """Single Jacobians, whole solutions by Newton's method, and how far the two ways differ."""
    from thetalearn.dynamics.approximation import Representation
    from thetalearn.dynamics.equations import EulerEquation
    from thetalearn.dynamics.models import make_growth
    from thetalearn.dynamics.setup import Setup
    from thetalearn.dynamics.starts import linear_policy
    from thetalearn.solvers.root import newton

    model = make_growth(state_bounds=PATH_BOX)
    basis, nodes = polynomial(degree, PATH_BOX)
    setup = Setup.build(
        model,
        Representation(basis, None, None, None, None, (), None),
        1,
        model.distribution.nodes("gauss_hermite", 10),
        states=torch.from_numpy(nodes),
        rng=np.random.RandomState(0),
    )
    equation = EulerEquation(model, setup.to_inputs)
    start = setup.fit(linear_policy(model, equation)(setup.inputs))
    system = setup.projection(equation)
    full = FullJacobian(system, degree)

    def solve(conditions: Any) -> Any:
        return newton(conditions, start, tol=1e-10, max_iter=50)

    single = race(
        {
            "structured": lambda: system.linearize(start)[1],
            "full": lambda: full.linearize(start)[1],
        },
        Options(4 * chosen.rounds, chosen.patience),
    )
    whole = race({"structured": lambda: solve(system), "full": lambda: solve(full)}, chosen)
    ours, peer = single.results["structured"], single.results["full"]
    ends = whole.results.values()
    assert all(end.converged for end in ends)
    said = {
        "steps": [end.n_iter for end in ends],
        "jacobian": float((ours - peer).abs().max() / peer.abs().max()),
        "policy": float(np.ptp([setup.at(setup.checks, end.theta) for end in ends], axis=0).max()),
    }
    assert said["jacobian"] < 1e-10 and said["policy"] < 1e-8, said
    single.results.clear()
    whole.results.clear()
    return single, whole, said


def compare_jacobians(chosen: Options) -> None:
    rows, races = [], []
    for degree in DEGREES:
        # The estimators give work of this size one thread, whatever there are.
        *timed, said = fresh(time_jacobians, degree, chosen, threads=1)
        races += timed
        for what, each in zip(("one Jacobian", "Newton's method"), timed, strict=True):
            ratio = each.ratio("full", to="structured")
            last = degree == DEGREES[-1]
            rows.append(
                [
                    (degree + 1) ** 2,
                    what,
                    "-" if what == "one Jacobian" else said["steps"][0],
                    each.milliseconds("structured"),
                    each.milliseconds("full"),
                    ratio,
                    verdict(ratio.middle, FASTER) if last else "",
                ]
            )
    print_table(
        "Newton's method on the growth model, ten nodes of the shock: the structured Jacobian and "
        "torch.func.jacfwd\nof the same residuals, on one thread",
        [
            "coefficients",
            "what",
            "steps",
            "structured, ms",
            "full, ms",
            "times faster [min, max]",
            "bar",
        ],
        rows,
        races,
    )


def main() -> None:
    chosen = read_command_line(rounds=3)
    compare_closed_forms(chosen)
    compare_growth(chosen)
    compare_network(chosen)
    compare_jacobians(chosen)


if __name__ == "__main__":
    main()
