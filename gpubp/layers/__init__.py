"""Layers: each is a formula and its derivative."""

from __future__ import annotations

from .activations import ELU, GELU, Activation, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .augmentation import RandomFlip, RandomRotation, RandomTranslation, RandomZoom
from .base import Buffer, Context, Layer, Parameter, Plan, Values, Workspace, bind, initial_values
from .columns import EmbedColumns
from .composition import Flatten, Parallel, Reshape, Residual, Sequential
from .convolution import Conv2D
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .normalization import BatchNorm, LayerNorm
from .pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "AvgPool2D",
    "BatchNorm",
    "Buffer",
    "Context",
    "Conv2D",
    "Dense",
    "Dropout",
    "EmbedColumns",
    "Embedding",
    "Flatten",
    "GlobalAvgPool2D",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "Parallel",
    "Parameter",
    "Plan",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Values",
    "Workspace",
    "bind",
    "initial_values",
]
