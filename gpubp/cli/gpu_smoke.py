"""`gpubp doctor --gpu-smoke`: a test of the GPU in stages, which takes ten seconds.

A stage takes the CuPy module and says what it found, or raises; it is reached if those that it builds on are fine. So
the first line that says "failed" is the one to mend, and what still works without it has been tried all the same.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..analysis.parity import compare_backends
from ..backends import get_backend
from ..backends.cuda.backend import CUDA
from ..backends.cuda.cublaslt import CublasLt
from ..backends.cuda.cublaslt_choice import LOSES_NAN, MASKS_0
from ..backends.cuda.cublaslt_layouts import aux_shape
from ..backends.cuda.driver import find_cupy, unusable, why_not
from ..backends.cuda.kernels import Kernels
from ..backends.cuda.launches import first_line
from ..backends.cuda.nccl import find_nccl, new_identifier, why_no_nccl
from ..backends.lowering import traced
from ..backends.order import add_as_tree
from ..errors import GpubpError
from ..formula import exp, row_max, row_sum
from ..layers import Dense, Dropout, ReLU, Sequential
from ..losses import SoftmaxCrossEntropy
from ..network.models import mlp
from ..network.network import Network
from ..optimizers import SGD, Adam
from ..training.callbacks import Callback
from ..training.trainer import Trainer
from .console import say
from .json_output import add_fields

STEPS = 4  # of which a graph makes the last ones
NEAR = 1e-5  # relative, of sums of some hundred float32
EPILOGUES = ("bias", "relu_aux_bias", "drelu_bgrad", "bgrada")
AGAIN = "gpubp doctor --gpu-smoke --json"


class Trouble(Exception):
    """A stage failed. mend: what to do, where it differs from the advice of the stage.

    >>> Trouble("the GPU has no room").args
    ('the GPU has no room',)
    """

    def __init__(self, found: str, mend: str = "") -> None:
        super().__init__(found)
        self.mend = mend


class Skipped(Exception):
    """A stage is left out, because what it is about is not installed and one GPU alone does without it.

    >>> Skipped("CuPy finds no NCCL").args
    ('CuPy finds no NCCL',)
    """


class Size(NamedTuple):
    """The sizes of the stages. hidden, rows, batch, seconds: of the training run that is timed.

    >>> Size().hidden
    (512, 512)
    """

    array: int = 1 << 24
    inputs: int = 784
    hidden: tuple[int, ...] = (512, 512)
    rows: int = 1 << 14
    batch: int = 128
    seconds: float = 2.0


SIZE = Size()


class Outcome(NamedTuple):
    """The result of a stage. state: "ok", "failed", "skipped" or "not reached". facts: values for the JSON document.

    >>> Outcome("driver", "ok", 0.1, "CUDA up to 12.9").state
    'ok'
    """

    stage: str
    state: str
    seconds: float
    found: str
    mend: str = ""
    facts: dict[str, Any] = {}  # noqa: RUF012  # of a tuple, and never written to


class Stage(NamedTuple):
    """A stage. try_it: (CuPy, products, Size) -> (what was found, facts). mend: what to do if it fails."""

    name: str
    try_it: Callable[[Any, Callable[..., Any], Size], tuple[str, dict[str, Any]]]
    needs: tuple[str, ...]
    mend: str


def driver(cupy: Any, products: Callable[..., Any], size: Size) -> tuple[str, dict[str, Any]]:
    """Test that the driver knows this CUDA, and that there is a GPU."""
    if reason := unusable(cupy):
        raise Trouble(reason)
    runtime = cupy.cuda.runtime
    known, count = int(runtime.driverGetVersion()), int(runtime.getDeviceCount())
    name = runtime.getDeviceProperties(0)["name"]
    name = name.decode() if isinstance(name, bytes) else str(name)
    cuda = f"{known // 1000}.{known % 1000 // 10}"
    more = f", the first of {count} GPUs" if count > 1 else ""
    return f"{name}{more}; the driver knows CUDA up to {cuda}", {"GPU": name, "GPUs": count, "driver": cuda}


def cupy_itself(cupy: Any, products: Callable[..., Any], size: Size) -> tuple[str, dict[str, Any]]:
    """Test that arrays go to the GPU, are computed with, and come back."""
    be = CUDA(cupy, products=products)
    free, total = be.memory()
    host = np.arange(size.array, dtype=np.float32)
    try:
        with be.active():
            back = be.to_host(cupy.add(be.to_device(host), np.float32(1)))
    except MemoryError as problem:
        raise Trouble(
            f"there is no room for {4 * size.array / 2**20:.0f} MiB; {first_line(problem)}",
            "see with nvidia-smi which programs hold the GPU's memory, and end them",
        ) from problem
    if not np.array_equal(back, host + np.float32(1)):
        raise Trouble(f"of {size.array:,} numbers {np.count_nonzero(back != host + np.float32(1)):,} came back wrong")
    version = be.arithmetic()
    gigabytes = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return f"{version['CuPy']} for CUDA {version['CUDA']}, {gigabytes}", {"CuPy": version["CuPy"], "free": free}


def cublaslt(cupy: Any, products: Callable[..., Any], size: Size) -> tuple[str, dict[str, Any]]:
    """Test the products of cublasLt, which epilogues it has, and whether its ReLU keeps NaN."""
    rng = np.random.default_rng(0)
    with cupy.cuda.Device(0), cupy.cuda.Stream(non_blocking=True) as stream:
        lt = products(cupy)
        host = [rng.standard_normal(shape).astype(np.float32) for shape in ((64, 48), (48, 32), (32,))]
        a, b, bias = (cupy.asarray(array) for array in host)
        out, gradient = cupy.empty((64, 32), np.float32), cupy.empty((32,), np.float32)
        lt.gemm(a, b, out, stream=stream)
        _near("products", out.get(), host[0].astype(np.float64) @ host[1].astype(np.float64))
        bits = cupy.zeros(*aux_shape("relu_aux_bias", out.shape, "float32"))
        more: dict[str, dict[str, Any]] = {
            "bias": {"bias": bias},
            "relu_aux_bias": {"bias": bias, "aux": bits},
            "drelu_bgrad": {"aux": bits, "bias_gradient": gradient},
            "bgrada": {"bias_gradient": gradient},
        }
        reasons = {name: lt.why_not(a, b, out, stream=stream, epilogue=name, **more[name]) for name in EPILOGUES}
        options = more["drelu_bgrad"] | {"epilogue": "drelu_bgrad", "own_mask": True}
        own = lt.why_not(a, b, out, stream=stream, **options)
    relu = reasons["relu_aux_bias"]
    keeps = True if relu in ("", MASKS_0) else False if relu == LOSES_NAN else None
    of_nan = {True: "its ReLU keeps NaN", False: "its ReLU turns NaN into 0, so gpubp's own is used", None: "no ReLU"}
    told = of_nan[keeps]
    if relu == MASKS_0:
        told += ", but counts 0 as positive, so gpubp's own derivative is used"
    lacking = [name for name, reason in reasons.items() if reason not in ("", MASKS_0, LOSES_NAN)]
    version = str(getattr(lt, "version", "") or "products")
    found = f"{version}, {told}" + (f"; without {', '.join(lacking)}" if lacking else "")
    refused = {name: reason for name, reason in reasons.items() if reason}
    return found, {"version": version, "relu_keeps_nan": keeps, "reads_own_mask": not own, "refused": refused}


def kernels(cupy: Any, products: Callable[..., Any], size: Size) -> tuple[str, dict[str, Any]]:
    """Test that gpubp's kernels compile and give NumPy's numbers."""
    here, there = get_backend("cpu"), CUDA(cupy, products=products)
    a = np.random.default_rng(0).standard_normal((33, 70)).astype(np.float32)
    with there.active():
        x, y, column, number = (there.zeros(shape, np.float32) for shape in (a.shape, a.shape, (70,), ()))
        there.put(x, a)
        Kernels(cupy).apply("softmax", traced(_softmax, 1, 1), (x,), (y,))
        e = np.exp(a - a.max(1, keepdims=True))
        _near("a softmax", there.to_host(y), e / e.sum(1, keepdims=True, dtype=np.float64))
        there.sum_rows(x, out=column)
        _near("sums of columns", there.to_host(column), a.sum(0, dtype=np.float64))
        there.dot(x.reshape(-1), x.reshape(-1), out=number)
        _near("a sum of squares", there.to_host(number), np.square(a, dtype=np.float64).sum())
        masks = []
        for be in (here, there):
            mask, step = be.empty((1000,), bool), be.zeros((1,), np.uint64)
            be.random_mask(mask, 20_000, (1, 2), step)
            masks.append(be.to_host(mask))
    if not np.array_equal(masks[0], masks[1]):
        raise Trouble("random masks have other bits than on the CPU")
    return "4 compiled, with the CPU's numbers", {}


def _softmax(x: Any) -> Any:
    e = exp(x - row_max(x))
    return e / row_sum(e)


def _near(what: str, got: np.ndarray[Any, Any], wanted: Any) -> None:
    apart = float(np.abs(got - wanted).max() / np.abs(wanted).max())
    if not apart <= NEAR:
        raise Trouble(f"{what} are wrong: {apart:.1e} of the largest number apart")


def capture(cupy: Any, products: Callable[..., Any], size: Size) -> tuple[str, dict[str, Any]]:
    """Test that a step of a small network becomes one CUDA graph, and that the network learns by it."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((32, 12)).astype(np.float32), rng.integers(0, 4, 32)
    network = Network(mlp(4, (16, 16)), 12, device=CUDA(cupy, products=products))
    trainer = Trainer(network, SoftmaxCrossEntropy(), Adam(0.01), batch_size=32)
    losses = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(6):
            trainer.step(X, y)
            losses.append(trainer.loss)
    record = trainer.record
    if getattr(record, "graph", None) is None:
        refusal = record.refusal or "; ".join(str(w.message) for w in said)
        raise Trouble(refusal or "steps run call by call, and nobody says why")
    if not losses[-1] < losses[0]:
        raise Trouble(f"as a graph it does not learn: the loss went from {losses[0]:.4g} to {losses[-1]:.4g}")
    return f"a step of {len(record)} calls is one launch", {"calls": len(record)}


