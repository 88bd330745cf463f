"""Newton's method on a stack takes the steps that it takes on each of its objectives."""

import numpy as np
import pytest
import torch

from thetalearn.objectives.cross_entropy import BinaryCrossEntropy
from thetalearn.objectives.stacked_cross_entropy import StackedBinaryCrossEntropy
from thetalearn.solvers.newton import newton
from thetalearn.solvers.stacked_newton import stacked_newton, thinning_depth

RNG = np.random.default_rng(0)
ALPHAS = np.array([0.0, 1e-4, 1.0])


def problem(n_rows, scale):
    X = torch.from_numpy(RNG.normal(size=(n_rows, 3)) * scale)
    labels = (X[:, 0] / scale + torch.from_numpy(RNG.normal(size=n_rows)) > 0).to(torch.float64)
    y = torch.stack([1 - labels, labels], 1)
    rows = torch.cat([X, X.new_ones(n_rows, 1)], 1)
    ridge = torch.from_numpy(ALPHAS)[:, None] * torch.tensor([1.0, 1.0, 1.0, 0.0])
    return X, y, StackedBinaryCrossEntropy(rows, y, None, ridge.to(torch.float64))


@pytest.mark.parametrize("start", [0.0, 30.0], ids=["near", "far"])
@pytest.mark.parametrize("n_rows", [150, 2_000], ids=["whole", "thinned"])
def test_same_steps_as_alone(n_rows, start):
    X, y, stack = problem(n_rows, scale=2.0)
    theta = torch.full((3, 4), start, dtype=torch.float64)
    tol, max_iter = np.array([1e-8, 1e-3, 1e-10]), np.array([100, 100, 100])
    records = [[], [], []]
    found = stacked_newton(
        stack,
        theta,
        tol=tol,
        max_iter=max_iter,
        depth=thinning_depth(n_rows, 4),
        report=lambda k, record: records[k].append(record),
    )
    for k, alpha in enumerate(ALPHAS):
        own = []
        alone = newton(
            BinaryCrossEntropy(X, y, None, alpha),
            theta[k],
            tol=tol[k],
            max_iter=100,
            report=lambda record, theta, own=own: own.append(record) or False,
        )
        assert (found[k].n_iter, found[k].converged, found[k].reason) == (
            alone.n_iter,
            alone.converged,
            alone.reason,
        )
        torch.testing.assert_close(found[k].theta, alone.theta, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(found[k].drift, alone.drift, rtol=1e-6, atol=1e-8)
        assert [r["loss"] for r in records[k]] == pytest.approx([r["loss"] for r in own])


def test_each_has_its_own_end():
    _, _, stack = problem(150, scale=1.0)
    theta = torch.zeros(3, 4, dtype=torch.float64)
    found = stacked_newton(stack, theta, tol=np.full(3, 1e-12), max_iter=np.array([1, 3, 100]))
    assert [minimum.n_iter for minimum in found[:2]] == [1, 3]
    assert [minimum.converged for minimum in found] == [False, False, True]
    assert found[0].reason == "max_iter=1 steps taken"
