"""Searches on a cluster: shards on workers, and a worker that is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import joblib
import numpy as np
import pytest
from joblib.parallel import ThreadingBackend
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thetalearn import FusedGridSearchCV, LinearRegressor, MLPRegressor


class Elsewhere(ThreadingBackend):
    """A backend that joblib does not know, as those of clusters are."""


class Forgetful(Elsewhere):
    """Loses the first calls that it is given."""

    losses = 0
    max_losses = 1

    def submit(self, func, callback=None):
        if self.losses < self.max_losses:
            type(self).losses += 1

            def lost():
                raise ConnectionError("the worker is gone")

            return super().submit(lost, callback)
        return super().submit(func, callback)

    apply_async = submit


@pytest.fixture(scope="module")
def client():
    """Two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def data():
    rng = np.random.RandomState(0)
    X = rng.randn(120, 3)
    return X, X @ [1.0, -1.0, 0.5] + 0.1 * rng.randn(120)


def scores_of(search):
    """Everything in the results that is not a time."""
    return {
        key: np.asarray(value)
        for key, value in search.cv_results_.items()
        if key.startswith(("split", "mean_test", "std_test", "rank")) and "time" not in key
    }


def same_scores(ours, theirs, rtol):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_allclose(value, theirs[key], rtol=rtol, err_msg=key)


MODEL = make_pipeline(
    StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=4, random_state=0)
)
GRID = {"mlpregressor__alpha": [1e-4, 1e-2, 1.0], "mlpregressor__learning_rate_init": [0.01, 0.1]}


def test_any_backend_that_is_not_joblibs_own_gets_shards(data):
    grid = {"alpha": np.logspace(-3, 1, 8)}
    with joblib.parallel_config(backend=Elsewhere(), n_jobs=2):
        search = FusedGridSearchCV(LinearRegressor(), grid).fit(*data)
    assert search.fused_report_.n_fused == 40
    assert len(search.fused_report_.buckets) == 4, "two shards for each worker"
    expected = GridSearchCV(LinearRegressor(), grid).fit(*data)
    same_scores(scores_of(search), scores_of(expected), 1e-12)


@pytest.mark.parametrize("losses", [1, 100])
def test_shards_that_are_lost_are_made_again(data, losses, monkeypatch):
    monkeypatch.setattr(Forgetful, "losses", 0)
    monkeypatch.setattr(Forgetful, "max_losses", losses)
    grid = {"alpha": np.logspace(-3, 1, 8)}
    always = losses == 100
    with (
        joblib.parallel_config(backend=Forgetful(), n_jobs=2),
        pytest.warns(UserWarning, match="fitted in this process")
        if always
        else contextlib.nullcontext(),
    ):
        search = FusedGridSearchCV(LinearRegressor(), grid).fit(*data)
    assert Forgetful.losses >= min(losses, 3)
    assert search.fused_report_.n_fused == 40
    expected = GridSearchCV(LinearRegressor(), grid).fit(*data)
    same_scores(scores_of(search), scores_of(expected), 1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::thetalearn.exceptions.ConvergenceWarning")
def test_workers_fit_shards_and_not_candidates(client, data):
    with joblib.parallel_config(backend="dask"):
        search = FusedGridSearchCV(MODEL, GRID, cv=4).fit(*data)
    report = search.fused_report_
    assert report.n_fused == report.n_fits == 24
    assert len(report.buckets) == 4, "two shards for each worker"
    # A stack of another size rounds otherwise, by some units in the last place a step.
    same_scores(scores_of(search), scores_of(GridSearchCV(MODEL, GRID, cv=4).fit(*data)), 1e-9)


@pytest.mark.slow
def test_what_cannot_be_fused_goes_to_the_cluster_one_by_one(client, data):
    from sklearn.linear_model import Ridge

    grid = {"alpha": [0.1, 1.0]}
    with joblib.parallel_config(backend="dask"):
        search = FusedGridSearchCV(Ridge(), grid).fit(*data)
    assert search.fused_report_.n_fused == 0
    same_scores(scores_of(search), scores_of(GridSearchCV(Ridge(), grid).fit(*data)), 1e-12)


@pytest.mark.slow
def test_errors_and_warnings_come_back(client, data):
    with joblib.parallel_config(backend="dask"):
        with pytest.warns(UserWarning, match="non-finite"):
            search = FusedGridSearchCV(LinearRegressor(), {"alpha": [-1.0, 0.1]}).fit(*data)
        assert np.isnan(search.cv_results_["mean_test_score"][0])
        with pytest.raises(ValueError, match="'alpha' parameter"):
            FusedGridSearchCV(LinearRegressor(), {"alpha": [-1.0, 0.1]}, error_score="raise").fit(
                *data
            )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::thetalearn.exceptions.ConvergenceWarning")
def test_a_worker_killed_in_the_middle_changes_nothing(client, data):
    """The shards of the worker that is lost are made again on another."""
    model = MODEL.set_params(mlpregressor__max_iter=300, mlpregressor__tol=0.0)
    expected = scores_of(FusedGridSearchCV(model, GRID, cv=4).fit(*data))
    victim = next(iter(client.run(os.getpid).values()))
    killed = []

    def kill_when_busy():
        deadline = time.time() + 60
        while time.time() < deadline:
            if any(client.processing().values()):
                time.sleep(0.3)
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_when_busy)
    killer.start()
    with joblib.parallel_config(backend="dask"):
        search = FusedGridSearchCV(model, GRID, cv=4).fit(*data)
    killer.join()
    assert killed, "the search was over before a worker could be killed"
    assert victim not in client.run(os.getpid).values()
    same_scores(scores_of(search), expected, 1e-6)
