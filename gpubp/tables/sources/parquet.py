"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .base import ROWS, Source, require_pyarrow


class Parquet(Source):
    """A Parquet file, read in batches of rows."""

    def __init__(self, path: str) -> None:
        self.path = self.name = path
        require_pyarrow()
        self.names = list(self._open().schema_arrow.names)

    def _open(self) -> Any:
        from pyarrow import parquet

        return parquet.ParquetFile(self.path)

    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Batches of some ten thousand rows."""
        names = [self.names[i] for i in at]
        for batch in self._open().iter_batches(batch_size=ROWS, columns=names):
            yield batch.select(names)

    def about_rows(self) -> int:
        """The number of rows."""
        return int(self._open().metadata.num_rows)

    def group_sizes(self) -> list[int]:
        """How many rows each row group has."""
        metadata = self._open().metadata
        return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
