"""Saving of a fitted estimator as pickle or safetensors, independent of its device."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .. import model_file
from ..config import Configurable, as_plain, from_config
from ..errors import ModelFileError
from ..network.network import Network, load
from ..training.trainer import Trainer
from .going_on import OF_NETWORK


def pack_trainer(trainer: Trainer) -> dict[str, Any]:
    """Pack a trainer: what its optimizer keeps from step to step, in host memory."""
    update = trainer.update
    moments = {name: np.array(trainer.backend.to_host(moment.flat)) for name, moment in update.moments.items()}
    return {
        "optimizer": trainer.optimizer,
        "seed": trainer.seed,
        "t": update.t,
        "factor": update.factor,
        "moments": moments,
    }


def resume(trainer: Trainer, packed: Mapping[str, Any]) -> None:
    """Put a packed trainer's steps and moments into a new one."""
    trainer.update.t, trainer.update.factor = packed["t"], packed["factor"]
    with trainer.backend.active():
        for name, values in packed["moments"].items():
            trainer.backend.put(trainer.update.moments[name].flat, values)


def to_plain(value: Any) -> Any:
    """A parameter or fitted attribute as JSON values; a number that is not finite becomes {"number": its text}.

    >>> from_plain(to_plain({"tol": float("inf"), "sizes": (64, 32), "classes": np.array(["a", "b"])}))
    {'tol': inf, 'sizes': (64, 32), 'classes': array(['a', 'b'], dtype='<U1')}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if isinstance(value, np.ndarray):
        kind = "object" if value.dtype.kind == "O" else value.dtype.str
        return {"array": [to_plain(v) for v in value.tolist()], "dtype": kind}
    if isinstance(value, type | np.dtype):
        return str(np.dtype(value))
    if isinstance(value, Configurable):
        return {"object": as_plain(value)}
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [to_plain(v) for v in value]}
    if isinstance(value, Mapping):
        return {"pairs": [[to_plain(k), to_plain(v)] for k, v in value.items()]}
    return as_plain(value)


def from_plain(plain: Any) -> Any:
    """The inverse of `to_plain`."""
    if not isinstance(plain, dict):
        return plain
    (kind, value), *more = plain.items()
    match kind:
        case "number":
            return float(value)
        case "array":
            return np.array([from_plain(v) for v in value], dtype=np.dtype(dict(more)["dtype"]))
        case "object":
            return from_config(value)
        case "tuple":
            return tuple(from_plain(v) for v in value)
        case "list":
            return [from_plain(v) for v in value]
        case "pairs":
            return {from_plain(k): from_plain(v) for k, v in value}
    raise ValueError(f"{plain!r} is no description of a value")


class Portable(BaseEstimator):
    """The base class that pickles, copies and saves an estimator without its device."""

    network_: Network

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if isinstance(state.get("_trainer"), Trainer):
            state["_trainer"] = pack_trainer(state["_trainer"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state, old = {"numerics": "ordinary"} | state, state.get("network_")  # older pickles have none
        if isinstance(old, dict):  # of the version that pickled its arrays by name
            network = state["network_"] = Network.__new__(Network)
            arrays = model_file.to_bytes({}, old["arrays"])
            state |= {"_settings": {}, "_as_fitted": {name: state[name] for name in OF_NETWORK if name in state}}
            network.__setstate__(old | {"precision": "float32", "autotune": False, "arrays": arrays, "own": {}})
        super().__setstate__(state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, parameters and fitted attributes into one safetensors file, without pickle.

        `load` of the same class reads it, and `gpubp.load` reads the network alone. Callbacks, a RandomState object and
        the optimizer's moments stay behind. Raises OSError where it can't be written.
        """
        check_is_fitted(self)
        skipped = ("callbacks", "layers")
        kept = {k: v for k, v in self.get_params(deep=False).items() if k not in skipped}
        if isinstance(kept.get("random_state"), np.random.RandomState):
            kept["random_state"] = None
        fitted = {k: v for k, v in vars(self).items() if k.endswith("_") and k != "network_"}
        described = {"class": type(self).__name__, "parameters": to_plain(kept), "fitted": to_plain(fitted)}
        described |= {"inner": to_plain(self._inner()), "answers": self._answers()}
        before = self.network_.metadata
        self.network_.metadata = {**before, **_classes(self), "estimator": described}
        try:
            self.network_.save(path)
        finally:
            self.network_.metadata = before

    def to_onnx(self, path: str | os.PathLike[str], dtype: Any = None) -> None:
        """Write an ONNX file whose outputs are what this estimator predicts.

        Its input "input" takes rows X in the network's type, float64 unless X was float32 in `fit`, or in the one that
        `dtype` says, "float32" or "float64". It gives "label" and "probabilities", in the order of `classes_`, of a
        classifier, and "prediction" of a regressor; of a classifier whose loss makes scores, such as Hinge, these
        alone, as "output". See `Network.to_onnx`.
        """
        from ..interop.onnx_out.export import to_onnx  # costs time, which importing estimators needs not take

        check_is_fitted(self)
        to_onnx(self.network_, {**self.network_.metadata, "estimator": {"answers": self._answers()}}, path, dtype=dtype)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "auto") -> Self:
        """The estimator that `save` wrote, on `device`. Raises ModelFileError if the file holds none of this class."""
        network = load(path, device)
        told = network.metadata.pop("estimator", None)
        if not isinstance(told, dict) or told.get("class") != cls.__name__:
            other = isinstance(told, dict) and "class" in told
            holds = f"a {told['class']}" if other else "a network alone; use gpubp.load"
            raise ModelFileError(f"{path} holds no {cls.__name__} but {holds}")
        parameters = from_plain(told["parameters"])
        estimator = cls(**parameters, **cls._layers_of(network))
        estimator.device = device
        for name, value in from_plain(told["fitted"]).items():
            setattr(estimator, name, value)
        estimator.network_ = network
        estimator._trainer = None
        estimator._no_improvement_count = 0
        estimator._take_inner(from_plain(told["inner"]))
        return estimator

    @classmethod
    def _layers_of(cls, network: Network) -> dict[str, Any]:
        return {}

    def _inner(self) -> dict[str, Any]:
        return {}

    def _answers(self) -> dict[str, Any]:
        """What the outputs of the network stand for, as `interop/onnx_out/outputs.py` has it."""
        return {}

    def _take_inner(self, inner: dict[str, Any]) -> None:
        pass


def _classes(estimator: Any) -> dict[str, list[Any]]:
    """The classes of a classifier, as `gpubp predict` and `gpubp evaluate` read them; nothing where outputs are no
    classes, one for each."""
    known = getattr(estimator, "classes_", None)
    if not isinstance(known, np.ndarray) or (len(known),) != estimator.network_.output_shape:
        return {}
    return told_classes(known)


def told_classes(classes: np.ndarray[Any, Any]) -> dict[str, list[Any]]:
    """Labels as a network's metadata have them: whole numbers as "classes", others as texts, "names".

    >>> told_classes(np.array([3, 5])), told_classes(np.array(["no", "yes"]))
    ({'classes': [3, 5]}, {'names': ['no', 'yes']})
    """
    if classes.dtype.kind in "iu":
        return {"classes": classes.tolist()}
    return {"names": [str(name) for name in classes.tolist()]}
