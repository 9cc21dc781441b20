"""The numbers of schedules, against PyTorch's and against slow readings of their formulas; schedules of schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.config import from_config
from gpubp.errors import ExactError
from gpubp.schedules import require_exact_rates

TORCH: list[tuple[bp.Schedule, float, Callable[[Any, Any], Any]]] = [
    # (ours, the learning rate that PyTorch's optimizer has, (torch.optim.lr_scheduler, optimizer) -> its schedule)
    (bp.LinearDecay(0.1, 20, final=0.02), 0.2, lambda s, o: s.LinearLR(o, 0.5, 0.1, 20)),
    (bp.LinearDecay(0.02, 20, final=0.2), 0.2, lambda s, o: s.LinearLR(o, 0.1, 1.0, 20)),
    (bp.PolynomialDecay(0.2, 20, power=2), 0.2, lambda s, o: s.PolynomialLR(o, 20, 2.0)),
    (bp.PolynomialDecay(0.2, 20, power=0.7), 0.2, lambda s, o: s.PolynomialLR(o, 20, 0.7)),
    (bp.ExponentialDecay(0.2, 0.9, steps=1), 0.2, lambda s, o: s.ExponentialLR(o, 0.9)),
    (bp.CosineDecay(0.2, 59, final=0.01), 0.2, lambda s, o: s.CosineAnnealingLR(o, 59, 0.01)),
    (bp.JoinedSchedules((0.05, 0.2), (7,)), 0.2, lambda s, o: s.ConstantLR(o, 0.25, 7)),
    (bp.StepDecay(0.2, 0.3, 7), 0.2, lambda s, o: s.StepLR(o, 7, 0.3)),
    (bp.MultiStepDecay(0.2, (7, 30, 31), 0.3), 0.2, lambda s, o: s.MultiStepLR(o, [7, 30, 31], 0.3)),
    (bp.CosineRestarts(0.2, 9, 1.0, final=0.01), 0.2, lambda s, o: s.CosineAnnealingWarmRestarts(o, 9, 1, 0.01)),
    (bp.CosineRestarts(0.2, 4, 3.0), 0.2, lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 3)),
    (bp.CyclicRate(0.1, 0.5, 6, 11), 0.1, lambda s, o: s.CyclicLR(o, 0.1, 0.5, 6, 11)),
    (bp.CyclicRate(0.1, 0.5, 6, factor=0.5), 0.1, lambda s, o: s.CyclicLR(o, 0.1, 0.5, 6, mode="triangular2")),
    (
        bp.CyclicRate(0.1, 0.5, 6, decay=0.99),
        0.1,
        lambda s, o: s.CyclicLR(o, 0.1, 0.5, 6, mode="exp_range", gamma=0.99),
    ),
    # PyTorch counts a cycle of 60 steps from 0 to 59, and its rise of 18 from 0 to 17
    (bp.OneCycle(0.5, 59, rise=17 / 59, end_of="start"), 0.1, lambda s, o: s.OneCycleLR(o, 0.5, 60)),
    (
        bp.OneCycle(0.5, 59, rise=11 / 59, start=10.0, end=5.0, end_of="start"),
        0.1,
        lambda s, o: s.OneCycleLR(o, 0.5, 60, pct_start=0.2, div_factor=10.0, final_div_factor=5.0),
    ),
    (bp.Warmup(0.2, 10, start=0.05), 0.2, lambda s, o: s.LinearLR(o, 0.25, 1.0, 10)),
    (
        bp.JoinedSchedules((bp.LinearDecay(0.02, 5, 0.2), bp.ExponentialDecay(0.2, 0.9, 1)), (5,)),
        0.2,
        lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 5), s.ExponentialLR(o, 0.9)], [5]),
    ),
]


@pytest.mark.parametrize(("ours", "rate", "theirs"), TORCH, ids=lambda x: repr(x) if isinstance(x, bp.Schedule) else "")
@pytest.mark.filterwarnings("ignore:.*epoch parameter.*")
def test_rates_are_pytorchs(ours: bp.Schedule, rate: float, theirs: Callable[[Any, Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate, momentum=0.9)
    schedule, found = theirs(torch.optim.lr_scheduler, optimizer), []
    for _ in range(60):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(found) < 60:
            schedule.step()
    np.testing.assert_allclose([ours(t) for t in range(60)], found, rtol=1e-9, atol=1e-15)


def restarts(rate: float, steps: int, longer: float, higher: float, final: float) -> Iterator[float]:
    """The rates of SGDR, descent by descent; lengths are whole."""
    length, height = steps, rate - final
    while True:
        for s in range(length):
            yield final + height * (1 + math.cos(math.pi * s / length)) / 2
        length, height = round(length * longer), height * higher


def test_restarts_are_descents_one_after_another() -> None:
    schedule, slow = bp.CosineRestarts(0.3, 4, 1.5, 0.8, 0.02), restarts(0.3, 4, 1.5, 0.8, 0.02)
    np.testing.assert_allclose([schedule(t) for t in range(4 + 6 + 9)], [next(slow) for _ in range(19)], rtol=1e-13)
    constant = bp.CosineRestarts(0.3, 7, steps_factor=1)
    assert [constant(t) for t in range(7)] == [constant(t + 7 * 10**9) for t in range(7)], "far out, at once"


def test_the_root_is_the_papers() -> None:
    """d^-½ min(s^-½, s w^-3/2), s = 1, 2, ... (Vaswani et al. 2017)"""
    d, w = 64, 30
    schedule = bp.InverseSquareRoot(1 / math.sqrt(d * w), steps=w)
    paper = [d**-0.5 * min(s**-0.5, s * w**-1.5) for s in range(1, 200)]
    np.testing.assert_allclose([schedule(t) for t in range(199)], paper, rtol=1e-13)


def test_steps_are_those_of_lists() -> None:
    pieces = bp.PiecewiseConstant([3, 5], [0.3, 0.2, 0.1])
    assert [pieces(t) for t in range(8)] == [0.3] * 3 + [0.2] * 2 + [0.1] * 3
    assert bp.PiecewiseConstant((), (0.3,))(5) == bp.MultiStepDecay(0.3, ())(5) == 0.3
    assert from_config(pieces.config())(4) == 0.2 and repr(pieces) == "PiecewiseConstant((3, 5), (0.3, 0.2, 0.1))"


def test_a_line_is_a_polynomial_of_power_1() -> None:
    line, power = bp.LinearDecay(0.3, 7, 0.05), bp.PolynomialDecay(0.3, 7, 0.05)
    assert [line(t) for t in range(10)] == [power(t) for t in range(10)]


def test_warmup_from_a_rate_is_a_line_to_the_schedule() -> None:
    """Of Keras's CosineDecay with warmup_target, and of optax.warmup_cosine_decay_schedule."""
    schedule = bp.Warmup(bp.CosineDecay(0.4, 30), steps=10, start=0.0)
    assert [schedule(t) for t in (0, 5, 10)] == [0.0, 0.2, 0.4]
    assert schedule(25) == bp.CosineDecay(0.4, 30)(15)
    falling = bp.Warmup(0.1, steps=4, start=0.5)
    np.testing.assert_allclose([falling(t) for t in range(6)], [0.5, 0.4, 0.3, 0.2, 0.1, 0.1], rtol=1e-13)
    assert "start" in bp.Warmup(0.1, 4).config() and from_config({"class": "Warmup", "after": 0.1, "steps": 4})(0) == (
        0.1 / 4
    ), "files written before it had a start"


