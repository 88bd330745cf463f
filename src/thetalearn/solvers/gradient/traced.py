"""Training steps of any torch module: what autograd does once is recorded and replayed.

Once the size of the batch is known, a loss and its gradient are a fixed sequence of operations. One
pass of autograd (`autograd`) is written down as it reaches the kernels (`recording`), and a step
then calls the same kernels on the same memory (`replay`): no graph is built, no view is made again,
and gradients fall where the optimizer looks for them. A replay is compared with autograd before it
is used; a module that cannot be recorded is left to autograd.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .autograd import Batch, Gradients, Masks, ModulePass, RowOperations
from .parameters import Parameters
from .recording import NotRecordable, RandomOperation, Recorder
from .replay import Replay, captured
from .step import Program, Step, kept_buffers, replica_buffers

__all__ = ["TracedStep", "trace_step"]

#: Rows that are kept as an example of the inputs, at most.
MAX_EXAMPLES = 64


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
        Whether training computes the outputs in bfloat16 where `torch.autocast` does.

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
        self._pass = ModulePass(module, loss, amp=amp)
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

    def predict(self, inputs: Tensor, values: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs in evaluation mode, without ``amp``."""
        own = self.parameters.values if values is None else values
        tensors = {**own, **self.buffers}
        call = partial(torch.func.functional_call, self.module)
        shared = inputs.ndim == self.example.ndim
        self.module.eval()
        with torch.set_grad_enabled(values is not None):
            if self.parameters.n_replicas == 1:
                return call(tensors, inputs)
            if self._stack_problem is None:
                try:
                    # Where functions may be replaced, torch takes no short cuts that vmap lacks.
                    with RowOperations(0, None, None):
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

    def _batch(self, batch_size: int, weighted: bool) -> Batch:
        """Buffers for a batch, filled with examples."""
        theta, n = self.parameters.theta, self.parameters.n_replicas
        lead = () if n == 1 else (n,)
        shape = *lead, batch_size, *self.example.shape[1:]
        batch = Batch(
            torch.empty(shape, dtype=self.example.dtype, device=theta.device),
            theta.new_zeros(*lead, batch_size, self.n_targets),
            theta.new_full((*lead, batch_size), 1 / batch_size) if weighted else None,
            theta.new_full(lead, float(batch_size)),
        )
        self._show(batch, 0)
        return batch

    def _show(self, batch: Batch, first: int) -> None:
        """Fill a batch with examples from one of them on."""
        rows = torch.arange(first, first + batch.targets.shape[-2]) % len(self.example)
        batch.inputs.copy_(self.example[rows].expand_as(batch.inputs))

    def _try(self, batch: Batch) -> tuple[Masks, str | None]:
        """Shapes and rates of the masks, and why the module cannot be recorded, if so."""
        one = batch if self.parameters.n_replicas == 1 else batch.replica(0)
        check = partial(
            self._pass.find_masks,
            self.parameters.replica(0),
            replica_buffers(self.buffers, self.parameters.n_replicas, 0),
            one,
            self.n_outputs,
        )
        recorder = Recorder()
        try:
            with recorder:
                return check(), recorder.problem
        except RandomOperation:
            raise
        except Exception as error:
            # Raises again if the module is at fault and not the recording.
            return check(), _sentence(error)

    def _make(self, batch: Batch) -> Program:
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

    def _attempt(self, batch: Batch, together: bool) -> tuple[Program | None, str | None]:
        """A recorded program, or why there is none."""
        try:
            program = self._record(batch, together)
            self._compare(batch, program)
        except Exception as error:
            return None, _sentence(error)
        return program, None

    def _evaluate(self, batch: Batch, together: bool) -> tuple[Tensor, Tensor, Gradients]:
        """Outputs, losses, and gradients with the places where they belong, by autograd."""
        parameters, n = self.parameters, self.parameters.n_replicas
        if together or n == 1:
            return self._pass.evaluate(
                parameters.values, parameters.gradients, self.buffers, batch, stacked=n > 1
            )
        parts = [
            self._pass.evaluate(
                parameters.replica(k),
                parameters.replica(k, parameters.gradient),
                replica_buffers(self.buffers, self.parameters.n_replicas, k),
                batch.replica(k),
                stacked=False,
            )
            for k in range(n)
        ]
        outputs, losses, gradients = zip(*parts, strict=True)
        pairs = [pair for part in gradients for pair in part]
        return torch.stack(outputs), torch.stack(losses), pairs

    def _program(self, batch: Batch, outputs: Tensor, loss: Tensor, run: Any) -> Program:
        return Program(
            batch.inputs, batch.targets, batch.share, batch.total, outputs, loss, run, batch.masks
        )

    def _eager(self, batch: Batch) -> Program:
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

    def _record(self, batch: Batch, together: bool) -> Program:
        """A program that replays what autograd does once."""
        recorder = Recorder()
        with recorder:
            outputs, loss, gradients = self._evaluate(batch, together)
        if recorder.problem is not None:
            raise NotRecordable(recorder.problem)
        given = [
            self.parameters.theta,
            *self.buffers.values(),
            batch.inputs,
            batch.targets,
            *(batch.weights or ()),
            *batch.masks,
        ]
        replay = Replay(recorder.calls, given, [outputs, loss], gradients)
        run = replay.bind()
        if batch.inputs.is_cuda:
            run = captured(run)
        outputs, loss = replay.results
        return self._program(batch, outputs, loss, run)

    def _compare(self, batch: Batch, program: Program) -> None:
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
                raise NotRecordable(
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
        Whether training computes the outputs in bfloat16 where `torch.autocast` does.

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
        for k, state in enumerate(states):
            parameters.set_replica(k, state)
        buffers = {
            name: _stacked([state[name] for state in states]).to(tensor, copy=True)
            for name, tensor in _state(module).items()
            if name not in shapes
        }
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


def _stacked(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors)


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _sentence(error: Exception) -> str:
    """What an error says, in one line."""
    name = "" if isinstance(error, NotRecordable) else f"{type(error).__name__}: "
    return name + " ".join(str(error).split())
