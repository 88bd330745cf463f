"""The random factors of dropout, which depend on a replica's seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .step import Program

__all__ = ["MaskSource"]

#: Numbers that are drawn at once for one replica, at most.
BLOCK = 2**18


class MaskSource:
    """Draws masks for K replicas; a replica gets the same masks alone and among others.

    Parameters
    ----------
    seeds : sequence of int
        Seed of each replica.
    rates : sequence of tuple of float
        For each replica the probability that a number is dropped, for each mask.
    """

    def __init__(self, seeds: Sequence[int], rates: Sequence[tuple[float, ...]]) -> None:
        self._seeds, self._rates = list(seeds), list(rates)
        self._generators: list[torch.Generator] = []
        self._blocks: list[Tensor] = []
        self._next = 0

    def keep(self, replicas: Sequence[int]) -> None:
        """Go on with some of the replicas."""
        self._seeds = [self._seeds[k] for k in replicas]
        self._rates = [self._rates[k] for k in replicas]

    def start_epoch(self, epoch: int, full: Program) -> None:
        """Begin an epoch, whose batches have at most the size of a program's."""
        device = full.inputs.device
        self._generators = [
            torch.Generator(device).manual_seed((seed * 1_000_003 + epoch) % 2**63)
            for seed in self._seeds
        ]
        rows = [mask.shape[-2:].numel() for mask in full.masks]
        self._steps = max(1, BLOCK // max(sum(rows), 1))
        self._next = self._steps

    def fill(self, program: Program, full: Program) -> None:
        """Draw the masks of one step; ``full`` is the program of a full batch."""
        if self._next == self._steps:
            self._blocks = self._draw(full)
            self._next = 0
        for mask, block in zip(program.masks, self._blocks, strict=True):
            drawn = block[:, self._next, : mask.shape[-2]]
            mask.copy_(drawn if mask.ndim == 3 else drawn[0])
        self._next += 1

    def _draw(self, full: Program) -> list[Tensor]:
        blocks = []
        for i, mask in enumerate(full.masks):
            shape = (self._steps, *mask.shape[-2:])
            block = mask.new_empty(len(self._seeds), *shape)
            for k, generator in enumerate(self._generators):
                stay = 1 - self._rates[k][i]
                block[k].bernoulli_(stay, generator=generator).div_(stay)
            blocks.append(block)
        return blocks
