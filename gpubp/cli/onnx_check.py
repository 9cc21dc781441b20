"""What an ONNX file takes and gives, and whether onnxruntime computes with it what gpubp computes.

The difference of numbers is relative to the largest of them, or to 1 if all are smaller. Labels must be the same, but
where the two largest probabilities are as near to each other as the tolerance.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ExportError, MissingDependencyError
from ..interop.onnx_out.told import meant
from ..losses import told_outputs
from ..network.network import Network
from ..tables import Preparation

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-4
AT_ONCE = 1000  # rows, so that memory has a bound


@dataclass(frozen=True)
class Port:
    """An input or output of the file. shape: numbers, and names of axes of any length. what: in words."""

    name: str
    type: str
    shape: tuple[int | str, ...]
    what: str = ""

    @property
    def told(self) -> str:
        """The shape as text.

        >>> Port("x", "float32", ("batch", 64)).told
        '(batch, 64)'
        """
        return f"({', '.join(map(str, self.shape))}{',' if len(self.shape) == 1 else ''})"


@dataclass(frozen=True)
class Agreement:
    """How far onnxruntime's numbers are from gpubp's.

    rows: that were compared. largest: the difference of numbers. labels: how many labels differ. where: the output and
    the row of the largest difference, or of the first label that differs.

    >>> Agreement(37, 3e-7, 0, "").agrees, Agreement(37, 0.2, 0, "output in row 4").agrees
    (True, False)
    """

    rows: int
    largest: float
    labels: int
    where: str

    @property
    def agrees(self) -> bool:
        """Whether all is the same up to the tolerance."""
        return self.largest <= TOLERANCE and not self.labels  # NaN is not


def runtime() -> Any:
    """The library onnxruntime. Raises MissingDependencyError without it."""
    try:
        import onnxruntime
    except ImportError as problem:
        raise MissingDependencyError("running ONNX files needs onnxruntime: pip install onnxruntime") from problem
    return onnxruntime


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that `to_onnx` wrote.

    takes, gives: its inputs and outputs. opset: the version of each set of operations, by domain. columns: what each
    input of a table takes, as the file tells: "name" of the column, "input", "form", "give" and "example".
    """

    path: str
    takes: list[Port]
    gives: list[Port]
    opset: dict[str, int]
    columns: list[dict[str, str]]

    @classmethod
    def read(cls, path: str | os.PathLike[str], network: Network) -> OnnxFile:
        """The description of a file that was made of this network."""
        import onnx

        model = onnx.load(path)
        told = {one.key: one.value for one in model.metadata_props}
        columns = json.loads(told.get("columns", "[]"))
        give = {one["input"]: one["give"] for one in columns}
        takes = [_port(onnx, value, give.get(value.name) or _taken(value.name, network)) for value in model.graph.input]
        gives = [_port(onnx, value, value.doc_string) for value in model.graph.output]
        opset = {one.domain or "ai.onnx": int(one.version) for one in model.opset_import}
        return cls(os.fspath(path), takes, gives, opset, columns)

    def of_columns(self, what: str) -> dict[str, str]:
        """The "form", "example" or "input" of each column, by its name.

        >>> OnnxFile("a.onnx", [], [], {}, [{"name": "rooms", "form": "number"}]).of_columns("form")
        {'rooms': 'number'}
        """
        return {told["name"]: told[what] for told in self.columns}


def _port(onnx: Any, value: Any, what: str) -> Port:
    kind = value.type.tensor_type
    dtype = "string" if kind.elem_type == onnx.TensorProto.STRING else None
    name = dtype or str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    shape = tuple(d.dim_param or int(d.dim_value) for d in kind.shape.dim)
    return Port(value.name, name, shape, what)


def _taken(name: str, network: Network) -> str:
    if name == "lengths":
        return "how many time steps each row has"
    shape = " x ".join("time steps" if n is None else str(n) for n in network.input_shape)
    made = "Preparation.transform makes" if Preparation.of(network) else "net.predict takes"
    return f"rows of {shape} numbers, as {made} them"


def compare(file: OnnxFile, network: Network, X: Any, cells: Mapping[str, Any] | None = None) -> Agreement:
    """Run an ONNX file in onnxruntime, on one thread, and compare its outputs with those of the network.

    X: rows as net.predict takes them, an array or a list of rows of different lengths. cells: what the inputs of the
    columns of a table take, by the name of the column. Raises ExportError if onnxruntime can't run the file.
    """
    z = network.predict(X)
    inputs = file.of_columns("input")
    given = inputs_of(file, network, X) if cells is None else {inputs[name]: cells[name] for name in inputs}
    found = _run(file.path, given)
    row = np.arange(len(X))
    if not isinstance(z, np.ndarray):  # outputs of each time step, of which there are fewer than in the padded ones
        steps = [len(one) for one in z]
        found = {name: np.concatenate([a[:n] for a, n in zip(found[name], steps, strict=True)]) for name in found}
        row, z = np.repeat(row, steps), np.concatenate(list(z))
    expected = {"output": z} if list(found) == ["output"] else _expected(network, z)
    largest, labels, where = 0.0, 0, ""
    if "label" in found:
        wrong = _wrong_labels(found.pop("label"), expected["probabilities"], _names(network, z))
        labels, where = int(wrong.sum()), f"label in row {row[wrong.argmax()] + 1}" if wrong.any() else ""
    for name, a in found.items():
        apart = _apart(a, expected[name])
        at = int(np.nan_to_num(apart, nan=np.inf).argmax())
        if not apart[at] <= largest:
            largest = float(apart[at])
            where = where if labels else f"{name} in row {row[at] + 1}"
    return Agreement(len(X), largest, labels, where)


