"""The process in which HDF5's library reads files: what it may do to the one that asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import ModelFileError
from gpubp.interop.keras import process

h5py = pytest.importorskip("h5py")

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
CHILD = "import os, signal, time; from gpubp.interop.keras import child, hdf5; "
CUT_OFF = "real = child._answered; child._answered = lambda *given: ({'dtype': '<f8'}, bytes(9))"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layers/dense/vars/0"] = np.full((3, 2), 5.0, "float32")
        file["layers/dense/vars/1"] = np.zeros(2, "float32")
    return tmp_path / "a.h5"


def network() -> bp.Network:
    return bp.Network(bp.Dense(2), 3, device="cpu")


def refused(path: Path, words: str) -> None:
    """It is refused with these words, and nothing is written, nor left open."""
    net, files = network(), open_files()
    before = net.parameters["W"].copy()
    with pytest.raises(ModelFileError, match=words):
        net.load_keras(path)
    assert (net.parameters["W"] == before).all()
    assert not open_files() - files


def open_files() -> set[tuple[str, str]]:
    """Descriptors and what they are of. Those of earlier tests may be closed at any time, when garbage is collected."""
    if sys.platform != "linux":
        return set()
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return {(link, os.readlink(link)) for link in links if os.path.islink(link)}  # the listing's own is closed by now


@POSIX
@pytest.mark.parametrize("when", ["child._answer", "hdf5.Reader.numbers"])
def test_a_crash_is_an_error(path: Path, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the beginning, and when the first array is read."""
    code = f"{CHILD}{when} = lambda *given: os.kill(os.getpid(), signal.SIGSEGV); child.main()"
    monkeypatch.setattr(process, "CODE", code)
    refused(path, r"a\.h5 is damaged: HDF5's library crashed while reading it \(SIGSEGV\)")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("child._answer = lambda *given: os._exit(7)", r"crashed while reading it \(exit code 7\)"),
        ("child._answer = lambda *given: time.sleep(100)", "did not come back from reading it within 1 s"),
        (f"{CUT_OFF} if given[1]['ask'] == 'numbers' else real(*given)", "did not come back"),
        ("child.main = lambda: None", "does not start"),
    ],
)
def test_other_ends(path: Path, code: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WAIT", 1.0)
    monkeypatch.setattr(process, "CODE", f"{CHILD}{code}; child.main()")
    refused(path, words)


@pytest.mark.parametrize(
    "answer",
    [
        "{'tree': 3}, None",
        "{'tree': [0, {}, {'a\\x1b': [1, [2]]}]}, None",
        "{'tree': [0, {}, {'x' * (1 << 22): [1, [2]]}]}, None",
        "{'texts': [3]} if given[1]['ask'] == 'texts' else real(*given), None",
        "({'dtype': '|O'}, bytes(48)) if given[1]['ask'] == 'numbers' else real(*given)",
    ],
)
def test_wrong_answers(path: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        process, "CODE", f"{CHILD}real = child._answered; child._answered = lambda *given: ({answer}); child.main()"
    )
    refused(path, "gave a wrong answer")


@LINUX
def test_memory_is_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"{CHILD}hdf5.Reader.tree = lambda self: hdf5.np.empty(3 << 30, 'u1'); child.main()"
    monkeypatch.setattr(process, "CODE", code)
    refused(path, "is refused: reading it needs more memory")


def test_what_python_prints_is_no_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "print('hello'); real = hdf5.require_h5py; hdf5.require_h5py = lambda: print(1) or real()"
    monkeypatch.setattr(process, "CODE", f"{CHILD}{code}; child.main()")
    assert network().load_keras(path).complete


@pytest.mark.parametrize("python", ["", None, "/no/such/python"])
def test_without_a_python_to_start(path: Path, python: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", python)
    assert network().load_keras(path).complete


def test_in_threads(path: Path) -> None:
    """Side by side, each with its own process."""
    files = open_files()
    with ThreadPoolExecutor(4) as pool:
        nets = list(pool.map(lambda _: (net := network(), net.load_keras(path))[0], range(4)))
    assert all((net.parameters["W"] == 5).all() for net in nets)
    assert not open_files() - files


def test_all_numbers_come_as_h5py_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each type, in both orders of bytes, also none and one without axes; by a path from this folder, too."""
    draw = np.random.default_rng(0)
    arrays = {
        dtype: draw.integers(0, 100, (3, 4)).astype(dtype)
        for dtype in (
            "<f2",
            ">f2",
            "<f4",
            ">f4",
            "<f8",
            ">f8",
            "i1",
            ">i2",
            "<i4",
            ">i8",
            "u1",
            "<u2",
            ">u4",
            "<u8",
            "?",
        )
    } | {"none": np.zeros((0, 3)), "one": np.array(2.5), "é": np.arange(3.0)}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["name"] = "ünicode"
        for name, values in arrays.items():
            file[f"group/{name}"] = values
    monkeypatch.chdir(tmp_path)
    for content in (Path("a.h5"), (tmp_path / "a.h5").read_bytes()):
        with process.opened(content, "a.h5") as root:
            assert root.text("name") == "ünicode" and root.text("other") == ""
            found = root.groups["group"].arrays
            assert found.keys() == arrays.keys()
            for name, values in arrays.items():
                read = found[name].read()
                assert read.shape == values.shape and read.dtype == values.dtype.newbyteorder("<")
                np.testing.assert_array_equal(read, values)


INTERRUPTED = """
import os, signal, sys, threading
import gpubp as bp
from gpubp.interop.keras import process
process.CODE = "from gpubp.interop.keras import child as c; c._answer = lambda *given: c.time.sleep(100); c.main()"
started = process._started
def seen():
    seen.child = started()
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    return seen.child
process._started = seen
try:
    bp.Network(bp.Dense(2), 3, device="cpu").load_keras(sys.argv[1])
except KeyboardInterrupt:
    assert seen.child.returncode == -signal.SIGKILL and seen.child.stdin.closed and seen.child.stdout.closed
    print("interrupted")
"""


@POSIX
def test_ctrl_c_ends_both(path: Path) -> None:
    run = subprocess.run([sys.executable, "-W", "error", "-c", INTERRUPTED, path], capture_output=True, text=True)
    assert run.stdout == "interrupted\n" and run.stderr == ""
