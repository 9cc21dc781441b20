"""The layers on which every property test runs; see `cases.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gpubp as bp
from convolution_cases import CONVOLUTIONS
from layer_case import LayerCase, Shape
from norm_cases import NORMS
from pooling_cases import POOLINGS
from recurrent_elsewhere import in_torch


def channels_first(x: Any) -> Any:
    """(B, H, W, C) as PyTorch has it."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Any) -> Any:
    """(B, C, H, W) as gpubp has it."""
    return x.permute(0, 2, 3, 1)


def recurrent(id: str, layer: bp.Layer) -> LayerCase:
    """A recurrent layer on short sequences."""
    return LayerCase(id, layer, (3, 4, 2), torch=in_torch(layer))


def words(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Numbers of words."""
    return rng.integers(0, 7, shape)


def numbers_and_words(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Rows of numbers that end in two numbers of words."""
    return np.concatenate([rng.normal(size=(shape[0], shape[1] - 2)), rng.integers(0, 5, (shape[0], 2))], axis=1)


def numbers_and_texts(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """One number, and words of a vocabulary of 7, of which 0 is none."""
    return np.concatenate([rng.normal(size=(shape[0], 1)), words(rng, (shape[0], shape[1] - 1))], axis=1)


def texts_averaged(torch: Any, p: dict[str, Any], x: Any) -> Any:
    """Two numbers and twice the mean of the vectors of up to three words."""
    there = (x[:, 2:, None] > 0).to(x.dtype)
    total = (torch.nn.functional.embedding(x[:, 2:].long(), p["0.0.W"]) * there).sum(dim=1)
    return torch.cat([x[:, :2], 2 * total / there.sum(dim=1).clamp(min=1)], dim=1)


def columns_embedded(torch: Any, p: dict[str, Any], x: Any) -> Any:
    """PyTorch's embedding of the last two columns."""
    words = [torch.nn.functional.embedding(x[:, i].long(), p[f"{i + 2}.W"]) for i in (-2, -1)]
    return torch.cat([x[:, :-2], *words], dim=-1)


def mel_spectrogram(layer: bp.MelSpectrogram) -> Callable[[Any, dict[str, Any], Any], Any]:
    """PyTorch's, by its short-time Fourier transform."""

    def spectrogram(torch: Any, p: dict[str, Any], x: Any) -> Any:
        hann = torch.hann_window(layer.window, dtype=x.dtype)
        z = torch.stft(x, layer.window, layer.hop, window=hann, center=False, return_complex=True)
        power = (z.real**2 + z.imag**2).transpose(1, 2)
        hertz = np.arange(power.shape[-1]) * layer.rate / layer.window
        edges = np.linspace(0, 2595 * np.log10(1 + layer.rate / 1400), layer.bands + 2)
        edges = 700 * (10 ** (edges / 2595) - 1)
        M = np.stack([np.interp(hertz, e, [0, 1, 0]) for e in zip(edges, edges[1:], edges[2:], strict=False)], axis=1)
        return torch.log(power @ torch.tensor(M) + layer.eps)

    return spectrogram


SPECTROGRAMS = [
    LayerCase(f"MelSpectrogram-{name}", layer, (3, 40), torch=mel_spectrogram(layer))
    for name, layer in (
        ("half", bp.MelSpectrogram(200, window=16, hop=8, bands=3)),
        ("overlapping", bp.MelSpectrogram(250, window=15, hop=4, bands=2, eps=0.1)),
        ("apart", bp.MelSpectrogram(100, window=6, hop=14, bands=1)),
    )
]


def attention(heads: int, causal: bool = False) -> Callable[[Any, dict[str, Any], Any], Any]:
    """PyTorch's, of all heads at once."""

    def attended(torch: Any, p: dict[str, Any], x: Any) -> Any:
        B, T, n = x.shape
        q, k, v = (x @ p["WQKV"]).split(n, dim=2)
        q, k, v = (a.reshape(B, T, heads, -1).transpose(1, 2) for a in (q + p["bQ"], k, v))
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return o.transpose(1, 2).reshape(B, T, n) @ p["WO"] + p["bO"]

    return attended


def side_by_side(torch: Any, p: dict[str, Any], x: Any) -> Any:
    """PyTorch's activations; of two the formula, because it has no arguments for them."""
    F = torch.nn.functional
    smooth = [F.selu(x), F.celu(x, 0.7), F.softsign(x), x * torch.sigmoid(0.5 * x), F.softplus(x, 2.0)]
    others = [F.logsigmoid(x), F.tanhshrink(x), F.hardswish(x), (0.3 * x + 0.4).clamp(0.0, 1.0), x.clamp(0.0, 0.7)]
    straight = [F.threshold(x, 0.3, -0.2), F.hardtanh(x, -0.5, 1.0), F.softshrink(x, 0.4), F.hardshrink(x, 0.6)]
    straight.append(F.gelu(x, approximate="tanh"))
    return torch.cat([*smooth, *others, *straight], dim=-1)


LAYERS = [
    *SPECTROGRAMS,
    LayerCase("Dense", bp.Dense(5), (6, 4), torch=lambda torch, p, x: torch.nn.functional.linear(x, p["W"].T, p["b"])),
    LayerCase("Dense-no-bias", bp.Dense(5, use_bias=False), (6, 4), torch=lambda torch, p, x: x @ p["W"]),
    LayerCase("Dense-one-unit", bp.Dense(1), (6, 4), torch=lambda torch, p, x: x @ p["W"] + p["b"]),
    LayerCase("Dense-more-axes", bp.Dense(5), (3, 2, 4), torch=lambda torch, p, x: x @ p["W"] + p["b"]),
    LayerCase("Sigmoid", bp.Sigmoid(), (6, 4), torch=lambda torch, p, x: torch.sigmoid(x)),
    LayerCase("Tanh", bp.Tanh(), (6, 4), torch=lambda torch, p, x: torch.tanh(x)),
    LayerCase("ReLU", bp.ReLU(), (6, 4), torch=lambda torch, p, x: torch.relu(x)),
    LayerCase("ReLU-more-axes", bp.ReLU(), (3, 2, 4), torch=lambda torch, p, x: torch.relu(x)),
    LayerCase("LeakyReLU", bp.LeakyReLU(0.2), (6, 4), torch=lambda torch, p, x: torch.nn.functional.leaky_relu(x, 0.2)),
    LayerCase("ELU", bp.ELU(0.7), (6, 4), torch=lambda torch, p, x: torch.nn.functional.elu(x, 0.7)),
    LayerCase("Softplus", bp.Softplus(), (6, 4), torch=lambda torch, p, x: torch.logaddexp(x, torch.zeros_like(x))),
    LayerCase("SiLU", bp.SiLU(), (6, 4), torch=lambda torch, p, x: torch.nn.functional.silu(x)),
    LayerCase("GELU", bp.GELU(), (6, 4), torch=lambda torch, p, x: torch.nn.functional.gelu(x)),
    LayerCase("Mish", bp.Mish(), (6, 4), torch=lambda torch, p, x: torch.nn.functional.mish(x)),
    LayerCase(
        "activations",
        bp.Parallel(
            *(bp.SELU(), bp.CELU(0.7), bp.Softsign(), bp.SiLU(0.5), bp.Softplus(2.0), bp.LogSigmoid(), bp.Tanhshrink()),
            *(bp.HardSwish(), bp.HardSigmoid(0.3, 0.4), bp.ReLU(0.7), bp.ThresholdedReLU(0.3, -0.2)),
            *(bp.Hardtanh(-0.5, 1.0), bp.Softshrink(0.4), bp.Hardshrink(0.6), bp.GELU("tanh")),
        ),
        (6, 4),
        torch=side_by_side,
    ),
    LayerCase("Softmax", bp.Softmax(), (6, 4), torch=lambda torch, p, x: torch.softmax(x, -1)),
    LayerCase("Softmax-axis", bp.Softmax(axis=1), (3, 4, 2, 2), torch=lambda torch, p, x: torch.softmax(x, 1)),
    LayerCase("LogSoftmax", bp.LogSoftmax(axis=-2), (3, 2, 4), torch=lambda torch, p, x: torch.log_softmax(x, -2)),
    LayerCase("PReLU", bp.PReLU(), (3, 2, 4), torch=lambda torch, p, x: x.clamp(min=0) + p["a"] * x.clamp(max=0)),
    LayerCase(
        "PReLU-single",
        bp.PReLU("single", 0.1),
        (6, 4),
        torch=lambda torch, p, x: torch.nn.functional.prelu(x, p["a"]),
    ),
    LayerCase(
        "PReLU-each",
        bp.PReLU("each"),
        (3, 2, 4),
        torch=lambda torch, p, x: x.clamp(min=0) + p["a"] * x.clamp(max=0),
    ),
    LayerCase("Flatten", bp.Flatten(), (3, 2, 4), torch=lambda torch, p, x: x.flatten(1)),
    LayerCase("Reshape", bp.Reshape((4, 2, 1)), (3, 2, 4), torch=lambda torch, p, x: x.reshape(3, 4, 2, 1)),
    *CONVOLUTIONS,
    *POOLINGS,
    LayerCase("LastStep", bp.LastStep(), (3, 4, 2), torch=lambda torch, p, x: x[:, -1]),
    LayerCase("MeanOverTime", bp.MeanOverTime(), (3, 4, 2), torch=lambda torch, p, x: x.mean(dim=1)),
    LayerCase("MeanOverTime/root", bp.MeanOverTime(root=True), (3, 4, 2), torch=lambda torch, p, x: x.sum(dim=1) / 2),
    LayerCase("MaxOverTime", bp.MaxOverTime(), (3, 4, 2), torch=lambda torch, p, x: x.max(dim=1).values),
    recurrent("SimpleRNN", bp.SimpleRNN(3)),
    recurrent("SimpleRNN-states", bp.SimpleRNN(3, return_sequences=True, initial_state="learned")),
    recurrent("LSTM", bp.LSTM(3)),
    recurrent("LSTM-states", bp.LSTM(3, return_sequences=True, reverse=True, initial_state="learned")),
    recurrent("GRU", bp.GRU(3, reverse=True)),
    recurrent("GRU-states", bp.GRU(3, return_sequences=True, initial_state="learned")),
    recurrent("Bidirectional", bp.Bidirectional(bp.GRU(2))),
    recurrent("Bidirectional-states", bp.Bidirectional(bp.LSTM(2, return_sequences=True))),
    LayerCase("MultiHeadAttention", bp.MultiHeadAttention(2), (3, 5, 4), torch=attention(2)),
    LayerCase("MultiHeadAttention-causal", bp.MultiHeadAttention(1, True), (2, 4, 3), torch=attention(1, True)),
    LayerCase("MultiHeadAttention-one-step", bp.MultiHeadAttention(3, True), (4, 1, 6), torch=attention(3, True)),
    LayerCase("PositionalEncoding", bp.PositionalEncoding(), (3, 5, 4)),
    LayerCase("PositionalEmbedding", bp.PositionalEmbedding(5), (3, 5, 4), torch=lambda torch, p, x: x + p["P"]),
    LayerCase("PositionalEmbedding-longer", bp.PositionalEmbedding(7), (3, 5, 4)),
    LayerCase(
        "Sequential",
        bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2)),
        (6, 4),
        torch=lambda torch, p, x: torch.tanh(x @ p["0.W"] + p["0.b"]) @ p["2.W"] + p["2.b"],
    ),
    LayerCase("Sequential-nothing-trained", bp.Sequential(bp.Tanh(), bp.Sigmoid()), (6, 4)),
    LayerCase(
        "Residual",
        bp.Residual(bp.Sequential(bp.Dense(5), bp.ReLU(), bp.Dense(4))),
        (6, 4),
        torch=lambda torch, p, x: torch.relu(x @ p["0.0.W"] + p["0.0.b"]) @ p["0.2.W"] + p["0.2.b"] + x,
    ),
    LayerCase(
        "Residual-shortcut",
        bp.Residual(bp.Sequential(bp.Dense(5), bp.Tanh()), bp.Dense(5, use_bias=False)),
        (6, 4),
        torch=lambda torch, p, x: torch.tanh(x @ p["0.0.W"] + p["0.0.b"]) + x @ p["1.W"],
    ),
    LayerCase("Residual-nothing-trained", bp.Residual(bp.Tanh()), (6, 4), torch=lambda torch, p, x: x.tanh() + x),
    LayerCase(
        "Parallel",
        bp.Parallel(bp.Dense(5), bp.Sequential(bp.Dense(2), bp.Tanh()), bp.ReLU()),
        (6, 4),
        torch=lambda torch, p, x: torch.cat(
            [x @ p["0.W"] + p["0.b"], torch.tanh(x @ p["1.0.W"] + p["1.0.b"]), torch.relu(x)], dim=-1
        ),
    ),
    LayerCase(
        "Parallel-add",
        bp.Parallel(bp.Dense(4), bp.Tanh(), bp.Dense(4, use_bias=False), merge="add"),
        (6, 4),
        torch=lambda torch, p, x: x @ p["0.W"] + p["0.b"] + torch.tanh(x) + x @ p["2.W"],
    ),
    LayerCase("Parallel-one-branch", bp.Parallel(bp.Dense(3), merge="add"), (6, 4)),
    LayerCase(
        "Parallel-more-axes",
        bp.Parallel(bp.Dense(5), bp.Tanh()),
        (3, 2, 4),
        torch=lambda torch, p, x: torch.cat([x @ p["0.W"] + p["0.b"], torch.tanh(x)], dim=-1),
    ),
    LayerCase(
        "Ensemble",
        bp.Ensemble(bp.Dense(4), bp.Tanh(), bp.Dense(4, use_bias=False)),
        (6, 4),
        torch=lambda torch, p, x: (x @ p["0.W"] + p["0.b"] + torch.tanh(x) + x @ p["2.W"]) / 3,
    ),
    LayerCase(
        "Ensemble-classes",
        bp.Ensemble(bp.Dense(5), bp.Sequential(bp.Dense(5), bp.Tanh()), bp.Dense(5, use_bias=False), average="classes"),
        (6, 4),
        torch=lambda torch, p, x: torch.log(
            sum(
                torch.softmax(z, dim=-1)
                for z in (x @ p["0.W"] + p["0.b"], torch.tanh(x @ p["1.0.W"] + p["1.0.b"]), x @ p["2.W"])
            )
            / 3
        ),
    ),
    LayerCase("Ensemble-classes-more-axes", bp.Ensemble(bp.Dense(5), bp.Dense(5), average="classes"), (3, 2, 4)),
    LayerCase(
        "Ensemble-labels",
        bp.Ensemble(bp.Dense(3), bp.Dense(3, use_bias=False), average="labels"),
        (6, 4),
        torch=lambda torch, p, x: torch.logit(
            (torch.sigmoid(x @ p["0.W"] + p["0.b"]) + torch.sigmoid(x @ p["1.W"])) / 2
        ),
    ),
    LayerCase("Ensemble-one-member", bp.Ensemble(bp.Dense(3), average="labels"), (6, 4)),
    *NORMS,
    LayerCase("Dropout", bp.Dropout(0.4), (6, 4)),
    LayerCase("RandomFlip", bp.RandomFlip(), (5, 4, 3, 2)),
    LayerCase("RandomTranslation", bp.RandomTranslation(0.3, (0.1, 0.4)), (5, 4, 5, 2)),
    LayerCase("RandomRotation", bp.RandomRotation(0.2), (5, 4, 5, 1)),
    LayerCase("RandomZoom", bp.RandomZoom(0.4, (-0.3, 0.0)), (5, 5, 4, 2)),
    LayerCase(
        "augmented", bp.Sequential(bp.RandomZoom(0.2), bp.Conv2D(2, 3), bp.RandomRotation(0.1), bp.Tanh()), (4, 5, 5, 1)
    ),
    LayerCase(
        "Embedding",
        bp.Embedding(7, 4),
        (5, 3),
        differentiable=False,
        inputs=words,
        torch=lambda torch, p, x: torch.nn.functional.embedding(x.long(), p["W"]),
    ),
    LayerCase(
        "EmbedColumns",
        bp.EmbedColumns(bp.Embedding(5, 4), bp.Embedding(6, 2)),
        (5, 5),
        differentiable=False,
        inputs=numbers_and_words,
        torch=columns_embedded,
    ),
    LayerCase(
        "EmbedColumns-words-alone",
        bp.EmbedColumns(bp.Embedding(5, 4), bp.Embedding(5, 1)),
        (5, 2),
        differentiable=False,
        inputs=numbers_and_words,
    ),
    LayerCase(
        "WordColumns",
        bp.WordColumns(bp.Sequential(bp.Embedding(7, 4), bp.MeanOverTime()), lengths=3, scale=2.0),
        (5, 5),
        differentiable=False,
        inputs=numbers_and_texts,
        torch=texts_averaged,
    ),
    LayerCase(
        "WordColumns-two-texts",
        bp.WordColumns(
            bp.Sequential(bp.Embedding(7, 3), bp.GRU(2)),
            bp.Sequential(bp.Embedding(7, 3), bp.MultiHeadAttention(1), bp.MeanOverTime()),
            lengths=(2, 3),
            columns=bp.EmbedColumns(bp.Embedding(7, 2)),
            dropout=0.3,
        ),
        (5, 7),
        differentiable=False,
        inputs=numbers_and_texts,
    ),
    LayerCase("Dropout-nothing", bp.Dropout(0.0), (6, 4)),
    LayerCase("BatchNorm-Dropout", bp.Sequential(bp.Dense(5), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.3)), (6, 4)),
    LayerCase(
        "nested",
        bp.Sequential(bp.Parallel(bp.Residual(bp.Sequential(bp.Dense(4), bp.SiLU())), bp.Dense(2)), bp.GELU()),
        (6, 4),
    ),
]
