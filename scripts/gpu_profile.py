"""Time the steps of the benchmarks' networks call by call, and make experiments: gpu_profile.py RESULTS LOGS

Each part is a process, so that an illegal access, or a kernel without end, loses only itself. Processes get ready side
by side and measure one at a time. A network's part times the whole step in several ways, and then each of its calls
beside the least that it can take (gpu_forecast.py). The other parts time cuBLAS's kernels (gpu_algorithms.py), and
pieces of convolutions.
"""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from statistics import median
from typing import Any
from unittest import mock

import gpu_algorithms
import numpy as np
from gpu_algorithms import seconds_of
from gpu_calls import profile
from gpu_clocks import clocks
from gpu_forecast import forecast
from gpu_results import Stage

from benchmarks.contenders.gpubp_steps import Contender
from benchmarks.workloads import GPU, Job, Workload, data_of, first_weights, mlp, orders
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.branches import Branches, Turn
from gpubp.backends.cuda.graphs import TOGETHER, CapturedStep
from gpubp.backends.recording import Call, parts

SMALL = {
    "A": Workload("A", "16-12-8-4", (16,), mlp(12, 8, 4), 8, rows=64),
    "B": Workload("B", "16-8-4, momentum", (16,), mlp(8, 8, 4), 8, "momentum", rows=64),
    "B-tf32": Workload("B-tf32", "16-8-4, TF32", (16,), mlp(8, 8, 4), 8, "momentum", rows=64, precision="tf32"),
    "C": Workload("C", "16-12-4, bfloat16", (16,), mlp(12, 12, 4), 8, "momentum", "mse", 64, precision="bfloat16"),
    "D": Workload("D", "CNN 4-8", (6, 6, 1), (("conv", 4), ("relu",), ("pool",), ("flatten",), *mlp(8, 4)), 4, rows=16),
}
STEPS = {"A": 200, "B": 60, "B-tf32": 60, "C": 8, "D": 60}  # that a network is trained for, before it is measured
ROUNDS = 5  # of which the median is taken
LAUNCHES = 4  # of a graph, one after the other, as a training asks for them
NOTHING = 'extern "C" __global__ void nothing(float* a) { if (threadIdx.x == 0 && blockIdx.x == 0) a[0] += 1.0f; }'
SAID = 3  # how a process ends that has written why
SIDE_BY_SIDE = 3  # processes that are ready or get ready


def main(stage: Stage) -> int:
    """All parts, or the one that was asked for."""
    if not stage.share:
        return run_parts(stage)
    try:
        return PARTS[stage.share][0](stage, stage.share)
    except Exception as problem:  # outside of what has a line of its own
        traceback.print_exc()
        stage.results.add(f"{stage.share} part", ok=False, problem=f"{type(problem).__name__}: {problem}"[:600])
        return SAID


# -- parts as processes -----------------------------------------------------------------------------------------------


def run_parts(stage: Stage) -> int:
    """Run the parts, the most important first, and note the GPU's clocks meanwhile."""
    command = [sys.executable, __file__, str(stage.results.file), str(stage.logs), *["--dry"] * stage.dry]
    waiting, running = list(IN_SMALL if stage.dry else PARTS), dict[str, subprocess.Popen[bytes]]()
    try:
        with clocks(stage):
            while waiting or running:
                while waiting and len(running) < SIDE_BY_SIDE and stage.left > 4.0:
                    part = waiting.pop(0)
                    told = ["--share", part, "--limit", f"{stage.left - 2.0:.1f}"]
                    running[part] = subprocess.Popen([*command, *told])
                for part, process in list(running.items()):
                    if process.poll() is not None:
                        ended(stage, part, process.returncode)
                        del running[part]
                if stage.left < 1.0 or (waiting and not running):
                    break
                time.sleep(0.02)
    finally:
        for part, process in running.items():
            process.kill()
            process.wait()
            stage.results.add(f"{part} process", ok=False, problem="ended by the stage, whose time was over")
    for part in waiting:
        stage.results.add(part, shown="left out, the time was over")
    return 0


