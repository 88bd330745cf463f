"""Fits to Dask collections: they equal fits in memory, and only one block and factors are held."""

import gc
import pickle
import threading
import warnings
import weakref

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn import (
    BSplineRegressor,
    ChebyshevRegressor,
    LinearRegressor,
    PolynomialRegressor,
    RandomFeatureRegressor,
    ReLURegressor,
)
from thetalearn.exceptions import DomainError, RankWarning

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

rng = np.random.RandomState(0)
N = 240
X = rng.uniform(-1, 1, size=(N, 2))
Y = np.column_stack([np.sin(2 * X[:, 0]) + X[:, 1] ** 2, X[:, 0] * X[:, 1]])
WEIGHT = rng.randint(0, 4, size=N).astype(float)
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": Y[:, 0], "z": Y[:, 1], "w": WEIGHT})
CHUNKS = (50, 90, 1, 99)

REGRESSORS = {
    "linear": LinearRegressor(),
    "ridge": LinearRegressor(alpha=0.1),
    "elastic net": LinearRegressor(alpha=0.01, l1_ratio=0.5),
    "no intercept": LinearRegressor(fit_intercept=False),
    "polynomial": PolynomialRegressor(degree=4, alpha=1e-3),
    "chebyshev": ChebyshevRegressor(degree=5),
    "chebyshev with domain": ChebyshevRegressor(degree=5, domain=[(-1, 1)] * 2, product="tensor"),
    "spline": BSplineRegressor(knots=4, alpha=1e-3),
    "spline with knots": BSplineRegressor(knots=[-0.5, 0.1], kinks=[0.0], domain=(-1, 1)),
    "tensor spline": BSplineRegressor(knots=3, product="tensor", alpha=1e-3, penalty_order=1),
    "quantile placement of given knots": BSplineRegressor(knots=[0.1], placement="quantile"),
    "relu": ReLURegressor(shifts=5, alpha=1e-3),
    "relu with domain": ReLURegressor(shifts=5, domain=(-1, 1), alpha=1e-3),
    "relu with shifts": ReLURegressor(shifts=[-0.5, 0.5], product="tensor"),
    "fourier": RandomFeatureRegressor(20, random_state=3, alpha=1e-2),
    "random relu": RandomFeatureRegressor(20, kind="relu", gamma=0.5, random_state=3, alpha=1e-2),
}


@pytest.fixture(params=REGRESSORS)
def regressor(request):
    return pickle.loads(pickle.dumps(REGRESSORS[request.param]))


@pytest.fixture(autouse=True)
def synchronous():
    """One thread, unless a test says otherwise: the tests are about what is computed."""
    with dask.config.set(scheduler="synchronous"):
        yield


def twin(estimator):
    return pickle.loads(pickle.dumps(estimator))


def assert_same_fit(blocks, memory, tolerance=1e-12):
    """All public attributes and predictions, to the rounding of another order of summation."""
    assert {k for k in vars(blocks) if not k.startswith("_")} == {
        k for k in vars(memory) if not k.startswith("_")
    }
    scale = np.abs(memory.coef_).max()
    np.testing.assert_allclose(blocks.coef_, memory.coef_, rtol=0, atol=tolerance * scale)
    for name in ("n_features_in_", "rank_", "n_samples_seen_", "term_names_", "_one_target"):
        assert getattr(blocks, name) == getattr(memory, name)
    assert blocks._streaming == memory._streaming is False
    assert blocks.condition_number_ == pytest.approx(memory.condition_number_, rel=1e-8)
    np.testing.assert_array_equal(
        getattr(blocks, "feature_names_in_", ()), getattr(memory, "feature_names_in_", ())
    )


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_arrays_in_blocks_equal_the_array(regressor, targets, weighted):
    y = Y[:, 0] if targets == 1 else Y
    weight = WEIGHT if weighted else None
    memory = twin(regressor).fit(X, y, weight)
    blocks = regressor.fit(
        da.from_array(X, chunks=(CHUNKS, 2)),
        da.from_array(y, chunks=60),
        None if weight is None else da.from_array(weight, chunks=N),
    )
    assert_same_fit(blocks, memory)
    np.testing.assert_allclose(blocks.predict(X), memory.predict(X), rtol=0, atol=1e-12)


def test_frames_in_partitions_equal_the_frame(regressor):
    memory = twin(regressor).fit(FRAME[["a", "b"]], FRAME["y"], FRAME["w"])
    frame = dd.from_pandas(FRAME, npartitions=5)
    blocks = regressor.fit(frame[["a", "b"]], frame["y"], sample_weight=frame["w"])
    assert list(blocks.feature_names_in_) == ["a", "b"]
    assert_same_fit(blocks, memory)


