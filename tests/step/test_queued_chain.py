"""Queued chains: many steps on a GPU equal the same steps one by one, with few calls from the host."""

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.backends.cuda import graphs
from gpubp.backends.cuda.backend import CUDA
from gpubp.step import multistep
from gpubp.step.batch import Upcoming
from gpubp.step.update import Update
from gpubp.training import loop
from strict import StrictProducts, strict_cupy


def data(rows=91):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 6)).astype("float32"), rng.integers(0, 3, rows)


def trainer(cupy=None, **options):
    layers = bp.Sequential(bp.Dense(9), bp.Tanh(), bp.Dropout(0.2), bp.Dense(3))
    net = bp.Network(layers, 6, device=CUDA(cupy or strict_cupy(), products=StrictProducts), seed=3)
    settings = {"batch_size": 4, "metrics": ["accuracy"], "seed": 4} | options
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(bp.CosineDecay(0.01, 60)), **settings)


def bits(t, history):
    host = t.backend.to_host
    moments = [host(m.flat).tobytes() for m in t.update.moments.values()]
    return host(t.network.flat).tobytes(), *moments, t.step_count, history["loss"], history["accuracy"]


@pytest.fixture
def stretches(monkeypatch):
    """How many steps each stretch had; the numbers of few are known ahead."""
    seen, run = [], multistep.QueuedChain.run

    def noted(self, order, most=None):
        weights = run(self, order, most)
        seen.append(len(weights))
        return weights

    monkeypatch.setattr(multistep.QueuedChain, "run", noted)
    monkeypatch.setattr(multistep, "SECONDS_AHEAD", 10.0)  # whatever a step takes here
    monkeypatch.setattr(Update, "AHEAD", 30)
    return seen


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 1},
        {"clip_norm": 0.5, "l2": 0.1},
        {"l2": 1.0, "penalty_per_weight": True},
        {"batch_size": 80},
    ],
    ids=str,
)
def test_steps_of_a_queued_chain_are_bitwise_identical_to_single_steps(options, stretches, monkeypatch):
    """Short last batches, and more steps than numbers are known ahead, among them."""
    X, y = data()
    at_once = trainer(**options)
    came = bits(at_once, at_once.fit(X, y, epochs=2))
    assert max(stretches) >= {4: 16, 1: 26, 80: 0}[options.get("batch_size", 4)]
    monkeypatch.setattr(loop, "chain_of", lambda *args: None)
    single = trainer(**options)
    assert came == bits(single, single.fit(X, y, epochs=2))


def test_a_queued_chain_needs_few_launches_and_copies(stretches):
    """16 steps are a launch, and the numbers of all steps are two copies."""
    cupy = strict_cupy()
    t = trainer(cupy)
    X, y = data(4 * 20)
    t.fit(X, y, epochs=2)
    before = cupy.counts.copy()
    t.fit(X, y, epochs=1)
    counts = cupy.counts - before
    assert stretches[-1] == 20
    assert counts.graph_launches == 1 + 4, "16 steps, and the other 4 one by one"
    assert counts.graph_kernels == 20 * len(t.record)
    assert counts.host_copies == 2 + 2 + 1, "the data; rows and numbers; new totals"
    assert counts.launches == 0


def test_weights_of_the_rows_of_a_queued_chain_are_one_copy_more(stretches):
    cupy = strict_cupy()
    t = trainer(cupy)
    X, y = data(4 * 20)
    weights = np.linspace(0.5, 2.0, len(X))
    t.fit(X, y, epochs=2, sample_weight=weights)
    before = cupy.counts.copy()
    t.fit(X, y, epochs=1, sample_weight=weights)
    counts = cupy.counts - before
    assert stretches[-1] == 20
    assert counts.graph_launches == 1 + 4 and counts.graph_kernels == 20 * len(t.record) and counts.launches == 0
    assert counts.host_copies == 2 + 3 + 1, "the data; rows, numbers and weights; new totals"


