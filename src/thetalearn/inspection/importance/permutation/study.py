"""Scores of exchanged rows, player by player, and the parts of rows in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor

from ....threads import one_thread
from ..metrics.resolve import Metric, RowMetric
from ..model.players import Players
from .donors import Shuffles, all_pairs
from .errors import StandardErrors, exact_errors, sampled_errors
from .swaps import StackedSwaps, Swaps, stratum_means

__all__ = ["Plan", "Study", "alone"]

#: Scores that follow from mean squared errors.
SQUARED = ("squared_error", "r2")

#: Arrays of a number for every row and repeat that standard errors take.
ERROR_TABLES = 6


@dataclass(frozen=True)
class Plan:
    """Who is shuffled, how, and what is computed.

    Parameters
    ----------
    players : Players
        Who.
    shuffles : Shuffles
        How.
    strata : list of ndarray of shape (n,), default=None
        For each player, the rows among which it is shuffled; None for all.
    exact : bool, default=False
        Whether the mean over all shuffles is computed.
    se : {"influence", "bootstrap"} or None, default=None
        How standard errors are found.
    n_bootstraps : int, default=200
        Number of resamples.
    n_jobs : int, default=None
        Number of threads, over which players are distributed.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of networks.
    budget : int, default=2**28
        Bytes.
    """

    players: Players
    shuffles: Shuffles
    strata: list[np.ndarray] | None = None
    exact: bool = False
    se: str | None = None
    n_bootstraps: int = 200
    n_jobs: int | None = None
    dtype: str = "auto"
    budget: int = 2**28

    def strata_of(self, player: int) -> np.ndarray:
        """The stratum of each row, as far as a player is concerned."""
        if self.strata is None:
            return np.zeros(self.shuffles.n_rows, dtype=np.int64)
        return self.strata[player]

    def donors(self, player: int) -> Tensor:
        """Donors (R, n) of a player."""
        if self.strata is None:
            return self.shuffles.composed
        return self.shuffles.within(self.strata[player])

    def resampled(self, rows: np.ndarray, rng: np.random.RandomState) -> Plan:
        """The same for rows drawn again, with a shuffle of their own."""
        shuffle = torch.from_numpy(rng.permutation(len(rows)))[None]
        strata = None if self.strata is None else [each[rows] for each in self.strata]
        return replace(
            self, shuffles=Shuffles(None, shuffle, self.shuffles.seed), strata=strata, se=None
        )


@dataclass(frozen=True)
class Study:
    """Metrics of rows that are exchanged."""

    plan: Plan
    swaps: Swaps
    values: Tensor
    metrics: Mapping[str, Metric]
    #: By metric, what rows do to the importance through a baseline that is not of them alone.
    moved: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def unchanged(self) -> Tensor:
        """Values (1, n, m) of the rows as they are, as exact as those after an exchange."""
        if not self.swaps.approximate:
            return self.values[None]
        with alone():
            return self.swaps.unchanged()[None]

    def run(self) -> tuple[dict[str, np.ndarray], dict[str, StandardErrors], dict[str, str]]:
        """Scores (P, R) after shuffles, their standard errors, and how they were found."""
        work = self._expect if self.plan.exact else self._sample
        n_players = len(self.plan.players)
        n_jobs = min(effective_n_jobs(self.plan.n_jobs), n_players)
        parts = [part.tolist() for part in np.array_split(np.arange(n_players), n_jobs)]
        if n_jobs == 1:
            results = [work(parts[0])]
        else:
            results = Parallel(n_jobs=n_jobs, prefer="threads")(
                delayed(work)(part) for part in parts
            )
        return _merged(results, list(self.metrics))

    def _guard(self) -> Any:
        """Tiles are too small for several threads; another's estimator may do as it likes."""
        return nullcontext() if isinstance(self.swaps, StackedSwaps) else alone()

    def _sample(self, players: Sequence[int]) -> list[_Outcome]:
        """Outcomes of shuffles that were drawn."""
        with self._guard():
            collected = {
                name: _Collected(metric, self, self.moved.get(name))
                for name, metric in self.metrics.items()
            }
            outcomes = []
            last = players[0]
            for player, repeats, values in self.swaps.sweep(
                players, self.plan.donors, self.plan.budget
            ):
                if player != last:
                    outcomes.append(self._finish(collected, last))
                    last = player
                for each in collected.values():
                    each.add(repeats, values)
            outcomes.append(self._finish(collected, last))
        return outcomes

    def _finish(self, collected: Mapping[str, _Collected], player: int) -> _Outcome:
        return {name: (*each.finish(player), self.swaps.method) for name, each in collected.items()}

    def _expect(self, players: Sequence[int]) -> list[_Outcome]:
        """Outcomes of all shuffles."""
        with self._guard():
            return [self._expected(player) for player in players]

    def _expected(self, player: int) -> _Outcome:
        strata = torch.from_numpy(np.unique(self.plan.strata_of(player), return_inverse=True)[1])
        outcome: _Outcome = {}
        left: dict[str, RowMetric] = {}
        for name, metric in self.metrics.items():
            assert isinstance(metric, RowMetric)
            losses = None
            if metric.name in SQUARED:
                residual = metric.y - self.values.double()
                losses = self.swaps.squared_errors(player, strata, residual, _omega(metric))
            if losses is None:
                left[name] = metric
            else:
                found = self._from_losses(metric, strata, *losses, self.moved.get(name))
                outcome[name] = (*found, "closed form")
        for name, losses in self._over_pairs(player, strata, left).items():
            found = self._from_losses(left[name], strata, *losses, self.moved.get(name))
            outcome[name] = (*found, self.swaps.method)
        return outcome

    def _over_pairs(
        self, player: int, strata: Tensor, metrics: Mapping[str, RowMetric]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean losses of receivers and of givers (n, K) over all pairs."""
        if not metrics:
            return {}
        columns = self.swaps.exchanged(player)
        pairs = all_pairs(strata.numpy(), columns)
        share = (1 / torch.bincount(strata).double())[strata]
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for _, steps, values in self.swaps.sweep(
            [player], lambda _: pairs.donors, self.plan.budget
        ):
            index, weight = pairs.donors[steps], pairs.weight[steps]
            for name, metric in metrics.items():
                losses = _losses(metric, values)
                if name not in found:
                    found[name] = (
                        losses.new_zeros(losses.shape[1:]),
                        losses.new_zeros(losses.shape[1:]),
                    )
                receivers, givers = found[name]
                receivers += torch.einsum("rn,rnk->nk", weight, losses)
                given = losses * ((weight > 0) * _omega(metric) * share)[..., None]
                givers.index_add_(0, index.reshape(-1), given.flatten(0, 1))
        return {
            name: (receivers, givers[pairs.likeness]) for name, (receivers, givers) in found.items()
        }

    def _from_losses(
        self,
        metric: RowMetric,
        strata: Tensor,
        receivers: Tensor,
        givers: Tensor,
        moved: np.ndarray | None,
    ) -> tuple[np.ndarray, StandardErrors]:
        """Score and standard errors of mean losses (n, K)."""
        plain = replace(metric, losses=lambda y, f: f)
        before = _losses(metric, self.unchanged)
        score = plain.scores(receivers[None]) + self._correction(metric)
        if self.plan.se != "influence":
            return score, _no_errors(0.0)
        omega = _omega(metric)
        given = stratum_means(omega[:, None] * before[0], strata)
        drops = plain.row_scores(torch.stack([before[0], given]))
        drops -= plain.row_scores(torch.stack([receivers, givers]))
        components = plain.component_scores(before) - plain.component_scores(receivers[None])
        # Donors differ from the mean of their stratum; strata differ among receivers.
        between = drops[1] - stratum_means(torch.from_numpy(drops[1]), strata).numpy()
        errors = exact_errors(
            drops[0],
            between + float((omega.numpy() * drops[0]).mean()),
            weight=omega.numpy(),
            influence=_sum(metric.normaliser_influence(components[0]), moved),
        )
        return score, errors

    def _correction(self, metric: Metric) -> float:
        """What single precision does to the score of the rows as they are."""
        if not self.swaps.approximate:
            return 0.0
        exact, single = metric.scores(self.values[None]), metric.scores(self.unchanged)
        return float(exact[0] - single[0])


class _Collected:
    """Scores of a metric after the shuffles of one player, and contributions of rows to them."""

    def __init__(self, metric: Metric, study: Study, moved: np.ndarray | None) -> None:
        self.metric, self.plan, self.moved = metric, study.plan, moved
        self.correction = study._correction(metric)
        self.scores: list[np.ndarray] = []
        self.rows: list[np.ndarray] = []
        self.components: list[np.ndarray] = []
        self.n_kept = 0
        self.omega = _omega(metric).numpy() if isinstance(metric, RowMetric) else None
        if isinstance(metric, RowMetric) and self.plan.se == "influence":
            self.before = metric.row_scores(study.unchanged)
            self.component = metric.component_scores(study.unchanged)
            tables = self.plan.budget // (8 * ERROR_TABLES * self.plan.shuffles.n_rows)
            self.n_kept = max(tables, 2)

    def add(self, repeats: slice, values: Tensor) -> None:
        """Take in values (r, n, m) after some shuffles."""
        room = self.n_kept - repeats.start
        if room <= 0:
            self.scores.append(self.metric.scores(values))
            return
        assert isinstance(self.metric, RowMetric)
        rows = self.metric.row_scores(values)
        if self.metric.is_linear:
            self.scores.append(rows @ (self.omega / rows.shape[1]))
        else:
            self.scores.append(self.metric.scores(values))
        self.rows.append(rows[:room])
        if self.metric.scale is not None:
            # The score of a single target is its own component.
            single = len(self.metric.scale) == 1
            self.components.append(
                self.scores[-1][:, None] if single else self.metric.component_scores(values)
            )

    def finish(self, player: int) -> tuple[np.ndarray, StandardErrors]:
        """Scores (R,) of the player, and standard errors; ready for the next player."""
        scores = np.concatenate(self.scores) + self.correction
        n = len(scores)
        mc_se = scores.std(ddof=1) / n**0.5 if n > 1 else np.nan
        errors = _no_errors(mc_se)
        if self.rows:
            found = self._influence(player)
            errors = StandardErrors(mc_se, found.sample_se, found.df)
        self.scores, self.rows, self.components = [], [], []
        return scores, errors

    def _influence(self, player: int) -> StandardErrors:
        assert isinstance(self.metric, RowMetric)
        drops = self.before - np.concatenate(self.rows)
        omega, influence = self.omega, None
        if self.components:
            mean = np.concatenate(self.components).mean(0)
            influence = self.metric.normaliser_influence(self.component[0] - mean)
        if self.plan.strata is not None:
            between = _between_strata(omega * drops.mean(0), self.plan.strata[player])
            # A single shuffle's influence is counted for receivers and for donors.
            between = between / 2 if len(drops) == 1 else between
            influence = -between if influence is None else influence - between
        influence = _sum(influence, self.moved)
        donors = self.plan.donors(player)[: len(drops)].numpy()
        return sampled_errors(drops, donors, weight=omega, influence=influence)


#: For each metric the scores (R,), the standard errors and the method of one player.
_Outcome = dict[str, tuple[np.ndarray, StandardErrors, str]]


def _merged(
    results: Sequence[Sequence[_Outcome]], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, StandardErrors], dict[str, str]]:
    """Outcomes of all players, by metric."""
    outcomes = [outcome for part in results for outcome in part]
    after = {name: np.stack([each[name][0] for each in outcomes]) for name in names}
    errors = {name: StandardErrors.stack([each[name][1] for each in outcomes]) for name in names}
    return after, errors, {name: outcomes[0][name][2] for name in names}


@contextmanager
def alone() -> Iterator[None]:
    """One thread, and no record of derivatives."""
    with one_thread(), torch.no_grad():
        yield


def _no_errors(mc_se: float) -> StandardErrors:
    return StandardErrors(mc_se, np.nan, np.inf)


def _sum(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """The sum of those that are given."""
    return first if second is None else second if first is None else first + second


def _omega(metric: RowMetric) -> Tensor:
    """Weights of mean one."""
    n = len(metric.y)
    if metric.weight is None:
        return torch.ones(n, dtype=torch.float64)
    return metric.weight * n


def _losses(metric: RowMetric, values: Tensor) -> Tensor:
    """Losses (R, n, K), as a metric whose score is linear in their means takes them."""
    proba = metric.response_method == "predict_proba"
    return metric.losses(metric.y, values if proba else values.double())


def _between_strata(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """How the mean of a row's stratum differs from the mean of all."""
    codes = np.unique(strata, return_inverse=True)[1]
    means = np.bincount(codes, values) / np.bincount(codes)
    return np.asarray(means[codes] - values.mean())
