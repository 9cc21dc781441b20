"""Shared by all tests. That it lies here also lets them `from cases import LAYERS`, from any folder below."""

import numpy as np
import pytest

import gpubp.public  # noqa: F401  # all classes are known before a test puts other ones in their place


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20)
