"""Traced steps: the numbers of autograd and of explicit backpropagation, for any module."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thetalearn.objectives.losses import CallableLoss, SoftmaxLogLoss, SquaredError
from thetalearn.representations.networks.activations import ACTIVATIONS, GELU, Logistic, ReLU, Tanh
from thetalearn.representations.networks.mlp import MLP, MLPArchitecture
from thetalearn.representations.networks.tape import Tape
from thetalearn.solvers.gradient.explicit import start_step
from thetalearn.solvers.gradient.optimizers import Adam, Momentum
from thetalearn.solvers.gradient.schedules import Constant
from thetalearn.solvers.gradient.traced import trace_step
from thetalearn.solvers.gradient.train import train
from thetalearn.solvers.gradient.trainer import Replica, Settings

# Sums of up to a few thousand terms of size one, in another order.
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.int64: 0}

stacked = pytest.mark.parametrize("n_replicas", [1, 3])


def close(found, expected, tol=None):
    tol = CLOSE[expected.dtype] if tol is None else tol
    torch.testing.assert_close(found, expected.detach(), rtol=tol, atol=tol)


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def made(make, seed=0, dtype=torch.float64):
    """A module with random parameters and running statistics, without the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = make().to(dtype)
        for tensor in module.buffers():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return module


def trace(modules, example, loss=None, n_targets=1, **kwargs):
    kwargs = {"dtype": next(modules[0].parameters()).dtype, "device": "cpu", **kwargs}
    return trace_step(modules, loss or SquaredError(), n_targets, example=example, **kwargs)


def fill(program, seed=0):
    """Random rows, targets, weights and masks."""
    dtype = program.targets.dtype
    program.targets.copy_(numbers(*program.targets.shape, seed=seed + 1, dtype=dtype))
    if program.inputs.is_floating_point():
        program.inputs.copy_(numbers(*program.inputs.shape, seed=seed + 2, dtype=dtype))
    if program.share is not None:
        weight = numbers(*program.share.shape, seed=seed + 3, dtype=dtype).abs()
        program.total.copy_(weight.sum(-1))
        program.share.copy_(weight / weight.sum(-1, keepdim=True))
    for i, mask in enumerate(program.masks):
        mask.copy_(2.0 * (numbers(*mask.shape, seed=seed + 4 + i) > 0))
    return program


def run(program):
    with torch.inference_mode():
        program.run()


def part(step, tensor, k):
    return tensor if step.parameters.n_replicas == 1 else tensor[k]


def gradients(step, k):
    return step.parameters.replica(k, step.parameters.gradient)


def assert_equals_autograd(step, program, modules, loss=None, tol=None):
    """What a program gives is what torch gives for each module, and so are the buffers after it."""
    loss = loss or SquaredError()
    run(program)
    for k, module in enumerate(modules):
        module.train()
        outputs = module(part(step, program.inputs, k))
        rows = loss.rows(outputs, part(step, program.targets, k))
        share = None if program.share is None else part(step, program.share, k)
        value = rows.mean() if share is None else (rows * share).sum()
        leaves = {n: p for n, p in module.named_parameters() if p.requires_grad}
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        close(part(step, program.outputs, k), outputs, tol)
        close(part(step, program.loss, k), value, tol)
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
            expected = torch.zeros_like(leaf) if gradient is None else gradient
            close(gradients(step, k)[name], expected, tol)
        for name, buffer in module.named_buffers():
            close(part(step, step.buffers[name], k), buffer, tol)


def explicit_and_traced(architecture, n_replicas, dtype=torch.float64):
    nets = [made(lambda: MLP(architecture), seed, dtype) for seed in range(n_replicas)]
    starts = [{name: t.detach() for name, t in net.tensors().items()} for net in nets]
    d, *_, m = architecture.sizes
    explicit = start_step(architecture, SquaredError(), Tape, starts, m, dtype=dtype, device="cpu")
    example = numbers(5, d, dtype=dtype)
    traced = trace(nets, example, n_targets=m, penalised=architecture.penalised)
    assert traced.parameters.shapes == explicit.parameters.shapes
    assert traced.parameters.penalised == explicit.parameters.penalised
    return explicit, traced


