"""Kernels written by hand, built for the host as they stand, against NumPy: what moves or adds numbers, bit for bit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp as bp
from gpubp.backends import CPU
from gpubp.backends.cuda import kernels
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.kernels import Kernels
from gpubp.backends.cuda.patches import arguments, source
from host_cuda import HostKernel
from strict import StrictProducts, strict_cupy


@pytest.fixture(scope="module")
def be() -> CUDA:
    return CUDA(strict_cupy(), products=StrictProducts)


DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


# -- patches ----------------------------------------------------------------------------------------------------------


class Look(NamedTuple):
    """Windows on images of one shape: channels of x that they see, and whether taps come first in memory."""

    x: tuple[int, ...]
    windows: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    channels: slice = slice(None)
    taps_first: bool = False
    dilation: tuple[int, ...] | None = None


LOOKS = [
    Look((2, 5, 6, 3), (3, 4), (3, 3), (1, 1), (0, 0)),
    Look((2, 5, 6, 1), (5, 6), (3, 3), (1, 1), (1, 1), taps_first=True),
    Look((2, 5, 6, 4), (5, 6), (3, 3), (1, 1), (1, 1), taps_first=True),
    Look((3, 7, 8, 2), (4, 3), (3, 3), (2, 3), (1, 0)),
    Look((1, 3, 3, 2), (9, 9), (3, 3), (1, 1), (4, 4)),  # windows wholly outside the image
    Look((2, 6, 5, 6), (2, 3), (2, 3), (2, 1), (-2, 0)),  # the first window begins within: a piece of the rows
    Look((2, 6, 5, 6), (4, 5), (3, 3), (1, 1), (-3, 1)),  # and the last one ends outside
    Look((2, 6, 5, 2), (1, 5), (3, 3), (1, 1), (-5, 1)),
    Look((2, 6, 5, 2), (1, 5), (2, 2), (1, 1), (-6, 0)),  # below the image
    Look((2, 4, 5, 6), (4, 5), (3, 1), (1, 1), (1, 0), slice(2, 5)),  # the channels of a group
    Look((2, 4, 5, 6), (4, 5), (3, 3), (1, 1), (1, 1), slice(3, 4), True),
    Look((2, 4, 5, 3), (4, 5), (1, 1), (1, 1), (0, 0)),
    Look((2, 7, 6, 3), (3, 4), (3, 2), (2, 1), (1, 0), dilation=(2, 3)),
    Look((2, 4, 5, 1), (3, 9), (2, 2), (1, 1), (1, 4), taps_first=True, dilation=(3, 4)),
    Look((2, 9, 3), (4,), (3,), (2,), (-1,), dilation=(2,)),  # sequences
    Look((2, 9, 4), (9,), (2,), (1,), (3,), slice(1, 3), True, (3,)),
    Look((2, 4, 3, 5, 2), (3, 3, 2), (2, 3, 2), (1, 1, 3), (0, 1, 1), dilation=(1, 1, 2)),  # volumes
    Look((2, 3, 4, 3, 3), (2, 2, 3), (2, 2, 2), (2, 2, 1), (1, -1, 1), slice(0, 1), True),
]


def wanted(look: Look, x: np.ndarray) -> np.ndarray:
    """Number by number, as the module's text has it."""
    x = x[..., look.channels]
    out = np.zeros((len(x), *look.windows, *look.kernel, x.shape[-1]), x.dtype)
    axes, apart = len(look.stride), look.dilation or (1,) * len(look.stride)
    for n, *at in np.ndindex(out.shape[:-1]):
        of_axes = zip(at, look.stride, at[axes:], apart, look.padding)  # noqa: B905
        place = tuple(o * s + t * d - p for o, s, t, d, p in of_axes)
        if all(0 <= i < m for i, m in zip(place, x.shape[1:], strict=False)):
            out[(n, *at)] = x[(n, *place)]
    return out


