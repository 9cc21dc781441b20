"""The file in C: what it says and declares, its bytes, its names, and what is refused."""

from __future__ import annotations

import copy
import ctypes
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from c_runs import SMALL, WARNINGS, Compiled, as_trained, difference, needs_compiler, run_compiler

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.interop.c.memory import Life, offsets
from gpubp.interop.c.words import literal, plain
from strict import StrictProducts, strict_cupy

CNN = bp.Sequential(
    bp.Conv2D(8, 3, padding="same"), bp.BatchNorm(), bp.ReLU(), bp.MaxPool2D(2),
    bp.Conv2D(16, 3), bp.GELU(), bp.GlobalAvgPool2D(), bp.Dense(10),
)  # fmt: skip


def text_of(net: bp.Network, folder: Path, **options: object) -> str:
    net.to_c(folder / "model.c", **options)
    return (folder / "model.c").read_text(encoding="ascii")


@needs_compiler
def test_trained_networks_give_the_same_to_two_parts_in_a_million(tmp_path: Path) -> None:
    """Digits by a dense network and by a convolution, and classes and probabilities. Other kernels of BLAS, and other
    numbers of its threads, train other weights: 0.7 to 1.1 parts were seen of the convolution."""
    sklearn = pytest.importorskip("sklearn.datasets")
    digits = sklearn.load_digits()
    X, y = (digits.data / 16).astype(np.float32), digits.target
    nets = {
        "mlp": bp.Network(bp.Sequential(bp.Dense(64), bp.ReLU(), bp.Dense(32), bp.Tanh(), bp.Dense(10)), 64, "cpu"),
        "cnn": bp.Network(bp.Sequential(bp.Reshape((8, 8, 1)), CNN), 64, "cpu"),
    }
    for net in nets.values():
        bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=64).fit(X, y, epochs=3)
    compiled = Compiled(nets, tmp_path, "-O2", probabilities=True)
    for name, net in nets.items():
        z = net.predict(X)
        assert (z.argmax(axis=1) == y).mean() > 0.8
        assert difference(compiled.predict(name, X), z) <= 2e-6
        assert compiled.classes(name, X) == z.argmax(axis=1).tolist()
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        assert difference(compiled.predict(name, X, "predict_probabilities"), p) <= 1e-6


@needs_compiler
@pytest.mark.parametrize("options", [("-O0",), ("-O2",), ("-O3",), ("-Os", "-ffp-contract=off")])
def test_optimizations_change_no_more_than_roundings(options: tuple[str, ...], tmp_path: Path) -> None:
    net = as_trained(bp.Network(CNN, (12, 11, 3), "cpu"))
    X = np.random.default_rng(1).normal(size=(5, 12, 11, 3))
    assert difference(Compiled({"m": net}, tmp_path, *options).predict("m", X), net.predict(X)) <= 1e-6


