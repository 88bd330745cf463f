"""Schedules: formulas, equality with torch and scikit-learn, and laws of replicas."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neural_network import MLPRegressor
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

from thetalearn.solvers.gradient.schedules import (
    LEARNING_RATES,
    Adaptive,
    CallableSchedule,
    Clock,
    Constant,
    Cosine,
    InverseScaling,
    InverseTime,
    OneCycle,
    Piecewise,
    Plateau,
    SquareRoot,
    StepDecay,
    check_robbins_monro,
    make_schedule,
)

lr_scheduler = torch.optim.lr_scheduler


def at(step=0, epoch=0, samples=0, steps_per_epoch=10, total_steps=100):
    return Clock(step, epoch, samples, steps_per_epoch, total_steps)


def torch_rates(make, steps, rate=0.1):
    """The rates of a scheduler of torch for so many updates."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


# Formulas


def test_constant():
    assert [Constant().at(at(k)) for k in (0, 5, 100)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("power_t", [0.5, 0.8])
def test_inverse_scaling_is_scikit_learns(power_t):
    # After an epoch scikit-learn sets the rate of the next one.
    reference = SGDOptimizer([], 0.1, lr_schedule="invscaling", power_t=power_t)
    schedule = InverseScaling(power_t)
    for epoch in range(5):
        found = 0.1 * schedule.at(at(3 * epoch, epoch, 30 * epoch))
        assert found == pytest.approx(reference.learning_rate, rel=1e-14)
        reference.iteration_ends(30 * (epoch + 1))
    net = MLPRegressor(solver="sgd", learning_rate="invscaling", hidden_layer_sizes=2)
    net.partial_fit(np.eye(7), np.arange(7.0))
    assert net._optimizer.learning_rate == pytest.approx(1e-3 * InverseScaling().at(at(samples=7)))


def test_square_root():
    assert [SquareRoot().at(at(k)) for k in (0, 3, 8)] == [1, 1 / 2, pytest.approx(1 / 3)]


@given(st.floats(0.1, 10), st.floats(0.1, 1e4), st.floats(0.1, 10), st.integers(0, 10**6))
def test_inverse_time_writes_the_rates_of_the_book(c0, c1, c2, k):
    assert c0 / c1 * InverseTime(c1).at(at(k)) == pytest.approx(c0 / (c1 + k), rel=1e-14)
    found = c0 / c1 * InverseTime(c1 / c2).at(at(k))
    assert found == pytest.approx(c0 / (c1 + c2 * k), rel=1e-13)


def test_piecewise_is_the_schedule_of_the_book():
    schedule = Piecewise((20, 50, 70), (1.0, 0.1, 0.01, 0.001))
    for number in range(1, 101):
        expected = 1 if number <= 20 else 0.1 if number <= 50 else 0.01 if number <= 70 else 0.001
        assert schedule.at(at(step=number - 1)) == expected


def test_piecewise_in_epochs_is_torchs():
    rates = torch_rates(lambda o: lr_scheduler.MultiStepLR(o, [2, 5], gamma=0.3), 10)
    schedule = Piecewise([2, 5], [1, 0.3, 0.09], in_epochs=True)
    found = [0.1 * schedule.at(at(10 * epoch + 3, epoch)) for epoch in range(10)]
    np.testing.assert_allclose(found, rates, rtol=1e-14)
    assert hash(schedule) == hash(Piecewise((2, 5), (1, 0.3, 0.09), in_epochs=True))


def test_step_decay_is_torchs():
    rates = torch_rates(lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5), 20)
    found = [0.1 * StepDecay(3, 0.5).at(at(10 * epoch, epoch)) for epoch in range(20)]
    np.testing.assert_allclose(found, rates, rtol=1e-14)


@pytest.mark.parametrize("final", [0.0, 0.2])
def test_cosine_is_torchs(final):
    # Torch multiplies from update to update, which adds up 100 roundings.
    rates = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 100, eta_min=0.1 * final), 100)
    found = [0.1 * Cosine(final=final).at(at(k)) for k in range(100)]
    np.testing.assert_allclose(found, rates, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("warmup", [0.2, 2])
def test_cosine_rises_evenly_then_falls(warmup):
    factors = [Cosine(warmup, final=0.1).at(at(k)) for k in range(100)]
    np.testing.assert_allclose(factors[:21], np.arange(1, 22) / 21, rtol=1e-14)
    np.testing.assert_allclose(factors[60], 0.55, rtol=1e-14)
    assert (np.diff(factors[20:]) < 0).all()
    assert Cosine(warmup, final=0.1).at(at(100)) == 0.1
    assert Cosine(warmup, final=0.1).at(at(150)) == 0.1


@pytest.mark.parametrize("warmup", [0.3, 0.5, 0.77])
@pytest.mark.parametrize("steps", [10, 97])
def test_one_cycle_is_torchs(warmup, steps):
    rates = torch_rates(
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.1, total_steps=steps + 1, pct_start=warmup, cycle_momentum=False
        ),
        steps,
    )
    schedule = OneCycle(warmup)
    found = [0.1 * schedule.at(at(k, total_steps=steps + 1)) for k in range(steps)]
    np.testing.assert_allclose(found, rates, rtol=1e-12)
    end = 1 / (25 * 1e4)
    assert schedule.at(at(steps, total_steps=steps + 1)) == pytest.approx(end, rel=1e-12)
    assert schedule.at(at(2 * steps, total_steps=steps + 1)) == pytest.approx(end, rel=1e-12)