def test_the_end_of_one_cycle_is_of_the_peak_unless_told_otherwise() -> None:
    old = from_config({"class": "OneCycle", "rate": 1.0, "steps": 10, "rise": 0.3, "start": 25.0, "end": 1e4})
    assert old(10) == 1e-4 and bp.OneCycle(1.0, 10, end_of="start")(10) == 1e-4 / 25


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.Warmup(0.1, start=-1.0), "Warmup needs start to be a number, 0 or more, or None"),
        (lambda: bp.OneCycle(0.1, 5, end_of="top"), 'OneCycle needs end_of to be "peak", or "start"'),
        (lambda: bp.MultiStepDecay(0.1, (5, 5)), r"milestones that rise from one to the next, and got \(5, 5\)"),
        (lambda: bp.MultiStepDecay(0.1, (0, 5)), "MultiStepDecay needs milestones to be a whole number, 1 or more"),
        (lambda: bp.PiecewiseConstant((9, 5), (1, 2, 3)), "PiecewiseConstant needs boundaries that rise"),
        (lambda: bp.PiecewiseConstant((5,), (0.1,)), "one rate more than boundaries, which are 1, and got 1 rates"),
        (lambda: bp.PiecewiseConstant((5,), (0.1, -0.1)), "PiecewiseConstant needs rates to be a number, 0 or more"),
        (lambda: bp.PolynomialDecay(0.1, 5, power=0.0), "PolynomialDecay needs power to be a number, above 0"),
        (lambda: bp.LinearDecay(0.1, 5, final=-0.1), "LinearDecay needs final to be a number, 0 or more"),
        (lambda: bp.CosineRestarts(0.1, 5, 0.5), "CosineRestarts needs steps_factor to be a number, 1 or more"),
        (lambda: bp.CyclicRate(0.1, 0.5, factor=1.5), "CyclicRate needs factor to be a number, from 0 to 1"),
        (lambda: bp.CyclicRate(0.1, 0.5, steps_down=0), "CyclicRate needs steps_down to be a whole number, 1 or more"),
        (lambda: bp.InverseSquareRoot(0.1, steps=0), "InverseSquareRoot needs steps"),
        (lambda: bp.JoinedSchedules((0.1, 0.2), ()), "one schedule more than boundaries, which are 0, and got 2"),
        (lambda: bp.JoinedSchedules((0.1, -0.2), (5,)), "JoinedSchedules needs a learning rate that is a finite"),
        (lambda: bp.JoinedSchedules((0.1, 0.2, 0.3), (5, 4)), "JoinedSchedules needs boundaries that rise"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_refused_when_it_is_made(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_what_a_joined_schedule_gives_is_named() -> None:
    class Late(bp.Schedule):
        def __call__(self, t: int) -> Any:
            return -1.0

    joined = bp.JoinedSchedules((0.1, Late()), (3,))
    assert joined(2) == 0.1
    with pytest.raises(ValueError, match=r"Late\(\) gave -1.0 as a rate of JoinedSchedules \(0 was its argument\)"):
        joined(3)
    with pytest.raises(ExactError, match="does not say whether it has the same bits everywhere"):
        require_exact_rates(joined)
    with pytest.raises(TypeError, match="write a class with the base gpubp.Schedule"):
        bp.JoinedSchedules((0.1, lambda t: 0.1), (3,))  # type: ignore[arg-type]


def test_joined_schedules_are_saved_with_a_training_and_go_on(tmp_path: Any) -> None:
    X, y = np.eye(4), np.ones(4)
    schedule = bp.JoinedSchedules([bp.Warmup(0.3, 3, start=0.0), bp.CyclicRate(0.01, 0.3, 2)], [5])

    def trainer() -> bp.Trainer:
        net = bp.Network(bp.Dense(1), 4, device="cpu", seed=1)
        return bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(schedule), batch_size=2)

    whole, first, second = trainer(), trainer(), trainer()
    whole.fit(X, y, epochs=5)
    first.fit(X, y, epochs=2)
    first.save(tmp_path / "a.safetensors")
    second.resume(tmp_path / "a.safetensors")
    second.fit(X, y, epochs=3)
    assert second.step_count == 10 and np.array_equal(whole.network.flat, second.network.flat)
