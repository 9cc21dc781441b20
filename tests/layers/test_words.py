"""Numbers that are no words are refused wherever an Embedding stands: those of X before any step, those that layers
compute when the loss or the prediction is read."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_training import device

import gpubp as bp
from gpubp.layers.words import word_counts

CE = bp.SoftmaxCrossEntropy()
WORDS = bp.Embedding(10, 3)
HEAD = (WORDS, bp.Flatten(), bp.Dense(2))
X_LAYERS = {
    "reshape": bp.Sequential(bp.Reshape((2, 1)), *HEAD),
    "flatten": bp.Sequential(bp.Reshape((1, 2)), bp.Flatten(), *HEAD),
    "inner sequential": bp.Sequential(bp.Sequential(bp.Reshape((2, 1))), bp.Sequential(*HEAD)),
    "parallel": bp.Sequential(bp.Parallel(bp.Sequential(*HEAD), bp.Dense(2)), bp.Dense(2)),
    "parallel of views": bp.Sequential(bp.Parallel(bp.Reshape((2, 1)), bp.Reshape((2, 1))), *HEAD),
    "one branch": bp.Sequential(bp.Parallel(bp.Reshape((2, 1)), merge="add"), *HEAD),
    "residual": bp.Sequential(bp.Residual(bp.Sequential(*HEAD)), bp.Dense(2)),
    "columns": bp.Sequential(bp.Reshape((2,)), bp.EmbedColumns(WORDS), bp.Dense(2)),
    "columns in a branch": bp.Sequential(bp.Parallel(bp.EmbedColumns(WORDS), bp.Dense(1)), bp.Dense(2)),
    "dropout": bp.Sequential(bp.Dropout(0.5), *HEAD),
    "images": bp.Sequential(bp.Reshape((1, 2, 1)), bp.RandomFlip(), *HEAD),
}
WRONG = [(15, "15"), (-1, "-1"), (10, "10"), (2.5, "fractions")]


class Same(bp.Layer):
    """A user's own layer that gives its input."""

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"y": x, "dx": x})

    def forward(self, ws: Any, x: Any) -> Any:
        ws.xp.copyto(ws.y, x)
        return ws.y

    def backward(self, ws: Any, dy: Any) -> Any:
        ws.xp.copyto(ws.dx, dy)
        return ws.dx


COMPUTED = {
    "own layer": bp.Sequential(Same(), *HEAD),
    "dense": bp.Sequential(bp.Dense(2), *HEAD),
    "columns": bp.Sequential(bp.Dense(2), bp.EmbedColumns(WORDS), bp.Dense(2)),
    "sum": bp.Sequential(bp.Parallel(Same(), Same(), merge="add"), *HEAD),
}


def computed(name: str, backend: Any = "cpu") -> bp.Network:
    """A network whose Embedding reads X through layers that compute it."""
    net = bp.Network(COMPUTED[name], 2, device=backend)
    with net.backend.active():
        for parameter, a in net.parameters.items():
            if parameter == "0.W":
                net.backend.put(a, np.eye(2))
    return net


def uses(net: bp.Network, X: Any, y: Any, **options: Any) -> dict[str, Callable[[], Any]]:
    """What reads the numbers."""
    trainer = bp.Trainer(net, CE, bp.SGD(0.1), batch_size=2, **options)

    def step() -> float:
        trainer.step(X, y)
        return trainer.loss

    return {
        "predict": lambda: net.predict(X),
        "loss_and_gradients": lambda: net.loss_and_gradients(CE, X, y),
        "fit": lambda: trainer.fit(X, y, epochs=2, verbose=False),
        "evaluate": lambda: trainer.evaluate(X, y),
        "step": step,
    }


@pytest.mark.parametrize("how", ["predict", "loss_and_gradients", "fit", "evaluate", "step"])
@pytest.mark.parametrize("layers", X_LAYERS)
def test_wrong_numbers_of_x_are_refused_before_any_step(layers: str, how: str) -> None:
    for backend in ("cpu", device()):
        net = bp.Network(X_LAYERS[layers], 2, device=backend)
        before = net.backend.to_host(net.flat).copy()
        for wrong, what in WRONG:
            X = np.array([[1, 2], [3, 4], [5, wrong], [0, 1]], "float32")
            with pytest.raises(
                bp.DataError, match=f"X holds {what}, and Embedding\\(10, 3\\).* from 0 to 9.*; .* in row 2"
            ):
                uses(net, X, [0, 1, 0, 1])[how]()
        np.testing.assert_array_equal(net.backend.to_host(net.flat), before)


