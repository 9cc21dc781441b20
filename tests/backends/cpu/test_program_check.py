"""The comparison of compiled code with the calls of a record, before it takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import CPU, CompiledRecord
from gpubp.backends.cpu import compiled, program_check
from gpubp.backends.cpu.backend import Program
from gpubp.backends.cpu.loops import Fused
from gpubp.backends.cpu.program_check import first_difference
from gpubp.backends.recording import Call, Record, replay_if

pytestmark = [
    pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'"),
    pytest.mark.usefixtures("compiled_at_once"),
]


def training(**options: Any) -> tuple[bp.Trainer, Callable[[], None]]:
    """A trainer, and what does an epoch of 4 steps."""
    rng = np.random.default_rng(0)
    layers = [bp.Conv2D(3, 3, padding="same"), bp.BatchNorm(), bp.ReLU(), bp.MaxPool2D(2), bp.Flatten(), bp.Dense(3)]
    net = bp.Network(bp.Sequential(*layers), (6, 6, 1), device="cpu", seed=1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=8, metrics=["accuracy"], **options)
    X, y = rng.normal(size=(32, 6, 6, 1)), rng.integers(0, 3, 32)
    return trainer, lambda: trainer.fit(X, y, epochs=1, verbose=False) and None


def bases(calls: list[Call]) -> list[Any]:
    """The memory of all arrays of these calls, each once."""
    found: dict[int, Any] = {}
    for a in program_check._arrays(calls):
        while isinstance(a.base, np.ndarray):
            a = a.base
        found[id(a)] = a
    return [a for a in found.values() if a.flags.writeable]


def bits(arrays: list[Any]) -> list[bytes]:
    return [a.tobytes() for a in arrays]


def put(arrays: list[Any], held: list[bytes]) -> None:
    for a, b in zip(arrays, held, strict=True):
        a[...] = np.frombuffer(b, a.dtype).reshape(a.shape)


def changing(a: Any, do: Callable[[], None] = lambda: None) -> Call:
    """A call that does something and then changes one bit of an array."""

    def wrong() -> None:
        do()
        a.view(f"u{a.itemsize}")[(0,) * a.ndim] ^= 1

    return Call(wrong, (), {})


def done(call: Call) -> Callable[[], None]:
    return lambda: call.function(*call.args, **call.kwargs)


@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "skip", "clip_norm": 1.0}], ids=str)
@pytest.mark.parametrize("limit", [program_check.LIMIT, 1], ids=["stretches", "call by call"])
def test_a_wrong_bit_of_any_call_is_found(options: Any, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the memory is as one replay of the calls leaves it."""
    monkeypatch.setattr(program_check, "LIMIT", limit)
    trainer, epoch = training(**options)
    epoch()
    calls = trainer.record.calls  # type: ignore[union-attr]
    memory = bases(calls)
    with trainer.backend.active():
        before = bits(memory)
        Record(calls)()
        wanted = bits(memory)
        program = Program(calls)  # which the parts need in memory
        parts = program.parts
        put(memory, before)
        assert first_difference(calls, parts) == ("", True)
        assert bits(memory) == wanted
        compared = 0
        for k, (call, part) in enumerate(zip(calls, parts, strict=True)):
            arrays = [] if part is call else [a for a in program_check._arrays([call]) if a.flags.writeable]
            for a in arrays[-1:]:
                put(memory, before)
                wrong = [*parts[:k], changing(a, done(part)), *parts[k + 1 :]]
                assert first_difference(calls, wrong)[0].startswith(f"call {k + 1} of {len(calls)}, ")
                assert bits(memory) == wanted
                compared += 1
    assert compared > 30


def test_a_write_beyond_the_arrays_of_a_call_is_found() -> None:
    x, y, z = (np.ones(3, "float32") for _ in range(3))
    calls = [Call(np.add, (x, x, y), {}), Call(np.multiply, (y, y, z), {})]
    found, _ = first_difference(calls, [Call(*calls[0]), changing(x, done(calls[1]))])
    assert found == "call 1 to 2 of 2, add(a0, a0, a1)"
    assert (x.tolist(), y.tolist(), z.tolist()) == ([1.0] * 3, [2.0] * 3, [4.0] * 3)


