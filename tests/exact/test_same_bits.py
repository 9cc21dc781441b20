"""Comparison of the bits of two backends: the CPU, and CUDA's kernels built for the CPU."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

import gpubp as bp
from gpubp.analysis.same_bits import compare_bits
from gpubp.backends.cuda.exact.backend import ExactCUDA
from strict_exact import exact_cupy


def test_the_cpu_and_kernels_of_cuda_have_the_same_bits(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    X = np.random.default_rng(0).normal(size=(40, 6))
    layers = bp.Sequential(bp.Dense(5), bp.BatchNorm(), bp.GELU(), bp.Dropout(0.3), bp.Dense(2))
    found = compare_bits(
        layers,
        X,
        X[:, :2],
        loss=bp.HalfMeanSquaredError(),
        optimizer=bp.Adam(0.01),
        backends=("cpu", ExactCUDA(exact_cupy())),
        steps=4,
        batch_size=16,
        clip_norm=1.0,
    )
    assert found.ok, str(found)
    assert str(found).count("same bits\n") == 5 and len(set(found.sha256.values())) == 1