@given(st.floats(0.01, 0.99), st.integers(1, 50), st.integers(1, 5))
def test_schedules_of_short_trainings_are_rates(warmup, total, epochs):
    for schedule in (OneCycle(warmup), Cosine(warmup), Cosine(epochs)):
        for k in range(total):
            assert 0 < schedule.at(at(k, steps_per_epoch=3, total_steps=total)) <= 1


def test_a_function_of_the_clock():
    schedule = CallableSchedule(lambda clock: 1 / (1 + clock.epoch))
    pace = schedule.start(3)
    assert [pace.factors(at(epoch=e)) for e in range(3)] == [1, 1 / 2, 1 / 3]
    assert schedule.by_step


def test_schedules_by_epoch_stay_the_same_within_one():
    schedules = [make_schedule(name) for name in LEARNING_RATES]
    schedules += [Piecewise((3,), (1.0, 0.5), in_epochs=True)]
    for schedule in schedules:
        if not schedule.by_step:
            pace = schedule.start(1)
            factors = {pace.factors(at(20 + k, 2, 200)) for k in range(10)}
            assert len(factors) == 1


# Schedules that look at the losses


@given(
    losses=st.lists(
        st.sampled_from([3.0, 2.0, 1.9999, 1.0, 0.99995, -0.5, -1.0, np.nan, np.inf]), max_size=40
    ),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
)
def test_plateau_is_torchs(losses, patience, cooldown, threshold):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    reference = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=0.5,
        patience=patience,
        threshold=threshold,
        cooldown=cooldown,
        min_lr=0.001,
        eps=0,
    )
    pace = Plateau(0.5, patience, threshold, cooldown, minimum=0.01).start(1)
    for loss in losses:
        reference.step(loss)
        pace.observe([loss])
        assert 0.1 * pace.factors(at()) == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("rate", [0.1, 1e-3])
def test_adaptive_is_scikit_learns(rate):
    reference = SGDOptimizer([], rate, lr_schedule="adaptive")
    pace = Adaptive().start(1)
    while True:
        assert rate * pace.factors(at()) == pytest.approx(reference.learning_rate, rel=1e-13)
        stops = reference.trigger_stopping("", False)
        assert pace.stalled(0, rate * pace.factors(at())) is not stops
        if stops:
            break
    assert rate * pace.factors(at()) <= 1e-6


def test_other_schedules_let_the_training_stop():
    for name in LEARNING_RATES:
        assert make_schedule(name).start(2).stalled(1, 0.1) is (name == "adaptive")


def test_adaptive_rates_are_each_replicas_own():
    pace = Adaptive(divisor=2).start(3)
    assert pace.factors(at()) == 1.0
    assert pace.stalled(1, 0.1)
    np.testing.assert_array_equal(pace.factors(at()), [1, 0.5, 1])
    assert pace.stalled(0, 0.1)
    assert pace.stalled(2, 0.1)
    assert pace.factors(at()) == 0.5


replicas = st.integers(1, 4).flatmap(
    lambda k: st.lists(
        st.lists(st.sampled_from([3.0, 2.0, 1.0, np.nan]), min_size=k, max_size=k),
        min_size=6,
        max_size=20,
    )
)


def follow(pace, rows):
    """The factors after each row of losses, where a replica stalls at the loss 2."""
    out = []
    for row in rows:
        pace.observe(row)
        for k, loss in enumerate(row):
            if loss == 2.0:
                pace.stalled(k, 0.1)
        out.append(np.broadcast_to(pace.factors(at()), len(row)).copy())
    return np.array(out)


@pytest.mark.parametrize("schedule", [Adaptive(), Plateau(patience=1, cooldown=1)], ids=repr)
@given(rows=replicas)
def test_replicas_together_are_replicas_alone(schedule, rows):
    together = follow(schedule.start(len(rows[0])), rows)
    for k in range(len(rows[0])):
        alone = follow(schedule.start(1), [[row[k]] for row in rows])
        np.testing.assert_array_equal(together[:, [k]], alone)


@pytest.mark.parametrize("schedule", [Adaptive(), Plateau(patience=1, cooldown=1)], ids=repr)
@given(rows=replicas, data=st.data())
def test_kept_replicas_go_on(schedule, rows, data):
    k = len(rows[0])
    kept = data.draw(st.lists(st.integers(0, k - 1), min_size=1, unique=True))
    reference = follow(schedule.start(k), rows)
    pace = schedule.start(k)
    follow(pace, rows[:3])
    twins = [pace, copy.deepcopy(pace), pickle.loads(pickle.dumps(pace))]
    for twin in twins:
        twin.keep(kept)
        rest = follow(twin, [[row[j] for j in kept] for row in rows[3:]])
        np.testing.assert_array_equal(rest, reference[3:, kept])