def looked_at(be: Any, look: Look, x: np.ndarray) -> np.ndarray:
    """The same by a backend, into memory full of something else."""
    seen = be.to_device(x)[..., look.channels]
    places, taps = (len(x), *look.windows), (*look.kernel, seen.shape[-1])
    out = be.empty(taps + places if look.taps_first else places + taps, x.dtype)
    be.xp.copyto(out, be.constant(np.nan, x.dtype))
    if look.taps_first:
        n = out.ndim // 2
        out = out.transpose(*range(n, 2 * n), *range(n))
    with be.active():
        be.patches(seen, out=out, stride=look.stride, padding=look.padding, dilation=look.dilation)
    return be.to_host(out)


@DTYPES
@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_patches(be: CUDA, look: Look, dtype: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=look.x).astype(dtype)
    np.testing.assert_array_equal(wanted(look, x), looked_at(be, look, x))
    np.testing.assert_array_equal(wanted(look, x), looked_at(CPU(), look, x))


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[:, :, ::-1], np.s_[::-1, ::-1, ::2, ::-1]], ids=str)
@pytest.mark.parametrize("wide", [False, True])
def test_patches_of_images_seen_backwards(be: CUDA, view: Any, wide: bool, rng: np.random.Generator) -> None:
    """As a layer of one's own may hand them on."""
    look = Look((2, 5, 6, 3), (5, 4), (3, 2), (1, 1), (1, 0))
    whole = rng.normal(size=look.x)
    x = whole[view]
    right = wanted(look, x)
    place = be.empty(right.shape, x.dtype)
    with be.active():
        be.patches(be.to_device(whole)[view], out=place, stride=look.stride, padding=look.padding)
    np.testing.assert_array_equal(be.to_host(place), right)
    out = np.empty(right.shape)
    CPU().patches(x, out=out, stride=look.stride, padding=look.padding)
    np.testing.assert_array_equal(out, right)
    kernel = HostKernel("typedef double real;\n" + source(wide), "patches")
    _, values = arguments(x, out, look.stride, look.padding, (1, 1), np.uint64 if wide else np.uint32)
    out[...] = np.nan
    kernel((2,), (256,), [v.ctypes.data if isinstance(v, np.ndarray) else v for v in values])
    np.testing.assert_array_equal(out, right)


AXES = st.tuples(*(st.integers(*ends) for ends in ((1, 7), (1, 6), (1, 4), (1, 3), (-4, 4), (1, 3))))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(AXES, min_size=1, max_size=3), st.integers(1, 2), st.integers(1, 4), st.booleans(), st.data())
def test_patches_of_any_windows(
    be: CUDA, axes: Any, images: int, channels: int, taps_first: bool, data: st.DataObject
) -> None:
    ends = sorted(data.draw(st.lists(st.integers(0, channels), min_size=2, max_size=2, unique=True)))
    if len(axes) == 3:
        axes = [tuple(min(n, 3) for n in axis) for axis in axes]  # loops number by number take long
    n, o, k, s, p, d = zip(*axes, strict=True)
    look = Look((images, *n, channels), o, k, s, p, slice(*ends), taps_first, d)
    x = np.random.default_rng(images).normal(size=look.x).astype("float32")
    np.testing.assert_array_equal(wanted(look, x), looked_at(be, look, x))
    np.testing.assert_array_equal(wanted(look, x), looked_at(CPU(), look, x))


def test_padded_buffers_are_shared_and_keep_their_zeros(rng: np.random.Generator) -> None:
    """By images of one shape: more of them, fewer, and more again; and by windows that lie otherwise not at all."""
    be = CPU()
    for images in (2, 1, 3, 2):
        for padding in ((1, 1), (0, 1), (2, 0)):
            look = Look((images, 5, 6, 3), (5, 6), (3, 3), (1, 1), padding)
            x = rng.normal(size=look.x)
            np.testing.assert_array_equal(wanted(look, x), looked_at(be, look, x))
    assert len(be._patches._places) == 3 and all(len(a) == 3 for a in be._patches._places.values())


