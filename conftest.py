"""Examples in docstrings are tested where they lie; those whose library is missing are left out, and it is said."""

import importlib.util
import os
import sys

# Many tests start a Python. If it may not keep what it has compiled, it compiles all of gpubp again, which takes as
# long as the rest of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Threads of a BLAS wait for each other in a loop. If the processes of `pytest -n` have more threads than there are
# cores, tests with many small products take some six times as long.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if PROCESSES > 1:
    CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, CORES // PROCESSES)))

NEEDS = {
    "gpubp/estimators": "sklearn",
    "gpubp/cli": "click",
    "gpubp/tables": "pyarrow",
    "gpubp/backends/cpu/native/blas_calls.py": "numba",
    "gpubp/backends/cpu/native/interpreter.py": "numba",
    "gpubp/backends/cpu/native/moves.py": "numba",
    "gpubp/backends/cpu/pointers.py": "numba",
    "gpubp/backends/cpu/exact": "numba",
    "gpubp/analysis/same_bits.py": "numba",
    "gpubp/interop/onnx_in": "onnx",
    "gpubp/interop/onnx_out": "onnx",
    "gpubp/network/exchange.py": "onnx",
    "gpubp/network/imported.py": "onnx",
    "gpubp/interop/keras/child.py": "h5py",
    "gpubp/interop/keras/hdf5.py": "h5py",
    "gpubp/interop/keras/process.py": "h5py",
    "gpubp/training/pruning.py": "optuna",
    "gpubp/cli/search": "optuna",
}

collect_ignore_glob = [
    "tests/*conftest.py",  # has no examples, and several modules of this name can't be imported
    "tests/interop/make_*.py",  # scripts that need the libraries whose files the tests read
    "tests/host_driver.py",  # which takes the place of CUDA's runtime in the process that imports it
    "tests/backends/cuda/failing_calls.py",
]
collect_ignore = [folder for folder, library in NEEDS.items() if importlib.util.find_spec(library) is None]


def pytest_report_header() -> list[str]:
    """What is left out."""
    return [f"the examples of {folder} are left out: {NEEDS[folder]} is not installed" for folder in collect_ignore]
