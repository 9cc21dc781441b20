"""CuPy itself on a driver of host memory, in processes of their own; only where CuPy is installed and no GPU is."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(*command):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU, which is better")
    if (
        platform.system() != "Linux"
        or platform.machine() != "x86_64"
        or not (shutil.which("gcc") and shutil.which("nm"))
    ):
        pytest.skip("the driver of host memory is for Linux on x86-64, with gcc and nm")
    tests = HERE.parents[1]
    paths = os.pathsep.join([str(tests), str(tests.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_cupy_itself_trains_as_numpy():
    """A few of the tests of a GPU; all of them run so by hand, see host_driver.py."""
    some = "masks_have or GlobalMaxPool1D or (every_optimizer and SGD-momentum)"
    tests = HERE / "kernels" / "test_training_gpu.py"
    said = run("-m", "pytest", "-q", "-p", "host_driver", "-p", "no:cacheprovider", tests, "-k", some)
    assert "passed" in said and "skipped" not in said


def test_no_call_of_cuda_that_fails_leaves_a_stream_capturing():
    assert "nothing was left behind" in run(HERE / "failing_calls.py", "29")
