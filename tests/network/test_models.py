"""Ready-made networks: their layers and shapes, and arguments that are refused."""

from typing import Any

import numpy as np
import pytest

import gpubp as bp


def test_mlp_with_every_option() -> None:
    layers = bp.mlp(3, (8, 4), activation=bp.Tanh(), dropout=0.5, batch_norm=True, flatten=True)
    assert repr(layers) == (
        "Sequential(Flatten(), Dense(8), BatchNorm(), Tanh(), Dropout(), Dense(4), BatchNorm(), Tanh(), "
        "Dropout(), Dense(3))"
    )
    assert bp.Network(bp.mlp(3, ()), 5, device="cpu").output_shape == (3,)


@pytest.mark.parametrize("shape", [(12, 10, 3), (12, 10), (64,)])
def test_cnn_takes_pictures_of_any_shape(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    net = bp.Network(bp.cnn(4, shape), shape, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=4)
    trainer.fit(rng.normal(size=(10, *shape)), rng.integers(0, 4, 10), epochs=1)
    assert net.predict(np.zeros((2, *shape))).shape == (2, 4)


@pytest.mark.parametrize(
    ("shape", "words"), [((13,), "no square pictures"), ((2, 2, 2, 2), "no square"), ((3, 9), "can't be halved")]
)
def test_rows_that_are_no_pictures_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bp.cnn(2, shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: bp.mlp(3, (8,), **options),
        lambda **options: bp.cnn(3, (8, 8), **options),
        lambda **options: bp.encoder(3, **options),
        lambda **options: bp.transformer(3, **options),
    ],
    ids=["mlp", "cnn", "encoder", "transformer"],
)
def test_arguments_of_another_kind_are_refused(make: Any, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    with pytest.raises(TypeError, match=f"{name} needs activation to be a gpubp Layer and got 'relu'"):
        make(activation="relu")
    with pytest.raises(TypeError, match=r"got <class '.*Tanh'>; write Tanh\(...\)"):
        make(activation=bp.Tanh)
    option = "batch_norm" if name in ("mlp", "cnn") else "positions"
    with pytest.raises(ValueError, match=f"{name} needs {option} to be True or False, and got 'no'"):
        make(**{option: "no"})
