"""Threads of BLAS: one where it was asked for, and afterwards as many as before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import gpubp as bp
from gpubp.backends.cpu import blas_threads as blas
from gpubp.backends.cpu.blas_threads import blas_threads, one_blas_thread


def real_threads() -> int:
    return min(library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info())


@pytest.fixture
def two_threads() -> Iterator[None]:
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        if real_threads() < 2:
            pytest.skip("this BLAS has one thread")
        yield


def test_one_blas_thread_inside_and_as_before_outside(two_threads: None) -> None:
    with one_blas_thread():
        assert real_threads() == 1
    assert real_threads() == 2


def test_two_overlapping_contexts_keep_one_blas_thread(two_threads: None) -> None:
    first, second, before = one_blas_thread(), one_blas_thread(), blas_threads()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert real_threads() == 1, "the second still needs it"
    assert blas_threads() == before, "what others may plan with is what there is without them"
    second.__exit__(None, None, None)
    assert real_threads() == 2


def test_any_python_thread_can_set_one_blas_thread(two_threads: None) -> None:
    """threadpoolctl obeys the first thread of Python that sets a limit, and no other."""
    with ThreadpoolController().limit(limits=2, user_api="blas"), one_blas_thread():
        pass
    seen: list[int] = []

    def other() -> None:
        with one_blas_thread():
            seen.append(real_threads())
        seen.append(real_threads())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [1, 2] and real_threads() == 2


def test_overlapping_contexts_of_two_threads_keep_one_blas_thread(two_threads: None) -> None:
    first_in, second_in, first_out, end = (threading.Event() for _ in range(4))

    def first() -> None:
        with one_blas_thread():
            first_in.set()
            second_in.wait(10)
        first_out.set()
        end.wait(10)  # as a thread of a pool lives on

    def second() -> None:
        first_in.wait(10)
        with one_blas_thread():
            second_in.set()
            first_out.wait(10)
            assert real_threads() == 1

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    threads[1].join()
    seen = real_threads()
    end.set()
    threads[0].join()
    assert seen == 2 and second_in.is_set()


def test_a_forked_process_counts_only_the_thread_that_forked(two_threads: None) -> None:
    one, inside, out = blas._OneThread(), threading.Event(), threading.Event()

    def user() -> None:
        with one:
            inside.set()
            out.wait(10)

    thread = threading.Thread(target=user)
    thread.start()
    inside.wait(10)
    one.after_fork()
    assert one.threads() == 2
    with one:
        assert real_threads() == 1
    assert real_threads() == 2, "what there was before is put back"
    out.set()
    thread.join()


class PerThread:
    """A test double of a BLAS on OpenMP: a setting for each thread."""

    threading_layer = "openmp"

    def __init__(self) -> None:
        self.own = threading.local()

    def get_num_threads(self) -> int:
        return getattr(self.own, "number", 4)

    def set_num_threads(self, number: int) -> None:
        self.own.number = number


def test_a_blas_with_one_setting_per_thread_is_set_in_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    library = PerThread()
    controller = type("Controller", (), {"lib_controllers": [library]})
    monkeypatch.setattr(blas, "_controller", lambda: controller)
    seen: list[int] = []

    def other(inside: bool) -> None:
        if inside:
            blas.own_blas_thread()
        seen.append(library.get_num_threads())

    with one_blas_thread():
        assert library.get_num_threads() == 1 and blas_threads() >= 1
        for inside in (False, True):
            thread = threading.Thread(target=other, args=(inside,))
            thread.start()
            thread.join()
    assert seen == [4, 1] and library.get_num_threads() == 4


def test_small_steps_use_one_blas_thread(two_threads: None) -> None:
    """On a machine that others use too, two would wait for each other."""

    def seen(width: int, rows: int) -> set[int]:
        net = bp.Network(bp.Sequential(bp.Dense(width), bp.ReLU(), bp.Dense(1)), 64, device="cpu")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), batch_size=rows, workers=1)
        found = set()
        look = bp.LambdaCallback(on_epoch_end=lambda t, logs: found.add(real_threads()))
        trainer.fit(np.ones((rows, 64)), np.ones(rows), callbacks=[look])
        assert real_threads() == 2
        return found

    assert seen(32, 32) == {1}
    assert seen(2048, 128) == {2}


def mlp(*widths: int) -> list[bp.Layer]:
    return [layer for n in widths for layer in (bp.Dense(n), bp.ReLU())]


@pytest.mark.parametrize(
    ("layers", "shape", "rows", "threads"),
    [
        pytest.param(mlp(64, 32, 10), (64,), 32, 1, id="a small step"),
        pytest.param(mlp(512, 512, 10), (784,), 128, 2, id="a large step"),
        pytest.param([bp.LSTM(64)], (50, 32), 32, 1, id="small products in turn"),
        pytest.param([*mlp(64), bp.GRU(128), bp.Dense(10)], (100, 32), 64, 1, id="small products among others"),
        pytest.param([bp.Bidirectional(bp.LSTM(256))], (64, 32), 64, 2, id="large products in turn"),
    ],
)
def test_threads_are_used_for_products_that_are_worth_it(
    layers: list[bp.Layer], shape: tuple[int, ...], rows: int, threads: int, two_threads: None
) -> None:
    """A recurrent layer makes hundreds of products in turn, and on busy cores two threads wait at each of them."""
    net = bp.Network(bp.Sequential(*layers), shape, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1))
    with trainer.step_cache.blas_threads(rows):
        assert real_threads() == threads
    assert real_threads() == 2
