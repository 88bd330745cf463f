"""Games of sums of products: against every coalition played out, and the axioms."""

from itertools import chain, combinations
from math import factorial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.inspection.importance.games import closed, expansion
from thetalearn.inspection.importance.games.closed import AdditiveGame, ProductGame, n_expansions
from thetalearn.representations.bases import (
    AdditiveBSpline,
    Affine,
    BSpline,
    Chebyshev,
    Discrete,
    Polynomial,
    ProductBasis,
    ShiftedReLU,
    TensorBSpline,
    complete_indices,
    hyperbolic_indices,
    smolyak_indices,
    tensor_indices,
    uniform_knots,
)
from thetalearn.representations.forms import Linear, ProductForm, SumForm, basis_form

DOMAIN = (-1.0, 1.0)

#: Sums of a few hundred rounded products of order one.
EXACT = {"rtol": 1e-12, "atol": 1e-12}

BASES = {
    "complete": ProductBasis([Polynomial(3)] * 4, complete_indices(4, 3)),
    "tensor": ProductBasis([Chebyshev(2, DOMAIN)] * 4, tensor_indices([3] * 4)),
    "hyperbolic": ProductBasis([Chebyshev(6, DOMAIN)] * 4, hyperbolic_indices(4, 6)),
    "smolyak": ProductBasis([Chebyshev(4, DOMAIN)] * 4, smolyak_indices(4, 2)),
    "kinds": ProductBasis(
        [Polynomial(2), ShiftedReLU([-0.5, 0.5]), Chebyshev(2, DOMAIN), Discrete([0.0, 1.0, 2.0])],
        tensor_indices([3] * 4),
    ),
    "splines": TensorBSpline(
        [BSpline(uniform_knots(k, DOMAIN), p, DOMAIN) for k, p in [(2, 1), (3, 2), (2, 3), (2, 0)]]
    ),
}

PLAYERS = {
    "columns": [np.array([j]) for j in range(4)],
    "groups": [np.array([2, 0]), np.array([1]), np.array([3])],
    "one": [np.array([3, 1, 0, 2])],
    "nothing in one": [np.array([1, 2]), np.array([], dtype=int), np.array([3, 0])],
}


def rows(n, seed, d=4):
    """Rows whose columns are correlated; the last is 0, 1 or 2."""
    rng = np.random.RandomState(seed)
    x = np.tanh(0.6 * rng.standard_normal((n, d)) + 0.6 * rng.standard_normal((n, 1)))
    x[:, -1] = rng.randint(3, size=n)
    return torch.from_numpy(x)


def clipped(x, basis):
    return x.clamp(*DOMAIN) if isinstance(basis, TensorBSpline) else x


def some_form(basis, m=2, seed=0):
    coef = np.random.RandomState(seed).standard_normal((basis.n_terms, m))
    return basis_form(basis, torch.from_numpy(coef))


def masks_of(n_players):
    numbers = np.arange(1 << n_players)
    return numbers[:, None] >> np.arange(n_players) & 1 == 1


def played(form, players, background, weights, x, masks):
    """What coalitions are worth, by evaluating the form at every mixed row."""
    share = np.full(len(background), 1.0) if weights is None else weights.numpy()
    share = torch.from_numpy(share / share.sum())
    values = torch.empty(len(x), len(masks), form.n_outputs, dtype=torch.float64)
    for i, row in enumerate(x):
        for s, mask in enumerate(masks):
            mixed = background.clone()
            for p in np.flatnonzero(mask):
                mixed[:, players[p]] = row[players[p]]
            values[i, s] = share @ form(mixed)
    return values


def number(coalition):
    return sum(1 << p for p in coalition)


def subsets(others):
    return chain.from_iterable(combinations(others, k) for k in range(len(others) + 1))


def shapley_by_definition(values, n_players):
    """Weighted marginal contributions, from the worth (N, 2^P, m) of all coalitions."""
    phi = torch.zeros(len(values), n_players, values.shape[2], dtype=torch.float64)
    for p in range(n_players):
        for t in subsets([r for r in range(n_players) if r != p]):
            share = factorial(len(t)) * factorial(n_players - len(t) - 1) / factorial(n_players)
            phi[:, p] += share * (values[:, number((*t, p))] - values[:, number(t)])
    return phi


