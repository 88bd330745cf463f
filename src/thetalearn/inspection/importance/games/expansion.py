"""The distinct products that remain of the terms of a sum of products without some players."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .game import pieces

__all__ = ["Combinations", "Expansion", "Group", "combine", "expand", "taking_part"]

#: Coefficients made at a time.
CHUNK = 2**21

#: Combinations with more coefficients than this are kept target by target, without their zeros.
MAX_DENSE = 50_000_000

#: Codes of multi-indices stay below this, within 64 bits.
MAX_CODE = 2**62

WeightsOfSubsets = Callable[[int], np.ndarray]
TargetsOfTerms = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Group:
    """Terms with the same number q of players."""

    #: Where they stand among the terms.
    terms: slice
    #: The players in each, ascending, shape (n, q).
    players: np.ndarray

    @property
    def n_active(self) -> int:
        """How many players each has."""
        return self.players.shape[1]


@dataclass(frozen=True)
class Expansion:
    """Every term with every subset of its players.

    Subset U of a term is a number of q bits, at position ``starts + U`` of ``places``; its product
    is the term's without the columns of the players outside U.
    """

    #: Terms by number of players.
    order: np.ndarray
    groups: Sequence[Group]
    #: Position of the empty subset of each term, and the position after its last.
    starts: np.ndarray
    ends: np.ndarray
    #: Which of the distinct products each subset gives.
    places: np.ndarray
    n_products: int
    #: Multi-indices (L, d) of the products 1 to L, which have one player.
    singles: np.ndarray
    #: For two players, three and so on: which products have them, and the two each is made of.
    levels: Sequence[tuple[slice, Tensor, Tensor]]

    def places_of(self, group: Group, part: slice) -> np.ndarray:
        """Products of all subsets of some terms of a group, shape (n, 2^q)."""
        positions = self.starts[group.terms][part, None] + np.arange(1 << group.n_active)
        return self.places[positions]


def expand(indices: np.ndarray, players: Sequence[np.ndarray]) -> Expansion:
    """Number the distinct products of all subsets of all terms, by number of players."""
    active = taking_part(indices, players)
    order = np.argsort(active.sum(1), kind="stable")
    indices, active = indices[order], active[order]
    n_active = active.sum(1)
    slots = np.argsort(~active, axis=1, kind="stable")
    ends = np.cumsum(1 << n_active)
    starts = ends - (1 << n_active)
    groups = []
    for q in np.unique(n_active).tolist():
        alike = slice(*np.searchsorted(n_active, [q, q + 1]).tolist())
        groups.append(Group(alike, slots[alike, :q]))

    keys = _keys(_functions(indices, players), groups)
    _, first, places = np.unique(keys, return_index=True, return_inverse=True)
    terms = np.searchsorted(ends, first, side="right")
    subsets = first - starts[terms]
    by_size = np.argsort(np.bitwise_count(subsets), kind="stable")
    renumbered = np.empty_like(by_size)
    renumbered[by_size] = np.arange(len(by_size))
    places, terms, subsets = renumbered[places], terms[by_size], subsets[by_size]

    sizes = np.bitwise_count(subsets)
    last = np.frexp(subsets.astype(np.float64))[1].astype(np.int64) - 1  # its highest bit
    single = np.flatnonzero(sizes == 1)
    own = _owners(players, indices.shape[1]) == slots[terms[single], last[single]][:, None]
    whole = starts[terms] + subsets
    bits = np.where(sizes > 0, 1 << np.maximum(last, 0), 0)
    parts = places[whole - bits], places[starts[terms] + bits]
    levels = []
    for size in range(2, int(sizes.max()) + 1):
        level = slice(*np.searchsorted(sizes, [size, size + 1]).tolist())
        without, player = (torch.from_numpy(part[level]) for part in parts)
        levels.append((level, without, player))
    singles = indices[terms[single]] * own
    return Expansion(order, groups, starts, ends, places, len(sizes), singles, levels)


def _functions(indices: np.ndarray, players: Sequence[np.ndarray]) -> np.ndarray:
    """Which of the distinct functions of every player a term has, 0 for none; shape (T, P)."""
    functions = np.zeros((len(indices), len(players)), dtype=np.int64)
    for p, columns in enumerate(players):
        own = indices[:, columns]
        taking_part = np.flatnonzero(own.any(1))
        _, number = np.unique(own[taking_part], axis=0, return_inverse=True)
        functions[taking_part, p] = 1 + number.ravel()
    return functions


def _keys(functions: np.ndarray, groups: Sequence[Group]) -> np.ndarray:
    """A number for every subset of every term, equal where the products are."""
    radices = functions.max(0, initial=0) + 1
    keys: np.ndarray | None = None
    start = 0
    while start < len(radices):
        stop = start + 1
        while stop < len(radices) and prod(radices[start : stop + 1].tolist()) < MAX_CODE:
            stop += 1
        codes = np.zeros_like(functions)
        codes[:, start:stop] = functions[:, start:stop] * np.cumprod(
            np.concatenate([[1], radices[start : stop - 1]])
        )
        word = np.concatenate([_subset_sums(codes, group).ravel() for group in groups])
        if keys is not None:
            # Both are numbered anew, so that one number below 2^63 can tell the pairs apart.
            _, before = np.unique(keys, return_inverse=True)
            distinct, word = np.unique(word, return_inverse=True)
            word = before * len(distinct) + word
        keys = word
        start = stop
    assert keys is not None
    return keys


def _subset_sums(codes: np.ndarray, group: Group) -> np.ndarray:
    """Sums of the players' codes over all subsets of the terms of a group, shape (n, 2^q)."""
    own = np.take_along_axis(codes[group.terms], group.players, 1)
    sums = np.zeros((len(own), 1 << group.n_active), dtype=np.int64)
    for s in range(group.n_active):
        sums[:, 1 << s : 2 << s] = sums[:, : 1 << s] + own[:, s, None]
    return sums


