"""Reading an explanation as its readers do: by eye, and with a calculator."""

from __future__ import annotations

import math
import re
import unicodedata
from html.parser import HTMLParser
from typing import Any, NamedTuple

import numpy as np

from gpubp.explain.forms.numbers import parsed
from gpubp.formula import erf, erfc

KNOWN: dict[str, Any] = {
    "sqrt": np.sqrt, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin,
    "erf": erf, "erfc": erfc,
    "cos": np.cos, "sign": np.sign, "e": math.e, "inf": math.inf, "NaN": math.nan,
    "σ": lambda v: 1 / (1 + np.exp(-v)), "max": lambda *v: np.max(v), "min": lambda *v: np.min(v), "float": float,
    "abs": abs,
}  # fmt: skip


def calculated(text: str, **variables: float) -> float:
    """What a printed expression comes to, by Python's own rules of brackets. Raised digits may be written as ^( )."""
    text = re.sub(r"… \([\d,]+ more, together (\S+)\)", r"(\1)", text)
    text = re.sub(r", … \([\d,]+ more\)", "", text)
    text = re.sub(r"([^\W\d]\w*)\[([\d,]+)\]", lambda found: f"{found[1]}_{found[2].replace(',', '_')}", text)
    text = re.sub(r"[²³⁰¹⁴-⁹]+", lambda found: f"**{unicodedata.normalize('NFKC', found[0])}", text)
    for sign, python in (("·", "*"), ("−", "-"), ("^(", "**("), ("≥", ">="), ("≤", "<="), ("∞", "inf")):
        text = text.replace(sign, python)
    text = re.sub(r"(?<![<>=])=(?!=)", "==", text)
    while found := re.search(r"√([a-z]+\()", text):  # of a function: √max(2, 3)
        end = _closing(text, found.end())
        text = f"{text[: found.start()]}sqrt({text[found.start() + 1 : end]}){text[end:]}"
    text = re.sub(r"√([\w.]+)", r"sqrt(\1)", text).replace("√(", "sqrt(")
    text = re.sub(r"\|([^|]*)\|", r"abs(\1)", text)
    text = text.replace("[", "float(").replace("]", ")")
    numbers = re.sub(r"(?<![\w.])(\d[\d.]*(?:e[+-]?\d+)?)", r"number(\1)", re.sub(r"\*\*(\d+)", r"**(\1)", text))
    with np.errstate(all="ignore"):
        known = {"__builtins__": {}, "number": np.float64} | KNOWN | variables
        return float(eval(numbers, known))


def _closing(text: str, start: int) -> int:
    """Where the bracket ends that was opened before `start`."""
    depth = 1
    while depth:
        depth += {"(": 1, ")": -1}.get(text[start], 0)
        start += 1
    return start


VOID = {"meta", "link", "br", "hr", "img", "wbr", "input", "col"}
INLINE = {"a", "b", "i", "em", "strong", "small", "span", "sup", "sub", "code"}
BLOCKS = {"div", "p", "section", "nav", "header", "main", "table", "ul", "ol", "pre", "figure", "h1", "h2", "h3"}


class Equation(NamedTuple):
    """An equation of a page, as text: the signs "=" and "≈" begin the sides."""

    left: str
    sides: list[str]
    result: str


class PageReader(HTMLParser):
    """A page, read more strictly than any browser does.

    ids, links: of the page; titles: what numbers say of themselves, with the numbers. lines: by id, the equations of
    each line. faults: what is not well formed.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.links: list[str] = []
        self.titles: list[tuple[str, str]] = []
        self.lines: dict[str, list[Equation]] = {}
        self.unnamed: list[list[Equation]] = []
        self.faults: list[str] = []
        self.tags: set[str] = set()
        self._open: list[tuple[str, dict[str, str]]] = []
        self._texts: list[str] = []
        self._equations: list[Equation] = []
        self._left, self._sides = "", [""]
        self.words, self._level = "", 0
        self.feed(page)
        self.close()
        if self._open:
            self.faults.append(f"never closed: {[tag for tag, _ in self._open]}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.faults += [f"<{tag}> has {name} twice" for name in set(names) if names.count(name) > 1]
        self.faults += [
            f"<{tag}> has {name} without a value" for name, value in attrs if value is None and name != "checked"
        ]
        found = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        if "id" in found:
            self.faults += [f"the id {found['id']!r}"] if not re.fullmatch(r"\S+", found["id"]) else []
            self.ids.append(found["id"])
        if found.get("href", "").startswith("#"):
            self.links.append(found["href"][1:])
        elif "href" in found or "src" in found:
            self.faults.append(f"<{tag}> leads to {found.get('href') or found.get('src')}")
        if re.fullmatch("h[1-6]", tag):
            self.faults += [f"<{tag}> after <h{self._level}>"] if int(tag[1]) > self._level + 1 else []
            self._level = int(tag[1])
        inside = [t for t, _ in self._open]
        if tag in BLOCKS and any(t in INLINE or t in ("p", "h1", "h2", "h3") for t in inside) and "svg" not in inside:
            self.faults.append(f"<{tag}> inside {inside}")
        if tag == "a" and "a" in inside:
            self.faults.append("a link in a link")
        if tag in ("td", "th") and inside[-1] != "tr" or tag == "li" and inside[-1] not in ("ul", "ol"):
            self.faults.append(f"<{tag}> directly in <{inside[-1]}>")
        if tag in VOID:
            return
        if tag == "sup":
            self._said("^(")
        self._open.append((tag, found))
        self._texts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID and not any(t == "svg" for t, _ in self._open):
            self.faults.append(f"<{tag}/> is no HTML")
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            self.faults.append(f"</{tag}> closes {[t for t, _ in self._open[-3:]]}")
            return
        _, found = self._open.pop()
        text = self._texts.pop()
        if self._texts:
            self._texts[-1] += text
        if tag == "sup":
            self._said(")")
        kind = found.get("class", "")
        if "title" in found and "svg" not in [t for t, _ in self._open]:
            self.titles.append((found["title"], text))
        if kind == "left":
            self._left, self._sides = _spaced(text), []
        elif kind == "side":
            self._sides.append(_spaced(text))
        elif kind.startswith("eq"):
            self._equations.append(Equation(self._left, self._sides, self._sides[-1][2:]))
        elif kind == "line":
            if "id" in found:
                self.lines[found["id"]] = self._equations
            else:
                self.unnamed.append(self._equations)
            self._equations = []

    def handle_data(self, data: str) -> None:
        self._said(data)
        if not any(tag == "style" for tag, _ in self._open):
            self.words += data

    def _said(self, text: str) -> None:
        if self._texts:
            self._texts[-1] += text

    def number(self, id: str) -> float:
        """The result of a line."""
        return parsed(self.lines[id][0].result)


def _spaced(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())
