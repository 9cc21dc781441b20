"""Folders of Parquet files, as Spark, Dask and pyarrow.dataset write them; folders such as year=2024 are columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...endings import parquet_files
from ...errors import DataError
from .base import ROWS, Source, require_pyarrow


class Folder(Source):
    """The Parquet files of a folder, in the order of their sorted paths, as one table.

    A column that some files lack is missing there. A folder called KEY=VALUE gives the rows in it a column KEY of text.
    """

    def __init__(self, path: str) -> None:
        self.path = self.name = path
        self._files = parquet_files(path)
        if not self._files:
            raise DataError(f"{path} is a folder without a Parquet file, .parquet, in it")
        self._dataset = self._open()
        self.names = list(self._dataset.schema.names)

    def _open(self) -> Any:
        pa = require_pyarrow()
        from pyarrow import dataset

        keys: dict[str, None] = {}
        for file in self._files:
            parts = Path(file).relative_to(self.path).parts[:-1]
            keys |= dict.fromkeys(part.partition("=")[0] for part in parts if "=" in part)
        given = pa.schema([(key, pa.string()) for key in keys])
        options = dataset.FileSystemFactoryOptions(partition_base_dir=os.path.abspath(self.path))
        options.partitioning = dataset.HivePartitioning(given)
        factory = dataset.FileSystemDatasetFactory(
            pa.fs.LocalFileSystem(), [os.path.abspath(f) for f in self._files], dataset.ParquetFileFormat(), options
        )
        return factory.finish(self._schema(pa, given))

    def _schema(self, pa: Any, keys: Any) -> Any:
        """The columns of all files and the keys of the folders. Raises DataError where a column has two types."""
        from pyarrow import parquet

        schemas = []
        for file in self._files:
            try:
                schemas.append(parquet.read_schema(file).remove_metadata())
            except (pa.ArrowException, OSError) as problem:
                text = " ".join(str(problem).split())
                raise DataError(f"{file} can't be read ({text[:200]}): it is damaged or cut short") from problem
        try:
            return pa.unify_schemas([*schemas, keys], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as problem:
            text = " ".join(str(problem).split())
            raise DataError(
                f"the files in {self.path} have a column of two types ({text[:200]}); write them with one type"
            ) from problem

    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Batches of some ten thousand rows, file by file."""
        names = [self.names[i] for i in at]
        for fragment in self._dataset.get_fragments():
            yield from fragment.to_batches(
                schema=self._dataset.schema, columns=names, batch_size=ROWS, use_threads=False, batch_readahead=1
            )

    def about_rows(self) -> int:
        """The number of rows."""
        return int(self._dataset.count_rows())
