"""Write a custom layer, check its gradients and train it: python examples/own_layer.py [epochs]

A radial unit measures distance: the output of unit j is 1 at its centre C_j and falls to 0 with the distance of x.

    x (B, n)   C (m, n)   y (B, m)

    Forward   (1) D_ij = ‖x_i - C_j‖² = ‖x_i‖² - 2 x_i · C_j + ‖C_j‖²      (2) y = e^(-D/2)
    Backward  (3) g = dy y         -½ dy y is ∂L/∂D, and ∂D_ij/∂x_i = 2 (x_i - C_j), ∂D_ij/∂C_j = -2 (x_i - C_j)
              (4) dx_i = -Σ_j g_ij (x_i - C_j) = (g C)_i - x_i Σ_j g_ij
              (5) dC_j =  Σ_i g_ij (x_i - C_j) = (gᵀ x)_j - C_j Σ_i g_ij
"""

import sys
from dataclasses import dataclass

import numpy as np

import gpubp as bp
from gpubp.formula import exp


@dataclass(frozen=True, repr=False)
class Radial(bp.Layer):
    """y_ij = e^(-½ ‖x_i - C_j‖²)"""

    units: int

    def plan(self, x):
        B, n = x
        return bp.Plan(
            output=(B, self.units),
            parameters={"C": bp.Parameter((self.units, n), bp.Normal(std=1.0))},
            arrays={
                "xC": (B, self.units), "y": (B, self.units), "g": (B, self.units),
                "x2": x, "xx": (B, 1), "C2": (self.units, n), "CC": (self.units,),
                "g_rows": (B, 1), "g_columns": (self.units,), "dx": x,
            },
        )  # fmt: skip

    def forward(self, ws, x):
        ws.x = x
        ws.be.gemm(x, ws.C.T, out=ws.xC)
        ws.be.sum_last(ws.xp.multiply(x, x, out=ws.x2), out=ws.xx)
        ws.be.sum_last(ws.xp.multiply(ws.C, ws.C, out=ws.C2), out=ws.CC)
        return ws.be.apply(bell, ws.xC, ws.xx, ws.CC, out=ws.y)  # (1), (2)

    def backward(self, ws, dy):
        ws.xp.multiply(dy, ws.y, out=ws.g)  # (3)  g = dy y
        ws.be.sum_last(ws.g, out=ws.g_rows)
        ws.be.sum_rows(ws.g, out=ws.g_columns)
        ws.be.gemm(ws.g, ws.C, out=ws.dx)
        ws.be.apply(without, ws.dx, ws.x, ws.g_rows, out=ws.dx)  # (4)  dx = g C - x Σ_j g
        ws.be.gemm(ws.g.T, ws.x, out=ws.dC)
        ws.be.apply(without, ws.dC, ws.C, ws.g_columns.reshape(-1, 1), out=ws.dC)  # (5)  dC = gᵀ x - C Σ_i g
        return ws.dx


def bell(xC, xx, CC):
    return exp(xC - 0.5 * (xx + CC))


def without(a, b, s):
    return a - b * s


print("gradcheck")
print(bp.gradcheck(Radial(4), (6, 3)))

# A disc inside a ring: no straight line separates the classes.
rng = np.random.default_rng(0)
inside = rng.integers(0, 2, size=600)
radius, angle = np.where(inside, 0.5, 2.0) + rng.normal(scale=0.25, size=600), rng.uniform(0, 2 * np.pi, size=600)
X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
for layers in (bp.Dense(2), bp.Sequential(Radial(8), bp.Dense(2))):
    net = bp.Network(layers, input_shape=2, device="auto", seed=0)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.02), batch_size=30, metrics="accuracy")
    trainer.fit(X[:400], inside[:400], epochs=epochs)
    print(f"{layers!r:<36} test accuracy {trainer.evaluate(X[400:], inside[400:])['accuracy']:.3f}")
