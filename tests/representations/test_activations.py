"""Activations: values against torch and closed forms, derivatives against autograd."""

import math
import pickle

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import clone

from thetalearn.representations.networks.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    SELU,
    Activation,
    Arctan,
    CallableActivation,
    ClippedReLU,
    Cos,
    Erf,
    Exp,
    Gaussian,
    HardTanh,
    Heaviside,
    Identity,
    LeakyReLU,
    Logistic,
    ReLU,
    SiLU,
    Sin,
    Softplus,
    Softsign,
    Tanh,
    make_activation,
)

ALL = [
    *(kind() for kind in ACTIVATIONS.values()),
    Logistic(0.1),
    LeakyReLU(0.0),
    LeakyReLU(0.3),
    ELU(0.0),
    ELU(0.4),
    Softplus(5),
    ClippedReLU(1),
    Sin(3.0),
    Cos(0.5),
    CallableActivation(torch.nn.Mish()),
]
few = settings(max_examples=max(settings().max_examples // 4, 1))
every = pytest.mark.parametrize("activation", ALL, ids=repr)

# Kinks and jumps of the functions above are tried often.
numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 6.0]) | st.floats(-30, 30)
tensors = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=5), elements=numbers).map(
    torch.from_numpy
)


def derivative(activation, z):
    """The derivative f'(z), as backpropagation uses it."""
    d = torch.ones_like(z)
    activation.pull_(d, z if activation.needs_input else activation(z))
    return d


@every
@few
@given(z=tensors, seed=st.integers(0, 1000))
def test_derivative_is_that_of_autograd(activation, z, seed):
    after = torch.from_numpy(np.random.default_rng(seed).normal(size=z.shape))
    leaf = z.clone().requires_grad_()
    (truth,) = torch.autograd.grad(activation(leaf), leaf, after)
    d = after.clone()
    saved = z.clone() if activation.needs_input else activation(z)
    kept = saved.clone()
    activation.pull_(d, saved)
    torch.testing.assert_close(d, truth, rtol=1e-12, atol=1e-12)
    assert torch.equal(saved, kept)


@every
def test_derivative_is_the_limit_of_differences(activation):
    z, h = torch.linspace(-3.987, 7.013, 200, dtype=torch.float64), 1e-5
    difference = (activation(z + h) - activation(z - h)) / (2 * h)
    # h² f'''/6 with f''' up to 1e3 for the steep logistic, and rounding over h.
    torch.testing.assert_close(derivative(activation, z), difference, rtol=1e-7, atol=2e-8)


@every
@few
@given(z=tensors)
def test_into_writes_the_value(activation, z):
    before, out = z.clone(), torch.full_like(z, math.nan)
    activation.into(z, out)
    # Vectorised and scalar code of torch may differ by a few roundings.
    close = {"rtol": 1e-14, "atol": 1e-15}
    torch.testing.assert_close(out, activation(z), **close)
    assert torch.equal(z, before)
    if not activation.needs_input:
        activation.into(z, z)
        torch.testing.assert_close(z, out, **close)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_works_in_inference_mode_and_either_precision(activation, dtype):
    wide = torch.linspace(-5.05, 5.0, 60, dtype=torch.float64).view(3, 4, 5)
    with torch.inference_mode():
        z = wide.to(dtype)
        out, d = torch.empty_like(z), torch.ones_like(z)
        activation.into(z, out)
        activation.pull_(d, z if activation.needs_input else out)
    assert out.dtype == d.dtype == dtype
    # The steepest has slope 2.5, so that a rounded z is ten roundings of the value.
    rounding = 100 * torch.finfo(dtype).eps
    torch.testing.assert_close(out.double(), activation(wide), rtol=rounding, atol=rounding)
    exact = derivative(activation, wide)
    torch.testing.assert_close(d.double(), exact, rtol=rounding, atol=rounding)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_stable_far_out(activation, dtype):
    ends = [-1e4, 1e4] if activation != Exp() else [-1e4, 80.0]
    z = torch.tensor([*ends, -100.0, 50.0], dtype=dtype, requires_grad=True)
    out = torch.empty_like(z)
    (by_autograd,) = torch.autograd.grad(activation(z).sum(), z)
    with torch.no_grad():
        activation.into(z, out)
        d = derivative(activation, z)
    assert out.isfinite().all() and d.isfinite().all() and by_autograd.isfinite().all()


