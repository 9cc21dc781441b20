"""Numbers that the host computes and the network goes by: first weights, learning rates, tables. Exact ones have the
same bits everywhere, and ordinary ones are what they always were."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import INITIALIZERS, SCHEDULES
from gpubp.backends.exact_generator import ExactGenerator
from gpubp.backends.lowering import traced
from gpubp.errors import ExactError
from gpubp.formula import exp
from gpubp.formula.host import cos, host_numerics, log, log10, power, sin
from gpubp.formula.host import exp as exp_here
from gpubp.layers.binding import initial_values
from gpubp.layers.plan import Parameter
from gpubp.layers.positions import encoding

HERE = Path(__file__).parent
STEPS = [0, 1, 2, 3, 5, 17, 100, 999, 1000, 1001, 123_456, 10_000_000]


def everything() -> bytes:
    """The bits of all of these, in exact numerics."""
    found: list[Any] = [ExactGenerator(np.random.PCG64(5)).normal(size=1001)]
    for initializer in INITIALIZERS:
        found.append(initial_values("0.W", Parameter((6, 9), initializer), 3, numerics="exact"))
    with host_numerics("exact"):
        for schedule in SCHEDULES:
            found.append([schedule(t) for t in STEPS])
        t = np.array(STEPS[1:], np.float64)
        found += list(bp.Adam().step_scalars(t, np.full(len(t), 0.01)).values())
        found += list(bp.NAdam().step_scalars(t, np.full(len(t), 0.01)).values())
        layer = bp.MelSpectrogram(rate=8000, window=64, bands=20)
        found += [encoding(100, 6), layer._waves(), layer._triangles()]
    return b"".join(np.asarray(a, np.float64).tobytes() for a in found)


def test_bits_stay_what_they_are() -> None:
    assert hashlib.sha256(everything()).hexdigest()[:16] == "0e3df975e25a46dd"


def test_other_processors_have_the_bits_too() -> None:
    """NumPy without what this processor has beyond the least."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    extra = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])
    code = "import sys; sys.path[:0] = sys.argv[1:]; import test_host; sys.stdout.buffer.write(test_host.everything())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(HERE), str(HERE.parent)],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": extra}, capture_output=True, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    assert done.stdout == everything()


def test_ordinary_numbers_are_what_they_were() -> None:
    rng = np.random.default_rng([3, *b"0.W"])
    drawn = initial_values("0.W", Parameter((4, 5), bp.Normal(0.1, 2.0)), 3)
    assert drawn.tobytes() == rng.normal(2.0, 0.1, (4, 5)).tobytes()
    assert bp.CosineDecay(0.3, steps=7)(3) == 0.0 + 0.5 * (0.3 - 0.0) * (1.0 + math.cos(math.pi * (3 / 7)))
    assert bp.ExponentialDecay(0.3, decay=0.7, steps=9)(4) == 0.3 * 0.7 ** (4 / 9)
    t = np.arange(1.0, 50.0)
    scalars = bp.Adam(beta_2=0.97).step_scalars(t, t)
    assert scalars["eps_hat"].tobytes() == (1e-8 * np.sqrt(1.0 - 0.97**t)).tobytes()
    assert sin(np.ones(3)).tobytes() == np.sin(np.ones(3)).tobytes() and cos(1.0) == math.cos(1.0)


