"""Sequences: rows of different lengths, their batches, and what is wrong with them in the user's words."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from time_layers import MaskedSum

import gpubp as bp
from gpubp.data.sequences import batches_of
from gpubp.layers.time_steps import bucket

ROWS = [np.arange(6.0).reshape(2, 3), np.ones((4, 3)), np.zeros((1, 3))]


def test_a_list_and_a_padded_array_are_the_same_rows() -> None:
    padded = np.full((3, 7, 3), np.nan)
    for place, row in zip(padded, ROWS, strict=True):
        place[: len(row)] = row
    for X in (bp.Sequences(ROWS), bp.Sequences(padded, [2, 4, 1]), bp.Sequences(bp.Sequences(padded, [2.0, 4.0, 1.0]))):
        assert X.lengths.tolist() == [2, 4, 1] and X.shape == (3, None, 3)
        assert all(np.array_equal(a, b) for a, b in zip(X, ROWS, strict=True))
    cut = bp.Sequences(ROWS, lengths=[1, 4, 1])
    assert [len(row) for row in cut] == [1, 4, 1]
    objects = np.empty(3, object)
    objects[:] = ROWS
    assert np.array_equal(bp.Sequences(objects).flat, bp.Sequences(ROWS).flat)


def test_rows_are_taken_and_padded() -> None:
    X = bp.Sequences(ROWS)
    for some in (slice(1, None), [1, 2], np.array([False, True, True])):
        assert [len(row) for row in X[some]] == [4, 1]
    assert np.array_equal(X[-1], ROWS[2]) and np.array_equal(
        X[[2, 0, 2]].flat, np.concatenate([ROWS[k] for k in (2, 0, 2)])
    )
    taken = X.take([1, 0], out=np.full((2, 5, 3), np.nan))
    assert taken[0, 4].tolist() == [0, 0, 0] and np.array_equal(taken[1, :2], ROWS[0]) and not taken[1, 2:].any()
    again = pickle.loads(pickle.dumps(X))
    assert np.array_equal(again.flat, X.flat) and again.buckets.tolist() == [8, 8, 8]


def test_a_bucket_goes_by_the_length_alone() -> None:
    sizes = [bucket(n) for n in range(1, 2000)]
    assert all(T >= n for n, T in enumerate(sizes, 1)) and sizes == sorted(sizes)
    assert {T // (T & -T) for T in sizes} == {1, 3}  # 2ᵏ and 3·2ᵏ
    assert max(T / n for n, T in enumerate(sizes, 1) if n >= 8) <= 1.5


@pytest.mark.parametrize("rows", [1, 3, 7, 40])
def test_every_row_is_in_one_batch_of_its_bucket_or_a_larger_one(rows: int, rng: np.random.Generator) -> None:
    buckets = bp.Sequences([np.ones(n) for n in rng.integers(1, 60, 53)]).buckets
    order, times = batches_of(rng.permutation(53), buckets, rows)
    batches = order.reshape(-1, rows)
    assert len(batches) == len(times) == -(-53 // rows)
    assert sorted(order[order >= 0].tolist()) == list(range(53))
    assert (batches[:-1] >= 0).all()  # only the last may be short
    for batch, T in zip(batches, times, strict=True):
        of = buckets[batch[batch >= 0]]
        assert of.max() == T
    assert sum((buckets[b[b >= 0]] < T).any() for b, T in zip(batches, times, strict=True)) <= len(set(buckets))


@pytest.mark.parametrize(
    ("X", "lengths", "words"),
    [
        ([np.ones((2, 3)), np.ones((2, 4))], None, r"row 1 of X has steps of shape \(4,\), and row 0 of shape \(3,\)"),
        ([np.ones((2, 3)), np.ones(3)], None, r"row 1 of X has steps of shape \(\), and row 0 of shape \(3,\)"),
        ([np.ones((2, 3)), np.ones((0, 3))], None, "row 1 of X has no time steps; leave such rows out"),
        ([[1, 2], []], None, "row 1 of X has no time steps"),
        ([], None, "X has no rows"),
        ([3, 4], None, "row 0 of X is the single number 3; a row is an array of time steps"),
        ([[1, 2], ["a"]], None, "row 1 of X holds 'a' in row 0"),
        ([[1, None]], None, "row 0 of X holds None in row 1|row 0 of X .*None"),
        ([[[1, 2], [3]]], None, "row 0 of X has rows of different lengths"),
        ("text", None, "X is 'text'; sequences are a list of arrays, one a row, or a padded array with lengths"),
        (np.ones(4), None, r"X has the shape \(4,\); padded rows are an array \(rows, time steps, ...\)"),
        (np.ones((2, 3, 1)), [1, 4], "lengths has 4 for row 1, and X has 3 time steps there"),
        (ROWS, [2, 5, 1], "lengths has 5 for row 1, and X has 4 time steps there"),
        (np.ones((2, 3, 1)), [1, 0], "row 1 of X has no time steps"),
        (np.ones((2, 3, 1)), [1, -2], "row 1 of X has the length -2"),
        (np.ones((2, 3, 1)), [1], r"lengths has the shape \(1,\), and X has 2 rows"),
        (np.ones((2, 3, 1)), [1, 1.5], "lengths holds float64, and it needs whole numbers"),
        (np.ones((2, 3, 1)), [1, np.nan], "lengths holds float64, and it needs whole numbers"),
        (np.ones((2, 3, 1)), [1, "a"], "lengths holds 'a'"),
        (np.array([["a", "b"]]), None, "X holds 'a'"),
        (np.ones((0, 3, 1)), None, "X has no rows"),
    ],
)
def test_what_can_be_no_sequences_is_named(X: Any, lengths: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        bp.Sequences(X, lengths)


NET = bp.Network(bp.Sequential(bp.Dense(2), MaskedSum()), (None, 3), device="cpu")
STEPS = bp.Network(bp.Dense(2), (None, 3), device="cpu")
WORDS = bp.Network(bp.Sequential(bp.Embedding(5, 2), MaskedSum()), (None,), device="cpu")


@pytest.mark.parametrize(
    ("net", "X", "words"),
    [
        (NET, [np.ones((2, 4))], r"X has time steps of shape \(4,\), and the network takes rows of 3 numbers in each"),
        (NET, [[1, 2]], r"X has time steps of shape \(\), and the network takes rows of 3 numbers"),
        (WORDS, ROWS, r"X has time steps of shape \(3,\), and the network takes one number, such as that of a word"),
        (NET, [ROWS[1], np.array([[1, 2, 3], [1, np.nan, 3]])], "X holds nan in row 1, time step 1; drop such rows"),
        (NET, [ROWS[1], np.array([[1, 2, 1e300]])], "X holds 1e.300 in row 1, time step 0; more than float32 can hold"),
        (WORDS, [[1, 2], [3, 1, 7]], r'X holds 7, and Embedding\(5, 2\) at "0" knows .* it stands in row 1'),
        (WORDS, [[1, 2], [3, 1.5]], r"X holds fractions, .* 1.5 stands in row 1"),
    ],
)
def test_rows_that_a_network_cannot_take_are_named(net: bp.Network, X: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        net.predict(X)


@pytest.mark.parametrize(
    ("net", "X"), [(NET, np.ones((4, 3))), (WORDS, np.array([1, 2])), (WORDS, [1, 2])], ids=["numbers", "words", "list"]
)
def test_a_single_row_is_told_how_to_be_one(net: bp.Network, X: Any) -> None:
    with pytest.raises(bp.DataError, match=r"for a single row write \[X\]"):
        net.predict(X)
    assert net.predict([X]).shape == (1, 2)


def test_no_rows_are_named() -> None:
    none = bp.Sequences(ROWS)[:0]
    trainer = bp.Trainer(NET, bp.MeanSquaredError(), bp.SGD())
    for call in (
        lambda: NET.predict(none),
        lambda: trainer.fit(none, []),
        lambda: trainer.evaluate(none, []),
        lambda: trainer.step(none, []),
        lambda: NET.loss_and_gradients(bp.MeanSquaredError(), none, []),
        lambda: bp.find_learning_rate(trainer, none, []),
    ):
        with pytest.raises(bp.DataError, match="X has no rows"):
            call()
    with pytest.raises(bp.DataError, match="in validation_data, X has no rows"):
        trainer.fit(ROWS, np.ones((3, 2)), validation_data=(none, []), verbose=False)


def test_sequences_for_a_network_of_one_length_are_named() -> None:
    net = bp.Network(bp.Sequential(bp.Flatten(), bp.Dense(1)), (4, 3), device="cpu")
    with pytest.raises(bp.DataError, match=r"rows of different lengths, .* rows of shape \(4, 3\); .*\(None, 3\)"):
        net.predict(bp.Sequences(ROWS))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 1, 0], "outputs for every time step, and y has one target a row; .* end time by a layer"),
        ([[0, 1], [0, 1, 0, 1]], "X has 3 rows and y 2; each row of X needs its targets"),
        ([[0, 1], [0, 1, 0], [1]], "row 1 of X has 4 time steps, and row 1 of y 3; each step needs a target"),
        (np.zeros((3, 3), int), "lengths has 4 for row 1, and y has 3 time steps there"),
        ([[0, 1], [0, 1, 0, 9], [1]], "y holds the class 9, and the network has 2 outputs"),
        ([[0, 1], [0, 1, 0, "x"], [1]], "row 1 of y holds 'x'"),
        ([[0, 1], [0, 1, np.nan, 1], [1]], "y holds nan in row 1, time step 2"),
    ],
)
def test_targets_of_single_steps_that_do_not_fit_are_named(y: Any, words: str) -> None:
    trainer = bp.Trainer(STEPS, bp.SoftmaxCrossEntropy(), bp.SGD())
    with pytest.raises(bp.DataError, match=words):
        trainer.fit(ROWS, y, verbose=False)


def test_what_training_cannot_take_is_named() -> None:
    steps = [[0, 1], [0, 1, 0, 1], [1]]
    trainer = bp.Trainer(STEPS, bp.SoftmaxCrossEntropy(), bp.SGD())
    with pytest.raises(bp.DataError, match="class_weight needs one class index a row in y, and here every time step"):
        trainer.fit(ROWS, steps, class_weight="balanced", verbose=False)
    with pytest.raises(bp.DataError, match="in validation_data, X has time steps of shape"):
        trainer.fit(ROWS, steps, validation_data=([np.ones((2, 4))], [[0, 1]]), verbose=False)

    class OwnLoss(bp.Loss):
        predicts = "numbers"

        def targets(self, y: Any, z: Any) -> Any:
            return y

        def plan(self, z: Any, t: Any) -> bp.Plan:
            return bp.Plan(output=z[:1], arrays={"rows": z[:1], "dz": z})

        def forward(self, ws: Any, z: Any, t: Any) -> Any:
            return ws.rows

        def backward(self, ws: Any, z: Any, t: Any) -> Any:
            return ws.dz

    class OwnForward(bp.MeanSquaredError):
        """One of gpubp's with a forward of its own."""

        def forward(self, ws: Any, z: Any, t: Any) -> Any:
            return ws.xp.sum(super().forward(ws, z, t), axis=1, out=ws.rows)

    class OwnMetric(bp.MeanAbsolute):
        def rows(self, ws: Any, z: Any, t: Any, predicts: str) -> Any:
            return super().rows(ws, z, t, predicts)

    class Knows(OwnMetric):
        by_mask = True

    numbers = [np.ones((len(row), 2)) for row in ROWS]
    for loss in (OwnLoss(), OwnForward()):
        with pytest.raises(bp.ShapeError, match=r"Own[a-zA-Z]+\(\) does not say that it knows of lengths"):
            bp.Trainer(STEPS, loss, bp.SGD()).fit(ROWS, numbers, verbose=False)
    with pytest.raises(bp.ShapeError, match=r"OwnMetric\(\) does not say that it knows of lengths"):
        bp.Trainer(STEPS, bp.MeanSquaredError(), bp.SGD(), metrics=[OwnMetric()]).fit(ROWS, numbers, verbose=False)
    bp.Trainer(STEPS, bp.MeanSquaredError(), bp.SGD(), metrics=[Knows()]).fit(ROWS, numbers, verbose=False)


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        (bp.Sequential(bp.Dense(2), bp.BatchNorm()), (None, 3), r'BatchNorm\(\) at "1" mixes time steps as if none'),
        (bp.Flatten(), (None, 3), r"Flatten\(\) mixes time steps as if none were padding"),
        (bp.Sequential(bp.Residual(bp.Sequential(bp.Reshape((24,)))), bp.Dense(1)), (None, 3), r'Reshape.* at "0.0.0"'),
        (bp.Dense(2), (None,), r"Dense\(2\) has parameters 'W' of another shape for other lengths, \(8, 2\) and \(12"),
        (
            bp.Sequential(bp.Tanh(), bp.LayerNorm()),
            (None,),
            r"LayerNorm\(\) at \"1\" has parameters 'gamma' of another",
        ),
        (bp.Parallel(bp.Tanh(), bp.ReLU()), (None,), r"Parallel.* gives rows of shape \(16,\) for 8 time steps"),
    ],
)
def test_networks_that_cannot_know_lengths_are_refused(layers: bp.Layer, shape: Any, words: str) -> None:
    with pytest.raises(bp.ShapeError, match=words):
        bp.Network(layers, shape, device="cpu")


@pytest.mark.parametrize("shape", [(None, 0), (None, 2.5), (None, "a"), None])
def test_shapes_that_are_none_are_refused(shape: Any) -> None:
    with pytest.raises(ValueError, match="Network needs input_shape"):
        bp.Network(bp.Dense(2), shape, device="cpu")


@pytest.mark.parametrize("shape", [(3, None), (None, None), [None, 3, None]])
def test_none_goes_first_in_a_shape(shape: Any) -> None:
    with pytest.raises(ValueError, match=r"needs None first in input_shape and nowhere else, as in \(None, 3\)"):
        bp.Network(bp.Dense(2), shape, device="cpu")
