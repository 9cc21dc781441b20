"""Source: the tensors of a state dict or a safetensors file. Files of pickle are refused, because they can run code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ModelFileError
from ..safetensors_file import Piece, read_header, read_piece
from ..weights.modules import HostArray, Tensor

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
ORDER = "order"  # in a file's metadata: the names of its tensors, each in a line, as the state dict has them
CONVERT = """
    from safetensors.torch import save_file
    state = torch.load("{name}", map_location="cpu", weights_only=True)
    save_file(state, "{stem}.safetensors", metadata={{"order": "\\n".join(state)}})"""


def tensors_of(source: Any) -> tuple[dict[str, Tensor], str, bool]:
    """(tensors by name, what messages call the source, whether their order is that of the modules).

    A safetensors file has its tensors sorted by name, unless its metadata say their order, and so has a state dict that
    was read from one: a bias stands before its weight then, which PyTorch's modules have not.

    Raises ModelFileError for a file that is none, and for tensors that hold no real numbers; TypeError for any other
    source.

    >>> tensors_of({"fc.bias": np.zeros(2)})[0]["fc.bias"].shape
    (2,)
    """
    if isinstance(source, str | os.PathLike):
        found, ordered = _of_file(Path(source))
        return found, str(source), ordered
    if not isinstance(source, Mapping):
        hint = "; give module.state_dict()" if callable(getattr(source, "state_dict", None)) else ""
        raise TypeError(
            "load_torch needs the path of a .safetensors file, or a state dict, a mapping of names to tensors, and "
            f"got {type(source).__name__}{hint}"
        )
    found = {_name(name): _tensor(_name(name), value, source) for name, value in source.items()}
    return found, "the state dict", not _sorted_by_name(list(found))


def _sorted_by_name(names: list[str]) -> bool:
    """Whether a bias stands before the weight of its module.

    >>> _sorted_by_name(["fc.bias", "fc.weight"]), _sorted_by_name(["fc.weight", "fc.bias"])
    (True, False)
    """
    place = {name: n for n, name in enumerate(names)}
    biases = [(name, f"{name.removesuffix('bias')}weight") for name in names if name.rpartition(".")[2] == "bias"]
    return any(place[bias] < place.get(weight, -1) for bias, weight in biases)


def _name(given: Any) -> str:
    if not isinstance(given, str):
        raise ModelFileError(f"the state dict has {given!r:.100} as a name; names are texts")
    return given


def _tensor(name: str, value: Any, source: Mapping[str, Any]) -> Tensor:
    if isinstance(value, Mapping):
        inner = f"source[{name!r}]"
        raise ModelFileError(f"{name!r} is itself a mapping, as in a checkpoint of a training; give {inner} alone")
    try:
        shape = tuple(int(n) for n in value.shape) if hasattr(value, "shape") else np.shape(value)
    except (TypeError, ValueError) as problem:
        raise ModelFileError(f"{name} of the state dict is no array: {value!r:.60}") from problem
    return Tensor(name, shape, lambda: _numbers(name, value))


def _numbers(name: str, value: Any) -> HostArray:
    """A tensor of PyTorch, a CuPy array or anything like an array, on the host."""
    if getattr(value, "is_sparse", False) or getattr(value, "is_quantized", False):
        raise ModelFileError(f"{name} is sparse or quantized; make it dense, by to_dense() or dequantize()")
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        elif hasattr(value, "get") and hasattr(value, "device"):  # of CuPy
            value = value.get()
        made = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    except Exception as problem:  # whatever a library raises for a tensor that has no numbers, such as one on "meta"
        raise ModelFileError(f"{name} can't be read as numbers: {problem}") from problem
    if made.dtype.name == "bfloat16":  # of ml_dtypes
        made = made.astype(np.float32)
    if made.dtype.kind not in "fiub":
        raise ModelFileError(f"{name} holds {made.dtype}, and weights are real numbers")
    return made


def _of_file(path: Path) -> tuple[dict[str, Tensor], bool]:
    if not path.is_file():
        raise ModelFileError(f"{path} is a folder" if path.is_dir() else f"there is no file {path}")
    _check_kind(path)
    pieces, metadata = read_header(path)
    if "gpubp" in metadata:
        raise ModelFileError(f"{path} was written by gpubp; read it with gpubp.load, or net.load_weights")
    order = metadata.get(ORDER, "").split("\n")
    ordered = len(order) == len(pieces) and set(order) == pieces.keys()
    return {name: _lazy(path, name, pieces[name]) for name in (order if ordered else pieces)}, ordered


def _lazy(path: Path, name: str, piece: Piece) -> Tensor:
    return Tensor(name, piece.shape, lambda: read_piece(path, name, piece))


def _check_kind(path: Path) -> None:
    """Refuse what is no safetensors file by its first bytes, with what to do instead."""
    try:
        with path.open("rb") as file:
            first = file.read(512)
    except OSError as problem:
        raise ModelFileError(f"{path} can't be read: {problem.strerror or problem}") from problem
    if first[:8] == b"\x89HDF\r\n\x1a\n" or (first[:2] == b"PK" and path.suffix == ".keras"):
        raise ModelFileError(f"{path} is a file of Keras; read it with net.load_keras")
    length = int.from_bytes(first[:8], "little")
    plausible = first[8:9] == b"{" and 8 + length <= path.stat().st_size
    pickled = first[:2] == b"PK" or first[:1] == b"\x80" or first[257:262] == b"ustar"
    if not plausible and (pickled or path.suffix.lower() in PICKLES):
        raise ModelFileError(
            f"{path} is a pickle, which runs code when it is read, so gpubp does not read it. Convert it once, with "
            f"PyTorch:{CONVERT.format(name=path.name, stem=path.stem)}\nand load {path.stem}.safetensors"
        )
