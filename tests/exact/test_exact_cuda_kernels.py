"""The kernels of exact numerics on CUDA, built for the host as they stand: the bits of the CPU."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("numba")

from gpubp import formula
from gpubp.backends.cpu.exact.backend import ExactCPU
from gpubp.backends.cpu.exact.product import product as product_on_cpu
from gpubp.backends.cuda.exact import product as division
from gpubp.backends.cuda.exact.backend import ExactCUDA
from gpubp.backends.cuda.exact.compiler import OPTIONS
from gpubp.backends.cuda.exact.product import Products, plan, source
from gpubp.errors import DeviceError, ExactError
from gpubp.formula.elementary import NAMES, into
from strict import StrictError
from strict_exact import WANTED, exact_cupy

DTYPES = ["float32", "float64"]


@pytest.fixture(scope="module")
def be():
    return ExactCUDA(exact_cupy())


@pytest.fixture(scope="module")
def cpu():
    return ExactCPU()


@pytest.fixture(autouse=True, scope="module")
def own_folder(tmp_path_factory):
    """For cubins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUPY_CACHE_DIR", str(tmp_path_factory.mktemp("cubins")))
        yield


def numbers(rng, shape, dtype):
    """Normal ones of many sizes, zeros of both signs and subnormal ones among them."""
    a = rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 3, shape)
    tiny = np.finfo(dtype).tiny
    for every, value in ((7, 0.0), (11, -0.0), (13, 0.3 * tiny), (17, 5.0 * tiny)):
        a.reshape(-1)[every - 1 :: every] = value
    return a.astype(dtype)


def assert_bits(got, want):
    """Equal to the bit; NaN is NaN."""
    assert got.shape == want.shape and got.dtype == want.dtype
    real = ~np.isnan(want) if want.dtype.kind == "f" else np.ones(want.shape, bool)
    np.testing.assert_array_equal(real, got == got)
    assert got[real].tobytes() == want[real].tobytes()


SHAPES = [
    (1, 1, 1, 1), (3, 130, 5, 1), (20, 0, 17, 1), (20, 300, 18, 1), (17, 5000, 20, 100), (17, 400, 20, 10),
    (4, 3000, 4, 100), (1, 20000, 1, 1), (130, 70, 67, 1), (16, 1000, 16, 333),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("M", "K", "N", "terms"), SHAPES)
def test_products(be, rng, dtype, M, K, N, terms):
    a, b = numbers(rng, (M, K), dtype), numbers(rng, (K, N), dtype)
    want = product_on_cpu(a, b, np.empty((M, N), dtype), terms)
    out = be.zeros((M, N), dtype)
    be.run(be._launches.product, be.to_device(a), be.to_device(b), out=out, terms=terms)
    assert_bits(be.to_host(out), want)


@pytest.mark.parametrize("how", range(8))
def test_products_of_transposed_matrices(be, rng, how):
    a, b = numbers(rng, (20, 300), "float32"), numbers(rng, (300, 18), "float32")
    want = product_on_cpu(a, b, np.empty((20, 18), "float32"))
    of_a, of_b = (be.to_device(x.T).T if how >> k & 1 else be.to_device(x) for k, x in enumerate((a, b)))
    out = be.zeros((18, 20), "float32").T if how >> 2 & 1 else be.zeros((20, 18), "float32")
    be.gemm(of_a, of_b, out)
    assert_bits(be.to_host(out), want)


@pytest.mark.parametrize(("enough", "most"), [(1, 6), (1, 2), (4, 1), (3, 3), (1000, 6)])
@pytest.mark.parametrize(("M", "K", "N", "terms"), [(17, 3000, 18, 1), (16, 3000, 16, 300), (3, 3000, 4, 130)])
def test_no_division_into_runs_changes_a_bit(be, rng, monkeypatch, enough, most, M, K, N, terms):
    """Few or many runs, and deep or shallow stacks of sums: a GPU with other plans has the same bits."""
    for name, value in (("BLOCKS", enough), ("PARTS", 16 * enough), ("LEVELS", most), ("WIDTH", 2 * enough)):
        monkeypatch.setattr(division, name, 1 << value.bit_length() if name == "WIDTH" else value)
    plan.cache_clear()
    try:
        a, b = numbers(rng, (M, K), "float32"), numbers(rng, (K, N), "float32")
        want = product_on_cpu(a, b, np.empty((M, N), "float32"), terms)
        out = be.zeros((M, N), "float32")
        be.run(be._launches.product, be.to_device(a), be.to_device(b), out=out, terms=terms)
        assert_bits(be.to_host(out), want)
    finally:
        plan.cache_clear()


