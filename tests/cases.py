"""The cases on which every property test runs: a new layer, loss, optimizer ... is one line.

    LayerCase("Dense", bp.Dense(5), (6, 4))

in layer_cases.py gives the layer gradient checks in training and evaluation, alone, above another layer and inside
compositions; recorded steps equal to eager ones bit for bit; steps without allocation; untouched arguments; a config
and a printed form from which it can be made again; float32 against float64 (see test_properties.py). With `torch`,
PyTorch's gradients too (see test_reference.py). Losses are in loss_cases.py, all else is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gpubp as bp
from layer_cases import LAYERS, LayerCase
from loss_cases import LOSSES, LossCase

__all__ = [
    "INITIALIZERS", "LAYERS", "LOSSES", "METRICS", "OPTIMIZERS", "SCHEDULES", "LayerCase", "LossCase", "OptimizerCase",
]  # fmt: skip


@dataclass(frozen=True)
class OptimizerCase:
    """An optimizer. torch: (torch, parameters) -> PyTorch's own with the same rule."""

    id: str
    optimizer: bp.Optimizer
    torch: Callable[[Any, Any], Any] | None = None

    def __str__(self) -> str:
        return self.id


OPTIMIZERS = [
    OptimizerCase("SGD", bp.SGD(0.1), lambda torch, p: torch.optim.SGD(p, lr=0.1)),
    OptimizerCase("SGD-momentum", bp.SGD(0.1, momentum=0.9), lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    OptimizerCase(
        "SGD-nesterov",
        bp.SGD(0.1, momentum=0.9, nesterov=True),
        lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ),
    OptimizerCase(
        "RMSprop",
        bp.RMSprop(0.01, rho=0.9, eps=1e-7),
        lambda torch, p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-7),
    ),
    OptimizerCase("Adagrad", bp.Adagrad(0.05), lambda torch, p: torch.optim.Adagrad(p, lr=0.05, eps=1e-10)),
    OptimizerCase("Adam", bp.Adam(0.01), lambda torch, p: torch.optim.Adam(p, lr=0.01)),
    OptimizerCase(
        "Adam-eps",
        bp.Adam(0.01, beta_1=0.8, beta_2=0.95, eps=1e-2),
        lambda torch, p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-2),
    ),
    OptimizerCase(
        "AdamW", bp.AdamW(0.01, weight_decay=0.1), lambda torch, p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)
    ),
    OptimizerCase(
        "Adam-amsgrad",
        bp.Adam(0.05, beta_2=0.9, amsgrad=True),
        lambda torch, p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.9), amsgrad=True),
    ),
    OptimizerCase(
        "AdamW-amsgrad",
        bp.AdamW(0.05, beta_2=0.9, weight_decay=0.1, amsgrad=True),
        lambda torch, p: torch.optim.AdamW(p, lr=0.05, betas=(0.9, 0.9), weight_decay=0.1, amsgrad=True),
    ),
    OptimizerCase(
        "SGD-dampening",
        bp.SGD(0.1, momentum=0.9, dampening=0.3),
        lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    ),
    OptimizerCase(
        "RMSprop-centered",
        bp.RMSprop(0.01, centered=True, momentum=0.5),
        lambda torch, p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, centered=True, momentum=0.5),
    ),
    OptimizerCase(
        "Adagrad-start",
        bp.Adagrad(0.05, initial_accumulator_value=0.1),
        lambda torch, p: torch.optim.Adagrad(p, lr=0.05, initial_accumulator_value=0.1),
    ),
    OptimizerCase(
        "Adadelta",
        bp.Adadelta(0.5, rho=0.8),
        lambda torch, p: torch.optim.Adadelta(p, lr=0.5, rho=0.8),
    ),
    OptimizerCase("Adamax", bp.Adamax(0.01), lambda torch, p: torch.optim.Adamax(p, lr=0.01)),
    OptimizerCase(
        "NAdam",
        bp.NAdam(0.01, weight_decay=0.1),
        lambda torch, p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    ),
    OptimizerCase("Lion-maximize", bp.Lion(0.01, weight_decay=0.1, maximize=True)),
    OptimizerCase("SGD-decay", bp.SGD(0.1, momentum=0.5, weight_decay=0.1)),
    OptimizerCase("RMSprop-decay", bp.RMSprop(0.01, weight_decay=0.1)),
    OptimizerCase("Adagrad-decay", bp.Adagrad(0.05, weight_decay=0.1)),
    OptimizerCase("Adam-schedule", bp.Adam(bp.CosineDecay(0.1, steps=6))),
]

SCHEDULES = [
    bp.ConstantRate(0.1),
    bp.StepDecay(1.0, factor=0.5, steps=10),
    bp.ExponentialDecay(1.0, decay=0.5, steps=7),
    bp.InverseTimeDecay(1.0, decay=0.5, steps=4),
    bp.CosineDecay(1.0, steps=20, final=0.1),
    bp.Warmup(1.0, steps=5),
    bp.Warmup(bp.CosineDecay(1.0, steps=20), steps=5),
    bp.OneCycle(1.0, steps=50),
    bp.OneCycle(1.0, steps=50, end_of="start"),
    bp.Warmup(bp.CosineDecay(1.0, steps=20), steps=5, start=0.1),
    bp.InverseSquareRoot(1.0, steps=9),
    bp.MultiStepDecay(1.0, milestones=(10, 100), factor=0.3),
    bp.PiecewiseConstant((10, 20), (1.0, 0.5, 0.1)),
    bp.LinearDecay(1.0, steps=20, final=0.1),
    bp.PolynomialDecay(1.0, steps=20, final=0.1, power=1.7),
    bp.CosineRestarts(1.0, steps=3, steps_factor=1.5, rate_factor=0.9, final=0.1),
    bp.CyclicRate(0.1, 1.0, steps=5, steps_down=9, factor=0.7, decay=0.999),
    bp.JoinedSchedules((0.5, bp.ExponentialDecay(1.0, decay=0.5, steps=7), bp.CosineDecay(1.0, 9)), (4, 30)),
]

INITIALIZERS = [
    bp.Zeros(),
    bp.Constant(0.5),
    bp.Normal(std=0.2, mean=1.0),
    bp.Uniform(-0.5, 2.0),
    bp.GlorotUniform(),
    bp.GlorotNormal(),
    bp.HeUniform(),
    bp.HeNormal(),
    bp.LeCunUniform(),
    bp.LeCunNormal(),
    bp.Orthogonal(),
    bp.Orthogonal(gain=2.0),
]

METRICS = [
    bp.Accuracy(),
    bp.TopKAccuracy(2),
    bp.MeanAbsolute(),
    bp.MeanSquared(),
    bp.Precision(),
    bp.Recall(average="weighted", zero_division=1.0),
    bp.F1("macro"),
    bp.ROCAUC(),
    bp.R2(),
]
