"""The judgement: its numbers are scikit-learn's, and chance is not taken for success."""

from __future__ import annotations

import numpy as np
import pytest

from gpubp.report.judgement import Guess, Judgement, judge

Array = np.ndarray


def classes(truth: list[int] | Array, said: list[int] | Array, many: int = 2, guess: Guess | None = None) -> Judgement:
    found = judge("classes", np.asarray(truth), np.eye(many)[np.asarray(said)], [f"c{k}" for k in range(many)], guess)
    assert found is not None
    return found


def test_balanced_accuracy_and_recall_are_those_of_scikit_learn(rng: np.random.Generator) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth, said = rng.choice(4, 300, p=[0.6, 0.3, 0.08, 0.02]), rng.integers(0, 4, 300)
    found = classes(truth, said, 4)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, said))
    assert found.rarest is not None and found.rarest.rows == (truth == 3).sum() and found.rarest.name == "c3"
    recall = metrics.recall_score(truth, said, labels=[3], average=None)[0]
    assert found.rarest.found / found.rarest.rows == pytest.approx(recall)
    assert found.guess["accuracy"] == pytest.approx((truth == 0).mean())


def test_the_guess_is_learnt_from_other_rows_than_those_judged() -> None:
    """The most frequent class of the training rows may be rare in the judged ones."""
    found = classes([1, 1, 1, 0], [1, 1, 1, 0], guess=Guess("classes", (9.0, 5.0)))
    assert found.guess == {"accuracy": 0.25} and "c0 (the most frequent class)" in found.answer
    assert found.rarest is not None and found.rarest.name == "c1"
    numbers = judge("numbers", np.array([1.0, 3.0]), np.array([[1.0], [3.0]]), guess=Guess("numbers", (0.0,)), unit=10)
    assert numbers is not None and numbers.guess["mean_absolute_error"] == 20 and numbers.guess["R²"] == -4


def test_the_most_frequent_class_alone_is_no_better_than_the_guess() -> None:
    found = classes([0] * 39 + [1], [0] * 40)
    assert found.better is False and found.line == "No better than always answering c0 (the most frequent class)."
    assert found.balanced_accuracy == 0.5 and found.missed == "The only row of c1, the rarest class, is not found."


def test_a_small_difference_may_be_chance() -> None:
    truth = np.array([0] * 90 + [1] * 10)
    said = truth.copy()
    said[91:] = 0  # one row of class 1 is found
    assert classes(truth, said).better is None and "may be chance" in classes(truth, said).line
    assert classes(truth, truth).better is True and classes(truth, truth).line == ""


def test_a_network_that_finds_rare_classes_is_not_called_worthless() -> None:
    """Right on fewer rows than the guess, with most of the rare rows found."""
    truth = np.array([0] * 380 + [1] * 20)
    said = truth.copy()
    said[:60], said[380:384] = 1, 0
    found = classes(truth, said)
    assert found.better and found.finds_classes and "find no row of another class" in found.line


@pytest.mark.parametrize("seed", range(5))
def test_answers_by_chance_are_not_better(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth, said = draw.integers(0, 3, 500), draw.integers(0, 3, 500)
    assert classes(truth, said, 3).better is not True
    y, z = draw.normal(size=200), draw.normal(size=(200, 1)) * 0.1
    found = judge("numbers", y, z)
    assert found is not None and found.better is not True and found.line


def test_answers_by_chance_on_few_rows_are_rarely_called_better() -> None:
    draw, many = np.random.default_rng(0), 400
    for rows in (5, 12):
        called = [0, 0]
        for _ in range(many):
            truth, said = draw.integers(0, 5, (2, rows))
            called[0] += classes(truth, said, 5).better is True
            numbers = judge("numbers", draw.normal(size=rows), draw.normal(size=(rows, 1)) * 0.3)
            called[1] += numbers is not None and numbers.better is True
        assert max(called) < 0.09 * many, (rows, called)


def test_a_good_network_on_few_rows_is_not_called_worthless() -> None:
    assert classes([0, 0, 1, 1], [0, 0, 1, 1]).better is True
    found = classes([0, 0, 0, 0, 1], [0, 0, 0, 0, 1])
    assert found.better is True and found.line == ""
    unsure = classes([0, 1], [0, 1])
    told = "Better than always answering c0 (the most frequent class), but on 2 rows the difference may be chance."
    assert unsure.better is None and unsure.line == told


def test_labels_and_a_single_label() -> None:
    truth = np.array([[1, 0], [1, 0], [1, 0], [0, 0]] * 20)
    found = judge("labels", truth, np.where(truth == 1, 1.0, -1.0))
    assert found is not None and found.better and found.guess == {"accuracy": 0.875}
    one = judge("labels", truth[:, 0], -np.ones((80, 1)), ["no", "yes"], Guess("labels", (0.75,)))
    assert one is not None and one.better is False and one.answer == "answering yes (the most frequent class)"
    assert one.rarest is not None and one.rarest.name == "no"


def test_only_a_class_much_rarer_than_others_is_said_to_be_missed() -> None:
    assert classes([0] * 6 + [1] * 5, [0] * 11).missed == ""
    assert classes([0] * 9 + [1] * 2, [0] * 11).missed == "None of the 2 rows of c1, the rarest class, is found."


def test_rows_of_one_class_say_nothing() -> None:
    found = classes([1, 1, 1], [1, 1, 1])
    assert found.one_class and found.line.startswith("All rows are of the class c1")
    assert judge("classes", np.array([-1, -1]), np.eye(2)) is None


@pytest.mark.parametrize("told", [None, [1.0], [1.0, "2"], [1.0, float("nan")], {"a": 1}])
def test_a_guess_in_a_file_is_checked(told: object) -> None:
    with pytest.raises(ValueError, match="the guess of its 2 outputs"):
        Guess.from_config(told, "classes", 2)
