"""Functions f(x; θ): their derivatives by x and θ, and fits, for every kind of representation."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thetalearn.exceptions import DivergenceError, DomainError, RankWarning
from thetalearn.representations.bases import (
    AdditiveBSpline,
    Affine,
    BSpline,
    Chebyshev,
    Discrete,
    Polynomial,
    ProductBasis,
    RandomFourier,
    TensorBSpline,
    additive_indices,
    chebyshev_nodes,
    complete_indices,
    greville_nodes,
    hyperbolic_indices,
    smolyak_indices,
    tensor_indices,
    tensor_nodes,
    uniform_knots,
)
from thetalearn.representations.networks.activations import ACTIVATIONS, Tanh, make_activation
from thetalearn.representations.networks.mlp import MLP, MLPArchitecture
from thetalearn.representations.parametric import LinearFunction, NetworkFunction, linear
from thetalearn.representations.parametric.chain import ChainPoints
from thetalearn.representations.parametric.traced import TracedPoints

few = settings(max_examples=15)

# Sums of about a hundred products of numbers of order one, in different orders.
close = {"rtol": 1e-11, "atol": 1e-11}


def spline(n_knots=3, degree=3, kink=True):
    """Splines on [-1, 1] with a kink at 0.1."""
    knots = np.sort(np.r_[uniform_knots(n_knots, (-1, 1)), [0.1] * (degree if kink else 0)])
    return BSpline(knots, degree, (-1.0, 1.0))


CHAIN = [0.5, 1.0, 2.0]

BASES = {
    "chebyshev": Chebyshev(5),
    "affine": Affine(3),
    "fourier": RandomFourier.draw(2, 9, 0.5, np.random.RandomState(0)),
    "tensor": ProductBasis([Chebyshev(3), Chebyshev(2)], tensor_indices([4, 3])),
    "complete": ProductBasis([Chebyshev(4)] * 3, complete_indices(3, 4)),
    "additive": ProductBasis([Polynomial(3)] * 2, additive_indices([4, 4])),
    "hyperbolic": ProductBasis([Chebyshev(6)] * 3, hyperbolic_indices(3, 6)),
    "smolyak": ProductBasis([Chebyshev(4)] * 3, smolyak_indices(3, 2)),
    "discrete": ProductBasis([Chebyshev(4), Discrete(CHAIN)], tensor_indices([5, 3])),
    "spline": spline(),
    "hats": spline(degree=1),
    "tensor splines": TensorBSpline([spline(), spline(2, 2), spline(1, 1)]),
    "additive splines": AdditiveBSpline([spline(), spline(2, 2)]),
    "mixed splines": TensorBSpline([spline(), BSpline([1.0], 1, (0.5, 2.0))]),
}


def one_activation(f):
    return nn.Sequential(nn.Linear(2, 4), f, nn.Linear(4, 4), f, nn.Linear(4, 3), f)


def one_layer(layer):
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), layer, nn.Tanh(), layer)


def tied(first, second):
    second.weight = first.weight
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), first, nn.Tanh(), second)


NETWORKS = {
    "mlp": lambda: MLP(MLPArchitecture((2, 5, 4, 3), (Tanh(), make_activation("gelu")))),
    "mlp with output": lambda: MLP(
        MLPArchitecture((2, 5, 3), (make_activation("sin"),), make_activation("softplus"))
    ),
    "scaled mlp": lambda: MLP(MLPArchitecture((2, 5, 3), (Tanh(),), scales=(0.5, 2.0))),
    "sequential": lambda: nn.Sequential(
        nn.Linear(2, 6),
        nn.Tanh(),
        nn.Sequential(nn.Linear(6, 4, bias=False), nn.SiLU()),
        nn.Dropout(0.5),
        nn.Linear(4, 3),
    ),
    "affine": lambda: nn.Linear(2, 3),
    "output sigmoid": lambda: nn.Sequential(nn.Linear(2, 3), nn.Sigmoid()),
    "in place": lambda: nn.Sequential(nn.Linear(2, 4), nn.ELU(inplace=True), nn.Linear(4, 3)),
    "shared activation": lambda: one_activation(nn.Tanh()),
    "shared weights": lambda: one_layer(nn.Linear(3, 3)),
    "tied weights": lambda: tied(nn.Linear(3, 3), nn.Linear(3, 3)),
    "layer norm": lambda: nn.Sequential(
        nn.Linear(2, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)
    ),
    "normalised mlp": lambda: MLP(MLPArchitecture((2, 5, 3), (Tanh(),), normalization="batch")),
    "residual mlp": lambda: MLP(
        MLPArchitecture((2, 4, 4, 3), (Tanh(), Tanh()), residual=True, normalization="layer")
    ),
}

OTHERS = ["layer norm", "normalised mlp", "residual mlp", "shared weights", "tied weights"]
WRITTEN_OUT = [name for name in NETWORKS if name not in OTHERS]


def network(name, domain=((-1.0, 3.0), (0.5, 2.0))):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NetworkFunction(NETWORKS[name](), 2, 3, domain=domain)


def points_of(name, n, seed=0):
    """Points of the domain, values of the chain where an input is discrete."""
    rng = np.random.default_rng(seed)
    d = BASES[name].n_inputs
    x = rng.uniform(-1, 1, (n, d))
    if name in ("discrete", "mixed splines"):
        x[:, 1] = rng.choice(CHAIN, n) if name == "discrete" else rng.uniform(0.5, 2, n)
    return torch.from_numpy(x)


def parameters(function, seed=1):
    rng = np.random.RandomState(seed)
    return torch.from_numpy(rng.normal(size=function.n_parameters))


def cases():
    for name, basis in BASES.items():
        for m in (1, 2):
            yield pytest.param(LinearFunction(basis, m), points_of(name, 12), id=f"{name}-{m}")
    for name in NETWORKS:
        x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 3, (12, 2)))
        yield pytest.param(network(name), x, id=f"network-{name}")


every_function = pytest.mark.parametrize("function, x", list(cases()))


# ------------------------------------------------------------------ derivatives


@every_function
@pytest.mark.parametrize("sizes", [(12, 1), (3, 4), (1, 12)], ids=str)
@pytest.mark.parametrize("n_sums", [1, 3])
def test_pullback_sums_derivatives_by_the_parameters(function, x, sizes, n_sums):
    theta, points = parameters(function), function.at(x)
    shape = (*sizes, n_sums, function.n_outputs)
    u = torch.from_numpy(np.random.default_rng(2).normal(size=shape))
    by_theta = torch.autograd.functional.jacobian(points.value, theta).view(
        *sizes, function.n_outputs, -1
    )
    expected = torch.einsum("pqem,pqmk->pek", u, by_theta)
    torch.testing.assert_close(points.pullback(theta, u), expected, **close)


@every_function
def test_derivatives_by_the_inputs_are_limits_of_differences(function, x):
    theta, points, step = parameters(function), function.at(x), 1e-5
    if isinstance(getattr(function, "basis", None), ProductBasis) and any(
        isinstance(factor, Discrete) for factor in function.basis.factors
    ):
        inputs = [0]
    else:
        inputs = range(function.n_inputs)
    for j in inputs:
        move = step * torch.eye(function.n_inputs, dtype=torch.float64)[j]
        up, down = function.at(x + move), function.at(x - move)
        slopes = (up.value(theta) - down.value(theta)) / (2 * step)
        bends = (up.jacobian(theta) - down.jacobian(theta)) / (2 * step)
        # Errors of the differences: step² times third derivatives below 1e4, rounding / step.
        torch.testing.assert_close(points.jacobian(theta)[:, :, j], slopes, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(points.hessian(theta)[:, :, j], bends, rtol=1e-5, atol=1e-5)


@every_function
def test_hessians_are_symmetric(function, x):
    hessian = function.at(x).hessian(parameters(function))
    assert hessian.shape == (12, function.n_outputs, function.n_inputs, function.n_inputs)
    # Products of the same numbers in another order.
    torch.testing.assert_close(hessian, hessian.transpose(2, 3), rtol=1e-12, atol=1e-12)


@every_function
def test_order_of_questions_does_not_matter(function, x):
    theta = parameters(function)
    points, other = function.at(x), function.at(x)
    first = [points.value(theta), points.jacobian(theta), points.hessian(theta)]
    second = [other.hessian(theta), other.jacobian(theta), other.value(theta)]
    for a, b in zip(first, reversed(second), strict=True):
        assert torch.equal(a, b)


@every_function
def test_answers_follow_a_theta_changed_in_place(function, x):
    theta, points = parameters(function), function.at(x)
    points.value(theta).zero_()
    theta.mul_(2)
    for ask in ("value", "jacobian", "hessian"):
        fresh = getattr(function.at(x), ask)(theta.clone())
        assert torch.equal(getattr(points, ask)(theta), fresh)


@every_function
def test_values_can_be_differentiated_by_autograd(function, x):
    theta, points = parameters(function).requires_grad_(), function.at(x)
    (by_theta,) = torch.autograd.grad(points.value(theta).sum(), theta)
    u = torch.ones(1, 12, 1, function.n_outputs, dtype=torch.float64)
    torch.testing.assert_close(by_theta, points.pullback(theta, u)[0, 0], **close)
    assert not points.jacobian(theta.detach()).requires_grad


@few
@given(
    d=st.integers(1, 4),
    degree=st.integers(0, 4),
    rule=st.sampled_from([complete_indices, hyperbolic_indices]),
    seed=st.integers(0, 100),
)
def test_derivatives_of_products_are_those_of_the_basis(d, degree, rule, seed):
    basis = ProductBasis([Chebyshev(degree, (-1.0, 0.5))] * d, rule(d, degree))
    # Points on both sides of the ends of the domain.
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-2, 2, (6, d)))
    function = LinearFunction(basis, 2)
    theta, points = parameters(function, seed), function.at(x)
    coef, units = theta.view(-1, 2), np.eye(d, dtype=int)
    jacobian, hessian = points.jacobian(theta), points.hessian(theta)
    for i in range(d):
        expected = basis.derivative(x, units[i].tolist()) @ coef
        torch.testing.assert_close(jacobian[:, :, i], expected, rtol=1e-11, atol=1e-9)
        for j in range(d):
            expected = basis.derivative(x, (units[i] + units[j]).tolist()) @ coef
            torch.testing.assert_close(hessian[:, :, i, j], expected, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("name", ["tensor", "tensor splines", "spline", "chebyshev"])
def test_outside_the_domain_a_function_is_its_tangent(name):
    function = LinearFunction(BASES[name])
    theta, edge = parameters(function), torch.ones(1, function.n_inputs, dtype=torch.float64)
    edge[0, 1:] = 0.3
    out = edge.clone()
    out[0, 0] += 0.7
    here, there = function.at(edge), function.at(out)
    slope = here.jacobian(theta)[:, :, 0]
    # Three roundings of numbers below a thousand.
    torch.testing.assert_close(there.value(theta), here.value(theta) + 0.7 * slope, **close)
    torch.testing.assert_close(there.jacobian(theta)[:, :, 0], slope, **close)
    assert there.hessian(theta)[0, 0, 0, 0] == 0


@pytest.mark.parametrize("name", ["complete", "fourier"])
def test_blocks_of_points_give_the_same_derivatives(name, monkeypatch):
    function, x = LinearFunction(BASES[name], 2), points_of(name, 12)
    theta = parameters(function)
    whole = function.at(x)
    jacobian, hessian = whole.jacobian(theta), whole.hessian(theta)
    monkeypatch.setattr(linear, "MAX_KEPT", 5_000)
    torch.testing.assert_close(function.at(x).jacobian(theta), jacobian, **close)
    torch.testing.assert_close(function.at(x).hessian(theta), hessian, **close)


@pytest.mark.parametrize("name", ["tensor", "tensor splines", "spline"])
def test_rows_are_the_design_matrix(name):
    function, x = LinearFunction(BASES[name]), points_of(name, 12)
    theta, points = parameters(function), function.at(x)
    torch.testing.assert_close(points.rows @ theta[:, None], points.value(theta), **close)


# ------------------------------------------------------------------ fits of linear functions


@few
@given(
    d=st.integers(1, 3), degree=st.integers(0, 4), extra=st.integers(0, 20), seed=st.integers(0, 99)
)
def test_fits_reproduce_polynomials(d, degree, extra, seed):
    basis = ProductBasis([Chebyshev(degree)] * d, complete_indices(d, degree))
    function = LinearFunction(basis, 2)
    rng = np.random.default_rng(seed)
    # Twice as many points as functions keep the rows well conditioned, whatever is drawn.
    x = torch.from_numpy(rng.uniform(-1, 1, (4 * basis.n_terms + extra, d)))
    theta = parameters(function, seed)
    weight = torch.from_numpy(rng.uniform(0.5, 2, len(x)))
    # A condition number below 1e3.
    for w in (None, weight):
        found = function.fit(x, function.at(x).value(theta), w)
        torch.testing.assert_close(found, theta, rtol=0, atol=1e-11)


def test_a_square_fit_interpolates():
    nodes = torch.from_numpy(tensor_nodes(chebyshev_nodes(8), chebyshev_nodes(6)))
    function = LinearFunction(ProductBasis([Chebyshev(7), Chebyshev(5)], tensor_indices([8, 6])))
    y = torch.from_numpy(np.random.default_rng(0).normal(size=(48, 1)))
    # The condition number at Chebyshev nodes is 2.
    torch.testing.assert_close(
        function.at(nodes).value(function.fit(nodes, y)), y, rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("limit", [0, 2**22], ids=["sparse", "dense"])
@pytest.mark.parametrize("n", [None, 300], ids=["square", "tall"])
def test_splines_reproduce_kinks(limit, n, monkeypatch):
    monkeypatch.setattr(linear, "MAX_DENSE", limit)
    factors = [spline(), spline(2, 2)]
    function = LinearFunction(TensorBSpline(factors), 2)
    x = tensor_nodes(*map(greville_nodes, factors))
    if n is not None:
        x = np.random.default_rng(0).uniform(-1, 1, (n, 2))
        x = np.r_[x, tensor_nodes(*map(greville_nodes, factors))]
    x = torch.from_numpy(x)

    def kinked(x):
        return torch.stack([(x[:, 0] - 0.1).abs() * x[:, 1], (x[:, 1] - 0.1).clamp(min=0)], 1)

    theta = function.fit(x, kinked(x), torch.full((len(x),), 2.0, dtype=torch.float64))
    test = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (50, 2)))
    # The tolerance of the iterative solver, times a condition number below a hundred.
    torch.testing.assert_close(function.at(test).value(theta), kinked(test), rtol=0, atol=1e-10)


def test_hat_functions_interpolate_the_values_of_a_chain():
    hats = BSpline(CHAIN[1:-1], 1, (CHAIN[0], CHAIN[-1]))
    chain = torch.tensor(CHAIN, dtype=torch.float64)[:, None]
    np.testing.assert_array_equal(greville_nodes(hats), CHAIN)
    torch.testing.assert_close(hats(chain).to_dense(), torch.eye(3, dtype=torch.float64))


def test_a_discrete_input_gives_a_function_for_each_value():
    function = LinearFunction(BASES["discrete"])
    x = torch.from_numpy(tensor_nodes(chebyshev_nodes(5), np.array(CHAIN)))

    def each(x):
        return torch.where(
            x[:, 1:] > 0.75, x[:, :1] ** 4, torch.where(x[:, 1:] > 1.5, x[:, :1], 1.0)
        )

    theta = function.fit(x, each(x))
    test = points_of("discrete", 30, seed=5)
    torch.testing.assert_close(function.at(test).value(theta), each(test), rtol=0, atol=1e-13)
    assert not function.at(test).jacobian(theta)[:, :, 1].any()


def test_undetermined_coefficients_are_those_of_least_norm():
    function = LinearFunction(Polynomial(2))
    x = torch.tensor([[1.0], [1.0], [1.0]], dtype=torch.float64)
    with pytest.warns(RankWarning, match="3 points determine only 1 of 3 coefficients"):
        theta = function.fit(x, 3 * x)
    torch.testing.assert_close(theta, torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-14)


def test_linear_functions_start_from_zero():
    function = LinearFunction(Chebyshev(3), 2)
    start = function.initial(np.random.RandomState(0))
    assert function.linear and start.shape == (8,) and not start.any()


# ------------------------------------------------------------------ networks


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_written_out_derivatives_are_those_of_autograd(name):
    function = network(name)
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 3, (12, 2)))
    theta, u = parameters(function), torch.randn(4, 3, 2, 3, dtype=torch.float64)
    chain, traced = function.at(x), TracedPoints(function, x)
    assert isinstance(chain, ChainPoints)
    for ask, arguments in (("value", ()), ("jacobian", ()), ("hessian", ()), ("pullback", (u,))):
        found, expected = (getattr(p, ask)(theta, *arguments) for p in (chain, traced))
        torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"heaviside"}))
def test_every_activation_has_exact_derivatives(name):
    architecture = MLPArchitecture((1, 4, 1), (make_activation(name),))
    function = NetworkFunction(MLP(architecture), 1)
    x = torch.linspace(-1.5, 1.5, 6, dtype=torch.float64)[:, None]
    theta = parameters(function)
    u = torch.ones(6, 1, 1, 1, dtype=torch.float64)
    chain, traced = function.at(x), TracedPoints(function, x)
    for ask, arguments in (("jacobian", ()), ("hessian", ()), ("pullback", (u,))):
        found, expected = (getattr(p, ask)(theta, *arguments) for p in (chain, traced))
        torch.testing.assert_close(found, expected, **close)


def test_parameters_are_in_the_order_of_the_module():
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    function = NetworkFunction(module, 2)
    theta = nn.utils.parameters_to_vector(module.parameters()).detach()
    assert torch.equal(function.initial(np.random.RandomState(0)), theta)
    x = torch.randn(5, 2, dtype=torch.float64)
    torch.testing.assert_close(function.at(x).value(theta), module(x).detach(), **close)


@pytest.mark.parametrize("name", NETWORKS)
def test_values_are_those_of_the_module(name):
    function = network(name, domain=None)
    x, theta = torch.rand(7, 2, dtype=torch.float64), parameters(function)
    nn.utils.vector_to_parameters(theta, function.module.parameters())
    torch.testing.assert_close(function.at(x).value(theta), function.module(x), **close)


def test_hooks_are_heeded():
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    module[1].register_forward_hook(lambda part, inputs, output: 2 * output)
    function, x = NetworkFunction(module, 2), torch.rand(4, 2, dtype=torch.float64)
    theta = function.initial(np.random.RandomState(0))
    expected = copy.deepcopy(module).double()(x).detach()
    torch.testing.assert_close(function.at(x).value(theta), expected, **close)


def test_the_callers_module_is_left_alone():
    module = nn.Sequential(nn.Linear(2, 3), nn.ELU(inplace=True), nn.Dropout(), nn.Linear(3, 1))
    before = copy.deepcopy(module.state_dict())
    function = NetworkFunction(module, 2)
    x = torch.randn(5, 2, dtype=torch.float64)
    function.fit(x, x[:, :1], max_iter=2, random_state=0)
    assert module.training and module[0].weight.dtype == torch.float32
    assert module[0].weight.requires_grad and module[1].inplace
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_a_domain_is_seen_as_the_unit_box():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    plain = NetworkFunction(module, 2)
    boxed = NetworkFunction(module, 2, domain=[(0.0, 4.0), (10.0, 11.0)])
    x = torch.rand(5, 2, dtype=torch.float64) * 2 - 1
    wide = torch.stack([2 * x[:, 0] + 2, (x[:, 1] + 21) / 2], 1)
    theta = parameters(plain)
    # Inputs of ten, rounded, times slopes of order ten.
    loose = {"rtol": 1e-11, "atol": 1e-12}
    torch.testing.assert_close(boxed.at(wide).value(theta), plain.at(x).value(theta), **loose)
    slopes = torch.tensor([0.5, 2.0], dtype=torch.float64)
    torch.testing.assert_close(
        boxed.at(wide).jacobian(theta), plain.at(x).jacobian(theta) * slopes, **loose
    )


def test_starts_follow_their_seed_and_leave_the_global_generators_alone():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 (the global generator is what is under test)
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for function in (network("mlp"), network("sequential"), network("layer norm")):
        torch.random.set_rng_state(states[0])
        draws = [function.initial(np.random.RandomState(7), restart) for restart in (1, 1, 2)]
        assert torch.equal(draws[0], draws[1])
        rng = np.random.RandomState(7)
        first, second = (function.initial(rng, restart) for restart in (1, 2))
        assert not torch.equal(first, second)
        assert torch.equal(torch.random.get_rng_state(), states[0])
        assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_restarts_need_a_way_to_draw_weights():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.slope * x

    function = NetworkFunction(Fixed(), 1)
    assert function.initial(np.random.RandomState(0)) == 1
    with pytest.raises(ValueError, match=r"'Fixed' has parameters but no reset_parameters"):
        function.initial(np.random.RandomState(0), restart=1)


def test_networks_fit_what_they_can_express():
    torch.manual_seed(1)
    module = MLP(MLPArchitecture((1, 4, 2), (Tanh(),)))
    function = NetworkFunction(module, 1, 2, domain=[(0.0, 2.0)])
    x = torch.linspace(0, 2, 40, dtype=torch.float64)[:, None]
    near = 0.3 * parameters(function)
    y = function.at(x).value(near)
    start = near + 0.05 * parameters(function, 2)
    theta = function.fit(x, y, start=start)
    # Quadratic convergence to a zero residual ends near the requested 1e-10 of y.
    torch.testing.assert_close(function.at(x).value(theta), y, rtol=0, atol=1e-8)


def test_networks_fit_smooth_functions_from_random_starts():
    function = NetworkFunction(MLP(MLPArchitecture((1, 8, 1), (Tanh(),))), 1, domain=[(0.0, 2.0)])
    x = torch.linspace(0, 2, 60, dtype=torch.float64)[:, None]
    theta = function.fit(x, x.exp(), random_state=0)
    assert torch.equal(theta, function.fit(x, x.exp(), random_state=0))
    # Single starts of these 25 parameters err by 1e-5 to 1.2e-4: the best of three by less.
    torch.testing.assert_close(function.at(x).value(theta), x.exp(), rtol=0, atol=1e-4)


def test_weighted_fits_of_networks_equal_repeated_points():
    function = NetworkFunction(nn.Linear(2, 1), 2)
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=(10, k))) for k in (2, 1))
    weight = torch.arange(10, dtype=torch.float64) % 3
    rows = torch.arange(10).repeat_interleave(weight.long())
    weighted = function.fit(x, y, weight, random_state=0)
    repeated = function.fit(x[rows], y[rows], random_state=0)
    exact = LinearFunction(Affine(2)).fit(x, y, weight)
    # Gauss-Newton ends when a step lowers the error by less than a share of 1e-10.
    torch.testing.assert_close(weighted, repeated, rtol=0, atol=1e-4)
    torch.testing.assert_close(weighted.roll(1), exact, rtol=0, atol=1e-4)


def test_errors_that_are_not_finite_are_reported():
    function = NetworkFunction(nn.Linear(1, 1), 1)
    x = torch.full((3, 1), np.inf, dtype=torch.float64)
    with pytest.raises(DivergenceError, match="not finite at any start"):
        function.fit(x, torch.ones_like(x), random_state=0)


# ------------------------------------------------------------------ both


@every_function
def test_functions_can_be_pickled(function, x):
    theta = parameters(function)
    again = pickle.loads(pickle.dumps(function))
    assert torch.equal(again.at(x).value(theta), function.at(x).value(theta))


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda f, x: f.at(x[:, :1]), r"x of shape \(4, 1\) must have shape \(n, 2\)"),
        (lambda f, x: f.fit(x, x[:, 0]), r"y of shape \(4,\) must have shape \(4, 1\)"),
        (lambda f, x: f.fit(x, x[:, :1], -x[:, 0]), "weight of shape.*nonnegative number"),
        (
            lambda f, x: f.at(x).pullback(f.initial(None), x[:, None, None, :1][:3]),
            r"u of shape \(3, 1, 1, 1\) must have shape \(P, Q, E, 1\) with P \* Q = 4",
        ),
    ],
    ids=["x", "y", "weight", "u"],
)
def test_wrong_shapes_are_named(ask, message):
    function = LinearFunction(Affine(2))
    x = torch.ones(4, 2, dtype=torch.float64)
    for f in (function, NetworkFunction(nn.Linear(2, 1), 2)):
        with pytest.raises(ValueError, match=message):
            ask(f, x)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LinearFunction(Chebyshev(2), 0), "n_outputs=0 must be a positive int"),
        (lambda: NetworkFunction(nn.Tanh(), 1), "module=Tanh must have parameters"),
        (lambda: NetworkFunction(nn.Linear(2, 3), 2), r"shape \(2, 3\) instead of \(2, 1\)"),
        (
            lambda: NetworkFunction(nn.Linear(1, 1), 1, domain=[(1.0, 0.0)]),
            "domain=.*two finite numbers for each of 1 inputs",
        ),
        (lambda: Discrete([]), "must be a list of finite numbers"),
        (lambda: Discrete([1.0, 2.0, 1.0]), "must be distinct"),
        (lambda: Discrete([1.0]).integral(torch.ones(1, 1)), "no antiderivative"),
    ],
    ids=["outputs", "parameters", "module", "domain", "empty", "twice", "integral"],
)
def test_wrong_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------ discrete values and nodes


@given(values=st.lists(st.integers(-50, 50), min_size=1, max_size=6, unique=True))
def test_discrete_functions_are_the_constant_and_indicators(values):
    basis = Discrete(np.array(values) / 7)
    x = torch.tensor(values, dtype=torch.float64)[:, None] / 7
    expected = np.eye(len(values))
    expected[:, 0] = 1
    np.testing.assert_array_equal(basis(x).numpy(), expected)
    assert not basis.derivative(x, 1).any()


def test_values_unknown_to_a_discrete_basis_are_named():
    basis = Discrete(CHAIN)
    assert basis.term_names(["z"]) == ["1", "[z=1]", "[z=2]"]
    nearly = torch.tensor([[0.5 * (1 + 1e-15)]], dtype=torch.float64)
    assert basis(nearly)[0].tolist() == [1, 0, 0]
    for x in (0.75, np.nan):
        with pytest.raises(DomainError, match=r"is not among the values \[0.5, 1.0, 2.0\]"):
            basis(torch.tensor([[1.0], [x]], dtype=torch.float64))


@few
@given(
    degree=st.integers(0, 4),
    counts=st.lists(st.integers(1, 5), max_size=4),
    seed=st.integers(0, 99),
)
def test_splines_interpolate_at_their_greville_nodes(degree, counts, seed):
    rng = np.random.default_rng(seed)
    # Far enough from each other for a moderate condition number.
    sites = (np.arange(1, len(counts) + 1) + rng.uniform(-0.2, 0.2, len(counts))) / (
        len(counts) + 1
    )
    repeats = [min(count, degree + 1) for count in counts]
    basis = BSpline(np.repeat(sites, repeats), degree)
    nodes = greville_nodes(basis)
    assert len(nodes) == basis.n_terms and (np.diff(nodes) > 0).all()
    assert nodes[0] >= 0 and nodes[-1] <= 1
    for site, count in zip(sites, repeats, strict=True):
        if count >= degree >= 1:
            assert (nodes == site).sum() == 1
    design = basis(torch.from_numpy(nodes)[:, None]).to_dense().numpy()
    # De Boor's bound for splines of degree up to four, with room for uneven knots.
    assert np.linalg.cond(design) < 1e3
