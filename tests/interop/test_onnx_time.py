"""ONNX files of layers over time, for rows of one length and of different ones."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx_runs import as_trained, assert_close, compare, compare_anywhere, compare_lengths, outputs_of, session_of

import gpubp as bp
from gpubp.layers.transformer_block import transformer_block
from layer_cases import LAYERS, LayerCase
from length_cases import ALL

OVER_TIME = (
    bp.SimpleRNN, bp.GRU, bp.LSTM, bp.Bidirectional, bp.LastStep, bp.MeanOverTime, bp.MaxOverTime, bp.Conv1D,
    bp.Conv1DTranspose, bp.MaxPool1D, bp.AvgPool1D, bp.MelSpectrogram, bp.MultiHeadAttention, bp.PositionalEncoding,
    bp.PositionalEmbedding, bp.WordColumns,
)  # fmt: skip
CASES = [case for case in LAYERS if isinstance(case.layer, OVER_TIME)]
RNG = np.random.default_rng(0)
ROWS = [RNG.normal(size=(n, 3)).astype(np.float32) for n in (4, 1, 9, 30, 7, 8, 2, 13, 1)]
NET = bp.Sequential


def states(layer: type, **more: object) -> bp.Layer:
    return layer(4, return_sequences=True, initial_state="learned", **more)


ENDS = {
    "SimpleRNN": NET(bp.SimpleRNN(4), bp.Dense(2)),
    "GRU": NET(bp.GRU(4, initial_state="learned"), bp.Dense(2)),
    "LSTM": NET(bp.LSTM(4, reverse=True, initial_state="learned"), bp.Dense(2)),
    "LSTM alone": bp.LSTM(3),
    "Bidirectional": bp.Bidirectional(bp.LSTM(3, initial_state="learned")),
    "Bidirectional, reversed": bp.Bidirectional(bp.GRU(3, reverse=True, initial_state="learned")),
    "LastStep": NET(states(bp.GRU), bp.LastStep()),
    "LastStep, reversed": NET(states(bp.SimpleRNN, reverse=True), bp.LastStep()),
    "MeanOverTime": NET(bp.Dense(4), bp.Tanh(), bp.MeanOverTime(), bp.Dense(2)),
    "MeanOverTime, root": NET(bp.Conv1D(4, 3, padding="causal"), bp.MeanOverTime(root=True)),
    "MaxOverTime": NET(bp.Conv1D(4, 3, padding="same"), bp.MaxOverTime(), bp.Dense(2)),
    "PositionalEmbedding": NET(bp.Dense(4), bp.PositionalEmbedding(32), bp.MultiHeadAttention(2), bp.MeanOverTime()),
    "LSTM behind Conv1D": NET(bp.Conv1D(4, 3, padding="same"), bp.LSTM(3), bp.Dense(2)),
    "LastStep behind Conv1D": NET(bp.Conv1D(4, 3, padding="same"), bp.Tanh(), bp.LastStep()),
    "two ends": bp.Parallel(NET(bp.Dense(2), bp.MaxOverTime()), bp.GRU(2), NET(states(bp.LSTM), bp.LastStep())),
    "Flatten behind the end": NET(NET(bp.Dense(4), bp.GRU(4)), bp.Reshape((2, 2)), bp.Flatten(), bp.Dense(1)),
}
KEEPS = {
    "Dense": bp.Dense(2),
    "states": NET(states(bp.LSTM), bp.ReLU(), states(bp.GRU, reverse=True), states(bp.SimpleRNN), bp.Dense(2)),
    "Bidirectional": NET(bp.Bidirectional(states(bp.LSTM, reverse=True)), bp.Bidirectional(states(bp.SimpleRNN))),
    "Conv1D": NET(
        bp.Conv1D(4, 4, padding="same"),
        bp.ReLU(),
        bp.Conv1D(4, 5, padding=2, groups=2),
        bp.Conv1D(3, 2, padding="causal", dilation=3),
        bp.Conv1D(2, 3, padding=(1, 3), dilation=2),
        bp.Conv1DTranspose(2, 3, padding="same"),
    ),
    "Residual": NET(bp.Dense(4), bp.Residual(NET(bp.MultiHeadAttention(2), bp.Tanh()), bp.Conv1D(4, 3, padding=1))),
    "more axes": NET(bp.LayerNorm(), bp.Dense(2)),
    "causal": NET(bp.Dense(4), bp.PositionalEncoding(), bp.MultiHeadAttention(2, causal=True), bp.Dense(2)),
    "Parallel": bp.Parallel(states(bp.GRU), NET(bp.Conv1D(2, 3, padding="same"), bp.Softplus())),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_gives_what_gpubp_gives(case: LayerCase, tmp_path: Path) -> None:
    X = case.x(np.random.default_rng(1), 37).astype(np.float32)
    for layers in (case.layer, case.network_layers()):
        compare(as_trained(bp.Network(layers, case.shape[1:], device="cpu")), tmp_path, X)


@pytest.mark.parametrize("case", [case for case in CASES if len(case.shape) == 3], ids=str)
def test_a_layer_reads_channels_that_are_first(case: LayerCase, tmp_path: Path) -> None:
    X = case.x(np.random.default_rng(1), 3).astype(np.float32)
    layers = NET(bp.Conv1D(X.shape[-1], 1), case.layer, bp.Flatten(), bp.Dense(3))
    compare(as_trained(bp.Network(layers, case.shape[1:], device="cpu")), tmp_path, X)


@pytest.mark.parametrize("case", [case for case in CASES if case.id != "WordColumns-two-texts"], ids=str)
def test_a_layer_is_written_in_float64(case: LayerCase, tmp_path: Path) -> None:
    """By ONNX's reference where onnxruntime has no kernel; it knows no lengths of texts."""
    X = case.x(np.random.default_rng(1), 5)
    compare_anywhere(
        as_trained(bp.Network(case.layer, case.shape[1:], device="cpu", dtype="float64")), tmp_path, X, 1e-9
    )