def parity(cupy: Any, products: Callable[..., Any], size: Size) -> tuple[str, dict[str, Any]]:
    """Test that a step gives the CPU's numbers: layer by layer, and in the parameters after recorded steps."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((64, 12)).astype(np.float32), rng.integers(0, 4, 64)
    layers = Sequential(Dense(24), ReLU(), Dropout(0.2), Dense(16), ReLU(), Dense(4))
    backends = ("cpu", CUDA(cupy, products=products))
    optimizer = SGD(0.5)  # by which a step's gradients are seen in the parameters, as they are not by Adam
    found = compare_backends(
        layers, X, y, loss=SoftmaxCrossEntropy(), optimizer=optimizer, backends=backends, steps=STEPS
    )
    (other,) = found.others
    faults = other.faults
    drift = max(d.relative for d in other.drift)
    if not drift <= STEPS * other.tolerance:  # joined calls and the graph, which nothing can look into
        faults.append(f"after {STEPS} recorded steps parameters are {drift:.1e} of the largest apart")
    if faults:
        raise Trouble("; ".join(faults))
    apart = max(d.relative for layer in other.layers for d in (*layer.outputs, *layer.gradients))
    facts = {"apart": apart, "drift": drift}
    return f"a step's numbers are {apart:.0e} apart at most, parameters after {STEPS} steps {drift:.0e}", facts


def speed(cupy: Any, products: Callable[..., Any], size: Size) -> tuple[str, dict[str, Any]]:
    """Measure steps a second of a network of common size, and test that it learns."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((size.rows, size.inputs), dtype=np.float32)
    y = (X @ rng.standard_normal((size.inputs, 10), dtype=np.float32)).argmax(axis=1)
    network = Network(mlp(10, size.hidden), size.inputs, device=CUDA(cupy, products=products))
    trainer = Trainer(network, SoftmaxCrossEntropy(), Adam(), batch_size=size.batch)
    watch = _Stopwatch(size.seconds)
    losses = trainer.fit(X, y, epochs=10**6, callbacks=[watch], verbose=False)["loss"]
    a_second = watch.steps / watch.spent
    widths = "-".join(map(str, (size.inputs, *size.hidden, 10)))
    fell = f"the loss went from {losses[0]:.3g} to {losses[-1]:.3g}"
    if not losses[-1] < 0.95 * losses[0]:
        raise Trouble(f"training does not learn: {fell}")
    facts = {"steps_a_second": a_second, "network": widths, "batch_size": size.batch}
    return f"{a_second:,.0f} of a {widths} network with batches of {size.batch}; {fell}", facts


