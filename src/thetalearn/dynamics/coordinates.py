"""The inputs of an approximating function: states in their coordinates, in a box."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .model import DynamicModel

__all__ = ["StateMap"]

#: Standard deviations that the box of an ergodic set reaches to on each side, at least.
REACH = 3.0


class StateMap:
    """From states s (n, d) to the inputs x (n, d) of an approximating function.

    Parameters
    ----------
    model : DynamicModel
        Gives the bounds and the coordinates of the states.
    cloud : Tensor of shape (n, d), default=None
        States of a simulation: the inputs are then their principal components, in the box that
        holds all of them, so that no coefficient is spent on states that never occur.

    Attributes
    ----------
    box : ndarray of shape (d, 2)
        Ends of the inputs.
    """

    def __init__(self, model: DynamicModel, cloud: Tensor | None = None) -> None:
        self._coordinates = model.state_coordinates
        self._low, self._high = model.bounds[:, 0], model.bounds[:, 1]
        self.center: Tensor | None = None
        #: Inputs that take finitely many values.
        self.chains = self._chains(model)
        if cloud is None:
            self.box = self._transformed(model.bounds.T).T.numpy().copy()
            return
        x = self._transformed(cloud)
        self.center = x.mean(0)
        _, singular, axes = torch.linalg.svd(x - self.center, full_matrices=False)
        spread = singular / np.sqrt(len(x))
        # A direction in which the cloud has no width still needs a box of some.
        spread = spread.clamp(min=float(spread.max()) * 1e-8)
        self.to_scores, self.to_states = axes.T / spread, spread[:, None] * axes
        scores = (x - self.center) @ self.to_scores
        reach = scores.abs().amax(0).clamp(min=REACH)
        self.box = torch.stack([-reach, reach], 1).numpy()

    def _chains(self, model: DynamicModel) -> dict[int, np.ndarray]:
        held = {}
        for j, values in model.chain_states().items():
            states = model.middle_states()[:1].repeat(len(values), 1)
            states[:, j] = values
            held[j] = np.sort(self._transformed(states)[:, j].numpy())
        return held

    def __call__(self, s: Tensor) -> Tensor:
        """Inputs (n, d) of states (n, d)."""
        x = self._transformed(s)
        return x if self.center is None else (x - self.center.to(x)) @ self.to_scores.to(x)

    def inverse(self, x: Tensor) -> Tensor:
        """States of inputs."""
        if self.center is not None:
            x = x @ self.to_states.to(x) + self.center.to(x)
        return self._coordinates.inverse(x, self._low.to(x), self._high.to(x))

    def inside(self, s: Tensor, slack: float = 1e-9) -> Tensor:
        """Which states (n,) lie in the box."""
        box = torch.from_numpy(self.box).to(s)
        x = self(s)
        margin = slack * (box[:, 1] - box[:, 0])
        return ((x >= box[:, 0] - margin) & (x <= box[:, 1] + margin)).all(1)

    def _transformed(self, s: Tensor) -> Tensor:
        if self._coordinates.trivial:
            return s
        return self._coordinates.forward(s, self._low.to(s), self._high.to(s))
