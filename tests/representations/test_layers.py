"""Recorded steps: the derivatives that layers write down are those of autograd, and the book's."""

import itertools
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thetalearn.objectives.losses import SoftmaxLogLoss, SquaredError
from thetalearn.representations.networks.activations import (
    ACTIVATIONS,
    GELU,
    Identity,
    Logistic,
    ReLU,
    Softplus,
    Tanh,
    make_activation,
)
from thetalearn.representations.networks.layers import EPSILON, MOMENTUM
from thetalearn.representations.networks.mlp import MLP, MLPArchitecture
from thetalearn.representations.networks.tape import Tape

few = settings(max_examples=max(settings().max_examples // 4, 1))

NORMALIZATIONS = [None, "batch", "layer"]
normalized = pytest.mark.parametrize("normalization", NORMALIZATIONS)

# Rounding of sums of fewer than a hundred numbers of order one.
TIGHT = {"rtol": 1e-12, "atol": 1e-12}


@dataclass
class Found:
    """What one training step gives."""

    loss: torch.Tensor
    outputs: torch.Tensor
    gradients: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]

    def of_replica(self, k):
        parts = ({n: v[k] for n, v in d.items()} for d in (self.gradients, self.buffers))
        return Found(self.loss[k], self.outputs[k], *parts)


def random_tensors(architecture, lead=(), seed=0, size=0.5):
    """Random parameters and running statistics."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in {**architecture.shapes, **architecture.buffer_shapes}.items():
        draw = torch.randn(*lead, *shape, generator=generator, dtype=torch.float64) * size
        positive = name.startswith("norms") and name.endswith(("weight", "variance"))
        tensors[name] = draw.abs() + 0.5 if positive else draw
    return tensors


def random_rows(n_rows, n_columns, lead=(), seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, n_rows, n_columns, generator=generator, dtype=torch.float64)


def random_masks(architecture, n_rows, lead=(), seed=2):
    """Factors of dropout: of the inputs, and of the hidden layers."""
    generator = torch.Generator().manual_seed(seed)
    masks = []
    for rate, width in zip(architecture.dropout, architecture.sizes[:-1], strict=False):
        if rate > 0:
            uniform = torch.rand(*lead, n_rows, width, generator=generator, dtype=torch.float64)
            masks.append((uniform >= rate).double() / (1 - rate))
    return masks


def recorded(architecture, tensors, x, y, *, share=None, total=None, masks=(), loss=None):
    """The training step that the network writes on a tape."""
    loss = SquaredError() if loss is None else loss
    values = {name: tensors[name].clone() for name in architecture.shapes}
    # An operation that adds to what is there, in place of writing, would keep the NaN.
    gradients = {name: torch.full_like(value, torch.nan) for name, value in values.items()}
    buffers = {name: tensors[name].clone() for name in architecture.buffer_shapes}
    if total is None:
        total = x.new_full(x.shape[:-2], float(x.shape[-2]))
    tape = Tape(x, values, gradients, buffers, share, total)
    outputs = architecture.record(tape)
    value = x.new_empty(x.shape[:-2])
    tape.forward(loss.value_with_gradient_, outputs, y, share, tape.gradient(outputs), value)
    for mask, given_mask in zip(tape.masks, masks, strict=True):
        mask.copy_(given_mask)
    for operation in tape.operations():
        operation()
    return Found(value, outputs, gradients, buffers)


def module_of(architecture, tensors):
    module = MLP(architecture).double()
    module.load_state_dict(tensors)
    return module.train()


def by_autograd(architecture, tensors, x, y, masks=(), loss=None):
    """The same step by the module in training mode, F.batch_norm and autograd."""
    loss = SquaredError() if loss is None else loss
    module = module_of(architecture, tensors)
    factors = iter(masks)
    with mock.patch.object(nn.functional, "dropout", lambda x, rate: x * next(factors)):
        outputs = module(x)
    value = loss.rows(outputs, y).mean()
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(value, parameters)
    gradients = dict(zip(names, found, strict=True))
    buffers = {name: buffer.detach() for name, buffer in module.named_buffers()}
    return Found(value.detach(), outputs.detach(), gradients, buffers)


def assert_same(found, expected, **tolerance):
    tolerance = tolerance or TIGHT
    torch.testing.assert_close(found.loss, expected.loss, **tolerance)
    torch.testing.assert_close(found.outputs, expected.outputs, **tolerance)
    torch.testing.assert_close(found.gradients, expected.gradients, **tolerance)
    torch.testing.assert_close(found.buffers, expected.buffers, **tolerance)


def check(architecture, n_replicas=1, weighted=False, n_rows=6, loss=None, size=0.5):
    """Compare the recorded step of each replica with autograd, weights being repeated rows."""
    lead = () if n_replicas == 1 else (n_replicas,)
    tensors = random_tensors(architecture, lead, size=size)
    x = random_rows(n_rows, architecture.sizes[0], lead)
    y = random_rows(n_rows, architecture.sizes[-1], lead, seed=3)
    if isinstance(loss, SoftmaxLogLoss):
        y = torch.softmax(y, -1)
    masks = random_masks(architecture, n_rows, lead)
    counts = torch.arange(n_rows) % 3 + 1 if weighted else torch.ones(n_rows, dtype=torch.int64)
    share = total = None
    if weighted:
        share = (counts.double() / counts.sum()).expand(*lead, n_rows)
        total = x.new_full(lead, float(counts.sum()))
    found = recorded(architecture, tensors, x, y, share=share, total=total, masks=masks, loss=loss)
    for k in range(n_replicas):
        own = (lambda t: t) if n_replicas == 1 else (lambda t, k=k: t[k])
        expected = by_autograd(
            architecture,
            {name: own(tensor) for name, tensor in tensors.items()},
            own(x).repeat_interleave(counts, 0),
            own(y).repeat_interleave(counts, 0),
            [own(mask).repeat_interleave(counts, 0) for mask in masks],
            loss,
        )
        first = counts.cumsum(0) - counts
        expected.outputs = expected.outputs[first]
        assert_same(found if n_replicas == 1 else found.of_replica(k), expected)


# ------------------------------------------------------------------ equality with autograd


@normalized
@pytest.mark.parametrize("activation", [Tanh(), GELU()])  # in place, and with its input kept
@pytest.mark.parametrize("n_replicas", [1, 3])
def test_the_recorded_step_is_that_of_autograd(normalization, activation, n_replicas):
    choices = itertools.product(
        [False, True],
        [(), (0.2, 0.4, 0.3), (0.0, 0.5, 0.0)],
        [(), (0.7, 1.0, 1.3)],
        [Identity(), Logistic(), Softplus()],
        [False, True],
    )
    for residual, dropout, scales, output_activation, weighted in choices:
        architecture = MLPArchitecture(
            (3, 4, 4, 2),
            (activation, activation),
            output_activation,
            normalization,
            residual,
            dropout,
            scales,
        )
        check(architecture, n_replicas, weighted)


@normalized
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("n_replicas", [1, 3])
def test_every_activation_in_every_place(name, normalization, n_replicas):
    activation = make_activation(name)
    architecture = MLPArchitecture(
        (3, 4, 4, 2),
        (activation, activation),
        activation,
        normalization,
        residual=True,
        dropout=(0.2, 0.4, 0.3),
        scales=(0.7, 1.0, 1.3),
    )
    # Three exponentials one after another leave the numbers of order one otherwise.
    check(architecture, n_replicas, weighted=True, size=0.1 if name == "exp" else 0.5)


@normalized
@pytest.mark.parametrize("function", [nn.Mish(), torch.relu_, lambda z: z * torch.sigmoid(2 * z)])
def test_callables_are_activations(function, normalization):
    activation = make_activation(function)
    architecture = MLPArchitecture((2, 3, 3, 1), (activation,) * 2, activation, normalization, True)
    for n_replicas in (1, 2):
        check(architecture, n_replicas)


@few
@given(
    widths=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    names=st.lists(st.sampled_from(["tanh", "identity", "softplus", "sin"]), min_size=3),
    normalization=st.sampled_from(NORMALIZATIONS),
    residual=st.booleans(),
    dropped=st.booleans(),
    weighted=st.booleans(),
    n_replicas=st.sampled_from([1, 2]),
    n_rows=st.integers(2, 7),
)
def test_any_widths(widths, names, normalization, residual, dropped, weighted, n_replicas, n_rows):
    n_hidden = len(widths) - 2
    activations = tuple(make_activation(name) for name in (names * 2)[:n_hidden])
    architecture = MLPArchitecture(
        tuple(widths),
        activations,
        normalization=normalization,
        residual=residual,
        dropout=(0.3,) * (n_hidden + 1) if dropped else (),
    )
    check(architecture, n_replicas, weighted, n_rows)


@pytest.mark.parametrize("n_replicas", [1, 3])
def test_the_loss_may_be_any(n_replicas):
    architecture = MLPArchitecture((3, 4, 3), (Tanh(),), normalization="batch")
    for weighted in (False, True):
        check(architecture, n_replicas, weighted, loss=SoftmaxLogLoss())


@pytest.mark.parametrize("normalization", [None, "layer"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("n_replicas", [1, 3])
def test_without_dropout_and_batch_normalisation_training_evaluates(
    normalization, residual, n_replicas
):
    architecture = MLPArchitecture(
        (3, 3, 3, 1), (Tanh(), GELU()), Softplus(), normalization, residual, scales=(0.5, 2.0, 1.0)
    )
    lead = () if n_replicas == 1 else (n_replicas,)
    tensors = random_tensors(architecture, lead)
    x, y = random_rows(5, 3, lead), random_rows(5, 1, lead)
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    outputs = architecture.apply(x, leaves)
    value = SquaredError().rows(outputs, y).mean(-1)
    gradients = torch.autograd.grad(value.sum(), list(leaves.values()))
    with torch.no_grad():
        found = recorded(architecture, tensors, x, y)
    expected = Found(
        value.detach(), outputs.detach(), dict(zip(leaves, gradients, strict=True)), {}
    )
    assert_same(found, expected)


def test_inputs_of_all_replicas_may_be_the_same():
    architecture = MLPArchitecture((3, 4, 1), (Tanh(),), normalization="batch")
    tensors = random_tensors(architecture, (3,))
    x = random_rows(5, 3)
    once = architecture.apply(x, tensors)
    torch.testing.assert_close(once, architecture.apply(x.expand(3, 5, 3), tensors), **TIGHT)
    for k in range(3):
        own = {name: tensor[k] for name, tensor in tensors.items()}
        torch.testing.assert_close(once[k], architecture.apply(x, own), **TIGHT)


def test_a_step_can_be_repeated():
    # In-place operations must not spoil what the next step reads.
    architecture = MLPArchitecture(
        (3, 3, 3, 1), (Tanh(), GELU()), Softplus(), "layer", True, (0.1, 0.2, 0.3)
    )
    tensors, x, y = random_tensors(architecture), random_rows(5, 3), random_rows(5, 1)
    values = {name: tensors[name] for name in architecture.shapes}
    gradients = {name: torch.empty_like(value) for name, value in values.items()}
    tape = Tape(x, values, gradients, {}, None, torch.tensor(5.0, dtype=torch.float64))
    outputs, value = architecture.record(tape), x.new_empty(())
    tape.forward(
        SquaredError().value_with_gradient_, outputs, y, None, tape.gradient(outputs), value
    )
    for mask, drawn in zip(tape.masks, random_masks(architecture, 5), strict=True):
        mask.copy_(drawn)
    before = (x.clone(), [mask.clone() for mask in tape.masks], tensors["coefs.1"].clone())
    seen = []
    for _ in range(2):
        for operation in tape.operations():
            operation()
        seen.append([value.clone(), *(g.clone() for g in gradients.values())])
    for first, second in zip(*seen, strict=True):
        assert torch.equal(first, second)
    assert torch.equal(x, before[0]) and torch.equal(tensors["coefs.1"], before[2])
    assert all(torch.equal(a, b) for a, b in zip(tape.masks, before[1], strict=True))


def test_gradients_are_central_differences():
    architecture = MLPArchitecture(
        (3, 4, 4, 2), (Tanh(), GELU()), Softplus(), "batch", True, (0.2, 0.4, 0.3), (0.7, 1.0, 1.3)
    )
    tensors, x, y = random_tensors(architecture), random_rows(6, 3), random_rows(6, 2)
    share = torch.tensor([0.1, 0.3, 0.05, 0.05, 0.2, 0.3], dtype=torch.float64)
    masks = random_masks(architecture, 6)

    def step(name=None, place=None, by=0.0):
        moved = dict(tensors)
        if name is not None:
            moved[name] = tensors[name].clone()
            moved[name].view(-1)[place] += by
        return recorded(architecture, moved, x, y, share=share, masks=masks)

    found, h = step(), 1e-5
    for name, gradient in found.gradients.items():
        for place, derivative in enumerate(gradient.view(-1)):
            difference = (step(name, place, h).loss - step(name, place, -h).loss) / (2 * h)
            # Truncation h² = 1e-10 times third derivatives, and rounding 1e-16 / h = 1e-11.
            assert float(difference) == pytest.approx(float(derivative), abs=1e-8)


# ------------------------------------------------------------------ weights of rows


@normalized
@pytest.mark.parametrize("n_replicas", [1, 3])
def test_rows_of_weight_zero_change_nothing(normalization, n_replicas):
    lead = () if n_replicas == 1 else (n_replicas,)
    architecture = MLPArchitecture(
        (3, 4, 4, 1), (Tanh(), GELU()), normalization=normalization, residual=True
    )
    tensors = random_tensors(architecture, lead)
    x, y = random_rows(7, 3, lead), random_rows(7, 1, lead)
    x[..., 5:, :] *= 100
    share = torch.full((*lead, 7), 1 / 5, dtype=torch.float64)
    share[..., 5:] = 0
    total = torch.full(lead, 5.0, dtype=torch.float64)
    padded = recorded(architecture, tensors, x, y, share=share, total=total)
    padded.outputs = padded.outputs[..., :5, :]
    plain = recorded(architecture, tensors, x[..., :5, :].contiguous(), y[..., :5, :].contiguous())
    assert_same(padded, plain)


@pytest.mark.parametrize("factor", [1e-3, 0.2, 40.0])
def test_the_unit_of_the_weights_matters_to_running_variances_alone(factor):
    architecture = MLPArchitecture((3, 4, 1), (Tanh(),), normalization="batch")
    tensors, x, y = random_tensors(architecture), random_rows(4, 3), random_rows(4, 1)
    share = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    one, other = (
        recorded(architecture, tensors, x, y, share=share, total=torch.tensor(total).double())
        for total in (5.0, 5.0 * factor)
    )
    assert torch.equal(one.loss, other.loss)
    for name, gradient in one.gradients.items():
        assert torch.equal(gradient, other.gradients[name])
    # Fewer than two rows say nothing of a variance: never less than the biased one is taken in.
    z = x @ tensors["coefs.0"] + tensors["intercepts.0"]
    biased = share @ (z - share @ z).square()
    least = tensors["norms.0.variance"].lerp(biased, MOMENTUM)
    most = tensors["norms.0.variance"].lerp(2 * biased, MOMENTUM)
    found = other.buffers["norms.0.variance"]
    assert bool((found >= least * (1 - 1e-12)).all() and (found <= most).all())


# ------------------------------------------------------------------ normalisation


def test_running_statistics_are_those_of_torch():
    # Chapter 10: the biased variance normalises, and the unbiased one is remembered.
    layer = nn.BatchNorm1d(4).double()
    architecture = MLPArchitecture((3, 4, 1), (Identity(),), normalization="batch")
    tensors = random_tensors(architecture)
    tensors["norms.0.mean"], tensors["norms.0.variance"] = torch.zeros(4), torch.ones(4)
    tensors = {name: tensor.double() for name, tensor in tensors.items()}
    for seed in range(3):
        x = random_rows(6, 3, seed=seed)
        layer(x @ tensors["coefs.0"] + tensors["intercepts.0"])
        found = recorded(architecture, tensors, x, torch.zeros(6, 1).double())
        tensors |= found.buffers
        torch.testing.assert_close(found.buffers["norms.0.mean"], layer.running_mean, **TIGHT)
        torch.testing.assert_close(found.buffers["norms.0.variance"], layer.running_var, **TIGHT)


def test_the_first_running_variance_is_nine_tenths_and_a_tenth_of_the_unbiased():
    architecture = MLPArchitecture((1, 1, 1), (Identity(),), normalization="batch")
    ones = dict.fromkeys(("coefs.0", "coefs.1"), torch.ones(1, 1).double())
    zeros = dict.fromkeys(("intercepts.0", "intercepts.1", "norms.0.bias"), torch.zeros(1).double())
    tensors = {**ones, **zeros, "norms.0.weight": torch.ones(1).double()}
    tensors |= {"norms.0.mean": torch.zeros(1).double(), "norms.0.variance": torch.ones(1).double()}
    x = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)
    found = recorded(architecture, tensors, x, torch.zeros(3, 1).double())
    # Mean 3; squares 4 + 1 + 9 over 2 rows; normalised by √(14/3).
    assert float(found.buffers["norms.0.mean"]) == pytest.approx(0.3, rel=1e-15)
    assert float(found.buffers["norms.0.variance"]) == pytest.approx(0.9 + 0.7, rel=1e-15)
    expected = (x[:, 0] - 3) / (14 / 3 + EPSILON) ** 0.5
    torch.testing.assert_close(found.outputs[:, 0], expected, **TIGHT)


@given(shift=st.floats(-3, 3), scale=st.floats(0.5, 4), seed=st.integers(0, 50))
@few
def test_batch_normalisation_forgets_shift_and_scale(shift, scale, seed):
    architecture = MLPArchitecture((3, 4, 1), (Tanh(),), normalization="batch")
    tensors = random_tensors(architecture, seed=seed)
    x, y = random_rows(8, 3, seed=seed), random_rows(8, 1)
    moved = {**tensors, "intercepts.0": tensors["intercepts.0"] + shift}
    moved["coefs.0"], moved["intercepts.0"] = (
        scale * moved[name] for name in ("coefs.0", "intercepts.0")
    )
    found, again = (recorded(architecture, t, x, y) for t in (tensors, moved))
    # ε = 1e-5 in the variance, of order 0.1, is not scaled: it changes 1e-4 of the outputs.
    torch.testing.assert_close(found.outputs, again.outputs, rtol=0, atol=1e-3)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("n_replicas", [1, 3])
def test_an_intercept_before_batch_normalisation_has_no_gradient_at_all(width, n_replicas):
    # Rounding errors in its place would make Adam, which divides by their size, walk at random.
    lead = () if n_replicas == 1 else (n_replicas,)
    architecture = MLPArchitecture((3, width, 1), (Tanh(),), normalization="batch")
    x, y = random_rows(6, 3, lead), random_rows(6, 1, lead)
    found = recorded(architecture, random_tensors(architecture, lead), x, y)
    assert not bool(found.gradients["intercepts.0"].any())
    assert bool(found.gradients["intercepts.1"].any())


@normalized
def test_a_single_row_gives_finite_numbers(normalization):
    architecture = MLPArchitecture((3, 4, 1), (Tanh(),), normalization=normalization)
    found = recorded(
        architecture, random_tensors(architecture), random_rows(1, 3), random_rows(1, 1)
    )
    for tensor in [found.loss, *found.gradients.values(), *found.buffers.values()]:
        assert bool(torch.isfinite(tensor).all())


# ------------------------------------------------------------------ numbers of book and lectures


def test_the_lectures_tiny_network():
    # x = 1, w1 = 0.5, w2 = 2, biases 0, the logistic function twice, loss (ŷ - 0)² / 2.
    architecture = MLPArchitecture((1, 1, 1), (Logistic(),), Logistic())
    tensors = {
        "coefs.0": torch.tensor([[0.5]]).double(),
        "coefs.1": torch.tensor([[2.0]]).double(),
        "intercepts.0": torch.zeros(1).double(),
        "intercepts.1": torch.zeros(1).double(),
    }
    x, y = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    found = recorded(architecture, tensors, x, y)
    h = 1 / (1 + np.exp(-0.5))
    prediction = 1 / (1 + np.exp(-2 * h))
    pulled = prediction * prediction * (1 - prediction)
    w2, w1 = pulled * h, pulled * 2 * h * (1 - h)
    assert float(found.outputs) == pytest.approx(prediction, rel=1e-15)
    assert float(found.loss) == pytest.approx(prediction**2 / 2, rel=1e-15)
    assert float(found.gradients["coefs.1"]) == pytest.approx(w2, rel=1e-14)
    assert float(found.gradients["coefs.0"]) == pytest.approx(w1, rel=1e-14)
    # As printed, with two digits carried from line to line; steps of length 0.1.
    printed = {"ŷ": 0.78, "L": 0.30, "w2": 0.08, "w1": 0.06, "new w2": 1.992, "new w1": 0.494}
    ours = [prediction, prediction**2 / 2, w2, w1, 2 - 0.1 * w2, 0.5 - 0.1 * w1]
    for (name, number), value in zip(printed.items(), ours, strict=True):
        assert value == pytest.approx(number, abs=6e-4 if "new" in name else 6e-3)


def test_gradients_vanish_as_in_example_8_2():
    # Ten logistic layers of width 1, all weights 1/2, x = 1, y = 0; the loss has no factor 1/2.
    depth = 10
    architecture = MLPArchitecture((1,) * (depth + 2), (Logistic(),) * depth)
    tensors = {
        name: torch.full(shape, 0.5 if name.startswith("coefs") else 0.0, dtype=torch.float64)
        for name, shape in architecture.shapes.items()
    }
    x, y = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    found = recorded(architecture, tensors, x, y)
    assert float(found.outputs) == pytest.approx(0.2854397, abs=5e-8)
    gradients = [2 * float(found.gradients[f"coefs.{i}"]) for i in reversed(range(depth))]
    oracle = [
        3.992e-2, 4.890e-3, 5.989e-4, 7.336e-5, 8.986e-6,
        1.101e-6, 1.350e-7, 1.669e-8, 2.196e-9, 4.145e-10,
    ]  # fmt: skip
    np.testing.assert_allclose(gradients, oracle, rtol=5e-4)
    # The bound |y - m| 2^{-(L - l)}.
    assert all(g < 0.2854398 * 2.0**-i for i, g in enumerate(gradients))


def dead_gradients(first, second):
    """Places of gradients that are zero for fixed masks, W being (out, in) as in the book."""
    width = len(first)
    architecture = MLPArchitecture(
        (2, width, width, 1), (Tanh(), Logistic()), dropout=(0.0, 0.5, 0.5)
    )
    # Positive weights, so that no other gradient is zero by cancellation.
    tensors = {n: t.abs() + 0.1 for n, t in random_tensors(architecture).items()}
    masks = [torch.tensor([mask]).double() for mask in (first, second)]
    found = recorded(architecture, tensors, random_rows(1, 2), random_rows(1, 1), masks=masks)
    dead = set()
    for i in range(3):
        for row, column in (found.gradients[f"coefs.{i}"] == 0).nonzero().tolist():
            # Rows of a weight here are its inputs.
            dead.add(f"W{i + 1}[{column + 1},{row + 1}]")
        for (row,) in (found.gradients[f"intercepts.{i}"] == 0).nonzero().tolist():
            dead.add(f"B{i + 1}[{row + 1}]")
    return dead


W1_ROW_1 = {"W1[1,1]", "W1[1,2]"}
W1_ROW_2 = {"W1[2,1]", "W1[2,2]"}
ALL_OF_2 = {"W2[1,1]", "W2[1,2]", "W2[2,1]", "W2[2,2]"}
FIRST_LAYER = W1_ROW_1 | W1_ROW_2 | {"B1[1]", "B1[2]"}


@pytest.mark.parametrize(
    "first, second, dead",
    [
        ((1, 1), (1, 1), set()),
        ((1, 1), (0, 1), {"W3[1,1]", "W2[1,1]", "W2[1,2]", "B2[1]"}),
        ((1, 1), (0, 0), FIRST_LAYER | ALL_OF_2 | {"B2[1]", "B2[2]", "W3[1,1]", "W3[1,2]"}),
        # The book forgets that what is dropped has weights on its other side too: a column of W2,
        ((1, 0), (1, 1), W1_ROW_2 | {"B1[2]", "W2[1,2]", "W2[2,2]"}),
        ((0, 0), (1, 1), FIRST_LAYER | ALL_OF_2),
        # and here its lower entry.
        (
            (1, 0),
            (0, 1),
            W1_ROW_2 | {"B1[2]", "W2[1,1]", "W2[1,2]", "W2[2,2]", "B2[1]", "W3[1,1]"},
        ),
        # Exercises 9.3 and 9.4.
        ((0, 1), (1, 1), W1_ROW_1 | {"B1[1]", "W2[1,1]", "W2[2,1]"}),
        (
            (0, 1),
            (1, 0),
            W1_ROW_1 | {"B1[1]", "W2[1,1]", "W2[2,1]", "W2[2,2]", "B2[2]", "W3[1,2]"},
        ),
        (
            (1, 0, 1),
            (1, 0, 0),
            W1_ROW_2
            | {"B1[2]", "W2[1,2]", "B2[2]", "B2[3]", "W3[1,2]", "W3[1,3]"}
            | {f"W2[{i},{j}]" for i in (2, 3) for j in (1, 2, 3)},
        ),
    ],
)
def test_dropped_units_have_dead_gradients(first, second, dead):
    # Section 9.4, with its omissions added.
    assert dead_gradients(first, second) == dead


@pytest.mark.parametrize("stay", [0.3, 0.5, 0.9])
def test_dropout_of_the_inputs_of_a_linear_model_is_a_ridge_penalty(stay):
    # Section 9.3: E|Y - (γ∘X)θ|² = |Y - pXθ|² + p(1-p) θ'diag(X'X)θ; here W = pθ, and the factors
    # are γ/p. All masks of a row are enumerated, each with its probability as a weight.
    n_rows, d = 7, 3
    architecture = MLPArchitecture((d, 1), (), dropout=(1 - stay,))
    tensors = random_tensors(architecture)
    tensors["intercepts.0"].zero_()
    X, Y = random_rows(n_rows, d), random_rows(n_rows, 1, seed=3)
    gammas = torch.tensor(list(itertools.product([0.0, 1.0], repeat=d))).double()
    chances = (gammas * stay + (1 - gammas) * (1 - stay)).prod(1)
    found = recorded(
        architecture,
        tensors,
        X.repeat_interleave(len(gammas), 0),
        Y.repeat_interleave(len(gammas), 0),
        share=(chances / n_rows).repeat(n_rows),
        masks=[gammas.repeat(n_rows, 1) / stay],
    )
    W = tensors["coefs.0"]
    ridge = (1 - stay) / stay * X.square().sum(0)[:, None]
    value = (Y - X @ W).square().sum() + (ridge * W.square()).sum()
    gradient = X.T @ (X @ W - Y) + ridge * W
    # Ours is half the mean.
    torch.testing.assert_close(2 * n_rows * found.loss, value, **TIGHT)
    torch.testing.assert_close(n_rows * found.gradients["coefs.0"], gradient, **TIGHT)
    # At the book's closed form it vanishes.
    tensors["coefs.0"] = torch.linalg.solve(X.T @ X + torch.diag(ridge[:, 0]), X.T @ Y)
    gradient = X.T @ (X @ tensors["coefs.0"] - Y) + ridge * tensors["coefs.0"]
    torch.testing.assert_close(gradient, torch.zeros(d, 1).double(), **TIGHT)


def test_cross_entropy_after_a_logistic_output_pulls_the_error_back():
    # Exercise 6.1: δ of the last layer is prediction minus target, whatever the depth.
    architecture = MLPArchitecture((2, 3, 3), (ReLU(),))
    tensors, x = random_tensors(architecture), random_rows(5, 2)
    y = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1]]
    found = recorded(architecture, tensors, x, y, loss=SoftmaxLogLoss())
    error = (torch.softmax(found.outputs, -1) - y) / 5
    torch.testing.assert_close(found.gradients["intercepts.1"], error.sum(0), **TIGHT)
    hidden = torch.relu(x @ tensors["coefs.0"] + tensors["intercepts.0"])
    torch.testing.assert_close(found.gradients["coefs.1"], hidden.T @ error, **TIGHT)