ARCHITECTURES = {
    "one layer": MLPArchitecture((4, 2), ()),
    "relu": MLPArchitecture((4, 6, 5, 1), (ReLU(), ReLU())),
    "gelu, tanh": MLPArchitecture((4, 6, 5, 2), (GELU(), Tanh())),
    "output": MLPArchitecture((4, 6, 2), (Tanh(),), Logistic()),
    "batch": MLPArchitecture((4, 6, 5, 2), (Tanh(), ReLU()), normalization="batch"),
    "layer": MLPArchitecture((4, 6, 5, 2), (Tanh(), ReLU()), normalization="layer"),
    "residual": MLPArchitecture((4, 4, 4, 2), (Tanh(), Tanh()), residual=True),
    "dropout": MLPArchitecture((4, 6, 5, 1), (Tanh(), Tanh()), dropout=(0.5, 0.0, 0.5)),
    "scales": MLPArchitecture((4, 6, 2), (Tanh(),), scales=(2.0, 0.5)),
    "all": MLPArchitecture(
        (4, 4, 4, 2), (ReLU(), Tanh()), Tanh(), "batch", True, (0.5, 0.5, 0.5), (0.5, 1.0, 2.0)
    ),
}


@stacked
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_equals_explicit_backpropagation(architecture, weighted, n_replicas):
    explicit, traced = explicit_and_traced(architecture, n_replicas)
    assert traced.drop_rates == architecture.drop_rates
    for batch_size in (1, 7):
        one = fill(explicit.program(batch_size, weighted=weighted))
        two = fill(traced.program(batch_size, weighted=weighted))
        assert traced.fallback_reason is None
        assert [mask.shape for mask in two.masks] == [mask.shape for mask in one.masks]
        run(one), run(two)
        close(two.outputs, one.outputs)
        close(two.loss, one.loss)
        close(traced.parameters.gradient, explicit.parameters.gradient)
        for name, buffer in explicit.buffers.items():
            close(traced.buffers[name], buffer)
    close(traced.predict(one.inputs), explicit.predict(one.inputs))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_knows_the_derivative_of_every_activation(name):
    explicit, traced = explicit_and_traced(MLPArchitecture((3, 5, 1), (ACTIVATIONS[name](),)), 1)
    one, two = (fill(step.program(4, weighted=False)) for step in (explicit, traced))
    run(one), run(two)
    close(traced.parameters.gradient, explicit.parameters.gradient)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells, self.out = kind(3, 4, num_layers=2, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.cells(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm, self.out = nn.LayerNorm(4), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.norm(x + self.attention(x, x, x)[0]).mean(1))


class Odd(nn.Module):
    """Tied, frozen, unused and scalar parameters, and buffers that are put in place of others."""

    def __init__(self):
        super().__init__()
        self.first, self.tied = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.unused, self.out = nn.Linear(2, 2), nn.Linear(4, 1)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        h = self.scale * F.relu(self.tied(self.first(x)), inplace=True)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
            self.count += len(x)
        return self.out(self.frozen(h - self.mean))


def conv_net():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 2),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(4, 1),
    )


MODULES = {
    "dense": (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), (4,)),
    "convolution": (conv_net, (2, 4, 4)),
    "gru": (lambda: Recurrent(nn.GRU), (5, 3)),
    "lstm": (lambda: Recurrent(nn.LSTM), (5, 3)),
    "attention": (Attention, (5, 4)),
    "odd": (Odd, (4,)),
}


