"""Files that Keras wrote: the networks that take their weights predict what Keras predicted."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import MissingDependencyError, ModelFileError

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `make_keras_files.py`."""
    folder = tmp_path_factory.mktemp("keras")
    with zipfile.ZipFile(Path(__file__).with_name("keras_files.zip")) as archive:
        archive.extractall(folder)
    return folder


def cnn() -> bp.Network:
    layers = bp.Sequential(
        bp.Conv2D(4, 3, padding="same", use_bias=False), bp.BatchNorm(eps=1e-3), bp.ReLU(), bp.Conv2D(8, 3, groups=4),
        bp.MaxPool2D(2), bp.Flatten(), bp.Dense(5), bp.ReLU(), bp.Dropout(0.5), bp.Dense(3),
    )  # fmt: skip
    return bp.Network(layers, (8, 8, 3), device="cpu")


def rnn() -> bp.Network:
    layers = bp.Sequential(
        bp.Embedding(10, 4), bp.Bidirectional(bp.LSTM(3, return_sequences=True)), bp.GRU(3, return_sequences=True),
        bp.LayerNorm(1e-3), bp.SimpleRNN(2, reverse=True), bp.Dense(2),
    )  # fmt: skip
    return bp.Network(layers, (6,), device="cpu")


def attention() -> bp.Network:
    layers = bp.Sequential(
        bp.Residual(bp.MultiHeadAttention(2)), bp.LayerNorm(), bp.Dense(4), bp.Conv1D(3, 2), bp.GRU(3),
        bp.Sequential(bp.Dense(4), bp.Dense(2)),
    )  # fmt: skip
    return bp.Network(layers, (5, 8), device="cpu")


def padded() -> bp.Network:
    """A separable convolution as two, and windows with a stride that reach beyond the edge."""
    layers = bp.Sequential(
        bp.Conv2D(6, 3, padding="same", groups=3, use_bias=False), bp.Conv2D(4, 1), bp.Conv2D(4, 3, 2, "same"),
        bp.AvgPool2D(3, stride=2, padding="same"), bp.MaxPool2D(2, padding="same"),
    )  # fmt: skip
    return bp.Network(layers, (8, 9, 3), device="cpu")


def transposed() -> bp.Network:
    layers = bp.Sequential(
        bp.Conv2D(3, 3, padding="same", dilation=2), bp.Conv2DTranspose(4, 3, 2, "same"),
        bp.Conv2DTranspose(2, (4, 2), 3, use_bias=False), bp.Reshape((19 * 24, 2)),
        bp.Conv1D(3, 2, padding="causal", dilation=4), bp.Conv1DTranspose(2, 4, 2, "same", 1), bp.Conv1D(2, 4, 100),
    )  # fmt: skip
    return bp.Network(layers, (3, 4, 2), device="cpu")


def subclassed() -> bp.Network:
    return bp.Network(bp.Sequential(bp.Dense(4), bp.BatchNorm(eps=1e-3), bp.Dense(2)), 3, device="cpu")


MODELS = (cnn, rnn, attention, padded, transposed, subclassed)
MADE: dict[str, Callable[[], bp.Network]] = {make.__name__: make for make in MODELS}
CASES = [(make.__name__, form) for make in MODELS[:-1] for form in (".keras", ".weights.h5", ".h5")]


@pytest.mark.parametrize(("name", "form"), [*CASES, ("subclassed", ".weights.h5")])
def test_predictions_are_those_of_keras(files: Path, name: str, form: str) -> None:
    net = MADE[name]()
    report = net.load_keras(files / (name + form), strict=True)
    assert report.complete and report.library == "Keras" and {one.by for one in report.taken} == {"order"}
    predictions = np.load(files / "predictions.npz")
    np.testing.assert_allclose(net.predict(predictions[f"x_{name}"]), predictions[f"y_{name}"], rtol=1e-5, atol=1e-5)


def test_an_epsilon_that_differs_is_told(files: Path) -> None:
    """A configuration says it; without one the report says what Keras's is by default."""
    for form, words in ((".keras", "epsilon is 0.001 in Keras"), (".weights.h5", "does not say Keras's epsilon")):
        net = cnn()
        other = bp.Network(
            bp.Sequential(net.layers.layers[0], bp.BatchNorm(), *net.layers.layers[2:]), (8, 8, 3), device="cpu"
        )
        report = other.load_keras(files / f"cnn{form}")
        assert any(words in note for one in report.taken for note in one.notes)


