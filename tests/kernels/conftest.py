"""What the kernel tests share: the mark for those that need a GPU, and the GPU itself."""

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a CUDA GPU and CuPy, and skips without")


@pytest.fixture(scope="session")
def gpu():
    """The CuPy module, where there is a GPU to run it on."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.cuda.is_available():
        pytest.skip("cupy.cuda.is_available() is False: no driver or no GPU")
    return cupy
