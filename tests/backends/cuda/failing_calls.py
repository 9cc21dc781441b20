"""Trains while one call after the other of CUDA fails, on a driver of host memory, and checks what is left.

Run by test_host_driver.py in a process of its own. The argument: every how many calls one fails.
"""

import sys
import warnings

import numpy as np

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from host_driver import driver

cupy = driver.cupy
MEMORY, STICKY = 2, 700  # errors: no memory; an illegal address, after which every call fails


def train() -> None:
    """All that has graphs: a fit with validation, a prediction, and single steps."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 6)), rng.integers(0, 3, 30)
    trainer = bp.Trainer(
        bp.Network(bp.mlp(3, (8,)), 6, device=CUDA(cupy)), bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=4
    )
    trainer.fit(X, y, epochs=2, validation_data=(X, y))
    trainer.network.predict(X)
    trainer.step(X[:4], y[:4])


def main() -> None:
    """Fails with an AssertionError where a failed call leaves anything behind."""
    warnings.simplefilter("ignore")
    train()
    driver.number("calls").value = 0
    train()
    calls = driver.number("calls").value
    for code in (MEMORY, STICKY):
        for k in range(1, calls, int(sys.argv[1])):
            for name, value in (("calls", 0), ("failed", 0), ("fail_code", code), ("sticky", code == STICKY)):
                driver.number(name).value = value
            driver.number("fail_at").value, raised = k, None
            try:
                train()
            except Exception as problem:
                raised = problem
            failed, driver.number("failed").value, driver.number("fail_at").value = driver.number("failed").value, 0, -1
            assert not driver.number("capturing").value, f"a stream is left capturing by call {k}: {raised!r}"
            assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null and cupy.cuda.runtime.getDevice() == 0
            assert failed or raised is None
    train()
    print("nothing was left behind")


main()
