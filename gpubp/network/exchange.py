"""Exchange: the methods of a network that write it for other libraries, and that take parameters from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers.bound import BoundLayers

if TYPE_CHECKING:
    from ..interop.c.write import Report
    from ..interop.weights.naming import Rename
    from ..interop.weights.report import WeightsReport


class Exchange(BoundLayers):
    """A network that goes to other libraries and comes from them: see `gpubp.interop`.

    metadata: saved with the network, such as class names.

    >>> import gpubp as bp
    >>> issubclass(bp.Network, Exchange)
    True
    """

    metadata: dict[str, Any]

    def to_onnx(
        self,
        path: str | os.PathLike[str],
        columns: Mapping[str, str] | str | None = None,
        raw: bool = False,
        dtype: Any = None,
    ) -> None:
        """Write the network as an ONNX file of opset 20, which runs wherever ONNX does.

        The file takes rows as `predict` does, any number at once, as its input "input", in the network's type. Its
        outputs are "label" (n,) and "probabilities" (n, K) of a classifier, and else "output". raw: whether it gives
        what `predict` gives instead, as "output". dtype: "float32" for a network in float64 that is to run where some
        layers have float32 alone. It needs the extra gpubp[onnx]. See docs/interop.md.

        A network that was trained on a table takes the raw values of its columns, each an input (n, 1) of this name:
        numbers in float64, NaN where missing, and all others as texts as they are written in the file, "" where
        missing. columns: other forms, by name: "number" for a date in seconds since 1970 or a price without its
        currency, "text" for a number as it is written, "prepared" for what gpubp's preparation makes of the column.
        Or "prepared" for all of them, as one input "input". A bad value is an error when the file is run.

        Raises ExportError for layers and columns that ONNX has nothing for, all named at once, OSError where it can't
        be written, InUseError while another thread trains the network.

        >>> import os, tempfile, onnx, gpubp as bp
        >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
        >>> bp.Network(bp.Dense(2), 4, device="cpu").to_onnx(path)
        >>> onnx.load(path).opset_import[0].version
        20
        """
        from ..interop.onnx_out.export import to_onnx  # costs time, which `import gpubp` needs not take

        to_onnx(self, self.metadata, path, columns, raw, dtype)

    def load_torch(self, source: Any, rename: Rename | None = None, strict: bool = False) -> WeightsReport:
        """Take from weights of PyTorch what fits a layer here; the rest stays as it is.

        source: the path of a .safetensors file, or a state dict: names and tensors, of PyTorch on any device or of
        NumPy. rename: a mapping of their names, or of beginnings such as {"fc1": "0"}, to paths of layers here, None
        for what is to be left out; or a function that gives each name anew. strict: raise unless every tensor was used
        and every layer got its weights.

        Layers are found by name, or by order where that leaves no choice. Arrays are transposed, permuted and added as
        docs/interop.md says, so that predictions are PyTorch's. Returns which were taken and which not, to be printed.

        Raises ModelFileError, and changes nothing, if the file is damaged or a pickle, if nothing fits, if the order
        leaves a choice, and if `rename` says what does not fit; TypeError for another source.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Sequential(bp.Dense(2), bp.ReLU(), bp.Dense(1)), 3, device="cpu")
        >>> state = {"fc1.weight": np.ones((2, 3)), "fc1.bias": np.zeros(2), "fc2.weight": np.ones((4, 2))}
        >>> print(net.load_torch(state))
        taken from PyTorch by order:
          fc1.weight, fc1.bias -> 0.W, 0.b
        left as they were:
          2: fc2.weight has the shape (4, 2), and layer 2 (Dense(1)) needs (1, 2)
        not used:
          fc2.weight: it does not fit layer 2
        """
        from ..interop.torch_state.reading import load_torch  # costs time, which `import gpubp` needs not take

        with self.one_thread.during("load_torch"), self.backend.active():
            return load_torch(self, source, rename, strict)

    def to_torch_state(self, naming: Rename | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Parameters and running statistics as a state dict of the same layers in PyTorch, in NumPy arrays of its own.

        naming: a mapping of names, or of beginnings such as {"0": "fc1"}, to PyTorch's, None for what is to be left
        out; or a function that gives each name anew. `load_state_dict({k: torch.from_numpy(v) for k, v in
        state.items()})` takes it, and `safetensors.numpy.save_file` writes it. docs/interop.md has a table of layers.

        Raises ExportError where features stand in an order that PyTorch's modules can't have, ModelFileError for a
        `naming` that does not fit.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Sequential(bp.Dense(2), bp.BatchNorm()), 3, device="cpu")
        >>> list(net.to_torch_state({"0": "fc"}))[:4]
        ['fc.weight', 'fc.bias', '1.weight', '1.bias']
        """
        from ..interop.torch_state.writing import to_torch_state

        with self.one_thread.during("to_torch_state"), self.backend.active():
            return to_torch_state(self, naming)

    def load_keras(
        self, source: str | os.PathLike[str], rename: Rename | None = None, strict: bool = False
    ) -> WeightsReport:
        """Take from a file of Keras the weights that fit a layer here; the rest stays as it is. Needs h5py.

        source: the path of a `.keras`, `.weights.h5` or `.h5` file. Only numbers and names are read, no code is run,
        and no class is made. rename: a mapping of Keras's names of layers, as `model.summary()` prints them, to paths
        of layers here, None for what is to be left out; or a function that gives each name anew. strict: raise unless
        every array was used and every layer got its weights.

        Layers are found by `rename`, or by order where that leaves no choice. Returns which were taken and which not,
        to be printed; see docs/interop.md for what the two libraries compute differently.

        Raises ModelFileError, and changes nothing, if the file is damaged, if nothing fits, if the order leaves a
        choice, and if `rename` says what does not fit; MissingDependencyError without h5py.

        >>> import gpubp as bp
        >>> bp.Network(bp.Dense(2), 3, device="cpu").load_keras("nothing.keras")
        Traceback (most recent call last):
        ...
        gpubp.errors.ModelFileError: there is no file nothing.keras
        """
        from ..interop.keras.reading import load_keras

        with self.one_thread.during("load_keras"), self.backend.active():
            return load_keras(self, source, rename, strict)

    def to_c(
        self, path: str | os.PathLike[str], name: str = "", probabilities: bool = False, time: bool = False
    ) -> Report:
        """Write the network as one C99 file without dependencies and without allocation, for any processor.

        The file has `void predict(const float *x, float *y)`, which gives what `predict` gives for one row, to about
        1e-6 of the outputs' size; `double` in place of `float` if the network is float64. A classifier's has `int
        predict_class(const float *x)` too, the number of the class. A comment says what x and y are, and the sizes.

        name: goes before all names, as in `name_predict`, so that a program can have several networks. probabilities:
        whether there is `predict_probabilities` too, for classes and labels. time: whether to compile the file, measure
        the time of a row on this machine, and say it in the comment; without it the same network gives the same bytes.
        Returns the sizes and the time. See docs/interop.md.

        Raises ExportError for layers that can't be written, all named at once, for rows of different lengths, and for
        more than 8 million numbers; ValueError for a name that is none in C; OSError where it can't be written.

        >>> import os, tempfile, gpubp as bp
        >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(2)), 4, device="cpu")
        >>> print(net.to_c(os.path.join(tempfile.mkdtemp(), "model.c")))
        232 B of weights, 32 B of working memory, 48 multiplications for a row
        """
        from ..interop.c.write import write  # costs time, which `import gpubp` needs not take

        with self.one_thread.during("to_c"), self.backend.active():
            return write(self, self.metadata, path, name, probabilities, time)
