"""What exact numerics offers and refuses: functions of xp, functions by be.run, layers and losses of one's own."""

import functools
import math

import numpy as np
import pytest

import gpubp as bp
import gpubp.formula
from gpubp.backends import get_backend
from gpubp.backends.exactness import is_exact
from gpubp.backends.order import groups, tree
from gpubp.errors import ExactError, RecordError

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")


@pytest.fixture
def be():
    return get_backend("cpu", numerics="exact")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("einsum", "be.gemm"), ("dot", "be.gemm"), ("matmul", "be.gemm"), ("sinh", "be.apply"), ("arctan", "be.apply"),
        ("mean", "xp.sum"), ("cumsum", "xp.sum"), ("power", "be.apply"), ("sort", "what else"), ("fmod", "be.apply"),
        ("linalg", "be.gemm"), ("random", "be.random_uniform"), ("fft", "what else"),
    ],
)  # fmt: skip
def test_what_is_not_exact_is_refused_by_name(be, name, hint):
    a = np.ones((2, 2), "float32")
    with pytest.raises(ExactError, match=rf"xp\.{name} has other last bits on other machines.*{hint}"):
        getattr(be.xp, name)(a, a, out=a)


def test_functions_by_run_are_refused_too(be):
    a = np.ones((2, 2), "float32")
    for function in (np.sinh, np.dot, np.sum, np.add.reduce, np.linalg.norm):
        with pytest.raises(ExactError, match="numpy"):
            be.run(function, a)
    be.run(np.add, a, a, out=a)
    be.run(np.add.at, a[0], [0, 0], 1.0)
    assert a.tolist() == [[4.0, 2.0], [2.0, 2.0]]


def test_whole_numbers_are_exact_by_every_function(be):
    a, out = np.arange(6).reshape(2, 3), np.empty(2, int)
    be.xp.matmul(a, np.ones(3, int), out=out)
    assert out.tolist() == [3, 12] and be.xp.cumsum(a).tolist() == [0, 1, 3, 6, 10, 15]


def test_results_without_a_place_are_refused_while_a_step_is_recorded(be):
    with pytest.raises(RecordError, match="out="):
        be.capture(lambda: be.xp.maximum(np.ones(2), 0.0))


def summed(a, over):
    """The sum of a (K, n) over K by `order.py`, of numbers one after the other."""

    def block(part):
        return functools.reduce(np.add, a[part], np.zeros(a.shape[1], a.dtype))

    return tree([tree([block(part) for part in group], np.add) for group in groups(len(a), over)], np.add)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_are_those_of_the_order(be, rng, dtype):
    a = rng.standard_normal((70, 5, 3)).astype(dtype)
    cases = [
        (0, summed(a.reshape(70, 15), 1).reshape(5, 3)),
        ((0, 1), summed(a.reshape(350, 3), 5)),
        (-1, summed(a.transpose(2, 0, 1).reshape(3, 350), 1).reshape(70, 5)),
        ((1, 2), summed(a.reshape(70, 15).T.copy(), 1)),
        ((0, 2), summed(a.transpose(0, 2, 1).reshape(210, 5), 3)),
        (None, summed(a.reshape(-1, 1), 15).reshape(())),
    ]
    for axis, expected in cases:
        assert be.xp.sum(a, axis=axis).tobytes() == expected.tobytes(), axis
        out = np.empty((*expected.shape, 2), dtype)[..., 0]
        assert be.xp.sum(a, axis=axis, out=out) is out
        assert out.tobytes() == expected.tobytes(), axis
    assert be.xp.sum(a, axis=1, keepdims=True).shape == (70, 1, 3)
    assert be.xp.sum(a > 0) == (a > 0).sum()


NUMBERS = np.array([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf], "float32")


def test_largest_and_smallest_numbers_are_folded_from_first_to_last(be, rng):
    xp = be.xp
    a, b = (m.ravel() for m in np.meshgrid(NUMBERS, NUMBERS))
    for function, better in ((xp.maximum, np.greater), (xp.minimum, np.less)):
        expected = [x if better(x, y) or np.isnan(x) else y for x, y in zip(a, b, strict=True)]
        for out in (np.empty_like(a), a.copy(), b.copy()):
            given = function(a, b, out=out)
            assert [(str(x), np.signbit(x)) for x in given if x == x] == [
                (str(x), np.signbit(x)) for x in expected if x == x
            ]
            assert np.isnan(given).tolist() == np.isnan(expected).tolist()
    many = rng.choice(NUMBERS[[0, 1, 3]], (40, 6, 5))
    for name in ("max", "min"):
        pairwise = getattr(xp, name + "imum")
        for axis in (0, 1, 2, (1, 2), (0, 2), None):
            order = [axis] if isinstance(axis, int) else [0, 1, 2] if axis is None else list(axis)
            moved = many.transpose([*order, *(k for k in range(3) if k not in order)])
            lines = moved.reshape(int(np.prod([many.shape[k] for k in order])), -1)
            expected = functools.reduce(pairwise, lines)
            assert getattr(xp, name)(many, axis=axis).tobytes() == expected.tobytes(), (name, axis)
    assert np.isnan(xp.max(NUMBERS)) and xp.min(np.array([[3, 1]]), axis=1).tolist() == [1]
    assert xp.clip(NUMBERS[:4], -0.5, 0.0).tolist() == [0.0, 0.0, 0.0, -0.5]


