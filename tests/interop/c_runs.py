"""Networks written as C, compiled in one library or one program, and run beside gpubp."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler is installed")
WARNINGS = (
    "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wunused", "-Wdouble-promotion",
    "-Wmissing-prototypes", "-Werror",
)  # fmt: skip
SMALL = bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(3))
REAL = {"float32": "float", "float64": "double"}


def run_compiler(*arguments: Any, compiler: str | None = COMPILER) -> None:
    """Run a compiler; what it says is the test's error."""
    run = subprocess.run([str(compiler), *map(str, arguments)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]


def as_trained(net: bp.Network, seed: int = 0) -> bp.Network:
    """The network with parameters and running statistics as a training leaves them, none of them 0 or 1."""
    rng = np.random.default_rng(seed)
    for name, array in (*net.parameters.items(), *net.states.items()):
        spread = rng.normal(size=array.shape) / math.sqrt(math.prod(array.shape[:-1]))
        array[...] = 0.5 + np.abs(spread) if name.endswith(("var", "gamma")) else spread
    return net


class Compiled:
    """Networks in one shared library, each with its name before its functions."""

    def __init__(self, nets: Mapping[str, bp.Network], folder: Path, *options: str, probabilities: bool = False):
        self.nets = nets
        for name, net in nets.items():
            net.to_c(folder / f"{name}.c", name=name, probabilities=probabilities)
        together, library = folder / "together.c", folder / "together.so"
        parts = [(folder / f"{name}.c").read_text() for name in nets]  # gcc warns less of what is included
        together.write_text("\n".join(parts))
        run_compiler(*WARNINGS, *(options or ["-O1"]), "-shared", "-fPIC", "-o", library, together, "-lm")
        self.library = ctypes.CDLL(str(library))

    def predict(self, name: str, X: np.ndarray, what: str = "predict", *before: Any) -> np.ndarray:
        """What a function of C gives for rows, one after the other. before: its arguments before x and y."""
        net, function = self.nets[name], getattr(self.library, f"{name}_{what}")
        X = np.ascontiguousarray(X, net.dtype)
        y = np.full((len(X), *net.output_shape), np.nan, net.dtype)
        for row, out in zip(X, y, strict=True):
            function(*before, ctypes.c_void_p(row.ctypes.data), ctypes.c_void_p(out.ctypes.data))
        return y

    def classes(self, name: str, X: np.ndarray) -> list[int]:
        """What `predict_class` gives for rows."""
        X = np.ascontiguousarray(X, self.nets[name].dtype)
        function = getattr(self.library, f"{name}_predict_class")
        return [function(ctypes.c_void_p(row.ctypes.data)) for row in X]


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the size of the outputs of a row, or to 1."""
    assert found.shape == expected.shape
    scale = np.maximum(1.0, np.abs(expected).max(axis=tuple(range(1, expected.ndim)), keepdims=True))
    return float((np.abs(found - expected) / scale).max())


def sanitized(nets: Mapping[str, tuple[bp.Network, np.ndarray]], folder: Path) -> dict[str, np.ndarray]:
    """What a program gives for one row of each network, with memory of the size that it asks for and not a byte more;
    the program ends at the first access outside, and at undefined behaviour."""
    lines = ["#include <stdio.h>", "#include <stdlib.h>", *(f'#include "{name}.c"' for name in nets)]
    lines += ["int main(void)", "{"]
    for name, (net, x) in nets.items():
        net.to_c(folder / f"{name}.c", name=name)
        N, real = f"{name}_predict".upper(), REAL[str(net.dtype)]
        lines += [
            f"    {{ static const double given[] = {{{', '.join(repr(float(v)) for v in x.ravel())}}};",
            f"      {real} *x = malloc({N}_INPUTS * sizeof *x), *y = malloc({N}_OUTPUTS * sizeof *y);",
            f"      {real} *memory = malloc({N}_MEMORY * sizeof *memory);",
            f"      for (int i = 0; i < {N}_INPUTS; i++) x[i] = ({real})given[i];",
            f"      {name}_predict_with(memory, x, y);",
            f'      for (int i = 0; i < {N}_OUTPUTS; i++) printf("%a ", (double)y[i]);',
            f"      {name}_predict(x, y);",
            '      puts(""); free(x); free(y); free(memory); }',
        ]
    program, source = folder / "sanitized", folder / "sanitized.c"
    source.write_text("\n".join([*lines, "    return 0;", "}", ""]))
    options = ["-std=c99", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    run_compiler(*options, "-o", program, source, "-lm")
    run = subprocess.run([program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    rows = [np.array([float.fromhex(v) for v in line.split()]) for line in run.stdout.splitlines()]
    return {name: row.reshape(nets[name][0].output_shape) for name, row in zip(nets, rows, strict=True)}
