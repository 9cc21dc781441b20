"""One training on a device and the same on the CPU."""

import numpy as np

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy


def device(cupy=None, products=StrictProducts):
    return CUDA(cupy or strict_cupy(), products=products)


class NoEpilogues(StrictProducts):
    """A library that multiplies and does nothing else in the same kernel."""

    epilogues = ()


class Backwards(StrictProducts):
    """Sums each number of a product from its last term to its first: a GPU's order is not the CPU's either."""

    def function(self, epilogue):
        product = super().function(epilogue)
        return lambda out, a, b, **finish: product(out, a[..., ::-1], b[..., ::-1, :], **finish)


def of_layer(case, rng):
    """What a case is trained on, as the arguments of `train`: little enough that rounding stays rounding."""
    return case.network_layers(), bp.MeanSquaredError(), bp.SGD(0.01), case.x(rng, rows=10), rng.normal(size=(10, 3))


def of_loss(case, rng):
    """The same, and row weights."""
    shape = (10, *case.shape[1:])
    X, y = rng.normal(size=(*shape[:-1], 4)), case.targets(rng, shape)
    return (case.layers(), case.loss, bp.SGD(0.05), X, y), dict(weights=rng.uniform(0.1, 2.0, 10))


def of_optimizer(case, rng):
    """The same of an optimizer."""
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    return layers, bp.MeanSquaredError(), case.optimizer, rng.normal(size=(10, 4)), rng.normal(size=(10, 2))


def train(backend, layers, loss, optimizer, X, y, dtype="float32", epochs=4, weights=None, fit=None, **options):
    """A fit with ragged last batches and row weights, and all that came of it."""
    net = bp.Network(layers, X.shape[1:], device=backend, dtype=dtype, seed=3)
    trainer = bp.Trainer(net, loss, optimizer, batch_size=4, seed=5, **options)
    history = trainer.fit(X, y, epochs=epochs, sample_weight=weights, **(fit or {}))
    return net, trainer, dict(history)


def outcome(net, trainer, history, X):
    return {
        "parameters": net.backend.to_host(net.flat),
        "history": np.array([history[name] for name in sorted(history)]),
        "moments": np.array([net.backend.to_host(m.flat) for m in trainer.update.moments.values()]),
        "predictions": net.predict(X),
    }


TOLERANCES = {"float32": dict(rtol=2e-4, atol=2e-5), "float64": dict(rtol=1e-7, atol=1e-9)}  # after 12 steps


def assert_close(got, want, dtype="float32"):
    assert got.keys() == want.keys()
    for name in got:
        np.testing.assert_allclose(got[name], want[name], err_msg=name, **TOLERANCES[dtype])


def assert_alike(layers, loss, optimizer, X, y, **options):
    """The numbers of the CPU, whose sums are in another order; in float64, with or without epilogues."""
    for dtype, libraries in (("float32", [Backwards]), ("float64", [StrictProducts, NoEpilogues])):
        want = outcome(*train("cpu", layers, loss, optimizer, X, y, dtype=dtype, **options), X)
        for products in libraries:
            got = train(device(products=products), layers, loss, optimizer, X, y, dtype=dtype, **options)
            assert_close(outcome(*got, X), want, dtype)