def test_bfloat16_is_read(files: Path) -> None:
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    net.load_keras(files / "half.weights.h5", strict=True)
    np.testing.assert_array_equal(net.parameters["W"], np.load(files / "predictions.npz")["y_half"])


def test_another_reset_gate_is_refused(files: Path) -> None:
    net = bp.Network(bp.Sequential(bp.GRU(2), bp.Dense(2)), (4, 3), device="cpu")
    report = net.load_keras(files / "gate_in_front.keras")
    assert "reset_after=False" in report.missing["0"] and [one.layer for one in report.taken] == ["1"]
    with pytest.raises(ModelFileError, match="nothing was loaded"):
        net.load_keras(files / "gate_in_front.keras", strict=True)


def test_layers_by_the_names_that_keras_gives_them(files: Path) -> None:
    """Two kernels of one shape, in the order of the names; rename turns it round."""
    path = files / "two.weights.h5"
    keras3(path, {"dense": [np.full((2, 2), 1.0), np.zeros(2)], "dense_1": [np.full((2, 2), 2.0), np.zeros(2)]})
    net = bp.Network(bp.Sequential(bp.Dense(2), bp.Dense(2)), 2, device="cpu")
    net.load_keras(path)
    assert net.parameters["0.W"][0, 0] == 1 and net.parameters["1.W"][0, 0] == 2
    report = net.load_keras(path, rename={"dense": "1", "dense_1": "0"})
    assert net.parameters["0.W"][0, 0] == 2 and {one.by for one in report.taken} == {"name"}
    report = net.load_keras(path, rename={"dense": None, "dense_1": "0"})
    assert report.unused == {"dense/kernel": "rename leaves it out", "dense/bias": "rename leaves it out"}
    for rename, words in (({"dense_7": "0"}, "did you mean"), ({"dense": "5"}, "no layer with parameters")):
        with pytest.raises(ModelFileError, match=words):
            net.load_keras(path, rename=rename)


def test_an_order_that_the_file_does_not_say(files: Path) -> None:
    """Layers in different models, without a configuration: which comes first can't be known."""
    path = files / "nested.weights.h5"
    arrays = [np.zeros((2, 2)), np.zeros(2)]
    keras3(path, {"dense": arrays, "sequential/layers/dense": arrays})
    net = bp.Network(bp.Sequential(bp.Dense(2), bp.Dense(2)), 2, device="cpu")
    with pytest.raises(ModelFileError, match=r"save the whole model as \.keras"):
        net.load_keras(path)
    assert net.load_keras(path, rename={"dense": "0", "sequential/dense": "1"}).complete


def keras3(path: Path, layers: dict[str, list[np.ndarray]]) -> Path:
    """A file of weights as Keras 3 lays it out, without the names inside."""
    with h5py.File(path, "w") as file:
        for name, arrays in layers.items():
            for k, a in enumerate(arrays):
                file[f"layers/{name}/vars/{k}"] = a
    return path


def test_convolutions_of_volumes(tmp_path: Path) -> None:
    """Their kernels lie here as there, those of transposed ones as (kd, kh, kw, out, in)."""
    rng, shapes = np.random.default_rng(0), {"conv3d": (1, 2, 2, 2, 3), "conv3d_transpose": (2, 1, 2, 4, 3)}
    arrays = {n: [rng.normal(size=of), rng.normal(size=of[4 if n == "conv3d" else 3])] for n, of in shapes.items()}
    layers = bp.Sequential(bp.Conv3D(3, (1, 2, 2)), bp.Conv3DTranspose(4, (2, 1, 2)))
    net = bp.Network(layers, (3, 3, 3, 2), device="cpu", dtype="float64")
    assert net.load_keras(keras3(tmp_path / "volumes.weights.h5", arrays), strict=True).complete
    for path, name in (("0", "conv3d"), ("1", "conv3d_transpose")):
        assert [net.parameters[f"{path}.{p}"].tolist() for p in "Wb"] == [a.tolist() for a in arrays[name]]


def keras2(path: Path, layers: dict[str, dict[str, np.ndarray]], whole: dict[str, Any] | None = None) -> Path:
    """A file as Keras 2 lays it out: texts of fixed length, and ":0" behind names. whole: the model's configuration."""
    with h5py.File(path, "w") as file:
        root = file
        if whole is not None:
            file.attrs["model_config"] = json.dumps(whole).encode()
            root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for name, arrays in layers.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([f"{full}:0".encode() for full in arrays]) if arrays else []
            for full, a in arrays.items():
                group[f"{full}:0"] = a
    return path


