"""Lower bounds of the calls of a recorded step on an H200: gpu_forecast.py [A B B-tf32 C D]

For each call, what it must read and write once, and the operations of its product:

    bound = max(bytes / copying rate, operations / product rate, latency of a kernel in a graph)

No call can be faster, and none comes near its bound in every case: what lies in the cache needs no memory. The step
takes at least the sum over the calls that wait for each other, and at least the sum of all calls without their
latencies. Run by itself, this needs no GPU: steps are recorded on the stand-in, network C at a 16th of its size.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.contenders.gpubp_steps import Contender  # noqa: E402
from benchmarks.workloads import GPU, Job, Workload, data_of, first_weights, mlp, orders  # noqa: E402
from gpubp.backends.cuda.bfloat16 import Bfloat16  # noqa: E402
from gpubp.backends.cuda.effects import effects  # noqa: E402
from gpubp.backends.cuda.kernels import kernel_name  # noqa: E402
from gpubp.backends.recording import Call, address  # noqa: E402

COPY = 4.3e12  # bytes a second of an H200, read and written, measured by copies in torch
PRODUCTS = {"bfloat16": 788e12, "tf32": 400e12, "float32": 67e12, "float64": 67e12}  # operations a second; bfloat16
# as measured, TF32 about half of it, the others as NVIDIA states them
NODE = 2e-6  # seconds from a small kernel of a graph to the next that waits for it: 2 to 4

Sizes = Mapping[int, int]  # what a size of an array stands for; sizes that are not in it, for themselves
AS_IT_IS: Sizes = MappingProxyType({})


class Work(NamedTuple):
    """What a call must do. what: in words. read, written: bytes. operations: of a product, in `precision`. aside:
    whether it runs beside others."""

    what: str
    read: int
    written: int
    operations: int = 0
    precision: str = ""
    aside: bool = False

    @property
    def throughput(self) -> float:
        """Seconds for its bytes or its operations, without a latency."""
        return max((self.read + self.written) / COPY, self.operations / PRODUCTS.get(self.precision, math.inf))

    @property
    def bound(self) -> float:
        """Seconds that it takes at least."""
        return max(self.throughput, NODE)


class Forecast(NamedTuple):
    """The calls of a step, in their order."""

    works: list[Work]

    @property
    def chain(self) -> float:
        """Seconds of the calls that wait for each other."""
        return sum(work.bound for work in self.works if not work.aside)

    @property
    def throughput(self) -> float:
        """Seconds of all calls without latencies."""
        return sum(work.throughput for work in self.works)

    @property
    def products(self) -> float:
        """Seconds of the products alone."""
        return sum(work.throughput for work in self.works if work.operations)

    @property
    def bound(self) -> float:
        """Seconds that the step takes at least."""
        return max(self.chain, self.throughput)

    def lines(self) -> Iterator[str]:
        """A table: calls that are alike together, those with the largest bounds first."""
        groups: dict[str, list[Work]] = {}
        for work in self.works:
            groups.setdefault(work.what, []).append(work)
        yield f"{'µs at least':>11}  {'calls':>5}  {'MB':>7}  {'GFLOP':>7}  what"
        for what, alike in sorted(groups.items(), key=lambda item: -sum(w.bound for w in item[1])):
            moved, operations = sum(w.read + w.written for w in alike), sum(w.operations for w in alike)
            aside = sum(w.aside for w in alike)
            beside = f"; {aside} beside others" if aside else ""
            yield (
                f"{1e6 * sum(w.bound for w in alike):11.1f}  {len(alike):5d}  {moved / 1e6:7.1f}  "
                f"{operations / 1e9:7.2f}  {what}{beside}"
            )
        yield self.summary()

    def summary(self, us: str = "µs") -> str:
        """In words."""
        aside = sum(work.aside for work in self.works)
        return (
            f"{len(self.works)} calls, {aside} of them beside others: at least {1e6 * self.bound:.1f} {us} "
            f"({1e6 * self.chain:.1f} one after another, {1e6 * self.throughput:.1f} without latencies), "
            f"products alone {1e6 * self.products:.1f}"
        )


def forecast(trainer: Any, sizes: Sizes = AS_IT_IS) -> Forecast:
    """That of a trainer's recorded step."""
    record, do = trainer.record, trainer.backend._launches
    turns = record._branches.turns if record._branches is not None and trainer.backend.graphs.branches else []
    aside = [turn.aside for turn in turns] or [False] * len(record)
    calls = zip(record.record.calls, aside, strict=True)
    return Forecast([work_of(call, do, sizes)._replace(aside=beside) for call, beside in calls])


