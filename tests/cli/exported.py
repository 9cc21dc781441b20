"""Small networks that are saved, for tests of `gpubp export`."""

from __future__ import annotations

from typing import Any

import gpubp as bp


def saved(layers: bp.Layer, shape: Any, metadata: dict[str, Any] | None = None, dtype: str = "float32") -> bp.Network:
    net = bp.Network(layers, shape, device="cpu", dtype=dtype, seed=3)
    net.metadata = metadata or {}
    net.save("m.safetensors")
    return net
