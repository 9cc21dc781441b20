"""LaTeX documents of explanations: balanced, compiled where pdflatex is there, with the step's numbers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from reading import calculated
from steps import TINY, explained

import gpubp as bp
from gpubp.explain.content import Content, Line, Section
from gpubp.explain.exercises.blanks import with_blanks
from gpubp.explain.expressions import Element, Key, Operation, operate
from gpubp.explain.forms import tex
from gpubp.explain.forms.equations import equation
from gpubp.explain.forms.numbers import number, parsed
from gpubp.explain.forms.printing import Printer, agree

EVIL = r"\input{/etc/passwd} 100% $x_1^2$ #1 & {} ~ <|> 東 é ᵢ \x1f “quoted”"


@pytest.fixture(params=[*TINY, "of", "evil", "blanks"])
def document(request: pytest.FixtureRequest) -> str:
    if request.param == "evil":
        line = Line(EVIL, (0,), Key("0", EVIL, (0,)), Element(EVIL, (), 1.0, Key("", EVIL, ())), 1.0, marks=(EVIL,))
        section = Section("forward", EVIL, EVIL, (EVIL,), (line,), (), (EVIL,), {EVIL: (1,)})
        return tex.render(Content(EVIL, 1.0, 1, (section,), (EVIL,)), blank=lambda key: EVIL)
    if request.param == "blanks":
        exercise = with_blanks(explained("dense"), 0.3)
        return tex.render(exercise.content, exercise.blank)
    if request.param == "of":
        return tex.render(explained("wide", of="0.W[3,7]"))
    return tex.render(explained(request.param, optimizer=bp.Adam()))


def test_braces_and_environments_are_balanced(document: str) -> None:
    body = re.sub(r"\\[\\{}%]", "", document)
    depth = 0
    for c in body:
        depth += (c == "{") - (c == "}")
        assert depth >= 0
    assert depth == 0
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", body):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    for rows in re.findall(r"\\begin\{align\*\}(.*?)\\end\{align\*\}", document, re.S):
        for row in rows.split(r" \\" + "\n"):
            assert len(re.findall(r"(?<!\\)&", row)) == 1 and row.strip(), row
    assert not re.search("[\x00-\x08\x0b-\x1f]", document)
    assert document.replace("é", "").isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on PATH to compile the document with")
def test_it_compiles(document: str, tmp_path: Path) -> None:
    (tmp_path / "step.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "step.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=400)
    log = (tmp_path / "step.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-3000:]
    assert (tmp_path / "step.pdf").stat().st_size > 5000
    assert "Missing character" not in log and "root:" not in log
    widest = max(map(float, re.findall(r"Overfull \\hbox \((\d+\.?\d*)pt too wide\) detected", log)), default=0.0)
    assert widest < 48 or "passwd" in document  # points, of the margin; names are as long as users make them


def plain(side: str) -> str:
    """A side of an equation as the calculator of `reading.py` takes it."""
    side = re.sub(r"(-?[\d.]+)\\cdot 10\^\{(-?\d+)\}", r"\1e\2", side)
    side = (
        side.replace(r"\cdot", "·")
        .replace(r"\geq", ">=")
        .replace(r"\leq", "<=")
        .replace(r"\bigl", "")
        .replace(r"\bigr", "")
    )
    side = re.sub(r"\\ldots\\ \(\\text\{(\d+) more\}\\text\{, together \}([^)]*)\)", r"(\2)", side)
    side = re.sub(r"\\operatorname\{(\w+)\}", r"\1", side).replace(r"\lvert", "abs(").replace(r"\rvert", ")")
    side = side.replace(r"\sigma", "σ")
    while r"\frac" in side or r"\sqrt" in side:
        side = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", side)
        side = re.sub(r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)", side)
        side = re.sub(r"\^\{([^{}]*)\}", r"^(\1)", side)
    side = re.sub(r"\^\{([^{}]*)\}", r"^(\1)", side)
    return re.sub(r"\\(\w+)", r"\1", re.sub(r"[\x1e\x1f]", "", side))


@pytest.mark.parametrize("name", TINY)
def test_a_calculator_comes_to_each_result(name: str) -> None:
    printer, text, checked = Printer(tex.Mathematics(), limit=tex.LIMIT), tex.render(explained(name)), 0
    for line in explained(name).lines():
        found = equation(line, printer)
        assert found.sides[-1][1].replace(tex.WEAK, "") in text
        names = found.sides[0][1]
        if line.expression is None or not line.expression.operands or (r"\max" in names and r"\ldots" in names):
            continue
        value, result = calculated(plain(found.sides[-2][1])), parsed(number(line.value))
        assert (found.sides[-1][0] == "=") == agree(value, result), found
        checked += 1
    assert checked >= 10


def test_notation() -> None:
    y = Element("1.0.y", (0, 1), 0.25, Key("1.0", "y", (0, 1)))
    g = Element("gamma", (2,), -3e-7, Key("", "gamma", (2,)))
    printer = Printer(tex.Mathematics())
    e = operate("divide", [operate("multiply", [y, y]), operate("subtract", [g, y])])
    assert printer.names(e) == r"\frac{(y^{(1.0)}_{0,1})^{2}}{\gamma _{2} - y^{(1.0)}_{0,1}}"
    assert printer.numbers(e) == r"\frac{0.25^{2}}{-3\cdot 10^{-7} - 0.25}"
    assert printer.numbers(operate("multiply", [y, g])) == rf"0.25{tex.WEAK}\cdot (-3\cdot 10^{{-7}})"
    assert printer.names(operate("sqrt", [Operation("absolute", [g])])) == r"\sqrt{\lvert \gamma _{2}\rvert }"
