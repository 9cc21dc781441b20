"""The tests whose outcome can depend on the BLAS, with each kernel of OpenBLAS that this processor can run.

OpenBLAS reads OPENBLAS_CORETYPE when it is loaded, so each kernel has a process of its own. The short form runs the
tests that are marked `kernel`, with the kernels that the rest of the suite does not run with. `scripts/check kernels`
is the long form: whole files, with every kernel.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

ROOT = Path(__file__).parents[3]
LONG = os.environ.get("GPUBP_KERNELS") == "long"
KERNELS = ("Nehalem", "Sandybridge", "Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids")
MARKED = (
    "tests/network/test_prediction.py",
    "tests/network/test_sequence_models.py",
    "tests/backends/cpu/test_row_products.py",
    "tests/estimators/test_mlp_estimators.py",
)
WHOLE = (
    "tests/network",
    "tests/backends/cpu/test_row_products.py",
    "tests/estimators",
    "tests/backends/cpu/test_native.py",
    "tests/step/test_workers.py",
    "tests/backends/test_record.py",
)
TRIAL = """
import numpy as np
from threadpoolctl import threadpool_info
for kind in ("float32", "float64"):
    for n in (5, 300):
        a = np.ones((n, n), kind)
        assert ((a @ a) == n).all() and ((a @ a[0]) == n).all()
print(next(pool["architecture"] for pool in threadpool_info() if pool["internal_api"] == "openblas"))
"""


def run(kernel: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OPENBLAS_CORETYPE": kernel}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@cache
def taken(kernel: str) -> str:
    """The kernel that OpenBLAS takes when it is asked for this one; "" if the processor can't run it."""
    done = run(kernel, "-c", TRIAL)
    return "" if done.returncode < 0 else done.stdout.strip() or pytest.fail(done.stderr)


def own() -> str:
    """The kernel of this process, "" if NumPy has another BLAS than OpenBLAS."""
    return next((pool["architecture"] for pool in threadpool_info() if pool["internal_api"] == "openblas"), "")


def reason_to_skip(kernel: str) -> str:
    if not own():
        return "NumPy has another BLAS than OpenBLAS, whose kernels can't be chosen"
    if not taken(kernel):
        return f"this processor can't run OpenBLAS's {kernel} kernels"
    before = next((k for k in KERNELS[: KERNELS.index(kernel)] if taken(k) == taken(kernel)), "")
    if before:
        return f"this OpenBLAS has the same kernels for {kernel} as for {before}"
    return "" if LONG or taken(kernel) != own() else f"the rest of the suite runs with {kernel} kernels"


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_depends_on_the_kernel_passes_with_each(kernel: str) -> None:
    reason = reason_to_skip(kernel)
    if reason:
        pytest.skip(reason)
    asked = ("-n", "2", *WHOLE) if LONG else ("-p", "no:xdist", "-m", "kernel", *MARKED)
    done = run(kernel, "-m", "pytest", "-q", "-p", "no:cacheprovider", *asked)
    print(f"{kernel}: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == 0, f"with {kernel} kernels:\n{done.stdout[-5000:]}{done.stderr[-2000:]}"
    assert " passed" in done.stdout.splitlines()[-1]
