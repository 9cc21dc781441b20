"""MelSpectrogram compared with loops over single numbers, and an example worked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import CPU, get_backend
from gpubp.backends.cuda.backend import CUDA
from gpubp.layers import Context, Values, bind
from strict import StrictProducts, strict_cupy

LAYERS = [
    bp.MelSpectrogram(8000, window=32, hop=16, bands=5),
    bp.MelSpectrogram(8000, window=32, hop=10, bands=5),  # the last part of a window is shorter than a hop
    bp.MelSpectrogram(8000, window=33, hop=3, bands=4),
    bp.MelSpectrogram(8000, window=20, hop=25, bands=3),  # samples between the frames
    bp.MelSpectrogram(8000, window=32, hop=32, bands=5, eps=0.5),
]
layers = pytest.mark.parametrize("layer", LAYERS, ids=repr)


def slowly(layer: bp.MelSpectrogram, x: np.ndarray) -> np.ndarray:
    """y, frame by frame, frequency by frequency, and sample by sample."""
    w, s, m = layer.window, layer.hop, layer.bands
    assert w is not None and s is not None
    top = 2595 * math.log10(1 + layer.rate / 2 / 700)
    edges = [700 * (10 ** (top * j / (m + 1) / 2595) - 1) for j in range(m + 2)]
    y = np.empty((len(x), (x.shape[1] - w) // s + 1, m))
    for b, i in np.ndindex(y.shape[:2]):
        bands = [0.0] * m
        for k in range(w // 2 + 1):
            z = 0j
            for t in range(w):
                z += x[b, i * s + t] * math.sin(math.pi * t / w) ** 2 * np.exp(2j * math.pi * t * k / w)
            hertz = k * layer.rate / w
            for j, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
                if low < hertz < high:
                    share = (hertz - low) / (middle - low) if hertz <= middle else (high - hertz) / (high - middle)
                    bands[j] += share * abs(z) ** 2
        y[b, i] = [math.log(power + layer.eps) for power in bands]
    return y


def run(layer: bp.Layer, x: np.ndarray, dy: np.ndarray, be: Any = None, dtype: str = "float64") -> list[np.ndarray]:
    """y and dx of a second pass, since a step's arrays are used again."""
    be = get_backend("cpu") if be is None else be
    values = Values({}, {}, {})
    ws = bind(layer, layer.plan(x.shape), Context(be, len(x), dtype), values, training=True, wants_dx=True)
    with be.active():
        for given in (np.ones_like(x), x):
            y = layer.forward(ws, be.to_device(given.astype(dtype)))
            dx = layer.backward(ws, be.to_device(dy.astype(dtype)))
        return [be.to_host(y).copy(), be.to_host(dx).copy()]


@layers
def test_forward_is_that_of_loops(layer: bp.MelSpectrogram, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 90))
    net = bp.Network(layer, input_shape=90, device="cpu", dtype="float64")
    np.testing.assert_allclose(net.predict(x), slowly(layer, x), rtol=1e-10, atol=1e-10)


def test_a_tone_by_hand() -> None:
    """A tone of 2 Hz, cos(π t / 2), in two frames of 4 samples, each under the window 0, ½, 1, ½.

    The first frame is 1, 0, -1, 0, and 0, 0, -1, 0 under the window. At 0, 2 and 4 Hz its z is -1, 1 and -1. The one
    band has its peak at half of the mel, and there only 2 Hz is in it. The second frame has all signs turned.
    """
    layer = bp.MelSpectrogram(rate=8, window=4, hop=2, bands=1, eps=1e-3)
    peak = 700 * (math.sqrt(1 + 4 / 700) - 1)
    share = (4 - 2) / (4 - peak)
    y, dx = run(layer, np.array([[1.0, 0, -1, 0, 1, 0]]), np.ones((1, 2, 1)))
    np.testing.assert_allclose(y, np.full((1, 2, 1), math.log(share + 1e-3)), rtol=1e-10)
    slope = 2 * share / (share + 1e-3)  # dy/dz of the first frame; z has -1 times its third sample
    np.testing.assert_allclose(dx, [[0, 0, -slope, 0, slope, 0]], atol=1e-12)


