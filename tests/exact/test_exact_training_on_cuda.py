"""What surrounds the layers in a training has the bits of the CPU on CUDA, whose kernels are built for the host."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

import gpubp as bp
from gpubp.backends.cuda.exact.backend import ExactCUDA
from strict_exact import exact_cupy


@pytest.fixture(autouse=True, scope="module")
def own_folder(tmp_path_factory):
    """For cubins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUPY_CACHE_DIR", str(tmp_path_factory.mktemp("cubins")))
        yield


RNG = np.random.default_rng(0)
X, Y, WEIGHTS = RNG.normal(size=(150, 12)).astype("float32"), RNG.integers(0, 4, 150), RNG.random(150)
RULES = {"l1": 1e-3, "l2": 1e-2, "clip_norm": 0.1, "learning_rate_factors": {"0.*": 0.5}}


def trainer_of(device, optimizer=None, **settings):
    layers = bp.Sequential(bp.Dense(24), bp.BatchNorm(), bp.Tanh(), bp.Dropout(0.2), bp.Dense(4))
    network = bp.Network(layers, 12, device=device, seed=1, numerics="exact")
    loss = bp.SoftmaxCrossEntropy(ignore_index=-1)
    optimizer = optimizer or bp.AdamW(bp.CosineDecay(0.01, steps=8), weight_decay=0.1)
    return bp.Trainer(network, loss, optimizer, batch_size=40, metrics=["accuracy", "roc_auc"], **settings)


def result(trainer, *callbacks, epochs=2):
    y = np.where(np.arange(len(Y)) % 7 == 0, -1, Y)
    history = trainer.fit(
        X, y, epochs=epochs, sample_weight=WEIGHTS, validation_fraction=0.2, callbacks=callbacks, verbose=False
    )
    return trainer.network.sha256(), dict(history)


@pytest.mark.parametrize(
    "settings",
    [RULES, {"on_nonfinite": "skip", **RULES}, {"accumulate": 3, "l2": 1e-2, "penalty_per_weight": True}],
    ids=["rules", "guarded", "accumulated"],
)
def test_rules_guards_and_pieces(settings):
    assert result(trainer_of(ExactCUDA(exact_cupy()), **settings)) == result(trainer_of("cpu", **settings))


@pytest.mark.parametrize(
    "optimizer",
    [
        bp.NAdam(bp.CyclicRate(1e-3, 1e-2, steps=3), weight_decay=0.1, decayed="*"),
        bp.Adamax(),
        bp.Adadelta(),
        bp.RMSprop(centered=True, momentum=0.9),
        bp.Adagrad(initial_accumulator_value=0.1),
        bp.SGD(momentum=0.9, dampening=0.5),
        bp.Lion(maximize=True),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_other_optimizers(optimizer):
    found = [
        result(trainer_of(device, optimizer, l2=1e-2, penalized="*"), bp.WeightAverage(every=2), epochs=1)
        for device in (ExactCUDA(exact_cupy()), "cpu")
    ]
    assert found[0] == found[1]


class Interrupt(bp.Callback):
    looks_at_steps = True

    def on_step_end(self, trainer):
        if trainer.step_count == 5:
            raise KeyboardInterrupt


@pytest.mark.parametrize("begins", ["cpu", "cuda"])
def test_a_training_that_moves_to_another_device_in_the_middle_of_an_epoch(begins, tmp_path):
    def device(name):
        return "cpu" if name == "cpu" else ExactCUDA(exact_cupy())

    def callbacks():
        return [bp.EarlyStopping(patience=1), bp.ExponentialMovingAverage(0.9)]

    whole = result(trainer_of("cpu"), *callbacks())
    result(trainer_of(device(begins)), *callbacks(), Interrupt(), bp.Checkpoint(tmp_path, every_steps=1))
    resumed = trainer_of(device("cuda" if begins == "cpu" else "cpu"))
    resumed.resume(tmp_path)
    assert resumed.step_count == 4
    assert result(resumed, *callbacks(), bp.Checkpoint(tmp_path)) == whole
