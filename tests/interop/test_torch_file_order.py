"""State dicts and files whose order says nothing of the order of modules: safetensors files are sorted by name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import ModelFileError
from gpubp.interop.weights.numbering import by_numbers, key_of

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
nn = torch.nn


def saved(state: dict[str, Any], folder: Path, ordered: bool = False) -> Path:
    path = folder / "weights.safetensors"
    state = {name: tensor.clone() for name, tensor in state.items()}
    safetensors.save_file(state, path, metadata={"order": "\n".join(state)} if ordered else None)
    return path


def of_random_numbers(module: Any) -> Any:
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.3 if name.endswith("var") else 0.5 * torch.randn_like(tensor))
    return module.eval()


def check(net: bp.Network, module: Any, source: Any, X: np.ndarray, by: set[str]) -> None:
    report = net.load_torch(source)
    assert report.complete and {one.by for one in report.taken} == by
    with torch.no_grad():
        np.testing.assert_allclose(net.predict(X), module(torch.from_numpy(X)).numpy(), rtol=1e-5, atol=1e-5)


class Stack(nn.Module):
    """Twelve layers of one shape: in a file, layer 10 stands before layer 2."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(12)])

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def test_numbers_are_read_as_numbers(tmp_path: Path) -> None:
    module = of_random_numbers(Stack())
    net = bp.Network(bp.Sequential(*[bp.Dense(4), bp.Tanh()] * 12), 4, device="cpu")
    X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    path = saved(module.state_dict(), tmp_path)
    check(net, module, path, X, {"shape and number"})
    check(net, module, safetensors.load_file(path), X, {"shape and number"})
    check(net, module, saved(module.state_dict(), tmp_path, ordered=True), X, {"order"})


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, num_layers=11, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x)[0])


def test_a_recurrent_network(tmp_path: Path) -> None:
    """Its head stands before it in a file."""
    module = of_random_numbers(Recurrent())
    layers = [bp.Bidirectional(bp.LSTM(4, return_sequences=True)) for _ in range(11)]
    net = bp.Network(bp.Sequential(*layers, bp.Dense(2)), (5, 3), device="cpu")
    X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    check(net, module, saved(module.state_dict(), tmp_path), X, {"shape and number"})


@pytest.mark.parametrize("first", [True, False])
def test_an_encoder_whose_norms_are_registered_last(tmp_path: Path, first: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=first)
    module = of_random_numbers(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    layers: list[bp.Layer] = []
    for _ in range(2):
        attend, feed = bp.MultiHeadAttention(2), bp.Sequential(bp.Dense(16), bp.ReLU(), bp.Dense(8))
        if first:
            layers += [bp.Residual(bp.Sequential(bp.LayerNorm(), attend))]
            layers += [bp.Residual(bp.Sequential(bp.LayerNorm(), *feed.layers))]
        else:
            layers += [bp.Residual(attend), bp.LayerNorm(), bp.Residual(feed), bp.LayerNorm()]
    net = bp.Network(bp.Sequential(*layers), (6, 8), device="cpu")
    X = np.random.default_rng(0).normal(size=(3, 6, 8)).astype("float32")
    check(net, module, module.state_dict(), X, {"shape and number"})
    check(net, module, saved(module.state_dict(), tmp_path), X, {"shape and number"})


def chain() -> bp.Network:
    return bp.Network(bp.Sequential(bp.Dense(4), bp.Tanh(), bp.Dense(4)), 4, device="cpu")


def linears(*names: str) -> dict[str, Any]:
    made = {}
    for name in names:
        made |= {f"{name}.weight": torch.randn(4, 4), f"{name}.bias": torch.randn(4)}
    return made


def test_names_without_numbers_leave_a_choice_in_a_file(tmp_path: Path) -> None:
    net, state = chain(), linears("fc_in", "fc_hidden")
    before = net.parameters["0.W"].copy()
    with pytest.raises(ModelFileError, match="not known.*fc_hidden.*fc_in.*rename=.*order"):
        net.load_torch(saved(state, tmp_path))
    assert (net.parameters["0.W"] == before).all()
    net.load_torch(saved(state, tmp_path, ordered=True))
    assert (net.parameters["0.W"] == state["fc_in.weight"].numpy().T).all()
    net.load_torch(saved(state, tmp_path), rename={"fc_in": "0", "fc_hidden": "2"})
    assert (net.parameters["0.W"] == state["fc_in.weight"].numpy().T).all()


def test_an_order_in_the_metadata_that_is_none_is_not_followed(tmp_path: Path) -> None:
    path = saved(linears("b", "a"), tmp_path, ordered=True)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    for wrong in ("", "b.weight", "a.bias\n" * 4, "x\ny\nz\nw"):
        header = json.loads(content[8 : 8 + length])
        header["__metadata__"]["order"] = wrong
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
        with pytest.raises(ModelFileError, match="not known"):
            chain().load_torch(path)


def test_numbers_that_contradict_the_order_are_an_error() -> None:
    with pytest.raises(ModelFileError, match="another order than their numbers: fc2.*before fc1"):
        chain().load_torch(linears("fc2", "fc1"))


def test_pairs_are_the_only_ones_that_shapes_and_numbers_allow() -> None:
    """Compared with all ways to do it, of random names and shapes."""
    draw = random.Random(0)
    counts = [0, 0]
    for _ in range(400):
        n = draw.randrange(1, 5)
        names = draw.sample([f"{a}{b}{c}" for a in ("x", "y") for b in ("1", "2", "") for c in (".0", ".10", "")], n)
        kinds = [draw.randrange(2) for _ in names]
        places = draw.sample(kinds, n)
        fits = {i: {j for j, kind in enumerate(places) if kind == kinds[i]} for i in range(n)}
        keys = [key_of(name) for name in names]
        found, left = by_numbers(fits, keys)
        ways = all_ways(fits, keys)
        counts[bool(left)] += 1
        if not left:
            assert ways == [found]
    assert min(counts) > 50


def all_ways(fits: dict[int, set[int]], keys: list[Any]) -> list[dict[int, int]]:
    import itertools

    from gpubp.interop.weights.numbering import is_before

    found = []
    for order in itertools.permutations(range(len(keys))):  # order[i]: the place of module i
        if all(order[i] in fits[i] for i in fits) and not any(
            is_before(keys[a], keys[b]) and order[a] > order[b] and fits[a] & fits[b] for a in fits for b in fits
        ):
            found.append({place: i for i, place in enumerate(order)})
    return found
