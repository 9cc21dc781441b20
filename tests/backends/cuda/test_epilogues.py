"""Fused calls: which calls are fused, which are not, and that the numbers stay the same."""

import warnings

import numpy as np
import pytest
from test_reuse import NETS

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.cublaslt_layouts import CublasLtUnavailable
from gpubp.backends.cuda.effects import is_read
from gpubp.backends.cuda.epilogues import fuse
from gpubp.backends.recording import Call
from gpubp.formula import maximum
from strict import LosingNaN, Masking0, Misreading, StrictProducts, strict_cupy


def relu(x):
    return maximum(x, 0.0)


def slope(x, y, dy):
    return dy * (y > 0.0)


class Arrays:
    """A few matrices at fixed places: `big` is one stretch of memory, of which others are parts."""

    def __init__(self, be, rng):
        self.be, self.xp = be, be.xp
        for name, shape in {
            "a": (6, 4), "b": (4, 8), "bias": (8,), "r": (6, 8), "w": (8, 4), "dy": (6, 4), "dW": (8, 4), "db": (8,),
            "out": (6, 8), "spare": (6, 8),
        }.items():  # fmt: skip
            setattr(self, name, be.to_device(rng.normal(size=shape), "float64"))
        self.big = be.to_device(rng.normal(size=(96,)), "float64")
        self.y = self.big[:48].reshape(6, 8)
        self.other = self.big[40:88].reshape(6, 8)  # overlaps y

    def forward(self):
        self.be.gemm(self.a, self.b, out=self.y)
        self.xp.add(self.y, self.bias, out=self.y)
        self.be.apply(relu, self.y, out=self.r)

    def backward(self, dz=None):
        dz = self.y if dz is None else dz
        self.be.gemm(self.dy, self.w.T, out=self.y)
        self.be.apply(slope, self.y, self.r, self.y, out=dz)
        return dz

    def numbers(self):
        return {n: self.be.to_host(a) for n, a in vars(self).items() if n not in ("be", "xp", "y", "other")}


def written_over(s):
    s.forward()
    s.xp.multiply(s.r, 2.0, out=s.y)
    s.xp.add(s.y, s.spare, out=s.out)


def read_later(s):
    s.forward()
    s.xp.multiply(s.y, 2.0, out=s.out)


def read_in_the_next_step(s):
    s.xp.multiply(s.y, 2.0, out=s.out)
    s.forward()


def read_where_it_is_not_written_over(s):
    s.forward()
    s.xp.multiply(s.r, 2.0, out=s.other)
    s.xp.add(s.y, s.spare, out=s.out)


def with_its_gradient(s):
    s.forward()
    dz = s.backward()
    s.be.gemm(s.r.T, s.dy, out=s.dW)
    s.be.sum_rows(dz, out=s.db)


def another_value_where_the_mask_was_made(s):
    s.forward()
    s.xp.multiply(s.spare, 1.0, out=s.r)
    dz = s.backward()
    s.be.sum_rows(dz, out=s.db)


def another_value_is_summed(s):
    s.forward()
    s.backward()
    s.xp.multiply(s.spare, s.y, out=s.y)
    s.be.sum_rows(s.y, out=s.db)


def the_sum_is_needed_before(s):
    s.forward()
    dz = s.backward()
    s.xp.add(s.spare, s.db, out=s.spare)
    s.be.sum_rows(dz, out=s.db)


STEPS = {
    written_over: ["relu_bias", "multiply", "add"],
    read_later: ["bias", "relu_kernel", "multiply"],
    read_in_the_next_step: ["multiply", "bias", "relu_kernel"],
    read_where_it_is_not_written_over: ["bias", "relu_kernel", "multiply", "add"],
    with_its_gradient: ["relu_aux_bias", "drelu_bgrad", "gemm"],
    another_value_where_the_mask_was_made: ["relu_bias", "multiply", "gemm", "slope_kernel", "sum_rows"],
    another_value_is_summed: ["relu_aux_bias", "drelu", "multiply", "sum_rows"],
    the_sum_is_needed_before: ["relu_aux_bias", "drelu", "add", "sum_rows"],
}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_calls_are_fused_only_if_results_stay_the_same(step):
    cupy, results = strict_cupy(), []
    for be in (CUDA(cupy, products=StrictProducts), get_backend("cpu")):
        arrays = Arrays(be, np.random.default_rng(3))
        with be.active():
            again = be.capture(lambda arrays=arrays: step(arrays))
            for _ in range(3):
                again()
        results.append(arrays.numbers())
    assert cupy.graphs[-1].names == STEPS[step]
    for name, wanted in results[1].items():
        if name == "big" and step in (written_over,):
            continue
        np.testing.assert_allclose(results[0][name], wanted, rtol=1e-12, atol=1e-12, err_msg=name)


