"""Train on some digits, then transfer to other digits with few examples: python examples/transfer.py [epochs]

A convolutional network learns the digits 0 to 4. With a new head it then learns 5 to 9 from a few examples of each.
First its body is frozen; then the whole network is fine-tuned, the body with a tenth of the learning rate. For
comparison, the same network is trained from scratch on the same rows for as many epochs.

The example uses MNIST if its files are available ($GPUBP_MNIST, or downloaded with pooch). There the pretrained body
improves the accuracy by several hundredths; with thousands of rows it would not. Otherwise the example uses the digits
of scikit-learn. There 721 rows of 8 x 8 pixels teach the body hardly more than the few examples do, and transfer saves
only time.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import gpubp as bp
from gpubp import datasets

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 60  # on the new digits; a tenth of them with the body unfrozen
draws = 3  # of the new digits' rows, to average over

try:
    data = datasets.load("mnist")
except (bp.DataError, bp.MissingDependencyError, OSError) as missing:
    print(f"no MNIST ({str(missing).splitlines()[0][:60]}...): on scikit-learn's digits")
    data = datasets.load("digits")


def part(digits, X, y, most):
    """The first rows of these five digits, numbered from 0."""
    chosen = np.flatnonzero(np.isin(y, digits))[:most]
    return X[chosen], y[chosen] - min(digits)


def learn(net, X, y, epochs, rate=2e-3, **options):
    """(trainer, seconds)"""
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(rate), metrics="accuracy", **options)
    start = time.perf_counter()
    trainer.fit(X, y, epochs=epochs)
    return trainer, time.perf_counter() - start


old, new = range(5), range(5, 10)
filters = (16, 32) if data.input_shape == (28, 28) else (16,)
layers = bp.cnn(5, data.input_shape, filters, hidden=())  # the head reads off the convolutions
body = bp.Network(layers, data.input_shape, device="auto", seed=0)
X, y = part(old, data.X, data.y, 12_000)
trainer, seconds = learn(body, X, y, max(1, 12_000 // len(X)))
accuracy = trainer.evaluate(*part(old, data.X_test, data.y_test, 2000))["accuracy"]
print(f"digits 0-4: test accuracy {accuracy:.4f} after {seconds:.1f} s with {len(X):,} rows")

folder = tempfile.TemporaryDirectory()
file = Path(folder.name) / "body.safetensors"
body.save(file)
X, y = part(new, data.X, data.y, None)
test = part(new, data.X_test, data.y_test, 2000)
print("\ndigits 5-9: test accuracy, and seconds, from few rows of each")
print("rows     body frozen     then tuned     from scratch")
for rows in (2, 5, 10):
    found = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        few = np.concatenate([rng.choice(np.flatnonzero(y == k), rows, replace=False) for k in range(5)])
        tuned = bp.load(file, head=bp.Dense(5))
        below = [name for name in tuned.parameters if not name.startswith(str(len(layers.layers) - 1))]
        tuned.freeze(*below)
        numbers = []

        def judged(trainer, seconds, numbers=numbers):
            numbers.append((trainer.evaluate(*test)["accuracy"], seconds))

        judged(*learn(tuned, X[few], y[few], epochs))
        tuned.unfreeze()
        factors = {name: 0.1 for name in below}
        judged(*learn(tuned, X[few], y[few], max(1, epochs // 10), learning_rate_factors=factors))
        scratch = bp.Network(layers, data.input_shape, device="auto", seed=1 + draw)
        judged(*learn(scratch, X[few], y[few], epochs))
        found.append(numbers)
    columns = (f"{accuracy:.4f} {seconds:5.2f} s" for accuracy, seconds in np.mean(found, axis=0))
    print(f"{rows:4}  " + "  ".join(columns))
folder.cleanup()
