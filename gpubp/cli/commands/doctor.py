"""`gpubp doctor`: installed versions, usable devices, and how to install what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import click
import numpy as np

from ... import __version__
from ...backends.cpu.blas import VARIABLES, Comparison, compare, forcing, numpys
from ...backends.cuda.driver import find_cupy, why_not
from ...layers import Dense, Sequential, Tanh
from ...losses import MeanSquaredError
from ...network.network import Network
from ...optimizers import Adam
from ...report.facts import version as _version
from ...training.trainer import Trainer
from ..command import Command
from ..console import say, table
from ..devices import describe_device
from ..gpu_smoke import smoke
from ..json_output import add_fields

# Library, what for, and the command that installs it.
LIBRARIES = (
    ("safetensors", "model files", "pip install safetensors"),
    ("click", "this command line", "pip install 'gpubp[cli]'"),
    ("rich", "tables and progress", "pip install 'gpubp[cli]'"),
    ("scikit-learn", "the digits", "pip install 'gpubp[sklearn]'"),
    ("pooch", "downloading MNIST", "pip install 'gpubp[cli]'"),
    ("pyarrow", "data from CSV and Parquet", "pip install 'gpubp[tables]'"),
    ("openpyxl", "data from .xlsx", "pip install 'gpubp[excel]'"),
    ("scipy", "sounds of other rates", "pip install 'gpubp[sound]'"),
    ("onnx", "gpubp export to ONNX, and bp.from_onnx", "pip install 'gpubp[onnx]'"),
    ("onnxruntime", "comparing ONNX files with gpubp", "pip install onnxruntime"),
    ("h5py", "net.load_keras", "pip install 'gpubp[keras]'"),
    ("matplotlib", "--plot and --report", "pip install 'gpubp[plot]'"),
    ("jinja2", "--report", "pip install 'gpubp[report]'"),
    ("tensorboardX", "--log FOLDER", "pip install 'gpubp[tensorboard]'"),
    ("numba", "quicker training on a CPU, and --exact", "pip install 'gpubp[fast]'"),
)
CUPYS = ("cupy-cuda12x", "cupy-cuda13x", "cupy")
# The name and version of the MPI that mpi4py loads, without starting it.
MPI = (
    "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; "
    "print(MPI.Get_library_version().splitlines()[0].strip(' \\0').replace('Version:', ''))"
)
MPI_SECONDS = 30.0
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


class Finding(NamedTuple):
    """A line of the report. broken: something that must work does not."""

    what: str
    found: str
    note: str = ""
    broken: bool = False


@click.command(cls=Command)
@click.option("--gpu-smoke", is_flag=True, help="Try the first GPU alone, stage by stage, in about ten seconds.")
def doctor(gpu_smoke: bool) -> int:
    """Versions, devices, what is missing and the command that mends it.

    Each device that can be used trains a small network as a test. The exit code is 1 if one of them fails.

    \b
    gpubp doctor
    gpubp doctor --gpu-smoke   the first thing to run on a machine with a GPU
    """
    add_fields(ok=None, findings=[], blas=None, stages=[])
    if gpu_smoke:
        return smoke()
    compared = compare()
    findings = [*_software(compared), *_devices(compared)]
    table(["what", "found", "note"], [f[:3] for f in findings], left=["what", "found", "note"])
    broken = [f.what for f in findings if f.broken]
    add_fields(ok=not broken, findings=[f._asdict() for f in findings], blas=_blas_fields(compared))
    say(
        f"broken: {', '.join(broken)}" if broken else "all that is needed works", "bold red" if broken else "bold green"
    )
    return 1 if broken else 0


def _software(compared: Comparison | None) -> list[Finding]:
    found = [
        Finding("gpubp", __version__),
        Finding("Python", platform.python_version(), platform.platform()),
        Finding("NumPy", np.__version__),
        *_blas(compared),
    ]
    for name, use, mend in LIBRARIES:
        version = _version(name)
        found.append(Finding(name, version or "missing", use if version else f"needed for {use}: {mend}"))
    found.append(_mpi())
    installed = [f"{name} {version}" for name in CUPYS if (version := _version(name))]
    reason = why_not()
    found.append(Finding("CuPy", ", ".join(installed) or "missing", reason or "usable"))
    if len(installed) > 1:
        found.append(
            Finding("", "", f"more than one CuPy: pip uninstall {' '.join(i.split()[0] for i in installed[1:])}")
        )
    return [*found, Finding("driver", *_driver(reason))]


def _mpi() -> Finding:
    """mpi4py, the MPI that it loads, and mpiexec. A process of its own loads it, because that may end the process."""
    version = _version("mpi4py")
    if not version:
        mend = "needed for mpiexec -n 4 gpubp train: pip install 'gpubp[mpi]' mpich"
        return Finding("mpi4py", "missing", mend)
    try:
        done = subprocess.run([sys.executable, "-c", MPI], capture_output=True, text=True, timeout=MPI_SECONDS)
        library = " ".join(done.stdout.split()) if not done.returncode else ""
    except (OSError, subprocess.TimeoutExpired):
        library = ""
    if not library:
        return Finding("mpi4py", version, "finds no MPI that works: load the one of this machine, or pip install mpich")
    mpiexec = shutil.which("mpiexec")
    return Finding("mpi4py", version, f"{library}, {mpiexec or 'and no mpiexec on the PATH'}")


def _blas(compared: Comparison | None) -> list[Finding]:
    """NumPy's BLAS, and environment variables that force kernels on it or on other libraries."""
    found = numpys()
    said = [f"{found.kernel} kernels"] if found.kernel else []
    said += [f"{found.threads} thread{'s' if found.threads > 1 else ''}"] if found.threads else []
    said += [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    findings = [Finding("NumPy's BLAS", f"{found.name} {found.version}".strip(), ", ".join(said))]
    if compared is not None:
        findings.append(Finding("", "slow" if compared.slower else "", str(compared)))
    others = {name: value for name, value in forcing().items() if compared is None or name not in compared.variables}
    for name, value in others.items():
        findings.append(Finding("", "", f"{name}={value} is set for {VARIABLES.get(name, 'XLA')}"))
    return findings


def _blas_fields(compared: Comparison | None) -> dict[str, Any]:
    """The same as fields of the JSON document."""
    found = numpys()
    fields = {"name": found.name, "version": found.version, "kernel": found.kernel, "threads": found.threads}
    return fields | {"set": forcing(), "compared": None if compared is None else compared.as_json()}


def _devices(compared: Comparison | None) -> list[Finding]:
    names = ["cpu"]
    if not why_not():
        names += [f"cuda:{i}" for i in range(int(find_cupy().cuda.runtime.getDeviceCount()))]
    found = []
    for name in names:
        if name == "cpu" and compared is not None and compared.fails:  # it would end this process too
            found.append(Finding(name, "fails", f"unset {' and '.join(compared.variables)}", True))
            continue
        try:
            network, gain = _trained(name)
        except Exception as problem:  # whatever a broken driver or library throws is what is to be reported
            found.append(
                Finding(name, "fails", f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}", True)
            )
            continue
        free, total = network.backend.memory()
        note = f"{describe_device(network)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        found.append(Finding(name, "works" if gain else "fails", note if gain else "training does not learn", not gain))
    return found


def _trained(device: str) -> tuple[Network, bool]:
    """A small network trained on `device`, and whether it learnt: the loss of y = x₀ x₁ falls below a tenth."""
    X = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
    y = X[:, 0] * X[:, 1]
    network = Network(Sequential(Dense(8), Tanh(), Dense(1)), input_shape=2, device=device)
    trainer = Trainer(network, MeanSquaredError(), Adam(learning_rate=0.05), batch_size=None, communicator=None)
    losses = trainer.fit(X, y, epochs=100, verbose=False)["loss"]
    return network, losses[-1] < 0.1 * losses[0]


def _driver(reason: str) -> tuple[str, str]:
    if reason:
        return "unknown", "see CuPy"
    number = int(find_cupy().cuda.runtime.driverGetVersion())
    return "works", f"for CUDA up to {number // 1000}.{number % 1000 // 10}"
