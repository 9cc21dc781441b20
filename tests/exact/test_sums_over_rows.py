"""Sums over a batch's rows that are made in parts: pieces of convolutions, words, arrays with time first."""

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.backends.order import groups, share_of_worker, tree
from gpubp.backends.over_rows import rows_first, rows_in_parts, sum_of_parts

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")


@pytest.fixture
def be():
    return get_backend("cpu", numerics="exact")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_parts_are_added_as_the_tree(be, count):
    numbers = np.random.default_rng(count).standard_normal((count, 3)).astype("float32")
    found = sum_of_parts(be, count, lambda k, place: np.copyto(place, numbers[k]), np.empty(3, "float32"))
    assert found.tobytes() == tree(list(numbers), np.add).tobytes()


def scattered(a, rows, words, terms):
    """By the words of `order.py`: sums of blocks, groups and all; what a block has none of is 0."""
    out = np.zeros((words, a.shape[1]), a.dtype)
    for v in range(words):

        def block(part, v=v):
            s = np.zeros(a.shape[1], a.dtype)
            for k in range(part.start, part.stop):
                if rows[k] == v:
                    s = s + a[k]
            return s

        out[v] = tree([tree([block(part) for part in group], np.add) for group in groups(len(a), terms)], np.add)
    return out


@pytest.mark.parametrize(("batch", "terms"), [(1, 1), (300, 1), (40, 7), (5, 100), (9, 150), (130, 3)])
def test_words_are_summed_in_the_order(be, rng, batch, terms):
    a, rows = rng.standard_normal((batch * terms, 2)).astype("float32"), rng.integers(0, 6, batch * terms)
    out = np.full((8, 2), np.nan, "float32")
    assert be.scatter_rows(a, rows, out=out, rows_of_batch=batch).tobytes() == scattered(a, rows, 8, terms).tobytes()


@pytest.mark.parametrize("terms", [1, 3, 100])
def test_a_worker_has_one_number_of_the_sum_of_a_word(be, rng, terms):
    share = share_of_worker(256, 2) * terms
    a, rows = rng.standard_normal((2 * share, 2)).astype("float32"), rng.integers(0, 3, 2 * share)
    of = lambda cut, n: be.scatter_rows(a[cut], rows[cut], out=np.empty((3, 2), "float32"), rows_of_batch=n)  # noqa: E731
    parts = of(slice(0, share), 128), of(slice(share, None), 128)
    assert np.add(*parts).tobytes() == of(slice(None), 256).tobytes()


def test_arrays_with_time_first_are_copied_where_the_order_goes_by_rows(be, rng):
    a = rng.standard_normal((3, 4, 2)).astype("float32")
    assert rows_first(be, a, "a").tolist() == a.transpose(1, 0, 2).tolist()
    assert rows_first(get_backend("cpu"), a, "a") is a


IN_PIECES = {
    "one pixel": (bp.Conv2D(3, 1), (5, 4, 2)),
    "plain": (bp.Conv2D(3, 3, padding="same"), (7, 6, 2)),
    "grey": (bp.Conv2D(3, 3), (5, 5, 1)),
    "many channels": (bp.Conv2D(2, 3), (6, 5, 4)),
    "fewer filters": (bp.Conv2D(2, 3, padding="same"), (6, 5, 4)),
    "stride": (bp.Conv2D(4, (3, 2), stride=2, padding=1), (6, 5, 2)),
    "overlapping": (bp.Conv2D(2, 5, stride=2, padding=2), (12, 5, 1)),
    "groups": (bp.Conv2D(4, 3, groups=2, padding=1), (6, 5, 4)),
    "few outputs": (bp.Conv2D(4, 3, stride=2), (5, 5, 3)),
    "time": (bp.Conv1D(3, 3, padding="causal", dilation=2), (9, 2)),
    "dilation": (bp.Conv2D(2, 3, padding=((1, 2), (3, 0)), dilation=2), (6, 5, 4)),
    "volumes": (bp.Conv3D(2, 2, stride=(1, 2, 1)), (3, 4, 3, 2)),
    "transposed": (bp.Conv2DTranspose(3, 3, padding=1), (5, 4, 2)),
    "transposed, stride": (bp.Conv2DTranspose(4, 3, stride=2, padding="same", groups=2), (4, 3, 2)),
    "spectrogram": (bp.MelSpectrogram(200, window=16, hop=3, bands=3), (60,)),
}


@pytest.mark.parametrize("name", IN_PIECES)
@pytest.mark.parametrize("rows", [1, 37])
def test_pieces_change_nothing(monkeypatch, rng, name, rows):
    layer, shape = IN_PIECES[name]
    below = bp.Dense(shape[-1]) if rows > 1 else bp.Tanh()
    X, y = rng.standard_normal((rows, *shape)), rng.standard_normal((rows, 2))
    found = []
    for piece in (1, 60, 700, 5000, 2**19):
        monkeypatch.setattr("gpubp.backends.cpu.backend.CPU.piece", piece)
        net = bp.Network(bp.Sequential(below, layer, bp.Flatten(), bp.Dense(2)), shape, device="cpu", numerics="exact")
        loss, gradients = net.loss_and_gradients(bp.MeanSquaredError(), X, y)
        found.append((loss, *(g.tobytes() for g in gradients.values())))
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("name", ["plain", "stride", "many channels", "fewer filters", "few outputs"])
def test_dw_of_a_convolution_is_one_product(rng, name):
    layer, shape = IN_PIECES[name]
    X = rng.standard_normal((21, *shape)).astype("float32")
    net = bp.Network(layer, shape, device="cpu", numerics="exact")
    y = rng.standard_normal((21, *net.output_shape))
    be, ws = net.backend, net.workspace(rows=21, training=True)
    ws.trainable = True
    z = layer.forward(ws, X)
    dy = (z - y).astype("float32")
    layer.parameter_gradients(ws, dy)
    P = layer._patches(X.shape)
    patches = np.empty((*dy.shape[:3], P.windows.rows.k, P.windows.columns.k, shape[-1]), "float32")
    be.patches(X, patches, (P.windows.rows.s, P.windows.columns.s), (P.windows.rows.p, P.windows.columns.p))
    matrix = patches.reshape(dy.size // layer.filters, -1)
    whole = be.gemm_over_rows(
        matrix, dy.reshape(len(matrix), -1), out=np.empty((matrix.shape[1], layer.filters), "float32"), rows=21
    )
    assert ws.dW.tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    "layer", [bp.BatchNorm(), bp.LayerNorm(), bp.RMSNorm(), bp.GroupNorm(2), bp.InstanceNorm()], ids=str
)
@pytest.mark.parametrize("shape", [(5, 4, 3, 6), (70, 2, 6), (200, 6)], ids=str)
def test_some_rows_after_the_others(layer, shape, monkeypatch, rng):
    """Normalizations have the bits of all rows at once, whatever fits into the cache."""
    if isinstance(layer, bp.InstanceNorm) and len(shape) == 2:
        pytest.skip("a channel of one place")

    def run(block):
        be = get_backend("cpu", numerics="exact")
        monkeypatch.setattr(type(be), "block", block)
        net = bp.Network(bp.Sequential(layer, bp.Dense(2)), shape[1:], device=be, seed=0)
        assert (len(rows_in_parts(be, shape)) > 1) == (block < 2**20)
        loss, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), x, y)
        return [loss, *(a.tobytes() for a in gradients.values())]

    x, y = rng.normal(size=shape), rng.normal(size=(*shape[:-1], 2))
    assert run(2**62) == run(4 * 64 * 6)
