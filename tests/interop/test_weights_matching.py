"""Which module goes to which layer: by name, by order, not at all, and what is an error."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import ModelFileError
from gpubp.interop.weights.alignment import align

RNG = np.random.default_rng(0)


def linear(path: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    """A Linear of a state dict, with numbers of its own."""
    prefix = f"{path}." if path else ""
    return {f"{prefix}weight": RNG.normal(size=(outputs, inputs)), f"{prefix}bias": RNG.normal(size=outputs)}


def chain(*units: int, between: bool = True) -> bp.Network:
    """Dense layers, with a ReLU between them, whose paths are then 0, 2, 4, ..."""
    layers = [layer for n in units[1:] for layer in ([bp.Dense(n), bp.ReLU()] if between else [bp.Dense(n)])]
    return bp.Network(bp.Sequential(layers[:-1] if between else layers), units[0], device="cpu", dtype="float64")


def state_of(*units: int, names: str = "fc{}") -> dict[str, np.ndarray]:
    made = {}
    for k, (n, m) in enumerate(itertools.pairwise(units)):
        made |= linear(names.format(k), n, m)
    return made


def numbers(net: bp.Network) -> dict[str, bytes]:
    return {name: a.tobytes() for name, a in (*net.parameters.items(), *net.states.items())}


def from_where(net: bp.Network, state: dict[str, np.ndarray], path: str) -> str:
    """The module of the state whose weight a Dense has."""
    W = net.parameters[f"{path}.W" if path else "W"]
    return next((name for name, a in state.items() if a.T.shape == W.shape and (a.T == W).all()), "none")


def test_all_by_order() -> None:
    net, state = chain(4, 8, 8, 3), state_of(4, 8, 8, 3)
    report = net.load_torch(state)
    assert [from_where(net, state, p) for p in ("0", "2", "4")] == ["fc0.weight", "fc1.weight", "fc2.weight"]
    assert report.complete and {one.by for one in report.taken} == {"order"}
    assert "by order" in str(report)


def test_equal_names_count_before_order() -> None:
    """A state dict in another order: names decide, although shapes would let the order decide too."""
    net, state = chain(8, 8, 8, 8), {}
    for path in ("4", "2", "0"):
        state |= linear(path, 8, 8)
    report = net.load_torch(state)
    assert [from_where(net, state, p) for p in ("0", "2", "4")] == ["0.weight", "2.weight", "4.weight"]
    assert {one.by for one in report.taken} == {"name"}


def test_names_that_are_equal_by_accident_do_not_count() -> None:
    """Theirs are 0, 2, 4, with ReLU between, and ours 0, 1, 2: layer 2 is not their module 2."""
    net = chain(4, 8, 8, 3, between=False)
    state = linear("0", 4, 8) | linear("2", 8, 8) | linear("4", 8, 3)
    report = net.load_torch(state)
    assert [from_where(net, state, p) for p in ("0", "1", "2")] == ["0.weight", "2.weight", "4.weight"]
    assert {one.by for one in report.taken} == {"order"}


def test_names_and_shapes_that_contradict_the_order_are_followed_by_neither() -> None:
    """Theirs 0, 2 are both 8 x 8, and so are ours 0, 2 among 0, 1, 2, 3: names are what both libraries go by."""
    net = bp.Network(bp.Sequential([bp.Dense(8)] * 4), 8, device="cpu", dtype="float64")
    state = linear("0", 8, 8) | linear("2", 8, 8)
    report = net.load_torch(state)
    assert [one.layer for one in report.taken] == ["0", "2"] and set(report.missing) == {"1", "3"}
    other = {name.replace("2.", "9."): a for name, a in state.items()}
    before = numbers(net)
    with pytest.raises(ModelFileError, match="leaves a choice"):
        net.load_torch(other)
    assert numbers(net) == before


def test_a_head_of_other_size_stays() -> None:
    """As `load_weights` does it, and the report says so; by names and by order."""
    for names in ("fc{}", None):
        net = chain(4, 8, 8, 5)
        head = net.parameters["4.W"].copy()
        paths = ["0", "2", "4"]
        state = {}
        for k, (n, m) in enumerate([(4, 8), (8, 8), (8, 10)]):
            state |= linear(names.format(k) if names else paths[k], n, m)
        report = net.load_torch(state)
        assert [one.layer for one in report.taken] == ["0", "2"] and not report.complete
        assert (net.parameters["4.W"] == head).all()
        assert "(10, 8)" in report.missing["4"] and "(5, 8)" in report.missing["4"]
        assert len(report.unused) == 2
        before = numbers(net)
        with pytest.raises(ModelFileError, match="nothing was loaded"):
            net.load_torch(state, strict=True)
        assert numbers(net) == before


def test_a_body_of_a_longer_network() -> None:
    net, state = chain(4, 8, 6), state_of(4, 8, 6, 3)
    report = net.load_torch(state)
    assert [one.tensors[0] for one in report.taken] == ["fc0.weight", "fc1.weight"]
    assert set(report.unused) == {"fc2.weight", "fc2.bias"}


@pytest.mark.parametrize(
    ("ours", "theirs"), [((8, 8), (8, 8, 8)), ((8, 8, 8, 8), (8, 8, 8)), ((4, 8, 8, 8, 3), (4, 8, 8, 3))]
)
def test_a_choice_is_an_error_that_names_it(ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    net, state = chain(*ours), state_of(*theirs)
    before = numbers(net)
    with pytest.raises(ModelFileError, match=r"leaves a choice: .*fc.*rename="):
        net.load_torch(state)
    assert numbers(net) == before


def test_another_order_is_followed_where_shapes_and_numbers_say_it() -> None:
    """A module's norms are registered behind its linear layers."""
    layers = bp.Sequential(bp.LayerNorm(), bp.Dense(4), bp.LayerNorm(), bp.Dense(4))
    net = bp.Network(layers, 4, device="cpu", dtype="float64")
    norm = {f"norm{k}.{name}": RNG.normal(size=4) for k in (1, 2) for name in ("weight", "bias")}
    state = linear("fc1", 4, 4) | linear("fc2", 4, 4) | norm
    report = net.load_torch(state)
    assert report.complete and {one.by for one in report.taken} == {"shape and number"}
    np.testing.assert_array_equal(net.parameters["2.gamma"], state["norm2.weight"])
    assert [from_where(net, state, p) for p in ("1", "3")] == ["fc1.weight", "fc2.weight"]


