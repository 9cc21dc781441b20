"""Every example in README.md and docs/ runs, and every link in them leads somewhere.

The ```python and ```sh blocks of a file run in their order, in one folder and, those of Python, in one namespace. A
block with `>>>` is a doctest, so what it prints is compared with what the page shows; any other block just runs, and a
command must end with 0. HTML comments above a block say more:

    <!-- needs a GPU -->                 or h5py, jinja2, mpiexec, numba, onnx, onnxruntime, pyarrow, scikit-learn,
                                         tensorboard, torch; where that is missing, the block is left out and
                                         reported as skipped
    <!-- not run: it installs -->        why the block is not run
    <!-- with houses.csv, new.csv -->    files that the reader has, which the test writes before the block

So that training is quick, `gpubp train` takes two epochs unless --epochs says otherwise. Blocks in other languages
(text, toml) are not run.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from docs_blocks import ROOT, Block, blocks_of, missing, pictures_of, run
from gpubp.config import Configurable

SCREENSHOTS = ("report.png", "explain.png")
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]


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
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory to write in, and classes of the page's own that are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    registry = Configurable.registry
    before = dict(registry)
    yield
    known = before | {name: kind for name, kind in registry.items() if kind.__module__.startswith("gpubp.")}
    registry.clear()
    registry.update(known)


@pytest.fixture
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs, where a command does not say how many."""
    pytest.importorskip("rich")
    from gpubp.cli.defaults import Pace

    def of(*given: Any, **named: Any) -> Pace:
        sizes = inspect.signature(usual).bind(*given, **named)
        sizes.arguments["epochs"] = sizes.arguments.get("epochs") or 2
        return usual(*sizes.args, **sizes.kwargs)

    usual = Pace.of
    monkeypatch.setattr(Pace, "of", staticmethod(of))


@pytest.mark.parametrize(("path", "blocks"), _pages())
@pytest.mark.usefixtures("at_home", "few_epochs")
def test_the_blocks_of_a_page_run(path: Path, blocks: list[Block]) -> None:
    text = path.read_text(encoding="utf-8")
    with np.printoptions():
        run(blocks, path)
    if blocks == blocks_of(text):  # none is left out
        shown = [name for name in pictures_of(text) if name not in SCREENSHOTS]
        assert [name for name in shown if not Path(name).exists()] == [], "no block of the page draws these"


def test_every_block_that_is_not_run_has_a_reason_of_its_own() -> None:
    """Blocks are left out for what they install, clone, download or need, as a file of the reader's, and no others."""
    left_out = [b for path in PAGES for b in blocks_of(path.read_text(encoding="utf-8")) if b.reason is not None]
    assert len(left_out) <= 5
    for block in left_out:
        words = ("pytest", "git clone", "mnist", "cuda", "--gpu-smoke", "recordings", "digits.keras", "ray.util")
        assert any(word in block.code for word in words)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(path: Path) -> None:
    tokens = [child for token in MarkdownIt().parse(path.read_text(encoding="utf-8")) for child in token.children or ()]
    targets = [str(t.attrs.get("href") or t.attrs.get("src")) for t in tokens if t.type in ("link_open", "image")]
    files = [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [file for file in files if file and not (path.parent / file).exists()] == []


@pytest.mark.usefixtures("at_home")
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

    def test_comments_and_languages_are_read(self) -> None:
        page = (
            "```text\nexit 1\n```\n<!-- needs a GPU -->\n```python\na\n```\n\n- item\n  ```python\n  b\n  ```\n\n"
            "<!-- with houses.csv and new.csv -->\n```sh\nc\n```\n<!-- not run: it\ninstalls -->\n```sh\nd\n```\n"
        )
        assert blocks_of(page) == [
            Block(6, "a\n", need="a GPU"),
            Block(11, "b\n"),
            Block(16, "c\n", "sh", files=("houses.csv", "new.csv")),
            Block(21, "d\n", "sh", reason="it\ninstalls"),
        ]

    def test_a_quoted_block_is_no_block(self) -> None:
        assert blocks_of("````md\n```python\n1 / 0\n```\n````\n") == []

    def test_an_unknown_requirement_raises(self) -> None:
        with pytest.raises(ValueError, match="needs 'a moon'"):
            missing("a moon")
        with pytest.raises(ValueError, match=r"with 'moon.xyz', which"):
            run(blocks_of("<!-- with moon.xyz -->\n```sh\nls\n```\n"), Path("page.md"))

    @pytest.mark.parametrize("command", ["gpubp predict none.safetensors none.csv", "gpubp help | cat; false", "false"])
    def test_a_command_that_fails_names_its_line(self, command: str) -> None:
        with pytest.raises(AssertionError, match=r"page.md:3\n.*\nended with \d"):
            run(blocks_of(f"```sh\ngpubp help predict\n{command}\n```\n"), Path("page.md"))

    def test_commands_share_the_folder_with_python(self) -> None:
        page = (
            "```python\nopen('a', 'w').close()\n```\n```sh\ncp a b  # a copy\ngpubp help \\\n  predict\n```\n"
            "```python\nopen('b').close()\n```\n"
        )
        run(blocks_of(page), Path("page.md"))
        assert Path("b").exists()

    def test_pip_is_left_out_and_what_follows_runs(self) -> None:
        Path("page.md").touch()
        run(blocks_of("```sh\npip install nothing\npip install '.[all]' && cp page.md b\n```\n"), Path("page.md"))
        assert Path("b").exists()

    def test_a_block_with_a_reason_does_not_run(self) -> None:
        run(blocks_of("<!-- not run: no -->\n```sh\nfalse\n```\n"), Path("page.md"))

    @pytest.mark.usefixtures("few_epochs")
    def test_two_epochs_are_the_default(self) -> None:
        from gpubp.cli.defaults import Pace

        assert Pace.of(10).epochs == 2 and Pace.of(10, epochs=7).epochs == 7