def ended(stage: Stage, part: str, code: int) -> None:
    """Note a process that did not end well; the others go on."""
    if code not in (0, SAID):
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        took = f", it had {PARTS[part][1]:.0f} s" if code == -signal.SIGALRM else ""
        stage.results.add(f"{part} process", ok=False, problem=f"the process of {part} {how}{took}")


@contextmanager
def turn(stage: Stage, part: str) -> Iterator[None]:
    """Measure while nobody else does, for some seconds at most; then the process is ended by a signal."""
    with open(stage.logs / "gpu-turn.txt", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the system, however this process ends
        if not stage.dry:  # where kernels are compiled by a compiler for the host, which takes long
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(PARTS[part][1]))
        begun = time.time()
        try:
            yield
        finally:
            signal.alarm(0)
            stage.results.add(f"{part} turn", begun=begun, ended=time.time())


# -- a network's step -------------------------------------------------------------------------------------------------


def workload(stage: Stage, name: str) -> Workload:
    """A benchmark's network, or in a dry run a small one."""
    return (SMALL if stage.dry else GPU)[name]


def network(stage: Stage, name: str) -> int:
    """Time a network's step and its calls, and make its experiments."""
    w = workload(stage, name)
    data, weights = data_of(w), first_weights(w)  # made by the host, while another part measures
    rows = np.stack(list(islice(orders(w), 3 if stage.dry else STEPS[name])))
    be = stage_backend(stage)
    with turn(stage, name):
        contender = Contender(Job(w, data, weights, be), "")
        contender.run(rows)
        if contender.trainer.record is None or contender.trainer.record.graph is None:
            why = getattr(contender.trainer.record, "refusal", "no step was recorded")
            stage.results.add(f"{name} step", ok=False, problem=f"there is no graph: {why}")
            return SAID
        for experiment in (whole_step, calls, *EXPERIMENTS.get(name, ())):
            if stage.left > 2.0:
                experiment(stage, name, contender, rows)
        if stage.left > 3.0:
            autotuned(stage, name, Job(w, data, weights, stage_backend(stage, autotune=True)), rows)
    return 0


def stage_backend(stage: Stage, autotune: bool = False) -> CUDA:
    """A backend that has begun to work: with CUDA's context, and cublasLt loaded."""
    made = stage.products()
    products = (lambda cupy, **options: made(cupy)) if stage.dry else made  # the stand-in has one kernel for a product
    be = CUDA(stage.cupy(), 0, autotune=autotune, products=products)
    with be.active():
        be._launches.reserve(be._stream)
        be.zeros((1,), np.float32)
        be.synchronize()
    return be


def calls(stage: Stage, name: str, contender: Any, rows: Any) -> None:
    """The calls of the step, each by itself."""
    profile(stage, name, workload(stage, name), contender, 10 if stage.dry else 30, 6, layers=False)


def whole_step(stage: Stage, name: str, contender: Any, rows: Any) -> None:
    """The step as graphs of several kinds, and its products alone, as a line."""
    with stage.results.part(f"{name} step") as line:
        trainer = contender.trainer
        record, be = trainer.record, trainer.backend
        products = [call for call in record.record.calls if be._launches.is_product(call)]
        single = step_seconds(stage, be, record._work(), 1)
        together = 2 if stage.dry or single > 2e-3 else max(1, record._together)
        line |= {"together": together, "in graphs of one step": 1e6 * single}
        ways: list[tuple[str, Callable[[], Any], int]] = [
            ("in graphs", record._work(), together),
            ("on one stream", record.record, together),
            ("its products with epilogues", made(products), together),
            ("its products alone", made([parts(call)[0] for call in products]), together),
        ]
        for way, work, times in ways:
            line[way] = 1e6 * step_seconds(stage, be, work, times)
        expected = forecast(trainer)
        line |= {
            "bound": 1e6 * expected.bound,
            "products' bound": 1e6 * expected.products,
            "forecast": expected.summary(stage.us),
        }
        line["shown"] = (
            f"{line['in graphs']:.1f} {stage.us} in graphs of {together}, {line['in graphs of one step']:.1f} of one, "
            f"{line['on one stream']:.1f} on one stream; products alone {line['its products alone']:.1f}; "
            f"at least {line['bound']:.1f}"
        )


