"""Matching: which module of another library belongs to which layer here.

By name where names say it: those that `rename` gave, or the paths of both libraries where one has all paths of the
other. Else by order, the modules as they come and the layers as they compute, and only where there is one way to do so;
or by shapes and the numbers in names (`numbering`), where the order of the modules is not known or leads nowhere.
What could be one thing or another is an error, and not guessed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...errors import ModelFileError
from .alignment import align
from .modules import Dialect, Misfit, Module
from .numbering import by_numbers, is_before, key_of
from .places import RECURRENT, Place

MOST = 4_000_000  # modules times layers that are brought in order; more would take minutes


@dataclass
class Match:
    """Pairs of places and modules, by their numbers, and what speaks against other pairs.

    >>> Match().pairs
    {}
    """

    pairs: dict[int, int] = field(default_factory=dict)  # place -> module
    by: dict[int, str] = field(default_factory=dict)  # place -> "name", "order" or "shape and number"
    why_place: dict[int, str] = field(default_factory=dict)
    why_module: dict[int, str] = field(default_factory=dict)

    def take(self, place: int, module: int, by: str) -> None:
        """Make them a pair."""
        self.pairs[place], self.by[place] = module, by


class Matching:
    """The search for the pairs of one network and one file.

    ordered: whether the modules come in their order, and numbers in names say it too; None where numbers say nothing.
    Raises ModelFileError where names contradict shapes, or the order leaves a choice.
    """

    def __init__(
        self, dialect: Dialect, modules: Sequence[Module], places: Sequence[Place], ordered: bool | None = None
    ) -> None:
        self.dialect, self.modules, self.places, self.ordered = dialect, modules, places, ordered
        self.keys = [key_of(m.names[0].rpartition(".")[0] if m.named else m.path, m.kind in RECURRENT) for m in modules]
        self.found = Match()
        alike: dict[object, list[int]] = {}
        for i, module in enumerate(modules):
            shapes = tuple((role, tensor.shape) for role, tensor in module.tensors.items())
            alike.setdefault((module.kind, module.refused, shapes), []).append(i)
        self._fits: list[set[int]] = []  # for each place the modules that fit it
        for place in places:
            needs = dialect.needs(place)
            fitting = (of for of in alike.values() if dialect.fits(modules[of[0]], place, needs))
            self._fits.append({i for of in fitting for i in of})

    def run(self) -> Match:
        """All pairs."""
        self._by_rename()
        if not self._by_path():
            if self.ordered is None:
                self._by_order()
            elif self.ordered:
                self._by_order_or_number()
            elif problem := self._by_number():
                raise ModelFileError(problem)
        return self.found

    def _by_order_or_number(self) -> None:
        before = replace(self.found, pairs=dict(self.found.pairs), by=dict(self.found.by))
        try:
            self._by_order()
        except ModelFileError:
            self.found = before
            if self._by_number():
                raise
        else:
            self._check_numbers()

    def _by_number(self) -> str:
        """Pairs by shapes and numbers; what leaves a choice, "" if nothing does."""
        places = self._open_places
        fits = {i: {j for j in places if i in self._fits[j]} for i in self._open_modules}
        found, left = by_numbers({i: of for i, of in fits.items() if of}, self.keys)
        if left:
            i = next((i for i, of in left.items() if len(of) > 1), min(left))
            j = min(left[i] or fits[i])
            k = next((k for k in left if k != i and j in (left[k] or fits[k])), i)
            both = f"{self.modules[i].title} and {self.modules[k].title} both fit layer {self.places[j].title}"
            if k == i:
                both = f"{self.modules[i].title} fits several layers, one of which is {self.places[j].title}"
            named = f'rename={{"{self.modules[i].path}": "{self.places[j].path}"}}'
            return (
                "the order in which its modules compute is not known, and names and shapes leave a choice: "
                f"{both}. Say with rename which is which, such as {named}, or write the file with the order of its "
                'state dict: save_file(state, path, metadata={"order": "\\n".join(state)})'
            )
        for l, k in self.found.pairs.items():
            for j, i in found.items():
                first, second = (i, k) if j > l else (k, i)
                if is_before(self.keys[first], self.keys[second]):
                    return (
                        f"rename puts {self.modules[k].title} and numbers put {self.modules[i].title} in another order "
                        f"than that of layers {self.places[l].title} and {self.places[j].title}; name all of them in "
                        "rename"
                    )
        for j, i in found.items():
            self.found.take(j, i, "shape and number")
        return ""

    def _check_numbers(self) -> None:
        """Numbers in names must not contradict the order of modules that could change places."""
        pairs = sorted((j, i) for j, i in self.found.pairs.items() if self.found.by[j] == "order")
        alike: dict[frozenset[int], list[tuple[int, int]]] = {}
        for j, i in pairs:
            alike.setdefault(frozenset(self._fits[j]), []).append((j, i))
        for group in alike.values():
            for (j, i), (l, k) in itertools.pairwise(group):
                if is_before(self.keys[k], self.keys[i]):
                    raise ModelFileError(
                        f"the modules come in another order than their numbers: {self.modules[i].title} before "
                        f"{self.modules[k].title}, and both fit layers {self.places[j].title} and "
                        f"{self.places[l].title}; say with rename which is which, such as "
                        f'rename={{"{self.modules[k].path}": "{self.places[j].path}"}}'
                    )

    def misfit(self, module: int, place: int) -> Misfit | None:
        """Why they are no pair; None if they could be one."""
        return self.dialect.misfit(self.modules[module], self.places[place])

    @property
    def _open_modules(self) -> list[int]:
        taken = set(self.found.pairs.values())
        return [i for i in range(len(self.modules)) if i not in taken]

    @property
    def _open_places(self) -> list[int]:
        return [j for j in range(len(self.places)) if j not in self.found.pairs]

    def _by_rename(self) -> None:
        """Modules whose path `rename` gave; they must fit, because the user said so."""
        paths = {path: j for j, place in enumerate(self.places) for path in self.dialect.paths(place)}
        wrong = []
        for i, module in enumerate(self.modules):
            if not module.named or module.path not in paths:
                continue
            j = paths[module.path]
            if problem := self.misfit(i, j):
                wrong.append(problem.why)
            elif j in self.found.pairs:
                wrong.append(
                    f"both {self.modules[self.found.pairs[j]].title} and {module.title} would be layer "
                    f"{self.places[j].title}"
                )
            else:
                self.found.take(j, i, "name")
        if wrong:
            raise ModelFileError("rename names layers that do not fit:\n  " + "\n  ".join(wrong))

    def _by_path(self) -> bool:
        """Pairs of equal paths, where one side has all paths of the other and none is of another kind."""
        theirs = {self.modules[i].path: i for i in self._open_modules}
        pairs = [(j, theirs[p]) for j in self._open_places for p in self.dialect.paths(self.places[j]) if p in theirs]
        known = set().union(*self._fits) & set(self._open_modules)
        contained = len(pairs) == len(self._open_places) or {i for _, i in pairs} >= known
        problems = {j: self.misfit(i, j) for j, i in pairs}
        if not pairs or not contained or any(p and p.other_kind for p in problems.values()):
            return False
        fitting = [(j, i) for j, i in pairs if problems[j] is None]
        if not fitting or (len(fitting) < len(pairs) and self._fits_better_by_order(len(fitting))):
            return False
        for j, i in pairs:
            if problem := problems[j]:
                self._explain(j, i, problem)
            else:
                self.found.take(j, i, "name")
        return True

    def _fits_better_by_order(self, count: int) -> bool:
        """Whether the order makes more pairs than the names; both can't be right."""
        modules, places = self._open_modules, self._open_places
        if len(modules) * len(places) > MOST:
            return False
        return len(align([[i in self._fits[j] for j in places] for i in modules])[0]) > count

    def _by_order(self) -> None:
        """Pairs by order, in each series of modules, of layers that no module of another series fits."""
        series, count = list(dict.fromkeys(module.series for module in self.modules)), -1
        while count < len(self.found.pairs):
            count = len(self.found.pairs)
            for name in series:
                places = [j for j in self._open_places if self._series_that_fit(j) == {name}]
                fitting = set().union(*(self._fits[j] for j in places))
                modules = [i for i in self._open_modules if i in fitting]
                if modules:
                    self._align(modules, places)
        for j in self._open_places:
            if len(self._series_that_fit(j)) > 1:
                self.found.why_place[j] = (
                    f"several modules fit {self.places[j].layer!r}, and the file does not say their order; say with "
                    "rename which is which" + self._whole_file()
                )
        self._explain_gaps()
        self._check_rest()

    def _series_that_fit(self, place: int) -> set[str]:
        return {self.modules[i].series for i in self._fits[place] - set(self.found.pairs.values())}

    def _whole_file(self) -> str:
        return ", or save the whole model as .keras" if self.dialect.library == "Keras" else ""

    def _align(self, modules: list[int], places: list[int]) -> None:
        if len(modules) * len(places) > MOST:
            raise ModelFileError(
                f"{len(modules)} modules for {len(places)} layers are too many to be brought in order; say with rename "
                "which is which"
            )
        one, other = align([[i in self._fits[j] for j in places] for i in modules])
        if one != other:
            raise ModelFileError(self._choice(modules, places, one, other))
        for i, j in one:
            self.found.take(places[j], modules[i], "order")
        self._check_crossings()

    def _choice(
        self, modules: list[int], places: list[int], one: list[tuple[int, int]], other: list[tuple[int, int]]
    ) -> str:
        (i, j), (k, l) = (next(pair for pair in of if pair not in no) for of, no in ((one, other), (other, one)))
        named = [(self.modules[modules[m]], self.places[places[p]]) for m, p in ((i, j), (k, l))]
        if j == l:
            choice = f"{named[0][0].title} and {named[1][0].title} both fit layer {named[0][1].title}"
        else:
            choice = (
                f"either {named[0][0].title} belongs to layer {named[0][1].title}, or {named[1][0].title} to layer "
            )
            choice += named[1][1].title
        return (
            f"the names say not which module belongs to which layer, and the order leaves a choice: {choice}. Say with "
            f'rename which is which, rename={{"{named[0][0].path}": PATH, ...}} with paths such as "{named[0][1].path}"'
        )

    def _check_crossings(self) -> None:
        """Pairs by order must not cross those that rename made, of the same series."""
        for (a, i), (b, k) in itertools.combinations(sorted(self.found.pairs.items()), 2):
            by = self.found.by[a], self.found.by[b]
            if i > k and self.modules[i].series == self.modules[k].series and "order" in by:
                beside = "rename puts modules" if "name" in by else "the modules come"
                raise ModelFileError(
                    f"{beside} in another order than the layers, so that {self.modules[i].title} and "
                    f"{self.modules[k].title} can't go to {self.places[a].title} and {self.places[b].title} by order; "
                    "name all of them in rename"
                )

    def _explain_gaps(self) -> None:
        """One module and one layer that are left over between two pairs were meant for each other: say what differs."""
        ours = [i for i, module in enumerate(self.modules) if not module.series]
        number = {i: k for k, i in enumerate(ours)}
        bounds = [(-1, -1), *sorted((number[i], j) for j, i in self.found.pairs.items() if i in number)]
        bounds.append((len(ours), len(self.places)))
        for (i, j), (i_next, j_next) in zip(bounds, bounds[1:], strict=False):
            if i_next - i == 2 and j_next - j == 2 and (problem := self.misfit(ours[i + 1], j + 1)):
                self._explain(j + 1, ours[i + 1], problem)

    def _explain(self, place: int, module: int, problem: Misfit) -> None:
        self.found.why_place.setdefault(place, problem.why)
        self.found.why_module.setdefault(module, f"it does not fit layer {self.places[place].path}")

    def _check_rest(self) -> None:
        """A module and a layer that fit each other and are both left over show that the order is not the same."""
        if not any(by == "order" for by in self.found.by.values()):
            return
        left = [
            f"{self.modules[i].title} fits layer {self.places[j].title}"
            for i in self._open_modules
            for j in self._open_places
            if i in self._fits[j] and j not in self.found.why_place
        ]
        if left:
            shown = "\n  ".join(left[:12])
            raise ModelFileError(
                "the modules come in another order than the layers, so that their order can't say which belongs where; "
                f"say so with rename. Left over would be, among others:\n  {shown}"
            )
