"""Recorded operations, to be repeated on memory of their own.

The recording of one pass is cut down to what has to be repeated. Each operation that is left is
bound to its arguments and, by ``out=``, to the memory of its results, so that a replay allocates
nothing; results that are not needed at the same time share memory, and gradients are written where
the optimizer looks for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor

from .recording import Call, Place, map_leaves, place_of

__all__ = ["Replay", "captured"]

#: Operations whose results do not depend on the values of their arguments.
FILLED = frozenset({"ones_like", "zeros_like", "full_like", "new_zeros", "new_ones", "new_full"})

#: Operations whose results are written later.
EMPTY = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})


class Replay:
    """Recorded operations, bound to memory of their own.

    Parameters
    ----------
    calls : list of Call
        What was recorded.
    given : list of Tensor
        What may have changed until the next replay: parameters, buffers, the batch.
    results : list of Tensor
        What is computed, in the recording.
    gradients : list of (Tensor or None, Tensor)
        Gradients in the recording, None for zero, and where they belong.

    Attributes
    ----------
    results : list of Tensor
        What a replay computes, where it does.
    """

    def __init__(
        self,
        calls: list[Call],
        given: list[Tensor],
        results: list[Tensor],
        gradients: list[tuple[Tensor | None, Tensor]],
    ) -> None:
        fresh = {p.key for call in calls if not (call.writes or call.is_view) for p in call.made}
        outside = {place_of(tensor).key for tensor in given}
        calls = changing(calls, outside)
        same = skip_identities(calls, fresh | outside)

        def place(tensor: Tensor) -> Place:
            return resolved(place_of(tensor), same)

        found = [(None if g is None else place(g), target) for g, target in gradients]
        places = [place(tensor) for tensor in results]
        kept = {place.key for place in places}
        self.calls = needed(calls, kept | {g.key for g, _ in found if g is not None})
        # Empty tensors are all at address 0.
        self._own = fresh & {p.key for call in self.calls for p in call.made} - {0}
        self._moved: dict[int, tuple[torch.UntypedStorage, int]] = {}
        self._rest = [(g, t) for g, t in found if g is None or not self._redirect(g, t, kept)]
        self._share_memory(kept | {g.key for g, _ in self._rest if g is not None})
        self.results = [self._tensor(place) for place in places]

    def bind(self) -> Callable[[], None]:
        """A function that computes the results in place, and gradients where they belong."""
        ways = [self._candidates(call) for call in self.calls]
        with torch.inference_mode():
            operations = [first_that_works(candidates) for candidates in ways]
        for gradient, target in self._rest:
            if gradient is None:
                operations.append(target.zero_)
            else:
                operations.append(partial(target.copy_, self._tensor(gradient)))

        def run() -> None:
            for operation in operations:
                operation()

        return run

    def _tensor(self, place: Place) -> Tensor:
        """A recorded tensor, where it is in a replay."""
        storage, moved = self._moved.get(place.key, (place.storage, 0))
        empty = torch.empty(0, dtype=place.dtype, device=storage.device)
        offset = (place.start + moved) // empty.itemsize
        return empty.set_(storage, offset, place.size, place.stride)

    def _redirect(self, place: Place, target: Tensor, kept: set[int]) -> bool:
        """Let the operation that makes a gradient write it where it belongs, if it can."""
        aim = place_of(target)
        if (
            place.key not in self._own - kept - set(self._moved)
            or (place.start, place.dtype, place.size) != (0, aim.dtype, aim.size)
            or place.storage.nbytes() != target.nbytes
        ):
            return False
        if place.stride != aim.stride and not self._transpose(place, aim):
            return False
        self._moved[place.key] = aim.storage, aim.start
        return True

    def _transpose(self, place: Place, aim: Place) -> bool:
        """Let a product of matrices give its transpose, (AB)ᵀ = BᵀAᵀ, if nothing else reads it."""
        if any(read.key == place.key for call in self.calls for read in call.reads):
            return False
        (call,) = (c for c in self.calls if any(p.key == place.key for p in c.made))
        if call.name not in ("mm", "bmm") or call.results != [place.transposed()]:
            return False
        call.args = [matrix.transposed() for matrix in reversed(call.args)]
        call.results = [replace(place, stride=aim.stride)]
        return True

    def _share_memory(self, kept: set[int]) -> None:
        """Let tensors that are not needed at the same time take the same memory."""
        born: dict[int, tuple[int, torch.UntypedStorage]] = {}
        dies: dict[int, int] = {}
        for i, call in enumerate(self.calls):
            for place in [*call.reads, *call.made]:
                if place.key in self._own and place.key not in self._moved:
                    born.setdefault(place.key, (i, place.storage))
                    dies[place.key] = i
        starts, ends = defaultdict(list), defaultdict(list)
        for key, (i, storage) in born.items():
            starts[i].append((key, storage))
            if key not in kept:
                ends[dies[key]].append(key)
        free: list[torch.UntypedStorage] = []
        for i in range(len(self.calls)):
            for key, storage in starts[i]:
                fitting = [block for block in free if block.nbytes() >= storage.nbytes()]
                block = min(fitting, key=lambda block: block.nbytes(), default=storage)
                free = [other for other in free if other is not block]
                self._moved[key] = block, 0
            free += [self._moved[key][0] for key in ends[i]]

    def _candidates(self, call: Call) -> list[Callable[[], Any]]:
        """Ways to execute a call, the fastest first; the last one always works."""
        args, kwargs = map_leaves((call.args, call.kwargs), Place, self._tensor)
        if call.writes or not call.made:
            return [partial(call.operation, *args, **kwargs)]
        targets: list[Any] = map_leaves(call.results, Place, self._tensor)
        if call.name in ("clone", "_to_copy"):
            return [partial(targets[0].copy_, args[0])]
        if call.name == "relu":
            return [partial(torch.clamp_min, args[0], 0, out=targets[0])]
        copying = partial(copy_results, call.operation, args, kwargs, targets)
        variant, names, outs = out_variant(call.operation)
        if len(outs) != len(targets) or not all(isinstance(t, Tensor) for t in targets):
            return [copying]
        if call.name.startswith("mkldnn_rnn_layer"):
            return [copying]  # It keeps what its derivative needs only where autograd works.
        kwargs = {name: value for name, value in kwargs.items() if name in names}
        ways: list[Callable[[], Any]] = [
            partial(variant, *args, **kwargs, **dict(zip(outs, targets, strict=True))),
            copying,
        ]
        function = getattr(torch, call.name, None)
        if isinstance(function, BuiltinFunctionType):
            # The same kernel, a microsecond sooner.
            out = targets[0] if len(targets) == 1 else tuple(targets)
            ways.insert(0, partial(function, *args, **kwargs, out=out))
        return ways


def changing(calls: list[Call], given: set[int]) -> list[Call]:
    """The calls that a replay has to repeat."""
    written = {place.key for call in calls for place in call.writes}
    changing = written | given
    kept = []
    for call in calls:
        constant = call.name in FILLED or not any(p.key in changing for p in call.reads)
        touched = any(p.key in written for p in [*call.made, *call.writes])
        if call.is_view or call.name in EMPTY or (constant and call.made and not touched):
            continue
        changing.update(place.key for place in call.made)
        kept.append(call)
    return kept


def resolved(place: Place, same: Mapping[int, Place]) -> Place:
    """Where a tensor is that may be the same as another."""
    other = same.get(place.key)
    if other is None:
        return place
    start = other.start + place.start
    return replace(place, storage=other.storage, key=other.key, start=start)


def skip_identities(calls: list[Call], steady: set[int]) -> dict[int, Place]:
    """Take out products with 1 and first powers, of which vmap and autograd make many."""
    steady = steady - {place.key for call in calls for place in call.writes}
    same: dict[int, Place] = {}
    for call in list(calls):
        call.move(partial(resolved, same=same))
        if str(call.operation) in ("aten.mul.Scalar", "aten.pow.Tensor_Scalar"):
            (source, number), (result,) = call.args, call.made
            alike = (source.dtype, source.size, source.stride) == (
                result.dtype,
                result.size,
                result.stride,
            )
            if number == 1 and alike and {source.key, result.key} <= steady:
                same[result.key] = source
                calls.remove(call)
    return same


def needed(calls: list[Call], wanted: set[int]) -> list[Call]:
    """The calls without which the wanted memory would not be the same."""
    wanted, kept = set(wanted), []
    for call in reversed(calls):
        if call.writes or not call.made or any(place.key in wanted for place in call.made):
            wanted.update(place.key for place in call.reads)
            kept.append(call)
    return kept[::-1]


@cache
def out_variant(operation: Any) -> tuple[Any, frozenset[str], tuple[str, ...]]:
    """The overload that writes to given tensors, its other arguments, and the names of these."""
    packet, own = operation.overloadpacket, operation._schema
    made = {"dtype", "layout", "device", "pin_memory"}
    wanted = [(a.name, str(a.type)) for a in own.arguments]
    for stripped in (wanted, [(n, t) for n, t in wanted if n not in made]):
        for overload in packet.overloads():
            variant = getattr(packet, overload)
            arguments = variant._schema.arguments
            outs = tuple(a.name for a in arguments if a.is_out)
            rest = [(a.name, str(a.type)) for a in arguments if not a.is_out]
            if rest == stripped and outs and len(outs) == len(own.returns):
                return variant, frozenset(name for name, _ in rest), outs
    return None, frozenset(), ()


def copy_results(operation: Any, args: Any, kwargs: Any, targets: list[Any]) -> None:
    """Execute an operation that cannot write to given tensors."""
    with torch.inference_mode(False), torch.enable_grad():
        result = operation(*args, **kwargs)
    results = result if isinstance(result, list | tuple) else [result]
    for target, value in zip(targets, results, strict=True):
        if isinstance(target, Tensor):
            target.copy_(value)


def first_that_works(ways: list[Callable[[], Any]]) -> Callable[[], Any]:
    """The first way that works, once executed."""
    for way in ways[:-1]:
        try:
            way()
        except (TypeError, RuntimeError):
            continue
        return way
    ways[-1]()
    return ways[-1]


def captured(run: Callable[[], None]) -> Callable[[], None]:
    """The same as one launch on a CUDA device, if its operations can be captured."""
    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
    except RuntimeError:
        return run
    return graph.replay