def made(calls: list[Call]) -> Callable[[], None]:
    """What makes the calls, one after another."""

    def work() -> None:
        for call in calls:
            call.function(*call.args, **call.kwargs)

    return work


def step_seconds(stage: Stage, be: CUDA, work: Callable[[], Any], times: int) -> float:
    """Seconds of some work, `times` of it in one graph; about a fifth of a second is spent."""

    def many() -> None:
        for _ in range(times):
            work()

    with be.active():
        if not isinstance(work, Branches):  # which is only to be captured
            work()
            be.synchronize()
        graph = be.graphs.of(many, (*be._kept(), work))
        once = seconds_of(be.cupy, be._stream, graph, 1)
        rounds = 1 if stage.dry else int(min(max(0.2 / max(once * LAUNCHES, 1e-6), 3), 200))
        return seconds_of(be.cupy, be._stream, graph, rounds, LAUNCHES) / times


def autotuned(stage: Stage, name: str, job: Job, rows: Any) -> None:
    """The step with the fastest of eight kernels for each product, as a line."""
    with stage.results.part(f"{name} autotuned") as line:
        contender = Contender(job, "")
        contender.run(rows)
        record = contender.trainer.record
        times = 2 if stage.dry else max(1, record._together)
        line["in graphs"] = 1e6 * step_seconds(stage, contender.trainer.backend, record._work(), times)
        line["shown"] = f"{line['in graphs']:.1f} {stage.us} in graphs of {times}"


# -- experiments ------------------------------------------------------------------------------------------------------


def steps_of_a_launch(stage: Stage, name: str, contender: Any, rows: Any) -> None:
    """The step by how many of them are one graph."""
    with stage.results.part(f"{name} steps of a launch") as line:
        trainer = contender.trainer
        for times in (1, 2) if stage.dry else (1, 4, 8, TOGETHER, 32, 64):
            line[str(times)] = 1e6 * step_seconds(stage, trainer.backend, trainer.record._work(), times)
        line["shown"] = ", ".join(f"{k}: {v:.1f}" for k, v in line.items() if k.isdigit()) + f" {stage.us} a step"


def chain_of_nothing(stage: Stage, name: str, contender: Any, rows: Any) -> None:
    """Kernels that do nothing, each waiting for the one before: what a graph's nodes take."""
    with stage.results.part(f"{name} nodes of a graph") as line:
        be = contender.trainer.backend
        a, kernel = be.zeros((1,), np.float32), be.cupy.RawKernel(NOTHING, "nothing")
        length, sizes = len(contender.trainer.record), (1, 2) if stage.dry else (1, 132, 1056)
        for blocks in sizes:
            chain = made([Call(kernel, ((blocks,), (256,), (a,)), {})] * length)
            line[f"{blocks} blocks"] = 1e6 * step_seconds(stage, be, chain, 2 if stage.dry else TOGETHER)
        shown = ", ".join(f"{line[f'{n} blocks'] / length:.2f} of {n} blocks" for n in sizes)
        line["shown"] = f"{length} kernels in a row, {stage.us} each: {shown}"


def python_alone(stage: Stage, name: str, contender: Any, rows: Any) -> None:
    """Python's time a step: `fit` with all launches left out, and the launch of a graph by itself."""
    with stage.results.part(f"{name} host") as line:
        many = np.concatenate([rows] * (1 if stage.dry else 10))
        nothing = {name: lambda self, *args: None for name in ("repeat", "__call__")}
        with mock.patch.multiple(CapturedStep, **nothing):
            line["fit"] = 1e6 * min(contender.run(many)[0] for _ in range(3)) / len(many)
        trainer = contender.trainer
        with trainer.backend.active():
            be, spent = trainer.backend, []
            graph = be.graphs.of(trainer.record._work(), (trainer.record, *trainer.record._buffers()))
            for _ in range(ROUNDS):
                be.synchronize()
                start = time.perf_counter()
                graph.launch(be._stream)
                spent.append(time.perf_counter() - start)
            be.synchronize()
        line["launch"] = 1e6 * median(spent)
        line["shown"] = f"{line['fit']:.2f} {stage.us} a step in fit without launches; {line['launch']:.2f} a launch"


