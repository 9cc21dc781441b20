"""Tree: the layers in a file of Keras 3, `.keras` or `.weights.h5`, in their order.

A layer is a group with its arrays in vars/0, vars/1, ...; a model has its layers in the group "layers", each called by
its class and a number: dense, dense_1, ... HDF5 keeps no order among names, so the configuration says it; without one
the numbers do, among layers of one class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..weights.modules import Module, Tensor
from .described import Described, without_number
from .groups import Group, Stored
from .kinds import KINDS, STRANGE, facts_of, kind_of, refused_by, roles_of, separated

ASIDE = {
    "optimizer",
    "seed_generator",
    "metrics",
    "_metrics",
    "loss_tracker",
    "_loss_tracker",
    "_dropout_layer",
    "_softmax",
}
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # as Keras 3 calls it, and Keras 2.12 to 2.15
WAYS = {"forward_layer": "forward", "backward_layer": "backward"}
NUMBERED = {"query_dense": "query", "key_dense": "key", "value_dense": "value", "output_dense": "output"}


class Node(NamedTuple):
    """A group of the file that is a layer.

    name: of the group. path: of the layer, with the models around it. layer: what the configuration says of it. series:
    of layers, in whose order it stands.

    >>> Node(Group({}, {}, None, 0), "dense_1", "dense_1", None, "").name
    'dense_1'
    """

    group: Group
    name: str
    path: str
    layer: Described | None
    series: str


def modules_of_tree(root: Group, model: Described | None) -> list[Module]:
    """The layers with arrays of a file.

    >>> from .groups import Group
    >>> modules_of_tree(Group({}, {}, None, 0), None)
    []
    """
    return list(_modules(Node(root, "", "", model, "")))


def _modules(at: Node) -> Iterator[Module]:
    own = at.group.groups.get("vars")
    parts = _parts(at.group)
    if parts:
        yield _composed(at, parts)
        return
    if own is not None and own.arrays:
        yield from _plain(at)
    inside = {n: g for n, g in at.group.groups.items() if n not in ASIDE and n != "vars"}
    if "layer" in inside and at.layer is not None and len(at.layer.inside) == 1:  # a wrapper such as TimeDistributed
        yield from _modules(at._replace(group=inside.pop("layer"), name="", layer=at.layer.inside[0]))
    elif "layer" in inside and at.name.startswith("time_distributed"):
        yield from _modules(at._replace(group=inside.pop("layer"), name="", layer=None))
    for container in [name for name in CONTAINERS if name in inside]:
        yield from _of_container(inside.pop(container), at, at.layer)
    for inner, group in inside.items():
        path = f"{at.path}/{inner}" if at.path else inner
        if _is_container(group):
            yield from _of_container(group, at._replace(path=path), None)
        else:
            yield from _modules(Node(group, inner, _called(group, inner, at.path), None, path))


def _is_container(group: Group) -> bool:
    return not group.arrays and "vars" not in group.groups and not _parts(group)


def _called(group: Group, name: str, inside: str) -> str:
    own = group.groups.get("vars")
    real = (own.text("name") if own is not None else "") or name
    return f"{inside}/{real}" if inside else real


def _of_container(container: Group, at: Node, model: Described | None) -> Iterator[Module]:
    """The layers of a model, in the order of its configuration, or else of their numbers."""
    groups = dict(container.groups)
    if model is not None and model.inside:
        for name, layer in _by_configuration(groups, model.inside):
            yield from _modules(Node(groups.pop(name), name, f"{at.path}/{layer.name}".lstrip("/"), layer, at.series))
    for name in sorted(groups, key=without_number):
        series = f"{at.path}/{without_number(name)[0]}"
        yield from _modules(Node(groups[name], name, _called(groups[name], name, at.path), None, series))


def _by_configuration(groups: dict[str, Group], layers: Sequence[Described]) -> list[tuple[str, Described]]:
    """(group, layer) in the order of the layers: by the name that the group has inside, or by class and number."""
    real = {_called(group, "", ""): name for name, group in groups.items()}
    counts: dict[str, int] = {}
    found: dict[str, Described] = {}
    for layer in layers:
        number = counts.get(layer.snake, 0)
        counts[layer.snake] = number + 1
        name = real.get(layer.name) or (f"{layer.snake}_{number}" if number else layer.snake)
        if name in groups and name not in found:
            found[name] = layer
    return list(found.items())


def _parts(group: Group) -> list[tuple[str, Group]]:
    """(what it is to the layer, arrays) of layers that hold theirs in layers of their own; [] for others."""
    inner = group.groups
    if set(WAYS) <= inner.keys():
        ways = [(f"{way}/", _parts(inner[name])) for name, way in WAYS.items()]
        return [(prefix, parts[0][1]) for prefix, parts in ways if parts] if all(parts for _, parts in ways) else []
    if "cell" in inner and "vars" in inner["cell"].groups and inner["cell"].groups["vars"].arrays:
        return [("", inner["cell"].groups["vars"])]
    heads = {role: inner.get(n) or inner.get(f"_{n}") for n, role in NUMBERED.items()}
    if all(g is not None and "vars" in g.groups for g in heads.values()):
        return [(f"{role}/", g.groups["vars"]) for role, g in heads.items() if g is not None]
    return []


def _composed(at: Node, parts: Sequence[tuple[str, Group]]) -> Module:
    """A recurrent layer, two of them, or attention."""
    layer = at.layer
    if layer is not None and layer.cls == "Bidirectional" and layer.inside:
        layer = layer.inside[0]
    known = layer if layer is not None and layer.snake in KINDS else None
    kind, snake = kind_of("", "multi_head_attention" if parts[0][0] == "query/" else _cell(at.group), known)
    why = ""
    if kind_of(at.name, "", layer)[1] in STRANGE or "gate_dense" in at.group.groups:
        why = f"gpubp has no layer for {kind_of(at.name, '', layer)[1]}"
    tensors: dict[str, Tensor] = {}
    for prefix, own in parts:
        arrays = _numbered(own)
        roles, problem = roles_of("dense" if kind == "attention" else kind, snake, [a.shape for _, a in arrays], layer)
        why = why or problem or refused_by(kind, layer)
        names = roles if len(roles) == len(arrays) else [n for n, _ in arrays]
        for role, (_, stored) in zip(names, arrays, strict=True):
            tensors[prefix + role] = Tensor(f"{at.path}/{prefix}{role}", stored.shape, stored.read)
    facts = facts_of(at.layer) | {k: v for k, v in facts_of(layer).items() if k != "go_backwards" or layer is at.layer}
    return Module(at.path, tensors, kind, series=at.series, facts=facts, refused=why)


def _cell(group: Group) -> str:
    """The class of the cell in a recurrent layer, or in the first of two, as its arrays are called: "lstm"."""
    inner = group.groups.get("forward_layer", group).groups
    if "cell" not in inner:
        return ""
    name = inner["cell"].groups["vars"].text("name")
    base = without_number(name)[0].removesuffix("_cell")
    count = [a.shape for _, a in _numbered(inner["cell"].groups["vars"])]
    if base in ("lstm", "gru", "simple_rnn") or len(count) < 2 or len(count[1]) != 2 or not count[1][0]:
        return base
    return {1: "simple_rnn", 3: "gru", 4: "lstm"}.get(count[1][1] // count[1][0], "")


def _numbered(own: Group) -> list[tuple[str, Stored]]:
    return sorted(own.arrays.items(), key=lambda one: (len(one[0]), one[0]))


def _plain(at: Node) -> list[Module]:
    own = at.group.groups["vars"]
    kind, snake = kind_of(at.name, own.text("name"), at.layer)
    arrays = _numbered(own)
    roles, why = roles_of(kind, snake, [a.shape for _, a in arrays], at.layer)
    names = roles if len(roles) == len(arrays) else [n for n, _ in arrays]
    tensors = {
        role: Tensor(f"{at.path or 'vars'}/{role}", stored.shape, stored.read)
        for role, (_, stored) in zip(names, arrays, strict=True)
    }
    module = Module(at.path, tensors, kind, series=at.series, facts=facts_of(at.layer), refused=why)
    return separated(module) if snake == "separable_conv2d" else [module]
