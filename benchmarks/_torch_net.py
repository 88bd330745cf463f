"""The network of the skorch nets, in a file that worker processes can import."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch


class Net(torch.nn.Module):
    """Affine layers with ReLUs between them."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        layers: list[torch.nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
