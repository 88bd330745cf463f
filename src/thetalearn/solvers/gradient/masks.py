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

    Each mask of each replica has a sequence of its own in every epoch, which the rows of the
    batches use up one after another.

    Parameters
    ----------
    seeds : sequence of int
        Seed of each replica.
    rates : sequence of tuple of float
        For each replica the probability that a number is dropped, for each mask.

    Attributes
    ----------
    seeds : list of int
        The seeds.
    """

    def __init__(self, seeds: Sequence[int], rates: Sequence[tuple[float, ...]]) -> None:
        self.seeds, self._rates = list(seeds), list(rates)
        self._generators: list[list[torch.Generator]] = []
        self._blocks: list[Tensor] = []
        self._next = self._steps = 0

    def keep(self, replicas: Sequence[int]) -> None:
        """Go on with some of the replicas."""
        self.seeds = [self.seeds[k] for k in replicas]
        self._rates = [self._rates[k] for k in replicas]

    def start_epoch(self, epoch: int, full: Program) -> None:
        """Begin an epoch, whose batches have at most the size of a program's."""
        device, n_masks = full.inputs.device, len(full.masks)
        self._generators = [
            [
                torch.Generator(device).manual_seed((seed * 1_000_003 + epoch) * n_masks + i)
                for i in range(n_masks)
            ]
            for seed in self.seeds
        ]
        self._next = self._steps = 0

    def fill(self, program: Program, full: Program) -> None:
        """Draw the masks of one step; ``full`` is the program of a full batch."""
        if self._next == self._steps:
            self._draw(full)
        for mask, block in zip(program.masks, self._blocks, strict=True):
            drawn = block[:, self._next, : mask.shape[-2]]
            mask.copy_(drawn if mask.ndim == 3 else drawn[0])
        self._next += 1

    def _draw(self, full: Program) -> None:
        """Draw for twice as many steps as last time, as nobody knows how many there will be."""
        numbers = sum(mask.shape[-2:].numel() for mask in full.masks)
        self._steps = max(1, min(2 * self._steps, BLOCK // max(numbers, 1)))
        self._next = 0
        self._blocks = []
        for i, mask in enumerate(full.masks):
            shape = len(self.seeds), self._steps, *mask.shape[-2:]
            block = mask.new_empty(shape)
            # Single precision takes a third of the time, and bernoulli_ three times as long.
            uniform = torch.empty(shape[1:], dtype=torch.float32, device=mask.device)
            for k, generators in enumerate(self._generators):
                rate = self._rates[k][i]
                uniform.uniform_(generator=generators[i])
                torch.ge(uniform, rate, out=block[k]).div_(1 - rate)
            self._blocks.append(block)
