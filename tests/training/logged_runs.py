"""A small training whose numbers are logged, and readers of what TensorBoard gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import gpubp as bp

X = np.random.default_rng(0).normal(size=(64, 3))
Y = np.arange(64) % 2


def trainer(**options: Any) -> bp.Trainer:
    net = bp.Network(bp.Sequential(bp.Dense(4), bp.Dropout(0.2), bp.Dense(2)), 3, device="cpu")
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, metrics="accuracy", **options)


def fit(one: bp.Trainer, *callbacks: bp.Callback, epochs: int = 5, **options: Any) -> bp.History:
    return one.fit(X, Y, epochs=epochs, validation_data=(X[:20], Y[:20]), callbacks=callbacks, verbose=False, **options)


class Crash(bp.Callback):
    """An error in the middle of an epoch."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: bp.Trainer) -> None:
        if trainer.step_count == self.step:
            raise ZeroDivisionError


def events(folder: Path) -> list[Any]:
    """The events of a folder in the order of their files."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):  # as TensorBoard reads them
        content = path.read_bytes()
        while content:  # a length, its checksum, the event, its checksum
            length = int.from_bytes(content[:8], "little")
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """Name -> epoch -> number, as TensorBoard shows them: a start event takes back what was from its step on."""
    seen: dict[str, dict[int, float]] = {}
    for event in events(folder):
        if event.HasField("session_log"):
            seen = {name: {k: v for k, v in curve.items() if k < event.step} for name, curve in seen.items()}
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                curve = seen.setdefault(value.tag, {})
                assert event.step not in curve
                curve[event.step] = value.simple_value
    return seen