def test_bases_are_exactly_those_of_a_fit_in_memory(regressor):
    """Ranges are exact; only a variance that was put together may round differently."""
    memory = twin(regressor).fit(X, Y)
    blocks = regressor.fit(da.from_array(X, chunks=(CHUNKS, 2)), Y)
    if getattr(regressor, "gamma", None) == "scale":
        points = memory._input_rows(X, reset=False)
        np.testing.assert_allclose(blocks.basis_(points), memory.basis_(points), atol=1e-14)
    else:
        assert blocks.basis_ == memory.basis_


@given(
    cuts=st.lists(st.integers(0, N), max_size=9).map(sorted),
    columns=st.sampled_from([(2,), (1, 1)]),
)
@settings(max_examples=15, deadline=None)
def test_any_partition_gives_the_same_fit(cuts, columns):
    """Also with empty blocks, and with columns apart."""
    chunks = tuple(int(n) for n in np.diff([0, *cuts, N]))
    blocks = ChebyshevRegressor(degree=4).fit(da.from_array(X, chunks=(chunks, columns)), Y)
    assert_same_fit(blocks, ChebyshevRegressor(degree=4).fit(X, Y))


@pytest.mark.parametrize("kind", ["array", "series", "tensor", "list", "number"])
def test_weights_and_targets_may_be_in_memory(kind):
    convert = {
        "array": np.asarray,
        "series": pd.Series,
        "tensor": torch.from_numpy,
        "list": list,
        "number": np.asarray,
    }[kind]
    weight = 2.5 if kind == "number" else WEIGHT
    memory = LinearRegressor().fit(X, Y[:, 0], weight)
    blocks = LinearRegressor().fit(
        da.from_array(X, chunks=70),
        convert(Y[:, 0].copy()),
        weight if kind == "number" else convert(weight),
    )
    assert_same_fit(blocks, memory)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_precision_of_the_inputs_is_kept(dtype):
    inputs = (10 * X).astype(dtype)
    memory = ChebyshevRegressor(degree=3).fit(inputs, Y)
    rows = da.from_array(inputs, chunks=(CHUNKS, 2))
    blocks = ChebyshevRegressor(degree=3).fit(rows, Y.astype(np.float64))
    assert_same_fit(blocks, memory)
    predicted = blocks.predict(rows)
    assert predicted.dtype == predicted.compute().dtype == memory.predict(inputs).dtype


def test_rows_may_be_sparse_where_they_may_be_in_memory():
    sparse = da.map_blocks(
        sp.csr_matrix, da.from_array(X, chunks=(CHUNKS, 2)), dtype=float, meta=sp.csr_matrix((0, 0))
    )
    assert_same_fit(LinearRegressor().fit(sparse, Y), LinearRegressor().fit(X, Y))


def test_blocks_of_weight_zero_are_no_rows():
    weight = np.ones(N)
    weight[:60] = 0
    far = X.copy()
    far[:60] += 100  # not in the range of the rows that count
    blocks = ChebyshevRegressor(degree=3).fit(
        da.from_array(far, chunks=30), Y, da.from_array(weight, chunks=30)
    )
    memory = ChebyshevRegressor(degree=3).fit(far, Y, weight)
    assert blocks.n_samples_seen_ == N - 60
    assert_same_fit(blocks, memory)


@pytest.mark.parametrize("cut", [0.5, 0.95])
def test_empty_partitions_are_passed_over(cut):
    frame = dd.from_pandas(FRAME, npartitions=6)
    frame, part = (each[each["a"] > cut] for each in (frame, FRAME))
    blocks = LinearRegressor().fit(frame[["a", "b"]], frame[["y", "z"]])
    assert_same_fit(blocks, LinearRegressor().fit(part[["a", "b"]], part[["y", "z"]]))


def test_the_fit_goes_on_as_one_in_memory(regressor):
    """Updates, merges, other penalties, pickles."""
    half = N // 2
    rows = da.from_array(X, chunks=(CHUNKS, 2))
    blocks, memory = twin(regressor).fit(rows, Y), twin(regressor).fit(X, Y)
    blocks = pickle.loads(pickle.dumps(blocks))
    for model in (blocks, memory):
        model.alpha = 0.05
    inner = 0.5 * X[:half]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what the first rows have fixed
        blocks.partial_fit(inner, Y[:half])
        memory.partial_fit(inner, Y[:half])
    np.testing.assert_allclose(blocks.coef_, memory.coef_, rtol=0, atol=1e-11)
    if getattr(regressor, "gamma", None) != "scale":
        blocks.merge(twin(memory))
        memory.merge(twin(memory))
        np.testing.assert_allclose(blocks.coef_, memory.coef_, rtol=0, atol=1e-11)


