"""Pictures of channels: the pixels in the file are those of the numbers."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from gpubp.explain.drawings.pixels import CHANNELS, channels, is_images

imread = pytest.importorskip("matplotlib.image").imread


def pixels(address: str) -> np.ndarray:
    """What another reader of PNG files sees, from 0 to 255."""
    assert address.startswith("data:image/png;base64,")
    return np.round(255 * imread(io.BytesIO(base64.b64decode(address.partition(",")[2])), format="png"))


def test_grey_goes_from_the_smallest_number_of_all_channels_to_the_largest() -> None:
    a = np.stack([np.arange(6.0).reshape(2, 3), np.full((2, 3), 10.0)], axis=-1)
    first, second = channels(a)
    np.testing.assert_array_equal(pixels(first), np.round([[0, 25.5, 51], [76.5, 102, 127.5]]))
    assert (pixels(second) == 255).all()


def test_red_is_the_size_and_nothing_where_it_is_0() -> None:
    (one,) = channels(np.array([[[0.0], [-2.0]], [[1.0], [0.5]]]), red=True)
    found = pixels(one)
    assert found.shape == (2, 2, 4)
    np.testing.assert_array_equal(found[..., 3], [[0, 255], [136, 68]])  # in steps of 17


@pytest.mark.parametrize("columns", [2, 3, 64])
def test_red_has_every_column(columns: int) -> None:
    a = np.random.default_rng(columns).normal(size=(5, columns, 1))
    (one,) = channels(a, red=True)
    shares = np.abs(a[..., 0]) / np.abs(a).max()
    found = pixels(one)
    assert found.shape == (5, columns, 4)
    np.testing.assert_allclose(found[..., 3], 255 * shares, atol=9.1)


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan, np.inf])
def test_numbers_that_are_all_alike_or_not_finite(value: float) -> None:
    for red in (False, True):
        for address in channels(np.full((2, 2, 3), value), red):
            assert np.isfinite(pixels(address)).all()


def test_which_rows_are_images() -> None:
    assert is_images((2, 2, 1)) and is_images((64, 64, 500))
    assert not is_images((65, 65, 3)) and not is_images((None, 8, 3)) and not is_images((1, 1, 64))
    assert len(channels(np.zeros((2, 2, 500)))) == CHANNELS
