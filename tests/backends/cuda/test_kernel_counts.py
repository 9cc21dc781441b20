"""How many kernels a recorded step of the benchmarks' networks for GPUs launches, with the data on the device.

Counted on the stand-in, where the kernels are noted and not run: what a step launches depends on shapes alone.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
import strict
from gpubp.backends.cuda.backend import CUDA
from strict_noting import Noting

sys.path.insert(0, str(Path(__file__).parents[3]))  # benchmarks/ is no part of the installed package

from benchmarks.contenders.gpubp_steps import _layer  # noqa: E402
from benchmarks.workloads import GPU, Workload  # noqa: E402


@pytest.fixture
def noting() -> Noting:
    return Noting()


def kernels(cupy: Noting, w: Workload, products: Any = strict.StrictProducts) -> list[str]:
    """The names of the kernels of the third step, in their order."""
    be = CUDA(cupy, 0, w.precision, products=products)
    net = bp.Network(bp.Sequential(*(_layer(*layer) for layer in w.layers)), w.shape, device=be)
    loss = bp.SoftmaxCrossEntropy() if w.loss == "softmax" else bp.MeanSquaredError()
    rule = bp.Adam(w.rate) if w.optimizer == "adam" else bp.SGD(w.rate, momentum=0.9)
    rows = 3 * w.batch
    y = np.zeros(rows, int) if w.loss == "softmax" else np.zeros((rows, w.outputs), "float32")
    trainer = bp.Trainer(net, loss, rule, batch_size=w.batch)
    trainer.fit(np.zeros((rows, *w.shape), "float32"), y, epochs=1, verbose=False)
    assert len(cupy.graphs) == 1
    return cupy.graphs[0].names


def narrow(w: Workload) -> Workload:
    """With units and rows by the dozen, which dense layers launch as many kernels for."""
    return replace(w, shape=(24,), layers=tuple((n[0], 16) if n[0] == "dense" else n for n in w.layers), batch=12)


@pytest.mark.parametrize(("name", "most"), [("A", 12), ("B", 12), ("B-tf32", 12), ("C", 55)])
def test_dense_networks(name: str, most: int, noting: Noting) -> None:
    """12: one takes the batch, 3 products forward and 5 back, the loss and its sum, the update. C casts to bfloat16."""
    assert len(kernels(noting, narrow(GPU[name]))) <= most


@pytest.mark.parametrize(("name", "most"), [("A", 14), ("B", 14), ("B-tf32", 14), ("C", 62), ("D", 30)])
@pytest.mark.parametrize("products", [strict.LosingNaN, strict.Masking0])
def test_where_the_relu_of_cublas_is_not_numpys(name: str, most: int, products: Any, noting: Noting) -> None:
    """A kernel more for each ReLU: in A 2 more than 12, in C 7 more than 55. By no mask at all they are 16 and 76."""
    w = GPU[name] if name == "D" else narrow(GPU[name])
    assert len(kernels(noting, w, products)) <= most
    assert len(kernels(Noting(), w, strict.Misreading)) > most


def test_a_convolutional_network(noting: Noting) -> None:
    """At its full size, which decides how many pieces the convolutions make."""
    names = Counter(kernels(noting, GPU["D"]))
    assert sum(names.values()) <= 27, names
    assert names["patches"] == 4, "of x for each convolution, and of dy in two pieces for the upper one"
    assert names["relu_bias"] == 2, "a convolution's bias and ReLU are part of its product"
    assert names["MaxPool_shares_kernel"] == 2, "all pixels of a window take their share in one kernel"


def test_more_images_than_a_piece_has_room_for(noting: Noting) -> None:
    """P of the lower convolution, P of the upper one in 2 pieces, again for dW since they don't stay, and Q in 4."""
    w = GPU["D"]
    assert Counter(kernels(noting, replace(w, batch=64)))["patches"] == 1 + 1 + 1
    assert Counter(kernels(Noting(), replace(w, batch=512)))["patches"] == 1 + 2 + 2 + 4


def of_sequences(layer: bp.Layer, T: int, lengths: bool) -> int:
    """How many kernels a step has on sequences of T time steps."""
    cupy = Noting()
    layers = bp.Sequential(layer, bp.Dense(2))
    net = bp.Network(layers, (None if lengths else T, 8), device=CUDA(cupy, 0, products=strict.StrictProducts))
    X = np.zeros((12, T, 8), "float32")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=4)
    rows = bp.Sequences(X, lengths=[T] * 12) if lengths else X
    trainer.fit(rows, np.zeros(12, int), epochs=1, verbose=False)
    assert len(cupy.graphs) == 1
    return len(cupy.graphs[0].names)


@pytest.mark.parametrize("lengths", [False, True], ids=["", "lengths"])
@pytest.mark.parametrize("layer", [bp.SimpleRNN(6), bp.GRU(6), bp.LSTM(6)], ids=repr)
@pytest.mark.usefixtures("noting")
def test_recurrent_layers(layer: bp.Layer, lengths: bool) -> None:
    """A product and a formula for each time step, forward and backward; masks are part of the formulas."""
    short, long = (of_sequences(layer, T, lengths) for T in (8, 12))
    assert long - short == 4 * 4
    assert short - 4 * 8 <= 17
