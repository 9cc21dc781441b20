"""Fixtures of the tests of the CUDA backend."""

import pytest

from gpubp.backends.cuda import launches
from strict import strict_cupy


@pytest.fixture
def cupy():
    return strict_cupy()


@pytest.fixture(autouse=True)
def first_warning():
    launches._warned.clear()
