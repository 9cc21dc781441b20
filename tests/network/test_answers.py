"""predict_proba and predict_classes: by the loss of the training, the last layer, or an argument."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.network.probabilities import doubt_of, ending_of
from strict import StrictProducts, strict_cupy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
CE, BCE, MSE = bp.SoftmaxCrossEntropy(), bp.BinaryCrossEntropy(), bp.MeanSquaredError()
D = bp.Dense


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True), dtype=np.float64)
    return e / e.sum(axis=-1, keepdims=True)


def sigma(z: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def trained(layers: bp.Layer, loss: bp.Loss, y: Any, x: Any = X, **options: Any) -> bp.Network:
    net = bp.Network(layers, x.shape[1:], **{"device": "cpu", "seed": 3, **options})
    bp.Trainer(net, loss, bp.Adam(0.05), batch_size=10).fit(x, y, epochs=3, verbose=False)
    return net


def close(p: Any, wanted: Any) -> None:
    assert p.shape == wanted.shape and p.dtype == np.float32
    np.testing.assert_allclose(p, wanted, rtol=1e-5, atol=1e-7)


class OwnClasses(bp.Loss):
    """A loss of classes of somebody's own, on probabilities."""

    predicts = "classes"
    targets, plan, forward, backward = CE.__class__.targets, CE.__class__.plan, None, None


class OwnLogs(OwnClasses):
    outputs_are: ClassVar[str] = "log-probabilities"


class OwnScores(OwnClasses):
    outputs_are: ClassVar[str] = "scores"