@stacked
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", MODULES)
def test_equals_autograd(name, dtype, n_replicas):
    make, shape = MODULES[name]
    modules = [made(make, seed, dtype) for seed in range(n_replicas)]
    step = trace(modules, numbers(5, *shape, dtype=dtype))
    program = step.program(6, weighted=False)
    for seed in range(3):
        assert_equals_autograd(step, fill(program, seed), modules)
    one_by_one = n_replicas > 1 and name in ("gru", "lstm")
    reason = step.fallback_reason
    assert "one replica after another" in reason if one_by_one else reason is None
    for k, module in enumerate(modules):
        module.eval()
        close(part(step, step.predict(program.inputs), k), module(part(step, program.inputs, k)))


@stacked
def test_weights_of_rows_are_those_of_the_mean(n_replicas):
    modules = [made(Attention, seed) for seed in range(n_replicas)]
    step = trace(modules, numbers(5, 5, 4))
    assert_equals_autograd(step, fill(step.program(6, weighted=True)), modules)


@stacked
@pytest.mark.parametrize("sparse", [False, True])
def test_indices_may_be_inputs(sparse, n_replicas):
    def make():
        return nn.Sequential(nn.Embedding(9, 3, sparse=sparse), nn.Flatten(), nn.Linear(12, 1))

    example = torch.arange(20).view(5, 4) % 9
    modules = [made(make, seed) for seed in range(n_replicas)]
    step = trace(modules, example)
    program = fill(step.program(3, weighted=False))
    assert (step.fallback_reason is not None) == sparse
    assert program.inputs.dtype is torch.int64
    program.inputs.copy_(example.flip(1)[:3].expand_as(program.inputs))
    run(program)
    for module in modules:
        module[0].sparse = False
    assert_equals_autograd(step, program, modules)


@pytest.mark.parametrize("make", [conv_net, lambda: MLP(ARCHITECTURES["batch"])])
def test_an_integer_weight_repeats_a_row(make):
    module = made(make)
    shape = (2, 4, 4) if isinstance(module, nn.Sequential) else (4,)
    repeats = torch.tensor([1, 3, 0, 2])
    n_targets = 1 if isinstance(module, nn.Sequential) else 2
    one, two = (trace([module], numbers(4, *shape), n_targets=n_targets) for _ in range(2))
    weighted, repeated = one.program(4, weighted=True), two.program(6, weighted=False)
    fill(weighted)
    weighted.share.copy_(repeats.double() / 6)
    weighted.total.fill_(6)
    repeated.inputs.copy_(weighted.inputs.repeat_interleave(repeats, 0))
    repeated.targets.copy_(weighted.targets.repeat_interleave(repeats, 0))
    run(weighted), run(repeated)
    close(weighted.loss, repeated.loss)
    close(one.parameters.gradient, two.parameters.gradient)
    for name, buffer in one.buffers.items():
        close(buffer, two.buffers[name])


def test_weights_need_the_rows_in_batch_normalisation():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.out = nn.BatchNorm1d(3), nn.Linear(3, 1)

        def forward(self, x):
            return self.out(self.norm(x.flatten(0, 1)).view(x.shape).mean(1))

    step = trace([made(Folded)], numbers(4, 5, 3))
    assert step.program(4, weighted=False)
    with pytest.raises(ValueError, match="first dimension of its input is that of the rows"):
        step.program(4, weighted=True)


