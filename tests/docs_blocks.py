"""The code blocks of README.md and docs/, and how each is run: used by test_docs.py."""

from __future__ import annotations

import csv
import doctest
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markdown_it import MarkdownIt

import gpubp as bp

ROOT = Path(__file__).parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
COMMENT = re.compile(r"<!--\s*(needs|with|not run:)\s+(.*?)\s*-->", re.S)
LANGUAGES = ("python", "sh")
SHELL = set("|&;<>$`*?~(){}#")  # what only a shell understands


class Block(NamedTuple):
    """A ```python or ```sh block: the number of its first line of code, the code, the language, and of the comments
    above it what it needs, why it is not run, and the files that the reader has."""

    line: int
    code: str
    language: str = "python"
    need: str | None = None
    reason: str | None = None
    files: tuple[str, ...] = ()


def blocks_of(text: str) -> list[Block]:
    """The ```python and ```sh blocks of a page."""
    found: list[Block] = []
    said: dict[str, str] = {}
    for token in MarkdownIt().parse(text):
        if token.type == "html_block" and (comments := COMMENT.findall(token.content)):
            said |= dict(comments)
            continue
        language = token.info.split()[0] if token.type == "fence" and token.info.split() else ""
        if language in LANGUAGES and token.map:
            files = tuple(re.findall(r"[\w.]+", said.get("with", "").replace(" and ", " ")))
            block = Block(token.map[0] + 2, token.content, language, said.get("needs"), said.get("not run:"), files)
            found.append(block)
        said = {}
    return found


def pictures_of(text: str) -> list[str]:
    """Names of the pictures in docs/images that a page shows."""
    tokens = [child for token in MarkdownIt().parse(text) for child in token.children or () if child.type == "image"]
    return [Path(src).name for token in tokens if (src := str(token.attrs["src"])).startswith("images/")]


def missing(need: str) -> str | None:
    """Why `need` can't be met on this machine, or None if it can."""
    match need:
        case "a GPU":
            try:
                bp.get_backend("cuda")
            except bp.DeviceError as problem:
                return str(problem)
            return None
        case "a C compiler":
            return None if shutil.which("cc") else "there is no cc"
        case "mpiexec":
            found = importlib.util.find_spec("mpi4py") and shutil.which("mpiexec", path=_path())
            return None if found else "there is no mpiexec, or no mpi4py"
        case (
            "dask"
            | "h5py"
            | "jinja2"
            | "numba"
            | "onnx"
            | "onnxruntime"
            | "optuna"
            | "pyarrow"
            | "scikit-learn"
            | "tensorboard"
            | "torch"
        ):
            module = {"scikit-learn": "sklearn"}.get(need, need)
            return None if importlib.util.find_spec(module) else "it is not installed"
    raise ValueError(f"a block needs {need!r}, which is not known here")


def run(blocks: Sequence[Block], path: Path) -> dict[str, Any]:
    """Run blocks as if they were typed one after the other, in the current folder; errors name lines of the page."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        for file in block.files:
            provide(file)
        if block.reason is not None:
            continue
        if block.language == "sh":
            run_shell(block, path)
        elif re.search(r"^\s*>>>", block.code, re.MULTILINE):
            _run_doctest(block, path, names)
        else:
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(path), "exec", dont_inherit=True), names)
    return names


def provide(file: str) -> None:
    """Write a small file that the reader has, unless it is there: a table of houses, or arrays."""
    if Path(file).exists():
        return
    rng = np.random.default_rng(len(file))
    if file == "y.npy":
        X = np.load("X.npy")
        np.save(file, (X[:, 0] > X[:, 1]).astype(int))
        return
    rows = [[f"{i:03} Hill Road", f"{rng.uniform(30, 200):.0f}", ("Oslo", "Rome")[i % 2]] for i in range(120)]
    lines = [["address", "area", "town", "price"], *([*row, f"{4 * float(row[1]) + rng.normal():.1f}"] for row in rows)]
    if file.endswith(".parquet"):
        import pyarrow
        from pyarrow import parquet

        columns = {name: [line[k] for line in lines[1:]] for k, name in enumerate(lines[0])}
        parquet.write_table(pyarrow.table(columns), file)
    elif file.endswith(".csv"):
        with open(file, "w", newline="", encoding="utf-8") as target:
            csv.writer(target).writerows(lines)
    else:
        raise ValueError(f"a block is run with {file!r}, which is not known here")


def run_shell(block: Block, path: Path) -> None:
    """Run the commands of a ```sh block: gpubp in this process, and what needs a shell in bash; `pip install` is
    left out, because the packages are there."""
    code = block.code.replace("\\\n", " " * 2)
    for number, command in enumerate(code.splitlines()):
        command = re.sub(r"\s#\s.*", "", command).strip()
        command = re.sub(r"^pip install [^&]*(&&\s*|$)", "", command)
        if not command or command.startswith("#"):
            continue
        words = [] if SHELL & set(command) else shlex.split(command)
        if words[:1] == ["gpubp"]:
            code_, told = _run_here(words[1:])
        else:
            code_, told = _run_bash(command)
        closed = code_ == 141 and re.search(r"\|\s*head\b", command)  # head has read enough
        if code_ and not closed:
            raise AssertionError(f"{path}:{block.line + number}\n{command}\nended with {code_}\n{told}")


def _run_here(words: list[str]) -> tuple[int, str]:
    from click.testing import CliRunner

    from gpubp.cli.app import app

    done = CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def _path() -> str:
    """Where programs are looked for: beside this Python first, where its packages put theirs."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _run_bash(command: str) -> tuple[int, str]:
    program = shlex.quote(sys.executable)
    begin = f'set -eo pipefail; gpubp() {{ {program} -m gpubp "$@"; }}; python() {{ {program} "$@"; }}\n'
    if command.startswith("mpiexec "):  # which starts programs, and no functions of a shell
        command = re.sub(r" gpubp ", f" {program} -m gpubp ", command, count=1)
        command = re.sub(r" python ", f" {program} ", command, count=1)
    places = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": places, "PATH": _path()}
    done = subprocess.run(["bash", "-c", begin + command], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


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