def _run(path: str | os.PathLike[str], given: Mapping[str, Any]) -> dict[str, Array]:
    library = runtime()
    options = library.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    rows = len(next(iter(given.values())))
    try:
        session = library.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        parts = [
            session.run(names, {name: a[first : first + AT_ONCE] for name, a in given.items()})
            for first in range(0, rows, AT_ONCE)
        ]
    except Exception as problem:  # each failure of the library has a class of its own, below no common one
        said = str(problem).strip().partition("\n")[0]
        raise ExportError(f"onnxruntime {library.__version__} can't run {path}: {said}") from problem
    return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}


def inputs_of(file: OnnxFile, network: Network, X: Any) -> dict[str, Array]:
    """X as the file takes it: rows of different lengths padded to the longest, beside their lengths.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.GRU(2), (None, 1), device="cpu")
    >>> file = OnnxFile("a.onnx", [Port("input", "float32", ("batch", "time", 1))], [], {}, [])
    >>> inputs_of(file, net, [np.ones((1, 1)), np.ones((2, 1))])["lengths"].tolist()
    [1, 2]
    """
    dtype = next(port.type for port in file.takes if port.name == "input")
    if not network.has_lengths:
        return {"input": np.asarray(X, dtype)}
    lengths = np.array([len(row) for row in X], np.int64)
    padded = np.zeros((len(X), int(lengths.max()), *np.shape(X[0])[1:]), dtype)
    for place, one in zip(padded, X, strict=True):
        place[: len(one)] = one
    return {"input": padded, "lengths": lengths}


def _expected(network: Network, z: Array) -> dict[str, Array]:
    """What the outputs of the file should be, by name, of the outputs z of the network; but for labels."""
    table, told = Preparation.of(network), meant(network.metadata)
    if table is not None and table.target.kind == "numbers":
        return {"prediction": table.target.answers(z)}
    are = told_outputs(told)
    if are == "scores":
        return {"output": z}
    if told.get("task") == "classes" and are == "probabilities":
        return {"probabilities": z}
    if told.get("task") == "classes":
        e = np.exp(z.astype(np.float64) - z.max(axis=-1, keepdims=True))
        return {"probabilities": e / e.sum(axis=-1, keepdims=True)}
    if told.get("task") == "labels":
        p = z if are == "probabilities" else 0.5 + 0.5 * np.tanh(0.5 * z.astype(np.float64))
        return {"probabilities": np.concatenate([1 - p, p], axis=-1) if _tells_two_apart(network, z) else p}
    if "link" in told:
        y = np.exp(z) if told["link"] == "log" else z
        return {"prediction": y[:, 0] if y.shape[1:] == (1,) else y}
    return {"output": z}


def _tells_two_apart(network: Network, z: Array) -> bool:
    """Whether a single yes or no stands for two classes."""
    told = meant(network.metadata)
    known = [told.get(name) for name in ("names", "classes")]
    two = any(isinstance(classes, list) and len(classes) == 2 for classes in known)
    return z.shape[1:] == (1,) and (two or Preparation.of(network) is not None)


def _names(network: Network, z: Array) -> Sequence[Any] | None:
    """What the classes are called, one for each probability; None where each output is a label by itself."""
    table, told = Preparation.of(network), meant(network.metadata)
    two = _tells_two_apart(network, z)
    if told.get("task") == "labels" and not two:
        return None
    K = 2 if two else z.shape[-1]
    known = [table.target.classes] if table is not None else [told.get(name) for name in ("names", "classes")]
    return next((one for one in known if isinstance(one, list | tuple) and len(one) == K), range(K))


def _wrong_labels(found: Array, p: Array, names: Sequence[Any] | None) -> Array:
    """Where labels differ from those of the largest probabilities p (n, K), if these are not nearly the same."""
    if names is None:
        wrong = (found.reshape(p.shape) != (p > 0.5)) & (np.abs(p - 0.5) > TOLERANCE)
        return np.asarray(wrong.reshape(len(wrong), -1).any(axis=1))
    first, second = np.sort(p, axis=-1)[..., -1], np.sort(p, axis=-1)[..., -2] if p.shape[-1] > 1 else -1.0
    expected = np.array([str(name) for name in names])[p.argmax(axis=-1)]
    wrong = (found.astype(str) != expected) & (first - second > TOLERANCE)
    return np.asarray(wrong.reshape(len(wrong), -1).any(axis=1))


def _apart(found: Array, expected: Array) -> Array:
    """The largest difference in each row, relative to the largest number of all."""
    if found.shape != expected.shape:
        return np.full(max(len(expected), 1), np.inf)
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    apart = np.abs(found.astype(np.float64) - expected).reshape(len(expected), -1) / scale
    return np.asarray(apart.max(axis=1, initial=0.0))
