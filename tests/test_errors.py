"""Errors pass from one process to another: pickles and copies have their text and their attributes."""

import copy
import importlib
import inspect
import pickle
import pkgutil
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import GpubpError
from gpubp.flat import UnknownName
from gpubp.layers.words import WordError

# The arguments of each class that takes more than a text.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "CellError": (15, "age", "holds 'abc', which is no number"),
    "FirstFailed": ("process 0 has failed",),
    "NonFiniteError": ("step 3: the loss is not finite", 3, "2"),
    "Refused": ("dilations (2, 2); gpubp's Conv2D has none", None, None, True),
    "ShapeError": ("expects 3 axes", "2.1", "Conv2D(8, 3)", ("Dense(3)", "0", "(3,)")),
    "StopRequested": (signal.SIGTERM,),
    "Trouble": ("the GPU has no room", "free some"),
    "UnknownName": ("net.parameters", "0.w", ["0.W", "0.b"]),
    "WorksAlone": ("gpubp search",),
    "WordError": (bp.Embedding(10, 3), 15.0, 4, "X_test", "0.1"),
}


def errors_of_gpubp() -> list[type[BaseException]]:
    """All classes of exceptions and warnings that files of gpubp define."""
    found = set()
    for name in [module.name for module in pkgutil.walk_packages(bp.__path__, "gpubp.")]:
        try:
            values = vars(importlib.import_module(name)).values() if not name.endswith("__main__") else ()
        except ImportError:  # of what an extra brings
            continue
        classes = [value for value in values if inspect.isclass(value) and issubclass(value, BaseException)]
        found.update(cls for cls in classes if cls.__module__.startswith("gpubp."))
    return sorted(found, key=lambda cls: cls.__name__)


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("cls", errors_of_gpubp())
def test_pickles_and_copies_have_text_and_attributes(cls: type[BaseException], again: Callable[[Any], Any]) -> None:
    takes_more = inspect.isfunction(cls.__init__)
    error = cls(*ARGUMENTS[cls.__name__]) if takes_more else cls("it is 3\nand must be 4")
    error.add_note("in fold 2")
    other = again(error)
    assert type(other) is cls and other is not error
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))
    assert vars(other)["__notes__"][-1] == "in fold 2"


class OwnError(GpubpError, ImportError):
    """One of a user's own."""

    def __init__(self, wanted: int, got: int) -> None:
        super().__init__(f"{wanted} were wanted, and {got} came")
        self.wanted = wanted


def test_errors_of_ones_own_are_pickled_too() -> None:
    error = pickled(OwnError(3, got=4))
    assert (str(error), error.wanted, error.msg) == ("3 were wanted, and 4 came", 3, "3 were wanted, and 4 came")


def test_errors_of_a_prediction_carry_no_arrays_and_no_network() -> None:
    net = bp.Network(bp.Sequential(bp.Embedding(10, 300), bp.Flatten(), bp.Dense(2)), 4, device="cpu")
    with pytest.raises(WordError) as caught:
        net.predict(np.full((3, 4), 15))
    assert len(pickle.dumps(caught.value.with_traceback(None))) < 2000  # tblib, if it is there, pickles tracebacks too
    assert pickled(caught.value).layer == net.layers.layers[0]
    with pytest.raises(UnknownName) as unknown:
        net.parameters["0.w"]
    assert str(pickled(unknown.value)) == str(unknown.value)


def test_an_error_of_each_kind_of_wrong_data_is_pickled() -> None:
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    net.lock = threading.Lock()  # which can't be pickled
    for wrong in (np.zeros((2, 4)), np.full((2, 3), np.nan), [["a", "b", "c"]]):
        with pytest.raises(bp.DataError) as caught:
            net.predict(wrong)
        assert str(pickled(caught.value)) == str(caught.value)
