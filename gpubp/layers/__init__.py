"""Layers: each is a formula and its derivative."""

from __future__ import annotations

from .activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    Hardshrink,
    HardSigmoid,
    HardSwish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    ThresholdedReLU,
)
from .adaptive_pooling import (
    AdaptiveAvgPool1D,
    AdaptiveAvgPool2D,
    AdaptiveAvgPool3D,
    AdaptiveMaxPool1D,
    AdaptiveMaxPool2D,
    AdaptiveMaxPool3D,
)
from .alpha_dropout import AlphaDropout
from .attention import MultiHeadAttention
from .augmentation import RandomFlip, RandomRotation, RandomTranslation, RandomZoom
from .base import Layer, Workspace
from .bidirectional import Bidirectional
from .binding import Values, bind, initial_values
from .columns import EmbedColumns
from .composition import Flatten, Parallel, Reshape, Residual, Sequential
from .context import Context
from .convolution import Conv2D, Conv3D
from .convolution_1d import Conv1D
from .convolution_transpose import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
from .dense import Dense
from .dropout import Dropout, SpatialDropout
from .embedding import Embedding
from .ensemble import Ensemble
from .global_pooling import GlobalAvgPool2D, GlobalAvgPool3D, GlobalMaxPool2D, GlobalMaxPool3D
from .group_norms import GroupNorm, InstanceNorm
from .gru import GRU
from .lstm import LSTM
from .noise import GaussianNoise
from .normalization import BatchNorm
from .over_time import GlobalAvgPool1D, GlobalMaxPool1D, LastStep, MaxOverTime, MeanOverTime
from .padding import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    Padding1D,
    Padding2D,
    Padding3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from .plan import Buffer, Parameter, Plan
from .pooling import AvgPool2D, MaxPool2D
from .pooling_1d import AvgPool1D, MaxPool1D
from .pooling_3d import AvgPool3D, MaxPool3D
from .positions import PositionalEmbedding, PositionalEncoding
from .prelu import PReLU
from .recurrent import Recurrent
from .row_norms import LayerNorm, RMSNorm
from .simple_rnn import SimpleRNN
from .softmax import LogSoftmax, Softmax
from .spectrogram import MelSpectrogram
from .texts import WordColumns
from .upsampling import UpSampling1D, UpSampling2D, UpSampling3D

__all__ = [
    "Activation", "CELU", "ELU", "GELU", "HardSigmoid", "HardSwish", "Hardshrink", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "Mish", "ReLU", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink", "ThresholdedReLU",
    "LogSoftmax", "PReLU", "Softmax",
    "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom",
    "Buffer", "Context", "Layer", "Parameter", "Plan", "Values", "Workspace", "bind", "initial_values",
    "EmbedColumns", "WordColumns", "Embedding", "Dense", "Conv2D",
    "BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm",
    "AlphaDropout", "Dropout", "GaussianNoise", "SpatialDropout",
    "Ensemble", "Flatten", "Reshape", "Parallel", "Residual", "Sequential",
    "AvgPool2D", "GlobalAvgPool2D", "MaxPool2D", "AvgPool1D", "Conv1D", "MaxPool1D",
    "AvgPool3D", "MaxPool3D",
    "GlobalAvgPool1D", "GlobalAvgPool3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D",
    "AdaptiveAvgPool1D", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D",
    "AdaptiveMaxPool1D", "AdaptiveMaxPool2D", "AdaptiveMaxPool3D",
    "UpSampling1D", "UpSampling2D", "UpSampling3D",
    "Cropping1D", "Cropping2D", "Cropping3D", "Padding1D", "Padding2D", "Padding3D",
    "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
    "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
    "LastStep", "MaxOverTime", "MeanOverTime",
    "MultiHeadAttention", "PositionalEmbedding", "PositionalEncoding",
    "MelSpectrogram",
    "GRU", "LSTM", "Bidirectional", "Recurrent", "SimpleRNN",
]  # fmt: skip