@pytest.mark.parametrize(("M", "K", "N", "rows"), [(130, 140, 20, 8), (3, 200, 5, 1)])
def test_large_tiles_and_indices_of_64_bits(be, rng, monkeypatch, M, K, N, rows):
    monkeypatch.setattr(division, "BLOCKS", 2)
    monkeypatch.setattr(division, "WIDE", 1)
    plan.cache_clear()
    a, b = numbers(rng, (M, K), "float32"), numbers(rng, (K, N), "float32")
    out = be.zeros((M, N), "float32")
    assert plan(M, N, K, 1, 1, 4).rows == rows
    be.gemm(be.to_device(a), be.to_device(b), out)
    plan.cache_clear()
    assert_bits(be.to_host(out), product_on_cpu(a, b, np.empty((M, N), "float32")))


@pytest.mark.parametrize("dtype", DTYPES)
def test_stacks_of_products(be, cpu, rng, dtype):
    a, b = numbers(rng, (3, 4, 20, 9), dtype), numbers(rng, (3, 4, 9, 70), dtype)
    want = cpu.batched_gemm(a, b, np.empty((3, 4, 20, 70), dtype))
    out = be.zeros(want.shape, dtype)
    heads = be.zeros((3, 20, 4, 70), dtype).transpose(0, 2, 1, 3)
    be.batched_gemm(be.to_device(a), be.to_device(b), out)
    be.batched_gemm(be.to_device(a), be.to_device(b.swapaxes(2, 3)).swapaxes(2, 3), heads)
    assert_bits(be.to_host(out), want)
    assert_bits(be.to_host(heads), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (300, 33), (5, 7, 7, 3), (3, 10, 10, 4), (2000, 2)])
def test_sums_over_rows(be, cpu, rng, shape, dtype):
    a, w = numbers(rng, shape, dtype), numbers(rng, shape[:-1], dtype).reshape(-1)
    want, out = np.empty(shape[-1], dtype), be.zeros(shape[-1:], dtype)
    cpu.sum_rows(a, want)
    be.sum_rows(be.to_device(a), out)
    assert_bits(be.to_host(out), want)
    cpu.weighted_sum_rows(a, w, want)
    be.weighted_sum_rows(be.to_device(a), be.to_device(w), out)
    assert_bits(be.to_host(out), want)
    rows, out = np.empty(shape[:-1], dtype), be.zeros(shape[:-1], dtype)
    cpu.sum_last(a, rows)
    be.sum_last(be.to_device(a), out)
    assert_bits(be.to_host(out), rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dot_and_its_total(be, cpu, rng, dtype):
    v, want, total = numbers(rng, 5000, dtype), np.empty((), dtype), np.array(0.1)
    cpu.dot(v, v[::-1], want, total)
    out, of_device = be.zeros((), dtype), be.to_device(np.array(0.1))
    be.dot(be.to_device(v), be.to_device(v)[::-1], out, of_device)
    assert_bits(be.to_host(out), want)
    assert_bits(be.to_host(of_device), total)


@pytest.mark.parametrize("rows_of_batch", [None, 300, 100, 6, 2])
def test_sums_of_rows_that_go_to_the_same_place(be, cpu, rng, rows_of_batch):
    a, rows = numbers(rng, (300, 5), "float32"), rng.integers(0, 20, 300)
    want, out = np.empty((21, 5), "float32"), be.zeros((21, 5), "float32")
    cpu.scatter_rows(a, rows, want, rows_of_batch)
    be.scatter_rows(be.to_device(a), be.to_device(rows), out, rows_of_batch)
    assert_bits(be.to_host(out), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(formula, name)])
def test_elementary_functions(be, rng, name, dtype):
    x = rng.standard_normal(500) * 10.0 ** rng.integers(-40, 3, 500)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-310, 709.9, -745.3, 88.7, -103.5]
    x = np.concatenate([x, edges]).astype(dtype)
    want, out = np.empty_like(x), be.zeros(x.shape, dtype)
    into(name, x, want)
    be.apply(getattr(formula, name), be.to_device(x), out=out)
    assert_bits(be.to_host(out), want)


