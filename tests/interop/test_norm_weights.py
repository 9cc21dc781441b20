"""Weights of normalizations from PyTorch and Keras, and back to PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_keras_files import keras3, keras_archive

import gpubp as bp
from gpubp.errors import ModelFileError


def prepared(torch: Any, module: Any) -> Any:
    """A module as after a training."""
    with torch.no_grad():
        for name, a in (*module.named_parameters(), *module.named_buffers()):
            if a.is_floating_point():
                a.uniform_(0.5, 1.5)
            elif "num_batches" in name:
                a.fill_(7)
    return module.eval()


def test_predictions_are_those_of_pytorch() -> None:
    """A map through all of them, a LayerNorm over (C, H, W) there and (H, W, C) here, and rows behind a Flatten."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    module = prepared(
        torch,
        nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.GroupNorm(3, 6), nn.Tanh(), nn.InstanceNorm2d(6, affine=True), nn.Dropout2d(),
            nn.BatchNorm2d(6, affine=False, momentum=None), nn.LayerNorm((6, 2, 3)), nn.InstanceNorm2d(6),
            nn.BatchNorm2d(6), nn.Flatten(), nn.LayerNorm(36, bias=False), nn.RMSNorm(36), nn.AlphaDropout(),
            nn.Linear(36, 3),
        ),
    )  # fmt: skip
    layers = bp.Sequential(
        bp.Conv2D(6, 3), bp.GroupNorm(3), bp.Tanh(), bp.InstanceNorm(), bp.SpatialDropout(),
        bp.BatchNorm(None, affine=False), bp.LayerNorm(axes=3), bp.InstanceNorm(affine=False), bp.BatchNorm(),
        bp.Flatten(), bp.LayerNorm(use_bias=False), bp.RMSNorm(float(np.finfo(np.float32).eps)), bp.AlphaDropout(),
        bp.Dense(3),
    )  # fmt: skip
    net = bp.Network(layers, (4, 5, 2), device="cpu")
    assert net.load_torch(module.state_dict(), strict=True).complete
    assert net.states["5.count"].tolist() == [7.0]
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
    y = module(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(net.predict(x), y, rtol=2e-5, atol=2e-5)
    back = net.to_torch_state()
    assert back["5.num_batches_tracked"] == 7 and back["8.num_batches_tracked"] == 0
    for name, a in module.state_dict().items():
        if name != "8.num_batches_tracked":
            assert np.array_equal(back[name], a.numpy()), name


def test_sequences_of_pytorch() -> None:
    """Over all numbers of a sequence (T, n), which has no channels first; and behind a Conv1d, which has."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    module = prepared(torch, nn.Sequential(nn.Linear(6, 5), nn.LayerNorm((4, 5)), nn.RMSNorm((4, 5), 1e-5)))
    net = bp.Network(bp.Sequential(bp.Dense(5), bp.LayerNorm(axes=2), bp.RMSNorm(axes=2)), (4, 6), device="cpu")
    net.load_torch(module.state_dict(), strict=True)
    np.testing.assert_allclose(net.predict(x), module(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-5)
    module = prepared(torch, nn.Sequential(nn.Conv1d(6, 5, 1), nn.LayerNorm((5, 4)), nn.GroupNorm(5, 5)))
    net = bp.Network(bp.Sequential(bp.Conv1D(5, 1), bp.LayerNorm(axes=2), bp.InstanceNorm()), (4, 6), device="cpu")
    net.load_torch(module.state_dict(), strict=True)
    y = module(torch.from_numpy(x).transpose(1, 2)).detach().numpy()
    np.testing.assert_allclose(net.predict(x), y.swapaxes(1, 2), rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_refused_and_what_differs_is_told() -> None:
    net = bp.Network(bp.Sequential(bp.Dense(4), bp.BatchNorm(affine=False)), 3, device="cpu")
    rest = {"0.weight": np.ones((4, 3)), "0.bias": np.ones(4)}
    running = {"1.running_mean": np.ones(4), "1.running_var": np.ones(4)}
    net.load_torch({**rest, **running}, strict=True)
    with pytest.raises(ModelFileError, match=r"1\.weight"):
        net.load_torch({**rest, **running, "1.weight": np.ones(4), "1.bias": np.ones(4)}, strict=True)
    report = bp.Network(bp.RMSNorm(1e-5), 4, device="cpu").load_torch({"weight": np.ones(4)})
    assert any("eps is 1e-05 here, and 1.19209e-07 in PyTorch" in note for one in report.taken for note in one.notes)
    flat = bp.Network(bp.Sequential(bp.Flatten(), bp.GroupNorm(2)), (2, 2, 2), device="cpu")
    with pytest.raises(ModelFileError, match="groups have other members"):
        flat.load_torch({"1.weight": np.ones(8), "1.bias": np.ones(8)})


KERAS: list[tuple[str, bp.Layer, dict[str, Any], list[str]]] = [
    ("GroupNormalization", bp.GroupNorm(2, 1e-3), {"groups": 2, "epsilon": 1e-3}, ["gamma", "beta"]),
    ("GroupNormalization", bp.InstanceNorm(1e-3), {"groups": -1, "epsilon": 1e-3}, ["gamma", "beta"]),
    ("GroupNormalization", bp.GroupNorm(2, use_bias=False), {"scale": True, "center": False}, ["gamma"]),
    ("RMSNormalization", bp.RMSNorm(1e-6), {"epsilon": 1e-6}, ["gamma"]),
    ("LayerNormalization", bp.LayerNorm(use_bias=False), {"scale": True, "center": False}, ["gamma"]),
    ("BatchNormalization", bp.BatchNorm(affine=False), {"scale": False, "center": False}, ["mean", "var"]),
    ("BatchNormalization", bp.BatchNorm(use_bias=False), {"scale": True, "center": False}, ["gamma", "mean", "var"]),
]


# Without a description nobody knows which of gamma and beta there is, where there is one of them.
FILES = [(*case, True) for case in KERAS]
FILES += [(*case, False) for case in KERAS if len(case[3]) == 2 or case[0] == "RMSNormalization"]


@pytest.mark.parametrize(("cls", "layer", "arguments", "names", "described"), FILES, ids=str)
def test_arrays_of_keras(
    tmp_path: Path, cls: str, layer: bp.Layer, arguments: dict[str, Any], names: list[str], described: bool
) -> None:
    pytest.importorskip("h5py")
    group = {"RMSNormalization": "rms_normalization"}.get(cls, cls.replace("Norm", "_norm").lower())
    arrays = [np.random.default_rng(k).uniform(0.5, 1.5, 4).astype(np.float32) for k in range(len(names))]
    path = keras3(tmp_path / "a.weights.h5", {group: arrays})
    if described:
        whole = {"class_name": cls, "module": "keras.layers", "config": {"name": group, **arguments}}
        model = {"class_name": "Sequential", "config": {"layers": [whole]}}
        path = keras_archive(tmp_path / "a.keras", path.read_bytes(), json.loads(json.dumps(model)))
    net = bp.Network(layer, (3, 4), device="cpu")
    report = net.load_keras(path, strict=True)
    here = {**net.parameters, **net.states}
    assert all(np.array_equal(here[name], a) for name, a in zip(names, arrays, strict=True))
    assert report.complete


def test_other_groups_of_keras_are_told(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = keras3(tmp_path / "a.weights.h5", {"group_normalization": [np.ones(4), np.ones(4)]})
    whole = {"class_name": "GroupNormalization", "config": {"name": "group_normalization", "groups": 4}}
    model = {"class_name": "Sequential", "config": {"layers": [whole]}}
    archive = keras_archive(tmp_path / "a.keras", path.read_bytes(), model)
    report = bp.Network(bp.GroupNorm(2), (3, 4), device="cpu").load_keras(archive)
    assert any("groups is 4 in Keras, and 2 here" in note for one in report.taken for note in one.notes)
