"""Slopes of a PReLU from PyTorch and Keras: their shapes, and their order behind a flattened map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import ModelFileError


def test_slopes_behind_a_flattened_map_by_hand() -> None:
    """A map of 1 x 2 pixels and 2 channels: PyTorch counts (channel, pixel), gpubp (pixel, channel)."""
    net = bp.Network(bp.Sequential(bp.Flatten(), bp.PReLU()), (1, 2, 2), device="cpu")
    net.load_torch({"1.weight": np.array([1.0, 2, 3, 4])}, strict=True)
    assert net.parameters["1.a"].tolist() == [1.0, 3, 2, 4]
    assert net.to_torch_state()["1.weight"].tolist() == [1.0, 2, 3, 4]
    single = bp.Network(bp.Sequential(bp.Flatten(), bp.PReLU("single")), (1, 2, 2), device="cpu")
    single.load_torch({"1.weight": np.array([0.5])}, strict=True)
    assert single.to_torch_state()["1.weight"].tolist() == [0.5]
    with pytest.raises(ModelFileError, match=r"needs \(1,\)"):
        single.load_torch({"1.weight": np.ones(4)})


def test_predictions_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.PReLU(4), nn.PReLU(), nn.Softmax2d(), nn.Flatten(), nn.PReLU(16), nn.Linear(16, 3),
        nn.LogSoftmax(1),
    )  # fmt: skip
    layers = bp.Sequential(
        bp.Conv2D(4, 3), bp.PReLU(), bp.PReLU("single"), bp.Softmax(), bp.Flatten(), bp.PReLU(), bp.Dense(3),
        bp.LogSoftmax(),
    )  # fmt: skip
    with torch.no_grad():
        for slopes in module[1].weight, module[2].weight, module[5].weight:
            slopes.uniform_(-1, 1)
    net = bp.Network(layers, (4, 4, 2), device="cpu")
    assert net.load_torch(module.state_dict(), strict=True).complete
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    y = module(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(net.predict(x), y, rtol=1e-5, atol=1e-6)
    module.load_state_dict({name: torch.from_numpy(a) for name, a in net.to_torch_state().items()})


@pytest.mark.parametrize(
    ("slopes", "shape"), [("channel", (1, 1, 2)), ("channel", (2,)), ("single", (1, 1, 1)), ("each", (3, 4, 2))]
)
def test_slopes_of_keras_have_a_1_for_each_axis_that_shares_them(
    tmp_path: Path, slopes: str, shape: tuple[int, ...]
) -> None:
    h5py = pytest.importorskip("h5py")
    alpha, path, old = np.random.default_rng(0).uniform(size=shape), tmp_path / "a.weights.h5", tmp_path / "a.h5"
    with h5py.File(path, "w") as file:  # of Keras 3
        file["layers/p_re_lu/vars/0"] = alpha.astype(np.float32)
    with h5py.File(old, "w") as file:  # of Keras 2
        file.attrs["layer_names"] = [b"p_re_lu"]
        group = file.create_group("p_re_lu")
        group.attrs["weight_names"] = [b"p_re_lu/alpha:0"]
        group["p_re_lu/alpha:0"] = alpha.astype(np.float32)
    for of in (path, old):
        net = bp.Network(bp.PReLU(slopes), (3, 4, 2), device="cpu")  # type: ignore[arg-type]
        assert net.load_keras(of, strict=True).complete
        assert net.parameters["a"].ravel().tolist() == alpha.astype(np.float32).ravel().tolist()
    other = bp.Network(bp.PReLU("single" if slopes != "single" else "channel"), (3, 4, 2), device="cpu")
    with pytest.raises(ModelFileError, match="alpha"):
        other.load_keras(path)