@pytest.mark.parametrize("name", ENDS)
def test_a_layer_ends_rows_of_different_lengths(name: str, tmp_path: Path) -> None:
    compare_lengths(as_trained(bp.Network(ENDS[name], (None, 3), device="cpu")), tmp_path, ROWS)


@pytest.mark.parametrize("name", KEEPS)
def test_rows_of_different_lengths_have_outputs_of_each_step(name: str, tmp_path: Path) -> None:
    rows = [np.stack([row, 2 * row], axis=1) for row in ROWS] if name == "more axes" else ROWS
    compare_lengths(as_trained(bp.Network(KEEPS[name], (None, *rows[0].shape[1:]), device="cpu")), tmp_path, rows)


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"sum", "each"}))  # which have layers of the tests' own
def test_networks_that_are_trained_on_lengths_are_written(name: str, tmp_path: Path) -> None:
    compare_lengths(as_trained(bp.Network(ALL[name], (None, 3), device="cpu")), tmp_path, ROWS)


@pytest.mark.parametrize(
    "layers",
    [
        bp.encoder(3, 8, 2, 2, vocabulary=9),
        bp.transformer(9, 8, 2, 2, vocabulary=9, activation=bp.GELU()),
        bp.transformer(9, 8, 1, 4, vocabulary=9, positions=False),
        NET(bp.Embedding(9, 4), bp.Bidirectional(states(bp.LSTM)), bp.MeanOverTime(), bp.BatchNorm(), bp.Dense(2)),
        bp.Ensemble(NET(bp.Embedding(9, 4), bp.GRU(2)), NET(bp.Embedding(9, 2), bp.MaxOverTime())),
    ],
    ids=["encoder", "transformer", "without positions", "Bidirectional", "Ensemble"],
)
def test_words_of_different_numbers_are_read(layers: bp.Layer, tmp_path: Path) -> None:
    rows = [RNG.integers(0, 9, n).astype(np.float32) for n in (6, 1, 11, 8, 30)]
    net = as_trained(bp.Network(layers, (None,), device="cpu"))
    compare_lengths(net, tmp_path, rows)
    if net.output_shape[0] is not None:
        compare(as_trained(bp.Network(layers, 6, device="cpu")), tmp_path, np.stack([rows[0], rows[0][::-1]]))


READERS = {
    "states": NET(states(bp.LSTM, reverse=True), bp.LayerNorm(), bp.LastStep()),
    "both ways": NET(bp.Bidirectional(states(bp.GRU)), bp.MaxOverTime()),
    "SimpleRNN": bp.SimpleRNN(2, initial_state="learned"),
    "LSTM": bp.LSTM(2, reverse=True),
    "attention": NET(bp.PositionalEncoding(), bp.MultiHeadAttention(2, causal=True), bp.LastStep()),
    "block": NET(bp.PositionalEmbedding(11), *transformer_block(4, 2, 8, dropout=0.1), bp.MeanOverTime(root=True)),
    "Conv1D": NET(bp.Conv1D(3, 2, padding="causal"), bp.Conv1D(3, 3), bp.MaxPool1D(2), bp.Flatten(), bp.Dense(2)),
    "mixes": NET(bp.BatchNorm(), bp.MaxOverTime()),
    "attention, all steps": NET(bp.MultiHeadAttention(2), bp.Flatten(), bp.Dense(2)),
    "states, all steps": NET(bp.Bidirectional(states(bp.LSTM)), bp.Flatten(), bp.Dense(2)),
    "reversed, all steps": NET(bp.Bidirectional(bp.GRU(3, True, reverse=True)), bp.Flatten(), bp.Dense(2)),
}


