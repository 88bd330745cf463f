"""Values after an exchange of columns equal the function at the exchanged rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from thetalearn.inspection.importance.permutation import form_swaps as kernels
from thetalearn.inspection.importance.permutation.form_swaps import form_swaps
from thetalearn.inspection.importance.permutation.swaps import StackedSwaps, stratum_means
from thetalearn.representations.forms import (
    Distances,
    Functions,
    Linear,
    ProductForm,
    SumForm,
)
from thetalearn.representations.networks.activations import GELU, ReLU
from thetalearn.representations.networks.mlp import MLPArchitecture

N, D = 30, 4
RNG = np.random.RandomState(0)
X = torch.from_numpy(RNG.normal(size=(N, D)))
BUDGET = 2**24


def numbers(*shape):
    """Normal numbers."""
    return torch.from_numpy(np.random.RandomState(len(shape)).normal(size=shape))


def powers(x):
    """The first four powers."""
    return torch.stack([torch.ones_like(x), x, x**2, x**3])


def sine(x):
    """One function of a column."""
    return torch.sin(x)[:, None]


def square(x):
    """Another."""
    return x[:, None] ** 2


def network(**options):
    """The form of a network with random weights."""
    sizes = (D, D, D, 2) if options.get("residual") else (D, 6, 5, 2)
    architecture = MLPArchitecture(sizes=sizes, activations=(ReLU(), GELU()), **options)
    tensors = {name: numbers(*shape) for name, shape in architecture.shapes.items()}
    return architecture.form(tensors)


TERMS = np.array(
    [[0, 0, 0, 0], [1, 0, 0, 0], [1, 2, 0, 0], [0, 2, 3, 0], [1, 1, 1, 0], [3, 0, 1, 0]]
)

FORMS = {
    "linear": SumForm(Linear(numbers(D, 2)), numbers(2), 2),
    "additive": SumForm(Functions([sine, square] * 2, 1), numbers(1), 1),
    "products": ProductForm([powers] * D, TERMS, numbers(len(TERMS), 2)),
    "network": network(),
    "normalised network": network(normalization="layer"),
    "residual network": network(residual=True),
    "link": SumForm(Linear(numbers(D, 1)), numbers(1), 1, torch.sigmoid),
    "kernel": SumForm(
        Distances(numbers(7, D)), numbers(7), 1, lambda z: torch.exp(-z).sum(1, keepdim=True)
    ),
}

PLAYERS = [np.array([0]), np.array([1, 2]), np.array([3]), np.array([], dtype=int)]


def exchanged(player, donors):
    """Rows (r, n, d) after an exchange."""
    rows = X.expand(len(donors), N, D).clone()
    rows[:, :, PLAYERS[player]] = X[donors][:, :, PLAYERS[player]]
    return rows


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("tile", [2**18, 512], ids=["one tile", "many tiles"])
def test_forms_at_exchanged_rows(name, tile, monkeypatch):
    """One column, a group, a column in no term, and none at all."""
    monkeypatch.setattr(kernels, "TILE", tile)
    form = FORMS[name]
    donors = torch.from_numpy(np.stack([RNG.permutation(N) for _ in range(5)]))
    swaps = form_swaps(form, X, PLAYERS, dtype="float64", budget=BUDGET)
    torch.testing.assert_close(swaps.unchanged(), form(X), rtol=1e-11, atol=1e-11)
    for player in range(len(PLAYERS)):
        after = swaps.exchange(player)(donors)
        expected = form(exchanged(player, donors).view(-1, D)).view(5, N, -1)
        torch.testing.assert_close(after, expected, rtol=1e-11, atol=1e-11)
        assert not swaps.approximate


@pytest.mark.parametrize("name", ["network", "residual network", "kernel"])
def test_little_memory_means_sums_by_block(name):
    """Sums of all rows that do not fit the budget are found again for each block."""
    donors = torch.from_numpy(np.stack([RNG.permutation(N) for _ in range(3)]))
    plenty, little = (
        form_swaps(FORMS[name], X, PLAYERS, dtype="float64", budget=budget).exchange(1)(donors)
        for budget in (BUDGET, 1)
    )
    torch.testing.assert_close(plenty, little, rtol=1e-13, atol=1e-13)


def test_heads_leave_their_sums_alone():
    """A network's head writes over what it made itself, not over what it was given."""
    form = FORMS["network"]
    z = form.sums(X, range(D)) + form.constant
    copy = z.clone()
    values = form.head(z)
    torch.testing.assert_close(z, copy, rtol=0, atol=0)
    torch.testing.assert_close(values, form(X), rtol=1e-13, atol=1e-13)
    single = form.head(z.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), values, rtol=1e-4, atol=1e-4)


