"""The flat buffer of the parameters of K replicas: views, stacks, and what is kept of them."""

from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thetalearn.solvers.gradient.parameters import Parameters

SHAPES = {
    "coefs.0": (3, 4),
    "intercepts.0": (4,),
    "coefs.1": (4, 1),
    "intercepts.1": (1,),
    "number": (),
}
WEIGHTS = ("coefs.0", "coefs.1")
N_NUMBERS = sum(map(prod, SHAPES.values()))

replicas_of_any_number = pytest.mark.parametrize("n_replicas", [1, 2, 5])

shapes_of_all_kinds = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.integers(1, 4), max_size=3).map(tuple),
    min_size=1,
    max_size=6,
)


def make(n_replicas, **options):
    return Parameters(SHAPES, n_replicas, penalised=WEIGHTS, **options)


def numbered(parameters):
    """The same parameters, each number of which is another one."""
    parameters.theta.copy_(torch.arange(1.0, len(parameters.theta) + 1))
    return parameters


@replicas_of_any_number
def test_a_value_has_a_leading_dimension_if_there_are_several_replicas(n_replicas):
    parameters = make(n_replicas)
    lead = () if n_replicas == 1 else (n_replicas,)
    assert {n: tuple(v.shape) for n, v in parameters.values.items()} == {
        n: (*lead, *shape) for n, shape in SHAPES.items()
    }
    for name, gradient in parameters.gradients.items():
        assert gradient.shape == parameters.values[name].shape


@replicas_of_any_number
def test_values_and_gradients_are_views_of_the_flat_buffers(n_replicas):
    parameters = make(n_replicas)
    for i, name in enumerate(SHAPES, 1):
        parameters.values[name].fill_(i)
        parameters.gradients[name].fill_(-i)
    total = n_replicas * sum(i * prod(shape) for i, shape in enumerate(SHAPES.values(), 1))
    assert float(parameters.theta.sum()) == total
    assert float(parameters.gradient.sum()) == -total


@replicas_of_any_number
def test_penalised_parameters_come_first(n_replicas):
    parameters = make(n_replicas)
    for name in WEIGHTS:
        parameters.values[name].fill_(1.0)
    cut = parameters.n_penalised
    assert cut == n_replicas * (3 * 4 + 4)
    assert bool((parameters.theta[:cut] == 1).all()) and not bool(parameters.theta[cut:].any())
    assert parameters.penalised == WEIGHTS


@given(shapes=shapes_of_all_kinds, n_replicas=st.integers(1, 4), data=st.data())
def test_every_number_belongs_to_one_parameter_of_one_replica(shapes, n_replicas, data):
    penalised = data.draw(st.sets(st.sampled_from(sorted(shapes))))
    parameters = Parameters(shapes, n_replicas, penalised=penalised)
    for k in range(n_replicas):
        for view in parameters.replica(k).values():
            view.add_(1.0)
    assert parameters.size == n_replicas * sum(map(prod, shapes.values()))
    assert bool((parameters.theta[: parameters.size] == 1).all())
    assert not bool(parameters.theta[parameters.size :].any())
    assert sum(stack.numel() for stack in parameters.stacks(parameters.theta)) == parameters.size


@replicas_of_any_number
def test_a_replica_is_a_slice_of_the_values(n_replicas):
    parameters = numbered(make(n_replicas))
    for k in range(n_replicas):
        for name, view in parameters.replica(k).items():
            value = parameters.values[name]
            assert torch.equal(view, value if n_replicas == 1 else value[k])
            assert view.shape == SHAPES[name]


def test_a_replica_of_another_buffer():
    parameters = make(3)
    other = torch.arange(float(len(parameters.theta)), dtype=torch.float64)
    for name, view in parameters.replica(1, other).items():
        assert torch.equal(view, parameters.views(other)[name][1])


@replicas_of_any_number
def test_setting_a_replica_leaves_the_others_alone(n_replicas):
    parameters = numbered(make(n_replicas))
    before = parameters.theta.clone()
    last = n_replicas - 1
    values = {name: torch.full(shape, -7.0) for name, shape in SHAPES.items()}
    parameters.set_replica(last, values)
    for name, view in parameters.replica(last).items():
        assert torch.equal(view, values[name].double())
    for k in range(last):
        for name, view in parameters.replica(k).items():
            assert torch.equal(view, parameters.replica(k, before)[name])


@replicas_of_any_number
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spread_repeats_a_number_for_all_parameters_of_its_replica(n_replicas, dtype):
    parameters = make(n_replicas, dtype=dtype)
    numbers = [0.5 + k for k in range(n_replicas)]
    flat = parameters.spread(numbers)
    assert flat.dtype == dtype and flat.shape == parameters.theta.shape
    for k, number in enumerate(numbers):
        for view in parameters.replica(k, flat).values():
            assert bool((view == number).all())


@pytest.mark.parametrize("left", [[0], [3], [0, 2], [2, 0], [0, 1, 2, 3]])
def test_what_is_kept_fits_parameters_of_fewer_replicas(left):
    parameters = numbered(make(4))
    fewer = make(len(left))
    fewer.theta.copy_(parameters.keep(parameters.theta, left))
    for new, old in enumerate(left):
        for name, view in fewer.replica(new).items():
            assert torch.equal(view, parameters.replica(old)[name])


@pytest.mark.parametrize("left", [[1], [0, 2]])
def test_selected_replicas_are_copies(left):
    parameters = numbered(make(3))
    fewer = parameters.select(left)
    assert fewer.n_replicas == len(left) and fewer.n_penalised == len(left) * 16
    parameters.theta.zero_()
    for k in range(len(left)):
        assert all(bool((view > 0).all()) for view in fewer.replica(k).values())


@replicas_of_any_number
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_the_replica_with_a_bad_number_is_found(n_replicas, bad):
    for k in range(n_replicas):
        for name in SHAPES:
            parameters = numbered(make(n_replicas))
            parameters.replica(k)[name].view(-1)[-1] = bad
            assert parameters.finite(parameters.theta) == [i != k for i in range(n_replicas)]


def test_infinities_of_both_signs_do_not_hide_each_other():
    parameters = make(3)
    parameters.replica(0)["coefs.0"][0, 0] = torch.inf
    parameters.replica(2)["intercepts.0"][0] = -torch.inf
    assert parameters.finite(parameters.theta) == [False, True, False]


@replicas_of_any_number
def test_large_finite_numbers_are_finite(n_replicas):
    # Their sum is not.
    parameters = make(n_replicas, dtype=torch.float32)
    parameters.theta.fill_(3e38)
    assert parameters.finite(parameters.theta) == [True] * n_replicas
