"""The examples of `gpubp explain --example`: numbers for a pocket calculator, and what is said of them."""

import math
import re

import numpy as np
import pytest

import gpubp as bp
from gpubp.explain.build import Builder
from gpubp.explain.examples import EXAMPLES, Example, example
from gpubp.explain.watched import Watched


@pytest.fixture(params=EXAMPLES)
def one(request: pytest.FixtureRequest) -> Example:
    return example(request.param)


def test_numbers_are_short(one: Example) -> None:
    """One digit behind the point, two before it at most but for a target of 200."""
    for values in (*one.parameters.values(), one.X, one.y):
        for number in np.ravel(values).tolist():
            assert re.fullmatch(r"-?\d{1,3}(\.\d)?", repr(number))
    assert set(one.parameters) == set(one.bound().parameters)


def test_two_sentences_say_what_to_look_at(one: Example) -> None:
    assert len(re.findall(r"[^.]{20,}\.(?= [A-Z]|$)", re.sub(r"\d\.\d", "", one.look))) == 2


def test_a_step_gives_the_numbers_of_the_network(one: Example) -> None:
    """The watched step and `Network.loss_and_gradients` give the same loss, also for layers without a `Network`."""
    net = one.network(bp.Network)
    loss, gradients = net.loss_and_gradients(one.loss, np.array(one.X), np.array(one.y))
    watched = Watched(one.bound(), one.X, one.y, one.loss, one.optimizer)
    assert watched.loss == pytest.approx(loss, rel=1e-14)
    found = {str(line.gradient_of): line.value for line in Builder(watched).content(one.title).lines()}
    for name, gradient in gradients.items():
        for index in np.ndindex(*gradient.shape):
            assert found[f"{name}[{','.join(map(str, index))}]"] == pytest.approx(gradient[index], rel=1e-12)


def test_neuron_by_hand() -> None:
    one = example("neuron")
    y = 1 / (1 + math.exp(-1.0))
    loss, gradients = one.network(bp.Network).loss_and_gradients(one.loss, one.X, one.y)
    assert loss == pytest.approx(0.5 * (1 - y) ** 2)
    assert gradients["0.W"].item() == pytest.approx((y - 1) * y * (1 - y) * 2)


def test_chain_is_that_of_the_essay() -> None:
    one = example("chain")
    loss, gradients = one.network(bp.Network).loss_and_gradients(one.loss, one.X, one.y)
    assert (loss, *(g.item() for g in gradients.values())) == pytest.approx((3847, -984, -1968, -656))


def test_exclusive_or_is_learnt_as_the_page_says() -> None:
    one = example("xor")
    net = one.network(bp.Network)
    X, y = np.array(one.X), np.array(one.y)
    bp.Trainer(net, one.loss, one.optimizer, batch_size=None).fit(X, y, epochs=2000)
    told = [float(number) for number in re.findall(r"0\.\d\d", one.look)]
    assert net.predict(X).ravel().round(2).tolist() == told == [0.07, 0.94, 0.94, 0.08]


def test_filter_sees_the_line() -> None:
    """The largest outputs of the convolution lie on the line, and no window of the pool has two largest places."""
    one = example("conv")
    net = one.network(bp.Network)
    watched = Watched(net, one.X, one.y, one.loss)
    values = {str(line.key): line.value for line in Builder(watched).content("").lines()}
    y = np.array([[values[f"1.y[0,{h},{w},0]"] for w in range(4)] for h in range(4)])
    assert sorted(y.ravel())[-4:] == sorted(np.diag(y))
    assert (y > 0).sum() <= 6
    windows = [np.sort(y[h : h + 2, w : w + 2].ravel()) for h in (0, 2) for w in (0, 2)]
    assert all(window[-1] > max(window[-2], 0) for window in windows)


def test_another_name() -> None:
    with pytest.raises(bp.DataError, match=r"no example 'konv' \(did you mean conv\?\); there are neuron, chain"):
        example("konv")
