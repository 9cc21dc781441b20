"""Poolings, upsampling and padding, on which every property test runs; see `cases.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gpubp as bp
from layer_case import LayerCase


def functional(name: str, *arguments: Any, **options: Any) -> Callable[[Any, dict[str, Any], Any], Any]:
    """PyTorch's function of that name, on inputs with the channels behind the batch."""
    return lambda torch, p, x: getattr(torch.nn.functional, name)(x.movedim(-1, 1), *arguments, **options).movedim(
        1, -1
    )


def resized_in_torch(torch: Any, x: Any, zeros: tuple[int, ...], size: int, factors: Any = (2,)) -> Any:
    """Zeros around, repeated, and pooled to one size in two ways."""
    f, axes = torch.nn.functional, x.ndim - 2
    x = f.interpolate(f.pad(x.movedim(-1, 1), zeros), scale_factor=tuple(map(float, factors)))
    pools = [getattr(f, f"adaptive_{kind}_pool{axes}d")(x, size).movedim(1, -1) for kind in ("avg", "max")]
    return torch.cat(pools, dim=-1)


POOLINGS = [
    LayerCase("MaxPool2D", bp.MaxPool2D(2), (3, 5, 6, 2), torch=functional("max_pool2d", 2)),
    LayerCase(
        "MaxPool2D-overlapping",
        bp.MaxPool2D(3, stride=2, padding=1),
        (3, 5, 6, 2),
        torch=functional("max_pool2d", 3, 2, 1),
    ),
    LayerCase("AvgPool2D", bp.AvgPool2D(2), (3, 5, 6, 2), torch=functional("avg_pool2d", 2)),
    LayerCase("AvgPool2D-same", bp.AvgPool2D(3, stride=2, padding="same"), (3, 5, 6, 2)),
    LayerCase("GlobalAvgPool2D", bp.GlobalAvgPool2D(), (3, 5, 6, 2), torch=lambda torch, p, x: x.mean(dim=(1, 2))),
    LayerCase("MaxPool1D", bp.MaxPool1D(2), (3, 5, 2), torch=functional("max_pool1d", 2)),
    LayerCase("AvgPool1D-same", bp.AvgPool1D(3, stride=2, padding="same"), (3, 5, 2)),
    LayerCase("GlobalMaxPool2D", bp.GlobalMaxPool2D(), (3, 4, 3, 2), torch=lambda torch, p, x: x.amax(dim=(1, 2))),
    LayerCase(
        "GlobalPools3D",
        bp.Parallel(bp.GlobalAvgPool3D(), bp.GlobalMaxPool3D()),
        (3, 2, 3, 2, 2),
        torch=lambda torch, p, x: torch.cat([x.mean(dim=(1, 2, 3)), x.amax(dim=(1, 2, 3))], dim=-1),
    ),
    LayerCase(
        "AdaptiveAvgPool2D", bp.AdaptiveAvgPool2D((3, 2)), (3, 5, 4, 2), torch=functional("adaptive_avg_pool2d", (3, 2))
    ),
    LayerCase(
        "AdaptiveMaxPool2D", bp.AdaptiveMaxPool2D((3, 2)), (3, 5, 4, 2), torch=functional("adaptive_max_pool2d", (3, 2))
    ),
    LayerCase(
        "UpSampling2D", bp.UpSampling2D((2, 3)), (3, 2, 3, 2), torch=functional("interpolate", scale_factor=(2.0, 3.0))
    ),
    LayerCase(
        "UpSampling2D-bilinear",
        bp.UpSampling2D((2, 3), "bilinear"),
        (3, 3, 2, 2),
        torch=functional("interpolate", scale_factor=(2.0, 3.0), mode="bilinear"),
    ),
    LayerCase("ZeroPadding2D", bp.ZeroPadding2D(((0, 1), (2, 1))), (3, 2, 3, 2), torch=functional("pad", (2, 1, 0, 1))),
    LayerCase(
        "Padding2D-reflect", bp.Padding2D(2, "reflect"), (3, 3, 4, 2), torch=functional("pad", (2, 2, 2, 2), "reflect")
    ),
    LayerCase(
        "Padding1D-Cropping1D",
        bp.Sequential(bp.Padding1D((1, 2), "edge"), bp.Cropping1D((0, 1))),
        (3, 4, 2),
        torch=functional("pad", (1, 1), "replicate"),
    ),
    LayerCase(
        "MaxPool2D-dilated",
        bp.MaxPool2D((2, 3), stride=(3, 2), padding=((1, 0), (0, 2)), dilation=(1, 2), ceil_mode=True),
        (3, 5, 6, 2),
    ),
    LayerCase(
        "AvgPool2D-counted",
        bp.AvgPool2D(3, stride=2, padding=1, ceil_mode=True, count_include_pad=True),
        (3, 6, 5, 2),
        torch=functional("avg_pool2d", 3, 2, 1, True, True),
    ),
    LayerCase(
        "MaxPool3D-overlapping",
        bp.MaxPool3D((1, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1)),
        (3, 2, 3, 4, 2),
        torch=functional("max_pool3d", (1, 2, 3), (1, 2, 1), (0, 1, 1)),
    ),
    LayerCase("AvgPool3D", bp.AvgPool3D(2), (3, 4, 3, 2, 2), torch=functional("avg_pool3d", 2)),
    LayerCase(  # of sequences and of volumes, what images have above by itself
        "resized-sequences",
        bp.Sequential(
            bp.ZeroPadding1D((1, 0)), bp.UpSampling1D(2), bp.Parallel(bp.AdaptiveAvgPool1D(4), bp.AdaptiveMaxPool1D(4))
        ),
        (3, 3, 2),
        torch=lambda torch, p, x: resized_in_torch(torch, x, (1, 0), 4),
    ),
    LayerCase(
        "resized-volumes",
        bp.Sequential(
            bp.ZeroPadding3D(1),
            bp.Padding3D(1, "edge"),
            bp.Cropping3D(1),
            bp.UpSampling3D((1, 2, 2)),
            bp.Parallel(bp.AdaptiveAvgPool3D(2), bp.AdaptiveMaxPool3D(2)),
        ),
        (2, 2, 2, 1, 2),
        torch=lambda torch, p, x: resized_in_torch(torch, x, (1, 1) * 3, 2, (1, 2, 2)),
    ),
    LayerCase("Cropping2D", bp.Cropping2D(((1, 0), (1, 1))), (3, 3, 4, 2), torch=lambda torch, p, x: x[:, 1:, 1:-1]),
]
