"""Labels: what numbers of an explanation mean where the data come from, such as the columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .content import Content, Line
from .expressions import Key


def with_labels(content: Content, labels: Mapping[Key, str], outputs: Sequence[str] = ()) -> Content:
    """The same explanation with words beside numbers, and beside the gradients of these.

    labels: what a number means, by its key. outputs: what the outputs of the network mean, in their order.

    >>> from gpubp.explain.content import Section
    >>> x = Key("", "x", (0, 1))
    >>> content = Content("a", 0.5, 1, (Section("data", "", "inputs", lines=(Line("x", (0, 1), x, None, 0.5),)),))
    >>> next(with_labels(content, {x: "age: 37, standardized"}).lines()).label
    'age: 37, standardized'
    """
    last = next((s.path for s in reversed(content.sections) if s.kind == "forward"), None)

    def label(key: Key | None) -> str:
        if key is None:
            return ""
        if key.path == last and key.array == "y" and len(key.at) == 2 and key.at[1] < len(outputs):
            return outputs[key.at[1]]
        return labels.get(key, "")

    def of(line: Line) -> Line:
        told = label(line.key) or label(line.gradient_of)
        return replace(line, label=told) if told else line

    sections = tuple(replace(s, lines=tuple(map(of, s.lines))) for s in content.sections)
    return replace(content, sections=sections)
