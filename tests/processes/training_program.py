"""A program that mpiexec starts for test_training.py: trains, and prints what its process sent, and the hash."""

import json
import sys

import numpy as np

import gpubp as bp


def main(shards: int, folder: str) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 40)).astype("float32"), rng.integers(0, 4, 300)
    layers = bp.Sequential(bp.Dense(256), bp.ReLU(), bp.Dense(256), bp.BatchNorm(), bp.Dropout(0.1), bp.Dense(4))
    net = bp.Network(layers, 40, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=64, shards=shards, clip_norm=1.0)
    counted = []

    class Count(bp.Callback):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            if trainer.processes is not None:
                counted.append([trainer.processes.bytes_sent, trainer.processes.messages_sent])

    callbacks = [Count(), bp.Checkpoint(folder, every_steps=7), bp.EarlyStopping(patience=2)]
    history = trainer.fit(X, y, epochs=3, validation_fraction=0.2, callbacks=callbacks, verbose=False)
    found = {
        "hash": net.sha256(),
        "loss": history["val_loss"],
        "steps": np.diff(counted, axis=0).tolist(),
        "bytes": net.flat.nbytes,
        "rank": 0 if trainer.processes is None else trainer.processes.rank,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