class Times(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask.view(*x.shape[: self.mask.ndim], *[1] * (x.ndim - self.mask.ndim))


@stacked
def test_dropout_multiplies_by_masks(n_replicas):
    def make():
        return nn.Sequential(
            nn.Conv1d(2, 3, 2),
            nn.Dropout1d(0.5),
            nn.BatchNorm1d(3),
            nn.Dropout(0.25, inplace=True),
            nn.Flatten(),
            nn.Linear(9, 4),
            nn.Dropout(0.0),
            nn.Dropout(0.75),
            nn.Linear(4, 1),
        )

    modules = [made(make, seed) for seed in range(n_replicas)]
    step = trace(modules, numbers(5, 2, 4))
    assert step.drop_rates == (0.5, 0.25, 0.75)
    program = fill(step.program(6, weighted=False))
    # Rows come first, and what follows them is one dimension.
    assert [part(step, mask, 0).shape for mask in program.masks] == [(6, 3), (6, 9), (6, 4)]
    close(part(step, step.predict(numbers(3, 2, 4)), 0), modules[0].eval()(numbers(3, 2, 4)))
    references = copy.deepcopy(modules)
    for k, reference in enumerate(references):
        masks = [part(step, mask, k) for mask in program.masks]
        reference[1], reference[3] = Times(masks[0]), Times(masks[1].view(6, 3, 3))
        reference[7] = Times(masks[2])
    assert_equals_autograd(step, program, references)


def test_a_mask_of_other_than_rows_is_flat():
    class Weights(nn.Linear):
        def forward(self, x):
            return F.linear(x, F.dropout(self.weight, 0.5, self.training), self.bias)

    module = made(lambda: Weights(4, 1))
    step = trace([module], numbers(5, 4))
    program = fill(step.program(6, weighted=False))
    (mask,) = program.masks
    assert mask.shape == (4, 1)
    run(program)
    close(program.outputs, F.linear(program.inputs, module.weight * mask.view(1, 4), module.bias))


def test_alpha_dropout_keeps_mean_and_variance():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.drop = nn.Parameter(torch.ones(())), nn.AlphaDropout(0.3)

        def forward(self, x):
            return self.drop(self.scale * x)

    step = trace([Linear().double()], numbers(2, 1))
    program = step.program(3, weighted=False)
    program.inputs.copy_(torch.tensor([[0.0], [1.0], [0.0]]))
    program.masks[0].copy_(torch.tensor([[1 / 0.7], [1 / 0.7], [0.0]]))
    run(program)
    kept, at_one, dropped = program.outputs.flatten().tolist()
    slope = at_one - kept
    # For inputs of mean 0 and variance 1.
    assert 0.7 * kept + 0.3 * dropped == pytest.approx(0, abs=1e-14)
    assert 0.7 * (slope**2 + kept**2) + 0.3 * dropped**2 == pytest.approx(1, abs=1e-12)


class Noisy(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.out, self.draw = nn.Linear(4, 1), draw

    def forward(self, x):
        return self.out(self.draw(x))


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: x + torch.randn_like(x),
        lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)),
        lambda x: torch.dropout(x, 0.5, True),
        lambda x: F.rrelu(x, training=True),
        lambda x: x[torch.randperm(len(x))],
        lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.5)[0],
    ],
)
def test_other_random_operations_are_refused(draw):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"draws random numbers by aten\..* torch\.nn\.functional"):
        trace([made(lambda: Noisy(draw))], numbers(5, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_inside_recurrent_layers_is_refused():
    lstm = made(lambda: Recurrent(lambda *a, **k: nn.LSTM(*a, dropout=0.5, **k)))
    with pytest.raises(ValueError, match="recurrent layers"):
        trace([lstm], numbers(5, 5, 3))


@pytest.mark.parametrize("name", ["convolution", "attention", "gru"])
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_a_replica_is_the_same_alone(name, dtype, tol):
    make, shape = MODULES[name]
    modules = [made(make, seed, dtype) for seed in range(3)]
    together = trace(modules, numbers(5, *shape, dtype=dtype))
    all_of_them = fill(together.program(6, weighted=True))
    run(all_of_them)
    for k, module in enumerate(modules):
        alone = trace([module], numbers(5, *shape, dtype=dtype))
        program = alone.program(6, weighted=True)
        for tensor in ("inputs", "targets", "share", "total"):
            getattr(program, tensor).copy_(getattr(all_of_them, tensor)[k])
        run(program)
        close(all_of_them.outputs[k], program.outputs, tol)
        close(all_of_them.loss[k], program.loss, tol)
        for parameter, gradient in gradients(alone, 0).items():
            close(gradients(together, k)[parameter], gradient, tol)
        for buffer, other in alone.buffers.items():
            close(together.buffers[buffer][k], other, tol)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["dense", "convolution", "attention", "gru"])
def test_nan_stays_in_its_replica(name, weighted):
    make, shape = MODULES[name]
    modules = [made(make, seed) for seed in range(3)]
    sound, sick = (trace(modules, numbers(5, *shape)) for _ in range(2))
    for tensor in sick.parameters.replica(1).values():
        tensor.fill_(np.nan)
    one, two = (fill(step.program(6, weighted=weighted)) for step in (sound, sick))
    run(one), run(two)
    assert torch.isnan(two.loss).tolist() == [False, True, False]
    for k in (0, 2):
        assert torch.equal(two.outputs[k], one.outputs[k])
        assert torch.equal(two.loss[k], one.loss[k])
        for name, gradient in gradients(sound, k).items():
            assert torch.equal(gradients(sick, k)[name], gradient)
        for name, buffer in sound.buffers.items():
            assert torch.equal(sick.buffers[name][k], buffer[k])


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(4, 3), nn.Linear(3, 1)

    def forward(self, x):
        h = self.inner(x)
        return self.out(h if x.mean() > 0 else h.square())


class Numpy(nn.Linear):
    def forward(self, x):
        return super().forward(x) * torch.from_numpy(np.exp(x.detach().numpy()[:, :1]))


def cumulative():
    return nn.Sequential(nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 1))


