"""The public names of `import gpubp`, in the order in which a reader needs them.

The names of `LATER`, by which one looks at networks, are imported when they are asked for: most programs need none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .layers import Dense, Flatten, Reshape
from .layers import AvgPool2D, Conv2D, GlobalAvgPool2D, MaxPool2D
from .layers import AvgPool1D, Conv1D, MaxPool1D
from .layers import Conv1DTranspose, Conv2DTranspose, Conv3D, Conv3DTranspose
from .layers import GRU, LSTM, Bidirectional, SimpleRNN
from .layers import AvgPool3D, MaxPool3D
from .layers import GlobalAvgPool1D, GlobalAvgPool3D, GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D
from .layers import AdaptiveAvgPool1D, AdaptiveAvgPool2D, AdaptiveAvgPool3D
from .layers import AdaptiveMaxPool1D, AdaptiveMaxPool2D, AdaptiveMaxPool3D
from .layers import UpSampling1D, UpSampling2D, UpSampling3D
from .layers import Cropping1D, Cropping2D, Cropping3D, Padding1D, Padding2D, Padding3D
from .layers import ZeroPadding1D, ZeroPadding2D, ZeroPadding3D
from .layers import LastStep, MaxOverTime, MeanOverTime
from .layers import MultiHeadAttention, PositionalEmbedding, PositionalEncoding
from .layers import MelSpectrogram
from .layers import Activation, CELU, ELU, GELU, HardSigmoid, HardSwish, Hardshrink, Hardtanh, LeakyReLU, LogSigmoid
from .layers import Mish, ReLU, SELU, SiLU, Sigmoid, Softplus, Softshrink, Softsign, Tanh, Tanhshrink, ThresholdedReLU
from .layers import LogSoftmax, PReLU, Softmax
from .layers import AlphaDropout, Dropout, GaussianNoise, SpatialDropout
from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .layers import EmbedColumns, Embedding, WordColumns
from .layers import RandomFlip, RandomRotation, RandomTranslation, RandomZoom
from .layers import Ensemble, Parallel, Residual, Sequential
from .network.network import Network, load
from .network.imported import from_onnx
from .network.models import cnn, mlp
from .network.sequence_models import encoder, transformer
from .losses import BinaryCrossEntropy, BinaryCrossEntropyOfProbabilities, BinaryFocal, CategoricalHinge
from .losses import CosineSimilarity, CrossEntropyOfProbabilities, Focal, GaussianNLL, HalfMeanSquaredError, Hinge
from .losses import HingeEmbedding, Huber, KLDivergence, LogCosh, Loss, MeanAbsoluteError, MeanAbsolutePercentageError
from .losses import MeanSquaredError, MeanSquaredLogarithmicError, MultiMargin, NegativeLogLikelihood, PointwiseLoss
from .losses import Poisson, Quantile, SoftMargin, SoftmaxCrossEntropy, SquaredHinge
from .optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, NAdam, Optimizer, RMSprop
from .schedules import ConstantRate, CosineDecay, CosineRestarts, CyclicRate, ExponentialDecay, InverseSquareRoot
from .schedules import InverseTimeDecay, JoinedSchedules, LinearDecay, MultiStepDecay, OneCycle, PiecewiseConstant
from .schedules import PolynomialDecay, Schedule, StepDecay, Warmup
from .data.row_files import open_rows
from .data.row_groups import RowGroups
from .data.sequences import Sequences
from .training.history import History
from .training.trainer import Trainer
from .training.callbacks import Callback, LambdaCallback
from .training.averaging import ExponentialMovingAverage, WeightAverage
from .training.monitors import EarlyStopping, ReduceOnPlateau
from .training.progress_bar import ProgressBar
from .training.pruning import OptunaPruning
from .training.checkpoint import Checkpoint
from .training.log_files import CSVLogger, JSONLinesLogger
from .training.trackers import MLflow, TensorBoard
from .step.profile import Profile
from .step.step import Probe
from .metrics import F1, R2, ROCAUC, Accuracy, EpochMetric, MeanAbsolute, MeanSquared, Metric, Precision, Recall
from .metrics import TopKAccuracy, confusion_matrix
from .initializers import Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Initializer, LeCunNormal
from .initializers import LeCunUniform, Normal, Orthogonal, Uniform, Zeros
from .layers.gradient_check import GradientMismatch, GradientReport
from .losses.gradient_check import gradcheck
from .layers import Buffer, Layer, Parameter, Plan, Workspace
from .backends import Backend, get_backend
from .errors import DataError, DeviceError, DeviceMemoryError, ExactError, ExportError, GpubpError, InUseError
from .errors import MissingDependencyError, ModelFileError, NonFiniteError, RecordError, ResultError, ShapeError

if TYPE_CHECKING:
    from .analysis.diagnostics import GradientFlow, LearningRates, find_learning_rate
    from .analysis.parity import BackendComparison, compare_backends
    from .analysis.plots.classes import plot_confusion_matrix, plot_misclassified
    from .analysis.plots.curves import plot_comparison, plot_gradient_flow, plot_history, plot_learning_rates
    from .analysis.plots.drawings import plot_network
    from .analysis.plots.histograms import plot_histograms
    from .analysis.plots.regions import plot_decision_boundary
    from .analysis.step_costs import estimate_scaling
    from .report import write_report

LATER = {
    name: module
    for module, names in {
        "analysis.diagnostics": "GradientFlow LearningRates find_learning_rate",
        "analysis.parity": "BackendComparison compare_backends",
        "analysis.plots.classes": "plot_confusion_matrix plot_misclassified",
        "analysis.plots.curves": "plot_comparison plot_gradient_flow plot_history plot_learning_rates",
        "analysis.plots.drawings": "plot_network",
        "analysis.plots.histograms": "plot_histograms",
        "analysis.plots.regions": "plot_decision_boundary",
        "analysis.step_costs": "estimate_scaling",
        "report": "write_report",
    }.items()
    for name in names.split()
}

__all__ = [
    "Dense", "Flatten", "Reshape",
    "AvgPool2D", "Conv2D", "GlobalAvgPool2D", "MaxPool2D",
    "AvgPool1D", "Conv1D", "MaxPool1D",
    "Conv1DTranspose", "Conv2DTranspose", "Conv3D", "Conv3DTranspose",
    "Bidirectional", "GRU", "LSTM", "SimpleRNN",
    "AvgPool3D", "MaxPool3D",
    "GlobalAvgPool1D", "GlobalAvgPool3D", "GlobalMaxPool1D", "GlobalMaxPool2D", "GlobalMaxPool3D",
    "AdaptiveAvgPool1D", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D",
    "AdaptiveMaxPool1D", "AdaptiveMaxPool2D", "AdaptiveMaxPool3D",
    "UpSampling1D", "UpSampling2D", "UpSampling3D",
    "Cropping1D", "Cropping2D", "Cropping3D", "Padding1D", "Padding2D", "Padding3D",
    "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
    "LastStep", "MaxOverTime", "MeanOverTime",
    "MultiHeadAttention", "PositionalEmbedding", "PositionalEncoding",
    "MelSpectrogram",
    "Activation", "CELU", "ELU", "GELU", "HardSigmoid", "HardSwish", "Hardshrink", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "Mish", "ReLU", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink", "ThresholdedReLU",
    "LogSoftmax", "PReLU", "Softmax",
    "BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm",
    "AlphaDropout", "Dropout", "GaussianNoise", "SpatialDropout",
    "EmbedColumns", "Embedding", "WordColumns",
    "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom",
    "Ensemble", "Parallel", "Residual", "Sequential",
    "Network", "load", "from_onnx",
    "cnn", "mlp", "encoder", "transformer",
    "BinaryCrossEntropy", "BinaryCrossEntropyOfProbabilities", "BinaryFocal", "CategoricalHinge", "CosineSimilarity",
    "CrossEntropyOfProbabilities", "Focal", "GaussianNLL", "HalfMeanSquaredError", "Hinge", "HingeEmbedding", "Huber",
    "KLDivergence", "LogCosh", "Loss", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "MultiMargin", "NegativeLogLikelihood", "PointwiseLoss", "Poisson", "Quantile",
    "SoftMargin", "SoftmaxCrossEntropy", "SquaredHinge",
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam", "Optimizer", "RMSprop",
    "ConstantRate", "CosineDecay", "CosineRestarts", "CyclicRate", "ExponentialDecay", "InverseSquareRoot",
    "InverseTimeDecay", "JoinedSchedules", "LinearDecay", "MultiStepDecay", "OneCycle", "PiecewiseConstant",
    "PolynomialDecay", "Schedule", "StepDecay", "Warmup",
    "open_rows", "RowGroups", "Sequences",
    "History", "Trainer",
    "Callback", "EarlyStopping", "ExponentialMovingAverage", "LambdaCallback", "OptunaPruning", "ProgressBar",
    "ReduceOnPlateau", "WeightAverage",
    "Checkpoint", "CSVLogger", "JSONLinesLogger", "MLflow", "TensorBoard",
    "GradientFlow", "LearningRates", "find_learning_rate",
    "BackendComparison", "compare_backends",
    "estimate_scaling",
    "plot_comparison", "plot_confusion_matrix", "plot_decision_boundary", "plot_gradient_flow", "plot_history",
    "plot_histograms", "plot_learning_rates", "plot_misclassified", "plot_network",
    "write_report",
    "Profile", "Probe",
    "Accuracy", "EpochMetric", "F1", "MeanAbsolute", "MeanSquared", "Metric", "Precision", "R2", "ROCAUC", "Recall",
    "TopKAccuracy", "confusion_matrix",
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Initializer", "LeCunNormal",
    "LeCunUniform", "Normal", "Orthogonal", "Uniform", "Zeros",
    "GradientMismatch", "GradientReport", "gradcheck",
    "Buffer", "Layer", "Parameter", "Plan", "Workspace",
    "Backend", "get_backend",
    "DataError", "DeviceError", "DeviceMemoryError", "ExactError", "ExportError", "GpubpError", "InUseError",
    "MissingDependencyError", "ModelFileError", "NonFiniteError", "RecordError", "ResultError", "ShapeError",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f".{LATER[name]}", __package__), name)
    return found
