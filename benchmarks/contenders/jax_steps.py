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
        kinds = [kind for kind, _ in w.parameters()]
        normalizing = [p["gamma"] for kind, p in zip(kinds, self.parameters, strict=True) if kind == "batchnorm"]
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
                case "norm":
                    x = _normal(x, next(given))
                case "words":
                    x = next(given)["W"][x]
                case "lstm" | "lstm-all" | "gru":
                    x = _recurrent(layer[0], x, next(given))
                case "block":
                    x = _block(x, layer[1], [next(given) for _ in range(5)])
                case "mean":
                    x = x.mean(1)
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


def _normal(x: Any, p: Any) -> Any:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + EPS) * p["gamma"] + p["beta"]


def _recurrent(kind: str, x: Any, p: Any) -> Any:
    """By a scan over the steps, with the products of the inputs made before it."""
    a = jnp.swapaxes(x @ p["W"] + p["b"], 0, 1)
    h = jnp.zeros((len(x), len(p["U"])), x.dtype)

    def lstm(state: Any, a: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(a + h @ p["U"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(h: Any, a: Any) -> Any:
        (ar, az, an), (ur, uz, un) = jnp.split(a, 3, -1), jnp.split(h @ p["U"], 3, -1)
        r, z = jax.nn.sigmoid(ar + ur), jax.nn.sigmoid(az + uz)
        h = z * h + (1.0 - z) * jnp.tanh(an + r * (un + p["b_U"]))
        return h, h

    _, states = jax.lax.scan(gru, h, a) if kind == "gru" else jax.lax.scan(lstm, (h, h), a)
    return jnp.swapaxes(states, 0, 1) if kind == "lstm-all" else states[-1]


def _block(x: Any, heads: int, weights: Any) -> Any:
    before, attention, behind, first, second = weights
    B, T, n = x.shape
    q, k, v = jnp.split(_normal(x, before) @ attention["WQKV"], 3, -1)
    q, k, v = (a.reshape(B, T, heads, -1).swapaxes(1, 2) for a in (q + attention["bQ"], k, v))
    P = jax.nn.softmax(q @ k.swapaxes(2, 3) / (n // heads) ** 0.5)
    x = x + (P @ v).swapaxes(1, 2).reshape(B, T, n) @ attention["WO"] + attention["bO"]
    inner = jax.nn.relu(_normal(x, behind) @ first["W"] + first["b"])
    return x + inner @ second["W"] + second["b"]
