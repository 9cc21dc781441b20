"""Fixtures of the tests of the cublasLt wrapper."""

import pytest
from cublaslt_calls import real_library
from cublaslt_host import HostCupy
from cublaslt_model import Model, RealDescriptors

from gpubp.backends.cuda.cublaslt import CublasLt


@pytest.fixture(params=["own", "real"])
def model(request):
    """The NumPy model, on its own descriptors and on those that the real library makes."""
    return Model() if request.param == "own" else Model(RealDescriptors(real_library()))


@pytest.fixture
def lt(model):
    return CublasLt(HostCupy(), 1 << 16, library=model)
