"""Convolutions and transposed ones, on which every property test runs; see `cases.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gpubp as bp
from layer_case import LayerCase


def convolution(n: int, **options: Any) -> Callable[[Any, dict[str, Any], Any], Any]:
    """PyTorch's convolution, of n axes."""
    return lambda torch, p, x: getattr(torch.nn.functional, f"conv{n}d")(
        x.movedim(-1, 1), p["W"].permute(n + 1, n, *range(n)), p.get("b"), **options
    ).movedim(1, -1)


def transposed(n: int, **options: Any) -> Callable[[Any, dict[str, Any], Any], Any]:
    """PyTorch's transposed convolution, of n axes."""
    return lambda torch, p, x: getattr(torch.nn.functional, f"conv_transpose{n}d")(
        x.movedim(-1, 1), p["W"].permute(n + 1, n, *range(n)), p.get("b"), **options
    ).movedim(1, -1)


CONVOLUTIONS = [
    LayerCase("Conv2D", bp.Conv2D(4, 3), (3, 6, 5, 2), torch=convolution(2)),
    LayerCase("Conv2D-grey", bp.Conv2D(4, 3, padding="same"), (3, 6, 5, 1), torch=convolution(2, padding=1)),
    LayerCase("Conv2D-1x1", bp.Conv2D(4, 1, use_bias=False), (3, 3, 5, 2), torch=convolution(2)),
    LayerCase(
        "Conv2D-stride",
        bp.Conv2D(4, (3, 2), stride=2, padding=1),
        (3, 6, 5, 2),
        torch=convolution(2, stride=2, padding=1),
    ),
    LayerCase("Conv2D-wide", bp.Conv2D(4, 3, padding=(0, 2)), (3, 5, 4, 2), torch=convolution(2, padding=(0, 2))),
    LayerCase(
        "Conv2D-groups", bp.Conv2D(4, 3, padding=1, groups=2), (3, 4, 5, 4), torch=convolution(2, padding=1, groups=2)
    ),
    LayerCase(
        "Conv2D-dilated",
        bp.Conv2D(2, (2, 3), padding=((0, 2), (1, 0)), dilation=(2, 1)),
        (2, 4, 5, 2),
        torch=lambda torch, p, x: convolution(2, dilation=(2, 1))(
            torch, p, torch.nn.functional.pad(x, (0, 0, 1, 0, 0, 2))
        ),
    ),
    LayerCase(
        "Conv3D",
        bp.Conv3D(2, 2, stride=(1, 2, 1), padding=(1, 0, 1), dilation=(1, 1, 2)),
        (2, 2, 4, 3, 2),
        torch=convolution(3, stride=(1, 2, 1), padding=(1, 0, 1), dilation=(1, 1, 2)),
    ),
    LayerCase("Conv2DTranspose", bp.Conv2DTranspose(2, 3), (2, 3, 2, 3), torch=transposed(2)),
    LayerCase(
        "Conv2DTranspose-stride",
        bp.Conv2DTranspose(4, 3, stride=(2, 1), padding=1, output_padding=(1, 0), dilation=(1, 2), groups=2),
        (2, 3, 4, 2),
        torch=transposed(2, stride=(2, 1), padding=1, output_padding=(1, 0), dilation=(1, 2), groups=2),
    ),
    LayerCase(
        "Conv3DTranspose",
        bp.Conv3DTranspose(2, (2, 2, 1), stride=2, use_bias=False),
        (2, 2, 1, 2, 3),
        torch=lambda torch, p, x: torch.nn.functional.pad(transposed(3, stride=2)(torch, p, x), (0, 0, 0, 1)),
    ),
    LayerCase("Conv1D", bp.Conv1D(4, 3), (3, 6, 2), torch=convolution(1)),
    LayerCase("Conv1D-same", bp.Conv1D(4, 3, padding="same"), (3, 6, 2), torch=convolution(1, padding=1)),
    LayerCase("Conv1D-causal", bp.Conv1D(2, 2, padding="causal"), (3, 5, 3)),
    LayerCase(
        "Conv1D-dilated",
        bp.Conv1D(2, 3, padding="causal", dilation=2),
        (2, 5, 3),
        torch=lambda torch, p, x: convolution(1, dilation=2)(torch, p, torch.nn.functional.pad(x, (0, 0, 4, 0))),
    ),
    LayerCase(
        "Conv1DTranspose",
        bp.Conv1DTranspose(3, 4, stride=2, padding=1),
        (2, 3, 2),
        torch=transposed(1, stride=2, padding=1),
    ),
    LayerCase(
        "Conv1D-groups",
        bp.Conv1D(4, 3, stride=2, padding=1, groups=2, use_bias=False),
        (3, 6, 4),
        torch=convolution(1, stride=2, padding=1, groups=2),
    ),
]
