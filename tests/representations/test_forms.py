"""Functions of columns, added and multiplied: against the bases and kernels they restate."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thetalearn.representations.bases import (
    AdditiveBSpline,
    Affine,
    Basis,
    BSpline,
    Chebyshev,
    Discrete,
    Polynomial,
    ProductBasis,
    RandomFourier,
    RandomReLU,
    ShiftedReLU,
    TensorBSpline,
    additive_indices,
    complete_indices,
    hyperbolic_indices,
    smolyak_indices,
    tensor_indices,
    uniform_knots,
)
from thetalearn.representations.forms import (
    Distances,
    Functions,
    Linear,
    ProductForm,
    SumForm,
    basis_form,
)

DOMAIN = (-1.0, 1.0)

#: Sums of some hundred products of order one, in another order.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def rows(n=20, d=3, seed=0, beyond=0.0):
    """Rows in the domain, or up to ``beyond`` outside it; the last column is 0 or 1."""
    rng = np.random.RandomState(seed)
    x = rng.uniform(-1 - beyond, 1 + beyond, size=(n, d))
    x[:, -1] = rng.randint(2, size=n)
    return torch.from_numpy(x)


def weights(*shape, seed=1):
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


def chebyshev(indices, degree, extrapolation="linear"):
    return ProductBasis([Chebyshev(degree, DOMAIN, extrapolation)] * indices.shape[1], indices)


def splines(extrapolation="linear"):
    kinds = [(3, 3), (2, 1), (1, 2)]
    return [BSpline(uniform_knots(k, DOMAIN), p, DOMAIN, extrapolation) for k, p in kinds]


KINDS = [ShiftedReLU([-0.5, 0.5]), Polynomial(2), Discrete([0.0, 1.0])]

SUMS = {
    "affine": Affine(3),
    "affine without constant": Affine(3, constant=False),
    "random fourier": RandomFourier.draw(3, 9, 0.5, np.random.RandomState(0)),
    "random relu": RandomReLU.draw(3, 9, 0.5, np.random.RandomState(0)),
    "additive polynomial": ProductBasis([Polynomial(3)] * 3, additive_indices([4] * 3)),
    "additive chebyshev": chebyshev(additive_indices([4] * 3), 3),
    "additive kinds": ProductBasis(KINDS, additive_indices([f.n_terms for f in KINDS])),
    "additive splines": AdditiveBSpline(splines()),
    "additive splines clipped": AdditiveBSpline(splines("clip")),
    "one column": ProductBasis([Polynomial(4)], tensor_indices([5])),
    "a constant": ProductBasis([Polynomial(1)] * 3, complete_indices(3, 0)),
}

PRODUCTS = {
    "complete": ProductBasis([Polynomial(3)] * 3, complete_indices(3, 3)),
    "tensor": chebyshev(tensor_indices([3] * 3), 2),
    "tensor clipped": chebyshev(tensor_indices([3] * 3), 2, "clip"),
    "hyperbolic": chebyshev(hyperbolic_indices(3, 6), 6),
    "smolyak": chebyshev(smolyak_indices(3, 2), 4),
    "kinds": ProductBasis(KINDS, tensor_indices([f.n_terms for f in KINDS])),
    "splines": TensorBSpline(splines()),
    "splines clipped": TensorBSpline(splines("clip")),
}


@pytest.mark.parametrize("beyond", [0.0, 0.5], ids=["inside", "outside"])
@pytest.mark.parametrize("basis", [*SUMS.values(), *PRODUCTS.values()], ids=[*SUMS, *PRODUCTS])
def test_a_form_is_its_basis_times_the_coefficients(basis, beyond):
    x, coef = rows(d=basis.n_inputs, beyond=beyond), weights(basis.n_terms, 2)
    values = basis(x)
    expected = values @ coef
    form = basis_form(basis, coef)
    assert isinstance(form, ProductForm if basis in list(PRODUCTS.values()) else SumForm)
    assert (form.n_columns, form.n_outputs, form.dtype) == (basis.n_inputs, 2, torch.float64)
    torch.testing.assert_close(form(x), expected, **EXACT)


@pytest.mark.parametrize("form", [*SUMS, *PRODUCTS])
def test_no_rows_give_no_values(form):
    basis = {**SUMS, **PRODUCTS}[form]
    values = basis_form(basis, weights(basis.n_terms, 2))(torch.empty(0, basis.n_inputs).double())
    assert values.shape == (0, 2)


@pytest.mark.parametrize("basis", PRODUCTS.values(), ids=PRODUCTS)
def test_columns_of_a_design_are_products_of_single_columns(basis):
    x, form = rows(), basis_form(basis, weights(basis.n_terms, 1))
    columns = np.eye(3, dtype=int)
    product = torch.ones(len(x), basis.n_terms, dtype=torch.float64)
    for own in columns:
        product *= form.design(x, form.indices * own)
    torch.testing.assert_close(form.design(x, form.indices), product, **EXACT)
    nothing = form.design(x, np.zeros((1, 3), dtype=int))
    assert (nothing == 1).all()


def test_an_unknown_basis_has_no_form():
    class Unknown(Basis):
        n_inputs, n_terms = 2, 1

        def __call__(self, x):
            return x[:, :1] / x[:, 1:]

        def derivative(self, x, order=1):
            raise NotImplementedError

        def term_names(self, input_names):
            return ["ratio"]

    assert basis_form(Unknown(), weights(1, 1)) is None


COLUMN_SUMS = {
    "linear": Linear(weights(3, 4)),
    "linear carried": Linear(weights(3, 4), carried=True),
    "functions": Functions([lambda x: x[:, None] ** torch.arange(4)] * 3, 4),
    "squared distances": Distances(weights(4, 3), 2),
    "distances": Distances(weights(4, 3), 1),
}


@settings(max_examples=20)
@given(st.permutations(range(3)), st.integers(0, 3))
@pytest.mark.parametrize("sums", COLUMN_SUMS.values(), ids=COLUMN_SUMS)
def test_sums_over_columns_add_up_in_any_order_and_parts(sums, order, cut):
    x = rows()
    whole = sums(x, range(3))
    assert whole.shape == (len(x), sums.width)
    first, second = list(order[:cut]), list(order[cut:])
    parts = sums(x[:, first], first) + sums(x[:, second], second)
    torch.testing.assert_close(parts, whole, **EXACT)
    torch.testing.assert_close(sums(x[:, list(order)], list(order)), whole, **EXACT)


@pytest.mark.parametrize("sums", COLUMN_SUMS.values(), ids=COLUMN_SUMS)
def test_a_head_is_applied_to_the_sum_and_links_follow_it(sums):
    x, constant = rows(), weights(sums.width, seed=2)
    form = SumForm(sums, constant, 2, lambda z: torch.tanh(z[:, :2]))
    z = sums(x, range(3)) + constant
    torch.testing.assert_close(form(x), torch.tanh(z[:, :2]), **EXACT)
    linked = form.followed_by(lambda v: v.sum(1, keepdim=True).exp(), 1)
    assert (linked.n_outputs, form.n_outputs, linked.n_columns) == (1, 2, 3)
    torch.testing.assert_close(linked(x), form(x).sum(1, keepdim=True).exp(), **EXACT)
    assert SumForm(sums, constant, 2).followed_by(torch.exp).n_outputs == 2


def test_a_linear_sum_carries_its_columns():
    x, sums = rows(), Linear(weights(3, 4), carried=True)
    assert sums.width == 4 + 3
    values = sums(x, range(3))
    torch.testing.assert_close(values[:, :4], x @ sums.weights, **EXACT)
    assert torch.equal(values[:, 4:], x)
    alone = sums(x[:, [2]], [2])[:, 4:]
    assert torch.equal(alone[:, 2], x[:, 2])
    assert not alone[:, :2].any()


@pytest.mark.parametrize("power", [1, 2])
def test_distances_are_powers_of_norms(power):
    x, points = rows(), weights(4, 3)
    expected = torch.cdist(x, points, p=power) ** power
    torch.testing.assert_close(Distances(points, power)(x, range(3)), expected, **EXACT)


def test_single_precision_stays_single():
    form = SumForm(Linear(torch.ones(3, 1)), torch.zeros(1), 1)
    assert form.dtype == form(rows()).dtype == torch.float32


@pytest.mark.parametrize("basis", [*SUMS.values(), *PRODUCTS.values()], ids=[*SUMS, *PRODUCTS])
def test_forms_of_bases_are_pickled(basis):
    x, form = rows(), basis_form(basis, weights(basis.n_terms, 2))
    assert torch.equal(pickle.loads(pickle.dumps(form))(x), form(x))


@pytest.mark.parametrize("head", [None, torch.tanh], ids=["linear", "head"])
def test_links_and_products_are_pickled(head):
    x, form = rows(), SumForm(Linear(weights(3, 2)), weights(2), 2, head)
    for each in (
        form,
        form.followed_by(torch.exp),
        form.followed_by(torch.exp).times(weights(2, 1)),
    ):
        assert torch.equal(pickle.loads(pickle.dumps(each))(x), each(x))


@pytest.mark.parametrize(
    ("sums", "head"),
    [
        (Linear(weights(3, 2)), None),
        (Linear(weights(3, 2)), torch.tanh),
        (Distances(weights(2, 3)), None),
    ],
    ids=["linear", "head", "distances"],
)
def test_outputs_times_a_matrix(sums, head):
    x, matrix = rows(), weights(2, 4, seed=3)
    form = SumForm(sums, weights(2, seed=2), 2, head)
    product = form.times(matrix)
    assert product.n_outputs == 4
    torch.testing.assert_close(product(x), form(x) @ matrix, **EXACT)
    # A linear sum stays one: it then has closed forms.
    assert (product.head is None) == (isinstance(sums, Linear) and head is None)


def test_a_product_follows_the_precision_of_a_head():
    form = SumForm(Linear(weights(3, 2)), weights(2), 2, torch.tanh).times(weights(2, 1))
    assert form.head(torch.ones(5, 2)).dtype == torch.float32
