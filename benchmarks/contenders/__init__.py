"""The list of contenders. Each is a class in one of these files, which runs in a process of its own.

    name            module       what it is
    modules         those that must be installed

A contender is made from a workload, first weights and data; `run(rows)` trains one step for each line of `rows`, row
numbers of the data, and gives (seconds, loss of the last step). Where it can't do a workload it raises `CannotDo`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

__all__ = ["CONTENDERS", "CannotDo", "Entry", "find", "load", "make", "missing"]


class CannotDo(Exception):
    """A contender does not do this workload; the message says why."""


class Entry(NamedTuple):
    label: str
    module: str
    variant: str
    needs: tuple[str, ...]
    only: str = ""  # the kinds of workload it is for, such as "images"; all if empty
    no_sequences: bool = False
    devices: tuple[str, ...] = ("cpu",)


ANY = ("cpu", "cuda")
CONTENDERS = {
    "gpubp": Entry("gpubp", "gpubp_steps", "", ("gpubp",), devices=(*ANY, "stand-in")),
    "gpubp-fast": Entry("gpubp[fast]", "gpubp_steps", "fast", ("gpubp", "numba")),
    "gpubp-exact": Entry("gpubp, exact numerics", "gpubp_steps", "exact", ("gpubp", "numba")),
    "torch": Entry("torch eager", "torch_steps", "eager", ("torch",), devices=ANY),
    "torch-fused": Entry("torch, fused optimizer", "torch_steps", "fused", ("torch",)),
    "torch-compile": Entry("torch.compile", "torch_steps", "compile", ("torch",)),
    "torch-channels-last": Entry("torch channels_last", "torch_steps", "channels_last", ("torch",), "images"),
    "torch-graph": Entry("torch CUDA graph", "torch_steps", "graph", ("torch",), devices=("cuda",)),
    "torch-reduce-overhead": Entry(
        "torch.compile, reduce-overhead", "torch_steps", "reduce-overhead", ("torch",), devices=("cuda",)
    ),
    "jax": Entry("JAX jit", "jax_steps", "jit", ("jax", "optax"), devices=ANY),
    "jax-scan": Entry("JAX scan of 50 steps", "jax_steps", "scan", ("jax", "optax"), "small sequences"),
    "keras": Entry("Keras", "keras_steps", "", ("keras",), no_sequences=True),
    "thinc": Entry("thinc", "thinc_steps", "", ("thinc",), no_sequences=True),
    "products": Entry("its matrix products alone", "products", "", ("torch",), "floor", devices=ANY),
    "sklearn": Entry("scikit-learn", "sklearn_steps", "", ("sklearn",), no_sequences=True),
}


def missing(name: str) -> str:
    """The packages that a contender needs and that are not installed, "" if none."""
    return ", ".join(m for m in CONTENDERS[name].needs if importlib.util.find_spec(m) is None)


def find(workload: Any, device: str = "cpu") -> list[str]:
    """The contenders for a workload, installed or not."""
    kinds = workload.kinds
    return [
        name
        for name, entry in CONTENDERS.items()
        if device in entry.devices and (not entry.only or not kinds.isdisjoint(entry.only.split()))
        if not (entry.no_sequences and "sequences" in kinds)
    ]


def load(name: str) -> Any:
    """Import a contender's library."""
    return importlib.import_module(f".{CONTENDERS[name].module}", __name__)


def make(name: str, job: Any) -> Any:
    """Make the contender `name` for a job."""
    return load(name).Contender(job, CONTENDERS[name].variant)
