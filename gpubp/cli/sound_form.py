"""How sounds become the rows of a network, and the layers that a network of sounds begins with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Configurable, Count
from ..data.row_groups import RowGroups
from ..datasets.sounds import NAMED, read_sounds, readable
from ..errors import in_bytes
from ..layers import LayerNorm, MelSpectrogram, Sequential
from ..report.content import FoundRows
from .console import note
from .held_rows import RowDigest
from .large_data import usual_memory
from .row_samples import RowSample

Array = np.ndarray[Any, Any]
METADATA = "sound"  # where a network's metadata has it
BANDS = 40
TOGETHER = 64  # files that are read as a group, where all are too large for memory


@dataclass(frozen=True, repr=False)
class SoundForm(Configurable):
    """The form in which a network takes sounds. rate: samples a second. samples: of a row.

    >>> SoundForm(8000, 4000).told
    '0.5 s of 8,000 samples a second'
    """

    rate: Count
    samples: Count

    @property
    def seconds(self) -> float:
        """The length of a row."""
        return self.samples / self.rate

    @property
    def told(self) -> str:
        """In words."""
        return f"{self.seconds:g} s of {self.rate:,} samples a second"

    def fields(self) -> dict[str, Any]:
        """The fields of a JSON document."""
        return {"rate": self.rate, "seconds": self.seconds}

    @property
    def first(self) -> Sequential:
        """The spectrogram, with fewer bands where the rate is low; each frame gets mean 0 and deviation 1."""
        made: MelSpectrogram | None = None
        for bands in range(BANDS, 0, -1):
            try:
                made = MelSpectrogram(self.rate, bands=bands)
                break
            except ValueError:  # narrower than its frequencies are apart
                continue
        assert made is not None
        return Sequential(made, LayerNorm())

    def rows(
        self, files: Sequence[str], memory: int | None, t: Array | None = None, digest: RowDigest | None = None
    ) -> Any:
        """X (files, samples) of .wav files, as row groups that read them when needed if they are too large for memory.

        digest: takes the rows with their targets t. A note names silent files. Raises DataError for files that can't be
        used.
        """
        memory, size = memory or usual_memory(), 4 * self.samples * len(files)
        groups = [files[i : i + TOGETHER] for i in range(0, len(files), TOGETHER)]

        def read(k: int) -> Array:
            return read_sounds(groups[k], self.rate, self.samples)

        if size <= memory:
            X: Any = read_sounds(files, self.rate, self.samples)
            parts = [X]
        else:
            note(f"{in_bytes(size)} of sounds are read as they are needed, {in_bytes(memory)} at a time (--memory)")
            X = RowGroups([len(group) for group in groups], read, (self.samples,), memory=memory)
            parts = (read(k) for k in range(len(groups)))  # type: ignore[assignment]
        first, silent = 0, []
        for part in parts:
            if digest is not None and t is not None:
                _add(digest, part, t[first : first + len(part)])
            silent += [files[first + int(i)] for i in np.flatnonzero(~part.any(axis=1))]
            first += len(part)
        if silent:
            note(silence_told(silent, len(files), self.seconds))
        return X


@dataclass(frozen=True)
class SoundRows:
    """Where the rows of sounds stand: in their files. rows: the numbers of some of them, in their order; None for all.

    >>> SoundRows(("yes/a.wav", "yes/b.wav"), (0.5, 0.75))(np.array([1]))
    FoundRows(places=['yes/b.wav'], columns=['seconds'], values=[['0.75']])
    """

    files: tuple[str, ...]
    seconds: tuple[float, ...]
    rows: Array | None = None

    def __call__(self, places: Array) -> FoundRows:
        """The files of the rows with these numbers (m,)."""
        wanted = (places if self.rows is None else self.rows[places]).tolist()
        return FoundRows(
            [readable(self.files[i]) for i in wanted], ["seconds"], [[f"{self.seconds[i]:.3g}"] for i in wanted]
        )

    def some(self, rows: Array) -> SoundRows:
        """The files at these places, (n,) bool."""
        at = np.flatnonzero(rows).tolist()
        return SoundRows(tuple(self.files[i] for i in at), tuple(self.seconds[i] for i in at))


def lengths_told(seconds: Sequence[float], rates: Sequence[int], form: SoundForm) -> list[str]:
    """Sentences about what is done to sounds of these lengths and rates.

    >>> lengths_told([0.25, 0.5, 0.75], [8000, 8000, 44100], SoundForm(8000, 4000))
    ['the sounds of 0.25 to 0.75 s become 0.5 s: 1 is longer and cut, 1 is filled up with silence (--seconds)',
    '1 of 3 is resampled to 8,000 samples a second (--rate)']
    """
    told = []
    longer = sum(math.floor(s * form.rate) > form.samples for s in seconds)
    shorter = sum(math.ceil(s * form.rate) < form.samples for s in seconds)
    what = [
        f"{count:,} {'are' if count > 1 else 'is'} {done}"
        for count, done in ((longer, "longer and cut"), (shorter, "filled up with silence"))
        if count
    ]
    if what:
        lengths = f"of {min(seconds):.3g} to {max(seconds):.3g} s" if len(seconds) > 1 else f"of {seconds[0]:.3g} s"
        told.append(f"the sounds {lengths} become {form.seconds:g} s: {', '.join(what)} (--seconds)")
    others = sum(rate != form.rate for rate in rates)
    if others:
        are = "are" if others > 1 else "is"
        told.append(f"{others:,} of {len(rates):,} {are} resampled to {form.rate:,} samples a second (--rate)")
    return told


def silence_told(silent: Sequence[str], files: int, seconds: float) -> str:
    """A sentence that names the files, of so many, in which the first seconds have no sound.

    >>> silence_told(["yes/a.wav"], 20, 0.5)
    '1 of 20 sounds is silent in the 0.5 s that are read, so that nothing can be heard in it: yes/a.wav'
    """
    are, them = ("is", "it") if len(silent) == 1 else ("are", "them")
    more = f", and {len(silent) - NAMED:,} more" if len(silent) > NAMED else ""
    return (
        f"{len(silent):,} of {files:,} sounds {are} silent in the {seconds:g} s that are read, so that nothing can be "
        f"heard in {them}: {', '.join(readable(file) for file in silent[:NAMED])}{more}"
    )


def _add(digest: RowDigest, X: Array, t: Array) -> None:
    """Add rows to a digest and to its sample, by a hash of the bytes of each."""
    first = digest.rows
    digest.add(X, t)
    held = digest.held_rows[first:]
    rows = (hashlib.blake2b(x.tobytes() + k.tobytes(), digest_size=8).digest() for x, k in zip(X, t, strict=True))
    hashes = np.frombuffer(b"".join(rows), "<u8").astype(np.uint64)
    digest.sample.add(hashes[~held] if isinstance(digest.sample, RowSample) else hashes)
