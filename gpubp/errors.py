"""The errors that gpubp raises.

Each has a built-in error among its bases, so that `except ValueError` goes on working, and all have
`GpubpError`, so that the command line can tell a user's mistake (one line) from our fault (a traceback).
A message says what was expected, what came, and what to do.
"""

from __future__ import annotations

from typing import Any


class GpubpError(Exception):
    """The base of every error that gpubp raises on purpose.

    Pickles and copies have its text and its attributes, so that it passes from one process to another.

    >>> issubclass(DataError, GpubpError) and issubclass(DataError, ValueError)
    True
    """

    def __reduce__(self) -> tuple[Any, ...]:
        made: Any = super().__reduce__()  # (class, args), or (class, args, attributes)
        return _remade, (type(self), *made[1]), *made[2:]


def _remade(cls: Any, *args: Any) -> BaseException:
    """An error with these `args`, without its own `__init__`, which makes a text from other arguments."""
    built_in = cls
    while built_in.__module__ != "builtins":
        built_in = built_in.__base__
    error: BaseException = built_in.__new__(cls, *args)
    built_in.__init__(error, *args)
    return error


class DataError(GpubpError, ValueError):
    """Data that cannot be used: a damaged file, a missing array, NaN, unequal lengths.

    >>> raise DataError("X has 3 rows and y has 4; each row of X needs its one y.")
    Traceback (most recent call last):
    ...
    gpubp.errors.DataError: X has 3 rows and y has 4; each row of X needs its one y.
    """


class MissingDependencyError(GpubpError, ImportError):
    """A library that only some of gpubp needs is not installed; the message has the command that installs it.

    >>> raise MissingDependencyError("Reading the digits needs scikit-learn: pip install 'gpubp[sklearn]'")
    Traceback (most recent call last):
    ...
    gpubp.errors.MissingDependencyError: Reading the digits needs scikit-learn: pip install 'gpubp[sklearn]'
    """


class CommunicationError(GpubpError, RuntimeError):
    """Processes that train one network together can't go on: one has ended, does not answer, or trains another one.

    >>> raise CommunicationError("process 2 of 4 has not answered for 30 minutes")
    Traceback (most recent call last):
    ...
    gpubp.errors.CommunicationError: process 2 of 4 has not answered for 30 minutes
    """


class ExportError(GpubpError, ValueError):
    """A network can't be written in another form, because that form has nothing for a layer or a column.

    >>> raise ExportError("C code has nothing for layer 1, MultiHeadAttention(2)")
    Traceback (most recent call last):
    ...
    gpubp.errors.ExportError: C code has nothing for layer 1, MultiHeadAttention(2)
    """


class DeviceError(GpubpError, RuntimeError):
    """A device that was asked for cannot be used; the message names the cause and the remedy.

    >>> issubclass(DeviceError, RuntimeError)
    True
    """


class DeviceMemoryError(GpubpError, MemoryError):
    """The device has no room for an array; the message says how much was wanted, how much is free, and what would fit.

    >>> issubclass(DeviceMemoryError, MemoryError)
    True
    """


def in_bytes(count: float) -> str:
    """A number of bytes as people read it.

    >>> in_bytes(2048)
    '2.0 KB'
    """
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


class ExactError(GpubpError, RuntimeError):
    """Something that has other bits on other machines is used in exact numerics; the message says what to use instead.

    >>> issubclass(ExactError, RuntimeError)
    True
    """


class InUseError(GpubpError, RuntimeError):
    """A network is used that is in use: another thread trains or evaluates it, or a callback trains it once more.

    >>> issubclass(InUseError, RuntimeError)
    True
    """


class ModelFileError(GpubpError, ValueError):
    """A file that is no model file, is damaged, or does not fit the network it is loaded into.

    >>> issubclass(ModelFileError, ValueError)
    True
    """


class NonFiniteError(GpubpError, FloatingPointError):
    """A training step gave a loss or a gradient that is not finite.

    step: its number. layer: the path of the layer where it was found, "" for loss and outputs.

    >>> NonFiniteError("step 3: the loss is not finite", 3, "").step
    3
    """

    def __init__(self, message: str, step: int = 0, layer: str = "") -> None:
        super().__init__(message)
        self.step, self.layer = step, layer


class RecordError(GpubpError, RuntimeError):
    """A layer did something that a recorded step cannot repeat, such as allocating an array.

    >>> issubclass(RecordError, RuntimeError)
    True
    """


class ResultError(GpubpError, TypeError):
    """A method of a layer, loss or metric returned what it must not, such as None; the message names the method.

    >>> issubclass(ResultError, TypeError)
    True
    """


class ShapeError(GpubpError, ValueError):
    """A layer was given a shape that it cannot work on, or plans an array under a name that is reserved.

    A layer raises it with the problem alone; the compositions around it add where the layer stands and what comes
    before it.

    >>> print(ShapeError("expects 3 axes and got 2").at("2", "Conv2D(8, 3)").at("1"))
    Conv2D(8, 3) at "1.2" expects 3 axes and got 2
    """

    def __init__(
        self, problem: str, path: str = "", layer: str = "", before: tuple[str, str, str] | None = None
    ) -> None:
        self.problem = problem
        self.path = path
        self.layer = layer
        self.before = before  # the layer before it, its path, and what it gives
        where = f'{layer} at "{path}" ' if layer and path else f"{layer} " if layer else ""
        after = '; the layer before it, {} at "{}", gives rows of shape {}'.format(*before) if before else ""
        super().__init__(f"{where}{problem}{after}")

    def at(self, name: str, layer: str = "", before: tuple[str, str, str] | None = None) -> ShapeError:
        """The same error, seen from one composition further out."""
        path = f"{name}.{self.path}" if self.path else name
        if self.before is not None:
            before = (self.before[0], f"{name}.{self.before[1]}", self.before[2])
        return ShapeError(self.problem, path, self.layer or layer, before)

    def of(self, layer: str) -> ShapeError:
        """The same error, of `layer` where it names none yet."""
        return ShapeError(self.problem, self.path, self.layer or layer, self.before)