def interactions_by_definition(values, n_players):
    n = n_players
    phi = torch.zeros(len(values), n, n, values.shape[2], dtype=torch.float64)
    for p, r in combinations(range(n), 2):
        for t in subsets([q for q in range(n) if q not in (p, r)]):
            share = factorial(len(t)) * factorial(n - len(t) - 2) / (2 * factorial(n - 1))
            both, first = values[:, number((*t, p, r))], values[:, number((*t, p))]
            phi[:, p, r] += share * (
                both - first - values[:, number((*t, r))] + values[:, number(t)]
            )
        phi[:, r, p] = phi[:, p, r]
    rest = shapley_by_definition(values, n) - phi.sum(2)
    for p in range(n):
        phi[:, p, p] = rest[:, p]
    return phi


def assert_close(got, expected):
    torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("players", PLAYERS.values(), ids=PLAYERS)
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("basis", BASES.values(), ids=BASES)
def test_agrees_with_every_coalition_played_out(basis, weighted, players):
    form = some_form(basis)
    background, x = clipped(rows(7, 1), basis), clipped(rows(3, 2), basis)
    weights = torch.arange(7, dtype=torch.float64) if weighted else None
    masks = masks_of(len(players))
    values = played(form, players, background, weights, x, masks)
    game = ProductGame(form, players, background, weights)
    assert_close(game.base_values, values[0, 0])
    assert_close(game.values(x, masks), values)
    assert_close(game.shapley(x), shapley_by_definition(values, len(players)))
    assert_close(game.interactions(x), interactions_by_definition(values, len(players)))


@pytest.mark.parametrize(
    "limits",
    [{"CHUNK": 1}, {"MAX_DENSE": 0}, {"BLOCK_BYTES": 8}, {"MAX_CODE": 8}, {"MAX_CODE": 2}],
    ids=["chunks", "by target", "row blocks", "codes of words", "codes of players"],
)
def test_the_way_it_is_cut_up_does_not_matter(limits, monkeypatch):
    form, players, x = some_form(BASES["hyperbolic"]), PLAYERS["columns"], rows(5, 2)
    whole = ProductGame(form, players, rows(7, 1))
    masks = masks_of(4)
    expected = whole.values(x, masks), whole.shapley(x), whole.interactions(x)
    for name, limit in limits.items():
        for module in (closed, expansion):
            monkeypatch.setattr(module, name, limit, raising=hasattr(module, name))
    game = ProductGame(form, players, rows(7, 1))
    assert_close(game.values(x, masks), expected[0])
    assert_close(game.shapley(x), expected[1])
    assert_close(game.interactions(x), expected[2])


def test_many_columns_need_several_words():
    d = 50
    basis = ProductBasis([Polynomial(2)] * d, complete_indices(d, 2))
    form, players = some_form(basis), [np.array([j]) for j in range(d)]
    background, x = rows(5, 1, d), rows(2, 2, d)
    game = ProductGame(form, players, background)
    masks = np.random.RandomState(0).uniform(size=(6, d)) < 0.5
    assert_close(game.values(x, masks), played(form, players, background, None, x, masks))
    assert_close(game.shapley(x).sum(1) + game.base_values, form(x))


def polynomial_games(n_players, n_terms):
    """Sums of products of powers up to 2 of a few columns."""
    index = st.lists(st.integers(0, 2), min_size=n_players, max_size=n_players)
    coef = st.floats(-2, 2, allow_subnormal=False)
    return st.lists(st.tuples(index, coef), min_size=1, max_size=n_terms)


def polynomial_form(terms, d):
    indices = np.array([index for index, _ in terms])
    coef = torch.tensor([[c] for _, c in terms], dtype=torch.float64)
    return ProductForm([lambda x: x ** torch.arange(3)[:, None]] * d, indices, coef)


@settings(max_examples=30)
@given(polynomial_games(5, 8))
def test_efficiency(terms):
    form, players = polynomial_form(terms, 5), [np.array([j]) for j in range(5)]
    game = ProductGame(form, players, rows(6, 0, 5))
    x = rows(4, 1, 5)
    gain = form(x) - game.base_values
    assert_close(game.shapley(x).sum(1), gain)
    assert_close(game.interactions(x).sum((1, 2)), gain)
    assert_close(game.interactions(x).sum(2), game.shapley(x))


