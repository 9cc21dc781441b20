"""Products whose rows are independent: by this machine's BLAS, and by test doubles that add in other orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpubp.backends.cpu import row_products
from gpubp.backends.cpu.row_products import PIECE, PIECES, Kind, Way, blocks, calls, pieces, way_of
from gpubp.backends.recording import Call

Product = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.full(shape, np.nan, dtype)


def made(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    y = np.full((len(x), w.shape[1]), np.nan, x.dtype)
    for function, args, kwargs in calls(x, w, y, scratch):
        function(*args, **kwargs)
    return y


def forget() -> None:
    for tested in (way_of, row_products._holds, row_products._among_48):
        tested.cache_clear()


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Product], None]]:
    """Put a test double in the place of BLAS."""

    def use(double: Product) -> None:
        monkeypatch.setattr(row_products, "_product", lambda x, w, y: Call(double, (x, w, y), {}))
        monkeypatch.setattr(row_products, "_singly", lambda x, w, y, row, one: [
            (row.__setitem__(0, x[i]), double(row, w, one), y.__setitem__(i, one[0])) for i in range(len(x))
        ])  # fmt: skip
        forget()

    yield use
    forget()


def in_order(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """All terms one after the other."""
    return np.add.accumulate(x[:, :, None] * w[None], axis=1)[:, -1]


def apart(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Even and odd terms apart."""
    if x.shape[1] < 2:
        return in_order(x, w)
    return in_order(x[:, ::2], w[::2]) + in_order(x[:, 1::2], w[1::2])