@pytest.mark.parametrize("how", ["predict", "loss_and_gradients", "fit", "evaluate", "step"])
@pytest.mark.parametrize("layers", COMPUTED)
@pytest.mark.parametrize("on", ["cpu", "cuda"])
def test_computed_numbers_that_are_no_words_are_refused(layers: str, how: str, on: str) -> None:
    net = computed(layers, "cpu" if on == "cpu" else device())
    X, y = np.array([[1, 2], [3, 4], [1, 15], [0, 1], [2, 3]], "float32"), [0, 1, 0, 1, 0]
    what = "30" if layers == "sum" else "15"
    with pytest.raises(bp.DataError, match=f"Embedding.* got {what} from the layers below it, in row 2 of .* 0 to 9"):
        uses(net, X, y)[how]()
    good = np.ones((5, 2), "float32")
    for use in uses(net, good, y).values():
        use()  # network and trainer go on


@pytest.mark.parametrize("wrong", [-1.0, 10.0, 2.5, float("nan"), float("inf"), -1e30])
@pytest.mark.parametrize("on", ["cpu", "cuda"])
def test_every_kind_of_wrong_number_is_counted_and_adds_no_gradient(on: str, wrong: float) -> None:
    """By hand: with one wrong of four numbers, the gradient is that of the other three, and word 0 is read."""
    net = computed("own layer", "cpu" if on == "cpu" else device())
    be = net.backend
    ws = net.workspace(rows=2, training=True, gradients=net._parameters.like(be))
    (count,) = word_counts(ws)
    with be.active():
        x = be.to_device(np.array([[1, 2], [wrong, 4]]), "float32")
        y = net.layers.layers[1].forward(ws.children[1], net.layers.layers[0].forward(ws.children[0], x))
        W = be.to_host(net.parameters["1.W"])
        np.testing.assert_array_equal(be.to_host(y), W[[[1, 2], [0, 4]]])
        dy = np.arange(12, dtype="float32").reshape(2, 2, 3) + 1
        net.layers.layers[1].backward(ws.children[1], be.to_device(dy))
        want = np.zeros_like(W)
        want[1], want[2], want[4] = dy[0, 0], dy[0, 1], dy[1, 1]
        np.testing.assert_array_equal(be.to_host(ws.children[1].dW), want)
        found = count.take()
    assert found is not None and found.row == 1
    np.testing.assert_equal(found.value, np.float32(wrong).item())
    assert count.take() is None, "it counts from 0 again"


def test_a_fit_names_the_row_of_x_and_how_many_steps_ago_it_was(rng: np.random.Generator) -> None:
    X, y = rng.integers(0, 10, (11, 2)).astype("float32"), rng.integers(0, 2, 11)
    X[7, 1] = 12
    order = np.array([3, 1, 8, 7, 0, 2, 4, 5, 6, 9, 10])
    for backend, ago in (("cpu", ""), (device(), ", 4 steps ago")):
        trainer = bp.Trainer(computed("dense", backend), CE, bp.SGD(0.0), batch_size=2)
        words = f"got 12 .* in row 7 of the training data \\(row 1 of the batch of step 2{ago}\\)"
        with pytest.raises(bp.DataError, match=words):
            trainer.fit(X, y, shuffle=lambda epoch, n: order, verbose=False)


def test_validation_data_are_named(rng: np.random.Generator) -> None:
    X, y = rng.integers(0, 10, (8, 2)).astype("float32"), rng.integers(0, 2, 8)
    wrong = X.copy()
    wrong[5, 1] = 13
    trainer = bp.Trainer(computed("dense"), CE, bp.SGD(0.0), batch_size=4)
    with pytest.raises(bp.DataError, match="in the validation data, Embedding.* got 13 .* in row 5 of"):
        trainer.fit(X, y, validation_data=(wrong, y), verbose=False)


def test_a_batch_of_another_size_does_not_hide_them() -> None:
    """On a GPU nobody has read the loss of the first batch."""
    trainer = bp.Trainer(computed("own layer", device()), CE, bp.SGD(0.1))
    trainer.step(np.array([[1, 15]], "float32"), [0])
    with pytest.raises(bp.DataError, match="got 15 .* in row 0 of the batch of step 1"):
        trainer.step(np.ones((2, 2), "float32"), [0, 1])


