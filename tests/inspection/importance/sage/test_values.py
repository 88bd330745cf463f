from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from thetalearn import (
    BSplineRegressor,
    LinearRegressor,
    LogisticClassifier,
    MLPRegressor,
    PolynomialRegressor,
    SoftmaxClassifier,
)
from thetalearn.inspection.importance.sage import values as sage
from thetalearn.inspection.importance.sage.sweeps import sweep_rows
from thetalearn.inspection.importance.sage.values import sage_values

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def squared(f, y):
    return ((f - y) ** 2).mean(1)


def cross_entropy(p, y):
    return -np.log(p[np.arange(len(y)), y])


def brute_force(f, X, y, loss, players, background=None, weight=None, shares=None):
    """SAGE values by the definition, from every order of the players."""
    B = X if background is None else background
    if shares is None:
        shares = np.ones(len(B)) if background is not None or weight is None else weight
    shares, weight = np.asarray(shares, float), np.ones(len(X)) if weight is None else weight

    def mean_loss(known):
        columns = np.concatenate([[], *(players[p] for p in known)]).astype(int)
        mixed = np.repeat(B[None], len(X), axis=0)
        mixed[:, :, columns] = X[:, None, columns]
        values = f(mixed.reshape(-1, X.shape[1])).reshape(len(X), len(B), -1)
        averaged = np.einsum("b,nbm->nm", shares / shares.sum(), values)
        return weight @ loss(averaged, y) / weight.sum()

    worth, values, orders = {}, np.zeros(len(players)), list(permutations(range(len(players))))
    for order in orders:
        for k, p in enumerate(order):
            before, after = (frozenset(order[:stop]) for stop in (k, k + 1))
            for known in (before, after):
                if known not in worth:
                    worth[known] = mean_loss(known)
            values[p] += (worth[before] - worth[after]) / len(orders)
    return values


def correlated(n, d, seed=0):
    mixing = np.eye(d) + np.random.RandomState(0).uniform(-0.5, 0.5, size=(d, d))
    return np.random.RandomState(seed).normal(size=(n, d)) @ mixing


def bent(X):
    return np.stack([X[:, 0] * X[:, 1] * X[:, 2] + X[:, 3] ** 2, np.tanh(X[:, 0] + X[:, 3])], 1)


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_closed_form_is_the_definition(n_targets, weighted):
    X, rng = correlated(25, 4), np.random.RandomState(1)
    y = np.stack([X[:, 0] ** 2 - X[:, 1], X[:, 2] + X[:, 0]], 1)[:, :n_targets]
    y += rng.normal(size=y.shape)
    model = BSplineRegressor(knots=3).fit(X, y)
    B = correlated(9, 4, seed=3) / 2
    weight = rng.uniform(size=25) if weighted else None
    shares = rng.uniform(size=9) if weighted else None
    groups = {"ends": [0, 3]}
    players = [[0, 3], [1], [2]]
    target = y[:, 0] if n_targets == 1 else y
    found = sage_values(
        model,
        X,
        target,
        background=B,
        sample_weight=weight,
        background_weight=shares,
        groups=groups,
    )
    expected = brute_force(
        lambda rows: model.predict(rows), X, y, squared, players, B, weight, shares
    )
    assert found.method == "closed form"
    assert found.feature_names == ["ends", "x1", "x2"]
    np.testing.assert_allclose(found.values, expected, **EXACT)
    assert (found.mc_se == 0).all()


def test_default_background_is_x_with_the_weights_of_its_rows():
    X = correlated(20, 3)
    y = X @ [1.0, 2.0, -1.0] + X[:, 0] ** 2
    weight = np.random.RandomState(0).randint(1, 4, size=20)
    model = LinearRegressor().fit(X, y)
    found = sage_values(model, X, y, sample_weight=weight)
    repeated = np.repeat(np.arange(20), weight)
    again = sage_values(model, X[repeated], y[repeated])
    np.testing.assert_allclose(found.values, again.values, **EXACT)


