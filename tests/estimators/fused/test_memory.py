"""Fits made together take no more memory than they were given."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SCRIPT = """
import sys
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold, LeaveOneOut

sys.path.insert(0, "benchmarks")
from _harness import peak_memory
from thetalearn import KernelRidgeRegressor, LinearRegressor, MLPRegressor, SoftmaxClassifier
from thetalearn.fusion import ReplicaFit, Source

warnings.simplefilter("ignore")
BUDGET = 2**26
rng = np.random.default_rng(0)
kind = sys.argv[1]
if kind == "softmax":
    model, n, d, cv, alphas = SoftmaxClassifier(), 20_000, 5, KFold(5), np.logspace(-5, 0, 60)
elif kind == "networks":
    model = MLPRegressor(hidden_layer_sizes=(16,), max_iter=1, random_state=0)
    n, d, cv, alphas = 600, 20, KFold(5), np.logspace(-6, 2, 600)
else:
    n, d, cv, alphas = 1000, 100, LeaveOneOut(), [0.1, 1.0]
    model = KernelRidgeRegressor() if kind == "kernel" else LinearRegressor()


def search(n, alphas):
    X = rng.standard_normal((n, d))
    y = X[:, 0] + rng.standard_normal(n)
    if kind == "softmax":
        y = np.argmax(X @ rng.standard_normal((d, 10)) + rng.gumbel(size=(n, 10)), axis=1)
    candidates = [clone(model).set_params(alpha=a) for a in alphas]
    fits = [ReplicaFit(clone(c), 0, rows) for rows, _ in cv.split(X) for c in candidates]

    def work():
        n_done = 0
        for part in type(model).fit_replicas(fits, [Source(X, y)], memory_budget=BUDGET):
            for fit in part:
                assert fit.error is None
                fit.estimator = None
                n_done += 1
        assert n_done == len(fits)

    return work


search(100, alphas[:2])()
print(peak_memory(search(n, alphas)) / BUDGET)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the high-water mark that Linux keeps")
@pytest.mark.parametrize("kind", ["softmax", "kernel", "linear", "networks"])
def test_fits_made_together_keep_to_the_budget(kind):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1.0