def test_names_of_an_earlier_fit_are_forgotten():
    model = LinearRegressor().fit(FRAME[["a", "b"]], FRAME["y"])
    model.fit(da.from_array(X, chunks=50), Y)
    assert not hasattr(model, "feature_names_in_")


def test_a_generator_is_drawn_from_as_in_memory():
    """A RandomState moves on by as much, and gives the same features."""
    here, there = np.random.RandomState(4), np.random.RandomState(4)
    memory = RandomFeatureRegressor(10, random_state=here).fit(X, Y)
    blocks = RandomFeatureRegressor(10, random_state=there).fit(da.from_array(X, chunks=50), Y)
    np.testing.assert_allclose(blocks.predict(X), memory.predict(X), rtol=0, atol=1e-11)
    assert here.randint(1000) == there.randint(1000)


def test_a_rank_that_rows_do_not_determine_is_reported_once():
    rows = np.column_stack([X[:, 0], 2 * X[:, 0]])
    with pytest.warns(RankWarning, match="240 rows determine 2") as caught:
        blocks = LinearRegressor().fit(da.from_array(rows, chunks=50), Y)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(RankWarning):
        memory = LinearRegressor().fit(rows, Y)
    np.testing.assert_allclose(blocks.coef_, memory.coef_, atol=1e-12)


# What is refused


def spoilt(place, value):
    array = X.copy()
    array[place, 1] = value
    return array


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_infinite_number_in_one_block_is_refused_as_in_memory(value):
    bad = spoilt(100, value)
    with pytest.raises(ValueError) as memory:
        ChebyshevRegressor().fit(bad, Y)
    with pytest.raises(ValueError) as blocks:
        ChebyshevRegressor().fit(da.from_array(bad, chunks=50), Y)
    assert str(blocks.value) == str(memory.value)
    assert blocks.value.__notes__[0].startswith("This is block 3 of 5 of X")


def fails(name):
    """X, y, weights, estimator, of which the fit in memory says what is wrong."""
    y, weight, model = Y[:, 0].copy(), WEIGHT.copy(), LinearRegressor()
    rows = X
    if name == "nan in y":
        y[70] = np.nan
    elif name == "nan in weight":
        weight[70] = np.nan
    elif name == "negative weight":
        weight[70] = -1
    elif name == "no weight":
        weight[:] = 0
    elif name == "no rows":
        rows, y, weight = rows[:0], y[:0], weight[:0]
    elif name == "parameter":
        model = LinearRegressor(alpha=-1)
    elif name == "constant":
        rows, model = np.ones_like(rows), ChebyshevRegressor()
    elif name == "domain":
        model = ChebyshevRegressor(domain=(1, -1))
    elif name == "knots":
        model = BSplineRegressor(knots=[[0.0], [0.0], [0.0]])
    elif name == "outside":
        rows, model = spoilt(0, 3.0), ChebyshevRegressor(domain=(-1, 1))
    return model, rows, y, weight


