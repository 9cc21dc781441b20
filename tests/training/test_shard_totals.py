"""The sums of an epoch where one process has the only shard, or one worker in exact numerics."""

import numpy as np
import pytest

import gpubp as bp


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("guard", [None, "skip"])
def test_one_shard_has_the_loss_of_the_batch(accumulate, guard, rng):
    X, y = rng.normal(size=(64, 7)).astype("float32"), rng.integers(0, 3, 64)
    found = []
    for shards, numerics in ((None, "ordinary"), (1, "ordinary"), (None, "exact")):
        if numerics == "exact":
            pytest.importorskip("numba")
        net = bp.Network(bp.Dense(3), 7, device="cpu", numerics=numerics)
        trainer = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=16, shards=shards, accumulate=accumulate,
            on_nonfinite=guard, metrics=["accuracy"],
        )  # fmt: skip
        history = trainer.fit(X, y, epochs=2, verbose=False)
        found.append([history["loss"], history["accuracy"]])
    np.testing.assert_allclose(found, [found[0]] * len(found), rtol=1e-5)
    assert found[0][0][0] > 0.1