@pytest.mark.parametrize("name", READERS)
def test_words_are_missing_anywhere_in_texts(name: str, tmp_path: Path) -> None:
    """At the end, as the words of a table are, in front, in the middle, and everywhere."""
    reader = NET(bp.Embedding(9, 4), READERS[name])
    texts = RNG.integers(1, 9, (13, 10)) * (RNG.random((13, 10)) < 0.5)
    texts[:4] = 0
    texts[1:4, :3], texts[2, 5:9], texts[3, 5:] = 5, 4, RNG.integers(1, 9, 5)
    X = np.concatenate([RNG.normal(size=(13, 2)), texts], axis=1).astype(np.float32)
    layers = NET(bp.WordColumns(reader, reader, lengths=(5, 5), scale=3.0, dropout=0.5), bp.Tanh())
    compare(as_trained(bp.Network(layers, 12, device="cpu")), tmp_path, X)
    of_columns = bp.WordColumns(reader, lengths=10, columns=bp.Dense(3))
    compare(as_trained(bp.Network(of_columns, 12, device="cpu")), tmp_path, X)


def test_positions_are_right_after_many_steps(tmp_path: Path) -> None:
    """In float32 the angle of step 3000 would be wrong by 10⁻⁴."""
    rows = [np.zeros((n, 6), np.float32) for n in (3000, 2, 400)]
    compare_lengths(bp.Network(bp.PositionalEncoding(), (None, 6), device="cpu"), tmp_path, rows, 1e-6)


def test_a_row_longer_than_the_positions_is_an_error(tmp_path: Path) -> None:
    session = session_of(bp.Network(bp.PositionalEmbedding(16), (None, 3), device="cpu"), tmp_path)
    X = np.zeros((2, 20, 3), np.float32)
    assert outputs_of(session, X, np.array([16, 3]))["output"].shape == X.shape
    with pytest.raises(Exception, match="out of"):
        outputs_of(session, X, np.array([17, 3]))


def test_wrong_lengths_are_an_error(tmp_path: Path) -> None:
    session = session_of(bp.Network(bp.MeanOverTime(), (None, 3), device="cpu"), tmp_path)
    X = np.zeros((2, 5, 3), np.float32)
    for wrong in (6, 7, -1, -5, -6):
        with pytest.raises(Exception, match=r"lengths/Gather.*out of"):
            outputs_of(session, X, np.array([5, wrong]))


def test_a_row_without_steps_gives_what_a_text_without_words_gives(tmp_path: Path) -> None:
    """gpubp takes no such rows, but masks without a step: the state is the first one, other ends are 0."""
    layers = bp.Parallel(
        bp.LSTM(2, initial_state="learned"), bp.GRU(2), bp.LastStep(), bp.MeanOverTime(), bp.MaxOverTime()
    )
    net = as_trained(bp.Network(layers, (None, 3), device="cpu"))
    session = session_of(net, tmp_path)
    X = np.full((3, 4, 3), np.nan, np.float32)
    X[0, :2] = 1.0
    found = outputs_of(session, X, np.array([2, 0, 0]))["output"]
    assert_close(found[0], net.predict([X[0, :2]])[0])
    assert_close(found[1:], np.tile(np.r_[net.parameters["0.h0"], np.zeros(11, np.float32)], (2, 1)))
    assert_close(outputs_of(session, X[1:], np.array([0, 0]))["output"], found[1:])
    assert outputs_of(session, X[:0], np.zeros(0, np.int64))["output"].shape == (0, 13)


def test_a_classifier_of_steps_gives_labels_and_probabilities(tmp_path: Path) -> None:
    net = as_trained(bp.Network(bp.Sequential(bp.GRU(4, return_sequences=True), bp.Dense(3)), (None, 3), device="cpu"))
    net.metadata = {"task": "classes", "names": ["noun", "verb", "other"]}
    session = session_of(net, tmp_path)
    X, lengths = np.zeros((2, 9, 3), np.float32), np.array([4, 9])
    X[0, :4], X[1], X[0, 4:] = ROWS[0], ROWS[2], np.inf
    found, z = outputs_of(session, X, lengths), net.predict([X[0, :4], X[1]])
    for i, L in enumerate(lengths):
        p = np.exp(z[i]) / np.exp(z[i]).sum(axis=1, keepdims=True)
        assert_close(found["probabilities"][i, :L], p)
        assert found["label"][i, :L].tolist() == [net.metadata["names"][k] for k in z[i].argmax(axis=1)]
    assert not found["probabilities"][0, 4:].any() and set(found["label"][0, 4:]) == {"noun"}
    assert [output.shape for output in session.get_outputs()] == [["batch", "time"], ["batch", "time", 3]]


def test_a_recurrent_layer_is_one_node(tmp_path: Path) -> None:
    layers = bp.Sequential(bp.Bidirectional(bp.LSTM(8, return_sequences=True)), bp.LSTM(8), bp.Dense(2))
    session_of(bp.Network(layers, (None, 3), device="cpu"), tmp_path)
    found = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert found.count("LSTM") == 2 and not {"Loop", "Scan"} & set(found)


def test_lengths_are_asked_for(tmp_path: Path) -> None:
    session = session_of(bp.Network(bp.GRU(2), (None, 3), device="cpu"), tmp_path)
    described = [(given.name, given.type, given.shape) for given in session.get_inputs()]
    assert described == [("input", "tensor(float)", ["batch", "time", 3]), ("lengths", "tensor(int64)", ["batch"])]