@pytest.mark.parametrize("kind", ["additive", "products", "network-like", "function"])
def test_enumeration_is_the_definition(kind):
    X = correlated(15, 4)
    y = bent(X)[:, :1] + 0.1 * X[:, 1:2]
    if kind == "additive":
        model = LinearRegressor().fit(X, y[:, 0])
    elif kind == "products":
        model = PolynomialRegressor(degree=2).fit(X, y[:, 0])
    elif kind == "network-like":
        model = LogisticClassifier().fit(X, y[:, 0] > 0.5)
    else:
        model = lambda rows: bent(rows)[:, 0]  # noqa: E731
    if kind == "network-like":
        target, f, loss = y[:, 0] > 0.5, model.predict_proba, cross_entropy
        codes = target.astype(int)
    else:
        target, loss, codes = y[:, 0], squared, y
        f = model if callable(model) else model.predict
    found = sage_values(model, X, target, method="exact", groups=[[1, 2]])
    expected = brute_force(f, X, codes, loss, [[0], [1, 2], [3]])
    np.testing.assert_allclose(found.values, expected, rtol=1e-8, atol=1e-10)


def test_total_is_the_drop_in_the_metric():
    X, y = make_classification(80, 5, n_informative=3, n_classes=3, random_state=0)
    model = SoftmaxClassifier(alpha=1.0).fit(X, y)
    found = sage_values(model, X, y)
    p = model.predict_proba(X)
    drop = log_loss(y, np.repeat(p.mean(0)[None], len(p), 0)) - log_loss(y, p)
    assert found.loss == "log_loss"
    np.testing.assert_allclose(found.total, drop, rtol=1e-10)
    line = LinearRegression().fit(X, y)
    drop = np.var(y - line.predict(X).mean()) - mean_squared_error(y, line.predict(X))
    assert sage_values(line, X, y).total == pytest.approx(drop, rel=1e-10)


def test_dummies_get_nothing_and_twins_the_same():
    X = correlated(40, 4)
    X[:, 1] = X[::-1, 0]

    def f(rows):
        return rows[:, 0] * rows[:, 1] * rows[:, 2]

    # The data do not tell columns 0 and 1 apart, as rows are reversed.
    X[20:, 2] = X[:20, 2][::-1]
    y = f(X)
    found = sage_values(f, X, y, method="exact").values
    assert found[3] == pytest.approx(0, abs=1e-12)
    assert found[0] == pytest.approx(found[1], rel=1e-10)
    sampled = sage_values(f, X, y, method="sampling", random_state=0).values
    assert sampled[3] == pytest.approx(0, abs=1e-12)


def test_sampling_has_no_error_where_orders_do_not_matter():
    X = correlated(50, 5)
    y = X.sum(1) + np.random.RandomState(0).normal(size=50)
    model = LinearRegressor().fit(X, y)
    exact = sage_values(model, X, y)
    sampled = sage_values(model, X, y, method="sampling", precision=1e-9, random_state=0)
    np.testing.assert_allclose(sampled.values, exact.values, rtol=1e-9)
    assert sampled.mc_se.max() < 1e-12
    assert exact.method == "closed form"


def cubic(rows):
    return rows[:, 0] * rows[:, 1] * rows[:, 2] + rows[:, 3] * rows[:, 0] + rows[:, 1]


@pytest.mark.parametrize("n_blocks", [12, 40])
def test_intervals_cover(monkeypatch, n_blocks):
    # Blocks of 6 rows of 60: 12 are less than two sweeps, and 40 are four.
    X, B = 2 * np.tanh(correlated(60, 4)), 2 * np.tanh(correlated(30, 4, seed=2))
    y = cubic(X) + np.random.RandomState(0).normal(size=60)
    block = 6 * 2 * 3 * 30
    monkeypatch.setattr(sage, "BLOCK", block)
    exact = sage_values(cubic, X, y, background=B, method="exact")
    covered, ratios = [], []
    for seed in range(100):
        with pytest.warns(ConvergenceWarning, match="raise max_evals"):
            found = sage_values(
                cubic,
                X,
                y,
                background=B,
                method="sampling",
                precision=0.0,
                max_evals=n_blocks * block,
                random_state=seed,
            )
        assert found.total == pytest.approx(exact.total, rel=1e-9)
        covered.append((found.mc_ci[:, 0] <= exact.values) & (exact.values <= found.mc_ci[:, 1]))
        ratios.append((found.values - exact.values) / found.mc_se)
    # Of 100 draws with four dependent values each, the mean coverage has an error of 0.02 at most.
    assert np.mean(covered) > 0.89
    # Means of 100 ratios of spread one.
    assert np.abs(np.mean(ratios, axis=0)).max() < 0.5


