"""The errors that gpubp raises of its own.

Each has a built-in error among its bases, so that `except ValueError` goes on working, and all have `GpubpError`, so
that the command line can tell a user's mistake (one line) from a fault of ours (a traceback).
A message says what was expected, what came, and what to do.
"""


class GpubpError(Exception):
    """The base of every error that gpubp raises on purpose.

    >>> issubclass(DataError, GpubpError) and issubclass(DataError, ValueError)
    True
    """


class DataError(GpubpError, ValueError):
    """Data that cannot be trained on or predicted from: a damaged file, a missing array, NaN, unequal lengths.

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