def test_another_order_is_an_error_where_names_have_no_numbers() -> None:
    layers = bp.Sequential(bp.LayerNorm(), bp.Dense(4), bp.LayerNorm(), bp.Dense(3))
    net = bp.Network(layers, 4, device="cpu", dtype="float64")
    norm = {f"{k}.{name}": RNG.normal(size=4) for k in ("norm", "final") for name in ("weight", "bias")}
    state = linear("fc1", 4, 4) | linear("fc2", 4, 3) | norm
    before = numbers(net)
    with pytest.raises(ModelFileError, match="another order|leaves a choice"):
        net.load_torch(state)
    assert numbers(net) == before
    report = net.load_torch(state, rename={"norm": "0", "fc1": "1", "final": "2", "fc2": "3"})
    assert report.complete and {one.by for one in report.taken} == {"name"}
    np.testing.assert_array_equal(net.parameters["2.gamma"], state["final.weight"])


def test_rename_of_some_and_order_of_the_rest() -> None:
    net, state = chain(8, 8, 8, 8), state_of(8, 8, 8, 8)
    report = net.load_torch(state, rename={"fc1": "2"})
    assert [one.by for one in report.taken] == ["order", "name", "order"] and report.complete
    before = numbers(net)
    for rename in ({"fc2": "0"}, {"fc2": "0", "fc0": "2"}):
        with pytest.raises(ModelFileError, match="another order"):
            net.load_torch(state, rename=rename)
    assert numbers(net) == before
    net.load_torch(state, rename={"fc2": "0", "fc1": "4", "fc0": "2"})
    assert [from_where(net, state, p) for p in ("0", "2", "4")] == ["fc2.weight", "fc0.weight", "fc1.weight"]


def test_rename_in_its_forms() -> None:
    """Beginnings, whole names in PyTorch's and in our words, functions, and None for what is left out."""
    state = state_of(4, 8, 3, names="model.net.fc{}")
    forms = [
        {"model.net.fc0": "0", "model.net.fc1": "2"},
        {
            f"model.net.fc{k}.{theirs}": f"{2 * k}.{ours}"
            for k in (0, 1)
            for theirs, ours in (("weight", "W"), ("bias", "b"))
        },
        {f"model.net.fc{k}.{name}": f"{2 * k}.{name}" for k in (0, 1) for name in ("weight", "bias")},
        lambda name: name.removeprefix("model.net.fc").replace("1.", "2."),
    ]
    for rename in forms:
        net = chain(4, 8, 3)
        report = net.load_torch(state, rename)
        assert report.complete and {one.by for one in report.taken} == {"name"}, rename
        assert (net.parameters["2.b"] == state["model.net.fc1.bias"]).all()
    for rename in ({"model.net.fc1": None}, lambda name: None if "fc1" in name else name):
        report = chain(4, 8, 3).load_torch(state, rename)
        assert [one.layer for one in report.taken] == ["0"]
        assert report.unused["model.net.fc1.weight"] == "rename leaves it out"


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        ({"fc7": "0"}, "'fc7', with which no name begins; did you mean"),
        ({"fc0": "7"}, "no layer with parameters is called so\nthere are 0"),
        ({"fc0": "1"}, "no layer with parameters"),
        ({"fc0": "2"}, r"fc0.weight has the shape \(8, 4\), and layer 2"),
        ({"fc0": "0", "fc1": "0"}, "the same name"),
        (lambda name: "0.weight", "the same name"),
    ],
)
def test_rename_that_does_not_fit(rename, words: str) -> None:
    net = chain(4, 8, 3)
    before = numbers(net)
    with pytest.raises(ModelFileError, match=words):
        net.load_torch(state_of(4, 8, 3), rename)
    assert numbers(net) == before


