"""Coalition values and marginal contributions, against loops over rows, coalitions and background.

Values are sums of a few dozen predictions of order one, so they agree to 1e-12 in double precision.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from thetalearn import (
    KernelRidgeRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPClassifier,
    MLPRegressor,
    PolynomialRegressor,
    RandomFeatureRegressor,
    ReLURegressor,
    SoftmaxClassifier,
)
from thetalearn.inspection.importance.games import game as games
from thetalearn.inspection.importance.games.closed import AdditiveGame, ProductGame
from thetalearn.inspection.importance.games.exact import all_coalitions
from thetalearn.inspection.importance.games.game import OpaqueGame, OrderGame, SumGame, normalized
from thetalearn.inspection.importance.games.setup import game_rows, make_game
from thetalearn.inspection.importance.model.model import model_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::thetalearn.exceptions.RankWarning",
)

RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 4)) @ (np.eye(4) + 0.3)
Y = X[:, 0] * X[:, 1] + np.sin(X[:, 2]) - X[:, 3]
CLASSES = np.digitize(Y, [-0.5, 0.5])
BACKGROUND, ROWS = X[:23], X[40:45]
WEIGHTS = RNG.uniform(size=23)

SMALL = {"hidden_layer_sizes": (7, 5), "max_iter": 4, "random_state": 0}
SQUARE = {**SMALL, "hidden_layer_sizes": (4, 4)}

MODELS = {
    "linear": (LinearRegressor(), Y),
    "linear, several": (LinearRegressor(), np.column_stack([Y, X[:, 0]])),
    "network": (MLPRegressor(**SMALL), Y),
    "network, tanh": (MLPRegressor(activation="tanh", **SMALL), Y),
    "network, residual": (MLPRegressor(residual=True, **SQUARE), Y),
    "network, layer norm": (MLPRegressor(normalization="layer", **SMALL), Y),
    "network, several": (MLPRegressor(**SMALL), np.column_stack([Y, X[:, 0]])),
    "network, poisson": (MLPRegressor("poisson", **SMALL), np.exp(Y / 4)),
    "network, classes": (MLPClassifier(**SMALL), CLASSES),
    "rbf": (KernelRidgeRegressor(kernel="rbf"), Y),
    "random features": (RandomFeatureRegressor(20, random_state=0), Y),
    "logistic": (LogisticClassifier(), CLASSES > 0),
    "softmax": (SoftmaxClassifier(), CLASSES),
    "polynomial": (PolynomialRegressor(degree=3), Y),
    "additive": (ReLURegressor(), Y),
}

GROUPS = {
    "columns": [np.array([j]) for j in range(4)],
    "groups": [np.array([2, 0]), np.array([1]), np.array([3])],
    "one": [np.array([3, 1, 0, 2])],
}


def fitted(name):
    if name not in FITTED:
        model, y = MODELS[name]
        FITTED[name] = model.fit(X, y)
    return FITTED[name]


FITTED = {}


def predictions(model, rows):
    proba = hasattr(model, "predict_proba")
    values = model.predict_proba(rows) if proba else model.predict(rows)
    return values.reshape(len(rows), -1)


def naive_values(model, rows, masks, players, weights):
    share = np.full(len(BACKGROUND), 1.0) if weights is None else weights
    share = share / share.sum()
    table = []
    for row in rows:
        for mask in masks:
            mixed = BACKGROUND.copy()
            for own, inside in zip(players, mask, strict=True):
                if inside:
                    mixed[:, own] = row[own]
            table.append(share @ predictions(model, mixed))
    return np.reshape(table, (len(rows), len(masks), -1))


def naive_contributions(model, rows, picks, orders, players):
    ways = [*zip(picks, orders, strict=True), *zip(picks, orders[:, ::-1], strict=True)]
    found = np.zeros((len(rows), len(players), predictions(model, rows).shape[1]))
    for i, row in enumerate(rows):
        for pick, order in ways:
            path = [BACKGROUND[pick].copy()]
            for player in order:
                path.append(path[-1].copy())
                path[-1][players[player]] = row[players[player]]
            gains = predictions(model, np.array(path))
            for player, (before, after) in zip(order, pairwise(gains), strict=True):
                found[i, player] += after - before
    return found / len(ways)


def game_of(model, players, weights=None, **options):
    described = model_of(model, X)
    game = make_game(described, players, BACKGROUND, weights, **options)
    return game, game_rows(game, described, ROWS)


def opaque(model, players, weights=None, **options):
    given = None if weights is None else torch.from_numpy(weights)
    return OpaqueGame(lambda rows: predictions(model, rows), players, BACKGROUND, given, **options)


def some_orders(n_players, n=7):
    random = np.random.RandomState(1)
    orders = np.array([random.permutation(n_players) for _ in range(n)])
    return random.randint(len(BACKGROUND), size=n), orders


@pytest.mark.parametrize("players", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_values_are_weighted_means_over_the_background(name, players, weights):
    model, masks = fitted(name), all_coalitions(len(players))
    expected = naive_values(model, ROWS, masks, players, weights)
    scale = np.abs(expected).max()
    game, rows = game_of(model, players, weights)
    np.testing.assert_allclose(game.values(rows, masks), expected, rtol=0, atol=1e-12 * scale)
    box = opaque(model, players, weights)
    np.testing.assert_allclose(box.values(ROWS, masks), expected, rtol=0, atol=1e-12 * scale)
    for each, x in ((game, rows), (box, ROWS)):
        np.testing.assert_allclose(each.base_values, expected[0, 0], atol=1e-12 * scale)
        np.testing.assert_allclose(each.predictions(x), expected[:, -1], atol=1e-12 * scale)


@pytest.mark.parametrize(
    "players", [GROUPS["columns"], GROUPS["groups"]], ids=["columns", "groups"]
)
@pytest.mark.parametrize("name", MODELS)
def test_contributions_are_those_of_a_walk(name, players):
    model, (picks, orders) = fitted(name), some_orders(len(players))
    expected = naive_contributions(model, ROWS, picks, orders, players)
    box = opaque(model, players)
    np.testing.assert_allclose(
        box.marginal_contributions(ROWS, picks, orders), expected, rtol=0, atol=1e-12
    )
    game, rows = game_of(model, players, closed=False)
    assert isinstance(game, OrderGame)
    found = game.marginal_contributions(rows, picks, orders)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["network", "network, residual", "network, classes"])
def test_networks_in_single_precision(name):
    model, players = fitted(name), GROUPS["columns"]
    game = make_game(model_of(model, X), players, BACKGROUND, dtype="float32")
    assert game.precision == torch.float32
    rows, masks = torch.from_numpy(ROWS), all_coalitions(4)
    picks, orders = some_orders(len(players))
    # Rounding errors of 6e-8 in sums of a few numbers of order one.
    np.testing.assert_allclose(
        game.values(rows, masks), naive_values(model, ROWS, masks, players, None), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
        game.marginal_contributions(rows, picks, orders),
        naive_contributions(model, ROWS, picks, orders, players),
        rtol=0,
        atol=1e-6,
    )
    ends = game.values(rows, masks)[:, [0, -1]]
    assert torch.equal(ends[:, 0], game.base_values.expand_as(ends[:, 0]))
    assert torch.equal(ends[:, 1], game.predictions(rows))


@pytest.mark.parametrize("name", ["network", "network, classes", "rbf", "softmax"])
def test_contributions_sum_to_the_differences_of_the_ends(name):
    # Also where the steps between are in single precision.
    game, rows = game_of(fitted(name), GROUPS["columns"])
    picks, orders = some_orders(4)
    found = game.marginal_contributions(rows, picks, orders)
    ends = game.predictions(rows) - game.background_values[picks].mean(0)
    np.testing.assert_allclose(found.sum(1), ends, rtol=0, atol=1e-12)


WIDE = {**SMALL, "hidden_layer_sizes": (64, 64)}


def precision_of(model, dtype="auto"):
    game = make_game(model_of(model, X), GROUPS["columns"], BACKGROUND, closed=False, dtype=dtype)
    return game.precision


def test_single_precision_serves_wide_networks_alone():
    wide = MLPRegressor(**WIDE).fit(X, Y)
    assert precision_of(wide) == torch.float32
    assert precision_of(wide, "float64") == torch.float64
    for name in ("network", "linear", "rbf", "random features"):
        assert precision_of(fitted(name)) == torch.float64


def test_single_precision_is_refused_where_it_loses_digits():
    # The predictions vary by 1 around 10 million, of which single precision keeps no digit.
    model = MLPRegressor(**WIDE).fit(X, Y)
    model.intercepts_[-1] = model.intercepts_[-1] + 1e7
    assert precision_of(model) == torch.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_networks_fitted_in_single_precision(dtype):
    model = MLPRegressor(**SMALL).fit(X.astype(dtype), Y.astype(dtype))
    game = make_game(model_of(model, X.astype(dtype)), GROUPS["columns"], BACKGROUND)
    assert game.form.dtype == torch.from_numpy(np.empty(0, dtype)).dtype
    masks = all_coalitions(4)
    expected = naive_values(model, ROWS, masks, GROUPS["columns"], None)
    tolerance = {np.float32: 1e-5, np.float64: 1e-12}[dtype]
    found = game.values(torch.from_numpy(ROWS), masks)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("tile", [2**11, 2**13, 2**21])
@pytest.mark.parametrize("budget", [2**12, 2**28])
@pytest.mark.parametrize("name", ["network, classes", "rbf"])
def test_tiles_and_budgets_change_nothing(name, tile, budget, monkeypatch):
    # Neither 23 background rows nor 16 coalitions nor 5 rows are multiples of what fits.
    model, players, masks = fitted(name), GROUPS["columns"], all_coalitions(4)
    whole, rows = game_of(model, players, WEIGHTS)
    picks, orders = some_orders(4)
    monkeypatch.setattr(games, "TILE", tile)
    monkeypatch.setattr(games, "ROWS", max(tile // 40, 1))
    for cut, x in [
        (game_of(model, players, WEIGHTS, memory_budget=budget)[0], rows),
        (opaque(model, players, WEIGHTS, memory_budget=budget), ROWS),
    ]:
        np.testing.assert_allclose(cut.values(x, masks), whole.values(rows, masks), atol=1e-12)
        np.testing.assert_allclose(
            cut.marginal_contributions(x, picks, orders),
            whole.marginal_contributions(rows, picks, orders),
            atol=1e-6,  # single precision
        )


def test_a_large_background_is_cut(monkeypatch):
    model = fitted("network")
    many = np.tile(BACKGROUND, (7, 1))
    described = model_of(model, X)
    monkeypatch.setattr(games, "TILE", 2**11)
    game = make_game(described, GROUPS["columns"], many)
    masks = all_coalitions(4)
    expected = naive_values(model, ROWS, masks, GROUPS["columns"], None)
    found = game.values(torch.from_numpy(ROWS), masks)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_which_game_a_model_has():
    players = GROUPS["columns"]
    kinds = {
        "linear": AdditiveGame,
        "additive": AdditiveGame,
        "polynomial": ProductGame,
        "network": SumGame,
        "rbf": SumGame,
        "softmax": SumGame,
    }
    for name, kind in kinds.items():
        assert type(game_of(fitted(name), players)[0]) is kind, name
        assert isinstance(game_of(fitted(name), players, closed=False)[0], OrderGame), name


def test_a_black_box_sees_rows_of_the_background_s_kind():
    seen = []

    def predict(rows):
        seen.append(rows)
        return (rows["number"] + (rows["word"] == "a")).to_numpy()[:, None]

    background = pd.DataFrame({"number": [0.0, 1.0], "word": pd.Categorical(["a", "b"])})
    row = pd.DataFrame({"number": [5.0], "word": pd.Categorical(["a"], ["a", "b"])}, index=[9])
    game = OpaqueGame(predict, [np.array([0]), np.array([1])], background)
    found = game.values(row, all_coalitions(2))
    np.testing.assert_allclose(found[0, :, 0], [1.0, 5.5, 1.5, 6.0])
    contributions = game.marginal_contributions(row, np.array([0, 1]), np.array([[0, 1], [1, 0]]))
    np.testing.assert_allclose(contributions[0, :, 0], [4.5, 0.5])
    assert all(list(rows.columns) == ["number", "word"] for rows in seen)
    assert all(rows["word"].dtype == "category" for rows in seen)


def test_rows_of_no_weight_count_for_nothing():
    model, players, masks = fitted("network"), GROUPS["columns"], all_coalitions(4)
    weights = np.where(np.arange(23) < 9, 1.0, 0.0)
    game, rows = game_of(model, players, weights)
    fewer = make_game(model_of(model, X), players, BACKGROUND[:9])
    np.testing.assert_allclose(game.values(rows, masks), fewer.values(rows, masks), atol=1e-12)


def test_weights_sum_to_one():
    assert normalized(None, 4).tolist() == [0.25] * 4
    assert normalized(torch.tensor([1.0, 3.0]), 2).tolist() == [0.25, 0.75]


def test_what_a_black_box_returns_is_not_written_over():
    kept = np.ones((10_000, 1))
    game = OpaqueGame(lambda rows: kept[: len(rows)], GROUPS["columns"], BACKGROUND)
    game.values(ROWS, all_coalitions(4))
    assert (kept == 1).all()


@pytest.mark.parametrize("name", ["network", "rbf", "softmax"])
def test_threads_change_nothing(name, monkeypatch):
    monkeypatch.setattr(games, "TILE", 2**12)
    one, rows = game_of(fitted(name), GROUPS["columns"], WEIGHTS)
    three, _ = game_of(fitted(name), GROUPS["columns"], WEIGHTS)
    one.n_threads, three.n_threads = 1, 3
    masks, (picks, orders) = all_coalitions(4), some_orders(4)
    threads = torch.get_num_threads()
    np.testing.assert_allclose(three.values(rows, masks), one.values(rows, masks), atol=1e-12)
    np.testing.assert_allclose(
        three.marginal_contributions(rows, picks, orders),
        one.marginal_contributions(rows, picks, orders),
        atol=1e-6,  # single precision
    )
    assert torch.get_num_threads() == threads


def test_an_error_in_a_thread_reaches_the_caller():
    def fail(part):
        raise FloatingPointError(part)

    with pytest.raises(FloatingPointError):
        games.in_threads(fail, games.pieces(4, 2), 2)
