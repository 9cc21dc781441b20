"""Model files: a config and arrays in one safetensors file, which contains no code (no pickle)."""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import write_parts
from .config import ConfigError, from_config
from .errors import ModelFileError
from .layers import Layer

FORMAT = "1"
TRAINING = "training/"  # what the names of arrays begin with that a network does without: moments, sums, ...
TYPES = {
    "float64": "F64", "int64": "I64", "uint64": "U64", "float32": "F32", "int32": "I32", "uint32": "U32",
    "float16": "F16", "int16": "I16", "uint16": "U16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def write(path: str | os.PathLike[str], config: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write config and arrays to `path`, which holds the old content or the new at every moment, never a part.

    Raises OSError where it can't be written; what was at `path` is then still there (see `gpubp.atomic`).

    >>> import tempfile, numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write(path, {"n": 1}, {"x": np.zeros(2)})
    >>> read(path)[0]["n"]
    1
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a model is saved in a file, and this is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to save a model in", str(path.parent))
    write_parts(path, _parts(config, arrays))


def to_bytes(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The bytes that `write` would write, for pickles and copies.

    >>> from_bytes(to_bytes({"n": 1}, {"x": np.zeros(2)}))
    ({'n': 1}, {'x': array([0., 0.])})
    """
    return b"".join(_parts(config, arrays))


def from_bytes(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """(config, arrays) of the bytes that `to_bytes` made; raises ModelFileError saying what is wrong with others."""
    from safetensors.numpy import load

    with _readable("a pickle of gpubp's"):
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return _content("a pickle of gpubp's", header.get("__metadata__", {}), load(content))


def _parts(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> Iterator[Any]:
    described = json.dumps(config, ensure_ascii=False, allow_nan=False)
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    metadata = {"gpubp": FORMAT, "config": described, "crc32": _checksum(described, arrays)}
    return safetensors_parts(arrays, metadata)


def safetensors_parts(arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> Iterator[Any]:
    """A safetensors file part by part: the length of the header in 8 bytes, the header, the arrays, the widest numbers
    first. metadata: texts by name.

    The library's own `save` copies everything twice and lets no other thread run meanwhile. Of an array that is turned
    or has gaps it writes other numbers; here such arrays are copied.

    >>> from safetensors.numpy import load
    >>> turned = np.arange(6.0).reshape(2, 3).T
    >>> load(b"".join(safetensors_parts({"W": turned}, {"format": "pt"})))["W"].tolist() == turned.tolist()
    True
    """
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    end = 0
    for name in order:
        start, end = end, end + arrays[name].nbytes
        shape = list(arrays[name].shape)
        header[name] = {"dtype": TYPES[str(arrays[name].dtype)], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        if arrays[name].size:
            yield arrays[name].reshape(-1).view(np.uint8).data


def _checksum(described: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """CRC-32 of the description and of every array with its name, type and shape."""
    crc = zlib.crc32(described.encode())
    for name in sorted(arrays):
        a = arrays[name]
        crc = zlib.crc32(f"{name} {a.dtype} {a.shape}".encode(), crc)
        crc = zlib.crc32(a.reshape(-1).view(np.uint8).data if a.size else b"", crc)
    return f"{crc:08x}"


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """(config, arrays) of a file that `write` wrote; raises ModelFileError saying what is wrong with another.

    >>> read("nothing.safetensors")
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: there is no file nothing.safetensors
    """
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path} is a folder" if path.is_dir() else f"there is no file {path}")
    with _readable(path), safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        _check_format(path, metadata)
        return _content(path, metadata, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


@contextmanager
def _readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever goes wrong in reading becomes a ModelFileError."""
    from safetensors import SafetensorError

    try:
        yield
    except ModelFileError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as problem:
        raise ModelFileError(
            f"{path} is no whole safetensors file ({problem}): it is damaged, was cut short, or is something else"
        ) from problem


def _check_format(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
    if "gpubp" not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but not one that gpubp wrote")
    if metadata["gpubp"] != FORMAT:
        raise ModelFileError(
            f"{path} has the format {metadata['gpubp']}, and this gpubp reads {FORMAT}: install the gpubp that "
            "wrote it, or a newer one"
        )


def _content(
    path: str | os.PathLike[str], metadata: Mapping[str, str], arrays: dict[str, np.ndarray[Any, Any]]
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """(config, arrays), checked."""
    _check_format(path, metadata)
    if "crc32" in metadata and metadata["crc32"] != _checksum(metadata.get("config", ""), arrays):
        raise ModelFileError(f"{path} is damaged: its content does not have the checksum it was written with")
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError) as problem:
        raise ModelFileError(f"{path} has no readable description of its layers ({problem})") from problem
    if not isinstance(config, dict):
        raise ModelFileError(f"{path} has no readable description of its layers")
    return config, arrays


def of_network(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a file but for those that only a training needs, so that a checkpoint is a model file as well.

    >>> list(of_network({"0.W": np.zeros(1), "training/m/0.W": np.zeros(1)}))
    ['0.W']
    """
    return {name: a for name, a in arrays.items() if not name.startswith(TRAINING)}


@contextmanager
def described(path: str | os.PathLike[str], what: str = "a network") -> Iterator[None]:
    """Whatever goes wrong while a network is made from a file's description becomes a ModelFileError.

    >>> with described("model.safetensors"):
    ...     {}["layers"]
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: model.safetensors does not describe a network: 'layers'
    """
    try:
        yield
    except ModelFileError:
        raise
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as problem:
        raise ModelFileError(f"{path} does not describe {what}: {problem}") from problem
    except MemoryError as problem:
        raise ModelFileError(f"{path} describes {what} that needs more memory than there is: {problem}") from problem


def layers_of(config: Mapping[str, Any]) -> Layer:
    """The layers that a file's config describes.

    >>> layers_of({"layers": {"class": "ReLU"}})
    ReLU()
    """
    layers = from_config(config["layers"])
    if not isinstance(layers, Layer):
        raise ConfigError(f"{layers!r} is no layer")
    return layers


def compare(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    wanted: Mapping[str, tuple[int, ...]],
    dtype: str,
) -> None:
    """Raise ModelFileError listing every difference between a file's arrays and those a network needs.

    >>> import numpy as np
    >>> compare("m", {"W": np.zeros(2), "c": np.zeros(1)}, {"W": (3,), "b": (3,)}, "float64")
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: m does not fit the network:
      W has the shape (2,), and the network needs (3,)
      b is missing
      c is not of this network
    """
    differences = []
    for name, shape in wanted.items():
        if name not in arrays:
            differences.append(f"{name} is missing")
        elif arrays[name].shape != shape:
            differences.append(f"{name} has the shape {arrays[name].shape}, and the network needs {shape}")
        elif str(arrays[name].dtype) != dtype:
            differences.append(f"{name} holds {arrays[name].dtype}, and the network needs {dtype}")
    differences += [f"{name} is not of this network" for name in arrays if name not in wanted]
    if differences:
        raise ModelFileError(f"{path} does not fit the network:\n  " + "\n  ".join(differences))


@dataclass(frozen=True)
class LoadReport:
    """What of a file fits a network.

    taken: names. other_shape: name -> (shape in the file, shape in the network). missing: in the network only.
    unused: in the file only.

    >>> import numpy as np
    >>> print(LoadReport.of({"W": np.zeros(2), "c": np.zeros(1)}, {"W": (2,), "b": (3,)}))
    taken: W
    missing in the file: b
    not used: c
    """

    taken: tuple[str, ...]
    other_shape: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray[Any, Any]], wanted: Mapping[str, tuple[int, ...]]) -> LoadReport:
        """Compare a file's arrays with the shapes a network has."""
        both = [name for name in wanted if name in arrays]
        return cls(
            taken=tuple(n for n in both if arrays[n].shape == wanted[n]),
            other_shape={n: (arrays[n].shape, wanted[n]) for n in both if arrays[n].shape != wanted[n]},
            missing=tuple(n for n in wanted if n not in arrays),
            unused=tuple(n for n in arrays if n not in wanted),
        )

    def __str__(self) -> str:
        shapes = [f"{name} {came} -> {wanted}" for name, (came, wanted) in self.other_shape.items()]
        lines = (
            ("taken", self.taken),
            ("other shape", shapes),
            ("missing in the file", self.missing),
            ("not used", self.unused),
        )
        return "\n".join(f"{title}: {', '.join(names)}" for title, names in lines if names)
