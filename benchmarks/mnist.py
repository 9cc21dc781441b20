"""Time to an accuracy on the test set of MNIST, evaluated after each epoch; evaluation is not timed.

The same network, optimizer, learning rate and batch in each library, their own first weights and orders:

    mlp    784-256-128-10, ReLU, Adam 0.001, batch 128, to 0.98
    cnn    conv 3x3x32, pool, conv 3x3x64, pool, 128-10, ReLU, Adam 0.001, batch 128, to 0.99
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

__all__ = ["GOALS", "LEARNERS", "learn"]

GOALS = {"mlp": 0.98, "cnn": 0.99}
LEARNERS = (("mlp", "gpubp"), ("mlp", "torch"), ("mlp", "scikit-learn"), ("cnn", "gpubp"), ("cnn", "torch"))
HIDDEN, FILTERS, BATCH = (256, 128), (32, 64), 128


def learn(model: str, library: str, data: str | None, threads: int, epochs: int = 20) -> dict[str, Any]:
    """Train in a process of its own: {"seconds", "epochs", "accuracy", "reached", "kernels"}, or {"problem": why}."""
    from .processes import environment

    command = [sys.executable, "-m", "benchmarks.mnist", model, library, data or "", str(epochs), str(threads)]
    run = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
    if run.returncode:
        return {"problem": (run.stderr.strip().splitlines() or ["no word"])[-1]}
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


def _main(model: str, library: str, data: str, epochs: str, threads: str) -> None:
    from gpubp.datasets import load_mnist

    from .kernels import kernels_of

    mnist = load_mnist(data or None)
    X, X_test = (
        a.reshape(len(a), 28, 28, 1) if model == "cnn" else a.reshape(len(a), -1) for a in (mnist.X, mnist.X_test)
    )
    make = {"gpubp": _gpubp, "torch": _torch, "scikit-learn": _sklearn}[library]
    epoch, predict = make(model, X, mnist.y, int(threads))
    spent, done, accuracy = 0.0, 0, 0.0
    while done < int(epochs) and accuracy < GOALS[model]:
        start = time.perf_counter()
        epoch()
        spent += time.perf_counter() - start
        done += 1
        accuracy = float((predict(X_test) == mnist.y_test).mean())
    told = {"model": model, "library": library, "goal": GOALS[model], "seconds": spent, "epochs": done}
    kernels = kernels_of({"scikit-learn": "sklearn"}.get(library, library))
    print(json.dumps(told | {"accuracy": accuracy, "reached": accuracy >= GOALS[model], "kernels": kernels}))


def _gpubp(model: str, X: Any, y: Any, threads: int) -> Any:
    import gpubp as bp

    layers = bp.mlp(10, HIDDEN) if model == "mlp" else bp.cnn(10, X.shape[1:], FILTERS, dropout=0.0)
    net = bp.Network(layers, X.shape[1:], device="cpu", seed=0)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=BATCH, seed=0)
    return lambda: trainer.fit(X, y, verbose=False), lambda Z: net.predict(Z).argmax(axis=1)


def _torch(model: str, X: Any, y: Any, threads: int) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    a, b = HIDDEN
    if model == "mlp":
        net = nn.Sequential(nn.Linear(784, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, 10))
    else:
        convolutions = [
            module
            for before, after in ((1, FILTERS[0]), FILTERS)
            for module in (nn.Conv2d(before, after, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2))
        ]
        net = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(49 * FILTERS[1], 128), nn.ReLU(), nn.Linear(128, 10))

    def images(Z: Any) -> Any:
        return torch.from_numpy(Z.transpose(0, 3, 1, 2).copy() if model == "cnn" else Z)

    rows, t = images(X), torch.from_numpy(y.astype("int64"))
    rule = torch.optim.Adam(net.parameters())

    def epoch() -> None:
        for batch in torch.randperm(len(rows)).split(BATCH):
            rule.zero_grad()
            nn.functional.cross_entropy(net(rows[batch]), t[batch]).backward()
            rule.step()

    def predict(Z: Any) -> Any:
        with torch.no_grad():
            return torch.cat([net(part).argmax(dim=1) for part in images(Z).split(1000)]).numpy()

    return epoch, predict


def _sklearn(model: str, X: Any, y: Any, threads: int) -> Any:
    import warnings

    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore", message="Stochastic Optimizer")
    mlp = MLPClassifier(HIDDEN, batch_size=BATCH, alpha=0.0, max_iter=1, warm_start=True, random_state=0)
    return lambda: mlp.partial_fit(X, y, classes=list(range(10))), mlp.predict


if __name__ == "__main__":
    _main(*sys.argv[1:])
