"""Independent distributions side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..quadrature import Quadrature, side_by_side
from .base import Columns, Shocks
from .gaussian import Gaussian, gaussian_rule
from .independent import Uniform

__all__ = ["Product"]


class Product(Shocks):
    """Independent distributions side by side; given the state, where they depend on it.

    The rule is the tensor product of the rules of the components, except that normal, log-normal
    and AR1 ones are integrated together, so that monomial and Sobol rules serve all of them.
    A rule that is named goes to these if they have it, else to the others; what does not take it
    uses "auto". ``n_nodes`` goes to the components that take the rule and can choose.

    Parameters
    ----------
    *components : Shocks
        The distributions; their shocks are the columns of e in this order.

    Attributes
    ----------
    rules : tuple of str
        The rules that one of the components has.

    Raises
    ------
    TypeError
        If a component is not a `Shocks`.
    ValueError
        If there is none.

    Examples
    --------
    >>> from thetalearn.dynamics.shocks import AR1, MarkovChain, Product
    >>> job = MarkovChain([[0.9, 0.1], [0.5, 0.5]], [1.0, 0.0], state=2)
    >>> shocks = Product(AR1(0.95, 0.01, state=1), job)
    >>> shocks.state
    (1, 2)
    >>> shocks.nodes(n_nodes=7).nodes.shape
    torch.Size([14, 2])
    """

    components: tuple[Shocks, ...]

    def __init__(self, *components: Shocks) -> None:
        for component in components:
            if not isinstance(component, Shocks):
                raise TypeError(f"Product takes distributions of shocks, not {component!r}")
        if not components:
            raise ValueError("Product needs at least one distribution; take NoShocks for none")
        flat = tuple(part for component in components for part in component.parts())
        columns = tuple(column for part in flat for column in _as_tuple(part.state))
        self._store(
            components=flat,
            rules=tuple(dict.fromkeys(rule for part in flat for rule in part.rules)),
            n_shocks=sum(part.n_shocks for part in flat),
            state=columns if len(columns) > 1 else next(iter(columns), None),
        )

    @property
    def mean(self) -> Tensor:
        """Means of all components, (k,)."""
        return torch.cat([part.mean for part in self.components])

    def parts(self) -> tuple[Shocks, ...]:
        """The components, those of a component that is itself a product among them."""
        return self.components

    def expected(self, states: Tensor) -> Tensor:
        """Means of all components in each state: (n, d) to (n, k)."""
        return torch.cat([part.expected(states) for part in self.components], dim=1)

    def nodes(
        self, rule: str = "auto", n_nodes: int | None = None, random_state: Any = None
    ) -> Quadrature:
        """Integration rule; see `Shocks.nodes`."""
        self._check_rule(rule, n_nodes)
        normal = [part for part in self.components if isinstance(part, Gaussian)]
        others = [part for part in self.components if not isinstance(part, Gaussian)]
        normal_take = bool(normal) and rule in Gaussian.rules
        if n_nodes is not None and rule == "auto" and not normal:
            self._check_choice(n_nodes)
        blocks = []
        if normal:
            chosen = (rule, n_nodes) if normal_take else ("auto", None)
            blocks.append(gaussian_rule(normal, *chosen, random_state))
        for part in others:
            takes = rule == "auto" or (rule in part.rules and not normal_take)
            chooses = takes and (rule != "auto" or isinstance(part, Uniform))
            blocks.append(
                part.nodes(rule if takes else "auto", n_nodes if chooses else None, random_state)
            )
        return side_by_side(blocks, self._order())

    def _check_choice(self, n_nodes: int) -> None:
        """Raise if no component can have that number of nodes by rule="auto"."""
        if not any(isinstance(part, Uniform) for part in self.components):
            raise ValueError(
                f"n_nodes={n_nodes} has no meaning for the components of {self!r}; leave "
                f"n_nodes=None"
            )

    def _order(self) -> list[int]:
        """Where the columns of e are if those of the Gaussian components come first."""
        ends = np.cumsum([part.n_shocks for part in self.components])
        spans = list(zip(self.components, ends, strict=True))
        spans.sort(key=lambda span: not isinstance(span[0], Gaussian))
        placed = [column for part, end in spans for column in range(end - part.n_shocks, end)]
        return [int(place) for place in np.argsort(placed)]

    def sample(self, states: Tensor, rng: np.random.RandomState) -> Tensor:
        """One draw of all components for each state: (n, d) to (n, k)."""
        return torch.cat([part.sample(states, rng) for part in self.components], dim=1)

    def _parameters(self) -> dict[str, Any]:
        return {"components": self.components}

    def __repr__(self) -> str:
        return f"Product({', '.join(map(repr, self.components))})"


def _as_tuple(state: Columns) -> tuple[int, ...]:
    if state is None:
        return ()
    return state if isinstance(state, tuple) else (state,)
