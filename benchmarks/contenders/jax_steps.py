"""JAX with optax: one jitted step, or a scan of many in one call. The batch is taken within the compiled step."""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # contenders share the GPU
import jax
import jax.numpy as jnp
import optax

from ..workloads import EPS, MOMENTUM, Job
from . import CannotDo

PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "bfloat16"}


class Contender:
    """variant: "jit" or "scan"."""

    def __init__(self, job: Job, variant: str) -> None:
        w = job.workload
        if job.device == "cuda" and jax.default_backend() != "gpu":
            raise CannotDo("this JAX sees no GPU")
        self.w, self.variant, self.chunk = w, variant, job.chunk
        device = jax.devices("gpu" if job.device == "cuda" else "cpu")[0]
        jax.config.update("jax_default_device", device)
        jax.config.update("jax_default_matmul_precision", PRECISION[w.precision])
        self.X, self.y = jnp.asarray(job.data.X), jnp.asarray(job.data.y)
        self.parameters = [{name: jnp.asarray(a) for name, a in layer.items()} for layer in job.weights]
        self.rule = optax.adam(w.rate) if w.optimizer == "adam" else optax.sgd(w.rate, momentum=MOMENTUM)
        normalizing = [p["gamma"] for p in self.parameters if "gamma" in p]
        running = [{"mean": jnp.zeros_like(gamma), "var": jnp.ones_like(gamma)} for gamma in normalizing]
        state = (self.parameters, self.rule.init(self.parameters), running, jax.random.key(0))
        self.state = jax.block_until_ready(state)

        def step(state: Any, data: Any, rows: Any) -> Any:
            parameters, moments, running, key = state
            key, own = jax.random.split(key)
            x, t = data[0][rows], data[1][rows]
            (loss, running), g = jax.value_and_grad(self._loss, has_aux=True)(parameters, running, x, t, own)
            updates, moments = self.rule.update(g, moments, parameters)
            return (optax.apply_updates(parameters, updates), moments, running, key), loss

        def steps(state: Any, data: Any, rows: Any) -> Any:
            state, losses = jax.lax.scan(lambda s, r: step(s, data, r), state, rows)
            return state, losses[-1]

        self._run = jax.jit(steps if variant == "scan" else step, donate_argnums=0)

    def _loss(self, parameters: Any, running: Any, x: Any, t: Any, key: Any) -> Any:
        given, states, new = iter(parameters), iter(running), []
        for i, layer in enumerate(self.w.layers):
            match layer[0]:
                case "dense":
                    p = next(given)
                    x = self._cast(x) @ self._cast(p["W"])
                    x = x.astype(jnp.float32) + p["b"]
                case "conv":
                    p = next(given)
                    x = jax.lax.conv_general_dilated(
                        x, p["W"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                    )
                    x = x + p["b"]
                case "pool":
                    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
                case "flatten":
                    x = x.reshape(len(x), -1)
                case "relu":
                    x = jax.nn.relu(x)
                case "batchnorm":
                    p, old, axes = next(given), next(states), tuple(range(x.ndim - 1))
                    mean, var = x.mean(axes), x.var(axes)
                    new.append({"mean": 0.9 * old["mean"] + 0.1 * mean, "var": 0.9 * old["var"] + 0.1 * var})
                    x = (x - mean) * jax.lax.rsqrt(var + EPS) * p["gamma"] + p["beta"]
                case "dropout" if layer[1]:
                    kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1.0 - layer[1], x.shape)
                    x = jnp.where(kept, x / (1.0 - layer[1]), 0.0)
        if self.w.loss == "softmax":
            return optax.softmax_cross_entropy_with_integer_labels(x, t).mean(), new
        return jnp.square(x - t).mean(), new

    def _cast(self, a: Any) -> Any:
        return a.astype(jnp.bfloat16) if self.w.precision == "bfloat16" else a

    def run(self, rows: Any) -> tuple[float, float]:
        rows = rows.astype("int32")
        data, loss, state = (self.X, self.y), None, self.state
        chunks = rows.reshape(-1, self.chunk, rows.shape[1]) if self.variant == "scan" else rows
        start = time.perf_counter()
        for batch in chunks:
            state, loss = self._run(state, data, batch)
        self.state, loss = jax.block_until_ready((state, loss))
        return time.perf_counter() - start, float(loss)
