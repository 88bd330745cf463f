"""What a distribution of shocks is, and that without any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..quadrature import Quadrature, like
from .arguments import short

__all__ = ["Columns", "NoShocks", "Shocks", "Single"]

#: Column or columns of the state on which a distribution depends.
Columns = int | tuple[int, ...] | None


class Shocks(ABC):
    """Distribution of the shocks e of a model, given the state.

    Objects are immutable, are equal if their parameters are, and can be pickled.
    """

    #: Names of the integration rules that `nodes` knows.
    rules: tuple[str, ...]

    #: Number k of shocks.
    n_shocks: int

    #: Column of the state on which the distribution depends, a tuple of several; None: independent.
    state: Columns

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Mean (k,) in the long run."""

    @abstractmethod
    def expected(self, states: Tensor) -> Tensor:
        """Mean of the shocks in each state: (n, d) to (n, k)."""

    @abstractmethod
    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """Integration rule.

        Parameters
        ----------
        rule : str, default="auto"
            One of ``rules``.
        n_nodes : int, default=None
            Number of nodes, in each dimension for tensor products and in all for others. None: what
            suits the rule.
        random_state : int, RandomState or None, default=None
            Decides rules that are random.

        Returns
        -------
        Quadrature

        Raises
        ------
        ValueError
            If the distribution lacks the rule, or the rule cannot have that number of nodes.
        """

    @abstractmethod
    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One draw for each state: (n, d) to (n, k)."""

    @abstractmethod
    def parts(self) -> tuple[Shocks, ...]:
        """The distributions of which this one is a product, or itself."""

    @abstractmethod
    def _parameters(self) -> dict[str, Any]:
        """What the constructor takes, as it was understood."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed; make another for {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def _store(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Shocks):
            return NotImplemented
        mine, others = self._parameters(), other._parameters()
        return all(_same(mine[name], others[name]) for name in mine)

    def __hash__(self) -> int:
        return hash((type(self), *(_hashable(value) for value in self._parameters().values())))

    def __repr__(self) -> str:
        shown = (f"{name}={short(value)}" for name, value in self._parameters().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check_rule(self, rule: str, n_nodes: int | None) -> None:
        if rule not in self.rules:
            raise ValueError(
                f"rule={rule!r} is not offered by {type(self).__name__}, which has "
                f"{', '.join(map(repr, self.rules))}"
            )
        if n_nodes is not None and not (isinstance(n_nodes, int | np.integer) and n_nodes >= 1):
            raise ValueError(f"n_nodes={n_nodes!r} must be an integer of at least 1, or None")

    def _check_no_choice(self, n_nodes: int | None) -> None:
        if n_nodes is not None:
            raise ValueError(
                f"n_nodes={n_nodes} has no meaning for {type(self).__name__}, whose rule is exact; "
                f"leave n_nodes=None"
            )


class Single(Shocks):
    """A distribution that is no product."""

    def parts(self) -> tuple[Shocks, ...]:
        """The distribution itself."""
        return (self,)


class NoShocks(Single):
    """No shocks at all: the distribution of a deterministic model, one node of weight one.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import NoShocks
    >>> NoShocks().nodes().nodes.shape
    torch.Size([1, 0])
    """

    rules = ("auto", "exact")

    def __init__(self) -> None:
        self._store(n_shocks=0, state=None)

    @property
    def mean(self) -> Tensor:
        """An empty tensor."""
        return torch.zeros(0, dtype=torch.float64)

    def expected(self, states: Tensor) -> Tensor:
        """Nothing for each state, (n, 0)."""
        return like(self.mean, states).expand(len(states), 0)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """One node of weight one; see `Shocks.nodes`."""
        self._check_rule(rule, n_nodes)
        self._check_no_choice(n_nodes)
        return Quadrature(self.mean[None], torch.ones(1, dtype=torch.float64))

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """Nothing for each state, (n, 0)."""
        return self.expected(states)

    def _parameters(self) -> dict[str, Any]:
        return {}


def _same(mine: object, other: object) -> bool:
    if isinstance(mine, Tensor) and isinstance(other, Tensor):
        return torch.equal(mine, other)
    return bool(mine == other)


def _hashable(value: object) -> object:
    if isinstance(value, Tensor):
        return (tuple(value.shape), tuple(value.flatten().tolist()))
    return value