@stacked
@pytest.mark.parametrize(
    ("make", "weighted", "reason"),
    [
        (Branching, True, "depend on data, by aten._local_scalar_dense"),
        (cumulative, False, "depend on data, by aten._local_scalar_dense"),
        (lambda: Noisy(lambda x: x * (1 + x[x > 0].sum())), True, "depend on data, by aten.index"),
        (lambda: Numpy(4, 1), True, "gives other numbers"),
    ],
)
def test_what_cannot_be_recorded_is_left_to_autograd(make, weighted, reason, n_replicas):
    modules = [made(make, seed) for seed in range(n_replicas)]
    step = trace(modules, numbers(5, 4))
    program = step.program(6, weighted=weighted)
    assert step.fallback_reason.startswith("autograd at every step")
    assert reason in step.fallback_reason
    for seed in range(3):
        assert_equals_autograd(step, fill(program, seed), modules)
    x = numbers(4, 4, seed=9)
    for k, module in enumerate(modules):
        close(part(step, step.predict(x), k), module.eval()(x))


def test_making_programs_changes_nothing():
    module = made(conv_net)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    rng = torch.get_rng_state()
    step = trace([module], numbers(5, 2, 4, 4))
    step.program(4, weighted=False), step.program(3, weighted=True)
    for name, tensor in {**step.parameters.replica(0), **step.buffers}.items():
        assert torch.equal(tensor, before[name])
        assert torch.equal(module.state_dict()[name], before[name])
    assert not step.parameters.gradient.any()
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_names_are_those_of_the_state_and_matrices_are_penalised():
    module = made(conv_net)
    step = trace([module], numbers(5, 2, 4, 4))
    assert {*step.parameters.values, *step.buffers} == set(module.state_dict())
    assert step.parameters.penalised == ("0.weight", "4.weight", "7.weight")


@pytest.mark.parametrize("replicas", [[2], [0, 2]])
def test_keeps_some_of_the_replicas(replicas):
    modules = [made(conv_net, seed) for seed in range(3)]
    with torch.inference_mode():
        step = trace(modules, numbers(5, 2, 4, 4)).keep(replicas)
        program = step.program(6, weighted=False)
    modules = [modules[k] for k in replicas]
    assert_equals_autograd(step, fill(program), modules)