def test_files_of_keras_2(tmp_path: Path) -> None:
    """Weights alone, and a whole model with its configuration, of the same numbers."""
    rng = np.random.default_rng(0)
    shapes = {
        "embedding": {"embedding/embeddings": (9, 4)},
        "bidirectional": {
            f"bidirectional/{way}_lstm/lstm_cell{n}/{part}": shape
            for way, n in (("forward", "_1"), ("backward", "_2"))
            for part, shape in (("kernel", (4, 12)), ("recurrent_kernel", (3, 12)), ("bias", (12,)))
        },
        "dropout": {},
        "gru": {
            f"gru/gru_cell_3/{part}": shape
            for part, shape in (("kernel", (6, 6)), ("recurrent_kernel", (2, 6)), ("bias", (2, 6)))
        },
        "batch_normalization": {
            f"batch_normalization/{n}": (2,) for n in ("gamma", "beta", "moving_mean", "moving_variance")
        },
        "layer_normalization": {f"layer_normalization/{n}": (2,) for n in ("gamma", "beta")},
        "head": {"dense_1/kernel": (2, 3), "dense_1/bias": (3,), "dense_2/kernel": (3, 2), "dense_2/bias": (2,)},
    }  # fmt: skip
    layers = {name: {full: rng.random(shape) for full, shape in of.items()} for name, of in shapes.items()}
    inner = {"layers": [{"class_name": "Dense", "config": {"name": f"dense_{k}"}} for k in (1, 2)], "name": "head"}
    classes = {
        "embedding": "Embedding",
        "dropout": "Dropout",
        "gru": "GRU",
        "batch_normalization": "BatchNormalization",
    }
    classes["layer_normalization"] = "LayerNormalization"
    described = [{"class_name": cls, "config": {"name": name, "epsilon": 1e-3}} for name, cls in classes.items()]
    bidirectional = {"name": "bidirectional", "layer": {"class_name": "LSTM", "config": {"name": "lstm"}}}
    described.insert(1, {"class_name": "Bidirectional", "config": bidirectional})
    described.append({"class_name": "Sequential", "config": inner})
    whole = {"class_name": "Sequential", "config": {"name": "model", "layers": described}}
    nets = []
    for name, config in (("weights.h5", None), ("model.h5", whole)):
        ours = bp.Sequential(
            bp.Embedding(9, 4), bp.Bidirectional(bp.LSTM(3, return_sequences=True)), bp.GRU(2), bp.BatchNorm(eps=1e-3),
            bp.LayerNorm(1e-3), bp.Dense(3), bp.Dense(2),
        )  # fmt: skip
        net = bp.Network(ours, (5,), device="cpu", dtype="float64")
        report = net.load_keras(keras2(tmp_path / name, layers, config), strict=True)
        assert report.complete and len(report.taken) == 7
        nets.append(net)
    first, second = nets
    assert all((first.parameters[name] == second.parameters[name]).all() for name in first.parameters)
    way, gru = layers["bidirectional"], layers["gru"]
    assert (first.parameters["1.1.U"] == way["bidirectional/backward_lstm/lstm_cell_2/recurrent_kernel"]).all()
    z, r, n = np.split(gru["gru/gru_cell_3/kernel"], 3, axis=1)
    assert (first.parameters["2.W"] == np.concatenate([r, z, n], axis=1)).all()
    assert (first.parameters["2.b_U"] == gru["gru/gru_cell_3/bias"][1, 4:]).all()
    assert (first.states["3.var"] == layers["batch_normalization"]["batch_normalization/moving_variance"]).all()
    assert (first.parameters["6.W"] == layers["head"]["dense_2/kernel"]).all()