def read_later_and_backward(s):
    read_later(s)
    s.backward(s.spare)


BY_OWN_KERNEL = {
    with_its_gradient: ["bias", "rectify", "drelu_bgrad", "gemm"],
    another_value_where_the_mask_was_made: ["bias", "relu_kernel", "multiply", "gemm", "slope_kernel", "sum_rows"],
    another_value_is_summed: ["bias", "rectify", "drelu", "multiply", "sum_rows"],
    the_sum_is_needed_before: ["bias", "rectify", "drelu", "add", "sum_rows"],
    read_later: ["bias", "relu_kernel", "multiply"],
    read_later_and_backward: ["bias", "rectify", "multiply", "drelu"],
}


@pytest.mark.parametrize("step", BY_OWN_KERNEL, ids=lambda step: step.__name__)
def test_where_cublas_has_no_relu_an_own_kernel_makes_its_mask(step):
    cupy, results = strict_cupy(), []
    for products in (LosingNaN, Misreading):
        be = CUDA(cupy, products=products)
        arrays = Arrays(be, np.random.default_rng(3))
        with be.active():
            again = be.capture(lambda arrays=arrays: step(arrays))
            for _ in range(3):
                again()
        results.append((arrays.numbers(), cupy.graphs[-1].names))
    (found, names), (wanted, plain) = results
    assert names == BY_OWN_KERNEL[step]
    assert not {"rectify", "drelu", "drelu_bgrad"} & set(plain)
    for name in wanted:
        if name == "big" and step is read_later_and_backward:
            continue  # dx is not written where it is joined with dz, and nobody reads it
        if name == "db" and "drelu_bgrad" in names:  # which sums in another order
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12)
        else:
            assert found[name].tobytes() == wanted[name].tobytes(), name


@pytest.mark.parametrize("dtype, precision", [("float32", "float32"), ("float64", "float32"), ("float32", "bfloat16")])
@pytest.mark.parametrize("products", [LosingNaN, Masking0])
def test_an_own_mask_has_the_bits_of_one_of_cublas(products, dtype, precision, rng):
    X, y, came = rng.normal(size=(24, 5)), rng.integers(0, 3, 24), []
    X[::3] = 0.0  # so that with biases of 0 there are numbers 0 before the ReLU
    for made in (products, StrictProducts):
        cupy = strict_cupy()
        be = CUDA(cupy, precision=precision, products=made)
        net = bp.Network(bp.mlp(3, (130, 9)), 5, device=be, dtype=dtype, seed=1)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=8, seed=2)
        trainer.fit(X, y, epochs=3, verbose=False)
        came.append((be.to_host(net.flat).tobytes(), cupy.graphs[0].names))
    (found, names), (wanted, of_cublas) = came
    assert names.count("rectify") == names.count("drelu_bgrad") == 2 and len(names) == len(of_cublas) + 2
    assert of_cublas.count("relu_aux_bias") == 2 and found == wanted


def test_a_product_with_an_own_mask_that_fails_takes_its_backward_with_it():
    """The mask is not made then, and what would read it makes the plain calls."""

    class Failing(LosingNaN):
        fails = False

        def gemm(self, *arrays, **options):
            if self.fails and options.get("epilogue") == "bias":
                raise CublasLtUnavailable("it fails")
            return super().gemm(*arrays, **options)

    results, lengths = [], []
    for products in (Failing, Misreading):
        be, calls = CUDA(strict_cupy(), products=products), []
        arrays = Arrays(be, np.random.default_rng(3))
        Failing.fails = False
        with be.active():
            be._calls = calls
            with_its_gradient(arrays)
            be._calls = None
            fused = fuse(calls, be._launches, be.zeros)
            Failing.fails = True
            for function, args, kwargs in fused:
                function(*args, **kwargs)
        results.append(arrays.numbers())
        lengths.append(len(fused))
    assert lengths == [3, 6]
    for name, wanted in results[1].items():
        assert results[0][name].tobytes() == wanted.tobytes(), name