def test_queued_chains_between_other_data_row_weights_and_single_steps(stretches, monkeypatch):
    X, y = data()

    def trained():
        t = trainer()
        t.fit(X, y)
        t.fit(X[:40] + 1.0, y[:40], sample_weight=np.arange(40.0))
        t.step(X[:8], y[:8])
        return bits(t, t.fit(X[1:], y[1:], epochs=2))

    came = trained()
    assert max(stretches) > 16
    monkeypatch.setattr(loop, "chain_of", lambda *args: None)
    assert came == trained()


def test_a_callback_after_every_step_is_called_after_every_step(stretches):
    class Looks(bp.Callback):
        def __init__(self):
            self.steps = []

        def on_step_end(self, trainer):
            self.steps.append(trainer.step_count)

    looks, (X, y) = Looks(), data()
    trainer().fit(X, y, callbacks=[looks])
    assert looks.steps == list(range(1, 24)) and not stretches


def test_a_resumed_training_run_is_bitwise_identical(stretches, tmp_path):
    X, y = data()
    whole = trainer()
    whole.fit(X, y, epochs=3, callbacks=[bp.Checkpoint(tmp_path, keep=9)])
    again = trainer()
    again.resume(sorted(tmp_path.glob("*"))[0])
    assert bits(again, again.fit(X, y, epochs=3)) == bits(whole, whole.history)


def test_the_host_queues_few_steps_ahead_of_the_device(monkeypatch):
    """What it has asked for and the device not done: a few stretches, or a few single steps."""
    cupy = strict_cupy()
    t, (X, y) = trainer(cupy), data(8)
    for _ in range(20):
        t.step(X, y)
        stream = t.backend._stream
        assert len(stream._queue) <= (graphs.DEPTH + 1) * (len(t.record) + 8)


def test_each_step_is_one_graph_where_many_steps_fit_in_none(stretches, monkeypatch):
    t, (X, y), captured = trainer(), data(4 * 20), graphs.CapturedStep._captured

    def short_of_memory(self, steps):
        if steps > 1:
            raise MemoryError("no room for a large graph")
        return captured(self, steps)

    monkeypatch.setattr(graphs.CapturedStep, "_captured", short_of_memory)
    with pytest.warns(RuntimeWarning, match="16 steps are 16 CUDA graphs .*no room for a large graph"):
        came = bits(t, t.fit(X, y, epochs=2))
    assert t.record.graph is not None and t.record.refusal == ""
    monkeypatch.undo()
    whole = trainer()
    assert came == bits(whole, whole.fit(X, y, epochs=2))


def test_the_length_of_a_queued_chain_follows_the_time_of_a_step():
    t, (X, y) = trainer(), data(4 * 12)
    t.fit(X, y, epochs=6)
    assert t.record.seconds > 0
    for seconds, steps in ((0.01, 5), (0.005, 10), (0.04, 0), (1.0, 0)):
        t.record.seconds = seconds
        ahead = multistep.QueuedChain(t.step_cache.last_step)
        with t.backend.active():
            assert len(ahead.run(np.arange(48))) == steps


def test_steps_that_were_slow_once_are_queued_again_when_they_are_quick(monkeypatch):
    """As after another program's use of the GPU: single steps are timed, too."""
    cupy = strict_cupy()
    t, (X, y) = trainer(cupy), data(4 * 12)
    t.fit(X, y, epochs=6)
    monkeypatch.setattr(cupy.cuda, "get_elapsed_time", lambda before, after: 0.01)
    t.record.seconds, before = 1.0, cupy.counts.copy()
    t.fit(X, y, epochs=4)
    assert t.record.seconds == pytest.approx(0.01 / 1000.0)
    assert (cupy.counts - before).host_copies < 30, "and not two of each of 48 steps"


# -- the kernel -------------------------------------------------------------------------------------------------------

