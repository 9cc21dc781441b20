"""Own losses, metrics and initializers: what they may return, and what is named as a mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device_training import device

import gpubp as bp

X, Y = np.arange(18.0).reshape(6, 3) / 9.0, np.arange(12.0).reshape(6, 2) / 9.0


class Hits(bp.Metric):
    """Whether the first output is above the first target."""

    name, kinds = "hits", ("numbers",)

    def plan(self, z: Any, t: Any, predicts: str) -> bp.Plan:
        return bp.Plan(output=z[:1], arrays={"hit": bp.Buffer(z[:1], "bool"), "one": z[:1]})

    def rows(self, ws: bp.Workspace, z: Any, t: Any, predicts: str) -> Any:
        return ws.xp.greater(z[:, 0], t[:, 0], out=ws.hit)


class HitsAsNumbers(Hits):
    name = "numbers"

    def rows(self, ws: bp.Workspace, z: Any, t: Any, predicts: str) -> Any:
        ws.xp.copyto(ws.one, super().rows(ws, z, t, predicts))
        return ws.one


class Counted(bp.HalfMeanSquaredError):
    """Rows count as `counts` says."""

    has_counts = True

    def counts(self, ws: bp.Workspace, t: Any) -> Any:
        return None


class CountedHits(Hits):
    name = "counted"

    def counts(self, ws: bp.Workspace, z: Any, t: Any, predicts: str) -> Any:
        return ws.hit


@pytest.mark.parametrize("loss", [bp.MeanSquaredError(), Counted()], ids=repr)
def test_rows_of_a_metric_may_be_yes_or_no(loss: bp.Loss) -> None:
    for backend in ("cpu", device()):
        net = bp.Network(bp.Dense(2), 3, device=backend, seed=1)
        metrics = [Hits(), HitsAsNumbers(), CountedHits()]
        trainer = bp.Trainer(net, loss, bp.SGD(0.01), metrics=metrics, batch_size=4)
        trained = trainer.fit(X, Y, epochs=2, sample_weight=[1, 2, 1, 3, 1, 1], verbose=False)
        assert trained["hits"] == trained["numbers"]
        judged = trainer.evaluate(X, Y, sample_weight=[1, 2, 0, 3, 1, 1])
        expected = np.average(net.predict(X)[:, 0] > Y[:, 0], weights=[1, 2, 0, 3, 1, 1])
        assert judged["hits"] == judged["numbers"] == pytest.approx(expected)
        assert 0 < expected < 1
        if loss.has_counts:
            assert judged["counted"] == pytest.approx(1.0)


WRONG_COUNTS = [
    (lambda t: t, "Own.counts must return .* and returned one of shape"),
    (lambda t: t[:1, 0], r"Own.counts must return .* and returned one of shape \(1,\)"),
    (lambda t: 1.0, "Own.counts must return .* and returned 1.0, a float"),
    (lambda t: t[:, 0].astype("int64"), "Own.counts must return .* and returned int64"),
]


@pytest.mark.parametrize(("counts", "words"), WRONG_COUNTS)
def test_wrong_counts_are_named(counts: Any, words: str) -> None:
    loss = type("Own", (Counted,), {"__module__": __name__, "counts": lambda self, ws, t: counts(t)})()
    own = {"__module__": __name__, "counts": lambda self, ws, z, t, predicts: counts(t)}
    metric = type("Own", (Hits,), own)()
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    for given in ({"loss": loss}, {"loss": Counted(), "metrics": [metric]}):
        with pytest.raises((TypeError, bp.ShapeError), match=words):
            bp.Trainer(net, optimizer=bp.SGD(), **given).fit(X, Y)
    with pytest.raises((TypeError, bp.ShapeError), match=words):
        bp.gradcheck(loss, (4, 2))


class Unsaid(bp.Loss):
    """Half the squared distance, of a class without `predicts`."""

    def targets(self, y: Any, z: Any) -> Any:
        return y

    def plan(self, z: Any, t: Any) -> bp.Plan:
        return bp.Plan(output=z[:1], arrays={"e": z, "squares": z, "rows": z[:1], "dz": z})

    def forward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        ws.xp.subtract(z, t, out=ws.e)
        ws.xp.multiply(ws.e, ws.e, out=ws.squares)
        ws.xp.sum(ws.squares, axis=1, out=ws.rows)
        return ws.xp.multiply(ws.rows, ws.be.constant(0.5, ws.dtype), out=ws.rows)

    def backward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
        return ws.xp.multiply(ws.e, ws.context.share.reshape(-1, 1), out=ws.dz)


def test_a_loss_without_predicts_trains_without_metrics() -> None:
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    trained = bp.Trainer(net, Unsaid(), bp.SGD(0.1)).fit(X, Y, epochs=3, verbose=False)
    assert trained["loss"][-1] < trained["loss"][0]
    with pytest.raises(AttributeError, match='Unsaid does not say what its outputs .* predicts = "numbers"'):
        bp.Trainer(net, Unsaid(), bp.SGD(0.1), metrics=["mae"]).fit(X, Y)
    assert bp.gradcheck(Unsaid(), (4, 2), np.ones((4, 2)))


def drawing(drawn: Any) -> bp.Layer:
    class Own(bp.Initializer):
        def draw(self, rng: Any, shape: Any) -> Any:
            return drawn

    return bp.Dense(2, weight_initializer=Own())


@pytest.mark.parametrize("drawn", [3.0, np.float64(3.0), np.array(3.0), 3], ids=repr)
def test_an_initializer_may_draw_one_number_for_all(drawn: Any) -> None:
    net = bp.Network(drawing(drawn), 3, device="cpu")
    assert np.array_equal(net.parameters["W"], np.full((3, 2), 3.0))


@pytest.mark.parametrize("drawn", [np.full((3, 2), 1e39), 1e39], ids=["each", "one"])
def test_first_values_that_overflow_the_type_of_the_network_are_named(drawn: Any) -> None:
    with pytest.raises(ValueError, match=r"(?s)Own.draw must return finite .* above 3.4e\+38 overflow in float32"):
        bp.Network(drawing(drawn), 3, device="cpu")
    assert bp.Network(drawing(drawn), 3, device="cpu", dtype="float64").parameters["W"].max() == 1e39
