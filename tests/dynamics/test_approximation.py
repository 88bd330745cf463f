"""Functions and nodes over a box: as many as there should be, and nodes that determine them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from thetalearn.dynamics.approximation import Representation, even_states, on_chains
from thetalearn.dynamics.setup import basis_rows
from thetalearn.representations.bases import Chebyshev, Polynomial

BOX = np.array([[0.5, 3.0], [-2.0, 1.0], [0.0, 1.0]])

#: Names of bases with a degree of each.
DEGREES = {"chebyshev": 4, "complete": 4, "smolyak": 4, "monomial": 4, "bspline": 3}
every = pytest.mark.parametrize("name", DEGREES)
CHAIN = np.array([0.0, 0.4, 1.0])


def representation(basis, degree=None, **changes):
    given = {
        "knots": None,
        "kinks": None,
        "n_nodes": None,
        "hidden_layer_sizes": (4, 3),
        "activation": "tanh",
    }
    return Representation(basis, degree, **{**given, **changes})


def build(basis, d=1, degree=None, chains=None, galerkin=False, n_states=None, **changes):
    return representation(basis, degree, **changes).build(
        BOX[:d], 1, chains or {}, galerkin=galerkin, n_states=n_states, random_state=0
    )


def collocation(approximation):
    x = torch.from_numpy(approximation.nodes)
    return basis_rows(approximation.function, x).numpy()


@pytest.mark.parametrize("d", [1, 2, 3])
@every
def test_nodes_determine_the_coefficients(name, d):
    found = build(name, d, DEGREES[name], knots=5)
    matrix = collocation(found)
    assert matrix.shape == (len(found.nodes), found.n_terms)
    assert (found.nodes >= BOX[:d, 0]).all() and (found.nodes <= BOX[:d, 1]).all()
    # Chebyshev polynomials and B-splines are nearly orthogonal; powers on their own box are not.
    assert np.linalg.cond(matrix) < (1e6 if name == "monomial" else 100)


@pytest.mark.parametrize("d", [1, 2, 3])
@every
def test_chains_have_every_value_at_every_node(name, d):
    chains = {d - 1: CHAIN} if d < 3 else {1: np.array([-2.0, 1.0]), 2: CHAIN}
    found = build(name, d, DEGREES[name], chains, knots=5)
    for j, values in chains.items():
        assert set(found.nodes[:, j]) == set(values)
    assert np.linalg.cond(collocation(found)) < (1e6 if name == "monomial" else 100)
    # One function of the others for each combination of the values.
    others = d - len(chains)
    alone = build(name, others, DEGREES[name], knots=5) if others else None
    if alone is not None and name != "bspline":
        combinations = math.prod(len(values) for values in chains.values())
        assert found.n_terms == combinations * alone.n_terms


@pytest.mark.parametrize("name", ["chebyshev", "smolyak", "bspline"])
def test_as_many_nodes_as_coefficients(name):
    for d in (1, 2, 3):
        assert build(name, d, DEGREES[name], knots=5).square
        assert build(name, d, DEGREES[name], {d - 1: CHAIN}, knots=5).square


@pytest.mark.parametrize("d", [1, 2, 3])
def test_numbers_of_terms(d):
    assert build("chebyshev", d, 5).n_terms == 6**d
    assert build("complete", d, 5).n_terms == math.comb(d + 5, d)
    assert build("monomial", d, 5).n_terms == math.comb(d + 5, d)
    # Knots 5 and degree 3 give 5 + 3 + 1 splines in each input.
    assert build("bspline", d, 3, knots=5).n_terms == 9**d


@pytest.mark.parametrize(("d", "n"), [(1, 5), (2, 13), (3, 25)])
def test_smolyak_of_level_two_has_the_published_number_of_points(d, n):
    # Judd, Maliar, Maliar and Valero (2014): 1 + 4 d + 4 d (d - 1) / 2.
    found = build("smolyak", d, 4)
    assert found.n_terms == len(found.nodes) == n == 1 + 4 * d + 4 * d * (d - 1) // 2


@pytest.mark.parametrize("degrees", [(4, 4), (8, 2), (2, 0), (0, 4), (4, 1), (16, 4)])
def test_smolyak_grid_and_index_set_come_from_one_rule(degrees):
    found = build("smolyak", 2, degrees)
    indices = found.function.basis.indices
    assert found.square and len(np.unique(found.nodes, axis=0)) == len(found.nodes)
    # Degree by degree, the highest that occurs is what was asked for, or the power of two below.
    for j, degree in enumerate(degrees):
        level = 0 if degree == 0 else max(int(math.log2(degree)), 1)
        top = 0 if level == 0 else 2**level
        assert indices[:, j].max() == top
        assert len(np.unique(found.nodes[:, j])) == top + 1
    assert np.linalg.cond(collocation(found)) < 200


@pytest.mark.parametrize("name", ["chebyshev", "complete", "monomial"])
def test_degrees_of_each_input(name):
    found = build(name, 2, (5, 2))
    indices = found.function.basis.indices
    assert indices.max(0).tolist() == [5, 2]
    if name == "chebyshev":
        assert len(indices) == 18
    else:
        assert (indices.sum(1) <= 5).all()
    assert np.linalg.matrix_rank(collocation(found)) == found.n_terms


@pytest.mark.parametrize("name", ["chebyshev", "complete", "smolyak", "monomial"])
def test_polynomials_of_the_degree_are_reproduced(name):
    found = build(name, 2, 4)
    x = torch.from_numpy(found.nodes)
    check = torch.from_numpy(np.random.RandomState(0).uniform(BOX[:2, 0], BOX[:2, 1], (20, 2)))

    def polynomial(x):
        return (x[:, :1] - 1) ** 4 - 2 * x[:, 1:] ** 4 + (x[:, :1] * x[:, 1:]) ** 2 + 3

    theta = found.function.fit(x, polynomial(x))
    torch.testing.assert_close(
        found.function.at(check).value(theta), polynomial(check), rtol=1e-9, atol=1e-9
    )


def test_splines_with_a_kink_hold_a_kinked_function_and_no_others_do():
    def kinked(x):
        return (x - 1.2).abs() + 0.3 * x**3

    check = torch.linspace(0.5, 3.0, 101, dtype=torch.float64)[:, None]
    for kinks, holds in (([1.2], True), ([1.2, 2.0], True), (None, False), ([1.3], False)):
        found = build("bspline", 1, 3, knots=4, kinks=kinks)
        theta = found.function.fit(
            torch.from_numpy(found.nodes), kinked(torch.from_numpy(found.nodes))
        )
        error = (found.function.at(check).value(theta) - kinked(check)).abs().max()
        assert (error < 1e-12) == holds


def test_kinks_outside_the_box_or_beside_knots_do_no_harm():
    beside = build("bspline", 1, 3, knots=4, kinks=[1.0 + 1e-9])
    outside = build("bspline", 1, 3, knots=4, kinks=[0.5, 3.0, 17.0])
    for found in (beside, outside):
        assert np.linalg.cond(collocation(found)) < 1e3
    assert outside.n_terms == build("bspline", 1, 3, knots=4).n_terms


def test_knots_and_kinks_of_each_input():
    found = build("bspline", 2, (3, 2), knots=[4, [0.0, 0.5]], kinks=[[1.0], None])
    # Kinks add a knot for each degree, less a knot that lies beside: 4 + 3 + 4 - 1.
    sizes = [axis.n_terms for axis in found.function.basis.factors]
    assert sizes[1] == 2 + 2 + 1
    assert found.n_terms == sizes[0] * sizes[1] and found.square


@pytest.mark.parametrize("name", ["chebyshev", "smolyak", "bspline", "complete"])
def test_galerkin_takes_more_nodes_than_terms(name):
    found = build(name, 2, DEGREES[name], galerkin=True, knots=3)
    assert len(found.nodes) > found.n_terms
    matrix = collocation(found)
    gram = matrix.T @ (found.weights[:, None] * matrix)
    assert found.weights.sum() == pytest.approx(1.0)
    assert np.linalg.cond(gram) < 1e4


def test_spline_weights_integrate_products_of_splines_exactly():
    # Gauss-Legendre of degree + 1 nodes in each cell: exact for degree 7, products have 6.
    found = build("bspline", 1, 3, knots=4, galerkin=True)
    finer = build("bspline", 1, 3, knots=4, n_nodes=100)

    def gram(approximation):
        matrix = basis_rows(found.function, torch.from_numpy(approximation.nodes)).numpy()
        return matrix.T @ (approximation.weights[:, None] * matrix)

    np.testing.assert_allclose(gram(found), gram(finer), rtol=0, atol=1e-15)


def test_number_of_nodes_may_be_given():
    assert len(build("chebyshev", 2, 3, n_nodes=7).nodes) == 49
    assert len(build("chebyshev", 2, 3, n_nodes=(7, 5)).nodes) == 35
    assert len(build("mlp", 2, n_nodes=50).nodes) == 50
    assert len(build("complete", 2, 3, n_nodes=6).nodes) == 36


def test_defaults_follow_the_number_of_states():
    assert build("auto", 1).n_terms == 16
    assert build("auto", 2).n_terms == 64
    wide = np.array([[0.0, 1.0]] * 5)
    auto = representation("auto").build(wide, 2, {}, random_state=0)
    assert auto.n_terms == math.comb(5 + 3, 3) and auto.function.n_outputs == 2


@pytest.mark.parametrize(("n_states", "degree"), [(100, 6), (20, 2), (8, 1), (7, 0), (2, 0)])
def test_given_states_determine_the_coefficients_twice_over(n_states, degree):
    assert build("chebyshev", 2, n_states=n_states).n_terms == (degree + 1) ** 2


def test_crowded_grids_give_way_to_scattered_nodes():
    wide = np.array([[0.0, 1.0]] * 6)
    found = representation("complete", 2).build(wide, 1, {}, random_state=0)
    assert found.n_terms == 28 and len(found.nodes) == 4 * 28
    assert np.linalg.matrix_rank(collocation(found)) == 28
    with pytest.raises(ValueError, match=r"degree=2 needs 11390625 nodes.*lower it, or choose"):
        representation("chebyshev", 2, n_nodes=15).build(wide, 1, {})
    with pytest.raises(ValueError, match="lower the degree"):
        representation("chebyshev", 9).build(wide, 1, {})


def test_networks():
    found = build("mlp", 2)
    # Weights and biases of 2-4-3-1.
    assert found.n_terms == 2 * 4 + 4 + 4 * 3 + 3 + 3 + 1
    assert not found.square and not found.function.linear
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    own = build(module, 2)
    assert own.n_terms == 13 and len(own.nodes) == 64
    assert representation(module).is_network and representation("mlp").is_network
    assert not representation("auto").is_network


def test_basis_of_ones_own():
    found = build(Polynomial(3), 1)
    assert found.n_terms == 4 and len(found.nodes) == 64
    with pytest.raises(ValueError, match="has 1 inputs, but the model has 2 states"):
        build(Chebyshev(3, (0.0, 1.0)), 2)


@pytest.mark.parametrize(
    ("basis", "changes", "message"),
    [
        ("chebyshev", {"degree": (1, 2, 3)}, r"degree=\(1, 2, 3\) must be a whole number, or one"),
        ("bspline", {"degree": (1, 2, 3)}, r"degree=\(1, 2, 3\) must be a whole number, or one"),
        ("chebyshev", {"degree": -1}, "degree=-1 must be"),
        ("bspline", {"degree": -1}, "degree=-1 must be"),
        ("smolyak", {"degree": 2.5}, r"degree=2\.5 must be"),
        ("chebyshev", {"n_nodes": (3, 3, 3)}, r"n_nodes=\(3, 3, 3\) must be"),
        ("bspline", {"n_nodes": (3, 3, 3)}, r"n_nodes=\(3, 3, 3\) must be"),
        ("mlp", {"n_nodes": (3, 3)}, r"n_nodes=\(3, 3\) must be one whole number.*no grid"),
        ("mlp", {"hidden_layer_sizes": (0,)}, r"hidden_layer_sizes=\(0,\) must hold positive"),
        ("mlp", {"hidden_layer_sizes": ()}, "hidden_layer_sizes"),
    ],
)
def test_wrong_parameters_are_named(basis, changes, message):
    with pytest.raises(ValueError, match=message):
        build(basis, 2, **changes)


def test_seed_decides_scattered_nodes():
    first, again = build("mlp", 2), build("mlp", 2)
    np.testing.assert_array_equal(first.nodes, again.nodes)
    other = representation("mlp").build(BOX[:2], 1, {}, random_state=1)
    assert not np.array_equal(first.nodes, other.nodes)


def test_scattered_nodes_meet_each_value_of_a_chain_as_often():
    nodes = np.random.RandomState(0).rand(30, 2)
    moved = on_chains(nodes, {1: CHAIN})
    assert [int((moved[:, 1] == v).sum()) for v in CHAIN] == [10, 10, 10]
    np.testing.assert_array_equal(moved[:, 0], nodes[:, 0])
    # In the order of what was there, so that nodes stay evenly spread.
    assert (np.diff(moved[np.argsort(nodes[:, 1]), 1]) >= 0).all()


def test_even_states_lie_inside_and_off_the_nodes():
    states = even_states(100, BOX, {2: CHAIN}, 3).numpy()
    assert ((states >= BOX[:, 0]) & (states <= BOX[:, 1])).all()
    assert set(states[:, 2]) == set(CHAIN)
    nodes = build("chebyshev", 1, 7).nodes
    assert np.abs(states[:, :1] - nodes.T).min() > 0