FORGETS: dict[str, Callable[[bp.Trainer, Path], Any]] = {
    "save": lambda t, path: t.save(path / "a.safetensors"),
    "copy": lambda t, path: copy.copy(t),
    "deepcopy": lambda t, path: copy.deepcopy(t),
    "pickle": lambda t, path: pickle.dumps(t),
    "renew": lambda t, path: t.renew(),
    "freeze": lambda t, path: (t.network.freeze("3.*"), t.step(np.ones((2, 2), "float32"), [0, 1])),
    "fit": lambda t, path: t.fit(np.ones((9, 2), "float32"), [0] * 9, verbose=False),
}


@pytest.mark.parametrize("before", ["step", "fit"])
@pytest.mark.parametrize("forgets", FORGETS)
def test_what_forgets_or_saves_steps_looks_for_them_before(before: str, forgets: str, tmp_path: Path) -> None:
    """On a GPU nobody has read the loss."""
    t = bp.Trainer(computed("own layer", device()), CE, bp.SGD(0.1), batch_size=2)
    wrong = np.array([[1, 15], [2, 2]], "float32")
    if before == "step":
        t.step(wrong, [0, 1])
    else:

        class Stop(bp.Callback):
            def on_step_end(self, trainer: bp.Trainer) -> None:
                raise KeyboardInterrupt

        t.fit(np.concatenate([wrong, wrong]), [0, 1] * 2, shuffle=False, verbose=False, callbacks=[Stop()])
    with pytest.raises(bp.DataError, match="got 15 .* in row 0 of the batch of step 1"):
        FORGETS[forgets](t, tmp_path)
    assert t.step_count == 1 and not list(tmp_path.iterdir())
    FORGETS[forgets](t, tmp_path)


def test_with_several_workers_the_first_row_is_named(rng: np.random.Generator) -> None:
    X, y = rng.integers(0, 10, (8, 2)).astype("float32"), rng.integers(0, 2, 8)
    X[5, 0], X[6, 0] = 11, 12
    trainer = bp.Trainer(computed("dense"), CE, bp.SGD(0.0), batch_size=8, workers=4)
    with pytest.raises(bp.DataError, match="got 11 .* in row 5 of the training data"):
        trainer.fit(X, y, shuffle=False, verbose=False)


@pytest.mark.parametrize("choice", ["raise", "skip", "rollback"])
def test_the_check_for_finite_numbers_does_not_hide_them(choice: str) -> None:
    X, y = np.array([[1, 2], [3, 15]], "float32"), [0, 1]
    for how in ("fit", "step"):
        with pytest.raises(bp.DataError, match="got 15"):
            uses(computed("own layer"), X, y, on_nonfinite=choice)[how]()


def test_padding_counts_for_nothing() -> None:
    """A batch of one row is padded to four by that row, which is right; of weight 0 it counts for nothing either."""
    net = computed("own layer")
    trainer = bp.Trainer(net, CE, bp.SGD(0.0), batch_size=4)
    trainer.fit(np.array([[1, 2]] * 5, "float32"), [0] * 5, verbose=False)
    X = np.array([[1, 2], [1, 15]], "float32")
    net.loss_and_gradients(CE, X, [0, 1], sample_weight=[1.0, 0.0])


def test_a_compiled_step_counts_too(compiled_at_once: None) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    net = computed("own layer")
    trainer = bp.Trainer(net, CE, bp.SGD(0.1), batch_size=2)
    X, y = np.ones((40, 2), "float32"), np.zeros(40, int)
    trainer.fit(X, y, epochs=3, verbose=False)
    X[31, 1] = -3
    with pytest.raises(bp.DataError, match="got -3 .* in row 31 of the training data"):
        trainer.fit(X, y, verbose=False)


def test_tiles_of_a_prediction_name_the_row_of_x() -> None:
    X = np.ones((2000, 2), "float32")
    X[1234, 0] = 77
    for backend in ("cpu", device()):
        net = computed("own layer", backend)
        for _ in range(2):
            with pytest.raises(bp.DataError, match="got 77 .* in row 1234 of X"):
                net.predict(X)
            assert net.predict(X[:1000]).shape == (1000, 2)


def test_a_checkpoint_is_not_written_of_wrong_words(tmp_path: Path) -> None:
    net = computed("own layer", device())
    trainer = bp.Trainer(net, CE, bp.SGD(0.1), batch_size=1)
    with pytest.raises(bp.DataError, match="got 15"):
        trainer.fit(
            np.array([[1, 15], [1, 2], [1, 2]], "float32"), [0, 1, 0], shuffle=False, verbose=False,
            callbacks=[bp.Checkpoint(tmp_path, every_steps=2)],
        )  # fmt: skip
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["step-000000000.safetensors"], "before any step"


