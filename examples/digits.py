"""Train a classifier on the handwritten digits of scikit-learn: python examples/digits.py [epochs]"""

import sys

import numpy as np
from sklearn.datasets import load_digits

import gpubp as bp

X, y = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(X))
X, y = X[order] / 16, y[order]

layers = bp.Sequential(bp.Dense(128), bp.ReLU(), bp.Dense(64), bp.ReLU(), bp.Dense(10))
net = bp.Network(layers, input_shape=64, device="auto", seed=0)
trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=32, metrics="accuracy")
trainer.fit(X[:1400], y[:1400], epochs=int(sys.argv[1]) if len(sys.argv) > 1 else 20)

scores = trainer.evaluate(X[1400:], y[1400:])
print(f"{trainer.step_count} steps on {net.device}, test accuracy {scores['accuracy']:.3f}")
for row in range(1400, 1405):
    print(f"a {y[row]} read as a {net.predict(X[row : row + 1]).argmax()}")