def test_a_model_inside_keeps_its_own_order(tmp_path: Path) -> None:
    """Its layers are dense_1 and dense, and the model around it has a dense too."""

    def dense(name: str) -> Any:
        return {"class_name": "Dense", "config": {"name": name}}

    head = {"class_name": "Sequential", "config": {"name": "head", "layers": [dense("dense_1"), dense("dense")]}}
    whole = {"class_name": "Functional", "config": {"name": "model", "layers": [dense("dense"), head]}}
    numbers = {"dense/dense": 1.0, "head/dense_1": 2.0, "head/dense": 3.0}
    layers: dict[str, dict[str, np.ndarray]] = {"dense": {}, "head": {}}
    for path, value in numbers.items():
        arrays = {f"{path}/kernel": np.full((2, 2), value), f"{path}/bias": np.zeros(2)}
        layers[path.partition("/")[0]] |= arrays
    net = bp.Network(bp.Sequential(bp.Dense(2), bp.Dense(2), bp.Dense(2)), 2, device="cpu")
    assert net.load_keras(keras2(tmp_path / "a.h5", layers, whole)).complete
    assert [net.parameters[f"{k}.W"][0, 0] for k in range(3)] == [1, 2, 3]
    report = net.load_keras(tmp_path / "a.h5", rename={"dense": "0", "head/dense": "1", "head/dense_1": "2"})
    assert report.complete and [net.parameters[f"{k}.W"][0, 0] for k in range(3)] == [1, 3, 2]


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_texts_in_every_form_are_those_of_h5py(tmp_path: Path, version: str) -> None:
    """Of fixed and of any length, one and many, beside groups and arrays, few and many of them, in both headers."""
    from gpubp.interop.keras.attributes import Attributes

    path = tmp_path / "a.h5"
    long = ["x" * n + "äß"[: n % 3] for n in range(300)]
    forms: dict[str, Any] = {
        "bytes": b"abc", "text": "größe", "empty": "", "list": ["a", "", "bcd"], "many": long, "no": np.array([], "f8"),
        "fixed": np.array([b"ab", b"c"]), "one fixed": np.bytes_(b"model"), "table": np.array([[b"a"], [b"b"]]),
        "numbers": np.arange(3), "number": 7, "nothing": h5py.Empty("f4"),
    }  # fmt: skip
    with h5py.File(path, "w", libver=version, userblock_size=512 if version == "latest" else 0) as file:
        for k, (name, value) in enumerate(forms.items()):
            for found in (file.create_group(f"g{k}"), file.create_dataset(f"d{k}", data=np.zeros(3))):
                found.attrs["before"] = "text"
                found.attrs[name] = value
    with path.open("rb") as content, h5py.File(path) as file:
        attributes = Attributes(content, path.stat().st_size, file.userblock_size)
        for k, name in enumerate(forms):
            for found in (file[f"g{k}"], file[f"d{k}"]):
                address, value = h5py.h5o.get_info(found.id).addr, found.attrs[name]
                if not isinstance(value, h5py.Empty) and np.asarray(value).dtype.kind in "SOU":
                    values = np.asarray(value).reshape(-1).tolist()
                    wanted = [v.decode() if isinstance(v, bytes) else v for v in values]
                    assert attributes.texts(address, name) == wanted, name
                else:
                    assert not attributes.texts(address, name)
                assert attributes.texts(address, "before") == ["text"] and attributes.texts(address, "other") is None


def test_a_normalization_without_gamma_or_beta(tmp_path: Path) -> None:
    """Three arrays could lack either: only a configuration says which."""
    arrays = {"layers/batch_normalization/vars": [np.full(2, 3.0), np.zeros(2), np.ones(2)]}
    path = keras3(tmp_path / "a.weights.h5", {"batch_normalization": next(iter(arrays.values()))})
    net = bp.Network(bp.BatchNorm(), 2, device="cpu")
    with pytest.raises(ModelFileError, match="does not say whether it has a gamma or a beta"):
        net.load_keras(path)
    for scale in (True, False):
        config = {"name": "batch_normalization", "scale": scale, "center": not scale, "epsilon": 1e-5}
        model = {
            "class_name": "Sequential",
            "config": {"layers": [{"class_name": "BatchNormalization", "config": config}]},
        }
        archive = keras_archive(tmp_path / "a.keras", path.read_bytes(), model)
        report = net.load_keras(archive, strict=True)
        assert (net.parameters["gamma" if scale else "beta"] == 3).all() and len(report.taken[0].notes) == 1
        assert (net.parameters["beta" if scale else "gamma"] == (0 if scale else 1)).all()


