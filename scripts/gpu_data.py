"""The pictures of digits that stages of scripts/gpu_check.sh train on.

They are MNIST's if the environment variable GPUBP_MNIST names the folder with its files, and else scikit-learn's 1,797
digits. Nothing is downloaded.
"""

from __future__ import annotations

import os
from functools import cache

from gpubp import datasets
from gpubp.errors import DataError


@cache
def pictures(dry: bool = False) -> datasets.Dataset:
    """The pictures; in a dry run the digits."""
    if not dry and os.environ.get(datasets.MNIST_FOLDER):
        try:
            return datasets.load_mnist()
        except (DataError, OSError) as problem:
            print(f"no MNIST: {problem}")
    return datasets.load_digits()


def missing(dry: bool = False) -> str:
    """What a result says where MNIST is not there, "" where it is."""
    if dry or pictures().name == "mnist":
        return ""
    return f"on scikit-learn's digits, because {datasets.MNIST_FOLDER} names no folder with MNIST"
