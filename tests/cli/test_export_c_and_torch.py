"""`gpubp export` to C and to PyTorch."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, run
from exported import saved

import gpubp as bp
from gpubp.cli.random_rows import random_rows

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_pytorch_reads_the_file() -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    net = saved(bp.Sequential(bp.Dense(6), bp.BatchNorm(), bp.ReLU(), bp.Dense(2)), 4)
    done = run("export", "m.safetensors", "torch.safetensors")
    assert done.exit_code == 0 and re.search(r"^0\.weight +float32 +\(6, 4\)", done.stdout, re.M), done.output
    assert 'module.load_state_dict(safetensors.torch.load_file("torch.safetensors"))' in done.stdout
    nn = torch.nn
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).eval()
    module.load_state_dict(load_file("torch.safetensors"))
    X = random_rows(net, 20)
    with torch.no_grad():
        assert np.abs(module(torch.from_numpy(X)).numpy() - net.predict(X)).max() < 1e-5


def test_names_of_pytorch_are_chosen() -> None:
    from safetensors.numpy import load_file

    saved(bp.Sequential(bp.Dense(6), bp.ReLU(), bp.Dense(2)), 4)
    done = run("export", "m.safetensors", "t.safetensors", "--naming", "0=fc1, 2=", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["tensors"] == [
        {"name": "fc1.weight", "type": "float32", "shape": [6, 4]},
        {"name": "fc1.bias", "type": "float32", "shape": [6]},
    ]
    assert sorted(load_file("t.safetensors")) == ["fc1.bias", "fc1.weight"]


def test_c_is_written_with_what_it_needs(trained: Path) -> None:
    words = ("export", "points.safetensors", "points.c", "--name", "points", "--probabilities")
    done = run(*words)
    assert done.exit_code == 0 and done.stderr == "", done.output
    for line in (
        "void points_predict(const float *x, float *y)",
        "int points_predict_class(const float *x)",
        "x        3 numbers, one row.",
        "next     cc -std=c99 -O2 -c points.c",
    ):
        assert line in done.stdout, done.stdout
    found = json.loads(run(*words, "--json").stdout)
    assert found["form"] == "C" and found["bytes"] == Path("points.c").stat().st_size and found["takes"] is None
    assert "void points_predict_probabilities(const float *x, float *y)" in found["functions"]
    assert found["needs"]["multiplications"] == 3 * 8 + 8 * 2 and found["needs"]["seconds"] is None


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_class_in_c_is_that_of_gpubp(trained: Path) -> None:
    done = run("export", "points.safetensors", "points.c", "--time")
    assert done.exit_code == 0 and re.search(r"multiplications, [\d.]+ us for a row", done.stdout), done.output
    assert "measured with cc" in done.stderr
    subprocess.run(["cc", "-std=c99", "-O2", "-shared", "-fPIC", "-o", "points.so", "points.c", "-lm"], check=True)
    library = ctypes.CDLL(str(Path("points.so").absolute()))
    with np.load(trained) as data:
        X = np.ascontiguousarray(data["X"], np.float32)
    told = json.loads(run("predict", "points.safetensors", trained, "--json", *CPU).stdout)["predictions"]
    classes = [library.predict_class(x.ctypes.data_as(ctypes.POINTER(ctypes.c_float))) for x in X]
    assert [[3, 7][k] for k in classes] == told


@pytest.mark.usefixtures("houses")
def test_a_c_file_of_a_table_takes_prepared_rows() -> None:
    done = run("export", "houses.safetensors", "houses.c")
    assert done.exit_code == 0 and "x        23 numbers, one row." in done.stdout, done.output
    assert "x has the numbers that gpubp makes of the columns" in done.stderr


C_MISTAKES = [
    (("m.c", "--name", "2x"), "name goes before names in C: a letter, then letters, digits and _"),
    (("m.c", "--probabilities"), "probabilities are those of classes or labels"),
    (("m.c", "--raw"), "--raw goes with ONNX, and m.c is for C"),
    (("m.onnx", "--time"), "--time goes with C, and m.onnx is for ONNX"),
]


@pytest.mark.parametrize(("arguments", "words"), C_MISTAKES, ids=lambda value: str(value)[-30:])
def test_mistakes_with_c(arguments: tuple[str, ...], words: str) -> None:
    saved(bp.Dense(2), 4)
    done = run("export", "m.safetensors", *arguments)
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
    assert words in done.stderr and [path.name for path in Path().iterdir()] == ["m.safetensors"]


TORCH_MISTAKES = [
    (("m.safetensors",), "OUT m.safetensors would write over m.safetensors"),
    (("./m.safetensors",), "would write over m.safetensors"),
    (("m.pt",), "OUT m.pt: gpubp writes no pickles; PyTorch reads a file that ends in .safetensors"),
    (("t.safetensors", "--naming", "fc1"), "--naming 'fc1' is no list of names, such as 0=fc1,2=fc2"),
    (("t.safetensors", "--naming", "0=a,0=b"), "--naming gives 0 two names"),
    (("t.safetensors", "--naming", "7=a"), "naming has '7', with which no name begins"),
    (("t.safetensors", "--check", "digits"), "--check goes with ONNX, and t.safetensors is for PyTorch"),
    (("t.safetensors", "--data", "x"), "--data goes with ONNX"),
    (("m.onnx", "--naming", "0=a"), "--naming goes with PyTorch, and m.onnx is for ONNX"),
]


@pytest.mark.parametrize(("arguments", "words"), TORCH_MISTAKES, ids=lambda value: str(value)[-30:])
def test_mistakes_with_files_for_pytorch(arguments: tuple[str, ...], words: str) -> None:
    saved(bp.Dense(2), 4)
    before = Path("m.safetensors").read_bytes()
    done = run("export", "m.safetensors", *arguments)
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
    assert words in done.stderr and [path.name for path in Path().iterdir()] == ["m.safetensors"]
    assert Path("m.safetensors").read_bytes() == before