@pytest.mark.parametrize("rename", [3, "fc0", {"fc0": 0}, lambda name: 5])
def test_rename_of_another_type(rename) -> None:
    with pytest.raises(TypeError, match="rename"):
        chain(4, 8, 3).load_torch(state_of(4, 8, 3), rename)


def test_every_difference_is_said_at_once() -> None:
    """rename of three layers, of which two do not fit."""
    net = chain(4, 8, 6, 3)
    state = state_of(4, 9, 7, 3)
    with pytest.raises(ModelFileError) as found:
        net.load_torch(state, {f"fc{k}": str(2 * k) for k in range(3)})
    assert all(f"fc{k}.weight" in str(found.value) for k in range(3))


def test_nothing_fits() -> None:
    net = chain(4, 8, 3)
    for state in ({}, {"a": np.zeros(3)}, linear("x", 5, 9)):
        with pytest.raises(ModelFileError, match="nothing in the state dict fits"):
            net.load_torch(state)
    with pytest.raises(ModelFileError, match="no parameters"):
        bp.Network(bp.ReLU(), 3, device="cpu").load_torch(linear("x", 3, 3))


def test_kinds_are_not_mixed_up() -> None:
    """A norm is no bias, an embedding of the same shape stands where it stands, a transposed weight does not fit."""
    net = bp.Network(bp.Sequential(bp.Embedding(8, 8), bp.Dense(8, use_bias=False)), 3, device="cpu", dtype="float64")
    state = {"words.weight": RNG.normal(size=(8, 8)), "fc.weight": RNG.normal(size=(8, 8))}
    net.load_torch(state)
    np.testing.assert_array_equal(net.parameters["0.W"], state["words.weight"])
    np.testing.assert_array_equal(net.parameters["1.W"], state["fc.weight"].T)
    small = bp.Network(bp.Dense(2), 3, device="cpu")
    with pytest.raises(ModelFileError, match="nothing"):
        small.load_torch({"weight": np.zeros((3, 2)), "bias": np.zeros(2)})
    without = bp.Network(bp.Dense(2, use_bias=False), 3, device="cpu")
    with pytest.raises(ModelFileError, match="has nothing for bias"):
        without.load_torch(linear("", 3, 2))


def test_numbers_that_overflow_are_refused_before_anything_is_written() -> None:
    net = bp.Network(bp.Sequential(bp.Dense(2), bp.Dense(2)), 2, device="cpu")
    before = numbers(net)
    for bad in (1e300, np.nan, np.inf):
        state = state_of(2, 2, 2)
        state["fc1.bias"][1] = bad
        with pytest.raises(ModelFileError, match="1.b would hold"):
            net.load_torch(state)
        assert numbers(net) == before


def test_a_network_in_use_is_left_alone() -> None:
    """As training holds it: another thread may not load meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    net = chain(4, 8, 3)
    with net.one_thread.during("fit"), ThreadPoolExecutor(1) as pool:
        for work in (lambda: net.load_torch(state_of(4, 8, 3)), net.to_torch_state, lambda: net.load_keras("a.keras")):
            with pytest.raises(bp.errors.InUseError):
                pool.submit(work).result()


def test_alignments_are_the_largest_and_counted_right() -> None:
    """Against all alignments, on 400 random tables."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        fits = rng.random((rng.integers(1, 6), rng.integers(1, 6))) < 0.5
        cells = [tuple(map(int, cell)) for cell in np.argwhere(fits)]
        found = {()}
        for i, j in cells:
            found |= {(*one, (i, j)) for one in found if not one or (one[-1][0] < i and one[-1][1] < j)}
        most = max(map(len, found))
        largest = {one for one in found if len(one) == most}
        one, other = align(fits.tolist())
        assert tuple(one) in largest and tuple(other) in largest
        assert (one == other) == (len(largest) == 1)
