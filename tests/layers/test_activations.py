"""Activations compared with Python's math module, one number at a time."""

import base64
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.config import from_config

XS = [-700.0, -40.0, -3.0, -1.0, -0.5, -1e-9, 0.0, 1e-9, 0.7, 2.5, 40.0, 700.0]


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else math.exp(x)


SLOW: list[tuple[bp.Activation, Callable[[float], float]]] = [
    (bp.Sigmoid(), sigma),
    (bp.Tanh(), math.tanh),
    (bp.ReLU(), lambda x: x if x > 0 else 0.0),
    (bp.LeakyReLU(0.1), lambda x: x if x > 0 else 0.1 * x),
    (bp.LeakyReLU(2.0), lambda x: x if x > 0 else 2.0 * x),
    (bp.ELU(1.5), lambda x: x if x > 0 else 1.5 * math.expm1(x)),
    (bp.Softplus(), lambda x: x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))),
    (bp.SiLU(), lambda x: x * sigma(x)),
    (bp.ReLU(0.6), lambda x: min(max(x, 0.0), 0.6)),
    (bp.ThresholdedReLU(0.7), lambda x: x if x > 0.7 else 0.0),
    (bp.ThresholdedReLU(-0.7, 5.0), lambda x: x if x > -0.7 else 5.0),
    (bp.SELU(), lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x))),
    (bp.SELU(2.0, 3.0), lambda x: 3.0 * (x if x > 0 else 2.0 * math.expm1(x))),
    (bp.CELU(0.5), lambda x: x if x > 0 else 0.5 * math.expm1(x / 0.5)),
    (
        bp.Softplus(0.5),
        lambda x: 2.0 * math.log1p(math.exp(x / 2)) if x < 1 else x + 2.0 * math.log1p(math.exp(-x / 2)),
    ),
    (bp.LogSigmoid(), lambda x: -math.log1p(math.exp(-x)) if x > -700 else x),
    (bp.SiLU(0.5), lambda x: x * sigma(x / 2)),
    (bp.Mish(), lambda x: x * math.tanh(math.log1p(math.exp(x)) if x < 30 else x)),
    (bp.Softsign(), lambda x: x / (1 + abs(x))),
    (bp.Tanhshrink(), lambda x: x - math.tanh(x)),
    (bp.HardSigmoid(), lambda x: min(max(x / 6 + 0.5, 0.0), 1.0)),
    (bp.HardSigmoid(0.2, 0.45), lambda x: min(max(0.2 * x + 0.45, 0.0), 1.0)),
    (bp.HardSwish(), lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0)),
    (bp.Hardtanh(), lambda x: min(max(x, -1.0), 1.0)),
    (bp.Hardtanh(-0.6, 3.0), lambda x: min(max(x, -0.6), 3.0)),
    (bp.Hardtanh(None, 0.4), lambda x: min(x, 0.4)),
    (bp.Hardtanh(-0.6, None), lambda x: max(x, -0.6)),
    (bp.Softshrink(), lambda x: math.copysign(max(abs(x) - 0.5, 0.0), x)),
    (bp.Hardshrink(0.7), lambda x: x if abs(x) > 0.7 else 0.0),
    (bp.GELU(), lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2))),
    (bp.GELU("tanh"), lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
]


@pytest.mark.parametrize(("layer", "slow"), SLOW, ids=lambda v: repr(v) if isinstance(v, bp.Activation) else "")
def test_formulas_agree_with_the_standard_library(layer: bp.Activation, slow: Callable[[float], float]) -> None:
    net = bp.Network(layer, len(XS), device="cpu", dtype="float64")
    y = net.predict([XS])[0]
    assert y == pytest.approx([slow(x) for x in XS], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("layer", "slow"), SLOW, ids=lambda v: repr(v) if isinstance(v, bp.Activation) else "")