def beside(stage: Stage, name: str, contender: Any, rows: Any) -> None:
    """A product and another call, one after another and side by side: whether updates and casts could be hidden."""
    with stage.results.part(f"{name} side by side") as line:
        trainer = contender.trainer
        calls, do, be = trainer.record.record.calls, trainer.backend._launches, trainer.backend
        product = max((c for c in calls if do.is_product(c)), key=lambda c: c.kwargs["out"].size * c.args[0].shape[-1])
        casts = [call for call in calls if call.function == do.halve]
        partners = {"update": calls[-1]} | ({"cast": casts[-1]} if casts else {})
        with be.active():
            do.reserve(be._side_stream())
        for what, partner in partners.items():
            both = Branches([], do, be.cupy.cuda, be._stream, be._side_stream())
            both.turns = [Turn(partner, True), Turn(product)]
            pair = [1e6 * step_seconds(stage, be, made([c]), 2) for c in (product, partner)]
            line[what] = [*pair, 1e6 * step_seconds(stage, be, both, 2)]
        line["shown"] = "; ".join(
            f"product {line[what][0]:.1f}, {what} {line[what][1]:.1f}, both at once {line[what][2]:.1f} {stage.us}"
            for what in partners
        )


EXPERIMENTS: dict[str, tuple[Callable[[Stage, str, Any, Any], None], ...]] = {
    "A": (python_alone, steps_of_a_launch, chain_of_nothing),
    "B": (beside,),
    "B-tf32": (beside,),
    "C": (beside,),
}


# -- other parts ------------------------------------------------------------------------------------------------------


def algorithms(stage: Stage, part: str) -> int:
    """cuBLAS's kernels for the products of a network."""
    be = stage_backend(stage)
    with turn(stage, part):
        gpu_algorithms.run(stage, be, part.partition("-")[0])
    return 0


def pieces(stage: Stage, part: str) -> int:
    """Network D by the size of the pieces that its convolutions are made in."""
    w = workload(stage, "D")
    data, weights = data_of(w), first_weights(w)
    rows = np.stack(list(islice(orders(w), 3 if stage.dry else 10)))
    with turn(stage, part), stage.results.part(part) as line:
        for bits in (8, 10) if stage.dry else range(22, 27):
            contender = Contender(Job(w, data, weights, stage.backend()), "")
            contender.trainer.backend.piece = 2**bits
            contender.run(rows)
            record = contender.trainer.record
            seconds = step_seconds(stage, contender.trainer.backend, record._work(), max(1, record._together))
            line[f"2^{bits}"] = {"microseconds": 1e6 * seconds, "calls": len(record)}
        said = (f"{k}: {v['microseconds']:.1f} of {v['calls']} calls" for k, v in line.items() if k.startswith("2^"))
        line["shown"] = f"{stage.us} a step by pieces of {', '.join(said)}"
    return 0


# the most important first: what it does, and the seconds that its turn may take
PARTS: dict[str, tuple[Callable[[Stage, str], int], float]] = {
    "A": (network, 12.0),
    "C": (network, 14.0),
    "C-products": (algorithms, 16.0),
    "B-tf32": (network, 8.0),
    "A-products": (algorithms, 6.0),
    "D": (network, 8.0),
    "B": (network, 8.0),
    "D-pieces": (pieces, 10.0),
    "B-products": (algorithms, 6.0),
    "D-products": (algorithms, 6.0),
}
IN_SMALL = ("A", "C", "C-products", "D-pieces")  # of a dry run

if __name__ == "__main__":
    sys.exit(main(Stage("profile")))