@needs_compiler
def test_the_file_is_c_plus_plus_too(tmp_path: Path) -> None:
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    for name, layers, shape in (("cnn", CNN, (8, 8, 3)), ("lstm", bp.Sequential(bp.LSTM(3), bp.Dense(1)), (4, 2))):
        bp.Network(layers, shape, "cpu").to_c(tmp_path / f"{name}.c", name=name)
        options = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
        run_compiler(*options, "-x", "c++", "-c", tmp_path / f"{name}.c", "-o", tmp_path / "o", compiler=compiler)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    first = text_of(as_trained(bp.Network(CNN, (8, 8, 3), "cpu")), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    assert text_of(as_trained(bp.Network(CNN, (8, 8, 3), "cpu")), other) == first


@pytest.mark.parametrize("of", ["frozen", "cuda", "exact"])
def test_where_a_network_is_changes_no_byte(of: str, tmp_path: Path) -> None:
    net = bp.Network(SMALL, 4, "cpu", seed=3)
    first = text_of(net, tmp_path)
    if of == "cuda":
        other = bp.Network(SMALL, 4, CUDA(strict_cupy(), products=StrictProducts), seed=3)
    elif of == "exact":
        pytest.importorskip("numba")
        other = bp.Network(SMALL, 4, "cpu", numerics="exact")
        for name, array in net.parameters.items():
            other.parameters[name][...] = array
    else:
        other = copy.deepcopy(net)
        other.freeze("*")
    assert text_of(other, tmp_path) == first


def test_weights_are_exact_to_the_bit(tmp_path: Path) -> None:
    special = [0.0, -0.0, 1.0, 0.1, -2.5, 1e-45, -1.1754944e-38, 3.4028235e38, 16777217.0, 0.015625, 1 / 3, 999999.98]
    net = bp.Network(bp.Dense(1, use_bias=False), len(special), "cpu")
    net.parameters["W"][:, 0] = special
    found = re.search(r"p_w\[\d+\] = \{(.*?)\}", text_of(net, tmp_path), re.DOTALL)[1]
    words = [word.strip() for word in found.split(",")]
    assert all(word.endswith("f") for word in words)
    numbers = [float.fromhex(w[:-1]) if "0x" in w else float(w[:-1]) for w in words]
    assert np.array(numbers, "float32").tobytes() == net.parameters["W"].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_literals_are_exact(dtype: str) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, 2000, dtype="uint64").astype("uint64" if dtype == "float64" else "uint32")
    for value in bits.view(dtype)[np.isfinite(bits.view(dtype))]:
        word = literal(value, dtype)
        assert word.endswith("f") == (dtype == "float32")
        digits = word.removesuffix("f") if dtype == "float32" else word
        assert np.dtype(dtype).type(float.fromhex(digits) if "0x" in digits else float(digits)) == value


HOSTILE = [
    '*/ int x = "',
    "/* a",
    "line\nbreak",
    "??/",
    "é 猫 \u202e",
    "\\",
    '"',
    "$copy(x)",
    "%s",
    "a\\\n",
    "??)*/??/",
    "",
    "\0",
]


@needs_compiler
def test_names_of_classes_and_layers_are_harmless(tmp_path: Path) -> None:
    class Odd(bp.Activation):
        def __init__(self, word="*/ #error ??/\n$ \\"):
            self.word = word

        def f(self, x):
            return x * 2.0

        def df(self, x, y, dy):
            return dy

    net = bp.Network(bp.Sequential(bp.Dense(len(HOSTILE)), Odd()), 2, "cpu")
    net.metadata |= {"task": "classes", "names": HOSTILE, "data": "*/"}
    compiled = Compiled({"odd": net}, tmp_path, "-O1", "-trigraphs", "-Wcomment", "-Wtrigraphs")
    X = np.ones((2, 2))
    assert difference(compiled.predict("odd", X), net.predict(X)) <= 1e-6
    text = (tmp_path / "odd.c").read_text(encoding="ascii")
    assert text.count("/*") == text.count("*/") and "??" not in text
    for i, name in enumerate(HOSTILE[:1] + HOSTILE[6:7]):
        assert plain(name.replace('"', '\\"')) in text, i


def test_odd_paths_are_no_part_of_the_text(tmp_path: Path) -> None:
    net = bp.Network(SMALL, 4, "cpu")
    odd = tmp_path / "a b 猫 */ '\"".replace("/", "_")
    net.to_c(odd)
    assert odd.read_text(encoding="ascii") == text_of(net, tmp_path)


@needs_compiler
def test_two_networks_in_one_program_and_the_plain_name(tmp_path: Path) -> None:
    nets = {"first": as_trained(bp.Network(SMALL, 4, "cpu"), 1), "second": as_trained(bp.Network(SMALL, 4, "cpu"), 2)}
    for name, net in nets.items():
        net.to_c(tmp_path / f"{name}.c", name=name)
        run_compiler(*WARNINGS, "-fPIC", "-c", tmp_path / f"{name}.c", "-o", tmp_path / f"{name}.o")
    as_trained(bp.Network(SMALL, 4, "cpu"), 3).to_c(tmp_path / "plain.c")
    run_compiler(*WARNINGS, "-fPIC", "-c", tmp_path / "plain.c", "-o", tmp_path / "plain.o")
    objects = [tmp_path / f"{name}.o" for name in ("first", "second", "plain")]
    run_compiler("-shared", "-o", tmp_path / "all.so", *objects, "-lm")
    library = ctypes.CDLL(str(tmp_path / "all.so"))
    assert library.first_predict and library.second_predict and library.predict and library.predict_with