@pytest.mark.parametrize("shape", [(3, 1), (5, 10), (2, 64), (3, 100), (3, 700), (1, 20000)])
def test_formulas_over_rows(be, cpu, rng, shape):
    x = numbers(rng, shape, "float32")
    x[0, :: shape[1] // 2 + 1] = -0.0
    total, largest = np.empty((shape[0], 1), "float32"), np.empty((shape[0], 1), "float32")
    cpu.sum_last(x, total.reshape(-1))
    cpu.xp.max(x, axis=1, keepdims=True, out=largest)

    def f(x):
        return formula.row_sum(x), formula.row_max(x), x / formula.row_sum(x), formula.row_sum(x - formula.row_sum(x))

    outs = tuple(be.zeros(s, "float32") for s in ((shape[0], 1), (shape[0], 1), shape, (shape[0], 1)))
    be.apply(f, be.to_device(x), out=outs)
    again = cpu.sum_last(x - total, np.empty(shape[0], "float32")).reshape(-1, 1)
    with np.errstate(all="ignore"):
        wanted = total, largest, x / total, again
    for out, want in zip(outs, wanted, strict=True):
        assert_bits(be.to_host(out), want)


UNARY = ["sqrt", "floor", "ceil", "trunc", "rint", "absolute", "negative", "square", "isfinite", "isnan"]
BINARY = [
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "less_equal", "equal", "not_equal",
    "copysign",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_array_library(be, cpu, rng, dtype):
    x = np.concatenate([numbers(rng, 200, dtype), np.array([0, -0.0, np.inf, -np.inf, np.nan] * 5, dtype)])
    y = rng.permutation(x)
    with cpu.active():
        for name in UNARY:
            assert_bits(be.to_host(getattr(be.xp, name)(be.to_device(x))), getattr(cpu.xp, name)(x))
        for name in BINARY:
            got = getattr(be.xp, name)(be.to_device(x), be.to_device(y))
            assert_bits(be.to_host(got), getattr(cpu.xp, name)(x, y))


@pytest.mark.parametrize("axis", [None, 0, 1, 3, (1, 2), (0, 1), (0, 3), (1, 3)])
def test_sums_and_largest_over_axes(be, cpu, rng, axis):
    a = numbers(rng, (6, 5, 4, 7), "float32")
    for name in ("sum", "max", "min"):
        want = np.asarray(getattr(cpu.xp, name)(a, axis=axis))
        assert_bits(be.to_host(getattr(be.xp, name)(be.to_device(a), axis=axis)), want)
    if not isinstance(axis, tuple):
        a[0, 0, 0, 0] = np.nan
        assert_bits(be.to_host(be.xp.argmax(be.to_device(a), axis=axis)), np.asarray(np.argmax(a, axis=axis)))


def test_types_that_meet(be):
    """As NumPy: whole numbers of 64 bits and float32 in float64, and a result cast once."""
    x, k = np.array([0.1, 3e-45, 16777217.0], "float32"), np.array([3, 2, 16777217], "int64")
    out = be.zeros((3,), "float32")
    be.xp.multiply(be.to_device(x), be.to_device(k), out=out)
    assert_bits(be.to_host(out), np.multiply(x, k, out=np.empty(3, "float32"), casting="same_kind"))
    total = be.to_device(np.array([1.0, 2.0, 3.0]))
    be.xp.add(total, be.to_device(x), out=total)
    assert_bits(be.to_host(total), np.array([1.0, 2.0, 3.0]) + x)
    wide = be.to_device(np.array([1e-40, 0.1, 1e300]))
    with np.errstate(over="ignore"):
        assert_bits(be.to_host(be.to_device(wide, "float32")), np.array([1e-40, 0.1, 1e300]).astype("float32"))


def test_casts_keep_subnormal_numbers(be):
    x, y = np.array([1e-40, 1.0, -3e-45], "float32"), np.array([3e-310, 2.0, 7.0])
    of_x, of_y = be.to_device(x), be.to_device(y)
    chosen = be.xp.where(be.xp.greater(of_x, np.float32(0)), of_x, of_y)
    assert_bits(be.to_host(chosen), np.where(x > 0, x, y))
    for name in ("array", "asarray", "ascontiguousarray"):
        assert_bits(be.to_host(getattr(be.xp, name)(of_x, "float64")), x.astype("float64"))
    assert_bits(be.to_host(be.xp.asarray(of_x)), x)


def test_an_output_over_a_part_of_an_input(be):
    memory = be.to_device(np.arange(10.0))
    be.apply(lambda x: x * 2.0, memory[:8], out=memory[2:])
    assert be.to_host(memory).tolist() == [0, 1, 0, 2, 4, 6, 8, 10, 12, 14]


def test_what_is_not_exact_is_refused_by_name(be):
    x = be.to_device(np.ones(3))
    for name in ("matmul", "arctan2", "cbrt"):
        with pytest.raises(ExactError, match=rf"xp\.{name} has other last bits"):
            getattr(be.xp, name)(x, x)
    with pytest.raises(ExactError, match=r"cupy\.hypot has other last bits"):
        be.run(be.cupy.hypot, x, x, out=x)
    with pytest.raises(ExactError, match="needs one type"):
        be.gemm(x.reshape(1, 3), be.zeros((3, 1), "float32"), be.zeros((1, 1), "float64"))


def test_the_stand_in_has_no_kernels_of_cupys():
    """So that the tests above would see one."""
    cupy = exact_cupy()
    x = cupy.zeros((3,), "float32")
    with pytest.raises(StrictError, match="CuPy's add is asked"):
        cupy.add(x, x)
    with pytest.raises(StrictError, match="casts by a kernel"):
        cupy.copyto(x, cupy.zeros((3,), "float64"), casting="unsafe")
    with pytest.raises(StrictError, match="flushes"):
        cupy.RawKernel("", "f")


def test_kernels_are_kept_in_files_that_may_be_damaged(rng, tmp_path, monkeypatch):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    from gpubp.backends.cuda.exact import compiler

    def total():
        monkeypatch.setattr(compiler, "_cubins", {})
        be = ExactCUDA(exact_cupy())
        be.sum_last(be.to_device(np.ones((1, 3))), out := be.zeros((1,), "float64"))
        return be.to_host(out).item(), be.cupy.made

    assert total() == (3.0, 1)
    assert total() == (3.0, 0)
    (file,) = tmp_path.glob("*.cubin")
    file.write_bytes(file.read_bytes()[:-1])
    assert total() == (3.0, 1)


def test_a_kernel_that_does_not_compile_says_so():
    be = ExactCUDA(exact_cupy())
    be.cupy.cuda.Device = lambda: type("Old", (), {"compute_capability": "35"})
    with pytest.raises(DeviceError, match="does not compile for this GPU: no log"):
        be.sum_last(be.to_device(np.ones((1, 4))), be.zeros((1,), "float64"))


def test_a_gpu_that_is_newer_than_nvrtc_gets_ptx():
    be = ExactCUDA(exact_cupy())
    be.cupy.cuda.Device = lambda: type("New", (), {"compute_capability": "120"})
    be.sum_last(be.to_device(np.ones((1, 5))), out := be.zeros((1,), "float64"))
    assert be.to_host(out).item() == 5.0


@pytest.mark.parametrize("loss", [None, 3e38, np.inf, np.nan])
def test_whether_numbers_are_finite_is_judged_alike(be, cpu, loss):
    """The sum of two large ones is finite, though not in float32."""
    judged = []
    for device in (cpu, be):
        total, alive, bad = device.zeros((), "float32"), device.zeros((), "bool"), device.zeros((), "bool")
        good, of_loss = device.zeros((), "float64"), None if loss is None else device.zeros((), "float32")
        device.put(total, 3e38)
        if of_loss is not None:
            device.put(of_loss, loss)
        with device.active():
            device.check_finite(total, of_loss, alive, bad, good, False)
        judged.append([device.to_host(a).item() for a in (alive, bad, good)])
    assert judged[0] == judged[1]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_the_large_tile_fits_registers_and_flushes_nothing(tmp_path):
    """For three kinds of GPU: 128 registers, no spills, and PTX without ftz."""
    assert set(WANTED) <= set(OPTIONS)
    file = tmp_path / "product.cu"
    file.write_text(source("product", "float32", rows=8, levels=6, by_k=(1, 0)))
    codes = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in (80, 89, 90)]
    call = ["nvcc", *OPTIONS, "-Xptxas", "-v", *codes, "-c", "-o", tmp_path / "product.o", file]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stderr
    assert said.count("0 bytes spill stores, 0 bytes spill loads") == 3
    assert said.count("Used 128 registers") == 3
    subprocess.run(["nvcc", *OPTIONS, "-arch=compute_80", "-ptx", "-o", tmp_path / "product.ptx", file], check=True)
    ptx = (tmp_path / "product.ptx").read_text()
    assert ptx.count("fma.rn.f32") == 8 * 8 * 8 and "ftz" not in ptx


def test_parts_of_two_streams_do_not_meet(be, rng):
    """A second stream has as much memory as the first has used, and its own."""
    products = Products(be.cupy, be._launches._kernels.raw)
    a, b = be.to_device(numbers(rng, (20, 900), "float32")), be.to_device(numbers(rng, (900, 20), "float32"))
    out = be.zeros((20, 20), "float32")
    with be.active():
        products.product(a, b, out, be._stream)
        products.reserve(be._side_stream())
    sizes = [memory.size for memory in products.buffers()]
    assert len(sizes) % 2 == 0 and sizes[: len(sizes) // 2] == sizes[len(sizes) // 2 :]
    assert len({memory.data.ptr for memory in products.buffers()}) == len(sizes)
