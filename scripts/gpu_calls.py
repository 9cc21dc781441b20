"""The calls of a recorded step by events, each beside what it takes at least; stages of scripts/gpu_check.sh use it."""

from __future__ import annotations

from typing import Any

from gpu_forecast import Work, forecast
from gpu_results import Stage

from benchmarks.workloads import Workload, data_of


def profile(
    stage: Stage, name: str, w: Workload, contender: Any, rounds: int, longest: int, layers: bool = True
) -> None:
    """The calls of a network's step, those first that lose most, as a line; and layer by layer into the log.

    lost: what a call took, minus the bound of gpu_forecast.py; calls that are alike together.
    """
    with stage.results.part(f"{name} profile") as line:
        trainer = contender.trainer
        expected = forecast(trainer)
        seconds = trainer.backend.time(trainer.record.record.calls, rounds)
        alike: dict[str, list[tuple[float, Work]]] = {}
        for s, work in zip(seconds, expected.works, strict=True):
            alike.setdefault(work.what, []).append((s, work))
        found = [_together(what, each) for what, each in alike.items()]
        found.sort(key=lambda item: -item["lost"])
        line |= {
            "calls": found,
            "together": sum(seconds),
            "bound": expected.bound,
            "forecast": expected.summary(stage.us),
        }
        line["detail"] = [_said(stage, item) for item in found[:longest]]
        together = f"{sum(seconds) * 1e6:8.2f} {stage.us} in {len(seconds)} calls, each timed by itself"
        line["detail"].append(f"{together}; {line['forecast']}")
        if layers and stage.left > 5.0:
            data = data_of(w)
            by_layer = trainer.profile(data.X, data.y, steps=rounds)
            line["layers"] = by_layer.to_dict()
            print(by_layer)


def _together(what: str, each: list[tuple[float, Work]]) -> dict[str, Any]:
    spent, bound = sum(s for s, _ in each), sum(work.bound for _, work in each)
    works = [work for _, work in each]
    rates = {
        "GB/s": 1e-9 * sum(w.read + w.written for w in works) / spent if spent else 0.0,
        "TFLOP/s": 1e-12 * sum(w.operations for w in works) / spent if spent else 0.0,
    }
    return {"what": what, "count": len(each), "seconds": spent, "bound": bound, "lost": spent - bound} | rates


def _said(stage: Stage, item: dict[str, Any]) -> str:
    rate = f"{item['TFLOP/s']:.3g} TFLOP/s" if item["TFLOP/s"] else f"{item['GB/s']:.4g} GB/s"
    taken = f"{item['lost'] * 1e6:8.2f} {stage.us} lost of {item['seconds'] * 1e6:8.2f}"
    return f"{taken}  {item['count']:3d} x  {item['what']}, {rate}"