@pytest.mark.parametrize(
    "name",
    [
        "nan in y",
        "nan in weight",
        "negative weight",
        "no weight",
        "no rows",
        "parameter",
        "constant",
        "domain",
        "knots",
        "outside",
    ],
)
def test_errors_are_those_of_a_fit_in_memory(name):
    model, rows, y, weight = fails(name)
    with pytest.raises(ValueError) as memory:
        twin(model).fit(rows, y, weight)
    before = vars(model).copy()
    with pytest.raises(ValueError) as blocks:
        model.fit(*(da.from_array(values, max(len(rows) // 4, 1)) for values in (rows, y, weight)))
    assert type(blocks.value) is type(memory.value)
    assert str(blocks.value) == str(memory.value)
    assert vars(model) == before


def test_a_failed_fit_leaves_the_earlier_one():
    model = ChebyshevRegressor(domain=(-1, 1)).fit(X, Y)
    before = model.predict(X)
    with pytest.raises(DomainError):
        model.fit(da.from_array(spoilt(200, 7.0), chunks=50), Y)
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (BSplineRegressor(knots=5, placement="quantile"), "knots"),
        (ReLURegressor(shifts=5, placement="quantile"), "shifts"),
        (ReLURegressor(shifts=[3, [0.1]], placement="quantile"), "shifts"),
    ],
    ids=["spline", "relu", "one column"],
)
def test_quantiles_are_refused_before_anything_is_read(model, name):
    rows = da.from_delayed(dask.delayed(pytest.fail)("read"), shape=(8, 2), dtype=float)
    with pytest.raises(ValueError, match=f"{name}=.*quantiles of all rows.*give {name} themselves"):
        model.fit(rows, da.zeros(8))


def unknown(array, chunks):
    """An array whose blocks have lengths that Dask does not know."""
    rows = da.from_array(array, chunks=(chunks, -1))
    return rows[da.from_array(np.ones(len(array), bool), chunks)]


def test_lengths_that_do_not_match_are_refused():
    rows = da.from_array(X, chunks=50)
    with pytest.raises(ValueError, match="inconsistent numbers of samples: X has 240, y has 239"):
        LinearRegressor().fit(rows, Y[1:])
    with pytest.raises(ValueError, match="X has 240, sample_weight has 3"):
        LinearRegressor().fit(rows, Y, da.ones(3))
    hidden = unknown(X, 50)
    with pytest.raises(ValueError, match=r"X has 5 blocks of rows and y has 3.*compute_chunk"):
        LinearRegressor().fit(hidden, da.from_array(Y, chunks=100))
    with pytest.raises(ValueError, match=r"y is in memory.*column of the same DataFrame"):
        LinearRegressor().fit(hidden, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LinearRegressor().fit(hidden, da.from_array(Y, chunks=((40, 60, 50, 50, 40), 2)))
    frame = dd.from_pandas(FRAME, npartitions=3, sort=False)
    with pytest.raises(ValueError, match="X has 3 blocks of rows and y has 5"):
        LinearRegressor().fit(frame[["a", "b"]], da.from_array(Y, chunks=50))


def test_unknown_lengths_match_block_by_block():
    blocks = LinearRegressor().fit(unknown(X, 50), da.from_array(Y, chunks=50))
    assert_same_fit(blocks, LinearRegressor().fit(X, Y))
    frame = dd.from_pandas(FRAME, npartitions=4)
    mixed = LinearRegressor().fit(frame[["a", "b"]].to_dask_array(), frame[["y", "z"]])
    assert_same_fit(mixed, LinearRegressor().fit(X, Y))


def test_frames_with_other_divisions_are_brought_together():
    rows = dd.from_pandas(FRAME[["a", "b"]], npartitions=4)
    y = dd.from_pandas(FRAME["y"], npartitions=3)
    memory = LinearRegressor().fit(FRAME[["a", "b"]], FRAME["y"])
    assert_same_fit(LinearRegressor().fit(rows, y), memory)


@pytest.mark.parametrize("shape", [(8,), (8, 2, 2)])
def test_inputs_have_two_dimensions(shape):
    with pytest.raises(ValueError, match=f"Expected 2D array, got {len(shape)}D"):
        LinearRegressor().fit(da.zeros(shape), da.zeros(8))


def test_targets_are_required():
    with pytest.raises(ValueError, match="requires y to be passed"):
        LinearRegressor().fit(da.from_array(X, chunks=50), None)


# What is held in memory


class Rows(np.ndarray):
    """An array of which weak references can be kept."""


class Counter:
    """Makes blocks of rows, and counts those that are alive."""

    def __init__(self):
        self.alive, self.most, self.made, self.lock = 0, 0, 0, threading.Lock()

    def block(self, place, n_rows=400):
        numbers = np.random.RandomState(place)
        rows = numbers.uniform(-1, 1, size=(n_rows, 3)).view(Rows)
        with self.lock:
            self.made += 1
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(rows, self.gone)
        return rows

    def gone(self):
        with self.lock:
            self.alive -= 1

    def rows(self, n_blocks):
        make = dask.delayed(self.block, pure=False)
        blocks = [da.from_delayed(make(i), (400, 3), dtype=float) for i in range(n_blocks)]
        return da.concatenate(blocks)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize(
    ("model", "passes"),
    [(ChebyshevRegressor(degree=2, domain=(-1, 1)), 1), (ChebyshevRegressor(degree=2), 2)],
    ids=["one pass", "two passes"],
)
def test_one_block_a_worker_is_held(scheduler, model, passes):
    """X and y come from the same blocks, each of which is made once a pass."""
    counter, n_blocks, n_workers = Counter(), 40, 2
    rows = counter.rows(n_blocks)
    gc.disable()
    try:
        with dask.config.set(scheduler=scheduler, num_workers=n_workers):
            model.fit(rows[:, :2], rows[:, 2])
    finally:
        gc.enable()
    assert counter.made == passes * n_blocks
    assert model.n_samples_seen_ == 400 * n_blocks
    # A block that was reduced may wait for its worker's next step.
    assert counter.most <= 2 * n_workers


def test_columns_of_one_frame_are_read_together():
    read = []

    def load(place):
        read.append(place)
        return FRAME[place : place + 60]

    frame = dd.from_map(load, [0, 60, 120, 180], meta=FRAME[:0])
    read.clear()
    blocks = LinearRegressor().fit(frame[["a", "b"]], frame[["y", "z"]], frame["w"])
    assert sorted(read) == [0, 60, 120, 180]
    memory = LinearRegressor().fit(FRAME[["a", "b"]], FRAME[["y", "z"]], FRAME["w"])
    assert_same_fit(blocks, memory)


def test_only_factors_travel():
    """What a block becomes does not grow with its rows."""
    from thetalearn.estimators.blockwise import _absorb

    sizes = []
    for n in (100, 10_000):
        rows = np.random.RandomState(0).uniform(-1, 1, size=(n, 2))
        part = _absorb(ChebyshevRegressor(degree=4, domain=(-1, 1)), rows, rows[:, 0], None)
        sizes.append(len(pickle.dumps(part)))
    assert sizes[1] < sizes[0] + 100


# Predictions


@pytest.mark.parametrize("y", [Y[:, 0], Y], ids=["one target", "two targets"])
def test_predictions_are_lazy_and_equal_those_in_memory(y):
    model = ChebyshevRegressor(degree=3).fit(X, y)
    lazy = model.predict(da.from_array(X, chunks=(CHUNKS, (1, 1))))
    assert lazy.chunks[0] == CHUNKS and lazy.shape == y.shape
    expected = model.predict(X)
    model.fit(X, -y)  # what was asked for before is still of the earlier fit
    np.testing.assert_allclose(lazy.compute(), expected, rtol=0, atol=1e-15)


def test_predictions_for_frames_know_their_columns():
    model = LinearRegressor().fit(FRAME[["a", "b"]], FRAME["y"])
    frame = dd.from_pandas(FRAME, npartitions=6)
    part = frame[frame["a"] > 0.97]
    predicted = model.predict(part[["a", "b"]])
    assert predicted.ndim == 1 and np.isnan(predicted.shape[0])
    expected = model.predict(FRAME.loc[FRAME["a"] > 0.97, ["a", "b"]])
    assert 0 < len(expected) < 6
    np.testing.assert_allclose(predicted.compute(), expected, rtol=0, atol=1e-15)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a"]])
    with pytest.raises(ValueError, match="3 features, but LinearRegressor is expecting 2"):
        LinearRegressor().fit(X, Y).predict(da.zeros((4, 3)))


def test_scores_take_blocks():
    model = LinearRegressor().fit(X, Y[:, 0])
    score = model.score(da.from_array(X, chunks=50), da.from_array(Y[:, 0], chunks=50))
    assert score == pytest.approx(model.score(X, Y[:, 0]), rel=1e-12)


@pytest.mark.slow
def test_a_cluster_of_processes_gives_the_same_fit():
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"scheduler": None}),
        distributed.LocalCluster(
            n_workers=2,
            processes=True,
            threads_per_worker=1,
            dashboard_address=None,
            host="127.0.0.1",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        rows = da.from_array(X, chunks=(CHUNKS, 2))
        for regressor in (ChebyshevRegressor(degree=5), LinearRegressor(alpha=0.1)):
            memory = twin(regressor).fit(X, Y, WEIGHT)
            blocks = regressor.fit(rows, da.from_array(Y, chunks=60), da.from_array(WEIGHT, 60))
            assert_same_fit(blocks, memory)
            np.testing.assert_allclose(
                blocks.predict(rows).compute(), memory.predict(X), rtol=0, atol=1e-12
            )
        frame = client.persist(dd.from_pandas(FRAME, npartitions=3))
        blocks = BSplineRegressor(knots=4).fit(frame[["a", "b"]], frame["y"])
        assert_same_fit(blocks, BSplineRegressor(knots=4).fit(FRAME[["a", "b"]], FRAME["y"]))
        with pytest.raises(DomainError, match="holds 3 ") as refused:
            ChebyshevRegressor(domain=(-1, 1)).fit(da.from_array(spoilt(100, 3.0), 50), Y)
        assert "block 3 of 5" in refused.value.__notes__[0]
