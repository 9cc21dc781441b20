"""What nodes on sequences (B, C, T), images (B, C, H, W) and volumes (B, C, D, H, W) say of their axes of space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...layers.windows import axis_of, each_padding
from .layout import Axis, Part, length, sizes
from .model import Node
from .reader import Reader
from .refused import Refused
from .sizes import Size
from .values import Data

NAMED: dict[str, Any] = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower"}
ANY = 9  # steps of a sequence of any length, whose windows lie alike whatever the length


def channels_last(r: Reader, x: Data, most: int = 3) -> tuple[Data, list[Axis], Axis]:
    """Sequences, images or volumes with their channels last, (data, axes of space, axis of channels)."""
    ox = x.layout.ox
    if not 3 <= len(ox) <= most + 2:
        numbers = "1 or 2" if most == 2 else "1 to 3"
        raise Refused(f"it works on {len(ox) - 2} axes of space, and gpubp's layers on {numbers}", layout=x.layout)
    if ox[0] != (r.batch,):
        raise Refused("its first axis is not that of the rows")
    space, channels = list(ox[2:]), ox[1]
    return r.regrouped(x, (ox[0], *space, channels)), space, channels


def windows_at(node: Node, space: Sequence[Axis], kernel: Sequence[int]) -> tuple[list[int], list[int], list[int], str]:
    """(strides, places before, places after, auto_pad) for each axis of space."""
    n = len(space)
    strides, pads = node.list("strides") or [1] * n, node.list("pads") or [0] * 2 * n
    if len(strides) != n or len(pads) != 2 * n or len(kernel) != n or min(*strides, *kernel) < 1:
        raise Refused(f"kernel_shape {list(kernel)}, strides {strides}, pads {pads} for {n} axes of space")
    auto = node.text("auto_pad", "NOTSET") or "NOTSET"
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Refused(f"auto_pad={auto!r}")
    if min(pads) < 0:
        raise Refused(f"pads {pads}; gpubp's layers cut nothing off")
    if auto != "NOTSET":
        pads = [0] * 2 * n
    return strides, pads[:n], pads[n:], auto


def dilations_at(node: Node, kernel: Sequence[int]) -> list[int]:
    """How far apart the taps lie, for each axis of space."""
    found = node.list("dilations") or [1] * len(kernel)
    if len(found) != len(kernel) or min(found) < 1:
        raise Refused(f"dilations {found} for {len(kernel)} axes of space")
    return found


def padding_of(
    called: str, space: Sequence[Axis], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    before: Sequence[int], after: Sequence[int], auto: str, ceil: bool = False,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """gpubp's padding with the same windows, and how many there are on each axis; Refused if it has none."""
    n, named = len(space), NAMED.get(auto)
    of_axes = [(*of, ceil) for of in zip(kernel, strides, dilations, strict=True)]
    long = [ANY if isinstance(length(axis), Size) else sizes((Part(length(axis)),))[0] for axis in space]
    sides = [named or (b, a) for b, a in zip(before, after, strict=True)]
    wanted = [axis_of(m, k, s, p, d, c) for m, (k, s, d, c), p in zip(long, of_axes, sides, strict=True)]
    if min(axis.outputs for axis in wanted) < 1:
        raise Refused(f"its windows of {list(kernel)} are larger than its input {[length(a) for a in space]}")
    outputs = [
        length(x) if isinstance(length(x), Size) else axis.outputs for x, axis in zip(space, wanted, strict=True)
    ]
    for x, axis in zip(space, wanted, strict=True):
        if isinstance(length(x), Size) and (axis.s > 1 or axis.outputs != axis.n):
            raise Refused(
                f"it changes the number {length(x)} of time steps, which differs from row to row; say the length: "
                "from_onnx(..., input_shape=...)"
            )
    front, both = tuple(axis.p for axis in wanted), tuple((axis.p, axis.q) for axis in wanted)
    conv = called.startswith("Conv")
    choices: list[Any] = [named, "valid", front[0] if len(set(front)) == 1 else front, "same", "same_lower"]
    choices += ["causal"] * (n == 1 and conv) + [both[0] if n == 1 else both] * (n > 1 or conv)
    if any(isinstance(length(x), Size) for x in space):
        choices = ["same", *(["causal"] if conv else []), "same_lower", *choices]
    for padding in choices:
        if padding is None:
            continue
        each = each_padding(padding, n)
        found = [axis_of(m, k, s, p, d) for m, (k, s, d, _), p in zip(long, of_axes, each, strict=True)]
        if all(a.p == b.p and a.outputs == b.outputs for a, b in zip(found, wanted, strict=True)):
            return padding, outputs
    raise Refused(
        f"pads {[*before, *after]} for kernel_shape {list(kernel)}, strides {list(strides)}"
        f"{', ceil_mode=1' if ceil else ''}; gpubp's {called} has the same number of places before and after an axis, "
        'or "same", which has an odd one after it'
    )


def pair_of(values: Sequence[Any]) -> Any:
    """One number for several equal ones, else a tuple of them.

    >>> pair_of([3, 3]), pair_of([2, 3])
    (3, (2, 3))
    """
    return values[0] if len(set(values)) == 1 else tuple(values)
