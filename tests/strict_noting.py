"""A stand-in for CuPy (see strict.py) that writes down kernels and computes nothing: what a step launches is seen at
its full size."""

from __future__ import annotations

from typing import Any

from strict import StrictCupy


class Noting(StrictCupy):
    """Its kernels are not built, and not run."""

    host_kernel = staticmethod(lambda code, name: None)

    def _submit(self, name: str, kernel: Any) -> None:
        super()._submit(name, lambda: None)
