"""Arguments that name data sets, files and folders, and their completion in a shell.

`PLACES` says by name what an argument or option is.

>>> [item.value for item in complete("di", ("digits", "mnist"), ())]
['digits']
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from .. import endings
from ..endings import ENDINGS, SOUNDS

NAMED = ("digits", "mnist")  # data sets that are no files
PICTURES = (".png", ".svg", ".pdf")
PLAIN = re.compile(r"[\w./+~@%-]*")  # what no shell takes for anything else


class Place(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """The name of a file with one of `endings`, or one of `words`; of a folder, if there are neither.

    >>> Place(".npz").convert("a.npz", None, None)
    'a.npz'
    """

    name = "file"

    def __init__(self, *endings: str, words: Sequence[str] = ()) -> None:
        self.endings, self.words = endings, tuple(words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, as it was typed."""
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The completions of a text that is typed in part."""
        if not (self.endings or self.words):
            return [CompletionItem(incomplete, type="dir")]
        return complete(incomplete, self.words, self.endings)


def complete(typed: str, words: Sequence[str], endings: Sequence[str]) -> list[CompletionItem]:
    """Completions: the words and files that begin with `typed`, and folders that may hold such files.

    Where only folders fit, or names that a shell would have to quote, the shell's own completion of files does better.
    """
    found = [word for word in words if word.startswith(typed)]
    if not endings:
        return [CompletionItem(word) for word in found]
    above, _, begun = typed.rpartition("/")
    folders = []
    try:
        with os.scandir(Path(f"{above}/" if "/" in typed else ".").expanduser()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not entry.name.startswith(begun) or (entry.name.startswith(".") and not begun):
                    continue
                path = f"{above}/{entry.name}" if "/" in typed else entry.name
                if entry.is_dir():
                    folders.append(f"{path}/")
                elif entry.name.lower().endswith(tuple(endings)):
                    found.append(path)
    except OSError:
        pass
    if not found or not all(PLAIN.fullmatch(name) for name in [*found, *folders]):
        return [CompletionItem(typed, type="file")]
    return [CompletionItem(name) for name in [*found, *folders]]


def is_table(path: str) -> bool:
    """Whether an argument names a table: a file by its ending, a folder with Parquet files, or "-".

    >>> is_table("houses.csv"), is_table("digits")
    (True, False)
    """
    return path not in NAMED and endings.is_table(path)


def is_sounds(path: str) -> bool:
    """Whether an argument names a folder of sounds.

    >>> is_sounds("digits")
    False
    """
    return path not in NAMED and not is_table(path) and endings.is_sounds(path)


ARRAYS = (".npz", ".npy")
DATA = (*ARRAYS, *ENDINGS)
EXPORTED = {".onnx": "ONNX", ".c": "C", ".safetensors": "PyTorch"}  # files for other programs, and what they hold
PLACES = {
    "dataset": Place(*DATA, words=NAMED),
    "file": Place(*DATA, *SOUNDS, words=NAMED),
    "more": Place(*SOUNDS),
    "model": Place(".safetensors"),
    "from": Place(".safetensors"),
    "out": Place(".safetensors", *DATA),
    "data": Place(),
    "test": Place(*ENDINGS),
    "validation": Place(*ENDINGS),
    "check": Place(*DATA, words=NAMED),
    "target": Place(".npy"),
    "checkpoint-dir": Place(),
    "resume": Place(),
    "plot": Place(*PICTURES),
    "confusion": Place(*PICTURES),
    "misclassified": Place(*PICTURES),
    "boundary": Place(*PICTURES),
    "histograms": Place(*PICTURES),
    "report": Place(".html"),
    "log": Place(".csv", ".jsonl"),
    "json": Place(".json"),
    "config": Place(".toml"),
    "save-config": Place(".toml"),
    "device": Place(words=("auto", "cpu", "cuda", "cuda:0")),
}
