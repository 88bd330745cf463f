"""Sets of products: their sizes, their shape, and interpolation on sparse grids."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.representations.bases import (
    Chebyshev,
    Polynomial,
    ProductBasis,
    ShiftedReLU,
    additive_indices,
    complete_indices,
    hyperbolic_indices,
    smolyak_indices,
    smolyak_nodes,
    tensor_indices,
)

few = settings(max_examples=max(settings().max_examples // 3, 1))

dims = st.integers(1, 4)
degrees = st.integers(0, 5)


def as_set(indices):
    found = {tuple(row) for row in indices.tolist()}
    assert len(found) == len(indices)  # none twice
    return found


def everything(n_inputs, degree):
    return itertools.product(range(degree + 1), repeat=n_inputs)


# ------------------------------------------------------------------ sets


@given(d=dims, p=degrees)
def test_complete_set_is_of_bounded_total_degree(d, p):
    found = as_set(complete_indices(d, p))
    assert found == {k for k in everything(d, p) if sum(k) <= p}
    assert len(found) == math.comb(d + p, p)


@given(d=dims, p=degrees)
def test_hyperbolic_cross_is_of_bounded_product(d, p):
    found = as_set(hyperbolic_indices(d, p))
    expected = {k for k in everything(d, p) if math.prod(j + 1 for j in k) <= p + 1}
    assert found == expected


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_tensor_and_additive_sets(sizes):
    assert as_set(tensor_indices(sizes)) == set(itertools.product(*map(range, sizes)))
    additive = as_set(additive_indices(sizes))
    assert additive == {
        k for k in itertools.product(*map(range, sizes)) if sum(j > 0 for j in k) <= 1
    }
    assert len(additive) == 1 + sum(sizes) - len(sizes)


def level_of(degree):
    """The Smolyak level at which a degree comes in."""
    return 0 if degree == 0 else 1 if degree <= 2 else math.ceil(math.log2(degree))


@given(d=st.integers(1, 3), level=st.integers(0, 3))
def test_smolyak_set_is_of_bounded_total_level(d, level):
    found = as_set(smolyak_indices(d, level))
    top = 2**level if level else 0
    assert found == {k for k in everything(d, top) if sum(map(level_of, k)) <= level}


@pytest.mark.parametrize("d, level, count", [(2, 1, 5), (2, 2, 13), (2, 3, 29), (10, 2, 221)])
def test_smolyak_counts_of_the_literature(d, level, count):
    # Judd, Maliar, Maliar and Valero, table 1.
    assert len(smolyak_indices(d, level)) == count


@given(levels=st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_anisotropic_smolyak_sets_respect_each_level(levels):
    found = as_set(smolyak_indices(len(levels), levels))
    whole = as_set(smolyak_indices(len(levels), max(levels)))
    assert found == {
        k for k in whole if all(level_of(j) <= top for j, top in zip(k, levels, strict=True))
    }


def test_anisotropic_levels_must_fit_the_inputs():
    with pytest.raises(ValueError, match=r"level=\[1, 2\].*each of 3 inputs"):
        smolyak_indices(3, [1, 2])


@given(
    d=dims,
    p=degrees,
    rule=st.sampled_from([complete_indices, hyperbolic_indices, smolyak_indices]),
)
def test_graded_sets_start_with_the_constant_and_are_closed_downward(d, p, rule):
    indices = rule(d, min(p, 3) if rule is smolyak_indices else p)
    assert not indices[0].any()
    found = as_set(indices)
    for k in found:
        for j in range(d):
            assert (*k[:j], 0, *k[j + 1 :]) in found
            if rule is not smolyak_indices and k[j]:  # Smolyak degrees come in blocks
                assert (*k[:j], k[j] - 1, *k[j + 1 :]) in found


@pytest.mark.parametrize(
    "rule, arguments",
    [
        (complete_indices, (10, 30)),
        (hyperbolic_indices, (30, 200)),
        (tensor_indices, ([50] * 4,)),
        (additive_indices, ([10_000] * 3,)),
        (smolyak_indices, (20, 6)),
    ],
)
def test_too_many_terms_are_refused_before_they_are_built(rule, arguments):
    with pytest.raises(ValueError, match=r"has \d+ terms.*lower the degree or level"):
        rule(*arguments)


# ------------------------------------------------------------------ the products


@given(
    d=st.integers(1, 3),
    p=st.integers(0, 4),
    rule=st.sampled_from([complete_indices, hyperbolic_indices]),
    seed=st.integers(0, 100),
)
def test_every_function_is_its_product(d, p, rule, seed):
    factors = [Chebyshev(p, (-1, 2)), Polynomial(p), ShiftedReLU(np.arange(p) - 1.0)][:d]
    indices = rule(d, p)
    basis = ProductBasis(factors, indices)
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 2, (7, d)))
    columns = [f(x[:, [j]]) for j, f in enumerate(factors)]
    expected = torch.stack(
        [
            math.prod((columns[j][:, k] for j, k in enumerate(index) if k), start=torch.ones(7))
            for index in indices.tolist()
        ],
        1,
    ).double()
    # At most three factors, multiplied in one order or another.
    torch.testing.assert_close(basis(x), expected, rtol=1e-14, atol=0)


def test_many_inputs_are_cheap():
    # More inputs than an array has dimensions: 1 + 2 * 100 terms.
    basis = ProductBasis([Chebyshev(2)] * 100, smolyak_indices(100, 1))
    x = torch.zeros(3, 100, dtype=torch.float64)
    assert basis(x).shape == (3, 201)


def test_names_of_products():
    basis = ProductBasis([Polynomial(2), Chebyshev(2)], tensor_indices([2, 2]))
    assert basis.term_names(["a", "b"]) == ["1", "T1(b)", "a", "a T1(b)"]


# ------------------------------------------------------------------ interpolation


@pytest.mark.parametrize("d, level", [(1, 4), (2, 0), (2, 3), (3, 2), (2, [3, 1]), (3, [0, 2, 1])])
def test_smolyak_interpolation_is_exact_at_its_nodes(d, level):
    nodes = torch.from_numpy(smolyak_nodes(d, level))
    basis = ProductBasis([Chebyshev(2 ** np.max(level))] * d, smolyak_indices(d, level))
    design = basis(nodes).numpy()
    assert design.shape[0] == design.shape[1]
    # The Lebesgue constants of these grids are small, so the matrix is far from singular.
    assert np.linalg.cond(design) < 1e3
    f = np.random.default_rng(0).normal(size=len(nodes))
    # Rounding, times a condition number below 1e3.
    np.testing.assert_allclose(design @ np.linalg.solve(design, f), f, rtol=0, atol=1e-12)


def test_smolyak_interpolation_converges_on_a_smooth_function():
    def f(x):
        return np.exp(x[:, 0]) * np.cos(x[:, 1])

    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    errors = []
    for level in range(6):
        nodes = smolyak_nodes(2, level)
        indices = smolyak_indices(2, level)
        basis = ProductBasis([Chebyshev(indices.max())] * 2, indices)
        coef = np.linalg.solve(basis(torch.from_numpy(nodes)).numpy(), f(nodes))
        errors.append(np.abs(basis(torch.from_numpy(x)).numpy() @ coef - f(x)).max())
    assert all(after < before / 2 for before, after in itertools.pairwise(errors))
    assert errors[-1] < 1e-6


# ------------------------------------------------------------------ a wider domain


@few
@given(
    p=st.integers(0, 6),
    grow=st.tuples(*[st.floats(0, 3)] * 4),
    rule=st.sampled_from([complete_indices, hyperbolic_indices]),
    seed=st.integers(0, 100),
)
def test_widened_combines_the_same_products(p, grow, rule, seed):
    box = np.array([[-1.0, 2.0], [0.5, 0.75]])
    basis = ProductBasis([Chebyshev(p, tuple(ends)) for ends in box], rule(2, p))
    wide = box + np.array([[-grow[0], grow[1]], [-grow[2], grow[3]]])
    wider, combine = basis.widened(wide[:, 0], wide[:, 1])
    x = torch.from_numpy(np.random.default_rng(seed).uniform(box[:, 0], box[:, 1], (20, 2)))
    # Products of two numbers below one, each from a stable recurrence of at most six steps.
    torch.testing.assert_close(wider(x), basis(x) @ combine, rtol=0, atol=1e-12)


def test_widened_where_one_input_was_seen_at_a_single_point():
    basis = ProductBasis([Chebyshev(3), Chebyshev(3, (4 - 1e-6, 4 + 1e-6))], complete_indices(2, 3))
    wider, combine = basis.widened(np.array([-1.0, 4.0]), np.array([3.0, 4.5]), {1: 4.0})
    x = torch.tensor([[-0.5, 4.0], [0.25, 4.0]], dtype=torch.float64)
    # As above; the second factor is evaluated at the one point alone.
    torch.testing.assert_close(wider(x), basis(x) @ combine, rtol=0, atol=1e-14)


def test_only_chebyshev_polynomials_widen():
    basis = ProductBasis([Polynomial(2)], complete_indices(1, 2))
    with pytest.raises(TypeError, match="only a product of Chebyshev polynomials"):
        basis.widened(np.array([0.0]), np.array([1.0]))
