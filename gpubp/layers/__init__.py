"""Layers: each a formula and its derivative."""

from __future__ import annotations

from .activations import ELU, GELU, Activation, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .base import Buffer, Context, Layer, Parameter, Plan, Workspace, bind, initial_values
from .composition import Flatten, Parallel, Residual, Sequential
from .dense import Dense

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "Buffer",
    "Context",
    "Dense",
    "Flatten",
    "Layer",
    "LeakyReLU",
    "Parallel",
    "Parameter",
    "Plan",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Workspace",
    "bind",
    "initial_values",
]
