"""Autotuning: the wrapper times kernels of the model, on the strict stand-in for CuPy, by the model's clock."""

from types import SimpleNamespace

import numpy as np
import pytest
from cublaslt_model import INTERNAL_ERROR, NOT_SUPPORTED, Kernel, Model, Queued

import strict_streams
from gpubp.backends.cuda.cublaslt import CublasLt, CublasLtUnavailable
from gpubp.backends.cuda.cublaslt_choice import AT_ONCE, ROUNDS
from strict import CUDARuntimeError, strict_cupy

TRIED = 1 + AT_ONCE * ROUNDS


class Tuned:
    """A wrapper that times its kernels, a product for it, and how often each kernel made it."""

    def __init__(self, monkeypatch, *kernels, autotune=True, library=Queued):
        self.model, self.cupy = Model(kernels=list(kernels)), strict_cupy()
        clock = SimpleNamespace(perf_counter=lambda: self.model.clock / 1000)
        monkeypatch.setattr(strict_streams, "time", clock)
        self.stream = self.cupy.cuda.Stream(non_blocking=True)
        rng = np.random.default_rng(4)
        self.host = [rng.integers(-3, 4, shape).astype("f4") for shape in ((4, 5), (5, 3), (3,))]
        with self.stream:
            self.a, self.b, self.bias = map(self.cupy.asarray, self.host)
            self.out = self.cupy.empty((4, 3), "f4")
            self.lt = CublasLt(self.cupy, 1 << 16, library=library(self.cupy, self.model), autotune=autotune)

    def product(self, **finish):
        with self.stream:
            self.lt.gemm(self.a, self.b, self.out, stream=self.stream, **finish)

    def chosen(self, **finish):
        """The kernel of the product once it is known; what it makes is right."""
        self.product(**finish)
        a, b, bias = self.host
        z = a @ b + bias * ("bias" in finish)
        np.testing.assert_array_equal(self.out.get(self.stream), np.maximum(z, 0) if "relu" in str(finish) else z)
        tried = len(self.model.made)
        self.product(**finish)
        self.stream.synchronize()
        assert len(self.model.made) == tried + 1, "nothing is timed twice"
        return self.model.made[-1]

    def times(self):
        return {kernel.number: self.model.made.count(kernel.number) for kernel in self.model.kernels}


def test_the_fastest_kernel_is_kept(monkeypatch):
    tuned = Tuned(monkeypatch, Kernel(1, milliseconds=3), Kernel(2, milliseconds=1), Kernel(3, milliseconds=2))
    assert tuned.chosen() == 2
    assert tuned.times() == {1: TRIED, 2: TRIED + 2, 3: TRIED}
    assert len(tuned.cupy.graphs) == 3 and tuned.cupy.graphs[0].names == ["cublasLtMatmul"] * AT_ONCE


def test_without_autotune_nothing_is_timed(monkeypatch):
    tuned = Tuned(monkeypatch, Kernel(1, milliseconds=3), Kernel(2, milliseconds=1), autotune=False)
    assert tuned.chosen() == 1 and tuned.times() == {1: 2, 2: 0}
    alone = Tuned(monkeypatch, Kernel(1))
    assert alone.chosen() == 1 and alone.times() == {1: 2}


def test_equal_kernels_come_in_cublas_own_order(monkeypatch):
    assert Tuned(monkeypatch, Kernel(1, milliseconds=1.02), Kernel(2)).chosen() == 1
    assert Tuned(monkeypatch, Kernel(1, milliseconds=1.04), Kernel(2)).chosen() == 2


def test_of_kernels_with_a_relu_those_that_keep_nan_are_timed(monkeypatch):
    kernels = (Kernel(1, milliseconds=1, keeps_nan=False), Kernel(2, milliseconds=3), Kernel(3, milliseconds=2))
    tuned = Tuned(monkeypatch, *kernels)
    assert tuned.chosen(epilogue="relu_bias", bias=tuned.bias) == 3
    assert tuned.times() == {1: 1, 2: 1 + TRIED, 3: 1 + TRIED + 2}


def test_what_adds_to_its_output_is_not_timed(monkeypatch):
    tuned = Tuned(monkeypatch, Kernel(1, milliseconds=3), Kernel(2, milliseconds=1))
    with tuned.stream:
        tuned.out.fill(0)
    tuned.product(accumulate=True)
    np.testing.assert_array_equal(tuned.out.get(tuned.stream), tuned.host[0] @ tuned.host[1])
    assert tuned.times() == {1: 1, 2: 0}


class Older(Queued):
    chooses_in_capture = True


def test_nothing_is_timed_while_capturing(monkeypatch):
    tuned = Tuned(monkeypatch, Kernel(1, milliseconds=3), Kernel(2, milliseconds=1), library=Older)
    tuned.stream.begin_capture()
    tuned.product()
    graph = tuned.stream.end_capture()
    assert graph.names == ["cublasLtMatmul"] and tuned.times() == {1: 0, 2: 0}


def test_a_kernel_is_chosen_after_a_capture_in_which_it_could_not_be(monkeypatch):
    tuned = Tuned(monkeypatch, Kernel(1), autotune=False)
    tuned.stream.begin_capture()
    with pytest.raises(CublasLtUnavailable, match="run the step once before capturing it"):
        tuned.product()
    tuned.stream.end_capture()
    assert tuned.chosen() == 1


def test_why_not_also_times_the_kernels(monkeypatch):
    tuned = Tuned(monkeypatch, Kernel(1, milliseconds=3), Kernel(2, milliseconds=1))
    with tuned.stream:
        assert tuned.lt.why_not(tuned.a, tuned.b, tuned.out, stream=tuned.stream) == ""
    tuned.stream.synchronize()
    assert tuned.times() == {1: TRIED, 2: TRIED}


class Stubborn(Queued):
    """Kernel 1 can't be captured, and 2 makes nothing at all, for a while or for ever."""

    answer = NOT_SUPPORTED

    def cublasLtMatmul(self, *arguments):
        number = self._model.number_of(arguments[12])
        if number == 2:
            return self.answer
        if number == 1 and self._cupy.cuda.get_current_stream().is_capturing():
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported")
        return super().cublasLtMatmul(*arguments)


class Passing(Stubborn):
    answer = INTERNAL_ERROR


class Silent(Stubborn):
    """Kernel 1 makes nothing in a capture, and says so."""

    def cublasLtMatmul(self, *arguments):
        capturing = self._cupy.cuda.get_current_stream().is_capturing()
        if self._model.number_of(arguments[12]) == 1 and capturing:
            return NOT_SUPPORTED
        return super().cublasLtMatmul(*arguments)


@pytest.mark.parametrize("library", [Stubborn, Passing, Silent])
def test_kernels_that_fail_are_passed_over(monkeypatch, library):
    kernels = [Kernel(1, milliseconds=1), Kernel(2, milliseconds=1), Kernel(3, milliseconds=3)]
    assert Tuned(monkeypatch, *kernels, library=library).chosen() == 3


def test_on_the_default_stream_they_are_timed_one_by_one(monkeypatch):
    tuned = Tuned(monkeypatch, Kernel(1, milliseconds=3), Kernel(2, milliseconds=1))
    tuned.stream.synchronize()
    tuned.stream = tuned.cupy.cuda.get_current_stream()
    assert tuned.stream.ptr == 0 and tuned.chosen() == 2
    assert not tuned.cupy.graphs and tuned.times() == {1: TRIED, 2: TRIED + 2}
