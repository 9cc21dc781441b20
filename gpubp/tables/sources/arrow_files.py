"""Arrow and Feather files, streams of Arrow, and ORC files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import DataError
from .base import ROWS, Source, require_pyarrow


class ArrowFile(Source):
    """An Arrow file, which is Feather of version 2 too, or an Arrow stream.

    Its numbers are used where they lie in the file, so that a batch as large as the file takes no memory. They are
    checked before they are cut into parts, because pyarrow trusts the file.
    """

    def __init__(self, path: str) -> None:
        self.path = self.name = path
        pa = require_pyarrow()
        with open(path, "rb") as file:
            start = file.read(6)
        if not start:
            raise DataError(f"{path} is empty")
        if start.startswith(b"FEA1"):
            raise DataError(
                f"{path} is Feather of version 1; write it anew by pyarrow.feather.write_feather(pyarrow.feather."
                "read_table(path), path)"
            )
        self._stream = start != b"ARROW1"
        with pa.memory_map(path) as file:
            schema = (pa.ipc.open_stream if self._stream else pa.ipc.open_file)(file).schema
        self.names = list(schema.names)

    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Batches of at most some ten thousand rows."""
        pa = require_pyarrow()
        options = pa.ipc.IpcReadOptions(included_fields=sorted(set(at)))
        places = [sorted(set(at)).index(i) for i in at]
        with pa.memory_map(self.path) as file:
            for batch in self._batches(pa, file, options):
                some = batch.select(places)
                some.validate()
                for first in range(0, len(some), ROWS):
                    yield some.slice(first, ROWS)

    def _batches(self, pa: Any, file: Any, options: Any) -> Iterator[Any]:
        if self._stream:
            yield from pa.ipc.open_stream(file, options=options)
            return
        reader = pa.ipc.open_file(file, options=options)
        for k in range(reader.num_record_batches):
            yield reader.get_batch(k)

    def about_rows(self) -> int:
        """The number of rows."""
        pa = require_pyarrow()
        with pa.memory_map(self.path) as file:
            return sum(len(batch) for batch in self._batches(pa, file, pa.ipc.IpcReadOptions()))


class ORC(Source):
    """An ORC file, read stripe by stripe. Raises DataError where this pyarrow can't read ORC."""

    def __init__(self, path: str) -> None:
        self.path = self.name = path
        require_pyarrow()
        self.names = list(self._open().schema.names)

    def _open(self) -> Any:
        try:
            from pyarrow import orc
        except ImportError as problem:
            raise DataError(f"{self.path}: this pyarrow can't read ORC; write the table as Parquet") from problem
        return orc.ORCFile(self.path)

    def batches(self, at: Sequence[int]) -> Iterator[Any]:
        """Batches of at most some ten thousand rows."""
        file, names = self._open(), [self.names[i] for i in at]
        for k in range(file.nstripes):
            stripe = file.read_stripe(k, columns=names).select(names)
            for first in range(0, len(stripe), ROWS):
                yield stripe.slice(first, ROWS)

    def about_rows(self) -> int:
        """The number of rows."""
        return int(self._open().nrows)
