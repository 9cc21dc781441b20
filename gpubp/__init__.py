"""gpubp trains neural networks by backpropagation, with readable code, on NumPy and CuPy.

`public.py` has the public names, in the order in which a reader needs them. It is read when the first of them is
asked for, so that `gpubp --help`, or a shell completing a word, need not wait for NumPy.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing's, which takes longer to import than all of this
if TYPE_CHECKING:
    from .public import *  # noqa: F403
else:

    def __getattr__(name):
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        try:
            return import_module(f"{__name__}.{name}")  # a file
        except ModuleNotFoundError as missing:
            if missing.name != f"{__name__}.{name}":
                raise
        public = import_module(f"{__name__}.public")
        there = vars(public)
        globals().update({each: there[each] for each in public.__all__ if each in there}, __all__=public.__all__)
        if name in public.LATER:
            globals()[name] = getattr(public, name)
        if name in globals():
            return globals()[name]
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; docs/coming-from.md has the names of PyTorch and Keras"
        )

    def __dir__():
        return sorted({*globals(), *__getattr__("__all__")})
