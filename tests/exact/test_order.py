"""The order of exact sums: products against a program in C that has no tiles, and a worker's part of a tree."""

import numpy as np
import pytest

from exact_in_c import by_c, compiled
from gpubp.backends.order import groups, rows_of_group, share_of_worker, tree

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
from gpubp.backends.cpu.exact.product import product

SHAPES = [(1, 1, 1, 1), (3, 5, 4, 1), (7, 130, 9, 1), (2, 1000, 3, 1), (5, 300, 2, 100), (4, 490, 6, 49), (3, 96, 5, 3)]


@pytest.fixture(scope="module")
def in_c(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("order"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("M", "K", "N", "terms"), SHAPES)
def test_products_are_those_of_a_c_program(in_c, rng, dtype, M, K, N, terms):
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N)))
    found = product(a, b, np.empty((M, N), dtype), terms)
    assert found.tobytes() == by_c(in_c, a, b, terms).tobytes()


@pytest.mark.parametrize(("rows", "workers"), [(128, 2), (256, 2), (256, 4), (512, 4), (192, 3), (64, 1)])
@pytest.mark.parametrize("terms", [1, 3, 49, 100])
def test_a_worker_has_one_number_of_the_tree(rng, rows, workers, terms):
    share = share_of_worker(rows, workers)
    a, b = (rng.standard_normal(shape).astype("float32") for shape in ((2, rows * terms), (rows * terms, 3)))
    whole = product(a, b, np.empty((2, 3), "float32"), terms)
    cuts = [slice(k * share * terms, (k + 1) * share * terms) for k in range(workers)]
    parts = [product(a[:, cut], b[cut], np.empty((2, 3), "float32"), terms) for cut in cuts]
    assert tree(parts, np.add).tobytes() == whole.tobytes()


def test_groups_have_all_terms_once():
    for count in (1, 63, 64, 65, 1000):
        for terms in (1, 2, 10, 64, 65, 300):
            found = [k for group in groups(count, terms) for block in group for k in range(block.start, block.stop)]
            assert found == list(range(count))
            assert all(
                sum(b.stop - b.start for b in g) == rows_of_group(terms) * terms for g in groups(count, terms)[:-1]
            )
