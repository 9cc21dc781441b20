#!/usr/bin/env python3
"""Print the packages of gpubp by floors, the imports between them, and every import circle.

    python scripts/house.py            the picture in docs/architecture.md
    python scripts/house.py --files    for every place, its files and what they import from other places

A place is a file or a folder directly in `gpubp/`. Its floor is one above the highest place that it imports. Imports
for type checkers and imports inside functions count too. Circles are searched among places and among files. The exit
code is 1 if there is a circle.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "gpubp"
ENTRIES = {"__init__", "__main__"}  # they hand on what others have, and nobody imports them but for the version


class Import(NamedTuple):
    """One import of a file: the module, as an absolute name, and the line."""

    module: str
    line: int


def imports_of(source: str, package: str) -> Iterator[Import]:
    """Every import in a file of `package`, wherever it stands; a name that is imported is part of the module's name."""
    for node in ast.walk(ast.parse(source)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            start = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            modules = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            modules = [str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        for module in modules:
            yield Import(module, getattr(node, "lineno", 0))


def sources() -> dict[str, Path]:
    """The modules of gpubp by name, "gpubp.step.update", and their files; a folder's `__init__` has the folder's."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def package_of(path: Path) -> str:
    """The package that a file's leading dots start from."""
    return ".".join(path.relative_to(ROOT).parent.parts)


def place_of(module: str) -> str:
    """The place where a module lies."""
    return (module.split(".") + ["__init__"])[1]


def file_imports() -> dict[str, set[str]]:
    """For every module, the modules that it imports. An imported name counts for the module that it is, or is in."""
    modules = sources()
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        found[name] = set()
        for imported, _ in imports_of(path.read_text(encoding="utf-8"), package_of(path)):
            module = next((m for m in (imported, imported.rpartition(".")[0]) if m in modules), None)
            if module not in (None, name, "gpubp"):
                found[name].add(str(module))
    return found


def place_imports(files: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The same for places."""
    found: dict[str, set[str]] = {}
    for module, imported in files.items():
        place = place_of(module)
        found.setdefault(place, set()).update({place_of(m) for m in imported} - {place})
    return {place: imported for place, imported in found.items() if place not in ENTRIES}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """One circle of a graph, first and last the same; empty if there is none."""
    try:
        TopologicalSorter({node: sorted(others) for node, others in graph.items()}).prepare()
    except CycleError as problem:
        return list(problem.args[1])
    return []


def floors(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The places of each floor, lowest first."""
    height: dict[str, int] = {}
    for place in TopologicalSorter(graph).static_order():
        height[place] = 1 + max((height[other] for other in graph[place]), default=-1)
    return [sorted(p for p in height if height[p] == floor) for floor in range(max(height.values()) + 1)]


def main(arguments: list[str]) -> int:
    """Print all of it; the exit code."""
    files = file_imports()
    places = place_imports(files)
    found = {"places": circle(places), "files": circle(files)}
    for kind, way in found.items():
        if way:
            print(f"a circle of {kind}: {' -> '.join(reversed(way))}")
    if not found["places"]:
        for row in reversed(floors(places)):
            print("    " + " · ".join(row))
        for place in (place for row in reversed(floors(places)) for place in row):
            print(f"{place}: {', '.join(sorted(places[place])) or '-'}")
    top = {place_of(module) for module in files}
    between = sum(len(others) for others in places.values())
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in sources().values())
    print(
        f"{len(top)} places, {len(files)} files, {lines:,} lines, {between} imports between places, "
        f"{sum(map(bool, found.values()))} circles"
    )
    if "--files" in arguments:
        for place in sorted(places):
            print(f"\n{place}")
            for module, imported in files.items():
                if place_of(module) == place:
                    others = sorted(m.removeprefix("gpubp.") for m in imported if place_of(m) != place)
                    print(f"    {module.removeprefix('gpubp.')}: {', '.join(others) or '-'}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