def taking_part(indices: np.ndarray, players: Sequence[np.ndarray]) -> np.ndarray:
    """Which players take part in each term, bool of shape (T, P)."""
    return np.stack([indices[:, columns].any(1) for columns in players], axis=1)


def _owners(players: Sequence[np.ndarray], n_columns: int) -> np.ndarray:
    """The player of each column."""
    owners = np.empty(n_columns, dtype=np.int64)
    for p, columns in enumerate(players):
        owners[columns] = p
    return owners


def combine(
    expansion: Expansion,
    means: np.ndarray,
    coef: np.ndarray,
    weights: WeightsOfSubsets,
    targets: TargetsOfTerms,
    n_targets: int,
) -> Combinations:
    """What is linear in the values of all coalitions, as combinations of the products of a row.

    Parameters
    ----------
    expansion : Expansion
        The terms.
    means : ndarray of shape (K,)
        Means of the products over the background.
    coef : ndarray of shape (T, m)
        Coefficients of the terms, in the order of the expansion.
    weights : callable
        What the coalitions of q players count for the S targets of a term: an array (S, 2^q).
    targets : callable
        Numbers (n, S) of the targets of n terms, from their players (n, q).
    n_targets : int
        How many targets there are.

    Returns
    -------
    Combinations
        One for every target and output.
    """
    m = coef.shape[1]
    shape = expansion.n_products, n_targets * m
    blocks = []
    for group in expansion.groups:
        if not (group.n_active and (table := weights(group.n_active)).size):
            continue
        for part in pieces(len(group.players), max(1, CHUNK // (table.size * m))):
            places = expansion.places_of(group, part)
            rest = means[places[:, ::-1]]  # what subset U leaves is subset 2^q - 1 - U
            worth = rest[:, :, None] * coef[group.terms][part, None]
            entries = worth[:, :, None] * table.T[:, :, None]  # (n, 2^q, S, m)
            outputs = targets(group.players[part])[:, None, :, None] * m + np.arange(m)
            keys = np.broadcast_arrays(places[:, :, None, None], outputs)
            rows, columns = (key.ravel().astype(np.int32) for key in keys)
            blocks.append(sp.coo_array((entries.ravel(), (rows, columns)), shape).tocsr())
    return Combinations(_total(blocks, shape), m)


class Combinations:
    """Linear combinations of products (K, n), dense or target by target.

    Parameters
    ----------
    matrix : sparse array of shape (K, targets * m)
        Their coefficients.
    m : int
        Outputs of a target.
    """

    def __init__(self, matrix: sp.csr_array, m: int) -> None:
        self.m = m
        self.n_targets = matrix.shape[1] // m
        self._dense: Tensor | None = None
        self._parts: list[tuple[Tensor, Tensor]] = []
        if prod(matrix.shape) <= MAX_DENSE:
            self._dense = torch.from_numpy(np.ascontiguousarray(matrix.T.toarray()))
            return
        matrix = matrix.tocsc()
        for target in range(self.n_targets):
            part = matrix[:, target * m : (target + 1) * m]
            used = np.unique(part.indices).astype(np.int64)
            block = np.ascontiguousarray(part.tocsr()[used].T.toarray())
            self._parts.append((torch.from_numpy(used), torch.from_numpy(block)))

    def __call__(self, products: Tensor) -> Tensor:
        """The combinations, shape (n, targets, m)."""
        device, n = products.device, products.shape[1]
        if self._dense is not None:
            self._dense = self._dense.to(device)
            combined = self._dense @ products
        else:
            combined = products.new_empty(self.n_targets * self.m, n)
            for target, (used, block) in enumerate(self._parts):
                own = slice(target * self.m, (target + 1) * self.m)
                combined[own] = block.to(device) @ products[used.to(device)]
        return combined.view(self.n_targets, self.m, n).permute(2, 0, 1)


def _total(blocks: list[sp.csr_array], shape: tuple[int, int]) -> sp.csr_array:
    """Sum of sparse matrices, two by two."""
    while len(blocks) > 1:
        blocks = [sum(blocks[i + 1 : i + 2], blocks[i]) for i in range(0, len(blocks), 2)]
    return blocks[0] if blocks else sp.csr_array(shape)
