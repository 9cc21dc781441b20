"""PyTorch's weights go past poolings, upsampling and padding to the layers that have weights, in PyTorch's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_torch_predictions import compared, images_first, torch

import gpubp as bp

nn = torch.nn
NETS: dict[str, tuple[tuple[int, ...], list[bp.Layer], list[Any]]] = {
    "images": (
        (9, 8, 2),
        [
            bp.ZeroPadding2D(((1, 0), (2, 1))), bp.Conv2D(4, 3), bp.ReLU(), bp.MaxPool2D(2, ceil_mode=True),
            bp.Padding2D(1, "reflect"), bp.Conv2D(3, 3), bp.UpSampling2D(2, "bilinear"), bp.AdaptiveAvgPool2D((3, 2)),
            bp.Flatten(), bp.Dense(4), bp.Tanh(), bp.Dense(2),
        ],
        [
            nn.ZeroPad2d((2, 1, 1, 0)), nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
            nn.ReflectionPad2d(1), nn.Conv2d(4, 3, 3), nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten(), nn.Linear(18, 4), nn.Tanh(), nn.Linear(4, 2),
        ],
    ),
    "sequences": (
        (10, 2),
        [
            bp.Padding1D(2, "edge"), bp.Conv1D(4, 3), bp.AvgPool1D(2, padding=1, count_include_pad=True),
            bp.UpSampling1D(2), bp.AdaptiveMaxPool1D(5), bp.Flatten(), bp.Dense(3),
        ],
        [
            nn.ReplicationPad1d(2), nn.Conv1d(2, 4, 3), nn.AvgPool1d(2, padding=1), nn.Upsample(scale_factor=2),
            nn.AdaptiveMaxPool1d(5), nn.Flatten(), nn.Linear(20, 3),
        ],
    ),
    "volumes": (
        (4, 6, 5, 1),
        [bp.Conv3D(3, (1, 3, 2)), bp.MaxPool3D((2, 2, 3), stride=1), bp.AvgPool3D(2), bp.Flatten(), bp.Dense(3)],
        [nn.Conv3d(1, 3, (1, 3, 2)), nn.MaxPool3d((2, 2, 3), stride=1), nn.AvgPool3d(2), nn.Flatten(), nn.Linear(3, 3)],
    ),
    "volumes, whole": (
        (4, 6, 5, 1),
        [bp.Conv3D(3, 2), bp.GlobalMaxPool3D(), bp.Dense(3)],
        [nn.Conv3d(1, 3, 2), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(3, 3)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_networks_predict_what_pytorch_predicts(name: str) -> None:
    shape, layers, modules = NETS[name]
    torch.manual_seed(0)
    net, module = bp.Network(bp.Sequential(*layers), shape, device="cpu"), nn.Sequential(*modules)
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    assert compared(net, module, x, images_first(x)).complete
