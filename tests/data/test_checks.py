"""Checks of inputs, targets and weights; the order of an epoch; the split into training and validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.data import finite
from gpubp.data.checks import as_inputs, as_targets, check_finite, epoch_order, split
from gpubp.data.weights import row_weights


def inputs(X: Any, row: tuple[int, ...] = (3,), dtype: str = "float32") -> np.ndarray:
    return as_inputs(X, row, bp.get_backend("cpu"), dtype)


ROWS = [[0, 1, 2], [3, 4, 5]]
ROW_GROUPS = bp.RowGroups([2], lambda k: np.zeros((2, 3, 1)), row=(3, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4", "int8", "int64", "uint8", "uint64", "bool"])
def test_every_type_of_number_is_cast(dtype: str) -> None:
    X = np.array(ROWS).astype(dtype)
    came = inputs(X)
    assert came.dtype == np.float32 and came.flags.c_contiguous
    np.testing.assert_array_equal(came, X)


@pytest.mark.parametrize(
    "X",
    [ROWS, tuple(map(tuple, ROWS)), [np.array(row) for row in ROWS], np.eye(6, 3)[::2], np.array(ROWS, order="F")],
    ids=["lists", "tuples", "rows", "strided", "columns-first"],
)  # fmt: skip
def test_every_memory_layout_is_accepted(X: Any) -> None:
    np.testing.assert_array_equal(inputs(X), np.array(X))


def test_an_array_that_fits_is_not_copied() -> None:
    X = np.array(ROWS, "float32")
    assert inputs(X) is X


def test_a_memory_map_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array(ROWS, "float64"))
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert inputs(X) is X


def test_a_table_of_pandas_is_accepted() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame(ROWS, columns=["a", "b", "c"])
    np.testing.assert_array_equal(inputs(table), ROWS)
    assert as_targets(pandas.Series([2, 0]), bp.SoftmaxCrossEntropy(), (3,), 2, "float32").tolist() == [2, 0]
    with pytest.raises(bp.DataError, match="X: column 'b' holds 'x' in row 0, and the network needs numbers"):
        inputs(pandas.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [3, 4]}))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ([[1, 2, 3], [1, 2]], "X has rows of different lengths; every row needs as many numbers"),
        (np.ma.masked_array(ROWS, [[1, 0, 0], [0, 0, 0]]), "X has masked values"),
        (
            np.zeros((2, 3), complex),
            "X holds complex128, and gpubp computes with real numbers: give real and imaginary",
        ),
        ([[1, 2, 3], [0, "a", 3j]], "X holds 'a' in row 1, column 1, and the network needs numbers"),
        (np.array([[0, 1, 2j]], object), "X holds 2j in row 0, column 2, and gpubp computes with real numbers"),
        (np.zeros((2, 3), "M8[s]"), r"X holds datetime64\[s\], and the network needs numbers"),
        (None, "X is None, and the network needs numbers"),
        ("a file", "X is 'a file', and the network needs numbers"),
        (3.0, "X has rows of shape no axes"),
        (np.array([0, 1, 2]), r"for a single row write X\[None\]"),
        ([0, 1, 2], r"for a single row write np.asarray\(X\)\[None\]"),
        ([[[0], [1], [2]]], r": np.asarray\(X\).reshape\(-1, 3\) would make them so"),
        (ROW_GROUPS, r": begin the network with Reshape\(\(3,\)\), and give it input_shape=\(3, 1\)"),
        (np.zeros((2, 3, 1)), r": X.reshape\(-1, 3\) would make them so"),
        (np.zeros((0, 3)), "X has no rows"),
        ([[0, 1, 2], [np.nan, 0, 0]], "X holds nan in row 1; drop such rows"),
        ([[0, 1, -np.inf]], "X holds -inf in row 0; drop such rows"),
        ([[0, 1, 2], [0, -1e39, 0]], r"X holds -1e\+39 in row 1; more than float32 can hold"),
    ],
)
def test_invalid_inputs_are_refused(X: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        inputs(X)


def test_channels_first_are_told_to_be_turned_and_not_reshaped() -> None:
    from gpubp.backends import get_backend
    from gpubp.data.checks import as_inputs

    images, steps = np.zeros((2, 3, 4, 5)), [np.zeros((7, 5)).tolist()]
    with pytest.raises(bp.DataError, match=r": X.transpose\(0, 2, 3, 1\) puts the channels last"):
        as_inputs(images, (4, 5, 3), get_backend("cpu"), "float32")
    with pytest.raises(bp.DataError, match=r": np.asarray\(X\).transpose\(0, 2, 1\) puts the channels last"):
        as_inputs(steps, (5, 7), get_backend("cpu"), "float32")


def test_numbers_beyond_float32_fit_float64() -> None:
    assert inputs([[0, 1, 1e39]], dtype="float64")[0, 2] == 1e39


def test_a_tensor_that_can_not_be_converted() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with pytest.raises(bp.DataError, match="X can't be made a NumPy array: .*requires grad"):
        inputs(torch.zeros(2, 3, requires_grad=True))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0.0, 1.0, 0.0], "X has 2 rows and y has 3; each row of X needs its one y"),
        (1.0, "X has 2 rows and y is the single value 1.0"),
        (None, "y is None, and a loss needs numbers"),
        ([[1.0], [1.0, 2.0]], "y has rows of different lengths"),
        ([0.0, np.inf], "y holds inf in row 1"),
        ([0.0, 1e300], r"y holds 1e\+300 in row 1; more than float32 can hold"),
        (np.array([1.0, None]), r"y has no value \(None\) in row 1; drop such rows, or fill them in"),
        ([1j, 2j], "y holds complex128"),
    ],
)
def test_invalid_targets_are_refused(y: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        as_targets(y, bp.MeanSquaredError(), (1,), 2, "float32")


def test_targets_have_the_type_the_loss_wants() -> None:
    classes = as_targets(np.array([1.0, 2.0]), bp.SoftmaxCrossEntropy(), (3,), 2, "float64")
    assert classes.dtype == np.int32 and classes.tolist() == [1, 2]
    assert as_targets([True, False], bp.BinaryCrossEntropy(), (1,), 2, "float32").tolist() == [[1.0], [0.0]]
    assert as_targets([[0, 1, 0]], bp.SoftmaxCrossEntropy(), (3,), 1, "float64").dtype == np.float64


def test_large_data_is_checked_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that is named counts from the beginning, not from that of its part."""
    monkeypatch.setattr(finite, "CHECKED_AT_ONCE", 10)
    a = np.zeros((100, 3))
    check_finite(a, "X")
    a[77, 2] = np.nan
    a[90, 0] = np.inf
    with pytest.raises(bp.DataError, match="X holds nan in row 77;"):
        check_finite(a, "X")


