"""BatchNorm without gamma and beta, and with cumulative running values; LayerNorm and RMSNorm over several axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gpubp as bp

MSE = bp.MeanSquaredError()


def trained(layers: bp.Layer, *batches: np.ndarray, **options: int) -> bp.Network:
    """After a step with learning rate 0 on each batch: only the running values move."""
    net = bp.Network(layers, batches[0].shape[1:], device="cpu", dtype="float64")
    trainer = bp.Trainer(net, MSE, bp.SGD(0.0), **options)
    for x in batches:
        trainer.step(x, np.zeros_like(x))
    return net


def test_cumulative_running_values_are_the_means_over_all_batches(rng: np.random.Generator) -> None:
    batches = [rng.normal(size=(n, 2)) * n + n for n in (4, 6, 3)]
    net = trained(bp.Sequential(bp.BatchNorm(momentum=None), bp.Dense(2)), *batches)
    assert net.states["0.mean"] == pytest.approx(np.mean([x.mean(axis=0) for x in batches], axis=0), rel=1e-12)
    assert net.states["0.var"] == pytest.approx(np.mean([x.var(axis=0) for x in batches], axis=0), rel=1e-12)
    assert net.states["0.count"].tolist() == [3.0]
    whole = bp.Sequential(bp.BatchNorm(momentum=None), bp.Dense(2))
    pieces = trained(whole, np.concatenate([batches[0], batches[1][:4]]), batch_size=4, accumulate=2)
    assert pieces.states["0.count"].tolist() == [2.0]  # each piece is a batch


def test_a_first_variance_is_taken_as_it_is() -> None:
    """Nothing is left of the 1 at the start, in float32 too."""
    x = np.array([[0.0], [2e-6]], "float32")
    net = bp.Network(bp.Sequential(bp.BatchNorm(momentum=None), bp.Dense(1)), 1, device="cpu")
    bp.Trainer(net, MSE, bp.SGD(0.0)).step(x, x)
    assert net.states["0.var"][0] == pytest.approx(1e-12, rel=1e-6, abs=0.0)


def test_a_single_row_leaves_all_cumulative_values(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 2))
    net = bp.Network(bp.Sequential(bp.BatchNorm(momentum=None), bp.Dense(2)), 2, device="cpu", dtype="float64")
    with pytest.warns(RuntimeWarning, match=r"leaves 0.mean and 0.var and 0.count as it is"):
        bp.Trainer(net, MSE, bp.SGD(0.0), batch_size=4).fit(x, np.zeros_like(x), epochs=1, shuffle=False, verbose=False)
    assert net.states["0.count"].tolist() == [1.0]
    assert net.states["0.mean"] == pytest.approx(x[:4].mean(axis=0), rel=1e-12)


def test_a_checkpoint_keeps_the_count(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.normal(size=(12, 2))
    layers = bp.Sequential(bp.Dense(2), bp.BatchNorm(None, affine=False), bp.Dense(2))

    def trainer() -> bp.Trainer:
        return bp.Trainer(bp.Network(layers, 2, device="cpu"), MSE, bp.Adam(0.01), batch_size=4)

    whole, first, second = trainer(), trainer(), trainer()
    whole.fit(x, x, epochs=4, verbose=False)
    first.fit(x, x, epochs=2, verbose=False)
    first.save(tmp_path / "half.safetensors")
    second.resume(tmp_path / "half.safetensors")
    second.fit(x, x, epochs=2, verbose=False)
    assert whole.network.states["1.count"].tolist() == second.network.states["1.count"].tolist() == [12.0]
    assert whole.network.sha256() == second.network.sha256()


def test_without_gamma_and_beta_freezing_goes_by_the_running_values(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.normal(size=(8, 3)) + 3
    layers = bp.Sequential(bp.Dense(3), bp.BatchNorm(affine=False), bp.Dense(3))
    net = bp.Network(layers, 3, device="cpu")
    trainer = bp.Trainer(net, MSE, bp.SGD(0.01), batch_size=8)
    trainer.step(x, x)
    net.freeze("1.*")
    states = net.states.flat.copy()
    assert net.frozen == {"1.mean", "1.var"} and "0.W" in net.trainable
    before = trainer.evaluate(x, x)["loss"]
    trainer.step(x, x)
    assert np.array_equal(net.states.flat, states) and trainer.loss == pytest.approx(before, rel=1e-5)
    net.save(tmp_path / "net.safetensors")
    again = bp.load(tmp_path / "net.safetensors", device="cpu")
    assert again.frozen == net.frozen
    again.unfreeze()
    bp.Trainer(again, MSE, bp.SGD(0.01)).step(x, x)
    assert not np.array_equal(again.states.flat, states)
    with pytest.raises(ValueError, match="no parameter is called '1.gamma'"):
        net.freeze("1.gamma")


def test_a_frozen_layer_is_frozen_by_its_parameters_alone() -> None:
    """Running values of a layer with gamma and beta have no switch of their own."""
    net = bp.Network(bp.Sequential(bp.BatchNorm(), bp.Dense(1)), 3, device="cpu")
    with pytest.raises(ValueError, match="no parameter is called '0.mean'"):
        net.freeze("0.mean")


def test_workers_and_a_single_one_have_the_same_plain_batch_norm(rng: np.random.Generator) -> None:
    x = rng.normal(size=(16, 3))
    layers = bp.Sequential(bp.Dense(4), bp.BatchNorm(None, affine=False), bp.BatchNorm(use_bias=False), bp.Dense(3))
    nets = []
    for workers in (1, 2):
        net = bp.Network(layers, 3, device="cpu", dtype="float64")
        bp.Trainer(net, MSE, bp.SGD(0.1), batch_size=8, workers=workers).fit(x, x, epochs=3, verbose=False)
        nets.append(net)
    assert nets[0].flat == pytest.approx(nets[1].flat, rel=1e-9)
    assert nets[0].states.flat == pytest.approx(nets[1].states.flat, rel=1e-9)


@pytest.mark.parametrize("layer", [bp.LayerNorm(0.01, axes=2), bp.RMSNorm(0.01, axes=2)], ids=str)
def test_norms_of_several_axes_agree_with_loops(layer: bp.Layer, rng: np.random.Generator) -> None:
    net = bp.Network(layer, (3, 2), device="cpu", dtype="float64")
    for a in net.parameters.values():
        a[...] = rng.normal(size=a.shape)
    x, p = rng.normal(size=(4, 3, 2)), net.parameters
    slow = np.zeros_like(x)
    for i in range(4):
        numbers = [x[i, h, k] for h in range(3) for k in range(2)]
        mean = sum(numbers) / 6 if isinstance(layer, bp.LayerNorm) else 0.0
        var = sum((v - mean) ** 2 for v in numbers) / 6
        for h in range(3):
            for k in range(2):
                slow[i, h, k] = p["gamma"][h, k] * (x[i, h, k] - mean) / (var + 0.01) ** 0.5
                slow[i, h, k] += p["beta"][h, k] if "beta" in p else 0.0
    assert net.predict(x) == pytest.approx(slow, rel=1e-12)


def test_means_far_from_zero_keep_float32s_precision(rng: np.random.Generator) -> None:
    """In two passes: the mean is taken away before squares are summed."""
    x = rng.normal(size=(3, 40, 50, 6)).astype("float32")
    for layer in (bp.LayerNorm(axes=3), bp.GroupNorm(2), bp.InstanceNorm(), bp.GroupNorm(1, affine=False)):
        y, shifted = (bp.Network(layer, x.shape[1:], device="cpu").predict(a) for a in (x, x + 1000))
        exact = bp.Network(layer, x.shape[1:], device="cpu", dtype="float64").predict((x + 1000).astype("float64"))
        assert np.abs(shifted - exact).max() < 2e-4, layer
        assert np.abs(y - shifted).max() < 5e-4, layer


def test_rows_of_different_lengths() -> None:
    """Over the last axis each step is by itself; over two axes padding would count."""
    bp.Network(bp.Sequential(bp.RMSNorm(), bp.LastStep()), (None, 3), device="cpu")
    with pytest.raises(bp.ShapeError, match="mixes time steps as if none were padding"):
        bp.Network(bp.Sequential(bp.LayerNorm(axes=2, affine=False), bp.LastStep()), (None, 3), device="cpu")
    for layer in (bp.RMSNorm(affine=False), bp.GroupNorm(1, affine=False)):
        with pytest.raises(bp.ShapeError, match="its last axis, which is time"):
            bp.Network(layer, (None,), device="cpu").predict([[1.0, 2.0, 3.0]])


def test_a_model_file_of_before_has_gamma_and_beta(tmp_path: Path) -> None:
    """Configs without the new arguments."""
    old = [{"class": "BatchNorm", "momentum": 0.5, "eps": 0.1}, {"class": "LayerNorm", "eps": 0.1}]
    from gpubp.config import from_config

    assert [from_config(c) for c in old] == [bp.BatchNorm(0.5, 0.1), bp.LayerNorm(0.1)]
    assert repr(bp.BatchNorm(0.5, 0.1, affine=True)) == "BatchNorm(0.5, eps=0.1)"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.BatchNorm(momentum=-0.1), "momentum to be a number, from 0 to 1"),
        (lambda: bp.LayerNorm(axes=0), "LayerNorm needs axes"),
        (lambda: bp.RMSNorm(eps=-1.0), "RMSNorm needs eps"),
        (lambda: bp.GroupNorm(0), "GroupNorm needs groups"),
        (lambda: bp.GroupNorm(2, affine="yes"), "GroupNorm needs affine"),  # type: ignore[arg-type]
        (lambda: bp.InstanceNorm(eps=float("nan")), "InstanceNorm needs eps"),
        (lambda: bp.RMSNorm(512), "RMSNorm needs eps to be a small number"),
        (lambda: bp.InstanceNorm(np.int64(64)), "InstanceNorm needs eps to be a small number"),
        (lambda: bp.GroupNorm(8, 64), "GroupNorm needs eps to be a small number"),
        (lambda: bp.Network(bp.LayerNorm(axes=3), (4, 5), device="cpu"), "its last 3 axes"),
        (lambda: bp.Network(bp.GroupNorm(4), 6, device="cpu"), "4 groups, which must divide the 6 channels"),
        (lambda: bp.Network(bp.GroupNorm(6), 6, device="cpu"), "groups of one number"),
        (lambda: bp.Network(bp.InstanceNorm(), (1, 1, 3), device="cpu"), "groups of one number"),
    ],
)
def test_wrong_arguments_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_a_number_of_features_in_the_first_place_is_told() -> None:
    """As other libraries take it; files that hold it can still be loaded."""
    with pytest.warns(UserWarning, match="BatchNorm.1. has the momentum 1, with which running values never change"):
        bp.BatchNorm(1)
    with pytest.warns(UserWarning, match="LayerNorm needs eps to be a small number such as 1e-5, and got 64"):
        assert bp.LayerNorm(64).eps == 64
    assert bp.BatchNorm(1.0).momentum == 1.0 and bp.BatchNorm(0).momentum == 0
