"""Dropout masks: how many numbers are dropped, and that a replica's masks are its own."""

from types import SimpleNamespace

import pytest
import torch

from thetalearn.solvers.gradient import masks as module
from thetalearn.solvers.gradient.masks import MaskSource

WIDTHS = (5, 3)


def program(n_replicas, size=8, widths=WIDTHS, dtype=torch.float64):
    """What a source sees of a program: its masks, and where they are."""
    lead = () if n_replicas == 1 else (n_replicas,)
    return SimpleNamespace(
        masks=[torch.empty(*lead, size, width, dtype=dtype) for width in widths],
        inputs=torch.empty(0),
    )


def draw(source, full, epoch=0, steps=4, last=None):
    """The masks of all steps of an epoch, whose last batch may be smaller."""
    source.start_epoch(epoch, full)
    out = []
    for i in range(steps):
        current = full if last is None or i < steps - 1 else last
        source.fill(current, full)
        out.append([mask.clone() for mask in current.masks])
    return out


def of_replica(drawn, k):
    return [[mask[k] for mask in step] for step in drawn]


def equal(first, second):
    return all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_factors_keep_the_mean(rate, dtype):
    full = program(1, size=100, widths=(100,), dtype=dtype)
    drawn = draw(MaskSource([0], [(rate,)]), full, steps=20)
    factors = torch.stack([mask for (mask,) in drawn]).double()
    kept = factors != 0
    # 1 / (1 - rate) in the precision of the masks.
    exact = torch.tensor(1 / (1 - rate), dtype=dtype).double()
    assert torch.equal(factors[kept].unique(), exact[None])
    # Four standard errors of the mean of 200,000 independent factors.
    bound = 4 * (rate / (1 - rate) / factors.numel()) ** 0.5 + 1e-7
    assert abs(float(factors.mean()) - 1) <= bound


def test_numbers_are_dropped_independently():
    full = program(1, size=50, widths=(40,))
    drawn = torch.stack([mask for (mask,) in draw(MaskSource([3], [(0.3,)]), full, steps=100)])
    dropped = (drawn == 0).double() - 0.3
    # Correlations of neighbours in steps, rows and columns have standard error 1 / √200,000.
    for a, b in [
        (dropped[1:], dropped[:-1]),
        (dropped[:, 1:], dropped[:, :-1]),
        (dropped[..., 1:], dropped[..., :-1]),
    ]:
        assert abs(float((a * b).mean()) / 0.21) < 4 / a.numel() ** 0.5
    # Each of 2000 places, dropped 30 times of 100: chi-square, mean 2000 and deviation √4000.
    counts = (drawn == 0).sum(0).double()
    assert abs(float(((counts - 30) ** 2 / 21).sum()) - 2000) < 4 * 4000**0.5


@pytest.mark.parametrize("block", [1, 100, 2**18])
@pytest.mark.parametrize("n_replicas", [2, 3, 5])
def test_a_replica_has_the_same_masks_alone(n_replicas, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    seeds = [11 + k for k in range(n_replicas)]
    rates = [(0.1 + 0.1 * k, 0.5) for k in range(n_replicas)]
    stacked, last = program(n_replicas), program(n_replicas, size=3)
    source = MaskSource(seeds, rates)
    alone = [MaskSource([seed], [rate]) for seed, rate in zip(seeds, rates, strict=True)]
    for epoch in range(2):
        whole = draw(source, stacked, epoch, last=last)
        for k, single in enumerate(alone):
            own = draw(single, program(1), epoch, last=program(1, size=3))
            assert equal(of_replica(whole, k), own)


def test_in_a_single_batch_a_longer_replica_does_not_change_the_masks_of_another():
    # Folds whose sizes differ by one, in an epoch of one batch.
    seeds, rates = [1, 2], [(0.4, 0.3), (0.2, 0.6)]
    (whole,) = draw(MaskSource(seeds, rates), program(2, size=16), steps=1)
    for k in range(2):
        (own,) = draw(MaskSource(seeds[k : k + 1], rates[k : k + 1]), program(1, size=15), steps=1)
        for stacked, mask in zip(whole, own, strict=True):
            assert torch.equal(stacked[k, :15], mask)


def test_replicas_that_are_kept_go_on_as_before():
    seeds, rates = [4, 5, 6], [(0.5, 0.5), (0.3, 0.2), (0.1, 0.9)]
    whole, fewer = MaskSource(seeds, rates), MaskSource(seeds, rates)
    draw(whole, program(3)), draw(fewer, program(3))
    fewer.keep([2, 0])
    after, kept = draw(whole, program(3), epoch=1), draw(fewer, program(2), epoch=1)
    for new, old in enumerate([2, 0]):
        assert equal(of_replica(after, old), of_replica(kept, new))
    fewer.keep([1])
    alone = draw(fewer, program(1), epoch=2)
    assert equal(of_replica(draw(whole, program(3), epoch=2), 0), alone)


@pytest.mark.parametrize("block", [1, 2**18])
def test_masks_differ_between_steps_epochs_layers_and_seeds(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    widths, rates = (6, 6), (0.5, 0.5)
    drawn = []
    for seed in (0, 1, 2**31 - 1):
        for epoch in (0, 1, 199):
            source = MaskSource([seed], [rates])
            for step in draw(source, program(1, widths=widths), epoch, steps=3):
                drawn.extend(tuple(mask.flatten().tolist()) for mask in step)
    # 54 masks of 48 factors: two agree by chance once in 1e11.
    assert len(set(drawn)) == len(drawn) == 54


def test_an_epoch_can_be_drawn_again():
    source, full = MaskSource([8], [(0.5, 0.5)]), program(1)
    first = draw(source, full, epoch=3)
    draw(source, full, epoch=4)
    assert equal(draw(source, full, epoch=3), first)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    draw(MaskSource([8], [(0.5, 0.5)]), program(1))
    assert torch.equal(torch.get_rng_state(), before)
