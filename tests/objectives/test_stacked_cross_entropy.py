"""Cross-entropies of a stack are those of its models, one by one."""

import numpy as np
import pytest
import torch

from thetalearn.objectives import stacked_cross_entropy
from thetalearn.objectives.cross_entropy import BinaryCrossEntropy, SoftmaxCrossEntropy
from thetalearn.objectives.stacked_cross_entropy import (
    StackedBinaryCrossEntropy,
    StackedSoftmaxCrossEntropy,
    products_of_columns,
    triangle,
)

RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.normal(size=(400, 5)))
ALPHAS = [0.0, 0.1, 2.0]


def stack_of(y, weight, binary):
    rows = torch.cat([X, X.new_ones(len(X), 1)], 1)
    n_logits = 1 if binary else y.shape[1]
    ridge = torch.tensor(ALPHAS, dtype=torch.float64)[:, None].repeat(1, n_logits * 6)
    ridge.view(3, n_logits, 6)[:, :, -1] = 0
    kind = StackedBinaryCrossEntropy if binary else StackedSoftmaxCrossEntropy
    return kind(rows, y, weight, ridge)


@pytest.mark.parametrize("min_curvatures", [1, 10**6], ids=["products", "one by one"])
@pytest.mark.parametrize("kept", [0, 2**23], ids=["blocks", "kept"])
@pytest.mark.parametrize("weights", ["none", "shared", "own"])
@pytest.mark.parametrize("n_logits", [1, 2, 4])
def test_values_gradients_and_hessians(monkeypatch, min_curvatures, kept, weights, n_logits):
    binary, n_classes = n_logits == 1, max(n_logits, 2)
    monkeypatch.setattr(stacked_cross_entropy, "MIN_CURVATURES", min_curvatures)
    monkeypatch.setattr(stacked_cross_entropy, "KEPT_PRODUCTS", kept)
    monkeypatch.setattr(stacked_cross_entropy, "BLOCK_LOGITS", 300)
    y = torch.from_numpy(RNG.dirichlet(np.ones(n_classes), size=400))
    each = torch.from_numpy(RNG.uniform(0.1, 2, size=(3, 400)))
    weight = {"none": None, "shared": each[0], "own": each}[weights]
    stack = stack_of(y, weight, binary)
    which = torch.tensor([2, 0])
    theta = torch.from_numpy(RNG.normal(size=(2, stack.n_params)))
    value, gradient, hessian = stack.evaluate_with_hessian(theta, which)
    again = stack.evaluate(theta, which)
    single = BinaryCrossEntropy if binary else SoftmaxCrossEntropy
    for k, number in enumerate(which.tolist()):
        own = weight[number] if weights == "own" else weight
        alone = single(X, y, own, ALPHAS[number]).evaluate_with_hessian(theta[k])
        # Sums of 400 terms, in another order.
        assert float(value[k]) == pytest.approx(alone[0], rel=1e-12)
        torch.testing.assert_close(gradient[k], alone[1], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(hessian[k], alone[2], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(again[0][k], value[k], rtol=1e-12, atol=0)
        torch.testing.assert_close(again[1][k], gradient[k], rtol=1e-10, atol=1e-12)


def test_thinned_rows():
    y = torch.from_numpy(RNG.dirichlet(np.ones(2), size=400))
    part = stack_of(y, None, binary=True).thinned(8)
    theta = torch.from_numpy(RNG.normal(size=(3, 6)))
    alone = BinaryCrossEntropy(X, y, None, 0.1).thinned(8).evaluate(theta[1])
    assert float(part.evaluate(theta, torch.arange(3))[0][1]) == pytest.approx(alone[0])


def test_products_of_columns():
    columns = torch.arange(6.0).view(3, 2)
    products = products_of_columns(columns)
    numbers = triangle(3)
    for i in range(3):
        for j in range(3):
            torch.testing.assert_close(products[numbers[i, j]], columns[i] * columns[j])