@pytest.mark.parametrize(
    ("sample_weight", "words"),
    [
        (np.ones((2, 1)), r"sample_weight has the shape \(2, 1\), and X has 2 rows"),
        (["a", "b"], "sample_weight holds 'a' in row 0, and it needs numbers"),
        ("auto", "sample_weight is 'auto', and it needs numbers"),
        ([1.0, None], r"sample_weight has no value \(None\) in row 1"),
        ([1.0, np.nan], "finite weights of 0 or more"),
        ([[1.0], [1.0, 2.0]], "sample_weight has rows of different lengths"),
    ],
)
def test_invalid_weights(sample_weight: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        row_weights(2, sample_weight)


def test_the_order_of_an_epoch_is_a_permutation_by_seed_and_epoch() -> None:
    orders = [tuple(epoch_order(100, seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len(set(orders)) == 6 and all(sorted(o) == list(range(100)) for o in orders)
    assert tuple(epoch_order(100, 1, 2)) == orders[-1]
    assert epoch_order(5, 0, 0, shuffle=False).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("rows", "fraction", "held"), [(10, 0.2, 2), (2, 0.01, 1), (2, 0.99, 1), (7, 0.5, 4)])
def test_a_split_takes_every_row_once(rows: int, fraction: float, held: int) -> None:
    training, validation = split(rows, fraction, seed=3)
    assert len(validation) == held and sorted([*training, *validation]) == list(range(rows))
    assert np.array_equal(split(rows, fraction, seed=3)[1], validation)


def test_splits_differ_with_the_seed() -> None:
    assert not np.array_equal(split(100, 0.3, seed=0)[1], split(100, 0.3, seed=1)[1])


@pytest.mark.parametrize(("rows", "fraction", "words"), [(5, 0.0, "between 0 and 1"), (1, 0.5, "at least two rows")])
def test_invalid_splits(rows: int, fraction: float, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        split(rows, fraction, seed=0)