def test_plain_networks_count_nothing() -> None:
    for layers in (bp.Sequential(*HEAD), X_LAYERS["reshape"], X_LAYERS["columns"], bp.Sequential(bp.Dense(2))):
        net = bp.Network(layers, 2, device="cpu")
        assert word_counts(net.workspace(rows=4, training=True)) == []
    assert bp.Network(bp.Dense(2), 2, device="cpu").input_check is None


def test_sparse_rows_are_checked_and_named() -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    X = np.zeros((5, 4), "float32")
    X[1, 2], X[4, 0] = 3, 9
    net = bp.Network(bp.Sequential(WORDS, bp.Flatten(), bp.Dense(2)), 4, device="cpu")
    np.testing.assert_array_equal(net.predict(sparse.csr_array(X)), net.predict(X))
    bp.Trainer(net, CE, bp.SGD()).fit(sparse.csr_array(X), [0, 1, 0, 1, 0], verbose=False)
    X[4, 0] = 10
    for matrix in (sparse.csr_array(X), sparse.csc_matrix(X), sparse.coo_array(X)):
        with pytest.raises(bp.DataError, match="X holds 10, .* in row 4"):
            net.predict(matrix)


def test_memory_maps_and_row_groups_are_checked_and_named(tmp_path: Path) -> None:
    X = np.ones((9, 2), "float32")
    X[7, 1] = 10
    np.save(tmp_path / "X.npy", X)
    groups = bp.data.row_groups.RowGroups([4, 5], lambda k: X[4 * k : 4 + 5 * k], row=(2,))
    net = bp.Network(X_LAYERS["reshape"], 2, device="cpu")
    for given in (np.load(tmp_path / "X.npy", mmap_mode="r"), groups):
        with pytest.raises(bp.DataError, match="X holds 10, .* in row 7"):
            net.predict(given)


def test_arrays_of_the_device_are_checked() -> None:
    net = bp.Network(X_LAYERS["reshape"], 2, device=device())
    with net.backend.active():
        X = net.backend.to_device([[1, 2], [3, 10]], "float32")
    with pytest.raises(bp.DataError, match="X holds 10, .* in row 1"):
        net.predict(X)


def test_an_own_layers_check_is_called_where_it_reads_x() -> None:
    class Positive(Same):
        def check_data(self, X: Any, name: str = "X") -> None:
            if X.min() < 0:
                raise bp.DataError(f"{name} must be positive")

    net = bp.Network(bp.Sequential(bp.Reshape((2, 1)), Positive(), bp.Flatten(), bp.Dense(1)), 2, device="cpu")
    with pytest.raises(bp.DataError, match="X must be positive"):
        net.predict([[1.0, -1.0]])
    above = bp.Network(bp.Sequential(bp.Dense(2), Positive(), bp.Dense(1)), 2, device="cpu")
    above.predict([[1.0, -1.0]])


class Towers(Same):
    """A user's own composition: the first column goes through an Embedding, which nobody else knows of."""

    children = (WORDS,)

    def plan(self, x: Any) -> bp.Plan:
        inner = WORDS.plan((x[0], 1))
        return bp.Plan(output=inner.output, children=[inner], arrays={"x0": (x[0], 1)})

    def forward(self, ws: Any, x: Any) -> Any:
        ws.xp.copyto(ws.x0, x[:, :1])
        return WORDS.forward(ws.children[0], ws.x0)

    def backward(self, ws: Any, dy: Any) -> Any:
        return WORDS.backward(ws.children[0], dy)


def test_an_own_composition_is_checked_within_the_step() -> None:
    for backend in ("cpu", device()):
        net = bp.Network(bp.Sequential(Towers(), bp.Flatten(), bp.Dense(2)), 2, device=backend)
        X = np.array([[1, 50], [11, 2]], "float32")
        net.predict(X[:1])
        for use in uses(net, X, [0, 1]).values():
            with pytest.raises(bp.DataError, match='Embedding\\(10, 3\\) at "0.0" got 11 .* in row 1 of'):
                use()


def test_words_beyond_what_the_type_of_numbers_holds_are_refused() -> None:
    """float32 holds 2²⁴ + 1 as 2²⁴, which is another word."""
    layers = bp.Sequential(bp.Embedding(2**24 + 8, 1, weight_initializer=bp.Zeros()), bp.Flatten())
    net = bp.Network(layers, 1, device="cpu")
    net.predict([[2**24 - 1]])
    with pytest.raises(bp.DataError, match='float32 holds whole numbers exactly below 16777216 .* dtype="float64"'):
        net.predict([[2**24 + 1]])
