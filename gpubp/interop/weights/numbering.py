"""Numbering: which module belongs to which layer where a file keeps no order of its modules, as safetensors files do.

Their tensors are sorted by name. What is left of the order are the numbers in names: layer2 comes behind layer1, and
conv2 behind conv1. Each module has the places that it fits, and

    (1)  a module with one place, or a place with one module, are a pair, and no others have them
    (2)  of two numbered modules, the first has no place behind all places of the second, nor the other way round

until nothing changes. What has more than one place then could be one thing or another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Key = tuple[str | int, ...]
Fits = Mapping[int, set[int]]
MOST = 1000  # layers of one shape; more would take minutes


def key_of(path: str, recurrent: bool = False) -> Key:
    """The texts and numbers of a path. recurrent: of a module that may have more layers, rnn[l1] behind rnn.

    >>> key_of("layer2.0.conv1")
    ('layer', 2, '.', 0, '.conv', 1)
    """
    if found := re.fullmatch(r"(.*)\[l(\d+)\]", path):
        path = f"{found[1]}.l{found[2]}"
    elif recurrent:
        path = f"{path}.l0"
    parts = re.split(r"([0-9]{1,18})", path)
    return tuple(int(part) if n % 2 else part for n, part in enumerate(parts) if part)


def natural(key: Key) -> list[tuple[int, int, str]]:
    """What sorts such keys with 2 before 10.

    >>> sorted([key_of("a10"), key_of("a2")], key=natural)
    [('a', 2), ('a', 10)]
    """
    return [(0, part, "") if isinstance(part, int) else (1, 0, part) for part in key]


def is_before(first: Key, second: Key) -> bool:
    """Whether a number says that one module comes before another.

    >>> is_before(key_of("layer1.0.conv2"), key_of("layer2.0.conv1")), is_before(key_of("bn1"), key_of("layer1.bn1"))
    (True, False)
    """
    for a, b in zip(first, second, strict=False):
        if a != b:
            return isinstance(a, int) and isinstance(b, int) and a < b
    return False


def by_numbers(fits: Fits, keys: Sequence[Key]) -> tuple[dict[int, int], dict[int, set[int]]]:
    """({place: module}, {module: places that are left}) of modules and the places that they fit.

    fits: module -> places. keys: of the modules, by their numbers.

    >>> by_numbers({0: {0, 1}, 1: {0, 1}}, [key_of("fc2"), key_of("fc1")])[0]
    {0: 1, 1: 0}
    >>> by_numbers({0: {0, 1}, 1: {0, 1}}, [key_of("out"), key_of("into")])
    ({}, {0: {0, 1}, 1: {0, 1}})
    """
    found: dict[int, int] = {}
    left: dict[int, set[int]] = {}
    for group in _groups(fits):
        kept = {i: set(fits[i]) for i in group}
        places = set().union(*kept.values())
        _narrow(kept, keys, len(places))
        if len(kept) <= len(places) and all(len(of) == 1 for of in kept.values()):
            found |= {of.pop(): i for i, of in sorted(kept.items(), key=lambda one: min(one[1]))}
        else:
            left |= kept
    return found, left


def _narrow(kept: dict[int, set[int]], keys: Sequence[Key], places: int) -> None:
    """(1) and (2), in place. Both say nothing where modules are more than places, because some have none then."""
    if not len(kept) <= places <= MOST:
        return
    order = sorted(kept, key=lambda i: natural(keys[i]))
    pairs = [(a, b) for n, a in enumerate(order) for b in order[n + 1 :] if is_before(keys[a], keys[b])]
    changed = True
    while changed and all(kept.values()):
        before = sum(map(len, kept.values()))
        _in_their_order(kept, pairs)
        for i in [i for i, of in kept.items() if len(of) == 1]:
            for k in kept.keys() - {i}:
                kept[k] -= kept[i]
        if len(kept) == places:
            _only_module(kept)
        changed = sum(map(len, kept.values())) < before


def _in_their_order(kept: dict[int, set[int]], pairs: Sequence[tuple[int, int]]) -> None:
    """(2)"""
    least, most = {i: min(of) for i, of in kept.items()}, {i: max(of) for i, of in kept.items()}
    for a, b in pairs:
        if least[b] <= least[a]:
            kept[b] = {j for j in kept[b] if j > least[a]}
            least[b] = min(kept[b], default=least[a] + 1)
    for a, b in reversed(pairs):
        if most[a] >= most[b]:
            kept[a] = {j for j in kept[a] if j < most[b]}
            most[a] = max(kept[a], default=most[b] - 1)


def _only_module(kept: dict[int, set[int]]) -> None:
    """A place that one module alone can have is that module's: every place gets one."""
    holders: dict[int, list[int]] = {}
    for i, of in kept.items():
        for j in of:
            holders.setdefault(j, []).append(i)
    for j, modules in holders.items():
        if len(modules) == 1 and j in kept[modules[0]]:
            kept[modules[0]] = {j}


def _groups(fits: Fits) -> list[list[int]]:
    """Modules that share places, together."""
    root = {i: i for i in fits}

    def up(i: int) -> int:
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    first: dict[int, int] = {}
    for i, of in fits.items():
        for j in of:
            root[up(i)] = up(first.setdefault(j, i))
    groups: dict[int, list[int]] = {}
    for i in fits:
        groups.setdefault(up(i), []).append(i)
    return list(groups.values())