@stacked
def test_predicts_in_evaluation_mode_for_rows_alike_or_not(n_replicas):
    modules = [made(conv_net, seed) for seed in range(n_replicas)]
    step = trace(modules, numbers(5, 2, 4, 4))
    shared, own = numbers(7, 2, 4, 4), numbers(n_replicas, 7, 2, 4, 4)
    if n_replicas == 1:
        own = own[0]
    for k, module in enumerate(modules):
        module.eval()
        close(part(step, step.predict(shared), k), module(shared))
        close(part(step, step.predict(own), k), module(part(step, own, k)))
        for name, buffer in module.named_buffers():
            assert torch.equal(part(step, step.buffers[name], k), buffer)


def test_predicts_one_after_another_what_torch_cannot_stack():
    modules = [made(lambda: Recurrent(nn.GRU), seed) for seed in range(2)]
    step, x = trace(modules, numbers(5, 5, 3)), numbers(7, 5, 3)
    for k, module in enumerate(modules):
        close(step.predict(x)[k], module.eval()(x))


@stacked
def test_mixed_precision_keeps_parameters(n_replicas):
    modules = [made(conv_net, seed, torch.float32) for seed in range(n_replicas)]
    step = trace(modules, numbers(5, 2, 4, 4), amp=True)
    program = fill(step.program(6, weighted=False))
    assert step.fallback_reason is None
    assert {t.dtype for t in (step.parameters.theta, program.outputs, program.loss)} == {
        torch.float32
    }
    run(program)
    eps = torch.finfo(torch.bfloat16).eps
    for k, module in enumerate(modules):
        outputs = module(part(step, program.inputs, k))
        difference = (part(step, program.outputs, k) - outputs).detach().abs().max()
        # Rounded somewhere, and not in more places than there are layers.
        assert 0 < difference < 8 * eps * outputs.abs().max()


@stacked
def test_losses_with_several_targets_and_of_the_user(n_replicas):
    modules = [made(lambda: nn.Linear(4, 3), seed) for seed in range(n_replicas)]
    for loss in (SoftmaxLogLoss(), CallableLoss(lambda Z, y: (Z - y).cosh().log())):
        step = trace(modules, numbers(5, 4), loss, n_targets=3)
        program = fill(step.program(6, weighted=True))
        program.targets.copy_(torch.softmax(program.targets, -1))
        assert_equals_autograd(step, program, modules, loss)


def data(n, *shape, n_targets=1, seed=0):
    return numbers(n, *shape, seed=seed), numbers(n, n_targets, seed=seed + 1)


def replica(n, k=0, **kwargs):
    generator = np.random.RandomState(k)
    return Replica(np.arange(n), generator, learning_rate=0.01, max_epochs=4, **kwargs)


@stacked
@pytest.mark.parametrize("name", ["all", "dropout"])
def test_trains_as_explicit_backpropagation_does(name, n_replicas):
    architecture = ARCHITECTURES[name]
    X, y = data(23, 4, n_targets=architecture.sizes[-1])
    # Adam makes steps of any rounding error where batch normalisation makes a gradient zero.
    optimizer = Momentum() if name == "all" else Adam()
    settings = Settings(optimizer, Constant(), batch_size=5)

    def trained(step):
        # Rows that differ in number, so that some batches are padded.
        options = {"alpha": 0.1, "dropout": architecture.drop_rates}
        replicas = [replica(23 - k, k, **options) for k in range(n_replicas)]
        return train(step, X, y, replicas, settings)

    explicit, traced = map(trained, explicit_and_traced(architecture, n_replicas))
    for one, other in zip(explicit, traced, strict=True):
        assert len(one.records) == 4
        for name, value in one.values.items():
            # Rounding grows over 20 steps, most where Adam divides by a small gradient.
            close(other.values[name], value, 1e-10)


