"""Exchange: the methods of a network that write it for other libraries, and that take parameters from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..layers.bound import BoundLayers


class Exchange(BoundLayers):
    """A network that goes to other libraries and comes from them: see `gpubp.interop`.

    metadata: saved with the network, such as class names.

    >>> import gpubp as bp
    >>> issubclass(bp.Network, Exchange)
    True
    """

    metadata: dict[str, Any]

    def to_onnx(self, path: str | os.PathLike[str], columns: Mapping[str, str] | str | None = None) -> None:
        """Write the network as an ONNX file of opset 20, which runs wherever ONNX does.

        The file takes rows as `predict` does, any number at once, as its input "input". Its outputs are "probabilities"
        (n, K) and "label" (n,) of a classifier, and else "output". It needs the extra gpubp[onnx]. See docs/interop.md.

        A network that was trained on a table takes the raw values of its columns, each an input (n, 1) of this name:
        numbers in float64, NaN where missing, and all others as texts as they are written in the file, "" where
        missing. columns: other forms, by name: "number" for a date in seconds since 1970 or a price without its
        currency, "text" for a number as it is written, "prepared" for what gpubp's preparation makes of the column.
        Or "prepared" for all of them, as one input "input". A bad value is an error when the file is run.

        Raises ExportError for layers and columns that ONNX has nothing for, all named at once, OSError where it can't
        be written.

        >>> import os, tempfile, onnx, gpubp as bp
        >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
        >>> bp.Network(bp.Dense(2), 4, device="cpu").to_onnx(path)
        >>> onnx.load(path).opset_import[0].version
        20
        """
        from ..interop.onnx_out.export import to_onnx  # costs time, which `import gpubp` needs not take

        with self.one_thread.during("to_onnx"), self.backend.active():
            to_onnx(self, self.metadata, path, columns)
