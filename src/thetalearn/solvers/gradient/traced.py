"""Training steps of any torch module: what autograd does once is recorded and replayed.

Once the size of the batch is known, a loss and its gradient are a fixed sequence of operations. As
autograd finds them, every operation that reaches the kernels is written down, with the memory that
it read and wrote. A step then calls the same kernels on the same memory: no graph is built, no view
is made again, and gradients fall where the optimizer looks for them.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from types import BuiltinFunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .explicit import kept_buffers, replica_buffers
from .parameters import Parameters
from .step import Program, Step

__all__ = ["TracedStep", "trace_step"]

#: Rows that are kept as an example of the inputs, at most.
MAX_EXAMPLES = 64


@dataclass
class _Batch:
    """What a step is computed from, beside parameters and buffers; see `Program`."""

    inputs: Tensor
    targets: Tensor
    share: Tensor | None
    total: Tensor
    masks: list[Tensor]

    def replica(self, k: int) -> _Batch:
        share = None if self.share is None else self.share[k]
        masks = [mask[k] for mask in self.masks]
        return _Batch(self.inputs[k], self.targets[k], share, self.total[k], masks)


class TracedStep(Step):
    """Steps of any torch module, with one pass for all replicas where torch can stack them.

    Within the module, the dropout of `torch.nn.functional`, which is also that of the modules of
    `torch.nn`, multiplies by masks that the caller fills. Its batch normalisation counts rows by
    their weights, if there are any, so that a weight equals repeated rows. Everything else that
    draws random numbers is refused.

    The module is called when a program is made, and not at every step. If its operations depend on
    data, as by an ``if``, or its results on more than its tensors and inputs, autograd is asked at
    every step instead; hooks and counters of calls are not noticed.

    Parameters
    ----------
    module : Module
        The network, which belongs to the step; its own parameters are not used. In training mode it
        takes rows (b, *input_shape) and returns (b, q).
    loss : object
        Has ``rows(outputs, targets)``, differentiable by autograd.
    parameters : Parameters
        Values and gradients.
    buffers : dict of str to Tensor
        The other tensors of the module: its buffers, and parameters that are not trained.
    example : Tensor of shape (n, *input_shape)
        Rows on which the module is tried.
    n_targets : int
        Columns of y.
    n_outputs : int or None, default=None
        What q must be; None: whatever the module returns.
    amp : bool, default=False
        Whether training computes the outputs and the loss in bfloat16 where `torch.autocast` does.

    Attributes
    ----------
    drop_rates : tuple of float
        Probability to drop, for each mask, as the module has it.
    fallback_reason : str or None
        What keeps the newest program from one recorded pass for all replicas; None if nothing does.

    Raises
    ------
    TypeError, ValueError
        If the module returns no tensor of the right shape, if no parameter has an influence on it,
        or if it draws random numbers other than dropout's.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Any,
        parameters: Parameters,
        buffers: dict[str, Tensor],
        example: Tensor,
        n_targets: int,
        *,
        n_outputs: int | None = None,
        amp: bool = False,
    ) -> None:
        self.module = module
        self.loss = loss
        self.parameters = parameters
        self.buffers = buffers
        self.example = example
        self.n_targets = n_targets
        self.n_outputs = n_outputs
        self.amp = amp
        self.fallback_reason: str | None = None
        self._stack_problem: str | None = None
        self._programs: dict[tuple[int, bool], Program] = {}
        with self._undisturbed():
            found, _ = self._try(self._batch(2, False))
        self.drop_rates = tuple(rate for _, rate in found)

    def program(self, batch_size: int, *, weighted: bool) -> Program:
        """The step on batches of one size."""
        key = batch_size, weighted
        if key not in self._programs:
            with self._undisturbed():
                self._programs[key] = self._make(self._batch(batch_size, weighted))
        return self._programs[key]

    def predict(self, inputs: Tensor) -> Tensor:
        """Outputs in evaluation mode, without ``amp``."""
        tensors = {**self.parameters.values, **self.buffers}
        call = partial(torch.func.functional_call, self.module)
        shared = inputs.ndim == self.example.ndim
        self.module.eval()
        with torch.no_grad():
            if self.parameters.n_replicas == 1:
                return call(tensors, inputs)
            if self._stack_problem is None:
                try:
                    # Where functions may be replaced, torch takes no short cuts that vmap lacks.
                    with _RowOperations(0, None, None):
                        return torch.func.vmap(call, (0, None if shared else 0))(tensors, inputs)
                except Exception as error:
                    # What torch cannot stack may work alone, and another error will come again.
                    self._stack_problem = _sentence(error)
            outputs = [
                call({n: t[k] for n, t in tensors.items()}, inputs if shared else inputs[k])
                for k in range(self.parameters.n_replicas)
            ]
            return torch.stack(outputs)

    def keep(self, replicas: Sequence[int]) -> TracedStep:
        """The step for some of the replicas."""
        # Autograd refuses tensors that were made in inference mode.
        with torch.inference_mode(False), torch.no_grad():
            parameters = self.parameters.select(replicas)
            buffers = kept_buffers(self.buffers, self.parameters.n_replicas, replicas)
        return TracedStep(
            self.module,
            self.loss,
            parameters,
            buffers,
            self.example,
            self.n_targets,
            n_outputs=self.n_outputs,
            amp=self.amp,
        )

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Let autograd work in the block, and undo what happens to the state in it."""
        state = [self.parameters.theta, self.parameters.gradient, *self.buffers.values()]
        with torch.inference_mode(False), torch.enable_grad():
            before = [tensor.clone() for tensor in state]
            try:
                yield
            finally:
                with torch.no_grad():
                    for tensor, old in zip(state, before, strict=True):
                        tensor.copy_(old)

    def _batch(self, batch_size: int, weighted: bool) -> _Batch:
        """Buffers for a batch, filled with examples."""
        theta, n = self.parameters.theta, self.parameters.n_replicas
        lead = () if n == 1 else (n,)
        shape = *lead, batch_size, *self.example.shape[1:]
        batch = _Batch(
            torch.empty(shape, dtype=self.example.dtype, device=theta.device),
            theta.new_zeros(*lead, batch_size, self.n_targets),
            theta.new_full((*lead, batch_size), 1 / batch_size) if weighted else None,
            theta.new_full(lead, float(batch_size)),
            [],
        )
        self._show(batch, 0)
        return batch

    def _show(self, batch: _Batch, first: int) -> None:
        """Fill a batch with examples from one of them on."""
        rows = torch.arange(first, first + batch.targets.shape[-2]) % len(self.example)
        batch.inputs.copy_(self.example[rows].expand_as(batch.inputs))

    def _try(self, batch: _Batch) -> tuple[_Masks, str | None]:
        """Shapes and rates of the masks, and why the module cannot be recorded, if so."""
        one = batch if self.parameters.n_replicas == 1 else batch.replica(0)
        values = {n: v.detach().requires_grad_() for n, v in self.parameters.replica(0).items()}
        buffers = replica_buffers(self, 0)

        def check() -> _Masks:
            self.module.train()
            weights = None if one.share is None else (one.share, one.total)
            with self._autocast():
                with _RowOperations(len(one.inputs), None, weights) as rows:
                    outputs = self._call(values, buffers, one.inputs)
                self._check_outputs(outputs, one)
                _check_rows(self.loss.rows(outputs, one.targets), one)
            return rows.found

        recorder = _Recorder()
        try:
            with recorder:
                return check(), recorder.problem
        except _RandomOperation:
            raise
        except Exception as error:
            # Raises again if the module is at fault and not the recording.
            return check(), _sentence(error)

    def _check_outputs(self, outputs: Any, batch: _Batch) -> None:
        rows, name = len(batch.inputs), type(self.module).__name__
        if not isinstance(outputs, Tensor):
            raise TypeError(f"{name} must return a tensor, and returned {type(outputs).__name__}")
        if outputs.ndim != 2 or len(outputs) != rows or not outputs.is_floating_point():
            raise ValueError(
                f"{name} must return floating-point numbers of shape (batch size, n_outputs); for "
                f"{rows} rows it returned {outputs.dtype} of shape {tuple(outputs.shape)}"
            )
        if self.n_outputs is not None and outputs.shape[1] != self.n_outputs:
            raise ValueError(
                f"{name} must return {self.n_outputs} outputs for each row, as the loss "
                f"{self.loss!r} asks for; it returned {outputs.shape[1]}"
            )

    def _autocast(self) -> torch.autocast:
        # Casts are not kept for a second use, as they would outlive a pass of vmap.
        device = self.parameters.theta.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.amp, cache_enabled=False)

    def _apply(
        self,
        values: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        inputs: Tensor,
        masks: list[Tensor] | None,
        weights: tuple[Tensor, Tensor] | None,
    ) -> Any:
        """Outputs of one replica in a training step."""
        with _RowOperations(len(inputs), masks, weights):
            return self._call(values, buffers, inputs)

    def _call(
        self, values: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Tensor
    ) -> Any:
        """Call the module, which may change buffers."""
        tensors = {**values, **buffers}
        outputs = torch.func.functional_call(self.module, tensors, (inputs,))
        for name, buffer in buffers.items():
            # The module may have put another tensor in the place of this one.
            if tensors[name] is not buffer:
                buffer.copy_(tensors[name].detach())
        return outputs

    def _make(self, batch: _Batch) -> Program:
        """The best program that the module allows."""
        found, problem = self._try(batch)
        lead = batch.total.shape
        batch.masks = [batch.targets.new_ones(*lead, *shape) for shape, _ in found]
        self.fallback_reason = None
        if problem is None and lead and self._stack_problem is None:
            program, self._stack_problem = self._attempt(batch, True)
            if program is not None:
                return program
        if problem is None:
            program, problem = self._attempt(batch, not lead)
            if program is not None:
                if lead:
                    self.fallback_reason = f"one replica after another: {self._stack_problem}"
                return program
        self.fallback_reason = f"autograd at every step: {problem}"
        return self._eager(batch)

    def _attempt(self, batch: _Batch, together: bool) -> tuple[Program | None, str | None]:
        """A recorded program, or why there is none."""
        try:
            program = self._record(batch, together)
            self._compare(batch, program)
        except Exception as error:
            return None, _sentence(error)
        return program, None

    def _evaluate(
        self, batch: _Batch, together: bool
    ) -> tuple[Tensor, Tensor, list[tuple[Tensor | None, Tensor]]]:
        """Outputs, losses, and gradients with the places where they belong, by autograd."""
        self.module.train()
        parameters, n = self.parameters, self.parameters.n_replicas
        if together or n == 1:
            return self._evaluate_part(
                parameters.values, parameters.gradients, self.buffers, batch, n > 1
            )
        parts = [
            self._evaluate_part(
                parameters.replica(k),
                parameters.replica(k, parameters.gradient),
                replica_buffers(self, k),
                batch.replica(k),
                False,
            )
            for k in range(n)
        ]
        outputs, losses, gradients = zip(*parts, strict=True)
        return (
            torch.stack(outputs),
            torch.stack(losses),
            [pair for part in gradients for pair in part],
        )

    def _evaluate_part(
        self,
        values: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        batch: _Batch,
        stacked: bool,
    ) -> tuple[Tensor, Tensor, list[tuple[Tensor | None, Tensor]]]:
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        weights = None if batch.share is None else (batch.share, batch.total)
        apply: Callable[..., Tensor] = self._apply
        if stacked:
            apply = torch.func.vmap(apply, (0, 0, 0, 0, None if weights is None else 0))
        with self._autocast():
            outputs = apply(leaves, buffers, batch.inputs, batch.masks, weights)
            rows = self.loss.rows(outputs, batch.targets).to(batch.targets.dtype)
        loss = rows.mean(-1) if batch.share is None else (rows * batch.share).sum(-1)
        if not loss.requires_grad:
            name = type(self.module).__name__
            raise ValueError(f"what {name} returns does not depend on its parameters")
        # As a sum, each loss has the derivative 1; torch imports SymPy for derivatives it is given.
        found = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
        pairs: list[tuple[Tensor | None, Tensor]] = [*zip(found, gradients.values(), strict=True)]
        return outputs.detach().to(loss.dtype), loss.detach(), pairs

    def _program(self, batch: _Batch, outputs: Tensor, loss: Tensor, run: Any) -> Program:
        return Program(
            batch.inputs, batch.targets, batch.share, batch.total, outputs, loss, run, batch.masks
        )

    def _eager(self, batch: _Batch) -> Program:
        """A program that asks autograd at every step."""
        first, losses, _ = self._evaluate(batch, False)
        outputs, loss = torch.empty_like(first), torch.empty_like(losses)

        def run() -> None:
            with torch.inference_mode(False), torch.enable_grad():
                values = self._evaluate(batch, False)
            outputs.copy_(values[0])
            loss.copy_(values[1])
            for gradient, target in values[2]:
                target.zero_()
                if gradient is not None:
                    # Gradients of some embeddings are sparse, and can be added but not copied.
                    target.add_(gradient)

        return self._program(batch, outputs, loss, run)

    def _record(self, batch: _Batch, together: bool) -> Program:
        """A program that replays what autograd does once."""
        recorder = _Recorder()
        with recorder:
            outputs, loss, gradients = self._evaluate(batch, together)
        if recorder.problem is not None:
            raise _NotRecordable(recorder.problem)
        weights = [] if batch.share is None else [batch.share, batch.total]
        given = [*self.buffers.values(), batch.inputs, batch.targets, *weights, *batch.masks]
        replay = _Replay(recorder.calls, self.parameters.theta, given, [outputs, loss], gradients)
        run = replay.bind()
        if batch.inputs.is_cuda:
            run = _captured(run)
        outputs, loss = (replay.tensor(place) for place in replay.results)
        return self._program(batch, outputs, loss, run)

    def _compare(self, batch: _Batch, program: Program) -> None:
        """Raise unless a replay equals autograd where the recording was not made."""
        self._show(batch, 1)
        with torch.no_grad():
            self.parameters.theta.mul_(1.01)
        with self._undisturbed():
            outputs, loss, gradients = self._evaluate(batch, False)
            expected = [torch.zeros_like(t) if g is None else g for g, t in gradients]
            expected = [outputs, loss, _flat(expected), *self.buffers.values()]
            expected = [tensor.to(torch.float64, copy=True) for tensor in expected]
        with self._undisturbed():
            with torch.inference_mode():
                program.run()
            found = [program.outputs, program.loss, _flat([target for _, target in gradients])]
            found += self.buffers.values()
            found = [tensor.to(torch.float64, copy=True) for tensor in found]
        # Kernels for one replica and for many round differently.
        eps = torch.finfo(torch.bfloat16 if self.amp else loss.dtype).eps ** 0.5
        for one, other in zip(found, expected, strict=True):
            size = float(other.nan_to_num(0, 0, 0).norm())
            if not torch.allclose(one, other, rtol=eps, atol=eps * size, equal_nan=True):
                raise _NotRecordable(
                    "a replay gives other numbers, as if the module did more than operations on "
                    "its tensors"
                )


def trace_step(
    modules: Sequence[nn.Module],
    loss: Any,
    n_targets: int,
    *,
    example: Tensor,
    n_outputs: int | None = None,
    penalised: Collection[str] | None = None,
    dtype: torch.dtype,
    device: torch.device | str,
    amp: bool = False,
) -> TracedStep:
    """A traced step whose replicas begin where given modules are; these are left as they are.

    Parameters
    ----------
    modules : sequence of Module
        One for each replica, alike but for their parameters and buffers.
    loss : object
        Has ``rows(outputs, targets)``, differentiable by autograd.
    n_targets : int
        Columns of y.
    example : Tensor of shape (n, *input_shape)
        Rows on which the modules are tried, such as the first ones of the data. Floating-point
        inputs will have precision ``dtype``; others, such as indices, the precision of the example.
    n_outputs : int or None, default=None
        How many outputs the loss needs; None if the module decides.
    penalised : collection of str or None, default=None
        Parameters to which penalties apply; None: those of two or more dimensions.
    dtype, device : torch.dtype, torch.device or str
        Of the parameters and the buffers.
    amp : bool, default=False
        Whether training computes the outputs and the loss in bfloat16 where `torch.autocast` does.

    Returns
    -------
    TracedStep
        Parameters that are not trained (``requires_grad=False``) are among its buffers.

    Raises
    ------
    TypeError, ValueError
        If the modules are none, are not alike, have nothing to train, or cannot be stepped; see
        `TracedStep`.

    Examples
    --------
    >>> import torch
    >>> from thetalearn.objectives.losses import SquaredError
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> step = trace_step(
    ...     [net], SquaredError(), 1, example=torch.zeros(2, 3), dtype=torch.float32, device="cpu"
    ... )
    >>> step.program(32, weighted=False).inputs.shape
    torch.Size([32, 3])
    """
    with torch.inference_mode(False), torch.no_grad():
        states = [_state(module) for module in modules]
        _check_alike(modules, states)
        module = copy.deepcopy(modules[0]).to(device=device, dtype=dtype)
        shapes = {n: tuple(t.shape) for n, t in states[0].items() if t.requires_grad}
        if penalised is None:
            penalised = [name for name, shape in shapes.items() if len(shape) >= 2]
        parameters = Parameters(
            shapes, len(modules), penalised=penalised, dtype=dtype, device=device
        )
        lead = () if len(modules) == 1 else (len(modules),)
        buffers = {
            name: tensor.new_empty((*lead, *tensor.shape))
            for name, tensor in _state(module).items()
            if name not in shapes
        }
        for k, state in enumerate(states):
            parameters.set_replica(k, state)
            for name, buffer in buffers.items():
                (buffer[k] if lead else buffer).copy_(state[name])
        if len(example) == 0:
            raise ValueError("the example must have at least one row")
        kind = dtype if example.is_floating_point() else example.dtype
        example = example[:MAX_EXAMPLES].to(device=device, dtype=kind, copy=True)
    return TracedStep(
        module, loss, parameters, buffers, example, n_targets, n_outputs=n_outputs, amp=amp
    )


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"a module is a torch.nn.Module, not a {type(module).__name__}")
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _check_alike(modules: Sequence[nn.Module], states: Sequence[Mapping[str, Tensor]]) -> None:
    """Refuse modules that cannot be trained together, or at all."""
    if not states:
        raise ValueError("at least one module is needed")
    name = type(modules[0]).__name__
    if any(nn.parameter.is_lazy(tensor) for tensor in states[0].values()):
        raise ValueError(f"{name} has parameters without a shape: call it on some rows first")
    trained = [tensor for tensor in states[0].values() if tensor.requires_grad]
    if not trained:
        raise ValueError(f"{name} has no parameters that require a gradient")
    if not all(tensor.is_floating_point() for tensor in trained):
        raise ValueError(f"the parameters of {name} must be real floating-point numbers")
    first = {n: (t.shape, t.requires_grad) for n, t in states[0].items()}
    for k, state in enumerate(states):
        if {n: (t.shape, t.requires_grad) for n, t in state.items()} != first:
            raise ValueError(
                f"the modules must be alike: the parameters and buffers of modules 0 and {k} "
                "differ in their names or shapes"
            )


def _check_rows(rows: Tensor, batch: _Batch) -> None:
    if rows.shape != batch.targets.shape[:1]:
        raise ValueError(
            f"the loss must give one number for each of {len(batch.targets)} rows; it gave shape "
            f"{tuple(rows.shape)}"
        )


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _sentence(error: Exception) -> str:
    """What an error says, in one line."""
    name = "" if isinstance(error, _NotRecordable) else f"{type(error).__name__}: "
    return name + " ".join(str(error).split())


class _RandomOperation(ValueError):
    """A module draws random numbers over which the caller has no power."""


class _NotRecordable(Exception):
    """Recorded operations would not do what the module does."""


#: For each mask its shape for one replica, and the probability to drop.
_Masks = list[tuple[tuple[int, int], float]]


class _RowOperations(TorchFunctionMode):
    """Lets a caller decide on what is random in a module, and on the weights of its rows.

    Parameters
    ----------
    batch_size : int
        Rows.
    masks : list of Tensor or None
        Factors of dropout, in the order in which the module asks for them; None: ones.
    weights : tuple of Tensor or None
        Weights of the rows, which sum to one, and their sum before.

    Attributes
    ----------
    found : list
        Shapes and rates of the masks that were asked for.
    """

    def __init__(
        self, batch_size: int, masks: list[Tensor] | None, weights: tuple[Tensor, Tensor] | None
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.masks = None if masks is None else iter(masks)
        self.weights = weights
        self.found: _Masks = []
        self.replacements: dict[Any, Callable[..., Tensor]] = {
            F.dropout: self._dropout,
            F.dropout1d: partial(self._dropout, features=3),
            F.dropout2d: partial(self._dropout, features=3),
            F.dropout3d: partial(self._dropout, features=5),
            F.alpha_dropout: partial(self._dropout, alpha=True),
            F.feature_alpha_dropout: partial(self._dropout, alpha=True, features=3),
            F.batch_norm: self._batch_norm,
        }

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call a function, or what replaces it."""
        return self.replacements.get(function, function)(*args, **(kwargs or {}))

    def _dropout(
        self,
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
        *,
        features: int = 0,
        alpha: bool = False,
    ) -> Tensor:
        """Dropout; of whole channels where inputs with a batch have ``features`` dimensions."""
        if not training or p == 0:
            return input
        shape = input.shape
        if features:
            shape = shape[: 2 if input.ndim >= features else 1]
        rows = shape[0] if shape[0] == self.batch_size else shape.numel()
        self.found.append(((rows, shape.numel() // max(rows, 1)), p))
        if self.masks is None:
            return input
        mask = next(self.masks).view(*shape, *[1] * (input.ndim - len(shape)))
        if alpha:
            result = _alpha_drop(input, mask, p)
        else:
            result = input * mask.to(input.dtype)
        return input.copy_(result) if inplace else result

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Batch normalisation, by weights if there are any; torch's refuses single numbers."""
        spatial = input.shape[2:].numel()
        weights = self.weights
        if weights is None and len(input) * spatial == 1:
            one = torch.ones(1, dtype=input.dtype, device=input.device)
            weights = one, one
        if not training or weights is None:
            return F.batch_norm(
                input, running_mean, running_var, weight, bias, training, momentum, eps
            )
        share, total = weights
        if len(input) != len(share):
            raise ValueError(
                "batch normalisation can count rows by their weights only where the first "
                f"dimension of its input is that of the rows: {len(share)}, not {len(input)}"
            )
        channel = 1, -1, *[1] * (input.ndim - 2)
        axes = [0, *range(2, input.ndim)]
        x, share = input.to(share.dtype), share.view(-1, *[1] * (input.ndim - 1)) / spatial
        mean = (x * share).sum(axes)
        centred = x - mean.view(channel)
        variance = (centred.square() * share).sum(axes)
        if running_mean is not None and running_var is not None:
            count = total * spatial
            unbiased = variance.detach() * (count / (count - 1).clamp_min(1.0))
            running_mean.mul_(1 - momentum).add_(mean.detach(), alpha=momentum)
            running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)
        result = centred * (variance + eps).rsqrt().view(channel)
        if weight is not None:
            result = result * weight.view(channel)
        return (result if bias is None else result + bias.view(channel)).to(input.dtype)


def _alpha_drop(x: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Dropout that keeps mean and variance of what has passed a SELU (Klambauer et al., 2017)."""
    low = -1.7580993408473766  # -λα of the SELU, its limit on the left
    scale = ((1 - rate) * (1 + rate * low**2)) ** -0.5
    return torch.where(mask > 0, x, low) * scale - scale * low * rate


@dataclass(frozen=True)
class _Place:
    """What part of which memory a tensor is; it begins ``start`` bytes from the storage's begin."""

    storage: torch.UntypedStorage = field(compare=False)
    key: int
    dtype: torch.dtype
    start: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def transposed(self) -> _Place:
        """The transpose of a matrix, or of a stack of them."""
        size, stride = self.size, self.stride
        return replace(
            self,
            size=(*size[:-2], size[-1], size[-2]),
            stride=(*stride[:-2], stride[-1], stride[-2]),
        )


def _place(tensor: Tensor) -> _Place:
    storage, start = tensor.untyped_storage(), int(tensor.storage_offset()) * tensor.itemsize
    size, stride = tuple(tensor.shape), tensor.stride()
    return _Place(storage, storage.data_ptr(), tensor.dtype, start, size, stride)


def _map(tree: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """A nest of lists, tuples and dicts with a function of all its leaves of one kind."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, list | tuple):
        return [_map(branch, kind, function) for branch in tree]
    if isinstance(tree, dict):
        return {name: _map(branch, kind, function) for name, branch in tree.items()}
    return tree


def _leaves(tree: Any, kind: type) -> list[Any]:
    found: list[Any] = []
    _map(tree, kind, found.append)
    return found


class _Call:
    """An operation that reached the kernels, and the memory on which it worked."""

    def __init__(self, operation: Any, args: Any, kwargs: Any, result: Any) -> None:
        self.operation = operation
        self.name: str = operation.overloadpacket.__name__
        self.args = _map(args, Tensor, _place)
        self.kwargs = _map(kwargs, Tensor, _place)
        results = result if isinstance(result, list | tuple) else [result]
        self.results: list[Any] = _map(results, Tensor, _place)

    @property
    def reads(self) -> list[_Place]:
        """Arguments that are tensors."""
        return _leaves([self.args, self.kwargs], _Place)

    @property
    def writes(self) -> list[_Place]:
        """Arguments that are changed."""
        named = _named(self.operation, self.args, self.kwargs)
        return _leaves([named[name] for name in _written(self.operation)], _Place)

    @property
    def made(self) -> list[_Place]:
        """Results that are tensors."""
        return _leaves(self.results, _Place)

    def move(self, function: Callable[[_Place], _Place]) -> None:
        """Replace all places."""
        self.args, self.kwargs, self.results = _map(
            [self.args, self.kwargs, self.results], _Place, function
        )

    @property
    def is_view(self) -> bool:
        """Whether this only looks at memory in another way."""
        if torch.Tag.inplace_view in self.operation.tags:
            return True
        read = {place.key for place in self.reads}
        return bool(self.made) and not self.writes and all(p.key in read for p in self.made)


def _named(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation by name, with those that were left out."""
    arguments = operation._schema.arguments
    named = {a.name: a.default_value for a in arguments if a.has_default_value()}
    return {**named, **dict(zip([a.name for a in arguments], args, strict=False)), **kwargs}


@cache
def _written(operation: Any) -> frozenset[str]:
    """Names of the arguments that an operation changes."""
    arguments = operation._schema.arguments
    return frozenset(a.name for a in arguments if a.alias_info and a.alias_info.is_write)


class _Recorder(TorchDispatchMode):
    """Writes down what reaches the kernels.

    Attributes
    ----------
    calls : list of _Call
        In the order of execution.
    problem : str or None
        Why they do not stand for what was computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.problem: str | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler at the first operation, which takes a second.
        return False

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Execute and note an operation."""
        named = _named(operation, args, kwargs or {})
        if torch.Tag.nondeterministic_seeded in operation.tags and not _harmless(named):
            raise _RandomOperation(
                f"the module draws random numbers by {operation}, which would not depend on "
                "random_state alone; of random operations only the dropout of torch.nn and "
                "torch.nn.functional is known, outside of torch's attention and recurrent layers"
            )
        if self.problem is None and _depends_on_data(operation, named):
            self.problem = f"its operations depend on data, by {operation}"
        result = operation(*args, **(kwargs or {}))
        for tensor in _leaves([args, kwargs, result], Tensor):
            if tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
                self.problem = self.problem or f"{operation} has tensors that are not plain memory"
        if self.problem is None:
            self.calls.append(_Call(operation, args, kwargs or {}, result))
        return result


def _harmless(named: Mapping[str, Any]) -> bool:
    """Whether an operation that could be random is told not to be."""
    return any(name in named and not named[name] for name in ("dropout_p", "dropout", "train"))


def _depends_on_data(operation: Any, named: Mapping[str, Any]) -> bool:
    """Whether values of tensors become Python numbers, or shapes of other tensors."""
    if torch.Tag.data_dependent_output in operation.tags:
        return True
    if operation.overloadpacket is torch.ops.aten.index:
        return any(t.dtype in (torch.bool, torch.uint8) for t in _leaves(named["indices"], Tensor))
    return torch.Tag.dynamic_output_shape in operation.tags


#: Operations whose results do not depend on the values of their arguments.
_FILLED = frozenset({"ones_like", "zeros_like", "full_like", "new_zeros", "new_ones", "new_full"})

#: Operations whose results are written later.
_EMPTY = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"})


class _Replay:
    """Recorded operations, bound to memory of their own.

    Parameters
    ----------
    calls : list of _Call
        What was recorded.
    theta : Tensor
        Parameters.
    given : list of Tensor
        What else may have changed until the next replay.
    results : list of Tensor
        What is computed.
    gradients : list of (Tensor or None, Tensor)
        Gradients, and where they belong.
    """

    def __init__(
        self,
        calls: list[_Call],
        theta: Tensor,
        given: list[Tensor],
        results: list[Tensor],
        gradients: list[tuple[Tensor | None, Tensor]],
    ) -> None:
        fresh = {p.key for call in calls if not (call.writes or call.is_view) for p in call.made}
        calls = _changing(calls, {_place(tensor).key for tensor in [theta, *given]})
        self._same = _skip_identities(calls, fresh | {_place(theta).key})
        found = [(None if g is None else self._place(g), target) for g, target in gradients]
        self.results = [self._place(tensor) for tensor in results]
        wanted = {p.key for p in [*self.results, *(g for g, _ in found if g is not None)]}
        self.calls = _needed(calls, wanted)
        # Empty tensors are all at address 0.
        self._own = fresh & {p.key for call in self.calls for p in call.made} - {0}
        self._moved: dict[int, tuple[torch.UntypedStorage, int]] = {}
        kept = {place.key for place in self.results}
        self._rest = [(g, t) for g, t in found if g is None or not self._redirect(g, t, kept)]
        self._share_memory(kept | {g.key for g, _ in self._rest if g is not None})

    def bind(self) -> Callable[[], None]:
        """A function that computes the results in place, and gradients where they belong."""
        ways = [self._candidates(call) for call in self.calls]
        with torch.inference_mode():
            operations = [_settled(candidates) for candidates in ways]
        for gradient, target in self._rest:
            if gradient is None:
                operations.append(target.zero_)
            else:
                operations.append(partial(target.copy_, self.tensor(gradient)))

        def run() -> None:
            for operation in operations:
                operation()

        return run

    def _place(self, tensor: Tensor) -> _Place:
        return _resolved(_place(tensor), self._same)

    def tensor(self, place: _Place) -> Tensor:
        """A recorded tensor, where it is in a replay."""
        storage, moved = self._moved.get(place.key, (place.storage, 0))
        empty = torch.empty(0, dtype=place.dtype, device=storage.device)
        offset = (place.start + moved) // empty.itemsize
        return empty.set_(storage, offset, place.size, place.stride)

    def _redirect(self, place: _Place, target: Tensor, kept: set[int]) -> bool:
        """Let the operation that makes a gradient write it where it belongs, if it can."""
        aim = _place(target)
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

    def _transpose(self, place: _Place, aim: _Place) -> bool:
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

    def _candidates(self, call: _Call) -> list[Callable[[], Any]]:
        """Ways to execute a call, the fastest first; the last one always works."""
        args, kwargs = _map((call.args, call.kwargs), _Place, self.tensor)
        if call.writes or not call.made:
            return [partial(call.operation, *args, **kwargs)]
        targets: list[Any] = _map(call.results, _Place, self.tensor)
        if call.name in ("clone", "_to_copy"):
            return [partial(targets[0].copy_, args[0])]
        if call.name == "relu":
            return [partial(torch.clamp_min, args[0], 0, out=targets[0])]
        copying = partial(_copying, call.operation, args, kwargs, targets)
        variant, names, outs = _out_variant(call.operation)
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


def _changing(calls: list[_Call], given: set[int]) -> list[_Call]:
    """The calls that a replay has to repeat."""
    written = {place.key for call in calls for place in call.writes}
    changing = written | given
    kept = []
    for call in calls:
        constant = call.name in _FILLED or not any(p.key in changing for p in call.reads)
        touched = any(p.key in written for p in [*call.made, *call.writes])
        if call.is_view or call.name in _EMPTY or (constant and call.made and not touched):
            continue
        changing.update(place.key for place in call.made)
        kept.append(call)
    return kept


def _resolved(place: _Place, same: Mapping[int, _Place]) -> _Place:
    """Where a tensor is that may be the same as another."""
    other = same.get(place.key)
    if other is None:
        return place
    start = other.start + place.start
    return replace(place, storage=other.storage, key=other.key, start=start)


def _skip_identities(calls: list[_Call], steady: set[int]) -> dict[int, _Place]:
    """Take out products with 1 and first powers, of which vmap and autograd make many."""
    steady = steady - {place.key for call in calls for place in call.writes}
    same: dict[int, _Place] = {}
    for call in list(calls):
        call.move(partial(_resolved, same=same))
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


def _needed(calls: list[_Call], wanted: set[int]) -> list[_Call]:
    """The calls without which the wanted memory would not be the same."""
    wanted, kept = set(wanted), []
    for call in reversed(calls):
        if call.writes or not call.made or any(place.key in wanted for place in call.made):
            wanted.update(place.key for place in call.reads)
            kept.append(call)
    return kept[::-1]


@cache
def _out_variant(operation: Any) -> tuple[Any, frozenset[str], tuple[str, ...]]:
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


def _copying(operation: Any, args: Any, kwargs: Any, targets: list[Any]) -> None:
    """Execute an operation that cannot write to given tensors."""
    with torch.inference_mode(False), torch.enable_grad():
        result = operation(*args, **kwargs)
    results = result if isinstance(result, list | tuple) else [result]
    for target, value in zip(targets, results, strict=True):
        if isinstance(target, Tensor):
            target.copy_(value)


def _settled(ways: list[Callable[[], Any]]) -> Callable[[], Any]:
    """The first way that works, once executed."""
    for way in ways[:-1]:
        try:
            way()
        except (TypeError, RuntimeError):
            continue
        return way
    ways[-1]()
    return ways[-1]


def _captured(run: Callable[[], None]) -> Callable[[], None]:
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
