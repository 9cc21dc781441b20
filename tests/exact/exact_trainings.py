"""Small networks and data for the tests of exact trainings."""

import numpy as np

import gpubp as bp

RNG = np.random.default_rng(0)
X, IMAGES = RNG.normal(size=(700, 12)).astype("float32"), RNG.normal(size=(600, 6, 6, 2)).astype("float32")
Y, Y_IMAGES, WEIGHTS = RNG.integers(0, 4, 700), RNG.integers(0, 4, 600), RNG.random(700)
LEFT_OUT = np.where(np.arange(700) % 7 == 0, -1, Y)


def mlp(numerics="exact"):
    layers = bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dropout(0.3), bp.Dense(4))
    return bp.Network(layers, 12, device="cpu", seed=1, numerics=numerics)


def cnn():
    layers = bp.Sequential(
        bp.RandomTranslation(0.2, 0.2), bp.Conv2D(4, 3, padding="same"), bp.BatchNorm(), bp.ReLU(), bp.MaxPool2D(),
        bp.Flatten(), bp.Dropout(0.2), bp.Dense(4),
    )  # fmt: skip
    return bp.Network(layers, (6, 6, 2), device="cpu", seed=1, numerics="exact")


def trainer_of(network, workers=1, optimizer=None, loss=None, batch_size=256, **settings):
    loss, optimizer = loss or bp.SoftmaxCrossEntropy(), optimizer or bp.Adam(0.01)
    settings.setdefault("metrics", ["accuracy", "f1"])
    return bp.Trainer(network, loss, optimizer, batch_size=batch_size, workers=workers, **settings)


def result(trainer, X=X, y=Y, epochs=2, **given):
    """(the hash of all numbers, the history) of a fit."""
    history = trainer.fit(X, y, epochs=epochs, verbose=False, **given)
    return trainer.network.sha256(), dict(history)


def workers_of(trainer):
    return {step.workers for step in trainer.step_cache.steps.values()}
