"""What autograd does, written down: every operation that reaches the kernels, and its memory.

A `Recorder` stands below autograd, vmap and autocast, where nothing is left of them but calls such
as ``aten.mm(A, B)`` on plain tensors. For each it notes a `Call`: the operation and, for each
tensor, the `Place`, that is what part of which memory it is. `replay.Replay` repeats them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Call", "NotRecordable", "Place", "RandomOperation", "Recorder"]


class RandomOperation(ValueError):
    """A module draws random numbers over which the caller has no power."""


class NotRecordable(Exception):
    """Recorded operations would not do what the module does."""


@dataclass(frozen=True)
class Place:
    """What part of which memory a tensor is; it begins ``start`` bytes from the storage's begin."""

    storage: torch.UntypedStorage = field(compare=False)
    key: int
    dtype: torch.dtype
    start: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def transposed(self) -> Place:
        """The transpose of a matrix, or of a stack of them."""
        size, stride = self.size, self.stride
        return replace(
            self,
            size=(*size[:-2], size[-1], size[-2]),
            stride=(*stride[:-2], stride[-1], stride[-2]),
        )


def place_of(tensor: Tensor) -> Place:
    """The place of a tensor."""
    storage, start = tensor.untyped_storage(), int(tensor.storage_offset()) * tensor.itemsize
    size, stride = tuple(tensor.shape), tensor.stride()
    return Place(storage, storage.data_ptr(), tensor.dtype, start, size, stride)


def map_leaves(tree: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """A nest of lists, tuples and dicts with a function of all its leaves of one kind."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, list | tuple):
        return [map_leaves(branch, kind, function) for branch in tree]
    if isinstance(tree, dict):
        return {name: map_leaves(branch, kind, function) for name, branch in tree.items()}
    return tree


def leaves(tree: Any, kind: type) -> list[Any]:
    """The leaves of one kind in a nest of lists, tuples and dicts."""
    found: list[Any] = []
    map_leaves(tree, kind, found.append)
    return found


class Call:
    """An operation that reached the kernels, and the memory on which it worked."""

    def __init__(self, operation: Any, args: Any, kwargs: Any, result: Any) -> None:
        self.operation = operation
        self.name: str = operation.overloadpacket.__name__
        self.args = map_leaves(args, Tensor, place_of)
        self.kwargs = map_leaves(kwargs, Tensor, place_of)
        results = result if isinstance(result, list | tuple) else [result]
        self.results: list[Any] = map_leaves(results, Tensor, place_of)

    @property
    def reads(self) -> list[Place]:
        """Arguments that are tensors."""
        return leaves([self.args, self.kwargs], Place)

    @property
    def writes(self) -> list[Place]:
        """Arguments that are changed."""
        named = named_arguments(self.operation, self.args, self.kwargs)
        return leaves([named[name] for name in written_arguments(self.operation)], Place)

    @property
    def made(self) -> list[Place]:
        """Results that are tensors."""
        return leaves(self.results, Place)

    def move(self, function: Callable[[Place], Place]) -> None:
        """Replace all places."""
        self.args, self.kwargs, self.results = map_leaves(
            [self.args, self.kwargs, self.results], Place, function
        )

    @property
    def is_view(self) -> bool:
        """Whether this only looks at memory in another way."""
        if torch.Tag.inplace_view in self.operation.tags:
            return True
        read = {place.key for place in self.reads}
        return bool(self.made) and not self.writes and all(p.key in read for p in self.made)


def named_arguments(
    operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of an operation by name, with those that were left out."""
    arguments = operation._schema.arguments
    named = {a.name: a.default_value for a in arguments if a.has_default_value()}
    return {**named, **dict(zip([a.name for a in arguments], args, strict=False)), **kwargs}


@cache
def written_arguments(operation: Any) -> frozenset[str]:
    """Names of the arguments that an operation changes."""
    arguments = operation._schema.arguments
    return frozenset(a.name for a in arguments if a.alias_info and a.alias_info.is_write)


class Recorder(TorchDispatchMode):
    """Writes down what reaches the kernels.

    Attributes
    ----------
    calls : list of Call
        In the order of execution.
    problem : str or None
        Why they do not stand for what was computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.problem: str | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler at the first operation, which takes a second.
        return False

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Execute and note an operation."""
        named = named_arguments(operation, args, kwargs or {})
        if torch.Tag.nondeterministic_seeded in operation.tags and not is_harmless(named):
            raise RandomOperation(
                f"the module draws random numbers by {operation}, which would not depend on "
                "random_state alone; of random operations only the dropout of torch.nn and "
                "torch.nn.functional is known, outside of torch's attention and recurrent layers"
            )
        if self.problem is None and depends_on_data(operation, named):
            self.problem = f"its operations depend on data, by {operation}"
        result = operation(*args, **(kwargs or {}))
        for tensor in leaves([args, kwargs, result], Tensor):
            if tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
                self.problem = self.problem or f"{operation} has tensors that are not plain memory"
        if self.problem is None:
            self.calls.append(Call(operation, args, kwargs or {}, result))
        return result


def is_harmless(named: Mapping[str, Any]) -> bool:
    """Whether an operation that could be random is told not to be."""
    return any(name in named and not named[name] for name in ("dropout_p", "dropout", "train"))


def depends_on_data(operation: Any, named: Mapping[str, Any]) -> bool:
    """Whether values of tensors become Python numbers, or shapes of other tensors."""
    if torch.Tag.data_dependent_output in operation.tags:
        return True
    if operation.overloadpacket is torch.ops.aten.index:
        return any(t.dtype in (torch.bool, torch.uint8) for t in leaves(named["indices"], Tensor))
    return torch.Tag.dynamic_output_shape in operation.tags
