"""The benchmark of scaling: steps by width, depth and batch, imports, installed sizes, and MNIST to an accuracy."""

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import mnist, scaling  # noqa: E402
from benchmarks.workloads import Workload, mlp  # noqa: E402
from gpubp.backends.cpu.blas import forcing  # noqa: E402


class TestScaling:
    def test_one_thing_grows_at_a_time(self) -> None:
        found = list(scaling.points())
        assert [size for grows, size, _ in found if grows == "batch"] == [1, 4, 16, 64, 256, 1024]
        sizes = {grows: [w.size for g, _, w in found if g == grows] for grows in ("width", "depth", "batch")}
        assert sizes["width"] == sorted(set(sizes["width"])) and sizes["depth"] == sorted(set(sizes["depth"]))
        assert len(set(sizes["batch"])) == 1
        assert all(w.batch == 128 for grows, _, w in found if grows != "batch")

    def test_steps_and_memory(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        point = ("width", 8, Workload("width 8", "", (8,), mlp(8, 3), 4, rows=16))
        monkeypatch.setattr(scaling, "points", lambda quick: [point])
        monkeypatch.setattr(scaling, "PEERS", ("gpubp",))
        results = scaling.run(["steps"], None, 1, quick=True)
        own = results["steps"][0]["contenders"]["gpubp"]
        assert len(own["seconds"]) == 2 and own["memory"] > 0
        assert own["kernels"][0]["of"] == "NumPy" and results["machine"]["taken_out"] == forcing()
        shown = scaling.terminal(results).splitlines()
        assert "Kernels: NumPy's" in shown[0] and shown[4].split()[0] == "8"
        pytest.importorskip("matplotlib")
        scaling.draw(results, tmp_path / "scaling.png")
        assert (tmp_path / "scaling.png").exists()

    def test_what_is_installed(self) -> None:
        alone, one = scaling.installed_size("numpy")
        ours, packages = scaling.installed_size("gpubp")
        assert one == 1 and packages == 1 + sum(
            not missing_package(n) for n in ("numpy", "safetensors", "threadpoolctl")
        )
        assert 0 < ours - alone < 20e6 < alone

    def test_an_import(self) -> None:
        found = scaling._import("gpubp", 1)
        assert 0 < found["seconds"] < 10 and found["memory"] > 1e6

    @pytest.mark.parametrize("model", ["mlp", "cnn"])
    def test_an_epoch_of_a_small_mnist(self, model: str, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        told = mnist.learn(model, "gpubp", str(tmp_path), 1, epochs=2)
        assert told["kernels"][0]["of"] == "NumPy"
        assert told == told | {"model": model, "library": "gpubp", "goal": mnist.GOALS[model]}
        assert 0 < told["epochs"] <= 2 and told["seconds"] > 0 and told["reached"] == (told["accuracy"] >= told["goal"])

    def test_without_mnist(self, tmp_path: Path) -> None:
        assert "lacks" in mnist.learn("mlp", "gpubp", str(tmp_path), 1)["problem"]


def missing_package(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


def write_mnist(folder: Path) -> None:
    """The four files, with 256 rows to learn from and 64 to be tested on."""
    rng = np.random.default_rng(0)
    for part, rows in (("train", 256), ("t10k", 64)):
        for name, array in (
            ("images-idx3", rng.integers(0, 256, (rows, 28, 28))), ("labels-idx1", rng.integers(0, 10, rows))
        ):  # fmt: skip
            head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())