def test_rows_of_a_partial_sweep_are_corrected_for_their_totals():
    # Contributions in proportion to what is known leave no error, whichever rows are seen.
    totals = np.random.RandomState(0).standard_t(3, size=10_000)

    def contributions(rows):
        return np.outer(totals[rows], [0.2, 0.8])

    found = sweep_rows(
        contributions, totals, 2, 10, precision=1e-9, max_blocks=50, rng=np.random.RandomState(1)
    )
    assert found.n_blocks == 12
    np.testing.assert_allclose(found.values, totals.mean() * np.array([0.2, 0.8]), rtol=1e-9)


def test_variance_of_the_rows_does_not_depend_on_the_way():
    X = 2 * np.tanh(correlated(80, 4))
    y = cubic(X)
    exact = sage_values(cubic, X, y, method="exact")
    sampled = sage_values(cubic, X, y, method="sampling", random_state=0)
    np.testing.assert_allclose(sampled.sample_se, exact.sample_se, rtol=0.1)


def test_sample_se_is_the_spread_over_data_sets():
    errors, values = [], []
    model = LinearRegression().fit(np.eye(3), np.eye(3) @ [1.0, 1.0, 0.0])
    model.coef_, model.intercept_ = np.array([1.0, 1.0, 0.0]), 0.0
    for seed in range(200):
        X = correlated(200, 3, seed)
        # The mean residual is not zero, so the rows matter as background too.
        found = sage_values(model, X, 3 + X @ [1.0, 2.0, 0.0])
        errors.append(found.sample_se)
        values.append(found.values)
    # A standard deviation of 200 draws has an error of 5 percent.
    np.testing.assert_allclose(np.mean(errors, 0), np.std(values, 0), rtol=0.2, atol=1e-12)


