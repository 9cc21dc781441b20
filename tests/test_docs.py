"""Every example in README.md and docs/ runs, and every link in them leads somewhere.

The ```python blocks of a file run in order, in one namespace and in an empty working directory. A block with `>>>`
is a doctest, so what it prints is compared with what the page shows; any other block just runs. An HTML comment
above a block says what it needs, `<!-- needs a GPU -->`, `<!-- needs jinja2 -->`, `<!-- needs scikit-learn -->`; where
that is missing, the block is left out and reported as skipped. Blocks in other languages (sh, text) are not run.
"""

from __future__ import annotations

import doctest
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from markdown_it import MarkdownIt

import gpubp as bp
from gpubp.config import Configurable

ROOT = Path(__file__).parents[1]
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEED = re.compile(r"<!--\s*needs\s+(.*?)\s*-->")


class Block(NamedTuple):
    """A ```python block: the number of its first line of code, the code, and what it needs beyond NumPy."""

    line: int
    code: str
    need: str | None


def blocks_of(text: str) -> list[Block]:
    """The ```python blocks of a page."""
    found, need = [], None
    for token in MarkdownIt().parse(text):
        if token.type == "html_block" and (match := NEED.fullmatch(token.content.strip())):
            need = match[1]
            continue
        if token.type == "fence" and token.map and token.info.split()[:1] == ["python"]:
            found.append(Block(token.map[0] + 2, token.content, need))
        need = None
    return found


def missing(need: str) -> str | None:
    """Why `need` can't be met on this machine, or None if it can."""
    match need:
        case "a GPU":
            try:
                bp.get_backend("cuda")
            except bp.DeviceError as problem:
                return str(problem)
            return None
        case "jinja2":
            return None if importlib.util.find_spec("jinja2") else "it is not installed"
        case "scikit-learn":
            return None if importlib.util.find_spec("sklearn") else "it is not installed"
        case "pyarrow":
            return None if importlib.util.find_spec("pyarrow") else "it is not installed"
    raise ValueError(f"a block needs {need!r}, which is not known here")


def run(blocks: Sequence[Block], path: Path) -> dict[str, Any]:
    """Run blocks as if they were typed one after the other; errors name the lines of the page."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        if re.search(r"^\s*>>>", block.code, re.MULTILINE):
            _run_doctest(block, path, names)
        else:
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(path), "exec", dont_inherit=True), names)
    return names


def _run_doctest(block: Block, path: Path, names: dict[str, Any]) -> None:
    parser = doctest.DocTestParser()
    for part in parser.parse(block.code):
        if isinstance(part, str) and part.strip():
            raise AssertionError(f"{path}:{block.line}: the block has >>> and yet lines without a prompt:\n{part}")
    test = parser.get_doctest(block.code, names, path.name, str(path), block.line - 1)
    try:
        doctest.DebugRunner(optionflags=FLAGS).run(test, clear_globs=False)
    except doctest.DocTestFailure as failure:
        line = block.line + failure.example.lineno
        raise AssertionError(
            f"{path}:{line}\n{failure.example.source}shows\n{failure.example.want}and gives\n{failure.got}"
        ) from None
    except doctest.UnexpectedException as failure:
        raise failure.exc_info[1] from None
    names.update(test.globs)


def _pages() -> list[Any]:
    cases = []
    for path in PAGES:
        blocks, unmet = blocks_of(path.read_text(encoding="utf-8")), {}
        for need in dict.fromkeys(b.need for b in blocks if b.need):
            if why := missing(need):
                unmet[need] = why
        name = str(path.relative_to(ROOT))
        cases.append(pytest.param(path, [b for b in blocks if b.need not in unmet], id=name))
        for b in blocks:
            if b.need in unmet:
                skip = pytest.mark.skip(reason=f"{name}:{b.line} needs {b.need}: {unmet[b.need]}")
                cases.append(pytest.param(path, [b], id=f"{name}:{b.line}", marks=skip))
    return cases


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory to write in, and classes and print options that are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))


@pytest.mark.parametrize(("path", "blocks"), _pages())
@pytest.mark.usefixtures("at_home")
def test_the_blocks_of_a_page_run(path: Path, blocks: list[Block]) -> None:
    with np.printoptions():
        run(blocks, path)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(path: Path) -> None:
    tokens = [child for token in MarkdownIt().parse(path.read_text(encoding="utf-8")) for child in token.children or ()]
    targets = [str(t.attrs.get("href") or t.attrs.get("src")) for t in tokens if t.type in ("link_open", "image")]
    files = [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [file for file in files if file and not (path.parent / file).exists()] == []


class TestTheRunner:
    """What it must notice."""

    PAGE = "Words\n\n```python\nx = 1\n```\n\n```python\n>>> x + 1\n{}\n```\n"

    def test_blocks_share_their_names(self) -> None:
        assert run(blocks_of(self.PAGE.format(2)), Path("page.md"))["x"] == 1

    def test_output_that_differs(self) -> None:
        with pytest.raises(AssertionError, match=r"page.md:8\nx \+ 1\nshows\n3\nand gives\n2"):
            run(blocks_of(self.PAGE.format(3)), Path("page.md"))

    def test_an_error_names_the_line_of_the_page(self) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            run(blocks_of("# Title\n\n```python\nx = 1\n1 / 0\n```\n"), Path("page.md"))
        assert caught.traceback[-1].lineno + 1 == 5  # pytest counts lines from 0

    def test_an_error_in_a_doctest(self) -> None:
        with pytest.raises(ZeroDivisionError):
            run(blocks_of("```python\n>>> 1 / 0\n```\n"), Path("page.md"))

    def test_code_without_a_prompt_in_a_doctest(self) -> None:
        with pytest.raises(AssertionError, match="without a prompt"):
            run(blocks_of("```python\nx = 1\n>>> x\n1\n```\n"), Path("page.md"))

    def test_only_python_runs_and_needs_are_read(self) -> None:
        page = "```sh\nexit 1\n```\n<!-- needs a GPU -->\n```python\na\n```\n\n- item\n  ```python\n  b\n  ```\n"
        assert blocks_of(page) == [Block(6, "a\n", "a GPU"), Block(11, "b\n", None)]

    def test_a_quoted_block_is_no_block(self) -> None:
        assert blocks_of("````md\n```python\n1 / 0\n```\n````\n") == []

    def test_an_unknown_requirement_raises(self) -> None:
        with pytest.raises(ValueError, match="needs 'a moon'"):
            missing("a moon")
