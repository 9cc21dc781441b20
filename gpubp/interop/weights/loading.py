"""Loading: match modules and layers, convert, check, and only then write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ModelFileError
from ...layers.bound import BoundLayers
from .matching import Match, Matching
from .modules import Dialect, HostArray, Module, as_floats
from .places import OTHER, Place, places_of
from .report import Taken, WeightsReport


def load(
    net: BoundLayers,
    dialect: Dialect,
    modules: Sequence[Module],
    stray: Mapping[str, str],
    source: str,
    strict: bool,
    ordered: bool | None = None,
) -> WeightsReport:
    """Write into a network what fits it of a file's modules, and say what did.

    stray: tensors that belong to no module -> why. source: as messages call the file. strict: raise unless all fits.
    ordered: whether the file's modules come in their order, as `Matching` takes it. Raises ModelFileError before
    anything is written.
    """
    places = places_of(net)
    match = Matching(dialect, modules, places, ordered).run()
    arrays, taken = _converted(net, dialect, modules, places, match)
    report = WeightsReport(
        dialect.library,
        tuple(taken),
        {p.path: _why_place(p, match, j, dialect) for j, p in enumerate(places) if j not in match.pairs},
        _unused(modules, match) | dict(stray),
        tuple(dialect.notes(net)) if taken else (),
    )
    if not places:
        raise ModelFileError("this network has no parameters to load")
    if not taken:
        raise ModelFileError(f"nothing in {source} fits a layer of this network:\n{_shortened(report)}")
    if strict and not report.complete:
        raise ModelFileError(f"{source} does not fit this network, so that nothing was loaded:\n{_shortened(report)}")
    for name, values in arrays.items():
        net.backend.put(net.parameters[name] if name in net.parameters else net.states[name], values)
    net.backend.synchronize()
    return report


def _shortened(report: WeightsReport) -> str:
    """The report as part of an error, which is no place for a thousand lines."""
    lines = [line if len(line) <= 2000 else f"{line[:2000]} ..." for line in str(report).splitlines()]
    return "\n".join(lines[:60] + ([f"... and {len(lines) - 60} lines more"] if len(lines) > 60 else []))


def _converted(
    net: BoundLayers, dialect: Dialect, modules: Sequence[Module], places: Sequence[Place], match: Match
) -> tuple[dict[str, HostArray], list[Taken]]:
    arrays: dict[str, HostArray] = {}
    taken = []
    for j, i in sorted(match.pairs.items()):
        place, module = places[j], modules[i]
        given = {role: _read(tensor.name, tensor.shape, tensor.read()) for role, tensor in module.tensors.items()}
        made, notes = dialect.convert(place, given, module.facts)
        for name, shape in place.shapes.items():
            values = as_floats(place.full(name), made[name], net.dtype)
            if values.shape != shape:
                raise ModelFileError(f"{place.full(name)} would have the shape {values.shape}, and it is {shape}")
            arrays[place.full(name)] = values
        names = tuple(place.full(name) for name in place.shapes)
        taken.append(Taken(place.path, names, module.names, match.by[j], tuple(notes)))
    return arrays, taken


def _read(name: str, shape: tuple[int, ...], values: Any) -> HostArray:
    if values.dtype.kind not in "fiub" or values.shape != shape:
        raise ModelFileError(f"{name} holds {values.dtype} of shape {values.shape}; weights are numbers, here {shape}")
    made: HostArray = values
    return made


def _why_place(place: Place, match: Match, j: int, dialect: Dialect) -> str:
    if j in match.why_place:
        return match.why_place[j]
    if place.kind == OTHER:
        return f"{place.layer!r} is a class that {dialect.library} has no layer for"
    return place.unclear or f"there is nothing that fits {place.layer!r}"


def _unused(modules: Sequence[Module], match: Match) -> dict[str, str]:
    taken = set(match.pairs.values())
    return {
        name: match.why_module.get(i) or module.refused or "no layer here that has none yet needs it"
        for i, module in enumerate(modules)
        if i not in taken
        for name in module.names
    }