def test_derivatives_do_not_overflow(layer: bp.Activation, slow: Callable[[float], float]) -> None:
    for dtype in ("float32", "float64"):
        x = np.array(XS, dtype)
        with np.errstate(all="ignore"):
            y = layer.f(x)
            assert np.isfinite(layer.df(x, y, np.ones_like(x))).all()


@pytest.mark.parametrize("layer", [layer for layer, _ in SLOW], ids=repr)
def test_nan_stays_nan(layer: bp.Activation) -> None:
    assert math.isnan(layer.f(math.nan))


def test_relu_takes_the_derivative_at_zero_as_zero() -> None:
    assert float(bp.ReLU().df(0.0, 0.0, 1.0)) == 0.0


def test_derivatives_agree_with_differences_and_with_pytorch() -> None:
    """Of all that are above, amid their pieces; PyTorch's of those that it has, at its corners too."""
    x = np.array([-9.0, -4.0, -2.0, -1.2, -0.8, -0.3, 0.2, 0.55, 0.9, 1.3, 2.6, 3.4, 8.0])
    for layer, slow in SLOW:
        slope = [(slow(a + 1e-5) - slow(a - 1e-5)) / 2e-5 for a in x]
        np.testing.assert_allclose(
            layer.df(x, layer.f(x), np.ones_like(x)), slope, rtol=1e-6, atol=1e-9, err_msg=repr(layer)
        )
    torch = pytest.importorskip("torch")
    there = [
        (bp.ReLU(6.0), torch.nn.ReLU6()), (bp.ThresholdedReLU(1.0, 3.0), torch.nn.Threshold(1.0, 3.0)),
        (bp.SELU(), torch.nn.SELU()), (bp.CELU(2.0), torch.nn.CELU(2.0)),
        (bp.Softplus(3.0), torch.nn.Softplus(3.0, 1e9)),
        (bp.GELU(), torch.nn.GELU()),
        (bp.GELU("tanh"), torch.nn.GELU("tanh")),
        (bp.LogSigmoid(), torch.nn.LogSigmoid()), (bp.Mish(), torch.nn.Mish()), (bp.Softsign(), torch.nn.Softsign()),
        (bp.Tanhshrink(), torch.nn.Tanhshrink()), (bp.HardSigmoid(), torch.nn.Hardsigmoid()),
        (bp.HardSwish(), torch.nn.Hardswish()), (bp.Hardtanh(-2.0, 1.0), torch.nn.Hardtanh(-2.0, 1.0)),
        (bp.Softshrink(1.0), torch.nn.Softshrink(1.0)), (bp.Hardshrink(2.0), torch.nn.Hardshrink(2.0)),
    ]  # fmt: skip
    x = np.array([-7.0, -2.0, -1.0, -0.4, 0.0, 0.3, 1.0, 2.0, 6.0, 7.0])
    dy = np.arange(1.0, 11.0)
    for layer, module in there:
        t = torch.tensor(x, requires_grad=True)
        y = module(t)
        y.backward(torch.tensor(dy))
        np.testing.assert_allclose(layer.f(x), y.detach(), rtol=1e-12, atol=1e-15, err_msg=repr(layer))
        slope = layer.df(x, layer.f(x), dy)  # PyTorch has the sixth of a hard sigmoid as a float32 number
        np.testing.assert_allclose(slope, t.grad, rtol=1e-7, atol=1e-15, err_msg=repr(layer))


