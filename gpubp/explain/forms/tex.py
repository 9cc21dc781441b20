"""An explanation as a LaTeX document, which pdflatex sets with the packages amsmath and geometry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ..content import Content, Line, Section
from ..expressions import Element
from .equations import Equation, Gradients, chain_rule, equation, grouped
from .numbers import number
from .printing import Blank, Printer
from .styles import ATOM, POWER, PRODUCT, Text
from .tex_words import escaped, letters
from .text import COLUMNS, ROUNDED, cells_of, heading, shapes, told, unblanked

BREAK, WEAK = "\x1f", "\x1e"  # where a line may end, and where it may if it would be too long else
WIDTH = 88  # of a line, in letters
WIDEST = 50  # of a fraction with a line
ROWS = 24  # of an `align`, which TeX keeps in memory as a whole
LIMIT = 40  # names or numbers in an expression
PREAMBLE = r"""\documentclass[a4paper,10pt,fleqn]{article}
\usepackage[utf8]{inputenc}
\usepackage{amsmath}
\usepackage[margin=17mm]{geometry}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
\setlength{\mathindent}{0pt}
\setcounter{secnumdepth}{0}
\sloppy
"""


def render(content: Content, blank: Blank | None = None) -> str:
    r"""The explanation as a document of its own.

    blank: what stands in the place of the number with a key, None for a number that is printed.

    >>> print(render(Content("One step", 0.5, 1, ())).splitlines()[-1])
    \end{document}
    """
    gradients, found = Gradients(content), list[str]()
    for section in content.sections:
        found += _section(section, gradients, Printer(Mathematics(), unblanked(section, blank), LIMIT))
    parts = [PREAMBLE + rf"\title{{{escaped(content.title)}}}" + "\n\\author{}\n\\date{}", r"\begin{document}"]
    parts += [r"\maketitle", escaped(told(content)), *map(escaped, content.notes)]
    parts += [escaped(ROUNDED)] if any(r"\approx" in part for part in found) else []
    parts += [r"\tableofcontents"] if content.sections else []
    return "\n\n".join([*parts, *found, r"\end{document}"]) + "\n"


class Mathematics(Text):
    r"""Formulas as LaTeX.

    >>> print(Mathematics().quotient("1", Mathematics().root("v")))
    \frac{1}{\sqrt{v}}
    """

    product, minus, ellipsis = r"\cdot ", "-", r"\ldots "
    drawn = True

    def number(self, value: float, of: Element | None = None) -> tuple[str, int]:
        """A number, with a power of ten where `numbers.number` has an exponent."""
        digits, e, exponent = number(value).replace("−", "-").partition("e")
        if e:
            return rf"{digits}\cdot 10^{{{int(exponent)}}}", PRODUCT
        return digits.replace("∞", r"\infty ").replace("NaN", r"\text{NaN}"), ATOM

    def blank(self, text: str, of: Element | None = None) -> str:
        """A line to write on."""
        return rf"\underline{{\text{{{escaped(text)}}}\hspace{{3em}}}}"

    def element(self, e: Element) -> str:
        """A name with its index below; derivatives as fractions."""
        above, slash, below = e.called.partition("/")
        if slash and e.name.startswith("∂"):
            return rf"\frac{{\partial {_named(above[1:])}}}{{\partial {_named(below[1:])}}}"
        return _named(e.called)

    def words(self, text: str) -> str:
        """Words in a formula."""
        return rf"\langle\text{{{escaped(text)}}}\rangle "

    def bracket(self, text: str) -> str:
        """( )"""
        return rf"\bigl({text}\bigr)" if r"\frac" in text or r"\sqrt" in text else f"({text})"

    def truth(self, text: str) -> str:
        """1 where the comparison holds, else 0."""
        return f"[{text}]"

    def sign(self, name: str) -> str:
        """The sign of a comparison."""
        return {"greater": ">", "greater_equal": r"\geq", "less": "<", "less_equal": r"\leq", "equal": "="}[name]

    def call(self, name: str, arguments: Sequence[str]) -> str:
        """f(a, b)"""
        short = {"sigmoid": "sigma", "minimum": "min", "fmin": "min", "maximum": "max", "fmax": "max"}.get(name, name)
        known = short in ("sigma", "min", "max", "tanh", "sin", "cos", "log", "exp")
        return f"\\{short}" * known + rf"\operatorname{{{short}}}" * (not known) + self.bracket(", ".join(arguments))

    def absolute(self, text: str) -> str:
        """|a|"""
        return rf"\lvert {_unbroken(text)}\rvert "

    def root(self, text: str) -> str:
        """√a"""
        return rf"\sqrt{{{_unbroken(text)}}}"

    def exp(self, text: str) -> tuple[str, int]:
        """eᵃ"""
        if "^" in text or r"\frac" in text or width_of(text) > 16:
            return self.call("exp", [text]), ATOM
        return f"e^{{{_unbroken(text)}}}", POWER

    def power(self, text: str, n: int) -> str:
        """aⁿ"""
        single = "^" not in text and "'" not in text or text.endswith(")")
        return f"{text if single else self.bracket(text)}^{{{n}}}"

    def quotient(self, above: str, below: str) -> str:
        """a/b"""
        if max(width_of(above), width_of(below)) > WIDEST:
            return f"{self.bracket(above)}/{self.bracket(below)}"
        return rf"\frac{{{_unbroken(above)}}}{{{_unbroken(below)}}}"

    def times(self, factors: Sequence[str], spaced: bool) -> str:
        """a·b"""
        return rf"{WEAK}\cdot ".join(factors)

    def plus(self, first: str, others: Sequence[tuple[str, str]]) -> str:
        """a + b − c"""
        return first + "".join(f"{BREAK} {sign} {term}" for sign, term in others)

    def more(self, count: int, together: str | None) -> str:
        """What stands for terms that are not shown."""
        sums = rf"\text{{, together }}{together}" if together is not None else ""
        return rf"\ldots\ (\text{{{count} more}}{sums})"


def _named(called: str) -> str:
    """A name of the step, as 1.0.y[0,1]: the index below, the layer above; of an answer, behind its number.

    >>> _named("1.0.dW[0,1]"), _named("L"), _named("e′[2]")
    ('\\\\mathit{dW}^{(1.0)}_{0,1}', 'L', "e'_{2}")
    >>> _named("(3) 0.y[1]")
    '\\\\text{(3) }y^{(0)}_{1}'
    """
    match = re.fullmatch(r"(?s)(\(\d+\) )?(?:((?:\d+\.)*\d+)\.)?(.*?)(?:\[([\d,]+)\])?", called)
    assert match is not None
    answer, path, name, index = match.groups()
    above = f"^{{({path})}}" if path else ""
    before = rf"\text{{{answer}}}" if answer else ""
    return before + letters(name) + above + (f"_{{{index}}}" if index else "")


def _unbroken(text: str) -> str:
    return text.replace(BREAK, "").replace(WEAK, "")


def width_of(text: str) -> float:
    r"""About how wide a formula is, in letters.

    >>> width_of(r"\frac{a}{b} + 0.25")
    6.5
    """
    text = re.sub(
        r"\\frac\{((?:[^{}]|\{[^{}]*\})*)\}\{((?:[^{}]|\{[^{}]*\})*)\}", lambda f: max(f[1], f[2], key=len), text
    )
    text = re.sub(r"\\(?:text|operatorname|mathit)\b", "", text)
    text = re.sub(r"\\[a-zA-Z]+ ?|\\.", "m", text)
    small = sum(len(found) for found in re.findall(r"[_^]\{([^{}]*)\}", text))
    return len(re.sub(r"[{}_^\s\x1e\x1f]", "", text)) - 0.3 * small + 0.5 * len(re.findall(r" [-+=] ", text))


def _section(section: Section, gradients: Gradients, printer: Printer) -> Iterator[str]:
    yield rf"\section{{{escaped(heading(section))}}}"
    if section.formulas:
        told = (rf"\texttt{{{escaped(formula).replace('  ', '~~')}}}" for formula in section.formulas)
        yield "{\\small " + "\\\\\n".join(told) + "\\par}"
    if section.shapes:
        yield rf"{{\small {escaped(f'shapes: {shapes(section)}')}\par}}"
    yield from map(escaped, section.notes)
    rows: list[str] = []
    for group in grouped(section.lines):
        rows += _rows(group, gradients, printer)
        words = [word for line in group for word in (line.label, *line.marks) if word]
        if len(rows) >= ROWS or words:
            yield _aligned(rows)
            rows = []
        yield from (rf"\textit{{{escaped(word)}}}" for word in words)
    if rows:
        yield _aligned(rows)
    if section.summaries:
        heads = " & ".join(COLUMNS)
        table = [" & ".join(map(escaped, cells_of(summary))) for summary in section.summaries]
        body = "\\\\\n".join([heads + r"\\\hline", *table]).replace(r"\\\hline\\", r"\\\hline")
        yield f"{{\\footnotesize\\begin{{tabular}}{{ll{'r' * (len(COLUMNS) - 2)}}}\n{body}\n\\end{{tabular}}\\par}}"


def _aligned(rows: Iterable[str]) -> str:
    return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"


def _rows(lines: Sequence[Line], gradients: Gradients, printer: Printer) -> Iterator[str]:
    """The rows of an `align`, for one line or for several that state numbers."""
    if len(lines) > 1:
        stated = [
            _unbroken(f"{found.left} = {found.sides[-1][1]}") for found in (equation(line, printer) for line in lines)
        ]
        yield from (f"&{row}" for row in _folded([stated[0], *(rf",\quad {one}" for one in stated[1:])], WIDTH))
        return
    yield from _laid_out(equation(lines[0], printer))
    chain = chain_rule(lines[0], gradients, printer)
    if chain is not None:
        yield from _laid_out(chain)


def _laid_out(equation: Equation) -> Iterator[str]:
    signs = {"≈": r"\approx ", "←": r"\leftarrow "}
    sides = [f"{signs.get(sign, sign)} {side}" for sign, side in equation.sides]
    room = WIDTH - max(width_of(equation.left), 10)
    if width_of(" ".join(sides)) <= room:
        yield f"{equation.left} &{' '.join(map(_unbroken, sides))}"
        return
    left = equation.left
    for side in sides:
        pieces = [p for piece in side.split(BREAK) for p in (piece.split(WEAK) if width_of(piece) > room else [piece])]
        for k, row in enumerate(map(_unbroken, _folded(pieces, room - 4))):
            yield rf"{left} &{row}" if k == 0 else rf"&\qquad {row}"
            left = ""


def _folded(pieces: Sequence[str], room: float) -> Iterator[str]:
    """The pieces in as few lines as have room."""
    row = ""
    for piece in pieces:
        if row and width_of(row + piece) > room:
            yield row
            row = piece.removeprefix(r",\quad ")
        else:
            row += piece
    yield row