def test_overlapping_views_and_gaps_are_restored() -> None:
    memory = np.arange(12, dtype="float64")
    a, b = memory[:8:2], memory[4:8]
    calls = [Call(np.add, (a, b, a), {}), Call(np.add, (np.broadcast_to(memory[:1], 4), b, b), {})]
    before = memory.copy()
    Record(calls)()
    wanted = memory.tobytes()
    memory[...] = before
    assert first_difference(calls, [Call(*call) for call in calls]) == ("", True)
    assert memory.tobytes() == wanted


def test_calls_of_python_are_made_once() -> None:
    x, seen = np.ones(2), []
    add, look = Call(np.add, (x, x, x), {}), Call(lambda: seen.append(x.tolist()), (), {})
    inner = Record([add, look])
    calls = [add, look, Call(replay_if, (np.array(True), inner), {})]
    parts = [Call(*add), look, Call(replay_if, (calls[2].args[0], Record([Call(*add), look])), {})]
    assert first_difference(calls, parts) == ("", True)
    assert seen == [[2.0, 2.0], [4.0, 4.0]] and x.tolist() == [4.0, 4.0]


def test_a_guarded_update_is_compared_in_the_first_step_that_makes_it() -> None:
    x, alive = np.ones(2, "float32"), np.array(False)
    calls = [Call(replay_if, (memoryview(alive), Record([Call(np.add, (x, x, x), {})])), {})]
    program = Program(calls)
    for parts in (program.parts, [Call(*calls[0])]):
        alive[()] = False
        assert first_difference(calls, parts) == ("", False)
        alive[()] = True
        assert first_difference(calls, parts) == ("", True)
    record = CompiledRecord(calls, Program)
    alive[()] = False
    for _ in range(3):
        record()
    assert not record.seconds
    alive[()] = True
    record(), record()
    assert record.seconds and record.program is not None


def test_later_only_calls_with_a_new_loop_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def noted(calls: Any, parts: Any) -> tuple[str, bool]:
        compared.append(sum(call is not part for call, part in zip(calls, parts, strict=True)))
        return first_difference(calls, parts)

    monkeypatch.setattr(compiled, "first_difference", noted)
    monkeypatch.setattr(compiled, "LOOP_PRICE", -1.0)
    be, x = CPU(), np.ones(100, "float32")
    with be.active():
        record: Any = be.capture(
            lambda: (be.xp.exp(x, out=x), be.apply(lambda a: a * 0.5 + 1.0, x, out=x), be.xp.tanh(x, out=x))
        )
        for _ in range(6):
            record()
    assert compared == [3, 1] and record.calls[1].function.loop.address is not None
    wanted = np.ones(100, "float32")
    for _ in range(7):
        wanted = np.tanh(np.exp(wanted) * np.float32(0.5) + np.float32(1.0))
    assert x.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"workers": 2, "on_nonfinite": "skip"}], ids=str)
def test_training_goes_on_by_numpy_where_a_call_differs(
    options: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Program):
        def __init__(self, calls: Any) -> None:
            super().__init__(calls)
            k = next(k for k, call in enumerate(calls) if isinstance(call.function, Fused))
            self.parts[k] = changing(calls[k].args[-1], done(self.parts[k]))

    monkeypatch.setattr("gpubp.backends.cpu.backend.Program", Wrong)
    trainer, epoch = training(**options)
    with caplog.at_level("WARNING", "gpubp"):
        epoch()
    assert CompiledRecord.broken and trainer.record.program is None  # type: ignore[union-attr]
    assert caplog.text.count("gives other numbers than NumPy, which goes on alone: call ") == 1
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: False)
    plain, epoch = training(**options)
    epoch()
    assert trainer.network.flat.tobytes() == plain.network.flat.tobytes()
    assert dict(trainer.history) == dict(plain.history)


@pytest.mark.parametrize("value, differs", [(np.nan, False), (0.0, True), (np.inf, True)])
def test_which_nan_it_is_does_not_count(value: float, differs: bool) -> None:
    x = np.array([1.0, value], "float32")
    y = np.empty(2, "float32")
    calls = [Call(np.copyto, (y, x), {})]
    parts = [Call(np.copysign, (x, [1.0, -1.0], y), {})]
    assert bool(first_difference(calls, parts)[0]) == differs
