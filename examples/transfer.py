"""Train on some digits, go on with the others: python examples/transfer.py [epochs [rows]]

A convolutional network learns the digits 0 to 4. Its body is then frozen, and a new head on it learns 5 to 9 from few
examples; the same network from scratch learns them from the same examples, for comparison. On MNIST if its files are
at hand ($GPUBP_MNIST, or downloaded with pooch), else on the digits inside scikit-learn.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import gpubp as bp
from gpubp import datasets

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
rows = int(sys.argv[2]) if len(sys.argv) > 2 else 2000  # examples of the new digits

try:
    data = datasets.load("mnist")
except (bp.DataError, bp.MissingDependencyError, OSError) as missing:
    print(f"no MNIST ({str(missing).splitlines()[0][:60]}...): on scikit-learn's digits")
    data = datasets.load("digits")


def part(digits, X, y):
    """The rows of these five digits, numbered from 0."""
    chosen = np.isin(y, digits)
    return X[chosen], y[chosen] - min(digits)


def learn(net, X, y, epochs, rate=2e-3):
    """(seconds, trainer)"""
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(rate), batch_size=32, metrics="accuracy")
    start = time.perf_counter()
    trainer.fit(X, y, epochs=epochs)
    return time.perf_counter() - start, trainer


old, new = range(5), range(5, 10)
layers = bp.cnn(5, data.input_shape, filters=(16, 32))
body = bp.Network(layers, data.input_shape, device="auto", seed=0)
seconds, trainer = learn(body, *part(old, data.X, data.y), epochs)
print(f"digits 0-4: test accuracy {trainer.evaluate(*part(old, data.X_test, data.y_test))['accuracy']:.4f}")
print(f"            trained in {seconds:.1f} s")

X, y = part(new, data.X, data.y)
X, y = X[:rows], y[:rows]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "body.safetensors"
    body.save(path)
    tuned = bp.load(path, head=bp.Dense(5))
tuned.freeze(*(name for name in tuned.parameters if not name.startswith(str(len(layers.layers) - 1))))
scratch = bp.Network(layers, data.input_shape, device="auto", seed=1)
for name, net, rate in (("body frozen", tuned, 0.01), ("from scratch", scratch, 2e-3)):  # a head alone can go faster
    seconds, trainer = learn(net, X, y, epochs, rate)
    accuracy = trainer.evaluate(*part(new, data.X_test, data.y_test))["accuracy"]
    count = sum(net.parameters[n].size for n in net.trainable)
    print(f"digits 5-9, {name:<12}: test accuracy {accuracy:.4f} in {seconds:.1f} s, {count:,} numbers trained")