@pytest.mark.parametrize(
    ("cls", "arguments", "words"),
    [
        (bp.ReLU, [0.0], "ReLU needs max_value to be a number, above 0, or None"),
        (bp.CELU, [0.0], "CELU needs alpha"),
        (bp.SiLU, [-1.0], "SiLU needs alpha"),
        (bp.Softplus, [0], "Softplus needs beta"),
        (bp.Softshrink, [-0.5], "Softshrink needs threshold"),
        (bp.Hardshrink, ["0.5"], "Hardshrink needs threshold"),
        (bp.Hardtanh, [1.0, 1.0], "Hardtanh needs min_value below max_value, and got 1.0 and 1.0"),
        (bp.Hardtanh, [None, None], "Hardtanh needs one end at least"),
        (bp.SELU, [math.nan], "SELU needs alpha"),
    ],
)
def test_arguments_that_make_no_activation_are_refused(cls: type[bp.Activation], arguments: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cls(*arguments)


def test_files_of_layers_before_they_had_arguments_are_read() -> None:
    """What gpubp 0.1 wrote of these."""
    for name, layer in (("ReLU", bp.ReLU()), ("SiLU", bp.SiLU()), ("Softplus", bp.Softplus())):
        assert from_config({"class": name}) == layer


def test_gelu_has_two_forms_with_the_names_of_pytorch_and_keras() -> None:
    assert bp.GELU() == bp.GELU("none") == bp.GELU(False) == bp.GELU(approximate=np.False_)
    assert bp.GELU("tanh") == bp.GELU(True) != bp.GELU()
    assert repr(bp.GELU(False)) == "GELU()" and repr(bp.GELU(True)) == "GELU('tanh')"
    assert bp.GELU().config() == {"class": "GELU", "approximate": "none"}
    assert bp.GELU(True).config() == {"class": "GELU", "approximate": "tanh"}


def test_exact_gelu_has_its_places_far_below_zero_too() -> None:
    """Where ½ (1 + erf) would have none."""
    special = pytest.importorskip("scipy.special")
    for dtype, rtol in (("float32", 1e-5), ("float64", 1e-13)):
        x = np.linspace(-12.0, 12.0, 97).astype(dtype)
        wide = x.astype(np.longdouble).astype(np.float64)
        np.testing.assert_allclose(bp.GELU().f(x), wide * special.ndtr(wide), rtol=rtol)


# Dense(2), GELU(), Dense(1) as `net.save` wrote them when GELU had the form by tanh alone
OLD_FILE = (
    "c-qBN-%G<V5FYrCjC&5!rek0q)CYgO_$EVe9VP9qTcAs7lA_xv_@B8y%}c7FPU@q9BX^hYyYCJz(a9*BJ>>ZYomdJd@*L7VteUoH"
    "AcYthlv-7CMZrFUT5QqS4AL<LWi4#*Gq}g67L}8t&VY@-;^yChSEwxZm{v&_vOGi<^FoS{aHd6{dq%lhyIc~GD$5<3W98dg8|`LF"
    "R@!Vb=seHY8D>4A(d2dn|55JxZq~Oan#SlCxe*TgCnwZ82>d-!{ErhY0zs;#b-7)OCUigN3!h!OZSyfrRcqlA-ZyR$mp+~NpfY-g"
    "DzF0Sb2EZw*ZGYwWx{D8qT;NKCRkFB5S>2w#R&@ZbVC3JK_AjNXQU5dy>wMsbe574i>HggEC!gzym-p^#1r|jWPD8J6PECvI-vOr"
    "G2twsX1j4XqtW4lzRiJ*?pJT;<iC+!lJD>HcN+!>&;"
)


def test_a_model_file_of_before_keeps_the_tanh_form(tmp_path: Path) -> None:
    """A file of gpubp before GELU was exact, with what it predicted then; written again it says the same."""
    path = tmp_path / "old.safetensors"
    path.write_bytes(zlib.decompress(base64.b85decode(OLD_FILE)))
    X = np.array([[1.0, -1.0], [-0.5, 2.0], [0.0, 0.0]])
    for file in (path, tmp_path / "new.safetensors"):
        net = bp.load(file, device="cpu")
        assert net.layers.children[1] == bp.GELU("tanh")
        assert net.predict(X).ravel().tolist() == [2.3610446453094482, -1.668487787246704, 0.5786367058753967]
        net.save(tmp_path / "new.safetensors")
    exact = bp.Network(bp.Sequential(bp.Dense(2), bp.GELU(), bp.Dense(1)), 2, device="cpu")
    exact.flat[...] = net.flat
    assert 1e-6 < abs(exact.predict(X) - net.predict(X)).max() < 2e-3