@needs_compiler
def test_threads_with_memory_of_their_own(tmp_path: Path) -> None:
    net = as_trained(
        bp.Network(bp.Sequential(bp.Dense(200), bp.Tanh(), bp.Dense(200), bp.Tanh(), bp.Dense(4)), 30, "cpu")
    )
    compiled = Compiled({"m": net}, tmp_path)
    X = np.random.default_rng(0).normal(size=(8, 50, 30)).astype("float32")
    numbers = int(re.search(r"M_PREDICT_MEMORY (\d+)", (tmp_path / "m.c").read_text())[1])

    def of(part: np.ndarray) -> np.ndarray:
        memory = np.empty(numbers, "float32")
        return compiled.predict("m", part, "predict_with", ctypes.c_void_p(memory.ctypes.data))

    with ThreadPoolExecutor(8) as pool:
        for found, part in zip(pool.map(of, X), X, strict=True):
            assert difference(found, net.predict(part)) <= 1e-6


def test_the_comment_says_what_is_needed_to_call_it(tmp_path: Path) -> None:
    net = bp.Network(bp.Sequential(bp.Flatten(), SMALL), (2, 2, 1), "cpu")
    net.metadata |= {"task": "classes", "names": ["cat", "dog", "cow"]}
    text = text_of(net, tmp_path)
    head = text[: text.index("*/")]
    for words in (
        "void predict(const float *x, float *y);", "int predict_class(const float *x);",
        "x: 4 numbers, 2 x 2 x 1 with the last axis innermost", 'Classes: 0 "cat", 1 "dog", 2 "cow".',
        "Weights: 268 B, 67 numbers", "Working memory: 32 B, 8 numbers", "for a row: 56.",
    ):  # fmt: skip
        assert words in head, words
    assert "Time of a row" not in head and "predict_probabilities" not in text