def test_patches_of_large_arrays_are_indexed_by_64_bits(be: CUDA, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a view of one image as if there were 2^20; a kernel of either width gives the same."""
    launched: dict[str, Any] = {}
    x = be.cupy.broadcast_to(be.zeros((1, 64, 64, 1), "float32"), (2**20, 64, 64, 1))
    place = be.cupy.broadcast_to(be.zeros((1,), "float32"), (2**20, 64, 64, 1, 1, 1))
    monkeypatch.setattr(
        "gpubp.backends.cuda.launches.patch_arguments", lambda *given: (1, launched.update(index=given[-1]))
    )
    monkeypatch.setattr(be._launches._kernels, "launch", lambda name, text, *_: launched.update(text=text))
    be._launches.patches(x, (1, 1), (0, 0), (1, 1), out=place)
    assert launched["index"] is np.uint64 and launched["text"] == source(wide=True)
    assert "unsigned int" not in source(wide=True) and "long" not in source(wide=False)
    look = LOOKS[3]
    a = np.random.default_rng(0).normal(size=look.x)
    out = np.empty(wanted(look, a).shape)
    kernel = HostKernel("typedef double real;\n" + source(wide=True), "patches")
    threads, values = arguments(a, out, look.stride, look.padding, (1, 1), np.uint64)
    kernel((2,), (256,), [v.ctypes.data if isinstance(v, np.ndarray) else v for v in values])
    assert threads == out.size // 9
    np.testing.assert_array_equal(out, wanted(look, a))


def test_patches_in_another_order_are_refused(be: CUDA) -> None:
    out = be.zeros((2, 3, 3, 2, 2, 4), "float32").transpose(0, 1, 2, 5, 3, 4)
    with be.active(), pytest.raises(ValueError, match="lie in memory with strides"):
        be.patches(be.zeros((2, 4, 4, 2), "float32"), out=out, stride=(1, 1), padding=(0, 0))


# -- sums -------------------------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (300, 32), (513, 33), (3000, 70), (4, 5, 6, 7)])
def test_weighted_sums_over_rows(be: CUDA, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> None:
    a, n = rng.normal(size=shape).astype(dtype), shape[-1]
    w = rng.uniform(size=(a.size // n, 1)).astype(dtype)
    exact = (a.reshape(-1, n).astype(float) * w).sum(axis=0)
    for device in (be, CPU()):
        out = device.zeros((n,), dtype)
        with device.active():
            for _ in range(2):  # the second finds the counters as the first left them
                device.weighted_sum_rows(device.to_device(a), device.to_device(w), out=out)
        np.testing.assert_allclose(device.to_host(out), exact, rtol=2e-5, atol=1e-4 if dtype == "float32" else 1e-10)


def test_weighted_sums_of_columns_with_gaps(be: CUDA, rng: np.random.Generator) -> None:
    a, w = rng.normal(size=(30, 8)), rng.uniform(size=30)
    out = be.zeros((4,), "float64")
    with be.active():
        be.weighted_sum_rows(be.to_device(a)[:, ::2], be.to_device(w), out=out)
    np.testing.assert_allclose(be.to_host(out), w @ a[:, ::2], rtol=1e-12)


def test_patches_are_cast_anew_where_others_have_taken_their_place(rng: np.random.Generator) -> None:
    """In bfloat16. P and Q of the upper layer have one size and one place, and each is cast for its own products."""
    layers = bp.Sequential(*[bp.Conv2D(4, 3, padding="same")] * 2, bp.Flatten(), bp.Dense(3))
    X, y = rng.normal(size=(6, 5, 5, 4)), rng.integers(0, 3, 6)
    steps, first = [], bp.Network(layers, X.shape[1:], device="cpu", seed=1).flat
    for backend in (CUDA(strict_cupy(), 0, "bfloat16", products=StrictProducts), "cpu"):
        net = bp.Network(layers, X.shape[1:], device=backend, seed=1)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.05), batch_size=6)
        for _ in range(4):
            trainer.step(X, y)
        steps.append(net.backend.to_host(net.flat) - first)
    assert np.abs(steps[0] - steps[1]).max() < 0.03 * np.abs(steps[1]).max()


# -- rows -------------------------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize(
    ("words", "count", "width"), [(1, 1, 1), (5, 1, 3), (7, 40, 4), (3, 500, 5), (300, 50, 2), (4, 0, 2)]
)
def test_rows_are_scattered_in_their_order(
    be: CUDA, words: int, count: int, width: int, dtype: str, rng: np.random.Generator
) -> None:
    a, rows = rng.normal(size=(count, width)).astype(dtype), rng.integers(0, words, count)
    wanted = np.zeros((words, width), dtype)
    for row, numbers in zip(rows, a, strict=True):
        wanted[row] += numbers
    for device in (be, CPU()):
        out = device.zeros((words, width), dtype)
        with device.active():
            for _ in range(2):
                device.scatter_rows(device.to_device(a), device.to_device(rows), out=out)
        np.testing.assert_array_equal(device.to_host(out), wanted)


def test_scattered_rows_of_a_slice(be: CUDA, rng: np.random.Generator) -> None:
    a, rows = rng.normal(size=(20, 6)), rng.integers(0, 4, 20)
    out, wanted = be.zeros((4, 3), "float64"), np.zeros((4, 3))
    np.add.at(wanted, rows, a[:, ::2])
    with be.active():
        be.scatter_rows(be.to_device(a)[:, ::2], be.to_device(rows), out=out)
    np.testing.assert_array_equal(be.to_host(out), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(3, 1), (5, 1, 2), (4, 1, 300), (3, 4), (5, 3, 2), (2, 7, 3, 50)], ids=str)
def test_arrays_are_written_at_a_counted_place(
    be: CUDA, shape: tuple[int, ...], dtype: str, rng: np.random.Generator
) -> None:
    """One after the other, each step of all rows at its place, the last places for all that are too many; also in a
    record."""
    given = [(rng.normal(size=shape) * 9).astype(dtype) for _ in range(5)]
    rows, steps, *rest = shape
    for device in (be, CPU()):
        places, count = device.zeros((3 * steps, rows, *rest), dtype), device.zeros((), "float64")
        a = device.zeros(shape, dtype)

        def step(device=device, places=places, count=count, a=a) -> None:
            device.write_at(places, count, a)
            device.xp.add(count, float(steps), out=count)

        with device.active():
            a[...] = device.to_device(given[0])
            again = device.capture(step)
            for numbers in given[1:]:
                a[...] = device.to_device(numbers)
                again()
        wanted = np.concatenate([of.swapaxes(0, 1) for of in (given[0], given[1], given[4])])
        np.testing.assert_array_equal(device.to_host(places), wanted)
        assert device.to_host(count) == 5 * steps


def test_empty_arrays_are_computed_without_an_error(be: CUDA) -> None:
    """CUDA refuses a launch of no blocks."""
    none, rows, step = be.zeros((0, 4), "float32"), be.zeros((0,), "int64"), be.zeros((1,), "uint64")
    sums = be.to_device(np.full(4, 7.0, "float32"))
    with be.active():
        be.gather(be.zeros((3, 4), "float32"), rows, out=none)
        be.random_mask(be.zeros((0,), "bool"), 30000, (1, 2), step)
        be.random_uniform(be.zeros((0,), "float32"), (1, 2), step)
        be.apply(lambda x: x * 2.0, none, out=none)
        be.sum_rows(none, out=sums)
    assert be.to_host(sums).tolist() == [0.0] * 4
    be.synchronize()


@pytest.mark.parametrize("types", [("float32", "float32"), ("uint8", "float32"), ("float64", "float32")], ids=str)
def test_gathered_rows(be: CUDA, types: tuple[str, str], rng: np.random.Generator) -> None:
    source, rows = (rng.normal(size=(30, 2, 5)) * 50 + 100).astype(types[0]), rng.integers(0, 30, 12)
    out = be.zeros((12, 2, 5), types[1])
    with be.active():
        be.gather(be.to_device(source), be.to_device(rows), out=out)
    np.testing.assert_array_equal(be.to_host(out), source[rows].astype(types[1]))


def test_rows_are_gathered_from_large_arrays_by_64_bits() -> None:
    """Not run: a view of one row, as often as you like."""
    be, launched = CUDA(strict_cupy()), {}
    cupy = be.cupy
    cupy.RawKernel = lambda code, name, options: lambda grid, block, args: launched.update({args[0].dtype: code})
    rows, out = be.zeros((2,), "int64"), be.zeros((2, 8), "float32")
    with be.active():
        for count in (2**28, 2**20):
            assert Kernels(cupy).gather(cupy.broadcast_to(be.zeros((8,), "float32"), (count, 8)), rows, out)
    assert [("long long size" in code, "int size" in code) for code in launched.values()] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize("size", [1, 255, 256, 1023, 1025, 2300, 4096])
def test_casts_to_bfloat16_round_ties_to_even(
    size: int, be: CUDA, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the nearest, ties to even, whatever the number of rounds; nothing behind the end is written."""
    monkeypatch.setattr(kernels, "MOST_BLOCKS", 2)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.00390625, 1.01171875, 3.4e38, 1e-45], np.float32)
    host = np.resize(np.concatenate([special, rng.standard_normal(977, np.float32)]), size)
    with be.active():
        a, out = be.to_device(host), be.to_device(np.full(size + 9, 7, np.uint16))
        be._launches.halve(a, out[:size])
    bits = host.view(np.uint32)
    right = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    found = be.to_host(out)
    np.testing.assert_array_equal(found[:size], np.where(np.isnan(host), bits >> 16 | 0x40, right))
    assert (found[size:] == 7).all()


