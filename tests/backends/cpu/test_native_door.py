"""The folder `native` has one door, and the library works without it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gpubp as bp
from gpubp.backends.cpu import compiled

ROOT = Path(__file__).parents[3]
DOOR = "from .native import Program"
TRAINING = """
import hashlib, sys
import numpy as np
import gpubp as bp
from gpubp.backends.cpu import compiled
compiled.PRICE = compiled.LOOP_PRICE = -1.0
rng = np.random.default_rng(0)
layers = [bp.Dense(9), bp.BatchNorm(), bp.ReLU(), bp.Dense(3)]
for options in ({}, {"on_nonfinite": "skip", "workers": 2}):
    net = bp.Network(bp.Sequential(*layers), 5, device="cpu", seed=1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, **options)
    trainer.fit(rng.normal(size=(96, 5)), rng.integers(0, 3, 96), epochs=4, verbose=False)
    print(hashlib.sha256(net.flat.tobytes()).hexdigest())
    replayed = str(getattr(getattr(trainer.record, "program", None), "replay", ""))
    print("run(" in replayed, "replay_if" in replayed, "AdamRule_rule" in replayed, file=sys.stderr)
    trainer.profile(rng.normal(size=(96, 5)), rng.integers(0, 3, 96), steps=2)
"""


def test_only_cpu_backend_imports_native() -> None:
    """But for its own tests."""
    inside = re.compile(r"native(\.| import )(program|bytecode|interpreter)")
    files = [f for folder in ("gpubp", "benchmarks", "scripts", "tests") for f in (ROOT / folder).rglob("*.py")]
    own = {*(ROOT / "tests/backends/cpu").glob("test_native*.py")}
    found = [f for f in files if f.parent.name != "native" and f not in own and inside.search(f.read_text("utf-8"))]
    assert found == []
    doors = [f for f in files if f not in own and DOOR in f.read_text("utf-8").replace("`", "")]
    assert {f.relative_to(ROOT / "gpubp").as_posix() for f in doors} == {
        "backends/cpu/backend.py",
        "backends/cpu/native/__init__.py",
    }


def test_the_backends_do_not_import_each_other() -> None:
    for one, other in (("cpu", "cuda"), ("cuda", "cpu")):
        for file in (ROOT / "gpubp/backends" / one).rglob("*.py"):
            assert not re.search(rf"(from|import) [\w.]*\b{other}\b", file.read_text("utf-8")), file


def trained(folder: Path, cache: Path, fast: str) -> tuple[list[str], list[str]]:
    """The hashes of two trainings, and what their records called."""
    environment = os.environ | {"PYTHONPATH": str(folder), "GPUBP_CACHE_DIR": str(cache), "GPUBP_FAST": fast}
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, env=environment, cwd=folder, check=True
    )
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'")
def test_without_native_training_has_compiled_loops_and_the_same_bits(tmp_path: Path) -> None:
    source = Path(bp.__file__).parent
    shutil.copytree(source, tmp_path / "gpubp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(tmp_path / "gpubp/backends/cpu/native")
    backend = tmp_path / "gpubp/backends/cpu/backend.py"
    text = backend.read_text("utf-8")
    assert text.count(DOOR) == 1
    backend.write_text(text.replace(DOOR, "from .compiled import Program"), "utf-8")
    plain, said = trained(source.parent, tmp_path / "cache", "0")
    assert said == ["False False False"] * 2
    loops, said = trained(tmp_path, tmp_path / "cache", "1")
    assert said == ["False False True", "False True False"]
    assert loops == plain
