"""Time ways of doing the same work side by side, so that a noisy machine favours none of them.

Every thread count, and every reading of memory, gets a process of its own, because thread pools and
allocators remember what ran before. The ways take turns, forwards and backwards, and every claim is
the median of the ratios of single rounds, in which a drift of the machine cancels.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

THREADS = (1, 2)

#: Seconds before each reading, in which the threads of the one before fall asleep.
REST = 0.1

#: Share of the processors that other programs may have during a patient reading.
QUIET = 0.1

_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Ratio:
    """The median over rounds of a ratio, and its extremes."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Options:
    """How many rounds to run, and for how many seconds a disturbed reading may be repeated.

    ``extras`` are the names of what was asked for beside the claims.
    """

    rounds: int
    patience: float
    extras: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Race:
    """Seconds of each way in each round, what each way returned, and how quiet the machine was.

    ``disturbance`` is the share of the processors that other programs had during each reading.
    """

    seconds: dict[str, list[float]]
    results: dict[str, Any]
    disturbance: list[float]

    def milliseconds(self, way: str) -> str:
        """Median time."""
        return f"{1e3 * median(self.seconds[way]):.4g}"

    def microseconds(self, way: str) -> str:
        """Median time."""
        return f"{1e6 * median(self.seconds[way]):.4g}"

    def per_unit(self, units: dict[str, int]) -> Race:
        """The same with the time of one unit of work, of which each way did so many."""
        seconds = {way: [s / units[way] for s in times] for way, times in self.seconds.items()}
        return Race(seconds, self.results, self.disturbance)

    def ratio(self, way: str, to: str) -> Ratio:
        """Time of one way over that of another, round by round."""
        pairs = zip(self.seconds[way], self.seconds[to], strict=True)
        ratios = [a / b for a, b in pairs]
        return Ratio(median(ratios), min(ratios), max(ratios))

    def fastest(self, ways: Sequence[str]) -> str:
        """The way of the smallest median time."""
        return min(ways, key=lambda way: median(self.seconds[way]))


def race(ways: dict[str, Callable[[], Any]], chosen: Options) -> Race:
    """Run all ways once to warm up, then in turns."""
    results = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    disturbance = []
    for turn in range(chosen.rounds):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            taken, share = undisturbed(lambda way=ways[name]: _seconds(way), chosen.patience)
            seconds[name].append(taken)
            disturbance.append(share)
    return Race(seconds, results, disturbance)


def _seconds(way: Callable[[], Any]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def undisturbed(work: Callable[[], Any], patience: float) -> tuple[Any, float]:
    """Do work, again if other programs disturbed it and patience is left.

    Returns its result and the share of the processors that other programs had meanwhile.
    """
    give_up = time.monotonic() + patience
    while True:
        gc.collect()
        before = _processor_seconds()
        time.sleep(REST)
        result = work()
        spent = [b - a for a, b in zip(before, _processor_seconds(), strict=True)]
        total, idle, own = spent
        share = max(1 - (idle + own) / total, 0.0) if total else 0.0
        if share <= QUIET or time.monotonic() >= give_up:
            return result, share


def _processor_seconds() -> tuple[float, float, float]:
    """Of all processors, those they idled, and our own; zeros where Linux does not tell."""
    own = sum(os.times()[:4])
    try:
        counts = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0, 0.0, own
    seconds = [int(count) / os.sysconf("SC_CLK_TCK") for count in counts]
    return sum(seconds), seconds[3] + seconds[4], own


def peak_memory(work: Callable[[], Any]) -> int:
    """Bytes that one call needs at most, over what the process held before it."""
    gc.collect()
    # On Linux what was freed can be given back, and the high-water mark lowered to what is held
    # now. Elsewhere what was needed to make the data hides as much of the peak.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    before = _high_water()
    work()
    return _high_water() - before


def _high_water() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def fresh(function: Callable[..., Any], *args: Any, threads: int) -> Any:
    """Call a function of the running script in a new process of so many threads."""
    before = {name: os.environ.get(name) for name in _LIMITS}
    os.environ.update(dict.fromkeys(_LIMITS, str(threads)))
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), _limit_threads, (threads,)) as pool:
            return pool.submit(function, *args).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _limit_threads(threads: int) -> None:
    import scipy.linalg  # noqa: F401  (its BLAS is to be limited too)
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(threads)


def read_command_line(rounds: int, **extras: str) -> Options:
    """What the command line says; ``extras`` are switches and what they are for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--patience", type=float, default=0.0)
    for name, purpose in extras.items():
        parser.add_argument(f"--{name}", action="store_true", help=purpose)
    given = vars(parser.parse_args())
    asked = frozenset(name for name in extras if given.pop(name))
    return Options(**given, extras=asked)


def quietness(races: Sequence[Race]) -> str:
    """How much of the machine other programs had, in words."""
    shares = [share for each in races for share in each.disturbance]
    return (
        f"other programs had {100 * median(shares):.0f}% of the processors during a reading "
        f"(median), {100 * max(shares):.0f}% at most"
    )


def verdict(value: float, bar: float) -> str:
    """Whether a ratio reaches its bar."""
    return f"{'met' if value >= bar else 'MISSED'} (at least {bar:g})"


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], races: Sequence[Race]
) -> None:
    """Print rows in aligned columns: text to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [
        all(c[:1].isdigit() or c in ("", "-") for c in column)
        for column in zip(*cells, strict=True)
    ]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    n_rounds = max(len(times) for each in races for times in each.seconds.values())
    print(f"{title}\nmedians of {n_rounds} rounds; {quietness(races)}\n")
    print(line(header))
    print("  ".join("-" * width for width in widths))
    for row in cells:
        print(line(row))
    print(flush=True)