def test_trains_on_images_with_dropout_among_others_as_alone():
    def make():
        return nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.Dropout2d(0.5), nn.ReLU(), nn.Flatten(), nn.Linear(27, 1)
        )

    modules = [made(make, seed) for seed in range(3)]
    X, y = data(13, 2, 4, 4)
    settings = Settings(Adam(), Constant(), batch_size=5)

    def trained(which):
        step = trace([modules[k] for k in which], X)
        replicas = [replica(13, k, dropout=step.drop_rates) for k in which]
        return train(step, X, y, replicas, settings)

    together = trained([0, 1, 2])
    for k in range(3):
        (alone,) = trained([k])
        for name, value in alone.values.items():
            close(together[k].values[name], value, 1e-9)


class Returns(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner, self.function = nn.Linear(4, 2), function

    def forward(self, x):
        return self.function(self.inner(x))


@pytest.mark.parametrize(
    ("function", "error", "match"),
    [
        (lambda z: (z, z), TypeError, "must return a tensor, and returned tuple"),
        (lambda z: z[:, 0], ValueError, r"for 2 rows it returned torch.float64 of shape \(2,\)"),
        (lambda z: z[:1], ValueError, r"shape \(batch size, n_outputs\).*shape \(1, 2\)"),
        (lambda z: z.long(), ValueError, "floating-point numbers.*torch.int64"),
        (lambda z: z[:, :1], ValueError, "must return 2 outputs for each row, as the loss Squared"),
    ],
)
def test_outputs_are_checked(function, error, match):
    with pytest.raises(error, match=match):
        trace([made(lambda: Returns(function))], numbers(5, 4), n_targets=2, n_outputs=2)


def test_modules_are_checked():
    example = numbers(5, 4)
    options = {"example": example, "dtype": torch.float64, "device": "cpu"}
    with pytest.raises(ValueError, match="at least one module"):
        trace_step([], SquaredError(), 1, **options)
    with pytest.raises(TypeError, match=r"a module is a torch\.nn\.Module, not a function"):
        trace_step([lambda x: x], SquaredError(), 1, **options)
    with pytest.raises(ValueError, match="Flatten has no parameters that require a gradient"):
        trace_step([nn.Flatten()], SquaredError(), 1, **options)
    with pytest.raises(ValueError, match="LazyLinear has parameters without a shape"):
        trace_step([nn.LazyLinear(1)], SquaredError(), 1, **options)
    with pytest.raises(ValueError, match="must be real"):
        trace_step([nn.Linear(4, 1, dtype=torch.complex64)], SquaredError(), 1, **options)
    with pytest.raises(ValueError, match="modules 0 and 1 differ in their names or shapes"):
        trace_step([nn.Linear(4, 1), nn.Linear(4, 2)], SquaredError(), 1, **options)
    with pytest.raises(ValueError, match="at least one row"):
        trace_step([nn.Linear(4, 1)], SquaredError(), 1, **{**options, "example": example[:0]})
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trace_step([nn.Linear(3, 1)], SquaredError(), 1, **options)
    step = trace_step([made(lambda: Returns(torch.detach))], SquaredError(), 2, **options)
    with pytest.raises(ValueError, match="what Returns returns does not depend on its parameters"):
        step.program(4, weighted=False)


@pytest.mark.slow
def test_loads_no_compiler():
    # Torch's compiler and SymPy take a second to import, and both lie on the way of autograd here.
    script = (
        "import sys, torch\n"
        "from thetalearn.objectives.losses import SquaredError\n"
        "from thetalearn.solvers.gradient.traced import trace_step\n"
        "modules = [torch.nn.Linear(2, 1) for _ in range(2)]\n"
        "step = trace_step(modules, SquaredError(), 1, example=torch.ones(2, 2),\n"
        "                  dtype=torch.float32, device='cpu')\n"
        "step.program(4, weighted=False).run()\n"
        "assert not {'sympy', 'torch._dynamo'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
