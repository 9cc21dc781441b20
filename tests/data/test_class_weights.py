"""Class weights: what they may be, how they weigh, and that they weigh rows to train on alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.data.class_weights import check_class_weight, weights_by_class
from gpubp.data.feed import Feed

CLASSES = np.array([0, 1])


@pytest.mark.parametrize(
    ("class_weight", "words"),
    [
        ([1.0, 2.0], r'class_weight is class -> weight, as .*, or "balanced"; got \[1.0, 2.0\]'),
        (True, "class_weight is class -> weight, .* got True"),
        (2.0, "class_weight is class -> weight, .* got 2.0"),
        (np.array([1.0, 2.0]), "class_weight is class -> weight, .* got array"),
        ("even", "class_weight is class -> weight, .* got 'even'"),
        ({"1": 2.0}, "class_weight names classes that y does not hold: '1'; y holds 0, 1"),
        ({7: 2.0, 0: 1.0, 5: 1.0}, "class_weight names classes that y does not hold: 5, 7; y holds 0, 1"),
        ({0.5: 2.0}, "class_weight names classes that y does not hold: 0.5"),
        ({None: 2.0}, "class_weight names classes that y does not hold: None"),
        ({np.int64(7): 2.0}, "class_weight names classes that y does not hold: 7"),
        ({0: None}, "class_weight gives class 0 the weight None; weights are 0 or more, and finite"),
        ({0: -1}, "class_weight gives class 0 the weight -1; weights are 0 or more"),
        ({np.int64(0): -1.5}, "class_weight gives class 0 the weight -1.5"),
        ({1: float("nan")}, "class_weight gives class 1 the weight nan"),
        ({1: np.inf}, "class_weight gives class 1 the weight inf"),
        ({1: "2"}, "class_weight gives class 1 the weight '2'"),
        ({1: True}, "class_weight gives class 1 the weight True"),
        ({1: [2.0]}, r"class_weight gives class 1 the weight \[2.0\]"),
    ],
)
def test_invalid_class_weights(class_weight: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        check_class_weight(class_weight, CLASSES)
    trainer = bp.Trainer(bp.Network(bp.Dense(2), 3, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD())
    with pytest.raises(bp.DataError, match=words):
        trainer.fit(np.eye(3), [0, 1, 1], class_weight=class_weight)
    assert trainer.step_count == 0


def test_weights_that_leave_nothing() -> None:
    trainer = bp.Trainer(bp.Network(bp.Dense(2), 3, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD())
    for options in ({"class_weight": {0: 0.0, 1: 0.0}}, {"class_weight": {1: 0.0}, "sample_weight": [0.0, 1.0, 1.0]}):
        with pytest.raises(bp.DataError, match="class_weight: the class weights leave every row without weight"):
            trainer.fit(np.eye(3), [0, 1, 1], **options)


def test_class_weights_need_classes() -> None:
    trainer = bp.Trainer(bp.Network(bp.Dense(2), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD())
    with pytest.raises(bp.DataError, match="class_weight needs one class index a row in y"):
        trainer.fit(np.eye(3), np.zeros((3, 2)), class_weight="balanced")


def yes_or_no(y: Any, **options: Any) -> tuple[bytes, list[float]]:
    """The weights and losses of a training for a single output."""
    net = bp.Network(bp.Dense(1), 3, device="cpu")
    trainer = bp.Trainer(net, bp.BinaryCrossEntropy(), bp.SGD(0.1), metrics="accuracy", batch_size=4)
    history = trainer.fit(ROWS, y, epochs=2, **options)
    return net.flat.tobytes(), [*history["loss"], *history["accuracy"]]


ROWS = np.random.default_rng(0).normal(size=(12, 3))
ANSWERS = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("dtype", ["int64", "bool", "float32", "uint8"])
@pytest.mark.parametrize("shape", [(12,), (12, 1)], ids=str)
def test_a_single_output_has_the_classes_0_and_1(shape: tuple[int, ...], dtype: str) -> None:
    y = ANSWERS.astype(dtype).reshape(shape)
    weighted = yes_or_no(y, sample_weight=np.where(ANSWERS == 1, 3.0, 1.0))
    assert yes_or_no(y, class_weight={1: 3.0}) == weighted
    assert yes_or_no(y, class_weight="balanced") == yes_or_no(y, sample_weight=np.where(ANSWERS == 1, 2.0, 2 / 3))
    assert yes_or_no(y, class_weight={1: 3.0}, validation_fraction=0.25)[0] != weighted[0]
    with pytest.raises(bp.DataError, match="class_weight names classes that y does not hold: 2; y holds 0, 1"):
        yes_or_no(y, class_weight={2: 3.0})


def test_probabilities_of_a_single_output_are_no_classes() -> None:
    with pytest.raises(bp.DataError, match="class_weight needs one class index a row in y, or 0 and 1 for a single"):
        yes_or_no(0.9 * ANSWERS, class_weight="balanced")


def test_weights_of_rows_and_classes_multiply() -> None:
    classes, index = np.array([0, 1, 3]), np.array([0, 1, 1, 2])
    given = np.array([1.0, 2.0, 3.0, 4.0])
    assert weights_by_class({1: 10.0, np.int64(3): 0.5}, classes, index, given).tolist() == [1, 20, 30, 2]
    balanced = weights_by_class("balanced", classes, index, None)
    assert balanced.tolist() == pytest.approx([4 / 3, 4 / 6, 4 / 6, 4 / 3])


def test_rows_without_a_class_count_one() -> None:
    classes, index = np.array([0, 1]), np.array([0, -1, 1, 1, -1])
    assert weights_by_class({0: 3.0, 1: 2.0}, classes, index, None).tolist() == [3, 1, 2, 2, 1]
    assert weights_by_class("balanced", classes, index, None).tolist() == [1.5, 1, 0.75, 0.75, 1]


def test_balanced_weights_equal_those_of_scikit_learn() -> None:
    compute = pytest.importorskip("sklearn.utils.class_weight", reason="scikit-learn is not installed")
    y = np.random.default_rng(0).integers(0, 5, 97) ** 2
    classes, index = np.unique(y, return_inverse=True)
    expected = compute.compute_sample_weight("balanced", y)
    assert np.array_equal(weights_by_class("balanced", classes, index, None), expected)


def test_a_class_may_lie_in_the_rows_held_out_alone() -> None:
    """It is one of y's classes; balanced weights are counted over the rows trained on, where it does not come."""
    t = np.array([0, 0, 1, 1, 2, 0, 1, 0], np.int32)
    for seed in range(20):
        training, held = Feed(np.eye(8), t).to_fit(None, 0.25, {2: 5.0}, seed)
        assert held is not None and held.weights is None
        assert np.array_equal(training.weights, np.where(training.t == 2, 5.0, 1.0))
        balanced, _ = Feed(np.eye(8), t).to_fit(None, 0.25, "balanced", seed)
        counts = np.bincount(balanced.t)
        assert np.array_equal(balanced.weights, (len(balanced) / (np.count_nonzero(counts) * counts))[balanced.t])