def work_of(call: Call, do: Any, sizes: Sizes = AS_IT_IS) -> Work:
    """What one call must do. sizes: where it was recorded in small, what its sizes stand for."""
    what = described(call, sizes)
    if do.is_product(call):
        return _product(call, what, sizes)
    if call.function == do.next_batch:
        sources, places, (_, _, numbers), _ = call.args
        read = sum(_count(p, sizes) * s.dtype.itemsize for s, p in zip(sources, places, strict=True))
        read += 8 * sizes.get(len(places[0]), len(places[0]))
        return Work(what, read + numbers.nbytes, sum(bytes_of(p, sizes) for p in places) + numbers.nbytes)
    if call.function == do.gather:
        source, rows = call.args
        out = call.kwargs["out"]
        read = _count(out, sizes) * source.dtype.itemsize + bytes_of(rows, sizes)
        return Work(what, read, bytes_of(out, sizes))
    found = effects(call, do)
    return Work(what, *(sum(bytes_of(a, sizes) for a in _once(some)) for some in (found.reads, found.writes)))


def _product(call: Call, what: str, sizes: Sizes) -> Work:
    a, b = call.args
    out, finish = call.kwargs["out"], call.kwargs.get("finish", call.kwargs)
    aux, forward = finish.get("aux"), "bias" in finish
    read, written = [a, b, finish.get("bias")], [out, finish.get("bias_gradient")]
    (written if forward else read).append(aux)
    if forward and aux is not None and finish["epilogue"] == "bias":  # a kernel behind it makes ReLU and mask
        read.append(out)
        written.append(out)
    operations = 2 * _count(out, sizes) * sizes.get(a.shape[-1], a.shape[-1])
    precision = "bfloat16" if isinstance(a, Bfloat16) else str(out.dtype)
    if precision == "float32":
        precision = str(finish.get("compute", "float32"))
    moved = (sum(bytes_of(x, sizes) for x in some if x is not None) for some in (read, written))
    return Work(what, *moved, operations, precision)


def bytes_of(a: Any, sizes: Sizes = AS_IT_IS) -> int:
    """Bytes of an array's numbers, those that it repeats counted once.

    >>> bytes_of(np.broadcast_to(np.zeros(3, np.float32), (5, 3)))
    12
    """
    return _count(a, sizes) * int(a.dtype.itemsize)


def _count(a: Any, sizes: Sizes) -> int:
    return math.prod(sizes.get(n, n) for n, step in zip(a.shape, a.strides, strict=True) if step or n == 1)


def _once(arrays: Sequence[Any]) -> list[Any]:
    return list({(address(a), tuple(a.shape), tuple(a.strides)): a for a in arrays}.values())


def described(call: Call, sizes: Sizes = AS_IT_IS) -> str:
    """A call of a record, without its addresses: its name, its epilogue, its arrays' shapes."""
    name = getattr(call.function, "__name__", "call")
    args = call.args
    if name == "formula":
        name, args = kernel_name(args[0]), args[1:]
    finish = call.kwargs.get("finish", {})
    given = [a.shape for a in args if getattr(a, "shape", None) is not None]
    shapes = ["x".join(str(sizes.get(n, n)) for n in shape) or "one" for shape in given]
    epilogue = f" {finish['epilogue']}" if finish.get("epilogue") else ""
    return f"{name}{epilogue} ({', '.join(shapes[:4])}{', ...' if len(shapes) > 4 else ''})"


def small(w: Workload) -> tuple[Workload, Sizes]:
    """A network that this machine can train a few steps of, with as many calls, and what its sizes stand for."""
    if w.name != "C":
        return w, {}
    width, batch, less = w.shape[0], w.batch, 16
    layers = mlp(*[n[1] // less for n in w.layers if n[0] == "dense"])
    made = replace(w, shape=(width // less,), layers=layers, batch=batch // less, rows=w.rows // less)
    sizes = {n // less: n for n in (width, batch, w.rows, width // 8)}  # the last: bytes of a row of a mask
    sizes |= {n // less**2: n for n in (width * width, width * batch)}  # of a matrix as a vector
    return made, sizes | {made.size: w.size}


def recorded(w: Workload) -> Any:
    """A trainer after its first steps on the stand-in."""
    sys.path.insert(0, str(ROOT / "tests"))
    from gpubp.backends.cuda.backend import CUDA
    from strict import StrictProducts, strict_cupy

    contender = Contender(Job(w, data_of(w), first_weights(w), CUDA(strict_cupy(), products=StrictProducts)), "")
    contender.run(np.stack(list(islice(orders(w), 3))))
    return contender.trainer


def main(names: Sequence[str]) -> int:
    """Print the tables of these networks."""
    for name in names or list(GPU):
        made, sizes = small(GPU[name])
        print(f"\n{name}: {GPU[name].text}")
        print("\n".join(forecast(recorded(made), sizes).lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
