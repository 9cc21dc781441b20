"""`--log`: write the numbers of every epoch into a CSV file, a JSON lines file or a folder for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..training.callbacks import Callback
from ..training.log_files import CSVLogger, JSONLinesLogger
from ..training.trackers import TensorBoard, require_tensorboard
from .files import check_output

FILES = {".csv": CSVLogger, ".jsonl": JSONLinesLogger}
OTHERS = {".json", ".log", ".ndjson", ".parquet", ".tsv", ".txt"}  # which nobody calls a folder


log_option = click.option(
    "--log",
    multiple=True,
    metavar="FILE.csv|FILE.jsonl|FOLDER",
    help="Log every epoch; a folder is for TensorBoard. May be given again.",
)


def check_logs(paths: Sequence[str], not_over: Sequence[str | None]) -> None:
    """Raise UsageError, before any work, for logs that could not be written, and files that are no logs."""
    for k, path in enumerate(paths):
        ending = Path(path).suffix.lower()
        if ending in FILES:
            check_output(path, "--log", not_over=[*not_over, *paths[:k]])
            if Path(path).exists():
                FILES[ending](path).read()
            continue
        if ending in OTHERS or Path(path).is_file():
            raise click.UsageError(f"--log {path}: name a file that ends in .csv or .jsonl, or a folder")
        require_tensorboard()
        check_output(f"{path.rstrip('/')}.x", "--log", not_over=not_over)


def make_logs(paths: Sequence[str]) -> list[Callback]:
    """The callbacks that write the logs.

    >>> [type(log).__name__ for log in make_logs(["a.csv", "b.jsonl"])]
    ['CSVLogger', 'JSONLinesLogger']
    """
    return [FILES.get(Path(path).suffix.lower(), TensorBoard)(path) for path in paths]