TYPES = ["float32", "float64", "uint8", "int64", "bool", "int16"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("rows", "shape"), [(1, ()), (7, (3,)), (64, (5, 60))], ids=str)
def test_each_step_takes_its_own_rows_and_scalars(kind, rows, shape, rng):
    """The kernel, and the calls that it stands for."""
    X = (rng.normal(size=(90, *shape)) * 50).astype(kind)
    T, order = rng.integers(0, 9, 90).astype("int32"), rng.integers(0, 90, 3 * rows)
    table = rng.integers(0, 255, (3, 40), "uint8")
    for be in (CUDA(strict_cupy(), products=StrictProducts), get_backend("cpu")):
        x, t, numbers = be.zeros((rows, *shape), "float32"), be.zeros((rows,), "int32"), be.zeros((40,), "uint8")
        with be.active():
            ahead = Upcoming(be, (be.to_device(X), be.to_device(T)), (x, t), numbers)
            for first in (0, 1):
                ahead.put_rows(order[first * rows :])
                ahead.put_numbers(table[first:])
                for k in range(first, 3):
                    ahead.take()
                    now = order[k * rows : (k + 1) * rows]
                    np.testing.assert_array_equal(be.to_host(x), X[now].astype("float32"))
                    np.testing.assert_array_equal(be.to_host(t), T[now])
                    np.testing.assert_array_equal(be.to_host(numbers), table[k])


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_each_step_takes_its_own_weights(kind, rng):
    """The kernel, and the calls that it stands for; and no weights any more when they are not wanted."""
    weights = rng.normal(size=(3, 48)).astype(kind)
    for be in (CUDA(strict_cupy(), products=StrictProducts), get_backend("cpu")):
        x, t, numbers = be.zeros((4, 2), kind), be.zeros((4,), "int32"), be.zeros((8,), "uint8")
        place = be.zeros((48,), kind)
        with be.active():
            ahead = Upcoming(be, (be.zeros((9, 2), kind), be.to_device(np.arange(9, dtype="int32"))), (x, t), numbers)
            assert not ahead.take_weights(None) and ahead.take_weights(place) and not ahead.take_weights(place)
            ahead.put_rows(np.arange(12) % 9)
            ahead.put_numbers(np.zeros((3, 8), "uint8"))
            ahead.put_weights(weights)
            for k in range(3):
                ahead.take()
                assert be.to_host(place).tobytes() == weights[k].tobytes()
                assert be.to_host(t).tolist() == (np.arange(4 * k, 4 * k + 4) % 9).tolist()
            assert ahead.take_weights(None) and not ahead.takes_weights
            ahead.put_numbers(np.zeros((1, 8), "uint8"))
            ahead.take()
            assert be.to_host(place).tobytes() == weights[2].tobytes()


def test_repeating_the_kernel_reads_only_valid_rows(rng):
    """A profile repeats each call of a step many times."""
    be = CUDA(strict_cupy(), products=StrictProducts)
    x, t, numbers = be.zeros((4, 3), "float32"), be.zeros((4,), "int64"), be.zeros((8,), "uint8")
    with be.active():
        ahead = Upcoming(be, (be.zeros((20, 3), "float32"), be.to_device(np.arange(20))), (x, t), numbers)
        ahead.put_rows(np.arange(4 * ahead.steps) % 20)
        ahead.put_numbers(np.zeros((1, 8), "uint8"))
        for _ in range(ahead.steps + 3):
            ahead.take()
    assert be.to_host(t).tolist() == (np.arange(4 * ahead.steps) % 20)[-4:].tolist()


def test_a_type_without_a_kernel_is_copied_by_other_calls(rng):
    cupy = strict_cupy()
    be = CUDA(cupy, products=StrictProducts)
    X, T = rng.normal(size=(20, 3)).astype("float16"), np.arange(20)
    x, t, numbers = be.zeros((4, 3), "float32"), be.zeros((4,), "int64"), be.zeros((8,), "uint8")
    with be.active():
        ahead = Upcoming(be, (be.to_device(X), be.to_device(T)), (x, t), numbers)
        ahead.put_rows(np.array([3, 1, 4, 15]))
        ahead.put_numbers(np.arange(8, dtype="uint8")[None])
        ahead.take()
    np.testing.assert_array_equal(be.to_host(x), X[[3, 1, 4, 15]].astype("float32"))
    assert be.to_host(t).tolist() == [3, 1, 4, 15] and be.to_host(numbers).tolist() == list(range(8))
    assert not any(name == "next_batch" for _, name in cupy.kernels)
