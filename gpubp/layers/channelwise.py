"""Channelwise: what poolings, upsampling and padding share, which compute each channel by itself."""

from __future__ import annotations

from typing import ClassVar

from .base import Layer


class Channelwise(Layer):
    """A layer on sequences, images or volumes, channels last, that computes each channel by itself.

    axes: of space: 1 for (batch, time, channels), 2 for images, 3 for volumes.

    >>> import gpubp as bp
    >>> isinstance(bp.UpSampling2D(), Channelwise), bp.UpSampling2D.axes
    (True, 2)
    """

    axes: ClassVar[int]
