"""from_onnx: a network from an ONNX file, whose layers can be trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..backends import Backend
from ..config import instance
from ..layers import Activation, Layer, LogSoftmax, PReLU, Sequential, Softmax
from .network import Network, from_file


def from_onnx(
    path: str | os.PathLike[str],
    head: Layer | None = None,
    device: str | Backend = "auto",
    input_shape: Sequence[int | None] | int | None = None,
    output: str | None = None,
    gelu: str = "exact",
    seed: int = 0,
    numerics: str | None = None,
) -> Network:
    """The network of an ONNX file: layers of gpubp with the file's numbers, which predict what the file does.

    Images have their channels last, (height, width, channels), as everywhere in gpubp, whatever order the file has. A
    Softmax at the end is left out, because the loss contains it: the outputs are logits then. The network's metadata
    say under "imported" which node became which layer, and what the user should know:

        print(*net.metadata["imported"]["report"], sep="\\n")

    head: a layer to stand in place of the last one, and of an activation behind it, with new weights: a trained body
    for a new task. input_shape: of one row, where the file leaves lengths open; (None, n) for sequences of any length.
    output: the name of the output that the network computes, where the file has several. gelu: "tanh" takes the tanh
    form of GELU where the file has the one by the error function, with numbers that differ by up to 0.0005. device,
    seed (of the head): as of `Network`; numerics: as of `load`. It needs the extra gpubp[onnx]. See docs/interop.md.

    Raises ModelFileError, which names every node that can't become a layer and says why, or says what is wrong with the
    file; MissingDependencyError without the library onnx.

    >>> import os, tempfile, gpubp as bp
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(10)), input_shape=4, device="cpu").to_onnx(path)
    >>> bp.from_onnx(path, head=bp.Dense(3), device="cpu").layers
    Sequential(Dense(8), ReLU(), Dense(3))
    """
    from ..interop.onnx_in.importing import read_onnx  # costs time, which `import gpubp` needs not take

    if head is not None:
        instance("from_onnx", "head", Layer, head)
    if gelu not in ("exact", "tanh"):
        raise ValueError(f'from_onnx has gelu "exact" or "tanh" and got {gelu!r}')
    shape = (input_shape,) if isinstance(input_shape, int) else input_shape
    found = read_onnx(path, shape, output, gelu)
    layers, arrays = found.layers, found.arrays
    if head is not None and isinstance(layers, Sequential):
        inner = layers.layers
        while len(inner) > 1 and isinstance(inner[-1], Activation | LogSoftmax | PReLU | Softmax):
            inner = inner[:-1]
        layers = Sequential(*inner)
    config = {
        "layers": layers.config(),
        "input_shape": list(found.input_shape),
        "dtype": found.dtype,
        "metadata": dict(found.metadata),
        **found.more,
    }
    if head is not None or "seed" not in found.more:
        config["seed"] = seed
    network = from_file(path, config, arrays, device, head, numerics)
    if head is not None:
        network.metadata = {"imported": found.metadata["imported"]}
    return network