@settings(max_examples=30)
@given(polynomial_games(4, 6), st.integers(0, 3))
def test_a_player_that_is_in_no_term_gets_nothing(terms, dummy):
    terms = [([0 if j == dummy else k for j, k in enumerate(index)], c) for index, c in terms]
    game = ProductGame(polynomial_form(terms, 4), PLAYERS["columns"], rows(6, 0))
    assert not game.shapley(rows(3, 1))[:, dummy].any()
    assert not game.interactions(rows(3, 1))[:, dummy].any()
    assert not game.interactions(rows(3, 1))[:, :, dummy].any()


@settings(max_examples=30)
@given(polynomial_games(4, 6), st.permutations(range(4)))
def test_relabelled_columns_relabel_the_values(terms, order):
    form, background, x = polynomial_form(terms, 4), rows(6, 0), rows(3, 1)
    relabelled = polynomial_form([([index[j] for j in order], c) for index, c in terms], 4)
    game = ProductGame(form, PLAYERS["columns"], background)
    other = ProductGame(relabelled, PLAYERS["columns"], background[:, order])
    assert_close(other.shapley(x[:, order]), game.shapley(x)[:, order])
    assert_close(other.interactions(x[:, order]), game.interactions(x)[:, order][:, :, order])


@settings(max_examples=30)
@given(polynomial_games(4, 5), polynomial_games(4, 5), st.floats(-3, 3, allow_subnormal=False))
def test_linear_in_the_form(terms, others, factor):
    both = terms + [(index, factor * c) for index, c in others]
    x = rows(3, 1)
    sides = []
    for game in (terms, others, both):
        made = ProductGame(polynomial_form(game, 4), PLAYERS["columns"], rows(6, 0))
        sides.append((made.shapley(x), made.interactions(x), made.base_values))
    for one, other, total in zip(*sides, strict=True):
        assert_close(total, one + factor * other)


def test_symmetric_columns_share_alike():
    form = polynomial_form([([1, 1, 0, 2], 1.0), ([2, 2, 1, 0], -0.5), ([0, 0, 1, 0], 3.0)], 4)
    background = rows(6, 0)
    background[:, 1] = background[:, 0]
    x = rows(3, 1)
    x[:, 1] = x[:, 0]
    values = ProductGame(form, PLAYERS["columns"], background).shapley(x)
    assert_close(values[:, 0], values[:, 1])


def test_a_weight_is_a_repetition():
    form, x = some_form(BASES["complete"]), rows(3, 2)
    background, repeats = rows(4, 1), torch.tensor([1, 3, 0, 2])
    weighted = ProductGame(form, PLAYERS["groups"], background, repeats)
    repeated = ProductGame(form, PLAYERS["groups"], background.repeat_interleave(repeats, 0))
    assert_close(weighted.shapley(x), repeated.shapley(x))


def exact_of_shap(form, background):
    shap = pytest.importorskip("shap")
    return shap.explainers.Exact(
        lambda values: form(torch.from_numpy(values))[:, 0].numpy(),
        shap.maskers.Independent(background.numpy(), max_samples=len(background)),
    )


def test_shapley_values_agree_with_those_of_shap():
    form, background, x = some_form(BASES["complete"], m=1), rows(9, 1), rows(4, 2)
    game = ProductGame(form, PLAYERS["columns"], background)
    explained = exact_of_shap(form, background)(x.numpy())
    assert_close(game.shapley(x)[..., 0], torch.from_numpy(explained.values))
    np.testing.assert_allclose(game.base_values[0], explained.base_values[0], rtol=1e-12)


def test_interactions_of_pairs_agree_with_those_of_shap():
    # Its exact explainer takes the Shapley-Taylor index, which differs from three players on.
    form = some_form(ProductBasis([Chebyshev(2, DOMAIN)] * 3, complete_indices(3, 2)), m=1)
    background, x = rows(9, 1, 3), rows(4, 2, 3)
    game = ProductGame(form, [np.array([j]) for j in range(3)], background)
    pairs = exact_of_shap(form, background)(x.numpy(), interactions=2).values
    assert_close(game.interactions(x)[..., 0], torch.from_numpy(pairs))