def test_heads_can_be_differentiated():
    """Autograd goes through a head as through the network."""
    architecture = MLPArchitecture(sizes=(D, 6, 5, 1), activations=(ReLU(), ReLU()))
    tensors = {name: numbers(*shape) for name, shape in architecture.shapes.items()}
    rows = X.clone().requires_grad_()
    ours = torch.autograd.grad(architecture.form(tensors)(rows).sum(), rows)[0]
    theirs = torch.autograd.grad(architecture.apply(rows, tensors).sum(), rows)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "additive", "products"])
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_squared_errors_over_all_pairs(name, data):
    """The closed form is the mean over pairs, for any strata and weights."""
    labels = data.draw(st.lists(st.integers(0, 2), min_size=N, max_size=N))
    strata = torch.unique(torch.tensor(labels), return_inverse=True)[1]
    form = FORMS[name]
    swaps = form_swaps(form, X, PLAYERS, budget=BUDGET)
    y, weight = numbers(N, form.n_outputs), numbers(N, 1, 1).reshape(-1).abs()
    everyone = torch.arange(N)[:, None].expand(N, N)
    share = (strata[:, None] == strata).double() / torch.bincount(strata)[strata]
    for player in range(3):
        errors = (y - swaps.exchange(player)(everyone)) ** 2  # donor, receiver, output
        receivers, givers = swaps.squared_errors(player, strata, y - form(X), weight)
        torch.testing.assert_close(
            receivers, torch.einsum("jim,ji->im", errors, share), rtol=1e-10, atol=1e-10
        )
        expected = torch.einsum("jim,ji,i->jm", errors, share, weight)
        torch.testing.assert_close(givers, expected, rtol=1e-10, atol=1e-10)


def test_stacks_are_cut_and_put_together():
    """A sweep over players and repeats gives each its values, whatever the budget."""
    rows = X.numpy()
    model = LinearRegression().fit(rows, rows @ [1.0, 2.0, 3.0, 4.0])
    sizes = []

    def respond(table):
        sizes.append(len(table))
        return model.predict(table)[:, None]

    swaps = StackedSwaps(respond, rows, PLAYERS, 1)
    donors = torch.from_numpy(np.stack([RNG.permutation(N) for _ in range(5)]))
    for budget in (1, 20 * N * 8 * 20, BUDGET):
        sizes.clear()
        found = {player: np.full((5, N, 1), np.nan) for player in range(4)}
        for player, repeats, values in swaps.sweep(range(4), lambda _: donors, budget):
            found[player][repeats] = values
        for player, values in found.items():
            expected = model.predict(exchanged(player, donors).view(-1, D).numpy())
            np.testing.assert_allclose(values.ravel(), expected, rtol=1e-12)
        assert len(sizes) == {1: 20, BUDGET: 1}.get(budget, len(sizes))


@pytest.mark.parametrize("name", ["linear", "products", "network"])
def test_sweeps_keep_to_the_budget(name):
    """Values of all shuffles come in parts, with room for indices, losses and the like."""
    donors = torch.from_numpy(np.stack([RNG.permutation(N) for _ in range(12)]))
    swaps = form_swaps(FORMS[name], X, PLAYERS, dtype="float64", budget=BUDGET)
    whole = {player: swaps.exchange(player)(donors) for player in range(4)}
    budget = 5 * N * 2 * 8 * 8
    for player, repeats, values in swaps.sweep(range(4), lambda _: donors, budget):
        assert values.numel() * 8 * 8 <= budget
        torch.testing.assert_close(values, whole[player][repeats], rtol=1e-12, atol=1e-12)


def test_means_of_strata():
    """The mean of a row's stratum, for values of any shape."""
    strata = torch.tensor([0, 1, 0, 1])
    values = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert stratum_means(values, strata).tolist() == [2, 4, 2, 4]
    assert stratum_means(values[:, None], strata)[:, 0].tolist() == [2, 4, 2, 4]
    assert stratum_means(values, torch.zeros(4, dtype=torch.long)).tolist() == [3, 3, 3, 3]