def one_order(x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    y[:] = in_order(x, w)


def by_place(x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """As OpenBLAS for AVX2: of 12 rows the first six have other first columns, and the last six other last columns."""
    y[:] = in_order(x, w)
    if w.shape[1] >= 16:
        first = np.arange(len(x)) % 12 < 6
        y[first, :8], y[~first, -8:] = apart(x[first], w[:, :8]), apart(x[~first], w[:, -8:])


def single_columns(x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """As the product of a matrix and a vector in some BLAS: the last rows otherwise than the others."""
    y[:] = in_order(x, w)
    if w.shape[1] == 1:
        y[-len(x) // 4 :] = apart(x[-len(x) // 4 :], w)


def by_size(x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """As kernels for small matrices: another order for more rows."""
    y[:] = (in_order if len(x) <= PIECE else apart)(x, w)


def always_by_place(x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """Every other row otherwise."""
    y[::2], y[1::2] = in_order(x[::2], w), apart(x[1::2], w)


DOUBLES = {
    one_order: lambda way, n: way == Way(),
    by_place: lambda way, n: (
        way == (Way() if n < 16 else Way(n > 32, (((0, 8), (n - 8, n)) if n > 32 else ((0, n),),), margin=8))
    ),
    single_columns: lambda way, n: way == (Way() if n > 1 else Way(False, (((0, 1),),), margin=8)),
    by_size: lambda way, n: way == Way(),
    always_by_place: lambda way, n: way.singly,
}


@pytest.mark.parametrize("double", DOUBLES, ids=lambda double: double.__name__)
@pytest.mark.parametrize("n", [1, 5, 10, 16, 40])
def test_rows_are_independent_with_any_order_of_additions(
    double: Product, n: int, blas: Callable[[Product], None], rng: np.random.Generator
) -> None:
    blas(double)
    x, w = rng.normal(size=(400, 21)).astype("float32"), rng.normal(size=(21, n)).astype("float32")
    way = way_of(Kind.of(x, w, np.empty((400, n), "float32")))
    assert DOUBLES[double](way, n), way
    whole = made(x, w)
    assert whole == pytest.approx(x @ w, abs=1e-4)
    for rows in (1, 7, 47, 48, 49, 143, 144, 145, 300):
        for start in (0, 3, 100):
            assert np.array_equal(made(x[start : start + rows], w), whole[start : start + rows]), (rows, start)


def test_larger_pieces_are_taken_where_their_bits_are_the_same(blas: Callable[[Product], None]) -> None:
    x, w = np.ones((2400, 12), "float32"), np.ones((12, 10), "float32")

    def sizes(double: Product) -> set[int]:
        blas(double)
        return {len(call.args[0]) for call in calls(x, w, np.empty((2400, 10), "float32"), scratch)}

    assert sizes(one_order) == {2304, 48} and sizes(by_size) == {48}


def test_no_block_of_a_large_product_is_left_out(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(row_products, "SHARED", 100)
    monkeypatch.setattr(row_products, "BLOCK", 40)
    for n in (39, 40, 41, 80, 99):
        x, w, y = rng.normal(size=(60, 10)), rng.normal(size=(10, n)), np.full((60, n), np.nan)
        for call in blocks(x, w, y, scratch, lambda: None):
            call.function(*call.args, **call.kwargs)
        assert y == pytest.approx(x @ w)


@pytest.mark.parametrize("m", [48, 49, 95, 144, 191, 192, 2303, 2304, 2351, 5000])
def test_pieces_cover_all_rows(m: int) -> None:
    for most in PIECES:
        seen = np.zeros(m, int)
        for rows in pieces(m, lambda size, most=most: size <= most):
            assert rows.stop - rows.start in PIECES and rows.stop - rows.start <= most
            seen[rows] += 1
        assert seen.min() == 1 and (seen > 1).sum() < PIECE


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("k", "n"), [(1, 3), (2, 40), (9, 1), (16, 10), (100, 1), (300, 7), (33, 8), (50, 33), (784, 64)]
)
def test_rows_are_independent_by_this_blas(dtype: str, k: int, n: int, rng: np.random.Generator) -> None:
    """With every layout; the values have few bits in common, so that another order shows."""
    from gpubp.backends.cpu.blas_threads import one_blas_thread

    X, W = rng.normal(size=(400, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    wide = rng.normal(size=(k, n + 3)).astype(dtype)
    wide[:, :n] = W
    with one_blas_thread():
        for x, w in [(X, W), (np.asfortranarray(X), W), (X, np.asfortranarray(W)), (X, wide[:, :n])]:
            whole = made(x, w)
            assert whole == pytest.approx(X @ W, abs=1e-2 if dtype == "float32" else 1e-10)
            order = rng.permutation(400)
            again = np.asfortranarray(x[order]) if x.flags.f_contiguous and k > 1 else x[order]
            assert np.array_equal(made(again, w), whole[order])
            for rows, start in ((1, 5), (30, 7), (50, 11), (150, 13)):
                part = x[start : start + rows]
                assert np.array_equal(made(part, w), whole[start : start + rows]), (rows, start)


KNOWN = ("Nehalem", "Sandybridge", "Haswell", "Zen")


def test_no_known_kernel_multiplies_row_by_row() -> None:
    """That is right with any BLAS, and slow. A kernel that needs it for one of these shapes is worth another way."""
    from gpubp.backends.cpu.blas import numpys
    from gpubp.backends.cpu.blas_threads import one_blas_thread

    if numpys().kernel not in KNOWN:
        pytest.skip(f"nobody has looked at the ways of {numpys()} yet; those of {', '.join(KNOWN)} are known")
    with one_blas_thread():
        for dtype in ("float32", "float64"):
            for k, n in [(9, 1), (100, 1), (300, 1), (16, 10), (64, 20), (288, 64), (512, 300)]:
                assert not way_of(Kind(dtype, k, n, "C", "C", "")).singly, (dtype, k, n)


def test_numbers_that_are_not_finite_stay_in_their_row(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(100, 20)), rng.normal(size=(20, 17))
    plain = made(x, w)
    x[50] = np.nan
    y = made(x, w)
    assert np.isnan(y[50]).all() and np.array_equal(np.delete(y, 50, 0), np.delete(plain, 50, 0))