class _Stopwatch(Callback):
    """Times all epochs but the first two, in which kernels are compiled, and ends the training after enough seconds."""

    def __init__(self, seconds: float) -> None:
        self.enough = seconds
        self.steps, self.spent = 0, math.nan
        self._start, self._before = 0.0, 0

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        now, epochs = time.perf_counter(), trainer.history.epochs
        if epochs == 2:
            self._start, self._before = now, trainer.step_count
        elif epochs > 6 and now - self._start >= self.enough:
            self.steps, self.spent = trainer.step_count - self._before, now - self._start
            trainer.stop = True


def messages(cupy: Any, products: Callable[..., Any], size: Size) -> tuple[str, dict[str, Any]]:
    """Test that NCCL's messages are a part of a captured step: one process sends them to itself, and adds them."""
    if reason := why_no_nccl(cupy):
        raise Skipped(f"{reason}. Several GPUs need it, one does not")
    be = CUDA(cupy, products=products)
    communicator = be.join(0, 1, bytes.fromhex(new_identifier(cupy)), 60.0)
    start = np.arange(1000, dtype=np.float32)
    with be.active():
        x, y, gathered = (be.empty(shape, np.float32) for shape in ((1000,), (1000,), (1, 1000)))
        be.put(x, start)

        def step() -> None:
            be.run(communicator.exchange, (x,), out=(y,))
            add_as_tree(be, (x, y), x)
            be.run(communicator.all_gather, x, out=gathered)

        again: Any = be.capture(step)
        for _ in range(STEPS):
            again()
        if getattr(again, "graph", None) is None:
            raise Trouble(again.refusal)
        doubled = be.to_host(gathered)[0]
    if not np.array_equal(doubled, start * np.float32(2 ** (STEPS + 1))):
        raise Trouble("numbers that a graph has sent by NCCL came back wrong")
    number = int(find_nccl(cupy).get_version())
    version = f"{number // 10000}.{number % 10000 // 100}.{number % 100}"
    return f"NCCL {version}; a graph sends, adds and gathers", {"version": version}


