"""Normalizations and noise, on which every property test runs; see `cases.py`."""

from __future__ import annotations

from typing import Any

import gpubp as bp
from layer_case import LayerCase


def plain_norms(torch: Any, p: dict[str, Any], x: Any) -> Any:
    """PyTorch's of a step, a row, a channel and a batch, without beta."""
    f = torch.nn.functional
    x = torch.tanh(f.layer_norm(x, (5,)))
    x = f.rms_norm(x, (4, 5), eps=1e-5)
    x = torch.tanh(f.instance_norm(x.movedim(-1, 1)).movedim(1, -1) * p["3.gamma"])
    return f.batch_norm(x.movedim(-1, 1), None, None, p["5.gamma"], training=True).movedim(1, -1)


NORMS = [
    LayerCase(
        "BatchNorm",
        bp.BatchNorm(),
        (6, 4),
        torch=lambda torch, p, x: torch.nn.functional.batch_norm(x, None, None, p["gamma"], p["beta"], training=True),
    ),
    LayerCase(
        "BatchNorm-images",
        bp.BatchNorm(momentum=0.5, eps=1e-3),
        (3, 4, 2, 5),
        torch=lambda torch, p, x: torch.nn.functional.batch_norm(
            x.movedim(-1, 1), None, None, p["gamma"], p["beta"], training=True, eps=1e-3
        ).movedim(1, -1),
    ),
    LayerCase(
        "LayerNorm",
        bp.LayerNorm(),
        (6, 4),
        torch=lambda torch, p, x: torch.nn.functional.layer_norm(x, (4,), p["gamma"], p["beta"]),
    ),
    LayerCase(
        "LayerNorm-more-axes",
        bp.LayerNorm(eps=1e-3),
        (3, 2, 4),
        torch=lambda torch, p, x: torch.nn.functional.layer_norm(x, (4,), p["gamma"], p["beta"], 1e-3),
    ),
    LayerCase(
        "BatchNorm-plain",
        bp.BatchNorm(momentum=None, affine=False),
        (6, 4),
        torch=lambda torch, p, x: torch.nn.functional.batch_norm(x, None, None, training=True),
    ),
    LayerCase(
        "LayerNorm-axes",
        bp.LayerNorm(axes=2, use_bias=False),
        (3, 2, 4),
        torch=lambda torch, p, x: torch.nn.functional.layer_norm(x, (2, 4), p["gamma"]),
    ),
    LayerCase(
        "RMSNorm",
        bp.RMSNorm(),
        (3, 2, 4),
        torch=lambda torch, p, x: torch.nn.functional.rms_norm(x, (4,), p["gamma"], 1e-5),
    ),
    LayerCase(
        "GroupNorm",
        bp.GroupNorm(3),
        (3, 4, 2, 6),
        torch=lambda torch, p, x: torch.nn.functional.group_norm(x.movedim(-1, 1), 3, p["gamma"], p["beta"]).movedim(
            1, -1
        ),
    ),
    LayerCase(
        "InstanceNorm",
        bp.InstanceNorm(eps=1e-3),
        (3, 5, 2),
        torch=lambda torch, p, x: torch.nn.functional.instance_norm(
            x.movedim(-1, 1), weight=p["gamma"], bias=p["beta"], eps=1e-3
        ).movedim(1, -1),
    ),
    LayerCase(
        "norms-plain",
        bp.Sequential(
            bp.LayerNorm(affine=False),
            bp.Tanh(),
            bp.RMSNorm(axes=2, affine=False),
            bp.InstanceNorm(use_bias=False),
            bp.Tanh(),
            bp.BatchNorm(use_bias=False),
        ),
        (3, 4, 5),
        torch=plain_norms,
    ),
    LayerCase("SpatialDropout", bp.SpatialDropout(0.4), (5, 2, 3, 4)),
    LayerCase("AlphaDropout", bp.AlphaDropout(0.3), (6, 4)),
    LayerCase("GaussianNoise", bp.GaussianNoise(0.2), (5, 3, 3)),
]
