"""An explanation as a page of HTML: one file that needs nothing beside it, no network and no script.

Each number that a formula reads shows that number's own formula when one points at it, and leads to its line.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files

from ..content import Content, Line, Section, Summary
from ..drawings.figures import STYLE as OF_FIGURES
from ..expressions import Element, Key
from .equations import Equation, Gradients, chain_rule, equation, grouped
from .numbers import number
from .printing import Blank, Printer
from .styles import ATOM, POWER, PRODUCT, SIGNS, Text
from .text import COLUMNS, ROUNDED, WAYS, cells_of, shapes, told

PAGE_ALONE = "/* The page alone"  # in page.css: what follows would change a notebook around the explanation
LONGEST = 160  # characters of a formula that is shown when one points at a number
BESIDE = {**WAYS, "data": "forward", "chain": "backward"}  # in which list of the contents
TERM, FIT = '<span class="term">', 3  # a term of the chain rule that stays in a line: up to so many factors
EXPONENT = 24  # characters, up to which eᵃ is written with a raised a
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HINT = f"Point at a number to see what it is; click on it to go to the line that computes it. {ROUNDED}"


def page(content: Content, blank: Blank | None = None) -> str:
    """The explanation as a whole page.

    blank: what stands in the place of the number with a key, None for a number that is printed. A section of the kind
    "answers" has all its numbers. Drawings are as they were made, so they are made with the same `blank`.

    >>> page(Content("One step", 0.5, 1, ()))[:15]
    '<!DOCTYPE html>'
    """
    return "\n".join([
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{html.escape(content.title)}</title>",
        f"<style>\n{_css()}{_drawn(content)}</style>\n</head>\n<body>\n<main class=\"explain\">",
        *_Body(content, blank, "").parts(),
        "</main>\n</body>\n</html>\n",
    ])  # fmt: skip


def fragment(content: Content, blank: Blank | None = None) -> str:
    """The explanation as a part of another page, such as a notebook, whose looks it leaves as they are.

    >>> fragment(Content("One step", 0.5, 1, ()))[:21]
    '<div class="explain">'
    """
    parts = list(_Body(content, blank, "").parts())
    prefix = f"e{zlib.crc32(''.join(parts).encode()):08x}-"  # two explanations in a notebook have other ids
    parts = list(_Body(content, blank, prefix).parts())
    style = _css().partition(PAGE_ALONE)[0] + _drawn(content)
    return "\n".join([f'<div class="explain">\n<style>\n{style}</style>', *parts, "</div>\n"])


@lru_cache(maxsize=1)
def _css() -> str:
    return files("gpubp.explain.forms").joinpath("page.css").read_text(encoding="utf-8")


def _drawn(content: Content) -> str:
    """The styles of drawings, where there are any."""
    has = content.figure or any(section.figure for section in content.sections)
    return OF_FIGURES if has else ""


class Links:
    """Which line a number of a formula comes from.

    prefix: of all ids on the page.

    >>> from gpubp.explain.expressions import Constant
    >>> y = Line("y", (0,), Key("0", "y", (0,)), Constant(2.0), 2.0)
    >>> content = Content("a", 0.5, 1, (Section("forward", "0", "layer 0", lines=(y,)),))
    >>> links = Links(content, Gradients(content), "")
    >>> links.of(Element("x", (0,), 2.0, y.key)), links.of(Element("x", (0,), 3.0, y.key))
    (('#n-0.y-0', 'y[0] = 2'), (None, 'x[0], 0.y[0]'))
    """

    def __init__(self, content: Content, gradients: Gradients, prefix: str) -> None:
        self._gradients = gradients
        self._lines: dict[Key, dict[float, tuple[Line, str]]] = {}
        for section in content.sections:
            for line in section.lines if section.kind != "answers" else ():
                known = self._lines.setdefault(line.key, {})
                again = f"_{len(known) + 1}" if known else ""
                known.setdefault(line.value, (line, prefix + line.key.anchor + again))
        self._printer, self._titles = Printer(Text()), dict[int, str]()

    def id(self, line: Line) -> str | None:
        """The id of a line; None if another line computes the same number."""
        first, name = self._lines[line.key].get(line.value, (None, ""))
        return name if first is line else None

    def of(self, e: Element) -> tuple[str | None, str]:
        """The target of its link, None where no line computes it, and what is said of it."""
        for key in (e.key, self._gradients.own(e.key)):
            line, name = self._lines.get(key, {}).get(e.value, (None, ""))
            if line is not None:
                return f"#{name}", self._title(line)
        return None, named(e.called, e.key)

    def _title(self, line: Line) -> str:
        if id(line) not in self._titles:
            if line.expression is not None:
                title = f"{line.called} = {self._printer.names(line.expression)}"
            else:
                title = named(line.called, line.key)
            self._titles[id(line)] = title if len(title) <= LONGEST else title[: LONGEST - 1] + "…"
        return self._titles[id(line)]


def named(called: str, key: Key) -> str:
    """What a formula calls a number, and its name in the step.

    >>> named("W[0]", Key("2", "W", (0,))), named("x[0]", Key("", "x", (0,)))
    ('W[0], 2.W[0]', 'x[0]')
    """
    return called if called == str(key) or called.startswith("∂") else f"{called}, {key}"


class Hypertext(Text):
    """Formulas as HTML. links: of the numbers. own: the line in which they stand, to which none of them leads.

    >>> content = Content("a", 0.5, 1, ())
    >>> Hypertext(Links(content, Gradients(content), "")).power("y", 2)
    'y<sup>2</sup>'
    """

    def __init__(self, links: Links) -> None:
        self.links, self.own = links, ""

    def number(self, value: float, of: Element | None = None) -> tuple[str, int]:
        """A number, with a link where it has a line of its own."""
        text = number(value)
        return self._told(text, of), PRODUCT if "e" in text else ATOM

    def blank(self, text: str, of: Element | None = None) -> str:
        """A place to write in."""
        return f'<span class="blank">{self._told(html.escape(text), of)}</span>'

    def _told(self, text: str, of: Element | None) -> str:
        if of is None:
            return text
        target, said = self.links.of(of)
        title = html.escape(said)
        if target is None or target == self.own:
            return f'<span title="{title}">{text}</span>'
        return f'<a href="{html.escape(target)}" title="{title}">{text}</a>'

    def element(self, e: Element) -> str:
        """The name of an element; that of a derivative as a fraction."""
        if not e.name.startswith("∂"):
            at = f"<small>[{','.join(map(str, e.index))}]</small>" if e.index else ""
            return f"<i>{html.escape(e.name)}</i>{at}"
        above, _, below = e.called.partition("/")
        slash = '<span class="slash">/</span>'
        return f'<span class="ratio"><span>{html.escape(above)}</span>{slash}<span>{html.escape(below)}</span></span>'

    def words(self, text: str) -> str:
        """Words in a formula."""
        return f"‹{html.escape(text)}›"

    def sign(self, name: str) -> str:
        """The sign of a comparison."""
        return html.escape(SIGNS[name])

    def exp(self, text: str) -> tuple[str, int]:
        """eᵃ"""
        if "<sup>" in text or len(re.sub("<.*?>", "", text)) > EXPONENT:
            return f"exp({text})", ATOM
        return f"<i>e</i><sup>{text}</sup>", POWER

    def power(self, text: str, n: int) -> str:
        """aⁿ"""
        return f"{text}<sup>{n}</sup>"

    def times(self, factors: Sequence[str], spaced: bool) -> str:
        """a·b, which may go on in a new line."""
        if not spaced:
            return "·<wbr>".join(factors)
        return f"{TERM}{' · '.join(factors)}</span>" if len(factors) <= FIT else " · ".join(factors)

    def plus(self, first: str, others: Sequence[tuple[str, str]]) -> str:
        """a + b − c, where a new line begins with a sign."""
        parts = [first]
        for sign, term in others:
            together = term.startswith(TERM)
            parts.append(f"{TERM}{sign} {term[len(TERM) :]}" if together else f"{sign}&nbsp;{term}")
        return " ".join(parts)


class _Body:
    """The parts of an explanation, for a page or a notebook."""

    def __init__(self, content: Content, blank: Blank | None, prefix: str) -> None:
        self.content, self.prefix = content, prefix
        self.gradients = Gradients(content)
        self.links = Links(content, self.gradients, prefix)
        self.style = Hypertext(self.links)
        self.printer, self.answers = Printer(self.style, blank), Printer(self.style)

    def parts(self) -> Iterator[str]:
        """From the title to the last section."""
        content = self.content
        yield f"<header>\n<h1>{html.escape(content.title)}</h1>"
        yield f"<p>{html.escape(told(content))}</p>"
        yield from (f"<p>{html.escape(note)}</p>" for note in content.notes)
        if content.figure:
            yield self._figure(content.figure)
        if content.sections:
            yield f'<p class="small hint">{HINT}</p>'
            yield from self._contents()
        yield "</header>"
        for section in content.sections:
            yield from self._section(section)

    def _contents(self) -> Iterator[str]:
        """The table of contents: what belongs to one way is in one list."""
        groups: dict[str, list[Section]] = {"forward": [], "backward": []}
        for section in self.content.sections:
            groups.setdefault(BESIDE.get(section.kind, section.kind), []).append(section)
        yield '<nav aria-label="Contents">'
        for way, sections in groups.items():
            if not sections:
                continue
            yield f"<div><h2>{html.escape(way.capitalize())}</h2>\n<ol>"
            for section in sections:
                yield f'<li><a href="#{self._anchor(section)}">{html.escape(section.title)}</a></li>'
            yield "</ol></div>"
        yield "</nav>"

    def _anchor(self, section: Section) -> str:
        return html.escape(self.prefix + section.anchor)

    def _section(self, section: Section) -> Iterator[str]:
        kind = BESIDE.get(section.kind, section.kind) if section.kind != "data" else "data"
        yield f'<section id="{self._anchor(section)}" class="{html.escape(kind)}">'
        told = f' <span class="way">{WAYS[section.kind]}</span>' if section.kind in WAYS else ""
        yield f"<h2>{html.escape(section.title)}{told}</h2>"
        if section.formulas:
            yield f"<pre>{html.escape(chr(10).join(section.formulas))}</pre>"
        if section.shapes:
            yield f'<p class="small">shapes: {html.escape(shapes(section))}</p>'
        yield from (f"<p>{html.escape(note)}</p>" for note in section.notes)
        if section.figure:
            yield self._figure(section.figure)
        printer = self.answers if section.kind == "answers" else self.printer
        for line, *others in grouped(section.lines):
            if others:
                width = max(len(one.called) + len(number(one.value)) for one in (line, *others)) + 3
                column = f"minmax(min(100%, {width}ch), max-content)"
                yield f'<div class="stated" style="grid-template-columns: repeat(auto-fill, {column})">'
                for one in (line, *others):
                    yield from self._line(one, printer)
                yield "</div>"
            else:
                yield from self._line(line, printer)
        if section.summaries:
            yield from _table(section.summaries)
        yield "</section>"

    def _line(self, line: Line, printer: Printer) -> Iterator[str]:
        name = self.links.id(line) if printer is self.printer else None
        self.style.own = f"#{name}"
        yield f'<div class="line" id="{html.escape(name)}">' if name else '<div class="line">'
        yield _laid_out(equation(line, printer), "eq", line.label)
        chain = chain_rule(line, self.gradients, printer)
        if chain is not None:
            yield _laid_out(chain, "eq chain")
        if line.marks:
            yield f'<ul class="marks">{"".join(f"<li>{html.escape(mark)}</li>" for mark in line.marks)}</ul>'
        yield "</div>"

    def _figure(self, drawn: str) -> str:
        """A drawing, with ids that belong to this explanation alone."""
        if self.prefix:
            drawn = re.sub(r"<[^>]*>", lambda tag: _prefixed(tag[0], self.prefix), drawn)
        return f"<figure>{drawn}</figure>"


def _prefixed(tag: str, prefix: str) -> str:
    """A tag of which all ids, and what refers to them, begin with the prefix.

    >>> _prefixed('<input id="a" name="b">', "e1-"), _prefixed('<svg aria-labelledby="a b">', "e1-")
    ('<input id="e1-a" name="e1-b">', '<svg aria-labelledby="e1-a e1-b">')
    """
    tag = re.sub(r'(\s(?:href="#|id="|for="))', rf"\g<1>{prefix}", tag)
    if tag.startswith("<input"):
        tag = re.sub(r'(\sname=")', rf"\g<1>{prefix}", tag)
    return re.sub(
        r'(\saria-labelledby=")([^"]*)',
        lambda found: found[1] + " ".join(prefix + name for name in found[2].split()),
        tag,
    )


def _laid_out(equation: Equation, kind: str, label: str = "") -> str:
    *before, (relation, result) = equation.sides
    sides = [*(f"{sign} {side}" for sign, side in before), f"{relation} <b>{result}</b>"]
    told = " ".join(f'<span class="side">{side}</span>' for side in sides)
    told += f' <span class="small">{html.escape(label)}</span>' if label else ""
    return f'<div class="{kind}"><span class="left">{equation.left}</span> <span class="sides">{told}</span></div>'


def _table(summaries: Sequence[Summary]) -> Iterator[str]:
    yield '<div class="scroll" tabindex="0">\n<table>\n<thead><tr>'
    yield "".join(f'<th scope="col">{head}</th>' for head in COLUMNS) + "</tr></thead>\n<tbody>"
    for summary in summaries:
        yield f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells_of(summary))}</tr>"
    yield "</tbody>\n</table>\n</div>"