def keras_archive(path: Path, weights: bytes, model: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", weights)
    return path


@pytest.mark.parametrize(
    ("cls", "arguments", "words"),
    [
        ("LSTM", {"activation": "relu"}, "activation is relu"),
        ("LSTM", {"recurrent_activation": "hard_sigmoid"}, "hard_sigmoid"),
        ("Conv2DTranspose", {}, "belongs to transposed convolution|nothing that fits Conv2D"),
        ("GroupNormalization", {}, "fits a layer of this network"),
    ],
)
def test_layers_that_compute_otherwise_are_refused(tmp_path: Path, cls: str, arguments: Any, words: str) -> None:
    """Although their arrays have the shapes of a layer here."""
    groups = {"LSTM": "lstm/cell", "Conv2DTranspose": "conv2d_transpose", "GroupNormalization": "group_normalization"}
    shapes: dict[str, Any] = {
        "LSTM": [(3, 8), (2, 8), (8,)], "Conv2DTranspose": [(2, 2, 3, 3), (3,)], "GroupNormalization": [(3,), (3,)],
    }  # fmt: skip
    ours = {"LSTM": bp.LSTM(2), "Conv2DTranspose": bp.Conv2D(3, 2), "GroupNormalization": bp.LayerNorm()}
    rows = {"LSTM": (4, 3), "Conv2DTranspose": (4, 4, 3), "GroupNormalization": (3,)}
    path = keras3(tmp_path / "a.weights.h5", {groups[cls]: [np.ones(shape) for shape in shapes[cls]]})
    layer = {"class_name": cls, "module": "keras.layers", "config": {"name": "x", **arguments}}
    archive = keras_archive(
        tmp_path / "a.keras", path.read_bytes(), {"class_name": "Sequential", "config": {"layers": [layer]}}
    )
    with pytest.raises(ModelFileError, match=words):
        bp.Network(ours[cls], rows[cls], device="cpu").load_keras(archive)
    if cls != "LSTM":
        with pytest.raises(ModelFileError, match=words):
            bp.Network(ours[cls], rows[cls], device="cpu").load_keras(path)


def test_a_configuration_runs_nothing(tmp_path: Path) -> None:
    """It may name anything: modules are not imported, functions not called."""
    weights = keras3(tmp_path / "a.weights.h5", {"dense": [np.ones((3, 2)), np.zeros(2)]}).read_bytes()
    evil = {
        "class_name": "Lambda",
        "module": "antigravity",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": "eA=="}}},
    }
    dense = {"class_name": "Dense", "module": "os", "registered_name": "os>system", "config": {"name": "dense"}}
    model = {"class_name": "Sequential", "module": "builtins.exec", "config": {"layers": [evil, dense]}}
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    before = set(sys.modules)
    assert net.load_keras(keras_archive(tmp_path / "a.keras", weights, model)).complete
    assert "antigravity" not in set(sys.modules) - before


def test_packed_arrays_are_read(tmp_path: Path) -> None:
    """gzip and shuffle, in pieces that do not divide the array."""
    W = np.random.default_rng(0).normal(size=(30, 7)).astype("float32")
    net = bp.Network(bp.Dense(7), 30, device="cpu")
    for options in ({"compression": "gzip"}, {"shuffle": True}, {"compression": "gzip", "shuffle": True}, {}):
        path = tmp_path / "a.weights.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("layers/dense/vars/0", data=W, chunks=(8, 4), **options)
            file.create_dataset("layers/dense/vars/1", data=np.full(7, 2.0), chunks=(3,), **options)
        net.load_keras(path, strict=True)
        assert (net.parameters["W"] == W).all() and (net.parameters["b"] == 2).all()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", path.read_bytes())
    (tmp_path / "packed.keras").write_bytes(packed.getvalue())
    assert net.load_keras(tmp_path / "packed.keras").complete


def test_arrays_that_were_not_written_are_refused(tmp_path: Path) -> None:
    """Keras writes all its numbers; what stands for those that are missing could be damaged, and end the process."""
    net, path = bp.Network(bp.Dense(7), 30, device="cpu"), tmp_path / "a.weights.h5"
    for options in ({"chunks": (8, 4), "compression": "gzip"}, {"chunks": (8, 4)}, {}):
        with h5py.File(path, "w") as file:
            made = file.create_dataset("layers/dense/vars/0", (30, 7), "float32", fillvalue=2.0, **options)
            if options:
                made[:8, :4] = 1.0
            file["layers/dense/vars/1"] = np.zeros(7)
        before = net.parameters["W"].copy()
        with pytest.raises(ModelFileError, match="pieces, and its shape|0 bytes, and its shape"):
            net.load_keras(path)
        assert (net.parameters["W"] == before).all()


def test_without_h5py(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'gpubp\[keras\]'"):
        cnn().load_keras(files / "cnn.keras")


def test_another_source() -> None:
    with pytest.raises(TypeError, match="load_keras needs the path"):
        cnn().load_keras({"a": 1})  # type: ignore[arg-type]
