"""What layers do with time steps and padding: over_time, ws.mask and gradcheck with lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from time_layers import AddSum, MaskedSum, Words

import gpubp as bp
from gpubp.layers.time_steps import mixing

D, N, A, B = bp.Dense(3), bp.LayerNorm(), bp.Tanh(), bp.BatchNorm()


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (D, "each"),
        (N, "each"),
        (A, "each"),
        (bp.Dropout(0.5), "each"),
        (bp.Embedding(4, 2), "each"),
        (B, "mixes"),
        (bp.Flatten(), "mixes"),
        (bp.Conv2D(2, 1), "mixes"),
        (bp.EmbedColumns(bp.Embedding(4, 2)), "mixes"),
        (bp.Sequential(D, A), "each"),
        (bp.Sequential(D, AddSum(), A), "keeps"),
        (bp.Sequential(D, MaskedSum(), B), "ends"),
        (bp.Sequential(B, MaskedSum()), "mixes"),
        (bp.Residual(D), "each"),
        (bp.Residual(AddSum(), D), "keeps"),
        (bp.Residual(bp.Sequential(D, MaskedSum())), "mixes"),
        (bp.Residual(MaskedSum(), MaskedSum()), "ends"),
        (bp.Parallel(D, AddSum()), "keeps"),
        (bp.Parallel(MaskedSum(), MaskedSum()), "ends"),
        (bp.Parallel(D, B), "mixes"),
        (bp.Ensemble(D, D), "each"),
    ],
    ids=str,
)
def test_what_layers_do_with_time_steps(layer: bp.Layer, kind: str) -> None:
    assert layer.over_time == kind


def test_the_layer_that_mixes_steps_is_found() -> None:
    assert mixing(bp.Sequential(D, MaskedSum(), B)) is None
    assert mixing(bp.Sequential(D, bp.Residual(bp.Sequential(A, B)))) == ("1.0.1", B)
    two = bp.Parallel(D, MaskedSum())
    assert mixing(bp.Sequential(D, two)) == ("1", two)


@pytest.mark.parametrize(
    "layer",
    [
        MaskedSum(),
        AddSum(),
        bp.Sequential(D, A, AddSum(), N, D),
        bp.Sequential(D, AddSum(), MaskedSum(), B, D),
        bp.Residual(bp.Sequential(N, AddSum(), bp.Dense(4))),
        bp.Dropout(0.3),
    ],
    ids=str,
)
def test_gradients_are_right_with_lengths(layer: bp.Layer) -> None:
    for lengths in ([5, 1, 3, 4], [5, 5, 5, 5], [0, 2, 0, 5]):
        assert max(bp.gradcheck(layer, (4, 5, 4), lengths=lengths).errors.values()) < 1e-7
    assert bp.gradcheck(layer, (4, 5, 4))


class ForgetsMask(MaskedSum):
    """Sums padding too."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.sum(x, axis=1, out=ws.y)


class ForgetsMaskBackward(MaskedSum):
    def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
        ws.xp.copyto(ws.dx, dy.reshape(dy.shape[0], 1, dy.shape[1]))
        return ws.dx


class InfinitePadding(AddSum):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        y = super().forward(ws, x)
        with np.errstate(divide="ignore"):
            ws.xp.divide(y, ws.mask.reshape(*x.shape[:2], 1), out=y)
        return y


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (ForgetsMask(), r"ForgetsMask\(\): backward is not the derivative|y depends on what x holds at padding"),
        (ForgetsMaskBackward(), r"ForgetsMaskBackward\(\): backward gives a dx that is not 0 at padding"),
        (InfinitePadding(), r"InfinitePadding\(\): forward gives outputs at padding that are not finite"),
    ],
    ids=str,
)
def test_layers_that_forget_the_mask_are_refused(layer: bp.Layer, words: str) -> None:
    bp.gradcheck(layer, (4, 5, 4), lengths=[5] * 4)
    with np.errstate(invalid="ignore"), pytest.raises(bp.GradientMismatch, match=words):
        bp.gradcheck(layer, (4, 5, 4), lengths=[5, 1, 3, 4])


def test_lengths_that_cannot_be_are_named() -> None:
    with pytest.raises(bp.ShapeError, match=r'BatchNorm\(\) at "1" mixes time steps as if none were padding'):
        bp.gradcheck(bp.Sequential(D, B), (4, 5, 4), lengths=[5, 1, 3, 4])
    for lengths in ([5, 1, 3], [5.0, 1, 3, 4], 5):
        with pytest.raises(ValueError, match="a whole number for each row"):
            bp.gradcheck(D, (4, 5, 4), lengths=lengths)  # type: ignore[arg-type]
    for lengths in ([5, 6, 3, 1], [5, -1, 3, 1]):
        with pytest.raises(ValueError, match="needs lengths from 0 to 5"):
            bp.gradcheck(D, (4, 5, 4), lengths=lengths)
    with pytest.raises(TypeError, match="takes lengths for a layer"):
        bp.gradcheck(bp.MeanSquaredError(), lengths=[1])

    class Shorter(MaskedSum):
        over_time = "keeps"

    with pytest.raises(bp.ShapeError, match=r"must keep the time steps, as over_time = 'keeps' says"):
        bp.gradcheck(Shorter(), (4, 5, 4), lengths=[5, 1, 3, 4])


def test_masks_end_with_time() -> None:
    """Every layer up to the one that ends time has the mask of the step, and those behind it have none."""
    from gpubp.backends import get_backend
    from gpubp.layers import Context, Values, bind

    be = get_backend("cpu")
    layers = bp.Sequential(bp.Residual(bp.Sequential(bp.Tanh(), AddSum())), MaskedSum(), bp.Sequential(bp.Tanh()))
    mask = np.ones((4, 5))
    ws = bind(layers, layers.plan((4, 5, 3)), Context(be, 4, "float64", mask=mask), Values({}, {}))
    masked = {inner.path for inner in ws.walk() if inner.mask is mask}
    assert masked == {"", "0", "0.0", "0.0.0", "0.0.1", "1"}
    assert all(inner.mask is None for inner in ws.walk() if inner.path not in masked)


def test_a_layer_gives_its_children_a_mask_of_its_own() -> None:
    """Rows padded by the word 0 give what they give without padding, in training too, recorded or not."""
    net = bp.Network(bp.Sequential(Words(MaskedSum()), bp.Dense(1)), 6, device="cpu", dtype="float64")
    ids = np.array([[1, 2, 0, 0, 0, 0], [3, 4, 5, 1, 2, 3], [5, 0, 0, 0, 0, 0]])
    table = net.parameters["0.0.0.W"]
    table[0] = 1e6  # nobody may read the vector of padding
    sums = np.stack([table[row[row > 0]].sum(axis=0) for row in ids])
    np.testing.assert_allclose(net.predict(ids), sums @ net.parameters["1.W"], rtol=1e-12)
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1), batch_size=2)
    trainer.fit(ids, [1.0, 2.0, 3.0], epochs=4, verbose=False)
    assert (table[0] == 1e6).all()


def test_masks_of_children_of_another_length_are_named() -> None:
    class Wrong(Words):
        def masks_of_children(self, ws: bp.Workspace) -> Any:
            return ws.mu

    with pytest.raises(bp.ShapeError, match=r"Wrong\(.*\) has 1 inner layers, and its masks_of_children returned"):
        bp.Network(Wrong(MaskedSum()), 6, device="cpu").predict([[1] * 6])
