"""Fit a straight line by gradient descent and by least squares: python examples/regression_line.py [epochs]

One Dense unit is the line y = w x + b. The three batch sizes are the three classical forms of gradient descent: all
rows per step, some rows, and one row. With all rows it converges to the least squares line. With the others, whose
gradients are noisy, it ends near this line.
"""

import sys

import numpy as np

import gpubp as bp

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
rng = np.random.default_rng(0)
x = rng.uniform(-2.0, 2.0, size=(100, 1))
y = 3.0 * x - 1.0 + rng.normal(scale=0.5, size=x.shape)

slope, intercept = np.polyfit(x[:, 0], y[:, 0], 1)
print(f"{'least squares':<22} y = {slope:.4f} x {intercept:+.4f}")

for name, batch_size, rate in (
    ("all rows a step", None, 0.5),
    ("10 rows a step", 10, 0.05),
    ("one row a step", 1, 0.005),
):
    net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), input_shape=1, device="cpu")
    trainer = bp.Trainer(net, bp.HalfMeanSquaredError(), bp.SGD(learning_rate=rate), batch_size=batch_size)
    trainer.fit(x, y, epochs=epochs)
    at_0, at_1 = net.predict([[0.0], [1.0]]).ravel()
    print(f"{name:<22} y = {at_1 - at_0:.4f} x {at_0:+.4f}   {trainer.step_count:6} steps")