def test_a_value_ends_when_all_of_it_is_overwritten():
    be = CUDA(strict_cupy(), products=StrictProducts)
    a, other = be.zeros((12,), "float32"), be.zeros((12,), "float32")
    write = lambda part: Call(be.cupy.add, (other[: len(part)], 1.0), {"out": part})  # noqa: E731
    read = Call(be.cupy.add, (a, 1.0), {"out": other})
    unknown = Call(lambda a: None, (a,), {})
    seen = lambda *calls: is_read(a, calls, be._launches)  # noqa: E731
    assert not seen() and not seen(write(a)) and seen(read) and seen(unknown)
    assert not seen(write(a), read) and seen(write(a[:6]), read) and seen(write(a[3:9]), read)
    assert not seen(write(a[6:]), None, write(a[:7]), read) and seen(write(a[6:]), write(a[:5]), read)
    assert seen(write(a[::2]), write(a[1::2]), read), "nobody looks so closely"
    two = lambda *parts: Call(be._launches.formula, (lambda x: (x, x + 1.0), other[: len(parts[0])]), {"out": parts})  # noqa: E731
    assert not seen(two(a[::2], a[1::2]), read), "one call that fills the gaps"
    assert seen(two(a[::3], a[1::3]), read) and seen(two(a[:10:2], a[1:11:2]), read)
    assert seen(Call(be.cupy.copyto, (a, other), {"where": other}), read)


@pytest.mark.parametrize("name", NETS)
def test_memory_is_used_again_with_the_same_bits(name, rng, monkeypatch):
    layers, shape = NETS[name]
    X, y = rng.normal(size=(32, *shape)), rng.integers(0, 3, 32)
    came = []
    for reuses in (True, False):
        monkeypatch.setattr(CUDA, "reuses_memory", reuses)
        be = CUDA(strict_cupy(), products=StrictProducts)
        net = bp.Network(bp.Sequential(*layers), shape, device=be, seed=1)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16)
        trainer.fit(X, y, epochs=4)
        ends = [span for ws in trainer.step_cache.last_step.ws.walk() for n, a in vars(ws).items() if n in ("y", "dx")
                for span in [(a.data.ptr // 512, -(-(a.data.ptr + a.nbytes) // 512))]]  # fmt: skip
        blocks = {block for low, high in ends for block in range(low, high)}
        came.append((be.to_host(net.flat), be.to_host(net.states.flat), len(blocks)))
    np.testing.assert_array_equal(came[0][0], came[1][0])
    np.testing.assert_array_equal(came[0][1], came[1][1])
    assert came[0][2] < came[1][2]


# -- NaN --------------------------------------------------------------------------------------------------------------


class HidingNaN(LosingNaN):
    """The same, with nobody who knows."""

    def why_not(self, *arrays, **options):
        return StrictProducts.why_not(self, *arrays, **options)


def with_a_nan(products, guard=None):
    """Losses of a network with a NaN among its first weights."""
    cupy = strict_cupy()
    device = "cpu" if products is None else CUDA(cupy, products=products)
    net = bp.Network(bp.mlp(3, (8, 8)), 5, device=device, seed=1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=4, on_nonfinite=guard)
    net.parameters["0.W"][2, 3] = float("nan")
    rng = np.random.default_rng(0)
    return cupy, trainer.fit(rng.normal(size=(16, 5)), rng.integers(0, 3, 16), epochs=2)["loss"]


@pytest.mark.parametrize("products", [None, StrictProducts, LosingNaN])
def test_a_nan_is_seen_wherever_the_cpu_sees_it(products):
    cupy, losses = with_a_nan(products)
    assert np.isnan(losses).all()
    with pytest.raises(bp.NonFiniteError, match='layer "0"'):
        with_a_nan(products, "raise")
    if products is LosingNaN:
        names = cupy.graphs[0].names
        assert names.count("relu_aux_bias") == 0 and names.count("bias") == 3 and names.count("rectify") == 2
        assert names.count("drelu_bgrad") == 2 and names.count("bgrada") == 1


def test_a_relu_epilogue_that_loses_nan_would_hide_it():
    """Else the test above could not fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(with_a_nan(HidingNaN)[1]).all()
