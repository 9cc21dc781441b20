"""Training by processes with a GPU each, on the strict stand-in for CuPy: the numbers of the CPU's processes."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpu_group import on_gpus
from gpubp.processes import GPUProcesses, Processes
from strict_nccl import World
from thread_processes import in_threads

ROWS = 150


def images(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.normal(size=(ROWS, 6, 6, 1)).astype("float32"), rng.integers(0, 3, ROWS)


def cnn() -> bp.Sequential:
    return bp.Sequential(
        bp.Conv2D(3, 3), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Flatten(), bp.Dense(8), bp.ReLU(), bp.Dense(3)
    )  # fmt: skip


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "penalties and clipping": {"l1": 1e-4, "l2": 1e-3, "clip_norm": 0.5, "penalty_per_weight": True},
    "guarded": {"on_nonfinite": "skip"},
    "accumulated": {"accumulate": 2, "batch_size": 24},
    "averaged": {"average": True, "optimizer": bp.SGD(0.1, momentum=0.9)},
    "metrics of epochs": {"metrics": ["f1", "accuracy"], "optimizer": bp.SGD(0.1, momentum=0.9, weight_decay=0.01)},
}


def train(
    device: Any,
    processes: Processes | None,
    X: Any,
    y: Any,
    epochs: int = 3,
    validation: float = 0.2,
    average: bool = False,
    **settings: Any,
) -> tuple[Any, bp.Trainer]:
    settings = {"optimizer": bp.Adam(0.01), "batch_size": 44, "metrics": ["accuracy"]} | settings
    net = bp.Network(cnn(), (6, 6, 1), device=device, dtype="float64")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), seed=3, communicator=processes, **settings)
    callbacks = [bp.ExponentialMovingAverage(0.9)] if average else []
    history = trainer.fit(X, y, epochs=epochs, validation_fraction=validation, verbose=False, callbacks=callbacks)
    with net.backend.active():
        flat = net.backend.to_host(net.flat)
    return (flat, {k: list(v) for k, v in history.items()}), trainer


@pytest.mark.parametrize(("kind", "size"), [*((kind, 2) for kind in KINDS), ("penalties and clipping", 4)])
def test_gpus_train_as_the_processes_of_a_cpu_do(kind, size, rng):
    X, y = images(rng)

    def on_gpu(group: Any) -> Any:
        found, trainer = train(group.be, group, X, y, **KINDS[kind])
        assert trainer.record.graph is not None, trainer.record.refusal
        return found

    on_cpu, world = in_threads(size, lambda p: train("cpu", p, X, y, **KINDS[kind])[0]), World(size)
    for rank in range(size):
        world.cupy(rank).branches_first = world.backward = bool(rank % 2)  # another order of the same step in each
    found = on_gpus(size, on_gpu, world)
    for flat, history in found:
        assert flat.tobytes() == found[0][0].tobytes() and history == found[0][1]
        np.testing.assert_allclose(flat, on_cpu[0][0], rtol=1e-8, atol=1e-8)
        for name, values in on_cpu[0][1].items():
            np.testing.assert_allclose(history[name], values, rtol=1e-7, err_msg=name)


@pytest.mark.parametrize("size", [2, 4])
def test_exact_numerics_gives_the_bits_of_one_cpu(size, rng):
    pytest.importorskip("numba")
    from gpubp.backends.cuda.exact.backend import ExactCUDA
    from strict_exact import ExactCupy

    X, y = rng.normal(size=(300, 7)).astype("float32"), rng.integers(0, 3, 300)

    def trained(device: Any, processes: Processes | None) -> tuple[str, dict[str, list[float]]]:
        layers = bp.Sequential(bp.Dense(12), bp.BatchNorm(), bp.Tanh(), bp.Dropout(0.2), bp.Dense(3))
        net = bp.Network(layers, 7, device=device, numerics="exact")
        trainer = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=256, seed=3, l2=1e-3, clip_norm=0.5,
            metrics=["accuracy"], communicator=processes,
        )  # fmt: skip
        history = trainer.fit(X, y, epochs=3, verbose=False)
        assert trainer.step_cache.last_step.team.size == (1 if processes is None else size)
        return net.sha256(), {k: list(v) for k, v in history.items()}

    alone = trained("cpu", None)
    found = on_gpus(
        size,
        lambda group: trained(group.be, group),
        World(size, kind=ExactCupy),
        backend_of=lambda cupy, rank: ExactCUDA(cupy, rank),
    )
    assert found == [alone] * size


def test_many_steps_are_as_few_graphs_in_all_processes_whatever_their_clocks_say(rng):
    X, y = images(rng)
    world = World(2)
    for rank, seconds in enumerate((0.0, 0.01)):
        world.cupy(rank).cuda.get_elapsed_time = lambda before, after, ms=1000 * seconds: ms

    def on_gpu(group: GPUProcesses) -> Any:
        (flat, history), trainer = train(group.be, group, X, y, batch_size=2)
        return flat.tobytes(), history, group.be.cupy.counts.graph_launches

    found = on_gpus(2, on_gpu, world)
    assert found[0][:2] == found[1][:2]
    assert max(launches for *_, launches in found) < 60, "of 180 steps, and of evaluations, which they share"
    on_cpu = in_threads(2, lambda p: train("cpu", p, X, y, batch_size=2)[0])
    np.testing.assert_allclose(np.frombuffer(found[0][0]), on_cpu[0][0], rtol=1e-6, atol=1e-6)


def test_a_batch_that_the_processes_cannot_share_equally_is_padded(rng):
    X, y = images(rng)
    found = on_gpus(2, lambda group: train(group.be, group, X, y, batch_size=45)[0])
    on_cpu = in_threads(2, lambda p: train("cpu", p, X, y, batch_size=45)[0])
    np.testing.assert_allclose(found[0][0], on_cpu[0][0], rtol=1e-8, atol=1e-8)
    assert found[0][0].tobytes() == found[1][0].tobytes()


def test_rows_of_different_lengths(rng):
    X = [rng.normal(size=(int(n), 3)) for n in rng.integers(1, 20, 60)]
    y = rng.integers(0, 2, 60)

    def trained(device: Any, processes: Processes | None) -> np.ndarray:
        net = bp.Network(bp.Sequential(bp.LSTM(5), bp.Dense(2)), (None, 3), device=device, dtype="float64")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, communicator=processes)
        trainer.fit(X, y, epochs=3, verbose=False)
        with net.backend.active():
            return net.backend.to_host(net.flat)

    found = on_gpus(2, lambda group: trained(group.be, group))
    np.testing.assert_allclose(found[0], in_threads(2, lambda p: trained("cpu", p))[0], rtol=1e-8, atol=1e-9)
    assert found[0].tobytes() == found[1].tobytes()


def test_frozen_parameters_steps_by_hand_and_a_second_fit(rng):
    X, y = images(rng)

    def trained(device: Any, processes: Processes | None) -> np.ndarray:
        _, trainer = train(device, processes, X, y)
        trainer.network.freeze("0.*")
        trainer.fit(X, y, epochs=2, verbose=False)
        trainer.network.unfreeze()
        for _ in range(3):
            trainer.step(X[:9], y[:9])
        trainer.fit(X, y, epochs=4, verbose=False)
        with trainer.backend.active():
            return trainer.backend.to_host(trainer.network.flat)

    found = on_gpus(2, lambda group: trained(group.be, group))
    np.testing.assert_allclose(found[0], in_threads(2, lambda p: trained("cpu", p))[0], rtol=1e-6, atol=1e-6)
    assert found[0].tobytes() == found[1].tobytes()


def test_a_signal_to_one_process_ends_all_at_the_same_step(rng):
    X, y = images(rng)

    class Signal(bp.Callback):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            if trainer.step_count == 4 and trainer.processes.rank == 1:
                trainer.processes.request = int(signal.SIGINT)

    def on_gpu(group: GPUProcesses) -> Any:
        net = bp.Network(cnn(), (6, 6, 1), device=group.be)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=44, communicator=group)
        history = trainer.fit(X, y, epochs=5, verbose=False, callbacks=[Signal()])
        return trainer.step_count, history.interrupted

    assert on_gpus(2, on_gpu) == [(4, True)] * 2


def test_a_run_goes_on_from_a_checkpoint_of_another_number_of_gpus(tmp_path, rng):
    X, y = images(rng)

    def trained(group: GPUProcesses, epochs: int) -> np.ndarray:
        net = bp.Network(cnn(), (6, 6, 1), device=group.be, dtype="float64")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=44, seed=3, communicator=group)
        trainer.resume(tmp_path, missing_ok=True)
        trainer.fit(X, y, epochs=epochs, verbose=False, callbacks=[bp.Checkpoint(tmp_path)])
        with net.backend.active():
            return net.backend.to_host(net.flat)

    on_gpus(4, lambda group: trained(group, 2))
    found = on_gpus(2, lambda group: trained(group, 4))
    assert found[0].tobytes() == found[1].tobytes()
    whole = in_threads(2, lambda p: train("cpu", p, X, y, epochs=4, validation=0)[0])[0][0]
    np.testing.assert_allclose(found[0], whole, rtol=1e-6, atol=1e-6)


def test_numbers_that_are_not_finite_are_named_by_every_process(rng):
    X, y = images(rng)

    def trained(device: Any, processes: Processes | None) -> str:
        with pytest.raises(bp.NonFiniteError) as problem:
            train(device, processes, X, y, optimizer=bp.SGD(1e30), on_nonfinite="raise", epochs=9)
        return str(problem.value)

    found = set(on_gpus(2, lambda group: trained(group.be, group)))
    assert found == set(in_threads(2, lambda p: trained("cpu", p)))


def test_a_rollback_is_the_same_in_every_process(rng):
    X, y = images(rng)

    def trained(device: Any, processes: Processes | None) -> tuple[bytes, int, float]:
        layers = bp.Sequential(bp.Flatten(), bp.Dense(24), bp.ReLU(), bp.Dense(3))
        net = bp.Network(layers, (6, 6, 1), device=device)
        optimizer = bp.SGD(1e4, momentum=0.9)
        trainer = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), optimizer, batch_size=44, seed=3, on_nonfinite="rollback",
            communicator=processes,
        )  # fmt: skip
        with pytest.raises(bp.NonFiniteError, match="training has diverged"):  # however often the rate was halved
            trainer.fit(X, y, epochs=12, verbose=False)
        with net.backend.active():
            return net.backend.to_host(net.flat).tobytes(), trainer.step_count, trainer.update.factor

    with pytest.warns(RuntimeWarning, match="half the learning rate"):
        found = on_gpus(2, lambda group: trained(group.be, group))
    assert found[0] == found[1] and found[0][1] > 4 and found[0][2] < 1e-3


def test_shards_of_one_gpu_are_refused() -> None:
    def make(group: GPUProcesses) -> str:
        net = bp.Network(bp.Dense(1), 2, device=group.be)
        with pytest.raises(ValueError, match="8 shards need 8 processes with a GPU each") as caught:
            bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), shards=8, communicator=group)
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), shards=2, communicator=group)
        return str(caught.value)

    on_gpus(2, make)