@pytest.mark.parametrize("players", PLAYERS.values(), ids=PLAYERS)
@pytest.mark.parametrize("basis", ["affine", "chebyshev", "splines"])
def test_additive_agrees_with_every_coalition_played_out(basis, players):
    form = some_form(
        {
            "affine": Affine(4),
            "chebyshev": ProductBasis([Chebyshev(3, DOMAIN)] * 4, tensor_indices([4] * 4)[:4]),
            "splines": AdditiveBSpline([BSpline(uniform_knots(3, DOMAIN), 3, DOMAIN)] * 4),
        }[basis]
    )
    assert isinstance(form, SumForm)
    background, x = rows(7, 1).clamp(*DOMAIN), rows(3, 2).clamp(*DOMAIN)
    weights = torch.arange(7, dtype=torch.float64)
    masks = masks_of(len(players))
    values = played(form, players, background, weights, x, masks)
    game = AdditiveGame(form, players, background, weights)
    assert_close(game.base_values, values[0, 0])
    assert_close(game.values(x, masks), values)
    assert_close(game.shapley(x), shapley_by_definition(values, len(players)))
    assert_close(game.interactions(x), interactions_by_definition(values, len(players)))


def test_a_form_in_single_precision_is_explained_in_double():
    form = SumForm(Linear(torch.tensor([[2.0], [3.0]])), torch.zeros(1), 1)
    players, background = [np.array([0]), np.array([1])], torch.zeros(2, 2)
    game = AdditiveGame(form, players, background)
    values = game.shapley(torch.tensor([[1.0, -1.0]], dtype=torch.float64))
    assert values.dtype == game.base_values.dtype == torch.float64
    assert values[0, :, 0].tolist() == [2.0, -3.0]


def test_no_rows_and_no_coalitions():
    game = ProductGame(some_form(BASES["complete"]), PLAYERS["groups"], rows(7, 1))
    assert game.shapley(rows(0, 1)).shape == (0, 3, 2)
    assert game.interactions(rows(0, 1)).shape == (0, 3, 3, 2)
    assert game.values(rows(2, 1), np.empty((0, 3), dtype=bool)).shape == (2, 0, 2)


def test_the_number_of_expansions_is_that_of_subsets():
    form = polynomial_form([([1, 1, 0, 2], 1.0), ([0, 0, 0, 0], 1.0), ([0, 2, 0, 0], 1.0)], 4)
    assert n_expansions(form, PLAYERS["columns"]) == 8 + 1 + 2
    assert n_expansions(form, PLAYERS["one"]) == 2 + 1 + 2


def test_too_many_expansions_are_refused_and_groups_help():
    d = 100
    form = polynomial_form([([1] * d, 1.0)], d)
    assert n_expansions(form, [np.array([j]) for j in range(d)]) == 2**d
    with pytest.raises(ValueError, match="more than the 4000000 that are kept: group columns"):
        ProductGame(form, [np.array([j]) for j in range(d)], rows(3, 0, d))
    x = rows(2, 1, d)
    game = ProductGame(form, [np.arange(50), np.arange(50, d)], rows(3, 0, d))
    assert_close(game.shapley(x).sum(1) + game.base_values, form(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"players": [np.array([0, 1]), np.array([2])]}, "must belong to exactly one player"),
        ({"players": [np.array([0, 1]), np.array([1, 2, 3])]}, "exactly one player"),
        ({"players": [np.array([0, 1, 2, 3, 4])]}, "exactly one player"),
        ({"background": torch.zeros(0, 4)}, "background has no rows"),
        ({"background": torch.zeros(3, 5)}, "must have 4 columns"),
        ({"weights": torch.ones(6)}, r"weights of shape \(6,\)"),
        ({"weights": torch.zeros(7)}, "not all zero"),
        ({"weights": torch.tensor([1.0, 1, 1, 1, 1, 1, -1])}, "not negative"),
        ({"weights": torch.full((7,), torch.nan)}, "finite"),
    ],
    ids=["uncovered", "twice", "unknown", "empty", "width", "length", "zero", "negative", "nan"],
)
@pytest.mark.parametrize("game", [ProductGame, AdditiveGame])
def test_wrong_input_is_refused(game, changes, message):
    basis = BASES["complete"] if game is ProductGame else Affine(4)
    arguments = {"form": some_form(basis), "players": PLAYERS["columns"], "background": rows(7, 1)}
    with pytest.raises(ValueError, match=message):
        game(**{**arguments, **changes})


def test_wrong_rows_and_a_head_are_refused():
    form = some_form(Affine(4))
    with pytest.raises(ValueError, match="form has a head"):
        AdditiveGame(form.followed_by(torch.exp), PLAYERS["columns"], rows(7, 1))
    with pytest.raises(ValueError, match="must have 4 columns"):
        AdditiveGame(form, PLAYERS["columns"], rows(7, 1)).shapley(rows(2, 0, 3))