def test_exact_numbers_are_near_the_ordinary_ones() -> None:
    x = np.linspace(0.01, 50, 1000)
    with host_numerics("exact"):
        for ours, numpys in ((sin, np.sin), (cos, np.cos), (log10, np.log10), (log, np.log), (exp_here, np.exp)):
            np.testing.assert_allclose(ours(x), numpys(x), rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(power(x, 3.5), x**3.5, rtol=2e-14)
        np.testing.assert_allclose(power(0.999, np.arange(0.0, 5000.0)), 0.999 ** np.arange(5000), rtol=1e-12)
        few = np.array([0.0, 1.0, 2.5, 7.0, 1000.0, 12345.0])
        assert power(0.99, few[[0, 1, 3, 4, 5]]).tolist() == [power(0.99, n) for n in (0, 1, 7.0, 1000, 12345)]
        assert power(0.99, few).tolist()[2] == power(0.99, 2.5)
        assert power(3.0, 4) == 81.0 and power(0.0, 0) == 1.0 and power(0.5, 2000) == 0.0
        for schedule in SCHEDULES:
            rates = [schedule(t) for t in STEPS]
            with host_numerics("ordinary"):
                np.testing.assert_allclose(rates, [schedule(t) for t in STEPS], rtol=1e-12, atol=1e-300)


def test_powers_are_the_same_from_wherever_a_training_goes_on() -> None:
    adam = bp.Adam()
    with host_numerics("exact"):
        t = np.arange(1.0, 400.0)
        all_at_once = adam.step_scalars(t, np.full(len(t), 0.1))["alpha"]
        later = adam.step_scalars(t[211:], np.full(len(t) - 211, 0.1))["alpha"]
    assert all_at_once[211:].tobytes() == later.tobytes()


def test_draws_have_their_distribution() -> None:
    z = ExactGenerator(np.random.PCG64(1)).normal(2.0, 3.0, size=(200, 1000))
    u = ExactGenerator(np.random.PCG64(2)).uniform(-1.0, 3.0, size=200_000)
    standard = (z - 2.0) / 3.0
    for power_of_z, wanted in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        assert abs(np.mean(standard**power_of_z) - wanted) < 0.05
    assert abs(np.mean(standard[:, ::2] * standard[:, 1::2])) < 0.01
    assert u.min() >= -1.0 and u.max() < 3.0 and abs(u.mean() - 1.0) < 0.01 and abs(u.var() - 16 / 12) < 0.01
    rng = ExactGenerator(np.random.PCG64(3))
    assert isinstance(rng.normal(), float) and rng.normal(size=3).shape == (3,) and rng.uniform(size=0).shape == (0,)


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (2, 2, 4)])
def test_orthogonal_values_are_orthonormal(shape: tuple[int, ...]) -> None:
    q = initial_values("0.U", Parameter(shape, bp.Orthogonal()), 1, numerics="exact").reshape(-1, shape[-1])
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-15)


@dataclass(frozen=True, repr=False)
class Mine(bp.Initializer):
    draws: str = "uniform"

    def draw(self, rng: Any, shape: tuple[int, ...]) -> Any:
        return getattr(rng, self.draws)(size=shape)


@dataclass(frozen=True, repr=False)
class MineExact(Mine):
    exact = True

    def draw(self, rng: Any, shape: tuple[int, ...]) -> Any:
        return super().draw(rng, shape)


class Rates(bp.Schedule):
    def __call__(self, t: int) -> float:
        return 0.1


def test_what_is_not_exact_is_refused_by_name() -> None:
    pytest.importorskip("numba")

    def network(initializer: Any) -> bp.Network:
        return bp.Network(bp.Dense(2, weight_initializer=initializer), 3, device="cpu", numerics="exact")

    with pytest.raises(ExactError, match=r"Mine\(.*for W.*draws by rng.*class Mine the line exact = True"):
        network(Mine())
    with pytest.raises(ExactError, match=r"rng\.standard_normal has other bits"):
        network(MineExact("standard_normal"))
    net = network(MineExact())
    for rate in (Rates(), bp.Warmup(Rates(), steps=3)):
        with pytest.raises(ExactError, match="Rates.*gpubp.formula.host alone"):
            bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(rate))
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(bp.Warmup(bp.CosineDecay(0.1, steps=9), steps=3)))


def by_a_constant(x: Any) -> Any:
    return x * exp(0.3)


def test_functions_of_constants_are_exact_too() -> None:
    with host_numerics("exact"):
        wanted = float(exp(0.3))
    exact, ordinary = (float(traced(by_a_constant, 1, 1, n).steps[0].operands[1]) for n in ("exact", "ordinary"))
    assert exact == wanted and ordinary == float(np.exp(0.3))
    assert abs(exact - ordinary) < 1e-15