_INSTALL = "pip install --force-reinstall 'gpubp[cuda{cuda}]'"
_DISTRUST = f"don't trust this GPU's results; gpubp compare shows each layer; report what it and {AGAIN} print"
_LIBRARY = f"{_INSTALL} brings the library; training works without it, but slowly"
_COMPILER = f"{_INSTALL} brings a compiler that fits; then rm -r ~/.cupy"
_SLOW = f"training works, call by call and slowly; report what {AGAIN} prints"
STAGES = (
    Stage("driver", driver, (), "see what nvidia-smi shows; until it works, --device cpu does"),
    Stage("CuPy", cupy_itself, ("driver",), _INSTALL),
    Stage("cublasLt", cublaslt, ("CuPy",), _LIBRARY),
    Stage("kernels", kernels, ("CuPy",), _COMPILER),
    Stage("capture", capture, ("cublasLt", "kernels"), _SLOW),
    Stage("parity", parity, ("kernels",), _DISTRUST),
    Stage("steps a second", speed, ("kernels",), _DISTRUST),
    Stage("messages", messages, ("kernels",), "training on one GPU works; see what NCCL_DEBUG=INFO shows"),
)


def stages(
    cupy: Any, products: Callable[..., Any] = CublasLt, size: Size = SIZE, reason: str = ""
) -> Iterator[Outcome]:
    """Run all stages, and yield the outcome of each when it is known.

    cupy: the CuPy module, or None where there is `reason` why it can't be used. products: as of `CUDA`.

    >>> [outcome.state for outcome in stages(None, reason="CuPy is not installed")][:3]
    ['failed', 'not reached', 'not reached']
    """
    fine: set[str] = set()
    for name, try_it, needs, mend in STAGES:
        lacking = [need for need in needs if need not in fine]
        if lacking:
            yield Outcome(name, "not reached", 0.0, f"it needs {' and '.join(lacking)}")
            continue
        start = time.perf_counter()
        try:
            if reason:
                raise Trouble(reason)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is slower: it has a stage of its own
                found, facts = try_it(cupy, products, size)
        except Skipped as skipped:
            outcome = Outcome(name, "skipped", 0.0, str(skipped))
        except Trouble as trouble:
            outcome = Outcome(name, "failed", 0.0, str(trouble), trouble.mend or mend)
        except GpubpError as problem:
            outcome = Outcome(name, "failed", 0.0, str(problem), mend)
        except Exception as problem:  # whatever a broken driver or library throws is what is to be reported
            outcome = Outcome(name, "failed", 0.0, first_line(problem), mend)
        else:
            outcome = Outcome(name, "ok", 0.0, found, facts=facts)
            fine.add(name)
        if outcome.mend and cupy is not None:
            outcome = outcome._replace(mend=outcome.mend.format(cuda=cupy.cuda.runtime.runtimeGetVersion() // 1000))
        yield outcome._replace(seconds=time.perf_counter() - start)


def smoke() -> int:
    """Run and print the stages, and put them into the JSON document. Returns 1 if one fails."""
    reason = why_not()
    told = []
    for outcome in stages(None if reason else find_cupy(), reason=reason):
        told.append(outcome)
        style = {"ok": None, "failed": "bold red"}.get(outcome.state, "dim")
        seconds = f"{outcome.seconds:5.1f} s" if outcome.state != "not reached" else " " * 7
        say(f"{outcome.stage:<14}  {outcome.state:<11}  {seconds}  {outcome.found}", style)
        if outcome.mend:
            say(f"{'':<14}  what to do: {outcome.mend}")
    failed = [outcome.stage for outcome in told if outcome.state == "failed"]
    add_fields(ok=not failed, stages=[outcome._asdict() for outcome in told])
    say(f"failed: {', '.join(failed)}" if failed else "the GPU does all that training asks of it")
    return 1 if failed else 0