def test_factors_given_out_are_not_changed_later():
    pace = Adaptive().start(2)
    pace.stalled(0, 0.1)
    before = pace.factors(at())
    pace.stalled(1, 0.1)
    np.testing.assert_array_equal(before, [0.2, 1.0])


# The Robbins-Monro conditions


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(),
        SquareRoot(),
        InverseTime(5),
        *[InverseScaling(p) for p in (0.0, 0.3, 0.5, 0.6, 0.8, 1.0, 1.2)],
    ],
    ids=repr,
)
def test_robbins_monro_by_sums_over_doubled_ranges(schedule):
    def sums(n):
        rates = np.array([schedule.at(at(k, k, k)) for k in range(n, 2 * n)])
        return rates.sum(), (rates**2).sum()

    (first, first_squares), (second, second_squares) = sums(10_000), sums(20_000)
    infinite, finite = second > 0.99 * first, second_squares < 0.99 * first_squares
    assert check_robbins_monro(schedule) is bool(infinite and finite)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Piecewise((10,), (1.0, 0.1)), False),
        (StepDecay(), False),
        (Cosine(), False),
        (OneCycle(), False),
        (Adaptive(), None),
        (Plateau(), None),
        (CallableSchedule(lambda clock: 1 / (1 + clock.step)), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_robbins_monro_of_the_others(schedule, expected):
    assert check_robbins_monro(schedule) is expected


# Specifications


def test_names():
    assert {name: make_schedule(name) for name in LEARNING_RATES} == {
        "constant": Constant(),
        "invscaling": InverseScaling(),
        "adaptive": Adaptive(),
        "sqrt": SquareRoot(),
        "inverse_time": InverseTime(),
        "step": StepDecay(),
        "cosine": Cosine(),
        "one_cycle": OneCycle(),
        "plateau": Plateau(),
    }
    assert make_schedule("invscaling", power_t=0.7) == InverseScaling(0.7)
    own = Cosine(0.1)
    assert make_schedule(own) is own
    function = len
    assert make_schedule(function) == CallableSchedule(function)


@pytest.mark.parametrize("spec", ["Constant", "piecewise", None, 0.1, ["cosine"], Cosine])
def test_unknown_names(spec):
    message = r'learning_rate=.* must be one of "constant", .*, a Schedule or a callable'
    with pytest.raises(ValueError, match=message):
        make_schedule(spec)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InverseScaling(-1), "power_t=-1 must be at least 0"),
        (lambda: InverseScaling("1"), "power_t='1' must be at least 0"),
        (lambda: InverseTime(0), "offset=0 must be positive"),
        (lambda: InverseTime(np.inf), "offset=inf must be positive"),
        (lambda: Piecewise((5, 5), (1, 1, 1)), r"boundaries=\(5, 5\) must be positive and inc"),
        (lambda: Piecewise((0,), (1, 1)), r"boundaries=\(0,\) must be positive and increase"),
        (lambda: Piecewise((5,), (1,)), r"factors=\(1,\) must be one more than the 1 boundaries"),
        (lambda: Piecewise((5,), (1, -1)), "factors=-1 must be numbers of at least 0"),
        (lambda: StepDecay(every=0), "every=0 must be an integer of at least 1"),
        (lambda: StepDecay(every=1.5), "every=1.5 must be an integer of at least 1"),
        (lambda: StepDecay(factor=1.5), r"factor=1.5 must be in \(0, 1\]"),
        (lambda: Cosine(warmup=1.0), r"warmup=1.0 must be a share in \[0, 1\), or an integer"),
        (lambda: Cosine(warmup=-1), r"warmup=-1 must be a share in \[0, 1\), or an integer"),
        (lambda: Cosine(final=1.5), r"final=1.5 must be in \[0, 1\]"),
        (lambda: OneCycle(warmup=0.0), r"warmup=0.0 must be in \(0, 1\)"),
        (lambda: OneCycle(initial_divisor=0.5), "initial_divisor=0.5 must be at least 1"),
        (lambda: OneCycle(final_divisor=0.5), "final_divisor=0.5 must be at least 1"),
        (lambda: CallableSchedule(0.1), "function=0.1 must be callable"),
        (lambda: Adaptive(divisor=1.0), "divisor=1.0 must be more than 1"),
        (lambda: Adaptive(minimum=-1.0), "minimum=-1.0 must be at least 0"),
        (lambda: Plateau(factor=1.0), r"factor=1.0 must be in \(0, 1\)"),
        (lambda: Plateau(patience=-1), "patience=-1 must be an integer of at least 0"),
        (lambda: Plateau(cooldown=0.5), "cooldown=0.5 must be an integer of at least 0"),
        (lambda: Plateau(threshold=1.0), r"threshold=1.0 must be in \[0, 1\)"),
        (lambda: Plateau(minimum=2.0), r"minimum=2.0 must be in \[0, 1\]"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", LEARNING_RATES)
def test_schedules_are_values(name):
    schedule = make_schedule(name)
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
    assert pickle.loads(pickle.dumps(schedule.start(2))).factors(at()) == schedule.start(2).factors(
        at()
    )
