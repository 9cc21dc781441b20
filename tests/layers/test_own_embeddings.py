"""Embeddings of one's own, and Embeddings inside compositions of one's own, above layers that compute their words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device_training import device
from test_words import Same

import gpubp as bp

CE = bp.SoftmaxCrossEntropy()
WORDS = bp.Embedding(10, 3)
HEAD = (WORDS, bp.Flatten(), bp.Dense(2))


class OwnLookup(bp.Embedding):
    """Reads its words itself."""

    def forward(self, ws: Any, x: Any) -> Any:
        ws.xp.copyto(ws.rows, x, casting="unsafe")
        ws.be.gather(ws.W, ws.rows.reshape(-1), out=ws.y.reshape(-1, self.dim))
        return ws.y


class Bag(bp.Embedding):
    """The sum of the words' vectors, in another shape than an Embedding's."""

    def plan(self, x: Any) -> bp.Plan:
        plan = super().plan(x)
        arrays = {**plan.arrays, "sum": (x[0], self.dim), "spread": (*x, self.dim)}
        return bp.Plan(output=(x[0], self.dim), parameters=plan.parameters, arrays=arrays)

    def forward(self, ws: Any, x: Any) -> Any:
        return ws.xp.sum(super().forward(ws, x), axis=1, out=ws.sum)

    def parameter_gradients(self, ws: Any, dy: Any) -> None:
        ws.xp.copyto(ws.spread, dy[:, None])
        super().parameter_gradients(ws, ws.spread)


def test_own_embeddings_learn_above_computed_layers() -> None:
    X, y = np.array([[1, 2], [3, 4]], "float32"), [0, 1]
    for backend in ("cpu", device()):
        gradients = [
            bp.Network(bp.Sequential(Same(), words, *HEAD[1:]), 2, device=backend).loss_and_gradients(CE, X, y)[1]
            for words in (WORDS, OwnLookup(10, 3))
        ]
        assert np.abs(gradients[0]["1.W"]).max() > 0
        assert np.array_equal(gradients[0]["1.W"], gradients[1]["1.W"])
        net = bp.Network(bp.Sequential(Same(), Bag(10, 3), bp.Dense(2)), 2, device=backend)
        assert np.abs(net.loss_and_gradients(CE, X, y)[1]["1.W"][1:5]).min() > 0
        with pytest.raises(bp.DataError, match="got 15 from the layers below it, in row 1"):
            net.predict([[1, 2], [15, 2]])


class Each(bp.Layer):
    """A layer on every step of a sequence: x (B, T, ...) as (B T, ...)."""

    def __init__(self, layer: bp.Layer) -> None:
        self.layer = layer

    @property
    def children(self) -> tuple[bp.Layer, ...]:
        return (self.layer,)

    def plan(self, x: Any) -> bp.Plan:
        inner = self.layer.plan((x[0] * x[1], *x[2:]))
        return bp.Plan(output=(*x[:2], *inner.output[1:]), children=[inner], arrays={"dx": x})

    def forward(self, ws: Any, x: Any) -> Any:
        y = ws.children[0].run_forward(x.reshape(-1, *x.shape[2:]))
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def backward(self, ws: Any, dy: Any) -> Any:
        ws.children[0].run_backward(dy.reshape(-1, *dy.shape[2:]))
        return ws.dx


@pytest.mark.parametrize("workers", [1, 2])
def test_an_axis_may_be_folded_into_the_batch(workers: int) -> None:
    X = np.arange(24.0).reshape(4, 3, 2) % 10
    wrong = X.copy()
    wrong[2, 1, 0] = 15
    for backend in ("cpu", device()):
        net = bp.Network(bp.Sequential(Each(WORDS), bp.Flatten(), bp.Dense(2)), (3, 2), device=backend, seed=1)
        same = bp.Network(bp.Sequential(WORDS, bp.Flatten(), bp.Dense(2)), (3, 2), device=backend, seed=1)
        same.flat[...] = net.flat
        for one in (net, same):
            trainer = bp.Trainer(one, CE, bp.SGD(0.1), batch_size=4, workers=workers)
            trainer.fit(X, [0, 1, 0, 1], epochs=2, shuffle=False, verbose=False)
        assert np.array_equal(net.backend.to_host(net.flat), net.backend.to_host(same.flat))
        with pytest.raises(bp.DataError, match="got 15 from the layers below it, in row 2 of X"):
            net.predict(wrong)
        trainer = bp.Trainer(net, CE, bp.SGD(0.1), batch_size=4, workers=workers)
        with pytest.raises(bp.DataError, match="got 15 from the layers below it, in row 2 of"):
            trainer.fit(wrong, [0, 1, 0, 1], shuffle=False, verbose=False)
        trainer = bp.Trainer(net, CE, bp.SGD(0.1), batch_size=4, workers=workers)
        trainer.fit(wrong, [0, 1, 0, 1], sample_weight=[1, 1, 0, 1], shuffle=False, verbose=False)


class OneMore(Same):
    """Its output has a row more than the batch, for an Embedding that reads no whole number of rows a row."""

    children = (WORDS,)

    def plan(self, x: Any) -> bp.Plan:
        inner = WORDS.plan((x[0] + 1,))
        return bp.Plan(output=(x[0], 3), children=[inner], arrays={"words": (x[0] + 1,), "d": inner.output, "dx": x})

    def forward(self, ws: Any, x: Any) -> Any:
        ws.xp.copyto(ws.words[:-1], x[:, 0])
        return ws.children[0].run_forward(ws.words)[:-1]

    def backward(self, ws: Any, dy: Any) -> Any:
        ws.xp.copyto(ws.d[:-1], dy)
        ws.children[0].run_backward(ws.d)
        return ws.dx


def test_all_rows_count_where_they_are_not_the_batchs() -> None:
    net = bp.Network(bp.Sequential(OneMore(), bp.Dense(2)), 2, device="cpu")
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    bp.Trainer(net, CE, bp.SGD(0.1)).fit(X, [0, 1], verbose=False)
    with pytest.raises(bp.DataError, match="got 12 from the layers below it, in row 1"):
        net.predict([[1.0, 2.0], [12.0, 4.0]])


class WholeWords(bp.Layer):
    """x + 2²⁴ as whole numbers."""

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"words": bp.Buffer(x, "int64"), "dx": x})

    def forward(self, ws: Any, x: Any) -> Any:
        ws.xp.copyto(ws.words, x, casting="unsafe")
        return ws.xp.add(ws.words, ws.be.constant(2**24, np.int64), out=ws.words)

    def backward(self, ws: Any, dy: Any) -> Any:
        return ws.dx


def test_computed_whole_numbers_stay_what_they_are() -> None:
    words = bp.Embedding(2**24 + 4, 1, weight_initializer=bp.Zeros())
    net = bp.Network(bp.Sequential(WholeWords(), words, bp.Flatten()), 1, device="cpu")
    net.parameters["1.W"][-4:, 0] = [5.0, 6.0, 7.0, 8.0]
    assert net.predict([[0], [1], [2], [3]]).ravel().tolist() == [5.0, 6.0, 7.0, 8.0]
    with pytest.raises(bp.DataError, match=f"got {2**24 + 5} from the layers below it, in row 0"):
        net.predict([[5]])