@layers
@pytest.mark.parametrize("piece", [1, 70, 150])
def test_smaller_pieces_give_the_same_results(
    layer: bp.MelSpectrogram, piece: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames one by one, some of a sound, and some sounds at a time; backward computes z again."""
    x = rng.normal(size=(3, 90))
    dy = rng.normal(size=layer.plan(x.shape).output)
    whole = run(layer, x, dy)
    numbers = layer.plan(x.shape).numbers(CPU.piece)
    monkeypatch.setattr(CPU, "piece", piece)
    assert layer.plan(x.shape).numbers(piece) < numbers
    for a, b in zip(run(layer, x, dy), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    bp.gradcheck(layer, x.shape)


@layers
def test_the_gpu_gives_the_same(layer: bp.MelSpectrogram, rng: np.random.Generator) -> None:
    """The same calls on the stand-in for CuPy; products of lower precision are not used for it."""
    x = rng.normal(size=(3, 90))
    dy = rng.normal(size=layer.plan(x.shape).output)
    for dtype, precision, tolerance in (("float64", "float32", 1e-12), ("float32", "bfloat16", 1e-3)):
        be = CUDA(strict_cupy(), precision=precision, products=StrictProducts)
        for here, there in zip(run(layer, x, dy, dtype=dtype), run(layer, x, dy, be, dtype), strict=True):
            np.testing.assert_allclose(there, here, rtol=tolerance, atol=tolerance * np.abs(here).max())


def test_a_sound_is_seen_alike_in_any_company(rng: np.random.Generator) -> None:
    layers = bp.Sequential(bp.MelSpectrogram(8000, window=64, bands=10), bp.Flatten(), bp.Dense(3))
    net = bp.Network(layers, input_shape=1000, device="cpu")
    X = rng.normal(size=(50, 1000)).astype("float32")
    together = net.predict(X)
    for rows in ([0], [49], [3, 17], list(range(5, 42))):
        assert np.array_equal(net.predict(X[rows]), together[rows])


def test_dx_is_computed_where_it_is_used_alone() -> None:
    """Above nothing that is trained, its backward makes no call."""
    spectrogram = bp.MelSpectrogram(8000, window=64, bands=10)
    calls = []
    for below in ((), (bp.Dense(200),)):
        net = bp.Network(bp.Sequential(*below, spectrogram, bp.Flatten(), bp.Dense(2)), 200, device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=2)
        parts = trainer.profile(np.ones((2, 200)), [0, 1], steps=2).to_dict()["parts"]
        (part,) = (part for part in parts if part["what"] == repr(spectrogram))
        calls.append((part["calls"], part["backward"] > 0))
    (alone, alone_backward), (above, above_backward) = calls
    assert 0 < alone < above and above_backward and not alone_backward


def test_silence_and_its_neighbours(rng: np.random.Generator) -> None:
    """0 is log ε in every band; silence after a sound does not change what is seen of it."""
    layer = bp.MelSpectrogram(8000)
    sound = rng.normal(size=4000)
    short, long = (bp.Network(layer, n, device="cpu", dtype="float64") for n in (4000, 8000))
    seen = long.predict(np.concatenate([sound, np.zeros(4000)])[None])[0]
    before = short.predict(sound[None])[0]
    assert np.array_equal(seen[: len(before)], before)
    np.testing.assert_allclose(seen[len(before) + 2 :], math.log(1e-6), rtol=1e-12)


def test_usual_sizes_are_those_of_32_ms() -> None:
    for rate, window, frames in ((8000, 256, 61), (16000, 512, 61), (44100, 1411, 61), (11025, 353, 61)):
        same = bp.MelSpectrogram(rate, window=window, hop=window // 2)
        assert bp.MelSpectrogram(rate).plan((1, rate)).output == same.plan((1, rate)).output == (1, frames, 40)


def test_settings_are_saved_with_the_model(tmp_path: Path, rng: np.random.Generator) -> None:
    layer = bp.MelSpectrogram(11025, window=300, hop=90, bands=30, eps=1e-4)
    net = bp.Network(bp.Sequential(layer, bp.Flatten(), bp.Dense(2)), 3000, device="cpu")
    net.save(tmp_path / "sound.safetensors")
    loaded = bp.load(tmp_path / "sound.safetensors", device="cpu")
    assert loaded.layers.layers[0] == layer  # type: ignore[attr-defined]
    x = rng.normal(size=(2, 3000))
    assert np.array_equal(loaded.predict(x), net.predict(x))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"rate": 8000, "window": 128, "bands": 80},
            "80 bands up to 4000 Hz.* 62.5 Hz apart.* or fewer",
        ),
        ({"rate": 8000, "window": 2}, "take a longer window"),
        ({"rate": 0}, "rate"),
        ({"rate": 8000, "hop": 0}, "hop"),
        ({"rate": 8000, "eps": 0.0}, "eps"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bp.MelSpectrogram(**settings)


def test_the_advice_holds() -> None:
    with pytest.raises(ValueError, match="bands=") as problem:
        bp.MelSpectrogram(8000, window=128, bands=80)
    most = int(str(problem.value).split("bands=")[1].split()[0])
    bp.MelSpectrogram(8000, window=128, bands=most)
    with pytest.raises(ValueError, match="bands="):
        bp.MelSpectrogram(8000, window=128, bands=most + 1)


@pytest.mark.parametrize(
    ("shape", "words"), [((200, 1), "expects sounds"), ((255,), "windows of 256 samples and got sounds of 255")]
)
def test_inputs_that_are_no_sounds_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(bp.ShapeError, match=words):
        bp.Network(bp.MelSpectrogram(8000), input_shape=shape, device="cpu")
