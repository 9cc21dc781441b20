"""Write keras_files.zip: small models as Keras saves them, with inputs and what Keras predicts of them.

    pip install keras jax && KERAS_BACKEND=jax python tests/interop/make_keras_files.py

The archive beside this script was made by Keras 3.15.1. `test_keras_files.py` reads it.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

FORMS = (".keras", ".weights.h5", ".h5")


def cnn(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(4, 3, padding="same", use_bias=False),
            L.BatchNormalization(),
            L.ReLU(),
            L.DepthwiseConv2D(3, depth_multiplier=2),
            L.MaxPool2D(),
            L.Flatten(),
            L.Dense(5, activation="relu"),
            L.Dropout(0.5),
            L.Dense(3),
        ]
    )


def rnn(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            L.Embedding(10, 4),
            L.Bidirectional(L.LSTM(3, return_sequences=True)),
            L.GRU(3, return_sequences=True),
            L.LayerNormalization(),
            L.SimpleRNN(2, go_backwards=True),
            L.Dense(2),
        ]
    )


def attention(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((5, 8))
    y = L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)])
    y = L.TimeDistributed(L.Dense(4))(L.LayerNormalization(epsilon=1e-5)(y))
    y = L.GRU(3)(L.Conv1D(3, 2)(y))
    return keras.Model(x, keras.Sequential([keras.Input((3,)), L.Dense(4), L.Dense(2)], name="head")(y))


def padded(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 9, 3)),
            L.SeparableConv2D(4, 3, depth_multiplier=2, padding="same"),
            L.Conv2D(4, 3, strides=2, padding="same"),
            L.AveragePooling2D(3, 2, padding="same"),
            L.MaxPool2D(2, 2, padding="same"),
        ]
    )


def transposed(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            keras.Input((3, 4, 2)),
            L.Conv2D(3, 3, padding="same", dilation_rate=2),
            L.Conv2DTranspose(4, 3, strides=2, padding="same"),
            L.Conv2DTranspose(2, (4, 2), strides=3, use_bias=False),
            L.Reshape((19 * 24, 2)),
            L.Conv1D(3, 2, padding="causal", dilation_rate=4),
            L.Conv1DTranspose(2, 4, strides=2, padding="same", output_padding=1),
            L.Conv1D(2, 4, strides=100),
        ]
    )


def gate_in_front(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential([keras.Input((4, 3)), L.GRU(2, reset_after=False), L.Dense(2)])


def subclassed(keras: Any) -> Any:
    L = keras.layers

    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = L.Dense(4)
            self.rest = [L.BatchNormalization(), L.Dense(2)]

        def call(self, x):
            x = self.first(x)
            for layer in self.rest:
                x = layer(x)
            return x

    return Subclassed()


def filled(model: Any, rng: np.random.Generator) -> Any:
    """The model with numbers in all its weights, as after a training."""
    for variable in model.variables:
        if "seed" in variable.path:
            continue
        numbers = rng.normal(size=variable.shape)
        variable.assign(np.abs(numbers) + 0.5 if "moving_variance" in variable.path else 0.5 * numbers)
    return model


def main() -> None:
    import keras

    rng = np.random.default_rng(0)
    inputs = {
        "cnn": rng.normal(size=(3, 8, 8, 3)),
        "rnn": rng.integers(0, 10, (3, 6)),
        "attention": rng.normal(size=(3, 5, 8)),
        "padded": rng.normal(size=(3, 8, 9, 3)),
        "gate_in_front": rng.normal(size=(3, 4, 3)),
        "subclassed": rng.normal(size=(3, 3)),
        "transposed": np.random.default_rng(1).normal(size=(3, 3, 4, 2)),
    }
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for make in (cnn, rnn, attention, padded, gate_in_front, transposed):
            name = make.__name__
            model = filled(make(keras), np.random.default_rng(2) if make is transposed else rng)
            for form in FORMS if name != "gate_in_front" else FORMS[:1]:
                path = Path(folder) / (name + form)
                model.save_weights(path) if form == ".weights.h5" else model.save(path)
            found[name] = np.asarray(
                model(inputs[name].astype("int32" if name == "rnn" else "float32"), training=False)
            )
        model = subclassed(keras)
        model(inputs["subclassed"].astype("float32"))
        filled(model, rng).save_weights(Path(folder) / "subclassed.weights.h5")
        found["subclassed"] = np.asarray(model(inputs["subclassed"].astype("float32"), training=False))
        half = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16")])
        filled(half, rng).save_weights(Path(folder) / "half.weights.h5")
        found["half"] = np.asarray(half.layers[0].kernel).astype("float32")
        arrays = {f"x_{n}": x for n, x in inputs.items()} | {f"y_{n}": y for n, y in found.items()}
        np.savez_compressed(Path(folder) / "predictions.npz", **arrays)
        with zipfile.ZipFile(
            Path(__file__).with_name("keras_files.zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=9
        ) as out:
            for path in sorted(Path(folder).iterdir()):
                out.write(path, path.name)


if __name__ == "__main__":
    main()
