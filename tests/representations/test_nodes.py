"""Nodes: where they lie, how many there are, and that random ones follow their seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thetalearn.representations.bases import (
    chebyshev_nodes,
    equispaced_nodes,
    smolyak_indices,
    smolyak_nodes,
    sobol_nodes,
    tensor_nodes,
)


@given(n=st.integers(1, 300))
def test_chebyshev_nodes_are_the_zeros(n):
    nodes = chebyshev_nodes(n)
    assert (np.diff(nodes) > 0).all()
    # cos and sin are accurate to rounding; arccos magnifies it near the ends, where it is squared.
    np.testing.assert_allclose(
        nodes, np.cos(np.pi * (np.arange(n)[::-1] + 0.5) / n), rtol=0, atol=1e-15
    )
    np.testing.assert_array_equal(nodes, -nodes[::-1])  # exactly symmetric


@given(n=st.integers(2, 300))
def test_extrema_are_where_the_polynomial_is_one(n):
    nodes = chebyshev_nodes(n, kind="extrema")
    assert nodes[0] == -1 and nodes[-1] == 1
    # Rounding of the two forms of the cosine.
    np.testing.assert_allclose(
        nodes, np.cos(np.pi * np.arange(n)[::-1] / (n - 1)), rtol=0, atol=1e-15
    )
    np.testing.assert_array_equal(nodes, -nodes[::-1])


@given(n=st.integers(1, 50))
def test_zeros_of_a_power_of_three_are_nested(n):
    # T_3n = T_3(T_n): every third zero of T_3n is one of T_n.
    np.testing.assert_allclose(chebyshev_nodes(3 * n)[1::3], chebyshev_nodes(n), rtol=0, atol=1e-15)


@pytest.mark.parametrize("make", [equispaced_nodes, chebyshev_nodes])
def test_domains_are_affine_maps(make):
    # Rounding of one multiplication and one addition.
    np.testing.assert_allclose(make(9, (2.0, 6.0)), 4 + 2 * make(9), rtol=1e-15)


def test_equispaced_nodes():
    np.testing.assert_array_equal(equispaced_nodes(5), [-1, -0.5, 0, 0.5, 1])


@pytest.mark.parametrize("n, kind", [(0, "first"), (1, "extrema"), (3, "second")])
def test_impossible_chebyshev_nodes(n, kind):
    with pytest.raises(ValueError, match=r"too few|must be"):
        chebyshev_nodes(n, kind=kind)


def test_tensor_nodes_run_last_input_fastest():
    grid = tensor_nodes(np.array([0.0, 1.0]), np.array([5.0, 6.0, 7.0]))
    assert grid.tolist() == [[0, 5], [0, 6], [0, 7], [1, 5], [1, 6], [1, 7]]


@pytest.mark.parametrize("n_inputs, level, count", [(2, 0, 1), (2, 1, 5), (2, 2, 13), (10, 2, 221)])
def test_smolyak_counts_of_the_literature(n_inputs, level, count):
    # Judd, Maliar, Maliar and Valero, table 1.
    nodes = smolyak_nodes(n_inputs, level)
    assert nodes.shape == (count, n_inputs)
    assert len(np.unique(nodes.round(12), axis=0)) == count


@given(n_inputs=st.integers(1, 3), level=st.integers(0, 3))
def test_smolyak_grids_are_nested_and_match_their_indices(n_inputs, level):
    inner = {tuple(p) for p in smolyak_nodes(n_inputs, level).round(12) + 0.0}
    outer = {tuple(p) for p in smolyak_nodes(n_inputs, level + 1).round(12) + 0.0}
    assert inner < outer
    assert len(inner) == len(smolyak_indices(n_inputs, level))


def test_smolyak_domains():
    unit = smolyak_nodes(2, 2)
    boxed = smolyak_nodes(2, 2, [(0.0, 2.0), (-10.0, 10.0)])
    # Rounding of one multiplication and one addition.
    np.testing.assert_allclose(boxed, unit * [1, 10] + [1, 0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(smolyak_nodes(2, 2, (0.0, 2.0)), unit + 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [1, 8, 13])
def test_sobol_points_fill_the_box_and_follow_the_seed(n):
    box = [(0.0, 1.0), (-5.0, 5.0)]
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    points = sobol_nodes(n, box, 0)
    assert points.shape == (n, 2)
    assert (points >= [0, -5]).all() and (points <= [1, 5]).all()
    np.testing.assert_array_equal(points, sobol_nodes(n, box, 0))
    assert (points != sobol_nodes(n, box, 1)).any()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_sobol_points_are_balanced():
    points = sobol_nodes(64, [(0.0, 1.0)] * 3, 0)
    for column in points.T:
        # One point in each of 64 equal cells: the defining property of the sequence.
        assert sorted((column * 64).astype(int)) == list(range(64))
