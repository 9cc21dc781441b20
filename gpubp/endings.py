"""The endings of the names of tables, and what to do with files of other kinds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
DELIMITED = (".csv", ".tsv", ".tab", ".data", ".dat", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc", ".arrows")
ORC = (".orc",)
SPREADSHEETS = (".xlsx", ".xlsm")
TEXT = (*DELIMITED, *JSON_LINES)
KINDS = (*TEXT, *PARQUET, *ARROW, *ORC, *SPREADSHEETS)
ENDINGS = (*KINDS, *(text + packed for text in TEXT for packed in COMPRESSED))
SOUNDS = (".wav", ".wave")
OTHER_SOUNDS = (
    *(".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".aifc", ".au", ".caf"),
    *(".amr", ".ac3", ".w64", ".rf64", ".sph", ".webm", ".mp4"),
)
STDIN = "-"
COUNTED = ", ".join(KINDS)  # for messages

_WITH_PANDAS = "read it by pandas.READ, and write it by .to_parquet('{}.parquet')"
_SAVE = "open it in the program that made it, and save it as .xlsx or .csv"
_UNPACK = "unpack it first, and name the file that is in it"
ADVICE = {
    **dict.fromkeys((".xls", ".xlsb", ".ods", ".numbers", ".gsheet", ".fods"), _SAVE),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.zst"), _UNPACK),
    **dict.fromkeys(
        (".xz", ".lzma", ".z", ".br", ".sz"), "unpack it first; .gz, .zst, .bz2 and .lz4 are unpacked here"
    ),
    **dict.fromkeys((".sas7bdat", ".xpt"), _WITH_PANDAS.replace("READ", "read_sas")),
    ".dta": _WITH_PANDAS.replace("READ", "read_stata"),
    **dict.fromkeys((".sav", ".zsav", ".por"), _WITH_PANDAS.replace("READ", "read_spss")),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), _WITH_PANDAS.replace("READ", "read_hdf")),
    **dict.fromkeys((".pkl", ".pickle"), _WITH_PANDAS.replace("READ", "read_pickle")),
    **dict.fromkeys((".html", ".htm"), _WITH_PANDAS.replace("READ", "read_html")),
    ".xml": _WITH_PANDAS.replace("READ", "read_xml"),
    **dict.fromkeys(
        (".json", ".json.gz", ".geojson"),
        "if each of its lines is an object, call it {}.jsonl; if not, " + _WITH_PANDAS.replace("READ", "read_json"),
    ),
    **dict.fromkeys(
        (".db", ".sqlite", ".sqlite3"), "write the table by sqlite3 -csv -header FILE 'select * from TABLE'"
    ),
    **dict.fromkeys((".rds", ".rda", ".rdata"), "write it in R by write.csv(x, '{}.csv', row.names = FALSE)"),
    ".mat": "read it by scipy.io.loadmat, and write .npz by numpy.savez(path, X=X, y=y)",
    ".arff": "read it by scipy.io.arff.loadarff, and write it by pandas.DataFrame(rows).to_parquet('{}.parquet')",
    ".avro": "read it by fastavro or polars.read_avro, and write it as Parquet",
    ".psv": "call it {}.txt: the bars are found",
    **{e: "make a .wav of it: ffmpeg -i {}" + e + " {}.wav" for e in OTHER_SOUNDS},
}


def ending(path: str, endings: tuple[str, ...] = ENDINGS) -> str:
    """The longest of the endings that a path has, in lower case; an empty text if there is none.

    >>> ending("a/HOUSES.CSV.gz"), ending("houses.npz")
    ('.csv.gz', '')
    """
    return max((e for e in endings if path.lower().endswith(e)), key=len, default="")


def kind(path: str) -> str:
    """The ending without that of the compression.

    >>> kind("houses.csv.gz"), kind("houses.parquet")
    ('.csv', '.parquet')
    """
    found = ending(path)
    return found.removesuffix(next((c for c in COMPRESSED if found.endswith(c)), ""))


def is_stream(path: str) -> bool:
    """Whether a path is standard input, or a pipe, which can be read once only.

    >>> is_stream("-"), is_stream("houses.csv")
    (True, False)
    """
    try:
        return path == STDIN or stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def parquet_files(folder: str) -> list[str]:
    """The Parquet files in a folder and the folders in it, in sorted order.

    Names that begin with a dot or an underscore are left out: Spark's _SUCCESS, hidden files, temporary folders.

    >>> parquet_files("/dev/null")
    []
    """
    found: list[str] = []
    for above, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        names = [name for name in files if ending(name, PARQUET) and not name.startswith((".", "_"))]
        found += [os.path.join(above, name) for name in names]
    return sorted(found, key=lambda path: Path(path).parts)


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a table: by its ending, as a folder with Parquet files, or as "-", standard input.

    A folder of sounds is none, whatever its name ends in.

    >>> is_table("houses.csv.gz"), is_table("houses.npz"), is_table("-")
    (True, False, True)
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return bool(parquet_files(path)) or (bool(ending(path)) and not is_sounds(path))
    return bool(ending(path)) or is_stream(path)


def is_sounds(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder of sounds: with .wav files in it, or in the folders that lie directly in it.

    Sounds of other kinds count too, so that an error can say what to do with them.

    >>> is_sounds("houses.csv")
    False
    """
    path = os.fspath(path)
    return os.path.isdir(path) and (_has_sounds(path) or any(_has_sounds(folder) for folder in folders_in(path)))


def folders_in(path: str) -> list[str]:
    """The folders in a folder, sorted; not those whose names begin with a dot.

    >>> folders_in("/dev/null")
    []
    """
    return [entry.path for entry in _entries(path) if _is_folder(entry)]


def files_in(path: str) -> list[str]:
    """The files in a folder, sorted, and what is no folder; not those whose names begin with a dot.

    >>> files_in("/dev/null")
    []
    """
    return [entry.path for entry in _entries(path) if not _is_folder(entry)]


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _has_sounds(folder: str) -> bool:
    return any(ending(file, (*SOUNDS, *OTHER_SOUNDS)) for file in files_in(folder))


def advice(path: str | os.PathLike[str]) -> str:
    """What to do with a file that is no table: "; " and an instruction, or an empty text if nothing is known.

    >>> advice("cars.xls")
    '; open it in the program that made it, and save it as .xlsx or .csv'
    """
    path = os.fspath(path)
    found = ending(path, tuple(ADVICE))
    stem = Path(path).name[: -len(found)] if found else ""
    return f"; {ADVICE[found].replace('{}', stem)}" if found else ""