@every
def test_second_derivative_exists(activation):
    z = torch.linspace(-2.9, 3.1, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(activation, (z,))


@every
def test_is_a_value(activation):
    copies = [pickle.loads(pickle.dumps(activation)), clone(activation, safe=False)]
    for copy in copies:
        assert type(copy) is type(activation)
        if not isinstance(activation, CallableActivation):
            assert copy == activation and hash(copy) == hash(activation)
    with pytest.raises(AttributeError):
        activation.anything = 1


@pytest.mark.parametrize(
    "activation, peer",
    [
        (Identity(), torch.nn.Identity()),
        (Logistic(), torch.nn.Sigmoid()),
        (Tanh(), torch.nn.Tanh()),
        (ReLU(), torch.nn.ReLU()),
        (LeakyReLU(0.2), torch.nn.LeakyReLU(0.2)),
        (ELU(0.7), torch.nn.ELU(0.7)),
        (SELU(), torch.nn.SELU()),
        (GELU(), torch.nn.GELU()),
        (SiLU(), torch.nn.SiLU()),
        (Softplus(2.0), torch.nn.Softplus(2.0, threshold=40)),
        (Softsign(), torch.nn.Softsign()),
        (ClippedReLU(6.0), torch.nn.ReLU6()),
        (HardTanh(), torch.nn.Hardtanh()),
        (CallableActivation(torch.nn.Mish()), torch.nn.Mish()),
    ],
    ids=repr,
)
def test_equals_the_module_of_torch(activation, peer):
    z = torch.linspace(-8, 8, 101, dtype=torch.float64)
    torch.testing.assert_close(activation(z), peer(z), rtol=1e-15, atol=1e-15)


@given(z=tensors)
def test_closed_forms(z):
    close = {"rtol": 1e-13, "atol": 1e-14}
    x, bump = z.numpy(), torch.exp(-z.square())
    logistic = Logistic()(z)
    torch.testing.assert_close(logistic, (1 + Tanh()(z / 2)) / 2, **close)
    torch.testing.assert_close(Logistic()(-z), 1 - logistic, **close)
    torch.testing.assert_close(derivative(Logistic(), z), logistic * (1 - logistic), **close)
    # The book's (after 5.4) example of the change from one to the other, with its misprint mended.
    torch.testing.assert_close(
        5 * Logistic()(6 * z + 8) + 7, 2.5 * Tanh()(3 * z + 4) + 9.5, **close
    )
    torch.testing.assert_close(derivative(Softplus(3.0), z), Logistic()(3 * z), **close)
    torch.testing.assert_close(GELU()(z), z * torch.from_numpy(scipy.stats.norm.cdf(x)), **close)
    torch.testing.assert_close(derivative(Erf(), z), 2 / math.sqrt(math.pi) * bump, **close)
    torch.testing.assert_close(Gaussian()(z), bump, **close)
    torch.testing.assert_close(derivative(Arctan(), z), 1 / (1 + z * z), **close)
    torch.testing.assert_close(Sin(2.0)(z), 2 * Sin()(z) * Cos()(z), rtol=1e-12, atol=1e-13)


@given(z=tensors, beta=st.floats(0.5, 100))
def test_softplus_is_near_the_rectifier(z, beta):
    gap = Softplus(beta)(z) - ReLU()(z)
    # ln(1 + e^-|βz|)/β; rounding is that of z.
    assert (gap >= -1e-14).all() and (gap <= math.log(2) / beta + 1e-14).all()


def test_selu_keeps_mean_and_variance():
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    value = SELU()(z)
    # The trapezoidal rule with a kink on a node: error of order 1e-3² / 12.
    assert torch.trapezoid(value * density, z) == pytest.approx(0, abs=1e-6)
    assert torch.trapezoid(value.square() * density, z) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("step", [Heaviside(), Logistic(0.02)], ids=repr)
def test_truth_table_of_and(step):
    quadrants = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    x, y = quadrants.unbind(1)
    both = step(step(x) + step(y) - 1.5)
    torch.testing.assert_close(both, torch.tensor([1.0, 0.0, 0.0, 0.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("function", [ReLU(), LeakyReLU(0.0), ClippedReLU()], ids=repr)
def test_derivative_at_the_kink_is_zero(function):
    zero = torch.zeros(3)
    assert not derivative(function, zero).any()
    assert derivative(function, torch.full((3,), 1e-30)).all()


def test_step_is_zero_at_zero():
    assert Heaviside()(torch.tensor([-1.0, 0.0, 1e-30])).tolist() == [0, 0, 1]


def test_nan_is_not_hidden():
    z = torch.tensor([math.nan, 1.0])
    for activation in ALL:
        if activation != Heaviside():
            out = torch.empty_like(z)
            activation.into(z, out)
            assert out.isnan().tolist() == activation(z).isnan().tolist() == [True, False]


def test_vanishing_gradient_of_a_chain():
    # The book's example 8.2: ten logistic units in a row, weights 1/2, x = 1, m = h/2, loss m².
    f, values = Logistic(), [torch.ones((), dtype=torch.float64)]
    for _ in range(10):
        values.append(f(values[-1] / 2))
    m = values[-1] / 2
    assert float(m) == pytest.approx(0.2854397, abs=5e-8)
    d, slopes = m.clone(), []
    for before, value in zip(values[-2::-1], values[:0:-1], strict=True):
        f.pull_(d, value)
        slopes.append(float(d * before))
        d /= 2
    computed = [3.992e-2, 4.890e-3, 5.989e-4, 7.336e-5, 8.986e-6]
    computed += [1.101e-6, 1.350e-7, 1.669e-8, 2.196e-9, 4.145e-10]
    # Half a unit in the fourth digit.
    np.testing.assert_allclose(slopes, computed, rtol=5e-4)


def test_function_of_the_user():
    z = torch.linspace(-3, 3, 12, dtype=torch.float64).view(3, 4)
    own = make_activation(lambda z: z * torch.exp(-z))
    torch.testing.assert_close(derivative(own, z), (1 - z) * torch.exp(-z))
    # One that works in place changes neither its input nor what is saved for the way back.
    in_place, before = make_activation(torch.relu_), z.clone()
    assert torch.equal(in_place(z), ReLU()(z))
    assert torch.equal(derivative(in_place, z), derivative(ReLU(), z))
    out = torch.empty_like(z)
    in_place.into(z, out)
    assert torch.equal(out, ReLU()(z)) and torch.equal(z, before)


def test_function_of_the_user_may_mix_the_entries_of_a_row():
    softmax = CallableActivation(torch.nn.Softmax(-1))
    z = torch.linspace(-3, 3, 12, dtype=torch.float64).view(3, 4)
    d = z.cos()
    value = softmax(z)
    expected = value * (d - (d * value).sum(-1, keepdim=True))
    softmax.pull_(d, z)
    torch.testing.assert_close(d, expected)


def test_specifications():
    assert list(ACTIVATIONS)[:4] == ["identity", "logistic", "tanh", "relu"]
    for name, kind in ACTIVATIONS.items():
        assert make_activation(name) == kind()
        assert issubclass(kind, Activation)
    given = Logistic(0.5)
    assert make_activation(given) is given
    assert make_activation(torch.sin) == CallableActivation(torch.sin)


@pytest.mark.parametrize("spec", ["rectifier", "ReLU", None, 3, ["relu"], torch.nn.ReLU, ReLU])
def test_unknown_specification(spec):
    with pytest.raises(ValueError, match=r"activation=.*must be an Activation, a callable or one"):
        make_activation(spec)
    with pytest.raises(ValueError, match="'identity', 'logistic', 'tanh', 'relu'"):
        make_activation(spec)


def test_class_instead_of_instance():
    with pytest.raises(ValueError, match="this is a class: give an instance"):
        make_activation(torch.nn.Tanh)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Logistic(0), "scale=0 of Logistic must be a positive finite number"),
        (lambda: Logistic("1"), "scale='1' of Logistic must be a positive finite number"),
        (lambda: LeakyReLU(-0.1), "negative_slope=-0.1 of LeakyReLU must be a non-negative"),
        (lambda: ELU(-1), "alpha=-1 of ELU must be a non-negative finite number"),
        (lambda: Softplus(math.inf), "beta=inf of Softplus must be a positive finite number"),
        (lambda: ClippedReLU(math.nan), "limit=nan of ClippedReLU must be a positive finite"),
        (lambda: Sin(0.0), "frequency=0.0 of Sin must be a positive finite number"),
        (lambda: Cos(-1), "frequency=-1 of Cos must be a positive finite number"),
        (lambda: CallableActivation(3), "activation=3 must be a function of a tensor"),
        (lambda: CallableActivation(torch.nn.PReLU()), "has parameters, which would not be"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda z: z.sum(), r"must keep the shape; it turned \(2, 3\) into \(\)"),
        (lambda z: z[..., :1], r"must keep the shape; it turned \(2, 3\) into \(2, 1\)"),
        (lambda z: 1.0, "must return a tensor; it returned a float"),
    ],
)
def test_function_of_the_user_must_keep_the_shape(function, message):
    activation, z = CallableActivation(function), torch.ones(2, 3)
    for call in (
        lambda: activation(z),
        lambda: activation.into(z, torch.empty_like(z)),
        lambda: activation.pull_(torch.ones_like(z), z),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "function",
    [
        torch.ones_like,
        lambda z: z.detach().exp(),
        lambda z: torch.ones_like(z) * torch.nn.Parameter(torch.ones(1)),
    ],
)
def test_function_of_the_user_must_be_differentiable(function):
    activation, z = CallableActivation(function), torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"activation=.*is not differentiable"):
        activation.pull_(torch.ones_like(z), z)
