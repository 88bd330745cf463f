"""Random features: the kernels that their inner products approximate."""

import numpy as np
import pytest
import torch

from thetalearn.representations.bases import RandomFourier, RandomReLU

M = 40_000
#: Inner products are means of M bounded (Fourier) or light-tailed (ReLU) draws: six standard
#: errors, with a standard deviation of about one.
SIX_SIGMA = 6 / M**0.5


def gram(basis, x):
    features = basis(torch.from_numpy(x))[:, 1:].numpy()
    return features @ features.T


@pytest.mark.parametrize("n_inputs", [1, 4])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_fourier_features_approximate_the_gaussian_kernel(n_inputs, gamma):
    rng = np.random.RandomState(0)
    x = rng.normal(size=(12, n_inputs))
    basis = RandomFourier.draw(n_inputs, M, gamma, rng)
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.testing.assert_allclose(gram(basis, x), np.exp(-gamma * squares), rtol=0, atol=SIX_SIGMA)


@pytest.mark.parametrize("n_inputs", [1, 4])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_relu_features_approximate_the_arc_cosine_kernel(n_inputs, gamma):
    rng = np.random.RandomState(0)
    x = rng.normal(size=(12, n_inputs))
    basis = RandomReLU.draw(n_inputs, M, gamma, rng)
    # Cho and Saul, order 1, of the inputs with a one appended for the offset.
    z = np.c_[x, np.ones(12)]
    norms = np.linalg.norm(z, axis=1)
    cosine = np.clip(z @ z.T / np.outer(norms, norms), -1, 1)
    angle = np.arccos(cosine)
    arc = np.outer(norms, norms) / np.pi * (np.sin(angle) + (np.pi - angle) * cosine)
    scale = 2 * gamma * norms.max() ** 2  # the draws have this variance
    np.testing.assert_allclose(gram(basis, x), 2 * gamma * arc, rtol=0, atol=3 * scale * SIX_SIGMA)


@pytest.mark.parametrize("family", [RandomFourier, RandomReLU])
def test_the_seed_alone_decides(family):
    one, same, other = (family.draw(2, 5, 0.3, np.random.RandomState(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_families_differ_with_equal_weights():
    weights, offsets = np.ones((1, 2)), np.zeros(2)
    assert RandomFourier(weights, offsets) != RandomReLU(weights, offsets)


def test_derivatives_of_any_order_of_a_cosine():
    basis = RandomFourier(np.array([[2.0]]), np.array([0.5]))
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]
    z = 2 * x + 0.5
    for order, wave in enumerate([z.cos(), -z.sin(), -z.cos(), z.sin(), z.cos()]):
        # Rounding of the phase, times 2^order.
        expected = 2**0.5 * 2**order * wave
        ours = basis.derivative(x, order)[:, 1:]
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)
