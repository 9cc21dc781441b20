"""The profile: every call of the record belongs to a part, a slow layer is found, and no parameter is changed."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.cli.app import app
from gpubp.config import Configurable
from gpubp.layers import Plan
from own_clock import own_clock
from strict import StrictProducts, strict_cupy

FORWARD, BACKWARD = 0.004, 0.008  # seconds


@pytest.fixture
def clock(monkeypatch):
    """In the place of the system's."""
    return own_clock(monkeypatch)


@pytest.fixture
def slow(monkeypatch, clock):
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    class Slow(bp.Layer):
        """y = x, after a while."""

        def plan(self, x):
            return Plan(output=x)

        def forward(self, ws, x):
            ws.be.run(clock.spend, FORWARD)
            return x

        def backward(self, ws, dy):
            ws.be.run(clock.spend, BACKWARD)
            return dy

    return Slow()


def images(rng, rows=32):
    return rng.normal(size=(rows, 8, 8, 2)).astype("float32"), rng.integers(0, 3, rows)


def network(device="cpu"):
    body = bp.Sequential(bp.Conv2D(2, 3, padding="same"), bp.BatchNorm())
    layers = bp.Sequential(
        bp.Residual(body), bp.ReLU(), bp.Dropout(0.2), bp.MaxPool2D(2), bp.Flatten(),
        bp.Parallel(bp.Dense(4), bp.Dense(5)), bp.Dense(3),
    )  # fmt: skip
    return bp.Network(layers, (8, 8, 2), device=device, seed=2)


def trainer_of(net, **options):
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=32, metrics="accuracy", **options)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_call_of_the_record_belongs_to_a_part(rng, workers):
    X, y = images(rng)
    trainer = trainer_of(network(), workers=workers, l2=0.01, clip_norm=1.0)
    found = trainer.profile(X, y, steps=3)
    trainer.step(X, y)
    assert sum(part.calls for part in found.parts) == len(trainer.record)
    assert found.workers == workers
    names = [part.name for part in found.parts]
    layers = ["0", "0.0.0", "0.0.1", "1", "2", "3", "5", "5.0", "5.1", "6"]
    assert names == [*layers, "loss", "update", "batch", *["workers"] * (workers == 2)]
    both = {part.name for part in found.parts if part.forward and part.backward}
    assert both == set(layers) - {"0"}  # nobody wants the lowest one's dx
    batch = next(part for part in found.parts if part.name == "batch")
    assert batch.calls == 0  # penalties, which come first in the record, are the update's
    assert found.seconds == pytest.approx(sum(part.forward + part.backward for part in found.parts))


def test_a_slow_layer_is_found(rng, slow, clock):
    X, y = images(rng)
    layers = bp.Sequential(bp.Flatten(), bp.Dense(4), slow, bp.Dense(3))
    found = trainer_of(bp.Network(layers, (8, 8, 2), device="cpu")).profile(X, y, steps=5)
    part = {part.name: part for part in found.parts}["2"]
    assert part.forward == pytest.approx(FORWARD + clock.tick) and part.backward == pytest.approx(BACKWARD + clock.tick)
    assert part.calls == 2
    assert found.step == pytest.approx(FORWARD + BACKWARD, abs=1e-5)
    others = sum(one.calls for one in found.parts) - 2
    assert found.seconds == pytest.approx(FORWARD + BACKWARD, abs=1e-5 + (others + 2) * clock.tick)
    line = next(line for line in str(found).splitlines() if line.startswith("2 "))
    assert line.split()[1] == "Slow()" and line.split()[-2] == "100%"


def test_a_profile_changes_no_parameter(rng):
    X, y = images(rng, 64)

    def trained(look):
        net = network()
        trainer = trainer_of(net)
        for _ in range(3):
            trainer.fit(X, y, epochs=1)
            if look:
                trainer.profile(X, y, steps=2)
        return net.flat.tobytes(), net.states.flat.tobytes(), trainer.step_count

    assert trained(True) == trained(False)


def test_a_network_of_one_layer(rng):
    net = bp.Network(bp.Dense(1), input_shape=3, device="cpu")
    found = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).profile(rng.normal(size=(8, 3)), np.ones(8), steps=2)
    assert [part.name for part in found.parts] == ["layer", "loss", "update", "batch"]


@pytest.mark.parametrize("captured", [True, False])
def test_joined_calls_on_a_gpu_belong_to_the_first_layer(rng, captured):
    """On the stand-in; one kernel that does the work of several layers counts for the lowest."""
    backend = CUDA(strict_cupy(), products=StrictProducts)
    if not captured:
        backend.graphs.allowed = False
    layers = bp.Sequential(bp.Dense(16), bp.ReLU(), bp.Dense(3))
    net = bp.Network(layers, 8, device=backend, seed=2)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=16)
    X, y = rng.normal(size=(16, 8)).astype("float32"), rng.integers(0, 3, 16)
    before = backend.to_host(net.flat).copy()
    found = trainer.profile(X, y, steps=10)
    parts = {part.name: part for part in found.parts}
    assert set(parts) == {"0", "2", "loss", "update", "batch"}  # bias, ReLU and its gradient are in the products
    assert all(part.seconds > 0 for part in found.parts)
    assert parts["0"].backward > 0 and parts["2"].backward > 0
    np.testing.assert_array_equal(backend.to_host(net.flat), before)
    trainer.step(X, y)
    assert sum(part.calls for part in found.parts) == len(trainer.record)


def test_what_is_refused(rng):
    X, y = images(rng)
    trainer = trainer_of(network())
    with pytest.raises(ValueError, match="profile needs steps to be a whole number, 1 or more, and got 0"):
        trainer.profile(X, y, steps=0)
    with pytest.raises(bp.DataError):
        trainer.profile(X, y[:5])


def test_the_command(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["profile", "digits", "--hidden", "16", "--steps", "2", "--json", "where.json"])
    assert run.exit_code == 0, run.output
    assert [line.split()[0] for line in run.output.splitlines()[1:4]] == ["0", "1", "2"]
    told = json.loads((tmp_path / "where.json").read_text())
    assert told["rows"] == 32 and {"name", "what", "forward", "backward", "calls"} == set(told["parts"][0])