# -- pictures ---------------------------------------------------------------------------------------------------------

MAPS = {
    "as they are": (1, 0, 0, 0, 1, 0),
    "mirrored": (1, 0, 0, 0, -1, 6),
    "moved": (1, 0, 2.25, 0, 1, -1.5),
    "moved away": (1, 0, 100, 0, 1, 0),
    "turned": (0.6, 0.8, -1.3, -0.8, 0.6, 2.9),
    "larger": (0.13, 0, 2.1, 0, 0.2, 3),
    "smaller": (3.7, 0, -5, 0, 2.9, -4),
    "sheared": (1, 0.999, 0.1, 1, 1, -2),
    "to a line": (1, 1, 0, 1, 1, 0),
    "to a point": (0, 0, 2.5, 0, 0, 3.5),
    "far apart": (1e15, 0, 0, 0, 1e15, 0),
}


@DTYPES
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("C", [1, 3])
def test_sample_adjoint_adds_in_the_order_of_the_cpu(
    be: CUDA, name: str, C: int, dtype: str, rng: np.random.Generator
) -> None:
    theta = np.array([MAPS[name], MAPS["turned"]], dtype)
    compare_adjoints(be, rng.normal(size=(2, 9, 7, C)).astype(dtype), theta)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.3, 1.0, 4.0]), st.integers(1, 12), st.integers(1, 12))
def test_sample_adjoint_of_any_map(be: CUDA, seed: int, scale: float, H: int, W: int) -> None:
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(3, 6)) * scale
    theta[:, [2, 5]] = rng.uniform(-2, [H + 2, W + 2], (3, 2))
    compare_adjoints(be, rng.normal(size=(3, H, W, 2)).astype("float32"), theta.astype("float32"))


def compare_adjoints(be: CUDA, dy: np.ndarray, theta: np.ndarray) -> None:
    """The bits of the CPU's, but that a zero may have the other sign."""
    found = []
    for device in (be, CPU()):
        out = device.zeros(dy.shape, dy.dtype)
        with device.active():
            device.sample_adjoint(device.to_device(dy), device.to_device(theta), out=out)
        found.append(device.to_host(out))
    np.testing.assert_array_equal(*found)
