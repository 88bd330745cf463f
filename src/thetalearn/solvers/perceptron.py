"""The perceptron rule: visit rows, and correct the parameters at each mistake."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Binary", "Dual", "Primal", "Run", "draw_order", "train"]


class Binary(ABC):
    """A perceptron for two classes, and the rows that it learns from."""

    positive: np.ndarray
    #: Rows looked at together for the next mistake: about as many as lie between mistakes.
    ahead: int

    @abstractmethod
    def wrong(self, rows: np.ndarray | slice) -> np.ndarray:
        """Whether each of these rows is on the wrong side."""

    @abstractmethod
    def learn(self, row: int) -> None:
        """Correct a mistake on a row."""

    @abstractmethod
    def state(self) -> np.ndarray:
        """A copy of the parameters."""

    def sweep(self, order: np.ndarray) -> int:
        """Visit rows one after another; the number of mistakes.

        The rule changes nothing between mistakes, so the rows up to the next one are looked at
        together.
        """
        mistakes = start = 0
        while start < len(order):
            coming = order[start : start + self.ahead]
            wrong = self.wrong(coming)
            first = int(wrong.argmax())
            if wrong[first]:
                self.learn(int(coming[first]))
                mistakes += 1
                start += first + 1
                self.ahead = max(self.ahead // 2, 16)
            else:
                start += len(coming)
                self.ahead = min(2 * self.ahead, 8192)
        return mistakes


class Primal(Binary):
    """Weights w of the columns."""

    def __init__(self, positive: np.ndarray, rows: np.ndarray) -> None:
        self.positive, self.rows, self.ahead = positive, rows, 16
        self.weights = np.zeros(rows.shape[1])

    def wrong(self, rows: np.ndarray | slice) -> np.ndarray:
        """Whether each of these rows is on the wrong side."""
        return (self.rows[rows] @ self.weights >= 0) != self.positive[rows]

    def learn(self, row: int) -> None:
        """Add or subtract the row."""
        if self.positive[row]:
            self.weights += self.rows[row]
        else:
            self.weights -= self.rows[row]

    def state(self) -> np.ndarray:
        """A copy of the weights."""
        return self.weights.copy()


class Dual(Binary):
    """Signed numbers of mistakes on each row, and the decision values that follow from them."""

    def __init__(self, positive: np.ndarray, gram: np.ndarray) -> None:
        self.positive, self.gram, self.ahead = positive, gram, 16
        self.counts = np.zeros(len(gram))
        self.scores = np.zeros(len(gram))
        self.sides = ~positive

    def wrong(self, rows: np.ndarray | slice) -> np.ndarray:
        """Whether each of these rows is on the wrong side."""
        return self.sides[rows]

    def learn(self, row: int) -> None:
        """Count the mistake."""
        if self.positive[row]:
            self.counts[row] += 1
            self.scores += self.gram[row]
        else:
            self.counts[row] -= 1
            self.scores -= self.gram[row]
        np.not_equal(self.scores >= 0, self.positive, out=self.sides)

    def state(self) -> np.ndarray:
        """A copy of the counts."""
        return self.counts.copy()


@dataclass(frozen=True)
class Run:
    """The best iterates, the rows they get wrong, and how the run ended."""

    best: list[np.ndarray]
    errors: list[int]
    n_iter: int
    reason: str


def train(
    problems: list[Binary],
    draw: Callable[[], np.ndarray],
    max_iter: int,
    report: Callable[[dict[str, float], list[np.ndarray]], bool],
) -> Run:
    """Epochs over all problems in the same order of rows, until none is left with a mistake."""
    everything = slice(None)
    best = [problem.state() for problem in problems]
    errors = [int(problem.wrong(everything).sum()) for problem in problems]
    n_iter, reason = 0, ""
    try:
        while sum(errors) > 0 and not reason:
            order, mistakes = draw(), 0
            for k, problem in enumerate(problems):
                if errors[k] == 0:
                    continue
                mistakes += problem.sweep(order)
                left = int(problem.wrong(everything).sum())
                if left < errors[k]:
                    best[k], errors[k] = problem.state(), left
            n_iter += 1
            if report({"mistakes": mistakes, "errors": sum(errors)}, best):
                reason = "stopped by a callback"
            elif n_iter == max_iter:
                reason = f"max_iter={max_iter} epochs done"
    except KeyboardInterrupt:
        reason = "interrupted"
    return Run(best, errors, n_iter, reason)


def draw_order(rng: np.random.RandomState, n_rows: int, sampling: str) -> np.ndarray:
    """The rows of one epoch."""
    return rng.permutation(n_rows) if sampling == "shuffle" else rng.randint(n_rows, size=n_rows)