def test_seeds_repeat_and_differ():
    X = correlated(60, 4)
    y = cubic(X)
    options = {"method": "sampling", "precision": 0.2}
    one, same, other = (
        sage_values(cubic, X, y, random_state=seed, **options).values for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_a_sweep_uses_every_row_once():
    seen = []

    def contributions(rows):
        seen.append(rows)
        return np.random.RandomState(len(seen)).normal(size=(len(rows), 6))

    sweep_rows(
        contributions,
        np.ones(50),
        6,
        10,
        precision=0.0,
        max_blocks=15,
        rng=np.random.RandomState(0),
    )
    assert len(seen) == 15
    for k in (0, 5, 10):
        np.testing.assert_array_equal(np.sort(np.concatenate(seen[k : k + 5])), np.arange(50))
    assert len({tuple(rows) for rows in seen}) == 15


def test_background_is_thinned_for_sampling_alone():
    X = np.tanh(correlated(60, 4))
    y = cubic(X)
    options = {"max_background": 20, "precision": 0.2, "random_state": 0}
    assert sage_values(cubic, X, y, method="sampling", **options).n_background == 20
    assert sage_values(cubic, X, y, **options).n_background == 60
    products = PolynomialRegressor(degree=3).fit(X, y)
    assert sage_values(products, X, y, method="sampling", **options).n_background == 60


def test_functions_of_tensors_are_losses():
    X = correlated(30, 3)
    y = X @ [1.0, 2.0, 3.0]

    def loss(f, target):
        return torch.nn.functional.huber_loss(f, target, reduction="none").sum(1)

    model = LinearRegressor().fit(X, y)
    found = sage_values(model, X, y, loss=loss)
    assert (found.method, found.loss) == ("exact", "loss")
    own = sage_values(model, X, y, loss=lambda f, target: ((f - target) ** 2).mean(1))
    np.testing.assert_allclose(own.values, sage_values(model, X, y).values, **EXACT)


def test_zero_one_loss_is_what_its_name_says():
    X, y = make_classification(60, 4, random_state=0)
    labels = np.array(["no", "yes"])[y]
    model = LogisticClassifier().fit(X, labels)
    p = model.predict_proba(X)
    drop = (np.array(["no", "yes"])[p.mean(0).argmax()] != labels).mean() - (
        model.predict(X) != labels
    ).mean()
    for response_method in ("predict_proba", "decision_function"):
        found = sage_values(model, X, labels, loss="zero_one", response_method=response_method)
        if response_method == "predict_proba":
            assert found.total == pytest.approx(drop, abs=1e-12)
        assert found.loss == "zero_one"


def test_pipelines_are_explained_in_their_own_columns():
    pandas = pytest.importorskip("pandas")
    rng = np.random.RandomState(0)
    frame = pandas.DataFrame({"age": rng.normal(size=60), "city": rng.choice(["a", "b", "c"], 60)})
    y = frame["age"] + (frame["city"] == "b") * 2.0
    encode = make_column_transformer(
        (StandardScaler(), ["age"]), (OneHotEncoder(drop="first"), ["city"])
    )
    found = sage_values(make_pipeline(encode, LinearRegressor()).fit(frame, y), frame, y)
    assert found.feature_names == ["age", "city"]
    assert found.method == "closed form"
    assert found.total == pytest.approx(y.var(ddof=0), rel=1e-6)


@pytest.mark.parametrize("kind", ["additive", "products"])
def test_agrees_with_the_package_sage(kind):
    peer = pytest.importorskip("sage")
    X = correlated(100, 4)
    y = cubic(X)
    model = (LinearRegressor() if kind == "additive" else PolynomialRegressor(degree=3)).fit(X, y)
    found = sage_values(model, X, y)
    imputer = peer.MarginalImputer(model.predict, X[:32])
    estimator = peer.PermutationEstimator(imputer, "mse", random_state=0)
    theirs = estimator(X, y, batch_size=64, thresh=0.05, bar=False)
    ours = sage_values(model, X, y, background=X[:32])
    # Four values within four of their standard errors.
    assert (np.abs(theirs.values - ours.values) < 4 * theirs.std + 1e-9).all()
    assert found.method == ("closed form" if kind == "additive" else "exact")


def test_agrees_with_the_package_sage_on_probabilities():
    peer = pytest.importorskip("sage")
    X, y = make_classification(100, 4, n_informative=3, n_redundant=0, random_state=0)
    model = LogisticClassifier().fit(X, y)
    imputer = peer.MarginalImputer(model.predict_proba, X[:32])
    theirs = peer.PermutationEstimator(imputer, "cross entropy", random_state=0)(
        X, y, batch_size=64, thresh=0.05, bar=False
    )
    ours = sage_values(model, X, y, background=X[:32])
    assert (np.abs(theirs.values - ours.values) < 4 * theirs.std).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "zero one"}, "loss='zero one' is not known: choose 'auto'"),
        ({"method": "permutation"}, "method='permutation' must be one of"),
        ({"method": "closed form", "loss": "absolute_error"}, "closed form"),
        ({"precision": -1}, "precision=-1"),
        ({"max_evals": 0}, "max_evals=0"),
        ({"confidence_level": 95}, "confidence_level=95"),
        ({"max_background": 0}, "max_background=0"),
        ({"sample_weight": [1.0]}, "sample_weight of shape"),
        ({"background_weight": -np.ones(30)}, "background_weight of shape"),
        ({"loss": lambda f, y: 1.0}, "it must return a tensor"),
        ({"groups": [["x9"]]}, "x9"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_errors_name_the_parameter(options, message):
    X = correlated(30, 3)
    y = X.sum(1)
    with pytest.raises(ValueError, match=message):
        sage_values(LinearRegressor().fit(X, y), X, y, **options)


def test_errors_of_classifiers():
    X, y = make_classification(40, 4, random_state=0)
    model = LogisticClassifier().fit(X, y)
    with pytest.raises(ValueError, match="response_method='predict' of a classifier"):
        sage_values(model, X, y, response_method="predict")
    with pytest.raises(ValueError, match="loss='squared_error' is for values"):
        sage_values(model, X, y, loss="squared_error")
    with pytest.raises(ValueError, match="loss='auto' needs probabilities"):
        sage_values(model, X, y, response_method="decision_function")
    with pytest.raises(ValueError, match="label 7, which is not among the classes"):
        sage_values(model, X, np.where(y == 1, 7, y))
    with pytest.raises(ValueError, match=r"y has the shape \(39,\)"):
        sage_values(model, X, y[:-1])


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("method", ["auto", "exact", "sampling"])
def test_a_player_alone_gets_all(loss, method):
    X = correlated(20, 3)
    y = X.sum(1)
    model = LinearRegressor().fit(X, y)
    found = sage_values(model, X, y, loss=loss, method=method, groups=[[0, 1, 2]])
    residual = y - y.mean()
    drop = np.mean(residual**2) if loss == "squared_error" else np.mean(np.abs(residual))
    assert found.values[0] == pytest.approx(drop, rel=1e-9)


@pytest.mark.parametrize(("bad", "message"), [(np.nan, "missing or infinite"), ("a", "no number")])
def test_targets_must_be_numbers(bad, message):
    X = correlated(20, 2)
    y = X.sum(1)
    model = LinearRegressor().fit(X, y)
    with pytest.raises(ValueError, match=message):
        sage_values(model, X, np.array([bad] * 20))


def test_functions_of_probabilities_have_a_log_loss():
    X = correlated(30, 2)
    y = (X[:, 0] > 0).astype(int)
    model = LogisticClassifier(alpha=1.0).fit(X, y)
    by_function = sage_values(lambda rows: model.predict_proba(rows)[:, 1], X, y, loss="log_loss")
    np.testing.assert_allclose(by_function.values, sage_values(model, X, y).values, rtol=1e-8)


def test_errors_hold_the_draw_of_background_rows():
    X = np.tanh(correlated(400, 4))
    y = cubic(X)
    exact = sage_values(cubic, X[:40], y[:40], background=X, method="exact").values
    draws, covered = 30, np.zeros(4)
    for seed in range(draws):
        options = {"max_background": 128, "precision": 0.04, "random_state": seed}
        found = sage_values(cubic, X[:40], y[:40], background=X, method="sampling", **options)
        covered += (found.mc_ci[:, 0] <= exact) & (exact <= found.mc_ci[:, 1])
    # Three standard deviations below 93 % of 30, as losses are raised by 1 / 128.
    assert (covered >= 24).all()
    assert found.n_background == 128
    # Ends are of all background rows, whatever is drawn.
    np.testing.assert_allclose(found.total, exact.sum(), rtol=1e-10)


def test_classes_need_no_order():
    X, y = make_classification(40, 4, random_state=0)
    labels = np.array(["b", "a"])[y]

    class Backwards(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.model_ = LogisticClassifier().fit(X, y)
            self.classes_ = self.model_.classes_[::-1]
            return self

        def predict_proba(self, X):
            return self.model_.predict_proba(X)[:, ::-1]

    own, plain = Backwards().fit(X, labels), LogisticClassifier().fit(X, labels)
    found, expected = sage_values(own, X, labels), sage_values(plain, X, labels)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-8, atol=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_precision_of_networks_can_be_chosen():
    X = correlated(60, 3)
    model = MLPRegressor(hidden_layer_sizes=(32,), max_iter=20, random_state=0).fit(X, X.sum(1))
    double = sage_values(model, X, X.sum(1), dtype="float64").values
    single = sage_values(model, X, X.sum(1), dtype="float32").values
    assert 0 < np.abs(single - double).max() < 1e-4 * np.abs(double).max()
    with pytest.raises(ValueError, match="dtype='half'"):
        sage_values(model, X, X.sum(1), dtype="half")
