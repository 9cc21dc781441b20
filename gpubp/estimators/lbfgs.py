"""SciPy's limited-memory BFGS (Liu and Nocedal 1989) on a network's parameters as one vector.

    minimise  f(θ) = Σᵢ wᵢ ℓᵢ / Σ w + ½ α Σθ² / Σ w      over all rows at once, biases left out of the second sum

SciPy computes with float64 numbers of the host; the loss and its gradient come from the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import Recorded
from ..data.checks import as_inputs, as_targets
from ..data.weights import row_weights
from ..flat import FlatArray
from ..losses import Loss
from ..network.network import Network
from ..step.batch import Batch, TargetShape
from ..step.step import Pass, StepJob


class Objective:
    """The loss f and its gradient ∂f/∂θ over all rows of (X, t). X, t, weights: as a Trainer takes them.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros(), use_bias=False), 1, device="cpu", dtype="float64")
    >>> f = Objective(net, bp.HalfMeanSquaredError(), np.array([[1.0]]), np.array([[2.0]]), None, alpha=0.0)
    >>> value, gradient = f(f.theta())
    >>> value, gradient[0].item()
    (2.0, -2.0)
    """

    def __init__(self, network: Network, loss: Loss, X: Any, t: Any, weights: Any, alpha: float) -> None:
        self.network, self.be = network, network.backend
        shapes = {name: network.parameters[name].shape for name in network.trainable}
        self.gradients = FlatArray(self.be, shapes, network.dtype)
        self.runs = network.runs(network.trainable)
        decayed = [name for name in network.trainable if network.declared[name].decay]
        ends = np.cumsum([0, *(run.stop - run.start for _, run in self.runs)])
        self.places = [slice(int(a), int(b)) for a, b in zip(ends, ends[1:], strict=False)]
        starts = {name: self.gradients.offsets[name] for name in decayed}
        self.decayed = [slice(starts[name], starts[name] + run.stop - run.start) for name, run in network.runs(decayed)]
        X = as_inputs(X, network.input_shape, self.be, network.dtype, check=network.input_check)
        t = as_targets(t, loss, network.output_shape, X, network.dtype)
        with self.be.active():
            batch = Batch(network, len(X), TargetShape.of(t))
            self.step = Pass(StepJob(network, loss), batch, gradients=self.gradients, training=True)
            batch.load(X, t, np.arange(len(X)), row_weights(len(X), weights))
        self.penalty = alpha / batch.weight
        self._compute = Recorded(self.be, self._both)

    def _both(self) -> None:
        self.step.forward()
        self.step.backward()

    def theta(self) -> np.ndarray[Any, Any]:
        """The parameters, in float64."""
        parts = [self.be.to_host(self.network.flat[run]) for _, run in self.runs]
        return np.concatenate(parts).astype(np.float64)

    def put(self, theta: np.ndarray[Any, Any]) -> None:
        """Make `theta` the network's parameters."""
        for (_, run), place in zip(self.runs, self.places, strict=True):
            self.be.put(self.network.flat[run], theta[place])

    def __call__(self, theta: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        with self.be.active():
            self.put(theta)
            self._compute()
            value = self.step.last_loss()
            gradient = self.be.to_host(self.gradients.flat).astype(np.float64)
        for part in self.decayed:
            value += 0.5 * self.penalty * float(theta[part] @ theta[part])
            gradient[part] += self.penalty * theta[part]
        return value, gradient


def minimize(
    objective: Objective, *, max_iter: int, max_fun: int, tol: float, look: Callable[[float], None]
) -> tuple[float, int, str]:
    """(f at the minimum, iterations, "" or why it ended early); the network then has the best parameters found.

    look: called with f after each iteration.
    """
    import scipy.optimize

    last = [float("nan")]

    def value_and_gradient(theta: Any) -> Any:
        value, gradient = objective(theta)
        last[0] = value
        return value, gradient

    result = scipy.optimize.minimize(
        value_and_gradient,
        objective.theta(),
        method="L-BFGS-B",
        jac=True,
        callback=lambda theta: look(last[0]),
        options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
    )
    with objective.be.active():
        objective.put(result.x)
    message = result.message if isinstance(result.message, str) else bytes(result.message).decode("latin1")
    return float(result.fun), min(int(result.nit), max_iter), "" if result.status == 0 else message
