"""Network: layers with their parameters, which predict, and are saved and loaded."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from .. import model_file
from ..backends import Backend, get_backend
from ..config import as_plain, instance
from ..data.checks import as_inputs, as_targets
from ..data.reader import opened
from ..data.sequences import Sequences
from ..data.weights import as_weights
from ..errors import ModelFileError
from ..flat import FlatArray
from ..layers import Layer, Sequential
from ..layers.binding import plan_of
from ..layers.bound import Row, float_type, planned_row, row_shape
from ..layers.one_thread import PICKLE_OR_COPY
from ..losses import Loss
from ..optimizers import Optimizer
from ..step.batch import Batch, TargetShape
from ..step.step import Pass, StepJob
from .answers import Answers
from .copies import copy_into, made_for_numerics, packed, remade, unpack
from .exchange import Exchange
from .fingerprint import sha256
from .outline import LayerLine, outline_of, shown_layers, summary_of
from .prediction import Predictors

if TYPE_CHECKING:
    from ..explain.explanation import Explanation


class Network(Answers, Exchange):
    """Layers with their parameters on one device, which predict, and are saved and loaded.

    layers: a layer, mostly a Sequential. input_shape: of one row, batch left out; a number n stands for (n,). (None, n)
    stands for rows of any number of time steps, (None,) for words: see `Sequences`.
    device: "cpu", "cuda", "cuda:1", "auto" (the GPU if there is one). dtype: "float32" or "float64". seed: of the first
    weights, which are the same on every device. precision: of matrix products on a GPU, "float32", "tf32" or
    "bfloat16", see `get_backend`; parameters, losses and sums over rows are float32 in any case. autotune: time a GPU's
    kernels for each product and take the fastest; off, because another run may take others, and have other last bits.
    numerics: "exact" computes with the same bits on every machine, see `get_backend`.

    Raises ShapeError where layers don't fit each other, or mix time steps without knowing of lengths, DeviceError where
    the device can't be used, ExactError for a layer that is not exact where numerics="exact" asks for it.

    >>> import numpy as np, gpubp as bp
    >>> layers = bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(3))
    >>> net = bp.Network(layers, input_shape=(4,), device="cpu", seed=0)
    >>> net.parameters["0.W"].shape
    (4, 8)
    >>> net.predict(np.zeros((5, 4))).shape
    (5, 3)
    """

    def __init__(
        self,
        layers: Layer,
        input_shape: Row | int,
        device: str | Backend = "auto",
        dtype: Any = "float32",
        seed: int = 0,
        precision: str = "float32",
        autotune: bool = False,
        numerics: str = "ordinary",
    ) -> None:
        given = set(vars(self))
        super().__init__(layers, input_shape, get_backend(device, precision, autotune, numerics), dtype, seed)
        self.metadata: dict[str, Any] = {}  # saved with the network: class names, how it was trained, ...
        self._predictors = Predictors()
        self._made = {"_made", *vars(self)} - given

    @property
    def numerics(self) -> str:
        """ "ordinary" or "exact"."""
        return self.backend.numerics

    def predict(self, X: Any) -> Any:
        """The network's outputs for the rows of X, (n, *output_shape), in evaluation mode; see `predict_proba` too.

        X: (n, *input_shape); any number of rows. The result is a CuPy array if X is one, else a NumPy array. Rows of
        different lengths are a list of arrays, or `Sequences`; outputs of every time step come as Sequences too.

        A row's result has the same bits alone and among thousands, at every place and, on a CPU, with any number of
        threads. Several threads may predict at once.

        Raises DataError on another shape or type, no rows, or values that are not finite.

        >>> import numpy as np, gpubp as bp
        >>> net = bp.Network(bp.Dense(2), input_shape=(3,), device="cpu")
        >>> X = np.random.default_rng(0).normal(size=(300, 3))
        >>> bool((net.predict(X)[7] == net.predict(X[7:8])[0]).all())
        True
        """
        X = as_inputs(X, self.input_shape, self.backend, self.dtype, check=self.input_check)
        self.backend.synchronize()
        if isinstance(X, Sequences):
            return self._predictors.predict_sequences(self, X)
        on_device = self.backend.owns(X)
        with opened(X) as rows:
            return self._predictors.predict(self, rows, on_device)

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: host arrays, and the name of the device.

        >>> import pickle, gpubp as bp
        >>> net = bp.Network(bp.Dense(2), input_shape=3, device="cpu")
        >>> bool((pickle.loads(pickle.dumps(net)).flat == net.flat).all())
        True
        """
        with self.one_thread.during(PICKLE_OR_COPY):
            return packed(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Goes on on the same device, or on the CPU, with a warning, where that can't be used."""
        layers, row, dtype, seed = (state[name] for name in ("layers", "input_shape", "dtype", "seed"))
        remade(lambda device, *of: Network.__init__(self, layers, row, device, dtype, seed, *of), state)
        unpack(self, state)

    def __copy__(self) -> Network:
        """A copy has parameters of its own, as a copied array has its own numbers."""
        return self._copied(copy.copy)

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        """On the same device.

        >>> import copy, gpubp as bp
        >>> net = bp.Network(bp.Dense(2), input_shape=3, device="cpu")
        >>> best = copy.deepcopy(net)
        >>> net.parameters["b"][...] = 1.0
        >>> best.parameters["b"].tolist()
        [0.0, 0.0]
        """
        return self._copied(lambda value: copy.deepcopy(value, memo), memo)

    def _copied(self, of: Callable[[Any], Any], memo: dict[int, Any] | None = None) -> Network:
        made = type(self).__new__(type(self))
        if memo is not None:
            memo[id(self)] = made  # for what refers to the network from within
        with self.one_thread.during("copy"):
            Network.__init__(made, self.layers, self.input_shape, self.backend, self.dtype, self.seed)
            copy_into(made, self, of)
        return made

    def loss_and_gradients(
        self, loss: Loss, X: Any, y: Any, sample_weight: Any = None, training: bool = True
    ) -> tuple[float, dict[str, np.ndarray[Any, Any]]]:
        """The loss on (X, y) as one batch, and ∂L/∂θ of every parameter by name.

        sample_weight: (n,) for rows, or (n, ...) for positions. training: whether layers such as Dropout and BatchNorm
        act as in training. Nothing is updated. Raises DataError as `predict` does, and if y doesn't fit, TypeError for
        what is no loss.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
        >>> loss, gradients = net.loss_and_gradients(bp.HalfMeanSquaredError(), [[1.0, 2.0]], [3.0])
        >>> loss, gradients["W"].tolist()
        (4.5, [[-3.0], [-6.0]])
        """
        instance("loss_and_gradients", "loss", Loss, loss)
        X = as_inputs(X, self.input_shape, self.backend, self.dtype, check=self.input_check)
        t = as_targets(y, loss, self.output_shape, X, self.dtype)
        gradients = FlatArray(self.backend, {n: a.shape for n, a in self.parameters.items()}, self.dtype)
        with self.one_thread.during("loss_and_gradients"), self.backend.active():
            states = self.states.flat.copy()
            T = X.steps if isinstance(X, Sequences) else None
            layers = self if T is None else self.of_steps(T)
            weights = as_weights(sample_weight, X, self.output_shape)
            batch = Batch(layers, len(X), TargetShape.of(t, weights).of_steps(T))
            step = Pass(StepJob(layers, loss, seed=self.seed), batch, gradients=gradients, training=training)
            batch.load(X, t, np.arange(len(X)), weights)
            step.forward()
            step.backward()
            self.states.flat[...] = states
            value = step.last_loss()
            return value, {name: self.backend.to_host(gradients[name]).copy() for name in self.parameters}

    def explain(
        self,
        X: Any,
        y: Any,
        loss: Loss,
        optimizer: Optimizer | None = None,
        of: str | None = None,
        training: bool = True,
        sample_weight: Any = None,
        written: int = 24,
        blanks: float = 0.0,
        seed: int = 0,
        steps: int = 1,
    ) -> Explanation:
        """One step on a few rows, every number beside its formula: forward, loss, backward, and with an optimizer the
        update. The network stays as it is.

        X, y: up to 256 rows, as for `fit`. of: one number, as "2.W[4,1]", "x[0,17]" or "1.y[0,3]", whose chain rule is
        shown first, from the loss down. training: whether layers such as Dropout and BatchNorm act as in training.
        written: how many numbers of an array are written out; of larger arrays the largest are shown. blanks: the share
        of numbers that are left out, as an exercise with an answer key; seed says which. steps: how many steps of
        training a page draws, with the loss of each; the first is the one that is explained.

        Raises DataError as `loss_and_gradients` does, ValueError for more rows, for steps without an optimizer, or an
        `of` that is not in the step.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=(2,), device="cpu")
        >>> net.explain([[1.0, 2.0]], [3.0], loss=bp.HalfMeanSquaredError()).content.loss
        4.5
        """
        from ..explain.explanation import explain  # costs time, which `import gpubp` needs not take

        with self.one_thread.during("explain"):
            return explain(self, X, y, loss, optimizer, of, training, sample_weight, written, blanks, seed, steps)

    def summary(self, rows: int = 32, file: TextIO | None = None) -> None:
        """Print layers, shapes, parameters, and the memory that a training step on `rows` rows needs.

        file: where to, if not to the output stream.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU()), input_shape=(4,), device="cpu")
        >>> net.summary()
        name  layer     output   parameters
        0     Dense(8)  (32, 8)          40
        1     ReLU()    (32, 8)           0
        <BLANKLINE>
        40 parameters (160 B), float32 on cpu
        a training step on 32 rows: 3.5 KB of arrays, 160 B of gradients, and as much for each moment of the optimizer
        """
        print(summary_of(self, rows), file=file)

    def outline(self, rows: int = 32) -> list[LayerLine]:
        """The layers that compute, in their order, as `summary` shows them.

        >>> import gpubp as bp
        >>> bp.Network(bp.Sequential(bp.Dense(8)), input_shape=4, device="cpu").outline()
        [LayerLine(name='0', layer='Dense(8)', output=(32, 8), parameters=40)]
        """
        return outline_of(self, rows)

    def shown_memory(self, rows: int) -> int:
        """`step_memory`, of rows of as many time steps as `summary` says where they have lengths."""
        return shown_layers(self).step_memory(rows)

    def __repr__(self) -> str:
        return f"Network({self.layers!r}, input_shape={self.input_shape}, device={self.device!r}, dtype='{self.dtype}')"

    def load_weights(self, path: str | os.PathLike[str]) -> model_file.LoadReport:
        """Take from a saved network what has the name and the shape of something here; the rest stays as it is.

        Returns which were taken and which not, to be printed. Raises ModelFileError if the file is no network of
        gpubp's, or if nothing in it fits.

        >>> import os, tempfile, gpubp as bp
        >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
        >>> bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(10)), input_shape=4, device="cpu").save(path)
        >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(5)), input_shape=4, device="cpu")
        >>> print(net.load_weights(path))
        taken: 0.W, 0.b
        other shape: 1.W (8, 10) -> (8, 5), 1.b (10,) -> (5,)
        """
        arrays = model_file.of_network(model_file.read(path)[1])
        here = {**self.parameters, **self.states}
        report = model_file.LoadReport.of(arrays, {name: tuple(a.shape) for name, a in here.items()})
        if not report.taken:
            raise ModelFileError(
                f"nothing in {path} has the name and the shape of a parameter of this network:\n{report}"
            )
        with self.one_thread.during("load_weights"), self.backend.active():
            for name in report.taken:
                self.backend.put(here[name], arrays[name])
        return report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write layers, parameters and running statistics into one safetensors file.

        It is written beside `path` under another name and then renamed, so that `path` is always whole. Raises
        InUseError while another thread trains the network.

        >>> import tempfile, os, gpubp as bp
        >>> net = bp.Network(bp.Dense(2), input_shape=(3,), device="cpu")
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> net.save(path)
        >>> bp.load(path, device="cpu").layers
        Dense(2)
        """
        with self.one_thread.during("save"):
            config = self.config()
            self.backend.synchronize()
            arrays = {name: self.backend.to_host(a) for name, a in (*self.parameters.items(), *self.states.items())}
            model_file.write(path, config, arrays)

    def sha256(self) -> str:
        """The SHA-256 of parameters and running statistics, as 64 hexadecimal digits: see `network/fingerprint.py`.

        It depends on their names, shapes, types and numbers alone, so that trainings can be compared whatever device,
        system and version of gpubp they ran on. With numerics="exact" the same training has the same one everywhere.

        >>> import gpubp as bp
        >>> bp.Network(bp.Dense(2, weight_initializer=bp.Zeros()), input_shape=3, device="cpu").sha256()[:16]
        '71b038193ac66cde'
        """
        with self.one_thread.during("sha256"):
            self.backend.synchronize()
            return sha256({n: self.backend.to_host(a) for n, a in (*self.parameters.items(), *self.states.items())})

    def config(self) -> dict[str, Any]:
        """The description of the network without its numbers, as a model file holds it."""
        return {
            "layers": self.layers.config(),
            "input_shape": list(self.input_shape),
            "dtype": str(self.dtype),
            "seed": self.seed,
            "frozen": sorted(self.frozen),
            "metadata": as_plain(self.metadata),
            **({} if self.numerics == "ordinary" else {"numerics": self.numerics}),
        }


def load(
    path: str | os.PathLike[str],
    device: str | Backend = "auto",
    head: Layer | None = None,
    numerics: str | None = None,
) -> Network:
    """The network that `Network.save` wrote, on `device`.

    numerics: "ordinary" or "exact"; None for those of the file, or ordinary ones, with a warning, where exact numerics
    can't be had, as on a CPU without Numba.

    head: a layer to stand in place of the last one, on a Sequential, with new weights: a trained body for a new task.
    What was frozen stays frozen; `net.freeze` more, or `net.unfreeze`.

    Raises ModelFileError, a line for every difference, if the file is none of gpubp's, is damaged, or does not hold the
    parameters that its layers need. A layer class of your own must be imported before.

    >>> import os, tempfile, gpubp as bp
    >>> path = os.path.join(tempfile.mkdtemp(), "body.safetensors")
    >>> bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(10)), input_shape=4, device="cpu").save(path)
    >>> bp.load(path, device="cpu", head=bp.Dense(5)).layers
    Sequential(Dense(8), ReLU(), Dense(5))
    >>> bp.load("nothing.safetensors")
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: there is no file nothing.safetensors
    """
    if head is not None:
        instance("load", "head", Layer, head)
    config, arrays = model_file.read(path)
    return from_file(path, config, model_file.of_network(arrays), device, head, numerics)


def from_file(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    device: str | Backend,
    head: Layer | None = None,
    numerics: str | None = None,
) -> Network:
    """The network from the content of a file, as `load` makes it; `path` is the file's name."""
    with model_file.described(path):
        layers = model_file.layers_of(config)
        if head is not None:
            if not isinstance(layers, Sequential):
                raise ValueError(
                    f"a head stands in place of the last layer of a Sequential, and the file has {layers!r}"
                )
            layers = Sequential(*layers.layers[:-1], head)
        shape, dtype = row_shape(config["input_shape"], lengths=True), float_type(config["dtype"])
        plan = plan_of(layers, (1, *planned_row(shape)))
        wanted = {name: p.shape for name, p in (plan.all_parameters() | plan.all_states()).items()}
        if head is not None:
            old = str(len(layers.children) - 1)
            wanted = {name: s for name, s in wanted.items() if name.partition(".")[0] != old}
            arrays = {name: a for name, a in arrays.items() if name.partition(".")[0] != old}
    model_file.compare(path, arrays, wanted, str(dtype))  # before any memory is taken on the description's word
    with model_file.described(path):
        theirs = device.numerics if isinstance(device, Backend) else str(config.get("numerics", "ordinary"))

        def make(numerics: str) -> Network:
            return Network(layers, shape, device, dtype, config["seed"], numerics=numerics)

        network = made_for_numerics(make, theirs, str(path)) if numerics is None else make(numerics)
        network.frozen = set(config.get("frozen", ())) & set(network.freezable)
        network.metadata = dict(config.get("metadata", {})) if head is None else {}
    with network.backend.active():
        for name in wanted:
            network.backend.put(network.parameters.get(name, network.states.get(name)), arrays[name])
    return network