def test_numbers_of_a_table_are_named(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from gpubp.tables import fit

    table = pyarrow.table(
        {"rooms": [2, 4, 2, 4], "town": ["Rome", "Oslo", "Oslo", "Rome"], "price": [1.5, 2.5, 1.5, 2.5]}
    )
    prepared = fit(table, "price")
    net = bp.Network(bp.Dense(1), prepared.width, "cpu")
    prepared.keep_in(net)
    text = text_of(net, tmp_path)
    for words in ("x[0]: (rooms - 3.0) / 1.0", "x[1]: town = Oslo", "price = 2.0 + 0.5 y[0]"):
        assert words in text, text[:2000]


@needs_compiler
def test_the_time_of_a_row_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    net = bp.Network(SMALL, 4, "cpu")
    report = net.to_c(tmp_path / "model.c", name="REAL", time=True)
    assert 1e-10 < report.seconds < 1e-2 and "-O2 on" in report.measured and "multiplications" in str(report)
    assert re.search(r"Time of a row: [\d.e-]+ us, measured with \w+", (tmp_path / "model.c").read_text())


def test_without_a_compiler_no_time_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    net = bp.Network(SMALL, 4, "cpu")
    report = net.to_c(tmp_path / "timed.c", time=True)
    assert report.seconds is None and "no C compiler was found" in report.measured
    assert (tmp_path / "timed.c").read_text() == text_of(net, tmp_path)


def test_a_compiler_that_fails_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\necho 'no licence */' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = bp.Network(SMALL, 4, "cpu").to_c(tmp_path / "m.c", time=True)
    assert report.seconds is None and report.measured == "cc: no licence * /"


class Block(bp.Sequential):
    """Layers that are made by a class of one's own, which computes nothing itself."""

    def __init__(self, units):
        super().__init__(bp.Dense(units), bp.Tanh())


@needs_compiler
def test_a_class_that_computes_nothing_itself_is_written(tmp_path: Path) -> None:
    net = as_trained(bp.Network(bp.Sequential(Block(5), Block(2)), 3, "cpu"))
    X = np.random.default_rng(0).normal(size=(4, 3))
    assert difference(Compiled({"m": net}, tmp_path).predict("m", X), net.predict(X)) <= 1e-6


def test_probabilities_are_those_of_classes_and_labels(tmp_path: Path) -> None:
    net = bp.Network(SMALL, 4, "cpu")
    for task in (None, "numbers", ["classes"]):
        net.metadata["task"] = task
        assert "predict_class" not in text_of(net, tmp_path)
        with pytest.raises(bp.ExportError, match="probabilities are those of classes or labels"):
            net.to_c(tmp_path / "model.c", probabilities=True)


@needs_compiler
def test_labels_have_probabilities_and_no_class(tmp_path: Path) -> None:
    net = as_trained(bp.Network(SMALL, 4, "cpu"))
    net.metadata["task"] = "labels"
    compiled = Compiled({"m": net}, tmp_path, probabilities=True)
    X = np.random.default_rng(0).normal(size=(7, 4))
    p = 1 / (1 + np.exp(-net.predict(X).astype("float64")))
    assert difference(compiled.predict("m", X, "predict_probabilities"), p) <= 1e-6
    assert "predict_class" not in (tmp_path / "m.c").read_text()


def test_values_that_are_needed_together_never_overlap() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        lives = [Life(int(n), int(a), int(a + d)) for n, a, d in rng.integers([1, 0, 0], [9, 10, 5], (12, 3))]
        starts, total = offsets(lives)
        for (a, x), (b, y) in zip(
            zip(lives, starts, strict=True), list(zip(lives, starts, strict=True))[1:], strict=False
        ):
            assert not a.meets(b) or x + a.size <= y or y + b.size <= x
        assert total == max(s + life.size for life, s in zip(lives, starts, strict=True))


@pytest.mark.parametrize(
    ("layers", "shape", "numbers"),
    [
        (bp.Sequential(bp.Dense(50), bp.ReLU(), bp.Dense(30), bp.Tanh(), bp.Dense(2)), 4, 80),
        (bp.Sequential(bp.Dropout(0.1), bp.Dense(2)), 4, 0),
        (bp.Sequential(bp.Dense(9), bp.Residual(bp.Dense(9)), bp.Dense(1)), 4, 18),
        (bp.Sequential(bp.Conv2D(4, 1), bp.BatchNorm(), bp.ReLU(), bp.Flatten(), bp.Dense(1)), (5, 5, 1), 100),
    ],
)
def test_working_memory_is_small(layers: bp.Layer, shape: object, numbers: int, tmp_path: Path) -> None:
    assert bp.Network(layers, shape, "cpu").to_c(tmp_path / "model.c").memory == 4 * numbers


@needs_compiler
def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    """docs/interop.md shows a main.c: it is compiled with a network, and prints what predict gives."""
    page = (Path(__file__).parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")
    (main,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    net = as_trained(bp.Network(bp.Sequential(bp.Dense(32), bp.ReLU(), bp.Dense(3)), 4, "cpu"))
    net.metadata["task"] = "classes"
    net.to_c(tmp_path / "flowers.c")
    (tmp_path / "main.c").write_text(main)
    run_compiler(
        "-std=c99",
        "-Wall",
        "-Werror",
        "-O2",
        "-o",
        tmp_path / "run",
        tmp_path / "main.c",
        tmp_path / "flowers.c",
        "-lm",
    )
    told = subprocess.run([tmp_path / "run"], capture_output=True, text=True, check=True).stdout
    z = net.predict(np.array([[5.1, 3.5, 1.4, 0.2]]))[0]
    *numbers, kind = told.replace(": class", "").split()
    assert np.allclose([float(n) for n in numbers], z, rtol=1e-4) and int(kind) == z.argmax()