def test_the_first_of_equal_numbers_is_the_largest_one(be):
    xp = be.xp
    for length in (3, 64, 1000):
        a = np.zeros(length, "float32")
        a[::2] = -0.0
        assert xp.argmax(a) == xp.argmin(a) == 0
        a[length // 2 :] = np.nan
        assert xp.argmax(a) == xp.argmin(a) == length // 2


class Doubled(bp.Layer):
    """y = 2 x, which does not say whether it is exact."""

    def plan(self, x):
        return bp.Plan(output=x, arrays={"y": x, "dx": x})

    def forward(self, ws, x):
        return ws.xp.multiply(x, 2.0, out=ws.y)

    def backward(self, ws, dy):
        return ws.xp.multiply(dy, 2.0, out=ws.dx)


class ExactDoubled(Doubled):
    exact = True


class Careless(Doubled):
    exact = True

    def forward(self, ws, x):
        return ws.xp.sinh(x, out=ws.y)


class OwnDense(bp.Dense):
    def forward(self, ws, x):
        return super().forward(ws, x)


class Renamed(bp.Dense):
    """Computes as Dense does."""


class Cube(bp.Activation):
    def f(self, x):
        return x * x * x

    def df(self, x, y, dy):
        return 3.0 * dy * x * x


class OwnCube(Cube):
    def backward(self, ws, dy):
        return super().backward(ws, dy)


class Quartic(bp.PointwiseLoss):
    def l(self, z, t):  # noqa: E743
        return (z - t) * (z - t)

    def dl(self, z, t):
        return 2.0 * (z - t)


class OwnQuartic(Quartic):
    def backward(self, ws, z, t):
        return super().backward(ws, z, t)


class CountedQuartic(Quartic):
    def counts(self, ws, t):
        return super().counts(ws, t)


class CalledCosine(bp.CosineDecay):
    def __call__(self, t):
        return 0.1 * math.exp(-t)


class FixedTanh(bp.Tanh):
    f = staticmethod(lambda x: gpubp.formula.exp(x))


class PlannedCube(Cube):
    def plan(self, x):
        return super().plan(x)


class HelpedCube(Cube):
    def cube(self, x):
        return x * x * x

    def f(self, x):
        return self.cube(x)


class PropertyDense(bp.Dense):
    use_bias = property(lambda self: True, lambda self, value: None)


class PartialDense(bp.Dense):
    plan = functools.partialmethod(bp.Dense.plan)


@pytest.mark.parametrize(
    "of",
    [
        OwnQuartic(), CountedQuartic(), CalledCosine(0.1, 10), PlannedCube(), PropertyDense(3), PartialDense(3),
    ],
)  # fmt: skip
def test_a_class_is_as_exact_as_its_base_only_without_methods_of_its_own(of):
    assert not is_exact(of)


@pytest.mark.parametrize(
    "of", [Quartic(), HelpedCube(), FixedTanh(), bp.Poisson(), bp.BinaryCrossEntropy(), bp.CosineDecay(0.1, 10)]
)
def test_formulas_and_what_they_call_need_not_say_so(of):
    assert is_exact(of)


def test_rates_of_a_class_that_calls_anything_are_refused():
    net = bp.Network(bp.Dense(1), 2, device="cpu", numerics="exact")
    with pytest.raises(bp.ExactError, match=r"CalledCosine.* does not say"):
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(CalledCosine(0.1, 10)))


@pytest.mark.parametrize("layer", [ExactDoubled(), Cube(), Renamed(3), bp.Bidirectional(bp.GRU(3))])
def test_layers_that_are_exact(layer):
    assert is_exact(layer)


@pytest.mark.parametrize("layer", [Doubled(), OwnCube(), OwnDense(3)])
def test_layers_that_do_not_say_so_are_refused_by_place_and_name(layer):
    layers = bp.Sequential(bp.Dense(3), bp.Residual(bp.Sequential(layer)))
    with pytest.raises(ExactError, match=rf'{type(layer).__name__}\(.*\) at "1.0.0" .* exact = True'):
        bp.Network(layers, 3, device="cpu", numerics="exact")
    bp.Network(layers, 3, device="cpu")


def test_a_layer_that_says_so_is_watched():
    net = bp.Network(Careless(), 3, device="cpu", numerics="exact")
    with pytest.raises(ExactError, match=r"xp\.sinh"):
        net.predict(np.zeros((2, 3)))
    assert bp.Network(ExactDoubled(), 3, device="cpu", numerics="exact").predict(np.ones((1, 3))).tolist() == [[2] * 3]


def test_losses_that_do_not_say_so_are_refused_by_name():
    net = bp.Network(bp.Dense(1), 2, device="cpu", numerics="exact")
    net.loss_and_gradients(Quartic(), np.ones((2, 2)), np.ones(2))
    with pytest.raises(ExactError, match=r"OwnQuartic\(\) does not say .* exact = True"):
        net.loss_and_gradients(OwnQuartic(), np.ones((2, 2)), np.ones(2))
    with pytest.raises(ExactError, match="OwnQuartic"):
        bp.Trainer(net, OwnQuartic(), bp.SGD(0.1)).fit(np.ones((2, 2)), np.ones(2), verbose=False)


def test_a_loss_that_estimators_sum_over_outputs_is_as_exact_as_it():
    pytest.importorskip("sklearn", reason="estimators need scikit-learn")
    from gpubp.estimators.rules import SumOverOutputs

    assert is_exact(SumOverOutputs(Quartic(), 2)) and not is_exact(SumOverOutputs(OwnQuartic(), 2))