def test_classes_after_a_training_wherever_the_network_goes(tmp_path: Path) -> None:
    y = np.arange(40) % 3
    net = trained(bp.Sequential(D(6), bp.Tanh(), D(3)), CE, y)
    z = net.predict(X)
    close(net.predict_proba(X), softmax(z))
    assert net.predict_classes(X).tolist() == z.argmax(axis=1).tolist() and net.predict_classes(X).dtype == np.int64
    assert bp.Trainer(net, CE, bp.SGD(), metrics="accuracy").evaluate(X, y)["accuracy"] == pytest.approx(
        (net.predict_classes(X) == y).mean()
    )
    net.save(tmp_path / "a.safetensors")
    net.to_onnx(tmp_path / "a.onnx")
    others = [bp.load(tmp_path / "a.safetensors", device="cpu"), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    for other in (*others, bp.from_onnx(tmp_path / "a.onnx", device="cpu")):
        assert (other.predict_proba(X) == net.predict_proba(X)).all()
    assert (net.predict_proba(X[7:8]) == net.predict_proba(X)[7]).all()
    close(net.predict_proba(X, loss=BCE), sigma(z))
    headed = bp.load(tmp_path / "a.safetensors", device="cpu", head=D(2))
    with pytest.raises(ValueError, match="can't know what the outputs of this network stand for"):
        headed.predict_proba(X)


@pytest.mark.parametrize("outputs", [1, 3])
def test_labels_are_each_a_yes_or_no(outputs: int) -> None:
    y = (X[:, :outputs] > 0).astype(int)
    net = trained(D(outputs), BCE, y)
    z = net.predict(X)
    close(net.predict_proba(X), sigma(z))
    said, strict = net.predict_classes(X), net.predict_classes(X, threshold=0.8)
    assert said.shape == strict.shape == ((40,) if outputs == 1 else (40, 3)) and said.dtype == np.int64
    assert (said.reshape(z.shape) == (z > 0)).all() and (strict.reshape(z.shape) == (sigma(z) > 0.8)).all()
    assert net.predict_classes(X, 0.0).all() and not net.predict_classes(X, 1.0).any()
    for wrong in (1.5, -0.1, "0.5", True):
        with pytest.raises(ValueError, match="threshold to be a number, from 0 to 1"):
            net.predict_classes(X, wrong)


def test_a_half_is_no_as_for_accuracy() -> None:
    net = bp.Network(D(1, weight_initializer=bp.Zeros()), 1, device="cpu")
    assert net.predict_classes([[1.0]], loss=BCE).tolist() == [0]
    net.parameters["b"][...] = 1e-20  # whose probability is rounded to a half
    assert net.predict_classes([[1.0]], loss=BCE).tolist() == [1]


ENDS: dict[str, tuple[list[bp.Layer], Any, Any]] = {
    "softmax": ([bp.Softmax()], lambda y: y, 1), "softmax by number": ([bp.Softmax(1)], lambda y: y, 1),
    "log-softmax": ([bp.LogSoftmax()], np.exp, 1), "sigmoid": ([bp.Sigmoid()], lambda y: y, 2),
    "log-sigmoid": ([bp.LogSigmoid()], np.exp, 2),
    "within and before dropout": ([bp.Sequential(bp.Softmax(), bp.Dropout(0.1))], lambda y: y, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_a_network_that_ends_in_probabilities_has_them_with_a_loss_of_numbers_and_without_any(name: str) -> None:
    ends, to_p, axes = ENDS[name]
    layers = bp.Sequential(D(3), *ends)
    for net in bp.Network(layers, 4, device="cpu"), trained(layers, MSE, np.eye(3)[np.arange(40) % 3]):
        p = to_p(net.predict(X))
        close(net.predict_proba(X), p)
        wanted = p.argmax(axis=1) if axes == 1 else (p > 0.5).astype(int)
        assert net.predict_classes(X).tolist() == wanted.tolist()
        if axes == 2:
            assert net.predict_classes(X, 0.3).tolist() == (p > 0.3).astype(int).tolist()
        else:
            with pytest.raises(ValueError, match="the likeliest of several classes is taken"):
                net.predict_classes(X, 0.3)
    assert doubt_of(layers, MSE) == ""


def test_ensembles() -> None:
    two = [bp.Sequential(D(3), bp.Softmax()), bp.Sequential(D(5), bp.Tanh(), D(3), bp.Softmax())]
    net = bp.Network(bp.Ensemble(*two), 4, device="cpu")
    assert (net.predict_proba(X) == net.predict(X)).all() and net.predict_proba(X).sum(axis=1) == pytest.approx(1)
    assert ending_of(bp.Ensemble(*two[:1], D(3))) is None and ending_of(bp.Ensemble(bp.LogSoftmax())) is None
    of_classes = trained(bp.Ensemble(D(3), D(3), average="classes"), CE, np.arange(40) % 3)
    close(of_classes.predict_proba(X), np.exp(of_classes.predict(X)))


def test_losses_of_ones_own_and_of_scores() -> None:
    """A loss says in `outputs_are` what outputs are; of one that says nothing the last layer does."""
    net = bp.Network(bp.Sequential(D(3), bp.Softmax()), 4, device="cpu")
    assert (net.predict_proba(X, loss=OwnClasses()) == net.predict(X)).all()
    logits = bp.Network(D(3), 4, device="cpu")
    z = logits.predict(X)
    close(logits.predict_proba(X, loss=OwnClasses()), softmax(z))
    close(logits.predict_proba(X, loss=OwnLogs()), np.exp(z))
    with pytest.raises(ValueError, match=r"Scores\(\) makes outputs scores.*net.predict_classes the answers"):
        logits.predict_proba(X, loss=OwnScores())
    assert (logits.predict_classes(X, loss=OwnScores()) == z.argmax(axis=1)).all()
    logits.metadata["loss"] = OwnLogs().config()
    close(logits.predict_proba(X), np.exp(z))


def test_losses_behind_their_last_layers_and_losses_of_scores_after_a_training() -> None:
    y, yes = np.arange(40) % 3, (X[:, :2] > 0).astype(int)
    of_classes = {bp.CrossEntropyOfProbabilities(): (bp.Softmax(), lambda z: z)}
    of_classes |= {bp.NegativeLogLikelihood(): (bp.LogSoftmax(), np.exp), bp.Focal(): (bp.ReLU(), softmax)}
    for loss, (end, to_p) in of_classes.items():
        net = trained(bp.Sequential(D(3), end), loss, y)
        close(net.predict_proba(X), to_p(net.predict(X)))
        assert (net.predict_classes(X) == net.predict(X).argmax(axis=1)).all()
    net = trained(bp.Sequential(D(2), bp.Sigmoid()), bp.BinaryCrossEntropyOfProbabilities(), yes)
    assert (net.predict_proba(X) == net.predict(X)).all()
    assert (net.predict_classes(X) == (net.predict(X) > 0.5)).all()
    hinge = trained(D(2), bp.Hinge(), yes)
    assert (hinge.predict_classes(X) == (hinge.predict(X) > 0)).all()
    with pytest.raises(ValueError, match=r"Hinge\(\) makes outputs scores"):
        hinge.predict_proba(X)
    with pytest.raises(ValueError, match="scores have none"):
        hinge.predict_classes(X, 0.5)
    assert "end it in LogSoftmax()" in doubt_of(bp.Softmax(), bp.NegativeLogLikelihood())
    assert "end it in Softmax()" in doubt_of(bp.LogSoftmax(), bp.CrossEntropyOfProbabilities())


def test_what_has_no_probabilities_is_said() -> None:
    numbers = trained(D(2), MSE, X[:, :2])
    for method in (numbers.predict_proba, numbers.predict_classes):
        with pytest.raises(ValueError, match=rf"MeanSquaredError\(\) is a loss of numbers.*net.{method.__name__}\(X,"):
            method(X)
    close(numbers.predict_proba(X, loss=CE), softmax(numbers.predict(X)))
    for axis in (1, -2):
        never = bp.Network(bp.Sequential(D(2), bp.Softmax(axis)), (3, 4), device="cpu")
        with pytest.raises(ValueError, match=r"net.predict_proba\(X, loss=gpubp.SoftmaxCrossEntropy\(\)\)"):
            never.predict_proba(np.zeros((1, 3, 4)))
    for wrong in (bp.SoftmaxCrossEntropy, "softmax"):
        with pytest.raises(TypeError, match="predict_proba needs loss to be a gpubp Loss"):
            numbers.predict_proba(X, loss=wrong)
    numbers.metadata["loss"] = {"class": "Dense", "units": 3}
    with pytest.raises(bp.ModelFileError, match="is no loss"):
        numbers.predict_classes(X)
    with pytest.raises(bp.DataError, match="row"):
        numbers.predict_proba(X[:, :3], loss=CE)


def test_a_file_that_tells_its_task_alone() -> None:
    """As one from ONNX does whose Softmax was left out."""
    net = bp.Network(D(2), 4, device="cpu")
    for task, p in (("classes", softmax), ("labels", sigma)):
        net.metadata["task"] = task
        close(net.predict_proba(X), p(net.predict(X)))
    net.metadata["task"] = "numbers"
    with pytest.raises(ValueError, match="was trained for numbers; net.predict gives them"):
        net.predict_proba(X)


def test_pixels_and_time_steps() -> None:
    images = RNG.normal(size=(6, 5, 4, 2)).astype(np.float32)
    net = trained(bp.Conv2D(3, 3, padding="same"), CE, RNG.integers(0, 3, (6, 5, 4)), images)
    close(net.predict_proba(images), softmax(net.predict(images)))
    assert (net.predict_classes(images) == net.predict(images).argmax(axis=-1)).all()
    net = bp.Network(bp.Sequential(bp.GRU(3, return_sequences=True), D(2)), (None, 4), device="cpu")
    rows = [RNG.normal(size=(n, 4)) for n in (3, 9, 1)]
    z, p, k = net.predict(rows), net.predict_proba(rows, loss=CE), net.predict_classes(rows, loss=CE)
    assert isinstance(p, bp.Sequences) and p.lengths.tolist() == [3, 9, 1] and k[1].shape == (9,)
    close(p.flat, softmax(z.flat))
    assert (k.flat == z.flat.argmax(axis=1)).all()
    one = bp.Network(bp.Sequential(bp.Tanh()), (None,), device="cpu")
    with pytest.raises(ValueError, match=r"classes need an output each, and a row's outputs have the shape \(None,\)"):
        one.predict_proba([[1.0, 2.0]], loss=CE)
    assert [a.tolist() for a in one.predict_classes([[1.0, -2.0], [3.0]], loss=BCE)] == [[1, 0], [1]]


def test_on_a_gpu_the_result_is_where_the_rows_are() -> None:
    """On the stand-in for CuPy."""
    cupy = strict_cupy()
    net = bp.Network(D(3), 4, device=CUDA(cupy, products=StrictProducts), seed=3)
    here = bp.Network(D(3), 4, device="cpu", seed=3)
    for loss in (CE, BCE):
        p, k = net.predict_proba(cupy.asarray(X), loss=loss), net.predict_classes(cupy.asarray(X), loss=loss)
        assert type(p) is type(k) is type(cupy.asarray(X))
        np.testing.assert_allclose(p.get(), here.predict_proba(X, loss=loss), rtol=1e-5)
        assert (k.get() == here.predict_classes(X, loss=loss)).all()
        assert isinstance(net.predict_proba(X, loss=loss), np.ndarray)


def test_in_exact_numerics_probabilities_have_the_bits_of_the_functions_of_gpubp() -> None:
    pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
    from gpubp.formula.elementary import into

    net = trained(D(3), CE, np.arange(40) % 3, numerics="exact")
    z = net.predict(X)
    e = into("exp", s := z - z.max(axis=1, keepdims=True), np.empty_like(s))
    np.testing.assert_allclose(net.predict_proba(X), e / e.sum(axis=1, keepdims=True), rtol=2e-7)
    assert (net.predict_classes(X) == z.argmax(axis=1)).all()


@pytest.mark.parametrize(
    ("end", "loss", "words"),
    [
        (bp.Softmax(), CE, r"Softmax\(\), and SoftmaxCrossEntropy\(\) contains that function.*Leave Softmax\(\) out"),
        (bp.Sigmoid(), BCE, r"Sigmoid\(\), and BinaryCrossEntropy\(\) contains that function"),
        (bp.LogSoftmax(), CE, ""), (bp.Softmax(), MSE, ""), (bp.Tanh(), CE, ""), (bp.Sigmoid(), OwnClasses(), ""),
        (bp.Softmax(), OwnLogs(), "which gives probabilities"),
        (bp.Softmax(), OwnScores(), ""),
        (bp.Dense(3), bp.KLDivergence(), r"Dense\(3\), whose outputs are any numbers, .* end it in LogSoftmax"),
        (bp.Dropout(0.5), bp.BinaryCrossEntropyOfProbabilities(), r"Dense\(3\).* probabilities: end it in Sigmoid"),
        (bp.Dense(3), bp.Hinge(), ""),
        (bp.Dense(3), bp.GaussianNLL(), ""),
    ],
)  # fmt: skip
def test_an_end_that_the_loss_contains_is_told_once(end: bp.Layer, loss: bp.Loss, words: str) -> None:
    layers = bp.Sequential(D(3), end)
    if not words or isinstance(loss, OwnClasses):
        assert (doubt_of(layers, loss) == "") == (not words)
        return
    net = bp.Network(layers, 4, device="cpu")
    trainer = bp.Trainer(net, loss, bp.SGD())
    y = np.zeros(40, int) if loss is CE else np.zeros((40, 3))
    with pytest.warns(UserWarning, match=words) as told:
        trainer.fit(X, y, verbose=False)
    assert len(told) == 1 and told[0].filename == __file__
    trainer.fit(X, y, verbose=False)
    trainer.step(X, y)
    with pytest.warns(UserWarning, match=words):
        bp.Trainer(net, loss, bp.SGD()).step(X, y)
